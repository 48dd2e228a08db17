# SPDX-License-Identifier: Apache-2.0
"""CRC-64/NVME checksums of uploaded bodies, sent in the best way that the service accepts.

S3 keeps this checksum of every object. The checksum of an object made in parts can be combined
from those of its parts. awscrt computes it ten times as fast as zlib computes CRC-32. The checksum
detects bytes that the network changed; TLS and the cipher protect against an attacker.
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

# Error codes of services that do not support checksums, or not this algorithm. BadDigest is not
# among them: S3 returns it if the bytes are wrong.
_REFUSALS = {"BadRequest", "InvalidArgument", "InvalidRequest", "NotImplemented"}
# Error codes of services that do not support trailers: they treat the body's chunk framing as part
# of the body.
_TRAILER_REFUSALS = {
    "IncompleteBody",
    "InvalidTrailer",
    "MissingContentLength",
    "SignatureDoesNotMatch",
    "XAmzContentSHA256Mismatch",
}
# "Length Required" and "Not Implemented": a proxy returns only the status, without a code.
_STATUS_REFUSALS = {411, 501}
# Codes of a body that does not match its checksum or its signature.
_CHANGED = {"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
_CHANGED_HINT = "The network may have changed the bytes: store it again."
_NOT_COMBINED_HINT = (
    "The service accepted every part and its checksum, so it probably cannot combine them. Set "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required, which sends none."
)


class _Way(IntEnum):
    """How a request carries its checksum, from the best way to no checksum at all."""

    # botocore computes the checksum and sends it after the body. A client that was not made here
    # hashes a body with SHA-256 for the signature, over TLS too, unless it sends a trailer.
    TRAILER = 0
    HEADER = 1
    NONE = 2


# How checksums are sent after a refusal, in the log's words.
_TOLD = {_Way.HEADER: "in a header", _Way.NONE: "no more"}


@dataclass(frozen=True, slots=True)
class Sent:
    """A sent body: S3's reply, and the checksum if the request carried it."""

    reply: Mapping[str, Any]
    crc: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part that S3 has.

    Attributes:
        number: The part's number, from 1.
        etag: The part's ETag.
        length: Plaintext bytes of a part that was sealed here; stored bytes of a copied part.
        stored_length: The part's length in S3, in bytes.
        crc: The part's checksum; None if the request carried no checksum.
    """

    number: int
    etag: str
    length: int
    stored_length: int
    crc: int | None = None


class Checksums:
    """Sends bodies with checksums, and remembers which way the store's service accepts.

    Args:
        clients: The source of the store's clients. The methods are called with one of its clients.
    """

    def __init__(self, clients: "Clients[S3Client] | None" = None) -> None:
        self._clients = clients
        # The accepted way by whether an object is sent in parts: some services accept checksums
        # for whole objects only, or for parts only.
        self._taken: dict[bool, _Way] = {}
        # Ids of the open uploads that were begun without checksums. The ids of aborted uploads,
        # which are rare, stay here.
        self._without: set[str] = set()
        # The buckets whose service demands Content-MD5.
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
        """Store an object by one request; return S3's reply. `look` is that of `requests.call`."""
        way = self._way(client, by_parts=False)

        def send(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return call(client, "put_object", request, subject, look=look)

        return self._send(send, body, arguments, way, by_parts=False).reply

    def begin(
        self, client: "S3Client", arguments: Mapping[str, Any], subject: str
    ) -> Mapping[str, Any]:
        """Begin an upload whose parts carry checksums; return S3's reply."""
        way, refused = self._way(client, by_parts=True), ""
        if way is not _Way.NONE:
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
        self._taken[True] = _Way.NONE
        self._without.add(reply["UploadId"])
        return reply

    def send_part(
        self, client: "S3Client", body: bytes, arguments: Mapping[str, Any], subject: str
    ) -> Sent:
        """Send a part of an upload that `begin` began."""
        way = self._way(client, by_parts=True)
        if arguments["UploadId"] in self._without:
            way = _Way.NONE
        elif way is _Way.NONE:
            # The service has since refused checksums of another upload, but this upload was begun
            # with them.
            way = _Way.HEADER

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
        """Complete an upload of these parts, in order; S3 verifies the whole object's checksum.

        `look` and `repeats_first` are those of `requests.call`.
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
                if not _is_refusal(error, _Way.HEADER):
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
        way: _Way,
        *,
        by_parts: bool,
    ) -> Sent:
        """Send a body. If the service refuses the checksum, send it again in the next plainer way.

        The bytes are the same each time.
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
                # Another thread may have found a plainer way meanwhile: then this refusal proves
                # nothing about that way.
                is_proven = way >= self._taken.get(by_parts, _Way.NONE)
                if is_proven or not _is_refusal(error, way):
                    raise
                way, refused = _Way(way + 1), cause_of(error)
            else:
                if refused:
                    told = arguments["Bucket"], arguments["Key"], refused, _TOLD[way]
                    _log.info("s3://%s/%s: refused with a checksum (%s); they go %s", *told)
                self._taken[by_parts] = max(way, self._taken.get(by_parts, way))
                return Sent(reply, None if way is _Way.NONE else crc)

    def _add_md5(self, arguments: Mapping[str, Any], error: S3CryptError) -> None:
        """Send Content-MD5 with every later body in the bucket, whose service has demanded it."""
        bucket = arguments["Bucket"]
        self._with_md5.add(bucket)
        told = bucket, arguments["Key"], cause_of(error)
        _log.info("s3://%s/%s: refused without a checksum (%s); Content-MD5 is sent", *told)

    def _digest(self, body: bytes, bucket: str) -> dict[str, str]:
        """Return the argument with the body's MD5 if the bucket's service demands it.

        S3 refuses a body without a checksum in a bucket that retains objects by default (Object
        Lock), and only that refusal shows the retention. All services support Content-MD5.
        """
        if bucket not in self._with_md5:
            return {}
        return {"ContentMD5": b64encode(md5(body, usedforsecurity=False).digest()).decode()}

    def _way(self, client: "S3Client", *, by_parts: bool) -> _Way:
        taken = self._taken.get(by_parts)
        return self._first_way(client) if taken is None else taken

    def _first_way(self, client: "S3Client") -> _Way:
        if self._clients is not None and self._clients.are_ours:
            return _Way.HEADER if self._clients.want_checksums else _Way.NONE
        config = config_of(client)
        if config.request_checksum_calculation == "when_required":
            return _Way.NONE
        signs_body = (config.s3 or {}).get("payload_signing_enabled") is not False
        over_tls = client.meta.endpoint_url.startswith("https:")
        return _Way.TRAILER if signs_body and over_tls else _Way.HEADER


def full_object_crc(reply: Mapping[str, Any]) -> int | None:
    """Return the CRC-64/NVME of the whole object from a reply; None if the reply lacks it."""
    if reply.get("ChecksumType") != _TYPE:
        return None
    try:
        value = b64decode(reply.get(_PARAMETER, ""), validate=True)
    except ValueError:
        # base64 raises a plain ValueError for characters beyond ASCII.
        return None
    return int.from_bytes(value) if len(value) == 8 else None


def crc_of(blocks: Iterable[bytes]) -> int:
    """Return the CRC-64/NVME of consecutive blocks."""
    crc = 0
    for block in blocks:
        crc = crc64nvme(block, crc)
    return crc


def begin(client: "S3Client", arguments: Mapping[str, Any], subject: str) -> Mapping[str, Any]:
    """Begin an upload whose parts carry no checksums; return S3's reply."""
    return call(client, "create_multipart_upload", arguments, subject)


def _is_refusal(error: S3CryptError, way: _Way) -> bool:
    """Return whether the way of the checksum may be the reason for the service's refusal."""
    return way is not _Way.NONE and (
        error.code in _REFUSALS
        or (way is _Way.TRAILER and error.code in _TRAILER_REFUSALS)
        or http_status(error) in _STATUS_REFUSALS
    )


def _demands_md5(error: S3CryptError) -> bool:
    """Return whether a service refused a body for the lack of a checksum that it supports.

    S3 uses the same code for many other errors, so the message decides.
    """
    cause = error.__cause__
    told = cause.response["Error"] if isinstance(cause, ClientError) else {}
    said = told.get("Message") or ""
    is_named = error.code == "InvalidRequest" and "content-md5" in said.lower()
    return is_named or error.code == "MissingContentMD5"


def _of_whole(parts: Sequence[Part]) -> dict[str, str]:
    """Return the arguments that make S3 verify the whole's checksum, if all parts have one."""
    whole: int | None = None
    for part in parts:
        if part.crc is None:
            return {}
        whole = (
            part.crc if whole is None else combine_crc64nvme(whole, part.crc, part.stored_length)
        )
    return {**_parameter(whole), "ChecksumType": _TYPE}


def _parameter(crc: int | None) -> dict[str, str]:
    """Return a checksum in S3's notation, as a request's argument."""
    return {} if crc is None else {_PARAMETER: b64encode(crc.to_bytes(8)).decode()}


def _arguments(way: _Way, crc: int) -> dict[str, str]:
    if way is _Way.TRAILER:
        return {"ChecksumAlgorithm": ALGORITHM}
    return _parameter(crc) if way is _Way.HEADER else {}
