# SPDX-License-Identifier: Apache-2.0
"""Listings of buckets and open uploads in pages. moto's listings have no pages or no markers."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from s3crypt.sandbox.wire import Reply, Request, xml_reply

from .bucket_documents import existing_bucket
from .operations import ACCOUNT, BUCKET, Operation, Rules
from .refusals import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from s3crypt.sandbox.backend import Moto

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_OWNER = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a"
_MAX_BUCKETS, _MAX_UPLOADS = 10_000, 1000


def _buckets(moto: Moto, request: Request) -> Reply:
    """Return a page of the buckets, sorted by name, filtered by the requested prefix and Region."""
    asked = request.query
    prefix, region = asked.get("prefix", ""), asked.get("bucket-region")
    limit = _number(asked, "max-buckets", _MAX_BUCKETS)
    after = _decoded(asked.get("continuation-token", ""))
    found = sorted(
        (
            bucket
            for bucket in moto.buckets()
            if bucket.name.startswith(prefix)
            and bucket.name > after
            and region in {None, bucket.region_name}
        ),
        key=lambda bucket: str(bucket.name),
    )
    shows_region = bool(
        {"max-buckets", "prefix", "bucket-region", "continuation-token"} & set(asked)
    )
    entries = "".join(_bucket(bucket, shows_region) for bucket in found[:limit])
    more = ""
    if len(found) > limit:
        token = base64.b64encode(found[limit - 1].name.encode()).decode()
        more = f"<ContinuationToken>{token}</ContinuationToken>"
    if "prefix" in asked:
        more += f"<Prefix>{escape(prefix)}</Prefix>"
    owner = f"<Owner><ID>{_OWNER}</ID></Owner>"
    return _reply("ListAllMyBucketsResult", f"{owner}<Buckets>{entries}</Buckets>{more}")


def _bucket(bucket: Any, shows_region: bool) -> str:
    region = f"<BucketRegion>{bucket.region_name}</BucketRegion>" if shows_region else ""
    made = f"{bucket.creation_date:%Y-%m-%dT%H:%M:%S.000Z}"
    arn = f"<BucketArn>arn:aws:s3:::{bucket.name}</BucketArn>"
    return (
        f"<Bucket><Name>{bucket.name}</Name><CreationDate>{made}</CreationDate>"
        f"{region}{arn if shows_region else ''}</Bucket>"
    )


def _uploads(moto: Moto, request: Request) -> Reply:
    """Return a page of a bucket's open uploads, sorted by name and then by start time."""
    bucket, asked = existing_bucket(moto, request), request.query
    limit = _number(asked, "max-uploads", _MAX_UPLOADS)
    shown = _encoder(asked.get("encoding-type"))
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
    after = (asked.get("key-marker", ""), asked.get("upload-id-marker", ""))
    found = _after(bucket.multiparts.values(), prefix, after)
    entries: list[str] = []
    common: dict[str, None] = {}
    last: Any = None
    is_cut = False
    for upload in found:
        rest = upload.key_name[len(prefix) :]
        cut = rest.find(delimiter) if delimiter else -1
        group = prefix + rest[: cut + len(delimiter)] if cut >= 0 else None
        if group not in common:
            if len(entries) + len(common) == limit:
                is_cut = True
                break
            if group is None:
                entries.append(_upload(upload, shown))
            else:
                common[group] = None
        last = upload
    parts = {
        "Bucket": bucket.name,
        "KeyMarker": shown(after[0]),
        "UploadIdMarker": escape(after[1]),
        "Prefix": shown(prefix),
        "Delimiter": shown(delimiter),
        "EncodingType": asked.get("encoding-type", ""),
        "MaxUploads": str(limit),
        "IsTruncated": str(is_cut).lower(),
        "NextKeyMarker": shown(last.key_name) if is_cut and last else "",
        "NextUploadIdMarker": last.id if is_cut and last else "",
    }
    kept = {"Bucket", "KeyMarker", "UploadIdMarker", "MaxUploads", "IsTruncated"}
    inner = "".join(
        f"<{name}>{text}</{name}>" for name, text in parts.items() if text or name in kept
    )
    groups = "".join(
        f"<CommonPrefixes><Prefix>{shown(group)}</Prefix></CommonPrefixes>" for group in common
    )
    return _reply("ListMultipartUploadsResult", inner + "".join(entries) + groups)


def _after(uploads: Iterable[Any], prefix: str, after: tuple[str, str]) -> list[Any]:
    """Return the uploads whose names have the prefix and that are listed after the marker."""
    # S3 orders names by their UTF-8 bytes.
    ordered = sorted(uploads, key=lambda one: (one.key_name.encode(), one.s3crypt_begun, one.id))
    matching = [one for one in ordered if one.key_name.startswith(prefix)]
    key, identity = after
    if not identity:
        return [one for one in matching if one.key_name.encode() > key.encode()]
    ids = [one.id for one in matching]
    start = ids.index(identity) + 1 if identity in ids else 0
    return [one for one in matching[start:] if one.key_name.encode() >= key.encode()]


def _upload(upload: Any, shown: Callable[[str], str]) -> str:
    person = f"<ID>{_OWNER}</ID>"
    return (
        f"<Upload><Key>{shown(upload.key_name)}</Key><UploadId>{upload.id}</UploadId>"
        f"<Initiator>{person}</Initiator><Owner>{person}</Owner>"
        f"<StorageClass>{upload.storage or 'STANDARD'}</StorageClass>"
        f"<Initiated>{upload.s3crypt_begun:%Y-%m-%dT%H:%M:%S.000Z}</Initiated></Upload>"
    )


def _encoder(kind: str | None) -> Callable[[str], str]:
    if kind not in {None, "url"}:
        raise invalid("Invalid Encoding Method specified in Request")
    return (lambda text: quote(text, safe="/")) if kind == "url" else escape


def _number(asked: dict[str, str], name: str, most: int) -> int:
    text = asked.get(name, str(most))
    if not text.isdigit() or not 0 < int(text) <= most:
        raise invalid(f"Argument {name} must be an integer between 1 and {most}")
    return int(text)


def _decoded(token: str) -> str:
    try:
        return base64.b64decode(token, validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid("The continuation token provided is incorrect") from None


def _reply(root: str, inner: str) -> Reply:
    return xml_reply(200, f'<{root} xmlns="{_NAMESPACE}">{inner}</{root}>')


RULES: Rules = {
    Operation("GET", ACCOUNT): _buckets,
    Operation("GET", BUCKET, "uploads"): _uploads,
}
