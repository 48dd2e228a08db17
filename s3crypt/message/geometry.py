# SPDX-License-Identifier: Apache-2.0
"""Where the frames of a message lie: arithmetic on lengths, and nothing else."""

from dataclasses import dataclass

from s3crypt.errors import IntegrityError
from s3crypt.framing import Layout

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
        """Return the number of regular frames and the final frame's plaintext length.

        This holds for any writer's message: a full and an empty final frame give different
        lengths. The result is a claim of the length until the final frame has been opened.

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
        """Return a message's plaintext length from its length; the inverse of message_length."""
        regular, final = self.split(message_length)
        return regular * self.frame_length + final

    def layout(self, message_length: int) -> Layout:
        """Return the layout of a message of this length.

        Raises:
            IntegrityError: No message has this length.
        """
        regular, final = self.split(message_length)
        return Layout(
            size=message_length,
            header_length=self.header_length,
            frame_length=self.frame_length,
            stride=self.stride,
            frames=regular + 1,
            plaintext_length=regular * self.frame_length + final,
        )
