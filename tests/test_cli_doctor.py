# SPDX-License-Identifier: Apache-2.0
"""`s3crypt doctor` as a command: lines, JSON, exit codes, and the hint that suggests it."""

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
    """Each check is one line in aligned columns; without a fault the exit code is 0."""
    assert run(("doctor", uri)) == 0
    *checks, conclusion = capsys.readouterr().out.splitlines()
    assert conclusion == "Nothing is wrong."
    assert {line.split()[0] for line in checks} <= {"ok", "skipped"}
    assert {line[8] for line in checks} == {" "}
    assert {line[29] for line in checks} == {" "}


def test_the_cause_and_the_next_command_come_last(
    kms: Any, bucket: str, kms_key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cause and next command are on the last lines, unwrapped, after all other checks."""
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
    """The conclusion says that a put was not tried: the caller's policies may still refuse it."""
    assert run(("doctor", uri, "--for", "put", "--quiet")) == 0
    assert "your own policies were not tested" in capsys.readouterr().out


def test_further_faults_are_named(
    s3: Any, kms: Any, bucket: str, kms_key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The conclusion names every fault; the first fault is the cause."""
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
    """Each line is a JSON object; the last line is the conclusion, with a check as its cause."""
    assert run(("doctor", f"{uri}-not-there", "--json")) == 5
    *checks, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {frozenset(each) for each in checks} == {
        frozenset({"check", "outcome", "area", "seen", "next"})
    }
    assert last["conclusion"]["check"] == "object"
    assert last["conclusion"]["next"].startswith("s3crypt ls ")
    assert (last["exit"], last["unknown"]) == (5, 0)


def test_quiet_leaves_the_conclusion(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --quiet only the conclusion is printed."""
    assert run(("doctor", uri, "--quiet")) == 0
    assert capsys.readouterr().out == "Nothing is wrong.\n"


def test_what_cannot_be_seen_is_no_success(
    uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If S3 refuses a check's request, the exit code is 1, and the output counts such checks."""
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
    """The exit code shows the kind of the cause, as for every other command."""
    monkeypatch.setenv(name, value.format(port=closed_port()))
    if not value:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    assert run(("doctor", uri)) == code


def test_the_next_step_is_about_the_option_that_led_elsewhere(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """If --endpoint-url leads to the wrong place, the next step is about that option."""
    assert run(("doctor", uri, "--endpoint-url", f"http://127.0.0.1:{closed_port()}")) == 5
    assert "Next: Omit --endpoint-url, or start the service" in capsys.readouterr().out


def test_a_denied_request_exits_with_3(s3: Any, uri: str) -> None:
    """If a policy is the cause, the exit code is 3."""
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
    """The hint of a refused command suggests a doctor command, and this command finds the cause."""
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
    """The error for a missing object does not suggest the doctor."""
    assert run(("cat", f"{uri}-not-there")) == 5
    assert "doctor" not in capsys.readouterr().err


def test_many_refusals_suggest_the_doctor_once(
    s3: Any, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Many refusals suggest the doctor once, not once per object."""
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
