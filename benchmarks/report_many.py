# SPDX-License-Identifier: Apache-2.0
"""A section of the benchmarks page: many objects by one command, and a large object far away."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from page import Page, duration, figure, table
from results import Results
from s3crypt_cli.bench.measure import Spread

_MIB = 2**20
_OURS = "ours"
# The names of other programs' sides. Any other side except ours is a commit of this project.
_PEERS = ("aws-cli", "s5cmd", "rclone", "put -r", "boto3", "s3fs", "pyarrow")

Told = Mapping[str, Any]


def many(found: Results, _page: Page) -> Iterator[str]:
    """Yield the section with whole commands on many objects, beside peers and earlier commits."""
    if not found.many:
        return
    yield (
        "The tables have the times of whole commands, including their start. s3crypt and the other "
        "tools of a row run in turns, and each cell has a median. The number in brackets is "
        "s3crypt's time divided by the other tool's time, for the same number of objects. The "
        "objects of s3crypt are encrypted, and the objects of the other tools are plain. The peak "
        "memory is the maximum of all rounds. The column boto3 is for `benchmarks/plain_boto3.py`, "
        "which has 32 threads that only send requests. No client that uses botocore can be faster. "
        "The server is `benchmarks/canned.py`, which answers as S3 and KMS would. If s3crypt's CPU "
        "time is as long as its wall clock time, one core that runs Python is the limit, and not "
        "the distance of the server."
    )
    for run in found.many:
        yield from _run(run)


def _run(run: Told) -> Iterator[str]:
    rounds = max((len(side["runs"]) for row in run["rows"] for side in row["sides"]), default=0)
    busy = f" {run['busy']} other processes keep the cores busy." if run["busy"] else ""
    delay = f"{run['delay_milliseconds']:g} ms"
    yield (
        f"Measured on {run['date']} in {rounds} {'round' if rounds == 1 else 'rounds'}"
        f"{_count(run['rows'])}. Each reply takes {delay}.{busy} "
        "A client that only moves bytes reached these rates: "
        f"{'; '.join(_capacities(run['rows']))}."
    )
    for names, rows in groupby(run["rows"], key=_columns):
        yield from _table(names, list(rows))


def _count(rows: Sequence[Told]) -> str:
    """Return the number of objects of each row as text, or "" if the rows differ."""
    ours = [side for row in rows for side in row["sides"] if side["name"] == _OURS]
    counts = {side["items"] for side in ours if side["runs"] and side["runs"][-1]["requests"]}
    return f", with {counts.pop():,} objects per row" if len(counts) == 1 else ""


def _capacities(rows: Sequence[Told]) -> list[str]:
    """Return the capacity of each server once, from the last row that measured it."""
    told = {row["row"].partition("-")[0]: row["capacity"] for row in rows}
    return [
        f"for {name}, {capacity.partition(': ')[2] or capacity}".replace(" by ", " on ")
        for name, capacity in told.items()
    ]


def _columns(row: Told) -> tuple[str, ...]:
    return tuple(side["name"] for side in row["sides"] if side["name"] != _OURS)


def _table(names: Sequence[str], rows: Sequence[Told]) -> Iterator[str]:
    if not any(side["name"] == _OURS for row in rows for side in row["sides"]):
        yield from _by_count(rows)
        return
    others = [name if name in _PEERS else f"commit {name}" for name in names]
    heads = ("", "s3crypt", "its CPU", *others, "peak MiB", "requests per object")
    yield from table(heads, (_line(row, names) for row in rows))


def _line(row: Told, names: Sequence[str]) -> Sequence[str]:
    sides = {side["name"]: side for side in row["sides"]}
    ours = sides[_OURS]
    took = _seconds(ours)
    if not took:
        return (row["what"], f"not measured: {ours['missing']}")
    spread = f"{duration(took.median)} ({figure(took.q1)} to {figure(took.q3)})"
    cpu = duration(Spread.of([run["cpu_seconds"] for run in ours["runs"]]).median)
    others = [_other(sides[name], ours) for name in names]
    return (row["what"], spread, cpu, *others, _peak(ours), _requests(ours))


def _other(side: Told, ours: Told) -> str:
    took, by_ours = _seconds(side), _seconds(ours)
    if not took or not by_ours:
        return "no such option" if " has no " in side["missing"] else "not there"
    ratio = by_ours.median / ours["items"] / (took.median / side["items"])
    count = "" if side["items"] == ours["items"] else f", {side['items']:,} objects"
    return f"{duration(took.median)}{count} ({ratio:.2f}x)"


def _by_count(rows: Sequence[Told]) -> Iterator[str]:
    """Yield a table of the rows whose sides are one command on growing numbers of objects."""
    names = [side["name"] for side in rows[0]["sides"]]
    heads = ("peak MiB", *(f"{name} objects" for name in names))
    yield from table(heads, ((row["what"], *map(_peak, row["sides"])) for row in rows))


def _seconds(side: Told) -> Spread | None:
    seconds = [run["seconds"] for run in side["runs"]]
    return Spread.of(seconds) if seconds else None


def _peak(side: Told) -> str:
    return figure(max((run["peak_rss"] for run in side["runs"]), default=0) / _MIB)


def _requests(side: Told) -> str:
    asked = side["runs"][-1]["requests"]
    return ", ".join(f"{count / side['items']:.3g} {name}" for name, count in sorted(asked.items()))
