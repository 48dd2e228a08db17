# SPDX-License-Identifier: Apache-2.0
"""The facts that CloudTrail records about requests to KMS, from callers or from S3 for callers."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.kms import materials

from .facts import KMS_KEY, Facts, is_reading, key_resource, lower_first

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.key_uses import KeyUse
    from s3crypt.sandbox.kms.materials import Rotated
    from s3crypt.sandbox.wire import Reply, Request

SOURCE = "kms.amazonaws.com"
CRYPTOGRAPHIC = frozenset(
    {"Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyPair"}
    | {"GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext", "GenerateMac"}
    | {"ReEncrypt", "Sign", "Verify", "VerifyMac"}
)
_SECRET = frozenset(
    {"CiphertextBlob", "EncryptedKeyMaterial", "ImportToken", "Mac", "Message", "Plaintext"}
    | {"Recipient", "Signature", "GrantTokens"}
)
_DEFAULT = "SYMMETRIC_DEFAULT"
# Operation -> the parameters that its record contains even if the request does not.
_ALGORITHMS = {
    "Decrypt": ("encryptionAlgorithm",),
    "Encrypt": ("encryptionAlgorithm",),
    "ReEncrypt": ("sourceEncryptionAlgorithm", "destinationEncryptionAlgorithm"),
}
_ANSWERED = {
    "CreateGrant": ("GrantId",),
    "CreateKey": ("KeyMetadata",),
    "ScheduleKeyDeletion": ("KeyId", "KeyState", "DeletionDate", "PendingWindowInDays"),
    "CancelKeyDeletion": ("KeyId",),
    "ImportKeyMaterial": ("KeyId", "KeyMaterialId"),
    "RotateKeyOnDemand": ("KeyId",),
}


def facts(moto: Moto, request: Request, reply: Reply) -> Facts:
    """Return the facts to record about a caller's request to KMS."""
    operation = request.operation
    try:
        asked: dict[str, Any] = json.loads(request.body or b"{}")
    except ValueError:
        asked = {}
    is_crypto = operation in CRYPTOGRAPHIC
    keys = _keys(moto, request, asked, reply)
    parameters = {lower_first(name): value for name, value in asked.items() if name not in _SECRET}
    for name in _ALGORITHMS.get(operation, ()):
        parameters.setdefault(name, _DEFAULT)
    is_fine = reply.status == 200
    return Facts(
        SOURCE,
        operation,
        is_crypto or is_reading(operation),
        region=request.region,
        parameters=parameters or None,
        elements=None if is_crypto or not is_fine else _elements(operation, keys, reply),
        additional=_additional(operation, keys, asked) if is_crypto and is_fine else None,
        resources=[key_resource(key) for key in keys],
        named=tuple((KMS_KEY, key.arn) for key in keys),
        keys=tuple(keys),
    )


def facts_of_use(use: KeyUse) -> Facts:
    """Return the facts to record about a request that S3 made to KMS."""
    key = use.key
    parameters: dict[str, Any] = {"encryptionContext": dict(use.context)}
    if use.operation == "Decrypt":
        parameters["encryptionAlgorithm"] = _DEFAULT
    else:
        parameters |= {"keyId": key.arn, "keySpec": "AES_256"}
    material = {"keyMaterialId": materials.material_id(key)}
    return Facts(
        SOURCE,
        use.operation,
        is_read_only=True,
        region=key.region,
        parameters=parameters,
        additional=material if use.refusal is None else None,
        resources=[key_resource(key)],
        named=((KMS_KEY, key.arn),),
    )


def rotation(done: Rotated) -> tuple[Facts, dict[str, Any]]:
    """Return the facts and the details of the event that KMS itself emits after a rotation."""
    key = done.key
    details = {
        "keyId": key.id,
        "rotationType": done.kind,
        "keyOrigin": key.origin,
        "previousKeyMaterialId": done.previous,
        "currentKeyMaterialId": done.current,
    }
    event = Facts(
        SOURCE,
        "RotateKey",
        is_read_only=False,
        region=key.region,
        resources=[key_resource(key)],
        named=((KMS_KEY, key.arn),),
    )
    return event, details


def _keys(moto: Moto, request: Request, asked: dict[str, Any], reply: Reply) -> list[Any]:
    references = [str(asked.get("KeyId") or asked.get("TargetKeyId") or "")]
    if "CiphertextBlob" in asked:
        references = [_prefix(asked) or str(asked.get("SourceKeyId") or references[0])]
    if request.operation == "ReEncrypt":
        references.append(str(asked.get("DestinationKeyId") or ""))
    if request.operation == "CreateKey" and reply.status == 200:
        references = [json.loads(reply.body)["KeyMetadata"]["KeyId"]]
    found = [moto.key(each, request.region) for each in references if each]
    return [key for key in found if key is not None]


def _prefix(asked: dict[str, Any]) -> str:
    """Return the id of the key that made a ciphertext.

    The id is the first part of moto's ciphertext.
    """
    try:
        blob = base64.b64decode(asked["CiphertextBlob"] or "")
    except ValueError:
        return ""
    return blob[:36].decode("ascii", "replace")


def _additional(operation: str, keys: list[Any], asked: dict[str, Any]) -> dict[str, Any] | None:
    if not keys or keys[0].key_spec != _DEFAULT:
        return None
    number = None
    if operation in {"Decrypt", "ReEncrypt"}:
        blob = base64.b64decode(asked["CiphertextBlob"])
        number = materials.unnumbered(keys[0], blob)[1]
    first = materials.material_id(keys[0], number)
    if operation == "ReEncrypt":
        return {
            "sourceKeyMaterialId": first,
            "destinationKeyMaterialId": materials.material_id(keys[-1]),
        }
    return {"keyMaterialId": first}


def _elements(operation: str, keys: list[Any], reply: Reply) -> dict[str, Any] | None:
    """Return the record's response elements: parts of a change's reply, and the ARN of the key."""
    if is_reading(operation) or not keys:
        return None
    wanted = _ANSWERED.get(operation)
    if wanted is None:
        return None if operation.endswith("Alias") else {"keyId": keys[0].arn}
    answer = json.loads(reply.body)
    said = {lower_first(name): answer[name] for name in wanted if name in answer}
    if "deletionDate" in said:
        said["deletionDate"] = _spoken(float(said["deletionDate"]))
    return said if operation == "CreateKey" else said | {"keyId": keys[0].arn}


def _spoken(moment: float) -> str:
    """Return a moment in the format of KMS's records: Apr 12, 2026 6:58:30 PM."""
    found = datetime.fromtimestamp(moment, UTC)
    hour = found.hour % 12 or 12
    return f"{found:%b} {found.day}, {found.year} {hour}:{found:%M:%S %p}"
