# SPDX-License-Identifier: Apache-2.0
"""The AWS operations that the library requests, with the names of the clients' methods.

A misspelt name is a type error. The list contains only names that are used.
"""

from typing import Literal, TypeAlias

S3Operation: TypeAlias = Literal[
    "abort_multipart_upload",
    "complete_multipart_upload",
    "copy_object",
    "create_bucket",
    "create_multipart_upload",
    "delete_bucket",
    "delete_bucket_lifecycle",
    "delete_bucket_ownership_controls",
    "delete_bucket_policy",
    "delete_bucket_replication",
    "delete_object",
    "delete_objects",
    "get_bucket_acl",
    "get_bucket_encryption",
    "get_bucket_lifecycle_configuration",
    "get_bucket_logging",
    "get_bucket_ownership_controls",
    "get_bucket_policy",
    "get_bucket_replication",
    "get_bucket_versioning",
    "get_object",
    "get_object_annotation",
    "get_object_legal_hold",
    "get_object_lock_configuration",
    "get_object_retention",
    "get_object_tagging",
    "get_public_access_block",
    "head_bucket",
    "head_object",
    "list_bucket_inventory_configurations",
    "list_buckets",
    "list_directory_buckets",
    "list_multipart_uploads",
    "list_object_annotations",
    "list_object_versions",
    "list_objects_v2",
    "put_bucket_acl",
    "put_bucket_encryption",
    "put_bucket_lifecycle_configuration",
    "put_bucket_logging",
    "put_bucket_ownership_controls",
    "put_bucket_policy",
    "put_bucket_replication",
    "put_bucket_versioning",
    "put_object",
    "put_object_annotation",
    "put_object_lock_configuration",
    "put_object_tagging",
    "put_public_access_block",
    "upload_part",
    "upload_part_copy",
]
KMSOperation: TypeAlias = Literal[
    "cancel_key_deletion",
    "create_alias",
    "create_grant",
    "create_key",
    "decrypt",
    "delete_alias",
    "delete_imported_key_material",
    "describe_key",
    "disable_key",
    "disable_key_rotation",
    "enable_key",
    "enable_key_rotation",
    "encrypt",
    "generate_data_key",
    "get_key_last_usage",
    "get_key_policy",
    "get_key_rotation_status",
    "get_parameters_for_import",
    "import_key_material",
    "list_aliases",
    "list_grants",
    "list_key_rotations",
    "list_keys",
    "list_resource_tags",
    "put_key_policy",
    "re_encrypt",
    "replicate_key",
    "retire_grant",
    "revoke_grant",
    "rotate_key_on_demand",
    "schedule_key_deletion",
    "tag_resource",
    "untag_resource",
    "update_alias",
    "update_key_description",
    "update_primary_region",
]
IAMOperation: TypeAlias = Literal[
    "create_group",
    "create_role",
    "get_account_authorization_details",
    "get_group",
    "get_group_policy",
    "get_role",
    "get_role_policy",
    "list_attached_group_policies",
    "list_attached_role_policies",
    "list_group_policies",
    "list_role_policies",
    "put_group_policy",
    "put_role_policy",
    "tag_role",
    "update_assume_role_policy",
]
STSOperation: TypeAlias = Literal["get_caller_identity"]
CloudTrailOperation: TypeAlias = Literal[
    "create_trail",
    "describe_trails",
    "get_event_selectors",
    "get_trail_status",
    "lookup_events",
    "put_event_selectors",
    "start_logging",
]
S3TablesOperation: TypeAlias = Literal[
    "get_table_bucket_encryption",
    "get_table_encryption",
    "list_table_buckets",
    "list_tables",
]
S3VectorsOperation: TypeAlias = Literal[
    "get_index",
    "get_vector_bucket",
    "list_indexes",
    "list_vector_buckets",
]
AccessAnalyzerOperation: TypeAlias = Literal["validate_policy"]
Operation: TypeAlias = (
    S3Operation
    | S3TablesOperation
    | S3VectorsOperation
    | KMSOperation
    | IAMOperation
    | STSOperation
    | CloudTrailOperation
    | AccessAnalyzerOperation
)
