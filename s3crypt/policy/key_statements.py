# SPDX-License-Identifier: Apache-2.0
"""The policy of a key: the account administers the key, and only named roles use it.

Every Allow has the account as its principal, so a role also needs an Allow in its own policy. The
roles are named in conditions, because KMS refuses a policy with a principal that does not exist
(any more), but not a condition that names a missing role.

Condition keys: https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
"""

from collections.abc import Iterator

from s3crypt.errors import ConfigError

from .documents import Condition, Document, Kind, Principal, Statement, check_size
from .scope import Role, Scope, root_arn
from .statements import EVERYONE, allow, client_side, deny, through_s3, when

# In a key policy, the resource "*" means the key that has the policy.
_THIS_KEY = ("*",)
# These actions neither use the key nor let others use it. CreateGrant has a statement of its own.
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
            f"{key_arn or 'A key'} is not a key of these policies.",
            hint="Give the key to the policies.",
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

    The policy has the same meaning as KMS's default policy of a new key. Its Sid begins with
    `S3crypt`, so applying a `key_policy` later replaces the statement.
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
        # S3 decrypts the parts of an upload when it joins them, so a writer needs kms:Decrypt. A
        # writer still cannot read objects, because reading also requires s3:GetObject.
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
        # There is no condition on the environment, because the role of replication does not have
        # the tag `env`.
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
        # With several wrapping keys, the first key generates the data key, and each further key
        # needs kms:Encrypt.
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
