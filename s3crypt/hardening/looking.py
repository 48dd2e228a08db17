# SPDX-License-Identifier: Apache-2.0
"""Reads the present state: a bucket with its keys, roles, trails and related buckets.

This module changes nothing.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from s3crypt.buckets import configuration
from s3crypt.buckets.configuration import Configuration
from s3crypt.buckets.settings import AES256, Encryption, Logging
from s3crypt.errors import KeyUnavailableError, StorageError
from s3crypt.objects.sampling import Sample, sample_of
from s3crypt.policy import Document
from s3crypt.requests import call
from s3crypt.trail_settings import SeenTrail, read_trails

from .replication import POLICY
from .values import TAG, Seen, SeenKey, SeenRole, Wanted

if TYPE_CHECKING:
    from s3crypt.kms import Key

    from .services import Services

_ABSENT = frozenset({"404", "NoSuchBucket"})
_FORBIDDEN = frozenset({"403", "AccessDenied"})


def description_of(bucket: str) -> str:
    """Return the description of a bucket's own KMS key.

    By this description, `look` finds a key without an alias.
    """
    return f"s3crypt: objects of s3://{bucket}"


def look(services: "Services", wanted: Wanted) -> Seen:
    """Return the present state from which the changes of a bucket are decided.

    Raises:
        StorageError: A bucket does not belong to the caller, or a service failed.
        KeyUnavailableError: KMS refused to describe a key.
    """
    region = services.region
    bucket = _bucket(services, wanted.bucket, region)
    trails = _trails(services, region) if wanted.trail else None
    lacks_trail = trails is not None and not any(each.records_all for each in trails)
    logs = None
    # A new trail gets only the name of the bucket for logs. Read the bucket, which verifies that it
    # belongs to the caller.
    if bucket is None or _target(bucket) in (None, wanted.logs) or lacks_trail:
        logs = _bucket(services, wanted.logs, region)
    seen = Seen(
        account=services.account,
        partition=services.partition,
        region=region,
        bucket=bucket,
        logs=logs,
        key=_own_key(services, wanted, region),
        default_key=_default_key(services, bucket),
        trails=trails,
        samples=_samples(services, bucket, logs),
    )
    return seen if wanted.replica is None else _with_replica(services, wanted, seen)


def _with_replica(services: "Services", wanted: Wanted, seen: Seen) -> Seen:
    there = str(wanted.replica)
    replica = _bucket(services, wanted.replica_bucket, there)
    return replace(
        seen,
        replica=replica,
        samples={**seen.samples, **_samples(services, replica)},
        replica_key=_replica_key(services, wanted, seen),
        role=_role(services, wanted),
    )


def _bucket(services: "Services", bucket: str, region: str) -> Configuration | None:
    """Return the configuration of a bucket, or None if there is no such bucket.

    Raises:
        StorageError: The bucket does not belong to the caller, is in another Region, or S3 failed.
    """
    client = services.s3(region)
    try:
        found = configuration.read_all(client, bucket)
    except StorageError as error:
        if error.code in _ABSENT:
            return None
        if error.code not in _FORBIDDEN:
            raise
        raise StorageError(
            f"s3://{bucket}: the bucket does not belong to account {services.account}, or you lack "
            "the permission to read it.",
            hint="Choose another name, or ask for the permission s3:ListBucket.",
            code=error.code,
            request_id=error.request_id,
        ) from error.__cause__
    if found.region != region:
        raise StorageError(
            f"s3://{bucket}: the bucket is in {found.region}, not in {region}.",
            hint=f"Name the bucket's Region: {found.region}.",
        )
    return found


def _target(bucket: Configuration) -> str | None:
    found = bucket.seen(Logging)
    return found.target if isinstance(found, Logging) else None


def _samples(services: "Services", *looked_at: Configuration | None) -> dict[str, Sample]:
    """Return samples of the objects of the buckets that do not block SSE-C yet."""
    samples = {}
    for bucket in looked_at:
        encryption = bucket.seen(Encryption) if bucket else None
        if bucket and isinstance(encryption, Encryption) and not encryption.blocks_sse_c:
            samples[bucket.bucket] = sample_of(services.s3(bucket.region), bucket.bucket)
    return samples


def _own_key(services: "Services", wanted: Wanted, region: str) -> SeenKey | None:
    """Return the key that the alias names, or the key of an interrupted run, which has no alias."""
    found = _key(services, services.alias_arn(region, wanted.alias), wanted.bucket)
    if found is not None:
        return found
    try:
        for key in services.keys.unnamed(description_of(wanted.bucket)):
            if key.tags.get(TAG) == wanted.bucket:
                return _seen(key, wanted.bucket, is_named=False)
    except KeyUnavailableError as error:
        # The caller has no permission to list keys, so a key of an interrupted run cannot be found.
        if error.code != "AccessDeniedException":
            raise
    return None


def _default_key(services: "Services", bucket: Configuration | None) -> SeenKey | None:
    encryption = bucket.seen(Encryption) if bucket else None
    if not isinstance(encryption, Encryption) or encryption.algorithm == AES256:
        return None
    if encryption.key is None:
        return None
    try:
        return _key(services, encryption.key, bucket.bucket if bucket else "")
    except KeyUnavailableError as error:
        # Another account's key policy may not allow the caller to describe the key.
        if error.code != "AccessDeniedException":
            raise
        return None


def _replica_key(services: "Services", wanted: Wanted, seen: Seen) -> SeenKey | None:
    """Return the KMS key for the replicas in the other Region.

    This is the key that the alias names there, or a replica of the bucket's key. Return None if
    there is no such key.
    """
    there = str(wanted.replica)
    named = _key(services, services.alias_arn(there, wanted.alias), wanted.bucket)
    if named is not None:
        return named
    source = seen.default_key or seen.key
    if source is None or not source.multi_region:
        return None
    parts = source.arn.split(":")
    arn = ":".join((*parts[:3], there, *parts[4:]))
    return _key(services, arn, wanted.bucket, is_named=False)


def _key(services: "Services", name: str, bucket: str, *, is_named: bool = True) -> SeenKey | None:
    try:
        return _seen(services.keys.show(name), bucket, is_named=is_named)
    except KeyUnavailableError as error:
        if error.code == "NotFoundException":
            return None
        raise


def _seen(key: "Key", bucket: str, *, is_named: bool) -> SeenKey:
    is_ours = key.tags.get(TAG) == bucket
    return SeenKey(key.arn, key.state, key.multi_region, key.manager, is_named, is_ours)


def _role(services: "Services", wanted: Wanted) -> SeenRole | None:
    name = wanted.role_name
    subject = f"role {name}"
    try:
        role: Any = call(services.iam, "get_role", {"RoleName": name}, subject)["Role"]
    except StorageError as error:
        if error.code == "NoSuchEntity":
            return None
        raise
    tags = {tag["Key"]: tag["Value"] for tag in role.get("Tags") or ()}
    policy = None
    try:
        request = {"RoleName": name, "PolicyName": POLICY}
        found = call(services.iam, "get_role_policy", request, subject)
        policy = Document.parse(found["PolicyDocument"])
    except StorageError as error:
        if error.code != "NoSuchEntity":
            raise
    trust = Document.parse(role["AssumeRolePolicyDocument"])
    return SeenRole(str(role["Arn"]), tags.get(TAG) == wanted.bucket, trust, policy)


def _trails(services: "Services", region: str) -> tuple[SeenTrail, ...]:
    """Return the trails that record the session's Region.

    Raises:
        StorageError: CloudTrail refused to return the event selectors of a trail.
    """
    trails = tuple(read_trails(services.cloudtrail, region, services.partition))
    unseen = [each for trail in trails for each in trail.unseen]
    if unseen:
        actions = ", ".join(dict.fromkeys(each.action for each in unseen))
        raise StorageError(
            unseen[0].reason, hint=f"Ask for these permissions: {actions}.", code="AccessDenied"
        )
    return trails
