# SPDX-License-Identifier: Apache-2.0
"""The half of the file system that knows names, kinds and sizes, and no content."""

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
    """What there is; `S3CryptFileSystem` does the rest."""

    protocol = "s3crypt"
    root_marker = ""
    # Shared by all that the same options make, so it is none that tells them apart.
    _strip_tokenize_options = ("connection",)
    _connection: Connection

    def __init__(self, connection: Connection, options: Mapping[str, Any]) -> None:
        super().__init__(**options)
        self._connection = connection
        self._listing = Listing(connection)

    @property
    def fsid(self) -> str:
        """Return the name that generic code tells file systems by."""
        return "s3crypt"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return stripped.lstrip("/") if isinstance(stripped, str) else stripped

    # One object or directory.

    def info(self, path: str, *, version_id: str | None = None, **_: Any) -> Entry:
        """Return what is known of an object, its plaintext's size among it, or of a directory."""
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
        """Tell whether there is an object or a directory; what cannot be known is raised."""
        if version_id is None:
            return self._kind(path) is not None
        try:
            self.info(path, version_id=version_id)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Tell whether there is an object of this name."""
        return self._kind(path) == "file"

    def isdir(self, path: str) -> bool:
        """Tell whether objects' names begin with this and a slash, or whether it is a bucket."""
        return self._kind(path) == "directory"

    def _kind(self, path: str) -> Kind | None:
        return self._listing.kind(self._strip_protocol(path))

    def modified(self, path: str) -> datetime:
        """Return when an object was stored."""
        entry = self.info(path)
        if entry["type"] != "file":
            raise IsADirectoryError(f"{path} is a directory: it has no time.")
        stored: datetime = entry["LastModified"]
        return stored

    def created(self, path: str) -> datetime:
        """Return when an object was stored: what replaces an object is a new one."""
        return self.modified(path)

    def checksum(self, path: str) -> int:
        """Return a number that is another once the content is."""
        return int(self.ukey(path), 16)

    def ukey(self, path: str) -> str:
        """Return a text that is another once the content is: of S3's tag and version."""
        entry = self.info(path)
        parts = [entry["name"], *(str(entry.get(part)) for part in ("ETag", "VersionId"))]
        return sha256("\n".join(parts).encode()).hexdigest()

    # Several.

    def sizes(self, paths: list[str]) -> list[int | None]:
        """Return the plaintext's size of each object, asked for side by side."""
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
        """List a directory, or one object.

        Args:
            path: Of the directory.
            detail: Return what `info` does of each, instead of names.
            refresh: Ask S3, whatever has been listed before.
            measured: Find out sizes, which where this process encrypts is a request an object.
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
                f"{uri_of(path)}: no such object or directory", hint="List what is above it."
            )
        return self._told([entry], detail=detail, measured=measured)

    def _told(self, entries: list[Entry], *, detail: bool, measured: bool) -> list[Any]:
        """Return names, or copies of what is kept."""
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
        """Yield each directory with what is in it; sizes are found out with `detail` only."""
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
        """List all objects below a directory, and the object that has its name.

        Args:
            path: Of the directory.
            maxdepth: How many levels at most.
            withdirs: Directories too, the one itself included.
            detail: Return what `info` does of each, by name, instead of a list of names.
            prefix: Only what begins with it, inside the directory.
            measured: As `ls`.
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
        """Find what matches a pattern; sizes are found out of matches, with `detail` only.

        A pattern that ends in `**` finds files, since tools such as DuckDB open whatever it finds;
        with `withdirs=True` it finds directories too, as other patterns do.
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
        """Return the plaintext bytes below a directory, or those of each object."""
        found = self.find(path, maxdepth, withdirs, detail=True, **options)
        sizes = {name: entry["size"] for name, entry in found.items()}
        if not total:
            return sizes
        unknown = [name for name, size in sizes.items() if size is None]
        if unknown:
            raise StorageError(f"{uri_of(unknown[0])}: its plaintext's size cannot be told.")
        return sum(int(size) for size in sizes.values())

    # What callers' paths stand for.

    def expand_path(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
        **_: Any,
    ) -> list[str]:
        """Return the names that paths stand for: patterns, and with `recursive` directories.

        What exists under a pattern's own name is meant literally.
        """
        return sorted(
            self._expanded(path, recursive, maxdepth, is_literal=True)
            if assume_literal
            else self._expanded(path, recursive, maxdepth)
        )

    def _expanded(
        self, path: Any, recursive: bool, maxdepth: int | None, *, is_literal: bool = False
    ) -> dict[str, Entry | None]:
        """Return what paths stand for; nothing is known of one that nobody had to ask about."""
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
        """Tell whether a path is a pattern and not the name of something."""
        if not has_magic(path):
            return False
        if has_magic(split(path)[0]):
            raise ValueError(f"{path}: name the bucket; only names in one can be patterns here.")
        return self._kind(path) is None

    def _sources(
        self, path: "str | list[str]", recursive: bool, maxdepth: int | None
    ) -> dict[str, Entry | None]:
        """Return what is to be copied: as fsspec has it, directories where all of one is."""
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
        """Return where copies go: fsspec's rules, with patterns told from names that look so."""
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
        """Return local files and the objects that they become, by fsspec's rules."""
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
        # Directories come with the objects in them.
        return [pair for pair in equally_many(found, targets) if not local.isdir(pair[0])]

    # Removing.

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        remove(self._connection, [(self._strip_protocol(path), None)], self._forget)

    def rm(
        self, path: "str | list[str]", recursive: bool = False, maxdepth: int | None = None
    ) -> None:
        """Remove objects, a thousand by a request. A bucket is emptied and stays.

        An object that a pattern or a directory stands for is removed as it was listed; one that was
        named is removed whatever it contains.

        Args:
            path: One or several, or patterns.
            recursive: Directories with all below them too.
            maxdepth: How many levels at most.

        Raises:
            ConflictError: An object was replaced after it was listed; the new one is kept.
            FileNotFoundError: There is none; nothing was removed.
            IsADirectoryError: It is a directory, and `recursive` was not given; nothing was
                removed.
        """
        paths = self._strip_protocol(path if isinstance(path, list) else [path])
        if not all(split(one)[0] for one in paths):
            raise ValueError("Name what is to be removed; this is all there is.")
        removal = Removal()
        for found in parallel_map(
            self._connection, lambda one: self._removable(one, recursive, maxdepth), paths
        ):
            removal.add(found)
        remove(self._connection, removal.listed(self._listing), self._forget)

    def _removable(self, path: str, recursive: bool, maxdepth: int | None) -> Removal:
        """Return what a path or a pattern stands for."""
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
        """Return all in a directory: objects that only mark directories too, if all levels."""
        if maxdepth is None:
            return Removal(directories={path})
        return Removal(_etags(self.find(path, maxdepth=maxdepth, detail=True, measured=False)))

    # Buckets, and what is kept.

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a bucket, where the path is one. Directories come with the objects in them."""
        bucket, name = split(self._strip_protocol(path))
        if name:
            return
        if self.exists(bucket):
            raise FileExistsError(f"The bucket {bucket!r} exists.")
        with as_files():
            buckets.create(self._connection.client, bucket)
        self._forget([bucket])

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a bucket, where the path is one and may not exist.

        With `exist_ok` nothing is done: `fsspec.open` asks for it with each file to be written,
        and a misspelt bucket must not come into being.
        """
        if not exist_ok:
            self.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Remove an empty bucket, where the path is one. An empty directory is none."""
        bucket, name = split(self._strip_protocol(path))
        if not name:
            with as_files():
                buckets.delete(self._connection.client, bucket)
            self._forget([bucket])

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget listings and sizes: all of them, or those of a path and below, and above."""
        path = "" if path is None else self._strip_protocol(path)
        for cache in (self.dircache, self._connection.known):
            for name in [name for name in list(cache) if is_within(name, path)]:
                cache.pop(name, None)
        self._forget([path])

    def _forget(self, paths: "list[str]") -> None:
        """Forget objects just written or removed, and listings that they are, or would be, in."""
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
        # Not `pop`, which fails where another thread removes the listing at the same time.
        with suppress(KeyError):
            del self.dircache[path]


def _etags(found: Mapping[str, Entry]) -> dict[str, str | None]:
    return {name: entry["ETag"] for name, entry in found.items() if entry["type"] == "file"}


def _literal_beginning(pattern: str) -> str:
    """Return what every match begins with in the directory that the pattern's matches are below."""
    start = min(pattern.find(sign) for sign in "*?[" if sign in pattern)
    return pattern[pattern.rfind("/", 0, start) + 1 : start]
