# SPDX-License-Identifier: Apache-2.0
"""Yields the JSON values of a trail file, one at a time, in bounded memory.

A file is JSON, plain or compressed with gzip. It contains `{"Records": [...]}` (the form that
CloudTrail delivers), `{"Events": [...]}` (the output of LookupEvents), or one value per line. This
module does not know the fields of a record, S3 or the file system.
"""

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, TypeAlias

Cause: TypeAlias = Literal["broken", "too long", "record too long"]

MAX_UNPACKED = 256 * 2**20
"""The maximum number of bytes that are unpacked from one file."""
# The maximum length of a value, in characters. CloudTrail's records have at most 1 MB. A longer
# value is refused, because parsing would hold all of it in memory.
_MAX_VALUE = 4 * 2**20
_CHUNK = 2**20
# The number of stored bytes per read. After each gzip member, the rest of the read bytes is copied,
# so larger reads would make files of many short members slow.
_PACKED = 2**16
_GZIP = b"\x1f\x8b"
_BEGINNING = re.compile(r'\{\s*"(?:Records|Events)"\s*:\s*\[')
_SPACE = re.compile(r"[ \t\r\n]*")


class BrokenFileError(Exception):
    """A file cannot be read to its end. The values before the fault were yielded.

    Attributes:
        cause: `broken` if the file is truncated, or is neither gzip nor JSON. `too long` if the
            file has more than `MAX_UNPACKED` bytes. `record too long` if one value is too long for
            a record.
    """

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause: Cause = cause


def values(source: BinaryIO) -> Iterator[object]:
    """Yield the values of a file: the elements of its list, or the values of its lines.

    Raises:
        BrokenFileError: The rest of the file cannot be read.
    """
    text = _Text(unpacked(source))
    if not text.next_character():
        raise BrokenFileError("broken")
    while text.next_character():
        if text.begins(_BEGINNING):
            yield from _elements(text)
            _skip_members(text)
        else:
            yield from _inside(text.value())


def unpacked(source: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a file, at most `MAX_UNPACKED`. A gzip file is unpacked.

    Raises:
        BrokenFileError: The file is truncated or damaged, or has more than `MAX_UNPACKED` bytes.
    """
    first = source.read(_PACKED)
    # The stored bytes are also limited, because a file may have any number of empty gzip members.
    pieces = _counted(_pieces(source, first))
    yield from _counted(_joined(_inflated(pieces) if first.startswith(_GZIP) else pieces))


def _pieces(source: BinaryIO, piece: bytes) -> Iterator[bytes]:
    while piece:
        yield piece
        piece = source.read(_PACKED)


def _counted(pieces: Iterator[bytes]) -> Iterator[bytes]:
    count = 0
    for piece in pieces:
        count += len(piece)
        if count > MAX_UNPACKED:
            raise BrokenFileError("too long")
        yield piece


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of at least `_CHUNK` bytes, except the last piece."""
    waiting = bytearray()
    try:
        for piece in pieces:
            waiting += piece
            if len(waiting) >= _CHUNK:
                yield bytes(waiting)
                waiting.clear()
    except BrokenFileError:
        # Yield the bytes before the fault, which are valid.
        yield bytes(waiting)
        raise
    yield bytes(waiting)


def _inflated(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the unpacked bytes of all gzip members, at most `_CHUNK` bytes at a time."""
    inflater = None
    for data in packed:
        while data:
            if inflater is None:
                # Skip zeros, which may follow the last member.
                data = data.lstrip(b"\0")  # noqa: PLW2901 - the rest of the piece
                if not data:
                    break
                # Adding 16 selects the gzip format, with its header and checksum.
                inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
            yield _inflate(inflater, data)
            is_over = inflater.eof
            data = inflater.unused_data if is_over else inflater.unconsumed_tail  # noqa: PLW2901
            inflater = None if is_over else inflater
    while inflater is not None and not inflater.eof:
        # Unpack the rest of the last piece, which may give more than `_CHUNK` bytes.
        piece = _inflate(inflater, b"")
        if not piece and not inflater.eof:
            raise BrokenFileError("broken")
        yield piece


def _inflate(inflater: "zlib._Decompress", data: bytes) -> bytes:
    try:
        return inflater.decompress(data, _CHUNK)
    except zlib.error:
        raise BrokenFileError("broken") from None


class _Text:
    """The text of a file. Only the part that is being parsed is held in memory."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._parse = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0

    def next_character(self) -> str:
        """Skip white space. Return the next character without skipping it, or "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def take(self, character: str) -> bool:
        """Skip white space, and then the given character if it is next.

        Return whether it was next.
        """
        if self.next_character() != character:
            return False
        self._at += 1
        return True

    def begins(self, pattern: re.Pattern[str]) -> bool:
        """Return whether the pattern matches at the present position.

        If so, skip the matched text.
        """
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return match is not None

    def value(self) -> object:
        """Return the next JSON value.

        Raises:
            BrokenFileError: The value is incomplete, invalid or too long.
        """
        while True:
            try:
                value, self._at = self._parse(self._text, self._at)
            except (ValueError, RecursionError):
                # The value may continue in the next piece.
                if len(self._text) - self._at > _MAX_VALUE:
                    raise BrokenFileError("record too long") from None
                if not self._grow():
                    raise BrokenFileError("broken") from None
            else:
                return value

    def _grow(self) -> bool:
        piece = next(self._pieces, None)
        try:
            more = self._decoder.decode(piece or b"", final=piece is None)
        except UnicodeDecodeError:
            raise BrokenFileError("broken") from None
        self._text = self._text[self._at :] + more
        self._at = 0
        return piece is not None


def _elements(text: _Text) -> Iterator[object]:
    """Yield the elements of a list whose opening bracket was read, and read its closing bracket."""
    if text.take("]"):
        return
    while True:
        text.next_character()
        yield text.value()
        if not text.take(","):
            break
    if not text.take("]"):
        raise BrokenFileError("broken")


def _skip_members(text: _Text) -> None:
    """Skip the members of an object after its list, and its closing brace."""
    while text.take(","):
        text.next_character()
        text.value()
        if not text.take(":"):
            raise BrokenFileError("broken")
        text.next_character()
        text.value()
    if not text.take("}"):
        raise BrokenFileError("broken")


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, list):
        yield from value
        return
    for name in ("Records", "Events"):
        if isinstance(value, dict) and isinstance(value.get(name), list):
            yield from value[name]
            return
    yield value
