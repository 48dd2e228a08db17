# SPDX-License-Identifier: Apache-2.0
"""The refusals that several families of S3's rules use, and the reply with an error."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.sax.saxutils import escape

from s3crypt.sandbox.wire import Refusal, Reply, Request, xml_reply

if TYPE_CHECKING:
    from collections.abc import Mapping


def invalid(message: str, code: str = "InvalidArgument") -> Refusal:
    """Return the refusal of a request with an invalid argument."""
    return Refusal(400, code, message)


def invalid_request(message: str) -> Refusal:
    """Return the refusal of a request that does not apply to its object or upload."""
    return invalid(message, "InvalidRequest")


def access_denied(message: str = "Access Denied") -> Refusal:
    """Return the refusal of a request whose sender lacks a permission."""
    return Refusal(403, "AccessDenied", message)


def no_such_key() -> Refusal:
    """Return the refusal of a request for an object that does not exist."""
    return Refusal(404, "NoSuchKey", "The specified key does not exist.")


def precondition_failed(condition: str) -> Refusal:
    """Return the refusal of a request whose condition does not hold. `condition` is its header."""
    return Refusal(
        412,
        "PreconditionFailed",
        f"At least one of the pre-conditions you specified did not hold: {condition}",
    )


def error_reply(request: Request, refusal: Refusal) -> Reply:
    """Return S3's reply to a request that it refuses."""
    request_id = secrets.token_hex(8).upper()
    region = refusal.headers.get("x-amz-bucket-region")
    parts: Mapping[str, str] = {
        "Code": refusal.code,
        "Message": refusal.message,
        **({"Region": region} if region else {}),
        "Resource": unquote(request.raw_path),
        "RequestId": request_id,
    }
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in parts.items())
    headers = (("x-amz-request-id", request_id), *refusal.headers.items())
    return xml_reply(refusal.status, f"<Error>{inner}</Error>", headers)
