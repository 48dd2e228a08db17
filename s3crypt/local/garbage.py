# SPDX-License-Identifier: Apache-2.0
"""Find out whether Python is collecting garbage in this thread: then a finalizer must not wait."""

import gc
import threading
from collections.abc import Callable, Mapping


class Collections:
    """Knows in which thread Python is collecting garbage. `watch` must be called first.

    A finalizer that the garbage collector calls must not wait, because its thread may hold a lock
    that the other thread needs. It must not close a resource that other garbage uses either,
    because finalizers run in any order.
    """

    def __init__(self) -> None:
        self._thread: int | None = None
        self._later: list[Callable[[], None]] = []

    def watch(self) -> None:
        """Make Python report each collection from now on. A report takes about a microsecond."""
        if self._notice not in gc.callbacks:
            gc.callbacks.append(self._notice)

    def is_here(self) -> bool:
        """Return whether garbage is being collected in this thread now."""
        return self._thread == threading.get_ident()

    def afterwards(self, call: Callable[[], None]) -> None:
        """Call `call` when the current collection has ended and all its finalizers have run."""
        self._later.append(call)

    def _notice(self, phase: str, _: Mapping[str, int]) -> None:
        if phase == "start":
            self._thread = threading.get_ident()
            return
        self._thread = None
        calls, self._later = self._later, []
        for call in calls:
            call()
