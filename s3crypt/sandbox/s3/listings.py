# SPDX-License-Identifier: Apache-2.0
"""Listings of buckets, open uploads and versions, in pages.

moto's listings of buckets and uploads have no pages or no markers. moto's listing of versions does
not encode the names.
"""

from __future__ import annotations

import base64
import binascii
import operator
from dataclasses import dataclass
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
_MAX_BUCKETS, _MAX_KEYS, _MAX_UPLOADS = 10_000, 1000, 1000


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
    found = [(upload.key_name, upload) for upload in _in_order(bucket.multiparts.values())]
    names = [(name, upload.id) for name, upload in found]
    page = _page(found[_start(names, after) :], prefix, delimiter, limit)
    parts = {
        "Bucket": bucket.name,
        "KeyMarker": shown(after[0]),
        "UploadIdMarker": escape(after[1]),
        "Prefix": shown(prefix),
        "Delimiter": shown(delimiter),
        "EncodingType": asked.get("encoding-type", ""),
        "MaxUploads": str(limit),
        "IsTruncated": str(page.is_cut).lower(),
        "NextKeyMarker": shown(page.last.key_name) if page.is_cut else "",
        "NextUploadIdMarker": page.last.id if page.is_cut else "",
    }
    kept = {"Bucket", "KeyMarker", "UploadIdMarker", "MaxUploads", "IsTruncated"}
    entries = "".join(_upload(upload, shown) for upload in page.entries)
    inner = _elements(parts, kept) + entries + _groups(page, shown)
    return _reply("ListMultipartUploadsResult", inner)


def _versions(moto: Moto, request: Request) -> Reply:
    """Return a page of a bucket's versions and delete markers.

    It is sorted by name, and for each name from the newest version to the oldest. moto does not
    encode the names, and cannot write control characters into XML.
    """
    bucket, asked = existing_bucket(moto, request), request.query
    limit = min(int(asked.get("max-keys", _MAX_KEYS)), _MAX_KEYS)
    shown = _encoder(asked.get("encoding-type"))
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
    after = (asked.get("key-marker", ""), asked.get("version-id-marker", ""))
    held = sorted(bucket.keys.lists(), key=lambda pair: str(pair[0]).encode())
    latest = {id(versions[-1]) for _, versions in held}
    found = [(name, version) for name, versions in held for version in reversed(versions)]
    names = [(name, version.version_id) for name, version in found]
    page = _page(found[_start(names, after) :], prefix, delimiter, limit)
    parts = {
        "Name": bucket.name,
        "Prefix": shown(prefix),
        "KeyMarker": shown(after[0]),
        "VersionIdMarker": escape(after[1]),
        "MaxKeys": str(limit),
        "Delimiter": shown(delimiter),
        "EncodingType": asked.get("encoding-type", ""),
        "IsTruncated": str(page.is_cut).lower(),
        "NextKeyMarker": shown(page.last.name) if page.is_cut else "",
        "NextVersionIdMarker": page.last.version_id if page.is_cut else "",
    }
    kept = {"Name", "Prefix", "KeyMarker", "VersionIdMarker", "MaxKeys", "IsTruncated"}
    entries = "".join(
        _version(each, shown, is_latest=id(each) in latest, is_marker=moto.is_marker(each))
        for each in page.entries
    )
    return _reply("ListVersionsResult", _elements(parts, kept) + entries + _groups(page, shown))


def _version(version: Any, shown: Callable[[str], str], *, is_latest: bool, is_marker: bool) -> str:
    facts = (
        f"<Key>{shown(version.name)}</Key><VersionId>{version.version_id}</VersionId>"
        f"<IsLatest>{str(is_latest).lower()}</IsLatest>"
        f"<LastModified>{version.last_modified_ISO8601}</LastModified>"
        f"<Owner><ID>{_OWNER}</ID></Owner>"
    )
    if is_marker:
        return f"<DeleteMarker>{facts}</DeleteMarker>"
    return (
        f"<Version>{facts}<ETag>{escape(version.etag)}</ETag><Size>{version.size}</Size>"
        f"<StorageClass>{version.storage_class}</StorageClass></Version>"
    )


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a listing. `last` is the last thing on the page, as an entry or within a group."""

    entries: list[Any]
    groups: list[str]
    last: Any
    is_cut: bool


def _page(found: Iterable[tuple[str, Any]], prefix: str, delimiter: str, limit: int) -> _Page:
    """Return the first `limit` entries and groups.

    A group stands for all names with a common prefix.
    """
    entries: list[Any] = []
    groups: dict[str, None] = {}
    last: Any = None
    for name, thing in found:
        if not name.startswith(prefix):
            continue
        rest = name[len(prefix) :]
        cut = rest.find(delimiter) if delimiter else -1
        group = prefix + rest[: cut + len(delimiter)] if cut >= 0 else None
        if group not in groups:
            if len(entries) + len(groups) == limit:
                return _Page(entries, list(groups), last, last is not None)
            if group is None:
                entries.append(thing)
            else:
                groups[group] = None
        last = thing
    return _Page(entries, list(groups), last, False)


def _start(names: list[tuple[str, str]], after: tuple[str, str]) -> int:
    """Return the index of the first name that comes after a marker."""
    name, identity = after
    if identity and after in names:
        return names.index(after) + 1
    is_after = operator.ge if identity else operator.gt
    indexes = (at for at, each in enumerate(names) if is_after(each[0].encode(), name.encode()))
    return next(indexes, len(names))


def _elements(parts: dict[str, str], kept: set[str]) -> str:
    """Return XML elements. An empty element is left out unless it is in `kept`."""
    return "".join(
        f"<{name}>{text}</{name}>" for name, text in parts.items() if text or name in kept
    )


def _groups(page: _Page, shown: Callable[[str], str]) -> str:
    return "".join(
        f"<CommonPrefixes><Prefix>{shown(group)}</Prefix></CommonPrefixes>" for group in page.groups
    )


def _in_order(uploads: Iterable[Any]) -> list[Any]:
    # S3 orders names by their UTF-8 bytes.
    return sorted(uploads, key=lambda one: (one.key_name.encode(), one.s3crypt_begun, one.id))


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
    Operation("GET", BUCKET, "versions"): _versions,
}
