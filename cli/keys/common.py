# SPDX-License-Identifier: Apache-2.0
"""The KEY argument, the key manager of a command, and words for dates and rotations."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from ..options import Settings
from ..output import say

if TYPE_CHECKING:
    from s3crypt.kms import Key, KeyManager, KeySummary

key_argument = click.argument("key", metavar="KEY")
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


def rotation_words(key: "Key | KeySummary") -> str:
    """Return the automatic rotation of a key in words."""
    if key.rotation_enabled is None:
        return "-"
    if not key.rotation_enabled:
        return "off"
    return f"every {key.rotation_period_days} days" if key.rotation_period_days else "on"


def moment_words(moment: datetime | None) -> str:
    """Return a time to the minute, or an empty text for None."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
