# SPDX-License-Identifier: Apache-2.0
"""A bucket's configuration read and written, one setting at a time, each write read back.

`settings` has the values. This module decides nothing: who calls it says which setting is written.
A setting that may not be read is `Unseen`, which is never the same as one that is absent.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from s3crypt.errors import ConfigError, S3CryptError, StorageError
from s3crypt.requests import call

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

_NOT_SEEN = frozenset({"403", "AccessDenied", "MethodNotAllowed", "NotImplemented"})
# Services that know no Object Lock answer so; AWS, where a bucket has none.
_NO_LOCK = frozenset({"InvalidArgument", "InvalidRequest"})
_READERS = 8
# Seconds between looks at a setting that was just written; S3 may still answer with the old one.
_SETTLING_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)


@dataclass(frozen=True, slots=True)
class Unseen:
    """A setting that could not be read.

    Attributes:
        action: The IAM action that reads it.
        reason: What the service said.
    """

    action: str
    reason: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """All settings of one bucket as they were read, each a value or `Unseen`."""

    bucket: str
    region: str
    encryption: Encryption | Unseen = field(default_factory=Encryption)
    public_access: PublicAccessBlock | Unseen = field(default_factory=PublicAccessBlock)
    versioning: Versioning | Unseen = field(default_factory=Versioning)
    ownership: Ownership | Unseen = field(default_factory=Ownership)
    logging: Logging | Unseen = field(default_factory=Logging)
    lifecycle: Lifecycle | Unseen = field(default_factory=Lifecycle)
    lock: ObjectLock | Unseen = field(default_factory=ObjectLock)
    replication: Replication | Unseen = field(default_factory=Replication)
    policy: BucketPolicy | Unseen = field(default_factory=BucketPolicy)
    acl: AccessControlList | Unseen = field(default_factory=lambda: AccessControlList(""))

    @property
    def unseen(self) -> tuple[Unseen, ...]:
        """The settings that could not be read."""
        values = (getattr(self, name) for name in _KINDS)
        return tuple(value for value in values if isinstance(value, Unseen))


# Field of `Configuration` -> the class of its value.
_KINDS: dict[str, type[Setting]] = {
    "encryption": Encryption,
    "public_access": PublicAccessBlock,
    "versioning": Versioning,
    "ownership": Ownership,
    "logging": Logging,
    "lifecycle": Lifecycle,
    "lock": ObjectLock,
    "replication": Replication,
    "policy": BucketPolicy,
    "acl": AccessControlList,
}


def region_of(client: "S3Client", bucket: str) -> str:
    """Return the Region of a bucket that the caller may look at.

    Raises:
        StorageError: There is no such bucket (code `404`), it is in another Region than the client
            (`301`, `AuthorizationHeaderMalformed`), or it is not the caller's to look at (`403`).
    """
    reply = call(client, "head_bucket", {"Bucket": bucket}, f"s3://{bucket}")
    return str(reply.get("BucketRegion") or client.meta.region_name)


def read(client: "S3Client", bucket: str, kind: type[S]) -> S:
    """Return one setting of a bucket; the value that stands for "not set" where it has none.

    Raises:
        StorageError: S3 refused.
        ConfigError: The bucket's policy is not in the grammar of policies.
    """
    subject = f"s3://{bucket} ({kind.READ.removeprefix('get_').replace('_', ' ')})"
    absent = kind.ABSENT | (_NO_LOCK if kind is ObjectLock else frozenset())
    try:
        reply = call(client, kind.READ, {"Bucket": bucket}, subject)
    except StorageError as error:
        if error.code in absent:
            return cast("S", kind.of({}))
        raise
    return cast("S", kind.of(reply))


def write(client: "S3Client", bucket: str, setting: Setting) -> None:
    """Write one setting of a bucket, and return once S3 answers with it.

    Raises:
        StorageError: S3 refused, or still answers with another value after three seconds.
    """
    operation, arguments = setting.call(bucket)
    subject = f"s3://{bucket} ({operation.partition('_')[2].replace('_', ' ')})"
    call(client, operation, arguments, subject)
    for seconds in (*_SETTLING_SECONDS, None):
        found: Any = read(client, bucket, type(setting))
        if setting.is_kept_by(found):
            return
        if seconds is not None:
            time.sleep(seconds)
    raise StorageError(
        f"{subject}: S3 took the setting and answers with another one.",
        hint="Another writer may have changed it, or the service does not keep it: look at it.",
    )


def read_all(client: "S3Client", bucket: str) -> Configuration:
    """Return the whole configuration of a bucket, eight requests at a time.

    Raises:
        StorageError: The bucket itself may not be looked at, or S3 failed otherwise than by
            refusing to show a setting.
    """
    region = region_of(client, bucket)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="s3crypt-bucket") as pool:
        found = pool.map(partial(_seen, client, bucket), _KINDS.values())
        values: dict[str, Any] = dict(zip(_KINDS, found, strict=True))
    return Configuration(bucket, region, **values)


def _seen(client: "S3Client", bucket: str, kind: type[Setting]) -> Setting | Unseen:
    reading: Callable[[], Setting] = partial(read, client, bucket, kind)
    try:
        return reading()
    except ConfigError as error:
        return Unseen(kind.ACTION, str(error))
    except S3CryptError as error:
        if error.code not in _NOT_SEEN:
            raise
        return Unseen(kind.ACTION, str(error))
