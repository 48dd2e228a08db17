# SPDX-License-Identifier: Apache-2.0
"""Clients made by the library reject replies whose headers end early, at every byte."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError

from s3crypt.aws import Clients

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS = b"HTTP/1.1 200 OK\r\n"
# With "close" the client cannot keep the connection and send its next request to a closed server.
_HEADERS = (
    b"Connection: close\r\nLast-Modified: Fri, 27 Nov 2026 10:00:00 GMT\r\n"
    b'ETag: "a"\r\nContent-Length: 70000\r\n'
)
_WHOLE = _STATUS + _HEADERS + b"\r\n"


@contextmanager
def _answering(*replies: bytes) -> Iterator[str]:
    """Answer each connection with one of these replies and close it; yield the server's URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        # A failing test makes fewer requests than there are replies.
        with suppress(OSError):
            for reply in replies:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _head(client: Any) -> Any:
    return client.head_object(Bucket="acme", Key="x")


def test_headers_that_end_early_are_no_reply() -> None:
    """Headers that are cut at any byte are rejected, even if the cut Content-Length is a number."""
    cuts = [_WHOLE[:length] for length in range(1, len(_WHOLE) - 1)]
    with _answering(*cuts) as url:
        client: Any = Clients("s3", endpoint_url=url).get()
        for _ in cuts:
            with pytest.raises(ConnectionClosedError):
                _head(client)


def test_whole_headers_are_a_reply() -> None:
    """Headers that end with an empty line are a reply, also after "100 Continue"."""
    go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    with _answering(_WHOLE, go_on + _WHOLE, _WHOLE.replace(b"\r\n", b"\n")) as url:
        client: Any = Clients("s3", endpoint_url=url).get()
        assert [_head(client)["ContentLength"] for _ in range(3)] == [70000] * 3


def test_a_client_of_the_callers_is_not_changed() -> None:
    """A caller's client keeps boto3's connections, which accept a Content-Length that was cut."""
    cut = _STATUS + _HEADERS[:-3]
    with _answering(cut) as url:
        client = boto3.client(
            "s3", endpoint_url=url, config=Config(retries={"total_max_attempts": 1})
        )
        given = Clients("s3", client=client).get()
        assert _head(given)["ContentLength"] == 7000
