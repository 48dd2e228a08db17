# SPDX-License-Identifier: Apache-2.0
"""Make keyrings and modes from text: for the command's options and for storage options.

This module is the public name of `options` and `key_references`. The text contains the names of key
files and never a key. If a caller gives a key by mistake, no error repeats it.
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
    """Return a boto3 session for a profile and a Region. None stands for boto3's default.

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
    """Return the requested mode. Return None if no option was given.

    An option that does not apply is an error and is never ignored. `ModeChoice` documents the
    options, their types and the errors. `keyring_of` documents `session` and `allow_plain_http`.
    """
    choice = ModeChoice(mode=mode, spell=spell, **options)
    return choice.make(session, allow_plain_http=allow_plain_http)
