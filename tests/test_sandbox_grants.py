# SPDX-License-Identifier: Apache-2.0
"""The sandbox's KMS checks the key policy and the grants for the caller of each request."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import pytest
from sandbox_samples import checked, refusal

from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNT = "123456789012"
ADMINISTRATOR = f"arn:aws:iam::{ACCOUNT}:user/sandbox"
DENIED = (400, "AccessDeniedException")
FINE = (412, "DryRunOperationException")
CONTEXT = {"app": "reports", "stage": "test"}


class Principal(NamedTuple):
    """A user or role, with its clients."""

    arn: str
    kms: Any
    s3: Any


def principal(arn: str, access_key: str) -> Principal:
    """Return the principal with this ARN, with clients that sign with the access key."""
    session = boto3.Session(access_key, "secret", region_name=sandboxes.REGION)
    return Principal(arn, checked(session.client("kms")), session.client("s3"))


@pytest.fixture(scope="module")
def user(session: boto3.Session) -> Principal:
    """Make a user with an access key. Return it as a principal."""
    iam, name = session.client("iam"), f"user-{uuid.uuid4()}"
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return principal(arn, made["AccessKeyId"])


@pytest.fixture(scope="module")
def role(session: boto3.Session) -> Principal:
    """Make a role and assume it. Return the session as a principal."""
    name = f"role-{uuid.uuid4()}"
    trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    made = session.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)
    arn = made["Role"]["Arn"]
    assumed = session.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")
    return principal(arn, assumed["Credentials"]["AccessKeyId"])


def policy(*statements: dict[str, Any]) -> str:
    """Return a key policy that allows only administration, and has these further statements."""
    own = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Resource": "*"}
    manage = ["kms:CreateGrant", "kms:RevokeGrant", "kms:List*", "kms:Describe*", "kms:Put*"]
    document = {"Version": "2012-10-17", "Statement": [{**own, "Action": manage}, *statements]}
    return json.dumps(document)


@pytest.fixture
def guarded(kms: Any) -> str:
    """Make a key whose policy lets no caller use it. Return its ARN."""
    return str(kms.create_key(Policy=policy())["KeyMetadata"]["Arn"])


def use(who: Principal, key: str, **context: str) -> tuple[int, str]:
    """Request a data key as this caller, in a dry run. Return KMS's status and code."""
    asked = {"KeyId": key, "KeySpec": "AES_256", "EncryptionContext": context, "DryRun": True}
    return refusal(who.kms.generate_data_key, **asked)


@pytest.fixture(params=["user", "role"])
def grantee(request: pytest.FixtureRequest) -> Principal:
    """Return a user, then an assumed role, as the principal that gets a grant."""
    found: Principal = request.getfixturevalue(request.param)
    return found


def test_a_grant_lets_its_grantee_use_the_key(kms: Any, guarded: str, grantee: Principal) -> None:
    """Until it is revoked, a grant allows its operations, and only to its grantee."""
    assert use(grantee, guarded) == DENIED
    named = {"KeyId": guarded, "GranteePrincipal": grantee.arn}
    made = kms.create_grant(**named, Operations=["GenerateDataKey"])
    assert use(grantee, guarded) == FINE
    assert refusal(grantee.kms.encrypt, KeyId=guarded, Plaintext=b"x") == DENIED
    other = refusal(kms.generate_data_key, KeyId=guarded, KeySpec="AES_256")
    assert other == DENIED
    kms.revoke_grant(KeyId=guarded, GrantId=made["GrantId"])
    assert use(grantee, guarded) == DENIED


@pytest.mark.parametrize(
    ("constraints", "context", "expected"),
    [
        ({"EncryptionContextEquals": CONTEXT}, CONTEXT, FINE),
        ({"EncryptionContextEquals": CONTEXT}, {**CONTEXT, "more": "x"}, DENIED),
        ({"EncryptionContextEquals": CONTEXT}, {}, DENIED),
        ({"EncryptionContextSubset": CONTEXT}, {**CONTEXT, "more": "x"}, FINE),
        ({"EncryptionContextSubset": CONTEXT}, {"app": "reports"}, DENIED),
        ({"EncryptionContextSubset": CONTEXT}, {**CONTEXT, "app": "Reports"}, DENIED),
        ({"SourceArn": f"arn:aws:rds:us-east-1:{ACCOUNT}:db:orders"}, CONTEXT, DENIED),
    ],
)
def test_constraints_bind_the_grantee(
    kms: Any,
    guarded: str,
    user: Principal,
    constraints: dict[str, Any],
    context: dict[str, str],
    expected: tuple[int, str],
) -> None:
    """A grant's context constraint is checked; a constraint on a source ARN denies a user."""
    kms.create_grant(
        KeyId=guarded,
        GranteePrincipal=user.arn,
        Operations=["GenerateDataKey"],
        Constraints=constraints,
    )
    assert use(user, guarded, **context) == expected


def test_re_encryption_needs_both_sides(kms: Any, guarded: str, key: str, user: Principal) -> None:
    """ReEncrypt needs ReEncryptFrom on the source key and ReEncryptTo on the destination key."""
    own = kms.create_grant(KeyId=guarded, GranteePrincipal=ADMINISTRATOR, Operations=["Encrypt"])
    asked = {"KeyId": guarded, "Plaintext": b"x", "EncryptionContext": CONTEXT}
    blob = kms.encrypt(**asked)["CiphertextBlob"]
    kms.revoke_grant(KeyId=guarded, GrantId=own["GrantId"])
    move = {"CiphertextBlob": blob, "SourceEncryptionContext": CONTEXT, "DestinationKeyId": key}
    assert refusal(user.kms.re_encrypt, **move) == DENIED
    grant = {"KeyId": guarded, "GranteePrincipal": user.arn}
    constraint = {"EncryptionContextEquals": CONTEXT}
    kms.create_grant(**grant, Operations=["ReEncryptFrom"], Constraints=constraint)
    assert user.kms.re_encrypt(**move)["KeyId"] == key
    back = {**move, "DestinationKeyId": guarded}
    assert refusal(user.kms.re_encrypt, **back) == DENIED


def test_a_deny_wins_over_a_grant(kms: Any, guarded: str, user: Principal, role: Principal) -> None:
    """A Deny in the key policy overrides a grant, also a Deny with NotPrincipal."""
    for each in (user, role):
        grant = {"KeyId": guarded, "GranteePrincipal": each.arn}
        kms.create_grant(**grant, Operations=["GenerateDataKey"])
    deny = {"Effect": "Deny", "Action": "kms:Generate*", "Resource": "*"}
    kms.put_key_policy(KeyId=guarded, Policy=policy({**deny, "Principal": {"AWS": user.arn}}))
    assert (use(user, guarded), use(role, guarded)) == (DENIED, FINE)
    kms.put_key_policy(KeyId=guarded, Policy=policy({**deny, "NotPrincipal": {"AWS": user.arn}}))
    assert (use(user, guarded), use(role, guarded)) == (FINE, DENIED)


def test_a_policy_allows_the_callers_that_it_names(
    kms: Any, guarded: str, user: Principal, role: Principal
) -> None:
    """A key policy can allow one role, or every principal of the account."""
    allow = {"Effect": "Allow", "Action": "kms:Generate*", "Resource": "*"}
    kms.put_key_policy(KeyId=guarded, Policy=policy({**allow, "Principal": {"AWS": role.arn}}))
    assert (use(user, guarded), use(role, guarded)) == (DENIED, FINE)
    kms.put_key_policy(KeyId=guarded, Policy=policy({**allow, "Principal": {"AWS": ACCOUNT}}))
    assert (use(user, guarded), use(role, guarded)) == (FINE, FINE)


def test_s3_uses_the_key_as_its_caller(
    kms: Any, bucket: str, guarded: str, user: Principal, role: Principal
) -> None:
    """A grant that is limited to one object's ARN lets its grantee use the key for this object."""
    where = {"Bucket": bucket, "Key": "k"}
    mode = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": guarded}
    assert refusal(user.s3.put_object, **where, **mode, Body=b"x") == (403, "AccessDenied")
    grant = {
        "KeyId": guarded,
        "GranteePrincipal": user.arn,
        "Operations": ["Decrypt", "GenerateDataKey"],
    }
    arn = {"aws:s3:arn": f"arn:aws:s3:::{bucket}/k"}
    kms.create_grant(**grant, Constraints={"EncryptionContextSubset": arn})
    user.s3.put_object(**where, **mode, Body=b"x")
    assert user.s3.get_object(**where)["Body"].read() == b"x"
    assert refusal(role.s3.get_object, **where) == (403, "AccessDenied")
    other = {"Bucket": bucket, "Key": "l"}
    assert refusal(user.s3.put_object, **other, **mode, Body=b"x") == (403, "AccessDenied")


def test_a_grantee_passes_on_no_more_than_it_has(
    kms: Any, guarded: str, user: Principal, role: Principal
) -> None:
    """A grantee with CreateGrant can pass on only its own operations, with its constraints."""
    kms.put_key_policy(
        KeyId=guarded,
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": user.arn},
                        "Action": "kms:*",
                        "Resource": "*",
                    }
                ],
            }
        ),
        BypassPolicyLockoutSafetyCheck=True,
    )
    constraint = {"Constraints": {"EncryptionContextEquals": CONTEXT}}
    user.kms.create_grant(
        KeyId=guarded,
        GranteePrincipal=role.arn,
        Operations=["CreateGrant", "GenerateDataKey"],
        **constraint,
    )
    passed = {"KeyId": guarded, "GranteePrincipal": ADMINISTRATOR}
    create: Callable[..., Any] = role.kms.create_grant
    assert refusal(create, **passed, Operations=["Decrypt"], **constraint) == DENIED
    assert refusal(create, **passed, Operations=["GenerateDataKey"]) == DENIED
    create(**passed, Operations=["GenerateDataKey"], **constraint)


def test_who_may_retire_a_grant(kms: Any, guarded: str, user: Principal, role: Principal) -> None:
    """A grant can be retired by its retiring principal, by the account, or by the grantee.

    The grantee needs the operation RetireGrant.
    """
    root = principal(f"arn:aws:iam::{ACCOUNT}:root", sandboxes.ROOT_ACCESS_KEY)
    plain = {"KeyId": guarded, "GranteePrincipal": user.arn, "Operations": ["Decrypt"]}
    for changed, able in (
        ({"RetiringPrincipal": role.arn}, role),
        ({"Operations": ["Decrypt", "RetireGrant"]}, user),
        ({}, root),
    ):
        made = kms.create_grant(**{**plain, **changed})
        for each in {user, role} - {able}:
            by_token = {"GrantToken": made["GrantToken"]}
            assert refusal(each.kms.retire_grant, **by_token) == DENIED
        able.kms.retire_grant(KeyId=guarded, GrantId=made["GrantId"])
        assert kms.list_grants(KeyId=guarded)["Grants"] == []


def test_a_grant_fits_its_key(kms: Any, guarded: str) -> None:
    """A grant of an operation that the key does not support is refused."""
    asked = {"KeyId": guarded, "GranteePrincipal": ADMINISTRATOR, "Operations": ["Sign"]}
    assert refusal(kms.create_grant, **asked) == (400, "ValidationException")
