# SPDX-License-Identifier: Apache-2.0
"""The key files of the running command: it must not move, delete or overwrite them.

A key file is recognised by its path, and by its device and inode. So symbolic links and hard links
to a key file count as the key file, and so does another spelling on a file system that ignores
case.

This module does not know S3. `sparing` applies it to the names in a tree.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from s3crypt.errors import ConfigError


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The key files of a command.

    Attributes:
        paths: Their real paths.
        inodes: Their pairs of device and inode.
    """

    paths: frozenset[Path]
    inodes: frozenset[tuple[int, int]]

    @classmethod
    def of(cls, files: Iterable[str]) -> "OwnKeys":
        """Return the key files with these paths."""
        paths = frozenset(Path(os.path.realpath(file)) for file in files)
        return cls(paths, frozenset(filter(None, map(_inode, paths))))

    def has(self, path: str | Path) -> bool:
        """Return whether a path names a key file or a link to a key file."""
        return _inode(path) in self.inodes or Path(os.path.realpath(path)) in self.paths

    def is_inode_of(self, path: str) -> bool:
        """Return whether a path leads to the inode of a key file, by one system call."""
        return _inode(path) in self.inodes

    def names_below(self, folder: str | Path) -> frozenset[str]:
        """Return the names of the key files relative to a folder, for those below it."""
        root = os.path.realpath(folder)
        below = (path for path in self.paths if path.is_relative_to(root))
        return frozenset(path.relative_to(root).as_posix() for path in below)


def check_not_moved(files: Iterable[str], key_files: Iterable[str]) -> None:
    """Refuse to move a key file: its object could not be read without it."""
    keys = OwnKeys.of(key_files)
    for file in files:
        if keys.has(file):
            raise ConfigError(
                f"{file} is a key of this command, and is not moved.", hint="Copy it."
            )


def check_not_overwritten(files: Iterable[str | Path], key_files: Iterable[str]) -> None:
    """Refuse to write to a key file: everything encrypted under the key would be lost."""
    keys = OwnKeys.of(key_files)
    for file in files:
        if keys.has(file):
            raise ConfigError(
                f"{file} is a key of this command, and is not overwritten.",
                hint="Write to another file.",
            )


def _inode(path: str | Path) -> tuple[int, int] | None:
    """Return the device and inode of the file to which a path leads; None if there is no file."""
    try:
        state = os.stat(path)  # noqa: PTH116 - a Path would cost more than the call
    except (OSError, ValueError):
        # ValueError: the name of an object may have a null character.
        return None
    return state.st_dev, state.st_ino
