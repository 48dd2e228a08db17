# SPDX-License-Identifier: Apache-2.0
"""A report's order, counts and exit code; baselines; and the evidence for an auditor."""

from __future__ import annotations

import json
import re
import subprocess
import time
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import audit_report_samples as samples
import boto3
import pytest
from audit_report_samples import finding, of_severity

from s3crypt.audit.actions import ACTIONS
from s3crypt.audit.baseline import Acceptance, Baseline, apply_baseline, read_baseline
from s3crypt.audit.controls import CONTROLS
from s3crypt.audit.evidence import Evidence, collecting
from s3crypt.audit.report import exit_code, make_report
from s3crypt.audit.values import Answer, Control, Resource, Severity, Verdict
from s3crypt.errors import ConfigError, LocalFileNotFoundError, StorageError

TODAY = date(2026, 11, 28)
ENTRY = """
[[accept]]
control = "S3.5"
resource = "arn:aws:s3:::acme"
reason = "An old client."
owner = "data team"
expires = 2026-12-31
"""
FAIL, UNKNOWN, PASS = Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS


# --- exit codes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "fail_on", "code"),
    [
        ([], "high", 0),
        ([(Severity.CRITICAL, PASS)], "high", 0),
        ([(Severity.HIGH, FAIL)], "high", 3),
        ([(Severity.CRITICAL, FAIL)], "high", 3),
        ([(Severity.MEDIUM, FAIL)], "high", 0),
        ([(Severity.MEDIUM, FAIL)], "medium", 3),
        ([(Severity.INFORMATIONAL, FAIL)], "informational", 3),
        ([(Severity.HIGH, FAIL)], "critical", 0),
        ([(Severity.INFORMATIONAL, UNKNOWN)], "critical", 1),
        ([(Severity.MEDIUM, FAIL), (Severity.LOW, UNKNOWN)], "high", 1),
        ([(Severity.HIGH, FAIL), (Severity.LOW, UNKNOWN)], "high", 3),
    ],
)
def test_the_exit_code(findings: list[tuple[Severity, Verdict]], fail_on: str, code: int) -> None:
    """The exit code is 3 if an open finding has at least the severity of --fail-on.

    Otherwise it is 1 if a finding is unknown, else 0.
    """
    report = make_report(samples.run(), [of_severity(*each) for each in findings])
    assert exit_code(report, Severity.parse(fail_on)) == code


def test_an_accepted_finding_is_not_open() -> None:
    """An accepted finding is counted as accepted, and the exit code is 0."""
    entry = Acceptance("r", "o", TODAY, "S3CRYPT.7", samples.KEY.arn)
    failing = finding("S3CRYPT.7", resource=samples.KEY)
    report = samples.report(failing, baseline=Baseline((entry,)))
    assert exit_code(report) == 0
    assert report.counts() == {"open": 0, "unknown": 0, "accepted": 1, "pass": 0}


def test_what_is_unknown_cannot_be_accepted() -> None:
    """A baseline entry that names an unknown finding has no effect."""
    entry = Acceptance("r", "o", TODAY, "S3.5", "*")
    report = samples.report(finding(verdict=UNKNOWN), baseline=Baseline((entry,)))
    assert exit_code(report) == 1
    assert report.baseline.unmatched == (entry,)


def test_a_mistake_in_the_baseline_is_unknown() -> None:
    """A mistake in the baseline makes the exit code nonzero, even if no finding is open."""
    report = samples.report(finding(verdict=PASS), baseline=Baseline((), ("Entry 1 is wrong.",)))
    assert exit_code(report) == 1
    assert "Entry 1 is wrong." in report.notes()


# --- order -------------------------------------------------------------------------------------


def test_the_worst_comes_first() -> None:
    """Open findings come first, by severity. Unknown, accepted and passed findings follow."""
    ordered = [
        (resource, [each.control.id for each in found])
        for resource, found in samples.report().by_resource()
    ]
    assert [resource for resource, _ in ordered] == [
        samples.KEY,  # critical
        samples.OBJECTS,  # high
        samples.TRAIL,  # medium
        samples.BUCKET,  # medium
        samples.ACCOUNT_ITSELF,  # unknown
        samples.POLICY,  # accepted
        samples.OTHER_BUCKET,  # passes
    ]
    assert dict(ordered)[samples.BUCKET] == ["S3.5", "S3.17"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"count": 3, "looked_at": 7}, "3 of 7 objects"),
        (
            {"count": 3, "looked_at": 1000, "sampled_from": 1_000_000},
            "3 of 1,000 objects in a sample from 1,000,000",
        ),
        (
            {"count": 3, "looked_at": 1000, "sampled_from": 0},
            "3 of 1,000 objects in a sample from an unknown number",
        ),
    ],
)
def test_a_number_has_its_sample_beside_it(values: dict[str, Any], text: str) -> None:
    """Every number says whether it is about all objects or about a sample."""
    failing = finding("S3CRYPT.14", resource=samples.OBJECTS, **values)
    assert samples.report(failing).numbers(failing) == text


# --- baselines ---------------------------------------------------------------------------------


def _baseline(folder: Path, text: str) -> Baseline:
    path = folder / "baseline.toml"
    path.write_text(text, encoding="utf-8")
    return read_baseline(path, CONTROLS)


def test_an_entry_is_read(tmp_path: Path) -> None:
    """An entry of a baseline is read with all its fields."""
    assert _baseline(tmp_path, ENTRY) == Baseline(
        (
            Acceptance(
                "An old client.", "data team", date(2026, 12, 31), "S3.5", "arn:aws:s3:::acme"
            ),
        )
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"S3.5"', '"S3.4"', "there is no control S3.4"),
        ('reason = "An old client."\n', "", "it has no reason"),
        ('owner = "data team"\n', "", "it has no owner"),
        ("expires = 2026-12-31\n", "", "it has no expires"),
        ('owner = "data team"', 'owner = " "', "its owner is not a text"),
        ('owner = "data team"', "owner = 1", "its owner is not a text"),
        ("2026-12-31", '"2026-12-31"', "its expires is not a date"),
        ("2026-12-31", "2026-12-31T00:00:00Z", "its expires is not a date"),
        ('resource = "arn:aws:s3:::acme"\n', "", "it has no resource"),
        ("[[accept]]", "[[accept]]\nid = 'x'", "an id and also a control or resource"),
        ("[[accept]]", "[[accept]]\nbecause = 'x'", "it has because"),
    ],
)
def test_a_malformed_entry_accepts_nothing(tmp_path: Path, old: str, new: str, said: str) -> None:
    """The report states a malformed entry by its number; the other entries still apply."""
    assert old in ENTRY
    found = _baseline(tmp_path, ENTRY.replace(old, new) + ENTRY)
    (mistake,) = found.mistakes
    assert mistake.startswith("Entry 1 of ")
    assert said in mistake
    assert len(found.entries) == 1


@pytest.mark.parametrize(
    "text",
    ["[[accept]", "accept = 1", "[accept]\nx = 1", "[[accepted]]", "\xff", "a = " + "[" * 9999],
)
def test_a_file_that_is_no_baseline_is_an_error(tmp_path: Path, text: str) -> None:
    """A file that is no baseline raises a ConfigError."""
    path = tmp_path / "baseline.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="baseline"):
        read_baseline(path, CONTROLS)


def test_a_baseline_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A missing baseline is an error, and so is a folder in its place."""
    with pytest.raises(LocalFileNotFoundError):
        read_baseline(tmp_path / "no.toml", CONTROLS)
    with pytest.raises(StorageError):
        read_baseline(tmp_path, CONTROLS)


@pytest.mark.parametrize(
    ("expires", "is_accepted"),
    [(date(2026, 11, 27), False), (date(2026, 11, 28), True), (date(2026, 11, 29), True)],
)
def test_an_acceptance_lasts_to_the_end_of_its_day(expires: date, is_accepted: bool) -> None:
    """After its last day an acceptance has expired, and the finding is open again."""
    failing, entry = finding(), Acceptance("r", "o", expires, "S3.5", "*")
    applied = apply_baseline(Baseline((entry,)), [failing], TODAY)
    assert bool(applied.accepted) == is_accepted
    assert applied.expired == (() if is_accepted else (entry,))


@pytest.mark.parametrize(
    ("control", "pattern", "is_accepted"),
    [
        ("S3.5", "arn:aws:s3:::acme", True),
        ("S3.5", "arn:aws:s3:::ac*", True),
        ("S3.5", "arn:aws:s3:::acm?", True),
        ("S3.5", "arn:aws:s3:::acm", False),
        ("S3.5", "arn:aws:s3:::acme2", False),
        ("S3.5", "arn:aws:s3:::[a]cme", False),
        ("S3.5", "arn.aws:s3:::acme", False),
        ("S3.6", "*", False),
    ],
)
def test_a_resource_is_matched_whole(control: str, pattern: str, is_accepted: bool) -> None:
    """In a pattern `*` is any text and `?` one character; there are no other wildcards."""
    entry = Acceptance("r", "o", TODAY, control, pattern)
    assert entry.accepts(finding()) == is_accepted


def test_many_wildcards_take_no_time() -> None:
    """A pattern with many wildcards is rejected fast, without exponential backtracking."""
    entry = Acceptance("r", "o", date(2027, 1, 31), "S3.5", "*a" * 30 + "b")
    resource = Resource("bucket", "a" * 300, "1", "r")
    began = time.monotonic()
    assert not entry.accepts(replace(finding(), resource=resource))
    assert time.monotonic() - began < 1


def test_an_id_names_one_finding() -> None:
    """Findings of one control and resource with different causes have different ids."""
    one, other = finding(cause="a"), finding(cause="b")
    applied = apply_baseline(
        Baseline((Acceptance("r", "o", TODAY, id=one.id),)), [one, other], TODAY
    )
    assert applied.accepted.keys() == {one.id}


def test_an_expired_entry_and_one_without_a_finding_are_noted() -> None:
    """The report lists expired and unused entries, each with its owner."""
    old = Acceptance("r", "data team", date(2026, 1, 1), "S3.5", "*")
    idle = Acceptance("r", "web team", TODAY, "S3.6", "*")
    notes = samples.report(finding(), baseline=Baseline((old, idle))).notes()
    assert notes == (
        "The acceptance of S3.5 of * by data team expired on 2026-01-01.",
        "The acceptance of S3.6 of * by web team matches no failed finding.",
    )


# --- evidence ----------------------------------------------------------------------------------


def _collected(folder: Path, *clients: Any, ask: Any = None) -> Path:
    """Return the folder with the evidence of the requests that `ask` makes with these clients."""
    with collecting(folder) as evidence:
        for client in clients:
            evidence.observe(client)
        if ask:
            ask()
        evidence.finish(samples.report())
    return folder


def _texts(folder: Path) -> str:
    return "".join(path.read_text("utf-8") for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def client() -> Any:
    """Return a new S3 client, because registered event handlers stay on a client."""
    return boto3.client("s3")


def test_the_manifest_has_every_file(tmp_path: Path) -> None:
    """`sha256sum -c` verifies each file of the evidence, and detects a changed file."""
    folder = _collected(tmp_path / "evidence")
    command = ["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"]
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert listed == there - {"SHA256SUMS"}
    (folder / "findings.jsonl").write_text("")
    assert subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 1


def test_a_reply_is_kept_with_its_request(tmp_path: Path, client: Any, bucket: str) -> None:
    """A reply is stored with its request. `moments.jsonl` has the reply's SHA-256 and time."""

    def ask() -> None:
        client.get_bucket_versioning(Bucket=bucket)
        with pytest.raises(client.exceptions.ClientError):
            client.get_bucket_policy(Bucket=bucket)

    folder = _collected(tmp_path / "evidence", client, ask=ask)
    kept = json.loads((folder / "replies/s3-GetBucketPolicy.jsonl").read_text())
    assert kept["request"] == {"Bucket": bucket}
    assert kept["reply"]["Error"]["Code"] == "NoSuchBucketPolicy"
    assert kept["reply"]["HTTPStatusCode"] == 404
    moments = [json.loads(each) for each in (folder / "moments.jsonl").read_text().splitlines()]
    line = (folder / "replies/s3-GetBucketPolicy.jsonl").read_bytes().rstrip(b"\n")
    said = subprocess.run(["sha256sum"], input=line, capture_output=True, check=True).stdout
    assert moments[1]["sha256"] == said.decode().split()[0]


def test_neither_keys_nor_bytes_of_objects_are_kept(
    tmp_path: Path, client: Any, bucket: str
) -> None:
    """Evidence contains neither customer keys nor bytes of objects."""
    key = bytes(range(100, 132))
    arguments = {"Bucket": bucket, "Key": "a", "SSECustomerAlgorithm": "AES256"}
    client.delete_bucket_encryption(Bucket=bucket)

    def ask() -> None:
        client.put_object(**{**arguments, "SSECustomerAlgorithm": "AES256"}, SSECustomerKey=key,
                          Body=b"plaintext of the object")  # fmt: skip
        client.head_object(**arguments, SSECustomerKey=key)
        client.get_object(**arguments, SSECustomerKey=key, Range="bytes=0-8")["Body"].read()

    folder = _collected(tmp_path / "evidence", client, ask=ask)
    text = _texts(folder)
    for secret in (b64encode(key).decode(), key.decode("latin-1"), "plaintext"):
        assert secret not in text
    assert '"SSECustomerKey": "[redacted]"' in text
    assert '"Body": "[bytes left out]"' in text
    put = json.loads((folder / "replies/s3-PutObject.jsonl").read_text())
    assert put["reply"] == {"HTTPStatusCode": 200}


def test_a_token_is_not_kept(tmp_path: Path) -> None:
    """Evidence redacts tokens at any depth of a reply."""
    with collecting(tmp_path / "evidence") as evidence:
        credentials = {"Credentials": [{"SessionToken": "hush", "SecretAccessKey": "hush"}]}
        moment = datetime(2026, 11, 28, tzinfo=UTC)
        evidence.record(Answer("sts", "GetSessionToken", "us-east-1", {}, credentials, moment))
        evidence.finish(samples.report())
    assert "hush" not in _texts(tmp_path / "evidence")


def test_two_runs_that_saw_the_same_differ_in_their_times_alone(
    tmp_path: Path, client: Any, bucket: str
) -> None:
    """Evidence of equal runs differs only in the times, whatever the order of the requests."""
    names = ["a", "b", "c"]

    def asking(asked: Any, order: list[str]) -> Any:
        return lambda: [asked.list_objects_v2(Bucket=bucket, Prefix=name) for name in order]

    other_client = boto3.client("s3")
    one = _collected(tmp_path / "one", client, ask=asking(client, names))
    other = _collected(tmp_path / "other", other_client, ask=asking(other_client, names[::-1]))
    done = subprocess.run(["diff", "-rq", one, other], capture_output=True, text=True, check=False)
    differing = {line.split()[1].rpartition("/")[2] for line in done.stdout.splitlines()}
    assert differing == {"moments.jsonl", "SHA256SUMS"}


def test_evidence_is_complete_or_not_there(tmp_path: Path) -> None:
    """After an error neither the evidence folder nor any other file is left."""

    def fail() -> None:
        raise StorageError("S3 refused.")

    with pytest.raises(StorageError):
        _collected(tmp_path / "evidence", ask=fail)
    assert list(tmp_path.iterdir()) == []


def test_evidence_overwrites_nothing(tmp_path: Path) -> None:
    """A folder that exists is refused, and so is a folder whose parent does not exist."""
    with pytest.raises(ConfigError, match="exists"):
        _collected(tmp_path)
    with pytest.raises(LocalFileNotFoundError):
        _collected(tmp_path / "no" / "evidence")


def test_evidence_is_its_owners_alone(tmp_path: Path) -> None:
    """Only the owner can read the evidence: it shows the configuration of an account."""
    assert _collected(tmp_path / "evidence").stat().st_mode & 0o777 == 0o700


def test_a_baseline_is_part_of_the_evidence(tmp_path: Path) -> None:
    """The evidence contains an unchanged copy of the baseline."""
    (tmp_path / "accepted.toml").write_text(ENTRY)
    with collecting(tmp_path / "evidence") as evidence:
        assert isinstance(evidence, Evidence)
        evidence.finish(samples.report(), tmp_path / "accepted.toml")
    assert (tmp_path / "evidence/baseline.toml").read_text() == ENTRY


# --- the page ----------------------------------------------------------------------------------

PAGE = Path(__file__).parents[1] / "docs/audit.md"


def _row(control: Control) -> str:
    numbers: dict[str, list[str]] = {}
    for each in control.requirements:
        if not each.standard.startswith("NIST"):
            standard = each.standard.replace("AWS Foundations ", "")
            numbers.setdefault(standard, []).append(each.number)
    asked = "; ".join(f"{standard} {', '.join(found)}" for standard, found in numbers.items())
    return f"| {control.id} | {control.severity.label} | {control.title} | {asked} |"


def test_the_documented_controls_are_those_that_judge() -> None:
    """The table in docs/audit.md lists each control as it is defined."""
    section = PAGE.read_text("utf-8").partition("## Controls")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert rows == [_row(control) for control in CONTROLS.values()]


def test_the_documented_actions_are_those_that_are_needed() -> None:
    """The page lists every action that the audit of the configuration needs."""
    section = PAGE.read_text("utf-8").partition("## What the caller needs")[2]
    listed = section.partition("For objects")[0]
    assert tuple(re.findall(r"`([a-z0-9]+:[A-Za-z]+)`", listed)) == ACTIONS
