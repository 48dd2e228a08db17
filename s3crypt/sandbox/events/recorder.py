# SPDX-License-Identifier: Apache-2.0
"""Records each request with its reply, and the requests to KMS that S3 made for it.

Form: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox import tables, vectors
from s3crypt.sandbox.kms.uses import Use
from s3crypt.sandbox.wire import xml_text

from . import kms, others, s3
from .identities import Identities, Identity, of_service
from .store import Event, Events

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.key_uses import KeyUse
    from s3crypt.sandbox.kms.materials import Rotated
    from s3crypt.sandbox.wire import Reply, Request

    from .facts import Facts

# The name of S3 in records since 2026 when S3 calls KMS on behalf of a caller.
S3_FOR_A_CALLER = "fas.s3.amazonaws.com"
_INTERNAL = "AWS Internal"
_ADDRESS = "127.0.0.1"
# S3 reuses a Bucket Key for one caller's requests for a limited time, without asking KMS.
_BUCKET_KEY_SECONDS = 300
_BUCKET_KEYS = 10_000
_CODES = {403: "AccessDenied", 404: "NoSuchKey", 412: "PreconditionFailed", 304: "NotModified"}
_JSON = json.JSONEncoder(separators=(",", ":"))
_TYPE = re.compile(rb'"__type"\s*:\s*"(?:[^"#]*#)?([^"]+)"')


class Recorder:
    """Records the requests to a sandbox's services."""

    def __init__(self, moto: Moto, events: Events) -> None:
        self._moto = moto
        self._events = events
        self._identities = Identities(moto)
        self._bucket_keys: dict[tuple[str, ...], float] = {}
        self._facts: dict[str, Callable[[Request, Reply], Facts | None]] = {
            "access-analyzer": _other("access-analyzer.amazonaws.com", "ValidatePolicy"),
            "cloudtrail": _other("cloudtrail.amazonaws.com"),
            "iam": lambda request, reply: others.iam_facts(moto, request, reply),
            "kms": lambda request, reply: kms.facts(moto, request, reply),
            "s3": lambda request, reply: s3.facts(moto, request, reply),
            "s3control": lambda request, _: s3.control_facts(moto, request),
            "s3tables": lambda request, _: _rest("s3tables", tables.operation_of(request), request),
            "s3vectors": lambda request, _: _rest(
                "s3vectors", vectors.operation_of(request), request
            ),
            "sts": lambda request, reply: others.sts_facts(moto, request, reply),
        }

    def clear(self) -> None:
        """Forget all events, identities and Bucket Keys."""
        self._events.clear()
        self._identities.clear()
        self._bucket_keys.clear()

    def record(self, request: Request, reply: Reply, *, service: str | None = None) -> None:
        """Store the events of a request.

        `service` is the principal of the AWS service that sent the request. If it is None, the
        owner of the access key sent the request.
        """
        uses = self._moto.key_uses.take()
        facts = self._facts[request.service](request, reply)
        if facts is None:
            return
        identity = self._identity(request) if service is None else of_service(service)
        sender = None if service is None else {"sourceIPAddress": service, "userAgent": service}
        made = self._add(request, reply, facts, identity, sender)
        if request.operation in kms.CRYPTOGRAPHIC and reply.status == 200:
            last = Use(request.operation, made.moment, made.id, _request_id(reply))
            for key in facts.keys:
                key.s3crypt_last_use = last
        for use in uses:
            self._add_use(request, identity, use)
        while self._moto.rotated:
            self._add_rotation(request, self._moto.rotated.popleft())

    def _identity(self, request: Request) -> Identity:
        return self._identities.of(request.access_key)

    def _add(
        self,
        request: Request,
        reply: Reply,
        facts: Facts,
        identity: Identity,
        more: dict[str, Any] | None = None,
    ) -> Event:
        record = {**_common(request, facts, identity, self._moto.account), **(more or {})}
        record["requestID"] = _request_id(reply)
        if reply.status >= 300:
            record |= _error(reply)
        return self._keep(facts, identity, record)

    def _keep(self, facts: Facts, identity: Identity, record: dict[str, Any]) -> Event:
        moment = time.time()
        record["eventTime"] = _written(moment)
        text = _JSON.encode(record)
        event = Event(
            moment,
            facts.region,
            facts.is_management,
            facts.is_read_only,
            facts.name,
            facts.source,
            record["eventID"],
            identity.username,
            identity.access_key,
            facts.named,
            text,
        )
        self._events.add(event)
        return event

    def _add_rotation(self, request: Request, done: Rotated) -> None:
        facts, details = kms.rotation(done)
        account = self._moto.account
        identity = Identity({"accountId": account, "invokedBy": _INTERNAL})
        record = _common(request, facts, identity, account)
        record |= {"sourceIPAddress": _INTERNAL, "userAgent": _INTERNAL}
        record |= {"eventType": "AwsServiceEvent", "serviceEventDetails": details}
        self._keep(facts, identity, record)

    def _add_use(self, request: Request, identity: Identity, use: KeyUse) -> None:
        facts = kms.facts_of_use(use)
        if use.has_bucket_key and use.refusal is None and self._is_cached(request, identity, use):
            return
        said = {**identity.said, "invokedBy": S3_FOR_A_CALLER}
        caller = replace(identity, said=said)
        record = _common(request, facts, caller, self._moto.account)
        record |= {"sourceIPAddress": S3_FOR_A_CALLER, "userAgent": S3_FOR_A_CALLER}
        record["requestID"] = _new_id()
        if use.refusal is not None:
            code = use.refusal.code.removesuffix("Exception")
            is_denied = code == "AccessDenied"
            record["errorCode"] = code if is_denied else use.refusal.code
            record["errorMessage"] = use.refusal.message
        event = self._keep(facts, caller, record)
        if use.refusal is None:
            last = Use(use.operation, event.moment, event.id, record["requestID"])
            use.key.s3crypt_last_use = last

    def _is_cached(self, request: Request, identity: Identity, use: KeyUse) -> bool:
        """Return whether S3 still has a Bucket Key for the caller.

        If it has, S3 does not call KMS.
        """
        now = time.monotonic()
        who = str(identity.said.get("arn") or identity.said.get("invokedBy"))
        what = (who, request.bucket, use.key.arn, use.operation, use.context["aws:s3:arn"])
        until = self._bucket_keys.get(what, 0.0)
        if until > now:
            return True
        if len(self._bucket_keys) >= _BUCKET_KEYS:
            self._bucket_keys.clear()
        self._bucket_keys[what] = now + _BUCKET_KEY_SECONDS
        return False


def _common(request: Request, facts: Facts, identity: Identity, account: str) -> dict[str, Any]:
    record: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": identity.said,
        "eventTime": "",
        "eventSource": facts.source,
        "eventName": facts.name,
        "awsRegion": facts.region,
        "sourceIPAddress": _ADDRESS,
        "userAgent": f"[{request.headers.get('user-agent', '')}]"
        if facts.source.startswith("s3.")
        else request.headers.get("user-agent", ""),
        "requestParameters": facts.parameters,
        "responseElements": facts.elements,
    }
    if facts.additional:
        record["additionalEventData"] = facts.additional
    record |= {
        "eventID": _new_id(),
        "readOnly": facts.is_read_only,
    }
    if facts.resources:
        record["resources"] = facts.resources
    if facts.api_version:
        record["apiVersion"] = facts.api_version
    return record | {
        "eventType": "AwsApiCall",
        "managementEvent": facts.is_management,
        "recipientAccountId": account,
        "eventCategory": "Management" if facts.is_management else "Data",
    }


def _request_id(reply: Reply) -> str:
    for name in ("x-amz-request-id", "x-amzn-requestid"):
        found = reply.header(name)
        if found:
            return found
    return _new_id()


def _error(reply: Reply) -> dict[str, str]:
    """Return the error code and message of a failed request, from JSON or XML."""
    of_json = _TYPE.search(reply.body)
    if of_json is not None:
        code = of_json[1].decode("utf-8")
        message = str(json.loads(reply.body).get("message", ""))
        # Record `AccessDenied`, as most of CloudTrail's records do, although KMS replies with
        # `AccessDeniedException`.
        short = "AccessDenied" if code == "AccessDeniedException" else code
        return {"errorCode": short, "errorMessage": message}
    text = reply.body.decode("utf-8", "replace")
    code = xml_text(text, "Code") or _CODES.get(reply.status, "InternalError")
    return {"errorCode": code, "errorMessage": xml_text(text, "Message") or code}


def _new_id() -> str:
    # uuid.uuid4 is not used, because it takes five times as long.
    text = secrets.token_hex(16)
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


def _written(moment: float) -> str:
    return _of_second(int(moment))


@lru_cache(maxsize=8)
def _of_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _rest(name: str, operation: str, request: Request) -> Facts | None:
    """Return the facts about a request to a REST service, or None if the operation is unknown."""
    return others.json_facts(f"{name}.amazonaws.com", operation, request) if operation else None


def _other(source: str, operation: str | None = None) -> Callable[[Request, Reply], Facts]:
    return lambda request, _: others.json_facts(source, operation or request.operation, request)
