# SPDX-License-Identifier: Apache-2.0
"""The last use of a key, as GetKeyLastUsage returns it.

This module must not know how uses are recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .calls import key_of

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

    from .calls import Call

# KMS began to record last uses in April 2026, so earlier uses are unknown.
TRACKED_SINCE = datetime(2026, 4, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Use:
    """The last successful cryptographic operation with a key."""

    operation: str
    moment: float
    event_id: str
    request_id: str


def last_use(moto: Moto, call: Call) -> dict[str, Any]:
    """Return the reply about a key's last use. KeyLastUsage is empty if the key was never used."""
    key = key_of(moto, call)
    use: Use | None = getattr(key, "s3crypt_last_use", None)
    last = {} if use is None else _usage(use)
    return {
        "KeyId": key.arn,
        "KeyLastUsage": last,
        "TrackingStartDate": max(TRACKED_SINCE, key.creation_date),
        "KeyCreationDate": key.creation_date,
    }


def _usage(use: Use) -> dict[str, Any]:
    return {
        "Operation": use.operation,
        "Timestamp": use.moment,
        "CloudTrailEventId": use.event_id,
        "KmsRequestId": use.request_id,
    }
