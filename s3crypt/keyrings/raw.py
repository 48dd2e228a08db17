# SPDX-License-Identifier: Apache-2.0
"""Keyrings of raw AES and RSA keys: they frame wrapped data keys as the AWS Encryption SDK does.

Source: aws-encryption-sdk-specification, framework/{raw-aes,raw-rsa}-keyring.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import urandom
from typing import TYPE_CHECKING, Any, ClassVar

from s3crypt.errors import IntegrityError
from s3crypt.message.header import serialize_context
from s3crypt.message.keys import DataKey, EncryptedDataKey

from .edks import AES_PARAMETERS, check_name, not_named, unopened
from .raw_keys import AES_IV_LENGTH, AESKey, RSAKey


@dataclass(frozen=True)
class AESKeyring:
    """Wraps data keys with an AES-GCM key that the caller holds.

    Attributes:
        namespace: The namespace of the key, such as its owner; stored in clear in every message.
        name: The name of the key; stored in clear as well. A new key needs a new name.
        key_bytes: 16, 24 or 32 random bytes.

    A key may wrap at most 2**32 data keys, by all its writers together, because its IVs are
    random. The keyring counts its own wraps in this process, and refuses to exceed the limit.
    """

    namespace: str
    name: str
    key_bytes: bytes = field(repr=False)
    is_local: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_name(self.namespace, self.name)
        # Not dataclass fields, since some code, such as Dask's, iterates over these.
        self.__dict__["_key"] = AESKey(f"aes:{self.namespace}/{self.name}", self.key_bytes)
        self.__dict__["_info"] = self.name.encode() + AES_PARAMETERS

    def __reduce__(self) -> tuple[Any, ...]:
        # A cipher cannot be pickled.
        return AESKeyring, (self.namespace, self.name, self.key_bytes)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new data key, wrapped."""
        plaintext = urandom(length)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key sealed under this key, its context authenticated.

        Raises:
            ConfigError: This keyring has wrapped 2**32 data keys.
        """
        iv, wrapped = self._key.wrap(data_key, serialize_context(context))
        return (EncryptedDataKey(self.namespace, self._info + iv, wrapped),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK of this name that the key unwraps.

        Raises:
            IntegrityError: The key unwraps no EDK of this name.
            KeyUnavailableError: No EDK has this name.
        """
        aad = serialize_context(context)
        for edk in filter(self.opens, edks):
            try:
                data_key = self._key.unwrap(edk.info[-AES_IV_LENGTH:], edk.ciphertext, aad)
            except IntegrityError:
                continue
            if len(data_key) == length:
                return data_key
        raise unopened(edks) if any(map(self.opens, edks)) else not_named(edks)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether the one EDK has this namespace and name."""
        return len(edks) == 1 and self.opens(edks[0])

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether the EDK has this namespace and name."""
        info = self._info
        return (
            edk.provider == self.namespace
            and edk.info.startswith(info)
            and len(edk.info) == len(info) + AES_IV_LENGTH
        )

    if TYPE_CHECKING:
        # Made once: making both for each call took 5 % of the time of a message of 1 KiB.
        _key: ClassVar[AESKey]
        _info: ClassVar[bytes]


@dataclass(frozen=True, slots=True)
class RSAKeyring:
    """Wraps data keys with an RSA public key and unwraps them with its private key.

    The encryption context is not bound to the wrapped key, since RSA does not support that; the
    header's tag binds it to the message. A message does not prove its writer: everyone with the
    public key can write a message.

    Attributes:
        namespace: The namespace of the key, such as its owner; stored in clear in every message.
        name: The name of the key; stored in clear as well.
        public: PEM of the public key; if left out, the private key's public key is used.
        private: PEM of the unencrypted private key; if left out, the keyring cannot unwrap.
        padding: `OAEP-SHA256`, `OAEP-SHA384`, `OAEP-SHA512`; `OAEP-SHA1` and `PKCS1` too.
    """

    namespace: str
    name: str
    public: bytes | None = None
    private: bytes | None = field(default=None, repr=False)
    padding: str = "OAEP-SHA256"
    _key: RSAKey = field(init=False, repr=False, compare=False)
    is_local: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_name(self.namespace, self.name)
        key = RSAKey(
            f"rsa:{self.namespace}/{self.name}",
            public=self.public,
            private=self.private,
            padding=self.padding,
        )
        object.__setattr__(self, "_key", key)

    def __reduce__(self) -> tuple[Any, ...]:
        # The keys that are loaded from the PEM cannot be pickled.
        make = partial(RSAKeyring, public=self.public, private=self.private, padding=self.padding)
        return make, (self.namespace, self.name)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new data key, wrapped."""
        plaintext = urandom(length)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key encrypted with the public key."""
        del context  # RSA cannot bind the context; the header's tag does.
        return (EncryptedDataKey(self.namespace, self.name.encode(), self._key.wrap(data_key)),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the only data key of this length among the decrypted EDKs of this name.

        PKCS #1 v1.5 returns random bytes on a failure, which have the right length in one of about
        250 cases. If a message can prove the key, its reader calls `unwrap_fitting` instead.

        Raises:
            IntegrityError: No EDK of this name decrypts to a key of this length, or two EDKs
                decrypt to different keys.
            KeyUnavailableError: No EDK has this name, or the keyring has no private key.
        """
        del context
        decrypted = [self._key.unwrap(edk.ciphertext) for edk in self._ours(edks)]
        data_keys = {data_key for data_key in decrypted if len(data_key) == length}
        if len(data_keys) != 1:
            raise unopened(edks)
        return data_keys.pop()

    def unwrap_fitting(
        self,
        edks: Sequence[EncryptedDataKey],
        context: Mapping[str, str],
        length: int,
        fits: Callable[[bytes], bool],
    ) -> bytes:
        """Return the data key that fits, from the first EDK of this name that decrypts to it.

        An EDK that does not decrypt to a key of this length yields a random key, which is tried
        like a decrypted key: neither the error nor the steps before it reveal why a key failed.
        """
        del context
        for edk in self._ours(edks):
            substitute = urandom(length)
            data_key = self._key.unwrap(edk.ciphertext)
            candidate = data_key if len(data_key) == length else substitute
            if fits(candidate):
                return candidate
        raise unopened(edks)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether the one EDK has this namespace and name."""
        return len(edks) == 1 and self.opens(edks[0])

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether the EDK has this namespace and name."""
        return (edk.provider, edk.info) == (self.namespace, self.name.encode())

    @property
    def needs_proof(self) -> bool:
        """Whether `unwrap` may return a wrong data key without an error."""
        return self.padding == "PKCS1"

    def _ours(self, edks: Sequence[EncryptedDataKey]) -> Sequence[EncryptedDataKey]:
        """Return the EDKs of this name; raise KeyUnavailableError if no EDK has this name."""
        ours = [edk for edk in edks if self.opens(edk)]
        if not ours:
            raise not_named(edks)
        return ours
