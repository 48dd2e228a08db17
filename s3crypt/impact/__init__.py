# SPDX-License-Identifier: Apache-2.0
"""Find the objects, versions and bytes that can be decrypted only with one given KMS key.

    from s3crypt.impact import find_dependents

    report = find_dependents("alias/reports", ["s3://acme/"])
    print(report.only.versions, report.only.stored_bytes, report.undecided)

The walk lists all versions of objects and examines each version: S3's reply, and the header of a
client-side object. It also reads settings of buckets. It sends only requests that read, and never
asks KMS to unwrap a data key.
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

    A bucket that vanishes during the walk, or a damaged inventory, becomes a failure in the report.
    An object that the caller has no permission to examine is counted as unknown; it is never left
    out.

    Args:
        key: A key id, a key ARN or `alias/NAME`.
        uris: The URIs of buckets, or of prefixes that end with a slash.
        account: Whether to examine every bucket of the caller's account, and its table buckets and
            vector buckets.
        session: The boto3 session. None for boto3's default session.
        options: The options of the walk, such as inventories and a sample size; see `Options`.

    Raises:
        ConfigError: The arguments contradict each other, or there are no credentials.
        KeyUnavailableError: The key does not exist, or it cannot encrypt objects.
        ObjectNotFoundError: A bucket in `uris` does not exist.
        StorageError: S3 refuses to list the buckets of the account, or the journal cannot be
            written.
    """
    return Walk(key, uris, account, session, options).report()
