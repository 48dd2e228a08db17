# SPDX-License-Identifier: Apache-2.0
"""Data keys, their wrapped forms, and the protocol between a message and a keyring.

This module does not know key sources: KMS, files and HSMs are behind the `Keyring` protocol.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from s3crypt.errors import ConfigError, IntegrityError

HEADER_FAILED = "The header failed verification: it was changed, or the key or context is wrong."


@dataclass(frozen=True, slots=True)
class EncryptedDataKey:
    """An encrypted data key ("EDK"): a data key wrapped by one wrapping key, as in a header.

    Attributes:
        provider: The provider of the wrapping key: `aws-kms`, or the namespace of a raw key.
        info: The wrapping key: the KMS key's ARN, or the raw key's name and parameters.
        ciphertext: The wrapped data key.
        material_id: The id of the wrapping key's material, if the key service reported it. It is
            not a part of the EDK: headers do not contain it, and it is ignored when two EDKs are
            compared.
    """

    provider: str
    info: bytes
    ciphertext: bytes
    material_id: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key in plain form, with all its wrapped forms.

    Attributes:
        plaintext: The data key. It is not part of any `repr`.
        edks: The wrapped forms, one per wrapping key.
    """

    plaintext: bytes = field(repr=False)
    edks: tuple[EncryptedDataKey, ...]


class Keyring(Protocol):
    """Generates, wraps and unwraps data keys. `AESKeyring` is a short example.

    `context` is the message's encryption context. It is authenticated with the wrapped data key if
    the wrapping algorithm supports this. It is not secret. `edks` are the wrapped data keys in the
    message's header. Lengths are in bytes.
    """

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a random data key of `length` bytes, with its wrapped forms.

        `plaintext_length` is the length of the message's plaintext, or None if it is not known yet.
        Only a keyring that reuses data keys needs it.
        """
        ...

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the wrapped forms of a data key that another keyring generated."""
        ...

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key of `length` bytes from the first EDK that can be unwrapped.

        Raises:
            IntegrityError: EDKs name a key of this keyring, but cannot be unwrapped with it.
            KeyUnavailableError: No EDK names a key of this keyring, or the key cannot be used now.
        """
        ...

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether `edks` name exactly the wrapping keys with which this keyring wraps."""
        ...


class FittingKeyring(Keyring, Protocol):
    """A keyring whose `unwrap` can find several candidates.

    The message's header shows which candidate is right.

    The method `unwrap_fitting` is optional. For a keyring without it, the key that `unwrap` returns
    is the only candidate. RSA needs the method, because a failure of PKCS #1 v1.5 returns random
    bytes. A keyring that calls other keyrings needs it too; otherwise it would trust a key before
    it is verified.
    """

    def unwrap_fitting(
        self,
        edks: Sequence[EncryptedDataKey],
        context: Mapping[str, str],
        length: int,
        fits: Callable[[bytes], bool],
    ) -> bytes:
        """Return the first candidate for which `fits` returns True.

        Raises:
            IntegrityError, KeyUnavailableError: For the reasons that `unwrap` documents. If no
                candidate fits, the error is an IntegrityError, whatever the reason for each
                candidate is.
        """
        ...


def check_keyring(keyring: object) -> None:
    """Refuse an object that is not a keyring. Callers do this before any read or request.

    Raises:
        ConfigError: The object is not a keyring. The error contains the type of the object but not
            its value, which may be a key.
    """
    if is_keyring(keyring):
        return
    hint = 'For example KMSKeyring("alias/NAME") or AESKeyring("NAMESPACE", "NAME", key).'
    if isinstance(keyring, str):
        hint = "s3crypt.configuration.keyring_of(...) makes a keyring of text. " + hint
    if isinstance(keyring, type) and hasattr(keyring, "unwrap"):
        hint = f"Make one of it: {keyring.__name__}(...)."
    raise ConfigError(f"A keyring is needed, not {type_name(keyring)}.", hint=hint)


def is_keyring(value: object) -> bool:
    """Return whether an object generates, wraps or unwraps data keys. A class is not a keyring.

    If a keyring of the caller only reads or only writes, it may lack methods of the protocol.
    """
    # There is no loop over the names, because it would take 10 % of the time of a message of 1 KiB.
    return not isinstance(value, type) and (
        hasattr(value, "generate") or hasattr(value, "unwrap") or hasattr(value, "wrap")
    )


def type_name(value: object) -> str:
    """Return the name of an argument's type for an error.

    The value is not shown: it may be a key.
    """
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"an object of type {type(value).__name__}"


def unwrap_fitting(
    keyring: Keyring,
    edks: Sequence[EncryptedDataKey],
    context: Mapping[str, str],
    length: int,
    fits: Callable[[bytes], bool],
) -> bytes:
    """Return the data key for which `fits` returns True. The keyring may be a `FittingKeyring`.

    Raises:
        IntegrityError, KeyUnavailableError: For the reasons that `FittingKeyring.unwrap_fitting`
            documents.
    """
    search = getattr(keyring, "unwrap_fitting", None)
    if search is not None:
        fitting: bytes = search(edks, context, length, fits)
        return fitting
    data_key = keyring.unwrap(edks, context, length)
    if not fits(data_key):
        raise IntegrityError(HEADER_FAILED)
    return data_key
