# SPDX-License-Identifier: Apache-2.0
"""Whether Python collects garbage in this thread, so that a finalizer must not wait."""

import gc
import threading
from collections.abc import Callable, Mapping


class Collections:
    """Knows in which thread Python collects garbage, once `watch` was called.

    A finalizer that the collector calls must not wait: its thread may hold a lock that the awaited
    work needs. Nor may it end what other garbage still uses: their finalizers run in any order.
    """

    def __init__(self) -> None:
        self._thread: int | None = None
        self._later: list[Callable[[], None]] = []

    def watch(self) -> None:
        """Have Python report each collection from now on, which costs about a microsecond."""
        if self._notice not in gc.callbacks:
            gc.callbacks.append(self._notice)

    def is_here(self) -> bool:
        """Return whether garbage is being collected in this thread."""
        return self._thread == threading.get_ident()

    def afterwards(self, call: Callable[[], None]) -> None:
        """Call `call` when this collection has ended: all finalizers have run then."""
        self._later.append(call)

    def _notice(self, phase: str, _: Mapping[str, int]) -> None:
        if phase == "start":
            self._thread = threading.get_ident()
            return
        self._thread = None
        calls, self._later = self._later, []
        for call in calls:
            call()
