# SPDX-License-Identifier: Apache-2.0
"""The key whose dependents are sought: its names, and the replicas that have the same material.

This module sends only requests that read, and only to KMS. It does not use S3.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from s3crypt.errors import KeyUnavailableError, S3CryptError
from s3crypt.kms.description import KeyReader
from s3crypt.kms.states import GONE, KeyState, KeyStates

NO_WAY_IN = frozenset(
    {GONE, "PendingDeletion", "PendingReplicaDeletion", "PendingImport", "Creating"}
)
"""The states in which a key opens no object: KMS will delete its material, or has none."""

_DENIED = "AccessDeniedException"


@dataclass(frozen=True, slots=True)
class Target:
    """The key whose dependents are sought.

    Attributes:
        arn: The key's ARN.
        state: The key state by KMS's name, such as `Enabled`.
        manager: The party that manages the key, `CUSTOMER` or `AWS`.
        deletion: The time at which KMS will delete the key. None if no deletion is scheduled.
        siblings: The ARNs of the keys in other Regions that have the same material: the replicas
            of a multi-Region key, or its primary key and the other replicas.
    """

    arn: str
    state: str
    manager: str
    deletion: datetime | None = None
    siblings: tuple[str, ...] = ()

    @property
    def key_id(self) -> str:
        """The key's id."""
        return self.arn.partition(":key/")[2]

    @property
    def account(self) -> str:
        """The account that owns the key."""
        return self.arn.split(":")[4]

    @property
    def region(self) -> str:
        """The key's Region."""
        return self.arn.split(":")[3]

    @property
    def partition(self) -> str:
        """The key's partition, such as `aws`."""
        return self.arn.split(":")[1]

    def is_named_by(self, name: str) -> bool:
        """Return whether a text is this key's ARN or its key id.

        For an alias, the result is False even if the alias points to the key.
        """
        return name in (self.arn, self.key_id)

    def is_sibling(self, name: str) -> bool:
        """Return whether an ARN names the same multi-Region key in another Region."""
        if not self.key_id.startswith("mrk-") or name == self.arn:
            return False
        mine, others = self.arn.split(":"), name.split(":")
        return mine[:3] + mine[4:] == others[:3] + others[4:]

    def live_siblings(self, states: KeyStates) -> Iterator[str]:
        """Yield the siblings whose material exists and will not be deleted, as far as KMS shows."""
        for arn in self.siblings:
            state = states.of(arn).state
            if state is not None and state not in NO_WAY_IN:
                yield arn


def find_target(reader: KeyReader, name: str) -> Target:
    """Return the key with this id, ARN or alias.

    Raises:
        KeyUnavailableError: The key does not exist, KMS refuses to describe it, or it cannot
            encrypt objects because it is asymmetric or an HMAC key.
    """
    try:
        found = reader.metadata(name)
    except KeyUnavailableError as error:
        if error.code == _DENIED and error.hint is None:
            error.hint = "Ask for the permission kms:DescribeKey on this key."
        raise
    arn, spec = str(found["Arn"]), found.get("KeySpec", "SYMMETRIC_DEFAULT")
    if spec != "SYMMETRIC_DEFAULT":
        raise KeyUnavailableError(
            f"{arn}: its key spec is {spec}; S3 and the keyrings of s3crypt encrypt under "
            "symmetric keys only.",
            hint=f"`s3crypt keys show {arn}` tells when the key was used last.",
        )
    deletion = found.get("DeletionDate")
    return Target(
        arn,
        str(found.get("KeyState", "")),
        str(found.get("KeyManager", "")),
        deletion.astimezone(UTC) if deletion else None,
        tuple(arn for arn in _family(found) if arn != found["Arn"]),
    )


def _family(metadata: Any) -> Iterator[str]:
    """Yield the ARNs of a multi-Region key in all Regions. Yield nothing for any other key."""
    regions = metadata.get("MultiRegionConfiguration") or {}
    for entry in (regions.get("PrimaryKey"), *(regions.get("ReplicaKeys") or ())):
        if entry and entry.get("Arn"):
            yield str(entry["Arn"])


class KeyNames:
    """Finds the ARNs of keys that settings and material descriptions name by ARN, id or alias.

    KMS resolves an alias to the key to which it points now. Each alias is resolved once.
    """

    def __init__(self, reader: KeyReader, target: Target) -> None:
        self._reader = reader
        self._target = target
        self._known: dict[str, str | KeyState] = {}

    def arn_of(self, name: str, region: str, account: str) -> str | KeyState:
        """Return the ARN of a key by its name, or a `KeyState` with the reason why it is unknown.

        Args:
            name: An ARN, an id, `alias/NAME`, or an alias's ARN.
            region: The Region of the setting that contains the name.
            account: The account of the setting that contains the name.
        """
        if ":key/" in name:
            return name
        is_alias = "alias/" in name
        place = f"arn:{self._target.partition}:kms:{region}:{account}:"
        full = name if name.startswith("arn:") else place + ("" if is_alias else "key/") + name
        if not is_alias:
            return full
        if full not in self._known:
            self._known[full] = self._resolved(full)
        return self._known[full]

    def _resolved(self, alias: str) -> str | KeyState:
        try:
            return str(self._reader.metadata(alias)["Arn"])
        except S3CryptError as error:
            if error.code == "NotFoundException":
                return KeyState(GONE)
            denied = ("kms:DescribeKey",) if error.code == _DENIED else ()
            return KeyState(hidden=f"KMS does not say which key {alias} is", denied=denied)
