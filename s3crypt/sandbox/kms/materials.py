# SPDX-License-Identifier: Apache-2.0
"""Key material: the material that encrypted a ciphertext, the rotation history, and last uses.

moto has one secret per key, even after rotations. So every ciphertext that the sandbox returns ends
in the number of the material that was current, bound to the rest by a hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.wire import Refusal

from .calls import key_of, page

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

    from .calls import Call

_NUMBER, _TAG = 2, 6
# Earlier uses are unknown: KMS began to record last uses in April 2026.
TRACKED_SINCE = datetime(2026, 4, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Use:
    """The last successful cryptographic operation with a key."""

    operation: str
    moment: float
    event_id: str
    request_id: str


def material_id(key: Any, number: int | None = None) -> str:
    """Return the id of a key's material by its number, counted from 0; by default the current."""
    which = len(key.rotations) if number is None else number
    seed = f"{key.id}:{getattr(key, 's3crypt_imported', '')}:{which}"
    return hashlib.sha256(seed.encode()).hexdigest()


def numbered(key: Any, blob: bytes) -> bytes:
    """Return moto's ciphertext with the number of the key's current material appended."""
    number = len(key.rotations).to_bytes(_NUMBER)
    return blob + number + _tag(key, blob, number)


def unnumbered(key: Any, blob: bytes) -> tuple[bytes, int]:
    """Return moto's ciphertext and its material's number; refuse a modified ciphertext."""
    end = len(blob) - _NUMBER - _TAG
    inner, number, tag = blob[:end], blob[end : end + _NUMBER], blob[end + _NUMBER :]
    if end < 0 or tag != _tag(key, inner, number):
        raise Refusal(400, "InvalidCiphertextException", "")
    return inner, int.from_bytes(number)


def rotations(moto: Moto, call: Call) -> dict[str, Any]:
    """Return a page of a key's rotations, including the initial material if requested."""
    key = key_of(moto, call)
    entries = [
        {
            "KeyId": key.id,
            "KeyMaterialId": material_id(key, number),
            "KeyMaterialState": "CURRENT" if number == len(key.rotations) else "NON_CURRENT",
            **({} if rotation is None else rotation | {"KeyId": key.id}),
        }
        for number, rotation in enumerate([None, *key.rotations])
    ]
    if call.body.get("IncludeKeyMaterial", "ROTATIONS_ONLY") == "ROTATIONS_ONLY":
        entries = entries[1:]
    return page(call, entries, "Rotations")


def last_use(moto: Moto, call: Call) -> dict[str, Any]:
    """Return the reply about a key's last use."""
    key = key_of(moto, call)
    answer: dict[str, Any] = {
        "KeyId": key.arn,
        "TrackingStartDate": TRACKED_SINCE,
        "KeyCreationDate": key.creation_date,
    }
    use: Use | None = getattr(key, "s3crypt_last_use", None)
    if use is not None:
        answer["KeyLastUsage"] = {
            "Operation": use.operation,
            "Timestamp": use.moment,
            "CloudTrailEventId": use.event_id,
            "KmsRequestId": use.request_id,
        }
    return answer


def _tag(key: Any, blob: bytes, number: bytes) -> bytes:
    return hashlib.sha256(bytes(key.key_material) + number + blob).digest()[:_TAG]
