# SPDX-License-Identifier: Apache-2.0
"""Digests of a file's content. The whole file is read for each digest."""

import hmac
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from s3crypt.errors import StorageError
from s3crypt.jobs import FoundFile
from s3crypt.local.sources import opening
from s3crypt.local.workers import check_stop
from s3crypt.transfer import crc_of

_BLOCK = 2**20


def hmac_of(file: BinaryIO, path: Path) -> Callable[[bytes], bytes]:
    """Return a function that computes the HMAC-SHA256 of an open file's content under a key.

    The position of the file does not change.
    """

    def digest(key: bytes) -> bytes:
        made = hmac.new(key, digestmod=sha256)
        for block in _blocks(file, path):
            made.update(block)
        return made.digest()

    return digest


def hmac_of_found(found: FoundFile) -> Callable[[bytes], bytes]:
    """Return `hmac_of` for a file. The file is opened only when the returned function is called."""

    def digest(key: bytes) -> bytes:
        with opening(found.path) as file:
            _check_unchanged(file, found)
            return hmac_of(file, found.path)(key)

    return digest


def crc_of_found(found: FoundFile) -> int:
    """Return the CRC-64/NVME of a file's content."""
    with opening(found.path) as file:
        _check_unchanged(file, found)
        return crc_of(_blocks(file, found.path))


def _check_unchanged(file: BinaryIO, found: FoundFile) -> None:
    state = os.fstat(file.fileno())
    if (state.st_size, state.st_mtime_ns) != (found.size, found.mtime_ns):
        raise changed(found.path)


def changed(path: Path) -> StorageError:
    """Return the error for a file that was written to while it was compared or stored."""
    return StorageError(
        f"{path} changed while it was read; nothing was stored or written.", hint="Try again."
    )


def _blocks(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield a file's bytes. Raise an error if the file was written to during the read."""
    before = os.fstat(file.fileno())
    position = 0
    while block := os.pread(file.fileno(), _BLOCK, position):
        check_stop()
        yield block
        position += len(block)
    after = os.fstat(file.fileno())
    names = ("st_size", "st_mtime_ns")
    if any(getattr(before, name) != getattr(after, name) for name in names):
        raise changed(path)
