# SPDX-License-Identifier: Apache-2.0
"""Processes that end, fork or are interrupted while they write a file leave no upload."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying
from samples import PART, names, uploads
from writer_samples import HANG, is_empty, run_script

import s3crypt

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3crypt.sandbox import Running

_LEFT = """
import sys
from s3crypt import *
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))))
store.open(f"s3://{sys.argv[1]}/dropped", "wb").write(b"1234567")
file = store.open(f"s3://{sys.argv[1]}/x", "wb")
file.write(bytes(20_000_000))
if sys.argv[2] == "raise":
    raise SystemExit(5)
sys.exit(5)
"""


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_a_process_that_ends_stores_nothing(how: str, bucket: str, s3: Any) -> None:
    """If a process ends with open files, nothing is stored, and a warning is printed."""
    done = run_script(_LEFT, bucket, how)
    told = done.stderr.decode()
    assert done.returncode == 5, told
    for name, size, cause in (("dropped", 7, "dropped"), ("x", 20_000_000, "interpreter")):
        assert f"RuntimeWarning: s3://{bucket}/{name}: nothing is stored of the {size} " in told
        assert cause in told.partition(f"{bucket}/{name}: ")[2].partition("\n")[0]
    assert told.count("RuntimeWarning") == 2
    assert is_empty(s3, bucket)


_ENDS = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
signal.signal(signal.SIGINT, signal.default_int_handler)
from s3crypt import *
endpoint, bucket, how, size = sys.argv[1:]
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))), endpoint_url=endpoint)

def run():
    file = store.open(f"s3://{bucket}/x", "wb")
    file.write(bytes(int(size)))
    if how == "drop":
        return
    print("ready", flush=True)
    try:
        getattr(file, how)()
    except KeyboardInterrupt:
        print("interrupted", flush=True)

run()
"""


@pytest.mark.parametrize(
    ("how", "size"), [("drop", 3 * PART), ("close", 3 * PART), ("abort", 3 * PART), ("close", 9)]
)
def test_a_process_that_ends_leaves_no_upload(
    how: str, size: int, sandbox: Running, bucket: str, s3: Any
) -> None:
    """If a process ends after a dropped file or an interrupted close, no upload is left."""
    seen = threading.Event()

    def slow(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method in ("PUT", "DELETE"):
            seen.set()
            time.sleep(0.4)
        return forward()

    root = str(Path(s3crypt.__file__).resolve().parents[1])
    with (
        relaying(sandbox.endpoint_url, slow) as relay,
        subprocess.Popen(
            [sys.executable, "-c", _ENDS, relay.url, bucket, how, str(size)],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout
        if how != "drop":
            assert process.stdout.readline() == b"ready\n"
            assert seen.wait(HANG)
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
        try:
            told, errors = process.communicate(timeout=HANG)
        finally:
            process.kill()
    assert process.returncode == 0, errors.decode()
    assert uploads(s3, bucket) == []
    if how != "close" or (size > PART and b"interrupted" in told):
        assert names(s3, bucket) == []


_FORKED = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
from s3crypt import *
uri, how = f"s3://{sys.argv[1]}/x", sys.argv[2]
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))))
file = store.open(uri, "wb")
file.write(bytes(20_000_000))
child = os.fork()
if not child:
    signal.alarm(15)  # ends it by a signal
    deeds = {"write": lambda: file.write(b"x" * 2**24), "close": file.close, "drop": None,
             "abort": file.abort, "exit": None}
    if how in ("write", "close"):
        try:
            deeds[how]()
        except StorageError as error:
            assert "fork" in str(error)
        else:
            os._exit(9)
    elif how == "abort":
        file.abort()
    if how != "exit":
        del deeds, file
    sys.exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert code == 7, code
file.write(b"the end")
file.close()
assert store.read(uri) == bytes(20_000_000) + b"the end"
"""


@pytest.mark.parametrize("how", ["write", "close", "abort", "drop", "exit"])
def test_a_file_is_not_written_over_a_fork(how: str, bucket: str, s3: Any) -> None:
    """A forked child cannot write the parent's file, and does not hang; the parent can go on."""
    done = run_script(_FORKED, bucket, how)
    assert done.returncode == 0, done.stderr.decode()
    assert uploads(s3, bucket) == []
