# SPDX-License-Identifier: Apache-2.0
"""Read from files and other objects with a `read` method until a buffer is full."""

import io
from typing import Protocol

from s3crypt.errors import StorageError

_FILES = (io.BytesIO, io.FileIO, io.BufferedReader, io.BufferedRandom)
# The number of bytes per `read`. Reading a whole buffer's length at once would need the memory
# twice.
_PIECE = 2**20
_NOT_BLOCKING = "The source does not block."
_NOT_BLOCKING_HINT = "Open it in blocking mode."


class ByteReader(Protocol):
    """A source of bytes that are read in order: a binary file, a pipe, or a reply's body."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes.

        Return no bytes at the end, and None if the read would block.
        """
        ...


def read_exactly(source: ByteReader, length: int) -> bytes:
    """Return `length` bytes, even if single reads are shorter. Return fewer only at the end.

    Raises:
        StorageError: The source is in non-blocking mode, so its end cannot be distinguished from a
            pause.
    """
    chunk = source.read(length)
    if chunk is not None and len(chunk) == length:
        return chunk
    return read_on(source, chunk, length)


def read_on(source: ByteReader, chunk: bytes | None, length: int) -> bytes:
    """Continue a read that returned `chunk`.

    Return `length` bytes, or fewer at the source's end.
    """
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
    """Read into `view` until it is full or the source has ended. Return the number of bytes.

    Raises:
        StorageError: The source is in non-blocking mode, so its end cannot be distinguished from a
            pause.
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
    """Return whether `readinto` of a source reads the same bytes as its `read`."""
    # This is true for Python's own files, and for raw files whose class itself defines `readinto`.
    # Any other source only guarantees `read`: an inherited `readinto` may return other bytes, or
    # may not count them.
    kind = type(source)
    return kind in _FILES or (issubclass(kind, io.RawIOBase) and "readinto" in vars(kind))
