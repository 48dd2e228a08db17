# SPDX-License-Identifier: Apache-2.0
"""Requests that boto3 would not send, refusals by the sandbox, and checks of its replies."""

from __future__ import annotations

import http.client
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from botocore.model import OperationModel, Shape

KEY = bytes(range(32))


@contextmanager
def own_sandbox() -> Iterator[sandboxes.Running]:
    """Run a sandbox that no other test module uses, and lead this process's clients to it."""
    before = dict(os.environ)
    with sandboxes.running() as running:
        os.environ.update(sandboxes.environment(running))
        try:
            yield running
        finally:
            os.environ.clear()
            os.environ.update(before)


def ssec(key: bytes = KEY, prefix: str = "") -> dict[str, Any]:
    """Return the SSE-C arguments of a boto3 call. `prefix` is for the source of a copy."""
    return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    """Return the status and code of a refused call."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    reply = caught.value.response
    return int(reply["ResponseMetadata"]["HTTPStatusCode"]), str(reply["Error"]["Code"])


def got(s3: Any, **arguments: Any) -> dict[str, Any]:
    """Return the reply to a GET after reading its body: an unread body keeps a connection open."""
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
    """Send a request that boto3 would not send, and return status, body and headers."""
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{sandboxes.REGION}/s3/aws4"}
    connection = http.client.HTTPConnection(urlsplit(sandbox.endpoint_url).netloc, timeout=10)
    try:
        chunked = "Transfer-Encoding" in headers
        connection.request(method, path, body, signed | headers, encode_chunked=chunked)
        reply = connection.getresponse()
        return reply.status, reply.read().decode(), dict(reply.getheaders())
    finally:
        connection.close()


def checked(client: Any) -> Any:
    """Return the client. From now on its JSON replies are compared with botocore's model.

    botocore itself ignores members that are not in the model, and values outside an enum.
    """
    name = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-parse.{name}", _check_reply)
    return client


def _check_reply(operation_model: OperationModel, response_dict: dict[str, Any], **_: Any) -> None:
    if response_dict["status_code"] >= 300 or operation_model.output_shape is None:
        return
    found = json.loads(response_dict["body"] or b"{}")
    faults = list(_faults(operation_model.output_shape, found, operation_model.name))
    assert not faults, faults


def _faults(shape: Any, value: Any, where: str) -> Iterator[str]:
    """Yield each difference between a value of parsed JSON and its shape in botocore's model."""
    types: Any = _TYPES.get(shape.type_name, str)
    if not isinstance(value, types) or (
        isinstance(value, bool) is not (shape.type_name == "boolean")
    ):
        yield f"{where}: {value!r} is no {shape.type_name}"
    elif shape.type_name == "structure":
        members = {_wire_name(name, one): one for name, one in shape.members.items()}
        required = {_wire_name(name, shape.members[name]) for name in shape.required_members}
        yield from (f"{where}.{name}: unknown" for name in value.keys() - members.keys())
        yield from (f"{where}.{name}: missing" for name in required - value.keys())
        for name in members.keys() & value.keys():
            yield from _faults(members[name], value[name], f"{where}.{name}")
    elif shape.type_name == "list":
        for number, each in enumerate(value):
            yield from _faults(shape.member, each, f"{where}[{number}]")
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        yield f"{where}: {value!r} is not in the enum"


_TYPES: dict[str, type | tuple[type, ...]] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, str),
}


def _wire_name(name: str, shape: Shape) -> str:
    return str(shape.serialization.get("name", name))
