# SPDX-License-Identifier: Apache-2.0
"""CloudTrail's rules: a trail's bucket must accept its logs, and a trail selects events.

moto stores the trails. Their logs and the replies of LookupEvents are made in `events`.
"""

from __future__ import annotations

import json
import secrets
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .events.delivery import begin, status
from .events.lookup import Lookup
from .policies import is_about, listed, principals_of, statements_of
from .wire import Refusal, Reply, Request, json_reply

if TYPE_CHECKING:
    from .backend import Moto
    from .events.store import Events

_PRINCIPAL = ("Service", "cloudtrail.amazonaws.com")
_DEFAULT_SELECTORS = (
    {
        "ReadWriteType": "All",
        "IncludeManagementEvents": True,
        "DataResources": [],
        "ExcludeManagementEventSources": [],
    },
)


class CloudTrail:
    """The CloudTrail rules, applied one request at a time."""

    def __init__(self, moto: Moto, events: Events) -> None:
        self._moto = moto
        self._events = events
        self._lookup = Lookup(events)
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        """Return the reply of a rule or of moto.

        Raise `Refusal` if CloudTrail refuses such a request.
        """
        asked: dict[str, Any] = json.loads(request.body or b"{}")
        if request.operation == "LookupEvents":
            return _reply(self._lookup(request.region, asked))
        with self._lock:
            match request.operation:
                case "CreateTrail":
                    self._check_trail(request, asked)
                case "StartLogging":
                    begin(self._trail(request, asked), self._events)
                case "GetTrailStatus":
                    return self._status(request, asked)
                case "PutEventSelectors":
                    return self._put_selectors(request, asked)
                case "GetEventSelectors":
                    return self._selectors(request, asked)
                case "DescribeTrails":
                    return self._trails(request, asked)
            return self._moto(request)

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Return CloudTrail's reply to a request that it refuses."""
        content = {"__type": refusal.code, "message": refusal.message}
        reply = json_reply(refusal.status, content)
        identity = ("x-amzn-RequestId", secrets.token_hex(16))
        return replace(reply, headers=(("Content-Type", "application/x-amz-json-1.1"), identity))

    def _check_trail(self, request: Request, asked: dict[str, Any]) -> None:
        name, bucket = str(asked.get("Name", "")), str(asked.get("S3BucketName", ""))
        if self._moto.trail(name, request.region) is not None:
            raise Refusal(400, "TrailAlreadyExistsException", f"Trail {name} already exists.")
        found = self._moto.bucket(bucket)
        if found is not None and not self._takes_logs(found, asked.get("S3KeyPrefix")):
            raise Refusal(
                400,
                "InsufficientS3BucketPolicyException",
                f"Incorrect S3 bucket policy is detected for bucket: {bucket}",
            )
        key = asked.get("KmsKeyId")
        if key and self._moto.key(key, request.region) is None:
            raise Refusal(400, "KmsKeyNotFoundException", f"KMS key {key} does not exist.")

    def _takes_logs(self, bucket: Any, prefix: str | None) -> bool:
        """Return whether a bucket's policy allows CloudTrail to read the ACL and to write logs.

        Conditions in the policy are ignored.
        """
        root = f"arn:aws:s3:::{bucket.name}"
        logs = f"{root}/{f'{prefix}/' if prefix else ''}AWSLogs/{self._moto.account}/"
        above = {f"{logs[:end]}*" for end in range(len(root) + 1, len(logs) + 1)}
        allowing = [
            statement
            for statement in statements_of((bucket.policy or b"").decode("utf-8"))
            if statement.get("Effect") == "Allow" and _PRINCIPAL in principals_of(statement)
        ]
        return any(
            is_about(one, "s3:GetBucketAcl") and root in listed(one.get("Resource", []))
            for one in allowing
        ) and any(
            is_about(one, "s3:PutObject") and not above.isdisjoint(listed(one.get("Resource", [])))
            for one in allowing
        )

    def _put_selectors(self, request: Request, asked: dict[str, Any]) -> Reply:
        """Replace the event selectors of a trail.

        A request has basic or advanced selectors, not both.
        """
        basic, advanced = asked.get("EventSelectors"), asked.get("AdvancedEventSelectors")
        if bool(basic) == bool(advanced):
            raise Refusal(
                400,
                "InvalidEventSelectorsException",
                "Specify either EventSelectors or AdvancedEventSelectors.",
            )
        trail = self._trail(request, asked)
        trail.event_selectors, trail.advanced_event_selectors = basic or [], advanced or []
        trail.s3crypt_selects = True
        return self._selectors(request, asked)

    def _selectors(self, request: Request, asked: dict[str, Any]) -> Reply:
        trail = self._trail(request, asked)
        said: dict[str, Any] = {"TrailARN": trail.arn}
        if trail.advanced_event_selectors:
            said["AdvancedEventSelectors"] = trail.advanced_event_selectors
        else:
            said["EventSelectors"] = trail.event_selectors or list(_DEFAULT_SELECTORS)
        return _reply(said)

    def _status(self, request: Request, asked: dict[str, Any]) -> Reply:
        """Return whether a trail is logging, and the result of its last delivery."""
        trail, reply = self._trail(request, asked), self._moto(request)
        return _reply(json.loads(reply.body) | status(trail))

    def _trails(self, request: Request, asked: dict[str, Any]) -> Reply:
        """Return the descriptions of the trails named in the request, or of all trails."""
        reply = self._moto(request)
        names = set(asked.get("trailNameList") or ())
        described = [
            {**each, "HasCustomEventSelectors": self._selects(each)}
            for each in json.loads(reply.body).get("trailList", [])
            if not names or {each["Name"], each["TrailARN"]} & names
        ]
        return _reply({"trailList": described})

    def _selects(self, described: dict[str, Any]) -> bool:
        trail = self._moto.trail(described["Name"], described["HomeRegion"])
        return bool(getattr(trail, "s3crypt_selects", False))

    def _trail(self, request: Request, asked: dict[str, Any]) -> Any:
        name = str(asked.get("TrailName") or asked.get("Name", ""))
        trail = self._moto.trail(name, request.region)
        if trail is None:
            raise Refusal(
                400,
                "TrailNotFoundException",
                f"Unknown trail: {name} for the user: {self._moto.account}",
            )
        return trail


def _reply(content: dict[str, Any]) -> Reply:
    reply = json_reply(200, content)
    return replace(reply, headers=(("Content-Type", "application/x-amz-json-1.1"),))
