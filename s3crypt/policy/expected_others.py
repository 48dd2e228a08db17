# SPDX-License-Identifier: Apache-2.0
"""The expected decisions of the bucket policy and the key policies about callers without a role.

These callers are: an administrator of the account, whose own policies allow everything; AWS's
services, which deliver logs and inventories; the role of replication; and anonymous callers.
"""

from collections.abc import Iterator
from dataclasses import replace

from .callers import Caller
from .evaluation import Request
from .expectations import Asker, Expectation, allowed, denied, foreign_key
from .scope import Role, Scope

_S3_CONTEXT = "kms:EncryptionContext:aws:s3:arn"
_MODE = "s3:x-amz-server-side-encryption"
_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
_STRANGER = "999999999999"
_SERVICES = ("logging.s3.amazonaws.com", "s3.amazonaws.com", "cloudtrail.amazonaws.com")
_HTTP = {"aws:SecureTransport": "false"}
_OF_OBJECTS = (
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
)
_OF_BUCKET = ("s3:ListBucket", "s3:ListBucketVersions")
_CRYPTO = (
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
_ADMINISTRATION = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DeleteImportedKeyMaterial",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyLastUsage",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:GetParametersForImport",
    "kms:ImportKeyMaterial",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ReplicateKey",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
    "kms:UpdatePrimaryRegion",
)


def of_others(scope: Scope) -> Iterator[Expectation]:
    """Yield the expectations for the requests of callers without a role of the scope."""
    yield from _administrator(scope)
    for service in _SERVICES:
        yield from _service(Asker(scope, Caller("service", service)), service)
    yield from _replication(scope)
    yield from _anonymous(Asker(scope, Caller("anonymous")))
    for key in scope.all_keys:
        yield from _administrators_of(scope, key)
        yield from _strangers_to(scope, key)


def _administrator(scope: Scope) -> Iterator[Expectation]:
    asker = Asker(scope, _admin(scope, scope.account))
    requests = [asker.object(each) for each in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")]
    for request in (*requests, asker.bucket("s3:ListBucket"), asker.bucket("s3:PutBucketPolicy")):
        http = replace(request, context={**_without_tls(request), **_HTTP})
        yield denied(http, "an administrator, over HTTP", "bucket", granted=True)
        old = replace(request, context={**request.context, "s3:TlsVersion": "1.1"})
        yield denied(old, "an administrator, over TLS 1.1", "bucket", granted=True)
    yield allowed(asker.bucket("s3:PutBucketPolicy"), "an administrator", granted=True)
    yield allowed(asker.object("s3:GetObject"), "an administrator", granted=True)
    encryption = asker.bucket("s3:PutEncryptionConfiguration")
    yield denied(encryption, "an administrator who is no key admin", "bucket", granted=True)
    for action in (
        "s3:UpdateObjectEncryption",
        "s3:PutObjectAnnotation",
        "s3:PutObjectVersionAnnotation",
        "s3:DeleteObjectAnnotation",
        "s3:DeleteObjectVersionAnnotation",
    ):
        request = asker.object(action)
        yield denied(request, "an administrator who is no writer", "bucket", granted=True)
    for role, action in (
        (Role.SECURITY_ENGINEER, "s3:PutEncryptionConfiguration"),
        (Role.ROTATOR, "s3:UpdateObjectEncryption"),
    ):
        member = Asker(scope, replace(asker.caller, arn=scope.arns_of(role)[0]))
        about_bucket = "Configuration" in action
        request = member.bucket(action) if about_bucket else member.object(action)
        yield allowed(request, f"a {role}", granted=True)
    yield from _boundaries(asker)


def _boundaries(asker: Asker) -> Iterator[Expectation]:
    """Yield requests of an administrator from a wrong network and from a wrong environment."""
    scope = asker.scope
    stranger = Asker(scope, replace(asker.caller, tags={}))
    for action in (*_OF_OBJECTS, *_OF_BUCKET):
        request = asker.bucket(action) if action in _OF_BUCKET else asker.object(action)
        if scope.vpc_endpoints:
            outside = replace(request, context=_without_endpoint(request))
            words = "an administrator, through another network"
            yield denied(outside, words, "bucket", granted=True)
        if scope.env:
            untagged = replace(request, caller=stranger.caller)
            words = "an administrator without a tag that says the environment"
            yield denied(untagged, words, "bucket", granted=True)


def _service(asker: Asker, service: str) -> Iterator[Expectation]:
    scope = asker.scope
    put = asker.object("s3:PutObject")
    inside = replace(put, context=_without_endpoint(put))
    for context, words in (
        ({}, "without naming the encryption"),
        ({_MODE: "AES256"}, "under SSE-S3"),
        ({_MODE: "aws:kms"}, "under the key that AWS manages"),
        ({_MODE: "aws:kms", _KEY: foreign_key(scope)}, "under a key of its own"),
    ):
        request = replace(inside, context={**inside.context, **context})
        yield allowed(request, f"{service}, where it is let in, delivers {words}", granted=True)
    http = replace(inside, context={**_without_tls(inside), **_HTTP})
    yield denied(http, f"{service}, where it is let in, over HTTP", "bucket", granted=True)


def _replication(scope: Scope) -> Iterator[Expectation]:
    given = scope.replication_roles
    arn = given[0] if given else f"{scope.root.removesuffix(':root')}:role/replication"
    asker = Asker(scope, Caller("role", arn, scope.account))
    for action in ("s3:GetObjectVersionForReplication", "s3:ReplicateObject", "s3:ReplicateDelete"):
        request = asker.object(action, {_MODE: "aws:kms", _KEY: foreign_key(scope)})
        outside = replace(request, context=_without_endpoint(request))
        yield allowed(outside, "replication, where it is let in", granted=True)
    for arn in given:
        request = Asker(scope, Caller("role", arn, scope.account)).bucket("s3:ListBucket")
        outside = replace(request, context=_without_endpoint(request))
        yield allowed(outside, "replication, where it is let in, lists", granted=True)
    for key in scope.sse_keys if given else ():
        for action in ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"):
            request = asker.through_s3(action, key)
            for pattern in scope.objects:
                of_object = {**request.context, _S3_CONTEXT: pattern.replace("*", "q3.csv")}
                words = "replication uses the key"
                yield allowed(replace(request, context=of_object), words, granted=True)
            direct = replace(request, context=_without(request, "kms:ViaService"))
            yield denied(direct, "replication's role, without S3", "key", granted=True)
            other = {**request.context, _S3_CONTEXT: f"{scope.bucket_arn}-2/q3.csv"}
            words = "replication's role, for another bucket"
            yield denied(replace(request, context=other), words, "key", granted=True)
            of_bucket = {**request.context, _S3_CONTEXT: scope.bucket_arn}
            if scope.mode != "dsse-kms":
                words = "replication uses the key as a Bucket Key"
                yield allowed(replace(request, context=of_bucket), words, granted=True)
        for action in ("kms:ReEncryptFrom", "kms:CreateGrant"):
            request = asker.through_s3(action, key)
            yield denied(request, "replication's role, beyond its use", "key", granted=True)


def _anonymous(asker: Asker) -> Iterator[Expectation]:
    scope, get, put = asker.scope, asker.object("s3:GetObject"), asker.object("s3:PutObject")
    yield denied(get, "anonymous")
    if scope.vpc_endpoints:
        outside = replace(get, context=_without_endpoint(get))
        words = "anonymous, even if the bucket were public, through another network"
        yield denied(outside, words, "bucket", granted=True)
    if scope.env:
        words = "anonymous, even if the bucket were public"
        yield denied(get, words, "bucket", granted=True)
    if scope.sse_keys:
        mode = _mode_header(scope)
        for context in (
            {_MODE: "AES256", _KEY: scope.sse_keys[0]},
            {_MODE: mode, _KEY: foreign_key(scope)},
            {_MODE: mode},
        ):
            request = replace(put, context={**put.context, **context})
            words = "anonymous, even if the bucket were public, in another mode or key"
            yield denied(request, words, "bucket", granted=True)
    if scope.mode == "sse-s3":
        request = replace(put, context={**put.context, _MODE: "aws:kms"})
        words = "anonymous, even if the bucket were public, in another mode"
        yield denied(request, words, "bucket", granted=True)


def _administrators_of(scope: Scope, key: str) -> Iterator[Expectation]:
    asker = Asker(scope, _admin(scope, scope.account))
    for action in _ADMINISTRATION:
        request = asker.of_key(action, key)
        yield allowed(request, "an administrator keeps the key", granted=True)
    for_service = {"kms:GrantIsForAWSResource": "true"}
    grant = asker.of_key("kms:CreateGrant", key, for_service)
    yield allowed(grant, "an administrator lets a service of AWS use the key", granted=True)
    words = "an administrator lets somebody use the key"
    yield denied(asker.of_key("kms:CreateGrant", key), words, "key", granted=True)
    bypassing = {"kms:BypassPolicyLockoutSafetyCheck": "true"}
    past = asker.of_key("kms:PutKeyPolicy", key, bypassing)
    yield denied(past, "an administrator, past KMS's check", "key", granted=True)
    for action in _CRYPTO:
        for request in (
            asker.through_s3(action, key),
            asker.client_side(action, key),
            asker.of_key(action, key, for_service),
        ):
            words = "an administrator who has no role uses the key"
            yield denied(request, words, "key", granted=True)


def _strangers_to(scope: Scope, key: str) -> Iterator[Expectation]:
    asker = Asker(scope, _admin(scope, _STRANGER))
    for request in (
        asker.of_key("kms:DescribeKey", key),
        asker.of_key("kms:PutKeyPolicy", key),
        asker.of_key("kms:CreateGrant", key, {"kms:GrantIsForAWSResource": "true"}),
    ):
        yield denied(request, "an administrator of another account", "key", granted=True)
    tags = {"env": scope.env} if scope.env else {}
    for role in (Role.WRITER, Role.READER, Role.ROTATOR):
        member = Asker(scope, Caller("role", scope.arns_of(role)[0], scope.account, tags))
        for action in ("kms:Decrypt", "kms:GenerateDataKey"):
            for request in (member.through_s3(action, key), member.client_side(action, key)):
                yield denied(request, f"a {role} that has lost its own policy", "key")
    for arn in scope.replication_roles:
        replica = Asker(scope, Caller("role", arn, scope.account))
        request = replica.through_s3("kms:Decrypt", key)
        yield denied(request, "replication's role without a policy of its own", "key")


def _admin(scope: Scope, account: str) -> Caller:
    arn = f"arn:{scope.partition}:iam::{account}:role/Administrator"
    return Caller("role", arn, account, {"env": scope.env} if scope.env else {})


def _mode_header(scope: Scope) -> str:
    return "aws:kms:dsse" if scope.mode == "dsse-kms" else "aws:kms"


def _without(request: Request, *names: str) -> dict[str, str | tuple[str, ...]]:
    return {name: value for name, value in request.context.items() if name not in names}


def _without_endpoint(request: Request) -> dict[str, str | tuple[str, ...]]:
    return _without(request, "aws:SourceVpce")


def _without_tls(request: Request) -> dict[str, str | tuple[str, ...]]:
    return _without(request, "s3:TlsVersion")
