# SPDX-License-Identifier: Apache-2.0
"""Compares two reports, and finds the changes beyond the noise. Pure functions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .measure import LESS_IS_BETTER, Spread, Subject
from .report import Report

# Two undisturbed runs on one machine differ by a few per cent, because their memory lies in other
# pages, and the CPU's clock rate differs.
LEAST_CHANGE = 0.05
# If nothing changed, all values of one report exceed all values of the other by chance in 1 of 35
# comparisons of four rounds each, and in 1 of 10 comparisons of three rounds. From ten rounds on,
# chance makes the quartile ranges disjoint in less than 2 % of comparisons. With fewer rounds, it
# makes them disjoint too often.
LEAST_ROUNDS = 4
QUARTILES_FROM = 10
RULE = (
    f"A subject is better or worse if its medians differ by more than {LEAST_CHANGE:.0%} and its "
    f"values do not overlap: the quartiles of {QUARTILES_FROM} rounds or more, all values of fewer "
    f"rounds. Every other difference counts as noise. Fewer than {LEAST_ROUNDS} rounds are not "
    "compared."
)


@dataclass(frozen=True, slots=True)
class Change:
    """One subject in both reports.

    Attributes:
        verdict: better, worse, same, or unknown if there were too few rounds.
    """

    subject: Subject
    old: Spread
    new: Spread
    verdict: str

    @property
    def ratio(self) -> float:
        """Return the new median divided by the old one."""
        return self.new.median / self.old.median if self.old.median else float("inf")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The changes of all subjects that are in both reports.

    Attributes:
        taken: The time of the old report.
        warnings: Differences that make the reports hard to compare.
        only_old, only_new: The numbers of subjects in only one report.
    """

    taken: str
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]
    only_old: int
    only_new: int

    def beyond_noise(self) -> tuple[Change, ...]:
        """Return the changes whose verdict is better or worse."""
        return tuple(c for c in self.changes if c.verdict in ("better", "worse"))

    def verdict(self, subject: Subject) -> str | None:
        """Return the verdict on a subject, or None if it is not in both reports."""
        return next((c.verdict for c in self.changes if c.subject == subject), None)

    def counts(self) -> str:
        """Return one line with the number of subjects per verdict."""
        verdicts = [change.verdict for change in self.changes]
        said = [f"{verdicts.count(name)} {name}" for name in ("better", "worse", "same")]
        if unknown := verdicts.count("unknown"):
            said.append(f"{unknown} of too few rounds to tell")
        said += [f"{self.only_old} only in the old report"] if self.only_old else []
        said += [f"{self.only_new} only in this one"] if self.only_new else []
        return ", ".join(said)


def compare(old: Report, new: Report) -> Comparison:
    """Compare the subjects that are in both reports."""
    before = {sample.subject: sample.spread for sample in old.samples}
    after = {sample.subject: sample.spread for sample in new.samples}
    common = [subject for subject in after if subject in before]
    changes = tuple(
        Change(subject, before[subject], after[subject], _verdict(subject, before, after))
        for subject in common
    )
    return Comparison(
        taken=old.taken,
        changes=changes,
        warnings=(*_warnings(old, new), *_warnings_of_limits(changes)),
        only_old=len(before) - len(common),
        only_new=len(after) - len(common),
    )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as the JSON object that docs/command.md documents."""
    return {
        "taken": comparison.taken,
        "rule": RULE,
        "warnings": list(comparison.warnings),
        "only_old": comparison.only_old,
        "only_new": comparison.only_new,
        "changes": [_change_to_json(change) for change in comparison.changes],
    }


def _change_to_json(change: Change) -> dict[str, Any]:
    subject = {name: getattr(change.subject, name) for name in Subject.__dataclass_fields__}
    return subject | {
        "old": change.old.median,
        "new": change.new.median,
        "ratio": change.ratio,
        "verdict": change.verdict,
    }


def _verdict(subject: Subject, before: dict[Subject, Spread], after: dict[Subject, Spread]) -> str:
    old, new = before[subject], after[subject]
    rounds = min(old.rounds, new.rounds)
    if rounds < LEAST_ROUNDS:
        return "unknown"
    if rounds < QUARTILES_FROM:
        apart = new.least > old.most or new.most < old.least
    else:
        apart = new.q1 > old.q3 or new.q3 < old.q1
    if not apart or abs(new.median - old.median) <= LEAST_CHANGE * old.median:
        return "same"
    is_less = new.median < old.median
    return "better" if is_less == (subject.unit in LESS_IS_BETTER) else "worse"


def _warnings_of_limits(changes: Sequence[Change]) -> Iterator[str]:
    limits = [change for change in changes if change.subject.group == "limits"]
    changed = sum(change.verdict in ("better", "worse") for change in limits)
    if changed:
        yield (
            f"{changed} of {len(limits)} limits changed too, in which s3crypt has no part: "
            "the machine itself was in another state, or another library is at work."
        )


def _warnings(old: Report, new: Report) -> Iterator[str]:
    for what in ("cpu", "cores", "memory", "system"):
        one, other = getattr(old.machine, what), getattr(new.machine, what)
        if one != other:
            yield f"The machines differ: {what} was {one}, now {other}."
    for report, name in ((old, "old"), (new, "new")):
        if report.is_disturbed:
            yield f"Other work was running while the {name} report was taken."
    if old.files_on != new.files_on:
        yield f"Files were on {old.files_on or 'none'}, now on {new.files_on or 'none'}."
    places = [report.endpoint.host if report.endpoint else "" for report in (old, new)]
    if all(places) and places[0] != places[1]:
        yield f"Transfers went to {places[0]}, now to {places[1]}."
    for name in sorted({*old.versions, *new.versions}):
        one, other = old.versions.get(name, "none"), new.versions.get(name, "none")
        if one != other:
            yield f"The version of {name} was {one}, now {other}."
