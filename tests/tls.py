# SPDX-License-Identifier: Apache-2.0
"""The relay over TLS with its own certificate, and bodies in the `aws-chunked` encoding."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awscrt.checksums import crc64nvme
from relay import Answer, Asked, Relay, _Handler, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ADDRESS = "127.0.0.1"
CHECKSUM = "x-amz-checksum-crc64nvme"
# The null server of the benchmarks uses this file too.
CERTIFICATE = Path(__file__).parents[1] / "benchmarks" / "certificate.py"


def make_certificate(path: Path) -> Path:
    """Write a certificate for 127.0.0.1, valid for a day, and its key to one PEM file."""
    subprocess.run([sys.executable, CERTIFICATE, path.parent], check=True)
    parts = [path.with_name(name).read_bytes() for name in ("certificate.pem", "key.pem")]
    path.write_bytes(b"".join(parts))
    return path


class TLSRelay(Relay):
    """A relay that clients reach over https, and that accepts chunked requests."""

    def __init__(
        self,
        endpoint_url: str,
        spoil: Callable[[Asked, Callable[[], Answer]], Answer],
        certificate: Path,
    ) -> None:
        super().__init__(endpoint_url, spoil)
        self.RequestHandlerClass = _Chunked
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)

    @property
    def url(self) -> str:
        """Return the endpoint URL for clients."""
        return f"https://{ADDRESS}:{self.server_port}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the TLS handshake and serve requests, in the thread of this connection."""
        # A client that does not trust the certificate ends the handshake, which is no error here.
        with (
            contextlib.suppress(ssl.SSLError, ConnectionError),
            self._context.wrap_socket(request, server_side=True) as secured,
        ):
            super().finish_request(secured, client_address)


class _Chunked(_Handler):
    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        headers.pop("expect", None)
        if "chunked" in headers.pop("transfer-encoding", ""):
            body = b"".join(self._chunks())
            headers["content-length"] = str(len(body))
        else:
            body = self.rfile.read(int(headers.get("content-length", "0")))
        asked = Asked(self.command, self.path, headers, body)
        self.server.asked.append(asked)

        def forward(other: Asked = asked) -> Answer:
            # A test may pass a changed request to `forward`.
            return self.server.forward(other)

        self._send(self.server.spoil(asked, forward))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the library's names

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()


@contextmanager
def tls_relaying(
    endpoint_url: str,
    certificate: Path,
    spoil: Callable[[Asked, Callable[[], Answer]], Answer] | None = None,
) -> Iterator[TLSRelay]:
    """Run a relay under TLS during a `with` block."""
    relay = TLSRelay(endpoint_url, spoil or (lambda _, forward: forward()), certificate)
    with serving(relay):
        yield relay


def sent(asked: Asked) -> bytes:
    """Return the bytes of the object or part in a request, without the chunks around them."""
    return _unwrapped(asked)[0]


def trailers(asked: Asked) -> dict[str, str]:
    """Return the trailers after a request's body, or an empty dictionary."""
    return _unwrapped(asked)[1]


def _unwrapped(asked: Asked) -> tuple[bytes, dict[str, str]]:
    if "aws-chunked" not in asked.headers.get("content-encoding", ""):
        return asked.body, {}
    chunks: list[bytes] = []
    position = 0
    while True:
        line = asked.body.index(b"\r\n", position)
        size, start = int(asked.body[position:line], 16), line + 2
        if not size:
            rest = asked.body[start:].decode().split("\r\n")
            pairs = (line.partition(":") for line in rest if line)
            return b"".join(chunks), {name: value for name, _, value in pairs}
        chunks.append(asked.body[start : start + size])
        position = start + size + 2


def crc(body: bytes) -> str:
    """Return the CRC-64/NVME of bytes in the form that S3 uses."""
    return b64encode(crc64nvme(body).to_bytes(8)).decode()


def refusal(status: int, code: str) -> Answer:
    """Return an error reply of S3 with this status and code."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return Answer(status, {"content-type": "application/xml"}, body)
