# SPDX-License-Identifier: Apache-2.0
"""Checks presigned URLs: the expiry time, the signed headers and the signature.

The sandbox accepts any credentials, but it knows only the secret of its own access key. For other
access keys, it checks the time and the headers, but not the signature.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from s3crypt.sandbox import ACCESS_KEY
from s3crypt.sandbox.wire import Refusal

from .refusals import access_denied

if TYPE_CHECKING:
    from s3crypt.sandbox.wire import Request

_MAX_SECONDS = 604_800
_TIME = "%Y%m%dT%H%M%SZ"


def check_presigned(request: Request) -> None:
    """Refuse a presigned request that has expired, has an unsigned header or a wrong signature."""
    query = request.query
    if "X-Amz-Signature" not in query:
        return
    try:
        began = datetime.strptime(query["X-Amz-Date"], _TIME).replace(tzinfo=UTC)
        seconds = int(query["X-Amz-Expires"])
        signed = query["X-Amz-SignedHeaders"].split(";")
        access_key, *scope = query["X-Amz-Credential"].split("/")
    except (KeyError, ValueError):
        raise _malformed("Query-string authentication requires its six parameters.") from None
    if not 0 <= seconds <= _MAX_SECONDS:
        raise _malformed("X-Amz-Expires must be less than a week (in seconds); 604800 at most.")
    if datetime.now(UTC) > began + timedelta(seconds=seconds):
        raise access_denied("Request has expired")
    if any(name.startswith("x-amz-") and name not in signed for name in request.headers):
        raise access_denied("There were headers present in the request which were not signed")
    if access_key == ACCESS_KEY and not hmac.compare_digest(
        _signature(request, signed, scope), query["X-Amz-Signature"]
    ):
        raise Refusal(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        )


def _malformed(message: str) -> Refusal:
    return Refusal(400, "AuthorizationQueryParametersError", message)


def _signature(request: Request, signed: list[str], scope: list[str]) -> str:
    parts = request.raw_query.split("&")
    headers = [f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in signed]
    canonical = (
        request.method,
        request.raw_path,
        "&".join(sorted(part for part in parts if not part.startswith("X-Amz-Signature="))),
        *headers,
        "",
        ";".join(signed),
        "UNSIGNED-PAYLOAD",
    )
    hashed = sha256("\n".join(canonical).encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", request.query["X-Amz-Date"], "/".join(scope), hashed))
    key = f"AWS4{ACCESS_KEY}".encode()  # the sandbox's secret is the same text
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
