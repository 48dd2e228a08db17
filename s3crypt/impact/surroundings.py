# SPDX-License-Identifier: Apache-2.0
"""Places that may depend on the key, and that a walk over buckets does not examine.

KMS shows the grants, the replicas and the last use of a key. Files and messages outside S3 name
their keys only inside, and no service lists them.
"""

from collections.abc import Iterator, Sequence

from s3crypt.errors import S3CryptError
from s3crypt.kms import Grant, LastUse
from s3crypt.kms.examination import Examined
from s3crypt.unseen import Unseen

from .report import NotLookedAt, Scope
from .services import Services
from .target import Target

_ALWAYS = (
    NotLookedAt(
        "Parquet files",
        "the keys in footers of Parquet Modular Encryption, which name this key only inside",
    ),
    NotLookedAt("messages outside S3", "files that `s3crypt encrypt` or an SDK wrote, and backups"),
    NotLookedAt("branch keys", "key stores (DynamoDB tables) whose branch keys the key wraps"),
    NotLookedAt(
        "directory buckets",
        "buckets of S3 Express One Zone that no URI named; a report about the account lists them",
    ),
)


def not_looked_at(
    services: Services, target: Target, scope: Scope, others: Sequence[str] | Unseen
) -> Iterator[NotLookedAt]:
    """Yield the places that the walk did not examine.

    Args:
        services: The clients.
        target: The key.
        scope: The places that the walk examined.
        others: The URIs of the account's buckets outside the scope, or an `Unseen` if the caller
            has no permission to list them.
    """
    if isinstance(others, Unseen):
        yield NotLookedAt(
            "other buckets", f"the account's buckets may not be listed: {others.action}"
        )
    elif others:
        yield NotLookedAt("other buckets", "buckets of the account", tuple(others))
    if not scope.account:
        yield NotLookedAt(
            "tables and vectors",
            "only a report about the whole account covers S3 Tables and S3 Vectors",
        )
    if target.account != services.account:
        yield NotLookedAt(
            "the key's account", "the key belongs to another account", (target.account,)
        )
    if target.siblings:
        regions = "the key's material is in these Regions, too; their buckets' keys are replicas"
        yield NotLookedAt("other Regions", regions, target.siblings)
    yield from _by_key(services, target)
    yield from _ALWAYS


def _by_key(services: Services, target: Target) -> Iterator[NotLookedAt]:
    """Yield the places to which the key's grants and its last use point."""
    try:
        found = services.examiner.examine(target.arn)
    except S3CryptError as error:
        yield NotLookedAt("grants and last use", f"KMS does not show them ({error.code})")
        return
    if found is None:
        return
    yield from _of_grants(target, found)
    yield _of_last_use(found.last_use, target)


def _of_grants(target: Target, found: Examined) -> Iterator[NotLookedAt]:
    if isinstance(found.grants, Unseen):
        yield NotLookedAt("grants", f"they may not be listed: {found.grants.action}")
        return
    services = sorted({each.grantee for each in found.grants if each.is_service})
    if services:
        yield NotLookedAt("services", "these have grants on the key", tuple(services))
    accounts = {_account(each) for each in found.grants if not each.is_service}
    if foreign := sorted(accounts - {target.account, ""}):
        yield NotLookedAt("other accounts", "these have grants on the key", tuple(foreign))


def _account(grant: Grant) -> str:
    """Return the account in a grantee's ARN. Return an empty text if the ARN has no account."""
    return "".join(grant.grantee.split(":")[4:5])


def _of_last_use(last: LastUse | Unseen | None, target: Target) -> NotLookedAt:
    what = "services by last use"
    if last is None:
        return NotLookedAt(what, f"KMS tells no last use of a key in the state {target.state}")
    if isinstance(last, Unseen):
        return NotLookedAt(what, f"the last use may not be read: {last.action}")
    since = f"{last.tracked_since:%Y-%m-%d}" if last.tracked_since else "KMS began to record"
    if last.moment is None:
        return NotLookedAt(what, f"KMS recorded no use of the key since {since}")
    used = f"{last.operation or 'used'} at {last.moment:%Y-%m-%d %H:%M} UTC"
    return NotLookedAt(what, f"the last use was {used}, by a service or a person (since {since})")
