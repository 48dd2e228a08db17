# SPDX-License-Identifier: Apache-2.0
"""Streams of base64 for messages. They write one line, and read text with any line breaks."""

import binascii
import re
from collections.abc import Callable
from typing import BinaryIO

from s3crypt.errors import FormatError

_CHUNK = 2**16
_BLANKS = b" \t\r\n"
_DIGITS = re.compile(rb"[A-Za-z0-9+/]*=?")


class Encoder:
    """Encodes the bytes written to it, and writes the base64 to a file; `finish` writes the end."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._rest = b""

    def write(self, data: bytes | memoryview) -> None:
        """Encode all whole groups of three bytes, and keep the rest for the next call."""
        whole = self._rest + bytes(data)
        length = len(whole) // 3 * 3
        self._write(binascii.b2a_base64(whole[:length], newline=False))
        self._rest = whole[length:]

    def finish(self) -> None:
        """Write the remaining bytes with padding, and a line break."""
        self._write(binascii.b2a_base64(self._rest))


class Decoder:
    """Reads a file of base64, and returns the decoded bytes."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self._text = b""
        self._ready = b""
        self._is_padded = False
        self._has_ended = False

    def read(self, length: int = -1) -> bytes:
        """Return the next decoded bytes, at most `length`. Return no bytes at the end.

        Raises:
            FormatError: The file is not base64.
        """
        while not self._has_ended and (length < 0 or len(self._ready) < length):
            chunk = self._file.read(_CHUNK)
            if chunk is None:
                # None comes from a non-blocking pipe that has no bytes yet. The pipe has not ended.
                continue
            self._has_ended = not chunk
            self._text += chunk.translate(None, _BLANKS)
            end = len(self._text) // 4 * 4
            is_cut = self._has_ended and end < len(self._text) and not self._is_padded
            if is_cut and _DIGITS.fullmatch(self._text):
                raise FormatError(
                    f"{self.name} ends within a group of four base64 digits: it is truncated.",
                    hint="Get the complete text, with the = at its end.",
                )
            self._ready += self._decoded(self._text if self._has_ended else self._text[:end])
            self._text = self._text[end:]
        end = len(self._ready) if length < 0 else length
        found, self._ready = self._ready[:end], self._ready[end:]
        return found

    def _decoded(self, text: bytes) -> bytes:
        if self._is_padded and text:
            raise self._other("Excess data after padding")
        self._is_padded = self._is_padded or text.endswith(b"=")
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error as error:
            raise self._other(error) from error

    def _other(self, reason: object) -> FormatError:
        return FormatError(f"{self.name} is not base64: {reason}.", hint="Omit --decode.")
