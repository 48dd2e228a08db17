# SPDX-License-Identifier: Apache-2.0
"""Keyrings of raw AES and RSA keys. They write EDKs in the form of the AWS Encryption SDK.

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
        namespace: The namespace of the key, such as its owner. Every message contains it
            unencrypted.
        name: The name of the key. Every message contains it unencrypted. A new key needs a new
            name.
        key_bytes: 16, 24 or 32 random bytes.

    Raises:
        ConfigError: The key has another length, or the namespace or the name cannot be used.

    The IVs are random, so one key may wrap at most 2**32 data keys in all processes together. The
    keyring counts its own wraps in this process, and refuses to exceed the limit.
    """

    namespace: str
    name: str
    key_bytes: bytes = field(repr=False)
    is_local: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_name(self.namespace, self.name)
        # These are not fields of the dataclass, because some code, such as Dask's, iterates over
        # the fields.
        self.__dict__["_key"] = AESKey(f"aes:{self.namespace}/{self.name}", self.key_bytes)
        self.__dict__["_info"] = self.name.encode() + AES_PARAMETERS

    def __reduce__(self) -> tuple[Any, ...]:
        # The cipher object cannot be pickled, so the keyring is made again from its arguments.
        return AESKeyring, (self.namespace, self.name, self.key_bytes)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new random data key, wrapped under this key."""
        plaintext = urandom(length)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key wrapped under this key. The encryption context is authenticated.

        Raises:
            ConfigError: This keyring has wrapped 2**32 data keys.
        """
        iv, wrapped = self._key.wrap(data_key, serialize_context(context))
        return (EncryptedDataKey(self.namespace, self._info + iv, wrapped),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK with this key's names that the key unwraps.

        Raises:
            IntegrityError: The key unwraps no EDK of these names.
            KeyUnavailableError: No EDK has these names.
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
        """Return whether there is exactly one EDK, and it has this namespace and name."""
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
        # They are made once in `__post_init__`. Making them for each call took 5 % of the time of a
        # message of 1 KiB.
        _key: ClassVar[AESKey]
        _info: ClassVar[bytes]


@dataclass(frozen=True, slots=True)
class RSAKeyring:
    """Wraps data keys with an RSA public key and unwraps them with its private key.

    RSA cannot bind the encryption context to the wrapped key; the tag of the header binds the
    context to the message. A message does not prove who wrote it: everyone with the public key can
    write a message.

    Attributes:
        namespace: The namespace of the key, such as its owner. Every message contains it
            unencrypted.
        name: The name of the key. Every message contains it unencrypted.
        public: The PEM of the public key. None to use the public key of the private key.
        private: The PEM of the unencrypted private key. If None, the keyring cannot unwrap.
        padding: `OAEP-SHA256`, `OAEP-SHA384`, `OAEP-SHA512`, `OAEP-SHA1` or `PKCS1`.

    Raises:
        ConfigError: The PEM contains no RSA key, the two keys are not of one pair, or another
            argument cannot be used.
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
        # The loaded key objects cannot be pickled, so the keyring is made again from the PEM.
        make = partial(RSAKeyring, public=self.public, private=self.private, padding=self.padding)
        return make, (self.namespace, self.name)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new random data key, wrapped under this key."""
        plaintext = urandom(length)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key encrypted with the public key."""
        del context  # RSA cannot bind the context; the header's tag does.
        return (EncryptedDataKey(self.namespace, self.name.encode(), self._key.wrap(data_key)),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the only data key of this length that the EDKs with this name decrypt to.

        If PKCS #1 v1.5 fails, it returns random bytes; in one of about 250 cases they have the
        right length. A reader that can verify the key with a message calls `unwrap_fitting`
        instead.

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
        """Return the data key for which `fits` is true, from the EDKs with this name.

        If an EDK does not decrypt to a key of this length, a random key is tried in its place.
        Therefore neither the error nor the steps before it reveal why a key failed.
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
        """Return whether there is exactly one EDK, and it has this namespace and name."""
        return len(edks) == 1 and self.opens(edks[0])

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether the EDK has this namespace and name."""
        return (edk.provider, edk.info) == (self.namespace, self.name.encode())

    @property
    def needs_proof(self) -> bool:
        """Whether `unwrap` may return a wrong data key without an error."""
        return self.padding == "PKCS1"

    def _ours(self, edks: Sequence[EncryptedDataKey]) -> Sequence[EncryptedDataKey]:
        """Return the EDKs with this name. Raise KeyUnavailableError if there are none."""
        ours = [edk for edk in edks if self.opens(edk)]
        if not ours:
            raise not_named(edks)
        return ours
