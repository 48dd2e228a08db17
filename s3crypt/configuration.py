# SPDX-License-Identifier: Apache-2.0
"""Keyrings and modes made of text: for the command's options, and for storage options.

Keys never come in the text itself, only the names of their files do; no error repeats a key that
was put there all the same. Loads neither boto3 nor a cipher before a key asks for it: the command
reads `MODES` to print its help.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .errors import ConfigError

if TYPE_CHECKING:
    import boto3

    from .message import Keyring
    from .modes import Mode

# Every mode -> the options that it takes.
MODES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "sse-s3": frozenset(),
        "sse-kms": frozenset({"key", "context"}),
        "dsse-kms": frozenset({"key", "context"}),
        "sse-c": frozenset({"sse_c_key_file"}),
        "client": frozenset(
            {"key", "context", "signed", "frame_length", "key_location", "bind_name"}
        ),
    }
)
_FORMS = "kms:alias/NAME, kms:ARN, aes:NAMESPACE/NAME=FILE or rsa:NAMESPACE/NAME=FILE.pem"
# No file of a key is larger; /dev/zero and a mistyped disk image are.
_MAX_PEM_LENGTH = 65536
# Keys in hex, in base64, 32 bytes in URL-safe base64 without its padding; PEM; raw bytes.
_KEY_ITSELF = re.compile(
    r"[0-9A-Fa-f]{32,}|[A-Za-z0-9+/_-]{20,}={1,2}|[A-Za-z0-9_-]{43}|.*(-----BEGIN |\0).*",
    re.DOTALL,
)

# A function makes the session only when a KMS key needs one.
SessionSource: TypeAlias = "boto3.Session | Callable[[], boto3.Session] | None"
# Writes an option, or an option with a value, as errors are to show it.
Spell = Callable[..., str]


def as_keyword(name: str, value: str | None = None) -> str:
    """Return an option as Python and storage options have it: mode="client"."""
    return name if value is None else f'{name}="{value}"'


def keyring_of(
    keys: str | Sequence[str],
    *,
    session: SessionSource = None,
    spell: Spell = as_keyword,
) -> "Keyring":
    """Return the keyring of a key, or of several: the first makes the data key, any one opens it.

    Args:
        keys: Each `kms:alias/NAME`, `kms:ARN`, `aes:NAMESPACE/NAME=FILE` or
            `rsa:NAMESPACE/NAME=FILE.pem`; the ARN alone will do.
        session: For KMS keys; a function is called only where there is one. boto3's default if
            left out.
        spell: Writes options as errors are to show them.

    Raises:
        ConfigError: That is not a key, or its file cannot be read.
    """
    from .keyrings import MultiKeyring  # noqa: PLC0415 - it loads cryptography

    keyrings = [_keyring(key, session, spell) for key in _as_tuple(keys)]
    if not keyrings:
        raise ConfigError("No key was named.", hint=f"Give {spell('key')}: {_FORMS}.")
    return keyrings[0] if len(keyrings) == 1 else MultiKeyring(*keyrings)


def mode_of(  # noqa: PLR0913 - what the modes take, by name
    mode: str | None,
    *,
    key: str | Sequence[str] = (),
    context: Mapping[str, str] | None = None,
    sse_c_key_file: str | Path | None = None,
    signed: bool = False,
    frame_length: int | None = None,
    key_location: Literal["header", "metadata"] | None = None,
    bind_name: bool = True,
    session: SessionSource = None,
    spell: Spell = as_keyword,
) -> "Mode | None":
    """Return the mode asked for, or None if nothing was; nothing given is ignored.

    Args:
        mode: One of `MODES`. Without it a key means `client`, a customer key's file `sse-c`.
        key: As `keyring_of`; for `sse-kms` and `dsse-kms` one KMS key.
        context: Encryption context.
        sse_c_key_file: Holds the customer key: 32 raw bytes, hex or base64.
        signed, frame_length, key_location, bind_name: As `ClientSide`; its defaults if left out.
        session, spell: As `keyring_of`.

    Raises:
        ConfigError: What was given does not fit together, or a key's file cannot be read.
    """
    keys = _as_tuple(key)
    _check_types(context, frame_length, spell)
    given = {
        "key": bool(keys),
        "context": bool(context),
        "sse_c_key_file": sse_c_key_file is not None,
        "signed": signed,
        "frame_length": frame_length is not None,
        "key_location": key_location is not None,
        "bind_name": not bind_name,
    }
    asked = [name for name, is_given in given.items() if is_given]
    mode = mode or implied_mode(asked, spell=spell)
    _check_fit(mode, asked, spell)
    if mode is None:
        return None
    from . import modes  # noqa: PLC0415 - it loads cryptography

    if mode == "sse-s3":
        return modes.SSES3()
    if mode == "sse-c":
        return modes.SSEC(_customer_key(sse_c_key_file, spell))
    if mode == "client":
        if not keys:
            raise ConfigError(
                f"{spell('mode', mode)} needs a {spell('key')}.", hint="For example kms:alias/NAME."
            )
        chosen: dict[str, Any] = {"frame_length": frame_length, "key_location": key_location}
        return modes.ClientSide(
            keyring_of(keys, session=session, spell=spell),
            context=context,
            signed=signed,
            bind_name=bind_name,
            **{name: value for name, value in chosen.items() if value is not None},
        )
    kind = modes.SSEKMS if mode == "sse-kms" else modes.DSSEKMS
    return kind(_service_key(mode, keys, spell), context=context)


def implied_mode(options: Collection[str], *, spell: Spell = as_keyword) -> str | None:
    """Return the mode that the names of the options given stand for, if they stand for one.

    Raises:
        ConfigError: They stand for two.
    """
    implied = {"key": "client", "sse_c_key_file": "sse-c"}
    found = [mode for name, mode in implied.items() if name in options]
    if len(found) > 1:
        raise ConfigError(
            f"Give {spell('key')} or {spell('sse_c_key_file')}, not both.",
            hint=f"Where defaults set both, {spell('mode')} decides.",
        )
    return found[0] if found else None


def _as_tuple(keys: str | Sequence[str]) -> tuple[str, ...]:
    return (keys,) if isinstance(keys, str | bytes) else tuple(keys)


def _check_types(context: object, frame_length: object, spell: Spell) -> None:
    # Storage options come from settings, and as text from the environment.
    if context is not None and not isinstance(context, Mapping):
        raise ConfigError(f"{spell('context')} is a mapping of text to text.")
    if frame_length is not None and not isinstance(frame_length, int):
        raise ConfigError(f"{spell('frame_length')} is a number of bytes.")


def _check_fit(mode: str | None, asked: Collection[str], spell: Spell) -> None:
    if mode is not None and mode not in MODES:
        raise ConfigError("There is no such mode.", hint=f"One of {', '.join(MODES)}.")
    for name in asked:
        if mode is None:
            raise ConfigError(f"{spell(name)} needs {spell('mode')} or {spell('key')}.")
        if name not in MODES[mode]:
            takers = [taker for taker, takes in MODES.items() if name in takes]
            another = f"another {spell('mode')} than {mode}"
            needed = spell("mode", takers[0]) if len(takers) == 1 else another
            raise ConfigError(f"{spell(name)} needs {needed}.")


def _customer_key(path: str | Path | None, spell: Spell) -> bytes:
    from .modes import read_key_file  # noqa: PLC0415 - it loads cryptography

    if path is None:
        raise ConfigError(f"{spell('mode', 'sse-c')} needs {spell('sse_c_key_file')}.")
    return read_key_file(_named(path))


def _service_key(mode: str, keys: Sequence[str], spell: Spell) -> str:
    names = [_kms_name(key) for key in keys]
    if len(names) != 1 or names[0] is None:
        raise ConfigError(
            f"{spell('mode', mode)} needs exactly one {spell('key')}, of KMS.",
            hint="kms:alias/NAME, kms:ARN, or AWS's own key: kms:alias/aws/s3.",
        )
    return names[0]


def _keyring(key: str, session: SessionSource, spell: Spell) -> "Keyring":
    kms = _kms_name(key)
    if kms is not None:
        from .kms_keyrings import KMSKeyring  # noqa: PLC0415 - it loads boto3

        return KMSKeyring(kms, session=session() if callable(session) else session)
    match = re.fullmatch(r"(aes|rsa):([^/=]+)/([^=]+)=(.+)", _text(key), re.DOTALL)
    if match is None:
        # Not repeated: somebody may have put the key itself there.
        raise ConfigError(f"That is not a {spell('key')}.", hint=f"Write {_FORMS}.")
    kind, namespace, name, file = match.groups()
    from .keyrings import AESKeyring  # noqa: PLC0415 - it loads cryptography
    from .modes import read_key_file  # noqa: PLC0415

    if kind == "aes":
        return AESKeyring(namespace, name, read_key_file(_named(file)))
    return _rsa_keyring(namespace, name, _named(file))


def _text(key: object) -> str:
    return key if isinstance(key, str) else ""


def _kms_name(key: str) -> str | None:
    if _text(key).startswith("arn:"):
        return key
    return _text(key).removeprefix("kms:") if re.match("kms:.", _text(key)) else None


def _rsa_keyring(namespace: str, name: str, path: Path) -> "Keyring":
    from .keyrings import RSAKeyring  # noqa: PLC0415 - it loads cryptography

    pem = _read_pem(path)
    if b"ENCRYPTED" in pem:
        raise ConfigError(
            f"{path} is protected by a passphrase.",
            hint="Give an unprotected PEM file; keep it readable by you alone.",
        )
    if b"PRIVATE KEY-----" not in pem:
        return RSAKeyring(namespace, name, public=pem)
    return RSAKeyring(namespace, name, private=pem)


def _read_pem(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            pem = file.read(_MAX_PEM_LENGTH)
    except OSError as error:
        raise ConfigError(
            f"Cannot read the key file {path}: {error.strerror}.",
            hint="Check the path of the key file and its permissions.",
        ) from error
    if b"-----BEGIN " not in pem:
        raise ConfigError(f"{path} is not a PEM file.", hint="openssl genrsa -out FILE.pem 4096")
    return pem


def _named(file: str | Path) -> Path:
    """Return the path of a key file; a key in its place is refused and not repeated."""
    is_name = isinstance(file, str | os.PathLike)
    # Path.exists raises where the name is too long, and its error repeats it.
    if not is_name or (_KEY_ITSELF.fullmatch(str(file)) and not os.path.exists(file)):  # noqa: PTH110
        raise ConfigError(
            "A key is given as the name of a file, never itself.",
            hint="If that was a real key, replace it: command lines and settings are recorded.",
        )
    return Path(file)
