# SPDX-License-Identifier: Apache-2.0
"""The report on the dependents of one key, as dataclasses.

This module makes no request. The module `documents` converts a report to JSON.
"""

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
    """Numbers of objects, versions and bytes.

    Attributes:
        objects: The number of current versions, which is the number of objects.
        versions: The number of all versions, including the current versions.
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
    """The objects that are encrypted under the key in one mode.

    Attributes:
        mode: `sse-kms`, `dsse-kms`, `client (header)`, `client (metadata)` or `s3ec`.
        only: The objects that only this key opens.
        shared: The objects that another key opens, too.
        replica: The objects that only this key and its replicas in other Regions open.
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
    """Items for which it is unknown, for one reason, whether they depend on the key.

    Attributes:
        what: The kind of the items: `version`, `upload`, `bucket`, `setting` or `inventory`.
        hidden: The reason, as a clause.
        count: The number of the items.
        denied: The IAM actions that the caller would need so that the items can be decided.
        examples: The names of at most `MAX_EXAMPLES` of the items.
    """

    what: str
    hidden: str
    count: int
    denied: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A bucket or an inventory that could not be examined to its end.

    Attributes:
        subject: The URI or the path.
        reason: The error's message.
        kind: `integrity` if a checksum or a format was wrong, `storage` if a request failed.
    """

    subject: str
    reason: str
    kind: FailureKind


@dataclass(frozen=True, slots=True)
class NotLookedAt:
    """A place that may depend on the key, and that the walk does not examine.

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
    """A random sample, and the bounds for all versions in the scope that follow from it.

    Attributes:
        size: The number of versions in the sample that were examined.
        population: The number of versions in the scope.
        seed: The seed of the random numbers. The same seed draws the same sample again.
        versions: The number of versions in the scope that only the key opens. The upper bound
            assumes that every undecided version in the sample depends on the key.
        stored_bytes: The stored bytes of these versions. None if a size in the scope is unknown.
        method: A text for the report about how the bounds were computed.
    """

    size: int
    population: int
    seed: int
    versions: Range
    stored_bytes: Range | None
    method: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The places that the walk examined.

    Attributes:
        account: Whether every bucket of the caller's account was in the scope.
        uris: The URIs of the buckets and prefixes.
        inventories: The URIs of the S3 Inventory manifests that were read instead of listing a
            bucket.
        metadata_tables: The paths or URIs of the exports of S3 Metadata tables that were read
            instead of listing a bucket.
    """

    account: bool
    uris: tuple[str, ...]
    inventories: tuple[str, ...] = ()
    metadata_tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The objects and settings that depend on one key.

    Attributes:
        key: The key.
        account: The caller's account. Its buckets were examined.
        caller: The ARN of the identity that made the report.
        scope: The places that the walk examined.
        as_of: The time up to which the report is complete. Later changes may be missing. It is the
            start of the walk (of the first run, if a journal resumed the walk), or the time of the
            oldest inventory if that is earlier.
        ended: The time at which the walk ended.
        buckets: The number of buckets that were examined.
        looked_at: All versions that were examined, whether they depend on the key or not.
        groups: The objects that depend on the key, one group per mode.
        other_providers: For each provider of another key, such as `aes`, the number of dependent
            versions that a key of this provider opens, too.
        settings: The settings that name the key.
        unknown: The items for which it is unknown whether they depend on the key.
        sample: The sample and its bounds. None if every version was examined.
        not_looked_at: The places that may depend on the key, and that the walk does not examine.
        failures: The buckets and inventories that could not be examined to their end.
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
        """The objects that only the key opens."""
        return sum((group.only for group in self.groups), Counts())

    @property
    def shared(self) -> Counts:
        """The objects that another key opens, too."""
        return sum((group.shared for group in self.groups), Counts())

    @property
    def replica(self) -> Counts:
        """The objects that only the key and its replicas in other Regions open."""
        return sum((group.replica for group in self.groups), Counts())

    @property
    def dependents(self) -> int:
        """The number of versions that only the key opens, plus the number of settings."""
        return self.only.versions + len(self.settings)

    @property
    def undecided(self) -> int:
        """The number of undecided items, plus the number of failures."""
        return sum(each.count for each in self.unknown) + len(self.failures)

    @property
    def covers_account(self) -> bool:
        """Whether the scope was every bucket of the key's own account, without a failure."""
        return self.scope.account and self.account == self.key.account and not self.failures

    def clearance(self) -> Clearance:
        """Return the evidence from this report for `KeyManager.schedule_deletion`."""
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
    """A version of an object that is encrypted under the key.

    Attributes:
        uri: The URI of the object.
        version_id: The version id. None for the current version in a bucket without versions.
        is_latest: Whether the version is the current version.
        kind: Whether the key is the only key that opens the version; see `Kind`.
        mode: How the version is encrypted under the key.
        stored_bytes: The number of stored bytes. None if it is unknown.
        others: The providers of the other keys that open the version, too.
    """

    uri: str
    version_id: str | None
    is_latest: bool
    kind: Kind
    mode: str
    stored_bytes: int | None
    others: tuple[str, ...] = ()
