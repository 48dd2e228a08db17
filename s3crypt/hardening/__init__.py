# SPDX-License-Identifier: Apache-2.0
"""The creation and hardening of buckets: `s3crypt bucket init` and `s3crypt bucket harden`.

`looking` reads the present state, `decisions` plans the changes without a request, and `mechanisms`
makes the changes. All requests about the configuration of buckets are made in `s3crypt.buckets`.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from s3crypt.errors import ConflictError

from .decisions import plan_of
from .looking import look
from .mechanisms import carry_out
from .services import Services
from .values import (
    KEY_ACTS,
    OBSTACLES,
    Change,
    CreateBucket,
    Obstacle,
    Plan,
    Shortfall,
    Wanted,
)

if TYPE_CHECKING:
    import boto3

__all__ = ["OBSTACLES", "BucketManager", "Change", "Obstacle", "Plan", "Shortfall", "Wanted"]


class BucketManager:
    """Plan the changes that harden a bucket, and make them.

    Args:
        session: boto3 session from which clients are created; by default boto3's default session.
        allow_plain_http: Allow requests over plain HTTP to other machines.

    Raises from every method:
        ConfigError: The wanted state contradicts the present state. Nothing was changed.
        KeyUnavailableError: KMS refused. StorageError: Another service refused or failed.
    """

    def __init__(
        self, *, session: "boto3.Session | None" = None, allow_plain_http: bool = False
    ) -> None:
        self._services = Services(session, allow_plain_http=allow_plain_http)

    def plan(self, wanted: Wanted) -> Plan:
        """Return the changes that bring a bucket to the wanted state.

        This method changes nothing.
        """
        return plan_of(look(self._services, wanted), wanted)

    def make(self, wanted: Wanted, plan: Plan) -> Iterator[Change]:
        """Make the changes of a plan in their order. Yield each change after it was made.

        The bucket's state is read again before the first change, and after the creation of a key,
        because later changes contain the key's ARN. Only changes of `plan` are made. An error in
        the middle has a note that lists the changes that were made and the changes that were not
        made. To continue, make a new plan and run it.

        Raises:
            ConflictError: Another administrator changed the bucket in the meantime, and it now
                needs a change that is not in the plan.
        """
        made: list[Change] = []
        try:
            while changes := self._agreed(wanted, plan, made):
                for change in _round(changes):
                    undo = carry_out(change.act, self._services)
                    made.append(replace(change, undo=undo or change.undo))
                    yield made[-1]
        except (Exception, KeyboardInterrupt) as error:
            error.add_note(_told(made, plan))
            raise

    def _agreed(self, wanted: Wanted, plan: Plan, made: list[Change]) -> tuple[Change, ...]:
        """Return the remaining changes for the bucket's present state.

        Refuse changes that are not in the plan.
        """
        changes = self.plan(wanted).changes
        agreed = {change.identity for change in plan.changes}
        agreed -= {change.identity for change in made}
        if any(change.identity not in agreed for change in changes):
            raise ConflictError(
                f"s3://{wanted.bucket}: the bucket needs more changes than the plan shows.",
                hint=(
                    "Another caller changed the bucket meanwhile. Run the command again, and "
                    "check the changes."
                ),
            )
        return changes


def _round(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Return the changes to make before the bucket's state is read again."""
    first = changes[0].act
    if isinstance(first, CreateBucket):
        return tuple(takewhile(lambda each: isinstance(each.act, CreateBucket), changes))
    return changes[:1] if isinstance(first, KEY_ACTS) else changes


def _told(made: list[Change], plan: Plan) -> str:
    """Return the note for an error: the changes that were made, and those that were not made."""
    done = {change.identity for change in made}
    open_ = [each for each in plan.changes if each.identity not in done]
    return (
        f"{len(made)} of {len(plan.changes)} changes were made: {_names(made)}. Not made: "
        f"{_names(open_)}. Run the command again to make the rest."
    )


def _names(changes: list[Change]) -> str:
    return ", ".join(f"{each.name} of {each.subject}" for each in changes) or "none"
