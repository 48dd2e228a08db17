# SPDX-License-Identifier: Apache-2.0
"""Data keys kept for a while, so that not every message costs a call to KMS.

Knows no key source and no object: it stands before any keyring, and bounds how often and how
long a data key serves. Source: aws-encryption-sdk-specification, framework/caching-cmm.md.
"""

import math
import os
import struct
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from hashlib import sha384
from time import monotonic
from typing import Any, Literal, NoReturn
from weakref import WeakSet

from .errors import ConfigError
from .message.header import PUBLIC_KEY_PAIR, serialize_context
from .message.keys import DataKey, EncryptedDataKey, Keyring, check_keyring, unwrap_fitting

MAX_MESSAGES = 2**32
MAX_BYTES = 2**63 - 1
DEFAULT_CAPACITY = 1000

_Verb = Literal["generate", "unwrap"]


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What a CachingKeyring was asked in this process, and what it asked in turn.

    A message written is one generate hit or one generate call; a message read likewise, of
    unwrap. With a KMSKeyring, a generate call is a kms:GenerateDataKey and an unwrap call a
    kms:Decrypt, failed ones and those of messages that cannot be cached counted too.

    Attributes:
        generate_hits: Data keys for writing that were served from the cache.
        generate_calls: Calls to the keyring for a new data key.
        unwrap_hits: Data keys for reading that were served from the cache.
        unwrap_calls: Calls to the keyring to unwrap a data key.
        entries: Data keys held now.
    """

    generate_hits: int
    generate_calls: int
    unwrap_hits: int
    unwrap_calls: int
    entries: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class CachingKeyring:
    """Lets a data key of another keyring serve several messages of one encryption context.

    Each message still has a content key of its own: the suites written here derive it from the
    data key and a fresh 32-byte message id. What the messages share is the wrapped data key, so
    who unwraps it for one can open all of them. Messages of other contexts never share it.

    Limits are those of the AWS Encryption SDK's caching materials manager. The first message of
    a data key is exempt from them; a data key is dropped by the first message that would exceed
    one. Messages of unknown length, of `max_bytes` or more, and signed ones are not cached.
    Failures are not cached. Reading is limited by `max_age` only.

    Threads may share it: limits and statistics are exact. A thread waits only for a call that
    another one makes for the same data key, and if that fails, makes its own. After a fork the
    child begins with an empty cache, so that a data key's limits hold for all processes together.

    A data key past its age is never served. It leaves memory when the next one is stored, or
    with `clear()`; an idle process keeps it until then.

    Attributes:
        keyring: Makes, wraps and unwraps the data keys. Several: a MultiKeyring, in here.
        max_age: Seconds for which a data key serves, counted from its making or unwrapping.
            A wrapping key that was disabled, or a permission withdrawn, is noticed that late.
        max_messages: Messages written with one data key, at most 2**32.
        max_bytes: Plaintext bytes written with one data key, at most 2**63 - 1.
        capacity: Data keys held, the least recently used given up first; each takes about 1 KB
            for one wrapping key.
    """

    keyring: Keyring
    _: KW_ONLY
    max_age: float
    max_messages: int = MAX_MESSAGES
    max_bytes: int = MAX_BYTES
    capacity: int = DEFAULT_CAPACITY
    # One a process: a fork may happen while another thread holds its parent's lock, and a call
    # that it waits for would never end in the child.
    _caches: "dict[int, _Cache]" = field(init=False, repr=False, default_factory=dict)
    _groups: "dict[int, _Group]" = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_keyring(self.keyring)
        if isinstance(self.keyring, CachingKeyring):
            raise ConfigError("This keyring caches already.", hint="Give the keyring inside it.")
        if not _is_number(self.max_age) or not 0 < self.max_age < math.inf:
            raise ConfigError(
                f"max_age is a number of seconds above 0, not {self.max_age!r}.",
                hint="300 is a good start: how long may a disabled key go on to be used?",
            )
        _check_count("max_messages", self.max_messages, 1, MAX_MESSAGES)
        _check_count("max_bytes", self.max_bytes, 0, MAX_BYTES)
        _check_count("capacity", self.capacity, 1, MAX_BYTES)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a data key that has served this context before and may again, or a new one."""
        if plaintext_length is None or PUBLIC_KEY_PAIR in context:
            # A signed message's context is its own: its data key could only take up room here.
            return self._cache.ask(
                "generate",
                lambda: self.keyring.generate(length, context, plaintext_length=plaintext_length),
            )
        return self._cache.get(
            "generate",
            _entry_id("generate", length, context),
            lambda: self.keyring.generate(length, context),
            plaintext_length,
        )

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key wrapped by the keyring; nothing of it is kept."""
        return self.keyring.wrap(data_key, context)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key of exactly these EDKs and this context, unwrapped before or now.

        Messages without a key derivation are served too, as by the Python SDK: nothing is
        encrypted with what comes from here, and the keyring would return the same.
        """
        data_key = self._cache.get(
            "unwrap",
            _entry_id("unwrap", length, context, edks),
            lambda: DataKey(self.keyring.unwrap(edks, context, length), ()),
        )
        return data_key.plaintext

    def unwrap_fitting(
        self,
        edks: Sequence[EncryptedDataKey],
        context: Mapping[str, str],
        length: int,
        fits: Callable[[bytes], bool],
    ) -> bytes:
        """Return the data key of these EDKs and this context that fits, unwrapped before or now.

        A data key is kept after it has fitted. One that is at hand and does not fit this message
        is passed over: the keyring is asked as it would be without a cache, and nothing is kept.
        """
        asked: list[DataKey] = []

        def ask() -> DataKey:
            asked.append(DataKey(unwrap_fitting(self.keyring, edks, context, length, fits), ()))
            return asked[0]

        cache = self._cache
        data_key = cache.get("unwrap", _entry_id("unwrap", length, context, edks), ask)
        if not asked and not fits(data_key.plaintext):
            data_key = cache.ask("unwrap", ask)
        return data_key.plaintext

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether the keyring did."""
        return self.keyring.wrote(edks)

    def before(self, keyring: Keyring) -> "CachingKeyring":
        """Return a copy before another keyring, with a cache of its own and the same limits.

        The data keys of one keyring are not served to users of the other one, who may have
        other rights. What the copy does is counted in `statistics` here, and `clear()` clears
        its cache too.
        """
        other = replace(self, keyring=keyring)
        object.__setattr__(other, "_groups", self._groups)
        return other

    @property
    def statistics(self) -> CacheStatistics:
        """Return the counts of this process since the keyring was made, or the process forked.

        A store with a session of its own, and a rotation, use copies of the keyring; their
        counts are included.
        """
        return self._group.statistics()

    def clear(self) -> None:
        """Drop every data key, and those that calls in progress are about to bring."""
        self._group.clear()

    @property
    def _cache(self) -> "_Cache":
        pid = os.getpid()
        if pid not in self._caches:
            self._caches.setdefault(pid, self._group.add(_Cache(self, self._group)))
            _forget_others(self._caches, pid)
        return self._caches[pid]

    @property
    def _group(self) -> "_Group":
        pid = os.getpid()
        if pid not in self._groups:
            self._groups.setdefault(pid, _Group())
            _forget_others(self._groups, pid)
        return self._groups[pid]

    def __reduce__(self) -> NoReturn:
        raise TypeError("A CachingKeyring holds data keys in the clear; make one there instead.")


def _forget_others(of_processes: dict[int, Any], pid: int) -> None:
    for other in list(of_processes):
        if other != pid:
            of_processes.pop(other, None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_count(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name} is a whole number from {low} to {high}, not {value!r}.")


def _entry_id(
    verb: _Verb, length: int, context: Mapping[str, str], edks: Sequence[EncryptedDataKey] = ()
) -> bytes:
    """Return a digest of all that the keyring is told, so of all that its answer depends on.

    A digest, because contexts and EDKs may take 64 KiB each. EDKs in the order given, where the
    SDK sorts them: a keyring returns the first that opens.
    """
    fields = [verb.encode(), struct.pack(">I", length), serialize_context(context)]
    for edk in edks:
        # Names from a header are UTF-8; those from an object's metadata are any JSON text.
        fields += [edk.provider.encode(errors="surrogatepass"), edk.info, edk.ciphertext]
    return sha384(b"".join(struct.pack(">Q", len(text)) + text for text in fields)).digest()


@dataclass(slots=True, eq=False)
class _Entry:
    data_key: DataKey
    since: float
    messages: int = 0
    bytes: int = 0

    def count(self, plaintext_length: int | None) -> None:
        # A message read is not counted: only the age limits that.
        if plaintext_length is not None:
            self.messages += 1
            self.bytes += plaintext_length


@dataclass(slots=True, eq=False)
class _Call:
    """A call to the keyring in progress; without a data key when it ended, it failed."""

    ended: threading.Event = field(default_factory=threading.Event)
    data_key: DataKey | None = None


class _Group:
    """The caches of a keyring and of its copies in one process: one lock, one set of counts."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self._caches: WeakSet[_Cache] = WeakSet()

    def add(self, cache: "_Cache") -> "_Cache":
        """Count the cache's entries too, for as long as its keyring is in use."""
        with self.lock:
            self._caches.add(cache)
        return cache

    def statistics(self) -> CacheStatistics:
        """Return the counts so far."""
        with self.lock:
            count = self.counts
            return CacheStatistics(
                generate_hits=count["generate_hits"],
                generate_calls=count["generate_calls"],
                unwrap_hits=count["unwrap_hits"],
                unwrap_calls=count["unwrap_calls"],
                entries=sum(map(len, self._caches)),
            )

    def clear(self) -> None:
        """Drop every entry, and what calls in progress will return."""
        with self.lock:
            for cache in self._caches:
                cache.clear()


class _Cache:
    """The data keys of one process. No lock is held while the keyring is asked."""

    def __init__(self, limits: CachingKeyring, group: _Group) -> None:
        self._limits = limits
        self._lock = group.lock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._calls: dict[bytes, _Call] = {}
        self._counts = group.counts

    def __len__(self) -> int:
        return len(self._entries)

    def get(
        self,
        verb: _Verb,
        entry_id: bytes,
        call: Callable[[], DataKey],
        plaintext_length: int | None = None,
    ) -> DataKey:
        """Return the entry's data key, or the call's, which becomes the entry."""
        while True:
            mine: _Call | None = None
            try:
                with self._lock:
                    data_key = self._take(entry_id, plaintext_length)
                    if data_key is not None:
                        self._counts[f"{verb}_hits"] += 1
                        return data_key
                    mine = _Call()
                    shared = not self._serves_once(plaintext_length)
                    running = self._calls.setdefault(entry_id, mine) if shared else mine
                    if running.ended.is_set():
                        # One that was interrupted before it could take itself off.
                        running = self._calls[entry_id] = mine
                if running is mine:
                    mine.data_key = self.ask(verb, call)
                    return mine.data_key
            finally:
                if mine is not None:
                    self._end(entry_id, mine, plaintext_length)
            running.ended.wait()
            if running.data_key is None:
                # KMS may be timing out: the threads that waited then try together, not in turn.
                return self.ask(verb, call)

    def ask(self, verb: _Verb, call: Callable[[], DataKey]) -> DataKey:
        """Return the call's data key and keep nothing."""
        with self._lock:
            self._counts[f"{verb}_calls"] += 1
        return call()

    def clear(self) -> None:
        """Drop every entry, and what calls in progress will return; the caller has the lock."""
        self._entries.clear()
        self._calls.clear()

    def _serves_once(self, plaintext_length: int | None) -> bool:
        # Nobody would gain by waiting for a data key that can serve nobody else.
        return plaintext_length is not None and (
            plaintext_length >= self._limits.max_bytes or self._limits.max_messages == 1
        )

    def _take(self, entry_id: bytes, plaintext_length: int | None) -> DataKey | None:
        entry = self._entries.get(entry_id)
        if entry is None:
            return None
        entry.count(plaintext_length)
        if (
            self._is_old(entry)
            or entry.messages > self._limits.max_messages
            or entry.bytes > self._limits.max_bytes
        ):
            del self._entries[entry_id]
            return None
        self._entries.move_to_end(entry_id)
        return entry.data_key

    def _end(self, entry_id: bytes, mine: _Call, plaintext_length: int | None) -> None:
        try:
            with self._lock:
                # A call of before clear() is nobody's any more.
                if self._calls.get(entry_id) is mine:
                    del self._calls[entry_id]
                    if mine.data_key is not None:
                        self._store(entry_id, mine.data_key, plaintext_length)
        finally:
            # An interrupt here must not leave others waiting.
            mine.ended.set()

    def _store(self, entry_id: bytes, data_key: DataKey, plaintext_length: int | None) -> None:
        for old in [name for name, entry in self._entries.items() if self._is_old(entry)]:
            del self._entries[old]
        entry = self._entries[entry_id] = _Entry(data_key, monotonic())
        entry.count(plaintext_length)
        if len(self._entries) > self._limits.capacity:
            self._entries.popitem(last=False)

    def _is_old(self, entry: _Entry) -> bool:
        return monotonic() - entry.since > self._limits.max_age
