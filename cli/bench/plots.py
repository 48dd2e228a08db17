# SPDX-License-Identifier: Apache-2.0
"""Plots as self-contained SVG, without fonts, scripts or other files. Needs matplotlib.

This module must know only series of numbers, not their meaning.
"""

import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .measure import size_name

# Okabe and Ito's palette, which colour-blind readers can distinguish. Markers distinguish the
# series in a print without colours.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#E69F00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_TEXT = "#1f2328"
_QUIET = "#59636e"
_SETTINGS: dict[Any, Any] = {
    # Text as paths looks the same on every machine, whichever fonts it has.
    "svg.fonttype": "path",
    "svg.hashsalt": "s3crypt",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": _TEXT,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "text.color": _TEXT,
    "xtick.color": _QUIET,
    "xtick.labelcolor": _TEXT,
    "ytick.color": _QUIET,
    "ytick.labelcolor": _TEXT,
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.8,
}
_SIZE = (4.7, 3.6)
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True, slots=True)
class Point:
    """A median at `x`, with its quartiles."""

    x: float
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Series:
    """A named line of points.

    Attributes:
        limit: Draw the series as the limit of the other series of the same `style`.
        style: The index of colour and marker; by default the series' index.
    """

    name: str
    points: tuple[Point, ...]
    limit: bool = False
    style: int | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A named median, with its quartiles."""

    name: str
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Labels:
    """The texts of a plot.

    Attributes:
        key: The plot's identifier in its page, of letters and digits.
        description: The text for readers who cannot see the plot.
    """

    key: str
    title: str
    description: str
    x: str
    y: str = ""


def by_size(labels: Labels, series: Sequence[Series], *, top: float | None = None) -> str:
    """Return a plot of values, from zero, over sizes in bytes on a logarithmic axis.

    The y axis ends at `top` or above it, so that plots side by side can share one scale.
    """
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        sizes = sorted({point.x for one in series for point in one.points})
        beside = _beside(sizes, len(series))
        for index, one in enumerate(series):
            _draw(axes, one, index if one.style is None else one.style, beside[index])
        _size_axis(axes, sizes)
        highest = max((point.high for one in series for point in one.points), default=1)
        axes.set_ylim(0, max(highest, top or 0) * 1.08)
        axes.set_title(labels.title)
        axes.set_xlabel(labels.x)
        axes.set_ylabel(labels.y)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return _svg(figure, labels)


def by_name(
    labels: Labels, bars: Sequence[Bar], *, top: float | None = None, wide: bool = False
) -> str:
    """Return a plot of horizontal bars from zero, the first bar on top. See `by_size` for `top`.

    A `wide` plot is as wide as two plots.
    """
    with mpl.rc_context(_SETTINGS):
        width = _SIZE[0] * (2 if wide else 1)
        figure = Figure(figsize=(width, 1.3 + 0.42 * len(bars)), layout="constrained")
        axes = figure.subplots()
        places = range(len(bars))
        errors = [[b.median - b.low for b in bars], [b.high - b.median for b in bars]]
        axes.barh(
            places,
            [bar.median for bar in bars],
            xerr=errors,
            height=0.62,
            color=_COLOURS[0],
            error_kw={"ecolor": _TEXT, "capsize": 4, "elinewidth": 1.2},
        )
        axes.set_yticks(places, [bar.name for bar in bars])
        axes.invert_yaxis()
        axes.set_xlim(0, max([*(bar.high for bar in bars), top or 0]) * 1.05)
        axes.tick_params(axis="y", length=0)
        axes.set_title(labels.title)
        axes.set_xlabel(labels.x)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        return _svg(figure, labels)


def _beside(sizes: Sequence[float], count: int) -> list[float]:
    """Return factors that shift each series' points slightly, so that error bars do not overlap.

    The shifts together span a twentieth of the axis.
    """
    doublings = math.log2(sizes[-1] / sizes[0]) if len(sizes) > 1 else 4.0
    step = doublings / 20 / max(count, 4)
    return [2 ** ((index - (count - 1) / 2) * step) for index in range(count)]


def _draw(axes: Axes, series: Series, style: int, beside: float) -> None:
    colour = _COLOURS[style % len(_COLOURS)]
    points = sorted(series.points, key=lambda point: point.x)
    look: dict[str, Any] = (
        {"linestyle": (0, (4, 2.5)), "markerfacecolor": "white", "linewidth": 1.2, "alpha": 0.9}
        if series.limit
        else {"linestyle": "-", "linewidth": 1.8}
    )
    axes.errorbar(
        [point.x * beside for point in points],
        [point.median for point in points],
        yerr=[
            [point.median - point.low for point in points],
            [point.high - point.median for point in points],
        ],
        color=colour,
        marker=_MARKERS[style % len(_MARKERS)],
        markersize=6,
        capsize=3.5,
        elinewidth=1.1,
        label=series.name,
        **look,
    )


def _size_axis(axes: Axes, sizes: Sequence[float]) -> None:
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    # If sizes lie close together, only every other size has a label, so that labels do not touch.
    steps = [math.log2(b / a) for a, b in itertools.pairwise(sizes)]
    crowded = len(sizes) > 7 and min(steps) <= 1
    named = sizes[:: 2 if crowded else 1]
    axes.set_xticks(named, [size_name(size) for size in named])
    if len(sizes) == 1:
        axes.set_xlim(sizes[0] / 4, sizes[0] * 4)


def _svg(figure: Figure, labels: Labels) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=_NO_METADATA)
    # An HTML page needs only the element, without the XML declaration before it.
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = svg.replace("xlink:href", "href").replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )
    # The key makes matplotlib's ids of glyphs and clips unique among the plots of a page.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{labels.key}-", svg)
    described = (
        f'<svg role="img" aria-label="{escape(labels.description)}"',
        f"<title>{escape(labels.title)}</title>",
    )
    start, end = svg.index("<svg") + 4, svg.index(">") + 1
    return f"{described[0]}{svg[start:end]}{described[1]}{svg[end:]}"
