# SPDX-License-Identifier: Apache-2.0
"""Bytes to be read: in memory, in files and from streams, and what each may promise.

Callers' sources and files are checked here, before anything is asked of S3.
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
# Longer texts, and those with line breaks, are rather content than paths.
_MAX_SHOWN = 1024


class Source(Protocol):
    """Bytes to be read."""

    @property
    def size(self) -> int | None:
        """Return its bytes, or None where only its end will tell."""
        ...

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill `view` from `offset`; fewer bytes only at the end. Streams ignore the offset."""
        ...

    def at_end(self) -> bool:
        """Tell whether a stream has no byte left; asked of streams only."""
        ...

    def verify(self) -> None:
        """Raise StorageError if what was read is not one state of the source."""
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
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = as_bytes(data)
        self.size: int | None = len(self._view)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Copy from `offset`."""
        chunk = self._view[offset : offset + len(view)]
        view[: len(chunk)] = chunk
        return len(chunk)

    def at_end(self) -> bool:
        """Never asked: the size is known."""
        raise AssertionError("unreachable: only streams are asked")

    def verify(self) -> None:
        """Do nothing: the caller keeps the bytes as they are during the call."""


def as_bytes(data: bytes | bytearray | memoryview) -> memoryview:
    """Return the bytes of data in the order of its elements; a view with gaps is copied."""
    view = memoryview(data)
    try:
        return view.cast("B")
    except TypeError:
        # Also where the elements have a foreign byte order, or a dimension has none.
        return memoryview(view.tobytes())


class FileSource:
    """A regular file, read at any offset by any worker."""

    @classmethod
    def of(cls, file: BinaryIO, name: str) -> Self | None:
        """Return a file's bytes from its position on; None where only `read` can give them.

        Only of Python's own files does the descriptor have the bytes that `read` gives: a
        GzipFile's has the compressed ones, and a subclass may count or change them. And not every
        file is as long as it says: those of /proc claim to be empty, those of /sys to be longer.
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
        """Return whether the file's last byte is where its size says, and no byte after it."""
        if not self.size:
            return False
        with _reading(self._name):
            return len(os.pread(self._descriptor, 2, self._start + self.size - 1)) == 1

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read from `offset`."""
        filled = 0
        while filled < len(view):
            with _reading(self._name):
                count = os.preadv(self._descriptor, [view[filled:]], self._start + offset + filled)
            if not count:
                break
            filled += count
        return filled

    def at_end(self) -> bool:
        """Never asked: the size is known."""
        raise AssertionError("unreachable: only streams are asked")

    def verify(self) -> None:
        """Refuse a file that was written to while it was read."""
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._state.st_size, self._state.st_mtime_ns):
            has_grown = now.st_size > self._state.st_size
            raise StorageError(
                f"{self._name} changed while it was read; nothing was stored or written.",
                hint="Try again.",
                remedy=Remedy("pipe_what_is_there", file=self._name) if has_grown else None,
            )


def is_regular(file: BinaryIO) -> bool:
    """Tell whether a file has a size, and offsets to read and write at."""
    descriptor = file.fileno()
    # Where bytes are appended, they are wherever they are said to go.
    appends = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
    return not appends and stat.S_ISREG(os.fstat(descriptor).st_mode)


@contextmanager
def opening(path: str | Path, *, or_content: bool = False) -> Iterator[BinaryIO]:
    """Give a file open for reading.

    Args:
        path: The file's.
        or_content: Whether the caller takes content too, as bytes: text may have been meant so.

    Raises:
        ConfigError: That is no path.
        LocalFileNotFoundError: There is no such file.
        StorageError: It is a directory or cannot be read.
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
        raise kind(f"Cannot read {_shown(name)}: {error.strerror}.", hint=hint) from error
    with file:
        yield file


def path_text(path: object) -> str:
    """Return a path as text.

    Raises:
        ConfigError: It is neither text nor a `Path`, or no file can have that name.
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
    """Return a path for a message; not what is more likely content, given in its place."""
    is_likely = path.isprintable() and len(path) <= _MAX_SHOWN
    return path if is_likely else "the file that is named"


@contextmanager
def given(source: str | Path | bytes | bytearray | memoryview | BinaryIO) -> Iterator["Source"]:
    """Give what a caller named as a source: a path, bytes, or a binary file from its position on.

    Raises:
        ConfigError: It is none of these, or a file that is closed, open as text, or not to read.
        LocalFileNotFoundError, StorageError: As `opening`.
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
    """Refuse a caller's file from which bytes cannot be read, or to which they cannot be written.

    Raises:
        ConfigError: It is open as text, closed, or open for the other direction alone.
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
# Files of these kinds give bytes; others may give anything.
_BINARY = (io.RawIOBase, io.BufferedIOBase)


def _stream(file: BinaryIO) -> "StreamSource":
    """Return a stream of which, unless its kind promises bytes, the first one has been read."""
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
    """Return what a stream's `read` gave; refuse what is no bytes."""
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise ConfigError(
            f"The source's read gives {type(chunk).__name__}, not bytes.",
            hint="Give a binary file, or bytes.",
        )
    return bytes(chunk)


class StreamSource:
    """A pipe, socket or other file that is read once, in order.

    Args:
        file: Where to read.
        size: Its bytes where they are known; then it must give just as many.
        last_check: Called once all is read and before the object appears; raises if it must not.
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
        """Read on; `offset` is where the stream is."""
        del offset
        filled = len(self._ahead)
        view[:filled] = self._ahead
        self._ahead = b""
        with _reading("the source"):
            return filled + read_into(self._file, view[filled:])

    def at_end(self) -> bool:
        """Read one byte ahead."""
        with _reading("the source"):
            self._ahead = self._ahead or _as_read(read_exactly(self._file, 1))
        return not self._ahead

    def verify(self) -> None:
        """Read to the end: what is still to be verified there must be."""
        if not self.at_end():
            raise StorageError(f"The stream is longer than the {self.size} bytes announced.")
        if self._last_check:
            self._last_check()
