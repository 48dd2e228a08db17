# SPDX-License-Identifier: Apache-2.0
"""How fast is the null server itself, with a client that only moves bytes over bare sockets?

    python rawclient.py put|get URL BYTES CONNECTIONS [CERTIFICATE]

Each connection has a thread. It sends parts of 8 MiB from one buffer, or reads them into one
buffer, and does not check or keep them. The command prints the wall seconds and the CPU seconds as
JSON.
"""

import json
import os
import socket
import ssl
import sys
import threading
import time
from urllib.parse import urlsplit

_PART = 8 * 2**20


class _Connection:
    def __init__(self, url: str, certificate: str | None) -> None:
        parts = urlsplit(url)
        self._path = parts.path
        self._socket: socket.socket = socket.create_connection((parts.hostname, parts.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=certificate)
            self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
        self._buffer = memoryview(bytearray(_PART))

    def put(self, offset: int, length: int) -> None:
        self._ask(f"PUT {self._path}?partNumber={offset // _PART + 1}", f"Content-Length: {length}")
        self._socket.sendall(self._buffer[:length])
        self._answer()

    def get(self, offset: int, length: int) -> None:
        self._ask(f"GET {self._path}", f"Range: bytes={offset}-{offset + length - 1}")
        left = length - self._answer()
        while left:
            left -= self._socket.recv_into(self._buffer[:left])

    def _ask(self, target: str, header: str) -> None:
        self._socket.sendall(f"{target} HTTP/1.1\r\nHost: s3\r\n{header}\r\n\r\n".encode())

    def _answer(self) -> int:
        """Read the head of a reply. Return the number of body bytes that came with it."""
        came = b""
        while b"\r\n\r\n" not in came:
            came += self._socket.recv(4096)
        if not came.startswith(b"HTTP/1.1 2"):
            raise SystemExit(f"the server answered {came[:40]!r}")
        return len(came) - came.index(b"\r\n\r\n") - 4


def main() -> None:
    """Transfer the bytes, and print the seconds."""
    verb, url, size, connections, *more = sys.argv[1:]
    certificate = more[0] if more else None
    offsets = iter(range(0, int(size), _PART))
    lock = threading.Lock()

    def work(connection: _Connection) -> None:
        transfer = getattr(connection, verb)
        while True:
            with lock:
                offset = next(offsets, None)
            if offset is None:
                return
            transfer(offset, min(_PART, int(size) - offset))

    made = [_Connection(url, certificate) for _ in range(int(connections))]
    threads = [threading.Thread(target=work, args=[connection]) for connection in made]
    started, before = time.perf_counter(), os.times()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, after = time.perf_counter() - started, os.times()
    cpu = after.user - before.user + after.system - before.system
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main()
