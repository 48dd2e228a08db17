# SPDX-License-Identifier: Apache-2.0
"""Descriptions of KMS keys: a key in full, a line per key of the account, completed rotations.

Every request here only reads. Administration is in `manager`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from s3crypt.errors import ConfigError, KeyUnavailableError

from .service import KMS, MAX_KEYS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KeySummary:
    """One line about a key; a field is None if KMS refused to show it or it does not apply."""

    arn: str
    key_id: str
    aliases: tuple[str, ...]
    description: str
    state: str | None
    multi_region: bool | None
    rotation_enabled: bool | None
    rotation_period_days: int | None


@dataclass(frozen=True, slots=True)
class Key:
    """A KMS key as it was when read; strings such as `state` are AWS's own (`Enabled`).

    Attributes:
        replica_of: The primary key's ARN, if this is a multi-Region replica.
        material_id: The id of the current key material, if KMS reports it.
        rotation_enabled: Whether KMS rotates the key automatically; None if the key cannot be
            rotated or KMS did not report it.
        rotating_since: The begin of an on-demand rotation that is not finished yet, or None.
        on_demand_rotations: The used number of the `MAX_ON_DEMAND_ROTATIONS`, or None.
        not_permitted: IAM actions that KMS refused; the fields that they fill are empty or None.
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


@dataclass(frozen=True, slots=True)
class Rotation:
    """One completed rotation; `type` is `AUTOMATIC` or `ON_DEMAND`."""

    date: datetime
    type: str
    material_id: str | None


class KeyReader:
    """Reads descriptions of keys from KMS, and changes nothing.

    A key is named by its id, its ARN, `alias/NAME` or an alias's ARN; a request about an ARN is
    sent to the ARN's Region.

    Args:
        kms: Makes the requests.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms

    def list(self) -> Iterator[KeySummary]:
        """Yield the account's own keys in the session's Region, without keys that AWS manages.

        Two requests per key, eight in parallel; keys that the caller may list but not describe have
        no state.
        """
        aliases: dict[str, set[str]] = {}
        for alias in self._kms.pages("list_aliases", "the KMS aliases", "Aliases"):
            # AWS reserves an alias without a target for a key that AWS has not made yet.
            aliases.setdefault(alias.get("TargetKeyId", ""), set()).add(alias["AliasName"])
        managed = {key for key, names in aliases.items() if any(map(is_aws_alias, names))}
        mine = [
            (entry["KeyArn"], entry["KeyId"], aliases.get(entry["KeyId"], set()))
            for entry in self._kms.pages("list_keys", "the KMS keys", "Keys", Limit=MAX_KEYS)
            if entry["KeyId"] not in managed
        ]
        pool = ThreadPoolExecutor(8, thread_name_prefix="s3crypt-kms")
        try:
            found = pool.map(lambda key: self._summary(*key), mine)
            yield from (summary for summary in found if summary is not None)
        finally:
            # A caller that stops iterating does not wait for the rest.
            pool.shutdown(cancel_futures=True)

    def unnamed(self, description: str) -> Iterator[Key]:
        """Yield the enabled keys with this description and without an alias.

        One request per key without an alias, besides the listings of keys and aliases.
        """
        aliases = self._kms.pages("list_aliases", "the KMS aliases", "Aliases")
        named = {alias.get("TargetKeyId") for alias in aliases}
        for entry in self._kms.pages("list_keys", "the KMS keys", "Keys", Limit=MAX_KEYS):
            if entry["KeyId"] not in named:
                metadata = self._described_if_possible(entry["KeyArn"]) or {}
                is_one = metadata.get("Description") == description
                if is_one and metadata.get("KeyState") == "Enabled":
                    yield self.show(entry["KeyArn"])

    def show(self, key: str) -> Key:
        """Return a key in full; actions that KMS refuses are in `not_permitted`."""
        metadata = self.metadata(key)
        arn = metadata["Arn"]
        refused: set[str] = set()
        return described(
            metadata,
            aliases=_unless_refused(refused, "kms:ListAliases", lambda: self._aliases(arn), ()),
            tags=_unless_refused(refused, "kms:ListResourceTags", lambda: self._tags(arn), {}),
            status=self._rotation_status(metadata, refused),
            rotations=_unless_refused(
                refused, "kms:ListKeyRotations", lambda: self._rotations(metadata), None
            ),
            refused=refused,
        )

    def rotations(self, key: str) -> tuple[Rotation, ...]:
        """Return the completed rotations of `key`, oldest first."""
        return self._rotations(self.metadata(key))

    def metadata(self, key: str) -> Any:
        """Return the metadata of a key, from DescribeKey.

        Raises:
            ConfigError: The text cannot be the name of a key.
        """
        _check_key_name(key)
        return self._kms.ask("describe_key", key, KeyId=key)["KeyMetadata"]

    def _rotation_status(self, metadata: Any, refused: set[str]) -> Mapping[str, Any]:
        if unrotatable(metadata) is not None:
            return {}
        arn = metadata["Arn"]
        return _unless_refused(
            refused,
            "kms:GetKeyRotationStatus",
            lambda: self._kms.ask("get_key_rotation_status", arn, KeyId=arn),
            {},
        )

    def _aliases(self, arn: str) -> tuple[str, ...]:
        found = self._kms.pages("list_aliases", arn, "Aliases", KeyId=arn)
        return tuple(sorted(alias["AliasName"] for alias in found))

    def _tags(self, arn: str) -> dict[str, str]:
        found = self._kms.pages("list_resource_tags", arn, "Tags", KeyId=arn)
        return {tag["TagKey"]: tag["TagValue"] for tag in found}

    def _rotations(self, metadata: Any) -> tuple[Rotation, ...]:
        if unrotatable(metadata) is not None:
            return ()
        arn = metadata["Arn"]
        found = self._kms.pages("list_key_rotations", arn, "Rotations", KeyId=arn)
        done = (
            Rotation(
                date=entry["RotationDate"].astimezone(UTC),
                type=entry.get("RotationType", ""),
                material_id=entry.get("KeyMaterialId"),
            )
            for entry in found
            if "RotationDate" in entry
        )
        return tuple(sorted(done, key=lambda rotation: rotation.date))

    def _summary(self, arn: str, key_id: str, aliases: set[str]) -> KeySummary | None:
        metadata = self._described_if_possible(arn)
        if metadata is None or metadata.get("KeyManager") == "AWS":
            return None
        status = self._rotation_status(metadata, set()) if metadata else {}
        return KeySummary(
            arn=arn,
            key_id=key_id,
            aliases=tuple(sorted(aliases)),
            description=metadata.get("Description", ""),
            state=metadata.get("KeyState"),
            multi_region=bool(metadata.get("MultiRegion")) if metadata else None,
            rotation_enabled=status.get("KeyRotationEnabled"),
            rotation_period_days=status.get("RotationPeriodInDays"),
        )

    def _described_if_possible(self, arn: str) -> Any:
        """Return the key's metadata, an empty mapping if refused, None if the key was deleted."""
        try:
            return _unless_refused(set(), "kms:DescribeKey", lambda: self.metadata(arn), {})
        except KeyUnavailableError as error:
            if error.code == "NotFoundException":
                return None  # its deletion came due since it was listed
            raise


def is_aws_alias(name: str) -> bool:
    """Return whether an alias is of a key that AWS manages."""
    return name.startswith("alias/aws/")


def _check_key_name(key: str) -> None:
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9:/_-]{1,2048}", key):
        raise ConfigError(
            f"{key!r} cannot name a KMS key.", hint="Give a key id, a key ARN or alias/NAME."
        )


def unrotatable(metadata: Any) -> str | None:
    """Return the reason why KMS can never rotate this kind of key, or None."""
    if metadata.get("KeySpec") != "SYMMETRIC_DEFAULT":
        return f"its kind is {metadata.get('KeySpec')}, not SYMMETRIC_DEFAULT"
    if metadata.get("Origin") in {"AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"}:
        return "it is in a custom key store"
    return None


def replica_of(metadata: Any) -> str | None:
    """Return the ARN of a replica's primary key, None for any other key."""
    regions = metadata.get("MultiRegionConfiguration") or {}
    if regions.get("MultiRegionKeyType") != "REPLICA":
        return None
    return str(regions["PrimaryKey"]["Arn"])


def described(
    metadata: Any,
    *,
    aliases: tuple[str, ...],
    tags: Mapping[str, str],
    status: Mapping[str, Any],
    rotations: tuple[Rotation, ...] | None,
    refused: set[str],
) -> Key:
    """Return a key's description, combined from KMS's replies.

    `refused` are the IAM actions that KMS did not permit; `rotations` are None if they are unknown.
    """
    manager = metadata.get("KeyManager", "")
    on_demand = None
    if rotations is not None and unrotatable(metadata) is None and manager == "CUSTOMER":
        on_demand = sum(rotation.type == "ON_DEMAND" for rotation in rotations)
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
        deletion_date=_utc(metadata.get("DeletionDate")),
        material_id=metadata.get("CurrentKeyMaterialId"),
        rotation_enabled=status.get("KeyRotationEnabled"),
        rotation_period_days=status.get("RotationPeriodInDays"),
        next_rotation=_utc(status.get("NextRotationDate")),
        rotating_since=_utc(status.get("OnDemandRotationStartDate")),
        on_demand_rotations=on_demand,
        tags=tags,
        not_permitted=tuple(sorted(refused)),
    )


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _unless_refused(refused: set[str], action: str, read: Callable[[], T], otherwise: T) -> T:
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
