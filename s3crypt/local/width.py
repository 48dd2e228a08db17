# SPDX-License-Identifier: Apache-2.0
"""Decide how many workers are useful. This module reads no clock and starts no thread."""

import os

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# The number of workers for a nearby service. They keep the cores of both machines busy.
NEAR = max(2, _CORES)
# The number of workers at the beginning if the service is far away.
FAR = 16
# After the number of workers was doubled, the rate must be higher by this factor. Otherwise the new
# workers only use memory.
_GAIN = 1.1
# Small requests are mostly Python's own work, which uses one core at a time. If more than this
# share of a core is used, further workers do not raise the rate. The share is measured again until
# a core has time left, because at the beginning of a job a listing or an import may keep the core
# busy for a moment.
_OCCUPIED = 0.8
# A rate is measured for at least this many seconds, because new workers first open connections, and
# the pieces of work of a few workers may end at the same time by chance.
_MEASURED_SECONDS = 0.25


class Width:
    """Decides the number of workers by the rate at which work is done.

    For a nearby service, the number of workers is the number of cores. For a service that is far
    away, it begins with 16, and doubles as long as the rate grows by a tenth and a core has time
    left. Workers that did not raise the rate are stopped.

    Args:
        most: The maximum number of workers.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._wanted = self._before = min(most, NEAR)
        self._began: tuple[float, int, float] | None = None
        self._best: float | None = None
        self._is_settled = False

    def wanted(self, now: float, done: int, *, is_far: bool, cpu: float = 0.0) -> int:
        """Return the number of workers that should run now.

        Args:
            now: The time in seconds, by any clock that never goes back.
            done: The number of pieces of work that are done so far.
            is_far: Whether the service is known to be far away.
            cpu: The CPU seconds used so far, if one core does all the work. Otherwise 0.
        """
        if self._is_settled or not is_far:
            return self._wanted
        if self._began is None:
            self._grow(max(self._wanted, FAR), now, done, cpu)
            return self._wanted
        began, before, cpu_before = self._began
        # Each worker must first have done one piece of work. Until then, the measured rate is too
        # low.
        if done - before < self._wanted or now < began + _MEASURED_SECONDS:
            return self._wanted
        rate = (done - before) / (now - began)
        if self._best is not None and rate < _GAIN * self._best:
            self._wanted = self._before
            self._is_settled = True
        elif self._wanted == self._most:
            self._is_settled = True
        elif cpu - cpu_before >= _OCCUPIED * (now - began):
            self._best, self._began = None, (now, done, cpu)
        else:
            self._best = rate
            self._grow(2 * self._wanted, now, done, cpu)
        return self._wanted

    def _grow(self, wanted: int, now: float, done: int, cpu: float) -> None:
        self._before = self._wanted
        self._wanted = min(self._most, wanted)
        self._began = now, done, cpu
