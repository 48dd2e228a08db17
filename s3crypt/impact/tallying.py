# SPDX-License-Identifier: Apache-2.0
"""Count decisions about objects, in memory that does not grow with the number of objects."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .deciding import Decision, Kind
from .report import MAX_EXAMPLES, Counts, Failure, FailureKind, Group, Setting, Unknown

_ORDER = ("sse-kms", "dsse-kms", "client (header)", "client (metadata)", "s3ec")


@dataclass(slots=True)
class Tally:
    """The counts of one walk. Several threads may change them at the same time.

    Attributes:
        looked_at: All versions that were examined.
        settings: The settings that name the key.
        failures: The buckets and inventories that failed.
    """

    looked_at: Counts = field(default_factory=Counts)
    settings: list[Setting] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _found: dict[tuple[str, Kind], Counts] = field(default_factory=dict)
    _providers: Counter[str] = field(default_factory=Counter)
    _unknown: dict[tuple[str, str, tuple[str, ...]], Unknown] = field(default_factory=dict)

    def add(self, decision: Decision, counts: Counts, name: str) -> None:
        """Add versions that share one decision.

        `counts` has the number of versions and of bytes. `name` is the name of one of the versions,
        for the examples.
        """
        where, count = (decision.mode, decision.kind), counts.versions
        with self._lock:
            self.looked_at += counts
            if decision.kind == "unknown":
                hidden, denied = decision.hidden, decision.denied
                self.add_unknown("version", hidden, name, denied=denied, count=count)
            elif decision.kind != "other":
                self._found[where] = self._found.get(where, Counts()) + counts
            if decision.kind == "shared":
                self._providers.update(dict.fromkeys(decision.others, count))

    def add_unknown(
        self,
        what: str,
        hidden: str,
        name: str = "",
        *,
        denied: tuple[str, ...] = (),
        count: int = 1,
    ) -> None:
        """Count items for which it is unknown whether they depend on the key.

        `Unknown` describes the arguments; `name` is the name of one of the items.
        """
        where = what, hidden, denied
        with self._lock:
            known = self._unknown.get(where) or Unknown(what, hidden, 0, denied)
            examples = known.examples
            if name and len(examples) < MAX_EXAMPLES:
                examples = (*examples, name)
            self._unknown[where] = replace(known, count=known.count + count, examples=examples)

    def fail(self, subject: str, reason: str, kind: FailureKind) -> None:
        """Add a failure of a bucket or an inventory, unless `subject` already has a failure."""
        with self._lock:
            if all(each.subject != subject for each in self.failures):
                self.failures.append(Failure(subject, reason, kind))

    def count_of(self, kind: Kind) -> Counts:
        """Return the number of versions with this relation to the key, over all modes."""
        found = (counts for (_, each), counts in self._found.items() if each == kind)
        return sum(found, Counts())

    @property
    def groups(self) -> tuple[Group, ...]:
        """The objects that depend on the key, one group per mode."""
        return tuple(self._groups())

    def _groups(self) -> Iterator[Group]:
        modes = {mode for mode, _ in self._found}
        for mode in sorted(modes, key=lambda mode: (_ORDER.index(mode), mode)):
            kinds: tuple[Kind, ...] = ("only", "shared", "replica")
            yield Group(mode, *(self._found.get((mode, kind), Counts()) for kind in kinds))

    @property
    def providers(self) -> dict[str, int]:
        """For each provider of other keys: the number of dependent versions that its keys open."""
        return dict(sorted(self._providers.items()))

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """The undecided items, one entry per reason. The reason with the most items is first."""
        return tuple(sorted(self._unknown.values(), key=lambda each: (-each.count, each.hidden)))
