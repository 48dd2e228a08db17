# SPDX-License-Identifier: Apache-2.0
"""The obstacles to hardening a bucket: present uses that would stop working.

Obstacles are found in the state that was read, without a request. Uses that are not visible in this
state are not found: clients that use plain HTTP, and clients that will later write under customer
keys. docs/buckets.md documents this limit.
"""

from collections.abc import Iterable, Iterator

from s3crypt.buckets.configuration import Configuration
from s3crypt.buckets.settings import (
    AccessControlList,
    BucketPolicy,
    Encryption,
    Lifecycle,
    Ownership,
    PublicAccessBlock,
    Replication,
    Versioning,
)
from s3crypt.objects.sampling import Sample

from . import statements
from .replication import RULE, takes_kms
from .values import Obstacle, Part, Seen, Wanted

_NAMED = 3


def obstacles_of(seen: Seen, wanted: Wanted) -> tuple[Obstacle, ...]:
    """Return the obstacles to hardening the bucket. A new bucket has no obstacles."""
    if seen.bucket is None:
        return ()
    replication = _of_replication(wanted, seen.bucket)
    return _open(seen, seen.bucket, (*_of_any(seen, seen.bucket), *replication))


def obstacles_beside(seen: Seen, bucket: Configuration) -> tuple[Obstacle, ...]:
    """Return the obstacles to hardening the bucket for the logs or for the replicas."""
    return _open(seen, bucket, tuple(_of_any(seen, bucket)))


def _of_any(seen: Seen, bucket: Configuration) -> Iterator[Obstacle]:
    yield from _of_access(bucket)
    yield from _of_policy(seen, bucket)
    yield from _of_objects(seen, bucket)


def _open(seen: Seen, bucket: Configuration, found: tuple[Obstacle, ...]) -> tuple[Obstacle, ...]:
    """Return the obstacles, limited to the parts that are not yet in the wanted state."""
    done = _done(seen, bucket)
    parts = ((each, tuple(part for part in each.holds if part not in done)) for each in found)
    return tuple(Obstacle(each.name, each.what, holds) for each, holds in parts if holds)


def is_own_default(seen: Seen, encryption: Encryption) -> bool:
    """Return whether new objects are encrypted under a KMS key that AWS does not manage."""
    if encryption.algorithm == "AES256" or encryption.key is None:
        return False
    is_managed = seen.default_key is not None and seen.default_key.manager == "AWS"
    return not is_managed and not encryption.key.endswith("alias/aws/s3")


def _done(seen: Seen, bucket: Configuration) -> frozenset[Part]:
    """Return the parts that are already in the wanted state."""
    encryption = bucket.get(Encryption)
    parts: dict[Part, bool] = {
        "kms-default": is_own_default(seen, encryption),
        "sse-c-block": encryption.blocks_sse_c,
        "ownership": bucket.get(Ownership).is_enforced,
        "public-access": bucket.get(PublicAccessBlock).is_whole,
        "versioning": bucket.get(Versioning).is_enabled,
    }
    return frozenset(part for part, is_done in parts.items() if is_done)


def _of_access(bucket: Configuration) -> Iterator[Obstacle]:
    others = bucket.get(AccessControlList).to_others
    if not others:
        return
    grants = _told(f"{each.permission} to {each.who}" for each in others)
    is_public = any(each.is_public for each in others)
    yield Obstacle(
        "acl-grants",
        f"The access list grants {grants}; without access lists these rights end.",
        ("ownership", "public-access") if is_public else ("ownership",),
    )


def _of_policy(seen: Seen, bucket: Configuration) -> Iterator[Obstacle]:
    document = bucket.get(BucketPolicy).document
    if names := statements.public(document):
        yield Obstacle(
            "public-policy",
            f"The policy makes the bucket public ({_told(names)}); public requests end.",
            ("public-access",),
        )
    if names := statements.foreign_users(document, seen.account):
        yield Obstacle(
            "foreign-readers",
            f"Other accounts use the objects ({_told(names)}); they could not open new objects "
            "until the policy of the bucket's key allows it.",
            ("kms-default",),
        )
    if names := statements.service_writers(document):
        yield Obstacle(
            "service-writers",
            f"Services write to the bucket ({_told(names)}); under a KMS key their deliveries fail "
            "until the policy of the key allows them. Access logs cannot be under a KMS key.",
            ("kms-default",),
        )


def _of_objects(seen: Seen, bucket: Configuration) -> Iterator[Obstacle]:
    sample = seen.samples.get(bucket.bucket, Sample())
    if sample.sse_c:
        yield Obstacle(
            "sse-c-objects",
            f"{len(sample.sse_c)} of {sample.looked_at} checked objects are under customer keys "
            f"({_told(sample.sse_c)}); their writers would be refused.",
            ("sse-c-block",),
        )
    expiring = [
        str(rule.get("ID", "unnamed"))
        for rule in bucket.get(Lifecycle).rules
        if rule.get("Status") == "Enabled"
        and ({"Days", "Date"} & set(rule.get("Expiration") or {}))
        and not rule.get("NoncurrentVersionExpiration")
    ]
    if expiring:
        yield Obstacle(
            "expiring-objects",
            f"Rules expire objects ({_told(expiring)}); with versioning, expired objects stay "
            "hidden and paid for, until a rule expires noncurrent versions, too.",
            ("versioning",),
        )


def _of_replication(wanted: Wanted, bucket: Configuration) -> Iterator[Obstacle]:
    enabled = bucket.get(Replication).enabled
    skipping = [str(rule.get("ID", "unnamed")) for rule in enabled if not takes_kms(rule)]
    if skipping:
        yield Obstacle(
            "replication-rules",
            f"Rules do not replicate SSE-KMS objects ({_told(skipping)}); new objects would no "
            "longer be replicated, and no error would be reported.",
            ("kms-default",),
        )
    others = [str(rule.get("ID", "unnamed")) for rule in enabled if rule.get("ID") != RULE]
    if wanted.replica is not None and others:
        yield Obstacle(
            "other-replication",
            f"The bucket is already replicated ({_told(others)}), and a bucket has one role for "
            "all rules; that replication would end.",
            ("replication",),
        )


def _told(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {more} more" if more > 0 else "")
