# SPDX-License-Identifier: Apache-2.0
"""Keyrings and modes made of text: for the command's options, and for storage options.

Keys never come in the text itself, only the names of their files do; no error repeats a key that
was put there all the same. Loads neither boto3 nor a cipher before a key asks for it: the command
reads `MODES` to print its help.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

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
            {
                "key",
                "context",
                "signed",
                "frame_length",
                "key_location",
                "bind_name",
                "bind_bucket",
            }
        ),
    }
)
_FORMS = "kms:alias/NAME, kms:ARN, aes:NAMESPACE/NAME=FILE or rsa:NAMESPACE/NAME=FILE.pem"
# No file of a key is larger; /dev/zero and a mistyped disk image are.
_MAX_PEM_LENGTH = 65536
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


def as_keyword(name: str, value: str | None = None) -> str:
    """Return an option as Python and storage options have it: mode="client"."""
    return name if value is None else f'{name}="{value}"'


def keyring_of(
    keys: str | Sequence[str],
    *,
    session: SessionSource = None,
    spell: Spell = as_keyword,
    allow_plain_http: bool = False,
) -> "Keyring":
    """Return the keyring of a key, or of several: the first makes the data key, any one opens it.

    Args:
        keys: Each `kms:alias/NAME`, `kms:ARN`, `aes:NAMESPACE/NAME=FILE` or
            `rsa:NAMESPACE/NAME=FILE.pem`; the ARN alone will do.
        session: For KMS keys; a function is called only where there is one. boto3's default if
            left out.
        spell: Writes options as errors are to show them.
        allow_plain_http: As `KMSKeyring`.

    Raises:
        ConfigError: That is not a key, or its file cannot be read.
    """
    from .keyrings import MultiKeyring  # noqa: PLC0415 - it loads cryptography

    keyrings = [
        _keyring(key, session, spell, allow_plain_http=allow_plain_http) for key in _as_tuple(keys)
    ]
    if not keyrings:
        raise ConfigError("No key was named.", hint=f"Give {spell('key')}: {_FORMS}.")
    return keyrings[0] if len(keyrings) == 1 else MultiKeyring(*keyrings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeChoice:
    """A mode as text says it, checked, while no key's file is read before `make`.

    Attributes:
        mode: One of `MODES`. Without it a key means `client`, a customer key's file `sse-c`.
        key: As `keyring_of`; for `sse-kms` and `dsse-kms` one KMS key.
        context: Encryption context.
        sse_c_key_file: Holds the customer key: 32 raw bytes, hex or base64.
        signed, frame_length, key_location, bind_name, bind_bucket: As `ClientSide`; its defaults
            if left out.
        spell: Writes options as errors are to show them.

    Raises:
        ConfigError: What was given does not fit together.
    """

    mode: str | None = None
    key: str | Sequence[str] | None = ()
    context: Mapping[str, str] | None = None
    sse_c_key_file: str | Path | None = None
    signed: bool = False
    frame_length: int | None = None
    key_location: Literal["header", "metadata"] | None = None
    bind_name: bool = True
    bind_bucket: bool = False
    spell: Spell = as_keyword

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _as_tuple(self.key))
        _check_types(self.context, self.frame_length, self.spell)
        asked = asked_of(self)
        object.__setattr__(self, "mode", self.mode or implied_mode(asked, spell=self.spell))
        _check_fit(self.mode, asked, self.spell)
        if self.mode == "client":
            if not self.key:
                raise ConfigError(
                    f"{self.spell('mode', self.mode)} needs a {self.spell('key')}.",
                    hint="For example kms:alias/NAME.",
                )
            for key in self.key:
                _parse(key, self.spell)
        elif self.mode == "sse-c" and self.sse_c_key_file is None:
            raise ConfigError(
                f"{self.spell('mode', self.mode)} needs {self.spell('sse_c_key_file')}."
            )
        elif self.mode in ("sse-kms", "dsse-kms"):
            _service_key(self.mode, _as_tuple(self.key), self.spell)

    def anchored(self) -> Self:
        """Return the same with absolute paths, which other directories and processes share."""
        file = self.sse_c_key_file
        return replace(
            self,
            key=tuple(_anchored(key, self.spell) for key in _as_tuple(self.key)),
            sse_c_key_file=None if file is None else _anchored_file(file),
        )

    def make(
        self, session: SessionSource = None, *, allow_plain_http: bool = False
    ) -> "Mode | None":
        """Return the mode, or None if nothing was asked for. The arguments are `keyring_of`'s.

        Raises:
            ConfigError: A key's file cannot be read.
        """
        if self.mode is None:
            return None
        from . import modes  # noqa: PLC0415 - it loads cryptography

        keys = _as_tuple(self.key)
        if self.mode == "sse-s3":
            return modes.SSES3()
        if self.mode == "sse-c":
            return modes.SSEC(modes.read_key_file(_named(self.sse_c_key_file)))
        if self.mode == "client":
            chosen: dict[str, Any] = {
                "frame_length": self.frame_length,
                "key_location": self.key_location,
            }
            return modes.ClientSide(
                keyring_of(
                    keys, session=session, spell=self.spell, allow_plain_http=allow_plain_http
                ),
                context=self.context,
                signed=self.signed,
                bind_name=self.bind_name,
                bind_bucket=self.bind_bucket,
                **{name: value for name, value in chosen.items() if value is not None},
            )
        kind = modes.SSEKMS if self.mode == "sse-kms" else modes.DSSEKMS
        return kind(_service_key(self.mode, keys, self.spell), context=self.context)


def asked_of(options: Any) -> list[str]:
    """Return which options of a mode, attributes here, ask for something."""
    given = {
        "key": bool(options.key),
        "context": bool(options.context),
        "sse_c_key_file": options.sse_c_key_file is not None,
        "signed": options.signed,
        "frame_length": options.frame_length is not None,
        "key_location": options.key_location is not None,
        "bind_name": not options.bind_name,
        "bind_bucket": options.bind_bucket,
    }
    return [name for name, is_given in given.items() if is_given]


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
    bind_bucket: bool = False,
    session: SessionSource = None,
    spell: Spell = as_keyword,
    allow_plain_http: bool = False,
) -> "Mode | None":
    """Return the mode asked for, or None if nothing was; nothing given is ignored.

    Args and errors are those of `ModeChoice`; `session` and `allow_plain_http` are as
    `keyring_of` has them.
    """
    return ModeChoice(
        mode=mode,
        key=key,
        context=context,
        sse_c_key_file=sse_c_key_file,
        signed=signed,
        frame_length=frame_length,
        key_location=key_location,
        bind_name=bind_name,
        bind_bucket=bind_bucket,
        spell=spell,
    ).make(session, allow_plain_http=allow_plain_http)


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


def _as_tuple(keys: Any) -> tuple[str, ...]:
    if keys is None:
        return ()
    # What is neither text nor a list of it is refused as a key.
    is_one = isinstance(keys, str | bytes) or not isinstance(keys, Iterable)
    return (keys,) if is_one else tuple(keys)


def _check_types(context: object, frame_length: object, spell: Spell) -> None:
    # Storage options come from settings, and as text from the environment.
    if context is not None and not (
        isinstance(context, Mapping)
        and all(isinstance(text, str) for pair in context.items() for text in pair)
    ):
        raise ConfigError(f"{spell('context')} is a mapping of text to text.")
    if frame_length is not None and (
        isinstance(frame_length, bool) or not isinstance(frame_length, int)
    ):
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


def _service_key(mode: str, keys: Sequence[str], spell: Spell) -> str:
    names = [_kms_name(key) for key in keys]
    if len(names) != 1 or names[0] is None:
        raise ConfigError(
            f"{spell('mode', mode)} needs exactly one {spell('key')}, of KMS.",
            hint="kms:alias/NAME, kms:ARN, or AWS's own key: kms:alias/aws/s3.",
        )
    return names[0]


def _keyring(
    key: str, session: SessionSource, spell: Spell, *, allow_plain_http: bool
) -> "Keyring":
    parsed = _parse(key, spell)
    if isinstance(parsed, str):
        from .kms_keyrings import KMSKeyring  # noqa: PLC0415 - it loads boto3

        return KMSKeyring(
            parsed,
            session=session() if callable(session) else session,
            allow_plain_http=allow_plain_http,
        )
    kind, namespace, name, file = parsed
    from .keyrings import AESKeyring  # noqa: PLC0415 - it loads cryptography
    from .modes import read_key_file  # noqa: PLC0415

    if kind == "aes":
        return AESKeyring(namespace, name, read_key_file(_named(file)))
    return _rsa_keyring(namespace, name, _named(file))


def _parse(key: str, spell: Spell) -> str | tuple[str, str, str, str]:
    """Return the name of a KMS key, or the parts of another: kind, namespace, name and file."""
    kms = _kms_name(key)
    if kms is not None:
        return kms
    match = re.fullmatch(r"(aes|rsa):([^/=]+)/([^=]+)=(.+)", _text(key), re.DOTALL)
    if match is None:
        # Not repeated: somebody may have put the key itself there.
        raise ConfigError(f"That is not a {spell('key')}.", hint=f"Write {_FORMS}.")
    kind, namespace, name, file = match.groups()
    return kind, namespace, name, file


def _anchored(key: str, spell: Spell) -> str:
    parsed = _parse(key, spell)
    if isinstance(parsed, str):
        return key
    kind, namespace, name, file = parsed
    return f"{kind}:{namespace}/{name}={_anchored_file(file)}"


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


def _named(file: Any) -> Path:
    """Return the path of a key file; a key in its place is refused and not repeated."""
    is_name = isinstance(file, str | os.PathLike)
    # Path.exists raises where the name is too long, and its error repeats it.
    if not is_name or (_looks_like_a_key(str(file)) and not os.path.exists(file)):  # noqa: PTH110
        raise ConfigError(
            "A key is given as the name of a file, never itself; and no file has this name.",
            hint="If that was a real key, replace it: command lines and settings are recorded.",
        )
    return Path(file)


def _anchored_file(file: str | Path) -> str:
    # One that is absolute may be another machine's: whether it is there, its reader finds out.
    is_absolute = isinstance(file, str | os.PathLike) and Path(file).is_absolute()
    return str(file if is_absolute else _named(file).absolute())


def _looks_like_a_key(text: str) -> bool:
    squeezed = _NO_PART_OF_KEYS.sub("", text)
    return bool(
        _KEY_INSIDE.search(text)
        or _KEY_INSIDE.search(squeezed)
        or _KEY_UNPADDED.fullmatch(squeezed.rpartition("/")[2])
    )
