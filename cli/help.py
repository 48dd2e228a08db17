# SPDX-License-Identifier: Apache-2.0
"""Help pages: a command's text, its examples, and its options in groups.

This module must not know what any command does. tests/test_help.py executes every example.
"""

import inspect
import re
from collections.abc import Iterator

import click

# The headings of groups of options that several commands share, in the order of a help page. The
# command's own options come before them; the options of every command come last.
ENCRYPTION = "Encryption"
SOURCE_ENCRYPTION = "Encryption of present objects"
HEADERS = "Headers, tags and locks of new objects"
MANY = "Many objects"
COMMON = "Options of every command"
_OWN = "Options"
_NAMES_WIDTH = 30
_ORDER = (_OWN, ENCRYPTION, SOURCE_ENCRYPTION, HEADERS, MANY, COMMON)
_EXAMPLES = re.compile(r"(?:^|\n\n)\x08\n((?:s3crypt|eval) [^\n]*(?:\n[^\n]+)*)")


class GroupedOption(click.Option):
    """An option below a heading of the help page.

    Attributes:
        group: The heading, or None for the command's own options.
    """

    def __init__(self, *arguments: object, group: str | None = None, **attributes: object) -> None:
        super().__init__(*arguments, **attributes)  # type: ignore[arg-type]  # as click passes them
        self.group = group


class DocumentedCommand(click.Command):
    """A command whose help page has examples and groups of options."""

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the text, and the examples below a heading of their own."""
        _write_text(self, formatter)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups of options, in columns of the same width."""
        _write_options(self, context, formatter)


class DocumentedGroup(click.Group):
    """A group of commands whose help pages have examples and groups of options."""

    command_class = DocumentedCommand

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the text, and the examples below a heading of their own."""
        _write_text(self, formatter)


def examples_of(command: click.Command) -> tuple[str, ...]:
    """Return the examples of a command's help, one command line each. A \\ continues a line."""
    blocks = [re.split(r"(?<!\\)\n", block) for block in _EXAMPLES.findall(_help(command))]
    return tuple(line for block in blocks for line in block)


def text_of(command: click.Command) -> str:
    """Return a command's help without its examples."""
    return _EXAMPLES.sub("", _help(command)).strip()


def option_groups(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the headings of a command's options, each with names and explanations."""
    found: dict[str, list[tuple[str, str]]] = {heading: [] for heading in _ORDER}
    asks_for_help = command.get_help_option(context)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or not isinstance(parameter, click.Option):
            continue
        heading = COMMON if parameter is asks_for_help and found[COMMON] else _OWN
        found[getattr(parameter, "group", None) or heading].append(record)
    yield from ((heading, rows) for heading, rows in found.items() if rows)


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _write_text(command: click.Command, formatter: click.HelpFormatter) -> None:
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(text_of(command))
    if examples := examples_of(command):
        with formatter.section("Examples"):
            for line in "\n".join(examples).splitlines():
                # Users copy command lines, so a command line is not wrapped here.
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _write_options(
    command: click.Command, context: click.Context, formatter: click.HelpFormatter
) -> None:
    groups = list(option_groups(command, context))
    longest = max((len(name) for _, rows in groups for name, _ in rows), default=0)
    width = min(longest, _NAMES_WIDTH)
    for heading, rows in groups:
        with formatter.section(heading):
            # Names of the same length make columns of the same width.
            formatter.write_dl(
                [(f"{name:{width}}", text) for name, text in rows], col_max=_NAMES_WIDTH
            )
