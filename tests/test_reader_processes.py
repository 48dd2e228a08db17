# SPDX-License-Identifier: Apache-2.0
"""Processes that fork or exit while an object is open or is read ahead."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from reader_samples import HANG, Far
from relay import relaying

import s3crypt
from s3crypt import AESKeyring, ClientSide, S3Crypt

if TYPE_CHECKING:
    from s3crypt.sandbox import Running

_FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")
from s3crypt import *
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32)), frame_length=4096))
uri = f"s3://{sys.argv[1]}/x"
store.put(bytes(900_000), uri)
file = store.open(uri, cache_length=0)
child = os.fork()
if not child:
    try:
        file.seek(700_000)
        file.read(9)
    except StorageError as error:
        os._exit(7 if "fork" in str(error) else 8)
    os._exit(9)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
file.seek(700_000)
assert file.read(9) == bytes(9)
"""


def test_a_file_is_not_read_over_a_fork(bucket: str) -> None:
    """After a fork, a read in the child is an error, and the parent reads on."""
    root = str(Path(s3crypt.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _FORKED, bucket],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr.decode()


_CHILD = """
import faulthandler, os, signal, sys, warnings
warnings.simplefilter("ignore")
from s3crypt import *
uri, endpoint, how = sys.argv[1:]
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))), endpoint_url=endpoint)
file = store.open(uri)
count = 0
while count < 3 * 2**20:
    count += len(file.read(100_000))
sys.stdin.readline()
"""

_FORKED_AHEAD = (
    _CHILD
    + """
child = os.fork()
if not child:
    signal.alarm(15)  # ends it by a signal
    for deed in (lambda: file.read(100_000), lambda: file.read(5), lambda: file.size,
                 lambda: file.read_ranges([(0, 5), (count, None)]), lambda: file.seek(0, 2)):
        try:
            deed()
        except StorageError as error:
            if "fork" not in str(error):
                os._exit(8)
        else:
            os._exit(9)
    if how == "close":
        file.close()
    del file
    os._exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os._exit(0 if code == 7 else 100 + abs(code))
"""
)

_EXIT = (
    _CHILD
    + """
if how == "close":
    file.close()
"""
)


def _stalled(
    sandbox: Running, session: Any, bucket: str, script: str, how: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a script that reads an object, while a relay holds back replies to its read-ahead."""
    uri, far = f"s3://{bucket}/x", Far()
    mode = ClientSide(AESKeyring("tests", "one", bytes(32)))
    root = str(Path(s3crypt.__file__).resolve().parents[1])
    with relaying(sandbox.endpoint_url, far) as relay:
        S3Crypt(mode, client=session.client("s3")).put(bytes(24 * 2**20), uri)
        far.held = range(4 * 2**20, 23 * 2**20)
        command = [sys.executable, "-c", script, uri, relay.url, how]
        with subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": root},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                while process.poll() is None and not far.is_holding:
                    time.sleep(0.01)
                told, errors = process.communicate(b"\n", timeout=HANG)
            finally:
                process.kill()
                far.go.set()
        return subprocess.CompletedProcess(command, process.returncode, told, errors)


_FORKED_READING = (
    _CHILD
    + """
import threading, time
file.seek(6 * 2**20)
reader = threading.Thread(target=lambda: file.read(100_000), daemon=True)
reader.start()
reader.join(0.5)
assert reader.is_alive()
child = os.fork()
if not child:
    signal.alarm(8)  # ends it by a signal
    try:
        {"read": lambda: file.read(100_000), "close": file.close, "drop": lambda: None,
         "read_ranges": lambda: file.read_ranges([(0, 5)])}[how]()
    except StorageError as error:
        if "fork" not in str(error):
            os._exit(8)
    del file
    os._exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os._exit(0 if code == 7 else 100 + abs(code))
"""
)


@pytest.mark.parametrize("how", ["read", "read_ranges", "close", "drop"])
def test_a_fork_while_a_thread_reads(how: str, sandbox: Running, session: Any, bucket: str) -> None:
    """If a thread reads during a fork, the child does not hang on the thread's locks."""
    done = _stalled(sandbox, session, bucket, _FORKED_READING, how)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_process_does_not_wait_for_what_it_reads_ahead(
    how: str, sandbox: Running, session: Any, bucket: str
) -> None:
    """A process exits at once, even if its read-ahead never gets a reply."""
    done = _stalled(sandbox, session, bucket, _EXIT, how)
    assert done.returncode == 0, done.stderr.decode()
