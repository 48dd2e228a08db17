# SPDX-License-Identifier: Apache-2.0
"""Encrypted data sets inside the tools that read data sets: results and fetched bytes.

Each tool is called as its users call it, on objects that this process encrypts. S3's log shows
the requested bytes.
"""

from __future__ import annotations

import io
import os
import pickle
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from samples import kms_keyring, names, rewrite, stored

from s3crypt import (
    AESKeyring,
    CachingKeyring,
    ClientSide,
    ConfigError,
    ConflictError,
    IntegrityError,
    ObjectNotFoundError,
    PolicyError,
    message,
)
from s3crypt.filesystem import S3CryptFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import RequestsLog

FRAME = 16 * 2**10
# The length of a frame with its sequence number, IV and tag; see docs/message-format.md.
STRIDE = 4 + 12 + FRAME + 16
# A column of a row group is 80 KiB, and the file is larger than 4 MiB: for such a file a reader
# first requests 64 KiB.
GROUP_ROWS = 10_240
GROUPS = 6
NUMBERS = [f"n{number}" for number in range(8)]
WINDOW = 64
REGIONS = ("eu", "us", "ap")


def _need(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install 's3crypt[test]'")


# --- the data and its storage -----------------------------------------------------------------


@dataclass(frozen=True)
class Lake:
    """A bucket, the key of its objects, and a wrong key."""

    s3: Any
    bucket: str
    key_file: Path
    other_file: Path

    @property
    def options(self) -> dict[str, Any]:
        """Return storage options, which are only text and numbers."""
        return {"key": f"aes:tests/lake={self.key_file}", "frame_length": FRAME}

    @property
    def files(self) -> S3CryptFileSystem:
        """Return the file system that tools get as an argument, or make from the options."""
        return S3CryptFileSystem(**self.options)

    def new(self, name: str) -> str:
        """Return a path that no earlier test has used."""
        return f"{self.bucket}/{uuid.uuid4()}/{name}"

    def metadata(self, path: str) -> dict[str, str]:
        """Return an object's metadata in S3."""
        reply = self.s3.head_object(Bucket=self.bucket, Key=self.name(path))
        found: dict[str, str] = reply["Metadata"]
        return found

    def name(self, path: str) -> str:
        """Return the name of an object in the bucket."""
        return path.removeprefix(f"{self.bucket}/")


@pytest.fixture(scope="module")
def lake(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Make a bucket, and two files with different keys of one name."""
    folder = tmp_path_factory.mktemp("keys")
    made = Lake(s3, f"bucket-{uuid.uuid4()}", folder / "lake.key", folder / "other.key")
    made.key_file.write_bytes(bytes(range(32)))
    made.other_file.write_bytes(bytes(range(1, 33)))
    s3.create_bucket(Bucket=made.bucket)
    return made


def _customers(rows: int = 3000) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "region": [REGIONS[row % len(REGIONS)] for row in range(rows)],
            "name": [f"customer-{row:06}" for row in range(rows)],
        }
    )


def _numbers() -> pa.Table:
    """Return a table of incompressible numbers in rows of growing id."""
    rows = GROUP_ROWS * GROUPS
    drawn = np.random.default_rng(4)
    return pa.table({"id": np.arange(rows), **{name: drawn.random(rows) for name in NUMBERS}})


@pytest.fixture(scope="module")
def numbers(lake: Lake) -> str:
    """Store the numbers as one Parquet file of six row groups, and return its path."""
    path = lake.new("numbers.parquet")
    _write_numbers(lake, path)
    return path


def _write_numbers(lake: Lake, path: str) -> None:
    pq.write_table(
        _numbers(),
        path,
        filesystem=lake.files,
        row_group_size=GROUP_ROWS,
        use_dictionary=False,
        compression="none",
    )


@pytest.fixture(scope="module")
def by_region(lake: Lake) -> str:
    """Store the customers by region, one directory and one file each, and return their path."""
    path = lake.new("customers")
    ds.write_dataset(
        pa.Table.from_pandas(_customers()),
        path,
        format="parquet",
        partitioning=["region"],
        partitioning_flavor="hive",
        filesystem=lake.files,
    )
    return path


def check_sealed(lake: Lake, path: str, *, count: int = 1) -> None:
    """Assert the number of objects, and that each is a message without a plaintext page."""
    found = [name for name in names(lake.s3, lake.bucket) if name.startswith(lake.name(path))]
    assert len(found) == count
    for name in found:
        body = stored(lake.s3, lake.bucket, name)
        header = message.read_header(io.BytesIO(body))
        assert header.suite.committing
        assert header.frame_length == FRAME
        plaintext = lake.files.cat_file(f"{lake.bucket}/{name}")
        assert plaintext
        # The magic bytes of Parquet are at both ends. Elsewhere any four bytes occur by chance in a
        # megabyte.
        assert b"PAR1" not in (body[:4], body[-4:])
        assert b"customer-" not in body
        windows = {
            plaintext[at : at + WINDOW] for at in range(0, len(plaintext) - WINDOW + 1, WINDOW)
        } or {plaintext}
        length = min(WINDOW, len(plaintext))
        assert windows.isdisjoint(body[at : at + length] for at in range(len(body) - length + 1))


class Fetched:
    """The ranges of an object's plaintext that were requested, in whole frames."""

    def __init__(self, log: RequestsLog, lake: Lake, path: str) -> None:
        header_length = int(lake.metadata(path)["s3crypt-header-length"])
        self.stored_bytes = 0
        self._intervals: list[tuple[int, int]] = []
        for entry in _gets(log, path):
            start, end = entry["headers"]["range"].removeprefix("bytes=").split("-")
            first = max(0, int(start) - header_length) // STRIDE
            last = max(0, int(end) - header_length) // STRIDE
            self._intervals.append((first * FRAME, (last + 1) * FRAME))
            self.stored_bytes += entry["response_bytes"]

    def touches(self, start: int, end: int) -> bool:
        """Return whether a byte of the range was requested."""
        return any(low < end and start < high for low, high in self._intervals)


def _gets(log: RequestsLog, path: str) -> list[dict[str, Any]]:
    """Return the requests for content of objects at a path or below."""
    wanted = (f"/{path}", f"/{path}/")
    return [
        entry
        for entry in log.list()
        if entry["method"] == "GET"
        and entry["headers"].get("range")
        and (entry["path"] == wanted[0] or entry["path"].startswith(wanted[1]))
    ]


def _kms_calls(log: RequestsLog, verb: str) -> int:
    return sum(
        entry["headers"].get("x-amz-target") == f"TrentService.{verb}" for entry in log.list()
    )


def check_pruned(log: RequestsLog, lake: Lake, path: str) -> None:
    """Assert that only the first columns of group 3 were fetched.

    The first and the last 64 KiB of such a file are always fetched when it is opened, and the bytes
    after a column may be prefetched.
    """
    metadata = pq.read_metadata(path, filesystem=lake.files)
    fetched = Fetched(log, lake, path)
    for group in range(GROUPS):
        for index, name in enumerate(["id", *NUMBERS]):
            column = metadata.row_group(group).column(index)
            start = column.data_page_offset
            touched = fetched.touches(start, start + column.total_compressed_size)
            if group == 3 and name in ("id", "n1"):
                assert touched
            elif (group == 3 and name in ("n5", "n6", "n7")) or (
                group != 3 and name in ("n2", "n3", "n4", "n5")
            ):
                assert not touched, (group, name)


# The first ten rows of the fourth group.
_FIRST_ID, _LAST_ID = 3 * GROUP_ROWS, 3 * GROUP_ROWS + 9


def _expected() -> list[float]:
    found: list[float] = _numbers()["n1"].slice(_FIRST_ID, 10).to_pylist()
    return found


# --- pandas -----------------------------------------------------------------------------------


def test_pandas_parquet(lake: Lake) -> None:
    """to_parquet writes a sealed object, and read_parquet reads it."""
    path = lake.new("customers.parquet")
    _customers().to_parquet(f"s3crypt://{path}", storage_options=lake.options)
    check_sealed(lake, path)
    read = pd.read_parquet(f"s3crypt://{path}", storage_options=lake.options)
    pd.testing.assert_frame_equal(read, _customers())


@pytest.mark.parametrize("name", ["customers.csv", "customers.csv.gz", "customers.json"])
def test_pandas_text(lake: Lake, name: str) -> None:
    """to_csv and to_json write sealed objects, also compressed, and pandas reads them."""
    path = lake.new(name)
    table = _customers()
    if "csv" in name:
        table.to_csv(f"s3crypt://{path}", index=False, storage_options=lake.options)
        read = pd.read_csv(f"s3crypt://{path}", storage_options=lake.options)
    else:
        table.to_json(f"s3crypt://{path}", storage_options=lake.options)
        read = pd.read_json(f"s3crypt://{path}", storage_options=lake.options)
    check_sealed(lake, path)
    assert read["name"].tolist() == table["name"].tolist()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_pandas_text_has_a_byte_order_mark(lake: Lake, encoding: str) -> None:
    """A text in UTF-16 or UTF-32 begins with one byte order mark, which other programs need."""
    path, table = lake.new("x.csv"), _customers(20)
    table.to_csv(f"s3crypt://{path}", index=False, encoding=encoding, storage_options=lake.options)
    mark = "\ufeff".encode(encoding)[: 4 if encoding == "utf-32" else 2]
    content = lake.files.cat_file(path)
    assert content.startswith(mark)
    assert content.count(mark) == 1
    again = pd.read_csv(f"s3crypt://{path}", encoding=encoding, storage_options=lake.options)
    pd.testing.assert_frame_equal(again, table)


def test_pandas_reads_a_csv_in_chunks(lake: Lake) -> None:
    """Reading a text in chunks returns the whole text."""
    path = f"s3crypt://{lake.new('customers.csv')}"
    _customers().to_csv(path, index=False, storage_options=lake.options)
    with pd.read_csv(path, chunksize=1000, storage_options=lake.options) as chunks:
        assert [len(chunk) for chunk in chunks] == [1000, 1000, 1000]


def test_pandas_fetches_what_it_is_asked_for(
    lake: Lake, numbers: str, requests_log: RequestsLog
) -> None:
    """With columns and filters, other columns and row groups are not fetched."""
    read = pd.read_parquet(
        f"s3crypt://{numbers}",
        columns=["n1"],
        filters=[("id", ">=", _FIRST_ID), ("id", "<=", _LAST_ID)],
        storage_options=lake.options,
    )
    assert read["n1"].tolist() == _expected()
    check_pruned(requests_log, lake, numbers)


def test_pandas_partitions(lake: Lake, requests_log: RequestsLog) -> None:
    """Each partition is a sealed file, and a filter on a partition does not open other files."""
    path = lake.new("customers")
    url = f"s3crypt://{path}"
    _customers().to_parquet(url, partition_cols=["region"], storage_options=lake.options)
    check_sealed(lake, path, count=len(REGIONS))
    requests_log.clear()
    read = pd.read_parquet(url, filters=[("region", "==", "us")], storage_options=lake.options)
    assert read["name"].tolist()[:2] == ["customer-000001", "customer-000004"]
    assert _gets(requests_log, f"{path}/region=us")
    # "ap" is not checked: pandas reads the schema from the first file.
    assert not _gets(requests_log, f"{path}/region=eu")


# --- Arrow ------------------------------------------------------------------------------------


def test_arrow_fetches_only_the_row_group_and_columns(
    lake: Lake, numbers: str, requests_log: RequestsLog
) -> None:
    """A data set's filter and projection limit the fetched bytes of a file."""
    is_wanted = (ds.field("id") >= _FIRST_ID) & (ds.field("id") <= _LAST_ID)
    read = ds.dataset(numbers, filesystem=lake.files).to_table(columns=["n1"], filter=is_wanted)
    assert read["n1"].to_pylist() == _expected()
    check_pruned(requests_log, lake, numbers)
    whole = lake.s3.head_object(Bucket=lake.bucket, Key=lake.name(numbers))["ContentLength"]
    assert Fetched(requests_log, lake, numbers).stored_bytes < whole / 4


def test_arrows_pages_are_sealed(lake: Lake, numbers: str, by_region: str) -> None:
    """No page that pyarrow wrote, compressed or not, is stored in plaintext."""
    check_sealed(lake, numbers)
    check_sealed(lake, by_region, count=len(REGIONS))


def test_arrow_partitions(lake: Lake, by_region: str, requests_log: RequestsLog) -> None:
    """A filter on a partition opens only the files of that partition."""
    customers = ds.dataset(by_region, filesystem=lake.files, partitioning="hive")
    requests_log.clear()
    assert customers.to_table(filter=ds.field("region") == "eu").num_rows == 1000
    assert _gets(requests_log, f"{by_region}/region=eu")
    assert not _gets(requests_log, f"{by_region}/region=us")
    assert not _gets(requests_log, f"{by_region}/region=ap")


def test_arrow_reads_what_is_not_parquet(lake: Lake) -> None:
    """Arrow reads a data set of CSV files through the same file system."""
    path = lake.new("customers")
    for part in range(2):
        with lake.files.open(f"{path}/{part}.csv", "wb") as file:
            pyarrow.csv.write_csv(pa.Table.from_pandas(_customers(100)), file)
    check_sealed(lake, path, count=2)
    assert ds.dataset(path, filesystem=lake.files, format="csv").count_rows() == 200


def test_a_directory_costs_a_request_an_object(
    lake: Lake, by_region: str, requests_log: RequestsLog
) -> None:
    """Each size in a listing costs one HEAD, and is remembered while the object is unchanged."""
    files = lake.files
    files.invalidate_cache()
    for heads in (len(REGIONS), 0):
        requests_log.clear()
        ds.dataset(by_region, filesystem=files, partitioning="hive")
        asked = [entry["path"] for entry in requests_log.list() if entry["method"] == "HEAD"]
        assert len([path for path in asked if path.endswith(".parquet")]) == heads


# --- DuckDB -----------------------------------------------------------------------------------


@pytest.fixture
def duck(lake: Lake) -> Iterator[Any]:
    """Connect to DuckDB with the file system registered."""
    with _need("duckdb").connect() as connection:
        connection.register_filesystem(lake.files)
        yield connection


def test_duckdb_partitions(duck: Any, by_region: str, requests_log: RequestsLog) -> None:
    """SQL over a Hive-partitioned set opens only the files of the partitions that it names."""
    every = f"read_parquet('s3crypt://{by_region}/*/*.parquet', hive_partitioning = true)"
    found = duck.sql(f"SELECT region, count(*) FROM {every} GROUP BY region ORDER BY region")
    assert found.fetchall() == [("ap", 1000), ("eu", 1000), ("us", 1000)]
    requests_log.clear()
    # DuckDB reads the schema from any one file; only the scan is limited to the partition.
    found = duck.sql(f"SELECT max(name) FROM {every} WHERE region = 'us'")
    assert found.fetchall() == [("customer-002998",)]
    assert _gets(requests_log, f"{by_region}/region=us")
    assert not _gets(requests_log, f"{by_region}/region=eu")


def test_duckdb_fetches_only_the_row_group_and_columns(
    duck: Any, lake: Lake, numbers: str, requests_log: RequestsLog
) -> None:
    """With a condition on a sorted column, other row groups are not fetched."""
    found = duck.sql(
        f"SELECT n1 FROM 's3crypt://{numbers}' "
        f"WHERE id BETWEEN {_FIRST_ID} AND {_LAST_ID} ORDER BY id"
    )
    assert [value for (value,) in found.fetchall()] == _expected()
    check_pruned(requests_log, lake, numbers)


@pytest.mark.parametrize("how", ["OVERWRITE_OR_IGNORE", "APPEND"])
def test_duckdb_writes_partitions(duck: Any, lake: Lake, how: str) -> None:
    """COPY with PARTITION_BY writes sealed files, and DuckDB reads them."""
    path = lake.new("numbers")
    duck.sql(
        f"COPY (SELECT range AS id, 'customer-' || range AS name, range % 3 AS part "
        f"FROM range(3000)) TO 's3crypt://{path}' (FORMAT parquet, PARTITION_BY (part), {how})"
    )
    check_sealed(lake, path, count=3)
    read = f"read_parquet('s3crypt://{path}/*/*.parquet', hive_partitioning = true)"
    found = duck.sql(f"SELECT part, sum(id) FROM {read} GROUP BY part ORDER BY part")
    assert found.fetchall() == [(0, 1498500), (1, 1499500), (2, 1500500)]


@pytest.mark.parametrize("name", ["numbers.parquet", "numbers.csv"])
def test_duckdb_replaces_a_file(duck: Any, lake: Lake, name: str) -> None:
    """COPY replaces an existing object, and leaves no temporary object."""
    path = lake.new(name)
    for rows in (2000, 3000):
        query = f"SELECT 'customer-' || range AS name FROM range({rows})"
        duck.sql(f"COPY ({query}) TO 's3crypt://{path}'")
    check_sealed(lake, path)
    assert duck.sql(f"SELECT count(*) FROM 's3crypt://{path}'").fetchall() == [(3000,)]
    assert lake.files.ls(path.rpartition("/")[0], detail=False) == [path]


def test_duckdb_reads_all_below_a_directory(duck: Any, lake: Lake, by_region: str) -> None:
    """`**` finds only files, because DuckDB opens every path that a pattern finds."""
    found = duck.sql(f"SELECT count(*) FROM read_parquet('s3crypt://{by_region}/**')")
    assert found.fetchall() == [(3000,)]
    lake.files.pipe(f"{by_region}-text/a/b/one.csv", b"id\n1\n")
    lake.files.pipe(f"{by_region}-text/a/two.csv", b"id\n2\n")
    found = duck.sql(f"SELECT sum(id) FROM read_csv('s3crypt://{by_region}-text/**')")
    assert found.fetchall() == [(3,)]


def _export(files: S3CryptFileSystem, path: str) -> None:
    with _need("duckdb").connect() as connection:
        connection.register_filesystem(files)
        connection.sql("CREATE TABLE t AS SELECT range AS id, 'customer-' || range AS name "
                       "FROM range(3000)")  # fmt: skip
        connection.sql("CREATE VIEW v AS SELECT max(id) AS most FROM t")
        connection.sql(f"EXPORT DATABASE 's3crypt://{path}' (FORMAT parquet)")


def test_duckdb_exports_and_imports_a_database(lake: Lake) -> None:
    """DuckDB leaves two files unclosed; `unclosed="store"` stores them."""
    path = lake.new("export")
    files = S3CryptFileSystem(**lake.options, unclosed="store")
    _export(files, path)
    found = [name.rpartition("/")[2] for name in files.find(path)]
    assert found == ["load.sql", "schema.sql", "t.parquet"]
    check_sealed(lake, path, count=3)
    with _need("duckdb").connect() as connection:
        connection.register_filesystem(files)
        connection.sql(f"IMPORT DATABASE 's3crypt://{path}'")
        assert connection.sql("SELECT count(*), max(name) FROM t").fetchall() == [
            (3000, "customer-999")
        ]
        assert connection.sql("SELECT most FROM v").fetchall() == [(2999,)]


def test_duckdbs_unclosed_files_are_told(lake: Lake) -> None:
    """Without the option a warning names each unclosed file and the option."""
    path = lake.new("export")
    with pytest.warns(RuntimeWarning, match="unclosed='store'") as caught:
        _export(lake.files, path)
    told = " ".join(str(each.message) for each in caught)
    assert f"{path}/schema.sql: nothing is stored of the " in told
    assert f"{path}/load.sql: nothing is stored of the " in told
    assert [name.rpartition("/")[2] for name in lake.files.find(path)] == ["t.parquet"]


def test_duckdb_keeps_the_old_file_where_it_fails(duck: Any, lake: Lake) -> None:
    """A COPY that fails leaves the old object, and no other object."""
    path = lake.new("numbers.csv")
    lake.files.pipe(path, b"id\n1\n")
    query = (
        "SELECT CASE WHEN range = 900000 THEN error('enough') ELSE range END FROM range(1000000)"
    )
    with pytest.raises(_need("duckdb").Error, match="enough"):
        duck.sql(f"COPY ({query}) TO 's3crypt://{path}'")
    assert lake.files.cat(path.rpartition("/")[0], recursive=True) == {path: b"id\n1\n"}


# --- fsspec's caches --------------------------------------------------------------------------


# fsspec leaves the mapped file to the garbage collector, which warns about an unclosed file.
_MMAP = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def _by_blocks(lake: Lake, path: str, folder: Path, **options: Any) -> Any:
    """Open a file through fsspec's block cache; a block is two frames."""
    given = {"cache_storage": str(folder), **options}
    url = f"blockcache::s3crypt://{path}"
    fs, _ = fsspec.core.url_to_fs(url, s3crypt=lake.options, blockcache=given)
    return fs.open(path, "rb", block_size=2 * FRAME)


@_MMAP
def test_blockcache_fetches_a_block_once(
    lake: Lake, tmp_path: Path, requests_log: RequestsLog
) -> None:
    """Cached blocks are verified, and are fetched only once, also after a second open."""
    path, content = lake.new("x"), np.random.default_rng(1).bytes(40 * FRAME + 7)
    lake.files.pipe(path, content)
    with _by_blocks(lake, path, tmp_path) as file:
        file.seek(5 * FRAME)
        assert file.read(10) == content[5 * FRAME : 5 * FRAME + 10]
        requests_log.clear()
        assert file.read(100) == content[5 * FRAME + 10 : 5 * FRAME + 110]
        assert not _gets(requests_log, path)
        file.seek(-3, 2)
        assert file.read() == content[-3:]
    for _ in range(2):
        with _by_blocks(lake, path, tmp_path) as file:
            assert file.read() == content
    assert file.closed
    requests_log.clear()
    with _by_blocks(lake, path, tmp_path) as file:
        assert (file.read(), file.read(1)) == (content, b"")
    assert not _gets(requests_log, path)
    with io.TextIOWrapper(_by_blocks(lake, path, tmp_path / "text"), encoding="latin-1") as text:
        assert text.read(5) == content[:5].decode("latin-1")
    lake.files.pipe(f"{path}-empty", b"")
    with _by_blocks(lake, f"{path}-empty", tmp_path) as file:
        assert file.read() == b""


@_MMAP
def test_blockcache_keeps_nothing_that_was_not_verified(lake: Lake, tmp_path: Path) -> None:
    """A block that fails verification is not cached: fsspec would return zeros for it later."""
    path, content = lake.new("x"), b"customer" * FRAME
    lake.files.pipe(path, content)
    body = bytearray(stored(lake.s3, lake.bucket, lake.name(path)))
    # Change a byte in the third frame: the header is shorter than a frame.
    body[3 * STRIDE] ^= 1
    rewrite(lake.s3, lake.bucket, lake.name(path), bytes(body))
    with _by_blocks(lake, path, tmp_path) as file:
        for _ in range(2):
            file.seek(2 * FRAME)
            with pytest.raises(IntegrityError):
                file.read(2 * FRAME)
        file.seek(6 * FRAME)
        assert file.read(5) == content[6 * FRAME : 6 * FRAME + 5]
    with _by_blocks(lake, path, tmp_path) as file, pytest.raises(IntegrityError):
        file.read()


@_MMAP
def test_blockcache_does_not_mix_versions(lake: Lake, tmp_path: Path) -> None:
    """Blocks of two versions are not mixed, neither in an open file nor across opens."""
    path = lake.new("x")
    lake.files.pipe(path, bytes(60 * FRAME))
    with _by_blocks(lake, path, tmp_path) as file:
        assert file.read(10) == bytes(10)
        lake.files.pipe(path, b"1" * 61 * FRAME)
        file.seek(40 * FRAME)
        with pytest.raises(ConflictError):
            file.read(10)
    with pytest.raises(ConflictError, match="replaced after blocks") as caught:
        _by_blocks(lake, path, tmp_path)
    assert "clear_cache()" in str(caught.value.hint)
    lake.files.pipe(path, b"2" * 60 * FRAME)
    for check_files in (False, True):
        with pytest.raises(ConflictError, match="replaced after blocks"):
            _by_blocks(lake, path, tmp_path, check_files=check_files)
    with _by_blocks(lake, path, tmp_path / "new") as file:
        assert file.read() == b"2" * 60 * FRAME


# --- Polars -----------------------------------------------------------------------------------


def test_polars_scan_fetches_only_the_row_group_and_columns(
    lake: Lake, numbers: str, requests_log: RequestsLog
) -> None:
    """Over an Arrow data set, predicates and projections limit the fetched bytes."""
    pl = _need("polars")
    scan = pl.scan_pyarrow_dataset(ds.dataset(numbers, filesystem=lake.files))
    query = scan.filter(pl.col("id").is_between(_FIRST_ID, _LAST_ID)).select("n1")
    assert query.collect()["n1"].to_list() == _expected()
    check_pruned(requests_log, lake, numbers)


def test_polars_scan_of_partitions(lake: Lake, by_region: str, requests_log: RequestsLog) -> None:
    """A predicate on a partition opens only the files of that partition."""
    pl = _need("polars")
    customers = ds.dataset(by_region, filesystem=lake.files, partitioning="hive")
    requests_log.clear()
    query = pl.scan_pyarrow_dataset(customers).filter(pl.col("region") == "eu")
    assert query.select(pl.len()).collect().item() == 1000
    assert not _gets(requests_log, f"{by_region}/region=us")


@pytest.mark.parametrize("kind", ["parquet", "csv", "ipc"])
def test_polars_reads_and_writes_open_files(lake: Lake, kind: str) -> None:
    """Polars' own engine reads, scans and writes sealed objects through open files."""
    pl = _need("polars")
    path = lake.new(f"customers.{kind}")
    customers = pl.DataFrame({"name": [f"customer-{row:06}" for row in range(3000)]})
    with lake.files.open(path, "wb") as file:
        getattr(customers, f"write_{kind}")(file)
    check_sealed(lake, path)
    with lake.files.open(path, "rb") as file:
        assert getattr(pl, f"read_{kind}")(file).equals(customers)
    with lake.files.open(path, "rb") as file:
        assert getattr(pl, f"scan_{kind}")(file).tail(1).collect().item() == "customer-002999"


def test_polars_with_pyarrow_reads_urls(
    lake: Lake, numbers: str, requests_log: RequestsLog
) -> None:
    """With use_pyarrow, Polars finds the file system by the URL and fetches the named columns."""
    pl = _need("polars")
    read = pl.read_parquet(
        f"s3crypt://{numbers}", columns=["n1"], use_pyarrow=True, storage_options=lake.options
    )
    assert read["n1"].slice(_FIRST_ID, 10).to_list() == _expected()
    metadata = pq.read_metadata(numbers, filesystem=lake.files)
    fetched = Fetched(requests_log, lake, numbers)
    for group in range(1, GROUPS - 1):
        column = metadata.row_group(group).column(6)
        start = column.data_page_offset
        assert not fetched.touches(start, start + column.total_compressed_size)


# --- Dask -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(sandbox: Any) -> Iterator[Any]:
    """Run two worker processes, which inherit the environment with the sandbox's address."""
    distributed = _need("distributed")
    assert sandbox.endpoint_url == os.environ["AWS_ENDPOINT_URL"]
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit="512MiB",
            host="127.0.0.1",
            # With None Dask takes port 8787 of all addresses, and warns if it is in use.
            dashboard_address="127.0.0.1:0",
        ) as running,
        distributed.Client(running) as client,
    ):
        yield client


@pytest.fixture
def dask_frame(cluster: Any) -> Any:
    """Return Dask's data frames, which the cluster computes."""
    assert cluster.scheduler_info()["workers"]
    return _need("dask.dataframe")


# All tests of Dask run on one worker of pytest, so that there is one cluster.
on_cluster = pytest.mark.xdist_group("dask")
# Ignore the warning about Dask, which calls pandas in a way that pandas 3.1 deprecates.
dasks_own = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")


def _pids(frame: Any) -> set[int]:
    """Return the ids of the processes that compute a frame's partitions."""

    def pid(partition: pd.DataFrame) -> pd.Series:
        return pd.Series([os.getpid()] * len(partition), dtype="int64")

    return set(frame.map_partitions(pid, meta=pd.Series([], dtype="int64")).compute())


@on_cluster
@dasks_own
def test_dask_writes_and_reads_in_workers(
    dask_frame: Any, cluster: Any, lake: Lake, requests_log: RequestsLog
) -> None:
    """Workers encrypt the files that they write, and decrypt the files that they read."""
    path = lake.new("customers")
    url = f"s3crypt://{path}"
    dask_frame.from_pandas(_customers(), npartitions=4).to_parquet(
        url, storage_options=lake.options
    )
    check_sealed(lake, path, count=4)
    customers = dask_frame.read_parquet(url, storage_options=lake.options)
    requests_log.clear()
    assert customers["id"].sum().compute() == 3000 * 2999 // 2
    assert len({entry["path"] for entry in _gets(requests_log, path)}) == 4
    pids = _pids(customers)
    # The client also reads a file, to make its plan.
    assert pids <= set(cluster.run(os.getpid).values())
    assert os.getpid() not in pids


@on_cluster
@dasks_own
def test_dask_reads_blocks_of_text(dask_frame: Any, lake: Lake) -> None:
    """A CSV is divided by its plaintext's size, and each worker reads a block."""
    path = lake.new("customers.csv")
    _customers().to_csv(f"s3crypt://{path}", index=False, storage_options=lake.options)
    read = dask_frame.read_csv(f"s3crypt://{path}", blocksize=20_000, storage_options=lake.options)
    assert read.npartitions == 3
    assert read["name"].compute().tolist() == _customers()["name"].tolist()


@on_cluster
@dasks_own
def test_dask_sends_no_key_that_is_named_by_text(
    dask_frame: Any, lake: Lake, by_region: str
) -> None:
    """With text options no key is in the task graph; a mode object puts its AES key there."""
    cloudpickle = _need("cloudpickle")
    key = lake.key_file.read_bytes()
    live = {"encryption": ClientSide(AESKeyring("tests", "lake", key))}
    url = f"s3crypt://{by_region}"
    for options, is_sent in ((lake.options, False), (live, True)):
        read = dask_frame.read_parquet(url, storage_options=options)
        assert (key in cloudpickle.dumps(read.optimize().__dask_graph__())) == is_sent
        assert read["id"].count().compute() == 3000


@on_cluster
@dasks_own
def test_dask_counts_rows_by_footers(dask_frame: Any, lake: Lake, by_region: str) -> None:
    """Dask counts rows by reading only the footers."""
    read = dask_frame.read_parquet(f"s3crypt://{by_region}", storage_options=lake.options)
    assert len(read) == 3000


@on_cluster
@dasks_own
def test_a_workers_error_is_ours(dask_frame: Any, cluster: Any, lake: Lake, by_region: str) -> None:
    """An error in a worker reaches the caller with its type and hint."""
    url = f"s3crypt://{by_region}/region=eu"
    (path,) = lake.files.ls(f"{by_region}/region=eu", detail=False)
    failing = cluster.submit(_read_without_key, path, pure=False)
    with pytest.raises(PolicyError, match="encrypted client-side") as caught:
        failing.result()
    assert "aes:tests/lake" in str(caught.value.hint)
    with pytest.raises(IntegrityError, match="None of the given keys opens"):
        dask_frame.read_parquet(url, storage_options=_wrong_key(lake))


def _read_without_key(path: str) -> int:
    return len(S3CryptFileSystem(encryption="any").cat_file(path))


# --- zarr -------------------------------------------------------------------------------------


@pytest.fixture
def field(lake: Lake) -> str:
    """Store an array of four chunks, and return its path."""
    zarr = _need("zarr")
    path = lake.new("field.zarr")
    array = zarr.create_array(
        f"s3crypt://{path}",
        shape=(100, 100),
        chunks=(50, 50),
        dtype="f8",
        compressors=None,
        storage_options=lake.options,
    )
    array[:] = _field()
    return path


def _field() -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).random((100, 100))


def test_zarr_array(lake: Lake, field: str, requests_log: RequestsLog) -> None:
    """Chunks and metadata are sealed, and a slice fetches only its chunks."""
    check_sealed(lake, field, count=5)
    requests_log.clear()
    array = _need("zarr").open_array(f"s3crypt://{field}", mode="r", storage_options=lake.options)
    assert (array[60:70, 10] == _field()[60:70, 10]).all()
    assert _gets(requests_log, f"{field}/c/1/0")
    for other in ("0/0", "0/1", "1/1"):
        assert not _gets(requests_log, f"{field}/c/{other}")


def test_a_chunk_in_anothers_place_is_refused(lake: Lake, field: str) -> None:
    """A chunk under another chunk's name is refused, because the name is bound."""
    body = stored(lake.s3, lake.bucket, lake.name(f"{field}/c/0/0"))
    rewrite(lake.s3, lake.bucket, lake.name(f"{field}/c/0/1"), body)
    array = _need("zarr").open_array(f"s3crypt://{field}", mode="r", storage_options=lake.options)
    assert (array[:50, :50] == _field()[:50, :50]).all()
    with pytest.raises(IntegrityError):
        array[:50, 50:]


def test_a_chunk_that_is_gone_is_zarrs_fill_value(lake: Lake, field: str) -> None:
    """Zarr reads a deleted chunk as its fill value, as the documentation says."""
    lake.s3.delete_object(Bucket=lake.bucket, Key=lake.name(f"{field}/c/0/1"))
    array = _need("zarr").open_array(f"s3crypt://{field}", mode="r", storage_options=lake.options)
    assert not array[:50, 50:].any()


# --- keys -------------------------------------------------------------------------------------


def test_kms_is_asked_once_an_open_file(
    lake: Lake, kms: Any, kms_key: str, requests_log: RequestsLog
) -> None:
    """A file of many ranges costs one kms:GenerateDataKey to write and one kms:Decrypt to read."""
    alias = f"alias/lake-{uuid.uuid4()}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    path, key = lake.new("numbers.parquet"), f"kms:{alias}"
    files = S3CryptFileSystem(key=key)
    pq.write_table(_numbers(), path, filesystem=files, row_group_size=GROUP_ROWS)
    assert _kms_calls(requests_log, "GenerateDataKey") == 1
    requests_log.clear()
    with files.open(path) as file:
        assert pq.ParquetFile(file).read(["n1", "n5"]).num_rows == GROUP_ROWS * GROUPS
    assert _kms_calls(requests_log, "Decrypt") == 1
    read = pd.read_parquet(f"s3crypt://{path}", columns=["n1"], storage_options={"key": key})
    assert len(read) == GROUP_ROWS * GROUPS


def test_a_cache_asks_kms_once_a_data_set(
    lake: Lake, kms_key: str, requests_log: RequestsLog
) -> None:
    """A mode object with cached data keys opens several files with few calls to KMS."""
    keyring = CachingKeyring(kms_keyring(kms_key), max_age=300)
    mode = ClientSide(keyring, context={"set": "customers"}, bind_name=False)
    path, files = lake.new("customers"), S3CryptFileSystem(mode=mode)
    for part in range(4):
        _customers().to_parquet(f"{path}/{part}.parquet", filesystem=files)
    requests_log.clear()
    assert len(pd.read_parquet(path, filesystem=files)) == 4 * 3000
    assert _kms_calls(requests_log, "Decrypt") == keyring.statistics.unwrap_calls
    # A file of unknown length has its own data key. Each file is read twice: schema and rows.
    assert keyring.statistics.unwrap_calls == 4
    assert keyring.statistics.unwrap_hits >= 1


@pytest.mark.parametrize("name", ["customers.parquet", "customers.csv"])
@pytest.mark.parametrize("wrap", [lambda given: given, lambda given: {"s3crypt": given}])
def test_an_encryption_travels_with_storage_options(lake: Lake, name: str, wrap: Any) -> None:
    """A mode object and a mode's name both work as a storage option, also under "s3crypt"."""
    path = lake.new(name)
    live = ClientSide(AESKeyring("tests", "lake", lake.key_file.read_bytes()), frame_length=FRAME)
    kind = name.rpartition(".")[2]
    for options in ({"encryption": live}, {"encryption": "client", **lake.options}):
        write = getattr(_customers(), f"to_{kind}")
        write(f"s3crypt://{path}", storage_options=wrap(options))
        check_sealed(lake, path)
        read = getattr(pd, f"read_{kind}")
        assert len(read(f"s3crypt://{path}", storage_options=wrap(options))) == 3000


def test_a_mode_that_fsspec_drops_reads_nothing(lake: Lake) -> None:
    """If fsspec drops the option `mode`, nothing is read, not even a forged plaintext object."""
    path = lake.new("forged.parquet")
    forged = io.BytesIO()
    _customers().to_parquet(forged)
    lake.s3.put_object(Bucket=lake.bucket, Key=lake.name(path), Body=forged.getvalue())
    live = ClientSide(AESKeyring("tests", "lake", lake.key_file.read_bytes()))
    with pytest.raises(ConfigError, match="no encryption"):
        pd.read_parquet(f"s3crypt://{path}", storage_options={"mode": live})


def test_names_are_bound_unless_told_otherwise(lake: Lake) -> None:
    """With bind_name=False, also as text, a renamed object can be read."""
    options = {**lake.options, "bind_name": False}
    for bound in (lake.options, options):
        path = lake.new("a.parquet")
        _customers().to_parquet(f"s3crypt://{path}", storage_options=bound)
        moved = {"Bucket": lake.bucket, "Key": lake.name(f"{path}.moved")}
        lake.s3.copy_object(CopySource=path, **moved)
        url = f"s3crypt://{path}.moved"
        if bound is options:
            assert len(pd.read_parquet(url, storage_options=bound)) == 3000
        else:
            with pytest.raises(IntegrityError):
                pd.read_parquet(url, storage_options=bound)


def test_a_pickled_file_system_has_the_key_files_name(lake: Lake, by_region: str) -> None:
    """A file system of text options pickles as text, and opens the same files."""
    travelled = pickle.dumps(lake.files)
    assert lake.key_file.read_bytes() not in travelled
    assert str(lake.key_file).encode() in travelled
    assert len(pickle.loads(travelled).find(by_region)) == len(REGIONS)


# --- errors in each tool ----------------------------------------------------------------------


def _wrong_key(lake: Lake) -> dict[str, Any]:
    return {"key": f"aes:tests/lake={lake.other_file}"}


def _by_pandas(path: str, options: dict[str, Any]) -> object:
    return pd.read_parquet(f"s3crypt://{path}", storage_options=options)


def _by_arrow(path: str, options: dict[str, Any]) -> object:
    return ds.dataset(path, filesystem=S3CryptFileSystem(**options)).to_table()


def _by_polars(path: str, options: dict[str, Any]) -> object:
    pl = _need("polars")
    files = S3CryptFileSystem(**options)
    return pl.scan_pyarrow_dataset(ds.dataset(path, filesystem=files)).collect()


def _by_polars_file(path: str, options: dict[str, Any]) -> object:
    with S3CryptFileSystem(**options).open(path) as file:
        return _need("polars").read_parquet(file)


READERS = [_by_pandas, _by_arrow, _by_polars, _by_polars_file]


@pytest.mark.parametrize("read", READERS)
def test_a_wrong_key_is_our_error(lake: Lake, numbers: str, read: Any) -> None:
    """Python tools raise s3crypt's error unchanged, and the hint names the necessary key."""
    with pytest.raises(IntegrityError, match="None of the given keys opens") as caught:
        read(numbers, _wrong_key(lake))
    assert "aes:tests/lake" in str(caught.value.hint)


@pytest.mark.parametrize("read", READERS)
def test_no_key_is_our_error(numbers: str, read: Any) -> None:
    """Without a key nothing is read, and the hint names the necessary key."""
    with pytest.raises(PolicyError) as caught:
        read(numbers, {"encryption": "any"})
    assert "aes:tests/lake" in str(caught.value.hint)


@pytest.mark.parametrize("read", READERS)
def test_no_encryption_is_our_error(numbers: str, read: Any) -> None:
    """Without storage options nothing is read, and the hint names the missing option."""
    with pytest.raises(ConfigError, match="no encryption") as caught:
        read(numbers, {})
    assert "encryption='any'" in str(caught.value.hint)


@pytest.mark.parametrize("read", READERS)
def test_no_object_is_a_missing_file(lake: Lake, read: Any) -> None:
    """A missing object raises FileNotFoundError, as a missing file does."""
    with pytest.raises(FileNotFoundError):
        read(lake.new("nothing.parquet"), lake.options)


@pytest.mark.parametrize("has_key", [True, False])
def test_duckdb_shows_our_errors_text(lake: Lake, numbers: str, *, has_key: bool) -> None:
    """DuckDB raises its own error, which ends with the text of s3crypt's error."""
    duckdb = _need("duckdb")
    options = _wrong_key(lake) if has_key else {"encryption": "any"}
    expected = "IntegrityError: .*keys opens" if has_key else "PolicyError: .*client-side"
    with duckdb.connect() as connection:
        connection.register_filesystem(S3CryptFileSystem(**options))
        with pytest.raises(duckdb.Error, match=expected):
            connection.sql(f"SELECT * FROM 's3crypt://{numbers}'").fetchall()


def test_zarr_shows_our_error(lake: Lake, field: str) -> None:
    """A wrong key raises an error, and is not taken for a missing array."""
    zarr = _need("zarr")
    with pytest.raises(IntegrityError, match="None of the given keys opens"):
        zarr.open_array(f"s3crypt://{field}", mode="r", storage_options=_wrong_key(lake))
    with pytest.raises(PolicyError):
        zarr.open_array(f"s3crypt://{field}", mode="r", storage_options={"encryption": "any"})


def test_a_signed_file_is_refused_unless_named(lake: Lake) -> None:
    """Ranges cannot verify a signature, so a signed file needs an explicit option."""
    url = f"s3crypt://{lake.new('customers.parquet')}"
    _customers().to_parquet(url, storage_options={**lake.options, "signed": True})
    with pytest.raises(PolicyError, match="signature covers"):
        pd.read_parquet(url, storage_options=lake.options)
    options = {**lake.options, "allow_unverified_signature": True}
    assert len(pd.read_parquet(url, storage_options=options)) == 3000


def test_a_changed_byte_fails_what_reads_it(lake: Lake) -> None:
    """If a bit of a column is changed, reads of this column fail; other columns are read."""
    path = lake.new("numbers.parquet")
    _write_numbers(lake, path)
    column = pq.read_metadata(path, filesystem=lake.files).row_group(0).column(5)
    middle = column.data_page_offset + column.total_compressed_size // 2
    body = bytearray(stored(lake.s3, lake.bucket, lake.name(path)))
    header_length = int(lake.metadata(path)["s3crypt-header-length"])
    body[header_length + middle // FRAME * STRIDE + STRIDE // 2] ^= 1
    rewrite(lake.s3, lake.bucket, lake.name(path), bytes(body))
    whole = ds.dataset(path, filesystem=lake.files)
    assert whole.to_table(columns=["n0"]).num_rows == GROUP_ROWS * GROUPS
    with pytest.raises(IntegrityError):
        whole.to_table(columns=["n4"])


def test_a_file_replaced_while_open_is_refused(lake: Lake) -> None:
    """If an open file is replaced, the next read raises an error and returns no mix."""
    path = lake.new("numbers.parquet")
    _write_numbers(lake, path)
    with lake.files.open(path) as file:
        parquet = pq.ParquetFile(file)
        first = parquet.read_row_group(1, columns=["n1"])
        _write_numbers(lake, path)
        with pytest.raises(ConflictError, match="replaced"):
            parquet.read_row_group(3, columns=["n5"])
    assert first.num_rows == GROUP_ROWS


def test_a_csv_replaced_between_chunks_is_refused(lake: Lake) -> None:
    """If a text is replaced between two chunks, the next chunk raises an error."""
    path = f"s3crypt://{lake.new('customers.csv')}"
    customers = _customers(100_000)
    customers.to_csv(path, index=False, storage_options=lake.options)
    with pd.read_csv(path, chunksize=1000, storage_options=lake.options) as chunks:
        next(chunks)
        customers.to_csv(path, index=False, storage_options=lake.options)
        with pytest.raises(ConflictError, match="replaced"):
            list(chunks)


def test_a_table_that_fails_half_way_is_not_stored(lake: Lake) -> None:
    """An exception while a data frame is written leaves no object."""
    path = lake.new("customers.csv")
    customers = _customers().assign(region=[*["eu"] * 2999, _Unwritable()])
    with pytest.raises(ZeroDivisionError):
        customers.to_csv(f"s3crypt://{path}", storage_options=lake.options)
    with pytest.raises(ObjectNotFoundError):
        lake.files.info(path)


class _Unwritable:
    def __str__(self) -> str:
        raise ZeroDivisionError
