# SPDX-License-Identifier: Apache-2.0
"""List and abort multipart uploads that were neither completed nor aborted.

S3 stores the parts of such an upload, and charges for them, until the upload is aborted. The module
`transfer` handles the running uploads of this process.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from s3crypt.errors import StorageError
from s3crypt.location import Location
from s3crypt.requests import call, pages

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """A multipart upload that is still running or was abandoned.

    Attributes:
        uri: The URI of the object that the upload would create.
        upload_id: The id that distinguishes the upload from other uploads of the same object.
        initiated: The time at which the upload began.
    """

    uri: str
    upload_id: str
    initiated: datetime


def unfinished_uploads(client: "S3Client", location: Location) -> Iterator[UnfinishedUpload]:
    """Yield the unfinished uploads of objects whose URI begins with the URI of `location`.

    Raises:
        StorageError: S3 refused or failed.
    """
    request = {"Bucket": location.bucket, **({"Prefix": location.name} if location.name else {})}
    for page in pages(client, "list_multipart_uploads", request, str(location)):
        for found in page.get("Uploads", ()):
            uri = str(Location(location.bucket, found["Key"]))
            yield UnfinishedUpload(uri, found["UploadId"], found["Initiated"])


def abort_upload(client: "S3Client", upload: UnfinishedUpload) -> None:
    """Abort an upload, so S3 deletes its parts. If the upload does not exist, do nothing.

    Raises:
        StorageError: S3 refused or failed.
    """
    location = Location.parse_object(upload.uri)
    request = {**location.arguments, "UploadId": upload.upload_id}
    try:
        call(client, "abort_multipart_upload", request, f"{location} upload {upload.upload_id}")
    except StorageError as error:
        # An earlier attempt may have aborted the upload although its reply was lost.
        if error.code != "NoSuchUpload":
            raise
