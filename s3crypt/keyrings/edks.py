# SPDX-License-Identifier: Apache-2.0
"""Encrypted data keys (EDKs): the names of the keys that wrapped them, and errors about them.

The layouts are those of the AWS Encryption SDK. This module holds no key and makes no request.
Source: aws-encryption-sdk-specification, framework/raw-aes-keyring.md and its neighbours.
"""

import struct
from collections.abc import Sequence

from s3crypt.errors import ConfigError, IntegrityError, KeyUnavailableError, Remedy, S3CryptError
from s3crypt.message.keys import EncryptedDataKey
from s3crypt.message.suites import IV_LENGTH, TAG_LENGTH

KMS_PROVIDER = "aws-kms"
# The fixed providers of AWS's keyrings. Every other provider is the namespace of a raw key.
_ECDH_PROVIDERS = ("aws-kms-ecdh", "raw-ecdh")
_AWS_PROVIDERS = (KMS_PROVIDER, "aws-kms-rsa", "aws-kms-hierarchy", *_ECDH_PROVIDERS)
INCORRECT_KEY = "IncorrectKeyException"  # KMS: a key other than the named key wrapped the blob
# A part of the info in a raw AES key's EDK, between the key's name and the IV: the length of the
# tag in bits, and the length of the IV in bytes.
AES_PARAMETERS = struct.pack(">II", TAG_LENGTH * 8, IV_LENGTH)
_UNOPENED = "None of the given keys opens this data key: another key wrapped it, or it was changed."


def key_names(edks: Sequence[EncryptedDataKey]) -> tuple[str, ...]:
    """Return the names of the keys that wrapped these data keys.

    A key of a supported keyring is named as on the command line: `kms:ARN`, `aes:NAMESPACE/NAME` or
    `rsa:NAMESPACE/NAME`. A key of another AWS keyring is named by its provider, such as
    `aws-kms-hierarchy:BRANCH` or `raw-ecdh:HEX`. Any other key is `unknown:PROVIDER/INFO`.

    Headers are untrusted, and names are shown on terminals. Characters that cannot be printed are
    therefore replaced.
    """
    return tuple(_printable(_key_name(edk)) for edk in edks)


def key_materials(edks: Sequence[EncryptedDataKey]) -> dict[str, str]:
    """Return a dictionary from names of KMS keys to ids of the material that wrapped the data key.

    A key is left out if the id of its material is unknown.
    """
    wrapped = [edk for edk in edks if edk.material_id and edk.provider == KMS_PROVIDER]
    return dict(zip(key_names(wrapped), (str(edk.material_id) for edk in wrapped), strict=True))


def reading_remedy(names: Sequence[str]) -> Remedy:
    """Return the remedy for a client-side object that was read without a keyring."""
    usable = tuple(name for name in names if name.startswith(("kms:", "aes:", "rsa:")))
    if usable:
        return Remedy("read_with_key", key=usable)
    return Remedy("read_with_its_tool", key=tuple(names))


def check_name(namespace: str, name: str) -> None:
    """Refuse a raw key without a name, or with the namespace of an AWS keyring.

    Raises:
        ConfigError: The namespace or the name is not allowed.
    """
    if not namespace or not name:
        raise ConfigError("A key needs a namespace and a name.")
    if namespace in _AWS_PROVIDERS:
        raise ConfigError(f"{namespace!r} is reserved for AWS.", hint="Use another namespace.")


def not_named(
    edks: Sequence[EncryptedDataKey], *, said: S3CryptError | None = None
) -> S3CryptError:
    """Return the error for EDKs of which no EDK belongs to a key of the keyring.

    `said` is KMS's own error, if KMS decided this.
    """
    error = KeyUnavailableError(
        "None of the given keys is a key of the message.",
        hint=_names_hint(edks),
        code=said.code if said else None,
        request_id=said.request_id if said else None,
    )
    error.__cause__ = said.__cause__ if said else None
    return error


def unopened(edks: Sequence[EncryptedDataKey]) -> S3CryptError:
    """Return the error for EDKs that name the keyring's key, but cannot be unwrapped with it."""
    return IntegrityError(_UNOPENED, hint=_names_hint(edks))


def heavier(first: S3CryptError | None, second: S3CryptError) -> S3CryptError:
    """Return the more important of two errors, which is then reported.

    If both are equally important, return the first.

    Most important is a key that is denied, disabled or unreachable, because its owner can repair
    this. Then follows an EDK that cannot be unwrapped, and last an EDK of another key.
    """
    return second if first is None or _weight(second) > _weight(first) else first


def _weight(error: S3CryptError) -> int:
    if isinstance(error, IntegrityError):
        return 1
    return 0 if error.code == INCORRECT_KEY else 2


def _names_hint(edks: Sequence[EncryptedDataKey]) -> str:
    """Return a hint with the names of the first few keys in the header."""
    names = ", ".join(name[:200] for name in key_names(edks[:4]))
    return f"The unverified header names {names}."


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _key_name(edk: EncryptedDataKey) -> str:
    text = edk.info.decode(errors="replace")
    if edk.provider == KMS_PROVIDER:
        return f"kms:{text}"
    if edk.provider in _ECDH_PROVIDERS:
        return f"{edk.provider}:{_recipient(edk.info).hex()}"
    if edk.provider in _AWS_PROVIDERS:
        return f"{edk.provider}:{text}"
    if len(edk.info) > 20 and edk.info[-20:-IV_LENGTH] == AES_PARAMETERS:
        return f"aes:{edk.provider}/{edk.info[:-20].decode(errors='replace')}"
    if _may_be_rsa(edk):
        return f"rsa:{edk.provider}/{text}"
    return f"unknown:{edk.provider}/{text if _is_text(edk.info) else edk.info.hex()}"


def _recipient(info: bytes) -> bytes:
    """Return the recipient's public key in the info of an ECDH keyring's EDK.

    Return the whole info if it has another form.

    The info contains a version (01), then the recipient's public key and the sender's public key,
    each after its length in four bytes.
    """
    end = 5 + int.from_bytes(info[1:5])
    return info[5:end] if info[:1] == b"\x01" and 5 < end < len(info) else info


def _may_be_rsa(edk: EncryptedDataKey) -> bool:
    # The EDK of an RSA key has no distinctive mark. Its info is a name, and its ciphertext is as
    # long as the modulus, which has 1024 to 16384 bits.
    return 128 <= len(edk.ciphertext) <= 2048 and _is_text(edk.info)


def _is_text(info: bytes) -> bool:
    try:
        return bool(info) and info.decode().isprintable()
    except UnicodeDecodeError:
        return False
