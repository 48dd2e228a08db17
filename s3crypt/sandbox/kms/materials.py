# SPDX-License-Identifier: Apache-2.0
"""Key materials: their ids, the current material, and the material that made a ciphertext.

moto has one secret per key, even after rotations. So the sandbox appends the number of the current
material to every ciphertext, and a hash that binds the number to the ciphertext. This module must
not know requests.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

from s3crypt.sandbox.wire import Refusal

_NUMBER, _TAG = 2, 6
_SYMMETRIC = "SYMMETRIC_DEFAULT"


@dataclass(frozen=True, slots=True)
class Material:
    """A key material. `rotation` has the date and type of the rotation that made it current."""

    id: str
    rotation: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Materials:
    """The materials of a key, oldest first. All keys of a multi-Region set share this object."""

    held: list[Material]
    # The imported material that becomes current at the next rotation.
    pending: Material | None = None
    # The time at which the on-demand rotation in progress began; None if none is in progress.
    rotating_since: float | None = None
    # The days between automatic rotations, and the time of the next rotation. Both are None if the
    # key is not rotated automatically.
    period: int | None = None
    next_rotation: float | None = None

    @property
    def current(self) -> Material | None:
        """The material that encrypts now, or None before the first import."""
        return self.held[-1] if self.held else None

    def known(self) -> list[Material]:
        """Return all materials, including the pending material."""
        return [*self.held, *([] if self.pending is None else [self.pending])]

    def find(self, identity: str) -> Material | None:
        """Return the material with this id, or None."""
        return next((each for each in self.known() if each.id == identity), None)


@dataclass(frozen=True, slots=True)
class Import:
    """A material imported into one key. `is_present` is False after deletion or expiry."""

    description: str
    valid_to: float | None
    is_present: bool = True


@dataclass(frozen=True, slots=True)
class Rotated:
    """A finished rotation."""

    key: Any
    kind: str  # "ON_DEMAND" or "AUTOMATIC"
    previous: str
    current: str


def materials_of(key: Any) -> Materials:
    """Return the materials of a key.

    KMS makes the first material, except for a key whose material is imported.
    """
    found: Materials | None = getattr(key, "s3crypt_materials", None)
    if found is None:
        first = Material(secrets.token_hex(32))
        found = key.s3crypt_materials = Materials([] if key.origin == "EXTERNAL" else [first])
    return found


def imports_of(key: Any) -> dict[str, Import]:
    """Return a key's imports: material id -> import. The caller may modify the dictionary."""
    if not hasattr(key, "s3crypt_imports"):
        key.s3crypt_imports = {}
    found: dict[str, Import] = key.s3crypt_imports
    return found


def is_imported(key: Any, material: Material) -> bool:
    """Return whether a material is imported into a key and not deleted or expired."""
    found = imports_of(key).get(material.id)
    return found is not None and found.is_present


def is_complete(key: Any) -> bool:
    """Return whether a key has all its materials, which may be needed for decryption."""
    held = materials_of(key).held
    return key.origin != "EXTERNAL" or (bool(held) and all(is_imported(key, one) for one in held))


def imported_id(key: Any, material: bytes) -> str:
    """Return the id of an imported material. It depends only on the key's id and the material."""
    return hashlib.sha256(key.id.encode() + hashlib.sha256(material).digest()).hexdigest()


def material_id(key: Any, number: int | None = None) -> str | None:
    """Return the id of a key's material by its number (from 0), or of the current material.

    Return None if the key is not symmetric, or has no material.
    """
    held = materials_of(key).held
    if key.key_spec != _SYMMETRIC or not held:
        return None
    return held[-1 if number is None else number].id


def numbered(key: Any, blob: bytes) -> bytes:
    """Return moto's ciphertext with the number of the key's current material appended."""
    number = (len(materials_of(key).held) - 1).to_bytes(_NUMBER)
    return blob + number + _tag(key, blob, number)


def unnumbered(key: Any, blob: bytes) -> tuple[bytes, int]:
    """Return moto's ciphertext and the number of its material. Refuse a modified ciphertext."""
    end = len(blob) - _NUMBER - _TAG
    inner, number, tag = blob[:end], blob[end : end + _NUMBER], blob[end + _NUMBER :]
    if end < 0 or tag != _tag(key, inner, number):
        raise Refusal(400, "InvalidCiphertextException", "")
    return inner, int.from_bytes(number)


def _tag(key: Any, blob: bytes, number: bytes) -> bytes:
    return hashlib.sha256(bytes(key.key_material) + number + blob).digest()[:_TAG]
