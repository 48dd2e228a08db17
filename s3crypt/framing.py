# SPDX-License-Identifier: Apache-2.0
"""The layout of stored bytes in frames, and protocols for sealing and opening frames.

`transfer` and `objects` transfer runs of frames with these types and do not know the format.
Plaintext that S3 encrypts has a layout too. This module does no I/O.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Run:
    """The frames `first` to `last` of an object: its stored bytes from `start` to before `end`.

    Attributes:
        plaintext_offset: The offset of the run's plaintext in the plaintext of the object.
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
    """How the stored bytes of an object are divided into frames.

    Attributes:
        size: The number of stored bytes up to the end of the final frame.
        header_length: The number of bytes before the first frame.
        frame_length: The number of plaintext bytes of each frame except the final frame.
        stride: The number of stored bytes of each frame except the final frame.
        frames: The number of frames.
        plaintext_length: The length of the plaintext, computed from `size`. It is verified only by
            opening the final frame.
    """

    size: int
    header_length: int
    frame_length: int
    stride: int
    frames: int
    plaintext_length: int

    @classmethod
    def of_plaintext(cls, size: int) -> Self:
        """Return the layout of an object that is stored without frames.

        Each byte counts as a frame.
        """
        return cls(size, 0, 1, 1, size, size)

    def runs(self, length: int, *, within: Run | None = None) -> Iterator[Run]:
        """Yield consecutive runs of at most `length` stored bytes.

        A run has at least one frame. If `within` is given, only its frames are used.
        """
        count = max(1, length // self.stride)
        first, last = (within.first, within.last) if within else (1, self.frames)
        for start in range(first, last + 1, count):
            yield self._run(start, min(start + count - 1, last))

    def covering(self, start: int, end: int) -> Run:
        """Return the run of frames that contain the plaintext from `start` to before `end`.

        For an empty range, the run has one frame: the frame at `start`, or the final frame at the
        end.
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
    """Makes the stored bytes of one object from its plaintext. Each frame is sealed exactly once.

    Attributes:
        header: The stored bytes before the first frame. They are partly random, so they identify
            this object.
    """

    header: bytes

    @property
    def frame_length(self) -> int:
        """Return the number of plaintext bytes of each frame except the final frame."""
        ...

    @property
    def stride(self) -> int:
        """Return the number of stored bytes of each frame except the final frame."""
        ...

    @property
    def is_sequential(self) -> bool:
        """Return whether frames must be sealed in order."""
        ...

    def sealed_length(self, plaintext_length: int) -> int:
        """Return the number of stored bytes for this much plaintext, with header and footer."""
        ...

    def seal(self, plaintext: memoryview, out: memoryview, *, first: int, is_final: bool) -> int:
        """Seal a run of frames into `out`. Return the number of bytes written.

        The first frame of the run has the number `first`; numbers begin with 1.

        Every frame must be full, except the final frame of the object. If `is_final`, the run ends
        with the final frame.
        """
        ...

    def footer(self) -> bytes:
        """Return the stored bytes after the final frame."""
        ...


class RunOpener(Protocol):
    """Verifies and decrypts the frames of one object, in any order and by several threads."""

    def layout(self, size: int) -> Layout:
        """Return the layout for `size` stored bytes: the header and all frames, without the footer.

        Raises:
            IntegrityError: No object can have this size.
        """
        ...

    def open(self, run: memoryview, out: memoryview, *, first: int, is_final: bool = False) -> int:
        """Open a run of frames into `out`. Return the number of plaintext bytes.

        The first frame of the run has the number `first`.

        Raises:
            IntegrityError: A frame is not the frame that was sealed at its position. The content of
                `out` must not be used.
        """
        ...
