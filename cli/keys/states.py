# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys enable`, `disable`, `schedule-deletion` and `cancel-deletion`."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from s3crypt.errors import ConfigError

from ..asking import is_agreed, is_terminal, typed
from ..help import DocumentedCommand
from ..options import Settings, common_options, option
from .common import called, day_words, key_argument, manager_of, named, report, tell, yes_option

if TYPE_CHECKING:
    from s3crypt.kms import Clearance, Key

_DYING = ("PendingDeletion", "PendingReplicaDeletion")


@click.command(cls=DocumentedCommand)
@key_argument
@common_options(service="kms")
def enable(settings: Settings, *, key: str) -> None:
    """Enable a disabled key.

    \b
    s3crypt keys enable alias/old
    """
    shown = manager_of(settings).enable(named(key))
    report(settings, shown, f"{shown.arn} is enabled.")


@click.command(cls=DocumentedCommand)
@key_argument
@yes_option
@common_options(service="kms")
def disable(settings: Settings, *, key: str, yes: bool) -> None:
    """Disable a key: no request can use it until it is enabled again.

    Objects that only this key opens are unreadable until then. To count them: `s3crypt keys impact
    KEY --account`.

    \b
    s3crypt keys disable alias/old --yes
    """
    manager = manager_of(settings)
    before = manager.show(named(key))
    if before.state == "Disabled":
        report(settings, before, f"{before.arn} is already disabled.")
        return
    name = called(before)
    tell(settings, f"{before.arn} ({name})" if name != before.arn else before.arn)
    tell(settings, "Objects that only this key opens become unreadable until it is enabled again.")
    tell(settings, f"To count them: s3crypt keys impact {name} --account")
    if is_agreed("Disable the key?", yes=yes):
        shown = manager.disable(before.arn)
        again = f"To enable it again: s3crypt keys enable {name}"
        report(settings, shown, f"{shown.arn} is disabled.", again)
    else:
        report(settings, before, "The key was not changed.")


_SCHEDULE_HELP = """Schedule the deletion of a key. No request can use the key from then on.

After the deletion, no data under the key can ever be read again. So the command requires a report
of the last 24 hours that covers every object of every bucket of the account and found no object
that needs the key. Otherwise you must type the key's name.

\b
s3crypt keys impact alias/old --account --report old.json
s3crypt keys schedule-deletion alias/old --impact-report old.json --yes
"""


@click.command(
    "schedule-deletion",
    cls=DocumentedCommand,
    help=_SCHEDULE_HELP,
    short_help="Schedule the deletion of a key.",
)
@key_argument
@option(
    "--days",
    environment=False,
    type=int,
    default=30,
    show_default=True,
    metavar="DAYS",
    help="The waiting period, 7 to 30 days, in which the deletion can be cancelled.",
)
@option(
    "--impact-report",
    environment=False,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A report of `s3crypt keys impact KEY --account --report FILE` that found nothing.",
)
@option(
    "--without-impact-report",
    environment=False,
    metavar="NAME",
    help="The key's exact name: delete the key although no report clears it.",
)
@yes_option
@common_options(service="kms")
def schedule_deletion(
    settings: Settings,
    *,
    key: str,
    days: int,
    impact_report: Path | None,
    without_impact_report: str | None,
    yes: bool,
) -> None:
    """Schedule the deletion of a key."""
    manager = manager_of(settings)
    before = manager.show(named(key))
    if before.state in _DYING:
        report(settings, before, f"The deletion is already scheduled. {_when(before)}")
        return
    clearance = None if impact_report is None else _clearance(impact_report)
    objections = _objections(before, clearance)
    name = without_impact_report
    if name is None and objections and not yes and is_terminal():
        name = _typed_name(settings, before, objections)
    if name is None and not objections and not is_agreed(_question(before, days), yes=yes):
        report(settings, before, "The key was not changed.")
        return
    shown = manager.schedule_deletion(
        before.arn, days=days, clearance=clearance, confirmed_name=name
    )
    report(
        settings,
        shown,
        f"{shown.arn} is scheduled for deletion. {_when(shown)}",
        f"Until then: s3crypt keys cancel-deletion {shlex.quote(shown.arn)}",
    )


@click.command("cancel-deletion", cls=DocumentedCommand)
@key_argument
@common_options(service="kms")
def cancel_deletion(settings: Settings, *, key: str) -> None:
    """Cancel the scheduled deletion of a key. The key is disabled afterwards.

    \b
    s3crypt keys cancel-deletion alias/old
    """
    manager = manager_of(settings)
    before = manager.show(named(key))
    if before.state not in _DYING:
        report(settings, before, f"{before.arn}: no deletion is scheduled; it is {before.state}.")
        return
    shown = manager.cancel_deletion(before.arn)
    report(
        settings,
        shown,
        f"The deletion of {shown.arn} is cancelled. The key is Disabled.",
        f"To use it again: s3crypt keys enable {called(shown)}",
    )


def _clearance(path: Path) -> "Clearance":
    from s3crypt.impact import read_report  # noqa: PLC0415 - boto3

    return read_report(path).clearance()


def _objections(key: "Key", clearance: "Clearance | None") -> tuple[str, ...]:
    if clearance is None:
        return ("there is no report",)
    return clearance.objections(key.arn, datetime.now(UTC))


def _typed_name(settings: Settings, key: "Key", objections: tuple[str, ...]) -> str:
    """Return the name that the person types to delete a key without a report that clears it."""
    reasons = "; ".join(objections)
    tell(settings, f"No report shows that nothing depends on {key.arn}: {reasons}.")
    tell(settings, "After the deletion, no data under the key can ever be read again.")
    name = typed(f"Type the key's name, {key.names[0]}, to schedule its deletion nevertheless")
    if not name:
        raise ConfigError("The name was not typed, so nothing was changed.")
    return name


def _question(key: "Key", days: int) -> str:
    return f"The report found nothing under {key.names[0]}. Delete the key in {days} days?"


def _when(key: "Key") -> str:
    if key.deletion_date is not None:
        return f"KMS deletes it after {day_words(key.deletion_date)}."
    replicas = ", ".join(arn.split(":")[3] for arn in key.replicas)
    return (
        f"Its state is {key.state}: KMS deletes it {key.pending_window_days} days after its last "
        f"replica is deleted ({replicas})."
    )


COMMANDS = (enable, disable, schedule_deletion, cancel_deletion)
