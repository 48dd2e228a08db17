# SPDX-License-Identifier: Apache-2.0
"""Objects that are written as files, in the way that fsspec's users expect, and transactions."""

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fsspec import transaction
from fsspec.compression import compr

from s3crypt.errors import ConfigError

from .paths import as_files

if TYPE_CHECKING:
    from s3crypt.objects.writer import ObjectWriter

_Wrapped = TypeVar("_Wrapped")


class WritableFile(io.BufferedIOBase):
    """A file whose content will be stored as an object.

    Args:
        path: The object's path.
        mode: `wb` or `xb`.
        writer: The writer that stores the object.
        on_stored: Is called after the object was stored.
        is_held: Whether the file belongs to a transaction. Then `close` stores nothing; `commit`
            stores the object, and `discard` drops it.

    If the file is dropped without `close`, it is discarded. If `keep_dropped` of the writer was
    called, it is stored.
    """

    def __init__(
        self,
        path: str,
        mode: str,
        writer: "ObjectWriter",
        on_stored: Callable[[], None],
        *,
        is_held: bool,
    ) -> None:
        self.path = path
        self.name = path
        self.mode = mode
        self._writer = writer
        self._on_stored = on_stored
        self._is_held = is_held
        self._is_dropped = False
        self._exception_before = sys.exception()

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True, although `seek` raises an error, like `seek` of the writer."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Raise UnsupportedOperation: the file is written sequentially."""
        return self._writer.seek(offset, whence)

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._writer.tell()

    def write(self, data: Any, /) -> int:
        """Write all of `data`. Return its number of bytes."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._writer.write(data)

    def close(self) -> None:
        """Store the object. In a transaction, only mark the content as complete.

        If the file belongs to a transaction and an exception is propagating, the object is
        discarded, because a wrapper calls `close` when its own `with` block fails.
        """
        if self.closed:
            return
        if self._is_dropped:
            try:
                self._writer.drop(self._on_stored)
            finally:
                super().close()
            return
        error = sys.exception()
        if self._is_held and error is not None and error is not self._exception_before:
            self.discard()
            return
        try:
            if not self._is_held:
                self._complete(self._writer.close)
        finally:
            super().close()

    def commit(self) -> None:
        """Store the object at the end of a transaction. Do nothing if the file was discarded."""
        if not self._writer.closed:
            # `close` of the writer would discard the object if this is called in an exception
            # handler, so `__exit__` is called.
            self._complete(partial(self._writer.__exit__, None, None, None))

    def _complete(self, complete: Callable[[], None]) -> None:
        with as_files(is_exclusive=self.mode == "xb"):
            complete()
        self._on_stored()

    def discard(self) -> None:
        """Close the file without storing an object."""
        self._writer.abort()
        super().close()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    @property
    def is_unclosed(self) -> bool:
        """Return whether the user has neither closed nor discarded the file."""
        return self._is_dropped or not self.closed

    def __del__(self) -> None:
        # The finalizer of the base class would close the file, and might store half of the content.
        if not self.closed:
            self._writer.drop(self._on_stored)

    def _dealloc_warn(self, source: object) -> None:
        # Python's own wrappers call this method if they are dropped without `close`. After that
        # they close the file.
        self._is_dropped = True
        self._writer._dealloc_warn(source)  # noqa: SLF001 - a wrapper of it, too


class CompressedFile(io.BufferedIOBase):
    """A compressor and the file to which it writes. They are closed together, unlike in fsspec."""

    def __init__(self, compressor: Any, file: WritableFile) -> None:
        self._compressor = compressor
        self._file = file
        self._position = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True, like `WritableFile.seekable`."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Raise UnsupportedOperation: the file is written sequentially."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the number of uncompressed bytes that were written so far."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._position

    def write(self, data: Any, /) -> int:
        """Compress all of `data`. Return its number of bytes."""
        count = int(self._compressor.write(data))
        self._position += count
        return count

    def close(self) -> None:
        """Write the end of the compressed stream, and close the compressor and the file."""
        if self.closed:
            return
        try:
            self._compressor.close()
            self._file.close()
        finally:
            super().close()

    def discard(self) -> None:
        """Close the compressor and the file without storing an object."""
        try:
            self._compressor.close()
        finally:
            self._file.discard()
            super().close()

    def __del__(self) -> None:
        # Mark the file as dropped, then flush the compressor into it. The file is then discarded
        # with a warning, or stored, as its options say.
        if not self.closed:
            self._dealloc_warn(self)
            with suppress(Exception):
                self.close()

    def _dealloc_warn(self, source: object) -> None:
        # Python's own wrappers of this file call this method, as in `WritableFile._dealloc_warn`.
        self._file._dealloc_warn(source)  # noqa: SLF001 - as there


def compressed(file: Any, method: str) -> Any:
    """Return a file that compresses what is written to `file`, or decompresses what is read."""
    if isinstance(file, WritableFile):
        return _or_discard(file, lambda: CompressedFile(compr[method](file, mode="w"), file))
    return compr[method](file, mode="r")


def as_text(file: Any, options: Mapping[str, Any]) -> io.TextIOWrapper:
    """Return a text file on a binary file. The options are those of `io.TextIOWrapper`."""
    return _or_discard(file, lambda: io.TextIOWrapper(file, **options))


def _or_discard(file: Any, wrap: Callable[[], _Wrapped]) -> _Wrapped:
    """Return a wrapper of a file. If it cannot be made, discard or close the file."""
    try:
        return wrap()
    except BaseException:
        getattr(file, "discard", file.close)()
        raise


def bytes_of(value: Any) -> bytes | memoryview:
    """Return the bytes of a bytes-like object.

    Raises:
        TypeError: The value is not bytes-like, or is an array of Python objects.
    """
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(
            f"Bytes are stored, or what has a buffer of them, and no {type(value).__name__}."
        ) from None
    if "O" in view.format:
        raise TypeError("An array of Python's objects has no bytes of its own.")
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()


def pieces(source: Path | bytes | memoryview, length: int) -> Iterator[bytes | memoryview]:
    """Yield the content of a local file in pieces of `length` bytes.

    For bytes, yield them in one piece.
    """
    if not isinstance(source, Path):
        yield source
        return
    with source.open("rb") as file:
        while piece := file.read(length):
            yield piece


class Transaction(transaction.Transaction):  # type: ignore[misc]  # fsspec has no types
    """A transaction: its files are stored in order when all are complete, or not at all."""

    def start(self) -> None:
        """Begin the transaction. A file system has at most one transaction at a time.

        Raises:
            ConfigError: Another transaction has begun and not ended, or this transaction has ended.
        """
        if self.fs is None or self.fs._intrans:  # noqa: SLF001 - fsspec's own flag
            raise ConfigError("A transaction is under way, or over: they are not nested.")
        super().start()

    def complete(self, commit: bool = True) -> None:
        """Store all files. With `commit=False`, store no file.

        Raises:
            ConfigError: Some files were not closed. Nothing was stored.
        """
        unclosed = [file.path for file in self.files if file.is_unclosed]
        super().complete(commit and not unclosed)
        if commit and unclosed:
            raise ConfigError(
                f"Nothing of the transaction was stored: {', '.join(unclosed)} was not closed."
            )
