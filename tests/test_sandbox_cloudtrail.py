# SPDX-License-Identifier: Apache-2.0
"""The sandbox's CloudTrail keeps trails, and its Access Analyzer validates policies."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sandbox_samples import refusal

if TYPE_CHECKING:
    import boto3

ACCOUNT = "123456789012"
TRAIL = {"Service": "cloudtrail.amazonaws.com"}


@pytest.fixture(scope="module")
def cloudtrail(session: boto3.Session) -> Any:
    """Return a boto3 client of CloudTrail."""
    return session.client("cloudtrail")


@pytest.fixture
def logs(s3: Any, blocked_bucket: str) -> str:
    """Make a bucket whose policy accepts CloudTrail's files. Return its name."""
    root = f"arn:aws:s3:::{blocked_bucket}"
    source = f"arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/acme"
    common = {
        "Effect": "Allow",
        "Principal": TRAIL,
        "Condition": {"StringEquals": {"aws:SourceArn": source}},
    }
    statements = [
        {**common, "Action": "s3:GetBucketAcl", "Resource": root},
        {**common, "Action": "s3:PutObject", "Resource": f"{root}/AWSLogs/{ACCOUNT}/*"},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    s3.put_bucket_policy(Bucket=blocked_bucket, Policy=policy)
    return blocked_bucket


@pytest.fixture
def trail(cloudtrail: Any, logs: str) -> str:
    """Make a trail, and return its name."""
    name = f"trail-{uuid.uuid4()}"
    cloudtrail.create_trail(Name=name, S3BucketName=logs, IsMultiRegionTrail=True)
    return name


def test_a_trail_is_kept(cloudtrail: Any, trail: str, logs: str, kms_key: str) -> None:
    """A trail is read back by its name, and logs only after it was started."""
    (found,) = cloudtrail.describe_trails(trailNameList=[trail])["trailList"]
    assert (found["S3BucketName"], found["IsMultiRegionTrail"]) == (logs, True)
    assert cloudtrail.get_trail_status(Name=trail)["IsLogging"] is False
    cloudtrail.start_logging(Name=trail)
    assert cloudtrail.get_trail_status(Name=trail)["IsLogging"] is True
    name = f"trail-{uuid.uuid4()}"
    made = cloudtrail.create_trail(Name=name, S3BucketName=logs, KmsKeyId=kms_key)
    assert made["KmsKeyId"] == kms_key


def test_trails_that_are_refused(
    cloudtrail: Any, trail: str, logs: str, s3: Any, bucket: str
) -> None:
    """A trail with a taken name, a missing bucket, or a bucket that denies logs is refused."""
    asked = {"Name": f"trail-{uuid.uuid4()}", "S3BucketName": logs}
    create = cloudtrail.create_trail
    assert refusal(create, **asked | {"Name": trail}) == (400, "TrailAlreadyExistsException")
    refused = refusal(create, **asked | {"S3BucketName": f"absent-{bucket}"[:63]})
    assert refused == (400, "S3BucketDoesNotExistException")
    refused = refusal(create, **asked | {"S3KeyPrefix": "other"})
    assert refused == (400, "InsufficientS3BucketPolicyException")
    s3.delete_bucket_policy(Bucket=logs)
    refused = refusal(create, **asked)
    assert refused == (400, "InsufficientS3BucketPolicyException")
    refused = refusal(cloudtrail.get_event_selectors, TrailName="absent")
    assert refused == (400, "TrailNotFoundException")


def test_an_unknown_key_is_refused(cloudtrail: Any, logs: str) -> None:
    """A trail with a KMS key that does not exist is refused."""
    asked = {"Name": "trail-key", "S3BucketName": logs, "KmsKeyId": "alias/absent"}
    assert refusal(cloudtrail.create_trail, **asked) == (400, "KmsKeyNotFoundException")


def test_selectors_replace_each_other(cloudtrail: Any, trail: str, bucket: str) -> None:
    """Advanced event selectors replace basic ones; a new trail has basic ones."""
    (default,) = cloudtrail.get_event_selectors(TrailName=trail)["EventSelectors"]
    assert (default["IncludeManagementEvents"], default["DataResources"]) == (True, [])
    fields = [
        {"Field": "eventCategory", "Equals": ["Data"]},
        {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
        {"Field": "resources.ARN", "StartsWith": [f"arn:aws:s3:::{bucket}/"]},
    ]
    advanced = [{"Name": "objects", "FieldSelectors": fields}]
    cloudtrail.put_event_selectors(TrailName=trail, AdvancedEventSelectors=advanced)
    found = cloudtrail.get_event_selectors(TrailName=trail)
    assert found["AdvancedEventSelectors"] == advanced
    assert "EventSelectors" not in found
    (described,) = cloudtrail.describe_trails(trailNameList=[trail])["trailList"]
    assert described["HasCustomEventSelectors"] is True
    resources = [{"Type": "AWS::S3::Object", "Values": [f"arn:aws:s3:::{bucket}/"]}]
    basic = [{"ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": resources}]
    cloudtrail.put_event_selectors(TrailName=trail, EventSelectors=basic)
    found = cloudtrail.get_event_selectors(TrailName=trail)
    assert found["EventSelectors"] == basic
    assert "AdvancedEventSelectors" not in found


# --- Access Analyzer ---------------------------------------------------------------------------

STATEMENT = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::acme/*"}


@pytest.mark.parametrize(
    ("kind", "text", "codes"),
    [
        ("IDENTITY_POLICY", json.dumps({"Statement": [STATEMENT]}), []),
        ("RESOURCE_POLICY", json.dumps({"Statement": [STATEMENT]}), ["INVALID_POLICY"]),
        ("RESOURCE_POLICY", json.dumps({"Statement": [{**STATEMENT, "Principal": "*"}]}), []),
        ("IDENTITY_POLICY", "{", ["JSON_SYNTAX_ERROR"]),
    ],
)
def test_a_document_is_validated(
    session: boto3.Session, kind: Any, text: str, codes: list[str]
) -> None:
    """ValidatePolicy finds the errors of an invalid document, and nothing in a valid one."""
    analyzer = session.client("accessanalyzer")
    found = analyzer.validate_policy(policyDocument=text, policyType=kind)["findings"]
    assert [each["issueCode"] for each in found] == codes
    assert {each["findingType"] for each in found} <= {"ERROR"}
