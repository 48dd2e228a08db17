# SPDX-License-Identifier: Apache-2.0
"""Write docs/cli.md, the reference of all commands, from the commands.

A test fails when the page is not what this script prints.
"""

from collections.abc import Iterator
from pathlib import Path

import click
from s3crypt_cli.help import COMMON, examples_of, option_groups, text_of
from s3crypt_cli.main import cli

PAGE = Path(__file__).with_name("cli.md")
_INTRODUCTION = """# Reference of the command `s3crypt`

Which commands and options are there? This page has every command with its examples and options. It
is made from the commands themselves (`python docs/cli_reference.py`), and says what
`s3crypt COMMAND --help` says. How the commands work together, what they promise and their exit
codes are in [the command](command.md); what to type instead of another tool's command is in
[habits](habits.md).

The examples run as they stand in a [sandbox](../README.md#try-it) that has the objects and files
that they name.
"""


def page() -> str:
    """Return the text of the page."""
    root = click.Context(cli, info_name="s3crypt", **cli.context_settings)
    commands = list(_commands(cli, root))
    # The options that most commands have come first.
    named = [dict(option_groups(*each)).get(COMMON, []) for each in commands]
    common = {name: text for rows in sorted(named, key=len, reverse=True) for name, text in rows}
    parts = [_INTRODUCTION, _contents(commands)]
    parts += [_section(command, context) for command, context in commands]
    parts += [_table(COMMON, list(common.items()))]
    return "\n".join(parts)


def _commands(
    group: click.Group, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            raise AssertionError("unreachable: a group has the commands that it lists")
        below = click.Context(command, parent=context, info_name=name)
        if isinstance(command, click.Group):
            yield from _commands(command, below)
        else:
            yield command, below


def _words(context: click.Context) -> str:
    return context.command_path.removeprefix("s3crypt ")


def _contents(commands: list[tuple[click.Command, click.Context]]) -> str:
    rows = [
        f"| [`{_words(context)}`](#{_words(context).replace(' ', '-')}) "
        f"| {_cell(command.get_short_help_str(200))} |"
        for command, context in commands
    ]
    return "\n".join(["| command | does |", "|---|---|", *rows, ""])


def _section(command: click.Command, context: click.Context) -> str:
    usage: str = command.get_usage(context).removeprefix("Usage: ")
    lines = [f"## {_words(context)}", "", f"`{' '.join(usage.split())}`", "", _text(command), ""]
    if examples := examples_of(command):
        lines += ["```shell", *examples, "```", ""]
    groups = [group for group in option_groups(command, context) if group[0] != COMMON]
    return "\n".join(lines) + "".join(f"\n{_table(*group)}" for group in groups)


def _text(command: click.Command) -> str:
    return text_of(command).replace("\b\n", "").replace("*", r"\*")


def _table(heading: str, rows: list[tuple[str, str]]) -> str:
    cells = [
        f"| `{_cell(name)}` | {_cell(text)} |"
        for name, text in rows
        if heading == COMMON or name != "-h, --help"
    ]
    if not cells:
        return ""
    level = "## " if heading == COMMON else ""
    headings = f"{level}{heading}\n\n" if level else ""
    first = "option" if level else heading.lower()
    return headings + "\n".join([f"| {first} | |", "|---|---|", *cells, ""])


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page())
