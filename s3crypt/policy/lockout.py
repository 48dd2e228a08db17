# SPDX-License-Identifier: Apache-2.0
"""Checks that the caller who writes a policy can still read, replace and delete it afterwards.

An added or changed statement must certainly leave the caller these rights. Unchanged statements are
considered if s3crypt understands them; otherwise they are reported.

The caller's own policies are not known here. They are assumed to allow everything, because the
caller was able to read the policy. If the caller has a right only by a statement of the policy
itself, the new policy must keep that right.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from .callers import Caller
from .documents import Condition, Document, Kind, Principal, Statement
from .evaluation import Decision, Policies, Request, Verdict, decide
from .merging import Merged, name_of
from .scope import root_arn

_ACTIONS: Mapping[Kind, tuple[str, ...]] = {
    Kind.BUCKET: ("s3:PutBucketPolicy", "s3:GetBucketPolicy", "s3:DeleteBucketPolicy"),
    Kind.KEY: ("kms:PutKeyPolicy", "kms:GetKeyPolicy"),
}
# The condition keys that every later request of the same caller certainly has. AWS refuses TLS
# versions below 1.2.
# https://aws.amazon.com/blogs/security/tls-1-2-required-for-aws-endpoints/
_CONTEXT = {"aws:SecureTransport": "true", "aws:ViaAWSService": "false", "s3:TlsVersion": "1.2"}
# The condition keys that can differ in a later request, such as its network, and the tags of
# sessions and resources.
_UNCERTAIN = (
    "aws:multifactorauth",
    "aws:principaltag/",
    "aws:resourcetag/",
    "aws:sourcevpc",
    "aws:vpcsourceip",
    "kms:resourcealiases",
)
_EVERYTHING = Statement("Allow", actions=("*",), resources=("*",))
_EVERYTHING_FOR_ALL = replace(_EVERYTHING, principals=(Principal("*", "*"),))
_ROLE = ":role/"
_WILDCARD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class Subject:
    """The resource that a policy belongs to, and the caller that writes the policy.

    Attributes:
        resource: The ARN of the bucket or the key.
        owner: The account of the bucket or the key.
        caller: The caller that writes the policy.
        has_known_path: Whether `caller.arn` certainly contains the role's path. False if the ARN
            was derived from a session's ARN, which has no path.
    """

    kind: Kind
    resource: str
    owner: str
    caller: Caller
    has_known_path: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the caller that writes a policy keeps control of it.

    Attributes:
        refusals: The reasons not to write the policy, each as the middle part of a sentence. Empty
            if the policy may be written.
        not_understood: The unchanged statements that are not understood and could deny the caller
            control.
        hint: The advice about the refusals, or None.
    """

    refusals: tuple[str, ...]
    not_understood: tuple[str, ...] = ()
    hint: str | None = None


def judge(merged: Merged, subject: Subject) -> Judgement:
    """Return whether the caller that writes the merged policy keeps control of it."""
    callers = tuple(_possible_callers(merged, subject))
    reasons: dict[_Reason, list[str]] = {}
    for action in _ACTIONS[subject.kind]:
        found = [_reason(merged, subject, caller, action) for caller in callers]
        refused = [each for each in found if each is not None]
        if refused:
            start, end = refused[0]
            other = "" if len(refused) == len(found) else ", unless its role has another path"
            reasons.setdefault((start, f"{end}{other}"), []).append(action)
    return Judgement(
        tuple(f"{start}{', '.join(actions)}{end}" for (start, end), actions in reasons.items()),
        tuple(_not_understood(merged, subject, callers)),
        _hint(subject, callers) if reasons else None,
    )


def account_control(document: Document, key_arn: str) -> Decision:
    """Return whether a key's policy lets the key's account replace the policy.

    If it does not, and the principals that the policy names are deleted, the key cannot be
    administered any more: neither the account's root user nor an IAM policy can change it.
    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    """
    subject = of_account(key_arn)
    request = Request(subject.caller, "kms:PutKeyPolicy", key_arn, subject.owner, _CONTEXT)
    return _decided(document, Kind.KEY, request)


def of_account(key_arn: str) -> Subject:
    """Return the subject for a key's policy that the root user of the key's account writes."""
    _, partition, _, _, account, _ = key_arn.split(":", 5)
    root = Caller("root", root_arn(partition, account), account)
    return Subject(Kind.KEY, key_arn, account, root)


_Reason: TypeAlias = tuple[str, str]
"""Why the caller might lose an action: the text before and the text after the action's name."""


def _reason(merged: Merged, subject: Subject, caller: Caller, action: str) -> _Reason | None:
    """Return why a caller might lose an action.

    Return None if the caller keeps it or never had it.
    """
    request = Request(caller, action, subject.resource, subject.owner, _CONTEXT)
    if _decided(merged.current, subject.kind, request).verdict is Verdict.DENIED:
        return None
    after = _decided(merged.document, subject.kind, request)
    if after.verdict is Verdict.DENIED:
        by = ", ".join(after.statements) or "no statement allows it"
        return f"{caller.arn} could no longer call ", f" ({by})"
    if after.verdict is Verdict.NOT_UNDERSTOOD:
        # Unchanged statements need not be understood; new and changed statements must be.
        after = _decided(_without_unclear(merged, subject, request), subject.kind, request)
        if after.verdict is not Verdict.ALLOWED:
            by = ", ".join(after.statements)
            reason = after.reason.rstrip(".")
            return f"it is not certain that {caller.arn} could call ", f" ({by}: {reason})"
    was_granted = _granted(merged.current, subject.kind, request)
    if was_granted and not _granted(merged.document, subject.kind, request):
        return f"{caller.arn} may lose ", ": the statement that allows it would be removed"
    return None


def _decided(document: Document | None, kind: Kind, request: Request) -> Decision:
    return decide(request, _policies(document, kind, (Document((_EVERYTHING,)),)))


def _granted(document: Document | None, kind: Kind, request: Request) -> bool:
    """Return whether the resource's policy allows the request without the caller's policies."""
    return decide(request, _policies(document, kind, ())).verdict is Verdict.ALLOWED


def _policies(document: Document | None, kind: Kind, identity: tuple[Document, ...]) -> Policies:
    certain = None if document is None else _with_uncertain_keys(document)
    if kind is Kind.KEY:
        return Policies(identity=identity, key=certain)
    return Policies(identity=identity, bucket=certain)


def _with_uncertain_keys(document: Document) -> Document:
    """Return the document with each uncertain condition key replaced by an unknown key."""
    return replace(
        document,
        statements=tuple(
            replace(each, conditions=tuple(map(_with_uncertain_key, each.conditions)))
            for each in document.statements
        ),
    )


def _with_uncertain_key(condition: Condition) -> Condition:
    if not condition.key.lower().startswith(_UNCERTAIN):
        return condition
    return replace(condition, key=f"later requests' {condition.key}")


def _without_unclear(merged: Merged, subject: Subject, request: Request) -> Document:
    """Return the merged policy without the unchanged statements that are not understood."""
    unclear = [each for each in merged.kept if _is_unclear(each, merged, subject.kind, request)]
    statements = tuple(each for each in merged.document.statements if each not in unclear)
    return replace(merged.document, statements=statements)


def _is_unclear(statement: Statement, merged: Merged, kind: Kind, request: Request) -> bool:
    """Return whether s3crypt does not understand a statement that could decide a request."""
    alone = replace(merged.document, statements=(statement,))
    if statement.effect == "Deny":
        # Add an Allow for everything: without an Allow, the request is denied anyway, and the Deny
        # makes no difference.
        alone = replace(alone, statements=(_EVERYTHING_FOR_ALL, statement))
        return _decided(alone, kind, request).verdict is Verdict.NOT_UNDERSTOOD
    return decide(request, _policies(alone, kind, ())).verdict is Verdict.NOT_UNDERSTOOD


def _not_understood(merged: Merged, subject: Subject, callers: tuple[Caller, ...]) -> Iterator[str]:
    requests = [
        Request(caller, action, subject.resource, subject.owner, _CONTEXT)
        for caller in callers
        for action in _ACTIONS[subject.kind]
    ]
    for each in merged.kept:
        if any(_is_unclear(each, merged, subject.kind, request) for request in requests):
            yield name_of(each, merged.document)


def _possible_callers(merged: Merged, subject: Subject) -> Iterator[Caller]:
    """Yield the caller. If its path is unknown, also yield it with each path in the policies."""
    yield subject.caller
    arn = subject.caller.arn or ""
    if subject.has_known_path or _ROLE not in arn:
        return
    start, _, name = arn.rpartition("/")
    documents = [each for each in (merged.current, merged.document) if each]
    named = {text for each in documents for text in _texts(each)}
    for path in sorted({path for each in named if (path := _path(each, name))}):
        yield replace(subject.caller, arn=f"{start}/{path}{name}")


def _texts(document: Document) -> Iterator[str]:
    for each in document.statements:
        for principal in (*(each.principals or ()), *(each.not_principals or ())):
            yield principal.value
        for condition in each.conditions:
            yield from condition.values


def _path(named: str, name: str) -> str | None:
    """Return a role path for which the ARN `role/PATH/NAME` matches the text `named`, or None."""
    _, _, rest = named.partition(_ROLE)
    if "*" in rest:
        # The wildcard also matches slashes, so it can match a path.
        head, _, tail = rest.rpartition("*")
        return f"{_WILDCARD.sub('x', head)}x/" if f"/{name}".endswith(tail) else None
    folder, slash, last = rest.rpartition("/")
    return f"{folder}/" if slash and last == name else None


def _hint(subject: Subject, callers: tuple[Caller, ...]) -> str:
    if len(callers) > 1:
        return "Allow the caller iam:GetRole for its own role, to find the role's path."
    if subject.kind is Kind.KEY:
        return (
            "Add the caller to the key's administrators, or let an administrator run the command."
        )
    return "Exclude the caller from that statement, or let an administrator run the command."
