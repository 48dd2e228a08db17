# SPDX-License-Identifier: Apache-2.0
"""List versions, describe listed objects, and sum up their sizes.

A listing does not show the mode or the plaintext size. `describe_listed` makes a request per object
for both. It makes no demands: it also describes objects that a read would refuse.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from s3crypt import formats, s3ec
from s3crypt import metadata as entries
from s3crypt.aws_errors import http_status, is_for_all
from s3crypt.buckets import Contents
from s3crypt.errors import ObjectNotFoundError, StorageError
from s3crypt.location import Location
from s3crypt.modes import SSEC, ClientSide, Mode
from s3crypt.requests import call, pages
from s3crypt.transfer.conditions import bare_etag, head

from .access import ListedObject, ListedPrefix, Objects
from .info import ObjectInfo, describe_head, describe_plain, version_of
from .opened import Neighbour, ReadOptions, read_arguments

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

# The version id of the null version in requests. A request without a version id is for the current
# version.
_NULL = "null"


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version of an object, or a delete marker, as S3 lists it.

    Attributes:
        uri: The object's URI.
        version_id: The version id. None for the version that S3 calls `null`, which was written
            while the bucket had no versioning.
        is_latest: Whether this is the current version.
        is_delete_marker: Whether this is a delete marker. A delete marker has no bytes.
        stored_size: The number of bytes that S3 stores.
        etag: The ETag, without quotes. It identifies the content. Empty for a delete marker.
        last_modified: The time at which the version was stored.
        storage_class: The storage class.
    """

    uri: str
    version_id: str | None
    is_latest: bool
    last_modified: datetime
    is_delete_marker: bool = False
    stored_size: int = 0
    etag: str = ""
    storage_class: str = "STANDARD"


Described: TypeAlias = (
    ListedObject | ListedPrefix | ListedVersion | tuple[ListedObject, Neighbour | None]
)
"""An entry of a listing, or an item of `list_with_neighbours`."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The number of objects below a prefix, and the sum of their bytes.

    Attributes:
        uri: The URI of the prefix.
        objects: The number of objects, or of versions if all versions are counted.
        stored_size: The number of bytes that S3 stores.
        size: The plaintext bytes of all objects whose plaintext size is known. None if the objects
            were not inspected.
        unknown: The number of objects whose plaintext size is unknown.
        delete_markers: The number of delete markers, if all versions are counted.
    """

    uri: str
    objects: int = 0
    stored_size: int = 0
    size: int | None = None
    unknown: int = 0
    delete_markers: int = 0


def versions(client: "S3Client", location: Location) -> Iterator[ListedVersion]:
    """Yield versions and delete markers of objects whose URI begins with the URI of `location`.

    The names are in S3's order. The versions of one name are yielded from the newest to the oldest.
    """
    for found in _versions(client, location):
        if isinstance(found, ListedVersion):
            yield found


def versions_with_neighbours(
    client: "S3Client", location: Location
) -> Iterator[tuple[ListedVersion, Neighbour | None]]:
    """Yield the versions that `versions` yields, each with its `Neighbour`. Omit delete markers.

    The neighbour counts as present if any version of it exists, even behind a delete marker.
    """
    found = (version for version in versions(client, location) if not version.is_delete_marker)
    for version, is_there in s3ec.with_neighbours(
        found, lambda item: Location.parse(item.uri).name
    ):
        yield version, None if is_there is None else Neighbour(version.etag, is_there)


def versions_level(
    client: "S3Client", location: Location
) -> Iterator[ListedVersion | ListedPrefix]:
    """Yield the versions and prefixes directly below `location`.

    Names with a further slash are combined into one `ListedPrefix` per common prefix.
    """
    return _versions(client, location, Delimiter="/")


def _versions(
    client: "S3Client", location: Location, **arguments: str
) -> Iterator[ListedVersion | ListedPrefix]:
    request = {"Bucket": location.bucket, "Prefix": location.name, **arguments}
    for page in pages(client, "list_object_versions", request, str(location)):
        found: list[ListedVersion | ListedPrefix] = [
            *(_version(location, entry) for entry in page.get("Versions", ())),
            *(_marker(location, entry) for entry in page.get("DeleteMarkers", ())),
            *(
                ListedPrefix(str(Location(location.bucket, common["Prefix"])))
                for common in page.get("CommonPrefixes", ())
            ),
        ]
        yield from sorted(found, key=_by_name_then_age)


def _version(location: Location, entry: Mapping[str, Any]) -> ListedVersion:
    return ListedVersion(
        uri=str(Location(location.bucket, entry["Key"])),
        version_id=version_of(entry),
        is_latest=bool(entry.get("IsLatest")),
        last_modified=entry["LastModified"],
        stored_size=entry["Size"],
        etag=bare_etag(entry["ETag"]),
        storage_class=entry.get("StorageClass", "STANDARD"),
    )


def _marker(location: Location, entry: Mapping[str, Any]) -> ListedVersion:
    return ListedVersion(
        uri=str(Location(location.bucket, entry["Key"])),
        version_id=version_of(entry),
        is_latest=bool(entry.get("IsLatest")),
        last_modified=entry["LastModified"],
        is_delete_marker=True,
    )


def _by_name_then_age(found: ListedVersion | ListedPrefix) -> tuple[bytes, float, bool]:
    if isinstance(found, ListedPrefix):
        return found.uri.encode(), 0.0, False
    return found.uri.encode(), -found.last_modified.timestamp(), not found.is_latest


def contents_of(client: "S3Client", bucket: str) -> Contents:
    """Return the contents of a bucket, as far as the first page of each kind shows them."""
    subject, where = f"s3://{bucket}", {"Bucket": bucket}
    objects = call(client, "list_objects_v2", where, subject)
    everything = call(client, "list_object_versions", where, subject)
    begun = call(client, "list_multipart_uploads", where, subject)
    pages_of = {
        "objects": objects,
        "versions and delete markers": everything,
        "unfinished uploads": begun,
    }
    return Contents(
        objects=len(objects.get("Contents", ())),
        versions=len(everything.get("Versions", ())) + len(everything.get("DeleteMarkers", ())),
        uploads=len(begun.get("Uploads", ())),
        is_more=frozenset(kind for kind, page in pages_of.items() if page.get("IsTruncated")),
    )


def exists(objects: Objects, location: Location, version_id: str | None) -> bool:
    """Return whether an object, or the version with this id, exists; see `S3Crypt.exists`."""
    version = {"VersionId": version_id} if version_id else {}
    try:
        head(objects.client, location, version)
    except ObjectNotFoundError:
        return False
    except StorageError as error:
        status = http_status(error)
        if status == HTTPStatus.METHOD_NOT_ALLOWED and version_id:
            return False  # The version is a delete marker.
        if status == HTTPStatus.BAD_REQUEST and not version_id:
            # S3 requires the customer key for a HEAD of an SSE-C object. A listing needs no key.
            return objects.exists(location)
        raise
    return True


def describe_listed(objects: Objects, item: Described, mode: Mode | None) -> ObjectInfo | None:
    """Return the facts about a listed object. Return None for a prefix or a delete marker.

    An object in another mode than `mode` is described too. The plaintext size is None for an SSE-C
    object whose key was not given, and for some archived objects.

    Raises:
        ObjectNotFoundError: The object was deleted since it was listed.
        StorageError: S3 refused or failed.
        FormatError, IntegrityError: The object is encrypted client-side and cannot be read.
    """
    entry, neighbour = item if isinstance(item, tuple) else (item, None)
    if isinstance(entry, ListedPrefix):
        return None
    version_id = None
    if isinstance(entry, ListedVersion):
        if entry.is_delete_marker:
            return None
        version_id = entry.version_id or _NULL
    location = Location.parse(entry.uri)
    key = mode if isinstance(mode, SSEC) else None
    refusal: StorageError | None = None
    for tried in (key, None) if key else (None,):
        try:
            return _looked(objects, location, ReadOptions(tried, version_id, neighbour=neighbour))
        except StorageError as error:
            if http_status(error) != HTTPStatus.BAD_REQUEST or is_for_all(error):
                raise
            refusal = refusal or error
    if refusal is None:
        raise AssertionError("unreachable: an attempt succeeded or was refused")
    return _under_customer_key(objects, entry, location, version_id, refusal)


def _looked(objects: Objects, location: Location, read_options: ReadOptions) -> ObjectInfo:
    try:
        return objects.look(location, read_options)
    except StorageError as error:
        if error.code != "InvalidObjectState":
            raise
    # The bytes of an archived object cannot be fetched, but its headers can.
    reply = head(
        objects.client, location, read_arguments(read_options.mode, read_options.version_id)
    )
    info = describe_head(location, reply)
    if info is None:
        info = describe_plain(location, reply)
        if formats.claims_client_side(entries.of_reply(reply)):
            info = replace(info, mode=ClientSide.name, size=None)
    return info


def _under_customer_key(
    objects: Objects,
    entry: ListedObject | ListedVersion,
    location: Location,
    version_id: str | None,
    refusal: StorageError,
) -> ObjectInfo:
    """Return the facts that the listing shows about an object if S3 requires a customer key for it.

    For any other object, raise `refusal`.
    """
    try:
        head(objects.client, location, {"VersionId": version_id} if version_id else {})
    except StorageError as error:
        # S3 has several reasons to reply 400 to a GET, but only one to reply 400 to a HEAD: the
        # missing customer key.
        is_key_missing = http_status(error) == HTTPStatus.BAD_REQUEST
    else:
        is_key_missing = False
    if not is_key_missing:
        raise refusal
    return ObjectInfo(
        uri=entry.uri,
        mode=SSEC.name,
        size=None,
        stored_size=entry.stored_size,
        etag=entry.etag,
        version_id=None if version_id == _NULL else version_id,
        last_modified=entry.last_modified,
        storage_class=entry.storage_class,
    )


Sized: TypeAlias = tuple[ListedObject | ListedVersion, int | None]
"""An entry of a listing with its plaintext size. The size is None if it is unknown."""


def summed(found: Iterable[Sized], root: str, *, depth: int, is_inspected: bool) -> Iterator[Usage]:
    """Yield the usage of each prefix up to `depth` levels below `root`, and finally of `root`.

    A prefix is yielded when the listing leaves it, so it comes before the prefix that contains it.
    Memory holds one sum per level.

    Args:
        found: Entries in the order of a listing, each with its plaintext size.
        root: The prefix that was listed.
        depth: The number of levels. 0 yields only `root`.
        is_inspected: Whether the plaintext sizes in `found` were determined.
    """
    zero = 0 if is_inspected else None
    open_sums = [Usage(root, size=zero)]
    for entry, size in found:
        # A level adds one path segment: `root` + "a/", then `root` + "a/" + "b/".
        levels = _levels(entry.uri, root, depth)
        while [each.uri for each in open_sums[1:]] != levels[: len(open_sums) - 1]:
            yield open_sums.pop()
        open_sums += [Usage(level, size=zero) for level in levels[len(open_sums) - 1 :]]
        open_sums = [_plus(each, entry, size) for each in open_sums]
    while open_sums:
        yield open_sums.pop()


def _levels(uri: str, root: str, depth: int) -> list[str]:
    """Return the prefixes below `root` that contain an object, the shortest first."""
    rest = uri[len(root) :].split("/")[:-1][:depth]
    return [f"{root}{''.join(f'{part}/' for part in rest[: n + 1])}" for n in range(len(rest))]


def _plus(usage: Usage, entry: ListedObject | ListedVersion, size: int | None) -> Usage:
    if isinstance(entry, ListedVersion) and entry.is_delete_marker:
        return replace(usage, delete_markers=usage.delete_markers + 1)
    known = usage.size is not None and size is not None
    return replace(
        usage,
        objects=usage.objects + 1,
        stored_size=usage.stored_size + entry.stored_size,
        size=usage.size + size if usage.size is not None and size is not None else usage.size,
        unknown=usage.unknown + (usage.size is not None and not known),
    )
