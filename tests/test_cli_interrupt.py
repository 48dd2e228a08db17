# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, and a polite kill, in the middle of a put and of a get leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_COMMAND = (sys.executable, "-m", "s3crypt_cli")
_SIZE = 96 * 2**20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with a key and a file of several parts."""
    (tmp_path / "key").write_bytes(bytes(range(32)))
    with (tmp_path / "plain").open("wb") as file:
        file.truncate(_SIZE)
    return tmp_path


def _start(directory: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*_COMMAND, *arguments, "--quiet"],
        cwd=directory,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    """Undo what a background job inherits: ignoring ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def _uploads(s3: Any, bucket: str) -> list[Any]:
    return list(s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


def _interrupt(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Interrupt it and see that it ends by itself, saying so in one line."""
    assert process.poll() is None, "it ended before it could be interrupted"
    process.send_signal(number)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    assert (process.wait(timeout=60), said.strip()) == (130, "s3crypt: interrupted")


_SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
_MODES = pytest.mark.parametrize(
    "mode", [("--key", "aes:team/one=key"), ("--mode", "sse-s3")], ids=["client", "sse-s3"]
)


@_SIGNALS
@_MODES
def test_interrupted_put_of_a_file(
    directory: Path, s3: Any, bucket: str, number: signal.Signals, mode: tuple[str, ...]
) -> None:
    """No upload and no object stays."""
    with _start(directory, "put", "plain", f"s3://{bucket}/a", *mode) as process:
        _wait_until(lambda: _uploads(s3, bucket))
        _interrupt(process, number)
    assert _uploads(s3, bucket) == []
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@_SIGNALS
@_MODES
def test_interrupted_put_of_a_silent_pipe(
    directory: Path, s3: Any, bucket: str, number: signal.Signals, mode: tuple[str, ...]
) -> None:
    """No upload and no object stays, though nothing comes down the pipe any more."""
    with _start(directory, "put", "-", f"s3://{bucket}/a", *mode) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(40 * 2**20))
        process.stdin.flush()
        _wait_until(lambda: _uploads(s3, bucket))
        _interrupt(process, number)
    assert _uploads(s3, bucket) == []
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@_SIGNALS
@_MODES
def test_interrupted_get(
    directory: Path, bucket: str, number: signal.Signals, mode: tuple[str, ...]
) -> None:
    """Neither the file nor a temporary one stays."""
    with _start(directory, "put", "plain", f"s3://{bucket}/a", *mode) as process:
        assert process.wait(timeout=60) == 0
    before = sorted(os.listdir(directory))
    with _start(directory, "get", f"s3://{bucket}/a", "back", *mode) as process:
        _wait_until(lambda: len(os.listdir(directory)) > len(before))
        _interrupt(process, number)
    assert sorted(os.listdir(directory)) == before
