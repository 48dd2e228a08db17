# SPDX-License-Identifier: Apache-2.0
"""The rows of a report, one per version of an object, and the counts of a batch of rows.

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

# An object in S3 has at most 50 TB, so the sum of a batch's sizes stays below 2**63.
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
        version_id: The version id. None if the report lists only current versions.
        is_latest: Whether the report says, or implies, that this is the current version.
        etag: The ETag in quotes, as S3's replies contain it. Empty if the report has no ETags.
        storage_class: The storage class. Empty if the report has no storage classes.
        status: The encryption status in the report's spelling. None if the report has no encryption
            statuses.
        size: The size in bytes. None if the report has no sizes.
        kms_key: The ARN of the KMS key of the server-side encryption. None if the report does not
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
    """The selection of rows that the caller wants from a report.

    Attributes:
        prefix: The prefix of the wanted objects' names. Empty for all names.
        bucket: The wanted bucket. None for every bucket in the report.
    """

    prefix: str = ""
    bucket: str | None = None

    def has(self, row: Row) -> bool:
        """Return whether a row has the wanted prefix and the wanted bucket."""
        return row.name.startswith(self.prefix) and self.bucket in (None, row.bucket)


@dataclass(frozen=True, slots=True)
class Group:
    """A combination of bucket, encryption status and KMS key. `Row` describes the attributes."""

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
    """The columns that a report must have, and the meaning of the values that it omits.

    Attributes:
        bucket: The bucket of all rows. None if the report has a column with the bucket.
        status: The meaning of an empty encryption status.
        is_latest: Whether a version counts as the current version if the report has no such column.
        needed: The `plain` names of the columns without which the report cannot be used.
    """

    bucket: str | None = None
    status: str | None = None
    is_latest: bool = True
    needed: tuple[str, ...] = ("key",)

    def check(self, columns: Collection[str]) -> None:
        """Raise a FormatError if the report cannot be used with columns of these `plain` names."""
        if missing := [name for name in self.needed if name not in columns]:
            raise FormatError(f"it has no column {_SPELLED.get(missing[0], missing[0])}")
        if len(set(columns)) < len(columns):
            raise FormatError("a column is there twice")
        # A journal table has one row per change. Old changes of an object would count as objects.
        if "recordtype" in columns:
            raise FormatError("it is of a journal table, not of an inventory table")

    def row(self, said: Mapping[str, Any]) -> Row:
        """Return the row with these values. The keys of `said` are `plain` names of columns."""
        etag = (said.get("etag") or "").strip('"')
        is_latest = self.is_latest if said.get("islatest") is None else said["islatest"]
        return Row(
            bucket=self.bucket if self.bucket is not None else said["bucket"],
            name=said["key"],
            # In a report, the null version has an empty version id.
            version_id=(said["versionid"] or "null") if "versionid" in said else None,
            is_latest=is_latest,
            etag=f'"{etag}"' if etag else "",
            storage_class=said.get("storageclass") or "",
            status=self.status_of(said["encryptionstatus"]) if "encryptionstatus" in said else None,
            size=said.get("size"),
            kms_key=said.get("kmskeyarn") or None,
        )

    def status_of(self, value: str | None) -> str | None:
        """Return the encryption status for a value of the status column, which may be empty."""
        return value or self.status


class Batch(Protocol):
    """Rows of a report. Delete markers are left out."""

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
    """Raise a FormatError if S3 cannot store an object of this size in bytes."""
    if size not in _SIZES:
        raise FormatError("a size is not one that S3 writes")


def mode_of(status: str | None) -> str | None:
    """Return the server-side mode for an encryption status.

    The result is None for an unencrypted object, and `unknown` for a status that this version does
    not know.
    """
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
