# SPDX-License-Identifier: Apache-2.0
"""Writing messages: round trips at every boundary, frames sealed only once, and faulty sources."""

import io
import random
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import READERS, Reader, ShortReads

from s3crypt import message
from s3crypt.errors import ConfigError, IntegrityError, S3CryptError, StorageError
from s3crypt.keyrings import AESKeyring, MultiKeyring, RSAKeyring
from s3crypt.message import Sealer
from s3crypt.message.keys import DataKey

if TYPE_CHECKING:
    from collections.abc import Callable

F = 128
KEYRING = AESKeyring("sealing", "key", bytes(range(32)))
BOTH_SUITES = pytest.mark.parametrize("signed", [False, True], ids=["0478", "0578"])
EVERY_READER = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
# Lengths around a frame, and around a run: the 1 MiB that a stream processes at a time.
RUN = 2**20
SIZES = (0, 1, F - 1, F, F + 1, 3 * F, 3 * F + 17, RUN - 1, RUN, RUN + 1, 2 * RUN, 2 * RUN + 1)


def plaintext_of(length: int) -> bytes:
    """Return bytes in which no two frames are equal."""
    return random.Random(length).randbytes(length)


def encrypting(data: bytes, **options: Any) -> message.EncryptingReader:
    """Return a stream that encrypts a source of short reads."""
    source: Any = ShortReads(data, at_most=4099)
    return message.EncryptingReader(source, KEYRING, **options)


# Round trips


@EVERY_READER
@BOTH_SUITES
@pytest.mark.parametrize("size", SIZES)
def test_every_boundary(size: int, reader: Reader, *, signed: bool) -> None:
    """A message of every boundary length, by both writers, decrypts to its plaintext."""
    data, options = plaintext_of(size), {"signed": signed, "frame_length": F}
    for written in (
        message.encrypt(data, KEYRING, **options),  # type: ignore[arg-type]  # a table of both
        encrypting(data, **options).readall(),
        encrypting(data, length=size, **options).readall(),
    ):
        options_read = {"read_size": 65537} if reader is READERS["streamed"] else {}
        assert reader(written, KEYRING, **options_read) == data


@BOTH_SUITES
@pytest.mark.parametrize("size", SIZES)
def test_a_final_frame_is_never_full(size: int, *, signed: bool) -> None:
    """Every writer ends with a frame that is not full: other SDKs refuse a full final frame."""
    data, options = plaintext_of(size), {"signed": signed, "frame_length": F}
    for written in (
        message.encrypt(data, KEYRING, **options),  # type: ignore[arg-type]  # a table of both
        encrypting(data, **options).readall(),
        encrypting(data, length=size, **options).readall(),
    ):
        header = message.read_header(io.BytesIO(written))
        final = header.geometry.offset(size // F + 1)
        start = b"\xff" * 4 + (size // F + 1).to_bytes(4)
        assert written[final : final + 8] == start
        assert written[final + 20 : final + 24] == (size % F).to_bytes(4)
        assert len(written) == final + 40 + size % F + 105 * signed


@pytest.mark.parametrize("size", [16 * RUN, 16 * RUN + 1])
@pytest.mark.parametrize("frame_length", [RUN, 8 * RUN, 16 * RUN, 17 * RUN])
def test_two_threads_end_a_message_alike(size: int, frame_length: int) -> None:
    """A message that two threads seal and open has the number of frames that its length needs."""
    data = bytes(size)
    written = message.encrypt(data, KEYRING, frame_length=frame_length)
    geometry = message.read_header(io.BytesIO(written)).geometry
    assert geometry.split(len(written)) == divmod(size, frame_length)
    assert message.decrypt(written, KEYRING) == data


@given(
    st.binary(max_size=700),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
    st.booleans(),
    st.integers(1, 4),
    st.integers(1, 400),
)
def test_round_trips(
    data: bytes, context: dict[str, str], signed: bool, frames: int, read_size: int
) -> None:
    """Any bytes with any context are returned unchanged, for every writer and reader."""
    options: Any = {"context": context, "signed": signed, "frame_length": frames * 128}
    one_shot = message.encrypt(data, KEYRING, **options)
    stream = encrypting(data, **options)
    streamed = b"".join(iter(lambda: stream.read(read_size), b""))
    for written in (one_shot, streamed):
        for reader in READERS.values():
            assert reader(written, KEYRING, context=context) == data


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken(kind: Any) -> None:
    """Plaintext and message can be bytes, a bytearray or a memoryview."""
    written = message.encrypt(kind(b"some bytes"), KEYRING)
    assert message.decrypt(kind(written), KEYRING) == b"some bytes"


def test_wider_elements_are_taken_as_bytes() -> None:
    """A memoryview whose elements are wider than a byte is encrypted byte by byte."""
    wide = memoryview(bytes(range(64))).cast("Q")
    assert message.decrypt(message.encrypt(wide, KEYRING), KEYRING) == bytes(range(64))


def test_the_smallest_message() -> None:
    """The message of an empty plaintext is a header and one empty final frame."""
    first, second = (message.encrypt(b"", KEYRING) for _ in range(2))
    assert first != second
    assert len(first) == len(second) == len(message.read_header(io.BytesIO(first))) + 40


def test_every_message_has_an_id_and_a_key_of_its_own() -> None:
    """Two messages share no message id, no wrapped data key and no ciphertext."""
    headers = [message.read_header(io.BytesIO(message.encrypt(b"", KEYRING))) for _ in range(100)]
    assert len({header.message_id for header in headers}) == 100
    assert len({header.edks for header in headers}) == 100
    assert len({header.commitment for header in headers}) == 100


@pytest.mark.parametrize("frame_length", [0, -128, 1, 127, 129, 4095, 64 * 2**20 + 128])
def test_impossible_frame_lengths(frame_length: int) -> None:
    """Frame lengths that other SDKs cannot read are refused before a key is generated."""
    with pytest.raises(ConfigError, match="multiple of 128"):
        message.encrypt(b"", KEYRING, frame_length=frame_length)


@pytest.mark.parametrize("frame_length", [128, 4096, 64 * 2**20])
def test_the_shortest_and_longest_frames(frame_length: int) -> None:
    """The shortest and the longest frame length that we write can be read."""
    written = message.encrypt(bytes(5000), KEYRING, frame_length=frame_length)
    assert message.read_header(io.BytesIO(written)).frame_length == frame_length
    assert message.decrypt(written, KEYRING) == bytes(5000)


def test_frame_ivs_are_the_sequence_number() -> None:
    """The IV of each frame is its number, so no IV is used twice; zero is the header's IV."""
    written = message.encrypt(bytes(3 * F), KEYRING, frame_length=F)
    geometry = message.Geometry(len(message.read_header(io.BytesIO(written))), F)
    for sequence, position in ((1, 4), (2, 4), (3, 4), (4, 8)):
        start = geometry.offset(sequence) + position
        assert written[start : start + 12] == sequence.to_bytes(12)


def test_signatures_are_103_bytes() -> None:
    """Signatures have the same fixed length as the official SDKs' signatures.

    Some readers need it.
    """
    for _ in range(50):
        written = message.encrypt(b"x", KEYRING, signed=True)
        start = len(message.read_header(io.BytesIO(written))) + 41
        assert written[start : start + 2] == (103).to_bytes(2)
        assert len(written) == start + 2 + 103


# Single sealing of frames


def sealed(sealer: Sealer, data: bytes, first: int, *, is_final: bool = False) -> bytes:
    """Return a run of frames."""
    out = bytearray(len(data) + (len(data) // F + 1) * 40)
    written = sealer.seal(memoryview(data), memoryview(out), first=first, is_final=is_final)
    return bytes(out[:written])


def test_no_frame_is_sealed_twice() -> None:
    """A frame cannot be sealed twice, alone or in a run: its nonce would be reused."""
    sealer = Sealer(KEYRING, frame_length=F)
    sealed(sealer, bytes(3 * F), 4)
    for first, frames in ((4, 1), (5, 1), (6, 1), (3, 2), (6, 2), (1, 9), (4, 3)):
        with pytest.raises(AssertionError, match="sealed once"):
            sealed(sealer, bytes(frames * F), first)
        with pytest.raises(AssertionError):
            sealed(sealer, bytes(frames * F), first, is_final=True)
    sealed(sealer, bytes(3 * F), 1)
    for first in range(1, 7):
        with pytest.raises(AssertionError, match="sealed once"):
            sealed(sealer, bytes(F), first)
    sealed(sealer, b"", 7, is_final=True)


def test_a_failed_run_is_not_sealed_again() -> None:
    """The frames of a run that failed cannot be sealed again: some may have been sent already."""
    sealer = Sealer(KEYRING, frame_length=F)
    too_small = memoryview(bytearray(F + 32))
    with pytest.raises(ValueError, match="different structures"):
        sealer.seal(memoryview(bytes(2 * F)), too_small, first=1, is_final=False)
    with pytest.raises(AssertionError, match="sealed once"):
        sealed(sealer, bytes(F), 1)


def test_only_the_final_frame_is_short() -> None:
    """A run that is not final must have full frames only, so no byte is dropped silently."""
    sealer = Sealer(KEYRING, frame_length=F)
    for length in (0, 1, F - 1, F + 1):
        with pytest.raises(AssertionError, match="not full"):
            sealed(sealer, bytes(length), 1)


def test_a_message_has_one_end() -> None:
    """After the final frame no frame can be sealed: a second end would make a second message."""
    sealer = Sealer(KEYRING, frame_length=F)
    sealed(sealer, b"x", 5, is_final=True)
    for first, is_final in ((6, False), (6, True), (3, True)):
        with pytest.raises(AssertionError, match="one final frame"):
            sealed(sealer, bytes(F), first, is_final=is_final)
    sealed(sealer, bytes(4 * F), 1)
    another = Sealer(KEYRING, frame_length=F)
    sealed(another, bytes(F), 9)
    with pytest.raises(AssertionError, match="one final frame"):
        sealed(another, b"x", 3, is_final=True)


@pytest.mark.parametrize("signed", [False, True])
def test_an_empty_final_frame_is_sealed_once(*, signed: bool) -> None:
    """An empty final frame after full frames is sealed only once, in their run or alone."""
    with_them, alone = (Sealer(KEYRING, frame_length=F, signed=signed) for _ in range(2))
    assert len(sealed(with_them, bytes(2 * F), 1, is_final=True)) == 2 * (F + 32) + 40
    sealed(alone, bytes(2 * F), 1)
    assert len(sealed(alone, b"", 3, is_final=True)) == 40
    for sealer in (with_them, alone):
        for data, first, is_final in (
            (b"", 3, True),  # the final frame again
            (bytes(F), 3, False),  # another full frame with the number of the final frame
            (b"x", 4, True),  # another final frame
            (bytes(F), 4, False),  # a frame after the end
            (bytes(F), 2, True),  # a run that ends with the final frame
        ):
            with pytest.raises(AssertionError, match=r"one final frame|sealed once|in order"):
                sealed(sealer, data, first, is_final=is_final)


def test_a_signed_message_is_sealed_in_order() -> None:
    """The frames of a signed message must be sealed in order, because the signature covers them."""
    for *before, wrong in ([2], [1, 3], [1, 2, 4], [1, 1], [1, 2, 1]):
        sealer = Sealer(KEYRING, frame_length=F, signed=True)
        for first in before:
            sealed(sealer, bytes(F), first)
        with pytest.raises(AssertionError, match="in order"):
            sealed(sealer, bytes(F), wrong)


def test_frame_numbers_end() -> None:
    """The last frame number, which is also the end marker, is only for a final frame."""
    last = 2**32 - 1
    with pytest.raises(ConfigError, match="More than 4294967295 frames"):
        sealed(Sealer(KEYRING, frame_length=F), bytes(F), last)
    assert sealed(Sealer(KEYRING, frame_length=F), bytes(F), last - 1)
    assert sealed(Sealer(KEYRING, frame_length=F), b"", last, is_final=True)
    with pytest.raises(ConfigError, match="More than 4294967295 frames"):
        sealed(Sealer(KEYRING, frame_length=F), b"", last + 1, is_final=True)
    # A message of only full frames has one more frame, which also needs a number.
    assert sealed(Sealer(KEYRING, frame_length=F), bytes(F), last - 1, is_final=True)
    with pytest.raises(ConfigError, match="More than 4294967295 frames"):
        sealed(Sealer(KEYRING, frame_length=F), bytes(F), last, is_final=True)


@EVERY_READER
def test_runs_from_several_threads(reader: Reader) -> None:
    """Runs that threads seal in random order form the message that the geometry predicts."""
    data = plaintext_of(1000 * F + 17)
    sealer = Sealer(KEYRING, frame_length=F)
    written = bytearray(sealer.geometry.message_length(len(data)))
    written[: len(sealer.header)] = sealer.header
    view = memoryview(written)
    starts = list(range(0, 1001, 7))
    random.Random(7).shuffle(starts)

    def seal(start: int) -> int:
        piece = memoryview(data)[start * F : (start + 7) * F]
        out = view[sealer.geometry.offset(start + 1) :]
        return sealer.seal(piece, out, first=start + 1, is_final=start == starts_last)

    starts_last = max(starts)
    with ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(seal, starts))
    assert total == len(written) - len(sealer.header)
    assert reader(bytes(written), KEYRING) == data


def test_one_frame_from_many_threads_is_sealed_once() -> None:
    """If many threads seal the same frame at the same time, only one of them succeeds."""
    sealer = Sealer(KEYRING, frame_length=F)

    def attempt(_: int) -> bool:
        try:
            sealed(sealer, bytes(F), 1)
        except AssertionError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(64))) == 1


# Sources


@pytest.mark.parametrize("announced", [0, 999, 1001, 2000])
def test_another_length_than_announced(announced: int) -> None:
    """If a source has more or fewer bytes than announced, no complete message is written."""
    stream = encrypting(bytes(1000), length=announced, frame_length=F)
    for _ in range(2):
        with pytest.raises(StorageError, match="1000 bytes, not the"):
            stream.readall()


class Failing(ShortReads):
    """A source whose third read fails once."""

    reads = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read, or fail."""
        self.reads += 1
        if self.reads == 3:
            raise OSError("the disk is gone")
        return super().read(size)


def test_an_encrypting_stream_that_failed_stays_failed() -> None:
    """After a failed read an encrypting stream stays failed: the next read could lack bytes."""
    source: Any = Failing(bytes(1000))
    stream = message.EncryptingReader(source, KEYRING, frame_length=F)
    with pytest.raises(OSError, match="disk is gone"):
        stream.readall()
    for read in (lambda: stream.read(1), stream.readall, lambda: stream.readinto(bytearray(1))):
        with pytest.raises(StorageError, match="earlier read failed") as raised:
            read()
        assert isinstance(raised.value.__cause__, OSError)


def test_a_decrypting_stream_that_failed_stays_failed() -> None:
    """After a failed read a decrypting stream stays failed, and its source is not read further."""
    written = message.encrypt(bytes(1000), KEYRING, frame_length=F)

    class Later(ShortReads):
        broken = False

        def read(self, size: int = -1, /) -> bytes:
            if self.broken:
                raise OSError("the line is cut")
            return super().read(size)

    source: Any = Later(written)
    stream = message.DecryptingReader(source, KEYRING)
    source.broken = True
    with pytest.raises(OSError, match="line is cut"):
        stream.read(1)
    source.broken = False
    attempts: tuple[Callable[[], object], ...] = (lambda: stream.read(1), stream.readall)
    for attempt in attempts:
        with pytest.raises(StorageError, match="earlier read failed"):
            attempt()


def test_the_source_is_read_from_its_position_and_left_open() -> None:
    """Reading starts at the source's position, and the source is not closed."""
    source = io.BytesIO(b"skipped" + b"taken")
    source.seek(7)
    with message.EncryptingReader(source, KEYRING) as stream:
        written = stream.readall()
    assert not source.closed
    assert message.decrypt(written, KEYRING) == b"taken"
    with message.DecryptingReader(io.BytesIO(written), KEYRING) as reader:
        assert reader.read(2) == b"ta"


def test_streams_are_binary_files() -> None:
    """Encrypting and decrypting streams can be wrapped, copied and read like any binary file."""
    data = plaintext_of(300_000)
    with io.BufferedReader(encrypting(data, frame_length=4096)) as stream:
        written = stream.read()
    reader = message.DecryptingReader(io.BytesIO(written), KEYRING)
    assert (reader.readable(), reader.writable(), reader.seekable()) == (True, False, False)
    with io.BufferedReader(reader) as buffered:
        assert buffered.read(1000) == data[:1000]
        assert buffered.read() == data[1000:]
        assert buffered.read() == b""


def test_a_reader_tells_what_it_verified() -> None:
    """Before the first byte a reader has the verified header and the full context."""
    written = message.encrypt(b"x", KEYRING, context={"a": "b"}, frame_length=F)
    reader = message.DecryptingReader(io.BytesIO(written), KEYRING, context={"a": "b"})
    assert reader.header.suite.id == 0x0478
    assert reader.context == {"a": "b"}


# Secrets


def test_no_secret_is_shown() -> None:
    """No repr and no error, including its causes, shows a wrapping key or a data key."""
    secret = b"\xa5SECRETSECRETSECRETSECRETSECRET\x5a"
    keyring = AESKeyring("sealing", "key", secret)
    data_key = DataKey(secret, keyring.wrap(secret, {}))
    shown = [repr(keyring), repr(MultiKeyring(keyring, keyring)), repr(data_key), str(data_key)]
    written = message.encrypt(b"PLAINTEXT" * 99, keyring, frame_length=F)
    sealer = Sealer(keyring)
    reader = message.DecryptingReader(io.BytesIO(written), keyring)
    shown += [repr(sealer), repr(reader), repr(reader.header), repr(reader.opener)]
    for bad in (written[:-1], written[:-1] + b"\x00", written[:60], b"PLAINTEXT" + written):
        with pytest.raises(S3CryptError) as raised:
            message.decrypt(bad, keyring)
        shown += [repr(raised.value), "".join(traceback.format_exception(raised.value))]
    for bad_key in (b"SECRET", secret + b"SECRET"):
        with pytest.raises(ConfigError) as raised_config:
            AESKeyring("sealing", "key", bad_key)
        shown.append(repr(raised_config.value))
    for pem in (b"SECRET", b"-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(ConfigError) as raised_config:
            RSAKeyring("sealing", "rsa", private=pem)
        shown.append(repr(raised_config.value))
        assert raised_config.value.__cause__ is None
    leaks = [text for text in shown if "SECRET" in text or "PLAINTEXT" in text]
    assert not leaks


def test_a_refusal_tells_an_attacker_nothing() -> None:
    """A wrong key, a changed header and a changed commitment give the same error text."""
    written = message.encrypt(b"x", KEYRING)
    length = len(message.read_header(io.BytesIO(written)))
    texts = set()
    for position in (length - 1, length - 17):  # the tag; the commitment
        changed = bytearray(written)
        changed[position] ^= 1
        with pytest.raises(IntegrityError) as raised:
            message.decrypt(bytes(changed), KEYRING)
        texts.add(str(raised.value))
    assert len(texts) == 1
