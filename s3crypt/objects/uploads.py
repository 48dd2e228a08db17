# SPDX-License-Identifier: Apache-2.0
"""Uploads by parts that were begun and neither completed nor aborted: listed, and aborted.

S3 keeps the parts of such an upload, and charges for them, until it is aborted. Uploads that this
process works on belong to `transfer`.
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
    """An upload by parts that is under way, or was left behind.

    Attributes:
        uri: The object that it would become.
        upload_id: Tells it from other uploads of that object.
        initiated: When it began.
    """

    uri: str
    upload_id: str
    initiated: datetime


def unfinished_uploads(client: "S3Client", location: Location) -> Iterator[UnfinishedUpload]:
    """Yield the unfinished uploads of objects whose URI begins with that of `location`.

    Raises:
        StorageError: S3 refused or failed.
    """
    request = {"Bucket": location.bucket, **({"Prefix": location.name} if location.name else {})}
    for page in pages(client, "list_multipart_uploads", request, str(location)):
        for found in page.get("Uploads", ()):
            uri = str(Location(location.bucket, found["Key"]))
            yield UnfinishedUpload(uri, found["UploadId"], found["Initiated"])


def abort_upload(client: "S3Client", upload: UnfinishedUpload) -> None:
    """Abort an upload; S3 forgets its parts. One that is not there any more counts as aborted.

    Raises:
        StorageError: S3 refused or failed.
    """
    location = Location.parse_object(upload.uri)
    request = {**location.arguments, "UploadId": upload.upload_id}
    try:
        call(client, "abort_multipart_upload", request, f"{location} upload {upload.upload_id}")
    except StorageError as error:
        # An attempt whose reply was lost may have aborted it.
        if error.code != "NoSuchUpload":
            raise
