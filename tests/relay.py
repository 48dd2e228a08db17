# SPDX-License-Identifier: Apache-2.0
"""A proxy before the sandbox that records requests, and whose replies a test can change."""

from __future__ import annotations

import contextlib
import http.client
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that a relay received. The names of its headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """Return the path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """Return the query as a dictionary. A parameter without a value has an empty text."""
        pairs = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: values[0] for name, values in pairs.items()}

    @property
    def is_part(self) -> bool:
        """Return whether the request uploads a part."""
        return self.method == "PUT" and "partNumber" in self.query


@dataclass(slots=True)
class Answer:
    """One reply. With `cut`, the connection breaks after this many bytes of the body.

    `cut_in` is the name of a header and a number: the connection breaks within this header, and
    this number of bytes of its value is missing.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    cut_in: tuple[str, int] | None = None


class Relay(ThreadingHTTPServer):
    """A server that forwards requests to the sandbox; `spoil(asked, forward)` returns a reply."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, endpoint_url: str, spoil: Callable[[Asked, Callable[[], Answer]], Answer]
    ) -> None:
        self.behind = urlsplit(endpoint_url).netloc
        self.spoil = spoil
        self.asked: list[Asked] = []
        self.connections = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Return the endpoint URL for clients."""
        return f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> Any:
        """Accept a connection, and count it."""
        accepted = super().get_request()
        self.connections += 1
        return accepted

    def forward(self, asked: Asked) -> Answer:
        """Return the sandbox's answer."""
        connection = http.client.HTTPConnection(self.behind, timeout=30)
        try:
            headers = {name: text for name, text in asked.headers.items() if name != "expect"}
            connection.request(asked.method, asked.target, asked.body, headers)
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, found, reply.read())
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    server: Relay
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        asked = Asked(self.command, self.path, headers, body)
        self.server.asked.append(asked)

        def forward(other: Asked = asked) -> Answer:
            # A test may pass a changed request to `forward`.
            return self.server.forward(other)

        self._send(self.server.spoil(asked, forward))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the library's names

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        length = answer.headers.pop("content-length", str(len(answer.body)))
        for name, value in answer.headers.items():
            if name not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.send_header("content-length", length)
        if answer.cut_in:
            self._send_start(*answer.cut_in)
            return
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.cut])
        self.wfile.flush()
        if answer.cut is not None:
            self.close_connection = True

    def _send_start(self, name: str, length: int) -> None:
        headers = b"".join(self._headers_buffer)
        self._headers_buffer: list[bytes] = []
        before, found, value = headers.partition(f"\r\n{name}: ".encode())
        assert found, headers
        self.wfile.write(before + found + value[:length])
        self.wfile.flush()
        self.close_connection = True

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Print nothing: `asked` is the log."""


@contextmanager
def relaying(
    endpoint_url: str, spoil: Callable[[Asked, Callable[[], Answer]], Answer] | None = None
) -> Iterator[Relay]:
    """Run a relay during a `with` block."""
    with serving(Relay(endpoint_url, spoil or (lambda _, forward: forward()))) as relay:
        yield relay


_Relay = TypeVar("_Relay", bound=Relay)


@contextmanager
def serving(relay: _Relay) -> Iterator[_Relay]:
    """Run a relay in a thread during a `with` block."""
    with relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()


@contextmanager
def aliasing(endpoint_url: str, alias: str, bucket: str) -> Iterator[Relay]:
    """Yield a relay through which a bucket has a second name, as through an access point."""

    def spoil(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        renamed = {
            name: text if name == "host" else text.replace(alias, bucket)
            for name, text in asked.headers.items()
        }
        target = asked.target.replace(alias, bucket)
        return forward(Asked(asked.method, target, renamed, asked.body))

    with relaying(endpoint_url, spoil) as relay:
        yield relay
