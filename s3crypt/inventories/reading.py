# SPDX-License-Identifier: Apache-2.0
"""The rows of all parts of an S3 Inventory report. After an unreadable part, reading continues."""

from collections.abc import Iterator
from dataclasses import dataclass

from s3crypt.aws_errors import http_status
from s3crypt.errors import (
    FormatError,
    IntegrityError,
    ObjectNotFoundError,
    S3CryptError,
    StorageError,
)
from s3crypt.objects.access import Objects

from .batch import Batch
from .manifest import Manifest, opened_part
from .rows import batches


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part that could not be read. Some or all of its rows are missing.

    Attributes:
        part: The part's file name.
        why: The reason, as a clause without a subject's name.
        is_damaged: Whether the checksum or the format of the part is wrong. If False, the part is
            missing, or S3 refused the request.
    """

    part: str
    why: str
    is_damaged: bool


def readable_batches(
    objects: Objects, manifest: Manifest, prefix: str
) -> Iterator[Batch | Unreadable]:
    """Yield the rows of all parts, and an `Unreadable` for each part that could not be read.

    Raises:
        StorageError: A request failed for another reason than a missing or a refused part.
        ConfigError: The format needs pyarrow, which is not installed.
    """
    for part in manifest.parts:
        try:
            with opened_part(objects, manifest, part) as file:
                yield from batches(manifest, file, prefix)
        except (FormatError, IntegrityError, StorageError) as error:
            if isinstance(error, StorageError) and not _is_of_part(error):
                raise
            is_missing = isinstance(error, ObjectNotFoundError)
            why = "it is missing" if is_missing else without_subject(error, part.key)
            is_damaged = not isinstance(error, StorageError)
            yield Unreadable(part.key.rpartition("/")[2], why, is_damaged)


def without_subject(error: S3CryptError, subject: str) -> str:
    """Return an error's message without `subject` at its beginning and without the final dot."""
    text = str(error)
    for begin in (subject, f"s3://{subject}"):
        text = text.removeprefix(f"{begin}: ")
    return text.rstrip(".")


def _is_of_part(error: StorageError) -> bool:
    return isinstance(error, ObjectNotFoundError) or http_status(error) == 403
