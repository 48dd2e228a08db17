# SPDX-License-Identifier: Apache-2.0
"""The sandbox's DeleteObjects, which deletes many objects, works as AWS documents."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from samples import names, stored
from sandbox_samples import raw, refusal

if TYPE_CHECKING:
    from s3crypt import sandbox as sandboxes

MD5_OF_NOTHING = "1B2M2Y8AsgTpgAmY7PhCfg=="


def put(s3: Any, bucket: str, *keys: str) -> None:
    """Store small objects."""
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"data")


def delete(s3: Any, bucket: str, *objects: dict[str, str], **more: Any) -> dict[str, Any]:
    """Return the reply to a request that deletes these objects."""
    reply: dict[str, Any] = s3.delete_objects(
        Bucket=bucket, Delete={"Objects": objects, **more.pop("delete", {})}, **more
    )
    return reply


def test_each_key_has_a_result(s3: Any, bucket: str) -> None:
    """The reply has a result for each key, also for a missing key; other objects stay."""
    put(s3, bucket, "a", "b", "c")
    reply = delete(s3, bucket, *({"Key": key} for key in ("a", "b", "missing")))
    assert reply["Deleted"] == [{"Key": "a"}, {"Key": "b"}, {"Key": "missing"}]
    assert "Errors" not in reply
    assert names(s3, bucket) == ["c"]


@pytest.mark.parametrize("key", ["<&>\"'", "a b", "ä/😀", " a ", "a\rb"])
def test_names_come_back_as_they_were(key: str, s3: Any, bucket: str) -> None:
    """Names with XML's special characters, or spaces at the ends, come back unchanged."""
    put(s3, bucket, key, key.strip() + "x")
    assert delete(s3, bucket, {"Key": key})["Deleted"] == [{"Key": key}]
    assert names(s3, bucket) == [key.strip() + "x"]


def test_a_quiet_reply_has_errors_only(s3: Any, bucket: str) -> None:
    """With Quiet, the reply lists only the errors; the other objects are still deleted."""
    put(s3, bucket, "a", "b")
    objects = {"Key": "a"}, {"Key": "b", "ETag": '"other"'}
    reply = delete(s3, bucket, *objects, delete={"Quiet": True})
    assert "Deleted" not in reply
    assert [(error["Key"], error["Code"]) for error in reply["Errors"]] == [
        ("b", "PreconditionFailed")
    ]
    assert names(s3, bucket) == ["b"]


def test_an_etag_is_a_condition_of_its_key(s3: Any, bucket: str) -> None:
    """A key whose object has another ETag, or is missing, gets an error; other keys are deleted."""
    put(s3, bucket, "a", "b", "c")
    etag = s3.head_object(Bucket=bucket, Key="a")["ETag"]
    objects = [{"Key": key, "ETag": etag} for key in ("a", "b", "missing")]
    s3.put_object(Bucket=bucket, Key="b", Body=b"other")
    reply = delete(s3, bucket, *objects, {"Key": "c", "ETag": etag.strip('"')})
    assert [entry["Key"] for entry in reply["Deleted"]] == ["a", "c"]
    codes = {error["Key"]: error["Code"] for error in reply["Errors"]}
    assert codes == {"b": "PreconditionFailed", "missing": "NoSuchKey"}
    assert stored(s3, bucket, "b") == b"other"


def test_versions_and_delete_markers(s3: Any, versioned_bucket: str) -> None:
    """Without a version id, a deletion adds a delete marker; with one, it removes that version."""
    bucket = versioned_bucket
    put(s3, bucket, "a")
    version = s3.head_object(Bucket=bucket, Key="a")["VersionId"]
    (hidden,) = delete(s3, bucket, {"Key": "a"})["Deleted"]
    marker = hidden["DeleteMarkerVersionId"]
    assert hidden == {"Key": "a", "DeleteMarker": True, "DeleteMarkerVersionId": marker}
    assert marker != version
    assert names(s3, bucket) == []
    (shown,) = delete(s3, bucket, {"Key": "a", "VersionId": marker})["Deleted"]
    assert shown == {**hidden, "VersionId": marker}
    assert names(s3, bucket) == ["a"]
    (gone,) = delete(s3, bucket, {"Key": "a", "VersionId": version})["Deleted"]
    assert gone == {"Key": "a", "VersionId": version}
    assert "Versions" not in s3.list_object_versions(Bucket=bucket)


def test_locked_versions_stay(s3: Any) -> None:
    """A version under a legal hold, an event hold or a retention stays; other versions do not."""
    bucket = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    until = "2099-01-01T00:00:00Z"
    locks: dict[str, dict[str, Any]] = {
        "event": {"ObjectLockEventHold": "ON"},
        "free": {},
        "governed": {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until},
        "legal": {"ObjectLockLegalHoldStatus": "ON"},
    }
    versions = [
        {
            "Key": key,
            "VersionId": s3.put_object(Bucket=bucket, Key=key, Body=b"data", **lock)["VersionId"],
        }
        for key, lock in locks.items()
    ]
    reply = delete(s3, bucket, *versions)
    assert [entry["Key"] for entry in reply["Deleted"]] == ["free"]
    assert {error["Key"] for error in reply["Errors"]} == {"event", "governed", "legal"}
    assert {error["Code"] for error in reply["Errors"]} == {"AccessDenied"}
    reply = delete(s3, bucket, *versions, BypassGovernanceRetention=True)
    assert "governed" in {entry["Key"] for entry in reply["Deleted"]}
    hidden = delete(s3, bucket, {"Key": "legal"}, {"Key": "event"})
    assert all(entry["DeleteMarker"] for entry in hidden["Deleted"])


def test_a_policy_denies_by_key(s3: Any, bucket: str) -> None:
    """A bucket policy that denies the deletion of one key does not affect the other keys."""
    put(s3, bucket, "kept/a", "b")
    deny_deletes(s3, bucket, "kept/*")
    reply = delete(s3, bucket, {"Key": "kept/a"}, {"Key": "b"})
    assert [entry["Key"] for entry in reply["Deleted"]] == ["b"]
    assert [(one["Key"], one["Code"]) for one in reply["Errors"]] == [("kept/a", "AccessDenied")]
    assert names(s3, bucket) == ["kept/a"]


def deny_deletes(s3: Any, bucket: str, keys: str) -> None:
    """Make the bucket's policy deny the deletion of these keys."""
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteObject",
        "Resource": f"arn:aws:s3:::{bucket}/{keys}",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


@pytest.mark.parametrize("count", [0, 1001])
def test_a_request_has_1_to_1000_keys(count: int, s3: Any, bucket: str) -> None:
    """A request with no key, or with more than 1,000 keys, is refused as MalformedXML."""
    objects = [{"Key": f"{number}"} for number in range(count)]
    refused = refusal(s3.delete_objects, Bucket=bucket, Delete={"Objects": objects})
    assert refused == (400, "MalformedXML")


@pytest.mark.parametrize("key", ["a\x01b", "a\uffff"])
def test_what_is_no_xml_is_refused(key: str, s3: Any, bucket: str) -> None:
    """If XML 1.0 cannot represent one of the keys, the whole request is refused."""
    put(s3, bucket, "good")
    objects = [{"Key": "good"}, {"Key": key}]
    refused = refusal(s3.delete_objects, Bucket=bucket, Delete={"Objects": objects})
    assert refused == (400, "MalformedXML")
    assert names(s3, bucket) == ["good"]


@pytest.mark.parametrize("condition", [{"Size": 4}, {"LastModifiedTime": 0}])
def test_conditions_of_directory_buckets_are_refused(
    condition: dict[str, Any], s3: Any, bucket: str
) -> None:
    """Conditions on size and time are refused: AWS has them only for directory buckets."""
    refused = refusal(
        s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "a", **condition}]}
    )
    assert refused == (501, "NotImplemented")


def test_a_checksum_is_demanded(sandbox: sandboxes.Running, s3: Any, bucket: str) -> None:
    """A request without a checksum, or with a wrong one, is refused."""
    put(s3, bucket, "a")
    body = b"<Delete><Object><Key>a</Key></Object></Delete>"
    status, said, _ = raw(sandbox, "POST", f"/{bucket}?delete", {}, body)
    assert (status, "<Code>InvalidRequest</Code>" in said) == (400, True)
    wrong = {"Content-MD5": MD5_OF_NOTHING}
    status, said, _ = raw(sandbox, "POST", f"/{bucket}?delete", wrong, body)
    assert (status, "<Code>BadDigest</Code>" in said) == (400, True)
    assert names(s3, bucket) == ["a"]


def test_the_owner_is_compared(s3: Any, bucket: str) -> None:
    """A request that expects another bucket owner deletes nothing."""
    put(s3, bucket, "a")
    refused = refusal(
        s3.delete_objects,
        Bucket=bucket,
        Delete={"Objects": [{"Key": "a"}]},
        ExpectedBucketOwner="999999999999",
    )
    assert refused == (403, "AccessDenied")
    assert names(s3, bucket) == ["a"]


def test_no_such_bucket(s3: Any) -> None:
    """A request for a missing bucket fails as a whole."""
    request = {"Bucket": "nowhere-at-all", "Delete": {"Objects": [{"Key": "a"}]}}
    assert refusal(s3.delete_objects, **request) == (404, "NoSuchBucket")


def test_check_and_deletion_are_one_step(s3: Any, bucket: str) -> None:
    """If several threads delete an object by the same ETag, exactly one succeeds."""
    put(s3, bucket, "a")
    etag = s3.head_object(Bucket=bucket, Key="a")["ETag"]

    def attempt(_: int) -> bool:
        return "Deleted" in delete(s3, bucket, {"Key": "a", "ETag": etag})

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(32))) == 1
