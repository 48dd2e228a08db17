# SPDX-License-Identifier: Apache-2.0
"""Buckets and their configuration: the only package that reads or changes either."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
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


@dataclass(frozen=True, slots=True)
class ListedBucket:
    """A bucket as S3 lists it.

    Attributes:
        name: The bucket's name.
        created: The time at which it was created; None if the service does not report the time.
    """

    name: str
    created: datetime | None


def listed(client: "S3Client") -> Iterator[ListedBucket]:
    """Yield all buckets of the caller's account."""
    reply = call(client, "list_buckets", {}, "the list of buckets")
    for bucket in reply["Buckets"]:
        yield ListedBucket(str(bucket["Name"]), bucket.get("CreationDate"))


def names(client: "S3Client") -> Iterator[str]:
    """Yield the names of all buckets of the caller's account."""
    return (bucket.name for bucket in listed(client))


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
