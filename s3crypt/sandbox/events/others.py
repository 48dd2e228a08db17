# SPDX-License-Identifier: Apache-2.0
"""The facts that CloudTrail records about requests to IAM, STS, CloudTrail and other services."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox import REGION
from s3crypt.sandbox.wire import xml_text

from .facts import Facts, is_reading, lower_first

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.wire import Reply, Request

_ROLE = "AWS::IAM::Role"
# IAM's parameter -> the type of the resource that it names, for LookupEvents.
_NAMED = {
    "GroupName": "AWS::IAM::Group",
    "PolicyArn": "AWS::IAM::Policy",
    "RoleName": _ROLE,
    "UserName": "AWS::IAM::User",
}
_KEPT_FROM_FORM = {"Action", "Version"}


def iam_facts(_: Moto, request: Request, __: Reply) -> Facts:
    """Return the facts to record about a request to IAM. They are all recorded in one Region."""
    asked = request.form
    return Facts(
        "iam.amazonaws.com",
        request.operation,
        is_reading(request.operation),
        region=REGION,
        parameters=_of_form(asked),
        named=tuple((kind, asked[name]) for name, kind in _NAMED.items() if name in asked),
        api_version="2010-05-08",
    )


def sts_facts(moto: Moto, request: Request, reply: Reply) -> Facts:
    """Return the facts to record about a request to STS, without the secrets of new credentials."""
    operation, asked = request.operation, request.form
    is_assuming = operation == "AssumeRole"
    arn = asked.get("RoleArn", "")
    role = {"accountId": moto.account, "type": _ROLE, "ARN": arn}
    return Facts(
        "sts.amazonaws.com",
        operation,
        is_assuming or is_reading(operation),
        region=request.region,
        parameters=_of_form(asked),
        elements=_session(reply) if is_assuming and reply.status == 200 else None,
        resources=[role] if is_assuming else [],
        named=((_ROLE, arn),) if is_assuming else (),
        api_version="2011-06-15",
    )


def json_facts(source: str, operation: str, request: Request) -> Facts:
    """Return the facts to record about a request with a JSON body."""
    try:
        asked: dict[str, Any] = json.loads(request.body or b"{}")
    except ValueError:
        asked = {}
    return Facts(
        source,
        operation,
        is_reading(operation),
        region=request.region,
        parameters={lower_first(name): value for name, value in asked.items()} or None,
        named=tuple(
            ("AWS::CloudTrail::Trail", str(asked[name]))
            for name in ("Name", "TrailName")
            if name in asked and source.startswith("cloudtrail")
        ),
    )


def _of_form(asked: dict[str, str]) -> dict[str, Any] | None:
    said = {lower_first(name): text for name, text in asked.items() if name not in _KEPT_FROM_FORM}
    return said or None


def _session(reply: Reply) -> dict[str, Any]:
    text = reply.body.decode("utf-8")
    return {
        "credentials": {
            "accessKeyId": xml_text(text, "AccessKeyId"),
            "expiration": xml_text(text, "Expiration"),
        },
        "assumedRoleUser": {
            "assumedRoleId": xml_text(text, "AssumedRoleId"),
            "arn": xml_text(text, "Arn"),
        },
    }
