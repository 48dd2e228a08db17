# SPDX-License-Identifier: Apache-2.0
"""The KMS service: parses each request, finds its rule, and handles one request at a time.

This module must not know S3 or how a request arrived.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from s3crypt.sandbox.wire import Refusal, Reply, Request, json_reply

from . import grants, imports, materials, policies, regions, rotations, states, uses
from .calls import Call, invalid, key_of, page, unsupported
from .keys import check_caller, check_state, refresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3crypt.sandbox.backend import Moto

# Operation -> the KeyUsage that the key must have. A key's KeyUsage cannot be changed later.
_USES = {
    "Decrypt": "ENCRYPT_DECRYPT",
    "Encrypt": "ENCRYPT_DECRYPT",
    "GenerateDataKey": "ENCRYPT_DECRYPT",
    "GenerateDataKeyWithoutPlaintext": "ENCRYPT_DECRYPT",
    "GenerateMac": "GENERATE_VERIFY_MAC",
    "ReEncrypt": "ENCRYPT_DECRYPT",
    "Sign": "SIGN_VERIFY",
    "Verify": "SIGN_VERIFY",
    "VerifyMac": "GENERATE_VERIFY_MAC",
}
# Prefix of a key spec -> the KeyUsages that such a key can have.
_USES_OF_SPECS = {
    "ECC": {"KEY_AGREEMENT", "SIGN_VERIFY"},
    "HMAC": {"GENERATE_VERIFY_MAC"},
    "RSA": {"ENCRYPT_DECRYPT", "SIGN_VERIFY"},
    "SM2": {"ENCRYPT_DECRYPT", "KEY_AGREEMENT", "SIGN_VERIFY"},
    "SYMMETRIC": {"ENCRYPT_DECRYPT"},
}
_WITH_ALIASES = {*_USES, "DescribeKey", "GetPublicKey"}
_REFUSED_WHEN_DYING = ("TagResource", "UntagResource", "UpdateKeyDescription")
# Operations for which `_resolved` does not check the key's policy: the policy does not apply to
# them, or their rules check it.
_WITHOUT_POLICY = {"Decrypt", "ListAliases", "ListRetirableGrants", "ReEncrypt", "RetireGrant"}
_MAKES_CIPHERTEXTS = frozenset(
    {"Encrypt", "GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"}
    | {"GenerateDataKeyWithoutPlaintext", "ReEncrypt"}
)
_BLOB = "CiphertextBlob"
_SHARED = "OTHER_ACCOUNTS_VIA_RAM"
# The id of a single-Region or multi-Region key. moto's ciphertexts begin with such an id.
_KEY_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")

_FAMILIES: dict[str, Callable[[Moto, Call], dict[str, Any]]] = {
    "CancelKeyDeletion": states.cancel_deletion,
    "CreateGrant": grants.create,
    "DeleteImportedKeyMaterial": imports.delete,
    "DisableKey": states.disable,
    "DisableKeyRotation": rotations.disable,
    "EnableKey": states.enable,
    "EnableKeyRotation": rotations.enable,
    "GetKeyLastUsage": uses.last_use,
    "GetKeyRotationStatus": rotations.status,
    "GetParametersForImport": imports.parameters,
    "ImportKeyMaterial": imports.take,
    "ListGrants": grants.listed,
    "ListKeyRotations": rotations.listed,
    "ListRetirableGrants": grants.retirable,
    "RetireGrant": grants.retire,
    "RevokeGrant": grants.revoke,
    "RotateKeyOnDemand": rotations.rotate,
    "ScheduleKeyDeletion": states.schedule_deletion,
    "UpdatePrimaryRegion": regions.update_primary,
}


def _of_family(rule: Callable[[Moto, Call], dict[str, Any]]) -> Callable[[KMS, Call], Any]:
    return lambda service, call: rule(service._moto, call)  # noqa: SLF001


class KMS:
    """The KMS rules. The table at the end of the class maps operations to their rules."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        # KMS requests are short, so they are handled one at a time: a check stays valid until the
        # change that it allows is made.
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        """Return the reply of a rule or of moto. Raise `Refusal` if KMS refuses such a request."""
        if not request.scope:
            raise Refusal(400, "MissingAuthenticationTokenException", "Request is not signed.")
        operation = request.headers["x-amz-target"].partition(".")[2]
        caller = self._moto.caller_arns(request)
        call = Call(operation, request.region, caller, json.loads(request.body or b"{}"))
        with self._lock:
            self._moto.clock.run()
            self._check_shared(call)
            resolved = self._resolved(call)
            rule = self._RULES.get(operation)
            answer = rule(self, call) if rule is not None else None
            if call.body.get("DryRun"):
                raise Refusal(412, "DryRunOperationException", "The request would have succeeded.")
            if answer is not None:
                return json_reply(200, answer)
            reply = self._moto(replace(request, body=resolved))
            return self._finished(call, reply) if reply.status == 200 else reply

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Return KMS's reply to a request that it refuses."""
        content = {"__type": refusal.code, "message": refusal.message}
        headers = (
            ("Content-Type", "application/x-amz-json-1.1"),
            ("x-amzn-requestid", secrets.token_hex(16)),
        )
        return Reply(refusal.status, headers, json.dumps(content).encode("utf-8"))

    def _resolved(self, call: Call) -> bytes:
        """Return the request's body for moto, with key ids for all references and with defaults.

        Raises:
            Refusal: The key does not exist, or the operation accepts no aliases.
        """
        body = dict(call.body)
        for name in ("KeyId", "DestinationKeyId", "TargetKeyId"):
            reference = str(body.get(name) or "")
            if not reference:
                continue
            if "alias/" in reference and call.operation not in _WITH_ALIASES:
                raise Refusal(400, "NotFoundException", f"Invalid keyId {reference}")
            key = key_of(self._moto, call, name)
            if call.operation not in _WITHOUT_POLICY:
                self._check_caller(call, key)
            body[name] = key.id
        if call.operation in {"GetKeyPolicy", "PutKeyPolicy"}:
            body["PolicyName"] = body.get("PolicyName") or "default"
        if call.operation == "CreateKey":
            body["KeyUsage"] = body.get("KeyUsage") or "ENCRYPT_DECRYPT"
        if call.operation in {"Decrypt", "ReEncrypt"} and not _ignores_ciphertext(call):
            blob, _ = materials.unnumbered(self._key_of_ciphertext(call), call.blob(_BLOB))
            body[_BLOB] = base64.b64encode(blob).decode("ascii")
        return json.dumps(body).encode("utf-8")

    def _check_caller(self, call: Call, key: Any, action: str | None = None) -> None:
        """Refuse a caller without permission for an action on a key.

        `action` is by default the action of the request's operation.
        """
        wanted = action or f"kms:{call.operation}"
        check_caller(key, wanted, call.caller, call.context(wanted))

    def _key_of_ciphertext(self, call: Call) -> Any:
        # The ciphertexts of moto begin with the id of their key.
        identity = call.blob(_BLOB)[:36].decode("ascii", "replace")
        key = self._moto.key(identity, call.region)
        if key is None and _KEY_ID.fullmatch(identity):
            raise Refusal(
                400,
                "AccessDeniedException",
                "The ciphertext refers to a customer master key that does not exist, does not "
                "exist in this region, or you are not allowed to access.",
            )
        if key is None:
            raise Refusal(400, "InvalidCiphertextException", "")
        return key

    def _with_one_key(self, call: Call) -> None:
        key = key_of(self._moto, call)
        check_state(key)
        _check_use(call, key, call.body.get("EncryptionAlgorithm"))

    def _public_key(self, call: Call) -> None:
        key = key_of(self._moto, call)
        if key.key_spec.startswith(("HMAC", "SYMMETRIC")):
            raise unsupported(f"{key.arn} has no public key.")

    def _create(self, call: Call) -> None:
        asked = call.body
        spec = asked.get("KeySpec") or asked.get("CustomerMasterKeySpec") or "SYMMETRIC_DEFAULT"
        use = asked.get("KeyUsage") or "ENCRYPT_DECRYPT"
        uses = _USES_OF_SPECS.get(str(spec).partition("_")[0])
        # An unknown spec passes here, because moto refuses it.
        if uses is not None and use not in uses:
            raise invalid(f"KeyUsage {use} is not compatible with {spec}.")
        policies.check(self._moto, call)

    def _replicate(self, call: Call) -> dict[str, Any]:
        replica = regions.replicate(self._moto, call)
        return {
            "ReplicaKeyMetadata": {**self._metadata(replica), "KeyState": "Creating"},
            "ReplicaPolicy": replica.policy,
            "ReplicaTags": call.body.get("Tags") or [],
        }

    def _alias(self, call: Call) -> None:
        """Check the key that an alias names: the caller needs permission for this key as well."""
        key = self._moto.key(str(call.body.get("AliasName", "")), call.region)
        if key is not None:
            self._check_caller(call, key)
        if call.operation == "UpdateAlias":
            self._new_alias(call)

    def _new_alias(self, call: Call) -> None:
        states.check_alive(key_of(self._moto, call, "TargetKeyId"))

    def _check_shared(self, call: Call) -> None:
        """Refuse every operation except DescribeKey on a key that another account shares."""
        reference = str(call.body.get("KeyId") or "")
        found = {key.arn: key for key in self._moto.shared_keys(call.region)}
        if reference in found and call.operation != "DescribeKey":
            raise Refusal(
                400,
                "AccessDeniedException",
                f"The resource {reference} belongs to another account.",
            )

    def _finished(self, call: Call, reply: Reply) -> Reply:
        """Return moto's reply with ids of key materials added."""
        if call.operation == "CreateKey":
            content = json.loads(reply.body)
            key = self._moto.key(content["KeyMetadata"]["KeyId"], call.region)
            assert key is not None
            key.creation_date = self._moto.clock.now()
            refresh(key)
            return json_reply(200, {"KeyMetadata": self._metadata(key)})
        if call.operation in _MAKES_CIPHERTEXTS or call.operation == "Decrypt":
            return json_reply(200, self._with_material(call, json.loads(reply.body)))
        return reply

    def _with_material(self, call: Call, said: dict[str, Any]) -> dict[str, Any]:
        """Return a reply with ids of key materials, and with material numbers in ciphertexts."""
        key = self._moto.key(str(said["KeyId"]), call.region)
        assert key is not None
        for name in (_BLOB, "PrivateKeyCiphertextBlob"):
            if name in said:
                blob = materials.numbered(key, base64.b64decode(said[name]))
                said[name] = base64.b64encode(blob).decode("ascii")
        opened = None
        if call.operation in {"Decrypt", "ReEncrypt"}:
            source = self._key_of_ciphertext(call)
            opened = materials.material_id(
                source, materials.unnumbered(source, call.blob(_BLOB))[1]
            )
        if call.operation == "ReEncrypt":
            said["SourceKeyMaterialId"] = opened
            said["DestinationKeyMaterialId"] = materials.material_id(key)
        elif call.operation != "Encrypt":
            said["KeyMaterialId"] = opened or materials.material_id(key)
        # An asymmetric key has no material id.
        return {name: value for name, value in said.items() if value is not None}

    def _opened(self, call: Call, *, named: str, action: str) -> None:
        """Refuse a ciphertext whose key the caller has no permission to use.

        Also refuse it if the request names another key.
        """
        wanted = key_of(self._moto, call, named) if call.body.get(named) else None
        if not _ignores_ciphertext(call):
            key = self._key_of_ciphertext(call)
        elif wanted is not None:
            key = wanted
        else:
            raise invalid(f"{named} must be given with IGNORE_CIPHERTEXT.")
        if wanted is not None and wanted is not key:
            raise Refusal(
                400,
                "IncorrectKeyException",
                "The key ID in the request does not identify a CMK that can perform this "
                "operation.",
            )
        self._check_caller(call, key, action)
        check_state(key)
        algorithm = "SourceEncryptionAlgorithm" if named == "SourceKeyId" else "EncryptionAlgorithm"
        _check_use(call, key, call.body.get(algorithm))

    def _decrypt(self, call: Call) -> None:
        self._opened(call, named="KeyId", action="kms:Decrypt")

    def _re_encrypt(self, call: Call) -> None:
        self._opened(call, named="SourceKeyId", action="kms:ReEncryptFrom")
        key = key_of(self._moto, call, "DestinationKeyId")
        self._check_caller(call, key, "kms:ReEncryptTo")
        check_state(key)
        _check_use(call, key, call.body.get("DestinationEncryptionAlgorithm"))

    def _not_dying(self, call: Call) -> None:
        states.check_alive(key_of(self._moto, call))

    def _describe(self, call: Call) -> dict[str, Any]:
        return {"KeyMetadata": self._metadata(key_of(self._moto, call))}

    def _metadata(self, key: Any) -> dict[str, Any]:
        """Return a key's metadata for the replies of CreateKey, DescribeKey and ReplicateKey."""
        known = key.to_dict()["KeyMetadata"]
        # Leave out elements that moto sets to null or to an empty list: KMS omits them.
        metadata = {name: value for name, value in known.items() if value not in (None, [])}
        metadata |= imports.described(key) | states.described(key)
        if key.multi_region:
            metadata["MultiRegionConfiguration"] = regions.configuration(self._moto, key)
        current = materials.material_id(key)
        return metadata if current is None else {**metadata, "CurrentKeyMaterialId": current}

    def _list(self, call: Call) -> dict[str, Any]:
        """Return a page of the account's own keys, or of keys that other accounts share with it."""
        owners = call.body.get("ResourceOwners") or ["SELF"]
        if set(owners) - {"SELF", _SHARED}:
            raise invalid(f"Value '{owners}' at 'resourceOwners' failed to satisfy constraint.")
        own = self._moto.keys(call.region) if "SELF" in owners else []
        shared = self._moto.shared_keys(call.region) if _SHARED in owners else []
        answer = page(call, _entries([*own, *shared]), "Keys")
        start = int(call.body.get("Marker") or 0)
        # A page has either own keys or shared keys, never both.
        if start < len(own) < start + len(answer["Keys"]):
            answer = {
                "Keys": answer["Keys"][: len(own) - start],
                "Truncated": True,
                "NextMarker": str(len(own)),
            }
        return answer

    # Operation -> rule. A rule checks a request. If its result is None, moto makes the reply;
    # otherwise the result is the reply.
    _RULES: ClassVar[dict[str, Callable[[KMS, Call], dict[str, Any] | None]]] = {
        **dict.fromkeys(_USES, _with_one_key),
        "GetPublicKey": _public_key,
        "CreateKey": _create,
        "PutKeyPolicy": lambda self, call: policies.check(self._moto, call),
        "ReplicateKey": _replicate,
        "CreateAlias": _new_alias,
        "DeleteAlias": _alias,
        "UpdateAlias": _alias,
        **dict.fromkeys(_REFUSED_WHEN_DYING, _not_dying),
        "Decrypt": _decrypt,
        "ReEncrypt": _re_encrypt,
        "DescribeKey": _describe,
        "ListKeys": _list,
        **{name: _of_family(rule) for name, rule in _FAMILIES.items()},
    }


def _ignores_ciphertext(call: Call) -> bool:
    modifiers = call.body.get("DryRunModifiers") or []
    return bool(call.body.get("DryRun")) and "IGNORE_CIPHERTEXT" in modifiers


def _entries(keys: list[Any]) -> list[dict[str, str]]:
    return [{"KeyId": key.id, "KeyArn": key.arn} for key in keys]


def _check_use(call: Call, key: Any, algorithm: str | None) -> None:
    """Refuse a key whose KeyUsage or algorithms do not permit the request's operation."""
    if key.key_usage != _USES[call.operation]:
        raise _wrong_use(
            f"{key.arn} key usage is {key.key_usage} which is not valid for {call.operation}."
        )
    wanted = algorithm or "SYMMETRIC_DEFAULT"
    if key.key_usage == "ENCRYPT_DECRYPT" and wanted not in key.encryption_algorithms:
        raise _wrong_use(f"Algorithm {wanted} and key spec {key.key_spec} are incompatible.")


def _wrong_use(message: str) -> Refusal:
    return Refusal(400, "InvalidKeyUsageException", message)
