# SPDX-License-Identifier: Apache-2.0
"""Copies by parts, for objects larger than one CopyObject takes."""

from __future__ import annotations

from typing import Any

import pytest
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
    """Beyond CopyObject's limit UploadPartCopy serves; all arguments arrive."""
    info = connect(SSES3()).put(payload(LARGE), f"s3://{bucket}/x")
    requests_log.clear()
    _copy(s3, bucket, info.etag)
    copied = [e for e in requests_log.list() if "x-amz-copy-source-range" in e["headers"]]
    ranges = sorted(entry["headers"]["x-amz-copy-source-range"] for entry in copied)
    assert len(ranges) == 4
    assert f"bytes={3 * MIN_PART_LENGTH}-{LARGE - 1}" in ranges
    assert all(entry["headers"]["x-amz-copy-source-if-match"] == info.etag for entry in copied)
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
    """A stale ETag, for the source or for the target, is a conflict, and leaves no upload."""
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
    """The check of the reply comes before the first part."""
    store, uri = connect(SSES3()), f"s3://{bucket}/x"
    etag = store.put(payload(LARGE), uri).etag

    def refuse(_: Any) -> None:
        raise StorageError("refused")

    with pytest.raises(StorageError, match="refused"):
        _copy(s3, bucket, etag, check=refuse)
    assert uploads(s3, bucket) == []
    assert store.inspect(uri).etag == etag
