# SPDX-License-Identifier: Apache-2.0
"""The sandbox's KMS accepts and refuses key policies as AWS does, also for replicas."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sandbox_samples import refusal

if TYPE_CHECKING:
    import boto3

ACCOUNT = "123456789012"
ROOT = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
ALL = {"Effect": "Allow", "Principal": ROOT, "Action": "kms:*", "Resource": "*"}
MALFORMED = (400, "MalformedPolicyDocumentException")


def policy(*statements: dict[str, Any]) -> str:
    """Return a policy with these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": [*statements]})


def test_a_key_policy_is_kept(kms: Any, kms_key: str) -> None:
    """A key policy is read back with the same meaning. Only the policy name "default" exists."""
    wanted = policy(ALL, {**ALL, "Sid": "Use of the key", "Action": "kms:Decrypt"})
    kms.put_key_policy(KeyId=kms_key, PolicyName="default", Policy=wanted)
    assert json.loads(kms.get_key_policy(KeyId=kms_key)["Policy"]) == json.loads(wanted)
    refused = refusal(kms.get_key_policy, KeyId=kms_key, PolicyName="other")
    assert refused == (400, "NotFoundException")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        policy(),
        policy({**ALL, "Effect": "Maybe"}),
        policy(ALL, {**ALL, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/absent"}}),
        policy({key: value for key, value in ALL.items() if key != "Resource"}),
        policy({**ALL, "Condition": {"StringIs": {"kms:ViaService": "s3"}}}),
    ],
)
def test_key_policies_that_are_refused(kms: Any, kms_key: str, text: str) -> None:
    """A malformed key policy, or one with a principal that does not exist, is refused."""
    asked = {"KeyId": kms_key, "Policy": text, "BypassPolicyLockoutSafetyCheck": True}
    assert refusal(kms.put_key_policy, **asked) == MALFORMED


@pytest.mark.parametrize(
    "statements",
    [
        ({**ALL, "Principal": {"AWS": "111122223333"}},),
        ({**ALL, "Action": "kms:Get*"},),
        ({**ALL, "NotAction": "kms:PutKeyPolicy"},),
        (ALL, {**ALL, "Effect": "Deny", "Principal": "*"}),
    ],
)
def test_a_policy_must_not_lock_its_author_out(
    kms: Any, kms_key: str, statements: tuple[dict[str, Any], ...]
) -> None:
    """A policy without kms:PutKeyPolicy for its author is refused, unless the check is bypassed."""
    kept = [
        {name: value for name, value in each.items() if name != "Action"}
        if "NotAction" in each
        else each
        for each in statements
    ]
    asked = {"KeyId": kms_key, "Policy": policy(*kept)}
    assert refusal(kms.put_key_policy, **asked) == MALFORMED
    kms.put_key_policy(**asked, BypassPolicyLockoutSafetyCheck=True)


def test_a_key_policy_has_32_kilobytes_at_most(kms: Any, kms_key: str) -> None:
    """A key policy of 32 KiB is accepted; one byte more is refused."""
    size = len(policy({**ALL, "Sid": ""}))
    fitting = policy({**ALL, "Sid": "x" * (32 * 1024 - size)})
    kms.put_key_policy(KeyId=kms_key, Policy=fitting)
    refused = refusal(kms.put_key_policy, KeyId=kms_key, Policy=f"{fitting} ")
    assert refused == (400, "LimitExceededException")


def test_a_key_is_tagged(kms: Any, kms_key: str) -> None:
    """TagResource adds and replaces tags of a key, and UntagResource removes them."""
    for value in ("a", "b"):
        kms.tag_resource(KeyId=kms_key, Tags=[{"TagKey": "s3crypt", "TagValue": value}])
    found = kms.list_resource_tags(KeyId=kms_key)
    assert found["Tags"] == [{"TagKey": "s3crypt", "TagValue": "b"}]
    assert found["Truncated"] is False
    kms.untag_resource(KeyId=kms_key, TagKeys=["s3crypt"])
    assert kms.list_resource_tags(KeyId=kms_key)["Tags"] == []


def test_a_replica_has_its_own_policy_and_tags(session: boto3.Session, kms: Any) -> None:
    """A replica has its own policy, tags and aliases."""
    primary = kms.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"alias/{uuid.uuid4()}", TargetKeyId=primary)
    wanted = policy({**ALL, "Sid": "Replica"})
    tags = [{"TagKey": "s3crypt", "TagValue": "replica"}]
    made = kms.replicate_key(KeyId=primary, ReplicaRegion="eu-west-1", Policy=wanted, Tags=tags)
    west: Any = session.client("kms", region_name="eu-west-1")
    replica = made["ReplicaKeyMetadata"]["Arn"]
    assert replica.split(":")[3] == "eu-west-1"
    assert json.loads(west.get_key_policy(KeyId=replica)["Policy"]) == json.loads(wanted)
    assert "Replica" not in kms.get_key_policy(KeyId=primary)["Policy"]
    assert west.list_resource_tags(KeyId=replica)["Tags"] == tags
    assert kms.list_resource_tags(KeyId=primary)["Tags"] == []
    assert west.list_aliases(KeyId=replica)["Aliases"] == []


def test_replicas_that_are_refused(session: boto3.Session, kms: Any, kms_key: str) -> None:
    """ReplicateKey is refused for a single-Region key, a replica, or a Region with a replica."""
    unsupported = (400, "UnsupportedOperationException")
    to = {"ReplicaRegion": "eu-west-1"}
    assert refusal(kms.replicate_key, KeyId=kms_key, **to) == unsupported
    primary = kms.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    kms.replicate_key(KeyId=primary, **to)
    refused = refusal(kms.replicate_key, KeyId=primary, **to)
    assert refused == (400, "AlreadyExistsException")
    west: Any = session.client("kms", region_name="eu-west-1")
    refused = refusal(west.replicate_key, KeyId=primary, ReplicaRegion="eu-central-1")
    assert refused == unsupported
