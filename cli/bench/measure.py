# SPDX-License-Identifier: Apache-2.0
"""Rounds, samples and their spread. This module must not know the measured operations."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# With fewer rounds, the uncertainty of a median cannot be estimated.
LEAST_ROUNDS = 3
MOST_ROUNDS = 25
LESS_IS_BETTER = frozenset({"us", "ms", "MiB"})


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a sample: an operation with its parameters.

    Attributes:
        group: limits, codec, small, files, memory or transfers.
        what: The operation.
        unit: GB/s (10^9 bytes of plaintext by wall clock), us, ms or MiB.
        size: Bytes of a frame, a message, a file or an object.
        threads: The number of threads, in groups that vary it.
        mode: The mode, in groups that vary it.
    """

    group: str
    what: str
    unit: str
    size: int
    threads: int | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """The median and the spread of some values."""

    median: float
    q1: float
    q3: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise at least one value. The quartiles of a single value equal the value."""
        if len(values) == 1:
            q1 = median = q3 = values[0]
        else:
            q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, q1, q3, min(values), max(values), len(values))


@dataclass(frozen=True, slots=True)
class Sample:
    """The measurements of one subject, over all rounds.

    Attributes:
        of_limit: The values divided by the values of the limit. The two values of each pair were
            measured one right after the other.
        of_one_thread: The values divided by the values of the same work on one thread, also in
            pairs.
    """

    subject: Subject
    spread: Spread
    of_limit: Spread | None = None
    of_one_thread: Spread | None = None


@dataclass(slots=True)
class Record:
    """The values of all subjects, collected during a run."""

    _values: dict[Subject, list[float]] = field(default_factory=dict)
    _ratios: dict[tuple[Subject, str], list[float]] = field(default_factory=dict)

    def add(
        self,
        subject: Subject,
        value: float,
        *,
        limit: float | None = None,
        one_thread: float | None = None,
    ) -> None:
        """Add one round's value, with the reference values of its ratios."""
        self._values.setdefault(subject, []).append(value)
        for name, base in (("limit", limit), ("one_thread", one_thread)):
            if base is not None:
                self._ratios.setdefault((subject, name), []).append(value / base)

    def drop(self, subject: Subject) -> None:
        """Remove a subject and its values."""
        self._values.pop(subject, None)

    def samples(self) -> tuple[Sample, ...]:
        """Return a sample per subject, in the order in which subjects were first added."""
        return tuple(
            Sample(
                subject,
                Spread.of(values),
                self._ratio(subject, "limit"),
                self._ratio(subject, "one_thread"),
            )
            for subject, values in self._values.items()
        )

    def _ratio(self, subject: Subject, name: str) -> Spread | None:
        ratios = self._ratios.get((subject, name))
        return Spread.of(ratios) if ratios else None


@dataclass(frozen=True, slots=True)
class Heat:
    """A group of measurements that are compared, and so are taken one right after the other.

    Attributes:
        run: Takes the measurements once; its argument is the round's number.
        weight: The quantity that determines the heat's time, or 0 if it always fits.
    """

    run: Callable[[int], None]
    weight: int = 0


def take_rounds(
    heats: Sequence[Heat],
    *,
    seconds: float,
    least: int = LEAST_ROUNDS,
    most: int = MOST_ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Run heats, the lightest first, round after round until `seconds` have passed.

    A heat takes part only if `least` rounds of it and of all lighter heats fit into the time,
    estimated from the times of the lighter heats. The two lightest heats always take part, with at
    least `least` rounds.

    Returns:
        The number of heats that took part.
    """
    deadline = clock() + seconds
    costs: list[float] = []
    for heat in heats:
        owed = sum(costs) * (least - 1) + least * _estimate(heats, costs)
        if len(costs) >= 2 and heat.weight and clock() + owed > deadline:
            break
        costs.append(_timed(heat, 0, clock))
    done = 1
    while done < most and (done < least or clock() + sum(costs) <= deadline):
        for index in range(len(costs)):
            costs[index] = _timed(heats[index], done, clock)
        done += 1
    return len(costs)


def size_name(size: float) -> str:
    """Return a size in binary units."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} B"


def _timed(heat: Heat, number: int, clock: Callable[[], float]) -> float:
    started = clock()
    heat.run(number)
    return clock() - started


def _estimate(heats: Sequence[Heat], costs: Sequence[float]) -> float:
    """Return the expected time of the next heat, on a line through the times of the last two."""
    count = len(costs)
    if count < 2 or heats[count - 1].weight == heats[count - 2].weight:
        return costs[-1] if costs else 0.0
    slope = (costs[-1] - costs[-2]) / (heats[count - 1].weight - heats[count - 2].weight)
    return costs[-1] + max(slope, 0) * (heats[count].weight - heats[count - 1].weight)
