# SPDX-License-Identifier: Apache-2.0
"""Keyrings and modes made of text: for the command's options, and for storage options.

This is the public name of what `options` and `key_references` have. Keys never come in the text
itself, only the names of their files do; no error repeats a key that was put there all the same.
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
    """Return a boto3 session of a profile and a Region, each as boto3 finds it if left out.

    Raises:
        ConfigError: There is no such profile, or the AWS configuration cannot be read.
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
    `ModeChoice`, whose types a type checker knows; `session` and `allow_plain_http` are as
    `keyring_of` has them.
    """
    choice = ModeChoice(mode=mode, spell=spell, **options)
    return choice.make(session, allow_plain_http=allow_plain_http)
