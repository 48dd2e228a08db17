# SPDX-License-Identifier: Apache-2.0
"""Counts the judgements of objects and turns them into findings, in bounded memory.

Equal judgements become one finding, which has the number of objects and the names of at most ten
objects. Memory does not grow with the number of objects. This module makes no request.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeAlias

from .controls import CONTROLS
from .object_controls import Judgement
from .object_fixes import OTHERS, Failed, fix_of
from .values import MAX_EXAMPLES, Demands, Finding, Fix, ObjectVerdict, Resource, Verdict

Named: TypeAlias = tuple[str, str | None]
"""The name of an object, and its version id; None for the current version."""

# The largest number of groups that are counted separately. When it is reached, judgements with new
# causes, such as new keys, are counted together.
_MOST_GROUPS = 500
_MOST_ABOUTS = 10
_WORDS_OF_OTHERS = {
    Verdict.PASS: "pass for other reasons",
    Verdict.FAIL: "fail for other keys or modes",
    Verdict.UNKNOWN: "cannot be judged: there are too many reasons to count each",
}

Each: TypeAlias = Callable[[ObjectVerdict], None]


@dataclass(slots=True)
class _Group:
    """Equal judgements: their number, and the first names and `about` values in sorted order.

    Sorting makes a finding independent of the order in which threads finish, so the evidence of two
    runs can be compared.
    """

    judgement: Judgement
    count: int = 0
    abouts: list[str] = field(default_factory=list)
    own: dict[Named, str] = field(default_factory=dict)

    @property
    def names(self) -> list[Named]:
        """The names of the group's example objects, in order."""
        return list(self.own)

    def take(self, about: str, names: Iterable[Named]) -> None:
        """Add an `about` value and names. Keep only the first few of each in sorted order."""
        if about not in self.abouts:
            self.abouts = sorted((*self.abouts, about))[:_MOST_ABOUTS]
        for name in names:
            if len(self.own) < MAX_EXAMPLES or _order(name) < _order(next(reversed(self.own))):
                kept = sorted((*self.own, name), key=_order)[:MAX_EXAMPLES]
                self.own = {each: self.own.get(each, about) for each in kept}


def _order(named: Named) -> tuple[str, str]:
    name, version_id = named
    return name, version_id or ""


@dataclass(frozen=True, slots=True)
class Scope:
    """The objects that the findings are about.

    Attributes:
        resource: The objects of a bucket or below a prefix, as one resource.
        bucket: The name of the bucket.
        prefix: The URI prefix of all objects.
        demands: The requirements for the objects.
        remark: A text that is added to the `seen` sentence of each finding: the age of the
            inventory, and the size and the seed of the sample. Empty for a complete listing.
        sampled_from: The number of objects from which a sample was drawn; None if all objects were
            examined.
    """

    resource: Resource
    bucket: str
    prefix: str
    demands: Demands
    remark: str = ""
    sampled_from: int | None = None


class Tally:
    """Counts judgements. The methods are thread-safe.

    Args:
        each: Called with each verdict that is fail or unknown, by one thread at a time. None if it
            is not needed.
    """

    def __init__(self, each: Each | None = None) -> None:
        self._each = each
        self._groups: dict[tuple[str, Verdict, str], _Group] = {}
        self._looked_at: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def wants_names(self) -> bool:
        """Whether `add` needs the names of all objects, and not only the first `MAX_EXAMPLES`."""
        return self._each is not None

    def add(self, judgement: Judgement, count: int, names: Iterable[Named]) -> None:
        """Count a judgement of `count` objects.

        Args:
            judgement: The judgement, which is the same for all of the objects.
            count: The number of objects.
            names: The names of the objects. Only the first `MAX_EXAMPLES` are read, unless there is
                a callback `each`.
        """
        with self._lock:
            group = self._group(judgement)
            group.count += count
            known = self._looked_at.get(judgement.control, 0)
            self._looked_at[judgement.control] = known + count
            left = iter(names)
            first = list(islice(left, MAX_EXAMPLES))
            group.take(judgement.about, first)
            if self._each is not None and judgement.verdict is not Verdict.PASS:
                for name, version_id in (*first, *left):
                    told = judgement.verdict, judgement.cause, judgement.words
                    self._each(ObjectVerdict(name, version_id, judgement.control, *told))

    def _group(self, judgement: Judgement) -> _Group:
        key = (judgement.control, judgement.verdict, judgement.cause)
        is_new = judgement.cause and key not in self._groups
        if is_new and len(self._groups) >= _MOST_GROUPS:
            words = _WORDS_OF_OTHERS[judgement.verdict]
            judgement = replace(judgement, cause=OTHERS, words=words)
            key = (judgement.control, judgement.verdict, judgement.cause)
        return self._groups.setdefault(key, _Group(judgement))

    def findings(self, scope: Scope) -> Iterator[Finding]:
        """Yield one finding per group of equal judgements, in the order of the controls."""
        order = {control: number for number, control in enumerate(CONTROLS)}
        rank = {Verdict.FAIL: 0, Verdict.UNKNOWN: 1, Verdict.PASS: 2}
        groups = sorted(
            self._groups.values(),
            key=lambda each: (
                order[each.judgement.control],
                rank[each.judgement.verdict],
                each.judgement.cause,
            ),
        )
        for group in groups:
            yield _finding(group, self._looked_at[group.judgement.control], scope)


def _finding(group: _Group, looked_at: int, scope: Scope) -> Finding:
    judgement = group.judgement
    claim = ", as their metadata claims" if judgement.is_claimed else ""
    seen = f"{group.count:,} of {looked_at:,} objects {judgement.words}{claim}{scope.remark}."
    if not group.count:
        reason = judgement.words.removeprefix("cannot be judged: ")
        seen = f"Not all objects were judged: {reason}{scope.remark}."
    return Finding(
        control=CONTROLS[judgement.control],
        resource=scope.resource,
        verdict=judgement.verdict,
        seen=seen,
        cause=judgement.cause,
        fix=_fix(group, scope) if judgement.verdict is Verdict.FAIL else None,
        count=group.count,
        looked_at=looked_at,
        sampled_from=scope.sampled_from,
        examples=tuple(name for name, _ in group.names),
        is_claimed=judgement.is_claimed,
        missing_actions=judgement.denied,
    )


def _fix(group: _Group, scope: Scope) -> Fix:
    current = {name: about for (name, version), about in group.own.items() if version is None}
    failed = Failed(
        control=group.judgement.control,
        cause=group.judgement.cause,
        abouts=tuple(group.abouts),
        prefix=scope.prefix,
        names=tuple(f"s3://{scope.bucket}/{name}" for name in current),
        is_whole=group.count <= MAX_EXAMPLES and scope.sampled_from is None,
        own={f"s3://{scope.bucket}/{name}": about for name, about in current.items()},
    )
    return fix_of(failed, scope.demands)
