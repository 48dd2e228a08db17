# SPDX-License-Identifier: Apache-2.0
"""A KMS whose first reply to an operation is lost after the operation took effect."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import pytest
from relay import Answer, Asked, Relay, relaying

from s3crypt.kms import KeyManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from s3crypt.sandbox import Running


@contextmanager
def losing(sandbox: Running, operation: str) -> Iterator[tuple[KeyManager, Relay]]:
    """Yield a key manager whose first reply to `operation` is lost after KMS has executed it."""
    lost: list[str] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if is_about(asked, operation) and not lost:
            lost.append(operation)
            body = json.dumps({"__type": "KMSInternalException", "message": "staged"}).encode()
            return Answer(500, {"content-type": "application/x-amz-json-1.1"}, body)
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_KMS", relay.url)
        yield KeyManager(session=boto3.Session()), relay


def is_about(asked: Asked, operation: str) -> bool:
    """Return whether a request is for this KMS operation."""
    return asked.headers.get("x-amz-target", "").endswith(f".{operation}")


def count(relay: Relay, operation: str) -> int:
    """Return the number of requests for an operation that a relay has received."""
    return sum(is_about(asked, operation) for asked in relay.asked)
