# SPDX-License-Identifier: Apache-2.0
"""A window of concurrent work that moves over a source of items, in bounded memory."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from s3crypt.aws_errors import is_for_all
from s3crypt.errors import ObjectNotFoundError, Remedy, S3CryptError, StorageError
from s3crypt.local.buffers import Buffers
from s3crypt.local.workers import Crew, current_stop, stopping
from s3crypt.logs import logger_of

from .journal import FAILED, Journal

_log = logger_of(__name__)

# Pieces of work under way at once, at most: one process of Python does no more than this many
# small requests in the time of one that goes far.
MOST = 64
# Items that are found ahead of the work, and outcomes that wait for the caller: two pages of a
# listing.
_AHEAD = 2000
_LOOK_SECONDS = 0.05

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """What became of one item.

    Attributes:
        item: The item.
        result: What the work returned; None where it failed.
        error: Why it failed.
        seconds: How long it took.
    """

    item: Item
    result: Result | None
    error: S3CryptError | None
    seconds: float


def run(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    most: int | None = None,
    is_far: Callable[[], bool] = lambda: False,
    stops_at: Callable[[S3CryptError], bool] = is_for_all,
    ahead: int = _AHEAD,
) -> Generator[Outcome[Item, Result], None, None]:
    """Yield the outcome of each item as its work ends; one item's failure stops no other.

    Items are found in a thread of their own, ahead of the work. Closing the iterator begins no
    further item and waits for those under way; transfers of several parts among them are aborted.

    Args:
        items: Found one by one, in a thread; an exception ends the source, and is raised at last.
        work: Called with an item, in several threads at once.
        most: Items under way at once, at most; 64 if left out.
        is_far: Returns whether the service is known to be far away: more items are then under way.
        stops_at: Returns whether an error will meet every item. No further item is begun then, and
            the error is raised once the items under way are done.
        ahead: Items that are found ahead of the work, and outcomes that wait for the caller.

    Raises:
        S3CryptError: An error at which the job stops.
        Exception: What the source of items raised, or what the work raised that is no
            `S3CryptError`.
    """
    window = _Window(items, work, stops_at, ahead)
    try:
        work_on_next, most = window.work_on_next, most or MOST
        with Crew(most, work_on_next, is_far=is_far, cpu=time.process_time) as crew:
            try:
                yield from window.outcomes(crew)
            finally:
                # Before the crew is waited for: its threads wait for room.
                window.close()
    finally:
        window.close()


def journaled(
    journal: Journal,
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    named: Callable[[Item], tuple[str, str]],
    done: Callable[[Result], tuple[str, str]],
) -> tuple[Iterator[Item], Callable[[Item], Result]]:
    """Return the items that the journal does not have as done, and work that notes its outcome.

    Args:
        journal: The job's.
        items: All of them.
        work: What is done to an item.
        named: Returns an item's key and its version.
        done: Returns the action to note for a result, and the version that the item has now; the
            version is empty where it is still the item's.
    """

    def note(key: str, action: str, version: str, detail: str | None = None) -> None:
        try:
            journal.note(key, action, detail, version=version)
        except S3CryptError as error:
            raise _JournalFailedError(error) from error

    def noted(item: Item) -> Result:
        key, version = named(item)
        try:
            result = work(item)
        except S3CryptError as error:
            note(key, FAILED, version, str(error))
            raise
        action, changed = done(result)
        note(key, action, changed or version)
        return result

    return (item for item in items if journal.outcome_of(*named(item)) is None), noted


class _JournalFailedError(Exception):
    """A journal cannot be written any more, so that the job must not go on.

    Attributes:
        error: Why.
    """

    def __init__(self, error: S3CryptError) -> None:
        super().__init__(error)
        self.error = error


def at_least_one(items: Iterable[Item], prefix: str) -> Iterator[Item]:
    """Yield the objects that were listed below a prefix.

    Raises:
        ObjectNotFoundError: There is no object.
    """
    is_empty = True
    for item in items:
        is_empty = False
        yield item
    if is_empty:
        raise ObjectNotFoundError(f"{prefix}: no objects below it", remedy=Remedy("list_objects"))


def telling(
    items: Iterable[Item],
    size_of: Callable[[Item], int],
    found: Callable[[int | None], None] | None,
) -> Iterator[Item]:
    """Yield the items; call `found` with the size of each that is found, and with None at last."""
    for item in items:
        if found:
            found(size_of(item))
        yield item
    if found:
        found(None)


class _Window(Generic[Item, Result]):
    """The queues before and behind the work of one job."""

    def __init__(
        self,
        items: Iterable[Item],
        work: Callable[[Item], Result],
        stops_at: Callable[[S3CryptError], bool],
        ahead: int,
    ) -> None:
        self._items = items
        self._work = work
        self._stops_at = stops_at
        self._found: queue.Queue[tuple[Item] | None] = queue.Queue(ahead)
        self._ended: queue.Queue[Outcome[Item, Result]] = queue.Queue(ahead)
        # No further item begins; and then: nobody takes outcomes any more.
        self._is_stopped = threading.Event()
        self._is_closed = threading.Event()
        self._count: int | None = None
        self._failure: BaseException | None = None
        self._error: S3CryptError | None = None
        self._bug: Exception | None = None
        # Not waited for: a listing under way changes nothing.
        threading.Thread(target=self._find, name="s3crypt-find", daemon=True).start()

    def _find(self) -> None:
        count = 0
        try:
            with stopping(self._is_stopped):
                for item in self._items:
                    if not _put(self._found, (item,), unless=self._is_stopped):
                        return
                    count += 1
        except BaseException as error:  # noqa: BLE001 - raised to the caller at last
            self._failure = error
        finally:
            self._count = count
            _put(self._found, None, unless=self._is_stopped)

    def work_on_next(self, _: Buffers) -> bool:
        """Work on the next item; return False where there is none."""
        found = self._next()
        if found is None:
            return False
        began = time.monotonic()
        result, error = None, None
        try:
            result = self._work(found[0])
        except S3CryptError as failure:
            error = failure
        except OSError as failure:
            error = StorageError(f"{found[0]}: {failure.strerror or failure}.")
            error.__cause__ = failure
        except _JournalFailedError as failure:
            return self._stop(failure.error)
        if error is not None and self._stops_at(error):
            return self._stop(error)
        outcome = Outcome(found[0], result, error, time.monotonic() - began)
        return _put(self._ended, outcome, unless=self._is_closed)

    def _stop(self, error: S3CryptError) -> bool:
        self._error = self._error or error
        self._is_stopped.set()
        return False

    def _next(self) -> tuple[Item] | None:
        above = current_stop()
        while not self._is_stopped.is_set() and not (above and above.is_set()):
            try:
                found = self._found.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if found is None:
                # For the other workers.
                _put(self._found, None, unless=self._is_stopped)
            return found
        return None

    def outcomes(self, crew: Crew) -> Iterator[Outcome[Item, Result]]:
        """Yield the outcomes of all items; then raise what ended the job early."""
        count, looked, is_at_work = 0, time.monotonic(), True
        while count != self._count and (is_at_work or not self._ended.empty()):
            try:
                outcome = self._ended.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                is_at_work = self._look(crew)
                continue
            count += 1
            yield outcome
            if time.monotonic() - looked > _LOOK_SECONDS:
                looked, is_at_work = time.monotonic(), self._look(crew)
        for ending in (self._bug, self._error, self._failure):
            if ending is not None:
                if ending is self._error:
                    _log.info("the job stopped, as its error would meet every object")
                raise ending
        if count != self._count:
            raise StorageError("The job was stopped before it was done.", hint="Run it again.")

    def _look(self, crew: Crew) -> bool:
        """Return whether a worker is at work; keep what has ended one for after the outcomes."""
        try:
            return crew.look()
        except Exception as error:  # noqa: BLE001 - raised after the outcomes
            self._bug = error
            return False

    def close(self) -> None:
        """Begin no further item, and drop the outcomes of those under way."""
        self._is_stopped.set()
        self._is_closed.set()


def _put(where: "queue.Queue[Any]", what: object, *, unless: threading.Event) -> bool:
    """Put something into a queue, once it has room; return False if the event is set before."""
    while not unless.is_set():
        try:
            where.put(what, timeout=_LOOK_SECONDS)
        except queue.Full:
            continue
        return True
    return False
