# SPDX-License-Identifier: Apache-2.0
"""Plaintext by ranges: the blocks that a range touches, fetched by one request and verified.

Keeps nothing: what is fetched once more is requested once more. `spans` caches.
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

# Plaintext that S3 decrypts has no frames; it is handled in blocks of this many bytes.
BLOCK_LENGTH = 64 * 2**10
# A service whose quickest reply takes longer, in seconds, is far away.
_FAR = 0.01
_RANGE = re.compile(r"(\d{0,19})-(\d{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range as HTTP and S3 have it: `0-99`, `100-` or, of the last bytes, `-100`.

    Attributes:
        first: Its first byte; None for the last bytes.
        last: Its last byte, included; how many bytes, where `first` is None.
    """

    first: int | None
    last: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the range of a text.

        Raises:
            ConfigError: It is none.
        """
        match = _RANGE.fullmatch(text) if isinstance(text, str) else None
        first, last = (
            (int(part) if part else None for part in match.groups()) if match else (None, None)
        )
        if (first is None and last is None) or (
            first is not None and last is not None and last < first
        ):
            raise ConfigError(
                f"{text!r} is no range of bytes.",
                hint="Write 0-99 (the first hundred), 100- (all after them) or -100 (the last).",
            )
        return cls(first, last)

    def within(self, size: int, name: str) -> tuple[int, int]:
        """Return where it begins and ends in an object of `size` bytes, as S3 would.

        Raises:
            StorageError: No byte of it is there; code `InvalidRange`.
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
        size: Its bytes, as the object's size claims.
        block: What is verified, and kept, in one piece: plaintext bytes of a frame.
        is_far: Whether the service takes long to answer.
    """

    size: int
    block: int

    @property
    def is_far(self) -> bool: ...  # noqa: D102

    def fetch(self, start: int, end: int, sink: Sink, buffers: Buffers) -> None:
        """Let the sink have the verified blocks of a range, in order, by one request."""
        ...

    def fetch_tail(self, length: int, sink: Sink, buffers: Buffers) -> None:
        """Let it have the last blocks, those of `length` bytes; that they come proves the size.

        Nothing where it needs no proof.
        """
        ...


class RangedPlaintext:
    """Plaintext fetched by ranges of whole frames.

    Args:
        stream: The object, pinned to one version.
        opener: Opens its frames; None where S3 decrypts.
        footer_length: Bytes after the final frame.
        location: The object, for errors.
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
        """Tell whether even the quickest request took as long as to a service far away."""
        return self._quickest is not None and self._quickest > _FAR

    def fetch(self, start: int, end: int, sink: Sink, buffers: Buffers) -> None:
        """Fetch the frames of a range."""
        self._fetch(self._layout.covering(start, end), sink, buffers)

    def fetch_tail(self, length: int, sink: Sink, buffers: Buffers) -> None:
        """Fetch the final frame, and those before it."""
        # S3 vouches for the size of what it decrypts.
        if self._opener:
            start = max(0, self.size - length)
            # Of an empty final frame too: `size` itself is in no other.
            self._fetch(self._layout.covering(start, self.size + 1), sink, buffers)

    def _fetch(self, run: Run, sink: Sink, buffers: Buffers) -> None:
        began = time.monotonic()
        with self._location.named_in_errors():
            fetch(self._stream, self._opener, self._layout, run, sink, buffers)
        took = time.monotonic() - began
        self._quickest = min(took, took if self._quickest is None else self._quickest)


class BytesPlaintext:
    """Plaintext that had to be read and verified whole."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)
        self.block = max(1, self.size)

    @property
    def is_far(self) -> bool:
        """Return False: it is here."""
        return False

    def fetch(self, start: int, end: int, sink: Sink, buffers: Buffers) -> None:
        """Give it."""
        del buffers
        sink.take(start, self._data[start:end])

    def fetch_tail(self, length: int, sink: Sink, buffers: Buffers) -> None:
        """Give nothing: it is proved."""
