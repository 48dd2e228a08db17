# SPDX-License-Identifier: Apache-2.0
"""Findings of one resource, made in few words. Nothing here judges."""

from dataclasses import dataclass
from datetime import datetime

from s3crypt.unseen import Unseen

from .controls import CONTROLS
from .values import Finding, Fix, Resource, Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A resource whose findings are made.

    Attributes:
        resource: The resource.
    """

    resource: Resource

    def passes(self, control: str, seen: str, *, cause: str = "") -> Finding:
        """Return the finding that a control passes."""
        return Finding(CONTROLS[control], self.resource, Verdict.PASS, seen, cause)

    def fails(
        self,
        control: str,
        seen: str,
        *,
        fix: str | None = None,
        since: datetime | None = None,
        cause: str = "",
    ) -> Finding:
        """Return the finding that a control fails; `fix` is the line of a shell that mends it."""
        mended = None if fix is None else Fix("command", fix)
        return Finding(
            CONTROLS[control], self.resource, Verdict.FAIL, seen, cause, since=since, fix=mended
        )

    def unknown(self, control: str, unseen: Unseen, *, cause: str = "") -> Finding:
        """Return the finding that a control could not be judged."""
        actions = (unseen.action,) if unseen.is_refused and unseen.action else ()
        return Finding(
            CONTROLS[control],
            self.resource,
            Verdict.UNKNOWN,
            unseen.reason,
            cause,
            missing_actions=actions,
        )
