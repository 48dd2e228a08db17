# SPDX-License-Identifier: Apache-2.0
"""Exports of the inventory table of S3 Metadata, the only report with the KMS key of each object.

The table is an Iceberg table in a table bucket. An export is the result of a query over the table,
such as Athena's `UNLOAD` or a CSV result. It consists of files in a local folder or below a prefix
in S3. Each file is Parquet, ORC, CSV with a header, or JSON lines; the text formats may be gzipped.
AWS defines the columns but no file names, so the format of each file is recognised by its first
bytes.

An export has no manifest and no checksums, so a missing file is not detected. A version appears in
the table about an hour after it was stored.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/metadata-tables-inventory-schema.html
"""

import csv
import gzip
import io
import json
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from s3crypt.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    LocalFileNotFoundError,
    ObjectNotFoundError,
    StorageError,
)
from s3crypt.jobs import FoundFile, files_below
from s3crypt.location import Location
from s3crypt.objects.access import Objects
from s3crypt.objects.opened import ReadOptions

from .batch import FLAGS, UNENCRYPTED, Batch, Dialect, Scope, check_size
from .manifest import plain
from .rows import batches_of, csv_lines, fields
from .tables import table_batches

TABLE_LAG = timedelta(hours=1)
"""The time after which the inventory table of S3 Metadata usually contains a new version."""

_NEEDED = (
    "bucket",
    "key",
    "version_id",
    "is_delete_marker",
    "size",
    "encryption_status",
    "kms_key_arn",
)
_HINT = f"Export these columns of the inventory table: {', '.join(_NEEDED)}."
_TEXTS = frozenset(
    {"bucket", "key", "versionid", "etag", "storageclass", "encryptionstatus", "kmskeyarn"}
)
# The table has no column that shows whether a version is the current version.
_DIALECT = Dialect(
    status=UNENCRYPTED,
    is_latest=False,
    needed=tuple(plain(name) for name in _NEEDED),
)
_GZIP, _PARQUET, _ORC = b"\x1f\x8b", b"PAR1", b"ORC"
# Files that are not data: Athena stores `.metadata` and manifest files beside its results, and
# Spark stores files whose names begin with `_` or a dot.
_BESIDE = re.compile(r"[._].*|.*\.metadata|.*-manifest\.csv")
# Tags and user metadata have at most 2 KB each, so a longer line does not come from the table.
_LONGEST_LINE = 2**16


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file of an export. Its content is not read until `open` is called.

    Attributes:
        name: The file's path or URI.
        stored: The time at which the file was stored.
        open: Opens the file at its beginning.
    """

    name: str
    stored: datetime
    open: Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True)
class Export:
    """An export of the inventory table of S3 Metadata. It has at least one file.

    Attributes:
        source: The path or URI that the caller gave.
        files: The files, at least one.
    """

    source: str
    files: tuple[ExportFile, ...]

    @property
    def covers_until(self) -> datetime:
        """The time from which stored versions may be missing: `TABLE_LAG` before the oldest file.

        If the files were copied after the query, this time is too late: versions stored earlier may
        be missing too.
        """
        return min(file.stored for file in self.files) - TABLE_LAG

    def batches(self, *, bucket: str | None = None, prefix: str = "") -> Iterator[Batch]:
        """Yield the rows of all files. Delete markers are left out.

        Only rows of `bucket` are yielded, or rows of every bucket if it is None. `prefix` is the
        prefix of the wanted names.

        Raises:
            IntegrityError: A file cannot be read to its end.
            FormatError: A file is not an export of the inventory table.
            ConfigError: A file is in Parquet, and pyarrow is not installed.
            StorageError: A file cannot be fetched.
        """
        for file in self.files:
            with file.open() as opened:
                try:
                    yield from _batches(opened, Scope(prefix, bucket))
                except FormatError as error:
                    raise FormatError(f"{file.name}: {error}.", hint=_HINT) from error
                except IntegrityError as error:
                    raise IntegrityError(f"{file.name}: {error}.") from error


def find_export(objects: Objects, source: str) -> Export:
    """Return the export at a local path, in a local folder, or below a prefix in S3.

    Args:
        objects: The engine for objects.
        source: A path, or a URI that begins with `s3://`.

    Raises:
        LocalFileNotFoundError: The path does not exist.
        ObjectNotFoundError: No object has the prefix.
        ConfigError: The folder contains no file of an export.
        StorageError: S3 refused the listing.
    """
    is_remote = source.startswith("s3://")
    files = tuple(_listed(objects, source) if is_remote else _local(Path(source)))
    if files:
        return Export(source, files)
    if is_remote:
        raise ObjectNotFoundError(f"{source}: there is no file of an export.")
    raise ConfigError(f"{source}: the folder contains no file of an export.")


def _local(path: Path) -> Iterator[ExportFile]:
    if not path.exists():
        raise LocalFileNotFoundError(f"{path}: no such file or folder.", hint="Check the path.")
    if not path.is_dir():
        yield _local_file(path)
        return
    for found in files_below(path, report=_refuse):
        if not isinstance(found, FoundFile):
            raise found.error
        if found.size and _is_data(found.path.name):
            yield _local_file(found.path)


def _refuse(path: Path, why: str) -> None:
    raise ConfigError(f"{path} is {why}, which may contain a part of the export.")


def _local_file(path: Path) -> ExportFile:
    stored = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return ExportFile(str(path), stored, partial(_open_local, path))


@contextmanager
def _open_local(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}.") from error
    with file:
        yield file


def _listed(objects: Objects, source: str) -> Iterator[ExportFile]:
    location = Location.parse(source)
    for listed in objects.list(location):
        at = Location.parse(listed.uri)
        if at == location or (listed.stored_size and _is_data(at.name.rpartition("/")[2])):
            yield ExportFile(listed.uri, listed.last_modified, partial(_fetched, objects, at))


@contextmanager
def _fetched(objects: Objects, location: Location) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        objects.fetch(location, ReadOptions(None), file)
        file.seek(0)
        yield file


def _is_data(name: str) -> bool:
    return not _BESIDE.fullmatch(name)


# --- the formats ---------------------------------------------------------------------------------


def _batches(file: BinaryIO, scope: Scope) -> Iterator[Batch]:
    first = file.read(4)
    file.seek(0)
    if first == _PARQUET:
        return table_batches("Parquet", file, _DIALECT, scope)
    if first.startswith(_ORC):
        return table_batches("ORC", file, _DIALECT, scope)
    return _text_batches(file, scope, is_packed=first.startswith(_GZIP))


def _text_batches(file: BinaryIO, scope: Scope, *, is_packed: bool) -> Iterator[Batch]:
    try:
        source: Any = gzip.GzipFile(fileobj=file) if is_packed else file
        with io.TextIOWrapper(source, encoding="utf-8-sig", newline="") as text:
            first = text.readline(_LONGEST_LINE)
            is_json = first.lstrip().startswith("{")
            text.seek(0)
            yield from batches_of(_json(text) if is_json else _csv(text), _DIALECT, scope)
    except (EOFError, OSError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise IntegrityError(f"it cannot be read to its end ({type(error).__name__})") from error


def _csv(text: TextIO) -> Iterator[dict[str, Any]]:
    lines = csv_lines(text)
    columns = [plain(name) for name in next(lines, [])]
    _DIALECT.check(columns)
    for line in lines:
        if line:
            yield _checked(fields(columns, line))


def _json(text: TextIO) -> Iterator[dict[str, Any]]:
    for line in iter(lambda: text.readline(_LONGEST_LINE), ""):
        if line.strip():
            try:
                read = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FormatError("a line is no JSON object") from error
            if not isinstance(read, dict):
                raise FormatError("a line is no JSON object")
            said = {plain(name): value for name, value in read.items()}
            _DIALECT.check(said)
            yield _checked(said)


def _checked(said: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a row after checking that they have the types of the table's columns."""
    kinds = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(FLAGS, bool), "size": int}
    for name in kinds.keys() & said.keys():
        if said[name] is not None and type(said[name]) is not kinds[name]:
            raise FormatError("a column has another type than S3 writes")
    if not said["bucket"] or not said["key"]:
        raise FormatError("a row has no name")
    check_size(said["size"] or 0)
    return said
