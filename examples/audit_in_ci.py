# SPDX-License-Identifier: Apache-2.0
"""A step of a continuous-integration job that fails while a bucket breaks a rule.

    python examples/audit_in_ci.py acme findings.sarif

The step audits the configuration of the bucket, the key of its default encryption, and all objects.
It writes the findings as SARIF, which code hosts show beside a change. The exit code is 0 if there
is no finding of high severity, 1 if there is one, and 2 if the audit could not look at everything:
a step that sees nothing must not pass. `s3crypt audit` does the same with more options.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import boto3

from s3crypt import S3CryptError
from s3crypt.audit import Auditor
from s3crypt.audit.report import Report, Run, make_report
from s3crypt.audit.sarif import sarif
from s3crypt.audit.values import Demands, Severity, Verdict

# Objects in another mode fail. Accept further modes here, in a reviewed change.
APPROVED = Demands(modes=frozenset({"client", "sse-kms", "dsse-kms"}))


def audit(bucket: str) -> Report:
    """Return the report of an audit of a bucket and its objects."""
    session, began = boto3.Session(), datetime.now(UTC)
    auditor = Auditor(session=session)
    findings = list(auditor.configuration([bucket], account=False))
    findings += auditor.objects(f"s3://{bucket}", APPROVED)
    arn, account = auditor.identity.arn, auditor.identity.caller.account or ""
    run = Run(arn, account, session.region_name, (bucket,), began, datetime.now(UTC))
    return make_report(run, findings)


def main(arguments: list[str]) -> int:
    """Audit a bucket, write the SARIF file and print each finding; return the exit code."""
    bucket, path = arguments
    try:
        report = audit(bucket)
    except S3CryptError as error:
        print(error, error.hint or "", file=sys.stderr)
        return 2
    Path(path).write_text("".join(sarif(report)), encoding="utf-8")
    unseen = [each for each in report.findings if each.verdict is Verdict.UNKNOWN]
    failed = [each for each in report.findings if report.is_open(each)]
    for finding in [*failed, *unseen]:
        label = finding.control.severity.label
        print(f"{finding.control.id} {finding.verdict} ({label}): {report.seen(finding)}")
    if unseen:
        return 2
    return 1 if any(each.control.severity >= Severity.HIGH for each in failed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
