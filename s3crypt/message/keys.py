# SPDX-License-Identifier: Apache-2.0
"""Data keys, their wrapped forms, and what a message asks of a keyring.

Knows no key source: KMS, files and HSMs are behind the `Keyring` protocol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class EncryptedDataKey:
    """A data key wrapped by one wrapping key, as a header carries it ("EDK").

    Attributes:
        provider: Who wrapped it: `aws-kms`, or the namespace of a raw key.
        info: Which key: the KMS key's ARN, or the raw key's name and parameters.
        ciphertext: The wrapped data key.
    """

    provider: str
    info: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key in the clear, with every wrapped form of it."""

    plaintext: bytes = field(repr=False)
    edks: tuple[EncryptedDataKey, ...]


class Keyring(Protocol):
    """Wraps and unwraps data keys; `AESKeyring` is the short example of one.

    `context` is the message's encryption context: authenticated with the wrapped key wherever
    the wrapping algorithm can, and never secret.
    """

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a random data key of `length` bytes with its wrapped forms.

        `plaintext_length` is the bytes of the message that it is for, None where only the
        message's end will tell. Only a keyring that lets data keys serve again needs it.
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
            IntegrityError: No EDK is for this keyring, or none of those that are opens.
            KeyUnavailableError: The key is there, and cannot be used now.
        """
        ...

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether `edks` name exactly the wrapping keys that this keyring writes."""
        ...
