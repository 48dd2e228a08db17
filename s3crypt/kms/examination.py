# SPDX-License-Identifier: Apache-2.0
"""Read all facts about a key: its description, policy, grants and last use.

Every request only reads. If KMS refuses to show a fact, `examine` returns `Unseen` in its place,
and `show` adds the IAM action to `Key.not_permitted`. This module does not judge the facts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from s3crypt.errors import KeyUnavailableError
from s3crypt.local.rate import Pace
from s3crypt.unseen import Unseen

from .description import Key, KeyReader, LastUse, expiry_of, replica_of, utc
from .grants import Grant, KeyGrants
from .policies import KeyPolicies
from .service import KMS, MAX_KEYS

T = TypeVar("T")

# Requests per second. The numbers are below KMS's quotas of 5 and 100 per account, because the
# requests reach KMS at uneven intervals, and other processes may need a part of the quota.
# https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html
_LAST_USES_PER_SECOND = 4.0
_GRANT_LISTS_PER_SECOND = 50.0


@dataclass(frozen=True, slots=True)
class Examined:
    """A key as KMS shows it. Each part that KMS refused to show is `Unseen`.

    Attributes:
        arn: The key's ARN, which contains its account and Region.
        manager: The manager of the key, `CUSTOMER` or `AWS`.
        state: The key state by KMS's name, such as `Enabled`.
        spec: The key spec, such as `SYMMETRIC_DEFAULT`.
        origin: The origin of the key material, such as `AWS_KMS` or `EXTERNAL`.
        created: The time of creation.
        deletion: The time at which KMS will delete the key. None if no deletion is scheduled.
        expiry: The time at which KMS will delete the imported key material. None if it does not
            expire.
        rotates: Whether KMS rotates the key automatically. None if the kind or the state of the key
            excludes rotation.
        policy: The key policy, as JSON text.
        grants: The key's grants.
        last_use: The last use. It is only requested if the key is enabled; otherwise None.
        primary: The ARN of the primary key if this key is a replica, otherwise None.
    """

    arn: str
    manager: str
    state: str
    spec: str
    origin: str
    created: datetime
    deletion: datetime | None
    expiry: datetime | None
    rotates: bool | Unseen | None
    policy: str | Unseen
    grants: tuple[Grant, ...] | Unseen
    last_use: LastUse | Unseen | None
    primary: str | None = None

    @property
    def account(self) -> str:
        """The account that the key belongs to."""
        return self.arn.split(":")[4]

    @property
    def region(self) -> str:
        """The Region of the key."""
        return self.arn.split(":")[3]


class KeyExaminer:
    """Reads the facts about keys that an audit needs, within KMS's quotas.

    Args:
        kms: Sends the requests.

    Raises from every method:
        KeyUnavailableError: The key does not exist, or KMS refused the request.
        StorageError: KMS could not be reached.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms
        self._reader = KeyReader(kms)
        self._policies = KeyPolicies(kms)
        self._key_grants = KeyGrants(kms)
        self._last_uses = Pace(_LAST_USES_PER_SECOND)
        self._grant_lists = Pace(_GRANT_LISTS_PER_SECOND)

    def arns(self, region_arn: str) -> Iterator[str]:
        """Yield the ARNs of all keys of a Region: the account's own keys, and keys shared by RAM.

        Args:
            region_arn: The ARN of any KMS resource in that Region. Only its Region is used.
        """
        owners = ["SELF", "OTHER_ACCOUNTS_VIA_RAM"]
        found = self._kms.pages(
            "list_keys", region_arn, "Keys", ResourceOwners=owners, Limit=MAX_KEYS
        )
        yield from (str(entry["KeyArn"]) for entry in found)

    def metadata(self, key: str) -> Any:
        """Return the metadata of a key, from DescribeKey."""
        return self._reader.metadata(key)

    def examine(self, key: str) -> Examined | None:
        """Return the facts about a key, or None for a key that AWS manages."""
        metadata = self._reader.metadata(key)
        if metadata.get("KeyManager") == "AWS":
            return None
        arn = str(metadata["Arn"])
        return Examined(
            arn=arn,
            manager=str(metadata.get("KeyManager", "")),
            state=str(metadata.get("KeyState", "")),
            spec=str(metadata.get("KeySpec", "")),
            origin=str(metadata.get("Origin", "")),
            created=metadata["CreationDate"].astimezone(UTC),
            deletion=utc(metadata.get("DeletionDate")),
            expiry=expiry_of(metadata),
            rotates=self._rotates(arn, metadata),
            policy=_shown("kms:GetKeyPolicy", lambda: self._policies.read_text(arn)),
            grants=_shown("kms:ListGrants", lambda: self._grants(arn)),
            last_use=self._last_use(arn, metadata),
            primary=replica_of(metadata),
        )

    def show(self, key: str) -> Key:
        """Return a key with all attributes, including its policy, grants and last use."""
        found = self._reader.show(key)
        arn = found.arn
        policy = _shown("kms:GetKeyPolicy", lambda: self._policies.read_text(arn))
        grants = _shown("kms:ListGrants", lambda: self._grants(arn))
        last_use = _shown("kms:GetKeyLastUsage", lambda: self._asked_last_use(arn))
        unseen = [each for each in (policy, grants, last_use) if isinstance(each, Unseen)]
        refused = {each.action for each in unseen if each.is_refused}
        return replace(
            found,
            policy=None if isinstance(policy, Unseen) else policy,
            grants=None if isinstance(grants, Unseen) else grants,
            last_use=None if isinstance(last_use, Unseen) else last_use,
            not_permitted=tuple(sorted(refused | set(found.not_permitted))),
        )

    def _rotates(self, arn: str, metadata: Any) -> bool | Unseen | None:
        """Return whether KMS rotates a key.

        Return None if the kind or the state of the key excludes rotation.
        """
        kind = (metadata.get("KeySpec"), metadata.get("Origin"))
        if kind != ("SYMMETRIC_DEFAULT", "AWS_KMS") or metadata.get("KeyState") not in _USABLE:
            return None
        return _shown("kms:GetKeyRotationStatus", lambda: self._rotation(arn))

    def _rotation(self, arn: str) -> bool:
        status = self._kms.ask("get_key_rotation_status", arn, KeyId=arn)
        return bool(status["KeyRotationEnabled"])

    def _grants(self, arn: str) -> tuple[Grant, ...]:
        self._grant_lists.wait()
        return self._key_grants.list(arn)

    def _last_use(self, arn: str, metadata: Any) -> LastUse | Unseen | None:
        if metadata.get("KeyState") != "Enabled":
            return None
        return _shown("kms:GetKeyLastUsage", lambda: self._asked_last_use(arn))

    def _asked_last_use(self, arn: str) -> LastUse:
        self._last_uses.wait()
        reply = self._kms.ask("get_key_last_usage", arn, KeyId=arn)
        used = reply.get("KeyLastUsage") or {}
        return LastUse(
            moment=utc(used.get("Timestamp")),
            operation=used.get("Operation"),
            tracked_since=utc(reply.get("TrackingStartDate")),
        )


# KMS reports the rotation status only for keys in these states.
_USABLE = ("Enabled", "Disabled")


def _shown(action: str, read: Callable[[], T]) -> T | Unseen:
    """Return the result of `read`.

    Return `Unseen` if KMS refuses the action, or does not support it.

    Raises:
        KeyUnavailableError: The key no longer exists.
    """
    try:
        return read()
    except KeyUnavailableError as error:
        if error.code == "NotFoundException":
            raise
        return Unseen(action, str(error), is_refused=error.code == "AccessDeniedException")
