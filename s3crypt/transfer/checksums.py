# SPDX-License-Identifier: Apache-2.0
"""CRC-64/NVME of what is sent, by whatever way a service takes it.

S3 keeps this checksum of every object, and of one made in parts it can be combined from theirs.
awscrt computes it ten times as fast as zlib does CRC-32. It says what the network changed;
against an attacker stand TLS and the cipher.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
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

# What services answer that know no checksums, or none of this kind. S3 says BadDigest where the
# bytes are wrong: that is not among them.
_REFUSALS = {"BadRequest", "InvalidArgument", "InvalidRequest", "NotImplemented"}
# And what those answer that know no trailers: they take the body's frame for the body.
_TRAILER_REFUSALS = {
    "IncompleteBody",
    "InvalidTrailer",
    "MissingContentLength",
    "SignatureDoesNotMatch",
    "XAmzContentSHA256Mismatch",
}
# Length required, and not implemented: a proxy says no more.
_STATUS_REFUSALS = {411, 501}
# Codes of a body that does not match its checksum or its signature.
_CHANGED = {"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
_CHANGED_HINT = "The network may have changed the bytes: store it again."
_NOT_COMBINED_HINT = (
    "The service accepted every part and its checksum, so it probably cannot combine them. Set "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required, which sends none."
)


class _Way(IntEnum):
    """How a checksum goes along, from the best to none."""

    # botocore's, after the body. A client that was not made here hashes a body with SHA-256 for
    # the signature, over TLS too, unless the checksum goes this way.
    TRAILER = 0
    HEADER = 1
    NONE = 2


# How checksums go from then on, for the log.
_TOLD = {_Way.HEADER: "in a header", _Way.NONE: "no more"}


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: S3's reply, and the checksum where one went along."""

    reply: Mapping[str, Any]
    crc: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part that S3 has.

    Attributes:
        number: Its number, from 1.
        etag: S3's tag of it.
        length: Its plaintext bytes where it was sealed here, the stored ones where copied.
        stored_length: Bytes that S3 has of it.
        crc: Its checksum, where one went along.
    """

    number: int
    etag: str
    length: int
    stored_length: int
    crc: int | None = None


class Checksums:
    """Sends with a checksum, and remembers what the service of one store takes.

    Args:
        clients: Where the store's clients come from; what it is called with is one of them.
    """

    def __init__(self, clients: "Clients[S3Client] | None" = None) -> None:
        self._clients = clients
        # What was taken, of whole objects and of those by parts: some take it of one of them.
        self._taken: dict[bool, _Way] = {}
        # The uploads under way that were begun without; an aborted one, which is rare, stays.
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
        """Make an object of one body; return S3's reply. `look` is as `requests.call` has it."""
        way = self._way(client, by_parts=False)

        def send(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return call(client, "put_object", request, subject, look=look)

        return self._send(send, body, arguments, way, by_parts=False).reply

    def begin(
        self, client: "S3Client", arguments: Mapping[str, Any], subject: str
    ) -> Mapping[str, Any]:
        """Begin an upload by parts that go with checksums; return S3's reply."""
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
            # Another upload was refused them; this one was promised some.
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
        """Complete an upload of these parts, in order; S3 compares the whole's checksum.

        `look` and `repeats_first` are as `requests.call` has them.
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
        """Send a body, again and in a plainer way where the service refuses the way it goes.

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
                # Another thread may have found a plainer way meanwhile: then this one was late.
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
        """Return the argument with the body's MD5, where the bucket's service demands it.

        S3 refuses a body without a checksum in a bucket with Object Lock, and only that refusal
        shows that objects are retained by default. Content-MD5 is the checksum that all services
        know.
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
    """Return the CRC-64/NVME of a whole object that a reply carries; None where it has none."""
    if reply.get("ChecksumType") != _TYPE:
        return None
    try:
        value = b64decode(reply.get(_PARAMETER, ""), validate=True)
    except ValueError:
        # Also of letters beyond ASCII, for which base64 has no error of its own.
        return None
    return int.from_bytes(value) if len(value) == 8 else None


def begin(client: "S3Client", arguments: Mapping[str, Any], subject: str) -> Mapping[str, Any]:
    """Begin an upload by parts that go without checksums; return S3's reply."""
    return call(client, "create_multipart_upload", arguments, subject)


def _is_refusal(error: S3CryptError, way: _Way) -> bool:
    """Tell whether a service may have refused for the way a checksum went."""
    return way is not _Way.NONE and (
        error.code in _REFUSALS
        or (way is _Way.TRAILER and error.code in _TRAILER_REFUSALS)
        or http_status(error) in _STATUS_REFUSALS
    )


def _demands_md5(error: S3CryptError) -> bool:
    """Return whether a service refused a body because it had no checksum that it knows.

    S3's code for it serves for much else, so its message decides.
    """
    cause = error.__cause__
    told = cause.response["Error"] if isinstance(cause, ClientError) else {}
    said = told.get("Message") or ""
    is_named = error.code == "InvalidRequest" and "content-md5" in said.lower()
    return is_named or error.code == "MissingContentMD5"


def _of_whole(parts: Sequence[Part]) -> dict[str, str]:
    """Return the arguments that have S3 compare the whole object's checksum, if all parts had."""
    whole: int | None = None
    for part in parts:
        if part.crc is None:
            return {}
        whole = (
            part.crc if whole is None else combine_crc64nvme(whole, part.crc, part.stored_length)
        )
    return {**_parameter(whole), "ChecksumType": _TYPE}


def _parameter(crc: int | None) -> dict[str, str]:
    """Return a checksum as S3 writes it, as a request's argument."""
    return {} if crc is None else {_PARAMETER: b64encode(crc.to_bytes(8)).decode()}


def _arguments(way: _Way, crc: int) -> dict[str, str]:
    if way is _Way.TRAILER:
        return {"ChecksumAlgorithm": ALGORITHM}
    return _parameter(crc) if way is _Way.HEADER else {}
