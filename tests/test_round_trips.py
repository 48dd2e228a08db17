# SPDX-License-Identifier: Apache-2.0
"""Each request takes one round trip on an open connection, with little work in the client."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
import dateutil.parser  # type: ignore[import-untyped]
import pytest
from botocore.config import Config
from botocore.utils import parse_timestamp
from relay import relaying
from samples import PART, aes, payload

from s3crypt import SSES3, ClientSide, S3Crypt
from s3crypt.aws import Clients, config_of
from s3crypt.connections import _timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from s3crypt.sandbox import Running

THREADS = 64


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_a_body_is_sent_without_being_asked_for(mode: Any, sandbox: Running, bucket: str) -> None:
    """The body of an object or part is sent at once, without `Expect: 100-continue`."""
    with relaying(sandbox.endpoint_url) as relay:
        store = S3Crypt(mode, session=boto3.Session(), endpoint_url=relay.url)
        store.put(payload(1000), f"s3://{bucket}/small")
        assert [asked.method for asked in relay.asked] == ["PUT"]
        store.put(payload(PART + 1), f"s3://{bucket}/large")
    with_body = [asked for asked in relay.asked if asked.body]
    assert [asked.is_part for asked in with_body].count(True) == 2
    assert [asked.target for asked in with_body if "expect" in asked.headers] == []


def test_a_client_that_is_given_stays_as_it_is(sandbox: Running, bucket: str) -> None:
    """A client that the caller passes sends `Expect: 100-continue` as before."""
    with relaying(sandbox.endpoint_url) as relay:
        client = boto3.Session().client("s3", endpoint_url=relay.url)
        store = S3Crypt(SSES3(), client=client)
        for size in (1000, PART + 1):
            store.put(payload(size), f"s3://{bucket}/x")
        client.put_object(Bucket=bucket, Key="theirs", Body=b"x")
    written = [asked for asked in relay.asked if asked.is_part or asked.method == "PUT"]
    assert len(written) == 4
    assert [asked.headers.get("expect") for asked in written] == ["100-continue"] * 4


def test_a_session_that_is_given_stays_as_it_is(sandbox: Running, bucket: str) -> None:
    """Other clients of a session that the caller passes send `Expect` as before."""
    session = boto3.Session()
    with relaying(sandbox.endpoint_url) as relay:
        store = S3Crypt(SSES3(), session=session, endpoint_url=relay.url)
        store.put(b"ours", f"s3://{bucket}/ours")
        theirs = session.client("s3", endpoint_url=relay.url)
        theirs.put_object(Bucket=bucket, Key="theirs", Body=b"x")
    assert ["expect" in asked.headers for asked in relay.asked] == [False, True]


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_threads_of_the_caller_keep_their_connections(
    mode: Any, sandbox: Running, bucket: str, tmp_path: Path
) -> None:
    """If the caller has more threads than workers, no thread loses its connection."""
    ready = threading.Barrier(THREADS)

    def work(number: int) -> None:
        uri = f"s3://{bucket}/{number}"
        ready.wait()
        for _ in range(3):
            store.put(payload(100 + number), uri)
            assert store.read(uri) == payload(100 + number)
            store.get(uri, tmp_path / str(number))
            assert store.head(uri).size == 100 + number

    with relaying(sandbox.endpoint_url) as relay:
        store = S3Crypt(mode, session=boto3.Session(), endpoint_url=relay.url)
        assert store.client.meta.endpoint_url == relay.url
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
        assert len(relay.asked) >= THREADS * 12
        assert relay.connections <= THREADS


def test_a_client_keeps_as_many_connections_as_it_is_to_have() -> None:
    """A client keeps as many connections as the transfers, caller threads or settings need."""
    session = boto3.Session()
    for connections, kept in ((0, THREADS), (10, THREADS), (200, 200)):
        client: Any = Clients("s3", session=session, connections=connections).get()
        assert config_of(client).max_pool_connections == kept
    settings: Any = session._session
    settings.set_default_client_config(Config(max_pool_connections=300))
    client = Clients("s3", session=session, connections=10).get()
    assert config_of(client).max_pool_connections == 300


@pytest.mark.parametrize(
    "text",
    [
        "Sat, 28 Nov 2026 10:59:01 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "2026-11-28T10:59:01.000Z",
        "2026-11-28T10:59:01.123Z",
        "2026-11-28T10:59:01Z",
        "2026-11-28T10:59:01+02:00",
        "2026-11-28T10:59:01",
        "20261128T105901Z",
        1795863541,
        1795863541.5,
    ],
)
def test_times_are_what_botocore_makes_of_them(text: Any) -> None:
    """Our parser of times returns the same time as botocore's parser, in each format."""
    assert _timestamp(text) == parse_timestamp(text)


@pytest.mark.parametrize("text", ["never", "Z", " GMT", "2026-13-28T10:59:01Z", "1, 2, 3, 4, GMT"])
def test_what_is_no_time_is_refused_as_by_botocore(text: str) -> None:
    """For a malformed time, our parser raises the same error as botocore's."""
    with pytest.raises(ValueError) as theirs:  # noqa: PT011 - compared below
        parse_timestamp(text)
    with pytest.raises(type(theirs.value), match=f"^{re.escape(str(theirs.value))}$"):
        _timestamp(text)


def test_only_our_clients_parse_times_by_themselves(
    s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only our clients use our parser of times. The caller's clients use botocore's parser."""
    session = boto3.Session()
    store = S3Crypt(SSES3(), session=session)
    put = store.put(b"x", f"s3://{bucket}/x")
    theirs = session.client("s3")
    known = s3.head_object(Bucket=bucket, Key="x")["LastModified"]
    parsed: list[object] = []

    def parse(*arguments: Any, **options: Any) -> Any:
        parsed.append(arguments)
        return by_dateutil(*arguments, **options)

    by_dateutil = dateutil.parser.parse
    monkeypatch.setattr(dateutil.parser, "parse", parse)
    (listed,) = store.list(f"s3://{bucket}/")
    assert listed.last_modified.replace(microsecond=0) == known
    assert store.head(put.uri).last_modified == known
    assert parsed == []
    assert theirs.head_object(Bucket=bucket, Key="x")["LastModified"] == known
    assert len(parsed) == 1
