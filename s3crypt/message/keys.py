# SPDX-License-Identifier: Apache-2.0
"""Data keys, their wrapped forms, and the protocol between a message and a keyring.

This module knows no key source: KMS, files and HSMs are behind the `Keyring` protocol.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from s3crypt.errors import ConfigError, IntegrityError

HEADER_FAILED = "The header failed verification: it was changed, or the key or context is wrong."


@dataclass(frozen=True, slots=True)
class EncryptedDataKey:
    """A data key wrapped by one wrapping key, as a header carries it ("EDK").

    Attributes:
        provider: The provider of the wrapping key: `aws-kms`, or the namespace of a raw key.
        info: The wrapping key: the KMS key's ARN, or the raw key's name and parameters.
        ciphertext: The wrapped data key.
        material_id: The id of the wrapping key's material, if the key service reported it. It is
            no part of the EDK: headers do not carry it, and EDKs that differ by it are equal.
    """

    provider: str
    info: bytes
    ciphertext: bytes
    material_id: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key in the clear, with all its wrapped forms.

    Attributes:
        plaintext: The data key. It is in no `repr`.
        edks: The wrapped forms, one per wrapping key.
    """

    plaintext: bytes = field(repr=False)
    edks: tuple[EncryptedDataKey, ...]


class Keyring(Protocol):
    """Wraps and unwraps data keys; `AESKeyring` is a short example of a keyring.

    `context` is the message's encryption context. It is authenticated with the wrapped key if the
    wrapping algorithm supports that, and it is never secret. `edks` are the wrapped data keys in
    the message's header. Lengths are in bytes.
    """

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a random data key of `length` bytes with its wrapped forms.

        `plaintext_length` is the plaintext length of the key's message, or None if it is unknown
        until the message's end. Only a keyring that reuses data keys needs it.
        """
        ...

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the wrapped forms of a data key that another keyring generated."""
        ...

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key of `length` bytes from the first EDK that can be opened.

        Raises:
            IntegrityError: EDKs are for this keyring, but they cannot be unwrapped.
            KeyUnavailableError: No EDK is for this keyring, or its key cannot be used now.
        """
        ...

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether `edks` name exactly the wrapping keys that this keyring writes."""
        ...


class FittingKeyring(Keyring, Protocol):
    """A keyring whose unwrapping yields several candidates; the message's header proves the key.

    The method is optional: if a keyring lacks it, the key that `unwrap` returns is the only
    candidate. RSA needs it, because PKCS #1 v1.5 returns random bytes on a failure. Every keyring
    that asks other keyrings needs it too, so that it does not trust a key before it is proved.
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
            IntegrityError, KeyUnavailableError: As `unwrap`. If no candidate fits, the error is
                an IntegrityError, regardless of each candidate's reason.
        """
        ...


def check_keyring(keyring: object) -> None:
    """Refuse an object that is no keyring, before a read or a request.

    Raises:
        ConfigError: The object is no keyring. The error names its type but not its value, which
            may be a key.
    """
    if is_keyring(keyring):
        return
    hint = 'For example KMSKeyring("alias/NAME") or AESKeyring("NAMESPACE", "NAME", key).'
    if isinstance(keyring, str):
        hint = "s3crypt.configuration.keyring_of(...) makes a keyring of text. " + hint
    if isinstance(keyring, type) and hasattr(keyring, "unwrap"):
        hint = f"Make one of it: {keyring.__name__}(...)."
    raise ConfigError(f"A keyring is needed here, not {type_name(keyring)}.", hint=hint)


def is_keyring(value: object) -> bool:
    """Return whether an object makes, wraps or unwraps data keys; a class is no keyring.

    A keyring that the caller wrote may lack methods of the protocol, if it only reads or only
    writes.
    """
    # No loop over the names: it would take 10 % of the time of a message of 1 KiB.
    return not isinstance(value, type) and (
        hasattr(value, "generate") or hasattr(value, "unwrap") or hasattr(value, "wrap")
    )


def type_name(value: object) -> str:
    """Return the type's name for an error about an argument, whose value may be a key."""
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
    """Return the data key for which `fits` returns True, from a keyring of either kind.

    Raises:
        IntegrityError, KeyUnavailableError: As `FittingKeyring.unwrap_fitting`.
    """
    search = getattr(keyring, "unwrap_fitting", None)
    if search is not None:
        fitting: bytes = search(edks, context, length, fits)
        return fitting
    data_key = keyring.unwrap(edks, context, length)
    if not fits(data_key):
        raise IntegrityError(HEADER_FAILED)
    return data_key
