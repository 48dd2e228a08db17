# SPDX-License-Identifier: Apache-2.0
"""A cache of the states of the KMS keys that objects name. Every request here only reads."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from s3crypt.errors import S3CryptError, StorageError

from .description import KeyReader

GONE = "Gone"
"""The state of a key that does not exist any more."""

_DENIED, _NOT_FOUND = "AccessDeniedException", "NotFoundException"
_DESCRIBE = ("kms:DescribeKey",)
# Objects can be under any number of keys. The cache of their states is cleared at this size.
_MOST_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class KeyState:
    """The state of a KMS key.

    Attributes:
        state: The state in KMS's spelling, or `Gone`, or None if the state is unknown.
        made: A time before which no material of the key existed, or None if the age of its
            material is unknown.
        hidden: Why the state is unknown, in a clause.
        denied: The IAM actions that the caller lacks to read the state.
    """

    state: str | None = None
    made: datetime | None = None
    hidden: str = ""
    denied: tuple[str, ...] = ()


class KeyStates:
    """A thread-safe cache of the states of KMS keys.

    Args:
        reader: The reader that describes KMS keys.
    """

    def __init__(self, reader: KeyReader) -> None:
        self._reader = reader
        self._known: dict[str, KeyState] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._unreachable: set[str] = set()

    def of(self, arn: str) -> KeyState:
        """Return the state of a key. Each key is described once."""
        known = self._known.get(arn)
        if known is not None:
            return known
        with self._lock:
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
                self._locks.clear()
            lock = self._locks.setdefault(arn, threading.Lock())
        with lock:
            # Another thread may have fetched the state while this one waited for the lock.
            known = self._known.get(arn) or self._asked(arn)
            self._known[arn] = known
        return known

    def _asked(self, arn: str) -> KeyState:
        # The writer of an object chooses the ARNs in its header. A request to a Region that does
        # not exist takes a minute to fail, so that each Region is tried only once.
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


def _has_own_material(metadata: Any) -> bool:
    """Return whether no material of a key is older than the key itself.

    Imported material and the material in a custom or external key store can be of any age. A
    replica has the material of its primary key, and a primary key may have been a replica before.
    """
    return metadata.get("Origin") == "AWS_KMS" and not metadata.get("MultiRegion")
