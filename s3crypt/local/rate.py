# SPDX-License-Identifier: Apache-2.0
"""How many requests a second a service takes, and the turns of the threads that make them.

`Rate` is pure: it reads no clock. `Turns` has the clock, the lock and the waiting. Neither knows a
service, nor which of its refusals is a throttle.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from s3crypt.logs import logger_of

from .workers import pause

_log = logger_of(__name__)

# What came through is counted over as many seconds as quotas are for. The replies to requests that
# were sent so soon after a decrease do not show its effect yet.
_SPAN = 1.0
# A busy service throttles single requests, whatever the rate: so few of all change nothing.
_NOISE = 0.02
# The rate falls to what came through, less the share that was throttled, but no further.
_LARGEST_CUT = 0.1
# The rate grows by this share of what it fell to in the first second, or by one request a second.
_GROWTH = 0.05
# Requests a second, at least: quotas are hundreds, and the pauses between attempts are longer.
_LEAST = 5.0
# Seconds after a decrease until there is no limit again; the rate has grown far beyond it by then.
_QUIET_SECONDS = 10.0
# The rate may have grown since a wait began.
_LONGEST_WAIT_SECONDS = 1.0


class Rate:
    """Requests a second: no limit before the first throttle, then learned from what comes through.

    A throttle lowers the rate to what came through in the second before, or up to a tenth below,
    once a second at most. Then the rate grows, twice as fast each second, and after ten seconds
    there is no limit again. Single throttles among many requests change nothing.

    Turns are numbered and come up in order. One that nobody waits for is kept and further ones are
    not, so that no burst follows a lull.

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
        """Return the requests a second that there may be, or None without a limit."""
        self._reckon(now)
        return self._limit

    def take(self, now: float) -> int:
        """Return the number of the next turn."""
        self._reckon(now)
        self._taken += 1
        return self._taken

    def wait_for(self, turn: int, now: float) -> float:
        """Return the seconds until a turn comes up at the rate of now; 0.0 if it has."""
        self._reckon(now)
        return max(0.0, turn - self._come_up) / self._limit if self._limit else 0.0

    def sent(self, now: float) -> None:
        """Count a request that is sent."""
        _forget(self._sent, now)
        self._sent.append(now)

    def throttled(self, sent: float, now: float) -> None:
        """Count a request that was throttled; lower the rate unless a decrease came just before.

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
        # What came through can exceed the limit of now: the limit was higher a second ago.
        self._limit = lowered if self._limit is None else min(self._limit, lowered)
        self._growth = max(1.0, self._limit * _GROWTH)
        self._lowered = now

    def _reckon(self, now: float) -> None:
        """Let the rate grow, and turns come up, for the time since this was last done."""
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
    """The turns of all threads that ask one service by one client, at the rate that it takes.

    Args:
        service: What a log calls the service.
        is_throttle: Returns whether a request's failure says that there were too many requests.
    """

    def __init__(self, service: str, is_throttle: Callable[[Exception], bool]) -> None:
        self._service = service
        self._is_throttle = is_throttle
        self._rate = Rate()
        self._is_limited = False
        self._lock = threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Make the request of the block in its turn, and learn from how it ends.

        The wait ends at once where this thread is to stop; `clock` does not count it.
        """
        sent = self._wait()
        try:
            yield
        except Exception as error:
            if self._is_throttle(error):
                self._lower(sent)
            raise

    def _wait(self) -> float:
        """Wait for a turn; return the time at which it came, and count its request as sent."""
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

    A deadline by this clock counts attempts and the pauses between them, however long the queue is.
    """
    return time.monotonic() - _waited()


class Pace:
    """Turns at a fixed rate, for requests whose quota is known and shared with others.

    A turn that nobody waits for is not kept: no burst follows a lull.

    Args:
        per_second: Turns a second.
    """

    def __init__(self, per_second: float) -> None:
        self._seconds = 1.0 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for the next turn of all threads; end at once where this thread is to stop."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._seconds
        if turn > now:
            pause(turn - now)
