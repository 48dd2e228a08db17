# SPDX-License-Identifier: Apache-2.0
"""The cache of key material on its own, with values that are no data keys.

Its limits, threads and forks are tested through `CachingKeyring`, in test_caching.py.
"""

from __future__ import annotations

import pytest

from s3crypt.keyrings.cache import Cache, Limits


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the caches' clock by a clock that only the test moves."""
    now = [1000.0]
    monkeypatch.setattr("s3crypt.keyrings.cache.monotonic", lambda: now[0])
    return now


def new_cache(capacity: int = 10) -> Cache[str]:
    """Return a cache in which a value serves for a minute, for any number of uses."""
    return Cache(Limits(max_age=60, max_uses=2**32, max_bytes=2**63 - 1, capacity=capacity))


def test_a_value_serves_until_its_age(clock: list[float]) -> None:
    """A value is requested again after its maximum age."""
    cache, made = new_cache(), iter(["first", "second"])
    for seconds, value in ((0, "first"), (60, "first"), (0.5, "second"), (60, "second")):
        clock[0] += seconds
        assert cache.get("branch", b"id", lambda: next(made)) == value
    counts = cache.counts()
    assert (counts.hits, counts.calls, counts.entries) == ({"branch": 2}, {"branch": 2}, 1)


def test_the_least_recently_used_goes_first() -> None:
    """If the cache is full, the least recently used entry is dropped."""
    cache = new_cache(capacity=2)
    for entry_id in (b"a", b"b", b"a", b"c", b"a", b"b"):
        cache.get("branch", entry_id, entry_id.decode)
    assert cache.counts().calls == {"branch": 4}
    assert cache.counts().entries == 2


def test_failures_are_not_kept() -> None:
    """A failed request is not cached, so the next use makes a new request."""
    cache = new_cache()
    with pytest.raises(ZeroDivisionError):
        cache.get("branch", b"id", lambda: str(1 / 0))
    assert cache.get("branch", b"id", lambda: "value") == "value"
    assert (cache.counts().calls, cache.counts().entries) == ({"branch": 2}, 1)


def test_siblings_share_counts_and_no_value() -> None:
    """Sibling caches share their counts and are cleared together, but share no values."""
    cache = new_cache()
    sibling = cache.sibling()
    assert [one.get("branch", b"id", lambda: "value") for one in (cache, sibling)] == ["value"] * 2
    assert cache.counts() == sibling.counts()
    assert (cache.counts().calls, cache.counts().entries) == ({"branch": 2}, 2)
    sibling.clear()
    assert cache.counts().entries == 0
    del sibling
    assert cache.counts().calls == {"branch": 2}


def test_a_value_asked_for_once_is_counted_and_not_kept() -> None:
    """`ask` counts the request and does not cache the value."""
    cache = new_cache()
    assert cache.ask("branch", lambda: "value") == "value"
    assert (cache.counts().calls, cache.counts().entries) == ({"branch": 1}, 0)


def test_values_are_in_no_repr() -> None:
    """Cached values may be secret, so no repr contains them."""
    cache = new_cache()
    cache.get("branch", b"id", lambda: "secret")
    entries = vars(cache._entries.get())["_entries"]
    assert len(entries) == 1
    assert "secret" not in repr(cache) + repr(vars(cache)) + repr(entries)
