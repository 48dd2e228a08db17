# SPDX-License-Identifier: Apache-2.0
"""Open objects: files of verified bytes, of one version, fetched by as few requests as may be."""

from __future__ import annotations

import csv
import gzip
import io
import linecache
import os
import pickle
import random
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from relay import Answer, Asked, relaying
from samples import CUSTOMER_KEY, MODES, aes, connect, make_mode, payload, rewrite, stored

import s3crypt
from s3crypt import (
    SSEC,
    SSES3,
    AESKeyring,
    ClientSide,
    ConfigError,
    ConflictError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    ObjectInfo,
    ObjectNotFoundError,
    PolicyError,
    S3Crypt,
    StorageError,
)
from s3crypt.local import workers
from s3crypt.message import read_header
from s3crypt.objects import ranges, reader, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from conftest import RequestsLog

    from s3crypt import Mode
    from s3crypt.sandbox import Running

FRAME = 4096
STRIDE = FRAME + 32
FRAMES = 60
SIZE = FRAMES * FRAME - 100  # the final frame is a short one
FIRST = 2**16  # bytes of the first request
DEFAULT_FRAME = 2**18
DEFAULT_STRIDE = DEFAULT_FRAME + 32


@pytest.fixture(scope="module")
def key(kms: Any) -> str:
    """Return a key that stays usable; to make one takes longer than most tests."""
    return str(kms.create_key()["KeyMetadata"]["Arn"])


@cache
def _client() -> Any:
    """Return one client for all stores: to make one takes longer than most tests."""
    return connect().client


def _connect(mode: Mode | None = None) -> S3Crypt:
    return S3Crypt(mode, client=_client())


@pytest.fixture
def store() -> S3Crypt:
    """Return a store of short frames."""
    return _connect(ClientSide(aes(), frame_length=FRAME))


@pytest.fixture
def uri(store: S3Crypt, bucket: str) -> str:
    """Put an object of many short frames."""
    found = f"s3://{bucket}/x"
    store.put(payload(SIZE), found)
    return found


def _frame(index: int) -> slice:
    """Return where a frame's plaintext is; the first is 0."""
    return slice(index * FRAME, min((index + 1) * FRAME, SIZE))


def _header_length(body: bytes) -> int:
    return len(read_header(io.BytesIO(body)))


def _offset(body: bytes, index: int) -> int:
    """Return where a frame begins in the stored body."""
    return _header_length(body) + index * STRIDE


# --- As io has it ------------------------------------------------------------------------------


def _lines(size: int) -> bytes:
    chance = random.Random(size)
    text = b"".join(chance.randbytes(chance.randint(0, 300)) + b"\n" for _ in range(size // 100))
    return text[:size]


def _step(file: Any, model: io.BytesIO, chance: random.Random, size: int) -> None:
    """Do one thing with both, and compare."""
    count = chance.choice((0, 1, 100, FRAME, chance.randint(0, 5 * FRAME)))
    match chance.choice(("read", "read1", "readinto", "readline", "limit", "seek", "by", "peek")):
        case "read":
            assert file.read(count) == model.read(count)
        case "read1":
            found = file.read1(count)
            assert model.read(len(found)) == found
            assert found or not count or model.tell() >= size
        case "readinto":
            ours, theirs = bytearray(count), bytearray(count)
            assert file.readinto(ours) == model.readinto(theirs)
            assert ours == theirs
        case "readline":
            assert file.readline() == model.readline()
        case "limit":
            assert file.readline(count) == model.readline(count)
        case "seek":
            offset = chance.randint(0, size + 50)
            assert file.seek(offset) == model.seek(offset)
        case "by":
            offset = chance.randint(-min(model.tell(), FRAME), FRAME)
            assert file.seek(offset, os.SEEK_CUR) == model.seek(offset, os.SEEK_CUR)
        case "peek":
            found = file.peek(count)
            there = model.getvalue()[model.tell() :]
            assert there.startswith(found)
            assert found or not there
    assert file.tell() == model.tell()


@pytest.mark.parametrize("name", MODES)
def test_a_file_does_as_a_file_in_memory(name: str, bucket: str, key: str) -> None:
    """Any sequence of reads, lines and seeks gives what it gives on the plaintext."""
    size = 300_000
    store, uri, chance = _connect(make_mode(name, key)), f"s3://{bucket}/x", random.Random(name)
    store.put(_lines(size), uri)
    model = io.BytesIO(_lines(size))
    with store.open(uri) as file:
        for _ in range(500):
            _step(file, model, chance, size)
        file.seek(0)
        model.seek(0)
        assert list(file) == list(model)
        assert file.seek(-7, os.SEEK_END) == model.seek(-7, os.SEEK_END)
        assert file.read() == model.read()
        assert file.seek(0) == 0
        model.seek(0)
        assert file.readlines() == model.readlines()


def test_what_a_file_is(store: S3Crypt, uri: str) -> None:
    """It is read and sought in, and not written; it tells about its object."""
    with store.open(uri, "rb") as file:
        assert isinstance(file, io.BufferedReader)
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        assert not file.isatty()
        assert (file.tell(), file.size) == (0, SIZE)
        assert isinstance(file.info, ObjectInfo)
        assert (file.info.uri, file.info.size, file.info.mode) == (uri, SIZE, "client")
        assert file.info == store.inspect(uri)
        deeds: tuple[Callable[[], object], ...] = (
            lambda: file.write(b"x"),
            lambda: file.truncate(0),
            file.fileno,
        )
        for refused in deeds:
            with pytest.raises(io.UnsupportedOperation):
                refused()


def test_it_ends(store: S3Crypt, uri: str) -> None:
    """There is nothing at the end nor after it, and from there one may go back."""
    with store.open(uri) as file:
        for place in (SIZE, SIZE + 1, SIZE + 10 * FRAME, 2**62):
            assert file.seek(place) == place
            assert file.read(10) == b""
            assert file.read() == b""
            assert file.readinto(bytearray(5)) == 0
            assert file.tell() == place
        assert file.seek(0, os.SEEK_END) == SIZE
        assert file.seek(-3, os.SEEK_CUR) == SIZE - 3
        assert file.read(10) == payload(SIZE)[-3:]


def test_what_a_seek_refuses(store: S3Crypt, uri: str) -> None:
    """Before the beginning there is nothing; the position stays."""
    with store.open(uri) as file:
        file.seek(5)
        for offset, whence in ((-1, 0), (-6, 1), (-SIZE - 1, 2), (0, 9)):
            with pytest.raises((ValueError, OSError)):
                file.seek(offset, whence)
            assert file.tell() == 5
        assert file.read(5) == payload(SIZE)[5:10]


def test_a_closed_file_does_nothing(store: S3Crypt, uri: str) -> None:
    """ValueError, as of any file; closing again is no fault."""
    with store.open(uri) as file:
        file.read(1)
    assert file.closed
    file.close()
    deeds: tuple[Callable[[], object], ...] = (
        lambda: file.read(1),
        file.read,
        lambda: file.read1(1),
        lambda: file.readinto(bytearray(1)),
        file.readline,
        lambda: file.seek(0),
        file.tell,
        lambda: file.peek(1),
        lambda: list(file),
        lambda: file.read_ranges([(0, 1)]),
        file.__enter__,
    )
    for deed in deeds:
        with pytest.raises(ValueError, match="closed"):
            deed()


def test_it_is_not_pickled(store: S3Crypt, uri: str) -> None:
    """An open file has a connection and a key."""
    with store.open(uri) as file, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(file)


@pytest.mark.parametrize("how", ["r", "rt", "w", "ab", "a", "r+b", "w+b", "x", "", "rw", "rbb"])
def test_other_ways_to_open_are_refused(
    how: Any, store: S3Crypt, bucket: str, requests_log: RequestsLog
) -> None:
    """Before any request, with a hint of what there is."""
    with pytest.raises(ConfigError, match="opened"):
        store.open(f"s3://{bucket}/x", how)
    assert requests_log.list() == []


def test_text_on_top(bucket: str) -> None:
    """Characters that lie across frames come whole."""
    text = "äöü€𝄞\n" * 5000
    store, uri = _connect(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(text.encode(), uri)
    with io.TextIOWrapper(store.open(uri), encoding="utf-8") as file:
        assert file.read(5001) == text[:5001]
        place = file.tell()
        rest = file.read()
        assert rest == text[5001:]
        file.seek(place)
        assert file.readline() == text[5001:].partition("\n")[0] + "\n"


def test_csv_on_top(bucket: str) -> None:
    """Rows come as they were written."""
    rows = [[str(number), "a,b", "two\nlines"] for number in range(2000)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    store, uri = _connect(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(text.getvalue().encode(), uri)
    with io.TextIOWrapper(store.open(uri), encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == rows


@pytest.mark.parametrize("name", MODES)
def test_an_archive_on_top(name: str, bucket: str, key: str) -> None:
    """Members are found from the end (ZIP), and from the beginning (tar)."""
    members = {f"m{number}": payload(number * 1000) for number in range(20)}
    store = _connect(make_mode(name, key))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    store.put(packed.getvalue(), f"s3://{bucket}/zip")
    with store.open(f"s3://{bucket}/zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert {member: archive.read(member) for member in archive.namelist()} == members
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for member, content in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    store.put(packed.getvalue(), f"s3://{bucket}/tar")
    with store.open(f"s3://{bucket}/tar") as file, tarfile.open(fileobj=file) as tar:
        found = {entry.name: tar.extractfile(entry) for entry in tar}
        assert {member: content.read() for member, content in found.items() if content} == members


def test_compressed_on_top(bucket: str) -> None:
    """A gzip of many frames."""
    store, uri = _connect(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(gzip.compress(payload(200_000)), uri)
    with store.open(uri) as file, gzip.open(file) as plain:
        assert plain.read() == payload(200_000)


# --- A changed object --------------------------------------------------------------------------


def _flip(s3: Any, uri: str, index: int, at: int = 1000) -> None:
    """Flip a bit of a frame's ciphertext."""
    bucket, _, name = uri.removeprefix("s3://").partition("/")
    body = bytearray(stored(s3, bucket, name))
    body[_offset(bytes(body), index) + 16 + at] ^= 1
    rewrite(s3, bucket, name, bytes(body))


# In the first request, between, in the last one; the final frame itself is for another test.
FLIPPED = (0, 3, 14, 15, 16, 30, 43, 44, FRAMES - 3, FRAMES - 2)


@pytest.mark.parametrize("bad", FLIPPED)
def test_a_flipped_bit_fails_only_its_frame(bad: int, store: S3Crypt, uri: str, s3: Any) -> None:
    """All other frames are read, and this one never is, however often it is tried."""
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
    """What does not touch the frame is given, together with others; what does is an error."""
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


def _read_on(file: Any, step: int, given: bytearray) -> None:
    """Read to the end as far as it goes, keeping what came before an error."""
    buffer = bytearray(step)
    while count := file.readinto1(buffer):
        given += buffer[:count]


@pytest.mark.parametrize("bad", FLIPPED)
def test_reading_on_goes_up_to_the_flipped_bit(bad: int, store: S3Crypt, uri: str, s3: Any) -> None:
    """Though more is read ahead, and whatever the reads' length, all before the frame is given."""
    _flip(s3, uri, bad)
    for step in (1, 7, 100, FRAME - 1, FRAME, FRAME + 1, 10 * FRAME):
        # From the beginning in large steps, in small ones from shortly before.
        start = 0 if step > 99 else max(0, bad * FRAME - 300)
        with store.open(uri) as file:
            file.seek(start)
            given = bytearray()
            with pytest.raises(IntegrityError):
                _read_on(file, step, given)
            assert given == payload(SIZE)[start : bad * FRAME], step
            for _ in range(3):
                with pytest.raises(IntegrityError):
                    file.readinto1(bytearray(step))


@pytest.mark.parametrize("bad", [1, 20, FRAMES - 2])
@pytest.mark.parametrize("step", [1, 1024, FRAME])
def test_exact_reads_go_up_to_the_flipped_bit(
    step: int, bad: int, store: S3Crypt, uri: str, s3: Any
) -> None:
    """`read` of just so many bytes as are left before the frame gives them."""
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


@pytest.mark.parametrize("bad", [1, 20, FRAMES - 2])
def test_no_byte_is_skipped_after_a_failure(bad: int, store: S3Crypt, uri: str, s3: Any) -> None:
    """After an error the file is where it says, and gives what is there or another error."""
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


@pytest.mark.parametrize("bad", [1, 20])
def test_lines_go_up_to_the_flipped_bit(bad: int, store: S3Crypt, bucket: str, s3: Any) -> None:
    """A line that ends with the frame before is given, and a frame is not looked at for it."""
    uri, line = f"s3://{bucket}/lines", b"x" * 31 + b"\n"
    store.put(line * (40 * FRAME // 32), uri)
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
    """The length is not believed, so nothing is opened but where that is allowed."""
    _flip(s3, uri, FRAMES - 1, at=50)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=uri):
            store.open(uri)
    with store.open(uri, allow_unverified_length=True) as file:
        _check_unproven(file, FRAMES - 1)


def test_a_flipped_bit_of_the_header(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """Nothing is opened, whatever is allowed."""
    body = bytearray(stored(s3, bucket, "x"))
    body[_header_length(bytes(body)) - 1] ^= 1
    rewrite(s3, bucket, "x", bytes(body))
    for unproven in (False, True):
        with pytest.raises(IntegrityError, match=uri):
            store.open(uri, allow_unverified_length=unproven)


def _check_unproven(file: Any, frames: int) -> None:
    """Check a file whose frames are as they were, and whose length is not."""
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
            # That there is nothing would be a claim about the length as well.
            file.seek(place)
            with pytest.raises(IntegrityError):
                file.read(1)


@pytest.mark.parametrize("frames", [2, 15, 16, 40, FRAMES - 1])
def test_a_truncation_on_the_grid(
    frames: int, store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """A length that fits frames and is not the object's is refused when it is opened."""
    body = stored(s3, bucket, "x")
    # The last two: with a whole frame for a final one, and without its last bytes.
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
    """Its final frame is empty: it is what proves the end, and what a cut object lacks."""
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
    """Yield truncations that fit no number of frames, and others."""
    header = _header_length(body)
    for index in (0, 1, 20, FRAMES - 1):
        for more in (9, 20, 39):
            yield body[: header + index * STRIDE + more]
    yield body[: header // 2]
    yield body[:20]


def test_a_truncation_elsewhere(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """It is refused when opened, whatever is allowed; nothing at all is no message."""
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
    """They are refused when it is opened."""
    rewrite(s3, bucket, "x", stored(s3, bucket, "x") + bytes(trailer))
    with pytest.raises(IntegrityError, match=uri):
        store.open(uri)


def test_an_object_twice(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """A message behind a message is refused."""
    rewrite(s3, bucket, "x", stored(s3, bucket, "x") * 2)
    with pytest.raises(IntegrityError, match=uri):
        store.open(uri)


@pytest.mark.parametrize(("one", "two"), [(0, 1), (20, 21), (3, 50), (FRAMES - 3, FRAMES - 2)])
def test_frames_in_another_order(
    one: int, two: int, store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """Each fails in the other's place, and a frame written in another's place does too."""
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
    """Of the same key, name, length and place."""
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
    """It proves the other's length."""
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
    """A flip anywhere is refused at open or by the read of its frame."""
    uri = f"s3://{bucket}/small"
    store.put(payload(size), uri)
    body = stored(s3, bucket, "small")
    chance = random.Random(size)
    for position in [*chance.sample(range(len(body)), 20), len(body) - 1]:
        changed = bytearray(body)
        changed[position] ^= 1 << chance.randrange(8)
        rewrite(s3, bucket, "small", bytes(changed))
        # A bit of the wrapping key's name makes it another key's message.
        errors = (IntegrityError, FormatError, PolicyError, KeyUnavailableError)
        with pytest.raises(errors), store.open(uri) as file:
            file.read()


# --- What may be opened ------------------------------------------------------------------------


def test_a_signed_object_is_opened_where_its_signature_may_be_left_out(bucket: str) -> None:
    """Ranges of it are of verified frames, and the signature is over all of them."""
    store, uri = _connect(ClientSide(aes(), signed=True, frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(payload(SIZE), uri)
    with pytest.raises(PolicyError, match=uri) as caught:
        store.open(uri)
    assert "allow_unverified_signature" in str(caught.value.hint)
    with store.open(uri, allow_unverified_signature=True) as file:
        file.seek(-5, os.SEEK_END)
        assert file.read() == payload(SIZE)[-5:]
        assert file.size == SIZE


@pytest.mark.parametrize(
    ("put", "read", "error"),
    [
        ("client-header", None, PolicyError),
        ("client-header", "sse-s3", PolicyError),
        ("client-header", "sse-kms", PolicyError),
        ("client-metadata", None, PolicyError),
        ("sse-s3", "client-header", FormatError),
        ("sse-s3", "sse-kms", PolicyError),
        ("sse-kms", "sse-s3", PolicyError),
        ("sse-c", "sse-s3", StorageError),
        ("sse-c", None, StorageError),
        ("sse-s3", "sse-c", StorageError),
    ],
)
def test_another_mode_than_demanded_is_refused(
    put: str, read: str | None, error: Any, bucket: str, key: str
) -> None:
    """As `get` refuses it: ciphertext is never taken for plaintext, nor one mode for another."""
    uri = f"s3://{bucket}/x"
    _connect(make_mode(put, key)).put(payload(SIZE), uri)
    store = _connect(make_mode(read, key) if read else None)
    with pytest.raises(error, match=uri):
        store.open(uri)
    with pytest.raises(error, match=uri):
        store.get(uri, io.BytesIO())


@pytest.mark.parametrize("name", ["sse-s3", "sse-kms", "dsse-kms"])
def test_what_s3_decrypts_is_opened_without_a_mode(name: str, bucket: str, key: str) -> None:
    """Whoever demands nothing reads what can be read."""
    uri = f"s3://{bucket}/x"
    _connect(make_mode(name, key)).put(payload(SIZE), uri)
    with _connect().open(uri) as file:
        assert file.read() == payload(SIZE)
        assert file.info.mode == name


def test_a_mode_may_be_given_to_open(uri: str) -> None:
    """Instead of the store's."""
    with _connect(SSES3()).open(uri, mode=ClientSide(aes())) as file:
        assert file.read() == payload(SIZE)


def test_another_key_opens_nothing(uri: str) -> None:
    """Client-side and S3's alike."""
    with pytest.raises((IntegrityError, KeyUnavailableError, PolicyError), match=uri):
        _connect(ClientSide(aes("two"))).open(uri)
    store = _connect(SSEC(CUSTOMER_KEY))
    store.put(payload(SIZE), f"{uri}-c")
    with pytest.raises(StorageError, match=uri) as caught:
        store.open(f"{uri}-c", mode=SSEC(bytes(32)))
    assert "customer key" in str(caught.value.hint)


def test_an_object_moved_is_opened_by_the_name_it_had(
    store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """Its name is bound to it."""
    assert uri == f"s3://{bucket}/x"
    s3.copy_object(Bucket=bucket, Key="moved", CopySource={"Bucket": bucket, "Key": "x"})
    moved = f"s3://{bucket}/moved"
    with pytest.raises(IntegrityError, match=moved):
        store.open(moved)
    with store.open(moved, written_as="x") as file:
        assert file.read() == payload(SIZE)


def test_a_context_is_held_to(bucket: str) -> None:
    """What the reader gives must be what the writer gave."""
    uri = f"s3://{bucket}/x"
    _connect(ClientSide(aes(), context={"a": "b"})).put(payload(SIZE), uri)
    with pytest.raises(IntegrityError, match=uri):
        _connect(ClientSide(aes(), context={"a": "c"})).open(uri)
    with _connect(ClientSide(aes(), context={"a": "b"})).open(uri) as file:
        assert file.size == SIZE


@pytest.mark.parametrize("missing", ["name", "bucket", "version"])
def test_what_is_not_there_is_not_opened(
    missing: str, store: S3Crypt, uri: str, bucket: str
) -> None:
    """The error comes from `open`, and is Python's own for this as well."""
    where = f"s3://{bucket}-not/x" if missing == "bucket" else f"{uri}-not"
    version = "0" * 32 if missing == "version" else None
    with pytest.raises(StorageError) as caught:
        store.open(uri if version else where, version_id=version)
    assert isinstance(caught.value, FileNotFoundError) == (missing != "bucket")


@pytest.mark.parametrize("name", ["sse-kms", "client-header", "client-metadata"])
def test_a_disabled_key_is_told_at_open(name: str, bucket: str, kms_key: str, kms: Any) -> None:
    """No byte is awaited for it."""
    store, uri = _connect(make_mode(name, kms_key)), f"s3://{bucket}/x"
    store.put(payload(SIZE), uri)
    kms.disable_key(KeyId=kms_key)
    with pytest.raises(KeyUnavailableError, match="disabled"):
        store.open(uri)


# --- Replaced or deleted while open ------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
def test_an_object_replaced_while_open_is_a_conflict(name: str, bucket: str, key: str) -> None:
    """By one of the same length: what was fetched may be given, the rest never comes."""
    size = 40 * DEFAULT_FRAME
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri, cache_length=0) as file:
        assert file.read(9) == payload(size)[:9]
        store.put(payload(size)[::-1], uri)
        for _ in range(2):
            file.seek(size // 2)
            with pytest.raises(ConflictError, match=f"{uri}.*replaced"):
                file.read(9)
            with pytest.raises(ConflictError, match="replaced"):
                file.read_ranges([(size // 4, size // 4 + 9), (size // 2, size // 2 + 9)])
    with store.open(uri) as file:
        assert file.read(9) == payload(size)[::-1][:9]


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("then", ["replaced", "deleted"])
def test_a_version_is_read_on(name: str, then: str, versioned_bucket: str, key: str) -> None:
    """With versions, the one that was opened is read to its end."""
    size = 10 * DEFAULT_FRAME
    store, uri = _connect(make_mode(name, key)), f"s3://{versioned_bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri, cache_length=0) as file:
        first = file.read(9)
        if then == "replaced":
            store.put(payload(size)[::-1], uri)
        else:
            store.delete(uri)
        assert first + file.read() == payload(size)
        assert file.read_ranges([(5 * DEFAULT_FRAME, 5 * DEFAULT_FRAME + 9)]) == [
            payload(size)[5 * DEFAULT_FRAME :][:9]
        ]


@pytest.mark.parametrize("name", ["sse-s3", "sse-c", "client-header"])
def test_an_object_deleted_while_open(name: str, bucket: str, key: str) -> None:
    """An error that names it and says so."""
    size = 10 * DEFAULT_FRAME
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri, cache_length=0) as file:
        file.read(9)
        store.delete(uri)
        file.seek(size // 2)
        with pytest.raises(StorageError, match=uri) as caught:
            file.read(9)
        assert isinstance(caught.value, ObjectNotFoundError | ConflictError)


def test_an_old_version_is_opened_by_its_id(versioned_bucket: str) -> None:
    """And by no other."""
    store, uri = _connect(ClientSide(aes())), f"s3://{versioned_bucket}/x"
    old = store.put(b"old", uri)
    store.put(b"new", uri)
    with store.open(uri, version_id=old.version_id) as file:
        assert file.read() == b"old"
        assert file.info.version_id == old.version_id
    with store.open(uri) as file:
        assert file.read() == b"new"


@pytest.mark.parametrize("late", [2, 3])
def test_an_object_replaced_between_two_requests(
    late: int, uri: str, sandbox: Running, session: Any
) -> None:
    """While it is opened, and at the first read: a conflict, never bytes of both."""
    mode, asked = ClientSide(aes(), frame_length=FRAME), []

    def replace(request: Asked, forward: Callable[[], Answer]) -> Answer:
        asked.append(request)
        if len(asked) == late:
            _connect(mode).put(payload(SIZE)[::-1], uri)
        return forward()

    def read(store: S3Crypt) -> None:
        with store.open(uri) as file:
            file.seek(SIZE // 2)
            file.read(9)

    with relaying(sandbox.endpoint_url, replace) as relay:
        store = S3Crypt(mode, client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(ConflictError, match=f"{uri}.*replaced"):
            read(store)
    assert len(asked) == late


def test_a_connection_that_breaks_is_taken_up_again(
    uri: str, sandbox: Running, session: Any
) -> None:
    """Every answer is cut once, and no byte is missing or wrong."""
    whole: set[str] = set()

    def cut(request: Asked, forward: Callable[[], Answer]) -> Answer:
        answer, wanted = forward(), request.headers["range"]
        if wanted not in whole and len(answer.body) > 9:
            whole.add(wanted)
            answer.cut = len(answer.body) // 2
        return answer

    with relaying(sandbox.endpoint_url, cut) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        with S3Crypt(ClientSide(aes()), client=client).open(uri) as file:
            assert file.read() == payload(SIZE)
            assert file.read_ranges([(SIZE // 2, SIZE // 2 + 9)]) == [
                payload(SIZE)[SIZE // 2 :][:9]
            ]
    assert len(whole) > 2


# --- Requests ----------------------------------------------------------------------------------


def _gets(log: RequestsLog) -> list[dict[str, Any]]:
    """Return the GETs of objects so far, and that nothing else was asked of S3."""
    asked = [entry for entry in log.list() if "x-amz-target" not in entry["headers"]]
    assert all(entry["method"] == "GET" for entry in asked)
    return asked


def _decrypts(log: RequestsLog) -> int:
    targets = [entry["headers"].get("x-amz-target") for entry in log.list()]
    assert set(targets) <= {None, "TrentService.Decrypt"}
    return len(targets) - targets.count(None)


def _ranges(log: RequestsLog) -> list[tuple[int, int]]:
    """Return the ranges asked for, half open."""
    found = []
    for entry in _gets(log):
        start, _, end = entry["headers"]["range"].removeprefix("bytes=").partition("-")
        found.append((int(start), int(end) + 1))
    return found


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", [0, 1, 60_000])
def test_a_small_object_is_one_request(
    name: str, size: int, bucket: str, key: str, requests_log: RequestsLog
) -> None:
    """Opened, read, sought in and read again."""
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    requests_log.clear()
    with store.open(uri) as file:
        assert file.read() == payload(size)
        file.seek(0)
        assert file.read_ranges([(0, None), (-5, None)]) == [payload(size), payload(size)[-5:]]
        assert file.size == size
    # An empty object has no first byte to ask for, so that S3 refuses the first request.
    assert len(_gets(requests_log)) == (2 if size == 0 and not name.startswith("client") else 1)
    assert _decrypts(requests_log) == name.startswith("client")


@pytest.mark.parametrize("name", MODES)
def test_a_small_read_of_a_large_object(
    name: str, bucket: str, key: str, requests_log: RequestsLog
) -> None:
    """The header, the end, and the frame that is asked for; one call of KMS."""
    size = 20 * DEFAULT_FRAME
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    stored_size = store.put(payload(size), uri).stored_size
    requests_log.clear()
    with store.open(uri) as file:
        file.seek(10 * DEFAULT_FRAME + 5)
        assert file.read(10) == payload(size)[10 * DEFAULT_FRAME + 5 :][:10]
    assert _decrypts(requests_log) == name.startswith("client")
    *before, (start, end) = _ranges(requests_log)
    assert end - start <= DEFAULT_STRIDE
    if not name.startswith("client"):
        assert len(before) == 1  # S3 vouches for the length
        return
    header, tail = before
    assert header == (0, FIRST)
    assert tail[1] == stored_size
    assert tail[1] - tail[0] == DEFAULT_STRIDE + 40  # the last frame and the empty final one
    assert end - start == DEFAULT_STRIDE


def test_without_the_length_there_is_one_request_less(
    bucket: str, requests_log: RequestsLog
) -> None:
    """Until it is asked for, and then there is one."""
    size = 20 * DEFAULT_FRAME
    store, uri = _connect(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    requests_log.clear()
    with store.open(uri, allow_unverified_length=True) as file:
        file.seek(10 * DEFAULT_FRAME)
        assert file.read(9) == payload(size)[10 * DEFAULT_FRAME :][:9]
        assert len(_gets(requests_log)) == 2
        assert (file.size, file.seek(0, os.SEEK_END), file.read(1)) == (size, size, b"")
        assert len(_gets(requests_log)) == 3


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("versioned", [False, True])
def test_every_later_get_is_pinned(
    name: str, bucket: str, key: str, s3: Any, requests_log: RequestsLog, *, versioned: bool
) -> None:
    """To the ETag of the first, and to its version where there are versions."""
    if versioned:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    size = 8 * DEFAULT_FRAME
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    info = store.put(payload(size), uri)
    requests_log.clear()
    with store.open(uri, cache_length=0) as file:
        assert file.read() == payload(size)
        file.seek(-9, os.SEEK_END)
        file.read()
        file.read_ranges([(start, start + 9) for start in range(0, size, size // 4)])
    first, *later = _gets(requests_log)
    assert "if-match" not in first["headers"]
    assert "versionId" not in first["query"]
    assert later
    for entry in later:
        assert entry["status"] == 206
        assert entry["headers"]["if-match"] == info.etag
        assert (f"versionId={info.version_id}" in entry["query"]) == versioned
    assert bool(info.version_id) == versioned


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_neighbours_come_by_one_request(mode: Any, bucket: str, requests_log: RequestsLog) -> None:
    """Frames that lie side by side, whether one read wants them or several ranges."""
    size = 24 * DEFAULT_FRAME
    store, uri = _connect(mode), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri) as file:
        file.seek(4 * DEFAULT_FRAME)
        requests_log.clear()
        assert file.read(4 * DEFAULT_FRAME) == payload(size)[4 * DEFAULT_FRAME :][: 2**20]
        assert len(_gets(requests_log)) == 1
        requests_log.clear()
        ranges = [(n * DEFAULT_FRAME + 5, n * DEFAULT_FRAME + 70_000) for n in (12, 13, 14, 15)]
        ranges += [(12 * DEFAULT_FRAME, 12 * DEFAULT_FRAME + 9)]
        assert file.read_ranges(ranges) == [payload(size)[start:end] for start, end in ranges]
        fetched = sum(entry["response_bytes"] for entry in _gets(requests_log))
        assert fetched <= 4 * DEFAULT_STRIDE
        if isinstance(mode, ClientSide):
            assert len(_gets(requests_log)) == 1


def test_far_ranges_come_by_requests_of_their_own(bucket: str, requests_log: RequestsLog) -> None:
    """What nobody asked for is not fetched between them; what is asked for twice comes once."""
    size = 24 * DEFAULT_FRAME
    store, uri = _connect(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri) as file:
        requests_log.clear()
        wanted = [(n * DEFAULT_FRAME, n * DEFAULT_FRAME + 9) for n in (3, 9, 15, 9, 3)]
        assert file.read_ranges(wanted) == [payload(size)[start:end] for start, end in wanted]
        assert sorted(end - start for start, end in _ranges(requests_log)) == [DEFAULT_STRIDE] * 3


def test_what_is_kept_is_not_fetched_again(
    store: S3Crypt, uri: str, requests_log: RequestsLog
) -> None:
    """Back and forth in an object that the cache holds."""
    with store.open(uri) as file:
        file.read()
        requests_log.clear()
        for start in (0, SIZE // 2, SIZE - 9, 17):
            file.seek(start)
            file.read(5000)
        file.read_ranges([(SIZE - 9, None), (5, 9)])
    assert _gets(requests_log) == []


def test_what_is_kept_is_bounded(bucket: str, requests_log: RequestsLog) -> None:
    """Frames that were long not used are fetched again, those used last are not."""
    size = 20 * DEFAULT_FRAME
    store, uri = _connect(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(size), uri)

    def look(file: Any, frame: int) -> int:
        requests_log.clear()
        file.seek(frame * DEFAULT_FRAME + 9)
        assert file.read(9) == payload(size)[frame * DEFAULT_FRAME + 9 :][:9]
        return len(_gets(requests_log))

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
    """Many frames come by one, and no byte twice but those of the first and the last."""
    size = 32 * DEFAULT_FRAME
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    requests_log.clear()
    found = io.BytesIO()
    with store.open(uri) as file:
        while chunk := file.read(step):
            found.write(chunk)
    assert found.getvalue() == payload(size)
    gets = _gets(requests_log)
    assert len(gets) <= 14
    assert sum(entry["response_bytes"] for entry in gets) <= size * 1.05 + 2**19
    assert _decrypts(requests_log) == name.startswith("client")


def test_reading_backwards_reads_nothing_ahead(bucket: str, requests_log: RequestsLog) -> None:
    """Nor does jumping: only reading on is a sign of what comes."""
    size = 32 * DEFAULT_FRAME
    store, uri = _connect(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri) as file:
        requests_log.clear()
        for frame in range(28, 0, -3):
            file.seek(frame * DEFAULT_FRAME + 5)
            file.read(9)
        assert all(end - start == DEFAULT_STRIDE for start, end in _ranges(requests_log))


def test_a_file_not_closed_is_no_fault(store: S3Crypt, uri: str) -> None:
    """It holds no more than memory."""
    assert store.open(uri).read(3) == payload(SIZE)[:3]


# --- Threads and processes ---------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("cache_length", [0, 2**25])
def test_threads_share_a_file(
    name: str, cache_length: int, bucket: str, key: str, requests_log: RequestsLog
) -> None:
    """Each gets its ranges, by one key, while the file is also read in order."""
    size = 12 * DEFAULT_FRAME
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    requests_log.clear()
    wrong: list[object] = []

    def look(file: Any, seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(5):
                starts = [chance.randrange(size) for _ in range(6)]
                ranges = [(start, start + chance.randrange(70_000)) for start in starts]
                if file.read_ranges(ranges) != [payload(size)[a:b] for a, b in ranges]:
                    wrong.append(ranges)
        except BaseException as error:  # noqa: BLE001 - told below, in the test's own thread
            wrong.append(error)

    with store.open(uri, cache_length=cache_length) as file:
        threads = [threading.Thread(target=look, args=(file, seed)) for seed in range(6)]
        for thread in threads:
            thread.start()
        in_order = file.read()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert in_order == payload(size)
    assert _decrypts(requests_log) == name.startswith("client")


def test_ranges_of_a_signed_object_side_by_side(bucket: str) -> None:
    """A signature is over frames in order, so that ranges must leave it alone."""
    size = 24 * DEFAULT_FRAME
    store, uri = _connect(ClientSide(aes(), signed=True)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    wanted = [(n * DEFAULT_FRAME + 9, (n + 1) * DEFAULT_FRAME) for n in range(0, 24, 2)]
    with store.open(uri, allow_unverified_signature=True, cache_length=0) as file:
        for _ in range(5):
            assert file.read_ranges(wanted) == [payload(size)[start:end] for start, end in wanted]


_FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")
from s3crypt import *
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32)), frame_length=4096))
uri = f"s3://{sys.argv[1]}/x"
store.put(bytes(400_000), uri)
file = store.open(uri, cache_length=0)
child = os.fork()
if not child:
    try:
        file.seek(200_000)
        file.read(9)
    except StorageError as error:
        os._exit(7 if "fork" in str(error) else 8)
    os._exit(9)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
file.seek(200_000)
assert file.read(9) == bytes(9)
"""


def test_a_file_is_not_read_over_a_fork(bucket: str) -> None:
    """The child is told; the parent reads on."""
    root = str(Path(s3crypt.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _FORKED, bucket],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()


# --- A service that is far away, slow or stalled -----------------------------------------------

HANG = 20  # seconds: nothing here takes a tenth of it, but for a fault


class _Far:
    """Has a relay answer late, and hold back what lies between two offsets until it may go."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.held = range(0)
        self.go = threading.Event()
        self.asked: list[int] = []

    @property
    def is_holding(self) -> bool:
        """Tell whether something was asked for that is held back."""
        return any(start in self.held for start in self.asked)

    def __call__(self, request: Asked, forward: Callable[[], Answer]) -> Answer:
        """Answer, as a relay's `spoil`."""
        start = int(request.headers.get("range", "bytes=0-")[6:].partition("-")[0])
        self.asked.append(start)
        time.sleep(self.delay)
        if start in self.held:
            self.go.wait(HANG)
        return forward()


def _within(deed: Callable[[], Any]) -> Any:
    """Return what a deed returns, or what it raised; fail where it hangs."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(deed())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(HANG)
    assert ended, "it hangs"
    return ended[0]


def _ended(prefix: str) -> bool:
    """Wait for the threads of this name; tell whether all have ended."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]
    for thread in threads:
        thread.join(HANG)
    return not any(thread.is_alive() for thread in threads)


def _readinto(file: Any, buffer: bytearray, start: int) -> object:
    file.seek(start)
    return file.readinto(buffer)


def _read(file: Any, buffer: bytearray, start: int) -> object:
    file.seek(start)
    return file.read(len(buffer))


def _read_ranges(file: Any, buffer: bytearray, start: int) -> object:
    middle = start + len(buffer) // 2
    return file.read_ranges([(start, middle - 5), (middle + 5, start + len(buffer))])


@pytest.mark.parametrize("read", [_readinto, _read, _read_ranges])
def test_a_bad_frame_from_far_away(read: Any, sandbox: Running, session: Any, bucket: str) -> None:
    """An error at once, while other requests are under way; then no byte goes to the caller."""
    mode, uri, size = ClientSide(aes()), f"s3://{bucket}/x", 10 * 2**20
    _connect(mode).put(payload(size), uri)
    go, bad, answered = threading.Event(), threading.Event(), []
    me = threading.current_thread().name

    def spoil(request: Asked, forward: Callable[[], Answer]) -> Answer:
        time.sleep(0.02)
        answer = forward()
        if bad.is_set() and request.headers["x-thread"] == me:
            answer.body = bytes(len(answer.body))
        elif bad.is_set():
            go.wait(HANG)
            answered.append(request)
        return answer

    def tell_thread(request: Any, **_: object) -> None:
        request.headers["x-thread"] = threading.current_thread().name

    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        client.meta.events.register("before-sign.s3.GetObject", tell_thread)
        with S3Crypt(mode, client=client).open(uri) as file:
            bad.set()
            buffer = bytearray(b"\xa5") * (6 * 2**20)
            with pytest.raises(IntegrityError, match=uri):
                read(file, buffer, 2**20)
            assert answered == []
            before = bytes(buffer)
            assert before.count(0xA5) == len(before)
            go.set()
            file.close()
            assert _ended("s3crypt-read")
            assert answered  # others were under way, so that the test has tested
            assert buffer == before


@pytest.mark.parametrize("step", [1000, 5000, 100_000, SIZE + 1])
def test_threads_that_read_one_file_get_each_byte_once(step: int, store: S3Crypt, uri: str) -> None:
    """Through the buffer or not: two reads at once are two reads one after the other."""
    found: list[bytes] = []

    def read(file: Any) -> None:
        while chunk := file.read(step):
            found.append(chunk)

    with store.open(uri) as file:
        threads = [threading.Thread(target=read, args=(file,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = [payload(SIZE)[start : start + step] for start in range(0, SIZE, step)]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("how", ["read", "readinto1"])
@pytest.mark.parametrize("step", [100_000, 20_000])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_file_closed_while_it_is_read(
    step: int, workers: int, how: str, sandbox: Running, session: Any, bucket: str
) -> None:
    """By another thread, with requests under way: neither hangs."""
    mode, uri, size = ClientSide(aes(), frame_length=2**16), f"s3://{bucket}/x", 8 * 2**20
    _connect(mode).put(payload(size), uri)
    far = _Far()
    with relaying(sandbox.endpoint_url, far) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        file = S3Crypt(mode, client=client, workers=workers).open(uri)
        far.held = range(2**20, 7 * 2**20)
        given = bytearray()

        def read() -> None:
            if how == "readinto1":
                _read_on(file, step, given)
            while chunk := file.read(step):
                given.extend(chunk)

        reader = threading.Thread(target=read, daemon=True)
        with _ignoring_thread_errors():
            reader.start()
            while not far.is_holding:
                reader.join(0.01)
            closer = threading.Thread(target=file.close, daemon=True)
            closer.start()
            closer.join(0.1)
            far.go.set()
            for thread in (closer, reader):
                thread.join(HANG)
                assert not thread.is_alive()
        assert file.closed
        assert given == payload(size)[: len(given)]
        assert _ended("s3crypt-read")


@contextmanager
def _ignoring_thread_errors() -> Iterator[None]:
    """Leave it to the test what a thread that reads a closed file raises."""
    before, threading.excepthook = threading.excepthook, lambda _: None
    try:
        yield
    finally:
        threading.excepthook = before


@pytest.mark.parametrize("workers", [1, 4])
def test_a_file_closed_while_ranges_are_read(
    workers: int, sandbox: Running, session: Any, bucket: str
) -> None:
    """The ranges come, or the file is closed; nothing hangs, `close` least."""
    mode, uri, size = ClientSide(aes()), f"s3://{bucket}/x", 8 * 2**20
    _connect(mode).put(payload(size), uri)
    wanted = [(n * 2**20 + 5, n * 2**20 + 9) for n in range(1, 7)]
    far = _Far(0.02)
    with relaying(sandbox.endpoint_url, far) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        file = S3Crypt(mode, client=client, workers=workers).open(uri)
        far.held = range(2**20, 7 * 2**20)
        closers: list[threading.Thread] = []

        def close_and_go() -> None:
            while not far.is_holding:
                time.sleep(0.01)
            file.close()
            far.go.set()

        closers.append(threading.Thread(target=close_and_go, daemon=True))
        closers[0].start()
        found = _within(lambda: file.read_ranges(wanted))
        closers[0].join(HANG)
        assert not closers[0].is_alive()
    if isinstance(found, list):
        assert found == [payload(size)[start:end] for start, end in wanted]
    else:
        assert isinstance(found, ValueError)
        assert "closed" in str(found)
    assert _ended("s3crypt-read")


def test_a_file_closed_by_who_gives_the_ranges(bucket: str) -> None:
    """After the file was looked at and before anything is asked for."""
    store, uri = _connect(ClientSide(aes())), f"s3://{bucket}/x"
    size = 12 * DEFAULT_FRAME
    store.put(payload(size), uri)
    file = store.open(uri)
    wanted = [(n * DEFAULT_FRAME + 5, n * DEFAULT_FRAME + 9) for n in range(0, 12, 2)]
    file.read_ranges(wanted)

    def ranges() -> Iterator[tuple[int, int]]:
        yield from wanted
        file.close()

    found = _within(lambda: file.read_ranges(ranges()))
    assert isinstance(found, ValueError)


_CHILD = """
import faulthandler, os, signal, sys, warnings
warnings.simplefilter("ignore")
from s3crypt import *
uri, endpoint, how = sys.argv[1:]
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))), endpoint_url=endpoint)
file = store.open(uri)
count = 0
while count < 3 * 2**20:
    count += len(file.read(100_000))
sys.stdin.readline()
"""

_FORKED_AHEAD = (
    _CHILD
    + """
child = os.fork()
if not child:
    signal.alarm(15)  # ends it by a signal
    for deed in (lambda: file.read(100_000), lambda: file.read(5), lambda: file.size,
                 lambda: file.read_ranges([(0, 5), (count, None)]), lambda: file.seek(0, 2)):
        try:
            deed()
        except StorageError as error:
            if "fork" not in str(error):
                os._exit(8)
        else:
            os._exit(9)
    if how == "close":
        file.close()
    del file
    os._exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os._exit(0 if code == 7 else 100 + abs(code))
"""
)

_EXIT = (
    _CHILD
    + """
if how == "close":
    file.close()
"""
)


def _stalled(
    sandbox: Running, session: Any, bucket: str, script: str, how: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a script that reads on, where what is read ahead never comes while it runs."""
    uri, far = f"s3://{bucket}/x", _Far()
    mode = ClientSide(AESKeyring("tests", "one", bytes(32)))
    root = str(Path(s3crypt.__file__).resolve().parents[1])
    with relaying(sandbox.endpoint_url, far) as relay:
        S3Crypt(mode, client=session.client("s3")).put(bytes(24 * 2**20), uri)
        far.held = range(4 * 2**20, 23 * 2**20)
        command = [sys.executable, "-c", script, uri, relay.url, how]
        with subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": root},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                while process.poll() is None and not far.is_holding:
                    time.sleep(0.01)
                told, errors = process.communicate(b"\n", timeout=HANG)
            finally:
                process.kill()
                far.go.set()
        return subprocess.CompletedProcess(command, process.returncode, told, errors)


_FORKED_READING = (
    _CHILD
    + """
import threading, time
file.seek(6 * 2**20)
reader = threading.Thread(target=lambda: file.read(100_000), daemon=True)
reader.start()
reader.join(0.5)
assert reader.is_alive()
child = os.fork()
if not child:
    signal.alarm(8)  # ends it by a signal
    try:
        {"read": lambda: file.read(100_000), "close": file.close, "drop": lambda: None,
         "read_ranges": lambda: file.read_ranges([(0, 5)])}[how]()
    except StorageError as error:
        if "fork" not in str(error):
            os._exit(8)
    del file
    os._exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os._exit(0 if code == 7 else 100 + abs(code))
"""
)


@pytest.mark.parametrize("how", ["read", "read_ranges", "close", "drop"])
def test_a_fork_while_a_thread_reads(how: str, sandbox: Running, session: Any, bucket: str) -> None:
    """The child has not that thread, and does not wait for what it holds."""
    done = _stalled(sandbox, session, bucket, _FORKED_READING, how)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_process_does_not_wait_for_what_it_reads_ahead(
    how: str, sandbox: Running, session: Any, bucket: str
) -> None:
    """It ends though a request never does."""
    done = _stalled(sandbox, session, bucket, _EXIT, how)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_file_leaves_no_thread(how: str, bucket: str) -> None:
    """Those that read ahead end with it, closed or dropped."""
    store, uri = _connect(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(20 * DEFAULT_FRAME), uri)
    held = [store.open(uri)]
    for _ in range(5):
        held[0].read(DEFAULT_FRAME)
    assert any(thread.name == "s3crypt-read" for thread in threading.enumerate())
    if how == "close":
        held[0].close()
    held.clear()
    assert _ended("s3crypt-read")


# --- Interrupts --------------------------------------------------------------------------------


class _Interrupt:
    """Raises KeyboardInterrupt at the n-th line that this thread runs of some files."""

    def __init__(self, at: int, *modules: Any) -> None:
        self.at = at
        self.count = 0
        self.where = ""
        self._files = {module.__file__ for module in modules}

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, event: str, _: object) -> Any:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: FrameType, event: str, _: object) -> Any:
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        # A `with` is run again when it ends, where Python handles no signal, but traces.
        if event == "line" and not line.startswith("with "):
            self.count += 1
            if self.count == self.at:
                self.where = f"{frame.f_code.co_name}, line {frame.f_lineno}"
                raise KeyboardInterrupt
        return self._line


def _read_variously(file: Any) -> None:
    file.seek(SIZE // 3)
    file.read(1000)
    file.seek(20 * FRAME + 5)
    for _ in range(4):
        file.read(3 * FRAME)
    file.read_ranges([(0, 10), (SIZE // 2, SIZE // 2 + 9), (50 * FRAME, 51 * FRAME)])


# Python 3.13 prints what is raised in a finalizer of a file.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_leaves_the_file_readable(store: S3Crypt, uri: str) -> None:
    """Wherever it comes, later reads neither hang nor give other bytes."""
    # Its function of that name hides the module.
    modules = (reader, spans, ranges, workers, sys.modules["s3crypt.transfer.download"])
    with store.open(uri, cache_length=20 * FRAME) as file, _Interrupt(0, *modules) as quiet:
        _read_variously(file)
    assert quiet.count > 300
    for at in range(1, quiet.count, quiet.count // 40):
        with store.open(uri, cache_length=20 * FRAME) as file:
            with suppress(KeyboardInterrupt), _Interrupt(at, *modules) as interrupt:
                _read_variously(file)

            def read_all(file: Any = file) -> bytes:
                file.seek(0)
                return b"".join(iter(partial(file.read, 9 * FRAME), b""))

            assert _within(read_all) == payload(SIZE), interrupt.where
            assert _within(partial(file.read_ranges, [(0, None)])) == [payload(SIZE)]


# --- How much is fetched -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "cache"),
    [(1, 1), (1, 2), (1, 3), (2, 4), (2, 3), (2, 1), (4, 4), (4, 6)],
)
def test_frames_as_long_as_the_cache_come_once(
    frame: int, cache: int, bucket: str, requests_log: RequestsLog
) -> None:
    """What is read ahead never pushes out the frame that is being read."""
    size, mib = 11 * 2**20 + 5, 2**20
    store, uri = _connect(ClientSide(aes(), frame_length=frame * mib)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    requests_log.clear()
    with store.open(uri, cache_length=cache * mib) as file:
        assert b"".join(iter(partial(file.read, 60_000), b"")) == payload(size)
    assert _ended("s3crypt-read")
    # The header's request, and the end's of two frames at most, bring what may come again.
    fetched = sum(end - start for start, end in _ranges(requests_log))
    assert fetched <= size + 2**17 + 2 * frame * mib


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_nothing_is_read_ahead_before_the_third_read_in_order(
    mode: Any, bucket: str, requests_log: RequestsLog
) -> None:
    """Two reads side by side are a jump to a column; three are a file being read."""
    size = 24 * DEFAULT_FRAME
    store, uri = _connect(mode), f"s3://{bucket}/x"
    store.put(payload(size), uri)

    def fetched(reads: int) -> int:
        with store.open(uri) as file:
            requests_log.clear()
            file.seek(4 * DEFAULT_FRAME)
            for _ in range(reads):
                file.read(DEFAULT_FRAME)
        assert _ended("s3crypt-read")
        return sum(end - start for start, end in _ranges(requests_log))

    assert fetched(1) <= DEFAULT_STRIDE
    assert fetched(2) <= 2 * DEFAULT_STRIDE
    assert fetched(3) > 3 * DEFAULT_STRIDE


@pytest.mark.parametrize("frame", [2**14, DEFAULT_FRAME])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_adjacent_columns_fetch_each_frame_once(
    count: int, frame: int, bucket: str, requests_log: RequestsLog
) -> None:
    """Though the frame between two has bytes of both."""
    size = 40 * DEFAULT_FRAME
    store, uri = _connect(ClientSide(aes(), frame_length=frame)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    place = 3 * 2**20 + 17
    with store.open(uri) as file:
        requests_log.clear()
        file.seek(place)
        for length in (300_000, 500_001, 700_007, 200_003, 350_000)[:count]:
            assert file.read(length) == payload(size)[place : place + length]
            place += length
    assert _ended("s3crypt-read")
    asked = sorted(_ranges(requests_log))
    assert all(one[1] <= two[0] for one, two in pairwise(asked)), asked


@pytest.mark.parametrize("how", ["read", "read_ranges"])
def test_columns_here_and_there_bring_little_else(
    how: str, bucket: str, requests_log: RequestsLog
) -> None:
    """As of a Parquet file: its end, then some columns of every row group."""
    size, column, frame = 20 * 2**20, 1_000_003, 2**14
    store, uri = _connect(ClientSide(aes(), frame_length=frame)), f"s3://{bucket}/x"
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
    assert _ended("s3crypt-read")
    fetched = sum(end - start for start, end in _ranges(requests_log))
    assert fetched <= 1.1 * len(starts) * column


def test_without_a_mode_a_small_plain_object_is_one_request(
    bucket: str, requests_log: RequestsLog
) -> None:
    """Its first bytes tell whose it is, and are then read."""
    uri, text = f"s3://{bucket}/x", b"a line of text\n" * 4000
    _connect(SSES3()).put(text, uri)
    requests_log.clear()
    with _connect().open(uri) as file:
        assert file.read() == text
    assert _ranges(requests_log) == [(0, FIRST)]


@pytest.mark.parametrize("mode", [SSES3(), None], ids=["sse-s3", "none"])
def test_of_a_plain_object_nothing_is_fetched_in_vain(
    mode: Any, bucket: str, requests_log: RequestsLog
) -> None:
    """What the first request brings is the first that is read; no byte comes twice."""
    uri, size = f"s3://{bucket}/x", 5 * 2**20
    # Of a type that is known: of unknown bytes, a reader without a mode asks for their neighbour.
    content = b"\x89PNG\r\n\x1a\n" + payload(size - 8)
    _connect(SSES3()).put(content, uri)
    requests_log.clear()
    with _connect(mode).open(uri) as file:
        file.read(50_000)
        assert _ranges(requests_log) == [(0, FIRST)]
    requests_log.clear()
    with _connect(mode).open(uri) as file:
        assert b"".join(iter(partial(file.read, 50_000), b"")) == content
    asked = sorted(_ranges(requests_log))
    assert sum(end - start for start, end in asked) <= size + FIRST


class _Counted:
    """Plaintext of zeros, that counts how often it is asked."""

    is_far = False

    def __init__(self, size: int, block: int) -> None:
        self.size = size
        self.block = block
        self.fetched = 0
        self.length = 0

    def fetch(self, start: int, end: int, sink: Any, buffers: Any) -> None:
        """Give zeros, by pieces as long as real ones."""
        self.fetched += 1
        self.length += end - start
        for place in range(start, end, 2**19):
            length = min(2**19, end - place)
            if sink.room(place, length) is None:
                sink.take(place, memoryview(bytes(length)))

    def fetch_tail(self, length: int, sink: Any, buffers: Any) -> None:
        """Give nothing."""


def _work(count: int, block: int, apart: int, *, far: bool) -> tuple[int, int]:
    """Return requests and calls of Python functions for so many ranges."""
    plaintext = _Counted(count * apart, block)
    plaintext.is_far = far
    cache = spans.PlaintextCache(plaintext, name="x", limit=2**20, workers=1)
    wanted = [(n * apart, n * apart + 10) for n in range(count)]
    calls = 0

    def tick(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    threading.setprofile(tick)
    sys.setprofile(tick)
    try:
        found = cache.read_ranges(wanted)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    cache.close()
    assert found == [bytes(10)] * count
    assert plaintext.length <= plaintext.size
    return plaintext.fetched, calls


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize(
    ("block", "apart"), [(128, 1024), (4096, 256), (4096, 1024)], ids=["far", "near", "same"]
)
def test_very_many_ranges_are_little_work_each(block: int, apart: int, *, far: bool) -> None:
    """However many there are: work that grows by their square would take minutes."""
    count = 16_000
    requests, calls = _work(count, block, apart, far=far)
    assert requests <= (count if apart > block else 20)
    # Of a section, each range may look at each of its 32 runs.
    assert calls < count * 250


def test_the_sections_of_very_many_ranges_have_few_members() -> None:
    """A range is of the sections that have bytes of it, and of no other."""
    cache = spans.PlaintextCache(_Counted(2**36, 4096), name="x", limit=0, workers=4)
    one = [spans._Wanted(n * 2**20, n * 2**20 + 10, memoryview(b"")) for n in range(16_000)]
    assert sum(len(section.members) for section in cache._sections(one)) == 16_000
    side = [spans._Wanted(n * 5000, n * 5000 + 10, memoryview(b"")) for n in range(16_000)]
    sections = cache._sections(side)
    assert sum(len(section.members) for section in sections) <= 16_000 + len(sections)
    cache.close()
