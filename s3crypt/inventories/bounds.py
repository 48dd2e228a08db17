# SPDX-License-Identifier: Apache-2.0
"""Bounds on a whole population from a simple random sample of it, drawn without replacement.

`bounds` is about numbers of objects, `byte_bounds` about their bytes. Both hold for any population:
no distribution is assumed. Each result of its own is right with the stated confidence or more; the
confidence that several results are right at once is lower.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# `lgamma` is right to a few units in the last place; nine terms are added.
_ROUNDING = 32
_NEGLIGIBLE = 2.0**-60


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest value that a sample leaves credible, both inclusive."""

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

    The bounds are those of Clopper and Pearson for the hypergeometric distribution: the tail beyond
    each bound has half of the permitted error. They are exact if the sample is the population.

    Raises:
        ValueError: The numbers are no sample of a population, or the confidence is not between 0
            and 1.
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
    """Return the least number of hits under which a sample with this many hits is credible."""
    if sample == population or not hits:
        return hits
    # At `high`, the expected hits are the observed ones or more, so that the tail is half or more.
    low, high = hits, -(-hits * population // sample)
    while low < high:
        middle = (low + high) // 2
        if _tail(hits, sample, middle, population) > tail:
            high = middle
        else:
            low = middle + 1
    return low


def _tail(least: int, sample: int, hits: int, population: int) -> float:
    """Return the probability that a sample has at least so many hits, rounded up.

    The expected number of hits is at most `least`, so that the terms decrease.
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
    """The sizes from a power of two to the next: their number, sum, least and greatest."""

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
    """A histogram of the sizes of objects in bytes, by power of two, in constant memory."""

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
        """Add objects whose sizes have the same highest bit.

        Args:
            least: The size of the smallest.
            greatest: The size of the largest.
            count: The number of objects.
            total: The sum of their sizes.
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
        """Yield the number of bits of the sizes of each class and the class, largest first."""
        for bits in sorted(self._classes, reverse=True):
            yield bits, self._classes[bits]

    def class_of(self, bits: int) -> _Class:
        """Return the class of the sizes with so many bits."""
        return self._classes.get(bits, _Class())


@dataclass(frozen=True, slots=True)
class _Unseen:
    """The objects of a class that are not in the sample.

    Attributes:
        count: The number of objects.
        total: The sum of their sizes.
        least: A size that none of them is below.
        greatest: A size that none of them is above.
        hits: Bounds on how many of them are hits.
    """

    count: int
    total: int
    least: int
    greatest: int
    hits: Bounds

    def most(self, hits: int) -> int:
        """Return the greatest possible sum of the sizes of so many hits."""
        return min(hits * self.greatest, self.total - (self.count - hits) * self.least)

    def fewest(self, hits: int) -> int:
        """Return the least possible sum of the sizes of so many hits."""
        return max(hits * self.least, self.total - (self.count - hits) * self.greatest)


def byte_bounds(hits: Sizes, sample: Sizes, population: Sizes, confidence: float = 0.99) -> Bounds:
    """Return bounds on the bytes of the hits in a population whose sizes are all known.

    The sizes of the objects outside the sample are known, only their membership is not. Half of the
    permitted error is that of a bound on the number of all hits, the other half is divided between
    the classes of sizes, in each of which the sample is a random one, too. Within both limits the
    unseen hits are the largest possible objects, or the smallest. A few large objects that are not
    in the sample are therefore within the bounds and not estimated away.

    Args:
        hits: The sizes of the hits in the sample.
        sample: The sizes of the objects in the sample.
        population: The sizes of all objects.
        confidence: The probability with which the bounds hold.

    Raises:
        ValueError: The histograms are no sample of a population, or the confidence is not between 0
            and 1.
    """
    _check(confidence)
    half = 1 - (1 - confidence) / 2
    every = bounds(hits.count, sample.count, population.count, half)
    unseen = _unseen(hits, sample, population, half)
    low, high = every.low - hits.count, every.high - hits.count
    return Bounds(hits.total + _fewest(unseen, low), hits.total + _most(unseen, high))


def _unseen(hits: Sizes, sample: Sizes, population: Sizes, confidence: float) -> list[_Unseen]:
    """Return the unseen objects of each class, largest first.

    The confidence is that of all classes together.
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
    """Return the greatest sum of sizes of at most so many hits, each class within its bounds."""
    total, rest = 0, hits - sum(each.hits.low for each in unseen)
    for each in unseen:
        more = max(0, min(rest, each.hits.high - each.hits.low))
        rest -= more
        total += each.most(each.hits.low + more)
    return total


def _fewest(unseen: list[_Unseen], hits: int) -> int:
    """Return the least sum of sizes of at least so many hits, each class within its bounds."""
    total, rest = 0, hits - sum(each.hits.low for each in unseen)
    for each in reversed(unseen):
        more = max(0, min(rest, each.hits.high - each.hits.low))
        rest -= more
        total += each.fewest(each.hits.low + more)
    return total
