# SPDX-License-Identifier: Apache-2.0
"""Files to be written: at offsets, and targets that appear complete or not at all."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import BinaryIO

from s3crypt.errors import LocalFileNotFoundError, S3CryptError, StorageError


def write_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Write all of `view` at an offset of a file."""
    written = 0
    while written < len(view):
        written += os.pwrite(descriptor, view[written:], offset + written)


@contextmanager
def atomic_write(target: str | Path) -> Iterator[BinaryIO]:
    """Give a file that becomes `target` when the block ends well, and vanishes when it does not.

    It is written beside the target and renamed over it. Where the target is a device or a pipe
    there is nothing to rename: it is written directly.

    Raises:
        LocalFileNotFoundError: There is no such folder.
        StorageError: The target is a directory or cannot be written.
    """
    with _reporting(target):
        path = _absolute(target)
        there = _stat(path, follow_symlinks=False)
        is_link = there is not None and S_ISLNK(there.st_mode)
        if is_link:
            there = _stat(path)
        if there is not None and S_ISDIR(there.st_mode):
            raise StorageError(f"{target} is a directory.", hint="Name a file in it.")
        if there is not None and _is_written_directly(path, there):
            # Appended, so that what others have written to it stays.
            with open(path, "ab") as device:
                yield device
            return
        if is_link:
            # The file itself is replaced, and the link stays.
            path = os.path.realpath(path)
        folder, name = os.path.split(path)
        temporary = os.path.join(folder, f".{_cut(name)}.{token_hex(6)}.s3crypt")
        try:
            # Named before it is made: an interrupt cannot fall between its making and its removal.
            with _create(temporary, there) as file:
                yield file
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _absolute(target: str | Path) -> str:
    """Return a path that means the same file when the working directory is another one."""
    path = os.fspath(target)
    if not path or path.endswith("/") or "//" in path or "/." in path:
        # pathlib knows what these mean, and takes as long as a system call.
        path = str(Path(path))
    return path if path.startswith("/") else os.path.join(os.getcwd(), path)


def _stat(path: str, *, follow_symlinks: bool = True) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow_symlinks)
    except FileNotFoundError:
        return None


def _is_written_directly(path: str, there: os.stat_result) -> bool:
    """Tell whether a target is a device, a pipe, or a descriptor by its name in /dev or /proc."""
    _, top, *below = path.split("/", 3)
    of_the_system = top == "proc" or (top == "dev" and below[:1] != ["shm"])
    return of_the_system or not S_ISREG(there.st_mode)


def _cut(name: str) -> str:
    # File systems limit a name's bytes, mostly to 255; not its characters.
    return os.fsencode(name)[:80].decode(errors="ignore")


def _create(temporary: str, replaced: os.stat_result | None) -> BinaryIO:
    # A new file gets what the umask allows; one that replaces another is never more open.
    descriptor = os.open(
        temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666 if replaced is None else 0o600
    )
    if replaced is not None:
        os.fchmod(descriptor, replaced.st_mode & 0o777)
    # Of no given length, Python would ask whether it is a terminal.
    return os.fdopen(descriptor, "w+b", io.DEFAULT_BUFFER_SIZE)


@contextmanager
def _reporting(target: str | Path) -> Iterator[None]:
    try:
        yield
    except S3CryptError:
        raise
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        kind = LocalFileNotFoundError if is_missing else StorageError
        raise kind(
            f"Cannot write {target}: {error.strerror or error}.",
            hint="Check the folder, its permissions and the space left.",
        ) from error
