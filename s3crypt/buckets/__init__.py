# SPDX-License-Identifier: Apache-2.0
"""Creates, lists and deletes buckets.

The modules of this package read and write their settings. No other package makes requests about
buckets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from s3crypt.aws_errors import http_status
from s3crypt.errors import ConfigError, ConflictError, ObjectNotFoundError, StorageError
from s3crypt.requests import Attempts, Reply, call, pages

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_DENIED = frozenset({"403", "AccessDenied"})
# Error codes of a service that does not support Object Lock, or for a bucket without Object Lock.
NO_SUCH_SETTING = frozenset(
    {"InvalidArgument", "InvalidRequest", "MethodNotAllowed", "NotImplemented"}
)


@dataclass(frozen=True, slots=True)
class ListedBucket:
    """A bucket as S3 lists it.

    Attributes:
        name: The bucket's name.
        created: The time at which the bucket was created; None if the service does not report it.
    """

    name: str
    created: datetime | None


def listed(client: "S3Client") -> Iterator[ListedBucket]:
    """Yield all buckets of the caller's account."""
    # Without MaxBuckets, S3 refuses the request of an account with more than 10,000 buckets.
    for page in pages(client, "list_buckets", {"MaxBuckets": 1000}, "the list of buckets"):
        for bucket in page["Buckets"]:
            yield ListedBucket(str(bucket["Name"]), bucket.get("CreationDate"))


def names(client: "S3Client") -> Iterator[str]:
    """Yield the names of all buckets of the caller's account."""
    return (bucket.name for bucket in listed(client))


def directory_names(client: "S3Client") -> Iterator[str]:
    """Yield the names of the account's directory buckets in the client's Region.

    A server that does not support this operation may return its other buckets.

    Raises:
        StorageError: S3 refused, or S3 Express One Zone cannot be reached.
    """
    subject = "the list of directory buckets"
    for page in pages(client, "list_directory_buckets", {"MaxDirectoryBuckets": 1000}, subject):
        for bucket in page.get("Buckets") or ():
            yield str(bucket["Name"])


def inventory_destinations(client: "S3Client", bucket: str) -> tuple[str, ...]:
    """Return the KMS keys of a bucket's S3 Inventory reports, by the names that S3 was given.

    Raises:
        StorageError: S3 refused.
    """
    request = {"Bucket": bucket}
    keys: list[str] = []
    subject = f"s3://{bucket} (inventories)"
    for page in pages(client, "list_bucket_inventory_configurations", request, subject):
        for each in page.get("InventoryConfigurationList") or ():
            encryption = each["Destination"]["S3BucketDestination"].get("Encryption") or {}
            key = (encryption.get("SSEKMS") or {}).get("KeyId")
            keys += [str(key)] if key else []
    return tuple(keys)


def create(client: "S3Client", bucket: str) -> None:
    """Create a bucket in the client's Region.

    Raises:
        StorageError: S3 refused, for example because the name is taken.
    """
    region = client.meta.region_name
    where = {} if region in ("us-east-1", "aws-global") else {"LocationConstraint": region}
    request = {"Bucket": bucket, **({"CreateBucketConfiguration": where} if where else {})}
    look = partial(_created, client, bucket)
    call(client, "create_bucket", request, f"s3://{bucket}", look=look)


def make(client: "S3Client", bucket: str) -> bool:
    """Create a bucket in the client's Region. Return False if the caller already has it there.

    Raises:
        ConfigError: S3 does not accept the name.
        StorageError: The name is taken by another account, or the caller's bucket of this name is
            in another Region; or S3 refused for another reason.
    """
    subject = f"s3://{bucket}"
    try:
        # List the buckets first: in us-east-1, S3 reports success for a bucket that the caller
        # already has.
        if any(found == bucket for found in _names_or_none(client)):
            return _check_region(client, bucket)
        create(client, bucket)
    except StorageError as error:
        if error.code == "BucketAlreadyOwnedByYou":
            return _check_region(client, bucket)
        if error.code == "InvalidBucketName":
            raise ConfigError(
                f"{subject}: S3 does not accept this bucket name.", hint=_NAMES
            ) from (error.__cause__)
        if error.code != "BucketAlreadyExists":
            raise
        raise StorageError(
            f"{subject}: another account has a bucket of this name.",
            hint="Choose another name: bucket names are unique across all accounts.",
            code=error.code,
            request_id=error.request_id,
        ) from error.__cause__
    return True


_NAMES = "3 to 63 lower-case letters, digits, hyphens and dots."


def _names_or_none(client: "S3Client") -> Iterator[str]:
    try:
        yield from names(client)
    except StorageError as error:
        if error.code not in _DENIED:
            raise


def _check_region(client: "S3Client", bucket: str) -> bool:
    """Return False for the caller's existing bucket.

    Refuse the bucket if it is in another Region.
    """
    from .configuration import home_of  # noqa: PLC0415 - it imports this package

    home = home_of(client, bucket)
    if home is not None and home != client.meta.region_name:
        raise StorageError(
            f"s3://{bucket}: this bucket already belongs to you, in {home}.",
            hint="A bucket cannot change its Region. Choose another name.",
            code="BucketAlreadyOwnedByYou",
        )
    return False


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents that prevent the removal of a bucket, counted up to 1,000 per kind.

    Attributes:
        objects: The number of current objects.
        versions: The number of all versions and delete markers.
        uploads: The number of unfinished multipart uploads.
        is_more: The kinds (such as `versions`) of which the bucket has more.
    """

    objects: int
    versions: int
    uploads: int
    is_more: frozenset[str]


def remove(client: "S3Client", bucket: str, contents: Contents) -> None:
    """Delete a bucket, or refuse if it is not empty.

    Raises:
        ConflictError: The bucket has objects, versions or uploads.
        ObjectNotFoundError: The bucket does not exist.
        StorageError: S3 refused or failed.
    """
    if contents.objects or contents.versions or contents.uploads:
        raise ConflictError(
            f"s3://{bucket} is not empty: {_told(contents)}.",
            hint=_how_to_empty(bucket, contents),
            code="BucketNotEmpty",
        )
    try:
        delete(client, bucket)
    except StorageError as error:
        if error.code == "BucketNotEmpty":
            error.hint = f"A new object was stored meanwhile: s3crypt ls --versions s3://{bucket}"
        raise


def _told(contents: Contents) -> str:
    # In a bucket without versioning, each object has one version. Versions are then not mentioned.
    has_older = contents.versions > contents.objects
    counts = {
        "objects": contents.objects,
        "versions and delete markers": contents.versions if has_older else 0,
        "unfinished uploads": contents.uploads,
    }
    return ", ".join(
        f"{'at least ' * (kind in contents.is_more)}{count:,} {kind}"
        for kind, count in counts.items()
        if count
    )


def _how_to_empty(bucket: str, contents: Contents) -> str:
    steps = []
    if contents.objects:
        steps.append(f"s3crypt rm -r s3://{bucket}/")
    if contents.uploads:
        steps.append(f"s3crypt uploads s3://{bucket} --older-than 0m")
    if contents.versions > contents.objects:
        # s3crypt has no command that deletes all versions, because a deleted version cannot be
        # restored.
        steps.append(f"s3crypt ls -r --versions s3://{bucket}, then s3crypt rm URI --version-id ID")
    return "First: " + "; ".join(steps)


def delete(client: "S3Client", bucket: str) -> None:
    """Delete a bucket. S3 refuses to delete a bucket that is not empty.

    Raises:
        ObjectNotFoundError: The bucket does not exist.
        StorageError: S3 refused, for example because the bucket is not empty.
    """
    look = partial(_deleted, client, bucket)
    call(client, "delete_bucket", {"Bucket": bucket}, f"s3://{bucket}", look=look)


def may_lock_objects(client: "S3Client", bucket: str) -> bool:
    """Return whether a bucket may have Object Lock. Return True if S3 refuses to show it.

    Raises:
        StorageError: S3 refused for another reason.
    """
    subject = f"s3://{bucket} (its Object Lock setting)"
    try:
        reply = call(client, "get_object_lock_configuration", {"Bucket": bucket}, subject)
    except ObjectNotFoundError:
        # AWS replies 404 if a bucket has no Object Lock.
        return False
    except StorageError as error:
        if error.code in NO_SUCH_SETTING:
            return False
        if error.code not in _DENIED:
            raise
        return True
    configuration = reply.get("ObjectLockConfiguration") or {}
    return bool(configuration.get("ObjectLockEnabled") == "Enabled")


def _created(client: "S3Client", bucket: str, attempts: Attempts) -> Reply | None:
    """Return S3's list of buckets if an attempt whose reply was lost created the bucket."""
    reply = call(client, "list_buckets", {}, f"s3://{bucket}", within=attempts, is_look=True)
    return reply if any(found["Name"] == bucket for found in reply["Buckets"]) else None


def _deleted(client: "S3Client", bucket: str, attempts: Attempts) -> Reply | None:
    """Return an empty reply if an attempt whose reply was lost deleted the bucket, or None."""
    request, subject = {"Bucket": bucket}, f"s3://{bucket}"
    try:
        call(client, "head_bucket", request, subject, within=attempts, is_look=True)
    except StorageError as error:
        return {} if http_status(error) == HTTPStatus.NOT_FOUND else None
    return None
