# SPDX-License-Identifier: Apache-2.0
"""What policies are expected to decide: a table of requests, and the documents that decide them.

The tables of roles are in `expected_roles`, that of everybody else in `expected_others`. They are
written apart from the statements: a statement that changes does not change what is expected of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .callers import Caller
from .documents import Document, Principal, Statement
from .evaluation import Decision, Policies, Request, Verdict, decide
from .scope import KeyARN, Scope, root_arn

Part: TypeAlias = Literal["identity", "bucket", "key"]

ADMINISTRATOR = Document((Statement("Allow", "AnotherPolicy", actions=("*",), resources=("*",)),))
"""The policy of somebody who may do everything, as AWS's AdministratorAccess."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A request, and what is to become of it.

    Attributes:
        words: What the request does, for people.
        held_by: The documents each of which denies the request even if it is the only one.
        granted: Whether somebody else's policy allows the request as well: another policy of the
            caller, or, for a service and an anonymous caller, another statement of the bucket's.
    """

    request: Request
    words: str
    verdict: Verdict
    held_by: frozenset[Part] = frozenset()
    granted: bool = False


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents that decide about the requests of one caller.

    Attributes:
        identity: The caller's own policy; None for a caller that is none of the roles.
        bucket: The bucket's policy, or None.
        keys: The policies of keys, by ARN. Another key has KMS's default policy, which leaves
            everything to the policies of its account.
    """

    identity: Document | None = None
    bucket: Document | None = None
    keys: Mapping[str, Document] = field(default_factory=dict)


def judged(
    expected: Iterable[Expectation], documents: Documents
) -> Iterator[tuple[Expectation, Decision]]:
    """Yield each expectation with what the documents decide together."""
    made: dict[tuple[bool, str, str], Policies] = {}
    for each in expected:
        caller = each.request.caller
        outside = f"{caller.kind} {caller.arn}" if caller.account is None else ""
        about = (each.granted, outside, _key_of(each.request))
        if about not in made:
            made[about] = _policies(each, documents)
        yield each, decide(each.request, made[about])


def default_key_policy(key_arn: str) -> Document:
    """Return the policy that KMS gives a key by default."""
    key = KeyARN.parse(key_arn)
    account = (Principal("AWS", root_arn(key.partition, key.account)),)
    return Document((Statement("Allow", principals=account, actions=("kms:*",), resources=("*",)),))


@dataclass(frozen=True, slots=True)
class Asker:
    """A caller that makes requests about the bucket, its objects and its keys."""

    scope: Scope
    caller: Caller

    @property
    def name(self) -> str:
        """The name of an object that roles may use."""
        return f"{(self.scope.prefixes or ('2026/',))[0]}q3.csv"

    def object(
        self, action: str, context: Mapping[str, str] | None = None, *, name: str | None = None
    ) -> Request:
        """Return a request about an object, over TLS and the network that is allowed."""
        resource = f"{self.scope.bucket_arn}/{self.name if name is None else name}"
        return self._request(action, resource, {**self._network(), **(context or {})})

    def bucket(self, action: str, context: Mapping[str, str] | None = None) -> Request:
        """Return a request about the bucket."""
        return self._request(action, self.scope.bucket_arn, {**self._network(), **(context or {})})

    def elsewhere(self, action: str, resource: str = "*") -> Request:
        """Return a request about something that is not the scope's."""
        return self._request(action, resource, {})

    def through_s3(
        self, action: str, key: str, context: Mapping[str, str] | None = None
    ) -> Request:
        """Return the request about a key that S3 makes for a request about an object."""
        made = {
            "kms:ViaService": self.scope.s3_service,
            "kms:EncryptionContext:aws:s3:arn": f"{self.scope.bucket_arn}/{self.name}",
        }
        return self.of_key(action, key, {**made, **(context or {})})

    def client_side(
        self, action: str, key: str, context: Mapping[str, str] | None = None
    ) -> Request:
        """Return the request about a key that a process makes to encrypt or decrypt an object."""
        made = {"kms:EncryptionContext:s3crypt:key": self.name}
        return self.of_key(action, key, {**made, **(context or {})})

    def of_key(self, action: str, key: str, context: Mapping[str, str] | None = None) -> Request:
        """Return a request about a key."""
        tag = {"aws:ResourceTag/env": self.scope.env} if self.scope.env else {}
        found = {"aws:SecureTransport": "true", **tag, **(context or {})}
        return Request(self.caller, action, key, KeyARN.parse(key).account, found)

    def _request(self, action: str, resource: str, context: Mapping[str, str]) -> Request:
        tls = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}
        if self.caller.kind == "anonymous":
            tls["aws:ViaAWSService"] = "false"
        if context.get("aws:SecureTransport") == "false":
            del tls["s3:TlsVersion"]
        return Request(self.caller, action, resource, self.scope.account, {**tls, **context})

    def _network(self) -> dict[str, str]:
        endpoints = self.scope.vpc_endpoints
        return {"aws:SourceVpce": endpoints[0]} if endpoints else {}


def allowed(request: Request, words: str, *, granted: bool = False) -> Expectation:
    """Return the expectation that a request is allowed."""
    return Expectation(request, words, Verdict.ALLOWED, granted=granted)


def denied(request: Request, words: str, *held_by: Part, granted: bool = False) -> Expectation:
    """Return the expectation that a request is denied, by each of these documents alone."""
    return Expectation(request, words, Verdict.DENIED, frozenset(held_by), granted)


def other_key(key: str) -> str:
    """Return the ARN of a key that is none of the scope's, beside one that is."""
    found = KeyARN.parse(key)
    number = "00000000-0000-4000-8000-000000000000"
    return f"arn:{found.partition}:kms:{found.region}:{found.account}:key/{number}"


def foreign_key(scope: Scope) -> str:
    """Return the ARN of a key that is none of the scope's, whether or not it has any."""
    first = f"arn:{scope.partition}:kms:{scope.region}:{scope.account}:key/1"
    return other_key((scope.all_keys or (first,))[0])


def _key_of(request: Request) -> str:
    return request.resource if ":kms:" in request.resource and ":key/" in request.resource else ""


def _policies(each: Expectation, documents: Documents) -> Policies:
    identity = [documents.identity] if documents.identity else []
    bucket, key_arn = documents.bucket, _key_of(each.request)
    if each.granted and each.request.caller.account:
        identity.append(ADMINISTRATOR)
    elif each.granted:
        bucket = _granting(bucket, each.request.caller)
    key = documents.keys.get(key_arn) or (default_key_policy(key_arn) if key_arn else None)
    return Policies(tuple(identity), bucket, key)


def _granting(bucket: Document | None, caller: Caller) -> Document:
    """Return a bucket's policy with a statement that lets a service or everybody in."""
    principal = Principal("Service", str(caller.arn)) if caller.arn else Principal("*", "*")
    more = Statement(
        "Allow", "Another", principals=(principal,), actions=("s3:*",), resources=("*",)
    )
    return Document((*(bucket.statements if bucket else ()), more))
