# SPDX-License-Identifier: Apache-2.0
"""A bound on memory: what all buffers of a store's transfers may take together."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MIB = 2**20
_MOST = 192 * _MIB
# What cgroups say that have no limit: version 1 an absurd number of bytes, version 2 "max".
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# Buffers shorter than this are not counted: there are at most as many as threads.
UNCOUNTED = 256 * 2**10


def default_limit() -> int:
    """Return the least of 192 MiB and a quarter of the memory that this process may have."""
    return min(_MOST, _machine() // 4)


def _machine() -> int:
    """Return the bytes of memory of this machine, or of this process's cgroup if it has less."""
    found = []
    with suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(Path(name).read_text(encoding="ascii")))
    return min((size for size in found if size > 0), default=4 * _MOST)


class Memory:
    """Counts the bytes of buffers; safe in several threads.

    The first worker of a transfer waits for its share. Further workers come only while a quarter
    is free, so that a long transfer does not keep others from beginning.

    Args:
        limit: Bytes, in all.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._freed = threading.Condition()

    @contextmanager
    def share(self, length: int) -> Iterator[None]:
        """Hold `length` bytes during the block, once they are free.

        A quarter of the limit is counted at most, which `spare` leaves free: who feeds a stream
        whose workers hold the rest would otherwise wait for its own end.
        """
        counted, held = min(self._counted(length), self.limit // 4), 0
        try:
            if counted:
                with self._freed:
                    self._freed.wait_for(lambda: self._free >= counted)
                    held = counted
                    self._free -= counted
            yield
        finally:
            self._add(held)

    def spare(self, length: int) -> bool:
        """Take `length` bytes for a further worker if enough is free; `give` returns them."""
        counted = self._counted(length)
        with self._freed:
            if self._free - counted < self.limit // 4:
                return False
            self._free -= counted
        return True

    def give(self, length: int) -> None:
        """Return the bytes that `spare` took."""
        self._add(self._counted(length))

    def _add(self, counted: int) -> None:
        if counted:
            with self._freed:
                # Never more than there was: an interrupt may make a thread and its starter give
                # both.
                self._free = min(self.limit, self._free + counted)
                self._freed.notify_all()

    def _counted(self, length: int) -> int:
        return 0 if length < UNCOUNTED else min(length, self.limit)
