# SPDX-License-Identifier: Apache-2.0
"""The footer of an encrypted Parquet file: which data keys the file has, and how they are wrapped.

This module parses bytes, and verifies them with a key that the caller has unwrapped. It does not
use keyrings or KMS, and does not read pages. The format is "Parquet Modular Encryption"
(Encryption.md and parquet.thrift of parquet-format), in Thrift's compact protocol.
"""

import hmac
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import FormatError, IntegrityError, PolicyError

# A file ends with the footer, the footer's length, and one of these two values.
_MAGIC_OF_ENCRYPTED, _MAGIC_OF_PLAIN = b"PARE", b"PAR1"
_TAIL_LENGTH = 8
_NONCE_LENGTH, _TAG_LENGTH = 12, 16
# The AAD of a footer ends with this module type; see Encryption.md 4.4.2.
_FOOTER_MODULE = b"\0"
# The maximum depth of nested structs. FileMetaData of parquet.thrift has a depth of seven.
_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Footer:
    """A footer as it is stored. It is not verified yet.

    Attributes:
        name: The name of the file, for errors.
        key_metadata: The writer's description of the footer's key. It may be empty if the writer
            was not s3crypt.
    """

    name: str
    key_metadata: bytes
    _aad: bytes = field(repr=False)
    # Nonce, ciphertext and tag. For a plaintext footer, nonce and tag, which are its signature.
    _sealed: bytes = field(repr=False)
    _plain: bytes | None = field(repr=False)

    def column_keys(self, key: bytes) -> dict[str, bytes]:
        """Verify the footer with its key, and return the key metadata of the columns.

        Returns:
            The stored key metadata of each column that has its own key. A column is named by its
            path, joined by dots.

        Raises:
            IntegrityError: The key does not fit the footer, or the footer was changed.
            FormatError: The footer cannot be parsed.
        """
        metadata = self._verified(key)
        with _parsing(self.name):
            return _column_keys(_Compact(metadata).struct())

    def _verified(self, key: bytes) -> bytes:
        try:
            if self._plain is None:
                return open_sealed(key, self._sealed, self._aad)
            nonce, tag = self._sealed[:_NONCE_LENGTH], self._sealed[_NONCE_LENGTH:]
            # Only the tag is stored as the signature. The ciphertext of a plaintext footer is not
            # stored.
            signed = AESGCM(key).encrypt(nonce, self._plain, self._aad)
        except ValueError:
            raise _failed(self.name) from None
        if not hmac.compare_digest(signed[-_TAG_LENGTH:], tag):
            raise _failed(self.name)
        return self._plain


def read_footer(file: BinaryIO, name: str) -> Footer:
    """Return the footer of an encrypted Parquet file. The file must be open and seekable.

    Raises:
        FormatError: The file is not a Parquet file, is truncated, or needs an AAD prefix.
        PolicyError: The file is not encrypted.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _TAIL_LENGTH))
    tail = file.read(_TAIL_LENGTH)
    length, magic = int.from_bytes(tail[:4], "little"), tail[4:]
    room = size - _TAIL_LENGTH - len(magic)
    if magic not in {_MAGIC_OF_ENCRYPTED, _MAGIC_OF_PLAIN} or length > room:
        raise FormatError(
            f"{name} is no Parquet file, or was cut short.",
            hint="Name the Parquet file, or fetch it again.",
        )
    file.seek(size - _TAIL_LENGTH - length)
    stored = file.read(length)
    with _parsing(name):
        if len(stored) != length:
            raise ValueError("the footer was cut short")
        return _encrypted(stored, name) if magic == _MAGIC_OF_ENCRYPTED else _plain(stored, name)


def open_sealed(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Return the plaintext for a nonce, a ciphertext and its tag. `sealed` has all three.

    Raises:
        ValueError: The tag cannot be verified with the key, or the input is too short.
    """
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_LENGTH], sealed[_NONCE_LENGTH:], aad)
    except InvalidTag:
        raise ValueError("the tag does not verify") from None


def _encrypted(stored: bytes, name: str) -> Footer:
    """Parse an encrypted footer: FileCryptoMetaData, a length, and the encrypted bytes."""
    reader = _Compact(stored)
    crypto = reader.struct()
    sealed = stored[reader.position + 4 :]
    if int.from_bytes(stored[reader.position :][:4], "little") != len(sealed):
        raise ValueError("the encrypted footer has another length")
    return Footer(name, _bytes(crypto.get(2, b"")), _aad(crypto[1], name), sealed, None)


def _plain(stored: bytes, name: str) -> Footer:
    """Parse a plaintext footer: FileMetaData, then the signature."""
    reader = _Compact(stored)
    metadata = reader.struct()
    if 8 not in metadata:
        raise PolicyError(
            f"{name} is not encrypted.",
            hint="Its writer did not encrypt it, or somebody else replaced it: ask the writer.",
        )
    plain, signature = stored[: reader.position], stored[reader.position :]
    if len(signature) != _NONCE_LENGTH + _TAG_LENGTH:
        raise ValueError("the footer is not signed")
    return Footer(name, _bytes(metadata.get(9, b"")), _aad(metadata[8], name), signature, plain)


def _aad(algorithm: dict[int, Any], name: str) -> bytes:
    """Return the AAD of a footer.

    `algorithm` is a union of two equal structs, one per algorithm.
    """
    (fields,) = algorithm.values()
    if fields.get(3):
        raise FormatError(
            f"{name} was written with an AAD prefix that it does not have inside.",
            hint="Read it with the tool that wrote it, which knows the prefix.",
        )
    return _bytes(fields.get(1, b"")) + _bytes(fields.get(2, b"")) + _FOOTER_MODULE


def _column_keys(metadata: dict[int, Any]) -> dict[str, bytes]:
    """Return the key metadata of the columns in a FileMetaData."""
    found: dict[str, bytes] = {}
    for group in metadata[4]:
        for chunk in group[1]:
            # ColumnCryptoMetaData is a union. Field 1 means the footer's key, and field 2 is the
            # column's own key.
            own = chunk.get(8, {}).get(2)
            if own is not None:
                path = ".".join(part.decode() for part in own[1])
                key_metadata = _bytes(own.get(2, b""))
                if found.setdefault(path, key_metadata) != key_metadata:
                    raise ValueError(f"column {path} has several keys")
    return found


class _Compact:
    """A reader of Thrift's compact protocol. A struct becomes a dictionary by field number.

    Each value takes at least one byte of the data, so a forged length cannot exhaust the memory.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return the struct at the position, and move the position to its end."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._integer()
            # For a boolean field, the type is the value: 1 is true, and 2 is false.
            fields[number] = kind == 1 if kind in {1, 2} else self._value(kind, depth + 1)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        """Return the next value (an item of a list, or a field) of the given type."""
        if depth > _DEEPEST:
            raise ValueError("too deep")
        match kind:
            case 1 | 2 | 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._integer()
            case 7:
                return self._take(8)
            case 8:
                return self._take(self._varint())
            case 9 | 10:
                head = self._byte()
                length = head >> 4 if head >> 4 < 15 else self._varint()
                return [self._value(head & 15, depth + 1) for _ in range(length)]
            case 12:
                return self.struct(depth)
        raise ValueError(f"no type of parquet.thrift: {kind}")

    def _byte(self) -> int:
        byte = self._data[self.position]
        self.position += 1
        return byte

    def _take(self, length: int) -> bytes:
        taken = self._data[self.position : self.position + length]
        if len(taken) != length:
            raise ValueError("cut short")
        self.position += length
        return taken

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 64, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("an integer of more than 64 bits")

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("no bytes")
    return value


def _failed(name: str) -> IntegrityError:
    return IntegrityError(
        f"{name}: The footer does not verify with its key.",
        hint="It was changed, or its key was taken from another file. Fetch the file again.",
    )


@contextmanager
def _parsing(name: str) -> Iterator[None]:
    """Raise a FormatError if the bytes do not conform to parquet.thrift."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{name}: The footer cannot be parsed.",
            hint="The file is damaged, or its writer is newer than this version: fetch it again.",
        ) from error
