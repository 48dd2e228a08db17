# SPDX-License-Identifier: Apache-2.0
"""Report the progress of several threads to fsspec's callbacks, which are not thread-safe."""

import threading
from collections.abc import Callable
from typing import Any, Self

from fsspec.callbacks import Callback, NoOpCallback


class OneAtATime(Callback):  # type: ignore[misc]  # fsspec has no types
    """A thread-safe callback. The calls to it and to its branches are made one after the other."""

    def __init__(self, callback: Any, lock: "threading.RLock | None" = None) -> None:
        super().__init__()
        self._callback = callback
        # The lock is reentrant because a callback may make a branch, or update another callback,
        # during a call.
        self._lock = lock or threading.RLock()

    def __enter__(self) -> Self:
        with self._lock:
            self._callback.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._callback.__exit__(*error)

    def set_size(self, size: int) -> None:
        """Set the total amount of work."""
        with self._lock:
            self._callback.set_size(size)

    def absolute_update(self, value: int) -> None:
        """Set the amount of completed work."""
        with self._lock:
            self._callback.absolute_update(value)

    def relative_update(self, inc: int = 1) -> None:
        """Add to the amount of completed work."""
        with self._lock:
            self._callback.relative_update(inc)

    def branched(self, path_1: Any, path_2: Any, **options: Any) -> Any:
        """Return a callback for the transfer of one file."""
        with self._lock:
            branch = self._callback.branched(path_1, path_2, **options)
        return branch if isinstance(branch, NoOpCallback) else OneAtATime(branch, self._lock)


def counter_of(callback: Any) -> Callable[[int], None] | None:
    """Return a function that adds a number of bytes to a callback.

    Return None for a callback that has no effect.
    """
    if isinstance(callback, NoOpCallback):
        return None
    count: Callable[[int], None] = OneAtATime(callback).relative_update
    return count
