# SPDX-License-Identifier: Apache-2.0
"""Master keys for the encryption of Parquet files, in keyrings. This module needs pyarrow.

    factory = crypto_factory({"footer": KMSKeyring("alias/lake"), "pay": KMSKeyring("alias/hr")})

This module handles keys only: pyarrow requests them, and writes and reads the files. For readers
that take plain keys, `file_keys` unwraps the keys of one file. A wrapped key is stored as

    s3crypt-1:LENGTH:EDKS    bytes of the key, 16, 24 or 32; the EDKS as in an object's metadata

and wrapped under the encryption context {"s3crypt:parquet-master-key": IDENTIFIER}, with the
identifier of the master key.
"""

import io
import json
import os
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ConfigError, FormatError, IntegrityError, S3CryptError
from .formats.entries import EDKS, dump_edks, load_edks
from .key_references import given_keyring
from .keyrings.capabilities import needs_proof
from .local.sources import opening
from .message import EncryptedDataKey, Keyring
from .parquet_footer import open_sealed, read_footer

try:
    from pyarrow.parquet.encryption import CryptoFactory, KmsClient
except ImportError as error:
    raise ImportError(
        "s3crypt.parquet needs pyarrow, built with Parquet encryption: "
        "pip install 's3crypt[parquet]'"
    ) from error

__all__ = ["FileKeys", "ParquetKmsClient", "crypto_factory", "file_keys"]

MASTER_KEY = "s3crypt:parquet-master-key"
_FORMAT = "s3crypt-1"
_LENGTHS = (16, 24, 32)
# The file beside a Parquet file that contains its wrapped keys if internal_key_material=False.
_BESIDE = "_KEY_MATERIAL_FOR_{name}.json"


def crypto_factory(keyrings: Mapping[str, Keyring | str]) -> CryptoFactory:
    """Return a pyarrow factory of encryption properties. The master keys are in keyrings.

    Use one factory for many files, because it caches keys, by default for ten minutes.

    Args:
        keyrings: The keyring of each master key, by the identifier of the master key in files. A
            keyring may be the text of a key, as for `s3crypt.configuration.keyring_of`.
    """
    # The same client is returned each time, because pyarrow never frees a client and requests
    # another client whenever its cache expires. The settings of the connection are not needed,
    # because each keyring has its own KMS client.
    client = ParquetKmsClient(keyrings)
    return CryptoFactory(lambda _: client)


@dataclass(frozen=True, slots=True)
class FileKeys:
    """The plain data keys of one Parquet file. They decrypt only this file.

    Attributes:
        footer: The key of the footer, and of encrypted columns that do not have their own key.
        columns: The keys of columns. A column is named by its path in the schema, joined by dots.
    """

    footer: bytes = field(repr=False)
    columns: Mapping[str, bytes] = field(repr=False)


def file_keys(source: str | Path | BinaryIO, keyrings: Mapping[str, Keyring | str]) -> FileKeys:
    """Return the data keys of an encrypted Parquet file, for readers that accept plain keys.

    The footer is verified with its key before the keys of the columns are read from it. A column is
    left out if there is no keyring for its master key. Each key encryption key is unwrapped once.
    The pages of the file are not read.

    Args:
        source: A path, or a seekable binary file. If the wrapped keys are in a file beside the
            Parquet file, it must be a path.
        keyrings: The keyrings, as for `crypto_factory`. There must be a keyring for the footer's
            master key.

    Raises:
        ConfigError: There is no keyring for the footer's master key, or the source is not a file.
        FormatError: The source is not a Parquet file, or s3crypt did not wrap its keys.
        IntegrityError: The footer or a wrapped key was changed, or a keyring's key does not fit.
        KeyUnavailableError: A wrapping key cannot be used now, or has another name.
        LocalFileNotFoundError: The file does not exist.
        PolicyError: The file is not encrypted.
    """
    unwrapping = _Unwrapping(keyrings, source)
    with _opened(source) as file:
        footer = read_footer(file, unwrapping.name)
    footer_key = unwrapping.data_key(unwrapping.material(footer.key_metadata))
    columns = {}
    for path, metadata in footer.column_keys(footer_key).items():
        material = unwrapping.material(metadata)
        if material["masterKeyID"] in keyrings:
            columns[path] = unwrapping.data_key(material)
    return FileKeys(footer_key, columns)


class ParquetKmsClient(KmsClient):  # type: ignore[misc] # pyarrow publishes no types
    """Wraps the keys of Parquet files with keyrings. Each key is bound to its master key.

    A key that was wrapped for one identifier cannot be unwrapped for another identifier, even if
    both have the same keyring. `RSAKeyring` cannot bind a key, so with it each identifier needs a
    different keyring.

    Args:
        keyrings: The keyring of each master key. This is a mapping and not a function, because the
            names that are looked up come from files, and anyone can make a file.

    Raises:
        ConfigError: A keyring uses PKCS #1 v1.5. A Parquet file cannot verify a key that such a
            keyring unwraps.
    """

    def __init__(self, keyrings: Mapping[str, Keyring | str]) -> None:
        super().__init__()
        if not isinstance(keyrings, Mapping):
            raise ConfigError(
                "The keyrings of Parquet's master keys are a mapping.",
                hint='Write {"footer": keyring}, with the identifier of each master key.',
            )
        self._keyrings = {name: given_keyring(keyring) for name, keyring in keyrings.items()}
        for identifier, keyring in self._keyrings.items():
            if needs_proof(keyring):
                raise ConfigError(
                    f"The Parquet master key {identifier[:200]!r} has an RSA keyring with PKCS #1.",
                    hint="Use OAEP: no file proves the key that PKCS #1 unwraps.",
                )

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        """Return the key, wrapped by the master key's keyring, as text.

        Raises:
            ConfigError: There is no keyring for the master key, or the keyring cannot wrap.
            KeyUnavailableError: The wrapping key cannot be used now.
        """
        if len(key_bytes) not in _LENGTHS:
            raise ConfigError(f"A Parquet key has 16, 24 or 32 bytes, not {len(key_bytes)}.")
        keyring, context = self._keyring(master_key_identifier), _context(master_key_identifier)
        with _noting(master_key_identifier):
            edks = keyring.wrap(key_bytes, context)
        return f"{_FORMAT}:{len(key_bytes)}:{dump_edks(edks)}"

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        """Return the key that was wrapped for this master key.

        Raises:
            ConfigError: There is no keyring for the master key.
            FormatError: The text does not have the form that `wrap_key` returns.
            IntegrityError: The text was changed or belongs to another master key, or a key of the
                keyring has the name of the wrapping key but is not the wrapping key.
            KeyUnavailableError: The keyring has no key with the name of the wrapping key, or the
                wrapping key cannot be used now.
        """
        keyring, context = self._keyring(master_key_identifier), _context(master_key_identifier)
        with _noting(master_key_identifier):
            edks, length = _parse(wrapped_key)
            return keyring.unwrap(edks, context, length)

    def _keyring(self, identifier: str) -> Keyring:
        if identifier not in self._keyrings:
            known = ", ".join(sorted(self._keyrings)) or "none"
            raise ConfigError(
                f"No keyring for the Parquet master key {identifier[:200]!r}.",
                hint=f"Known are: {known}.",
            )
        return self._keyrings[identifier]


class _Unwrapping:
    """Unwraps the data keys of one file.

    The key material has the format of pyarrow and Spark: JSON of the type PKMT1, in the Parquet
    file or in a file beside it. With double wrapping, the keyring wraps a key encryption key, and
    this key wraps the data key.
    """

    def __init__(
        self, keyrings: Mapping[str, Keyring | str], source: str | Path | BinaryIO
    ) -> None:
        self._path = Path(source) if isinstance(source, str | os.PathLike) else None
        self.name = str(getattr(source, "name", "The file") if self._path is None else self._path)
        self._unwrap_key = cache(ParquetKmsClient(keyrings).unwrap_key)

    def material(self, key_metadata: bytes) -> Mapping[str, Any]:
        """Return the key material that a footer's key metadata contains or refers to."""
        found = self._parse(key_metadata)
        if found.get("internalStorage") is False:
            found = self._parse(self._beside.get(str(found.get("keyReference"))))
        names = ["masterKeyID", "wrappedDEK"]
        if found.get("doubleWrapping"):
            names += ["wrappedKEK", "keyEncryptionKeyID"]
        if not all(isinstance(found.get(name), str) for name in names):
            raise self._foreign()
        return found

    def data_key(self, material: Mapping[str, Any]) -> bytes:
        """Return the unwrapped data key in the key material."""
        identifier, wrapped = material["masterKeyID"], material["wrappedDEK"]
        if not material.get("doubleWrapping"):
            return self._unwrap(wrapped, identifier)
        key_encryption_key = self._unwrap(material["wrappedKEK"], identifier)
        try:
            aad = b64decode(material["keyEncryptionKeyID"], validate=True)
            return open_sealed(key_encryption_key, b64decode(wrapped, validate=True), aad)
        except ValueError:
            raise IntegrityError(
                f"{self.name}: A data key does not open with its key encryption key.",
                hint="The file or the key material beside it was changed: fetch it again.",
            ) from None

    def _unwrap(self, wrapped: str, identifier: str) -> bytes:
        try:
            return self._unwrap_key(wrapped, identifier)
        except S3CryptError as error:
            error.add_note(f"It was about the keys of {self.name}.")
            raise

    @cached_property
    def _beside(self) -> dict[str, Any]:
        """Return the contents of the file beside the Parquet file: key material by reference."""
        if self._path is None:
            raise ConfigError(
                f"{self.name}: The wrapped keys are in a file beside this one.",
                hint="Give the path of a local copy, with that file in the same folder.",
            )
        with opening(self._path.with_name(_BESIDE.format(name=self._path.name))) as file:
            return self._parse(file.read())

    def _parse(self, text: Any) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except (RecursionError, TypeError, ValueError):
            found = None
        if not isinstance(found, dict):
            raise self._foreign()
        return found

    def _foreign(self) -> FormatError:
        return FormatError(
            f"{self.name}: The keys of this file were not wrapped by s3crypt.",
            hint="Read it with the keys or the KMS client that it was written with.",
        )


@contextmanager
def _opened(source: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    """Yield the source as an open file. A file that the caller opened is not closed."""
    if isinstance(source, str | os.PathLike):
        if "://" in str(source):
            raise ConfigError(
                f"{source} is a URL; file_keys takes a path or an open file.",
                hint='Give the open file: file_keys(files.open("bucket/name"), keyrings).',
            )
        with opening(source) as file:
            yield file
    elif isinstance(source, io.TextIOBase) or not getattr(source, "seekable", bool)():
        raise ConfigError(
            "file_keys takes a path, or a seekable file that is open for reading bytes.",
            hint='Open the file with "rb".',
        )
    else:
        yield source


def _context(identifier: str) -> dict[str, str]:
    return {MASTER_KEY: identifier}


def _parse(wrapped_key: str) -> tuple[tuple[EncryptedDataKey, ...], int]:
    """Return the EDKs of a wrapped key, and the length of the key."""
    form, _, rest = wrapped_key.partition(":")
    length, _, edks = rest.partition(":")
    if form == _FORMAT and length in map(str, _LENGTHS):
        with suppress(FormatError):  # Its text is about an object's metadata.
            return load_edks({EDKS: edks}), int(length)
    raise FormatError(
        "The file has a key that s3crypt did not wrap, or a newer version of it did.",
        hint="Read the file with the KMS client that it was written with.",
    )


@contextmanager
def _noting(identifier: str) -> Iterator[None]:
    """Add a note with the master key's identifier to errors."""
    try:
        yield
    except S3CryptError as error:
        error.add_note(f"It was about the Parquet master key {identifier!r}.")
        raise
