# SPDX-License-Identifier: Apache-2.0
"""A report of `s3crypt audit` as text. The worst resource comes first; commands are not wrapped."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .output import counted, wrapped

if TYPE_CHECKING:
    from s3crypt.audit.report import Report
    from s3crypt.audit.values import Finding

_WORDS = {"open": "fails", "accepted": "fails, accepted", "unknown": "unknown"}


def text(report: "Report") -> Iterator[str]:
    """Yield the lines of a report."""
    from s3crypt.audit.report import control_order  # noqa: PLC0415 - it loads boto3

    for resource, findings in report.by_resource():
        where = f" ({resource.region})" if resource.region else ""
        yield f"{resource.arn}{where}"
        for finding in findings:
            if report.state(finding) != "pass":
                yield from _finding(report, finding)
        passed = sorted(
            {f.control.id for f in findings if report.state(f) == "pass"}, key=control_order
        )
        if passed:
            yield from wrapped(f"passes {', '.join(passed)}")
        yield ""
    for covered in report.run.objects:
        yield f"objects: {covered}"
    for note in report.notes():
        yield f"note: {note}"
    yield summary(report)


def summary(report: "Report") -> str:
    """Return the counts in one line."""
    counts = report.counts()
    severities = [f"{count:,} {name}" for name, count in report.severities().items() if count]
    worst = f" ({', '.join(severities)})" if severities else ""
    resources = len({finding.resource for finding in report.findings})
    return (
        f"{counted(len(report.findings), 'finding')} about {counted(resources, 'resource')}: "
        f"{counts['open']:,} open{worst}, {counts['unknown']:,} unknown, "
        f"{counts['accepted']:,} accepted, {counts['pass']:,} pass"
    )


def _finding(report: "Report", finding: "Finding") -> Iterator[str]:
    control = finding.control
    yield from wrapped(
        f"{_WORDS[report.state(finding)]}  {control.severity.label}  {control.id}  {control.title}"
    )
    for name, value in _facts(report, finding):
        yield from wrapped(f"{name}: {value}", indent="    ")
    if finding.fix:
        yield f"    fix it with{' this policy' if finding.fix.kind == 'policy' else ''}:"
        # Commands are never wrapped, and not indented if a here-document would include the spaces.
        indent = "" if "<<" in finding.fix.text else "    "
        yield from (f"{indent}{line}" for line in finding.fix.text.splitlines())


def _facts(report: "Report", finding: "Finding") -> Iterator[tuple[str, str]]:
    yield "seen", finding.seen
    if counted := report.numbers(finding):
        yield "objects", counted
    if finding.is_claimed:
        yield "claimed", "this finding relies on metadata that the objects' writers chose"
    if finding.examples:
        yield "such as", ", ".join(finding.examples)
    if finding.since:
        yield "since", finding.since.isoformat(timespec="seconds")
    yield "why", finding.control.why
    if finding.missing_actions:
        yield "needs", ", ".join(finding.missing_actions)
    if entry := report.acceptance(finding):
        yield "accepted", f"by {entry.owner} until {entry.expires}: {entry.reason}"
