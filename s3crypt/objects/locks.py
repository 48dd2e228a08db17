# SPDX-License-Identifier: Apache-2.0
"""Whether an object's Object Lock settings can be read, so that a rotation loses none of them.

S3 leaves the headers of a lock out of its replies for callers without the permission to read it,
so a HEAD without them proves nothing in a bucket with Object Lock. Such an object's settings are
then asked for by their own requests, whose refusal cannot be taken for "none".
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from s3crypt import buckets
from s3crypt.errors import ConflictError, ObjectNotFoundError, StorageError
from s3crypt.location import Location
from s3crypt.modes import is_access_point
from s3crypt.operations import S3Operation
from s3crypt.requests import call

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

# As HEAD returns them, and as the requests that make an object take them.
RETENTION = (
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "ObjectLockEventHold",
    "ObjectLockEventHoldDurationDays",
    "ObjectLockEventHoldDurationYears",
)
LEGAL_HOLD = ("ObjectLockLegalHoldStatus",)
HEADERS = (*LEGAL_HOLD, *RETENTION)

_DENIED = frozenset({"403", "AccessDenied"})


class Locks:
    """Checks that locks can be read; a bucket's setting is asked for once, by any thread."""

    def __init__(self, client: "S3Client") -> None:
        self._client = client
        self._asking = threading.Lock()
        self._may_lock: dict[str, bool] = {}

    def check(self, location: Location, head: Mapping[str, Any]) -> None:
        """Refuse an object whose lock, if it has one, its HEAD may not have shown.

        Raises:
            StorageError: The lock may not be read.
            ConflictError: It was locked since the HEAD.
        """
        # Object Lock needs versioning, which gives every object a version id.
        if not head.get("VersionId") or not self._may_be_locked(location):
            return
        version = {"VersionId": head["VersionId"]}
        shown = any(head.get(name) for name in RETENTION)
        if not shown and self._is_set("get_object_retention", "Retention", location, version):
            raise _locked_meanwhile(location)
        shown = any(head.get(name) for name in LEGAL_HOLD)
        if not shown and self._is_set("get_object_legal_hold", "LegalHold", location, version):
            raise _locked_meanwhile(location)

    def _may_be_locked(self, location: Location) -> bool:
        bucket = location.bucket
        if is_access_point(bucket):
            # It has no such setting to ask for: that is the bucket's behind it.
            return True
        with self._asking:
            if bucket not in self._may_lock:
                # If the caller may not know, each object is asked about.
                self._may_lock[bucket] = buckets.may_lock_objects(self._client, bucket)
            return self._may_lock[bucket]

    def _is_set(
        self, operation: S3Operation, field: str, location: Location, version: Mapping[str, str]
    ) -> bool:
        try:
            subject = f"{location} (its {field} of Object Lock)"
            reply = call(self._client, operation, {**location.arguments, **version}, subject)
        except StorageError as error:
            if _says_none(error):
                return False
            if error.code in _DENIED:
                error.hint = (
                    "A lock or an event hold that may not be read would be lost. Allow "
                    "s3:GetObjectRetention and s3:GetObjectLegalHold; in a bucket without Object "
                    "Lock, s3:GetBucketObjectLockConfiguration does."
                )
            raise
        # An object that never had a legal hold has an empty one at some services.
        return any((reply.get(field) or {}).values())


def _says_none(error: StorageError) -> bool:
    # AWS answers 404 where an object has no such setting.
    return isinstance(error, ObjectNotFoundError) or error.code in buckets.NO_SUCH_SETTING


def _locked_meanwhile(location: Location) -> ConflictError:
    return ConflictError(
        f"{location} was locked meanwhile, or S3's first reply about it was cut short.",
        hint="Run it again.",
    )
