# SPDX-License-Identifier: Apache-2.0
"""The bytes of key material: read them from a file, wrap them for KMS, and erase them.

The bytes stay in one buffer, which the caller must erase. This module makes no requests.
"""

from pathlib import Path

from s3crypt.errors import ConfigError
from s3crypt.local.key_files import check_is_private, key_file, unreadable

WRAPPING_ALGORITHM = "RSAES_OAEP_SHA_256"
WRAPPING_KEY_SPEC = "RSA_4096"
MATERIAL_LENGTH = 32
"""The length of a symmetric key's material in bytes."""


def read_material(file: str | Path) -> bytearray:
    """Return the 32 bytes in a file, in a buffer that the caller must erase.

    Raises:
        ConfigError: The file cannot be read, has another length, or other users can write to it.
    """
    path = key_file(file)
    buffer = bytearray(MATERIAL_LENGTH + 1)
    length = 0
    try:
        with path.open("rb", buffering=0) as source:
            check_is_private(path, source)
            # A read from a pipe may return fewer bytes than requested.
            while length < len(buffer) and (count := source.readinto(memoryview(buffer)[length:])):
                length += count
    except OSError as error:
        raise unreadable(path, error, "Check the path of the file with the material.") from error
    if length == MATERIAL_LENGTH:
        del buffer[MATERIAL_LENGTH:]
        return buffer
    is_text = length > MATERIAL_LENGTH and buffer.isascii()
    erase(buffer)
    words = f"more than {MATERIAL_LENGTH}" if length > MATERIAL_LENGTH else str(length)
    raise ConfigError(
        f"{path} has {words} bytes; key material has exactly {MATERIAL_LENGTH}.",
        hint="The file looks like text, such as hex or base64: write the raw bytes into it."
        if is_text
        else f"`(umask 077; openssl rand -out FILE {MATERIAL_LENGTH})` makes material.",
    )


def wrap(material: bytearray, public_key: bytes) -> bytes:
    """Return material that is wrapped by RSAES_OAEP_SHA_256 under a public key in DER."""
    # The import of cryptography takes 100 ms, and only this function needs it here.
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_der_public_key,
    )

    key = load_der_public_key(public_key)
    assert isinstance(key, rsa.RSAPublicKey), "KMS was asked for an RSA key"
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    # cryptography accepts only `bytes`, which cannot be erased. This copy exists only during the
    # call.
    return key.encrypt(bytes(material), scheme)


def erase(buffer: bytearray) -> None:
    """Overwrite the buffer with zeros."""
    buffer[:] = bytes(len(buffer))
