# SPDX-License-Identifier: Apache-2.0
"""LookupEvents: pages of a Region's management events, newest first, with a rate limit.

Operation: https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
import time
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.wire import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .store import Event, Events

_MOST = 50
_PER_SECOND = 2
_DAYS = 90
_ATTRIBUTES: dict[str, Callable[[Event, str], bool]] = {
    "AccessKeyId": lambda event, value: event.access_key == value,
    "EventId": lambda event, value: event.id == value,
    "EventName": lambda event, value: event.name == value,
    "EventSource": lambda event, value: event.source == value,
    "ReadOnly": lambda event, value: str(event.is_read_only).lower() == value.lower(),
    "ResourceName": lambda event, value: any(name == value for _, name in event.resources),
    "ResourceType": lambda event, value: any(kind == value for kind, _ in event.resources),
    "Username": lambda event, value: event.username == value,
}


class Lookup:
    """The operation LookupEvents."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._guard = threading.Lock()
        # Region -> the times of the latest requests to it.
        self._asked: dict[str, list[float]] = {}

    def __call__(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return a page of events.

        Raises:
            Refusal: The request is invalid, or exceeds the rate limit.
        """
        self._check_rate(region)
        size = _size(asked)
        fits = _filter(asked)
        before = _position(asked)
        if asked.get("EventCategory") is not None:
            _check_category(asked)
            return {"Events": []}
        found = (each for each in self._events.newest_first(region, before) if fits(each))
        page = list(itertools.islice(found, size + 1))
        answer: dict[str, Any] = {"Events": [_entry(each) for each in page[:size]]}
        if len(page) > size:
            answer["NextToken"] = _token(asked, page[size - 1].number)
        return answer

    def _check_rate(self, region: str) -> None:
        """Refuse a third request to a Region within one second. AWS has the same limit."""
        now = time.monotonic()
        with self._guard:
            last = [moment for moment in self._asked.get(region, []) if now - moment < 1]
            if len(last) >= _PER_SECOND:
                raise Refusal(400, "ThrottlingException", "Rate exceeded")
            self._asked[region] = [*last, now]


def _filter(asked: dict[str, Any]) -> Callable[[Event], bool]:
    attributes = asked.get("LookupAttributes") or []
    if len(attributes) > 1 or any(one.get("AttributeKey") not in _ATTRIBUTES for one in attributes):
        raise Refusal(
            400,
            "InvalidLookupAttributesException",
            "Specify one lookup attribute, with a valid key.",
        )
    start = max(float(asked.get("StartTime") or 0), time.time() - _DAYS * 86_400)
    # EndTime is inclusive and has no fractions of a second, so events within that second match too.
    end = float(asked.get("EndTime") or time.time()) + 1
    if asked.get("StartTime") and asked.get("EndTime") and asked["StartTime"] > asked["EndTime"]:
        raise Refusal(400, "InvalidTimeRangeException", "The start time is after the end time.")

    def fits(event: Event) -> bool:
        return int(start) <= event.moment < end and all(
            _ATTRIBUTES[one["AttributeKey"]](event, str(one.get("AttributeValue", "")))
            for one in attributes
        )

    return fits


def _size(asked: dict[str, Any]) -> int:
    size = asked.get("MaxResults", _MOST)
    if not isinstance(size, int) or not 1 <= size <= _MOST:
        raise Refusal(400, "InvalidMaxResultsException", f"MaxResults must be from 1 to {_MOST}.")
    return size


def _check_category(asked: dict[str, Any]) -> None:
    if asked["EventCategory"] != "insight":
        raise Refusal(400, "InvalidEventCategoryException", "The event category is not valid.")


def _position(asked: dict[str, Any]) -> int | None:
    token = asked.get("NextToken")
    if token is None:
        return None
    try:
        fingerprint, number = base64.b64decode(token, validate=True).decode().split(":")
    except ValueError:
        fingerprint, number = "", "0"
    if fingerprint != _fingerprint(asked):
        raise Refusal(400, "InvalidNextTokenException", "The token is not of this request.")
    return int(number)


def _token(asked: dict[str, Any], number: int) -> str:
    return base64.b64encode(f"{_fingerprint(asked)}:{number}".encode()).decode("ascii")


def _fingerprint(asked: dict[str, Any]) -> str:
    """Return a hash that is the same for all pages of one query."""
    kept = {name: asked[name] for name in asked if name not in {"MaxResults", "NextToken"}}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _entry(event: Event) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "EventId": event.id,
        "EventName": event.name,
        "ReadOnly": str(event.is_read_only).lower(),
        "EventTime": int(event.moment),
        "EventSource": event.source,
        "Resources": [
            {"ResourceType": kind, "ResourceName": name} for kind, name in event.resources
        ],
        "CloudTrailEvent": event.text,
    }
    optional = {"Username": event.username, "AccessKeyId": event.access_key}
    return entry | {name: text for name, text in optional.items() if text}
