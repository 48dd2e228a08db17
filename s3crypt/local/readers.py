# SPDX-License-Identifier: Apache-2.0
"""Reads that fill their buffers, from files and anything else that has a `read` method."""

import io
from typing import Protocol

from s3crypt.errors import StorageError

_FILES = (io.BytesIO, io.FileIO, io.BufferedReader, io.BufferedRandom)
# A whole buffer's worth in one more piece of memory would double what a reader takes.
_PIECE = 2**20
_NOT_BLOCKING = "The source does not block."
_NOT_BLOCKING_HINT = "Open it in blocking mode."


class ByteReader(Protocol):
    """A source of bytes, read in order: a binary file, a pipe, a reply's body."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes: none at the end, None where a read would block."""
        ...


def read_exactly(source: ByteReader, length: int) -> bytes:
    """Read `length` bytes, or fewer at the source's end, however short its reads are.

    Raises:
        StorageError: The source does not block, so that its end cannot be told from a pause.
    """
    chunk = source.read(length)
    if chunk is not None and len(chunk) == length:
        return chunk
    return read_on(source, chunk, length)


def read_on(source: ByteReader, chunk: bytes | None, length: int) -> bytes:
    """Return what a first read gave and the rest of `length` bytes; fewer at the end."""
    chunks: list[bytes] = []
    while chunk:
        chunks.append(chunk)
        length -= len(chunk)
        if length <= 0:
            break
        chunk = source.read(length)
    if chunk is None:
        raise StorageError(_NOT_BLOCKING, hint=_NOT_BLOCKING_HINT)
    return b"".join(chunks)


def read_into(source: ByteReader, view: memoryview) -> int:
    """Fill `view`, or read what the source has left; return the bytes read.

    Raises:
        StorageError: The source does not block, so that its end cannot be told from a pause.
    """
    filled = 0
    while filled < len(view):
        count = _read_some_into(source, view[filled:])
        if not count:
            break
        filled += count
    return filled


def _read_some_into(source: ByteReader, view: memoryview) -> int:
    if _fills(source):
        count: int | None = source.readinto(view)  # type: ignore[attr-defined]  # these classes have it
        if count is None:
            raise StorageError(_NOT_BLOCKING, hint=_NOT_BLOCKING_HINT)
        return count
    chunk = source.read(min(len(view), _PIECE))
    if chunk is None:
        raise StorageError(_NOT_BLOCKING, hint=_NOT_BLOCKING_HINT)
    view[: len(chunk)] = chunk
    return len(chunk)


def _fills(source: ByteReader) -> bool:
    """Tell whether a source fills a buffer of ours with the bytes that `read` would give."""
    # Python's own, and raw files whose class says itself how. Others promise `read` only: what
    # they inherit beside it need not give the same bytes, nor count them.
    kind = type(source)
    return kind in _FILES or (issubclass(kind, io.RawIOBase) and "readinto" in vars(kind))
