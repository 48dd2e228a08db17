# SPDX-License-Identifier: Apache-2.0
"""SSE-C: reads the customer key in a request. S3 stores only the MD5 of this key.

This module must not know objects: `encryption` compares the key of a request with that of an
object.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

from .refusals import invalid

if TYPE_CHECKING:
    from s3crypt.sandbox.wire import Request

SSE_C = "x-amz-server-side-encryption-customer-"
SOURCE_SSE_C = "x-amz-copy-source-server-side-encryption-customer-"
_PARTS = {
    "algorithm": "a valid encryption algorithm",
    "key": "an appropriate secret key",
    "key-md5": "the client calculated MD5 of the secret key",
}


def customer_md5(request: Request, prefix: str = SSE_C) -> str | None:
    """Return the MD5 of a request's SSE-C key, or None if the request has no SSE-C key.

    Raises:
        Refusal: The three SSE-C headers are incomplete or inconsistent.
    """
    given = {name: request.headers.get(prefix + name) for name in _PARTS}
    if not any(given.values()):
        return None
    for name, missing in _PARTS.items():
        if given[name] is None:
            raise invalid(
                "Requests specifying Server Side Encryption with Customer provided keys must "
                f"provide {missing}."
            )
    if given["algorithm"] != "AES256":
        raise invalid(
            "The Encryption request you specified is not valid. Supported value: AES256.",
            "InvalidEncryptionAlgorithmError",
        )
    return _fitting_md5(str(given["key"]), str(given["key-md5"]))


def _fitting_md5(key_text: str, md5_text: str) -> str:
    try:
        key = base64.b64decode(key_text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise invalid("The secret key was invalid for the specified algorithm.")
    digest = hashlib.md5(key, usedforsecurity=False).digest()
    if base64.b64encode(digest).decode("ascii") != md5_text:
        raise invalid(
            "The calculated MD5 hash of the key did not match the hash that was provided."
        )
    return md5_text
