# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys impact` in sandboxes with whole accounts: screen, JSON document and exit codes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from hardening_samples import DENIED, watched
from object_audit_samples import Line
from object_audit_samples import Report as Inventory
from relay import Answer
from s3crypt_cli.main import run

from s3crypt import SSEKMS, ClientSide, KMSKeyring, S3Crypt
from s3crypt import sandbox as sandboxes
from s3crypt.impact import read_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay import Asked

BUCKET = "impact-account"


@pytest.fixture(scope="module")
def account() -> Iterator[dict[str, str]]:
    """Run a sandbox for this module, whose account has no buckets of other tests."""
    with sandboxes.running() as running:
        yield sandboxes.environment(running)


@pytest.fixture
def key(account: dict[str, str]) -> str:
    """Point this process at the account, which has a bucket; return the ARN of a new key."""
    os.environ.update(account)
    s3, kms = boto3.Session().client("s3"), boto3.Session().client("kms")
    if BUCKET not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=BUCKET)
    return str(kms.create_key()["KeyMetadata"]["Arn"])


def put(key: str, prefix: str) -> None:
    """Store an object that S3 encrypts under the key, and a client-side object."""
    session = boto3.Session()
    S3Crypt(SSEKMS(key), session=session).put(b"one", f"s3://{BUCKET}/{prefix}server")
    mode = ClientSide(KMSKeyring(key, session=session))
    S3Crypt(mode, session=session).put(b"two", f"s3://{BUCKET}/{prefix}client")


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the command, check that it succeeds, and return its output."""
    capsys.readouterr()
    assert run(["keys", "impact", *words]) == 0
    return capsys.readouterr().out


def test_the_report_is_one_screen(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The report fits into 80 columns, with counts per mode and the next command at its end."""
    put(key, "screen/")
    text = shown(capsys, key, f"s3://{BUCKET}/screen/")
    lines = text.splitlines()
    assert len(lines) < 40
    assert all(len(line) <= 80 for line in lines if key not in line and "next: " not in line)
    assert "Without this key: 2 versions unreadable, 0 settings broken, 0 items undecided." in lines
    assert any(line.startswith("sse-kms ") and line.split()[1:3] == ["1", "1"] for line in lines)
    assert lines[-1].startswith(f"next: s3crypt rotate s3://{BUCKET}/screen/ --mode sse-kms --key ")


def test_json_is_one_document(key: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """--json prints the document that --report writes; --list writes a line per version."""
    put(key, "json/")
    report, listed = tmp_path / "impact.json", tmp_path / "list.jsonl"
    words = (key, f"s3://{BUCKET}/json/", "--report", str(report), "--list", str(listed), "--json")
    document = json.loads(shown(capsys, *words))
    assert document == json.loads(report.read_text())
    assert (document["format"], document["version"]) == ("s3crypt-key-impact", 1)
    assert (document["dependents"], document["undecided"]) == (2, 0)
    found = [json.loads(line) for line in listed.read_text().splitlines()]
    assert {each["uri"].rpartition("/")[2]: each["mode"] for each in found} == {
        "server": "sse-kms",
        "client": "client (header)",
    }


def test_an_account_without_dependents_is_cleared(
    key: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """If the account has no dependents, the report clears the key.

    The printed next command schedules the deletion with the report.
    """
    file = tmp_path / "impact.json"
    text = shown(capsys, key, "--account", "--report", str(file))
    clearance = read_report(file).clearance()
    assert clearance.objections(key, clearance.made) == ()
    assert f"s3crypt keys schedule-deletion {key} --impact-report {file}" in text


@pytest.mark.parametrize(
    ("answer", "hidden"),
    [
        (DENIED, "the directory buckets of us-east-1 cannot be listed"),
        (
            Answer(
                200,
                {"content-type": "application/xml"},
                b"<ListAllMyDirectoryBucketsResult><Buckets><Bucket><Name>fast--use1-az4--x-s3"
                b"</Name></Bucket></Buckets></ListAllMyDirectoryBucketsResult>",
            ),
            "it is a directory bucket, which is looked at only if its URI is given, too",
        ),
    ],
    ids=["refused", "listed"],
)
def test_a_directory_bucket_is_no_cleared_bucket(answer: Answer, hidden: str, key: str) -> None:
    """If directory buckets cannot be listed or examined, the account is not cleared."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return answer if "max-directory-buckets" in asked.target else forward()

    with watched(spoil):
        report = _report(key)
    assert [each.hidden for each in report.unknown] == [hidden]
    assert report.clearance().unknown == 1


def test_tables_and_vectors_that_name_the_key_are_dependents(key: str) -> None:
    """Table buckets, tables, vector buckets and indexes that name the key are dependents."""
    session = boto3.Session()
    tables, vectors = session.client("s3tables"), session.client("s3vectors")
    kms = {"sseAlgorithm": "aws:kms", "kmsKeyArn": key}
    made = tables.create_table_bucket(name="impact-tables", encryptionConfiguration=kms)
    arn = made["arn"]
    tables.create_namespace(tableBucketARN=arn, namespace=["sales"])
    tables.create_table(tableBucketARN=arn, namespace="sales", name="q3", format="ICEBERG")
    vector = {"sseType": "aws:kms", "kmsKeyArn": key}
    vectors.create_vector_bucket(vectorBucketName="impact-vectors", encryptionConfiguration=vector)
    vectors.create_index(
        vectorBucketName="impact-vectors",
        indexName="one",
        dataType="float32",
        dimension=2,
        distanceMetric="cosine",
    )
    report = _report(key)
    assert {each.kind for each in report.settings} == {
        "table bucket",
        "table",
        "vector bucket",
        "vector index",
    }
    assert report.undecided == 0


def _report(key: str) -> Any:
    from s3crypt.impact import find_dependents  # noqa: PLC0415

    return find_dependents(key, account=True, session=boto3.Session())


def test_other_buckets_are_named(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The report names the buckets that were not examined."""
    document = json.loads(shown(capsys, key, f"s3://{BUCKET}/screen/", "--json"))
    others = {each["what"]: each["items"] for each in document["not_looked_at"]}
    assert f"s3://{BUCKET}/" in others["other buckets"]
    assert not json.loads(shown(capsys, key, "--account", "--json"))["unknown"]


def test_grants_and_the_last_use_are_told(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The report names other accounts with grants on the key, and the last use of the key."""
    kms = boto3.Session().client("kms")
    foreign = "arn:aws:iam::210987654321:root"
    kms.create_grant(KeyId=key, GranteePrincipal=foreign, Operations=["Decrypt"])
    document = json.loads(shown(capsys, key, f"s3://{BUCKET}/none/", "--json"))
    told = {each["what"]: each for each in document["not_looked_at"]}
    assert told["other accounts"]["items"] == ["210987654321"]
    assert "no use of the key since" in told["services by last use"]["detail"]


# --- exit codes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["KEY"], 2, "Nothing names where to look"),
        (["KEY", f"s3://{BUCKET}/object"], 2, "names an object"),
        (["KEY", BUCKET, "--seed", "1"], 2, "--seed needs --sample"),
        (["KEY", BUCKET, "--inventory", f"s3://{BUCKET}/x.csv"], 2, "not the manifest"),
        (["KEY", BUCKET, "--metadata-table", "no-such-file"], 5, "no such file"),
        (["KEY", "no-such-bucket-of-ours"], 5, "no such bucket"),
        (["KEY", BUCKET, "--report", "no-such-folder/x.json"], 5, "no-such-folder"),
        (["alias/none", BUCKET], 4, "no such key"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(
    words: list[str], code: int, why: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input is one line on stderr with its exit code, and no report."""
    assert run(["keys", "impact", *(key if word == "KEY" else word for word in words)]) == code
    out, told = capsys.readouterr()
    (line,) = [line for line in told.splitlines() if line.startswith("s3crypt: ")]
    assert why in line
    assert not out


@pytest.mark.parametrize("option", ["--list", "--report"])
def test_a_report_does_not_overwrite_a_key(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report on a hard link to the file of a customer key is refused."""
    key, link = tmp_path / "key", tmp_path / "link"
    key.write_bytes(bytes(32))
    link.hardlink_to(key)
    words = ["alias/any", BUCKET, "--sse-c-key-file", str(key), option, str(link)]
    assert run(["keys", "impact", *words]) == 2
    assert "is not overwritten" in capsys.readouterr().err
    assert link.read_bytes() == bytes(32)


@pytest.mark.parametrize(
    ("spoiled", "code"), [({"MD5checksum": "0" * 32}, 3), ({"key": "no-such-part"}, 5)]
)
def test_a_damaged_inventory_has_its_exit_code(
    spoiled: dict[str, str],
    code: int,
    key: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """With a damaged inventory the report is written, but it does not cover the account."""
    s3, file = boto3.Session().client("s3"), tmp_path / "impact.json"
    inventory = Inventory(BUCKET, BUCKET, [Line("x")])
    inventory.store(s3)
    inventory.manifest["files"][0] |= spoiled
    manifest = inventory.store(s3)
    words = ["keys", "impact", key, "--account", "--inventory", manifest, "--report", str(file)]
    assert run(words) == code
    report = read_report(file)
    assert [each.subject for each in report.failures] == [manifest]
    assert not report.clearance().covers_account
    assert f"s3crypt: {manifest}: " in capsys.readouterr().err


def test_a_refused_list_of_buckets_is_an_error(
    key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """If S3 refuses the list of buckets, the command fails, because the account is unknown."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_list = (
            asked.path == "/" and asked.method == "GET" and "x-amz-target" not in asked.headers
        )
        if is_list:
            return Answer(DENIED.status, dict(DENIED.headers), DENIED.body)
        return forward()

    with watched(spoil):
        assert run(["keys", "impact", key, "--account"]) == 5
    assert "the list of buckets" in capsys.readouterr().err
