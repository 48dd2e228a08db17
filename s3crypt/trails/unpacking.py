# SPDX-License-Identifier: Apache-2.0
"""JSON values of a trail file, one after the other, in bounded memory.

A file is JSON, as it is or packed by gzip. It holds `{"Records": [...]}`, as CloudTrail delivers
it, `{"Events": [...]}`, as LookupEvents prints it, or one value a line. This module knows no field
of a record, and neither S3 nor the file system.
"""

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, TypeAlias

Cause: TypeAlias = Literal["broken", "too long", "record too long"]

MAX_UNPACKED = 256 * 2**20
"""The bytes of one file that are unpacked at most."""
# CloudTrail's records are 1 MB at most; a longer value is no record, and would be held whole.
_MAX_VALUE = 4 * 2**20
_CHUNK = 2**20
# Stored bytes at a time. What follows a member of gzip is copied, once for every member.
_PACKED = 2**16
_GZIP = b"\x1f\x8b"
_BEGINNING = re.compile(r'\{\s*"(?:Records|Events)"\s*:\s*\[')
_SPACE = re.compile(r"[ \t\r\n]*")


class BrokenFileError(Exception):
    """A file cannot be read to its end; the values before that place have been yielded.

    Attributes:
        cause: `broken` where it breaks off, or is neither gzip nor JSON; `too long` where it has
            more bytes than `MAX_UNPACKED`; `record too long` for one value.
    """

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause: Cause = cause


def values(source: BinaryIO) -> Iterator[object]:
    """Yield the values of a file: the elements of its list, or those of its lines.

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
    """Yield the bytes of a file, unpacked if they are gzip's, and counted as they come.

    Raises:
        BrokenFileError: The file breaks off, is damaged, or has more than `MAX_UNPACKED` bytes.
    """
    first = source.read(_PACKED)
    # The stored bytes count as well: gzip's members may be empty.
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
    """Yield the same bytes in pieces of `_CHUNK` at least, however short gzip's members are."""
    waiting = bytearray()
    try:
        for piece in pieces:
            waiting += piece
            if len(waiting) >= _CHUNK:
                yield bytes(waiting)
                waiting.clear()
    except BrokenFileError:
        # What came before the place where it breaks off is good.
        yield bytes(waiting)
        raise
    yield bytes(waiting)


def _inflated(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what gzip has packed, of every member, at most `_CHUNK` bytes at a time."""
    inflater = None
    for data in packed:
        while data:
            if inflater is None:
                # Zeros may follow the last member.
                data = data.lstrip(b"\0")  # noqa: PLW2901 - what is left of it
                if not data:
                    break
                # 16: with gzip's header and checksum.
                inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
            yield _inflate(inflater, data)
            is_over = inflater.eof
            data = inflater.unused_data if is_over else inflater.unconsumed_tail  # noqa: PLW2901
            inflater = None if is_over else inflater
    while inflater is not None and not inflater.eof:
        # A last piece may be longer than what may be unpacked at once.
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
    """The text of a file, of which only the part that is being parsed is held."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._parse = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0

    def next_character(self) -> str:
        """Return the next character that is no white space, or "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def take(self, character: str) -> bool:
        """Step over the next character if it is this one; return whether it was."""
        if self.next_character() != character:
            return False
        self._at += 1
        return True

    def begins(self, pattern: re.Pattern[str]) -> bool:
        """Step over what the pattern matches here; return whether it matches."""
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return match is not None

    def value(self) -> object:
        """Return the next JSON value.

        Raises:
            BrokenFileError: There is no whole value.
        """
        while True:
            try:
                value, self._at = self._parse(self._text, self._at)
            except (ValueError, RecursionError):
                # The value may go on in the next piece.
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
    """Yield the elements of the list that was entered, and leave it."""
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
    """Step over the other members of the object that the list was in, and leave it."""
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
