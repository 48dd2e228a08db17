# SPDX-License-Identifier: Apache-2.0
"""The controls of a KMS key. The rules judge the replies of KMS and make no request."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from s3crypt.command_lines import aws, s3crypt_keys
from s3crypt.errors import ConfigError
from s3crypt.kms.examination import Examined
from s3crypt.kms.grants import Grant
from s3crypt.policy import Condition, Document, Kind, Status, findings
from s3crypt.unseen import Unseen

from .controls import Judged
from .values import Finding

DAYS_TO_EXPIRY = 30
"""Imported key material that expires within this number of days fails its control."""

DAYS_UNUSED = 90
"""A key fails if it was not used for this number of days. A key that is younger passes."""

_DYING = frozenset({"PendingDeletion", "PendingReplicaDeletion"})
_UNUSABLE = frozenset({"Disabled", "PendingImport", "Unavailable"})
_NAMED = 3
# https://docs.aws.amazon.com/kms/latest/developerguide/kms-api-permissions-reference.html
_ACROSS_ACCOUNTS = frozenset({"revoke_grant"})


@dataclass(frozen=True, slots=True)
class SeenKey:
    """A KMS key with the facts that the rules need.

    Attributes:
        judged: The key as a resource.
        key: The key's properties, read from KMS.
        account: The audited account.
        now: The time of the audit.
    """

    judged: Judged
    key: Examined
    account: str
    now: datetime

    @property
    def is_own(self) -> bool:
        """Whether the key belongs to the audited account. Only such a key can be changed."""
        return self.key.account == self.account

    def aws(self, operation: str, **arguments: object) -> str | None:
        """Return the command for a KMS request, or None if only the key's account may make it."""
        if not self.is_own and operation not in _ACROSS_ACCOUNTS:
            return None
        return aws("kms", operation, self.key.region, KeyId=self.key.arn, **arguments)

    def keys(self, verb: str) -> str | None:
        """Return the command `s3crypt keys VERB`, or None if the key belongs to another account."""
        return s3crypt_keys(verb, self.key.arn) if self.is_own else None


Rule: TypeAlias = Callable[[SeenKey], Iterator[Finding]]


def judge_key(seen: SeenKey) -> Iterator[Finding]:
    """Yield the findings about a key, one per control that applies to it."""
    for control, rule in _RULES.items():
        if control in _OF_STATE and not seen.key.state:
            unseen = Unseen("", "KMS does not report the key's state.", is_refused=False)
            yield seen.judged.unknown(control, unseen)
        else:
            yield from rule(seen)


def unseen_key(judged: Judged, unseen: Unseen) -> Iterator[Finding]:
    """Yield one unknown finding per control, for keys that could not be read at all."""
    for control in _RULES:
        yield judged.unknown(control, unseen)


def _deletion(seen: SeenKey) -> Iterator[Finding]:
    yield _of_deletion(seen, "KMS.3")


def _dying(seen: SeenKey) -> Iterator[Finding]:
    yield _of_deletion(seen, "S3CRYPT.8")


def _of_deletion(seen: SeenKey, control: str) -> Finding:
    key = seen.key
    if key.state not in _DYING:
        return seen.judged.passes(control, "No deletion is scheduled.")
    day = f" for {key.deletion:%Y-%m-%d}" if key.deletion else ""
    # The fix also enables the key, because KMS leaves it disabled after its deletion was cancelled.
    fix = _all_of(seen.keys("cancel-deletion"), seen.keys("enable"))
    return seen.judged.fails(control, f"The deletion is scheduled{day}.", fix=fix)


def _all_of(*parts: str | None) -> str | None:
    """Return the commands joined by `&&`, or None if one of them is missing."""
    found = [each for each in parts if each is not None]
    return " && ".join(found) if len(found) == len(parts) else None


def _rotation(seen: SeenKey) -> Iterator[Finding]:
    rotates = seen.key.rotates
    if isinstance(rotates, Unseen):
        yield seen.judged.unknown("KMS.4", rotates)
    elif rotates:
        yield seen.judged.passes("KMS.4", "KMS rotates the key automatically.")
    elif rotates is False:
        # A replica rotates with its primary key, and KMS accepts the request only for the primary
        # key.
        primary = seen.key.primary or seen.key.arn
        fix = f"s3crypt keys enable-rotation {shlex.quote(primary)}"
        # KMS accepts the request only for enabled keys.
        can_be = seen.key.state == "Enabled" and seen.is_own
        why = "Automatic rotation is off."
        yield seen.judged.fails("KMS.4", why, fix=fix if can_be else None)


def _public(seen: SeenKey) -> Iterator[Finding]:
    text = seen.key.policy
    if isinstance(text, Unseen):
        yield seen.judged.unknown("KMS.5", text)
        return
    try:
        document = Document.parse(text)
    except ConfigError as error:
        yield seen.judged.unknown("KMS.5", Unseen("", str(error), is_refused=False))
        return
    found = findings(document, Kind.KEY)
    open_ = [each for each in found if each.status is Status.FAILED]
    unclear = [each for each in found if each.status is Status.NOT_UNDERSTOOD]
    if open_:
        names = {str(each.statement) for each in open_}
        why = f"{open_[0].reason} ({', '.join(sorted(names))})"
        mended = _closed(document, names, seen.key.account).render(indent=None)
        fix = seen.aws("put_key_policy", PolicyName="default", Policy=mended)
        yield seen.judged.fails("KMS.5", why, fix=fix)
    elif unclear:
        why = f"Not understood: {unclear[0].reason} ({unclear[0].statement})"
        yield seen.judged.unknown("KMS.5", Unseen("", why, is_refused=False))
    else:
        yield seen.judged.passes("KMS.5", "No statement allows everyone.")


def _closed(document: Document, names: set[str], account: str) -> Document:
    """Return a key policy in which the statements `names` are limited to the key's account."""
    own = Condition("StringEquals", "kms:CallerAccount", (account,))
    return replace(
        document,
        statements=tuple(
            replace(each, conditions=(*each.conditions, own)) if name in names else each
            for name, each in document.named()
        ),
    )


def _usable(seen: SeenKey) -> Iterator[Finding]:
    state = seen.key.state
    if state in _DYING:
        return
    if state not in _UNUSABLE:
        yield seen.judged.passes("S3CRYPT.7", f"The key's state is {state}.")
        return
    fix = seen.keys("enable") if state == "Disabled" else None
    yield seen.judged.fails("S3CRYPT.7", f"The key's state is {state}.", fix=fix)


def _expiring(seen: SeenKey) -> Iterator[Finding]:
    key = seen.key
    if key.origin != "EXTERNAL" or key.state in _DYING:
        return
    if key.state == "PendingImport":
        why = "The key has no material: it has expired, was deleted, or was never imported."
        yield seen.judged.fails("S3CRYPT.9", why)
    elif key.expiry is None:
        yield seen.judged.passes("S3CRYPT.9", "The imported material does not expire.")
    else:
        told = f"The imported material expires on {key.expiry:%Y-%m-%d}."
        is_soon = key.expiry <= seen.now + timedelta(days=DAYS_TO_EXPIRY)
        make = seen.judged.fails if is_soon else seen.judged.passes
        yield make("S3CRYPT.9", told)


def _in_use(seen: SeenKey) -> Iterator[Finding]:
    use = seen.key.last_use
    if use is None:
        return
    if isinstance(use, Unseen):
        yield seen.judged.unknown("S3CRYPT.10", use)
        return
    limit = seen.now - timedelta(days=DAYS_UNUSED)
    if use.moment is not None and use.moment > limit:
        told = f"The last use was {use.operation} on {use.moment:%Y-%m-%d}."
        yield seen.judged.passes("S3CRYPT.10", told)
    elif use.moment is None and (young := _too_young(seen.key.created, use.tracked_since, limit)):
        yield seen.judged.passes("S3CRYPT.10", young)
    elif since := use.moment or use.tracked_since:
        yield _unused(seen, max(since, seen.key.created), use.tracked_since)
    else:
        reason = "KMS recorded no use, and does not report since when it has recorded uses."
        yield seen.judged.unknown("S3CRYPT.10", Unseen("", reason, is_refused=False))


def _too_young(created: datetime, tracked: datetime | None, limit: datetime) -> str | None:
    """Return why it is too early to call a key unused.

    Return None if the key and KMS's record of its uses are old enough.
    """
    if created > limit:
        return f"Too young to be called unused: created on {created:%Y-%m-%d}."
    if tracked is not None and tracked > limit:
        return (
            f"KMS has recorded uses only since {tracked:%Y-%m-%d}, too short to call the key "
            "unused."
        )
    return None


def _unused(seen: SeenKey, since: datetime, tracked: datetime | None) -> Finding:
    told = f"No use since {since:%Y-%m-%d}"
    if tracked is not None:
        told += f"; KMS has recorded uses since {tracked:%Y-%m-%d}"
    why = f"{told}. That alone is no reason to delete it."
    return seen.judged.fails("S3CRYPT.10", why, since=since)


def _shared(seen: SeenKey) -> Iterator[Finding]:
    if seen.key.account == seen.account:
        yield seen.judged.passes("S3CRYPT.11", "The key belongs to this account.")
        return
    why = f"The key belongs to account {seen.key.account}, which shares it."
    yield seen.judged.fails("S3CRYPT.11", why)


def _unconstrained(seen: SeenKey) -> Iterator[Finding]:
    grants = seen.key.grants
    if isinstance(grants, Unseen):
        yield seen.judged.unknown("S3CRYPT.12", grants)
        return
    open_ = tuple(each for each in grants if each.opens_everything)
    what = "allows decryption of all data under the key, without a constraint"
    yield _of_grants(seen, "S3CRYPT.12", open_, what)


def _to_services(seen: SeenKey) -> Iterator[Finding]:
    grants = seen.key.grants
    if isinstance(grants, Unseen):
        yield seen.judged.unknown("S3CRYPT.13", grants)
        return
    open_ = tuple(each for each in grants if each.serves_any_source)
    what = "is to a service, without a SourceArn"
    yield _of_grants(seen, "S3CRYPT.13", open_, what)


def _of_grants(seen: SeenKey, control: str, grants: tuple[Grant, ...], what: str) -> Finding:
    """Return a failed finding about grants that break a control, or a pass if there are no grants.

    Args:
        seen: The key.
        control: The id of the control.
        grants: The grants that break the control.
        what: The fault of each grant, as the end of a sentence.
    """
    if not grants:
        return seen.judged.passes(control, "There are no grants of this kind.")
    grantees = sorted({each.grantee for each in grants})
    told = ", ".join(grantees[:_NAMED])
    told += f" and {len(grantees) - _NAMED} more" if len(grantees) > _NAMED else ""
    count = f"{len(grants)} grants" if len(grants) > 1 else "A grant"
    fix = _all_of(*(seen.aws("revoke_grant", GrantId=each.id) for each in grants))
    dates = [each.created for each in grants if each.created is not None]
    since = min(dates) if len(dates) == len(grants) else None
    return seen.judged.fails(control, f"{count} {what}: {told}.", fix=fix, since=since)


_RULES: dict[str, Rule] = {
    "KMS.3": _deletion,
    "KMS.4": _rotation,
    "KMS.5": _public,
    "S3CRYPT.7": _usable,
    "S3CRYPT.8": _dying,
    "S3CRYPT.9": _expiring,
    "S3CRYPT.10": _in_use,
    "S3CRYPT.11": _shared,
    "S3CRYPT.12": _unconstrained,
    "S3CRYPT.13": _to_services,
}
_OF_STATE = frozenset({"KMS.3", "S3CRYPT.7", "S3CRYPT.8"})
