# SPDX-License-Identifier: Apache-2.0
"""Threads that share the work of one object or file, each with buffers of its own."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self, TypeVar

from s3crypt.logs import logger_of

from .buffers import Buffers

_log = logger_of(__name__)

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# A server that is near keeps a core busy with one worker; more of them only cost changes.
_FEW = max(2, _CORES)
# One that is far away gives each connection some 25 to 90 MB/s, and the cores have little to do:
# then more workers are worth their memory, and twice as many each time are ten in 0.15 s.
_IDLE = _CORES / 4
_GROWING_SECONDS = 0.05


_here = threading.local()


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """Let `stop` end the pauses of this thread, and of the crews that it waits for."""
    before = getattr(_here, "stop", None)
    _here.stop = stop
    try:
        yield
    finally:
        _here.stop = before


def current_stop() -> threading.Event | None:
    """Return the event that ends this thread's pauses, or None."""
    stop: threading.Event | None = getattr(_here, "stop", None)
    return stop


def pause(seconds: float) -> bool:
    """Wait before another attempt; return False at once where this thread is to stop."""
    stop = current_stop()
    if stop is None:
        time.sleep(seconds)
        return True
    return not stop.wait(seconds)


class Crew:
    """Threads that each call `work(buffers)` until it returns False, or one of them fails.

    They begin as few, and become more, `most` at most, while the cores are idle and `may_grow`
    says that more would help.

    Leaving the block, for whatever reason, waits for the parts under way: an upload may only
    be aborted, and a file only be removed, when nothing writes to it any more.
    """

    def __init__(
        self,
        most: int,
        work: Callable[[Buffers], bool],
        *,
        may_grow: Callable[[], bool] = lambda: True,
    ) -> None:
        self._work = work
        self._may_grow = may_grow
        self._most = most
        self._stop = threading.Event()
        self._stop_above = current_stop()
        self._busy = 0
        self._idle = threading.Condition()
        self._failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._began = time.monotonic(), _busy_seconds()

    def __enter__(self) -> Self:
        try:
            for _ in range(min(self._most, _FEW)):
                self._add()
        except BaseException:
            # An interrupt; without __enter__'s end there is no __exit__.
            self._halt()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._halt()

    def _halt(self) -> None:
        # By count, since a thread whose start was interrupted can be running and not be joined.
        with self._idle:
            self._stop.set()
            self._idle.wait_for(lambda: not self._busy)

    def wait(self) -> None:
        """Return when all is done; raise the first failure."""
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_GROWING_SECONDS)
                if self._stop_above and self._stop_above.is_set():
                    self._stop.set()
                if self._cores_used() < _IDLE:
                    self._grow()
        if self._failures:
            raise self._failures[0]

    def _run(self) -> None:
        with self._idle:
            if self._stop.is_set():
                return
            self._busy += 1
        buffers = Buffers()
        try:
            with stopping(self._stop):
                while not self._stop.is_set() and self._work(buffers):
                    pass
        except BaseException as error:  # noqa: BLE001 - handed to wait(), which raises it
            self._failures.append(error)
            self._stop.set()
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def _cores_used(self) -> float:
        wall, busy = self._began
        return (_busy_seconds() - busy) / (time.monotonic() - wall)

    def _grow(self) -> None:
        before = len(self._threads)
        count = min(before, self._most - before)
        # A thread more than the system allows would be a pity, not a failure.
        with suppress(RuntimeError):
            while count > 0 and self._may_grow() and not self._stop.is_set():
                self._add()
                count -= 1
        if len(self._threads) > before:
            _log.info("workers: %d instead of %d, as cores are idle", len(self._threads), before)

    def _add(self) -> None:
        name = f"s3crypt-{len(self._threads)}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)


class Pool:
    """Threads that wait for work, for a file that stays open; they keep no process from ending.

    Args:
        most: Threads, at most; each is made when there is work that no other waits for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: queue.SimpleQueue[tuple[Future[None], Callable[[], None]] | None] = (
            queue.SimpleQueue()
        )
        self._waiting = threading.Semaphore(0)
        self._threads = 0
        self._is_closed = False
        # A pool that is closed while work is submitted would leave the work, or a thread, behind.
        # The lock is reentrant, since a signal's handler may close the pool in the same thread.
        self._lock = threading.RLock()

    def submit(self, work: Callable[[], None]) -> Future[None]:
        """Let a thread do the work, or do it here where none is to be had; return its end."""
        done: Future[None] = Future()
        with self._lock:
            if self._is_closed:
                raise ValueError("The pool is closed.")
            # A thread first, then its work: what nobody will do must not be waited for.
            if not self._waiting.acquire(blocking=False) and self._threads < self._most:
                with suppress(RuntimeError):
                    threading.Thread(target=self._run, name="s3crypt-read", daemon=True).start()
                    self._threads += 1
            if self._is_closed:
                # By a signal's handler, which did not know of the new thread.
                self._work.put(None)
                raise ValueError("The pool is closed.")
            if self._threads:
                self._work.put((done, work))
                return done
        _settle(done, work)
        return done

    def close(self) -> None:
        """Let the threads end once all that was submitted is done."""
        with self._lock:
            self._is_closed = True
            for _ in range(self._threads):
                self._work.put(None)

    def _run(self) -> None:
        while item := self._work.get():
            _settle(*item)
            del item
            self._waiting.release()


def _settle(done: Future[None], work: Callable[[], None]) -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - handed to whoever waits
        done.set_exception(error)
    else:
        done.set_result(None)


def _busy_seconds() -> float:
    """Return how long this process's threads have run, or waited for a core.

    A process that others keep from the cores looks idle by its own use of them, and more threads
    would only take more memory.
    """
    waited = 0
    for thread in Path("/proc/self/task").glob("*/schedstat"):
        # Linux: nanoseconds run, nanoseconds runnable but waiting. The thread may have ended.
        with suppress(OSError, IndexError, ValueError):
            waited += int(thread.read_text(encoding="ascii").split()[1])
    return time.process_time() + waited / 1e9


_Item = TypeVar("_Item")


def each(items: Iterator[_Item], work: Callable[[_Item, Buffers], object], workers: int) -> None:
    """Do the work of each item, begun in their order, by a Crew; raise the first failure."""
    lock = threading.Lock()

    def work_on_next(buffers: Buffers) -> bool:
        with lock:
            item = next(items, None)
        if item is None:
            return False
        work(item, buffers)
        return True

    with Crew(workers, work_on_next) as crew:
        crew.wait()
