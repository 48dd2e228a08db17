# SPDX-License-Identifier: Apache-2.0
"""A cache for key material. It keeps the results of calls and returns each result within limits.

This module does not know keyrings, messages or contexts. Its user chooses the ids of the entries
and provides the calls.
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
    """The limits for the age and the uses of a value, and for the number of values.

    Attributes:
        max_age: The maximum age in seconds. It is counted from the end of the call that returned
            the value.
        max_uses: The maximum number of uses with a size.
        max_bytes: The maximum sum of the sizes of all uses.
        capacity: The maximum number of values. If it is exceeded, the least recently used value is
            dropped.
    """

    max_age: float
    max_uses: int
    max_bytes: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How often a cache and its siblings were used in this process.

    Attributes:
        hits: For each kind, the number of values that came from the cache.
        calls: For each kind, the number of calls for a value, including failed calls.
        entries: The number of values in the cache now.
    """

    hits: Mapping[str, int]
    calls: Mapping[str, int]
    entries: int


class Cache(Generic[T]):
    """A cache of values, which may be secret. A value is never None.

    The limits do not apply to the first use of a value. A value is dropped at the first use that
    would exceed a limit. For a use without a size, only `max_age` is checked. Failed calls are not
    cached.

    Several threads may share the cache: limits and counts are exact. A thread only waits for
    another thread's call for the same entry, and makes its own call if the other call fails. No
    lock is held during a call. After a fork, the child begins with an empty cache, so a value is
    never used in two processes and its limits hold.

    A value that is too old is never returned. It is removed from memory when the next value is
    stored, or by `clear()`. An idle process keeps it until then.
    """

    def __init__(self, limits: Limits, _groups: "_PerProcess[_Group[T]] | None" = None) -> None:
        groups: _PerProcess[_Group[T]] = _groups or _PerProcess(_Group)
        self._limits = limits
        self._groups = groups
        self._entries = _PerProcess(lambda: groups.get().add(_Entries(limits, groups.get())))

    def get(self, kind: str, entry_id: bytes, call: Callable[[], T], size: int | None = None) -> T:
        """Return the cached value of an entry. If there is none, call `call` and cache its result.

        Args:
            kind: The kind under which the use is counted in `Counts`.
            entry_id: The id of the entry. It must be different for all entries of all kinds.
            call: Returns the value. It is called if no cached value can be used.
            size: The number of bytes of this use. None if only the age limits this use.
        """
        return self._entries.get().get(kind, entry_id, call, size)

    def ask(self, kind: str, call: Callable[[], T]) -> T:
        """Call `call` and return its result. The call is counted, but its result is not cached."""
        return self._entries.get().ask(kind, call)

    def sibling(self) -> "Cache[T]":
        """Return an empty cache with the same limits.

        Both caches share their counts, and `clear` on one of them clears both.
        """
        return Cache(self._limits, self._groups)

    def counts(self) -> Counts:
        """Return the counts of this process since the cache was made or the process was forked."""
        return self._groups.get().report()

    def clear(self) -> None:
        """Drop every value. The results of calls in progress are not cached either."""
        self._groups.get().clear()


class _PerProcess(Generic[T]):
    """A value that is made separately in each process, at its first use there.

    While a process is forked, another thread may hold a lock or make a call. In the child, this
    lock would never be released and this call would never end, so the child must not use them.
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
    """A call for a value. If it has ended and `value` is None, it has failed."""

    ended: threading.Event = field(default_factory=threading.Event)
    value: T | None = field(default=None, repr=False)


class _Group(Generic[T]):
    """The entries of a cache and its siblings in one process.

    They share one lock and the counts.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.hits: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._members: WeakSet[_Entries[T]] = WeakSet()

    def add(self, entries: "_Entries[T]") -> "_Entries[T]":
        """Add entries to the group. They are counted as long as their cache is in use."""
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
                        # The call was interrupted before it was removed from `_calls`.
                        running = self._calls[entry_id] = mine
                if running is mine:
                    mine.value = self.ask(kind, call)
                    return mine.value
            finally:
                if mine is not None:
                    self._end(entry_id, mine, size)
            running.ended.wait()
            if running.value is None:
                # The service may not reply in time. All waiting threads make their calls now, in
                # parallel and not one after the other.
                return self.ask(kind, call)

    def ask(self, kind: str, call: Callable[[], T]) -> T:
        with self._lock:
            self._group.calls[kind] += 1
        return call()

    def clear(self) -> None:
        """Drop every entry. The results of calls in progress are not cached either.

        The caller holds the lock.
        """
        self._entries.clear()
        self._calls.clear()

    def _serves_once(self, size: int | None) -> bool:
        # If the limits do not permit a second use of the value, a thread need not wait for it.
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
                # `clear` removes the calls in progress, so their results are not stored.
                if self._calls.get(entry_id) is mine:
                    del self._calls[entry_id]
                    if mine.value is not None:
                        self._store(entry_id, mine.value, size)
        finally:
            # Even after an interrupt here, waiting threads must be woken up.
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
