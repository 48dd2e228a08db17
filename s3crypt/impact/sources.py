# SPDX-License-Identifier: Apache-2.0
"""The versions of objects in a scope: from a listing, an S3 Inventory, or an S3 Metadata table.

If a place cannot be read to its end, the tally gets a failure or an unknown item, and the walk
continues with the next place.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus

from s3crypt.aws_errors import ends_everything, http_status
from s3crypt.buckets import configuration
from s3crypt.buckets.settings import Versioning
from s3crypt.errors import (
    ConfigError,
    ObjectNotFoundError,
    S3CryptError,
    StorageError,
)
from s3crypt.inventories import (
    Amount,
    Batch,
    Export,
    Group,
    Manifest,
    Reservoir,
    Row,
    Sizes,
    Unreadable,
    mode_of,
    readable_batches,
    without_subject,
)
from s3crypt.location import Location
from s3crypt.modes import SSEC
from s3crypt.objects.access import ListedObject, Objects
from s3crypt.objects.listing import ListedVersion, versions_with_neighbours
from s3crypt.objects.opened import Neighbour
from s3crypt.objects.sightings import Candidate, Sighting, is_archived
from s3crypt.objects.uploads import unfinished_uploads

from .tallying import Tally
from .target import Target

MAX_AGE = timedelta(hours=24)
"""The age of an inventory beyond which newer objects count as not looked at."""

VANISHED = "the bucket vanished while it was looked at"

_UNVERSIONED = "null"
_LIST_ACTIONS = ("s3:ListBucketVersions",)
_UPLOADS = "S3 does not show under which key an unfinished upload is"


@dataclass(frozen=True, slots=True)
class Inventory:
    """An S3 Inventory report.

    Attributes:
        manifest: The report's manifest.
        objects: The engine for objects in the Region of the manifest's bucket.
    """

    manifest: Manifest
    objects: Objects

    @property
    def source(self) -> str:
        """The URI of the manifest."""
        return str(self.manifest.location)

    @property
    def until(self) -> datetime:
        """The creation time of the report. Versions that were stored later are missing."""
        return self.manifest.created

    def flaws(self) -> Iterator[str]:
        """Yield the reasons why versions may be missing, as clauses."""
        yield "its configuration may name a prefix: a manifest does not tell which objects it omits"
        if not self.manifest.parts:
            yield "it has no parts"

    def batches(self, location: Location) -> Iterator[Batch | Unreadable]:
        """Yield the rows below a prefix, and an `Unreadable` for each part that cannot be read."""
        return readable_batches(self.objects, self.manifest, location.name)


@dataclass(frozen=True, slots=True)
class MetadataTable:
    """An export of the inventory table of S3 Metadata. It has been read to its end once.

    Attributes:
        export: The export.
    """

    export: Export

    @property
    def source(self) -> str:
        """The path or URI of the export."""
        return self.export.source

    @property
    def until(self) -> datetime:
        """The time from which stored versions may be missing."""
        return self.export.covers_until

    def flaws(self) -> Iterator[str]:
        """Yield the reasons why versions may be missing, as clauses."""
        yield "an export has no checksums: a missing file is not noticed"

    def batches(self, location: Location) -> Iterator[Batch | Unreadable]:
        """Yield the rows below a prefix."""
        return self.export.batches(bucket=location.bucket, prefix=location.name)


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket or a prefix whose objects are examined.

    Attributes:
        location: The bucket and the prefix.
        objects: The engine for objects in the bucket's Region.
        table: The inventory or the export that is read instead of a listing. None to list the
            bucket.
    """

    location: Location
    objects: Objects
    table: Inventory | MetadataTable | None = None

    @property
    def region(self) -> str:
        """The bucket's Region."""
        return str(self.objects.client.meta.region_name)


@dataclass(frozen=True, slots=True)
class Item:
    """A version of an object, with the facts that the listing or the inventory has about it.

    Attributes:
        candidate: The version.
        objects: The engine for objects in the bucket's Region.
        is_latest: Whether the version is known to be the current version.
        size: The number of stored bytes. None if the inventory does not contain it.
        seen: The facts that decide about the version, taken from the inventory. None if the object
            must be examined.
    """

    candidate: Candidate
    objects: Objects
    is_latest: bool
    size: int | None
    seen: Sighting | None = None

    @property
    def name(self) -> str:
        """The URI of the object. For a version that is not current, the version id follows."""
        version = "" if self.is_latest else f" version {self.candidate.version_id}"
        return f"{self.candidate.location}{version}"


@dataclass(frozen=True, slots=True)
class Settled:
    """Rows of an inventory that are decided without a request: it would show no further facts.

    Attributes:
        seen: The facts, which are the same for all of the versions.
        amount: The number of the versions, and their bytes.
        items: Yields the versions.
    """

    seen: Sighting
    amount: Amount
    items: Callable[[], Iterator[Item]]


@dataclass(slots=True)
class Sources:
    """Finds the versions in all places.

    Attributes:
        places: The places.
        target: The key.
        tally: Receives the places that could not be read to their end.
        settle: Is called with rows of an inventory that are decided without a request.
        has_customer_keys: Whether the caller gave SSE-C keys. Without a key, S3 shows no more about
            an SSE-C object than an inventory does, so the object is not examined.
        now: The time at which the walk began.
        reservoir: Draws a sample. None to examine every version.
        sizes: If a sample is drawn, the sizes of all versions that were found.
        unsized: If a sample is drawn, the number of versions without a known size.
        oldest: The `until` of the oldest inventory. None if no inventory was read.
        checked: The sources of the inventories that `_check_versions` has checked.
    """

    places: tuple[Place, ...]
    target: Target
    tally: Tally
    settle: Callable[[Settled], None]
    has_customer_keys: bool
    now: datetime
    reservoir: Reservoir[Item] | None = None
    sizes: Sizes = field(default_factory=Sizes)
    unsized: int = 0
    oldest: datetime | None = None
    checked: set[str] = field(default_factory=set)

    def items(self) -> Iterator[Item]:
        """Yield the versions to examine: all versions in the places, or a sample of them.

        Raises:
            S3CryptError: The request failed for a reason that would make every other request fail,
                too.
        """
        for place in self.places:
            try:
                yield from self._of(place)
                self._count_uploads(place)
            except S3CryptError as error:
                if isinstance(error, ConfigError) or ends_everything(error):
                    raise
                self._give_up(place, error)
        if self.reservoir is not None:
            yield from self.reservoir.items

    def _of(self, place: Place) -> Iterator[Item]:
        if place.table is not None:
            yield from self._of_table(place, place.table)
            return
        listed = _listed(place)
        if self.reservoir is None:
            yield from listed
            return
        for item in listed:
            self.sizes.add(item.size or 0)
            for _ in self.reservoir.places(1):
                self.reservoir.put(item)

    def _count_uploads(self, place: Place) -> None:
        """Count the unfinished uploads as unknown: no request shows the key of an upload."""
        try:
            for upload in unfinished_uploads(place.objects.client, place.location):
                name = f"{upload.uri} upload {upload.upload_id}"
                self.tally.add_unknown("upload", _UPLOADS, name)
        except StorageError as error:
            if isinstance(error, ObjectNotFoundError) or http_status(error) != HTTPStatus.FORBIDDEN:
                raise
            self.tally.add_unknown(
                "bucket",
                "its unfinished uploads may not be listed",
                str(place.location),
                denied=("s3:ListBucketMultipartUploads",),
            )

    def _give_up(self, place: Place, error: S3CryptError) -> None:
        """Add an unknown item or a failure for a place that could not be read to its end."""
        uri = str(place.location)
        if http_status(error) == HTTPStatus.FORBIDDEN:
            hidden = "S3 refuses to list it"
            self.tally.add_unknown("bucket", hidden, uri, denied=_LIST_ACTIONS)
        else:
            self.tally.fail(uri, reason_of(error, uri), "storage")

    # --- inventories and metadata tables ---------------------------------------------------------

    def _of_table(self, place: Place, table: Inventory | MetadataTable) -> Iterator[Item]:
        self._check_table(table)
        for found in table.batches(place.location):
            if isinstance(found, Unreadable):
                why = f"the part {found.part} cannot be used: {found.why}"
                is_damaged = found.is_damaged
                self.tally.fail(table.source, why, "integrity" if is_damaged else "storage")
                continue
            if isinstance(table, Inventory):
                self._check_versions(place, table, found)
            if self.reservoir is None:
                yield from self._of_batch(place, found)
            else:
                self._draw(place, found, self.reservoir)

    def _of_batch(self, place: Place, batch: Batch) -> Iterator[Item]:
        """Yield the rows that must be examined, and pass the other groups of rows to `settle`."""
        for group, amount in batch.groups().items():
            seen = self._seen(group.status, group.kms_key)
            items = partial(_rows, place, batch, group, seen)
            if seen is None:
                yield from items()
            else:
                self.settle(Settled(seen, amount, items))

    def _draw(self, place: Place, batch: Batch, reservoir: Reservoir[Item]) -> None:
        """Offer all rows of a batch to the sample, and add their sizes to `sizes`."""
        sizes = batch.sizes()
        self.sizes.update(sizes)
        self.unsized += batch.count - sizes.count
        for index in reservoir.places(batch.count):
            row = next(batch.take([index]))
            reservoir.put(_row_item(place, row, self._seen(row.status, row.kms_key)))

    def _check_table(self, table: Inventory | MetadataTable) -> None:
        """Add the reasons why a table may lack versions of objects to the tally."""
        self.oldest = min(self.oldest or table.until, table.until)
        if self.now - table.until > MAX_AGE:
            hidden = f"it is of {table.until:%Y-%m-%d}: newer objects are not in it"
            self.tally.add_unknown("inventory", hidden, table.source)
        for flaw in table.flaws():
            self.tally.add_unknown("inventory", flaw, table.source)

    def _check_versions(self, place: Place, inventory: Inventory, batch: Batch) -> None:
        """Add an unknown item once if noncurrent versions may be missing from an inventory.

        This is the case if the inventory lists only current versions, and the bucket has or may
        have versioning.
        """
        if inventory.source in self.checked or not batch.count:
            return
        self.checked.add(inventory.source)
        if next(batch.take([0])).version_id is not None:
            return
        try:
            bucket = place.location.bucket
            status = configuration.read(place.objects.client, bucket, Versioning).status
        except StorageError:
            status = "unknown"
        if status is not None:
            hidden = "it lists current versions only, and the bucket may have others"
            self.tally.add_unknown("inventory", hidden, inventory.source)

    def _seen(self, status: str | None, kms_key: str | None) -> Sighting | None:
        """Return the facts in a row if they decide. Return None if the object must be examined."""
        mode = mode_of(status)
        if kms_key is not None and self.target.is_named_by(kms_key):
            return Sighting(server_mode=mode, kms_key=kms_key)
        if mode == SSEC.name and not self.has_customer_keys:
            return Sighting(server_mode=mode)
        return None


def reason_of(error: S3CryptError, bucket: str) -> str:
    """Return the reason why a bucket could not be examined to its end."""
    if isinstance(error, ObjectNotFoundError) or error.code == "NoSuchBucket":
        return VANISHED
    return without_subject(error, bucket)


def _listed(place: Place) -> Iterator[Item]:
    """Yield the versions that S3 lists. In a directory bucket, yield the objects."""
    if not place.location.is_in_directory_bucket:
        client = place.objects.client
        for version, neighbour in versions_with_neighbours(client, place.location):
            # A request with the version id `null` needs another permission. The current version can
            # be requested without the id.
            null = None if version.is_latest else _UNVERSIONED
            yield _item(place, version, version.version_id or null, neighbour)
        return
    for listed, neighbour in place.objects.list_with_neighbours(place.location):
        yield _item(place, listed, None, neighbour)


def _rows(place: Place, batch: Batch, group: Group, seen: Sighting | None) -> Iterator[Item]:
    return (_row_item(place, row, seen) for row in batch.of_group(group))


def _row_item(place: Place, row: Row, seen: Sighting | None) -> Item:
    at = Location(place.location.bucket, row.name)
    is_plain = row.is_latest and row.version_id == _UNVERSIONED
    version = None if is_plain else row.version_id
    archived = is_archived(row.storage_class)
    candidate = Candidate(at, version, row.etag, None, archived, is_plain)
    return Item(candidate, place.objects, row.is_latest, row.size, seen)


def _item(
    place: Place,
    listed: ListedObject | ListedVersion,
    version_id: str | None,
    neighbour: Neighbour | None,
) -> Item:
    candidate = Candidate(
        Location.parse(listed.uri),
        version_id,
        listed.etag,
        neighbour,
        is_archived(listed.storage_class),
        isinstance(listed, ListedVersion) and version_id is None,
    )
    is_latest = not isinstance(listed, ListedVersion) or listed.is_latest
    return Item(candidate, place.objects, is_latest, listed.stored_size)
