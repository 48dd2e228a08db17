# SPDX-License-Identifier: Apache-2.0
"""The last events, in memory: management events and data events, each up to a number.

It must not know what a record says.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of each category. A record has about 1.2 kB, so that both take 150 MB at most.
KEPT = 50_000


@dataclass(frozen=True, slots=True)
class Event:
    """An event: `text` is its record as JSON, the rest what events are selected by.

    `number` counts from 1 and grows with time; 0 is that of an event that is not kept yet.
    `resources` has types and names.
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

    def add(self, event: Event) -> None:
        """Keep an event under the next number; forget the oldest of its category if too many are.

        Numbers are in the order in which events are kept, so that no page or file leaves one out.
        """
        with self._guard:
            self._kept[event.is_management].append(replace(event, number=self._count + 1))
            self._count += 1

    def clear(self) -> None:
        """Forget all events; the numbers go on."""
        for kept in self._kept.values():
            kept.clear()

    def newest_first(self, region: str, before: int | None = None) -> Iterator[Event]:
        """Yield the management events of a Region, those below a number if one is given."""
        with self._guard:
            kept = tuple(self._kept[True])
        for event in reversed(kept):
            if event.region == region and (before is None or event.number < before):
                yield event

    def after(self, number: int, until: int) -> list[Event]:
        """Return all events since the one of a number, up to another one's, oldest first."""
        with self._guard:
            kept = [each for held in self._kept.values() for each in held]
        return sorted(
            (each for each in kept if number < each.number <= until), key=lambda one: one.number
        )
