# SPDX-License-Identifier: Apache-2.0
"""The S3 metadata entry `s3crypt-digest`: a keyed digest of a client-side object's plaintext.

    s3crypt-digest   base64 of a random salt of 16 bytes and HMAC-SHA256 of the plaintext, under a
                     key that HKDF derives from the data key and the salt

Without the data key, the entry reveals nothing about the plaintext, not even whether two objects
have the same plaintext. A rewrap and a copy within S3 keep the data key and the entry. A
re-encryption uses another data key and removes the entry.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence

from s3crypt.message import DataKey, EncryptedDataKey, Keyring
from s3crypt.message.digests import SALT_LENGTH, digest_key
from s3crypt.message.keys import unwrap_fitting

DIGEST = "s3crypt-digest"
_LENGTH = SALT_LENGTH + 32


class DigestKeyring:
    """A keyring that calls another keyring, and derives the digest key from each data key.

    Attributes:
        salt: The salt from which the digest key is derived.
        key: The digest key. Empty until a data key was generated, or was unwrapped and verified by
            a header.
    """

    def __init__(self, keyring: Keyring, salt: bytes) -> None:
        self._keyring = keyring
        self.salt = salt
        self.key = b""

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Generate a data key with the other keyring, and derive the digest key."""
        data_key = self._keyring.generate(length, context, plaintext_length=plaintext_length)
        self.key = digest_key(data_key.plaintext, self.salt)
        return data_key

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key wrapped by the other keyring."""
        return self._keyring.wrap(data_key, context)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Unwrap a data key with the other keyring, and derive the digest key."""
        return self.unwrap_fitting(edks, context, length, lambda _: True)

    def unwrap_fitting(
        self,
        edks: Sequence[EncryptedDataKey],
        context: Mapping[str, str],
        length: int,
        fits: Callable[[bytes], bool],
    ) -> bytes:
        """Unwrap a data key for which `fits` is true, and derive the digest key."""

        def opens(data_key: bytes) -> bool:
            if not fits(data_key):
                return False
            self.key = digest_key(data_key, self.salt)
            return True

        return unwrap_fitting(self._keyring, edks, context, length, opens)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether the other keyring wrapped the EDKs."""
        return self._keyring.wrote(edks)


def dump_digest(salt: bytes, digest: bytes) -> str:
    """Return the text of the entry for a salt and a digest."""
    return b64encode(salt + digest).decode()


def load_digest(metadata: Mapping[str, str]) -> tuple[bytes, bytes] | None:
    """Return the salt and the digest in an object's metadata.

    Return None if there is no valid entry. An invalid entry is treated like a missing entry.
    """
    try:
        found = b64decode(metadata.get(DIGEST, ""), validate=True)
    except ValueError:
        return None
    return (found[:SALT_LENGTH], found[SALT_LENGTH:]) if len(found) == _LENGTH else None
