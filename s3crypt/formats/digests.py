# SPDX-License-Identifier: Apache-2.0
"""The S3 metadata entry `s3crypt-digest`: a keyed digest of a client-side object's plaintext.

    s3crypt-digest   base64 of a random salt of 16 bytes and HMAC-SHA256 of the plaintext, under a
                     key that HKDF derives from the data key and the salt

Without the data key the entry shows nothing of the plaintext, not even whether two objects are
alike. A rewrap and a copy inside S3 keep the data key and the entry. A re-encryption has another
data key, and drops the entry.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence

from s3crypt.message import DataKey, EncryptedDataKey, Keyring
from s3crypt.message.digests import SALT_LENGTH, digest_key
from s3crypt.message.keys import unwrap_fitting

DIGEST = "s3crypt-digest"
_LENGTH = SALT_LENGTH + 32


class DigestKeyring:
    """Derives a digest key from the data key that another keyring generates or unwraps.

    Attributes:
        salt: The salt.
        key: The digest key; empty before a data key was generated, or was proved by a header.
    """

    def __init__(self, keyring: Keyring, salt: bytes) -> None:
        self._keyring = keyring
        self.salt = salt
        self.key = b""

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return the other keyring's data key."""
        data_key = self._keyring.generate(length, context, plaintext_length=plaintext_length)
        self.key = digest_key(data_key.plaintext, self.salt)
        return data_key

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the other keyring's wrapped forms."""
        return self._keyring.wrap(data_key, context)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the other keyring's data key."""
        return self.unwrap_fitting(edks, context, length, lambda _: True)

    def unwrap_fitting(
        self,
        edks: Sequence[EncryptedDataKey],
        context: Mapping[str, str],
        length: int,
        fits: Callable[[bytes], bool],
    ) -> bytes:
        """Return the other keyring's data key that fits."""

        def opens(data_key: bytes) -> bool:
            if not fits(data_key):
                return False
            self.key = digest_key(data_key, self.salt)
            return True

        return unwrap_fitting(self._keyring, edks, context, length, opens)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether the other keyring wrote the EDKs."""
        return self._keyring.wrote(edks)


def dump_digest(salt: bytes, digest: bytes) -> str:
    """Return a salt and a digest as the entry's text."""
    return b64encode(salt + digest).decode()


def load_digest(metadata: Mapping[str, str]) -> tuple[bytes, bytes] | None:
    """Return the salt and the digest in an object's metadata, or None if there is no valid entry.

    An invalid entry is no error: the object then counts as one without.
    """
    try:
        found = b64decode(metadata.get(DIGEST, ""), validate=True)
    except ValueError:
        return None
    return (found[:SALT_LENGTH], found[SALT_LENGTH:]) if len(found) == _LENGTH else None
