# SPDX-License-Identifier: Apache-2.0
"""Find the files below a folder. They are the items of a job.

This module knows only two facts about S3: names are UTF-8, and listings are in the order of their
bytes.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from s3crypt.errors import ConfigError, LocalFileNotFoundError, S3CryptError, StorageError

# The number of names per lot. A directory is scanned again for each lot. For a directory of a
# million files, this needs a few tens of MB of memory and ten scans of about a second each.
_LOT = 100_000


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file below a folder. Size and time are as they were when it was found.

    Attributes:
        path: The file's path.
        name: The path relative to the folder, with slashes. It can be encoded in UTF-8.
        size: The size in bytes.
        mtime_ns: The time of the last write, in nanoseconds since 1970.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int

    @property
    def version(self) -> str:
        """Return a text that changes when the file is written to.

        A journal stores it as the version.
        """
        return f"{self.size} bytes, {self.mtime_ns} ns"


@dataclass(frozen=True, slots=True)
class Unusable:
    """A path below a folder that cannot be stored as an object.

    Attributes:
        path: The path of a file, or of a directory. A directory's whole content is left out.
        error: The reason, as an error.
    """

    path: Path
    error: S3CryptError


def files_below(
    root: str | Path, *, report: Callable[[Path, str], None]
) -> Iterator[FoundFile | Unusable]:
    """Yield the files below a folder, in the order in which S3 would list their names.

    A link to a file is treated as a file. A path that cannot be read is yielded as `Unusable`, and
    the walk continues. Memory contains at most one lot of names per directory level, whatever the
    size of the folder is.

    Args:
        root: The folder. It may be a link.
        report: Is called with each path that is skipped, and the reason. Special files are skipped.
            Links to directories are skipped, too, because they may lead out of the folder or form a
            cycle.

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
    """Return a `FoundFile`, an `Unusable`, a directory's name, or None for a skipped path."""
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
    """Yield the sorted names in a directory. The name of a subdirectory ends with a slash."""
    after, is_last = "", False
    while not is_last:
        names, is_last = _next_names(directory, after)
        yield from names
        after = names[-1] if names else after


def _next_names(directory: Path, after: str) -> tuple[list[str], bool]:
    """Return the next lot of names after the name `after`, and whether this is the last lot."""
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
            f"{path} is a link to a file that does not exist.", hint="Correct or remove the link."
        )
    return LocalFileNotFoundError(
        f"{path} vanished after its folder was read.",
        hint="Run the command again when the folder no longer changes.",
    )


def _unreadable(path: Path, error: OSError) -> StorageError:
    kind = LocalFileNotFoundError if isinstance(error, FileNotFoundError) else StorageError
    return kind(
        f"Cannot read {path}: {error.strerror}.", hint="Check the path and its permissions."
    )
