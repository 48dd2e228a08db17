# SPDX-License-Identifier: Apache-2.0
"""Plaintext by ranges: the blocks of a range are fetched by one request and verified.

This module caches nothing: each fetch sends a request. The module `spans` has the cache.
"""

import re
import time
from dataclasses import dataclass
from typing import Protocol, Self

from s3crypt.errors import ConfigError, StorageError
from s3crypt.framing import Layout, Run, RunOpener
from s3crypt.local.buffers import Buffers
from s3crypt.location import Location
from s3crypt.transfer import ObjectStream, Sink, fetch

# Plaintext that S3 decrypts has no frames. It is handled in blocks of this many bytes.
BLOCK_LENGTH = 64 * 2**10
# In seconds. If even the quickest reply of a service took longer, the service is far away.
_FAR = 0.01
_RANGE = re.compile(r"(\d{0,19})-(\d{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range in the notation of HTTP and S3: `0-99`, `100-`, or `-100` for the last 100 bytes.

    Attributes:
        first: The offset of the first byte. None for a range of the last bytes.
        last: The offset of the last byte, which is included. If `first` is None, the number of
            bytes.
    """

    first: int | None
    last: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the range that a text such as `0-99` describes.

        Raises:
            ConfigError: The text is not a range.
        """
        match = _RANGE.fullmatch(text) if isinstance(text, str) else None
        first, last = (
            (int(part) if part else None for part in match.groups()) if match else (None, None)
        )
        if (first is None and last is None) or (
            first is not None and last is not None and last < first
        ):
            raise ConfigError(
                f"{text!r} is not a range of bytes.",
                hint="Write 0-99 (the first hundred), 100- (all after them) or -100 (the last).",
            )
        return cls(first, last)

    def within(self, size: int, name: str) -> tuple[int, int]:
        """Return the start and end of the range in an object of `size` bytes, by S3's rules.

        Raises:
            StorageError: The object has no byte in the range. The code is `InvalidRange`.
        """
        start, end = (
            (size - min(self.last or 0, size), size)
            if self.first is None
            else (self.first, size if self.last is None else min(self.last + 1, size))
        )
        if start >= end:
            raise StorageError(
                f"{name} has no byte in that range.",
                hint=f"Its plaintext has {size} bytes.",
                code="InvalidRange",
            )
        return start, end


class Plaintext(Protocol):
    """The plaintext of one version of an object.

    Attributes:
        size: The number of plaintext bytes. It follows from the object's size and is not verified.
        block: The unit of verification and caching, in bytes: a frame's plaintext.
        is_far: Whether the service is known to be slow to reply.
    """

    size: int
    block: int

    @property
    def is_far(self) -> bool: ...  # noqa: D102

    def fetch(self, start: int, end: int, sink: Sink, buffers: Buffers) -> None:
        """Fetch a range with one request, and pass its verified blocks to the sink, in order."""
        ...

    def fetch_tail(self, length: int, sink: Sink, buffers: Buffers) -> None:
        """Fetch the blocks of the last `length` bytes, and pass them to the sink.

        This verifies `size`.

        If `size` needs no verification, nothing is fetched.
        """
        ...


class RangedPlaintext:
    """Plaintext fetched by ranges of whole frames.

    Args:
        stream: The object. It must be pinned to one version.
        opener: Opens the object's frames. None if S3 decrypts the object.
        footer_length: The number of bytes after the final frame.
        location: The object's location, for error messages.
    """

    def __init__(
        self, stream: ObjectStream, opener: RunOpener | None, footer_length: int, location: Location
    ) -> None:
        size = stream.size - footer_length
        self._stream = stream
        self._opener = opener
        self._layout = opener.layout(size) if opener else Layout.of_plaintext(size)
        self._location = location
        self._quickest: float | None = None
        self.size = self._layout.plaintext_length
        self.block = self._layout.frame_length if opener else BLOCK_LENGTH

    @property
    def is_far(self) -> bool:
        """Return whether even the fastest request took as long as requests to distant services."""
        return self._quickest is not None and self._quickest > _FAR

    def fetch(self, start: int, end: int, sink: Sink, buffers: Buffers) -> None:
        """Fetch the frames of a range."""
        self._fetch(self._layout.covering(start, end), sink, buffers)

    def fetch_tail(self, length: int, sink: Sink, buffers: Buffers) -> None:
        """Fetch the final frame, and the frames of the last `length` bytes."""
        # If S3 decrypts the object, the size that S3 reports is trusted.
        if self._opener:
            start = max(0, self.size - length)
            # `size + 1` includes a final frame without plaintext: no other frame contains the
            # offset `size`.
            self._fetch(self._layout.covering(start, self.size + 1), sink, buffers)

    def _fetch(self, run: Run, sink: Sink, buffers: Buffers) -> None:
        began = time.monotonic()
        with self._location.named_in_errors():
            fetch(self._stream, self._opener, self._layout, run, sink, buffers)
        took = time.monotonic() - began
        self._quickest = min(took, took if self._quickest is None else self._quickest)


class BytesPlaintext:
    """Plaintext that could be verified only as a whole. It is in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)
        self.block = max(1, self.size)

    @property
    def is_far(self) -> bool:
        """Return False: the plaintext is in memory."""
        return False

    def fetch(self, start: int, end: int, sink: Sink, buffers: Buffers) -> None:
        """Pass the bytes of the range to the sink."""
        del buffers
        sink.take(start, self._data[start:end])

    def fetch_tail(self, length: int, sink: Sink, buffers: Buffers) -> None:
        """Pass nothing to the sink: the size is already verified."""
