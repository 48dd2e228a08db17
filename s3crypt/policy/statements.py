# SPDX-License-Identifier: Apache-2.0
"""Short ways to write statements, and the conditions that several policies share."""

from collections.abc import Sequence

from .documents import OWN_SID, Condition, Principal, Statement
from .scope import Scope

EVERYONE = (Principal("*", "*"),)
CRYPTO = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")
"""The actions that use a key, as patterns."""

S3_CONTEXT = "kms:EncryptionContext:aws:s3:arn"
"""The condition key for the encryption context that S3 uses."""

NAME_CONTEXT = "kms:EncryptionContext:s3crypt:key"
BUCKET_CONTEXT = "kms:EncryptionContext:s3crypt:bucket"
"""The condition keys for the encryption context that binds a client-side object to its place."""


def allow(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    *conditions: Condition,
    principals: tuple[Principal, ...] | None = None,
) -> Statement:
    """Return an Allow. Bucket policies, key policies and trust policies need `principals`."""
    return Statement(
        effect="Allow",
        sid=f"{OWN_SID}{sid}",
        principals=principals,
        actions=tuple(actions),
        resources=tuple(resources) or None,
        conditions=conditions,
    )


def deny(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    *conditions: Condition,
    principals: tuple[Principal, ...] | None = None,
) -> Statement:
    """Return a Deny. Bucket policies and key policies need `principals`."""
    return Statement(
        effect="Deny",
        sid=f"{OWN_SID}{sid}",
        principals=principals,
        actions=tuple(actions),
        resources=tuple(resources),
        conditions=conditions,
    )


def when(operator: str, key: str, *values: str) -> Condition:
    """Return a condition."""
    return Condition(operator, key, values)


def through_s3(scope: Scope) -> tuple[Condition, ...]:
    """Return the conditions under which S3 uses a key for the bucket's objects.

    With a Bucket Key, S3's encryption context has the bucket's ARN instead of the object's ARN, so
    both are allowed. DSSE-KMS has no Bucket Keys.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html
    """
    bucket = () if scope.mode == "dsse-kms" else (scope.bucket_arn,)
    return (
        when("StringEquals", "kms:ViaService", scope.s3_service),
        when("StringLike", S3_CONTEXT, *bucket, *scope.objects),
    )


def client_side(scope: Scope) -> tuple[Condition, ...]:
    """Return the conditions under which a process uses a key for the bucket's objects.

    s3crypt's encryption context names the object and, with `bind_bucket`, the bucket.
    """
    return (
        when("StringLike", NAME_CONTEXT, *scope.name_patterns),
        when("StringEqualsIfExists", BUCKET_CONTEXT, scope.bucket),
    )


def tls_only(bucket_arn: str) -> Statement:
    """Return the statement that denies requests without TLS, as Security Hub and Prowler expect it.

    Security Hub's S3.5 and Prowler require exactly this condition, as the statement's only
    condition, and both ARNs. No exception is needed for the services that deliver logs, inventories
    and replicas: they use TLS.
    """
    return deny(
        "DenyInsecureTransport",
        ("s3:*",),
        (bucket_arn, f"{bucket_arn}/*"),
        when("Bool", "aws:SecureTransport", "false"),
        principals=EVERYONE,
    )
