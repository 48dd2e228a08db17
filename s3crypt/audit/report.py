# SPDX-License-Identifier: Apache-2.0
"""The findings of one run, with the caller, the time, the arguments and the version of the run.

This module judges nothing and makes no request. Other modules of the package render the report:
`html`, `jsonl`, `sarif`, `asff` and `ocsf`.
"""

import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import s3crypt

from .baseline import NOTHING_ACCEPTED, Acceptance, Applied, Baseline, apply_baseline
from .values import Coverage, Finding, Requirement, Resource, Severity, Verdict

EXIT_OPEN = 3
EXIT_UNKNOWN = 1
# The states of a finding, from the worst to the best.
STATES = ("open", "unknown", "accepted", "pass")


@dataclass(frozen=True, slots=True)
class Run:
    """The facts about a run that its report contains.

    Attributes:
        identity: The ARN of the caller, as STS reports it.
        account: The account of the caller.
        region: The Region of the session.
        arguments: The arguments of the command, without secrets.
        began: When the run began.
        ended: When the run ended.
        version: The version of s3crypt.
        python: The version of Python.
        objects: The number of examined objects per bucket or prefix.
        notes: Remarks for the reader of the report, one sentence each.
    """

    identity: str
    account: str
    region: str
    arguments: tuple[str, ...]
    began: datetime
    ended: datetime
    version: str = s3crypt.__version__
    python: str = platform.python_version()
    objects: tuple[Coverage, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of a run, in an order that is the same in every run.

    Attributes:
        run: The caller, the time and the arguments of the run.
        findings: The findings, sorted by resource and control. `by_resource` returns them sorted by
            state and severity.
        baseline: The findings that a baseline accepts, and the entries without effect.
    """

    run: Run
    findings: tuple[Finding, ...]
    baseline: Applied = NOTHING_ACCEPTED

    def acceptance(self, finding: Finding) -> Acceptance | None:
        """Return the entry of the baseline that accepts a finding, or None."""
        return self.baseline.accepted.get(finding.id)

    def is_open(self, finding: Finding) -> bool:
        """Return whether a finding fails and is not accepted."""
        return finding.verdict is Verdict.FAIL and self.acceptance(finding) is None

    def counts(self) -> dict[str, int]:
        """Return the number of findings in each state, the worst state first."""
        counted = Counter(self.state(finding) for finding in self.findings)
        return {state: counted[state] for state in STATES}

    def severities(self) -> dict[str, int]:
        """Return the number of open findings of each severity, the highest severity first."""
        counted = Counter(f.control.severity for f in self.findings if self.is_open(f))
        return {each.label: counted[each] for each in reversed(Severity)}

    def state(self, finding: Finding) -> str:
        """Return the state of a finding, one of `STATES`."""
        if finding.verdict is Verdict.FAIL:
            return "open" if self.is_open(finding) else "accepted"
        return finding.verdict.value

    def notes(self) -> tuple[str, ...]:
        """Return the notes on the run and on the baseline, one sentence each."""
        return (*self.run.notes, *baseline_notes(self.baseline))

    def numbers(self, finding: Finding) -> str:
        """Return the number of objects in a finding, and the size of the sampled population.

        The result is empty for a finding that is not about objects. Objects to which the control
        does not apply are not counted, so the numbers may be less than the sample. The finding's
        `seen` has the size of the sample.
        """
        if finding.resource.kind != "objects":
            return ""
        counted = f"{finding.count:,} of {finding.looked_at:,} objects"
        if finding.sampled_from is None:
            return counted
        total = f"{finding.sampled_from:,}" if finding.sampled_from else "an unknown number"
        return f"{counted} in a sample from {total}"

    def seen(self, finding: Finding) -> str:
        """Return the sentence of a finding, with the number of objects if it is about objects."""
        counted = self.numbers(finding)
        return f"{finding.seen} ({counted})" if counted else finding.seen

    def by_resource(self) -> Iterator[tuple[Resource, list[Finding]]]:
        """Yield each resource with its findings. The worst resource and finding come first."""
        groups: dict[Resource, list[Finding]] = {}
        for finding in sorted(self.findings, key=self._badness):
            groups.setdefault(finding.resource, []).append(finding)
        yield from groups.items()

    def _badness(self, finding: Finding) -> tuple[Any, ...]:
        state = STATES.index(self.state(finding))
        control = finding.control
        return state, -control.severity, finding.resource.arn, control_order(control.id)


def make_report(run: Run, findings: Iterable[Finding], baseline: Baseline | None = None) -> Report:
    """Return the report of a run, with sorted findings and the baseline applied to them."""
    ordered = tuple(
        sorted(
            findings,
            key=lambda f: (f.resource.kind, f.resource.arn, control_order(f.control.id), f.cause),
        )
    )
    applied = NOTHING_ACCEPTED
    if baseline is not None:
        applied = apply_baseline(baseline, ordered, run.ended.date())
    return Report(run, ordered, applied)


def exit_code(report: Report, fail_on: Severity = Severity.HIGH) -> int:
    """Return 3 if a finding of this severity or above is open, else 1 if a finding is unknown.

    A mistake in the baseline counts like an unknown finding. Otherwise the exit code is 0.
    """
    is_open = (f.control.severity >= fail_on and report.is_open(f) for f in report.findings)
    if any(is_open):
        return EXIT_OPEN
    unknown = any(finding.verdict is Verdict.UNKNOWN for finding in report.findings)
    return EXIT_UNKNOWN if unknown or report.baseline.mistakes else 0


def control_order(control: str) -> tuple[str, int]:
    """Return a sort key that orders the ids of controls by their numbers: S3.5 before S3.15."""
    family, _, number = control.partition(".")
    return family, int(number) if number.isdigit() else 0


def required_by(requirements: Iterable[Requirement]) -> str:
    """Return the requirements on one line, by standard: `CIS AWS Foundations 5.0 2.1.1, ...`."""
    grouped: dict[str, list[str]] = {}
    for each in requirements:
        grouped.setdefault(each.standard, []).append(each.number)
    return "; ".join(f"{standard} {', '.join(found)}" for standard, found in grouped.items())


def baseline_notes(applied: Applied) -> Iterator[str]:
    """Yield a sentence for each entry of the baseline that had no effect."""
    yield from applied.mistakes
    for entry in applied.expired:
        yield f"The acceptance of {entry} by {entry.owner} expired on {entry.expires}."
    for entry in applied.unmatched:
        yield f"The acceptance of {entry} by {entry.owner} matches no failed finding."
