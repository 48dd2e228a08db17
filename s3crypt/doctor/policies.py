# SPDX-License-Identifier: Apache-2.0
"""Evaluates the bucket's policy for the requests that a put, get or rotate makes.

The caller's own policies and the organization's policies are not read, so they may still deny a
request that the bucket's policy allows. The evaluation assumes that the caller's own policies allow
everything.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from s3crypt.aws import is_aws
from s3crypt.buckets import policies as bucket_policies
from s3crypt.buckets.configuration import NOT_SEEN
from s3crypt.errors import ConfigError, S3CryptError
from s3crypt.policy import Decision, Document, Policies, Request, Statement, Verdict, decide
from s3crypt.policy.expectations import ADMINISTRATOR

from .mending import put_bucket_policy, sparing
from .refusals import of_error
from .storage import reason_to_skip
from .values import Area, Case, Diagnosis, Outcome

if TYPE_CHECKING:
    from s3crypt.modes import Mode

    from .known import Known, Services

_NAME, _READ = "bucket policy", "s3:GetObject"
_TLS = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}
_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "put": ("s3:PutObject",),
    "get": (_READ,),
    "rotate": (_READ, "s3:PutObject"),
}
# Argument of a put -> the condition key for it in policies.
_SEEN_AS: Mapping[str, str] = {
    "ServerSideEncryption": "s3:x-amz-server-side-encryption",
    "SSEKMSKeyId": "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "SSECustomerAlgorithm": "s3:x-amz-server-side-encryption-customer-algorithm",
}
_ENDPOINT = re.compile(r"vpce-[0-9a-f]+")
# The condition keys about the network from which a request comes.
_OF_NETWORK = frozenset({"aws:sourcevpc", "aws:sourcevpce", "aws:sourceip", "aws:vpcsourceip"})


def check_bucket_policy(case: Case, services: "Services", known: "Known") -> Iterator[Diagnosis]:
    """Evaluate the operation's requests about the object against the bucket's policy."""
    at = case.location
    if at is None or reason_to_skip(known):
        return
    try:
        known.bucket_policy = bucket_policies.read(services.s3.get(known.bucket_region), at.bucket)
    except (S3CryptError, ConfigError) as error:
        yield from _unread(error)
        return
    if known.bucket_policy is None:
        yield from _judged(case, services, known, None)
        return
    yield from _judged(case, services, known, known.bucket_policy)
    yield from network_conditions(_NAME, known.bucket_policy)


def network_conditions(name: str, document: Document) -> Iterator[Diagnosis]:
    """Report a policy's conditions on the network that a request comes from."""
    found = {
        f"{condition.key} {' or '.join(condition.values)}"
        for each in document.statements
        for condition in each.conditions
        if condition.key.lower() in _OF_NETWORK
    }
    if found:
        seen = f"the {name} has conditions on the network: {', '.join(sorted(found))}"
        following = (
            "Check that the requests come through the VPC endpoint or from the address that the "
            "policy names."
        )
        yield Diagnosis("network conditions", Outcome.UNKNOWN, Area.POLICY, seen, following)


def _depends_on_network(statement: Statement) -> bool:
    return any(condition.key.lower() in _OF_NETWORK for condition in statement.conditions)


def _unread(error: S3CryptError) -> Iterator[Diagnosis]:
    if error.code == "MethodNotAllowed":
        seen = "the bucket belongs to another account, and only that account can read its policy"
        yield Diagnosis(_NAME, Outcome.UNKNOWN, Area.POLICY, seen, "Ask the bucket's owner.")
    elif error.code in NOT_SEEN:
        seen = f"the policy cannot be read: you lack s3:GetBucketPolicy ({error.code})"
        yield Diagnosis(_NAME, Outcome.UNKNOWN, Area.POLICY, seen, "Ask for s3:GetBucketPolicy.")
    elif error.code not in ("404", "NoSuchBucket"):
        yield of_error(_NAME, Area.S3, error)


def _judged(
    case: Case, services: "Services", known: "Known", document: Document | None
) -> Iterator[Diagnosis]:
    if document is None and known.is_own_bucket is not False:
        yield Diagnosis(
            _NAME, Outcome.OK, Area.POLICY, "the bucket has no policy that could deny the request"
        )
        return
    for action in _ACTIONS[case.purpose]:
        request = _request(action, case, services, known, case.mode)
        if request is None:
            seen = "not decided: the identity of the caller is not known"
            yield Diagnosis(_NAME, Outcome.UNKNOWN, Area.POLICY, seen)
            return
        decision = _decided(request, document)
        if decision.verdict is Verdict.ALLOWED:
            seen = f"no statement denies {action}"
            yield Diagnosis(_NAME, Outcome.OK, Area.POLICY, seen)
        elif action == _READ and known.head is not None:
            seen = f"S3 has just served {action}, so no policy denies it"
            yield Diagnosis(_NAME, Outcome.OK, Area.POLICY, seen)
        elif document and _is_for_want_of_tls(request, document, services):
            yield _plain(request, document, decision)
        elif document and decision.statements and not _is_denied_anywhere(request, document):
            # The outcome is unknown: with the usual AWS host name, the endpoint URL does not show
            # whether requests pass through a VPC endpoint.
            seen = (
                f"{action} is denied by {' and '.join(decision.statements)}, unless the request "
                "comes from the network that the policy names"
            )
            yield Diagnosis(_NAME, Outcome.UNKNOWN, Area.POLICY, seen)
        elif decision.verdict is Verdict.DENIED:
            yield _denied(case, services, known, request, decision)
        else:
            yield Diagnosis(
                _NAME, Outcome.UNKNOWN, Area.POLICY, f"{action}: {decision.reason.rstrip('.')}"
            )


def _is_for_want_of_tls(request: Request, document: Document, services: "Services") -> bool:
    """Return whether another service than AWS denies a request only because it is not over TLS.

    Such a denial is uncertain: AWS enforces the policy for every request, but another service may
    ignore `aws:SecureTransport`, as the sandbox does, or a proxy that terminates TLS may set it.
    """
    if request.context["aws:SecureTransport"] == "true" or is_aws(services.s3.get()):
        return False
    return _decided(_with_tls(request), document).verdict is Verdict.ALLOWED


def _with_tls(request: Request) -> Request:
    return replace(request, context={**request.context, **_TLS})


def _plain(request: Request, document: Document, decision: Decision) -> Diagnosis:
    """Report whether the service enforces the policy for requests over plain HTTP.

    The service has returned the policy itself over plain HTTP. If the statements also deny that
    request, the service ignores the statements.
    """
    names = set(decision.statements)
    reading = replace(
        request, action="s3:GetBucketPolicy", resource=request.resource.partition("/")[0]
    )
    ignored = set(_decided(reading, document).statements)
    without_tls = f"{' and '.join(decision.statements)} denies {request.action} over plain HTTP"
    if (
        names
        and names <= ignored
        and _decided(_with_tls(reading), document).verdict is Verdict.ALLOWED
    ):
        seen = f"{without_tls}, but this service does not enforce it"
        return Diagnosis(_NAME, Outcome.OK, Area.POLICY, seen)
    seen = f"{without_tls}; it is not known whether this service enforces it"
    following = "If the operation is refused, use the service's https:// endpoint."
    return Diagnosis(_NAME, Outcome.UNKNOWN, Area.POLICY, seen, following)


def _is_denied_anywhere(request: Request, document: Document) -> bool:
    """Return whether a request is not allowed even without the statements about the network."""
    kept = tuple(each for each in document.statements if not _depends_on_network(each))
    rest = Document(kept) if kept else None
    return _decided(request, rest).verdict is not Verdict.ALLOWED


def _decided(request: Request, document: Document | None) -> Decision:
    return decide(request, Policies(identity=(ADMINISTRATOR,), bucket=document))


def _request(
    action: str, case: Case, services: "Services", known: "Known", mode: "Mode | None"
) -> Request | None:
    """Return the request for the evaluation, or None if the caller's identity is unknown."""
    if known.identity is None or case.location is None:
        return None
    caller = known.identity.caller
    own = known.is_own_bucket is not False
    owner = str(caller.account) if own else "another account"
    partition = str(caller.arn).split(":")[1]
    name = case.location.name or "*"
    context = {**_network(services, known), **(_headers(mode, known) if "Put" in action else {})}
    resource = f"arn:{partition}:s3:::{case.location.bucket}/{name}"
    return Request(caller, action, resource, owner, context)


def _network(services: "Services", known: "Known") -> dict[str, str]:
    url = urlsplit(services.s3.get().meta.endpoint_url)
    endpoint = _ENDPOINT.search(url.hostname or "")
    through = {"aws:SourceVpce": endpoint[0]} if endpoint else {}
    if url.scheme != "https":
        return {"aws:SecureTransport": "false", **through}
    tls = {"s3:TlsVersion": known.tls_version} if known.tls_version else {}
    return {"aws:SecureTransport": "true", **tls, **through}


def _headers(mode: "Mode | None", known: "Known") -> dict[str, str]:
    arguments = mode.write_arguments() if mode else {}
    found = {_SEEN_AS[name]: str(value) for name, value in arguments.items() if name in _SEEN_AS}
    key = _SEEN_AS["SSEKMSKeyId"]
    if found.get(key) in known.key_metadata:
        # Use the key's ARN: S3 resolves the key's name before it evaluates the policy.
        found[key] = str(known.key_metadata[found[key]]["Arn"])
    return found


def _denied(
    case: Case, services: "Services", known: "Known", request: Request, decision: Decision
) -> Diagnosis:
    names = " and ".join(decision.statements)
    seen = (
        f"{request.action} is denied by {names}"
        if names
        else f"{request.action}: {decision.reason.rstrip('.')}"
    )
    following = _in_another_way(case, services, known, request) or _spared(case, known, request)
    return Diagnosis(_NAME, Outcome.WRONG, Area.POLICY, seen, following)


def _in_another_way(case: Case, services: "Services", known: "Known", request: Request) -> str:
    """Return a command with TLS or with another mode that the policy allows, or an empty text."""
    if request.context.get("aws:SecureTransport") == "false" and _allows(known, request, _TLS):
        host = urlsplit(services.s3.get().meta.endpoint_url).netloc
        return f"export AWS_ENDPOINT_URL_S3=https://{host}"
    if "Put" not in request.action or case.location is None:
        return ""
    for option, context in _modes(known):
        if _allows(known, request, context):
            return f"s3crypt put FILE {shlex.quote(str(case.location))} {option}"
    return ""


def _modes(known: "Known") -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the modes that a put could use, as pairs: command-line options, and condition keys."""
    mode, key = _SEEN_AS["ServerSideEncryption"], _SEEN_AS["SSEKMSKeyId"]
    if known.default_key:
        given = f"--key kms:{known.default_key}"
        for name, value in (("sse-kms", "aws:kms"), ("dsse-kms", "aws:kms:dsse")):
            yield f"--mode {name} {given}", {mode: value, key: known.default_key}
    yield "--mode sse-s3", {mode: "AES256"}


def _allows(known: "Known", request: Request, context: Mapping[str, str]) -> bool:
    others = {
        name: value for name, value in request.context.items() if name not in _SEEN_AS.values()
    }
    changed = Request(
        request.caller, request.action, request.resource, request.owner, {**others, **context}
    )
    return _decided(changed, known.bucket_policy).verdict is Verdict.ALLOWED


def _spared(case: Case, known: "Known", request: Request) -> str:
    """Return a command line that excepts the caller from the denying statements, or else advice."""
    document, at = known.bucket_policy, case.location
    asked = f"Ask the bucket's owner to allow {request.action} to {request.caller.arn}."
    if document is None or at is None or known.is_own_bucket is False:
        return asked

    def denies(statement: Statement) -> bool:
        is_deny = statement.effect == "Deny"
        return is_deny and _decided(request, Document((statement,))).verdict is Verdict.DENIED

    ours = [str(each.sid) for each in document.statements if each.is_ours and denies(each)]
    if ours:
        return (
            f"{' and '.join(ours)} protects the bucket: use the mode, key and network that the "
            f"policy demands: aws s3api get-bucket-policy --bucket {at.bucket} --query Policy"
        )
    changed = sparing(document, denies, request.caller)
    if _decided(request, changed).verdict is not Verdict.ALLOWED:
        return asked
    return put_bucket_policy(at.bucket, str(known.bucket_region), changed)
