# SPDX-License-Identifier: Apache-2.0
"""The sandbox's S3 encrypts in each mode, and refuses requests, as AWS does."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sandbox_samples import KEY, got, raw, refusal, ssec

if TYPE_CHECKING:
    from s3crypt.sandbox import Running

OTHER = bytes(32)


# --- SSE-C -------------------------------------------------------------------------------------


def test_ssec_needs_its_key(s3: Any, bucket: str) -> None:
    """An SSE-C object is read with its key, and the replies have the key's MD5."""
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"data", **ssec())
    got = s3.get_object(Bucket=bucket, Key="k", **ssec())
    head = s3.head_object(Bucket=bucket, Key="k", **ssec())
    assert got["Body"].read() == b"data"
    for reply in (put, got, head):
        md5 = base64.b64encode(hashlib.md5(KEY, usedforsecurity=False).digest()).decode()
        assert (reply["SSECustomerAlgorithm"], reply["SSECustomerKeyMD5"]) == ("AES256", md5)
        assert "ServerSideEncryption" not in reply


@pytest.mark.parametrize(
    ("method", "key", "expected"),
    [
        ("get_object", {}, (400, "InvalidRequest")),
        ("get_object", ssec(OTHER), (403, "AccessDenied")),
        ("head_object", {}, (400, "400")),
        ("head_object", ssec(OTHER), (403, "403")),
    ],
)
def test_ssec_without_its_key_is_refused(
    s3: Any, bucket: str, method: str, key: dict[str, Any], expected: tuple[int, str]
) -> None:
    """A read of an SSE-C object without its key, or with a wrong key, is refused as by AWS."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", **ssec())
    assert refusal(getattr(s3, method), Bucket=bucket, Key="k", **key) == expected


def test_ssec_keys_on_other_objects_are_refused(s3: Any, bucket: str) -> None:
    """A read with a customer key is refused if the object has no customer key."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    refused = refusal(s3.get_object, Bucket=bucket, Key="k", **ssec())
    assert refused == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"algorithm": "AES128"}, "InvalidEncryptionAlgorithmError"),
        ({"key": base64.b64encode(bytes(16)).decode()}, "InvalidArgument"),
        ({"key": "not base64!"}, "InvalidArgument"),
        ({"key": base64.b64encode(OTHER).decode()}, "InvalidArgument"),
        ({"key-md5": None}, "InvalidArgument"),
        ({"key": None}, "InvalidArgument"),
        ({"algorithm": None}, "InvalidArgument"),
    ],
)
def test_ssec_headers_must_fit(
    sandbox: Running, bucket: str, changed: dict[str, str | None], code: str
) -> None:
    """A put is refused if the SSE-C algorithm, key or MD5 is missing or inconsistent."""
    md5 = hashlib.md5(KEY, usedforsecurity=False).digest()
    parts: dict[str, str | None] = {
        "algorithm": "AES256",
        "key": base64.b64encode(KEY).decode(),
        "key-md5": base64.b64encode(md5).decode(),
    }
    headers = {
        f"x-amz-server-side-encryption-customer-{name}": value
        for name, value in (parts | changed).items()
        if value is not None
    }
    status, body, _ = raw(sandbox, "PUT", f"/{bucket}/k", headers, b"data")
    assert (status, f"<Code>{code}</Code>" in body) == (400, True)


def test_ssec_is_per_version(s3: Any, versioned_bucket: str) -> None:
    """Each version of an object has its own SSE-C key."""
    where = {"Bucket": versioned_bucket, "Key": "k"}
    old = s3.put_object(**where, Body=b"old", **ssec())["VersionId"]
    new = s3.put_object(**where, Body=b"new", **ssec(OTHER))["VersionId"]
    got = s3.get_object(**where, VersionId=old, **ssec())
    assert got["Body"].read() == b"old"
    assert refusal(s3.get_object, **where, VersionId=new, **ssec()) == (403, "AccessDenied")


def test_ssec_parts_need_the_uploads_key(s3: Any, bucket: str) -> None:
    """Each part of an upload needs the upload's SSE-C key, which is then the object's key."""
    where = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**where, **ssec())["UploadId"]
    part = {**where, "UploadId": upload, "PartNumber": 1, "Body": b"data"}
    assert refusal(s3.upload_part, **part) == (400, "InvalidRequest")
    assert refusal(s3.upload_part, **part, **ssec(OTHER)) == (400, "InvalidRequest")
    sent = s3.upload_part(**part, **ssec())
    assert sent["SSECustomerAlgorithm"] == "AES256"
    parts = {"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]}
    refused = refusal(
        s3.complete_multipart_upload, **where, UploadId=upload, MultipartUpload=parts, **ssec(OTHER)
    )
    assert refused == (400, "InvalidRequest")
    done = s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts, **ssec())
    assert "ServerSideEncryption" not in done
    assert refusal(s3.get_object, **where) == (400, "InvalidRequest")
    assert s3.get_object(**where, **ssec())["Body"].read() == b"data"


def test_ssec_copy_sources_need_their_key(s3: Any, bucket: str) -> None:
    """Copying an SSE-C object needs its key. The copy is encrypted as the request says."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", **ssec())
    copy = {"Bucket": bucket, "Key": "l", "CopySource": {"Bucket": bucket, "Key": "k"}}
    assert refusal(s3.copy_object, **copy) == (400, "InvalidRequest")
    assert refusal(s3.copy_object, **copy, **ssec(OTHER, "CopySource")) == (403, "AccessDenied")
    plain = s3.copy_object(**copy, **ssec(prefix="CopySource"))
    assert plain["ServerSideEncryption"] == "AES256"
    s3.copy_object(**copy, **ssec(prefix="CopySource"), **ssec(OTHER))
    assert s3.get_object(Bucket=bucket, Key="l", **ssec(OTHER))["Body"].read() == b"data"


def test_ssec_part_copies_need_the_sources_key(s3: Any, bucket: str) -> None:
    """UploadPartCopy from an SSE-C object needs the source's key."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", **ssec())
    upload = s3.create_multipart_upload(Bucket=bucket, Key="l")["UploadId"]
    part = {"Bucket": bucket, "Key": "l", "UploadId": upload, "PartNumber": 1}
    source = {"CopySource": {"Bucket": bucket, "Key": "k"}}
    assert refusal(s3.upload_part_copy, **part, **source) == (400, "InvalidRequest")
    done = s3.upload_part_copy(**part, **source, **ssec(prefix="CopySource"))
    assert done["ServerSideEncryption"] == "AES256"


def test_new_buckets_block_ssec(s3: Any, blocked_bucket: str) -> None:
    """A new bucket blocks every write with SSE-C, as in AWS since April 2026."""
    where = {"Bucket": blocked_bucket, "Key": "k"}
    s3.put_object(Bucket=blocked_bucket, Key="plain", Body=b"data")
    denied = (403, "AccessDenied")
    assert refusal(s3.put_object, **where, Body=b"data", **ssec()) == denied
    assert refusal(s3.create_multipart_upload, **where, **ssec()) == denied
    source = f"{blocked_bucket}/plain"
    assert refusal(s3.copy_object, **where, CopySource=source, **ssec()) == denied
    rule = s3.get_bucket_encryption(Bucket=blocked_bucket)["ServerSideEncryptionConfiguration"]
    assert rule["Rules"] == [
        {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BucketKeyEnabled": False,
            "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]},
        }
    ]


def test_ssec_objects_stay_readable_when_blocked(s3: Any, bucket: str) -> None:
    """After a bucket blocks SSE-C, its SSE-C objects can still be read with their keys."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", **ssec())
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]},
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert s3.get_object(Bucket=bucket, Key="k", **ssec())["Body"].read() == b"data"
    assert refusal(s3.put_object, Bucket=bucket, Key="k", **ssec()) == (403, "AccessDenied")


# --- SSE-S3 and SSE-KMS ------------------------------------------------------------------------


def test_sse_s3_is_the_default(s3: Any, bucket: str) -> None:
    """If a request names no encryption, every reply says AES256."""
    where = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**where)
    part = s3.upload_part(**where, UploadId=upload["UploadId"], PartNumber=1, Body=b"data")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    replies = [
        upload,
        part,
        s3.complete_multipart_upload(**where, UploadId=upload["UploadId"], MultipartUpload=parts),
        s3.put_object(**where, Body=b"data"),
        got(s3, **where),
        s3.head_object(**where),
        s3.copy_object(Bucket=bucket, Key="l", CopySource=f"{bucket}/k"),
    ]
    assert [reply["ServerSideEncryption"] for reply in replies] == ["AES256"] * len(replies)


def test_kms_modes_name_the_keys_arn(s3: Any, kms: Any, bucket: str, kms_key: str) -> None:
    """In both KMS modes, replies name the key by its ARN, even if the request used an alias."""
    alias = f"alias/{uuid.uuid4()}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    for mode in ("aws:kms", "aws:kms:dsse"):
        for name in (kms_key, kms_key.rpartition("/")[2], alias):
            put = s3.put_object(Bucket=bucket, Key="k", ServerSideEncryption=mode, SSEKMSKeyId=name)
            head = s3.head_object(Bucket=bucket, Key="k")
            for reply in (put, head):
                assert (reply["ServerSideEncryption"], reply["SSEKMSKeyId"]) == (mode, kms_key)


def test_kms_without_a_key_uses_the_managed_one(s3: Any, kms: Any, bucket: str) -> None:
    """SSE-KMS without a key uses the key alias/aws/s3, which is made at the first use."""
    first = s3.put_object(Bucket=bucket, Key="k", ServerSideEncryption="aws:kms")["SSEKMSKeyId"]
    again = s3.put_object(Bucket=bucket, Key="k", ServerSideEncryption="aws:kms")["SSEKMSKeyId"]
    described = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]
    assert first == again == described["Arn"]
    assert described["KeyManager"] == "AWS"


def test_bucket_key_and_context_are_echoed(s3: Any, bucket: str, kms_key: str) -> None:
    """Replies return the bucket key flag; the encryption context is only in replies to writes."""
    context = base64.b64encode(b'{"team": "blue"}').decode()
    kms_mode = {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": kms_key,
        "BucketKeyEnabled": True,
        "SSEKMSEncryptionContext": context,
    }
    put = s3.put_object(Bucket=bucket, Key="k", **kms_mode)
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (put["BucketKeyEnabled"], put["SSEKMSEncryptionContext"]) == (True, context)
    assert head["BucketKeyEnabled"] is True
    assert "SSEKMSEncryptionContext" not in head
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", **kms_mode)
    assert (upload["BucketKeyEnabled"], upload["SSEKMSKeyId"]) == (True, kms_key)


@pytest.mark.parametrize(
    "asked",
    [
        {"ServerSideEncryption": "AES512"},
        {"ServerSideEncryption": "AES256", "SSEKMSKeyId": "alias/x"},
        {"SSEKMSKeyId": "alias/x"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": "not base64"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": "WzFd"},
        {"ServerSideEncryption": "AES256", "SSEKMSEncryptionContext": "e30="},
        {"ServerSideEncryption": "AES256", **ssec()},
    ],
)
def test_senseless_encryption_is_refused(s3: Any, bucket: str, asked: dict[str, Any]) -> None:
    """A put is refused for an unknown algorithm, a key without a KMS mode or a bad context."""
    refused = refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"", **asked)
    assert refused == (400, "InvalidArgument")


def test_encryption_headers_on_reads_are_refused(sandbox: Running, bucket: str) -> None:
    """GET and HEAD with an SSE-S3 or SSE-KMS header are refused."""
    for method in ("GET", "HEAD"):
        header = {"x-amz-server-side-encryption": "aws:kms"}
        assert raw(sandbox, method, f"/{bucket}/k", header)[0] == 400


def test_bucket_defaults_apply(s3: Any, bucket: str, kms_key: str) -> None:
    """The bucket's default encryption applies only if the request names no encryption."""
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": kms_key}
    rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    assert (put["SSEKMSKeyId"], put["BucketKeyEnabled"]) == (kms_key, True)
    own = s3.put_object(Bucket=bucket, Key="k", Body=b"data", ServerSideEncryption="AES256")
    assert own["ServerSideEncryption"] == "AES256"
    s3.delete_bucket_encryption(Bucket=bucket)
    reset = s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    assert reset["ServerSideEncryption"] == "AES256"


def test_object_encryption_answers_501(s3: Any, bucket: str, kms_key: str) -> None:
    """UpdateObjectEncryption is not implemented: it gets status 501, and the object stays."""
    where = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**where, Body=b"data")
    refused = refusal(
        s3.update_object_encryption, **where, ObjectEncryption={"SSEKMS": {"KMSKeyArn": kms_key}}
    )
    assert refused == (501, "NotImplemented")
    assert s3.get_object(**where)["Body"].read() == b"data"
