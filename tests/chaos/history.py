# SPDX-License-Identifier: Apache-2.0
"""What one operation asked, when, and what its caller was told: a line of JSON each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

OK = "ok"
ABSENT = "ObjectNotFoundError"
FOREIGN = "foreign"
RUNNING = "running"
# The caller was told that nothing was stored.
NOTHING_STORED = frozenset({"ConflictError", "KeyUnavailableError", "PolicyError", "ConfigError"})


@dataclass(slots=True)
class Event:
    """One operation.

    Attributes:
        number: Unique within the run.
        thread: Who did it: `0.3` is thread 3 of process 0.
        operation: `write`, `copy`, `delete`, `read`, `rotate`, `rotate-all`, `list`, `needs`, and
            `final`, which looks at an object without the relay once everything has ended.
        name: `bucket/name`, or the prefix of a listing.
        how: The method used, for the log.
        start: Seconds of the clock that all processes share.
        end: Likewise; infinite while the operation is running.
        outcome: `ok`, the error's type, `foreign` for a foreign exception, or `running`.
        content: The identity that was written; of a copy, its source's name.
        form: How the object was to be encrypted; see `forms`.
        if_absent: Whether the write demanded that there be no object.
        found: The content that a read returned; the names that a listing returned; the action of
            a rotation; of `needs`, `yes` or `no`.
        fault: What the caller saw at once to be wrong.
        message: The error's text.
        notes: The error's notes.
        tagged: Whether the write gave tags.
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
        """Return whether both were under way at some moment."""
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
