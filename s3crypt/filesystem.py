# SPDX-License-Identifier: Apache-2.0
"""Encrypted objects as a file system of fsspec: `s3crypt://bucket/name`, for whatever reads those.

    pandas.read_parquet("s3crypt://acme/sales", storage_options={"key": "kms:alias/sales"})

Knows paths, listings and what fsspec's users expect; how objects are encrypted, and what of them
is believed, is `S3Crypt`'s. A size here is the plaintext's, and None rather than a guess.
"""

import io
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from functools import partial
from glob import has_magic
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import boto3
from fsspec import AbstractFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK, NoOpCallback
from fsspec.compression import compr
from fsspec.core import get_compression
from fsspec.utils import isfilelike

from .aws import translating
from .configuration import mode_of
from .errors import (
    ConfigError,
    ConflictError,
    IntegrityError,
    ObjectNotFoundError,
    StorageError,
)
from .modes import ClientSide, Mode
from .store import DEFAULT_WORKERS, S3Crypt
from .workers import each

if TYPE_CHECKING:
    from .info import ObjectInfo
    from .reader import ObjectReader
    from .writer import ObjectWriter

# Requests without a body that are under way at once: what the plaintext's size needs of each
# object of a listing, 10,000 of them in a minute where each takes 0.2 s.
LOOKUPS = 32

# Objects whose size is kept, at about 1 KiB each.
_MOST_KNOWN = 100_000

# fsspec's own options; the last two are for file systems that are asynchronous inside.
_LISTING_OPTIONS = ("use_listings_cache", "listings_expiry_time", "max_paths")
_IGNORED_OPTIONS = ("asynchronous", "loop")
# What fsspec's users say of caches that this file system does not have: all are hints.
_CACHE_HINTS = ("cache_type", "fill_cache", "size")

Entry = dict[str, Any]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Live:
    """A mode object among storage options, told from every other by fsspec's cache of instances.

    fsspec compares options by their text, and that of a keyring does not say its key.
    """

    mode: Mode

    def __repr__(self) -> str:
        return f"<{self.mode!r} at {id(self.mode):#x}>"


class _Instances(type(AbstractFileSystem)):  # type: ignore[misc]  # fsspec has no types
    def __call__(cls, *args: Any, **options: Any) -> Any:
        if args:
            options["mode"], *args = args  # type: ignore[assignment]  # it takes one
        if not isinstance(options.get("mode"), str | _Live | None):
            options["mode"] = _Live(options["mode"])
        return super().__call__(*args, **options)


class S3CryptFileSystem(AbstractFileSystem, metaclass=_Instances):  # type: ignore[misc]
    """Objects of S3, encrypted in one of five modes, as files in directories.

    A directory is what the names of objects have in common up to a slash: there is no empty one.

    Args:
        mode: Who encrypts: its name, as on the command line, or a mode object. It may be left out
            where a key is given, or where only what needs no key is read.
        key, context, sse_c_key_file, signed, frame_length, key_location, bind_name: As on the
            command line; see `s3crypt.configuration.mode_of`.
        allow_uncommitted: Read client-side objects without key commitment too.
        allow_unverified_signature: Read parts of signed objects, whose signature only a reader
            of the whole can check.
        endpoint_url: The S3 service's address, if not AWS's.
        profile, region: Of AWS's configuration.
        workers: Threads of one transfer, and files transferred at a time, at most.
        options: fsspec's own: `use_listings_cache` (off by default, since others write too),
            `listings_expiry_time` and `max_paths` (each turns it on), `skip_instance_cache`.

    Raises:
        ConfigError: The options do not fit together, or there is no such option: what is
            misspelt must not end as plaintext.
    """

    protocol = "s3crypt"
    root_marker = ""

    def __init__(  # noqa: PLR0913 - storage options, by name
        self,
        mode: "str | Mode | _Live | None" = None,
        *,
        key: str | Sequence[str] = (),
        context: Mapping[str, str] | None = None,
        sse_c_key_file: str | Path | None = None,
        signed: bool = False,
        frame_length: int | None = None,
        key_location: Literal["header", "metadata"] | None = None,
        bind_name: bool = True,
        allow_uncommitted: bool = False,
        allow_unverified_signature: bool = False,
        endpoint_url: str | None = None,
        profile: str | None = None,
        region: str | None = None,
        workers: int = DEFAULT_WORKERS,
        **options: Any,
    ) -> None:
        if self._cached:
            return
        _check_options(options)
        _check_types(
            workers,
            signed=signed,
            bind_name=bind_name,
            allow_uncommitted=allow_uncommitted,
            allow_unverified_signature=allow_unverified_signature,
        )
        keeps_listings = not options.keys().isdisjoint(_LISTING_OPTIONS)
        super().__init__(**{"use_listings_cache": keeps_listings, **options})
        asked: dict[str, Any] = {
            "key": key,
            "context": context,
            "sse_c_key_file": sse_c_key_file,
            "signed": signed,
            "frame_length": frame_length,
            "key_location": key_location,
            "bind_name": bind_name,
        }
        chosen: Mode | None
        if isinstance(mode, str | None):
            # A session a keyring: boto3's must not make two clients at a time.
            chosen = mode_of(mode, **asked, session=partial(_session, profile, region))
        else:
            _refuse_beside_live(asked)
            chosen = mode.mode if isinstance(mode, _Live) else mode
        self._store = S3Crypt(
            chosen,
            session=_session(profile, region),
            endpoint_url=endpoint_url,
            workers=max(LOOKUPS, workers),
        )
        # The client has connections for all lookups; a transfer's threads take memory.
        self._store.workers = workers
        self._allowances: dict[str, Any] = {"allow_uncommitted": allow_uncommitted}
        self._open_allowances: dict[str, Any] = {
            **self._allowances,
            "allow_unverified_signature": allow_unverified_signature,
        }
        # What S3 encrypts is as long as it is listed to be.
        self._is_size_listed = not isinstance(chosen, ClientSide | None)
        self._known: dict[str, tuple[tuple[str, datetime], ObjectInfo]] = {}

    @property
    def fsid(self) -> str:
        """Return the name that generic code tells file systems by."""
        return "s3crypt"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return stripped.lstrip("/") if isinstance(stripped, str) else stripped

    # What there is.

    def info(self, path: str, *, version_id: str | None = None, **_: Any) -> Entry:
        """Return what is known of an object, its plaintext's size among it, or of a directory."""
        path = self._strip_protocol(path)
        bucket, name = _split(path)
        if not name:
            if bucket:
                self._first(bucket, "")
            return _directory(path)
        try:
            return _entry(path, self._store.head(_uri(path), version_id=version_id))
        except FileNotFoundError:
            if version_id is None and self._first(bucket, f"{name}/") is not None:
                return _directory(path)
            raise

    def exists(self, path: str, **_: Any) -> bool:
        """Tell whether there is an object or a directory; what cannot be known is raised."""
        return self._kind(path) is not None

    def isfile(self, path: str) -> bool:
        """Tell whether there is an object of this name."""
        return self._kind(path) == "file"

    def isdir(self, path: str) -> bool:
        """Tell whether objects' names begin with this and a slash, or whether it is a bucket."""
        return self._kind(path) == "directory"

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
            entries = self._level(path)
            if entries is None:
                return self._ls_file(path, detail=detail and measured)
            self.dircache[path] = entries
        if not detail:
            return [entry["name"] for entry in entries]
        return self._measured(entries) if measured else list(entries)

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
        prefix: str = "",
        measured: bool = True,
        **_: Any,
    ) -> Any:
        """List all objects below a directory.

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
            found = self._below(path, maxdepth, prefix)
            if not found and not prefix and self.isfile(path):
                found = {path: self._listed(path)}
            elif found and withdirs:
                found.setdefault(path, _directory(path))
        if not withdirs:
            found = {name: entry for name, entry in found.items() if entry["type"] == "file"}
        names = sorted(found)
        if not detail:
            return names
        entries = [found[name] for name in names]
        return {
            entry["name"]: entry for entry in (self._measured(entries) if measured else entries)
        }

    def glob(
        self, path: str, maxdepth: int | None = None, *, detail: bool = False, **options: Any
    ) -> Any:
        """Find what matches a pattern; sizes are found out of matches, with `detail` only."""
        stripped = self._strip_protocol(path)
        if not has_magic(stripped):
            if not detail:
                return [stripped] if self.exists(stripped) else []
            try:
                return {stripped: self.info(stripped)}
            except FileNotFoundError:
                return {}
        options.setdefault("prefix", _literal_beginning(stripped))
        measured = detail and options.pop("measured", True)
        found = super().glob(path, maxdepth, detail=True, measured=False, **options)
        if not detail:
            return list(found)
        entries = list(found.values())
        return {
            entry["name"]: entry for entry in (self._measured(entries) if measured else entries)
        }

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
            raise StorageError(f"{_uri(unknown[0])}: its plaintext's size cannot be told.")
        return sum(int(size) for size in sizes.values())

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

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget listings and sizes: all of them, or those of a path and below, and above."""
        super().invalidate_cache(path)
        if path is None:
            self.dircache.clear()
            self._known.clear()
            return
        path = self._strip_protocol(path)
        for cache in (self.dircache, self._known):
            for name in [name for name in list(cache) if _is_within(name, path)]:
                cache.pop(name, None)
        self.forget_listings([path])

    # Reading.

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Mapping[str, Any] | None = None,
        compression: str | None = None,
        **options: Any,
    ) -> Any:
        """Open an object: `rb`, `wb` or `xb`, or the same as text.

        What is written appears when the file is closed. An exception inside its `with` block
        leaves everything as it was, and so does a file that is never closed.

        Args:
            path: Of the object.
            mode: As Python's `open`; objects cannot be appended to.
            block_size, cache_options: Not needed; frames and read-ahead decide.
            compression: Of fsspec's, or `infer`.
            options: Those of `S3Crypt.open`; of text: encoding, errors, newline.
        """
        if "b" not in mode:
            names = [name for name in ("encoding", "errors", "newline") if name in options]
            text = {name: options.pop(name) for name in names}
            mode = f"{mode.replace('t', '')}b"
            return _TextFile(
                self.open(path, mode, compression=compression, **options),
                **text,
            )
        file = super().open(path, mode, block_size, cache_options, **options)
        method = get_compression(path, compression)
        if method is None:
            return file
        if "r" in mode:
            return compr[method](file, mode="r")
        return _CompressedFile(compr[method](file, mode="w"), file)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "ObjectReader | WritableFile":
        uri = _object_uri(path)
        if mode == "rb":
            return self._reader(path, options)
        if mode not in ("wb", "xb"):
            raise NotImplementedError(
                f"Mode {mode!r}: an object cannot be appended to or changed in place, "
                "only written anew (wb) or for the first time (xb)."
            )
        if mode == "xb" and self.isfile(path):
            raise FileExistsError(f"{uri} exists.")
        how: Literal["wb", "xb"] = "xb" if mode == "xb" else "wb"
        writer = self._store.open(uri, how, **_without_hints(options))
        return WritableFile(self, path, mode, writer, is_held=not autocommit)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        """Return an object's plaintext, or a slice of it."""
        path = self._strip_protocol(path)
        if start is None and end is None:
            with _as_files():
                return self._store.read(_object_uri(path), **{**self._allowances, **options})
        with self._reader(path, options) as reader:
            return reader.read_ranges([(start, end)])[0]

    def cat(
        self,
        path: "str | list[str]",
        recursive: bool = False,
        on_error: str = "raise",
        **options: Any,
    ) -> Any:
        """Return the plaintext of one object, or of several by name, fetched side by side."""
        paths = self.expand_path(path)
        if recursive:
            paths = sorted({file for found in paths for file in self.find(found)})
        if isinstance(path, str) and paths == [self._strip_protocol(path)] and not recursive:
            return self.cat_file(paths[0], **options)
        contents = self._side_by_side(
            paths, lambda one: self.cat_file(one, **options), keep_errors=on_error != "raise"
        )
        return {
            name: content
            for name, content in zip(paths, contents, strict=True)
            if on_error != "omit" or not isinstance(content, Exception)
        }

    def cat_ranges(
        self,
        paths: list[str],
        starts: "int | list[int | None] | None",
        ends: "int | list[int | None] | None",
        max_gap: int | None = None,
        on_error: str = "return",
        **options: Any,
    ) -> list[Any]:
        """Return slices of objects, each opened once and all fetched side by side."""
        if max_gap is not None:
            raise NotImplementedError("max_gap: neighbouring frames are fetched together anyway.")
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        begin, finish = _as_list(starts, len(paths)), _as_list(ends, len(paths))
        wanted: dict[str, list[int]] = {}
        for index, path in enumerate(paths):
            wanted.setdefault(self._strip_protocol(path), []).append(index)
        slices: list[Any] = [None] * len(paths)
        keep_errors = on_error == "return"

        def fetch(path: str) -> None:
            ranges = [(begin[index], finish[index]) for index in wanted[path]]
            found = self._ranges_of(path, ranges, options, keep_errors=keep_errors)
            for index, content in zip(wanted[path], found, strict=True):
                slices[index] = content

        failures = self._side_by_side(list(wanted), fetch, keep_errors=keep_errors)
        for path, failure in zip(wanted, failures, strict=True):
            if failure is not None:
                for index in wanted[path]:
                    slices[index] = failure
        return slices

    def get_file(
        self,
        rpath: str,
        lpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **options: Any,
    ) -> None:
        """Fetch an object to a local file, which appears complete and verified or not at all."""
        target = lpath if outfile is None else outfile
        path = self._strip_protocol(rpath)
        if not isfilelike(target):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            if (not _split(path)[1] or Path(target).is_dir()) and self.isdir(path):
                Path(target).mkdir(exist_ok=True)
                return
        uri = _object_uri(path)
        progress = _progress(callback)
        try:
            if progress:
                callback.set_size(self.size(rpath))
            with _as_files():
                self._store.get(uri, target, progress=progress, **{**self._allowances, **options})
        except FileNotFoundError:
            if isfilelike(target) or not self.isdir(rpath):
                raise
            Path(target).mkdir(parents=True, exist_ok=True)

    # Writing.

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **options: Any) -> None:
        """Store bytes; with mode `create` only where there is no object yet."""
        path = self._strip_protocol(path)
        if self._intrans:
            with self.open(path, "xb" if mode == "create" else "wb", **options) as file:
                file.write(value)
            return
        self._put(value, path, mode, options)

    def put_file(
        self,
        lpath: Any,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **options: Any,
    ) -> None:
        """Store a local file; with mode `create` only where there is no object yet."""
        if Path(lpath).is_dir():
            # Its files come one by one, and make the directory.
            return
        path = self._strip_protocol(rpath)
        callback.set_size(Path(lpath).stat().st_size)
        if self._intrans:
            with self.open(path, "xb" if mode == "create" else "wb", **options) as file:
                for piece in _pieces(lpath, self.blocksize):
                    callback.relative_update(file.write(piece))
            return
        self._put(Path(lpath), path, mode, {"progress": _progress(callback), **options})

    def cp_file(
        self,
        path1: str,
        path2: str,
        *,
        copied: "list[tuple[str, str]] | None" = None,
        **options: Any,
    ) -> None:
        """Copy an object: decrypted and encrypted anew, since it is bound to its name.

        The content's type and the user's metadata are kept.

        Args:
            path1, path2: Of the object and of its copy.
            copied: Gets both, once there is the copy.
            options: Those of `S3Crypt.open`, for the copy.
        """
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        try:
            info = self._store.head(_object_uri(source))
        except (FileNotFoundError, IsADirectoryError):
            if self.isdir(source):
                # Its files make the other directory.
                return
            raise
        described = {"metadata": info.metadata, "content_type": info.content_type, **options}
        with self._store.open(_object_uri(target), "wb", **described) as writer:
            target_file: Any = writer
            read = self._store.get(
                info.uri, target_file, version_id=info.version_id, **self._allowances
            )
            if read.etag != info.etag:
                raise ConflictError(f"{info.uri} was replaced while it was copied.")
        self.forget_listings([target])
        if copied is not None:
            copied.append((source, target))

    def mv(
        self,
        path1: "str | list[str]",
        path2: "str | list[str]",
        recursive: bool = False,
        maxdepth: int | None = None,
        **options: Any,
    ) -> None:
        """Move objects: copy them, then remove what was copied, and nothing else."""
        if self._strip_protocol(path1) == self._strip_protocol(path2):
            return
        copied: list[tuple[str, str]] = []
        self.copy(path1, path2, recursive, maxdepth, on_error="raise", copied=copied, **options)
        if not copied:
            raise IsADirectoryError(f"{path1} is a directory: move it with recursive=True.")
        made = {target for _, target in copied}
        # A pattern and a list may name an object as its own target.
        self._remove(sorted({source for source, _ in copied} - made))

    def touch(self, path: str, truncate: bool = True, **options: Any) -> None:
        """Store an empty object; with `truncate=False` only where there is none yet."""
        if truncate:
            self.pipe_file(path, b"", **options)
            return
        try:
            self.pipe_file(path, b"", mode="create", **options)
        except FileExistsError as error:
            raise NotImplementedError(
                f"{path} exists, and the time of an object cannot be changed."
            ) from error

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        self._remove([self._strip_protocol(path)])

    def rm(
        self, path: "str | list[str]", recursive: bool = False, maxdepth: int | None = None
    ) -> None:
        """Remove objects, side by side. A bucket is emptied and stays.

        Args:
            path: One or several, or patterns.
            recursive: Directories with all below them too.
            maxdepth: How many levels at most.

        Raises:
            FileNotFoundError: There is none.
            IsADirectoryError: It is a directory, and `recursive` was not given.
        """
        names: set[str] = set()
        for one in path if isinstance(path, list) else [path]:
            names.update(self._removable(self._strip_protocol(one), recursive, maxdepth))
        self._remove(sorted(names))

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a bucket, where the path is one. Directories come with the objects in them."""
        bucket, name = _split(self._strip_protocol(path))
        if name:
            return
        if self.exists(bucket):
            raise FileExistsError(f"The bucket {bucket!r} exists.")
        client = self._store.client
        region = client.meta.region_name
        where = {} if region == "us-east-1" else {"LocationConstraint": region}
        with translating(f"s3://{bucket}"):
            client.create_bucket(
                Bucket=bucket, **({"CreateBucketConfiguration": where} if where else {})
            )

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a bucket, where the path is one and may not exist.

        With `exist_ok` nothing is done: `fsspec.open` asks for it with each file to be written,
        and a misspelt bucket must not come into being.
        """
        if not exist_ok:
            self.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Remove an empty bucket, where the path is one. An empty directory is none."""
        bucket, name = _split(self._strip_protocol(path))
        if not name:
            with _asking(bucket):
                self._store.client.delete_bucket(Bucket=bucket)

    # What follows is for the methods above.

    def _kind(self, path: str) -> Literal["file", "directory"] | None:
        """Tell what there is, by listing a name or two: no object is asked for."""
        bucket, name = _split(self._strip_protocol(path))
        if not bucket:
            return "directory"
        try:
            first = self._first(bucket, name)
            if first == name:
                # The first of all names that begin with it.
                return "file"
            if name and first and not first.startswith(f"{name}/"):
                first = self._first(bucket, f"{name}/")
        except FileNotFoundError:
            return None
        except StorageError as error:
            if error.code != "AccessDenied" or not name:
                raise
            return self._kind_unlisted(bucket, name)
        return "directory" if first or not name else None

    def _kind_unlisted(self, bucket: str, name: str) -> Literal["file"] | None:
        # Who may read objects need not be allowed to list them.
        try:
            self._store.head(f"s3://{bucket}/{name}")
        except FileNotFoundError:
            return None
        return "file"

    def _first(self, bucket: str, prefix: str) -> str | None:
        """Return the first of the names that begin with `prefix`."""
        with _asking(bucket):
            page = self._store.client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        return next((str(listed["Key"]) for listed in page.get("Contents", ())), None)

    def _pages(self, bucket: str, prefix: str, delimiter: str = "") -> Iterator[Mapping[str, Any]]:
        pages = self._store.client.get_paginator("list_objects_v2")
        with _asking(bucket):
            yield from pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter=delimiter)

    def _level(self, path: str, prefix: str = "") -> list[Entry] | None:
        """List one directory without sizes; None where there is none."""
        bucket, name = _split(path)
        if not bucket:
            return self._buckets()
        beginning = f"{name}/" if name else ""
        entries: list[Entry] = []
        is_there = not name
        for page in self._pages(bucket, beginning + prefix, "/"):
            for listed in page.get("Contents", ()):
                is_there = True
                # Some tools store an empty object for a directory.
                if listed["Key"] != beginning:
                    entries.append(self._as_listed(bucket, listed))
            entries += (
                _directory(f"{bucket}/{common['Prefix'].removesuffix('/')}")
                for common in page.get("CommonPrefixes", ())
            )
        entries.sort(key=lambda entry: str(entry["name"]))
        return entries if entries or is_there else None

    def _buckets(self) -> list[Entry]:
        with translating("the list of buckets"):
            reply = self._store.client.list_buckets()
        return [_directory(bucket["Name"]) for bucket in reply.get("Buckets", ())]

    def _below(self, path: str, maxdepth: int | None, prefix: str) -> dict[str, Entry]:
        """Return all below a directory without sizes, directories too, by name."""
        if maxdepth is None:
            return self._all_below(path, prefix)
        found: dict[str, Entry] = {}
        level = [path]
        for depth in range(maxdepth):
            list_one = partial(self._level, prefix="" if depth else prefix)
            listings = self._side_by_side(level, list_one)
            entries = [entry for listing in listings for entry in listing or ()]
            for entry in entries:
                # An object may have the name of a directory; it is the one that is found.
                if entry["type"] == "file" or entry["name"] not in found:
                    found[entry["name"]] = entry
            level = [entry["name"] for entry in entries if entry["type"] == "directory"]
        return found

    def _all_below(self, path: str, prefix: str) -> dict[str, Entry]:
        bucket, name = _split(path)
        beginning = f"{name}/" if name else ""
        found: dict[str, Entry] = {}
        for page in self._pages(bucket, beginning + prefix):
            for listed in page.get("Contents", ()):
                key = listed["Key"]
                if not key.endswith("/"):
                    found[f"{bucket}/{key}"] = self._as_listed(bucket, listed)
                end = key.rfind("/")
                while end >= len(beginning):
                    parent = f"{bucket}/{key[:end]}"
                    if parent in found:
                        break
                    found[parent] = _directory(parent)
                    end = key.rfind("/", 0, end)
        return found

    def _ls_file(self, path: str, *, detail: bool) -> list[Any]:
        if detail:
            return [self.info(path)]
        if self._kind(path) is None:
            raise ObjectNotFoundError(
                f"{_uri(path)}: no such object or directory", hint="List what is above it."
            )
        return [path]

    def _as_listed(self, bucket: str, listed: Mapping[str, Any]) -> Entry:
        return {
            "name": f"{bucket}/{listed['Key']}",
            "size": listed["Size"] if self._is_size_listed else None,
            "type": "file",
            "stored_size": listed["Size"],
            "ETag": listed["ETag"],
            "LastModified": listed["LastModified"],
            "mtime": listed["LastModified"],
            "StorageClass": listed.get("StorageClass", "STANDARD"),
        }

    def _listed(self, path: str) -> Entry:
        """Return an object as its listing has it."""
        bucket, name = _split(path)
        for page in self._pages(bucket, name):
            for listed in page.get("Contents", ()):
                if listed["Key"] == name:
                    return self._as_listed(bucket, listed)
        raise ObjectNotFoundError(f"{_uri(path)}: no such object", hint="It is just gone.")

    def _measured(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return listed entries with their plaintext's size; what is gone by now is left out."""
        if self._is_size_listed:
            return [dict(entry) for entry in entries]
        infos: dict[str, ObjectInfo | None] = {}
        unknown = []
        for entry in entries:
            if entry["type"] == "file":
                tag, info = self._known.get(entry["name"], (None, None))
                infos[entry["name"]] = info
                if tag != (entry["ETag"], entry["LastModified"]):
                    unknown.append(entry)
        infos.update(self._side_by_side(unknown, self._measure, workers=LOOKUPS))
        with suppress(RuntimeError, StopIteration):
            # Raised where another thread forgets something too; there is always a next time.
            while len(self._known) > _MOST_KNOWN:
                self._known.pop(next(iter(self._known)), None)
        measured = []
        for entry in entries:
            found = infos.get(entry["name"])
            if entry["type"] != "file":
                measured.append(dict(entry))
            elif found is not None:
                measured.append(_entry(entry["name"], found))
        return measured

    def _measure(self, entry: Entry) -> "tuple[str, ObjectInfo | None]":
        name = entry["name"]
        try:
            info = self._store.head(_uri(name))
        except FileNotFoundError:
            return name, None
        if info.etag == entry["ETag"]:
            self._known[name] = ((info.etag, entry["LastModified"]), info)
        return name, info

    def _reader(self, path: str, options: Mapping[str, Any]) -> "ObjectReader":
        chosen = {**self._open_allowances, **_without_hints(options)}
        with _as_files():
            return self._store.open(_object_uri(path), "rb", **chosen)

    def _ranges_of(
        self,
        path: str,
        ranges: list[tuple[int | None, int | None]],
        options: Mapping[str, Any],
        *,
        keep_errors: bool,
    ) -> list[Any]:
        with self._reader(path, options) as reader:
            try:
                return reader.read_ranges(ranges)
            except IntegrityError:
                if not keep_errors:
                    raise
                # One frame is not what was written: that is no reason to withhold the others.
                return [_or_error(lambda one: reader.read_ranges([one])[0], one) for one in ranges]

    def _put(self, source: Any, path: str, mode: str, options: Mapping[str, Any]) -> None:
        if mode not in ("overwrite", "create"):
            raise ValueError(f"mode is overwrite or create, not {mode!r}")
        is_exclusive = mode == "create"
        with _as_files(is_exclusive=is_exclusive):
            self._store.put(source, _object_uri(path), if_absent=is_exclusive, **options)
        self.forget_listings([path])

    def _removable(self, path: str, recursive: bool, maxdepth: int | None) -> Iterable[str]:
        bucket, name = _split(path)
        if not bucket:
            raise ValueError("Name what is to be removed; this is all there is.")
        is_file = bool(name) and self._first(bucket, name) == name
        if has_magic(path) and not is_file:
            return self._removable_by_pattern(path, recursive, maxdepth)
        below: Iterable[str] = ()
        if recursive and maxdepth is None:
            beginning = f"{name}/" if name else ""
            below = [
                f"{bucket}/{listed['Key']}"
                for page in self._pages(bucket, beginning)
                for listed in page.get("Contents", ())
            ]
        elif recursive:
            below = self.find(path, maxdepth=maxdepth)
        elif not is_file and self.isdir(path):
            raise IsADirectoryError(f"{path} is a directory: remove it with recursive=True.")
        if name and not is_file and not below:
            raise ObjectNotFoundError(f"{_uri(path)}: no such object or directory")
        return [*below, path] if is_file else below

    def _removable_by_pattern(
        self, path: str, recursive: bool, maxdepth: int | None
    ) -> Iterable[str]:
        found = self.glob(path, maxdepth=maxdepth, detail=True, measured=False)
        if not found:
            raise ObjectNotFoundError(f"{_uri(path)}: nothing matches")
        for name, entry in found.items():
            if entry["type"] == "file":
                yield name
            elif recursive and (maxdepth is None or maxdepth > 1):
                yield from self._removable(name, True, maxdepth and maxdepth - 1)

    def _remove(self, paths: Sequence[str]) -> None:
        uris = [f"s3://{path}" for path in paths]
        self._side_by_side(uris, self._store.delete, workers=LOOKUPS)
        self.forget_listings(paths)

    def forget_listings(self, paths: Iterable[str]) -> None:
        """Forget listings that objects just written or removed are, or would be, in."""
        if not self.dircache:
            return
        for path in paths:
            above = path
            while above:
                self.dircache.pop(above, None)
                above = self._parent(above)

    def _side_by_side(
        self,
        items: Sequence[_Item],
        work: Callable[[_Item], _Result],
        *,
        keep_errors: bool = False,
        workers: int | None = None,
    ) -> list[Any]:
        """Return the result of each, in order; raise the first failure, or keep them all."""
        results: list[Any] = [None] * len(items)

        def work_on(index: int, _: object) -> None:
            results[index] = _or_error(work, items[index]) if keep_errors else work(items[index])

        if len(items) == 1:
            work_on(0, None)
        elif items:
            each(iter(range(len(items))), work_on, workers or self._store.workers)
        return results


class WritableFile(io.BufferedIOBase):
    """An object being written, as fsspec's users expect a file.

    In a transaction, closing it stores nothing yet; `commit` and `discard` are the transaction's.
    """

    def __init__(
        self,
        filesystem: S3CryptFileSystem,
        path: str,
        mode: str,
        writer: "ObjectWriter",
        *,
        is_held: bool,
    ) -> None:
        self.fs = filesystem
        self.path = path
        self.name = path
        self.mode = mode
        self._writer = writer
        self._is_held = is_held
        self._exception_before = sys.exception()

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the bytes written so far."""
        return self._writer.tell()

    def write(self, data: Any, /) -> int:
        """Write all of `data`; return its bytes."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._writer.write(data)

    def close(self) -> None:
        """Store the object; in a transaction, end its content."""
        if self.closed:
            return
        try:
            # What an exception cuts short the writer aborts, and no transaction may store it.
            if not self._is_held or sys.exception() is not self._exception_before:
                self.commit()
        finally:
            super().close()

    def commit(self) -> None:
        """Store the object."""
        with _as_files(is_exclusive=self.mode == "xb"):
            self._writer.close()
        self.fs.forget_listings([self.path])

    def discard(self) -> None:
        """Store nothing."""
        self._writer.abort()
        super().close()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        # The base class would close it, and so store what may be half of it. Its writer aborts.
        pass


class _CompressedFile(io.BufferedIOBase):
    """A compressor and the file it writes to, closed together, which fsspec leaves to chance."""

    def __init__(self, compressor: Any, file: WritableFile) -> None:
        self._compressor = compressor
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return int(self._compressor.write(data))

    def close(self) -> None:
        if self.closed:
            return
        try:
            self._compressor.close()
            self._file.close()
        finally:
            super().close()

    def __del__(self) -> None:
        # As WritableFile's.
        pass


class _TextFile(io.TextIOWrapper):
    """Text that, unless it is closed, is not stored."""

    def __del__(self) -> None:
        # As WritableFile's.
        pass


def _check_options(options: Mapping[str, Any]) -> None:
    for name in options:
        if name in (*_LISTING_OPTIONS, *_IGNORED_OPTIONS):
            continue
        known = {*S3CryptFileSystem.__init__.__annotations__, *_LISTING_OPTIONS} - {"options"}
        close = get_close_matches(name, known, n=1)
        raise ConfigError(
            f"There is no storage option {name!r}.",
            hint=f"Did you mean {close[0]}?" if close else None,
        )


def _check_types(workers: object, **switches: object) -> None:
    if not isinstance(workers, int) or workers < 1:
        raise ConfigError("The storage option workers is a number, 1 at least.")
    for name, value in switches.items():
        if not isinstance(value, bool):
            # The text "false", from some setting, is true.
            raise ConfigError(f"The storage option {name} is True or False.")


def _refuse_beside_live(asked: Mapping[str, object]) -> None:
    for name, value in {**asked, "bind_name": not asked["bind_name"]}.items():
        if value not in (None, False, (), [], {}):
            raise ConfigError(f"{name} is part of a mode object: say it there.")


def _session(profile: str | None, region: str | None) -> boto3.Session:
    with translating("the AWS settings"):
        return boto3.Session(profile_name=profile, region_name=region)


def _split(path: str) -> tuple[str, str]:
    bucket, _, name = path.partition("/")
    return bucket, name


def _uri(path: str) -> str:
    return f"s3://{path}"


def _object_uri(path: str) -> str:
    bucket, name = _split(path)
    if not name:
        raise IsADirectoryError(f"{bucket or 'This'} is a bucket or all of them, not an object.")
    return _uri(path)


def _without_hints(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _CACHE_HINTS}


def _directory(path: str) -> Entry:
    return {"name": path, "size": 0, "type": "directory", "StorageClass": "DIRECTORY"}


def _entry(path: str, info: "ObjectInfo") -> Entry:
    return {
        "name": path,
        "size": info.size,
        "type": "file",
        "stored_size": info.stored_size,
        "ETag": info.etag,
        "LastModified": info.last_modified,
        # As pyarrow looks for it.
        "mtime": info.last_modified,
        "StorageClass": info.storage_class,
        "VersionId": info.version_id,
        "ContentType": info.content_type,
        "mode": info.mode,
        "metadata": dict(info.metadata),
    }


def _is_within(name: str, path: str) -> bool:
    return not path or name == path or name.startswith(f"{path}/")


def _literal_beginning(pattern: str) -> str:
    """Return what every match begins with in the directory that the pattern's matches are below."""
    start = min(pattern.find(sign) for sign in "*?[" if sign in pattern)
    return pattern[pattern.rfind("/", 0, start) + 1 : start]


def _as_list(values: Any, count: int) -> list[Any]:
    listed = values if isinstance(values, list) else [values] * count
    if len(listed) != count:
        raise ValueError("paths, starts and ends must be equally many")
    return listed


def _or_error(work: Callable[[_Item], _Result], item: _Item) -> "_Result | Exception":
    try:
        return work(item)
    except Exception as error:  # noqa: BLE001 - handed to the caller, who asked for it
        return error


def _pieces(path: Any, length: int) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        while piece := file.read(length):
            yield piece


def _progress(callback: Any) -> Callable[[int], None] | None:
    """Return what tells fsspec's callback, which is not made for threads."""
    if isinstance(callback, NoOpCallback):
        return None
    lock = threading.Lock()

    def report(count: int) -> None:
        with lock:
            callback.relative_update(count)

    return report


@contextmanager
def _asking(bucket: str) -> Iterator[None]:
    """Turn errors of a request about a bucket into ours."""
    with _as_files(), translating(f"s3://{bucket}"):
        yield


@contextmanager
def _as_files(*, is_exclusive: bool = False) -> Iterator[None]:
    """Raise what Python's files do: to their users a bucket is a directory, missing as one."""
    try:
        yield
    except ConflictError as error:
        if not is_exclusive:
            raise
        raise FileExistsError(str(error)) from error
    except StorageError as error:
        if error.code != "NoSuchBucket":
            raise
        raise ObjectNotFoundError(
            str(error), hint=error.hint, code=error.code, request_id=error.request_id
        ) from error
