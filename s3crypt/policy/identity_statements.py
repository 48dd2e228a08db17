# SPDX-License-Identifier: Apache-2.0
"""The policies of roles: the allowed actions on explicit keys and objects, and the denied actions.

The policies of an auditor and of a security engineer have Deny statements, so that no other policy
can allow the denied actions. The policies of a writer and a reader have no Deny statements, because
one IAM role may have both policies.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from s3crypt.errors import ConfigError

from .documents import Condition, Document, Kind, Statement, check_size
from .scope import KeyARN, Role, Scope
from .statements import CRYPTO, allow, client_side, deny, through_s3, when

_EVERYTHING = ("*",)
_REWRAP = ("kms:ReEncryptFrom", "kms:ReEncryptTo")
_ROTATE = ("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", *_REWRAP)
_LONGEST_PERIOD_DAYS = "365"
_SHORTEST_WINDOW_DAYS = "30"


def iam_policy(role: Role, scope: Scope) -> Document:
    """Return the policy of a role.

    Raises:
        ConfigError: The policy is longer than AWS accepts, or an object-auditor has no prefixes.
    """
    check_prefixes(role, scope)
    document = Document(tuple(_STATEMENTS[role](scope)))
    check_size(document, Kind.ROLE)
    return document


def check_prefixes(role: Role, scope: Scope) -> None:
    """Refuse an object-auditor without prefixes, which could read all objects.

    Raises:
        ConfigError: The scope has no prefixes.
    """
    if role is Role.OBJECT_AUDITOR and not scope.prefixes:
        raise ConfigError(
            "An object-auditor may read only named prefixes, but no prefix is given.",
            hint="Name the prefixes that it may read, such as 2026/q3/.",
        )


def _writer(scope: Scope) -> Iterator[Statement]:
    actions = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
    yield allow("PutObjects", actions, scope.objects)
    yield from _crypto(
        scope,
        ("EncryptThroughS3", ("kms:GenerateDataKey", "kms:Decrypt")),
        ("EncryptClientSide", ("kms:GenerateDataKey", "kms:Encrypt")),
    )


def _reader(scope: Scope) -> Iterator[Statement]:
    yield allow(
        "GetObjects",
        (
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:GetObjectAnnotation",
            "s3:GetObjectVersionAnnotation",
        ),
        scope.objects,
    )
    yield _listing(scope)
    yield from _decrypting(scope)


def _object_auditor(scope: Scope) -> Iterator[Statement]:
    yield allow("GetAuditedObjects", ("s3:GetObject", "s3:GetObjectVersion"), scope.objects)
    yield _listing(scope)
    yield from _decrypting(scope)


def _rotator(scope: Scope) -> Iterator[Statement]:
    # The object's tags, locks and annotations are copied with it.
    yield allow(
        "RotateObjects",
        (
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:PutObject",
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
        ),
        scope.objects,
    )
    yield _listing(scope)
    yield from _crypto(scope, ("RewrapThroughS3", _ROTATE), ("RewrapClientSide", _ROTATE))


def _security_engineer(scope: Scope) -> Iterator[Statement]:
    yield from _key_administration(scope)
    yield allow(
        "ConfigureBucket",
        (
            "s3:GetBucket*",
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
        ),
        (scope.bucket_arn,),
    )
    if scope.all_keys:
        yield deny("NeverUseKeys", CRYPTO, scope.all_keys)
    yield deny("NeverReadObjects", ("s3:GetObject*",), (scope.all_objects,))


def _key_administration(scope: Scope) -> Iterator[Statement]:
    keys, tagged = scope.all_keys, _tagged(scope)
    safe = when("BoolIfExists", "kms:BypassPolicyLockoutSafetyCheck", "false")
    yield allow("FindKeys", ("kms:ListKeys", "kms:ListAliases"), _EVERYTHING)
    yield allow("CreateKeys", ("kms:CreateKey",), _EVERYTHING, safe)
    if not keys:
        return
    yield allow("AdministerKeys", _ADMINISTRATION, keys, *tagged)
    yield allow(
        "NameKeys",
        ("kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias"),
        (*keys, *_aliases(keys)),
    )
    yield allow("SetKeyPolicy", ("kms:PutKeyPolicy",), keys, safe, *tagged)
    # Because of `IfExists`, a request without a period is allowed. KMS then uses its default
    # period, which equals this limit.
    yield allow(
        "RotateKeysYearly",
        ("kms:EnableKeyRotation",),
        keys,
        when("NumericLessThanEqualsIfExists", "kms:RotationPeriodInDays", _LONGEST_PERIOD_DAYS),
        *tagged,
    )
    yield allow(
        "DeleteKeysSlowly",
        ("kms:ScheduleKeyDeletion",),
        keys,
        when(
            "NumericGreaterThanEqualsIfExists",
            "kms:ScheduleKeyDeletionPendingWindowInDays",
            _SHORTEST_WINDOW_DAYS,
        ),
        *tagged,
    )


_ADMINISTRATION = (
    "kms:CancelKeyDeletion",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:GetKeyLastUsage",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:TagResource",
    "kms:UpdateKeyDescription",
)


def _auditor(scope: Scope) -> Iterator[Statement]:
    # These actions are allowed on all resources, so an audit also finds buckets that were
    # forgotten.
    yield allow(
        "ReadKeySettings",
        (
            "kms:DescribeKey",
            "kms:GetKeyLastUsage",
            "kms:GetKeyPolicy",
            "kms:GetKeyRotationStatus",
            "kms:List*",
        ),
        _EVERYTHING,
    )
    yield allow(
        "ReadBucketSettings",
        (
            "s3:GetAccountPublicAccessBlock",
            "s3:GetBucket*",
            "s3:Get*Configuration",
            "s3:ListAllMyBuckets",
            "s3:ListBucket*",
        ),
        _EVERYTHING,
    )
    yield allow(
        "ReadEvidence",
        (
            "access-analyzer:ValidatePolicy",
            "cloudtrail:DescribeTrails",
            "cloudtrail:GetEventSelectors",
            "cloudtrail:GetTrailStatus",
            "cloudtrail:LookupEvents",
            "config:Describe*",
            "config:Get*",
            "iam:GetAccountAuthorizationDetails",
            "iam:GetRole",
            "securityhub:Get*",
            "sts:GetCallerIdentity",
        ),
        _EVERYTHING,
    )
    yield deny("NeverUseKeys", CRYPTO, _EVERYTHING)
    # The Deny covers all buckets, not only the scope's: an auditor of configurations must not read
    # any object.
    yield deny("NeverReadObjects", ("s3:GetObject*",), (f"arn:{scope.partition}:s3:::*",))


def _listing(scope: Scope) -> Statement:
    if not scope.prefixes:
        return allow("ListObjects", ("s3:ListBucket",), (scope.bucket_arn,))
    below = when("StringLike", "s3:prefix", *scope.name_patterns)
    return allow("ListObjects", ("s3:ListBucket",), (scope.bucket_arn,), below)


def _decrypting(scope: Scope) -> Iterator[Statement]:
    decrypt = ("kms:Decrypt",)
    return _crypto(scope, ("DecryptThroughS3", decrypt), ("DecryptClientSide", decrypt))


def _crypto(
    scope: Scope, sse: tuple[str, tuple[str, ...]], client: tuple[str, tuple[str, ...]]
) -> Iterator[Statement]:
    """Yield the statements that allow S3 and processes to use the scope's keys.

    `sse` and `client` are the Sid and the actions of these statements.
    """
    tagged = _tagged(scope)
    if scope.sse_keys:
        yield allow(*sse, scope.sse_keys, *through_s3(scope), *tagged)
    if scope.client_keys:
        yield allow(*client, scope.client_keys, *client_side(scope), *tagged)
    if scope.all_keys:
        # s3crypt resolves an alias with DescribeKey.
        yield allow("DescribeKeys", ("kms:DescribeKey",), scope.all_keys)


def _tagged(scope: Scope) -> tuple[Condition, ...]:
    return (when("StringEquals", "aws:ResourceTag/env", scope.env),) if scope.env else ()


def _aliases(keys: tuple[str, ...]) -> tuple[str, ...]:
    parsed = map(KeyARN.parse, keys)
    return tuple(
        dict.fromkeys(f"arn:{k.partition}:kms:{k.region}:{k.account}:alias/*" for k in parsed)
    )


_STATEMENTS: Mapping[Role, Callable[[Scope], Iterator[Statement]]] = MappingProxyType(
    {
        Role.WRITER: _writer,
        Role.READER: _reader,
        Role.SECURITY_ENGINEER: _security_engineer,
        Role.ROTATOR: _rotator,
        Role.AUDITOR: _auditor,
        Role.OBJECT_AUDITOR: _object_auditor,
    }
)
