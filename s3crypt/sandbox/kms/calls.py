# SPDX-License-Identifier: Apache-2.0
"""A parsed request to KMS, and the helpers that most operations use.

The helpers find the key of a request, check a number, and make a page of a listing. This module
must not know single operations.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.wire import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from s3crypt.sandbox.backend import Moto

# Action -> the request's parameter that contains the encryption context.
_CONTEXTS = {
    "kms:Decrypt": "EncryptionContext",
    "kms:Encrypt": "EncryptionContext",
    "kms:GenerateDataKey": "EncryptionContext",
    "kms:GenerateDataKeyPair": "EncryptionContext",
    "kms:GenerateDataKeyPairWithoutPlaintext": "EncryptionContext",
    "kms:GenerateDataKeyWithoutPlaintext": "EncryptionContext",
    "kms:ReEncryptFrom": "SourceEncryptionContext",
    "kms:ReEncryptTo": "DestinationEncryptionContext",
}
_PAGE = range(1, 1001)


@dataclass(frozen=True, slots=True)
class Call:
    """A request to KMS. `body` is the parsed JSON, `caller` has the ARNs of the sender."""

    operation: str
    region: str
    caller: frozenset[str]
    body: dict[str, Any] = field(repr=False)

    def context(self, action: str) -> dict[str, str] | None:
        """Return the encryption context of an action, or None if the action has no context."""
        name = _CONTEXTS.get(action)
        return None if name is None else dict(self.body.get(name) or {})

    def blob(self, name: str) -> bytes:
        """Return the decoded bytes of a base64 parameter, or no bytes if it is not valid base64."""
        try:
            return base64.b64decode(self.body.get(name) or "", validate=True)
        except (binascii.Error, ValueError):
            return b""


def key_of(moto: Moto, call: Call, name: str = "KeyId") -> Any:
    """Return moto's key that a parameter names. Refuse the request if there is no such key."""
    reference = str(call.body.get(name, ""))
    key = moto.key(reference, call.region)
    if key is None:
        raise Refusal(400, "NotFoundException", f"Key '{reference}' does not exist")
    return key


def check_range(call: Call, name: str, allowed: range) -> None:
    """Refuse a request whose parameter is outside a range. A missing parameter is accepted."""
    value = call.body.get(name)
    if value is not None and value not in allowed:
        raise invalid(
            f"Value '{value}' at '{name}' failed to satisfy constraint: it must be between "
            f"{allowed.start} and {allowed.stop - 1}"
        )


def page(call: Call, found: Sequence[Any], member: str, *, size: int = 100) -> dict[str, Any]:
    """Return the reply with the requested page of a listing.

    `found` is the whole listing, `member` is the name of the list in the reply, and `size` is the
    page length if the request has no Limit.
    """
    check_range(call, "Limit", _PAGE)
    marker = str(call.body.get("Marker") or "0")
    if not marker.isdigit() or int(marker) > len(found):
        raise Refusal(400, "InvalidMarkerException", f"Invalid marker: {marker}")
    start = int(marker)
    end = start + int(call.body.get("Limit") or size)
    answer: dict[str, Any] = {member: list(found[start:end]), "Truncated": end < len(found)}
    if end < len(found):
        answer["NextMarker"] = str(end)
    return answer


def invalid(message: str) -> Refusal:
    """Return the refusal of a request with a parameter that KMS's API model does not allow."""
    return Refusal(400, "ValidationException", f"1 validation error detected: {message}")


def unsupported(message: str) -> Refusal:
    """Return the refusal of an operation that a key does not support."""
    return Refusal(400, "UnsupportedOperationException", message)
