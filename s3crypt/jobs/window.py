# SPDX-License-Identifier: Apache-2.0
"""Work on many items: a limited number is in progress at a time, so memory is bounded."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from s3crypt.aws_errors import is_for_all
from s3crypt.errors import ObjectNotFoundError, Remedy, S3CryptError, StorageError
from s3crypt.local.buffers import Buffers
from s3crypt.local.workers import ScalingWorkers, current_stop, stopping
from s3crypt.logs import logger_of

from .journal import FAILED, Journal

_log = logger_of(__name__)

# The maximum number of items in progress. A Python process cannot make more small requests within
# one round trip to a distant service.
MOST = 64
# The maximum number of items that are found in advance, and of outcomes that wait for the caller.
# It is two pages of a listing.
_AHEAD = 2000
_LOOK_SECONDS = 0.05

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """The outcome of one item.

    Attributes:
        item: The item.
        result: The return value of the work. None if the work failed.
        error: The error of the work. None if the work succeeded.
        seconds: The duration of the work in seconds.
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
    """Yield the outcome of each item when its work ends. An item that fails does not stop the job.

    A separate thread finds items in advance. When the iterator is closed, no further item is
    started, and the items in progress are waited for; their multipart transfers are aborted.

    Args:
        items: The items. A separate thread iterates over them. An exception of the iterator ends
            the items, and is raised after all outcomes.
        work: Is called with an item. Several threads call it in parallel.
        most: The maximum number of items in progress. None for 64.
        is_far: Returns whether the service is known to be far away. If so, more items are in
            progress.
        stops_at: Returns whether an error would occur for every other item, too. If so, no further
            item is started, and the error is raised after the items in progress have ended.
        ahead: The maximum number of items that are found in advance, and of outcomes that wait for
            the caller.

    Raises:
        S3CryptError: An error for which `stops_at` returned True.
        Exception: The exception of `items`, or an exception of `work` that is not an
            `S3CryptError`.
    """
    window = _Window(items, work, stops_at, ahead)
    try:
        work_on_next, most = window.work_on_next, most or MOST
        with ScalingWorkers(most, work_on_next, is_far=is_far, cpu=time.process_time) as crew:
            try:
                yield from window.outcomes(crew)
            finally:
                # The window is closed before the crew ends, because the crew's threads may be
                # waiting for space in a queue.
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
    detail: Callable[[Result], str | None] = lambda _: None,
) -> tuple[Iterator[Item], Callable[[Item], Result]]:
    """Return the items that are not done yet, and a function that does and records the work.

    Args:
        journal: The job's journal.
        items: All items of the job.
        work: Does the work for an item, without recording the outcome.
        named: Returns an item's key and its version.
        done: Returns the action to record for a result, and the item's new version. The new version
            is empty if the version has not changed.
        detail: Returns a further text to record for a result, or None.
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
        note(key, action, changed or version, detail(result))
        return result

    return (item for item in items if journal.outcome_of(*named(item)) is None), noted


class _JournalFailedError(Exception):
    """The journal cannot be written any more, so the job must stop.

    Attributes:
        error: The error of writing to the journal.
    """

    def __init__(self, error: S3CryptError) -> None:
        super().__init__(error)
        self.error = error


def at_least_one(items: Iterable[Item], prefix: str) -> Iterator[Item]:
    """Yield the items that were listed below a prefix. Raise an error if there are none.

    Raises:
        ObjectNotFoundError: There is no item.
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
    """Yield the items.

    Call `found` with the size of each item, and with None after the last item.
    """
    for item in items:
        if found:
            found(size_of(item))
        yield item
    if found:
        found(None)


class _Window(Generic[Item, Result]):
    """The queues of one job: for the items that were found, and for the outcomes."""

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
        # `_is_stopped` means that no further item is started. `_is_closed` means that the caller
        # takes no further outcome.
        self._is_stopped = threading.Event()
        self._is_closed = threading.Event()
        self._count: int | None = None
        self._failure: BaseException | None = None
        self._error: S3CryptError | None = None
        self._bug: Exception | None = None
        # The thread is not joined: if a listing is not finished, this does no harm.
        threading.Thread(target=self._find, name="s3crypt-find", daemon=True).start()

    def _find(self) -> None:
        count = 0
        try:
            with stopping(self._is_stopped):
                for item in self._items:
                    if not _put(self._found, (item,), unless=self._is_stopped):
                        return
                    count += 1
        except BaseException as error:  # noqa: BLE001 - raised to the caller at the end
            self._failure = error
        finally:
            self._count = count
            _put(self._found, None, unless=self._is_stopped)

    def work_on_next(self, _: Buffers) -> bool:
        """Do the work for the next item.

        Return False if there is no further item or the job has stopped.
        """
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
                # Put the end mark back, so the other workers get it, too.
                _put(self._found, None, unless=self._is_stopped)
            return found
        return None

    def outcomes(self, crew: ScalingWorkers) -> Iterator[Outcome[Item, Result]]:
        """Yield the outcomes of all items. Then, if an error ended the job early, raise it."""
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
                    _log.info("the job stopped, because its error would occur for every object")
                raise ending
        if count != self._count:
            raise StorageError(
                "The job was stopped before it reached this item.", hint="Run the command again."
            )

    def _look(self, crew: ScalingWorkers) -> bool:
        """Return whether a worker is still running.

        If a worker raised an exception, keep it until all outcomes were yielded.
        """
        try:
            return crew.look()
        except Exception as error:  # noqa: BLE001 - raised after the outcomes
            self._bug = error
            return False

    def close(self) -> None:
        """Start no further item, and drop the outcomes of the items in progress."""
        self._is_stopped.set()
        self._is_closed.set()


def _put(where: "queue.Queue[Any]", what: object, *, unless: threading.Event) -> bool:
    """Put an entry into a queue as soon as it has space.

    Return False if the event is set before.
    """
    while not unless.is_set():
        try:
            where.put(what, timeout=_LOOK_SECONDS)
        except queue.Full:
            continue
        return True
    return False
