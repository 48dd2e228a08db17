# SPDX-License-Identifier: Apache-2.0
"""Decides whether policies allow a request, by the rules of IAM, S3 and KMS.

This module combines the statements of all policies to one decision. It does not know s3crypt's
roles. If a statement that s3crypt does not understand could change the decision, the decision is
`not understood`. Otherwise such a statement is ignored.

The decision does not consider: service and resource control policies of an organization,
permissions boundaries, session policies, policies of VPC endpoints, grants of KMS keys, access
control lists, and the block of public access.

Order: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
Keys: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self, TypeAlias

from .callers import Caller, derived_keys
from .compiled import CompiledDocument, Match, Place, faults
from .documents import Document, Kind
from .patterns import ABSENT, Value, Values
from .truth import NotUnderstood, Truth, conjunction, disjunction

# The root user of the bucket's account may make these requests even if the bucket policy denies
# them.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html
_OF_ROOT = frozenset({"s3:getbucketpolicy", "s3:putbucketpolicy", "s3:deletebucketpolicy"})
_PLACES: Mapping[Kind, Place] = {
    Kind.BUCKET: Place.BUCKET,
    Kind.KEY: Place.KEY,
    Kind.TRUST: Place.TRUST,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is to be decided.

    Attributes:
        caller: The caller.
        action: The action as policies name it, such as `s3:PutObject`.
        resource: The ARN of the object, bucket or key, or `*` for an action without a resource.
        owner: The account of the bucket or key.
        context: Condition keys, in upper or lower case, with their values: a text, or a tuple for a
            key with several values. The context should have `aws:SecureTransport`, and
            `s3:TlsVersion` if the request uses TLS. Do not give keys that follow from the caller
            and the owner: they are derived. Keys that depend on the request's own content, such as
            `s3:x-amz-server-side-encryption`, count as absent if they are not given. If another key
            is not given, a condition on it is not understood.
    """

    caller: Caller
    action: str
    resource: str
    owner: str
    context: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)


class Verdict(StrEnum):
    """The result of a decision about a request."""

    ALLOWED = "allowed"
    DENIED = "denied"
    NOT_UNDERSTOOD = "not understood"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and the statements that lead to it.

    Attributes:
        verdict: The verdict.
        statements: The statements with their documents, such as
            `bucket policy: S3cryptDenyInsecureTransport`. For a denied request, these are the Deny
            statements; there are none if the request is denied because no statement allows it. If
            the verdict is `not understood`, these are the statements that are not understood.
        reason: The explanation, as a sentence.
    """

    verdict: Verdict
    statements: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Policies:
    """The documents that together decide a request, compiled once for many requests.

    Attributes:
        identity: The caller's IAM policies: the policies of the user or role, and of the user's
            groups.
        bucket: The policy of the bucket; None if it has none.
        key: The policy of the KMS key. Every KMS key has a policy, so if it is None, the decision
            about the key is `not understood`.
    """

    identity: tuple[Document, ...] = ()
    bucket: Document | None = None
    key: Document | None = None
    _identity: tuple[CompiledDocument, ...] = field(init=False, repr=False, compare=False)
    _bucket: CompiledDocument | None = field(init=False, repr=False, compare=False)
    _key: CompiledDocument | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the documents."""
        many = len(self.identity) > 1
        identity = tuple(
            CompiledDocument(each, Place.IDENTITY, f"identity policy {number}" if many else "")
            for number, each in enumerate(self.identity, 1)
        )
        bucket = CompiledDocument(self.bucket, Place.BUCKET) if self.bucket else None
        key = CompiledDocument(self.key, Place.KEY) if self.key else None
        object.__setattr__(self, "_identity", identity)
        object.__setattr__(self, "_bucket", bucket)
        object.__setattr__(self, "_key", key)

    def matching(self, request: Request, values: Values) -> tuple[list[Match], list[Match]]:
        """Return the statements that may apply.

        The first list is from the caller's policies, the second list is from the resource's policy.
        """
        about = (request.caller, request.action, request.resource, values)
        has_own = request.caller.kind in {"role", "user"}
        own = [match for each in self._identity for match in each.matching(*about)]
        if _is_about_key(request):
            resource = self._key
        else:
            is_about_bucket = _service(request) == "s3" and request.resource != "*"
            resource = self._bucket if is_about_bucket else None
        return own if has_own else [], list(resource.matching(*about)) if resource else []


def not_understood(document: Document, kind: Kind) -> dict[str, str]:
    """Return the statements of a document that are not understood: Sid or number -> the reason.

    The result includes statements with elements that are not permitted in this kind of policy, and
    statements with an unknown condition key. A request whose context gives a value for that key can
    still be decided.
    """
    return faults(document, _PLACES.get(kind, Place.IDENTITY))


def decide(request: Request, policies: Policies) -> Decision:
    """Return whether policies allow a request.

    An explicit Deny wins. For a caller of the bucket's own account, an Allow in the bucket policy
    or in the caller's policies is enough; a caller of another account needs an Allow in both. A
    key's policy is the root of trust: the caller's policies count only if the key's policy allows
    the caller's account.
    """
    if _is_root_with_its_policy(request):
        return Decision(Verdict.ALLOWED, (), "The bucket's root user always may.")
    values = _values(request)
    own, theirs = policies.matching(request, values)
    denies = [each for each in (*own, *theirs) if each.effect == "Deny"]
    certain = tuple(each.statement for each in denies if each.applies is True)
    if certain:
        return Decision(Verdict.DENIED, certain, "A statement denies it.")
    routes = _routes(request, policies, _consents(request, own, theirs))
    truth = disjunction(_leads(each) for each in routes)
    if truth is False:
        return Decision(Verdict.DENIED, (), _missing(routes))
    if truth is not True or denies:
        return _unclear(denies, [] if truth is True else routes)
    names = (name for each in routes if _leads(each) is True for name in _certain(each))
    return Decision(Verdict.ALLOWED, tuple(dict.fromkeys(names)), "It is allowed, and not denied.")


def _values(request: Request) -> Values:
    given: dict[str, Value] = {name.lower(): value for name, value in request.context.items()}
    derived = derived_keys(request.caller)
    derived["aws:resourceaccount"] = request.owner
    if request.action[:3].lower() == "s3:":
        derived["s3:resourceaccount"] = request.owner
    if request.action[:4].lower() == "kms:" and request.caller.account:
        derived["kms:calleraccount"] = request.caller.account
    if given.get("aws:sourcevpce", ABSENT) != ABSENT:
        given.setdefault("aws:sourceip", ABSENT)
    if given.get("aws:securetransport") == "false":
        given.setdefault("s3:tlsversion", ABSENT)
    if request.caller.kind != "service":
        # A request with kms:ViaService is made by S3 for the caller. The caller makes all other
        # requests itself.
        given.setdefault("aws:viaawsservice", "true" if "kms:viaservice" in given else "false")
    return {**given, **derived}


def _service(request: Request) -> str:
    return request.action.partition(":")[0].lower()


def _is_about_key(request: Request) -> bool:
    return _service(request) == "kms" and ":key/" in request.resource


def _is_root_with_its_policy(request: Request) -> bool:
    return (
        request.caller.kind == "root"
        and request.caller.account == request.owner
        and request.action.lower() in _OF_ROOT
    )


@dataclass(frozen=True, slots=True)
class _Consent:
    """Whether one side, such as the bucket policy, allows a request.

    Attributes:
        side: The name of the side, as shown in messages.
        statements: Pairs: a statement that allows or may allow the request, and whether it does.
    """

    side: str
    truth: Truth
    statements: tuple[tuple[str, Truth], ...] = ()

    @classmethod
    def of(cls, side: str, statements: Iterable[tuple[str, Truth]]) -> Self:
        """Return the consent that results from the statements of one side."""
        found = tuple(statements)
        return cls(side, disjunction(truth for _, truth in found), found)


_Route: TypeAlias = tuple[_Consent, ...]
"""The consents that must all be given for the request to be allowed in this way."""


@dataclass(frozen=True, slots=True)
class _Consents:
    """The consents of all sides to a request.

    Attributes:
        caller: Whether the caller's own policies allow the request. For a root user, they always
            do.
        itself: Whether the resource's policy allows the request to the caller by name, or to
            everyone.
        account: Whether the resource's policy allows the request to the caller's account.
        either: Whether `itself` or `account` holds.
    """

    caller: _Consent
    itself: _Consent
    account: _Consent
    either: _Consent


def _consents(request: Request, own: Sequence[Match], theirs: Sequence[Match]) -> _Consents:
    side = "the key policy" if _is_about_key(request) else "the bucket policy"
    mine = [(each.statement, each.applies) for each in own if each.effect == "Allow"]
    allows = [each for each in theirs if each.effect == "Allow"]
    return _Consents(
        _Consent("the account of the root user", truth=True)
        if request.caller.kind == "root"
        else _Consent.of("the caller's policies", mine),
        _Consent.of(side, ((each.statement, each.naming.itself) for each in allows)),
        _Consent.of(
            f"{side} for the caller's account",
            ((each.statement, each.naming.account) for each in allows),
        ),
        _Consent.of(side, ((each.statement, each.applies) for each in allows)),
    )


def _routes(request: Request, policies: Policies, consents: _Consents) -> list[_Route]:
    if _is_about_key(request):
        return _routes_to_key(request, policies, consents)
    if _service(request) not in {"s3", "kms"}:
        return _routes_elsewhere(request, consents)
    if not request.caller.account:
        return [(consents.itself,)]
    if request.caller.account == request.owner:
        return [(consents.caller,), (consents.itself,)]
    return [(consents.caller, consents.either)]


def _routes_to_key(request: Request, policies: Policies, consents: _Consents) -> list[_Route]:
    if not policies.key:
        missing = NotUnderstood("the key's policy, which is not given")
        return [(_Consent("the key policy", missing),)]
    if request.caller.kind == "anonymous":  # KMS accepts only signed requests
        return []
    if not request.caller.account:
        return [(consents.itself,)]
    if request.caller.account == request.owner:
        return [(consents.itself,), (consents.caller, consents.account)]
    return [(consents.caller, consents.either)]


def _routes_elsewhere(request: Request, consents: _Consents) -> list[_Route]:
    # The resource is neither an S3 bucket nor a KMS key, so its policy is not known here. A caller
    # of the same account does not need that policy, except the trust policy of a role to assume.
    other = _Consent("the resource's policy", NotUnderstood("a policy that is not given"))
    if request.action.lower().startswith("sts:assumerole") or not request.caller.account:
        return [(other,)]
    is_home = request.caller.account == request.owner
    return [(consents.caller,)] if is_home else [(consents.caller, other)]


def _leads(route: _Route) -> Truth:
    return conjunction(each.truth for each in route)


def _certain(route: _Route) -> Iterator[str]:
    for consent in route:
        yield from (name for name, truth in consent.statements if truth is True)


def _missing(routes: Sequence[_Route]) -> str:
    for route in routes:
        given = [each.side for each in route if each.truth is True]
        lacking = [each.side for each in route if each.truth is not True]
        if given:
            return f"It is allowed by {given[0]}, but not by {lacking[0]}."
    return "No statement allows it."


def _unclear(denies: Sequence[Match], routes: Sequence[_Route]) -> Decision:
    allows = [pair for route in routes for each in route for pair in each.statements]
    found = [(each.statement, each.applies) for each in denies] + allows
    unclear = [(name, truth) for name, truth in found if isinstance(truth, NotUnderstood)]
    reasons = [truth for _, truth in unclear]
    reasons += [
        each.truth for route in routes for each in route if isinstance(each.truth, NotUnderstood)
    ]
    names = tuple(dict.fromkeys(name for name, _ in unclear))
    return Decision(Verdict.NOT_UNDERSTOOD, names, f"Not understood: {reasons[0].reason}.")
