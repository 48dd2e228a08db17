# SPDX-License-Identifier: Apache-2.0
"""Objects being written, as fsspec's users expect files, and transactions of them."""

import io
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fsspec import transaction

from s3crypt.errors import ConfigError

from .paths import as_files

if TYPE_CHECKING:
    from s3crypt.objects.writer import ObjectWriter


class WritableFile(io.BufferedIOBase):
    """An object being written.

    Args:
        path: Of the object.
        mode: `wb` or `xb`.
        writer: Stores it.
        on_stored: Called once it is there.
        is_held: Closing it stores nothing: its transaction does that, by `commit`, or it
            calls `discard`.
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
        # The base class would close it, and so store what may be half of it. Its writer aborts.
        pass

    def _dealloc_warn(self, source: object) -> None:
        # Python's own wrappers, when they are dropped unclosed, call this before they close it.
        self._is_dropped = True
        self._writer._dealloc_warn(source)  # noqa: SLF001 - a wrapper of it, too
        super().close()


class CompressedFile(io.BufferedIOBase):
    """A compressor and the file it writes to, closed together, which fsspec leaves to chance."""

    def __init__(self, compressor: Any, file: WritableFile) -> None:
        self._compressor = compressor
        self._file = file

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any, /) -> int:
        """Compress all of `data`; return its bytes."""
        return int(self._compressor.write(data))

    def close(self) -> None:
        """End what is compressed, and close the file."""
        if self.closed:
            return
        try:
            self._compressor.close()
            self._file.close()
        finally:
            super().close()

    def __del__(self) -> None:
        # As WritableFile's.
        pass

    def _dealloc_warn(self, source: object) -> None:
        # As WritableFile's.
        self._file._dealloc_warn(source)  # noqa: SLF001 - as there
        super().close()


class TextFile(io.TextIOWrapper):
    """Text that, unless it is closed, is not stored."""

    def __del__(self) -> None:
        # As WritableFile's.
        pass


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
