# SPDX-License-Identifier: Apache-2.0
"""Headers: their parsing, the moment of each refusal, and the errors for other input."""

import io
import struct
import tracemalloc
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readers import READERS, CountingKeyring, FixedKeyring, Reader, ShortReads
from writers import UNSIGNED, ForeignWriter, pairs, sized, split

from s3crypt import message
from s3crypt.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    StorageError,
)
from s3crypt.keyrings import AESKeyring, MultiKeyring
from s3crypt.message.header import serialize_body, serialize_context
from s3crypt.message.keys import DataKey, EncryptedDataKey
from s3crypt.message.suites import COMMITTING, COMMITTING_SIGNED

EVERY_READER = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
KEYRING = AESKeyring("limits", "key", bytes(range(32)))

texts = st.text(max_size=40)
contexts = st.dictionaries(texts, texts, max_size=8)
edk_lists = st.lists(
    st.builds(EncryptedDataKey, texts, st.binary(max_size=60), st.binary(max_size=400)),
    min_size=1,
    max_size=10,
)


def read(data: bytes, **limits: int) -> message.Header:
    """Return the header at the start of some bytes."""
    return message.read_header(io.BytesIO(data), **limits)


# Parsing


@given(contexts, edk_lists, st.binary(min_size=32, max_size=32), st.integers(1, 2**26))
def test_reading_inverts_writing(
    context: dict[str, str], edks: list[EncryptedDataKey], message_id: bytes, frame_length: int
) -> None:
    """Each field of a written header is read back, and no byte after the header is read."""
    for suite in (COMMITTING, COMMITTING_SIGNED):
        serialized = serialize_context(context)
        body = serialize_body(
            suite, message_id, serialized, tuple(edks), frame_length, message_id[::-1]
        )
        source = io.BytesIO(body + b"t" * 16 + b"the first frame")
        header = message.read_header(source)
        assert source.read() == b"the first frame"
        assert (header.suite, header.message_id, header.frame_length) == (
            suite,
            message_id,
            frame_length,
        )
        assert (dict(header.context), list(header.edks)) == (context, edks)
        assert (header.commitment, header.body, header.tag) == (message_id[::-1], body, b"t" * 16)
        assert header.serialized == body + b"t" * 16
        assert len(header) == len(body) + 16


@given(contexts)
def test_context_serialization_is_canonical(context: dict[str, str]) -> None:
    """Context pairs are written sorted by their UTF-8 keys, in whatever order they are given."""
    expected = pairs(sorted(context.items(), key=lambda pair: pair[0].encode()))
    assert serialize_context(context) == expected
    backwards = dict(reversed(context.items()))
    assert serialize_context(backwards) == expected


def test_contexts_sort_by_bytes_not_by_utf_16() -> None:
    """Context keys are sorted by their UTF-8 bytes.

    U+FF5E is before U+10000 in UTF-8, and after it in UTF-16.
    """
    serialized = serialize_context({"\U00010000": "second", "\uff5e": "first"})
    assert serialized == pairs([("\uff5e", "first"), ("\U00010000", "second")])


@EVERY_READER
def test_an_unsorted_context_is_read(reader: Reader) -> None:
    """A context that another writer left unsorted is read: the tag covers the received bytes."""
    writer = ForeignWriter(context=pairs([("b", "2"), ("a", "1")]))
    keyring = FixedKeyring(writer.data_key)
    data = writer.write([b"x"])
    assert reader(data, keyring, context={"a": "1", "b": "2"}) == b"x"


@pytest.mark.parametrize("suite_id", UNSIGNED, ids=hex)
@EVERY_READER
def test_foreign_frame_ivs(reader: Reader, suite_id: int) -> None:
    """A frame whose IV is not its number can be opened: the IV is taken from the message."""
    writer = ForeignWriter(suite_id, iv_prefix=b"\xff" * 8)
    plaintext = bytes(range(256)) * 2
    for empty_final in (False, True):
        data = writer.write(split(plaintext, 128, empty_final=empty_final))
        opened = reader(data, FixedKeyring(writer.data_key), allow_uncommitted=True)
        assert opened == plaintext


@EVERY_READER
@pytest.mark.parametrize("length", [0, 1, 1000])
@pytest.mark.parametrize("suite_id", UNSIGNED, ids=hex)
def test_single_blocks(reader: Reader, suite_id: int, length: int) -> None:
    """Messages of one block without frames can be opened in every suite, also empty messages."""
    writer = ForeignWriter(suite_id, frame_length=0)
    data = writer.write([bytes(length)])
    opened = reader(data, FixedKeyring(writer.data_key), allow_uncommitted=True)
    assert opened == bytes(length)


# Limits


class Measured(ShortReads):
    """A source without end that counts the bytes that were read from it."""

    taken = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read, and count the bytes."""
        self.taken += size
        return super().read(size).ljust(size, b"\x00")


def endless(data: bytes) -> Any:
    """Return a source of these bytes, followed by zeros without end."""
    return Measured(data, at_most=2**40)


def forged(**changes: Any) -> bytes:
    """Return the header of a forged message."""
    return ForeignWriter(**changes).header_body()


@pytest.mark.parametrize("count", [11, 1000, 65535])
def test_too_many_edks_are_refused_before_any_is_tried(count: int) -> None:
    """A message with too many EDKs is refused without a request for a key or further reading."""
    keyring = CountingKeyring(KEYRING)
    edk = EncryptedDataKey("limits", b"key", b"x")
    start = forged(edks=(edk,))
    place = start.index(b"\x00\x01\x00\x06limits")
    source = endless(start[:place] + struct.pack(">H", count))
    with pytest.raises(FormatError, match=f"{count} wrapped data keys; at most 10"):
        message.DecryptingReader(source, keyring)
    assert (keyring.unwraps, source.taken) == (0, place + 2)


@EVERY_READER
def test_the_edk_limit_is_the_callers(reader: Reader) -> None:
    """A caller can raise or lower the limit of EDKs by `max_edks`."""
    writer = ForeignWriter(edks=(EncryptedDataKey("a", b"b", b"c"),) * 12)
    data, keyring = writer.write([b"x"]), CountingKeyring(FixedKeyring(writer.data_key))
    for refused in (11, 1):
        with pytest.raises(FormatError, match="wrapped data keys"):
            reader(data, keyring, max_edks=refused)
    assert keyring.unwraps == 0
    assert reader(data, keyring, max_edks=12) == b"x"


def test_a_message_without_edks_is_refused() -> None:
    """A message without a wrapped data key is refused as malformed."""
    with pytest.raises(FormatError, match="no wrapped data key"):
        read(forged(edks=()) + bytes(16))


@pytest.mark.parametrize("frame_length", [2**26 + 1, 2**31, 2**32 - 1])
def test_too_long_frames_are_refused_before_any_call(frame_length: int) -> None:
    """A too long frame length is refused before any request, allocation or further reading."""
    keyring = CountingKeyring(KEYRING)
    source = endless(ForeignWriter().header_body(frame_length=frame_length))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=f"Frames of {frame_length} bytes"):
            message.DecryptingReader(source, keyring)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert keyring.unwraps == 0
    assert peak < 2**20


@EVERY_READER
def test_the_frame_limit_is_the_callers(reader: Reader) -> None:
    """A caller can raise or lower the limit of frame lengths by `max_frame_length`."""
    data = message.encrypt(b"x", KEYRING, frame_length=256)
    keyring = CountingKeyring(KEYRING)
    with pytest.raises(FormatError, match="Frames of 256 bytes; at most 255"):
        reader(data, keyring, max_frame_length=255)
    assert keyring.unwraps == 0
    assert reader(data, keyring, max_frame_length=256) == b"x"


def test_the_frame_limit_covers_single_blocks() -> None:
    """A message of one block that is longer than the frame limit is refused before it is read."""
    writer = ForeignWriter(frame_length=0)
    keyring = FixedKeyring(writer.data_key)
    data = writer.write([bytes(1000)])
    with pytest.raises(FormatError, match="1000 bytes in one block; at most 999"):
        message.decrypt(data, keyring, max_frame_length=999)
    assert message.decrypt(data, keyring, max_frame_length=1000) == bytes(1000)


@pytest.mark.parametrize("claimed", [2**26 + 1, 2**36 - 31, 2**64 - 1])
def test_forged_block_lengths_allocate_nothing(claimed: int) -> None:
    """A block that claims a huge length is refused before any of its bytes is read."""
    writer = ForeignWriter(frame_length=0)
    data = writer.write([b"x"])
    head = data[: -len(b"x") - 36]
    source = endless(head + bytes(12) + claimed.to_bytes(8))
    reader = message.DecryptingReader(source, FixedKeyring(writer.data_key))
    with pytest.raises(FormatError, match="in one block"):
        reader.read(1)
    assert source.taken == len(head) + 20


def test_forged_final_frame_lengths_allocate_nothing() -> None:
    """A final frame that claims to be longer than the frame length is refused before it is read."""
    writer = ForeignWriter(frame_length=128)
    data = bytearray(writer.write([b"x"]))
    head = len(data) - 41
    data[head + 20 : head + 24] = b"\xff" * 4
    source = endless(bytes(data))
    reader = message.DecryptingReader(source, FixedKeyring(writer.data_key))
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="longer than"):
            reader.read(1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**24


def test_a_header_that_is_too_long_is_refused() -> None:
    """A few huge EDKs exceed the limit of the header, so it is refused before a key is tried."""
    huge = EncryptedDataKey("p", b"i" * 65535, b"c" * 65535)
    keyring = CountingKeyring(KEYRING)
    data = forged(edks=(huge, huge))
    with pytest.raises(FormatError, match="The header is longer than"):
        message.decrypt(data + bytes(16), keyring)
    assert keyring.unwraps == 0


def test_we_write_no_header_that_we_refuse() -> None:
    """Too many or too long EDKs are refused when a message is written."""

    class Huge(FixedKeyring):
        def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
            del data_key, context
            return (EncryptedDataKey("p", b"i" * 65535, b"c" * 65535),) * 2

    with pytest.raises(ConfigError, match="The header would be longer"):
        message.encrypt(b"", Huge(bytes(32)))
    eleven = MultiKeyring(*(AESKeyring("limits", str(n), bytes(32)) for n in range(11)))
    with pytest.raises(ConfigError, match="More than 10"):
        message.encrypt(b"", eleven)
    with pytest.raises(ConfigError, match="longer than 65,535"):
        message.encrypt(b"", AESKeyring("limits", "n" * 65536, bytes(32)))


@pytest.mark.parametrize(
    "data_key",
    [DataKey(b"short", (EncryptedDataKey("p", b"i", b"c"),)), DataKey(bytes(32), ())],
    ids=["short", "not wrapped"],
)
def test_a_faulty_keyring_is_found_out(data_key: DataKey) -> None:
    """If a keyring returns a short data key or no EDKs, no message is written."""

    class Faulty(FixedKeyring):
        def generate(
            self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
        ) -> DataKey:
            del length, context, plaintext_length
            return data_key

    with pytest.raises(ConfigError, match="The keyring did not return a data key"):
        message.encrypt(b"", Faulty(bytes(32)))


# Encryption contexts


@pytest.mark.parametrize(
    "malformed",
    [
        b"\x00",
        b"\x00\x00",
        b"\x00\x01",
        b"\x00\x01\x00\x01a",
        b"\x00\x01" + sized(b"a") + b"\x00\x02b",
        pairs([("a", "b")]) + b"\x00",
        b"\x00\x02" + pairs([("a", "b")])[2:],
        pairs([("a", "b"), ("a", "c")]),
        pairs([("a", "b"), ("b", "c"), ("a", "b")]),
        b"\x00\x01" + sized(b"\xff") + sized(b"b"),
        b"\x00\x01" + sized(b"\xed\xa0\x80") + sized(b"b"),
        b"\xff\xff" + bytes(40),
    ],
    ids=bytes.hex,
)
def test_malformed_contexts(malformed: bytes) -> None:
    """A context with wrong lengths, repeated keys or broken UTF-8 is refused before any call."""
    keyring = CountingKeyring(KEYRING)
    with pytest.raises(FormatError, match="encryption context"):
        message.decrypt(forged(context=malformed) + bytes(16), keyring)
    assert keyring.unwraps == 0


@pytest.mark.parametrize("key", ["aws-crypto-", "aws-crypto-public-key", "aws-crypto-x"])
def test_reserved_context_keys_are_not_written(key: str) -> None:
    """A caller cannot set the context keys that the format reserves."""
    with pytest.raises(ConfigError, match="must not begin with"):
        message.encrypt(b"", KEYRING, context={key: ""})


@pytest.mark.parametrize(
    "context", [{"a": "\udcff"}, {"\ud800": "b"}, {"a": 1}, {b"a": "b"}], ids=ascii
)
def test_contexts_are_unicode_text(context: dict[str, str]) -> None:
    """Invalid Unicode in a context is refused when a message is written.

    It is also refused in the context that a reader expects.
    """
    with pytest.raises(ConfigError, match="text"):
        message.encrypt(b"", KEYRING, context=context)
    with pytest.raises(ConfigError, match="text"):
        message.decrypt(message.encrypt(b"", KEYRING), KEYRING, context=context)


def test_contexts_may_take_64_kib() -> None:
    """A context of 64 KiB is accepted; one more byte is refused before a key is generated."""
    largest = {"k": "v" * (65535 - 2 - 4 - 1)}
    data = message.encrypt(b"x", KEYRING, context=largest)
    assert message.decrypt(data, KEYRING, context=largest) == b"x"
    with pytest.raises(ConfigError, match="too large"):
        message.encrypt(b"x", KEYRING, context={"k": largest["k"] + "v"})
    with pytest.raises(IntegrityError):
        message.decrypt(data, KEYRING, context={"another": "pair"})


# Fields with a fixed value


def v1_header(*, reserved: bytes = bytes(4), iv_length: int = 12) -> bytes:
    """Return a version 1 header with these fixed fields."""
    header = ForeignWriter(0x0178).header_body()
    return header[:-9] + reserved + bytes([iv_length]) + header[-4:] + bytes(28)


def test_version_1_fixed_fields() -> None:
    """A version 1 header with other reserved bytes or another IV length is refused."""
    assert read(v1_header()).suite.id == 0x0178
    table: list[dict[str, Any]] = [
        {"reserved": b"\x00\x00\x00\x01"},
        {"iv_length": 11},
        {"iv_length": 16},
    ]
    for changes in table:
        with pytest.raises(FormatError, match="reserved fields"):
            read(v1_header(**changes))


@pytest.mark.parametrize(
    ("content_type", "frame_length"), [(1, 128), (2, 0), (0, 0), (0, 128), (3, 128)]
)
def test_content_type_and_frame_length_agree(content_type: int, frame_length: int) -> None:
    """A content type that does not agree with the frame length is refused.

    Framed bodies have a frame length, single blocks have 0, and other types are invalid.
    """
    header = ForeignWriter().header_body()
    changed = bytes([content_type]) + frame_length.to_bytes(4)
    with pytest.raises(FormatError, match="contradict"):
        read(header[:-37] + changed + header[-32:] + bytes(16))


@pytest.mark.parametrize(
    "start", [b"\x02\x01\x78", b"\x02\x00\x14", b"\x01\x80\x04\x78", b"\x01\x80\x05\x78"]
)
def test_suites_belong_to_a_version(start: bytes) -> None:
    """A header is refused if its suite does not belong to its version."""
    with pytest.raises(FormatError, match="or a newer one"):
        read(start + bytes(200))


def test_a_provider_that_is_no_text() -> None:
    """A key whose provider id is not UTF-8 text is refused."""
    header = forged(edks=(EncryptedDataKey("limits", b"key", b"x"),))
    with pytest.raises(FormatError, match="provider is not text"):
        read(header.replace(b"limits", b"limit\xff") + bytes(16))


BASE_POINT_256 = "A2sX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKW"
SIGNING_KEYS = {
    "empty": "",
    "not base64": "not base64!",
    "not ASCII": "\u65e5\u672c",
    "no point": b64encode(b"\x02" + b"\xff" * 48).decode(),
    "short": b64encode(b"\x02" + bytes(10)).decode(),
    "infinity": b64encode(b"\x00").decode(),
    "of another curve": BASE_POINT_256,
}


@EVERY_READER
@pytest.mark.parametrize("signing_key", SIGNING_KEYS.values(), ids=SIGNING_KEYS)
def test_malformed_signing_keys(reader: Reader, signing_key: str) -> None:
    """A signing key that is no point of the suite's curve is refused, even if authenticated."""
    writer = ForeignWriter(0x0578, context=pairs([("aws-crypto-public-key", signing_key)]))
    data = writer.write([b"x"]) + b"\x00\x01x"
    with pytest.raises(FormatError, match="signing key is malformed"):
        reader(data, FixedKeyring(writer.data_key))


@settings(max_examples=500)
@given(
    st.sampled_from([b"", b"\x02\x04\x78", b"\x02\x05\x78", b"\x01\x80\x01\x78"]),
    st.lists(st.one_of(st.binary(max_size=40), st.just(bytes(32)), st.just(b"\x00\x01"))),
)
def test_noise_is_refused(start: bytes, rest: list[bytes]) -> None:
    """Random bytes give an error of s3crypt or a valid header, and no other exception."""
    try:
        header = read(start + b"".join(rest))
    except (FormatError, IntegrityError):
        return
    assert header.edks


@settings(max_examples=500)
@given(st.data())
def test_changed_headers_open_nothing(data: st.DataObject) -> None:
    """A message whose header has replaced, removed or inserted bytes is not opened."""
    written = message.encrypt(b"x", KEYRING, context={"a": "b"}, frame_length=128)
    length = len(read(written))
    start = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(start, min(length, start + 8)))
    changed = written[:start] + data.draw(st.binary(max_size=8)) + written[end:]
    if changed == written:
        return
    for reader in READERS.values():
        with pytest.raises((FormatError, IntegrityError, KeyUnavailableError)) as raised:
            reader(changed, KEYRING)
        if isinstance(raised.value, KeyUnavailableError):
            assert not any(map(KEYRING.opens, read(changed).edks))


# Input that is not a message

NOT_MESSAGES = {
    "empty": (b"", "it is empty"),
    "kms blob": (bytes.fromhex("0102020078") + bytes(100), "KMS ciphertext blob; open it"),
    "kms blob of another format": (bytes.fromhex("0102030078") + bytes(100), "KMS ciphertext blob"),
    "kms blob in base64": (
        b64encode(bytes.fromhex("0102020078") + bytes(100)),
        "KMS ciphertext blob in base64",
    ),
    "message in base64": (b64encode(ForeignWriter().write([b"x"])), "message in base64; decode"),
    "signed message in base64": (b64encode(b"\x02\x05\x78" + bytes(99)), "message in base64"),
    "v1 message in base64": (
        b64encode(ForeignWriter(0x0178).write([b"x"])),
        "message in base64; decode",
    ),
    "signed v1 message in base64": (
        b64encode(b"\x01\x80\x03\x78" + bytes(99)),
        "message in base64",
    ),
    "other base64": (b64encode(bytes(range(1, 100))), "it looks like base64 text"),
    "plain text": (b"Dear Sir or Madam, ...", "it looks like plain text"),
    "short text": (b"hello", "it looks like plain text"),
    "text in UTF-8": ("日本語のテキスト、東京 ".encode() * 5, "it looks like plain text"),
    "two-byte characters": ("é".encode() * 64, "it looks like plain text"),
    "age": (b"age-encryption.org/v1\n", "age file"),
    "gzip": (b"\x1f\x8b\x08" + bytes(40), "gzip"),
    "parquet": (b"PAR1" + bytes(40), "Parquet"),
    "zip": (b"PK\x03\x04" + bytes(40), "ZIP"),
    "newer suite": (b"\x02\x06\x78" + bytes(100), "unknown algorithm suite"),
    "noise": (bytes.fromhex("93f00dbabe0000") * 20, "not the beginning of a message"),
    "one byte": (b"\x01", "not the beginning of a message"),
    "zeros": (bytes(100), "not the beginning of a message"),
}


@pytest.mark.parametrize(("data", "description"), NOT_MESSAGES.values(), ids=NOT_MESSAGES)
@EVERY_READER
def test_what_it_looks_like(reader: Reader, data: bytes, description: str) -> None:
    """Input that is no message is refused, and the error describes its likely format."""
    with pytest.raises(FormatError, match="Not an encrypted message") as raised:
        reader(data, KEYRING)
    assert description in str(raised.value)


def test_descriptions_quote_nothing() -> None:
    """An error about input that is no message repeats none of its bytes: they may be secret."""
    with pytest.raises(FormatError) as raised:
        message.decrypt(b"password: hunter2 and more", KEYRING)
    assert "hunter2" not in f"{raised.value} {raised.value.hint}"


def test_a_source_that_does_not_block_is_refused() -> None:
    """A non-blocking source is refused: its empty read does not mean the end."""

    class Pausing(ShortReads):
        def read(self, size: int = -1, /) -> bytes:
            return super().read(size) or None  # type: ignore[return-value]  # like raw files

    source: Any = Pausing(b"abc")
    with pytest.raises(StorageError, match="does not block"):
        message.read_header(source)
    source = Pausing(b"abc")
    with pytest.raises(StorageError, match="does not block"):
        message.EncryptingReader(source, KEYRING).readall()
