# SPDX-License-Identifier: Apache-2.0
"""Sizes, made-up data, folders, and processes that are measured from outside.

This module imports no large package: on Linux a child's peak memory begins with its parent's peak.
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
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

CHUNK = 2**20
BUCKET = "benchmark"
_MEMORY_FOLDER = Path("/dev/shm")
_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_OPERATION = Path(__file__).with_name("operation.py")


class BenchmarkError(Exception):
    """The benchmark cannot run, or an operation failed or had a wrong result."""


def parse_size(text: str) -> int:
    """Return the number of bytes that a text such as `4GiB`, `32 MiB` or `1000` means."""
    match = re.fullmatch(r"(\d+) ?(|B|KiB|MiB|GiB)", text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 4GiB")
    return int(match[1]) * _UNITS[match[2]]


def size_name(size: int) -> str:
    """Return a size as text, such as `64KiB`, which `parse_size` accepts."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and not size % _UNITS[unit]:
            return f"{size // _UNITS[unit]}{unit}"
    return f"{size}B"


def make_source(path: Path, size: int) -> str:
    """Write `size` bytes in which no two MiB are equal. Return their SHA-256."""
    block = bytearray(random.Random(size).randbytes(CHUNK))
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for number in range(-(-size // CHUNK)):
            # Each MiB is different, so the SHA-256 detects parts in the wrong place.
            block[:8] = number.to_bytes(8)
            data = memoryview(block)[: size - number * CHUNK]
            digest.update(data)
            file.write(data)
        # Without fsync, the disk would still be busy with the file when the clock starts.
        os.fsync(file.fileno())
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def memory_folder(needed: int) -> Path:
    """Return a folder in memory if `needed` bytes are free there, or else a temporary folder."""
    if _MEMORY_FOLDER.is_dir() and shutil.disk_usage(_MEMORY_FOLDER).free > needed:
        return _MEMORY_FOLDER
    return Path(tempfile.gettempdir())


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment plus `more`, without variables for AWS clients."""
    # PYTHONDONTWRITEBYTECODE is removed too: without byte code files, each run would compile every
    # module that it imports, for half a second.
    left_out = ("AWS_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return {**kept, "AWS_CONFIG_FILE": os.devnull, "no_proxy": "*", **more}


@dataclass(frozen=True, slots=True)
class Ended:
    """The figures of a whole process, from its start to its end, as the kernel counts them.

    Attributes:
        seconds: Wall-clock seconds.
        cpu_seconds: CPU seconds, user and system, of all its threads and its own children.
        peak_rss: Peak resident memory in bytes.
    """

    seconds: float
    cpu_seconds: float
    peak_rss: int


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end. Return the kernel's figures.

    Raises:
        BenchmarkError: The command failed; the message has its output.
    """
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            words = " ".join(str(word) for word in command)
            raise BenchmarkError(f"{words}: {said.read().decode(errors='replace').strip()}")
    # Linux counts resident memory in KiB, not in bytes.
    return Ended(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def output(command: Sequence[str | Path], environment: Mapping[str, str]) -> str:
    """Run a command and return its standard output.

    Raises:
        BenchmarkError: The command failed; the message has its standard error.
    """
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        words = " ".join(str(word) for word in command)
        raise BenchmarkError(f"{words}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def talking(command: Sequence[str | Path]) -> Iterator[dict[str, Any]]:
    """Run a server during the block. Yield the line of JSON that it prints at its start.

    The server ends when its standard input is closed.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            said = process.stdout.readline()
            if not said:
                raise BenchmarkError(f"{command[-1]} did not start")
            yield json.loads(said)
        finally:
            process.stdin.close()


def operate(
    operation: str,
    source: Path | str,
    target: Path | str,
    *options: str,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run an operation of operation.py in a process of its own. Return its report."""
    with tempfile.TemporaryDirectory(prefix="s3crypt-report-") as folder:
        report = Path(folder) / "report"
        whole = run(
            [sys.executable, _OPERATION, operation, source, target, report, *options],
            environment or globals()["environment"](),
        )
        measured: dict[str, Any] = json.loads(report.read_text())
    return {**measured, "process_seconds": whole.seconds, "process_cpu_seconds": whole.cpu_seconds}


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an exception during the block, so servers are stopped and files removed."""

    def stop(_: int, __: FrameType | None) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
