# SPDX-License-Identifier: Apache-2.0
"""Connections that refuse a reply whose headers break off, and the parsing of replies.

The standard library treats a connection that ends within the headers as the end of the headers. The
last header may then be cut: `Content-Length: 70000` cut by one byte is 7,000. Only the clients that
the library makes have these connections. The caller's own client is never changed; its replies are
only checked for the fields that a whole reply has (`replies`).

This module depends on no operation and makes no retries: a cut reply is an
`http.client.HTTPException`, which botocore reports as a closed connection.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
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
from botocore.parsers import ResponseParser, ResponseParserFactory, RestXMLParser
from botocore.utils import parse_timestamp

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
            # `self.fp` is None if the reply has no status line: http.client then closes the reply.
            if self.fp is lines:
                self.fp = file
        if lines.line not in _LAST_LINES:
            raise HTTPException("the connection broke within the reply's headers")


# The stubs declare one class of replies only; urllib3 accepts every class that http.client accepts.
class _Connection(AWSHTTPConnection):
    response_class = _WholeHeaders  # type: ignore[assignment]


class _TLSConnection(AWSHTTPSConnection):
    response_class = _WholeHeaders  # type: ignore[assignment]


class _Pool(AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(AWSHTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def demand_whole_headers(client: BaseClient) -> None:
    """Make the connections of this one client refuse replies whose headers are cut."""
    # botocore has no public API for one client's connections. If a version of botocore has other
    # names for them, only the fields of a whole reply are checked (`replies`).
    session: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
    pools = getattr(session, "_pool_classes_by_scheme", None)
    if isinstance(session, URLLib3Session) and isinstance(pools, dict):
        pools.update(http=_Pool, https=_TLSPool)


def trusted_certificates(client: BaseClient) -> str | None:
    """Return the file of the CAs that a client trusts; None if it verifies no certificates."""
    # As above, botocore has no public API for this: only the client's HTTP session has the file.
    session: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
    found = get_cert_path(getattr(session, "_verify", True))
    return str(found) if found else None


def parse_replies_quickly(client: BaseClient) -> None:
    """Make this one client parse S3's time formats and the headers of replies in less CPU time.

    botocore's parser supports every time format, and takes 150 microseconds per timestamp: a
    twentieth of a small GET's CPU time, and 0.15 s per page of a listing. It looks for 40 headers
    in each reply to a HEAD, by three calls of Python per header: a tenth of the HEAD's CPU time.
    """
    # botocore has no public API for one client's parsers. If a version of botocore has other names
    # for them, the client keeps the slow parser.
    endpoint = getattr(client, "_endpoint", None)
    factory = copy.deepcopy(getattr(endpoint, "_response_parser_factory", None))
    if isinstance(factory, ResponseParserFactory):
        factory.set_parser_defaults(timestamp_parser=_timestamp)
        endpoint._response_parser_factory = _Parsers(factory)  # type: ignore[union-attr]  # noqa: SLF001


class _Parsers:
    """Makes the parsers that `factory` makes, with quick headers for S3's protocol."""

    def __init__(self, factory: ResponseParserFactory) -> None:
        self._factory = factory

    def create_parser(self, protocol_name: str) -> ResponseParser:
        parser = self._factory.create_parser(protocol_name)
        if type(parser) is RestXMLParser:
            # A parser of this class, with the settings that the factory gave to its parser.
            parser.__class__ = _QuickHeadersParser
        return parser


class _QuickHeadersParser(RestXMLParser):
    # Only botocore calls this method. If a version of botocore names it otherwise, it is not called
    # and the headers are parsed slowly.
    def _parse_non_payload_attrs(self, response: Any, *about: Any) -> None:
        response = {**response, "headers": _Headers(response["headers"])}
        super()._parse_non_payload_attrs(response, *about)  # type: ignore[misc]  # not in the stubs


class _Headers:
    """The headers of one reply, found by their names in any case."""

    __slots__ = ("_names", "_values")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._names = list(headers)
        self._values = {name.lower(): headers[name] for name in self._names}

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]


def _timestamp(value: Any) -> datetime:
    if isinstance(value, str):
        with suppress(ValueError, TypeError, IndexError):
            if value.endswith("Z"):
                return datetime.fromisoformat(value)
            if value.endswith(" GMT"):
                return parsedate_to_datetime(value)
    other: datetime = parse_timestamp(value)
    return other
