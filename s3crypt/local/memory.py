# SPDX-License-Identifier: Apache-2.0
"""Limit the memory of the buffers of all transfers of a store."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MIB = 2**20
_MOST = 192 * _MIB
# Files with the memory limit of a cgroup. Without a limit, version 2 contains "max", and version 1
# contains a huge number.
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# Shorter buffers are not counted. There are at most as many of them as threads.
UNCOUNTED = 256 * 2**10


def default_limit() -> int:
    """Return the smaller of 192 MiB and a quarter of the memory that this process may use."""
    return min(_MOST, _machine() // 4)


def _machine() -> int:
    """Return the memory of this machine in bytes, or the limit of the process's cgroup if lower."""
    found = []
    with suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(Path(name).read_text(encoding="ascii")))
    return min((size for size in found if size > 0), default=4 * _MOST)


class Memory:
    """Counts the bytes of buffers. Several threads may use it.

    The first worker of a transfer waits until memory is free. Further workers are started only if a
    quarter of the limit stays free, so a long transfer does not block a new transfer.

    Args:
        limit: The maximum number of bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._freed = threading.Condition()

    @contextmanager
    def share(self, length: int) -> Iterator[None]:
        """Wait until `length` bytes are free, and reserve them during the block.

        At most a quarter of the limit is counted, because `spare` always leaves a quarter free.
        Otherwise a transfer that feeds a stream could wait for memory that the stream's own workers
        hold.
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
        """Reserve `length` bytes for a further worker if they are free.

        Return whether they were free.
        """
        counted = self._counted(length)
        with self._freed:
            if self._free - counted < self.limit // 4:
                return False
            self._free -= counted
        return True

    def give(self, length: int) -> None:
        """Release the bytes that `spare` has reserved."""
        self._add(self._counted(length))

    def _add(self, counted: int) -> None:
        if counted:
            with self._freed:
                # The sum never exceeds the limit: after an interrupt, a thread and its starter may
                # both release the same bytes.
                self._free = min(self.limit, self._free + counted)
                self._freed.notify_all()

    def _counted(self, length: int) -> int:
        return 0 if length < UNCOUNTED else min(length, self.limit)
