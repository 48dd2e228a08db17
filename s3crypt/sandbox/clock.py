# SPDX-License-Identifier: Apache-2.0
"""KMS's clock, which tests can move ahead, and the changes that are scheduled on it.

KMS finishes some changes in the background. Other changes are due after days: deleting keys and
imported material, and rotating keys. This module must not know what a change does.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    # A function that makes a change. Its argument is the time at which the change was due.
    Change = Callable[[float], None]


class Clock:
    """A clock that only moves ahead, and a queue of changes in the order of their due times."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self.reset()

    def reset(self) -> None:
        """Set the clock to the machine's time, drop all scheduled changes, and remove the delay."""
        self._ahead = 0.0
        self._background = 0.0
        self._is_running = False
        self._changes: list[tuple[float, int, Change]] = []

    def now(self) -> float:
        """Return the current time in seconds since 1970."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the clock ahead, and make the changes that have become due."""
        self._ahead += seconds
        self.run()

    def delay(self, seconds: float) -> None:
        """Set how long changes in the background take from now on."""
        self._background = seconds

    def at(self, moment: float, change: Change) -> None:
        """Schedule a change for a time, in seconds since 1970."""
        with self._lock:
            heapq.heappush(self._changes, (moment, next(self._numbers), change))

    def soon(self, change: Change) -> None:
        """Make a change after the delay that is set, or at once if no delay is set."""
        if self._background:
            self.at(self.now() + self._background, change)
        else:
            change(self.now())

    def run(self) -> None:
        """Make the changes that are due."""
        # Fast path without the lock: every request calls this method, and almost always no change
        # is due.
        if not self._changes or self._changes[0][0] > self.now():
            return
        with self._lock:
            if self._is_running:
                return
            self._is_running = True
            try:
                while self._changes and self._changes[0][0] <= self.now():
                    moment, _, change = heapq.heappop(self._changes)
                    change(moment)
            finally:
                self._is_running = False
