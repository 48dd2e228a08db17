# SPDX-License-Identifier: Apache-2.0
"""Outcomes in the order of their items.

`run` itself yields each outcome as soon as its work ends.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar, cast

from s3crypt.errors import S3CryptError
from s3crypt.local.workers import current_stop

from .window import Outcome, run

Item = TypeVar("Item")
Result = TypeVar("Result")

# The maximum number of outcomes that wait for the outcome of an earlier item. It is two pages of a
# listing.
_WAITING = 2000
_LOOK_SECONDS = 0.05


def run_in_order(
    items: Iterable[Item], work: Callable[[Item], Result], **options: Any
) -> Generator[Outcome[Item, Result], None, None]:
    """Call `run` with the options, and yield its outcomes in the order of the items.

    An item is started only if fewer than 2,000 earlier items wait for their outcome to be yielded.
    """
    room = threading.Semaphore(_WAITING)

    def numbered() -> Iterator[tuple[int, Item]]:
        for number, item in enumerate(items):
            if not _entered(room):
                return
            yield number, item

    waiting: dict[int, Outcome[tuple[int, Item], Result]] = {}
    following = 0
    with closing(run(numbered(), lambda pair: work(pair[1]), **options)) as outcomes:
        try:
            for outcome in outcomes:
                waiting[outcome.item[0]] = outcome
                while (found := waiting.pop(following, None)) is not None:
                    following += 1
                    room.release()
                    yield _without_number(found)
        except S3CryptError:
            # The job ended early, so the outcomes of some earlier items will never come.
            for number in sorted(waiting):
                yield _without_number(waiting[number])
            raise


def _entered(room: threading.Semaphore) -> bool:
    """Wait until another item may be started. Return False if the job was stopped."""
    stop = current_stop()
    while not room.acquire(timeout=_LOOK_SECONDS):
        if stop is not None and stop.is_set():
            return False
    return True


def _without_number(found: Outcome[tuple[int, Item], Result]) -> Outcome[Item, Result]:
    return replace(cast("Outcome[Any, Result]", found), item=found.item[1])
