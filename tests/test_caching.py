# SPDX-License-Identifier: Apache-2.0
"""Cached data keys: the number of calls, the separation of messages, and the refusals."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3crypt_cli.main import run
from samples import aes, connect, kms_calls, kms_keyring, stored

import s3crypt
from s3crypt import (
    CacheStatistics,
    CachingKeyring,
    ClientSide,
    ConfigError,
    IntegrityError,
    KeyUnavailableError,
    MultiKeyring,
    message,
)
from s3crypt.formats.entries import ObjectKeyring
from s3crypt.keyrings.capabilities import uncached, with_resolved_aliases
from s3crypt.message.header import PUBLIC_KEY_PAIR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conftest import RequestsLog

    from s3crypt import Keyring
    from s3crypt.message import DataKey, EncryptedDataKey, Header

AES = aes()
CONTEXT = {"tenant": "a"}


class Asked:
    """A keyring that counts its calls, and that a test can make wait or fail."""

    def __init__(self, keyring: Keyring = AES) -> None:
        self.keyring = keyring
        self.generated: list[tuple[Mapping[str, str], int | None]] = []
        self.unwrapped = 0
        self.before: Callable[[Mapping[str, str]], None] = lambda _: None

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Count the call, and generate with the inner keyring."""
        self.generated.append((context, plaintext_length))
        self.before(context)
        return self.keyring.generate(length, context, plaintext_length=plaintext_length)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Wrap with the inner keyring."""
        return self.keyring.wrap(data_key, context)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Count the call, and unwrap with the inner keyring."""
        self.unwrapped += 1
        self.before(context)
        return self.keyring.unwrap(edks, context, length)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return the inner keyring's answer."""
        return self.keyring.wrote(edks)


class Clock:
    """A clock that moves only when a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the caches' clock by a clock that the test moves."""
    clock = Clock()
    monkeypatch.setattr("s3crypt.keyrings.cache.monotonic", clock)
    return clock


@pytest.fixture
def asked() -> Asked:
    """Return a new counting keyring."""
    return Asked()


def header_of(written: bytes) -> Header:
    """Return the header of a message."""
    return message.read_header(io.BytesIO(written))


def edks_of(keyring: Keyring, size: int | None = 0, **context: str) -> Sequence[EncryptedDataKey]:
    """Return the wrapped data key of a message of `size` bytes."""
    return keyring.generate(32, context, plaintext_length=size).edks


# Limits


@pytest.mark.parametrize(
    "limits",
    [
        {"max_age": 0},
        {"max_age": -1},
        {"max_age": float("nan")},
        {"max_age": float("inf")},
        {"max_age": "60"},
        {"max_age": True},
        {"max_age": 1, "max_messages": 0},
        {"max_age": 1, "max_messages": 2**32 + 1},
        {"max_age": 1, "max_messages": 1.5},
        {"max_age": 1, "max_bytes": -1},
        {"max_age": 1, "max_bytes": 2**63},
        {"max_age": 1, "capacity": 0},
        {"max_age": 1, "capacity": True},
    ],
)
def test_impossible_limits(limits: dict[str, Any]) -> None:
    """Limits that the SDK refuses are refused, and so are values that would mean no limit."""
    with pytest.raises(ConfigError, match=str(list(limits)[-1])):
        CachingKeyring(AES, **limits)


def test_the_limits_of_the_format_are_the_defaults() -> None:
    """The defaults are the limits of the format, as in the SDK; `max_age` has no default."""
    keyring = CachingKeyring(AES, max_age=1)
    assert (keyring.max_messages, keyring.max_bytes) == (2**32, 2**63 - 1)
    with pytest.raises(TypeError, match="max_age"):
        CachingKeyring(AES)  # type: ignore[call-arg]  # the missing argument is under test


@pytest.mark.parametrize(("limit", "calls"), [(1, 10), (2, 5), (3, 4), (9, 2), (10, 1)])
def test_max_messages(asked: Asked, limit: int, calls: int) -> None:
    """A data key serves at most `max_messages` messages."""
    keyring = CachingKeyring(asked, max_age=60, max_messages=limit)
    written = [edks_of(keyring) for _ in range(10)]
    assert len(asked.generated) == len(set(written)) == calls


@pytest.mark.parametrize(
    ("sizes", "calls"),
    [
        ((50, 50), 1),
        ((50, 51), 2),
        ((99, 1), 1),
        ((99, 2), 2),
        ((100, 0), 2),  # the message uses up the limit, so its key is not stored
        ((0, 100), 1),
        ((101, 0, 0), 2),
        ((10, 101, 0), 3),  # a message above the limit drops the data key, as in the SDK
        ((0,) * 50, 1),
    ],
)
def test_max_bytes(asked: Asked, sizes: tuple[int, ...], calls: int) -> None:
    """A data key serves at most `max_bytes` bytes of plaintext."""
    keyring = CachingKeyring(asked, max_age=60, max_bytes=100)
    for size in sizes:
        edks_of(keyring, size)
    assert len(asked.generated) == calls


def test_max_age_of_writing(asked: Asked, clock: Clock) -> None:
    """The age counts from the moment when the data key was made; uses do not extend it."""
    keyring = CachingKeyring(asked, max_age=60)
    for seconds in (0, 30, 30):
        clock.now += seconds
        edks_of(keyring)
    assert len(asked.generated) == 1
    clock.now += 0.001
    edks_of(keyring)
    assert len(asked.generated) == 2


def test_only_age_limits_reading(asked: Asked, clock: Clock) -> None:
    """Reading is limited by age only; messages and bytes are limits for writing."""
    keyring = CachingKeyring(asked, max_age=60, max_messages=1, max_bytes=0)
    edks = AES.wrap(bytes(32), CONTEXT)
    for seconds in (0, 30, 30):
        clock.now += seconds
        assert keyring.unwrap(edks, CONTEXT, 32) == bytes(32)
    assert asked.unwrapped == 1
    clock.now += 0.001
    keyring.unwrap(edks, CONTEXT, 32)
    assert asked.unwrapped == 2


def test_the_least_recently_used_gives_way(asked: Asked) -> None:
    """Reading and writing share the capacity; the least recently used entry is dropped."""
    keyring = CachingKeyring(asked, max_age=60, capacity=2)
    for name in "abaca":
        edks_of(keyring, name=name)
    assert [context["name"] for context, _ in asked.generated] == ["a", "b", "c"]
    edks_of(keyring, name="b")
    assert len(asked.generated) == 4
    keyring.unwrap(AES.wrap(bytes(32), CONTEXT), CONTEXT, 32)
    assert keyring.statistics.entries == 2


def test_old_data_keys_leave_memory(asked: Asked, clock: Clock) -> None:
    """Expired data keys are dropped when the next data key is stored."""
    keyring = CachingKeyring(asked, max_age=60)
    for name in "abc":
        edks_of(keyring, name=name)
    assert keyring.statistics.entries == 3
    clock.now += 61
    edks_of(keyring, name="d")
    assert keyring.statistics.entries == 1


def test_clear(asked: Asked) -> None:
    """`clear` drops the data keys for reading and writing, but keeps the statistics."""
    keyring = CachingKeyring(asked, max_age=60)
    edks = edks_of(keyring)
    for _ in range(2):
        keyring.unwrap(edks, {}, 32)
        keyring.clear()
    assert edks_of(keyring) != edks
    assert keyring.statistics == CacheStatistics(0, 2, 0, 2, 1)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), max_size=40),
    st.integers(1, 5),
    st.integers(0, 100),
    st.integers(1, 3),
)
def test_no_data_key_exceeds_its_limits(
    sizes: list[tuple[str, int]], max_messages: int, max_bytes: int, capacity: int
) -> None:
    """No sequence of messages exceeds the limits, except a single first message above max_bytes."""
    keyring = CachingKeyring(
        AES, max_age=60, max_messages=max_messages, max_bytes=max_bytes, capacity=capacity
    )
    served: dict[tuple[object, ...], list[tuple[str, int]]] = {}
    for name, size in sizes:
        served.setdefault(tuple(edks_of(keyring, size, name=name)), []).append((name, size))
    for uses in served.values():
        assert len({name for name, _ in uses}) == 1
        assert len(uses) <= max_messages
        assert len(uses) == 1 or sum(size for _, size in uses) <= max_bytes


# Which uses share an entry?


def test_contexts_do_not_share(asked: Asked) -> None:
    """Each context has its own data key; the order of the context's pairs does not matter."""
    keyring = CachingKeyring(asked, max_age=60)
    contexts: list[dict[str, str]] = [{}, {"a": "b"}, {"a": "c"}, {"ab": ""}, {"a": "b", "c": "d"}]
    for context in contexts:
        edks_of(keyring, 0, **context)
        edks_of(keyring, 0, **dict(reversed(context.items())))
    assert len(asked.generated) == len(contexts)


def test_lengths_do_not_share(asked: Asked) -> None:
    """Each length has its own data key."""
    keyring = CachingKeyring(asked, max_age=60)
    lengths = [
        len(keyring.generate(length, {}, plaintext_length=0).plaintext)
        for length in (16, 32, 16, 32)
    ]
    assert lengths == [16, 32, 16, 32]
    assert len(asked.generated) == 2


def _other(edk: EncryptedDataKey) -> list[EncryptedDataKey]:
    flipped = bytes([edk.ciphertext[0] ^ 1]) + edk.ciphertext[1:]
    return [
        replace(edk, ciphertext=flipped),
        replace(edk, ciphertext=edk.ciphertext[:-1]),
        replace(edk, info=edk.info[:-1] + bytes([edk.info[-1] ^ 1])),
        replace(edk, provider="other"),
        replace(edk, provider="\ud800"),
        replace(edk, provider=edk.provider + chr(edk.info[0]), info=edk.info[1:]),
    ]


@pytest.mark.parametrize("number", range(6))
def test_another_wrapped_key_is_no_hit(asked: Asked, number: int) -> None:
    """A changed wrapped key is refused, as it is without a cache."""
    keyring = CachingKeyring(asked, max_age=60)
    (edk,) = AES.wrap(bytes(32), CONTEXT)
    keyring.unwrap([edk], CONTEXT, 32)
    other = _other(edk)[number]
    for _ in range(2):
        with pytest.raises(IntegrityError if AES.opens(other) else KeyUnavailableError):
            keyring.unwrap([other], CONTEXT, 32)
    assert asked.unwrapped == 3
    assert keyring.statistics == CacheStatistics(0, 0, 0, 3, 1)


def test_another_context_or_length_is_no_hit(asked: Asked) -> None:
    """The cache is not used for other or reordered wrapped keys, nor another context or length."""
    keyring = CachingKeyring(asked, max_age=60)
    edks = (*AES.wrap(bytes(32), CONTEXT), *AES.wrap(bytes([1]) * 32, CONTEXT))
    assert keyring.unwrap(edks, CONTEXT, 32) == bytes(32)
    assert keyring.unwrap(edks[::-1], CONTEXT, 32) == bytes([1]) * 32
    assert keyring.unwrap(edks[:1], CONTEXT, 32) == bytes(32)
    for context, length in (({"tenant": "b"}, 32), ({}, 32), (CONTEXT, 16)):
        with pytest.raises(IntegrityError):
            keyring.unwrap(edks, context, length)
    assert asked.unwrapped == 6


# Uses that are not cached


def test_unknown_length_is_not_cached(asked: Asked) -> None:
    """A message of unknown length does not use the cache: its bytes cannot be counted."""
    keyring = CachingKeyring(asked, max_age=60)
    written = {edks_of(keyring, size) for size in (None, 0, None, 0, None)}
    assert len(asked.generated) == len(written) == 4
    assert keyring.statistics.entries == 1


def test_signed_messages_are_not_cached(asked: Asked) -> None:
    """A signed message has its own public key in its context, so it takes no room in the cache."""
    keyring = CachingKeyring(asked, max_age=60)
    for _ in range(3):
        edks_of(keyring, 0, **{PUBLIC_KEY_PAIR: "x"})
    assert keyring.statistics == CacheStatistics(0, 3, 0, 0, 0)


def test_a_shared_data_key_has_no_length(asked: Asked) -> None:
    """The keyring gets no plaintext length for a data key that several messages share."""
    keyring = CachingKeyring(asked, max_age=60)
    edks_of(keyring, 7)
    assert asked.generated == [({}, None)]


def test_failures_are_not_cached(asked: Asked) -> None:
    """After a failure the next message makes a new call, and its result is cached."""
    keyring = CachingKeyring(asked, max_age=60)
    edks = AES.wrap(bytes(32), {})

    def deny(_: object) -> None:
        raise KeyUnavailableError("denied")

    asked.before = deny
    for _ in range(2):
        with pytest.raises(KeyUnavailableError):
            edks_of(keyring)
        with pytest.raises(KeyUnavailableError):
            keyring.unwrap(edks, {}, 32)
    asked.before = lambda _: None
    for _ in range(2):
        edks_of(keyring)
        keyring.unwrap(edks, {}, 32)
    assert keyring.statistics == CacheStatistics(1, 3, 1, 3, 2)


@pytest.mark.parametrize("around", [MultiKeyring, ObjectKeyring])
def test_the_length_reaches_a_keyring_inside(asked: Asked, around: Callable[..., Keyring]) -> None:
    """The plaintext length reaches a keyring inside another keyring."""
    edks_of(around(asked), 7)
    edks_of(around(asked), None)
    assert [length for _, length in asked.generated] == [7, None]


# Threads and processes


def in_threads(count: int, turn: Callable[[int], object]) -> list[object]:
    """Return the results of `count` calls of `turn` in 8 threads."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(turn, range(count)))


@pytest.mark.parametrize(("max_messages", "calls"), [(1, 400), (3, 134), (10, 40), (2**32, 1)])
def test_threads_keep_the_limits(asked: Asked, max_messages: int, calls: int) -> None:
    """8 threads make exactly as many calls as one thread."""
    keyring = CachingKeyring(asked, max_age=60, max_messages=max_messages)
    in_threads(400, lambda _: edks_of(keyring))
    assert len(asked.generated) == calls
    assert keyring.statistics == CacheStatistics(400 - calls, calls, 0, 0, int(max_messages > 1))


def test_threads_keep_the_limit_of_bytes(asked: Asked) -> None:
    """400 messages of 10 bytes, at 100 bytes per data key, make 40 calls in 8 threads."""
    keyring = CachingKeyring(asked, max_age=60, max_bytes=100)
    in_threads(400, lambda _: edks_of(keyring, 10))
    assert len(asked.generated) == 40


def test_threads_read(asked: Asked) -> None:
    """Each wrapped key is unwrapped once, and every thread gets its own key."""
    keyring = CachingKeyring(asked, max_age=60)
    wrapped = [AES.wrap(bytes([number]) * 32, {}) for number in range(5)]
    opened = in_threads(200, lambda number: keyring.unwrap(wrapped[number % 5], {}, 32))
    assert opened == [bytes([number % 5]) * 32 for number in range(200)]
    assert keyring.statistics == CacheStatistics(0, 0, 195, 5, 5)


class Gate:
    """Holds calls for one context until it is opened."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, context: Mapping[str, str]) -> None:
        """Wait if the context has the name."""
        if context.get("name") == self.name:
            self.reached.set()
            assert self.opened.wait(60)


def test_no_thread_waits_for_another_data_key(asked: Asked) -> None:
    """While a call for one context hangs, messages with other contexts are served."""
    keyring = CachingKeyring(asked, max_age=60)
    edks_of(keyring, name="cached")
    asked.before = gate = Gate("slow")
    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(edks_of, keyring, name="slow") for _ in range(4)]
        assert gate.reached.wait(60)
        for name in ("cached", "new"):
            edks_of(keyring, name=name)
        edks_of(keyring, None, name="unknown length")
        assert keyring.statistics.entries == 2
        gate.opened.set()
        assert len({call.result() for call in slow}) == 1
    assert [context["name"] for context, _ in asked.generated].count("slow") == 1


class Waited(threading.Event):
    """An event that counts the threads that wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Count the thread, and wait."""
        self.came.release()
        return super().wait(timeout)


def test_a_failure_is_one_threads_own(asked: Asked) -> None:
    """Threads that waited for a failed call make their own calls, all at the same time."""
    keyring = CachingKeyring(asked, max_age=60)
    gate, failures, together = (
        Gate("slow"),
        [KeyUnavailableError("throttled")],
        threading.Barrier(3),
    )

    def fail_once(context: Mapping[str, str]) -> None:
        gate(context)
        if failures:
            raise failures.pop()
        together.wait(60)

    asked.before = fail_once
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(edks_of, keyring, name="slow")
        assert gate.reached.wait(60)
        (call,) = keyring._cache._entries.get()._calls.values()
        call.ended = waited = Waited()
        others = [pool.submit(edks_of, keyring, name="slow") for _ in range(3)]
        assert all(waited.came.acquire(timeout=60) for _ in others)
        gate.opened.set()
        assert isinstance(first.exception(), KeyUnavailableError)
        assert len({other.result() for other in others}) == 3


def test_clear_reaches_calls_in_progress(asked: Asked) -> None:
    """The result of a call that began before `clear()` is not cached."""
    keyring = CachingKeyring(asked, max_age=60)
    asked.before = gate = Gate("slow")
    with ThreadPoolExecutor(1) as pool:
        before = pool.submit(edks_of, keyring, name="slow")
        assert gate.reached.wait(60)
        keyring.clear()
        gate.opened.set()
        assert before.result() != edks_of(keyring, name="slow")
    assert keyring.statistics.entries == 1


_FORK = """
import os
import threading
from s3crypt import AESKeyring, CachingKeyring

class Slow:
    def generate(self, length, context, *, plaintext_length=None):
        if context and threading.current_thread() is not threading.main_thread():
            asking.set()
            forked.wait()
        return AESKeyring("tests", "key", bytes(32)).generate(length, context)

asking, forked = threading.Event(), threading.Event()
keyring = CachingKeyring(Slow(), max_age=60)
before = keyring.generate(32, {}, plaintext_length=0)
thread = threading.Thread(target=keyring.generate, args=(32, {"a": "b"}),
                          kwargs={"plaintext_length": 0})
thread.start()
asking.wait()
# Now a call is in progress; and the lock is held, as by a thread that is in between.
lock = keyring._cache._groups.get().lock
lock.acquire()
child = os.fork()
if child == 0:
    try:
        for context in ({}, {"a": "b"}):
            made = {keyring.generate(32, context, plaintext_length=0).edks for _ in range(3)}
            assert len(made) == 1 and before.edks not in made
        assert keyring.statistics.generate_calls == 2, keyring.statistics
        assert list(keyring._cache._entries._made) == [os.getpid()]
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
    os._exit(0)
lock.release()
forked.set()
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert keyring.generate(32, {}, plaintext_length=0).edks == before.edks
assert keyring.statistics.generate_calls == 2, keyring.statistics
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_begins_empty() -> None:
    """A child process waits for no lock or call of its parent, and starts with an empty cache."""
    root = str(Path(s3crypt.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _FORK],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)


def test_data_keys_do_not_travel() -> None:
    """Neither a pickle nor a repr contains data keys."""
    keyring = CachingKeyring(AES, max_age=60)
    data_key = keyring.generate(32, {}, plaintext_length=0)
    with pytest.raises(TypeError, match="plaintext data keys"):
        pickle.dumps(keyring)
    kept = vars(keyring._cache._entries.get())
    assert len(kept["_entries"]) == 1
    shown = repr(keyring) + repr(kept)
    for secret in (data_key.plaintext, AES.key_bytes):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
    assert repr(keyring) == (
        f"CachingKeyring(keyring={AES!r}, max_age=60, max_messages={2**32}, "
        f"max_bytes={2**63 - 1}, capacity=1000)"
    )


# Combinations with other keyrings and modes


def test_caches_are_not_nested() -> None:
    """A cache is refused inside another cache and inside a MultiKeyring."""
    cached = CachingKeyring(AES, max_age=60)
    with pytest.raises(ConfigError, match="already has a cache"):
        CachingKeyring(cached, max_age=60)
    for keyrings in ((cached, AES), (AES, cached), (cached,)):
        with pytest.raises(ConfigError) as caught:
            MultiKeyring(*keyrings)
        assert "CachingKeyring(MultiKeyring(...)" in str(caught.value.hint)


def test_several_keyrings_in_one_cache(asked: Asked) -> None:
    """Each data key is wrapped by all keyrings, and any keyring opens it."""
    second = Asked(aes("two"))
    keyring = CachingKeyring(MultiKeyring(asked, second), max_age=60)
    edks = {edks_of(keyring) for _ in range(3)}.pop()
    assert keyring.wrote(edks)
    assert keyring.wrote(keyring.wrap(bytes(32), {}))
    assert len(edks) == 2
    for alone in (AES, aes("two")):
        assert len(CachingKeyring(alone, max_age=60).unwrap(edks, {}, 32)) == 32
    assert len(asked.generated) == 1


@pytest.mark.parametrize("key_location", ["header", "metadata"])
def test_a_bound_name_cannot_be_cached(key_location: Any) -> None:
    """Caching is refused for bound names; the error names the option and the lost protection."""
    cached = CachingKeyring(AES, max_age=60)
    with pytest.raises(ConfigError, match="bind_name=False") as caught:
        ClientSide(cached, key_location=key_location)
    assert "swapped" in str(caught.value.hint)
    assert ClientSide(cached, key_location=key_location, bind_name=False).keyring is cached


def test_a_signed_object_cannot_be_cached() -> None:
    """A signed object has its own context, so caching is refused."""
    with pytest.raises(ConfigError, match="signed=False"):
        ClientSide(CachingKeyring(AES, max_age=60), signed=True, bind_name=False)


# Messages


def test_each_message_has_its_own_content_key() -> None:
    """Messages share one wrapped key; message id, commitment and ciphertext always differ."""
    keyring = CachingKeyring(AES, max_age=60)
    written = [message.encrypt(b"same", keyring, context=CONTEXT) for _ in range(20)]
    headers = [header_of(one) for one in written]
    assert len({header.edks for header in headers}) == 1
    for distinct in ("message_id", "commitment", "tag"):
        assert len({getattr(header, distinct) for header in headers}) == 20
    ends = {one[len(header) :] for one, header in zip(written, headers, strict=True)}
    assert len(ends) == 20
    assert [message.decrypt(one, keyring) for one in written] == [b"same"] * 20
    assert [message.decrypt(one, AES) for one in written] == [b"same"] * 20
    assert keyring.statistics == CacheStatistics(19, 1, 19, 1, 2)


def test_a_changed_message_is_refused() -> None:
    """A changed message is refused, also if its data key is cached."""
    keyring = CachingKeyring(AES, max_age=60)
    written = message.encrypt(b"plain", keyring)
    message.decrypt(written, keyring)
    for position in (10, len(header_of(written)) - 1, len(written) - 1):
        changed = bytearray(written)
        changed[position] ^= 1
        with pytest.raises(IntegrityError):
            message.decrypt(bytes(changed), keyring)
    swapped = message.encrypt(b"plain", AES, context={"tenant": "b"})
    with pytest.raises(IntegrityError):
        message.decrypt(swapped, keyring, context=CONTEXT)


def test_streams_of_known_length_are_cached() -> None:
    """A stream of known length uses the cache, and a stream of unknown length does not."""
    keyring = CachingKeyring(AES, max_age=60)
    for length in (5, 5, None, None):
        reader = message.EncryptingReader(io.BytesIO(b"plain"), keyring, length=length)
        assert message.decrypt(reader.read(), AES) == b"plain"
    assert keyring.statistics == CacheStatistics(1, 3, 0, 0, 1)


# Objects


def cached_mode(key: str, **options: Any) -> ClientSide:
    """Return a mode that caches the data keys of a KMS key."""
    keyring = CachingKeyring(kms_keyring(key), max_age=300)
    return ClientSide(keyring, bind_name=False, **options)


def counts(mode: ClientSide) -> CacheStatistics:
    """Return the statistics of the mode's keyring."""
    assert isinstance(mode.keyring, CachingKeyring)
    return mode.keyring.statistics


LOCATIONS = pytest.mark.parametrize("key_location", ["header", "metadata"])


@LOCATIONS
def test_many_objects_cost_one_call(
    key_location: str, bucket: str, kms_key: str, requests_log: RequestsLog
) -> None:
    """20 objects cost one GenerateDataKey call to write and one Decrypt call to read."""
    mode = cached_mode(kms_key, key_location=key_location)
    store = connect(mode)
    for number in range(20):
        store.put(b"%d" % number, f"s3://{bucket}/{number}")
    assert kms_calls(requests_log) == ["GenerateDataKey"]
    for number in range(20):
        assert store.read(f"s3://{bucket}/{number}") == b"%d" % number
    assert kms_calls(requests_log) == ["GenerateDataKey", "Decrypt"]
    assert counts(mode) == CacheStatistics(19, 1, 19, 1, 2)


@LOCATIONS
def test_objects_open_without_the_cache(key_location: str, bucket: str, kms_key: str) -> None:
    """Readers without a cache open objects that were written with cached data keys."""
    mode = cached_mode(kms_key, key_location=key_location)
    store, plain = connect(mode), connect(replace(mode, keyring=kms_keyring(kms_key)))
    for number in range(2):
        store.put(b"plain", f"s3://{bucket}/{number}")
        assert plain.read(f"s3://{bucket}/{number}") == b"plain"


def test_objects_share_an_object_key_and_no_data_key(bucket: str, kms_key: str, s3: Any) -> None:
    """Objects share the object key in their metadata; each header has its own data key."""
    mode = cached_mode(kms_key, key_location="metadata")
    store = connect(mode)
    for number in range(5):
        store.put(b"plain", f"s3://{bucket}/{number}")
    heads = [s3.head_object(Bucket=bucket, Key=str(number)) for number in range(5)]
    assert len({head["Metadata"]["s3crypt-edks"] for head in heads}) == 1
    headers = [header_of(stored(s3, bucket, str(number))) for number in range(5)]
    assert len({header.edks for header in headers}) == 5
    assert counts(mode).generate_calls == 1


class Pipe(io.RawIOBase):
    """A stream of unknown length."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into the buffer."""
        return self._rest.readinto(buffer)


@LOCATIONS
def test_a_pipe_is_not_cached(key_location: str, bucket: str, kms_key: str) -> None:
    """A pipe is not cached, because its length is unknown when its data key is chosen."""
    mode = cached_mode(kms_key, key_location=key_location)
    store = connect(mode)
    for _ in range(2):
        pipe: Any = Pipe(b"plain")  # RawIOBase reads as BinaryIO does
        store.put(pipe, f"s3://{bucket}/x")
        assert store.read(f"s3://{bucket}/x") == b"plain"
    assert counts(mode).generate_calls == 2
    assert counts(mode).generate_hits == 0


def test_files_are_cached(bucket: str, kms_key: str, tmp_path: Path) -> None:
    """Files use the cache, as a path and as an open file."""
    mode = cached_mode(kms_key)
    store = connect(mode)
    path = tmp_path / "x"
    path.write_bytes(b"plain")
    store.put(path, f"s3://{bucket}/x")
    with path.open("rb") as file:
        store.put(file, f"s3://{bucket}/y")
    assert counts(mode).generate_calls == 1


def test_a_disabled_key_goes_on_until_then(bucket: str, kms_key: str, kms: Any) -> None:
    """While a disabled key is cached, it still reads and writes; after `clear()` it is refused."""
    mode = cached_mode(kms_key)
    store = connect(mode)
    store.put(b"plain", f"s3://{bucket}/x")
    assert store.read(f"s3://{bucket}/x") == b"plain"
    kms.disable_key(KeyId=kms_key)
    store.put(b"plain", f"s3://{bucket}/y")
    assert store.read(f"s3://{bucket}/y") == b"plain"
    assert isinstance(mode.keyring, CachingKeyring)
    mode.keyring.clear()
    for refused in (
        lambda: store.read(f"s3://{bucket}/y"),
        lambda: store.put(b"", f"s3://{bucket}/z"),
    ):
        with pytest.raises(KeyUnavailableError, match="disabled"):
            refused()
    assert counts(mode).entries == 0


# Rotation


def test_rewrapping_needs_no_plaintext_key(
    bucket: str, kms_key: str, new_key: str, requests_log: RequestsLog
) -> None:
    """Rewrapping calls kms:ReEncrypt, as without a cache; then the new key opens the objects."""
    mode, to = (cached_mode(key, key_location="metadata") for key in (kms_key, new_key))
    old, new = connect(mode), connect(to)
    for number in range(3):
        old.put(b"plain", f"s3://{bucket}/{number}")
    assert not old.needs_rotation(f"s3://{bucket}/0", to=mode)
    assert old.needs_rotation(f"s3://{bucket}/0", to=to)
    requests_log.clear()
    outcomes = old.rotate(f"s3://{bucket}/", to=to)
    assert [outcome.action for outcome in outcomes] == ["rewrapped"] * 3
    assert kms_calls(requests_log) == ["ReEncrypt"] * 3
    assert not new.needs_rotation(f"s3://{bucket}/0", to=to)
    assert [new.read(f"s3://{bucket}/{number}") for number in range(3)] == [b"plain"] * 3


def test_rewrapping_here_asks_once_to_unwrap(
    bucket: str, kms_key: str, requests_log: RequestsLog
) -> None:
    """Rewrapping objects with one object key to a keyring outside KMS costs one Decrypt call."""
    old = connect(cached_mode(kms_key, key_location="metadata"))
    to = ClientSide(CachingKeyring(AES, max_age=60), key_location="metadata", bind_name=False)
    for number in range(3):
        old.put(b"plain", f"s3://{bucket}/{number}")
    requests_log.clear()
    outcomes = old.rotate(f"s3://{bucket}/", to=to)
    assert [outcome.action for outcome in outcomes] == ["rewrapped"] * 3
    assert kms_calls(requests_log) == ["Decrypt"]
    assert connect(to).read(f"s3://{bucket}/1") == b"plain"


def test_re_encrypting_many_objects_costs_two_calls(
    bucket: str, kms_key: str, new_key: str, requests_log: RequestsLog
) -> None:
    """Re-encryption costs one Decrypt and one GenerateDataKey call for all objects."""
    to = cached_mode(new_key)
    old, new = connect(cached_mode(kms_key)), connect(to)
    for number in range(3):
        old.put(b"plain", f"s3://{bucket}/{number}")
    requests_log.clear()
    outcomes = old.rotate(f"s3://{bucket}/", to=to)
    assert [outcome.action for outcome in outcomes] == ["re-encrypted"] * 3
    assert sorted(kms_calls(requests_log)) == ["Decrypt", "GenerateDataKey"]
    assert new.read(f"s3://{bucket}/1") == b"plain"


def test_a_moved_alias_is_followed_when_rotating(
    bucket: str, kms_key: str, new_key: str, kms: Any
) -> None:
    """After an alias moved, rotation uses its new key and not the cached data key."""
    alias = f"alias/{bucket}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    to = cached_mode(alias)
    store = connect(to)
    store.put(b"plain", f"s3://{bucket}/x")
    kms.update_alias(AliasName=alias, TargetKeyId=new_key)
    assert store.needs_rotation(f"s3://{bucket}/x", to=to)
    (outcome,) = connect(ClientSide(kms_keyring(kms_key), bind_name=False)).rotate(
        f"s3://{bucket}/x", to=to
    )
    assert outcome.action == "re-encrypted"
    assert not store.needs_rotation(f"s3://{bucket}/x", to=to)


def test_resolving_keeps_the_cache_where_no_alias_is(kms_key: str, kms: Any, bucket: str) -> None:
    """A keyring without an alias is returned unchanged when aliases are resolved.

    For a keyring with an alias, a new cache with the same limits is returned.
    """
    for inner in (kms_keyring(kms_key), AES, MultiKeyring(AES, kms_keyring(kms_key))):
        keyring = CachingKeyring(inner, max_age=7)
        assert with_resolved_aliases(keyring) is keyring
        assert uncached(keyring) is inner
    kms.create_alias(AliasName=f"alias/{bucket}", TargetKeyId=kms_key)
    for inner in (
        kms_keyring(f"alias/{bucket}"),
        MultiKeyring(kms_keyring(f"alias/{bucket}"), AES),
    ):
        named = CachingKeyring(inner, max_age=7, max_messages=8, max_bytes=9, capacity=10)
        kept = with_resolved_aliases(named)
        assert isinstance(kept, CachingKeyring)
        assert kept._cache is not named._cache
        assert f"{kms_key!r}" in repr(kept)
        assert (kept.max_age, kept.max_messages, kept.max_bytes, kept.capacity) == (7, 8, 9, 10)


# --- The command -----------------------------------------------------------------------------


def test_a_folder_shares_a_data_key(
    bucket: str, key: str, requests_log: RequestsLog, tmp_path: Path
) -> None:
    """All threads of a command share one KMS call, for writing and for reading."""
    (tmp_path / "in").mkdir()
    for number in range(24):
        (tmp_path / "in" / str(number)).write_bytes(b"%d" % number)
    options = ["--key", f"kms:{key}", "--no-bind-name", "--cache-data-keys", "300", "--quiet"]
    uri = f"s3://{bucket}/all/"
    assert run(["put", "-r", str(tmp_path / "in"), uri, "--jobs", "8", *options]) == 0
    assert kms_calls(requests_log) == ["GenerateDataKey"]
    requests_log.clear()
    assert run(["get", "-r", uri, str(tmp_path / "out"), "--jobs", "8", *options]) == 0
    assert kms_calls(requests_log) == ["Decrypt"]
    assert {file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()} == {
        b"%d" % number for number in range(24)
    }
