# SPDX-License-Identifier: Apache-2.0
"""The policy of a bucket. It only denies requests; the policies of the roles allow them.

The statements about the encryption of a put except AWS's own services, because these services
deliver logs and inventories with another encryption header, or without a header. These statements
also do not cover replication: its actions are `s3:ReplicateObject` and
`s3:GetObjectVersionForReplication`, and only the statements about TLS cover these two actions.
Replication also lists the bucket, so the statements about listing except the roles of replication.

Condition keys: https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html
"""

from collections.abc import Iterator

from .documents import Condition, Document, Kind, Statement, check_size
from .scope import Role, Scope
from .statements import EVERYONE, deny, tls_only, when

_MODE = "s3:x-amz-server-side-encryption"
_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
_CUSTOMER_KEY = "s3:x-amz-server-side-encryption-customer-algorithm"
_HEADERS = {"sse-s3": "AES256", "sse-kms": "aws:kms", "dsse-kms": "aws:kms:dsse"}
# The actions that read, write, list and delete objects. The actions of replication are left out.
_OF_OBJECTS = (
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:ListBucket",
    "s3:ListBucketVersions",
)
_ANNOTATING = (
    "s3:PutObjectAnnotation",
    "s3:PutObjectVersionAnnotation",
    "s3:DeleteObjectAnnotation",
    "s3:DeleteObjectVersionAnnotation",
)
# Because of `IfExists`, a statement with this condition also denies anonymous requests, which do
# not have the condition key.
_NO_SERVICE = when("BoolIfExists", "aws:PrincipalIsAWSService", "false")


def bucket_policy(scope: Scope) -> Document:
    """Return the policy of the bucket.

    Raises:
        ConfigError: The policy is longer than AWS accepts.
    """
    document = Document(
        (
            *_transport(scope),
            *_encryption(scope),
            *_duties(scope),
            *_network(scope),
            *_environment(scope),
        )
    )
    check_size(document, Kind.BUCKET)
    return document


def _transport(scope: Scope) -> Iterator[Statement]:
    yield tls_only(scope.bucket_arn)
    yield deny(
        "DenyOldTLS",
        ("s3:*",),
        (scope.bucket_arn, scope.all_objects),
        when("NumericLessThan", "s3:TlsVersion", "1.2"),
        principals=EVERYONE,
    )


def _encryption(scope: Scope) -> Iterator[Statement]:
    objects = (scope.all_objects,)
    yield deny(
        "DenyCustomerKeys",
        ("s3:PutObject",),
        objects,
        when("Null", _CUSTOMER_KEY, "false"),
        principals=EVERYONE,
    )
    header = _HEADERS.get(scope.mode)
    if header is None:
        return
    # A negated operator holds if the header is absent. A scope that is not strict must not deny
    # such a put, so its statement also requires that the header is present.
    lenient = () if scope.strict else (when("Null", _MODE, "false"),)
    wrong = when("StringNotEquals", _MODE, header)
    yield deny(
        "DenyWrongMode", ("s3:PutObject",), objects, *lenient, wrong, _NO_SERVICE,
        principals=EVERYONE,
    )  # fmt: skip
    if scope.sse_keys:
        yield from _keys(scope, objects)


def _keys(scope: Scope, objects: tuple[str, ...]) -> Iterator[Statement]:
    lenient = () if scope.strict else (when("Null", _KEY, "false"),)
    wrong = when("ArnNotEquals", _KEY, *scope.sse_keys)
    yield deny(
        "DenyWrongKey", ("s3:PutObject",), objects, *lenient, wrong, _NO_SERVICE,
        principals=EVERYONE,
    )  # fmt: skip
    if not scope.strict:
        # For a put that names a mode and no key, S3 uses the AWS managed key, not the bucket's
        # default key. Deny such a put.
        yield deny(
            "DenyUnnamedKey",
            ("s3:PutObject",),
            objects,
            when("Null", _MODE, "false"),
            when("Null", _KEY, "true"),
            _NO_SERVICE,
            principals=EVERYONE,
        )


def _duties(scope: Scope) -> Iterator[Statement]:
    for sid, actions, resource, roles in (
        (
            "OnlyKeyAdminsSetEncryption",
            ("s3:PutEncryptionConfiguration",),
            scope.bucket_arn,
            (Role.SECURITY_ENGINEER,),
        ),
        (
            "OnlyRotatorsUpdateEncryption",
            ("s3:UpdateObjectEncryption",),
            scope.all_objects,
            (Role.ROTATOR,),
        ),
        # Roles that may replace an object may also annotate it. This gives them no key, because
        # s3crypt stores no key in annotations.
        ("OnlyWritersAnnotate", _ANNOTATING, scope.all_objects, (Role.WRITER, Role.ROTATOR)),
    ):
        others = when("ArnNotLike", "aws:PrincipalArn", *scope.arns_of(*roles))
        yield deny(sid, actions, (resource,), others, principals=EVERYONE)


def _network(scope: Scope) -> Iterator[Statement]:
    if scope.vpc_endpoints:
        yield deny(
            "DenyOtherNetworks",
            _OF_OBJECTS,
            (scope.bucket_arn, scope.all_objects),
            when("StringNotEquals", "aws:SourceVpce", *scope.vpc_endpoints),
            _NO_SERVICE,
            when("Bool", "aws:ViaAWSService", "false"),
            *_no_replication(scope),
            principals=EVERYONE,
        )


def _environment(scope: Scope) -> Iterator[Statement]:
    if scope.env:
        yield deny(
            "DenyOtherEnvironments",
            _OF_OBJECTS,
            (scope.bucket_arn, scope.all_objects),
            when("StringNotEquals", "aws:PrincipalTag/env", scope.env),
            _NO_SERVICE,
            *_no_replication(scope),
            principals=EVERYONE,
        )


def _no_replication(scope: Scope) -> tuple[Condition, ...]:
    """Return the condition by which a Deny excepts the roles of replication; only S3 assumes them.

    Without it, a Deny on listing would stop replication, because these roles list the bucket:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/setting-repl-config-perm-overview.html
    """
    arns = scope.replication_roles
    return (when("ArnNotLike", "aws:PrincipalArn", *arns),) if arns else ()
