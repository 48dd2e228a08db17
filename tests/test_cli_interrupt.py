# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, and a polite kill, in the middle of a put and of a get leave nothing behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A background job inherits that ctrl-C is ignored; these must heed it wherever the tests run.
_COMMAND = (
    sys.executable,
    "-c",
    """if True:
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from s3crypt_cli.main import main
        main()
    """,
)
_SIZE = 96 * 2**20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a directory with a key and a file of several parts."""
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
    )


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def _uploads(s3: Any, bucket: str) -> list[Any]:
    return list(s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


def _has_stored_a_part(s3: Any, bucket: str) -> bool:
    return any(
        s3.list_parts(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts")
        for upload in _uploads(s3, bucket)
    )


def _has_written(directory: Path, before: set[str]) -> bool:
    return any((directory / name).stat().st_size for name in _names(directory) - before)


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
        _wait_until(lambda: _has_stored_a_part(s3, bucket))
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
        _wait_until(lambda: _has_stored_a_part(s3, bucket))
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
    before = _names(directory)
    with _start(directory, "get", f"s3://{bucket}/a", "back", *mode) as process:
        _wait_until(lambda: _has_written(directory, before))
        _interrupt(process, number)
    assert _names(directory) == before


@_SIGNALS
def test_interrupted_encryption_of_a_silent_pipe(directory: Path, number: signal.Signals) -> None:
    """Neither the file nor a temporary one stays."""
    before = _names(directory)
    with _start(directory, "encrypt", "-", "out", "--key", "aes:team/one=key") as process:
        assert process.stdin is not None
        process.stdin.write(bytes(3_000_000))
        process.stdin.flush()
        _wait_until(lambda: _has_written(directory, before))
        _interrupt(process, number)
    assert _names(directory) == before
