# SPDX-License-Identifier: Apache-2.0
"""Requests around policies: each begins at a statement and hits, or narrowly misses, its elements.

The same seed gives the same requests. A key of a condition has a value that the condition names, a
similar one, or none.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator import Question

from s3crypt.policy import Caller, Kind, Policies, Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from simulator import Action

    from s3crypt.policy import Condition, Document, Statement

OTHER_ACCOUNT = "999988887777"
_SERVICES = ("logging.s3.amazonaws.com", "s3.amazonaws.com", "cloudtrail.amazonaws.com")
_NAMES = ("2026/q3.csv", "logs/a b", "x")
# Values of headers that callers really send, whatever the policies name.
_MORE_VALUES: Mapping[str, tuple[str, ...]] = {
    "s3:x-amz-server-side-encryption": ("AES256", "aws:kms", "aws:kms:dsse"),
    "s3:x-amz-server-side-encryption-customer-algorithm": ("AES256",),
    "s3:x-amz-acl": ("private", "bucket-owner-full-control"),
    "aws:sourcevpce": ("vpce-0123456789abcdef0",),
    "kms:viaservice": ("s3.us-east-1.amazonaws.com", "dynamodb.us-east-1.amazonaws.com"),
}
_TLS_VERSIONS = ("1.0", "1.1", "1.2", "1.3")
# Keys that the generator or the caller decides, and no condition.
_DECIDED = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalisawsservice",
        "aws:principalservicename",
        "aws:principaltype",
        "aws:resourceaccount",
        "aws:securetransport",
        "aws:sourceip",
        "aws:username",
        "kms:calleraccount",
        "s3:resourceaccount",
        "s3:tlsversion",
    }
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A document that is compared, and those that decide beside it.

    Attributes:
        account: The account of the bucket and of the keys.
        bucket: The bucket's ARN.
        keys: The ARNs of keys.
        caller: Whose an identity policy is.
        beside: More documents by kind: a bucket's and a key's policy beside an identity policy,
            and the caller's policies beside those.
    """

    name: str
    kind: Kind
    document: Document
    account: str
    bucket: str
    keys: tuple[str, ...]
    caller: Caller | None = None
    beside: Mapping[Kind, tuple[Document, ...]] = field(default_factory=dict)


def questions(
    subject: Subject, known: Mapping[str, Action], count: int, seed: int
) -> list[Question]:
    """Return so many questions about a subject."""
    generator = _Generator(subject, known, random.Random(f"{subject.name} {seed}"))
    return [generator.question() for _ in range(count)]


class _Generator:
    def __init__(self, subject: Subject, known: Mapping[str, Action], draw: random.Random) -> None:
        self._subject = subject
        self._known = known
        self._draw = draw
        self._sets = list(_policy_sets(subject))
        self._conditions: dict[str, list[Condition]] = {}
        for document in (subject.document, *(d for each in subject.beside.values() for d in each)):
            for statement in document.statements:
                for condition in statement.conditions:
                    self._conditions.setdefault(condition.key.lower(), []).append(condition)
        self._callers = list(_callers(subject))

    def question(self) -> Question:
        """Return a question about one of the statements."""
        draw = self._draw
        statement = draw.choice(self._subject.document.statements)
        action, kind = self._action(statement)
        resource = self._resource(statement, kind)
        caller = draw.choice(self._callers)
        owner = resource.split(":")[4] if ":kms:" in resource else self._subject.account
        context = self._context(statement, self._known[action].keys[kind], caller)
        policies = draw.choice(self._sets)
        return Question(Request(caller, action, resource, owner, context), policies)

    def _action(self, statement: Statement) -> tuple[str, str]:
        patterns = statement.actions if self._draw.random() < 0.8 else ("s3:*", "kms:*")
        known = [name for name in self._known if _matches(patterns or ("*",), name)]
        pairs = [
            (name, kind)
            for name in known
            for kind in self._known[name].keys
            if _is_about_us(name, kind)
        ]
        if not pairs:  # a statement about access points, say
            return self._draw.choice([("s3:GetObject", "object"), ("kms:Decrypt", "key")])
        return self._draw.choice(pairs)

    def _resource(self, statement: Statement, kind: str) -> str:
        subject, draw = self._subject, self._draw
        if kind == "*":
            return "*"
        if kind == "key":
            other = f"{subject.keys[0][:-4]}0000" if subject.keys else _some_key(subject)
            return draw.choice([*subject.keys * 3, other])
        if kind == "alias":
            return f"{_some_key(subject).rpartition(':')[0]}:alias/reports"
        bucket = subject.bucket if draw.random() < 0.9 else f"{subject.bucket}-2"
        if kind == "bucket":
            return bucket
        fitting = [
            _instance(pattern, draw)
            for pattern in statement.resources or ()
            if pattern.startswith(f"{bucket}/")
        ]
        return draw.choice([*fitting * 3, *(f"{bucket}/{name}" for name in _NAMES)])

    def _context(
        self, statement: Statement, keys: frozenset[str], caller: Caller
    ) -> dict[str, str | tuple[str, ...]]:
        draw = self._draw
        context: dict[str, str | tuple[str, ...]] = {}
        own = {each.key.lower() for each in statement.conditions}
        for key, conditions in self._conditions.items():
            if key in _DECIDED or not _is_of(key, keys):
                continue
            if draw.random() < (0.75 if key in own else 0.3):
                value = self._value(key, draw.choice(conditions))
                context[conditions[0].key] = value
        context |= self._transport(keys)
        if caller.kind == "service" and draw.random() < 0.7:
            context.setdefault("aws:SourceAccount", self._subject.account)
            context.setdefault("aws:SourceArn", self._subject.bucket)
        return context

    def _transport(self, keys: frozenset[str]) -> dict[str, str]:
        draw = self._draw
        found = {"aws:SourceIp": draw.choice(["203.0.113.7", "198.51.100.1"])}
        if draw.random() < 0.15:
            return {**found, "aws:SecureTransport": "false"}
        version = {"s3:TlsVersion": draw.choice(_TLS_VERSIONS)} if "s3:tlsversion" in keys else {}
        return {**found, "aws:SecureTransport": "true", **version}

    def _value(self, key: str, condition: Condition) -> str | tuple[str, ...]:
        draw = self._draw
        chosen = draw.choice([*condition.values, *_MORE_VALUES.get(key, ())])
        if condition.operator == "Null":
            chosen = draw.choice([*_MORE_VALUES.get(key, ()), "x"])
        value = _instance(chosen, draw)
        if draw.random() < 0.3:
            value = _similar(value, draw)
        return (value,) if condition.operator.startswith("For") else value


def _policy_sets(subject: Subject) -> Iterator[Policies]:
    # Made once, since they are compiled: alone, and beside each of the others.
    beside = subject.beside
    own = beside.get(Kind.ROLE, ())
    buckets: Sequence[Document | None] = [None, *beside.get(Kind.BUCKET, ())]
    keys = beside.get(Kind.KEY, ())
    if subject.kind is Kind.BUCKET:
        yield from (Policies((each,), subject.document, keys[0]) for each in own)
        yield Policies((), subject.document, keys[0])
    elif subject.kind is Kind.KEY:
        yield from (Policies((each,), None, subject.document) for each in own)
        yield Policies((), None, subject.document)
    else:
        yield from (
            Policies((subject.document,), bucket, key) for bucket in buckets for key in keys
        )


def _callers(subject: Subject) -> Iterator[Caller]:
    account = subject.account
    if subject.caller:
        yield subject.caller
        return
    named = {
        value
        for document in (subject.document,)
        for statement in document.statements
        for condition in statement.conditions
        if condition.key.lower() == "aws:principalarn"
        for value in condition.values
        if "*" not in value
    }
    for arn in sorted(named):
        yield Caller("role", arn, arn.split(":")[4], {"env": "production"})
    yield Caller("role", f"arn:aws:iam::{account}:role/other", account)
    yield Caller("role", f"arn:aws:iam::{account}:role/other", account, {"env": "production"})
    yield Caller("user", f"arn:aws:iam::{account}:user/ada", account)
    yield Caller("role", f"arn:aws:iam::{OTHER_ACCOUNT}:role/guest", OTHER_ACCOUNT)
    yield Caller("root", f"arn:aws:iam::{account}:root", account)
    yield from (Caller("service", each) for each in _SERVICES)
    yield Caller("anonymous")


def _some_key(subject: Subject) -> str:
    if subject.keys:
        return subject.keys[0]
    return f"arn:aws:kms:us-east-1:{subject.account}:key/00000000-0000-4000-8000-000000000000"


def _is_about_us(action: str, kind: str) -> bool:
    return kind in {"s3": ("bucket", "object", "*"), "kms": ("key", "alias", "*")}.get(
        action.partition(":")[0], ("*",)
    )


def _is_of(key: str, keys: frozenset[str]) -> bool:
    # Global keys are not listed; keys with a name of the caller's choice are listed by their prefix.
    prefix = re.split(r"(?<=[/])|(?<=context:)", key)[0]
    return key.startswith("aws:") or any(each.startswith(prefix) for each in keys)


def _matches(patterns: Sequence[str], name: str) -> bool:
    return any(
        re.fullmatch(re.escape(each).replace(r"\*", ".*").replace(r"\?", "."), name, re.IGNORECASE)
        for each in patterns
    )


def _instance(pattern: str, draw: random.Random) -> str:
    text = re.sub(r"\*", lambda _: draw.choice(["", "q3.csv", "a/b"]), pattern)
    return text.replace("?", "q")


def _similar(value: str, draw: random.Random) -> str:
    if value in {"true", "false"}:
        return "false" if value == "true" else "true"
    if re.fullmatch(r"[0-9]+", value):
        return str(int(value) + draw.choice([-1, 1]))
    return draw.choice([f"{value}x", value[:-1] or "x", value.swapcase()])
