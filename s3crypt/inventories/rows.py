# SPDX-License-Identifier: Apache-2.0
"""The rows of one part of an S3 Inventory report (CSV, ORC or Parquet), in bounded memory.

Delete markers are left out. The module `manifest` fetches and verifies the parts; this module makes
no request.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO, TextIO
from urllib.parse import unquote_plus

from s3crypt.errors import IntegrityError

from .batch import BATCH_ROWS, FLAGS, Batch, Dialect, Scope, as_batch, check_size
from .manifest import Manifest
from .tables import table_batches

# A name of 1024 bytes has up to 3072 characters when it is URL-encoded. The other columns have a
# few hundred characters.
_LONGEST_LINE = 2**16
_LONGEST_SIZE = 15


def batches(manifest: Manifest, file: BinaryIO, prefix: str) -> Iterator[Batch]:
    """Yield the rows of a part whose object names begin with `prefix`.

    Raises:
        IntegrityError: The part cannot be read to its end, or a row does not match the schema.
        FormatError: The column of names is missing, two columns have the same name, a column has
            another type than S3 writes, or a row has no name.
        ConfigError: The format needs pyarrow, which is not installed.
    """
    dialect, scope = Dialect(manifest.source), Scope(prefix)
    if manifest.format != "CSV":
        return table_batches(manifest.format, file, dialect, scope)
    return _csv_batches(manifest, file, dialect, scope)


def _csv_batches(
    manifest: Manifest, file: BinaryIO, dialect: Dialect, scope: Scope
) -> Iterator[Batch]:
    try:
        with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
            lines = (_said(manifest, line) for line in csv_lines(text) if line)
            yield from batches_of(lines, dialect, scope)
    except (EOFError, OSError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise IntegrityError(f"it cannot be read to its end ({type(error).__name__})") from error


def _said(manifest: Manifest, line: Sequence[str]) -> dict[str, Any]:
    said = fields(manifest.columns, line)
    said["key"] = unquote_plus(said["key"], errors="strict")
    return said


def csv_lines(text: TextIO) -> Iterator[list[str]]:
    """Return the fields of each line of a CSV file, in bounded memory."""
    # `readline` splits a line that is too long into two rows. Both rows lack fields and are
    # refused.
    return csv.reader(iter(lambda: text.readline(_LONGEST_LINE), ""), strict=True)


def fields(columns: Sequence[str], line: Sequence[str]) -> dict[str, Any]:
    """Return a dictionary from the columns' names to the values of a line.

    Flags become bool and sizes become int. An empty flag or size becomes None.

    Raises:
        IntegrityError: The line has more or fewer fields than the schema.
        FormatError: A size is not a number, or is too large.
    """
    if len(line) != len(columns):
        raise IntegrityError("a row has more or fewer fields than the schema")
    said: dict[str, Any] = dict(zip(columns, line, strict=True))
    for name in FLAGS & said.keys():
        said[name] = said[name].lower() == "true" if said[name] else None
    if "size" in said:
        said["size"] = _size(said["size"])
    return said


def _size(text: str) -> int | None:
    if not text:
        return None
    # `int` accepts signs, spaces and underscores. A size has only digits, at most 15.
    is_number = text.isascii() and text.isdigit() and len(text) <= _LONGEST_SIZE
    size = int(text) if is_number else -1
    check_size(size)
    return size


def batches_of(
    lines: Iterator[Mapping[str, Any]], dialect: Dialect, scope: Scope
) -> Iterator[Batch]:
    """Yield the rows of `lines` that are in the scope, in batches. Delete markers are left out."""
    made = (dialect.row(said) for said in lines if not said.get("isdeletemarker"))
    rows = filter(scope.has, made)
    while batch := list(islice(rows, BATCH_ROWS)):
        yield as_batch(batch)
