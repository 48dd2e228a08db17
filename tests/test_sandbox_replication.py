# SPDX-License-Identifier: Apache-2.0
"""The sandbox's S3 replicates new objects, and refuses replication settings, as AWS does."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from conftest import unblock_ssec
from sandbox_samples import got, refusal, ssec

if TYPE_CHECKING:
    import boto3

THERE = "eu-west-1"
DISABLED = {"Status": "Disabled"}
KMS_OBJECTS = {"SseKmsEncryptedObjects": {"Status": "Enabled"}}


@dataclass(frozen=True)
class Pair:
    """Two versioned buckets in two Regions, with a KMS key in each, and a replication role."""

    source: str
    target: str
    key: str
    replica_key: str
    role: str
    west: Any

    def rule(self, **changed: Any) -> dict[str, Any]:
        """Return a rule that replicates all objects except those under KMS keys."""
        return {
            "ID": "all",
            "Status": "Enabled",
            "Priority": 1,
            "Filter": {"Prefix": ""},
            "DeleteMarkerReplication": DISABLED,
            "Destination": {"Bucket": f"arn:aws:s3:::{self.target}"},
        } | changed

    def kms_rule(self, **changed: Any) -> dict[str, Any]:
        """Return a rule that also replicates objects under KMS keys."""
        destination = {
            "Bucket": f"arn:aws:s3:::{self.target}",
            "EncryptionConfiguration": {"ReplicaKmsKeyID": self.replica_key},
        }
        return self.rule(SourceSelectionCriteria=KMS_OBJECTS, Destination=destination, **changed)

    def asked(self, *rules: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of put_bucket_replication for these rules."""
        configuration = {"Role": self.role, "Rules": [*rules]}
        return {"Bucket": self.source, "ReplicationConfiguration": configuration}


def _versioned(client: Any, name: str, **more: Any) -> str:
    client.create_bucket(Bucket=name, **more)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def pair(session: boto3.Session, s3: Any, key: str) -> Pair:
    """Make two buckets that are ready for replication, but have no rules."""
    name = f"r-{uuid.uuid4()}"
    west: Any = session.client("s3", region_name=THERE)
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    made = session.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    replica_key: Any = session.client("kms", region_name=THERE).create_key()
    return Pair(
        _versioned(s3, name),
        _versioned(west, f"{name}-2", CreateBucketConfiguration={"LocationConstraint": THERE}),
        key,
        replica_key["KeyMetadata"]["Arn"],
        made["Role"]["Arn"],
        west,
    )


def test_a_replica_is_like_its_source(s3: Any, pair: Pair) -> None:
    """A replica has its source's bytes, metadata, tags, version id and encryption."""
    s3.put_bucket_replication(**pair.asked(pair.rule()))
    more = {"Metadata": {"a": "b"}, "ContentType": "text/csv", "Tagging": "x=y"}
    put = s3.put_object(Bucket=pair.source, Key="k", Body=b"data", **more)
    replica = pair.west.get_object(Bucket=pair.target, Key="k")
    assert replica["Body"].read() == b"data"
    assert replica["VersionId"] == put["VersionId"]
    assert replica["ETag"] == put["ETag"]
    assert (replica["Metadata"], replica["ContentType"]) == ({"a": "b"}, "text/csv")
    assert replica["ServerSideEncryption"] == "AES256"
    assert replica["ReplicationStatus"] == "REPLICA"
    tags = pair.west.get_object_tagging(Bucket=pair.target, Key="k")["TagSet"]
    assert tags == [{"Key": "x", "Value": "y"}]
    assert s3.head_object(Bucket=pair.source, Key="k")["ReplicationStatus"] == "COMPLETED"


def test_copies_and_uploads_are_replicated(s3: Any, pair: Pair) -> None:
    """Copies and uploads are replicated too, and the replica of an upload keeps its ETag."""
    s3.put_object(Bucket=pair.source, Key="before", Body=b"x")
    s3.put_bucket_replication(**pair.asked(pair.rule()))
    s3.copy_object(Bucket=pair.source, Key="copy", CopySource=f"{pair.source}/before")
    where = {"Bucket": pair.source, "Key": "parts"}
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    part = s3.upload_part(**upload, PartNumber=1, Body=b"data")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    listed = pair.west.list_objects_v2(Bucket=pair.target)["Contents"]
    assert {each["Key"]: each["ETag"] for each in listed}["parts"] == done["ETag"]
    assert [each["Key"] for each in listed] == ["copy", "parts"]


def test_kms_objects_need_a_rule_for_them(s3: Any, pair: Pair) -> None:
    """An object under a KMS key is not replicated if no rule selects such objects."""
    s3.put_bucket_replication(**pair.asked(pair.rule()))
    where = {"Bucket": pair.source, "Key": "k"}
    s3.put_object(**where, Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=pair.key)
    assert "ReplicationStatus" not in s3.head_object(**where)
    assert refusal(pair.west.head_object, Bucket=pair.target, Key="k")[0] == 404


@pytest.mark.parametrize("mode", ["aws:kms", "aws:kms:dsse"])
def test_kms_objects_are_under_the_replicas_key(s3: Any, pair: Pair, mode: str) -> None:
    """The replica of an object under a KMS key has the same mode, and the key in the rule."""
    s3.put_bucket_replication(**pair.asked(pair.kms_rule()))
    where = {"Bucket": pair.source, "Key": "k"}
    s3.put_object(**where, Body=b"x", ServerSideEncryption=mode, SSEKMSKeyId=pair.key)
    assert s3.head_object(**where)["ReplicationStatus"] == "COMPLETED"
    replica = got(pair.west, Bucket=pair.target, Key="k")
    assert (replica["ServerSideEncryption"], replica["SSEKMSKeyId"]) == (mode, pair.replica_key)


def test_a_replicas_key_is_looked_up_late(s3: Any, pair: Pair) -> None:
    """A wrong replica key is accepted in the rule, but the replication of an object fails."""
    destination = {
        "Bucket": f"arn:aws:s3:::{pair.target}",
        "EncryptionConfiguration": {"ReplicaKmsKeyID": pair.key},
    }
    s3.put_bucket_replication(**pair.asked(pair.kms_rule() | {"Destination": destination}))
    where = {"Bucket": pair.source, "Key": "k"}
    s3.put_object(**where, Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=pair.key)
    assert s3.head_object(**where)["ReplicationStatus"] == "FAILED"


def test_a_role_that_does_not_trust_s3_fails(s3: Any, session: boto3.Session, pair: Pair) -> None:
    """If the replication role does not exist, the replication of an object fails."""
    s3.put_bucket_replication(**pair.asked(pair.rule()))
    iam: Any = session.client("iam")
    iam.delete_role(RoleName=pair.role.rpartition("/")[2])
    s3.put_object(Bucket=pair.source, Key="k", Body=b"x")
    assert s3.head_object(Bucket=pair.source, Key="k")["ReplicationStatus"] == "FAILED"


def test_ssec_objects_are_replicated_under_their_key(s3: Any, pair: Pair) -> None:
    """A replica of an SSE-C object has the same key. A target that blocks SSE-C gets no replica."""
    unblock_ssec(s3, pair.source)
    s3.put_bucket_replication(**pair.asked(pair.rule()))
    s3.put_object(Bucket=pair.source, Key="blocked", Body=b"x", **ssec())
    head = s3.head_object(Bucket=pair.source, Key="blocked", **ssec())
    assert head["ReplicationStatus"] == "FAILED"
    unblock_ssec(pair.west, pair.target)
    s3.put_object(Bucket=pair.source, Key="k", Body=b"data", **ssec())
    assert pair.west.get_object(Bucket=pair.target, Key="k", **ssec())["Body"].read() == b"data"


def test_rules_choose_objects(s3: Any, pair: Pair) -> None:
    """A rule selects objects by prefix and tags; a disabled rule selects no object."""
    both = {"And": {"Prefix": "a/", "Tags": [{"Key": "x", "Value": "y"}]}}
    s3.put_bucket_replication(
        **pair.asked(
            pair.rule(ID="tagged", Filter=both),
            pair.rule(ID="prefix", Priority=2, Filter={"Prefix": "b/"}),
            pair.rule(ID="off", Priority=3, Status="Disabled"),
        )
    )
    for name, tags in (("a/1", "x=y"), ("a/2", ""), ("b/1", ""), ("c/1", "x=y")):
        s3.put_object(Bucket=pair.source, Key=name, Body=b"x", Tagging=tags)
    listed = pair.west.list_objects_v2(Bucket=pair.target)["Contents"]
    assert [each["Key"] for each in listed] == ["a/1", "b/1"]


@pytest.mark.parametrize("status", ["Enabled", "Disabled"])
def test_delete_markers_are_replicated_on_request(s3: Any, pair: Pair, status: str) -> None:
    """Delete markers are replicated if the rule says so; deletions of versions never are."""
    s3.put_bucket_replication(**pair.asked(pair.rule(DeleteMarkerReplication={"Status": status})))
    for name in ("k", "l", "m"):
        put = s3.put_object(Bucket=pair.source, Key=name, Body=b"x")
    s3.delete_object(Bucket=pair.source, Key="k")
    s3.delete_objects(Bucket=pair.source, Delete={"Objects": [{"Key": "l"}]})
    s3.delete_object(Bucket=pair.source, Key="m", VersionId=put["VersionId"])
    listed = pair.west.list_objects_v2(Bucket=pair.target)["Contents"]
    expected = ["m"] if status == "Enabled" else ["k", "l", "m"]
    assert [each["Key"] for each in listed] == expected


def test_replicas_are_not_replicated(s3: Any, pair: Pair) -> None:
    """Replicas are not replicated, so two buckets that replicate to each other do not loop."""
    s3.put_bucket_replication(**pair.asked(pair.rule()))
    back = pair.rule(Destination={"Bucket": f"arn:aws:s3:::{pair.source}"})
    pair.west.put_bucket_replication(**pair.asked(back) | {"Bucket": pair.target})
    s3.put_object(Bucket=pair.source, Key="k", Body=b"x")
    assert len(s3.list_object_versions(Bucket=pair.source)["Versions"]) == 1


def test_a_configuration_is_kept_whole(s3: Any, pair: Pair) -> None:
    """Replication settings are read back; while they exist, versioning cannot be suspended."""
    rule = pair.kms_rule(DeleteMarkerReplication={"Status": "Enabled"})
    s3.put_bucket_replication(**pair.asked(rule))
    found = s3.get_bucket_replication(Bucket=pair.source)["ReplicationConfiguration"]
    assert found == {"Role": pair.role, "Rules": [rule]}
    suspended = {"Bucket": pair.source, "VersioningConfiguration": {"Status": "Suspended"}}
    assert refusal(s3.put_bucket_versioning, **suspended) == (409, "InvalidBucketState")
    s3.delete_bucket_replication(Bucket=pair.source)
    refused = refusal(s3.get_bucket_replication, Bucket=pair.source)
    assert refused == (404, "ReplicationConfigurationNotFoundError")


def test_configurations_that_are_refused(s3: Any, pair: Pair) -> None:
    """A rule with a missing or superfluous KMS key, a taken priority or a bad target is refused."""
    to = pair.kms_rule()["Destination"]
    absent, own = ({"Bucket": f"arn:aws:s3:::{name}"} for name in ("absent", pair.source))
    wrong = [
        [pair.rule(Destination=to)],
        [pair.rule(SourceSelectionCriteria=KMS_OBJECTS)],
        [pair.rule(), pair.rule(ID="again")],
        [pair.rule(Destination=absent)],
        [pair.rule(Destination=own)],
    ]
    for rules in wrong:
        refused = refusal(s3.put_bucket_replication, **pair.asked(*rules))
        assert refused == (400, "InvalidRequest"), rules
    asked = pair.asked(pair.rule())
    asked["ReplicationConfiguration"]["Role"] = "replicator"
    assert refusal(s3.put_bucket_replication, **asked) == (400, "InvalidArgument")


@pytest.mark.parametrize("side", ["source", "target"])
def test_both_buckets_need_versioning(s3: Any, pair: Pair, side: str) -> None:
    """Replication is refused if the source or the target has no versioning."""
    client, name = (s3, pair.source) if side == "source" else (pair.west, pair.target)
    suspended = {"Status": "Suspended"}
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration=suspended)
    refused = refusal(s3.put_bucket_replication, **pair.asked(pair.rule()))
    assert refused == (400, "InvalidRequest")
