# SPDX-License-Identifier: Apache-2.0
"""Objects being written, as fsspec's users expect files, and transactions of them."""

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
        path: Of the object.
        mode: `wb` or `xb`.
        writer: Stores it.
        on_stored: Called once it is there.
        is_held: Closing it stores nothing: its transaction does that, by `commit`, or it
            calls `discard`.

    A file that is dropped without `close` is discarded, or stored, as its writer was told.
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
        """Return True, though `seek` raises, as its writer does."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Raise UnsupportedOperation."""
        return self._writer.seek(offset, whence)

    def tell(self) -> int:
        """Return the bytes written so far."""
        return self._writer.tell()

    def write(self, data: Any, /) -> int:
        """Write all of `data`; return its bytes."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._writer.write(data)

    def close(self) -> None:
        """Store the object; in a transaction, say that its content is whole.

        Called by wrappers that an exception cuts short, it stores nothing.
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
        """Store the object of a transaction, unless it was discarded before."""
        if not self._writer.closed:
            # Not its close, which would give up where this is called by an error's handler.
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
        """Tell whether nobody has said that it is whole, nor that it is to be discarded."""
        return self._is_dropped or not self.closed

    def __del__(self) -> None:
        # The base class would close it, and so store what may be half of it.
        if not self.closed:
            self._writer.drop(self._on_stored)

    def _dealloc_warn(self, source: object) -> None:
        # Python's own wrappers, when they are dropped unclosed, call this before they close it.
        self._is_dropped = True
        self._writer._dealloc_warn(source)  # noqa: SLF001 - a wrapper of it, too


class CompressedFile(io.BufferedIOBase):
    """A compressor and the file it writes to, closed together, which fsspec leaves to chance."""

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
        """Return the bytes written so far, uncompressed."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._position

    def write(self, data: Any, /) -> int:
        """Compress all of `data`; return its bytes."""
        count = int(self._compressor.write(data))
        self._position += count
        return count

    def close(self) -> None:
        """End what is compressed, and close the file."""
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
        # The file is dropped with the last bytes of the compressor, and tells what becomes of it.
        if not self.closed:
            self._dealloc_warn(self)
            with suppress(Exception):
                self.close()

    def _dealloc_warn(self, source: object) -> None:
        # As WritableFile's.
        self._file._dealloc_warn(source)  # noqa: SLF001 - as there


def compressed(file: Any, method: str) -> Any:
    """Return a file that compresses what is written to `file`, or decompresses what is read."""
    if isinstance(file, WritableFile):
        return _or_discard(file, lambda: CompressedFile(compr[method](file, mode="w"), file))
    return compr[method](file, mode="r")


def as_text(file: Any, options: Mapping[str, Any]) -> io.TextIOWrapper:
    """Return a file as text; options as `io.TextIOWrapper`."""
    return _or_discard(file, lambda: io.TextIOWrapper(file, **options))


def _or_discard(file: Any, wrap: Callable[[], _Wrapped]) -> _Wrapped:
    """Return the wrapper of a file; where it cannot be made, leave no file open."""
    try:
        return wrap()
    except BaseException:
        getattr(file, "discard", file.close)()
        raise


def bytes_of(value: Any) -> bytes | memoryview:
    """Return bytes, or what has them as its buffer, as bytes.

    Raises:
        TypeError: It is neither.
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
    """Files that are stored one after the other once all of them are whole, or not at all."""

    def start(self) -> None:
        """Begin; there is one at a time.

        Raises:
            ConfigError: One is under way.
        """
        if self.fs is None or self.fs._intrans:  # noqa: SLF001 - fsspec's own flag
            raise ConfigError("A transaction is under way, or over: they are not nested.")
        super().start()

    def complete(self, commit: bool = True) -> None:
        """Store all files, or none.

        Raises:
            ConfigError: Some were not closed; nothing was stored.
        """
        unclosed = [file.path for file in self.files if file.is_unclosed]
        super().complete(commit and not unclosed)
        if commit and unclosed:
            raise ConfigError(
                f"Nothing of the transaction was stored: {', '.join(unclosed)} was not closed."
            )
