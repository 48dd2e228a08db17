# SPDX-License-Identifier: Apache-2.0
"""Measures the distance of a service, by the shortest wait for its reply."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A service is far away if its requests wait at least this many seconds. Parallel requests then hide
# the distance. To a nearby service, parallel requests would only compete for the cores.
FAR_SECONDS = 0.005
# Number of measurements: a single reply may be late, and a client's first request connects first.
_MEASURED = 8


class Distance:
    """The distance of one service, as measured by this process.

    Time that a thread waits for a core is not counted: on a busy machine every request takes long.
    """

    def __init__(self) -> None:
        self._quickest: float | None = None
        self._left = _MEASURED

    @property
    def is_far(self) -> bool:
        """Return whether even the quickest request waited long for its reply."""
        return self._quickest is not None and self._quickest >= FAR_SECONDS

    @property
    def is_known(self) -> bool:
        """Return whether no further measurement is needed."""
        return self._left <= 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the request that the block makes, unless the request raises an error."""
        began, at_work = time.monotonic(), _seconds_at_work()
        yield
        waited = time.monotonic() - began - (_seconds_at_work() - at_work)
        self._left -= 1
        self._quickest = waited if self._quickest is None else min(waited, self._quickest)


def _seconds_at_work() -> float:
    """Return the seconds that this thread has run, or has waited for a core."""
    seconds = time.thread_time()
    # Linux only: nanoseconds run, nanoseconds runnable but waiting for a core, time slices.
    with suppress(OSError, IndexError, ValueError):
        fields = Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()
        seconds += int(fields[1]) / 1e9
    return seconds
