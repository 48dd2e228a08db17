# SPDX-License-Identifier: Apache-2.0
"""The sandbox records requests in CloudTrail's documented form, without secrets.

Form:
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
import time
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from sandbox_samples import KEY, got, refusal, ssec

from s3crypt import sandbox as sandboxes
from s3crypt.sandbox.events.store import Event, Events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACCOUNT = "123456789012"
FOR_A_CALLER = "fas.s3.amazonaws.com"
# The fields that every record has.
ENVELOPE = {
    "awsRegion",
    "eventCategory",
    "eventID",
    "eventName",
    "eventSource",
    "eventTime",
    "eventType",
    "eventVersion",
    "managementEvent",
    "readOnly",
    "recipientAccountId",
    "requestParameters",
    "responseElements",
    "sourceIPAddress",
    "userAgent",
    "userIdentity",
}
KMS = {"ServerSideEncryption": "aws:kms"}


@pytest.fixture(scope="module")
def cloudtrail(session: boto3.Session) -> Any:
    """Return a CloudTrail client without retries."""
    return session.client("cloudtrail", config=Config(retries={"total_max_attempts": 1}))


def trail_policy(bucket: str) -> str:
    """Return the policy of a bucket that accepts a trail's files."""
    root = f"arn:aws:s3:::{bucket}"
    common = {"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}}
    statements = [
        {**common, "Action": "s3:GetBucketAcl", "Resource": root},
        {**common, "Action": "s3:PutObject", "Resource": f"{root}/AWSLogs/{ACCOUNT}/*"},
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


ALL_OBJECTS = [
    {
        "ReadWriteType": "All",
        "IncludeManagementEvents": True,
        "DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3"]}],
    }
]


class Trail:
    """A trail, and the records in its files."""

    def __init__(self, running: sandboxes.Running, s3: Any, cloudtrail: Any) -> None:
        self._running, self._s3, self._cloudtrail = running, s3, cloudtrail
        self.bucket = f"logs-{uuid.uuid4()}"
        self.name = f"trail-{uuid.uuid4()}"
        s3.create_bucket(Bucket=self.bucket)
        s3.put_bucket_policy(Bucket=self.bucket, Policy=trail_policy(self.bucket))

    def start(self, selectors: list[dict[str, Any]] = ALL_OBJECTS, **more: Any) -> None:
        """Create the trail and start logging. `selectors` choose the events."""
        asked = {"Name": self.name, "S3BucketName": self.bucket, "IsMultiRegionTrail": True}
        self._cloudtrail.create_trail(**asked, **more)
        kind = "AdvancedEventSelectors" if "FieldSelectors" in selectors[0] else "EventSelectors"
        self._cloudtrail.put_event_selectors(TrailName=self.name, **{kind: selectors})
        self._cloudtrail.start_logging(Name=self.name)

    def files(self) -> list[str]:
        """Let the trail write its files, and return the names of its new objects."""
        mine = f"s3://{self.bucket}/"
        written = sandboxes.deliver_trails(self._running)
        return [uri.removeprefix(mine) for uri in written if uri.startswith(mine)]

    def texts(self) -> list[str]:
        """Return the contents of the trail's new files."""
        return [
            gzip.decompress(
                self._s3.get_object(Bucket=self.bucket, Key=name)["Body"].read()
            ).decode()
            for name in self.files()
        ]

    def records(self) -> list[dict[str, Any]]:
        """Return the new records, except those about CloudTrail itself and by AWS services."""
        found = [each for text in self.texts() for each in json.loads(text)["Records"]]
        return [
            each
            for each in found
            if each["eventSource"] != "cloudtrail.amazonaws.com"
            and each["userIdentity"].get("type") != "AWSService"
            and self.bucket not in json.dumps(each)
        ]

    def close(self) -> None:
        """Delete the trail."""
        self._cloudtrail.delete_trail(Name=self.name)


@pytest.fixture
def trail(sandbox: sandboxes.Running, s3: Any, cloudtrail: Any) -> Iterator[Trail]:
    """Return a trail that logs all events."""
    made = Trail(sandbox, s3, cloudtrail)
    made.start()
    yield made
    made.close()


@pytest.fixture
def idle_trail(sandbox: sandboxes.Running, s3: Any, cloudtrail: Any) -> Iterator[Trail]:
    """Return a trail that the test itself starts."""
    made = Trail(sandbox, s3, cloudtrail)
    yield made
    made.close()


def only(records: list[dict[str, Any]], name: str, source: str = "s3") -> dict[str, Any]:
    """Return the only record of an operation."""
    (found,) = [
        each
        for each in records
        if (each["eventName"], each["eventSource"]) == (name, f"{source}.amazonaws.com")
    ]
    return found


def arns(record: dict[str, Any]) -> list[str]:
    """Return the ARNs of a record's resources."""
    return [each["ARN"] for each in record["resources"]]


# --- S3 ----------------------------------------------------------------------------------------


def test_a_write_and_a_read_are_recorded(s3: Any, trail: Trail, bucket: str) -> None:
    """A record of a put or get has the object's name and size; of a put, also the encryption."""
    name = "a b/ü&.txt"
    s3.put_object(Bucket=bucket, Key=name, Body=b"data")
    got(s3, Bucket=bucket, Key=name)
    records = trail.records()
    written, read = only(records, "PutObject"), only(records, "GetObject")
    for record in (written, read):
        assert record.keys() >= ENVELOPE
        assert (record["eventVersion"], record["eventType"]) == ("1.11", "AwsApiCall")
        assert (record["eventCategory"], record["managementEvent"]) == ("Data", False)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["eventTime"])
        assert record["requestParameters"]["key"] == name
        assert record["requestParameters"]["bucketName"] == bucket
        assert record["resources"] == [
            {"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::{bucket}/{name}"},
            {"accountId": ACCOUNT, "type": "AWS::S3::Bucket", "ARN": f"arn:aws:s3:::{bucket}"},
        ]
    assert (written["readOnly"], read["readOnly"]) == (False, True)
    assert written["responseElements"] == {"x-amz-server-side-encryption": "AES256"}
    assert read["responseElements"] is None
    assert written["additionalEventData"]["SSEApplied"] == "Default_SSE_S3"
    assert written["additionalEventData"]["bytesTransferredIn"] == 4
    assert read["additionalEventData"]["bytesTransferredOut"] == 4
    assert "SSEApplied" not in read["additionalEventData"]


def test_what_is_done_to_objects_has_its_name(s3: Any, trail: Trail, bucket: str) -> None:
    """Each record has the name of its S3 operation, also for copies, uploads and deletions."""
    where = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)
    s3.copy_object(Bucket=bucket, Key="l", CopySource=f"{bucket}/k")
    s3.head_object(**where)
    s3.get_object_tagging(**where)
    s3.list_objects_v2(Bucket=bucket, Prefix="k")
    s3.get_bucket_encryption(Bucket=bucket)
    s3.delete_object(**where)
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "l"}]})
    records = trail.records()
    assert [each["eventName"] for each in records] == [
        "CreateBucket",
        "PutBucketEncryption",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "CopyObject",
        "HeadObject",
        "GetObjectTagging",
        "ListObjects",
        "GetBucketEncryption",
        "DeleteObject",
        "DeleteObjects",
    ]
    copied, deleted = only(records, "CopyObject"), only(records, "DeleteObjects")
    assert copied["requestParameters"]["x-amz-copy-source"] == f"{bucket}/k"
    # Records of DeleteObjects do not contain the deleted names.
    assert deleted["requestParameters"]["delete"] == ""
    assert deleted["resources"][0] == {
        "type": "AWS::S3::Object",
        "ARNPrefix": f"arn:aws:s3:::{bucket}/",
    }
    assert only(records, "ListObjects")["resources"][0]["ARNPrefix"].endswith(f"{bucket}/k")
    assert only(records, "GetBucketEncryption")["managementEvent"] is True


@pytest.mark.parametrize(
    ("sent", "applied"),
    [
        ({"ServerSideEncryption": "AES256"}, "SSE_S3"),
        (KMS, "SSE_KMS"),
        (ssec(), "SSE_C"),
        ({}, "Default_SSE_S3"),
    ],
)
def test_the_mode_of_a_write(
    s3: Any, trail: Trail, bucket: str, sent: dict[str, Any], applied: str
) -> None:
    """A put's record says in which mode S3 encrypted, and whether the request asked for it."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **sent)
    record = only(trail.records(), "PutObject")
    assert record["additionalEventData"]["SSEApplied"] == applied


def test_a_refusal_is_recorded(s3: Any, trail: Trail, blocked_bucket: str) -> None:
    """The record of a refused request has the error code, and no response elements."""
    refusal(s3.get_object, Bucket=blocked_bucket, Key="absent")
    refusal(s3.put_object, Bucket=blocked_bucket, Key="k", Body=b"x", **ssec())
    records = trail.records()
    assert only(records, "GetObject")["errorCode"] == "NoSuchKey"
    denied = only(records, "PutObject")
    assert denied["errorCode"] == "AccessDenied"
    assert "SSE-C" in denied["errorMessage"]
    assert denied["responseElements"] is None


def test_no_record_has_a_secret(
    s3: Any, kms: Any, session: boto3.Session, trail: Trail, bucket: str, key: str
) -> None:
    """No record has a customer key, plaintext, ciphertext, session token or signature."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"body-of-the-object", **ssec())
    got(s3, Bucket=bucket, Key="k", **ssec())
    url = str(s3.generate_presigned_url("head_object", Params={"Bucket": bucket, "Key": "k"}))
    made = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    kms.encrypt(KeyId=key, Plaintext=b"plaintext-of-kms")
    kms.decrypt(CiphertextBlob=made["CiphertextBlob"])
    credentials = assumed(session, "secrets")
    text = "".join(trail.texts())
    secrets = [
        base64.b64encode(KEY).decode(),
        "body-of-the-object",
        base64.b64encode(b"plaintext-of-kms").decode(),
        base64.b64encode(made["Plaintext"]).decode(),
        base64.b64encode(made["CiphertextBlob"]).decode(),
        credentials["SecretAccessKey"],
        credentials["SessionToken"],
        url.rpartition("Signature=")[2].partition("&")[0],
    ]
    assert [secret for secret in secrets if secret in text] == []
    assert "customer-key-" not in text


# --- KMS, from callers and from S3 -------------------------------------------------------------


def test_cryptographic_calls_are_recorded(kms: Any, trail: Trail, key: str, kms_key: str) -> None:
    """The record of a KMS call has the key, its material and the context, but no key bytes."""
    context = {"s3crypt:key": "2026/q3"}
    made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
    blob = made["CiphertextBlob"]
    kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    kms.re_encrypt(
        CiphertextBlob=blob,
        SourceEncryptionContext=context,
        DestinationKeyId=kms_key,
        DestinationEncryptionContext=context,
    )
    records = trail.records()
    made_one, opened = (only(records, name, "kms") for name in ("GenerateDataKey", "Decrypt"))
    assert made_one["requestParameters"] == {
        "keyId": key,
        "keySpec": "AES_256",
        "encryptionContext": context,
    }
    # Decrypt names the key only in the record's resources, not in its parameters.
    assert opened["requestParameters"] == {
        "encryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "encryptionContext": context,
    }
    for record in (made_one, opened):
        assert record.keys() >= ENVELOPE
        assert (record["readOnly"], record["managementEvent"]) == (True, True)
        assert record["resources"] == [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": key}]
        assert record["responseElements"] is None
        assert record["additionalEventData"] == {"keyMaterialId": made["KeyMaterialId"]}
        assert "invokedBy" not in record["userIdentity"]
    moved = only(records, "ReEncrypt", "kms")
    assert arns(moved) == [key, kms_key]
    assert moved["additionalEventData"].keys() == {
        "sourceKeyMaterialId",
        "destinationKeyMaterialId",
    }


def test_changes_of_keys_are_recorded(kms: Any, trail: Trail, kms_key: str) -> None:
    """The record of a change to a key returns the key's ARN; a rotation is a service event."""
    kms.rotate_key_on_demand(KeyId=kms_key)
    kms.disable_key(KeyId=kms_key)
    kms.enable_key(KeyId=kms_key)
    grant = kms.create_grant(
        KeyId=kms_key, GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:role/x", Operations=["Decrypt"]
    )
    kms.schedule_key_deletion(KeyId=kms_key, PendingWindowInDays=7)
    records = trail.records()
    for name in ("DisableKey", "EnableKey"):
        record = only(records, name, "kms")
        assert record["readOnly"] is False
        assert record["responseElements"] == {"keyId": kms_key}
    granted = only(records, "CreateGrant", "kms")
    assert granted["responseElements"] == {"grantId": grant["GrantId"], "keyId": kms_key}
    dying = only(records, "ScheduleKeyDeletion", "kms")["responseElements"]
    date = datetime.now(UTC) + timedelta(days=7)
    assert dying["deletionDate"].startswith(f"{date:%b} {date.day}, {date.year} ")
    rotated = only(records, "RotateKey", "kms")
    assert rotated["eventType"] == "AwsServiceEvent"
    assert rotated["userIdentity"] == {"accountId": ACCOUNT, "invokedBy": "AWS Internal"}
    details = rotated["serviceEventDetails"]
    assert (details["rotationType"], details["keyId"]) == ("ON_DEMAND", kms_key.rpartition("/")[2])
    assert details["previousKeyMaterialId"] != details["currentKeyMaterialId"]


def test_s3_asks_kms_for_the_caller(s3: Any, trail: Trail, bucket: str, key: str) -> None:
    """S3 calls KMS for the caller, with the object's ARN added to the caller's context."""
    pairs = base64.b64encode(json.dumps({"app": "reports"}).encode()).decode()
    mode = {**KMS, "SSEKMSKeyId": key, "SSEKMSEncryptionContext": pairs}
    s3.put_object(Bucket=bucket, Key="d/k", Body=b"x", **mode)
    got(s3, Bucket=bucket, Key="d/k")
    s3.copy_object(Bucket=bucket, Key="l", CopySource=f"{bucket}/d/k")
    s3.head_object(Bucket=bucket, Key="d/k")
    records = [each for each in trail.records() if each["eventSource"].startswith("kms")]
    assert [each["eventName"] for each in records] == ["GenerateDataKey", "Decrypt", "Decrypt"]
    for record in records:
        context = record["requestParameters"]["encryptionContext"]
        assert context == {"app": "reports", "aws:s3:arn": f"arn:aws:s3:::{bucket}/d/k"}
        assert record["userIdentity"]["userName"] == "sandbox"
        said = (record["userIdentity"]["invokedBy"], record["sourceIPAddress"])
        assert (*said, record["userAgent"]) == (FOR_A_CALLER,) * 3
        assert arns(record) == [key]


def test_a_bucket_key_hides_objects(s3: Any, trail: Trail, bucket: str, key: str) -> None:
    """With a bucket key, S3 calls KMS once for several objects, with the bucket's ARN."""
    mode = {**KMS, "SSEKMSKeyId": key, "BucketKeyEnabled": True}
    for name in ("a", "b", "c"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"x", **mode)
        got(s3, Bucket=bucket, Key=name)
    records = [each for each in trail.records() if each["eventSource"].startswith("kms")]
    assert [each["eventName"] for each in records] == ["GenerateDataKey", "Decrypt"]
    contexts = [each["requestParameters"]["encryptionContext"] for each in records]
    assert contexts == [{"aws:s3:arn": f"arn:aws:s3:::{bucket}"}] * 2


def test_a_disabled_key_leaves_two_refusals(
    s3: Any, kms: Any, trail: Trail, bucket: str, kms_key: str
) -> None:
    """A get with a disabled key leaves a refusal of S3 and one of KMS, with different codes."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **KMS, SSEKMSKeyId=kms_key)
    kms.disable_key(KeyId=kms_key)
    with pytest.raises(ClientError):
        s3.get_object(Bucket=bucket, Key="k")
    records = trail.records()
    assert only(records, "GetObject")["errorCode"] == "KMS.DisabledException"
    assert only(records, "Decrypt", "kms")["errorCode"] == "DisabledException"


# --- Identities --------------------------------------------------------------------------------


def assumed(session: boto3.Session, name: str) -> dict[str, Any]:
    """Make a role, assume it, and return the credentials of the session."""
    trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = session.client("iam").create_role(
        RoleName=f"role-{uuid.uuid4()}", Path="/team/", AssumeRolePolicyDocument=document
    )["Role"]
    sts: Any = session.client("sts")
    given = sts.assume_role(RoleArn=role["Arn"], RoleSessionName=name)["Credentials"]
    return {**given, "RoleArn": role["Arn"], "RoleId": role["RoleId"]}


def test_a_session_names_its_role(session: boto3.Session, trail: Trail, bucket: str) -> None:
    """The record of an assumed role names the session, without the role's path, and the role."""
    given = assumed(session, "ada")
    theirs = boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], "us-east-1"
    )
    theirs.client("s3").put_object(Bucket=bucket, Key="k", Body=b"x")
    records = trail.records()
    identity = only(records, "PutObject")["userIdentity"]
    role = given["RoleArn"].rpartition("/")[2]
    assert (identity["type"], identity["accessKeyId"]) == ("AssumedRole", given["AccessKeyId"])
    assert identity["arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/ada"
    assert identity["principalId"] == f"{given['RoleId']}:ada"
    context = identity["sessionContext"]
    assert context["sessionIssuer"] == {
        "type": "Role",
        "principalId": given["RoleId"],
        "arn": given["RoleArn"],
        "accountId": ACCOUNT,
        "userName": role,
    }
    assert context["attributes"]["mfaAuthenticated"] == "false"
    assuming = only(records, "AssumeRole", "sts")
    assert assuming["resources"][0]["ARN"] == given["RoleArn"]
    assert assuming["responseElements"]["credentials"]["accessKeyId"] == given["AccessKeyId"]


@pytest.mark.parametrize(
    ("who", "wanted"),
    [
        ("a user", {"type": "IAMUser"}),
        (sandboxes.ROOT_ACCESS_KEY, {"type": "Root", "arn": f"arn:aws:iam::{ACCOUNT}:root"}),
        ("AKIAUNKNOWN", {"type": "IAMUser", "userName": "sandbox"}),
    ],
)
def test_users_and_root(
    session: boto3.Session, trail: Trail, bucket: str, who: str, wanted: dict[str, str]
) -> None:
    """A record names the user of the access key, or the user "sandbox" for an unknown key."""
    access_key = who
    if who == "a user":
        iam, name = session.client("iam"), f"user-{uuid.uuid4()}"
        wanted = {**wanted, "userName": name, "arn": f"arn:aws:iam::{ACCOUNT}:user/{name}"}
        iam.create_user(UserName=name)
        access_key = iam.create_access_key(UserName=name)["AccessKey"]["AccessKeyId"]
    theirs = boto3.Session(access_key, "secret", region_name="us-east-1")
    theirs.client("s3").put_object(Bucket=bucket, Key="k", Body=b"x")
    identity = only(trail.records(), "PutObject")["userIdentity"]
    assert wanted.items() <= identity.items()
    assert identity["accessKeyId"] == access_key


def test_cloudtrail_writes_as_a_service(s3: Any, kms: Any, idle_trail: Trail, kms_key: str) -> None:
    """CloudTrail encrypts files with the trail's key, and its own requests are recorded too."""
    made, key = idle_trail, kms_key
    found = json.loads(kms.get_key_policy(KeyId=key)["Policy"])
    service = {"Service": "cloudtrail.amazonaws.com"}
    use = {"Effect": "Allow", "Principal": service, "Action": "kms:GenerateDataKey*"}
    found["Statement"].append({**use, "Resource": "*"})
    kms.put_key_policy(KeyId=key, Policy=json.dumps(found))
    made.start(KmsKeyId=key)
    (name,) = made.files()
    written = s3.head_object(Bucket=made.bucket, Key=name)
    assert (written["ServerSideEncryption"], written["SSEKMSKeyId"]) == ("aws:kms", key)
    (text,) = made.texts()
    # Trails of other tests may have caused records in this file. Only the records about this
    # test's bucket are compared.
    own = [
        each
        for each in json.loads(text)["Records"]
        if each["userIdentity"].get("type") == "AWSService" and made.bucket in json.dumps(each)
    ]
    put, asked = only(own, "PutObject"), only(own, "GenerateDataKey", "kms")
    assert put["userIdentity"] == {"type": "AWSService", "invokedBy": "cloudtrail.amazonaws.com"}
    assert put["requestParameters"]["key"] == name
    assert asked["userIdentity"]["invokedBy"] == FOR_A_CALLER
    context = asked["requestParameters"]["encryptionContext"]
    trail_arn = f"arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/{made.name}"
    assert context["aws:cloudtrail:arn"] == trail_arn


def test_events_are_numbered_as_they_are_kept() -> None:
    """Events have consecutive numbers in the order of their storage, even from several threads.

    The pages of a lookup depend on this order.
    """
    events = Events()
    threads = [
        threading.Thread(target=lambda: deque(map(events.add, map(_event, "x" * 500)), 0))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [each.number for each in events.newest_first("us-east-1")]
    assert numbers == list(range(2000, 0, -1))
    assert [each.number for each in events.after(10, 12)] == [11, 12]


def _event(name: str) -> Event:
    said = ("Decrypt", "kms.amazonaws.com", name, "bob", "AKIA", (), "{}")
    return Event(1.0, "us-east-1", True, True, *said)


# --- LookupEvents ------------------------------------------------------------------------------


def looked_up(cloudtrail: Any, **asked: Any) -> list[dict[str, Any]]:
    """Return all events that a lookup finds, on all pages, at the rate that AWS permits."""
    found: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        try:
            reply = cloudtrail.lookup_events(**asked, **token)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ThrottlingException":
                raise
            time.sleep(0.5)
            continue
        found += reply["Events"]
        if "NextToken" not in reply:
            return found
        token = {"NextToken": reply["NextToken"]}


def by(name: str, value: str) -> dict[str, Any]:
    """Return the arguments of a lookup by this attribute."""
    return {"LookupAttributes": [{"AttributeKey": name, "AttributeValue": value}]}


def test_events_are_looked_up_in_pages(kms: Any, cloudtrail: Any, kms_key: str) -> None:
    """A lookup returns events page by page, newest first, without events about objects."""
    mark = str(uuid.uuid4())
    contexts = [{mark: str(number)} for number in range(5)]
    for context in contexts:
        kms.generate_data_key(KeyId=kms_key, KeySpec="AES_256", EncryptionContext=context)
    found = looked_up(cloudtrail, **by("ResourceName", kms_key), MaxResults=2)
    crypto = [each for each in found if each["EventName"] == "GenerateDataKey"]
    said = [json.loads(each["CloudTrailEvent"])["requestParameters"] for each in crypto]
    assert [each["encryptionContext"] for each in said] == contexts[::-1]
    first = crypto[0]
    assert (first["ReadOnly"], first["Username"]) == ("true", "sandbox")
    assert first["Resources"] == [{"ResourceType": "AWS::KMS::Key", "ResourceName": kms_key}]
    assert first["EventId"] == json.loads(first["CloudTrailEvent"])["eventID"]


@pytest.mark.parametrize(
    "attribute",
    ["EventId", "EventName", "Username", "ResourceType", "EventSource", "AccessKeyId", "ReadOnly"],
)
def test_lookups_by_each_attribute(kms: Any, cloudtrail: Any, kms_key: str, attribute: str) -> None:
    """A lookup by an attribute finds the event with this value, and no event with another value."""
    kms.disable_key(KeyId=kms_key)
    (event,) = [
        each
        for each in looked_up(cloudtrail, **by("ResourceName", kms_key))
        if each["EventName"] == "DisableKey"
    ]
    value = event["Resources"][0][attribute] if attribute == "ResourceType" else event[attribute]
    start = datetime.now(UTC) - timedelta(seconds=20)
    found = looked_up(cloudtrail, **by(attribute, value), StartTime=start)
    assert event["EventId"] in {each["EventId"] for each in found}
    other = "true" if attribute == "ReadOnly" else "other"
    found = looked_up(cloudtrail, **by(attribute, other), StartTime=start)
    assert event["EventId"] not in {each["EventId"] for each in found}


def test_lookups_in_a_time(cloudtrail: Any, kms_key: str) -> None:
    """A lookup returns only events of its Region, and only between start and end."""
    now = datetime.now(UTC)
    ours = by("ResourceName", kms_key)
    assert looked_up(cloudtrail, **ours, StartTime=now - timedelta(hours=1))
    assert looked_up(cloudtrail, **ours, EndTime=now - timedelta(hours=1)) == []
    assert looked_up(cloudtrail, **ours, StartTime=now + timedelta(hours=1)) == []
    elsewhere = boto3.client("cloudtrail", region_name="eu-west-1")
    assert looked_up(elsewhere, **ours) == []


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"LookupAttributes": by("EventName", "a")["LookupAttributes"] * 2}, "LookupAttributes"),
        (by("Colour", "red"), "LookupAttributes"),
        ({"MaxResults": 51}, "MaxResults"),
        ({"NextToken": "bm9uZQ=="}, "NextToken"),
        ({"StartTime": 2_000_000_000, "EndTime": 1_900_000_000}, "TimeRange"),
        ({"EventCategory": "data"}, "EventCategory"),
    ],
)
def test_lookups_that_are_refused(session: boto3.Session, asked: dict[str, Any], code: str) -> None:
    """A lookup with two or unknown attributes, or a bad page size, token or time, is refused."""
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    client = session.client("cloudtrail", config=config)
    with pytest.raises(ClientError, match=f"Invalid{code}Exception"):
        looked_up(client, **asked)


def test_lookups_have_a_rate(cloudtrail: Any) -> None:
    """More than two lookups per second are throttled."""
    asked = {"MaxResults": 1, "StartTime": datetime.now(UTC)}

    def ask_often() -> None:
        for _ in range(20):
            cloudtrail.lookup_events(**asked)

    with pytest.raises(ClientError, match="ThrottlingException"):
        ask_often()


# --- The files of trails -----------------------------------------------------------------------


def test_files_have_cloudtrails_names(trail: Trail, kms: Any, key: str) -> None:
    """A trail's file is named by account, Region, time and 16 characters; no event comes twice."""
    kms.describe_key(KeyId=key)
    (name,) = trail.files()
    wanted = (
        rf"AWSLogs/{ACCOUNT}/CloudTrail/us-east-1/\d{{4}}/\d\d/\d\d/"
        rf"{ACCOUNT}_CloudTrail_us-east-1_\d{{8}}T\d{{4}}Z_[A-Za-z0-9]{{16}}\.json\.gz"
    )
    assert re.fullmatch(wanted, name)
    assert "DescribeKey" not in {each["eventName"] for each in trail.records()}


def _basic(**more: Any) -> list[dict[str, Any]]:
    return [{"ReadWriteType": "All", "IncludeManagementEvents": True, **more}]


def _advanced(*fields: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"FieldSelectors": list(fields)}]


def _objects(*values: str) -> list[dict[str, Any]]:
    return [{"Type": "AWS::S3::Object", "Values": list(values)}]


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        (lambda _: _basic(), {"Encrypt", "DisableKey"}),
        (lambda _: _basic(ReadWriteType="WriteOnly"), {"DisableKey"}),
        (lambda _: _basic(ExcludeManagementEventSources=["kms.amazonaws.com"]), set()),
        (
            lambda b: _basic(DataResources=_objects(f"arn:aws:s3:::{b}/a/")),
            {"Encrypt", "DisableKey", "PutObject"},
        ),
        (
            lambda _: _basic(IncludeManagementEvents=False, DataResources=_objects("arn:aws:s3")),
            {"PutObject", "GetObject"},
        ),
        (
            lambda b: _advanced(
                {"Field": "eventCategory", "Equals": ["Data"]},
                {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
                {"Field": "resources.ARN", "StartsWith": [f"arn:aws:s3:::{b}/"]},
                {"Field": "readOnly", "Equals": ["true"]},
            ),
            {"GetObject"},
        ),
        (
            lambda _: _advanced(
                {"Field": "eventCategory", "Equals": ["Management"]},
                {"Field": "eventName", "NotEquals": ["Encrypt"]},
            ),
            {"DisableKey"},
        ),
    ],
)
def test_a_trail_takes_what_it_selects(
    idle_trail: Trail,
    s3: Any,
    kms: Any,
    bucket: str,
    selectors: Callable[[str], list[dict[str, Any]]],
    expected: set[str],
) -> None:
    """A trail records only the events that its selectors choose, basic or advanced."""
    kms_key = kms.create_key()["KeyMetadata"]["Arn"]
    made = idle_trail
    made.start(selectors(bucket))
    s3.put_object(Bucket=bucket, Key="a/k", Body=b"x")
    kms.encrypt(KeyId=kms_key, Plaintext=b"x")
    kms.disable_key(KeyId=kms_key)
    with pytest.raises(ClientError):
        s3.get_object(Bucket=bucket, Key="b/absent")
    names = {each["eventName"] for each in made.records()}
    assert names & {"Encrypt", "DisableKey", "PutObject", "GetObject"} == expected


def test_a_trail_that_does_not_log(
    idle_trail: Trail, s3: Any, cloudtrail: Any, kms: Any, key: str
) -> None:
    """A trail records nothing before it is started, and nothing after its bucket is gone."""
    made = idle_trail
    kms.encrypt(KeyId=key, Plaintext=b"before")
    made.start()
    kms.describe_key(KeyId=key)
    names = [each["eventName"] for each in made.records()]
    assert names == ["DescribeKey"]
    status = cloudtrail.get_trail_status(Name=made.name)
    assert "LatestDeliveryError" not in status
    for version in s3.list_objects_v2(Bucket=made.bucket)["Contents"]:
        s3.delete_object(Bucket=made.bucket, Key=version["Key"])
    s3.delete_bucket(Bucket=made.bucket)
    assert made.files() == []
    status = cloudtrail.get_trail_status(Name=made.name)
    assert status["LatestDeliveryError"] == "NoSuchBucket"
