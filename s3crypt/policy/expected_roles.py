# SPDX-License-Identifier: Apache-2.0
"""The expected decisions of a team's policies about the requests of each role."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from .callers import Caller
from .evaluation import Request
from .expectations import Asker, Expectation, Part, allowed, denied, foreign_key, other_key
from .scope import Role, Scope

_S3_CONTEXT = "kms:EncryptionContext:aws:s3:arn"
_NAME_CONTEXT = "kms:EncryptionContext:s3crypt:key"
_BUCKET_CONTEXT = "kms:EncryptionContext:s3crypt:bucket"
_MODE = "s3:x-amz-server-side-encryption"
_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
_CUSTOMER = "s3:x-amz-server-side-encryption-customer-algorithm"
_HEADERS = {"sse-s3": "AES256", "sse-kms": "aws:kms", "dsse-kms": "aws:kms:dsse"}
_OTHER_HEADERS = {"sse-s3": "aws:kms", "sse-kms": "AES256", "dsse-kms": "aws:kms"}
_ALL_CRYPTO = (
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)


def of_role(role: Role, scope: Scope) -> Iterator[Expectation]:
    """Yield the expectations for the requests of a role."""
    tags = {"env": scope.env} if scope.env else {}
    caller = Caller("role", scope.arns_of(role)[0], scope.account, tags)
    yield from _TABLES[role](Asker(scope, caller))


def _writer(asker: Asker) -> Iterator[Expectation]:
    yield from _puts(asker)
    yield from _network(asker, "s3:PutObject", "put")
    for name in _names(asker.scope):
        yield allowed(_put(asker, name), f"put {name}")
        yield allowed(asker.object("s3:AbortMultipartUpload", name=name), f"abort {name}")
        yield allowed(asker.object("s3:ListMultipartUploadParts", name=name), f"parts of {name}")
    yield from _annotations(asker)
    yield from _no_other_objects(asker, "s3:PutObject", "put")
    yield from _nothing_else(asker, "s3:GetObject", "s3:DeleteObject", "s3:PutObjectAcl")
    yield from _uses(
        asker, through_s3=("kms:GenerateDataKey", "kms:Decrypt"),
        client_side=("kms:GenerateDataKey", "kms:Encrypt"),
    )  # fmt: skip


def _reader(asker: Asker) -> Iterator[Expectation]:
    for name in _names(asker.scope):
        for action in (
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:GetObjectAnnotation",
            "s3:GetObjectVersionAnnotation",
        ):
            yield allowed(asker.object(action, name=name), f"get {name}")
    yield from _network(asker, "s3:GetObject", "get")
    yield from _lists(asker)
    yield from _no_other_objects(asker, "s3:GetObject", "get")
    yield from _nothing_else(asker, "s3:PutObject", "s3:DeleteObject", "s3:PutObjectAnnotation")
    yield from _uses(asker, through_s3=("kms:Decrypt",), client_side=("kms:Decrypt",))


def _object_auditor(asker: Asker) -> Iterator[Expectation]:
    for name in _names(asker.scope):
        for action in ("s3:GetObject", "s3:GetObjectVersion"):
            yield allowed(asker.object(action, name=name), f"get {name}")
    yield from _network(asker, "s3:GetObject", "get")
    yield from _lists(asker)
    yield from _no_other_objects(asker, "s3:GetObject", "get")
    yield from _nothing_else(asker, "s3:PutObject", "s3:DeleteObject")
    yield from _uses(asker, through_s3=("kms:Decrypt",), client_side=("kms:Decrypt",))


def _rotator(asker: Asker) -> Iterator[Expectation]:
    for name in _names(asker.scope):
        yield allowed(_put(asker, name), f"put {name}")
        for action in (
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:UpdateObjectEncryption",
            "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
            "s3:GetObjectTagging",
            "s3:GetObjectVersionTagging",
            "s3:PutObjectTagging",
            "s3:PutObjectVersionTagging",
            "s3:GetObjectRetention",
            "s3:PutObjectRetention",
            "s3:GetObjectLegalHold",
            "s3:PutObjectLegalHold",
            "s3:ListObjectAnnotations",
            "s3:ListObjectVersionAnnotations",
            "s3:GetObjectAnnotation",
            "s3:GetObjectVersionAnnotation",
            "s3:PutObjectAnnotation",
            "s3:PutObjectVersionAnnotation",
        ):
            yield allowed(asker.object(action, name=name), f"rotate {name}, with all it has")
    yield from _network(asker, "s3:GetObject", "get")
    yield from _annotations(asker)
    yield from _lists(asker)
    yield from _no_other_objects(asker, "s3:GetObject", "get")
    yield from _nothing_else(asker, "s3:DeleteObject", "s3:BypassGovernanceRetention", rotates=True)
    every = (
        "kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo",
    )  # fmt: skip
    yield from _uses(asker, through_s3=every, client_side=every)


def _security_engineer(asker: Asker) -> Iterator[Expectation]:
    scope = asker.scope
    for action in (
        "s3:GetBucketPolicy",
        "s3:GetEncryptionConfiguration",
        "s3:GetInventoryConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:GetReplicationConfiguration",
        "s3:PutBucketLogging",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketPolicy",
        "s3:PutBucketPublicAccessBlock",
        "s3:PutBucketVersioning",
        "s3:PutEncryptionConfiguration",
        "s3:PutInventoryConfiguration",
        "s3:PutLifecycleConfiguration",
    ):
        yield allowed(asker.bucket(action), "configure the bucket")
    for action in ("s3:DeleteBucket", "s3:ListBucket", "s3:PutBucketAcl"):
        yield denied(asker.bucket(action), "do more with the bucket", "identity")
    elsewhere = asker.elsewhere("s3:PutBucketPolicy", f"{scope.bucket_arn}-2")
    yield denied(elsewhere, "set the policy of another bucket", "identity")
    for action in ("s3:GetObject", "s3:GetObjectVersion"):
        request = asker.object(action)
        yield denied(request, "get an object", "identity")
        yield denied(request, "get an object, even as an administrator", "identity", granted=True)
    yield denied(asker.object("s3:PutObject"), "put an object", "identity")
    for action in ("kms:ListKeys", "kms:ListAliases"):
        yield allowed(asker.elsewhere(action), "find keys")
    yield allowed(asker.elsewhere("kms:CreateKey"), "create a key")
    store = asker.elsewhere("kms:CreateCustomKeyStore")
    yield denied(store, "create a custom key store", "identity")
    bypassing = asker.elsewhere("kms:CreateKey")
    context = {**bypassing.context, "kms:BypassPolicyLockoutSafetyCheck": "true"}
    yield denied(replace(bypassing, context=context), "create a key past KMS's check", "identity")
    for key in scope.all_keys:
        yield from _administers(asker, key)


def _administers(asker: Asker, key: str) -> Iterator[Expectation]:
    for action in (
        "kms:CancelKeyDeletion",
        "kms:CreateAlias",
        "kms:DeleteAlias",
        "kms:DescribeKey",
        "kms:DisableKey",
        "kms:EnableKey",
        "kms:EnableKeyRotation",
        "kms:GetKeyLastUsage",
        "kms:GetKeyPolicy",
        "kms:GetKeyRotationStatus",
        "kms:ListGrants",
        "kms:ListKeyRotations",
        "kms:ListResourceTags",
        "kms:PutKeyPolicy",
        "kms:RevokeGrant",
        "kms:RotateKeyOnDemand",
        "kms:ScheduleKeyDeletion",
        "kms:TagResource",
        "kms:UpdateAlias",
        "kms:UpdateKeyDescription",
    ):
        yield allowed(asker.of_key(action, key), "administer the key")
        if asker.scope.env and "Alias" not in action:
            foreign = asker.of_key(action, key, {"aws:ResourceTag/env": "another"})
            yield denied(foreign, "administer a key of another environment", "identity")
        other = asker.of_key(action, other_key(key))
        yield denied(other, "administer another key", "identity")
    alias = f"{key.partition(':key/')[0]}:alias/reports"
    for action in ("kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"):
        yield allowed(asker.elsewhere(action, alias), "name the key by an alias")
    yield from _limits(asker, key)
    for action in ("kms:CreateGrant", "kms:DisableKeyRotation", "kms:GenerateMac"):
        yield denied(asker.of_key(action, key), "do more with the key", "identity")
    for action in _ALL_CRYPTO:
        request = asker.through_s3(action, key)
        yield denied(request, "use the key", "identity")
        yield denied(request, "use the key, even as an administrator", "identity", granted=True)


def _limits(asker: Asker, key: str) -> Iterator[Expectation]:
    for action, name, good, bad, words in (
        ("kms:EnableKeyRotation", "kms:RotationPeriodInDays", "365", "366", "rotate the key every"),
        (
            "kms:ScheduleKeyDeletion", "kms:ScheduleKeyDeletionPendingWindowInDays", "30", "29",
            "delete the key after",
        ),
    ):  # fmt: skip
        yield allowed(asker.of_key(action, key, {name: good}), f"{words} {good} days")
        yield denied(asker.of_key(action, key, {name: bad}), f"{words} {bad} days", "identity")
    bypassing = {"kms:BypassPolicyLockoutSafetyCheck": "true"}
    request = asker.of_key("kms:PutKeyPolicy", key, bypassing)
    yield denied(request, "set the key's policy past KMS's check", "identity", "key")


def _auditor(asker: Asker) -> Iterator[Expectation]:
    yield from _reads_settings(asker)
    other_bucket = f"{asker.scope.bucket_arn}-2/q3.csv"
    for action in ("s3:GetObject", "s3:GetObjectVersion"):
        for request in (asker.object(action), asker.elsewhere(action, other_bucket)):
            yield denied(request, "get an object", "identity")
            words = "get an object, even as an administrator"
            yield denied(request, words, "identity", granted=True)
    for action in ("s3:PutObject", "s3:DeleteObject"):
        yield denied(asker.object(action), "change an object", "identity")
    for action in ("s3:PutBucketPolicy", "s3:PutLifecycleConfiguration", "s3:DeleteBucket"):
        yield denied(asker.bucket(action), "change the bucket", "identity")
    for key in asker.scope.all_keys or (foreign_key(asker.scope),):
        for action in ("kms:DisableKey", "kms:PutKeyPolicy", "kms:CreateGrant"):
            yield denied(asker.of_key(action, key), "change the key", "identity")
        for action in _ALL_CRYPTO:
            for request in (asker.through_s3(action, key), asker.of_key(action, other_key(key))):
                yield denied(request, "use a key", "identity")
                words = "use a key, even as an administrator"
                yield denied(request, words, "identity", granted=True)


def _reads_settings(asker: Asker) -> Iterator[Expectation]:
    for key in asker.scope.all_keys or (foreign_key(asker.scope),):
        for action in (
            "kms:DescribeKey",
            "kms:GetKeyLastUsage",
            "kms:GetKeyPolicy",
            "kms:GetKeyRotationStatus",
            "kms:ListGrants",
            "kms:ListKeyRotations",
        ):
            yield allowed(asker.of_key(action, key), "look at the key")
            yield allowed(asker.of_key(action, other_key(key)), "look at another key")
    for action in (
        "s3:GetBucketPolicy",
        "s3:GetEncryptionConfiguration",
        "s3:GetInventoryConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:ListBucket",
        "s3:ListBucketVersions",
    ):
        yield allowed(asker.bucket(action), "look at the bucket")
    for action in (
        "kms:ListKeys",
        "s3:ListAllMyBuckets",
        "s3:GetAccountPublicAccessBlock",
        "access-analyzer:ValidatePolicy",
        "cloudtrail:DescribeTrails",
        "cloudtrail:GetEventSelectors",
        "cloudtrail:GetTrailStatus",
        "cloudtrail:LookupEvents",
        "config:DescribeConfigRules",
        "config:GetComplianceDetailsByConfigRule",
        "iam:GetAccountAuthorizationDetails",
        "iam:GetRole",
        "securityhub:GetFindings",
        "sts:GetCallerIdentity",
    ):
        yield allowed(asker.elsewhere(action), "look at the account")
    for action in (
        "access-analyzer:DeleteAnalyzer",
        "cloudtrail:StopLogging",
        "config:DeleteConfigRule",
        "iam:CreateAccessKey",
        "iam:PassRole",
        "securityhub:DisableSecurityHub",
        "sts:GetFederationToken",
    ):
        yield denied(
            asker.elsewhere(action), "change what watches or rules the account", "identity"
        )


def _names(scope: Scope) -> list[str]:
    return [f"{prefix}q3.csv" for prefix in scope.prefixes or ("2026/",)]


def _encryption(scope: Scope, key: str | None = None) -> dict[str, str]:
    """Return the condition keys of a put that names the scope's mode and, for KMS modes, a key."""
    named = {_MODE: _HEADERS[scope.mode]} if scope.mode in _HEADERS else {}
    if scope.sse_keys:
        named[_KEY] = key or scope.sse_keys[0]
    return named


def _put(asker: Asker, name: str | None = None, **more: str) -> Request:
    return asker.object("s3:PutObject", {**_encryption(asker.scope), **more}, name=name)


def _puts(asker: Asker) -> Iterator[Expectation]:
    scope = asker.scope
    yield allowed(_put(asker), "put an object, naming the encryption")
    without = asker.object("s3:PutObject")
    if scope.strict:
        yield denied(without, "put an object without naming the encryption", "bucket")
    else:
        yield allowed(without, "put an object without naming the encryption")
    with_customer_key = _put(asker, **{_CUSTOMER: "AES256"})
    yield denied(with_customer_key, "put an object with a customer key", "bucket")
    if scope.mode in _OTHER_HEADERS:
        other = _put(asker, **{_MODE: _OTHER_HEADERS[scope.mode]})
        yield denied(other, "put an object in another mode", "bucket")
    for key in scope.sse_keys:
        naming = asker.object("s3:PutObject", _encryption(scope, key))
        yield allowed(naming, "put an object under a key of the bucket")
        wrong = asker.object("s3:PutObject", _encryption(scope, other_key(key)))
        yield denied(wrong, "put an object under another key", "bucket")
    if scope.sse_keys:
        unnamed = asker.object("s3:PutObject", {_MODE: _HEADERS[scope.mode]})
        yield denied(unnamed, "put an object under the key that AWS manages", "bucket")
        alone = asker.object("s3:PutObject", {_KEY: other_key(scope.sse_keys[0])})
        yield denied(alone, "put an object under another key, without a mode", "bucket")


def _network(asker: Asker, action: str, verb: str) -> Iterator[Expectation]:
    """Yield requests about an object that differ in TLS, in the network and in the environment."""
    scope = asker.scope
    headers = _encryption(scope) if action == "s3:PutObject" else {}
    for context, words in (
        ({"aws:SecureTransport": "false"}, "over HTTP"),
        ({"s3:TlsVersion": "1.1"}, "over TLS 1.1"),
    ):
        request = asker.object(action, {**headers, **context})
        yield denied(request, f"{verb} an object {words}", "bucket")
    old = asker.object(action, {**headers, "s3:TlsVersion": "1.2"})
    yield allowed(old, f"{verb} an object over TLS 1.2")
    for endpoint in scope.vpc_endpoints:
        request = asker.object(action, {**headers, "aws:SourceVpce": endpoint})
        yield allowed(request, f"{verb} an object through {endpoint}")
    if scope.vpc_endpoints:
        other = asker.object(action, {**headers, "aws:SourceVpce": "vpce-0"})
        yield denied(other, f"{verb} an object through another endpoint", "bucket")
        without = {name: value for name, value in other.context.items() if "Vpce" not in name}
        yield denied(
            replace(other, context=without), f"{verb} an object through the internet", "bucket"
        )
        service = {**without, "aws:ViaAWSService": "true"}
        yield allowed(replace(other, context=service), f"{verb} an object through a service of AWS")
    if scope.env:
        stranger = Asker(scope, replace(asker.caller, tags={"env": "another"}))
        yield denied(
            stranger.object(action, headers),
            f"{verb} an object from another environment",
            "bucket",
        )


def _lists(asker: Asker) -> Iterator[Expectation]:
    scope = asker.scope
    for prefix in scope.prefixes:
        listing = asker.bucket("s3:ListBucket", {"s3:prefix": prefix})
        yield allowed(listing, f"list what is below {prefix}")
        versions = asker.bucket("s3:ListBucketVersions", {"s3:prefix": prefix})
        yield denied(versions, f"list all versions below {prefix}", "identity")
    everything = asker.bucket("s3:ListBucket")
    if scope.prefixes:
        yield denied(everything, "list the whole bucket", "identity")
        other = asker.bucket("s3:ListBucket", {"s3:prefix": "another/"})
        yield denied(other, "list what is below another prefix", "identity")
        other_bucket = f"{scope.bucket_arn}-2"
        elsewhere = asker.elsewhere("s3:ListBucket", other_bucket)
        below = {**elsewhere.context, "s3:prefix": scope.prefixes[0]}
        yield denied(replace(elsewhere, context=below), "list another bucket", "identity")
    else:
        yield allowed(everything, "list the bucket")
        elsewhere = asker.elsewhere("s3:ListBucket", f"{scope.bucket_arn}-2")
        yield denied(elsewhere, "list another bucket", "identity")


def _annotations(asker: Asker) -> Iterator[Expectation]:
    for action in (
        "s3:PutObjectAnnotation",
        "s3:PutObjectVersionAnnotation",
        "s3:DeleteObjectAnnotation",
        "s3:DeleteObjectVersionAnnotation",
    ):
        words = "change an annotation, where another policy allows it"
        yield allowed(asker.object(action), words, granted=True)


def _no_other_objects(asker: Asker, action: str, verb: str) -> Iterator[Expectation]:
    scope = asker.scope
    other = asker.elsewhere(action, f"{scope.bucket_arn}-2/{asker.name}")
    yield denied(other, f"{verb} an object of another bucket", "identity")
    if scope.prefixes:
        outside = asker.object(action, name="another/q3.csv")
        yield denied(outside, f"{verb} an object below another prefix", "identity")


def _nothing_else(asker: Asker, *actions: str, rotates: bool = False) -> Iterator[Expectation]:
    for action in actions:
        yield denied(asker.object(action), "do something else with an object", "identity")
    yield denied(asker.bucket("s3:PutBucketPolicy"), "set the bucket's policy", "identity")
    encryption = asker.bucket("s3:PutEncryptionConfiguration")
    yield denied(encryption, "set the bucket's encryption", "identity", "bucket")
    if not rotates:
        update = asker.object("s3:UpdateObjectEncryption")
        yield denied(update, "change the encryption of an object", "identity", "bucket")
    for key in asker.scope.all_keys:
        for action in ("kms:DisableKey", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"):
            yield denied(asker.of_key(action, key), "administer the key", "identity")


def _uses(
    asker: Asker, *, through_s3: Sequence[str], client_side: Sequence[str]
) -> Iterator[Expectation]:
    """Yield the uses of KMS keys that a role needs, and similar uses that must be denied."""
    scope = asker.scope
    for key in scope.all_keys:
        yield allowed(asker.of_key("kms:DescribeKey", key), "look up the key of an alias")
        other = asker.of_key("kms:DescribeKey", other_key(key))
        yield denied(other, "look up another key", "identity")
    for key in scope.sse_keys:
        for action in through_s3:
            yield from _use_through_s3(asker, action, key)
        for action in _others(through_s3):
            request = asker.through_s3(action, key)
            yield denied(request, "do something else with the key", "identity", "key")
    for key in scope.client_keys:
        for action in client_side:
            yield from _use_client_side(asker, action, key)
        for action in _others(client_side):
            request = asker.client_side(action, key)
            yield denied(request, "do something else with the key", "identity", "key")


def _others(actions: Sequence[str]) -> list[str]:
    return [each for each in (*_ALL_CRYPTO, "kms:CreateGrant") if each not in actions]


def _use_through_s3(asker: Asker, action: str, key: str) -> Iterator[Expectation]:
    scope = asker.scope
    for name in _names(scope):
        of_object = {_S3_CONTEXT: f"{scope.bucket_arn}/{name}"}
        yield allowed(asker.through_s3(action, key, of_object), f"use the key for {name}")
    of_bucket = asker.through_s3(action, key, {_S3_CONTEXT: scope.bucket_arn})
    if scope.mode == "dsse-kms":
        yield denied(of_bucket, "use the key as a Bucket Key", "identity", "key")
    else:
        yield allowed(of_bucket, "use the key as a Bucket Key")
    for context, words in (
        ({_S3_CONTEXT: f"{scope.bucket_arn}-2/{asker.name}"}, "for another bucket"),
        ({"kms:ViaService": f"s3.{_other_region(scope)}.amazonaws.com"}, "in another Region"),
        ({"kms:ViaService": f"ec2.{scope.region}.amazonaws.com"}, "through another service"),
    ):
        yield denied(asker.through_s3(action, key, context), f"use the key {words}", *_BOTH)
    direct = asker.through_s3(action, key)
    alone = {name: value for name, value in direct.context.items() if "ViaService" not in name}
    yield denied(replace(direct, context=alone), "use the key without S3", *_BOTH)
    if scope.prefixes:
        outside = {_S3_CONTEXT: f"{scope.bucket_arn}/another/q3.csv"}
        words = "use the key for another prefix"
        yield denied(asker.through_s3(action, key, outside), words, *_BOTH)
    yield denied(asker.through_s3(action, other_key(key)), "use another key", "identity")
    yield from _use_elsewhere(asker, asker.through_s3(action, key))


def _use_client_side(asker: Asker, action: str, key: str) -> Iterator[Expectation]:
    scope = asker.scope
    for name in _names(scope):
        named = asker.client_side(action, key, {_NAME_CONTEXT: name})
        yield allowed(named, f"use the key for {name}, client-side")
    bound = asker.client_side(action, key, {_BUCKET_CONTEXT: scope.bucket})
    yield allowed(bound, "use the key for an object that is bound to the bucket")
    other = asker.client_side(action, key, {_BUCKET_CONTEXT: f"{scope.bucket}-2"})
    yield denied(other, "use the key for an object that is bound to another bucket", *_BOTH)
    yield denied(asker.of_key(action, key), "use the key without naming an object", *_BOTH)
    if scope.prefixes:
        outside = asker.client_side(action, key, {_NAME_CONTEXT: "another/q3.csv"})
        yield denied(outside, "use the key for another prefix, client-side", *_BOTH)
    yield denied(asker.client_side(action, other_key(key)), "use another key", "identity")
    yield from _use_elsewhere(asker, asker.client_side(action, key))


def _use_elsewhere(asker: Asker, request: Request) -> Iterator[Expectation]:
    if asker.scope.env:
        stranger = replace(asker.caller, tags={"env": "another"})
        words = "use the key from another environment"
        yield denied(replace(request, caller=stranger), words, "key")
        context = {**request.context, "aws:ResourceTag/env": "another"}
        words = "use a key of another environment"
        yield denied(replace(request, context=context), words, "identity")


def _other_region(scope: Scope) -> str:
    return "eu-west-3" if scope.region != "eu-west-3" else "eu-west-1"


_BOTH: tuple[Part, ...] = ("identity", "key")
_TABLES: Mapping[Role, Callable[[Asker], Iterator[Expectation]]] = MappingProxyType(
    {
        Role.WRITER: _writer,
        Role.READER: _reader,
        Role.SECURITY_ENGINEER: _security_engineer,
        Role.ROTATOR: _rotator,
        Role.AUDITOR: _auditor,
        Role.OBJECT_AUDITOR: _object_auditor,
    }
)
