# SPDX-License-Identifier: Apache-2.0
"""The request rate under throttling, with a fake clock, and threads that wait for their turns."""

from __future__ import annotations

import heapq
import json
import logging
import random
import threading
import time
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError
from relay import Answer, Asked, relaying
from samples import connect

from s3crypt import ClientSide, KMSKeyring
from s3crypt.aws import Clients, policy_of
from s3crypt.aws_errors import is_throttle
from s3crypt.local.rate import Rate, Turns, clock
from s3crypt.local.workers import stopping
from s3crypt.requests import Attempts

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.client import BaseClient

    from s3crypt.sandbox import Running


def send(rate: Rate, count: int, now: float) -> None:
    """Send `count` requests at the time `now`, without a wait."""
    for _ in range(count):
        assert rate.wait_for(rate.take(now), now) == 0.0
        rate.sent(now)


def limited(to: int, now: float = 100.0) -> Rate:
    """Return a rate just after its first throttle.

    `to` requests succeeded, and one was throttled.
    """
    rate = Rate()
    send(rate, to + 1, now)
    rate.throttled(now, now)
    return rate


def test_there_is_no_limit_before_a_throttle() -> None:
    """Before the first throttle there is no limit, even after 10,000 requests."""
    rate = Rate()
    send(rate, 10_000, 5.0)
    assert rate.limit(5.0) is None


def test_a_throttle_lowers_the_rate_to_what_came_through() -> None:
    """After a throttle, the limit is a little below the rate of requests that succeeded."""
    rate = limited(30)
    limit = rate.limit(100.0) or 0.0
    assert limit == pytest.approx(30 * 30 / 31)
    turns = [rate.take(100.0) for _ in range(4)]
    waits = [rate.wait_for(turn, 100.0) for turn in turns]
    assert waits == pytest.approx([number / limit for number in range(4)])


def test_the_rate_falls_by_a_tenth_at_most_and_once_a_second() -> None:
    """The limit falls once a second at most, to at least nine tenths of the successful rate."""
    rate = Rate()
    send(rate, 300, 7.0)
    for _ in range(200):
        rate.throttled(7.0, 7.0)
    first = rate.limit(7.0)
    assert first is not None
    assert first > 200
    rate.throttled(7.9, 7.95)
    assert (rate.limit(7.95) or 0) >= first
    for number in range(100):
        rate.sent(8.2)
        if number >= 40:
            rate.throttled(8.2, 8.3)
    assert 0.9 * 40 <= (rate.limit(8.3) or 0) < 100


def test_single_throttles_among_many_requests_change_nothing() -> None:
    """If 1 % of the requests are throttled, there is no limit; if 3 % are, there is one."""
    rate = Rate()
    send(rate, 300, 7.0)
    for _ in range(3):
        rate.throttled(7.0, 7.0)
    assert rate.limit(7.0) is None
    for _ in range(6):
        rate.throttled(7.0, 7.0)
    assert rate.limit(7.0) is not None


def test_the_rate_recovers() -> None:
    """Without throttles the limit grows ever faster, and it ends after ten seconds."""
    rate = limited(30)
    limits = [rate.limit(100.0 + second) or 0.0 for second in range(10)]
    steps = [after - before for before, after in pairwise(limits)]
    assert 1 < steps[0] < 3
    assert steps == sorted(steps)
    assert steps[-1] > 2 * limits[0]
    assert rate.limit(110.0) is None


def test_no_burst_follows_a_lull() -> None:
    """After an idle time, only one request is sent at once, and the next ones wait as before."""
    rate = limited(30)
    turns = [rate.take(103.0) for _ in range(3)]
    waits = [rate.wait_for(turn, 103.0) for turn in turns]
    assert waits[0] == 0.0
    assert waits[1] > 0.02
    assert waits[2] == pytest.approx(2 * waits[1])


def test_there_are_five_requests_a_second_at_least() -> None:
    """The limit never falls below five requests a second, even if all requests are throttled."""
    rate = Rate()
    for now in range(50):
        rate.sent(float(now))
        rate.throttled(float(now), now + 0.01)
    assert (rate.limit(49.02) or 0) >= 5


def simulated(a_second: int, workers: int, requests: int) -> tuple[float, int]:
    """Simulate workers and a service with this quota. Return the seconds and the throttles."""
    rate, chance = Rate(), random.Random(1)
    recent: deque[float] = deque()
    # Each entry: time, worker, turn (0 if it has no turn yet), throttles of this request so far.
    ahead = [(0.0, worker, 0, 0) for worker in range(workers)]
    left, throttled, now = requests, 0, 0.0
    while left > 0:
        now, worker, turn, failed = heapq.heappop(ahead)
        turn = turn or rate.take(now)
        wait = rate.wait_for(turn, now)
        if wait:
            heapq.heappush(ahead, (now + min(wait, 1.0) + 1e-6, worker, turn, failed))
            continue
        rate.sent(now)
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if len(recent) < a_second:
            recent.append(now)
            left -= 1
            heapq.heappush(ahead, (now + 0.02, worker, 0, 0))
        else:
            throttled += 1
            rate.throttled(now, now)
            pause = min(8.0, 0.1 * 2.0**failed) * chance.uniform(0.5, 1)
            heapq.heappush(ahead, (now + pause, worker, 0, failed + 1))
    return now, throttled


@pytest.mark.parametrize("a_second", [30, 200, 1000])
@pytest.mark.parametrize("workers", [4, 32, 128])
def test_nearly_all_of_a_quota_is_used(a_second: int, workers: int) -> None:
    """Workers use about 90 % of the service's quota, and few of their requests are throttled."""
    seconds, throttled = simulated(a_second, workers, 20 * a_second)
    able = min(a_second, workers * 50)
    assert seconds <= 20 * a_second / able * 1.12 + 1
    assert throttled <= workers + 20 * a_second * 0.06


# --- Turns -----------------------------------------------------------------------------------


class TooFastError(Exception):
    """The error by which the service in these tests throttles a request."""


def throttling(turns: Turns, count: int = 1) -> None:
    """Make `count` requests that the service throttles."""
    for _ in range(count):
        with pytest.raises(TooFastError), turns.taken():
            raise TooFastError


def paced() -> Turns:
    """Return turns that allow five requests a second, and no request at this moment."""
    turns = Turns("test", lambda error: isinstance(error, TooFastError))
    throttling(turns)
    with turns.taken():
        pass
    return turns


def test_threads_wait_for_their_turns() -> None:
    """Three threads share five requests a second; `clock` excludes the time of their waits."""
    turns, own = paced(), []

    def work() -> None:
        began = clock()
        with turns.taken():
            own.append(clock() - began)

    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= 0.5
    assert sum(own) < 0.3


def test_a_thread_that_is_to_stop_waits_no_longer() -> None:
    """A stop event ends a thread's wait for its turn."""
    turns, stop = paced(), threading.Event()
    for _ in range(200):
        turns._rate.take(time.monotonic())
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with stopping(stop), turns.taken():
        pass
    assert time.monotonic() - began < 5


def test_a_change_of_state_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has one record when pacing starts and one when it ends."""
    caplog.set_level(logging.INFO, "s3crypt.local.rate")
    turns = paced()
    throttling(turns, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "test throttles; requests are paced, 5 a second to begin with"
    ]
    monkeypatch.setattr("s3crypt.local.rate._QUIET_SECONDS", 0.0)
    with turns.taken():
        pass
    with turns.taken():
        pass
    assert [record.getMessage() for record in caplog.records][1:] == [
        "test: no throttle for a while; requests are not paced any more"
    ]


# --- Requests --------------------------------------------------------------------------------


def refusal(code: str, status: int = 400) -> ClientError:
    """Return a botocore error with this code and HTTP status."""
    said = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, "Decrypt")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (refusal("ThrottlingException"), True),
        (refusal("KMS.ThrottlingException"), True),
        (refusal("SlowDown", 503), True),
        (refusal("503", 503), True),
        (refusal("429", 429), True),
        (refusal("ServiceUnavailable", 503), False),
        (refusal("AccessDenied", 403), False),
        (OSError(), False),
    ],
)
def test_what_is_a_throttle(error: Exception, is_one: bool) -> None:
    """The throttling codes of S3 and KMS are throttles, and so is a HEAD's 503 without a code."""
    assert is_throttle(error) is is_one


def test_only_clients_that_are_ours_are_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only clients that s3crypt made are paced, unless they use botocore's adaptive retry mode."""
    assert policy_of(Clients("kms").get()).turns is not None
    assert policy_of(boto3.client("kms")).turns is None
    monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")
    assert policy_of(Clients("kms").get()).turns is None


def test_each_client_has_its_pace(
    sandbox: Running, bucket: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A throttle by KMS slows down requests to KMS, but not requests to S3."""
    throttles = iter((True,))

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        del asked
        if not next(throttles, False):
            return forward()
        said = {"__type": "ThrottlingException", "message": "You have exceeded the rate limit."}
        headers = {"content-type": "application/x-amz-json-1.1"}
        return Answer(400, headers, json.dumps(said).encode())

    with relaying(sandbox.endpoint_url, spoil) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", relay.url)
        keyring = KMSKeyring(key)
        store = connect(ClientSide(keyring.with_session(boto3.Session())))
        store.put(b"data", f"s3://{bucket}/x")
        mode = store.mode
        assert isinstance(mode, ClientSide)
        assert isinstance(mode.keyring, KMSKeyring)
        kms, s3 = policy_of(mode.keyring.client).turns, policy_of(store.client).turns
    assert kms is not None
    assert s3 is not None
    assert (kms._is_limited, s3._is_limited) == (True, False)


def test_the_wait_for_a_turn_is_in_no_deadline(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a turn does not count toward the deadline of retries."""
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "0.3")
    assert sandbox
    client: BaseClient = Clients("s3").get()
    policy = policy_of(client)
    assert policy.turns is not None
    attempts = Attempts(client, "s3://b/x")
    attempts.after(refusal("SlowDown", 503))
    policy.turns = Turns("s3", is_throttle)
    with pytest.raises(ClientError), policy.asking():
        raise refusal("SlowDown", 503)
    began = time.monotonic()
    for _ in range(4):
        with policy.asking():
            pass
    assert time.monotonic() - began > 0.4
    attempts.after(refusal("SlowDown", 503))
    assert attempts.made == 2
