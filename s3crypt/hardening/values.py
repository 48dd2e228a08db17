# SPDX-License-Identifier: Apache-2.0
"""Frozen values: the wanted state of a bucket, its present state, and the plan of its changes.

Requests and decisions do not belong here. `looking` fills `Seen`, `decisions` makes a `Plan` from
it, and `mechanisms` carries out each `Change`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal, TypeAlias

from s3crypt.buckets.configuration import Configuration
from s3crypt.buckets.settings import Setting, check_bucket_name
from s3crypt.errors import ConfigError
from s3crypt.objects.sampling import Sample
from s3crypt.policy import Document
from s3crypt.trail_settings import SeenTrail

ObstacleName: TypeAlias = Literal[
    "acl-grants",
    "expiring-objects",
    "foreign-readers",
    "other-replication",
    "public-policy",
    "replication-rules",
    "service-writers",
    "sse-c-objects",
]
Part: TypeAlias = Literal[
    "kms-default", "ownership", "public-access", "replication", "sse-c-block", "versioning"
]
"""A part of the configuration that an obstacle can keep unchanged."""

OBSTACLES: Mapping[ObstacleName, str] = {
    "acl-grants": "the access list grants rights to other principals than the owner",
    "expiring-objects": "a rule expires objects and keeps their versions",
    "foreign-readers": "the policy lets other accounts read or write objects",
    "other-replication": "the bucket is replicated to another place",
    "public-policy": "the policy makes the bucket public",
    "replication-rules": "a replication rule does not replicate SSE-KMS objects",
    "service-writers": "an AWS service writes to the bucket",
    "sse-c-objects": "objects are under customer keys (SSE-C)",
}
"""The reasons to leave a part of a bucket as it is, by name."""
ROLE_PATH = "/s3crypt/"
TAG = "s3crypt:bucket"
"""The tag of the KMS keys and roles that s3crypt made for a bucket. Its value is the bucket."""
_LONGEST_ROLE_NAME = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted state of a bucket, from the options of `bucket init` and `bucket harden`.

    Attributes:
        bucket: The name of the bucket.
        may_create: Whether to create the bucket if it does not exist.
        logs: The bucket for the access log. It is not used if the access log is already delivered
            to another bucket.
        trail: Whether a trail must record the data events of all buckets.
        lock: Whether to turn on Object Lock, which cannot be undone.
        replica: The Region to replicate to, or None.
        despite: The names of the obstacles to ignore.

    Raises:
        ConfigError: AWS does not accept a name, or an obstacle is unknown.
    """

    bucket: str
    may_create: bool = False
    logs: str = ""
    trail: bool = False
    lock: bool = False
    replica: str | None = None
    despite: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.logs:
            object.__setattr__(self, "logs", f"{self.bucket}-logs")
        check_bucket_name(self.bucket)
        check_bucket_name(self.logs)
        if self.logs == self.bucket:
            raise ConfigError(
                f"{self.bucket} cannot receive its own access log.",
                hint="Each delivery would be logged and delivered again: name another bucket.",
            )
        if self.replica is not None:
            check_bucket_name(self.replica_bucket)
        unknown = sorted(self.despite - OBSTACLES.keys())
        if unknown:
            raise ConfigError(
                f"{unknown[0]!r} is not an obstacle.",
                hint=f"The obstacles are: {', '.join(OBSTACLES)}.",
            )

    @property
    def alias(self) -> str:
        """The alias of the bucket's own KMS key.

        Dots become underscores, which bucket names never have, so no two buckets get the same
        alias.
        """
        return f"alias/s3crypt/{self.bucket.replace('.', '_')}"

    @property
    def replica_bucket(self) -> str:
        """The name of the bucket that receives the replicas."""
        return f"{self.bucket}-{self.replica}"

    @property
    def trail_name(self) -> str:
        """The name of the trail for data events."""
        return f"s3crypt-{self.bucket}"

    def role_arn(self, partition: str, account: str) -> str:
        """Return the ARN of the role that S3 assumes for replication."""
        return f"arn:{partition}:iam::{account}:role{ROLE_PATH}{self.role_name}"

    @property
    def role_name(self) -> str:
        """The name of the role that S3 assumes for replication."""
        name = f"s3crypt-replicate-{self.bucket}"
        if len(name) <= _LONGEST_ROLE_NAME:
            return name
        digest = sha256(self.bucket.encode()).hexdigest()[:8]
        return f"{name[: _LONGEST_ROLE_NAME - 9]}-{digest}"


@dataclass(frozen=True, slots=True)
class SeenKey:
    """The properties of a KMS key, from KMS's description.

    Attributes:
        arn: The key's ARN.
        state: The key's state as KMS names it, such as `Enabled`.
        multi_region: Whether the key can have replicas in other Regions.
        manager: `CUSTOMER` or `AWS`.
        is_named: Whether the alias names the key. False after an interrupted run.
        is_ours: Whether the key has s3crypt's tag with the bucket's name.
    """

    arn: str
    state: str
    multi_region: bool
    manager: str = "CUSTOMER"
    is_named: bool = True
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class SeenRole:
    """The present role of a replication.

    Attributes:
        arn: The ARN of the role.
        is_ours: Whether the role has s3crypt's tag.
        trust: The role's trust policy.
        policy: The inline policy that s3crypt wrote, or None.
    """

    arn: str
    is_ours: bool
    trust: Document
    policy: Document | None


@dataclass(frozen=True, slots=True)
class Seen:
    """The present state from which the changes of a bucket are decided.

    Attributes:
        account: The caller's account. The buckets must belong to it.
        partition: `aws`, `aws-cn` or `aws-us-gov`.
        region: The present or future Region of the bucket.
        bucket: The configuration of the bucket; None if there is no such bucket.
        logs: The configuration of the bucket for the access log, or None.
        replica: The configuration of the bucket for the replicas, or None.
        key: The key that `Wanted.alias` names or will name, or None.
        default_key: The KMS key of the bucket's default encryption, or None.
        replica_key: The KMS key for the replicas, or None.
        role: The role of the replication.
        trails: The trails of the account; None if they were not read.
        samples: Bucket -> a sample of its objects.
    """

    account: str
    partition: str
    region: str
    bucket: Configuration | None = None
    logs: Configuration | None = None
    replica: Configuration | None = None
    key: SeenKey | None = None
    default_key: SeenKey | None = None
    replica_key: SeenKey | None = None
    role: SeenRole | None = None
    trails: tuple[SeenTrail, ...] | None = None
    samples: Mapping[str, Sample] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WriteSetting:
    """Write one setting of a bucket."""

    bucket: str
    region: str
    setting: Setting


@dataclass(frozen=True, slots=True)
class CreateBucket:
    """Create a bucket."""

    bucket: str
    region: str


@dataclass(frozen=True, slots=True)
class CreateKey:
    """Create a KMS key with automatic rotation once a year, and give it the alias."""

    alias: str
    region: str
    bucket: str
    policy: Document
    multi_region: bool


@dataclass(frozen=True, slots=True)
class NameKey:
    """Complete a KMS key that an interrupted run created without the alias."""

    arn: str
    alias: str


@dataclass(frozen=True, slots=True)
class ReplicateKey:
    """Create a replica of a multi-Region key in another Region, and give it the alias.

    Attributes:
        is_there: Whether the replica existed before and only lacks the alias. Such a replica may
            have other uses, so undoing this act does not delete it.
    """

    arn: str
    region: str
    alias: str
    is_there: bool = False


@dataclass(frozen=True, slots=True)
class CreateRole:
    """Create the role of a replication, with s3crypt's tag."""

    name: str
    trust: Document
    bucket: str


@dataclass(frozen=True, slots=True)
class WriteRolePolicy:
    """Write the only policy of the role of a replication."""

    name: str
    document: Document


@dataclass(frozen=True, slots=True)
class CreateTrail:
    """Create a multi-Region trail."""

    name: str
    bucket: str
    region: str


@dataclass(frozen=True, slots=True)
class RecordDataEvents:
    """Make a trail record the data events of every bucket, and start the trail's logging."""

    arn: str
    region: str
    partition: str


Act: TypeAlias = (
    WriteSetting
    | CreateBucket
    | CreateKey
    | NameKey
    | ReplicateKey
    | CreateRole
    | WriteRolePolicy
    | CreateTrail
    | RecordDataEvents
)
KEY_ACTS = (CreateKey, NameKey, ReplicateKey)
"""The acts that make the ARN of a KMS key known. Later changes contain this ARN."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a plan.

    Attributes:
        subject: The changed resource: `s3://acme`, a key's alias, a role.
        name: The changed part of the subject. No two changes of a plan have the same subject and
            name.
        what: The description of the change, as shown to the user.
        controls: The controls of Security Hub that need the change.
        act: The request, as a value.
        undo: The command line that undoes the change; None if the change cannot be undone.
    """

    subject: str
    name: str
    what: str
    controls: tuple[str, ...]
    act: Act
    undo: str | None

    @property
    def identity(self) -> tuple[str, str]:
        """The subject and the name.

        They are the same in a later plan, in which more ARNs are known.
        """
        return self.subject, self.name


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A present use of the bucket that hardening would stop.

    Attributes:
        name: The obstacle's name for `--despite`.
        what: The description of the use, and of the failure that hardening would cause.
        holds: The parts of the configuration that stay unchanged because of the obstacle.
    """

    name: ObstacleName
    what: str
    holds: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A control that the bucket will not pass after the plan, with the reason.

    Attributes:
        control: The id of the control.
        why: The reason, as a sentence.
    """

    control: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes of a bucket, decided from its present state.

    Attributes:
        bucket: The name of the bucket.
        changes: The changes in the order in which they are made. Empty if the bucket is in the
            wanted state.
        obstacles: The obstacles that keep parts of the configuration unchanged.
        accepted: The obstacles that were found but are ignored, because `--despite` names them.
        shortfalls: The controls that the bucket will not pass.
        remarks: Sentences for the user about parts that stay unchanged and about lost rights.
    """

    bucket: str
    changes: tuple[Change, ...]
    obstacles: tuple[Obstacle, ...] = ()
    accepted: tuple[Obstacle, ...] = ()
    shortfalls: tuple[Shortfall, ...] = ()
    remarks: tuple[str, ...] = ()
