# SPDX-License-Identifier: Apache-2.0
"""Local files that appear complete or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from .errors import S3CryptError, StorageError


@contextmanager
def replacing(target: str | Path) -> Iterator[BinaryIO]:
    """Give a file that becomes `target` when the block ends well, and vanishes when it does not.

    It is written beside the target and renamed over it. Where the target is a device or a pipe
    there is nothing to rename: it is written directly.

    Raises:
        StorageError: The target is a directory or cannot be written.
    """
    path = Path(os.path.realpath(target))
    with _reporting(target):
        if path.is_dir():
            raise StorageError(f"{target} is a directory.", hint="Name a file in it.")
        if path.exists() and not path.is_file():
            with path.open("wb") as device:
                yield device
            return
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
        raise StorageError(
            f"Cannot write {target}: {error.strerror or error}.",
            hint="Check the folder, its permissions and the space left.",
        ) from error
