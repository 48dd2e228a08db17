# SPDX-License-Identifier: Apache-2.0
"""The parts of the benchmarks page: tables, plots in files beside it, and formatted figures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from results import Case
from s3crypt_cli.bench.measure import Spread
from s3crypt_cli.bench.plots import Point
from s3crypt_cli.bench.tables import number


@dataclass(slots=True)
class Page:
    """The plots of a page. Each becomes a file of its own."""

    plots: dict[str, str] = field(default_factory=dict)

    def plot(self, key: str, title: str, svg: str) -> str:
        """Add a plot. Return the Markdown that shows it."""
        # Blanks at line ends are removed, because they would show in diffs.
        self.plots[key] = "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
        return f"![{title}](benchmarks/{key}.svg)"


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1
) -> Iterator[str]:
    """Yield the lines of a Markdown table. Yield nothing if there are no rows.

    The first `texts` columns are words, and the remaining columns are figures.
    """
    # A non-breaking space keeps a figure and its unit on one line.
    made = [
        " | ".join((*row[:texts], *(each.replace(" ", "\u00a0") for each in row[texts:])))
        for row in rows
    ]
    if not made:
        return
    rule = ["---"] * texts + ["---:"] * (len(headers) - texts)
    yield "\n".join(f"| {line} |" for line in (" | ".join(headers), " | ".join(rule), *made))


def duration(seconds: float) -> str:
    """Return a time as text, in the largest unit in which it is at least 1."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("\u00b5s", 1e6)):
        if seconds * factor >= 1:
            return f"{figure(seconds * factor)} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def figure(value: float) -> str:
    """Return a number as text, with about three significant digits."""
    return str(number(float(f"{value:.3g}")))


def between(low: float, high: float, form: Callable[[float], str] = figure) -> str:
    """Return two quartiles as text: "LOW to HIGH"."""
    return f"{form(low)} to {form(high)}"


def median(spread: Spread) -> str:
    """Return the median as text and, if there were several rounds, the quartiles in brackets."""
    if spread.rounds == 1:
        return figure(spread.median)
    return f"{figure(spread.median)} ({between(spread.q1, spread.q3)})"


def cell(case: Case | None, form: Callable[[Case], str]) -> str:
    """Return the text of a table cell for a case. Return "" if there is no such case."""
    return form(case) if case else ""


def rate(case: Case) -> str:
    """Return the median rate of a case in MB/s, as text."""
    return figure(case.rate().median)


def point(size: float, spread: Spread) -> Point:
    """Return a point of a plot with the median and the quartiles."""
    return Point(size, spread.median, spread.q1, spread.q3)
