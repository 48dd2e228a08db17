# SPDX-License-Identifier: Apache-2.0
"""CloudTrail records in the documented form, with invented names, and trail files of them."""

from __future__ import annotations

import gzip
import json
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ACCOUNT, OTHER = "123456789012", "210987654321"
BUCKET, NAME = "acme-data", "2026/q3 é.parquet"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NEW_KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/0987dcba-09fe-87dc-65ba-ab0987654321"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/teams/reader"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/reader/alice"
USER = f"arn:aws:iam::{ACCOUNT}:user/bob"

Record = dict[str, Any]

ALICE: Record = {
    "type": "AssumedRole",
    "principalId": "AROAEXAMPLE:alice",
    "arn": SESSION,
    "accountId": ACCOUNT,
    "accessKeyId": "ASIAEXAMPLE",
    "sessionContext": {
        "sessionIssuer": {
            "type": "Role",
            "principalId": "AROAEXAMPLE",
            "arn": ROLE,
            "accountId": ACCOUNT,
            "userName": "reader",
        },
        "attributes": {"creationDate": "2026-11-01T08:00:00Z", "mfaAuthenticated": "false"},
    },
}
BOB: Record = {
    "type": "IAMUser",
    "principalId": "AIDAEXAMPLE",
    "arn": USER,
    "accountId": ACCOUNT,
    "accessKeyId": "AKIAEXAMPLE",
    "userName": "bob",
}
FEDERATED: Record = {
    "type": "FederatedUser",
    "principalId": f"{ACCOUNT}:carol",
    "arn": f"arn:aws:sts::{ACCOUNT}:federated-user/carol",
    "accountId": ACCOUNT,
    "accessKeyId": "ASIAEXAMPLE2",
    "sessionContext": {
        "sessionIssuer": {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLE",
            "arn": USER,
            "accountId": ACCOUNT,
            "userName": "bob",
        }
    },
}
SERVICE: Record = {"type": "AWSService", "invokedBy": "cloudtrail.amazonaws.com"}
ROOT: Record = {"type": "Root", "principalId": ACCOUNT, "arn": f"arn:aws:iam::{ACCOUNT}:root",
                "accountId": ACCOUNT}  # fmt: skip
# A caller of another account, as the records of the bucket's or key's owner show it.
FOREIGN: Record = {"type": "AWSAccount", "principalId": "AROAFOREIGN:dave", "accountId": OTHER}
DAVE = f"arn:aws:sts::{OTHER}:assumed-role/partner/dave"
# The same caller, as the records of the caller's own account show it.
AT_HOME: Record = {
    "type": "AssumedRole",
    "principalId": "AROAFOREIGN:dave",
    "arn": DAVE,
    "accountId": OTHER,
    "sessionContext": {"sessionIssuer": {"arn": f"arn:aws:iam::{OTHER}:role/partner"}},
}
PEOPLE: Record = {
    "type": "IdentityCenterUser",
    "accountId": ACCOUNT,
    "onBehalfOf": {"userId": "94482488-3041-7026", "identityStoreArn": "arn:aws:identitystore::1"},
}


def call(source: str, name: str, who: Record, time: str = "10:00:00", **more: Any) -> Record:
    """Return the record of one call on 2026-11-01 at this time of day."""
    return {
        "eventVersion": "1.11",
        "userIdentity": who,
        "eventTime": f"2026-11-01T{time}Z",
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "awsRegion": "us-east-1",
        "sourceIPAddress": "198.51.100.7",
        "userAgent": "[Boto3/1.44]",
        "requestParameters": None,
        "responseElements": None,
        "requestID": str(uuid.uuid4()),
        "eventID": str(uuid.uuid4()),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": source != "s3",
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Data" if source == "s3" else "Management",
        "fieldOfLaterYears": {"nested": [1.5, None]},
        **more,
    }


def s3(name: str = "GetObject", who: Record = ALICE, time: str = "10:00:00", **more: Any) -> Record:
    """Return S3's record of a request about an object."""
    bucket, key = more.pop("bucket", BUCKET), more.pop("key", NAME)
    asked = {
        "bucketName": bucket,
        "key": key,
        "Host": f"{bucket}.s3.us-east-1.amazonaws.com",
        **more.pop("asked", {}),
    }
    resources = [
        {"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::{bucket}/{key}"},
        {"accountId": ACCOUNT, "type": "AWS::S3::Bucket", "ARN": f"arn:aws:s3:::{bucket}"},
    ]
    told = {"requestParameters": asked, "resources": resources, **more}
    return call("s3", name, who, time, **told)


def kms(
    name: str = "Decrypt",
    who: Record = ALICE,
    time: str = "10:00:00",
    *,
    context: dict[str, str] | None = None,
    keys: Sequence[str] = (KEY,),
    **more: Any,
) -> Record:
    """Return KMS's record of a call that uses a key."""
    asked: Record = {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    if context is not None:
        asked["encryptionContext"] = context
    resources = [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": key} for key in keys]
    return call(
        "kms", name, who, time, **{"requestParameters": asked, "resources": resources, **more}
    )


def by_s3(who: Record, arn: str, name: str = "Decrypt", time: str = "10:00:00") -> Record:
    """Return KMS's record of a call that S3 made for a caller."""
    service = "fas.s3.amazonaws.com"
    return kms(
        name,
        {**who, "invokedBy": service},
        time,
        context={"aws:s3:arn": arn},
        sourceIPAddress=service,
        userAgent=service,
    )


def ours(
    who: Record = ALICE, name: str = "Decrypt", time: str = "10:00:00", **pairs: str
) -> Record:
    """Return KMS's record of a call for a client-side object's data key.

    If `bucket` is given, the object is bound to it.
    """
    context = {"s3crypt:key": pairs.get("key", NAME)}
    if "bucket" in pairs:
        context["s3crypt:bucket"] = pairs["bucket"]
    return kms(name, who, time, context=context)


AGGREGATED: Record = {
    "eventVersion": "1.0",
    "accountId": ACCOUNT,
    "eventId": str(uuid.uuid4()),
    "eventCategory": "Aggregated",
    "eventType": "AwsAggregatedEvent",
    "awsRegion": "us-east-1",
    "eventSource": "s3.amazonaws.com",
    "timeWindow": {"windowStart": "2026-11-01T10:00:00Z", "windowEnd": "2026-11-01T10:05:00Z",
                   "windowSize": "PT5M"},
    "summary": {"primaryDimension": {"dimension": "eventName", "aggregationType": "Count",
                                     "statistics": [{"name": "GetObject", "value": 812}]}},
}  # fmt: skip
INSIGHT: Record = {
    "eventVersion": "1.09",
    "eventTime": "2026-11-01T10:00:00Z",
    "awsRegion": "us-east-1",
    "eventID": str(uuid.uuid4()),
    "eventType": "AwsCloudTrailInsight",
    "eventCategory": "Insight",
    "recipientAccountId": ACCOUNT,
    "sharedEventID": str(uuid.uuid4()),
    "insightDetails": {"state": "Start", "eventSource": "kms.amazonaws.com",
                       "eventName": "Decrypt", "insightType": "ApiCallRateInsight"},
}  # fmt: skip


def event_name(
    time: str = "20261101T1005", region: str = "us-east-1", account: str = ACCOUNT
) -> str:
    """Return the name of a trail file, in CloudTrail's form."""
    return f"{account}_CloudTrail_{region}_{time}Z_{uuid.uuid4().hex[:16]}.json.gz"


def packed(records: Sequence[Any]) -> bytes:
    """Return the content of a trail file with these records."""
    return gzip.compress(json.dumps({"Records": records}).encode(), 1)


def deliver(folder: Path, records: Sequence[Any], time: str = "20261101T1005") -> Path:
    """Write a trail file into a folder, and return its path."""
    path = folder / event_name(time)
    path.write_bytes(packed(records))
    return path
