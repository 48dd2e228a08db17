# SPDX-License-Identifier: Apache-2.0
"""Decide whether a reply is complete: for each operation, the fields that its reply must have.

If a connection breaks within the headers, botocore accepts the headers received so far, and treats
an empty body as a reply without content. Therefore a reply counts as a success only if it contains
a field that proves the success. This module makes no requests.
"""

from collections.abc import Mapping
from typing import Any

from .operations import Operation

# Some settings are empty documents until they are first written. But such a reply has a body, so it
# has one of the two headers that tell where the body ends.
_WITH_A_BODY = (
    "ResponseMetadata.HTTPHeaders.content-length",
    "ResponseMetadata.HTTPHeaders.transfer-encoding",
)
# Operation -> fields. A complete reply has at least one of these fields. A dot separates nested
# names. A complete reply to CompleteMultipartUpload may lack the ETag, because Ceph sends an empty
# ETag.
_PROOFS: Mapping[Operation, tuple[str, ...]] = {
    "copy_object": ("CopyObjectResult.ETag",),
    "complete_multipart_upload": ("ETag", "Key"),
    "create_multipart_upload": ("UploadId",),
    "delete_objects": ("Deleted", "Errors"),
    "get_bucket_encryption": ("ServerSideEncryptionConfiguration.Rules",),
    "get_bucket_lifecycle_configuration": ("Rules",),
    "get_bucket_logging": _WITH_A_BODY,
    "get_bucket_ownership_controls": ("OwnershipControls.Rules",),
    "get_bucket_policy": ("Policy",),
    "get_bucket_replication": ("ReplicationConfiguration.Rules",),
    "get_bucket_versioning": _WITH_A_BODY,
    "get_public_access_block": ("PublicAccessBlockConfiguration",),
    "get_object": ("Body",),
    "get_object_annotation": ("ContentLength",),
    "get_object_legal_hold": ("LegalHold",),
    "get_object_lock_configuration": ("ObjectLockConfiguration",),
    "get_object_retention": ("Retention",),
    "get_object_tagging": ("TagSet",),
    "list_bucket_inventory_configurations": ("IsTruncated",),
    "list_buckets": ("Buckets",),
    "list_object_annotations": ("AnnotationCount",),
    "list_object_versions": ("IsTruncated",),
    "list_objects_v2": ("IsTruncated",),
    "put_object": ("ETag",),
    "put_object_annotation": ("ETag",),
    "upload_part": ("ETag",),
    "upload_part_copy": ("CopyPartResult.ETag",),
    "validate_policy": ("findings",),
    "create_trail": ("TrailARN",),
    "lookup_events": ("Events",),
    "describe_trails": ("trailList",),
    "get_event_selectors": ("TrailARN",),
    "get_trail_status": ("IsLogging",),
    "put_event_selectors": ("TrailARN",),
    "cancel_key_deletion": ("KeyId",),
    "get_key_last_usage": ("KeyId",),
    "get_key_policy": ("Policy",),
    "get_key_rotation_status": ("KeyRotationEnabled",),
    "list_aliases": ("Aliases",),
    "list_grants": ("Grants",),
    "list_key_rotations": ("Rotations",),
    "list_keys": ("Keys",),
    "list_resource_tags": ("Tags",),
    "schedule_key_deletion": ("KeyId",),
    "get_index": ("index.indexArn",),
    "get_table_bucket_encryption": ("encryptionConfiguration.sseAlgorithm",),
    "get_table_encryption": ("encryptionConfiguration.sseAlgorithm",),
    "get_vector_bucket": ("vectorBucket.vectorBucketArn",),
    "list_indexes": ("indexes",),
    "list_table_buckets": ("tableBuckets",),
    "list_tables": ("tables",),
    "list_vector_buckets": ("vectorBuckets",),
    "create_group": ("Group.Arn",),
    "get_account_authorization_details": ("Policies", "RoleDetailList", "UserDetailList"),
    "create_role": ("Role.Arn",),
    "get_group": ("Group.Path",),
    "get_group_policy": ("PolicyDocument",),
    "get_role_policy": ("PolicyDocument",),
    "list_attached_group_policies": ("AttachedPolicies",),
    "list_attached_role_policies": ("AttachedPolicies",),
    "list_group_policies": ("PolicyNames",),
    "list_role_policies": ("PolicyNames",),
}
_KEY_FIELDS = ("KeyMetadata.Arn", "KeyMetadata.KeyId", "KeyMetadata.CreationDate")
# Operation -> fields. A complete reply has all of these fields.
_ALL_OF: Mapping[Operation, tuple[str, ...]] = {
    "get_bucket_acl": ("Owner.ID", "Grants"),
    "get_object": ("ETag",),
    "head_object": ("ContentLength", "ETag", "LastModified"),
    "create_grant": ("GrantId", "GrantToken"),
    "create_key": _KEY_FIELDS,
    "decrypt": ("Plaintext", "KeyId"),
    "delete_imported_key_material": ("KeyId",),
    "describe_key": _KEY_FIELDS,
    "encrypt": ("CiphertextBlob", "KeyId"),
    "generate_data_key": ("Plaintext", "CiphertextBlob", "KeyId"),
    "get_parameters_for_import": ("ImportToken", "PublicKey", "ParametersValidTo"),
    "get_role": ("Role.Arn", "Role.AssumeRolePolicyDocument", "Role.RoleName"),
    "import_key_material": ("KeyId",),
    "re_encrypt": ("CiphertextBlob", "KeyId"),
    "replicate_key": ("ReplicaKeyMetadata.Arn",),
    "get_caller_identity": ("Account", "Arn"),
}
# For each operation and each list in its reply, the fields that each entry must have. The list
# itself may be missing or empty.
_OF_ENTRIES: Mapping[Operation, Mapping[str, tuple[str, ...]]] = {
    "describe_trails": {"trailList": ("TrailARN",)},
    "delete_objects": {"Deleted": ("Key",), "Errors": ("Key", "Code")},
    "get_bucket_acl": {"Grants": ("Grantee", "Permission")},
    "get_object_tagging": {"TagSet": ("Key", "Value")},
    "list_buckets": {"Buckets": ("Name",)},
    "list_directory_buckets": {"Buckets": ("Name",)},
    "list_object_annotations": {"Annotations": ("AnnotationName",)},
    "list_object_versions": {
        "Versions": ("Key", "VersionId", "IsLatest", "Size", "ETag", "LastModified"),
        "DeleteMarkers": ("Key", "VersionId", "LastModified"),
    },
    "list_objects_v2": {
        "Contents": ("Key", "Size", "ETag", "LastModified"),
        "CommonPrefixes": ("Prefix",),
    },
    "list_indexes": {"indexes": ("indexArn",)},
    "list_table_buckets": {"tableBuckets": ("arn",)},
    "list_tables": {"tables": ("namespace", "name", "tableARN")},
    "list_vector_buckets": {"vectorBuckets": ("vectorBucketArn",)},
    "list_aliases": {"Aliases": ("AliasName",)},
    "list_attached_group_policies": {"AttachedPolicies": ("PolicyArn",)},
    "list_attached_role_policies": {"AttachedPolicies": ("PolicyArn",)},
    "list_grants": {"Grants": ("GrantId",)},
    "list_keys": {"Keys": ("KeyArn", "KeyId")},
    "list_resource_tags": {"Tags": ("TagKey", "TagValue")},
}


def is_whole(operation: Operation, reply: Mapping[str, Any]) -> bool:
    """Return whether a reply has the fields that prove its success."""
    one_of, all_of = _PROOFS.get(operation, ()), _ALL_OF.get(operation, ())
    return (
        (not one_of or any(_has(reply, path) for path in one_of))
        and all(_has(reply, path) for path in all_of)
        and _are_whole(operation, reply)
    )


def _are_whole(operation: Operation, reply: Mapping[str, Any]) -> bool:
    """Return whether the entries of a reply's lists have all the fields that callers use."""
    return all(
        isinstance(entry, Mapping) and all(entry.get(name) is not None for name in fields)
        for listed, fields in _OF_ENTRIES.get(operation, {}).items()
        for entry in reply.get(listed) or ()
    )


def _has(reply: Any, path: str) -> bool:
    for name in path.split("."):
        reply = reply.get(name) if isinstance(reply, Mapping) else None
        if reply is None or reply == "":
            return False
    return not path.endswith("ETag") or _is_whole_etag(str(reply))


def _is_whole_etag(etag: str) -> bool:
    """Return whether an ETag is complete. An ETag that begins with a quote must end with one."""
    return not etag.startswith('"') or (etag.endswith('"') and len(etag) > 2)
