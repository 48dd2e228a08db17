# SPDX-License-Identifier: Apache-2.0
"""The objects, versions and bytes whose only way in is one KMS key.

    from s3crypt.impact import find_dependents

    report = find_dependents("alias/reports", ["s3://acme/"])
    print(report.only.versions, report.only.stored_bytes, report.undecided)

The walk lists all versions of objects and looks at each: at S3's reply, and at the header of a
client-side object. It reads settings too. It sends only requests that read, and never asks KMS to
unwrap a data key.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from .documents import document_of, read_report
from .report import (
    Counts,
    Dependent,
    Failure,
    Group,
    NotLookedAt,
    Range,
    Report,
    Sampled,
    Scope,
    Setting,
    Unknown,
)
from .target import Target
from .walk import Options, Walk

if TYPE_CHECKING:
    import boto3

__all__ = [
    "Counts",
    "Dependent",
    "Failure",
    "Group",
    "NotLookedAt",
    "Options",
    "Range",
    "Report",
    "Sampled",
    "Scope",
    "Setting",
    "Target",
    "Unknown",
    "document_of",
    "find_dependents",
    "read_report",
]


def find_dependents(
    key: str,
    uris: Sequence[str] = (),
    *,
    account: bool = False,
    session: "boto3.Session | None" = None,
    **options: Unpack[Options],
) -> Report:
    """Return the report on the objects and settings that depend on a key.

    A bucket that vanishes, or an inventory that is damaged, is a failure in the report. An object
    that the caller may not look at is unknown in the report, never left out.

    Args:
        key: A key id, a key ARN or `alias/NAME`.
        uris: The URIs of buckets, or of prefixes that end with a slash.
        account: Look at every bucket of the caller's account, at its table buckets and its vector
            buckets.
        session: The boto3 session; by default boto3's default session.
        options: The source of the objects, a sample, and how the walk is carried out.

    Raises:
        ConfigError: The arguments contradict each other, or there are no credentials.
        KeyUnavailableError: KMS knows no such key, or the key cannot encrypt objects.
        ObjectNotFoundError: One of the named buckets does not exist.
        StorageError: S3 refuses to list the buckets of the account, or the journal fails.
    """
    return Walk(key, uris, account, session, options).report()
