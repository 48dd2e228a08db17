# SPDX-License-Identifier: Apache-2.0
"""How many requests per second does a server answer, or a relay carry?

    python load.py PORT PATH [--put BYTES] [--range RANGE] [--connections 64] [--seconds 1]

Each connection is a bare socket and always has one request in progress, always the same: a GET, or
a PUT of BYTES bytes. A connection sends the next request once it has read the whole reply. The
command prints the requests and the reply bytes per second as JSON. If the rate of a measured client
comes near this figure, the server is the limit and not the client.
"""

import argparse
import json
import re
import select
import socket
import sys
import time
from dataclasses import dataclass

import workload
from timeline import allow_many_connections

_HOST = "127.0.0.1"
# Requests in these seconds do not count: connections start and caches fill.
_WARM_UP_SECONDS = 0.3
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The rates of a measurement.

    Attributes:
        requests: Requests per second.
        bytes: Bytes of replies per second.
    """

    requests: float
    bytes: float


def capacity(port: int, path: str, *options: str) -> Capacity:
    """Run this command in a new process with these arguments. Return the rates that it measures."""
    command = [sys.executable, __file__, str(port), path, *options]
    return Capacity(**json.loads(workload.output(command, workload.environment())))


def _request(path: str, put: int | None, byte_range: str | None) -> bytes:
    lines = [f"{'GET' if put is None else 'PUT'} {path} HTTP/1.1", f"Host: {_HOST}"]
    if byte_range:
        lines.append(f"Range: bytes={byte_range}")
    if put is not None:
        lines.append(f"Content-Length: {put}")
    return "\r\n".join([*lines, "", ""]).encode() + bytes(put or 0)


def _reply_length(port: int, request: bytes) -> int:
    """Send the request once. Return the length of the reply, with its head.

    Raises:
        SystemExit: The status of the reply is not 2xx.
    """
    came = b""
    with socket.create_connection((_HOST, port)) as connection:
        connection.sendall(request)
        while b"\r\n\r\n" not in came:
            came += connection.recv(2**16)
    if not came.startswith(b"HTTP/1.1 2"):
        raise SystemExit(f"the server answered {came[:40]!r}")
    length = _LENGTH.search(came)
    return came.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)


def measure(port: int, request: bytes, connections: int, seconds: float) -> Capacity:
    """Send requests for `seconds` after a warm-up. Return the rates."""
    length = _reply_length(port, request)
    poll = select.epoll()
    made: dict[int, socket.socket] = {}
    for _ in range(connections):
        connection = socket.create_connection((_HOST, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(connection, select.EPOLLIN)
        made[connection.fileno()] = connection
    left = dict.fromkeys(made, length)
    started = time.perf_counter() + _WARM_UP_SECONDS
    done, came, now = 0, 0, 0.0
    for connection in made.values():
        connection.sendall(request)
    while now < started + seconds:
        events = poll.poll(1)
        now = time.perf_counter()
        for number, _ in events:
            count = len(made[number].recv(2**18))
            if not count:
                raise SystemExit("the server closed a connection")
            left[number] -= count
            came += count * (now >= started)
            if not left[number]:
                done += now >= started
                left[number] = length
                made[number].sendall(request)
    for connection in made.values():
        connection.close()
    return Capacity(done / (now - started), came / (now - started))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what a server can answer.")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--put", type=int, metavar="BYTES", help="a PUT of a body of this length")
    parser.add_argument("--range", metavar="RANGE", help="of a GET: 0-1023")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1)
    asked = parser.parse_args()
    allow_many_connections()
    request = _request(asked.path, asked.put, asked.range)
    found = measure(asked.port, request, asked.connections, asked.seconds)
    print(json.dumps({"requests": found.requests, "bytes": found.bytes}))


if __name__ == "__main__":
    main()
