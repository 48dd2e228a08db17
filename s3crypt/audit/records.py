# SPDX-License-Identifier: Apache-2.0
"""Findings as values of JSON and back, for the journal of an audit and for its JSON lines."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from .controls import CONTROLS
from .values import Finding, Fix, Resource, Verdict


def to_record(finding: Finding) -> dict[str, Any]:
    """Return a finding in values of JSON, without the fields that have their default."""
    resource, fix = finding.resource, finding.fix
    record: dict[str, Any] = {
        "control": finding.control.id,
        "resource": {
            "kind": resource.kind,
            "arn": resource.arn,
            "account": resource.account,
            "region": resource.region,
        },
        "verdict": finding.verdict.value,
        "seen": finding.seen,
        "cause": finding.cause,
        "since": finding.since.isoformat() if finding.since else None,
        "fix": {"kind": fix.kind, "text": fix.text} if fix else None,
        "count": finding.count,
        "looked_at": finding.looked_at,
        "sampled_from": finding.sampled_from,
        "examples": list(finding.examples),
        "is_claimed": finding.is_claimed,
        "missing_actions": list(finding.missing_actions),
    }
    # A sample from an unknown number of objects has a 0 there, which is no default.
    return {
        name: value
        for name, value in record.items()
        if value not in (None, "", [], False) or (name == "sampled_from" and value is not None)
    }


def from_record(record: Mapping[str, Any]) -> Finding:
    """Return the finding of a record.

    Raises:
        KeyError: There is no such control, or the record is no finding's.
        ValueError: A value is none of those that findings have.
    """
    resource = record["resource"]
    fix, since = record.get("fix"), record.get("since")
    return Finding(
        control=CONTROLS[record["control"]],
        resource=Resource(**resource),
        verdict=Verdict(record["verdict"]),
        seen=str(record.get("seen", "")),
        cause=str(record.get("cause", "")),
        since=datetime.fromisoformat(since) if since else None,
        fix=Fix(**fix) if fix else None,
        count=int(record.get("count", 0)),
        looked_at=int(record.get("looked_at", 0)),
        sampled_from=cast("int | None", record.get("sampled_from")),
        examples=tuple(record.get("examples", ())),
        is_claimed=bool(record.get("is_claimed")),
        missing_actions=tuple(record.get("missing_actions", ())),
    )
