# SPDX-License-Identifier: Apache-2.0
"""KMS's rules: what it refuses and moto lets pass, and rotation as it really goes.

It must not know S3, which asks it whether a key may be used, nor how a request came here.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from .policies import (
    denies_everybody,
    form_fault,
    is_about,
    is_for,
    statements_of,
    unknown_principal,
)
from .wire import Refusal, Reply, Request, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from .backend import Moto

# Operations -> the use that their key must have been made for, as KMS fixes it at creation.
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
# The beginning of a key's spec -> the uses that such a key can be made for.
_USES_OF_SPECS = {
    "ECC": {"KEY_AGREEMENT", "SIGN_VERIFY"},
    "HMAC": {"GENERATE_VERIFY_MAC"},
    "RSA": {"ENCRYPT_DECRYPT", "SIGN_VERIFY"},
    "SM2": {"ENCRYPT_DECRYPT", "KEY_AGREEMENT", "SIGN_VERIFY"},
    "SYMMETRIC": {"ENCRYPT_DECRYPT"},
}
_WITH_ALIASES = {*_USES, "DescribeKey", "GetPublicKey"}
_REFUSED_WHEN_DYING = (
    "CreateGrant",
    "DisableKey",
    "DisableKeyRotation",
    "EnableKey",
    "TagResource",
    "UntagResource",
    "UpdateKeyDescription",
)
# Operations that a key's policy does not decide: they are the account's, or a grant's.
_WITHOUT_POLICY = {"ListAliases", "ListRetirableGrants", "RetireGrant"}
# What the policies of AWS's own keys let anybody but their service do.
_READING = ("kms:Describe", "kms:Get", "kms:List")
_DAY = 86_400
_ON_DEMAND_ROTATIONS = 25
_ROTATION_DAYS = range(90, 2561)
_DELETION_DAYS = range(7, 31)
_POLICY_BYTES = 32_768


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, read: `body` is its JSON."""

    operation: str
    region: str
    caller: frozenset[str]
    body: dict[str, Any] = field(repr=False)


class KMS:
    """The KMS rules; the table at its end says which operation each is for."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        # KMS requests are short; one at a time makes every check hold until its act is done.
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        """Answer, or let moto; raise Refusal for what KMS would refuse."""
        if not request.scope:
            raise Refusal(400, "MissingAuthenticationTokenException", "Request is not signed.")
        operation = request.headers["x-amz-target"].partition(".")[2]
        caller = self._moto.caller_arns(request)
        call = _Call(operation, request.region, caller, json.loads(request.body or b"{}"))
        with self._lock:
            resolved = self._resolved(call)
            rule = self._RULES.get(operation)
            answer = rule(self, call) if rule is not None else None
            if call.body.get("DryRun"):
                raise Refusal(412, "DryRunOperationException", "The request would have succeeded.")
            if answer is not None:
                return json_reply(200, answer)
            reply = self._moto(replace(request, body=resolved))
            if operation == "ReplicateKey" and reply.status == 200:
                self._finish_replica(call)
            return reply

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Say a refusal the way KMS does."""
        content = {"__type": refusal.code, "message": refusal.message}
        headers = (
            ("Content-Type", "application/x-amz-json-1.1"),
            ("x-amzn-requestid", secrets.token_hex(16)),
        )
        return Reply(refusal.status, headers, json.dumps(content).encode("utf-8"))

    def _resolved(self, call: _Call) -> bytes:
        """Return the body with keys' ids for all references, and with defaults that moto lacks.

        Raises:
            Refusal: There is no such key, or the operation takes no aliases.
        """
        body = dict(call.body)
        for name in ("KeyId", "DestinationKeyId", "TargetKeyId"):
            reference = str(body.get(name) or "")
            if not reference:
                continue
            if "alias/" in reference and call.operation not in _WITH_ALIASES:
                raise Refusal(400, "NotFoundException", f"Invalid keyId {reference}")
            key = self._key(call, name)
            if call.operation not in {*_WITHOUT_POLICY, "ReEncrypt"}:
                _check_caller(key, f"kms:{call.operation}")
            body[name] = key.id
        if call.operation in {"GetKeyPolicy", "PutKeyPolicy"}:
            body["PolicyName"] = body.get("PolicyName") or "default"
        if call.operation == "CreateKey":
            body["KeyUsage"] = body.get("KeyUsage") or "ENCRYPT_DECRYPT"
        return json.dumps(body).encode("utf-8")

    def _key(self, call: _Call, name: str = "KeyId") -> Any:
        reference = str(call.body.get(name, ""))
        key = self._moto.key(reference, call.region)
        if key is None:
            raise Refusal(400, "NotFoundException", f"Key '{reference}' does not exist")
        return key

    def _key_of_ciphertext(self, call: _Call) -> Any:
        # moto's blobs begin with the key's id.
        blob = base64.b64decode(call.body.get("CiphertextBlob", ""))
        key = self._moto.key(blob[:36].decode("ascii", "replace"), call.region)
        if key is None:
            raise Refusal(400, "InvalidCiphertextException", "")
        return key

    def _with_one_key(self, call: _Call) -> None:
        key = self._key(call)
        _check_state(key)
        _check_use(call, key, call.body.get("EncryptionAlgorithm"))

    def _public_key(self, call: _Call) -> None:
        key = self._key(call)
        if key.key_spec.startswith(("HMAC", "SYMMETRIC")):
            raise Refusal(400, "UnsupportedOperationException", f"{key.arn} has no public key.")

    def _create(self, call: _Call) -> None:
        asked = call.body
        spec = asked.get("KeySpec") or asked.get("CustomerMasterKeySpec") or "SYMMETRIC_DEFAULT"
        use = asked.get("KeyUsage") or "ENCRYPT_DECRYPT"
        uses = _USES_OF_SPECS.get(str(spec).partition("_")[0])
        # An unknown spec is refused by moto.
        if uses is not None and use not in uses:
            raise Refusal(
                400, "ValidationException", f"KeyUsage {use} is not compatible with {spec}."
            )
        self._check_policy(call)

    def _check_policy(self, call: _Call) -> None:
        """Refuse a key policy that says nothing, or that its author could not change again."""
        text = call.body.get("Policy")
        if text is None:
            return
        statements = statements_of(text)
        _check_policy_form(text)
        if unknown_principal(self._moto, statements) is not None:
            raise _malformed_policy(
                "Policy contains a statement with one or more invalid principals."
            )
        callers = [one for one in statements if is_for(one, call.caller)]
        denied = any(denies_everybody(one, "kms:PutKeyPolicy") for one in statements)
        may_change = not denied and _permission(callers, "kms:PutKeyPolicy") is None
        if not may_change and not call.body.get("BypassPolicyLockoutSafetyCheck"):
            raise _malformed_policy(
                "The new key policy will not allow you to update the key policy in the future."
            )

    def _replicate(self, call: _Call) -> None:
        self._check_policy(call)
        key, region = self._key(call), str(call.body.get("ReplicaRegion", ""))
        _check_state(key)
        if not key.multi_region or key.multi_region_configuration["PrimaryKey"]["Arn"] != key.arn:
            raise Refusal(
                400, "UnsupportedOperationException", f"{key.arn} is no multi-Region primary key."
            )
        if self._moto.key(key.id, region) is not None:
            raise Refusal(400, "AlreadyExistsException", f"{key.id} exists in {region} already.")

    def _finish_replica(self, call: _Call) -> None:
        """Give a replica its own policy, tags, grants and aliases; moto shares the primary's."""
        region = str(call.body["ReplicaRegion"])
        replica = self._moto.key(self._key(call).id, region)
        assert replica is not None
        tags = {tag["TagKey"]: tag["TagValue"] for tag in call.body.get("Tags", [])}
        self._moto.tag_key(replica, region, tags)
        replica.policy = call.body.get("Policy") or replica.generate_default_policy()
        replica.grants, replica.aliases = {}, {}

    def _opened(self, call: _Call, *, named: str, action: str) -> None:
        """Check the key a ciphertext is under, and that it is the one named, if one is."""
        wanted = self._key(call, named) if call.body.get(named) else None
        key = self._key_of_ciphertext(call)
        if wanted is not None and wanted is not key:
            raise Refusal(
                400,
                "IncorrectKeyException",
                "The key ID in the request does not identify a CMK that can perform this "
                "operation.",
            )
        _check_caller(key, action)
        _check_state(key)
        algorithm = "SourceEncryptionAlgorithm" if named == "SourceKeyId" else "EncryptionAlgorithm"
        _check_use(call, key, call.body.get(algorithm))

    def _decrypt(self, call: _Call) -> None:
        self._opened(call, named="KeyId", action="kms:Decrypt")

    def _re_encrypt(self, call: _Call) -> None:
        self._opened(call, named="SourceKeyId", action="kms:ReEncryptFrom")
        key = self._key(call, "DestinationKeyId")
        _check_caller(key, "kms:ReEncryptTo")
        _check_state(key)
        _check_use(call, key, call.body.get("DestinationEncryptionAlgorithm"))

    def _not_dying(self, call: _Call) -> None:
        key = self._key(call)
        if key.key_state == "PendingDeletion":
            _check_state(key)

    def _schedule_deletion(self, call: _Call) -> None:
        self._not_dying(call)
        _check_range(call, "PendingWindowInDays", _DELETION_DAYS)

    def _rotatable(self, call: _Call) -> Any:
        key = self._key(call)
        _check_state(key)
        if key.key_spec != "SYMMETRIC_DEFAULT" or key.origin != "AWS_KMS":
            raise Refusal(400, "UnsupportedOperationException", f"{key.arn} cannot be rotated.")
        return key

    def _enable_rotation(self, call: _Call) -> None:
        _check_range(call, "RotationPeriodInDays", _ROTATION_DAYS)
        key = self._rotatable(call)
        key.s3crypt_period = call.body.get("RotationPeriodInDays", 365)
        key.s3crypt_rotates_from = time.time()

    def _rotate_on_demand(self, call: _Call) -> None:
        key = self._rotatable(call)
        done = sum(rotation["RotationType"] == "ON_DEMAND" for rotation in key.rotations)
        if done >= _ON_DEMAND_ROTATIONS:
            raise Refusal(
                400,
                "LimitExceededException",
                f"{key.arn} has reached the limit of {_ON_DEMAND_ROTATIONS} on-demand rotations.",
            )

    def _rotation_status(self, call: _Call) -> dict[str, Any]:
        key = self._key(call)
        on = bool(key.key_rotation_status) and key.key_state != "PendingDeletion"
        status: dict[str, Any] = {"KeyId": key.arn, "KeyRotationEnabled": on}
        if on:
            status["RotationPeriodInDays"] = key.s3crypt_period
            status["NextRotationDate"] = key.s3crypt_rotates_from + key.s3crypt_period * _DAY
        return status

    # A rule checks; if it returns something, that is the answer, else moto answers.
    _RULES: ClassVar[dict[str, Callable[[KMS, _Call], dict[str, Any] | None]]] = {
        **dict.fromkeys(_USES, _with_one_key),
        "GetPublicKey": _public_key,
        "CreateKey": _create,
        "PutKeyPolicy": _check_policy,
        "ReplicateKey": _replicate,
        **dict.fromkeys(_REFUSED_WHEN_DYING, _not_dying),
        "Decrypt": _decrypt,
        "ReEncrypt": _re_encrypt,
        "ScheduleKeyDeletion": _schedule_deletion,
        "EnableKeyRotation": _enable_rotation,
        "RotateKeyOnDemand": _rotate_on_demand,
        "GetKeyRotationStatus": _rotation_status,
    }


def _check_range(call: _Call, name: str, allowed: range) -> None:
    value = call.body.get(name)
    if value is not None and value not in allowed:
        raise Refusal(
            400,
            "ValidationException",
            f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy "
            f"constraint: it must be between {allowed.start} and {allowed.stop - 1}",
        )


def _check_policy_form(text: str) -> None:
    """Refuse a key policy that is too long or that is none."""
    if len(text.encode("utf-8")) > _POLICY_BYTES:
        raise Refusal(
            400, "LimitExceededException", f"A key policy has {_POLICY_BYTES} bytes at most."
        )
    try:
        fault = form_fault(json.loads(text), resources=True, principals=True)
    except ValueError:
        fault = "Policy is not valid JSON."
    if fault is not None:
        raise _malformed_policy(fault)


def _permission(statements: list[dict[str, Any]], action: str) -> str | None:
    """Return why a policy does not permit an action, or None if it does.

    The sandbox has no users: a Deny counts if it is for everyone and without any condition, and an
    Allow counts whoever it is for.
    """
    about = [statement for statement in statements if is_about(statement, action)]
    if any(denies_everybody(statement, action) for statement in about):
        return "with an explicit deny in a resource-based policy"
    if not any(statement.get("Effect") == "Allow" for statement in about):
        return f"because no resource-based policy allows the {action} action"
    return None


def check_key(key: Any, action: str) -> None:
    """Refuse unless the key may be used for `action` now; with KMS's own codes."""
    _check_permitted(key, action)
    _check_state(key)


def _check_permitted(key: Any, action: str) -> None:
    granted = {operation for grant in key.grants.values() for operation in grant.operations}
    grants = [{"Effect": "Allow", "Action": [f"kms:{operation}" for operation in granted]}]
    reason = _permission(statements_of(key.policy) + grants, action)
    if reason is not None:
        raise _not_authorized(key, action, reason)


def _check_caller(key: Any, action: str) -> None:
    """Refuse what KMS refuses of a caller that is no service of AWS."""
    if key.key_manager == "AWS" and not action.startswith(_READING):
        reason = f"because no resource-based policy allows the {action} action"
        raise _not_authorized(key, action, reason)
    _check_permitted(key, action)


def _not_authorized(key: Any, action: str, reason: str) -> Refusal:
    return Refusal(
        400,
        "AccessDeniedException",
        f"User: arn:aws:iam::{key.account_id}:user/sandbox is not authorized to perform: "
        f"{action} on resource: {key.arn} {reason}",
    )


def _check_use(call: _Call, key: Any, algorithm: str | None) -> None:
    """Refuse a key of another use, or of another algorithm than is asked for or the default."""
    if key.key_usage != _USES[call.operation]:
        raise _wrong_use(
            f"{key.arn} key usage is {key.key_usage} which is not valid for {call.operation}."
        )
    wanted = algorithm or "SYMMETRIC_DEFAULT"
    if key.key_usage == "ENCRYPT_DECRYPT" and wanted not in key.encryption_algorithms:
        raise _wrong_use(f"Algorithm {wanted} and key spec {key.key_spec} are incompatible.")


def _wrong_use(message: str) -> Refusal:
    return Refusal(400, "InvalidKeyUsageException", message)


def _malformed_policy(message: str) -> Refusal:
    return Refusal(400, "MalformedPolicyDocumentException", message)


def _check_state(key: Any) -> None:
    if key.key_state == "Disabled":
        raise Refusal(400, "DisabledException", f"{key.arn} is disabled.")
    if key.key_state != "Enabled":
        words = {"PendingDeletion": "pending deletion"}.get(key.key_state, key.key_state)
        raise Refusal(400, "KMSInvalidStateException", f"{key.arn} is {words}.")
