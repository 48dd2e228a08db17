# SPDX-License-Identifier: Apache-2.0
"""Reports about objects that depend on a key, over HTTP: complete, resumed and sampled reports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hardening_samples import DENIED, watched
from impact_samples import (
    CIPHERTEXT,
    CUSTOMER_KEY,
    Maker,
    Truth,
    depends,
    fill,
    found_in,
    impact,
)
from object_audit_samples import Line
from object_audit_samples import Report as Inventory
from relay import Answer

from s3crypt import (
    ConfigError,
    FormatError,
    KeyUnavailableError,
    LocalFileNotFoundError,
    ObjectNotFoundError,
)
from s3crypt.impact import document_of, read_report
from s3crypt.jobs import Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relay import Asked

    from s3crypt.impact import Dependent, Report

COUNT = 150


@pytest.fixture(scope="module")
def keys(kms: Any) -> tuple[str, str]:
    """Make the key under examination and a second key; return their ARNs."""
    first, second = (str(kms.create_key()["KeyMetadata"]["Arn"]) for _ in range(2))
    return first, second


@pytest.fixture(scope="module")
def filled(s3: Any, keys: tuple[str, str]) -> tuple[str, Truth]:
    """Make a bucket with versions of all kinds; return its URI and the expected numbers."""
    return made(s3, keys, "impact-all-kinds", COUNT)


def made(s3: Any, keys: tuple[str, str], name: str, count: int) -> tuple[str, Truth]:
    """Make a versioned bucket with `count` versions. Return its URI and the expected numbers."""
    s3.create_bucket(Bucket=name)
    s3.put_bucket_encryption(
        Bucket=name,
        ServerSideEncryptionConfiguration={
            "Rules": [
                {
                    "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
                    "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
                }
            ]
        },
    )
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return f"s3://{name}/", fill(Maker(s3, name, *keys), s3, name, count)


def unknown(report: Report, what: str = "version") -> int:
    """Return the number of undecided items of a kind."""
    return sum(each.count for each in report.unknown if each.what == what)


def check(report: Report, truth: Truth) -> None:
    """Compare the numbers of a report with the expected numbers."""
    assert found_in(report, "versions") == depends(truth.versions)
    assert found_in(report, "objects") == depends(truth.objects)
    assert found_in(report, "stored_bytes") == depends(truth.stored_bytes)
    assert unknown(report) == truth.count("unknown")
    assert report.looked_at.versions == truth.versions.total()
    assert not report.failures


def test_the_numbers_are_exact_in_all_modes(
    keys: tuple[str, str], filled: tuple[str, Truth]
) -> None:
    """The report has the exact numbers of versions, objects and bytes, by mode and dependency."""
    check(impact(keys[0], filled[0]), filled[1])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_numbers_of_5000_versions_are_exact(
    s3: Any, bucket: str, keys: tuple[str, str], tmp_path: Path
) -> None:
    """The report is exact, and the bounds of 95 of 100 samples contain the true numbers."""
    uri, truth = made(s3, keys, "impact-5000", 5000)
    total = sum(size for (_, kind), size in truth.stored_bytes.items() if kind == "only")
    # The samples use an inventory and the journal, which need fewer requests than a listing.
    lines = lines_of(s3, uri, status="SSE-S3")
    manifest = Inventory(uri.split("/")[2], bucket, lines, "Parquet").store(s3)
    within = 0
    with Journal.open(tmp_path / "journal", {"job": 1}) as journal:
        check(impact(keys[0], uri, journal=journal), truth)
        for seed in range(100):
            how: Any = {"inventories": [manifest], "journal": journal}
            sample = impact(keys[0], uri, sample=200, seed=seed, **how).sample
            assert sample is not None
            assert sample.stored_bytes is not None
            assert (sample.size, sample.population) == (200, 5000)
            is_within = sample.versions.low <= truth.count("only") <= sample.versions.high
            within += is_within and sample.stored_bytes.low <= total <= sample.stored_bytes.high
    assert within >= 95, f"{within} of 100 samples have the truth within their bounds"


def test_each_dependent_version_is_told_once(
    keys: tuple[str, str], filled: tuple[str, Truth]
) -> None:
    """The callback `each` gets every dependent version once, with its mode and dependency."""
    found: list[Dependent] = []
    impact(keys[0], filled[0], each=found.append)
    assert len({(each.uri, each.version_id) for each in found}) == len(found)
    counts = Truth()
    counts.versions.update((each.mode, each.kind) for each in found)
    assert dict(counts.versions) == depends(filled[1].versions)


def test_a_prefix_inside_another_is_counted_once(
    keys: tuple[str, str], filled: tuple[str, Truth]
) -> None:
    """Overlapping places are counted as one place."""
    check(impact(keys[0], f"{filled[0]}a/", filled[0], filled[0]), filled[1])


def test_prefixes_add_up(keys: tuple[str, str], filled: tuple[str, Truth]) -> None:
    """The numbers of all prefixes add up to the numbers of the bucket."""
    parts = [impact(keys[0], f"{filled[0]}{name}/").only.versions for name in "abc"]
    assert sum(parts) == filled[1].count("only")


def test_a_customer_key_shows_what_is_inside(
    keys: tuple[str, str], filled: tuple[str, Truth]
) -> None:
    """An SSE-C object is undecided without its customer key; with the key it is examined."""
    blind = impact(keys[0], filled[0])
    (hidden,) = [each for each in blind.unknown if "SSE-C" in each.hidden]
    sighted = impact(keys[0], filled[0], customer_keys=[CUSTOMER_KEY])
    assert unknown(sighted) == unknown(blind) - hidden.count


def test_another_key_that_is_being_deleted_is_no_way_in(
    kms: Any, s3: Any, versioned_bucket: str
) -> None:
    """If the deletion of an object's other key is scheduled, the examined key is its only key."""
    key, other = (str(kms.create_key()["KeyMetadata"]["Arn"]) for _ in range(2))
    maker = Maker(s3, versioned_bucket, key, other)
    maker.put("x", "two KMS keys", 1)
    uri = f"s3://{versioned_bucket}/"
    assert (impact(key, uri).shared.versions, impact(key, uri).only.versions) == (1, 0)
    kms.schedule_key_deletion(KeyId=other, PendingWindowInDays=7)
    assert (impact(key, uri).shared.versions, impact(key, uri).only.versions) == (0, 1)


def test_a_key_that_is_being_deleted_is_found_all_the_same(
    kms: Any, s3: Any, versioned_bucket: str
) -> None:
    """For a key pending deletion, S3 refuses to serve content, but HEAD still names the key."""
    key, other = (str(kms.create_key()["KeyMetadata"]["Arn"]) for _ in range(2))
    maker = Maker(s3, versioned_bucket, key, other)
    kinds = ("sse-kms", "dsse-kms", "header", "metadata", "sse-s3")
    for kind in kinds:
        maker.put(kind, kind, 1)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    report = impact(key, f"s3://{versioned_bucket}/")
    assert (report.only.versions, report.undecided) == (4, 0)
    assert report.key.deletion is not None


# --- settings and uploads ------------------------------------------------------------------------


@pytest.mark.parametrize("named_by", ["arn", "id", "alias", "alias arn"])
def test_a_default_that_names_the_key_is_a_dependent(
    named_by: str, kms: Any, s3: Any, bucket: str, keys: tuple[str, str]
) -> None:
    """A default encryption depends on the key if it names the key's ARN, its id or its alias."""
    alias = f"alias/{bucket}"
    kms.create_alias(AliasName=alias, TargetKeyId=keys[0])
    place = keys[0].rpartition(":")[0]
    names = {"arn": keys[0], "id": keys[0].rpartition("/")[2], "alias": alias}
    name = names.get(named_by, f"{place}:{alias}")
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": name}
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    report = impact(keys[0], f"s3://{bucket}/")
    assert [(each.kind, each.resource) for each in report.settings] == [
        ("default encryption", f"s3://{bucket}/")
    ]
    assert report.dependents == 1
    assert not impact(keys[1], f"s3://{bucket}/").settings


def test_an_unfinished_upload_is_undecided(s3: Any, bucket: str, keys: tuple[str, str]) -> None:
    """An unfinished upload is undecided, because S3 does not show its key."""
    s3.create_multipart_upload(
        Bucket=bucket, Key="x", ServerSideEncryption="aws:kms", SSEKMSKeyId=keys[0]
    )
    report = impact(keys[0], f"s3://{bucket}/")
    assert (unknown(report, "upload"), report.dependents) == (1, 0)
    assert report.clearance().unknown == 1


# --- refused requests ----------------------------------------------------------------------------


def refused(method: str, needle: str) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    """Return a relay's function that refuses requests whose path contains a text."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == method and needle in asked.target:
            return Answer(DENIED.status, dict(DENIED.headers), DENIED.body)
        return forward()

    return spoil


@pytest.mark.parametrize(
    ("needle", "what", "action"),
    [
        ("?versions", "bucket", "s3:ListBucketVersions"),
        ("?uploads", "bucket", "s3:ListBucketMultipartUploads"),
        ("?encryption", "setting", "s3:GetEncryptionConfiguration"),
        ("?replication", "setting", "s3:GetReplicationConfiguration"),
        ("?inventory", "setting", "s3:GetInventoryConfiguration"),
    ],
)
def test_a_refusal_is_undecided_with_its_action(
    needle: str, what: str, action: str, bucket: str, keys: tuple[str, str]
) -> None:
    """A refused request makes its items undecided, and the report names the missing action."""
    with watched(refused("GET", needle)):
        report = impact(keys[0], f"s3://{bucket}/")
    assert [(each.what, each.denied) for each in report.unknown] == [(what, (action,))]
    assert not report.clearance().covers_account


def test_an_object_that_may_not_be_read_is_undecided(
    s3: Any, bucket: str, keys: tuple[str, str]
) -> None:
    """If S3 refuses an object's first bytes, the object is undecided: it may be a message."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"x")
    with watched(refused("GET", f"{bucket}/x")):
        (hidden,) = impact(keys[0], f"s3://{bucket}/").unknown
    assert hidden.denied == ("s3:GetObject",)


def test_a_bucket_that_vanishes_is_a_failure(
    s3: Any, blocked_bucket: str, keys: tuple[str, str]
) -> None:
    """If a bucket vanishes during the run, the report names it and does not cover the account."""
    s3.put_object(Bucket=blocked_bucket, Key="x", Body=b"x")

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if "?versions" in asked.target and blocked_bucket in asked.path:
            s3.delete_object(Bucket=blocked_bucket, Key="x")
            s3.delete_bucket(Bucket=blocked_bucket)
        return answer

    with watched(spoil):
        report = impact(keys[0], f"s3://{blocked_bucket}/")
    (failure,) = report.failures
    assert (failure.subject, failure.kind) == (f"s3://{blocked_bucket}/", "storage")
    assert "vanished" in failure.reason
    assert not report.covers_account


@pytest.mark.parametrize("gone", ["nothing", "its file", "both"])
def test_a_deleted_instruction_file_leaves_an_object_undecided(
    gone: str, s3: Any, versioned_bucket: str, keys: tuple[str, str]
) -> None:
    """If an instruction file was deleted, its object is undecided: old versions can be restored."""
    name = "x.instruction"
    mark = {"x-amz-crypto-instr-file": ""}
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=CIPHERTEXT)
    s3.put_object(Bucket=versioned_bucket, Key=name, Body=b"{}", Metadata=mark)
    for each in {"nothing": [], "its file": [name], "both": ["x", name]}[gone]:
        s3.delete_object(Bucket=versioned_bucket, Key=each)
    report = impact(keys[0], f"s3://{versioned_bucket}/")
    assert (unknown(report), report.looked_at.versions) == (1, 2)


def test_an_instruction_file_that_may_not_be_read_leaves_an_object_undecided(
    s3: Any, bucket: str, keys: tuple[str, str]
) -> None:
    """If S3 refuses an instruction file, its object is undecided: the file may name the key."""
    s3.put_object(Bucket=bucket, Key="x", Body=CIPHERTEXT)
    s3.put_object(Bucket=bucket, Key="x.instruction", Body=b"{}")

    def refuse(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return DENIED if asked.path.endswith("/x.instruction") else forward()

    with watched(refuse):
        report = impact(keys[0], f"s3://{bucket}/")
    assert "S3 refuses its instruction file" in {each.hidden for each in report.unknown}


@pytest.mark.parametrize("kind", ["sse-kms", "archived", "sse-c"])
@pytest.mark.parametrize("change", ["overwritten", "deleted"])
def test_a_null_version_that_is_not_current_any_more_is_looked_at(
    change: str, kind: str, s3: Any, bucket: str, keys: tuple[str, str]
) -> None:
    """A null version is examined even if a newer version or a delete marker hides it."""
    how: dict[str, Any] = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": keys[0]}
    if kind == "archived":
        how["StorageClass"] = "GLACIER"
    if kind == "sse-c":
        how = CUSTOMER_KEY.write_arguments()
    s3.put_object(Bucket=bucket, Key="x", Body=b"x", **how)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def change_it(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if "?versions" in asked.target and bucket in asked.path:
            if change == "deleted":
                s3.delete_object(Bucket=bucket, Key="x")
            else:
                s3.put_object(Bucket=bucket, Key="x", Body=b"newer")
        return answer

    with watched(change_it):
        report = impact(keys[0], f"s3://{bucket}/")
    assert (report.only.versions, unknown(report)) == ((0, 1) if kind == "sse-c" else (1, 0))


# --- inventories ---------------------------------------------------------------------------------


PREFIX = "its configuration may name a prefix: a manifest does not tell which objects it omits"


def flaws(report: Report) -> list[str]:
    """Return the reasons why the inventories of a report may lack objects."""
    return [each.hidden for each in report.unknown if each.what == "inventory"]


def lines_of(s3: Any, uri: str, *, status: str | None = None) -> list[Line]:
    """Return the rows of a bucket's inventory, as S3 writes them or with `status` in each row."""
    bucket, lines = uri.split("/")[2], list[Line]()
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for each in page.get("Versions", ()):
            known = status or _status(s3, bucket, each)
            line = Line(each["Key"], known, each["VersionId"], each["IsLatest"])
            line.etag, line.size = each["ETag"].strip('"'), each["Size"]
            line.storage_class = each["StorageClass"]
            lines.append(line)
        lines += [
            Line(each["Key"], None, each["VersionId"], is_marker=True)
            for each in page.get("DeleteMarkers", ())
        ]
    return lines


def _status(s3: Any, bucket: str, version: Any) -> str:
    """Return the encryption status of a version in an inventory's spelling."""
    named = {"Key": version["Key"], "VersionId": version["VersionId"]}
    try:
        found = s3.head_object(Bucket=bucket, **named)["ServerSideEncryption"]
    except s3.exceptions.ClientError:
        return "SSE-C"
    return {"AES256": "SSE-S3", "aws:kms": "SSE-KMS", "aws:kms:dsse": "DSSE-KMS"}[found]


@pytest.mark.parametrize("kind", ["CSV", "Parquet", "ORC"])
def test_an_inventory_gives_the_numbers_of_a_listing(
    kind: str, s3: Any, bucket: str, keys: tuple[str, str], filled: tuple[str, Truth]
) -> None:
    """A report from an inventory in any format has the same numbers as a report from a listing."""
    uri, truth = filled
    report = Inventory(uri.split("/")[2], bucket, lines_of(s3, uri), kind, parts=2)
    found = impact(keys[0], inventories=[report.store(s3)])
    check(found, truth)
    assert (flaws(found), found.sample) == ([PREFIX], None)


def test_rows_under_customer_keys_are_not_looked_at(
    s3: Any, bucket: str, keys: tuple[str, str]
) -> None:
    """A row with SSE-C is undecided without a request, because a request would show no more."""
    lines = [Line(f"{number}", "SSE-C") for number in range(5)]
    manifest = Inventory(bucket, bucket, lines).store(s3)
    with watched() as relay:
        report = impact(keys[0], inventories=[manifest])
    assert (unknown(report), report.looked_at.versions) == (5, 5)
    looks = {f"/{bucket}/{number}" for number in range(5)}
    assert not looks & {each.path for each in relay.asked}


def test_an_old_inventory_does_not_clear(s3: Any, bucket: str, keys: tuple[str, str]) -> None:
    """A report from an old inventory has the inventory's time, and says what is missing."""
    manifest = Inventory(bucket, bucket, [], age_seconds=3 * 86400).store(s3)
    report = impact(keys[0], inventories=[manifest])
    assert any("newer objects" in flaw for flaw in flaws(report))
    assert (report.ended - report.as_of).days == 3


def test_an_inventory_of_current_versions_lacks_the_others(
    s3: Any, versioned_bucket: str, keys: tuple[str, str]
) -> None:
    """A report from an inventory of current versions says that older versions are missing."""
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"x")
    columns = ("Bucket", "Key", "Size", "ETag", "StorageClass", "EncryptionStatus")
    lines = [Line("x")]
    manifest = Inventory(versioned_bucket, versioned_bucket, lines, columns=columns).store(s3)
    found = flaws(impact(keys[0], inventories=[manifest]))
    assert any("current versions only" in flaw for flaw in found)


def test_an_inventory_of_a_prefix_does_not_clear(
    s3: Any, bucket: str, keys: tuple[str, str]
) -> None:
    """An inventory does not clear its bucket, because it may have been limited to a prefix.

    A manifest does not show this.
    """
    kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": keys[0]}
    s3.put_object(Bucket=bucket, Key="b/under-the-key", Body=b"x", **kms)
    s3.put_object(Bucket=bucket, Key="a/plain", Body=b"x")
    manifest = Inventory(bucket, bucket, [Line("a/plain", "SSE-S3")]).store(s3)
    report = impact(keys[0], f"s3://{bucket}/", inventories=[manifest])
    assert report.only.versions == 0
    assert report.clearance().unknown > 0


def test_two_tables_of_one_bucket_are_refused(
    s3: Any, bucket: str, keys: tuple[str, str], tmp_path: Path
) -> None:
    """Two different tables of one bucket are refused.

    The same inventory given twice counts once.
    """
    s3.put_object(Bucket=bucket, Key="x", Body=b"x")
    manifest = Inventory(bucket, bucket, [Line("x", "SSE-S3")]).store(s3)
    export_of(s3, f"s3://{bucket}/", tmp_path / "export.csv")
    tables = [str(tmp_path / "export.csv")]
    with pytest.raises(ConfigError, match=f"are both of the bucket {bucket}"):
        impact(keys[0], inventories=[manifest], metadata_tables=tables)
    report = impact(keys[0], inventories=[manifest, manifest])
    assert report.looked_at.versions == 1


@pytest.mark.parametrize(
    ("spoiled", "kind", "why"),
    [
        ({"size": 1}, "integrity", "MD5"),
        ({"MD5checksum": "0" * 32}, "integrity", "MD5"),
        ({"key": "no-such-part"}, "storage", "missing"),
    ],
)
def test_a_damaged_inventory_is_a_failure(
    spoiled: dict[str, Any], kind: str, why: str, s3: Any, bucket: str, keys: tuple[str, str]
) -> None:
    """A part that has a wrong checksum, or that is missing, is a failure in the report."""
    report = Inventory(bucket, bucket, [Line("x")])
    report.store(s3)
    report.manifest["files"][0] |= spoiled
    found = impact(keys[0], inventories=[report.store(s3)])
    (failure,) = found.failures
    assert failure.kind == kind
    assert why in failure.reason


def test_a_manifest_with_another_checksum_is_a_failure(
    s3: Any, bucket: str, keys: tuple[str, str]
) -> None:
    """A manifest with a wrong checksum is a failure and is not read."""
    manifest = Inventory(bucket, bucket, [Line("x")]).store(s3)
    beside = manifest.replace("manifest.json", "manifest.checksum").split("/", 3)[3]
    s3.put_object(Bucket=bucket, Key=beside, Body=b"0" * 32)
    (failure,) = impact(keys[0], inventories=[manifest]).failures
    assert (failure.subject, failure.kind) == (manifest, "integrity")


# --- exports of S3 Metadata ----------------------------------------------------------------------


def export_of(s3: Any, uri: str, path: Path) -> None:
    """Write an export of the inventory table of a bucket's S3 Metadata, as CSV."""
    bucket = uri.split("/")[2]
    rows = ["bucket,key,version_id,is_delete_marker,size,encryption_status,kms_key_arn"]
    for each in lines_of(s3, uri):
        arn = ""
        if each.status in ("SSE-KMS", "DSSE-KMS"):
            named = {"Key": each.name, "VersionId": each.version_id}
            arn = s3.head_object(Bucket=bucket, **named)["SSEKMSKeyId"]
        marker, status = str(each.is_marker).lower(), each.status or ""
        rows.append(f"{bucket},{each.name},{each.version_id},{marker},{each.size},{status},{arn}")
    path.write_text("\n".join(rows) + "\n")


def test_an_export_gives_the_numbers_of_a_listing(
    s3: Any, keys: tuple[str, str], filled: tuple[str, Truth], tmp_path: Path
) -> None:
    """A report from an export has the same numbers as a report from a listing.

    Rows under SSE-KMS with the key need no request; other versions are examined.
    """
    uri, truth = filled
    export = tmp_path / "export.csv"
    export_of(s3, uri, export)
    with watched() as relay:
        report = impact(keys[0], metadata_tables=[str(export)])
    assert found_in(report, "versions") == depends(truth.versions)
    assert found_in(report, "stored_bytes") == depends(truth.stored_bytes)
    looks = {
        (each.path, each.query["versionId"]) for each in relay.asked if "versionId" in each.query
    }
    known = truth.versions["sse-kms", "only"] + truth.versions["dsse-kms", "only"]
    assert len(looks) <= truth.versions.total() - known
    (flaw,) = [each for each in report.unknown if each.what == "inventory"]
    assert "checksums" in flaw.hidden


def test_an_export_that_is_damaged_is_a_failure(keys: tuple[str, str], tmp_path: Path) -> None:
    """A damaged export is a failure in the report, without numbers for its bucket."""
    export = tmp_path / "export.csv"
    export.write_text("bucket,key\nx,y\n")
    (failure,) = impact(keys[0], metadata_tables=[str(export)]).failures
    assert (failure.subject, failure.kind) == (str(export), "integrity")


# --- samples -------------------------------------------------------------------------------------


def test_a_sample_has_bounds_around_the_truth(
    keys: tuple[str, str], filled: tuple[str, Truth]
) -> None:
    """The bounds of a sample contain the true numbers; the same seed draws the same sample."""
    uri, truth = filled
    samples = [impact(keys[0], uri, sample=40, seed=seed).sample for seed in range(5)]
    total = sum(size for (_, kind), size in truth.stored_bytes.items() if kind == "only")
    for sample in samples:
        assert sample is not None
        assert sample.stored_bytes is not None
        assert (sample.size, sample.population) == (40, COUNT)
        assert sample.versions.low <= truth.count("only") <= sample.versions.high
        assert sample.stored_bytes.low <= total <= sample.stored_bytes.high
        assert sample.versions.high - sample.versions.low < COUNT
    assert impact(keys[0], uri, sample=40, seed=3).sample == samples[3]


def test_a_sample_of_all_is_exact(keys: tuple[str, str], filled: tuple[str, Truth]) -> None:
    """A sample of all versions is exact and has no bounds."""
    report = impact(keys[0], filled[0], sample=COUNT)
    assert report.sample is None
    check(report, filled[1])


# --- resumed -------------------------------------------------------------------------------------

_WALK = """
import sys
sys.path.insert(0, sys.argv[4])
from impact_samples import impact
from s3crypt.jobs import Journal
with Journal.open(sys.argv[3], {"job": 1}) as journal:
    impact(sys.argv[1], sys.argv[2], journal=journal, jobs=2)
"""


def test_a_killed_walk_is_resumed(
    keys: tuple[str, str], filled: tuple[str, Truth], tmp_path: Path
) -> None:
    """After SIGKILL the next run examines the remaining versions and has the same numbers."""
    uri, truth = filled
    asked, process = 0, list[subprocess.Popen[bytes]]()

    def is_look(each: Asked) -> bool:
        return f"{uri.split('/')[2]}/" in each.path and each.path.count("/") > 2

    def spoil(each: Asked, forward: Callable[[], Answer]) -> Answer:
        nonlocal asked
        asked += is_look(each)
        if asked == COUNT // 2:
            process[0].send_signal(signal.SIGKILL)
        return forward()

    with watched(spoil):
        here = os.path.dirname(__file__)  # noqa: PTH120
        words = [sys.executable, "-c", _WALK, keys[0], uri, str(tmp_path / "journal"), here]
        process.append(subprocess.Popen(words))
        assert process[0].wait(60) == -signal.SIGKILL
    with Journal.open(tmp_path / "journal", {"job": 1}) as journal, watched() as relay:
        report = impact(keys[0], uri, journal=journal)
    check(report, truth)
    assert 0 < len([each for each in relay.asked if is_look(each)]) < COUNT


def test_a_resumed_walk_is_as_old_as_its_begin(
    s3: Any, bucket: str, keys: tuple[str, str], tmp_path: Path
) -> None:
    """A resumed report has the time of the first run, and the same sample as the first run."""
    for number in range(20):
        s3.put_object(Bucket=bucket, Key=f"{number}", Body=b"x")
    reports = []
    for _ in range(2):
        with Journal.open(tmp_path / "journal", {"job": 1}) as journal:
            reports.append(impact(keys[0], f"s3://{bucket}/", journal=journal, sample=5))
    first, second = reports
    assert first.as_of == second.as_of < first.ended < second.ended
    assert first.sample == second.sample


# --- the report ----------------------------------------------------------------------------------


def test_a_report_is_read_as_it_was_written(
    keys: tuple[str, str], filled: tuple[str, Truth], tmp_path: Path
) -> None:
    """A report that is written and read has the same values.

    Its clearance is only for the same key and account.
    """
    report = impact(keys[0], filled[0], sample=20)
    file = tmp_path / "impact.json"
    file.write_text(json.dumps(document_of(report)))
    again = read_report(file)
    assert again == report
    clearance = again.clearance()
    assert (clearance.key_arn, clearance.account) == (keys[0], keys[0].split(":")[4])
    assert clearance.is_sampled
    assert not clearance.covers_account
    assert clearance.dependents == report.only.versions > 0


@pytest.mark.parametrize(
    "change",
    [
        {"format": "another"},
        {"version": 2},
        {"groups": None},
        {"as_of": "yesterday"},
        {"as_of": "2026-11-28T20:00:00"},
        {"buckets": -1},
        {"buckets": "1"},
        {"looked_at": {}},
        {"scope": []},
    ],
    ids=str,
)
def test_a_file_that_is_no_report_is_refused(
    change: dict[str, Any], bucket: str, keys: tuple[str, str], tmp_path: Path
) -> None:
    """A document of another format or version, or with wrong types, is refused."""
    document = document_of(impact(keys[0], f"s3://{bucket}/"))
    file = tmp_path / "impact.json"
    file.write_text(json.dumps({**document, **change}))
    with pytest.raises(FormatError, match=r"no report|has version 2"):
        read_report(file)


def test_a_missing_report_is_an_error(tmp_path: Path) -> None:
    """The error for a missing report names the file."""
    with pytest.raises(LocalFileNotFoundError, match="no such file"):
        read_report(tmp_path / "none.json")


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uris", "options", "why"),
    [
        ([], {}, "Nothing names where"),
        (["s3://acme/object"], {}, "names an object"),
        (["acme"], {}, "Not the URI"),
        ([], {"inventories": ["s3://acme/list.csv"]}, "not the manifest"),
    ],
)
def test_bad_arguments_are_refused(
    uris: list[str], options: dict[str, Any], why: str, keys: tuple[str, str], s3: Any
) -> None:
    """Wrong arguments are refused before any object is examined."""
    if options:
        s3.create_bucket(Bucket="acme")
    with pytest.raises(ConfigError, match=why):
        impact(keys[0], *uris, **options)


def test_a_missing_bucket_is_an_error(keys: tuple[str, str]) -> None:
    """A bucket that does not exist is an error."""
    with pytest.raises(ObjectNotFoundError, match="no such bucket"):
        impact(keys[0], "s3://no-such-bucket-of-ours/")


@pytest.mark.parametrize("name", ["alias/none", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_key_is_an_error(name: str, bucket: str) -> None:
    """The error for an unknown key names the key."""
    with pytest.raises(KeyUnavailableError, match=f"{name}: no such key"):
        impact(name, f"s3://{bucket}/")


@pytest.mark.parametrize(
    ("spec", "usage"), [("RSA_2048", "ENCRYPT_DECRYPT"), ("HMAC_256", "GENERATE_VERIFY_MAC")]
)
def test_a_key_that_encrypts_no_object_is_an_error(
    spec: str, usage: str, kms: Any, bucket: str
) -> None:
    """An asymmetric or HMAC key is an error: S3 and keyrings use only symmetric keys."""
    arn = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"]
    with pytest.raises(KeyUnavailableError, match=f"its key spec is {spec}"):
        impact(arn, f"s3://{bucket}/")
