# SPDX-License-Identifier: Apache-2.0
"""How much memory, and how long, one large file takes: peak RSS within a limit, or exit code 1.

    python benchmarks/memory.py [--size 4GiB] [--limit 250MiB] [--folder FOLDER] [--json]

Every operation runs in a process of its own, so its peak is its own. What comes back is compared
with what was there. This process imports nothing large: on Linux a child's peak begins with that
of the process it was started from.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import IO

import nullserver

_CHUNK = 2**20
_OPERATION = Path(__file__).with_name("operation.py")
_BUCKET, _NAME = "benchmark", "file"
_OBJECT = f"s3://{_BUCKET}/{_NAME}"
_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class BenchmarkError(Exception):
    """The benchmark cannot run, or an operation failed or did not do what it should."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One operation's figures; all sizes in bytes, the rates in plaintext bytes."""

    operation: str
    size: int
    stored_size: int
    seconds: float
    user_seconds: float
    system_seconds: float
    baseline_rss: int
    peak_rss: int

    @property
    def rate(self) -> float:
        """Return MB/s."""
        return self.size / self.seconds / 1e6


@dataclass(frozen=True, slots=True)
class Run:
    """What every operation needs to know."""

    server: nullserver.NullServer
    folder: Path
    size: int
    digest: str

    @property
    def source(self) -> Path:
        """Return the plaintext."""
        return self.folder / "source"

    @property
    def target(self) -> Path:
        """Return where plaintext comes back to."""
        return self.folder / "target"

    @property
    def stored(self) -> Path:
        """Return the message, which is the object that the server serves."""
        return self.server.serve(_BUCKET, _NAME)


def parse_size(text: str) -> int:
    """Return the bytes of `4GiB`, `32 MiB` or `1000`."""
    match = re.fullmatch(r"(\d+) ?(|B|KiB|MiB|GiB)", text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 4GiB")
    return int(match[1]) * _UNITS[match[2]]


def make_source(path: Path, size: int) -> str:
    """Write `size` bytes, no two MiB of them alike, and return their SHA-256."""
    block = bytearray(random.Random(size).randbytes(_CHUNK))
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for number in range(-(-size // _CHUNK)):
            # A part in another's place must not go unseen.
            block[:8] = number.to_bytes(8)
            data = memoryview(block)[: size - number * _CHUNK]
            digest.update(data)
            file.write(data)
        # Or the disk is still busy with it when the clock runs.
        os.fsync(file.fileno())
    return digest.hexdigest()


def measure(server: nullserver.NullServer, folder: Path, size: int) -> Iterator[Measured]:
    """Run all operations, each in a new process, and check what each did."""
    run = Run(server, folder, size, make_source(folder / "source", size))
    yield _back(run, "copy", run.source)
    yield _operate(run, "encrypt", run.source, run.stored)
    yield _back(run, "decrypt", run.stored)
    yield _put(run, "put file", run.source)
    yield _put(run, "put pipe", "-")
    yield _back(run, "get file", _OBJECT)
    yield _get_pipe(run)


def _operate(run: Run, operation: str, source: Path | str, target: Path | str) -> Measured:
    with _child(run, operation, source, target) as process:
        if process.stdin:
            with run.source.open("rb") as file, process.stdin as pipe:
                shutil.copyfileobj(file, pipe, _CHUNK)
    return _measured(run, operation)


def _put(run: Run, operation: str, source: Path | str) -> Measured:
    before = run.server.bytes_put()
    measured = _operate(run, operation, source, _OBJECT)
    arrived = run.server.bytes_put() - before
    expected = run.stored.stat().st_size
    if not arrived == measured.stored_size == expected:
        raise BenchmarkError(f"{operation}: {arrived} of {expected} bytes arrived")
    return measured


def _back(run: Run, operation: str, source: Path | str) -> Measured:
    measured = _operate(run, operation, source, run.target)
    with run.target.open("rb") as file:
        _compare(run, operation, file)
    run.target.unlink()
    return measured


def _get_pipe(run: Run) -> Measured:
    operation = "get pipe"
    with _child(run, operation, _OBJECT, "-") as process:
        if process.stdout is None:
            raise AssertionError("unreachable: the target is a pipe")
        _compare(run, operation, process.stdout)
    return _measured(run, operation)


def _compare(run: Run, operation: str, file: IO[bytes]) -> None:
    digest = hashlib.sha256()
    while data := file.read(_CHUNK):
        digest.update(data)
    if digest.hexdigest() != run.digest:
        raise BenchmarkError(f"{operation}: what came back is not what was there")


def _measured(run: Run, operation: str) -> Measured:
    report = json.loads((run.folder / "report").read_text())
    return Measured(operation=operation, size=run.size, **report)


@contextmanager
def _child(
    run: Run, operation: str, source: Path | str, target: Path | str
) -> Iterator[subprocess.Popen[bytes]]:
    verb = operation.partition(" ")[0]
    report = run.folder / "report"
    with subprocess.Popen(
        [sys.executable, _OPERATION, verb, run.server.endpoint_url, source, target, report],
        stdin=subprocess.PIPE if source == "-" else subprocess.DEVNULL,
        stdout=subprocess.PIPE if target == "-" else sys.stderr,
        env=_environment(),
    ) as process:
        try:
            yield process
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise BenchmarkError(f"{operation} ended with exit code {process.returncode}")


def _environment() -> dict[str, str]:
    """Return this environment without what would lead boto3 elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "AWS_CONFIG_FILE": os.devnull, "no_proxy": "*"}


def _report(measured: Measured, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(measured)), flush=True)
        return
    print(
        f"{measured.operation:9} {measured.baseline_rss / 2**20:12.0f} "
        f"{measured.peak_rss / 2**20:8.0f} {measured.rate:6.0f} {measured.seconds:8.1f} "
        f"{measured.user_seconds:7.1f} {measured.system_seconds:7.1f}",
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure memory and time of one large file.")
    parser.add_argument("--size", type=parse_size, default="4GiB", help="plaintext (4GiB)")
    parser.add_argument("--limit", type=parse_size, default="250MiB", help="peak RSS (250MiB)")
    parser.add_argument("--folder", type=Path, help="where three times that much is free")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    return parser.parse_args()


def _all(arguments: argparse.Namespace) -> int:
    peak = 0
    with (
        tempfile.TemporaryDirectory(prefix="s3crypt-memory-", dir=arguments.folder) as name,
        nullserver.running(Path(name)) as server,
    ):
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < 3 * arguments.size * 1.02:
            raise BenchmarkError(f"{free} bytes are free, and three times the size is needed")
        if not arguments.json:
            print("operation baseline MiB peak MiB   MB/s  seconds  user s system s")
        for measured in measure(server, folder, arguments.size):
            _report(measured, as_json=arguments.json)
            peak = max(peak, measured.peak_rss)
        print(f"the server's own peak: {server.peak_rss() / 2**20:.0f} MiB", file=sys.stderr)
        if complaints := server.complaints():
            raise BenchmarkError(f"nginx complained: {complaints}")
    return peak


def _terminated(_: int, __: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def main() -> int:
    """Measure, print, clean up; return 1 if it took too much memory or went wrong."""
    arguments = _arguments()
    # So that a stopped benchmark stops its server and removes its files, too.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        peak = _all(arguments)
    except (BenchmarkError, nullserver.NullServerError) as error:
        print(f"memory.py: {error}", file=sys.stderr)
        return 1
    if peak > arguments.limit:
        print(f"memory.py: {peak} bytes of RSS are over {arguments.limit}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
