# SPDX-License-Identifier: Apache-2.0
"""Bodies of S3 requests: removes aws-chunked framing, and verifies every checksum sent with a body.

This module must not know moto or objects, only requests and bytes. It must not share code with the
part of the library that sends checksums, or the tests would miss a bug in the shared code.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from awscrt import checksums

from s3crypt.sandbox.wire import Refusal, Request, incomplete

from .refusals import invalid_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PREFIX = "x-amz-checksum-"
FULL_OBJECT, COMPOSITE = "FULL_OBJECT", "COMPOSITE"
# The checksum that S3 computes for an object that was sent without a checksum.
DEFAULT_ALGORITHM = "CRC64NVME"
_COMPUTED: Mapping[str, Callable[[bytes], bytes]] = {
    "CRC32": lambda body: zlib.crc32(body).to_bytes(4),
    "CRC32C": lambda body: checksums.crc32c(body).to_bytes(4),
    "CRC64NVME": lambda body: checksums.crc64nvme(body).to_bytes(8),
    "MD5": lambda body: hashlib.md5(body, usedforsecurity=False).digest(),
    "SHA1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "SHA256": lambda body: hashlib.sha256(body).digest(),
    "SHA512": lambda body: hashlib.sha512(body).digest(),
}
# Headers that begin with PREFIX but contain settings instead of a checksum.
_SETTINGS = frozenset({f"{PREFIX}{name}" for name in ("algorithm", "mode", "type")})
_CONTENT_HASH = "x-amz-content-sha256"


def verified(request: Request) -> Request:
    """Return the request with its verified body without framing. Trailers are added to the headers.

    Raises:
        Refusal: The body does not match a checksum or a length in the headers or trailers.
    """
    request = _unwrapped(request)
    _check_content_hash(request)
    _check_content_md5(request)
    # The checksum headers of CompleteMultipartUpload are about the object, not about the request's
    # body.
    is_completion = request.method == "POST" and "uploadId" in request.query
    sent = None if is_completion else checksum_of(request)
    if sent is not None and checksum(sent[0], request.body) != sent[1]:
        raise mismatch(sent[0])
    return request


def checksum_of(request: Request) -> tuple[str, str] | None:
    """Return the algorithm and the value of a request's checksum, or None if it has none."""
    found = {name for name in request.headers if name.startswith(PREFIX)} - _SETTINGS
    if len(found) > 1:
        raise invalid_request(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    algorithm = request.headers.get("x-amz-sdk-checksum-algorithm")
    if not found:
        if algorithm is not None and request.method == "PUT":
            raise invalid_request(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "
                "or x-amz-trailer headers were found."
            )
        return None
    name = found.pop()
    value, algorithm = request.headers[name], name.removeprefix(PREFIX).upper()
    # The checksum of a multipart object may end with the number of parts.
    if not _is_base64(value.partition("-")[0], len(_digest(algorithm, b""))):
        raise invalid_request(f"Value for {name} header is invalid.")
    return algorithm, value


def checksum(algorithm: str, body: bytes) -> str:
    """Return the base64 checksum of a body, in S3's format."""
    return base64.b64encode(_digest(algorithm, body)).decode("ascii")


def checksum_of_parts(algorithm: str, kind: str, parts: Sequence[bytes]) -> str:
    """Return the checksum of a multipart object.

    `kind` is FULL_OBJECT (the checksum of all bytes) or COMPOSITE (the checksum of the parts'
    checksums, with the number of parts).
    """
    if kind == FULL_OBJECT:
        return checksum(algorithm, b"".join(parts))
    digests = b"".join(_digest(algorithm, part) for part in parts)
    return f"{checksum(algorithm, digests)}-{len(parts)}"


def mismatch(algorithm: str) -> Refusal:
    """Return S3's refusal of a body that does not match its checksum."""
    return Refusal(
        400,
        "BadDigest",
        f"The {algorithm} you specified did not match the calculated checksum.",
    )


def _digest(algorithm: str, body: bytes) -> bytes:
    compute = _COMPUTED.get(algorithm)
    if compute is None:
        # Refuse unknown algorithms: if a checksum were accepted unverified, a test could pass with
        # a wrong checksum.
        raise Refusal(501, "NotImplemented", f"The sandbox does not compute {algorithm}.")
    return compute(body)


def _check_content_hash(request: Request) -> None:
    said = request.headers.get(_CONTENT_HASH, "")
    if re.fullmatch("[0-9a-f]{64}", said) is None:
        return
    if hashlib.sha256(request.body).hexdigest() != said:
        raise Refusal(
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )


def _check_content_md5(request: Request) -> None:
    said = request.headers.get("content-md5")
    if said is None:
        return
    if not _is_base64(said, 16):
        raise Refusal(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
    if checksum("MD5", request.body) != said:
        raise Refusal(
            400, "BadDigest", "The Content-MD5 you specified did not match what we received."
        )


def _unwrapped(request: Request) -> Request:
    """Return the request without aws-chunked framing. Chunk signatures are not verified."""
    headers = dict(request.headers)
    if not headers.get(_CONTENT_HASH, "").startswith("STREAMING-"):
        return request
    length = headers.pop("x-amz-decoded-content-length", "")
    if not length.isascii() or not length.isdigit():
        raise Refusal(
            411, "MissingContentLength", "You must provide the Content-Length HTTP header."
        )
    body, trailers = _unframed(request.body)
    if len(body) < int(length):
        raise incomplete()
    announced = headers.pop("x-amz-trailer", "").lower().replace(" ", "")
    if len(body) > int(length) or (set(announced.split(",")) - {""}) - trailers.keys():
        raise _malformed()
    kept = [
        encoding
        for encoding in headers.pop("content-encoding", "").replace(" ", "").split(",")
        if encoding not in ("", "aws-chunked")
    ]
    if kept:
        headers["content-encoding"] = ",".join(kept)
    headers |= {**trailers, _CONTENT_HASH: "UNSIGNED-PAYLOAD"}
    return replace(request, headers=headers, body=body)


def _unframed(framed: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the content and the trailers of an aws-chunked body."""
    chunks: list[bytes] = []
    position = 0
    while True:
        end = framed.find(b"\r\n", position)
        if end < 0:
            raise incomplete()
        try:
            length = int(framed[position:end].partition(b";")[0], 16)
        except ValueError:
            raise _malformed() from None
        start = end + 2
        if length <= 0:
            return b"".join(chunks), _trailers(framed[start:])
        position = start + length + 2
        if len(framed) < position:
            raise incomplete()
        if framed[position - 2 : position] != b"\r\n":
            raise _malformed()
        chunks.append(framed[start : start + length])


def _trailers(text: bytes) -> dict[str, str]:
    if not text.endswith(b"\r\n"):
        raise incomplete()
    lines = text.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _is_base64(text: str, length: int) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == length
    except binascii.Error:
        return False


def _malformed() -> Refusal:
    return Refusal(
        400,
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or did not conform to our "
        "published schema.",
    )
