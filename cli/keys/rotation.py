# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys rotate`, `enable-rotation` and `disable-rotation`."""

import dataclasses
from typing import TYPE_CHECKING

import click

from ..options import Settings, common_options, option
from ..output import print_json
from .common import DEFAULT_PERIOD_DAYS, key_argument, manager_of, named, rotation_words, tell

if TYPE_CHECKING:
    from s3crypt.kms import Key


@click.command()
@key_argument
@common_options(service="kms")
def rotate(settings: Settings, *, key: str) -> None:
    """Give a key new key material now, under the same id.

    Nothing in S3 changes: objects keep their data keys and stay readable. To move objects to
    another key: `s3crypt rotate`.
    """
    rotated = manager_of(settings).rotate(named(key))
    if settings.json:
        print_json(dataclasses.asdict(rotated))
        return
    tell(settings, f"New key material for {rotated.arn}. Nothing in S3 changes.")
    if rotated.rotating_since is not None:
        tell(settings, "KMS finishes it in the background; `s3crypt keys rotations` tells when.")


@click.command("enable-rotation")
@key_argument
@option(
    "--period-days",
    type=int,
    default=DEFAULT_PERIOD_DAYS,
    show_default=True,
    metavar="DAYS",
    help="How often, 90 to 2560.",
)
@common_options(service="kms")
def enable_rotation(settings: Settings, *, key: str, period_days: int) -> None:
    """Rotate a key automatically."""
    _report(settings, manager_of(settings).enable_rotation(named(key), period_days=period_days))


@click.command("disable-rotation")
@key_argument
@common_options(service="kms")
def disable_rotation(settings: Settings, *, key: str) -> None:
    """Stop the automatic rotation of a key."""
    _report(settings, manager_of(settings).disable_rotation(named(key)))


def _report(settings: Settings, key: "Key") -> None:
    if settings.json:
        print_json(dataclasses.asdict(key))
    else:
        tell(settings, f"{key.arn}: automatic rotation {rotation_words(key)}.")


COMMANDS = (rotate, enable_rotation, disable_rotation)
