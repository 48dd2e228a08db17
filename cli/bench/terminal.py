# SPDX-License-Identifier: Apache-2.0
"""A report on a terminal or in a pipe: tables of at most 80 columns."""

import io
import sys
import textwrap
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ..output import print_line, print_script
from .compare import RULE, Comparison
from .measure import size_name
from .report import Report
from .tables import MARKS, Table, changes_table, tables

_WIDTH = 80
_STYLES = {"better": "green", "worse": "red"}


def show(report: Report, comparison: Comparison | None) -> None:
    """Print the report on stdout."""
    for line in _heading(report):
        _print_wrapped(line)
    for table in tables(report, comparison):
        _show_table(table)
    if report.missing:
        print_line("")
    for missing in report.missing:
        _print_wrapped(f"Not measured: {missing.group}, {missing.what}: {missing.reason}")
    if comparison is not None:
        _show_comparison(comparison)


def _print_wrapped(text: str) -> None:
    for line in textwrap.wrap(text, _WIDTH) or [""]:
        print_line(line)


def _heading(report: Report) -> Iterator[str]:
    machine = report.machine
    memory = f", {size_name(machine.memory)}" if machine.memory else ""
    yield f"{machine.cpu}, {machine.cores} cores{memory}, {machine.system}"
    able = [name for name, has in machine.flags.items() if has]
    unable = [name for name, has in machine.flags.items() if not has]
    if machine.flags:
        yield f"CPU flags: {' '.join(able)}" + (f"; not {' '.join(unable)}" if unable else "")
    yield ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield ""
    yield from report.remarks()


def _show_comparison(comparison: Comparison) -> None:
    print_line("")
    _print_wrapped(f"Against the report of {comparison.taken}: {comparison.counts()}.")
    for warning in comparison.warnings:
        _print_wrapped(f"Warning: {warning}")
    _print_wrapped(RULE)
    changed = comparison.beyond_noise()
    if changed:
        print_line(f"In the tables above: {MARKS}.")
        _show_table(changes_table(changed))


def _show_table(table: Table) -> None:
    is_terminal = sys.stdout.isatty()
    encodes_lines = "utf" in (sys.stdout.encoding or "").lower()
    shown = RichTable(
        box=box.SIMPLE_HEAD if encodes_lines else box.ASCII_DOUBLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for index, header in enumerate(table.headers):
        words = index < table.texts
        shown.add_column(header, justify="left" if words else "right", no_wrap=not words)
    for row in table.rows:
        shown.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    text = io.StringIO()
    console = Console(
        file=text, width=_WIDTH, force_terminal=is_terminal, highlight=False, markup=False
    )
    console.print(shown)
    print_line("")
    print_line(table.title)
    print_script("\n".join(line.rstrip() for line in text.getvalue().splitlines()))
    if table.note:
        _print_wrapped(table.note)
