# SPDX-License-Identifier: Apache-2.0
"""The values of a diagnosis: the failing operation, the results, and the first cause.

This module makes no requests.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from s3crypt.location import Location
    from s3crypt.modes import Mode

Purpose: TypeAlias = Literal["put", "get", "rotate"]
"""The call that fails, or will be made."""


class Outcome(StrEnum):
    """The result of one check."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Area(StrEnum):
    """The part of a set-up that a check examines, or in which a fault is."""

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
        name: The name of the check, such as `bucket policy`. Several diagnoses may have the same
            name.
        outcome: The result. It is `unknown`, never `ok`, if the check could not read the setting
            that it examines.
        area: The part of the set-up that the check examined, or in which the fault is.
        seen: The check's observation, in one sentence without a period.
        next: The command to run next, or the next step in words. Empty if nothing needs to be done.
    """

    name: str
    outcome: Outcome
    area: Area
    seen: str
    next: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The failing operation with its object and the requested encryption.

    Attributes:
        purpose: The operation that fails.
        location: The object, or the bucket alone; None for a diagnosis of this machine.
        mode: The mode that was given to the operation, or None.
        keys: The key references that were given to the operation, as on the command line.
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
    """Return the first cause, which is the first diagnosis of a fault, or None.

    The checks run from this machine outwards, so a fault is found before its consequences.
    """
    return next((each for each in diagnoses if each.outcome is Outcome.WRONG), None)
