# SPDX-License-Identifier: Apache-2.0
"""Parses CloudTrail records from trail files, LookupEvents or EventBridge into values.

Unknown fields are ignored, and fields of an unexpected type count as absent. The rules follow
CloudTrail's documentation of record contents, event version 1.
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html

Each function reads a single record. This module makes no requests and does not know questions.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote

from s3crypt.modes import BOUND_BUCKET, BOUND_NAME

Record: TypeAlias = Mapping[str, Any]
Kind: TypeAlias = Literal["call", "summary", "other version", "other form"]
Service: TypeAlias = Literal["s3", "kms"]

SERVICES: Mapping[str, Service] = {
    "kms.amazonaws.com": "kms",
    "s3.amazonaws.com": "s3",
    "s3express.amazonaws.com": "s3",
}
"""The event sources whose records show accesses to objects and keys."""

CRYPTOGRAPHIC = frozenset(
    {
        "Decrypt",
        "DeriveSharedSecret",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateMac",
        "ReEncrypt",
        "Sign",
        "Verify",
        "VerifyMac",
    }
)
"""The KMS actions that use a key. CloudTrail marks all of them as read-only."""

_CONTEXTS = (
    "encryptionContext",
    "sourceEncryptionContext",
    "destinationEncryptionContext",
)
_S3_ARN = "aws:s3:arn"
# The ARN of a bucket or an object, including directory buckets.
_ARN_OF_S3 = re.compile(
    r"arn:aws[a-z-]*:(?:s3:::|s3express:[^:]*:[^:]*:bucket/)([^/]+)(?:/(.*))?", re.DOTALL
)
_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]*:[0-9]{12}:key/[A-Za-z0-9-]+")
_DENIALS = ("AccessDenied", "Unauthorized", "NotAuthorized", "AuthorizationError", "Forbidden")
DRY_RUN = "DryRunOperationException"
"""The error code of a DryRun request that KMS would have allowed."""
_ANONYMOUS = frozenset({"ANONYMOUS_PRINCIPAL", "anonymous"})


@dataclass(frozen=True, slots=True)
class Principal:
    """The principal that made a request, as the record names it.

    Attributes:
        kind: CloudTrail's type of identity, such as `AssumedRole`. Empty if the record has no type.
        name: The ARN. If the record has no ARN, this is the name of a service, an account and the
            id of a principal in it, or `anonymous`.
        has_arn: Whether `name` is an ARN. False if the caller is from another account than the
            owner of the bucket or key, because CloudTrail then hides the ARN from the owner.
        account: The account of the caller. Empty for a service.
        id: CloudTrail's principal id. It is the same in the records of the caller's account and of
            the owner's account.
        issuer: The ARN, including the path, of the role whose session made the request; None
            without a session.
        service: The AWS service that made the request, for the caller or on its own behalf. None if
            the caller made the request itself.
    """

    kind: str
    name: str
    has_arn: bool
    account: str
    id: str
    issuer: str | None
    service: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """The object or bucket that an event is about, as far as it is known.

    Attributes:
        bucket: The bucket; None if it is unknown.
        name: The object's name in the bucket; None if it is unknown.
    """

    bucket: str | None = None
    name: str | None = None


NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Event:
    """One request to S3 or KMS.

    Attributes:
        id: CloudTrail's id of the record.
        time: The time of the request, to the second.
        service: The service that received the request.
        action: The API's name of the operation.
        principal: The principal that made the request.
        address: The source address, or the name of an AWS service, which CloudTrail records
            instead.
        error: The error's code; None for a success.
        keys: The ARNs of the KMS keys. For ReEncrypt, the source key comes first and the
            destination key second.
        places: The objects or buckets that the event is about. For a copy, the destination comes
            first and the source second.
    """

    id: str
    time: datetime
    service: Service
    action: str
    principal: Principal
    address: str
    error: str | None
    keys: tuple[str, ...]
    places: tuple[Place, ...]


def unwrapped(value: object) -> Record | None:
    """Return the record in a value from a file, from LookupEvents or from EventBridge.

    The result is None if the value is not a JSON object.
    """
    if not isinstance(value, dict):
        return None
    if "CloudTrailEvent" in value:
        try:
            inside = json.loads(value["CloudTrailEvent"])
        except (ValueError, TypeError, RecursionError):
            return {}
        return inside if isinstance(inside, dict) else {}
    if "detail" in value and "detail-type" in value:
        detail = value["detail"]
        return detail if isinstance(detail, dict) else {}
    return value


def kind_of(record: Record) -> Kind:
    """Return a record's kind.

    Aggregated events and insight events, which name no call, are `summary`.
    """
    if record.get("eventCategory") in ("Aggregated", "Insight") or record.get("eventType") in (
        "AwsAggregatedEvent",
        "AwsCloudTrailInsight",
    ):
        return "summary"
    version, source = record.get("eventVersion"), record.get("eventSource")
    if not (
        isinstance(version, str)
        and isinstance(source, str)
        and isinstance(record.get("eventName"), str)
    ):
        return "other form"
    if not version.startswith("1."):
        return "other version"
    if source in SERVICES and not (
        isinstance(record.get("eventID"), str) and _is_time(record.get("eventTime"))
    ):
        return "other form"
    return "call"


def _is_time(value: object) -> bool:
    return isinstance(value, str) and _is_written_time(value)


# Cached because many records have the same second.
@lru_cache(maxsize=1024)
def _is_written_time(value: str) -> bool:
    """Return whether a string is a time in CloudTrail's format. Such strings sort by time."""
    if not _TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")


def event_of(record: Record) -> Event:
    """Return the event of an S3 or KMS record whose kind is `call`."""
    service = SERVICES[record["eventSource"]]
    return Event(
        id=record["eventID"],
        time=time_of(record),
        service=service,
        action=record["eventName"],
        principal=principal_of(record),
        address=_text(record.get("sourceIPAddress")),
        error=error_of(record),
        keys=keys_of(record) if service == "kms" else _only(key_of_write(record)),
        places=places_of(record),
    )


def error_of(record: Record) -> str | None:
    """Return the error's code, or None.

    An error field with an unexpected form also counts as an error.
    """
    code = record.get("errorCode")
    if code is None or code == "":
        return "UnknownError" if record.get("errorMessage") else None
    return _text(code) or str(code)


def is_for_s3(record: Record) -> bool:
    """Return whether S3 made a request to KMS, for its caller or on its own behalf.

    Older records have `AWS Internal` instead of the service's name. This may mean any service, and
    is assumed to mean S3.
    """
    identity = _object(record.get("userIdentity"))
    service = _text(identity.get("invokedBy")) or _text(record.get("sourceIPAddress"))
    return bool(_S3_NAME.fullmatch(service)) or service == "AWS Internal"


def time_of(record: Record) -> datetime:
    """Return the time of the request in a record whose kind is `call`."""
    return datetime.fromisoformat(record["eventTime"])


def mark_of(record: Record) -> str:
    """Return an identifier of the caller.

    It is the same in the records of the caller's account and of the owner's account.
    """
    identity = record.get("userIdentity")
    found = identity.get("principalId") if isinstance(identity, dict) else None
    return found if isinstance(found, str) and found else principal_of(record).name


def places_of(record: Record) -> tuple[Place, ...]:
    """Return the objects and buckets that a record of S3 or KMS names."""
    if record.get("eventSource") == "kms.amazonaws.com":
        return places_of_contexts(record)
    return _places_in_s3(record)


def essence_of(record: Record) -> dict[str, Any]:
    """Return the fields of a record that `event_of` reads, about half of the record."""
    return {name: record[name] for name in _READ if name in record}


_READ = (
    "errorCode",
    "errorMessage",
    "eventID",
    "eventName",
    "eventSource",
    "eventTime",
    "requestParameters",
    "resources",
    "responseElements",
    "sharedEventID",
    "sourceIPAddress",
    "userIdentity",
)


def principal_of(record: Record) -> Principal:
    """Return the principal that made a request."""
    identity = _object(record.get("userIdentity"))
    arn, account = _text(identity.get("arn")), _text(identity.get("accountId"))
    principal_id, service = _text(identity.get("principalId")), _text(identity.get("invokedBy"))
    issuer = _object(_object(identity.get("sessionContext")).get("sessionIssuer"))
    on_behalf = _object(identity.get("onBehalfOf"))
    within = principal_id or _text(identity.get("userName")) or _text(on_behalf.get("userId"))
    other = " ".join(part for part in (account, within) if part) or service or "unknown"
    return Principal(
        kind=_text(identity.get("type")),
        name=arn or ("anonymous" if account in _ANONYMOUS else other),
        has_arn=bool(arn),
        account=account,
        id=principal_id,
        issuer=_text(issuer.get("arn")) or None,
        service=service or None,
    )


def key_of_write(record: Record) -> str:
    """Return the ARN of the KMS key in the headers of a write to S3, or an empty string."""
    for part in ("responseElements", "requestParameters"):
        headers = record.get(part)
        if isinstance(headers, dict) and _KEY_HEADER in headers:
            arn = _text(headers[_KEY_HEADER])
            if _KEY_ARN.fullmatch(arn):
                return arn
    return ""


def keys_of(record: Record) -> tuple[str, ...]:
    """Return the ARNs of the KMS keys in a KMS record, in the order of the record."""
    found = dict.fromkeys(
        arn for arn in _resources(record) if ":kms:" in arn and _KEY_ARN.fullmatch(arn)
    )
    if not found:
        # The record of a denied request may name the key only in the error message.
        parts = (record.get("requestParameters"), record.get("responseElements"))
        texts = [_text(_object(part).get("keyId")) for part in parts]
        texts.append(_text(record.get("errorMessage")))
        found = dict.fromkeys(arn for text in texts if text for arn in _KEY_ARN.findall(text))
    return tuple(found)


_KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"


def places_of_contexts(record: Record) -> tuple[Place, ...]:
    """Return the objects and buckets in the encryption contexts of a request to KMS.

    The contexts of S3 name the object, or only the bucket if a Bucket Key is used. The contexts of
    s3crypt name the object. They also name the bucket if the object was written with `bind_bucket`.
    """
    asked = _object(record.get("requestParameters"))
    found: dict[Place, None] = {}
    for name in _CONTEXTS:
        context = _object(asked.get(name))
        if not context:
            continue
        place = _place_of_arn(_text(context.get(_S3_ARN)))
        if place == NOWHERE and BOUND_NAME in context:
            place = Place(_text(context.get(BOUND_BUCKET)) or None, _text(context[BOUND_NAME]))
        if place != NOWHERE:
            found[place] = None
    return tuple(found)


def _places_in_s3(record: Record) -> tuple[Place, ...]:
    asked = _object(record.get("requestParameters"))
    bucket, name = _text(asked.get("bucketName")) or None, _text(asked.get("key")) or None
    if bucket is None or bucket.endswith(_ACCESS_POINTS) or ":" in bucket:
        of_resources = map(_place_of_arn, _resources(record))
        bucket = next((place.bucket for place in of_resources if place.bucket), bucket)
    source = copy_source(record) if "x-amz-copy-source" in asked else None
    return tuple(dict.fromkeys(place for place in (Place(bucket, name), source) if place))


# Suffixes of access point aliases. An alias is not the bucket; the record's resources name the
# bucket.
_ACCESS_POINTS = ("-s3alias", "--ol-s3", "--xa-s3")


def copy_source(record: Record) -> Place | None:
    """Return the object that a copy reads, or None if the request is not a copy."""
    asked = _object(record.get("requestParameters"))
    header = _text(asked.get("x-amz-copy-source"))
    if not header:
        return None
    path = unquote(header.partition("?versionId=")[0]).removeprefix("/")
    if path.startswith("arn:"):
        return _place_of_arn(path)
    bucket, _, name = path.partition("/")
    return Place(bucket, name)


def is_denial(error: str) -> bool:
    """Return whether an error's code means that the caller lacked a permission."""
    return any(word in error for word in _DENIALS)


def _resources(record: Record) -> Iterator[str]:
    listed = record.get("resources")
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict):
            arn = each.get("ARN") or each.get("arn")
            if isinstance(arn, str):
                yield arn


def _place_of_arn(arn: str) -> Place:
    match = _ARN_OF_S3.fullmatch(arn)
    return Place(match[1], match[2] or None) if match else NOWHERE


# S3's service name, optionally with a Region and with the prefix `fas.`.
_S3_NAME = re.compile(r"(?:fas\.)?s3(?:\.[a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?")


def _only(text: str) -> tuple[str, ...]:
    return (text,) if text else ()


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """Return a value if it is a string, or a list with one string; otherwise return ""."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else ""
