# SPDX-License-Identifier: Apache-2.0
"""Reads the present account settings, buckets, keys, trails and IAM policies.

If a service refuses to return a setting, its value is `Unseen`. This module changes nothing and
judges nothing.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from s3crypt import buckets
from s3crypt.aws_errors import ends_everything
from s3crypt.buckets import configuration
from s3crypt.buckets.account import ACTION, read_public_access_block
from s3crypt.buckets.settings import AES256, Encryption, PublicAccessBlock
from s3crypt.errors import KeyUnavailableError, S3CryptError
from s3crypt.policy import Kind
from s3crypt.requests import pages
from s3crypt.trail_settings import SeenTrail, read_trails
from s3crypt.unseen import Unseen

from .account_controls import SeenPolicy
from .bucket_controls import DefaultKey, SeenBucket
from .controls import Judged
from .key_controls import SeenKey
from .services import Services
from .values import Resource, ResourceKind

_REFUSED = frozenset({"403", "AccessDenied", "AccessDeniedException"})
_GONE = "NotFoundException"
_POLICY_LISTS: tuple[tuple[str, str, Kind], ...] = (
    ("UserDetailList", "UserPolicyList", Kind.USER),
    ("GroupDetailList", "GroupPolicyList", Kind.GROUP),
    ("RoleDetailList", "RolePolicyList", Kind.ROLE),
)
_FILTER = ("User", "Role", "Group", "LocalManagedPolicy")


def unseen_by(error: S3CryptError, action: str) -> Unseen:
    """Return the `Unseen` for a setting whose request failed.

    Raises:
        S3CryptError: The error itself, if it would also make every other request fail, such as
            expired credentials.
    """
    if ends_everything(error):
        raise error
    return Unseen(action, str(error), is_refused=error.code in _REFUSED)


class Look:
    """Reads the configuration of one account.

    Args:
        services: The clients for the requests.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.now = datetime.now(UTC)

    @property
    def account(self) -> Judged:
        """The account as a resource."""
        arn = f"arn:{self._services.partition}:iam::{self._services.account}:root"
        return self._judged("account", arn, self._services.region)

    def bucket_as_resource(self, name: str, region: str) -> Judged:
        """Return a bucket as a resource."""
        return self._judged("bucket", f"arn:{self._services.partition}:s3:::{name}", region)

    def bucket_names(self) -> tuple[str, ...] | Unseen:
        """Return the names of all buckets of the account."""
        try:
            return tuple(buckets.names(self._services.s3()))
        except S3CryptError as error:
            return unseen_by(error, "s3:ListAllMyBuckets")

    def public_access(self) -> PublicAccessBlock | Unseen:
        """Return the account's block of public access."""
        try:
            return read_public_access_block(self._services.s3control, self._services.account)
        except S3CryptError as error:
            return unseen_by(error, ACTION)

    def trails(self) -> tuple[SeenTrail, ...] | Unseen:
        """Return the trails that record the session's Region."""
        services = self._services
        try:
            return tuple(read_trails(services.cloudtrail, services.region, services.partition))
        except S3CryptError as error:
            return unseen_by(error, "cloudtrail:DescribeTrails")

    def trail_as_resource(self, trail: SeenTrail) -> Judged:
        """Return a trail as a resource."""
        account = trail.arn.split(":")[4]
        return Judged(Resource("trail", trail.arn, account, trail.region))

    def bucket(self, name: str) -> SeenBucket:
        """Return a bucket with its settings, read in its own Region.

        Raises:
            ObjectNotFoundError: The bucket does not exist.
            S3CryptError: A request to S3 failed.
        """
        services = self._services
        region = configuration.home_of(services.s3(), name) or services.region
        found = configuration.read_in(services.s3(region), name, region)
        encryption = found.seen(Encryption)
        key = None
        if isinstance(encryption, Encryption) and encryption.algorithm != AES256:
            key = self._default_key(encryption.key, region)
        return SeenBucket(self.bucket_as_resource(name, region), found, key)

    def _default_key(self, key: str | None, region: str) -> DefaultKey | None:
        if key is None:
            return None
        services = self._services
        name = key
        if not key.startswith("arn:"):
            kind = "" if key.startswith("alias/") else "key/"
            name = f"arn:{services.partition}:kms:{region}:{services.account}:{kind}{key}"
        try:
            metadata = services.keys.metadata(name)
        except S3CryptError as error:
            return DefaultKey(name, unseen_by(error, "kms:DescribeKey"))
        return DefaultKey(str(metadata["Arn"]), str(metadata.get("KeyManager", "")))

    def key_arns(self, region: str) -> Iterator[str]:
        """Yield the ARNs of all keys of a Region, including keys that RAM shares.

        Raises:
            KeyUnavailableError: KMS refused to list the keys.
        """
        services = self._services
        place = f"arn:{services.partition}:kms:{region}:{services.account}:key/"
        return services.keys.arns(place)

    def key_as_resource(self, arn: str) -> Judged:
        """Return a key as a resource."""
        parts = arn.split(":")
        return Judged(Resource("key", arn, parts[4], parts[3]))

    def key(self, arn: str) -> SeenKey | Unseen | None:
        """Return a key's properties.

        Return None if AWS manages the key or the key does not exist.
        """
        try:
            found = self._services.keys.examine(arn)
        except KeyUnavailableError as error:
            return None if error.code == _GONE else unseen_by(error, "kms:DescribeKey")
        if found is None:
            return None
        return SeenKey(self.key_as_resource(found.arn), found, self._services.account, self.now)

    def policies(self) -> Iterator[SeenPolicy]:
        """Yield the customer managed policies and the inline policies of the account.

        Managed policies that are used as permissions boundaries are skipped, because the control
        KMS.1 does not apply to them.

        Raises:
            StorageError: IAM refused the request.
        """
        found = pages(
            self._services.iam,
            "get_account_authorization_details",
            {"Filter": list(_FILTER)},
            "the IAM policies of the account",
        )
        for page in found:
            for policy in page.get("Policies") or ():
                if not policy.get("PermissionsBoundaryUsageCount"):
                    yield from self._managed(policy)
            for holders, policies, kind in _POLICY_LISTS:
                for holder in page.get(holders) or ():
                    for policy in holder.get(policies) or ():
                        yield self._policy(kind, holder["Arn"], policy)

    def _managed(self, policy: Any) -> Iterator[SeenPolicy]:
        for version in policy.get("PolicyVersionList") or ():
            if version.get("IsDefaultVersion"):
                arn = str(policy["Arn"])
                judged = self._judged("policy", arn, self._services.region)
                changed = version.get("CreateDate") or policy.get("UpdateDate")
                since = changed.astimezone(UTC) if changed else None
                name = arn.rpartition("/")[2]
                yield SeenPolicy(judged, Kind.MANAGED, name, version["Document"], since)

    def _policy(self, kind: Kind, arn: str, policy: Any) -> SeenPolicy:
        judged = self._judged("policy", arn, self._services.region)
        return SeenPolicy(judged, kind, str(policy["PolicyName"]), policy["PolicyDocument"])

    def _judged(self, kind: ResourceKind, arn: str, region: str) -> Judged:
        return Judged(Resource(kind, arn, self._services.account, region))
