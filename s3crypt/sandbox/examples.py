# SPDX-License-Identifier: Apache-2.0
"""Creates the bucket and the KMS key that the examples of the documentation use.

Both are created by requests, as a user would do it. This module must not know how the requests are
answered.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import EXAMPLE_ALIAS, EXAMPLE_BUCKET, HOST, REGION
from .wire import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from .wire import Reply

_HEADERS = {
    "host": HOST,
    "authorization": f"AWS4-HMAC-SHA256 Credential=s3crypt-sandbox/20260101/{REGION}/any/aws4",
}


def make(ask: Callable[[Request], Reply]) -> None:
    """Create the bucket, and the key as `s3crypt keys create` does, with yearly rotation."""
    _succeeded(ask(Request("PUT", f"/{EXAMPLE_BUCKET}", "", _HEADERS)))

    def made(operation: str, **body: str) -> dict[str, Any]:
        headers = {**_HEADERS, "x-amz-target": f"TrentService.{operation}"}
        reply = ask(Request("POST", "/", "", headers, json.dumps(body).encode()))
        content: dict[str, Any] = json.loads(_succeeded(reply).body or b"null") or {}
        return content

    key = made("CreateKey", Description="Of the examples")["KeyMetadata"]["KeyId"]
    made("CreateAlias", AliasName=EXAMPLE_ALIAS, TargetKeyId=key)
    made("EnableKeyRotation", KeyId=key)


def _succeeded(reply: Reply) -> Reply:
    if reply.status >= 300:
        raise AssertionError(f"unreachable: an empty sandbox takes these: {reply.body!r}")
    return reply
