# SPDX-License-Identifier: Apache-2.0
"""Clearance: which reports permit a key's deletion, and the objections to all other reports."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from s3crypt.kms import Clearance

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER = "arn:aws:kms:eu-west-1:111122223333:key/00000000-12ab-34cd-56ef-1234567890ab"
CLEAR = Clearance(
    key_arn=ARN,
    account="111122223333",
    made=NOW - timedelta(hours=1),
    covers_account=True,
    is_sampled=False,
    unknown=0,
    dependents=0,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"made": NOW},
        {"made": NOW - timedelta(hours=24)},
        {"made": NOW + timedelta(minutes=5)},
    ],
)
def test_a_whole_report_without_dependents_clears_a_key(changes: dict[str, Any]) -> None:
    """A report permits a key's deletion if it is complete, recent and without dependents.

    It must be at most 24 hours old, must cover every bucket, and must not be a sample.
    """
    assert replace(CLEAR, **changes).objections(ARN, NOW) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key_arn": OTHER}, "another key"),
        ({"key_arn": ARN.replace("eu-west-1", "eu-west-2")}, "another key"),
        ({"account": "444455556666"}, "covers the account 444455556666"),
        ({"made": NOW - timedelta(hours=24, seconds=1)}, "24.1 hours old"),
        ({"made": NOW - timedelta(days=3)}, "72.0 hours old"),
        ({"made": NOW + timedelta(minutes=6)}, "in the future"),
        ({"is_sampled": True}, "only a sample"),
        ({"covers_account": False}, "every bucket"),
        ({"unknown": 1}, "could not read 1 item"),
        ({"unknown": 2}, "could not read 2 items"),
        ({"dependents": 1}, "found 1 dependent that only"),
        ({"dependents": 12345}, "found 12,345 dependents that only"),
    ],
)
def test_any_other_report_does_not(changes: dict[str, Any], words: str) -> None:
    """Each defect of a report causes one objection, which names the defect."""
    (objection,) = replace(CLEAR, **changes).objections(ARN, NOW)
    assert words in objection


def test_every_objection_is_told() -> None:
    """A report with several defects has an objection for each defect."""
    worst = Clearance(OTHER, "444455556666", NOW - timedelta(days=2), False, True, 3, 4)
    assert len(worst.objections(ARN, NOW)) == 7
