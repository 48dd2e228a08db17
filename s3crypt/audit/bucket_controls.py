# SPDX-License-Identifier: Apache-2.0
"""The controls of a bucket. The rules judge its configuration and make no request."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from s3crypt.buckets.configuration import Configuration, line
from s3crypt.buckets.settings import (
    AES256,
    KMS,
    BucketPolicy,
    Encryption,
    Lifecycle,
    Logging,
    ObjectLock,
    PublicAccessBlock,
    Replication,
    Setting,
    Versioning,
)
from s3crypt.errors import ConfigError
from s3crypt.hardening import Obstacle, Wanted, replication, statements
from s3crypt.hardening.obstacles import obstacles_of
from s3crypt.hardening.values import Part, Seen, SeenKey
from s3crypt.unseen import Unseen

from .controls import Judged
from .values import Finding

_AWS_KEY = "alias/aws/s3"
_KEY_ALIAS = ":alias/"
_SOME_BUCKET = "logs"


@dataclass(frozen=True, slots=True)
class DefaultKey:
    """The KMS key of a bucket's default encryption.

    Attributes:
        arn: The key's ARN. If KMS did not describe the key, this is made from the bucket's setting,
            and may be the ARN of an alias.
        manager: `CUSTOMER` or `AWS`. Empty if KMS did not return it. `Unseen` if KMS did not
            describe the key.
    """

    arn: str
    manager: str | Unseen


@dataclass(frozen=True, slots=True)
class SeenBucket:
    """A bucket and its settings as S3 returned them.

    Attributes:
        judged: The bucket as a resource.
        configuration: The bucket's settings, each a value or `Unseen`.
        default_key: The KMS key of the bucket's default encryption. None if the default encryption
            uses no KMS key, or if it could not be read.
    """

    judged: Judged
    configuration: Configuration
    default_key: DefaultKey | None = None

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self.configuration.bucket

    @property
    def account(self) -> str:
        """The account that the bucket belongs to."""
        return self.judged.resource.account

    @property
    def partition(self) -> str:
        """The bucket's partition."""
        return self.judged.resource.arn.split(":")[1]

    def hardened(self, control: str, why: str, part: Part | None, *options: str) -> Finding:
        """Return a failed finding whose fix is the command `bucket harden`.

        `bucket harden` shows its changes and asks before it makes them. If an obstacle makes it
        leave `part` unchanged, the finding names the obstacle and has no fix. `options` are further
        arguments of the command.
        """
        for each in self._obstacles():
            if part in each.holds:
                told = f"{why} `bucket harden` leaves it so ({each.name}): {each.what}"
                return self.judged.fails(control, told)
        words = ("s3crypt", "bucket", "harden", self.name, *options)
        fix = shlex.join((*words, "--region", self.configuration.region))
        return self.judged.fails(control, why, fix=fix)

    @property
    def receives_deliveries(self) -> bool:
        """Whether the policy allows an AWS service to write to the bucket, as for a log bucket."""
        return any(each.name == "service-writers" for each in self._obstacles())

    def _obstacles(self) -> tuple[Obstacle, ...]:
        """Return the obstacles to hardening the bucket. Empty if a setting could not be read."""
        if self.configuration.unseen:
            return ()
        key = None
        if self.default_key is not None and isinstance(self.default_key.manager, str):
            key = SeenKey(self.default_key.arn, "Enabled", False, self.default_key.manager)
        bucket = self.configuration
        seen = Seen(self.account, self.partition, bucket.region, bucket, default_key=key)
        try:
            wanted = Wanted(self.name, logs=_SOME_BUCKET)
        except ConfigError:
            # An old bucket's name may break the rules that S3 applies to new names.
            return ()
        return obstacles_of(seen, wanted)

    def set(self, setting: Setting) -> str:
        """Return the command that writes one setting."""
        return line(self.name, self.configuration.region, setting)


Rule: TypeAlias = Callable[[SeenBucket, Any], Iterator[Finding]]


def judge_bucket(seen: SeenBucket) -> Iterator[Finding]:
    """Yield the findings about a bucket, one per control that applies to it."""
    for control, kind, rule in _RULES:
        setting = seen.configuration.seen(kind)
        if isinstance(setting, Unseen):
            yield seen.judged.unknown(control, setting)
        else:
            yield from rule(seen, setting)


def unseen_bucket(judged: Judged, unseen: Unseen) -> Iterator[Finding]:
    """Yield an unknown finding per control, for a bucket that could not be read at all."""
    for control, _, _ in _RULES:
        yield judged.unknown(control, unseen)


def _tls(seen: SeenBucket, policy: BucketPolicy) -> Iterator[Finding]:
    if statements.refuses_plain_http(policy.document, seen.partition, seen.name):
        yield seen.judged.passes("S3.5", "A statement denies every request without TLS.")
        return
    why = "The bucket has no policy."
    if policy.document is not None:
        why = "No statement denies all requests without TLS, for every caller and every object."
    yield seen.hardened("S3.5", why, None)


def _administration(seen: SeenBucket, policy: BucketPolicy) -> Iterator[Finding]:
    names = statements.foreign_administrators(policy.document, seen.account)
    if not names:
        why = "No statement lets another account administer the bucket."
        yield seen.judged.passes("S3.6", why)
        return
    why = f"Other accounts may administer the bucket ({', '.join(names)})."
    document = statements.without_foreign_administration(policy.document, seen.account)
    yield seen.judged.fails("S3.6", why, fix=seen.set(BucketPolicy(document)))


def _public_access(seen: SeenBucket, block: PublicAccessBlock) -> Iterator[Finding]:
    if block.is_whole:
        yield seen.judged.passes("S3.8", "Public access is blocked in all four ways.")
        return
    why = "Public access is not blocked in all four ways."
    yield seen.hardened("S3.8", why, "public-access")


def _logging(seen: SeenBucket, logging: Logging) -> Iterator[Finding]:
    if logging.target is not None:
        yield seen.judged.passes("S3.9", f"The access log goes to s3://{logging.target}.")
        return
    if seen.receives_deliveries:
        why = "No access log is delivered. An AWS service delivers its own files to this bucket:"
        # No fix is given: the log bucket would need a second log bucket, which would need a third.
        yield seen.judged.fails("S3.9", f"{why} accept the finding in a baseline.")
        return
    yield seen.hardened("S3.9", "No access log is delivered.", None)


def _versioning(seen: SeenBucket, versioning: Versioning) -> Iterator[Finding]:
    if versioning.is_enabled:
        yield seen.judged.passes("S3.14", "Every version is kept.")
        return
    why = f"Versioning is {(versioning.status or 'off').lower()}."
    yield seen.hardened("S3.14", why, "versioning")


def _object_lock(seen: SeenBucket, lock: ObjectLock) -> Iterator[Finding]:
    if lock.is_enabled:
        yield seen.judged.passes("S3.15", "Object Lock is on.")
        return
    yield seen.hardened("S3.15", "Object Lock is off.", "versioning", "--lock")


def _default(seen: SeenBucket, encryption: Encryption) -> Iterator[Finding]:
    if encryption.algorithm == AES256:
        why = "New objects are encrypted by SSE-S3."
        yield seen.hardened("S3.17", why, "kms-default")
        return
    yield seen.judged.passes("S3.17", f"New objects are encrypted by {encryption.algorithm}.")


def _mfa_delete(seen: SeenBucket, versioning: Versioning) -> Iterator[Finding]:
    """Judge MFA delete.

    With lifecycle rules the control does not apply: S3 forbids both together.
    """
    lifecycle = seen.configuration.seen(Lifecycle)
    if versioning.mfa_delete:
        yield seen.judged.passes("S3.20", "Deleting a version requires MFA.")
    elif isinstance(lifecycle, Unseen):
        yield seen.judged.unknown("S3.20", lifecycle)
    elif not lifecycle.rules:
        # No command is given: only the root user can enable MFA delete, with the serial number
        # and a code of an MFA device.
        yield seen.judged.fails("S3.20", "Deleting a version does not require MFA.")


def _sse_c(seen: SeenBucket, encryption: Encryption) -> Iterator[Finding]:
    if encryption.blocks_sse_c:
        yield seen.judged.passes("S3CRYPT.1", "SSE-C is blocked.")
        return
    why = "SSE-C is not blocked."
    if encryption.blocked is None:
        why = "SSE-C is not blocked: S3 reports no blocked mode."
    yield seen.hardened("S3CRYPT.1", why, "sse-c-block")


def _bucket_key(seen: SeenBucket, encryption: Encryption) -> Iterator[Finding]:
    # The control does not apply to DSSE-KMS and SSE-S3, which have no Bucket Keys.
    if encryption.algorithm != KMS:
        return
    if encryption.bucket_key:
        yield seen.judged.passes("S3CRYPT.2", "A Bucket Key is used.")
        return
    yield seen.hardened("S3CRYPT.2", "No Bucket Key is used.", None)


def _own_key(seen: SeenBucket, encryption: Encryption) -> Iterator[Finding]:
    if encryption.algorithm == AES256:
        return
    key = seen.default_key
    if key is not None and key.manager == "":
        unseen = Unseen("", "KMS does not report who manages the default key.", is_refused=False)
        yield seen.judged.unknown("S3CRYPT.3", unseen)
    elif key is None or _is_aws_key(key) or key.manager == "AWS":
        why = "The default key is aws/s3, which AWS manages."
        yield seen.hardened("S3CRYPT.3", why, "kms-default")
    elif isinstance(key.manager, Unseen) and _is_of(key, seen.account):
        yield seen.judged.unknown("S3CRYPT.3", key.manager)
    else:
        # The key is not AWS managed. If its manager is unseen, the key belongs to another account,
        # and an AWS managed key cannot be used by another account.
        yield seen.judged.passes("S3CRYPT.3", f"The default key is {key.arn}.")


def _is_aws_key(key: DefaultKey) -> bool:
    return key.arn.endswith(_AWS_KEY)


def _is_of(key: DefaultKey, account: str) -> bool:
    return not key.arn.startswith("arn:") or _owner(key.arn) == account


def _owner(arn: str) -> str:
    """Return the account in an ARN, or an empty string if the ARN is too short."""
    return "".join(arn.split(":")[4:5])


def _wrong_keys(seen: SeenBucket, policy: BucketPolicy) -> Iterator[Finding]:
    """Judge whether a bucket with a customer managed default key denies puts with other keys."""
    encryption = seen.configuration.seen(Encryption)
    if isinstance(encryption, Unseen):
        yield seen.judged.unknown("S3CRYPT.4", encryption)
        return
    key = seen.default_key
    if encryption.algorithm == AES256 or key is None or _is_aws_key(key) or key.manager == "AWS":
        return
    if not key.arn.startswith("arn:") or _KEY_ALIAS in key.arn:
        # Without the key's ARN, the policy cannot be judged: it names keys only by their ARNs.
        reason = "The ARN of the default key could not be read."
        unseen = key.manager if isinstance(key.manager, Unseen) else Unseen("", reason)
        yield seen.judged.unknown("S3CRYPT.4", replace(unseen, reason=reason))
        return
    if statements.refuses_other_keys(policy.document, seen.partition, seen.name, key.arn):
        yield seen.judged.passes(
            "S3CRYPT.4", "The policy denies puts under keys that it does not name."
        )
        return
    added = statements.other_keys_denied(seen.partition, seen.name, key.arn)
    document = statements.with_statements(policy.document, added)
    why = "No statement denies all puts under another key, for every caller and every object."
    yield seen.judged.fails("S3CRYPT.4", why, fix=seen.set(BucketPolicy(document)))


def _uploads(seen: SeenBucket, lifecycle: Lifecycle) -> Iterator[Finding]:
    if lifecycle.aborts_uploads:
        yield seen.judged.passes("S3CRYPT.5", "Incomplete uploads are aborted.")
        return
    why = "No rule for the whole bucket aborts incomplete uploads."
    versioning = seen.configuration.seen(Versioning)
    if isinstance(versioning, Versioning) and versioning.mfa_delete:
        # No fix is given: S3 forbids lifecycle rules together with MFA delete.
        yield seen.judged.fails("S3CRYPT.5", why)
    else:
        yield seen.hardened("S3CRYPT.5", why, None)


def _replication(seen: SeenBucket, found: Replication) -> Iterator[Finding]:
    if not found.enabled:
        return
    reasons = [reason for rule in found.enabled for reason in _faults(rule, seen.account)]
    if reasons:
        yield seen.judged.fails("S3CRYPT.6", f"{'; '.join(reasons)}.")
        return
    yield seen.judged.passes(
        "S3CRYPT.6", "Every rule replicates SSE-KMS objects, under keys of this account."
    )


def _faults(rule: Mapping[str, Any], account: str) -> Iterator[str]:
    """Yield the faults of a replication rule: it skips SSE-KMS objects, or uses a wrong key."""
    name, key = str(rule.get("ID") or "unnamed"), replication.key_of(rule)
    if not replication.takes_kms(rule):
        yield f"The rule {name} does not replicate SSE-KMS objects"
    elif key is not None and key.endswith(_AWS_KEY):
        yield f"The rule {name} puts replicas under aws/s3"
    elif key is not None and key.startswith("arn:") and (owner := _owner(key)) != account:
        yield f"The rule {name} puts replicas under a key of account {owner}"


_RULES: tuple[tuple[str, type[Setting], Rule], ...] = (
    ("S3.5", BucketPolicy, _tls),
    ("S3.6", BucketPolicy, _administration),
    ("S3.8", PublicAccessBlock, _public_access),
    ("S3.9", Logging, _logging),
    ("S3.14", Versioning, _versioning),
    ("S3.15", ObjectLock, _object_lock),
    ("S3.17", Encryption, _default),
    ("S3.20", Versioning, _mfa_delete),
    ("S3CRYPT.1", Encryption, _sse_c),
    ("S3CRYPT.2", Encryption, _bucket_key),
    ("S3CRYPT.3", Encryption, _own_key),
    ("S3CRYPT.4", BucketPolicy, _wrong_keys),
    ("S3CRYPT.5", Lifecycle, _uploads),
    ("S3CRYPT.6", Replication, _replication),
)
