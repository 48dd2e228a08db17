# SPDX-License-Identifier: Apache-2.0
"""The items and options of `Many`'s methods."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypedDict, TypeVar

from .errors import ConfigError, ConflictError, S3CryptError, StorageError
from .jobs import FoundFile, Journal, NameFilter, Unusable, journaled
from .location import Location
from .metadata import of_time
from .modes import Mode
from .objects.access import ListedObject, ListedPrefix
from .objects.describing import Described
from .objects.listing import Described as Listed
from .objects.opened import Neighbour, ReadOptions
from .transfer import Progress

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Source: TypeAlias = str | Path | bytes
"""The content of an object to store: the path of a file, or bytes."""
# A URI, or an item of `S3Crypt.list` or of `list_with_neighbours`. With an item of
# `list_with_neighbours`, some reads without a mode need one request less.
Object: TypeAlias = str | ListedObject | tuple[ListedObject, Neighbour | None]


class JobOptions(TypedDict, total=False):
    """The options of every job.

    Attributes:
        jobs: The maximum number of objects in progress. None for 64. Fewer objects are in progress
            if more would not make the job faster.
        journal: Records the objects that are done. A repeated job skips the objects in its journal.
        found: Is called with the size of each object that the job finds: the size of a file, or the
            number of stored bytes. It is called with None when all objects are found. Another
            thread calls it.
    """

    jobs: int | None
    journal: Journal | None
    found: Callable[[int | None], None]


class PutOptions(JobOptions, Described, total=False):
    """The options of storing objects. They apply to all objects of the job.

    Attributes:
        mode, if_absent, progress: As for `S3Crypt.put`.
        move: Whether to remove each file after its object is stored; see `S3Crypt.move`.
        preserve: Whether to store the modification time of each file as the metadata entry `mtime`.
        dry_run: Whether only to open the files, and to store nothing.
    """

    mode: Mode | str | None
    if_absent: bool
    move: bool
    preserve: bool
    dry_run: bool
    progress: Progress | None


class GetOptions(JobOptions, total=False):
    """The options of fetching objects. They apply to all objects of the job.

    Attributes:
        mode, written_in, if_absent, progress: As for `S3Crypt.get`.
        version_id, written_as: As for `S3Crypt.get`, and only for a single object.
        allow_uncommitted, allow_unsigned, allow_unverified_signature: As for `S3Crypt.get`.
        move: Whether to delete each object after its file is written; see `S3Crypt.move`.
        preserve: Whether to give each file the modification time in the object's metadata, or else
            the time at which the object was stored.
        dry_run: Whether to write no file, and to check only the mode of each object and that its
            key opens the header.
    """

    mode: Mode | str | None
    version_id: str | None
    written_as: str | None
    written_in: str | None
    allow_uncommitted: bool
    allow_unsigned: bool
    allow_unverified_signature: bool
    if_absent: bool
    move: bool
    preserve: bool
    dry_run: bool
    progress: Progress | None


class CopyOptions(JobOptions, Described, total=False):
    """The options of copying objects. They apply to all objects of the job.

    Attributes:
        to, if_absent: As for `S3Crypt.copy`.
        written_as, written_in, allow_unsigned: As for `S3Crypt.copy`.
        allow_unencrypted, drop_annotations: As for `S3Crypt.rotate`.
        move: Whether to delete each source after its copy is stored; see `S3Crypt.move`.
        dry_run: Whether only to inspect the objects.
    """

    to: Mode | str | None
    written_as: str | None
    written_in: str | None
    allow_unsigned: bool
    allow_unencrypted: bool
    drop_annotations: bool
    if_absent: bool
    move: bool
    dry_run: bool


class SyncOptions(JobOptions, Described, total=False):
    """The options of `Many.sync`.

    Attributes:
        to: The mode of new objects. None for the store's mode.
        names: The filter for relative names. Names that it does not select are not copied or
            deleted, on either side.
        delete: Whether to delete targets that have no source. This is done after the whole source
            was walked, and only if every name was compared and copied without an error.
        size_only: Whether two sides with the same size count as equal.
        checksum: Whether to compare contents instead of times. Files are read for this. A file that
            is stored is read twice, and its object gets a digest for later comparisons.
        no_overwrite: Whether to copy only names that do not exist in the target.
        dry_run: Whether to change nothing.
        written_in, allow_unsigned, allow_uncommitted: Apply to objects that are read; see
            `S3Crypt.get`.
        allow_unencrypted, drop_annotations: Apply to copies inside S3; see `S3Crypt.copy`.
        left_out: Is called with each path that is skipped, and the reason.
        progress: Is called with the number of plaintext bytes of files transferred since the last
            call. It is not called for copies from a prefix to a prefix.
    """

    to: Mode | str | None
    names: NameFilter
    delete: bool
    size_only: bool
    checksum: bool
    no_overwrite: bool
    dry_run: bool
    written_in: str | None
    allow_unsigned: bool
    allow_uncommitted: bool
    allow_unencrypted: bool
    drop_annotations: bool
    left_out: Callable[[Path, str], None]
    progress: Progress | None


def prefix_of(uri: str) -> str:
    """Return the URI of a prefix, with a slash at its end. Refuse the URI of an object."""
    if not Location.parse(uri).is_prefix:
        raise ConfigError(f"{uri} names an object.", hint=f"A prefix ends with a slash: {uri}/")
    return uri if uri.endswith("/") else f"{uri}/"


def uri_of(item: Object) -> str:
    """Return the URI of an object."""
    if isinstance(item, str):
        return item
    return item.uri if isinstance(item, ListedObject) else item[0].uri


def etag_of(item: Object) -> str | None:
    """Return the ETag of a listed object. Return None for a URI."""
    if isinstance(item, str):
        return None
    return item.etag if isinstance(item, ListedObject) else item[0].etag


def stored_size_of(item: Object) -> int:
    """Return the number of stored bytes of a listed object. Return 0 for a URI."""
    if isinstance(item, str):
        return 0
    return item.stored_size if isinstance(item, ListedObject) else item[0].stored_size


def size_of(source: object) -> int:
    """Return the size of bytes or of a found file. Return 0 for any other source."""
    if isinstance(source, bytes):
        return len(source)
    return source.size if isinstance(source, FoundFile) else 0


def to_read(item: Object, read_options: ReadOptions) -> tuple[Location, ReadOptions]:
    """Return an object's location, and the read options completed with the object's neighbour."""
    location = Location.parse_object(uri_of(item))
    return location, replace(read_options, neighbour=item[1]) if isinstance(
        item, tuple
    ) else read_options


def relative_name_of(found: FoundFile | Unusable) -> str | None:
    """Return a file's name for a filter.

    Return None for a path that cannot be read: no filter may hide its error.
    """
    return found.name if isinstance(found, FoundFile) else None


def with_time(said: Described, path: str | Path) -> Described:
    """Return the description of an object, with the modification time of its file added."""
    try:
        time = of_time(Path(path).stat().st_mtime_ns)
    except OSError:
        # The work on this file will raise the error.
        return said
    return {**said, "metadata": {**(said.get("metadata") or {}), **time}}


def object_exists(location: Location) -> ConflictError:
    """Return the error for an object that must not be replaced."""
    return ConflictError(
        f"{location}: the object exists",
        hint="The object was kept. Choose another target.",
        code="PreconditionFailed",
    )


def check_apart(source: str, target: str) -> None:
    """Refuse a target prefix that is the source prefix, or is below or above it.

    Otherwise the copies would be found as sources, or would overwrite sources that are not copied
    yet.

    Raises:
        ConfigError: The prefixes are equal, or one of them is below the other.
    """
    if source.startswith(target) or target.startswith(source):
        where = "the same as" if source == target else "inside or above"
        raise ConfigError(
            f"{target} is {where} the source, {source}.", hint="Name a prefix beside it."
        )


def bucket_of(item: Object) -> str | None:
    """Return the bucket of an object. Return None if its URI is not valid."""
    try:
        return Location.parse_object(uri_of(item)).bucket
    except S3CryptError:
        # The work on this item will raise the error.
        return None


def checked_jobs(jobs: int | None) -> int | None:
    """Return the maximum number of objects in progress. Refuse a number below 1."""
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs is 1 or more, not {jobs}.")
    return jobs


def listed_size_of(item: Listed) -> int:
    """Return the number of stored bytes of an entry of a listing. Return 0 for a prefix."""
    entry = item[0] if isinstance(item, tuple) else item
    return 0 if isinstance(entry, ListedPrefix) else entry.stored_size


@contextmanager
def named_in_errors(location: Location) -> Iterator[None]:
    """Add the object's URI to errors that do not contain it."""
    try:
        yield
    except S3CryptError as error:
        if str(location) not in str(error):
            error.args = (f"{location}: {error}",)
        raise


@contextmanager
def with_folder(target: Path) -> Iterator[Path]:
    """Make the folder of a file, and yield the path of the file."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"Cannot make the folder {target.parent}: {error.strerror}.",
            hint="Check the permissions, and check that no file has this name.",
        ) from error
    yield target


def state_of(source: object) -> str:
    """Return a text that changes when the file is written to. Return "" if it cannot be read."""
    if isinstance(source, FoundFile):
        return source.version
    if not isinstance(source, str | Path):
        if isinstance(source, Unusable):
            return ""
        raise ConfigError("A journal identifies files by their paths, but bytes have no path.")
    try:
        state = Path(source).stat()
    except OSError:
        # The work on this file will raise the error.
        return ""
    return f"{state.st_size} bytes, {state.st_mtime_ns} ns"


def with_journal(
    items: Iterable[_Item],
    work: Callable[[_Item], _Result],
    options: PutOptions | GetOptions | CopyOptions,
    named: Callable[[_Item], tuple[str, str]],
    action: str,
) -> tuple[Iterable[_Item], Callable[[_Item], _Result]]:
    """Return the items that are not done yet, and a function that does and records the work.

    Without a journal, or with `dry_run`, return `items` and `work` unchanged.
    """
    journal = options.get("journal")
    if journal is None or options.get("dry_run"):
        return items, work
    return journaled(journal, items, work, named=named, done=lambda _: (action, ""))
