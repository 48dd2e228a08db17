# SPDX-License-Identifier: Apache-2.0
"""Controls, findings and what is demanded of objects: frozen values.

Nothing here makes a request or decides. The modules that judge return `Finding`; the modules that
write a report read it.
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
"""Names of objects that a finding keeps at most."""


class Severity(IntEnum):
    """How bad a failed control is, in the words of Security Hub."""

    INFORMATIONAL = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def label(self) -> str:
        """The word for it, in lower case."""
        return self.name.lower()

    @classmethod
    def parse(cls, label: str) -> "Severity":
        """Return the severity of a word.

        Raises:
            ConfigError: There is no such severity.
        """
        try:
            return cls[label.upper()]
        except KeyError:
            known = ", ".join(each.label for each in cls)
            raise ConfigError(f"{label!r} is no severity.", hint=f"There are: {known}.") from None


class Verdict(StrEnum):
    """What a control says of a resource. A control that does not apply has no finding."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Requirement:
    """The number under which a standard asks for what a control checks.

    Attributes:
        standard: Its name and version, such as `CIS AWS Foundations 5.0`.
        number: As the standard writes it, such as `2.1.1`.
        source: Where the number was found.
    """

    standard: str
    number: str
    source: str


@dataclass(frozen=True, slots=True)
class Control:
    """A rule that resources are judged by.

    Attributes:
        id: The id of Security Hub, such as `S3.5`, or our own, such as `S3CRYPT.1`.
        title: What the control demands, in one line.
        severity: Of a finding that fails.
        why: What can happen where the control fails, in one sentence.
        config_rule: The rule of AWS Config that checks the same, or None.
        prowler_check: Prowler's check of the same, or None.
        requirements: The numbers of standards, each with its source.
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
    """What a finding is about.

    Attributes:
        kind: `objects` stands for the objects of a bucket or below a prefix, together.
        arn: Its ARN. That of objects ends in the prefix and `*`.
        account: The account that it belongs to, 12 digits.
        region: Its Region.
    """

    kind: ResourceKind
    arn: str
    account: str
    region: str


@dataclass(frozen=True, slots=True)
class Fix:
    """What mends a finding.

    Attributes:
        kind: `command` for lines of a shell, executed as they are printed; `policy` for a document.
        text: The lines.
    """

    kind: FixKind
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of one control about one resource.

    Attributes:
        control: The control.
        resource: What it is about.
        verdict: Pass, fail, or unknown where something could not be seen.
        seen: What the verdict rests on, in one sentence; why not where the verdict is unknown.
        cause: A short code that tells findings of one control and resource apart; stable.
        since: The moment since when it is so, if known.
        fix: What mends it, for a finding that fails.
        count: Objects that the finding speaks of; 0 for other resources.
        looked_at: Objects that the control was applied to; 0 for other resources.
        sampled_from: Objects in the bucket or prefix that a sample was drawn from; None if all
            were looked at. It is 0 if their number is not known.
        examples: Names of some of the objects, at most `MAX_EXAMPLES`.
        is_claimed: Whether it rests on metadata that whoever wrote the object could choose.
        missing_actions: The IAM actions without which the verdict stays unknown.
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
        """The same for the same control, resource and cause in every run: 32 hex digits."""
        parts = (self.control.id, self.resource.arn, self.cause)
        return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class ObjectVerdict:
    """The verdict of one control about one object that failed it, or could not be judged.

    Attributes:
        name: The object's name.
        version_id: The version; None for the current one.
        control: The id of the control.
        verdict: Fail or unknown.
        cause: As the finding has it that counts the object.
        seen: What is so, as the end of a sentence about the object.
    """

    name: str
    version_id: str | None
    control: str
    verdict: Verdict
    cause: str
    seen: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many objects of a bucket or prefix an audit looked at.

    Attributes:
        uri: The bucket or prefix.
        objects: Objects looked at, each version of an inventory for itself.
        sampled_from: Objects that a sample was drawn from; None if all were to be looked at.
        is_whole: Whether the listing, or the inventory, could be read to its end.
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
            counted = "0 objects are there"
        return f"{self.uri}: {counted}{'' if self.is_whole else '; others could not be seen'}"


@dataclass(frozen=True, slots=True)
class Demands:
    """What is demanded of the objects of a bucket; what is left out is not demanded.

    Attributes:
        modes: The names of the approved modes, such as `sse-kms`.
        keys: The ARNs of the approved KMS keys.
        required_keys: Key references of which every client-side object needs a wrapped data key.
        signed: Whether client-side objects have to be signed.
        bound_names: Whether client-side objects have to be bound to their names.
        material_days: The age in days up to which key material may have wrapped a data key.
        key_files: The SSE-C keys, 32 bytes each, one of which has to open every SSE-C object.
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
    """One reply of an API, kept as evidence.

    Attributes:
        service: As botocore names it, such as `s3`.
        operation: The API's name of the operation, such as `GetBucketPolicy`.
        region: The Region that was asked.
        request: The parameters, without secrets.
        reply: The reply as botocore parsed it, or its error; no object's bytes.
        moment: When the reply came.
    """

    service: str
    operation: str
    region: str
    request: Mapping[str, object]
    reply: Mapping[str, object]
    moment: datetime
