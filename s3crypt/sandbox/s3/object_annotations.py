# SPDX-License-Identifier: Apache-2.0
"""Annotations: named texts that S3 stores beside an object version, since 2026.

moto lacks annotations. A copy gets the annotations of its source, unless the request excludes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import md5
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from s3crypt.sandbox.wire import Refusal, Reply, Request, xml_reply

from .conditions import check_annotated, existing
from .encryption import Seal, check_readable, seal_of
from .operations import ANY, OBJECT, Operation, Rules
from .refusals import invalid, invalid_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3crypt.sandbox.backend import Moto

_DIRECTIVE = "x-amz-object-annotation-directive"
_MAX_ANNOTATIONS, _MAX_NAME, _MAX_PAYLOAD = 1000, 512, 2**20


@dataclass(frozen=True, slots=True)
class Annotation:
    """A named text beside an object version."""

    payload: bytes = field(repr=False)
    written: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def etag(self) -> str:
        """The annotation's ETag, with quotes."""
        return f'"{md5(self.payload, usedforsecurity=False).hexdigest()}"'


def annotations_of(thing: Any) -> dict[str, Annotation]:
    """Return the annotations of moto's object version: name -> annotation.

    The caller may modify them.
    """
    found: dict[str, Annotation] | None = getattr(thing, "s3crypt_annotations", None)
    if found is None:
        found = thing.s3crypt_annotations = {}
    return found


def copied_annotations(request: Request, source: Any, seal: Seal) -> Mapping[str, Annotation]:
    """Return the source's annotations for a copy.

    The result is empty if the request excludes them.
    """
    directive = request.headers.get(_DIRECTIVE, "COPY")
    if directive not in {"COPY", "EXCLUDE"}:
        raise invalid("Unknown annotation directive.")
    found = annotations_of(source)
    if directive == "EXCLUDE" or not found:
        return {}
    _check_annotatable(seal)
    return dict(found)


def _check_annotatable(seal: Seal) -> None:
    if seal.customer_md5 is not None:
        raise invalid_request("Objects encrypted with SSE-C cannot have annotations.")


def _annotation(moto: Moto, request: Request) -> Reply:
    """Put, get, list or delete annotations of an object version."""
    if moto.bucket(request.bucket) is None:
        raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
    found = existing(moto, request)
    annotations = annotations_of(found)
    check_annotated(request, found)
    match request.method, "annotationName" in request.query:
        case "PUT", _:
            _check_annotatable(seal_of(found))
            reply = _put(request, annotations)
        case "DELETE", _:
            reply = _delete(request, annotations)
        case "GET", True:
            check_readable(moto, found, None)
            reply = _get(request, annotations)
        case _:
            reply = _list(request, annotations)
    said = ("x-amz-object-version-id", str(found.version_id))
    return replace(reply, headers=(*reply.headers, said))


def _put(request: Request, found: dict[str, Annotation]) -> Reply:
    """Add an annotation to an object version. An existing annotation with this name is replaced."""
    name = _checked_name(request)
    if not 0 < len(request.body) <= _MAX_PAYLOAD:
        raise Refusal(400, "InvalidRequest", "An annotation has 1 byte to 1 MiB.")
    try:
        request.body.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(415, "UnsupportedMediaType", "An annotation is UTF-8 text.") from None
    if name not in found and len(found) >= _MAX_ANNOTATIONS:
        raise Refusal(400, "AnnotationLimitExceeded", "An object has 1,000 annotations at most.")
    found[name] = Annotation(request.body)
    inner = f"<Key>{_shown(request.key)}</Key><AnnotationName>{escape(name)}</AnnotationName>"
    return _answer("PutObjectAnnotationResult", inner, ("ETag", found[name].etag))


def _get(request: Request, found: Mapping[str, Annotation]) -> Reply:
    """Return one annotation's text."""
    name = request.query["annotationName"]
    if name not in found:
        raise Refusal(404, "NoSuchAnnotation", "The specified annotation does not exist.")
    annotation = found[name]
    written = annotation.written.strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = (("ETag", annotation.etag), ("Last-Modified", written))
    return Reply(200, (("Content-Type", "text/plain"), *headers), annotation.payload)


def _list(request: Request, found: Mapping[str, Annotation]) -> Reply:
    """Return a page of the annotations, sorted by name."""
    prefix = request.query.get("annotation-prefix", "")
    after = request.query.get("continuation-token", "")
    limit = min(int(request.query.get("max-annotation-results", "1000")), 1000)
    names = [name for name in sorted(found) if name.startswith(prefix) and name > after]
    page = names[:limit]
    entries = "".join(
        f"<AnnotationEntry><AnnotationName>{escape(name)}</AnnotationName>"
        f"<ETag>{escape(found[name].etag)}</ETag><Size>{len(found[name].payload)}</Size>"
        f"<LastModified>{found[name].written:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
        "</AnnotationEntry>"
        for name in page
    )
    more = page and len(names) > limit
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
    inner = (
        f"<Bucket>{escape(request.bucket)}</Bucket><Key>{_shown(request.key)}</Key>"
        f"<Annotations>{entries}</Annotations><AnnotationCount>{len(page)}</AnnotationCount>"
        f"<MaxAnnotationResults>{limit}</MaxAnnotationResults>{token}"
    )
    return _answer("ListObjectAnnotationsResult", inner)


def _delete(request: Request, found: dict[str, Annotation]) -> Reply:
    """Delete an annotation. It cannot be restored, because annotations have no versions."""
    found.pop(_checked_name(request), None)
    return Reply(204)


def _checked_name(request: Request) -> str:
    name = request.query.get("annotationName", "")
    if len(name.encode()) > _MAX_NAME:
        raise Refusal(400, "AnnotationNameTooLong", "The annotation's name is too long.")
    if not name or name.lower().startswith(("aws", "s3")):
        raise Refusal(400, "InvalidAnnotationName", "The annotation's name is not allowed.")
    return name


# Characters that XML 1.0 cannot represent. Names of annotations may contain them.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _shown(name: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", name))


def _answer(root: str, inner: str, *headers: tuple[str, str]) -> Reply:
    return xml_reply(200, f"<{root}>{inner}</{root}>", headers)


RULES: Rules = {Operation(ANY, OBJECT, "annotation"): _annotation}
