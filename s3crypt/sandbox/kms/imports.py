# SPDX-License-Identifier: Apache-2.0
"""Imported key material: wrapped by the caller, unwrapped here, and deleted when it expires.

A key of the origin EXTERNAL accepts only one material; a second import must repeat it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from s3crypt.sandbox.wire import Refusal

from .calls import invalid, key_of, unsupported
from .keys import empty
from .materials import material_id

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

    from .calls import Call

_HASHES = {"RSAES_OAEP_SHA_1": hashes.SHA1, "RSAES_OAEP_SHA_256": hashes.SHA256}
_SPECS = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
_TOKEN_SECONDS = 86_400
_EXPIRES, _STAYS = "KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"


@dataclass(frozen=True, slots=True)
class _Wrapping:
    """The key pair of one import."""

    key: rsa.RSAPrivateKey = field(repr=False)
    algorithm: str
    token: bytes = field(repr=False)
    until: float


def begin(key: Any) -> None:
    """Set a new key of the origin EXTERNAL to PendingImport."""
    if key.origin == "EXTERNAL":
        empty(key)


def described(key: Any) -> dict[str, Any]:
    """Return the elements of DescribeKey about imported material."""
    if key.origin != "EXTERNAL" or key.key_state == "PendingImport":
        return {}
    until = key.s3crypt_valid_to
    return (
        {"ExpirationModel": _STAYS}
        if until is None
        else {
            "ExpirationModel": _EXPIRES,
            "ValidTo": until,
        }
    )


def parameters(moto: Moto, call: Call) -> dict[str, Any]:
    """Return a public key that wraps the material, and the token of this import."""
    key = _external(moto, call)
    algorithm, spec = call.body.get("WrappingAlgorithm"), call.body.get("WrappingKeySpec")
    if algorithm not in _HASHES or spec not in _SPECS:
        raise unsupported(f"The sandbox does not unwrap {algorithm} with {spec}.")
    pair = rsa.generate_private_key(public_exponent=65_537, key_size=_SPECS[str(spec)])
    made = _Wrapping(pair, str(algorithm), secrets.token_bytes(64), time.time() + _TOKEN_SECONDS)
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
    """Import 32 bytes of material, with or without an expiration time."""
    key = _external(moto, call)
    material = _unwrapped(key, call)
    until = _until(call)
    fingerprint = hashlib.sha256(material).hexdigest()
    if getattr(key, "s3crypt_imported", fingerprint) != fingerprint:
        raise Refusal(
            400, "IncorrectKeyMaterialException", "It is not the material that the key had before."
        )
    key.key_material, key.s3crypt_imported = material, fingerprint
    key.s3crypt_valid_to = until
    if key.key_state == "PendingImport":
        key.key_state, key.enabled = "Enabled", True
    return {"KeyId": key.arn, "KeyMaterialId": material_id(key)}


def delete(moto: Moto, call: Call) -> dict[str, Any]:
    """Delete imported material at once."""
    key = _external(moto, call)
    said = material_id(key)
    empty(key)
    return {"KeyId": key.arn, "KeyMaterialId": said}


def _external(moto: Moto, call: Call) -> Any:
    key = key_of(moto, call)
    if key.origin != "EXTERNAL":
        raise unsupported(
            f"{key.arn} origin is {key.origin} which is not valid for this operation."
        )
    return key


def _unwrapped(key: Any, call: Call) -> bytes:
    found: _Wrapping | None = getattr(key, "s3crypt_wrapping", None)
    if found is None or not secrets.compare_digest(found.token, call.blob("ImportToken")):
        raise Refusal(400, "InvalidImportTokenException", "The import token is not this key's.")
    if found.until < time.time():
        raise Refusal(400, "ExpiredImportTokenException", "The import token has expired.")
    algorithm = _HASHES[found.algorithm]
    scheme = padding.OAEP(padding.MGF1(algorithm()), algorithm(), None)
    try:
        material = found.key.decrypt(call.blob("EncryptedKeyMaterial"), scheme)
    except ValueError:
        material = b""
    if len(material) != 32:
        raise Refusal(400, "InvalidCiphertextException", "The key material cannot be decrypted.")
    return material


def _until(call: Call) -> float | None:
    model, until = call.body.get("ExpirationModel", _EXPIRES), call.body.get("ValidTo")
    if (model == _EXPIRES) != (until is not None):
        raise invalid(f"ValidTo must be given for {_EXPIRES}, and for that alone.")
    if until is not None and float(until) <= time.time():
        raise invalid("ValidTo is in the past.")
    return None if until is None else float(until)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
