# SPDX-License-Identifier: Apache-2.0
"""A section of the benchmarks page: parts of an object, an object in order, sizes in listings."""

from collections.abc import Iterator, Sequence

from page import Page, between, cell, duration, figure, point, table
from results import Case, Results
from s3crypt_cli.bench.measure import Spread, size_name
from s3crypt_cli.bench.plots import Labels, Point, Series, by_size

from s3crypt.message import DEFAULT_FRAME_LENGTH

# The bytes of a column in one row group, which is about the length of a read. They are 8 bytes per
# number, times the rows per group in datasets.py. datasets.py is not imported, because it would
# also import boto3.
_CHUNKS = {"pyarrow": 8 * 2**20, "DuckDB": 8 * 122_880}
# The ways in which pyarrow reads, and the readers. The keys are the names in datasets.py.
_CALLS = {
    "file": "`ParquetFile.read`",
    "prebuffer": "the same, pre-buffered",
    "dataset": "data set",
}
_DRAWN = "file"
_PLAIN = {
    "raw": "boto3, plain, as it comes",
    "buffered": "boto3, plain, `io.BufferedReader`",
}
_SEQUENCES = {
    "read": "`read`, 1 MiB at a time",
    "readinto": "`readinto`, 1 MiB at a time",
    "whole": "`read`, all at once",
    "get": "`get` to a file",
}
_LISTINGS = {
    "plain": "boto3's listing alone: stored sizes",
    "heads": "boto3's HEADs of all, by 10 threads",
    "first": "**s3crypt**, exact sizes, for the first time",
    "again": "**s3crypt**, exact sizes, once more",
}


def ranges(found: Results, page: Page) -> Iterator[str]:
    """Yield the section with the cost of parts of an object, reading in order, and listings."""
    yield from _columns(found, page)
    yield from _in_order(found)
    yield from _listing(found)


# --- two columns of twenty ---------------------------------------------------------------------


def _columns(found: Results, page: Page) -> Iterator[str]:
    cases = found.of("bench_columns")
    if not any(case.info["frame_length"] for case in cases):
        return
    sizes = [case.info["bytes"] for case in found.of("bench_in_order")]
    of_what = f" of {size_name(max(sizes))}" if sizes else ""
    yield (
        f"pyarrow reads the footer and two columns of the 20 of a Parquet file{of_what}, in "
        "memory. pyarrow reads the encrypted file through `S3Crypt.open`. It reads the plain "
        "file through boto3, with one HEAD for the size and one GET for each read. Each time "
        "includes opening and reading the file, over http, from the null server. This server is "
        "near, so a request takes little time here. A request takes more time if the server is "
        "farther away, so the tables have the number of requests too."
    )
    yield (
        "The second column has two numbers. The first number is the number of bytes that were "
        "fetched, divided by the number of bytes that pyarrow asked for. The second number is the "
        "number of requests. Both numbers include the header and the footer of the file, and the "
        "bytes that were fetched ahead. The third column has the median time in ms. The number in "
        "brackets is the ratio of this time to the time of the faster plain reader. Both "
        "times were measured one after the other. The promises above measure s3crypt and the plain "
        "reader in turns, so they are more exact. See [how the bytes are "
        "counted](../benchmarks/README.md#ranges)."
    )
    layouts = list(dict.fromkeys(case.info["groups"] for case in cases))
    drawn = [case for case in cases if case.info["call"] == _DRAWN]
    if any(case.info["frame_length"] for case in drawn):
        yield (
            f"The plots show {_CALLS[_DRAWN]}, for the default row groups of each writer. Error "
            "bars are quartiles. *plain* is the faster plain reader."
        )
        yield f"{_bytes_plot(page, layouts, drawn)} {_time_plot(page, layouts, drawn)}"
    for groups in layouts:
        chosen = [case for case in cases if case.info["groups"] == groups]
        yield from _of_layout(groups, chosen)


def _of_layout(groups: str, cases: Sequence[Case]) -> Iterator[str]:
    """Yield a table with all ways in which pyarrow reads a file with one kind of row groups."""
    sealed = [case for case in cases if case.info["frame_length"]]
    if not sealed:
        return
    asked = sorted(case.info["asked"] for case in sealed)
    amounts = dict.fromkeys(figure(each / 1e6) for each in (asked[0], asked[-1]))
    chunk = f", {size_name(_CHUNKS[groups])} of a column per group" if groups in _CHUNKS else ""
    yield (
        f"Rows grouped as {groups} does by default{chunk}; pyarrow asks for "
        f"{' to '.join(amounts)} MB of this file:"
    )
    calls = [call for call in _CALLS if any(case.info["call"] == call for case in cases)]
    at = {(c.info["reader"], c.info["frame_length"], c.info["call"]): c for c in cases}
    best = {call: _faster_plain([c for c in cases if c.info["call"] == call]) for call in calls}
    rows = [
        (
            _frame(length),
            *(
                words
                for call in calls
                for words in (
                    cell(at.get(("ours", length, call)), _fetched),
                    _took(at.get(("ours", length, call)), best[call]),
                )
            ),
        )
        for length in sorted({case.info["frame_length"] for case in sealed})
    ]
    for reader, name in _PLAIN.items():
        if any(case.info["reader"] == reader for case in cases):
            words = [name]
            for call in calls:
                counted = next((c for c in sealed if c.info["call"] == call), None)
                words += [_plain_fetched(reader, counted), _took(at.get((reader, 0, call)), None)]
            rows.append(tuple(words))
    heads = [head for call in calls for head in (_CALLS[call], "ms")]
    yield from table((f"frames, {groups}'s groups", *heads), rows)


def _frame(length: int) -> str:
    name = size_name(length)
    return f"**{name}**, the default" if length == DEFAULT_FRAME_LENGTH else name


def _ratio(case: Case) -> float:
    return float(case.info["fetched"] / case.info["asked"])


def _fetched(case: Case) -> str:
    return f"{_ratio(case):.2f}x, {case.info['requests']:,}"


def _plain_fetched(reader: str, counted: Case | None) -> str:
    # Only the raw reader's requests were counted, so the buffered reader has an empty cell.
    return f"1x, {counted.info['plain_requests']:,}" if counted and reader == "raw" else ""


def _took(case: Case | None, plain: Case | None) -> str:
    if case is None:
        return ""
    took = figure(case.seconds.median * 1e3)
    return f"{took} ({case.seconds.median / plain.seconds.median:.2f}x)" if plain else took


def _faster_plain(cases: Sequence[Case]) -> Case | None:
    plain = [case for case in cases if case.info["reader"] in _PLAIN]
    return min(plain, key=lambda case: case.seconds.median, default=None)


def _bytes_plot(page: Page, layouts: Sequence[str], drawn: Sequence[Case]) -> str:
    title = "Bytes fetched / bytes asked"
    series = []
    for style, groups in enumerate(layouts):
        points = tuple(
            Point(case.info["frame_length"], ratio, ratio, ratio)
            for case in _sealed(drawn, groups)
            for ratio in [_ratio(case)]
        )
        if points:
            series.append(Series(f"{groups}'s groups", points, style=style))
    labels = Labels(
        "rangebytes",
        title,
        f"{title}, for two columns of 20, by frame length and by whose row groups.",
        "frame length",
        "times as many",
    )
    return page.plot("range-bytes", title, by_size(labels, series))


def _time_plot(page: Page, layouts: Sequence[str], drawn: Sequence[Case]) -> str:
    title = "Two columns of 20"
    series = []
    for style, groups in enumerate(layouts):
        sealed = _sealed(drawn, groups)
        ours = tuple(_milliseconds(case.info["frame_length"], case.seconds) for case in sealed)
        if ours:
            series.append(Series(f"{groups}'s groups", ours, style=style))
        plain = _faster_plain([case for case in drawn if case.info["groups"] == groups])
        if ours and plain:
            # The plain file has no frames: its median is drawn at all frame lengths, its quartiles
            # once.
            lengths = [each.x for each in ours]
            level = plain.seconds.median * 1e3
            line = [Point(length, level, level, level) for length in lengths[:-1]]
            line.append(_milliseconds(lengths[-1], plain.seconds))
            series.append(Series(f"{groups}'s, plain", tuple(line), limit=True, style=style))
    labels = Labels(
        "rangetime",
        title,
        f"{title}: time by frame length and by whose row groups, against plain boto3.",
        "frame length",
        "ms, less is better",
    )
    return page.plot("range-time", title, by_size(labels, series))


def _sealed(cases: Sequence[Case], groups: str) -> list[Case]:
    chosen = [c for c in cases if c.info["groups"] == groups and c.info["frame_length"]]
    return sorted(chosen, key=lambda case: int(case.info["frame_length"]))


def _milliseconds(length: float, took: Spread) -> Point:
    each = point(length, took)
    return Point(each.x, each.median * 1e3, each.low * 1e3, each.high * 1e3)


# --- in order ----------------------------------------------------------------------------------


def _in_order(found: Results) -> Iterator[str]:
    cases = found.of("bench_in_order")
    if not cases:
        return
    yield (
        "The table has the speed of reading the whole file in order over http: through "
        "`S3Crypt.open`, with the bytes discarded, and by `get` to a file in memory. Figures are "
        "in GB/s. The number in brackets is the speed as a share of the speed of `get`."
    )
    at = {(case.info["frame_length"], case.info["how"]): case for case in cases}
    ways = [how for how in _SEQUENCES if any(case.info["how"] == how for case in cases)]
    rows = [
        (_frame(length), *(_rate(at.get((length, how)), at.get((length, "get"))) for how in ways))
        for length in sorted({case.info["frame_length"] for case in cases})
    ]
    yield from table(("frames, in order", *(_SEQUENCES[how] for how in ways)), rows)


def _rate(case: Case | None, got: Case | None) -> str:
    if case is None:
        return ""
    rate = case.rate().median
    said = figure(rate / 1e3)
    return f"{said} ({rate / got.rate().median:.0%})" if got and got is not case else said


# --- listings ----------------------------------------------------------------------------------


def _listing(found: Results) -> Iterator[str]:
    cases = found.of("bench_listing")
    if not cases:
        return
    took = {case.info["which"]: case.seconds for case in cases}
    heads = [
        row.raw["theirs seconds"] for row in found.rows if row.name == "list-heads" and row.raw
    ]
    elsewhere = "heads" not in took and bool(heads)
    if elsewhere:
        took["heads"] = Spread.of(heads[0])
    yield (
        f"The file system for fsspec lists {cases[0].info['objects']:,} small client-side objects "
        "with the exact sizes of their content. For this, it sends one HEAD for each version of an "
        "object to the null server. The pages of the listing are made in the client's own process, "
        "so their time includes no network."
        + (" The bare HEADs were measured in the run of the promises." if elsewhere else "")
    )
    rows = [
        (name, duration(spread.median), _middle(spread))
        for which, name in _LISTINGS.items()
        if (spread := took.get(which))
    ]
    yield from table(("listing", "time", "middle half"), rows)


def _middle(spread: Spread) -> str:
    return "1 round" if spread.rounds == 1 else between(spread.q1, spread.q3, duration)
