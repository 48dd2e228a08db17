# SPDX-License-Identifier: Apache-2.0
"""A bucket's policy: the documents that S3 refuses, and the form in which S3 returns a policy.

This module must not decide whether a policy allows a request. moto does that, for statements
without conditions.
"""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.policies import (
    Statement,
    form_fault,
    is_public,
    listed,
    statements_of,
    unknown_principal,
)
from s3crypt.sandbox.wire import Refusal, Reply, Request, xml_reply

from .bucket_access import blocks
from .bucket_documents import existing_bucket
from .operations import BUCKET, Operation, Rules
from .refusals import access_denied, invalid

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

_MAX_BYTES = 20_480
# Actions on objects whose names do not contain "object", and a pattern for actions on buckets,
# whose names may contain "object".
_ON_OBJECTS = frozenset({"s3:abortmultipartupload", "s3:listmultipartuploadparts"})
_ON_BUCKETS = re.compile(r"s3:[a-z]*bucket[a-z]*")


def _put(moto: Moto, request: Request) -> Reply:
    """Store a policy in S3's spelling, or refuse it."""
    bucket = existing_bucket(moto, request)
    document = _document(request.body)
    statements = listed(document["Statement"])
    for statement in statements:
        _check_statement(statement, bucket.name)
    if unknown_principal(moto, statements) is not None:
        raise _malformed("Invalid principal in policy")
    if is_public(statements) and blocks(moto, bucket, "BlockPublicPolicy"):
        raise access_denied(
            f"User: {moto.caller(request)} is not authorized to perform: s3:PutBucketPolicy on "
            f'resource: "arn:aws:s3:::{bucket.name}" because public policies are prevented by '
            "the BlockPublicPolicy setting in S3 Block Public Access."
        )
    spelled = {**document, "Statement": [_spelled(statement) for statement in statements]}
    body = json.dumps(spelled, separators=(",", ":")).encode("utf-8")
    reply = moto(replace(request, body=body))
    return Reply(204) if reply.status == 200 else reply


def _document(body: bytes) -> dict[str, Any]:
    """Return the policy of a request, or refuse it if it is too long or malformed."""
    if len(body) > _MAX_BYTES:
        raise _malformed(f"Policies must not be larger than {_MAX_BYTES} bytes")
    try:
        document: dict[str, Any] = json.loads(body)
    except ValueError:
        raise _malformed("Policies must be valid JSON and the first byte must be '{'") from None
    fault = form_fault(document, resources=True, principals=True)
    if fault is not None:
        raise _malformed(fault)
    return document


def _status(moto: Moto, request: Request) -> Reply:
    policy = existing_bucket(moto, request).policy
    if policy is None:
        raise Refusal(404, "NoSuchBucketPolicy", "The bucket policy does not exist")
    public = str(is_public(statements_of(policy.decode("utf-8")))).lower()
    return xml_reply(200, f"<PolicyStatus><IsPublic>{public}</IsPublic></PolicyStatus>")


def _check_statement(statement: Statement, bucket: str) -> None:
    """Refuse resources outside this bucket, and actions that do not apply to their resources."""
    actions = [action.lower() for action in _texts(statement, "Action", "NotAction")]
    if not all(action == "*" or action.startswith("s3:") for action in actions):
        raise _malformed("Policy has invalid action")
    levels: set[str] = set()
    for resource in _texts(statement, "Resource", "NotResource"):
        part = re.fullmatch(r"arn:aws[a-z-]*:s3:::([^/]+)(/.*)?", resource)
        if part is None or not fnmatch.fnmatchcase(bucket, part[1]):
            raise _malformed("Policy has invalid resource")
        levels.add("object" if part[2] else "bucket")
        if part[1].endswith("*"):
            levels.add("object")
    if "Action" in statement and "Resource" in statement:
        needed = {level for action in actions if (level := _level(action)) is not None}
        if needed - levels:
            raise _malformed("Action does not apply to any resource(s) in statement")


def _texts(statement: Statement, *elements: str) -> list[str]:
    present = (listed(statement[element]) for element in elements if element in statement)
    return [str(value) for values in present for value in values]


def _level(action: str) -> str | None:
    """Return whether an action is about a "bucket" or an "object".

    Return None if that is not clear from the name, as with a wildcard.
    """
    if "*" in action or "?" in action:
        return None
    if _ON_BUCKETS.fullmatch(action):
        return "bucket"
    return "object" if action in _ON_OBJECTS or "object" in action else None


def _spelled(statement: Statement) -> Statement:
    """Return a statement as S3 returns it: without lists of one value, with accounts as ARNs."""
    spelled: Statement = {}
    for element, value in statement.items():
        if element in {"Principal", "NotPrincipal"} and isinstance(value, dict):
            spelled[element] = {
                kind: _single([_account(one) for one in listed(values)])
                for kind, values in value.items()
            }
        elif element == "Condition":
            spelled[element] = {
                operator: {key: _single(values) for key, values in pairs.items()}
                for operator, pairs in value.items()
            }
        else:
            spelled[element] = _single(value)
    return spelled


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _account(principal: str) -> str:
    is_account = re.fullmatch(r"\d{12}", principal) is not None
    return f"arn:aws:iam::{principal}:root" if is_account else principal


def _malformed(message: str) -> Refusal:
    return invalid(message, "MalformedPolicy")


RULES: Rules = {
    Operation("PUT", BUCKET, "policy"): _put,
    Operation("GET", BUCKET, "policyStatus"): _status,
}
