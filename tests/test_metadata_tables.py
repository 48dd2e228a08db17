# SPDX-License-Identifier: Apache-2.0
"""Rows of inventories and S3 Metadata exports: all formats agree, and damage is detected.

The rows are counted by bucket, encryption status, KMS key and bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from object_audit_samples import COLUMNS, Line, Report
from pyarrow import orc, parquet

from s3crypt.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    LocalFileNotFoundError,
    ObjectNotFoundError,
    S3CryptError,
)
from s3crypt.inventories import (
    TABLE_LAG,
    Amount,
    Batch,
    Group,
    Row,
    Sizes,
    as_batch,
    batches,
    find_export,
    mode_of,
    opened_part,
    read_manifest,
)
from s3crypt.objects.access import DEFAULT_WORKERS, Objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import boto3

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER = KEY.replace("1234abcd", "5678abcd")
SCHEMA = pa.schema(
    [
        ("bucket", pa.large_string()),
        ("key", pa.large_string()),
        ("sequence_number", pa.large_string()),
        ("version_id", pa.large_string()),
        ("is_delete_marker", pa.bool_()),
        ("size", pa.int64()),
        ("last_modified_date", pa.timestamp("us")),
        ("e_tag", pa.large_string()),
        ("storage_class", pa.large_string()),
        ("is_multipart", pa.bool_()),
        ("encryption_status", pa.large_string()),
        ("is_bucket_key_enabled", pa.bool_()),
        ("kms_key_arn", pa.large_string()),
        ("checksum_algorithm", pa.large_string()),
        ("user_metadata", pa.map_(pa.string(), pa.string())),
    ]
)


def line(
    name: str, status: str | None = "SSE-S3", kms_key: str | None = None, **values: Any
) -> dict[str, Any]:
    """Return a row of the inventory table. `values` are other columns or replace the defaults."""
    return {
        "bucket": "acme-data",
        "key": name,
        "sequence_number": "8000",
        "version_id": None,
        "is_delete_marker": False,
        "size": 11,
        "last_modified_date": None,
        "e_tag": "0" * 32,
        "storage_class": "STANDARD",
        "is_multipart": False,
        "encryption_status": status,
        "is_bucket_key_enabled": False,
        "kms_key_arn": kms_key,
        "checksum_algorithm": "CRC64NVME",
        "user_metadata": [],
        **values,
    }


LINES = (
    line("a", "SSE-KMS", KEY, size=1),
    line("b c+d", "SSE-KMS", KEY, size=2, version_id="v1"),
    line('\u00e4/%2F\n,"', "DSSE-KMS", OTHER, size=4),
    line("gone", "SSE-KMS", KEY, is_delete_marker=True, size=0),
    line("plain", None, size=8),
    line("a", "SSE-KMS", KEY, bucket="acme-logs", size=16),
    line("unseen", "SSE-KMS", None, size=32),
)


def as_parquet(lines: Sequence[dict[str, Any]]) -> bytes:
    """Return the lines as a Parquet file, as a query engine writes it."""
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(lines), SCHEMA), sink)
    return sink.getvalue()


def as_orc(lines: Sequence[dict[str, Any]]) -> bytes:
    """Return the lines as an ORC file."""
    sink = io.BytesIO()
    table = pa.Table.from_pylist(list(lines), SCHEMA)
    plain = [name for name in SCHEMA.names if name != "user_metadata"]
    texts = [
        pa.field(each.name, pa.string() if pa.types.is_large_string(each.type) else each.type)
        for each in table.select(plain).schema
    ]
    orc.write_table(table.select(plain).cast(pa.schema(texts)), sink)
    return sink.getvalue()


def as_csv(lines: Sequence[dict[str, Any]]) -> bytes:
    """Return the lines as a CSV result of Athena: values are quoted, and NULL is empty."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(SCHEMA.names)
    for each in lines:
        values = ["{}" if name == "user_metadata" else each[name] for name in SCHEMA.names]
        writer.writerow(str(v).lower() if isinstance(v, bool) else v for v in values)
    return text.getvalue().encode()


def as_json(lines: Sequence[dict[str, Any]]) -> bytes:
    """Return the lines as JSON, one object per line."""
    return "".join(json.dumps(each) + "\n" for each in lines).encode()


FORMATS: dict[str, Callable[[Sequence[dict[str, Any]]], bytes]] = {
    "Parquet": as_parquet,
    "ORC": as_orc,
    "CSV": as_csv,
    "CSV, gzipped": lambda lines: gzip.compress(as_csv(lines)),
    "JSON": as_json,
    "JSON, gzipped": lambda lines: gzip.compress(as_json(lines)),
}


@pytest.fixture(scope="module")
def objects(session: boto3.Session) -> Objects:
    """Make the object engine that reads the exports."""
    return Objects(
        session=session,
        client=None,
        endpoint_url=None,
        workers=DEFAULT_WORKERS,
        allow_plain_http=True,
        written_in=None,
        expected_bucket_owner=None,
        request_payer=None,
    )


def groups(found: Iterable[Batch]) -> dict[Group, Amount]:
    """Return the objects and bytes of each group, summed over all batches."""
    total: dict[Group, Amount] = {}
    for batch in found:
        for group, amount in batch.groups().items():
            total[group] = total.get(group, Amount()) + amount
    return total


def everything(found: Iterable[Batch]) -> tuple[Any, ...]:
    """Return the content of the batches that must be equal in all formats."""
    kept = list(found)
    rows = [row for batch in kept for row in batch.rows()]
    sums = groups(kept)
    sizes = Sizes()
    statuses: dict[str | None, int] = {}
    for batch in kept:
        sizes.update(batch.sizes())
        for status, count in batch.statuses().items():
            statuses[status] = statuses.get(status, 0) + count
    by_status = {each: [r for b in kept for r in b.of_status(each)] for each in statuses}
    by_group = {each: [r for b in kept for r in b.of_group(each)] for each in sums}
    taken = [row for b in kept for row in b.take(range(b.count))]
    assert taken == rows
    return rows, sums, sizes, statuses, by_status, by_group


# --- exports -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_in_every_format(objects: Objects, tmp_path: Path, kind: str) -> None:
    """Every format gives the same keys, bytes and buckets; delete markers are left out."""
    file = tmp_path / "export"
    file.write_bytes(FORMATS[kind](LINES))
    found = list(find_export(objects, str(file)).batches())
    assert groups(found) == {
        Group("acme-data", "SSE-KMS", KEY): Amount(2, 3),
        Group("acme-data", "DSSE-KMS", OTHER): Amount(1, 4),
        Group("acme-data", "NOT-SSE", None): Amount(1, 8),
        Group("acme-logs", "SSE-KMS", KEY): Amount(1, 16),
        Group("acme-data", "SSE-KMS", None): Amount(1, 32),
    }
    rows = [row for batch in found for row in batch.rows()]
    assert [row.name for row in rows] == ["a", "b c+d", '\u00e4/%2F\n,"', "plain", "a", "unseen"]
    etag = f'"{"0" * 32}"'
    assert rows[1] == Row("acme-data", "b c+d", "v1", False, etag, "STANDARD", "SSE-KMS", 2, KEY)
    assert rows[0].version_id == "null"
    assert mode_of(rows[3].status) is None


_LINES = st.lists(
    st.builds(
        line,
        st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=9),
        st.sampled_from(("SSE-KMS", "SSE-S3", "SSE-NEW", "", None)),
        st.sampled_from((KEY, OTHER, "", None)),
        bucket=st.sampled_from(("acme-data", "acme-logs")),
        version_id=st.sampled_from(("", None, "v1")),
        is_delete_marker=st.sampled_from((True, False, None)),
        size=st.one_of(
            st.none(), st.integers(0, 2**47 - 1), st.sampled_from((0, 2**46, 2**46 - 1, 2**47 - 1))
        ),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=40)
@given(lines=_LINES)
def test_the_formats_of_an_export_agree(
    objects: Objects, tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]]
) -> None:
    """All rows, sums, sizes and groups are the same in each format."""
    folder = tmp_path_factory.mktemp("exports")
    found = []
    for number, made in enumerate(FORMATS.values()):
        file = folder / str(number)
        file.write_bytes(made(lines))
        found.append(everything(find_export(objects, str(file)).batches()))
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("kind", ["Parquet", "CSV"])
def test_a_bucket_and_a_prefix(objects: Objects, tmp_path: Path, kind: str) -> None:
    """From an export of several buckets, only the matching rows are counted and returned."""
    file = tmp_path / "export"
    lines = [line(f"{p}/{n}", bucket=f"b{n % 3}") for p in "pq" for n in range(30)]
    file.write_bytes(FORMATS[kind](lines))
    (batch,) = find_export(objects, str(file)).batches(bucket="b1", prefix="p/")
    assert batch.count == 10
    assert batch.groups() == {Group("b1", "SSE-S3", None): Amount(10, 110)}
    assert {(row.bucket, row.name[:2]) for row in batch.rows()} == {("b1", "p/")}
    assert [row.name for row in batch.take([0, 9])] == ["p/1", "p/28"]


def test_an_export_in_a_bucket(s3: Any, bucket: str, objects: Objects) -> None:
    """All files below the prefix are read, except the marker files of query engines."""
    for name, body in {
        "x/1.parquet": as_parquet(LINES[:2]),
        "x/deep/2": as_csv(LINES[2:]),
        "x/_SUCCESS": b"",
        "x/empty.csv": b"",
        "x/2.csv.metadata": b"\x0a",
        "x/2-manifest.csv": b"s3://b/x/1.parquet\n",
    }.items():
        s3.put_object(Bucket=bucket, Key=name, Body=body)
    export = find_export(objects, f"s3://{bucket}/x/")
    assert len(export.files) == 2
    assert sum(batch.count for batch in export.batches()) == 6
    assert abs(datetime.now(UTC) - TABLE_LAG - export.covers_until) < timedelta(minutes=1)


def test_an_export_in_a_folder(objects: Objects, tmp_path: Path) -> None:
    """The age of the folder's oldest file decides until when the export is complete."""
    for number in range(3):
        (tmp_path / f"{number}.parquet").write_bytes(as_parquet(LINES))
    (tmp_path / "_SUCCESS").touch()
    then = time.time() - 86400
    os.utime(tmp_path / "1.parquet", (then, then))
    export = find_export(objects, str(tmp_path))
    assert sum(batch.count for batch in export.batches()) == 18
    assert export.covers_until == datetime.fromtimestamp(then, UTC) - TABLE_LAG


def test_many_rows_are_counted_and_only_some_are_made(objects: Objects, tmp_path: Path) -> None:
    """With any length of row groups and batches, the sums are the same as counted row by row."""
    chance = random.Random(1)
    lines = [
        line(
            f"{n:06}",
            "SSE-KMS",
            chance.choice((KEY, OTHER)),
            size=chance.randrange(10**6),
            is_delete_marker=n % 50 == 0,
        )
        for n in range(150_000)
    ]
    file = tmp_path / "export"
    table = pa.Table.from_pylist(lines, SCHEMA)
    parquet.write_table(table, file, row_group_size=40_000)
    found = list(find_export(objects, str(file)).batches())
    kept = [each for each in lines if not each["is_delete_marker"]]
    ours = [each for each in kept if each["kms_key_arn"] == KEY]
    mine = Group("acme-data", "SSE-KMS", KEY)
    assert groups(found)[mine] == Amount(len(ours), sum(each["size"] for each in ours))
    names = [row.name for batch in found for row in batch.of_group(mine)]
    assert names == [each["key"] for each in ours]
    sizes = Sizes()
    for batch in found:
        sizes.update(batch.sizes())
    assert sizes == Sizes.of(each["size"] for each in kept)


# --- bad input -----------------------------------------------------------------------------------


def _without(column: str) -> bytes:
    lines = [{n: v for n, v in each.items() if n != column} for each in LINES[:1]]
    return as_json(lines)


def _journal() -> bytes:
    return as_json([{**LINES[0], "record_type": "CREATE"}])


def _table(**columns: Any) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist([dict(LINES[0])], SCHEMA)
    for name, values in columns.items():
        at = table.schema.names.index(name)
        table = table.set_column(at, name, values)
    parquet.write_table(table, sink)
    return sink.getvalue()


_NO_UTF8 = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0])), pa.py_buffer(b"\xff")]
)
_TYPE = "a column has another type than S3 writes"
_SIZE = "a size is not one that S3 writes"
BAD: list[tuple[str, bytes, type[S3CryptError], str]] = [
    ("empty", b"", FormatError, "it has no column bucket"),
    ("no text", b"\x00\xff\xfe" * 9, IntegrityError, "cannot be read to its end"),
    ("no header", b'"acme-data","a","SSE-KMS"\n', FormatError, "no column bucket"),
    ("a column less", _without("kms_key_arn"), FormatError, "no column kms_key_arn"),
    ("no markers", _without("is_delete_marker"), FormatError, "no column is_delete_marker"),
    ("a journal", _journal(), FormatError, "of a journal table"),
    ("no JSON", as_json(LINES)[:-9], FormatError, "a line is no JSON object"),
    ("a size of text", as_json([{**LINES[0], "size": "1"}]), FormatError, _TYPE),
    ("a flag of text", as_json([{**LINES[0], "is_delete_marker": "no"}]), FormatError, _TYPE),
    ("an ETag of a number", as_json([{**LINES[0], "e_tag": 1}]), FormatError, _TYPE),
    ("a negative size", as_json([{**LINES[0], "size": -1}]), FormatError, _SIZE),
    ("a size above all", as_json([{**LINES[0], "size": 2**47}]), FormatError, _SIZE),
    ("Parquet, a size above all", _table(size=pa.array([2**47])), FormatError, _SIZE),
    ("no name", as_json([{**LINES[0], "key": None}]), FormatError, "a row has no name"),
    ("a size in words", as_csv([{**LINES[0], "size": "ten"}]), FormatError, _SIZE),
    ("a field less", as_csv(LINES)[:-4] + b"\n", IntegrityError, "fewer fields|to its end"),
    ("a cut gzip", gzip.compress(as_csv(LINES))[:-9], IntegrityError, "cannot be read to its end"),
    ("a cut Parquet", as_parquet(LINES)[:-9], IntegrityError, "cannot be read to its end"),
    ("a cut ORC", as_orc(LINES)[:-9], IntegrityError, "cannot be read to its end"),
    ("Parquet, no UTF-8", _table(key=_NO_UTF8), FormatError, _TYPE),
    ("Parquet, size", _table(size=pa.array([-1])), FormatError, _SIZE),
    ("Parquet, no bucket", _table(bucket=pa.array([None], pa.string())), FormatError, "no name"),
    ("Parquet, list", _table(kms_key_arn=pa.array([[KEY]])), FormatError, _TYPE),
]


@pytest.mark.parametrize(("what", "body", "kind", "why"), BAD, ids=[each[0] for each in BAD])
def test_files_that_are_no_export(
    objects: Objects, tmp_path: Path, what: str, body: bytes, kind: type[S3CryptError], why: str
) -> None:
    """A file that is no export is an error with its name and defect, never an empty export."""
    file = tmp_path / "export"
    file.write_bytes(body)
    with pytest.raises(kind, match=why) as caught:
        list(find_export(objects, str(file)).batches())
    assert str(caught.value).startswith(f"{file}: "), what
    assert "\n" not in str(caught.value)


def test_places_without_an_export(objects: Objects, bucket: str, tmp_path: Path) -> None:
    """A missing path or prefix, an empty folder and a link to a folder are refused as exports."""
    with pytest.raises(LocalFileNotFoundError):
        find_export(objects, str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="contains no file"):
        find_export(objects, str(tmp_path))
    with pytest.raises(ObjectNotFoundError, match="no file of an export"):
        find_export(objects, f"s3://{bucket}/missing/")
    (tmp_path / "inside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "inside")
    with pytest.raises(ConfigError, match="link to a directory"):
        find_export(objects, str(tmp_path))


# --- inventories ---------------------------------------------------------------------------------

STORED = [
    Line("a", "SSE-KMS"),
    Line("b", "SSE-S3", version_id="v1", is_latest=False),
    Line("c", ""),
    Line("gone", is_marker=True),
]


def read(objects: Objects, uri: str, prefix: str = "") -> list[Batch]:
    """Return the batches of all parts of an inventory."""
    manifest = read_manifest(objects, uri)
    found: list[Batch] = []
    for part in manifest.parts:
        with opened_part(objects, manifest, part) as file:
            found += batches(manifest, file, prefix)
    return found


@pytest.mark.parametrize("kind", ["CSV", "ORC", "Parquet"])
@pytest.mark.parametrize("columns", [COLUMNS, ("Key",), ("Key", "EncryptionStatus")])
def test_sums_of_an_inventory(
    s3: Any, bucket: str, objects: Objects, kind: str, columns: Sequence[str]
) -> None:
    """An inventory's bytes are summed if it has a Size column.

    Otherwise its rows count as unsized.
    """
    lines = STORED if columns == COLUMNS else STORED[:3]
    uri = Report(bucket, bucket, lines, kind, columns).store(s3)
    found = read(objects, uri)
    is_sized = "Size" in columns
    one = Amount(1, 11) if is_sized else Amount(1, 0, 1)
    statuses = ("SSE-KMS", "SSE-S3", None) if "EncryptionStatus" in columns else (None,) * 3
    expected: dict[Group, Amount] = {}
    for status in statuses:
        group = Group(bucket, status, None)
        expected[group] = expected.get(group, Amount()) + one
    assert groups(found) == expected
    everything(found)
    assert Sizes.of([11] * 3 * is_sized) == found[0].sizes()


def test_rows_in_memory_are_a_batch() -> None:
    """Rows in memory are counted like rows of a file."""
    rows = [Row("b", "a", None, True, "", "", "SSE-KMS", 3), Row("b", "c", None, True, "", "", "")]
    assert everything([as_batch(rows)])[1] == {
        Group("b", "SSE-KMS", None): Amount(1, 3),
        Group("b", "", None): Amount(1, 0, 1),
    }


@pytest.mark.parametrize("kind", ["CSV", "ORC", "Parquet"])
@pytest.mark.parametrize("harm", ["missing", "changed", "longer"])
def test_every_part_is_verified(
    s3: Any, bucket: str, objects: Objects, kind: str, harm: str
) -> None:
    """A missing part, or a part with a wrong MD5 or size, is an error that names the file."""
    report = Report(bucket, bucket, STORED, kind, parts=2)
    uri = report.store(s3)
    key = report.manifest["files"][1]["key"]
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    if harm == "missing":
        s3.delete_object(Bucket=bucket, Key=key)
    else:
        changed = body + b"\n" if harm == "longer" else body[:-1] + bytes([body[-1] ^ 1])
        s3.put_object(Bucket=bucket, Key=key, Body=changed)
    expected = ObjectNotFoundError if harm == "missing" else IntegrityError
    with pytest.raises(expected, match=key) as caught:
        read(objects, uri)
    assert "\n" not in str(caught.value)


def test_a_manifest_of_another_checksum(s3: Any, bucket: str, objects: Objects) -> None:
    """A manifest whose MD5 differs from manifest.checksum is refused."""
    uri = Report(bucket, bucket, STORED).store(s3)
    key = uri.removeprefix(f"s3://{bucket}/")
    text = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=text + b" ")
    with pytest.raises(IntegrityError, match=r"MD5 is not the one in manifest.checksum"):
        read_manifest(objects, uri)
