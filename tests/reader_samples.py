# SPDX-License-Identifier: Apache-2.0
"""Objects of many short frames, the requests that a read makes, and distant servers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from samples import aes, connect_shared, payload

from s3crypt import ClientSide

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RequestsLog
    from relay import Answer, Asked

    from s3crypt import S3Crypt

FRAME = 4096
STRIDE = FRAME + 32
FRAMES = 160  # more frames than the first request fetches, and more than the last one
SIZE = FRAMES * FRAME - 100  # the final frame is short
FIRST = 2**19  # bytes of the first request
DEFAULT_FRAME = 2**18
DEFAULT_STRIDE = DEFAULT_FRAME + 32
# in seconds, after which a test counts as hanging; a correct test takes less than a tenth
HANG = 20


def short_frames() -> S3Crypt:
    """Return a store that writes short frames."""
    return connect_shared(ClientSide(aes(), frame_length=FRAME))


def put_short_frames(store: S3Crypt, bucket: str) -> str:
    """Put an object of SIZE bytes in a bucket and return its URI."""
    uri = f"s3://{bucket}/x"
    store.put(payload(SIZE), uri)
    return uri


def read_on(file: Any, step: int, given: bytearray) -> None:
    """Read to the end, and add the bytes to `given`, also the bytes that come before an error."""
    buffer = bytearray(step)
    while count := file.readinto1(buffer):
        given += buffer[:count]


def gets_of(log: RequestsLog) -> list[dict[str, Any]]:
    """Return the GETs of objects until now. Check that S3 received no other request."""
    asked = [entry for entry in log.list() if "x-amz-target" not in entry["headers"]]
    assert all(entry["method"] == "GET" for entry in asked)
    return asked


def decrypts_of(log: RequestsLog) -> int:
    """Return the number of Decrypt requests until now. Check that KMS received no other request."""
    targets = [entry["headers"].get("x-amz-target") for entry in log.list()]
    assert set(targets) <= {None, "TrentService.Decrypt"}
    return len(targets) - targets.count(None)


def ranges_of(log: RequestsLog) -> list[tuple[int, int]]:
    """Return the ranges of the GETs until now, as pairs of start and end (not included)."""
    found = []
    for entry in gets_of(log):
        start, _, end = entry["headers"]["range"].removeprefix("bytes=").partition("-")
        found.append((int(start), int(end) + 1))
    return found


class Far:
    """A relay's `spoil` that delays answers.

    Requests for ranges that begin in `held` wait until `go` is set.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.held = range(0)
        self.go = threading.Event()
        self.asked: list[int] = []

    @property
    def is_holding(self) -> bool:
        """Return whether a request is or was held back."""
        return any(start in self.held for start in self.asked)

    def __call__(self, request: Asked, forward: Callable[[], Answer]) -> Answer:
        """Return the answer to a request, after the delay."""
        start = int(request.headers.get("range", "bytes=0-")[6:].partition("-")[0])
        self.asked.append(start)
        time.sleep(self.delay)
        if start in self.held:
            self.go.wait(HANG)
        return forward()


def within(deed: Callable[[], Any]) -> Any:
    """Return the result of `deed`, or the error that it raised. Fail the test if `deed` hangs."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(deed())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(HANG)
    assert results, "it hangs"
    return results[0]


def wait_for(seconds: float, is_so: Callable[[], bool]) -> None:
    """Wait until the condition is true or the time is over."""
    until = time.monotonic() + seconds
    while not is_so() and time.monotonic() < until:
        time.sleep(0.02)


def ended(prefix: str) -> bool:
    """Wait for threads whose names begin with the prefix; return whether all have ended."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]
    for thread in threads:
        thread.join(HANG)
    return not any(thread.is_alive() for thread in threads)
