# SPDX-License-Identifier: Apache-2.0
"""Jobs: each item has exactly one outcome, despite failures and interrupts."""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from s3crypt import ConfigError, IntegrityError, S3CryptError, StorageError
from s3crypt.jobs import Journal, Outcome, journaled, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def far() -> bool:
    """Return True, which tells a job that the service is distant."""
    return True


def finders() -> list[threading.Thread]:
    """Return the running threads that jobs have started."""
    return [each for each in threading.enumerate() if each.name.startswith("s3crypt-")]


def wait_for_threads() -> None:
    """Wait until all threads of jobs have ended."""
    until = time.monotonic() + 10
    while finders() and time.monotonic() < until:
        time.sleep(0.01)
    assert finders() == []


@pytest.mark.parametrize("most", [1, 2, 64])
@pytest.mark.parametrize("count", [0, 1, 7, 5000])
def test_every_item_has_one_outcome(count: int, most: int) -> None:
    """Every item has one outcome, for any number of workers."""
    outcomes = list(run(range(count), lambda item: item * 2, most=most, is_far=far))
    assert sorted(outcome.item for outcome in outcomes) == list(range(count))
    assert all(outcome.result == outcome.item * 2 and not outcome.error for outcome in outcomes)
    wait_for_threads()


def test_a_failure_is_an_outcome() -> None:
    """The failure of an item is its outcome, and the other items are still done."""

    def work(item: int) -> int:
        if item % 10 == 3:
            raise IntegrityError(f"item {item}")
        return item

    outcomes = {outcome.item: outcome for outcome in run(range(100), work, is_far=far)}
    assert len(outcomes) == 100
    for item, outcome in outcomes.items():
        assert (outcome.result is None) == (item % 10 == 3) == (outcome.error is not None)


def test_an_error_that_meets_every_item_stops_the_job() -> None:
    """If an error concerns every item, the job stops, and raises it once after all outcomes."""
    begun: list[int] = []
    is_denied = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 5:
            is_denied.set()
            raise StorageError("no such bucket", code="NoSuchBucket")
        is_denied.wait(10)
        time.sleep(0.2)
        return item

    outcomes: list[Outcome[int, int]] = []
    with pytest.raises(StorageError, match="no such bucket"):
        outcomes.extend(run(itertools.count(), work, most=16, is_far=far))
    wait_for_threads()
    assert len(begun) <= 32

    outcomes.clear()
    with pytest.raises(StorageError, match="no such bucket"):
        outcomes.extend(run(range(6), work, most=16, is_far=far))
    assert sorted(outcome.item for outcome in outcomes) == [0, 1, 2, 3, 4]


def test_a_source_that_fails_is_raised_at_last() -> None:
    """If the source of items fails, the items before the failure are done.

    Then the error is raised.
    """

    def source() -> Iterator[int]:
        yield from range(50)
        raise StorageError("the listing broke")

    outcomes: list[Outcome[int, int]] = []
    with pytest.raises(StorageError, match="the listing broke"):
        outcomes.extend(run(source(), lambda item: item))
    assert sorted(outcome.item for outcome in outcomes) == list(range(50))
    wait_for_threads()


def test_a_bug_is_raised() -> None:
    """An exception in the work that is not an error of s3crypt is raised, and ends the job."""

    def work(item: int) -> float:
        return 1 / (item - 20)

    with pytest.raises(ZeroDivisionError):
        list(run(itertools.count(), work))
    wait_for_threads()


def test_closing_begins_nothing_more() -> None:
    """After the outcomes are closed, no item is begun, and running items are awaited."""
    begun, ended = [0], [0]
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            begun[0] += 1
        time.sleep(0.05)
        with lock:
            ended[0] += 1
        return item

    outcomes = run(itertools.count(), work, most=16, is_far=far)
    next(outcomes)
    outcomes.close()
    assert begun == ended
    assert begun[0] < 100
    wait_for_threads()


def test_a_slow_caller_holds_the_job_back() -> None:
    """If the caller takes outcomes slowly, the number of waiting items and outcomes is bounded."""
    found, done = [0], [0]

    def source() -> Iterator[int]:
        for number in range(10_000):
            found[0] += 1
            yield number

    def work(item: int) -> int:
        done[0] += 1
        return item

    outcomes = run(source(), work, most=2, ahead=10)
    next(outcomes)
    time.sleep(0.3)
    assert done[0] <= 10 + 2 + 2
    assert found[0] <= done[0] + 10 + 2 + 2
    assert len(list(outcomes)) == 9_999


def test_work_goes_side_by_side() -> None:
    """With a distant service all workers run.

    With a near service at most as many workers run as there are cores.
    """

    def widest(*, is_far: bool) -> int:
        now, most, lock = [0], [0], threading.Lock()

        def work(item: int) -> int:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.02)
            with lock:
                now[0] -= 1
            return item

        list(run(range(300), work, most=24, is_far=lambda: is_far))
        return most[0]

    assert widest(is_far=True) > 16
    assert widest(is_far=False) < 16


def test_random_delays_and_failures() -> None:
    """Several jobs at the same time each yield exactly the outcomes of their own items."""

    def one(seed: int) -> None:
        numbers = random.Random(seed)
        delays = [numbers.random() / 500 for _ in range(200)]

        def work(item: int) -> int:
            time.sleep(delays[item])
            if item % 7 == seed % 7:
                raise ConfigError(str(item))
            return item

        outcomes = list(run(range(200), work, most=8, is_far=far))
        assert sorted(outcome.item for outcome in outcomes) == list(range(200))
        failed = [outcome.item for outcome in outcomes if outcome.error]
        assert sorted(failed) == [item for item in range(200) if item % 7 == seed % 7]

    list(run(range(6), one, most=6, is_far=far))
    wait_for_threads()


def test_a_journal_leaves_out_what_is_done(tmp_path: Path) -> None:
    """With a journal, finished items are skipped; failed and changed items are done again."""
    done: list[int] = []

    def work(item: int) -> int:
        done.append(item)
        if item == 3 and len(done) < 10:
            raise StorageError("once")
        return item

    def once(versions: list[int]) -> list[int]:
        done.clear()
        with Journal.open(tmp_path / "journal", {"verb": "test"}) as journal:
            items, noted = journaled(
                journal,
                range(8),
                work,
                named=lambda item: (f"item {item}", str(versions[item])),
                done=lambda _: ("done", ""),
            )
            list(run(items, noted, most=2))
        return sorted(done)

    versions = [0] * 8
    assert once(versions) == list(range(8))
    versions[6] = 1
    assert once(versions) == [3, 6]
    assert once(versions) == [3]


def test_a_journal_that_cannot_be_written_stops_the_job(tmp_path: Path) -> None:
    """If the journal cannot be written, the job stops and no finished item counts as failed."""
    with Journal.open(tmp_path / "journal", {"verb": "test"}) as journal:
        items, noted = journaled(
            journal,
            itertools.count(),
            lambda item: item,
            named=lambda item: (str(item), ""),
            done=lambda _: ("done", ""),
        )
        outcomes = run(items, noted, most=2)
        next(outcomes)
        journal.close()
        with pytest.raises(S3CryptError):
            list(outcomes)
    wait_for_threads()
