# SPDX-License-Identifier: Apache-2.0
"""Three truth values: a part of a policy holds, does not hold, or is not understood."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """The third truth value: it is unknown whether a part of a policy holds.

    Attributes:
        reason: The text, element or key that is not understood, as the end of a sentence.
    """

    reason: str


Truth: TypeAlias = bool | NotUnderstood


def conjunction(truths: Iterable[Truth]) -> Truth:
    """Return whether all truths hold: False if any is False, even if another is not understood."""
    unclear: Truth = True
    for each in truths:
        if each is False:
            return False
        if unclear is True:
            unclear = each
    return unclear


def disjunction(truths: Iterable[Truth]) -> Truth:
    """Return whether any truth holds: True if any is True, even if another is not understood."""
    unclear: Truth = False
    for each in truths:
        if each is True:
            return True
        if unclear is False:
            unclear = each
    return unclear


def negation(truth: Truth) -> Truth:
    """Return the opposite truth. A value that is not understood is returned unchanged."""
    return truth if isinstance(truth, NotUnderstood) else not truth
