# SPDX-License-Identifier: Apache-2.0
"""Reads and writes a bucket's configuration, setting by setting. Each write is verified by a read.

The values are in `settings`. This module does not decide which settings to write. A setting that
the caller has no permission to read is `Unseen`, which is never equal to a setting that is not set.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from s3crypt.aws_errors import reply_headers
from s3crypt.command_lines import aws
from s3crypt.errors import ConfigError, ObjectNotFoundError, S3CryptError, StorageError
from s3crypt.requests import call
from s3crypt.unseen import Unseen

from . import policies
from .settings import (
    AccessControlList,
    BucketPolicy,
    Encryption,
    Lifecycle,
    Logging,
    ObjectLock,
    Ownership,
    PublicAccessBlock,
    Replication,
    Setting,
    Versioning,
)

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

S = TypeVar("S", bound=Setting)

NOT_SEEN = frozenset({"403", "AccessDenied", "MethodNotAllowed", "NotImplemented"})
"""The error codes if a permission is missing, or the service does not support a setting."""
# Error codes of services that do not support Object Lock.
_NO_LOCK = frozenset({"InvalidArgument", "InvalidRequest"})
# Error codes of a HEAD that is refused, or that must be sent to another Region.
_ELSEWHERE = NOT_SEEN | {"301", "400", "AuthorizationHeaderMalformed", "PermanentRedirect"}
_REFUSED = frozenset({"403", "AccessDenied"})
_READERS = 8
# Pauses in seconds before a written setting is read again: S3 may still return the old setting.
_SETTLING_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings of one bucket as they were read.

    Attributes:
        bucket: The bucket's name.
        region: The bucket's Region.
        settings: Class of a setting -> its value, or `Unseen`. A class that is missing here means
            that the setting is not set.
    """

    bucket: str
    region: str
    settings: Mapping[type[Setting], Setting | Unseen] = field(default_factory=dict)

    def seen(self, kind: type[S]) -> S | Unseen:
        """Return a setting. Return `Unseen` if it could not be read."""
        return cast("S | Unseen", self.settings.get(kind) or kind.of({}))

    def get(self, kind: type[S]) -> S:
        """Return a setting, or raise an error if it could not be read.

        Raises:
            StorageError: The setting could not be read.
        """
        found = self.seen(kind)
        if isinstance(found, Unseen):
            raise StorageError(
                f"s3://{self.bucket}: {found.reason}",
                hint=f"Ask for the permission {found.action}.",
                code="AccessDenied",
            )
        return found

    @property
    def unseen(self) -> tuple[Unseen, ...]:
        """The settings that could not be read."""
        return tuple(each for each in self.settings.values() if isinstance(each, Unseen))


SETTINGS: tuple[type[Setting], ...] = (
    AccessControlList,
    BucketPolicy,
    Encryption,
    Lifecycle,
    Logging,
    ObjectLock,
    Ownership,
    PublicAccessBlock,
    Replication,
    Versioning,
)
"""The classes of all settings in a `Configuration`."""


def region_of(client: "S3Client", bucket: str) -> str:
    """Return the Region of a bucket that the caller has permission to read.

    Raises:
        StorageError: The bucket does not exist (code `404`), is in another Region than the client
            (`301`, `AuthorizationHeaderMalformed`), or the caller has no permission to read it
            (`403`).
    """
    try:
        reply = call(client, "head_bucket", {"Bucket": bucket}, f"s3://{bucket}")
    except ObjectNotFoundError as error:
        # The reply to a HEAD has no body, so the error must name the bucket.
        raise ObjectNotFoundError(
            f"s3://{bucket}: no such bucket",
            hint="Check the name; `aws s3 ls` lists the buckets of the account.",
            code=error.code,
            request_id=error.request_id,
        ) from error.__cause__
    return str(reply.get("BucketRegion") or client.meta.region_name)


def home_of(client: "S3Client", bucket: str) -> str | None:
    """Return the Region of a bucket, even if the caller has no permission to read the bucket.

    S3 returns the Region even if it refuses the request. Return None if S3's refusal does not
    contain the Region.

    Raises:
        StorageError: The bucket does not exist, or S3 failed.
    """
    try:
        return region_of(client, bucket)
    except StorageError as error:
        if error.code not in _ELSEWHERE:
            raise
        return reply_headers(error).get("x-amz-bucket-region") or None


def read(client: "S3Client", bucket: str, kind: type[S]) -> S:
    """Return one setting of a bucket, or the value for "not set" if the bucket lacks the setting.

    Raises:
        StorageError: S3 refused.
        ConfigError: The bucket's policy is not in the grammar of policies.
    """
    if issubclass(kind, BucketPolicy):
        # `policies.read` detects a reply that breaks off. botocore would return the part of the
        # policy that was received.
        return kind(policies.read(client, bucket))
    subject = f"s3://{bucket} ({kind.READ.removeprefix('get_').replace('_', ' ')})"
    absent = kind.ABSENT | (_NO_LOCK if kind is ObjectLock else frozenset())
    try:
        reply = call(client, kind.READ, {"Bucket": bucket}, subject)
    except StorageError as error:
        if error.code in absent:
            return kind.of({})
        raise
    return kind.of(reply)


def write(client: "S3Client", bucket: str, setting: S) -> None:
    """Write one setting of a bucket. Return when S3 returns the new setting to a read.

    Raises:
        StorageError: S3 refused, or still returns another value after three seconds.
    """
    operation, arguments = setting.call(bucket)
    subject = f"s3://{bucket} ({operation.partition('_')[2].replace('_', ' ')})"
    if isinstance(setting, BucketPolicy) and setting.document is not None:
        policies.write(client, bucket, setting.document)
    else:
        call(client, operation, arguments, subject)
    for seconds in (*_SETTLING_SECONDS, None):
        if setting.is_kept_by(read(client, bucket, type(setting))):
            return
        if seconds is not None:
            time.sleep(seconds)
    raise StorageError(
        f"{subject}: S3 accepted the setting, but returns another one.",
        hint=(
            "Another writer may have changed it, or the service does not keep it. Check the "
            "setting."
        ),
    )


def line(bucket: str, region: str, setting: Setting) -> str:
    """Return the AWS CLI command that writes one setting of a bucket."""
    operation, arguments = setting.call(bucket)
    return aws("s3api", operation, region, **arguments)


def read_all(client: "S3Client", bucket: str) -> Configuration:
    """Return the whole configuration of a bucket. Up to eight requests run at a time.

    Raises:
        StorageError: The caller has no permission to read the bucket itself, or a request failed.
            If S3 refuses to return a setting, that is no error: the setting is `Unseen`.
    """
    return read_in(client, bucket, region_of(client, bucket))


def read_in(client: "S3Client", bucket: str, region: str) -> Configuration:
    """Return the whole configuration of a bucket whose Region is known.

    Raises:
        StorageError: A request failed. If S3 refuses to return a setting, that is no error: the
            setting is `Unseen`.
    """
    with ThreadPoolExecutor(_READERS, thread_name_prefix="s3crypt-bucket") as pool:
        found = pool.map(partial(_seen, client, bucket), SETTINGS)
        return Configuration(bucket, region, dict(zip(SETTINGS, found, strict=True)))


def _seen(client: "S3Client", bucket: str, kind: type[Setting]) -> Setting | Unseen:
    try:
        return read(client, bucket, kind)
    except ConfigError as error:
        return Unseen(kind.ACTION, str(error), is_refused=False)
    except S3CryptError as error:
        if error.code not in NOT_SEEN:
            raise
        return Unseen(kind.ACTION, str(error), is_refused=error.code in _REFUSED)
