# SPDX-License-Identifier: Apache-2.0
"""Helpers that several key commands share: arguments, the key manager, reports, date texts."""

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ..options import Settings, option
from ..output import print_json, say

if TYPE_CHECKING:
    from s3crypt.kms import Key, KeyManager, KeySummary

key_argument = click.argument("key", metavar="KEY")
yes_option = option(
    "--yes", "-y", is_flag=True, environment=False, help="Make the change without asking."
)
DEFAULT_PERIOD_DAYS = 365


def manager_of(settings: Settings) -> "KeyManager":
    """Return the key manager that uses the session of a command."""
    from s3crypt.kms import KeyManager  # noqa: PLC0415 - boto3, which --help must not cost

    return KeyManager(session=settings.session, allow_plain_http=settings.allow_plain_http)


def named(key: str) -> str:
    """Return the KEY argument without the prefix kms:."""
    # --key of other commands accepts a key with this prefix.
    return key.removeprefix("kms:")


def tell(settings: Settings, text: str) -> None:
    """Print a line on stderr unless the command is quiet."""
    if not settings.silent:
        say(text)


def report(settings: Settings, key: "Key", *lines: str) -> None:
    """Print a changed key as JSON, or the lines about it on stderr."""
    if settings.json:
        print_json(dataclasses.asdict(key))
        return
    for line in lines:
        tell(settings, line)


def called(key: "Key") -> str:
    """Return a key's first alias for a command line, or its ARN without an alias."""
    return key.aliases[0] if key.aliases else key.arn


def rotation_words(key: "Key | KeySummary") -> str:
    """Return the automatic rotation of a key in words."""
    if key.rotation_enabled is None:
        return "-"
    if not key.rotation_enabled:
        return "off"
    return f"every {key.rotation_period_days} days" if key.rotation_period_days else "on"


def day_words(moment: datetime | None) -> str:
    """Return the date of a time, or an empty text for None."""
    return "" if moment is None else f"{moment:%Y-%m-%d}"


def moment_words(moment: datetime | None) -> str:
    """Return a time in UTC to the minute, or an empty text for None."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
