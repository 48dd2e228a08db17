# SPDX-License-Identifier: Apache-2.0
"""Two things of 2026 that S3 keeps beside an object version: an event hold, and annotations.

moto knows neither; the rules keep both on its object versions. This module says what is a valid
hold or annotation and how replies show them. It must not know moto, nor which operation asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import md5
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from .wire import Refusal, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

HOLD = "x-amz-object-lock-event-hold"
DIRECTIVE = "x-amz-object-annotation-directive"
XML = (("Content-Type", "application/xml"),)
XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_MAX_ANNOTATIONS, _MAX_NAME, _MAX_PAYLOAD = 1000, 512, 2**20
_MAX_DURATION = {"Days": 36_500, "Years": 100}


@dataclass(frozen=True, slots=True)
class Hold:
    """An event hold: whether it is on, and how long it protects once it is released."""

    status: str
    duration: tuple[str, int] | None = None  # ("Days" or "Years", how many)

    @classmethod
    def of_headers(cls, headers: Mapping[str, str]) -> Hold | None:
        """Return the hold that a request gives its new object, None if it gives none."""
        durations = {unit: headers.get(f"{HOLD}-duration-{unit.lower()}") for unit in _MAX_DURATION}
        return cls.checked(headers.get(HOLD), durations)

    @classmethod
    def of_xml(cls, text: str) -> Hold | None:
        """Return the hold of a PutObjectRetention, None where it is about retention only."""
        inside = re.search(r"<EventHoldDuration>(.*?)</EventHoldDuration>", text, re.DOTALL)
        durations = {unit: _text(inside[1] if inside else "", unit) for unit in _MAX_DURATION}
        return cls.checked(_text(text, "EventHold"), durations)

    @classmethod
    def checked(cls, status: str | None, durations: Mapping[str, str | None]) -> Hold | None:
        """Return the hold, or refuse one that makes no sense."""
        given = {unit: text for unit, text in durations.items() if text is not None}
        if status is None and not given:
            return None
        if status not in {"ON", "OFF"} or len(given) > 1:
            raise _invalid("An event hold is ON or OFF, its duration in days or in years.")
        for unit, text in given.items():
            if not text.isdigit() or not 0 < int(text) <= _MAX_DURATION[unit]:
                raise _invalid(f"An event hold lasts 1 to {_MAX_DURATION[unit]} {unit.lower()}.")
            return cls(str(status), (unit, int(text)))
        return cls(str(status))

    def headers(self) -> list[tuple[str, str]]:
        """Return what HEAD and GET say of it: the duration of one that is on only."""
        said = [(HOLD, self.status)]
        if self.status == "ON" and self.duration:
            unit, length = self.duration
            said.append((f"{HOLD}-duration-{unit.lower()}", str(length)))
        return said

    def xml(self) -> str:
        """Return what GetObjectRetention says of it."""
        duration = ""
        if self.duration:
            unit, length = self.duration
            duration = f"<EventHoldDuration><{unit}>{length}</{unit}></EventHoldDuration>"
        return f"<EventHold>{self.status}</EventHold>{duration}"


@dataclass(frozen=True, slots=True)
class Annotation:
    """A named text beside an object version."""

    payload: bytes = field(repr=False)
    written: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def etag(self) -> str:
        """Its tag, with quotes."""
        return f'"{md5(self.payload, usedforsecurity=False).hexdigest()}"'


def put_annotation(request: Request, found: dict[str, Annotation]) -> Reply:
    """Add an annotation to those of an object version, or replace the one of its name."""
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


def get_annotation(request: Request, found: Mapping[str, Annotation]) -> Reply:
    """Return one annotation's text."""
    name = request.query["annotationName"]
    if name not in found:
        raise Refusal(404, "NoSuchAnnotation", "The specified annotation does not exist.")
    annotation = found[name]
    written = annotation.written.strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = (("ETag", annotation.etag), ("Last-Modified", written))
    return Reply(200, (("Content-Type", "text/plain"), *headers), annotation.payload)


def list_annotations(request: Request, found: Mapping[str, Annotation]) -> Reply:
    """Return a page of the annotations' names, in their order."""
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


def delete_annotation(request: Request, found: dict[str, Annotation]) -> Reply:
    """Forget an annotation for good; there are no versions of one."""
    found.pop(_checked_name(request), None)
    return Reply(204)


def _checked_name(request: Request) -> str:
    name = request.query.get("annotationName", "")
    if len(name.encode()) > _MAX_NAME:
        raise Refusal(400, "AnnotationNameTooLong", "The annotation's name is too long.")
    if not name or name.lower().startswith(("aws", "s3")):
        raise Refusal(400, "InvalidAnnotationName", "The annotation's name is not allowed.")
    return name


# XML 1.0 has no place for other characters, which names may have.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _shown(name: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", name))


def _answer(root: str, inner: str, *headers: tuple[str, str]) -> Reply:
    return Reply(200, (*XML, *headers), f"{XML_HEAD}<{root}>{inner}</{root}>".encode())


def _text(text: str, element: str) -> str | None:
    found = re.search(rf"<{element}>([^<]*)</{element}>", text)
    return found[1].strip() if found else None


def _invalid(message: str) -> Refusal:
    return Refusal(400, "InvalidArgument", message)


def hold_of(thing: Any) -> Hold | None:
    """Return the event hold of an object version, or of an upload's object to be."""
    found = getattr(thing, "s3crypt_hold", None)
    return found if isinstance(found, Hold) else None


def annotations_of(thing: Any) -> dict[str, Annotation]:
    """Return the annotations of an object version, to be changed in place."""
    found: dict[str, Annotation] | None = getattr(thing, "s3crypt_annotations", None)
    if found is None:
        found = thing.s3crypt_annotations = {}
    return found
