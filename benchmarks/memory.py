# SPDX-License-Identifier: Apache-2.0
"""How much memory and time does one large file take? Exit code 1 if peak RSS is over a limit.

    python benchmarks/memory.py [--size 1GiB 8GiB] [--limit 250MiB] [--folder FOLDER] [--json FILE]

Every operation runs in a process of its own, so its peak memory is only its own. Content that was
read back is compared with the source. Plain boto3 and s5cmd do the same work for comparison; the
limit does not apply to them. This process imports no large package: on Linux a child's peak begins
with its parent's peak.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import commands
import machine
import nullserver
import workload
from peers import MissingPeerError
from workload import BUCKET, CHUNK, BenchmarkError, operate, parse_size, size_name

_OPERATION = Path(__file__).with_name("operation.py")
_OBJECT = f"s3://{BUCKET}/file"
_PLAIN = f"s3://{BUCKET}/plain"


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one operation. All sizes are in bytes, and rates are of plaintext.

    The baseline is the memory before the operation. It is 0 for a command that is not Python,
    because it is not known.
    """

    operation: str
    size: int
    stored_size: int
    seconds: float
    cpu_seconds: float
    baseline_rss: int
    peak_rss: int
    limited: bool

    @property
    def rate(self) -> float:
        """Return the MB of plaintext per second."""
        return self.size / self.seconds / 1e6


@dataclass(frozen=True, slots=True)
class Run:
    """The server and files of all operations at one size."""

    server: nullserver.NullServer
    folder: Path
    size: int
    digest: str

    @property
    def source(self) -> Path:
        """Return the file with the plaintext."""
        return self.folder / "source"

    @property
    def target(self) -> Path:
        """Return the file into which plaintext is read back."""
        return self.folder / "target"

    @property
    def stored(self) -> Path:
        """Return the file of the stored message, which the server serves as an object."""
        return self.server.serve(BUCKET, "file")

    def measured(self, operation: str, report: dict[str, Any], *, limited: bool = True) -> Measured:
        """Return the figures of an operation from the report of operation.py."""
        return Measured(
            operation,
            self.size,
            report["stored_size"],
            report["seconds"],
            report["user_seconds"] + report["system_seconds"],
            report["baseline_rss"],
            report["peak_rss"],
            limited,
        )


def measure(server: nullserver.NullServer, folder: Path, size: int) -> Iterator[Measured]:
    """Run all operations, each in a new process, and check the result of each."""
    run = Run(server, folder, size, workload.make_source(folder / "source", size))
    server.serve(BUCKET, "plain").symlink_to(run.source)
    yield _back(run, "copy", run.source, limited=False)
    yield run.measured("encrypt", operate("encrypt", run.source, run.stored))
    yield _back(run, "decrypt", run.stored)
    yield _put(run, "put file")
    yield _put_pipe(run)
    yield _back(run, "get file", _OBJECT)
    yield _get_pipe(run)
    peers: tuple[Callable[[Run], Measured], ...] = (
        _put_boto3,
        _get_boto3,
        partial(_s5cmd, verb="put"),
        partial(_s5cmd, verb="get"),
    )
    for peer in peers:
        try:
            yield peer(run)
        except MissingPeerError as missing:
            print(f"skipped: {missing}", file=sys.stderr)
    # The name is free again for the file of the next size.
    server.serve(BUCKET, "plain").unlink()


def _put(run: Run, operation: str) -> Measured:
    return _arrived(run, operation, lambda: operate("put", run.source, _OBJECT, *_there(run)))


def _put_pipe(run: Run) -> Measured:
    def put() -> dict[str, Any]:
        with _child(run, "put", "-", _OBJECT) as process:
            assert process.stdin
            with run.source.open("rb") as file, process.stdin as pipe:
                shutil.copyfileobj(file, pipe, CHUNK)
        return _report(run)

    return _arrived(run, "put pipe", put)


def _arrived(run: Run, operation: str, put: Callable[[], dict[str, Any]]) -> Measured:
    before = run.server.bytes_put()
    measured = run.measured(operation, put())
    arrived = run.server.bytes_put() - before
    expected = run.stored.stat().st_size
    if not arrived == measured.stored_size == expected:
        raise BenchmarkError(f"{operation}: {arrived} of {expected} bytes arrived")
    return measured


def _back(run: Run, operation: str, source: Path | str, *, limited: bool = True) -> Measured:
    verb = operation.partition(" ")[0]
    report = operate(verb, source, run.target, *_there(run))
    _compare_target(run, operation)
    return run.measured(operation, report, limited=limited)


def _get_pipe(run: Run) -> Measured:
    with _child(run, "get", _OBJECT, "-") as process:
        assert process.stdout
        _compare(run, "get pipe", process.stdout)
    return run.measured("get pipe", _report(run))


def _put_boto3(run: Run) -> Measured:
    report = operate("put", run.source, _PLAIN, *_there(run), "--mode", "plain")
    return run.measured("put boto3", report, limited=False)


def _get_boto3(run: Run) -> Measured:
    report = operate("get", _PLAIN, run.target, *_there(run), "--mode", "plain")
    _compare_target(run, "get boto3")
    return run.measured("get boto3", report, limited=False)


def _s5cmd(run: Run, verb: str) -> Measured:
    ends = (run.source, _PLAIN) if verb == "put" else (_PLAIN, run.target)
    ended = commands.s5cmd_copy(run.server.endpoint_url, *ends).run()
    if verb == "get":
        _compare_target(run, "get s5cmd")
    return Measured(
        f"{verb} s5cmd",
        run.size,
        run.size,
        ended.seconds,
        ended.cpu_seconds,
        0,
        ended.peak_rss,
        limited=False,
    )


def _compare_target(run: Run, operation: str) -> None:
    with run.target.open("rb") as file:
        _compare(run, operation, file)
    run.target.unlink()


def _compare(run: Run, operation: str, file: IO[bytes]) -> None:
    digest = hashlib.sha256()
    while data := file.read(CHUNK):
        digest.update(data)
    if digest.hexdigest() != run.digest:
        raise BenchmarkError(f"{operation}: what came back is not what was there")


def _there(run: Run) -> tuple[str, str]:
    return "--endpoint-url", run.server.endpoint_url


def _report(run: Run) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((run.folder / "report").read_text())
    return report


@contextmanager
def _child(
    run: Run, verb: str, source: Path | str, target: Path | str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run an operation whose source or target is a pipe, and yield its process.

    Raises:
    BenchmarkError: The operation failed.
    """
    report = run.folder / "report"
    with subprocess.Popen(
        [sys.executable, _OPERATION, verb, source, target, report, *_there(run)],
        stdin=subprocess.PIPE if source == "-" else subprocess.DEVNULL,
        stdout=subprocess.PIPE if target == "-" else sys.stderr,
        env=workload.environment(),
    ) as process:
        try:
            yield process
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise BenchmarkError(f"{verb} by pipe ended with exit code {process.returncode}")


def _line(measured: Measured) -> str:
    return (
        f"{size_name(measured.size):>8} {measured.operation:10} "
        f"{measured.baseline_rss / 2**20:12.0f} {measured.peak_rss / 2**20:8.0f} "
        f"{measured.rate:6.0f} {measured.seconds:8.1f} {measured.cpu_seconds:6.1f}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure memory and time of one large file.")
    parser.add_argument(
        "--size", type=parse_size, nargs="+", default=[2**30, 8 * 2**30], help="(1GiB 8GiB)"
    )
    parser.add_argument("--limit", type=parse_size, default="250MiB", help="peak RSS (250MiB)")
    parser.add_argument("--folder", type=Path, help="where three times the largest size is free")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser.parse_args()


def _all(arguments: argparse.Namespace) -> list[Measured]:
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="s3crypt-memory-", dir=arguments.folder) as name,
        nullserver.running(Path(name)) as server,
    ):
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < 3 * max(arguments.size) * 1.02:
            raise BenchmarkError(f"{free} bytes are free, and three times the size is needed")
        print("    size operation  baseline MiB peak MiB   MB/s  seconds  CPU s", flush=True)
        for size in arguments.size:
            for measured in measure(server, folder, size):
                print(_line(measured), flush=True)
                found.append(measured)
        print(f"the server's own peak: {server.peak_rss() / 2**20:.0f} MiB", file=sys.stderr)
        if complaints := server.complaints():
            raise BenchmarkError(f"nginx complained: {complaints}")
    return found


def main() -> int:
    """Measure, print and clean up. Return 1 if a peak is over the limit or an operation failed."""
    arguments = _arguments()
    try:
        with workload.stopped_by_sigterm():
            found = _all(arguments)
    except (BenchmarkError, nullserver.NullServerError) as error:
        print(f"memory.py: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        whole = {"machine": machine.describe(), "operations": [asdict(each) for each in found]}
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n")
    peak = max(each.peak_rss for each in found if each.limited)
    if peak > arguments.limit:
        print(f"memory.py: {peak} bytes of RSS are over {arguments.limit}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
