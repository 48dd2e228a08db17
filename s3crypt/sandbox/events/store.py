# SPDX-License-Identifier: Apache-2.0
"""The last events, in memory: management events and data events, each up to a number.

It must not know what a record says.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of each category. A record has about 1.2 kB, so that both take 150 MB at most.
KEPT = 50_000


@dataclass(frozen=True, slots=True)
class Event:
    """An event: `text` is its record as JSON, the rest what events are selected by.

    `number` counts from 1 and grows with time. `resources` has types and names.
    """

    number: int
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


class Events:
    """The events of a sandbox; many threads may add at once."""

    def __init__(self, kept: int = KEPT) -> None:
        self._guard = threading.Lock()
        self._kept: dict[bool, deque[Event]] = {
            is_management: deque(maxlen=kept) for is_management in (True, False)
        }
        self._count = 0

    @property
    def count(self) -> int:
        """How many events there have been."""
        return self._count

    def next_number(self) -> int:
        """Return the number of a new event."""
        with self._guard:
            self._count += 1
            return self._count

    def add(self, event: Event) -> None:
        """Keep an event, and forget the oldest of its category if there are too many."""
        self._kept[event.is_management].append(event)

    def clear(self) -> None:
        """Forget all events; the numbers go on."""
        for kept in self._kept.values():
            kept.clear()

    def newest_first(self, region: str, before: int | None = None) -> Iterator[Event]:
        """Yield the management events of a Region, those below a number if one is given."""
        for event in reversed(tuple(self._kept[True])):
            if event.region == region and (before is None or event.number < before):
                yield event

    def after(self, number: int) -> list[Event]:
        """Return all events since the one of a number, oldest first."""
        kept = [each for held in self._kept.values() for each in tuple(held)]
        return sorted((each for each in kept if each.number > number), key=lambda one: one.number)
