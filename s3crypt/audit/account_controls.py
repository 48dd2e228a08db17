# SPDX-License-Identifier: Apache-2.0
"""The controls of an account: its block of public access, its trails, its IAM policies.

The functions judge values that `looking` has read. They make no request.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from s3crypt.buckets.settings import PublicAccessBlock
from s3crypt.command_lines import aws
from s3crypt.errors import ConfigError
from s3crypt.policy import Document, Kind, Status, findings
from s3crypt.trail_settings import SeenTrail
from s3crypt.unseen import Unseen

from .controls import Judged
from .values import Finding

_KMS = {Kind.MANAGED: "KMS.1", Kind.ROLE: "KMS.2", Kind.USER: "KMS.2", Kind.GROUP: "KMS.2"}
# CloudTrail accepts at most this many basic event selectors per trail.
# https://docs.aws.amazon.com/awscloudtrail/latest/userguide/WhatIsCloudTrail-Limits.html
_MOST_SELECTORS = 5

Half: TypeAlias = Literal["reads", "writes"]


@dataclass(frozen=True, slots=True)
class SeenPolicy:
    """An IAM policy as IAM returned it.

    Attributes:
        judged: The resource of the finding: the managed policy itself, or the identity in which
            an inline policy is embedded.
        kind: Managed, or the kind of identity in which the policy is embedded.
        name: The policy's name.
        document: The policy document as IAM returned it.
        since: The time of the last change; None if IAM does not return it.
    """

    judged: Judged
    kind: Kind
    name: str
    document: str | Mapping[str, Any]
    since: datetime | None = None


def judge_public_access(judged: Judged, block: PublicAccessBlock | Unseen) -> Finding:
    """Return the finding about an account's block of public access."""
    if isinstance(block, Unseen):
        return judged.unknown("S3.1", block)
    if block.is_whole:
        return judged.passes("S3.1", "Public access is blocked in all four ways.")
    fix = aws(
        "s3control",
        "put_public_access_block",
        judged.resource.region,
        AccountId=judged.resource.account,
        PublicAccessBlockConfiguration=dict.fromkeys(_FOUR, True),
    )
    return judged.fails("S3.1", "Public access is not blocked in all four ways.", fix=fix)


_FOUR = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def judge_recording(
    judged: Judged, trails: Sequence[SeenTrail] | Unseen, new: str | None
) -> Iterator[Finding]:
    """Yield the findings on whether an account's trails record all reads and writes of objects.

    Args:
        judged: The account.
        trails: The trails that record the session's Region.
        new: The command that creates a trail for a bucket; None if no bucket was read.
    """
    halves: tuple[tuple[str, Half], ...] = (("S3.22", "writes"), ("S3.23", "reads"))
    for control, half in halves:
        if isinstance(trails, Unseen):
            yield judged.unknown(control, trails)
        else:
            yield _recording(judged, control, half, trails, new)


def _recording(
    judged: Judged, control: str, half: Half, trails: Sequence[SeenTrail], new: str | None
) -> Finding:
    word = half.removesuffix("s")
    wide = [each for each in trails if each.is_multi_region]
    for trail in wide:
        if trail.is_logging and getattr(trail, half):
            return judged.passes(control, f"The trail {trail.name} records every {word}.")
    unseen = [each for trail in wide for each in trail.unseen]
    if unseen:
        return judged.unknown(control, unseen[0])
    why = f"No multi-Region trail records every {word} of the objects of all buckets."
    # Suggest a change only of the account's own trails: an organization's trail can be changed only
    # by the account that owns it.
    own = [each for each in wide if each.arn.split(":")[4] == judged.resource.account]
    return judged.fails(control, why, fix=_recorded(own[0]) if own else new)


def _recorded(trail: SeenTrail) -> str | None:
    """Return the command that adds the events of all objects to a trail.

    Return None if the trail already has the largest number of basic event selectors.
    """
    partition = trail.arn.split(":")[1]
    advanced = trail.selectors.get("AdvancedEventSelectors")
    if advanced:
        fields = (("eventCategory", "Data"), ("resources.type", "AWS::S3::Object"))
        added = [{"Field": name, "Equals": [value]} for name, value in fields]
        arguments = {"AdvancedEventSelectors": [*advanced, {"FieldSelectors": added}]}
    else:
        basic = list(trail.selectors.get("EventSelectors") or ())
        if len(basic) >= _MOST_SELECTORS:
            return None
        resource = {"Type": "AWS::S3::Object", "Values": [f"arn:{partition}:s3"]}
        selector = {
            "ReadWriteType": "All",
            "IncludeManagementEvents": False,
            "DataResources": [resource],
        }
        arguments = {"EventSelectors": [*basic, selector]}
    line = aws("cloudtrail", "put_event_selectors", trail.region, TrailName=trail.arn, **arguments)
    if trail.is_logging:
        return line
    return f"{line} && {aws('cloudtrail', 'start_logging', trail.region, Name=trail.arn)}"


def judge_trail(judged: Judged, trail: SeenTrail) -> Finding:
    """Return the finding about the encryption of a trail's files."""
    if trail.is_encrypted:
        return judged.passes("CloudTrail.2", "The trail's files are encrypted under a KMS key.")
    return judged.fails("CloudTrail.2", "The trail's files are encrypted by SSE-S3.")


def judge_policy(seen: SeenPolicy) -> Finding:
    """Return the finding about an IAM policy."""
    control = _KMS[seen.kind]
    cause = "" if seen.kind is Kind.MANAGED else f"policy:{seen.name}"
    try:
        found = findings(Document.parse(seen.document), seen.kind)
    except ConfigError as error:
        unseen = Unseen("", f"The policy {seen.name}: {error}", is_refused=False)
        return seen.judged.unknown(control, unseen, cause=cause)
    for status in (Status.FAILED, Status.NOT_UNDERSTOOD):
        for each in found:
            if each.status is status:
                told = f"The policy {seen.name}, {each.statement}: {each.reason}"
                if status is Status.FAILED:
                    return seen.judged.fails(control, told, since=seen.since, cause=cause)
                unclear = Unseen("", f"Not understood. {told}", is_refused=False)
                return seen.judged.unknown(control, unclear, cause=cause)
    return seen.judged.passes(control, f"The policy {seen.name}: {found[0].reason}", cause=cause)
