# SPDX-License-Identifier: Apache-2.0
"""The report on one key's dependents, as values. Makes no request; `documents` has its JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from s3crypt.kms import Clearance

from .deciding import Kind
from .target import Target

MAX_EXAMPLES = 3
"""The maximum number of objects that a report names per reason."""

FailureKind: TypeAlias = Literal["integrity", "storage"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of objects.

    Attributes:
        objects: The number of current versions.
        versions: The number of all versions, including the current ones.
        stored_bytes: The number of bytes that S3 stores for all versions.
    """

    objects: int = 0
    versions: int = 0
    stored_bytes: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.objects + other.objects,
            self.versions + other.versions,
            self.stored_bytes + other.stored_bytes,
        )


@dataclass(frozen=True, slots=True)
class Group:
    """The objects that depend on the key in one mode.

    Attributes:
        mode: `sse-kms`, `dsse-kms`, `client (header)`, `client (metadata)` or `s3ec`.
        only: The objects whose only way in is the key.
        shared: The objects that another key opens, too.
        replica: The objects that the key's replica in another Region opens, too, and no other key.
    """

    mode: str
    only: Counts = Counts()
    shared: Counts = Counts()
    replica: Counts = Counts()


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that names the key for data that is written in the future.

    Attributes:
        kind: `default encryption`, `replication`, `inventory`, `table bucket`, `table`,
            `vector bucket` or `vector index`.
        resource: The URI of the bucket, or the ARN of the resource.
    """

    kind: str
    resource: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Items whose dependence on the key could not be decided, for one reason.

    Attributes:
        what: The kind of the items: `version`, `upload`, `bucket`, `setting` or `inventory`.
        hidden: The reason, in a clause.
        count: The number of the items.
        denied: The IAM actions that the caller lacks to decide it.
        examples: The names of a few items.
    """

    what: str
    hidden: str
    count: int
    denied: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A bucket or inventory that failed while it was looked at.

    Attributes:
        subject: The URI.
        reason: The error's message.
        kind: Whether a checksum or a format was wrong, or the storage failed.
    """

    subject: str
    reason: str
    kind: FailureKind


@dataclass(frozen=True, slots=True)
class NotLookedAt:
    """A place that the walk does not cover, and that may depend on the key.

    Attributes:
        what: The kind of the place, such as `other buckets`.
        detail: The places, or the reason.
        items: The names of the places, if they are known.
    """

    what: str
    detail: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate with its bounds.

    Attributes:
        low: The lower bound.
        estimate: The estimate.
        high: The upper bound.
    """

    low: int
    estimate: int
    high: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """A random sample, and the bounds on the dependents of the whole.

    Attributes:
        size: The number of versions in the sample.
        population: The number of versions in the scope.
        seed: The seed, which reproduces the sample.
        versions: The versions in the scope whose only way in is the key. The upper bound counts
            each undecided version of the sample as a dependent.
        stored_bytes: The stored bytes of these versions; None if a listing has no sizes.
        method: How the bounds were computed.
    """

    size: int
    population: int
    seed: int
    versions: Range
    stored_bytes: Range | None
    method: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The places that were looked at.

    Attributes:
        account: Whether every bucket of the caller's account was in the scope.
        uris: The URIs of the buckets and prefixes.
        inventories: The URIs of the S3 Inventory manifests that replaced a listing.
        metadata_tables: The exports of S3 Metadata tables that replaced a listing.
    """

    account: bool
    uris: tuple[str, ...]
    inventories: tuple[str, ...] = ()
    metadata_tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The dependents of one key.

    Attributes:
        key: The key.
        account: The caller's account, whose buckets were looked at.
        caller: The ARN of the identity that looked.
        scope: The places that were looked at.
        as_of: The time since which the facts may be out of date: the begin of the walk, of the
            walk that a journal resumed, or of the oldest inventory.
        ended: The time at which the walk ended.
        buckets: The number of buckets that were looked at.
        looked_at: All versions that were looked at, dependents or not.
        groups: The dependent objects by mode.
        other_providers: The number of versions that another key opens, by that key's provider.
        settings: The settings that name the key.
        unknown: The items that could not be decided.
        sample: The sample and its bounds; None if every object was looked at.
        not_looked_at: The places that the walk does not cover.
        failures: The buckets and inventories that failed meanwhile.
    """

    key: Target
    account: str
    caller: str
    scope: Scope
    as_of: datetime
    ended: datetime
    buckets: int
    looked_at: Counts
    groups: tuple[Group, ...]
    other_providers: Mapping[str, int]
    settings: tuple[Setting, ...]
    unknown: tuple[Unknown, ...]
    sample: Sampled | None
    not_looked_at: tuple[NotLookedAt, ...]
    failures: tuple[Failure, ...]

    @property
    def only(self) -> Counts:
        """The objects whose only way in is the key."""
        return sum((group.only for group in self.groups), Counts())

    @property
    def shared(self) -> Counts:
        """The objects that another key opens, too."""
        return sum((group.shared for group in self.groups), Counts())

    @property
    def replica(self) -> Counts:
        """The objects that the key's replica in another Region opens, too."""
        return sum((group.replica for group in self.groups), Counts())

    @property
    def dependents(self) -> int:
        """The number of versions and settings whose only way in is the key."""
        return self.only.versions + len(self.settings)

    @property
    def undecided(self) -> int:
        """The number of items that could not be decided, and of failures."""
        return sum(each.count for each in self.unknown) + len(self.failures)

    @property
    def covers_account(self) -> bool:
        """Whether every bucket of the key's account was in the scope, and none failed."""
        return self.scope.account and self.account == self.key.account and not self.failures

    def clearance(self) -> Clearance:
        """Return the evidence that this report gives to the deletion of the key."""
        return Clearance(
            key_arn=self.key.arn,
            account=self.account,
            made=self.as_of,
            covers_account=self.covers_account,
            is_sampled=self.sample is not None,
            unknown=self.undecided,
            dependents=self.dependents,
        )


@dataclass(frozen=True, slots=True)
class Dependent:
    """A version of an object that the key opens.

    Attributes:
        uri: The object.
        version_id: The version; None in a bucket that never had versioning.
        is_latest: Whether the version is the current one.
        kind: What the key means to it: `only`, `shared` or `replica`.
        mode: How it depends on the key.
        stored_bytes: The number of stored bytes; None if unknown.
        others: The providers of other keys that open it, too.
    """

    uri: str
    version_id: str | None
    is_latest: bool
    kind: Kind
    mode: str
    stored_bytes: int | None
    others: tuple[str, ...] = ()
