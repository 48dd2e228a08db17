# SPDX-License-Identifier: Apache-2.0
"""Building blocks for tables of requests with the decisions that s3crypt's policies must give.

The tables for the roles are in `expected_roles`, the table for all other callers in
`expected_others`. The tables do not use the code that makes the statements, so they find a mistake
in a changed statement.
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
"""The policy of a caller that may do everything, like AWS's AdministratorAccess."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A request with its expected decision.

    Attributes:
        request: The request.
        words: A description of the request, as shown in reports.
        verdict: The expected verdict.
        held_by: The documents that must each deny the request on their own, even if all other
            documents allow it.
        granted: Whether to assume that a policy outside s3crypt allows the request: another policy
            of the caller or, for a service or an anonymous caller, another statement in the bucket
            policy.
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
        identity: The policy of the caller's role. None if the caller has no role in the scope.
        bucket: The bucket's policy, or None.
        keys: ARN of a KMS key -> its policy. A key that is missing here has KMS's default policy,
            which leaves all decisions to the IAM policies of the key's account.
    """

    identity: Document | None = None
    bucket: Document | None = None
    keys: Mapping[str, Document] = field(default_factory=dict)


def judged(
    expected: Iterable[Expectation], documents: Documents
) -> Iterator[tuple[Expectation, Decision]]:
    """Yield each expectation with the decision that all documents together give."""
    made: dict[tuple[bool, str, str], Policies] = {}
    for each in expected:
        caller = each.request.caller
        outside = f"{caller.kind} {caller.arn}" if caller.account is None else ""
        about = (each.granted, outside, _key_of(each.request))
        if about not in made:
            made[about] = _policies(each, documents)
        yield each, decide(each.request, made[about])


def default_key_policy(key_arn: str) -> Document:
    """Return the default policy of a KMS key."""
    key = KeyARN.parse(key_arn)
    account = (Principal("AWS", root_arn(key.partition, key.account)),)
    return Document((Statement("Allow", principals=account, actions=("kms:*",), resources=("*",)),))


@dataclass(frozen=True, slots=True)
class Asker:
    """Makes requests of one caller about the scope's bucket, objects and KMS keys."""

    scope: Scope
    caller: Caller

    @property
    def name(self) -> str:
        """The name of an object that roles may use."""
        return f"{(self.scope.prefixes or ('2026/',))[0]}q3.csv"

    def object(
        self, action: str, context: Mapping[str, str] | None = None, *, name: str | None = None
    ) -> Request:
        """Return a request about an object, over TLS and from the allowed network."""
        resource = f"{self.scope.bucket_arn}/{self.name if name is None else name}"
        return self._request(action, resource, {**self._network(), **(context or {})})

    def bucket(self, action: str, context: Mapping[str, str] | None = None) -> Request:
        """Return a request about the bucket."""
        return self._request(action, self.scope.bucket_arn, {**self._network(), **(context or {})})

    def elsewhere(self, action: str, resource: str = "*") -> Request:
        """Return a request about a resource outside the scope."""
        return self._request(action, resource, {})

    def through_s3(
        self, action: str, key: str, context: Mapping[str, str] | None = None
    ) -> Request:
        """Return the KMS request that S3 makes when the caller makes a request about an object."""
        made = {
            "kms:ViaService": self.scope.s3_service,
            "kms:EncryptionContext:aws:s3:arn": f"{self.scope.bucket_arn}/{self.name}",
        }
        return self.of_key(action, key, {**made, **(context or {})})

    def client_side(
        self, action: str, key: str, context: Mapping[str, str] | None = None
    ) -> Request:
        """Return the KMS request that a process makes for client-side encryption of an object."""
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
    """Return the expectation that a request is denied, even by each document of `held_by` alone."""
    return Expectation(request, words, Verdict.DENIED, frozenset(held_by), granted)


def other_key(key: str) -> str:
    """Return the ARN of a key outside the scope, in the account and Region of the given key."""
    found = KeyARN.parse(key)
    number = "00000000-0000-4000-8000-000000000000"
    return f"arn:{found.partition}:kms:{found.region}:{found.account}:key/{number}"


def foreign_key(scope: Scope) -> str:
    """Return the ARN of a key outside the scope, even for a scope without keys."""
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
    """Return the bucket policy with a new Allow of all S3 actions for a service or for everyone."""
    principal = Principal("Service", str(caller.arn)) if caller.arn else Principal("*", "*")
    more = Statement(
        "Allow", "Another", principals=(principal,), actions=("s3:*",), resources=("*",)
    )
    return Document((*(bucket.statements if bucket else ()), more))
