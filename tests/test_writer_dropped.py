# SPDX-License-Identifier: Apache-2.0
"""Files opened for writing that are dropped, collected or interrupted store nothing."""

from __future__ import annotations

import gc
import gzip
import io
import linecache
import sys
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import pytest
from samples import aes, connect_shared, names, payload, uploads
from writer_samples import HANG, LENGTHS, LONG, is_empty, run_script, write_in_pieces

from s3crypt import ClientSide, S3Crypt, StorageError
from s3crypt.objects import writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@pytest.fixture
def store() -> S3Crypt:
    """Return a client-side store that needs no KMS."""
    return connect_shared(ClientSide(aes()))


@pytest.fixture
def uri(bucket: str) -> str:
    """Return the URI of an object that does not exist yet."""
    return f"s3://{bucket}/x"


# --- Dropped -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", LENGTHS)
def test_a_file_dropped_stores_nothing(
    store: S3Crypt, size: int, uri: str, bucket: str, s3: Any
) -> None:
    """A file dropped without a close is not stored; a warning has its number of bytes."""
    held = [store.open(uri, "wb")]
    write_in_pieces(held[0], payload(size))
    with pytest.warns(RuntimeWarning, match=f"{uri}: nothing is stored of the {size} bytes"):
        held.clear()
    _settle()
    assert is_empty(s3, bucket)


def _settle() -> None:
    """Wait for the threads that abort the uploads of dropped files."""
    for thread in threading.enumerate():
        if thread.name.startswith("s3crypt-write"):
            thread.join(10)


def test_a_file_in_a_cycle_is_dropped_as_well(
    store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """A file in a reference cycle is not stored when the cycle is collected."""
    cycle: list[Any] = [store.open(uri, "wb")]
    cycle[0].write(b"x")
    cycle.append(cycle)
    del cycle
    with pytest.warns(RuntimeWarning, match=f"{uri}.* 1 bytes"):
        gc.collect()
    _settle()
    assert is_empty(s3, bucket)


def _in_text(file: Any, size: int) -> list[Any]:
    text = io.TextIOWrapper(file, encoding="ascii", write_through=True)
    text.write("x" * size)
    return [text]


def _in_buffer(file: Any, size: int) -> list[Any]:
    buffer = io.BufferedWriter(file)
    buffer.write(bytes(size))
    return [buffer]


def _in_both(file: Any, size: int) -> list[Any]:
    text = io.TextIOWrapper(io.BufferedWriter(file), encoding="ascii")
    text.write("x" * size)
    return [text]


def _in_gzip(file: Any, size: int) -> list[Any]:
    packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=0)
    packed.write(bytes(size))
    return [packed]


def _drop(held: list[Any]) -> None:
    held.clear()
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("size", LENGTHS)
@pytest.mark.parametrize("wrap", [_in_text, _in_buffer, _in_both, _in_gzip])
def test_a_wrapper_dropped_stores_nothing(
    wrap: Any, store: S3Crypt, size: int, uri: str, bucket: str, s3: Any
) -> None:
    """A file inside a dropped wrapper is not stored, although the wrapper closes it."""
    held = wrap(store.open(uri, "wb"), size)
    with pytest.warns(RuntimeWarning) as caught:
        _drop(held)
    (told,) = [str(each.message) for each in caught if uri in str(each.message)]
    # A gzip file's own header and trailer also count.
    assert size <= int(told.partition(" bytes")[0].rpartition(" ")[2]) <= size + 2000
    _settle()
    assert is_empty(s3, bucket)


def _report(store: S3Crypt, uri: str, size: int) -> None:
    try:
        int("no number")
    except ValueError:
        with io.TextIOWrapper(store.open(uri, "wb"), encoding="ascii", write_through=True) as text:
            text.write("x" * size)
            raise


def test_a_file_that_failed_is_not_told_again(store: S3Crypt, bucket: str) -> None:
    """If a file's error was already raised, dropping the file causes no warning."""
    file = store.open(f"s3://no-such-{bucket}/x", "wb")
    with pytest.raises(StorageError):
        file.write(payload(LONG))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del file
        gc.collect()


@pytest.mark.parametrize("size", LENGTHS)
def test_an_error_raised_again_through_a_wrapper_stores_nothing(
    store: S3Crypt, size: int, uri: str, bucket: str, s3: Any
) -> None:
    """If an error comes through a wrapper and is raised as another error, nothing is stored."""
    with pytest.raises(StorageError, match=uri) as caught:
        _report(store, uri, size)
    assert isinstance(caught.value.__cause__, ValueError)
    assert is_empty(s3, bucket)


def test_a_file_closed_at_an_iterators_end(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """A close while StopIteration is handled stores nothing and raises StorageError.

    An error of the type StopIteration could end the caller's loop unnoticed.
    """
    file, items = store.open(uri, "wb"), iter([b"one", b"two"])

    def copy() -> None:
        while True:
            try:
                item = next(items)
            except StopIteration:
                file.close()
                return
            file.write(item)

    with pytest.raises(StorageError, match=uri) as caught:
        copy()
    assert "with" in str(caught.value.hint)
    assert file.closed
    assert is_empty(s3, bucket)


# --- Collected ---------------------------------------------------------------------------------


@pytest.fixture
def _no_collection() -> Iterator[None]:
    """Disable garbage collection and ignore RuntimeWarnings during the block."""
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize("how", ["collected", "by itself"])
@pytest.mark.parametrize("event", ["UploadPart", "AbortMultipartUpload"])
def test_a_file_collected_by_a_thread_that_stores_it(
    event: str, how: str, session: Any, uri: str, bucket: str, s3: Any
) -> None:
    """If the garbage collector drops a file in any thread, even its own, the upload is aborted."""
    armed, calls = threading.Event(), []
    client = session.client("s3")

    def collect(**_: object) -> None:
        calls.append(event)
        if armed.wait(HANG) and how == "collected":
            gc.collect()
        elif armed.is_set():
            gc.enable()

    client.meta.events.register(f"before-send.s3.{event}", collect)
    store = S3Crypt(ClientSide(aes()), client=client)
    cycle: list[Any] = [store.open(uri, "wb")]
    cycle[0].write(bytes(LONG))
    cycle.append(cycle)
    if event == "AbortMultipartUpload":
        # The abort of this other file's upload runs `collect`, which collects the first file
        # meanwhile.
        other = store.open(f"{uri}-other", "wb")
        other.write(bytes(LONG))
        cycle.append(other)
    del cycle
    armed.set()
    if event == "AbortMultipartUpload":
        other.abort()
        del other
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("s3crypt-"):
            thread.join(HANG)
            assert not thread.is_alive()
    assert calls
    assert is_empty(s3, bucket)


_COLLECTED = """
import gc, os, sys, threading, warnings
from s3crypt import *
from s3crypt.objects import writer
warnings.simplefilter("ignore")
gc.disable()
uri = f"s3://{sys.argv[1]}/x"
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))))
store.client  # made here, since the thread is given a second
state = {}

def enter(frame, event, _):
    return line if frame.f_code.co_filename == writer.__file__ else None

def line(frame, event, _):
    state["count"] += event == "line"
    if event == "line" and state["count"] == state["at"]:
        state["where"] = f"{frame.f_code.co_name}, line {frame.f_lineno}"
        state["dropped"].wait(10)
        gc.collect()
    return line

threading.settrace(enter)
at, hung = 0, []
while True:
    at += 1
    state.update(at=at, count=0, where="", dropped=threading.Event())
    cycle = [store.open(uri, "wb")]
    cycle.append(cycle)
    del cycle
    state["dropped"].set()
    thread = next(t for t in threading.enumerate() if t.name in ("s3crypt-write", "hung"))
    while thread.is_alive():
        before = dict(state)
        # A thread that is slow still gets to further lines; one that hangs does not.
        thread.join(20 if state["where"] else 3)
        if thread.is_alive() and state == before:
            break
    if thread.is_alive() and not state["where"]:
        break  # it waits for bytes: there are no more lines before that
    if thread.is_alive():
        hung.append(state["where"])
        break
print(at, hung, flush=True)
os._exit(1 if hung or at < 5 else 0)
"""


def test_a_file_collected_at_any_line_of_its_own_thread(bucket: str, s3: Any) -> None:
    """If the file is collected in its own thread, which holds the file's lock, nothing hangs."""
    done = run_script(_COLLECTED, bucket)
    assert done.returncode == 0, (done.stdout, done.stderr.decode())
    assert is_empty(s3, bucket)


# --- Interrupted -------------------------------------------------------------------------------


class _Interrupt:
    """Raises KeyboardInterrupt at the n-th line of the writer's code that this thread executes."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.where = ""

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, event: str, _: object) -> Any:
        return self._line if frame.f_code.co_filename == writer.__file__ else None

    def _line(self, frame: FrameType, event: str, _: object) -> Any:
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        # Two kinds of lines are left out. Python traces a `with` line again when its block ends,
        # but handles no signal there. An exception in a finalizer is only printed.
        is_finalizer = frame.f_code.co_name == "__del__"
        if event == "line" and not line.startswith("with ") and not is_finalizer:
            self.at -= 1
            if not self.at:
                self.where = f"{frame.f_code.co_name}, line {frame.f_lineno}"
                raise KeyboardInterrupt
        return self._line


@pytest.mark.timeout(60)
def test_an_interrupted_write_is_not_completed(store: S3Crypt, uri: str, bucket: str) -> None:
    """After an interrupted `write`, a caller that goes on stores the right bytes or nothing."""
    data, tried = payload(300_000), 0
    while True:
        tried += 1
        file = store.open(uri, "xb")
        file.write(data[:100])
        try:
            with _Interrupt(tried) as interrupt:
                file.write(data[100:])
        except KeyboardInterrupt:
            assert interrupt.where
        else:
            if not interrupt.where:
                break
        with suppress(StorageError):
            file.write(data[file.tell() :])
            file.close()
        file.abort()
        if names(s3 := store.client, bucket):
            assert store.read(uri) == data, interrupt.where
            store.delete(uri)
        assert uploads(s3, bucket) == []
    file.abort()
    assert tried > 10


# The warning is expected: an interrupt can hit the file's finalizer, and Python 3.13 prints this
# exception.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(60)
def test_a_block_interrupted_anywhere_stores_nothing_in_part(
    store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """An interrupt at any line of a block leaves no part, no upload and no waiting thread."""
    data, tried = payload(70_000), -2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        while True:
            tried += 3
            with suppress(KeyboardInterrupt), _Interrupt(tried) as interrupt:
                with store.open(uri, "wb") as file:
                    file.write(data)
                    file.write(data)
                del file
            if not interrupt.where:
                break
            file = None  # type: ignore[assignment]  # dropped, where it was opened
            gc.collect()
            for thread in threading.enumerate():
                if thread.name == "s3crypt-write":
                    thread.join(HANG)
                    assert not thread.is_alive(), interrupt.where
            if names(s3, bucket):
                assert store.read(uri) == data * 2, interrupt.where
                store.delete(uri)
    assert tried > 40
    assert uploads(s3, bucket) == []
