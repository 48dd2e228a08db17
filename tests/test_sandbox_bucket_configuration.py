# SPDX-License-Identifier: Apache-2.0
"""The sandbox keeps the configuration of buckets, and refuses the settings that AWS refuses."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from sandbox_samples import refusal, ssec

ACCOUNT = "123456789012"
OTHER = "111122223333"
ALL_BLOCKED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
LOGS = {"Service": "logging.s3.amazonaws.com"}


@pytest.fixture
def name(blocked_bucket: str) -> str:
    """Return the name of a new bucket."""
    return blocked_bucket


def statement(bucket: str, **changed: Any) -> dict[str, Any]:
    """Return a statement that lets the account read the bucket's objects, with these changes."""
    return {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    } | changed


def policy(*statements: dict[str, Any]) -> str:
    """Return a policy with these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": [*statements]})


def encryption(**rule: Any) -> dict[str, Any]:
    """Return an encryption setting with one rule."""
    return {"Rules": [rule]}


def allow_acls(s3: Any, bucket: str) -> None:
    """Let a bucket accept ACLs, including public ones."""
    s3.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )
    s3.delete_public_access_block(Bucket=bucket)


# --- New buckets -------------------------------------------------------------------------------


def test_a_new_bucket_is_closed(s3: Any, name: str) -> None:
    """A new bucket has SSE-S3 as its default, and blocks SSE-C, public access and ACLs."""
    (rule,) = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert rule["BlockedEncryptionTypes"]["EncryptionType"] == ["SSE-C"]
    block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert block == ALL_BLOCKED
    controls = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]
    assert controls == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_creating_a_bucket_again_changes_nothing(s3: Any, name: str) -> None:
    """CreateBucket for the caller's own bucket in us-east-1 succeeds, and changes no setting."""
    s3.delete_public_access_block(Bucket=name)
    s3.create_bucket(Bucket=name)
    refused = refusal(s3.get_public_access_block, Bucket=name)
    assert refused == (404, "NoSuchPublicAccessBlockConfiguration")


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_policy_status", "NoSuchBucketPolicy"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
        ("get_bucket_tagging", "NoSuchTagSet"),
    ],
)
def test_configurations_that_are_not_there(s3: Any, name: str, method: str, code: str) -> None:
    """Reading a setting that is not set fails with the error code of this setting.

    If the bucket is missing, the code is NoSuchBucket.
    """
    assert refusal(getattr(s3, method), Bucket=name) == (404, code)
    assert refusal(getattr(s3, method), Bucket=str(uuid.uuid4())) == (404, "NoSuchBucket")


READS = (
    "get_bucket_encryption",
    "get_bucket_lifecycle_configuration",
    "get_bucket_logging",
    "get_bucket_ownership_controls",
    "get_bucket_policy",
    "get_bucket_replication",
    "get_bucket_versioning",
    "get_object_lock_configuration",
    "get_public_access_block",
)


@pytest.mark.parametrize("method", READS)
def test_another_owner_is_refused(s3: Any, name: str, method: str) -> None:
    """A request that expects another bucket owner is refused."""
    asked = {"Bucket": name, "ExpectedBucketOwner": OTHER}
    assert refusal(getattr(s3, method), **asked) == (403, "AccessDenied")


# --- Encryption --------------------------------------------------------------------------------


def test_a_block_that_is_left_out_is_lost(s3: Any, name: str) -> None:
    """PutBucketEncryption that does not name a block of SSE-C removes the bucket's block.

    DeleteBucketEncryption keeps the block.
    """
    default = {"SSEAlgorithm": "aws:kms"}
    blocked = {"EncryptionType": ["SSE-C"]}
    asked = encryption(
        ApplyServerSideEncryptionByDefault=default,
        BucketKeyEnabled=True,
        BlockedEncryptionTypes=blocked,
    )
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=asked)
    found = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]
    assert found == asked
    put = {"Bucket": name, "Key": "k", "Body": b"x", **ssec()}
    assert refusal(s3.put_object, **put) == (403, "AccessDenied")
    s3.delete_bucket_encryption(Bucket=name)
    assert refusal(s3.put_object, **put) == (403, "AccessDenied")
    s3.put_bucket_encryption(
        Bucket=name,
        ServerSideEncryptionConfiguration=encryption(ApplyServerSideEncryptionByDefault=default),
    )
    s3.put_object(**put)


def test_a_blocked_mode_is_refused_however_it_comes(s3: Any, name: str) -> None:
    """A put, a copy and a multipart upload in a blocked mode are all refused."""
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    where, denied = {"Bucket": name, "Key": "l", **ssec()}, (403, "AccessDenied")
    assert refusal(s3.put_object, **where) == denied
    assert refusal(s3.copy_object, **where, CopySource=f"{name}/k") == denied
    assert refusal(s3.create_multipart_upload, **where) == denied


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"BlockedEncryptionTypes": {"EncryptionType": ["SSE-X"]}}, "MalformedXML"),
        (
            {
                "ApplyServerSideEncryptionByDefault": {
                    "SSEAlgorithm": "AES256",
                    "KMSMasterKeyID": "alias/x",
                }
            },
            "InvalidArgument",
        ),
    ],
)
def test_encryption_settings_that_are_refused(
    s3: Any, name: str, rule: dict[str, Any], code: str
) -> None:
    """An unknown mode, and a KMS key for SSE-S3, are refused as a bucket's encryption."""
    asked = {"Bucket": name, "ServerSideEncryptionConfiguration": encryption(**rule)}
    assert refusal(s3.put_bucket_encryption, **asked) == (400, code)


# --- Public access and ACLs --------------------------------------------------------------------


def test_a_flag_that_is_left_out_is_off(s3: Any, name: str) -> None:
    """PutPublicAccessBlock turns off the flags that are not given."""
    s3.put_public_access_block(
        Bucket=name, PublicAccessBlockConfiguration={"BlockPublicPolicy": True}
    )
    found = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert found == dict.fromkeys(ALL_BLOCKED, False) | {"BlockPublicPolicy": True}


def test_acls_are_off(s3: Any, name: str) -> None:
    """A new bucket accepts only the ACL that gives full control to its owner."""
    off = (400, "AccessControlListNotSupported")
    where = {"Bucket": name, "Key": "k"}
    s3.put_object(**where, ACL="bucket-owner-full-control")
    assert refusal(s3.put_object, **where, ACL="private") == off
    assert refusal(s3.put_object, **where, GrantRead=f"id={'0' * 64}") == off
    assert refusal(s3.put_object_acl, **where, ACL="private") == off
    assert refusal(s3.put_bucket_acl, Bucket=name, ACL="private") == off
    assert len(s3.get_bucket_acl(Bucket=name)["Grants"]) == 1


def test_public_acls_are_blocked(s3: Any, name: str) -> None:
    """A bucket that accepts ACLs still refuses public ACLs while its public access block is on."""
    allow_acls(s3, name)
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=ALL_BLOCKED)
    denied = (403, "AccessDenied")
    assert refusal(s3.put_bucket_acl, Bucket=name, ACL="public-read") == denied
    assert refusal(s3.put_object, Bucket=name, Key="k", ACL="public-read") == denied
    s3.put_object(Bucket=name, Key="k", ACL="private")


def test_acls_stay_while_they_grant_something(s3: Any, name: str) -> None:
    """ACLs cannot be turned off while the bucket's ACL grants rights to other callers."""
    allow_acls(s3, name)
    s3.put_bucket_acl(Bucket=name, ACL="log-delivery-write")
    enforced = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    asked = {"Bucket": name, "OwnershipControls": enforced}
    refused = refusal(s3.put_bucket_ownership_controls, **asked)
    assert refused == (400, "InvalidBucketAclWithObjectOwnership")
    s3.put_bucket_acl(Bucket=name, ACL="private")
    s3.put_bucket_ownership_controls(**asked)
    assert refusal(s3.put_bucket_acl, Bucket=name, ACL="private")[0] == 400


def test_a_bucket_is_created_with_an_acl_only_if_it_takes_acls(s3: Any) -> None:
    """CreateBucket refuses an ACL if the bucket will not accept ACLs, and always a public ACL."""
    name = f"bucket-{uuid.uuid4()}"
    refused = refusal(s3.create_bucket, Bucket=name, ACL="log-delivery-write")
    assert refused == (400, "InvalidBucketAclWithObjectOwnership")
    more = {"Bucket": name, "ObjectOwnership": "ObjectWriter"}
    assert refusal(s3.create_bucket, **more, ACL="public-read") == (403, "AccessDenied")
    s3.create_bucket(**more, ACL="log-delivery-write")
    controls = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]
    assert controls == {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}


# --- Policies ----------------------------------------------------------------------------------


def test_a_policy_comes_back_in_other_words(s3: Any, name: str) -> None:
    """S3 returns a policy in another spelling with the same meaning.

    An account becomes an ARN, and a list with one element becomes the element.
    """
    asked = statement(
        name,
        Principal={"AWS": [ACCOUNT]},
        Action=["s3:GetObject"],
        Condition={"StringEquals": {"aws:PrincipalTag/env": ["test"]}},
    )
    s3.put_bucket_policy(Bucket=name, Policy=policy(asked))
    found = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])
    condition = {"StringEquals": {"aws:PrincipalTag/env": "test"}}
    assert found["Statement"] == [statement(name, Condition=condition)]
    s3.delete_bucket_policy(Bucket=name)
    assert refusal(s3.get_bucket_policy, Bucket=name) == (404, "NoSuchBucketPolicy")


@pytest.mark.parametrize(
    "changed",
    [
        {"Effect": "Maybe"},
        {"Action": "kms:Decrypt"},
        {"Action": []},
        {"Action": "s3:ListBucket"},
        {"Resource": "arn:aws:s3:::other/*"},
        {"Resource": "arn:aws:s3:::NAME"},
        {"Resource": "*"},
        {"Principal": {}},
        {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/absent"}},
        {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/*"}},
        {"Principal": {"Service": "nothing"}},
        {"Condition": {"StringIs": {"aws:SourceVpce": "vpce-1"}}},
        {"Condition": {"StringEquals": {}}},
        {"Conditions": {}},
    ],
)
def test_statements_that_are_refused(s3: Any, name: str, changed: dict[str, Any]) -> None:
    """A policy with an invalid element, unknown principal or foreign resource is refused."""
    text = policy(statement(name, **changed)).replace("NAME", name)
    refused = refusal(s3.put_bucket_policy, Bucket=name, Policy=text)
    assert refused == (400, "MalformedPolicy")
    assert refusal(s3.get_bucket_policy, Bucket=name) == (404, "NoSuchBucketPolicy")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"Version":"2012-10-17","Statement":[]}'])
def test_documents_that_are_refused(s3: Any, name: str, text: str) -> None:
    """A policy that is no JSON object with at least one statement is refused."""
    refused = refusal(s3.put_bucket_policy, Bucket=name, Policy=text)
    assert refused == (400, "MalformedPolicy")


def test_a_policy_has_20_kilobytes_at_most(s3: Any, name: str) -> None:
    """A policy of 20 KiB is accepted; one byte more is refused."""
    size = len(policy(statement(name, Sid="")))
    fitting = policy(statement(name, Sid="x" * (20 * 1024 - size)))
    s3.put_bucket_policy(Bucket=name, Policy=fitting)
    refused = refusal(s3.put_bucket_policy, Bucket=name, Policy=f"{fitting} ")
    assert refused == (400, "MalformedPolicy")


@pytest.mark.parametrize(
    ("changed", "is_public"),
    [
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": ["*"]}}, True),
        ({"Principal": "*", "Effect": "Deny"}, False),
        ({"Principal": {"AWS": OTHER}}, False),
        ({"Principal": "*", "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}, False),
        ({"Principal": "*", "Condition": {"StringLike": {"aws:SourceVpce": "vpce-*"}}}, True),
        ({"Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}, True),
        ({"Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/7"}}}, True),
        ({"Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, False),
    ],
)
def test_public_policies_are_blocked(
    s3: Any, name: str, changed: dict[str, Any], is_public: bool
) -> None:
    """A public policy is refused while the public access block is on, and accepted without it."""
    asked = {"Bucket": name, "Policy": policy(statement(name, **changed))}
    if is_public:
        assert refusal(s3.put_bucket_policy, **asked) == (403, "AccessDenied")
        s3.delete_public_access_block(Bucket=name)
    s3.put_bucket_policy(**asked)
    assert s3.get_bucket_policy_status(Bucket=name)["PolicyStatus"]["IsPublic"] is is_public


def test_conditions_are_not_evaluated(s3: Any, name: str) -> None:
    """The sandbox ignores conditions: a Deny for requests without TLS does not stop plain HTTP."""
    denying = statement(
        name,
        Effect="Deny",
        Principal="*",
        Action="s3:*",
        Resource=[f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
        Condition={"Bool": {"aws:SecureTransport": "false"}},
    )
    service = statement(
        name,
        Principal=LOGS,
        Action="s3:PutObject",
        Condition={"StringEquals": {"aws:SourceAccount": ACCOUNT}},
    )
    s3.put_bucket_policy(Bucket=name, Policy=policy(denying, service))
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    without = {key: value for key, value in denying.items() if key != "Condition"}
    s3.put_bucket_policy(Bucket=name, Policy=policy(without))
    assert refusal(s3.put_object, Bucket=name, Key="k", Body=b"x")[0] == 403


# --- Versioning and Object Lock ----------------------------------------------------------------


def test_versioning_is_kept(s3: Any, name: str) -> None:
    """Versioning is read back; MFA delete is refused, because it needs a device."""
    assert "Status" not in s3.get_bucket_versioning(Bucket=name)
    enabled = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=enabled)
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    asked = {"Bucket": name, "VersioningConfiguration": {**enabled, "MFADelete": "Enabled"}}
    assert refusal(s3.put_bucket_versioning, **asked, MFA="serial 123456") == (403, "AccessDenied")


def test_object_lock_comes_with_a_bucket(s3: Any) -> None:
    """A bucket that is made with Object Lock has versioning, which cannot be suspended."""
    name = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    found = s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]
    assert found == {"ObjectLockEnabled": "Enabled"}
    asked = {"Bucket": name, "VersioningConfiguration": {"Status": "Suspended"}}
    assert refusal(s3.put_bucket_versioning, **asked) == (409, "InvalidBucketState")


def test_object_lock_comes_later(s3: Any, name: str) -> None:
    """A bucket with objects can get Object Lock later, but only if it has versioning."""
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    wanted = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    asked = {"Bucket": name, "ObjectLockConfiguration": wanted}
    assert refusal(s3.put_object_lock_configuration, **asked) == (409, "InvalidBucketState")
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object_lock_configuration(**asked)
    assert s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"] == wanted
    rule["DefaultRetention"]["Years"] = 1
    assert refusal(s3.put_object_lock_configuration, **asked) == (400, "MalformedXML")


# --- Lifecycle and logging ---------------------------------------------------------------------


def test_a_lifecycle_is_kept_whole(s3: Any, name: str) -> None:
    """A lifecycle is read back with each element; a rule without a name gets one."""
    rules: list[dict[str, Any]] = [
        {
            "ID": "uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        },
        {
            "Status": "Enabled",
            "Filter": {"And": {"Prefix": "a/", "ObjectSizeGreaterThan": 1}},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30, "NewerNoncurrentVersions": 3},
        },
    ]
    asked = {"Bucket": name, "LifecycleConfiguration": {"Rules": rules}}
    s3.put_bucket_lifecycle_configuration(**asked)
    found = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    named = found[1].pop("ID")
    assert named
    assert found == rules
    s3.delete_bucket_lifecycle(Bucket=name)
    refused = refusal(s3.get_bucket_lifecycle_configuration, Bucket=name)
    assert refused == (404, "NoSuchLifecycleConfiguration")


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([{"ID": "a"}], "InvalidRequest"),
        ([{"ID": "a", "Expiration": {"Days": 0}}], "InvalidArgument"),
        ([{"ID": "a", "Expiration": {"Days": 1}}] * 2, "InvalidArgument"),
        (
            [
                {
                    "Filter": {"Tag": {"Key": "a", "Value": "b"}},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                }
            ],
            "InvalidRequest",
        ),
    ],
)
def test_lifecycles_that_are_refused(
    s3: Any, name: str, rules: list[dict[str, Any]], code: str
) -> None:
    """A lifecycle rule without an action, with 0 days or with a duplicate name is refused."""
    common = {"Status": "Enabled", "Filter": {"Prefix": ""}}
    asked = {"Rules": [{**common, **rule} for rule in rules]}
    refused = refusal(
        s3.put_bucket_lifecycle_configuration, Bucket=name, LifecycleConfiguration=asked
    )
    assert refused == (400, code)


def test_rules_of_both_forms_are_refused_side_by_side(s3: Any, name: str) -> None:
    """Lifecycle rules with a filter and rules of the older form, with a prefix, cannot be mixed."""
    rule: dict[str, Any] = {"Status": "Enabled", "Expiration": {"Days": 1}}
    old, new = {**rule, "Prefix": "a/"}, {**rule, "Filter": {"Prefix": "b/"}}
    asked = {"Bucket": name, "LifecycleConfiguration": {"Rules": [old, new]}}
    assert refusal(s3.put_bucket_lifecycle_configuration, **asked) == (400, "InvalidRequest")
    s3.put_bucket_lifecycle_configuration(
        Bucket=name, LifecycleConfiguration={"Rules": [old, {**old, "Prefix": "b/"}]}
    )


def test_logs_go_where_they_are_let(s3: Any, name: str) -> None:
    """Logging is refused unless the target bucket's policy lets the logging service write."""
    target = f"{name[:50]}-logs"
    wanted = {"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": "acme/"}}
    asked = {"Bucket": name, "BucketLoggingStatus": wanted}
    no_target = (400, "InvalidTargetBucketForLogging")
    assert refusal(s3.put_bucket_logging, **asked) == no_target
    s3.create_bucket(Bucket=target)
    assert refusal(s3.put_bucket_logging, **asked) == no_target
    denying = statement(
        target,
        Effect="Deny",
        Principal="*",
        Action="s3:*",
        Condition={"Bool": {"aws:SecureTransport": "false"}},
    )
    letting = statement(
        target, Principal=LOGS, Action="s3:PutObject", Resource=f"arn:aws:s3:::{target}/acme/*"
    )
    s3.put_bucket_policy(Bucket=target, Policy=policy(denying, letting))
    s3.put_bucket_logging(**asked)
    assert s3.get_bucket_logging(Bucket=name)["LoggingEnabled"] == wanted["LoggingEnabled"]
    s3.put_bucket_logging(Bucket=name, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=name)


def test_logs_stay_in_their_region(s3: Any, session: Any, name: str) -> None:
    """Logging into a bucket in another Region is refused."""
    target = f"{name[:50]}-logs"
    west = session.client("s3", region_name="eu-west-1")
    west.create_bucket(Bucket=target, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    letting = statement(target, Principal=LOGS, Action="s3:PutObject")
    west.put_bucket_policy(Bucket=target, Policy=policy(letting))
    wanted = {"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": ""}}
    refused = refusal(s3.put_bucket_logging, Bucket=name, BucketLoggingStatus=wanted)
    assert refused == (403, "CrossLocationLoggingProhibitted")
