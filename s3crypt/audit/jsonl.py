# SPDX-License-Identifier: Apache-2.0
"""A report as JSON Lines: one object per finding, then one per note, then a summary."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from .baseline import Acceptance
from .report import Report
from .values import Finding


def jsonl(report: Report) -> Iterator[str]:
    """Yield the lines of a report, each with its newline."""
    yield from finding_lines(report)
    for note in report.notes():
        yield line({"type": "note", "note": note})
    yield line({"type": "summary", **summary(report)})


def finding_lines(report: Report) -> Iterator[str]:
    """Yield a line per finding, in the same order in every run."""
    for finding in report.findings:
        yield line({"type": "finding", **fields(report, finding)})


def summary(report: Report) -> dict[str, Any]:
    """Return the run and its counts as JSON values."""
    run = report.run
    return {
        "tool": "s3crypt",
        "version": run.version,
        "python": run.python,
        "identity": run.identity,
        "account": run.account,
        "region": run.region,
        "arguments": list(run.arguments),
        "began": moment(run.began),
        "ended": moment(run.ended),
        "counts": report.counts(),
        "open": report.severities(),
        "objects": [
            {
                "uri": each.uri,
                "looked_at": each.objects,
                "sampled_from": each.sampled_from,
                "is_whole": each.is_whole,
            }
            for each in run.objects
        ],
    }


def fields(report: Report, finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON values. docs/audit.md documents the fields."""
    control = finding.control
    return {
        "id": finding.id,
        "control": control.id,
        "title": control.title,
        "severity": control.severity.label,
        "verdict": finding.verdict.value,
        "accepted": _acceptance(report.acceptance(finding)),
        "resource": asdict(finding.resource),
        "seen": finding.seen,
        "why": control.why,
        "cause": finding.cause,
        "since": moment(finding.since) if finding.since else None,
        "fix": asdict(finding.fix) if finding.fix else None,
        "count": finding.count,
        "looked_at": finding.looked_at,
        "sampled_from": finding.sampled_from,
        "examples": list(finding.examples),
        "is_claimed": finding.is_claimed,
        "missing_actions": list(finding.missing_actions),
        "config_rule": control.config_rule,
        "prowler_check": control.prowler_check,
        "requirements": [asdict(each) for each in control.requirements],
    }


def moment(when: datetime) -> str:
    """Return a time in UTC in the format of RFC 3339, with milliseconds and Z."""
    return utc(when).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(when: datetime) -> datetime:
    """Return a time in UTC. A time without a zone is taken as UTC."""
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def line(value: Any) -> str:
    """Return a value as one line of JSON, with its newline."""
    return json.dumps(value) + "\n"


def _acceptance(entry: Acceptance | None) -> dict[str, str] | None:
    if entry is None:
        return None
    return {"reason": entry.reason, "owner": entry.owner, "expires": entry.expires.isoformat()}
