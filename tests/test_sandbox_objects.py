# SPDX-License-Identifier: Apache-2.0
"""The sandbox's S3: conditions, properties, holds and annotations of objects."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from sandbox_samples import got, refusal, ssec

if TYPE_CHECKING:
    from collections.abc import Callable


# --- Conditions and copies ---------------------------------------------------------------------


def test_puts_keep_their_conditions(s3: Any, bucket: str) -> None:
    """A put whose If-Match or If-None-Match does not hold is refused, and changes nothing."""
    where = {"Bucket": bucket, "Key": "k"}
    assert refusal(s3.put_object, **where, IfMatch='"x"') == (404, "NoSuchKey")
    etag = s3.put_object(**where, Body=b"one", IfNoneMatch="*")["ETag"]
    failed = (412, "PreconditionFailed")
    assert refusal(s3.put_object, **where, Body=b"two", IfNoneMatch="*") == failed
    assert refusal(s3.put_object, **where, Body=b"two", IfMatch='"x"') == failed
    s3.put_object(**where, Body=b"three", IfMatch=etag)
    assert s3.get_object(**where)["Body"].read() == b"three"


def test_copies_keep_their_conditions(s3: Any, bucket: str) -> None:
    """A copy is refused if a condition on its source or its target does not hold."""
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["ETag"]
    copy = {"Bucket": bucket, "Key": "l", "CopySource": f"{bucket}/k"}
    failed = (412, "PreconditionFailed")
    assert refusal(s3.copy_object, **copy, CopySourceIfMatch='"x"') == failed
    s3.copy_object(**copy, CopySourceIfMatch=etag, IfNoneMatch="*")
    assert refusal(s3.copy_object, **copy, IfNoneMatch="*") == failed
    assert refusal(s3.copy_object, **copy, IfMatch='"x"') == failed
    s3.copy_object(**copy, IfMatch=etag)


def test_uploads_keep_their_conditions(s3: Any, bucket: str) -> None:
    """CompleteMultipartUpload is refused if its If-Match or If-None-Match does not hold."""
    where = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"data")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    complete = {**where, "UploadId": upload, "MultipartUpload": parts}
    etag = s3.put_object(**where, Body=b"first")["ETag"]
    failed = (412, "PreconditionFailed")
    assert refusal(s3.complete_multipart_upload, **complete, IfNoneMatch="*") == failed
    assert refusal(s3.complete_multipart_upload, **complete, IfMatch='"x"') == failed
    s3.complete_multipart_upload(**complete, IfMatch=etag)
    assert s3.get_object(**where)["Body"].read() == b"data"


def test_one_of_many_writers_wins(s3: Any, bucket: str) -> None:
    """Of many parallel puts with If-None-Match, exactly one succeeds."""

    def attempt(number: int) -> bool:
        try:
            s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % number, IfNoneMatch="*")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(32))) == 1


def test_a_copy_onto_itself_must_change_something(s3: Any, bucket: str, kms_key: str) -> None:
    """A copy of an object onto itself is refused if it changes nothing, such as the encryption."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    copy = {"Bucket": bucket, "Key": "k", "CopySource": f"{bucket}/k"}
    assert refusal(s3.copy_object, **copy) == (400, "InvalidRequest")
    mode = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
    assert s3.copy_object(**copy, **mode)["SSEKMSKeyId"] == kms_key
    # A copy does not inherit the encryption: without headers, the bucket's default applies.
    assert s3.copy_object(**copy)["ServerSideEncryption"] == "AES256"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


def test_copies_keep_properties(s3: Any, bucket: str) -> None:
    """A copy onto itself in another encryption keeps metadata, tags and content headers."""
    s3.put_object(
        Bucket=bucket,
        Key="k",
        Body=b"data",
        ContentType="text/plain",
        ContentEncoding="gzip",
        Metadata={"a": "b"},
        Tagging="t=1",
    )
    s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/k", ServerSideEncryption="aws:kms")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentType"], head["ContentEncoding"]) == ("text/plain", "gzip")
    assert head["Metadata"] == {"a": "b"}
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "t", "Value": "1"}]


@pytest.mark.parametrize("name", ["x" * 1024, "ä" * 512, "a/" * 512])
def test_names_have_1024_bytes_at_most(s3: Any, bucket: str, name: str) -> None:
    """A name of 1,024 UTF-8 bytes works; every operation refuses a longer name."""
    s3.put_object(Bucket=bucket, Key=name, Body=b"data")
    assert s3.get_object(Bucket=bucket, Key=name)["Body"].read() == b"data"
    where = {"Bucket": bucket, "Key": f"{name}x"}
    too_long = (400, "KeyTooLongError")
    assert refusal(s3.put_object, **where, Body=b"data") == too_long
    assert refusal(s3.copy_object, **where, CopySource={"Bucket": bucket, "Key": name}) == too_long
    assert refusal(s3.create_multipart_upload, **where) == too_long
    assert refusal(s3.get_object, **where) == too_long
    assert refusal(s3.delete_object, **where) == too_long
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_a_delete_marker_is_only_deleted(s3: Any, versioned_bucket: str) -> None:
    """Requests for a delete marker get 405, and requests for its object 404.

    Only a deletion of the marker works.
    """
    where = {"Bucket": versioned_bucket, "Key": "k"}
    s3.put_object(**where, Body=b"data")
    marker = {**where, "VersionId": s3.delete_object(**where)["VersionId"]}
    for call in (
        s3.get_object,
        s3.get_object_tagging,
        s3.get_object_acl,
        s3.list_object_annotations,
    ):
        with pytest.raises(ClientError) as caught:
            call(**marker)
        said = caught.value.response["ResponseMetadata"]
        assert (said["HTTPStatusCode"], caught.value.response["Error"]["Code"]) == (
            405,
            "MethodNotAllowed",
        )
        assert said["HTTPHeaders"]["x-amz-delete-marker"] == "true"
        assert said["HTTPHeaders"]["allow"] == "DELETE"
    assert refusal(s3.head_object, **marker) == (405, "405")
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    assert refusal(s3.put_object_tagging, **marker, Tagging=tags) == (405, "MethodNotAllowed")
    copied = refusal(s3.copy_object, Bucket=versioned_bucket, Key="copy", CopySource=marker)
    assert copied == (400, "InvalidRequest")
    for call in (s3.get_object, s3.head_object):
        with pytest.raises(ClientError) as caught:
            call(**where)
        said = caught.value.response["ResponseMetadata"]
        assert said["HTTPStatusCode"] == 404
        assert said["HTTPHeaders"]["x-amz-delete-marker"] == "true"
        assert said["HTTPHeaders"]["x-amz-version-id"] == marker["VersionId"]
    s3.delete_object(**marker)
    assert s3.get_object(**where)["Body"].read() == b"data"


def test_deletes_keep_their_condition(s3: Any, bucket: str) -> None:
    """A deletion whose If-Match does not hold is refused."""
    where = {"Bucket": bucket, "Key": "k"}
    etag = s3.put_object(**where, Body=b"data")["ETag"]
    assert refusal(s3.delete_object, **where, IfMatch='"x"') == (412, "PreconditionFailed")
    s3.delete_object(**where, IfMatch=etag)
    assert refusal(s3.head_object, **where) == (404, "404")


def test_unknown_uploads_are_said(s3: Any, bucket: str) -> None:
    """UploadPart for an unknown upload gets NoSuchUpload."""
    refused = refusal(
        s3.upload_part, Bucket=bucket, Key="k", UploadId="none", PartNumber=1, Body=b""
    )
    assert refused == (404, "NoSuchUpload")


# --- Properties of an object version -----------------------------------------------------------


@pytest.fixture
def locked_bucket(s3: Any) -> str:
    """Make a bucket with Object Lock. Return its name."""
    name = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def test_event_holds_come_back(s3: Any, locked_bucket: str) -> None:
    """HEAD and GET return an event hold, with its duration while it is on; a copy has no hold."""
    where = {"Bucket": locked_bucket, "Key": "k"}
    s3.put_object(
        **where, Body=b"data", ObjectLockEventHold="ON", ObjectLockEventHoldDurationDays=3
    )
    for reply in (s3.head_object(**where), got(s3, **where)):
        assert (reply["ObjectLockEventHold"], reply["ObjectLockEventHoldDurationDays"]) == ("ON", 3)
    version = s3.head_object(**where)["VersionId"]
    assert refusal(s3.delete_object, **where, VersionId=version) == (403, "AccessDenied")
    s3.put_object_retention(
        **where, Retention={"EventHold": "OFF", "EventHoldDuration": {"Years": 2}}
    )
    told = s3.get_object_retention(**where)["Retention"]
    assert told == {"EventHold": "OFF", "EventHoldDuration": {"Years": 2}}
    head = s3.head_object(**where)
    assert head["ObjectLockEventHold"] == "OFF"
    assert "ObjectLockEventHoldDurationYears" not in head
    s3.delete_object(**where, VersionId=version)
    s3.put_object(**where, Body=b"data", ObjectLockEventHold="ON")
    s3.copy_object(Bucket=locked_bucket, Key="l", CopySource=f"{locked_bucket}/k")
    assert "ObjectLockEventHold" not in s3.head_object(Bucket=locked_bucket, Key="l")
    none = (404, "NoSuchObjectLockConfiguration")
    assert refusal(s3.get_object_retention, Bucket=locked_bucket, Key="l") == none


@pytest.mark.parametrize(
    "hold",
    [
        {"ObjectLockEventHold": "MAYBE"},
        {"ObjectLockEventHoldDurationDays": 3},
        {"ObjectLockEventHold": "ON", "ObjectLockEventHoldDurationDays": 0},
        {"ObjectLockEventHold": "ON", "ObjectLockEventHoldDurationYears": 101},
        {
            "ObjectLockEventHold": "ON",
            "ObjectLockEventHoldDurationDays": 3,
            "ObjectLockEventHoldDurationYears": 3,
        },
    ],
)
def test_senseless_event_holds_are_refused(
    hold: dict[str, Any], s3: Any, locked_bucket: str
) -> None:
    """A malformed event hold is refused by a put, a copy and an upload."""
    where = {"Bucket": locked_bucket, "Key": "k"}
    s3.put_object(**where, Body=b"data")
    calls: list[Callable[..., Any]] = [s3.put_object, s3.create_multipart_upload]
    for call in calls:
        assert refusal(call, **where, **hold) == (400, "InvalidArgument")
    source = {"CopySource": f"{locked_bucket}/k", "MetadataDirective": "REPLACE"}
    assert refusal(s3.copy_object, **where, **source, **hold) == (400, "InvalidArgument")


def test_event_holds_need_object_lock(s3: Any, bucket: str) -> None:
    """Without Object Lock in the bucket, an event hold can neither be set nor read."""
    where = {"Bucket": bucket, "Key": "k"}
    refused = (400, "InvalidRequest")
    assert refusal(s3.put_object, **where, Body=b"", ObjectLockEventHold="ON") == refused
    s3.put_object(**where, Body=b"")
    assert refusal(s3.get_object_retention, **where) == refused


def test_annotations_are_a_versions_own(s3: Any, versioned_bucket: str) -> None:
    """Annotations belong to one version: a new version has none, the old version keeps them."""
    where = {"Bucket": versioned_bucket, "Key": "k"}
    first = s3.put_object(**where, Body=b"data")
    for name in ("b", "a", "c"):
        put = s3.put_object_annotation(**where, AnnotationName=name, AnnotationPayload=b"note")
        assert put["ObjectVersionId"] == first["VersionId"]
    page = s3.list_object_annotations(**where, MaxAnnotationResults=2)
    assert [entry["AnnotationName"] for entry in page["Annotations"]] == ["a", "b"]
    token = page["NextContinuationToken"]
    rest = s3.list_object_annotations(**where, ContinuationToken=token)
    assert [entry["AnnotationName"] for entry in rest["Annotations"]] == ["c"]
    assert "NextContinuationToken" not in rest
    got = s3.get_object_annotation(**where, AnnotationName="a")
    assert (got["AnnotationPayload"].read(), got["ETag"]) == (b"note", put["ETag"])
    s3.delete_object_annotation(**where, AnnotationName="a")
    gone = refusal(s3.get_object_annotation, **where, AnnotationName="a")
    assert gone == (404, "NoSuchAnnotation")
    s3.put_object(**where, Body=b"data")
    assert s3.list_object_annotations(**where)["AnnotationCount"] == 0
    old = s3.list_object_annotations(**where, VersionId=first["VersionId"])
    assert old["AnnotationCount"] == 2


def test_copies_take_annotations_unless_told_not_to(s3: Any, bucket: str) -> None:
    """A copy has the source's annotations, unless the request excludes them.

    A copy in parts has no annotations. A copy to SSE-C must exclude them.
    """
    source = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**source, Body=b"data")
    s3.put_object_annotation(**source, AnnotationName="a", AnnotationPayload=b"note")
    counts = []
    for directive in ({}, {"AnnotationDirective": "COPY"}, {"AnnotationDirective": "EXCLUDE"}):
        s3.copy_object(Bucket=bucket, Key="l", CopySource=source, **directive)
        counts.append(s3.list_object_annotations(Bucket=bucket, Key="l")["AnnotationCount"])
    assert counts == [1, 1, 0]
    copy = {"Bucket": bucket, "Key": "m", "CopySource": source, **ssec()}
    assert refusal(s3.copy_object, **copy) == (400, "InvalidRequest")
    s3.copy_object(**copy, AnnotationDirective="EXCLUDE")
    upload = {"Bucket": bucket, "Key": "n"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    part = s3.upload_part_copy(**upload, PartNumber=1, CopySource=source)["CopyPartResult"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert s3.list_object_annotations(Bucket=bucket, Key="n")["AnnotationCount"] == 0


@pytest.mark.parametrize(
    ("name", "payload", "code"),
    [
        ("AWSx", b"note", "InvalidAnnotationName"),
        ("s3-x", b"note", "InvalidAnnotationName"),
        ("ä" * 257, b"note", "AnnotationNameTooLong"),
        ("a", b"", "InvalidRequest"),
        ("a", b"x" * (2**20 + 1), "InvalidRequest"),
        ("a", b"\xff", "UnsupportedMediaType"),
    ],
)
def test_senseless_annotations_are_refused(
    name: str, payload: bytes, code: str, s3: Any, bucket: str
) -> None:
    """An annotation with a too long or invalid name or text is refused."""
    where = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**where, Body=b"data")
    note = {"AnnotationName": name, "AnnotationPayload": payload}
    assert refusal(s3.put_object_annotation, **where, **note)[1] == code


def test_annotations_have_their_conditions(s3: Any, bucket: str) -> None:
    """An annotation is refused if the object is missing, has another ETag or is under SSE-C."""
    where = {"Bucket": bucket, "Key": "k"}
    note = {"AnnotationName": "a", "AnnotationPayload": b"note"}
    assert refusal(s3.put_object_annotation, **where, **note) == (404, "NoSuchKey")
    s3.put_object(**where, Body=b"data")
    other = refusal(s3.put_object_annotation, **where, **note, ObjectIfMatch='"x"')
    assert other == (412, "PreconditionFailed")
    s3.put_object(**where, Body=b"data", **ssec())
    assert refusal(s3.put_object_annotation, **where, **note) == (400, "InvalidRequest")


# --- Names and listings of versions ------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a\nb", "\n", "a/\n/b", "a\r\nb\n", "a\x1b[31mb", "a<&>b", "é/日"]
)
def test_every_name_is_kept_and_listed(name: str, s3: Any, versioned_bucket: str) -> None:
    """An object with an unusual name is put, copied, deleted and listed with its versions."""
    where = {"Bucket": versioned_bucket, "Key": name}
    first = s3.put_object(**where, Body=b"1")["VersionId"]
    assert s3.head_object(**where)["VersionId"] == first
    assert got(s3, **where)["ContentLength"] == 1
    copy = {"Bucket": versioned_bucket, "Key": name}
    second = s3.copy_object(**where, CopySource=copy, MetadataDirective="REPLACE")["VersionId"]
    marker = s3.delete_object(**where)["VersionId"]
    reply = s3.list_object_versions(Bucket=versioned_bucket, Prefix=name)
    listed = [(each["Key"], each["VersionId"], each["IsLatest"]) for each in reply["Versions"]]
    assert listed == [(name, second, False), (name, first, False)]
    [found] = reply["DeleteMarkers"]
    assert (found["Key"], found["VersionId"], found["IsLatest"]) == (name, marker, True)
    assert reply["Prefix"] == name


def test_versions_come_in_pages(s3: Any, versioned_bucket: str) -> None:
    """ListObjectVersions returns each version once, sorted by name and then newest first.

    The size of the pages does not matter.
    """
    put = [
        (name, s3.put_object(Bucket=versioned_bucket, Key=name)["VersionId"])
        for name in ("b", "p/x", "a", "p/y", "b", "ä", "p/x")
    ]
    put.reverse()
    wanted = sorted(put, key=lambda each: each[0].encode())
    for size in (1, 2, 3, 1000):
        pages = s3.get_paginator("list_object_versions").paginate(
            Bucket=versioned_bucket, PaginationConfig={"PageSize": size}
        )
        found = [(each["Key"], each["VersionId"]) for page in pages for each in page["Versions"]]
        assert found == wanted
        pages = s3.get_paginator("list_object_versions").paginate(
            Bucket=versioned_bucket, Delimiter="/", PaginationConfig={"PageSize": size}
        )
        level = list(pages)
        groups = [each["Prefix"] for page in level for each in page.get("CommonPrefixes", ())]
        assert groups == ["p/"]
        keys = [each["Key"] for page in level for each in page.get("Versions", ())]
        assert keys == ["a", "b", "b", "ä"]
