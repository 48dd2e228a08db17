# SPDX-License-Identifier: Apache-2.0
"""Asks for a confirmation before a change, on a terminal. A pipe cannot give the answer."""

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
    if not is_terminal():
        options = {each.name for each in click.get_current_context().command.params}
        look = ", or --dry-run to see them" if "dry_run" in options else ""
        raise ConfigError(
            "There is no terminal for a question, and nothing was changed.",
            hint=f"Give --yes to make the changes without a question{look}.",
        )
    return click.confirm(question, err=True)


def is_terminal() -> bool:
    """Return whether standard input is a terminal, where a person can answer."""
    return sys.stdin.isatty()


def typed(question: str) -> str:
    """Return the line that the person at the terminal types as the answer."""
    return str(click.prompt(question, err=True, default="", show_default=False)).strip()
