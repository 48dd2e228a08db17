# SPDX-License-Identifier: Apache-2.0
"""Calls that are due later, and many open sockets: the common part of canned.py and paced.py."""

import asyncio
import heapq
import resource
from collections.abc import Callable
from itertools import count

# All clients of a run may connect at once. If the backlog is full, the system drops a connection,
# and the client tries again only after a second.
BACKLOG = 4096


class Timeline:
    """Calls functions when they are due. Calls that are due at the same time keep their order.

    One timer of the loop serves all calls. With a timer per call, thousands of small messages per
    second would spend a third of their time on timers.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._numbers = count()
        self._waiting: list[tuple[float, int, Callable[[bytes], object], bytes]] = []
        self._wakes_at = float("inf")

    def call_at(self, due: float, call: Callable[[bytes], object], data: bytes) -> None:
        """Call a function with `data` at the time `due`, which is a time of the loop's clock."""
        heapq.heappush(self._waiting, (due, next(self._numbers), call, data))
        if due < self._wakes_at:
            self._wake_at(due)

    def _wake_at(self, due: float) -> None:
        self._wakes_at = due
        self._loop.call_at(due, self._run)

    def _run(self) -> None:
        now, waiting = self._loop.time(), self._waiting
        try:
            while waiting and waiting[0][0] <= now:
                _, _, call, data = heapq.heappop(waiting)
                call(data)
        finally:
            self._wakes_at = float("inf")
            if waiting:
                self._wake_at(waiting[0][0])


def allow_many_connections() -> None:
    """Raise this process's limit of open sockets to the largest that the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
