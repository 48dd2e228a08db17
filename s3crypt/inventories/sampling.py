# SPDX-License-Identifier: Apache-2.0
"""A uniform random sample of fixed size, drawn from a stream of unknown length."""

import math
import random
import secrets
from collections.abc import Iterator
from typing import Generic, TypeVar

from s3crypt.errors import ConfigError

T = TypeVar("T")


class Reservoir(Generic[T]):
    """A random sample of a stream: each item of the stream is in it with the same probability.

    The class implements algorithm L of Kim-Hung Li (1994). The algorithm draws random numbers only
    for items that enter the sample. It skips all other items without drawing a random number.

    Attributes:
        seed: The seed of the random numbers. The same seed and the same stream give the same
            sample.
        seen: The number of items of the stream so far.
        items: The items in the sample.
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
        """Yield the indices of the items that enter the sample, among the next `count` items.

        The caller must call `put` with each of these items before it requests the next index.
        """
        begin, self.seen = self.seen, self.seen + count
        while self._next < self.seen:
            yield self._next - begin

    def put(self, item: T) -> None:
        """Put an item into the sample. It must be the item whose index `places` yielded last."""
        if len(self.items) < self._size:
            self.items.append(item)
        else:
            self.items[self._random.randrange(self._size)] = item
        self._next += 1
        if len(self.items) == self._size:
            self._weight *= self._uniform() ** (1 / self._size)
            self._next += int(math.log(self._uniform()) / math.log1p(-self._weight))

    def _uniform(self) -> float:
        """Return a random number greater than 0 and less than 1."""
        return (self._random.getrandbits(53) + 0.5) / 2**53
