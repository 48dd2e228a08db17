# SPDX-License-Identifier: Apache-2.0
"""Counts decisions about objects, in memory that does not grow with the number of objects."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .deciding import Decision, Kind
from .report import MAX_EXAMPLES, Counts, Failure, FailureKind, Group, Setting, Unknown

_ORDER = ("sse-kms", "dsse-kms", "client (header)", "client (metadata)", "s3ec")


@dataclass(slots=True)
class Tally:
    """The counts of one walk, which several threads may change.

    Attributes:
        looked_at: All versions that were looked at.
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
        """Count versions to which the key has the same meaning; `name` is one of them."""
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
        """Count items that cannot be decided."""
        where = what, hidden, denied
        with self._lock:
            known = self._unknown.get(where) or Unknown(what, hidden, 0, denied)
            examples = known.examples
            if name and len(examples) < MAX_EXAMPLES:
                examples = (*examples, name)
            self._unknown[where] = replace(known, count=known.count + count, examples=examples)

    def fail(self, subject: str, reason: str, kind: FailureKind) -> None:
        """Note the first failure of a bucket or an inventory."""
        with self._lock:
            if all(each.subject != subject for each in self.failures):
                self.failures.append(Failure(subject, reason, kind))

    def count_of(self, kind: Kind) -> Counts:
        """Return the versions to which the key has a meaning, in all modes."""
        found = (counts for (_, each), counts in self._found.items() if each == kind)
        return sum(found, Counts())

    @property
    def groups(self) -> tuple[Group, ...]:
        """The dependents by mode."""
        return tuple(self._groups())

    def _groups(self) -> Iterator[Group]:
        modes = {mode for mode, _ in self._found}
        for mode in sorted(modes, key=lambda mode: (_ORDER.index(mode), mode)):
            kinds: tuple[Kind, ...] = ("only", "shared", "replica")
            yield Group(mode, *(self._found.get((mode, kind), Counts()) for kind in kinds))

    @property
    def providers(self) -> dict[str, int]:
        """The number of versions that another key opens, too, by that key's provider."""
        return dict(sorted(self._providers.items()))

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """The items that could not be decided, the most frequent reason first."""
        return tuple(sorted(self._unknown.values(), key=lambda each: (-each.count, each.hidden)))
