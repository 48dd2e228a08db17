# SPDX-License-Identifier: Apache-2.0
"""Keeps the latest events in memory, with one limit for each category: management and data.

This module must not depend on the content of records.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The number of events kept per category. A record takes about 1.2 kB, so both categories together
# take at most 150 MB.
KEPT = 50_000


@dataclass(frozen=True, slots=True)
class Event:
    """An event. `text` is its record as JSON; the other fields are for selecting events.

    `number` counts from 1 in order of storage; it is 0 until the event is stored. `resources` has
    pairs of type and name.
    """

    moment: float
    region: str
    is_management: bool
    is_read_only: bool
    name: str
    source: str
    id: str
    username: str
    access_key: str
    resources: tuple[tuple[str, str], ...]
    text: str = field(repr=False)
    number: int = 0


class Events:
    """The events of a sandbox. Several threads may add events at the same time."""

    def __init__(self, kept: int = KEPT) -> None:
        self._guard = threading.Lock()
        self._kept: dict[bool, deque[Event]] = {
            is_management: deque(maxlen=kept) for is_management in (True, False)
        }
        self._count = 0

    @property
    def count(self) -> int:
        """The number of events added so far, including events no longer kept."""
        return self._count

    def add(self, event: Event) -> None:
        """Store an event under the next number. If its category is full, drop the oldest event.

        Events are numbered in the order in which they are stored, so no page of LookupEvents and no
        log file skips an event.
        """
        with self._guard:
            self._kept[event.is_management].append(replace(event, number=self._count + 1))
            self._count += 1

    def clear(self) -> None:
        """Forget all events; the numbering continues."""
        for kept in self._kept.values():
            kept.clear()

    def newest_first(self, region: str, before: int | None = None) -> Iterator[Event]:
        """Yield a Region's management events, newest first.

        With `before`, yield only lower numbers.
        """
        with self._guard:
            kept = tuple(self._kept[True])
        for event in reversed(kept):
            if event.region == region and (before is None or event.number < before):
                yield event

    def after(self, number: int, until: int) -> list[Event]:
        """Return the events with numbers above `number` and up to `until`, oldest first."""
        with self._guard:
            kept = [each for held in self._kept.values() for each in held]
        return sorted(
            (each for each in kept if number < each.number <= until), key=lambda one: one.number
        )
