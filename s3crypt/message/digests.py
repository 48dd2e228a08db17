# SPDX-License-Identifier: Apache-2.0
"""The key of a digest of a message's plaintext. Only holders of the data key can derive it."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SALT_LENGTH = 16
# No suite derives the same key: the labels of the suites either begin with the two bytes of the
# suite's id, or are used with another hash after a salted extract.
_LABEL = b"s3crypt-digest HMAC-SHA256"


def digest_key(data_key: bytes, salt: bytes) -> bytes:
    """Return the key for an HMAC-SHA256 of the plaintext.

    It is derived by HKDF-SHA256 (RFC 5869).
    """
    return HKDF(hashes.SHA256(), 32, salt, _LABEL).derive(data_key)
