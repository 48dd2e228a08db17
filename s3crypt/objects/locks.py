# SPDX-License-Identifier: Apache-2.0
"""Check that an object's Object Lock settings can be read, so a rotation does not lose them.

If the caller has no permission to read the lock of an object, S3 omits the lock's headers from its
replies. In a bucket with Object Lock, a HEAD without these headers therefore does not prove that
there is no lock. In this case the settings are fetched by separate requests, because a refusal of
these is different from a missing lock.
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

# These names occur both in replies to HEAD and in requests that create an object.
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
    """Checks that locks can be read. The setting of each bucket is fetched once for all threads."""

    def __init__(self, client: "S3Client") -> None:
        self._client = client
        self._asking = threading.Lock()
        self._may_lock: dict[str, bool] = {}

    def check(self, location: Location, head: Mapping[str, Any]) -> None:
        """Refuse an object if the reply to its HEAD may have omitted a lock.

        Raises:
            StorageError: The caller has no permission to read the lock.
            ConflictError: The object was locked after the HEAD.
        """
        # Object Lock requires versioning, so a lockable object has a version id.
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
            # An access point has no Object Lock setting, only its bucket has it. So assume that the
            # object may be locked.
            return True
        with self._asking:
            if bucket not in self._may_lock:
                # If the caller has no permission to read the bucket's setting, the locks of each
                # object are requested.
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
        # Some services return an empty legal hold for an object that never had one.
        return any((reply.get(field) or {}).values())


def _says_none(error: StorageError) -> bool:
    # AWS replies 404 if an object does not have the setting.
    return isinstance(error, ObjectNotFoundError) or error.code in buckets.NO_SUCH_SETTING


def _locked_meanwhile(location: Location) -> ConflictError:
    return ConflictError(
        f"{location} was locked meanwhile, or S3's first reply about it was cut short.",
        hint="Run the command again.",
    )
