# SPDX-License-Identifier: Apache-2.0
"""Crews and pools of threads: how many threads they use, and how they end."""

from __future__ import annotations

import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from s3crypt import StorageError
from s3crypt.local import width
from s3crypt.local.memory import Memory
from s3crypt.local.workers import Pool, ScalingWorkers, each

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3crypt.local.buffers import Buffers


MIB = 2**20


def threads_of(work: Callable[[], None], *, items: int, most: int, **about: Any) -> set[str]:
    """Run `work` once per item. Return the names of the threads that ran it."""
    names: set[str] = set()

    def one(_: int, __: Buffers) -> None:
        names.add(threading.current_thread().name)
        work()

    each(iter(range(items)), one, most, **about)
    return names


def far() -> bool:
    """Return True: the service is far away."""
    return True


def test_a_crew_of_a_service_far_away_grows() -> None:
    """For a far service, a crew begins with 16 threads and grows up to the limit."""
    assert len(threads_of(lambda: time.sleep(0.1), items=200, most=20, is_far=far)) == 20


def test_a_crew_of_a_near_service_does_not_grow() -> None:
    """For a near service a crew does not grow, because more threads would compete for cores."""
    assert len(threads_of(lambda: time.sleep(0.06), items=20, most=10)) <= width.NEAR


def test_a_crew_that_more_would_not_help_does_not_grow() -> None:
    """If `may_grow` is false, as for a stream, a crew stays at one thread."""
    names: set[str] = set()
    left = iter(range(20))

    def work(_: Buffers) -> bool:
        names.add(threading.current_thread().name)
        time.sleep(0.06)
        return next(left, None) is not None

    with ScalingWorkers(10, work, may_grow=lambda: False, is_far=far) as crew:
        crew.wait()
    assert names == {"s3crypt-0"}


def test_a_crew_takes_no_more_memory_than_there_is() -> None:
    """A crew starts further threads only while a quarter of the memory stays free."""
    memory = Memory(8 * MIB)
    with memory.share(MIB):
        names = threads_of(
            lambda: time.sleep(0.05), items=60, most=20, is_far=far, memory=memory, length=MIB
        )
    assert len(names) == 6
    assert [memory.spare(2 * MIB) for _ in range(4)] == [True, True, True, False]  # all is free


def test_a_crew_that_grew_in_vain_shrinks(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If more threads brought no gain, a crew ends them again.

    A piece of work takes 5 ms by the clock, with any number of threads.
    """
    caplog.set_level("INFO", "s3crypt.local.workers")
    taken, workers, one_at_a_time = [0], list[str](), threading.Lock()
    crews: list[ScalingWorkers] = []
    clock = SimpleNamespace(monotonic=lambda: crews[0]._done * 0.005 if crews else 0.0)
    monkeypatch.setattr("s3crypt.local.workers.time", clock)

    def work(_: Buffers) -> bool:
        with one_at_a_time:
            taken[0] += 1
            time.sleep(0.005)
            workers.append(threading.current_thread().name)
        return taken[0] < 300

    with ScalingWorkers(64, work, is_far=far) as crew:
        crews.append(crew)
        crew.wait()
    assert len(set(workers)) > width.FAR
    assert set(workers[-50:]) <= {f"s3crypt-{number}" for number in range(width.FAR)}
    assert caplog.messages[-1] == "workers: 16 instead of 32, as more brought nothing"


def test_a_crew_is_never_more_than_it_may_be() -> None:
    """A crew limited to one thread does not grow."""
    assert threads_of(lambda: time.sleep(0.12), items=4, most=1) == {"s3crypt-0"}


def test_a_failure_ends_a_crew_that_grows() -> None:
    """If the work fails, all threads end, and then the first error is raised."""
    done: list[int] = []

    def one(item: int, _: Buffers) -> None:
        time.sleep(0.12)
        if item == 12:
            raise ValueError(item)
        done.append(item)

    with pytest.raises(ValueError, match="12"):
        each(iter(range(1000)), one, 20, is_far=far)
    assert len(done) < 80
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("s3crypt-")]


def test_leaving_early_waits_for_what_is_under_way() -> None:
    """Leaving a crew's block by an exception waits for the work that is running."""
    begun, ended = threading.Event(), threading.Event()

    def work(_: Buffers) -> bool:
        begun.set()
        time.sleep(0.2)
        ended.set()
        return True

    def leave() -> None:
        with ScalingWorkers(1, work):
            begun.wait()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert ended.is_set()


# --- A pool ------------------------------------------------------------------------------------

HANG = 20  # seconds: without a fault, no test here takes a tenth of it


def _pool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "s3crypt-read"]


def _wait(go: threading.Event) -> None:
    go.wait(HANG)


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a system that cannot start threads."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_a_pool_does_all_work_before_its_threads_end() -> None:
    """A pool that is closed at once still does all submitted work, and then its threads end."""
    pool, done = Pool(3), list[int]()
    ends = [pool.submit(partial(done.append, number)) for number in range(100)]
    pool.close()
    for end in ends:
        assert end.result(HANG) is None
    assert sorted(done) == list(range(100))
    for thread in _pool_threads():
        thread.join(HANG)
    assert _pool_threads() == []


def test_a_pool_closed_while_work_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a pool is closed during `submit`, the work is done, and the new thread ends."""
    pool, start = Pool(3), threading.Thread.start
    closer = threading.Thread(target=pool.close, daemon=True)

    def start_while_closed(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        closer.start()
        closer.join(0.1)
        thread.start()

    monkeypatch.setattr(threading.Thread, "start", start_while_closed)
    before = _pool_threads()
    assert pool.submit(lambda: None).result(HANG) is None
    closer.join(HANG)
    made = [thread for thread in _pool_threads() if thread not in before]
    for thread in made:
        thread.join(HANG)
        assert not thread.is_alive()
    with pytest.raises(ValueError, match="closed"):
        pool.submit(lambda: None)


def test_a_pool_of_one_works_in_order() -> None:
    """A pool of one thread does the work in the order of its submission."""
    pool, done = Pool(1), list[int]()
    ends = [pool.submit(partial(done.append, number)) for number in range(100)]
    for end in ends:
        end.result(HANG)
    pool.close()
    assert done == list(range(100))


def test_a_pool_has_no_more_threads_than_it_may_have() -> None:
    """A pool starts a thread only if no thread is idle, up to its limit."""
    pool, go = Pool(3), threading.Event()
    before = len(_pool_threads())
    for _ in range(5):
        pool.submit(lambda: None).result(HANG)
        time.sleep(0.01)  # until the thread is idle again
    assert len(_pool_threads()) - before == 1
    ends = [pool.submit(partial(_wait, go)) for _ in range(9)]
    assert len(_pool_threads()) - before == 3
    go.set()
    for end in ends:
        end.result(HANG)
    pool.close()


def test_a_failure_is_for_who_waits() -> None:
    """An error of the work, even SystemExit, is raised by `result`, and the thread continues."""
    pool = Pool(1)
    for error in (ValueError, StorageError, SystemExit, KeyboardInterrupt):

        def fail(error: type[BaseException] = error) -> None:
            raise error("of this work")

        with pytest.raises(error, match="of this work"):
            pool.submit(fail).result(HANG)
    assert pool.submit(lambda: None).result(HANG) is None
    pool.close()


@pytest.mark.usefixtures("no_thread")
def test_without_a_thread_the_caller_works() -> None:
    """If no thread can be started, `submit` does the work itself."""
    pool, done = Pool(3), list[object]()
    end = pool.submit(lambda: done.append(threading.current_thread()))
    assert end.done()
    assert done == [threading.current_thread()]

    def fail() -> None:
        raise ValueError("of this work")

    assert isinstance(pool.submit(fail).exception(0), ValueError)
    pool.close()


def test_without_another_thread_the_first_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no further thread can be started, the work waits for the existing thread."""
    pool, go, done = Pool(3), threading.Event(), []
    first = pool.submit(partial(_wait, go))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    ends = [pool.submit(lambda: done.append(threading.current_thread())) for _ in range(3)]
    assert done == []
    go.set()
    for end in (first, *ends):
        end.result(HANG)
    assert len(done) == 3
    assert threading.current_thread() not in done
    pool.close()


def test_a_pool_never_used_is_closed() -> None:
    """A pool that was never used can be closed, even twice."""
    pool = Pool(3)
    pool.close()
    pool.close()
