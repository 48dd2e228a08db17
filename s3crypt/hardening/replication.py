# SPDX-License-Identifier: Apache-2.0
"""The replication of a bucket into another Region: its rule, and the role that S3 assumes for it.

This module makes no request. S3 replicates SSE-KMS objects only if the rule requests it and names
the KMS key for the replicas. Source:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication-config-for-kms-objects.html
"""

from collections.abc import Mapping
from typing import Any

from s3crypt.buckets.settings import Replication
from s3crypt.policy import Condition, Document, Principal, Statement

RULE = "S3cryptReplica"
POLICY = "s3crypt-replication"
_SERVICE = "s3.amazonaws.com"


def trust() -> Document:
    """Return the trust policy of the role, which allows only S3 to assume the role.

    The policy has no conditions: S3's documentation names no condition key that S3 sends with
    AssumeRole, and a condition that does not hold would stop replication without an error. The
    permission `iam:PassRole` limits which principals can configure replication with the role.
    """
    allowed = Statement(
        "Allow",
        sid="S3cryptReplicate",
        principals=(Principal("Service", _SERVICE),),
        actions=("sts:AssumeRole",),
    )
    return Document((allowed,))


def permissions(
    partition: str,
    *,
    source: tuple[str, str, str],
    target: tuple[str, str, str],
) -> Document:
    """Return the inline policy of the role.

    Each KMS statement is limited to one key, to requests through S3 in the key's Region, and to the
    encryption context of one bucket: the bucket's ARN with a Bucket Key, an object's ARN without a
    Bucket Key.

    Args:
        partition: The partition of both buckets.
        source: The bucket, Region and key ARN of the replicated objects.
        target: The bucket, Region and key ARN of the replicas.
    """
    origin, copy = (f"arn:{partition}:s3:::{bucket}" for bucket in (source[0], target[0]))
    return Document(
        (
            Statement(
                "Allow",
                sid="S3cryptReadConfiguration",
                actions=("s3:GetReplicationConfiguration", "s3:ListBucket"),
                resources=(origin,),
            ),
            Statement(
                "Allow",
                sid="S3cryptReadVersions",
                actions=(
                    "s3:GetObjectVersionAcl",
                    "s3:GetObjectVersionForReplication",
                    "s3:GetObjectVersionTagging",
                ),
                resources=(f"{origin}/*",),
            ),
            Statement(
                "Allow",
                sid="S3cryptWriteReplicas",
                actions=("s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags"),
                resources=(f"{copy}/*",),
            ),
            _of_key("S3cryptOpen", ("kms:Decrypt",), origin, source),
            # S3 also decrypts the Bucket Key of the replicas. For a replica of an SSE-S3 object, S3
            # generates a data key.
            _of_key(
                "S3cryptSeal", ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"), copy, target
            ),
        )
    )


def with_rule(
    current: Replication, partition: str, role: str, target: str, key: str
) -> Replication:
    """Return the replication with s3crypt's rule added to the present rules of the same role.

    Delete markers are not replicated: a deletion in the source bucket, by mistake or on purpose,
    does not hide the replicas.
    """
    kept = tuple(each for each in current.rules if each.get("ID") != RULE)
    highest = max((int(each.get("Priority") or 0) for each in kept), default=0)
    rule = {
        "ID": RULE,
        "Priority": highest + 1,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "SourceSelectionCriteria": {"SseKmsEncryptedObjects": {"Status": "Enabled"}},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "Destination": {
            "Bucket": f"arn:{partition}:s3:::{target}",
            "EncryptionConfiguration": {"ReplicaKmsKeyID": key},
        },
    }
    return Replication(role, (*kept, rule) if current.role in (None, role) else (rule,))


def has_rule(current: Replication, partition: str, target: str, key: str) -> bool:
    """Return whether an enabled rule replicates the whole bucket, with SSE-KMS, to the target."""
    arn = f"arn:{partition}:s3:::{target}"
    return any(
        each.get("Destination", {}).get("Bucket") == arn
        and key_of(each) == key
        and takes_kms(each)
        and _is_for_all(each)
        for each in current.enabled
    )


def takes_kms(rule: Mapping[str, Any]) -> bool:
    """Return whether a rule replicates SSE-KMS objects."""
    criteria = rule.get("SourceSelectionCriteria") or {}
    is_on = (criteria.get("SseKmsEncryptedObjects") or {}).get("Status") == "Enabled"
    return is_on and key_of(rule) is not None


def key_of(rule: Mapping[str, Any]) -> str | None:
    """Return the key of a rule's replicas, or None."""
    encryption = (rule.get("Destination") or {}).get("EncryptionConfiguration") or {}
    return encryption.get("ReplicaKmsKeyID")


def _of_key(
    sid: str, actions: tuple[str, ...], bucket: str, place: tuple[str, str, str]
) -> Statement:
    _, region, key = place
    return Statement(
        "Allow",
        sid=sid,
        actions=actions,
        resources=(key,),
        conditions=(
            Condition("StringEquals", "kms:ViaService", (f"s3.{region}.amazonaws.com",)),
            Condition("StringLike", "kms:EncryptionContext:aws:s3:arn", (bucket, f"{bucket}/*")),
        ),
    )


def _is_for_all(rule: Mapping[str, Any]) -> bool:
    condition = rule.get("Filter") or {}
    return not rule.get("Prefix") and (not condition or condition == {"Prefix": ""})
