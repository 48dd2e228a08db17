# SPDX-License-Identifier: Apache-2.0
"""The sandbox: its life, its HTTP, and who may ask where."""

from __future__ import annotations

import base64
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
from botocore.exceptions import EndpointConnectionError
from sandbox_samples import raw, refusal

from s3crypt import ConfigError
from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import RequestsLog


# --- Life --------------------------------------------------------------------------------------


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


# --- HTTP --------------------------------------------------------------------------------------


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


# --- Who asks, and where -----------------------------------------------------------------------


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
