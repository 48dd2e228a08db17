# SPDX-License-Identifier: Apache-2.0
"""A request is one round trip, on a connection that was there before."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from relay import relaying
from samples import PART, aes, payload

from s3crypt import SSES3, ClientSide, S3Crypt
from s3crypt.aws import Clients, config_of

if TYPE_CHECKING:
    from pathlib import Path

    from s3crypt.sandbox import Running

THREADS = 64


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_a_body_is_sent_without_being_asked_for(mode: Any, sandbox: Running, bucket: str) -> None:
    """An object, a part and a completion: each is one round trip."""
    with relaying(sandbox.endpoint_url) as relay:
        store = S3Crypt(mode, session=boto3.Session(), endpoint_url=relay.url)
        store.put(payload(1000), f"s3://{bucket}/small")
        assert [asked.method for asked in relay.asked] == ["PUT"]
        store.put(payload(PART + 1), f"s3://{bucket}/large")
    with_body = [asked for asked in relay.asked if asked.body]
    assert [asked.is_part for asked in with_body].count(True) == 2
    assert [asked.target for asked in with_body if "expect" in asked.headers] == []


def test_a_client_that_is_given_stays_as_it_is(sandbox: Running, bucket: str) -> None:
    """Its bodies wait for S3 as botocore has it; the test above could see that ours did."""
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
    """What else is made of it asks as before."""
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
    """However few workers a transfer has: no connection is opened twice."""
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
    """Those of its transfers, those of callers' threads, or those the session's settings say."""
    session = boto3.Session()
    for connections, kept in ((0, THREADS), (10, THREADS), (200, 200)):
        client: Any = Clients("s3", session=session, connections=connections).get()
        assert config_of(client).max_pool_connections == kept
    settings: Any = session._session
    settings.set_default_client_config(Config(max_pool_connections=300))
    client = Clients("s3", session=session, connections=10).get()
    assert config_of(client).max_pool_connections == 300
