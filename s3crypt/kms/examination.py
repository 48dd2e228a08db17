# SPDX-License-Identifier: Apache-2.0
"""What an audit reads of a key beyond its description: policy, grants, last use, expiry.

Every request here only reads, and what KMS refuses to show is `Unseen`. Nothing here judges.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from s3crypt.errors import KeyUnavailableError
from s3crypt.local.rate import Pace
from s3crypt.unseen import Unseen

from .description import KeyReader, replica_of
from .policies import KeyPolicies
from .service import KMS

T = TypeVar("T")

# Requests a second, below KMS's quotas of 5 and 100 for an account: the replies to requests that
# wait for each other come at uneven times, and other processes may need some too.
# https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html
_LAST_USES_PER_SECOND = 4.0
_GRANT_LISTS_PER_SECOND = 50.0


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant of a key.

    Attributes:
        id: Its id.
        grantee: The ARN or the service principal that may use the key.
        is_service: Whether the grantee is a service principal.
        operations: As KMS names them, such as `Decrypt`.
        constraints: As KMS has them; empty where there are none.
        created: When it was made, if KMS says so.
    """

    id: str
    grantee: str
    is_service: bool
    operations: tuple[str, ...]
    constraints: Mapping[str, Any] = field(default_factory=dict)
    created: datetime | None = None

    @property
    def is_constrained(self) -> bool:
        """Whether it demands something; an empty encryption context is part of every one."""
        return any(self.constraints.values())


@dataclass(frozen=True, slots=True)
class LastUse:
    """When a key was last used for cryptography.

    Attributes:
        moment: The moment; None where there was no use since `tracked_since`.
        operation: What it was used for.
        tracked_since: Since when KMS keeps that.
    """

    moment: datetime | None
    operation: str | None
    tracked_since: datetime | None


@dataclass(frozen=True, slots=True)
class Examined:
    """A key as KMS showed it; each part that it refused to show is `Unseen`.

    Attributes:
        arn: Its ARN, which has its account and Region.
        manager: `CUSTOMER` or `AWS`.
        state: KMS's own word, such as `Enabled`.
        spec: Such as `SYMMETRIC_DEFAULT`.
        origin: Such as `AWS_KMS` or `EXTERNAL`.
        created: When it was made.
        deletion: When KMS deletes it, or None.
        expiry: When KMS deletes its imported material, or None.
        rotates: Whether KMS rotates it by itself; None where it cannot.
        policy: Its policy, as text.
        grants: Its grants.
        last_use: None where it was not asked for, because the key cannot be used.
        primary: The ARN of the key that this one is a replica of, or None.
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
    """Reads all that an audit needs of keys, within KMS's quotas.

    Args:
        kms: Makes the requests.

    Raises from every method:
        KeyUnavailableError: There is no such key, or KMS refused.
        StorageError: KMS could not be reached.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms
        self._reader = KeyReader(kms)
        self._policies = KeyPolicies(kms)
        self._last_uses = Pace(_LAST_USES_PER_SECOND)
        self._grant_lists = Pace(_GRANT_LISTS_PER_SECOND)

    def arns(self, region_arn: str) -> Iterator[str]:
        """Yield the ARNs of all keys of a Region: the account's own, and those shared through RAM.

        Args:
            region_arn: The ARN of anything in KMS of that Region; only its Region counts.
        """
        owners = ["SELF", "OTHER_ACCOUNTS_VIA_RAM"]
        found = self._kms.pages("list_keys", region_arn, "Keys", ResourceOwners=owners)
        yield from (str(entry["KeyArn"]) for entry in found)

    def metadata(self, key: str) -> Any:
        """Return the metadata of a key as KMS describes it."""
        return self._reader.metadata(key)

    def examine(self, key: str) -> Examined | None:
        """Return what KMS shows of a key; None of a key that AWS manages."""
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
            deletion=_utc(metadata.get("DeletionDate")),
            expiry=_expiry(metadata),
            rotates=self._rotates(arn, metadata),
            policy=_shown("kms:GetKeyPolicy", lambda: self._policies.read_text(arn)),
            grants=_shown("kms:ListGrants", lambda: self._grants(arn)),
            last_use=self._last_use(arn, metadata),
            primary=replica_of(metadata),
        )

    def _rotates(self, arn: str, metadata: Any) -> bool | Unseen | None:
        """Return whether KMS rotates a key; None where KMS can never rotate one of its kind."""
        kind = (metadata.get("KeySpec"), metadata.get("Origin"))
        if kind != ("SYMMETRIC_DEFAULT", "AWS_KMS") or metadata.get("KeyState") not in _USABLE:
            return None
        return _shown("kms:GetKeyRotationStatus", lambda: self._rotation(arn))

    def _rotation(self, arn: str) -> bool:
        status = self._kms.ask("get_key_rotation_status", arn, KeyId=arn)
        return bool(status["KeyRotationEnabled"])

    def _grants(self, arn: str) -> tuple[Grant, ...]:
        self._grant_lists.wait()
        return tuple(map(_grant, self._kms.pages("list_grants", arn, "Grants", KeyId=arn)))

    def _last_use(self, arn: str, metadata: Any) -> LastUse | Unseen | None:
        if metadata.get("KeyState") != "Enabled":
            return None
        return _shown("kms:GetKeyLastUsage", lambda: self._asked_last_use(arn))

    def _asked_last_use(self, arn: str) -> LastUse:
        self._last_uses.wait()
        reply = self._kms.ask("get_key_last_usage", arn, KeyId=arn)
        used = reply.get("KeyLastUsage") or {}
        return LastUse(
            moment=_utc(used.get("Timestamp")),
            operation=used.get("Operation"),
            tracked_since=_utc(reply.get("TrackingStartDate")),
        )


# KMS reports no rotation of a key in another state than these.
_USABLE = ("Enabled", "Disabled")


def _shown(action: str, read: Callable[[], T]) -> T | Unseen:
    """Return what KMS shows, or `Unseen` where it refuses or does not know the operation.

    Raises:
        KeyUnavailableError: The key is gone.
    """
    try:
        return read()
    except KeyUnavailableError as error:
        if error.code == "NotFoundException":
            raise
        return Unseen(action, str(error), is_refused=error.code == "AccessDeniedException")


def _grant(entry: Mapping[str, Any]) -> Grant:
    service = entry.get("GranteeServicePrincipal")
    grantee = str(service or entry.get("GranteePrincipal") or "")
    return Grant(
        id=str(entry["GrantId"]),
        grantee=grantee,
        # KMS shows the grantee of some older grants of services as a plain principal.
        is_service=bool(service) or grantee.endswith((".amazonaws.com", ".amazonaws.com.cn")),
        operations=tuple(entry.get("Operations") or ()),
        constraints=dict(entry.get("Constraints") or {}),
        created=_utc(entry.get("CreationDate")),
    )


def _expiry(metadata: Any) -> datetime | None:
    if metadata.get("ExpirationModel") != "KEY_MATERIAL_EXPIRES":
        return None
    return _utc(metadata.get("ValidTo"))


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
