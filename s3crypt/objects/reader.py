# SPDX-License-Identifier: Apache-2.0
"""An object's plaintext as a seekable binary file: `ObjectReader`, and the raw file below it.

A read fetches the frames that it needs, with one request for adjacent frames, and verifies them
before it returns a byte. The plaintext's length is computed from the object's size, and is verified
by opening the final frame. The module `spans` decides which frames are fetched and cached.
"""

import io
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .info import ObjectInfo
from .ranges import BLOCK_LENGTH
from .spans import PlaintextCache

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

# The length of the first request. It contains the header, and all of a small object.
FIRST_LENGTH = 64 * 2**10
# If the object may be small, the first request fetches more. A small Parquet file is longer than 64
# KiB. 512 KiB from a distant service take 20 ms, which is less than a second request takes.
FIRST_LENGTH_OF_SMALL = 512 * 2**10
_MOST_SMALL = 4 * 2**20
DEFAULT_CACHE_LENGTH = 32 * 2**20


def first_length(stored_size: int) -> int:
    """Return the length of the first request for an object of `stored_size` bytes."""
    return FIRST_LENGTH if stored_size > _MOST_SMALL else FIRST_LENGTH_OF_SMALL


class RawReader(io.RawIOBase):
    """The plaintext as a raw file. A read may end at a block's end and return fewer bytes.

    Closing the file also closes the cache.
    """

    mode = "rb"

    def __init__(self, cache: PlaintextCache) -> None:
        super().__init__()
        self.name = cache.name
        self.cache = cache
        self._position = 0

    @property
    def size(self) -> int:
        """Return the number of plaintext bytes, after the final frame has verified it."""
        self.cache.check_open()
        return self.cache.size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        self.cache.check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position, which may lie beyond the end."""
        self.cache.check_open()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"whence is 0, 1 or 2, not {whence}")
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        position = offset + (self.size if start is None else start)
        if position < 0:
            raise ValueError(f"negative position {position}")
        self._position = position
        return position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Read the next bytes into `buffer`, and return their number. Return 0 at the end."""
        self.cache.check_open()
        view = memoryview(buffer).cast("B")
        start = self._position
        view = view[: max(0, self.cache.clip(start, start + len(view)) - start)]
        if len(view) > BLOCK_LENGTH:
            # Fetch into our own buffer first: after an error or interrupt a worker may still be
            # writing, and the caller may have reused its buffer.
            view[:] = self.cache.read_from(start, len(view))
        elif len(view):
            # The caller is a buffer that reads ahead, so stop at the block's end: the next block
            # may never be needed.
            view = view[: self.cache.block - start % self.cache.block]
            self.cache.read_at(start, view)
        self._position = start + len(view)
        return len(view)

    def readall(self) -> bytes:
        """Return the bytes from the position to the end."""
        self.cache.check_open()
        data = self.cache.read_from(self._position, max(0, self.size - self._position))
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the file and its cache."""
        super().close()
        self.cache.close()


class ObjectReader(io.BufferedReader):
    """An object's plaintext as a seekable binary file, made by `S3Crypt.open`.

    Every byte comes from a verified frame. All bytes come from one version of the object: if the
    object is replaced, reads fail. During sequential reads, the following bytes are fetched ahead
    in parallel. Recently read bytes are cached. Several threads may use the file at the same time:
    after a thread's own `seek`, its next read begins at that position. `read_ranges` does not use a
    position.

    Attributes:
        info: The facts about the object.
        name: The object's URI.

    Raises:
        IntegrityError: A read found a frame that was changed.
        ConflictError: A read found that the object was replaced after it was opened.
        StorageError: S3 refused or failed during a read.
    """

    def __init__(self, cache: PlaintextCache, info: ObjectInfo) -> None:
        super().__init__(RawReader(cache), BLOCK_LENGTH)
        self._cache = cache
        # Some libraries, such as DuckDB, seek and read from several threads without holding a lock
        # in between.
        self._moving = threading.RLock()
        self._local = threading.local()
        self._reads = 0
        self._buffered = min(BLOCK_LENGTH, cache.block)
        self.info = info

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next `size` bytes, or fewer at the end. Return the rest for -1 or None."""
        with self._moving_here():
            self._go()
            if size is None or size <= self._buffered:
                return super().read(size)
            # Read in one piece. The buffer of the base class would split the read in two and fetch
            # the last frame twice.
            start = super().tell()
            end = super().seek(max(start, min(start + size, self._cache.claimed_size)))
        try:
            self._cache.check_open()
            return self._cache.read_from(start, size)
        except BaseException:
            with self._moving:
                if super().tell() == end:
                    super().seek(start)
            raise

    def read1(self, size: int = -1, /) -> bytes:
        """Return the next bytes. At most one request is sent."""
        with self._moving_here():
            self._go()
            return super().read1(size)

    def readinto(self, buffer: "Buffer", /) -> int:
        """Fill `buffer` with the next bytes, and return their number."""
        with self._moving_here():
            self._go()
            return super().readinto(buffer)

    def readinto1(self, buffer: "Buffer", /) -> int:
        """Fill `buffer` with the next bytes, and return their number.

        At most one request is sent.
        """
        with self._moving_here():
            self._go()
            return super().readinto1(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line."""
        with self._moving_here():
            self._go()
            return super().readline(size)

    def peek(self, size: int = 0, /) -> bytes:
        """Return some of the next bytes without moving the position."""
        with self._moving_here():
            self._go()
            return super().peek(size)

    def tell(self) -> int:
        """Return the position."""
        with self._moving_here():
            sought = self._sought
            return super().tell() if sought is None else sought

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position. This thread's next read begins there, even if other threads seek."""
        with self._moving_here():
            if whence == io.SEEK_CUR:
                self._go()
            position = super().seek(offset, whence)
            self._local.sought = position, self._reads
            return position

    def close(self) -> None:
        """Close the file and its cache."""
        if not self._cache.is_of_this_process:
            # The lock may have been held by a thread that does not exist in this process, so it is
            # not acquired.
            self.raw.close()
            return
        with self._moving:
            super().close()

    def _moving_here(self) -> threading.RLock:
        """Return the lock.

        Raise an error in a forked process, because the lock might never be released there.
        """
        self._cache.check_open()
        return self._moving

    @property
    def _sought(self) -> int | None:
        """Return the position of this thread's last seek, if no read has followed it.

        Return None if this thread has read since the seek, or if another thread has read from the
        shared position.
        """
        position, reads = getattr(self._local, "sought", (None, 0))
        return position if reads == self._reads else None

    def _go(self) -> None:
        """Move the shared position to this thread's last seek, if no read has followed it."""
        sought, self._local.sought = self._sought, (None, 0)
        if sought is None:
            # No pending seek of our own: continue from the shared position, which another thread
            # may have moved.
            self._reads += 1
        elif sought != super().tell():
            super().seek(sought)

    @property
    def size(self) -> int:
        """Return the number of plaintext bytes, after the final frame has verified it."""
        self._cache.check_open()
        return self._cache.size

    def read_ranges(self, ranges: Iterable[tuple[int | None, int | None]]) -> list[bytes]:
        """Return the bytes of several ranges, fetched in parallel.

        Args:
            ranges: Pairs `(start, end)`, which follow the rules of slices: `end` is excluded,
                negative numbers count from the end, None means the object's start or end, and a
                range is clipped to the object.
        """
        self._cache.check_open()
        return self._cache.read_ranges(ranges)
