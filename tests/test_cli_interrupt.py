# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C or SIGTERM in the middle of a put or a get leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from s3crypt.sandbox import Running

# A background process may inherit a setting that ignores ctrl-C. The command under test must react
# to ctrl-C wherever the tests run.
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


def _start(
    directory: Path, *arguments: str, endpoint_url: str | None = None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*_COMMAND, *arguments, "--quiet"],
        cwd=directory,
        env=os.environ | ({"AWS_ENDPOINT_URL_S3": endpoint_url} if endpoint_url else {}),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextmanager
def _withholding(
    sandbox: Running, is_withheld: Callable[[Asked], bool]
) -> Iterator[tuple[str, threading.Event]]:
    """Relay to the sandbox, and withhold some replies until an event.

    The test sets the event after the interrupt. Until then the command cannot end, because it waits
    for running requests.
    """
    interrupted = threading.Event()

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if is_withheld(asked):
            interrupted.wait(60)
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        try:
            yield relay.url, interrupted
        finally:
            interrupted.set()


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def _asks_for_the_end(asked: Asked) -> bool:
    first = asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
    return asked.method == "GET" and int(first) > _SIZE // 2


def _uploads(s3: Any, bucket: str) -> list[Any]:
    return list(s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


def _has_stored_a_part(s3: Any, bucket: str) -> bool:
    return any(
        s3.list_parts(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts")
        for upload in _uploads(s3, bucket)
    )


def _has_written(directory: Path, before: set[str]) -> bool:
    return any((directory / name).stat().st_size for name in _names(directory) - before)


def _interrupt(
    process: subprocess.Popen[bytes],
    number: signal.Signals,
    interrupted: threading.Event | None = None,
) -> None:
    """Interrupt the process, and check that it ends by itself with one line on stderr."""
    assert process.poll() is None, "it ended before it could be interrupted"
    process.send_signal(number)
    if interrupted is not None:
        interrupted.set()
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
    directory: Path,
    sandbox: Running,
    s3: Any,
    bucket: str,
    number: signal.Signals,
    mode: tuple[str, ...],
) -> None:
    """An interrupted put of a file leaves no upload and no object."""
    to = f"s3://{bucket}/a"
    with (
        _withholding(sandbox, lambda asked: asked.query.get("partNumber") == "12") as (url, event),
        _start(directory, "put", "plain", to, *mode, endpoint_url=url) as process,
    ):
        _wait_until(lambda: _has_stored_a_part(s3, bucket))
        _interrupt(process, number, event)
    assert _uploads(s3, bucket) == []
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@_SIGNALS
@_MODES
def test_interrupted_put_of_a_silent_pipe(
    directory: Path, s3: Any, bucket: str, number: signal.Signals, mode: tuple[str, ...]
) -> None:
    """An interrupted put of a pipe that sends no more bytes leaves no upload and no object."""
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
    directory: Path,
    sandbox: Running,
    bucket: str,
    number: signal.Signals,
    mode: tuple[str, ...],
) -> None:
    """An interrupted get leaves neither the file nor a temporary file."""
    with _start(directory, "put", "plain", f"s3://{bucket}/a", *mode) as process:
        assert process.wait(timeout=60) == 0
    before = _names(directory)
    with (
        _withholding(sandbox, _asks_for_the_end) as (url, event),
        _start(directory, "get", f"s3://{bucket}/a", "back", *mode, endpoint_url=url) as process,
    ):
        _wait_until(lambda: _has_written(directory, before))
        _interrupt(process, number, event)
    assert _names(directory) == before


@_SIGNALS
def test_interrupted_encryption_of_a_silent_pipe(directory: Path, number: signal.Signals) -> None:
    """An interrupted encryption of a silent pipe leaves neither the file nor a temporary file."""
    before = _names(directory)
    with _start(directory, "encrypt", "-", "out", "--key", "aes:team/one=key") as process:
        assert process.stdin is not None
        process.stdin.write(bytes(3_000_000))
        process.stdin.flush()
        _wait_until(lambda: _has_written(directory, before))
        _interrupt(process, number)
    assert _names(directory) == before
