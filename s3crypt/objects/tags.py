# SPDX-License-Identifier: Apache-2.0
"""Tags of objects, also on services that do not behave like S3."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from s3crypt.aws import is_aws
from s3crypt.aws_errors import http_status, reply_headers
from s3crypt.errors import ConflictError, ObjectNotFoundError, S3CryptError, StorageError
from s3crypt.location import Location
from s3crypt.modes import Mode
from s3crypt.requests import Attempts, Reply, call
from s3crypt.transfer.conditions import check_unchanged, head

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


def tags_of(client: "S3Client", location: Location, version_id: str | None) -> dict[str, str]:
    """Return an object's tags."""
    try:
        return _asked_tags(client, location, version_id)
    except StorageError as error:
        # If the service does not support tags, no tags can be lost. A denied permission stays an
        # error. Otherwise the new object would silently lose its tags.
        if error.code == "NotImplemented":
            return _tags_in_headers(error)
        raise


def ensure_tags(
    client: "S3Client",
    location: Location,
    mode: Mode,
    tags: Mapping[str, str],
    reply: Mapping[str, Any],
) -> None:
    """Set the tags of an object that was just uploaded by parts, if the service dropped them.

    Ceph 16.2 drops the tags in the request that begins a multipart upload; AWS does not. If another
    writer has replaced or deleted the object since, nothing is changed. This cannot be detected if
    the service's reply has no ETag.

    Raises:
        StorageError: The tags could not be set. The object itself is stored.
    """
    if not tags or "UploadId" not in reply or is_aws(client):
        return
    version_id = reply.get("VersionId")
    try:
        found = _asked_tags(client, location, version_id)
    except ObjectNotFoundError:
        return
    except StorageError as error:
        # A service that does not support tags would store a PutObjectTagging request as new
        # content.
        if error.code == "NotImplemented" or http_status(error) == HTTPStatus.FORBIDDEN:
            return
        raise
    if found == tags:
        return
    version = {"VersionId": version_id} if version_id else {}
    pairs = [{"Key": name, "Value": value} for name, value in tags.items()]
    request = {**location.arguments, **version, "Tagging": {"TagSet": pairs}}
    try:
        # The version id "null" may belong to an object that another writer has stored since, so the
        # ETag is compared.
        if reply.get("VersionId", "null") == "null" and reply.get("ETag"):
            check_unchanged(client, location, reply["ETag"], mode.read_arguments())
        call(client, "put_object_tagging", request, f"{location} (its tags)")
    except (ConflictError, ObjectNotFoundError):
        return


def _asked_tags(client: "S3Client", location: Location, version_id: str | None) -> dict[str, str]:
    version = {"VersionId": version_id} if version_id else {}

    def look(attempts: Attempts) -> Reply | None:
        # Ceph drops the tags of an upload by parts, and then sends an empty reply to
        # GetObjectTagging. Its HEAD reports a tag count of 0. AWS omits the count if there are no
        # tags.
        count = head(client, location, version, within=attempts).get("TagCount")
        return {"TagSet": []} if count == 0 else None

    request = {**location.arguments, **version}
    subject = f"{location} (its tags)"
    reply = call(client, "get_object_tagging", request, subject, look=look)
    return {tag["Key"]: tag["Value"] for tag in reply["TagSet"]}


def _tags_in_headers(error: S3CryptError) -> dict[str, str]:
    """Return the tags of a service that does not support tags but returns the header of the put.

    rclone behaves like this.
    """
    return dict(parse_qsl(reply_headers(error).get("x-amz-tagging", ""), keep_blank_values=True))
