# SPDX-License-Identifier: Apache-2.0
"""Descriptions of single KMS keys: the key itself, its materials, its completed rotations.

Every request here only reads. The module `listing` reads all keys of an account. The module
`examination` reads who may use a key. The other modules of the package change keys.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from s3crypt.errors import ConfigError, KeyUnavailableError

from .grants import Grant
from .service import KMS, MAX_ON_DEMAND_ROTATIONS

T = TypeVar("T")

PENDING_DELETION = frozenset({"PendingDeletion", "PendingReplicaDeletion"})
"""The states of a key whose deletion is scheduled."""


@dataclass(frozen=True, slots=True)
class Material:
    """One key material of a key, as ListKeyRotations reports it.

    Attributes:
        id: The id of the key material. KMS's replies to Decrypt name the material by this id.
        state: `CURRENT`, `NON_CURRENT`, `PENDING_ROTATION` or
            `PENDING_MULTI_REGION_IMPORT_AND_ROTATION`.
        since: The time at which the rotation to this material completed. None for the first
            material, and for a material that waits for its rotation.
        rotation_type: The type of the rotation to this material, `AUTOMATIC` or `ON_DEMAND`. None
            if no rotation led to it.
        is_present: Whether imported material is in KMS now. None for material that KMS generated.
        expires: The time at which KMS deletes imported material. None if it does not expire.
        description: The description that was given when the material was imported.
    """

    id: str
    state: str
    since: datetime | None = None
    rotation_type: str | None = None
    is_present: bool | None = None
    expires: datetime | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class LastUse:
    """The last cryptographic use of a key.

    Attributes:
        moment: The time of the use. None if the key was not used after `tracked_since`.
        operation: The operation that used the key, or None.
        tracked_since: The time since which KMS records uses of the key.
    """

    moment: datetime | None
    operation: str | None
    tracked_since: datetime | None


@dataclass(frozen=True, slots=True)
class Key:
    """The description of a KMS key at the time it was read.

    `state` and similar texts are KMS's own.

    Attributes:
        arn: The key's ARN.
        key_id: The last part of the ARN.
        aliases: The names of the key's aliases, such as `alias/reports`.
        description: The description.
        state: The key's state. The key can be used if this is `Enabled`.
        spec: The type of key, such as `SYMMETRIC_DEFAULT`.
        usage: The operations that the key is for, such as `ENCRYPT_DECRYPT`.
        origin: The source of the key material: `AWS_KMS`, or `EXTERNAL` for imported material.
        manager: `CUSTOMER`, or `AWS` for a key that an AWS service manages.
        multi_region: Whether the key is a multi-Region key.
        replica_of: The ARN of the primary key if this key is a multi-Region replica, otherwise
            None.
        created: The time at which the key was created.
        deletion_date: The time at which KMS deletes the key. None if no deletion is scheduled, and
            for a primary key that waits for the deletion of its replicas.
        material_id: The id of the current key material, if KMS reports it.
        rotation_enabled: Whether KMS rotates the key automatically. None if the key cannot be
            rotated or KMS did not report it.
        rotation_period_days: The period of the automatic rotation in days, or None.
        next_rotation: The time of the next automatic rotation, or None.
        rotating_since: The start of an on-demand rotation that KMS has not finished yet, or None.
        on_demand_rotations: The number of on-demand rotations so far, of at most
            `MAX_ON_DEMAND_ROTATIONS`. None if it is unknown.
        tags: The tags.
        not_permitted: The IAM actions that KMS refused. The fields that need these actions are
            empty or None.
        replicas: The ARNs of the key's replicas in other Regions.
        pending_window_days: The waiting period in days of a primary key that waits for the deletion
            of its replicas. The period begins when the last replica is deleted. None for any other
            key.
        custom_key_store: The id of the custom key store that holds the key, or None.
        material_expires: The earliest time at which imported key material expires, or None.
        materials: The key materials, newest first. Empty for a key without rotations. None if
            KMS refused to list them.
        policy: The key policy as JSON text. Only `KeyManager.show` reads it; other methods leave
            None.
        grants: The grants of the key. Only `KeyManager.show` reads them; other methods leave None.
        last_use: The last use of the key. Only `KeyManager.show` reads it; other methods leave
            None.
    """

    arn: str
    key_id: str
    aliases: tuple[str, ...]
    description: str
    state: str
    spec: str
    usage: str
    origin: str
    manager: str
    multi_region: bool
    replica_of: str | None
    created: datetime
    deletion_date: datetime | None
    material_id: str | None
    rotation_enabled: bool | None
    rotation_period_days: int | None
    next_rotation: datetime | None
    rotating_since: datetime | None
    on_demand_rotations: int | None
    tags: Mapping[str, str] = field(hash=False)
    not_permitted: tuple[str, ...]
    replicas: tuple[str, ...] = ()
    pending_window_days: int | None = None
    custom_key_store: str | None = None
    material_expires: datetime | None = None
    materials: tuple[Material, ...] | None = None
    policy: str | None = None
    grants: tuple[Grant, ...] | None = None
    last_use: LastUse | None = None

    @property
    def on_demand_rotations_left(self) -> int | None:
        """The number of rotations on demand that KMS still allows. None if it is unknown."""
        used = self.on_demand_rotations
        return None if used is None else MAX_ON_DEMAND_ROTATIONS - used

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the key: its aliases without `alias/`, then its id."""
        return (*(alias.removeprefix("alias/") for alias in self.aliases), self.key_id)


@dataclass(frozen=True, slots=True)
class Rotation:
    """One completed rotation.

    Attributes:
        date: The time at which the rotation was completed.
        type: `AUTOMATIC` or `ON_DEMAND`.
        material_id: The id of the key material since this rotation, if KMS reported it.
    """

    date: datetime
    type: str
    material_id: str | None


class KeyReader:
    """Reads descriptions of keys from KMS. It changes nothing.

    A key is named by its id, its ARN, `alias/NAME` or an alias's ARN. For an ARN, the request is
    sent to the Region in the ARN, otherwise to the session's Region.

    Args:
        kms: Makes the requests.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms

    def show(self, key: str) -> Key:
        """Return a key without its policy, grants and last use.

        The IAM actions that KMS refused are in `not_permitted`.
        """
        metadata = self.metadata(key)
        arn = metadata["Arn"]
        refused: set[str] = set()
        return described(
            metadata,
            aliases=unless_refused(refused, "kms:ListAliases", lambda: self._aliases(arn), ()),
            tags=unless_refused(refused, "kms:ListResourceTags", lambda: self.tags(arn), {}),
            status=self.rotation_status(metadata, refused),
            materials=unless_refused(
                refused, "kms:ListKeyRotations", lambda: self._materials(metadata), None
            ),
            refused=refused,
        )

    def rotations(self, key: str) -> tuple[Rotation, ...]:
        """Return the completed rotations of `key`, oldest first."""
        return rotations_of(self._materials(self.metadata(key)))

    def materials(self, key: str) -> tuple[Material, ...]:
        """Return the key materials of `key`, newest first.

        The result is empty if the key cannot rotate.
        """
        return self._materials(self.metadata(key))

    def tags(self, arn: str) -> dict[str, str]:
        """Return the tags of a key."""
        found = self._kms.pages("list_resource_tags", arn, "Tags", KeyId=arn)
        return {tag["TagKey"]: tag["TagValue"] for tag in found}

    def metadata(self, key: str) -> Any:
        """Return the metadata of a key, from DescribeKey.

        Raises:
            ConfigError: The text cannot be the name of a key.
        """
        _check_key_name(key)
        return self._kms.ask("describe_key", key, KeyId=key)["KeyMetadata"]

    def rotation_status(self, metadata: Any, refused: set[str]) -> Mapping[str, Any]:
        """Return KMS's reply about the rotation of a key. It is empty for a key that cannot rotate.

        If KMS refuses the request, its action is added to `refused`.
        """
        if unrotatable(metadata) is not None:
            return {}
        arn = metadata["Arn"]
        return unless_refused(
            refused,
            "kms:GetKeyRotationStatus",
            lambda: self._kms.ask("get_key_rotation_status", arn, KeyId=arn),
            {},
        )

    def _aliases(self, arn: str) -> tuple[str, ...]:
        found = self._kms.pages("list_aliases", arn, "Aliases", KeyId=arn)
        return tuple(sorted(alias["AliasName"] for alias in found))

    def _materials(self, metadata: Any) -> tuple[Material, ...]:
        if unrotatable(metadata) is not None:
            return ()
        arn = metadata["Arn"]
        found = self._kms.pages(
            "list_key_rotations", arn, "Rotations", KeyId=arn, IncludeKeyMaterial="ALL_KEY_MATERIAL"
        )
        return tuple(sorted(map(_material, found), key=_age_order, reverse=True))


def is_aws_alias(name: str) -> bool:
    """Return whether an alias belongs to a key that AWS manages."""
    return name.startswith("alias/aws/")


def _check_key_name(key: str) -> None:
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9:/_-]{1,2048}", key):
        raise ConfigError(
            f"{key!r} cannot name a KMS key.", hint="Give a key id, a key ARN or alias/NAME."
        )


def unrotatable(metadata: Any) -> str | None:
    """Return the reason why KMS can never rotate this kind of key, or None."""
    if metadata.get("KeySpec") != "SYMMETRIC_DEFAULT":
        return f"its type is {metadata.get('KeySpec')}, not SYMMETRIC_DEFAULT"
    if metadata.get("Origin") in {"AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"}:
        return "it is in a custom key store"
    return None


def replica_of(metadata: Any) -> str | None:
    """Return the ARN of the primary key of a replica. Return None for any other key."""
    regions = metadata.get("MultiRegionConfiguration") or {}
    if regions.get("MultiRegionKeyType") != "REPLICA":
        return None
    return str(regions["PrimaryKey"]["Arn"])


def replicas_of(metadata: Any) -> tuple[str, ...]:
    """Return the ARNs of the replicas of a multi-Region key. Return () for any other key."""
    regions = metadata.get("MultiRegionConfiguration") or {}
    return tuple(sorted(str(each["Arn"]) for each in regions.get("ReplicaKeys") or ()))


def check_own(metadata: Any, action: str) -> None:
    """Refuse a key that AWS manages: only AWS can change its settings.

    Raises:
        KeyUnavailableError: AWS manages the key.
    """
    if metadata.get("KeyManager") == "AWS":
        raise KeyUnavailableError(
            f"{metadata['Arn']}: {action} is refused: AWS manages the key",
            hint="Create a key of your own: `s3crypt keys create --alias NAME`.",
        )


def rotations_of(materials: tuple[Material, ...]) -> tuple[Rotation, ...]:
    """Return the completed rotations to these materials, oldest first."""
    return tuple(
        Rotation(each.since, each.rotation_type or "", each.id or None)
        for each in reversed(materials)
        if each.since is not None
    )


def described(
    metadata: Any,
    *,
    aliases: tuple[str, ...],
    tags: Mapping[str, str],
    status: Mapping[str, Any],
    materials: tuple[Material, ...] | None,
    refused: set[str],
) -> Key:
    """Return a key's description, combined from KMS's replies.

    `refused` has the IAM actions that KMS refused. `materials` is None if KMS refused to list the
    materials.
    """
    manager = metadata.get("KeyManager", "")
    on_demand = None
    if materials is not None and unrotatable(metadata) is None and manager == "CUSTOMER":
        on_demand = sum(each.rotation_type == "ON_DEMAND" for each in materials)
    return Key(
        arn=metadata["Arn"],
        key_id=metadata["KeyId"],
        aliases=aliases,
        description=metadata.get("Description", ""),
        state=metadata.get("KeyState", ""),
        spec=metadata.get("KeySpec", ""),
        usage=metadata.get("KeyUsage", ""),
        origin=metadata.get("Origin", ""),
        manager=manager,
        multi_region=bool(metadata.get("MultiRegion")),
        replica_of=replica_of(metadata),
        created=metadata["CreationDate"].astimezone(UTC),
        deletion_date=utc(metadata.get("DeletionDate")),
        material_id=metadata.get("CurrentKeyMaterialId"),
        rotation_enabled=status.get("KeyRotationEnabled"),
        rotation_period_days=status.get("RotationPeriodInDays"),
        next_rotation=utc(status.get("NextRotationDate")),
        rotating_since=utc(status.get("OnDemandRotationStartDate")),
        on_demand_rotations=on_demand,
        tags=tags,
        not_permitted=tuple(sorted(refused)),
        replicas=replicas_of(metadata),
        pending_window_days=metadata.get("PendingDeletionWindowInDays"),
        custom_key_store=metadata.get("CustomKeyStoreId"),
        material_expires=expiry_of(metadata),
        materials=materials,
    )


def expiry_of(metadata: Any) -> datetime | None:
    """Return the earliest time at which imported material of a key expires, or None."""
    if metadata.get("ExpirationModel") != "KEY_MATERIAL_EXPIRES":
        return None
    return utc(metadata.get("ValidTo"))


def _material(entry: Mapping[str, Any]) -> Material:
    imported = entry.get("ImportState")
    return Material(
        id=str(entry.get("KeyMaterialId") or ""),
        state=str(entry.get("KeyMaterialState") or ""),
        since=utc(entry.get("RotationDate")),
        rotation_type=entry.get("RotationType"),
        is_present=None if imported is None else imported == "IMPORTED",
        expires=utc(entry.get("ValidTo")),
        description=str(entry.get("KeyMaterialDescription") or ""),
    )


# The sort key for the age of a material. Material that waits for its rotation is newer than all
# other material. The first material has no date, so it is the oldest.
def _age_order(material: Material) -> tuple[bool, float, bool]:
    is_waiting = material.state.startswith("PENDING_")
    seconds = material.since.timestamp() if material.since else 0.0
    return is_waiting, seconds, material.state == "CURRENT"


def utc(moment: datetime | None) -> datetime | None:
    """Return a time in UTC. Return None for None."""
    return None if moment is None else moment.astimezone(UTC)


def unless_refused(refused: set[str], action: str, read: Callable[[], T], otherwise: T) -> T:
    """Return the result of `read`.

    If KMS refuses the action, add it to `refused` and return `otherwise`. Return `otherwise` also
    if the request does not apply to the key.
    """
    try:
        return read()
    except KeyUnavailableError as error:
        if error.code == "AccessDeniedException":
            refused.add(action)
            return otherwise
        # The request does not apply to a key of this kind or in this state.
        if error.code in {"UnsupportedOperationException", "KMSInvalidStateException"}:
            return otherwise
        raise
