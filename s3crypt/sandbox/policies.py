# SPDX-License-Identifier: Apache-2.0
"""AWS's checks of a policy document in a request: its form, its principals, and public access.

This module must not decide whether a request is allowed. The sandbox does not evaluate conditions,
so `denies_everybody` finds only statements without conditions.
"""

from __future__ import annotations

import fnmatch
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .backend import Moto

Statement = dict[str, Any]

_VERSIONS = ("2008-10-17", "2012-10-17")
_KNOWN = frozenset(
    {"Action", "Condition", "Effect", "NotAction", "NotPrincipal", "NotResource", "Principal"}
    | {"Resource", "Sid"}
)
_OPERATORS = re.compile(
    r"(For(Any|All)Values:)?("
    r"String(Not)?Equals(IgnoreCase)?|String(Not)?Like|Arn(Not)?(Equals|Like)|Bool|BinaryEquals|"
    r"(Numeric|Date)((Not)?Equals|(Less|Greater)Than(Equals)?)|(Not)?IpAddress"
    r")(IfExists)?|Null"
)
# A statement for every principal is not public if a condition compares one of these keys with
# fixed values. https://docs.aws.amazon.com/AmazonS3/latest/userguide/
# access-control-block-public-access.html#access-control-block-public-access-policy-status
_RESTRICTING = frozenset(
    {
        "aws:principalarn",
        "aws:principalaccount",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceip",
        "aws:sourceorgid",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:userid",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    }
)
_POSITIVE = re.compile(
    r"(ForAnyValue:)?(StringEquals(IgnoreCase)?|StringLike|ArnEquals|ArnLike|IpAddress)"
)


def listed(found: Any) -> list[Any]:
    """Return the values of a policy element as a list, even if the JSON has a single value."""
    return found if isinstance(found, list) else [found]


def statements_of(policy: str) -> list[Statement]:
    """Return the statements of a policy, or an empty list if the text is not a policy."""
    try:
        found = listed(json.loads(policy)["Statement"])
    except (ValueError, TypeError, KeyError):
        return []
    return found if all(isinstance(statement, dict) for statement in found) else []


def is_about(statement: Statement, action: str) -> bool:
    """Return whether a statement's Action or NotAction covers an action."""
    is_excepting = "NotAction" in statement
    patterns = listed(statement.get("NotAction" if is_excepting else "Action", []))
    matches = any(fnmatch.fnmatchcase(action.lower(), str(one).lower()) for one in patterns)
    return matches is not is_excepting


def denies_everybody(statement: Statement, action: str, resource: str | None = None) -> bool:
    """Return whether a statement denies an action to everyone, without any condition.

    `resource` is an ARN. If it is None, Resource is not compared, because the policy is about the
    single resource that it is attached to.
    """
    return (
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
        and "Condition" not in statement
        and is_about(statement, action)
        and (
            resource is None
            or any(
                fnmatch.fnmatchcase(resource, str(pattern))
                for pattern in listed(statement.get("Resource", []))
            )
        )
    )


def is_for(statement: Statement, caller: frozenset[str]) -> bool:
    """Return whether a statement is for a caller: by its name, by its account or for everybody.

    `caller` contains the ARN of a user, or the ARNs of a role and its session. For an AWS service
    it contains the service's name. For an anonymous caller it is empty.
    """
    accounts = {arn.split(":")[4] for arn in caller if arn.startswith("arn:")}
    roots = {f"arn:aws:iam::{account}:root" for account in accounts}
    known = {"*", *caller, *accounts, *roots}
    is_named = any(
        value in known for kind, value in principals_of(statement) if kind in {"AWS", "Service"}
    )
    return is_named is not ("NotPrincipal" in statement)


def principals_of(statement: Statement) -> Iterator[tuple[str, str]]:
    """Yield the kind and the value of each principal in Principal and NotPrincipal."""
    for element in ("Principal", "NotPrincipal"):
        found = statement.get(element, {})
        if found == "*":
            yield "AWS", "*"
        elif isinstance(found, dict):
            for kind, values in found.items():
                yield from ((kind, str(value)) for value in listed(values))


def unknown_principal(moto: Moto, statements: list[Statement]) -> str | None:
    """Return the first principal that is malformed or does not exist, or None if all are valid."""
    pairs = (pair for statement in statements for pair in principals_of(statement))
    return next((value for kind, value in pairs if not _exists(moto, kind, value)), None)


def form_fault(document: Any, *, resources: bool, principals: bool) -> str | None:
    """Return why a parsed document is not a valid policy, or None if it is valid.

    `resources` is whether each statement needs Resource or NotResource. `principals` is whether
    each statement needs Principal or NotPrincipal.
    """
    if not isinstance(document, dict) or set(document) - {"Id", "Statement", "Version"}:
        return "The document is not a JSON object with Version and Statement."
    if document.get("Version", _VERSIONS[0]) not in _VERSIONS:
        return "The policy must contain a valid version string"
    statements = listed(document.get("Statement"))
    if not statements or not all(isinstance(one, dict) for one in statements):
        return "Could not parse the policy: Statement is empty!"
    faults = (_statement_fault(one, resources, principals) for one in statements)
    return next((fault for fault in faults if fault is not None), None)


def is_public(statements: list[Statement]) -> bool:
    """Return whether a bucket policy is public by S3's definition: it has a public Allow."""
    return any(
        statement.get("Effect") == "Allow"
        and (("AWS", "*") in principals_of(statement) or "NotPrincipal" in statement)
        and not _is_restricted(statement.get("Condition", {}))
        for statement in statements
    )


def _statement_fault(
    statement: Statement,
    resources: bool,
    principals: bool,
) -> str | None:
    needed = [("Action", "NotAction")]
    needed += [("Resource", "NotResource")] * resources
    needed += [("Principal", "NotPrincipal")] * principals
    if set(statement) - _KNOWN:
        return "Policy has an unknown element: " + ", ".join(sorted(set(statement) - _KNOWN))
    if statement.get("Effect") not in ("Allow", "Deny"):
        return f"Invalid effect: {statement.get('Effect')}"
    for pair in needed:
        if sum(bool(statement.get(name)) for name in pair) != 1:
            return f"Missing required field {pair[0]}"
    if not isinstance(statement.get("Sid", ""), str):
        return "Invalid Sid"
    return _condition_fault(statement.get("Condition", {}))


def _condition_fault(condition: Any) -> str | None:
    if not isinstance(condition, dict):
        return "Policy has an invalid condition"
    for operator, pairs in condition.items():
        if _OPERATORS.fullmatch(operator) is None:
            return f"Invalid Condition type : {operator}"
        if not isinstance(pairs, dict) or not pairs:
            return "Policy has an invalid condition key"
        if any(":" not in key for key in pairs):
            return "Policy has an invalid condition key"
    return None


def _is_restricted(condition: Any) -> bool:
    if not isinstance(condition, dict):
        return False
    return any(
        _POSITIVE.fullmatch(operator) is not None
        and key.lower() in _RESTRICTING
        and not any(_is_open(str(value)) for value in listed(values))
        for operator, pairs in condition.items()
        for key, values in pairs.items()
    )


def _is_open(value: str) -> bool:
    """Return whether a value is not fixed, or is a network so large that S3 counts it as public."""
    network = re.fullmatch(r"([0-9.]+|[0-9a-fA-F:.]+)/(\d+)", value)
    if network is not None:
        return int(network[2]) < (32 if ":" in network[1] else 8)
    return "*" in value or "?" in value or "${" in value


def _exists(moto: Moto, kind: str, value: str) -> bool:
    if kind == "Service":
        return re.fullmatch(r"[a-z0-9.-]+\.amazonaws\.com(\.cn)?", value) is not None
    if kind != "AWS":
        return kind in {"CanonicalUser", "Federated"}
    if value == "*" or re.fullmatch(r"\d{12}", value):
        return True
    if re.fullmatch(r"arn:aws[a-z-]*:(iam|sts)::\d{12}:(root|[a-z-]+/[!-~]+)", value) is None:
        return False
    return "*" not in value and "?" not in value and moto.has_principal(value)
