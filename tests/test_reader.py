# SPDX-License-Identifier: Apache-2.0
"""Open objects as `io` files: their methods, and Python's readers on top of them."""

from __future__ import annotations

import csv
import gzip
import io
import os
import pickle
import random
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from reader_samples import FRAME, SIZE, put_short_frames, short_frames
from samples import MODES, aes, connect_shared, make_mode, payload

from s3crypt import ClientSide, ConfigError, ObjectInfo, S3Crypt

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RequestsLog


@pytest.fixture
def store() -> S3Crypt:
    """Return a store that writes short frames."""
    return short_frames()


@pytest.fixture
def uri(store: S3Crypt, bucket: str) -> str:
    """Put an object of many short frames. Return its URI."""
    return put_short_frames(store, bucket)


def _lines(size: int) -> bytes:
    chance = random.Random(size)
    text = b"".join(chance.randbytes(chance.randint(0, 300)) + b"\n" for _ in range(size // 100))
    return text[:size]


def _step(file: Any, model: io.BytesIO, chance: random.Random, size: int) -> None:
    """Make the same random call on the object and on the model, and compare the results."""
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
    """Random reads, lines and seeks return the same as on a file in memory with the plaintext."""
    size = 900_000
    store, uri, chance = (
        connect_shared(make_mode(name, key)),
        f"s3://{bucket}/x",
        random.Random(name),
    )
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
    """An opened object is readable and seekable, not writable, and `info` describes it."""
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
    """Reads at or after the end return no bytes; seeking back and reading still works."""
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
    """A seek before the beginning, or from an unknown place, is refused and moves nothing."""
    with store.open(uri) as file:
        file.seek(5)
        for offset, whence in ((-1, 0), (-6, 1), (-SIZE - 1, 2), (0, 9)):
            with pytest.raises((ValueError, OSError)):
                file.seek(offset, whence)
            assert file.tell() == 5
        assert file.read(5) == payload(SIZE)[5:10]


def test_a_closed_file_does_nothing(store: S3Crypt, uri: str) -> None:
    """All methods of a closed file raise ValueError, except a further close."""
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
    """An open object cannot be pickled, because it holds a connection and a key."""
    with store.open(uri) as file, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(file)


@pytest.mark.parametrize("how", ["r", "rt", "w", "ab", "a", "r+b", "w+b", "x", "", "rw", "rbb"])
def test_other_ways_to_open_are_refused(
    how: Any, store: S3Crypt, bucket: str, requests_log: RequestsLog
) -> None:
    """An unsupported mode string of `open` is refused before any request."""
    with pytest.raises(ConfigError, match="opened"):
        store.open(f"s3://{bucket}/x", how)
    assert requests_log.list() == []


def test_a_file_not_closed_is_no_fault(store: S3Crypt, uri: str) -> None:
    """An open object that is dropped without a close causes no warning."""
    assert store.open(uri).read(3) == payload(SIZE)[:3]


def test_text_on_top(bucket: str) -> None:
    """A TextIOWrapper around an object decodes characters that lie across two frames."""
    text = "äöü€𝄞\n" * 5000
    store, uri = connect_shared(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(text.encode(), uri)
    with io.TextIOWrapper(store.open(uri), encoding="utf-8") as file:
        assert file.read(5001) == text[:5001]
        place = file.tell()
        rest = file.read()
        assert rest == text[5001:]
        file.seek(place)
        assert file.readline() == text[5001:].partition("\n")[0] + "\n"


def test_csv_on_top(bucket: str) -> None:
    """A CSV reader on an object returns the rows that were written."""
    rows = [[str(number), "a,b", "two\nlines"] for number in range(2000)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    store, uri = connect_shared(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(text.getvalue().encode(), uri)
    with io.TextIOWrapper(store.open(uri), encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == rows


@pytest.mark.parametrize("name", MODES)
def test_an_archive_on_top(name: str, bucket: str, key: str) -> None:
    """ZIP and tar archives are read from an object: ZIP from its end, tar from its beginning."""
    members = {f"m{number}": payload(number * 1000) for number in range(20)}
    store = connect_shared(make_mode(name, key))
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
    """A gzip file that is stored as an object of many frames is decompressed."""
    store, uri = connect_shared(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(gzip.compress(payload(700_000)), uri)
    with store.open(uri) as file, gzip.open(file) as plain:
        assert plain.read() == payload(700_000)
