# SPDX-License-Identifier: Apache-2.0
"""The names of S3's operations: CloudTrail's event names and IAM's actions.

An S3 request does not contain the name of its operation: the name follows from method, path and
query. This module must not know how an operation works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s3crypt.sandbox.wire import Request

_VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete", "HEAD": "Head", "POST": "Post"}
# Query parameter -> CloudTrail's name of the part of a bucket that it selects.
_OF_BUCKETS = {
    "accelerate": "AccelerateConfiguration",
    "acl": "BucketAcl",
    "analytics": "BucketAnalyticsConfiguration",
    "cors": "BucketCors",
    "encryption": "BucketEncryption",
    "intelligent-tiering": "BucketIntelligentTieringConfiguration",
    "inventory": "BucketInventoryConfiguration",
    "lifecycle": "BucketLifecycle",
    "location": "BucketLocation",
    "logging": "BucketLogging",
    "metadataConfiguration": "BucketMetadataConfiguration",
    "metrics": "BucketMetricsConfiguration",
    "notification": "BucketNotification",
    "object-lock": "BucketObjectLockConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "replication": "BucketReplication",
    "requestPayment": "BucketRequestPayment",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}
# Query parameter -> CloudTrail's name of the part of an object that it selects.
_OF_OBJECTS = {
    "acl": "ObjectAcl",
    "annotation": "ObjectAnnotation",
    "attributes": "ObjectAttributes",
    "legal-hold": "ObjectLegalHold",
    "retention": "ObjectRetention",
    "tagging": "ObjectTagging",
    "torrent": "ObjectTorrent",
}
# Method and parameter -> the operation's name, if it does not follow from the tables above.
_BUCKET_OPERATIONS = {
    ("DELETE", ""): "DeleteBucket",
    ("GET", ""): "ListObjects",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "versions"): "ListObjectVersions",
    ("HEAD", ""): "HeadBucket",
    ("POST", "delete"): "DeleteObjects",
    ("POST", "metadataConfiguration"): "CreateBucketMetadataConfiguration",
    ("PUT", ""): "CreateBucket",
}
_OBJECT_OPERATIONS = {
    ("DELETE", ""): "DeleteObject",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", ""): "GetObject",
    ("GET", "uploadId"): "ListParts",
    ("HEAD", ""): "HeadObject",
    ("POST", "restore"): "RestoreObject",
    ("POST", "select"): "SelectObjectContent",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", ""): "PutObject",
    ("PUT", "encryption"): "UpdateObjectEncryption",
    ("PUT", "uploadId"): "UploadPart",
}
_LEVELS = (
    (_OF_BUCKETS, _BUCKET_OPERATIONS),
    (_OF_OBJECTS, _OBJECT_OPERATIONS),
)
_PARAMETERS = tuple(
    (*parts, *(parameter for _, parameter in operations if parameter))
    for parts, operations in _LEVELS
)
_COPIES = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
# Operation -> IAM's action, if the action has another name than the operation.
_ACTIONS = {
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketInventoryConfiguration": "PutInventoryConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "DeleteBucketPublicAccessBlock": "PutBucketPublicAccessBlock",
    "DeleteBucketReplication": "PutReplicationConfiguration",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeleteObjects": "DeleteObject",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketInventoryConfiguration": "GetInventoryConfiguration",
    "GetBucketLifecycle": "GetLifecycleConfiguration",
    "GetBucketReplication": "GetReplicationConfiguration",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketInventoryConfiguration": "PutInventoryConfiguration",
    "PutBucketLifecycle": "PutLifecycleConfiguration",
    "PutBucketReplication": "PutReplicationConfiguration",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
}


def api_name(request: Request) -> str | None:
    """Return CloudTrail's name for a request's operation, or None if S3 has no such operation."""
    if not request.bucket:
        return "ListBuckets" if request.method == "GET" else None
    is_object = bool(request.key)
    parts, operations = _LEVELS[is_object]
    asked = request.query
    parameter = next((name for name in _PARAMETERS[is_object] if name in asked), "")
    name = operations.get((request.method, parameter))
    if name is None and parameter in parts and request.method in _VERBS:
        name = f"{_VERBS[request.method]}{parts[parameter]}"
    if name is not None and request.copy_source is not None:
        return _COPIES.get(name, name)
    return name


def iam_action(operation: str) -> str:
    """Return the IAM action that an operation of S3 needs."""
    return f"s3:{_ACTIONS.get(operation, operation)}"
