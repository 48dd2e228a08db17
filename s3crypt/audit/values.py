# SPDX-License-Identifier: Apache-2.0
"""Frozen values: controls, findings, and the requirements for objects.

This module makes no request and judges nothing. The modules that judge return findings, and the
modules that write a report read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from hashlib import sha256
from typing import Literal, TypeAlias

from s3crypt.errors import ConfigError

ResourceKind: TypeAlias = Literal["account", "bucket", "key", "objects", "policy", "trail"]
FixKind: TypeAlias = Literal["command", "policy"]

MAX_EXAMPLES = 10
"""The maximum number of object names in a finding."""


class Severity(IntEnum):
    """The severity of a failed control, on Security Hub's scale."""

    INFORMATIONAL = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def label(self) -> str:
        """The severity's name in lower case."""
        return self.name.lower()

    @classmethod
    def parse(cls, label: str) -> "Severity":
        """Return the severity with a label.

        Raises:
            ConfigError: No severity has this label.
        """
        try:
            return cls[label.upper()]
        except KeyError:
            known = ", ".join(each.label for each in cls)
            raise ConfigError(
                f"{label!r} is not a severity.", hint=f"The severities are: {known}."
            ) from None


class Verdict(StrEnum):
    """The verdict of a control about a resource. A control that does not apply has no finding."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A requirement of a standard that a control checks.

    Attributes:
        standard: The standard's name and version, such as `CIS AWS Foundations 5.0`.
        number: The requirement's number in the standard's spelling, such as `2.1.1`.
        source: The document that maps the control to this number.
    """

    standard: str
    number: str
    source: str


@dataclass(frozen=True, slots=True)
class Control:
    """A rule by which resources are judged.

    Attributes:
        id: Security Hub's id, such as `S3.5`, or s3crypt's own id, such as `S3CRYPT.1`.
        title: The requirement that a resource must meet, in one line.
        severity: The severity of a failed finding.
        why: The possible consequence of a failure, in one sentence.
        config_rule: The AWS Config rule with the same check, or None.
        prowler_check: Prowler's check with the same purpose, or None.
        requirements: The requirements of standards that the control checks.
    """

    id: str
    title: str
    severity: Severity
    why: str
    config_rule: str | None = None
    prowler_check: str | None = None
    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class Resource:
    """The resource that a finding is about.

    Attributes:
        kind: The kind of resource. `objects` means all objects of a bucket or below a prefix.
        arn: The resource's ARN. For objects, the ARN ends in the prefix and `*`.
        account: The 12-digit id of the account that owns the resource.
        region: The resource's Region.
    """

    kind: ResourceKind
    arn: str
    account: str
    region: str


@dataclass(frozen=True, slots=True)
class Fix:
    """The fix for a failed finding.

    Attributes:
        kind: `command` for shell commands that can be run as printed; `policy` for a policy
            document.
        text: The commands or the document.
    """

    kind: FixKind
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of one control about one resource.

    Attributes:
        control: The control.
        resource: The resource.
        verdict: Pass or fail. Unknown if a property of the resource could not be read.
        seen: The observation behind the verdict, in one sentence. For an unknown verdict, the
            reason why the control could not be judged.
        cause: A short, stable code that distinguishes findings of one control and resource.
        since: The time since which the observation holds, if known.
        fix: The fix for a failed finding, if there is one.
        count: The number of objects with this verdict and cause; 0 for other resources.
        looked_at: The number of objects to which the control was applied; 0 for other resources.
        sampled_from: The number of objects from which a sample was drawn; None if all objects were
            examined; 0 if the number is unknown.
        examples: The names of some of the objects, at most `MAX_EXAMPLES`.
        is_claimed: Whether the verdict rests on metadata, which the object's writer could choose.
        missing_actions: The IAM actions that the caller lacks to reach a verdict.
    """

    control: Control
    resource: Resource
    verdict: Verdict
    seen: str
    cause: str = ""
    since: datetime | None = None
    fix: Fix | None = None
    count: int = 0
    looked_at: int = 0
    sampled_from: int | None = None
    examples: tuple[str, ...] = ()
    is_claimed: bool = False
    missing_actions: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The finding's id, 32 hex digits.

        It is a hash of the control's id, the resource's ARN and the cause. The id is the same in
        every run.
        """
        parts = (self.control.id, self.resource.arn, self.cause)
        return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class ObjectVerdict:
    """The verdict of one control about one object that failed or could not be judged.

    Attributes:
        name: The object's name.
        version_id: The id of the version; None for the current version.
        control: The id of the control.
        verdict: Fail or unknown.
        cause: The cause of the judgement, as in the finding that counts the object.
        seen: The observation, as the predicate of a sentence about objects, such as `are not
            signed`.
    """

    name: str
    version_id: str | None
    control: str
    verdict: Verdict
    cause: str
    seen: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """The number of objects of a bucket or prefix that an audit examined.

    Attributes:
        uri: The bucket or prefix.
        objects: The number of examined objects. In an inventory, each version counts.
        sampled_from: The number of objects from which a sample was drawn; None if no sample was
            requested.
        is_whole: Whether the listing or the inventory was complete.
    """

    uri: str
    objects: int
    sampled_from: int | None = None
    is_whole: bool = True

    def __str__(self) -> str:
        noun = "object" if self.objects == 1 else "objects"
        counted = f"{self.objects:,} {noun} looked at"
        if self.sampled_from is not None:
            counted += f", a sample of {self.sampled_from:,}"
        elif self.is_whole and not self.objects:
            counted = "no objects were found"
        return (
            f"{self.uri}: {counted}{'' if self.is_whole else '; other objects could not be listed'}"
        )


@dataclass(frozen=True, slots=True)
class Demands:
    """The requirements for the objects of a bucket. An empty field means no requirement.

    Attributes:
        modes: The names of the approved modes, such as `sse-kms`.
        keys: The ARNs of the approved KMS keys.
        required_keys: References to keys, such as an escrow key. Each of these keys must have
            wrapped a data key of every client-side object.
        signed: Whether client-side objects must be signed.
        bound_names: Whether client-side objects must be bound to their names.
        material_days: The maximum age in days of key material that wraps data keys.
        key_files: SSE-C keys, 32 bytes each. Every SSE-C object must open with one of these keys.
    """

    modes: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    required_keys: tuple[str, ...] = ()
    signed: bool = False
    bound_names: bool = True
    material_days: int | None = None
    key_files: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply of an API, to be stored as evidence.

    `Evidence` removes secrets and object bytes from the request and the reply before it stores
    them.

    Attributes:
        service: Botocore's name of the service, such as `s3`.
        operation: The API's name of the operation, such as `GetBucketPolicy`.
        region: The Region to which the request was sent.
        request: The parameters of the request.
        reply: The reply or the error as botocore parsed it, without response metadata.
        moment: When the reply arrived.
    """

    service: str
    operation: str
    region: str
    request: Mapping[str, object]
    reply: Mapping[str, object]
    moment: datetime
