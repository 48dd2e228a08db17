# SPDX-License-Identifier: Apache-2.0
"""Scratch objects: single requests with which the behaviour of a service is tested.

Each request is sent once and unchanged. This module does not verify, retry or work around the
service's behaviour, because this behaviour is being tested. At the end, everything that was stored
is removed.
"""

import contextlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from s3crypt.aws_errors import http_status
from s3crypt.errors import S3CryptError
from s3crypt.location import Location
from s3crypt.operations import S3Operation
from s3crypt.requests import Reply, call, pages

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_MAKING = frozenset({"complete_multipart_upload", "copy_object", "put_object"})


class Scratch:
    """The scratch objects in one bucket. Their names begin with a unique prefix.

    Attributes:
        prefix: The unique prefix. It begins with the prefix that the caller gave. Each trial uses
            its own object name below it.
        client: The client that sends the requests.
        left: The objects that could not be removed at the end.
    """

    left: tuple[Location, ...] = ()

    def __init__(self, client: "S3Client", bucket: str, below: str) -> None:
        self.client = client
        self._bucket = bucket
        self.prefix = f"{below}s3crypt-doctor-{uuid.uuid4().hex[:12]}/"
        self._count = 0
        self._uploads: dict[str, str] = {}
        self._made: dict[str, None] = {}
        self._has_versions = False

    def new(self, ending: str = "") -> str:
        """Return an unused object name."""
        self._count += 1
        return f"{self.prefix}{self._count:02}{ending}"

    def ask(self, operation: S3Operation, name: str, **arguments: Any) -> Reply:
        """Send one request about an object. It is not retried.

        Raises:
            S3CryptError: The service refused the request, or its reply is incomplete.
        """
        request = {"Bucket": self._bucket, "Key": name, **arguments}
        if operation in _MAKING:
            # The name is recorded before the request, because an interrupt may arrive before the
            # reply.
            self._made[name] = None
        reply = call(self.client, operation, request, f"s3://{self._bucket}/{name}", is_look=True)
        if operation == "create_multipart_upload":
            self._uploads[str(reply["UploadId"])] = name
        self._has_versions |= reply.get("VersionId", "null") != "null"
        return reply

    def read(self, name: str, **arguments: Any) -> tuple[Reply, bytes]:
        """Return the reply to a GET and the object's bytes."""
        reply = self.ask("get_object", name, **arguments)
        with contextlib.closing(reply["Body"]) as body:
            return reply, body.read()

    def delete_many(self, entry: dict[str, str]) -> Reply:
        """Delete one object with a DeleteObjects request. `entry` is its entry in the request."""
        request = {"Bucket": self._bucket, "Delete": {"Objects": [entry]}}
        return call(
            self.client,
            "delete_objects",
            request,
            f"s3://{self._bucket}/{self.prefix}",
            is_look=True,
        )

    def names(self) -> list[str]:
        """Return the names of the objects below the prefix, from a listing."""
        request = {"Bucket": self._bucket, "Prefix": self.prefix}
        found = call(self.client, "list_objects_v2", request, f"s3://{self._bucket}/{self.prefix}")
        return [str(each["Key"]) for each in found.get("Contents", ())]

    def source(self, name: str) -> dict[str, str]:
        """Return the `CopySource` argument for an object."""
        return {"Bucket": self._bucket, "Key": name}

    def remove(self) -> list[Location]:
        """Remove all objects, versions and uploads.

        Return the objects that could not be removed.
        """
        left = [name for upload, name in self._all_uploads() if not self._is_aborted(upload, name)]
        versions = self._versions()
        for name, version in versions or ():
            left += [] if self._is_deleted(name, VersionId=version) else [name]
        if versions is None and self._has_versions:
            # Without a version id, a delete would only hide the objects behind delete markers.
            left += self._made
        else:
            left += [name for name in self._shown() if not self._is_deleted(name)]
        return [Location(self._bucket, name) for name in dict.fromkeys(left)]

    def _all_uploads(self) -> list[tuple[str, str]]:
        """Return the known uploads, and listed uploads whose reply an interrupt has lost."""
        known = dict(self._uploads)
        request = {"Bucket": self._bucket, "Prefix": self.prefix}
        subject = f"s3://{self._bucket}/{self.prefix}"
        # An error is ignored: the service may not support this listing, or the caller may lack the
        # permission.
        with contextlib.suppress(S3CryptError):
            for page in pages(self.client, "list_multipart_uploads", request, subject):
                known |= {
                    str(each["UploadId"]): str(each["Key"]) for each in page.get("Uploads", ())
                }
        return list(known.items())

    def _is_aborted(self, upload: str, name: str) -> bool:
        request = {"Bucket": self._bucket, "Key": name, "UploadId": upload}
        try:
            call(self.client, "abort_multipart_upload", request, f"s3://{self._bucket}/{name}")
        except S3CryptError as error:
            # An upload that was completed no longer exists, so 404 counts as success.
            return http_status(error) == HTTPStatus.NOT_FOUND
        return True

    def _is_deleted(self, name: str, **version: str) -> bool:
        request = {"Bucket": self._bucket, "Key": name, **version}
        try:
            call(self.client, "delete_object", request, f"s3://{self._bucket}/{name}")
        except S3CryptError:
            return False
        return True

    def _versions(self) -> list[tuple[str, str]] | None:
        """Return all versions below the prefix. Return None if they cannot be listed."""
        request = {"Bucket": self._bucket, "Prefix": self.prefix}
        subject = f"s3://{self._bucket}/{self.prefix}"
        try:
            return [
                (str(each["Key"]), str(each["VersionId"]))
                for page in pages(self.client, "list_object_versions", request, subject)
                for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            ]
        except S3CryptError:
            # The service may not support versions, or the caller may lack the permission.
            return None

    def _shown(self) -> list[str]:
        """Return the listed names. If the listing is refused, return all names that were used."""
        try:
            return self.names()
        except S3CryptError:
            return list(self._made)


@contextmanager
def scratch(client: "S3Client", bucket: str, below: str) -> Iterator[Scratch]:
    """Provide scratch objects for a `with` block.

    They are removed at its end, even after an error.
    """
    made = Scratch(client, bucket, below)
    try:
        yield made
    except BaseException as error:
        made.left = tuple(made.remove())
        if made.left:
            error.add_note(f"Scratch objects were left behind below s3://{bucket}/{made.prefix}")
        raise
    made.left = tuple(made.remove())
