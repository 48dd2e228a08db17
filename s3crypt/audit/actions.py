# SPDX-License-Identifier: Apache-2.0
"""The IAM actions that an audit needs. Every action is read-only."""

from collections.abc import Mapping

OPERATIONS: Mapping[str, str] = {
    "cloudtrail:DescribeTrails": "cloudtrail:DescribeTrails",
    "cloudtrail:GetEventSelectors": "cloudtrail:GetEventSelectors",
    "cloudtrail:GetTrailStatus": "cloudtrail:GetTrailStatus",
    "iam:GetAccountAuthorizationDetails": "iam:GetAccountAuthorizationDetails",
    "iam:GetRole": "iam:GetRole",
    "kms:DescribeKey": "kms:DescribeKey",
    "kms:GetKeyLastUsage": "kms:GetKeyLastUsage",
    "kms:GetKeyPolicy": "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus": "kms:GetKeyRotationStatus",
    "kms:ListGrants": "kms:ListGrants",
    "kms:ListKeys": "kms:ListKeys",
    "s3:GetBucketAcl": "s3:GetBucketAcl",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetBucketLogging": "s3:GetBucketLogging",
    "s3:GetBucketOwnershipControls": "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy": "s3:GetBucketPolicy",
    "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3:GetBucketVersioning": "s3:GetBucketVersioning",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3control:GetPublicAccessBlock": "s3:GetAccountPublicAccessBlock",
    "sts:GetCallerIdentity": "sts:GetCallerIdentity",
}
"""Every operation that the audit of the configuration requests, and the IAM action it needs."""

ACTIONS: tuple[str, ...] = tuple(sorted(set(OPERATIONS.values())))
"""The IAM actions of the audit of the configuration. Every action is read-only."""
