# SPDX-License-Identifier: Apache-2.0
"""Wrapping keys that the caller holds, AES and RSA, independent of any format of wrapped keys.

A key turns a data key into wrapped bytes and back. It knows no EDK and no encryption context: the
format decides which bytes are authenticated with a data key, and where wrapped bytes are stored.
"""

from collections.abc import Callable
from itertools import count
from os import urandom

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from s3crypt.errors import ConfigError, IntegrityError, KeyUnavailableError

from .pem import MAKE_KEY, found_instead

# NIST SP 800-38D 8.3: the number of times that one key may be used with random IVs of 96 bits.
MAX_WRAPS = 2**32
AES_IV_LENGTH = 12
# NIST SP 800-131A: shorter keys must not encrypt new data, and may decrypt existing data.
MIN_RSA_BITS = 2048


class AESKey:
    """An AES-GCM key. It wraps at most 2**32 data keys, because its IVs are random.

    Args:
        name: The key's name in errors, as on the command line: `aes:NAMESPACE/NAME`.
        key_bytes: 16, 24 or 32 random bytes.
    """

    __slots__ = ("_cipher", "_wraps", "name")

    def __init__(self, name: str, key_bytes: bytes) -> None:
        if not isinstance(key_bytes, bytes | bytearray):
            raise ConfigError("The key of an AESKeyring is bytes.")
        if len(key_bytes) not in (16, 24, 32):
            raise ConfigError(f"An AES key has 16, 24 or 32 bytes, not {len(key_bytes)}.")
        self.name = name
        # Made once: setting up the cipher takes as long as wrapping with it.
        self._cipher = AESGCM(key_bytes)
        # `next` on this counter is atomic: no thread can interrupt it.
        self._wraps = count(1)

    def wrap(self, data_key: bytes, aad: bytes) -> tuple[bytes, bytes]:
        """Return the IV, and the encrypted data key with its tag, which authenticates `aad` too.

        Raises:
            ConfigError: This key has wrapped 2**32 data keys.
        """
        if next(self._wraps) > MAX_WRAPS:
            raise ConfigError(
                f"The key {self.name} has wrapped {MAX_WRAPS} data keys, "
                "as many as one AES key may.",
                hint="Make a new key with a new name; the old one goes on reading.",
            )
        iv = urandom(AES_IV_LENGTH)
        return iv, self._cipher.encrypt(iv, data_key, aad)

    def unwrap(self, iv: bytes, wrapped: bytes, aad: bytes) -> bytes:
        """Return the data key.

        Raises:
            IntegrityError: Another key wrapped the data key, or `wrapped` or `aad` was changed.
        """
        try:
            return self._cipher.decrypt(iv, wrapped, aad)
        except (InvalidTag, ValueError):  # ValueError: the IV is too short
            raise IntegrityError(f"The key {self.name} does not open this data key.") from None


def _oaep(algorithm: hashes.HashAlgorithm) -> rsa_padding.OAEP:
    return rsa_padding.OAEP(rsa_padding.MGF1(algorithm), algorithm, None)


_RSA_PADDINGS: dict[str, Callable[[], rsa_padding.AsymmetricPadding]] = {
    "OAEP-SHA256": lambda: _oaep(hashes.SHA256()),
    "OAEP-SHA384": lambda: _oaep(hashes.SHA384()),
    "OAEP-SHA512": lambda: _oaep(hashes.SHA512()),
    # These two are for reading data keys that other writers wrapped.
    "OAEP-SHA1": lambda: _oaep(hashes.SHA1()),  # noqa: S303 - no collision resistance is needed
    "PKCS1": rsa_padding.PKCS1v15,
}


class RSAKey:
    """An RSA key pair, or its public half. RSA authenticates no bytes beside the data key.

    Args:
        name: The key's name in errors, as on the command line: `rsa:NAMESPACE/NAME`.
        public: PEM of the public key; if left out, the private key's is used.
        private: PEM of the unencrypted private key; if left out, the key cannot unwrap.
        padding: `OAEP-SHA256`, `OAEP-SHA384`, `OAEP-SHA512`, `OAEP-SHA1` or `PKCS1`.
    """

    __slots__ = ("_decryptor", "_encryptor", "name", "padding")

    def __init__(
        self, name: str, *, public: bytes | None, private: bytes | None, padding: str
    ) -> None:
        if padding not in _RSA_PADDINGS:
            raise ConfigError(
                f"Unknown RSA padding {padding!r}.", hint=f"One of {', '.join(_RSA_PADDINGS)}."
            )
        if public is None and private is None:
            raise ConfigError("An RSA keyring needs a public or a private key.")
        self.name = name
        self.padding = padding
        self._decryptor = _load_private(private) if private is not None else None
        if public is not None:
            self._encryptor = _load_public(public)
        elif self._decryptor is not None:
            self._encryptor = self._decryptor.public_key()
        if self._decryptor is not None and self._encryptor != self._decryptor.public_key():
            raise ConfigError("The public and the private key are not of one pair.")

    def wrap(self, data_key: bytes) -> bytes:
        """Return the data key encrypted with the public key.

        Raises:
            ConfigError: The RSA key is too short to encrypt new data keys.
        """
        bits = self._encryptor.key_size
        if bits < MIN_RSA_BITS:
            raise ConfigError(
                f"The key {self.name} has {bits} bits; an RSA key that encrypts needs "
                f"{MIN_RSA_BITS} at least.",
                hint=f"{MAKE_KEY} The old one can still read what was written with it.",
            )
        return self._encryptor.encrypt(data_key, _RSA_PADDINGS[self.padding]())

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return a candidate for the data key: the decrypted bytes, or no bytes on a failure.

        The caller must compare the length. PKCS #1 v1.5 returns random bytes on a failure, so the
        caller must also prove the candidate with its message.

        Raises:
            KeyUnavailableError: The private key was not given.
        """
        if self._decryptor is None:
            raise KeyUnavailableError(
                f"The private key of {self.name} is not here.",
                hint="Give a PEM file with the private key.",
            )
        try:
            return self._decryptor.decrypt(wrapped, _RSA_PADDINGS[self.padding]())
        except ValueError:
            return b""


def _load_private(pem: bytes) -> rsa.RSAPrivateKey:
    # It loads SSH's key formats too, which takes 30 ms: a tenth of a command's start.
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_private_key,
    )

    _check_kind(pem)
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError("Not the PEM of an unencrypted RSA private key.") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError("The private key is not an RSA key.", hint=MAKE_KEY)
    return key


def _load_public(pem: bytes) -> rsa.RSAPublicKey:
    # As for private keys.
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_public_key,
    )

    _check_kind(pem)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("Not the PEM of an RSA public key.") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ConfigError("The public key is not an RSA key.", hint=MAKE_KEY)
    return key


def _check_kind(pem: bytes) -> None:
    """Refuse files without an RSA key for encryption: OpenSSH files, certificates, PSS keys."""
    if not isinstance(pem, bytes | bytearray):
        raise ConfigError(
            "The key of an RSAKeyring is the bytes of a PEM file.",
            hint='Write Path("FILE.pem").read_bytes().',
        )
    if found := found_instead(pem):
        what, hint = found
        raise ConfigError(f"An RSA key in PEM is needed; this is {what}.", hint=hint)
