# SPDX-License-Identifier: Apache-2.0
"""A cache of key material: it keeps the results of calls, and serves each within limits.

It knows no keyring, message or context: its user makes the ids of entries and the calls.
"""

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on the age and the uses of a value, and on the number of values.

    Attributes:
        max_age: Maximum age in seconds, counted from the end of the call that returned the value.
        max_uses: Maximum number of uses that have a size.
        max_bytes: Maximum sum of their sizes.
        capacity: Maximum number of values; the least recently used value is dropped first.
    """

    max_age: float
    max_uses: int
    max_bytes: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Counts:
    """The work of a cache and of its siblings in this process.

    Attributes:
        hits: Values served from the cache, by kind.
        calls: Calls for a value, by kind, including failed calls.
        entries: Number of values in the cache now.
    """

    hits: Mapping[str, int]
    calls: Mapping[str, int]
    entries: int


class Cache(Generic[T]):
    """Values that may be secret, each kept for a while. They are never None.

    The first use of a value is exempt from the limits; a value is dropped by the first use that
    would exceed a limit. A use without a size is limited by `max_age` only. Failures are not kept.

    Threads may share the cache: limits and counts are exact. A thread waits only for another
    thread's call for the same entry, and makes its own call if that call fails. No lock is held
    during a call. After a fork the child begins with an empty cache, so that a value's limits hold
    for all processes together.

    A value past its maximum age is never served. It leaves memory when the next value is stored,
    or with `clear()`; an idle process keeps it until then.
    """

    def __init__(self, limits: Limits, _groups: "_PerProcess[_Group[T]] | None" = None) -> None:
        groups: _PerProcess[_Group[T]] = _groups or _PerProcess(_Group)
        self._limits = limits
        self._groups = groups
        self._entries = _PerProcess(lambda: groups.get().add(_Entries(limits, groups.get())))

    def get(self, kind: str, entry_id: bytes, call: Callable[[], T], size: int | None = None) -> T:
        """Return the entry's value, or the result of `call`, which becomes the entry.

        Args:
            kind: The kind under which the use is counted.
            entry_id: Identifies the entry among the entries of all kinds.
            call: Returns the value if the cache has no value for this use.
            size: Number of bytes of this use; None if only age limits this use.
        """
        return self._entries.get().get(kind, entry_id, call, size)

    def ask(self, kind: str, call: Callable[[], T]) -> T:
        """Return the result of `call`, count the call, and do not keep the result."""
        return self._entries.get().ask(kind, call)

    def sibling(self) -> "Cache[T]":
        """Return an empty cache with these limits, counted and cleared together with this one."""
        return Cache(self._limits, self._groups)

    def counts(self) -> Counts:
        """Return the counts of this process since the cache was made, or the process forked."""
        return self._groups.get().report()

    def clear(self) -> None:
        """Drop every value, and do not keep the results of calls in progress."""
        self._groups.get().clear()


class _PerProcess(Generic[T]):
    """One value for each process, made at its first use in the process.

    A fork may happen while another thread of the parent holds a lock or makes a call. In the child
    the lock would never be released, and the call would never end.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def get(self) -> T:
        pid = os.getpid()
        if pid not in self._made:
            self._made.setdefault(pid, self._make())
            for other in list(self._made):
                if other != pid:
                    self._made.pop(other, None)
        return self._made[pid]


@dataclass(slots=True, eq=False)
class _Entry(Generic[T]):
    value: T = field(repr=False)
    since: float
    uses: int = 0
    bytes: int = 0

    def count(self, size: int | None) -> None:
        if size is not None:
            self.uses += 1
            self.bytes += size


@dataclass(slots=True, eq=False)
class _Call(Generic[T]):
    """A call for a value. A call that has ended without a value has failed."""

    ended: threading.Event = field(default_factory=threading.Event)
    value: T | None = field(default=None, repr=False)


class _Group(Generic[T]):
    """The entries of a cache and of its siblings in one process: one lock, one set of counts."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.hits: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._members: WeakSet[_Entries[T]] = WeakSet()

    def add(self, entries: "_Entries[T]") -> "_Entries[T]":
        """Count these entries in this group, as long as their cache is in use."""
        with self.lock:
            self._members.add(entries)
        return entries

    def report(self) -> Counts:
        with self.lock:
            return Counts(self.hits.copy(), self.calls.copy(), sum(map(len, self._members)))

    def clear(self) -> None:
        with self.lock:
            for entries in self._members:
                entries.clear()


class _Entries(Generic[T]):
    """The entries of one cache in one process."""

    def __init__(self, limits: Limits, group: _Group[T]) -> None:
        self._limits = limits
        self._group = group
        self._lock = group.lock
        self._entries: OrderedDict[bytes, _Entry[T]] = OrderedDict()
        self._calls: dict[bytes, _Call[T]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, kind: str, entry_id: bytes, call: Callable[[], T], size: int | None) -> T:
        while True:
            mine: _Call[T] | None = None
            try:
                with self._lock:
                    value = self._take(entry_id, size)
                    if value is not None:
                        self._group.hits[kind] += 1
                        return value
                    mine = _Call()
                    shared = not self._serves_once(size)
                    running = self._calls.setdefault(entry_id, mine) if shared else mine
                    if running.ended.is_set():
                        # The running call was interrupted before it was removed.
                        running = self._calls[entry_id] = mine
                if running is mine:
                    mine.value = self.ask(kind, call)
                    return mine.value
            finally:
                if mine is not None:
                    self._end(entry_id, mine, size)
            running.ended.wait()
            if running.value is None:
                # The service may be timing out: waiting threads then make their calls in parallel,
                # not one after the other.
                return self.ask(kind, call)

    def ask(self, kind: str, call: Callable[[], T]) -> T:
        with self._lock:
            self._group.calls[kind] += 1
        return call()

    def clear(self) -> None:
        """Drop every entry, and do not keep the results of calls in progress.

        The caller has the lock.
        """
        self._entries.clear()
        self._calls.clear()

    def _serves_once(self, size: int | None) -> bool:
        # A thread gains nothing by waiting for a value that allows no second use.
        return size is not None and (size >= self._limits.max_bytes or self._limits.max_uses == 1)

    def _take(self, entry_id: bytes, size: int | None) -> T | None:
        entry = self._entries.get(entry_id)
        if entry is None:
            return None
        entry.count(size)
        if (
            self._is_old(entry)
            or entry.uses > self._limits.max_uses
            or entry.bytes > self._limits.max_bytes
        ):
            del self._entries[entry_id]
            return None
        self._entries.move_to_end(entry_id)
        return entry.value

    def _end(self, entry_id: bytes, mine: _Call[T], size: int | None) -> None:
        try:
            with self._lock:
                # `clear` removes the calls that began before it.
                if self._calls.get(entry_id) is mine:
                    del self._calls[entry_id]
                    if mine.value is not None:
                        self._store(entry_id, mine.value, size)
        finally:
            # An interrupt here must not leave other threads waiting.
            mine.ended.set()

    def _store(self, entry_id: bytes, value: T, size: int | None) -> None:
        for old in [name for name, entry in self._entries.items() if self._is_old(entry)]:
            del self._entries[old]
        entry = self._entries[entry_id] = _Entry(value, monotonic())
        entry.count(size)
        if len(self._entries) > self._limits.capacity:
            self._entries.popitem(last=False)

    def _is_old(self, entry: _Entry[T]) -> bool:
        return monotonic() - entry.since > self._limits.max_age
