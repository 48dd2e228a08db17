# SPDX-License-Identifier: Apache-2.0
"""Assign paths below a folder to the objects of a job. Each path belongs to only one object.

This module knows only one fact about S3: the end of an object's URI is its name. It writes no file.
"""

import os
import stat
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from s3crypt.errors import PolicyError, StorageError
from s3crypt.local.files import hint_for

# These parts of a path have no effect: a//b and a/./b are the same path as a/b.
_IDLE = frozenset(("", "."))
# The number of folders whose checks are cached. Consecutive objects in a listing are usually in the
# same folder.
_FOLDERS_KNOWN = 1024
# The number of cached listings. Folders are listed only if the file system treats several spellings
# as the same name.
_LISTINGS_KNOWN = 8


class TargetFolder:
    """The folder into which the objects below a prefix are written. Several threads may use it.

    Checks of subfolders are cached, because a job that writes objects to files makes folders and
    files but never links. If the name of an object is not a plain path, such as `a//b`, its path is
    recorded, because a second object may have the same path.

    Args:
        root: The path of the folder. It need not exist, and may be a link.
        prefix: The URI with which the URIs of all objects begin. It ends with a slash.
        is_there: Returns whether an object with this URI exists. If a name is not a plain path, it
            is called with the plain spelling of the name. If both objects exist, the path belongs
            to the object with the plain spelling.
    """

    def __init__(
        self, root: str | Path, prefix: str, is_there: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._root = str(Path(root))
        self._prefix = prefix
        self._is_there = is_there
        self._odd: dict[str, str] = {}
        self._real_root = Path(os.path.realpath(root))
        self._leads_out = lru_cache(_FOLDERS_KNOWN)(self._leads_out_now)
        self._fault_of_folder = lru_cache(_FOLDERS_KNOWN)(self._fault_of_folder_now)
        self._names_in = lru_cache(_LISTINGS_KNOWN)(_names_in_now)
        self._claims: set[str] = set()
        self._claims_changed = threading.Condition()

    def path_below(self, uri: str) -> Path:
        """Return the path for an object. No folder or file is made.

        Raises:
            PolicyError: The name, or a link on the path, leads out of the folder.
            StorageError: The folder cannot be read.
        """
        path = self._path_of_name(uri)
        self._check_alone(uri, path)
        with _reporting(uri, path):
            self._look(uri, path)
        return Path(path)

    def told_path(self, uri: str) -> Path:
        """Return the path for an object in a report.

        The path is not checked, so it may be a path to which the object must not be written.
        """
        try:
            return Path(self._path_of_name(uri))
        except PolicyError:
            return Path(f"{self._root}/{uri.removeprefix(self._prefix)}")

    @contextmanager
    def claimed(self, uri: str) -> Iterator[Path]:
        """Make the folder for an object and yield the object's path.

        Meanwhile, other objects with the same path wait.

        The paths of several objects may collide: `a` and `a/b`, `a/b` and `a//b`, `a` and `A` if
        the file system ignores case, or two paths that a link joins. Only one of these objects is
        written; the others are refused. An existing file whose name has exactly the object's
        spelling may be replaced.

        Raises:
            PolicyError: The name, or a link on the path, leads out of the folder.
            StorageError: The path belongs to the file or folder of another object, or the folder
                cannot be made.
        """
        path = self._path_of_name(uri)
        # The claim is the path in a normal form, because the file system may treat several
        # spellings as the same name. If the file system distinguishes the spellings, an object only
        # waits unnecessarily. `_check_free` then compares the files themselves.
        claim = unicodedata.normalize("NFC", path.casefold())
        with self._claims_changed:
            while claim in self._claims:
                self._claims_changed.wait()
            self._claims.add(claim)
        try:
            self._check_alone(uri, path)
            with _reporting(uri, path):
                self._check_free(uri, path)
            yield Path(path)
        finally:
            with self._claims_changed:
                self._claims.remove(claim)
                self._claims_changed.notify_all()

    # From here on, paths are str: making Path objects took a third of this module's time per
    # object.

    def _path_of_name(self, uri: str) -> str:
        relative = uri.removeprefix(self._prefix)
        parts = relative.split("/")
        is_below = uri.startswith(self._prefix) and ".." not in parts and "\0" not in relative
        # A name that ends with a slash stands for a folder, and usually other objects are below it.
        if not is_below or parts[-1] in _IDLE:
            raise PolicyError(
                f"{uri}: the object's name is not a path below {self._root}; it was not written."
            )
        if not _IDLE.isdisjoint(parts):
            relative = "/".join(part for part in parts if part not in _IDLE)
        return f"{self._root}/{relative}"

    def _check_alone(self, uri: str, path: str) -> None:
        """Refuse a name that is not a plain path if another object has the same path."""
        plain = f"{self._prefix}{path[len(self._root) + 1 :]}"
        if uri == plain:
            return
        other = plain if self._is_there(plain) else self._odd.setdefault(path, uri)
        if other != uri:
            raise _in_the_way(uri, f"{other} is an object, too, and has the same path, {path}")

    def _look(self, uri: str, path: str) -> os.stat_result | None:
        """Return the state of the file at a path, or None.

        Refuse a path that leads out of the root.
        """
        leads_out = self._leads_out(_folder_of(path))
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            found = None
        if found and stat.S_ISLNK(found.st_mode):
            leads_out = leads_out or self._leads_out_now(path)
        if leads_out:
            raise PolicyError(
                f"{uri}: its path leads through a link out of {self._root}; it was not written."
            )
        return found

    def _leads_out_now(self, path: str) -> bool:
        return not Path(os.path.realpath(path)).is_relative_to(self._real_root)

    def _check_free(self, uri: str, path: str) -> None:
        """Make the folder. Refuse the path if it is not free and is not this object's own file."""
        folder = _folder_of(path)
        # No folder is made if a link leads out of the root. In this case `_look` refuses the path.
        if not self._leads_out(folder) and (fault := self._fault_of_folder(folder)):
            raise _in_the_way(uri, fault)
        found = self._look(uri, path)
        if found is None:
            return
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise _in_the_way(uri, f"{path} is {kind}, but must be a file")
        if not self._is_named_so(path, found):
            raise _in_the_way(uri, f"this file system has another file's name for {path}")

    def _fault_of_folder_now(self, folder: str) -> str | None:
        """Make a folder. Return None, or the reason why no file can be written into it."""
        above = [Path(folder), *Path(folder).parents]
        try:
            above[0].mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            file = next(path for path in above if os.path.lexists(path))
            return f"{file} is not a folder, but must be one"
        below_root = above[: above.index(Path(self._root))]
        if not all(self._is_named_so(str(path), path.lstat()) for path in below_root):
            return f"this file system has another folder's name for {folder}"
        return None

    def _is_named_so(self, path: str, found: os.stat_result) -> bool:
        """Return whether the file at a path is spelled exactly like the last part of the path."""
        folder, _, name = path.rpartition("/")
        if not _has_other_spelling(folder, name, found) or name in self._names_in(folder):
            return True
        # The file may have been written after its folder was listed, so list the folder again.
        return name in _names_in_now(folder)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _in_the_way(uri: str, what: str) -> StorageError:
    return StorageError(
        f"{uri}: {what}; not written.",
        hint="Move the existing file, or get this object to another path.",
    )


def _names_in_now(folder: str) -> frozenset[str]:
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)


def _has_other_spelling(folder: str, name: str, found: os.stat_result) -> bool:
    """Return whether the file system finds the same file under another spelling of its name."""
    others = {name.swapcase()}
    if not name.isascii():
        others |= {unicodedata.normalize(form, name) for form in ("NFC", "NFD")}
    return any(_is_at(f"{folder}/{other}", found) for other in others - {name})


def _is_at(path: str, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), found)
    except FileNotFoundError:
        return False


@contextmanager
def _reporting(uri: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{uri}: cannot write {path}: {error.strerror}.", hint=hint_for(error)
        ) from error
