# SPDX-License-Identifier: Apache-2.0
"""Make keyrings from the texts of keys: `kms:alias/NAME`, `aes:NAMESPACE/NAME=FILE` and similar.

The text names a key and never contains a key. If a caller gives a key by mistake, no error repeats
it. boto3 and ciphers are loaded only if a key needs them. Modes do not belong in this module.
"""

import os
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import ConfigError
from .local.key_files import check_is_private, key_file, looks_like_a_key, unreadable

if TYPE_CHECKING:
    import boto3

    from .message import Keyring

FORMS = "kms:alias/NAME, kms:ARN, aes:NAMESPACE/NAME=FILE or rsa:NAMESPACE/NAME=FILE.pem"
# The maximum length of key files. It protects against /dev/zero or a mistyped disk image.
_MAX_KEY_FILE_LENGTH = 4 * 2**10
_MAX_PEM_LENGTH = 65536
# With this umask, only the owner can read the new file.
_MAKE_KEY = "`(umask 077; openssl rand -out FILE 32)` makes a key."
# The limits for the use of one cached data key, if the option gives only a number of seconds.
_MAX_CACHED_OBJECTS, _MAX_CACHED_BYTES = 10_000, 64 * 2**30
# An alias, or the id of a key.
_KMS_NAME = re.compile(
    r"alias/[A-Za-z0-9/_-]{1,250}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)
_RAW = re.compile(r"(aes|rsa):([^/=]+)/([^=]+)=(.+)", re.DOTALL)

# A boto3 session. If it is a function, the function is called only when a KMS key needs a session.
SessionSource: TypeAlias = "boto3.Session | Callable[[], boto3.Session] | None"
# Returns an option, or an option with a value, in the form in which errors show it.
Spell = Callable[..., str]


def as_keyword(name: str, value: str | bool | None = None) -> str:
    """Return an option in the form of Python and of storage options, such as mode="client"."""
    if value is None:
        return name
    return f"{name}={value}" if isinstance(value, bool) else f'{name}="{value}"'


def keyring_of(
    keys: str | Sequence[str],
    *,
    session: SessionSource = None,
    spell: Spell = as_keyword,
    allow_plain_http: bool = False,
    cache_data_keys: float | None = None,
) -> "Keyring":
    """Return the keyring for one or several keys.

    The first key generates data keys. Any of the keys can unwrap them.

    Args:
        keys: The texts of the keys: `kms:alias/NAME`, `kms:ARN`, `aes:NAMESPACE/NAME=FILE` or
            `rsa:NAMESPACE/NAME=FILE.pem`. The prefix `kms:` may be omitted before an ARN.
        session: The session for KMS keys. None for boto3's default. A function is called only if
            there is a KMS key.
        spell: Returns an option in the form in which errors show it.
        allow_plain_http: Allow requests to KMS over plain HTTP, as for `KMSKeyring`.
        cache_data_keys: The number of seconds for which a `CachingKeyring` reuses a data key, for
            at most 10,000 objects and 64 GiB. None for no cache.

    Raises:
        ConfigError: A text is not a key, or the file of a key cannot be read.
    """
    from .keyrings import CachingKeyring, MultiKeyring  # noqa: PLC0415 - it loads cryptography

    keyrings = [
        _keyring(key, session, spell, allow_plain_http=allow_plain_http) for key in as_tuple(keys)
    ]
    if not keyrings:
        raise ConfigError("No key was given.", hint=f"Give {spell('key')}: {FORMS}.")
    keyring = keyrings[0] if len(keyrings) == 1 else MultiKeyring(*keyrings)
    if cache_data_keys is None:
        return keyring
    return CachingKeyring(
        keyring,
        max_age=cache_data_keys,
        max_messages=_MAX_CACHED_OBJECTS,
        max_bytes=_MAX_CACHED_BYTES,
    )


def given_keyring(keyring: "Keyring | str") -> "Keyring":
    """Return the keyring that a caller gave as a keyring or as the text of a key.

    Raises:
        ConfigError: The value is neither, or the file of the key cannot be read.
    """
    if isinstance(keyring, str):
        return keyring_of(keyring)
    from .message.keys import check_keyring  # noqa: PLC0415 - it loads cryptography

    check_keyring(keyring)
    return keyring


def as_tuple(keys: Any) -> tuple[str, ...]:
    """Return one key, several keys or None as a tuple.

    Values that are not text are accepted here, and refused later.
    """
    if keys is None:
        return ()
    is_one = isinstance(keys, str | bytes) or not isinstance(keys, Iterable)
    return (keys,) if is_one else tuple(keys)


def names_key(text: str) -> bool:
    """Return whether a text has one of the forms of a key."""
    return kms_name(text) is not None or _RAW.fullmatch(text) is not None


def did_you_mean(text: object) -> str | None:
    """Return a hint for the name of a KMS key without `kms:`. Return None for any other text."""
    name = _text(text)
    is_name = _KMS_NAME.fullmatch(name) and not looks_like_a_key(name)
    return f"Did you mean kms:{name}?" if is_name else None


def kms_name(key: object) -> str | None:
    """Return the name of a KMS key without `kms:`. Return None if the text is not a KMS key."""
    if _text(key).startswith("arn:"):
        return _text(key)
    return _text(key).removeprefix("kms:") if re.match("kms:.", _text(key)) else None


def check_reference(key: str, spell: Spell = as_keyword) -> None:
    """Raise a ConfigError if a text does not have one of the forms of a key. No file is read."""
    _parse(key, spell)


def anchored(key: str, spell: Spell = as_keyword) -> str:
    """Return the text of a key with an absolute path of its file.

    A text without file is unchanged.
    """
    parsed = _parse(key, spell)
    if isinstance(parsed, str):
        return key
    kind, namespace, name, file = parsed
    return f"{kind}:{namespace}/{name}={anchored_file(file)}"


def anchored_file(file: str | Path) -> str:
    """Return the absolute path of a key file.

    If the argument is a key instead of a file's name, refuse it without repeating it.
    """
    # An absolute path may belong to another machine, so it is not checked here whether the file
    # exists.
    is_absolute = isinstance(file, str | os.PathLike) and Path(file).is_absolute()
    return str(file if is_absolute else key_file(file).absolute())


def read_key_file(path: str | Path) -> bytes:
    """Return the 32-byte key in a file. The file contains raw bytes, hex or base64.

    Raises:
        KeyFileNotFoundError: The file does not exist.
        ConfigError: The file cannot be read, does not contain such a key, or can be written by
            other users.
    """
    path = key_file(path)
    try:
        with path.open("rb") as file:
            check_is_private(path, file)
            content = file.read(_MAX_KEY_FILE_LENGTH)
    except OSError as error:
        raise unreadable(path, error, f"Check the path; {_MAKE_KEY}") from error
    if len(content) == 32:
        return content
    text = content.strip()
    for decode in (_from_hex, _from_base64):
        key = decode(text)
        if key is not None:
            return key
    raise ConfigError(
        f"The key file {path} does not contain a 32-byte key.",
        hint=f"32 raw bytes, 64 hex digits or base64: {_MAKE_KEY}",
    )


def _keyring(
    key: str, session: SessionSource, spell: Spell, *, allow_plain_http: bool
) -> "Keyring":
    parsed = _parse(key, spell)
    if isinstance(parsed, str):
        from .keyrings.kms import KMSKeyring  # noqa: PLC0415 - it loads boto3

        return KMSKeyring(
            parsed,
            session=session() if callable(session) else session,
            allow_plain_http=allow_plain_http,
        )
    kind, namespace, name, file = parsed
    from .keyrings import AESKeyring  # noqa: PLC0415 - it loads cryptography

    if kind == "aes":
        return AESKeyring(namespace, name, read_key_file(file))
    return _rsa_keyring(namespace, name, key_file(file))


def _parse(key: str, spell: Spell) -> str | tuple[str, str, str, str]:
    """Return the name of a KMS key, or the kind, namespace, name and file of another key."""
    kms = kms_name(key)
    if kms is not None:
        return kms
    match = _RAW.fullmatch(_text(key))
    if match is None:
        # The error does not repeat the value, because the value may be the key itself.
        raise ConfigError(
            f"The value of {spell('key')} is not a key.",
            hint=did_you_mean(key) or f"Write {FORMS}.",
        )
    kind, namespace, name, file = match.groups()
    return kind, namespace, name, file


def _text(key: object) -> str:
    return key if isinstance(key, str) else ""


def _rsa_keyring(namespace: str, name: str, path: Path) -> "Keyring":
    from .keyrings import RSAKeyring  # noqa: PLC0415 - it loads cryptography
    from .keyrings.edks import check_name  # noqa: PLC0415

    check_name(namespace, name)
    pem = _read_pem(path)
    if b"ENCRYPTED" in pem:
        raise ConfigError(
            f"{path} is protected by a passphrase.",
            hint="Give an unprotected PEM file that only you can read.",
        )
    try:
        if b"PRIVATE KEY-----" not in pem:
            return RSAKeyring(namespace, name, public=pem)
        return RSAKeyring(namespace, name, private=pem)
    except ConfigError as error:
        raise ConfigError(f"The key file {path}: {error}", hint=error.hint) from error


def _read_pem(path: Path) -> bytes:
    from .keyrings.pem import found_instead  # noqa: PLC0415 - its package loads cryptography

    try:
        with path.open("rb") as file:
            pem = file.read(_MAX_PEM_LENGTH)
            if b"PRIVATE KEY-----" in pem:
                check_is_private(path, file)
    except OSError as error:
        raise unreadable(
            path, error, "Check the path of the key file and its permissions."
        ) from error
    if found := found_instead(pem):
        what, hint = found
        raise ConfigError(f"{path} is {what}.", hint=hint)
    return pem


def _from_hex(text: bytes) -> bytes | None:
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return None
    return key if len(key) == 32 else None


def _from_base64(text: bytes) -> bytes | None:
    try:
        key = b64decode(text, validate=True)
    except Base64Error:
        return None
    return key if len(key) == 32 else None
