# SPDX-License-Identifier: Apache-2.0
"""CRC-64/NVME of what is sent, by whatever way a service takes it.

S3 keeps this checksum of every object, and of one made in parts it can be combined from theirs.
awscrt computes it ten times as fast as zlib does CRC-32. It says what the network changed;
against an attacker stand TLS and the cipher.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from awscrt.checksums import combine_crc64nvme, crc64nvme
from botocore.exceptions import ClientError

from s3crypt.aws import error_code

ALGORITHM = "CRC64NVME"
_PARAMETER = "ChecksumCRC64NVME"
_TYPE = "FULL_OBJECT"

# What services answer that know no checksums, no trailers, or none of this kind. S3 says
# BadDigest where the bytes are wrong: that is not among them.
_REFUSALS = {
    "BadRequest",
    "InvalidArgument",
    "InvalidRequest",
    "MissingContentLength",
    "NotImplemented",
    "XAmzContentSHA256Mismatch",
}


class _Way(IntEnum):
    """How a checksum goes along, from the best to none."""

    # botocore's, after the body. With its own clients over TLS it hashes the body with SHA-256
    # for the signature unless the checksum goes this way.
    TRAILER = 0
    HEADER = 1
    NONE = 2


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: S3's reply, and the checksum where one went along."""

    reply: Mapping[str, Any]
    crc: int | None


class Checksums:
    """Sends bodies with a checksum, and remembers what the service of one store takes."""

    def __init__(self) -> None:
        self._way: _Way | None = None
        self._is_proven = False

    def begin(self, client: Any, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Begin an upload by parts that go with checksums; return S3's reply."""
        create = client.create_multipart_upload
        asked = {"ChecksumAlgorithm": ALGORITHM, "ChecksumType": _TYPE}
        if self._chosen(client) is _Way.NONE:
            asked = {}
        try:
            reply: Mapping[str, Any] = create(**arguments, **asked)
        except ClientError as error:
            if not asked or self._is_proven or error_code(error) not in _REFUSALS:
                raise
            self._way = _Way.NONE
            reply = create(**arguments)
        return reply

    def send(
        self,
        client: Any,
        request: Callable[..., Mapping[str, Any]],
        body: bytes,
        arguments: Mapping[str, Any],
    ) -> Sent:
        """Send a body, again and in a plainer way where the service refuses the way it goes.

        The bytes are the same each time.
        """
        crc = crc64nvme(body)
        way = self._chosen(client)
        while True:
            try:
                reply = request(Body=body, **arguments, **_arguments(way, crc))
            except ClientError as error:
                if self._is_proven or way is _Way.NONE or error_code(error) not in _REFUSALS:
                    raise
                way = _Way(way + 1)
            else:
                self._way, self._is_proven = way, True
                return Sent(reply, None if way is _Way.NONE else crc)

    def _chosen(self, client: Any) -> _Way:
        if self._way is None:
            self._way = _first_way(client)
        return self._way


def of_whole(parts: Iterable[tuple[int | None, int]]) -> dict[str, str]:
    """Return the arguments that complete an upload, of its parts' checksums and lengths in order.

    S3 then compares the whole object's. None where a part went without.
    """
    whole, first = 0, True
    for crc, length in parts:
        if crc is None:
            return {}
        whole = crc if first else combine_crc64nvme(whole, crc, length)
        first = False
    return {**of_part(whole), "ChecksumType": _TYPE}


def of_part(crc: int | None) -> dict[str, str]:
    """Return a checksum as S3 writes it, as a request's argument."""
    return {} if crc is None else {_PARAMETER: b64encode(crc.to_bytes(8)).decode()}


def _arguments(way: _Way, crc: int) -> dict[str, str]:
    if way is _Way.TRAILER:
        return {"ChecksumAlgorithm": ALGORITHM}
    return of_part(crc) if way is _Way.HEADER else {}


def _first_way(client: Any) -> _Way:
    config = client.meta.config
    if config.request_checksum_calculation == "when_required":
        return _Way.NONE
    signs_body = (config.s3 or {}).get("payload_signing_enabled") is not False
    if signs_body and client.meta.endpoint_url.startswith("https:"):
        return _Way.TRAILER
    return _Way.HEADER
