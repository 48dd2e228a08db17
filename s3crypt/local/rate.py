# SPDX-License-Identifier: Apache-2.0
"""The rate of requests that a service accepts, and the turns of the threads that make them.

`Rate` is pure: it reads no clock. `Turns` has the clock, the lock and the waiting. Both know no
service, and do not know which errors are throttles.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from s3crypt.logs import logger_of

from .workers import pause

_log = logger_of(__name__)

# Seconds over which passed requests are counted, as quotas are per second. Replies to requests that
# were sent within this time after a decrease do not show its effect yet.
_SPAN = 1.0
# A busy service throttles single requests at any rate: up to this share changes nothing.
_NOISE = 0.02
# The rate falls to the rate of passed requests, less the throttled share, but at most this share.
_LARGEST_CUT = 0.1
# In the first second after a decrease, the rate grows by this share, at least by one request.
_GROWTH = 0.05
# Minimum requests per second: quotas are hundreds, and the pauses between attempts are longer.
_LEAST = 5.0
# Seconds after a decrease until the limit ends; the limit has grown many times over by then.
_QUIET_SECONDS = 10.0
# Longest single wait: the rate may have grown since a wait began.
_LONGEST_WAIT_SECONDS = 1.0


class Rate:
    """Requests per second: unlimited before the first throttle, then learned from passed requests.

    A throttle lowers the rate to the rate of passed requests in the last second, or up to a tenth
    below, at most once per second. Then the rate grows, twice as fast each second, and after ten
    seconds the limit ends. Single throttles among many requests change nothing.

    Turns are numbered and come up in order. At most one unused turn is kept, so that no burst
    follows a lull.

    Every `now` is the time in seconds, by any clock that never goes back.
    """

    def __init__(self) -> None:
        self._limit: float | None = None
        self._growth = 0.0
        self._reckoned = 0.0
        self._lowered = 0.0
        self._taken = 0
        self._come_up = 0.0
        self._sent: deque[float] = deque()
        self._throttled: deque[float] = deque()

    def limit(self, now: float) -> float | None:
        """Return the limit in requests per second, or None without a limit."""
        self._reckon(now)
        return self._limit

    def take(self, now: float) -> int:
        """Return the number of the next turn."""
        self._reckon(now)
        self._taken += 1
        return self._taken

    def wait_for(self, turn: int, now: float) -> float:
        """Return the seconds until a turn comes up at the present rate; 0.0 if it has come up."""
        self._reckon(now)
        return max(0.0, turn - self._come_up) / self._limit if self._limit else 0.0

    def sent(self, now: float) -> None:
        """Count a request that is being sent."""
        _forget(self._sent, now)
        self._sent.append(now)

    def throttled(self, sent: float, now: float) -> None:
        """Count a throttled request; lower the rate, unless it was sent just after a decrease.

        Requests without a reply count as passed: a service refuses faster than it serves.
        """
        self._reckon(now)
        self._throttled.append(sent)
        _forget(self._throttled, now)
        _forget(self._sent, now)
        if self._limit is not None and sent < self._lowered + _SPAN:
            return
        throttled, all_sent = len(self._throttled), max(1, len(self._sent))
        share = throttled / all_sent
        if share <= _NOISE:
            return
        passed = max(0, all_sent - throttled) / _SPAN
        lowered = max(_LEAST, passed * (1 - min(share, _LARGEST_CUT)))
        if self._limit is None:
            self._come_up = self._taken + 1.0
        # The rate of passed requests may exceed the present limit, which was higher a second ago.
        self._limit = lowered if self._limit is None else min(self._limit, lowered)
        self._growth = max(1.0, self._limit * _GROWTH)
        self._lowered = now

    def _reckon(self, now: float) -> None:
        """Advance the rate and the turns by the time since the last call."""
        seconds, self._reckoned = max(0.0, now - self._reckoned), max(now, self._reckoned)
        if self._limit is None:
            return
        if now - self._lowered >= _QUIET_SECONDS:
            self._limit = None
            return
        self._come_up = min(self._taken + 1.0, self._come_up + seconds * self._limit)
        self._limit += seconds * self._growth
        self._growth *= 2.0**seconds


def _forget(times: deque[float], now: float) -> None:
    while times and times[0] <= now - _SPAN:
        times.popleft()


class Turns:
    """The turns of all threads that ask one service by one client, at the rate it accepts.

    Args:
        service: The service's name in logs.
        is_throttle: Returns whether the error of a request is a throttle.
    """

    def __init__(self, service: str, is_throttle: Callable[[Exception], bool]) -> None:
        self._service = service
        self._is_throttle = is_throttle
        self._rate = Rate()
        self._is_limited = False
        self._lock = threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a turn to make the block's request; lower the rate if it is throttled.

        The wait ends at once if this thread is told to stop. `clock` does not count the wait.
        """
        sent = self._wait()
        try:
            yield
        except Exception as error:
            if self._is_throttle(error):
                self._lower(sent)
            raise

    def _wait(self) -> float:
        """Wait for a turn; count its request as sent, and return the time."""
        began = time.monotonic()
        with self._lock:
            turn, seconds = self._rate.take(began), 0.0
            if self._is_limited:
                seconds = self._rate.wait_for(turn, began)
                self._log_changes(began)
            if not seconds:
                self._rate.sent(began)
                return began
        try:
            while seconds and pause(min(seconds, _LONGEST_WAIT_SECONDS)):
                with self._lock:
                    seconds = self._rate.wait_for(turn, time.monotonic())
        finally:
            _here.waited = _waited() + time.monotonic() - began
        with self._lock:
            sent = time.monotonic()
            self._rate.sent(sent)
        return sent

    def _lower(self, sent: float) -> None:
        with self._lock:
            now = time.monotonic()
            self._rate.throttled(sent, now)
            self._log_changes(now)

    def _log_changes(self, now: float) -> None:
        limit = self._rate.limit(now)
        if (limit is not None) == self._is_limited:
            return
        self._is_limited = limit is not None
        if limit is None:
            _log.info("%s: no throttle for a while; requests are not paced any more", self._service)
        else:
            told = self._service, limit
            _log.info("%s throttles; requests are paced, %.0f a second to begin with", *told)


_here = threading.local()


def _waited() -> float:
    seconds: float = getattr(_here, "waited", 0.0)
    return seconds


def clock() -> float:
    """Return this thread's time in seconds, which stands still while the thread waits for a turn.

    A deadline by this clock counts attempts and the pauses between them, but not the queue.
    """
    return time.monotonic() - _waited()


class Pace:
    """Turns at a fixed rate, for requests whose quota is known and shared with other processes.

    An unused turn is not kept, so that no burst follows a lull.

    Args:
        per_second: Turns per second.
    """

    def __init__(self, per_second: float) -> None:
        self._seconds = 1.0 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for the next turn of all threads; return at once if this thread is told to stop."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._seconds
        if turn > now:
            pause(turn - now)
