# SPDX-License-Identifier: Apache-2.0
"""A sample of fixed size, drawn evenly from a stream whose length is not known before its end."""

import math
import random
import secrets
from collections.abc import Iterator
from typing import Generic, TypeVar

from s3crypt.errors import ConfigError

T = TypeVar("T")


class Reservoir(Generic[T]):
    """A sample of which every item of the stream is with the same probability.

    Algorithm L of Kim-Hung Li (1994): it draws random numbers for the items that enter the sample,
    and skips the others without a look.

    Attributes:
        seed: Draws the same sample of the same stream again.
        seen: Items of the stream so far.
        items: The sample.
    """

    def __init__(self, size: int, *, seed: int | None = None) -> None:
        if size < 1:
            raise ConfigError(f"A sample has one object at least, not {size}.")
        self.seed = secrets.randbits(32) if seed is None else seed
        self.seen = 0
        self.items: list[T] = []
        self._size = size
        self._random = random.Random(self.seed)  # noqa: S311 - a sample, no secret
        self._next = 0
        self._weight = 1.0

    def places(self, count: int) -> Iterator[int]:
        """Yield which of the next `count` items enter the sample; each has to be `put` at once."""
        begin, self.seen = self.seen, self.seen + count
        while self._next < self.seen:
            yield self._next - begin

    def put(self, item: T) -> None:
        """Put the item into the sample whose place was yielded."""
        if len(self.items) < self._size:
            self.items.append(item)
        else:
            self.items[self._random.randrange(self._size)] = item
        self._next += 1
        if len(self.items) == self._size:
            self._weight *= self._uniform() ** (1 / self._size)
            self._next += int(math.log(self._uniform()) / math.log1p(-self._weight))

    def _uniform(self) -> float:
        """Return a random number above 0 and below 1."""
        return (self._random.getrandbits(53) + 0.5) / 2**53
