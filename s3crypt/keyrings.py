# SPDX-License-Identifier: Apache-2.0
"""Who wraps data keys. Wire forms are the AWS Encryption SDK's, so any of its keyrings opens them.

A key source of your own is a class with the four methods of `Keyring`; `AESKeyring` shows how.
Those of KMS are in `kms_keyrings`: what is here needs no AWS, and does not wait for it to load.
Source: aws-encryption-sdk-specification, framework/{raw-aes,raw-rsa,multi}-keyring.md.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from secrets import token_bytes
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .caching import CachingKeyring
from .errors import ConfigError, IntegrityError, KeyUnavailableError, S3CryptError
from .message.header import serialize_context
from .message.keys import DataKey, EncryptedDataKey, Keyring
from .message.suites import IV_LENGTH, TAG_LENGTH

__all__ = ["AESKeyring", "Keyring", "MultiKeyring", "RSAKeyring", "key_names", "uncached"]

KMS_PROVIDER = "aws-kms"
# In the info of a raw AES key's EDK, between the name and the IV: bits of the tag, bytes of the IV.
_AES_PARAMETERS = struct.pack(">II", TAG_LENGTH * 8, IV_LENGTH)
UNOPENED = "No key given opens this data key: it is wrapped by another key, or was changed."


def key_names(edks: Sequence[EncryptedDataKey]) -> tuple[str, ...]:
    """Return who wrapped these data keys, as key names on the command line are written.

    Headers are anyone's bytes, and names are shown on terminals: what does not print is replaced.
    """
    return tuple(_printable(_key_name(edk)) for edk in edks)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _key_name(edk: EncryptedDataKey) -> str:
    text = edk.info.decode(errors="replace")
    if edk.provider == KMS_PROVIDER:
        return f"kms:{text}"
    if len(edk.info) > 20 and edk.info[-20:-IV_LENGTH] == _AES_PARAMETERS:
        return f"aes:{edk.provider}/{edk.info[:-20].decode(errors='replace')}"
    return f"rsa:{edk.provider}/{text}"


def _check_name(namespace: str, name: str) -> None:
    if not namespace or not name or namespace.startswith(KMS_PROVIDER):
        raise ConfigError(
            f"A key needs a namespace and a name, and {KMS_PROVIDER!r} is AWS's own namespace."
        )


@dataclass(frozen=True)
class AESKeyring:
    """Wraps data keys with an AES-GCM key that the caller holds.

    Attributes:
        namespace: Whose key it is; stored in every message, in the clear.
        name: Which key it is; stored likewise. A new key needs a new name.
        key_bytes: 16, 24 or 32 random bytes.
    """

    namespace: str
    name: str
    key_bytes: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_name(self.namespace, self.name)
        if len(self.key_bytes) not in (16, 24, 32):
            raise ConfigError(f"An AES key has 16, 24 or 32 bytes, not {len(self.key_bytes)}.")

    def __reduce__(self) -> tuple[Any, ...]:
        # A cipher cannot be pickled.
        return AESKeyring, (self.namespace, self.name, self.key_bytes)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new data key, wrapped."""
        plaintext = token_bytes(length)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key sealed under this key, its context authenticated."""
        iv = token_bytes(IV_LENGTH)
        sealed = self._cipher.encrypt(iv, data_key, serialize_context(context))
        return (EncryptedDataKey(self.namespace, self._info() + iv, sealed),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK of this name that opens."""
        aad = serialize_context(context)
        for edk in filter(self._is_ours, edks):
            try:
                data_key = self._cipher.decrypt(edk.info[-IV_LENGTH:], edk.ciphertext, aad)
            except InvalidTag:
                continue
            if len(data_key) == length:
                return data_key
        raise IntegrityError(UNOPENED, hint=names_hint(edks))

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether the one EDK has this namespace and name."""
        return len(edks) == 1 and self._is_ours(edks[0])

    @cached_property
    def _cipher(self) -> AESGCM:
        # Made once: setting a key up takes as long as wrapping with it. No field, for those who
        # walk a data class's fields, as Dask does.
        return AESGCM(self.key_bytes)

    def _info(self) -> bytes:
        return self.name.encode() + _AES_PARAMETERS

    def _is_ours(self, edk: EncryptedDataKey) -> bool:
        info = self._info()
        return (
            edk.provider == self.namespace
            and edk.info.startswith(info)
            and len(edk.info) == len(info) + IV_LENGTH
        )


def names_hint(edks: Sequence[EncryptedDataKey]) -> str:
    return f"The header names {', '.join(name[:200] for name in key_names(edks[:4]))}."


def _oaep(algorithm: hashes.HashAlgorithm) -> rsa_padding.OAEP:
    return rsa_padding.OAEP(rsa_padding.MGF1(algorithm), algorithm, None)


_RSA_PADDINGS: dict[str, Callable[[], rsa_padding.AsymmetricPadding]] = {
    "OAEP-SHA256": lambda: _oaep(hashes.SHA256()),
    "OAEP-SHA384": lambda: _oaep(hashes.SHA384()),
    "OAEP-SHA512": lambda: _oaep(hashes.SHA512()),
    # Both for reading what other writers left behind.
    "OAEP-SHA1": lambda: _oaep(hashes.SHA1()),  # noqa: S303 - no collision resistance is needed
    "PKCS1": rsa_padding.PKCS1v15,
}


@dataclass(frozen=True, slots=True)
class RSAKeyring:
    """Wraps data keys with an RSA public key and unwraps them with its private key.

    The encryption context is not bound to the wrapped key (RSA has no place for it); it stays
    bound to the message by the header's tag.

    Attributes:
        namespace: Whose key it is; stored in every message, in the clear.
        name: Which key it is; stored likewise.
        public: PEM of the public key; left out, it is the private key's.
        private: PEM of the unencrypted private key; left out, nothing can be unwrapped.
        padding: `OAEP-SHA256`, `OAEP-SHA384`, `OAEP-SHA512`; `OAEP-SHA1` and `PKCS1` too.
    """

    namespace: str
    name: str
    public: bytes | None = None
    private: bytes | None = field(default=None, repr=False)
    padding: str = "OAEP-SHA256"
    _encryptor: rsa.RSAPublicKey = field(init=False, repr=False, compare=False)
    _decryptor: rsa.RSAPrivateKey | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_name(self.namespace, self.name)
        if self.padding not in _RSA_PADDINGS:
            raise ConfigError(
                f"Unknown RSA padding {self.padding!r}.", hint=f"One of {', '.join(_RSA_PADDINGS)}."
            )
        if self.public is None and self.private is None:
            raise ConfigError("An RSA keyring needs a public or a private key.")
        decryptor = _load_private(self.private) if self.private is not None else None
        if self.public is not None:
            encryptor = _load_public(self.public)
        elif decryptor is not None:
            encryptor = decryptor.public_key()
        if decryptor is not None and encryptor != decryptor.public_key():
            raise ConfigError("The public and the private key are not of one pair.")
        object.__setattr__(self, "_decryptor", decryptor)
        object.__setattr__(self, "_encryptor", encryptor)

    def __reduce__(self) -> tuple[Any, ...]:
        # What is loaded of the PEM cannot be pickled.
        make = partial(RSAKeyring, public=self.public, private=self.private, padding=self.padding)
        return make, (self.namespace, self.name)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new data key, wrapped."""
        plaintext = token_bytes(length)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key encrypted with the public key."""
        del context  # RSA binds none; the header's tag does.
        try:
            sealed = self._encryptor.encrypt(data_key, _RSA_PADDINGS[self.padding]())
        except ValueError:
            raise ConfigError(
                f"A data key does not fit this RSA key with {self.padding}.",
                hint="Use a key of 2048 bits or more.",
            ) from None
        return (EncryptedDataKey(self.namespace, self.name.encode(), sealed),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK of this name that opens."""
        del context
        ours = [edk for edk in edks if self._is_ours(edk)]
        decryptor = self._decryptor
        if not ours:
            raise IntegrityError(UNOPENED, hint=names_hint(edks))
        if decryptor is None:
            raise KeyUnavailableError(
                f"The private key of rsa:{self.namespace}/{self.name} is not here.",
                hint="Give a PEM file with the private key.",
            )
        for edk in ours:
            try:
                data_key = decryptor.decrypt(edk.ciphertext, _RSA_PADDINGS[self.padding]())
            except ValueError:
                continue
            # PKCS#1 v1.5 answers bad padding with random bytes, so only the length tells here
            # and the header's tag the rest: one error for both.
            if len(data_key) == length:
                return data_key
        raise IntegrityError(UNOPENED, hint=names_hint(edks))

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether the one EDK has this namespace and name."""
        return len(edks) == 1 and self._is_ours(edks[0])

    def _is_ours(self, edk: EncryptedDataKey) -> bool:
        return (edk.provider, edk.info) == (self.namespace, self.name.encode())


def _load_private(pem: bytes) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError("Not the PEM of an unencrypted RSA private key.") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError("The private key is not an RSA key.")
    return key


def _load_public(pem: bytes) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("Not the PEM of an RSA public key.") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ConfigError("The public key is not an RSA key.")
    return key


def uncached(keyring: Keyring) -> Keyring:
    """Return the keyring that wraps, without the cache that may stand before it."""
    return keyring.keyring if isinstance(keyring, CachingKeyring) else keyring


class MultiKeyring:
    """Wraps each data key under several keys; any one of them opens it again.

    Args:
        generator: Generates the data key, and is the first asked to open one.
        others: Wrap the same data key too, in this order.
    """

    def __init__(self, generator: Keyring, *others: Keyring) -> None:
        # Flat, so that each keyring wraps one data key: nested ones mean the same.
        self.keyrings: tuple[Keyring, ...] = tuple(
            inner
            for keyring in (generator, *others)
            for inner in (keyring.keyrings if isinstance(keyring, MultiKeyring) else (keyring,))
        )
        if any(isinstance(keyring, CachingKeyring) for keyring in self.keyrings):
            # The other keyrings would wrap each message's data key anew, cached or not.
            raise ConfigError(
                "A CachingKeyring cannot be one keyring of several.",
                hint="Cache them together: CachingKeyring(MultiKeyring(...), max_age=...).",
            )

    def __repr__(self) -> str:
        return f"MultiKeyring({', '.join(map(repr, self.keyrings))})"

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a data key of the generator, wrapped by every keyring."""
        data_key = self.keyrings[0].generate(length, context, plaintext_length=plaintext_length)
        others = [
            edk
            for keyring in self.keyrings[1:]
            for edk in keyring.wrap(data_key.plaintext, context)
        ]
        return DataKey(data_key.plaintext, (*data_key.edks, *others))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key wrapped by every keyring."""
        return tuple(edk for keyring in self.keyrings for edk in keyring.wrap(data_key, context))

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first keyring that opens one.

        A keyring that cannot be asked (denied, unreachable, no credentials) keeps none of the
        others from being asked; what it said is raised only if no other opens the data key.
        """
        failure: S3CryptError | None = None
        for keyring in self.keyrings:
            try:
                return keyring.unwrap(edks, context, length)
            except S3CryptError as error:
                if failure is None or isinstance(failure, IntegrityError):
                    failure = error
        raise failure or AssertionError("unreachable: there is at least one keyring")

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether each EDK is of one keyring and each keyring has one, in this order."""
        return len(edks) == len(self.keyrings) and all(
            keyring.wrote([edk]) for keyring, edk in zip(self.keyrings, edks, strict=True)
        )
