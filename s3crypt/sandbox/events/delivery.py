# SPDX-License-Identifier: Apache-2.0
"""Writes the log files of trails when a test asks for it.

Names: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-find-log-files.html
"""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import string
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from s3crypt.sandbox import HOST, REGION
from s3crypt.sandbox.wire import Request

from .selectors import selects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.wire import Reply

    from .store import Event, Events

PRINCIPAL = "cloudtrail.amazonaws.com"
# CloudTrail starts a new file about every five minutes, and when a file would become too long.
_SLOT_SECONDS = 300
_RECORDS = 5_000
_LETTERS = string.ascii_letters + string.digits


def begin(trail: Any, events: Events) -> None:
    """Make a trail log events from now on. Do nothing if the trail already logs."""
    if not trail.status.is_logging:
        trail.s3crypt_position = events.count


def deliver(moto: Moto, events: Events, put: Callable[[Request], Reply]) -> list[str]:
    """Write the events that each active trail selected since the last call; return the files' URIs.

    `put` performs CloudTrail's requests to S3. If S3 refuses a file, the file is lost, as in AWS
    after the retries have failed. The trail's status then contains the error.
    """
    until = events.count
    written: list[str] = []
    for trail in moto.trails():
        if not trail.status.is_logging:
            continue
        since = getattr(trail, "s3crypt_position", 0)
        trail.s3crypt_position = until
        taken = [event for event in events.after(since, until) if _takes(trail, event)]
        for region, batch in _batches(taken):
            name = _name(moto.account, region, trail.s3_key_prefix)
            reply = put(_request(moto, trail, name, batch))
            trail.s3crypt_delivery = _outcome(reply)
            if reply.status == 200:
                written.append(f"s3://{trail.bucket_name}/{name}")
    return written


def status(trail: Any) -> dict[str, Any]:
    """Return the fields of GetTrailStatus about the delivery of a trail's log files."""
    return dict(getattr(trail, "s3crypt_delivery", {}))


def _takes(trail: Any, event: Event) -> bool:
    if not trail.is_multi_region and event.region != trail.region_name:
        return False
    return selects(trail, json.loads(event.text))


def _batches(events: list[Event]) -> Iterator[tuple[str, list[Event]]]:
    for region in sorted({event.region for event in events}):
        found = [event for event in events if event.region == region]
        for start in range(0, len(found), _RECORDS):
            yield region, found[start : start + _RECORDS]


def _name(account: str, region: str, prefix: str | None) -> str:
    now = time.gmtime(time.time() // _SLOT_SECONDS * _SLOT_SECONDS)
    unique = "".join(secrets.choice(_LETTERS) for _ in range(16))
    day = time.strftime("%Y/%m/%d", now)
    file = f"{account}_CloudTrail_{region}_{time.strftime('%Y%m%dT%H%MZ', now)}_{unique}.json.gz"
    return f"{f'{prefix}/' if prefix else ''}AWSLogs/{account}/CloudTrail/{region}/{day}/{file}"


def _request(moto: Moto, trail: Any, name: str, batch: list[Event]) -> Request:
    records = ",".join(event.text for event in batch)
    body = gzip.compress(f'{{"Records":[{records}]}}'.encode(), mtime=0)
    bucket = moto.bucket(trail.bucket_name)
    region = REGION if bucket is None else bucket.region_name
    headers = {
        "host": HOST,
        "authorization": f"AWS4-HMAC-SHA256 Credential={PRINCIPAL}/20260101/{region}/s3/aws4",
        "content-type": "application/json",
        "content-encoding": "gzip",
        "x-amz-acl": "bucket-owner-full-control",
    }
    if trail.kms_key_id:
        headers["x-amz-server-side-encryption"] = "aws:kms"
        headers["x-amz-server-side-encryption-aws-kms-key-id"] = trail.kms_key_id
        context = json.dumps({"aws:cloudtrail:arn": trail.arn}).encode()
        encoded = base64.b64encode(context).decode("ascii")
        headers["x-amz-server-side-encryption-context"] = encoded
    return Request("PUT", f"/{trail.bucket_name}/{quote(name)}", "", headers, body)


def _outcome(reply: Reply) -> dict[str, Any]:
    if reply.status == 200:
        return {"LatestDeliveryTime": time.time()}
    code = "NoSuchBucket" if b"NoSuchBucket" in reply.body else "AccessDenied"
    return {"LatestDeliveryError": code}
