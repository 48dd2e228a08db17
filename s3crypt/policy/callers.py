# SPDX-License-Identifier: Apache-2.0
"""The caller of a request: the condition keys that it implies, and the principals that name it.

Principals: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from s3crypt.errors import ConfigError

from .documents import Principal
from .patterns import ABSENT, Value
from .truth import NotUnderstood, Truth

CallerKind: TypeAlias = Literal["role", "user", "root", "service", "anonymous"]

_EVERYONE = "*"
_ACCOUNT = re.compile(r"[0-9]{12}")
_ROOT = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}):root")
_NAMED = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(?:role|user)/[^*?]+")
_SESSION = re.compile(r"arn:aws[a-z-]*:sts::([0-9]{12}):assumed-role/([^/*?]+)/[^*?]+")
_TYPES: Mapping[CallerKind, str] = {"role": "AssumedRole", "user": "User", "root": "Account"}


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request.

    Attributes:
        kind: The kind of caller.
        arn: For a role, a user or a root user: the ARN (for a role, not the ARN of the session).
            For a service: its name, such as `logging.s3.amazonaws.com`. None for an anonymous
            caller.
        account: The caller's account, 12 digits; None for services and anonymous callers.
        tags: The tags of the role or user, and of the session.
    """

    kind: CallerKind
    arn: str | None = None
    account: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the caller has the name that its kind needs.

        Raises:
            ConfigError: A role, user or root user has no ARN or account, or a service no name.
        """
        is_of_account = self.kind in _TYPES
        if (is_of_account and not self.account) or (self.kind != "anonymous" and not self.arn):
            raise ConfigError(
                f"A caller of the kind {self.kind} needs a name.",
                hint="Give a role or user with its ARN and account, a service with its name.",
            )

    @property
    def name(self) -> str:
        """The name of a role or user without its path; empty for other callers."""
        return (self.arn or "").rpartition("/")[2] if self.kind in {"role", "user"} else ""


@dataclass(frozen=True, slots=True)
class Naming:
    """Whether a statement's principals name a caller.

    Attributes:
        itself: Whether a principal names the caller directly, or stands for everyone.
        account: Whether a principal is the caller's account. An Allow for the account is not
            enough: the caller's own IAM policies must allow the request too.
    """

    itself: Truth
    account: Truth = False


def derived_keys(caller: Caller) -> dict[str, Value]:
    """Return the condition keys whose values follow from the caller: name in lower case -> value.

    Availability: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
    """
    if caller.kind == "anonymous":
        return {
            "aws:principalaccount": "anonymous",
            "aws:principalarn": ABSENT,
            "aws:principalisawsservice": ABSENT,
            "aws:principaltype": "Anonymous",
            "aws:username": ABSENT,
        }
    if caller.kind == "service":
        # AWS does not document which ARN and account a service has as a caller, so these keys are
        # left out.
        return {
            "aws:principalisawsservice": "true",
            "aws:principalservicename": str(caller.arn),
            "aws:username": ABSENT,
        }
    return {
        "aws:principalaccount": str(caller.account),
        "aws:principalarn": str(caller.arn),
        "aws:principalisawsservice": "false",
        "aws:principaltype": _TYPES[caller.kind],
        "aws:sourceorgid": ABSENT,
        "aws:sourceorgpaths": ABSENT,
        "aws:username": caller.name if caller.kind == "user" else ABSENT,
        **{f"aws:principaltag/{name.lower()}": value for name, value in caller.tags.items()},
    }


def principal_fault(principal: Principal) -> NotUnderstood | None:
    """Return why s3crypt does not understand a principal, or None if it understands it."""
    kind, value = principal.type, principal.value
    is_understood = (
        value == _EVERYONE
        if kind == _EVERYONE
        else "*" not in value and "?" not in value
        if kind == "Service"
        else kind == "AWS"
        and (value == _EVERYONE or any(form.fullmatch(value) for form in (_ACCOUNT, _ROOT, _NAMED)))
    )
    return None if is_understood else NotUnderstood(f"the principal {kind} {value}")


def account_of(principal: Principal) -> str | None:
    """Return the account if a principal stands for a whole account, otherwise None."""
    if principal.type != "AWS":
        return None
    found = _ROOT.fullmatch(principal.value)
    if found:
        return found[1]
    return principal.value if _ACCOUNT.fullmatch(principal.value) else None


def naming(principal: Principal, caller: Caller) -> Naming:
    """Return whether a principal names a caller."""
    kind, value = principal.type, principal.value
    if value == _EVERYONE and kind in {_EVERYONE, "AWS"}:
        return Naming(itself=True)
    if caller.kind == "anonymous":
        return Naming(itself=False)
    if kind == "Service":
        fault = principal_fault(principal) or value == caller.arn
        return Naming(itself=fault if caller.kind == "service" else False)
    if caller.kind == "service":
        return Naming(itself=False)
    return _naming_of_account(principal, caller)


def _naming_of_account(principal: Principal, caller: Caller) -> Naming:
    kind, value = principal.type, principal.value
    if kind == "AWS":
        account = account_of(principal)
        if account is not None:
            return Naming(itself=False, account=account == caller.account)
        if _NAMED.fullmatch(value):
            return Naming(itself=value == caller.arn)
        session = _SESSION.fullmatch(value)
        if session and session.groups() != (caller.account, caller.name):
            return Naming(itself=False)
    return Naming(itself=principal_fault(principal) or False)
