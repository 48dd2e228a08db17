# SPDX-License-Identifier: Apache-2.0
"""The policy of a key: the account administers the key, and only named roles use it.

Every Allow names the account, so that a role also needs an Allow in its own policy. The roles are
named in conditions: a role that does not exist yet, or was deleted, does not make the policy
invalid.

Condition keys: https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
"""

from collections.abc import Iterator

from s3crypt.errors import ConfigError

from .documents import Condition, Document, Kind, Principal, Statement, check_size
from .scope import Role, Scope, root_arn
from .statements import EVERYONE, allow, client_side, deny, through_s3, when

# In the policy of a key, "*" is that key.
_THIS_KEY = ("*",)
# These actions neither use the key nor delegate its use; CreateGrant has its own statement.
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
_REWRAP = ("kms:ReEncryptFrom", "kms:ReEncryptTo")


def key_policy(scope: Scope, key_arn: str | None = None) -> Document:
    """Return the policy of one of the scope's keys, by default of the first key.

    Raises:
        ConfigError: The scope has no such key, or the policy is longer than AWS accepts.
    """
    if key_arn is None and scope.all_keys:
        key_arn = scope.all_keys[0]
    if key_arn not in scope.all_keys:
        raise ConfigError(
            f"{key_arn or 'A key'} is not a key of these policies.", hint="Name it as their key."
        )
    account = (Principal("AWS", scope.root),)
    statements = [*_administration(account)]
    if key_arn in scope.sse_keys:
        statements += _use_through_s3(scope, account)
    if key_arn in scope.client_keys:
        statements += _use_client_side(scope, account)
    document = Document(tuple(statements))
    check_size(document, Kind.KEY)
    return document


def open_key_policy(partition: str, account: str) -> Document:
    """Return the policy of a key whose use is decided by the account's IAM policies alone.

    The policy has the same meaning as KMS's default policy of a new key. Its statement has a Sid of
    s3crypt's, so that applying a `key_policy` replaces it.
    """
    root = (Principal("AWS", root_arn(partition, account)),)
    return Document((allow("EnableIAMPolicies", ("kms:*",), _THIS_KEY, principals=root),))


def _administration(account: tuple[Principal, ...]) -> Iterator[Statement]:
    yield allow("AdministerKey", _ADMINISTRATION, _THIS_KEY, principals=account)
    yield allow(
        "GrantToServices",
        ("kms:CreateGrant",),
        _THIS_KEY,
        when("Bool", "kms:GrantIsForAWSResource", "true"),
        principals=account,
    )
    yield deny(
        "DenyLockoutBypass",
        ("kms:PutKeyPolicy",),
        _THIS_KEY,
        when("Bool", "kms:BypassPolicyLockoutSafetyCheck", "true"),
        principals=EVERYONE,
    )


def _use_through_s3(scope: Scope, account: tuple[Principal, ...]) -> Iterator[Statement]:
    conditions = (*through_s3(scope), *_environment(scope))
    uses = [
        # S3 decrypts the parts of an upload to join them, so a writer needs Decrypt. A writer
        # still cannot read objects: reading requires s3:GetObject too.
        ("WriteThroughS3", ("kms:GenerateDataKey", "kms:Decrypt"), scope.arns_of(Role.WRITER)),
        ("ReadThroughS3", ("kms:Decrypt",), _readers(scope)),
        (
            "RotateThroughS3",
            ("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", *_REWRAP),
            scope.arns_of(Role.ROTATOR),
        ),
    ]
    for sid, actions, arns in uses:
        yield allow(sid, actions, _THIS_KEY, _by(arns), *conditions, principals=account)
    if scope.replication_roles:
        # The role of replication has no tag with an environment.
        yield allow(
            "ReplicateThroughS3",
            ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"),
            _THIS_KEY,
            _by(scope.replication_roles),
            *through_s3(scope),
            principals=account,
        )


def _use_client_side(scope: Scope, account: tuple[Principal, ...]) -> Iterator[Statement]:
    conditions = (*client_side(scope), *_environment(scope))
    for sid, actions, arns in (
        # Encrypt is for the second and later of several keys.
        ("WriteClientSide", ("kms:GenerateDataKey", "kms:Encrypt"), scope.arns_of(Role.WRITER)),
        ("ReadClientSide", ("kms:Decrypt",), _readers(scope)),
        (
            "RotateClientSide",
            ("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", *_REWRAP),
            scope.arns_of(Role.ROTATOR),
        ),
    ):
        yield allow(sid, actions, _THIS_KEY, _by(arns), *conditions, principals=account)


def _readers(scope: Scope) -> tuple[str, ...]:
    # A scope without prefixes has no object-auditor.
    roles = (Role.READER, Role.OBJECT_AUDITOR) if scope.prefixes else (Role.READER,)
    return scope.arns_of(*roles)


def _by(arns: tuple[str, ...]) -> Condition:
    return when("ArnLike", "aws:PrincipalArn", *arns)


def _environment(scope: Scope) -> tuple[Condition, ...]:
    return (when("StringEquals", "aws:PrincipalTag/env", scope.env),) if scope.env else ()
