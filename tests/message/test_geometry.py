# SPDX-License-Identifier: Apache-2.0
"""Geometry: the arithmetic of lengths and offsets is consistent, and agrees with real messages."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from writers import ForeignWriter, split

from s3crypt import message
from s3crypt.errors import IntegrityError
from s3crypt.keyrings import AESKeyring
from s3crypt.message import Geometry

KEYRING = AESKeyring("geometry", "key", bytes(range(32)))

geometries = st.builds(Geometry, st.integers(100, 160 * 1024), st.integers(1, 2**26))
lengths = st.one_of(st.integers(0, 2**12), st.integers(0, 5 * 2**40))


@given(geometries, lengths)
def test_plaintext_length_inverts_message_length(geometry: Geometry, length: int) -> None:
    """The length of a message follows from the length of its plaintext, and vice versa."""
    # An S3 object has at most 50 TB. Only frames of 16 KiB and more reach this with the format's
    # frame numbers.
    if geometry.frames(length) > 2**32 - 1:
        return
    written = geometry.message_length(length)
    assert geometry.plaintext_length(written) == length
    regular, final = geometry.split(written)
    assert regular + 1 == geometry.frames(length)
    assert 0 <= final < geometry.frame_length
    assert geometry.offset(regular + 1) + final + 40 == written


@given(geometries, st.integers(0, 2**41))
def test_every_length_is_a_messages_or_refused(geometry: Geometry, length: int) -> None:
    """Any length is the length of a message, with a full or an empty final frame, or is refused."""
    try:
        regular, final = geometry.split(length)
    except IntegrityError:
        return
    assert geometry.header_length + regular * geometry.stride + final + 40 == length


@given(geometries, st.integers(1, 2**32 - 1))
def test_offsets_are_a_grid(geometry: Geometry, sequence: int) -> None:
    """Frames follow each other without gaps, and the first frame follows the header."""
    assert geometry.offset(1) == geometry.header_length
    assert geometry.offset(sequence + 1) - geometry.offset(sequence) == geometry.frame_length + 32


@given(st.binary(max_size=1500), st.sampled_from([128, 256, 1024]), st.booleans())
def test_messages_have_the_length_foretold(data: bytes, frame_length: int, signed: bool) -> None:
    """The geometry predicts a message's exact length, without the signature of a signed message."""
    written = message.encrypt(data, KEYRING, signed=signed, frame_length=frame_length)
    geometry = Geometry(len(message.read_header(io.BytesIO(written))), frame_length)
    signature = 105 if signed else 0
    assert len(written) == geometry.message_length(len(data)) + signature
    assert geometry.plaintext_length(len(written) - signature) == len(data)


@given(st.integers(0, 600), st.integers(1, 200), st.booleans())
def test_either_ending_is_understood(length: int, frame_length: int, empty_final: bool) -> None:
    """The plaintext's length is computed for messages that end with a full or empty final frame."""
    writer = ForeignWriter(frame_length=frame_length)
    written = writer.write(split(bytes(length), frame_length, empty_final=empty_final))
    geometry = Geometry(len(message.read_header(io.BytesIO(written))), frame_length)
    assert geometry.plaintext_length(len(written)) == length


@pytest.mark.parametrize(
    ("length", "frames", "written"),
    [
        (0, 1, 140),
        (1, 1, 141),
        (127, 1, 267),
        (128, 2, 300),
        (129, 2, 301),
        (384, 4, 620),
        (128 * (2**32 - 2), 2**32 - 1, 100 + 160 * (2**32 - 2) + 40),
        (128 * (2**32 - 1) - 1, 2**32 - 1, 100 + 160 * (2**32 - 2) + 167),
        (128 * (2**32 - 1), 2**32, 100 + 160 * (2**32 - 1) + 40),
    ],
)
def test_an_exact_multiple_has_one_frame_more(length: int, frames: int, written: int) -> None:
    """If the plaintext fills its last frame, an empty final frame follows.

    The expected numbers are written out and not computed.
    """
    geometry = Geometry(100, 128)
    assert geometry.frames(length) == frames
    assert geometry.message_length(length) == written


@pytest.mark.parametrize("length", [128, 384])
def test_either_ending_has_a_length_of_its_own(length: int) -> None:
    """A message with an empty final frame is 32 bytes longer than one with a full final frame.

    It has one more regular frame for the same plaintext.
    """
    geometry = Geometry(100, 128)
    empty_final, full_final = geometry.message_length(length), geometry.message_length(length) - 32
    assert geometry.split(empty_final) == (length // 128, 0)
    assert geometry.split(full_final) == (length // 128 - 1, 128)
    assert geometry.plaintext_length(full_final) == length


@pytest.mark.parametrize("short", [0, 1, 100, 139])
def test_no_message_is_that_short(short: int) -> None:
    """A length without room for a final frame is refused."""
    with pytest.raises(IntegrityError):
        Geometry(100, 128).split(short)


def test_no_message_has_that_many_frames() -> None:
    """A length that needs more than 2^32 - 1 frames is refused."""
    geometry = Geometry(100, 1)
    longest = geometry.offset(2**32 - 1) + 40
    assert geometry.split(longest) == (2**32 - 2, 0)
    with pytest.raises(IntegrityError):
        geometry.split(longest + geometry.stride)


def test_fifty_terabytes_fit() -> None:
    """The largest S3 object, in frames of default length, uses a few of the frame numbers."""
    geometry = Geometry(500, message.DEFAULT_FRAME_LENGTH)
    assert geometry.frames(50 * 10**12) < 2**28
