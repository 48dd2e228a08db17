# SPDX-License-Identifier: Apache-2.0
"""The rows of a part of an S3 Inventory report: CSV, ORC and Parquet, in bounded memory.

For ORC and Parquet, rows are counted in Arrow columns, and a `Row` is created only for the rows
that the caller requests. Delete markers are omitted. `manifest` fetches and verifies the parts;
this module makes no request.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote_plus

from s3crypt.errors import ConfigError, FormatError, IntegrityError
from s3crypt.objects.sightings import UNSEEN

from .manifest import Manifest, check_columns, plain

# A name of 1024 bytes has up to 3072 characters when URL-encoded; the other columns have some
# hundreds.
_LONGEST_LINE = 2**16

BATCH_ROWS = 2**16
"""The maximum number of rows in memory at once."""

_MODES = {
    "SSE-S3": "sse-s3",
    "SSE-KMS": "sse-kms",
    "DSSE-KMS": "dsse-kms",
    "SSE-C": "sse-c",
    "NOT-SSE": None,
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a report: one version of an object.

    Attributes:
        name: The object's name.
        version_id: The version; None in a report of current versions only.
        is_latest: Whether the version was the current one.
        etag: The ETag, in quotes as in S3's replies; empty if the report does not contain it.
        storage_class: The storage class; empty if the report does not contain it.
        status: The encryption status in the report's spelling; None if the report does not contain
            it.
    """

    name: str
    version_id: str | None
    is_latest: bool
    etag: str
    storage_class: str
    status: str | None


class Batch(Protocol):
    """Rows of a part, without delete markers."""

    @property
    def count(self) -> int:
        """The number of rows."""
        ...

    def statuses(self) -> Mapping[str | None, int]:
        """Return the number of rows per encryption status."""
        ...

    def rows(self) -> Iterator[Row]:
        """Yield all rows, in order."""
        ...

    def of_status(self, status: str | None) -> Iterator[Row]:
        """Yield the rows with this encryption status, in order."""
        ...

    def take(self, indices: Sequence[int]) -> Iterator[Row]:
        """Yield the rows at these indices."""
        ...


def mode_of(status: str | None) -> str | None:
    """Return the server-side mode of an encryption status, None for no encryption, or `unknown`."""
    return _MODES.get((status or "").upper(), UNSEEN)


def as_batch(rows: Sequence[Row]) -> Batch:
    """Return rows as a batch."""
    return _Rows(rows)


def batches(manifest: Manifest, file: BinaryIO, prefix: str) -> Iterator[Batch]:
    """Yield the rows of a part whose names begin with a prefix.

    Raises:
        IntegrityError: The part cannot be read to its end, or a row does not match the schema.
        FormatError: The column of names is missing, two columns have the same name, a column has
            another type than S3 writes, or a row has no name.
        ConfigError: The format needs pyarrow, which is not installed.
    """
    if manifest.format == "CSV":
        return _csv_batches(manifest, file, prefix)
    return _arrow_batches(manifest, file, prefix)


# --- CSV -----------------------------------------------------------------------------------------


class _Rows:
    """A batch of rows in memory, such as the rows of a CSV part."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    @property
    def count(self) -> int:
        return len(self._rows)

    def statuses(self) -> Mapping[str | None, int]:
        found: dict[str | None, int] = {}
        for row in self._rows:
            found[row.status] = found.get(row.status, 0) + 1
        return found

    def rows(self) -> Iterator[Row]:
        return iter(self._rows)

    def of_status(self, status: str | None) -> Iterator[Row]:
        return (row for row in self._rows if row.status == status)

    def take(self, indices: Sequence[int]) -> Iterator[Row]:
        return (self._rows[index] for index in indices)


def _csv_batches(manifest: Manifest, file: BinaryIO, prefix: str) -> Iterator[Batch]:
    try:
        with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
            # `readline` cuts a longer line within a row. The row then lacks fields and is refused.
            lines = csv.reader(iter(lambda: text.readline(_LONGEST_LINE), ""), strict=True)
            found = filter(None, (_row_of(manifest, line) for line in lines if line))
            rows = (row for row in found if row.name.startswith(prefix))
            while batch := list(islice(rows, BATCH_ROWS)):
                yield _Rows(batch)
    except (EOFError, OSError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise IntegrityError(f"it cannot be read to its end ({type(error).__name__})") from error


def _row_of(manifest: Manifest, line: Sequence[str]) -> Row | None:
    """Return a row, or None for a delete marker."""
    if len(line) != len(manifest.columns):
        raise IntegrityError("a row has more or fewer fields than the schema")
    said = dict(zip(manifest.columns, line, strict=True))
    if said.get("isdeletemarker", "").lower() == "true":
        return None
    said["key"] = unquote_plus(said["key"], errors="strict")
    return _row(said, is_latest=said.get("islatest", "true").lower() == "true")


def _row(said: Mapping[str, Any], *, is_latest: bool) -> Row:
    etag = (said.get("etag") or "").strip('"')
    # In a report, the version id of the null version is an empty field.
    version = (said["versionid"] or "null") if "versionid" in said else None
    status = said.get("encryptionstatus") or None
    kept = f'"{etag}"' if etag else ""
    return Row(said["key"], version, is_latest, kept, said.get("storageclass") or "", status)


# --- ORC and Parquet -----------------------------------------------------------------------------

_WANTED = frozenset(
    {
        "key",
        "versionid",
        "islatest",
        "isdeletemarker",
        "etag",
        "storageclass",
        "encryptionstatus",
    }
)


_FLAGS = frozenset({"islatest", "isdeletemarker"})


class _Table:
    """A batch in an Arrow table, whose columns have `plain` names.

    A `Row` is created only for the rows that the caller requests.
    """

    def __init__(self, table: Any, compute: Any) -> None:
        self._table = table
        self._compute = compute

    @property
    def count(self) -> int:
        return int(self._table.num_rows)

    def statuses(self) -> Mapping[str | None, int]:
        if "encryptionstatus" not in self._table.schema.names:
            return {None: self.count} if self.count else {}
        found: dict[str | None, int] = {}
        for each in self._compute.value_counts(self._table["encryptionstatus"]):
            status = each["values"].as_py() or None
            found[status] = found.get(status, 0) + each["counts"].as_py()
        return found

    def rows(self) -> Iterator[Row]:
        return self._made(self._table)

    def of_status(self, status: str | None) -> Iterator[Row]:
        if "encryptionstatus" not in self._table.schema.names:
            return self.rows()
        column = self._compute.fill_null(self._table["encryptionstatus"], "")
        return self._made(self._table.filter(self._compute.equal(column, status or "")))

    def take(self, indices: Sequence[int]) -> Iterator[Row]:
        return self._made(self._table.take(list(indices)))

    def _made(self, table: Any) -> Iterator[Row]:
        for start in range(0, table.num_rows, 1000):
            for said in table.slice(start, 1000).to_pylist():
                yield _row(said, is_latest=said.get("islatest") is not False)


def _arrow_batches(manifest: Manifest, file: BinaryIO, prefix: str) -> Iterator[Batch]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import compute  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"An inventory of format {manifest.format} needs pyarrow.",
            hint="pip install 's3crypt[parquet]', or have the inventory written as CSV.",
        ) from error
    read = _parquet_tables if manifest.format == "Parquet" else _orc_tables
    try:
        for table in read(pa, file):
            yield _Table(_selected(table, compute, prefix), compute)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise IntegrityError(f"it cannot be read to its end ({type(error).__name__})") from error


def _selected(table: Any, compute: Any, prefix: str) -> Any:
    """Return the rows whose names begin with a prefix, without delete markers."""
    names = [plain(name) for name in table.schema.names]
    check_columns(names, "a part")
    table = _as_written(table.rename_columns(names))
    if "isdeletemarker" in names:
        is_marker = compute.fill_null(table["isdeletemarker"], False)
        if compute.any(is_marker).as_py():
            table = table.filter(compute.invert(is_marker))
    if prefix:
        table = table.filter(compute.starts_with(table["key"], pattern=prefix))
    return table


def _as_written(table: Any) -> Any:
    """Return the table with its columns cast to the types that S3 writes.

    Raises:
        FormatError: Two columns have the same name, a column has another type, or a row has no
            name.
    """
    import pyarrow as pa  # noqa: PLC0415

    names = table.schema.names
    if len(set(names)) < len(names):
        raise FormatError("a part: a column is there twice")
    fields = [pa.field(name, pa.bool_() if name in _FLAGS else pa.string()) for name in names]
    try:
        table = table.cast(pa.schema(fields))
    except (pa.ArrowException, ValueError) as error:
        raise FormatError("a part: a column has another type than S3 writes") from error
    if table["key"].null_count:
        raise FormatError("a part: a row has no name")
    return table


def _parquet_tables(pa: Any, file: BinaryIO) -> Iterator[Any]:
    from pyarrow import parquet  # noqa: PLC0415

    # With `pre_buffer`, pyarrow would hold whole columns of a row group in memory.
    found = parquet.ParquetFile(file, pre_buffer=False, buffer_size=2**20)
    names = [name for name in found.schema_arrow.names if plain(name) in _WANTED]
    for batch in found.iter_batches(batch_size=BATCH_ROWS, columns=names):
        yield pa.Table.from_batches([batch])


def _orc_tables(pa: Any, file: BinaryIO) -> Iterator[Any]:
    from pyarrow import orc  # noqa: PLC0415

    found = orc.ORCFile(file)
    names = [name for name in found.schema.names if plain(name) in _WANTED]
    for number in range(found.nstripes):
        yield pa.Table.from_batches([found.read_stripe(number, columns=names)])
