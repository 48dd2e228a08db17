# SPDX-License-Identifier: Apache-2.0
"""S3 Inventory reports: equal findings in every format, and a damaged report never passes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hardening_samples import DENIED, new_name, watched
from hypothesis import example, given, settings
from hypothesis import strategies as st
from object_audit_samples import COLUMNS, Line, Report, audit, of, verdicts
from pyarrow import parquet
from relay import Answer

from s3crypt import SSEC, SSES3, ConfigError, ObjectNotFoundError, S3Crypt
from s3crypt.audit.values import Coverage, Demands, ObjectVerdict, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay import Asked

    from s3crypt.audit.values import Finding

FORMATS = ("CSV", "ORC", "Parquet")
STATUSES = ("SSE-S3", "SSE-KMS", "DSSE-KMS", "SSE-C", "NOT-SSE", "", "SSE-NEW", None)
APPROVED = Demands(modes=frozenset({"sse-kms", "dsse-kms"}))
LINES = (
    Line("a"),
    Line("b c+d", "SSE-KMS"),
    Line("\u00e4/%2F", "NOT-SSE"),
    Line("old", "SSE-S3", version_id="v1", is_latest=False),
    Line("gone", is_marker=True),
)


def alone(uri: str, manifest: str, demands: Demands = APPROVED, **options: Any) -> list[Finding]:
    """Return the findings from the inventory without requests for objects."""
    return audit(uri, demands, inventory=manifest, look="inventory", **options)


def told(findings: Sequence[Finding]) -> list[tuple[Any, ...]]:
    """Return the content of findings without their sentences, so that formats can be compared."""
    return [(e.id, e.verdict, e.count, e.looked_at, sorted(e.examples)) for e in findings]


def unknown(findings: Sequence[Finding]) -> str:
    """Return the sentences about the mode, after checking that every verdict is unknown."""
    assert {each.verdict for each in findings} == {Verdict.UNKNOWN}
    return " ".join(each.seen for each in of(findings, 14))


@pytest.mark.parametrize("kind", FORMATS)
def test_what_a_report_tells(s3: Any, bucket: str, kind: str) -> None:
    """All versions in a report are judged by mode.

    Delete markers are skipped. Names are decoded once.
    """
    names: list[ObjectVerdict] = []
    manifest = Report(bucket, bucket, LINES, kind).store(s3)
    found = alone(f"s3://{bucket}/", manifest, each=names.append)
    modes = {each.cause: each for each in of(found, 14)}
    assert modes["mode-sse-s3"].examples == ("a", "old")
    assert modes["mode-none"].examples == ("\u00e4/%2F",)
    assert modes[""].examples == ("b c+d",)
    assert {each.looked_at for each in modes.values()} == {4}
    failed = {(e.name, e.version_id) for e in names if e.verdict is Verdict.FAIL}
    assert failed == {("a", None), ("\u00e4/%2F", None), ("old", "v1")}
    assert verdicts(found, 18) == {"unknown": 4}


def test_a_fix_is_about_current_versions(s3: Any, bucket: str) -> None:
    """A fix names no older version, because its command would change the current version."""
    manifest = Report(bucket, bucket, [Line("old", version_id="v1", is_latest=False)]).store(s3)
    (failed,) = of(alone(f"s3://{bucket}/", manifest), 14)
    assert failed.fix is not None
    assert failed.fix.text.startswith("# Noncurrent versions")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("columns", [COLUMNS[1:2], COLUMNS[::-1], ("Key", "EncryptionStatus")])
def test_columns_in_any_order(s3: Any, bucket: str, kind: str, columns: Sequence[str]) -> None:
    """Columns are found by their names; without its column the mode is unknown."""
    manifest = Report(bucket, bucket, LINES[:2], kind, columns).store(s3)
    found = alone(f"s3://{bucket}/", manifest)
    if "EncryptionStatus" in columns:
        assert verdicts(found, 14) == {"fail": 1, "pass": 1}
    else:
        assert "no known encryption status" in unknown(found)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_prefix(s3: Any, bucket: str, kind: str) -> None:
    """Of a report of the whole bucket, only the objects below the audited prefix are judged."""
    manifest = Report(bucket, bucket, [Line("p/a"), Line("q/a"), Line("p/b")], kind).store(s3)
    assert verdicts(alone(f"s3://{bucket}/p/", manifest), 14) == {"fail": 2}


@pytest.mark.parametrize("key", ["", "k" * 1025, "\ud800", None])
def test_a_part_without_a_name_is_unknown(s3: Any, bucket: str, key: str | None) -> None:
    """If a part has an impossible name, every verdict is unknown, and the part is not requested."""
    files = [{"key": key, "size": 1, "MD5checksum": "0" * 32}]
    if key is None:
        files = [{"size": 1, "MD5checksum": "0" * 32}]
    manifest = Report(bucket, bucket, [], manifest={"files": files}).store(s3)
    assert "cannot be used" in unknown(alone(f"s3://{bucket}/", manifest))


def test_a_report_without_parts_is_unknown(s3: Any, bucket: str) -> None:
    """A report without parts is unknown, because a report of an empty bucket has one part."""
    manifest = Report(bucket, bucket, [], parts=0).store(s3)
    assert "no parts" in unknown(alone(f"s3://{bucket}/", manifest))


def test_a_line_without_an_end_is_unknown(s3: Any, bucket: str) -> None:
    """A part that expands to a line of 256 MiB is unknown, and is not held in memory."""
    part = gzip.compress(bytes(2**20)) * 256
    manifest = Report(bucket, bucket, [], "CSV", whole=part).store(s3)
    tracemalloc.start()
    found = alone(f"s3://{bucket}/", manifest)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "cannot be used" in unknown(found)
    assert peak < 32 * 2**20


def _other_types() -> Iterator[tuple[str, dict[str, list[Any]]]]:
    yield "bytes that are no UTF-8", {"key": [b"\xff"], "encryption_status": ["SSE-KMS"]}
    yield "a list of names", {"key": [["a"]], "encryption_status": ["SSE-KMS"]}
    yield "no name", {"key": [None, "a"], "encryption_status": ["SSE-KMS", "SSE-KMS"]}
    yield "twice", {"key": ["a"], "Key": ["b"], "encryption_status": ["SSE-KMS"]}
    yield "a status of bytes", {"key": ["a"], "encryption_status": [b"\xff"]}
    yield "a flag of text", {"key": ["a"], "is_delete_marker": ["perhaps"]}


@pytest.mark.parametrize(("what", "columns"), list(_other_types()))
def test_columns_of_other_types_are_unknown(
    s3: Any, bucket: str, what: str, columns: dict[str, list[Any]]
) -> None:
    """If columns have other types than expected, the verdicts are unknown, without a traceback."""
    sink = io.BytesIO()
    arrays = [pa.array(each) for each in columns.values()]
    parquet.write_table(pa.table(arrays, names=list(columns)), sink)
    manifest = Report(bucket, bucket, [], "Parquet", whole=sink.getvalue()).store(s3)
    assert "cannot be used" in unknown(alone(f"s3://{bucket}/", manifest)), what


def test_a_name_that_cannot_be_decoded_is_unknown(s3: Any, bucket: str) -> None:
    """A name that cannot be decoded is unknown, and is not replaced by another name."""
    part = gzip.compress(f'"{bucket}","%FF","SSE-KMS"\n'.encode())
    columns = ("Bucket", "Key", "EncryptionStatus")
    manifest = Report(bucket, bucket, [], "CSV", columns, whole=part).store(s3)
    assert "cannot be used" in unknown(alone(f"s3://{bucket}/", manifest))


def test_an_old_report_says_nothing_of_newer_objects(s3: Any, bucket: str) -> None:
    """Objects in an old report are judged, but objects newer than the report stay unknown."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    manifest = Report(bucket, bucket, [Line("a")], age_seconds=9 * 86400)
    demands = Demands(modes=frozenset({"sse-s3"}))
    found = audit(f"s3://{bucket}/", demands, inventory=manifest.store(s3))
    assert verdicts(found, 14) == {"pass": 1, "unknown": 0}


@pytest.fixture(scope="module")
def shared(s3: Any) -> str:
    """Make a bucket for many reports."""
    s3.create_bucket(Bucket="acme-inventories")
    return "acme-inventories"


_NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
_LINES = st.lists(
    st.builds(
        Line,
        _NAMES,
        st.sampled_from(STATUSES),
        version_id=st.sampled_from(("", "v1")),
        is_latest=st.booleans(),
        is_marker=st.booleans(),
    ),
    max_size=30,
)


@settings(max_examples=25)
@example(lines=[Line("True", "SSE-S3")], parts=1)
@given(lines=_LINES, parts=st.integers(1, 3))
def test_formats_agree(s3: Any, shared: str, lines: list[Line], parts: int) -> None:
    """CSV, ORC and Parquet of the same rows lead to equal findings."""
    found = [
        told(alone(f"s3://{shared}/", Report(shared, shared, lines, kind, parts=parts).store(s3)))
        for kind in FORMATS
    ]
    assert found[0] == found[1] == found[2]


# --- requests for the objects of a report --------------------------------------------------------


def test_objects_of_a_report_are_looked_at(s3: Any, bucket: str) -> None:
    """The present object is judged instead of its row in the report.

    An object that was deleted is not counted.
    """
    S3Crypt(SSES3()).put(b"x", f"s3://{bucket}/a")
    lines = [Line("a", "SSE-KMS"), Line("vanished", "SSE-KMS")]
    manifest = Report(bucket, bucket, lines, columns=COLUMNS[:2] + COLUMNS[5:]).store(s3)
    found = audit(f"s3://{bucket}/", APPROVED, inventory=manifest)
    assert verdicts(found, 14) == {"fail": 1}
    covered: list[Coverage] = []
    options: dict[str, Any] = {"inventory": manifest, "covered": covered.append}
    assert verdicts(audit(f"s3://{bucket}/", APPROVED, look="head", **options), 14)
    audit(f"s3://{bucket}/", APPROVED, look="inventory", **options)
    assert [each.objects for each in covered] == [1, 2]


@pytest.mark.parametrize("is_source", [True, False])
def test_a_bucket_of_another_account(s3: Any, bucket: str, *, is_source: bool) -> None:
    """A report may be in a bucket of another account. Objects in such a bucket stay unknown."""
    target = new_name()
    s3.create_bucket(Bucket=target)
    S3Crypt(SSES3()).put(b"x", f"s3://{bucket}/a")
    manifest = Report(bucket, target, [Line("a", "SSE-KMS")]).store(s3)
    foreign = bucket if is_source else target

    def refuse(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_there = asked.path.strip("/").partition("/")[0] == foreign
        if is_there and "x-amz-expected-bucket-owner" in asked.headers:
            return Answer(403, dict(DENIED.headers), DENIED.body)
        return forward()

    with watched(refuse):
        found = audit(f"s3://{bucket}/", APPROVED, inventory=manifest)
    if is_source:
        assert "does not belong to account" in unknown(found)
    else:
        assert verdicts(found, 14) == {"fail": 1}


def test_versions_are_looked_at(s3: Any, versioned_bucket: str) -> None:
    """Each version in the report is requested by its id, also the version "null"."""
    uri = f"s3://{versioned_bucket}/"
    ids = [
        s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"x", ServerSideEncryption=mode)
        for mode in ("AES256", "aws:kms")
    ]
    lines = [
        Line("x", "SSE-S3", ids[0]["VersionId"], is_latest=False),
        Line("x", "SSE-KMS", ids[1]["VersionId"]),
    ]
    manifest = Report(versioned_bucket, versioned_bucket, lines).store(s3)
    found = audit(uri, APPROVED, inventory=manifest)
    assert verdicts(found, 14) == {"fail": 1, "pass": 1}
    with watched() as relay:
        audit(uri, APPROVED, inventory=manifest)
    asked = {each.query.get("versionId") for each in relay.asked if each.path.endswith("/x")}
    assert asked == {reply["VersionId"] for reply in ids}


def test_customer_keys_decide_whether_to_look(s3: Any, bucket: str) -> None:
    """An SSE-C object is requested only if a customer key is given."""
    S3Crypt(SSEC(bytes(32))).put(b"x", f"s3://{bucket}/x")
    lines = [Line("x", "SSE-C")]
    manifest = Report(bucket, bucket, lines, columns=("Key", "EncryptionStatus")).store(s3)
    with watched() as relay:
        found = audit(f"s3://{bucket}/", Demands(), inventory=manifest)
    assert not any(each.path == f"/{bucket}/x" for each in relay.asked)
    assert verdicts(found, 22) == {"unknown": 1}
    found = audit(f"s3://{bucket}/", Demands(key_files=(bytes(32),)), inventory=manifest)
    assert verdicts(found, 22) == {"pass": 1}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_sample_of_a_report(s3: Any, bucket: str, kind: str) -> None:
    """A sample is drawn from all parts of a report, and the finding has the number of all rows."""
    lines = [Line(f"{number:03}") for number in range(50)]
    manifest = Report(bucket, bucket, lines, kind, parts=2).store(s3)
    (failed,) = of(alone(f"s3://{bucket}/", manifest, sample=9), 14)
    assert (failed.count, failed.sampled_from) == (9, 50)


# --- bad input ----------------------------------------------------------------------------------


def test_an_old_report_proves_nothing(s3: Any, bucket: str) -> None:
    """If a report is older than eight days, a pass becomes unknown; a failure stays."""
    manifest = Report(bucket, bucket, LINES, age_seconds=9 * 86400 + 60).store(s3)
    found = alone(f"s3://{bucket}/", manifest)
    assert verdicts(found, 14) == {"fail": 3, "unknown": 1}
    assert all("9 days old" in each.seen for each in found)


def test_a_report_that_is_older_than_it_says(s3: Any, bucket: str) -> None:
    """If S3 stored the manifest before the time in the manifest, every verdict is unknown.

    Such a manifest was changed.
    """
    manifest = Report(bucket, bucket, LINES, age_seconds=-86400).store(s3)
    assert "before the time it says" in unknown(alone(f"s3://{bucket}/", manifest))


def _missing(s3: Any, report: Report) -> None:
    s3.delete_object(Bucket=report.target, Key=report.manifest["files"][0]["key"])


def _changed(s3: Any, report: Report) -> None:
    s3.put_object(Bucket=report.target, Key=report.manifest["files"][0]["key"], Body=b"x" * 300)


@pytest.mark.parametrize(
    ("spoil", "why"), [(_missing, "it is missing"), (_changed, "size or MD5 is not the manifest's")]
)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_part(
    s3: Any, bucket: str, spoil: Callable[[Any, Report], None], why: str, kind: str
) -> None:
    """Undamaged parts are judged; a damaged part leaves every control unknown."""
    report = Report(bucket, bucket, [Line("a"), Line("b", "SSE-KMS")], kind, parts=2)
    manifest = report.store(s3)
    spoil(s3, report)
    found = alone(f"s3://{bucket}/", manifest)
    assert verdicts(found, 14) == {"pass": 1, "unknown": 0}
    assert any(why in each.seen for each in found)
    damaged = {each.control.id for each in found if why in each.seen}
    assert "S3CRYPT.14" in damaged
    assert "S3CRYPT.16" in damaged


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("cut", [0, 1, 20, -1, -9])
def test_a_truncated_part_of_the_right_md5(s3: Any, bucket: str, kind: str, cut: int) -> None:
    """A part that was cut off is detected, even if the manifest has the right MD5 for the rest."""
    report = Report(bucket, bucket, LINES, kind)
    body = report.body(LINES)[:cut]
    key = "cut"
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    md5 = hashlib.md5(body).hexdigest()
    report.manifest = {"files": [{"key": key, "size": len(body), "MD5checksum": md5}]}
    found = alone(f"s3://{bucket}/", report.store(s3))
    if kind == "CSV" and cut == 0:
        # An empty file is a valid empty gzip.
        assert not found
        return
    assert any("cannot be read to its end" in each.seen for each in of(found, 14))


@pytest.mark.parametrize(
    "text",
    [
        b'"a"\n',
        b'"a","b","c"\n',
        b'"a","SSE-S3"\n"b\n',
        b'"\xff","SSE-S3"\n',
    ],
)
def test_csv_of_another_shape(s3: Any, bucket: str, text: bytes) -> None:
    """A part is damaged if a row does not fit the schema, or is not CSV in UTF-8."""
    body = gzip.compress(text)
    report = Report(bucket, bucket, [], columns=("Key", "EncryptionStatus"))
    s3.put_object(Bucket=bucket, Key="part", Body=body)
    md5 = hashlib.md5(body).hexdigest()
    report.manifest = {"files": [{"key": "part", "size": len(body), "MD5checksum": md5}]}
    found = of(alone(f"s3://{bucket}/", report.store(s3)), 14)
    assert any("part of the inventory cannot be used" in each.seen for each in found) or any(
        "the part part" in each.seen for each in found
    )


def test_gzip_of_several_members(s3: Any, bucket: str) -> None:
    """A gzip part may have several members, and empty lines between them."""
    body = gzip.compress(b'"a","SSE-S3"\n\n') + gzip.compress(b'\n"b","SSE-KMS"\n')
    report = Report(bucket, bucket, [], columns=("Key", "EncryptionStatus"))
    s3.put_object(Bucket=bucket, Key="part", Body=body)
    md5 = hashlib.md5(body).hexdigest()
    report.manifest = {"files": [{"key": "part", "size": len(body), "MD5checksum": md5}]}
    assert verdicts(alone(f"s3://{bucket}/", report.store(s3)), 14) == {"fail": 1, "pass": 1}


@pytest.mark.parametrize(
    "changed",
    [
        {"fileFormat": "Avro"},
        {"files": [{"key": "x", "size": 1, "MD5checksum": "none"}]},
        {"files": None},
        {"creationTimestamp": "soon"},
        {"fileSchema": "Bucket, Size"},
    ],
)
def test_an_unknown_manifest(s3: Any, bucket: str, changed: dict[str, Any]) -> None:
    """A manifest of an unknown form leaves every control unknown, with the reason."""
    manifest = Report(bucket, bucket, LINES, manifest=changed).store(s3)
    assert "the inventory cannot be used" in unknown(alone(f"s3://{bucket}/", manifest))


@pytest.mark.parametrize("file", ["manifest.json", "manifest.checksum"])
def test_a_tampered_manifest(s3: Any, bucket: str, file: str) -> None:
    """A change of the manifest or of its checksum file is detected."""
    uri = Report(bucket, bucket, LINES).store(s3)
    key = uri.removeprefix(f"s3://{bucket}/").replace("manifest.json", file)
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=body.replace(b"1", b"2").replace(b"a", b"b"))
    assert "its MD5 is not the one" in unknown(alone(f"s3://{bucket}/", uri))


def test_a_manifest_without_checksum(s3: Any, bucket: str) -> None:
    """Without its checksum file a manifest is not used, and everything is unknown."""
    uri = Report(bucket, bucket, LINES).store(s3)
    key = uri.removeprefix(f"s3://{bucket}/").replace("manifest.json", "manifest.checksum")
    s3.delete_object(Bucket=bucket, Key=key)
    assert "manifest.checksum cannot be read" in unknown(alone(f"s3://{bucket}/", uri))


def test_a_manifest_that_may_not_be_read(s3: Any, bucket: str) -> None:
    """If reading the manifest is refused, each control is unknown and names the missing action."""
    uri = Report(bucket, bucket, LINES).store(s3)

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.path.endswith("manifest.json"):
            return Answer(403, dict(DENIED.headers), DENIED.body)
        return forward()

    with watched(spoil):
        found = alone(f"s3://{bucket}/", uri)
    unknown(found)
    assert {each.missing_actions for each in found} == {("s3:GetObject",)}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda uri: uri.replace("manifest.json", "other.json"), ConfigError),
        (lambda uri: uri.replace("/all/", "/none/"), ObjectNotFoundError),
    ],
)
def test_what_is_no_manifest(
    s3: Any, bucket: str, change: Callable[[str], str], error: type[Exception]
) -> None:
    """A URI that leads to no manifest is an error of the caller."""
    uri = Report(bucket, bucket, LINES).store(s3)
    with pytest.raises(error):
        alone(f"s3://{bucket}/", change(uri))


def test_the_inventory_of_another_bucket(s3: Any, bucket: str) -> None:
    """A report about another bucket is refused before a row is counted."""
    uri = Report("somebody-elses", bucket, LINES).store(s3)
    with pytest.raises(ConfigError, match="somebody-elses"):
        alone(f"s3://{bucket}/", uri)


def test_without_pyarrow(s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CSV needs no pyarrow; for Parquet the error names the package to install."""
    reports = {kind: Report(bucket, bucket, LINES, kind).store(s3) for kind in ("CSV", "Parquet")}
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert alone(f"s3://{bucket}/", reports["CSV"])
    with pytest.raises(ConfigError, match="pyarrow") as caught:
        alone(f"s3://{bucket}/", reports["Parquet"])
    assert "s3crypt[parquet]" in str(caught.value.hint)


def test_the_destination_in_a_manifest_is_not_followed(s3: Any, bucket: str) -> None:
    """Parts are read from the manifest's own bucket, whatever bucket the manifest names."""
    changed = {"destinationBucket": "arn:aws:s3:::somewhere-else"}
    uri = Report(bucket, bucket, LINES, manifest=changed).store(s3)
    assert json.loads(
        s3.get_object(Bucket=bucket, Key=uri.removeprefix(f"s3://{bucket}/"))["Body"].read()
    )["destinationBucket"].endswith("somewhere-else")
    assert verdicts(alone(f"s3://{bucket}/", uri), 14) == {"fail": 3, "pass": 1}
