# SPDX-License-Identifier: Apache-2.0
"""One store is used in several threads and processes, over a fork, and when it is interrupted.

Code that forks or is interrupted runs as a separate script, so the test runner is not affected.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from samples import LARGE, MODES, PART, aes, connect, files, make_mode, names, payload, uploads

import s3crypt
from s3crypt import ClientSide, ConflictError, KMSKeyring, S3Crypt

_HEAD = """
import multiprocessing, os, signal, sys
from s3crypt import *
bucket, key, folder = sys.argv[1:4]
data = bytes(range(256)) * 40_000  # more than one part

def make(name):
    if name == "sse-kms":
        return SSEKMS(key)
    return ClientSide(KMSKeyring(key), key_location=name)

def check(store, name):
    uri = f"s3://{bucket}/{name}"
    store.put(data, uri)
    assert store.read(uri) == data
    store.get(uri, f"{folder}/{name}")
    assert open(f"{folder}/{name}", "rb").read() == data
"""


def script(text: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a script that begins with the code of `_HEAD`."""
    root = str(Path(s3crypt.__file__).resolve().parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", _HEAD + text, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes], code: int = 0) -> str:
    """Wait for a script, check its exit code, and return its output."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err.decode()
    return out.decode()


# --- Threads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
def test_threads_share_a_store(name: str, bucket: str, kms_key: str, tmp_path: Path) -> None:
    """Each thread reads back the bytes that it put, from the first request on."""
    store = S3Crypt(make_mode(name, kms_key))

    def turn(number: int) -> bool:
        size, uri = 100_000 * (number % 3) + number, f"s3://{bucket}/{number}"
        store.put(payload(size), uri)
        store.get(uri, tmp_path / str(number))
        return (tmp_path / str(number)).read_bytes() == store.read(uri) == payload(size)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(turn, range(16)))


def test_threads_share_a_new_keyring(bucket: str, kms_key: str) -> None:
    """A new keyring works if several threads need its client at the same time."""
    barrier = threading.Barrier(8)
    store = S3Crypt(ClientSide(KMSKeyring(kms_key)))

    def turn(number: int) -> bytes:
        barrier.wait()
        store.put(b"%d" % number, f"s3://{bucket}/{number}")
        return store.read(f"s3://{bucket}/{number}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(turn, range(8))) == [b"%d" % number for number in range(8)]


@pytest.mark.parametrize("size", [10, PART + 10])
def test_one_of_many_creates_an_object(size: int, bucket: str, s3: Any) -> None:
    """With if_absent one thread succeeds, and the other threads get a ConflictError."""
    store = connect(ClientSide(aes()))
    barrier = threading.Barrier(4)

    def turn(number: int) -> int | None:
        barrier.wait()
        try:
            store.put(payload(size + number), f"s3://{bucket}/x", if_absent=True)
        except ConflictError:
            return None
        return number

    with ThreadPoolExecutor(4) as pool:
        (winner,) = [won for won in pool.map(turn, range(4)) if won is not None]
    assert store.read(f"s3://{bucket}/x") == payload(size + winner)
    assert uploads(s3, bucket) == []


def test_a_read_beside_writes_is_one_version_or_a_conflict(bucket: str, tmp_path: Path) -> None:
    """A get while another thread writes returns one version or a conflict, never a mix."""
    store, uri = connect(ClientSide(aes())), f"s3://{bucket}/x"
    versions = [payload(LARGE), payload(LARGE)[::-1]]
    store.put(versions[0], uri)
    done = threading.Event()

    def write() -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            store.put(versions[turn % 2], uri)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            for _ in range(5):
                try:
                    store.get(uri, tmp_path / "out")
                except ConflictError:
                    continue
                assert (tmp_path / "out").read_bytes() in versions
        finally:
            done.set()
        writing.result()
    store.get(uri, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() in versions
    assert files(tmp_path) in ([], ["out"])


def test_modes_can_be_pickled() -> None:
    """Modes with any keyring can be pickled, because job engines send them to worker processes."""
    used, key = aes(), bytes(range(32))
    wrapped = used.wrap(key, {})
    mode = ClientSide(used, key_location="metadata")
    copy = pickle.loads(pickle.dumps(mode))
    assert copy == mode
    assert copy.keyring.unwrap(wrapped, {}, len(key)) == key
    keyring = pickle.loads(pickle.dumps(KMSKeyring("alias/x")))
    assert (keyring.key, keyring.client.meta.service_model.service_name) == ("alias/x", "kms")


def test_stores_and_sessions_cannot_be_pickled() -> None:
    """Stores and sessions refuse to be pickled, because two processes would share connections."""
    session = boto3.Session()
    for thing in (connect(ClientSide(aes())), KMSKeyring("alias/x", session=session)):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(thing)


# --- Processes -------------------------------------------------------------------------------

_BOTH = """
store = S3Crypt(make(sys.argv[4]))
for turn in range(3):
    check(store, f"{os.getpid()}-{turn}")
    store.put(data, f"s3://{bucket}/shared")
    try:
        assert store.read(f"s3://{bucket}/shared") == data
    except ConflictError:
        pass  # the other process has just put it again
"""

_FORK = """
store = S3Crypt(make(sys.argv[4]))
check(store, "before")
child = os.fork()
if child == 0:
    try:
        for turn in range(3):
            check(store, f"child{turn}")
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)
for turn in range(3):
    check(store, f"parent{turn}")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
check(store, "after")
"""

_POOL = """
store = S3Crypt(make(sys.argv[4]))
check(store, "before")

def turn(number):
    check(store, f"pool{number}")
    return number

with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(turn, range(4)) == [0, 1, 2, 3]
"""

_FORK_LOCKED = """
# A thread is making a client, and so holds the lock, just when the process forks.
import threading
import boto3
making, forked = threading.Event(), threading.Event()

class Slow(boto3.Session):
    def client(self, *args, **options):
        if threading.current_thread() is not threading.main_thread():
            making.set()
            forked.wait()
        return super().client(*args, **options)

store = S3Crypt(SSES3(), session=Slow())
thread = threading.Thread(target=lambda: store.client)
thread.start()
making.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    check(store, "child")
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
forked.set()
thread.join()
sys.exit(status)
"""

_FORK_CLIENT = """
import boto3
store = S3Crypt(SSES3(), client=boto3.client("s3"))
keyring = KMSKeyring(key, client=boto3.client("kms"))
store.put(b"x", f"s3://{bucket}/x")
child = os.fork()
if child == 0:
    told = 0
    for call in (
        lambda: store.read(f"s3://{bucket}/x"),
        lambda: store.put(b"y", f"s3://{bucket}/x"),
        lambda: keyring.generate(32, {}),
    ):
        try:
            call()
        except ConfigError as error:
            told += "fork" in str(error) and bool(error.hint)
    os._exit(0 if told == 3 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert store.read(f"s3://{bucket}/x") == b"x"
"""


@pytest.mark.parametrize("mode", ["sse-kms", "metadata"])
def test_processes_share_a_bucket(
    mode: str, bucket: str, kms_key: str, s3: Any, tmp_path: Path
) -> None:
    """Two processes can write at the same time, to their own names and to a shared name."""
    both = [script(_BOTH, bucket, kms_key, tmp_path, mode) for _ in range(2)]
    for process in both:
        finish(process)
    assert len(names(s3, bucket)) == 7
    assert uploads(s3, bucket) == []


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (_FORK, "sse-kms"),
        (_FORK, "header"),
        (_POOL, "metadata"),
        (_FORK_LOCKED, "none"),
        (_FORK_CLIENT, "none"),
    ],
    ids=["fork-sse-kms", "fork-header", "pool-metadata", "fork-while-locked", "fork-given-client"],
)
def test_a_store_survives_a_fork(
    text: str, mode: str, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """After a fork parent and child have their own connections; a given client is refused."""
    finish(script(text, bucket, kms_key, tmp_path, mode))


# --- Interrupts ------------------------------------------------------------------------------

_INTERRUPT = """
# A background job inherits that ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sent = []

def interrupt(*_, **__):
    if not sent:
        sent.append(True)
        os.kill(os.getpid(), signal.SIGINT)

class Source:
    def __init__(self, before):
        self.left, self.before = data * 3, before

    def read(self, count):
        if len(data) * 3 - len(self.left) >= self.before:
            interrupt()
        chunk, self.left = self.left[:count], self.left[count:]
        return chunk

uri = f"s3://{bucket}/x"
store = S3Crypt(make("header") if sys.argv[4] == "header" else SSES3())
"""

INTERRUPTS = {
    "put, in progress": "store.put(data * 3, uri, progress=interrupt)",
    "put, first read": "store.put(Source(0), uri)",
    "put, later read": "store.put(Source(12_000_000), uri)",
    "get, in progress": "store.get(uri, folder + '/out', progress=interrupt)",
    "get, to a stream": """
class Target:
    def write(self, chunk):
        interrupt()
        return len(chunk)
store.get(uri, Target())
""",
    "put, beginning": """
store.client.meta.events.register("before-send.s3.CreateMultipartUpload", interrupt)
store.put(data * 3, uri)
""",
    "put, first part": """
store.client.meta.events.register("before-call.s3.UploadPart", interrupt)
store.put(data * 3, uri)
""",
    "put, completing": """
store.client.meta.events.register("before-call.s3.CompleteMultipartUpload", interrupt)
store.put(data * 3, uri)
""",
    "get, first section": """
opened = []

def second(**_):
    opened.append(True)
    if len(opened) == 2:
        interrupt()

store.client.meta.events.register("before-call.s3.GetObject", second)
store.get(uri, folder + "/out")
""",
    "get, opening": """
store.client.meta.events.register("before-call.s3.GetObject", interrupt)
store.get(uri, folder + "/out")
""",
}


@pytest.mark.parametrize("mode", ["header", "sse"])
@pytest.mark.parametrize("when", INTERRUPTS)
def test_an_interrupt_leaves_nothing(
    when: str, mode: str, bucket: str, kms_key: str, s3: Any, tmp_path: Path
) -> None:
    """Ctrl-C leaves no upload of a put and no file of a get; the old object is unchanged."""
    name = "client-header" if mode == "header" else "sse-s3"
    store = connect(make_mode(name, kms_key))
    store.put(payload(LARGE), f"s3://{bucket}/x")
    (tmp_path / "out").write_bytes(b"old")
    text = _INTERRUPT + "try:\n" + "\n".join("    " + line for line in INTERRUPTS[when].split("\n"))
    text += "\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    finish(script(text, bucket, kms_key, tmp_path, mode), 130)
    assert uploads(s3, bucket) == []
    assert store.read(f"s3://{bucket}/x") == payload(LARGE)
    assert files(tmp_path) == ["out"]
    assert (tmp_path / "out").read_bytes() == b"old"
