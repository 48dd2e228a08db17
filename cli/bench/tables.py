# SPDX-License-Identifier: Apache-2.0
"""A report as tables of text, the same for a terminal and for a page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .compare import Change, Comparison
from .measure import Sample, Spread, Subject, size_name
from .report import Report

_UNITS = {"us": "\u00b5s"}
_MARKS = {"better": " +", "worse": " !"}
# A ratio above this that is indistinguishable from 1 counts as reaching the limit.
_AS_FAST = 0.95
MARKS = "+ better, ! worse than before, beyond the noise"


@dataclass(frozen=True, slots=True)
class Table:
    """Headers and cells; numbers are right-aligned.

    Attributes:
        texts: The number of columns, from the left, that contain words.
    """

    group: str
    title: str
    note: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1


def tables(report: Report, comparison: Comparison | None = None) -> tuple[Table, ...]:
    """Return the tables of all measurements."""
    mark = _marker(comparison)
    made = (
        _codec(report, mark),
        _limits(report, mark),
        _small(report, mark),
        _files(report, mark),
        _transfers(report, mark),
    )
    return tuple(table for table in made if table.rows)


def changes_table(changes: Sequence[Change]) -> Table:
    """Return a table of changes: worse before better, and the largest change first."""
    ordered = sorted(
        changes, key=lambda change: (change.verdict != "worse", -abs(change.ratio - 1))
    )
    return Table(
        "changes",
        "Changed",
        "",
        ("what", "old", "new", "change", "verdict"),
        tuple(
            (
                subject_text(change.subject),
                _with_unit(change.old, change.subject),
                _with_unit(change.new, change.subject),
                f"{change.ratio - 1:+.0%}",
                change.verdict,
            )
            for change in ordered
        ),
    )


def number(value: float) -> str:
    """Return about three significant digits, aligned in columns of one magnitude."""
    if value >= 1000:
        return f"{value:,.0f}"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}" if value >= 0.01 or not value else f"{value:.2g}"


def subject_text(subject: Subject) -> str:
    """Return the description of a subject."""
    words = [subject.group, subject.what, size_name(subject.size)]
    if subject.threads is not None:
        words.append(f"{subject.threads} thread{'s' if subject.threads > 1 else ''}")
    if subject.mode is not None:
        words.append(subject.mode)
    return ", ".join(words)


def unit_name(unit: str) -> str:
    """Return a unit as people write it."""
    return _UNITS.get(unit, unit)


Marker = Callable[[Subject], str]


def _marker(comparison: Comparison | None) -> Marker:
    if comparison is None:
        return lambda _subject: ""
    return lambda subject: _MARKS.get(comparison.verdict(subject) or "", "")


def _codec(report: Report, mark: Marker) -> Table:
    bare = {"seal": "encrypt_into", "open": "decrypt_into"}
    limits = {_place(s.subject): s.spread for s in report.of_group("limits")}
    rows = []
    for sample in _ordered(report.of_group("codec")):
        subject = sample.subject
        limit = limits[bare[subject.what], subject.size, subject.threads]
        rows.append(
            (
                subject.what,
                size_name(subject.size),
                str(subject.threads),
                number(sample.spread.median) + mark(subject),
                quartiles(sample.spread),
                number(limit.median),
                of_limit_text(sample.of_limit),
                _times(sample.of_one_thread),
            )
        )
    return Table(
        "codec",
        "Frames against the limit, GB/s",
        "The limit is a loop of nothing but AES-GCM on the same buffers, 8 MiB a thread. Ratios "
        "are medians of pairs of neighbours, not of the two columns. Where the middle half of a "
        "ratio reaches 100%, the run cannot tell the two apart: \u2248100%, or noisy.",
        ("", "frame", "threads", "s3crypt", "quartiles", "limit", "of limit", "of 1 thread"),
        tuple(rows),
    )


def _limits(report: Report, mark: Marker) -> Table:
    samples = [s for s in report.of_group("limits") if not s.subject.what.endswith("_into")]
    return Table(
        "limits",
        "What else every byte may have to pass, GB/s",
        "One thread, over 8 MiB again and again.",
        ("", "GB/s", "quartiles"),
        tuple(
            (s.subject.what, number(s.spread.median) + mark(s.subject), quartiles(s.spread))
            for s in samples
        ),
    )


def _small(report: Report, mark: Marker) -> Table:
    return Table(
        "small",
        "Messages of 1 KiB",
        "With an AES keyring, on one thread; each has a data key of its own.",
        ("", "\u00b5s", "quartiles"),
        tuple(
            (s.subject.what, number(s.spread.median) + mark(s.subject), quartiles(s.spread))
            for s in report.of_group("small")
        ),
    )


def _files(report: Report, mark: Marker) -> Table:
    memory = {_place(s.subject): s for s in report.of_group("memory")}
    rows = []
    for sample in _ordered(report.of_group("files")):
        subject, speed = sample.subject, sample.spread
        peak = memory.get(_place(subject))
        rows.append(
            (
                subject.what,
                size_name(subject.size),
                number(subject.size / speed.median / 1e6),
                number(speed.median) + mark(subject),
                quartiles(speed),
                number(peak.spread.median) + mark(peak.subject) if peak else "",
                str(speed.rounds),
            )
        )
    return Table(
        "files",
        "Files, and the memory they take",
        "Whole processes, s3crypt encrypt and s3crypt decrypt, their start included; files on "
        f"{report.files_on or 'a file system not known'}, from the page cache and into it.",
        ("", "file", "ms", "GB/s", "quartiles", "peak MiB", "rounds"),
        tuple(rows),
    )


def _transfers(report: Report, mark: Marker) -> Table:
    found = {
        (s.subject.size, s.subject.mode, s.subject.what): s for s in report.of_group("transfers")
    }
    units = {size: unit_name(s.subject.unit) for (size, _, _), s in found.items()}
    rows = [
        (
            size_name(size),
            str(mode),
            *_transfer(found.get((size, mode, "put")), mark),
            *_transfer(found.get((size, mode, "get")), mark),
            units[size],
        )
        for size, mode in dict.fromkeys((size, mode) for size, mode, _ in sorted(found, key=_size))
    ]
    return Table(
        "transfers",
        "Transfers",
        "From files and into files; smaller ones by the time that one takes.",
        ("object", "mode", "put", "quartiles", "get", "quartiles", "unit"),
        tuple(rows),
        texts=2,
    )


def _size(place: tuple[int, str | None, str]) -> int:
    return place[0]


def _transfer(sample: Sample | None, mark: Marker) -> tuple[str, ...]:
    if sample is None:
        return ("", "")
    return (number(sample.spread.median) + mark(sample.subject), quartiles(sample.spread))


def _place(subject: Subject) -> tuple[str, int, int | None]:
    return subject.what, subject.size, subject.threads


def _ordered(samples: Iterable[Sample]) -> list[Sample]:
    kinds = ("seal", "open", "encrypt", "decrypt")
    return sorted(samples, key=lambda s: (kinds.index(s.subject.what), s.subject.size))


def quartiles(spread: Spread) -> str:
    """Return the range between the quartiles, or "1 round" for a single value."""
    return f"{number(spread.q1)}-{number(spread.q3)}" if spread.rounds > 1 else "1 round"


def of_limit_text(ratio: Spread | None) -> str:
    """Return the reached share of the limit, or a mark if it is indistinguishable from 100 %."""
    if ratio is None:
        return ""
    if ratio.q3 < 1:
        return f"{ratio.median:.0%}"
    return "\u2248100%" if ratio.median >= _AS_FAST else "noisy"


def _with_unit(spread: Spread, subject: Subject) -> str:
    return f"{number(spread.median)} {unit_name(subject.unit)}"


def _times(ratio: Spread | None) -> str:
    return f"{ratio.median:.2f}x" if ratio else ""
