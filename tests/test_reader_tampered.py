# SPDX-License-Identifier: Apache-2.0
"""Open objects that were tampered with: every byte returned is from a verified frame."""

from __future__ import annotations

import io
import os
import random
from typing import TYPE_CHECKING, Any

import pytest
from reader_samples import FRAME, FRAMES, SIZE, STRIDE, put_short_frames, read_on, short_frames
from samples import payload, rewrite, stored

from s3crypt import FormatError, IntegrityError, KeyUnavailableError, PolicyError, S3Crypt
from s3crypt.message import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def store() -> S3Crypt:
    """Return a store that writes short frames."""
    return short_frames()


@pytest.fixture
def uri(store: S3Crypt, bucket: str) -> str:
    """Put an object of many short frames. Return its URI."""
    return put_short_frames(store, bucket)


def _frame(index: int) -> slice:
    """Return the range of a frame in the plaintext. The first frame has the index 0."""
    return slice(index * FRAME, min((index + 1) * FRAME, SIZE))


def _header_length(body: bytes) -> int:
    return len(read_header(io.BytesIO(body)))


def _offset(body: bytes, index: int) -> int:
    """Return the offset of a frame in the stored body."""
    return _header_length(body) + index * STRIDE


def _flip(s3: Any, uri: str, index: int, at: int = 1000) -> None:
    """Flip one bit in the ciphertext of a frame, `at` bytes after its beginning."""
    bucket, _, name = uri.removeprefix("s3://").partition("/")
    body = bytearray(stored(s3, bucket, name))
    body[_offset(bytes(body), index) + 16 + at] ^= 1
    rewrite(s3, bucket, name, bytes(body))


# Frames in the first request, in the last request, and between them. Another test covers the final
# frame.
FLIPPED = (0, 3, 125, 126, 127, 135, 143, 144, FRAMES - 3, FRAMES - 2)


@pytest.mark.parametrize("bad", FLIPPED)
def test_a_flipped_bit_fails_only_its_frame(bad: int, store: S3Crypt, uri: str, s3: Any) -> None:
    """Only the frame with the flipped bit cannot be read, however often it is tried."""
    _flip(s3, uri, bad)
    plaintext = payload(SIZE)
    with store.open(uri) as file:
        assert file.size == SIZE
        for index in [*range(FRAMES), bad, *reversed(range(FRAMES))]:
            where = _frame(index)
            file.seek(where.start)
            if index != bad:
                assert file.read(where.stop - where.start) == plaintext[where], index
                continue
            for offset, count in ((0, 1), (FRAME - 1, 1), (0, FRAME), (100, None)):
                file.seek(where.start + offset)
                with pytest.raises(IntegrityError, match=uri):
                    file.read(count)


@pytest.mark.parametrize("bad", FLIPPED)
def test_a_flipped_bit_and_read_ranges(bad: int, store: S3Crypt, uri: str, s3: Any) -> None:
    """`read_ranges` refuses a range that touches the changed frame, and returns other ranges."""
    _flip(s3, uri, bad)
    plaintext, start, end = payload(SIZE), bad * FRAME, (bad + 1) * FRAME
    with store.open(uri) as file:
        around = [(max(0, start - 9), start), (end, end + 9), (0, start), (end, None), (5, 5)]
        for _ in range(2):
            expected = [plaintext[first:last] for first, last in around]
            assert file.read_ranges(around) == expected
            for touching in ((start, start + 1), (end - 1, end), (0, None), (-SIZE, start + 1)):
                with pytest.raises(IntegrityError, match=uri):
                    file.read_ranges([touching])
                with pytest.raises(IntegrityError, match=uri):
                    file.read_ranges([(0, 1) if bad else (-1, None), touching])


@pytest.mark.parametrize("bad", FLIPPED)
def test_reading_on_goes_up_to_the_flipped_bit(bad: int, store: S3Crypt, uri: str, s3: Any) -> None:
    """Reading in order returns every byte before the changed frame, then fails."""
    _flip(s3, uri, bad)
    for step in (1, 7, 100, FRAME - 1, FRAME, FRAME + 1, 10 * FRAME):
        # Large steps start at the beginning. Small steps would take long, so they start just before
        # the changed frame.
        start = 0 if step > 99 else max(0, bad * FRAME - 300)
        with store.open(uri) as file:
            file.seek(start)
            given = bytearray()
            with pytest.raises(IntegrityError):
                read_on(file, step, given)
            assert given == payload(SIZE)[start : bad * FRAME], step
            for _ in range(3):
                with pytest.raises(IntegrityError):
                    file.readinto1(bytearray(step))


@pytest.mark.parametrize("bad", [1, 130, FRAMES - 2])
@pytest.mark.parametrize("step", [1, 1024, FRAME])
def test_exact_reads_go_up_to_the_flipped_bit(
    step: int, bad: int, store: S3Crypt, uri: str, s3: Any
) -> None:
    """A `read` of exactly the bytes before the changed frame returns them."""
    _flip(s3, uri, bad)
    plaintext, end = payload(SIZE), bad * FRAME
    with store.open(uri) as file:
        file.seek(end - FRAME)
        for place in range(end - FRAME, end, step):
            assert file.read(step) == plaintext[place : place + step]
        assert file.tell() == end
        with pytest.raises(IntegrityError):
            file.read(1)
        file.seek(end - 1)
        assert file.read(1) == plaintext[end - 1 : end]
        file.seek(0)
        assert file.read(end) == plaintext[:end]


@pytest.mark.parametrize("bad", [1, 130, FRAMES - 2])
def test_no_byte_is_skipped_after_a_failure(bad: int, store: S3Crypt, uri: str, s3: Any) -> None:
    """After a failed read, the position is right: the next read fails again or is correct."""
    _flip(s3, uri, bad)
    with store.open(uri) as file:
        for count in (1, 300, FRAME, 3 * FRAME, SIZE, -1):
            for start in (0, bad * FRAME - 200, bad * FRAME - 1, bad * FRAME, bad * FRAME + 5):
                file.seek(start)
                for _ in range(4):
                    place = file.tell()
                    try:
                        found = file.read(count)
                    except IntegrityError:
                        continue
                    assert found == payload(SIZE)[place : place + len(found)]
                    assert place + len(found) <= bad * FRAME


@pytest.mark.parametrize("bad", [1, 130])
def test_lines_go_up_to_the_flipped_bit(bad: int, store: S3Crypt, bucket: str, s3: Any) -> None:
    """A line that ends just before the changed frame is returned without reading that frame."""
    uri, line = f"s3://{bucket}/lines", b"x" * 31 + b"\n"
    store.put(line * (FRAMES * FRAME // 32), uri)
    _flip(s3, uri, bad)
    with store.open(uri) as file:
        assert [file.readline() for _ in range(bad * FRAME // 32)] == [line] * (bad * FRAME // 32)
        with pytest.raises(IntegrityError):
            file.readline()
        file.seek(bad * FRAME - 32)
        assert next(file) == line
        with pytest.raises(IntegrityError):
            next(file)
        file.seek((bad + 1) * FRAME)
        assert file.readline() == line


def test_a_flipped_bit_of_the_final_frame(store: S3Crypt, uri: str, s3: Any) -> None:
    """If the final frame is changed, the object's length is not proven.

    The object opens only with allow_unverified_length.
    """
    _flip(s3, uri, FRAMES - 1, at=50)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=uri):
            store.open(uri)
    with store.open(uri, allow_unverified_length=True) as file:
        _check_unproven(file, FRAMES - 1)


def test_a_flipped_bit_of_the_header(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """`open` refuses a changed header, even with allow_unverified_length."""
    body = bytearray(stored(s3, bucket, "x"))
    body[_header_length(bytes(body)) - 1] ^= 1
    rewrite(s3, bucket, "x", bytes(body))
    for unproven in (False, True):
        with pytest.raises(IntegrityError, match=uri):
            store.open(uri, allow_unverified_length=unproven)


def _check_unproven(file: Any, frames: int) -> None:
    """Check that whole frames are returned, and that all reads that need the length fail."""
    plaintext = payload(SIZE)
    for _ in range(2):
        for index in (0, frames - 1, frames // 2):
            where = _frame(index)
            file.seek(where.start)
            assert file.read(FRAME) == plaintext[where]
            assert file.read_ranges([(where.start, where.stop)]) == [plaintext[where]]
        deeds: tuple[Callable[[], object], ...] = (
            lambda: file.size,
            lambda: file.seek(0, os.SEEK_END),
            lambda: file.seek(-1, os.SEEK_END),
            file.read,
            lambda: file.read_ranges([(0, None)]),
            lambda: file.read_ranges([(-5, None)]),
            lambda: file.read_ranges([(0, -5)]),
            lambda: file.read_ranges([(0, SIZE * 2)]),
        )
        for deed in deeds:
            file.seek(0)
            with pytest.raises(IntegrityError):
                deed()
        for place in (frames * FRAME + 1, SIZE, SIZE + FRAME, 2**40):
            # An empty result here would claim that the object ends before this place.
            file.seek(place)
            with pytest.raises(IntegrityError):
                file.read(1)


@pytest.mark.parametrize("frames", [2, 126, 127, 140, FRAMES - 1])
def test_a_truncation_on_the_grid(
    frames: int, store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """`open` refuses an object that was cut after whole frames."""
    body = stored(s3, bucket, "x")
    # With -32, the last whole frame has the length of a full final frame. With -1000, the last
    # whole frame lacks its last bytes.
    for more in (0, 1, 100, FRAME, -32, -1000):
        cut = body[: _offset(body, frames) + 40 + more]
        rewrite(s3, bucket, "x", cut[:-1] if cut == body else cut)
        for _ in range(2):
            with pytest.raises(IntegrityError, match=uri):
                store.open(uri)
        with store.open(uri, allow_unverified_length=True) as file:
            _check_unproven(file, frames - (more < 0))


@pytest.mark.parametrize("frames", [1, 2, FRAMES])
def test_an_object_of_whole_frames(frames: int, store: S3Crypt, bucket: str, s3: Any) -> None:
    """If the plaintext fills whole frames, an empty final frame follows.

    `open` refuses such an object without its empty final frame.
    """
    uri, data = f"s3://{bucket}/whole", payload(SIZE)[: frames * FRAME - FRAME] + payload(FRAME)
    size = len(data)
    store.put(data, uri)
    body = stored(s3, bucket, "whole")
    final = _offset(body, frames)
    assert len(body) == final + 40
    with store.open(uri) as file:
        assert (file.size, file.seek(0, os.SEEK_END), file.read(1)) == (size, size, b"")
        assert file.seek(-FRAME, os.SEEK_END) == size - FRAME
        assert file.read() == payload(FRAME)
        assert file.read_ranges([(-1, None), (size, None), (size - FRAME, size)]) == [
            data[-1:],
            b"",
            data[-FRAME:],
        ]
    last = _offset(body, frames - 1)
    for cut in (body[:final], body[:last] + body[final:], body[:last], body[: last + 40]):
        rewrite(s3, bucket, "whole", cut)
        with pytest.raises(IntegrityError, match=uri):
            store.open(uri)


def _cuts(body: bytes) -> Iterator[bytes]:
    """Yield the body, cut inside a frame or inside the header."""
    header = _header_length(body)
    for index in (0, 1, 20, FRAMES - 1):
        for more in (9, 20, 39):
            yield body[: header + index * STRIDE + more]
    yield body[: header // 2]
    yield body[:20]


def test_a_truncation_elsewhere(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """`open` refuses an object that was cut inside a frame or the header, and an empty object."""
    for cut in _cuts(stored(s3, bucket, "x")):
        rewrite(s3, bucket, "x", cut)
        for unproven in (False, True):
            with pytest.raises(IntegrityError, match=uri):
                store.open(uri, allow_unverified_length=unproven)
    rewrite(s3, bucket, "x", b"")
    with pytest.raises((IntegrityError, FormatError), match=uri):
        store.open(uri)


@pytest.mark.parametrize("trailer", [1, 100, 105, STRIDE - 1, STRIDE, STRIDE + 100])
def test_bytes_behind_the_end(trailer: int, store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """`open` refuses an object with more bytes after its end."""
    rewrite(s3, bucket, "x", stored(s3, bucket, "x") + bytes(trailer))
    with pytest.raises(IntegrityError, match=uri):
        store.open(uri)


def test_an_object_twice(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """`open` refuses an object that contains its message twice."""
    rewrite(s3, bucket, "x", stored(s3, bucket, "x") * 2)
    with pytest.raises(IntegrityError, match=uri):
        store.open(uri)


@pytest.mark.parametrize(("one", "two"), [(0, 1), (130, 131), (3, 140), (FRAMES - 3, FRAMES - 2)])
def test_frames_in_another_order(
    one: int, two: int, store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """If two frames are swapped or one is copied over another, the moved frames are refused."""
    body = stored(s3, bucket, "x")
    first, second = (body[_offset(body, i) : _offset(body, i + 1)] for i in (one, two))
    swapped = bytearray(body)
    swapped[_offset(body, one) : _offset(body, one + 1)] = second
    swapped[_offset(body, two) : _offset(body, two + 1)] = first
    rewrite(s3, bucket, "x", bytes(swapped))
    plaintext = payload(SIZE)
    with store.open(uri) as file:
        for index in range(FRAMES):
            file.seek(index * FRAME)
            if index in (one, two):
                with pytest.raises(IntegrityError):
                    file.read(1)
            else:
                assert file.read(FRAME) == plaintext[_frame(index)]


def test_a_frame_of_another_object(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """A frame of another message is refused, even with the same key, name, length and place."""
    body = stored(s3, bucket, "x")
    store.put(payload(SIZE), uri)
    other = bytearray(stored(s3, bucket, "x"))
    other[_offset(body, 7) : _offset(body, 8)] = body[_offset(body, 7) : _offset(body, 8)]
    rewrite(s3, bucket, "x", bytes(other))
    with store.open(uri) as file:
        file.seek(7 * FRAME + 5)
        with pytest.raises(IntegrityError):
            file.read(1)
        file.seek(8 * FRAME)
        assert file.read(FRAME) == payload(SIZE)[_frame(8)]


def test_a_final_frame_of_another_object(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """`open` refuses the final frame of another message: it proves the other message's length."""
    body = stored(s3, bucket, "x")
    store.put(payload(SIZE), uri)
    other = stored(s3, bucket, "x")
    rewrite(s3, bucket, "x", body[: _offset(body, FRAMES - 1)] + other[_offset(body, FRAMES - 1) :])
    with pytest.raises(IntegrityError, match=uri):
        store.open(uri)


@pytest.mark.parametrize("size", [0, 1, FRAME, 3 * FRAME])
def test_every_bit_of_a_small_object_matters(
    size: int, store: S3Crypt, bucket: str, s3: Any
) -> None:
    """Any flipped bit of a small object is detected, by `open` or by the read."""
    uri = f"s3://{bucket}/small"
    store.put(payload(size), uri)
    body = stored(s3, bucket, "small")
    chance = random.Random(size)
    for position in [*chance.sample(range(len(body)), 20), len(body) - 1]:
        changed = bytearray(body)
        changed[position] ^= 1 << chance.randrange(8)
        rewrite(s3, bucket, "small", bytes(changed))
        # A flipped bit in the name of the wrapping key makes the object a message under another
        # key. Then KeyUnavailableError is the right error.
        errors = (IntegrityError, FormatError, PolicyError, KeyUnavailableError)
        with pytest.raises(errors), store.open(uri) as file:
            file.read()
