# SPDX-License-Identifier: Apache-2.0
"""How does this checkout's CPU time compare with another commit's, in alternating pairs?

pairs.py calls this module. Both sides run the benchmark code of this checkout, with the same
interpreter and dependencies, each in a process of its own. Only one of the two works at a time.
Every round has new processes: two processes of the same commit differ by up to 15 % for their whole
life, because of memory addresses, the order of hashes and the core that each runs on.
"""

import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import nullserver
import workload
from workload import BUCKET, BenchmarkError

_HERE = Path(__file__).parent
_SIDE = _HERE / "side.py"
BOUND = 1.03
_RESAMPLES = 10_000
_GIB = 2**30
# boto3 must not hash payloads: over http this would cost more than all other work, and over https
# boto3 does not do it either.
_CONFIGURATION = "[default]\nregion = us-east-1\ns3 =\n    payload_signing_enabled = false\n"


@dataclass(frozen=True, slots=True)
class Figures:
    """The CPU seconds of one row in each round.

    Attributes:
        name: The row.
        theirs, ours: The seconds of the other commit, and of this checkout.
    """

    name: str
    theirs: list[float]
    ours: list[float]

    @property
    def ratios(self) -> list[float]:
        """Return, for each pair of runs, this checkout's CPU time divided by the other commit's."""
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 90 % interval of the median ratio, by bootstrap with fixed draws."""
        draws = random.Random(0)
        ratios = self.ratios
        medians = sorted(median(draws.choices(ratios, k=len(ratios))) for _ in range(_RESAMPLES))
        return medians[_RESAMPLES // 20], medians[-_RESAMPLES // 20 - 1]

    @property
    def is_met(self) -> bool:
        """Return whether the whole interval is below the bound."""
        return self.interval[1] < BOUND

    def __str__(self) -> str:
        low, high = self.interval
        seconds = f"{median(self.theirs):7.3f} s {median(self.ours):7.3f} s"
        verdict = "" if self.is_met else f"  not below {BOUND}"
        return f"{self.name:14} {seconds}  {median(self.ratios):.3f}  {low:.3f}-{high:.3f}{verdict}"


def extract(commit: str, folder: Path) -> str:
    """Write the files of a commit to a folder. Return the commit's short name.

    Raises:
        BenchmarkError: There is no such commit, or this folder is not a git checkout.
    """
    for command in (["rev-parse", "--short", f"{commit}^{{commit}}"], ["archive", commit]):
        done = subprocess.run(
            ["git", "-C", str(_HERE.parent), *command], capture_output=True, check=False
        )
        if done.returncode:
            raise BenchmarkError(f"git {command[0]}: {done.stderr.decode().strip()}")
        if command[0] == "rev-parse":
            name = done.stdout.decode().strip()
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return name


def environment(checkout: Path, folder: Path) -> dict[str, str]:
    """Return the environment of a checkout's process, whose AWS configuration is in `folder`."""
    configuration = folder / "configuration"
    configuration.write_text(_CONFIGURATION)
    return workload.environment(
        AWS_CONFIG_FILE=str(configuration),
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_ACCESS_KEY_ID="none",
        AWS_SECRET_ACCESS_KEY="none",
        AWS_EC2_METADATA_DISABLED="true",
        PYTHONPATH=str(checkout),
    )


class _Side:
    """A process that repeats the work of one row with the code of one checkout."""

    def __init__(self, process: subprocess.Popen[str], checkout: Path) -> None:
        self._process = process
        self._checkout = checkout

    def ask(self, line: str) -> str:
        """Send a text, which may be empty, to the process. Return the next line that it prints."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line)
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise BenchmarkError(f"the side of {self._checkout} ended with {self._process.wait()}")
        return answer.strip()


@contextmanager
def _side(checkout: Path, folder: Path, *words: str) -> Iterator[_Side]:
    with subprocess.Popen(
        [sys.executable, _SIDE, checkout, folder, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(checkout, folder),
    ) as process:
        assert process.stdin
        try:
            yield _Side(process, checkout)
        finally:
            process.stdin.close()


def _measure(
    row: str, checkouts: tuple[Path, Path], folder: Path, rounds: int, words: Sequence[str]
) -> Figures:
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        with ExitStack() as stack:
            sides = [stack.enter_context(_side(each, folder, row, *words)) for each in checkouts]
            for side in sides:
                side.ask("")
            # The side that starts a round alternates.
            for which in (0, 1) if number % 2 else (1, 0):
                seconds[which].append(float(sides[which].ask("go\n")))
    return Figures(row, *seconds)


def compare(commit: str, rows: Sequence[str], rounds: int, *, tiny: bool) -> int:
    """Measure the rows and print them. Return 1 if a row is not below the bound, or else 0."""
    with ExitStack() as stack:
        parent = workload.memory_folder(4 * _GIB)
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="s3crypt-pairs-", dir=parent))
        folder, other = Path(name), Path(name) / "other"
        other.mkdir()
        print(f"against {extract(commit, other)}, {rounds} rounds, bound {BOUND}")
        print(f"{'row':14} {'theirs':>9} {'ours':>9}  ratio  90 % interval", flush=True)
        options = ["--tiny"] * tiny
        # The other commit writes the objects, so both sides can read them.
        made: list[str | Path] = [sys.executable, _SIDE, other, folder, "make", *options]
        described = json.loads(workload.output(made, environment(other, folder)))
        server = stack.enter_context(nullserver.running(folder, described))
        for place in described:
            name = place.partition("/")[2]
            server.serve(BUCKET, name).symlink_to(folder / name)
        options += ["--endpoint-url", server.endpoint_url]
        missed = 0
        for row in rows:
            figures = _measure(row, (other, _HERE.parent), folder, rounds, options)
            missed += not figures.is_met
            print(figures, flush=True)
    return int(bool(missed))
