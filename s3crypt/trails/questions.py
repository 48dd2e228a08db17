# SPDX-License-Identifier: Apache-2.0
"""Questions about the accesses to an object, with a key, or by a principal.

A question is applied twice. `Looker.look` filters each record as it arrives, before it is fully
parsed, which is cheap. `Question.is_answered_by` then filters the accesses that were made from the
remaining records.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from s3crypt.errors import ConfigError, Remedy
from s3crypt.location import Location

from .accesses import Access
from .files import shifted
from .joining import WINDOW
from .records import (
    CRYPTOGRAPHIC,
    SERVICES,
    Place,
    Record,
    copy_source,
    key_of_write,
    keys_of,
    places_of,
    places_of_contexts,
)

Look: TypeAlias = Literal["wanted", "partner", "nameless", "other"]

# The name of a user or role without an ARN. It is refused, because no record identifies a principal
# by it. CloudTrail's principal ids, which consist of capitals and digits, do not match.
_BARE_NAME = re.compile(r"(?![A-Z0-9]{8,}$)[\w+=,@-]+")


@dataclass(frozen=True, slots=True)
class Question:
    """A question about exactly one object, key or principal.

    Attributes:
        location: An object.
        key: The ARN or the id of a KMS key.
        principal: The ARN of a user, a role or a role's session, the name of a service, or
            CloudTrail's id of a principal.
        bucket: If given, only accesses in this bucket or in an unknown bucket are returned.
        since, until: If given, only accesses in this period, including both ends, are returned.

    Raises:
        ConfigError: Not exactly one object, key or principal is given, the location is a prefix,
            an object and `bucket` are both given, the principal is a bare name, or the period ends
            before it begins.
    """

    location: Location | None = None
    key: str | None = None
    principal: str | None = None
    bucket: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        given = [each for each in (self.location, self.key, self.principal) if each]
        if len(given) != 1:
            raise ConfigError(
                "A question is about one object, key or principal.", remedy=Remedy("name_subject")
            )
        if self.location and self.location.is_prefix:
            raise ConfigError(f"{self.location} is not an object.", hint="s3://bucket/name")
        if self.location and self.bucket:
            raise ConfigError("The bucket of an object is a part of its URI.")
        if self.principal and _BARE_NAME.fullmatch(self.principal):
            raise ConfigError(
                f"{self.principal!r} is not a principal of CloudTrail's records.",
                hint="Give an ARN, such as arn:aws:iam::123456789012:user/NAME.",
            )
        if self.since and self.until and self.since > self.until:
            raise ConfigError("The requested time ends before it begins.")

    def __str__(self) -> str:
        return str(self.location or self.key or self.principal)

    def is_answered_by(self, access: Access) -> bool:
        """Return whether an access answers the question."""
        if (self.since and access.time < self.since) or (self.until and access.time > self.until):
            return False
        if self.bucket and access.bucket not in (None, self.bucket):
            return False
        if self.location:
            return self._is_about_object(access)
        if self.key:
            return any(_is_key(arn, self.key) for arn in access.keys)
        return self.principal in (
            access.principal.name,
            access.principal.issuer,
            access.principal.service,
            access.principal.id,
        )

    def _is_about_object(self, access: Access) -> bool:
        where = self.location
        if where is None or access.bucket not in (None, where.bucket):
            return False
        return access.name == where.name or (access.name is None and access.level == "bucket")


class Looker:
    """Classifies raw records for one question, as they arrive.

    Args:
        question: The question.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        # Times are compared as text, which gives the right order. An access has the time of its S3
        # event, so KMS events up to WINDOW outside the period are also needed.
        self._since = _text(question.since, -WINDOW)
        self._until = _text(question.until, WINDOW)
        self._name = question.location.name if question.location else None
        self._bucket = question.location.bucket if question.location else None
        self._account = (question.principal or "").split(":")[4:5]

    def look(self, record: Record) -> Look:
        """Return the kind of a record: whether and how it may contribute to the answer.

        A `wanted` record may be an answer. A `partner` record is only used to complete a KMS
        record. A `nameless` record may be about the question's object, key or principal, but does
        not name it. An `other` record is not needed.
        """
        service = SERVICES.get(record.get("eventSource", ""))
        time = record.get("eventTime")
        if service is None or not isinstance(time, str):
            return "other"
        if time < self._since or (self._until and time > self._until):
            return "other"
        if service == "s3":
            return self._look_at_s3(record)
        return self._look_at_kms(record)

    def _look_at_s3(self, record: Record) -> Look:
        asked = record.get("requestParameters")
        if not isinstance(asked, dict):
            return "other"
        name = asked.get("key")
        if name is None and record.get("eventName") != "DeleteObjects":
            # The request is about the bucket, not about an object.
            return "other"
        if self._question.key:
            arn = key_of_write(record)
            return "wanted" if arn and _is_key(arn, self._question.key) else "partner"
        return (
            self._look_at_object(record, asked) if self._name else self._look_at_principal(record)
        )

    def _look_at_object(self, record: Record, asked: Mapping[str, Any]) -> Look:
        name = asked.get("key")
        if name == self._name:
            return "wanted"
        if name is None:
            # If the request named an access point, only the record's resources name the bucket.
            is_there = any(place.bucket == self._bucket for place in places_of(record))
            return "wanted" if is_there else "other"
        source = copy_source(record) if "x-amz-copy-source" in asked else None
        return "wanted" if source and source.name == self._name else "other"

    def _look_at_kms(self, record: Record) -> Look:
        is_use = record.get("eventName") in CRYPTOGRAPHIC
        if not is_use and str(record.get("readOnly")).lower() == "true":
            # A read-only request about the key, such as DescribeKey, does not use the key.
            return "other"
        if self._question.key:
            keys = keys_of(record)
            if not keys:
                return "nameless" if is_use else "other"
            return "wanted" if any(_is_key(arn, self._question.key) for arn in keys) else "other"
        if self._question.principal:
            return self._look_at_principal(record)
        places = places_of_contexts(record)
        if not places:
            return "nameless" if is_use else "other"
        return "wanted" if any(self._may_be(place) for place in places) else "other"

    def _may_be(self, place: Place) -> bool:
        if place.bucket not in (None, self._bucket):
            return False
        return place.name in (None, self._name)

    def _look_at_principal(self, record: Record) -> Look:
        asked = self._question.principal
        identity = record.get("userIdentity")
        if not isinstance(identity, dict):
            return "other"
        arn = identity.get("arn")
        if asked in (arn, identity.get("principalId"), identity.get("invokedBy")):
            return "wanted"
        if _issuer(identity) == asked:
            return "wanted"
        # In the owner's records, a caller from another account may be named only by its account id.
        is_hidden = not arn and identity.get("type") == "AWSAccount"
        return "nameless" if is_hidden and [identity.get("accountId")] == self._account else "other"


def _issuer(identity: Mapping[str, Any]) -> object:
    session = identity.get("sessionContext")
    issuer = session.get("sessionIssuer") if isinstance(session, dict) else None
    return issuer.get("arn") if isinstance(issuer, dict) else None


def _is_key(arn: str, asked: str) -> bool:
    return arn == asked or arn.endswith(f":key/{asked}")


def _text(time: datetime | None, margin: timedelta) -> str:
    moved = shifted(time, margin)
    return f"{moved.replace(tzinfo=None, microsecond=0).isoformat()}Z" if moved else ""
