# SPDX-License-Identifier: Apache-2.0
"""An object for fsspec's layer `blockcache::`, which caches the object's blocks in a local file."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.caching import MMapCache
from fsspec.spec import AbstractBufferedFile

from s3crypt.errors import ConflictError

from .paths import uri_of

if TYPE_CHECKING:
    from s3crypt.objects.reader import ObjectReader


class BlockFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """An object that is read through an fsspec cache. `blockcache::` sets the cache after opening.

    Beside the file with the cached blocks, this class keeps a file with the object's ETag. Without
    this file, the layer would mix blocks of a new object with blocks of the old object, even if the
    layer notices that the object was replaced.

    Args:
        fs: The file system.
        path: The object's path.
        reader: The open object. This file closes it.
        block_size: The number of bytes in a block. None for fsspec's default of 5 MiB.
        size: The size of the object that is recorded with the cached blocks. None if there are
            none.

    Raises:
        ConflictError: The cached blocks belong to an earlier object, which was replaced.
    """

    def __init__(
        self, fs: Any, path: str, reader: "ObjectReader", block_size: int | None, size: int | None
    ) -> None:
        self._reader = reader
        self._cache: Any = None
        if size not in (None, reader.size):
            reader.close()
            raise _replaced(path)
        super().__init__(fs, path, "rb", block_size, cache_type="none", size=reader.size)

    @property
    def cache(self) -> Any:
        """Return the cache through which the file is read."""
        return self._cache

    @cache.setter
    def cache(self, cache: Any) -> None:
        if isinstance(cache, MMapCache):
            self._check_version(Path(f"{cache.location}.etag"))
            # The layer's own function would open the object again for each read, and would return
            # errors in place of bytes.
            cache.multi_fetcher = self._reader.read_ranges
        self._cache = cache

    def _check_version(self, record: Path) -> None:
        etag = self._reader.info.etag
        try:
            is_same = record.read_text(encoding="utf-8") == etag
        except FileNotFoundError:
            record.write_text(etag, encoding="utf-8")
            return
        if not is_same:
            self.close()
            raise _replaced(self.path)

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._reader.read_ranges([(start, end)])[0]

    def read(self, length: int | None = -1) -> bytes:
        """Return the next `length` bytes, or fewer at the end of the object."""
        start: int = self.loc
        try:
            content: bytes = super().read(length)
        except BaseException:
            end = self.size if length is None or length < 0 else start + length
            self._forget(range(start // self.blocksize, end // self.blocksize + 1))
            raise
        return content

    def _forget(self, blocks: Iterable[int]) -> None:
        # The cache marks blocks as present before it fetches them. Without this, a second read
        # after an error would return zeros.
        if isinstance(self._cache, MMapCache):
            self._cache.blocks.difference_update(blocks)

    def close(self) -> None:
        """Close the file and the reader of the object."""
        try:
            super().close()
        finally:
            self._reader.close()


def _replaced(path: str) -> ConflictError:
    return ConflictError(
        f"{uri_of(path)}: it was replaced after blocks of it were cached.",
        hint="Clear the cache: `clear_cache()` of the file system that has it.",
    )
