# SPDX-License-Identifier: Apache-2.0
"""The files below a folder, as the items of a job.

This module knows only two facts about S3: its names are UTF-8, and it lists them in byte order.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from s3crypt.errors import ConfigError, LocalFileNotFoundError, S3CryptError, StorageError

# Names per lot: a directory is scanned again for each lot. A directory of a million files takes a
# few tens of MB of memory, and ten scans of about a second each.
_LOT = 100_000


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file below a folder, with its state at the time of the walk.

    Attributes:
        path: The file's path.
        name: Its path relative to the folder, with slashes, in UTF-8.
        size: Its size in bytes.
        mtime_ns: The time of the last write, in nanoseconds since 1970.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int

    @property
    def version(self) -> str:
        """Return the version for a journal: a text that changes when the file is written to."""
        return f"{self.size} bytes, {self.mtime_ns} ns"


@dataclass(frozen=True, slots=True)
class Unusable:
    """A path below a folder whose content cannot become objects.

    Attributes:
        path: A file, or a directory with its whole content.
        error: The reason.
    """

    path: Path
    error: S3CryptError


def files_below(
    root: str | Path, *, report: Callable[[Path, str], None]
) -> Iterator[FoundFile | Unusable]:
    """Yield the files below a folder, in the order in which S3 would list their names.

    A link to a file counts as a file. An unreadable path is yielded with its error, and the walk
    continues. Memory holds one lot of names per directory level, regardless of the folder's size.

    Args:
        root: The folder. It may be a link.
        report: Is called with each skipped path and the reason. Links to directories are skipped,
            since they may leave the folder or form a cycle, and so are special files.

    Raises:
        LocalFileNotFoundError: The folder does not exist.
        StorageError: The folder cannot be read.
    """
    on_the_way = [("", _names_in_order(Path(root)))]
    while on_the_way:
        above, names = on_the_way[-1]
        try:
            entry = next(names, None)
        except OSError as error:
            on_the_way.pop()
            directory = Path(root, above)
            if not on_the_way:
                raise _unreadable(directory, error) from error
            yield Unusable(directory, _unreadable(directory, error))
            continue
        if entry is None:
            on_the_way.pop()
            continue
        found = _look(root, above + entry.rstrip("/"), report)
        if isinstance(found, str):
            on_the_way.append((f"{found}/", _names_in_order(Path(root, found))))
        elif found is not None:
            yield found


def _look(
    root: str | Path, name: str, report: Callable[[Path, str], None]
) -> FoundFile | Unusable | str | None:
    """Return a file or an unusable path, the name of a directory, or None for a skipped path."""
    path = Path(root, name)
    is_link = False
    try:
        state = path.lstat()
        is_link = stat.S_ISLNK(state.st_mode)
        if is_link:
            state = path.stat()
    except OSError as error:
        return Unusable(path, _missing(path, error, is_link=is_link))
    if is_link and stat.S_ISDIR(state.st_mode):
        report(path, "a link to a directory")
    elif not stat.S_ISDIR(state.st_mode) and not stat.S_ISREG(state.st_mode):
        report(path, "not a regular file")
    elif not _is_utf8(name):
        return Unusable(path, _not_utf8(path, state))
    elif stat.S_ISDIR(state.st_mode):
        return name
    else:
        return FoundFile(path, name, state.st_size, state.st_mtime_ns)
    return None


def _names_in_order(directory: Path) -> Iterator[str]:
    """Yield the names in a directory in sorted order; a subdirectory's name ends with a slash."""
    after, is_last = "", False
    while not is_last:
        names, is_last = _next_names(directory, after)
        yield from names
        after = names[-1] if names else after


def _next_names(directory: Path, after: str) -> tuple[list[str], bool]:
    """Return the first lot of names that follow `after`, and whether no name follows the lot."""
    names: list[str] = []
    until = ""
    with os.scandir(directory) as entries:
        for entry in entries:
            name = f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
            if name <= after or (until and name > until):
                continue
            names.append(name)
            if len(names) == 2 * _LOT:
                names.sort()
                del names[_LOT:]
                until = names[-1]
    names.sort()
    is_last = not until and len(names) <= _LOT
    return names[:_LOT], is_last


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_utf8(path: Path, state: os.stat_result) -> ConfigError:
    below = " Nothing below it is read." if stat.S_ISDIR(state.st_mode) else ""
    return ConfigError(
        f"{path}: its name is not UTF-8, as names in S3 are.{below}", hint="Rename it."
    )


def _missing(path: Path, error: OSError, *, is_link: bool) -> StorageError:
    if not isinstance(error, FileNotFoundError):
        return _unreadable(path, error)
    if is_link:
        return LocalFileNotFoundError(
            f"{path} is a link to a file that is not there.", hint="Mend or remove the link."
        )
    return LocalFileNotFoundError(
        f"{path} vanished after its folder was read.", hint="Run it again once nothing changes."
    )


def _unreadable(path: Path, error: OSError) -> StorageError:
    kind = LocalFileNotFoundError if isinstance(error, FileNotFoundError) else StorageError
    return kind(
        f"Cannot read {path}: {error.strerror}.", hint="Check the path and its permissions."
    )
