# SPDX-License-Identifier: Apache-2.0
"""The rows of a report, one per version of an object, and what a batch of them counts.

A batch counts its rows by encryption status and by KMS key. This module reads no file.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from s3crypt.errors import FormatError
from s3crypt.objects.sightings import UNSEEN

from .bounds import Sizes

BATCH_ROWS = 2**16
"""The maximum number of rows in memory at once."""

FLAGS = frozenset({"islatest", "isdeletemarker"})
"""The `plain` names of the columns of truth values that are read."""

# An object of S3 has 50 TB at most. The sizes of a batch have a sum below 2**63.
_SIZES = range(2**47)

UNENCRYPTED = "NOT-SSE"
"""The encryption status of an object without server-side encryption."""

_MODES = {
    "SSE-S3": "sse-s3",
    "SSE-KMS": "sse-kms",
    "DSSE-KMS": "dsse-kms",
    "SSE-C": "sse-c",
    UNENCRYPTED: None,
}


_SPELLED = {
    "versionid": "version_id",
    "isdeletemarker": "is_delete_marker",
    "encryptionstatus": "encryption_status",
    "kmskeyarn": "kms_key_arn",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a report: one version of an object.

    Attributes:
        bucket: The object's bucket.
        name: The object's name.
        version_id: The version; None in a report of current versions only.
        is_latest: Whether the version is known to have been the current one.
        etag: The ETag, in quotes as in S3's replies; empty if the report does not contain it.
        storage_class: The storage class; empty if the report does not contain it.
        status: The encryption status in the report's spelling; None if the report does not contain
            it.
        size: The size in bytes; None if the report does not contain it.
        kms_key: The ARN of the KMS key of the server-side encryption; None if the report does not
            contain it. S3 Inventory never contains it.
    """

    bucket: str
    name: str
    version_id: str | None
    is_latest: bool
    etag: str
    storage_class: str
    status: str | None
    size: int | None = None
    kms_key: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows of a report that are wanted.

    Attributes:
        prefix: The beginning of the objects' names.
        bucket: The bucket; None for every bucket in the report.
    """

    prefix: str = ""
    bucket: str | None = None

    def has(self, row: Row) -> bool:
        """Return whether a row is wanted."""
        return row.name.startswith(self.prefix) and self.bucket in (None, row.bucket)


@dataclass(frozen=True, slots=True)
class Group:
    """The properties that the rows of a group share, as in `Row`."""

    bucket: str
    status: str | None
    kms_key: str | None


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of rows and the bytes of their objects.

    Attributes:
        count: The number of rows.
        size: The sum of the known sizes, in bytes.
        unsized: The number of rows whose size the report does not contain.
    """

    count: int = 0
    size: int = 0
    unsized: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        count, size = self.count + other.count, self.size + other.size
        return Amount(count, size, self.unsized + other.unsized)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The columns that a report must have, and what it means by a value that it leaves out.

    Attributes:
        bucket: The bucket of all rows; None if a column names it.
        status: The meaning of an empty encryption status.
        is_latest: Whether the version is the current one if no column says so.
        needed: The `plain` names of the columns without which the report cannot be used.
    """

    bucket: str | None = None
    status: str | None = None
    is_latest: bool = True
    needed: tuple[str, ...] = ("key",)

    def check(self, columns: Collection[str]) -> None:
        """Raise a FormatError if columns with these `plain` names are not those of the report."""
        if missing := [name for name in self.needed if name not in columns]:
            raise FormatError(f"it has no column {_SPELLED.get(missing[0], missing[0])}")
        if len(set(columns)) < len(columns):
            raise FormatError("a column is there twice")
        # A journal has a row per change. An object's older rows would count as objects.
        if "recordtype" in columns:
            raise FormatError("it is of a journal table, not of an inventory table")

    def row(self, said: Mapping[str, Any]) -> Row:
        """Return a row from values under `plain` names."""
        etag = (said.get("etag") or "").strip('"')
        is_latest = self.is_latest if said.get("islatest") is None else said["islatest"]
        return Row(
            bucket=self.bucket if self.bucket is not None else said["bucket"],
            name=said["key"],
            # In a report, the version id of the null version is an empty field.
            version_id=(said["versionid"] or "null") if "versionid" in said else None,
            is_latest=is_latest,
            etag=f'"{etag}"' if etag else "",
            storage_class=said.get("storageclass") or "",
            status=self.status_of(said["encryptionstatus"]) if "encryptionstatus" in said else None,
            size=said.get("size"),
            kms_key=said.get("kmskeyarn") or None,
        )

    def status_of(self, value: str | None) -> str | None:
        """Return the encryption status that a value of its column means."""
        return value or self.status


class Batch(Protocol):
    """Rows of a report, without delete markers."""

    @property
    def count(self) -> int:
        """The number of rows."""
        ...

    def statuses(self) -> Mapping[str | None, int]:
        """Return the number of rows per encryption status."""
        ...

    def groups(self) -> Mapping[Group, Amount]:
        """Return the number of rows and bytes per bucket, encryption status and KMS key."""
        ...

    def sizes(self) -> Sizes:
        """Return the histogram of the sizes that the report contains."""
        ...

    def rows(self) -> Iterator[Row]:
        """Yield all rows, in order."""
        ...

    def of_status(self, status: str | None) -> Iterator[Row]:
        """Yield the rows with this encryption status, in order."""
        ...

    def of_group(self, group: Group) -> Iterator[Row]:
        """Yield the rows of a group, in order."""
        ...

    def take(self, indices: Sequence[int]) -> Iterator[Row]:
        """Yield the rows at these indices."""
        ...


def check_size(size: int) -> None:
    """Raise a FormatError unless an object can have this size in bytes."""
    if size not in _SIZES:
        raise FormatError("a size is not one that S3 writes")


def mode_of(status: str | None) -> str | None:
    """Return the server-side mode of an encryption status, None for no encryption, or `unknown`."""
    return _MODES.get((status or "").upper(), UNSEEN)


def as_batch(rows: Sequence[Row]) -> Batch:
    """Return rows as a batch."""
    return _Rows(rows)


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

    def groups(self) -> Mapping[Group, Amount]:
        found: dict[Group, Amount] = {}
        for row in self._rows:
            amount = Amount(1, row.size or 0, row.size is None)
            group = _group_of(row)
            found[group] = found.get(group, Amount()) + amount
        return found

    def sizes(self) -> Sizes:
        return Sizes.of(row.size for row in self._rows if row.size is not None)

    def rows(self) -> Iterator[Row]:
        return iter(self._rows)

    def of_status(self, status: str | None) -> Iterator[Row]:
        return (row for row in self._rows if row.status == status)

    def of_group(self, group: Group) -> Iterator[Row]:
        return (row for row in self._rows if _group_of(row) == group)

    def take(self, indices: Sequence[int]) -> Iterator[Row]:
        return (self._rows[index] for index in indices)


def _group_of(row: Row) -> Group:
    return Group(row.bucket, row.status, row.kms_key)
