# SPDX-License-Identifier: Apache-2.0
"""Message headers: convert between bytes and values. This module uses no keys.

The layout of version 2 (big-endian; `read_header` shows how version 1 differs):

    02 | suite 2 | message id 32 | context length 2, context | EDK count 2, EDKs
       | content type 1 | frame length 4 | commitment 32 || tag 16

Source: aws-encryption-sdk-specification, data-format/message-header.md.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from s3crypt.errors import ConfigError, FormatError, IntegrityError, Remedy
from s3crypt.local.readers import ByteReader, read_exactly, read_on

from .geometry import Geometry
from .keys import EncryptedDataKey
from .recognise import describe
from .suites import COMMITMENT_LENGTH, IV_LENGTH, SUITES, TAG_LENGTH, Suite

PUBLIC_KEY_PAIR = "aws-crypto-public-key"
RESERVED_PREFIX = "aws-crypto-"

MAX_EDKS = 10
"""The default maximum of wrapped data keys that a reader accepts in a header."""
MAX_FRAME_LENGTH = 64 * 2**20
"""The default maximum of plaintext bytes per frame that a reader accepts."""
# A full context has 64 KiB, and an EDK has less than 1.5 KiB (KMS: about 400 bytes; RSA-8192: about
# 1.2 KiB). The limit is twice the size of a full context and ten EDKs. Without it, the header's
# length fields could describe up to 2 MiB.
MAX_HEADER_LENGTH = 160 * 2**10

_NON_FRAMED, _FRAMED = 1, 2
_V1_TYPE = 0x80
_V1_FIXED = bytes([0, 0, 0, 0, IV_LENGTH])  # between its content type and its frame length


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a message's header. They are not verified until an `Opener` has verified them.

    Attributes:
        suite: The algorithm suite.
        message_id: 32 random bytes, or 16 in version 1.
        context: The stored encryption context.
        edks: The wrapped data keys.
        frame_length: The number of plaintext bytes of a regular frame. 0 if the body is one block.
        commitment: The key commitment. Empty in version 1.
        body: The received bytes of the header, without the IV and the tag.
        iv: The IV of the header's tag.
        tag: The header's tag.
    """

    suite: Suite
    message_id: bytes
    context: Mapping[str, str]
    edks: tuple[EncryptedDataKey, ...]
    frame_length: int
    commitment: bytes
    body: bytes
    iv: bytes
    tag: bytes

    def __len__(self) -> int:
        """Return the length of the header. This is also the offset of the first frame."""
        return len(self.body) + (0 if self.suite.committing else IV_LENGTH) + TAG_LENGTH

    @property
    def is_in_order(self) -> bool:
        """Return whether the message must be read in order: it is signed or has one block."""
        return self.suite.curve is not None or not self.frame_length

    @property
    def geometry(self) -> Geometry:
        """Return the offsets and lengths of the frames.

        The result has no meaning if the body is one block.
        """
        return Geometry(len(self), self.frame_length)

    @property
    def serialized(self) -> bytes:
        """Return the bytes of the header in the message."""
        return self.body + (b"" if self.suite.committing else self.iv) + self.tag


def serialize_context(context: Mapping[str, str]) -> bytes:
    """Return the canonical bytes of an encryption context.

    The pairs are sorted by their UTF-8 keys.

    Raises:
        ConfigError: The context is not text, or needs more than the format's 65,535 bytes.
    """
    if not context:
        return b""
    try:
        pairs = sorted((key.encode(), value.encode()) for key, value in context.items())
    except (AttributeError, UnicodeEncodeError):
        raise ConfigError("Keys and values of an encryption context are Unicode text.") from None
    # Two bytes for the number of pairs, and two bytes before each key and each value.
    if 2 + sum(4 + len(key) + len(value) for key, value in pairs) > 0xFFFF:
        raise ConfigError(
            "The encryption context is too large.",
            hint="Keys and values together may take 65,535 bytes; KMS takes about 8 KiB.",
        )
    fields = [_sized(field) for pair in pairs for field in pair]
    return struct.pack(">H", len(pairs)) + b"".join(fields)


def serialize_body(
    suite: Suite,
    message_id: bytes,
    context: bytes,
    edks: tuple[EncryptedDataKey, ...],
    frame_length: int,
    commitment: bytes,
) -> bytes:
    """Return the bytes of a version 2 header with frames, without its tag.

    `context` is already serialized.

    Raises:
        ConfigError: An EDK does not fit the format, or the header is longer than readers accept.
    """
    parts = [struct.pack(">BH", 2, suite.id), message_id, _sized(context), len(edks).to_bytes(2)]
    for edk in edks:
        parts += [_sized(edk.provider.encode()), _sized(edk.info), _sized(edk.ciphertext)]
    parts += [struct.pack(">BI", _FRAMED, frame_length), commitment]
    body = b"".join(parts)
    if len(body) + TAG_LENGTH > MAX_HEADER_LENGTH:
        raise ConfigError(f"The header would be longer than {MAX_HEADER_LENGTH} bytes.")
    return body


def read_header(
    source: ByteReader, *, max_edks: int = MAX_EDKS, max_frame_length: int = MAX_FRAME_LENGTH
) -> Header:
    """Read a header at the current position of `source`. No byte after the header is read.

    The function verifies nothing: any writer can choose the values.

    Raises:
        FormatError: The source is not a message, has a newer format, or exceeds a limit.
        IntegrityError: The source ends within the header.
    """
    fields = _Fields(source)
    start = _read_start(fields)
    if start is None:
        raise FormatError(
            f"Not an encrypted message, or a newer one: {fields.description()}.",
            hint="If another tool wrote it, a newer version of s3crypt may know its suite."
            if fields.seen()[:1] == b"\x02"
            else None,
        )
    return _read_rest(fields, *start, max_edks=max_edks, max_frame_length=max_frame_length)


def find_header(source: ByteReader) -> Header | None:
    """Read a header if the source begins like a message. Return None if it does not.

    A message begins with a version and a suite that belong together. Of six million files with
    random bytes, one begins like this by chance.

    Raises:
        FormatError, IntegrityError: The source begins like a message, but its header cannot be
            read.
    """
    fields = _Fields(source)
    start = _read_start(fields)
    if start is None:
        return None
    return _read_rest(fields, *start, max_edks=MAX_EDKS, max_frame_length=MAX_FRAME_LENGTH)


def _read_start(fields: "_Fields") -> tuple[int, Suite] | None:
    """Return the version and the suite. Return None if the source does not begin like a message."""
    try:
        start = fields.take(3)
        version, identifier = start[0], start[1:]
        if version == 1 and start[1] == _V1_TYPE:
            identifier = start[2:] + fields.take(1)
        elif version != 2:
            return None
    except IntegrityError:
        # A source that is too short is not a message. If the source itself raised an
        # IntegrityError, it is passed on.
        if not fields.has_ended:
            raise
        return None
    suite = SUITES.get(int.from_bytes(identifier))
    return (version, suite) if suite and suite.version == version else None


def _read_rest(
    fields: "_Fields", version: int, suite: Suite, *, max_edks: int, max_frame_length: int
) -> Header:
    message_id, context_length = fields.take_and_number(suite.message_id_length)
    serialized, count = fields.take_and_number(context_length)
    context = _parse_context(serialized)
    edks = _read_edks(fields, count, max_edks)
    if version == 1:
        fixed = fields.take(10)
        if fixed[1:6] != _V1_FIXED:
            raise FormatError(
                "The header's reserved fields do not have the values that the format requires."
            )
        frame_length = _frame_length(fixed[0], fixed[6:], max_frame_length)
        commitment, body = b"", fields.seen()
        iv, tag = fields.take(IV_LENGTH), fields.take(TAG_LENGTH)
    else:
        rest = fields.take(5 + COMMITMENT_LENGTH + TAG_LENGTH)
        frame_length = _frame_length(rest[0], rest[1:5], max_frame_length)
        commitment, iv, tag = rest[5:-TAG_LENGTH], bytes(IV_LENGTH), rest[-TAG_LENGTH:]
        body = fields.seen()[:-TAG_LENGTH]
    return Header(suite, message_id, context, edks, frame_length, commitment, body, iv, tag)


class _Fields:
    """Reads fields from a source and keeps their bytes. It stops at a header's maximum length."""

    def __init__(self, source: ByteReader) -> None:
        self._source = source
        self._read = source.read
        self._taken: list[bytes] = []
        self._left = MAX_HEADER_LENGTH
        self.has_ended = False

    def take(self, length: int) -> bytes:
        self._left -= length
        if self._left < 0:
            raise self._too_long()
        field = self._read(length)
        if field is None or len(field) != length:
            field = self._complete(field, length)
        self._taken.append(field)
        return field

    @staticmethod
    def _too_long() -> FormatError:
        return FormatError(f"The header is longer than {MAX_HEADER_LENGTH} bytes.")

    def _complete(self, field: bytes | None, length: int) -> bytes:
        field = read_on(self._source, field, length)
        if len(field) < length:
            self._taken.append(field)
            self.has_ended = True
            raise IntegrityError("The message ends within its header.")
        return field

    def take_and_number(self, length: int) -> tuple[bytes, int]:
        """Read a field and the two-byte number after it, usually the length of the next field."""
        # Reading both at once halves the number of calls to the source, which usually passes each
        # call on. The code of `take` is repeated here because five calls of it would take 2 % of
        # the time of a short message.
        total = length + 2
        self._left -= total
        if self._left < 0:
            raise self._too_long()
        field = self._read(total)
        if field is None or len(field) != total:
            field = self._complete(field, total)
        self._taken.append(field)
        return field[:length], int.from_bytes(field[length:])

    def seen(self) -> bytes:
        return b"".join(self._taken)

    def description(self) -> str:
        return describe(self.seen() + read_exactly(self._source, 64))


def _sized(field: bytes) -> bytes:
    if len(field) > 0xFFFF:
        raise ConfigError("A wrapped data key, or its key's name, is longer than 65,535 bytes.")
    return len(field).to_bytes(2) + field


def _parse_context(serialized: bytes) -> dict[str, str]:
    if not serialized:
        return {}
    context: dict[str, str] = {}
    position = 2
    try:
        (count,) = struct.unpack_from(">H", serialized)
        for _ in range(count):
            key, position = _context_field(serialized, position)
            value, position = _context_field(serialized, position)
            if key in context:
                raise FormatError("The encryption context has a key twice.")
            context[key] = value
    except (struct.error, UnicodeDecodeError):
        raise FormatError("The encryption context is malformed.") from None
    if position != len(serialized) or not count:
        raise FormatError("The encryption context is malformed.")
    return context


def _context_field(serialized: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">H", serialized, position)
    end = position + 2 + length
    if end > len(serialized):
        raise FormatError("The encryption context is malformed.")
    return serialized[position + 2 : end].decode(), end


def _read_edks(fields: _Fields, count: int, max_edks: int) -> tuple[EncryptedDataKey, ...]:
    if not count:
        raise FormatError("The message has no wrapped data key.")
    if count > max_edks:
        # Each EDK may cause a request to KMS, so a forged header must not be able to choose the
        # number.
        raise FormatError(
            f"The message has {count} wrapped data keys; at most {max_edks} are read.",
            remedy=Remedy("raise_max_edks", max_edks=count),
        )
    try:
        return tuple([_read_edk(fields) for _ in range(count)])
    except UnicodeDecodeError:
        raise FormatError("A wrapped data key's provider is not text.") from None


def _read_edk(fields: _Fields) -> EncryptedDataKey:
    _, length = fields.take_and_number(0)
    provider, length = fields.take_and_number(length)
    info, length = fields.take_and_number(length)
    return EncryptedDataKey(provider.decode(), info, fields.take(length))


def _frame_length(content_type: int, field: bytes, max_frame_length: int) -> int:
    frame_length = int.from_bytes(field)
    if content_type not in (_FRAMED, _NON_FRAMED) or (content_type == _FRAMED) != bool(
        frame_length
    ):
        raise FormatError("The header's content type and frame length contradict each other.")
    if frame_length > max_frame_length:
        raise FormatError(
            f"Frames of {frame_length} bytes; at most {max_frame_length} are read.",
            remedy=Remedy("raise_max_frame_length", max_frame_length=frame_length),
        )
    return frame_length
