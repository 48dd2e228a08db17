# SPDX-License-Identifier: Apache-2.0
"""A relay before S3 and KMS that cuts replies at random, and counts the cuts.

The module knows the kinds of requests, but no objects, modes or messages.
"""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay import Answer, Asked, Relay

if TYPE_CHECKING:
    from collections.abc import Callable

S3_KINDS = (
    "GET",
    "HEAD",
    "PUT",
    "part",
    "Create",
    "Complete",
    "Abort",
    "Copy",
    "UploadPartCopy",
    "List",
    "tags",
    "DELETE",
    "HEAD of a bucket",
)
KMS_KINDS = ("GenerateDataKey", "Decrypt", "Encrypt", "ReEncrypt", "DescribeKey")
KINDS = S3_KINDS + KMS_KINDS
# A kind of request that only jobs send.
DELETE_OBJECTS = "DeleteObjects"
WAYS = ("in the headers", "after the headers", "in the body", "before any byte", "not forwarded")
_LEAST_RATE, _MOST_RATE = 0.01, 0.25
_DELETE_RATE = 0.7
# The number of requests that an operation is assumed to send, until some were counted.
_FIRST_GUESS = 5.0


def kind_of(asked: Asked) -> str:
    """Return the kind of a request."""
    target = asked.headers.get("x-amz-target", "")
    if target:
        return target.partition(".")[2]
    query, copies = asked.query, "x-amz-copy-source" in asked.headers
    kinds = {
        "List": "list-type" in query,
        DELETE_OBJECTS: "delete" in query,
        f"{asked.method} of a bucket": "/" not in asked.path.strip("/"),
        "tags": "tagging" in query,
        "UploadPartCopy": asked.is_part and copies,
        "part": asked.is_part,
        "Create": "uploads" in query,
        "Complete": asked.method == "POST",
        "Abort": "uploadId" in query,
        "Copy": copies,
    }
    return next((kind for kind, it_is in kinds.items() if it_is), asked.method)


@dataclass(frozen=True, slots=True)
class Goal:
    """The wanted number of operations and of cuts."""

    operations: int
    cuts: int


class Cutter:
    """Decides which replies are cut, and in which way; its `spoil` is for a relay."""

    def __init__(self, seed: int, goal: Goal) -> None:
        self.requests: Counter[str] = Counter()
        self.cuts: Counter[tuple[str, str]] = Counter()
        self.failed: Counter[tuple[str, int]] = Counter()
        self.untold: set[str] = set()
        self.operations = 0
        self._goal = goal
        self._random = random.Random(f"cuts-{seed}")
        self._lock = threading.Lock()
        self._rate = 0.0

    @property
    def cut(self) -> int:
        """Return the number of cut replies."""
        return self.cuts.total()

    def _way(self, kind: str) -> str | None:
        """Return the way in which the next reply of this kind is cut.

        Return None to leave it whole.
        """
        with self._lock:
            self.requests[kind] += 1
            average = self.requests.total() / len(KINDS)
            rate = self._aim() * (1.5 if self.requests[kind] < average / 3 else 1)
            # A job with a thousand objects sends only one DeleteObjects request, so it is cut more
            # often.
            rate = _DELETE_RATE if kind == DELETE_OBJECTS else min(rate, _MOST_RATE)
            is_known = kind in (*KINDS, DELETE_OBJECTS)
            if not is_known or self._random.random() >= rate:
                return None
            ways = list(WAYS)
            if kind in ("HEAD", "DELETE", "Abort", "HEAD of a bucket"):
                # The reply to such a request has no body, so a cut after its headers would lose
                # nothing.
                ways = [way for way in WAYS if way not in ("after the headers", "in the body")]
            way = self._random.choice(ways)
            self.cuts[kind, way] += 1
            return way

    def _aim(self) -> float:
        done = max(1, self.operations)
        an_operation = self.requests.total() / done if self.operations > 20 else _FIRST_GUESS
        left = max(1, self._goal.operations - self.operations) * an_operation
        if not self._goal.cuts:
            return 0.0
        rate = (self._goal.cuts - self.cut) / left
        # The rate has a reserve: the last of the wanted cuts must fall on few requests.
        return min(max(rate * 1.2, _LEAST_RATE), _MOST_RATE)

    def spoil(self, asked: Asked, forward: Callable[[], Answer]) -> Answer:
        """Return the answer, which may be cut."""
        kind = kind_of(asked)
        way = self._way(kind)
        if way == "not forwarded":
            raise ConnectionResetError
        answer = forward()
        if answer.status >= 500:
            with self._lock:
                self.failed[kind, answer.status] += 1
        if way and kind == "Create":
            self.untold.update(re.findall("<UploadId>([^<]+)<", answer.body.decode()))
        if way == "before any byte":
            raise ConnectionResetError
        if way is not None:
            self._cut(answer, way)
        return answer

    def _cut(self, answer: Answer, way: str) -> None:
        with self._lock:
            if way == "in the body" and len(answer.body) > 1:
                answer.cut = self._random.randrange(1, len(answer.body))
            elif way == "after the headers" and answer.body:
                answer.cut = 0
            else:
                sent = [name for name in answer.headers if name not in _NOT_SENT]
                name = self._random.choice(["Server", *sent])
                value = answer.headers.get(name, "BaseHTTP")
                answer.cut_in = name, self._random.randrange(len(value) + 1)


_NOT_SENT = frozenset({"connection", "transfer-encoding", "date", "server"})


class _Forgetful(list[Asked]):
    """A log that keeps no request, because requests can have large bodies."""

    def append(self, asked: Asked, /) -> None:
        """Keep nothing."""


def cutting(endpoint_url: str, cutter: Cutter) -> Relay:
    """Return a relay that cuts replies."""
    relay = Relay(endpoint_url, cutter.spoil)
    relay.asked = _Forgetful()
    return relay
