# SPDX-License-Identifier: Apache-2.0
"""Data keys kept for a while, so that not every message costs a call to KMS.

A caching keyring stands before any other keyring and knows no key source and no object. The limits
are kept by `cache`. Source: aws-encryption-sdk-specification, framework/caching-cmm.md.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from hashlib import sha384
from typing import Literal, NoReturn

from s3crypt.errors import ConfigError
from s3crypt.message.header import PUBLIC_KEY_PAIR, serialize_context
from s3crypt.message.keys import DataKey, EncryptedDataKey, Keyring, check_keyring, unwrap_fitting

from .cache import Cache, Limits
from .capabilities import caches_data_keys, needs_proof

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
    _cache: Cache[DataKey] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_keyring(self.keyring)
        if caches_data_keys(self.keyring):
            raise ConfigError("This keyring caches already.", hint="Give the keyring inside it.")
        if not _is_number(self.max_age) or not 0 < self.max_age < math.inf:
            raise ConfigError(
                f"max_age is a number of seconds above 0, not {self.max_age!r}.",
                hint="300 is a good start: how long may a disabled key go on to be used?",
            )
        _check_count("max_messages", self.max_messages, 1, MAX_MESSAGES)
        _check_count("max_bytes", self.max_bytes, 0, MAX_BYTES)
        _check_count("capacity", self.capacity, 1, MAX_BYTES)
        limits = Limits(self.max_age, self.max_messages, self.max_bytes, self.capacity)
        object.__setattr__(self, "_cache", Cache(limits))

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

        data_key = self._cache.get("unwrap", _entry_id("unwrap", length, context, edks), ask)
        if not asked and not fits(data_key.plaintext):
            data_key = self._cache.ask("unwrap", ask)
        return data_key.plaintext

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether the keyring did."""
        return self.keyring.wrote(edks)

    def before(self, keyring: Keyring) -> "CachingKeyring":
        """Return a copy before another keyring, with a cache of its own and the same limits.

        The data keys of one keyring are not served to users of the other one, who may have
        other rights. The work of the copy is counted in `statistics` here, and `clear()` clears
        its cache too.
        """
        other = replace(self, keyring=keyring)
        object.__setattr__(other, "_cache", self._cache.sibling())
        return other

    def with_inner(self, change: Callable[[Keyring], Keyring]) -> "CachingKeyring":
        """Return a copy before the changed keyring, or this one if that does not change.

        This cache may hold data keys under the key that an alias named before, or that another
        session's rights opened. The copy does not serve them.
        """
        keyring = change(self.keyring)
        return self if keyring is self.keyring else self.before(keyring)

    @property
    def uncached(self) -> Keyring:
        """The keyring that makes, wraps and unwraps the data keys."""
        return self.keyring

    @property
    def needs_proof(self) -> bool:
        """Whether the keyring may return a wrong data key without an error."""
        return needs_proof(self.keyring)

    @property
    def statistics(self) -> CacheStatistics:
        """Return the counts of this process since the keyring was made, or the process forked.

        A store with a session of its own, and a rotation, use copies of the keyring; their
        counts are included.
        """
        counts = self._cache.counts()
        return CacheStatistics(
            generate_hits=counts.hits.get("generate", 0),
            generate_calls=counts.calls.get("generate", 0),
            unwrap_hits=counts.hits.get("unwrap", 0),
            unwrap_calls=counts.calls.get("unwrap", 0),
            entries=counts.entries,
        )

    def clear(self) -> None:
        """Drop every data key, and those that calls in progress are about to bring."""
        self._cache.clear()

    def __reduce__(self) -> NoReturn:
        raise TypeError("A CachingKeyring holds data keys in the clear; make one there instead.")


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
