# SPDX-License-Identifier: Apache-2.0
"""Reads that fill their buffers, from files and other objects with a `read` method."""

import io
from typing import Protocol

from s3crypt.errors import StorageError

_FILES = (io.BytesIO, io.FileIO, io.BufferedReader, io.BufferedRandom)
# Bytes per `read`: reading a whole buffer's length at once would double a reader's memory.
_PIECE = 2**20
_NOT_BLOCKING = "The source does not block."
_NOT_BLOCKING_HINT = "Open it in blocking mode."


class ByteReader(Protocol):
    """A source of bytes, read in order: a binary file, a pipe, a reply's body."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes: no bytes at the end, None if the read would block."""
        ...


def read_exactly(source: ByteReader, length: int) -> bytes:
    """Return `length` bytes, or fewer at the source's end, even if a single read is short.

    Raises:
        StorageError: The source does not block, so that its end cannot be told from a pause.
    """
    chunk = source.read(length)
    if chunk is not None and len(chunk) == length:
        return chunk
    return read_on(source, chunk, length)


def read_on(source: ByteReader, chunk: bytes | None, length: int) -> bytes:
    """Return the first read's `chunk`, continued to `length` bytes, or to the source's end."""
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
    """Read into `view` until it is full or the source has ended; return the number of bytes.

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
    """Return whether a source's `readinto` gives the same bytes as its `read`."""
    # This holds for Python's own files, and for raw files whose class defines `readinto` itself.
    # Any other source promises `read` only: an inherited `readinto` may give other bytes, or not
    # count them.
    kind = type(source)
    return kind in _FILES or (issubclass(kind, io.RawIOBase) and "readinto" in vars(kind))
