# SPDX-License-Identifier: Apache-2.0
"""`s3crypt policy apply` as a process: its question on a terminal, and an interrupt."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from relay import Answer, Asked, relaying
from written_policies import policy, statement

if TYPE_CHECKING:
    from collections.abc import Callable
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
    "policy",
    "apply",
    "wanted.json",
)


@pytest.fixture
def directory(tmp_path: Path, bucket: str) -> Path:
    """Make a directory with a wanted policy."""
    wanted = policy(statement("S3cryptTLS", bucket))
    (tmp_path / "wanted.json").write_text(json.dumps(wanted))
    return tmp_path


@pytest.mark.parametrize(("answer", "is_written"), [(b"y\n", True), (b"n\n", False)])
def test_the_question_is_asked_on_a_terminal(
    answer: bytes, is_written: bool, directory: Path, bucket: str
) -> None:
    """The command shows the difference before it asks.

    Without a yes nothing is written or saved.
    """
    controller, terminal = pty.openpty()
    command = [*_COMMAND, f"s3://{bucket}"]
    with subprocess.Popen(
        command, cwd=directory, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.close(terminal)
        os.write(controller, answer)
        out, err = process.communicate(timeout=30)
    os.close(controller)
    assert process.returncode == 0, err
    assert b"S3cryptTLS is added" in out
    assert f"Write the policy of s3://{bucket}? [y/N]".encode() in err
    assert (b"\nundo: " in out) is is_written
    assert len(list(directory.iterdir())) == 1 + is_written


def test_an_interrupt_within_the_write_says_what_may_be(
    directory: Path, bucket: str, sandbox: Running
) -> None:
    """After an interrupt during the write the exit code is 130.

    The output names the command that restores the old policy.
    """
    arrived, ended = threading.Event(), threading.Event()

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "PUT":
            arrived.set()
            ended.wait(30)
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        process = subprocess.Popen(
            [*_COMMAND, f"s3://{bucket}", "--yes"],
            cwd=directory,
            env=os.environ | {"AWS_ENDPOINT_URL_S3": relay.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert arrived.wait(30)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        ended.set()
    (saved,) = directory.glob(f"{bucket}-policy-*.json")
    assert process.returncode == 130
    interrupted, told = err.decode().splitlines()[-2:]
    assert interrupted == "s3crypt: interrupted"
    assert told.startswith(f"s3crypt: s3://{bucket}: its policy may be changed")
    assert told.endswith(f"`s3crypt policy apply {saved.name} s3://{bucket}`")
