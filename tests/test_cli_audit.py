# SPDX-License-Identifier: Apache-2.0
"""`s3crypt audit` over HTTP: output, reports, evidence, journal and exit codes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from conftest import RequestsLog
from hardening_samples import DENIED, is_write, new_name, watched
from s3crypt_cli.main import run
from sandbox_samples import own_sandbox

from s3crypt import SSES3, S3Crypt
from s3crypt import sandbox as sandboxes
from s3crypt.audit.controls import CONTROLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay import Answer, Asked


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[sandboxes.Running]:
    """Use a sandbox of this module's own: an audit of the account looks at all buckets."""
    with own_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def s3(alone: sandboxes.Running) -> Any:
    """Return an S3 client of this module's sandbox."""
    assert alone
    return boto3.client("s3")


@pytest.fixture(scope="module")
def kms(alone: sandboxes.Running) -> Any:
    """Return a KMS client of this module's sandbox."""
    assert alone
    return boto3.client("kms")


@pytest.fixture
def requests_log(alone: sandboxes.Running) -> RequestsLog:
    """Return the log of requests of this module's sandbox, cleared."""
    log = RequestsLog(alone)
    log.clear()
    return log


@pytest.fixture(scope="module")
def acme(s3: Any) -> str:
    """Return a bucket with S3's default settings and two objects under SSE-S3."""
    name = new_name()
    s3.create_bucket(Bucket=name)
    for key in ("2026/a", "2026/b"):
        s3.put_object(Bucket=name, Key=key, Body=b"x")
    return name


@pytest.fixture
def dying(s3: Any, kms: Any) -> str:
    """Return a bucket whose default key is pending deletion."""
    name = new_name()
    s3.create_bucket(Bucket=name)
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}
    rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    return name


def audited(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code of an audit, and the JSON lines that it printed."""
    capsys.readouterr()
    code = run(["audit", *words, "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def verdicts(lines: list[dict[str, Any]]) -> dict[str, str]:
    """Return the verdict of each control."""
    return {line["control"]: line["verdict"] for line in lines if line["type"] == "finding"}


def hiding(word: str) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    """Return a function that denies every request whose target contains a word."""
    return lambda asked, forward: DENIED if word in asked.target else forward()


# --- exit codes --------------------------------------------------------------------------------


def test_findings_below_the_severity_are_no_failure(acme: str) -> None:
    """Findings of medium severity fail only with --fail-on medium, which is not the default."""
    assert run(["audit", acme]) == 0
    assert run(["audit", acme, "--fail-on", "medium"]) == 3


def test_a_dying_key_is_a_failure(capsys: pytest.CaptureFixture[str], dying: str) -> None:
    """The bucket's default key is audited as well, and its pending deletion is a failure."""
    code, lines = audited(capsys, dying)
    assert code == 3
    assert verdicts(lines)["KMS.3"] == "fail"


def test_what_may_not_be_seen_is_unknown(capsys: pytest.CaptureFixture[str], acme: str) -> None:
    """An unknown verdict makes the exit code 1, and the finding names the missing action."""
    with watched(hiding("?logging")):
        code, lines = audited(capsys, acme)
    assert code == 1
    (unknown,) = [line for line in lines if line.get("verdict") == "unknown"]
    assert (unknown["control"], unknown["missing_actions"]) == ("S3.9", ["s3:GetBucketLogging"])


def test_what_fails_weighs_more_than_what_is_unknown(acme: str) -> None:
    """If there are both failures and unknown verdicts, the exit code is 3."""
    with watched(hiding("?logging")):
        assert run(["audit", acme, "--fail-on", "medium"]) == 3


def test_a_bucket_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """If the bucket does not exist, the error names it, and no report is printed."""
    name = new_name()
    assert run(["audit", name]) == 5
    captured = capsys.readouterr()
    assert f"s3://{name}: no such bucket" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "No bucket is named to audit"),
        (["a/b"], "s3://a/b/"),
        (["acme", "--control", "S3.4"], "There is no control S3.4"),
        (["acme", "--no-objects", "--sample", "5"], "Omit --no-objects"),
        (["--account", "--approve", "sse-kms"], "--approve applies to objects"),
        (["a", "b", "--inventory", "s3://i/manifest.json"], "--inventory"),
        (["acme", "--evidence", "e", "--journal", "j"], "exclude each other"),
        (["acme", "--json", "--format", "html"], "exclude each other"),
        (["acme", "--approve", "rot13"], "not 'rot13'"),
        (["acme", "--responsibility", "--format", "html"], "--responsibility"),
        (["acme", "--require-key", "escrow"], "not 'escrow'"),
        (["s3://acme/object"], "names an object"),
        (["acme", "--fail-on", "dire"], "dire"),
        (["acme", "--sample", "0"], "--sample"),
    ],
)
def test_what_does_not_go_together_is_refused(
    capsys: pytest.CaptureFixture[str],
    requests_log: RequestsLog,
    words: list[str],
    said: str,
) -> None:
    """Conflicting arguments exit with code 2 before any request."""
    requests_log.clear()
    assert run(["audit", *words]) == 2
    assert said in capsys.readouterr().err
    assert requests_log.list() == []


@pytest.mark.parametrize("option", ["--list", "--output"])
@pytest.mark.parametrize("name", ["key", "link"])
def test_a_report_does_not_overwrite_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    """A report on the file of a customer key, or on a link to it, is refused."""
    key, link = tmp_path / "key", tmp_path / "link"
    key.write_bytes(bytes(32))
    link.symlink_to(key)
    words = ["acme", "--sse-c-key-file", str(key), option, str(tmp_path / name)]
    assert run(["audit", *words]) == 2
    assert "is not overwritten" in capsys.readouterr().err
    assert key.read_bytes() == bytes(32)


def test_evidence_overwrites_no_folder(
    tmp_path: Path, acme: str, requests_log: RequestsLog
) -> None:
    """An existing evidence folder is refused before any request is made."""
    requests_log.clear()
    assert run(["audit", acme, "--evidence", str(tmp_path)]) == 2
    assert requests_log.list() == []


# --- scope of the audit ------------------------------------------------------------------------


def test_nothing_is_changed_and_no_key_used(acme: str, dying: str) -> None:
    """Every request of an audit of the account and of objects only reads."""
    with watched() as relay:
        run(["audit", acme, dying, "--account", "--quiet"])
    assert len(relay.asked) > 20
    assert not [each.target for each in relay.asked if is_write(each)]
    targets = {each.headers.get("x-amz-target", "").rpartition(".")[2] for each in relay.asked}
    assert not targets & {"Decrypt", "GenerateDataKey", "ReEncrypt", "Encrypt"}


def test_objects_are_those_of_named_buckets(capsys: pytest.CaptureFixture[str], acme: str) -> None:
    """Objects of named buckets are audited, unless --no-objects is given.

    --account alone audits no objects; with --objects it audits the objects of all buckets.
    """

    def looked_at(*words: str) -> set[str]:
        _, lines = audited(capsys, *words)
        found = [line["resource"] for line in lines if line["type"] == "finding"]
        return {each["arn"] for each in found if each["kind"] == "objects"}

    approved = ("--approve", "sse-s3")
    assert looked_at(acme, *approved) == {f"arn:aws:s3:::{acme}/*"}
    assert looked_at(f"s3://{acme}/2026/", *approved) == {f"arn:aws:s3:::{acme}/2026/*"}
    assert looked_at(f"arn:aws:s3:::{acme}/2026/*", *approved) == {f"arn:aws:s3:::{acme}/2026/*"}
    assert looked_at(f"arn:aws:s3:::{acme}", *approved) == {f"arn:aws:s3:::{acme}/*"}
    assert looked_at(acme, "--no-objects") == set()
    assert looked_at("--account") == set()
    assert looked_at("--account", acme, *approved) == {f"arn:aws:s3:::{acme}/*"}
    assert f"arn:aws:s3:::{acme}/*" in looked_at("--account", "--objects", *approved)


def test_the_objects_looked_at_are_counted(
    capsys: pytest.CaptureFixture[str], bucket: str, tmp_path: Path
) -> None:
    """The number of audited objects is reported for each given prefix, even if it is empty."""
    prefix = f"s3://{bucket}/full/"
    for number in range(3):
        S3Crypt(SSES3()).put(b"x", f"{prefix}{number}")
    uris = (prefix, f"s3://{bucket}/empty/")
    run(["audit", *uris])
    out = capsys.readouterr().out
    assert f"objects: {prefix}: 3 objects looked at\n" in out
    assert f"objects: s3://{bucket}/empty/: no objects were found\n" in out
    run(["audit", *uris, "--sample", "2", "--json", "--evidence", str(tmp_path / "evidence")])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["objects"]
    assert [(each["looked_at"], each["sampled_from"]) for each in told] == [(2, 3), (0, 0)]
    assert json.loads((tmp_path / "evidence/run.json").read_text())["objects"] == told
    page = (tmp_path / "evidence/report.html").read_text()
    assert f"{prefix}: 2 objects looked at, a sample of 3; " in page


def test_demands_reach_the_objects(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, acme: str
) -> None:
    """Objects in a mode that is not approved fail, and --list names each of them."""
    listed = tmp_path / "objects.jsonl"
    code, lines = audited(capsys, acme, "--approve", "sse-kms", "--list", str(listed))
    assert code == 3
    (failing,) = [line for line in lines if line.get("control") == "S3CRYPT.14"]
    assert (failing["verdict"], failing["count"], failing["looked_at"]) == ("fail", 2, 2)
    found = [json.loads(line) for line in listed.read_text().splitlines()]
    assert sorted(each["name"] for each in found) == ["2026/a", "2026/b"]
    assert {(each["control"], each["verdict"]) for each in found} == {("S3CRYPT.14", "fail")}


def test_the_size_of_a_sample_is_beside_the_number(
    capsys: pytest.CaptureFixture[str], acme: str
) -> None:
    """The report in the terminal shows the size of a sample beside the number."""
    run(["audit", acme, "--approve", "sse-kms", "--sample", "1"])
    assert "1 of 1 objects in a sample from 2" in capsys.readouterr().out


def test_a_key_is_approved_by_its_alias(
    capsys: pytest.CaptureFixture[str], s3: Any, kms: Any
) -> None:
    """KMS resolves the alias of an approved key to its ARN."""
    name, (arn, other) = new_name(), [kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]
    kms.create_alias(AliasName=f"alias/{name}", TargetKeyId=arn)
    s3.create_bucket(Bucket=name)
    for key in (arn, other):
        s3.put_object(Bucket=name, Key=key[-3:], ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    _, lines = audited(capsys, name, "--approve", f"kms:alias/{name}", "--control", "S3CRYPT.15")
    assert [line["count"] for line in lines if line.get("verdict") == "fail"] == [1]


def test_one_control_can_be_asked_for(capsys: pytest.CaptureFixture[str], acme: str) -> None:
    """With --control the exit code is about that control alone."""
    code, lines = audited(capsys, acme, "--control", "S3.6", "--fail-on", "medium")
    assert (code, verdicts(lines)) == (0, {"S3.6": "pass"})


# --- reports -----------------------------------------------------------------------------------


def test_a_command_that_mends_is_one_line(
    capsys: pytest.CaptureFixture[str], acme: str, tmp_path: Path
) -> None:
    """A command of a fix is never wrapped, so that it can be copied."""
    folder = tmp_path / "evidence"
    run(["audit", acme, "--account", "--evidence", str(folder)])
    printed = {line.strip() for line in capsys.readouterr().out.splitlines()}
    lines = map(json.loads, (folder / "findings.jsonl").read_text("utf-8").splitlines())
    fixes = {line["fix"]["text"] for line in lines if line.get("fix")}
    assert any(len(fix) > 100 for fix in fixes)
    assert {line for fix in fixes for line in map(str.strip, fix.splitlines())} <= printed


@pytest.mark.parametrize("form", ["terminal", "jsonl", "sarif", "asff", "ocsf", "html"])
def test_a_report_is_written_to_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, acme: str, form: str
) -> None:
    """--output writes the report to a file; the summary is printed on stderr."""
    target = tmp_path / "report"
    assert run(["audit", acme, "--format", form, "--output", str(target)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "open" in captured.err
    assert "S3.5" in target.read_text("utf-8")


def test_no_report_is_half_written(tmp_path: Path, acme: str) -> None:
    """If the audit fails, the existing file is unchanged."""
    target = tmp_path / "report"
    target.write_text("before")
    assert run(["audit", acme, new_name(), "--output", str(target)]) == 5
    assert target.read_text() == "before"


def test_a_run_says_what_was_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, acme: str
) -> None:
    """The report has the caller's identity and all arguments, including the environment's."""
    monkeypatch.setenv("S3CRYPT_FAIL_ON", "critical")
    _, lines = audited(capsys, acme, "--no-objects")
    said = lines[-1]
    assert said["arguments"] == [acme, "--no-objects", "--fail-on", "critical", "--json"]
    assert said["identity"] == boto3.client("sts").get_caller_identity()["Arn"]


def test_the_table_of_responsibility_is_filled(
    capsys: pytest.CaptureFixture[str], acme: str
) -> None:
    """A duty without a control, or whose controls do not apply, has no verdict."""
    code, rows = audited(capsys, acme, "--responsibility", "--fail-on", "medium")
    assert code == 3
    found = {(row["mode"], row["duty"], row["owner"]): row["verdict"] for row in rows}
    assert found["every mode", "in transit", "you"] == "fail"
    assert found["sse-c", "access", "you"] == "pass"
    assert found["every mode", "physical", "AWS"] is None
    run(["audit", acme, "--responsibility"])
    out = capsys.readouterr().out
    assert "the refusal of requests without TLS" in out
    assert "S3.9 (not judged: S3.22, S3.23, CloudTrail.2)" in out


# --- baselines and evidence --------------------------------------------------------------------


def _entry(control: str, **more: Any) -> str:
    expires = more.pop("expires", datetime.now(UTC).date() + timedelta(days=1))
    return (
        f'[[accept]]\ncontrol = "{control}"\nresource = "*"\nreason = "r"\n'
        f'owner = "data team"\nexpires = {expires}\n'
    )


def test_a_baseline_accepts(tmp_path: Path, acme: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An accepted finding is no failure; an expired entry is reported and its finding fails."""
    words = ["audit", acme, "--fail-on", "medium", "--no-objects"]
    _, lines = audited(capsys, *words[1:])
    failing = [name for name, verdict in verdicts(lines).items() if verdict == "fail"]
    path = tmp_path / "baseline.toml"
    path.write_text("".join(map(_entry, failing)))
    assert run([*words, "--baseline", str(path)]) == 0
    old = _entry(failing[0], expires="2026-01-01")
    path.write_text("".join([old, *map(_entry, failing[1:])]))
    capsys.readouterr()
    run([*words, "--baseline", str(path)])
    assert "by data team expired on 2026-01-01" in capsys.readouterr().out


def test_a_baseline_with_an_unknown_control_is_no_pass(
    tmp_path: Path, acme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A baseline with an unknown control is reported, and the exit code is 1."""
    path = tmp_path / "baseline.toml"
    path.write_text(_entry("S3.4"))
    assert run(["audit", acme, "--baseline", str(path)]) == 1
    assert "there is no control S3.4" in capsys.readouterr().out


def test_evidence_has_what_the_findings_rest_on(tmp_path: Path, acme: str) -> None:
    """Evidence contains the replies about the bucket and its objects, listed in the manifest."""
    folder = tmp_path / "evidence"
    assert run(["audit", acme, "--evidence", str(folder), "--quiet"]) == 0
    there = {path.stem for path in (folder / "replies").iterdir()}
    assert {"s3-GetBucketPolicy", "s3-GetBucketEncryption", "s3-ListObjectsV2"} <= there
    assert {"s3-HeadObject", "s3-GetObject"} & there
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    page = (folder / "report.html").read_text()
    for line in (folder / "findings.jsonl").read_text().splitlines():
        assert f'id="f{json.loads(line)["id"]}"' in page


def test_no_evidence_of_an_audit_that_failed(tmp_path: Path) -> None:
    """A failed audit leaves no evidence folder and no temporary files."""
    assert run(["audit", new_name(), "--evidence", str(tmp_path / "evidence")]) == 5
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error(tmp_path: Path, acme: str) -> None:
    """If the evidence cannot be written, the command fails and leaves no part of it."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); "
        "from s3crypt_cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    words = ["audit", acme, "--evidence", str(tmp_path / "evidence")]
    # Without -B, Python would write byte code files that end at the limit and cannot be loaded.
    command = [sys.executable, "-B", "-c", code, *words]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 5
    assert b"cannot be kept" in done.stderr
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_password_of_an_endpoint_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, acme: str
) -> None:
    """Neither a report nor a journal contains the user and password of an endpoint URL."""
    url = os.environ["AWS_ENDPOINT_URL"].replace("://", "://ann:hunter2@")
    journal = tmp_path / "journal"
    words = (acme, "--no-objects", "--endpoint-url", url, "--journal", str(journal))
    code, lines = audited(capsys, *words)
    assert code == 0
    assert url.replace("ann:hunter2@", "") in lines[-1]["arguments"]
    assert "hunter2" not in json.dumps(lines)
    assert b"hunter2" not in journal.read_bytes()


def test_a_control_that_judged_nothing_is_named(
    capsys: pytest.CaptureFixture[str], acme: str
) -> None:
    """A requested control without any finding is named, so that it does not seem to pass."""
    code, lines = audited(capsys, acme, "--control", "S3.1", "--control", "S3.14")
    assert code == 0
    notes = [line["note"] for line in lines if line["type"] == "note"]
    assert notes == ["S3.1 does not apply to any audited resource."]


# --- journal -----------------------------------------------------------------------------------


def test_a_journal_spares_requests(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, acme: str
) -> None:
    """With a journal the second run makes fewer requests; another audit's journal is refused."""
    words = (acme, "--journal", str(tmp_path / "journal"))
    with watched() as first:
        code, lines = audited(capsys, *words)
    with watched() as second:
        code_again, lines_again = audited(capsys, *words)
    note = lines_again.pop(-2)
    assert (code, lines[:-1]) == (code_again, lines_again[:-1])
    assert "was resumed from its journal" in note["note"]
    assert lines_again[-1]["began"][:16] == lines[-1]["began"][:16]
    assert len(second.asked) < len(first.asked)
    assert run(["audit", *words, "--approve", "sse-kms"]) == 2


def test_a_journal_counts_for_a_week(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, acme: str
) -> None:
    """A journal older than a week is refused, because its verdicts may be out of date."""
    words = ["audit", acme, "--no-objects", "--journal", str(tmp_path / "journal")]
    assert run(words) == 0
    long_ago = (datetime.now(UTC) - timedelta(days=8)).isoformat()
    with sqlite3.connect(tmp_path / "journal") as file:
        file.execute("UPDATE items SET detail = ? WHERE action = 'began'", (long_ago.encode(),))
    file.close()
    assert run(words) == 2
    assert "may have changed" in capsys.readouterr().err


@pytest.mark.parametrize("kept", ["[1]", "no JSON", '{"layer": "new", "later": 1}'])
def test_what_another_version_noted_is_judged_anew(tmp_path: Path, acme: str, kept: str) -> None:
    """A journal entry in an unknown form is ignored, for buckets and for objects."""
    words = ["audit", acme, "--journal", str(tmp_path / "journal"), "--json"]
    assert run(words) == 0
    with sqlite3.connect(tmp_path / "journal") as file:
        statement = "UPDATE items SET detail = ? WHERE action <> 'began'"
        assert file.execute(statement, (kept.encode(),)).rowcount >= 3
    file.close()
    assert run(words) == 0


def test_a_journal_is_of_one_account_and_one_customer_key(tmp_path: Path, acme: str) -> None:
    """A journal's verdicts for another account or another customer key are not reused."""
    key = tmp_path / "key"
    key.write_bytes(bytes(32))
    words = ["audit", acme, "--sse-c-key-file", str(key), "--journal", str(tmp_path / "journal")]
    assert run(words) == 0
    assert bytes(32).hex().encode() not in (tmp_path / "journal").read_bytes()
    key.write_bytes(bytes(31) + b"x")
    assert run(words) == 2
    key.write_bytes(bytes(32))
    assert run(words) == 0

    def as_another(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if b"GetCallerIdentity" not in asked.body:
            return answer
        body = answer.body.replace(b"123456789012", b"444455556666")
        assert body != answer.body
        return type(answer)(answer.status, dict(answer.headers), body)

    with watched(as_another):
        assert run(words) == 2


# --- the help ----------------------------------------------------------------------------------


def test_the_help_needs_no_aws() -> None:
    """`s3crypt audit --help` loads neither boto3 nor cryptography."""
    code = (
        "import sys; from s3crypt_cli.main import run; run(['audit', '--help']); "
        "sys.exit(bool({'boto3', 'cryptography', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False)
    assert done.returncode == 0


def test_the_controls_are_those_of_the_issue() -> None:
    """The controls S3CRYPT.1 to S3CRYPT.22 exist."""
    assert {f"S3CRYPT.{number}" for number in range(1, 23)} <= CONTROLS.keys()
