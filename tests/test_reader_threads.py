# SPDX-License-Identifier: Apache-2.0
"""Threads that read and close one open object, near to and far from the server; interrupts."""

from __future__ import annotations

import linecache
import random
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pytest
from reader_samples import (
    DEFAULT_FRAME,
    FRAME,
    HANG,
    SIZE,
    Far,
    decrypts_of,
    ended,
    put_short_frames,
    read_on,
    short_frames,
    within,
)
from relay import Answer, Asked, relaying
from samples import MODES, aes, connect_shared, make_mode, payload

from s3crypt import ClientSide, IntegrityError, S3Crypt
from s3crypt.local import workers
from s3crypt.objects import ranges, reader, spans
from s3crypt.transfer import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from conftest import RequestsLog

    from s3crypt.sandbox import Running


@pytest.fixture
def store() -> S3Crypt:
    """Return a store that writes short frames."""
    return short_frames()


@pytest.fixture
def uri(store: S3Crypt, bucket: str) -> str:
    """Put an object of many short frames. Return its URI."""
    return put_short_frames(store, bucket)


# --- Threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("cache_length", [0, 2**25])
def test_threads_share_a_file(
    name: str, cache_length: int, bucket: str, key: str, requests_log: RequestsLog
) -> None:
    """Several threads read ranges of one file while it is read in order, with one data key."""
    size = 12 * DEFAULT_FRAME
    store, uri = connect_shared(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    requests_log.clear()
    wrong: list[object] = []

    def look(file: Any, seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(5):
                starts = [chance.randrange(size) for _ in range(6)]
                ranges = [(start, start + chance.randrange(70_000)) for start in starts]
                if file.read_ranges(ranges) != [payload(size)[a:b] for a, b in ranges]:
                    wrong.append(ranges)
        except BaseException as error:  # noqa: BLE001 - reported below, in the test's own thread
            wrong.append(error)

    with store.open(uri, cache_length=cache_length) as file:
        threads = [threading.Thread(target=look, args=(file, seed)) for seed in range(6)]
        for thread in threads:
            thread.start()
        in_order = file.read()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert in_order == payload(size)
    assert decrypts_of(requests_log) == name.startswith("client")


def test_ranges_of_a_signed_object_side_by_side(bucket: str) -> None:
    """Parallel ranges of a signed object are correct; its signature needs the frames in order."""
    size = 24 * DEFAULT_FRAME
    store, uri = connect_shared(ClientSide(aes(), signed=True)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    wanted = [(n * DEFAULT_FRAME + 9, (n + 1) * DEFAULT_FRAME) for n in range(0, 24, 2)]
    with store.open(uri, allow_unverified_signature=True, cache_length=0) as file:
        for _ in range(5):
            assert file.read_ranges(wanted) == [payload(size)[start:end] for start, end in wanted]


@pytest.mark.parametrize("step", [1000, 5000, 100_000, SIZE + 1])
def test_threads_that_read_one_file_get_each_byte_once(step: int, store: S3Crypt, uri: str) -> None:
    """If four threads read one file, each byte goes to exactly one thread."""
    found: list[bytes] = []

    def read(file: Any) -> None:
        while chunk := file.read(step):
            found.append(chunk)

    with store.open(uri) as file:
        threads = [threading.Thread(target=read, args=(file,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = [payload(SIZE)[start : start + step] for start in range(0, SIZE, step)]
    assert sorted(found) == sorted(expected)


# --- A service that is far away, slow or stalled -----------------------------------------------


def _readinto(file: Any, buffer: bytearray, start: int) -> object:
    file.seek(start)
    return file.readinto(buffer)


def _read(file: Any, buffer: bytearray, start: int) -> object:
    file.seek(start)
    return file.read(len(buffer))


def _read_ranges(file: Any, buffer: bytearray, start: int) -> object:
    middle = start + len(buffer) // 2
    return file.read_ranges([(start, middle - 5), (middle + 5, start + len(buffer))])


@pytest.mark.parametrize("read", [_readinto, _read, _read_ranges])
def test_a_bad_frame_from_far_away(read: Any, sandbox: Running, session: Any, bucket: str) -> None:
    """A bad frame fails at once; requests that still run do not write into the caller's buffer."""
    mode, uri, size = ClientSide(aes()), f"s3://{bucket}/x", 10 * 2**20
    connect_shared(mode).put(payload(size), uri)
    go, bad, answered = threading.Event(), threading.Event(), []
    me = threading.current_thread().name

    def spoil(request: Asked, forward: Callable[[], Answer]) -> Answer:
        time.sleep(0.02)
        answer = forward()
        if bad.is_set() and request.headers["x-thread"] == me:
            answer.body = bytes(len(answer.body))
        elif bad.is_set():
            go.wait(HANG)
            answered.append(request)
        return answer

    def tell_thread(request: Any, **_: object) -> None:
        request.headers["x-thread"] = threading.current_thread().name

    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        client.meta.events.register("before-sign.s3.GetObject", tell_thread)
        with S3Crypt(mode, client=client).open(uri) as file:
            bad.set()
            buffer = bytearray(b"\xa5") * (6 * 2**20)
            with pytest.raises(IntegrityError, match=uri):
                read(file, buffer, 2**20)
            assert answered == []
            before = bytes(buffer)
            assert before.count(0xA5) == len(before)
            go.set()
            file.close()
            assert ended("s3crypt-read")
            assert answered  # other requests were running, as this test needs
            assert buffer == before


@pytest.mark.parametrize("how", ["read", "readinto1"])
@pytest.mark.parametrize("step", [100_000, 20_000])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_file_closed_while_it_is_read(
    step: int, workers: int, how: str, sandbox: Running, session: Any, bucket: str
) -> None:
    """If another thread closes the file during a read, neither thread hangs."""
    mode, uri, size = ClientSide(aes(), frame_length=2**16), f"s3://{bucket}/x", 8 * 2**20
    connect_shared(mode).put(payload(size), uri)
    far = Far()
    with relaying(sandbox.endpoint_url, far) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        file = S3Crypt(mode, client=client, workers=workers).open(uri)
        far.held = range(2**20, 7 * 2**20)
        given = bytearray()

        def read() -> None:
            if how == "readinto1":
                read_on(file, step, given)
            while chunk := file.read(step):
                given.extend(chunk)

        reader = threading.Thread(target=read, daemon=True)
        with _ignoring_thread_errors():
            reader.start()
            while not far.is_holding:
                reader.join(0.01)
            closer = threading.Thread(target=file.close, daemon=True)
            closer.start()
            closer.join(0.1)
            far.go.set()
            for thread in (closer, reader):
                thread.join(HANG)
                assert not thread.is_alive()
        assert file.closed
        assert given == payload(size)[: len(given)]
        assert ended("s3crypt-read")


@contextmanager
def _ignoring_thread_errors() -> Iterator[None]:
    """Ignore the errors that a thread raises when it reads a closed file."""
    before, threading.excepthook = threading.excepthook, lambda _: None
    try:
        yield
    finally:
        threading.excepthook = before


@pytest.mark.parametrize("workers", [1, 4])
def test_a_file_closed_while_ranges_are_read(
    workers: int, sandbox: Running, session: Any, bucket: str
) -> None:
    """If the file is closed during `read_ranges`, the call returns the ranges or an error.

    Neither the call nor the close hangs.
    """
    mode, uri, size = ClientSide(aes()), f"s3://{bucket}/x", 8 * 2**20
    connect_shared(mode).put(payload(size), uri)
    wanted = [(n * 2**20 + 5, n * 2**20 + 9) for n in range(1, 7)]
    far = Far(0.02)
    with relaying(sandbox.endpoint_url, far) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        file = S3Crypt(mode, client=client, workers=workers).open(uri)
        far.held = range(2**20, 7 * 2**20)
        closers: list[threading.Thread] = []

        def close_and_go() -> None:
            while not far.is_holding:
                time.sleep(0.01)
            file.close()
            far.go.set()

        closers.append(threading.Thread(target=close_and_go, daemon=True))
        closers[0].start()
        found = within(lambda: file.read_ranges(wanted))
        closers[0].join(HANG)
        assert not closers[0].is_alive()
    if isinstance(found, list):
        assert found == [payload(size)[start:end] for start, end in wanted]
    else:
        assert isinstance(found, ValueError)
        assert "closed" in str(found)
    assert ended("s3crypt-read")


def test_a_file_closed_by_who_gives_the_ranges(bucket: str) -> None:
    """If the iterator of ranges closes the file, `read_ranges` raises ValueError."""
    store, uri = connect_shared(ClientSide(aes())), f"s3://{bucket}/x"
    size = 12 * DEFAULT_FRAME
    store.put(payload(size), uri)
    file = store.open(uri)
    wanted = [(n * DEFAULT_FRAME + 5, n * DEFAULT_FRAME + 9) for n in range(0, 12, 2)]
    file.read_ranges(wanted)

    def ranges() -> Iterator[tuple[int, int]]:
        yield from wanted
        file.close()

    found = within(lambda: file.read_ranges(ranges()))
    assert isinstance(found, ValueError)


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_file_leaves_no_thread(how: str, bucket: str) -> None:
    """No read-ahead thread is left after the file was closed or dropped."""
    store, uri = connect_shared(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(20 * DEFAULT_FRAME), uri)
    held = [store.open(uri)]
    for _ in range(5):
        held[0].read(DEFAULT_FRAME)
    assert any(thread.name == "s3crypt-read" for thread in threading.enumerate())
    if how == "close":
        held[0].close()
    held.clear()
    assert ended("s3crypt-read")


# --- Interrupts --------------------------------------------------------------------------------


class _Interrupt:
    """Raises KeyboardInterrupt at the n-th line that this thread executes in the given modules."""

    def __init__(self, at: int, *modules: Any) -> None:
        self.at = at
        self.count = 0
        self.where = ""
        self._files = {module.__file__ for module in modules}

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, event: str, _: object) -> Any:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: FrameType, event: str, _: object) -> Any:
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        # Python traces a `with` line again when its block ends, but handles no signal there.
        if event == "line" and not line.startswith("with "):
            self.count += 1
            if self.count == self.at:
                self.where = f"{frame.f_code.co_name}, line {frame.f_lineno}"
                raise KeyboardInterrupt
        return self._line


def _read_variously(file: Any) -> None:
    # This offset is after the bytes that the first request fetches, and before the bytes that the
    # request for the last frame fetches.
    file.seek(130 * FRAME + 99)
    file.read(1000)
    file.seek(128 * FRAME + 5)
    for _ in range(4):
        file.read(3 * FRAME)
    file.read_ranges([(0, 10), (142 * FRAME, 142 * FRAME + 9), (141 * FRAME, 142 * FRAME)])


# The warning is expected: an interrupt can hit the file's finalizer, and Python 3.13 prints this
# exception.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_leaves_the_file_readable(store: S3Crypt, uri: str) -> None:
    """After an interrupt at any line, later reads neither hang nor return wrong bytes."""
    # `s3crypt.transfer.download` would be the function of this name, not the module.
    download = sys.modules["s3crypt.transfer.download"]
    modules = (reader, spans, ranges, workers, stream, download)
    with store.open(uri, cache_length=20 * FRAME) as file, _Interrupt(0, *modules) as quiet:
        _read_variously(file)
    assert quiet.count > 300
    for at in range(1, quiet.count, quiet.count // 40):
        with store.open(uri, cache_length=20 * FRAME) as file:
            with suppress(KeyboardInterrupt), _Interrupt(at, *modules) as interrupt:
                _read_variously(file)

            def read_all(file: Any = file) -> bytes:
                file.seek(0)
                return b"".join(iter(partial(file.read, 9 * FRAME), b""))

            assert within(read_all) == payload(SIZE), interrupt.where
            assert within(partial(file.read_ranges, [(0, None)])) == [payload(SIZE)]
