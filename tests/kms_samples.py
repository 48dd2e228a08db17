# SPDX-License-Identifier: Apache-2.0
"""Keys of each kind that KMS treats differently, and key managers behind relays. No tests."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from click.testing import CliRunner, Result
from relay import Answer, Asked, Relay, relaying
from s3crypt_cli.keys import keys

from s3crypt.aws import Clients
from s3crypt.kms import KeyManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from s3crypt.sandbox import Running

TARGET = "x-amz-target"


def command(*arguments: str) -> Result:
    """Run `s3crypt keys` with `arguments`."""
    return CliRunner().invoke(keys, arguments, catch_exceptions=True)


def new_alias() -> str:
    """Return an alias that is not in use."""
    return f"alias/test-{uuid.uuid4()}"


def key_of_kind(kms: Any, kind: str) -> str:
    """Return the ARN of a new key of a kind, such as `asymmetric` or `pending import`."""
    more: dict[str, Any] = {
        "asymmetric": {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
        "HMAC": {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
        "pending import": {"Origin": "EXTERNAL"},
    }.get(kind, {})
    if kind == "managed by AWS":
        return str(kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"])
    arn = str(kms.create_key(**more)["KeyMetadata"]["Arn"])
    if kind == "unknown":
        return arn[:-12] + "000000000000"
    if kind == "of another account":
        return arn.replace("123456789012", "999999999999")
    if kind == "of another Region":
        return arn.replace("us-east-1", "eu-west-1")
    if kind == "disabled":
        kms.disable_key(KeyId=arn)
    if kind == "pending deletion":
        kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    return arn


@contextmanager
def losing(sandbox: Running, operation: str) -> Iterator[tuple[KeyManager, list[str]]]:
    """Yield a key manager whose first reply to an operation is lost.

    Also yield the list of the operations that it requests.
    """
    lost: list[Asked] = []
    asked: list[str] = []

    def spoil(request: Asked, forward: Callable[[], Answer]) -> Answer:
        name = request.headers.get(TARGET, "").partition(".")[2]
        asked.append(name)
        answer = forward()
        if name == operation and not lost:
            lost.append(request)
            raise ConnectionError
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        yield KeyManager(client=_ours(relay)), asked
    assert lost


@contextmanager
def refusing(sandbox: Running, *operations: str) -> Iterator[KeyManager]:
    """Yield a key manager to which KMS refuses some operations."""

    def spoil(request: Asked, forward: Callable[[], Answer]) -> Answer:
        if request.headers.get(TARGET, "").partition(".")[2] not in operations:
            return forward()
        body = b'{"__type": "AccessDeniedException", "message": "not authorized"}'
        return Answer(400, {"content-type": "application/x-amz-json-1.1"}, body)

    with relaying(sandbox.endpoint_url, spoil) as relay:
        yield KeyManager(client=_ours(relay))


def unreachable() -> KeyManager:
    """Return a key manager whose requests fail.

    If the manager refuses a call before its request, the error is a ConfigError. If it makes a
    request, the error is another one.
    """
    client = boto3.client("kms", endpoint_url="http://127.0.0.1:9", config=Config(retries=_ONCE))
    return KeyManager(client=client)


_ONCE: Any = {"total_max_attempts": 1}


def _ours(relay: Relay) -> Any:
    """Return a client that the library makes, with the library's retries, for a relay."""
    clients: Clients[Any] = Clients("kms", endpoint_url=relay.url)
    return clients.get()
