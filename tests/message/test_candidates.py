# SPDX-License-Identifier: Apache-2.0
"""Unwrapping yields several candidates for a data key; the message proves which one is right."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from readers import READERS, FixedKeyring, Reader
from samples import aes, connect, kms_calls, kms_keyring
from writers import ForeignWriter

from s3crypt import AESKeyring, CachingKeyring, ClientSide, MultiKeyring, RSAKeyring, message
from s3crypt.errors import IntegrityError, KeyUnavailableError
from s3crypt.formats.entries import ObjectKeyring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conftest import RequestsLog

    from s3crypt.message import DataKey, EncryptedDataKey, Keyring

PADDINGS = ("PKCS1", "OAEP-SHA256")
EVERY_PADDING = pytest.mark.parametrize("padding", PADDINGS)
EVERY_READER = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
DECOY = bytes(range(200, 232))


@cache
def pem(number: int, size: int = 2048) -> bytes:
    """Return the private PEM of a test RSA key. The same number always gives the same key."""
    assert number >= 0
    return rsa.generate_private_key(public_exponent=65537, key_size=size).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def rsa_keyring(number: int = 0, padding: str = "PKCS1") -> RSAKeyring:
    """Return a keyring with the private key `number`. All these keyrings have the same key name."""
    return RSAKeyring("tests", "rsa", private=pem(number), padding=padding)


class Decoyed:
    """A keyring that puts a decoy under the same RSA key before each wrapped data key.

    Without a decoy, a reader meets the same situation by chance. If a message is under two RSA keys
    of the same name, the wrong key unwraps PKCS #1 to a key of the right length in about 1 of 250
    messages.
    """

    def __init__(self, keyring: RSAKeyring) -> None:
        self.keyring = keyring

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Generate with the inner keyring, and put the decoy first."""
        data_key = self.keyring.generate(length, context, plaintext_length=plaintext_length)
        return message.DataKey(data_key.plaintext, self.wrap(data_key.plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Wrap with the inner keyring, and put the decoy first."""
        decoy = self.keyring.wrap(DECOY[: len(data_key)], context)
        return (*decoy, *self.keyring.wrap(data_key, context))

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Refuse, because the tests read with the inner keyring."""
        raise NotImplementedError

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether the inner keyring wrote both EDKs."""
        return len(edks) == 2 and all(self.keyring.wrote([edk]) for edk in edks)


class Wrong:
    """A keyring class of the caller that unwraps every EDK to the same key, without candidates."""

    def __init__(self, answer: bytes = DECOY) -> None:
        self.answer = answer
        self.unwraps = 0

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Refuse, because the keyring only reads."""
        raise NotImplementedError

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Refuse, because the keyring only reads."""
        raise NotImplementedError

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the given key, whatever the EDKs contain."""
        self.unwraps += 1
        return self.answer

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return False, because the keyring wraps nothing."""
        return False


def header_of(data: bytes) -> message.Header:
    """Return a message's header."""
    return message.read_header(io.BytesIO(data))


def flipped(data: bytes, position: int) -> bytes:
    """Return the message with one bit changed."""
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def keeping(tried: list[bytes]) -> Callable[[bytes], bool]:
    """Return a proof that collects each candidate in `tried` and accepts no candidate."""

    def fits(candidate: bytes) -> bool:
        tried.append(candidate)
        return False

    return fits


# RSA


@pytest.mark.parametrize("ours", [0, 1], ids=["ours first", "ours second"])
def test_two_keys_of_one_name(ours: int) -> None:
    """Every one of 5,000 PKCS #1 messages under two keys of the same name is opened.

    The reader's key is the first or the second key of the message.
    """
    keyrings = (rsa_keyring(0), rsa_keyring(1))
    writer, reader = MultiKeyring(*keyrings), keyrings[ours]
    for _ in range(5000):
        assert message.decrypt(message.encrypt(b"x", writer), reader) == b"x"


@EVERY_READER
@EVERY_PADDING
def test_each_edk_of_ours_is_tried(reader: Reader, padding: str) -> None:
    """If an unwrapped key has the right length but does not fit the message, the next EDK is tried.

    This holds for every reader and padding.
    """
    keyring = rsa_keyring(padding=padding)
    assert reader(message.encrypt(b"plain", Decoyed(keyring)), keyring) == b"plain"


@EVERY_PADDING
@pytest.mark.parametrize("suite_id", [0x0014, 0x0078, 0x0178], ids=hex)
def test_without_a_commitment_the_tag_decides(suite_id: int, padding: str) -> None:
    """In suites without key commitment the tag of the header proves the right candidate."""
    keyring = rsa_keyring(padding=padding)
    edks = Decoyed(keyring).wrap(ForeignWriter(suite_id).data_key, {})
    data = ForeignWriter(suite_id, edks=edks).write([b"plain"])
    assert message.decrypt(data, keyring, allow_uncommitted=True) == b"plain"
    changed = flipped(data, len(header_of(data)) - 1)
    with pytest.raises(IntegrityError):
        message.decrypt(changed, keyring, allow_uncommitted=True)


@EVERY_PADDING
def test_rsa_fails_in_one_way(padding: str) -> None:
    """Bad padding, a bad length and another key give one candidate per EDK, and the same error."""
    keyring = rsa_keyring(padding=padding)
    (edk,) = keyring.wrap(bytes(32), {})
    failures = (
        type(edk)(edk.provider, edk.info, flipped(edk.ciphertext, 5)),
        type(edk)(edk.provider, edk.info, edk.ciphertext[:-1]),
        type(edk)(edk.provider, edk.info, b""),
        type(edk)(edk.provider, edk.info, b"\xff" * 128),
        *keyring.wrap(bytes(16), {}),
        *keyring.wrap(b"", {}),
        *rsa_keyring(1, padding).wrap(bytes(32), {}),
        *rsa_keyring(padding="PKCS1" if padding != "PKCS1" else "OAEP-SHA1").wrap(bytes(32), {}),
        *keyring.wrap(DECOY, {}),
    )
    texts = set()
    for failure in failures:
        tried: list[bytes] = []
        with pytest.raises(IntegrityError) as raised:
            keyring.unwrap_fitting([failure] * 3, {}, 32, keeping(tried))
        assert [len(key) for key in tried] == [32] * 3
        texts.add(str(raised.value))
    assert len(texts) == 1


@EVERY_PADDING
def test_a_failed_decryption_yields_a_fresh_random_key(padding: str) -> None:
    """The key in place of a failed decryption is random: a forged header cannot commit to it."""
    keyring = rsa_keyring(padding=padding)
    (edk,) = keyring.wrap(bytes(32), {})
    cut = type(edk)(edk.provider, edk.info, edk.ciphertext[:-1])
    tried: list[bytes] = []
    with pytest.raises(IntegrityError):
        keyring.unwrap_fitting([cut] * 8, {}, 32, keeping(tried))
    assert len(set(tried)) == 8


def test_where_nothing_proves_a_key_rsa_gives_no_random_one() -> None:
    """Without a message, `unwrap` of RSA raises one error, and never returns a random key.

    It does not choose between two different keys.
    """
    keyring = rsa_keyring()
    edks = keyring.wrap(bytes(32), {})
    assert keyring.unwrap(edks, {}, 32) == bytes(32)
    assert keyring.unwrap([*edks, *keyring.wrap(bytes(32), {})], {}, 32) == bytes(32)
    said = set()
    cut = type(edks[0])(edks[0].provider, edks[0].info, edks[0].ciphertext[:-1])
    for refused in ([cut], keyring.wrap(bytes(16), {}), Decoyed(keyring).wrap(bytes(32), {})):
        with pytest.raises(IntegrityError) as raised:
            keyring.unwrap(refused, {}, 32)
        said.add(str(raised.value))
    assert len(said) == 1


def test_two_keys_of_one_name_are_never_confused_without_a_proof() -> None:
    """Without a message as proof, valid EDKs are opened correctly or refused, never wrongly."""
    writer, reader = MultiKeyring(rsa_keyring(0), rsa_keyring(1)), rsa_keyring(1)
    refused = 0
    for _ in range(1000):
        edks = writer.wrap(DECOY, {})
        try:
            assert reader.unwrap(edks, {}, 32) == DECOY
        except IntegrityError:
            refused += 1
    assert refused < 50


# Combined with KMS


@EVERY_PADDING
@pytest.mark.parametrize("kms_first", [True, False])
def test_kms_is_not_asked_where_a_local_key_fits(
    padding: str, kms_key: str, requests_log: RequestsLog, *, kms_first: bool
) -> None:
    """If a local key opens the message, KMS gets no request, in any order of the keyrings."""
    pair = (kms_keyring(kms_key), rsa_keyring(padding=padding))
    keyring = MultiKeyring(*(pair if kms_first else reversed(pair)))
    data = message.encrypt(b"plain", keyring)
    requests_log.clear()
    assert message.decrypt(data, keyring) == b"plain"
    assert kms_calls(requests_log) == []


@EVERY_PADDING
def test_kms_is_asked_where_no_local_key_fits(
    padding: str, kms_key: str, requests_log: RequestsLog
) -> None:
    """If a wrong RSA key has the right name, KMS opens the message with one Decrypt request."""
    writer = MultiKeyring(kms_keyring(kms_key), rsa_keyring(0, padding))
    reader = MultiKeyring(rsa_keyring(1, padding), kms_keyring(kms_key))
    written = [message.encrypt(b"plain", writer) for _ in range(10)]
    requests_log.clear()
    assert [message.decrypt(data, reader) for data in written] == [b"plain"] * 10
    assert kms_calls(requests_log) == ["Decrypt"] * 10


def test_kms_opens_what_a_decoy_stands_before(kms_key: str, requests_log: RequestsLog) -> None:
    """If RSA unwraps a decoy, which does not fit the message, KMS opens the message."""
    ours, kms = rsa_keyring(), kms_keyring(kms_key)
    data_key = kms.generate(32, {})
    writer = FixedEDKs(data_key.plaintext, (*ours.wrap(DECOY, {}), *data_key.edks))
    requests_log.clear()
    assert message.decrypt(message.encrypt(b"plain", writer), MultiKeyring(ours, kms)) == b"plain"
    assert kms_calls(requests_log) == ["Decrypt"]


class FixedEDKs(FixedKeyring):
    """A keyring that writes the given EDKs, whatever data keys they contain."""

    def __init__(self, data_key: bytes, edks: tuple[EncryptedDataKey, ...]) -> None:
        super().__init__(data_key)
        self.edks = edks

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the EDKs."""
        return self.edks


def test_which_of_several_failures_is_reported(kms: Any, kms_key: str) -> None:
    """If several keys fail, a denied key is reported first, then a key that does not open.

    Keys that are no keys of the message are reported last.
    """
    ours, other = aes("one"), aes("two")
    wrong = AESKeyring("tests", "one", bytes(32))
    edks = ours.wrap(bytes(32), {})
    for keyrings in ((wrong, other), (other, wrong)):
        with pytest.raises(IntegrityError):
            MultiKeyring(*keyrings).unwrap(edks, {}, 32)
    for asked in (MultiKeyring(other, kms_keyring(kms_key)), MultiKeyring(other)):
        with pytest.raises(KeyUnavailableError) as raised:
            asked.unwrap(edks, {}, 32)
        assert raised.value.hint == "The unverified header names aes:tests/one."
    both = MultiKeyring(ours, kms_keyring(kms_key)).wrap(bytes(32), {})
    kms.disable_key(KeyId=kms_key)
    denied = kms_keyring(kms_key)
    for together in (MultiKeyring(wrong, denied), MultiKeyring(denied, wrong)):
        with pytest.raises(KeyUnavailableError, match="disabled"):
            together.unwrap(both, {}, 32)


def test_an_alias_of_another_key_does_not_outweigh_a_mismatch(kms: Any, kms_key: str) -> None:
    """A local key that does not open its EDK is reported before KMS's refusal of another key."""
    other = str(kms.create_key()["KeyMetadata"]["Arn"])
    alias = f"alias/candidates-{kms_key[-12:]}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    edks = MultiKeyring(kms_keyring(other), aes("one")).wrap(bytes(32), {})
    wrong = AESKeyring("tests", "one", bytes(32))
    with pytest.raises(IntegrityError):
        MultiKeyring(kms_keyring(alias), wrong).unwrap(edks, {}, 32)
    with pytest.raises(KeyUnavailableError) as raised:
        MultiKeyring(kms_keyring(alias), aes("two")).unwrap(edks, {}, 32)
    assert raised.value.code == "IncorrectKeyException"


def test_a_keyring_of_the_callers_own_gives_one_candidate() -> None:
    """If the only candidate of a caller's keyring does not fit, the next keyring is tried.

    If there is no other keyring, one error is raised.
    """
    own = Wrong()
    data = message.encrypt(b"plain", aes())
    assert message.decrypt(data, MultiKeyring(own, aes())) == b"plain"
    assert message.decrypt(message.encrypt(b"x", FixedKeyring(DECOY)), MultiKeyring(own)) == b"x"
    for keyring in (own, MultiKeyring(own), MultiKeyring(own, aes("two"))):
        with pytest.raises(IntegrityError):
            message.decrypt(data, keyring)
    with pytest.raises(IntegrityError):
        message.decrypt(data, Wrong(b"short"))


# Caching


@EVERY_PADDING
def test_only_a_key_that_fits_is_cached(
    padding: str, kms_key: str, requests_log: RequestsLog
) -> None:
    """A cache around RSA and KMS stores no wrong candidate, and tries the next candidate."""
    writer = MultiKeyring(kms_keyring(kms_key), Decoyed(rsa_keyring(0, padding)))
    inside = MultiKeyring(rsa_keyring(1, padding), kms_keyring(kms_key))
    keyring = CachingKeyring(inside, max_age=60)
    data = message.encrypt(b"plain", writer)
    commitment = len(header_of(data)) - 17
    for _ in range(2):
        with pytest.raises(IntegrityError):
            message.decrypt(flipped(data, commitment), keyring)
        assert keyring.statistics.entries == 0
    requests_log.clear()
    for _ in range(3):
        assert message.decrypt(data, keyring) == b"plain"
    assert kms_calls(requests_log) == ["Decrypt"]
    assert (keyring.statistics.entries, keyring.statistics.unwrap_hits) == (1, 2)


def test_a_wrong_answer_of_the_callers_own_keyring_is_not_cached() -> None:
    """A wrong data key from a caller's keyring is not cached, whichever keyring the cache wraps."""
    own = Wrong()
    keyring = CachingKeyring(own, max_age=60)
    data = message.encrypt(b"plain", FixedKeyring(bytes(32)))
    with pytest.raises(IntegrityError):
        message.decrypt(data, keyring)
    assert keyring.statistics.entries == 0
    own.answer = bytes(32)
    assert [message.decrypt(data, keyring) for _ in range(2)] == [b"plain"] * 2
    assert own.unwraps == 2


def test_a_cached_key_that_does_not_fit_is_passed_over() -> None:
    """Two messages with equal EDKs and different data keys can both be read through a cache."""
    ours = rsa_keyring()
    edks = (*ours.wrap(DECOY, {}), *ours.wrap(bytes(32), {}))
    written = [message.encrypt(key, FixedEDKs(key, edks)) for key in (bytes(32), DECOY)]
    keyring = CachingKeyring(ours, max_age=60)
    for _ in range(2):
        for data, key in zip(written, (bytes(32), DECOY), strict=True):
            assert message.decrypt(data, keyring) == key
    assert keyring.statistics.entries == 1


# Wrapped object keys


@EVERY_PADDING
@pytest.mark.parametrize("cached", [True, False])
def test_an_object_key_proves_itself(padding: str, *, cached: bool) -> None:
    """If the metadata have several wrapped object keys, the one that opens the header is used."""
    keyring = rsa_keyring(padding=padding)
    writer = ObjectKeyring(Decoyed(keyring))
    data = message.encrypt(b"plain", writer)
    inside = CachingKeyring(keyring, max_age=60) if cached else keyring
    for _ in range(2):
        assert message.decrypt(data, ObjectKeyring(inside, writer.wrapped)) == b"plain"
    for spoilt in (flipped(data, len(header_of(data)) - 17), message.encrypt(b"x", aes())):
        with pytest.raises(IntegrityError):
            message.decrypt(spoilt, ObjectKeyring(keyring, writer.wrapped))


def test_object_keys_under_two_keys_of_one_name() -> None:
    """Every one of 1,000 object keys under two PKCS #1 keys of the same name is opened."""
    both, reader = MultiKeyring(rsa_keyring(0), rsa_keyring(1)), rsa_keyring(1)
    for _ in range(1000):
        writer = ObjectKeyring(both)
        data = message.encrypt(b"x", writer)
        assert message.decrypt(data, ObjectKeyring(reader, writer.wrapped)) == b"x"


def test_an_object_key_that_opens_nothing_is_one_error() -> None:
    """An object key that opens no header, or has a wrong length, raises IntegrityError."""
    data = message.encrypt(b"plain", ObjectKeyring(aes()))
    for answer in (DECOY, b"short"):
        with pytest.raises(IntegrityError):
            message.decrypt(data, ObjectKeyring(Wrong(answer), aes().wrap(DECOY, {})))


@EVERY_PADDING
def test_rotation_rewraps_the_object_key_that_opens_the_header(bucket: str, padding: str) -> None:
    """A rotation rewraps the object key that opens the header, and no other candidate."""
    keyring, uri = rsa_keyring(padding=padding), f"s3://{bucket}/object"
    connect(ClientSide(Decoyed(keyring), key_location="metadata")).put(b"plain", uri)
    (outcome,) = connect(ClientSide(keyring, key_location="metadata")).rotate(
        uri, to=ClientSide(aes(), key_location="metadata")
    )
    assert outcome.action == "rewrapped"
    assert connect(ClientSide(aes(), key_location="metadata")).read(uri) == b"plain"


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        (lambda: rsa_keyring(1), IntegrityError),
        (lambda: aes("two"), KeyUnavailableError),
    ],
    ids=["does not fit", "not ours"],
)
def test_rotation_names_the_object_that_no_key_opens(
    bucket: str, reader: Callable[[], Keyring], expected: type[Exception]
) -> None:
    """If no key opens an object, the rotation's error names the object, and nothing is written."""
    uri, to = f"s3://{bucket}/object", ClientSide(aes(), key_location="metadata")
    connect(ClientSide(rsa_keyring(), key_location="metadata")).put(b"plain", uri)
    with pytest.raises(expected, match=uri):
        connect(ClientSide(reader(), key_location="metadata")).rotate(uri, to=to)
    assert connect(ClientSide(rsa_keyring(), key_location="metadata")).read(uri) == b"plain"
