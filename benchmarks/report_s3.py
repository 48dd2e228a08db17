# SPDX-License-Identifier: Apache-2.0
"""Sections of the benchmarks page: transfers, memory, KMS requests and workers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from page import Page, cell, figure, point, rate, table
from results import Case, Results
from s3crypt_cli.bench.measure import Spread, size_name
from s3crypt_cli.bench.plots import Bar, Labels, Point, Series, by_name, by_size

_KIB, _MIB, _GIB = 2**10, 2**20, 2**30

# --- transfers ---------------------------------------------------------------------------------

# The ways of transfer that the plots show, with names that fit into a legend. A way has the same
# colour on all plots.
_DRAWN = {
    "client": "s3crypt client",
    "plain file": "boto3, plain",
    "sse-kms": "s3crypt sse-kms",
    "S3 Encryption Client": "S3 Encryption Client",
    "s5cmd": "s5cmd, plain",
    "rclone": "rclone, plain",
}
_SMALLEST_RATE = 8 * _MIB


def transfers(found: Results, page: Page) -> Iterator[str]:
    """Yield the section with the rates of puts and gets, by size, mode and client."""
    cases = found.of("bench_transfer")
    if not cases:
        return
    yield (
        "The clients put files into the null server and get objects from it into files. All files "
        "are in memory. The null server answers as S3 would, but encrypts nothing, so the `sse` "
        "modes show only the cost for a *client* that requests encryption. The times of s5cmd and "
        "rclone are the times of their whole processes. In the plots, error bars are quartiles."
    )
    plotted = [case for case in cases if case.info["bytes"] >= _MIB]
    top = {
        scheme: max(
            (c.rate().q3 for c in plotted if c.info["scheme"] == scheme and _is_drawn(c)), default=1
        )
        for scheme in ("http", "https")
    }
    for scheme in ("http", "https"):
        chosen = [case for case in plotted if case.info["scheme"] == scheme]
        if chosen:
            yield " ".join(
                _transfer_plot(page, verb, scheme, chosen, top[scheme]) for verb in ("put", "get")
            )
    yield from _one_request(page, cases)
    for scheme in ("http", "https"):
        for verb in ("put", "get"):
            yield from _transfer_table(found, cases, verb, scheme)


def _is_drawn(case: Case) -> bool:
    return case.info["way"] in _DRAWN


def _transfer_plot(page: Page, verb: str, scheme: str, cases: Sequence[Case], top: float) -> str:
    title = f"{verb.title()} over {scheme}"
    series = []
    for style, (way, name) in enumerate(_DRAWN.items()):
        points = tuple(
            point(case.info["bytes"], case.rate())
            for case in cases
            if (case.info["way"], case.info["direction"]) == (way, verb)
        )
        if points:
            series.append(Series(name, points, style=style))
    labels = Labels(
        f"{scheme}{verb}",
        title,
        f"{title}: throughput by object size, client and mode.",
        "object size",
        "MB/s of plaintext",
    )
    return page.plot(f"{verb}-{scheme}", title, by_size(labels, series, top=top))


_WAYS = {
    "plain object": "boto3 {verb}_object, plain",
    "plain file": "boto3 {file}, plain",
    "client": "**s3crypt client**, key in the header",
    "client-metadata": "**s3crypt client**, key in the metadata",
    "sse-s3": "s3crypt sse-s3",
    "sse-kms": "s3crypt sse-kms",
    "sse-c": "s3crypt sse-c",
}


def _one_request(page: Page, cases: Sequence[Case]) -> Iterator[str]:
    """Yield a plot of the times of the smallest objects, which take one request each."""
    small = [c for c in cases if (c.info["bytes"], c.info["scheme"]) == (_KIB, "http")]
    if not small:
        return
    longest = max(case.seconds.q3 for case in small) * 1e3
    drawn = []
    for verb in ("put", "get"):
        title = f"{verb.title()} 1 KiB"
        bars = [
            Bar(_bar_name(way), took.median * 1e3, took.q1 * 1e3, took.q3 * 1e3)
            for case in small
            if case.info["direction"] == verb
            for way, took in [(case.info["way"], case.seconds)]
        ]
        labels = Labels(
            f"small{verb}",
            title,
            f"{title} over http: time by client and mode.",
            "ms, less is better",
        )
        drawn.append(page.plot(f"{verb}-1kib", title, by_name(labels, bars, top=longest)))
    yield " ".join(drawn)


def _bar_name(way: str) -> str:
    if way.startswith("plain"):
        return f"boto3 {way.partition(' ')[2]}"
    return way.replace("Encryption Client", "Encr. Client").replace("client-", "client, ")


def _transfer_table(found: Results, cases: Sequence[Case], verb: str, scheme: str) -> Iterator[str]:
    chosen = [
        case for case in cases if (case.info["direction"], case.info["scheme"]) == (verb, scheme)
    ]
    at = {(case.info["way"], case.info["bytes"]): case for case in chosen}
    sizes = sorted({case.info["bytes"] for case in chosen})
    ways = sorted({case.info["way"] for case in chosen}, key=_place)
    rows = [
        (_way(found, way, verb), *(cell(at.get((way, size)), _transferred) for size in sizes))
        for way in ways
    ]
    heads = [f"{size_name(size)}, {'MB/s' if _is_rate(size) else 'ms'}" for size in sizes]
    yield from table((f"{verb} over {scheme}", *heads), rows)


def _place(way: str) -> int:
    ways = [*_WAYS, *_DRAWN]
    return ways.index(way)


def _is_rate(size: int) -> bool:
    return size >= _SMALLEST_RATE


def _transferred(case: Case) -> str:
    if _is_rate(case.info["bytes"]):
        return rate(case)
    return figure(case.seconds.median * 1e3)


def _way(found: Results, way: str, verb: str) -> str:
    file = {"put": "upload_file", "get": "download_file"}[verb]
    if way in _WAYS:
        return _WAYS[way].format(verb=verb, file=file)
    return found.peer(way) + ("" if way == "S3 Encryption Client" else ", plain")


# --- keys, memory, workers ---------------------------------------------------------------------


def kms(found: Results, _page: Page) -> Iterator[str]:
    """Yield the section with the numbers of KMS requests, with and without cached data keys."""
    cases = found.of("bench_objects")
    if not cases:
        return
    count = cases[0].info["objects"]
    yield (
        f"The table has the number of KMS requests for {count:,} objects. One store writes the "
        "objects and another store reads them. Both stores use a `KMSKeyring`, alone or inside a "
        "`CachingKeyring`. Each request to AWS costs money and takes some milliseconds."
    )
    rows = [
        (
            case.info["keyring"],
            # The first rounds warm up, so the last one counts.
            *(f"{case.info['figures'][f'{verb}_calls'][-1]:,}" for verb in ("put", "get")),
        )
        for case in cases
    ]
    yield from table(("keyring", f"{count:,} puts", f"{count:,} gets"), rows)


_OPERATIONS = {
    "encrypt": "s3crypt, encrypt a file",
    "decrypt": "s3crypt, decrypt a file",
    "put file": "s3crypt, client-side put of a file",
    "put pipe": "s3crypt, client-side put of a pipe",
    "get file": "s3crypt, client-side get into a file",
    "get pipe": "s3crypt, client-side get into a pipe",
    "put boto3": "boto3 upload_file, plain",
    "get boto3": "boto3 download_file, plain",
    "put s5cmd": "{s5cmd}, plain put",
    "get s5cmd": "{s5cmd}, plain get",
}
_DRAWN_OPERATIONS = ("put file", "get file", "encrypt", "decrypt", "put boto3", "get boto3")


def memory(found: Results, page: Page) -> Iterator[str]:
    """Yield the section with the peak memory of each operation, by size."""
    if not found.operations:
        return
    base = Spread.of([each["baseline_rss"] for each in found.operations if each["baseline_rss"]])
    yield (
        "The table has the peak resident memory, in MiB, of a process that does only this "
        f"operation. Python with boto3 and s3crypt imported takes {figure(base.median / _MIB)} MiB "
        "of this memory. The page cache is not included."
    )
    peaks = {(each["operation"], each["size"]): each["peak_rss"] for each in found.operations}
    yield _memory_plot(page, peaks)
    sizes = sorted({size for _, size in peaks})
    rows = [
        (
            words.format(s5cmd=found.peer("s5cmd")),
            *(figure(peaks.get((name, size), 0) / _MIB) for size in sizes),
        )
        for name, words in _OPERATIONS.items()
        if any(operation == name for operation, _ in peaks)
    ]
    yield from table(("", *map(size_name, sizes)), rows)


def _memory_plot(page: Page, peaks: Mapping[tuple[str, int], float]) -> str:
    title = "Peak memory by size"
    series = []
    for name in _DRAWN_OPERATIONS:
        found = [(size, peak / _MIB) for (what, size), peak in peaks.items() if what == name]
        points = tuple(Point(size, peak, peak, peak) for size, peak in found)
        words = name.replace("file", "client-side").replace("boto3", "by boto3, plain")
        if points:
            series.append(Series(words, points))
    labels = Labels("memory", title, f"{title}, of one process.", "file size", "MiB")
    return page.plot("memory", title, by_size(labels, series))


def workers(found: Results, _page: Page) -> Iterator[str]:
    """Yield the section that compares numbers of workers, for a near and for a far server."""
    if not found.workers:
        return
    speed, latency = found.far
    sizes = {
        where: {each["case"]["size"] for each in found.workers if each["case"]["where"] == where}
        for where in ("near", "far")
    }
    far = " to ".join(map(size_name, sorted({min(sizes["far"]), max(sizes["far"])})))
    yield (
        "The table has the speed of client-side transfers by number of workers, in MB/s. *Near* "
        "means the null server. *Far* means the null server behind a proxy with "
        f"{speed.replace('MiB', ' MiB')}/s and {latency * 1e3:g} ms per connection, which is about "
        f"the speed of a connection to S3. A near file has {size_name(max(sizes['near']))}. A far "
        f"file has {far}, and is larger for more workers. The CPU seconds are those of the client "
        "per GiB of near transfers. In the row `own`, s3crypt chooses the number of workers. The "
        "row boto3 is for plain transfers with boto3's default settings."
    )
    rows = [
        _of_workers([each for each in found.workers if each["case"]["workers"] == number])
        for number in dict.fromkeys(each["case"]["workers"] for each in found.workers)
    ]
    heads = ("workers", "near put", "near get", "far put", "far get", "CPU s put, get", "peak MiB")
    yield from table(heads, rows)


def _of_workers(measured: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    at = {(each["case"]["where"], each["case"]["verb"]): each for each in measured}
    workers = measured[0]["case"]["workers"]
    near, far = ([at[where, verb] for verb in ("put", "get")] for where in ("near", "far"))
    return (
        f"**{workers}**" if workers == "own" else workers,
        *(figure(each["rate"] * _MIB / 1e6) for each in (*near, *far)),
        ", ".join(figure(_cpu_a_gib(each)) for each in near),
        figure(max(each["peak_rss"] for each in measured) / _MIB),
    )


def _cpu_a_gib(measured: Mapping[str, Any]) -> float:
    return float(measured["cpu_seconds"]) * _GIB / int(measured["case"]["size"])
