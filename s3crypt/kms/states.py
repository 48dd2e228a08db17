# SPDX-License-Identifier: Apache-2.0
"""A cache of the states and materials of the KMS keys that objects name.

Every request here only reads.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from s3crypt.errors import S3CryptError, StorageError

from .description import KeyReader, Material

T = TypeVar("T")

GONE = "Gone"
"""The state of a key that does not exist any more."""

_DENIED, _NOT_FOUND = "AccessDeniedException", "NotFoundException"
_DESCRIBE, _LIST = ("kms:DescribeKey",), ("kms:ListKeyRotations",)
# A bucket can contain objects under any number of keys. The cache is cleared when it has this many
# keys.
_MOST_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class MaterialAge:
    """The age of one key material.

    Attributes:
        by: The latest possible time of creation, or None if it is unknown.
        is_exact: Whether `by` is the time of creation. If False, the material may be older. This is
            the case for imported and replicated material.
        is_current: Whether KMS wraps new data keys with this material.
    """

    by: datetime | None
    is_exact: bool
    is_current: bool


@dataclass(frozen=True, slots=True)
class KeyMaterials:
    """The materials of a KMS key that wrap, or have wrapped, data keys.

    Attributes:
        ages: The age of each material, by its id.
        hidden: The reason why the materials are unknown, as a clause. Empty if they are known.
        denied: The IAM actions that the caller would need to list the materials.
    """

    ages: Mapping[str, MaterialAge] = field(default_factory=dict)
    hidden: str = ""
    denied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyState:
    """The state of a KMS key.

    Attributes:
        state: The state in KMS's spelling, or `Gone`. None if the state is unknown.
        made: The time of the key's creation, if all its material is as old or younger. None if the
            material may be older than the key.
        hidden: The reason why the state is unknown, as a clause. Empty if it is known.
        denied: The IAM actions that the caller would need to read the state.
        materials: The key's materials. None if they were not requested.
    """

    state: str | None = None
    made: datetime | None = None
    hidden: str = ""
    denied: tuple[str, ...] = ()
    materials: KeyMaterials | None = None


class _Known(Generic[T]):
    """A bounded, thread-safe cache. It calls `ask` once per key."""

    def __init__(self) -> None:
        self._known: dict[str, T] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, arn: str, ask: Callable[[str], T]) -> T:
        """Return the cached value of a key. If there is none, call `ask` and cache its result."""
        known = self._known.get(arn)
        if known is not None:
            return known
        with self._lock:
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
                self._locks.clear()
            lock = self._locks.setdefault(arn, threading.Lock())
        with lock:
            # Another thread may have cached the value while this thread waited for the lock.
            known = self._known.get(arn) or ask(arn)
            self._known[arn] = known
        return known


class KeyStates:
    """A thread-safe cache of the states of KMS keys, and of their materials.

    Args:
        reader: The reader that describes KMS keys.
    """

    def __init__(self, reader: KeyReader) -> None:
        self._reader = reader
        self._states: _Known[KeyState] = _Known()
        self._materials: _Known[KeyMaterials] = _Known()
        self._unreachable: set[str] = set()

    def of(self, arn: str) -> KeyState:
        """Return the state of a key. One request is sent per key."""
        return self._states.get(arn, self._asked)

    def materials(self, arn: str) -> KeyMaterials:
        """Return the materials of a key. They are requested once per key."""
        return self._materials.get(arn, self._listed)

    def _asked(self, arn: str) -> KeyState:
        # The writer of an object chooses the ARNs in its header. A request to a Region that does
        # not exist takes a minute to fail, so each Region is tried only once.
        region = "".join(arn.split(":")[3:4])
        if region in self._unreachable:
            return KeyState(hidden=f"KMS of {region} cannot be reached")
        try:
            metadata = self._reader.metadata(arn)
        except StorageError:
            self._unreachable.add(region)
            return KeyState(hidden=f"KMS of {region} cannot be reached")
        except S3CryptError as error:
            if error.code == _NOT_FOUND:
                return KeyState(GONE)
            if error.code == _DENIED:
                return KeyState(hidden="KMS refuses to describe it", denied=_DESCRIBE)
            return KeyState(hidden=f"KMS failed ({error.code or type(error).__name__})")
        made = metadata["CreationDate"].astimezone(UTC) if _has_own_material(metadata) else None
        return KeyState(metadata.get("KeyState"), made)

    def _listed(self, arn: str) -> KeyMaterials:
        state = self.of(arn)
        if state.state in (None, GONE):
            return KeyMaterials(
                hidden=state.hidden or "the key does not exist", denied=state.denied
            )
        try:
            metadata, found = self._reader.metadata(arn), self._reader.materials(arn)
        except S3CryptError as error:
            if error.code == _DENIED:
                return KeyMaterials(hidden="KMS refuses to list them", denied=_LIST)
            return KeyMaterials(hidden=f"KMS failed ({error.code or type(error).__name__})")
        used = (each for each in found if each.state in ("CURRENT", "NON_CURRENT"))
        return KeyMaterials({each.id: _age(each, metadata) for each in used})


def _age(material: Material, metadata: Any) -> MaterialAge:
    """Return the age of a material of `metadata`'s key. It is or was the current material.

    KMS generates the first material together with the key, and every later material during its
    rotation. A replica gets the material of its primary key: later materials during the rotation of
    the primary key, and the first material when the replica is made. Therefore only a replica's
    first material may be older than the replica. Imported material is older than its rotation, and
    the time of its import is unknown.
    """
    is_generated = metadata.get("Origin") == "AWS_KMS"
    created = metadata["CreationDate"].astimezone(UTC) if is_generated else None
    is_exact = is_generated and (material.since is not None or not metadata.get("MultiRegion"))
    return MaterialAge(material.since or created, is_exact, material.state == "CURRENT")


def _has_own_material(metadata: Any) -> bool:
    """Return whether all material of a key is as old as the key or younger.

    Imported material and the material in a custom or external key store can be of any age. A
    replica has the material of its primary key, and a primary key may have been a replica in the
    past.
    """
    return metadata.get("Origin") == "AWS_KMS" and not metadata.get("MultiRegion")
