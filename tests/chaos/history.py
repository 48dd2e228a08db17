# SPDX-License-Identifier: Apache-2.0
"""The arguments, times and outcome of an operation, which are one line of JSON in the log."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

OK = "ok"
ABSENT = "ObjectNotFoundError"
FOREIGN = "foreign"
RUNNING = "running"
# The types of errors that guarantee that nothing was stored.
NOTHING_STORED = frozenset({"ConflictError", "KeyUnavailableError", "PolicyError", "ConfigError"})


@dataclass(slots=True)
class Event:
    """One operation.

    Attributes:
        number: Unique within the run.
        thread: The thread that ran it: `0.3` is thread 3 of process 0.
        operation: `write`, `copy`, `delete`, `read`, `rotate`, `rotate-all`, `list`, `needs`, and
            `final`, which reads an object without the relay after all operations have ended.
        name: `bucket/name`, or the prefix of a listing.
        how: The method, for the log.
        start: Start time in seconds, on the clock that all processes share.
        end: End time on the same clock; infinite while the operation is running.
        outcome: `ok`, the error's type, `foreign` for another exception, or `running`.
        content: The identity of the written content; for a copy, the name of its source.
        form: The requested form of encryption; see `forms`.
        if_absent: Whether the write required that no object exists.
        found: The content that a read returned, the names that a listing returned, the action of
            a rotation, or for `needs` the answer `yes` or `no`.
        fault: A fault that the caller noticed at once.
        message: The error's text.
        notes: The error's notes.
        tagged: Whether the write set tags.
    """

    number: str
    thread: str
    operation: str
    name: str
    how: str = ""
    start: float = 0.0
    end: float = float("inf")
    outcome: str = RUNNING
    content: str = ""
    form: str = ""
    if_absent: bool = False
    found: list[str] = field(default_factory=list)
    fault: str = ""
    message: str = ""
    notes: str = ""
    tagged: bool = False

    def line(self) -> str:
        """Return the event as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Event:
        """Return the event of a line."""
        return cls(**json.loads(line))

    def overlaps(self, other: Event, grace: float = 0.0) -> bool:
        """Return whether both operations were running at the same time.

        An operation counts as running for `grace` more seconds after its end.
        """
        return self.start <= other.end + grace and other.start <= self.end + grace

    def __str__(self) -> str:
        told = {
            "content": self.content,
            "form": self.form,
            "found": ",".join(self.found[:8]),
            "fault": self.fault,
            "message": self.message,
            "notes": self.notes,
        }
        more = " ".join(f"{name}={value!r}" for name, value in told.items() if value)
        return (
            f"{self.start:.3f}-{self.end:.3f} {self.thread} {self.operation} {self.how} "
            f"{self.name}: {self.outcome} {more}"
        )
