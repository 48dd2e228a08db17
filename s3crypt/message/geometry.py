# SPDX-License-Identifier: Apache-2.0
"""Where the frames of a message lie: arithmetic on lengths, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass

from s3crypt.errors import IntegrityError

from .suites import IV_LENGTH, TAG_LENGTH

FRAME_OVERHEAD = 4 + IV_LENGTH + TAG_LENGTH
FINAL_FRAME_OVERHEAD = 4 + 4 + IV_LENGTH + 4 + TAG_LENGTH
MAX_FRAMES = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the frames of a message lie: arithmetic on lengths in bytes, without its signature.

    Attributes:
        header_length: Bytes before the first frame.
        frame_length: Plaintext bytes of a regular frame.
    """

    header_length: int
    frame_length: int

    @property
    def stride(self) -> int:
        """Return the bytes that a regular frame takes in the message."""
        return self.frame_length + FRAME_OVERHEAD

    def offset(self, sequence: int) -> int:
        """Return where frame `sequence` (the first is 1) begins in the message."""
        return self.header_length + (sequence - 1) * self.stride

    def frames(self, plaintext_length: int) -> int:
        """Return how many frames this project writes.

        The final frame is never full: behind an exact multiple of the frame length it is empty.
        """
        return plaintext_length // self.frame_length + 1

    def message_length(self, plaintext_length: int) -> int:
        """Return the length of the message that this project writes."""
        regular, final = divmod(plaintext_length, self.frame_length)
        return self.offset(regular + 1) + final + FINAL_FRAME_OVERHEAD

    def split(self, message_length: int) -> tuple[int, int]:
        """Return the regular frames and the final frame's plaintext bytes of any writer's message.

        Unique for a full and for an empty final frame alike. It is what the length claims: only
        the final frame, once opened, proves it.

        Raises:
            IntegrityError: No message has this length.
        """
        regular, final = divmod(
            message_length - self.header_length - FINAL_FRAME_OVERHEAD, self.stride
        )
        if regular < 0 or final > self.frame_length or regular >= MAX_FRAMES:
            raise IntegrityError("The message's length fits no number of frames: it is truncated.")
        return regular, final

    def plaintext_length(self, message_length: int) -> int:
        """Return the plaintext bytes of a message of this length; the inverse of message_length."""
        regular, final = self.split(message_length)
        return regular * self.frame_length + final


@dataclass(frozen=True, slots=True)
class Run:
    """The frames `first` to `last` of a message, its bytes `start` to before `end`.

    Attributes:
        plaintext_offset: Where their plaintext begins in the message's.
        is_final: Whether the last of them is the message's.
    """

    first: int
    last: int
    start: int
    end: int
    plaintext_offset: int
    is_final: bool


class Layout:
    """How a message of `size` bytes is cut into runs of frames, to be worked on side by side.

    Without a geometry the bytes are no message, and each counts as a frame.

    Attributes:
        size: Bytes of the message.
        header_length: Bytes before the first frame.
        plaintext_length: What `size` claims; only the final frame, once opened, proves it.

    Raises:
        IntegrityError: No message has this size.
    """

    def __init__(self, size: int, geometry: Geometry | None) -> None:
        self.size = size
        self._stride, self._unit, self._total = 1, 1, size
        self.header_length, self.plaintext_length = 0, size
        if geometry:
            self._stride, self._unit = geometry.stride, geometry.frame_length
            self._total = geometry.split(size)[0] + 1
            self.header_length = geometry.header_length
            self.plaintext_length = geometry.plaintext_length(size)

    def runs(self, length: int, *, within: Run | None = None) -> Iterator[Run]:
        """Yield runs of at most `length` bytes, or of one frame, in order."""
        count = max(1, length // self._stride)
        first, last = (within.first, within.last) if within else (1, self._total)
        for start in range(first, last + 1, count):
            yield self._run(start, min(start + count - 1, last))

    def covering(self, start: int, end: int) -> Run:
        """Return the run of frames that have the plaintext from `start` to before `end`.

        Where that is empty, the frame that `start` would be in; the final one at the end.
        """
        first = min(start // self._unit + 1, self._total)
        return self._run(first, max(first, min(-(-end // self._unit), self._total)))

    def plaintext_of(self, run: Run) -> int:
        """Return the bytes of a run's plaintext."""
        return min(run.last * self._unit, self.plaintext_length) - run.plaintext_offset

    def _run(self, first: int, last: int) -> Run:
        is_final = last == self._total
        return Run(
            first,
            last,
            self._offset(first),
            self.size if is_final else self._offset(last + 1),
            (first - 1) * self._unit,
            is_final,
        )

    def _offset(self, frame: int) -> int:
        return self.header_length + (frame - 1) * self._stride
