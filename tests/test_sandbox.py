# SPDX-License-Identifier: Apache-2.0
"""The sandbox: its life, and where its front is stricter than moto."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from s3crypt import ConfigError
from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import RequestsLog

KEY = bytes(range(32))
OTHER = bytes(32)


def ssec(key: bytes = KEY, prefix: str = "") -> dict[str, Any]:
    """Return boto3's SSE-C arguments."""
    return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    """Return the status and code with which a call is refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    reply = caught.value.response
    return int(reply["ResponseMetadata"]["HTTPStatusCode"]), str(reply["Error"]["Code"])


def raw(
    sandbox: sandboxes.Running,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | Iterator[bytes] = b"",
) -> tuple[int, str, dict[str, str]]:
    """Send what boto3 would not, and return status, body and headers."""
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{sandboxes.REGION}/s3/aws4"}
    connection = http.client.HTTPConnection(urlsplit(sandbox.endpoint_url).netloc, timeout=10)
    try:
        chunked = "Transfer-Encoding" in headers
        connection.request(method, path, body, signed | headers, encode_chunked=chunked)
        reply = connection.getresponse()
        return reply.status, reply.read().decode(), dict(reply.getheaders())
    finally:
        connection.close()


# --- Life ------------------------------------------------------------------------------------


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep state files of this test apart, and leave no sandbox behind."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield tmp_path / "s3crypt"
    sandboxes.stop()


def test_starts_once_and_stops(runtime: Path) -> None:
    """A started sandbox is found by status and by the next start, until stopped."""
    assert sandboxes.status() is None
    started = sandboxes.start()
    assert sandboxes.start() == started == sandboxes.status()
    assert sandboxes.stop()
    assert sandboxes.status() is None
    assert not sandboxes.stop()
    assert not (runtime / "sandbox.json").exists()


def test_the_state_file_is_private(runtime: Path) -> None:
    """Nobody else can read the token, and it is in no repr."""
    started = sandboxes.start()
    assert stat.S_IMODE((runtime / "sandbox.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    assert started.token not in repr(started)


def _deleted_files(pid: int) -> list[str]:
    targets = (str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return [target for target in targets if target.endswith("(deleted)")]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere /proc does not tell open files")
def test_bodies_are_held_in_memory() -> None:
    """No body lies in a temporary file: of an object, a copy, or a part, before and after."""
    with sandboxes.running() as own:
        s3: Any = boto3.client("s3", endpoint_url=own.endpoint_url)
        s3.create_bucket(Bucket="held")
        s3.put_object(Bucket="held", Key="whole", Body=bytes(6 * 2**20))
        s3.copy_object(Bucket="held", Key="copy", CopySource="held/whole")
        upload = {"Bucket": "held", "Key": "parts"}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        body = bytes(6 * 2**20)
        parts = [
            {"ETag": s3.upload_part(**upload, PartNumber=n, Body=body)["ETag"], "PartNumber": n}
            for n in (1, 2)
        ]
        assert _deleted_files(own.pid) == []
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        assert s3.get_object(Bucket="held", Key="parts")["Body"].read() == body * 2
        assert _deleted_files(own.pid) == []


def test_a_shared_runtime_directory_is_refused(runtime: Path) -> None:
    """A directory others may write to is not trusted."""
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    with pytest.raises(ConfigError, match="only you"):
        sandboxes.status()
    runtime.chmod(0o700)


def test_a_stale_state_file_is_forgotten(runtime: Path) -> None:
    """A record of a sandbox that does not answer is no sandbox."""
    runtime.mkdir(mode=0o700)
    stale = {"endpoint_url": "http://127.0.0.1:9", "pid": 1, "token": "t"}
    (runtime / "sandbox.json").write_text(json.dumps(stale))
    assert sandboxes.status() is None
    assert not (runtime / "sandbox.json").exists()


def test_a_wrong_token_is_not_obeyed(sandbox: sandboxes.Running) -> None:
    """Health and stop answer the token's holder only."""
    for method, page in (("GET", "health"), ("POST", "stop")):
        status, _, _ = raw(sandbox, method, f"/_s3crypt/{page}", {"x-s3crypt-token": "guess"})
        assert status == 403
    assert raw(sandbox, "GET", "/_s3crypt/health", {"x-s3crypt-token": sandbox.token})[0] == 200


def test_two_starts_at_once_leave_one(runtime: Path) -> None:
    """Whoever is recorded first wins; the other's sandbox is ended."""
    assert runtime.parent.exists()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: sandboxes.start(), range(2))
    assert first == second == sandboxes.status()


def test_a_taken_port_is_said(sandbox: sandboxes.Running, runtime: Path) -> None:
    """A port that cannot be had is a ConfigError with the system's words."""
    assert runtime.parent.exists()
    with pytest.raises(ConfigError, match="in use"):
        sandboxes.start(port=urlsplit(sandbox.endpoint_url).port or 0)


def test_without_moto_the_hint_says_what_to_install(runtime: Path) -> None:
    """The extra is named when moto is missing."""
    assert runtime.parent.exists()
    program = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'moto' else find(name, *a)\n"
        "from s3crypt import sandbox\n"
        "try: sandbox.start()\n"
        "except Exception as e: print(type(e).__name__, e.hint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "ConfigError Run: pip install 's3crypt[sandbox]'\n"


def test_importing_is_light() -> None:
    """The module itself needs neither moto nor boto3."""
    program = (
        "import sys, s3crypt.sandbox; print([m for m in ('moto','boto3') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_private_sandbox_dies_with_its_parent() -> None:
    """A killed parent leaves no server."""
    program = (
        "from s3crypt import sandbox\n"
        "with sandbox.running() as r:\n"
        "    print(r.endpoint_url, flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        address = urlsplit(parent.stdout.readline().strip())
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        try:
            with socket.create_connection((address.hostname or "", address.port or 0), timeout=1):
                time.sleep(0.1)
        except OSError:
            return
    pytest.fail("the server outlived its parent")


def test_nothing_is_kept_after_the_with() -> None:
    """The endpoint is gone, and what was in it."""
    with sandboxes.running() as mine:
        s3 = boto3.client(
            "s3", endpoint_url=mine.endpoint_url, config=Config(retries={"total_max_attempts": 1})
        )
        s3.create_bucket(Bucket="gone-soon")
    with pytest.raises(EndpointConnectionError):
        s3.list_buckets()


def test_the_environment_overrules_what_was_inherited(sandbox: sandboxes.Running) -> None:
    """A profile and a session token of the user's do not matter."""
    inherited = {"AWS_PROFILE": "work", "AWS_DEFAULT_PROFILE": "w", "AWS_SESSION_TOKEN": "theirs"}
    program = "import boto3; boto3.client('s3').list_buckets(); print('ok')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | inherited | sandboxes.environment(sandbox),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr


# --- HTTP ------------------------------------------------------------------------------------


def test_objects_come_back(s3: Any, bucket: str) -> None:
    """What is put is got, whatever its name."""
    for name in ("a b/ä+c%41", "x//y", "./z", "q?a=b&c"):
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode(), Metadata={"under_score": "1"})
        reply = s3.get_object(Bucket=bucket, Key=name)
        assert reply["Body"].read() == name.encode()
        assert reply["Metadata"] == {"under_score": "1"}


def test_chunked_bodies_with_trailers_are_taken(
    s3: Any, sandbox: sandboxes.Running, bucket: str
) -> None:
    """The framing SDKs use over TLS leaves no trace in the object."""
    body = os.urandom(3 * 2**20)
    checksum = base64.b64encode(zlib.crc32(body).to_bytes(4))
    framed = b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % (len(body), body, checksum)
    headers = {
        "Content-Encoding": "aws-chunked",
        "Transfer-Encoding": "chunked",
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": str(len(body)),
    }
    assert raw(sandbox, "PUT", f"/{bucket}/k", headers, iter([framed[:9], framed[9:]]))[0] == 200
    reply = s3.get_object(Bucket=bucket, Key="k")
    assert reply["Body"].read() == body
    assert "ContentEncoding" not in reply


def test_connections_are_kept(sandbox: sandboxes.Running) -> None:
    """One connection serves many requests, also after a refusal."""
    connection = http.client.HTTPConnection(urlsplit(sandbox.endpoint_url).netloc, timeout=10)
    try:
        connection.connect()
        first = connection.sock
        for _ in range(3):
            connection.request("PUT", "/nothing/here", b"x" * 100_000)
            assert connection.getresponse().read().startswith(b"<?xml")
            assert connection.sock is first
    finally:
        connection.close()


def test_requests_are_logged(s3: Any, bucket: str, requests_log: RequestsLog) -> None:
    """The log tells what moved, and in which direction."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"12345")
    s3.get_object(Bucket=bucket, Key="k", Range="bytes=1-2")["Body"].read()
    s3.copy_object(Bucket=bucket, Key="l", CopySource=f"{bucket}/k")
    put, got, copied = requests_log.list()
    assert (put["method"], put["path"], put["request_bytes"]) == ("PUT", f"/{bucket}/k", 5)
    assert (got["status"], got["response_bytes"], got["headers"]["range"]) == (206, 2, "bytes=1-2")
    assert copied["headers"]["x-amz-copy-source"] == f"{bucket}/k"
    requests_log.clear()
    assert requests_log.list() == []


# --- Who asks, and where ---------------------------------------------------------------------


def test_unsigned_requests_are_refused(bucket: str) -> None:
    """No credentials, no access."""
    anonymous = boto3.client("s3", config=Config(signature_version=UNSIGNED))
    assert refusal(anonymous.list_objects_v2, Bucket=bucket) == (403, "AccessDenied")


def test_presigned_urls_work(s3: Any, sandbox: sandboxes.Running, bucket: str) -> None:
    """A signature in the query is a signature."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    url = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}))
    connection = http.client.HTTPConnection(urlsplit(sandbox.endpoint_url).netloc, timeout=10)
    connection.request("GET", f"{url.path}?{url.query}")
    assert connection.getresponse().read() == b"data"
    connection.close()


def test_the_wrong_region_is_refused(sandbox: sandboxes.Running) -> None:
    """The refusal names the bucket's region, in the body and in a header."""
    name = f"west-{uuid.uuid4()}"
    west = boto3.client("s3", region_name="eu-west-1")
    west.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    status, body, headers = raw(sandbox, "GET", f"/{name}/k", {})
    assert status == 400
    assert "<Code>AuthorizationHeaderMalformed</Code>" in body
    assert "<Region>eu-west-1</Region>" in body
    assert headers["x-amz-bucket-region"] == "eu-west-1"


# --- SSE-C -----------------------------------------------------------------------------------


def test_ssec_needs_its_key(s3: Any, bucket: str) -> None:
    """Only the right key reads, and replies name it by its MD5."""
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
    """No key and the wrong key have AWS's different codes."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", **ssec())
    assert refusal(getattr(s3, method), Bucket=bucket, Key="k", **key) == expected


def test_ssec_keys_on_other_objects_are_refused(s3: Any, bucket: str) -> None:
    """A key for an object that has none is an error."""
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
    sandbox: sandboxes.Running, bucket: str, changed: dict[str, str | None], code: str
) -> None:
    """Algorithm, key and MD5 are all there and belong together."""
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
    """Each version keeps its own key."""
    where = {"Bucket": versioned_bucket, "Key": "k"}
    old = s3.put_object(**where, Body=b"old", **ssec())["VersionId"]
    new = s3.put_object(**where, Body=b"new", **ssec(OTHER))["VersionId"]
    got = s3.get_object(**where, VersionId=old, **ssec())
    assert got["Body"].read() == b"old"
    assert refusal(s3.get_object, **where, VersionId=new, **ssec()) == (403, "AccessDenied")


def test_ssec_parts_need_the_uploads_key(s3: Any, bucket: str) -> None:
    """Every part brings the key the upload began with; the object has it then."""
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
    """A copy reads with the source's key and takes over no encryption."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", **ssec())
    copy = {"Bucket": bucket, "Key": "l", "CopySource": {"Bucket": bucket, "Key": "k"}}
    assert refusal(s3.copy_object, **copy) == (400, "InvalidRequest")
    assert refusal(s3.copy_object, **copy, **ssec(OTHER, "CopySource")) == (403, "AccessDenied")
    plain = s3.copy_object(**copy, **ssec(prefix="CopySource"))
    assert plain["ServerSideEncryption"] == "AES256"
    s3.copy_object(**copy, **ssec(prefix="CopySource"), **ssec(OTHER))
    assert s3.get_object(Bucket=bucket, Key="l", **ssec(OTHER))["Body"].read() == b"data"


def test_ssec_part_copies_need_the_sources_key(s3: Any, bucket: str) -> None:
    """UploadPartCopy checks the source's key as CopyObject does."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", **ssec())
    upload = s3.create_multipart_upload(Bucket=bucket, Key="l")["UploadId"]
    part = {"Bucket": bucket, "Key": "l", "UploadId": upload, "PartNumber": 1}
    source = {"CopySource": {"Bucket": bucket, "Key": "k"}}
    assert refusal(s3.upload_part_copy, **part, **source) == (400, "InvalidRequest")
    done = s3.upload_part_copy(**part, **source, **ssec(prefix="CopySource"))
    assert done["ServerSideEncryption"] == "AES256"


def test_new_buckets_block_ssec(s3: Any, blocked_bucket: str) -> None:
    """As AWS since April 2026; the block covers every way to write, and reading stays possible."""
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
    """Blocking concerns writes; what is there can be read with its key."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", **ssec())
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]},
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert s3.get_object(Bucket=bucket, Key="k", **ssec())["Body"].read() == b"data"
    assert refusal(s3.put_object, Bucket=bucket, Key="k", **ssec()) == (403, "AccessDenied")


# --- SSE-S3 and SSE-KMS ----------------------------------------------------------------------


def test_sse_s3_is_the_default(s3: Any, bucket: str) -> None:
    """Every reply of the write and the read path says AES256 when nothing was asked for."""
    where = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**where)
    part = s3.upload_part(**where, UploadId=upload["UploadId"], PartNumber=1, Body=b"data")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    replies = [
        upload,
        part,
        s3.complete_multipart_upload(**where, UploadId=upload["UploadId"], MultipartUpload=parts),
        s3.put_object(**where, Body=b"data"),
        s3.get_object(**where),
        s3.head_object(**where),
        s3.copy_object(Bucket=bucket, Key="l", CopySource=f"{bucket}/k"),
    ]
    assert [reply["ServerSideEncryption"] for reply in replies] == ["AES256"] * len(replies)


def test_kms_modes_name_the_keys_arn(s3: Any, kms: Any, bucket: str, kms_key: str) -> None:
    """An id and an alias become the ARN, in every reply and for both KMS modes."""
    alias = f"alias/{uuid.uuid4()}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    for mode in ("aws:kms", "aws:kms:dsse"):
        for name in (kms_key, kms_key.rpartition("/")[2], alias):
            put = s3.put_object(Bucket=bucket, Key="k", ServerSideEncryption=mode, SSEKMSKeyId=name)
            head = s3.head_object(Bucket=bucket, Key="k")
            for reply in (put, head):
                assert (reply["ServerSideEncryption"], reply["SSEKMSKeyId"]) == (mode, kms_key)


def test_kms_without_a_key_uses_the_managed_one(s3: Any, kms: Any, bucket: str) -> None:
    """S3's own key is made on demand and stays the same."""
    first = s3.put_object(Bucket=bucket, Key="k", ServerSideEncryption="aws:kms")["SSEKMSKeyId"]
    again = s3.put_object(Bucket=bucket, Key="k", ServerSideEncryption="aws:kms")["SSEKMSKeyId"]
    described = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]
    assert first == again == described["Arn"]
    assert described["KeyManager"] == "AWS"


def test_bucket_key_and_context_are_echoed(s3: Any, bucket: str, kms_key: str) -> None:
    """Bucket Key is repeated by every reply for aws:kms, the context by the write's only."""
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
    """Bogus algorithms, keys without KMS, contexts that are none."""
    refused = refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"", **asked)
    assert refused == (400, "InvalidArgument")


def test_encryption_headers_on_reads_are_refused(sandbox: sandboxes.Running, bucket: str) -> None:
    """GET and HEAD take no SSE-S3 or SSE-KMS headers."""
    for method in ("GET", "HEAD"):
        header = {"x-amz-server-side-encryption": "aws:kms"}
        assert raw(sandbox, method, f"/{bucket}/k", header)[0] == 400


def _disable(kms: Any, key: str) -> None:
    kms.disable_key(KeyId=key)


def _doom(kms: Any, key: str) -> None:
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)


def _deny(kms: Any, key: str) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_disable, (400, "KMS.DisabledException")),
        (_doom, (400, "KMS.KMSInvalidStateException")),
        (_deny, (403, "AccessDenied")),
    ],
)
def test_unusable_keys_stop_s3(
    s3: Any,
    kms: Any,
    bucket: str,
    kms_key: str,
    spoil: Callable[[Any, str], None],
    expected: tuple[int, str],
) -> None:
    """Nothing is written, read or copied under a key KMS refuses; HEAD needs no key."""
    where = {"Bucket": bucket, "Key": "k"}
    mode = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
    s3.put_object(**where, Body=b"data", **mode)
    spoil(kms, kms_key)
    assert refusal(s3.put_object, **where, Body=b"x", **mode) == expected
    assert refusal(s3.create_multipart_upload, **where, **mode) == expected
    assert refusal(s3.get_object, **where) == expected
    assert refusal(s3.copy_object, Bucket=bucket, Key="l", CopySource=f"{bucket}/k") == expected
    assert s3.head_object(**where)["ContentLength"] == 4


def test_missing_keys_stop_s3(s3: Any, bucket: str) -> None:
    """A key that does not exist, or is elsewhere, is not found."""
    for name in ("alias/none", str(uuid.uuid4()), f"arn:aws:kms:eu-west-1:1:key/{uuid.uuid4()}"):
        refused = refusal(
            s3.put_object, Bucket=bucket, Key="k", ServerSideEncryption="aws:kms", SSEKMSKeyId=name
        )
        assert refused == (400, "KMS.NotFoundException")


def test_bucket_defaults_apply(s3: Any, bucket: str, kms_key: str) -> None:
    """A bucket's key is used when the request says nothing, and only then; deleting resets it."""
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
    """What is not there says so, and leaves the object alone."""
    where = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**where, Body=b"data")
    refused = refusal(
        s3.update_object_encryption, **where, ObjectEncryption={"SSEKMS": {"KMSKeyArn": kms_key}}
    )
    assert refused == (501, "NotImplemented")
    assert s3.get_object(**where)["Body"].read() == b"data"


# --- Conditions and copies -------------------------------------------------------------------


def test_puts_keep_their_conditions(s3: Any, bucket: str) -> None:
    """If-Match and If-None-Match decide before anything is written."""
    where = {"Bucket": bucket, "Key": "k"}
    assert refusal(s3.put_object, **where, IfMatch='"x"') == (404, "NoSuchKey")
    etag = s3.put_object(**where, Body=b"one", IfNoneMatch="*")["ETag"]
    failed = (412, "PreconditionFailed")
    assert refusal(s3.put_object, **where, Body=b"two", IfNoneMatch="*") == failed
    assert refusal(s3.put_object, **where, Body=b"two", IfMatch='"x"') == failed
    s3.put_object(**where, Body=b"three", IfMatch=etag)
    assert s3.get_object(**where)["Body"].read() == b"three"


def test_copies_keep_their_conditions(s3: Any, bucket: str) -> None:
    """Source and target are both guarded."""
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["ETag"]
    copy = {"Bucket": bucket, "Key": "l", "CopySource": f"{bucket}/k"}
    failed = (412, "PreconditionFailed")
    assert refusal(s3.copy_object, **copy, CopySourceIfMatch='"x"') == failed
    s3.copy_object(**copy, CopySourceIfMatch=etag, IfNoneMatch="*")
    assert refusal(s3.copy_object, **copy, IfNoneMatch="*") == failed
    assert refusal(s3.copy_object, **copy, IfMatch='"x"') == failed
    s3.copy_object(**copy, IfMatch=etag)


def test_uploads_keep_their_conditions(s3: Any, bucket: str) -> None:
    """CompleteMultipartUpload is guarded as a put is."""
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
    """Check and write are one step."""

    def attempt(number: int) -> bool:
        try:
            s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % number, IfNoneMatch="*")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(32))) == 1


def test_a_copy_onto_itself_must_change_something(s3: Any, bucket: str, kms_key: str) -> None:
    """Another encryption is a change; none is refused."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    copy = {"Bucket": bucket, "Key": "k", "CopySource": f"{bucket}/k"}
    assert refusal(s3.copy_object, **copy) == (400, "InvalidRequest")
    mode = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
    assert s3.copy_object(**copy, **mode)["SSEKMSKeyId"] == kms_key
    # Not inherited: without headers it is the bucket's default again.
    assert s3.copy_object(**copy)["ServerSideEncryption"] == "AES256"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


def test_copies_keep_properties(s3: Any, bucket: str) -> None:
    """Metadata, tags and content headers come along with an in-place change of encryption."""
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


def test_deletes_keep_their_condition(s3: Any, bucket: str) -> None:
    """A deletion of something else than was seen is refused."""
    where = {"Bucket": bucket, "Key": "k"}
    etag = s3.put_object(**where, Body=b"data")["ETag"]
    assert refusal(s3.delete_object, **where, IfMatch='"x"') == (412, "PreconditionFailed")
    s3.delete_object(**where, IfMatch=etag)
    assert refusal(s3.head_object, **where) == (404, "404")


def test_unknown_uploads_are_said(s3: Any, bucket: str) -> None:
    """Parts of an upload that was never begun have nowhere to go."""
    refused = refusal(
        s3.upload_part, Bucket=bucket, Key="k", UploadId="none", PartNumber=1, Body=b""
    )
    assert refused == (404, "NoSuchUpload")


# --- KMS -------------------------------------------------------------------------------------


def _crypto_calls(kms: Any, key: str, other: str, blob: bytes) -> list[Callable[[], Any]]:
    return [
        lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
        lambda: kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256"),
        lambda: kms.encrypt(KeyId=key, Plaintext=b"x"),
        lambda: kms.decrypt(CiphertextBlob=blob),
        lambda: kms.decrypt(CiphertextBlob=blob, KeyId=key),
        lambda: kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=other),
        lambda: kms.re_encrypt(
            CiphertextBlob=kms.encrypt(KeyId=other, Plaintext=b"x")["CiphertextBlob"],
            DestinationKeyId=key,
        ),
    ]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_disable, "DisabledException"),
        (_doom, "KMSInvalidStateException"),
        (_deny, "AccessDeniedException"),
    ],
)
def test_unusable_keys_do_nothing(
    kms: Any, kms_key: str, spoil: Callable[[Any, str], None], code: str
) -> None:
    """Disabled, dying and denied keys refuse every cryptographic operation, at both ends."""
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    spoil(kms, kms_key)
    for call in _crypto_calls(kms, kms_key, other, blob):
        assert refusal(call) == (400, code)


def test_keys_recover(kms: Any, kms_key: str) -> None:
    """Cancelling a deletion leaves the key disabled; enabling it brings everything back."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    _doom(kms, kms_key)
    assert refusal(kms.enable_key, KeyId=kms_key) == (400, "KMSInvalidStateException")
    kms.cancel_key_deletion(KeyId=kms_key)
    assert refusal(kms.decrypt, CiphertextBlob=blob) == (400, "DisabledException")
    kms.enable_key(KeyId=kms_key)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_deny_can_be_for_one_action(kms: Any, kms_key: str) -> None:
    """A key may wrap and not unwrap."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    statement = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["kms:Decrypt"]}
    policy = json.dumps({"Statement": [statement | {"Resource": "*"}]})
    kms.put_key_policy(KeyId=kms_key, PolicyName="default", Policy=policy)
    assert refusal(kms.decrypt, CiphertextBlob=blob) == (400, "AccessDeniedException")
    assert kms.generate_data_key(KeyId=kms_key, KeySpec="AES_256")["KeyId"] == kms_key


def test_the_named_key_must_be_the_ciphertexts(kms: Any, kms_key: str) -> None:
    """Decrypt's KeyId and ReEncrypt's SourceKeyId are checked."""
    other = kms.create_key()["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    wrong = (400, "IncorrectKeyException")
    assert refusal(kms.decrypt, CiphertextBlob=blob, KeyId=other) == wrong
    move = {"CiphertextBlob": blob, "DestinationKeyId": other}
    assert refusal(kms.re_encrypt, **move, SourceKeyId=other) == wrong
    moved = kms.re_encrypt(**move, SourceKeyId=kms_key)
    assert (moved["SourceKeyId"], moved["KeyId"]) == (kms_key, other)


def test_changed_ciphertexts_are_refused(kms: Any, kms_key: str) -> None:
    """A changed blob, and one that never was, are InvalidCiphertextException."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    for bad in (blob[:-1] + bytes([blob[-1] ^ 1]), b"\0" * 100, b"short", b"z" + blob[1:]):
        refused = refusal(kms.decrypt, CiphertextBlob=bad)
        assert refused == (400, "InvalidCiphertextException")


def test_aliases_stand_for_keys(kms: Any, kms_key: str) -> None:
    """Aliases and their ARNs work wherever a key is used."""
    alias = f"alias/{uuid.uuid4()}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    arn = kms_key.rpartition(":")[0] + f":{alias}"
    for name in (alias, arn):
        made = kms.generate_data_key(KeyId=name, KeySpec="AES_256")
        blob = made["CiphertextBlob"]
        assert made["KeyId"] == kms_key
        assert kms.decrypt(CiphertextBlob=blob, KeyId=name)["Plaintext"] == made["Plaintext"]
        moved = kms.re_encrypt(CiphertextBlob=blob, SourceKeyId=name, DestinationKeyId=name)
        assert moved["KeyId"] == kms_key


def test_rotation_periods_are_kept(kms: Any, kms_key: str) -> None:
    """The period is what was asked for, a year if nothing was, and the next date follows."""
    assert kms.get_key_rotation_status(KeyId=kms_key)["KeyRotationEnabled"] is False
    for asked, days in (({"RotationPeriodInDays": 90}, 90), ({}, 365)):
        kms.enable_key_rotation(KeyId=kms_key, **asked)
        status = kms.get_key_rotation_status(KeyId=kms_key)
        assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, days)
        ahead = status["NextRotationDate"].timestamp() - time.time()
        assert ahead == pytest.approx(days * 86_400, abs=600)
    kms.disable_key_rotation(KeyId=kms_key)
    assert "NextRotationDate" not in kms.get_key_rotation_status(KeyId=kms_key)


@pytest.mark.parametrize("days", [89, 2561])
def test_rotation_periods_have_bounds(kms_key: str, days: int) -> None:
    """90 to 2560 days."""
    unchecked = boto3.client("kms", config=Config(parameter_validation=False))
    refused = refusal(unchecked.enable_key_rotation, KeyId=kms_key, RotationPeriodInDays=days)
    assert refused == (400, "ValidationException")


def test_on_demand_rotation_ends_at_25(kms: Any, kms_key: str) -> None:
    """The 26th is refused, and old ciphertexts stay readable."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    for _ in range(25):
        kms.rotate_key_on_demand(KeyId=kms_key)
    assert refusal(kms.rotate_key_on_demand, KeyId=kms_key) == (400, "LimitExceededException")
    assert len(kms.list_key_rotations(KeyId=kms_key)["Rotations"]) == 25
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_what_cannot_rotate_says_so(kms: Any, kms_key: str) -> None:
    """Disabled keys, asymmetric keys and aliases are refused."""
    rsa = kms.create_key(KeyUsage="ENCRYPT_DECRYPT", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    unsupported = (400, "UnsupportedOperationException")
    assert refusal(kms.rotate_key_on_demand, KeyId=rsa) == unsupported
    assert refusal(kms.enable_key_rotation, KeyId=rsa) == unsupported
    assert refusal(kms.rotate_key_on_demand, KeyId="alias/x") == (400, "NotFoundException")
    _disable(kms, kms_key)
    assert refusal(kms.rotate_key_on_demand, KeyId=kms_key) == (400, "DisabledException")


@pytest.mark.parametrize("days", [6, 31])
def test_deletion_windows_have_bounds(kms: Any, kms_key: str, days: int) -> None:
    """7 to 30 days."""
    refused = refusal(kms.schedule_key_deletion, KeyId=kms_key, PendingWindowInDays=days)
    assert refused == (400, "ValidationException")


def test_dry_runs_do_nothing(kms: Any, kms_key: str) -> None:
    """A dry run is checked, and answered with an error that means yes."""
    dry = {"KeyId": kms_key, "KeySpec": "AES_256", "DryRun": True}
    assert refusal(kms.generate_data_key, **dry) == (412, "DryRunOperationException")
    _disable(kms, kms_key)
    assert refusal(kms.generate_data_key, **dry) == (400, "DisabledException")


def test_replicas_open_their_siblings_ciphertexts(kms: Any) -> None:
    """A multi-Region key works in another region under that region's ARN."""
    primary = kms.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
    kms.replicate_key(KeyId=primary, ReplicaRegion="eu-west-1")
    blob = kms.encrypt(KeyId=primary, Plaintext=b"x")["CiphertextBlob"]
    west = boto3.client("kms", region_name="eu-west-1")
    sibling = primary.replace(sandboxes.REGION, "eu-west-1")
    opened = west.decrypt(CiphertextBlob=blob, KeyId=sibling)
    assert (opened["KeyId"], opened["Plaintext"]) == (sibling, b"x")
    assert refusal(west.decrypt, CiphertextBlob=blob, KeyId=primary) == (400, "NotFoundException")
    for client, arn, kind in ((west, sibling, "REPLICA"), (kms, primary, "PRIMARY")):
        described = client.describe_key(KeyId=arn)["KeyMetadata"]
        assert described["MultiRegionConfiguration"]["MultiRegionKeyType"] == kind


def test_contexts_must_be_the_same(kms: Any, kms_key: str) -> None:
    """Neither a missing pair nor one cut elsewhere opens a ciphertext."""
    context = {"a": "bc", "ä": "€"}
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
    for other in ({}, {"a": "bc"}, {"ab": "c", "ä": "€"}):
        refused = refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext=other)
        assert refused == (400, "InvalidCiphertextException")
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=dict(reversed(context.items())))
    assert opened["Plaintext"] == b"x"


def test_unsigned_kms_requests_are_refused(sandbox: sandboxes.Running) -> None:
    """KMS wants credentials, too."""
    headers = {"X-Amz-Target": "TrentService.ListKeys", "Authorization": ""}
    status, body, _ = raw(sandbox, "POST", "/", headers, b"{}")
    assert (status, json.loads(body)["__type"]) == (400, "MissingAuthenticationTokenException")


# --- What is kept beside an object version ----------------------------------------------------


@pytest.fixture
def locked_bucket(s3: Any) -> str:
    """Make a bucket with Object Lock."""
    name = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def test_event_holds_come_back(s3: Any, locked_bucket: str) -> None:
    """HEAD and GET say the hold of a version, its duration while it is on; no copy inherits it."""
    where = {"Bucket": locked_bucket, "Key": "k"}
    s3.put_object(
        **where, Body=b"data", ObjectLockEventHold="ON", ObjectLockEventHoldDurationDays=3
    )
    for reply in (s3.head_object(**where), s3.get_object(**where)):
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
    """Of a put, a copy and an upload by parts; and any where the bucket has no Object Lock."""
    where = {"Bucket": locked_bucket, "Key": "k"}
    s3.put_object(**where, Body=b"data")
    calls: list[Callable[..., Any]] = [s3.put_object, s3.create_multipart_upload]
    for call in calls:
        assert refusal(call, **where, **hold) == (400, "InvalidArgument")
    source = {"CopySource": f"{locked_bucket}/k", "MetadataDirective": "REPLACE"}
    assert refusal(s3.copy_object, **where, **source, **hold) == (400, "InvalidArgument")


def test_event_holds_need_object_lock(s3: Any, bucket: str) -> None:
    """The bucket's setting comes first, as for the older locks."""
    where = {"Bucket": bucket, "Key": "k"}
    refused = (400, "InvalidRequest")
    assert refusal(s3.put_object, **where, Body=b"", ObjectLockEventHold="ON") == refused
    s3.put_object(**where, Body=b"")
    assert refusal(s3.get_object_retention, **where) == refused


def test_annotations_are_a_versions_own(s3: Any, versioned_bucket: str) -> None:
    """Put, got, listed by pages and deleted; a rewrite begins without, the old version keeps."""
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
    """COPY is the default; SSE-C objects cannot have any; copies by parts have none."""
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
    """Names and texts have bounds."""
    where = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**where, Body=b"data")
    note = {"AnnotationName": name, "AnnotationPayload": payload}
    assert refusal(s3.put_object_annotation, **where, **note)[1] == code


def test_annotations_have_their_conditions(s3: Any, bucket: str) -> None:
    """Their object must be there, be the one that was meant, and be open without a key."""
    where = {"Bucket": bucket, "Key": "k"}
    note = {"AnnotationName": "a", "AnnotationPayload": b"note"}
    assert refusal(s3.put_object_annotation, **where, **note) == (404, "NoSuchKey")
    s3.put_object(**where, Body=b"data")
    other = refusal(s3.put_object_annotation, **where, **note, ObjectIfMatch='"x"')
    assert other == (412, "PreconditionFailed")
    s3.put_object(**where, Body=b"data", **ssec())
    assert refusal(s3.put_object_annotation, **where, **note) == (400, "InvalidRequest")


def test_every_bucket_name_is_a_buckets(s3: Any) -> None:
    """Also those that moto's own dispatcher takes for another service's path."""
    for bucket, name in (
        ("latest", "meta-data/report"),
        ("latest", "api/token"),
        ("moto-api", "x"),
    ):
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key=name, Body=b"the report")
        assert s3.get_object(Bucket=bucket, Key=name)["Body"].read() == b"the report"
        s3.delete_object(Bucket=bucket, Key=name)
