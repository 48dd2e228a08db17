# SPDX-License-Identifier: Apache-2.0
"""A report in the AWS Security Finding Format: one request of BatchImportFindings per line.

Source: https://docs.aws.amazon.com/securityhub/latest/userguide/securityhub-findings-format-syntax.html
BatchImportFindings accepts 100 findings per request. Texts are truncated to the lengths that the
service accepts. A fix that is too long is omitted, because a truncated command could do something
else.
"""

from collections.abc import Iterator
from typing import Any

from .jsonl import line, moment
from .report import Report, required_by
from .values import Finding, Severity, Verdict

_BATCH = 100
_STATUSES = {Verdict.PASS: "PASSED", Verdict.FAIL: "FAILED", Verdict.UNKNOWN: "NOT_AVAILABLE"}
_TYPES = {
    "account": "AwsAccount",
    "bucket": "AwsS3Bucket",
    "key": "AwsKmsKey",
    "trail": "AwsCloudTrailTrail",
}
# Resources of the kind `policy` are IAM's: managed policies, and the owners of inline policies.
_POLICY_TYPES = {"policy": "AwsIamPolicy", "role": "AwsIamRole", "user": "AwsIamUser",
                 "group": "AwsIamGroup"}  # fmt: skip
_FINDING_TYPE = "Software and Configuration Checks/AWS Security Best Practices"
_MOST_REQUIREMENTS = 32


def asff(report: Report) -> Iterator[str]:
    """Yield the lines of a report, each the input of `aws securityhub batch-import-findings`."""
    for start in range(0, len(report.findings), _BATCH):
        batch = report.findings[start : start + _BATCH]
        yield line({"Findings": [_finding(report, finding) for finding in batch]})


def _finding(report: Report, finding: Finding) -> dict[str, Any]:
    run, control = report.run, finding.control
    partition = run.identity.split(":")[1]
    product = (
        f"arn:{partition}:securityhub:{run.region}:{run.account}:product/{run.account}/default"
    )
    made: dict[str, Any] = {
        "SchemaVersion": "2018-10-08",
        "Id": f"s3crypt/{control.id}/{finding.id}",
        "ProductArn": product,
        "GeneratorId": f"s3crypt/{control.id}",
        "AwsAccountId": run.account,
        "Types": [_FINDING_TYPE],
        "CreatedAt": moment(finding.since or run.began),
        "UpdatedAt": moment(run.ended),
        "Severity": _severity(finding),
        "Title": cut(f"{control.id} {control.title}", 256),
        "Description": cut(f"{report.seen(finding)} {control.why}", 1024),
        "Resources": [_resource(finding, partition)],
        "Compliance": _compliance(finding),
        "ProductFields": _product_fields(report, finding),
        "RecordState": "ACTIVE",
    }
    if finding.fix:
        made["Remediation"] = {"Recommendation": {"Text": _recommendation(finding.fix.text)}}
    return made


def _severity(finding: Finding) -> dict[str, str]:
    label = finding.control.severity.name
    # Security Hub's own controls label a passed finding INFORMATIONAL, too.
    shown = Severity.INFORMATIONAL.name if finding.verdict is Verdict.PASS else label
    return {"Label": shown, "Original": label}


def _recommendation(fix: str) -> str:
    return (
        fix if len(fix) <= 512 else "Run `s3crypt audit`: its command is too long for this field."
    )


def _resource(finding: Finding, partition: str) -> dict[str, Any]:
    resource = finding.resource
    kind = _TYPES.get(resource.kind, "Other")
    if resource.kind == "policy":
        kind = _POLICY_TYPES.get(resource.arn.rpartition(":")[2].partition("/")[0], "Other")
    found: dict[str, Any] = {"Type": kind, "Id": cut(resource.arn, 512), "Partition": partition}
    if resource.region:
        found["Region"] = resource.region
    if resource.kind == "objects":
        counts = {"Count": finding.count, "LookedAt": finding.looked_at}
        if finding.sampled_from is not None:
            counts["SampledFrom"] = finding.sampled_from
        found["Details"] = {"Other": {name: str(value) for name, value in counts.items()}}
    return found


def _compliance(finding: Finding) -> dict[str, Any]:
    found: dict[str, Any] = {
        "Status": _STATUSES[finding.verdict],
        "SecurityControlId": finding.control.id,
    }
    if finding.control.requirements:
        named = [required_by([each]) for each in finding.control.requirements]
        found["RelatedRequirements"] = named[:_MOST_REQUIREMENTS]
    if finding.verdict is Verdict.UNKNOWN:
        code = "ACCESS_DENIED" if finding.missing_actions else "NOT_KNOWN"
        found["StatusReasons"] = [{"ReasonCode": code, "Description": cut(finding.seen, 1024)}]
    return found


def _product_fields(report: Report, finding: Finding) -> dict[str, str]:
    fields = {
        "s3crypt/Version": report.run.version,
        "s3crypt/Verdict": finding.verdict.value,
        "s3crypt/Caller": report.run.identity,
    }
    if finding.cause:
        fields["s3crypt/Cause"] = cut(finding.cause, 2048)
    if finding.missing_actions:
        fields["s3crypt/MissingActions"] = cut(", ".join(finding.missing_actions), 2048)
    if entry := report.acceptance(finding):
        fields["s3crypt/AcceptedBy"] = cut(entry.owner, 2048)
        fields["s3crypt/AcceptedUntil"] = entry.expires.isoformat()
        fields["s3crypt/AcceptedBecause"] = cut(entry.reason, 2048)
    return fields


def cut(text: str, most: int) -> str:
    """Return a text truncated to `most` characters; three dots mark a truncation."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
