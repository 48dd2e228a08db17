# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys rotate`, `enable-rotation` and `disable-rotation`."""

from typing import TYPE_CHECKING

import click

from ..asking import is_agreed
from ..help import DocumentedCommand
from ..options import Settings, common_options, option
from .common import (
    DEFAULT_PERIOD_DAYS,
    called,
    key_argument,
    manager_of,
    named,
    report,
    rotation_words,
    tell,
    yes_option,
)

if TYPE_CHECKING:
    from s3crypt.kms import Key

# s3crypt.kms defines this number as well, but importing it takes as long as importing boto3.
_MOST = 25


@click.command(cls=DocumentedCommand)
@key_argument
@option("--wait", environment=False, is_flag=True, help="Wait until KMS has finished.")
@yes_option
@common_options(service="kms")
def rotate(settings: Settings, *, key: str, wait: bool, yes: bool) -> None:
    """Rotate a key now: give it new key material under the same id.

    KMS allows this 25 times in a key's life. Nothing in S3 changes: objects keep their data keys
    and stay readable. To move objects to another key: `s3crypt rotate`.

    \b
    s3crypt keys rotate alias/reports --yes --wait
    """
    manager = manager_of(settings)
    before = manager.show(named(key))
    left = before.on_demand_rotations_left
    # If `left` is 0 or None, KMS explains why the key cannot be rotated.
    if left:
        tell(settings, f"{left} of {_MOST} on-demand rotations are left to {before.arn}.")
    if left != 0 and not is_agreed("Use one of them?", yes=yes):
        report(settings, before, "The key was not rotated.")
        return
    rotated = manager.rotate(before.arn, wait=wait)
    report(settings, rotated, f"New key material for {rotated.arn}. Nothing in S3 changes.")
    if rotated.rotating_since is not None:
        tell(settings, f"KMS finishes it in the background: s3crypt keys show {called(rotated)}")


@click.command("enable-rotation", cls=DocumentedCommand)
@key_argument
@option(
    "--period-days",
    type=int,
    default=DEFAULT_PERIOD_DAYS,
    show_default=True,
    metavar="DAYS",
    help="The rotation period, 90 to 2560.",
)
@common_options(service="kms")
def enable_rotation(settings: Settings, *, key: str, period_days: int) -> None:
    """Rotate a key automatically.

    \b
    s3crypt keys enable-rotation alias/reports --period-days 180
    """
    _report(settings, manager_of(settings).enable_rotation(named(key), period_days=period_days))


@click.command("disable-rotation", cls=DocumentedCommand)
@key_argument
@common_options(service="kms")
def disable_rotation(settings: Settings, *, key: str) -> None:
    """Stop the automatic rotation of a key.

    \b
    s3crypt keys disable-rotation alias/reports
    """
    _report(settings, manager_of(settings).disable_rotation(named(key)))


def _report(settings: Settings, key: "Key") -> None:
    report(settings, key, f"{key.arn}: automatic rotation {rotation_words(key)}.")


COMMANDS = (rotate, enable_rotation, disable_rotation)
