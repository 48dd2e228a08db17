# SPDX-License-Identifier: Apache-2.0
"""How many workers are best, for a server that is near and for one as far away as S3?

    python benchmarks/workers.py [--workers 1 2 4 ...] [--rounds 3] [--tiny] [--json FILE]

The cases are client-side put and get of one file, against the null server, and against the same
server behind paced.py, with 25 MiB/s and 30 ms per connection. Each transfer is a process of its
own, and a round measures all numbers of workers. `boto3` is plain upload_file and download_file at
their defaults (10 threads), and `own` is the number that s3crypt chooses by itself.
"""

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import machine
import nullserver
import workload
from workload import BUCKET, BenchmarkError, operate, size_name

_PACED = Path(__file__).with_name("paced.py")
_MIB = 2**20
_PART = 8 * _MIB
_NEAR = 2**30
# The least number of parts per worker: the rate of a far server is steady only after some parts.
_PARTS_A_WORKER = 4
_BOTO3_WORKERS = 10


@dataclass(frozen=True, slots=True)
class Case:
    """One transfer with one number of workers.

    Attributes:
        where: `near` or `far`.
        verb: `put` or `get`.
        workers: The number of workers, `own` or `boto3`.
        size: Plaintext bytes.
    """

    where: str
    verb: str
    workers: str
    size: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a case: the medians of its rounds, the largest peak, and all seconds."""

    case: Case
    rate: float
    cpu_seconds: float
    peak_rss: int
    seconds: list[float]


class _Bench:
    """The files and servers of one run."""

    def __init__(self, stack: ExitStack, sizes: set[int], rate: str, latency: float) -> None:
        parent = workload.memory_folder(4 * sum(sizes))
        made = tempfile.TemporaryDirectory(prefix="s3crypt-workers-", dir=parent)
        self._folder = Path(stack.enter_context(made))
        server = stack.enter_context(nullserver.running(self._folder))
        port = server.endpoint_url.rpartition(":")[2]
        pace = ("--rate", rate, "--latency", str(latency))
        said = stack.enter_context(workload.talking([sys.executable, _PACED, port, *pace]))
        self._urls = {"near": server.endpoint_url, "far": f"http://127.0.0.1:{said['port']}"}
        for size in sizes:
            source = self._folder / size_name(size)
            workload.make_source(source, size)
            server.serve(BUCKET, f"plain-{size_name(size)}").symlink_to(source)
            operate("encrypt", source, server.serve(BUCKET, f"sealed-{size_name(size)}"))

    def measure(self, case: Case) -> dict[str, float]:
        """Run the transfer of a case once. Return its report."""
        boto3 = case.workers == "boto3"
        kind = "plain" if boto3 else "sealed"
        source, target = self._folder / size_name(case.size), self._folder / "got"
        uri = f"s3://{BUCKET}/{kind}-{size_name(case.size)}"
        ends: tuple[Path | str, Path | str] = (source, uri) if case.verb == "put" else (uri, target)
        options = ["--endpoint-url", self._urls[case.where]]
        options += ["--mode", "plain"] if boto3 else []
        options += ["--workers", case.workers] if case.workers.isdecimal() else []
        report: dict[str, float] = operate(case.verb, *ends, *options)
        target.unlink(missing_ok=True)
        return report


def _size(where: str, workers: str, *, tiny: bool) -> int:
    if tiny:
        return 2 * _PART
    if where == "near":
        return _NEAR
    number = int(workers) if workers.isdecimal() else _BOTO3_WORKERS
    return max(2, number) * _PARTS_A_WORKER * _PART


def _summary(case: Case, reports: list[dict[str, float]]) -> Measured:
    seconds = [report["seconds"] for report in reports]
    return Measured(
        case,
        case.size / statistics.median(seconds) / _MIB,
        statistics.median(r["user_seconds"] + r["system_seconds"] for r in reports),
        max(int(report["peak_rss"]) for report in reports),
        seconds,
    )


def measure(asked: argparse.Namespace) -> list[Measured]:
    """Run all cases in rounds. Return the figures of each case."""
    cases = [
        Case(where, verb, workers, _size(where, workers, tiny=asked.tiny))
        for workers in [*map(str, asked.workers), "own", "boto3"]
        for where in ("near", "far")
        for verb in ("put", "get")
    ]
    reports: dict[Case, list[dict[str, float]]] = {case: [] for case in cases}
    with ExitStack() as stack:
        bench = _Bench(stack, {case.size for case in cases}, asked.rate, asked.latency)
        for number in range(asked.rounds):
            # Every other round has the reverse order, so no case always follows the same case.
            for case in cases[:: -1 if number % 2 else 1]:
                reports[case].append(bench.measure(case))
    return [_summary(case, found) for case, found in reports.items()]


def _table(measured: list[Measured]) -> None:
    print("MiB/s of plaintext, CPU seconds a GiB, peak RSS in MiB (largest of the four)")
    print("workers    near put         near get         far put          far get        peak")
    for workers in dict.fromkeys(each.case.workers for each in measured):
        row = [each for each in measured if each.case.workers == workers]
        cells = [
            f"{each.rate:6.0f} ({each.cpu_seconds * 2**30 / each.case.size:4.2f} s)" for each in row
        ]
        peak = max(each.peak_rss for each in row)
        print(f"{workers:>7} {'  '.join(cells)} {peak / _MIB:8.0f}")
    print("Loopback, one machine: these are not AWS's figures.")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Find the best number of workers.")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", default="25MiB", help="of a far connection (25MiB a second)")
    parser.add_argument("--latency", type=float, default=0.03, help="of a far connection (0.03 s)")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: only whether it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    asked = parser.parse_args()
    try:
        with workload.stopped_by_sigterm():
            measured = measure(asked)
    except (BenchmarkError, nullserver.NullServerError) as error:
        print(f"workers.py: {error}", file=sys.stderr)
        return 1
    _table(measured)
    if asked.json:
        whole = {
            "machine": machine.describe(),
            "tiny": asked.tiny,
            "rate": asked.rate,
            "latency": asked.latency,
            "cases": [asdict(each) for each in measured],
        }
        asked.json.write_text(json.dumps(whole, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
