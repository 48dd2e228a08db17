# SPDX-License-Identifier: Apache-2.0
"""Statements of bucket policies: makes them for a hardened bucket, and judges existing statements.

This module makes no request. If a statement has elements that this module does not evaluate, the
more dangerous meaning is assumed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from s3crypt.policy import (
    Caller,
    Condition,
    Document,
    Policies,
    Principal,
    Request,
    Scope,
    Statement,
    Verdict,
    bucket_policy,
    decide,
)
from s3crypt.policy import statements as policy_statements
from s3crypt.policy.documents import OWN_SID
from s3crypt.policy.patterns import Style, compile_texts

LOG_DELIVERY = "S3cryptAllowLogDelivery"
TRAIL_CHECK, TRAIL_DELIVERY = "S3cryptAllowTrailCheck", "S3cryptAllowTrailDelivery"
LOGGING_SERVICE, TRAIL_SERVICE = "logging.s3.amazonaws.com", "cloudtrail.amazonaws.com"
# The actions of the Config rule s3-bucket-blacklisted-actions-prohibited, as configured for S3.6.
# https://docs.aws.amazon.com/securityhub/latest/userguide/s3-controls.html#s3-6
ADMINISTRATION = (
    "s3:deletebucketpolicy",
    "s3:putbucketacl",
    "s3:putbucketpolicy",
    "s3:putencryptionconfiguration",
    "s3:putobjectacl",
)
_OBJECTS = ("s3:getobject", "s3:getobjectversion", "s3:putobject")
# A statement for everyone is not public if it has a condition with fixed values for one of these
# keys.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
_NARROWING = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalorgid",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceip",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:userid",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    }
)
_POSITIVE = frozenset({"arnequals", "arnlike", "ipaddress", "stringequals", "stringlike"})
_ACCOUNT = re.compile(r"(?:arn:[a-z-]+:(?:iam|sts)::)?([0-9]{12})(?::.*)?")


def with_statements(document: Document | None, added: Iterable[Statement]) -> Document:
    """Return a policy with statements added.

    A statement of the policy with the same Sid is replaced.
    """
    statements = tuple(added)
    replaced = {each.sid for each in statements}
    kept = () if document is None else document.statements
    whole = (*(each for each in kept if each.sid not in replaced), *statements)
    if document is None:
        return Document(whole)
    return Document(whole, document.version, document.id)


def tls_only(partition: str, bucket: str) -> Statement:
    """Return the statement that denies requests without TLS to a bucket and its objects."""
    return policy_statements.tls_only(f"arn:{partition}:s3:::{bucket}")


def refuses_plain_http(document: Document | None, partition: str, bucket: str) -> bool:
    """Return whether a statement denies all requests without TLS, to the bucket and its objects."""
    wanted = tls_only(partition, bucket)
    return any(
        each.effect == "Deny"
        and not each.unknown
        and _is_everyone(each)
        # A Deny with NotPrincipal is not enough: it does not apply to the principals that it names.
        and each.not_principals is None
        and {action.lower() for action in each.actions or ()} & {"*", "s3:*"}
        and _covers(each.resources or (), wanted.resources or ())
        and _only_condition(each) == ("bool", "aws:securetransport", ("false",))
        for each in (document.statements if document else ())
    )


def refuses_other_keys(document: Document | None, partition: str, bucket: str, key: str) -> bool:
    """Return whether a policy denies every put that requests a KMS mode without naming `key`.

    Only Deny statements for everyone and for all objects of the bucket are used, and only if their
    conditions are about the encryption of the put; they may except AWS's services. These statements
    are tested with sample puts: with another key of the account, with a key of another account,
    with a key for each pattern in a statement, and without a key, for which S3 uses the AWS managed
    key.
    """
    bare = tuple(each for each in (document.statements if document else ()) if _is_bare(each))
    arn = f"arn:{partition}:s3:::{bucket}/"
    if not bare:
        return False
    whole = Statement("Allow", principals=_EVERYONE, actions=("s3:*",), resources=(f"{arn}*",))
    named = tuple(each for each in bare if _covers(each.resources or (), (f"{arn}*",)))
    policies = Policies(bucket=Document((*named, whole)))
    account = key.split(":")[4]
    others = (*_other_keys(bare, partition, key), None)
    puts = (
        _put(owner, f"{arn}a", account, {_MODE: mode, **({_KEY: other} if other else {})})
        for owner in (account, _NOBODY)
        for mode in ("aws:kms", "aws:kms:dsse")
        for other in others
    )
    return all(decide(put, policies).verdict is Verdict.DENIED for put in puts)


def other_keys_denied(partition: str, bucket: str, key: str) -> tuple[Statement, ...]:
    """Return the statements of `bucket_policy` that deny puts with another key than `key`."""
    scope = Scope.of(bucket, key_arns=(key,), partition=partition)
    wanted = {f"{OWN_SID}DenyWrongKey", f"{OWN_SID}DenyUnnamedKey"}
    return tuple(each for each in bucket_policy(scope).statements if each.sid in wanted)


_EVERYONE = (Principal("*", "*"),)
_MODE = "s3:x-amz-server-side-encryption"
_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
_OF_PUTS = frozenset({_MODE, _KEY, "aws:principalisawsservice"})
# A stand-in for a foreign account. No AWS customer has an account with this many leading zeros.
_NOBODY = "000000000001"


def _is_bare(statement: Statement) -> bool:
    """Return whether a statement denies puts to everyone, with conditions only about encryption."""
    return (
        statement.effect == "Deny"
        and not statement.unknown
        and statement.actions is not None
        and _is_everyone(statement)
        and statement.not_principals is None
        and _allows(statement, ("s3:putobject",))
        and all(each.key.lower() in _OF_PUTS for each in statement.conditions)
    )


def _other_keys(statements: Iterable[Statement], partition: str, key: str) -> Iterator[str]:
    """Yield the ARNs of other keys for sample puts, including one for each pattern in a statement.

    A key of the same account that a statement names in full is left out, because it may be allowed
    on purpose.
    """
    region, account = key.split(":")[3:5]
    for digit in "0f":
        name = "-".join(digit * length for length in (8, 4, 4, 4, 12))
        for owner in (account, _NOBODY):
            yield f"arn:{partition}:kms:{region}:{owner}:key/{name}"
    for condition in (each for one in statements for each in one.conditions):
        for value in condition.values if condition.key.lower() == _KEY else ():
            if not value.startswith("arn:") or len(parts := value.split(":", 5)) < 6:
                continue
            is_named = "*" not in value and "?" not in value
            # Put in the bucket's Region, because S3 uses only keys of this Region.
            filled = ":".join((*parts[:3], region, *parts[4:])).replace("*", "0").replace("?", "0")
            if filled != key and not (is_named and parts[4] == account):
                yield filled


def _put(account: str, arn: str, owner: str, headers: Mapping[str, str]) -> Request:
    caller = Caller("role", f"arn:aws:iam::{account}:role/writer", account)
    context = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3", **headers}
    return Request(caller, "s3:PutObject", arn, owner, context)


def log_delivery(
    document: Document | None, partition: str, account: str, logs: str, source: str
) -> Statement:
    """Return the statement that allows S3 to deliver a bucket's access log.

    If the policy already has such a statement for other source buckets, the new statement also
    allows these buckets.
    """
    arn = f"arn:{partition}:s3:::{source}"
    sources = {value for each in _with_sid(document, LOG_DELIVERY) for value in _sources(each)}
    return Statement(
        "Allow",
        sid=LOG_DELIVERY,
        principals=(Principal("Service", LOGGING_SERVICE),),
        actions=("s3:PutObject",),
        resources=(f"arn:{partition}:s3:::{logs}/*",),
        conditions=(
            Condition("ArnLike", "aws:SourceArn", tuple(sorted({*sources, arn}))),
            Condition("StringEquals", "aws:SourceAccount", (account,)),
        ),
    )


def trail_delivery(partition: str, account: str, logs: str, trail: str) -> tuple[Statement, ...]:
    """Return the statements that allow CloudTrail to deliver a trail's files. `trail` is its ARN.

    Source: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/create-s3-bucket-policy-for-cloudtrail.html
    """
    bucket = f"arn:{partition}:s3:::{logs}"
    of_trail = Condition("StringEquals", "aws:SourceArn", (trail,))
    service = (Principal("Service", TRAIL_SERVICE),)
    with_acl = Condition("StringEquals", "s3:x-amz-acl", ("bucket-owner-full-control",))
    return (
        Statement(
            "Allow",
            sid=TRAIL_CHECK,
            principals=service,
            actions=("s3:GetBucketAcl",),
            resources=(bucket,),
            conditions=(of_trail,),
        ),
        Statement(
            "Allow",
            sid=TRAIL_DELIVERY,
            principals=service,
            actions=("s3:PutObject",),
            resources=(f"{bucket}/AWSLogs/{account}/*",),
            conditions=(with_acl, of_trail),
        ),
    )


def lacks(document: Document | None, wanted: Iterable[Statement]) -> tuple[Statement, ...]:
    """Return the wanted statements that a policy lacks. Statements are compared by meaning."""
    has = {each.meaning for each in (document.statements if document else ())}
    return tuple(each for each in wanted if each.meaning not in has)


def public(document: Document | None) -> tuple[str, ...]:
    """Return the names of the statements that make a bucket public."""
    return tuple(
        name
        for name, each in _allowing(document)
        if _is_everyone(each) and not any(_narrows(one) for one in each.conditions)
    )


def foreign_users(document: Document | None, account: str) -> tuple[str, ...]:
    """Return the names of the statements that allow other accounts to read or write objects."""
    return tuple(
        name
        for name, each in _allowing(document)
        if _is_foreign(each, account) and _allows(each, _OBJECTS)
    )


def foreign_administrators(document: Document | None, account: str) -> tuple[str, ...]:
    """Return the names of the statements that allow other accounts to administer the bucket."""
    return tuple(
        name
        for name, each in _allowing(document)
        if _is_foreign(each, account) and _allows(each, ADMINISTRATION)
    )


def without_foreign_administration(document: Document | None, account: str) -> Document | None:
    """Return a policy from which other accounts' permissions to administer the bucket are removed.

    A statement that lists its actions without wildcards keeps its other actions. A statement with a
    wildcard is removed as a whole. Return None if no statement is left.
    """
    if document is None:
        return None
    kept = tuple(
        left for each in document.statements if (left := _without(each, account)) is not None
    )
    return replace(document, statements=kept) if kept else None


def _without(statement: Statement, account: str) -> Statement | None:
    is_one = statement.effect == "Allow" and _is_foreign(statement, account)
    if not is_one or not _allows(statement, ADMINISTRATION):
        return statement
    matching = (each for each in statement.actions or () if not _administers(each))
    actions = tuple(matching)
    return replace(statement, actions=actions) if actions else None


def _administers(action: str) -> bool:
    matches = compile_texts((action,), Style.LIKE, variables=False, ignore_case=True)
    return any(matches(each, {}) is True for each in ADMINISTRATION)


def service_writers(document: Document | None) -> tuple[str, ...]:
    """Return the service principals that a policy allows to write objects."""
    return tuple(
        sorted(
            {
                one.value
                for _, each in _allowing(document)
                if _allows(each, ("s3:putobject",))
                for one in each.principals or ()
                if one.type == "Service"
            }
        )
    )


def _allowing(document: Document | None) -> Iterator[tuple[str, Statement]]:
    for number, each in enumerate(document.statements if document else (), 1):
        if each.effect == "Allow":
            yield each.sid or f"statement {number}", each


def _is_everyone(statement: Statement) -> bool:
    # A statement with NotPrincipal counts as for everyone: an Allow with it allows all principals
    # except the named principals.
    return statement.not_principals is not None or any(
        one.value == "*" and one.type in ("*", "AWS") for one in statement.principals or ()
    )


def _is_foreign(statement: Statement, account: str) -> bool:
    if _is_everyone(statement):
        return not any(_is_of_account(one, account) for one in statement.conditions)
    return any(
        one.type in ("AWS", "CanonicalUser") and account != _account_of(one.value)
        for one in statement.principals or ()
    )


def _is_of_account(condition: Condition, account: str) -> bool:
    return (
        condition.key.lower() == "aws:principalaccount"
        and condition.operator.lower() == "stringequals"
        and condition.values == (account,)
    )


def _account_of(principal: str) -> str | None:
    match = _ACCOUNT.fullmatch(principal)
    return match[1] if match else None


def _allows(statement: Statement, actions: Iterable[str]) -> bool:
    if statement.actions is None:
        # An Allow with NotAction counts as allowing the actions: it allows all actions except the
        # named actions.
        return True
    matches = compile_texts(statement.actions, Style.LIKE, variables=False, ignore_case=True)
    return any(matches(action, {}) is True for action in actions)


def _narrows(condition: Condition) -> bool:
    return (
        condition.key.lower() in _NARROWING
        and condition.operator.lower() in _POSITIVE
        and not any(value in ("*", "0.0.0.0/0", "::/0") for value in condition.values)
    )


def _covers(patterns: Iterable[str], arns: Iterable[str]) -> bool:
    matches = compile_texts(tuple(patterns), Style.LIKE, variables=False)
    return all(matches(arn, {}) is True for arn in arns)


def _only_condition(statement: Statement) -> tuple[str, str, tuple[str, ...]] | None:
    if len(statement.conditions) != 1:
        return None
    (one,) = statement.conditions
    return one.operator.lower(), one.key.lower(), one.values


def _with_sid(document: Document | None, sid: str) -> Iterator[Statement]:
    return (each for each in (document.statements if document else ()) if each.sid == sid)


def _sources(statement: Statement) -> Iterator[str]:
    for one in statement.conditions:
        if one.key.lower() == "aws:sourcearn":
            yield from one.values
