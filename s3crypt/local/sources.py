# SPDX-License-Identifier: Apache-2.0
"""Sources of bytes: memory, files and streams. Each has its own guarantees.

This module also checks the source and the files of a caller before the first request to S3.
"""

import codecs
import fcntl
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, Self

from s3crypt.errors import (
    ConfigError,
    LocalFileNotFoundError,
    Remedy,
    S3CryptError,
    StorageError,
)

from .readers import ByteReader, read_exactly, read_into

_BUFFERED = (io.BufferedReader, io.BufferedRandom)
# A longer text, or a text with line breaks, is more likely to be content than a path.
_MAX_SHOWN = 1024


class Source(Protocol):
    """A source of bytes."""

    @property
    def size(self) -> int | None:
        """Return the size in bytes. Return None if it is unknown until the end is reached."""
        ...

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read into `view`, beginning at `offset`.

        Return the number of bytes. It is less than the length of `view` only at the end.

        A stream ignores the offset, because it is read in order.
        """
        ...

    def at_end(self) -> bool:
        """Return whether a stream has ended. This is called only for streams."""
        ...

    def verify(self) -> None:
        """Raise StorageError if the source was changed while it was read."""
        ...


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except S3CryptError:
        raise
    except OSError as error:
        raise StorageError(f"Cannot read {name}: {error.strerror or error}.") from error


class BytesSource:
    """A source of bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = as_bytes(data)
        self.size: int | None = len(self._view)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Copy bytes that begin at `offset` into `view`."""
        chunk = self._view[offset : offset + len(view)]
        view[: len(chunk)] = chunk
        return len(chunk)

    def at_end(self) -> bool:
        """Raise AssertionError: the size is known, so this is never called."""
        raise AssertionError("unreachable: only streams are asked")

    def verify(self) -> None:
        """Do nothing: the caller must not change the bytes during the call."""


def as_bytes(data: bytes | bytearray | memoryview) -> memoryview:
    """Return a view of the data's bytes, in the order of the elements. Data with gaps is copied."""
    view = memoryview(data)
    try:
        return view.cast("B")
    except TypeError:
        # This also copies data with a foreign byte order or with an empty dimension.
        return memoryview(view.tobytes())


class FileSource:
    """A regular file. Any worker can read it at any offset."""

    @classmethod
    def of(cls, file: BinaryIO, name: str) -> Self | None:
        """Return a source of a file's bytes from its position on.

        Return None if the file can only be read by its `read` method.

        The descriptor is used only for Python's own files. For other objects, `read` may return
        other bytes than the descriptor: a GzipFile's descriptor has the compressed bytes, and a
        subclass may count or change the bytes. The reported size is checked, because files in /proc
        report 0, and files in /sys report a size that is too large.
        """
        raw = file.raw if type(file) in _BUFFERED else file  # type: ignore[attr-defined]  # they have
        if type(raw) is not io.FileIO or not is_regular(file):
            return None
        if file.writable():
            file.flush()
        source = cls(file, name)
        return source if source._has_its_size() else None

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._descriptor = file.fileno()
        self._name = name
        self._start = file.tell()
        self._state = os.fstat(self._descriptor)
        self.size: int | None = max(0, self._state.st_size - self._start)

    def _has_its_size(self) -> bool:
        """Return whether the file ends exactly at its reported size."""
        if not self.size:
            return False
        with _reading(self._name):
            return len(os.pread(self._descriptor, 2, self._start + self.size - 1)) == 1

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read bytes that begin at `offset` into `view`."""
        filled = 0
        while filled < len(view):
            with _reading(self._name):
                count = os.preadv(self._descriptor, [view[filled:]], self._start + offset + filled)
            if not count:
                break
            filled += count
        return filled

    def at_end(self) -> bool:
        """Raise AssertionError: the size is known, so this is never called."""
        raise AssertionError("unreachable: only streams are asked")

    def verify(self) -> None:
        """Raise an error if the file was written to while it was read."""
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._state.st_size, self._state.st_mtime_ns):
            has_grown = now.st_size > self._state.st_size
            raise StorageError(
                f"{self._name} changed while it was read; nothing was stored or written.",
                hint="Try again.",
                remedy=Remedy("pipe_what_is_there", file=self._name) if has_grown else None,
            )


def is_regular(file: BinaryIO) -> bool:
    """Return whether a file has a size, and can be read and written at any offset."""
    descriptor = file.fileno()
    # With O_APPEND, every write goes to the end of the file, whatever its offset is.
    appends = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
    return not appends and stat.S_ISREG(os.fstat(descriptor).st_mode)


@contextmanager
def opening(path: str | Path, *, or_content: bool = False) -> Iterator[BinaryIO]:
    """Yield a file that is open for reading.

    Args:
        path: The file's path.
        or_content: Whether the caller's argument may also be content as bytes. If so, the hint of
            the error says that content must be bytes and not text.

    Raises:
        ConfigError: `path` is not a path.
        LocalFileNotFoundError: The file does not exist.
        StorageError: The file is a directory or cannot be read.
    """
    name = path_text(path)
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below, once it is open
    except IsADirectoryError as error:
        raise StorageError(f"{path} is a directory.", hint="Name a file in it.") from error
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        kind = LocalFileNotFoundError if is_missing else StorageError
        hint = "Check the path and its permissions."
        if or_content and isinstance(path, str):
            hint += " Text is a path; to store it, encode it: text.encode()."
        shown = _shown(name) if or_content else name
        raise kind(f"Cannot read {shown}: {error.strerror}.", hint=hint) from error
    with file:
        yield file


def path_text(path: object) -> str:
    """Return a path as text.

    Raises:
        ConfigError: `path` is neither text nor a `Path`, or cannot be the name of a file.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str):
        raise ConfigError(
            f"A path is text or a Path, not {type(path).__name__}.",
            hint="os.fsdecode makes text of bytes.",
        )
    if "\0" in text:
        raise ConfigError("No file has that name: it has a NUL character.", hint="Check the path.")
    return text


def _shown(path: str) -> str:
    """Return a path for an error message.

    If the text is more likely to be content than a path, return a general description.
    """
    is_likely = path.isprintable() and len(path) <= _MAX_SHOWN
    return path if is_likely else "the file that is named"


@contextmanager
def given(source: str | Path | bytes | bytearray | memoryview | BinaryIO) -> Iterator["Source"]:
    """Yield the source for a path, for bytes, or for a binary file (from its position on).

    Raises:
        ConfigError: `source` has another type, or is a file that is closed, is not readable, or is
            open as text.
        LocalFileNotFoundError, StorageError: For the reasons that `opening` documents.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield BytesSource(source)
    elif isinstance(source, str | os.PathLike):
        with opening(source, or_content=True) as file:
            yield FileSource.of(file, str(source)) or StreamSource(file)
    elif isinstance(source, type) or not callable(getattr(source, "read", None)):
        hint = 'Write pieces to s3.open(URI, "wb").' if isinstance(source, Iterable) else None
        raise ConfigError(
            f"A source is a path, bytes, or a file that is open to be read; not "
            f"{type(source).__name__}.",
            hint=hint,
        )
    else:
        check_file(source, "source")
        name = str(getattr(source, "name", "the source"))
        yield FileSource.of(source, name) or _stream(source)


def check_file(file: object, role: Literal["source", "target"]) -> None:
    """Refuse a caller's file if bytes cannot be read from a source, or written to a target.

    Raises:
        ConfigError: The file is closed, is open as text, or is open only for the other direction.
    """
    mode, wanted = ("rb", "readable") if role == "source" else ("wb", "writable")
    if isinstance(file, _TEXT) or isinstance(getattr(file, "encoding", None), str):
        raise ConfigError(f"The {role} is open as text.", hint=f'Open it in binary mode: "{mode}".')
    if getattr(file, "closed", False) is True:
        raise ConfigError(f"The {role} is a closed file.", hint=f'Open it: "{mode}".')
    is_able = getattr(file, wanted, None)
    if callable(is_able) and is_able() is False:
        raise ConfigError(f"The {role} is a file that is not {wanted}.", hint=f'Open it: "{mode}".')


_TEXT = (io.TextIOBase, codecs.StreamReader, codecs.StreamWriter, codecs.StreamReaderWriter)
# `read` of these classes returns bytes. `read` of other classes may return any type.
_BINARY = (io.RawIOBase, io.BufferedIOBase)


def _stream(file: BinaryIO) -> "StreamSource":
    """Return a stream for a file.

    If the file's class does not guarantee bytes, read one byte ahead and check its type.
    """
    stream = StreamSource(file)
    if isinstance(file, _BINARY):
        return stream
    try:
        stream.at_end()
    except TypeError as error:
        raise ConfigError(
            f"The source's read(1) fails: {error}.", hint="Give a binary file, or bytes."
        ) from error
    return stream


def _as_read(chunk: object) -> bytes:
    """Return the result of a stream's `read` as bytes. Refuse any other type."""
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise ConfigError(
            f"The source's read gives {type(chunk).__name__}, not bytes.",
            hint="Give a binary file, or bytes.",
        )
    return bytes(chunk)


class StreamSource:
    """A pipe, a socket or another file that is read once, in order.

    Args:
        file: The file that is read.
        size: The size in bytes. None if it is unknown. If the stream has another size, a
            StorageError is raised.
        last_check: Is called after the last read, before the object becomes visible. It raises an
            error if the object must not become visible.
    """

    def __init__(
        self,
        file: ByteReader,
        size: int | None = None,
        last_check: Callable[[], None] | None = None,
    ) -> None:
        self._file = file
        self._last_check = last_check
        self._ahead = b""
        self.size = size

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read the next bytes into `view`. `offset` is ignored: it is the stream's position."""
        del offset
        filled = len(self._ahead)
        view[:filled] = self._ahead
        self._ahead = b""
        with _reading("the source"):
            return filled + read_into(self._file, view[filled:])

    def at_end(self) -> bool:
        """Return whether the stream has ended. This may read one byte ahead."""
        with _reading("the source"):
            self._ahead = self._ahead or _as_read(read_exactly(self._file, 1))
        return not self._ahead

    def verify(self) -> None:
        """Raise an error if the stream has not ended, then call `last_check`.

        The read at the end makes the stream verify its last bytes.
        """
        if not self.at_end():
            raise StorageError(f"The stream is longer than the {self.size} bytes announced.")
        if self._last_check:
            self._last_check()
