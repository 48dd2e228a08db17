# SPDX-License-Identifier: Apache-2.0
"""How long do jobs on many objects take, against other tools and another commit?

    python benchmarks/many.py [ROW ...] [--rounds 5] [--count 2000] [--delay 30] [--against COMMIT]

Some rows transfer one large object to or from a server far away. A ROW is a name or a pattern;
--list shows all names. Every run of a side is a process of its own, and a round runs each side
once, one after the other. The table has for each side the median seconds and the seconds of every
round, the rate, the CPU seconds, the largest peak RSS, and the requests per object as the server
counted them. It also has the ratio: this checkout's median seconds divided by the side's. With
--against, the commit's command is a side. A side that cannot be measured is skipped, and its line
names the reason.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import jobs
import machine
import nullserver
import peers
import rows
import small_parquet
import wide
import workload
from rows import Bench, Row, Run
from workload import BenchmarkError

ROWS: tuple[Row, ...] = (*jobs.ROWS, *small_parquet.ROWS, *wide.ROWS)
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of a row.

    Attributes:
        row: Its name.
        what: Its description.
        capacity: The rate that the server can reach, in words.
        sides: For each program its name, its items, its runs, and why it has no runs.
    """

    row: str
    what: str
    capacity: str
    sides: list[tuple[str, int, list[Run], str]]


def measure(row: Row, bench: Bench, rounds: int, only: Sequence[str] = ()) -> Measured:
    """Measure the sides of a row. If `only` has names, measure only these sides."""
    capacity = row.capacity(bench)
    sides = [side for side in row.sides(bench) if not only or side.name in only]
    there = [side for side in sides if not side.missing]
    runs = dict(zip([side.name for side in there], rows.in_turns(there, rounds), strict=True))
    found = [(side.name, side.items, runs.get(side.name, []), side.missing) for side in sides]
    return Measured(row.name, row.what, capacity, found)


def _seconds(runs: Sequence[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def _lines(measured: Measured, row: Row) -> list[str]:
    lines = [f"{measured.row}: {measured.what} [{measured.capacity}]"]
    first = next((runs for name, _, runs, _ in measured.sides if name == "ours"), [])
    for name, items, runs, missing in measured.sides:
        if missing:
            lines.append(f"  {name:10} skipped: {missing}")
            continue
        seconds = _seconds(runs)
        cpu = statistics.median(run.cpu_seconds for run in runs)
        each = " ".join(f"{run.seconds:.2f}" for run in runs)
        peak = max(run.peak_rss for run in runs) / _MIB
        is_compared = bool(first) and runs is not first
        ratio = f"  ours {_seconds(first) / seconds:.3f}x" if is_compared else ""
        rate = f"{items / seconds:12,.0f} {row.unit}"
        asked = f"  {_requests(runs[-1], items)}" if runs[-1].requests else ""
        told = f"{seconds:8.3f} s {rate} {cpu:7.2f} CPU s {peak:5.0f} MiB{ratio}"
        lines.append(f"  {name:10} {told}  ({each}){asked}")
    return lines


def _requests(run: Run, items: int) -> str:
    asked = (f"{count / items:.3g} {name}" for name, count in sorted(run.requests.items()))
    return f"requests: {', '.join(asked)}"


def _chosen(names: Sequence[str]) -> list[Row]:
    for name in names:
        if not any(fnmatch(row.name, name) for row in ROWS):
            raise BenchmarkError(f"no row is named {name!r}; --list has the names")
    return [row for row in ROWS if not names or any(fnmatch(row.name, name) for name in names)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure many objects, and a large one far away.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names, or patterns as 'put-*'")
    parser.add_argument("--rounds", type=int, help="of each side (5)")
    parser.add_argument("--count", type=int, help="objects (2000); of Parquet files 300 at most")
    parser.add_argument("--delay", type=float, default=30, metavar="MS", help="there and back (30)")
    parser.add_argument("--against", metavar="COMMIT", help="compare with this commit's command")
    parser.add_argument("--sides", nargs="+", default=[], metavar="NAME", help="only these: ours")
    parser.add_argument("--busy", type=int, default=0, help="busy processes beside rows wide-* (0)")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: only whether it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--list", action="store_true", help="print the rows")
    return parser.parse_args()


def _measured(asked: argparse.Namespace) -> list[Measured]:
    rounds = asked.rounds or (1 if asked.tiny else 5)
    count = asked.count or (20 if asked.tiny else 2000)
    found = []
    with ExitStack() as stack:
        bench = Bench(
            stack,
            count=count,
            delay=asked.delay,
            against=asked.against,
            busy=asked.busy,
            tiny=asked.tiny,
        )
        print(f"{count} objects, {asked.delay:g} ms, {rounds} rounds, {asked.busy} busy processes")
        for row in _chosen(asked.rows):
            try:
                found.append(measure(row, bench, rounds, asked.sides))
            except (peers.MissingPeerError, nullserver.NullServerError) as missing:
                print(f"{row.name}: skipped: {missing}", flush=True)
                continue
            print("\n".join(_lines(found[-1], row)), flush=True)
    return found


def _report(measured: Measured) -> dict[str, object]:
    sides = [
        {"name": name, "items": items, "missing": missing, "runs": [asdict(run) for run in runs]}
        for name, items, runs, missing in measured.sides
    ]
    return {**asdict(measured), "sides": sides}


def main() -> int:
    """Run the rows that the arguments name, and print their tables."""
    asked = _arguments()
    if asked.list:
        for row in ROWS:
            print(f"{row.name:18} {row.what}")
        return 0
    try:
        with workload.stopped_by_sigterm():
            measured = _measured(asked)
    except BenchmarkError as error:
        print(f"many.py: {error}", file=sys.stderr)
        return 2
    if asked.json:
        whole = {
            "machine": machine.describe(),
            "date": datetime.now(UTC).date().isoformat(),
            "tiny": asked.tiny,
            "delay_milliseconds": asked.delay,
            "busy": asked.busy,
            "rows": [_report(each) for each in measured],
        }
        asked.json.write_text(json.dumps(whole, indent=1) + "\n")
    print("Loopback, one machine: these are not AWS's figures.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
