# SPDX-License-Identifier: Apache-2.0
"""Connections that refuse a reply whose headers end before the empty line after them.

The standard library takes a connection that ends within the headers for the end of the headers. The
last header may then be half: `Content-Length: 70000` cut by one byte is 7,000. Only the clients
that the library makes have these connections. A client of the caller's is never changed; for it,
the fields that a whole reply has must do.

This module knows no operation and no retry: such a reply is an `http.client.HTTPException`, which
botocore reports as a closed connection.
"""

from http.client import HTTPException, HTTPResponse
from typing import Any, Protocol

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.client import BaseClient
from botocore.httpsession import URLLib3Session, get_cert_path

_LAST_LINES = frozenset({b"\r\n", b"\n"})


class _Lines(Protocol):
    def readline(self, limit: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class _LastLine:
    """A stream of lines that keeps the last one."""

    __slots__ = ("_file", "line")

    def __init__(self, file: _Lines) -> None:
        self._file = file
        self.line = b""

    def readline(self, limit: int = -1) -> bytes:
        """Read a line, and keep it."""
        self.line = self._file.readline(limit)
        return self.line

    def close(self) -> None:
        """Close the stream."""
        self._file.close()


class _WholeHeaders(HTTPResponse):
    """A reply whose headers are whole."""

    def begin(self) -> None:
        """Read the status and the headers.

        Raises:
            HTTPException: The connection broke within the headers.
        """
        if self.headers is not None:
            return
        file, lines = self.fp, _LastLine(self.fp)
        self.fp = lines
        try:
            super().begin()
        finally:
            # It is None if the reply has no status line, which closes it.
            if self.fp is lines:
                self.fp = file
        if lines.line not in _LAST_LINES:
            raise HTTPException("the connection broke within the reply's headers")


# The stubs know one class of replies only; urllib3 takes any that the standard library does.
class _Connection(AWSHTTPConnection):
    response_class = _WholeHeaders  # type: ignore[assignment]


class _TLSConnection(AWSHTTPSConnection):
    response_class = _WholeHeaders  # type: ignore[assignment]


class _Pool(AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(AWSHTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def demand_whole_headers(client: BaseClient) -> None:
    """Have the connections of this one client refuse replies whose headers are cut."""
    # No public way leads to one client's connections. Where botocore has other names for them, the
    # fields that a whole reply has must do.
    session: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
    pools = getattr(session, "_pool_classes_by_scheme", None)
    if isinstance(session, URLLib3Session) and isinstance(pools, dict):
        pools.update(http=_Pool, https=_TLSPool)


def trusted_certificates(client: BaseClient) -> str | None:
    """Return the file of the authorities that a client trusts; None where it verifies nothing."""
    # As above: only the client's own session of connections has it.
    session: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
    found = get_cert_path(getattr(session, "_verify", True))
    return str(found) if found else None
