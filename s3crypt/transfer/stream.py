# SPDX-License-Identifier: Apache-2.0
"""The stored bytes of one object, read in order with range requests for one pinned version."""

import io
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from botocore.httpchecksum import StreamingChecksumBody

from s3crypt.aws import config_of
from s3crypt.aws_errors import http_status
from s3crypt.errors import ConflictError, IntegrityError, S3CryptError, StorageError
from s3crypt.local.buffers import reserve
from s3crypt.local.readers import read_into
from s3crypt.location import Location
from s3crypt.logs import logger_of
from s3crypt.requests import BROKEN, Attempts, BrokenReplyError, attempt, call, cause_of

from .checksums import full_object_crc
from .parts import PART_LENGTH

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_log = logger_of(__name__)

# botocore does not repeat a request if reading the body fails, so this module does.
_READ_ATTEMPTS = 5
# Shorter reads are for the fields of a header. They are served from one read of this length.
_AHEAD = 4096
# Receiving this many bytes takes less time than opening a new connection.
_DRAINED = 64 * 2**10


class ObjectStream(io.RawIOBase):
    """The stored bytes of one object, from `position` to `end`. All bytes are from one version.

    If a connection breaks, the read is resumed at the same byte. Every request requires the ETag of
    the first reply, so the read fails if the object is replaced.

    Attributes:
        reply: The headers of the first reply: metadata, ETag, encryption.
        size: The number of stored bytes of the whole object.
    """

    def __init__(
        self,
        client: "S3Client",
        location: Location,
        pinned: Mapping[str, Any],
        reply: Mapping[str, Any],
        *,
        start: int = 0,
        end: int | None = None,
    ) -> None:
        super().__init__()
        self.reply = reply
        self.size = _total(reply)
        self._client = client
        self._location = location
        self._pinned = pinned
        self._position = start
        self._end = self.size if end is None else end
        self._ahead = memoryview(b"")
        self._beginning = memoryview(b"")
        self._brought = 0
        self._held = 0, memoryview(b"")
        self._body: Any = None
        self._body_end = start
        self._is_checksum_of_body = _is_checksum_of_body(reply, self.size)

    @classmethod
    def open(
        cls,
        client: "S3Client",
        location: Location,
        arguments: Mapping[str, Any],
        *,
        first: int = PART_LENGTH,
    ) -> "ObjectStream":
        """Open an object at its first byte. The first request fetches at most `first` bytes.

        Raises:
            ObjectNotFoundError: The object or the version does not exist.
            StorageError: S3 refused or failed.
        """
        request = {**location.arguments, **arguments, "Range": f"bytes=0-{first - 1}"}
        reply, beginning = _first_reply(client, location, request)
        status = reply["ResponseMetadata"]["HTTPStatusCode"]
        is_part = "ContentRange" in reply or status == HTTPStatus.PARTIAL_CONTENT
        is_measured = "ContentRange" in reply or "ContentLength" in reply
        if "ETag" not in reply or not is_measured or (is_part and not _begins_at(0, reply)):
            reply["Body"].close()
            raise _other_bytes(location)
        version = reply.get("VersionId")
        if version and version != "null":
            request["VersionId"] = version
        request.pop("Range", None)
        stream = cls(client, location, {**request, "IfMatch": reply["ETag"]}, reply)
        stream._body = reply["Body"]
        stream._brought = min(first, stream.size)
        stream._body_end = _end_of(reply, stream.size)
        stream._ahead = stream._beginning = memoryview(beginning)
        if beginning and len(beginning) == stream.size:
            stream._verify_checksum()
        return stream

    def hold(self) -> None:
        """Keep the remaining bytes of the first request.

        Sections within these bytes need no request.
        """
        rest = bytearray(max(0, self._brought - self._position))
        start = self._position
        with memoryview(rest) as view:
            count = read_into(self, view)
        self._held = start, memoryview(rest)[:count]

    def section(self, start: int, end: int) -> "ObjectStream":
        """Return a stream of the bytes from `start` to before `end`, from the same version.

        The bytes are requested at the first read, not here.
        """
        section = ObjectStream(
            self._client, self._location, self._pinned, self.reply, start=start, end=end
        )
        begin, held = self._held
        if begin <= start and end <= begin + len(held):
            section._ahead = held[start - begin : end - begin]
        return section

    @property
    def client(self) -> "S3Client":
        """Return the S3 client that fetches the bytes."""
        return self._client

    @property
    def validates_checksums(self) -> bool:
        """Return whether the client is configured to validate the checksums of replies."""
        config = config_of(self._client)
        return bool(config.response_checksum_validation != "when_required")

    @property
    def came_at_once(self) -> bool:
        """Return whether the first reply contains the whole object."""
        return bool(self.reply.get("ContentLength") == self.size)

    @property
    def first_checksum(self) -> int | None:
        """Return S3's CRC-64/NVME of the whole object.

        Return None if the first reply does not have it.

        If the first reply has only a part of the object, its checksum is ignored: some services
        send the checksum of the whole object there, and S3 may send the checksum of the part.
        """
        return full_object_crc(self.reply) if self.came_at_once else None

    def ask_checksum(self) -> int | None:
        """Request S3's CRC-64/NVME of the whole object. Return None if S3 does not return it.

        A refused HEAD is ignored, so the read does not fail. If the reply is incomplete, the HEAD
        is repeated.
        """
        request = {**self._pinned, "ChecksumMode": "ENABLED"}
        for _ in range(_READ_ATTEMPTS):
            try:
                found = call(self._client, "head_object", request, str(self._location))
            except S3CryptError as error:
                told = self._location, cause_of(error)
                _log.info("%s: not compared with S3's checksum, which may not be read (%s)", *told)
                return None
            if found["ETag"] == self.reply["ETag"] and found["ContentLength"] == self.size:
                return full_object_crc(found)
        return None

    def rewind(self) -> None:
        """Go back to the object's first byte."""
        if self._position + len(self._ahead) == len(self._beginning):
            # No other bytes have been read from the connection, so the connection can be kept.
            self._position, self._ahead = 0, self._beginning
            return
        self._drop()
        self._position, self._ahead = 0, memoryview(b"")

    @property
    def beginning(self) -> bytes:
        """Return the first 4 KiB of the object, or all bytes of a shorter object.

        The bytes come from the first reply.
        """
        return bytes(self._beginning)

    @property
    def position(self) -> int:
        """Return the offset of the next byte in the object."""
        return self._position

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, at most `size`."""
        # A shortcut for the fields of a header: it saves several function calls per field.
        if 0 <= size <= len(self._ahead):
            data = bytes(self._ahead[:size])
            self._ahead = self._ahead[size:]
            self._position += size
            return data
        return super().read(size) or b""

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Read the next bytes into `buffer`, and return their number. Return 0 at the end."""
        view = memoryview(buffer).cast("B")[: self._end - self._position]
        if not len(view):
            return 0
        if self._ahead or len(view) < _AHEAD:
            return self._from_ahead(view)
        data = self._receive(len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def take(self, length: int) -> memoryview:
        """Return the next `length` bytes, without a copy if possible.

        Return fewer bytes at the end.
        """
        length = min(length, self._end - self._position)
        if self._ahead or not length:
            taken = reserve(length)
            return taken[: read_into(self, taken)]
        pieces: list[bytes] = []
        while length:
            pieces.append(self._receive(length))
            self._position += len(pieces[-1])
            length -= len(pieces[-1])
        return memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _from_ahead(self, view: memoryview) -> int:
        """Fill `view` from bytes that were read ahead.

        The short fields of a header share one read.
        """
        if not self._ahead:
            self._ahead = memoryview(self._receive(min(_AHEAD, self._end - self._position)))
            if not self._position:
                self._beginning = self._ahead
        count = min(len(view), len(self._ahead))
        view[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        self._position += count
        return count

    def _receive(self, length: int) -> bytes:
        """Return the next bytes from the connection. If the connection breaks, open a new one."""
        subject = f"{self._location}: the connection broke at byte {self._position}"
        attempts = Attempts(self._client, subject, least=_READ_ATTEMPTS)
        while True:
            try:
                if self._body is None or self._position == self._body_end:
                    # There is no pause here: the reply contained all requested bytes, so no
                    # connection broke.
                    self._drop()
                    self._body, self._body_end = self._request(attempts), self._end
                data: bytes = self._body.read(length)
            except S3CryptError:
                # A refusal is final. Some of these errors are also OSErrors, so they are handled
                # first.
                raise
            except (*BROKEN, *_WRONG_CHECKSUM) as error:
                self._pause_after(str(error), attempts)
                continue
            if data:
                if self._position + len(data) == self._end:
                    self._verify_checksum()
                return data
            self._pause_after("S3 sent fewer bytes than it announced.", attempts)

    def _pause_after(self, failure: str, attempts: Attempts) -> None:
        """Drop the broken connection, and pause before a new request for the same byte."""
        self._drop()
        attempts.after(_BrokenBodyError(failure))
        told = self._location, self._position, self.size, attempts.made
        _log.info("%s: reading broke and is resumed at byte %d of %d (attempt %d)", *told)

    def close(self) -> None:
        """Close the connection if one is open."""
        self._drop()
        super().close()

    def leave(self) -> None:
        """Close the stream.

        If only few bytes of the reply are still to come, read them, so the connection can be
        reused.
        """
        left = self._body_end - self._position - len(self._ahead)
        while self._body is not None and left <= _DRAINED and _next_of(self._body, _DRAINED):
            pass
        self.close()

    def _request(self, attempts: Attempts) -> Any:
        wanted = f"bytes={self._position}-{self._end - 1}"
        try:
            request = {**self._pinned, "Range": wanted}
            reply = call(self._client, "get_object", request, str(self._location), within=attempts)
        except ConflictError as error:
            raise ConflictError(
                f"{self._location} was replaced while it was read.",
                hint="Read the object again.",
                code=error.code,
                request_id=error.request_id,
            ) from error.__cause__
        # A service that ignores ranges or If-Match may send other bytes than requested.
        if reply.get("ETag") != self.reply["ETag"] or not _begins_at(
            self._position, reply, self.size
        ):
            came = _next_of(reply["Body"], 1)
            reply["Body"].close()
            if not came:
                raise _BrokenBodyError("the connection broke within the reply's headers")
            raise _other_bytes(self._location)
        self._is_checksum_of_body = _is_checksum_of_body(reply, self.size)
        return reply["Body"]

    def _verify_checksum(self) -> None:
        # If S3 sent a checksum for these bytes, botocore compares it during a read after the last
        # byte.
        if not isinstance(self._body, StreamingChecksumBody) or not self._is_checksum_of_body:
            return
        try:
            self._body.read(1)
        except _WRONG_CHECKSUM as error:
            raise self.changed_error() from error
        except BROKEN:
            # All bytes were received before the connection broke, so no byte is affected.
            self._drop()

    def changed_error(self) -> IntegrityError:
        """Return the error for bytes that do not match S3's checksum."""
        return IntegrityError(
            f"{self._location}: the received bytes do not match S3's checksum of the object.",
            hint="Get the object again; the network may have changed the bytes.",
        )

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()


class _BrokenBodyError(OSError):
    """The body of a reply ended before its last byte, or reading it failed."""


# Checksum errors of an incomplete body, or because of incomplete headers. `_verify_checksum`
# handles the errors of a complete body. botocore raises ValueError, or base64's subclass of it, if
# the checksum header is not base64.
_WRONG_CHECKSUM = (FlexibleChecksumError, ValueError)


def _first_reply(
    client: "S3Client", location: Location, request: dict[str, Any]
) -> tuple[Mapping[str, Any], bytes]:
    """Return a reply with complete headers, and the first bytes of its body.

    If a connection breaks within the headers, Python accepts the headers received so far; the
    length or the key may then be cut or missing. If a byte of the body was received, the headers
    are complete.
    """
    requests = Attempts(client, str(location))
    subject = f"{location}: the connection broke at byte 0"
    bodies = Attempts(client, subject, least=_READ_ATTEMPTS, within=requests)
    while True:
        try:
            reply = attempt(client, "get_object", request)
        except BrokenReplyError as error:
            bodies.after(error)
            continue
        except (ClientError, BotoCoreError) as error:
            # An empty object has no first byte, so S3 refuses the range. Repeat the request without
            # it.
            is_empty = http_status(error) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            if not is_empty or not request.pop("Range", None):
                requests.after(error)
            continue
        if reply.get("ContentLength") == 0:
            return reply, b""
        if beginning := _next_of(reply["Body"], _AHEAD):
            return reply, beginning
        reply["Body"].close()
        bodies.after(_BrokenBodyError("the connection broke within the reply's headers"))


def _next_of(body: Any, length: int) -> bytes:
    """Return the next bytes of a reply's body. Return no bytes if the connection broke."""
    try:
        data: bytes = body.read(length)
    except (*BROKEN, *_WRONG_CHECKSUM):
        return b""
    return data


# The Content-Range header for a range of an object of known length. The length of any object has at
# most 20 digits.
_CONTENT_RANGE = re.compile(r"bytes (\d{1,20})-\d{1,20}/(\d{1,20})", re.ASCII)


def _begins_at(position: int, reply: Mapping[str, Any], size: int | None = None) -> bool:
    """Return whether a reply contains a range of the object that begins at `position`.

    If `size` is given, the object must have this size, too.
    """
    begins = _CONTENT_RANGE.fullmatch(reply.get("ContentRange", ""))
    return (
        begins is not None
        and int(begins[1]) == position
        and (size is None or int(begins[2]) == size)
    )


def _other_bytes(location: Location) -> StorageError:
    return StorageError(
        f"{location}: the service did not send the requested bytes.",
        hint="Use a service that honours Range and If-Match.",
    )


def _is_checksum_of_body(reply: Mapping[str, Any], size: int) -> bool:
    """Return whether the body is the whole object, so the reply's checksum applies to the body.

    rclone sends the checksum of the whole object with ranges too, and its replies do not contain
    the type of the checksum.
    """
    return reply.get("ContentLength") == size


def _end_of(reply: Mapping[str, Any], size: int) -> int:
    """Return the offset after the last byte of a reply that begins at the object's first byte."""
    content_range = reply.get("ContentRange")
    # Without Content-Range, the service ignored the range and sent the whole object.
    return int(content_range.partition("/")[0].rpartition("-")[2]) + 1 if content_range else size


def _total(reply: Mapping[str, Any]) -> int:
    content_range = reply.get("ContentRange")
    return int(content_range.rpartition("/")[2]) if content_range else int(reply["ContentLength"])
