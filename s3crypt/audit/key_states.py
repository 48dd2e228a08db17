# SPDX-License-Identifier: Apache-2.0
"""The states of KMS keys that objects are under, each asked for once. Only kms:DescribeKey."""

import threading
from datetime import UTC
from typing import TYPE_CHECKING, Any

from s3crypt.errors import KeyUnavailableError, S3CryptError, StorageError
from s3crypt.objects.sightings import Sighting

from .object_controls import GONE, Escrow, KeyState, kms_keys

if TYPE_CHECKING:
    from s3crypt.kms.description import KeyReader

_DENIED, _NOT_FOUND = "AccessDeniedException", "NotFoundException"
_ACTION = ("kms:DescribeKey",)
# Objects can be under any number of keys; of so many the states are kept.
_MOST = 10_000


class KeyStates:
    """What KMS says of keys; safe in several threads.

    Args:
        reader: Asks KMS.
    """

    def __init__(self, reader: "KeyReader") -> None:
        self._reader = reader
        self._known: dict[str, KeyState] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._unreachable: set[str] = set()

    def of_all(self, seen: Sighting) -> dict[str, KeyState]:
        """Return the state of each key that an object is under."""
        return {arn: self._of(arn) for arn in kms_keys(seen)}

    def _of(self, arn: str) -> KeyState:
        known = self._known.get(arn)
        if known is not None:
            return known
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
                self._locks.clear()
            lock = self._locks.setdefault(arn, threading.Lock())
        with lock:
            # Another thread may have asked meanwhile.
            known = self._known.get(arn) or self._asked(arn)
            self._known[arn] = known
        return known

    def _asked(self, arn: str) -> KeyState:
        # Writers of objects choose the ARNs in their headers. A Region that is none takes a minute
        # to give up, and would for each ARN.
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
                return KeyState(hidden="KMS refuses to describe it", denied=_ACTION)
            return KeyState(hidden=f"KMS failed ({error.code or type(error).__name__})")
        made = metadata["CreationDate"].astimezone(UTC) if _has_own_material(metadata) else None
        return KeyState(metadata.get("KeyState"), made)

    def escrow(self, reference: str) -> Escrow:
        """Return a required key by the name that objects have for it."""
        name = reference.removeprefix("kms:")
        if reference.startswith(("aes:", "rsa:")):
            return Escrow(reference, reference.partition("=")[0])
        if ":key/" in name:
            return Escrow(reference, name)
        try:
            return Escrow(reference, str(self._reader.metadata(name)["Arn"]))
        except KeyUnavailableError as error:
            denied = _ACTION if error.code == _DENIED else ()
            hidden = f"KMS does not say which key {reference} is ({error.code})"
            return Escrow(reference, None, hidden, denied)


def _has_own_material(metadata: Any) -> bool:
    """Return whether all material of a key is younger than the key itself.

    Imported material and that of an external key store can be of any age. A replica has the
    material of its primary key, and a primary key may have been a replica before.
    """
    return metadata.get("Origin") == "AWS_KMS" and not metadata.get("MultiRegion")
