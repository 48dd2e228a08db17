# SPDX-License-Identifier: Apache-2.0
"""The settings of a bucket as values: read from S3's replies, and turned into requests.

This module makes no requests; `configuration` makes them. A setting has all fields that its write
request replaces. So if a setting is read, changed in one field and written, its other fields keep
their values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, TypeAlias

from s3crypt.errors import ConfigError
from s3crypt.operations import S3Operation
from s3crypt.policy import Document

Call: TypeAlias = tuple[S3Operation, dict[str, Any]]
"""An operation and its arguments."""


class Setting(Protocol):
    """One setting of a bucket.

    Attributes:
        READ: The operation that reads the setting.
        ACTION: The IAM action that allows reading the setting.
        ABSENT: S3's error codes for a bucket without this setting.
    """

    READ: ClassVar[S3Operation]
    ACTION: ClassVar[str]
    ABSENT: ClassVar[frozenset[str]]

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the setting in a reply of S3. An empty reply means that the setting is not set."""
        ...

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting.

        For the value "not set", return the request that deletes the setting.
        """
        ...

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found`, which was read from S3, has the same meaning as this setting."""
        ...


SSE_C = "SSE-C"
KMS, DSSE, AES256 = "aws:kms", "aws:kms:dsse", "AES256"
_ALL_USERS = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)


@dataclass(frozen=True, slots=True)
class Encryption:
    """The default encryption of new objects, and the modes that the bucket refuses.

    PutBucketEncryption replaces the whole rule, including `BlockedEncryptionTypes`. A value of this
    class therefore includes the refused modes.

    Attributes:
        algorithm: `AES256`, `aws:kms` or `aws:kms:dsse`.
        key: The KMS key, by the name that was given to S3. None means `aws/s3` if the algorithm is
            `aws:kms` or `aws:kms:dsse`.
        bucket_key: Whether S3 uses a Bucket Key.
        blocked: The refused modes: `SSE-C`, or empty. None if the service does not report the
            field.
    """

    READ: ClassVar[S3Operation] = "get_bucket_encryption"
    ACTION: ClassVar[str] = "s3:GetEncryptionConfiguration"
    ABSENT: ClassVar[frozenset[str]] = frozenset({"ServerSideEncryptionConfigurationNotFoundError"})

    algorithm: str = AES256
    key: str | None = None
    bucket_key: bool = False
    blocked: tuple[str, ...] | None = None

    @property
    def blocks_sse_c(self) -> bool:
        """Whether the bucket refuses to store objects under customer keys."""
        return SSE_C in (self.blocked or ())

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the setting in a reply. For an empty reply, the algorithm is `AES256`."""
        rules = reply.get("ServerSideEncryptionConfiguration", {}).get("Rules") or [{}]
        default = rules[0].get("ApplyServerSideEncryptionByDefault", {})
        blocked = rules[0].get("BlockedEncryptionTypes")
        kinds = None if blocked is None else tuple(blocked.get("EncryptionType") or ())
        return cls(
            algorithm=default.get("SSEAlgorithm", AES256),
            key=default.get("KMSMasterKeyID") or None,
            bucket_key=bool(rules[0].get("BucketKeyEnabled")),
            blocked=None if kinds is None else tuple(kind for kind in kinds if kind != "NONE"),
        )

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting."""
        default = {"SSEAlgorithm": self.algorithm}
        if self.key is not None:
            default["KMSMasterKeyID"] = self.key
        rule: dict[str, Any] = {
            "ApplyServerSideEncryptionByDefault": default,
            "BucketKeyEnabled": self.bucket_key,
        }
        if self.blocked is not None:
            rule["BlockedEncryptionTypes"] = {"EncryptionType": list(self.blocked or ("NONE",))}
        configuration = {"Rules": [rule]}
        arguments = {"Bucket": bucket, "ServerSideEncryptionConfiguration": configuration}
        return "put_bucket_encryption", arguments

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found` equals this setting."""
        return self == found


@dataclass(frozen=True, slots=True)
class PublicAccessBlock:
    """The blocked ways of making a bucket public."""

    READ: ClassVar[S3Operation] = "get_public_access_block"
    ACTION: ClassVar[str] = "s3:GetBucketPublicAccessBlock"
    ABSENT: ClassVar[frozenset[str]] = frozenset({"NoSuchPublicAccessBlockConfiguration"})

    block_public_acls: bool = False
    ignore_public_acls: bool = False
    block_public_policy: bool = False
    restrict_public_buckets: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all four settings are on."""
        return self == PublicAccessBlock(*(True,) * 4)

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the setting in a reply. For an empty reply, all four settings are off."""
        found = reply.get("PublicAccessBlockConfiguration", {})
        return cls(
            block_public_acls=bool(found.get("BlockPublicAcls")),
            ignore_public_acls=bool(found.get("IgnorePublicAcls")),
            block_public_policy=bool(found.get("BlockPublicPolicy")),
            restrict_public_buckets=bool(found.get("RestrictPublicBuckets")),
        )

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting."""
        configuration = {
            "BlockPublicAcls": self.block_public_acls,
            "IgnorePublicAcls": self.ignore_public_acls,
            "BlockPublicPolicy": self.block_public_policy,
            "RestrictPublicBuckets": self.restrict_public_buckets,
        }
        arguments = {"Bucket": bucket, "PublicAccessBlockConfiguration": configuration}
        return "put_public_access_block", arguments

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found` equals this setting."""
        return self == found


@dataclass(frozen=True, slots=True)
class Versioning:
    """Whether a bucket keeps versions.

    Attributes:
        status: `Enabled`, `Suspended`, or None if versioning was never enabled.
        mfa_delete: Whether deleting a version requires the root user's second factor. s3crypt reads
            this setting and never writes it.
    """

    READ: ClassVar[S3Operation] = "get_bucket_versioning"
    ACTION: ClassVar[str] = "s3:GetBucketVersioning"
    ABSENT: ClassVar[frozenset[str]] = frozenset()

    status: str | None = None
    mfa_delete: bool = False

    @property
    def is_enabled(self) -> bool:
        """Whether new versions are kept."""
        return self.status == "Enabled"

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the setting in a reply."""
        return cls(reply.get("Status") or None, reply.get("MFADelete") == "Enabled")

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting.

        Versioning that was on cannot be turned off, only suspended.
        """
        configuration = {"Status": self.status or "Suspended"}
        arguments = {"Bucket": bucket, "VersioningConfiguration": configuration}
        return "put_bucket_versioning", arguments

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found` has the same status."""
        return self.status == found.status


@dataclass(frozen=True, slots=True)
class Ownership:
    """The ownership rule of new objects. `BucketOwnerEnforced` also disables all ACLs.

    Attributes:
        rule: The rule's name in S3, or None if the bucket has no ownership controls.
    """

    READ: ClassVar[S3Operation] = "get_bucket_ownership_controls"
    ACTION: ClassVar[str] = "s3:GetBucketOwnershipControls"
    ABSENT: ClassVar[frozenset[str]] = frozenset({"OwnershipControlsNotFoundError"})
    ENFORCED: ClassVar[str] = "BucketOwnerEnforced"

    rule: str | None = None

    @property
    def is_enforced(self) -> bool:
        """Whether ACLs are disabled."""
        return self.rule == self.ENFORCED

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the setting in a reply."""
        rules = reply.get("OwnershipControls", {}).get("Rules") or [{}]
        return cls(rules[0].get("ObjectOwnership"))

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting."""
        if self.rule is None:
            return "delete_bucket_ownership_controls", {"Bucket": bucket}
        controls = {"Rules": [{"ObjectOwnership": self.rule}]}
        return "put_bucket_ownership_controls", {"Bucket": bucket, "OwnershipControls": controls}

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found` equals this setting."""
        return self == found


@dataclass(frozen=True, slots=True)
class Logging:
    """The destination of a bucket's access log.

    Attributes:
        target: The bucket that receives the log; None if no log is delivered.
        prefix: The prefix of the names of the log's objects.
        details: The other fields of S3's `LoggingEnabled`, kept as they were read.
    """

    READ: ClassVar[S3Operation] = "get_bucket_logging"
    ACTION: ClassVar[str] = "s3:GetBucketLogging"
    ABSENT: ClassVar[frozenset[str]] = frozenset()

    target: str | None = None
    prefix: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the setting in a reply."""
        found = reply.get("LoggingEnabled") or {}
        more = {
            name: value
            for name, value in found.items()
            if name not in ("TargetBucket", "TargetPrefix")
        }
        return cls(found.get("TargetBucket"), found.get("TargetPrefix", ""), more)

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting."""
        status: dict[str, Any] = {}
        if self.target is not None:
            target = {"TargetBucket": self.target, "TargetPrefix": self.prefix}
            status = {"LoggingEnabled": {**self.details, **target}}
        return "put_bucket_logging", {"Bucket": bucket, "BucketLoggingStatus": status}

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found` delivers to the same place."""
        return (self.target, self.prefix) == (found.target, found.prefix)


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """A bucket's lifecycle rules, in S3's form.

    Attributes:
        rules: The rules in S3's form, which keeps the fields that this class does not use.
        minimum_size: S3's `TransitionDefaultMinimumObjectSize`, or None.
    """

    READ: ClassVar[S3Operation] = "get_bucket_lifecycle_configuration"
    ACTION: ClassVar[str] = "s3:GetLifecycleConfiguration"
    ABSENT: ClassVar[frozenset[str]] = frozenset({"NoSuchLifecycleConfiguration"})
    RULE: ClassVar[str] = "S3cryptAbortIncompleteUploads"

    rules: tuple[Mapping[str, Any], ...] = ()
    minimum_size: str | None = None

    @property
    def aborts_uploads(self) -> bool:
        """Whether a rule for the whole bucket aborts incomplete uploads."""
        return any(
            rule.get("Status") == "Enabled"
            and rule.get("AbortIncompleteMultipartUpload")
            and _is_for_all(rule)
            for rule in self.rules
        )

    def aborting(self, days: int) -> Self:
        """Return these rules with a rule that aborts incomplete uploads after this many days.

        The new rule has the form of the existing rules: S3 refuses rules with a `Filter` together
        with rules in the old form, with a `Prefix` ("Filter element can only be used in Lifecycle
        V2").
        """
        others = [each for each in self.rules if each.get("ID") != self.RULE]
        is_old = any("Prefix" in each for each in others)
        rule = {
            "ID": self.RULE,
            "Status": "Enabled",
            **({"Prefix": ""} if is_old else {"Filter": {"Prefix": ""}}),
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
        }
        return type(self)((*others, rule), self.minimum_size)

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the setting in a reply."""
        return cls(tuple(reply.get("Rules") or ()), reply.get("TransitionDefaultMinimumObjectSize"))

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting."""
        if not self.rules:
            return "delete_bucket_lifecycle", {"Bucket": bucket}
        arguments: dict[str, Any] = {
            "Bucket": bucket,
            "LifecycleConfiguration": {"Rules": [dict(rule) for rule in self.rules]},
        }
        if self.minimum_size:
            arguments["TransitionDefaultMinimumObjectSize"] = self.minimum_size
        return "put_bucket_lifecycle_configuration", arguments

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found` has rules with the same ids and status.

        Other fields are not compared, because S3 may return them in another form. Both must also
        agree on whether incomplete uploads of the whole bucket are aborted.
        """
        return _ids(self.rules) == _ids(found.rules) and self.aborts_uploads == found.aborts_uploads


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """Whether the objects of a bucket can be locked.

    Attributes:
        is_enabled: Whether Object Lock is enabled. It can never be disabled again.
        rule: The default retention in S3's form, or None.
    """

    READ: ClassVar[S3Operation] = "get_object_lock_configuration"
    ACTION: ClassVar[str] = "s3:GetBucketObjectLockConfiguration"
    ABSENT: ClassVar[frozenset[str]] = frozenset({"ObjectLockConfigurationNotFoundError"})

    is_enabled: bool = False
    rule: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the setting in a reply."""
        found = reply.get("ObjectLockConfiguration") or {}
        return cls(found.get("ObjectLockEnabled") == "Enabled", found.get("Rule"))

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting."""
        configuration: dict[str, Any] = {"ObjectLockEnabled": "Enabled"}
        if self.rule:
            configuration["Rule"] = dict(self.rule)
        arguments = {"Bucket": bucket, "ObjectLockConfiguration": configuration}
        return "put_object_lock_configuration", arguments

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found` equals this setting."""
        return self == found


@dataclass(frozen=True, slots=True)
class Replication:
    """The replication of a bucket's objects.

    Attributes:
        role: The ARN of the role that S3 assumes, or None without replication.
        rules: The replication rules in S3's form.
    """

    READ: ClassVar[S3Operation] = "get_bucket_replication"
    ACTION: ClassVar[str] = "s3:GetReplicationConfiguration"
    ABSENT: ClassVar[frozenset[str]] = frozenset({"ReplicationConfigurationNotFoundError"})

    role: str | None = None
    rules: tuple[Mapping[str, Any], ...] = ()

    @property
    def enabled(self) -> tuple[Mapping[str, Any], ...]:
        """The enabled rules."""
        return tuple(rule for rule in self.rules if rule.get("Status") == "Enabled")

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the setting in a reply."""
        found = reply.get("ReplicationConfiguration") or {}
        return cls(found.get("Role"), tuple(found.get("Rules") or ()))

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting."""
        if not self.rules:
            return "delete_bucket_replication", {"Bucket": bucket}
        configuration = {"Role": self.role, "Rules": [dict(rule) for rule in self.rules]}
        arguments = {"Bucket": bucket, "ReplicationConfiguration": configuration}
        return "put_bucket_replication", arguments

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found` has the same role and rules: ids, destinations, replica keys."""
        return self.role == found.role and _places(self.rules) == _places(found.rules)


@dataclass(frozen=True, slots=True)
class BucketPolicy:
    """A bucket's policy. `document` is None if the bucket has no policy."""

    READ: ClassVar[S3Operation] = "get_bucket_policy"
    ACTION: ClassVar[str] = "s3:GetBucketPolicy"
    ABSENT: ClassVar[frozenset[str]] = frozenset({"NoSuchBucketPolicy"})

    document: Document | None = None

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the policy in a reply.

        Raises:
            ConfigError: The policy is not in the grammar of policies.
        """
        text = reply.get("Policy")
        return cls(Document.parse(text) if text else None)

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting."""
        if self.document is None:
            return "delete_bucket_policy", {"Bucket": bucket}
        text = self.document.render(indent=None)
        return "put_bucket_policy", {"Bucket": bucket, "Policy": text}

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found` has the same meaning.

        S3 may return another spelling of the policy.
        """
        ours, theirs = self.document, found.document
        return (ours and ours.meaning) == (theirs and theirs.meaning)


@dataclass(frozen=True, slots=True)
class Grant:
    """One entry of an access control list, in S3's form."""

    grantee: Mapping[str, Any]
    permission: str

    @property
    def is_public(self) -> bool:
        """Whether the grantee is everyone, or everyone with an AWS account."""
        return self.grantee.get("URI") in _ALL_USERS

    @property
    def who(self) -> str:
        """The grantee's name: the last part of a group's URI, or an id."""
        uri = str(self.grantee.get("URI", "")).rpartition("/")[2]
        return uri or str(self.grantee.get("ID") or self.grantee.get("EmailAddress") or "?")


@dataclass(frozen=True, slots=True)
class AccessControlList:
    """A bucket's own access control list."""

    READ: ClassVar[S3Operation] = "get_bucket_acl"
    ACTION: ClassVar[str] = "s3:GetBucketAcl"
    ABSENT: ClassVar[frozenset[str]] = frozenset()

    owner: str
    grants: tuple[Grant, ...] = ()

    @property
    def to_others(self) -> tuple[Grant, ...]:
        """The grants to grantees other than the owner."""
        return tuple(each for each in self.grants if each.grantee.get("ID") != self.owner)

    @property
    def private(self) -> Self:
        """The list that S3 calls private: only the owner has rights, and has all rights."""
        owner = Grant({"ID": self.owner, "Type": "CanonicalUser"}, "FULL_CONTROL")
        return type(self)(self.owner, (owner,))

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """Return the list in a reply."""
        grants = (Grant(each["Grantee"], each["Permission"]) for each in reply.get("Grants") or ())
        return cls(str(reply.get("Owner", {}).get("ID", "")), tuple(grants))

    def call(self, bucket: str) -> Call:
        """Return the request that writes this setting."""
        grants = [
            {"Grantee": dict(each.grantee), "Permission": each.permission} for each in self.grants
        ]
        policy = {"Owner": {"ID": self.owner}, "Grants": grants}
        return "put_bucket_acl", {"Bucket": bucket, "AccessControlPolicy": policy}

    def is_kept_by(self, found: Self) -> bool:
        """Return whether `found` has the same grants."""
        return {(each.who, each.permission) for each in self.grants} == {
            (each.who, each.permission) for each in found.grants
        }


def check_bucket_name(name: str) -> None:
    """Check that S3 allows the name for a general purpose bucket.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html

    Raises:
        ConfigError: The name is not allowed.
    """
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    edges = name[:1] + name[-1:]
    if not 3 <= len(name) <= 63 or not set(name) <= allowed or not edges.isalnum() or ".." in name:
        raise ConfigError(
            f"{name!r} cannot be the name of a bucket.",
            hint="A name has 3 to 63 lower case letters, digits, hyphens and dots.",
        )


def _is_for_all(rule: Mapping[str, Any]) -> bool:
    condition = rule.get("Filter") or {}
    return not rule.get("Prefix") and (not condition or condition == {"Prefix": ""})


def _ids(rules: tuple[Mapping[str, Any], ...]) -> frozenset[Any]:
    return frozenset((rule.get("ID"), rule.get("Status")) for rule in rules)


def _places(rules: tuple[Mapping[str, Any], ...]) -> frozenset[Any]:
    found = []
    for rule in rules:
        place = rule.get("Destination") or {}
        key = (place.get("EncryptionConfiguration") or {}).get("ReplicaKmsKeyID")
        criteria = rule.get("SourceSelectionCriteria") or {}
        kms = (criteria.get("SseKmsEncryptedObjects") or {}).get("Status")
        whole = _is_for_all(rule)
        found.append((rule.get("ID"), rule.get("Status"), place.get("Bucket"), key, kms, whole))
    return frozenset(found)
