# SPDX-License-Identifier: Apache-2.0
"""Generate requests to compare. Each meets, or narrowly misses, a statement of a policy.

The same seed gives the same requests. A condition key has a value that the condition names, a
similar value, or no value.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from enum import Enum
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
# Values that these headers have in real requests. They are used in addition to the values in
# policies.
_MORE_VALUES: Mapping[str, tuple[str, ...]] = {
    "s3:x-amz-server-side-encryption": ("AES256", "aws:kms", "aws:kms:dsse"),
    "s3:x-amz-server-side-encryption-customer-algorithm": ("AES256",),
    "s3:x-amz-acl": ("private", "bucket-owner-full-control"),
    "aws:sourcevpce": ("vpce-0123456789abcdef0",),
    "kms:viaservice": ("s3.us-east-1.amazonaws.com", "dynamodb.us-east-1.amazonaws.com"),
}
_TLS_VERSIONS = ("1.0", "1.1", "1.2", "1.3")
# Condition keys whose values the generator or the caller sets, whatever the conditions say.
_DECIDED = frozenset(
    {
        "aws:currenttime",
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


class _Aim(Enum):
    """How well a request fits the statement from which it starts."""

    MEET = "has the values that the conditions name"
    SPARSE = "has few of the keys that conditions look at"
    ANY = "has similar values, and perhaps no TLS"


# For each aim: the chance that the request has a condition key of another statement, and the chance
# that it has a key of its own statement.
_CHANCES: Mapping[_Aim, tuple[float, float]] = {
    _Aim.MEET: (0.1, 1.0),
    _Aim.SPARSE: (0.1, 0.3),
    _Aim.ANY: (0.4, 0.7),
}
# The caller's values of the variables in handwritten policies.
_VARIABLES: Mapping[str, str] = {"aws:username": "ada", "aws:PrincipalTag/team": "lake"}


@dataclass(frozen=True, slots=True)
class Subject:
    """A document to compare, and the documents that are evaluated together with it.

    Attributes:
        account: The account of the bucket and of the keys.
        bucket: The bucket's ARN.
        keys: The ARNs of keys.
        caller: The caller to whom an identity policy belongs.
        beside: The other documents by kind. For an identity policy these are a bucket's and a key's
            policy; for a bucket's or a key's policy these are the caller's policies.
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
    """Return `count` questions about a subject. `known` are all actions by name."""
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
        self._matching: dict[tuple[str, ...], list[tuple[str, str]]] = {}

    def question(self) -> Question:
        """Return a question that meets, or narrowly misses, one of the statements."""
        draw = self._draw
        statement = draw.choice(self._subject.document.statements)
        action, kind = self._action(statement)
        resource = self._resource(statement, kind)
        owner = resource.split(":")[4] if ":kms:" in resource else self._subject.account
        aim = draw.choice(list(_Aim))
        caller = self._caller(statement, aim)
        context = self._context(statement, self._known[action].keys[kind], caller, aim)
        request = Request(caller, action, resource, owner, context)
        return Question(request, draw.choice(self._sets))

    def _caller(self, statement: Statement, aim: _Aim) -> Caller:
        named = [
            value
            for each in statement.conditions
            if each.key.lower() == "aws:principalarn"
            for value in each.values
        ]
        fitting = [each for each in self._callers if each.arn in named]
        return self._draw.choice(fitting if fitting and aim is _Aim.MEET else self._callers)

    def _action(self, statement: Statement) -> tuple[str, str]:
        patterns = statement.actions if self._draw.random() < 0.8 else ("s3:*", "kms:*")
        # A statement about access points, for example, has no matching action.
        return self._draw.choice(
            self._pairs(patterns or ("*",)) or [("s3:GetObject", "object"), ("kms:Decrypt", "key")]
        )

    def _pairs(self, patterns: tuple[str, ...]) -> list[tuple[str, str]]:
        # The actions that match these patterns, each with the kinds of resources that it accepts.
        if patterns not in self._matching:
            self._matching[patterns] = [
                (name, kind)
                for name, action in self._known.items()
                if _matches(patterns, name)
                for kind, keys in action.keys.items()
                if _is_about_us(name, kind) and _is_requested(name, keys)
            ]
        return self._matching[patterns]

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
        instances = [_instance(pattern, draw) for pattern in statement.resources or ()]
        fitting = [each for each in instances if re.fullmatch(f"{bucket}/.+", each)]
        return draw.choice([*fitting * 3, *(f"{bucket}/{name}" for name in _NAMES)])

    def _context(
        self, statement: Statement, keys: frozenset[str], caller: Caller, aim: _Aim
    ) -> dict[str, str | tuple[str, ...]]:
        draw = self._draw
        context: dict[str, str | tuple[str, ...]] = {}
        own = {each.key.lower(): each for each in statement.conditions}
        for key, conditions in self._conditions.items():
            if key in _DECIDED or not _is_of(key, keys):
                continue
            condition = own.get(key) or draw.choice(conditions)
            if draw.random() < _CHANCES[aim][key in own]:
                context[condition.key] = self._value(key, condition, aim)
        context |= self._transport(keys, aim)
        if caller.kind == "service" and draw.random() < 0.7:
            context.setdefault("aws:SourceAccount", self._subject.account)
            context.setdefault("aws:SourceArn", self._subject.bucket)
        # Every request has this key. Its value in a request of an AWS service is not documented.
        context.setdefault("aws:ViaAWSService", "false")
        return context

    def _transport(self, keys: frozenset[str], aim: _Aim) -> dict[str, str]:
        draw = self._draw
        found = {
            "aws:CurrentTime": draw.choice(["2025-12-31T23:59:59Z", "2026-11-28T12:00:00Z"]),
            "aws:SourceIp": draw.choice(["203.0.113.7", "198.51.100.1"]),
        }
        if aim is _Aim.ANY and draw.random() < 0.3:
            return {**found, "aws:SecureTransport": "false"}
        versions = _TLS_VERSIONS if aim is _Aim.ANY else _TLS_VERSIONS[2:]
        version = {"s3:TlsVersion": draw.choice(versions)} if "s3:tlsversion" in keys else {}
        return {**found, "aws:SecureTransport": "true", **version}

    def _value(self, key: str, condition: Condition, aim: _Aim) -> str | tuple[str, ...]:
        draw = self._draw
        more = _MORE_VALUES.get(key, ())
        if condition.operator == "Null":
            chosen = draw.choice(more or ("x",))
        else:
            chosen = draw.choice([*condition.values, *(() if aim is _Aim.MEET else more)])
        value = _instance(chosen, draw)
        if aim is not _Aim.MEET and draw.random() < 0.4:
            value = _similar(value, draw)
        return (value,) if condition.operator.startswith("For") else value


def _policy_sets(subject: Subject) -> Iterator[Policies]:
    # The sets of documents are made once, because they are compiled: the document alone, and with
    # each of the other documents.
    beside = subject.beside
    own = beside.get(Kind.ROLE, ())
    buckets: Sequence[Document | None] = [None, *beside.get(Kind.BUCKET, ())]
    keys = beside.get(Kind.KEY, ())
    # The administrator comes first, and is chosen as often as all roles together: without the
    # administrator, few requests would be allowed.
    own = (*own[:1] * len(own[1:]), *own)
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


def _is_requested(action: str, keys: frozenset[str]) -> bool:
    # S3 makes some requests itself, such as s3:InitiateReplication; clients cannot send them.
    return not action.startswith("s3:") or "s3:tlsversion" in keys


def _is_of(key: str, keys: frozenset[str]) -> bool:
    # The reference does not list global keys. It lists a key with a caller-defined name by its
    # prefix.
    prefix = re.split(r"(?<=[/])|(?<=context:)", key)[0]
    return key.startswith("aws:") or any(each.startswith(prefix) for each in keys)


def _matches(patterns: Sequence[str], name: str) -> bool:
    return any(
        re.fullmatch(re.escape(each).replace(r"\*", ".*").replace(r"\?", "."), name, re.IGNORECASE)
        for each in patterns
    )


def _instance(pattern: str, draw: random.Random) -> str:
    pattern = re.sub(r"\$\{(.*?)\}", lambda found: _VARIABLES.get(found[1], "x"), pattern)
    text = re.sub(r"\*", lambda _: draw.choice(["", "q3.csv", "a/b"]), pattern)
    return text.replace("?", "q")


def _similar(value: str, draw: random.Random) -> str:
    if value in {"true", "false"}:
        return "false" if value == "true" else "true"
    if re.fullmatch(r"[0-9]+", value):
        return str(int(value) + draw.choice([-1, 1]))
    return draw.choice([f"{value}x", value[:-1] or "x", value.swapcase()])
