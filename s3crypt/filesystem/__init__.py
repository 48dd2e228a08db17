# SPDX-License-Identifier: Apache-2.0
"""Encrypted objects as an fsspec file system, `s3crypt://bucket/name`, for tools that use fsspec.

    pandas.read_parquet("s3crypt://acme/sales", storage_options={"key": "kms:alias/sales"})

This package has the paths and the listings, and behaves as fsspec's users expect. Objects are
encrypted and verified in `s3crypt.objects`. A size is always the size of the plaintext. It is None
if it is unknown, and never a guess.
"""

import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.core import get_compression
from fsspec.implementations.local import LocalFileSystem, make_path_posix, trailing_sep
from fsspec.utils import isfilelike, stringify_path

from s3crypt.errors import IntegrityError, ObjectNotFoundError
from s3crypt.local.sources import given
from s3crypt.location import Location
from s3crypt.objects.checks import demanded
from s3crypt.objects.deleting import check_is_other
from s3crypt.objects.instruction_files import refuse_separation
from s3crypt.objects.opened import ReadOptions
from s3crypt.objects.reader import FIRST_LENGTH
from s3crypt.transfer.conditions import IF_ABSENT, delete_unchanged

from .blocks import BlockFile
from .files import Transaction, WritableFile, as_text, bytes_of, compressed, pieces
from .listing import is_directory_entry
from .names import NamesFileSystem
from .options import LISTING_OPTIONS, without_hints
from .parallel import or_error, parallel_map
from .paths import (
    as_files,
    check_copies,
    check_inside,
    check_targets,
    equally_many,
    object_uri,
    split,
    uri_of,
)
from .progress import OneAtATime, counter_of

if TYPE_CHECKING:
    from s3crypt.modes import Mode
    from s3crypt.objects.reader import ObjectReader

__all__ = ["S3CryptFileSystem"]


class S3CryptFileSystem(NamesFileSystem):
    """Objects in S3 as files in directories. They are encrypted in one of the five modes.

    A directory is a common prefix of objects' names, up to a slash, so it is never empty. If a path
    looks like a pattern, but an object or a directory has exactly this name, the path is a name.

    Args:
        encryption: The mode: a mode object, or the name of a mode as on the command line, or `any`.
            With `any`, every object that S3 decrypts can be read, and nothing can be written. If a
            key is given, the mode may be omitted. Without a mode and a key, names can be listed,
            but contents are not accessible.
        mode: Another name of `encryption`. It is the only argument that may be positional. fsspec
            itself uses `mode` in storage options, so use `encryption` there.
        key, context and the mode's other options: As on the command line. Their names are the names
            of the fields of `s3crypt.configuration.ModeChoice`. Key files are read when content is
            first requested.
        written_in: With `bind_bucket`: the bucket to which all objects are bound, for reading and
            writing, if the paths name its replica or an access point.
        allow_uncommitted: Whether to read client-side objects without key commitment, too.
        allow_unsigned: Whether to read unsigned objects although `signed` requires a signature.
        allow_unverified_signature: Whether to read parts of signed objects. Their signature is not
            verified then, because this requires reading the whole object.
        allow_plain_http: Whether to allow customer keys and requests to KMS over plain HTTP to
            other machines.
        expected_bucket_owner, request_payer: As for `s3crypt.S3Crypt`.
        endpoint_url: The address of the S3 service. None for AWS.
        profile, region: The profile and the Region of the AWS configuration.
        workers: The maximum number of threads of one transfer, and of files that are read in
            parallel.
        unclosed: What happens to a file that is dropped without `close`: `discard` stores nothing
            and warns. `store` stores it, for tools that do not close files, but may store half a
            file.
        use_listings_cache, listings_expiry_time, max_paths: fsspec's own options. Listings are
            cached only if one of these options is given, because other processes may write to the
            bucket.
        skip_instance_cache: Whether to make a new file system and a new engine. The key's file is
            then read again.

    Raises:
        ConfigError: The options contradict each other, or an option is unknown: a misspelt option
            must not lead to unencrypted objects in S3.
    """

    transaction_type = Transaction

    def __init__(self, mode: Any = None, *, connection: Any = None, **options: Any) -> None:
        # `mode` is not used here: `Instances` has already stored it in the connection's
        # `encryption`.
        keeps_listings = not options.keys().isdisjoint(LISTING_OPTIONS)
        super().__init__(connection, {"use_listings_cache": keeps_listings, **options})
        own = connection.options
        self._allowances: dict[str, Any] = {
            "allow_uncommitted": own.allow_uncommitted,
            "allow_unsigned": own.allow_unsigned,
        }
        self._open_allowances: dict[str, Any] = {
            **self._allowances,
            "allow_unverified_signature": own.allow_unverified_signature,
        }

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
        """Open an object with `rb`, `wb` or `xb`, or as text with `r`, `w` or `x`.

        The object is stored when the file is closed. If an exception leaves the file's `with`
        block, nothing is stored. The storage option `unclosed` decides whether a file that is never
        closed is discarded with a warning, or stored.

        Args:
            path: The object's path.
            mode: As for Python's `open`. Objects cannot be appended to.
            block_size, cache_options: Ignored. The frames of the object and the read-ahead decide
                how much is fetched.
            compression: The name of an fsspec compression, or `infer` to choose it by the path.
            options: The options of `S3Crypt.open`. For text also encoding, errors and newline.
        """
        if "b" not in mode:
            names = [name for name in ("encoding", "errors", "newline") if name in options]
            text: dict[str, Any] = {name: options.pop(name) for name in names}
            mode = f"{mode.replace('t', '')}b"
            return as_text(self.open(path, mode, compression=compression, **options), text)
        file = super().open(path, mode, block_size, cache_options, **without_hints(options))
        method = get_compression(path, compression)
        return file if method is None else compressed(file, method)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "ObjectReader | BlockFile | WritableFile":
        uri = object_uri(path)
        if mode == "rb":
            reader = self._reader(path, options)
            # `open` removes the hint `cache_type`, so this call comes from the layer
            # `blockcache::`, which will set its own cache in the file.
            if options.get("cache_type") == "none":
                return BlockFile(self, path, reader, block_size, options.get("size"))
            return reader
        if mode not in ("wb", "xb"):
            raise NotImplementedError(
                f"Mode {mode!r}: an object cannot be appended to or changed in place, "
                "only written anew (wb) or for the first time (xb)."
            )
        if mode == "xb" and self.isfile(path):
            raise FileExistsError(f"{uri} exists.")
        with as_files():
            location = Location.parse_object(uri)
            chosen, described = self._connection.described(location, options)
            writer = self._connection.objects.open_writer(
                location, chosen, described, if_absent=mode == "xb"
            )
        if mode == "wb" and autocommit:
            # An unclosed file is never stored with `xb`, and a transaction raises an error for it.
            writer.advice = (
                "Close it; where a tool does not, the storage option unclosed='store' stores it."
            )
            if self._connection.options.unclosed == "store":
                writer.keep_dropped()
        forget = partial(self._forget, [path])
        return WritableFile(path, mode, writer, forget, is_held=not autocommit)

    def _reader(
        self, path: str, options: Mapping[str, Any], first: int | None = None
    ) -> "ObjectReader":
        with as_files():
            return self._connection.open_reader(path, self._open_allowances, options, first)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        """Return an object's plaintext, or a slice of it."""
        path = self._strip_protocol(path)
        if start is None and end is None:
            content = io.BytesIO()
            with as_files():
                self._connection.fetch(path, content, self._allowances, options)
            return content.getvalue()
        with self._reader(path, options, FIRST_LENGTH) as reader:
            return reader.read_ranges([(start, end)])[0]

    def cat(
        self,
        path: Any,
        recursive: bool = False,
        on_error: str = "raise",
        **options: Any,
    ) -> Any:
        """Return an object's plaintext, or a dictionary with the plaintext of several objects.

        Several objects are fetched in parallel.
        """
        path = stringify_path(path)
        found = self._expanded(path, recursive, None)
        paths = sorted(name for name, entry in found.items() if not is_directory_entry(entry))
        if isinstance(path, str) and paths == [self._strip_protocol(path)] and not recursive:
            return self.cat_file(paths[0], **options)
        contents = parallel_map(
            self._connection,
            lambda one: self.cat_file(one, **options),
            paths,
            most=self._connection.options.workers,
            keep_errors=on_error != "raise",
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
        """Return slices of objects.

        Each object is opened once, and objects are read in parallel.
        """
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

        failures = parallel_map(
            self._connection,
            fetch,
            list(wanted),
            most=self._connection.options.workers,
            keep_errors=keep_errors,
        )
        for path, failure in zip(wanted, failures, strict=True):
            if failure is not None:
                for index in wanted[path]:
                    slices[index] = failure
        return slices

    def _ranges_of(
        self,
        path: str,
        ranges: list[tuple[int | None, int | None]],
        options: Mapping[str, Any],
        *,
        keep_errors: bool,
    ) -> list[Any]:
        with self._reader(path, options, FIRST_LENGTH) as reader:
            try:
                return reader.read_ranges(ranges)
            except IntegrityError:
                if not keep_errors:
                    raise
                # One damaged frame must not hide the intact ranges, so each range is read
                # separately.
                return [or_error(lambda one: reader.read_ranges([one])[0], one) for one in ranges]

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **options: Any,
    ) -> None:
        """Fetch objects to local files in parallel.

        A target is a directory if it ends with a slash or is an existing directory.

        Raises:
            ValueError: Two objects have the same target file. Nothing was fetched.
        """
        targets, entries = stringify_path(lpath), {}
        if isinstance(rpath, list) and isinstance(targets, list):
            sources = rpath
        else:
            entries = self._sources(rpath, recursive, maxdepth)
            sources = sorted(entries)
        if isinstance(targets, str):
            root = make_path_posix(targets)
            is_directory = trailing_sep(targets) or LocalFileSystem().isdir(root)
            targets = self._targets(rpath, sources, root, is_directory=is_directory)
            check_inside(root, targets)

        files = []
        for source, target in equally_many(sources, targets):
            if is_directory_entry(entries.get(source)):
                Path(target).mkdir(parents=True, exist_ok=True)
            else:
                files.append((source, target))
        check_targets(files)
        self._transfer(partial(self.get_file, **options), files, callback)

    def get_file(
        self,
        rpath: str,
        lpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **options: Any,
    ) -> None:
        """Fetch an object to a local file.

        The file appears complete and verified, or not at all.
        """
        target = lpath if outfile is None else outfile
        path = self._strip_protocol(rpath)
        if not isfilelike(target):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            if (not split(path)[1] or Path(target).is_dir()) and self.isdir(path):
                Path(target).mkdir(exist_ok=True)
                return
        progress = counter_of(callback)
        try:
            if progress:
                callback.set_size(self.size(rpath))
            with as_files():
                self._connection.fetch(path, target, self._allowances, options, progress)
        except FileNotFoundError:
            if isfilelike(target) or not self.isdir(rpath):
                raise
            Path(target).mkdir(parents=True, exist_ok=True)

    # Writing.

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **options: Any) -> None:
        """Store bytes or a bytes-like object.

        With the mode `create`, an existing object is an error.

        Raises:
            TypeError: The value is not bytes-like. A text is not treated as the name of a file.
        """
        self._put(bytes_of(value), self._strip_protocol(path), mode, options)

    def pipe(self, path: "str | dict[str, Any]", value: Any = None, **options: Any) -> None:
        """Store bytes as an object, or each value of a dictionary as an object, in parallel."""
        if not isinstance(path, dict):
            super().pipe(path, value, **options)
            return

        def store(item: tuple[str, Any]) -> None:
            self.pipe_file(self._strip_protocol(item[0]), item[1], **options)

        parallel_map(self._connection, store, list(path.items()), most=self._most)

    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **options: Any,
    ) -> None:
        """Store local files as objects in parallel.

        A target is a directory if it ends with a slash or is an existing directory.

        Raises:
            ValueError: Two files have the same target object. Nothing was stored.
        """
        pairs = self._local_pairs(lpath, rpath, recursive, maxdepth)
        check_targets(pairs)
        self._transfer(partial(self.put_file, **options), pairs, callback)

    def _transfer(
        self, work: Callable[..., None], pairs: list[tuple[Any, Any]], callback: Any
    ) -> None:
        """Call `work` for each pair of source and target in parallel, and report the progress."""
        told = OneAtATime(callback)
        told.set_size(len(pairs))

        def transfer(pair: tuple[Any, Any]) -> None:
            with told.branched(*pair) as branch:
                work(*pair, callback=branch)
            told.relative_update()

        parallel_map(self._connection, transfer, pairs, most=self._most)

    @property
    def _most(self) -> int:
        """Return the maximum number of files that are transferred at the same time."""
        # A transaction stores its files in the order in which they were opened.
        return 1 if self._intrans else self._connection.options.workers

    def put_file(
        self,
        lpath: Any,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **options: Any,
    ) -> None:
        """Store a local file. With the mode `create`, an existing object is an error."""
        if Path(lpath).is_dir():
            # A directory has no object of its own. The objects in it are stored by separate calls.
            return
        callback.set_size(Path(lpath).stat().st_size)
        path = self._strip_protocol(rpath)
        self._put(Path(lpath), path, mode, options, progress=counter_of(callback))

    def _put(
        self,
        source: Path | bytes | memoryview,
        path: str,
        mode: str,
        options: Mapping[str, Any],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if mode not in ("overwrite", "create"):
            raise ValueError(f"mode is overwrite or create, not {mode!r}")
        is_exclusive = mode == "create"
        if self._intrans:
            with self.open(path, "xb" if is_exclusive else "wb", **options) as file:
                for piece in pieces(source, self.blocksize):
                    file.write(piece)
                    if progress:
                        progress(len(piece))
            return
        conditions = IF_ABSENT if is_exclusive else {}
        with as_files(is_exclusive=is_exclusive), given(source) as opened:
            location = Location.parse_object(object_uri(path))
            chosen, described = self._connection.described(location, options)
            self._connection.objects.write(
                opened, location, chosen, described, conditions=conditions, progress=progress
            )
        self._forget([path])

    def touch(self, path: str, truncate: bool = True, **options: Any) -> None:
        """Store an empty object. With `truncate=False`, an existing object is an error."""
        if truncate:
            self.pipe_file(path, b"", **options)
            return
        try:
            self.pipe_file(path, b"", mode="create", **options)
        except FileExistsError as error:
            raise NotImplementedError(
                f"{path} exists, and the time of an object cannot be changed."
            ) from error

    def to_arrow(self) -> Any:
        """Return an Arrow file system for this file system.

        It makes requests about many files in parallel.

        Arrow also accepts this file system itself, but then makes requests for one file after the
        other.
        """
        from .arrow import arrow_file_system  # noqa: PLC0415 - it needs pyarrow

        return arrow_file_system(self)

    def start_transaction(self) -> Transaction:
        """Start a transaction: `end_transaction` stores all files that are written in it."""
        transaction: Transaction = self.transaction
        transaction.start()
        return transaction

    # Copying, moving and removing.

    def cp_file(self, path1: str, path2: str, **options: Any) -> None:
        """Copy an object. It is decrypted and encrypted again, because it is bound to its name.

        Metadata, tags, content headers and storage class are copied. Locks and ACLs are not copied.

        Args:
            path1, path2: The paths of the object and of its copy.
            options: The options of `S3Crypt.open` for the copy.
        """
        self._copy_one(self._strip_protocol(path1), self._strip_protocol(path2), options)

    def _copy_one(self, source: str, target: str, options: Mapping[str, Any]) -> str | None:
        """Copy an object, and return the source's ETag.

        Return None if the source is a directory.
        """
        with as_files():
            read_options = ReadOptions(self._connection.mode, **self._allowances)
            try:
                location = Location.parse_object(object_uri(source))
                other = Location.parse_object(object_uri(target))
                said = {name: value for name, value in options.items() if name != "mode"}
                mode = demanded(self._connection.mode_of(options.get("mode")))
                info, _ = self._connection.objects.copy(location, read_options, other, mode, said)
            except (FileNotFoundError, IsADirectoryError):
                if self.isdir(source):
                    # The target directory exists as soon as an object in it was copied.
                    return None
                raise
        self._forget([target])
        return info.etag

    def copy(
        self,
        path1: "str | list[str]",
        path2: "str | list[str]",
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: str | None = None,
        **options: Any,
    ) -> None:
        """Copy objects. With `recursive`, copy all objects in a directory.

        With `recursive`, an object that was removed after the listing is skipped.

        Raises:
            ValueError: Two objects have the same target, or a target is an object that must itself
                be copied.
        """
        may_miss = on_error == "ignore" or (on_error is None and recursive)
        for source, target in self._pairs(path1, path2, recursive, maxdepth):
            try:
                self._copy_one(source, target, options)
            except ObjectNotFoundError as error:
                # The source was found in a listing, so a missing bucket must be the bucket of the
                # target.
                if not may_miss or error.code == "NoSuchBucket":
                    raise

    def mv(
        self,
        path1: "str | list[str]",
        path2: "str | list[str]",
        recursive: bool = False,
        maxdepth: int | None = None,
        **options: Any,
    ) -> None:
        """Move objects: copy all of them, and then remove exactly the objects that were copied.

        Raises:
            ConflictError: An object was replaced after it was copied. The new object was not
                removed.
            FormatError: An object is an instruction file of the Amazon S3 Encryption Client, or has
                one. Nothing was copied.
            ValueError: For the reasons that `copy` documents. Nothing was copied.
        """
        pairs = self._pairs(path1, path2, recursive, maxdepth)
        moved = [pair for pair in pairs if pair[0] != pair[1]]
        parallel_map(self._connection, lambda pair: self._refuse_split(pair[0]), moved)
        tags = [(pair, self._copy_one(*pair, options)) for pair in moved]
        copied = [(*pair, tag, options.get("mode")) for pair, tag in tags if tag is not None]
        if moved == pairs and not copied:
            raise IsADirectoryError(f"{path1} is a directory: move it with recursive=True.")
        parallel_map(self._connection, lambda one: self._remove_copied(*one), copied)

    def _refuse_split(self, path: str) -> None:
        """Refuse to separate an object from its instruction file, in either direction."""
        with suppress(IsADirectoryError), as_files():
            location = Location.parse_object(object_uri(path))
            refuse_separation(self._connection.client, location, self._connection.mode)

    def _remove_copied(self, path: str, target: str, tag: str, mode: "Mode | str | None") -> None:
        location, other = (Location.parse_object(uri_of(each)) for each in (path, target))
        client, to = self._connection.client, demanded(self._connection.mode_of(mode))
        try:
            check_is_other(client, location, other, to, source_mode=self._connection.mode)
            delete_unchanged(client, location, tag, {})
        finally:
            self._forget([path])

    def _pairs(
        self,
        path1: "str | list[str]",
        path2: "str | list[str]",
        recursive: bool,
        maxdepth: int | None,
    ) -> list[tuple[str, str]]:
        """Return pairs of an object to copy and its target."""
        entries: dict[str, Any] = {}
        if isinstance(path1, list) and isinstance(path2, list):
            sources = self._strip_protocol(path1)
        else:
            entries = self._sources(path1, recursive, maxdepth)
            sources = sorted(entries)
        if isinstance(path2, list):
            targets = path2
        else:
            is_directory = trailing_sep(path2) or self.isdir(path2)
            targets = self._targets(path1, sources, path2, is_directory=is_directory)
        pairs = [
            (source, self._strip_protocol(target))
            for source, target in equally_many(sources, targets)
            if not is_directory_entry(entries.get(source))
        ]
        check_copies(pairs)
        return pairs


def _as_list(values: Any, count: int) -> list[Any]:
    listed = values if isinstance(values, list) else [values] * count
    if len(listed) != count:
        raise ValueError("paths, starts and ends must be equally many")
    return listed
