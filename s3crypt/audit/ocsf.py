# SPDX-License-Identifier: Apache-2.0
"""A report as a list of OCSF Detection Findings (class 2004). Prowler also writes this class.

Source: https://schema.ocsf.io/1.5.0/classes/detection_finding
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from .jsonl import fields, utc
from .report import Report
from .values import Finding, Severity, Verdict

_VERSION = "1.5.0"
_CLASS, _CREATE = 2004, 1
_SEVERITIES = {
    Severity.INFORMATIONAL: (1, "Informational"),
    Severity.LOW: (2, "Low"),
    Severity.MEDIUM: (3, "Medium"),
    Severity.HIGH: (4, "High"),
    Severity.CRITICAL: (5, "Critical"),
}
_STATES = {
    "open": (1, "New"),
    "unknown": (0, "Unknown"),
    "accepted": (3, "Suppressed"),
    "pass": (4, "Resolved"),
}
# Prowler's words for the verdicts. Tools that read Prowler's reports filter by them.
_CODES = {Verdict.FAIL: "FAIL", Verdict.UNKNOWN: "MANUAL", Verdict.PASS: "PASS"}


def ocsf(report: Report) -> Iterator[str]:
    """Yield the text of a report: a list of findings, one per line."""
    yield "["
    for place, finding in enumerate(report.findings):
        yield ",\n" if place else "\n"
        yield json.dumps(_finding(report, finding))
    yield "\n]\n"


def _finding(report: Report, finding: Finding) -> dict[str, Any]:
    run, resource, severity = report.run, finding.resource, finding.control.severity
    severity_id, severity_name = _SEVERITIES[severity]
    status_id, status = _STATES[report.state(finding)]
    made: dict[str, Any] = {
        "metadata": {
            "version": _VERSION,
            "product": {"name": "s3crypt", "vendor_name": "s3crypt", "version": run.version},
            "profiles": ["cloud"],
            "event_code": finding.control.id,
        },
        "class_uid": _CLASS,
        "class_name": "Detection Finding",
        "category_uid": _CLASS // 1000,
        "category_name": "Findings",
        "activity_id": _CREATE,
        "activity_name": "Create",
        "type_uid": _CLASS * 100 + _CREATE,
        "type_name": "Detection Finding: Create",
        "time": _milliseconds(run.ended),
        "severity_id": severity_id,
        "severity": severity_name,
        "status_id": status_id,
        "status": status,
        "status_code": _CODES[finding.verdict],
        "status_detail": finding.seen,
        "message": report.seen(finding),
        "finding_info": _info(report, finding),
        "resources": [_resource(finding)],
        "cloud": {
            "provider": "AWS",
            "account": {"uid": resource.account or run.account, "type": "AWS Account",
                        "type_id": 10},
            "region": resource.region or run.region,
        },
        "risk_details": finding.control.why,
        "unmapped": {"s3crypt": fields(report, finding)},
    }  # fmt: skip
    if finding.fix:
        made["remediation"] = {"desc": finding.fix.text}
    if entry := report.acceptance(finding):
        made["comment"] = f"{entry.reason} ({entry.owner}, until {entry.expires})"
    return made


def _info(report: Report, finding: Finding) -> dict[str, Any]:
    info: dict[str, Any] = {
        "uid": finding.id,
        "title": f"{finding.control.id} {finding.control.title}",
        "desc": finding.control.why,
        "created_time": _milliseconds(report.run.began),
        "types": ["S3 and KMS encryption"],
    }
    if finding.since:
        info["first_seen_time"] = _milliseconds(finding.since)
    return info


def _resource(finding: Finding) -> dict[str, Any]:
    resource = finding.resource
    return {
        "uid": resource.arn,
        "name": resource.arn.rpartition(":")[2],
        "type": resource.kind,
        "cloud_partition": resource.arn.split(":")[1] if resource.arn.count(":") > 1 else "aws",
        "region": resource.region,
        "data": {"examples": list(finding.examples)},
    }


def _milliseconds(when: datetime) -> int:
    return int(utc(when).timestamp() * 1000)
