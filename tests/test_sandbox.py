# SPDX-License-Identifier: Apache-2.0
"""The sandbox: start and stop, its HTTP, and which requests it accepts."""

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
from moto.moto_api._internal.urls import url_paths as management_paths
from sandbox_samples import raw, refusal

from s3crypt import ConfigError
from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import RequestsLog


MOTOS_OWN = (*management_paths, "{0}/latest/meta-data/iam/security-credentials/")


# --- Life --------------------------------------------------------------------------------------


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test its own directory for state files, and stop its sandbox at the end."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield tmp_path / "s3crypt"
    sandboxes.stop()


def test_starts_once_and_stops(runtime: Path) -> None:
    """`status` and a second `start` find a started sandbox until it is stopped."""
    assert sandboxes.status() is None
    started = sandboxes.start()
    assert sandboxes.start() == started == sandboxes.status()
    assert sandboxes.stop()
    assert sandboxes.status() is None
    assert not sandboxes.stop()
    assert not list(runtime.glob("sandbox-*"))


def test_a_started_sandbox_has_a_bucket_and_a_key(runtime: Path) -> None:
    """A new sandbox has the documentation's bucket and key, and has them again after a reset."""
    assert runtime.parent.exists()
    started = sandboxes.start()
    s3: Any = boto3.client("s3", endpoint_url=started.endpoint_url)
    kms: Any = boto3.client("kms", endpoint_url=started.endpoint_url)

    def held() -> tuple[list[str], list[str], int]:
        buckets = [each["Name"] for each in s3.list_buckets()["Buckets"]]
        aliases = [each["AliasName"] for each in kms.list_aliases()["Aliases"]]
        aliases = [name for name in aliases if not name.startswith("alias/aws/")]
        return buckets, aliases, len(kms.list_keys()["Keys"])

    assert held() == (["acme"], ["alias/reports"], 1)
    key = kms.describe_key(KeyId="alias/reports")["KeyMetadata"]["KeyId"]
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    s3.put_object(Bucket="acme", Key="k", Body=b"data")
    s3.create_bucket(Bucket="another")
    kms.create_key()
    boto3.client("kms", "eu-west-1", endpoint_url=started.endpoint_url).create_key()
    sandboxes.reset(started)
    assert held() == (["acme"], ["alias/reports"], 1)
    assert s3.list_objects_v2(Bucket="acme")["KeyCount"] == 0
    assert kms.describe_key(KeyId="alias/reports")["KeyMetadata"]["KeyId"] != key
    west: Any = boto3.client("kms", "eu-west-1", endpoint_url=started.endpoint_url)
    assert west.list_keys()["Keys"] == []


_ELSEWHERE = """
import importlib.util, json, os, sys
spec = importlib.util.spec_from_file_location("s3crypt.sandbox", sys.argv[1])
found = importlib.util.module_from_spec(spec)
sys.modules["s3crypt.sandbox"] = found
spec.loader.exec_module(found)
print(json.dumps([found.status() is not None, found.stop(), found._state_file().name]))
"""


def test_two_checkouts_have_two_sandboxes(runtime: Path, tmp_path: Path) -> None:
    """Another checkout of the same user neither finds nor stops this checkout's sandbox."""
    assert runtime.parent.exists()
    started = sandboxes.start()
    source = Path(sandboxes.__file__)
    other = tmp_path / "other" / "s3crypt" / "sandbox" / "__init__.py"
    other.parent.mkdir(parents=True)
    other.write_bytes(source.read_bytes())
    names = set()
    for file, expected in ((other, [False, False]), (source, [True, True])):
        done = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE, str(file)],
            capture_output=True,
            text=True,
            check=True,
        )
        *found, name = json.loads(done.stdout)
        names.add(name)
        assert found == expected
        assert (sandboxes.status() == started) is not expected[0]
    assert len(names) == 2


def test_the_state_file_is_private(runtime: Path) -> None:
    """Only the owner can read the state file with the token, and no repr shows the token."""
    started = sandboxes.start()
    (record,) = runtime.glob("sandbox-*")
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    assert started.token not in repr(started)


def _deleted_files(pid: int) -> list[str]:
    targets = (str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return [target for target in targets if target.endswith("(deleted)")]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere /proc does not tell open files")
def test_bodies_are_held_in_memory() -> None:
    """The sandbox keeps bodies of objects, copies and parts in memory, not in temporary files."""
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
    """A runtime directory that other users can open is refused."""
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    with pytest.raises(ConfigError, match="only you"):
        sandboxes.status()
    runtime.chmod(0o700)


def test_a_stale_state_file_is_forgotten(runtime: Path) -> None:
    """The state file of a sandbox that does not reply is deleted."""
    runtime.mkdir(mode=0o700)
    stale = {"endpoint_url": "http://127.0.0.1:9", "pid": 1, "token": "t"}
    sandboxes._state_file().write_text(json.dumps(stale))
    assert sandboxes.status() is None
    assert not list(runtime.glob("sandbox-*"))


@pytest.mark.parametrize(
    ("method", "page"),
    [
        ("GET", "health"),
        ("POST", "stop"),
        ("POST", "reset"),
        ("GET", "requests"),
        ("DELETE", "requests"),
        ("GET", "anything"),
    ],
)
def test_a_wrong_token_is_not_obeyed(method: str, page: str, sandbox: sandboxes.Running) -> None:
    """The sandbox's own pages refuse a request without the right token."""
    for headers in ({}, {"x-s3crypt-token": ""}, {"x-s3crypt-token": "guess"}):
        reply = raw(sandbox, method, f"/_s3crypt/{page}", headers)
        assert reply[:2] == (403, '{"error": "wrong token"}')
    assert raw(sandbox, "GET", "/_s3crypt/health", {"x-s3crypt-token": sandbox.token})[0] == 200


def test_without_a_token_nobody_holds_it() -> None:
    """A server started with an empty token refuses a request with an empty token."""
    command = [sys.executable, "-m", "s3crypt.sandbox"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        said = json.loads(process.stdout.readline())
        mine = sandboxes.Running(f"http://127.0.0.1:{said['port']}", said["pid"], "")
        assert raw(mine, "GET", "/_s3crypt/health", {"x-s3crypt-token": ""})[0] == 403


def test_two_starts_at_once_leave_one(runtime: Path) -> None:
    """Two starts at the same time return the same sandbox."""
    assert runtime.parent.exists()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: sandboxes.start(), range(2))
    assert first == second == sandboxes.status()


def test_a_taken_port_is_said(sandbox: sandboxes.Running, runtime: Path) -> None:
    """A port that is in use raises ConfigError with the system's message."""
    assert runtime.parent.exists()
    with pytest.raises(ConfigError, match="in use"):
        sandboxes.start(port=urlsplit(sandbox.endpoint_url).port or 0)


def test_without_moto_the_hint_says_what_to_install(runtime: Path) -> None:
    """If moto is missing, the hint names the extra to install."""
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
    """Importing the module loads neither moto nor boto3."""
    program = (
        "import sys, s3crypt.sandbox; print([m for m in ('moto','boto3') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_private_sandbox_dies_with_its_parent() -> None:
    """If the parent process is killed, its private sandbox ends."""
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


def test_the_server_is_of_this_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The started server runs this checkout's code, not a package in the current directory."""
    package = tmp_path / "s3crypt" / "sandbox"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "__main__.py").write_text("raise SystemExit('the code of another checkout')\n")
    monkeypatch.chdir(tmp_path)
    with sandboxes.running() as mine:
        assert raw(mine, "GET", "/", {})[0] == 200


def test_nothing_is_kept_after_the_with() -> None:
    """After `running()` ends, no server replies at the endpoint."""
    with sandboxes.running() as mine:
        s3 = boto3.client(
            "s3", endpoint_url=mine.endpoint_url, config=Config(retries={"total_max_attempts": 1})
        )
        s3.create_bucket(Bucket="gone-soon")
    with pytest.raises(EndpointConnectionError):
        s3.list_buckets()


def test_the_environment_overrules_what_was_inherited(sandbox: sandboxes.Running) -> None:
    """The sandbox's environment overrides an inherited profile and session token."""
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


@pytest.mark.parametrize(
    ("inherited", "expected"),
    [
        ({}, "127.0.0.1"),
        ({"NO_PROXY": "intranet, .corp"}, "intranet,.corp,127.0.0.1"),
        ({"NO_PROXY": "intranet", "no_proxy": "corp"}, "corp,127.0.0.1"),
        ({"NO_PROXY": "corp, 127.0.0.1"}, "corp, 127.0.0.1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_a_proxy_is_left_out(
    inherited: dict[str, str],
    expected: str,
    sandbox: sandboxes.Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sandbox's environment bypasses a proxy, and keeps the entries of NO_PROXY."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in inherited.items():
        monkeypatch.setenv(name, value)
    led = sandboxes.environment(sandbox)
    assert led["NO_PROXY"] == led["no_proxy"] == expected
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name, value in led.items():
        monkeypatch.setenv(name, value)
    once = Config(retries={"total_max_attempts": 1})
    assert boto3.Session().client("s3", config=once).list_buckets()
    assert boto3.Session().client("kms", config=once).list_keys()


# --- HTTP --------------------------------------------------------------------------------------


_PAGE = "http://page.example"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "page.example"},
        {"Host": "page.example:4566"},
        {"Host": "127.0.0.1.page.example"},
        {"Host": "acme.localhost"},
        {"Host": "acme.s3.amazonaws.com"},
        {"Origin": _PAGE},
        {"Origin": "null"},
        {"Origin": "http://localhost:8888"},
        {"Origin": "https://{host}"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_web_pages_are_refused(
    headers: dict[str, str], sandbox: sandboxes.Running, s3: Any, bucket: str
) -> None:
    """A request from a web page is refused, whatever its host name or origin."""
    host = urlsplit(sandbox.endpoint_url).netloc
    headers = {name: value.format(host=host) for name, value in headers.items()}
    target = {"x-amz-target": "TrentService.ListKeys"}
    for method, path, more in (
        ("GET", "/", {}),
        ("PUT", f"/{bucket}/k", {}),
        ("OPTIONS", f"/{bucket}/k", {}),
        ("POST", "/", target),
    ):
        status, said, _ = raw(sandbox, method, path, headers | more)
        assert (status, "AccessDenied" in said) == (403, True)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:{port}"},
        {"Host": "LOCALHOST"},
        {"Host": "0.0.0.0:{port}"},
        {"Origin": "http://{host}"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_its_own_names_are_taken(headers: dict[str, str], sandbox: sandboxes.Running) -> None:
    """Requests by address, by localhost, from the sandbox's own page or by a link are accepted."""
    host = urlsplit(sandbox.endpoint_url)
    given = {
        name: value.format(host=host.netloc, port=host.port) for name, value in headers.items()
    }
    assert raw(sandbox, "GET", "/", given)[0] == 200


def test_no_page_of_motos_own_is_reached(sandbox: sandboxes.Running, key: str, kms: Any) -> None:
    """Moto's own pages, which can show or reset data, cannot be reached."""
    for path in sorted({url.removeprefix("{0}").removesuffix("$") for url in MOTOS_OWN}):
        for method in ("GET", "POST"):
            _, said, headers = raw(sandbox, method, path, {"Content-Type": "application/json"})
            # S3 replies with an error in XML, or with a listing of the bucket that has this name.
            assert headers.get("Content-Type", "application/xml") == "application/xml", path
            assert not said or said.startswith("<?xml"), path
    assert kms.describe_key(KeyId=key)


def test_objects_come_back(s3: Any, bucket: str) -> None:
    """An object is returned as it was stored, whatever its name."""
    for name in ("a b/ä+c%41", "x//y", "./z", "q?a=b&c"):
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode(), Metadata={"under_score": "1"})
        reply = s3.get_object(Bucket=bucket, Key=name)
        assert reply["Body"].read() == name.encode()
        assert reply["Metadata"] == {"under_score": "1"}


def test_chunked_bodies_with_trailers_are_taken(
    s3: Any, sandbox: sandboxes.Running, bucket: str
) -> None:
    """A body in aws-chunked framing with a trailer is stored without the framing."""
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
    """A connection serves several requests, also after a refusal."""
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
    """The log has each request's method, path, headers and number of bytes in both directions."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"12345")
    s3.get_object(Bucket=bucket, Key="k", Range="bytes=1-2")["Body"].read()
    s3.copy_object(Bucket=bucket, Key="l", CopySource=f"{bucket}/k")
    put, got, copied = requests_log.list()
    assert (put["method"], put["path"], put["request_bytes"]) == ("PUT", f"/{bucket}/k", 5)
    assert (got["status"], got["response_bytes"], got["headers"]["range"]) == (206, 2, "bytes=1-2")
    assert copied["headers"]["x-amz-copy-source"] == f"{bucket}/k"
    requests_log.clear()
    assert requests_log.list() == []


# --- Credentials and regions -------------------------------------------------------------------


def test_unsigned_requests_are_refused(bucket: str) -> None:
    """A request without credentials is denied."""
    anonymous = boto3.client("s3", config=Config(signature_version=UNSIGNED))
    assert refusal(anonymous.list_objects_v2, Bucket=bucket) == (403, "AccessDenied")


def test_presigned_urls_work(s3: Any, sandbox: sandboxes.Running, bucket: str) -> None:
    """A presigned URL, with the signature in its query, is accepted."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    url = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}))
    connection = http.client.HTTPConnection(urlsplit(sandbox.endpoint_url).netloc, timeout=10)
    connection.request("GET", f"{url.path}?{url.query}")
    assert connection.getresponse().read() == b"data"
    connection.close()


def test_the_wrong_region_is_refused(sandbox: sandboxes.Running) -> None:
    """A request to the wrong Region is refused; the reply names the bucket's Region."""
    name = f"west-{uuid.uuid4()}"
    west = boto3.client("s3", region_name="eu-west-1")
    west.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    status, body, headers = raw(sandbox, "GET", f"/{name}/k", {})
    assert status == 400
    assert "<Code>AuthorizationHeaderMalformed</Code>" in body
    assert "<Region>eu-west-1</Region>" in body
    assert headers["x-amz-bucket-region"] == "eu-west-1"


def test_every_bucket_name_is_a_buckets(s3: Any) -> None:
    """Buckets work even if moto would take their names for paths of another service."""
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
