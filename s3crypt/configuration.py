# SPDX-License-Identifier: Apache-2.0
"""Keyrings and modes made from text: for the command's options, and for storage options.

This module is the public name of `options` and `key_references`. The text contains the names of key
files and never a key. If a caller puts a key there by mistake, no error repeats it.
"""

from typing import TYPE_CHECKING, Any

from .key_references import SessionSource, Spell, as_keyword, keyring_of
from .options import DEFAULTS, MODES, OPTIONS, ModeChoice, Option, Use, asked_of, implied_mode

if TYPE_CHECKING:
    import boto3

    from .modes import Mode

__all__ = [
    "DEFAULTS",
    "MODES",
    "OPTIONS",
    "ModeChoice",
    "Option",
    "SessionSource",
    "Spell",
    "Use",
    "as_keyword",
    "asked_of",
    "implied_mode",
    "keyring_of",
    "mode_of",
    "session_of",
]


def session_of(profile: str | None = None, region: str | None = None) -> "boto3.Session":
    """Return a boto3 session for a profile and a Region; boto3 chooses each if left out.

    Raises:
        ConfigError: The profile does not exist, or the AWS configuration cannot be read.
    """
    from .aws import make_session  # noqa: PLC0415 - it loads boto3

    return make_session(profile, region)


def mode_of(
    mode: str | None,
    *,
    session: SessionSource = None,
    spell: Spell = as_keyword,
    allow_plain_http: bool = False,
    **options: Any,
) -> "Mode | None":
    """Return the requested mode, or None if no option was given.

    An option that does not apply is an error, never ignored. Options and errors are those of
    `ModeChoice`, which has their types for a type checker; `session` and `allow_plain_http` are as
    for `keyring_of`.
    """
    choice = ModeChoice(mode=mode, spell=spell, **options)
    return choice.make(session, allow_plain_http=allow_plain_http)
