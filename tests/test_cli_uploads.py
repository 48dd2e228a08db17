# SPDX-License-Identifier: Apache-2.0
"""`s3crypt uploads` and `clean`, and messages about uploads and files that are left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying
from s3crypt_cli.main import run
from samples import PART, connect, files, payload, uploads

from s3crypt import StorageError
from s3crypt.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3crypt.sandbox import Running

MODE = ("--mode", "sse-s3")
DENIED = Answer(403, {}, b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>")


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the command, and returns its exit code, stdout and stderr."""

    def said(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        return run(arguments), *capfd.readouterr()

    return said


def begin(s3: Any, bucket: str, *names: str) -> list[str]:
    """Begin uploads and return their ids."""
    return [s3.create_multipart_upload(Bucket=bucket, Key=name)["UploadId"] for name in names]


def is_listing(asked: Asked) -> bool:
    """Return whether a request lists uploads."""
    return asked.method == "GET" and "uploads" in asked.query


def test_uploads_are_listed_and_those_that_are_named_aborted(
    said: Callable[..., tuple[int, str, str]], s3: Any, bucket: str
) -> None:
    """Uploads are listed below a bucket, a prefix or a name; --abort also reports unknown ids."""
    first, second, other = begin(s3, bucket, "a/x", "a/y", "b")
    code, out, err = said("uploads", f"s3://{bucket}")
    assert code == 0
    assert re.findall(r"\S+  (\S+)$", out, re.MULTILINE) == [
        f"s3://{bucket}/{name}" for name in ("a/x", "a/y", "b")
    ]
    assert err.startswith("To abort one: s3crypt uploads S3_URI --abort ID.")
    code, out, err = said("uploads", f"s3://{bucket}/a/", "--json")
    listed = [json.loads(line) for line in out.splitlines()]
    assert [found["upload_id"] for found in listed] == [first, second]
    assert listed[0].keys() == {"uri", "upload_id", "initiated"}
    assert err == ""

    name = f"s3://{bucket}"
    code, out, err = said("uploads", name, "--abort", first, "--abort", other, "--dry-run")
    assert (code, out.count("would abort  "), len(uploads(s3, bucket))) == (0, 2, 3)
    code, out, err = said("uploads", name, "--abort", first, "--abort", "none", "--abort", other)
    assert (code, out.count("aborted  ")) == (5, 2)
    assert err.startswith("s3crypt: none: no unfinished upload has this id.\nhint: ")
    assert uploads(s3, bucket) == ["a/y"]
    said("uploads", name, "--abort", second)
    assert said("uploads", name) == (0, "", "No upload is unfinished.\n")


def test_uploads_of_all_buckets(
    said: Callable[..., tuple[int, str, str]],
    s3: Any,
    bucket: str,
    sandbox: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If S3 refuses to list a bucket's uploads, this is reported; other buckets are listed."""
    closed = f"closed-{uuid.uuid4()}"
    s3.create_bucket(Bucket=closed)
    begin(s3, bucket, "x")

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return DENIED if is_listing(asked) and closed in asked.path else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
        code, out, err = said("uploads")
        assert code == 5
        assert f"  s3://{bucket}/x\n" in out
        assert f"s3crypt: s3://{closed}" in err
        # If the caller names that bucket, the refusal is an ordinary error.
        code, out, err = said("uploads", f"s3://{closed}")
        assert (code, out, err.startswith(f"s3crypt: s3://{closed}")) == (5, "", True)
        with pytest.raises(StorageError, match=closed):
            list(connect().many.uploads())


@pytest.mark.parametrize("age", ["2d", "48h", "2880m", "0w"])
def test_old_uploads_are_aborted_over_all_pages(
    age: str,
    said: Callable[..., tuple[int, str, str]],
    s3: Any,
    bucket: str,
    sandbox: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All uploads older than the given age are aborted, also if the listing has several pages.

    The next page starts after the name and the upload id of the last upload.
    """
    ids = begin(s3, bucket, "old", "x", "x", "young")
    days = (3, 2.1, 1.9, 0.1)
    asked_for: list[tuple[str | None, str | None]] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if not is_listing(asked):
            return forward()
        markers = asked.query.get("key-marker"), asked.query.get("upload-id-marker")
        asked_for.append(markers)
        at = ids.index(markers[1]) + 1 if markers[1] else 0
        name, initiated = ("old", "x", "x", "young")[at], _days_ago(days[at])
        body = f"""<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Bucket>{bucket}</Bucket><IsTruncated>{str(at < 3).lower()}</IsTruncated>
            <NextKeyMarker>{name}</NextKeyMarker><NextUploadIdMarker>{ids[at]}</NextUploadIdMarker>
            <Upload><Key>{name}</Key><UploadId>{ids[at]}</UploadId>
            <Initiated>{initiated}</Initiated></Upload>
            </ListMultipartUploadsResult>"""
        return Answer(200, {"content-type": "application/xml"}, body.encode())

    with relaying(sandbox.endpoint_url, spoil) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
        code, out, _ = said("uploads", f"s3://{bucket}/", "--older-than", age, "--json")
    expected = ids if age == "0w" else ids[:2]
    assert code == 0
    assert sorted(json.loads(line)["upload_id"] for line in out.splitlines()) == sorted(expected)
    assert sorted(uploads(s3, bucket)) == ([] if age == "0w" else ["x", "young"])
    assert asked_for == [(None, None), ("old", ids[0]), ("x", ids[1]), ("x", ids[2])]


def _days_ago(days: float) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%dT%H:%M:%S.000Z}"


@pytest.mark.parametrize("age", ["7", "d", "-1d", "1y", "1.5d"])
def test_an_age_is_a_number_and_a_unit(
    age: str, said: Callable[..., tuple[int, str, str]], bucket: str
) -> None:
    """An age in any other form is refused."""
    code, _, err = said("uploads", f"s3://{bucket}", "--older-than", age)
    assert (code, err) == (2, f"s3crypt: '{age}' is not an age.\nhint: Write 30m, 12h, 7d or 2w.\n")


def test_a_command_says_which_upload_it_leaves(
    said: Callable[..., tuple[int, str, str]],
    s3: Any,
    bucket: str,
    sandbox: Running,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a put leaves an upload, the error names the upload's id and the command that lists it.

    This holds for one file and for many files.
    """
    monkeypatch.chdir(tmp_path)
    Path("tree").mkdir()
    Path("tree/x").write_bytes(payload(PART + 1))

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return DENIED if asked.method == "DELETE" or asked.is_part else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
        for arguments in (("put", "tree/x"), ("put", "-r", "tree")):
            code, _, err = said(*arguments, f"s3://{bucket}/", *MODE)
            (left,) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
            assert code == 5
            assert f"s3crypt: Upload {left['UploadId']} of s3://{bucket}/x could not be" in err
            assert f"`s3crypt uploads s3://{bucket}/x`" in err
            s3.abort_multipart_upload(Bucket=bucket, Key="x", UploadId=left["UploadId"])


def test_an_interrupted_command_says_which_upload_it_leaves(
    said: Callable[..., tuple[int, str, str]],
    s3: Any,
    bucket: str,
    sandbox: Running,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If an interrupted put leaves an upload, the id follows the message about the interrupt."""
    (tmp_path / "x").write_bytes(payload(PART + 1))

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.is_part:
            os.kill(os.getpid(), signal.SIGINT)
        return DENIED if asked.method == "DELETE" else forward()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with relaying(sandbox.endpoint_url, spoil) as relay:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
            code, _, err = said("put", str(tmp_path / "x"), f"s3://{bucket}/", *MODE)
    finally:
        signal.signal(signal.SIGINT, before)
    (left,) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert code == 130
    assert err.strip().startswith(
        f"s3crypt: interrupted\ns3crypt: Upload {left['UploadId']} of s3://"
    )


def test_the_next_get_removes_what_a_killed_one_left(
    said: Callable[..., tuple[int, str, str]],
    s3: Any,
    bucket: str,
    sandbox: Running,
    tmp_path: Path,
) -> None:
    """The next get removes the temporary file of a killed process, which is no longer locked."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"plaintext")
    killed = threading.Event()

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        assert killed.wait(30)
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        process = subprocess.Popen(
            [sys.executable, "-m", "s3crypt_cli", "get", f"s3://{bucket}/x", "out", *MODE],
            cwd=tmp_path,
            env=os.environ | {"AWS_ENDPOINT_URL_S3": relay.url},
        )
        try:
            deadline = time.monotonic() + 30
            while not (left := files(tmp_path)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
            killed.set()
    assert re.fullmatch(r"\.out\.[0-9a-f]{12}\.s3crypt", left[0])
    assert files(tmp_path) == left
    assert said("get", f"s3://{bucket}/x", str(tmp_path / "out"), *MODE)[0] == 0
    assert files(tmp_path) == ["out"]


def test_clean_removes_what_killed_commands_left(
    said: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`clean` removes files that killed commands left, keeps a file in use, and names them."""
    monkeypatch.chdir(tmp_path)
    Path("out/deep").mkdir(parents=True)
    left = Path("out/deep/.x.0123456789ab.s3crypt")
    left.write_bytes(b"plaintext")
    Path("out/kept").write_bytes(b"kept")
    with atomic_write("out/busy"):
        (busy,) = Path("out").glob(".busy.*.s3crypt")
        assert said("clean", "out", "--dry-run") == (
            0,
            f"would remove {left}\n",
            f"s3crypt: {busy}: kept, its writer is at work\n",
        )
        assert left.exists()
        code, out, err = said("clean", "out", "--json")
        assert (code, err) == (0, "")
        assert [json.loads(line) for line in out.splitlines()] == [
            {"action": "kept", "path": str(busy), "reason": "its writer is at work"},
            {"action": "removed", "path": str(left)},
        ]
    assert sorted(str(path) for path in Path("out").rglob("*") if path.is_file()) == [
        "out/busy",
        "out/kept",
    ]
    assert said("clean", "out") == (0, "", "")
    assert said("clean", "out/kept")[0] == 2
    assert said("clean", "none")[0] == 5
