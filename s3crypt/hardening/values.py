# SPDX-License-Identifier: Apache-2.0
"""What is wanted of a bucket, what was seen, and what is to be done about it: frozen values.

Nothing here makes a request or decides. `looking` fills `Seen`, `decisions` makes a `Plan` of it,
and `mechanisms` acts on each `Change`.
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
"""A part of the configuration that an obstacle holds back."""

OBSTACLES: Mapping[ObstacleName, str] = {
    "acl-grants": "the access list grants rights to somebody else than the owner",
    "expiring-objects": "a rule expires objects and keeps their versions",
    "foreign-readers": "the policy lets other accounts read or write objects",
    "other-replication": "the bucket is replicated somewhere else",
    "public-policy": "the policy makes the bucket public",
    "replication-rules": "a replication rule leaves SSE-KMS objects out",
    "service-writers": "an AWS service writes to the bucket",
    "sse-c-objects": "objects are under customer keys (SSE-C)",
}
ROLE_PATH = "/s3crypt/"
TAG = "s3crypt:bucket"
"""The tag of the keys and roles that were made for a bucket; its value is the bucket."""
_LONGEST_ROLE_NAME = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `bucket init` and `bucket harden` are asked for.

    Attributes:
        bucket: Its name.
        may_create: Whether the bucket is made if it is absent.
        logs: The bucket that receives the access log where none receives it yet.
        trail: Whether a trail records the data events of all buckets.
        lock: Whether Object Lock is turned on, which cannot be undone.
        replica: The Region to replicate to, or None.
        despite: The obstacles that hold nothing back.

    Raises:
        ConfigError: A name is not one that AWS takes, or an obstacle is unknown.
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
                f"{unknown[0]!r} is no obstacle.", hint=f"There are: {', '.join(OBSTACLES)}."
            )

    @property
    def alias(self) -> str:
        """The alias of the bucket's own key; unique, because no bucket's name has an underscore."""
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
        """Return the ARN of the role that S3 replicates with."""
        return f"arn:{partition}:iam::{account}:role{ROLE_PATH}{self.role_name}"

    @property
    def role_name(self) -> str:
        """The name of the role that S3 replicates with."""
        name = f"s3crypt-replicate-{self.bucket}"
        if len(name) <= _LONGEST_ROLE_NAME:
            return name
        digest = sha256(self.bucket.encode()).hexdigest()[:8]
        return f"{name[: _LONGEST_ROLE_NAME - 9]}-{digest}"


@dataclass(frozen=True, slots=True)
class SeenKey:
    """A KMS key as KMS described it.

    Attributes:
        arn: Its ARN.
        state: KMS's own word, such as `Enabled`.
        multi_region: Whether it can have replicas in other Regions.
        manager: `CUSTOMER` or `AWS`.
        is_named: Whether the alias leads to it. An interrupted run leaves a key without one.
        is_ours: Whether it has our tag with the bucket's name.
    """

    arn: str
    state: str
    multi_region: bool
    manager: str = "CUSTOMER"
    is_named: bool = True
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class SeenRole:
    """The role of a replication: its ARN, whether our tag is on it, its trust policy, and ours."""

    arn: str
    is_ours: bool
    trust: Document
    policy: Document | None


@dataclass(frozen=True, slots=True)
class Seen:
    """All that the decision rests on, as it was read.

    Attributes:
        account: The caller's account, which the buckets must belong to.
        partition: `aws`, `aws-cn` or `aws-us-gov`.
        region: The Region of the bucket, or the one where it will be.
        bucket: Its configuration; None where there is no such bucket.
        logs: The configuration of the bucket of the access log, or None.
        replica: The configuration of the bucket of the replicas, or None.
        key: The key that is, or is to be, named by `Wanted.alias`.
        default_key: The key of the bucket's default encryption, or None.
        replica_key: The key of the replicas.
        role: The role of the replication.
        trails: The trails of the account; None where they were not looked for.
        samples: Objects that were looked at, by their bucket.
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
    """Create a key that rotates itself once a year, and name it."""

    alias: str
    region: str
    bucket: str
    policy: Document
    multi_region: bool


@dataclass(frozen=True, slots=True)
class NameKey:
    """Finish a key that an interrupted run left without its alias."""

    arn: str
    alias: str


@dataclass(frozen=True, slots=True)
class ReplicateKey:
    """Make a replica of a multi-Region key in another Region, and name it.

    Attributes:
        is_there: Whether the replica was there before and only lacks the name. It may serve others,
            so that undoing this does not delete it.
    """

    arn: str
    region: str
    alias: str
    is_there: bool = False


@dataclass(frozen=True, slots=True)
class CreateRole:
    """Create the role of a replication, with our tag."""

    name: str
    trust: Document
    bucket: str


@dataclass(frozen=True, slots=True)
class WriteRolePolicy:
    """Write the one policy of the role of a replication."""

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
    """Have a trail record the data events of every bucket, and record at all."""

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
"""The acts after which the ARN of a key is known, which later changes name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do.

    Attributes:
        subject: What is changed: `s3://acme`, a key's alias, a role.
        name: Which part of it; subject and name are unique in a plan.
        what: What is done, in words.
        controls: The controls of Security Hub that it serves.
        act: The request, as a value.
        undo: The command line that takes it back; None where nothing does.
    """

    subject: str
    name: str
    what: str
    controls: tuple[str, ...]
    act: Act
    undo: str | None

    @property
    def identity(self) -> tuple[str, str]:
        """What makes it the same change in a later plan, whose ARNs may be known by then."""
        return self.subject, self.name


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What would stop working.

    Attributes:
        name: What `--despite` names.
        what: What was seen and what would stop working.
        holds: The parts that are left as they are because of it.
    """

    name: ObstacleName
    what: str
    holds: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A control that the bucket does not pass after the plan, and why."""

    control: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done to a bucket, decided from what was seen.

    Attributes:
        bucket: Its name.
        changes: In the order in which they are made; empty where nothing is left to do.
        obstacles: Those that hold something back.
        accepted: Those that were seen and hold nothing back, because they were named.
        shortfalls: The controls that stay unmet.
        remarks: Sentences about what was left as it is.
    """

    bucket: str
    changes: tuple[Change, ...]
    obstacles: tuple[Obstacle, ...] = ()
    accepted: tuple[Obstacle, ...] = ()
    shortfalls: tuple[Shortfall, ...] = ()
    remarks: tuple[str, ...] = ()
