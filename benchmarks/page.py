# SPDX-License-Identifier: Apache-2.0
"""The parts of a page: tables, plots in files beside it, and figures formatted for people."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from results import Case
from s3crypt_cli.bench.measure import Spread
from s3crypt_cli.bench.plots import Point
from s3crypt_cli.bench.tables import number


@dataclass(slots=True)
class Page:
    """The plots that sections add to a page; each becomes a file of its own."""

    plots: dict[str, str] = field(default_factory=dict)

    def plot(self, key: str, title: str, svg: str) -> str:
        """Add a plot; return the Markdown that shows it."""
        # Trailing blanks would be noise in a diff.
        self.plots[key] = "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
        return f"![{title}](benchmarks/{key}.svg)"


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1
) -> Iterator[str]:
    """Yield a table with `texts` columns of words, then figures; yield nothing without rows."""
    # Non-breaking spaces keep a figure and its unit on one line.
    made = [
        " | ".join((*row[:texts], *(each.replace(" ", "\u00a0") for each in row[texts:])))
        for row in rows
    ]
    if not made:
        return
    rule = ["---"] * texts + ["---:"] * (len(headers) - texts)
    yield "\n".join(f"| {line} |" for line in (" | ".join(headers), " | ".join(rule), *made))


def duration(seconds: float) -> str:
    """Return a time in the largest unit in which it is at least 1."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("\u00b5s", 1e6)):
        if seconds * factor >= 1:
            return f"{figure(seconds * factor)} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def figure(value: float) -> str:
    """Return a value with about three significant digits."""
    return str(number(float(f"{value:.3g}")))


def between(low: float, high: float, form: Callable[[float], str] = figure) -> str:
    """Return the range of the middle half, from quartile to quartile."""
    return f"{form(low)} to {form(high)}"


def median(spread: Spread) -> str:
    """Return the median and, for several rounds, the range of the middle half."""
    if spread.rounds == 1:
        return figure(spread.median)
    return f"{figure(spread.median)} ({between(spread.q1, spread.q3)})"


def cell(case: Case | None, form: Callable[[Case], str]) -> str:
    """Return a case's text, or an empty cell if there is no case."""
    return form(case) if case else ""


def rate(case: Case) -> str:
    """Return MB/s."""
    return figure(case.rate().median)


def point(size: float, spread: Spread) -> Point:
    """Return a point of a plot."""
    return Point(size, spread.median, spread.q1, spread.q3)
