# SPDX-License-Identifier: Apache-2.0
"""What a page is made of: tables, plots beside it, and figures as people read them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from results import Case
from s3crypt_cli.bench.measure import Spread
from s3crypt_cli.bench.plots import Point
from s3crypt_cli.bench.tables import number


@dataclass(slots=True)
class Page:
    """What sections add to: plots are files of their own."""

    plots: dict[str, str] = field(default_factory=dict)

    def plot(self, key: str, title: str, svg: str) -> str:
        """Add a plot; return the image to put where it belongs."""
        # Trailing blanks are nothing but noise in a diff.
        self.plots[key] = "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
        return f"![{title}](benchmarks/{key}.svg)"


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1
) -> Iterator[str]:
    """Yield a table whose first `texts` columns are words, the others figures; nothing if empty."""
    # What belongs to a figure stays on its line.
    made = [
        " | ".join((*row[:texts], *(each.replace(" ", "\u00a0") for each in row[texts:])))
        for row in rows
    ]
    if not made:
        return
    rule = ["---"] * texts + ["---:"] * (len(headers) - texts)
    yield "\n".join(f"| {line} |" for line in (" | ".join(headers), " | ".join(rule), *made))


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("\u00b5s", 1e6)):
        if seconds * factor >= 1:
            return f"{figure(seconds * factor)} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def figure(value: float) -> str:
    """Return about three significant digits."""
    return str(number(float(f"{value:.3g}")))


def between(low: float, high: float, form: Callable[[float], str] = figure) -> str:
    """Return where the middle half lies."""
    return f"{form(low)} to {form(high)}"


def median(spread: Spread) -> str:
    """Return the median and, of several rounds, what lies in the middle."""
    if spread.rounds == 1:
        return figure(spread.median)
    return f"{figure(spread.median)} ({between(spread.q1, spread.q3)})"


def cell(case: Case | None, form: Callable[[Case], str]) -> str:
    """Return what a case says, or an empty cell where there is none."""
    return form(case) if case else ""


def rate(case: Case) -> str:
    """Return MB/s."""
    return figure(case.rate().median)


def point(size: float, spread: Spread) -> Point:
    """Return a point of a plot."""
    return Point(size, spread.median, spread.q1, spread.q3)
