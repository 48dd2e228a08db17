# SPDX-License-Identifier: Apache-2.0
"""S3 Inventory reports: the manifest and its parts, fetched and verified.

    manifest.json       source bucket, time, format, columns, and each part with its size and MD5
    manifest.checksum   the MD5 of manifest.json, in hex

The schema of the report defines the order of the columns. A part is fetched to a temporary file,
and its MD5 is verified before a row is read. The MD5 detects damage, not forgery: any principal
with write access to the destination bucket can write a report. The module `rows` reads the rows.
This module does not judge the objects.

Layout: https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
"""

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Literal, TypeAlias, cast

from s3crypt.errors import ConfigError, FormatError, IntegrityError, StorageError
from s3crypt.location import Location
from s3crypt.objects.access import Objects
from s3crypt.objects.opened import ReadOptions

Format: TypeAlias = Literal["CSV", "ORC", "Parquet"]

_MAX_MANIFEST_LENGTH = 64 * 2**20
_LONGEST_NAME = 1024
# A manifest may seem older than its creation time by this much: the clocks of S3's servers differ,
# and `LastModified` is in whole seconds.
_SLACK = timedelta(minutes=5)
_HEX_MD5 = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a report.

    Attributes:
        key: The file's name in the destination bucket.
        size: The file's size in bytes.
        md5: The MD5 of the stored file, in hex.
    """

    key: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a report. Its checksum has been verified.

    Attributes:
        location: The bucket and name of the manifest.
        source: The bucket that was listed.
        created: The time at which S3 began to list the bucket.
        format: The format of the parts.
        columns: The columns of a CSV part, in order. Empty for ORC and Parquet, whose parts contain
            their schema.
        parts: The parts.
    """

    location: Location
    source: str
    created: datetime
    format: Format
    columns: tuple[str, ...]
    parts: tuple[Part, ...]


def read_manifest(objects: Objects, uri: str) -> Manifest:
    """Return a report's manifest after verifying its MD5 against `manifest.checksum`.

    Raises:
        ConfigError: The URI does not end in `/manifest.json`.
        ObjectNotFoundError: The manifest does not exist.
        IntegrityError: The MD5 differs, `manifest.checksum` cannot be read, or the manifest was
            stored before the creation time that it states.
        FormatError: This version cannot read the manifest.
    """
    location = Location.parse_object(uri)
    folder, _, file = location.name.rpartition("/")
    if file != "manifest.json":
        raise ConfigError(
            f"{uri} is not the manifest of an S3 Inventory report.",
            hint="Give s3://BUCKET/.../YYYY-MM-DDTHH-MMZ/manifest.json.",
        )
    text, stored = _small(objects, location)
    beside = Location(location.bucket, f"{folder}/manifest.checksum")
    try:
        checksum = _small(objects, beside)[0].decode("ascii", "replace").strip().lower()
    except StorageError as error:
        raise IntegrityError(f"{uri}: its manifest.checksum cannot be read") from error
    if hashlib.md5(text, usedforsecurity=False).hexdigest() != checksum:
        raise IntegrityError(f"{uri}: its MD5 is not the one in manifest.checksum")
    manifest = _parsed(location, text)
    if stored is not None and stored + _SLACK < manifest.created:
        raise IntegrityError(f"{uri}: it was stored at {stored:%Y-%m-%d}, before the time it says")
    return manifest


def _small(objects: Objects, location: Location) -> tuple[bytes, datetime | None]:
    """Return the bytes of a small object, and the time at which it was stored if S3 states it.

    Raises FormatError if the object is longer than the limit for manifests.
    """
    target = _Limited(io.BytesIO(), _MAX_MANIFEST_LENGTH)
    info = objects.fetch(location, ReadOptions(None), cast("BinaryIO", target))
    return target.file.getvalue(), info.last_modified


class _Limited(io.RawIOBase):
    """An in-memory file that raises a FormatError if a write would exceed a limit."""

    def __init__(self, file: io.BytesIO, limit: int) -> None:
        super().__init__()
        self.file = file
        self._limit = limit

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.file.tell() + len(data) > self._limit:
            raise FormatError(f"It is longer than {self._limit} bytes.")
        return self.file.write(data)


def _parsed(location: Location, text: bytes) -> Manifest:
    try:
        said = json.loads(text)
        created = datetime.fromtimestamp(int(said["creationTimestamp"]) / 1000, UTC)
        parts = tuple(
            Part(str(each["key"]), int(each["size"]), str(each["MD5checksum"]).lower())
            for each in said["files"]
        )
        source, kind, schema = str(said["sourceBucket"]), said["fileFormat"], said["fileSchema"]
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError) as error:
        raise FormatError(f"{location}: it is no manifest of S3 Inventory") from error
    formats: dict[str, Format] = {"csv": "CSV", "orc": "ORC", "parquet": "Parquet"}
    found = formats.get(str(kind).lower())
    if found is None:
        raise FormatError(f"{location}: its format {str(kind)[:40]!r} is not known")
    if not all(_HEX_MD5.fullmatch(part.md5) for part in parts):
        raise FormatError(f"{location}: a part has no MD5")
    if not all(_is_name(part.key) for part in parts):
        raise FormatError(f"{location}: a part has a name that no object can have")
    columns: tuple[str, ...] = ()
    if found == "CSV":
        columns = tuple(plain(name) for name in str(schema).split(","))
        if "key" not in columns:
            raise FormatError(f"{location}: it has no column of names")
    return Manifest(location, source, created, found, columns, parts)


def _is_name(text: str) -> bool:
    """Return whether S3 accepts a text as an object's name: 1 to 1024 bytes of UTF-8."""
    try:
        return 0 < len(text.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:
        return False


def plain(column: str) -> str:
    """Return a column's name without underscores and in lower case, such as `encryptionstatus`.

    The formats spell the column names differently. The result is the same for all formats.
    """
    return column.strip().replace("_", "").lower()


@contextmanager
def opened_part(objects: Objects, manifest: Manifest, part: Part) -> Iterator[BinaryIO]:
    """Yield a part as a temporary file after verifying its size and MD5 against the manifest.

    Raises:
        ObjectNotFoundError: The part is missing.
        IntegrityError: The size or the MD5 differs, or the part is older than the manifest.
    """
    # The destination bucket in the manifest is ignored, because the manifest of a copied report
    # still names the original bucket.
    location = Location(manifest.location.bucket, part.key)
    with tempfile.TemporaryFile() as file:
        target = _Hashed(file)
        info = objects.fetch(location, ReadOptions(None), cast("BinaryIO", target))
        if target.length != part.size or target.md5 != part.md5:
            raise IntegrityError(f"{part.key}: its size or MD5 is not the manifest's")
        if info.last_modified and info.last_modified + _SLACK < manifest.created:
            raise IntegrityError(f"{part.key}: it is older than the manifest says")
        file.seek(0)
        yield file


class _Hashed(io.RawIOBase):
    """A target that counts and hashes the bytes written to it, and passes them to a file."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.length = 0
        self._file = file
        self._md5 = hashlib.md5(usedforsecurity=False)

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._md5.update(data)
        count = self._file.write(data)
        self.length += count
        return count
