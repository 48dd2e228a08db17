# SPDX-License-Identifier: Apache-2.0
"""AES and RSA keys that the caller holds and that wrap data keys, independent of any format.

A key wraps and unwraps the bytes of a data key. It does not know EDKs or the encryption context:
the format decides which bytes are authenticated with a data key, and where the wrapped bytes are
stored.
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

# NIST SP 800-38D 8.3 permits this many uses of one key with random IVs of 96 bits.
MAX_WRAPS = 2**32
AES_IV_LENGTH = 12
# NIST SP 800-131A: a shorter key must not encrypt new data. It may decrypt existing data.
MIN_RSA_BITS = 2048


class AESKey:
    """An AES-GCM key. It may wrap at most 2**32 data keys, because its IVs are random.

    Args:
        name: The key's name for errors, in the form `aes:NAMESPACE/NAME`.
        key_bytes: 16, 24 or 32 random bytes.
    """

    __slots__ = ("_cipher", "_wraps", "name")

    def __init__(self, name: str, key_bytes: bytes) -> None:
        if not isinstance(key_bytes, bytes | bytearray):
            raise ConfigError("The key of an AESKeyring is bytes.")
        if len(key_bytes) not in (16, 24, 32):
            raise ConfigError(f"An AES key has 16, 24 or 32 bytes, not {len(key_bytes)}.")
        self.name = name
        # The cipher is made once, because making it takes as long as wrapping a key with it.
        self._cipher = AESGCM(key_bytes)
        # A call of `next` on this counter is atomic, so it needs no lock.
        self._wraps = count(1)

    def wrap(self, data_key: bytes, aad: bytes) -> tuple[bytes, bytes]:
        """Return the IV, and the encrypted data key with its tag. The tag also authenticates `aad`.

        Raises:
            ConfigError: This key has wrapped 2**32 data keys.
        """
        if next(self._wraps) > MAX_WRAPS:
            raise ConfigError(
                f"The key {self.name} has wrapped {MAX_WRAPS} data keys, which is the limit for "
                "one AES key.",
                hint="Make a new key with a new name; the old key still reads.",
            )
        iv = urandom(AES_IV_LENGTH)
        return iv, self._cipher.encrypt(iv, data_key, aad)

    def unwrap(self, iv: bytes, wrapped: bytes, aad: bytes) -> bytes:
        """Return the unwrapped data key.

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
    # These two are only for reading data keys that other writers wrapped.
    "OAEP-SHA1": lambda: _oaep(hashes.SHA1()),  # noqa: S303 - no collision resistance is needed
    "PKCS1": rsa_padding.PKCS1v15,
}


class RSAKey:
    """An RSA key pair, or only its public key.

    Unlike AES-GCM, RSA cannot authenticate other bytes with the data key.

    Args:
        name: The key's name for errors, in the form `rsa:NAMESPACE/NAME`.
        public: The PEM of the public key. None to use the public key of the private key.
        private: The PEM of the unencrypted private key. If None, the key cannot unwrap.
        padding: `OAEP-SHA256`, `OAEP-SHA384`, `OAEP-SHA512`, `OAEP-SHA1` or `PKCS1`.
    """

    __slots__ = ("_decryptor", "_encryptor", "name", "padding")

    def __init__(
        self, name: str, *, public: bytes | None, private: bytes | None, padding: str
    ) -> None:
        if padding not in _RSA_PADDINGS:
            raise ConfigError(
                f"Unknown RSA padding {padding!r}.",
                hint=f"Choose one of {', '.join(_RSA_PADDINGS)}.",
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
            raise ConfigError("The public key and the private key do not belong together.")

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
                hint=f"{MAKE_KEY} The old key still reads the messages that it wrote.",
            )
        return self._encryptor.encrypt(data_key, _RSA_PADDINGS[self.padding]())

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return a candidate for the data key. Return no bytes if the decryption fails.

        The caller must compare the length of the candidate. If PKCS #1 v1.5 fails, it returns
        random bytes, so the caller must also verify the candidate by opening its message.

        Raises:
            KeyUnavailableError: There is no private key.
        """
        if self._decryptor is None:
            raise KeyUnavailableError(
                f"The private key of {self.name} was not given.",
                hint="Give a PEM file with the private key.",
            )
        try:
            return self._decryptor.decrypt(wrapped, _RSA_PADDINGS[self.padding]())
        except ValueError:
            return b""


def _load_private(pem: bytes) -> rsa.RSAPrivateKey:
    # The import is here because it also loads SSH's key formats. This takes 30 ms, a tenth of the
    # time in which a command starts.
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_private_key,
    )

    _check_kind(pem)
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError("This is not the PEM file of an unencrypted RSA private key.") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError("The private key is not an RSA key.", hint=MAKE_KEY)
    return key


def _load_public(pem: bytes) -> rsa.RSAPublicKey:
    # The import is here for the same reason as in `_load_private`.
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_public_key,
    )

    _check_kind(pem)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("This is not the PEM file of an RSA public key.") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ConfigError("The public key is not an RSA key.", hint=MAKE_KEY)
    return key


def _check_kind(pem: bytes) -> None:
    """Refuse a file without an RSA key for encryption, such as OpenSSH, a certificate or PSS."""
    if not isinstance(pem, bytes | bytearray):
        raise ConfigError(
            "The key of an RSAKeyring is the bytes of a PEM file.",
            hint='Write Path("FILE.pem").read_bytes().',
        )
    if found := found_instead(pem):
        what, hint = found
        raise ConfigError(f"An RSA key in PEM is needed, but this is {what}.", hint=hint)
