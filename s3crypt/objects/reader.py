# SPDX-License-Identifier: Apache-2.0
"""An object's plaintext as a seekable binary file: `ObjectReader`, and the raw file below it.

A read fetches the frames that it touches, with one request for adjacent frames, and opens them
before it returns a byte. The plaintext's length is computed from the object's size, and is trusted
once the final frame has been opened. `spans` decides which frames are fetched and cached.
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

# The first request's length: a header, and all of a small object.
FIRST_LENGTH = 64 * 2**10
# If the object may be small, the first request fetches more. A small Parquet file is longer than
# 64 KiB, and 512 KiB from a distant service take 20 ms, which is less than a second request takes.
FIRST_LENGTH_OF_SMALL = 512 * 2**10
_MOST_SMALL = 4 * 2**20
DEFAULT_CACHE_LENGTH = 32 * 2**20


def first_length(stored_size: int) -> int:
    """Return the length of the first request for an object of `stored_size` bytes."""
    return FIRST_LENGTH if stored_size > _MOST_SMALL else FIRST_LENGTH_OF_SMALL


class RawReader(io.RawIOBase):
    """The plaintext as a raw file; a read may return fewer bytes than requested at a block's end.

    Closing the file closes the cache.
    """

    mode = "rb"

    def __init__(self, cache: PlaintextCache) -> None:
        super().__init__()
        self.name = cache.name
        self.cache = cache
        self._position = 0

    @property
    def size(self) -> int:
        """Return the number of plaintext bytes, after the final frame has proved it."""
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
        """Read the next bytes; 0 at the end."""
        self.cache.check_open()
        view = memoryview(buffer).cast("B")
        start = self._position
        view = view[: max(0, self.cache.clip(start, start + len(view)) - start)]
        if len(view) > BLOCK_LENGTH:
            # Fetch into our own buffer first: after an error or interrupt a worker may still be
            # writing, and the caller may have reused its buffer.
            view[:] = self.cache.read_from(start, len(view))
        elif len(view):
            # A buffer requested these bytes. The caller may never read the next block.
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
        """Close the cache too."""
        super().close()
        self.cache.close()


class ObjectReader(io.BufferedReader):
    """An object's plaintext as a seekable binary file; made by `S3Crypt.open`.

    Every byte it returns is from a verified frame. All bytes are from one version of the object:
    after the object is replaced, reads fail. For sequential reads, the following bytes are fetched
    ahead, in parallel; recently read bytes are cached. Several threads may use the file at once: a
    thread's read after its own `seek` begins at that position, and `read_ranges` needs no position.

    Attributes:
        info: The facts about the object.
        name: The object's URI.

    Raises:
        IntegrityError: While reading: a frame of the read was changed.
        ConflictError: While reading: the object was replaced since it was opened.
        StorageError: While reading: S3 refused or failed.
    """

    def __init__(self, cache: PlaintextCache, info: ObjectInfo) -> None:
        super().__init__(RawReader(cache), BLOCK_LENGTH)
        self._cache = cache
        # Some libraries (DuckDB) seek and read from several threads without a lock in between.
        self._moving = threading.RLock()
        self._local = threading.local()
        self._reads = 0
        self._buffered = min(BLOCK_LENGTH, cache.block)
        self.info = info

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next `size` bytes, or fewer at the end; all of them for -1 or None."""
        with self._moving_here():
            self._go()
            if size is None or size <= self._buffered:
                return super().read(size)
            # Read in one piece. The buffer would split the read in two and fetch the last frame
            # twice.
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
        """Return the next bytes, with at most one request."""
        with self._moving_here():
            self._go()
            return super().read1(size)

    def readinto(self, buffer: "Buffer", /) -> int:
        """Fill `buffer` with the next bytes; return their number."""
        with self._moving_here():
            self._go()
            return super().readinto(buffer)

    def readinto1(self, buffer: "Buffer", /) -> int:
        """Read the next bytes into `buffer`, with at most one request; return their number."""
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
            # The thread that holds the lock may be in the other process.
            self.raw.close()
            return
        with self._moving:
            super().close()

    def _moving_here(self) -> threading.RLock:
        """Return the lock, unless this process was forked: there, it might never be released."""
        self._cache.check_open()
        return self._moving

    @property
    def _sought(self) -> int | None:
        """Return the position of this thread's pending seek.

        Return None if this thread has read since the seek, or another thread has read from the
        shared position.
        """
        position, reads = getattr(self._local, "sought", (None, 0))
        return position if reads == self._reads else None

    def _go(self) -> None:
        """Restore the position of this thread's pending seek, if another thread has moved it."""
        sought, self._local.sought = self._sought, (None, 0)
        if sought is None:
            # No pending seek of our own: continue from the shared position, which another thread
            # may have moved.
            self._reads += 1
        elif sought != super().tell():
            super().seek(sought)

    @property
    def size(self) -> int:
        """Return the number of plaintext bytes, after the final frame has proved it."""
        self._cache.check_open()
        return self._cache.size

    def read_ranges(self, ranges: Iterable[tuple[int | None, int | None]]) -> list[bytes]:
        """Return the bytes of several ranges, fetched in parallel.

        Args:
            ranges: Pairs `(start, end)` with the rules of slices: `end` is excluded, negative
                numbers count from the end, None is the object's start or end, and ranges are
                clipped to the object.
        """
        self._cache.check_open()
        return self._cache.read_ranges(ranges)
