# SPDX-License-Identifier: Apache-2.0
"""A cache of data keys, so not every message needs a request to KMS.

A caching keyring wraps any other keyring. It does not know key sources or objects. The module
`cache` enforces the limits. Source: aws-encryption-sdk-specification, framework/caching-cmm.md.
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
    """The cache hits of a CachingKeyring in this process, and its calls to the inner keyring.

    Each written message is one generate hit or one generate call. Each read message is one unwrap
    hit or one unwrap call. With a KMSKeyring, a generate call is a kms:GenerateDataKey request, and
    an unwrap call is a kms:Decrypt request. Failed calls are counted, and also calls for messages
    that cannot be cached.

    Attributes:
        generate_hits: The number of data keys for writing that came from the cache.
        generate_calls: The number of calls to the inner keyring for a new data key.
        unwrap_hits: The number of data keys for reading that came from the cache.
        unwrap_calls: The number of calls to the inner keyring to unwrap a data key.
        entries: The number of data keys in the cache now.
    """

    generate_hits: int
    generate_calls: int
    unwrap_hits: int
    unwrap_calls: int
    entries: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class CachingKeyring:
    """Uses one data key of another keyring for several messages with the same encryption context.

    Each message has its own content key, because the suites that s3crypt writes derive it from the
    data key and a random 32-byte message id. The messages share the wrapped data key, so a reader
    that can unwrap the data key of one message can open all of them. Messages with different
    contexts never share a data key.

    The limits are those of the AWS Encryption SDK's caching materials manager. They do not apply to
    the first message of a data key. A data key is dropped at the first message that would exceed a
    limit. The data keys of signed messages, of messages of unknown length, and of messages of at
    least `max_bytes` are not cached. Failures are not cached. For reading, only `max_age` is
    checked.

    Several threads may share the keyring: limits and statistics are exact. A thread only waits for
    another thread's call for the same data key, and makes its own call if the other call fails.
    After a fork, the child begins with an empty cache, so a data key is never used in two processes
    and its limits hold.

    A data key that is too old is never used. It is removed from memory when the next data key is
    stored, or by `clear()`. An idle process keeps it until then.

    Attributes:
        keyring: The inner keyring. It generates, wraps and unwraps the data keys. To cache the data
            keys of several keyrings, pass a MultiKeyring.
        max_age: The maximum age of a data key in seconds, counted from its generation or
            unwrapping. If a wrapping key is disabled or a permission is withdrawn, this may take
            effect up to this much later.
        max_messages: The maximum number of messages written with one data key, at most 2**32.
        max_bytes: The maximum number of plaintext bytes written with one data key, at most 2**63 -
            1.
        capacity: The maximum number of data keys in the cache. If it is exceeded, the least
            recently used data key is dropped. A data key with one wrapping key takes about 1 KB.

    Raises:
        ConfigError: A limit is out of its range, or the inner keyring caches already.
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
            raise ConfigError(
                "This keyring already has a cache.", hint="Give the keyring that it wraps."
            )
        if not _is_number(self.max_age) or not 0 < self.max_age < math.inf:
            raise ConfigError(
                f"max_age is a number of seconds above 0, not {self.max_age!r}.",
                hint="Choose how long a disabled key may still be used; 300 is a good start.",
            )
        _check_count("max_messages", self.max_messages, 1, MAX_MESSAGES)
        _check_count("max_bytes", self.max_bytes, 0, MAX_BYTES)
        _check_count("capacity", self.capacity, 1, MAX_BYTES)
        limits = Limits(self.max_age, self.max_messages, self.max_bytes, self.capacity)
        object.__setattr__(self, "_cache", Cache(limits))

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a cached data key for this context if the limits permit it, or a new one."""
        if plaintext_length is None or PUBLIC_KEY_PAIR in context:
            # The context of a signed message is unique, so a cached data key would never be used
            # again.
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
        """Return the data key wrapped by the inner keyring. The data key is not cached."""
        return self.keyring.wrap(data_key, context)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key for exactly these EDKs and this context, from the cache or a call.

        Data keys of messages without key derivation are cached too, as in the Python SDK. This is
        safe: an unwrapped data key does not encrypt messages, and the inner keyring would return
        the same key.
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
        """Return the data key for these EDKs and this context for which `fits` is true.

        A data key is cached only after it has fitted a message. If the cached data key does not fit
        this message, the inner keyring is called, and its result is not cached.
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
        """Return whether `edks` name exactly the wrapping keys of the inner keyring."""
        return self.keyring.wrote(edks)

    def before(self, keyring: Keyring) -> "CachingKeyring":
        """Return a copy with another inner keyring. It has the same limits and its own cache.

        The data keys of one keyring are not returned to users of the other keyring, because these
        users may have other permissions. The `statistics` of this keyring include the work of the
        copy, and `clear()` also clears the copy's cache.
        """
        other = replace(self, keyring=keyring)
        object.__setattr__(other, "_cache", self._cache.sibling())
        return other

    def with_inner(self, change: Callable[[Keyring], Keyring]) -> "CachingKeyring":
        """Return a copy with the changed inner keyring. If it is unchanged, return this keyring.

        The cache of this keyring may contain data keys under the key to which an alias pointed
        earlier, or data keys that were unwrapped with the permissions of another session. The copy
        does not use them.
        """
        keyring = change(self.keyring)
        return self if keyring is self.keyring else self.before(keyring)

    @property
    def uncached(self) -> Keyring:
        """The inner keyring. It generates, wraps and unwraps the data keys."""
        return self.keyring

    @property
    def needs_proof(self) -> bool:
        """Whether the inner keyring may return a wrong data key without an error."""
        return needs_proof(self.keyring)

    @property
    def statistics(self) -> CacheStatistics:
        """The counts of this process since the keyring was made or the process was forked.

        A store with its own session, and a rotation, use copies of the keyring. Their counts are
        included.
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
        """Drop every data key. The results of calls in progress are not cached either."""
        self._cache.clear()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A CachingKeyring holds plaintext data keys; create a new one in the other process."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_count(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name} is a whole number from {low} to {high}, not {value!r}.")


def _entry_id(
    verb: _Verb, length: int, context: Mapping[str, str], edks: Sequence[EncryptedDataKey] = ()
) -> bytes:
    """Return the id of a cache entry: a digest of all arguments of the keyring's method.

    The id is a digest because contexts and EDKs may have 64 KiB each. Unlike in the SDK, the id
    depends on the order of the EDKs, because a keyring returns the data key of the first EDK that
    it can unwrap.
    """
    fields = [verb.encode(), struct.pack(">I", length), serialize_context(context)]
    for edk in edks:
        # Names from a message's header are valid UTF-8. Names from an object's metadata may be any
        # JSON text.
        fields += [edk.provider.encode(errors="surrogatepass"), edk.info, edk.ciphertext]
    return sha384(b"".join(struct.pack(">Q", len(text)) + text for text in fields)).digest()
