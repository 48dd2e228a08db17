# SPDX-License-Identifier: Apache-2.0
"""The versions of objects in a scope: from a listing, or from an S3 Inventory.

A place that cannot be read to its end is noted in the tally, and does not end the walk.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
from s3crypt.objects.access import ListedVersion, Objects
from s3crypt.objects.opened import Neighbour
from s3crypt.objects.sightings import Candidate, Sighting, is_archived
from s3crypt.objects.uploads import unfinished_uploads

from .tallying import Tally

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
    def uri(self) -> str:
        """The URI of the manifest."""
        return str(self.manifest.location)


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket or a prefix whose objects are looked at.

    Attributes:
        location: The bucket and the prefix.
        objects: The engine for objects in the bucket's Region.
        inventory: The inventory that replaces the listing; None to list.
    """

    location: Location
    objects: Objects
    inventory: Inventory | None = None

    @property
    def region(self) -> str:
        """The bucket's Region."""
        return str(self.objects.client.meta.region_name)


@dataclass(frozen=True, slots=True)
class Item:
    """A version of an object.

    Attributes:
        candidate: The version.
        objects: The engine for objects in its bucket's Region.
        is_latest: Whether the version is the current one.
        size: The number of stored bytes; None if the inventory does not have it.
        seen: The facts that the inventory has; None if the object must be looked at.
    """

    candidate: Candidate
    objects: Objects
    is_latest: bool
    size: int | None
    seen: Sighting | None = None

    @property
    def name(self) -> str:
        """The URI of the object, with the id of a version that is not the current one."""
        version = "" if self.is_latest else f" version {self.candidate.version_id}"
        return f"{self.candidate.location}{version}"


@dataclass(slots=True)
class Sources:
    """Finds the versions in all places.

    Attributes:
        places: The places.
        tally: Gets the places that could not be read to their end.
        has_customer_keys: Whether SSE-C objects are looked at. Without their keys, S3 shows no more
            than an inventory does.
        now: The time at which the walk began.
        reservoir: Draws a sample; None to look at every version.
        sizes: The sizes of all versions that were found, if a sample is drawn.
        oldest: The creation time of the oldest inventory; None without an inventory.
    """

    places: tuple[Place, ...]
    tally: Tally
    has_customer_keys: bool
    now: datetime
    reservoir: Reservoir[Item] | None = None
    sizes: Sizes = field(default_factory=Sizes)
    unsized: int = 0
    oldest: datetime | None = None

    def items(self) -> Iterator[Item]:
        """Yield the versions to look at.

        Raises:
            S3CryptError: The error would fail every other request too.
        """
        for place in self.places:
            try:
                yield from self._kept(self._of(place))
                self._count_uploads(place)
            except S3CryptError as error:
                if isinstance(error, ConfigError) or ends_everything(error):
                    raise
                self._give_up(place, error)
        if self.reservoir is not None:
            yield from self.reservoir.items

    def _kept(self, found: Iterator[Item]) -> Iterator[Item]:
        """Yield all versions, or offer them to the sample and yield nothing."""
        if self.reservoir is None:
            yield from found
            return
        for item in found:
            if item.size is None:
                self.unsized += 1
            else:
                self.sizes.add(item.size)
            for _ in self.reservoir.places(1):
                self.reservoir.put(item)

    def _of(self, place: Place) -> Iterator[Item]:
        if place.inventory is not None:
            yield from self._of_inventory(place, place.inventory)
        elif place.location.is_in_directory_bucket:
            # Directory buckets have no versions.
            for listed, neighbour in place.objects.list_with_neighbours(place.location):
                version = ListedVersion(
                    Location.parse(listed.uri),
                    _UNVERSIONED,
                    True,
                    listed.stored_size,
                    listed.etag,
                    listed.storage_class,
                )
                yield _item(place, version, neighbour)
        else:
            for version, neighbour in place.objects.versions(place.location):
                yield _item(place, version, neighbour)

    def _count_uploads(self, place: Place) -> None:
        """Count the unfinished uploads, whose key no request shows."""
        try:
            for upload in unfinished_uploads(place.objects.client, place.location):
                name = f"{upload.uri} upload {upload.upload_id}"
                self.tally.add_unknown("upload", _UPLOADS, name)
        except StorageError as error:
            if isinstance(error, ObjectNotFoundError) or http_status(error) != 403:
                raise
            self.tally.add_unknown(
                "bucket",
                "its unfinished uploads may not be listed",
                str(place.location),
                denied=("s3:ListBucketMultipartUploads",),
            )

    def _give_up(self, place: Place, error: S3CryptError) -> None:
        """Note that a place could not be read to its end."""
        uri = str(place.location)
        if isinstance(error, ObjectNotFoundError):
            self.tally.fail(uri, VANISHED, "storage")
        elif http_status(error) == 403:
            hidden = "S3 refuses to list it"
            self.tally.add_unknown("bucket", hidden, uri, denied=_LIST_ACTIONS)
        else:
            self.tally.fail(uri, without_subject(error, uri), "storage")

    # --- inventories -----------------------------------------------------------------------------

    def _of_inventory(self, place: Place, inventory: Inventory) -> Iterator[Item]:
        self._check_age(inventory)
        manifest, uri = inventory.manifest, inventory.uri
        item = self._row_item(place, inventory)
        for found in readable_batches(inventory.objects, manifest, place.location.name):
            if isinstance(found, Unreadable):
                why = f"the part {found.part} cannot be used: {found.why}"
                self.tally.fail(uri, why, "integrity" if found.is_damaged else "storage")
            else:
                yield from map(item, found.rows())

    def _check_age(self, inventory: Inventory) -> None:
        """Note the reasons why an inventory may lack versions of objects."""
        created = inventory.manifest.created
        self.oldest = min(self.oldest or created, created)
        if self.now - created > MAX_AGE:
            hidden = f"it is of {created:%Y-%m-%d}: newer objects are not in it"
            self.tally.add_unknown("inventory", hidden, inventory.uri)
        if not inventory.manifest.parts:
            self.tally.add_unknown("inventory", "it has no parts", inventory.uri)

    def _row_item(self, place: Place, inventory: Inventory) -> Callable[[Row], Item]:
        is_checked = False

        def item(row: Row) -> Item:
            nonlocal is_checked
            if row.version_id is None and not is_checked:
                is_checked = True
                self._check_versioning(place, inventory)
            at = Location(place.location.bucket, row.name)
            version = None if row.is_latest and row.version_id == _UNVERSIONED else row.version_id
            candidate = Candidate(at, version, row.etag, None, is_archived(row.storage_class))
            return Item(
                candidate, place.objects, row.is_latest, getattr(row, "size", None), self._seen(row)
            )

        return item

    def _check_versioning(self, place: Place, inventory: Inventory) -> None:
        """Note that an inventory of current versions lacks the others, if there may be any."""
        bucket = place.location.bucket
        try:
            status = configuration.read(place.objects.client, bucket, Versioning).status
        except StorageError:
            status = "unknown"
        if status is not None:
            hidden = "it lists current versions only, and the bucket has had versioning"
            self.tally.add_unknown("inventory", hidden, inventory.uri)

    def _seen(self, row: Row) -> Sighting | None:
        """Return the facts in a row if a request would show no more."""
        if mode_of(row.status) == SSEC.name and not self.has_customer_keys:
            return Sighting(server_mode=SSEC.name, size=getattr(row, "size", None))
        return None


def _item(place: Place, version: ListedVersion, neighbour: Neighbour | None) -> Item:
    # The id `null` needs a permission of its own, and is not needed for a current version.
    is_plain = version.is_latest and version.version_id == _UNVERSIONED
    candidate = Candidate(
        version.location,
        None if is_plain else version.version_id,
        version.etag,
        neighbour,
        is_archived(version.storage_class),
    )
    return Item(candidate, place.objects, version.is_latest, version.stored_size)
