# SPDX-License-Identifier: Apache-2.0
"""Parts of uploads and downloads: their lengths, retries, and connections that break."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as some
from relay import Answer, Asked, Relay, relaying
from samples import (
    LARGE,
    PART,
    aes,
    connect,
    files,
    make_mode,
    names,
    payload,
    uploads,
)

from s3crypt import (
    SSES3,
    ClientSide,
    ConflictError,
    IntegrityError,
    S3Crypt,
    StorageError,
)
from s3crypt.message import MAX_HEADER_LENGTH, encrypt, read_header
from s3crypt.message.geometry import FINAL_FRAME_OVERHEAD, FRAME_OVERHEAD
from s3crypt.transfer import (
    MAX_PART_LENGTH,
    MAX_PARTS,
    part_length,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from s3crypt.sandbox import Running

GIB, TIB = 2**30, 2**40
MIN_PART_LENGTH = 5 * 2**20
# S3's largest object: 10,000 parts of 5 GiB.
LARGEST = MAX_PARTS * MAX_PART_LENGTH
FRAME_LENGTHS = some.integers(32, 2**19).map(lambda steps: steps * 128)


# --- Arithmetic ------------------------------------------------------------------------------


def _part_length(size: int | None, number: int, unit: int) -> int:
    """Return the plaintext length of a part. `unit` is a message's frame length, or 1."""
    return part_length(size, number, unit, unit if unit == 1 else unit + FRAME_OVERHEAD)


def _parts(size: int, unit: int) -> int:
    return max(1, -(-size // _part_length(size, 1, unit)))


def _sealed(length: int, unit: int) -> int:
    """Return the largest stored length of a part with this much plaintext."""
    if unit == 1:
        return length
    frames = length // unit
    return frames * (unit + FRAME_OVERHEAD) + MAX_HEADER_LENGTH + FINAL_FRAME_OVERHEAD


@given(size=some.integers(0, LARGEST))
def test_every_size_fits_s3s_parts(size: int) -> None:
    """Every size up to S3's limit is split into at most 10,000 parts of 5 MiB to 5 GiB."""
    length = part_length(size, 1)
    assert _parts(size, 1) <= MAX_PARTS
    assert MIN_PART_LENGTH <= length <= MAX_PART_LENGTH
    assert part_length(size, 2) == part_length(size, MAX_PARTS) == length


@given(size=some.integers(0, int(48.8 * TIB)), unit=some.just(2**18))
def test_every_message_fits_s3s_parts(size: int, unit: int) -> None:
    """Every message up to 48.8 TiB is split into parts of whole frames within S3's limits."""
    length = _part_length(size, 1, unit)
    assert length % unit == 0
    assert _parts(size, unit) <= MAX_PARTS
    assert length >= MIN_PART_LENGTH
    assert _sealed(length, unit) <= MAX_PART_LENGTH


@given(size=some.integers(0, 45 * TIB), unit=FRAME_LENGTHS)
def test_every_frame_length_fits_s3s_parts(size: int, unit: int) -> None:
    """Parts have whole frames within S3's limits, for every frame length."""
    length = _part_length(size, 1, unit)
    assert length % unit == 0
    assert _parts(size, unit) <= MAX_PARTS
    assert length >= MIN_PART_LENGTH
    assert _sealed(length, unit) <= MAX_PART_LENGTH


@given(number=some.integers(1, MAX_PARTS), unit=FRAME_LENGTHS | some.just(1))
def test_a_streams_parts_grow(number: int, unit: int) -> None:
    """Parts of a stream of unknown length grow with their number, within S3's limits."""
    length = _part_length(None, number, unit)
    assert length % unit == 0
    assert length >= MIN_PART_LENGTH
    assert _sealed(length, unit) <= MAX_PART_LENGTH
    assert number == 1 or _part_length(None, number - 1, unit) <= length


def test_a_stream_has_room_for_terabytes() -> None:
    """A stream of unknown length has short parts up to 9.7 GiB, and room for 2.4 TiB.

    Part 10,001 is refused.
    """
    lengths = [part_length(None, number) for number in range(1, MAX_PARTS + 1)]
    assert {part_length(None, number) for number in range(1, 1251)} == {PART}
    assert sum(lengths) > 2.4 * TIB
    with pytest.raises(StorageError, match="10,000 parts"):
        part_length(None, MAX_PARTS + 1)


@pytest.mark.parametrize(
    ("size", "unit", "length"),
    [
        (0, 1, PART),
        (PART * MAX_PARTS, 1, PART),
        (PART * MAX_PARTS + 1, 1, PART + 1),
        (PART * MAX_PARTS, 2**18, PART),
        (PART * MAX_PARTS + 1, 2**18, PART + 2**18),
        (1, 9 * 2**19, 9 * 2**20),  # a single frame would be below the minimum part length
        (1, 64 * 2**20, 64 * 2**20),
        (LARGEST, 1, MAX_PART_LENGTH),
    ],
)
def test_part_lengths_at_the_edges(size: int, unit: int, length: int) -> None:
    """Part lengths at the limits are those that were computed by hand."""
    assert _part_length(size, 1, unit) == length


@pytest.mark.parametrize(("size", "unit"), [(LARGEST + 1, 1), (LARGEST, 2**18), (60 * TIB, 4096)])
def test_what_s3_does_not_take_is_refused_at_once(size: int, unit: int) -> None:
    """A size above S3's limit is refused before anything is sent."""
    with pytest.raises(StorageError, match=str(size)):
        _part_length(size, 1, unit)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("frame_length", [4096, 2**18, 3 * 2**20])
def test_parts_are_whole_frames(
    workers: int, frame_length: int, sandbox: Running, bucket: str
) -> None:
    """Each part ends with a whole frame, and the frames of all parts are in order."""
    mode = ClientSide(aes(), frame_length=frame_length)
    with relaying(sandbox.endpoint_url) as relay:
        client = boto3.client("s3", endpoint_url=relay.url)
        S3Crypt(mode, client=client, workers=workers).put(payload(LARGE), f"s3://{bucket}/x")
    parts = {int(a.query["partNumber"]): a.body for a in relay.asked if a.is_part}
    header = len(read_header(io.BytesIO(parts[1])))
    stride = frame_length + FRAME_OVERHEAD
    assert (len(parts[1]) - header) % stride == 0
    assert all(len(parts[number]) % stride == 0 for number in range(2, len(parts)))
    assert sorted(parts) == list(range(1, len(parts) + 1))
    whole = b"".join(parts[number] for number in sorted(parts))
    assert _sequences(whole, header, stride) == list(range(1, -(-LARGE // frame_length) + 1))


class Unsized:
    """A stream whose length is known only at its end."""

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


@pytest.mark.parametrize("kind", ["bytes", "stream", "writer"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("parts", [1, 2])
def test_whole_parts_end_with_an_empty_final_frame(
    parts: int, kind: str, sandbox: Running, bucket: str, *, signed: bool
) -> None:
    """If parts are full, the empty final frame is sent with the last part, not alone."""
    size, uri = parts * PART, f"s3://{bucket}/x"
    mode = ClientSide(aes(), frame_length=2**20, signed=signed)
    with relaying(sandbox.endpoint_url) as relay:
        store = S3Crypt(mode, client=boto3.client("s3", endpoint_url=relay.url))
        if kind == "writer":
            with store.open(uri, "wb") as file:
                file.write(payload(size))
        else:
            source: Any = payload(size) if kind == "bytes" else Unsized(payload(size))
            assert store.put(source, uri).frames == 8 * parts + 1
    puts = [asked for asked in relay.asked if asked.method == "PUT"]
    sent = [a.body for a in sorted(puts, key=lambda asked: asked.query.get("partNumber", ""))]
    assert len(sent) == parts
    header = read_header(io.BytesIO(sent[0]))
    last = 8 * (2**20 + FRAME_OVERHEAD) + FINAL_FRAME_OVERHEAD + 105 * signed
    assert len(sent[-1]) == last + (len(header) if parts == 1 else 0)
    assert store.read(uri) == payload(size)
    assert store.inspect(uri).size == size


@pytest.mark.parametrize("size", [6 * 2**20, 2 * 6 * 2**20])
def test_a_last_part_of_an_empty_final_frame_alone(
    size: int, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """An object whose last part is only the final frame, as some writers send it, is readable."""
    body = encrypt(payload(size), aes(), frame_length=2**20)
    cut = len(body) - FINAL_FRAME_OVERHEAD
    upload = {"Bucket": bucket, "Key": "x"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    pieces = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(**upload, PartNumber=number, Body=piece)["ETag"],
        }
        for number, piece in enumerate((body[:cut], body[cut:]), 1)
    ]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": pieces})
    store, uri = connect(ClientSide(aes(), bind_name=False)), f"s3://{bucket}/x"
    assert (store.inspect(uri).size, store.inspect(uri).frames) == (size, size // 2**20 + 1)
    assert store.read(uri) == payload(size)
    assert store.get(uri, tmp_path / "out").size == size
    assert (tmp_path / "out").read_bytes() == payload(size)
    with store.open(uri) as file:
        assert file.read_ranges([(-9, None), (size - 1, size), (size, None)]) == [
            payload(size)[-9:],
            payload(size)[-1:],
            b"",
        ]


def _sequences(message: bytes, header: int, stride: int) -> list[int]:
    """Return the sequence numbers of a message's frames, in order."""
    starts = range(header, len(message) - FINAL_FRAME_OVERHEAD, stride)
    found = [int.from_bytes(message[start : start + 4]) for start in starts]
    final = starts[-1]
    assert found[-1] == 0xFFFFFFFF
    return [*found[:-1], int.from_bytes(message[final + 4 : final + 8])]


# --- Retries ---------------------------------------------------------------------------------


def _client(relay: Relay) -> Any:
    retries: Any = {"mode": "standard", "total_max_attempts": 3}
    return boto3.client("s3", endpoint_url=relay.url, config=Config(retries=retries))


def _failing_once(of: Callable[[Asked], bool]) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    """Return a relay function that replies 500 once to each matching request."""
    failed: set[str] = set()

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        key = f"{asked.method} {asked.query.get('partNumber')}"
        if of(asked) and key not in failed:
            failed.add(key)
            return Answer(500, {}, b"<Error><Code>InternalError</Code></Error>")
        return forward()

    return spoil


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_part_is_sent_again_as_it_was(
    size: int, sandbox: Running, bucket: str, *, signed: bool
) -> None:
    """A retry sends exactly the same bytes: sealing them again under one nonce would break GCM."""
    with relaying(sandbox.endpoint_url, _failing_once(lambda a: a.method == "PUT")) as relay:
        store = S3Crypt(ClientSide(aes(), signed=signed), client=_client(relay))
        store.put(payload(size), f"s3://{bucket}/x")
    sent: dict[str | None, list[bytes]] = {}
    for asked in relay.asked:
        if asked.method == "PUT":
            sent.setdefault(asked.query.get("partNumber"), []).append(asked.body)
    assert len(sent) == max(1, -(-size // PART))
    for bodies in sent.values():
        assert len(bodies) == 2
        assert bodies[0] == bodies[1]
    assert connect(ClientSide(aes())).read(f"s3://{bucket}/x") == payload(size)


def _losing_replies(of: Callable[[Asked], bool]) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    """Return a relay function that forwards the first matching request, but replies 500."""
    lost: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if of(asked) and not lost:
            lost.append(asked)
            return Answer(500, {}, b"<Error><Code>InternalError</Code></Error>")
        return answer

    return spoil


def test_a_lost_reply_to_a_completion_is_no_failure(sandbox: Running, bucket: str) -> None:
    """If the reply that completes an upload is lost, the repeated request succeeds."""
    spoil = _losing_replies(lambda a: a.method == "POST" and "uploadId" in a.query)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(ClientSide(aes()), client=_client(relay))
        store.put(payload(PART + 1), f"s3://{bucket}/x", if_absent=True)
        assert store.read(f"s3://{bucket}/x") == payload(PART + 1)


def test_a_lost_reply_to_a_conditional_put_is_no_failure(sandbox: Running, bucket: str) -> None:
    """If a conditional put's reply is lost, the retry recognises the stored object as its own."""
    with relaying(sandbox.endpoint_url, _losing_replies(lambda a: a.method == "PUT")) as relay:
        store = S3Crypt(ClientSide(aes()), client=_client(relay))
        store.put(b"plain", f"s3://{bucket}/x", if_absent=True)
        assert store.read(f"s3://{bucket}/x") == b"plain"


def test_a_part_that_never_arrives_aborts_the_upload(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """If a part fails in all attempts, the put fails and leaves no upload."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.query.get("partNumber") == "2":
            return Answer(500, {}, b"<Error><Code>InternalError</Code></Error>")
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(ClientSide(aes()), client=_client(relay))
        with pytest.raises(StorageError, match="part 2") as caught:
            store.put(payload(LARGE), f"s3://{bucket}/x")
    assert caught.value.code == "InternalError"
    assert uploads(s3, bucket) == []
    assert names(s3, bucket) == []


# --- Broken connections ----------------------------------------------------------------------


def _breaking(every: int, times: int) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    """Return a relay function that breaks the first `times` GET replies after `every` bytes."""
    left = [times]

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "GET" and len(answer.body) > every and left[0]:
            left[0] -= 1
            answer.cut = every
        return answer

    return spoil


@pytest.mark.parametrize("name", ["sse-s3", "sse-c", "client-header", "client-metadata"])
@pytest.mark.parametrize("to_file", [False, True])
def test_a_broken_connection_is_taken_up_where_it_broke(
    name: str, sandbox: Running, bucket: str, kms_key: str, tmp_path: Path, *, to_file: bool
) -> None:
    """After a broken connection, the get continues at the byte that is missing."""
    mode, uri = make_mode(name, kms_key), f"s3://{bucket}/x"
    connect(mode).put(payload(LARGE), uri)
    with relaying(sandbox.endpoint_url, _breaking(3_000_000, 5)) as relay:
        store = S3Crypt(mode, client=_client(relay), workers=2)
        if to_file:
            store.get(uri, tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == payload(LARGE)
        else:
            assert store.read(uri) == payload(LARGE)
    gets = [asked for asked in relay.asked if asked.method == "GET"]
    assert len(gets) > 5
    assert all("if-match" in asked.headers for asked in gets[1:])
    assert len({asked.headers["range"].partition("-")[0] for asked in gets}) == len(gets)


def test_a_connection_that_always_breaks_is_an_error(
    sandbox: Running, bucket: str, tmp_path: Path
) -> None:
    """If every reply breaks off before its first byte, the get fails and leaves no file."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(PART), uri)

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        answer.cut = 0
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=_client(relay))
        with pytest.raises(StorageError, match="at byte 0"):
            store.get(uri, tmp_path / "out")
    assert files(tmp_path) == []


def test_an_object_replaced_while_the_connection_is_broken_is_a_conflict(
    sandbox: Running, bucket: str, tmp_path: Path
) -> None:
    """If the object is replaced while the connection is broken, the get is a conflict."""
    store, uri = connect(SSES3()), f"s3://{bucket}/x"
    store.put(payload(PART), uri)
    replaced: list[bool] = []

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if not replaced:
            replaced.append(True)
            answer.cut = 1_000_000
            store.put(payload(PART + 1), uri)
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay, pytest.raises(ConflictError):
        S3Crypt(SSES3(), client=_client(relay)).get(uri, tmp_path / "out")
    assert files(tmp_path) == []


@pytest.mark.parametrize("header", ["range", "if-match"])
@pytest.mark.parametrize("name", ["sse-s3", "client-header"])
def test_a_service_that_ignores_what_a_get_demands_is_noticed(
    header: str, name: str, sandbox: Running, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """If a service ignores the range or the condition of a GET, the get fails."""
    mode, uri = make_mode(name, kms_key), f"s3://{bucket}/x"
    connect(mode).put(payload(LARGE), uri)
    asked_before: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked_before:
            asked.headers.pop(header, None)
            if header == "if-match" and len(asked_before) == 1:
                connect(mode).put(payload(LARGE + 1), uri)
        asked_before.append(asked)
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(mode, client=_client(relay), workers=1)
        with pytest.raises((StorageError, IntegrityError)):
            store.get(uri, tmp_path / "out")
    assert files(tmp_path) == []


def test_a_wrong_checksum_of_s3_is_no_raw_error(
    sandbox: Running, bucket: str, tmp_path: Path
) -> None:
    """A body that differs from S3's checksum raises IntegrityError, not botocore's error."""
    store, uri = connect(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(1000), uri)

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])
        answer.headers["x-amz-checksum-crc32"] = "AAAAAA=="
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(ClientSide(aes()), client=_client(relay))
        with pytest.raises(IntegrityError):
            store.get(uri, tmp_path / "out")
        with pytest.raises(IntegrityError):
            store.read(uri)
