# SPDX-License-Identifier: Apache-2.0
"""The controls of Security Hub that a bucket will not pass after a plan, each with the reason.

Controls: https://docs.aws.amazon.com/securityhub/latest/userguide/s3-controls.html
"""

from collections.abc import Iterator, Mapping

from s3crypt.buckets.settings import BucketPolicy, ObjectLock, Versioning

from . import statements
from .values import Part, Seen, Shortfall, Wanted

_HELD: Mapping[Part, tuple[str, str]] = {
    "kms-default": ("S3.17", "the default encryption was left unchanged"),
    "public-access": ("S3.8", "public access was not blocked"),
    "versioning": ("S3.14", "versions are not kept"),
}


def shortfalls_of(seen: Seen, wanted: Wanted, held: frozenset[Part]) -> tuple[Shortfall, ...]:
    """Return the controls that the bucket will not pass after the plan, in numerical order."""
    found = (
        *_of_account(seen),
        *(Shortfall(*_HELD[part]) for part in sorted(held & _HELD.keys())),
        *_of_policy(seen),
        *_of_deletion(seen, wanted, held),
        *_of_trails(seen, wanted),
    )
    return tuple(sorted(found, key=lambda each: (each.control.partition(".")[0], _number(each))))


def _number(shortfall: Shortfall) -> int:
    return int(shortfall.control.partition(".")[2])


def _of_account(seen: Seen) -> Iterator[Shortfall]:
    yield Shortfall(
        "S3.1",
        "it is a setting of the account, for all its buckets, and was not checked: aws s3control "
        f"get-public-access-block --account-id {seen.account}",
    )


def _of_policy(seen: Seen) -> Iterator[Shortfall]:
    document = seen.bucket.get(BucketPolicy).document if seen.bucket else None
    if names := statements.foreign_administrators(document, seen.account):
        why = f"the policy lets other accounts administer the bucket ({', '.join(names)})"
        yield Shortfall("S3.6", why)


def _of_deletion(seen: Seen, wanted: Wanted, held: frozenset[Part]) -> Iterator[Shortfall]:
    lock = seen.bucket.get(ObjectLock) if seen.bucket else ObjectLock()
    will_lock = wanted.lock and "versioning" not in held
    if not will_lock and not lock.is_enabled:
        yield Shortfall("S3.15", "Object Lock is off; once it is on, it cannot be turned off")
    versioning = seen.bucket.get(Versioning) if seen.bucket else Versioning()
    if not versioning.mfa_delete:
        why = "only the root user can turn MFA delete on, and it excludes lifecycle rules"
        yield Shortfall("S3.20", why)


def _of_trails(seen: Seen, wanted: Wanted) -> Iterator[Shortfall]:
    if not wanted.trail:
        why = "no trail for data events was requested, so trails were not checked"
        yield from (Shortfall(control, why) for control in ("S3.22", "S3.23"))
    elif not any(each.is_encrypted for each in seen.trails or () if each.name == wanted.trail_name):
        why = f"the files of the trail {wanted.trail_name} are under SSE-S3"
        yield Shortfall("CloudTrail.2", why)
