# SPDX-License-Identifier: Apache-2.0
"""Files of objects being written, as fsspec's users expect them, and transactions of files."""

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
    """An object being written.

    Args:
        path: The object's path.
        mode: `wb` or `xb`.
        writer: Stores the object.
        on_stored: Called once the object is stored.
        is_held: Whether `close` stores nothing, because a transaction stores the object by
            `commit`, or drops it by `discard`.

    A file that is dropped without `close` is discarded, or stored if the writer's `keep_dropped`
    was called.
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
        """Return True, although `seek` raises, as the writer's does."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Raise UnsupportedOperation."""
        return self._writer.seek(offset, whence)

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._writer.tell()

    def write(self, data: Any, /) -> int:
        """Write all of `data`; return the number of its bytes."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._writer.write(data)

    def close(self) -> None:
        """Store the object; in a transaction, mark its content as complete.

        In a transaction, a call while an exception propagates, as a wrapper makes it, discards
        the object.
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
        """Store the object of a transaction, unless the file was discarded before."""
        if not self._writer.closed:
            # The writer's `close` would discard the object if an error's handler calls this.
            self._complete(partial(self._writer.__exit__, None, None, None))

    def _complete(self, complete: Callable[[], None]) -> None:
        with as_files(is_exclusive=self.mode == "xb"):
            complete()
        self._on_stored()

    def discard(self) -> None:
        """Store nothing."""
        self._writer.abort()
        super().close()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    @property
    def is_unclosed(self) -> bool:
        """Return whether the file was neither closed nor discarded by its user."""
        return self._is_dropped or not self.closed

    def __del__(self) -> None:
        # The base class would close the file, and so might store half of the content.
        if not self.closed:
            self._writer.drop(self._on_stored)

    def _dealloc_warn(self, source: object) -> None:
        # Python's own wrappers, if they are dropped unclosed, call this before they close the file.
        self._is_dropped = True
        self._writer._dealloc_warn(source)  # noqa: SLF001 - a wrapper of it, too


class CompressedFile(io.BufferedIOBase):
    """A compressor and the file it writes to, closed together: fsspec does not ensure that."""

    def __init__(self, compressor: Any, file: WritableFile) -> None:
        self._compressor = compressor
        self._file = file
        self._position = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True, as WritableFile's."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Raise UnsupportedOperation."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the number of bytes written so far, uncompressed."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._position

    def write(self, data: Any, /) -> int:
        """Compress all of `data`; return the number of its bytes."""
        count = int(self._compressor.write(data))
        self._position += count
        return count

    def close(self) -> None:
        """Write the end of the compressed stream, and close the file."""
        if self.closed:
            return
        try:
            self._compressor.close()
            self._file.close()
        finally:
            super().close()

    def discard(self) -> None:
        """Store nothing."""
        try:
            self._compressor.close()
        finally:
            self._file.discard()
            super().close()

    def __del__(self) -> None:
        # Flush the compressor into the file, marked as dropped: the file is then discarded with a
        # warning, or stored.
        if not self.closed:
            self._dealloc_warn(self)
            with suppress(Exception):
                self.close()

    def _dealloc_warn(self, source: object) -> None:
        # As WritableFile's.
        self._file._dealloc_warn(source)  # noqa: SLF001 - as there


def compressed(file: Any, method: str) -> Any:
    """Return a file that compresses bytes written to `file`, or decompresses bytes read."""
    if isinstance(file, WritableFile):
        return _or_discard(file, lambda: CompressedFile(compr[method](file, mode="w"), file))
    return compr[method](file, mode="r")


def as_text(file: Any, options: Mapping[str, Any]) -> io.TextIOWrapper:
    """Return a file as text; options as `io.TextIOWrapper`."""
    return _or_discard(file, lambda: io.TextIOWrapper(file, **options))


def _or_discard(file: Any, wrap: Callable[[], _Wrapped]) -> _Wrapped:
    """Return the wrapper of a file; if it cannot be made, discard or close the file."""
    try:
        return wrap()
    except BaseException:
        getattr(file, "discard", file.close)()
        raise


def bytes_of(value: Any) -> bytes | memoryview:
    """Return the bytes of a bytes-like object.

    Raises:
        TypeError: The value is not bytes-like, or it is an array of Python objects.
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
    """Yield the content of a local file in pieces of `length` bytes, or bytes in one piece."""
    if not isinstance(source, Path):
        yield source
        return
    with source.open("rb") as file:
        while piece := file.read(length):
            yield piece


class Transaction(transaction.Transaction):  # type: ignore[misc]  # fsspec has no types
    """Files that are stored one after the other once all are complete, or not at all."""

    def start(self) -> None:
        """Begin the transaction. A file system has at most one transaction at a time.

        Raises:
            ConfigError: Another transaction is under way, or this one is over.
        """
        if self.fs is None or self.fs._intrans:  # noqa: SLF001 - fsspec's own flag
            raise ConfigError("A transaction is under way, or over: they are not nested.")
        super().start()

    def complete(self, commit: bool = True) -> None:
        """Store all files; with `commit=False`, store nothing.

        Raises:
            ConfigError: Some files were not closed; nothing was stored.
        """
        unclosed = [file.path for file in self.files if file.is_unclosed]
        super().complete(commit and not unclosed)
        if commit and unclosed:
            raise ConfigError(
                f"Nothing of the transaction was stored: {', '.join(unclosed)} was not closed."
            )
