# SPDX-License-Identifier: Apache-2.0
"""Measure whether a service is far away, by the shortest time in which it replies."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# If requests wait at least this many seconds, the service is far away, and parallel requests are
# faster. For a nearby service, parallel requests would only compete for the cores.
FAR_SECONDS = 0.005
# The number of measurements. One is not enough: a single reply may be late, and a client's first
# request also opens a connection.
_MEASURED = 8


class Distance:
    """Whether one service is far away, as measured by this process.

    The time that a thread waits for a core is not counted. On a busy machine, it would make every
    request seem slow.
    """

    def __init__(self) -> None:
        self._quickest: float | None = None
        self._left = _MEASURED

    @property
    def is_far(self) -> bool:
        """Return whether even the fastest request waited long for its reply."""
        return self._quickest is not None and self._quickest >= FAR_SECONDS

    @property
    def is_known(self) -> bool:
        """Return whether no further measurement is needed."""
        return self._left <= 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the request in the `with` block.

        A request that raises an error is not counted.
        """
        began, at_work = time.monotonic(), _seconds_at_work()
        yield
        waited = time.monotonic() - began - (_seconds_at_work() - at_work)
        self._left -= 1
        self._quickest = waited if self._quickest is None else min(waited, self._quickest)


def _seconds_at_work() -> float:
    """Return the seconds that this thread has run or has waited for a core."""
    seconds = time.thread_time()
    # Only on Linux. The fields are: nanoseconds of running, nanoseconds of waiting for a core, and
    # the number of time slices.
    with suppress(OSError, IndexError, ValueError):
        fields = Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()
        seconds += int(fields[1]) / 1e9
    return seconds
