# SPDX-License-Identifier: Apache-2.0
"""The requests that an open object makes, the bytes that it fetches, and its cache."""

from __future__ import annotations

import io
import os
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from reader_samples import (
    DEFAULT_FRAME,
    DEFAULT_STRIDE,
    FIRST,
    HANG,
    SIZE,
    decrypts_of,
    ended,
    gets_of,
    put_short_frames,
    ranges_of,
    short_frames,
    wait_for,
)
from samples import MODES, aes, connect_shared, make_mode, payload

from s3crypt import SSES3, ClientSide, S3Crypt

if TYPE_CHECKING:
    from conftest import RequestsLog


@pytest.fixture
def store() -> S3Crypt:
    """Return a store that writes short frames."""
    return short_frames()


@pytest.fixture
def uri(store: S3Crypt, bucket: str) -> str:
    """Put an object of many short frames. Return its URI."""
    return put_short_frames(store, bucket)


# --- Requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", [0, 1, 60_000, 500_000])
def test_a_small_object_is_one_request(
    name: str, size: int, bucket: str, key: str, requests_log: RequestsLog
) -> None:
    """A small object is fetched by one request, even if it is read several times."""
    store, uri = connect_shared(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    requests_log.clear()
    with store.open(uri) as file:
        assert file.read() == payload(size)
        file.seek(0)
        assert file.read_ranges([(0, None), (-5, None)]) == [payload(size), payload(size)[-5:]]
        assert file.size == size
    # The first request asks for a range. An empty object has no byte, so S3 refuses this range, and
    # a second request follows.
    assert len(gets_of(requests_log)) == (2 if size == 0 and not name.startswith("client") else 1)
    assert decrypts_of(requests_log) == name.startswith("client")


@pytest.mark.parametrize("name", MODES)
def test_a_small_read_of_a_large_object(
    name: str, bucket: str, key: str, requests_log: RequestsLog
) -> None:
    """A small read of a large object fetches the header, the end and one frame."""
    size = 20 * DEFAULT_FRAME
    store, uri = connect_shared(make_mode(name, key)), f"s3://{bucket}/x"
    stored_size = store.put(payload(size), uri).stored_size
    requests_log.clear()
    with store.open(uri) as file:
        file.seek(10 * DEFAULT_FRAME + 5)
        assert file.read(10) == payload(size)[10 * DEFAULT_FRAME + 5 :][:10]
    assert decrypts_of(requests_log) == name.startswith("client")
    *before, (start, end) = ranges_of(requests_log)
    assert end - start <= DEFAULT_STRIDE
    if not name.startswith("client"):
        assert len(before) == 1  # S3 vouches for the length
        return
    header, tail = before
    assert header == (0, FIRST)
    assert tail[1] == stored_size
    assert tail[1] - tail[0] == DEFAULT_STRIDE + 40  # the last full frame and the empty final frame
    assert end - start == DEFAULT_STRIDE


def test_without_the_length_there_is_one_request_less(
    bucket: str, requests_log: RequestsLog
) -> None:
    """With allow_unverified_length, the end is fetched only when the size is needed."""
    size = 20 * DEFAULT_FRAME
    store, uri = connect_shared(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    requests_log.clear()
    with store.open(uri, allow_unverified_length=True) as file:
        file.seek(10 * DEFAULT_FRAME)
        assert file.read(9) == payload(size)[10 * DEFAULT_FRAME :][:9]
        assert len(gets_of(requests_log)) == 2
        assert (file.size, file.seek(0, os.SEEK_END), file.read(1)) == (size, size, b"")
        assert len(gets_of(requests_log)) == 3


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("versioned", [False, True])
def test_every_later_get_is_pinned(
    name: str, bucket: str, key: str, s3: Any, requests_log: RequestsLog, *, versioned: bool
) -> None:
    """Each later GET names the ETag of the first reply, and its version if there is one."""
    if versioned:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    size = 8 * DEFAULT_FRAME
    store, uri = connect_shared(make_mode(name, key)), f"s3://{bucket}/x"
    info = store.put(payload(size), uri)
    requests_log.clear()
    with store.open(uri, cache_length=0) as file:
        assert file.read() == payload(size)
        file.seek(-9, os.SEEK_END)
        file.read()
        file.read_ranges([(start, start + 9) for start in range(0, size, size // 4)])
    first, *later = gets_of(requests_log)
    assert "if-match" not in first["headers"]
    assert "versionId" not in first["query"]
    assert later
    for entry in later:
        assert entry["status"] == 206
        assert entry["headers"]["if-match"] == f'"{info.etag}"'
        assert (f"versionId={info.version_id}" in entry["query"]) == versioned
    assert bool(info.version_id) == versioned


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_neighbours_come_by_one_request(mode: Any, bucket: str, requests_log: RequestsLog) -> None:
    """Adjacent frames are fetched by one request, for one read and for several ranges."""
    size = 24 * DEFAULT_FRAME
    store, uri = connect_shared(mode), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri) as file:
        file.seek(4 * DEFAULT_FRAME)
        requests_log.clear()
        assert file.read(4 * DEFAULT_FRAME) == payload(size)[4 * DEFAULT_FRAME :][: 2**20]
        assert len(gets_of(requests_log)) == 1
        requests_log.clear()
        ranges = [(n * DEFAULT_FRAME + 5, n * DEFAULT_FRAME + 70_000) for n in (12, 13, 14, 15)]
        ranges += [(12 * DEFAULT_FRAME, 12 * DEFAULT_FRAME + 9)]
        assert file.read_ranges(ranges) == [payload(size)[start:end] for start, end in ranges]
        fetched = sum(entry["response_bytes"] for entry in gets_of(requests_log))
        assert fetched <= 4 * DEFAULT_STRIDE
        if isinstance(mode, ClientSide):
            assert len(gets_of(requests_log)) == 1


def test_far_ranges_come_by_requests_of_their_own(bucket: str, requests_log: RequestsLog) -> None:
    """Distant ranges are fetched by separate requests; a range that is given twice only once."""
    size = 24 * DEFAULT_FRAME
    store, uri = connect_shared(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri) as file:
        requests_log.clear()
        wanted = [(n * DEFAULT_FRAME, n * DEFAULT_FRAME + 9) for n in (3, 9, 15, 9, 3)]
        assert file.read_ranges(wanted) == [payload(size)[start:end] for start, end in wanted]
        assert sorted(end - start for start, end in ranges_of(requests_log)) == [DEFAULT_STRIDE] * 3


def test_what_is_kept_is_not_fetched_again(
    store: S3Crypt, uri: str, requests_log: RequestsLog
) -> None:
    """Reading bytes that are in the cache makes no request."""
    with store.open(uri) as file:
        file.read()
        requests_log.clear()
        for start in (0, SIZE // 2, SIZE - 9, 17):
            file.seek(start)
            file.read(5000)
        file.read_ranges([(SIZE - 9, None), (5, 9)])
    assert gets_of(requests_log) == []


def test_what_is_kept_is_bounded(bucket: str, requests_log: RequestsLog) -> None:
    """The cache is limited: it drops the frames that were not used for the longest time."""
    size = 20 * DEFAULT_FRAME
    store, uri = connect_shared(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(size), uri)

    def look(file: Any, frame: int) -> int:
        requests_log.clear()
        file.seek(frame * DEFAULT_FRAME + 9)
        assert file.read(9) == payload(size)[frame * DEFAULT_FRAME + 9 :][:9]
        return len(gets_of(requests_log))

    with store.open(uri, cache_length=4 * DEFAULT_FRAME) as file:
        frames = (2, 17, 4, 15, 6, 13, 8, 11)
        assert [look(file, frame) for frame in frames] == [1] * len(frames)
        assert [look(file, frame) for frame in (11, 8)] == [0, 0]
        assert [look(file, frame) for frame in (2, 17)] == [1, 1]


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("step", [1000, 2**20])
def test_reading_on_takes_few_requests(
    name: str, step: int, bucket: str, key: str, requests_log: RequestsLog
) -> None:
    """Reading an object in order takes few requests, and fetches few bytes twice."""
    size = 32 * DEFAULT_FRAME
    store, uri = connect_shared(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    requests_log.clear()
    found = io.BytesIO()
    with store.open(uri) as file:
        while chunk := file.read(step):
            found.write(chunk)
    assert found.getvalue() == payload(size)
    gets = gets_of(requests_log)
    assert len(gets) <= 14
    assert sum(entry["response_bytes"] for entry in gets) <= size * 1.05 + 2**19
    assert decrypts_of(requests_log) == name.startswith("client")


def test_reading_backwards_reads_nothing_ahead(bucket: str, requests_log: RequestsLog) -> None:
    """Reading backwards or by jumps fetches only the frames needed, without read-ahead."""
    size = 32 * DEFAULT_FRAME
    store, uri = connect_shared(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri) as file:
        requests_log.clear()
        for frame in range(28, 0, -3):
            file.seek(frame * DEFAULT_FRAME + 5)
            file.read(9)
        assert all(end - start == DEFAULT_STRIDE for start, end in ranges_of(requests_log))


# --- How much is fetched -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "cache"),
    [(1, 1), (1, 2), (1, 3), (2, 4), (2, 3), (2, 1), (4, 4), (4, 6)],
)
def test_frames_as_long_as_the_cache_come_once(
    frame: int, cache: int, bucket: str, requests_log: RequestsLog
) -> None:
    """With frames as long as the cache, each frame is fetched once: read-ahead does not drop it."""
    size, mib = 11 * 2**20 + 5, 2**20
    store, uri = connect_shared(ClientSide(aes(), frame_length=frame * mib)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    requests_log.clear()
    with store.open(uri, cache_length=cache * mib) as file:
        assert b"".join(iter(partial(file.read, 60_000), b"")) == payload(size)
    assert ended("s3crypt-read")
    # Only the requests for the header and for the end may fetch bytes twice. The end is at most two
    # frames.
    fetched = sum(end - start for start, end in ranges_of(requests_log))
    assert fetched <= size + FIRST + 2**16 + 2 * frame * mib


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_nothing_is_read_ahead_before_the_third_read_in_order(
    mode: Any, bucket: str, requests_log: RequestsLog
) -> None:
    """Read-ahead begins with the third read in order. Two reads may be a jump to a column."""
    size = 24 * DEFAULT_FRAME
    store, uri = connect_shared(mode), f"s3://{bucket}/x"
    store.put(payload(size), uri)

    def fetched(reads: int) -> int:
        with store.open(uri) as file:
            requests_log.clear()
            file.seek(4 * DEFAULT_FRAME)
            for _ in range(reads):
                file.read(DEFAULT_FRAME)
            # The wait is needed: closing the file cancels read-ahead that has not begun.
            wait_for(HANG if reads > 2 else 0.5, lambda: bytes_fetched() > reads * DEFAULT_STRIDE)
        assert ended("s3crypt-read")
        return bytes_fetched()

    def bytes_fetched() -> int:
        return sum(end - start for start, end in ranges_of(requests_log))

    assert fetched(1) <= DEFAULT_STRIDE
    assert fetched(2) <= 2 * DEFAULT_STRIDE
    assert fetched(3) > 3 * DEFAULT_STRIDE


@pytest.mark.parametrize("frame", [2**14, DEFAULT_FRAME])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_adjacent_columns_fetch_each_frame_once(
    count: int, frame: int, bucket: str, requests_log: RequestsLog
) -> None:
    """If two adjacent columns share a frame, the frame is fetched once."""
    size = 40 * DEFAULT_FRAME
    store, uri = connect_shared(ClientSide(aes(), frame_length=frame)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    place = 3 * 2**20 + 17
    with store.open(uri) as file:
        requests_log.clear()
        file.seek(place)
        for length in (300_000, 500_001, 700_007, 200_003, 350_000)[:count]:
            assert file.read(length) == payload(size)[place : place + length]
            place += length
    assert ended("s3crypt-read")
    asked = sorted(ranges_of(requests_log))
    assert all(one[1] <= two[0] for one, two in pairwise(asked)), asked


@pytest.mark.parametrize("how", ["read", "read_ranges"])
def test_columns_here_and_there_bring_little_else(
    how: str, bucket: str, requests_log: RequestsLog
) -> None:
    """Reading an object as a Parquet reader does fetches little more than the columns."""
    size, column, frame = 20 * 2**20, 1_000_003, 2**14
    store, uri = connect_shared(ClientSide(aes(), frame_length=frame)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    starts = [group * 5 * 2**20 + n * column + 17 for group in range(4) for n in (0, 2, 4)]
    starts = [start for start in starts if start + column <= size]
    requests_log.clear()
    with store.open(uri) as file:
        for tail in (8, 30_000):
            file.seek(-tail, os.SEEK_END)
            assert file.read(tail) == payload(size)[-tail:]
        if how == "read_ranges":
            wanted = [(start, start + column) for start in starts]
            assert file.read_ranges(wanted) == [payload(size)[a:b] for a, b in wanted]
        else:
            for start in starts:
                file.seek(start)
                assert file.read(column) == payload(size)[start : start + column]
    assert ended("s3crypt-read")
    fetched = sum(end - start for start, end in ranges_of(requests_log))
    assert fetched <= 1.1 * len(starts) * column


def test_without_a_mode_a_small_plain_object_is_one_request(
    bucket: str, requests_log: RequestsLog
) -> None:
    """Without a mode, one request finds that a small object is plain, and also reads it."""
    uri, text = f"s3://{bucket}/x", b"a line of text\n" * 4000
    connect_shared(SSES3()).put(text, uri)
    requests_log.clear()
    with connect_shared().open(uri) as file:
        assert file.read() == text
    assert ranges_of(requests_log) == [(0, FIRST)]


@pytest.mark.parametrize("mode", [SSES3(), None], ids=["sse-s3", "none"])
def test_of_a_plain_object_nothing_is_fetched_in_vain(
    mode: Any, bucket: str, requests_log: RequestsLog
) -> None:
    """Of a plain object no byte is fetched twice: the first read uses the first request's bytes."""
    uri, size = f"s3://{bucket}/x", 5 * 2**20
    # The content begins like a PNG file. For content of no known type, a reader without a mode
    # would also look for an instruction file.
    content = b"\x89PNG\r\n\x1a\n" + payload(size - 8)
    connect_shared(SSES3()).put(content, uri)
    requests_log.clear()
    with connect_shared(mode).open(uri) as file:
        file.read(50_000)
        assert ranges_of(requests_log) == [(0, FIRST)]
    requests_log.clear()
    with connect_shared(mode).open(uri) as file:
        assert b"".join(iter(partial(file.read, 50_000), b"")) == content
    asked = sorted(ranges_of(requests_log))
    assert sum(end - start for start, end in asked) <= size + FIRST
