# SPDX-License-Identifier: Apache-2.0
"""DeleteObjects: up to 1,000 keys of a bucket, each with its own result.

`objects` has the rule of DeleteObject, which deletes one key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from s3crypt.sandbox.wire import Refusal, Reply, Request, xml_reply

from . import bodies
from .conditions import check_tag
from .locks import check_deletable
from .operations import BUCKET, Operation, Rules
from .refusals import access_denied, invalid, invalid_request
from .replication import replicate_marker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3crypt.sandbox.backend import Moto

_MAX_KEYS = 1000
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
# Conditions that S3 supports only in directory buckets.
_OF_DIRECTORY_BUCKETS = frozenset({"LastModifiedTime", "Size"})


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A key to delete. `version` names one version; with `etag`, the object must have this ETag."""

    key: str
    version: str | None
    etag: str | None

    @classmethod
    def of(cls, element: ET.Element) -> _Wanted:
        """Return the key to delete from an <Object> element."""
        texts = {_name(child): child.text or "" for child in element}
        if texts.keys() & _OF_DIRECTORY_BUCKETS:
            raise Refusal(
                501,
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
            )
        if not texts.get("Key") or texts.keys() - {"Key", "VersionId", "ETag"}:
            raise _malformed()
        return cls(texts["Key"], texts.get("VersionId"), texts.get("ETag"))


def keys_of(request: Request) -> set[str]:
    """Return the keys of a DeleteObjects request, or an empty set for any other request."""
    if request.method != "POST" or request.key or "delete" not in request.query:
        return set()
    return {wanted.key for wanted in _read(request)[0]}


def _delete(moto: Moto, request: Request) -> Reply:
    """Delete each key or report its error. A key that does not exist counts as deleted."""
    if moto.bucket(request.bucket) is None:
        return moto(request)
    if "content-md5" not in request.headers and bodies.checksum_of(request) is None:
        raise invalid_request("Missing required header for this request: Content-MD5")
    wanted, is_quiet = _read(request)
    results = ""
    for one in wanted:
        try:
            deleted = _delete_one(moto, request, one)
        except Refusal as refusal:
            said = {"Code": refusal.code, "Message": refusal.message}
            results += f"<Error>{_elements(one, said)}</Error>"
        else:
            if not is_quiet:
                results += f"<Deleted>{_elements(one, deleted)}</Deleted>"
    root = "DeleteResult"
    return xml_reply(200, f'<{root} xmlns="{_NAMESPACE[1:-1]}">{results}</{root}>')


def _delete_one(moto: Moto, request: Request, wanted: _Wanted) -> Mapping[str, str]:
    """Delete a key. Return the elements of its result, without the key's name and version."""
    bucket, key, version = request.bucket, wanted.key, wanted.version
    if moto.denies(bucket, key, "s3:DeleteObjectVersion" if version else "s3:DeleteObject"):
        raise access_denied()
    if wanted.etag is not None:
        check_tag(moto.object(bucket, key), wanted.etag, "If-Match")
    if version:
        check_deletable(moto.object(bucket, key, version))
    bypass = request.headers.get("x-amz-bypass-governance-retention", "").lower() == "true"
    marker = moto.delete(bucket, key, version, bypass=bypass)
    if marker and not version:
        replicate_marker(moto, bucket, key)
    return {"DeleteMarker": "true", "DeleteMarkerVersionId": marker} if marker else {}


def _read(request: Request) -> tuple[list[_Wanted], bool]:
    """Return the keys to delete, and whether the reply must omit deleted keys (Quiet)."""
    try:
        # Safe: expat limits the expansion of entities, and the sandbox listens only on loopback.
        root = ET.fromstring(request.body)  # noqa: S314
    except ET.ParseError:
        raise _malformed() from None
    wanted = [_Wanted.of(child) for child in root if _name(child) == "Object"]
    if _name(root) != "Delete" or not 0 < len(wanted) <= _MAX_KEYS:
        raise _malformed()
    is_quiet = any(_name(child) == "Quiet" and child.text == "true" for child in root)
    return wanted, is_quiet


def _name(element: ET.Element) -> str:
    return element.tag.removeprefix(_NAMESPACE)


def _elements(wanted: _Wanted, more: Mapping[str, str]) -> str:
    version = {"VersionId": wanted.version} if wanted.version else {}
    parts = {"Key": wanted.key, **version, **more}
    # Escape the carriage return: an XML parser would read it as a newline.
    return "".join(
        f"<{name}>{escape(value, {chr(13): '&#13;'})}</{name}>" for name, value in parts.items()
    )


def _malformed() -> Refusal:
    return invalid(
        "The XML you provided was not well-formed or did not validate against our published schema",
        "MalformedXML",
    )


RULES: Rules = {Operation("POST", BUCKET, "delete"): _delete}
