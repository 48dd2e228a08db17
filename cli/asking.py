# SPDX-License-Identifier: Apache-2.0
"""The confirmation before a change: asked only on a terminal, never read from a pipe."""

import sys

import click

from s3crypt.errors import ConfigError


def is_agreed(question: str, *, yes: bool) -> bool:
    """Return whether to make a change: --yes was given, or the person at the terminal agrees.

    Raises:
        ConfigError: --yes was not given, and there is no terminal to ask on.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError(
            "There is no terminal to ask on, and nothing was changed.",
            hint="Give --yes to make the changes without a question, or --dry-run to look at them.",
        )
    return click.confirm(question, err=True)
