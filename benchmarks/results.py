# SPDX-License-Identifier: Apache-2.0
"""The content of the suite's JSON files as values. All files must be of one machine."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s3crypt_cli.bench.measure import Spread
from s3crypt_cli.bench.report import Report, load
from workload import BenchmarkError

# Two runs must agree in these facts to be comparable. They may differ in the peers.
_SAME = ("cpu", "flags", "cores", "python", "openssl", "versions")


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a pytest-benchmark file.

    Attributes:
        function: The function that measured the case.
        seconds: The seconds of one piece of work.
        info: The case's parameters, and `bytes`.
    """

    function: str
    seconds: Spread
    info: Mapping[str, Any]

    def rate(self) -> Spread:
        """Return the rate in MB of plaintext per second."""
        size, took = self.info["bytes"] / 1e6, self.seconds
        return Spread(
            size / took.median,
            size / took.q3,
            size / took.q1,
            size / took.most,
            size / took.least,
            took.rounds,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One row of ratios.py."""

    name: str
    what: str
    bound: str
    unit: str
    median: float | None
    low: float | None
    high: float | None
    met: bool | None
    skipped: str
    remark: str
    figures: Sequence[float]
    raw: Mapping[str, Sequence[float]]

    @property
    def judged(self) -> float | None:
        """Return the figure that is compared with the bound.

        For memory it is the largest figure of all rounds, otherwise the median.
        """
        return max(self.figures) if self.unit == "MiB" and self.figures else self.median


@dataclass(frozen=True, slots=True)
class Results:
    """All measurements; the attributes of benchmarks that were not run are empty.

    Attributes:
        machine: The description by machine.py.
        dates: The dates on which the runs began, from those files that have a date.
        tiny: Whether the sizes were tiny, so that no figure means anything.
        rows: The rows of ratios.py.
        far: The rate (such as `25MiB`, per second) and the latency in seconds of a far connection.
        workers: The cases of workers.py.
        operations: The operations of memory.py.
        cases: The cases of pytest-benchmark.
        many: The runs of many.py.
        bench: The report of `s3crypt bench`.
    """

    machine: Mapping[str, Any]
    dates: Sequence[str]
    tiny: bool
    rows: Sequence[Row]
    far: tuple[str, float] = ("", 0)
    workers: Sequence[Mapping[str, Any]] = ()
    operations: Sequence[Mapping[str, Any]] = ()
    cases: Sequence[Case] = ()
    many: Sequence[Mapping[str, Any]] = ()
    bench: Report | None = None

    def of(self, *functions: str) -> list[Case]:
        """Return the cases that these functions measured."""
        return [case for case in self.cases if case.function in functions]

    def peer(self, name: str) -> str:
        """Return the name of a peer with its version."""
        version = str(self.machine["peers"].get(name, ""))
        # Some peers append the commit from which they were built. It is cut off.
        return f"{name} {version.partition('-')[0]}".strip()


@dataclass(frozen=True, slots=True)
class Files:
    """The paths of the JSON files.

    Attributes:
        ratios: The files of one or more runs. If several files have a row, the last one counts.
    """

    ratios: Sequence[Path]
    workers: Path | None = None
    bench: Path | None = None
    memory: Path | None = None
    pytest: Sequence[Path] = field(default_factory=tuple)
    many: Sequence[Path] = field(default_factory=tuple)


def read(files: Files) -> Results:
    """Read all files.

    Raises:
        BenchmarkError: A file cannot be read, or the files are of different machines.
    """
    ratios = [_object(path) for path in files.ratios]
    workers, memory = _object(files.workers), _object(files.memory)
    pytests = [_object(path) for path in files.pytest]
    bench = load(files.bench) if files.bench else None
    many = [_object(path) for path in files.many]
    machines = [each["machine"] for each in (*ratios, workers, memory, *many) if each]
    machines += [each["machine_info"]["s3crypt"] for each in pytests]
    dates = {each["datetime"][:10] for each in pytests} | ({bench.taken[:10]} if bench else set())
    return Results(
        machine=_one_machine(machines, bench),
        dates=sorted(dates),
        tiny=any(each.get("tiny", False) for each in (*ratios, workers, *many)),
        rows=list({row["name"]: Row(**row) for each in ratios for row in each["rows"]}.values()),
        far=(workers.get("rate", ""), workers.get("latency", 0)),
        workers=workers.get("cases", ()),
        operations=memory.get("operations", ()),
        cases=[case for each in pytests for case in _cases(each)],
        many=many,
        bench=bench,
    )


def _object(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"cannot read {path}: {error}") from error
    return value


def _cases(pytest: Mapping[str, Any]) -> Iterator[Case]:
    for each in pytest["benchmarks"]:
        stats = each["stats"]
        names = ("median", "q1", "q3", "min", "max", "rounds")
        spread = Spread(*(stats[name] for name in names))
        yield Case(each["name"].partition("[")[0], spread, each["extra_info"])


def _one_machine(machines: Sequence[dict[str, Any]], bench: Report | None) -> dict[str, Any]:
    first = machines[0]
    for other in machines[1:]:
        for key in _SAME:
            if other[key] != first[key]:
                raise BenchmarkError(
                    f"these are of different machines: {key} {first[key]} and {other[key]}"
                )
    if bench and (bench.machine.cpu, bench.machine.cores) != (first["cpu"], first["cores"]):
        raise BenchmarkError("the report of s3crypt bench is of another machine")
    peers = {name: version for each in machines for name, version in each["peers"].items()}
    return {**first, "peers": peers, "system": _system(first["system"])}


def _system(text: str) -> str:
    """Return the kernel's name and version number, without the suffix of its build."""
    found = re.match(r"(\w+)-(\d+(?:\.\d+)*)", text)
    return " ".join(found.groups()) if found else text
