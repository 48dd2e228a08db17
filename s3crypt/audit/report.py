# SPDX-License-Identifier: Apache-2.0
"""The findings of one run with what is needed to repeat it: who, when, what was asked, which tool.

This module judges nothing and makes no request. The modules beside it render a report.
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
# The states of a finding, the worst first.
STATES = ("open", "unknown", "accepted", "pass")


@dataclass(frozen=True, slots=True)
class Run:
    """What a report says of its run.

    Attributes:
        identity: The ARN of the caller, as STS reports it.
        account: The account of the caller.
        region: The Region of the session.
        arguments: What was asked for, without secrets.
        began: When the run began.
        ended: When it ended.
        version: The version of s3crypt.
        python: The version of Python.
        objects: How many objects of each bucket or prefix were looked at.
        notes: What the reader of the report should know, such as a seed; a sentence each.
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
    """The findings of a run, in the same order in every run; `make_report` makes one.

    Attributes:
        run: Who asked, when and how.
        findings: By resource and control. `by_resource` has the worst first.
        baseline: What was accepted.
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
        """Return the number of open findings of each severity, the worst first."""
        counted = Counter(f.control.severity for f in self.findings if self.is_open(f))
        return {each.label: counted[each] for each in reversed(Severity)}

    def state(self, finding: Finding) -> str:
        """Return the state of a finding, one of `STATES`."""
        if finding.verdict is Verdict.FAIL:
            return "open" if self.is_open(finding) else "accepted"
        return finding.verdict.value

    def notes(self) -> tuple[str, ...]:
        """Return what the reader should know of the run and of the baseline, a sentence each."""
        return (*self.run.notes, *baseline_notes(self.baseline))

    def numbers(self, finding: Finding) -> str:
        """Return how many objects a finding speaks of, and whether of a sample; else nothing.

        The control may apply to a part of the sample only, whose size is among what was seen.
        """
        if finding.resource.kind != "objects":
            return ""
        counted = f"{finding.count:,} of {finding.looked_at:,} objects"
        if finding.sampled_from is None:
            return counted
        total = f"{finding.sampled_from:,}" if finding.sampled_from else "an unknown number"
        return f"{counted} in a sample from {total}"

    def seen(self, finding: Finding) -> str:
        """Return what was seen, with the number of objects if there are any."""
        counted = self.numbers(finding)
        return f"{finding.seen} ({counted})" if counted else finding.seen

    def by_resource(self) -> Iterator[tuple[Resource, list[Finding]]]:
        """Yield each resource with its findings; the worst resource and the worst finding first."""
        groups: dict[Resource, list[Finding]] = {}
        for finding in sorted(self.findings, key=self._badness):
            groups.setdefault(finding.resource, []).append(finding)
        yield from groups.items()

    def _badness(self, finding: Finding) -> tuple[Any, ...]:
        state = STATES.index(self.state(finding))
        control = finding.control
        return state, -control.severity, finding.resource.arn, control_order(control.id)


def make_report(run: Run, findings: Iterable[Finding], baseline: Baseline | None = None) -> Report:
    """Return the report of a run: its findings sorted, and accepted where the baseline says so."""
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
    """Return 3 if a finding of this severity or above is open, else 1 if something is unknown.

    A mistake in the baseline counts as unknown. Otherwise the exit code is 0.
    """
    is_open = (f.control.severity >= fail_on and report.is_open(f) for f in report.findings)
    if any(is_open):
        return EXIT_OPEN
    unknown = any(finding.verdict is Verdict.UNKNOWN for finding in report.findings)
    return EXIT_UNKNOWN if unknown or report.baseline.mistakes else 0


def control_order(control: str) -> tuple[str, int]:
    """Return what sorts ids of controls by their numbers: S3.5 before S3.15."""
    family, _, number = control.partition(".")
    return family, int(number) if number.isdigit() else 0


def required_by(requirements: Iterable[Requirement]) -> str:
    """Return the numbers of the standards in one line: `CIS AWS Foundations 5.0 2.1.1, ...`."""
    grouped: dict[str, list[str]] = {}
    for each in requirements:
        grouped.setdefault(each.standard, []).append(each.number)
    return "; ".join(f"{standard} {', '.join(found)}" for standard, found in grouped.items())


def baseline_notes(applied: Applied) -> Iterator[str]:
    """Yield a sentence for each entry of the baseline that did not count."""
    yield from applied.mistakes
    for entry in applied.expired:
        yield f"The acceptance of {entry} by {entry.owner} expired on {entry.expires}."
    for entry in applied.unmatched:
        yield f"The acceptance of {entry} by {entry.owner} matches no finding that fails."
