# SPDX-License-Identifier: Apache-2.0
"""The evidence that no object depends on a key. A scheduled deletion requires it.

A report on the objects of an account provides the evidence. This module only decides whether the
evidence is sufficient: it makes no request and does not know objects.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_CLEARANCE_AGE = timedelta(hours=24)
"""The maximum age of a report. An older report does not show objects that were written since."""
# The clocks of two machines may differ by this much.
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Clearance:
    """The summary of a report on what would become unreadable without a key.

    Attributes:
        key_arn: The ARN of the key that the report is about.
        account: The account whose buckets the report covers.
        made: The time at which the report's walk began, with a time zone. Changes after it may be
            missing from the report.
        covers_account: Whether every bucket of the account was examined.
        is_sampled: Whether only a sample of the objects was examined.
        unknown: The number of buckets, objects and settings that could not be examined.
        dependents: The number of objects, versions, uploads and settings that depend on the key
            alone.
    """

    key_arn: str
    account: str
    made: datetime
    covers_account: bool
    is_sampled: bool
    unknown: int
    dependents: int

    def objections(self, arn: str, now: datetime) -> tuple[str, ...]:
        """Return the reasons why the report does not permit the deletion of a key.

        An empty tuple means that the report permits the deletion.

        Args:
            arn: The ARN of the key that is to be deleted.
            now: The present time, with a time zone.
        """
        age = now - self.made
        found = (
            (self.key_arn != arn, f"it is about another key, {self.key_arn}"),
            (
                self.account != arn.split(":")[4],
                f"it covers the account {self.account}, not the key's account",
            ),
            (age > MAX_CLEARANCE_AGE, f"it is {_hours(age)} hours old; the maximum is 24"),
            (age < -_CLOCK_SKEW, f"its time lies in the future: {self.made.isoformat()}"),
            (self.is_sampled, "it checked only a sample"),
            (not self.covers_account, "it does not cover every bucket of the account"),
            (self.unknown > 0, f"it could not read {_counted(self.unknown, 'item')}"),
            (
                self.dependents > 0,
                f"it found {_counted(self.dependents, 'dependent')} that only this key opens",
            ),
        )
        return tuple(reason for is_so, reason in found if is_so)


def _hours(age: timedelta) -> str:
    # An age of 24.01 hours is shown as 24.1, because "24 hours old, and 24 are the most" would be a
    # contradiction.
    return f"{max(age.total_seconds() / 3600, 24.1):,.1f}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
