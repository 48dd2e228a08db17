# SPDX-License-Identifier: Apache-2.0
"""Files to be written: at offsets, and targets that appear complete or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
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
        if _is_written_directly(Path(target)):
            # Appended, so that what others have written to it stays.
            with Path(target).open("ab") as device:
                yield device
            return
        path = Path(os.path.realpath(target))
        if path.is_dir():
            raise StorageError(f"{target} is a directory.", hint="Name a file in it.")
        temporary = path.with_name(f".{_cut(path.name)}.{token_hex(6)}.s3crypt")
        try:
            # Named before it is made: an interrupt cannot fall between its making and its removal.
            with _create(temporary, path) as file:
                yield file
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def _is_written_directly(target: Path) -> bool:
    """Tell whether a target is a device, a pipe, or a descriptor by its name in /dev or /proc."""
    if not target.exists() or target.is_dir():
        return False
    of_the_system = target.parts[:2] in (("/", "dev"), ("/", "proc"))
    return not target.is_file() or (of_the_system and target.parts[:3] != ("/", "dev", "shm"))


def _cut(name: str) -> str:
    # File systems limit a name's bytes, mostly to 255; not its characters.
    return os.fsencode(name)[:80].decode(errors="ignore")


def _create(temporary: Path, target: Path) -> BinaryIO:
    # A new file gets what the umask allows; one that replaces another is never more open.
    mode = target.stat().st_mode & 0o777 if target.exists() else None
    descriptor = os.open(
        temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600
    )
    if mode is not None:
        os.fchmod(descriptor, mode)
    return os.fdopen(descriptor, "w+b")


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
