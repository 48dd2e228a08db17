# SPDX-License-Identifier: Apache-2.0
"""Connections that refuse a reply whose headers are incomplete, and faster parsing of replies.

If a connection ends within the headers, Python's standard library treats this as the end of the
headers. The last header may then be incomplete: `Content-Length: 70000` without its last digit is
7,000. Only clients that s3crypt makes have these connections. A client of the caller is never
changed; the module `replies` checks only whether its replies have the fields of a complete reply.

This module does not depend on any operation, and does not retry. An incomplete reply raises an
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
    """A stream of lines that remembers the last line."""

    __slots__ = ("_file", "line")

    def __init__(self, file: _Lines) -> None:
        self._file = file
        self.line = b""

    def readline(self, limit: int = -1) -> bytes:
        """Read a line and remember it."""
        self.line = self._file.readline(limit)
        return self.line

    def close(self) -> None:
        """Close the stream."""
        self._file.close()


class _WholeHeaders(HTTPResponse):
    """A reply whose headers must be complete."""

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
            # If the reply has no status line, http.client closes the reply, and `self.fp` is None.
            if self.fp is lines:
                self.fp = file
        if lines.line not in _LAST_LINES:
            raise HTTPException("the connection broke within the reply's headers")


# The stubs permit only one class of replies. urllib3 accepts every class that http.client accepts.
class _Connection(AWSHTTPConnection):
    response_class = _WholeHeaders  # type: ignore[assignment]


class _TLSConnection(AWSHTTPSConnection):
    response_class = _WholeHeaders  # type: ignore[assignment]


class _Pool(AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(AWSHTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def demand_whole_headers(client: BaseClient) -> None:
    """Make the connections of this client refuse replies whose headers are incomplete."""
    # botocore has no public API for the connections of one client. If a version of botocore uses
    # other names for these attributes, the module `replies` only checks the fields of a complete
    # reply.
    session: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
    pools = getattr(session, "_pool_classes_by_scheme", None)
    if isinstance(session, URLLib3Session) and isinstance(pools, dict):
        pools.update(http=_Pool, https=_TLSPool)


def trusted_certificates(client: BaseClient) -> str | None:
    """Return the file of the CAs that a client trusts.

    Return None if it verifies no certificates.
    """
    # botocore has no public API for this. Only the HTTP session of the client knows the file.
    session: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
    found = get_cert_path(getattr(session, "_verify", True))
    return str(found) if found else None


def parse_replies_quickly(client: BaseClient) -> None:
    """Make this client parse S3's time formats and the headers of replies in less CPU time.

    botocore's parser supports every time format and takes 150 microseconds per timestamp. This is a
    twentieth of the CPU time of a small GET, and 0.15 s per page of a listing. In each reply to a
    HEAD it looks for 40 headers, with three Python calls per header. This is a tenth of the CPU
    time of the HEAD.
    """
    # botocore has no public API for the parsers of one client. If a version of botocore uses other
    # names for these attributes, the client keeps the slow parser.
    endpoint = getattr(client, "_endpoint", None)
    factory = copy.deepcopy(getattr(endpoint, "_response_parser_factory", None))
    if isinstance(factory, ResponseParserFactory):
        factory.set_parser_defaults(timestamp_parser=_timestamp)
        endpoint._response_parser_factory = _Parsers(factory)  # type: ignore[union-attr]  # noqa: SLF001


class _Parsers:
    """Makes the same parsers as `factory`, but with faster parsing of headers for S3's protocol."""

    def __init__(self, factory: ResponseParserFactory) -> None:
        self._factory = factory

    def create_parser(self, protocol_name: str) -> ResponseParser:
        parser = self._factory.create_parser(protocol_name)
        if type(parser) is RestXMLParser:
            # The parser keeps the settings that the factory gave it, and gets the faster class.
            parser.__class__ = _QuickHeadersParser
        return parser


class _QuickHeadersParser(RestXMLParser):
    # Only botocore calls this method. If a version of botocore has another name for it, this method
    # is not called, and the headers are parsed slowly.
    def _parse_non_payload_attrs(self, response: Any, *about: Any) -> None:
        response = {**response, "headers": _Headers(response["headers"])}
        super()._parse_non_payload_attrs(response, *about)  # type: ignore[misc]  # not in the stubs


class _Headers:
    """The headers of one reply. A name is found in upper or lower case."""

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
