# SPDX-License-Identifier: Apache-2.0
"""Inventory configurations of a bucket: up to 1,000, each stored and returned as it was written.

The sandbox delivers no inventories.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from s3crypt.sandbox.wire import Refusal, Reply, Request, xml_reply

from .bucket_documents import existing_bucket, malformed, parsed, text_of, texts_of
from .operations import ANY, BUCKET, Operation, Rules
from .refusals import invalid

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

_ROOT, _PARAMETER = "InventoryConfiguration", "inventory"
_PAGE, _MOST = 100, 1000
_DESTINATION = "Destination/S3BucketDestination"
# Path of an element -> the texts that S3 accepts in it.
_CHOICES = {
    "IsEnabled": {"true", "false"},
    "IncludedObjectVersions": {"All", "Current"},
    "Schedule/Frequency": {"Daily", "Weekly"},
    f"{_DESTINATION}/Format": {"CSV", "ORC", "Parquet"},
}
_FIELDS = frozenset(
    {"Size", "LastModifiedDate", "StorageClass", "ETag", "IsMultipartUploaded"}
    | {"ReplicationStatus", "EncryptionStatus", "ObjectLockRetainUntilDate", "ObjectLockMode"}
    | {"ObjectLockLegalHoldStatus", "IntelligentTieringAccessTier", "BucketKeyStatus"}
    | {"ChecksumAlgorithm", "ObjectAccessControlList", "ObjectOwner", "LifecycleExpirationDate"}
    | {"ObjectLockEventHoldStatus", "ObjectLockEventHoldDuration"}
)


def _answer(moto: Moto, request: Request) -> Reply:
    """Put, get, list or delete inventory configurations."""
    bucket = existing_bucket(moto, request)
    found = _kept(bucket)
    identity = request.query.get("id")
    match request.method, identity:
        case "GET", None:
            return _list(request, found)
        case "GET", str():
            if identity not in found:
                raise _absent()
            return xml_reply(200, found[identity])
        case "PUT", str():
            return _put(request, found, identity)
        case "DELETE", str():
            if found.pop(identity, None) is None:
                raise _absent()
            return Reply(204)
        case _:
            raise invalid("Missing required parameter: id")


def _put(request: Request, found: dict[str, str], identity: str) -> Reply:
    document = parsed(request.body, _ROOT)
    if text_of(document, "Id") != identity:
        raise invalid("The Id in the request does not match the Id in the configuration.")
    for path, choices in _CHOICES.items():
        if text_of(document, path) not in choices:
            raise malformed()
    if set(texts_of(document, "OptionalFields/Field")) - _FIELDS:
        raise malformed()
    target = text_of(document, f"{_DESTINATION}/Bucket") or ""
    if re.fullmatch(r"arn:aws[a-z-]*:s3:::[^/:]+", target) is None:
        raise invalid("Invalid bucket ARN.", "InvalidS3DestinationBucket")
    if identity not in found and len(found) >= _MOST:
        raise Refusal(400, "TooManyConfigurations", "A bucket has 1,000 configurations at most.")
    found[identity] = ET.tostring(document, encoding="unicode")
    return Reply(204)


def _list(request: Request, found: dict[str, str]) -> Reply:
    after = request.query.get("continuation-token", "")
    ids = [identity for identity in sorted(found) if identity > after]
    page = ids[:_PAGE]
    more = len(ids) > _PAGE
    token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
    inner = "".join(found[identity] for identity in page)
    inner += f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
    root = "ListInventoryConfigurationsResult"
    return xml_reply(200, f"<{root}>{inner}</{root}>")


def _kept(bucket: Any) -> dict[str, str]:
    found: dict[str, str] | None = getattr(bucket, "s3crypt_inventories", None)
    if found is None:
        found = bucket.s3crypt_inventories = {}
    return found


def _absent() -> Refusal:
    return Refusal(404, "NoSuchConfiguration", "The specified configuration does not exist.")


RULES: Rules = {Operation(ANY, BUCKET, _PARAMETER): _answer}
