# SPDX-License-Identifier: Apache-2.0
"""Work on many objects: the public class `Many`. It checks arguments and calls the engine."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from . import buckets
from .arguments import given_mode, required_mode
from .aws_errors import is_for_all
from .buckets import ListedBucket
from .errors import KeyUnavailableError, S3CryptError, StorageError
from .formats import MAX_HEADER_LENGTH
from .job_items import (
    CopyOptions,
    GetOptions,
    JobOptions,
    Object,
    PutOptions,
    Source,
    SyncOptions,
    bucket_of,
    check_apart,
    checked_jobs,
    etag_of,
    listed_size_of,
    named_in_errors,
    object_exists,
    prefix_of,
    relative_name_of,
    size_of,
    state_of,
    stored_size_of,
    to_read,
    uri_of,
    with_folder,
    with_journal,
    with_time,
)
from .jobs import (
    EVERY_NAME,
    FoundFile,
    NameFilter,
    Outcome,
    TargetFolder,
    Unusable,
    at_least_one,
    files_below,
    run,
    run_in_order,
    selected,
    telling,
)
from .local.files import file_exists
from .local.sources import given
from .location import Location
from .modes import Mode
from .moves import move_into_s3, move_out_of_s3
from .objects.access import ListedObject, Objects
from .objects.checks import demanded
from .objects.deleting import batches, delete_batch
from .objects.describing import changes_to, describe_new, described_among
from .objects.info import ObjectInfo
from .objects.listing import Described, ListedVersion, Sized, Usage, describe_listed, summed
from .objects.listing import versions as list_versions
from .objects.opened import Neighbour, ReadOptions
from .objects.uploads import UnfinishedUpload, abort_upload, unfinished_uploads
from .requests import is_transient
from .transfer.conditions import IF_ABSENT

if TYPE_CHECKING:
    from .objects.defaults import DefaultEncryption
    from .rotation import RotationOutcome
    from .syncing import SyncOutcome

# The number of batches that are listed in advance. A batch has up to a thousand names.
_BATCHES_AHEAD = 2
_Item = TypeVar("_Item")
_Entry = TypeVar("_Entry", bound=Described)
_Result = TypeVar("_Result")


class Many:
    """Operations on many objects. `S3Crypt.many` returns an instance.

    Each method yields an `Outcome` for each object as soon as the work on the object ends, in any
    order. The work begins when the first outcome is requested. If an object fails, its outcome has
    the `error`, and the job continues. If an error would affect every object, for example because
    the bucket does not exist, the job ends: the error is raised after the work in progress has
    ended. The memory does not grow with the number of objects.
    """

    def __init__(self, objects: Objects, mode: Callable[[], Mode | None]) -> None:
        self._objects, self._mode = objects, mode

    def list(
        self, uri: str, *, names: NameFilter = EVERY_NAME
    ) -> Iterator[tuple[ListedObject, Neighbour | None]]:
        """Yield the objects below a prefix, in S3's order.

        Other methods accept these items.

        `names` selects objects by the part of the name after the prefix.

        Raises:
            ObjectNotFoundError: There is no object below the prefix, or `names` selects no object.
        """
        prefix = prefix_of(uri)
        below = self._objects.list_with_neighbours(Location.parse(prefix + names.beginning))
        found = at_least_one(below, prefix) if names.pattern is None else below
        return selected(found, names, lambda item: item[0].uri[len(prefix) :], prefix)

    def put(
        self, pairs: Iterable[tuple[Source, str]], **options: Unpack[PutOptions]
    ) -> Iterator[Outcome[tuple[Source, str], ObjectInfo]]:
        """Store objects. The argument has pairs of a source and a URI; see `S3Crypt.put`.

        If a wrapping key cannot be used, the job ends.
        """
        yield from self._put(pairs, options)

    def put_folder(
        self,
        folder: str | Path,
        uri: str,
        *,
        names: NameFilter = EVERY_NAME,
        left_out: Callable[[Path, str], None] = lambda _path, _why: None,
        **options: Unpack[PutOptions],
    ) -> Iterator[Outcome[tuple[Source, str], ObjectInfo]]:
        """Store the files below a folder.

        The URI of an object is `uri`, followed by the relative path of the file.

        Args:
            folder: The path of the folder. Links to folders in it are not followed.
            uri: The prefix: a bucket, or a URI that ends with a slash.
            names: The filter for relative paths of files. A folder that cannot be read gives an
                outcome with an error, whatever the filter is.
            left_out: Is called with each path that is skipped, and the reason. Another thread calls
                it.
            options: The options, as for `put`.

        Raises:
            ObjectNotFoundError: `names` selects no file.
        """
        prefix, journal = prefix_of(uri), options.get("journal")

        def pairs() -> Iterator[tuple[FoundFile | Unusable, str]]:
            files = files_below(folder, report=left_out)
            for found in selected(files, names, relative_name_of, str(folder)):
                if journal is not None and journal.owns(found.path):
                    left_out(found.path, "this job's journal")
                    continue
                name = found.name if isinstance(found, FoundFile) else ""
                yield found, f"{prefix}{name}"

        for outcome in self._put(pairs(), options):
            found, to = outcome.item
            path: Source = found.path if isinstance(found, FoundFile | Unusable) else found
            yield replace(outcome, item=(path, to))

    def get(
        self, pairs: Iterable[tuple[Object, str | Path]], **options: Unpack[GetOptions]
    ) -> Iterator[Outcome[tuple[Object, str | Path], ObjectInfo]]:
        """Fetch objects. The argument has pairs of an object and a path; see `S3Crypt.get`.

        Folders that do not exist are made.
        """
        folder = nullcontext if options.get("dry_run") else with_folder
        yield from self._get(
            pairs, lambda pair: folder(Path(pair[1])), lambda pair: pair[0], options
        )

    def get_folder(
        self,
        uri: str,
        folder: str | Path,
        *,
        names: NameFilter = EVERY_NAME,
        **options: Unpack[GetOptions],
    ) -> Iterator[Outcome[tuple[str, Path], ObjectInfo]]:
        """Fetch the objects below a prefix into a folder.

        The path of a file is the part of the object's name after the prefix.

        No object is written outside the folder or over the file of another object: `a//b` is
        written to `a/b` only if no object has the name `a/b`. `names` selects objects by the part
        of the name after the prefix.

        Raises:
            ObjectNotFoundError: There is no object below the prefix, or `names` selects no object.
        """
        prefix = prefix_of(uri)

        def is_there(name: str) -> bool:
            return self._objects.exists(Location.parse(name))

        targets = TargetFolder(folder, prefix, is_there)

        def target(item: Object) -> AbstractContextManager[Path]:
            if options.get("dry_run"):
                return nullcontext(targets.path_below(uri_of(item)))
            return targets.claimed(uri_of(item))

        found = self._with_content(prefix, names)
        for outcome in self._get(found, target, lambda item: item, options):
            name = uri_of(outcome.item)
            item = name, targets.told_path(name)
            yield Outcome(item, outcome.result, outcome.error, outcome.seconds)

    def copy(
        self, pairs: Iterable[tuple[Object, str]], **options: Unpack[CopyOptions]
    ) -> Iterator[Outcome[tuple[Object, str], ObjectInfo]]:
        """Copy objects. The argument has pairs of an object and a URI; see `S3Crypt.copy`."""
        from . import rotation  # noqa: PLC0415 - puts and gets do not need these eight modules

        origin = rotation.Origin(
            options.get("allow_unsigned", False),
            options.get("allow_unencrypted", False),
            options.get("written_in"),
            options.get("written_as"),
        )
        copy_one = rotation.copier(
            self._objects,
            self._mode(),
            demanded(self._mode_of(options.get("to"))),
            origin,
            drop_annotations=options.get("drop_annotations", False),
        )
        flags = {name: options.get(name, False) for name in ("if_absent", "move", "dry_run")}
        said = described_among(options)

        def copy(pair: tuple[Object, str]) -> Any:
            source, target = Location.parse_object(uri_of(pair[0])), Location.parse_object(pair[1])
            neighbour = pair[0][1] if isinstance(pair[0], tuple) else None
            changes = changes_to(target, said)
            return copy_one(source, target, changes=changes, neighbour=neighbour, **flags)

        def named(pair: tuple[Object, str]) -> tuple[str, str]:
            return pair[1], f"{uri_of(pair[0])} {etag_of(pair[0]) or ''}"

        left, noted = with_journal(pairs, copy, options, named, "copy")
        found = telling(left, lambda pair: stored_size_of(pair[0]), options.get("found"))
        yield from self._run(found, noted, options)

    def copy_folder(
        self,
        uri: str,
        to_uri: str,
        *,
        names: NameFilter = EVERY_NAME,
        **options: Unpack[CopyOptions],
    ) -> Iterator[Outcome[tuple[Object, str], ObjectInfo]]:
        """Copy the objects below a prefix.

        The URI of a copy is `to_uri`, followed by the part of the name after the prefix `uri`.

        Args:
            uri, to_uri: The prefixes. Neither may be below the other.
            names: The filter for the part of the name after the prefix.
            options: The options, as for `copy`.

        Raises:
            ConfigError: One prefix is below the other.
            ObjectNotFoundError: There is no object below `uri`, or `names` selects no object.
        """
        source, target = prefix_of(uri), prefix_of(to_uri)
        check_apart(source, target)
        found = self._with_content(source, names)
        pairs = ((item, f"{target}{uri_of(item)[len(source) :]}") for item in found)
        return self.copy(pairs, **options)

    def sync(
        self, source: str | Path, target: str | Path, **options: Unpack[SyncOptions]
    ) -> "Generator[SyncOutcome, None, None]":
        """Make a target equal to its source.

        Files or objects that differ in size or time are copied; see docs/sync.md.

        The places are folders and prefixes. At least one is a prefix. The modification time of a
        file is stored in the metadata entry `mtime` of its object. Objects are read in the store's
        mode.

        Raises:
            ConfigError: One place is inside the other, or a prefix is in a directory bucket.
            LocalFileNotFoundError, ObjectNotFoundError: The source does not exist, or no name is
                selected.
            SyncError: With `delete`: nothing was deleted, because the source could not be read
                completely, or because a name could not be compared or copied.
        """
        from . import syncing  # noqa: PLC0415 - other jobs do not need these modules

        modes = self._mode(), self._mode_of(options.get("to"))
        sync = syncing.begin(self._objects, modes, (source, target), options)
        yield from sync.outcomes(partial(self._run, options=options), self.delete, options)

    def inspect(
        self,
        objects: Iterable[Object],
        *,
        mode: Mode | str | None = None,
        **options: Unpack[JobOptions],
    ) -> Iterator[Outcome[Object, ObjectInfo]]:
        """Yield how each object is encrypted; see `S3Crypt.inspect`."""
        read_options = ReadOptions(self._mode_of(mode))

        def inspect(item: Object) -> ObjectInfo:
            location, demand_here = to_read(item, read_options)
            return self._objects.look(location, demand_here, first=MAX_HEADER_LENGTH)

        yield from self._run(
            telling(objects, stored_size_of, options.get("found")), inspect, options
        )

    def describe(
        self,
        entries: Iterable[Described],
        *,
        mode: Mode | str | None = None,
        **options: Unpack[JobOptions],
    ) -> Iterator[Outcome[Described, ObjectInfo | None]]:
        """Yield the mode, key and plaintext size of listed objects, in the order of the listing.

        An object in another mode than `mode` is described too. So is an SSE-C object whose key was
        not given; its plaintext size is None. For a prefix or a delete marker, the result is None.

        Args:
            entries: The entries of `S3Crypt.list`, `list_level`, `list_versions` or
                `list_with_neighbours`.
            mode: Only an `SSEC` has an effect: its customer key is used.
            options: The options of every job; see `JobOptions`.
        """
        yield from self._describe(entries, mode, options)

    def describe_buckets(
        self, **options: Unpack[JobOptions]
    ) -> "Iterator[Outcome[ListedBucket, DefaultEncryption]]":
        """Yield the default encryption of the account's buckets, in the order of S3's list."""
        from .objects.defaults import default_encryption  # noqa: PLC0415 - and policies

        client = self._objects.client
        found = telling(buckets.listed(client), lambda _: 0, options.get("found"))

        def describe(bucket: ListedBucket) -> "DefaultEncryption":
            return default_encryption(client, bucket.name)

        # If a bucket is deleted during the job, only its own outcome has an error.
        yield from self._run(found, describe, options, lambda _: False, run=run_in_order)

    def usage(
        self,
        uri: str,
        *,
        depth: int = 1,
        versions: bool = False,
        plaintext: bool = False,
        mode: Mode | str | None = None,
        failed: Callable[[str, S3CryptError], None] | None = None,
        **options: Unpack[JobOptions],
    ) -> Iterator[Usage]:
        """Yield the bytes below each prefix up to `depth` levels below `uri`, and finally of `uri`.

        The memory does not grow with the number of objects. The listing of a directory bucket is
        not sorted, so one of its prefixes may be yielded several times, each time for a part of its
        objects.

        Args:
            uri: The prefix: a bucket, or a URI that ends with a slash.
            depth: The number of levels below `uri`. 0 yields only `uri`.
            versions: Whether to count all versions instead of only the current ones.
            plaintext: Whether to count plaintext bytes, too. This takes a request per object,
                because a listing shows only the stored bytes.
            mode: With `plaintext`: the mode, as for `describe`.
            failed: Is called with the URI of an object that could not be inspected, and the error.
                The object then counts as an object of unknown size.
            options: The options of every job; see `JobOptions`.

        Raises:
            ObjectNotFoundError: `uri` is not a bucket, and there is no object below it.
        """
        prefix, location = prefix_of(uri), Location.parse(prefix_of(uri))
        listed: Iterable[ListedObject | ListedVersion] = (
            list_versions(self._objects.client, location)
            if versions
            else self._objects.list(location)
        )
        if location.name:
            listed = at_least_one(listed, prefix)
        if not plaintext:
            told = telling(listed, listed_size_of, options.get("found"))
            yield from summed(
                ((each, None) for each in told), prefix, depth=depth, is_inspected=False
            )
            return

        def sized() -> Iterator[Sized]:
            with closing(self._describe(listed, mode, options)) as outcomes:
                for outcome in outcomes:
                    if outcome.error is not None and failed is not None:
                        failed(outcome.item.uri, outcome.error)
                    yield outcome.item, outcome.result.size if outcome.result else None

        yield from summed(sized(), prefix, depth=depth, is_inspected=True)

    def delete(
        self, objects: Iterable[Object], **options: Unpack[JobOptions]
    ) -> Iterator[Outcome[Object, None]]:
        """Delete objects, with up to 1,000 per request.

        A versioned bucket only hides the objects behind delete markers.

        A listed object is deleted only if it still has its ETag. If another writer has replaced it,
        the new object is not deleted, and the outcome has a `ConflictError`.
        """

        def delete(batch: list[Object]) -> list[S3CryptError | None]:
            locations = [Location.parse_object(uri_of(item)) for item in batch]
            named = [(at.name, etag_of(item)) for at, item in zip(locations, batch, strict=True)]
            return delete_batch(self._objects.client, locations[0].bucket, named)

        found = telling(objects, lambda _: 0, options.get("found"))
        for_all: S3CryptError | None = None
        batched = batches(found, bucket_of)
        with closing(self._run(batched, delete, options, ahead=_BATCHES_AHEAD)) as deleted:
            for batch in deleted:
                errors = batch.result or [batch.error] * len(batch.item)
                for item, error in zip(batch.item, errors, strict=True):
                    if error is not None and is_for_all(error):
                        for_all = error
                    else:
                        yield Outcome(item, None, error, batch.seconds / len(batch.item))
                if for_all is not None:
                    raise for_all

    def rotate(  # noqa: PLR0913 - the arguments of `S3Crypt.rotate`
        self,
        uri: str,
        *,
        to: Mode | str,
        names: NameFilter = EVERY_NAME,
        dry_run: bool = False,
        allow_unsigned: bool = False,
        allow_unencrypted: bool = False,
        written_in: str | None = None,
        drop_annotations: bool = False,
        skip_others: bool = False,
        **options: Unpack[JobOptions],
    ) -> "Iterator[RotationOutcome]":
        """Change the mode or the key of all objects below a prefix; see `S3Crypt.rotate`.

        If an object fails, its outcome has the `error`. No `RotationError` is raised. `names`
        selects objects, as for `list`.
        """
        from . import rotation  # noqa: PLC0415 - puts and gets do not need these eight modules

        yield from rotation.rotate_each(
            self._objects,
            self._mode(),
            self.list(uri, names=names),
            required_mode(to),
            rotation.Origin(allow_unsigned, allow_unencrypted, written_in),
            drop_annotations=drop_annotations,
            dry_run=dry_run,
            skip_others=skip_others,
            jobs=checked_jobs(options.get("jobs")),
            journal=options.get("journal"),
            found=options.get("found"),
        )

    def uploads(
        self,
        uri: str | None = None,
        *,
        failed: Callable[[str, StorageError], None] | None = None,
    ) -> Iterator[UnfinishedUpload]:
        """Yield the multipart uploads that were neither completed nor aborted.

        Args:
            uri: If given, only uploads of objects whose URI begins with this text are yielded. None
                for the uploads in all buckets of the account.
            failed: Is called with the URI of a bucket that could not be listed, and the error; the
                other buckets are still listed. If None, the error is raised.
        """
        client = self._objects.client
        uris = [uri] if uri is not None else [f"s3://{name}" for name in buckets.names(client)]
        for each in uris:
            try:
                yield from unfinished_uploads(client, Location.parse(each))
            except StorageError as error:
                if failed is None:
                    raise
                failed(each, error)

    def abort(
        self, uploads: Iterable[UnfinishedUpload], **options: Unpack[JobOptions]
    ) -> Iterator[Outcome[UnfinishedUpload, None]]:
        """Abort uploads that `uploads` yielded.

        An upload that another writer still uses is aborted, too.
        """
        found = telling(uploads, lambda _: 0, options.get("found"))
        yield from self._run(found, lambda each: abort_upload(self._objects.client, each), options)

    def _describe(
        self, entries: Iterable[_Entry], mode: Mode | str | None, options: JobOptions
    ) -> Generator[Outcome[_Entry, ObjectInfo | None], None, None]:
        chosen = self._mode_of(mode)

        def describe(item: _Entry) -> ObjectInfo | None:
            return describe_listed(self._objects, item, chosen)

        told = telling(entries, listed_size_of, options.get("found"))
        return self._run(told, describe, options, run=run_in_order)

    def _put(
        self, pairs: Iterable[tuple[Any, str]], options: PutOptions
    ) -> Iterator[Outcome[tuple[Any, str], Any]]:
        chosen = demanded(self._mode_of(options.get("mode")))
        said = described_among(options)
        conditions = IF_ABSENT if options.get("if_absent") else {}
        progress = options.get("progress")

        def put(pair: tuple[Any, str]) -> ObjectInfo | None:
            source, uri = pair
            if isinstance(source, Unusable):
                raise source.error
            location = Location.parse_object(uri)
            path = source.path if isinstance(source, FoundFile) else source
            is_path = isinstance(path, str | Path)
            told = with_time(said, path) if is_path and options.get("preserve") else said
            described = describe_new(location, told, path if is_path else "")
            if options.get("move") and is_path and not options.get("dry_run"):
                how: Any = {"conditions": conditions, "progress": progress}
                return move_into_s3(self._objects, path, location, chosen, described, **how)
            with given(path) as opened:
                if options.get("dry_run"):
                    if conditions and self._objects.exists(location):
                        raise object_exists(location)
                    return None
                return self._objects.write(
                    opened, location, chosen, described, conditions=conditions, progress=progress
                )

        def stops_at(error: S3CryptError) -> bool:
            cause = error.__cause__
            is_passing = isinstance(cause, Exception) and is_transient(cause)
            is_key = isinstance(error, KeyUnavailableError) and not is_passing
            return is_key or is_for_all(error)

        def named(pair: tuple[Any, str]) -> tuple[str, str]:
            return pair[1], f"{pair[0]!s} {state_of(pair[0])}"

        left, noted = with_journal(pairs, put, options, named, "put")
        found = telling(left, lambda pair: size_of(pair[0]), options.get("found"))
        return self._run(found, noted, options, stops_at)

    def _get(
        self,
        items: Iterable[_Item],
        target: Callable[[_Item], AbstractContextManager[Path]],
        found: Callable[[_Item], Object],
        options: GetOptions,
    ) -> Iterator[Outcome[_Item, ObjectInfo]]:
        names = (
            *("allow_uncommitted", "allow_unsigned", "allow_unverified_signature"),
            *("version_id", "written_as", "written_in"),
        )
        asked: dict[str, Any] = {name: how for name, how in options.items() if name in names}
        read_options = ReadOptions(self._mode_of(options.get("mode")), **asked)
        progress, journal = options.get("progress"), options.get("journal")
        keeps_time, move = options.get("preserve", False), partial(move_out_of_s3, self._objects)
        how: Any = {"if_absent": options.get("if_absent", False), "keeps_time": keeps_time}
        fetch = move if options.get("move") else self._objects.fetch

        def get(item: _Item) -> ObjectInfo:
            location, demand_here = to_read(found(item), read_options)
            with named_in_errors(location), target(item) as path:
                if options.get("if_absent") and os.path.lexists(path):
                    raise file_exists(path)
                if options.get("dry_run"):
                    return self._objects.check(location, demand_here)
                if journal is not None and journal.owns(path):
                    raise StorageError(
                        f"{location}: {path} is this job's journal; not written.",
                        hint="Keep the journal in another folder.",
                    )
                return fetch(location, demand_here, path, progress=progress, **how)

        def named(item: _Item) -> tuple[str, str]:
            return uri_of(found(item)), etag_of(found(item)) or ""

        left, noted = with_journal(items, get, options, named, "get")
        told = telling(left, lambda item: stored_size_of(found(item)), options.get("found"))
        return self._run(told, noted, options)

    def _run(
        self,
        items: Iterable[_Item],
        work: Callable[[_Item], _Result],
        options: JobOptions | PutOptions | GetOptions | CopyOptions | SyncOptions,
        stops_at: Callable[[S3CryptError], bool] = is_for_all,
        run: Callable[..., Generator[Outcome[_Item, _Result], None, None]] = run,
        **more: Any,
    ) -> Generator[Outcome[_Item, _Result], None, None]:
        most, is_far = checked_jobs(options.get("jobs")), partial(getattr, self._objects, "is_far")
        return run(items, work, most=most, is_far=is_far, stops_at=stops_at, **more)

    def _with_content(self, uri: str, names: NameFilter) -> Iterator[Object]:
        """Yield the selected objects below a prefix.

        Empty objects with which consoles mark folders are omitted.
        """
        for listed, neighbour in self.list(uri, names=names):
            if listed.stored_size or not listed.uri.endswith("/"):
                yield listed, neighbour

    def _mode_of(self, mode: Mode | str | None) -> Mode | None:
        return self._mode() if mode is None else given_mode(mode)
