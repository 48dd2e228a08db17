# SPDX-License-Identifier: Apache-2.0
"""Checksums of whole objects. S3 stores them and returns them if x-amz-checksum-mode is set.

`bodies` verifies the checksum of a request's own body; this module verifies the checksums of
objects and uploads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.wire import xml_text, xml_texts

from . import bodies
from .refusals import invalid, invalid_request

if TYPE_CHECKING:
    from s3crypt.sandbox.wire import Reply, Request


@dataclass(frozen=True, slots=True)
class Checksum:
    """The checksum that S3 stores for an object's bytes."""

    algorithm: str
    value: str
    kind: str = bodies.FULL_OBJECT

    @classmethod
    def of(cls, body: bytes, algorithm: str = bodies.DEFAULT_ALGORITHM) -> Checksum:
        """Return the full-object checksum of these bytes."""
        return cls(algorithm, bodies.checksum(algorithm, body))

    @classmethod
    def of_request(cls, request: Request) -> Checksum:
        """Return the checksum to store for a PutObject: the sent checksum, or S3's default."""
        sent = bodies.checksum_of(request)
        return cls(*sent) if sent else cls.of(request.body)

    @classmethod
    def of_copy(cls, request: Request, source: Any) -> Checksum:
        """Return the checksum to store for a copy, in the requested or the source's algorithm."""
        wanted = request.headers.get(f"{bodies.PREFIX}algorithm")
        return cls.of(source.value, wanted or checksum_of(source).algorithm)


def checksum_of(found: Any) -> Checksum:
    """Return the checksum of moto's object version."""
    kept = getattr(found, "s3crypt_checksum", None)
    return kept if isinstance(kept, Checksum) else Checksum.of(found.value)


def with_checksum(request: Request, reply: Reply, checksum: Checksum) -> Reply:
    """Return the reply without moto's checksum, and with the object's checksum if requested."""
    prefixes = (bodies.PREFIX, "x-amz-sdk-checksum")
    kept = [pair for pair in reply.headers if not pair[0].lower().startswith(prefixes)]
    # S3 does not promise a checksum for a range. The sandbox also omits it for a single part.
    whole = reply.status == 200 and "partNumber" not in request.query
    if whole and request.headers.get(f"{bodies.PREFIX}mode", "").upper() == "ENABLED":
        kept.append((f"{bodies.PREFIX}{checksum.algorithm.lower()}", checksum.value))
        kept.append((f"{bodies.PREFIX}type", checksum.kind))
    return replace(reply, headers=tuple(kept))


def check_part(request: Request, upload: Any) -> None:
    """Refuse a part whose checksum algorithm differs from the upload's algorithm."""
    expected, _ = _settings_of(upload)
    sent = bodies.checksum_of(request)
    if expected is not None and sent is not None and sent[0] != expected:
        raise invalid_request(
            f"Checksum Type mismatch occurred, expected checksum Type: {expected.lower()}, "
            f"actual checksum Type: {sent[0].lower()}"
        )


def checked_whole(request: Request, upload: Any) -> Checksum:
    """Return the checksum of a completed object. Refuse a request with another checksum.

    Parts that are missing or have another ETag are refused later, by moto.
    """
    expected, kind = _settings_of(upload)
    algorithm = expected or bodies.DEFAULT_ALGORITHM
    if request.headers.get(f"{bodies.PREFIX}type", kind) != kind:
        raise invalid_request(
            f"The upload was created using the {kind} checksum mode. The complete request must "
            "use the same checksum mode."
        )
    listed = re.findall(r"<Part>.*?</Part>", request.body.decode("utf-8"), re.DOTALL)
    parts = [part for text in listed if (part := _checked_part(text, algorithm, upload))]
    whole = Checksum(algorithm, bodies.checksum_of_parts(algorithm, kind, parts), kind)
    _check_announced(request, whole, sum(map(len, parts)))
    return whole


def _settings_of(upload: Any) -> tuple[str | None, str]:
    """Return the checksum algorithm of an upload (None if none was requested), and the type."""
    algorithm = upload.metadata.get(f"{bodies.PREFIX}algorithm")
    usual = bodies.COMPOSITE
    if algorithm in {None, bodies.DEFAULT_ALGORITHM}:
        usual = bodies.FULL_OBJECT
    return algorithm, str(upload.metadata.get(f"{bodies.PREFIX}type") or usual)


def _checked_part(text: str, algorithm: str, upload: Any) -> bytes | None:
    """Return a listed part's bytes, or None if moto does not have the part.

    Refuse a request whose list of parts has another checksum for the part.
    """
    part = upload.parts.get(int(xml_texts(text, "PartNumber")[0]))
    if part is None:
        return None
    value: bytes = part.value
    announced = xml_text(text, f"Checksum{algorithm}")
    if announced is not None and announced != bodies.checksum(algorithm, value):
        raise invalid(
            "One or more of the specified parts could not be found. The part may not have "
            "been uploaded, or the specified entity tag may not match the part's entity tag.",
            "InvalidPart",
        )
    return value


def _check_announced(request: Request, whole: Checksum, size: int) -> None:
    sent = bodies.checksum_of(request)
    if sent is not None and sent[0] != whole.algorithm:
        raise invalid_request(
            f"The upload was created using a {whole.algorithm.lower()} checksum. The complete "
            "request must use the same algorithm."
        )
    # A composite checksum may be sent without the number of parts at its end.
    if sent is not None and sent[1] not in {whole.value, whole.value.partition("-")[0]}:
        raise bodies.mismatch(sent[0])
    if request.headers.get("x-amz-mp-object-size", str(size)) != str(size):
        raise invalid_request(
            "The provided 'x-amz-mp-object-size' header does not match what was computed."
        )
