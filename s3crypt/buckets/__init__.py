# SPDX-License-Identifier: Apache-2.0
"""Buckets and their configuration: the only package that reads or changes either."""

from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from s3crypt.aws_errors import http_status
from s3crypt.errors import ObjectNotFoundError, StorageError
from s3crypt.requests import Attempts, Reply, call, pages

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_DENIED = frozenset({"403", "AccessDenied"})
# Codes of a service that does not support Object Lock, or of a bucket without this configuration.
NO_SUCH_SETTING = frozenset(
    {"InvalidArgument", "InvalidRequest", "MethodNotAllowed", "NotImplemented"}
)


def names(client: "S3Client") -> Iterator[str]:
    """Yield the names of all buckets of the caller's account."""
    # Without MaxBuckets, S3 refuses the request to accounts with more than 10,000 buckets.
    for page in pages(client, "list_buckets", {"MaxBuckets": 1000}, "the list of buckets"):
        for bucket in page["Buckets"]:
            yield str(bucket["Name"])


def inventory_destinations(client: "S3Client", bucket: str) -> tuple[str, ...]:
    """Return the KMS keys that encrypt a bucket's S3 Inventory reports, as they were given to S3.

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
        StorageError: S3 refused; the name may be taken.
    """
    region = client.meta.region_name
    where = {} if region == "us-east-1" else {"LocationConstraint": region}
    request = {"Bucket": bucket, **({"CreateBucketConfiguration": where} if where else {})}
    look = partial(_created, client, bucket)
    call(client, "create_bucket", request, f"s3://{bucket}", look=look)


def delete(client: "S3Client", bucket: str) -> None:
    """Delete an empty bucket.

    Raises:
        ObjectNotFoundError: The bucket does not exist.
        StorageError: S3 refused; the bucket may not be empty.
    """
    look = partial(_deleted, client, bucket)
    call(client, "delete_bucket", {"Bucket": bucket}, f"s3://{bucket}", look=look)


def may_lock_objects(client: "S3Client", bucket: str) -> bool:
    """Return whether objects of a bucket may be locked; True also if the caller may not read it.

    Raises:
        StorageError: S3 refused for another reason.
    """
    subject = f"s3://{bucket} (its Object Lock setting)"
    try:
        reply = call(client, "get_object_lock_configuration", {"Bucket": bucket}, subject)
    except ObjectNotFoundError:
        # AWS answers 404 if a bucket has no such setting.
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
    """Return S3's reply if an attempt whose reply was lost created the bucket."""
    reply = call(client, "list_buckets", {}, f"s3://{bucket}", within=attempts, is_look=True)
    return reply if any(found["Name"] == bucket for found in reply["Buckets"]) else None


def _deleted(client: "S3Client", bucket: str, attempts: Attempts) -> Reply | None:
    """Return an empty reply if an attempt whose reply was lost deleted the bucket."""
    request, subject = {"Bucket": bucket}, f"s3://{bucket}"
    try:
        call(client, "head_bucket", request, subject, within=attempts, is_look=True)
    except StorageError as error:
        return {} if http_status(error) == HTTPStatus.NOT_FOUND else None
    return None
