# SPDX-License-Identifier: Apache-2.0
"""Frames: the layout of stored bytes in frames, and protocols to seal and open frames.

`transfer` and `objects` move runs of frames by these types, independent of the format. Plaintext
that S3 encrypts has a layout too. No I/O belongs here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Run:
    """The frames `first` to `last` of an object: its stored bytes from `start` to before `end`.

    Attributes:
        plaintext_offset: The offset of the run's plaintext in the object's plaintext.
        is_final: Whether the run's last frame is the object's final frame.
    """

    first: int
    last: int
    start: int
    end: int
    plaintext_offset: int
    is_final: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """How the stored bytes of an object are cut into frames, and frames into runs.

    Attributes:
        size: Stored bytes up to the end of the final frame.
        header_length: Bytes before the first frame.
        frame_length: Plaintext bytes of each frame before the final frame.
        stride: Stored bytes of each frame before the final frame.
        frames: The number of frames.
        plaintext_length: The length derived from `size`; it is proved only by opening the final
            frame.
    """

    size: int
    header_length: int
    frame_length: int
    stride: int
    frames: int
    plaintext_length: int

    @classmethod
    def of_plaintext(cls, size: int) -> Self:
        """Return the layout of an object stored without framing: each byte counts as a frame."""
        return cls(size, 0, 1, 1, size, size)

    def runs(self, length: int, *, within: Run | None = None) -> Iterator[Run]:
        """Yield runs of at most `length` stored bytes, or of one frame, in order."""
        count = max(1, length // self.stride)
        first, last = (within.first, within.last) if within else (1, self.frames)
        for start in range(first, last + 1, count):
            yield self._run(start, min(start + count - 1, last))

    def covering(self, start: int, end: int) -> Run:
        """Return the run of frames that contain the plaintext from `start` to before `end`.

        For an empty range, return the frame at `start`, or the final frame at or past the end.
        """
        first = min(start // self.frame_length + 1, self.frames)
        return self._run(first, max(first, min(-(-end // self.frame_length), self.frames)))

    def plaintext_of(self, run: Run) -> int:
        """Return the number of plaintext bytes of a run."""
        return min(run.last * self.frame_length, self.plaintext_length) - run.plaintext_offset

    def _run(self, first: int, last: int) -> Run:
        is_final = last == self.frames
        return Run(
            first,
            last,
            self._offset(first),
            self.size if is_final else self._offset(last + 1),
            (first - 1) * self.frame_length,
            is_final,
        )

    def _offset(self, frame: int) -> int:
        return self.header_length + (frame - 1) * self.stride


class PartSealer(Protocol):
    """Makes the stored bytes of one object out of its plaintext, each frame exactly once.

    Attributes:
        header: The stored bytes before the first frame. They are partly random, and so identify
            this object.
    """

    header: bytes

    @property
    def frame_length(self) -> int:
        """Return the number of plaintext bytes of each frame before the final frame."""
        ...

    @property
    def stride(self) -> int:
        """Return the number of stored bytes of each frame before the final frame."""
        ...

    @property
    def is_sequential(self) -> bool:
        """Return whether frames must be sealed in order."""
        ...

    def sealed_length(self, plaintext_length: int) -> int:
        """Return the stored length, header and footer included, of a plaintext of that length."""
        ...

    def seal(self, plaintext: memoryview, out: memoryview, *, first: int, is_final: bool) -> int:
        """Seal a run of frames, the first numbered `first` (from 1); return the bytes written.

        Every frame is full except the object's final frame, with which a run that `is_final` ends.
        """
        ...

    def footer(self) -> bytes:
        """Return the stored bytes after the final frame."""
        ...


class RunOpener(Protocol):
    """Verifies and decrypts frames of one object, in any order and from several threads."""

    def layout(self, size: int) -> Layout:
        """Return the layout of `size` stored bytes, from the header to the final frame.

        Raises:
            IntegrityError: No object has this size.
        """
        ...

    def open(self, run: memoryview, out: memoryview, *, first: int, is_final: bool = False) -> int:
        """Open a run of frames, the first numbered `first`; return the number of plaintext bytes.

        Raises:
            IntegrityError: A frame is not the frame that was sealed at its place. The content of
                `out` must not be used.
        """
        ...
