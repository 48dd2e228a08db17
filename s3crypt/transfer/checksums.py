# SPDX-License-Identifier: Apache-2.0
"""CRC-64/NVME checksums of uploaded bodies, sent in the best way that the service accepts.

S3 stores this checksum for every object. The checksum of an object made of parts can be computed
from the checksums of the parts. awscrt computes it ten times as fast as zlib computes CRC-32. The
checksum detects bytes that the network changed. TLS and the cipher protect against an attacker.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import md5
from typing import TYPE_CHECKING, Any

from awscrt.checksums import combine_crc64nvme, crc64nvme
from botocore.exceptions import ClientError

from s3crypt.aws import Clients, config_of
from s3crypt.aws_errors import http_status
from s3crypt.errors import S3CryptError
from s3crypt.logs import logger_of
from s3crypt.requests import Look, call, cause_of

_log = logger_of(__name__)

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

ALGORITHM = "CRC64NVME"
_PARAMETER = "ChecksumCRC64NVME"
_TYPE = "FULL_OBJECT"

# Error codes of services that do not support checksums, or not this algorithm. BadDigest is not in
# the set, because S3 returns it if the bytes are wrong.
_REFUSALS = {"BadRequest", "InvalidArgument", "InvalidRequest", "NotImplemented"}
# Error codes of services that do not support trailers. They treat the chunk framing of the body as
# part of the body.
_TRAILER_REFUSALS = {
    "IncompleteBody",
    "InvalidTrailer",
    "MissingContentLength",
    "SignatureDoesNotMatch",
    "XAmzContentSHA256Mismatch",
}
# "Length Required" and "Not Implemented". A proxy returns only the status, without an error code.
_STATUS_REFUSALS = {411, 501}
# Error codes for a body that does not match its checksum or its signature.
_CHANGED = {"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
_CHANGED_HINT = "The network may have changed the bytes. Store the object again."
_NOT_COMBINED_HINT = (
    "The service accepted every part and its checksum, so it probably cannot combine them. Set "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required, which sends none."
)


class _ChecksumPlacement(IntEnum):
    """How a request carries its checksum. The best way is first; the last way is no checksum."""

    # With TRAILER, botocore computes the checksum and sends it after the body. Without a trailer, a
    # client that the caller made hashes the body with SHA-256 for the signature, even over TLS,
    # which takes time.
    TRAILER = 0
    HEADER = 1
    NONE = 2


# How checksums are sent after a refusal, as words for the log.
_TOLD = {_ChecksumPlacement.HEADER: "in a header", _ChecksumPlacement.NONE: "no more"}


@dataclass(frozen=True, slots=True)
class Sent:
    """A body that was sent: S3's reply, and the checksum.

    The checksum is None if the request carried none.
    """

    reply: Mapping[str, Any]
    crc: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is stored in S3.

    Attributes:
        number: The part's number, from 1.
        etag: The part's ETag.
        length: The number of plaintext bytes of a part that was sealed here. For a part that S3
            copied, the number of stored bytes.
        stored_length: The part's length in S3, in bytes.
        crc: The part's checksum. None if the request carried no checksum.
    """

    number: int
    etag: str
    length: int
    stored_length: int
    crc: int | None = None


class Checksums:
    """Sends bodies with checksums, and remembers which way of sending them the service accepts.

    Args:
        clients: The store's clients. The methods are called with one of these clients.
    """

    def __init__(self, clients: "Clients[S3Client] | None" = None) -> None:
        self._clients = clients
        # The accepted way for objects sent in parts (True) and in one request (False). Some
        # services accept checksums only for one of the two.
        self._taken: dict[bool, _ChecksumPlacement] = {}
        # The ids of unfinished uploads that were begun without checksums. The ids of aborted
        # uploads are not removed, but are rare.
        self._without: set[str] = set()
        # The buckets whose service requires Content-MD5.
        self._with_md5: set[str] = set()

    def put(
        self,
        client: "S3Client",
        body: bytes,
        arguments: Mapping[str, Any],
        subject: str,
        *,
        look: Look | None = None,
    ) -> Mapping[str, Any]:
        """Store an object by one request, and return S3's reply.

        `requests.call` documents `look`.
        """
        way = self._way(client, by_parts=False)

        def send(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return call(client, "put_object", request, subject, look=look)

        return self._send(send, body, arguments, way, by_parts=False).reply

    def begin(
        self, client: "S3Client", arguments: Mapping[str, Any], subject: str
    ) -> Mapping[str, Any]:
        """Begin an upload whose parts carry checksums, and return S3's reply.

        If the service refuses checksums, the upload is begun without them.
        """
        way, refused = self._way(client, by_parts=True), ""
        if way is not _ChecksumPlacement.NONE:
            asked = {"ChecksumAlgorithm": ALGORITHM, "ChecksumType": _TYPE}
            try:
                return begin(client, {**arguments, **asked}, subject)
            except S3CryptError as error:
                if True in self._taken or not _is_refusal(error, way):
                    raise
                refused = cause_of(error)
        reply = begin(client, arguments, subject)
        if refused:
            _log.info("%s: refused with checksums (%s); uploads go without", subject, refused)
        self._taken[True] = _ChecksumPlacement.NONE
        self._without.add(reply["UploadId"])
        return reply

    def send_part(
        self, client: "S3Client", body: bytes, arguments: Mapping[str, Any], subject: str
    ) -> Sent:
        """Send a part of an upload. The upload was begun with `begin`."""
        way = self._way(client, by_parts=True)
        if arguments["UploadId"] in self._without:
            way = _ChecksumPlacement.NONE
        elif way is _ChecksumPlacement.NONE:
            # The service has refused checksums for another upload in the meantime. This upload was
            # begun with checksums, so its parts must carry them.
            way = _ChecksumPlacement.HEADER

        def send(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return call(client, "upload_part", request, subject)

        return self._send(send, body, arguments, way, by_parts=True)

    def complete(
        self,
        client: "S3Client",
        parts: Sequence[Part],
        arguments: Mapping[str, Any],
        subject: str,
        *,
        look: Look | None = None,
        repeats_first: bool = False,
    ) -> Mapping[str, Any]:
        """Complete an upload from these parts, in order. S3 verifies the whole object's checksum.

        `requests.call` documents `look` and `repeats_first`.
        """

        def complete(listed: list[dict[str, Any]], whole: Mapping[str, str]) -> Mapping[str, Any]:
            request = {**arguments, **whole, "MultipartUpload": {"Parts": listed}}
            return call(
                client,
                "complete_multipart_upload",
                request,
                subject,
                look=look,
                repeats_first=repeats_first,
            )

        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        checked = [
            {**part, **_parameter(sent.crc)} for part, sent in zip(listed, parts, strict=True)
        ]
        whole, refused = _of_whole(parts), ""
        if whole:
            try:
                return complete(checked, whole)
            except S3CryptError as error:
                if error.code in _CHANGED:
                    error.hint = _NOT_COMBINED_HINT
                if not _is_refusal(error, _ChecksumPlacement.HEADER):
                    raise
                refused = cause_of(error)
        reply = complete(listed, {})
        if refused:
            _log.info("%s: refused with its checksum (%s); completed without", subject, refused)
        self._without.discard(arguments["UploadId"])
        return reply

    def _send(
        self,
        send: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        body: bytes,
        arguments: Mapping[str, Any],
        way: _ChecksumPlacement,
        *,
        by_parts: bool,
    ) -> Sent:
        """Send a body.

        If the service refuses the checksum, send the same body again, with the checksum in another
        place or without it.
        """
        crc, refused = crc64nvme(body), ""
        while True:
            digest = self._digest(body, arguments["Bucket"])
            try:
                reply = send({**arguments, **_arguments(way, crc), **digest, "Body": body})
            except S3CryptError as error:
                if not digest and _demands_md5(error):
                    self._add_md5(arguments, error)
                    continue
                if error.code in _CHANGED:
                    error.hint = _CHANGED_HINT
                # Another thread may have found that the service accepts a simpler way. The refusal
                # of this way does not prove that the simpler way fails, so the next way is tried.
                is_proven = way >= self._taken.get(by_parts, _ChecksumPlacement.NONE)
                if is_proven or not _is_refusal(error, way):
                    raise
                way, refused = _ChecksumPlacement(way + 1), cause_of(error)
            else:
                if refused:
                    told = arguments["Bucket"], arguments["Key"], refused, _TOLD[way]
                    _log.info("s3://%s/%s: refused with a checksum (%s); they go %s", *told)
                self._taken[by_parts] = max(way, self._taken.get(by_parts, way))
                return Sent(reply, None if way is _ChecksumPlacement.NONE else crc)

    def _add_md5(self, arguments: Mapping[str, Any], error: S3CryptError) -> None:
        """Record that the service of this bucket requires Content-MD5 with every body."""
        bucket = arguments["Bucket"]
        self._with_md5.add(bucket)
        told = bucket, arguments["Key"], cause_of(error)
        _log.info("s3://%s/%s: refused without a checksum (%s); Content-MD5 is sent", *told)

    def _digest(self, body: bytes, bucket: str) -> dict[str, str]:
        """Return the argument with the body's MD5 if the bucket's service requires it, or {}.

        In a bucket that retains objects by default (Object Lock), S3 refuses a body without a
        checksum. Only this refusal shows that the bucket retains objects by default. All services
        support Content-MD5.
        """
        if bucket not in self._with_md5:
            return {}
        return {"ContentMD5": b64encode(md5(body, usedforsecurity=False).digest()).decode()}

    def _way(self, client: "S3Client", *, by_parts: bool) -> _ChecksumPlacement:
        taken = self._taken.get(by_parts)
        return self._first_way(client) if taken is None else taken

    def _first_way(self, client: "S3Client") -> _ChecksumPlacement:
        if self._clients is not None and self._clients.are_ours:
            return (
                _ChecksumPlacement.HEADER
                if self._clients.want_checksums
                else _ChecksumPlacement.NONE
            )
        config = config_of(client)
        if config.request_checksum_calculation == "when_required":
            return _ChecksumPlacement.NONE
        signs_body = (config.s3 or {}).get("payload_signing_enabled") is not False
        over_tls = client.meta.endpoint_url.startswith("https:")
        return _ChecksumPlacement.TRAILER if signs_body and over_tls else _ChecksumPlacement.HEADER


def full_object_crc(reply: Mapping[str, Any]) -> int | None:
    """Return the CRC-64/NVME of the whole object in a reply. Return None if the reply has none."""
    if reply.get("ChecksumType") != _TYPE:
        return None
    try:
        value = b64decode(reply.get(_PARAMETER, ""), validate=True)
    except ValueError:
        # base64 raises a plain ValueError for characters outside ASCII.
        return None
    return int.from_bytes(value) if len(value) == 8 else None


def crc_of(blocks: Iterable[bytes]) -> int:
    """Return the CRC-64/NVME of consecutive blocks."""
    crc = 0
    for block in blocks:
        crc = crc64nvme(block, crc)
    return crc


def begin(client: "S3Client", arguments: Mapping[str, Any], subject: str) -> Mapping[str, Any]:
    """Begin an upload whose parts carry no checksums, and return S3's reply."""
    return call(client, "create_multipart_upload", arguments, subject)


def _is_refusal(error: S3CryptError, way: _ChecksumPlacement) -> bool:
    """Return whether a request may have been refused because of how it carries its checksum."""
    return way is not _ChecksumPlacement.NONE and (
        error.code in _REFUSALS
        or (way is _ChecksumPlacement.TRAILER and error.code in _TRAILER_REFUSALS)
        or http_status(error) in _STATUS_REFUSALS
    )


def _demands_md5(error: S3CryptError) -> bool:
    """Return whether a service refused a body because it requires Content-MD5.

    S3 uses the same error code for many other errors, so the message is examined.
    """
    cause = error.__cause__
    told = cause.response["Error"] if isinstance(cause, ClientError) else {}
    said = told.get("Message") or ""
    is_named = error.code == "InvalidRequest" and "content-md5" in said.lower()
    return is_named or error.code == "MissingContentMD5"


def _of_whole(parts: Sequence[Part]) -> dict[str, str]:
    """Return the arguments with which S3 verifies the checksum of the whole object.

    Return {} if a part has no checksum.
    """
    whole: int | None = None
    for part in parts:
        if part.crc is None:
            return {}
        whole = (
            part.crc if whole is None else combine_crc64nvme(whole, part.crc, part.stored_length)
        )
    return {**_parameter(whole), "ChecksumType": _TYPE}


def _parameter(crc: int | None) -> dict[str, str]:
    """Return the request argument for a checksum, in S3's notation. Return {} for None."""
    return {} if crc is None else {_PARAMETER: b64encode(crc.to_bytes(8)).decode()}


def _arguments(way: _ChecksumPlacement, crc: int) -> dict[str, str]:
    if way is _ChecksumPlacement.TRAILER:
        return {"ChecksumAlgorithm": ALGORITHM}
    return _parameter(crc) if way is _ChecksumPlacement.HEADER else {}
