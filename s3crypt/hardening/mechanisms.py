# SPDX-License-Identifier: Apache-2.0
"""The requests that carry out each act of a plan. Decisions do not belong here.

Every act may be repeated: a second attempt finds the result of the first attempt, or writes the
same result again.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from s3crypt import buckets
from s3crypt.buckets import configuration
from s3crypt.command_lines import aws
from s3crypt.errors import StorageError
from s3crypt.requests import Attempts, Reply, call

from .looking import description_of
from .replication import POLICY
from .values import (
    ROLE_PATH,
    TAG,
    Act,
    CreateBucket,
    CreateKey,
    CreateRole,
    CreateTrail,
    NameKey,
    RecordDataEvents,
    ReplicateKey,
    WriteRolePolicy,
    WriteSetting,
)

if TYPE_CHECKING:
    from .services import Services

# The error codes with which S3 refuses to create a bucket because its name is taken.
_TAKEN = frozenset({"BucketAlreadyExists", "OperationAborted"})


def carry_out(act: Act, services: "Services") -> str | None:
    """Carry out an act. Return the command line that undoes it if it is known only now, or None.

    Raises:
        S3CryptError: A service refused or failed.
    """
    match act:
        case WriteSetting():
            configuration.write(services.s3(act.region), act.bucket, act.setting)
        case CreateBucket():
            _create_bucket(act, services)
        case CreateKey() | NameKey() | ReplicateKey():
            return _of_key(act, services)
        case CreateRole() | WriteRolePolicy():
            _of_role(act, services)
        case CreateTrail() | RecordDataEvents():
            _of_trail(act, services)
    return None


def _create_bucket(act: CreateBucket, services: "Services") -> None:
    try:
        buckets.create(services.s3(act.region), act.bucket)
    except StorageError as error:
        if error.code == "BucketAlreadyOwnedByYou":
            return
        if error.code not in _TAKEN:
            raise
        raise StorageError(
            f"s3://{act.bucket}: the bucket's name is already taken, perhaps by another account.",
            hint="Choose another name: bucket names are unique across all accounts.",
            code=error.code,
            request_id=error.request_id,
        ) from error.__cause__


def _of_key(act: CreateKey | NameKey | ReplicateKey, services: "Services") -> str:
    """Create or complete a key. The alias is created last, so a key with the alias is complete."""
    match act:
        case CreateKey():
            key = services.keys.create(
                alias=act.alias,
                description=description_of(act.bucket),
                tags={TAG: act.bucket},
                policy=act.policy.to_json(),
                multi_region=act.multi_region,
            )
        case NameKey():
            services.keys.enable_rotation(act.arn)
            key = services.keys.add_alias(act.arn, act.alias)
        case ReplicateKey():
            replica = services.keys.replicate(act.arn, act.region)
            key = services.keys.add_alias(replica.arn, act.alias)
    region = key.arn.split(":")[3]
    name = aws("kms", "delete_alias", region, AliasName=act.alias)
    if isinstance(act, ReplicateKey) and act.is_there:
        return name
    return f"{name} && {aws('kms', 'schedule_key_deletion', region, KeyId=key.arn)}"


def _of_role(act: CreateRole | WriteRolePolicy, services: "Services") -> None:
    subject = f"role {act.name}"
    if isinstance(act, WriteRolePolicy):
        text = act.document.render(indent=None)
        policy = {"RoleName": act.name, "PolicyName": POLICY, "PolicyDocument": text}
        call(services.iam, "put_role_policy", policy, subject)
        return
    role = {
        "RoleName": act.name,
        "Path": ROLE_PATH,
        "AssumeRolePolicyDocument": act.trust.render(indent=None),
        "Description": f"s3crypt: S3 replicates s3://{act.bucket}",
        "Tags": [{"Key": TAG, "Value": act.bucket}],
    }
    look = partial(_made_role, act, services)
    call(services.iam, "create_role", role, subject, look=look)


def _made_role(act: CreateRole, services: "Services", attempts: Attempts) -> Reply | None:
    """Return IAM's reply about the role if an earlier attempt, whose reply was lost, created it."""
    request, subject = {"RoleName": act.name}, f"role {act.name}"
    found: Any = call(services.iam, "get_role", request, subject, within=attempts, is_look=True)
    tags = {tag["Key"]: tag["Value"] for tag in found["Role"].get("Tags") or ()}
    return found if tags.get(TAG) == act.bucket else None


def _of_trail(act: CreateTrail | RecordDataEvents, services: "Services") -> None:
    client = services.cloudtrail(act.region)
    if isinstance(act, CreateTrail):
        trail = {
            "Name": act.name,
            "S3BucketName": act.bucket,
            "IsMultiRegionTrail": True,
            "IncludeGlobalServiceEvents": True,
            "EnableLogFileValidation": True,
        }
        call(client, "create_trail", trail, f"trail {act.name}")
        return
    resource = {"Type": "AWS::S3::Object", "Values": [f"arn:{act.partition}:s3"]}
    selector = {
        "ReadWriteType": "All",
        "IncludeManagementEvents": True,
        "DataResources": [resource],
    }
    request = {"TrailName": act.arn, "EventSelectors": [selector]}
    call(client, "put_event_selectors", request, act.arn)
    call(client, "start_logging", {"Name": act.arn}, act.arn)
