# SPDX-License-Identifier: Apache-2.0
"""The parts of many.py's rows: sides that run in turns, and their servers and files."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import canned
import checkouts as commits
import load
import nullserver
import workload
from canned import CannedServer
from checkouts import Checkout
from workload import BenchmarkError

_HERE = Path(__file__).parent
_GIB, _MIB = 2**30, 2**20
# The key is made up, and the same as in operation.py.
_KEY = bytes(32)
_FILES_A_FOLDER = 1000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one process of a side, from its start to its end.

    Attributes:
        seconds: Wall-clock seconds of the whole process, unless the row documents another span.
        cpu_seconds: CPU seconds of the whole process, user and system.
        peak_rss: Peak resident memory in bytes.
        requests: The server's count of requests per operation; empty if the server does not count.
    """

    seconds: float
    cpu_seconds: float
    peak_rss: int
    requests: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Side:
    """One program in a row.

    Attributes:
        name: The name in the table.
        run: Does the work once.
        items: The number of objects of one run, or the MiB of one large object.
        missing: Why the side cannot be measured; if not empty, `run` is not called.
    """

    name: str
    run: Callable[[], Run]
    items: int
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison of several programs.

    Attributes:
        name: The name on the command line.
        what: A description for people.
        sides: Returns the programs, with this checkout's first.
        capacity: Returns in words the rate that the server, or the relay in front of it, can reach.
        unit: The unit of `Side.items` per second.
    """

    name: str
    what: str
    sides: "Callable[[Bench], Sequence[Side]]"
    capacity: "Callable[[Bench], str]"
    unit: str = "objects/s"


class Bench:
    """Files and servers for all rows, each made on first use.

    Args:
        stack: Closes and removes them.
        count: The number of objects of a row.
        delay: Milliseconds of a round trip.
        against: A commit to compare with, or None.
        busy: The number of processes that each occupy a processor during a large transfer.
        tiny: Use tiny sizes, to check only that the code runs.
    """

    def __init__(
        self,
        stack: ExitStack,
        *,
        count: int,
        delay: float,
        against: str | None = None,
        busy: int = 0,
        tiny: bool = False,
    ) -> None:
        self._stack = stack
        self._against = against
        self.count = count
        self.delay = delay
        self.busy = busy
        self.tiny = tiny
        self._made: dict[str, Any] = {}

    @cached_property
    def folder(self) -> Path:
        """Return a new folder, in memory if there is enough."""
        parent = workload.memory_folder(4 * _GIB)
        made = tempfile.TemporaryDirectory(prefix="s3crypt-many-", dir=parent)
        return Path(self._stack.enter_context(made))

    @cached_property
    def checkouts(self) -> list[Checkout]:
        """Return this checkout and, if one was given, the commit to compare with."""
        return commits.checkouts(self._against, self.new_folder("checkouts"))

    @cached_property
    def server(self) -> CannedServer:
        """Return a canned server whose replies have the delay of this run."""
        return self._canned("near", "--size", "1KiB")

    @cached_property
    def parquet_server(self) -> CannedServer:
        """Return a canned server that also serves small Parquet files."""
        return self._canned("parquet", "--parquet")

    @cached_property
    def key_file(self) -> Path:
        """Return the file with the AES key under which all objects are sealed."""
        return self._key("key", _KEY)

    @cached_property
    def other_key_file(self) -> Path:
        """Return a file with another AES key."""
        return self._key("other-key", bytes(reversed(range(32))))

    def source(self, count: int) -> Path:
        """Return a folder with `count` different files of 1 KiB."""
        return self.once(f"source {count}", lambda: self._source(count))

    def new_folder(self, name: str) -> Path:
        """Return a new folder of this name."""
        made = self.folder / name
        made.mkdir()
        return made

    def once(self, name: str, make: Callable[[], _T]) -> _T:
        """Return the value of this name. It is made at the first call, and then kept."""
        if name not in self._made:
            self._made[name] = make()
        found: _T = self._made[name]
        return found

    def relay(self, port: int) -> int:
        """Start a relay to a port, with 25 MiB/s per connection and the run's delay.

        Return its port.
        """
        latency = ("--latency", str(self.delay / 1000))
        command: list[str | Path] = [sys.executable, _HERE / "paced.py", str(port), *latency]
        said = self._stack.enter_context(workload.talking(command))
        return int(said["port"])

    def null_server(self, described: Mapping[str, Mapping[str, str]]) -> nullserver.NullServer:
        """Return a null server whose objects have these headers."""
        return self._stack.enter_context(nullserver.running(self.folder, described))

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Keep `busy` processors busy during the block."""
        busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(self.busy)]
        try:
            yield
        finally:
            for process in busy:
                process.terminate()
                process.wait()

    def _source(self, count: int) -> Path:
        source = self.new_folder(f"source-{count}")
        for number in range(count):
            below = source / f"{number // _FILES_A_FOLDER:04}"
            below.mkdir(exist_ok=True)
            (below / f"{number:07}").write_bytes(number.to_bytes(8) * 128)
        return source

    def _key(self, name: str, key: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(key)
        return path

    def _canned(self, name: str, *options: str) -> CannedServer:
        folder = self.new_folder(f"canned-{name}")
        server = self._stack.enter_context(canned.running(folder, self.delay))
        command: list[str | Path] = [sys.executable, _HERE / "templates.py", folder]
        command += ["--endpoint-url", server.endpoint_url, *options]
        workload.output(command, self.checkouts[0].environment(server.endpoint_url))
        return server


_BUSY = "while True: pass"


def counted(server: CannedServer, capacity_of: str, *options: str, delay: float) -> str:
    """Measure how many requests per second a canned server can reply to. Return this in words."""
    # With a delay, 64 connections would limit the rate, because each one waits for its reply.
    connections = "512" if delay else "64"
    words = (*options, "--connections", connections)
    found = load.capacity(server.port, capacity_of, *words)
    return f"server: {found.requests:,.0f} requests/s by {connections} connections"


def in_turns(sides: Sequence[Side], rounds: int) -> list[list[Run]]:
    """Run all sides in each round. Each round starts with a different side than the one before.

    Return each side's runs.
    """
    runs: list[list[Run]] = [[] for _ in sides]
    for number in range(rounds):
        for at in range(len(sides)):
            which = (number + at) % len(sides)
            runs[which].append(sides[which].run())
    return runs


def check_done(requests: Mapping[str, int], operations: Sequence[str], items: int) -> None:
    """Check that a run made at least one request for each object.

    Raises:
        BenchmarkError: The run made fewer requests of these operations than there are objects.
    """
    made = sum(requests.get(operation, 0) for operation in operations)
    if made < items:
        raise BenchmarkError(f"{made} of {' or '.join(operations)} for {items} objects")


def nobody(**more: str) -> dict[str, str]:
    """Return an environment with made-up credentials. No server of the benchmarks checks them."""
    return workload.environment(
        AWS_ACCESS_KEY_ID="none",
        AWS_SECRET_ACCESS_KEY="none",
        AWS_REGION="us-east-1",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        **more,
    )
