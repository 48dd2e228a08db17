# SPDX-License-Identifier: Apache-2.0
"""Wrapping keys by reference: `kms:alias/NAME`, `aes:NAMESPACE/NAME=FILE` and their like.

The text names a key and never holds one, and no error repeats a key that was put there all the
same. Loads neither boto3 nor a cipher before a key asks for it. Modes are not known here.
"""

import os
import re
import shlex
import stat
import warnings
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from .errors import ConfigError, KeyFileNotFoundError, KeyFileWarning

if TYPE_CHECKING:
    import boto3

    from .message import Keyring

FORMS = "kms:alias/NAME, kms:ARN, aes:NAMESPACE/NAME=FILE or rsa:NAMESPACE/NAME=FILE.pem"
# No file of a key is longer than these; /dev/zero and a mistyped disk image are.
_MAX_KEY_FILE_LENGTH = 4 * 2**10
_MAX_PEM_LENGTH = 65536
# Only its owner may read a file that is made under this umask.
_MAKE_KEY = "`(umask 077; openssl rand -out FILE 32)` makes a key."
_STRICT = "S3CRYPT_STRICT_KEY_FILES"
_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
# What one data key may open, where a cache is asked for by a number of seconds alone.
_MAX_CACHED_OBJECTS, _MAX_CACHED_BYTES = 10_000, 64 * 2**30
# An alias, and the id of a key.
_KMS_NAME = re.compile(
    r"alias/[A-Za-z0-9/_-]{1,250}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)
_RAW = re.compile(r"(aes|rsa):([^/=]+)/([^=]+)=(.+)", re.DOTALL)
# Keys in hex or in base64, as part of a text too, so that a quote or a letter more does not hide
# them; PEM; raw bytes.
_KEY_INSIDE = re.compile(
    r"[0-9A-Fa-f]{31}|[A-Za-z0-9+/_-]{20}={1,2}.{0,2}\Z|-----BEGIN |\0", re.DOTALL
)
# 32 bytes in URL-safe base64 without its padding, give or take a character.
_KEY_UNPADDED = re.compile(r"[A-Za-z0-9_-]{42,44}")
_NO_PART_OF_KEYS = re.compile(r"[^A-Za-z0-9+/_=-]")

# A function makes the session only when a KMS key needs one.
SessionSource: TypeAlias = "boto3.Session | Callable[[], boto3.Session] | None"
# Writes an option, or an option with a value, as errors are to show it.
Spell = Callable[..., str]


def as_keyword(name: str, value: str | bool | None = None) -> str:
    """Return an option as Python and storage options have it: mode="client"."""
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
    """Return the keyring of a key, or of several: the first makes the data key, any one opens it.

    Args:
        keys: Each `kms:alias/NAME`, `kms:ARN`, `aes:NAMESPACE/NAME=FILE` or
            `rsa:NAMESPACE/NAME=FILE.pem`; the ARN alone will do.
        session: For KMS keys; a function is called only where there is one. boto3's default if
            left out.
        spell: Writes options as errors are to show them.
        allow_plain_http: As `KMSKeyring`.
        cache_data_keys: Seconds for which a `CachingKeyring` lets a data key serve, for 10,000
            objects and 64 GiB at most; no cache if left out.

    Raises:
        ConfigError: That is not a key, or its file cannot be read.
    """
    from .keyrings import CachingKeyring, MultiKeyring  # noqa: PLC0415 - it loads cryptography

    keyrings = [
        _keyring(key, session, spell, allow_plain_http=allow_plain_http) for key in as_tuple(keys)
    ]
    if not keyrings:
        raise ConfigError("No key was named.", hint=f"Give {spell('key')}: {FORMS}.")
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
    """Return the keyring that a caller gave, or that of the key that the caller's text names.

    Raises:
        ConfigError: It is neither, or the key's file cannot be read.
    """
    if isinstance(keyring, str):
        return keyring_of(keyring)
    from .message.keys import check_keyring  # noqa: PLC0415 - it loads cryptography

    check_keyring(keyring)
    return keyring


def as_tuple(keys: Any) -> tuple[str, ...]:
    """Return one key, several or None as a tuple; what is no text is refused as a key later."""
    if keys is None:
        return ()
    is_one = isinstance(keys, str | bytes) or not isinstance(keys, Iterable)
    return (keys,) if is_one else tuple(keys)


def names_key(text: str) -> bool:
    """Return whether a text is in one of the forms of a key."""
    return kms_name(text) is not None or _RAW.fullmatch(text) is not None


def did_you_mean(text: object) -> str | None:
    """Return the hint for a KMS key's name without `kms:` before it; None for any other text."""
    name = _text(text)
    is_name = _KMS_NAME.fullmatch(name) and not _looks_like_a_key(name)
    return f"Did you mean kms:{name}?" if is_name else None


def kms_name(key: object) -> str | None:
    """Return the name that KMS has for a key, or None where the text names no key of KMS."""
    if _text(key).startswith("arn:"):
        return _text(key)
    return _text(key).removeprefix("kms:") if re.match("kms:.", _text(key)) else None


def check_reference(key: str, spell: Spell = as_keyword) -> None:
    """Raise ConfigError where a text is in none of the forms of a key; no file is read."""
    _parse(key, spell)


def anchored(key: str, spell: Spell = as_keyword) -> str:
    """Return a key whose file, if it has one, is named by its absolute path."""
    parsed = _parse(key, spell)
    if isinstance(parsed, str):
        return key
    kind, namespace, name, file = parsed
    return f"{kind}:{namespace}/{name}={anchored_file(file)}"


def anchored_file(file: str | Path) -> str:
    """Return the absolute path of a key file; a key in its place is refused and not repeated."""
    # One that is absolute may be another machine's: whether it is there, its reader finds out.
    is_absolute = isinstance(file, str | os.PathLike) and Path(file).is_absolute()
    return str(file if is_absolute else key_file(file).absolute())


def key_file(file: Any) -> Path:
    """Return the path of a key file; a key in its place is refused and not repeated.

    A shell expands `~` at the beginning of a word only, so it is expanded here.
    """
    is_name = isinstance(file, str | os.PathLike)
    path = os.path.expanduser(file) if is_name else ""  # noqa: PTH111 - Path's raises without a home
    # Path.exists raises where the name is too long, and its error repeats it.
    if not is_name or (_looks_like_a_key(str(file)) and not os.path.exists(path)):  # noqa: PTH110
        raise ConfigError(
            "A key is given as the name of a file, never itself; and no file has this name.",
            hint="If that was a real key, replace it: command lines and settings are recorded.",
        )
    return Path(path)


def read_key_file(path: str | Path) -> bytes:
    """Return the 32-byte key in a file: raw, or in hex or base64.

    Raises:
        KeyFileNotFoundError: There is no such file.
        ConfigError: The file cannot be read, holds no such key, or other users can write to it.
    """
    path = key_file(path)
    try:
        with path.open("rb") as file:
            _check_is_private(path, file)
            content = file.read(_MAX_KEY_FILE_LENGTH)
    except OSError as error:
        raise _unreadable(path, error, f"Check the path; {_MAKE_KEY}") from error
    if len(content) == 32:
        return content
    text = content.strip()
    for decode in (_from_hex, _from_base64):
        key = decode(text)
        if key is not None:
            return key
    raise ConfigError(
        f"The key file {path} holds no 32-byte key.",
        hint=f"32 raw bytes, 64 hex digits or base64: {_MAKE_KEY}",
    )


def _check_is_private(path: Path, file: BinaryIO) -> None:
    """Refuse the file of a secret key that other users can write; warn of one that they can read.

    S3CRYPT_STRICT_KEY_FILES=1 refuses both. Pipes and devices are not looked at.

    Raises:
        ConfigError: The file is refused.
    """
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        return
    command = f"chmod 600 {shlex.quote(str(path))}"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"Other users can write to the key file {path}: the key may be theirs.",
            hint=f"Make sure that it is yours, then: {command}",
        )
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return
    message = f"Other users can read the key file {path}."
    if _is_strict():
        raise ConfigError(message, hint=command)
    warnings.warn(f"{message} To end that: {command}", KeyFileWarning, stacklevel=2)


def _is_strict() -> bool:
    text = os.environ.get(_STRICT, "").lower()
    if text not in (*_YES, *_NO):
        raise ConfigError(f"{_STRICT} is 1 or 0, not {text!r}.")
    return text in _YES


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
    """Return the name of a KMS key, or the parts of another: kind, namespace, name and file."""
    kms = kms_name(key)
    if kms is not None:
        return kms
    match = _RAW.fullmatch(_text(key))
    if match is None:
        # Not repeated: somebody may have put the key itself there.
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
            hint="Give an unprotected PEM file; keep it readable by you alone.",
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
                _check_is_private(path, file)
    except OSError as error:
        raise _unreadable(
            path, error, "Check the path of the key file and its permissions."
        ) from error
    if found := found_instead(pem):
        what, hint = found
        raise ConfigError(f"{path} is {what}.", hint=hint)
    return pem


def _unreadable(path: str | Path, error: OSError, hint: str) -> ConfigError:
    is_missing = isinstance(error, FileNotFoundError)
    kind = KeyFileNotFoundError if is_missing else ConfigError
    return kind(f"Cannot read the key file {path}: {error.strerror}.", hint=hint)


def _looks_like_a_key(text: str) -> bool:
    squeezed = _NO_PART_OF_KEYS.sub("", text)
    return bool(
        _KEY_INSIDE.search(text)
        or _KEY_INSIDE.search(squeezed)
        or _KEY_UNPADDED.fullmatch(squeezed.rpartition("/")[2])
    )


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
