# SPDX-License-Identifier: Apache-2.0
"""Findings made by hand, of every verdict, severity and kind of resource.

Some names are hostile.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from s3crypt.audit.baseline import Acceptance, Baseline
from s3crypt.audit.controls import CONTROLS
from s3crypt.audit.report import Report, Run, make_report
from s3crypt.audit.values import Control, Finding, Fix, Resource, ResourceKind, Severity, Verdict

ACCOUNT = "123456789012"
BEGAN = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
ENDED = datetime(2026, 11, 28, 9, 5, 30, tzinfo=UTC)
# A bucket's owner can put this into a name: markup, quotes, line ends, text reordering.
HOSTILE = "</script><img src=x onerror=alert(1)>'\"&\n\u202egnp.exe\x1b[2J\x85"
BUCKET = Resource("bucket", "arn:aws:s3:::acme", ACCOUNT, "us-east-1")
OTHER_BUCKET = Resource("bucket", "arn:aws:s3:::logs", ACCOUNT, "eu-west-1")
OBJECTS = Resource("objects", f"arn:aws:s3:::acme/{HOSTILE}/*", ACCOUNT, "us-east-1")
KEY = Resource("key", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/12-34", ACCOUNT, "us-east-1")
TRAIL = Resource("trail", f"arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/t", ACCOUNT, "us-east-1")
POLICY = Resource("policy", f"arn:aws:iam::{ACCOUNT}:policy/team/all", ACCOUNT, "")
ACCOUNT_ITSELF = Resource("account", f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, "us-east-1")
UNBROKEN = "s3crypt policy apply " + "a-long-name-" * 12 + " s3://acme --yes"


def finding(
    control: str = "S3.5",
    verdict: Verdict = Verdict.FAIL,
    resource: Resource = BUCKET,
    **more: Any,
) -> Finding:
    """Return a finding with these values."""
    return Finding(CONTROLS[control], resource, verdict, more.pop("seen", "It was seen."), **more)


def of_severity(severity: Severity, verdict: Verdict = Verdict.FAIL) -> Finding:
    """Return a finding of a control with this severity."""
    control = Control(f"TEST.{severity}", "A title", severity, "A reason.")
    return Finding(control, BUCKET, verdict, "It was seen.")


FINDINGS = (
    finding(
        "S3.5",
        seen="The policy of the bucket has no statement that denies requests without TLS.",
        fix=Fix("command", UNBROKEN),
        since=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    ),
    finding("S3.17", Verdict.PASS, seen="The default encryption is SSE-KMS."),
    finding("S3.8", Verdict.PASS, OTHER_BUCKET),
    finding(
        "S3.1",
        Verdict.UNKNOWN,
        ACCOUNT_ITSELF,
        seen="Access denied.",
        missing_actions=("s3:GetAccountPublicAccessBlock",),
    ),
    finding("KMS.3", resource=KEY, seen="The key is to be deleted on 2026-12-05."),
    finding("KMS.1", resource=POLICY, fix=Fix("policy", '{\n  "Version": "2012-10-17"\n}')),
    finding("CloudTrail.2", resource=TRAIL, seen="x" * 3000, fix=Fix("command", "y" * 3000)),
    finding(
        "S3CRYPT.18",
        resource=OBJECTS,
        cause="no commitment",
        seen=f"Objects such as {HOSTILE} are without key commitment.",
        fix=Fix("command", f"s3crypt rotate '{HOSTILE}'"),
        count=3,
        looked_at=1000,
        sampled_from=1_000_000,
        examples=(HOSTILE, "2026/q3.csv"),
        is_claimed=True,
    ),
    finding("S3CRYPT.14", Verdict.PASS, OBJECTS, count=1000, looked_at=1000, sampled_from=0),
)
ACCEPTED = Acceptance("Old data.", "data team", date(2026, 12, 31), "KMS.1", "*")


def run(**more: Any) -> Run:
    """Return the description of an audit's run, with these values replaced."""
    values: dict[str, Any] = {
        "identity": f"arn:aws:sts::{ACCOUNT}:assumed-role/auditor/me",
        "account": ACCOUNT,
        "region": "us-east-1",
        "arguments": ("--account", "--fail-on", "high"),
        "began": BEGAN,
        "ended": ENDED,
        **more,
    }
    return Run(**values)


def report(*findings: Finding, baseline: Baseline | None = None) -> Report:
    """Return a report of these findings, or of all samples with one finding accepted."""
    accepted = Baseline(() if findings else (ACCEPTED,))
    return make_report(run(), findings or FINDINGS, baseline or accepted)


def kinds() -> set[ResourceKind]:
    """Return the kinds of resources among the samples."""
    return {each.resource.kind for each in FINDINGS}
