# SPDX-License-Identifier: Apache-2.0
"""Threads that share a piece of work. Each thread has its own buffers."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from s3crypt.errors import StorageError
from s3crypt.logs import logger_of

from .buffers import Buffers
from .memory import Memory
from .width import Width

_log = logger_of(__name__)

_LOOK_SECONDS = 0.05


_here = threading.local()


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """During the block, let the event `stop` end this thread's pauses and its crews."""
    before = getattr(_here, "stop", None)
    _here.stop = stop
    try:
        yield
    finally:
        _here.stop = before


def current_stop() -> threading.Event | None:
    """Return the event that tells this thread to stop. Return None if there is none."""
    stop: threading.Event | None = getattr(_here, "stop", None)
    return stop


def check_stop() -> None:
    """Raise an error if this thread has been told to stop.

    Raises:
        StorageError: This thread has been told to stop.
    """
    stop = current_stop()
    if stop is not None and stop.is_set():
        raise StorageError("The job was stopped before this item; nothing was stored or written.")


def pause(seconds: float) -> bool:
    """Wait before another attempt.

    Return False, at once, if this thread is told to stop. Otherwise return True.
    """
    stop = current_stop()
    if stop is None:
        time.sleep(seconds)
        return True
    return not stop.wait(seconds)


@dataclass(frozen=True, slots=True)
class Resources:
    """The limits on threads and memory for the transfers of one store.

    Attributes:
        workers: The maximum number of threads of one transfer.
        memory: Counts the buffers of all transfers.
    """

    workers: int
    memory: Memory


class ScalingWorkers:
    """Threads that call `work(buffers)` repeatedly until it returns False or a thread fails.

    `Width` decides the number of threads, up to `most`. A thread is added only if `may_grow`
    returns True and `memory` has room for the thread's buffers. If there are too many threads, a
    thread ends after its current piece of work.

    At the end of the `with` block, even after an error, the crew waits for the pieces of work that
    have begun. An upload must not be aborted, and a file must not be removed, while a thread still
    writes to it.

    Args:
        most: The maximum number of threads.
        work: Does one piece of work. Returns False if no work is left.
        may_grow: Returns whether more threads would help.
        is_far: Returns whether the service is known to be far away.
        memory: Counts the memory of buffers. The caller has already reserved the memory of the
            first thread.
        length: The number of bytes of one thread's buffers.
        cpu: Returns the CPU seconds used so far, if the work is mostly Python's own work.
    """

    def __init__(  # noqa: PLR0913 - keyword arguments
        self,
        most: int,
        work: Callable[[Buffers], bool],
        *,
        may_grow: Callable[[], bool] = lambda: True,
        is_far: Callable[[], bool] = lambda: False,
        memory: Memory | None = None,
        length: int = 0,
        cpu: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._work = work
        self._may_grow = may_grow
        self._is_far = is_far
        self._cpu = cpu
        self._width = Width(most)
        self._wanted = most
        self._memory = memory
        self._length = length
        self._stop = threading.Event()
        self._stop_above = current_stop()
        self._busy = 0
        self._done = 0
        self._idle = threading.Condition()
        self._failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        try:
            try:
                self._start(self._run)
            except RuntimeError as error:
                raise StorageError(
                    "The system gives this process no further thread; nothing was done.",
                    hint="Run fewer processes, or raise the limit.",
                ) from error
            self._grow()
        except BaseException:
            # After an interrupt, the threads are stopped here, because Python does not call
            # __exit__ if __enter__ raises.
            self._halt()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._halt()

    def _halt(self) -> None:
        # Busy threads are counted, and not joined, because a thread may run without being in the
        # list if its start was interrupted.
        with self._idle:
            self._stop.set()
            self._idle.wait_for(lambda: not self._busy)

    def wait(self) -> None:
        """Wait until all work is done.

        Raises:
            BaseException: The error of the first thread that failed.
            StorageError: This thread was told to stop, so some work may be left undone.
        """
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_LOOK_SECONDS)
                self.look()
        if self._failures:
            raise self._failures[0]
        # If the threads were told to stop, some work may be left undone. The caller must not treat
        # it as done.
        check_stop()

    def look(self) -> bool:
        """Start more threads if they would help. Return whether a thread is still running.

        Raises:
            BaseException: The error of the first thread that failed, after all threads have ended.
        """
        if self._stop_above and self._stop_above.is_set():
            self._stop.set()
        self._grow()
        is_at_work = any(thread.is_alive() for thread in self._threads)
        if not is_at_work and self._failures:
            raise self._failures[0]
        return is_at_work

    def _run(self, number: int) -> None:
        with self._idle:
            if self._stop.is_set():
                return
            self._busy += 1
        buffers = Buffers()
        try:
            with stopping(self._stop):
                while number < self._wanted and not self._stop.is_set() and self._work(buffers):
                    with self._idle:
                        self._done += 1
        except BaseException as error:  # noqa: BLE001 - handed to wait(), which raises it
            self._failures.append(error)
            self._stop.set()
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def _run_on_spare_memory(self, number: int) -> None:
        try:
            self._run(number)
        finally:
            if self._memory:
                self._memory.give(self._length)

    def _grow(self) -> None:
        before, wanted_before = len(self._threads), self._wanted
        now, done, cpu = time.monotonic(), self._done, self._cpu()
        self._wanted = self._width.wanted(now, done, is_far=self._is_far(), cpu=cpu)
        while len(self._threads) < self._wanted and self._may_grow() and not self._stop.is_set():
            if self._memory and not self._memory.spare(self._length):
                break
            try:
                self._start(self._run_on_spare_memory)
            except BaseException as error:
                if self._memory:
                    self._memory.give(self._length)
                if isinstance(error, RuntimeError):
                    # The system does not permit another thread, so the present threads do all the
                    # work.
                    break
                raise
        if len(self._threads) > before > 1:
            told = len(self._threads), before
            _log.info("workers: %d instead of %d, as the service is far away", *told)
        elif self._wanted < min(before, wanted_before):
            _log.info("workers: %d instead of %d, as more brought nothing", self._wanted, before)

    def _start(self, run: Callable[[int], None]) -> None:
        number = len(self._threads)
        name = f"s3crypt-{number}"
        thread = threading.Thread(target=run, args=(number,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)


class Pool:
    """Threads that wait for work, such as reads of an open file.

    They do not prevent the process from exiting.

    Args:
        most: The maximum number of threads. A thread is started when work is submitted and no
            thread is idle.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: queue.SimpleQueue[tuple[Future[None], Callable[[], None]] | None] = (
            queue.SimpleQueue()
        )
        self._waiting = threading.Semaphore(0)
        self._threads = 0
        self._is_closed = False
        # Without the lock, a close during `submit` could leave work undone or a thread running. The
        # lock is reentrant because a signal handler in the same thread may close the pool.
        self._lock = threading.RLock()

    def submit(self, work: Callable[[], None]) -> Future[None]:
        """Run the work in a thread, or here if no thread can be started. Return its future."""
        done: Future[None] = Future()
        with self._lock:
            if self._is_closed:
                raise ValueError("The pool is closed.")
            # A thread is started before the work is queued, because queued work needs a thread.
            if not self._waiting.acquire(blocking=False) and self._threads < self._most:
                with suppress(RuntimeError):
                    threading.Thread(target=self._run, name="s3crypt-read", daemon=True).start()
                    self._threads += 1
            if self._is_closed:
                # A signal handler has closed the pool, and did not count the new thread.
                self._work.put(None)
                raise ValueError("The pool is closed.")
            if self._threads:
                self._work.put((done, work))
                return done
        _settle(done, work)
        return done

    def close(self) -> None:
        """Make the threads end after they have done all submitted work."""
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
    except BaseException as error:  # noqa: BLE001 - raised to the waiting thread
        done.set_exception(error)
    else:
        done.set_result(None)


_Item = TypeVar("_Item")


def each(
    items: Iterator[_Item],
    work: Callable[[_Item, Buffers], object],
    workers: int,
    **about: Any,
) -> None:
    """Call `work` for each item in a ScalingWorkers, in the order of the items.

    Raise the first error.

    `about` has further arguments of `ScalingWorkers`.
    """
    lock = threading.Lock()

    def work_on_next(buffers: Buffers) -> bool:
        with lock:
            item = next(items, None)
        if item is None:
            return False
        work(item, buffers)
        return True

    with ScalingWorkers(workers, work_on_next, **about) as crew:
        crew.wait()
