# SPDX-License-Identifier: Apache-2.0
"""Frames: how stored bytes are cut into them, and what seals and opens them, whatever the format.

`transfer` and `objects` move runs of frames by these and know no codec. Plaintext that S3 encrypts
is cut likewise. Pure: no byte is read here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Run:
    """The frames `first` to `last` of an object, its stored bytes `start` to before `end`.

    Attributes:
        plaintext_offset: Where their plaintext begins in the object's.
        is_final: Whether the last of them is the object's.
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
        frame_length: Plaintext bytes of a frame that is not the final one.
        stride: Stored bytes of such a frame.
        frames: How many frames there are.
        plaintext_length: What `size` claims; only the final frame, once opened, proves it.
    """

    size: int
    header_length: int
    frame_length: int
    stride: int
    frames: int
    plaintext_length: int

    @classmethod
    def of_plaintext(cls, size: int) -> Self:
        """Return the layout of bytes that are stored as they are: each counts as a frame."""
        return cls(size, 0, 1, 1, size, size)

    def runs(self, length: int, *, within: Run | None = None) -> Iterator[Run]:
        """Yield runs of at most `length` stored bytes, or of one frame, in order."""
        count = max(1, length // self.stride)
        first, last = (within.first, within.last) if within else (1, self.frames)
        for start in range(first, last + 1, count):
            yield self._run(start, min(start + count - 1, last))

    def covering(self, start: int, end: int) -> Run:
        """Return the run of frames that have the plaintext from `start` to before `end`.

        Where that is empty, the frame that `start` would be in; the final one at the end.
        """
        first = min(start // self.frame_length + 1, self.frames)
        return self._run(first, max(first, min(-(-end // self.frame_length), self.frames)))

    def plaintext_of(self, run: Run) -> int:
        """Return the bytes of a run's plaintext."""
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
        header: The stored bytes before the first frame. They are random in part, so that they tell
            this object from any other.
    """

    header: bytes

    @property
    def frame_length(self) -> int:
        """Return the plaintext bytes of a frame that is not the final one."""
        ...

    @property
    def stride(self) -> int:
        """Return the stored bytes of such a frame."""
        ...

    @property
    def is_sequential(self) -> bool:
        """Return whether frames must be sealed in order."""
        ...

    def sealed_length(self, plaintext_length: int) -> int:
        """Return the bytes of an object of that plaintext, from its header to its footer."""
        ...

    def seal(self, plaintext: memoryview, out: memoryview, *, first: int, is_final: bool) -> int:
        """Seal a run of frames, the first numbered `first` (from 1); return the bytes written.

        All are full but the final frame of the object, with which a run that `is_final` ends.
        """
        ...

    def footer(self) -> bytes:
        """Return the stored bytes after the final frame."""
        ...


class RunOpener(Protocol):
    """Verifies and decrypts frames of one object, in any order and from several threads."""

    def layout(self, size: int) -> Layout:
        """Return how `size` stored bytes, from the header to the final frame, are cut.

        Raises:
            IntegrityError: No object has this size.
        """
        ...

    def open(self, run: memoryview, out: memoryview, *, first: int, is_final: bool = False) -> int:
        """Open a run of frames, the first numbered `first`; return the plaintext bytes.

        Raises:
            IntegrityError: A frame is not the one that was sealed there; `out` holds nothing that
                may be used.
        """
        ...
