# SPDX-License-Identifier: Apache-2.0
"""A report as one self-contained HTML page: plots, the numbers under them, and the machine."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from .compare import RULE, Comparison
from .measure import Sample, size_name
from .plots import Bar, Labels, Point, Series, by_name, by_size
from .report import Report
from .style import STYLE
from .tables import MARKS, Table, changes_table, number, of_limit_text, tables

_FRAME = 256 * 2**10
# Tables of at most this many rows are not split across printed pages.
_WHOLE = 12


def page(report: Report, comparison: Comparison | None = None) -> str:
    """Return the page."""
    title = f"s3crypt bench: {report.machine.cpu}, {report.machine.cores} cores"
    body = "\n".join(_body(report, comparison))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="taken">Taken {escape(report.taken)} in {number(report.seconds)} s. s3crypt {
        escape(report.versions.get("s3crypt", ""))
    }.</p>
{body}
</main>
</body>
</html>
"""


def _body(report: Report, comparison: Comparison | None) -> Iterator[str]:
    yield _box([*report.remarks(), *_missing(report)])
    yield _list(_in_short(report))
    yield from map(_figure, _headline(report))
    if comparison is not None:
        yield _compared(comparison)
    plots = _plots(report)
    for table in tables(report, comparison):
        yield f'<section id="{table.group}"><h2>{escape(table.title)}</h2>'
        if drawn := plots.get(table.group):
            yield f'<div class="plots">{"".join(map(_figure, drawn))}</div>'
        yield _table(table)
        yield "</section>"
    yield _machine(report)
    yield _METHOD


def _missing(report: Report) -> list[str]:
    return [f"Not measured: {m.group}, {m.what}: {m.reason}" for m in report.missing]


def _in_short(report: Report) -> Iterator[str]:
    """Yield sentences with the most important results."""
    for sample in report.of_group("codec"):
        subject, speed = sample.subject, number(sample.spread.median)
        if (subject.size, subject.threads) != (_FRAME, 1) or sample.of_limit is None:
            continue
        share = of_limit_text(sample.of_limit)
        against = "too noisy to be held against" if share == "noisy" else f"{share} of"
        yield (
            f"{subject.what.title()}ing frames of 256 KiB on one thread: {speed} GB/s, "
            f"{against} what bare AES-GCM does on this machine."
        )
    peaks = report.of_group("memory")
    if peaks:
        highest = max(peaks, key=lambda sample: sample.spread.median)
        sizes = sorted(sample.subject.size for sample in peaks)
        yield (
            f"Files from {size_name(sizes[0])} to {size_name(sizes[-1])} take at most "
            f"{number(highest.spread.median)} MiB of memory."
        )
    for sample in report.of_group("small"):
        yield (
            f"A message of 1 KiB is {sample.subject.what}ed in "
            f"{number(sample.spread.median)} \u00b5s."
        )


def _headline(report: Report) -> list[str]:
    """Return a chart of the most important result: frames compared with bare AES-GCM."""
    bars = []
    for what, call in (("seal", "encrypt_into"), ("open", "decrypt_into")):
        for group, kind, name in (
            ("codec", what, f"{what}ing frames"),
            ("limits", call, f"its limit, bare AES-GCM to {call.partition('_')[0]}"),
        ):
            bars += [
                _bar(sample, name)
                for sample in report.of_group(group)
                if (sample.subject.what, sample.subject.size, sample.subject.threads)
                == (kind, _FRAME, 1)
            ]
    labels = Labels(
        "headline",
        "Frames of 256 KiB against their limit, one thread",
        "Throughput of sealing and opening frames of 256 KiB beside bare AES-GCM. "
        "The first table below has the numbers.",
        "GB/s of plaintext",
    )
    return [by_name(labels, bars, wide=True)] if bars else []


def _plots(report: Report) -> dict[str, list[str]]:
    """Return the plots by table, for the tables that have plots."""
    return {
        "codec": _codec_plots(report),
        "limits": _limit_plots(report),
        "files": _file_plots(report),
        "transfers": _transfer_plots(report),
    }


def _codec_plots(report: Report) -> list[str]:
    codec, limits = report.of_group("codec"), report.of_group("limits")
    top = max((s.spread.q3 for s in (*codec, *_bare(limits))), default=0)
    drawn = []
    for what, call in (("seal", "encrypt_into"), ("open", "decrypt_into")):
        series = []
        threads = sorted({s.subject.threads or 1 for s in codec})
        for style, count in enumerate(threads):
            name = f"{count} thread{'s' if count > 1 else ''}"
            for samples, which, limit in ((codec, what, False), (limits, call, True)):
                points = _points(samples, which, threads=count)
                series.append(Series(name + ", limit" * limit, points, limit=limit, style=style))
        labels = Labels(
            f"codec{what}",
            f"{what.title()}ing frames",
            f"Throughput of {what}ing by frame length and threads, against bare AES-GCM. "
            "The table below has the numbers.",
            "frame length",
            "GB/s of plaintext",
        )
        drawn.append(by_size(labels, series, top=top))
    return drawn


def _limit_plots(report: Report) -> list[str]:
    samples = [s for s in report.of_group("limits") if s not in _bare(report.of_group("limits"))]
    labels = Labels(
        "limits",
        "Copies and checksums",
        "Throughput of copies and checksums. The table below has the numbers.",
        "GB/s, one thread",
    )
    return [by_name(labels, [_bar(s, s.subject.what) for s in samples])] if samples else []


def _file_plots(report: Report) -> list[str]:
    drawn = []
    for group, title, unit in (
        ("files", "Files: throughput", "GB/s of plaintext"),
        ("memory", "Files: memory", "peak resident memory, MiB"),
    ):
        samples = report.of_group(group)
        series = [Series(what, _points(samples, what)) for what in ("encrypt", "decrypt")]
        labels = Labels(
            group,
            title,
            f"{title} of encrypt and decrypt by size. The table below has the numbers.",
            "file size",
            unit,
        )
        if samples:
            drawn.append(by_size(labels, series))
    return drawn


def _transfer_plots(report: Report) -> list[str]:
    samples = report.of_group("transfers")
    if not samples:
        return []
    large = [s for s in samples if s.subject.unit == "GB/s"]
    small = [s for s in samples if s.subject.unit == "ms"]
    modes = list(dict.fromkeys(s.subject.mode for s in samples))
    top = max((s.spread.q3 for s in large), default=0)
    longest = max((s.spread.q3 for s in small), default=0)
    drawn = []
    for what in ("put", "get"):
        series = [Series(str(mode), _points(large, what, mode=mode)) for mode in modes]
        labels = Labels(
            f"transfer{what}",
            f"{what.title()}: throughput by mode",
            f"Throughput of {what} by size and mode. The table below has the numbers.",
            "object size",
            "GB/s of plaintext",
        )
        drawn.append(by_size(labels, [s for s in series if s.points], top=top))
    for what in ("put", "get"):
        bars = [_bar(s, str(s.subject.mode)) for s in small if s.subject.what == what]
        labels = Labels(
            f"small{what}",
            f"{what.title()}: time of 1 KiB",
            f"Time to {what} an object of 1 KiB by mode. The table below has the numbers.",
            "ms, less is better",
        )
        drawn.append(by_name(labels, bars, top=longest))
    return drawn


def _bare(limits: Sequence[Sample]) -> list[Sample]:
    return [s for s in limits if s.subject.what.endswith("_into")]


def _points(
    samples: Iterable[Sample], what: str, *, threads: int | None = None, mode: str | None = None
) -> tuple[Point, ...]:
    wanted = (what, threads, mode)
    return tuple(
        Point(s.subject.size, s.spread.median, s.spread.q1, s.spread.q3)
        for s in samples
        if (s.subject.what, s.subject.threads, s.subject.mode) == wanted
    )


def _bar(sample: Sample, name: str) -> Bar:
    return Bar(name, sample.spread.median, sample.spread.q1, sample.spread.q3)


def _compared(comparison: Comparison) -> str:
    changed = comparison.beyond_noise()
    said = [f"Against the report of {comparison.taken}: {comparison.counts()}.", RULE]
    if changed:
        said.append(f"In the tables: {MARKS}.")
    table = _table(changes_table(changed)) if changed else ""
    warnings = _box(comparison.warnings) if comparison.warnings else ""
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in said)
    return f'<section id="changes"><h2>What changed</h2>{warnings}{paragraphs}{table}</section>'


def _machine(report: Report) -> str:
    machine = report.machine
    flags = " ".join(name if has else f"(no {name})" for name, has in machine.flags.items())
    rows = {
        "CPU": machine.cpu,
        "cores": str(machine.cores),
        "CPU flags that matter": flags or "not known",
        "memory": size_name(machine.memory) if machine.memory else "not known",
        "system": machine.system,
        "cores that others took": "not known" if machine.others is None else str(machine.others),
        "files on": report.files_on or "not known",
        **report.versions,
    }
    if report.endpoint:
        rows["transfers to"] = f"{report.endpoint.host}, {report.endpoint.uri}"
    cells = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="text">{escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    table = f'<table class="pairs">{cells}</table>'
    return f'<section id="machine"><h2>The machine</h2>{table}</section>'


_METHOD = """
<section id="method"><h2>How it was measured</h2>
<p>What is compared was measured in alternation, round after round, on the same buffers. Each figure
is the median over the rounds; the middle half of them lies between its quartiles, which are the
error bars of the plots.</p>
<p>Ratios are medians of the ratios of pairs that were measured right after each other: they hold
better from run to run than the figures do.</p>
<p>GB/s are 10<sup>9</sup> bytes of plaintext a second by wall clock; KiB, MiB and GiB are
2<sup>10</sup>, 2<sup>20</sup> and 2<sup>30</sup> bytes.</p>
</section>"""


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"


def _table(table: Table) -> str:
    heads = "".join(
        f'<th scope="col"{_kind(table, index)}>{escape(header)}</th>'
        for index, header in enumerate(table.headers)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{_kind(table, index, cell)}>{escape(cell)}</td>" for index, cell in enumerate(row)
        )
        + "</tr>"
        for row in table.rows
    )
    kind = "scroll whole" if len(table.rows) <= _WHOLE else "scroll"
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="{kind}"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        f"</div>{note}"
    )


def _kind(table: Table, index: int, cell: str = "") -> str:
    words = ["text"] if index < table.texts else []
    if cell == "better" or cell.endswith(" +"):
        words.append("better")
    if cell == "worse" or cell.endswith(" !"):
        words.append("worse")
    return f' class="{" ".join(words)}"' if words else ""


def _box(lines: Iterable[str]) -> str:
    return f'<div class="box">{"".join(f"<p>{escape(line)}</p>" for line in lines)}</div>'


def _list(lines: Iterable[str]) -> str:
    return f'<ul class="short">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'
