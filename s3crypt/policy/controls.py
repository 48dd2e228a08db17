# SPDX-License-Identifier: Apache-2.0
"""The controls of Security Hub that are about the text of policies: KMS.1, KMS.2 and KMS.5.

This module follows Security Hub's wording of the controls, which is coarser than a decision about a
request: KMS.1 and KMS.2 look only at actions and Resource, and ignore every Condition.

https://docs.aws.amazon.com/securityhub/latest/userguide/kms-controls.html
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .compiled import covers
from .documents import Condition, Document, Kind, Principal, Statement
from .patterns import Style, compile_texts

_DECRYPTING = ("kms:Decrypt", "kms:ReEncryptFrom")
_MANAGED, _INLINE, _PUBLIC = "KMS.1", "KMS.2", "KMS.5"
_CONTROLS = {
    Kind.MANAGED: _MANAGED,
    Kind.ROLE: _INLINE,
    Kind.USER: _INLINE,
    Kind.GROUP: _INLINE,
    Kind.KEY: _PUBLIC,
}
_SOME_KEY = "arn:aws:kms:us-east-1:111122223333:key/8a1f0c7e-5f6d-4c0b-9f4e-1f2e3d4c5b6a"
# A condition that gives fixed values for one of these keys limits a statement to the callers with
# these values.
_NAMING_KEYS = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceip",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "kms:calleraccount",
    }
)
# Operators that hold only for the listed values. If a request lacks the condition key, they do not
# hold.
_POSITIVE = frozenset(
    {
        "ArnEquals",
        "ArnLike",
        "IpAddress",
        "StringEquals",
        "StringEqualsIgnoreCase",
        "StringLike",
    }
)
_EVERYWHERE = frozenset({"0.0.0.0/0", "::/0"})


class Status(StrEnum):
    """The result of a control. `PASSED` and `FAILED` are Security Hub's own names."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_UNDERSTOOD = "not understood"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a control for a document.

    Attributes:
        control: `KMS.1`, `KMS.2` or `KMS.5`.
        status: Whether the document passes the control.
        statement: The Sid or the number of the statement that this result is about, or None.
        reason: The explanation, as a sentence.
    """

    control: str
    status: Status
    statement: str | None
    reason: str


def findings(document: Document, kind: Kind) -> tuple[Finding, ...]:
    """Return the findings of the control that checks documents of this kind.

    A document that passes has one finding. Otherwise each statement that fails the control, or is
    not understood, has a finding. No control checks trust policies and bucket policies: the result
    is then empty.
    """
    control = _CONTROLS.get(kind)
    if control is None:
        return ()
    check = _public_access if control == _PUBLIC else _decryption_of_every_key
    found = tuple(
        Finding(control, status, name, reason)
        for name, statement in document.named()
        for status, reason in check(statement)
    )
    return found or (Finding(control, Status.PASSED, None, _PASSED[control]),)


_NO_DECRYPTION = "No statement allows decryption under all keys."
_PASSED = {
    _MANAGED: _NO_DECRYPTION,
    _INLINE: _NO_DECRYPTION,
    _PUBLIC: "No statement allows everyone.",
}


def _decryption_of_every_key(statement: Statement) -> Iterator[tuple[Status, str]]:
    # Ignore a Deny in the same document: the control's text does not mention it.
    allowed = [each for each in _DECRYPTING if covers(statement, each)]
    if statement.effect != "Allow" or not allowed:
        return
    what = " and ".join(allowed)
    keys = [_key_pattern(each) for each in statement.resources or ()]
    if statement.unknown or statement.resources is None:
        yield Status.NOT_UNDERSTOOD, f"It allows {what}, but names no Resource."
    elif any(each is not None and not each.strip("*") for each in keys):
        yield Status.FAILED, f"It allows {what} on all keys."
    elif any(each is not None and _is_open(each) for each in keys):
        yield Status.NOT_UNDERSTOOD, f"It allows {what} on a pattern of keys."


def _key_pattern(resource: str) -> str | None:
    # Return the part of a resource that names a KMS key. Return None if the resource is not a KMS
    # key. Region and account are not returned, so a pattern for all keys of one Region counts as a
    # pattern for all keys.
    parts = resource.split(":", 5)
    if len(parts) < 6:
        return "*" if _is_rest_of_keys(resource) or _matches(resource, _SOME_KEY) else None
    if not _matches(parts[2], "kms"):
        return None
    name = parts[5].removeprefix("key/")
    if name != parts[5]:
        return name
    head, sign, _ = name.partition("*")
    if sign and _matches(f"{head}*", "key/"):
        return name[len(head) :]
    return name if _matches(name[:4], "key/") else None


def _is_rest_of_keys(resource: str) -> bool:
    # Return whether a short ARN, such as `arn:aws:kms:*`, covers KMS keys: a wildcard at its end
    # matches the rest of any ARN.
    head = resource.partition("*")[0]
    service = "".join(head.split(":")[2:3])
    return resource.endswith("*") and "arn:".startswith(head[:4]) and "kms".startswith(service)


def _matches(pattern: str, text: str) -> bool:
    return compile_texts((pattern,), Style.LIKE, variables=False)(text, {}) is True


def _is_open(text: str) -> bool:
    return any(sign in text for sign in ("*", "?", "${"))


def _public_access(statement: Statement) -> Iterator[tuple[Status, str]]:
    if statement.effect != "Allow":
        return
    if statement.not_principals is not None or statement.unknown:
        yield Status.NOT_UNDERSTOOD, "It allows everyone but the principals that it names."
    elif not _names_everyone(statement.principals or ()) or _is_limited(statement.conditions):
        return
    elif any(_demands_fixed_value(each) for each in statement.conditions):
        yield Status.NOT_UNDERSTOOD, "It allows everyone under conditions that name no caller."
    else:
        yield Status.FAILED, "It allows everyone; only conditions with fixed values are credited."


def _names_everyone(principals: Sequence[Principal]) -> bool:
    return any("*" in each.value for each in principals if each.type in {"*", "AWS"})


def _is_limited(conditions: Sequence[Condition]) -> bool:
    return any(
        _demands_fixed_value(each)
        and each.operator in _POSITIVE
        and each.key.lower() in _NAMING_KEYS
        for each in conditions
    )


def _demands_fixed_value(condition: Condition) -> bool:
    return (
        condition.operator.removesuffix("IfExists") in _POSITIVE
        and _EVERYWHERE.isdisjoint(condition.values)
        and not any(_is_open(each) for each in condition.values)
    )
