# SPDX-License-Identifier: Apache-2.0
"""`s3crypt doctor` as a command: lines, JSON, exit codes, and the suggestion of it."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest
from doctor_samples import closed_port, refusing, through
from relay import Answer
from s3crypt_cli.main import run

from s3crypt import SSEKMS, SSES3, S3Crypt

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def uri(bucket: str) -> str:
    """Store an object that only S3 encrypts, and return its URI."""
    S3Crypt(SSES3()).put(b"x", f"s3://{bucket}/a")
    return f"s3://{bucket}/a"


def test_a_line_for_each_check_and_the_conclusion(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The columns are aligned; nothing is wrong, with exit code 0."""
    assert run(("doctor", uri)) == 0
    *checks, conclusion = capsys.readouterr().out.splitlines()
    assert conclusion == "Nothing is wrong."
    assert {line.split()[0] for line in checks} <= {"ok", "skipped"}
    assert {line[8] for line in checks} == {" "}
    assert {line[29] for line in checks} == {" "}


def test_the_cause_and_the_next_command_come_last(
    kms: Any, bucket: str, kms_key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On lines of their own that are never wrapped; the checks after the cause are made as well."""
    S3Crypt(SSEKMS(kms_key)).put(b"x", f"s3://{bucket}/a")
    kms.disable_key(KeyId=kms_key)
    assert run(("doctor", f"s3://{bucket}/a")) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"Cause (key state): {kms_key} is disabled."
    assert lines[-1] == f"Next: s3crypt keys enable {kms_key}"
    assert [line for line in lines if line.startswith("ok") and "FIPS endpoints" in line]


def test_a_put_that_was_not_tried_is_not_called_right(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written, so that the caller's own policies may still refuse it."""
    assert run(("doctor", uri, "--for", "put", "--quiet")) == 0
    assert "your own policies were not tried" in capsys.readouterr().out


def test_further_faults_are_named(
    s3: Any, kms: Any, bucket: str, kms_key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two faults that are true at once are both in the conclusion; the first one is the cause."""
    S3Crypt(SSEKMS(kms_key)).put(b"x", f"s3://{bucket}/a")
    kms.disable_key(KeyId=kms_key)
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "*"}
    statement["Resource"] = f"arn:aws:s3:::{bucket}/*"
    s3.put_bucket_policy(
        Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )
    put = ("doctor", f"s3://{bucket}/a", "--for", "put", "--mode", "sse-kms", "--key", kms_key)
    assert run((*put, "--quiet")) == 3
    further, cause, _ = capsys.readouterr().out.splitlines()
    assert further.endswith("KMS key.")
    assert cause.startswith("Cause (policy): ")


def test_json_is_an_object_a_line(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The conclusion is the last one; its cause has the fields of a check."""
    assert run(("doctor", f"{uri}-not-there", "--json")) == 5
    *checks, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {frozenset(each) for each in checks} == {
        frozenset({"check", "outcome", "area", "seen", "next"})
    }
    assert last["conclusion"]["check"] == "object"
    assert last["conclusion"]["next"].startswith("s3crypt ls ")
    assert (last["exit"], last["unknown"]) == (5, 0)


def test_quiet_leaves_the_conclusion(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is asked for is the cause."""
    assert run(("doctor", uri, "--quiet")) == 0
    assert capsys.readouterr().out == "Nothing is wrong.\n"


def test_what_cannot_be_seen_is_no_success(
    uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, with what to ask for."""
    with through(refusing("kms", 400, "AccessDeniedException"), monkeypatch):
        code = run(("doctor", uri, "--for", "put", "--mode", "sse-s3"))
    assert code == 0
    capsys.readouterr()
    bucket = uri.split("/")[2]

    def hide(asked: Any, forward: Any) -> Any:
        if "encryption" in asked.query:
            return Answer(403, {"content-type": "application/xml"}, _DENIED)
        return forward()

    with through(hide, monkeypatch):
        assert run(("doctor", f"s3://{bucket}")) == 1
    assert "No cause was found; 1 of " in capsys.readouterr().out


_DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("AWS_ACCESS_KEY_ID", "", 2),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:{port}", 5),
    ],
)
def test_exit_codes_say_the_kind_of_cause(
    name: str, value: str, code: int, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of every other command do."""
    monkeypatch.setenv(name, value.format(port=closed_port()))
    if not value:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    assert run(("doctor", uri)) == code


def test_the_next_step_is_about_the_option_that_led_elsewhere(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shell has no variable to unset where --endpoint-url was given."""
    assert run(("doctor", uri, "--endpoint-url", f"http://127.0.0.1:{closed_port()}")) == 5
    assert "Next: Leave --endpoint-url out, or start the service" in capsys.readouterr().out


def test_a_denied_request_exits_with_3(s3: Any, uri: str) -> None:
    """A policy is the cause."""
    _deny(s3, uri)
    assert run(("doctor", uri, "-q")) == 3


@pytest.mark.parametrize(
    ("words", "suggested"),
    [
        (("get", "{uri}", "{out}"), "s3crypt doctor {uri} --for get"),
        (("cat", "{uri}"), "s3crypt doctor {uri} --for get"),
        (("inspect", "{uri}"), "s3crypt doctor {uri} --for get"),
        (
            ("put", "{out}", "{uri}", "--mode", "sse-s3"),
            "s3crypt doctor {uri} --for put --mode sse-s3",
        ),
        (
            ("rotate", "{uri}", "--mode=sse-s3", "--region", "us-east-1"),
            "s3crypt doctor {uri} --for rotate --mode=sse-s3 --region us-east-1",
        ),
    ],
)
def test_a_refusal_suggests_the_doctor(
    words: tuple[str, ...],
    suggested: str,
    s3: Any,
    uri: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the options that were given, and beside the hint that the error has; it then helps."""
    _deny(s3, uri)
    file = tmp_path / "file"
    file.write_bytes(b"x")
    assert run([word.format(uri=uri, out=file) for word in words]) != 0
    hint = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("hint:"))
    line = suggested.format(uri=uri)
    assert hint.endswith(f" To see why: {line}")
    assert hint.startswith("hint: Ask for the permission named in the service's message.")
    assert run(shlex.split(line)[1:]) == 3


def test_an_absent_object_suggests_nothing(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error says it all."""
    assert run(("cat", f"{uri}-not-there")) == 5
    assert "doctor" not in capsys.readouterr().err


def test_many_refusals_suggest_the_doctor_once(
    s3: Any, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line of a thousand objects' errors each would hide them."""
    bucket = uri.split("/")[2]
    S3Crypt(SSES3()).put(b"x", f"s3://{bucket}/b")
    _deny(s3, uri)
    assert run(("get", "-r", f"s3://{bucket}/", str(tmp_path), "--mode", "sse-s3")) == 5
    assert capsys.readouterr().err.count("s3crypt doctor") == 1


def _deny(s3: Any, uri: str) -> None:
    bucket = uri.split("/")[2]
    statement = {
        "Sid": "Stop",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*Object",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    document = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))
