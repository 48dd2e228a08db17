# SPDX-License-Identifier: Apache-2.0
"""Fetches the management events of the last 90 days from CloudTrail's LookupEvents.

These events include the KMS events, but not the S3 requests about objects, which are data events.
CloudTrail allows two requests per second, account and Region. Each returns 50 events.
https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
"""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from s3crypt.local.workers import pause
from s3crypt.requests import call

if TYPE_CHECKING:
    from types_boto3_cloudtrail.client import CloudTrailClient

    from .questions import Question

KEPT = timedelta(days=90)
"""The time for which CloudTrail keeps the events that LookupEvents returns."""

_SECONDS_BETWEEN = 0.5
_MOST = 50
_NAME_OF_SESSION = re.compile(r"arn:[a-z-]+:sts::[0-9]{12}:assumed-role/[^/]+/(.+)")
_NAME_OF_USER = re.compile(r"arn:[a-z-]+:iam::[0-9]{12}:user/(?:.*/)?([^/]+)")


class UnfinishedError(Exception):
    """A page of events names itself as the next page, so the next page cannot be fetched."""


def looked_up(client: "CloudTrailClient", question: "Question") -> Iterator[Any]:
    """Yield events, newest first, within CloudTrail's limit of requests per second.

    Raises:
        StorageError: CloudTrail refused the request, or could not be reached.
        UnfinishedError: A page names itself as the next page, so the rest cannot be fetched.
    """
    request: dict[str, Any] = {"LookupAttributes": [_attribute(question)], "MaxResults": _MOST}
    if question.since:
        request["StartTime"] = max(question.since, datetime.now(UTC) - KEPT)
    if question.until and question.until < datetime.now(UTC):
        request["EndTime"] = question.until
    token: str | None = None
    asked = -_SECONDS_BETWEEN
    while True:
        pause(max(0.0, asked + _SECONDS_BETWEEN - time.monotonic()))
        asked = time.monotonic()
        more = {"NextToken": token} if token else {}
        page = call(client, "lookup_events", {**request, **more}, "the events of CloudTrail")
        yield from page["Events"]
        before, token = token, page.get("NextToken")
        if not token:
            return
        if token == before:
            raise UnfinishedError


def _attribute(question: "Question") -> dict[str, str]:
    """Return the lookup attribute that matches the fewest events and all wanted events.

    A request can have only one lookup attribute.
    """
    if question.key:
        return {"AttributeKey": "ResourceName", "AttributeValue": question.key}
    for pattern in (_NAME_OF_SESSION, _NAME_OF_USER):
        match = pattern.fullmatch(question.principal or "")
        if match:
            return {"AttributeKey": "Username", "AttributeValue": match[1]}
    return {"AttributeKey": "EventSource", "AttributeValue": "kms.amazonaws.com"}
