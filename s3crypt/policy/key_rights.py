# SPDX-License-Identifier: Apache-2.0
"""A key policy in words: who may administer the key, use it, and grant its use.

Only the key policy is described. IAM policies of the account, grants of the key, and policies of an
organization are not considered. A condition is shown as text. Whether it holds for a request is
decided in `evaluation`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .callers import account_of
from .compiled import Place, covers, covers_resource, faults
from .controls import Finding, Status, findings
from .documents import Condition, Document, Kind, Principal, Statement
from .evaluation import Decision, Verdict
from .lockout import account_control

# Actions that change the KMS key, its material, its policy or its grants. Actions that only read
# are left out.
_ADMINISTRATION = (
    "CancelKeyDeletion",
    "DeleteImportedKeyMaterial",
    "DisableKey",
    "DisableKeyRotation",
    "EnableKey",
    "EnableKeyRotation",
    "ImportKeyMaterial",
    "PutKeyPolicy",
    "ReplicateKey",
    "RevokeGrant",
    "RotateKeyOnDemand",
    "ScheduleKeyDeletion",
    "UpdateKeyDescription",
    "UpdatePrimaryRegion",
)
_USE = (
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
)
_GRANT = ("CreateGrant",)
_CALLER = "aws:principalarn"
_EQUAL = frozenset({"ArnEquals", "ArnLike", "StringEquals", "StringLike"})
# At most this many action names are shown; the rest are shown as a number.
_LISTED_ACTIONS = 4


@dataclass(frozen=True, slots=True)
class Holder:
    """A principal to which a key policy allows some actions.

    Attributes:
        who: The principal: an ARN, `account 111122223333`, a service's name, or `everyone`.
        needs_iam: Whether the principal also needs an Allow in its own IAM policies.
        actions: The allowed actions without `kms:`. Empty if all actions of the kind (administer,
            use or grant) are allowed.
        conditions: The conditions in words. They must all hold.
    """

    who: str
    needs_iam: bool
    actions: tuple[str, ...]
    conditions: tuple[str, ...]

    @property
    def words(self) -> str:
        """A description of the holder, on one line."""
        who = f"{self.who} by its IAM policies" if self.needs_iam else self.who
        more = len(self.actions) - _LISTED_ACTIONS
        listed = ", ".join(self.actions[:_LISTED_ACTIONS]) + (f" and {more} more" * (more > 0))
        limited = f"{who}: {listed}" if listed else who
        return f"{limited}, if {' and '.join(self.conditions)}" if self.conditions else limited


@dataclass(frozen=True, slots=True)
class KeyRights:
    """Who may administer, use and grant a key by its policy.

    Attributes:
        administer: The principals that may change the key, its policy, material or grants.
        use: The principals that may encrypt or decrypt with the key.
        grant: The principals that may create grants.
        denied: The Deny statements in words. A Deny for everyone without conditions is not listed:
            its actions are already removed from the holders.
        not_understood: The statements that s3crypt does not understand: name -> reason. They may
            allow or deny more than is listed here.
    """

    administer: tuple[Holder, ...]
    use: tuple[Holder, ...]
    grant: tuple[Holder, ...]
    denied: tuple[str, ...]
    not_understood: Mapping[str, str]

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the rights for display: the kind of right, and a holder or statement in words."""
        kinds = (("administer", self.administer), ("use", self.use), ("grant", self.grant))
        for kind, holders in kinds:
            yield from ((f"may {kind}", each.words) for each in holders)
            if not holders:
                yield f"may {kind}", "no one"
        yield from (("denied", each) for each in self.denied)
        yield from (("not understood", f"{k}: {v}") for k, v in self.not_understood.items())


@dataclass(frozen=True, slots=True)
class KeyPolicyCheck:
    """The result of checking a key policy.

    Attributes:
        key_arn: The key.
        rights: Who may administer, use and grant the key.
        findings: The findings of Security Hub's control KMS.5.
        control: Whether the policy permits the key's account to replace the policy. If not, the key
            cannot be administered any more when the principals in the policy are deleted.
    """

    key_arn: str
    rights: KeyRights
    findings: tuple[Finding, ...]
    control: Decision

    @property
    def failures(self) -> tuple[str, ...]:
        """The reasons why the policy should change, as sentences; empty if there is none."""
        failed = [each for each in self.findings if each.status is Status.FAILED]
        public = [f"{each.control} ({each.statement}): {each.reason}" for each in failed]
        if self.control.verdict is Verdict.DENIED:
            account = self.key_arn.split(":")[4]
            public.append(
                f"The account {account} cannot replace the policy: if the principals that it names"
                " are gone, the key cannot be administered any more."
            )
        return tuple(public)

    @property
    def uncertainty(self) -> str:
        """The reason why it is uncertain whether the account can replace the policy.

        Empty if it is known.
        """
        return self.control.reason if self.control.verdict is Verdict.NOT_UNDERSTOOD else ""


def check_key_policy(document: Document, key_arn: str) -> KeyPolicyCheck:
    """Return a key policy's rights, its findings, and whether the account controls it."""
    return KeyPolicyCheck(
        key_arn,
        key_rights(document, key_arn),
        findings(document, Kind.KEY),
        account_control(document, key_arn),
    )


def key_rights(document: Document, key_arn: str) -> KeyRights:
    """Return who may administer, use and grant a key by the statements of its policy."""
    effective = [each for each in document.statements if covers_resource(each, key_arn)]
    denies = [each for each in effective if each.effect == "Deny"]
    allows = [each for each in effective if each.effect == "Allow"]
    administer, use, grant = (
        tuple(_holders(allows, denies, kind, key_arn)) for kind in (_ADMINISTRATION, _USE, _GRANT)
    )
    return KeyRights(
        administer=administer,
        use=use,
        grant=grant,
        denied=tuple(_denial(each) for each in denies if not _is_deducted(each)),
        not_understood=faults(document, Place.KEY),
    )


def _holders(
    allows: Sequence[Statement], denies: Sequence[Statement], kind: tuple[str, ...], key_arn: str
) -> Iterator[Holder]:
    found: dict[Holder, set[str]] = {}
    for statement in allows:
        allowed = [each for each in kind if covers(statement, f"kms:{each}")]
        for principal in statement.principals or ():
            for one, conditions in _narrowed(principal, statement.conditions):
                left = [each for each in allowed if not _is_denied(one, each, denies)]
                holder = Holder(_who(one), _needs_iam(one, key_arn), (), conditions)
                if left:
                    found.setdefault(holder, set()).update(left)
    for holder, actions in found.items():
        yield holder if len(actions) == len(kind) else replace(holder, actions=(*sorted(actions),))


def _narrowed(
    principal: Principal, conditions: Iterable[Condition]
) -> Iterator[tuple[Principal, tuple[str, ...]]]:
    """Yield the principals to which a principal is limited by its conditions, with the conditions.

    If a condition on aws:PrincipalArn limits an account or everyone, each ARN in this condition is
    yielded as a principal, and the condition is left out.
    """
    given = tuple(conditions)
    naming = [each for each in given if _names_callers(each)]
    rest = tuple(_condition_words(each) for each in given if each not in naming[:1])
    if not naming or (account_of(principal) is None and principal.value != "*"):
        yield principal, tuple(map(_condition_words, given))
        return
    for value in naming[0].values:
        yield Principal(_NARROWED if principal.value != "*" else "AWS", value), rest


# The type of a principal that a statement names by its account and a condition on its ARN.
_NARROWED = "AWS, by account"


def _names_callers(condition: Condition) -> bool:
    return condition.key.lower() == _CALLER and condition.operator in _EQUAL


def _is_deducted(deny: Statement) -> bool:
    """Return whether a Deny is for everyone without conditions: the holders lack its actions."""
    return not deny.conditions and all(each.value == "*" for each in deny.principals or ())


def _is_denied(principal: Principal, action: str, denies: Sequence[Statement]) -> bool:
    account = account_of(principal) or "".join(principal.value.split(":")[4:5])
    return any(
        not each.conditions
        and covers(each, f"kms:{action}")
        and any(
            denied.value in {"*", principal.value} or (account and account_of(denied) == account)
            for denied in each.principals or ()
        )
        for each in denies
    )


def _who(principal: Principal) -> str:
    account = account_of(principal)
    if account is not None:
        return f"account {account}"
    return "everyone" if principal.value == "*" else principal.value


def _needs_iam(principal: Principal, key_arn: str) -> bool:
    """Return whether a principal that a key policy allows also needs an Allow in an IAM policy."""
    if principal.type == _NARROWED or account_of(principal) is not None:
        return True
    is_named = principal.type == "AWS" and principal.value.startswith("arn:")
    # The slices tolerate a pattern that has fewer parts than an ARN, such as arn:*.
    return is_named and principal.value.split(":")[4:5] != key_arn.split(":")[4:5]


def _denial(statement: Statement) -> str:
    actions = statement.actions or tuple(f"not {each}" for each in statement.not_actions or ())
    named = statement.principals or ()
    who = ", ".join(map(_who, named)) or "everyone but some principals"
    denied = f"{who}: {', '.join(actions)}"
    conditions = " and ".join(map(_condition_words, statement.conditions))
    return f"{denied}, if {conditions}" if conditions else denied


_OPERATORS = {
    "ArnEquals": "is",
    "ArnLike": "is like",
    "ArnNotEquals": "is not",
    "ArnNotLike": "is not like",
    "Bool": "is",
    "IpAddress": "is in",
    "NotIpAddress": "is not in",
    "StringEquals": "is",
    "StringLike": "is like",
    "StringNotEquals": "is not",
    "StringNotLike": "is not like",
}


def _condition_words(condition: Condition) -> str:
    operator = condition.operator.removesuffix("IfExists")
    words = _OPERATORS.get(operator, f"({operator})")
    present = " (if present)" if operator != condition.operator else ""
    return f"{condition.key}{present} {words} {' or '.join(condition.values)}"
