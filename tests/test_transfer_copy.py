# SPDX-License-Identifier: Apache-2.0
"""Copies in parts, for objects that are larger than CopyObject allows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from relay import Answer, Asked, relaying
from samples import (
    CUSTOMER_KEY,
    LARGE,
    connect,
    payload,
    stored,
    uploads,
)

from s3crypt import (
    SSEC,
    SSES3,
    ConflictError,
    StorageError,
)
from s3crypt.location import Location
from s3crypt.transfer import (
    CopySource,
    Upload,
    copy_inside_s3,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_PART_LENGTH = 5 * 2**20


def _copy(s3: Any, bucket: str, etag: str, **changed: Any) -> Any:
    location = Location(bucket, "x")
    to = Upload(
        s3,
        location,
        {"Metadata": {"a": "b"}, "Tagging": "t=1", **SSEC(CUSTOMER_KEY).write_arguments()},
        SSEC(CUSTOMER_KEY).read_arguments(),
        changed.pop("conditions", {"IfMatch": etag}),
        changed.pop("check", lambda _: None),
    )
    source = CopySource(location, etag, None, LARGE, {})
    limit = MIN_PART_LENGTH
    return copy_inside_s3(to, source, workers=3, last_check=lambda: None, copy_limit=limit)


def test_a_large_object_is_copied_by_parts(bucket: str, s3: Any, requests_log: Any) -> None:
    """A large object is copied by UploadPartCopy, and the copy has every given property."""
    info = connect(SSES3()).put(payload(LARGE), f"s3://{bucket}/x")
    requests_log.clear()
    _copy(s3, bucket, info.etag)
    copied = [e for e in requests_log.list() if "x-amz-copy-source-range" in e["headers"]]
    ranges = sorted(entry["headers"]["x-amz-copy-source-range"] for entry in copied)
    assert len(ranges) == 4
    assert f"bytes={3 * MIN_PART_LENGTH}-{LARGE - 1}" in ranges
    assert all(
        entry["headers"]["x-amz-copy-source-if-match"] == f'"{info.etag}"' for entry in copied
    )
    assert (
        sum(entry["response_bytes"] + entry["request_bytes"] for entry in requests_log.list())
        < 10_000
    )
    store = connect(SSEC(CUSTOMER_KEY))
    assert store.read(f"s3://{bucket}/x") == payload(LARGE)
    assert store.inspect(f"s3://{bucket}/x").metadata == {"a": "b"}
    tags = s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"]
    assert tags == [{"Key": "t", "Value": "1"}]


def test_a_copy_by_parts_yields_to_another_writer(bucket: str, s3: Any) -> None:
    """A copy in parts is a conflict if the source or the target was replaced."""
    store, uri = connect(SSES3()), f"s3://{bucket}/x"
    stale = store.put(payload(LARGE), uri).etag
    current = store.put(payload(LARGE)[::-1], uri).etag
    with pytest.raises(ConflictError):
        _copy(s3, bucket, stale)
    with pytest.raises(ConflictError):
        _copy(s3, bucket, current, conditions={"IfMatch": stale})
    assert stored(s3, bucket, "x") == payload(LARGE)[::-1]
    assert uploads(s3, bucket) == []


def test_a_copy_by_parts_that_is_refused_leaves_the_object(bucket: str, s3: Any) -> None:
    """If the check of the upload's reply fails, no part is copied and the object stays."""
    store, uri = connect(SSES3()), f"s3://{bucket}/x"
    etag = store.put(payload(LARGE), uri).etag

    def refuse(_: Any) -> None:
        raise StorageError("refused")

    with pytest.raises(StorageError, match="refused"):
        _copy(s3, bucket, etag, check=refuse)
    assert uploads(s3, bucket) == []
    assert store.inspect(uri).etag == etag


# The bytes per second of a slow service that must still work, and boto3's read timeout in seconds.
_SLOW_PACE, _READ_TIMEOUT = 12 * 2**20, 60
_AT_ONCE = 10


def _copying(asked: Asked, _forward: Callable[[], Answer]) -> Answer:
    """Reply as if the copy had succeeded, without any object."""
    if "x-amz-copy-source" in asked.headers:
        return Answer(200, {}, b'<CopyPartResult><ETag>"a"</ETag></CopyPartResult>')
    if asked.method == "POST" and "uploads" in asked.query:
        return Answer(200, {}, b"<Result><UploadId>1</UploadId></Result>")
    if asked.method == "POST":
        return Answer(200, {}, b'<Result><ETag>"b"</ETag></Result>')
    return Answer(204)


def _copy_far(client: Any, size: int) -> Any:
    source = CopySource(Location("bucket", "x"), '"e"', None, size, {})
    to = Upload(client, Location("bucket", "y"), {}, {}, {}, lambda _: None)
    return copy_inside_s3(to, source, workers=_AT_ONCE, last_check=lambda: None)


def test_a_slow_service_copies_each_part_in_time(sandbox: Any, session: Any) -> None:
    """Parts are so short that a slow service copies ten at once within boto3's timeout."""
    size = 6 * 10**9 + 1
    with relaying(sandbox.endpoint_url, _copying) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        assert _copy_far(client, size)["ETag"] == '"b"'
    headers = [asked.headers.get("x-amz-copy-source-range") for asked in relay.asked]
    ranges = [text.removeprefix("bytes=").split("-") for text in headers if text]
    copied = sorted((int(first), int(last) + 1) for first, last in ranges)
    assert [start for start, _ in copied] == [0, *(end for _, end in copied[:-1])]
    assert copied[-1][1] == size
    assert all((end - start) * _AT_ONCE <= _SLOW_PACE * _READ_TIMEOUT for start, end in copied)


@pytest.mark.parametrize("size", [1000, 5 * 10**9 + 1], ids=["one request", "parts"])
def test_a_copy_that_takes_too_long_says_how_to_wait_longer(
    size: int, sandbox: Any, session: Any
) -> None:
    """If a copy takes longer than the read timeout, the hint names the setting."""

    def silent(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if "x-amz-copy-source" in asked.headers:
            time.sleep(0.3)
        return _copying(asked, forward)

    with relaying(sandbox.endpoint_url, silent) as relay:
        config = Config(read_timeout=0.1, retries={"total_max_attempts": 1})
        client = session.client("s3", endpoint_url=relay.url, config=config)
        with pytest.raises(StorageError, match="Read timeout") as caught:
            _copy_far(client, size)
    assert "S3CRYPT_READ_TIMEOUT=300" in str(caught.value.hint)
