# SPDX-License-Identifier: Apache-2.0
"""Imported key material: wrapped by the caller, unwrapped here, and deleted when it expires.

A symmetric key can have several materials. At most one of them waits for the next rotation.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from s3crypt.sandbox.wire import Refusal

from .calls import invalid, key_of, unsupported
from .keys import refresh
from .materials import Import, Material, imported_id, imports_of, materials_of
from .regions import is_replica, siblings
from .states import check_alive

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

    from .calls import Call

_HASHES = {"RSAES_OAEP_SHA_1": hashes.SHA1, "RSAES_OAEP_SHA_256": hashes.SHA256}
_SPECS = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
_BYTES = 32
_DAY = 86_400
_LONGEST_DAYS = 365
_EXPIRES, _STAYS = "KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"
_NEW, _EXISTING = "NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"


@dataclass(frozen=True, slots=True)
class _Wrapping:
    """The RSA key pair with which a caller wraps the material for one import."""

    key: rsa.RSAPrivateKey = field(repr=False)
    algorithm: str
    token: bytes = field(repr=False)
    until: float


def described(key: Any) -> dict[str, Any]:
    """Return the elements of DescribeKey about the key's imported materials."""
    if key.origin != "EXTERNAL":
        return {}
    held, imports = materials_of(key).held, imports_of(key)
    found = [imports[one.id] for one in held if one.id in imports and imports[one.id].is_present]
    if not found:
        return {}
    dates = [each.valid_to for each in found if each.valid_to is not None]
    if not dates:
        return {"ExpirationModel": _STAYS}
    return {"ExpirationModel": _EXPIRES, "ValidTo": min(dates)}


def parameters(moto: Moto, call: Call) -> dict[str, Any]:
    """Return a new public key for wrapping the material, and the token for the import."""
    key = _external(moto, call)
    check_alive(key)
    algorithm, spec = call.body.get("WrappingAlgorithm"), call.body.get("WrappingKeySpec")
    if algorithm not in _HASHES or spec not in _SPECS:
        raise unsupported(f"The sandbox does not unwrap {algorithm} with {spec}.")
    pair = rsa.generate_private_key(public_exponent=65_537, key_size=_SPECS[str(spec)])
    until = moto.clock.now() + _DAY
    made = _Wrapping(pair, str(algorithm), secrets.token_bytes(64), until)
    key.s3crypt_wrapping = made
    public = pair.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "KeyId": key.arn,
        "ImportToken": _text(made.token),
        "PublicKey": _text(public),
        "ParametersValidTo": made.until,
    }


def take(moto: Moto, call: Call) -> dict[str, Any]:
    """Import a material of 32 bytes: new material, or material that the key had before."""
    key = _external(moto, call)
    if key.key_state not in {"Enabled", "PendingImport"}:
        # `check_state` is not used, because ImportKeyMaterial never returns DisabledException.
        raise Refusal(400, "KMSInvalidStateException", f"{key.arn} is {key.key_state}.")
    until = _until(moto, call)
    identity = imported_id(key, _unwrapped(moto, key, call))
    kind = _kind(key, call)
    if kind == _NEW:
        _add(key, identity)
    else:
        _check_known(key, identity, call.body.get("KeyMaterialId"))
    imports = imports_of(key)
    before = imports.get(identity)
    text = call.body.get("KeyMaterialDescription")
    kept = "" if before is None else before.description
    made = imports[identity] = Import(kept if text is None else str(text), until)
    if until is not None:
        moto.clock.at(until, lambda _: _expire(moto, key, identity, made))
    refresh(key)
    return {"KeyId": key.arn, "KeyMaterialId": identity}


def delete(moto: Moto, call: Call) -> dict[str, Any]:
    """Delete an imported material, by default the current material, without a waiting period."""
    key = _external(moto, call)
    held = materials_of(key)
    wanted = call.body.get("KeyMaterialId")
    material = held.current if wanted is None else held.find(str(wanted))
    if material is None:
        if wanted is not None:
            raise Refusal(400, "NotFoundException", f"{key.arn} has no key material {wanted}.")
        return {"KeyId": key.arn}
    _remove(moto, key, material)
    return {"KeyId": key.arn, "KeyMaterialId": material.id}


def _remove(moto: Moto, key: Any, material: Material) -> None:
    """Delete a material of a key.

    A material that waits for a rotation is forgotten. For any other material, the key keeps an
    entry.
    """
    held = materials_of(key)
    if material is held.pending and not is_replica(key):
        held.pending = None
        for each in siblings(moto, key):
            imports_of(each).pop(material.id, None)
        return
    imports = imports_of(key)
    if material.id in imports:
        imports[material.id] = replace(imports[material.id], valid_to=None, is_present=False)
    refresh(key)


def _expire(moto: Moto, key: Any, identity: str, expected: Import) -> None:
    # If the same material was imported again, it has another expiry date and must not be deleted
    # now.
    material = materials_of(key).find(identity)
    if material is not None and imports_of(key).get(identity) is expected:
        _remove(moto, key, material)


def _kind(key: Any, call: Call) -> str:
    """Return the import type. By default, only the first import is NEW_KEY_MATERIAL."""
    kind, named = call.body.get("ImportType"), call.body.get("KeyMaterialId")
    if kind is None:
        kind = _EXISTING if materials_of(key).held else _NEW
    if kind not in {_NEW, _EXISTING}:
        raise invalid(f"Value '{kind}' at 'importType' failed to satisfy constraint.")
    if kind == _NEW and named is not None:
        raise invalid(f"KeyMaterialId cannot be specified with {_NEW}.")
    return str(kind)


def _add(key: Any, identity: str) -> None:
    """Add a material to a key.

    The first material of a key is current at once. Any later material waits for a rotation.
    """
    held = materials_of(key)
    if is_replica(key):
        raise unsupported(f"{key.arn} is a replica; new material is imported into its primary key.")
    if held.find(identity) is not None:
        raise Refusal(
            400, "IncorrectKeyMaterialException", "The key material is associated with the key."
        )
    if not held.held:
        held.held.append(Material(identity))
        return
    if key.key_spec != "SYMMETRIC_DEFAULT":
        raise unsupported(f"The key material of {key.arn} cannot be changed.")
    if held.pending is not None:
        raise Refusal(
            400, "KMSInvalidStateException", f"{key.arn} has key material pending rotation already."
        )
    held.pending = Material(identity)


def _check_known(key: Any, identity: str, named: str | None) -> None:
    known = materials_of(key).find(identity)
    if known is None or named not in {None, identity}:
        raise Refusal(
            400, "IncorrectKeyMaterialException", "It is not the material that the key had before."
        )


def _external(moto: Moto, call: Call) -> Any:
    key = key_of(moto, call)
    if key.origin != "EXTERNAL":
        raise unsupported(
            f"{key.arn} origin is {key.origin} which is not valid for this operation."
        )
    return key


def _unwrapped(moto: Moto, key: Any, call: Call) -> bytes:
    found: _Wrapping | None = getattr(key, "s3crypt_wrapping", None)
    if found is None or not secrets.compare_digest(found.token, call.blob("ImportToken")):
        raise Refusal(400, "InvalidImportTokenException", "The import token is not this key's.")
    if found.until < moto.clock.now():
        raise Refusal(400, "ExpiredImportTokenException", "The import token has expired.")
    algorithm = _HASHES[found.algorithm]
    scheme = padding.OAEP(padding.MGF1(algorithm()), algorithm(), None)
    try:
        material = found.key.decrypt(call.blob("EncryptedKeyMaterial"), scheme)
    except ValueError:
        message = "The key material cannot be decrypted."
        raise Refusal(400, "InvalidCiphertextException", message) from None
    if len(material) != _BYTES:
        raise Refusal(
            400, "IncorrectKeyMaterialException", f"The key material does not have {_BYTES} bytes."
        )
    return material


def _until(moto: Moto, call: Call) -> float | None:
    model, until = call.body.get("ExpirationModel", _EXPIRES), call.body.get("ValidTo")
    if (model == _EXPIRES) != (until is not None):
        raise invalid(f"ValidTo must be given for {_EXPIRES}, and for that alone.")
    if until is None:
        return None
    now = moto.clock.now()
    if not now < float(until) <= now + _LONGEST_DAYS * _DAY:
        raise invalid(f"ValidTo must be within the next {_LONGEST_DAYS} days.")
    return float(until)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
