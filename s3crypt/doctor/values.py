# SPDX-License-Identifier: Apache-2.0
"""What is diagnosed and what was found: frozen values, and the conclusion drawn from them.

Nothing here makes a request.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from s3crypt.location import Location
    from s3crypt.modes import Mode

Purpose: TypeAlias = Literal["put", "get", "rotate"]


class Outcome(StrEnum):
    """The result of one check."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Area(StrEnum):
    """The part of a set-up that a check is about, and that a fault is in."""

    CREDENTIALS = "credentials"
    NETWORK = "network"
    CLOCK = "clock"
    REGION = "Region"
    S3 = "S3"
    OBJECT = "object state"
    POLICY = "policy"
    KEY = "key state"
    KMS = "KMS"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of one check.

    Attributes:
        name: The check, such as `bucket policy`; several diagnoses may have the same name.
        outcome: `unknown` where the check could not see what it looks for; never `ok` then.
        area: The part of the set-up that the fault is in.
        seen: What the check saw, in one sentence without a period.
        next: The next command, or the next step in words; empty where nothing is to be done.
    """

    name: str
    outcome: Outcome
    area: Area
    seen: str
    next: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What fails: the operation, the object, and the requested encryption.

    Attributes:
        purpose: The operation that fails.
        location: The object, or the bucket alone; None for a diagnosis of this machine.
        mode: The mode that the operation was given, or None.
        keys: The key references that it was given, as on the command line.
    """

    purpose: Purpose = "get"
    location: "Location | None" = None
    mode: "Mode | None" = None
    keys: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether the operation writes an object."""
        return self.purpose != "get"

    @property
    def reads(self) -> bool:
        """Whether the operation reads an object."""
        return self.purpose != "put"


def cause_of(diagnoses: Iterable[Diagnosis]) -> Diagnosis | None:
    """Return the first cause: the first check that found a fault, or None.

    The checks run from the machine outwards, so that a fault is found before its consequences.
    """
    return next((each for each in diagnoses if each.outcome is Outcome.WRONG), None)
