# SPDX-License-Identifier: Apache-2.0
"""The HTTP server: reads requests, gets replies from the rules or its own pages, keeps the log.

This module must not know which requests a service refuses. The only AWS facts in it are the service
that a request is for, and the request headers to log.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import traceback
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

from . import REGION, SANDBOX_HEADER, TOKEN_HEADER, examples
from .access_analyzer import AccessAnalyzer
from .backend import Moto
from .cloudtrail import CloudTrail
from .events.delivery import PRINCIPAL, deliver
from .events.recorder import Recorder
from .events.store import Events
from .iam import IAM
from .kms.service import KMS
from .s3.customer_keys import SOURCE_SSE_C, SSE_C
from .s3.encryption import MANAGED
from .s3.service import S3
from .s3_control import S3Control
from .sts import STS
from .tables import Tables
from .vectors import Vectors
from .wire import Refusal, Reply, Request, Service, incomplete, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable


class Server(ThreadingHTTPServer):
    """Serves AWS requests and its own pages. It listens as soon as it is constructed."""

    daemon_threads = True
    # With socketserver's default of 5, connections of parallel uploads would wait for retransmitted
    # SYNs.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], token: str) -> None:
        self._token = token.encode("latin-1")
        self._moto = Moto()
        self._events = Events()
        self._recorder = Recorder(self._moto, self._events)
        self._services: dict[str, Service] = {
            "access-analyzer": AccessAnalyzer(),
            "cloudtrail": CloudTrail(self._moto, self._events),
            "iam": IAM(self._moto),
            "kms": KMS(self._moto),
            "s3": S3(self._moto),
            "s3control": S3Control(self._moto),
            "s3tables": Tables(self._moto),
            "s3vectors": Vectors(self._moto),
            "sts": STS(self._moto),
        }
        self.log: deque[dict[str, Any]] = deque(maxlen=10_000)
        super().__init__(address, _Handler)

    def aws(self, request: Request, *, is_whole: bool) -> Reply:
        """Return the reply to an AWS request by the rules of its service.

        Refuse a truncated body.
        """
        service = self._services[request.service]
        try:
            _check_sender(request)
        except Refusal as refusal:
            return service.refused(request, refusal)
        try:
            if not is_whole:
                raise incomplete()
            self._moto.key_uses.begin(lambda: self._moto.caller_arns(request))
            reply = service(request)
        except Refusal as refusal:
            reply = service.refused(request, refusal)
        self._recorder.record(request, reply)
        return reply

    def own(self, request: Request) -> Reply:
        """Return one of the server's own pages, under /_s3crypt/.

        The request must have the token.
        """
        given = request.headers.get(TOKEN_HEADER, "").encode("latin-1")
        # A server that was started by hand may have an empty token. It must refuse every request
        # here.
        if not self._token or not secrets.compare_digest(given, self._token):
            return json_reply(403, {"error": "wrong token"})
        return self._page(request)

    def _page(self, request: Request) -> Reply:
        page = self._PAGES.get((request.method, request.raw_path.removeprefix("/_s3crypt/")))
        return page(self, request) if page else json_reply(404, {"error": "no such page"})

    def _forget(self) -> Reply:
        self.log.clear()
        return Reply(204)

    def _reset(self) -> Reply:
        self._moto.reset()
        examples.make(lambda wanted: self.aws(wanted, is_whole=True))
        self._recorder.clear()
        return self._forget()

    def _share(self, request: Request) -> Reply:
        region = request.query.get("region", REGION)
        return json_reply(200, {"arn": self._moto.share_key(region).arn})

    def _advance(self, request: Request) -> Reply:
        self._moto.clock.advance(float(request.query["seconds"]))
        return Reply(204)

    def _delay(self, request: Request) -> Reply:
        self._moto.clock.delay(float(request.query["seconds"]))
        return Reply(204)

    def _deliver(self) -> Reply:
        return json_reply(200, {"files": deliver(self._moto, self._events, self._put_of_trail)})

    def _put_of_trail(self, request: Request) -> Reply:
        """Return S3's reply to a request that CloudTrail makes to write a log file."""
        service = self._services["s3"]
        self._moto.key_uses.begin(lambda: frozenset({PRINCIPAL}))
        try:
            reply = service(request)
        except Refusal as refusal:
            reply = service.refused(request, refusal)
        self._recorder.record(request, reply, service=PRINCIPAL)
        return reply

    def _stop(self) -> Reply:
        threading.Thread(target=self.shutdown, daemon=True).start()
        return json_reply(200, {"pid": os.getpid()})

    # Method and name -> the server's own page.
    _PAGES: ClassVar[dict[tuple[str, str], Callable[[Server, Request], Reply]]] = {
        ("DELETE", "requests"): lambda self, _: self._forget(),
        ("GET", "health"): lambda _, __: json_reply(200, {"pid": os.getpid()}),
        ("GET", "requests"): lambda self, _: json_reply(200, list(self.log)),
        ("POST", "clock"): lambda self, request: self._advance(request),
        ("POST", "delays"): lambda self, request: self._delay(request),
        ("POST", "reset"): lambda self, _: self._reset(),
        ("POST", "shared-keys"): lambda self, request: self._share(request),
        ("POST", "trails"): lambda self, _: self._deliver(),
        ("POST", "stop"): lambda self, _: self._stop(),
    }


# Protection against DNS rebinding: a web page can make its own host name resolve to the sandbox,
# but it cannot use an IP address or localhost as its host name. Clients of S3 Control put the
# account id before the host.
_OWN_HOST = re.compile(r"(\d{12}\.)?(localhost|\d+(\.\d+){3})(:\d+)?", re.ASCII | re.IGNORECASE)


def _check_sender(request: Request) -> None:
    """Refuse a request that a web page made a browser send.

    The sandbox does not check signatures, so otherwise any web page could use it.
    """
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    # For an image or script that a page embeds, browsers send Sec-Fetch-Site instead of Origin.
    embedded = (
        request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}
        and request.headers.get("sec-fetch-mode") != "navigate"
    )
    if not _OWN_HOST.fullmatch(host):
        message = f"The sandbox answers to its address and to localhost, not to the host {host!r}."
    elif origin not in {None, f"http://{host}"} or embedded:
        message = f"The sandbox answers no web pages, here of {origin or 'another site'}."
    else:
        return
    raise Refusal(403, "AccessDenied", message)


# The headers that are logged. Customer keys are never logged.
_LOGGED = (
    "if-match",
    "if-none-match",
    "range",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-range",
    "x-amz-target",
    *MANAGED,
    f"{SSE_C}algorithm",
    f"{SSE_C}key-md5",
    f"{SOURCE_SSE_C}key-md5",
)


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with persistent connections, chunked bodies and 100-continue."""

    server: Server
    protocol_version = "HTTP/1.1"
    # Nagle's algorithm with delayed acknowledgements would add 40 ms to every reply.
    disable_nagle_algorithm = True
    # With this buffer, the head of a reply and a small body are sent in one write.
    wbufsize = 64 * 1024

    def _serve(self) -> None:
        request, is_whole = self._request()
        if request.raw_path.startswith("/_s3crypt/"):
            self._send(request, self.server.own(request))
            return
        entry: dict[str, Any] = {
            "method": request.method,
            "path": unquote(request.raw_path),
            "query": request.raw_query,
            "operation": request.operation,
            "headers": {name: request.headers[name] for name in _LOGGED if name in request.headers},
            "request_bytes": request.body_size,
        }
        try:
            reply = self.server.aws(request, is_whole=is_whole)
        except Exception as error:  # noqa: BLE001  the log must show moto's faults
            entry["fault"] = "".join(traceback.format_exception(error))
            reply = Reply(500)
        entry["status"] = reply.status
        entry["response_bytes"] = 0 if request.method == "HEAD" else len(reply.body)
        # The entry is logged before the reply is sent, because a client that has the reply may read
        # the log at once.
        self.server.log.append(entry)
        self._send(request, reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def _request(self) -> tuple[Request, bool]:
        """Return the request, and whether its body is complete."""
        target = urlsplit(self.path)
        headers: dict[str, str] = {}
        spelling: dict[str, str] = {}
        for name, value in self.headers.items():
            lower = name.lower()
            headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
            spelling[lower] = name
        chunked = "chunked" in headers.pop("transfer-encoding", "").lower()
        body, is_whole = self._chunked() if chunked else self._exactly()
        if not is_whole:
            self.close_connection = True
        # urlsplit would read a path that begins with two slashes as a host.
        path = self.path.partition("?")[0] if self.path.startswith("/") else target.path
        return Request(self.command, path, target.query, headers, body, spelling), is_whole

    def _exactly(self) -> tuple[bytes, bool]:
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length)
        return body, len(body) == length

    def _chunked(self) -> tuple[bytes, bool]:
        chunks: list[bytes] = []
        while line := self.rfile.readline():
            size = int(line.partition(b";")[0], 16)
            if not size:
                # Read the trailers, if there are any, and the empty line after them.
                while (line := self.rfile.readline()) not in {b"", b"\r\n"}:
                    pass
                return b"".join(chunks), line == b"\r\n"
            chunks.append(self.rfile.read(size))
            if self.rfile.readline() != b"\r\n":
                break
        return b"".join(chunks), False

    def _send(self, request: Request, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header(SANDBOX_HEADER, "yes")
        for name, value in reply.headers:
            if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                self.send_header(name, value)
        if reply.header("content-length") is None and reply.status not in {204, 304}:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if request.method != "HEAD" and reply.status not in {204, 304}:
            self.wfile.write(reply.body)
        self.wfile.flush()

    def handle(self) -> None:
        """Serve a connection until its client closes or resets it."""
        with contextlib.suppress(ConnectionError, ValueError):
            super().handle()

    def handle_expect_100(self) -> bool:
        """Send 100 Continue. It is flushed, because the client waits up to a second for it."""
        granted = super().handle_expect_100()
        self.wfile.flush()
        return granted

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing: /_s3crypt/requests is the log."""
