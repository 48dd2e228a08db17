# SPDX-License-Identifier: Apache-2.0
"""Many parallel gets under a KMS that throttles requests beyond a limit per second.

    python tests/chaos/kms_limit.py [--gets 500] [--threads 32] [--limit 30]

The exit code is 0 if every get succeeds, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from relay import Answer, Asked, relaying  # noqa: E402 - found by the path above

from s3crypt import ClientSide, KMSKeyring, S3Crypt, sandbox  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

_DATA = bytes(range(256)) * 4


class Limit:
    """Forwards this many requests per second to KMS; the rest get KMS's throttling error."""

    def __init__(self, a_second: int) -> None:
        self.answered = 0
        self.throttled = 0
        self._a_second = a_second
        self._recent: deque[float] = deque()
        self._lock = threading.Lock()

    def spoil(self, asked: Asked, forward: Callable[[], Answer]) -> Answer:
        """Return KMS's answer, or a throttling error if the limit of this second is reached."""
        del asked
        if self._may_pass():
            return forward()
        said = {"__type": "ThrottlingException", "message": "You have exceeded the rate limit."}
        headers = {"content-type": "application/x-amz-json-1.1"}
        return Answer(400, headers, json.dumps(said).encode())

    def _may_pass(self) -> bool:
        now = time.monotonic()
        with self._lock:
            while self._recent and self._recent[0] <= now - 1:
                self._recent.popleft()
            if len(self._recent) >= self._a_second:
                self.throttled += 1
                return False
            self._recent.append(now)
            self.answered += 1
            return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Get many objects under a KMS limit.")
    parser.add_argument("--gets", type=int, default=500)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--limit", type=int, default=30, help="KMS requests a second")
    return parser.parse_args()


def _get_all(store: S3Crypt, given: argparse.Namespace) -> Counter[str]:
    def get(_: int) -> str:
        try:
            return "success" if store.read("s3://limit/object") == _DATA else "other bytes"
        except Exception as error:  # noqa: BLE001 - every exception is an outcome
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(given.threads) as pool:
        return Counter(pool.map(get, range(given.gets)))


def main() -> int:
    """Run the trial, and return the exit code."""
    given = _arguments()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    limit = Limit(given.limit)
    with ExitStack() as stack:
        running = stack.enter_context(sandbox.running())
        os.environ.update(sandbox.environment(running))
        boto3.client("s3").create_bucket(Bucket="limit")
        key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
        S3Crypt(ClientSide(KMSKeyring(key))).put(_DATA, "s3://limit/object")
        relay = stack.enter_context(relaying(running.endpoint_url, limit.spoil))
        os.environ["AWS_ENDPOINT_URL_KMS"] = relay.url
        started = time.monotonic()
        outcomes = _get_all(S3Crypt(ClientSide(KMSKeyring(key))), given)
        seconds = time.monotonic() - started
    lines = [f"{number:6}  {outcome}" for outcome, number in outcomes.most_common(10)]
    asked = limit.answered + limit.throttled
    lines.append(f"{seconds:.1f} s, {asked} KMS requests, {limit.throttled} of them throttled")
    good = outcomes["success"] == given.gets
    lines.append(f"{'passed' if good else 'failed'}: {outcomes['success']} of {given.gets} gets")
    sys.stdout.write("\n".join(lines) + "\n")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
