# SPDX-License-Identifier: Apache-2.0
"""s3crypt's policy decisions compared with those of iam-simulate, which only the tests use."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "policy_oracle"))

import compare
import simulator
from generator import questions
from subjects import by_hand, generated

from s3crypt.policy import Verdict

pytestmark = pytest.mark.skipif(bool(simulator.missing()), reason=str(simulator.missing()))


def test_decisions_are_the_simulators() -> None:
    """s3crypt and iam-simulate give the same decision or a known difference.

    Each generated policy is tested with 20 requests.
    """
    subjects = [*generated(), *by_hand()]
    found = list(compare.comparisons(subjects, 20, seed=1))
    assert [each.subject for each in found] == [each.name for each in subjects]
    assert not [each.unexplained for each in found if each.unexplained]
    agreed = sum((each.agreed for each in found), Counter[Verdict]())
    # The requests must be neither mostly allowed nor mostly denied, and few decisions may differ.
    assert min(agreed[Verdict.ALLOWED], agreed[Verdict.DENIED]) > 200
    assert sum(len(each.different) for each in found) < 30


def test_a_wrong_decision_is_found() -> None:
    """If all verdicts are wrongly "allowed", the comparison reports unexplained differences."""
    subject = next(each for each in generated() if each.name == "lenient bucket")
    known = simulator.actions("s3", "kms")
    asked = questions(subject, known, 50, 1)
    wrong = [simulator.Answer(Verdict.ALLOWED)] * len(asked)
    assert compare._compared(subject, zip(asked, wrong, strict=True)).unexplained
