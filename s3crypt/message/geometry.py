# SPDX-License-Identifier: Apache-2.0
"""The offsets and lengths of a message's frames. Only arithmetic."""

from dataclasses import dataclass

from s3crypt.errors import IntegrityError
from s3crypt.framing import Layout

from .suites import IV_LENGTH, TAG_LENGTH

FRAME_OVERHEAD = 4 + IV_LENGTH + TAG_LENGTH
FINAL_FRAME_OVERHEAD = 4 + 4 + IV_LENGTH + 4 + TAG_LENGTH
MAX_FRAMES = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Geometry:
    """The offsets and lengths of a message's frames in bytes, without the message's signature.

    Attributes:
        header_length: The number of bytes before the first frame.
        frame_length: The number of plaintext bytes of a regular frame.
    """

    header_length: int
    frame_length: int

    @property
    def stride(self) -> int:
        """Return the number of bytes that a regular frame takes in the message."""
        return self.frame_length + FRAME_OVERHEAD

    def offset(self, sequence: int) -> int:
        """Return the offset of the frame `sequence` in the message.

        The first frame has the number 1.
        """
        return self.header_length + (sequence - 1) * self.stride

    def frames(self, plaintext_length: int) -> int:
        """Return the number of frames that s3crypt writes for this many plaintext bytes.

        The final frame is never full. If the plaintext fills whole frames, the final frame is
        empty.
        """
        return plaintext_length // self.frame_length + 1

    def message_length(self, plaintext_length: int) -> int:
        """Return the length of the message that s3crypt writes for this many plaintext bytes."""
        regular, final = divmod(plaintext_length, self.frame_length)
        return self.offset(regular + 1) + final + FINAL_FRAME_OVERHEAD

    def split(self, message_length: int) -> tuple[int, int]:
        """Return the number of regular frames and the plaintext length of the final frame.

        The result is right for messages of any writer, because a full final frame and an empty
        final frame give different lengths. It is not verified until the final frame has been
        opened.

        Raises:
            IntegrityError: No message can have this length.
        """
        regular, final = divmod(
            message_length - self.header_length - FINAL_FRAME_OVERHEAD, self.stride
        )
        if regular < 0 or final > self.frame_length or regular >= MAX_FRAMES:
            raise IntegrityError(
                "The message's length does not fit whole frames: the message is truncated."
            )
        return regular, final

    def plaintext_length(self, message_length: int) -> int:
        """Return the plaintext length of a message with this length."""
        regular, final = self.split(message_length)
        return regular * self.frame_length + final

    def layout(self, message_length: int) -> Layout:
        """Return the layout of a message of this length.

        Raises:
            IntegrityError: No message can have this length.
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
