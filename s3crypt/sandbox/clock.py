# SPDX-License-Identifier: Apache-2.0
"""KMS's clock, which tests move ahead, and the changes that are due at a time.

KMS finishes some changes in the background, and others after days: it deletes keys and imported
material, and rotates keys. This module must not know what is changed.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    # A change; its argument is the time at which it was due.
    Change = Callable[[float], None]


class Clock:
    """A clock that only moves ahead, and a queue of changes, in the order of their times."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self.reset()

    def reset(self) -> None:
        """Set the clock to the machine's, drop all changes, and finish later ones at once."""
        self._ahead = 0.0
        self._background = 0.0
        self._is_running = False
        self._changes: list[tuple[float, int, Change]] = []

    def now(self) -> float:
        """Return the current time in seconds since 1970."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the clock ahead, and make the changes that are due by then."""
        self._ahead += seconds
        self.run()

    def delay(self, seconds: float) -> None:
        """Have changes in the background take this long from now on."""
        self._background = seconds

    def at(self, moment: float, change: Change) -> None:
        """Make a change at a time."""
        with self._lock:
            heapq.heappush(self._changes, (moment, next(self._numbers), change))

    def soon(self, change: Change) -> None:
        """Make a change in the background; at once if no delay is set."""
        if self._background:
            self.at(self.now() + self._background, change)
        else:
            change(self.now())

    def run(self) -> None:
        """Make the changes that are due."""
        # Requests come here by the thousand, and almost always nothing is due.
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
