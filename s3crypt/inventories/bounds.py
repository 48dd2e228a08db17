# SPDX-License-Identifier: Apache-2.0
"""Bounds for a whole population, computed from a simple random sample without replacement.

`bounds` limits the number of objects with a property (the hits), `byte_bounds` the sum of their
bytes. Both hold for any population: no distribution is assumed. Each single result is right with
the stated confidence or more. The confidence that several results are all right is lower.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# The logarithm of a probability is a sum of nine `lgamma` values, each exact to a few units in the
# last place. This number of units covers the error of the sum.
_ROUNDING = 32
_NEGLIGIBLE = 2.0**-60


@dataclass(frozen=True, slots=True)
class Bounds:
    """The smallest and the largest value that the sample leaves credible. Both are inclusive."""

    low: int
    high: int

    @property
    def is_exact(self) -> bool:
        """Whether both bounds are the same value."""
        return self.low == self.high

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and self.low <= value <= self.high


def bounds(hits: int, sample: int, population: int, confidence: float = 0.99) -> Bounds:
    """Return bounds on the number of hits in a population.

    These are the Clopper-Pearson bounds for the hypergeometric distribution: the tail beyond each
    bound gets half of the permitted error. Both bounds are the exact number if the sample is the
    whole population.

    Raises:
        ValueError: The sample cannot come from the population (a count is too large or negative),
            or the confidence is not between 0 and 1.
    """
    _check(confidence)
    if not 0 <= hits <= sample <= population:
        raise ValueError(f"{hits} of {sample} of {population} is no sample of a population")
    tail = (1 - confidence) / 2
    return Bounds(
        _least(hits, sample, population, tail),
        population - _least(sample - hits, sample, population, tail),
    )


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence is between 0 and 1, not {confidence}")


def _least(hits: int, sample: int, population: int, tail: float) -> int:
    """Return the smallest number of hits in the population that makes the sample credible.

    A number is credible if a sample with this many hits or more has a probability above `tail`.
    """
    if sample == population or not hits:
        return hits
    # With `high` hits in the population, the sample's expected number of hits is at least the
    # observed number, so the tail is at least half.
    low, high = hits, -(-hits * population // sample)
    while low < high:
        middle = (low + high) // 2
        if _tail(hits, sample, middle, population) > tail:
            high = middle
        else:
            low = middle + 1
    return low


def _tail(least: int, sample: int, hits: int, population: int) -> float:
    """Return the probability that a sample contains at least `least` hits, rounded up.

    The caller makes sure that the expected number of hits is at most `least`, so the terms of the
    sum decrease.
    """
    misses = population - hits
    log = _log_choose(hits, least) + _log_choose(misses, sample - least)
    log -= _log_choose(population, sample)
    slack = _ROUNDING * math.ulp(math.lgamma(population + 1))
    term = total = 1.0
    for count in range(least, min(hits, sample)):
        term *= (hits - count) / (count + 1)
        term *= (sample - count) / (misses - sample + count + 1)
        total += term
        if term < _NEGLIGIBLE * total:
            break
    return math.exp(min(0.0, log + math.log(total) + slack))


def _log_choose(total: int, chosen: int) -> float:
    if chosen > total:
        return -math.inf
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)


# --- bytes ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Class:
    """The sizes with one bit length: their number, their sum, the smallest and the largest size."""

    count: int = 0
    total: int = 0
    least: int = 0
    greatest: int = 0

    def add(self, other: "_Class") -> None:
        if not other.count:
            return
        self.least = min(self.least, other.least) if self.count else other.least
        self.greatest = max(self.greatest, other.greatest)
        self.count += other.count
        self.total += other.total


@dataclass(slots=True)
class Sizes:
    """A histogram of object sizes in bytes, with one class per bit length.

    Its memory is constant.
    """

    _classes: dict[int, _Class] = field(default_factory=dict)

    @classmethod
    def of(cls, sizes: Iterable[int]) -> "Sizes":
        """Return the histogram of these sizes."""
        made = cls()
        for size in sizes:
            made.add(size)
        return made

    @property
    def count(self) -> int:
        """The number of objects."""
        return sum(each.count for each in self._classes.values())

    @property
    def total(self) -> int:
        """The sum of the sizes, in bytes."""
        return sum(each.total for each in self._classes.values())

    def add(self, size: int) -> None:
        """Add an object of this size."""
        self.add_class(size, size, count=1, total=size)

    def add_class(self, least: int, greatest: int, *, count: int, total: int) -> None:
        """Add objects whose sizes have the same bit length.

        Args:
            least: The smallest of the sizes.
            greatest: The largest of the sizes.
            count: The number of objects.
            total: The sum of the sizes.
        """
        if least < 0 or least.bit_length() != greatest.bit_length():
            raise ValueError(f"{least} and {greatest} are not sizes of one class")
        added = _Class(count, total, least, greatest)
        self._classes.setdefault(least.bit_length(), _Class()).add(added)

    def update(self, other: "Sizes") -> None:
        """Add the objects of another histogram."""
        for bits, each in other.classes():
            self._classes.setdefault(bits, _Class()).add(each)

    def classes(self) -> Iterator[tuple[int, _Class]]:
        """Yield each class with the bit length of its sizes, largest sizes first."""
        for bits in sorted(self._classes, reverse=True):
            yield bits, self._classes[bits]

    def class_of(self, bits: int) -> _Class:
        """Return the class of the sizes with this bit length.

        It is empty if there are no such sizes.
        """
        return self._classes.get(bits, _Class())


@dataclass(frozen=True, slots=True)
class _Unseen:
    """The objects of one class of sizes that are not in the sample.

    Attributes:
        count: The number of objects.
        total: The sum of their sizes, in bytes.
        least: A lower bound of their sizes.
        greatest: An upper bound of their sizes.
        hits: Bounds on the number of hits among these objects.
    """

    count: int
    total: int
    least: int
    greatest: int
    hits: Bounds

    def most(self, hits: int) -> int:
        """Return the largest possible sum of the sizes of this many hits."""
        return min(hits * self.greatest, self.total - (self.count - hits) * self.least)

    def fewest(self, hits: int) -> int:
        """Return the smallest possible sum of the sizes of this many hits."""
        return max(hits * self.least, self.total - (self.count - hits) * self.greatest)


def byte_bounds(hits: Sizes, sample: Sizes, population: Sizes, confidence: float = 0.99) -> Bounds:
    """Return bounds on the bytes of the hits in a population. All sizes must be known.

    The sizes of the objects outside the sample are known; it is not known which of them are hits.
    Half of the permitted error is used to bound the number of hits in the population. The other
    half is divided equally between the classes of sizes, and bounds the number of hits per class.
    This is valid because the sampled objects of a class are a random sample of the class. The upper
    bound assumes that the largest objects are hits, as far as both kinds of bounds allow it. The
    lower bound assumes the same of the smallest objects. The bounds therefore allow for a few large
    objects that are not in the sample.

    Args:
        hits: The sizes of the hits in the sample.
        sample: The sizes of the objects in the sample.
        population: The sizes of all objects.
        confidence: The probability with which the bounds hold.

    Raises:
        ValueError: The sample cannot come from the population, or the confidence is not between 0
            and 1.
    """
    _check(confidence)
    half = 1 - (1 - confidence) / 2
    every = bounds(hits.count, sample.count, population.count, half)
    unseen = _unseen(hits, sample, population, half)
    low, high = every.low - hits.count, every.high - hits.count
    return Bounds(hits.total + _fewest(unseen, low), hits.total + _most(unseen, high))


def _unseen(hits: Sizes, sample: Sizes, population: Sizes, confidence: float) -> list[_Unseen]:
    """Return the objects of each class that are not in the sample, classes of large sizes first.

    `confidence` is the probability that the bounds of all classes hold together.
    """
    every = [
        (each, sample.class_of(bits), hits.class_of(bits)) for bits, each in population.classes()
    ]
    partly = sum(seen.count < each.count for each, seen, _ in every)
    within = 1 - (1 - confidence) / max(1, partly)
    found = []
    for each, seen, hit in every:
        number = bounds(hit.count, seen.count, each.count, within)
        unseen = Bounds(number.low - hit.count, number.high - hit.count)
        count, total = each.count - seen.count, each.total - seen.total
        found.append(_Unseen(count, total, each.least, each.greatest, unseen))
    return found


def _most(unseen: list[_Unseen], hits: int) -> int:
    """Return the largest possible sum of sizes of at most `hits` hits.

    The number of hits in each class stays within the bounds of the class.
    """
    total, rest = 0, hits - sum(each.hits.low for each in unseen)
    for each in unseen:
        more = max(0, min(rest, each.hits.high - each.hits.low))
        rest -= more
        total += each.most(each.hits.low + more)
    return total


def _fewest(unseen: list[_Unseen], hits: int) -> int:
    """Return the smallest possible sum of sizes of at least `hits` hits.

    The number of hits in each class stays within the bounds of the class.
    """
    total, rest = 0, hits - sum(each.hits.low for each in unseen)
    for each in reversed(unseen):
        more = max(0, min(rest, each.hits.high - each.hits.low))
        rest -= more
        total += each.fewest(each.hits.low + more)
    return total
