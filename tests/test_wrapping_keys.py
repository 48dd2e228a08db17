# SPDX-License-Identifier: Apache-2.0
"""Wrapping keys do not depend on EDKs: another format can store the wrapped bytes.

The other format here is the Amazon S3 Encryption Client's, which keeps one wrapped key in metadata.
"""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from s3crypt.aws import Clients
from s3crypt.errors import IntegrityError, KeyUnavailableError
from s3crypt.keyrings.kms_key import KMSKey
from s3crypt.keyrings.raw_keys import AESKey, RSAKey

KEY_BYTES, DATA_KEY = bytes(range(32)), bytes(range(100, 132))
CONTENT_ALGORITHM = "AES/GCM/NoPadding"


def test_an_aes_key_wraps_as_iv_ciphertext_and_tag() -> None:
    """An AES key wraps with the given additional data; its errors have the key's name."""
    key = AESKey("aes:tests/one", KEY_BYTES)
    aad = CONTENT_ALGORITHM.encode()
    iv, wrapped = key.wrap(DATA_KEY, aad)
    assert (len(iv), len(wrapped)) == (12, 32 + 16)
    theirs = AESGCM(KEY_BYTES).decrypt(iv, wrapped, aad)
    assert theirs == key.unwrap(iv, wrapped, aad) == DATA_KEY
    assert key.wrap(DATA_KEY, b"") != key.wrap(DATA_KEY, b"")
    for wrong in ((b"", b""), (iv[:7], wrapped), (iv, wrapped[:-1]), (bytes(12), bytes(48))):
        with pytest.raises(IntegrityError, match="aes:tests/one"):
            key.unwrap(*wrong, aad)
    with pytest.raises(IntegrityError):
        key.unwrap(iv, wrapped, b"")


def test_an_rsa_key_wraps_any_bytes() -> None:
    """An RSA key wraps any bytes, such as the S3 Encryption Client's framed data key."""
    pair = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = pair.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key = RSAKey("rsa:tests/one", public=None, private=pem, padding="OAEP-SHA1")
    framed = b"\x20" + DATA_KEY + CONTENT_ALGORITHM.encode()
    wrapped = key.wrap(framed)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    assert pair.decrypt(wrapped, oaep) == key.unwrap(wrapped) == framed
    assert key.unwrap(bytes(256)) == b""
    public = pair.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    writer = RSAKey("rsa:tests/one", public=public, private=None, padding="OAEP-SHA1")
    assert key.unwrap(writer.wrap(framed)) == framed
    with pytest.raises(KeyUnavailableError, match="rsa:tests/one"):
        writer.unwrap(wrapped)


def test_a_kms_key_wraps_as_a_blob(kms: Any, kms_key: str) -> None:
    """A KMS key wraps under the given context, and KMS itself can decrypt the result."""
    key = KMSKey(kms_key, Clients("kms", client=kms))
    context = {"aws:x-amz-cek-alg": CONTENT_ALGORITHM}
    data_key, generated = key.generate(32, context)
    for plaintext, wrapped in ((data_key, generated), (DATA_KEY, key.wrap(DATA_KEY, context))):
        assert wrapped.arn == kms_key
        reply = kms.decrypt(CiphertextBlob=wrapped.blob, EncryptionContext=context)
        opened, arn = key.unwrap(wrapped.blob, context)
        assert reply["Plaintext"] == opened == plaintext
        assert arn is not None
        assert key.may_be(arn)
    with pytest.raises(IntegrityError):
        key.unwrap(generated.blob, {})
