# SPDX-License-Identifier: Apache-2.0
"""Limit the rate of requests to the rate that a service accepts. Threads take turns.

`Rate` is pure: it reads no clock. `Turns` has the clock and the lock, and waits. Neither of them
knows which service is used, or which errors are throttles.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from s3crypt.logs import logger_of

from .workers import pause

_log = logger_of(__name__)

# Requests are counted over this many seconds, because quotas are per second. A reply to a request
# that was sent less than this time after a decrease does not show the effect of the decrease.
_SPAN = 1.0
# A busy service throttles single requests at any rate. Up to this share of throttled requests, the
# rate does not change.
_NOISE = 0.02
# After a throttle, the rate is set to the rate of successful requests, reduced by the share of
# throttled requests, but by at most this share.
_LARGEST_CUT = 0.1
# In the first second after a decrease, the rate grows by this share, but at least by one request
# per second.
_GROWTH = 0.05
# The minimum number of requests per second. Quotas are hundreds of requests per second, and the
# pauses between attempts limit the rate further.
_LEAST = 5.0
# The limit ends this many seconds after the last decrease. By then it has grown many times over.
_QUIET_SECONDS = 10.0
# The maximum length of a single wait. Afterwards the wait is computed again, because the rate may
# have grown.
_LONGEST_WAIT_SECONDS = 1.0


class Rate:
    """The permitted requests per second. There is no limit before the first throttle.

    A throttle lowers the limit to the rate of successful requests in the last second, or up to a
    tenth below. This happens at most once per second. Then the limit grows, twice as fast each
    second, and is removed after ten seconds. A small share of throttled requests changes nothing.

    Turns are numbered, and come in the order of their numbers. At most one unused turn is saved, so
    a pause is not followed by a burst of requests.

    `now` is always the time in seconds, by any clock that never goes back.
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
        """Return the limit in requests per second. Return None if there is no limit."""
        self._reckon(now)
        return self._limit

    def take(self, now: float) -> int:
        """Return the number of the next turn."""
        self._reckon(now)
        self._taken += 1
        return self._taken

    def wait_for(self, turn: int, now: float) -> float:
        """Return the seconds until a turn comes at the present rate. Return 0.0 if it has come."""
        self._reckon(now)
        return max(0.0, turn - self._come_up) / self._limit if self._limit else 0.0

    def sent(self, now: float) -> None:
        """Count a request that is being sent."""
        _forget(self._sent, now)
        self._sent.append(now)

    def throttled(self, sent: float, now: float) -> None:
        """Count a throttled request, and lower the limit.

        The limit is not lowered if the request was sent just after a decrease.

        Requests without a reply so far are counted as successful, because a service replies faster
        to a throttled request than to any other request.
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
        # The rate of successful requests may exceed the present limit, because the limit was higher
        # a second ago.
        self._limit = lowered if self._limit is None else min(self._limit, lowered)
        self._growth = max(1.0, self._limit * _GROWTH)
        self._lowered = now

    def _reckon(self, now: float) -> None:
        """Update the limit and the turns for the time since the last call."""
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
    """The turns of all threads that use one client of a service. The service limits their rate.

    Args:
        service: The name of the service, for logs.
        is_throttle: Returns whether the error of a request means that it was throttled.
    """

    def __init__(self, service: str, is_throttle: Callable[[Exception], bool]) -> None:
        self._service = service
        self._is_throttle = is_throttle
        self._rate = Rate()
        self._is_limited = False
        self._lock = threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a turn, and then run the block, which makes one request.

        If the request is throttled, lower the rate.

        The wait ends at once if this thread has been told to stop. `clock` does not count the time
        of the wait.
        """
        sent = self._wait()
        try:
            yield
        except Exception as error:
            if self._is_throttle(error):
                self._lower(sent)
            raise

    def _wait(self) -> float:
        """Wait for a turn. Count the request as sent, and return the present time."""
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
    """Return this thread's time in seconds. It stands still while the thread waits for a turn.

    A deadline by this clock includes the attempts and the pauses between them, but not the waits
    for a turn.
    """
    return time.monotonic() - _waited()


class Pace:
    """Turns at a fixed rate, for requests with a known quota that other processes use, too.

    An unused turn is not saved, so a pause is not followed by a burst of requests.

    Args:
        per_second: The number of turns per second.
    """

    def __init__(self, per_second: float) -> None:
        self._seconds = 1.0 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for this thread's turn. Return at once if this thread has been told to stop."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._seconds
        if turn > now:
            pause(turn - now)
