# SPDX-License-Identifier: Apache-2.0
"""Does s3crypt keep its promises about speed and memory? Each row is measured against its bound.

    python benchmarks/ratios.py [--only NAME ...] [--rounds 5] [--tiny] [--json FILE] [--list]

Both sides of a row are measured in turns in the same run, so that other load on the machine affects
both. A ratio compares two neighbouring runs. Each transfer and each command is a process of its
own. The exit code is 1 if a bound is missed.
"""

import argparse
import json
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import commands
import machine
import nullserver
import peers
import workload
from commands import Command
from peers import MissingPeerError
from workload import BUCKET, BenchmarkError, operate

_HERE = Path(__file__).parent
_GIB, _MIB = 2**30, 2**20
_PLAIN, _SEALED = "plain", "sealed"
_DATASETS = _HERE / "datasets.py"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Row:
    """One promise about speed or memory.

    Attributes:
        name: The name for `--only`.
        what: A description for people.
        unit: The figures' unit: `x` for a ratio, or MiB, or MB/s.
        measure: Returns the figures of one run, a sample per round.
        at_least, at_most: The bound on their median. Without a bound, the row is for comparison.
    """

    name: str
    what: str
    measure: "Callable[[Bench], Samples]"
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"

    @property
    def is_pair(self) -> bool:
        """Return whether pairs.py measures this row, under the same name."""
        return isinstance(self.measure, partial) and self.measure.func in {_cheap, _dear}

    @property
    def bound(self) -> str:
        """Return the bound in words."""
        if self.at_least is not None:
            return f">= {self.at_least:g} {self.unit}"
        return "" if self.at_most is None else f"<= {self.at_most:g} {self.unit}"

    def is_met(self, figure: float) -> bool | None:
        """Return whether a figure keeps the promise, or None for a row without a bound."""
        if self.at_least is not None:
            return figure >= self.at_least
        return None if self.at_most is None else figure <= self.at_most


@dataclass(frozen=True, slots=True)
class Samples:
    """The figures of a row, a sample per round.

    Attributes:
        figures: The figures to which the bound applies.
        raw: The measurements from which the figures were computed: seconds, bytes.
        remark: A remark for the table.
    """

    figures: list[float]
    raw: Mapping[str, list[float]] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """A null server, and the objects that it serves with their S3 headers.

    Attributes:
        server: The server, which serves only these objects.
        names: The sealed objects, as `BUCKET/NAME`.
    """

    server: nullserver.NullServer
    names: Sequence[str]

    def url(self, where: str) -> str:
        """Return the server's address over http or https."""
        return self.server.endpoint_url if where == "http" else self.server.tls_endpoint_url

    def trusting(self) -> dict[str, str]:
        """Return an environment in which AWS clients trust the server."""
        return workload.environment(AWS_CA_BUNDLE=str(self.server.certificate))


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a row that was measured or skipped."""

    name: str
    what: str
    bound: str
    unit: str
    median: float | None = None
    low: float | None = None
    high: float | None = None
    met: bool | None = None
    skipped: str = ""
    remark: str = ""
    figures: list[float] = field(default_factory=list)
    raw: Mapping[str, list[float]] = field(default_factory=dict)


class Bench:
    """Files, the null server and the sandbox's KMS for all rows, each made on first use.

    Args:
        stack: Stops the servers and removes the files when it is closed.
        rounds: The least number of rounds.
        tiny: Use tiny sizes, to check only that the code runs.
        folder: The folder for files. If left out, files are in memory, and the largest on disk.
    """

    def __init__(
        self, stack: ExitStack, rounds: int, *, tiny: bool, folder: Path | None = None
    ) -> None:
        self._stack = stack
        self.rounds = rounds
        self.tiny = tiny
        self._folder = folder
        # Several rows take their figures from the same transfers, so measurements are kept by name.
        self._measured: dict[str, Any] = {}

    @property
    def large(self) -> int:
        """Return the size in bytes of the file that the table calls "1 GiB"."""
        return 17 * _MIB if self.tiny else _GIB

    @property
    def spare(self) -> int:
        """Return the bytes of memory that writing a large file needs, with some reserve."""
        return self.large * 5 // 4

    @property
    def huge(self) -> int:
        """Return the size in bytes of the file that the table calls "8 GiB"."""
        return 33 * _MIB if self.tiny else 8 * _GIB

    @cached_property
    def folder(self) -> Path:
        """Return a new folder, in memory if there is enough."""
        return self._new_folder(self._folder or workload.memory_folder(7 * self.large))

    @cached_property
    def source(self) -> Path:
        """Return the file with the plaintext of the large transfers."""
        path = self.folder / "source"
        workload.make_source(path, self.large)
        return path

    @cached_property
    def server(self) -> nullserver.NullServer:
        """Return a running null server."""
        return self._stack.enter_context(nullserver.running(self.folder))

    @cached_property
    def serving(self) -> nullserver.NullServer:
        """Return the null server, which then serves the large file plain and sealed."""
        sealed = self.server.serve(BUCKET, _SEALED)
        operate("encrypt", self.source, sealed)
        self.server.serve(BUCKET, _PLAIN).symlink_to(self.source)
        return self.server

    @cached_property
    def data_set(self) -> Served:
        """Return a server that serves a Parquet file, plain and sealed."""
        return self._served("data", "make", "--size", str(self.large))

    @cached_property
    def many(self) -> Served:
        """Return a server that serves many small sealed objects."""
        return self._served("many", "objects", "--objects", "20" if self.tiny else "10000")

    @cached_property
    def disk_folder(self) -> Path:
        """Return a new folder for files that are too large for memory."""
        return self._new_folder(self._folder or Path(tempfile.gettempdir()))

    @cached_property
    def huge_source(self) -> Path:
        """Return the file with the plaintext of the largest transfers."""
        free, needed = shutil.disk_usage(self.disk_folder).free, 3 * self.huge
        if free < needed * 1.02:
            raise MissingPeerError(f"{needed >> 20} MiB are needed in {self.disk_folder}")
        path = self.disk_folder / "huge"
        workload.make_source(path, self.huge)
        sealed = self.disk_folder / "huge-sealed"
        operate("encrypt", path, sealed)
        self.server.serve(BUCKET, "huge").symlink_to(sealed)
        return path

    @cached_property
    def kms(self) -> commands.Kms:
        """Return the sandbox's KMS."""
        return self._stack.enter_context(commands.sandboxed_kms())

    def once(self, name: str, measure: Callable[[], _T]) -> _T:
        """Return the measurement of this name. It is made at the first call, and then kept."""
        if name not in self._measured:
            self._measured[name] = measure()
        found: _T = self._measured[name]
        return found

    def trusting(self) -> dict[str, str]:
        """Return an environment in which AWS clients trust the null server."""
        return workload.environment(AWS_CA_BUNDLE=str(self.server.certificate))

    def url(self, scheme: str) -> str:
        """Return the null server's address for `http` or `https`."""
        return self.server.endpoint_url if scheme == "http" else self.server.tls_endpoint_url

    def _served(self, name: str, verb: str, *options: str) -> Served:
        folder = self.folder / name
        folder.mkdir()
        said = self.asked(verb, folder, *options)
        server = self._stack.enter_context(nullserver.running(self.folder, said))
        server.serve(BUCKET, "any").parent.rmdir()
        server.serve("any", "any").parent.with_name(BUCKET).symlink_to(folder)
        return Served(server, list(said))

    def asked(
        self, *words: str | Path, environment: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Run datasets.py with these arguments. Return the JSON that it prints.

        Raises:
            MissingPeerError: A package that datasets.py needs is not installed.
        """
        command = [sys.executable, _DATASETS, *words]
        said = json.loads(workload.output(command, environment or workload.environment()))
        if "missing" in said:
            raise MissingPeerError(said["missing"])
        found: dict[str, Any] = said
        return found

    def _new_folder(self, parent: Path) -> Path:
        made = tempfile.TemporaryDirectory(prefix="s3crypt-ratios-", dir=parent)
        return Path(self._stack.enter_context(made))


# --- measuring ---------------------------------------------------------------------------------

Turns = list[tuple[Mapping[str, float], Mapping[str, float]]]
Side = Callable[[], Mapping[str, float]]


def _in_turns(bench: Bench, rounds: int, ours: Side, theirs: Side, *, memory: int = 0) -> Turns:
    """Measure both sides in rounds, after one warm-up round. The side that starts alternates.

    Before each run, `memory` bytes are touched and freed, see `claim_memory`.
    """

    def alike(side: Side) -> Mapping[str, float]:
        machine.claim_memory(memory)
        return side()

    if not bench.tiny:
        ours()
        theirs()
    turns: Turns = []
    for number in range(rounds):
        if number % 2:
            second = alike(theirs)
            turns.append((alike(ours), second))
        else:
            first = alike(ours)
            turns.append((first, alike(theirs)))
    return turns


def _faster(turns: Turns, key: str = "seconds", remark: str = "") -> Samples:
    """Return, for each round, the peer's time divided by our time."""
    return Samples([t[key] / o[key] for o, t in turns], _raw(turns, key), remark)


def _share(turns: Turns, key: str = "seconds", remark: str = "") -> Samples:
    """Return, for each round, our time divided by the peer's time."""
    return Samples([o[key] / t[key] for o, t in turns], _raw(turns, key), remark)


def _raw(turns: Turns, key: str) -> dict[str, list[float]]:
    return {f"ours {key}": [o[key] for o, _ in turns], f"theirs {key}": [t[key] for _, t in turns]}


# --- in one process: codec, messages, small objects --------------------------------------------

# Rows whose rounds are short have this many times as many rounds.
_MORE = 3


def _pair(name: str, bench: Bench, *, rounds: int, share: bool = False) -> Samples:
    # Each pair has its own process, so no pair pays for the garbage of another pair. At tiny sizes,
    # one process measures all pairs.
    names = [row.name for row in ROWS if row.is_pair] if bench.tiny else [name]

    def said() -> dict[str, Any]:
        command: list[str | Path] = [sys.executable, _HERE / "pairs.py", *names]
        command += ["--rounds", str(rounds), *["--tiny"] * bench.tiny]
        if any(each.startswith("cached") for each in names):
            objects = bench.server.serve(BUCKET, "any").parent
            command += ["--endpoint-url", bench.url("http"), "--objects", objects]
        found: dict[str, Any] = json.loads(workload.output(command, workload.environment()))
        return found

    found = bench.once(f"pairs {names}", said)[name]
    if "missing" in found:
        raise MissingPeerError(found["missing"])
    turns: Turns = [({"seconds": ours}, {"seconds": theirs}) for ours, theirs in found["rounds"]]
    return (_share if share else _faster)(turns, remark=found["remark"])


def _cheap(name: str, bench: Bench, *, share: bool = False) -> Samples:
    rounds = bench.rounds if bench.tiny else _MORE * bench.rounds
    return _pair(name, bench, rounds=rounds, share=share)


def _dear(name: str, bench: Bench) -> Samples:
    return _pair(name, bench, rounds=bench.rounds)


# --- commands on files -------------------------------------------------------------------------


def _whole(command: Command) -> Side:
    def side() -> dict[str, float]:
        ended = command.run()
        command.clear()
        return asdict(ended)

    return side


def _against_age(verb: str, bench: Bench) -> Samples:
    return _files(bench, verb, commands.age_file(bench.folder, bench.source, verb))


def _against_aws(verb: str, bench: Bench) -> Samples:
    peers.find("aws-encryption-cli")
    return _files(bench, verb, commands.aws_file(bench.folder, bench.source, verb, bench.kms))


def _files(bench: Bench, verb: str, theirs: Command) -> Samples:
    ours = commands.s3crypt_file(bench.folder, bench.source, verb)
    return _faster(_in_turns(bench, bench.rounds, _whole(ours), _whole(theirs), memory=bench.spare))


def _version(bench: Bench) -> Samples:
    ours = Command((commands.s3crypt_path(), "--version"), workload.environment())
    theirs = Command((sys.executable, "-c", "pass"), workload.environment())
    rounds = bench.rounds if bench.tiny else 2 * _MORE * bench.rounds
    return _share(_in_turns(bench, rounds, _whole(ours), _whole(theirs)))


# --- transfers ---------------------------------------------------------------------------------


def _transfer(bench: Bench, verb: str, scheme: str, mode: str) -> Side:
    target = bench.folder / "got"
    uri = f"s3://{BUCKET}/{_PLAIN if mode == 'plain' else _SEALED}"
    ends: tuple[Path | str, Path | str] = (bench.source, uri) if verb == "put" else (uri, target)
    options = ["--endpoint-url", bench.url(scheme), "--mode", mode]
    environment = bench.trusting()

    def side() -> dict[str, float]:
        report = operate(verb, *ends, *options, environment=environment)
        target.unlink(missing_ok=True)
        return {**report, "cpu_seconds": report["user_seconds"] + report["system_seconds"]}

    return side


def _transfers(bench: Bench, verb: str, scheme: str) -> Turns:
    assert bench.serving
    return _in_turns(
        bench,
        bench.rounds,
        _transfer(bench, verb, scheme, "client"),
        _transfer(bench, verb, scheme, "plain"),
        memory=bench.spare,
    )


def _against_boto3(verb: str, scheme: str, bench: Bench) -> Samples:
    return _faster(_boto3_turns(bench, verb, scheme))


def _cpu(verb: str, scheme: str, bench: Bench) -> Samples:
    return _share(_boto3_turns(bench, verb, scheme), "cpu_seconds")


def _boto3_turns(bench: Bench, verb: str, scheme: str) -> Turns:
    return bench.once(f"boto3 {verb} {scheme}", lambda: _transfers(bench, verb, scheme))


def _against_s5cmd(verb: str, key: str, bench: Bench) -> Samples:
    peers.find("s5cmd")
    assert bench.serving
    target, uri = bench.folder / "got", f"s3://{BUCKET}/{_PLAIN}"
    ends = (bench.source, uri) if verb == "put" else (uri, target)
    whole = _whole(commands.s5cmd_copy(bench.url("http"), *ends))

    def theirs() -> Mapping[str, float]:
        ended = whole()
        return {**ended, "process_seconds": ended["seconds"]}

    ours = _transfer(bench, verb, "http", "client")
    turns = bench.once(
        f"s5cmd {verb}", lambda: _in_turns(bench, bench.rounds, ours, theirs, memory=bench.spare)
    )
    remark = {
        "seconds": "our operation, imports left out; all of s5cmd's process",
        "process_seconds": "both whole processes, ours with Python and its imports",
    }
    return _faster(turns, key, remark[key])


def _memory(verb: str, huge: bool, bench: Bench) -> Samples:
    """Return the peak RSS of a transfer in each round, over http and https."""
    if huge:
        source, uri, target = bench.huge_source, "huge", bench.disk_folder / "got"
        rounds = 1
    else:
        assert bench.serving
        source, uri, target, rounds = bench.source, _SEALED, bench.folder / "got", bench.rounds
    place = f"s3://{BUCKET}/{uri}"
    ends: tuple[Path | str, Path | str] = (
        (source, f"{place}-put") if verb == "put" else (place, target)
    )
    peaks: dict[str, list[float]] = {"http": [], "https": []}
    for _ in range(rounds):
        for scheme, kept in peaks.items():
            options = ["--endpoint-url", bench.url(scheme)]
            report = operate(verb, *ends, *options, environment=bench.trusting())
            target.unlink(missing_ok=True)
            kept.append(report["peak_rss"] / _MIB)
    # The larger peak of both schemes counts in each round.
    return Samples([max(pair) for pair in zip(*peaks.values(), strict=True)], peaks)


def _server_alone(verb: str, scheme: str, bench: Bench) -> Samples:
    url = f"{bench.url(scheme)}/{BUCKET}/{_PLAIN}"
    assert bench.serving
    command: list[str | Path] = [
        sys.executable,
        _HERE / "rawclient.py",
        verb,
        url,
        str(bench.large),
        "2",
    ]
    command += [bench.server.certificate] * (scheme == "https")
    said = [
        json.loads(workload.output(command, workload.environment())) for _ in range(bench.rounds)
    ]
    raw = {key: [each[key] for each in said] for key in ("seconds", "cpu_seconds")}
    remark = f"client CPU {statistics.median(raw['cpu_seconds']):.2f} s"
    return Samples([bench.large / each / 1e6 for each in raw["seconds"]], raw, remark)


# --- ranges ------------------------------------------------------------------------------------

# The ways in which pyarrow reads. The keys are the names in datasets.py.
_CALLS = {
    "file": "ParquetFile.read",
    "prebuffer": "ParquetFile.read, pre-buffered",
    "dataset": "pyarrow.dataset",
}
_READERS = ("raw", "buffered")
# The ways of reading a file in order. The keys are the names in datasets.py.
_SEQUENCES = {
    "read": "read by MiB",
    "readinto": "readinto by MiB",
    "whole": "read at once",
}


def _columns(bench: Bench, where: str) -> Mapping[str, Any]:
    """Return the figures that datasets.py measures for all calls of pyarrow.

    `where` is `http`, `https`, or `far`: through a relay with the latency of S3.
    """
    served = bench.data_set

    def said() -> dict[str, Any]:
        if where != "far":
            rounds = bench.rounds if bench.tiny else _MORE * bench.rounds
            return asked(served.url(where), "--rounds", str(rounds))
        port = served.url("http").rpartition(":")[2]
        with workload.talking([sys.executable, _HERE / "paced.py", port]) as paced:
            url = f"http://127.0.0.1:{paced['port']}"
            return asked(url, "--rounds", str(bench.rounds), "--warm-up", "0")

    def asked(url: str, *options: str) -> dict[str, Any]:
        words = ("columns", "--endpoint-url", url, *options)
        return bench.asked(*words, environment=served.trusting())

    return bench.once(f"columns {where}", said)


def _range_bytes(call: str, bench: Bench) -> Samples:
    found = _columns(bench, "http")[call]
    remark = (
        f"{found['fetched'] / 1e6:.1f} MB came for {found['asked'] / 1e6:.1f} MB, "
        f"by {found['requests']} requests; plain by {found['plain_requests']}"
    )
    return Samples([found["fetched"] / found["asked"]], remark=remark)


def _range_time(call: str, where: str, bench: Bench) -> Samples:
    """Return, for each round, our reader's time divided by the faster plain reader's time."""
    rounds = _columns(bench, where)[call]["rounds"]
    better = min(_READERS, key=lambda reader: statistics.median(each[reader] for each in rounds))
    turns: Turns = [({"seconds": each["ours"]}, {"seconds": each[better]}) for each in rounds]
    return _share(turns, remark=f"the plain reader {better}")


def _in_order(how: str, scheme: str, bench: Bench) -> Samples:
    """Return, for each round, the rate of reading in order divided by the rate of `get`."""
    served, target = bench.data_set, bench.folder / "got"
    uri, environment = f"s3://{served.names[0]}", served.trusting()
    options = ("--endpoint-url", served.url(scheme))

    def ours() -> Mapping[str, float]:
        return bench.asked("sequence", how, *options, environment=environment)

    def theirs() -> Mapping[str, float]:
        report = operate("get", uri, target, *options, environment=environment)
        target.unlink()
        return report

    return _faster(_in_turns(bench, bench.rounds, ours, theirs, memory=bench.spare))


def _listed(which: str, against: str, bench: Bench) -> Samples:
    """Return, for each round, the time of the listing `which` divided by the time of `against`."""
    many = bench.many

    def said() -> dict[str, Any]:
        words = ("listing", bench.folder / "many", "--endpoint-url", many.url("http"))
        return bench.asked(*words, "--rounds", str(bench.rounds), environment=many.trusting())

    rounds = bench.once("listing", said)["rounds"]
    return _share([({"seconds": each[which]}, {"seconds": each[against]}) for each in rounds])


# --- policies ----------------------------------------------------------------------------------


def _decisions(bench: Bench) -> Samples:
    command: list[str | Path] = [sys.executable, _HERE / "policies.py"]
    command += ["--rounds", str(bench.rounds), *["--tiny"] * bench.tiny]
    rounds = json.loads(workload.output(command, workload.environment()))
    return _share([({"CPU": each["ours"]}, {"CPU": each["allowed"]}) for each in rounds], "CPU")


# --- audits --------------------------------------------------------------------------------------


def _audits(bench: Bench, what: str) -> list[dict[str, float]]:
    command: list[str | Path] = [sys.executable, _HERE / "audits.py", what]
    command += ["--rounds", str(bench.rounds), *["--tiny"] * bench.tiny]
    rounds: list[dict[str, float]] = json.loads(workload.output(command, workload.environment()))
    return rounds


def _inventory(what: str, bench: Bench) -> Samples:
    rounds = bench.once(what, lambda: _audits(bench, what))
    return _share([({"seconds": each["ours"]}, {"seconds": each["bare"]}) for each in rounds])


def _inventory_memory(what: str, bench: Bench) -> Samples:
    rounds = bench.once(what, lambda: _audits(bench, what))
    last = rounds[-1]
    return Samples(
        [each["peak_all"] / each["peak_few"] for each in rounds],
        remark=f"{last['peak_few']:.0f} and {last['peak_all']:.0f} MiB",
    )


def _heads(bench: Bench) -> Samples:
    rounds = _audits(bench, "heads")
    return _share([({"seconds": each["one_by_one"]}, {"seconds": each["ours"]}) for each in rounds])


# --- trails ------------------------------------------------------------------------------------


def _trails(bench: Bench) -> dict[str, Any]:
    def said() -> dict[str, Any]:
        command: list[str | Path] = [sys.executable, _HERE / "trails.py"]
        command += ["--rounds", str(bench.rounds), *["--tiny"] * bench.tiny]
        found: dict[str, Any] = json.loads(workload.output(command, workload.environment()))
        return found

    return bench.once("trails", said)


def _trail_files(bench: Bench) -> Samples:
    rounds = _trails(bench)["rounds"]
    return _share([({"CPU": each["ours"]}, {"CPU": each["bare"]}) for each in rounds], "CPU")


def _trail_memory(bench: Bench) -> Samples:
    few, many = _trails(bench)["peaks"].values()
    return Samples([many / few], remark=f"{few >> 20} and {many >> 20} MiB")


# --- the promises ------------------------------------------------------------------------------


def _transfer_rows() -> Iterator[Row]:
    faster = {"put": 1.2, "get": 1.5}
    cpu = {"put": 0.8, "get": 0.65}
    theirs = {"put": "upload_file", "get": "download_file"}
    for scheme in ("http", "https"):
        for verb in ("put", "get"):
            what = f"{verb} 1 GiB client-side over {scheme}, boto3 {theirs[verb]} plain"
            measure = partial(_against_boto3, verb, scheme)
            yield Row(f"{verb}-{scheme}", f"{what}: wall", measure, at_least=faster[verb])
            measure = partial(_cpu, verb, scheme)
            yield Row(f"cpu-{verb}-{scheme}", f"{what}: CPU", measure, at_most=cpu[verb])


def _s5cmd_rows() -> Iterator[Row]:
    for verb, bound in (("put", 1.2), ("get", 0.85)):
        what = f"{verb} 1 GiB client-side over http, s5cmd plain"
        yield Row(f"s5cmd-{verb}", what, partial(_against_s5cmd, verb, "seconds"), at_least=bound)
        whole = partial(_against_s5cmd, verb, "process_seconds")
        yield Row(f"s5cmd-{verb}-process", f"{what}: whole processes", whole)


def _memory_rows() -> Iterator[Row]:
    for size, huge in (("1 GiB", False), ("8 GiB", True)):
        for verb in ("put", "get"):
            name = f"rss-{verb}-{size.partition(' ')[0]}gib"
            what = f"{verb} {size} client-side: peak RSS"
            yield Row(name, what, partial(_memory, verb, huge), at_most=140, unit="MiB")


def _file_rows() -> Iterator[Row]:
    for name, against, bound in (
        ("age", _against_age, 2.5),
        ("aws-encryption-cli", _against_aws, 8.0),
    ):
        for verb in ("encrypt", "decrypt"):
            what = f"s3crypt {verb} 1 GiB in memory, {name}"
            yield Row(f"{name}-{verb}", what, partial(against, verb), at_least=bound)


def _message_rows() -> Iterator[Row]:
    for frames, name, bound in (
        ("the SDK's best", "best", 5),
        ("4 KiB", "4kib", 7),
        ("1 MiB", "1mib", 18),
    ):
        for verb in ("encrypt", "decrypt"):
            what = f"{verb} 256 MiB in one piece, frames of {frames}, official SDK"
            measure = partial(_dear, f"{verb}-{name}")
            yield Row(f"{verb}-{name}", what, measure, at_least=bound)
    for verb in ("encrypt", "decrypt"):
        measure = partial(_cheap, f"small-{verb}")
        what = f"{verb} a 1 KiB message, official SDK's native provider"
        yield Row(f"small-{verb}", what, measure, at_least=4)


def _range_rows() -> Iterator[Row]:
    what = "2 columns of 20 of 1 GiB of Parquet through open"
    for call, words in _CALLS.items():
        yield Row(
            f"range-bytes-{call}",
            f"{what}, {words}: bytes fetched, bytes asked",
            partial(_range_bytes, call),
            at_most=1.3,
        )
    for where, bound in (("http", 1.25), ("https", 1.25), ("far", None)):
        for call, words in _CALLS.items():
            over = "from 30 ms away" if where == "far" else f"over {where}"
            yield Row(
                f"range-time-{call}-{where}",
                f"{what} {over}, {words}, plain boto3: time",
                partial(_range_time, call, where),
                at_most=bound,
            )
    for scheme in ("http", "https"):
        for how, words in _SEQUENCES.items():
            yield Row(
                f"open-{how}-{scheme}",
                f"1 GiB client-side over {scheme} through open, {words}, get to a file",
                partial(_in_order, how, scheme),
                at_least=0.8,
            )
    what = "list 10,000 client-side objects with exact sizes"
    for name, which, against, words in (
        ("list-first", "first", "plain", "for the first time, plain listing"),
        ("list-heads", "first", "heads", "for the first time, boto3's HEADs of all"),
        ("list-again", "again", "plain", "again, plain listing"),
    ):
        yield Row(name, f"{what} {words}: time", partial(_listed, which, against))


ROWS = (
    *(
        Row(
            f"codec-{verb}",
            f"{verb} 8 MiB in frames of 256 KiB, one thread, bare AES-GCM",
            partial(_cheap, f"codec-{verb}"),
            at_least=0.85,
        )
        for verb in ("seal", "open")
    ),
    *(
        Row(
            f"threads-{verb}",
            f"{verb} by two threads, by one",
            partial(_cheap, f"threads-{verb}"),
            at_least=1.8,
        )
        for verb in ("seal", "open")
    ),
    Row(
        "read-4kib",
        "read 256 MiB in frames of 4 KiB as a stream, official SDK",
        partial(_dear, "read-4kib"),
        at_least=6,
    ),
    *_message_rows(),
    *_file_rows(),
    *_transfer_rows(),
    *_s5cmd_rows(),
    *_memory_rows(),
    *(
        Row(
            f"cached-{verb}",
            f"{verb} 1 KiB client-side, data key cached, boto3 {verb}_object plain: time",
            partial(_cheap, f"cached-{verb}", share=True),
            at_most=1.15,
        )
        for verb in ("put", "get")
    ),
    *_range_rows(),
    Row(
        "policy-check",
        "decide 1,000 requests by each of 20 policies, twice json.loads and 50 us each: CPU",
        _decisions,
        at_most=1,
    ),
    Row(
        "audit-inventory",
        "audit 10^6 objects by a Parquet inventory over http, pyarrow's bare read: time",
        partial(_inventory, "inventory"),
        at_most=4,
    ),
    Row(
        "audit-memory",
        "audit by a Parquet inventory of 10^6 rows, of 10^5: peak RSS",
        partial(_inventory_memory, "inventory"),
        at_most=1.3,
    ),
    Row(
        "counts-inventory",
        "count 10^6 objects of a Parquet inventory over http, pyarrow's bare read: time",
        partial(_inventory, "counts"),
        at_most=4,
    ),
    Row(
        "counts-table",
        "count 10^6 objects of an S3 Metadata export by KMS key, pyarrow's bare read: time",
        partial(_inventory, "table"),
        at_most=4,
    ),
    Row(
        "counts-memory",
        "count an S3 Metadata export of 10^6 rows, of 10^5: peak RSS",
        partial(_inventory_memory, "table"),
        at_most=1.3,
    ),
    Row(
        "audit-heads",
        "audit 2,000 objects by HEAD 30 ms away, one HEAD after another: time",
        _heads,
        at_least=15,
    ),
    Row(
        "trail-files",
        "who opened an object, by 20 trail files, json.loads(gzip.decompress()) of them: CPU",
        _trail_files,
        at_most=1.5,
    ),
    Row(
        "trail-memory",
        "who opened an object, by 200 trail files, by 20: peak memory",
        _trail_memory,
        at_most=1.1,
    ),
    Row("version", "s3crypt --version, python -c pass: time", _version, at_most=2.5),
    *(
        Row(
            f"server-{verb}-{scheme}",
            f"the null server alone, {verb} over {scheme} by two bare sockets",
            partial(_server_alone, verb, scheme),
            unit="MB/s",
        )
        for scheme in ("http", "https")
        for verb in ("put", "get")
    ),
)


# --- the command -------------------------------------------------------------------------------


def result(row: Row, bench: Bench) -> Result:
    """Measure a row. If a program that it needs is missing, return a skipped result."""
    described = row.name, row.what, row.bound, row.unit
    try:
        samples = row.measure(bench)
    except (MissingPeerError, nullserver.NullServerError) as missing:
        return Result(*described, skipped=str(missing))
    figures = samples.figures
    low, median, high = figures[0], figures[0], figures[0]
    if len(figures) > 1:
        low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
    # For memory, the largest figure is judged: each round must keep the bound.
    judged = max(figures) if row.unit == "MiB" else median
    return Result(
        *described,
        median=median,
        low=low,
        high=high,
        met=row.is_met(judged),
        remark=samples.remark,
        figures=figures,
        raw=samples.raw,
    )


def _line(each: Result) -> str:
    start = f"{each.name:26} {each.bound:>11}"
    if each.median is None:
        return f"{start}  skipped: {each.skipped}"
    digits = 2 if each.unit == "x" else 0
    figure = f"{each.median:.{digits}f}"
    spread = f"({each.low:.{digits}f}-{each.high:.{digits}f})"
    met = {True: "yes", False: "NO", None: ""}[each.met]
    remark = f" [{each.remark}]" if each.remark else ""
    return f"{start} {figure:>8} {spread:>15} {met:4} {each.what}{remark}{_absolute(each)}"


def _absolute(each: Result) -> str:
    """Return each side's median time, which shows which of the two sides changed."""
    if each.unit != "x" or not each.raw:
        return ""
    medians = [statistics.median(values) for values in each.raw.values()]
    return " " + " : ".join(f"{median:.3g} s" for median in medians)


def _chosen(only: Sequence[str]) -> list[Row]:
    chosen = [row for row in ROWS if not only or any(fnmatch(row.name, each) for each in only)]
    for each in only:
        if not any(fnmatch(row.name, each) for row in ROWS):
            raise BenchmarkError(f"no row is named {each!r}; --list has the names")
    return chosen


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hold s3crypt against its bounds.")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rows, or 'put-*'")
    parser.add_argument("--rounds", type=int, help="at least so many (5)")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: only whether it runs")
    parser.add_argument("--folder", type=Path, help="for all files (in memory, the largest not)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--list", action="store_true", help="print the rows' names and bounds")
    return parser.parse_args()


def _measured(asked: argparse.Namespace) -> list[Result]:
    rounds = asked.rounds or (1 if asked.tiny else 5)
    results = []
    with ExitStack() as stack:
        bench = Bench(stack, rounds, tiny=asked.tiny, folder=asked.folder)
        print(f"{'row':26} {'bound':>11} {'median':>8} {'quartiles':>15} met  what, against what")
        for row in _chosen(asked.only):
            results.append(result(row, bench))
            print(_line(results[-1]), flush=True)
    return results


def main() -> int:
    """Measure the rows, and print them. Return 1 if a bound is missed."""
    asked = _arguments()
    if asked.list:
        for row in ROWS:
            print(f"{row.name:26} {row.bound:>11} {row.what}")
        return 0
    try:
        with workload.stopped_by_sigterm():
            results = _measured(asked)
    except BenchmarkError as error:
        print(f"ratios.py: {error}", file=sys.stderr)
        return 2
    if asked.json:
        whole = {
            "command": shlex.join(sys.argv),
            "machine": machine.describe(),
            "tiny": asked.tiny,
            "rows": [asdict(each) for each in results],
        }
        asked.json.write_text(json.dumps(whole, indent=1) + "\n")
    print("Loopback, one machine: these are not AWS's figures.")
    missed = [each.name for each in results if each.met is False]
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
