# SPDX-License-Identifier: Apache-2.0
"""All readers of messages: the tests run each vector and each change through every reader."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from s3crypt import message
from s3crypt.errors import IntegrityError, S3CryptError
from s3crypt.message import Opener
from s3crypt.message.frames import final_frame_length, is_final
from s3crypt.message.keys import DataKey, EncryptedDataKey

Reader = Callable[..., bytes]
# Numbers of bytes per read. 13 and 4,099 do not divide the length of a frame or of a run, so these
# reads cross all boundaries.
READ_SIZES = (1, 13, 4099)
SHORTEST_READS = 61


class ShortReads(io.RawIOBase):
    """A source whose reads return fewer bytes than requested, like pipes and sockets."""

    def __init__(self, data: bytes, *, at_most: int = SHORTEST_READS) -> None:
        super().__init__()
        self._data = io.BytesIO(data)
        self._at_most = at_most

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read at most a few bytes."""
        return self._data.read(min(size, self._at_most) if size >= 0 else self._at_most)


def one_shot(data: bytes, keyring: message.Keyring, **options: Any) -> bytes:
    """Read with `decrypt`."""
    return message.decrypt(data, keyring, **options)


def streamed(
    data: bytes, keyring: message.Keyring, *, read_size: int = 61, **options: Any
) -> bytes:
    """Read with `DecryptingReader` from a source of short reads.

    If it fails, check that further reads fail as well.
    """
    # A raw file's `read` may return None if it does not block; this source blocks, so it is cast.
    source: Any = ShortReads(data)
    plaintext = bytearray()
    reader = message.DecryptingReader(source, keyring, **options)
    try:
        while chunk := reader.read(read_size):
            plaintext += chunk
    except S3CryptError as failure:
        assert_stays_failed(reader, failure)
        raise
    assert reader.read(read_size) == b""
    return bytes(plaintext)


def assert_stays_failed(reader: message.DecryptingReader, failure: S3CryptError) -> None:
    """Check that a failed reader returns neither bytes nor the end afterwards."""
    attempts: tuple[Callable[[], object], ...] = (
        lambda: reader.read(1),
        reader.readall,
        lambda: reader.readinto(bytearray(1)),
    )
    for attempt in attempts:
        with pytest.raises(type(failure)):
            attempt()


def framed(data: bytes, keyring: message.Keyring, **options: Any) -> bytes:
    """Read with `read_header`, `Opener` and arithmetic, like parallel transfers.

    Frames of an unsigned message are opened from the last to the first.
    """
    limits = {name: options.pop(name) for name in ("max_edks", "max_frame_length") & options.keys()}
    header = message.read_header(io.BytesIO(data), **limits)
    opener = Opener(header, keyring, **options)
    if not header.frame_length:
        return _block(data, opener)
    if header.suite.curve:
        return _in_order(data, opener)
    return _backwards(data, opener)


def _block(data: bytes, opener: Opener) -> bytes:
    body = memoryview(data)[len(opener.header) :]
    length = 36 + int.from_bytes(body[12:20])
    out = bytearray(max(0, len(body[:length]) - 36))
    opener.open_block(body[:length], memoryview(out))
    opener.verify_footer(bytes(body[length:]))
    return bytes(out)


def _in_order(data: bytes, opener: Opener) -> bytes:
    geometry = message.Geometry(len(opener.header), opener.header.frame_length)
    plaintext = bytearray()
    out = memoryview(bytearray(geometry.frame_length))
    sequence, view = 1, memoryview(data)
    while not is_final(view[geometry.offset(sequence) :]):
        frame = view[geometry.offset(sequence) : geometry.offset(sequence + 1)]
        # The opener raises no error for zero bytes, so the missing final frame is detected here.
        if not frame:
            raise IntegrityError("ended")
        plaintext += out[: opener.open(frame, out, first=sequence)]
        sequence += 1
    start = geometry.offset(sequence)
    end = start + final_frame_length(view[start:])
    plaintext += out[: opener.open_final(view[start:end], out, sequence=sequence)]
    opener.verify_footer(bytes(view[end:]))
    return bytes(plaintext)


def _backwards(data: bytes, opener: Opener) -> bytes:
    geometry = message.Geometry(len(opener.header), opener.header.frame_length)
    regular, final = geometry.split(len(data))
    out = memoryview(bytearray(geometry.plaintext_length(len(data))))
    frame = memoryview(data)[geometry.offset(regular + 1) :]
    last = out[regular * geometry.frame_length :]
    assert opener.open_final(frame, last, sequence=regular + 1) == final
    for sequence in range(regular, 0, -1):
        frame = memoryview(data)[geometry.offset(sequence) : geometry.offset(sequence + 1)]
        place = out[(sequence - 1) * geometry.frame_length :]
        opener.open(frame, place, first=sequence)
    return bytes(out)


READERS: Mapping[str, Reader] = {"one_shot": one_shot, "streamed": streamed, "framed": framed}


class CountingKeyring:
    """A keyring that counts its unwrap calls. A message that exceeds a limit must cause no call."""

    def __init__(self, keyring: message.Keyring) -> None:
        self.keyring = keyring
        self.unwraps = 0

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Generate with the inner keyring."""
        return self.keyring.generate(length, context, plaintext_length=plaintext_length)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Wrap with the inner keyring."""
        return self.keyring.wrap(data_key, context)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Count the call, and unwrap with the inner keyring."""
        self.unwraps += 1
        return self.keyring.unwrap(edks, context, length)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return the inner keyring's answer."""
        return self.keyring.wrote(edks)


class FixedKeyring:
    """A keyring with a given data key, for known answers and for messages of foreign writers."""

    def __init__(self, data_key: bytes) -> None:
        self._data_key = data_key

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return the data key and an EDK without content."""
        assert length == len(self._data_key)
        return DataKey(self._data_key, self.wrap(self._data_key, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return an EDK without content."""
        assert data_key == self._data_key
        del context
        return (EncryptedDataKey("fixed", b"fixed", b"fixed"),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key, whatever the EDKs contain."""
        del edks, context
        assert length == len(self._data_key)
        return self._data_key

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether there is an EDK."""
        return bool(edks)
