# SPDX-License-Identifier: Apache-2.0
"""Scratch objects: single requests whose effect is looked at, and the removal of all they made.

Each request is made once, as it is given: nothing here checks, repeats or works around what the
service does with it, since that is what is tried.
"""

import contextlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from s3crypt.errors import S3CryptError
from s3crypt.location import Location
from s3crypt.operations import S3Operation
from s3crypt.requests import Reply, call, pages

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_MAKING = frozenset({"complete_multipart_upload", "copy_object", "put_object"})


class Scratch:
    """Objects of one bucket below a prefix that nobody else uses.

    Attributes:
        prefix: Below the prefix that was given; each trial's object has a name of its own.
        client: Makes the requests.
        left: What could not be removed at the end of the block.
    """

    left: tuple[Location, ...] = ()

    def __init__(self, client: "S3Client", bucket: str, below: str) -> None:
        self.client = client
        self._bucket = bucket
        self.prefix = f"{below}s3crypt-doctor-{uuid.uuid4().hex[:12]}/"
        self._count = 0
        self._uploads: dict[str, str] = {}
        self._made: dict[str, None] = {}

    def new(self, ending: str = "") -> str:
        """Return the name of an object that is not there yet."""
        self._count += 1
        return f"{self.prefix}{self._count:02}{ending}"

    def ask(self, operation: S3Operation, name: str, **arguments: Any) -> Reply:
        """Make one request about an object, once.

        Raises:
            S3CryptError: The service refused, or its reply is not whole.
        """
        request = {"Bucket": self._bucket, "Key": name, **arguments}
        if operation in _MAKING:
            # Before the request: an interrupt may come before its reply.
            self._made[name] = None
        reply = call(self.client, operation, request, f"s3://{self._bucket}/{name}", is_look=True)
        if operation == "create_multipart_upload":
            self._uploads[str(reply["UploadId"])] = name
        return reply

    def read(self, name: str, **arguments: Any) -> tuple[Reply, bytes]:
        """Return the reply to a GET, and the bytes."""
        reply = self.ask("get_object", name, **arguments)
        with contextlib.closing(reply["Body"]) as body:
            return reply, body.read()

    def delete_many(self, entry: dict[str, str]) -> Reply:
        """Delete one object by the request for many."""
        request = {"Bucket": self._bucket, "Delete": {"Objects": [entry]}}
        return call(
            self.client,
            "delete_objects",
            request,
            f"s3://{self._bucket}/{self.prefix}",
            is_look=True,
        )

    def names(self) -> list[str]:
        """Return the names that a listing shows below the prefix."""
        request = {"Bucket": self._bucket, "Prefix": self.prefix}
        found = call(self.client, "list_objects_v2", request, f"s3://{self._bucket}/{self.prefix}")
        return [str(each["Key"]) for each in found.get("Contents", ())]

    def source(self, name: str) -> dict[str, str]:
        """Return an object as the source of a copy."""
        return {"Bucket": self._bucket, "Key": name}

    def remove(self) -> list[Location]:
        """Remove all that was made, versions and uploads too; return what could not be removed."""
        for upload, name in self._uploads.items():
            with contextlib.suppress(S3CryptError):
                self.ask("abort_multipart_upload", name, UploadId=upload)
        left = []
        for name, version in self._versions():
            request = {"Bucket": self._bucket, "Key": name}
            request |= {"VersionId": version} if version else {}
            try:
                call(self.client, "delete_object", request, f"s3://{self._bucket}/{name}")
            except S3CryptError:
                left.append(Location(self._bucket, name))
        return left

    def _versions(self) -> list[tuple[str, str | None]]:
        """Return all versions below the prefix; the names that were used if none are listed."""
        request = {"Bucket": self._bucket, "Prefix": self.prefix}
        subject = f"s3://{self._bucket}/{self.prefix}"
        try:
            return [
                (str(each["Key"]), str(each["VersionId"]))
                for page in pages(self.client, "list_object_versions", request, subject)
                for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            ]
        except S3CryptError:
            # Services without versions, and callers without the permission to list them.
            return [(name, None) for name in self._made]


@contextmanager
def scratch(client: "S3Client", bucket: str, below: str) -> Iterator[Scratch]:
    """Have scratch objects within a block; all of them are removed at its end, however it ends."""
    made = Scratch(client, bucket, below)
    try:
        yield made
    finally:
        made.left = tuple(made.remove())
