# SPDX-License-Identifier: Apache-2.0
"""Master keys for Parquet's own encryption, held by keyrings. Needs pyarrow.

    factory = crypto_factory({"footer": KMSKeyring("alias/lake"), "pay": KMSKeyring("alias/hr")})

Knows keys only: pyarrow asks for them, and writes and reads the files. What it stores of a key is

    s3crypt-1:LENGTH:EDKS    bytes of the key, 16, 24 or 32; the EDKS as in an object's metadata

wrapped under the encryption context {"s3crypt:parquet-master-key": the master key's identifier}.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from .errors import ConfigError, FormatError, S3CryptError
from .formats.entries import EDKS, dump_edks, load_edks
from .key_references import given_keyring
from .keyrings.capabilities import needs_proof
from .message import EncryptedDataKey, Keyring

try:
    from pyarrow.parquet.encryption import CryptoFactory, KmsClient
except ImportError as error:
    raise ImportError(
        "s3crypt.parquet needs pyarrow, built with Parquet encryption: "
        "pip install 's3crypt[parquet]'"
    ) from error

__all__ = ["ParquetKmsClient", "crypto_factory"]

MASTER_KEY = "s3crypt:parquet-master-key"
_FORMAT = "s3crypt-1"
_LENGTHS = (16, 24, 32)


def crypto_factory(keyrings: Mapping[str, Keyring | str]) -> CryptoFactory:
    """Return pyarrow's factory of encryption properties, its master keys held by keyrings.

    Keep it and use it for many files: it caches keys, for ten minutes unless told otherwise.

    Args:
        keyrings: A keyring for each master key, by the identifier that files name it by; or the
            text of a key, as `s3crypt.configuration.keyring_of` takes it.
    """
    # One client for all time: pyarrow never frees a client, and would ask for another whenever
    # its cache expires. The connection's settings are not needed: a keyring knows its KMS.
    client = ParquetKmsClient(keyrings)
    return CryptoFactory(lambda _: client)


class ParquetKmsClient(KmsClient):  # type: ignore[misc] # pyarrow publishes no types
    """Wraps the keys of Parquet files with keyrings, each key bound to its master key.

    A key that was wrapped for one identifier does not open as another's, even where both have
    the same keyring; of an `RSAKeyring`, which binds nothing, each identifier needs its own.

    Args:
        keyrings: A keyring for each master key. A mapping and not a function, because a file
            says which master keys are asked for, and anyone can make a file.

    Raises:
        ConfigError: A keyring unwraps PKCS #1 v1.5: nothing in a file proves what comes of that.
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
        """Return the key wrapped, as text.

        Raises:
            ConfigError: No keyring is known for the master key, or it cannot wrap.
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
            ConfigError: No keyring is known for the master key.
            FormatError: The key is not as `wrap_key` returns it.
            IntegrityError: It was changed, or is another master key's, or the keyring's key of
                this name is not the one that wrapped it.
            KeyUnavailableError: The keyring's keys have other names than the one that wrapped it,
                or the wrapping key cannot be used now.
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


def _context(identifier: str) -> dict[str, str]:
    return {MASTER_KEY: identifier}


def _parse(wrapped_key: str) -> tuple[tuple[EncryptedDataKey, ...], int]:
    """Return the EDKs of a wrapped key and the key's length."""
    form, _, rest = wrapped_key.partition(":")
    length, _, edks = rest.partition(":")
    if form == _FORMAT and length in map(str, _LENGTHS):
        with suppress(FormatError):  # It would speak of an object's metadata.
            return load_edks({EDKS: edks}), int(length)
    raise FormatError(
        "The file has a key that s3crypt did not wrap, or a newer version of it did.",
        hint="Read the file with the KMS client that it was written with.",
    )


@contextmanager
def _noting(identifier: str) -> Iterator[None]:
    """Add to an error which of a file's keys it is about."""
    try:
        yield
    except S3CryptError as error:
        error.add_note(f"It was about the Parquet master key {identifier!r}.")
        raise
