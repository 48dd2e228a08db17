# SPDX-License-Identifier: Apache-2.0
"""The key of a message's plaintext digest, which only holders of the data key can derive."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SALT_LENGTH = 16
# No suite derives a key with this label: theirs begin with the suite's two bytes, or end a salted
# extract of another hash.
_LABEL = b"s3crypt-digest HMAC-SHA256"


def digest_key(data_key: bytes, salt: bytes) -> bytes:
    """Return the key for an HMAC-SHA256 of the plaintext, by HKDF-SHA256 (RFC 5869)."""
    return HKDF(hashes.SHA256(), 32, salt, _LABEL).derive(data_key)
