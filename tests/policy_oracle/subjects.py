# SPDX-License-Identifier: Apache-2.0
"""The policies to compare: all that s3crypt generates, and some written by hand.

The handwritten policies cover features that the generated ones lack: variables, NotAction, sets of
values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator import Subject

from s3crypt.policy import Caller, Document, Kind
from s3crypt.policy.expectations import ADMINISTRATOR, default_key_policy
from s3crypt.policy.roles import Role, Scope, bucket_policy, iam_policy, key_policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ACCOUNT = "111122223333"
_ID = "8a1f0c7e-5f6d-4c0b-9f4e-1f2e3d4c5b6a"
KEYS = tuple(f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{_ID[:-1]}{digit}" for digit in "67")
BUCKET = "arn:aws:s3:::acme"
SCOPES: Mapping[str, Scope] = {
    "lenient": Scope.of("acme", key_arns=KEYS, prefixes=("2026/", "logs/")),
    "strict": Scope.of("acme", key_arns=KEYS[:1], strict=True, prefixes=("2026/",)),
    "dsse": Scope.of(
        "acme",
        key_arns=KEYS[:1],
        mode="dsse-kms",
        vpc_endpoints=("vpce-0a1b2c3d",),
        prefixes=("2026/",),
    ),
    "client": Scope.of(
        "acme", key_arns=KEYS[:1], mode="client", env="production", prefixes=("2026/",)
    ),
    "sse-s3": Scope(
        account=ACCOUNT, region="us-east-1", bucket="acme", mode="sse-s3", prefixes=("2026/",)
    ),
}


def generated() -> Iterator[Subject]:
    """Yield the policies of every role, the bucket and the key, in each of several scopes."""
    for name, scope in SCOPES.items():
        roles = {role: iam_policy(role, scope) for role in Role}
        bucket = bucket_policy(scope)
        keys = {arn: key_policy(scope, arn) for arn in scope.all_keys[:1]}
        beside = {
            Kind.ROLE: (ADMINISTRATOR, *roles.values()),
            Kind.BUCKET: (bucket,),
            Kind.KEY: (default_key_policy(KEYS[0]), *keys.values()),
        }
        for role, document in roles.items():
            caller = Caller("role", scope.arns_of(role)[0], scope.account, {"env": "production"})
            yield _subject(f"{name} {role}", Kind.ROLE, document, scope, beside, caller)
        yield _subject(f"{name} bucket", Kind.BUCKET, bucket, scope, beside)
        for document in keys.values():
            yield _subject(f"{name} key", Kind.KEY, document, scope, beside)


def by_hand() -> Iterator[Subject]:
    """Yield policies in the style of handwritten team policies."""
    beside = {Kind.ROLE: (ADMINISTRATOR,), Kind.KEY: (default_key_policy(KEYS[0]),)}
    for name, kind, statements in _BY_HAND:
        document = Document.parse({"Version": "2012-10-17", "Statement": statements})
        caller = None
        if kind is Kind.USER:
            caller = Caller("user", f"arn:aws:iam::{ACCOUNT}:user/ada", ACCOUNT, {"team": "lake"})
        yield _subject(f"by hand: {name}", kind, document, SCOPES["lenient"], beside, caller)


def _subject(
    name: str,
    kind: Kind,
    document: Document,
    scope: Scope,
    beside: Mapping[Kind, tuple[Document, ...]],
    caller: Caller | None = None,
) -> Subject:  # fmt: skip
    return Subject(
        name, kind, document, scope.account, scope.bucket_arn, scope.all_keys, caller, beside
    )


_OBJECTS = f"{BUCKET}/*"
_BY_HAND: list[tuple[str, Kind, list[dict[str, Any]]]] = [
    (
        "home folders",
        Kind.USER,
        [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject"],
                "Resource": f"{BUCKET}/${{aws:username}}/*",
            },
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": BUCKET,
                "Condition": {"StringLike": {"s3:prefix": "${aws:PrincipalTag/team}/*"}},
            },
        ],
    ),
    (
        "all but",
        Kind.USER,
        [
            {"Effect": "Allow", "NotAction": ["s3:Delete*", "kms:*"], "Resource": "*"},
            {"Effect": "Deny", "Action": "s3:*", "NotResource": [BUCKET, f"{BUCKET}/2026/*"]},
            {
                "Effect": "Deny",
                "Action": "s3:PutObject",
                "Resource": "*",
                "Condition": {
                    "ForAnyValue:StringNotEquals": {"s3:RequestObjectTagKeys": ["team", "env"]}
                },
            },
        ],
    ),
    (
        "tags of requests",
        Kind.USER,
        [
            {
                "Effect": "Allow",
                "Action": "s3:PutObject*",
                "Resource": _OBJECTS,
                "Condition": {
                    "StringEqualsIgnoreCase": {"s3:RequestObjectTag/team": "lake"},
                    "ForAllValues:StringLike": {"s3:RequestObjectTagKeys": ["te?m", "e*"]},
                    "DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"},
                },
            }
        ],
    ),
    (
        "networks and other accounts",
        Kind.BUCKET,
        [
            {
                "Sid": "Networks",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [BUCKET, _OBJECTS],
                "Condition": {
                    "NotIpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32"]},
                    "Bool": {"aws:ViaAWSService": "false"},
                },
            },
            {
                "Effect": "Allow",
                "Principal": {"AWS": ["999988887777", f"arn:aws:iam::{ACCOUNT}:role/other"]},
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": [BUCKET, _OBJECTS],
            },
            {
                "Effect": "Allow",
                "Principal": {"Service": "logging.s3.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": f"{BUCKET}/logs/*",
                "Condition": {
                    "ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"},
                    "StringEquals": {"aws:SourceAccount": ACCOUNT},
                },
            },
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"{BUCKET}/x",
            },
        ],
    ),
    (
        "keys of other accounts",
        Kind.KEY,
        [
            {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"},
            {
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::999988887777:root"},
                "Action": ["kms:Decrypt", "kms:DescribeKey"],
                "Resource": "*",
            },
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "kms:GenerateDataKey*",
                "Resource": "*",
                "Condition": {
                    "StringEquals": {
                        "kms:ViaService": "s3.us-east-1.amazonaws.com",
                        "kms:CallerAccount": ACCOUNT,
                    }
                },
            },
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "kms:ScheduleKeyDeletion",
                "Resource": "*",
                "Condition": {
                    "NumericLessThanIfExists": {"kms:ScheduleKeyDeletionPendingWindowInDays": 30}
                },
            },
        ],
    ),
]
