# SPDX-License-Identifier: Apache-2.0
"""Sections of the benchmarks page: frames, messages and files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from page import Page, cell, duration, figure, median, point, table
from results import Case, Results
from s3crypt_cli.bench.measure import Spread, size_name
from s3crypt_cli.bench.plots import Labels, Series, by_size

_KIB = 2**10
_PEERS = {"aws-encryption-sdk": "official SDK", "MPL": "official SDK, MPL keyring"}
_SIGNED = "0x0578"


# --- frames ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frames:
    """The rates in GB/s of sealing or opening frames of one length.

    `ours` is the rate of s3crypt, and `limit` is the rate of the bare cipher.
    """

    verb: str
    threads: int
    length: int
    ours: Spread
    limit: Spread
    share: float


def _frames(found: Results) -> list[Frames]:
    """Return the rates from `s3crypt bench`, or from pytest if `s3crypt bench` was not run.

    `s3crypt bench` is preferred because it measures frames and the limit in alternation.
    """
    if found.bench and (measured := found.bench.of_group("codec")):
        calls = {"seal": "encrypt_into", "open": "decrypt_into"}
        limits = {
            (s.subject.what, s.subject.threads, s.subject.size): s.spread
            for s in found.bench.of_group("limits")
        }
        places = [(s, s.subject.what, s.subject.threads or 1, s.subject.size) for s in measured]
        return [
            Frames(
                verb,
                threads,
                size,
                sample.spread,
                limits[calls[verb], threads, size],
                sample.of_limit.median if sample.of_limit else 0,
            )
            for sample, verb, threads, size in places
        ]
    bare = {_run(case): _gigabytes(case) for case in found.of("bench_limit")}
    return [
        Frames(*_run(case), ours, bare[_run(case)], ours.median / bare[_run(case)].median)
        for case in found.of("bench_frames")
        if case.info["suite"] != _SIGNED
        for ours in [_gigabytes(case)]
    ]


def _run(case: Case) -> tuple[str, int, int]:
    return case.info["direction"], case.info["threads"], case.info["frame_length"]


def _gigabytes(case: Case) -> Spread:
    rate = case.rate()
    values = (rate.median, rate.q1, rate.q3, rate.least, rate.most)
    return Spread(*(value / 1e3 for value in values), rate.rounds)


def frames(found: Results, page: Page) -> Iterator[str]:
    """Yield the section that compares frames with the bare cipher, by length and threads."""
    measured = _frames(found)
    if not measured:
        return
    yield (
        "A frame is a part of the plaintext that is encrypted separately. To *seal* a frame is to "
        "encrypt it. To *open* a frame is to verify and decrypt it. Figures are in GB/s of "
        "plaintext. The limit is the speed of a loop that only runs AES-GCM on the same buffers, "
        "8 MiB per thread. The number in brackets is s3crypt's speed as a share of this limit. In "
        "the plots, error bars are quartiles."
    )
    if found.bench and found.bench.is_disturbed:
        yield found.bench.remarks()[-1]
    top = max(max(each.ours.q3, each.limit.q3) for each in measured)
    yield " ".join(_plot(page, verb, measured, top) for verb in ("seal", "open"))
    counts = sorted({each.threads for each in measured})
    columns = [(verb, threads) for verb in ("seal", "open") for threads in counts]
    at = {(each.verb, each.threads, each.length): each for each in measured}
    rows = [
        (size_name(length), *(_share(at.get((*column, length))) for column in columns))
        for length in sorted({each.length for each in measured})
    ]
    heads = [f"{verb}, {_threads(threads)}" for verb, threads in columns]
    yield from table(("frame", *heads), rows)
    yield from _signed(found)
    yield from _beside(found)


def _share(each: Frames | None) -> str:
    return f"{figure(each.ours.median)} ({each.share:.0%})" if each else ""


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _plot(page: Page, verb: str, measured: Sequence[Frames], top: float) -> str:
    title = f"{verb.title()}ing frames"
    series = []
    for style, threads in enumerate(sorted({each.threads for each in measured})):
        chosen = [each for each in measured if (each.verb, each.threads) == (verb, threads)]
        ours = tuple(point(each.length, each.ours) for each in chosen)
        limit = tuple(point(each.length, each.limit) for each in chosen)
        series += [
            Series(_threads(threads), ours, style=style),
            Series(f"{_threads(threads)}, limit", limit, limit=True, style=style),
        ]
    labels = Labels(
        f"codec{verb}",
        title,
        f"{title}: throughput by frame length and threads, against bare AES-GCM.",
        "frame length",
        "GB/s of plaintext",
    )
    return page.plot(f"codec-{verb}", title, by_size(labels, series, top=top))


def _signed(found: Results) -> Iterator[str]:
    signed = [case for case in found.of("bench_frames") if case.info["suite"] == _SIGNED]
    said = [
        f"{case.info['direction']} {figure(_gigabytes(case).median)} GB/s"
        for case in signed
        if case.info["frame_length"] == 256 * _KIB
    ]
    if said:
        yield (
            f"Signed messages ({_SIGNED}) are also hashed with SHA-384, in order, by one thread. "
            f"In frames of 256 KiB: {', '.join(said)}."
        )


def _beside(found: Results) -> Iterator[str]:
    """Yield the rates of other steps of a transfer, such as a copy and checksums."""
    if found.bench:
        rates = {
            sample.subject.what: sample.spread.median
            for sample in found.bench.of_group("limits")
            if not sample.subject.what.endswith("_into")
        }
    else:
        rates = {
            case.info.get("checksum", "a copy"): _gigabytes(case).median
            for case in found.of("bench_copy", "bench_checksum")
        }
    if rates:
        said = ", ".join(f"{what} {figure(rate)}" for what, rate in rates.items())
        yield (
            "For comparison, one thread does other work on each byte at these speeds, in GB/s: "
            f"{said}."
        )


# --- messages ----------------------------------------------------------------------------------


def messages(found: Results, _page: Page) -> Iterator[str]:
    """Yield the section that compares small and large messages with other libraries."""
    small, large = found.of("bench_small"), found.of("bench_large", "bench_large_peer")
    if small:
        yield "The table has the time for one small message under an AES key:"
        yield from _small(found, small)
    if large:
        size = size_name(large[0].info["bytes"])
        yield (
            f"The next table has the speeds for a message of {size}, in MB/s. Each call gets the "
            "message in one piece. The official SDK writes and reads the same format as s3crypt. "
            "Each of the other libraries has its own format. pycryptodome has no format: the row "
            "shows AES-GCM in one call."
        )
        yield from _large(found, large)


def _small(found: Results, cases: Sequence[Case]) -> Iterator[str]:
    sizes = sorted({case.info["bytes"] for case in cases})
    columns = [(verb, size) for size in sizes for verb in ("encrypt", "decrypt")]
    at = {(c.info["writer"], c.info["direction"], c.info["bytes"]): c for c in cases}
    rows = [
        (
            _writer(found, writer),
            *(
                cell(at.get((writer, *column)), lambda case: duration(case.seconds.median))
                for column in columns
            ),
        )
        for writer in dict.fromkeys(case.info["writer"] for case in cases)
    ]
    yield from table(("", *(f"{verb} {size_name(size)}" for verb, size in columns)), rows)


def _large(found: Results, cases: Sequence[Case]) -> Iterator[str]:
    at = {(c.info["writer"], c.info["frame_length"], c.info["direction"]): c for c in cases}
    rows = [
        (
            _writer(found, writer),
            size_name(length) if length else "",
            *(
                cell(at.get((writer, length, verb)), lambda case: median(case.rate()))
                for verb in ("encrypt", "decrypt")
            ),
        )
        for writer, length in dict.fromkeys(
            (case.info["writer"], case.info["frame_length"]) for case in cases
        )
    ]
    yield from table(("", "frame", "encrypt", "decrypt"), rows, texts=2)


def _writer(found: Results, writer: str) -> str:
    if writer == "s3crypt":
        return "**s3crypt**"
    name, _, segment = writer.partition(" ")
    said = found.peer(name) + (f", segments of {segment}" if segment else "")
    return f"{_PEERS[writer]} ({said})" if writer in _PEERS else said


# --- files -------------------------------------------------------------------------------------


def files(found: Results, _page: Page) -> Iterator[str]:
    """Yield the section about whole commands on files, of s3crypt and of the peers found."""
    cases = found.of("bench_file")
    yield from _against(found, cases) if cases else _alone(found)


def _against(found: Results, cases: Sequence[Case]) -> Iterator[str]:
    yield (
        "The times are those of whole commands with default options, including their start. The "
        "files are in memory."
    )
    at = {(c.info["program"], c.info["direction"], c.info["bytes"]): c for c in cases}
    sizes = sorted({case.info["bytes"] for case in cases})
    columns = [(verb, size) for size in sizes for verb in ("encrypt", "decrypt")]
    rows = [
        (
            _writer(found, program),
            *(
                cell(at.get((program, *column)), lambda case: duration(case.seconds.median))
                for column in columns
            ),
        )
        for program in dict.fromkeys(case.info["program"] for case in cases)
    ]
    yield from table(("", *(f"{verb} {size_name(size)}" for verb, size in columns)), rows)


def _alone(found: Results) -> Iterator[str]:
    if not found.bench or not (measured := found.bench.of_group("files")):
        return
    peaks = {(s.subject.what, s.subject.size): s.spread for s in found.bench.of_group("memory")}
    yield (
        "The times are those of the whole commands `s3crypt encrypt` and `s3crypt decrypt`, "
        f"including their start. The files are on {found.bench.files_on}. The commands read them "
        "from the page cache, and write into the page cache."
    )
    rows = []
    for sample in measured:
        verb, size = sample.subject.what, sample.subject.size
        peak = peaks.get((verb, size))
        most = figure(peak.median) if peak else ""
        took = duration(size / 1e9 / sample.spread.median)
        rows.append((verb, size_name(size), took, median(sample.spread), most))
    yield from table(("", "file", "time", "GB/s", "peak MiB"), rows, texts=2)
