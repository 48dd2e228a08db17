# SPDX-License-Identifier: Apache-2.0
"""The part of the file system for names and sizes.

It never reads or writes the content of objects.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from glob import has_magic
from hashlib import sha256
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem, make_path_posix, trailing_sep
from fsspec.utils import other_paths, stringify_path

from s3crypt import buckets
from s3crypt.errors import ObjectNotFoundError, StorageError

from .connection import Connection, Instances
from .listing import Entry, Kind, Listing, described, directory
from .parallel import parallel_map
from .paths import as_files, equally_many, is_within, split, uri_of
from .removal import Removal, remove


class NamesFileSystem(AbstractFileSystem, metaclass=Instances):  # type: ignore[misc]
    """Lists, finds and removes objects. `S3CryptFileSystem` adds reading, writing and copying."""

    protocol = "s3crypt"
    root_marker = ""
    # fsspec must not use the connection to distinguish file systems, because file systems with the
    # same options share a connection.
    _strip_tokenize_options = ("connection",)
    _connection: Connection

    def __init__(self, connection: Connection, options: Mapping[str, Any]) -> None:
        super().__init__(**options)
        self._connection = connection
        self._listing = Listing(connection)

    @property
    def fsid(self) -> str:
        """Return a name that identifies this kind of file system in generic code."""
        return "s3crypt"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return stripped.lstrip("/") if isinstance(stripped, str) else stripped

    # Methods for one object or one directory.

    def info(self, path: str, *, version_id: str | None = None, **_: Any) -> Entry:
        """Return the entry of an object with its plaintext's size, or the entry of a directory."""
        path = self._strip_protocol(path)
        bucket, name = split(path)
        if not name:
            if bucket:
                self._listing.first(bucket, "")
            return directory(path)
        try:
            return described(path, self._connection.head(path, version_id=version_id))
        except FileNotFoundError:
            if version_id is None and self._listing.first(bucket, f"{name}/") is not None:
                return directory(path)
            raise

    def exists(self, path: str, *, version_id: str | None = None, **_: Any) -> bool:
        """Return whether an object or a directory exists. Raise an error if this is unknown."""
        if version_id is None:
            return self._kind(path) is not None
        try:
            self.info(path, version_id=version_id)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Return whether an object with this name exists."""
        return self._kind(path) == "file"

    def isdir(self, path: str) -> bool:
        """Return whether a path is a bucket, or a prefix of names that ends before a slash."""
        return self._kind(path) == "directory"

    def _kind(self, path: str) -> Kind | None:
        return self._listing.kind(self._strip_protocol(path))

    def modified(self, path: str) -> datetime:
        """Return the time at which an object was stored."""
        entry = self.info(path)
        if entry["type"] != "file":
            raise IsADirectoryError(f"{path} is a directory: it has no time.")
        stored: datetime = entry["LastModified"]
        return stored

    def created(self, path: str) -> datetime:
        """Return the time at which an object was stored.

        S3 replaces objects and never changes them.
        """
        return self.modified(path)

    def checksum(self, path: str) -> int:
        """Return a number that changes when the content changes."""
        return int(self.ukey(path), 16)

    def ukey(self, path: str) -> str:
        """Return a text that changes with the content: a hash of name, ETag and version id."""
        entry = self.info(path)
        parts = [entry["name"], *(str(entry.get(part)) for part in ("ETag", "VersionId"))]
        return sha256("\n".join(parts).encode()).hexdigest()

    # Methods for several objects.

    def sizes(self, paths: list[str]) -> list[int | None]:
        """Return the plaintext size of each object. The requests are made in parallel."""
        return parallel_map(self._connection, self.size, paths)

    def ls(
        self,
        path: str,
        detail: bool = True,
        *,
        refresh: bool = False,
        measured: bool = True,
        **_: Any,
    ) -> list[Any]:
        """List a directory. If the path is an object, list this object.

        Args:
            path: The directory's path.
            detail: Whether to return entries as `info` does, instead of names.
            refresh: Whether to list again even if the listing is cached.
            measured: Whether to determine the plaintext sizes. If S3 encrypts, the listing contains
                them; otherwise this takes a request per object.
        """
        path = self._strip_protocol(path)
        entries = None if refresh else self.dircache.get(path)
        if entries is None:
            entries = self._listing.level(path)
            if entries is None:
                return self._ls_object(path, detail=detail, measured=measured)
            self.dircache[path] = entries
        return self._told(entries, detail=detail, measured=measured)

    def _ls_object(self, path: str, *, detail: bool, measured: bool) -> list[Any]:
        entry = self._listing.object(path)
        if entry is None:
            raise ObjectNotFoundError(
                f"{uri_of(path)}: no such object or directory", hint="List its parent directory."
            )
        return self._told([entry], detail=detail, measured=measured)

    def _told(self, entries: list[Entry], *, detail: bool, measured: bool) -> list[Any]:
        """Return names, or copies of the entries.

        They are copied because the entries may be cached.
        """
        if not detail:
            return [entry["name"] for entry in entries]
        return self._listing.measured(entries) if measured else [dict(entry) for entry in entries]

    def walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Any = "omit",
        **options: Any,
    ) -> Iterator[Any]:
        """Yield each directory with its entries. Sizes are determined only with `detail`."""
        options.setdefault("measured", options.get("detail", False))
        yield from super().walk(path, maxdepth, topdown, on_error, **options)

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        *,
        prefix: str | None = None,
        measured: bool = True,
        **_: Any,
    ) -> Any:
        """Return all objects below a directory, and the object with the same name if there is one.

        Args:
            path: The directory's path.
            maxdepth: The maximum number of levels. None for all levels.
            withdirs: Whether to include directories. The given directory is included, too.
            detail: Whether to return a dictionary from names to entries as `info` returns them,
                instead of a list of names.
            prefix: If given, only names that begin with this text inside the directory are
                returned.
            measured: Whether to determine the plaintext sizes, as for `ls`.
        """
        path = self._strip_protocol(path)
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        if not path:
            found = super().find(path, maxdepth, withdirs, detail=True, measured=False)
        else:
            found = self._listing.below(path, maxdepth, prefix or "")
            if found and withdirs:
                found.setdefault(path, directory(path))
            itself = self._listing.object(path) if prefix is None else None
            if itself:
                found[path] = itself
        if not withdirs:
            found = {name: entry for name, entry in found.items() if entry["type"] == "file"}
        return self._found(found, detail=detail, measured=measured)

    def _found(self, found: Mapping[str, Entry], *, detail: bool, measured: bool) -> Any:
        names = sorted(found)
        entries = [found[name] for name in names]
        if not detail:
            return names
        told = self._told(entries, detail=True, measured=measured)
        return {entry["name"]: entry for entry in told}

    def glob(
        self, path: str, maxdepth: int | None = None, *, detail: bool = False, **options: Any
    ) -> Any:
        """Return the names that match a pattern. Sizes are determined only with `detail`.

        A pattern that ends with `**` matches only files, because tools such as DuckDB open each
        match. With `withdirs=True` it also matches directories, like other patterns.
        """
        measured = options.pop("measured", True)
        stripped = self._strip_protocol(path)
        if has_magic(stripped):
            options.setdefault("prefix", _literal_beginning(stripped))
            options.setdefault("withdirs", not path.endswith("**"))
            found = super().glob(path, maxdepth, detail=True, measured=False, **options)
        else:
            kind = self._kind(stripped)
            itself = self._listing.object(stripped) if kind == "file" and detail else None
            found = {stripped: itself or directory(stripped)} if kind else {}
        return self._found(found, detail=detail, measured=measured)

    def du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **options: Any,
    ) -> "int | dict[str, int]":
        """Return the total plaintext size below a directory.

        If not `total`, return each object's size.
        """
        found = self.find(path, maxdepth, withdirs, detail=True, **options)
        sizes = {name: entry["size"] for name, entry in found.items()}
        if not total:
            return sizes
        unknown = [name for name, size in sizes.items() if size is None]
        if unknown:
            raise StorageError(f"{uri_of(unknown[0])}: the size of its plaintext is not known.")
        return sum(int(size) for size in sizes.values())

    # Methods that expand paths of callers.

    def expand_path(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
        **_: Any,
    ) -> list[str]:
        """Return the paths, with patterns expanded.

        With `recursive`, directories are expanded, too.

        If a path looks like a pattern, but an object or a directory has exactly this name, it is
        not expanded.
        """
        return sorted(
            self._expanded(path, recursive, maxdepth, is_literal=True)
            if assume_literal
            else self._expanded(path, recursive, maxdepth)
        )

    def _expanded(
        self, path: Any, recursive: bool, maxdepth: int | None, *, is_literal: bool = False
    ) -> dict[str, Entry | None]:
        """Return the entries for expanded paths.

        The entry is None for a path that was not expanded or looked up.
        """
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        deeper = maxdepth and maxdepth - 1
        found: dict[str, Entry | None] = {}
        for name in self._strip_protocol(path if isinstance(path, list | tuple | set) else [path]):
            if is_literal or not self._is_pattern(name):
                found.update(self._below(name, maxdepth) if recursive else {name: None})
                continue
            matches = self._matches(name, maxdepth)
            found.update(matches)
            if recursive and maxdepth != 1:
                for below in parallel_map(
                    self._connection, lambda one: self._below(one, deeper), list(matches)
                ):
                    found.update(below)
        if not found:
            raise ObjectNotFoundError(f"{path}: no such object or directory, and nothing matches")
        return found

    def _matches(self, pattern: str, maxdepth: int | None) -> dict[str, Entry]:
        found: dict[str, Entry] = self.glob(
            pattern, maxdepth=maxdepth, detail=True, measured=False, withdirs=True
        )
        return found

    def _below(self, name: str, maxdepth: int | None) -> dict[str, Entry]:
        found: dict[str, Entry] = self.find(
            name, maxdepth=maxdepth, withdirs=True, detail=True, measured=False
        )
        return found

    def _is_pattern(self, path: str) -> bool:
        """Return whether a path is a pattern, and not the name of an object or a directory."""
        if not has_magic(path):
            return False
        if has_magic(split(path)[0]):
            raise ValueError(f"{path}: name the bucket; only names in one can be patterns here.")
        return self._kind(path) is None

    def _sources(
        self, path: "str | list[str]", recursive: bool, maxdepth: int | None
    ) -> dict[str, Entry | None]:
        """Return the sources of a copy.

        Directories are included only if whole directories are copied.
        """
        found = self._expanded(path, recursive, maxdepth)
        if isinstance(path, str) and (not recursive or maxdepth is not None):
            return {
                name: entry
                for name, entry in found.items()
                if not (entry["type"] == "directory" if entry else self.isdir(name))
            }
        return found

    def _targets(
        self, path: "str | list[str]", sources: list[str], target: str, *, is_directory: bool
    ) -> list[str]:
        """Return the target of each source by fsspec's rules.

        Unlike in fsspec, a path that looks like a pattern may be a name.
        """
        if not sources:
            return []
        is_one = isinstance(path, str)
        if is_one and self._is_pattern(self._strip_protocol(path)):
            goes_inside = len(sources) == 1
        else:
            goes_inside = is_one and is_directory and not str(path).endswith("/")
        return list(other_paths(sources, target, exists=goes_inside, flatten=not is_one))

    def _local_pairs(
        self, lpath: Any, rpath: Any, recursive: bool, maxdepth: int | None
    ) -> list[tuple[Any, str]]:
        """Return pairs of a local file and its target object, by fsspec's rules."""
        source = stringify_path(lpath)
        if isinstance(source, list) and isinstance(rpath, list):
            return equally_many(source, self._strip_protocol(rpath))
        local, is_one = LocalFileSystem(), isinstance(source, str)
        if is_one:
            source = make_path_posix(source)
        found = local.expand_path(source, recursive=recursive, maxdepth=maxdepth)
        if is_one and (not recursive or maxdepth is not None):
            found = [path for path in found if not (trailing_sep(path) or local.isdir(path))]
        if not found:
            return []
        targets = self._strip_protocol(rpath)
        if isinstance(rpath, str):
            if is_one and has_magic(source):
                goes_inside = len(found) == 1
            else:
                is_directory = trailing_sep(rpath) or self.isdir(rpath)
                goes_inside = is_one and is_directory and not trailing_sep(source)
            targets = other_paths(found, targets, exists=goes_inside, flatten=not is_one)
        # A directory has no object of its own, so it is not stored.
        return [pair for pair in equally_many(found, targets) if not local.isdir(pair[0])]

    # Methods that remove objects.

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        remove(self._connection, [(self._strip_protocol(path), None)], self._forget)

    def rm(
        self, path: "str | list[str]", recursive: bool = False, maxdepth: int | None = None
    ) -> None:
        """Remove objects, with up to 1,000 per request. A bucket is emptied, but not removed.

        An object that was found by a pattern or in a directory is removed only if it still has the
        ETag from the listing. An object that is named itself is removed whatever its content is.

        Args:
            path: A path or a pattern, or a list of them.
            recursive: Whether to remove directories, with all objects below them.
            maxdepth: The maximum number of levels. None for all levels.

        Raises:
            ConflictError: An object was replaced after it was listed. The new object was not
                removed.
            FileNotFoundError: A path does not exist, or a pattern matches nothing. Nothing was
                removed.
            IsADirectoryError: A path is a directory, and `recursive` is False. Nothing was removed.
        """
        paths = self._strip_protocol(path if isinstance(path, list) else [path])
        if not all(split(one)[0] for one in paths):
            raise ValueError("Name the path to be removed; this path covers everything.")
        removal = Removal()
        for found in parallel_map(
            self._connection, lambda one: self._removable(one, recursive, maxdepth), paths
        ):
            removal.add(found)
        remove(self._connection, removal.listed(self._listing), self._forget)

    def _removable(self, path: str, recursive: bool, maxdepth: int | None) -> Removal:
        """Return the objects and directories to remove for a path or a pattern."""
        if not self._is_pattern(path):
            return self._named(path, recursive, maxdepth)
        found = self._matches(path, maxdepth)
        if not found:
            raise ObjectNotFoundError(f"{uri_of(path)}: nothing matches")
        removal = Removal(_etags(found))
        if recursive and maxdepth != 1:
            deeper = maxdepth and maxdepth - 1
            for name, entry in found.items():
                if entry["type"] == "directory":
                    removal.add(self._all_in(name, deeper))
        return removal

    def _named(self, path: str, recursive: bool, maxdepth: int | None) -> Removal:
        kind = self._listing.kind(path)
        if kind is None:
            raise ObjectNotFoundError(f"{uri_of(path)}: no such object or directory")
        if kind == "directory" and not recursive:
            raise IsADirectoryError(f"{path} is a directory: remove it with recursive=True.")
        removal = self._all_in(path, maxdepth) if recursive else Removal()
        if kind == "file":
            removal.objects[path] = None
        return removal

    def _all_in(self, path: str, maxdepth: int | None) -> Removal:
        """Return the objects in a directory.

        Without `maxdepth`, objects that mark directories are included.
        """
        if maxdepth is None:
            return Removal(directories={path})
        return Removal(_etags(self.find(path, maxdepth=maxdepth, detail=True, measured=False)))

    # Methods for buckets and caches.

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a bucket if the path is a bucket. Otherwise do nothing: S3 has no directories."""
        bucket, name = split(self._strip_protocol(path))
        if name:
            return
        if self.exists(bucket):
            raise FileExistsError(f"The bucket {bucket!r} exists.")
        with as_files():
            buckets.create(self._connection.client, bucket)
        self._forget([bucket])

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a bucket if the path is a bucket and `exist_ok` is False.

        If `exist_ok`, nothing is done: `fsspec.open` makes such a call for each file that is
        written, and a misspelt bucket name must not create a bucket.
        """
        if not exist_ok:
            self.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Remove an empty bucket if the path is a bucket.

        Otherwise do nothing: S3 has no directories.
        """
        bucket, name = split(self._strip_protocol(path))
        if not name:
            with as_files():
                buckets.delete(self._connection.client, bucket)
            self._forget([bucket])

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget cached listings and sizes: all, or for one path and the paths above and below."""
        path = "" if path is None else self._strip_protocol(path)
        for cache in (self.dircache, self._connection.known):
            for name in [name for name in list(cache) if is_within(name, path)]:
                cache.pop(name, None)
        self._forget([path])

    def _forget(self, paths: "list[str]") -> None:
        """Forget the facts about changed objects, and the listings of directories above them."""
        for path in paths:
            self._connection.known.pop(path, None)
        if not self.dircache:
            return
        for path in paths:
            above = path
            while above:
                self._forget_listing(above)
                above = self._parent(above)
            self._forget_listing("")

    def _forget_listing(self, path: str) -> None:
        # `pop` raises an error if another thread removes the listing at the same time.
        with suppress(KeyError):
            del self.dircache[path]


def _etags(found: Mapping[str, Entry]) -> dict[str, str | None]:
    return {name: entry["ETag"] for name, entry in found.items() if entry["type"] == "file"}


def _literal_beginning(pattern: str) -> str:
    """Return the text between the last slash before the first wildcard, and this wildcard."""
    start = min(pattern.find(sign) for sign in "*?[" if sign in pattern)
    return pattern[pattern.rfind("/", 0, start) + 1 : start]
