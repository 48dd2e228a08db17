# SPDX-License-Identifier: Apache-2.0
"""Reading the facts that policies need from AWS, and the findings of Access Analyzer."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from hardening_samples import DENIED, watched, with_replication
from relay import Answer, Asked, relaying

from s3crypt.errors import ConfigError, StorageError
from s3crypt.policy import Document, Kind, Statement, bucket_policy
from s3crypt.policy_reading import AnalyzerFinding, PolicyReader

if TYPE_CHECKING:
    from collections.abc import Callable

    import boto3
    from types_boto3_kms.client import KMSClient

    from s3crypt.sandbox import Running

GONE = b"<Error><Code>NoSuchBucket</Code><Message>gone</Message></Error>"
_DOCUMENT = Document((Statement("Deny", actions=("s3:*",), resources=("*",)),))


@pytest.fixture
def reader(session: boto3.Session) -> PolicyReader:
    """Return a policy reader that uses the sandbox."""
    return PolicyReader(session=session)


def _encrypt(session: boto3.Session, bucket: str, **default: Any) -> None:
    s3: Any = session.client("s3")
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": default}]
        },
    )


def test_the_key_is_that_of_the_bucket_s_encryption(
    reader: PolicyReader, session: boto3.Session, bucket: str, kms: KMSClient
) -> None:
    """The scope has the mode and key of the bucket's encryption, and the key's account."""
    key = kms.create_key()["KeyMetadata"]
    _encrypt(session, bucket, SSEAlgorithm="aws:kms:dsse", KMSMasterKeyID=key["KeyId"])
    scope = reader.scope(bucket)
    assert (scope.mode, scope.key_arns) == ("dsse-kms", (key["Arn"],))
    assert (scope.account, scope.region) == (key["Arn"].split(":")[4], key["Arn"].split(":")[3])


def test_a_named_key_counts_instead(reader: PolicyReader, bucket: str, kms: KMSClient) -> None:
    """A given key, also by its alias, is used without any request about the bucket."""
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName=f"alias/{bucket}", TargetKeyId=arn)
    assert reader.scope("not-there", key_arns=(f"alias/{bucket}",)).key_arns == (arn,)


def test_without_a_kms_key_the_mode_is_sse_s3(reader: PolicyReader, bucket: str) -> None:
    """Without a KMS key the scope's mode is sse-s3, and its Region is the bucket's."""
    scope = reader.scope(bucket, account="123456789012")
    assert (scope.mode, scope.key_arns, scope.region) == ("sse-s3", (), "us-east-1")


def _replicate(session: boto3.Session, bucket: str) -> str:
    """Configure replication of a bucket. Return the ARN of the role that S3 uses for it."""
    with_replication(session.client("s3"), bucket)
    return "arn:aws:iam::123456789012:role/theirs"


def test_the_role_of_replication_is_that_of_the_bucket(
    reader: PolicyReader, session: boto3.Session, bucket: str
) -> None:
    """The scope has the role of the bucket's replication, unless the caller gives a role."""
    assert reader.scope(bucket).replication_roles == ()
    role = _replicate(session, bucket)
    assert reader.scope(bucket).replication_roles == (role,)
    other = (f"{role}-2",)
    assert reader.scope(bucket, replication_roles=other).replication_roles == other


@pytest.mark.parametrize(("answer", "fails"), [(DENIED, False), (Answer(404, {}, GONE), True)])
def test_a_replication_that_may_not_be_read_names_no_role(
    answer: Answer, fails: bool, session: boto3.Session, bucket: str
) -> None:
    """If access to the replication is denied, the scope has no role; other failures are errors."""
    _replicate(session, bucket)

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return answer if "replication" in asked.query else forward()

    with watched(spoil), pytest.raises(StorageError) if fails else nullcontext():
        assert PolicyReader().scope(bucket).replication_roles == ()


def test_the_key_that_aws_manages_has_no_policy_to_write(
    reader: PolicyReader, session: boto3.Session, bucket: str
) -> None:
    """A bucket with the key that AWS manages is refused; the hint is to name a key."""
    _encrypt(session, bucket, SSEAlgorithm="aws:kms")
    with pytest.raises(ConfigError, match="the key that AWS manages") as caught:
        reader.scope(bucket)
    assert "Give a key of your own" in str(caught.value.hint)


def test_policies_are_read_as_they_are(
    reader: PolicyReader, session: boto3.Session, bucket: str, kms: KMSClient
) -> None:
    """`of_bucket` returns None or the bucket's policy, and `of_key` returns the key's policy."""
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    document = bucket_policy(reader.scope(bucket, key_arns=(arn,)))
    assert reader.of_bucket(bucket) is None
    session.client("s3").put_bucket_policy(Bucket=bucket, Policy=document.render())
    found = reader.of_bucket(bucket)
    assert found is not None
    assert found.meaning == document.meaning
    assert reader.of_key(reader.key_arn(arn)).statements


def _said(*codes: str, following: str | None = None) -> Answer:
    findings = [
        {
            "findingType": "SUGGESTION",
            "issueCode": code,
            "findingDetails": f"{code}.",
            "learnMoreLink": "",
            "locations": [],
        }
        for code in codes
    ]
    body = {"findings": findings, **({"nextToken": following} if following else {})}
    return Answer(200, {"content-type": "application/json"}, json.dumps(body).encode())


def _found(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, answers: list[Answer], kind: Kind
) -> tuple[tuple[AnalyzerFinding, ...], list[Asked]]:
    """Return the findings in these replies of Access Analyzer, and the requests for them."""
    asked: list[Asked] = []

    def answer(request: Asked, _forward: Callable[[], Answer]) -> Answer:
        asked.append(request)
        return answers[len(asked) - 1]

    with relaying(sandbox.endpoint_url, answer) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ACCESSANALYZER", relay.url)
        return PolicyReader().findings(_DOCUMENT, kind), asked


@pytest.mark.parametrize(
    ("kind", "type_", "resource"),
    [
        (Kind.BUCKET, "RESOURCE_POLICY", "AWS::S3::Bucket"),
        (Kind.KEY, "RESOURCE_POLICY", None),
        (Kind.TRUST, "RESOURCE_POLICY", "AWS::IAM::AssumeRolePolicyDocument"),
        (Kind.ROLE, "IDENTITY_POLICY", None),
    ],
)
def test_access_analyzer_is_told_where_a_document_is_attached(
    sandbox: Running,
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
    type_: str,
    resource: str | None,
) -> None:
    """The request has the policy type and the resource type that AWS defines for the document."""
    found, (asked,) = _found(sandbox, monkeypatch, [_said()], kind)
    sent = json.loads(asked.body)
    assert found == ()
    assert (sent["policyType"], sent.get("validatePolicyResourceType")) == (type_, resource)
    assert json.loads(sent["policyDocument"]) == _DOCUMENT.to_json()


def test_access_analyzer_s_findings_are_read_to_their_end(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Findings on further pages of Access Analyzer's reply are read too."""
    answers = [_said("ONE", following="more"), _said("TWO")]
    found, asked = _found(sandbox, monkeypatch, answers, Kind.KEY)
    assert [(each.type, each.code) for each in found] == [
        ("SUGGESTION", "ONE"),
        ("SUGGESTION", "TWO"),
    ]
    assert "more" in asked[1].target


def test_access_analyzer_is_asked_once(sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal by Access Analyzer, or a reply without findings, is an error and is not retried."""
    headers = {"content-type": "application/json", "x-amzn-errortype": "AccessDeniedException"}
    for answer in (Answer(403, headers, b'{"message":"no"}'), Answer(200, headers, b"{}")):
        with pytest.raises(StorageError):
            _found(sandbox, monkeypatch, [answer], Kind.KEY)
