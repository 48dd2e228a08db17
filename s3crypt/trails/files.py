# SPDX-License-Identifier: Apache-2.0
"""Finds trail files: in the bucket of a trail, in a local folder, or a single file.

CloudTrail's file names contain the account, the Region and the time of delivery, so files outside
the requested period are neither fetched nor opened. This module parses no records.
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html
"""

import io
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO

from s3crypt.errors import LocalFileNotFoundError, S3CryptError, StorageError
from s3crypt.jobs import FoundFile, files_below
from s3crypt.local.width import FAR, NEAR
from s3crypt.local.workers import Pool
from s3crypt.location import Location
from s3crypt.objects.access import ListedObject, ListedPrefix, Objects
from s3crypt.transfer import ObjectStream

LATE = timedelta(days=1)
"""The maximum delay between an event and the delivery of the file with its record."""

_EARLY = timedelta(minutes=15)
# Prefetched files take at most _AHEAD bytes in total. A file longer than _FETCHED bytes is not
# prefetched but streamed.
_AHEAD = 64 * 2**20
_FETCHED = 8 * 2**20
_NAME = re.compile(
    r"([0-9]{12})_CloudTrail_([a-z0-9-]+)_([0-9]{8}T[0-9]{4})Z_[A-Za-z0-9]+\.json(?:\.gz)?"
)
_KINDS = (".json", ".json.gz", ".jsonl", ".jsonl.gz")
# The levels of CloudTrail's layout above the Regions.
_LEVELS = re.compile(r"AWSLogs|o-[a-z0-9]{10,32}|[0-9]{12}|CloudTrail")
_DIGEST = "_CloudTrail-Digest_"

Opener = Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Period:
    """The period of the wanted events. If a bound is None, the period has no limit on that side."""

    since: datetime | None
    until: datetime | None

    def has(self, name: str) -> bool:
        """Return whether a file of this name may hold an event of the period."""
        match = _NAME.fullmatch(name)
        if match is None:
            return True
        try:
            delivered = datetime.strptime(match[3], "%Y%m%dT%H%M").replace(tzinfo=UTC)
        except ValueError:
            return True
        if (first := self.first) and delivered < first:
            return False
        return (last := self.last) is None or delivered <= last

    @property
    def first(self) -> datetime | None:
        """The earliest delivery time of a file with an event of the period."""
        return shifted(self.since, -_EARLY)

    @property
    def last(self) -> datetime | None:
        """The latest delivery time of a file with an event of the period."""
        return shifted(self.until, LATE)


def shifted(time: datetime | None, by: timedelta) -> datetime | None:
    """Return `time` plus `by` in UTC. Return None (no bound) if `datetime` cannot represent it."""
    try:
        return (time + by).astimezone(UTC) if time else None
    except OverflowError:
        return None


@dataclass(frozen=True, slots=True)
class TrailFile:
    """A file that may hold records.

    Attributes:
        name: The path or URI, as shown in messages.
        size: The stored size in bytes, before unpacking.
        open: Returns the stored bytes as a file object, or raises S3CryptError.
    """

    name: str
    size: int
    open: Opener


def local_files(path: Path, period: Period, left_out: Callable[[str], None]) -> Iterator[TrailFile]:
    """Yield the trail files below a local folder, or the single file that the path names.

    Args:
        path: A folder or a file.
        period: Files delivered outside this period are skipped.
        left_out: Called with the name of each path that cannot be inspected, such as a link to a
            folder.

    Raises:
        LocalFileNotFoundError: The path does not exist.
        StorageError: The folder cannot be read.
    """
    if not path.exists():
        raise LocalFileNotFoundError(f"{path}: no such file or folder.", hint="Check the path.")
    if not path.is_dir():
        yield _local(path, path.stat().st_size)
        return
    for found in files_below(path, report=lambda each, _: left_out(str(each))):
        if not isinstance(found, FoundFile):
            left_out(str(found.path))
        elif _is_wanted(found.path.name, period):
            yield _local(found.path, found.size)


def _local(path: Path, size: int) -> TrailFile:
    return TrailFile(str(path), size, partial(_open_local, path))


def _open_local(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}.") from error


def files_in_bucket(objects: Objects, location: Location, period: Period) -> Iterator[TrailFile]:
    """Yield the trail files below a prefix of a bucket.

    If CloudTrail's layout is found below the prefix, only the days of the period are listed, for
    one account and Region at a time. Otherwise every object below the prefix is listed.

    Raises:
        StorageError: S3 refused a listing.
    """
    root = location
    if root.name and not root.name.endswith("/"):
        root = Location(root.bucket, f"{root.name}/")
    regions = _regions(objects, root)
    first = next(regions, None)
    if first is None:
        # The location is a prefix within the layout, a single file, or a prefix of copied files.
        for listed in objects.list(location):
            yield from _listed(objects, listed, period)
        return
    yield from _of_days(objects, first, period)
    for region in regions:
        yield from _of_days(objects, region, period)


def _regions(objects: Objects, root: Location) -> Iterator[Location]:
    """Yield the prefixes of Regions in CloudTrail's layout. `root` may be any level above them."""
    is_of_trail = root.name.endswith("CloudTrail/")
    for found in objects.list_level(root):
        if isinstance(found, ListedPrefix):
            below = Location.parse(found.uri)
            if is_of_trail:
                yield below
            elif _LEVELS.fullmatch(below.name.rstrip("/").rpartition("/")[2]):
                yield from _regions(objects, below)


def _of_days(objects: Objects, region: Location, period: Period) -> Iterator[TrailFile]:
    """Yield a Region's files of the period.

    S3 lists them by day, because names begin with the day.
    """
    after = f"{region.name}{_day(period.first)}" if period.first else ""
    last = f"{region.name}{_day(period.last)}~" if period.last else ""
    for listed in objects.list(region, after=after):
        if last and Location.parse(listed.uri).name > last:
            return
        yield from _listed(objects, listed, period)


def _day(time: datetime) -> str:
    return f"{time.date().isoformat().replace('-', '/')}/"


def _listed(objects: Objects, listed: ListedObject, period: Period) -> Iterator[TrailFile]:
    name = listed.uri.rpartition("/")[2]
    if _is_wanted(name, period):
        fetch = partial(_open_object, objects, Location.parse(listed.uri))
        yield TrailFile(listed.uri, listed.stored_size, fetch)


def _open_object(objects: Objects, location: Location) -> BinaryIO:
    return io.BufferedReader(ObjectStream.open(objects.client, location, {}, first=_FETCHED))


def _is_wanted(name: str, period: Period) -> bool:
    return name.endswith(_KINDS) and _DIGEST not in name and period.has(name)


def fetched(files: Iterable[TrailFile], is_far: Callable[[], bool]) -> Iterator[TrailFile]:
    """Yield the files in their order while other threads prefetch the files that follow.

    Args:
        files: Objects in S3.
        is_far: Returns whether S3 is far away. If it is, more files are prefetched in parallel.
    """
    pool = Pool(FAR)
    waiting: deque[tuple[TrailFile, Future[None], list[Opener]]] = deque()
    ahead = 0
    try:
        for file in files:
            opened: list[Opener] = []
            waiting.append((file, pool.submit(partial(_fetch, file, opened)), opened))
            ahead += file.size
            while waiting and (len(waiting) > (FAR if is_far() else NEAR) or ahead > _AHEAD):
                ahead -= waiting[0][0].size
                yield _ready(*waiting.popleft())
        while waiting:
            yield _ready(*waiting.popleft())
    finally:
        pool.close()


def _fetch(file: TrailFile, opened: list[Opener]) -> None:
    if file.size > _FETCHED:
        opened.append(file.open)
        return
    try:
        with closing(file.open()) as source:
            data = source.read()
    except S3CryptError as error:
        opened.append(partial(_fail, error))
    else:
        opened.append(lambda: io.BytesIO(data))


def _fail(error: S3CryptError) -> BinaryIO:
    raise error


def _ready(file: TrailFile, done: Future[None], opened: list[Opener]) -> TrailFile:
    done.result()
    return TrailFile(file.name, file.size, opened[0])
