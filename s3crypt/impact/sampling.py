# SPDX-License-Identifier: Apache-2.0
"""The sizes of the sampled versions, and the bounds for the whole scope that follow from them."""

from dataclasses import dataclass, field

from s3crypt.inventories import Sizes, bounds, byte_bounds

from .deciding import Kind
from .report import Range, Sampled

_METHOD = (
    "99 % each: numbers exactly (hypergeometric), bytes by these numbers and the sizes of all "
    "versions"
)


@dataclass(slots=True)
class Sample:
    """The numbers and sizes of the sampled versions that were examined, by relation to the key.

    Attributes:
        sure: The number of versions that only the key opens.
        possible: The number of these versions plus the number of undecided versions.
        looked_at: The number of all versions that were examined.
    """

    sure: int = 0
    possible: int = 0
    looked_at: int = 0
    _sure_sizes: Sizes = field(default_factory=Sizes)
    _possible_sizes: Sizes = field(default_factory=Sizes)
    _sizes: Sizes = field(default_factory=Sizes)

    def add(self, kind: Kind, size: int | None) -> None:
        """Add a version that was examined. `size` is its stored bytes, or None if unknown."""
        is_sure = kind == "only"
        is_possible = is_sure or kind == "unknown"
        self.looked_at += 1
        self.sure += is_sure
        self.possible += is_possible
        self._sizes.add(size or 0)
        if is_sure:
            self._sure_sizes.add(size or 0)
        if is_possible:
            self._possible_sizes.add(size or 0)

    def bounds(self, seed: int, count: int, sizes: Sizes | None) -> Sampled:
        """Return the sample with the bounds that follow from it.

        Args:
            seed: The seed with which the sample was drawn.
            count: The number of versions in the scope.
            sizes: The sizes of all versions in the scope. None if a size is unknown.
        """
        looked_at = self.looked_at
        if not looked_at:
            # Every sampled version was deleted before it was examined.
            return Sampled(0, count, seed, Range(0, 0, count), None, _METHOD)
        versions = Range(
            bounds(self.sure, looked_at, count).low,
            round(count * self.sure / looked_at),
            bounds(self.possible, looked_at, count).high,
        )
        return Sampled(looked_at, count, seed, versions, self._of_bytes(sizes), _METHOD)

    def _of_bytes(self, sizes: Sizes | None) -> Range | None:
        if sizes is None:
            return None
        low = byte_bounds(self._sure_sizes, self._sizes, sizes).low
        high = byte_bounds(self._possible_sizes, self._sizes, sizes).high
        estimate = round(sizes.count * self._sure_sizes.total / self.looked_at)
        return Range(low, min(max(estimate, low), high), high)
