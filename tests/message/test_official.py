# SPDX-License-Identifier: Apache-2.0
"""Compatibility with the official SDK: each side decrypts the messages of the other side."""

import io
from collections.abc import Callable
from typing import Any

import official
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from readers import READERS, Reader

from s3crypt import message
from s3crypt.errors import IntegrityError
from s3crypt.keyrings import AESKeyring, MultiKeyring, RSAKeyring
from s3crypt.keyrings.kms import KMSKeyring

FRAME = 128
SIZES = (0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 3 * FRAME + 17)
OURS = AESKeyring(official.NAMESPACE, official.NAME, official.WRAPPING_KEY)
CONTEXT = {"größe": "naïve", "日本": "東京", "\U0001f511": "\U0001f5dd", "purpose": "interop"}
THEIRS: dict[str, Callable[[], dict[str, Any]]] = {
    "native": official.native_aes,
    "mpl": official.mpl_aes,
}


def plaintext_of(length: int) -> bytes:
    """Return bytes in which no two frames are equal."""
    return b"".join(index.to_bytes(4) for index in range(length // 4 + 1))[:length]


@pytest.fixture(scope="session")
def rsa_pem() -> tuple[bytes, bytes]:
    """Return the public and the private PEM of a new RSA key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return (
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("writer", THEIRS.values(), ids=THEIRS)
@pytest.mark.parametrize("suite_id", message.SUITES, ids=hex)
def test_we_open_theirs(
    suite_id: int, writer: Callable[[], dict[str, Any]], reader: Reader
) -> None:
    """Every reader decrypts the official SDK's messages in all eleven suites at every boundary."""
    for size in SIZES:
        theirs = official.encrypt(
            plaintext_of(size),
            writer(),
            suite_id=suite_id,
            encryption_context=CONTEXT,
            frame_length=FRAME,
        )
        opened = reader(theirs, OURS, context=CONTEXT, allow_uncommitted=True)
        assert opened == plaintext_of(size)


@pytest.mark.parametrize("suite_id", message.SUITES, ids=hex)
def test_we_open_their_single_blocks(suite_id: int) -> None:
    """Every reader decrypts non-framed messages of the official SDK."""
    theirs = official.encrypt(
        plaintext_of(1000), official.native_aes(), suite_id=suite_id, frame_length=0
    )
    for reader in READERS.values():
        assert reader(theirs, OURS, allow_uncommitted=True) == plaintext_of(1000)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("reader", THEIRS.values(), ids=THEIRS)
def test_they_open_ours(reader: Callable[[], dict[str, Any]], *, signed: bool) -> None:
    """The official SDK decrypts our messages at every boundary, and returns the same context."""
    for size in SIZES:
        ours = message.encrypt(
            plaintext_of(size), OURS, context=CONTEXT, signed=signed, frame_length=FRAME
        )
        plaintext, context = official.decrypt(ours, reader())
        assert plaintext == plaintext_of(size)
        assert CONTEXT.items() <= context.items()
        assert context.keys() - CONTEXT.keys() == ({"aws-crypto-public-key"} if signed else set())


@pytest.mark.parametrize("signed", [False, True])
def test_our_frames_lie_where_theirs_do(*, signed: bool) -> None:
    """At every boundary our frames and the official SDK's have equal positions and lengths.

    SDK 3.x refuses any other layout of frames.
    """
    for size in SIZES:
        theirs = official.encrypt(
            plaintext_of(size),
            official.native_aes(),
            suite_id=0x0578 if signed else 0x0478,
            frame_length=FRAME,
        )
        ours = message.encrypt(plaintext_of(size), OURS, signed=signed, frame_length=FRAME)
        assert frames_of(ours) == frames_of(theirs)


def frames_of(written: bytes) -> list[tuple[bytes, int]]:
    """Return the first bytes and the plaintext length of each frame, then those of the footer."""
    position = len(message.read_header(io.BytesIO(written)))
    found = []
    while written[position : position + 4] != b"\xff" * 4:
        found.append((written[position : position + 16], FRAME))
        position += FRAME + 32
    length = int.from_bytes(written[position + 20 : position + 24])
    footer = len(written) - position - length - 40
    return [*found, (written[position : position + 24], length), (b"", footer)]


@pytest.mark.parametrize("key_length", [16, 24, 32])
def test_wrapping_key_sizes(key_length: int) -> None:
    """We and the official SDK open each other's data keys, with every AES key size."""
    key = bytes(range(key_length))
    ours = AESKeyring(official.NAMESPACE, official.NAME, key)
    for make in (official.native_aes, official.mpl_aes):
        theirs = make(key=key)
        assert message.decrypt(official.encrypt(b"theirs", theirs), ours) == b"theirs"
        assert official.decrypt(message.encrypt(b"ours", ours), theirs)[0] == b"ours"


@pytest.mark.parametrize("padding", official.RSA_PADDINGS)
def test_rsa_paddings(padding: str, rsa_pem: tuple[bytes, bytes]) -> None:
    """We and the official SDK open each other's data keys, with every RSA padding.

    This holds for the SDK's native providers and for its keyrings.
    """
    public, private = rsa_pem
    ours = RSAKeyring(official.NAMESPACE, "rsa", public=public, private=private, padding=padding)
    for theirs in (
        official.native_rsa("rsa", private, padding),
        official.mpl_rsa("rsa", public, private, padding),
    ):
        assert message.decrypt(official.encrypt(b"theirs", theirs), ours) == b"theirs"
        assert official.decrypt(message.encrypt(b"ours", ours), theirs)[0] == b"ours"


@pytest.mark.parametrize("reader", THEIRS.values(), ids=THEIRS)
def test_boundaries_of_the_default_frame_length(reader: Callable[[], dict[str, Any]]) -> None:
    """Messages with frames of the default length are compatible, as those with short frames are."""
    frame, theirs = message.DEFAULT_FRAME_LENGTH, reader()
    for size in (0, 1, frame - 1, frame, frame + 1, 3 * frame, 3 * frame + 17):
        plaintext = plaintext_of(size)
        assert official.decrypt(message.encrypt(plaintext, OURS), theirs)[0] == plaintext
        assert message.decrypt(official.encrypt(plaintext, theirs, frame_length=frame), OURS) == (
            plaintext
        )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", ["native", "mpl"])
def test_kms_keyrings(kms: Any, kms_key: str, kind: str, *, signed: bool) -> None:
    """Our KMS keyring and the official SDK's decrypt each other's messages under one key."""
    ours = KMSKeyring(kms_key, client=kms)
    theirs = official.native_kms(kms_key) if kind == "native" else official.mpl_kms(kms_key, kms)
    suite_id = 0x0578 if signed else 0x0478
    written = official.encrypt(b"theirs", theirs, suite_id=suite_id, encryption_context=CONTEXT)
    assert message.decrypt(written, ours, context=CONTEXT) == b"theirs"
    written = message.encrypt(b"ours", ours, signed=signed, context=CONTEXT)
    plaintext, context = official.decrypt(written, theirs)
    assert plaintext == b"ours"
    assert CONTEXT.items() <= context.items()


def test_multi_keyrings(kms: Any, kms_key: str) -> None:
    """On both sides, a message under several keys is decrypted by any single one of the keys."""
    parts: list[tuple[message.Keyring, dict[str, Any]]] = [
        (KMSKeyring(kms_key, client=kms), official.mpl_kms(kms_key, kms)),
        (OURS, official.mpl_aes()),
        (
            AESKeyring(official.NAMESPACE, "key-2", bytes(16)),
            official.mpl_aes(name="key-2", key=bytes(16)),
        ),
    ]
    ours = message.encrypt(b"ours", MultiKeyring(*(keyring for keyring, _ in parts)))
    theirs = official.encrypt(b"theirs", official.mpl_multi(*(keyring for _, keyring in parts)))
    for our_keyring, their_keyring in parts:
        assert official.decrypt(ours, their_keyring)[0] == b"ours"
        assert message.decrypt(theirs, our_keyring) == b"theirs"


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("suite_id", message.SUITES, ids=hex)
def test_required_context(suite_id: int, reader: Reader) -> None:
    """A reader must give the context pairs that the SDK authenticated but did not store.

    A missing pair, a wrong value and an additional pair are refused.
    """
    theirs = official.encrypt(
        b"theirs",
        official.mpl_required(official.mpl_aes(), "tenant", "日本"),
        suite_id=suite_id,
        encryption_context={**CONTEXT, "tenant": "a"},
    )
    stored = message.read_header(io.BytesIO(theirs)).context
    assert not {"tenant", "日本"} & stored.keys()
    right = {"tenant": "a", "日本": "東京"}
    assert reader(theirs, OURS, context=right, allow_uncommitted=True) == b"theirs"
    for wrong in ({}, {"tenant": "a"}, {**right, "tenant": "b"}, {**right, "more": ""}):
        with pytest.raises(IntegrityError):
            reader(theirs, OURS, context=wrong, allow_uncommitted=True)
