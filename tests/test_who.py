# SPDX-License-Identifier: Apache-2.0
"""`s3crypt who`: its output, and whether it finds the accesses made in the sandbox."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import click
import pytest
import trail_samples as samples
from s3crypt_cli.main import run
from trail_samples import BUCKET, KEY, NAME, ROLE, SESSION, deliver, kms, ours, s3

from s3crypt import SSEKMS, ClientSide, KMSKeyring, S3Crypt
from s3crypt import sandbox as sandboxes
from s3crypt.location import Location
from s3crypt.trails import Access, Question, Trails
from s3crypt.trails import lookup as lookups

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URI = f"s3://{BUCKET}/{NAME}"


# --- Output ------------------------------------------------------------------------------------


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """Return a folder with a trail file: a client-side read, and records of other accesses."""
    denied: samples.Record = {"errorCode": "AccessDenied", "errorMessage": "no"}
    records = [
        ours(time="10:00:01"),
        s3(),
        kms("GenerateDataKey", samples.BOB, **denied),
        samples.INSIGHT,
    ]
    deliver(tmp_path, records)
    return tmp_path


def test_a_table(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table, a row has each field of an access, and whether its records were joined."""
    assert run(["who", URI, "--trail", str(trail)]) == 0
    out, err = capsys.readouterr()
    header, row, *rest = out.splitlines()
    assert header.split() == [
        "time", "principal", "address", "action", "object", "key", "outcome", "level", "joined",
    ]  # fmt: skip
    for cell in (
        "2026-11-01T10:00:00Z", "123456789012 reader/alice", "198.51.100.7",
        "s3:GetObject + kms:Decrypt",
        URI, KEY.rpartition("/")[2], "allowed", "object", "yes",
    ):  # fmt: skip
        assert cell in row
    assert all(line.startswith("not known: ") for line in rest)
    assert "1 access found in 4 records of 1 file" in err


def test_what_a_cached_data_key_hides_is_said(
    trail: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In every format, the output says that cached data keys hide accesses."""
    for form in ("table", "csv", "jsonl"):
        run(["who", "--key", KEY, "--trail", str(trail), "--format", form])
        out, err = capsys.readouterr()
        assert "cached" in out + err


def test_csv(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --format csv, stdout has only a header and one row per access."""
    assert run(["who", "--key", KEY, "--trail", str(trail), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    first, second = sorted(rows, key=lambda row: row["outcome"])
    assert (first["principal"], first["issuer"], first["joined"]) == (SESSION, ROLE, "yes")
    assert (first["bucket"], first["object"], first["keys"]) == (BUCKET, NAME, KEY)
    assert (second["outcome"], second["error"], second["bucket"]) == ("denied", "AccessDenied", "")


def test_csv_has_no_formulas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In CSV, text that a spreadsheet would run as a formula gets an apostrophe.

    Lone surrogates are escaped.
    """
    who = {**samples.BOB, "arn": "@SUM(1)"}
    deliver(tmp_path, [s3(who=who, key="=cmd|x", sourceIPAddress="\ud800")])
    assert run(["who", "--principal", "@SUM(1)", "--trail", str(tmp_path), "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["principal"], row["object"], row["address"]) == ("'@SUM(1)", "'=cmd|x", "\\ud800")


def test_jsonl(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --format jsonl, accesses come first, then the limits, then the counts.

    --json means the same.
    """
    for option in (["--format", "jsonl"], ["--json"]):
        assert run(["who", "--principal", ROLE, "--trail", str(trail), *option]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert lines[0]["actions"] == ["s3:GetObject", "kms:Decrypt"]
        assert len(lines[0]["event_ids"]) == 2
        assert "not_known" in lines[1]
        assert (lines[-1]["records"], lines[-1]["summaries_skipped"]) == (4, 1)


def test_a_name_cannot_forge_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in an object's name are escaped, so the name cannot forge a line."""
    deliver(tmp_path, [s3(key="a\nnot known: \x1b[2J")])
    run(["who", "--principal", ROLE, "--trail", str(tmp_path)])
    assert "a\\nnot known: \\x1b[2J" in capsys.readouterr().out


def test_a_bad_file_is_exit_code_1(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If a trail file is damaged, the exit code is 1, and the file is named after the accesses."""
    (trail / "bad.json.gz").write_bytes(b"\x1f\x8bxx")
    assert run(["who", URI, "--trail", str(trail)]) == 1
    out = capsys.readouterr().out
    assert "allowed" in out
    assert f"not read: {trail / 'bad.json.gz'} breaks off" in out
    (trail / "worse.json").write_bytes(b"x")
    assert run(["who", URI, "--trail", str(trail)]) == 1
    assert "not read: 2 times, such as " in capsys.readouterr().out


def test_nothing_is_no_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If no access was found, the output lists the events that the trail may not have recorded."""
    deliver(tmp_path, [samples.call("ec2", "RunInstances", samples.BOB)])
    assert run(["who", URI, "--trail", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "does the trail select data events?" in out
    assert "no evidence that no key was used" in out
    assert "0 accesses found" in err


def test_no_file_is_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a folder without trail files, the exit code is 1, and no remark is about records."""
    assert run(["who", URI, "--trail", str(tmp_path)]) == 1
    out, _ = capsys.readouterr()
    assert out.startswith(f"not read: {tmp_path} has no trail file")
    assert "data events" not in out


def test_a_narrow_terminal_has_a_line_per_cell(
    trail: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a narrow terminal, the table has one line per cell."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["who", URI, "--trail", str(trail)]) == 0
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert lines[0] == "time       2026-11-01T10:00:00Z"
    assert f"object     {URI}" in lines
    monkeypatch.setenv("COLUMNS", "300")
    assert run(["who", URI, "--trail", str(trail)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("2026-11-01T10:00:00Z  ")


WRONG = [
    [],
    [URI, "--key", KEY],
    ["s3://acme-data/"],
    [URI, "--bucket", "acme"],
    [URI, "--from", "yesterday"],
    [URI, "--from", "2026-11-02", "--to", "2026-11-01"],
    [URI, "--json", "--format", "csv"],
    [URI, "--trail", "none.json"],
    ["--principal", "alice"],
]


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_question(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong question is refused with a hint, and stdout stays empty."""
    assert run(["who", *arguments]) in (2, 5)
    out, err = capsys.readouterr()
    assert not out
    assert "hint:" in err or "is a part of its URI" in err or "ends before" in err


def test_a_day_counts_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A day given by --to is included as a whole; a time without a zone is UTC."""
    deliver(tmp_path, [kms(time="00:00:00"), kms(time="23:59:59")])
    for until, count in (("2026-11-01", 2), ("2026-11-01T12:00", 1)):
        asked = ["who", "--key", KEY, "--from", "2026-11-01", "--to", until]
        assert run([*asked, "--trail", str(tmp_path), "--json"]) == 0
        last = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert last["accesses"] == count


# --- The sandbox's own records -----------------------------------------------------------------


class Team:
    """Sessions of several roles that use objects in three modes, and a trail that records them."""

    def __init__(self, running: sandboxes.Running, bucket: str, key: str) -> None:
        self._running = running
        self.bucket, self.key = bucket, key
        self.trail = f"{bucket}-trail"
        self.stores: dict[str, S3Crypt] = {}
        self._name = f"t{uuid.uuid4().hex[:12]}"

    def begin(self, people: int) -> None:
        """Make the trail, and a session for each of the people."""
        client = boto3.client("s3")
        client.create_bucket(Bucket=self.trail)
        client.put_bucket_policy(Bucket=self.trail, Policy=_policy(self.trail))
        cloudtrail = boto3.client("cloudtrail")
        cloudtrail.create_trail(Name=self._name, S3BucketName=self.trail)
        chosen = {"Type": "AWS::S3::Object", "Values": [f"arn:aws:s3:::{self.bucket}/"]}
        selector: Any = {"IncludeManagementEvents": True, "DataResources": [chosen]}
        cloudtrail.put_event_selectors(TrailName=self._name, EventSelectors=[selector])
        cloudtrail.start_logging(Name=self._name)
        for number in range(people):
            session = _session(f"{self._name}-{number}", f"person-{number}")
            arn = str(session.client("sts").get_caller_identity()["Arn"])
            self.stores[arn] = S3Crypt(session=session)

    def end(self) -> None:
        """Delete the trail, so that it does not record other tests."""
        boto3.client("cloudtrail").delete_trail(Name=self._name)

    def use(self, arn: str, name: str, mode: Any, reads: int) -> None:
        """Put an object as this principal, and read it `reads` times."""
        store = self.stores[arn]
        store.put(b"x" * 64, f"s3://{self.bucket}/{name}", mode=mode)
        for _ in range(reads):
            assert store.read(f"s3://{self.bucket}/{name}", mode=mode) == b"x" * 64

    def deliver(self) -> list[str]:
        """Let the trail write its files."""
        return sandboxes.deliver_trails(self._running)


def _policy(bucket: str) -> str:
    who = {"Service": "cloudtrail.amazonaws.com"}
    root = f"arn:aws:s3:::{bucket}"
    statements = [
        {"Effect": "Allow", "Principal": who, "Action": action, "Resource": resource}
        for action, resource in (
            ("s3:GetBucketAcl", root),
            ("s3:PutObject", f"{root}/AWSLogs/{samples.ACCOUNT}/*"),
        )
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _session(role: str, name: str) -> boto3.Session:
    whom = {"AWS": f"arn:aws:iam::{samples.ACCOUNT}:root"}
    statement = {"Effect": "Allow", "Principal": whom, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    made = boto3.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument=trust)
    given = boto3.client("sts").assume_role(RoleArn=made["Role"]["Arn"], RoleSessionName=name)
    keys = given["Credentials"]
    return boto3.Session(
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


@pytest.fixture
def team(sandbox: sandboxes.Running, bucket: str, kms_key: str) -> Iterator[Team]:
    """Return a team that uses one bucket and one key."""
    made = Team(sandbox, bucket, kms_key)
    try:
        yield made
    finally:
        made.end()


def modes_of(key: str) -> dict[str, Any]:
    """Return the three modes whose accesses `check` compares."""
    return {
        "client": ClientSide(KMSKeyring(key)),
        "sse-kms": SSEKMS(key, bucket_key=False),
        "bucket-key": SSEKMS(key, bucket_key=True),
    }


def check(team: Team, people: int, objects: int, reads: int) -> int:
    """Use objects in each mode, and check that `who` finds exactly these accesses.

    Returns:
        The number of records.
    """
    team.begin(people)
    done: dict[str, Counter[tuple[str, str]]] = {}
    arns = list(team.stores)
    for mode, made in modes_of(team.key).items():
        counts = done.setdefault(mode, Counter())
        for number in range(objects):
            name = f"{mode}/{number}"
            arn = arns[number % people]
            team.use(arn, name, made, reads)
            counts[arn, name] += reads + 1
    team.deliver()
    found = list(Trails().search(Question(key=team.key), [f"s3://{team.trail}"]))
    for mode in ("client", "sse-kms"):
        of_mode = [each for each in found if (each.name or "").startswith(f"{mode}/")]
        # No access is missing or superfluous: principals, objects and counts are equal.
        assert Counter((each.principal.name, each.name) for each in of_mode) == done[mode]
        assert {each.bucket for each in of_mode} == {team.bucket}
        assert all(each.level == "object" and each.is_joined for each in of_mode)
        assert all(each.outcome == "allowed" and each.keys == (team.key,) for each in of_mode)
    _check_bucket_key(team, found, done["bucket-key"])
    everything = Trails().search(Question(key=team.key), [f"s3://{team.trail}"])
    assert len(list(everything)) == len(found)
    return everything.tally.records


def _check_bucket_key(team: Team, found: list[Access], done: Counter[tuple[str, str]]) -> None:
    """Check the accesses with a bucket key: KMS's records show the bucket, S3's the objects."""
    uses = [each for each in found if each.level == "bucket"]
    assert uses
    assert {each.bucket for each in uses} == {team.bucket}
    assert {each.principal.name for each in uses} <= set(team.stores)
    assert not any(each.name or each.is_joined for each in uses)
    for arn in team.stores:
        session = Question(principal=arn, bucket=team.bucket)
        seen = [
            each
            for each in Trails().search(session, [f"s3://{team.trail}"])
            # A read also sends a HEAD for S3's checksum, which is no use of the object's data.
            if (each.name or "").startswith("bucket-key/") and each.actions != ("s3:HeadObject",)
        ]
        expected = {name: count for (who, name), count in done.items() if who == arn}
        assert Counter(each.name for each in seen) == expected
        assert all(each.level == "object" for each in seen)


def test_the_sandboxs_own_truth(team: Team) -> None:
    """`who` finds exactly the accesses of five principals in three modes."""
    assert check(team, people=5, objects=5, reads=2) > 75


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_events(team: Team) -> None:
    """`who` finds exactly the accesses among 10,000 events of S3 and KMS."""
    assert check(team, people=5, objects=400, reads=3) >= 10_000


def test_lookup_events_shows_uses_of_keys_alone(
    team: Team, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """LookupEvents shows only uses of keys, so a client-side object's bucket is unknown.

    The output names the modes that do not use KMS.
    """
    monkeypatch.setattr(lookups, "_SECONDS_BETWEEN", 0.6)
    # The question begins now: the sandbox still has the events of all earlier tests, and a page has
    # only fifty events.
    since = datetime.now(UTC) - timedelta(seconds=2)
    team.begin(1)
    (arn,) = team.stores
    team.use(arn, "client/a", ClientSide(KMSKeyring(team.key)), 1)
    team.use(arn, "sse/a", SSEKMS(team.key, bucket_key=False), 1)
    for name, buckets in (("client/a", {None}), ("sse/a", {team.bucket})):
        question = Question(location=Location(team.bucket, name), since=since)
        found = list(Trails().search(question))
        assert [each.actions for each in found] == [("kms:Decrypt",), ("kms:GenerateDataKey",)]
        assert {each.bucket for each in found} == buckets
    assert run(["who", "--key", team.key]) == 0
    assert "sse-s3, sse-c" in capsys.readouterr().out


def test_an_empty_trail(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    """For a trail without files, as with a wrong prefix, the exit code is 1."""
    team.begin(1)
    assert run(["who", "--key", team.key, "--trail", f"s3://{team.trail}"]) == 1
    assert "0 accesses found in 0 records" in capsys.readouterr().err
