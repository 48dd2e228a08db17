# SPDX-License-Identifier: Apache-2.0
"""Bounds on a population, from a sample. Where possible, the coverage is computed exactly."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3crypt.inventories import Bounds, Reservoir, Sizes, bounds, byte_bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCES = (0.99, 0.8, 0.5)


@cache
def probability(hits: int, sample: int, among: int, population: int) -> Fraction:
    """Return the exact probability that a sample has this number of hits."""
    found = math.comb(among, hits) * math.comb(population - among, sample - hits)
    return Fraction(found, math.comb(population, sample))


def credible(hits: int, sample: int, population: int, confidence: float) -> Bounds:
    """Return the bounds by trying every possible number of hits, in exact fractions."""
    tail = (1 - confidence) / 2
    every = [
        among
        for among in range(hits, population - sample + hits + 1)
        if sum(probability(n, sample, among, population) for n in range(hits, sample + 1)) > tail
        and sum(probability(n, sample, among, population) for n in range(hits + 1)) > tail
    ]
    return Bounds(every[0], every[-1])


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("population", [1, 2, 3, 7, 20, 33])
def test_coverage_is_what_is_stated(population: int, confidence: float) -> None:
    """For every sample size and true number, the exact coverage is at least the confidence."""
    for sample in range(population + 1):
        found = [bounds(hits, sample, population, confidence) for hits in range(sample + 1)]
        for true in range(population + 1):
            covered = sum(
                probability(hits, sample, true, population)
                for hits in range(sample + 1)
                if true in found[hits]
            )
            assert covered >= confidence, (sample, true)


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("population", [1, 2, 5, 17])
def test_bounds_are_as_tight_as_the_exact_ones(population: int, confidence: float) -> None:
    """The bounds are equal to the bounds from exact fractions."""
    for sample in range(population + 1):
        for hits in range(sample + 1):
            assert bounds(hits, sample, population, confidence) == credible(
                hits, sample, population, confidence
            )


@pytest.mark.parametrize(
    ("hits", "sample", "population", "expected"),
    [
        (0, 0, 0, Bounds(0, 0)),
        (0, 0, 9, Bounds(0, 9)),
        (4, 9, 9, Bounds(4, 4)),
        (0, 9, 9, Bounds(0, 0)),
        (9, 9, 9, Bounds(9, 9)),
        # 1 - 0.005 ** (1 / 300) of a large population: the rule of three for 0.5 % on each side.
        (0, 300, 10**9, Bounds(0, 17_505_818)),
        (300, 300, 10**9, Bounds(10**9 - 17_505_818, 10**9)),
    ],
)
def test_edges(hits: int, sample: int, population: int, expected: Bounds) -> None:
    """Bounds from a complete sample are exact; from an empty sample they exclude nothing."""
    found = bounds(hits, sample, population)
    assert found.low == pytest.approx(expected.low, rel=1e-4)
    assert found.high == pytest.approx(expected.high, rel=1e-4)
    assert found.is_exact == (sample == population)


@pytest.mark.parametrize("population", [10**6, 10**9, 10**12])
def test_large_populations_have_bounds(population: int) -> None:
    """If 10 % of 10,000 samples are hits, the bounds are 2.58 standard errors from the estimate."""
    found = bounds(1000, 10_000, population)
    error = 2.576 * math.sqrt(0.1 * 0.9 / 10_000 * (1 - 10_000 / population))
    assert found.low == pytest.approx((0.1 - error) * population, rel=0.01)
    assert found.high == pytest.approx((0.1 + error) * population, rel=0.01)


@pytest.mark.parametrize(
    ("numbers", "confidence"),
    [((2, 1, 9), 0.99), ((-1, 1, 9), 0.99), ((1, 10, 9), 0.99), ((1, 2, 9), 1.0), ((1, 2, 9), 0)],
)
def test_numbers_that_are_no_sample(numbers: tuple[int, int, int], confidence: float) -> None:
    """Impossible numbers and confidences raise a ValueError."""
    with pytest.raises(ValueError, match=r"no sample|between 0 and 1"):
        bounds(*numbers, confidence)


# --- bytes ---------------------------------------------------------------------------------------


def of_bytes(
    sizes: Sequence[int], sample: Sequence[int], hits: set[int], confidence: float
) -> Bounds:
    """Return the bounds on the bytes of the hits; `sample` and `hits` are indices of `sizes`."""
    return byte_bounds(
        Sizes.of(sizes[each] for each in sample if each in hits),
        Sizes.of(sizes[each] for each in sample),
        Sizes.of(sizes),
        confidence,
    )


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1, 1, 1), (0, 1, 2, 3, 1000, 10**12), (5, 5, 6, 7, 7, 4)]
)
def test_coverage_of_bytes(sizes: tuple[int, ...], confidence: float) -> None:
    """For each set of hits and sample size, the exact coverage is at least the confidence."""
    population = range(len(sizes))
    for count in range(1, len(sizes) + 1):
        samples = list(combinations(population, count))
        for members in range(2 ** len(sizes)):
            hits = {each for each in population if members >> each & 1}
            true = sum(sizes[each] for each in hits)
            found = [of_bytes(sizes, sample, hits, confidence) for sample in samples]
            assert sum(true in each for each in found) >= confidence * len(found)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2**50), st.booleans(), st.booleans()), max_size=40))
def test_bytes_of_what_was_seen_are_within(objects: list[tuple[int, bool, bool]]) -> None:
    """The lower bound includes all hits that were seen.

    The upper bound is at most the bytes of these hits and of all unseen objects.
    """
    sizes = [size for size, _, _ in objects]
    sample = [each for each, (_, is_seen, _) in enumerate(objects) if is_seen]
    hits = {each for each, (_, _, is_hit) in enumerate(objects) if is_hit}
    found = of_bytes(sizes, sample, hits, 0.99)
    seen = sum(sizes[each] for each in sample if each in hits)
    assert seen <= found.low <= found.high
    assert found.high <= seen + sum(sizes) - sum(sizes[each] for each in sample)
    if len(sample) == len(sizes):
        assert found.is_exact


def test_a_large_object_outside_the_sample_is_not_estimated_away() -> None:
    """The upper bound includes a large unseen object, whatever the sample shows."""
    sizes = [1000] * 9999 + [10**12]
    found = of_bytes(sizes, range(5000), set(range(100)), 0.99)
    assert found.high >= 10**12
    assert found.low < 1000 * 250


def test_a_histogram_is_the_same_in_any_order() -> None:
    """A histogram does not depend on the order or the way in which objects are added."""
    whole = Sizes.of([0, 1, 4, 5, 7, 9])
    parts = Sizes.of([9, 0])
    parts.add_class(4, 7, count=3, total=16)
    parts.update(Sizes.of([1]))
    assert parts == whole
    assert (whole.count, whole.total) == (6, 26)
    with pytest.raises(ValueError, match="one class"):
        whole.add_class(7, 8, count=2, total=15)


# --- 100 seeds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["the largest", "some", "few"])
def test_the_true_numbers_are_within_for_95_of_100_seeds(kind: str) -> None:
    """For at least 95 of 100 seeds the bounds of a skewed population contain the true numbers."""
    chance = random.Random(19)
    sizes = [int(1000 * chance.paretovariate(0.8)) for _ in range(5000)]
    if kind == "the largest":
        hits = set(sorted(range(5000), key=sizes.__getitem__)[-500:])
    else:
        hits = set(chance.sample(range(5000), 750 if kind == "some" else 5))
    numbers = values = 0
    for seed in range(100):
        reservoir: Reservoir[int] = Reservoir(400, seed=seed)
        for place in reservoir.places(5000):
            reservoir.put(place)
        found = sum(each in hits for each in reservoir.items)
        numbers += len(hits) in bounds(found, 400, 5000)
        true = sum(sizes[each] for each in hits)
        values += true in of_bytes(sizes, reservoir.items, hits, 0.99)
    assert min(numbers, values) >= 95
