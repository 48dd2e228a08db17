# SPDX-License-Identifier: Apache-2.0
"""Writes messages as other writers do: version 1, one block, other IVs. For tests only.

The code follows the description of the format. It shares only tables with the code under test.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from s3crypt.message import SUITES
from s3crypt.message.keys import EncryptedDataKey

_FIXED = (EncryptedDataKey("fixed", b"fixed", b"fixed"),)


def sized(field: bytes) -> bytes:
    """Return a field with its length before it."""
    return struct.pack(">H", len(field)) + field


def pairs(context: Sequence[tuple[str, str]]) -> bytes:
    """Return an encryption context with these pairs in this order, repeated keys included."""
    if not context:
        return b""
    fields = b"".join(sized(key.encode()) + sized(value.encode()) for key, value in context)
    return struct.pack(">H", len(context)) + fields


@dataclass(frozen=True)
class ForeignWriter:
    """Makes unsigned messages of any suite and layout under its own data key.

    Attributes:
        suite_id: An unsigned algorithm suite.
        frame_length: 0 for one block.
        context: The stored context's serialization.
        required: Serialized pairs that are authenticated but not stored.
        iv_prefix: The first eight bytes of every frame's IV.
        edks: The wrapped data keys.
    """

    suite_id: int = 0x0478
    frame_length: int = 128
    context: bytes = b""
    required: bytes = b""
    iv_prefix: bytes = bytes(8)
    edks: tuple[EncryptedDataKey, ...] = _FIXED

    @property
    def data_key(self) -> bytes:
        """Return the data key that opens the messages."""
        return bytes(range(SUITES[self.suite_id].key_length))

    @property
    def message_id(self) -> bytes:
        """Return the message id that every message has."""
        return b"m" * (32 if self.suite_id in (0x0478, 0x0578) else 16)

    def header_body(self, *, frame_length: int | None = None) -> bytes:
        """Return the header without its authentication part."""
        length = self.frame_length if frame_length is None else frame_length
        edks = b"".join(
            sized(edk.provider.encode()) + sized(edk.info) + sized(edk.ciphertext)
            for edk in self.edks
        )
        middle = sized(self.context) + struct.pack(">H", len(self.edks)) + edks
        content_type = b"\x02" if length else b"\x01"
        if self.suite_id in (0x0478, 0x0578):
            _, commitment = SUITES[self.suite_id].derive(self.data_key, self.message_id)
            start = struct.pack(">BH", 2, self.suite_id) + self.message_id
            return start + middle + content_type + struct.pack(">I", length) + commitment
        start = struct.pack(">BBH", 1, 0x80, self.suite_id) + self.message_id
        return start + middle + content_type + struct.pack(">IBI", 0, 12, length)

    def write(self, frames: Sequence[bytes]) -> bytes:
        """Return a message of these frames, or of one block; the last frame is final."""
        body = self.header_body()
        iv = bytes(12)
        tag = self._cipher.encrypt(iv, b"", body + self.required)
        head = body + (tag if self.suite_id in (0x0478, 0x0578) else iv + tag)
        if not self.frame_length:
            (block,) = frames
            return head + self._block(block)
        *regular, final = frames
        middle = b"".join(self.regular(n, frame) for n, frame in enumerate(regular, 1))
        return head + middle + self.final(len(frames), final)

    def regular(self, sequence: int, frame: bytes) -> bytes:
        """Return a regular frame."""
        iv = self.iv_prefix + struct.pack(">I", sequence)
        sealed = self._seal(iv, b"AWSKMSEncryptionClient Frame", sequence, frame)
        return struct.pack(">I", sequence) + iv + sealed

    def final(self, sequence: int, frame: bytes) -> bytes:
        """Return a final frame."""
        iv = self.iv_prefix + struct.pack(">I", sequence)
        sealed = self._seal(iv, b"AWSKMSEncryptionClient Final Frame", sequence, frame)
        return (
            struct.pack(">II", 0xFFFFFFFF, sequence) + iv + struct.pack(">I", len(frame)) + sealed
        )

    def _block(self, block: bytes) -> bytes:
        iv = self.iv_prefix + struct.pack(">I", 1)
        sealed = self._seal(iv, b"AWSKMSEncryptionClient Single Block", 1, block)
        return iv + struct.pack(">Q", len(block)) + sealed

    def _seal(self, iv: bytes, string: bytes, sequence: int, plaintext: bytes) -> bytes:
        aad = self.message_id + string + struct.pack(">IQ", sequence, len(plaintext))
        return self._cipher.encrypt(iv, plaintext, aad)

    @property
    def _cipher(self) -> AESGCM:
        content_key, _ = SUITES[self.suite_id].derive(self.data_key, self.message_id)
        return AESGCM(content_key)


def split(plaintext: bytes, frame_length: int, *, empty_final: bool = False) -> list[bytes]:
    """Split a plaintext into frames.

    If `empty_final` is set and the plaintext fills its last frame, an empty final frame follows, as
    the official Python SDK writes it.
    """
    frames = [
        plaintext[start : start + frame_length] for start in range(0, len(plaintext), frame_length)
    ]
    if not frames or (empty_final and len(frames[-1]) == frame_length):
        frames.append(b"")
    return frames


UNSIGNED: Mapping[int, int] = {
    suite.id: suite.key_length for suite in SUITES.values() if suite.curve is None
}
