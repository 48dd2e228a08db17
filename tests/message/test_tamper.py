# SPDX-License-Identifier: Apache-2.0
"""No reader accepts a changed message, or returns a byte of it that was not verified."""

import io
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from readers import READERS, CountingKeyring, FixedKeyring, Reader, ShortReads, framed
from writers import UNSIGNED, ForeignWriter, pairs, split

from s3crypt import message
from s3crypt.errors import (
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    PolicyError,
    S3CryptError,
)
from s3crypt.keyrings import AESKeyring
from s3crypt.message.keys import EncryptedDataKey

F = 128
KEYRING = AESKeyring("tamper", "key", bytes(range(32)))
CONTEXT = {"purpose": "tamper"}
SMALL = b"".join(index.to_bytes(2) for index in range(150))
REFUSALS = (IntegrityError, FormatError)
EVERY_READER = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
BOTH_SUITES = pytest.mark.parametrize("signed", [False, True], ids=["0478", "0578"])


@cache
def written(*, signed: bool = False, size: int = len(SMALL)) -> bytes:
    """Return a small message of three frames."""
    return message.encrypt(SMALL[:size], KEYRING, context=CONTEXT, signed=signed, frame_length=F)


@cache
def geometry_of(data: bytes) -> message.Geometry:
    """Return the positions of a message's frames."""
    header = message.read_header(io.BytesIO(data))
    return message.Geometry(len(header), header.frame_length)


def refused(reader: Reader, data: bytes, keyring: message.Keyring = KEYRING) -> S3CryptError:
    """Return the error for a changed message, after checking that its type is in `refusals`."""
    with pytest.raises(refusals(data)) as raised:
        reader(data, keyring, context=CONTEXT)
    return raised.value


def refusals(data: bytes) -> tuple[type[S3CryptError], ...]:
    """Return the errors that a changed message may give.

    If no key of the message is ours, the only error is KeyUnavailableError.
    """
    try:
        header = message.read_header(io.BytesIO(data))
    except S3CryptError:
        return REFUSALS
    return REFUSALS if any(map(KEYRING.opens, header.edks)) else (KeyUnavailableError,)


def parts(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Return the header, the three frames and the footer of a small message."""
    geometry = geometry_of(data)
    start, second, third = (geometry.offset(n) for n in (1, 2, 3))
    end = third + len(SMALL) - 2 * F + 40
    return data[:start], [data[start:second], data[second:third], data[third:end]], data[end:]


@EVERY_READER
@BOTH_SUITES
def test_every_flipped_bit(reader: Reader, *, signed: bool) -> None:
    """A message with any single flipped bit is refused, in both v2 suites."""
    data = written(signed=signed)
    assert reader(data, KEYRING, context=CONTEXT) == SMALL
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        refused(reader, bytes(changed))


@EVERY_READER
@BOTH_SUITES
def test_every_truncation(reader: Reader, *, signed: bool) -> None:
    """A message truncated at any position is refused, also an empty one."""
    data = written(signed=signed)
    for length in range(len(data)):
        refused(reader, data[:length])


@EVERY_READER
@BOTH_SUITES
def test_every_dropped_start(reader: Reader, *, signed: bool) -> None:
    """A message without its first bytes is refused."""
    data = written(signed=signed)
    for length in range(1, len(data)):
        refused(reader, data[length:])


@EVERY_READER
@BOTH_SUITES
@pytest.mark.parametrize("trailer", [b"\x00", b"\xff" * 3, bytes(105), bytes(300)], ids=len)
def test_trailing_bytes(reader: Reader, trailer: bytes, *, signed: bool) -> None:
    """Bytes after the end are refused, although the official SDK ignores them."""
    refused(reader, written(signed=signed) + trailer)


@EVERY_READER
@BOTH_SUITES
def test_a_second_message_behind(reader: Reader, *, signed: bool) -> None:
    """A message followed by another message or by its own copy is refused."""
    refused(reader, written(signed=signed) * 2)


REORDERINGS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "swapped": lambda frames: [frames[1], frames[0], frames[2]],
    "first dropped": lambda frames: frames[1:],
    "second dropped": lambda frames: [frames[0], frames[2]],
    "final dropped": lambda frames: frames[:2],
    "all dropped": lambda _: [],
    "only the final one left": lambda frames: frames[2:],
    "first repeated": lambda frames: [frames[0], *frames],
    "second repeated": lambda frames: [*frames[:2], *frames[1:]],
    "final repeated": lambda frames: [*frames, frames[2]],
    "second replaced by the first": lambda frames: [frames[0], frames[0], frames[2]],
    "final one first": lambda frames: [frames[2], *frames[:2]],
}


@EVERY_READER
@BOTH_SUITES
@pytest.mark.parametrize("reorder", REORDERINGS.values(), ids=REORDERINGS)
def test_frames_moved(
    reader: Reader, reorder: Callable[[list[bytes]], list[bytes]], *, signed: bool
) -> None:
    """A message whose frames were swapped, repeated or dropped is refused."""
    header, frames, footer = parts(written(signed=signed))
    refused(reader, header + b"".join(reorder(frames)) + footer)


@EVERY_READER
def test_frames_renumbered(reader: Reader) -> None:
    """A frame that has its neighbour's number is refused, because numbers are authenticated."""
    header, frames, _ = parts(written())
    swapped = [
        frames[0][:4] + frames[1][4:],
        frames[1][:4] + frames[0][4:],
        frames[2],
    ]
    refused(reader, header + b"".join(swapped))


@EVERY_READER
def test_a_regular_frame_made_final(reader: Reader) -> None:
    """A regular frame that was made a final frame, to shorten the message, is refused."""
    header, frames, _ = parts(written())
    for count in (1, 2):
        frame = frames[count - 1]
        final = b"\xff\xff\xff\xff" + frame[:16] + F.to_bytes(4) + frame[16:]
        refused(reader, header + b"".join(frames[: count - 1]) + final)


@EVERY_READER
def test_a_final_frame_made_regular(reader: Reader) -> None:
    """A full final frame that was made a regular frame, to lengthen the message, is refused."""
    writer = ForeignWriter(frame_length=F)
    edks = KEYRING.wrap(writer.data_key, CONTEXT)
    context = pairs(list(CONTEXT.items()))
    writer = ForeignWriter(frame_length=F, context=context, edks=edks)
    data = writer.write(split(SMALL[:F], F))
    assert reader(data, KEYRING, context=CONTEXT) == SMALL[:F]
    start = geometry_of(data).header_length
    frame = data[start:]
    refused(reader, data[:start] + frame[4:20] + frame[24:] + frame)
    refused(reader, data[:start] + frame[4:20] + frame[24:] + writer.final(2, b""))


@EVERY_READER
@BOTH_SUITES
def test_an_empty_final_frame_is_needed_and_tied_to_its_place(
    reader: Reader, *, signed: bool
) -> None:
    """An empty final frame after full frames cannot be dropped, repeated or moved forward."""
    data = written(signed=signed, size=2 * F)
    geometry = geometry_of(data)
    header, first, second, final = (
        data[start:end]
        for start, end in (
            (0, geometry.offset(1)),
            (geometry.offset(1), geometry.offset(2)),
            (geometry.offset(2), geometry.offset(3)),
            (geometry.offset(3), geometry.offset(3) + 40),
        )
    )
    footer = data[geometry.offset(3) + 40 :]
    assert reader(data, KEYRING, context=CONTEXT) == SMALL[: 2 * F]
    for frames in (
        [first, second],
        [first, final],
        [final],
        [first, final, second],
        [first, second, final, final],
        [first, second, second[:4] + final[4:]],
    ):
        refused(reader, header + b"".join(frames) + footer)


@EVERY_READER
@BOTH_SUITES
def test_frames_of_another_message(reader: Reader, *, signed: bool) -> None:
    """A frame from the same position of another message under the same wrapping key is refused."""
    header, frames, footer = parts(written(signed=signed))
    again = message.encrypt(SMALL, KEYRING, context=CONTEXT, signed=signed, frame_length=F)
    _, others, other_footer = parts(again)
    for index in range(3):
        mixed = [*frames[:index], others[index], *frames[index + 1 :]]
        refused(reader, header + b"".join(mixed) + footer)
    refused(reader, header + b"".join(others) + other_footer)
    if signed:
        refused(reader, header + b"".join(frames) + other_footer)


@EVERY_READER
def test_a_wrong_wrapping_key(reader: Reader) -> None:
    """A different key of the same name opens nothing. The error names the message's key."""
    error = refused(reader, written(), AESKeyring("tamper", "key", bytes(32)))
    assert error.hint == "The unverified header names aes:tamper/key."


@EVERY_READER
def test_a_wrong_data_key(reader: Reader) -> None:
    """A data key that the header does not commit to is refused."""
    refused(reader, written(), FixedKeyring(bytes(32)))


@EVERY_READER
@pytest.mark.parametrize(
    "context", [{"purpose": "other"}, {"purpose": ""}, {"more": "pairs"}, {"": ""}], ids=str
)
def test_a_wrong_context(reader: Reader, context: dict[str, str]) -> None:
    """A context with another value, or with a pair that is not authenticated, is refused."""
    with pytest.raises(IntegrityError):
        reader(written(), KEYRING, context=context)


@EVERY_READER
def test_a_pair_moved_out_of_the_header(reader: Reader) -> None:
    """A context pair that was moved out of the header is refused: the tag covers the header."""
    data = written()
    stored = pairs([("purpose", "tamper")])
    assert stored in data
    refused(reader, data.replace(len(stored).to_bytes(2) + stored, b"\x00\x00"))


@EVERY_READER
def test_half_signed(reader: Reader) -> None:
    """A signing key in an unsigned message's context is refused before any key is unwrapped."""
    writer = ForeignWriter(context=pairs([("aws-crypto-public-key", "A" * 68)]))
    keyring = CountingKeyring(FixedKeyring(writer.data_key))
    for data in (writer.write([b"x"]), _as_suite(written(signed=True), 0x0478)):
        with pytest.raises(FormatError, match="contradict each other about a signature"):
            reader(data, keyring)
    assert keyring.unwraps == 0


@EVERY_READER
def test_a_signed_suite_without_a_signing_key(reader: Reader) -> None:
    """A signed suite whose context has no signing key is refused before any key is unwrapped."""
    keyring = CountingKeyring(KEYRING)
    with pytest.raises(FormatError, match="contradict each other about a signature"):
        reader(_as_suite(written(), 0x0578), keyring)
    assert keyring.unwraps == 0


def _as_suite(data: bytes, suite_id: int) -> bytes:
    return data[:1] + suite_id.to_bytes(2) + data[3:]


@EVERY_READER
def test_a_downgrade_of_the_suite(reader: Reader) -> None:
    """A header that was rewritten for a suite without commitment is refused.

    It is refused even if such suites are allowed.
    """
    data = written()
    header = message.read_header(io.BytesIO(data))
    body = data[len(header) :]
    middle = header.body[35:-37]
    for suite_id in (0x0078, 0x0178):
        start = b"\x01\x80" + suite_id.to_bytes(2) + header.message_id[:16]
        end = b"\x02" + bytes(4) + b"\x0c" + F.to_bytes(4) + bytes(12) + header.tag
        downgraded = start + middle + end + body
        with pytest.raises(PolicyError):
            reader(downgraded, KEYRING, context=CONTEXT)
        with pytest.raises(IntegrityError):
            reader(downgraded, KEYRING, context=CONTEXT, allow_uncommitted=True)


@EVERY_READER
@pytest.mark.parametrize(
    "footer", [b"", b"\x00", b"\x00\x00", b"\x00\x67", b"\x00\x68" + bytes(104)]
)
def test_a_footer_replaced(reader: Reader, footer: bytes) -> None:
    """A signed message with a missing, empty, truncated or wrong signature is refused."""
    header, frames, _ = parts(written(signed=True))
    refused(reader, header + b"".join(frames) + footer)


@EVERY_READER
def test_a_signature_on_an_unsigned_message(reader: Reader) -> None:
    """An unsigned message with a footer is refused."""
    *_, footer = parts(written(signed=True))
    refused(reader, written() + footer)


@EVERY_READER
@pytest.mark.parametrize("suite_id", UNSIGNED, ids=hex)
@pytest.mark.parametrize("frame_length", [0, 4])
def test_flips_in_every_unsigned_suite(reader: Reader, suite_id: int, frame_length: int) -> None:
    """Without key commitment, where it is allowed, a flipped bit in any byte is refused as well."""
    writer = ForeignWriter(suite_id, frame_length, context=pairs([("a", "b")]))
    keyring = AESKeyring("tamper", "key", bytes(16))
    writer = ForeignWriter(
        suite_id,
        frame_length,
        context=writer.context,
        edks=keyring.wrap(writer.data_key, {"a": "b"}),
    )
    data = writer.write(split(b"plaintext", frame_length) if frame_length else [b"plaintext"])
    assert reader(data, keyring, allow_uncommitted=True) == b"plaintext"
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        with pytest.raises(refusals(bytes(changed))):
            reader(bytes(changed), keyring, allow_uncommitted=True)
    for length in range(len(data)):
        with pytest.raises(REFUSALS):
            reader(data[:length], keyring, allow_uncommitted=True)


def changes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield changed messages, each with the number of complete frames before its change."""
    geometry = geometry_of(data)
    for intact, place in ((0, 1), (1, 2), (2, 3)):
        position = geometry.offset(place) + 30
        yield intact, data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        yield intact, data[:position]
    yield 2, data + b"\x00"
    yield 2, data[:-1]


def drain(reader: message.DecryptingReader, size: int, given: bytearray) -> None:
    """Read to the end, and add the bytes to `given`, which also has the bytes before an error."""
    while chunk := reader.read(size):
        given += chunk


@BOTH_SUITES
def test_the_stream_gives_only_verified_frames(*, signed: bool) -> None:
    """Before a stream fails, it has returned only verified bytes: a beginning of the plaintext."""
    for intact, data in changes(written(signed=signed)):
        reader = message.DecryptingReader(io.BytesIO(data), KEYRING, context=CONTEXT)
        given = bytearray()
        with pytest.raises(REFUSALS):
            drain(reader, 7, given)
        assert len(given) <= intact * F
        assert SMALL.startswith(given)


@BOTH_SUITES
def test_the_last_frame_waits_for_the_end(*, signed: bool) -> None:
    """If wrong data follow the final frame, no byte of this frame is returned."""
    data = written(signed=signed)
    for changed in (data + b"\x00", data[:-1], data[:-1] + bytes([data[-1] ^ 1])):
        source: Any = ShortReads(changed, at_most=1)
        reader = message.DecryptingReader(source, KEYRING, context=CONTEXT)
        given = bytearray()
        with pytest.raises(REFUSALS):
            drain(reader, 1, given)
        assert given == SMALL[: 2 * F]


def test_a_long_stream_fails_in_its_middle() -> None:
    """If a late frame was changed, the runs before it are returned, and then reads always fail."""
    plaintext = bytes(range(256)) * 16384
    data = bytearray(message.encrypt(plaintext, KEYRING, context=CONTEXT, frame_length=4096))
    data[-5000] ^= 0x10
    reader = message.DecryptingReader(io.BytesIO(bytes(data)), KEYRING, context=CONTEXT)
    given = bytearray()
    with pytest.raises(IntegrityError):
        drain(reader, 100_000, given)
    assert 0 < len(given) < len(plaintext)
    assert plaintext.startswith(given)
    for read in (lambda: reader.read(1), reader.readall, lambda: reader.readinto(bytearray(9))):
        with pytest.raises(IntegrityError):
            read()


def test_a_signed_message_opened_out_of_order() -> None:
    """If frames of a signed message are opened out of order, the message is refused.

    The signature covers the frames in order.
    """
    data = written(signed=True)
    header, frames, footer = parts(data)
    opener = message.Opener(message.read_header(io.BytesIO(header)), KEYRING, context=CONTEXT)
    out = memoryview(bytearray(F))
    opener.open(memoryview(frames[1]), out, first=2)
    opener.open(memoryview(frames[0]), out, first=1)
    opener.open_final(memoryview(frames[2]), out, sequence=3)
    with pytest.raises(IntegrityError):
        opener.verify_footer(footer)


def test_a_cut_that_fits_the_grid() -> None:
    """A message that was cut to a possible length is refused when its last frame is read."""
    data = message.encrypt(SMALL * 4, KEYRING, context=CONTEXT, frame_length=F)
    geometry = geometry_of(data)
    for regular in range(1, 5):
        shorter = data[: geometry.offset(regular + 1) + 40]
        assert geometry.split(len(shorter)) == (regular, 0)
        refused(framed, shorter)


def test_edks_of_other_keys_are_passed_over() -> None:
    """EDKs of other keys before ours do not prevent reading."""
    writer = ForeignWriter()
    foreign = (
        EncryptedDataKey("tamper", b"other", b"x"),
        EncryptedDataKey("other", b"key", b"x"),
        *AESKeyring("tamper", "key", bytes(32)).wrap(writer.data_key, {}),
        EncryptedDataKey("aws-kms", b"arn:aws:kms:us-east-1:123456789012:key/x", b"x"),
    )
    data = ForeignWriter(edks=(*foreign, *KEYRING.wrap(writer.data_key, {}))).write([b"x"])
    for reader in READERS.values():
        assert reader(data, KEYRING) == b"x"
