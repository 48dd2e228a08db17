# SPDX-License-Identifier: Apache-2.0
"""A report as SARIF 2.1.0, for code scanning and viewers.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
A resource is a logical location. GitHub rejects results without a physical location, so the ARN is
also given as the URI of an artifact.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from .jsonl import moment
from .report import Report, required_by
from .values import Control, Finding, Severity, Verdict

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFORMATIONAL: "note",
}
# Scores in GitHub's ranges: critical from 9.0, high from 7.0, medium from 4.0.
_SCORES = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "2.0",
    Severity.INFORMATIONAL: "0.0",
}
# In SARIF, the kind `open` means that there was not enough information for a decision.
_KINDS = {Verdict.FAIL: "fail", Verdict.UNKNOWN: "open", Verdict.PASS: "pass"}


def sarif(report: Report) -> Iterator[str]:
    """Yield the text of a report."""
    controls = {finding.control.id: finding.control for finding in report.findings}
    ids = sorted(controls)
    places = {name: place for place, name in enumerate(ids)}
    run = {
        "tool": {
            "driver": {
                "name": "s3crypt",
                "version": report.run.version,
                "rules": [_rule(controls[name]) for name in ids],
            }
        },
        "invocations": [_invocation(report)],
        "columnKind": "unicodeCodePoints",
        "results": [_result(report, each, places[each.control.id]) for each in report.findings],
    }
    document = {"version": "2.1.0", "$schema": _SCHEMA, "runs": [run]}
    yield json.dumps(document, indent=1) + "\n"


def _invocation(report: Report) -> dict[str, Any]:
    return {
        "executionSuccessful": True,
        "account": report.run.identity,
        "arguments": list(report.run.arguments),
        "startTimeUtc": moment(report.run.began),
        "endTimeUtc": moment(report.run.ended),
        "toolExecutionNotifications": [
            {"level": "warning", "message": {"text": note}} for note in report.notes()
        ],
        "properties": {"python": report.run.python, "counts": report.counts()},
    }


def _rule(control: Control) -> dict[str, Any]:
    related = required_by(control.requirements)
    return {
        "id": control.id,
        "name": "".join(word.title() for word in control.id.split(".")),
        "shortDescription": {"text": control.title},
        "fullDescription": {"text": control.why},
        "help": {"text": f"{control.why} {related}".strip()},
        "defaultConfiguration": {"level": _LEVELS[control.severity]},
        "properties": {
            "security-severity": _SCORES[control.severity],
            "precision": "very-high",
            "tags": ["security", "encryption"],
        },
    }


def _result(report: Report, finding: Finding, place: int) -> dict[str, Any]:
    kind = _KINDS[finding.verdict]
    result: dict[str, Any] = {
        "ruleId": finding.control.id,
        "ruleIndex": place,
        "kind": kind,
        # SARIF 2.1.0, 3.27.10: a result of any kind but `fail` has the level `none`.
        "level": _LEVELS[finding.control.severity] if kind == "fail" else "none",
        "message": {"text": _message(report, finding)},
        "locations": [_location(finding)],
        "partialFingerprints": {"s3cryptFinding/v1": finding.id},
        "properties": {
            "severity": finding.control.severity.label,
            "resource": finding.resource.arn,
            "since": moment(finding.since) if finding.since else None,
            "isClaimed": finding.is_claimed,
            "missingActions": list(finding.missing_actions),
        },
    }
    if entry := report.acceptance(finding):
        said = f"{entry.reason} ({entry.owner}, until {entry.expires})"
        accepted = {"kind": "external", "status": "accepted", "justification": said}
        result["suppressions"] = [accepted]
    return result


def _message(report: Report, finding: Finding) -> str:
    seen = report.seen(finding)
    return f"{seen} To fix it: {finding.fix.text}" if finding.fix else seen


def _location(finding: Finding) -> dict[str, Any]:
    arn = finding.resource.arn
    # Object names may contain characters that validators reject in a URI even when escaped.
    place = arn.partition("/")[0] if finding.resource.kind == "objects" else arn
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(place, safe="/:*@-._~")},
            "region": {"startLine": 1},
        },
        "logicalLocations": [
            {"fullyQualifiedName": arn, "name": arn.rpartition(":")[2], "kind": "resource"}
        ],
    }
