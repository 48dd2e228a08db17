# SPDX-License-Identifier: Apache-2.0
"""`read_into` fills a buffer from any source of bytes, with only the methods the source has."""

from __future__ import annotations

import gzip
import io
import os
import random
from typing import TYPE_CHECKING, Any

import pytest
from readers import ShortReads

from s3crypt.errors import StorageError
from s3crypt.local.readers import read_into

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Longer than the piece that is read at a time from a source that has only `read`.
LENGTH = 2**20 + 4099
DATA = random.Random(LENGTH).randbytes(LENGTH)


class ReadOnly:
    """A source that has only `read`, and records the requested sizes."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self.asked: list[int] = []

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, and record the requested size."""
        self.asked.append(size)
        return self._data.read(size)


class ShortFile(io.FileIO):
    """A raw file whose `readinto` returns only a few bytes at a time, like a pipe's `readinto`."""

    def readinto(self, buffer: Any, /) -> int:
        """Read at most 4,099 bytes into the buffer."""
        return super().readinto(memoryview(buffer)[:4099]) or 0


class Inverting(io.BufferedReader):
    """A file whose `read` returns other bytes than its inherited `readinto`."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the file's bytes, inverted."""
        return _inverted(super().read(size))


class InvertingMemory(io.BytesIO):
    """A file in memory whose `read` returns other bytes than its inherited `readinto`."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the stored bytes, inverted."""
        return _inverted(super().read(size))


class Pausing:
    """A non-blocking source.

    `read` returns some bytes once, then None because no more are ready.
    """

    def __init__(self, data: bytes) -> None:
        self._answers: list[bytes | None] = [data] if data else []

    def read(self, size: int = -1, /) -> bytes | None:
        """Return the bytes once, then always None."""
        del size
        return self._answers.pop() if self._answers else None


def _inverted(data: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in data)


def _compressed(path: Path) -> Any:
    return gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(path.read_bytes(), 1)))


SOURCES: dict[str, Callable[[Path], Any]] = {
    "memory": lambda path: io.BytesIO(path.read_bytes()),
    "file": lambda path: path.open("rb"),
    "raw file": lambda path: path.open("rb", buffering=0),
    "file that is written too": lambda path: path.open("r+b"),
    "short buffered": lambda path: io.BufferedReader(ShortFile(path)),
    "short reads": lambda path: ShortReads(path.read_bytes(), at_most=4099),
    "read only": lambda path: ReadOnly(path.read_bytes()),
    "compressed": _compressed,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that contains the bytes."""
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


def _fill(source: Any, length: int) -> bytes:
    """Fill a new buffer by `read_into`.

    Check that the rest stays zero, and return the filled part.
    """
    buffer = bytearray(length)
    filled = read_into(source, memoryview(buffer))
    assert not any(buffer[filled:])
    return bytes(buffer[:filled])


@pytest.mark.parametrize("length", [0, 1, 2**20, LENGTH - 1, LENGTH, LENGTH + 1])
@pytest.mark.parametrize("kind", SOURCES)
def test_a_buffer_is_filled(kind: str, length: int, path: Path) -> None:
    """`read_into` fills the buffer as far as the source has bytes, and changes nothing else."""
    buffer = bytearray(b"\xaa" * (length + 2))
    source = SOURCES[kind](path)
    try:
        filled = read_into(source, memoryview(buffer)[1 : length + 1])
    finally:
        getattr(source, "close", lambda: None)()
    assert filled == min(length, LENGTH)
    assert buffer == b"\xaa" + DATA[:filled] + b"\xaa" * (length + 1 - filled)


@pytest.mark.parametrize("kind", SOURCES)
def test_reading_goes_on_where_it_ended(kind: str, path: Path) -> None:
    """Each `read_into` continues where the last call ended, and takes only the bytes it returns."""
    source = SOURCES[kind](path)
    try:
        pieces = [_fill(source, length) for length in (1, 13, 2**20, 4099)]
        assert _fill(source, 1) == b""
    finally:
        getattr(source, "close", lambda: None)()
    assert b"".join(pieces) == DATA


def test_a_source_is_asked_for_a_piece_at_a_time() -> None:
    """A source with only `read` is read in pieces, so no large buffer is held in memory twice."""
    source: Any = ReadOnly(DATA)
    _fill(source, LENGTH)
    assert source.asked == [2**20, 4099]


@pytest.mark.parametrize("data", [b"", b"some"])
def test_a_source_that_does_not_block_is_refused(data: bytes) -> None:
    """A `read` that returns None is an error, not the end: more bytes may follow."""
    source: Any = Pausing(data)
    with pytest.raises(StorageError, match="does not block") as caught:
        _fill(source, 100)
    assert caught.value.hint == "Open it in blocking mode."


@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("data", [b"", b"some"])
def test_a_pipe_that_does_not_block_is_refused(data: bytes, buffering: int) -> None:
    """A non-blocking pipe is refused: its `readinto` returns None when no byte is ready."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        os.write(writing, data)
        source: Any
        with (
            os.fdopen(reading, "rb", buffering=buffering) as source,
            pytest.raises(StorageError, match="does not block"),
        ):
            _fill(source, 100)
    finally:
        os.close(writing)


def test_a_pipe_is_read_to_its_end(path: Path) -> None:
    """A pipe is read to its end although each read returns less than the buffer holds."""
    data = path.read_bytes()[: 2**15]
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as source:
        assert _fill(source, 2**16) == data


def test_a_subclass_is_read_by_its_own_read(path: Path) -> None:
    """If a subclass overrides `read`, `read_into` uses it and not the inherited `readinto`."""
    with Inverting(io.FileIO(path)) as source:
        assert _fill(source, LENGTH) == _inverted(DATA)
    with InvertingMemory(DATA) as memory:
        assert _fill(memory, LENGTH) == _inverted(DATA)


def test_what_a_source_raises_is_raised() -> None:
    """An error of the source reaches the caller unchanged."""
    source = io.BytesIO(DATA)
    source.close()
    with pytest.raises(ValueError, match="closed"):
        _fill(source, 1)
