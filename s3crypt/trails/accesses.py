# SPDX-License-Identifier: Apache-2.0
"""Accesses to objects and keys, made from the records of S3, of KMS, or of both services."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from .records import NOWHERE, Event, Place, Principal, is_denial

Level: TypeAlias = Literal["object", "bucket", "key"]
"""How exactly an access is known: the object, only its bucket, or only the key."""
Outcome: TypeAlias = Literal["allowed", "denied", "failed"]
"""The service's answer to a request: done, refused by permissions, or another error."""


@dataclass(frozen=True, slots=True)
class Access:
    """One request, made from the record of S3, the record of KMS, or both records.

    Attributes:
        time: The time of the request, to the second. If both services recorded the request, this is
            the time in S3's record.
        principal: The principal that made the request.
        address: The source address, or the name of the service that made the request.
        actions: The operation at each service, such as `s3:GetObject` and `kms:Decrypt`.
        bucket: The bucket; None if no record shows it.
        name: The object's name; None if no record shows it.
        keys: The ARNs of the KMS keys. A re-encryption has a source key and a destination key. A
            read or write of a client-side object may have the client's key and S3's key.
        outcome: `denied` if the caller lacked a permission, `failed` after any other error.
        error: The error's code; None for a success.
        level: The most specific resource that the records identify: the object by its name, the
            bucket, or only the key.
        is_joined: Whether records of both services were joined.
        event_ids: The ids of the records.
    """

    time: datetime
    principal: Principal
    address: str
    actions: tuple[str, ...]
    bucket: str | None
    name: str | None
    keys: tuple[str, ...]
    outcome: Outcome
    error: str | None
    level: Level
    is_joined: bool
    event_ids: tuple[str, ...]


def access_of(event: Event, place: Place | None = None, partner: Event | None = None) -> Access:
    """Return the access to one place of an event.

    `partner` is the joined event of the other service, or None; `place` is by default the event's
    first place.
    """
    place = place or next(iter(event.places), NOWHERE)
    both = (event,) if partner is None else (event, partner)
    error = next((each.error for each in both if each.error), None)
    return Access(
        time=event.time,
        principal=event.principal,
        address=event.address,
        actions=tuple(f"{each.service}:{each.action}" for each in both),
        bucket=place.bucket,
        name=place.name,
        keys=tuple(dict.fromkeys(key for each in reversed(both) for key in each.keys)),
        outcome="allowed" if error is None else "denied" if is_denial(error) else "failed",
        error=error,
        level="object" if place.name is not None else "bucket" if place.bucket else "key",
        is_joined=partner is not None,
        event_ids=tuple(each.id for each in both),
    )
