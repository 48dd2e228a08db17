# SPDX-License-Identifier: Apache-2.0
"""Describe client-side objects in local files, without keys."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from s3crypt.errors import FormatError
from s3crypt.local.readers import ByteReader
from s3crypt.local.sources import is_regular, opening, path_text

from . import read
from .seam import Facts

_BEGINNING_LENGTH = 4096


def inspect_file(path: str | Path) -> Facts:
    """Return the facts that a message in a local file shows without keys. They are not verified.

    Raises:
        ConfigError: `path` is not a path.
        FormatError: The file is not a message.
        IntegrityError: The file ends within its header.
        LocalFileNotFoundError: The file does not exist.
        StorageError: The file cannot be read.
    """
    # Opening a pipe would wait for a writer.
    if _is_pipe(path_text(path)):
        raise _not_regular(path)
    with opening(path) as file:
        if not is_regular(file):
            raise _not_regular(path)
        try:
            stored = _Stored(file)
            return read({}, stored).facts(stored)
        except FormatError as error:
            error.args = (f"{path}: {error}",)
            raise


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116 - text
    except OSError:
        # Opening the file will raise the error.
        return False


def _not_regular(path: str | Path) -> FormatError:
    return FormatError(
        f"{path} is not a regular file.", hint="Write the pipe's content to a file first."
    )


class _Stored:
    """An open local file that implements `Stored`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.beginning = file.read(_BEGINNING_LENGTH)
        self.size = file.seek(0, 2)
        self.rewind()

    def read(self, size: int, /) -> bytes:
        return self._file.read(size)

    def rewind(self) -> None:
        self._file.seek(0)

    def take(self, length: int) -> memoryview:
        return memoryview(self._file.read(length))

    @contextmanager
    def section(self, start: int, end: int) -> Iterator[ByteReader]:
        self._file.seek(start)
        yield BytesIO(self._file.read(end - start))
