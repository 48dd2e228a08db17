# SPDX-License-Identifier: Apache-2.0
"""Requests to the sandbox that it refuses, or that boto3 would not send."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = bytes(range(32))


def ssec(key: bytes = KEY, prefix: str = "") -> dict[str, Any]:
    """Return boto3's SSE-C arguments."""
    return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    """Return the status and code with which a call is refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    reply = caught.value.response
    return int(reply["ResponseMetadata"]["HTTPStatusCode"]), str(reply["Error"]["Code"])


def got(s3: Any, **arguments: Any) -> dict[str, Any]:
    """Return the reply to a GET whose body was read: unread, its connection stays open."""
    reply: dict[str, Any] = s3.get_object(**arguments)
    reply["Body"].read()
    return reply


def raw(
    sandbox: sandboxes.Running,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | Iterator[bytes] = b"",
) -> tuple[int, str, dict[str, str]]:
    """Send what boto3 would not, and return status, body and headers."""
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{sandboxes.REGION}/s3/aws4"}
    connection = http.client.HTTPConnection(urlsplit(sandbox.endpoint_url).netloc, timeout=10)
    try:
        chunked = "Transfer-Encoding" in headers
        connection.request(method, path, body, signed | headers, encode_chunked=chunked)
        reply = connection.getresponse()
        return reply.status, reply.read().decode(), dict(reply.getheaders())
    finally:
        connection.close()
