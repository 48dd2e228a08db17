# SPDX-License-Identifier: Apache-2.0
"""Every benchmark is run at a small size, to show that it runs at all. No speed is tested."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import s3crypt
from s3crypt import message

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MEMORY = BENCHMARKS / "memory.py"
SIZE = 32 * 2**20 + 1

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")
    is None
    or not sys.platform.startswith("linux"),
    reason="needs nginx (Debian: nginx-light) and Linux",
)


def environment(**more: str) -> dict[str, str]:
    """Return an environment that finds this s3crypt and has no variables of the test run."""
    packages = str(Path(s3crypt.__file__).parents[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": packages, **more}


def has(module: str) -> bool:
    """Return whether a module is installed."""
    return importlib.util.find_spec(module) is not None


def run(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the benchmarks' folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=BENCHMARKS,
        env=environment(**more),
    )


@needs_nginx
def test_every_file_runs_and_says_what_it_ran_on(tmp_path: Path) -> None:
    """Each benchmark file reports figures, and its JSON names the machine and the versions."""
    pytest.importorskip("pytest_benchmark")
    report = tmp_path / "report.json"
    options = ("-q", "--tiny", "-p", "no:cacheprovider", f"--benchmark-json={report}")
    done = run("-m", "pytest", ".", *options)
    assert done.returncode == 0, done.stdout
    written = json.loads(report.read_text())
    files = {each["fullname"].partition("::")[0] for each in written["benchmarks"]}
    assert files == {path.name for path in BENCHMARKS.glob("bench_*.py")}
    on = written["machine_info"]["s3crypt"]
    assert on["cpu"]
    assert on["versions"]["s3crypt"] == s3crypt.__version__
    assert on["where"] == "loopback, one machine: not AWS"


@needs_nginx
def test_every_promise_is_measured_or_skipped_by_name(tmp_path: Path) -> None:
    """A run of all rows has a figure for each row, or the reason for leaving it out."""
    report = tmp_path / "ratios.json"
    done = run("ratios.py", "--tiny", "--json", report)
    assert done.returncode in {0, 1}, done.stderr
    rows = {row["name"]: row for row in json.loads(report.read_text())["rows"]}
    listed = run("ratios.py", "--list").stdout.splitlines()
    assert list(rows) == [line.split()[0] for line in listed]
    for name, row in rows.items():
        assert row["figures"] or "missing" in row["skipped"], name
    assert {name for name, row in rows.items() if row["skipped"]} <= {
        *("age-encrypt", "age-decrypt"),
        *("aws-encryption-cli-encrypt", "aws-encryption-cli-decrypt"),
        *("s5cmd-put", "s5cmd-put-process", "s5cmd-get", "s5cmd-get-process"),
        *(name for name in rows if name.startswith(("range-", "open-")) and not has("pyarrow")),
        *(name for name in rows if name.startswith("list-") and not has("fsspec")),
    }


@pytest.mark.parametrize(("figure", "code"), [(1.9, 1), (2.0, 0)])
def test_a_missed_bound_is_a_failure(figure: float, code: int) -> None:
    """The median is compared with the bound; a missed bound makes the exit code 1."""
    script = (
        "import sys, ratios;"
        f"samples = ratios.Samples([0.0, {figure}, 9.0]);"
        "ratios.ROWS = (ratios.Row('row', 'what', lambda _: samples, at_least=2),);"
        "sys.argv[1:] = [];"
        "sys.exit(ratios.main())"
    )
    done = run("-c", script)
    assert done.returncode == code, done.stderr
    assert ("missed: row" in done.stdout) == bool(code)


def test_measured_commands_keep_their_byte_code() -> None:
    """Measured commands keep byte code, even if the shell of the caller keeps none."""
    code = "import workload; print('PYTHONDONTWRITEBYTECODE' in workload.environment())"
    assert run("-c", code, PYTHONDONTWRITEBYTECODE="1").stdout == "False\n"


def test_an_unknown_row_is_refused() -> None:
    """A misspelt row name is refused instead of being reported as a kept promise."""
    done = run("ratios.py", "--only", "codec-sael")
    assert done.returncode == 2
    assert "codec-sael" in done.stderr


def test_a_missing_peer_is_named_with_how_to_get_it(tmp_path: Path) -> None:
    """A peer that is not installed is reported as missing, with the command to install it."""
    done = run("peers.py", PATH=str(tmp_path), S3CRYPT_BENCH_S3EC_PYTHON="")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["age"] == "missing: apt-get install age"
    assert lines["boto3"][0].isdigit()


@needs_nginx
def test_two_checkouts_are_compared_in_pairs() -> None:
    """Each named row has the medians of both checkouts, their ratio and the ratio's interval."""
    if not (BENCHMARKS.parent / ".git").exists():
        pytest.skip("needs a checkout")
    rows = ("decrypt-1kib", "put-1kib", "get-1gib")
    done = run("pairs.py", "--against", "HEAD", "--tiny", "--rounds", "2", *rows)
    assert done.returncode in {0, 1}, done.stderr
    table = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in table] == list(rows), done.stdout + done.stderr
    for _, theirs, _, ours, _, ratio, interval, *_ in table:
        low, _, high = interval.partition("-")
        assert float(theirs) >= 0 <= float(ours)
        assert float(low) <= float(ratio) <= float(high)


@pytest.mark.parametrize(("slower", "is_met"), [(1.0, True), (1.02, True), (1.04, False)])
def test_a_slower_checkout_misses_the_bound(slower: float, is_met: bool) -> None:
    """The upper end of the interval is compared with the bound, so noise alone cannot pass."""
    script = (
        "import against;"
        "theirs = [1 + number / 100 for number in range(15)];"
        f"ours = [{slower} * seconds for seconds in theirs];"
        "print(against.Figures('row', theirs, ours).is_met)"
    )
    done = run("-c", script)
    assert done.stdout.strip() == str(is_met), done.stderr


def test_a_side_with_another_checkouts_library_is_refused(tmp_path: Path) -> None:
    """The process that measures a checkout fails if it imports the s3crypt of another checkout."""
    done = run("side.py", tmp_path, tmp_path, "decrypt-1kib")
    assert done.returncode == 1
    assert "was imported" in done.stderr


needs_pyarrow = pytest.mark.skipif(not has("pyarrow"), reason="needs pyarrow")


@needs_pyarrow
def test_a_data_set_is_always_the_same(tmp_path: Path) -> None:
    """Two runs write the same uncompressed Parquet file; its messages decrypt to that file."""
    lengths = ("--frame-length", "64KiB", "256KiB")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        done = run("datasets.py", "make", tmp_path / name, "--size", "4MiB", *lengths)
        assert done.returncode == 0, done.stderr
    described = json.loads(done.stdout)
    plain = [(tmp_path / name / "plain.parquet").read_bytes() for name in ("one", "two")]
    assert plain[0] == plain[1]
    assert len(plain[0]) >= 4 * 2**20 - 8 * 20
    keyring = s3crypt.AESKeyring("benchmark", "memory", bytes(32))
    for name, headers in described.items():
        sealed = (tmp_path / "one" / name.partition("/")[2]).read_bytes()
        assert message.decrypt(sealed, keyring) == plain[0]
        header = message.read_header(io.BytesIO(sealed))
        assert headers["x-amz-meta-s3crypt-header-length"] == str(len(header))
        assert headers["x-amz-meta-s3crypt-frame-length"] == str(header.frame_length)


def test_bytes_fetched_are_the_servers_count() -> None:
    """The bytes and requests that the client counts are the same as the server's count."""
    done = run("-c", _COUNTED)
    assert done.returncode == 0, done.stderr
    counted, sent = json.loads(done.stdout)
    assert counted == sent


# A test server that counts the bytes of bodies.
_COUNTED = """
import http.server, json, threading
import datasets, operation

class Handler(http.server.BaseHTTPRequestHandler):
    sent, requests = 0, 0

    def do_HEAD(self):
        Handler.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()

    def do_GET(self):
        Handler.requests += 1
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        body = bytes(min(int(last), 999) + 1 - int(first))
        Handler.sent += len(body)
        self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = operation.client(f"http://127.0.0.1:{server.server_address[1]}")
traffic = datasets.Traffic(client)
with datasets.PlainReader(client, "any") as file:
    file.seek(10)
    file.read(20)
    file.seek(-5, 2)
    file.read()
print(json.dumps([[traffic.bytes, traffic.requests], [Handler.sent, Handler.requests]]))
"""


@needs_nginx
def test_the_number_of_workers_is_compared_near_and_far(tmp_path: Path) -> None:
    """Each number of workers is measured against the near server and the paced server."""
    report = tmp_path / "workers.json"
    options = ("--tiny", "--rounds", "1", "--workers", "2", "--rate", "400MiB")
    done = run("workers.py", *options, "--json", report)
    assert done.returncode == 0, done.stderr
    cases = [each["case"] for each in json.loads(report.read_text())["cases"]]
    assert {(case["where"], case["verb"]) for case in cases} == {
        (where, verb) for where in ("near", "far") for verb in ("put", "get")
    }
    assert {case["workers"] for case in cases} == {"2", "own", "boto3"}


def test_a_far_server_is_late_and_slow() -> None:
    """Bytes arrive complete through the paced proxy, and no sooner than its rate allows."""
    done = run("-c", _THROUGH_THE_PROXY)
    assert done.returncode == 0, done.stderr
    whole, seconds, at_least = json.loads(done.stdout)
    assert whole
    assert seconds >= at_least


# Send 1 MiB in each direction at 4 MiB/s, with a delay of 0.1 s. On any machine this takes at least
# the sum of these times.
_THROUGH_THE_PROXY = """
import json, os, socket, sys, threading, time
import workload

listener = socket.create_server(("127.0.0.1", 0))
def echo():
    connection, _ = listener.accept()
    while data := connection.recv(2**16):
        connection.sendall(data)
threading.Thread(target=echo, daemon=True).start()
command = [sys.executable, "paced.py", str(listener.getsockname()[1])]
with workload.talking([*command, "--rate", "4MiB", "--latency", "0.1"]) as said:
    with socket.create_connection(("127.0.0.1", said["port"])) as client:
        sent, came = os.urandom(2**20), b""
        started = time.monotonic()
        threading.Thread(target=client.sendall, args=[sent]).start()
        while len(came) < len(sent):
            came += client.recv(2**20)
        print(json.dumps([came == sent, time.monotonic() - started, 1 / 4 + 0.1]))
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the memory benchmark at its test size, with all its files below `folder`."""
    return subprocess.Popen(
        [sys.executable, MEMORY, "--size", str(SIZE), "--folder", folder, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


@needs_nginx
def test_every_operation_is_measured_within_the_limit(tmp_path: Path) -> None:
    """Every operation returns the stored data, stays below the limit, and leaves no file."""
    report, folder = tmp_path / "report.json", tmp_path / "folder"
    folder.mkdir()
    with start(folder, "--json", str(report)) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    figures: list[dict[str, Any]] = json.loads(report.read_text())["operations"]
    # The operations of s5cmd follow if s5cmd is installed.
    assert [each["operation"] for each in figures][:9] == [
        "copy",
        "encrypt",
        "decrypt",
        "put file",
        "put pipe",
        "get file",
        "get pipe",
        "put boto3",
        "get boto3",
    ]
    assert {each["size"] for each in figures} == {SIZE}
    assert not list(folder.iterdir())


@needs_nginx
def test_too_much_memory_is_a_failure(tmp_path: Path) -> None:
    """A peak over the limit is reported, and the exit code is 1."""
    with start(tmp_path, "--limit", "1MiB") as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    assert "over 1048576" in errors


@needs_nginx
def test_a_stopped_benchmark_cleans_up(tmp_path: Path) -> None:
    """A terminated benchmark stops its server and removes its files."""
    with start(tmp_path) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.readline()
        (pid_file,) = tmp_path.glob("*/*/nginx.pid")
        server = int(pid_file.read_text())
        process.terminate()
        process.communicate()
    assert process.returncode != 0
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def test_a_canned_server_answers_as_s3_and_kms() -> None:
    """With a canned server boto3 can list, get, put and delete.

    Decrypt returns the generated data key.
    """
    done = run("-c", _CANNED)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["names"] == [f"2500/{number:07}" for number in range(2500)]
    assert said["one"] == ["2500/0000007"]
    assert said["part"] == list(range(1, 6))
    assert said["part of"] == "bytes 1-5/100"
    assert said["deleted"] == said["asked to delete"]
    assert said["echoed"] == "AES256"
    assert said["unwrapped"] == [True, True]
    assert said["counts"] == {
        "ListObjectsV2": 4,
        "deleted keys": 3,
        **dict.fromkeys(_ASKED_ONCE, 1),
    }


_ASKED_ONCE = (
    *("GetObject", "HeadObject", "GetObjectTagging", "PutObject", "CopyObject"),
    *("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
    *("DeleteObjects", "DeleteObject", "GenerateDataKey", "Decrypt", "ReEncrypt", "DescribeKey"),
)
_CANNED = """
import json, tempfile
from pathlib import Path
import boto3, canned, operation

nobody = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "us-east-1"}
said = {}
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "b.body").write_bytes(bytes(range(100)))
    (folder / "b.json").write_text(json.dumps({"x-amz-meta-it": "is"}))
    with canned.running(folder, 0) as server:
        s3 = operation.client(server.endpoint_url)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="b", Prefix="2500/")
        said["names"] = [each["Key"] for page in pages for each in page["Contents"]]
        found = s3.list_objects_v2(Bucket="b", Prefix="2500/0000007")["Contents"]
        said["one"] = [each["Key"] for each in found]
        reply = s3.get_object(Bucket="b", Key="2500/0000007", Range="bytes=1-5")
        said["part"], said["part of"] = list(reply["Body"].read()), reply["ContentRange"]
        assert s3.head_object(Bucket="b", Key="any")["Metadata"] == {"it": "is"}
        assert s3.get_object_tagging(Bucket="b", Key="any")["TagSet"] == []
        place = {"Bucket": "new", "Key": "any"}
        put = s3.put_object(**place, Body=b"x" * 2**20, ServerSideEncryption="AES256")
        said["echoed"] = put["ServerSideEncryption"]
        copied = s3.copy_object(**place, CopySource={"Bucket": "b", "Key": "any"})
        assert copied["CopyObjectResult"]["ETag"]
        upload = {**place, "UploadId": s3.create_multipart_upload(**place)["UploadId"]}
        part = {"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]}
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
        said["asked to delete"] = ["a & b", "2"]
        listed = {"Objects": [{"Key": key} for key in said["asked to delete"]]}
        deleted = s3.delete_objects(Bucket="b", Delete=listed)["Deleted"]
        said["deleted"] = [each["Key"] for each in deleted]
        s3.delete_object(Bucket="b", Key="3")
        kms = boto3.client("kms", endpoint_url=server.endpoint_url, **nobody)
        key = kms.generate_data_key(KeyId=canned.KMS_KEY, NumberOfBytes=32)
        other = canned.KMS_KEY.replace("1111-", "9999-")
        blobs = [key["CiphertextBlob"]]
        moved = kms.re_encrypt(CiphertextBlob=blobs[0], DestinationKeyId=other)
        assert moved["KeyId"] == other
        came = kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], KeyId=other)
        described = kms.describe_key(KeyId="alias/any")["KeyMetadata"]["Arn"] == canned.KMS_KEY
        said["unwrapped"] = [came["Plaintext"] == key["Plaintext"], described]
        said["counts"] = server.counts()
print(json.dumps(said))
"""


def test_a_canned_server_keeps_thousands_of_requests_under_way() -> None:
    """2,000 simultaneous requests are all answered after the delay; the relay loses no request."""
    done = run("-c", _AT_ONCE)
    assert done.returncode == 0, done.stderr
    answered, soonest, by_relay, counted = json.loads(done.stdout)
    assert answered == 2000
    assert soonest >= 0.4
    assert 0 < by_relay <= counted


_AT_ONCE = """
import json, select, socket, sys, tempfile, time
from pathlib import Path
import canned, load, timeline, workload

timeline.allow_many_connections()
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "b.body").write_bytes(bytes(100))
    (folder / "b.json").write_text("{}")
    with canned.running(folder, 200) as server:
        poll, waiting = select.poll(), {}
        started = time.monotonic()
        for _ in range(2000):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(b"GET /b/any HTTP/1.1\\r\\nHost: s3\\r\\n\\r\\n")
            poll.register(connection, select.POLLIN)
            waiting[connection.fileno()] = connection
        soonest, answered = 0.0, 0
        while waiting and time.monotonic() < started + 60:
            for number, _ in poll.poll(1000):
                # A first reply comes after the handshake's delay and its own.
                soonest = soonest or time.monotonic() - started
                answered += waiting[number].recv(4096).startswith(b"HTTP/1.1 200")
                poll.unregister(number)
                waiting.pop(number).close()
    with canned.running(folder, 0) as server:
        command = [sys.executable, "paced.py", str(server.port), "--latency", "0.01"]
        with workload.talking(command) as said:
            found = load.capacity(said["port"], "/b/any", "--seconds", "0.5")
        print(json.dumps([answered, soonest, found.requests * 0.5, server.counts()["GetObject"]]))
"""


def test_a_run_that_did_less_is_no_figure() -> None:
    """A run that sent fewer requests than objects is an error, not a fast result."""
    script = "import rows; rows.check_done({'PutObject': 9, 'HeadObject': 9}, ['PutObject'], 10)"
    done = run("-c", script)
    assert "9 of PutObject for 10 objects" in done.stderr


@needs_nginx
@pytest.mark.timeout(600)
def test_every_kind_of_row_of_many_objects_is_measured(tmp_path: Path) -> None:
    """A row has a run of each commit and of each peer, or names the missing program."""
    if not (BENCHMARKS.parent / ".git").exists():
        pytest.skip("needs a checkout")
    names = {"put-aes", "put-kms-cached", "rotate-rewrap", "memory-rm"}
    names |= {"parquet-dataset", "wide-get"}
    report = tmp_path / "many.json"
    options = ("--tiny", "--delay", "1", "--busy", "1", "--against", "HEAD", "--json", report)
    done = run("many.py", *names, *options)
    assert done.returncode == 0, done.stderr
    listed = {line.split()[0] for line in run("many.py", "--list").stdout.splitlines()}
    assert names <= listed
    rows = {row["row"]: row["sides"] for row in json.loads(report.read_text())["rows"]}
    assert rows.keys() == names
    for name, sides in rows.items():
        assert len(sides) >= 2, name
        for side in sides:
            assert len(side["runs"]) == 1 or side["missing"], name
    measured = {name for name, sides in rows.items() if sides[0]["runs"]}
    assert names - measured <= {"put-kms-cached", *(() if has("pyarrow") else ("parquet-dataset",))}
    (_, _, *peers) = rows["put-aes"]
    assert [side["name"] for side in peers] == ["aws-cli", "s5cmd", "boto3"]


def test_an_unknown_row_of_many_is_refused() -> None:
    """A misspelt row name is refused instead of being reported as measured."""
    done = run("many.py", "put-eas")
    assert done.returncode == 2
    assert "put-eas" in done.stderr
