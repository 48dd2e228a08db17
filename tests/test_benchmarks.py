# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run, small, so that they can still be run large."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import s3crypt

MEMORY = Path(__file__).parents[1] / "benchmarks" / "memory.py"
SIZE = 32 * 2**20 + 1

pytestmark = pytest.mark.skipif(
    shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")
    is None
    or not sys.platform.startswith("linux"),
    reason="needs nginx (Debian: nginx-light) and Linux",
)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the memory benchmark at its test size, with all its files below `folder`."""
    packages = str(Path(s3crypt.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, MEMORY, "--size", str(SIZE), "--folder", folder, "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": packages},
    )


def test_every_operation_is_measured_within_the_limit(tmp_path: Path) -> None:
    """All operations give back what was put, below 250 MiB, and leave no file."""
    with start(tmp_path) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    figures = [json.loads(line) for line in output.splitlines()]
    assert [each["operation"] for each in figures] == [
        "copy",
        "encrypt",
        "decrypt",
        "put file",
        "put pipe",
        "get file",
        "get pipe",
    ]
    assert {each["size"] for each in figures} == {SIZE}
    assert not list(tmp_path.iterdir())


def test_too_much_memory_is_a_failure(tmp_path: Path) -> None:
    """A peak over the limit gives exit code 1 and says so."""
    with start(tmp_path, "--limit", "1MiB") as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    assert "over 1048576" in errors


def test_a_stopped_benchmark_cleans_up(tmp_path: Path) -> None:
    """Terminated in the middle, it stops its server and removes its files."""
    with start(tmp_path) as process:
        assert process.stdout
        process.stdout.readline()
        (pid_file,) = tmp_path.glob("*/*/nginx.pid")
        server = int(pid_file.read_text())
        process.terminate()
        process.communicate()
    assert process.returncode != 0
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
