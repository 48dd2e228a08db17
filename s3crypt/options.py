# SPDX-License-Identifier: Apache-2.0
"""The options of a mode, defined once: `ModeChoice` has a field for each option.

The `Option` of a field defines how the option is written. Every interface with options derives them
from these fields: the command line and the environment (`s3crypt_cli.options`), the file system's
storage options, and text. A new option needs a field here, and an argument of its mode in `modes`.

boto3 and ciphers are loaded only when a mode is made, because the command prints its help from this
table. The files of keys are read only then, because a program that only passes options on may not
have the files.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from .errors import ConfigError
from .key_references import (
    FORMS,
    SessionSource,
    Spell,
    anchored,
    anchored_file,
    as_keyword,
    as_tuple,
    check_reference,
    did_you_mean,
    keyring_of,
    kms_name,
    names_key,
)
from .local.key_files import key_file

if TYPE_CHECKING:
    from .modes import Mode

# The uses of an option in commands: to write, read or describe an object, to rotate it from its
# present mode or key, and to seal or open a message without S3.
Use: TypeAlias = Literal["write", "read", "describe", "rotate-from", "seal", "open"]
Kind: TypeAlias = Literal["keys", "pairs", "file", "flag", "size", "seconds", "choice"]
_CLIENT = frozenset({"client"})
_WITH_KEY = frozenset({"sse-kms", "dsse-kms", "client"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How an option is written. Its name, type and default are those of its field in `ModeChoice`.

    Attributes:
        kind: The kind of its value. `keys`: one or several keys. `pairs`: NAME=VALUE on the command
            line. `file`: the name of a file. `flag`: True or False; a flag that is True by default
            is `--no-NAME` on the command line. `size`: a number of bytes, also in forms such as
            64KiB. `seconds`: a number greater than 0. `choice`: one of `choices`.
        modes: The names of the modes that have the option.
        help: The help text of the command for each use. A command for another use does not have the
            option.
        choices: The possible values of a `choice`.
        in_environment: Whether the option can be set in the environment for the command. If False,
            it must be given with each command, because it weakens checks on reading.
    """

    kind: Kind
    modes: frozenset[str]
    help: Mapping[Use, str]
    choices: tuple[str, ...] = ()
    in_environment: bool = True


def _option(  # noqa: PLR0913 - a row of the table
    kind: Kind,
    modes: frozenset[str],
    text: str,
    uses: tuple[Use, ...],
    other_uses: Mapping[Use, str] = MappingProxyType({}),
    *,
    choices: tuple[str, ...] = (),
    in_environment: bool = True,
) -> Mapping[str, Option]:
    """Return the metadata of a field with its option.

    `text` is the help text for `uses`; `other_uses` has the help texts for other uses.
    """
    return {
        "option": Option(
            kind=kind,
            modes=modes,
            help={**dict.fromkeys(uses, text), **other_uses},
            choices=choices,
            in_environment=in_environment,
        )
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeChoice:
    """A mode that is given by options in text. The options are checked.

    The files of keys are not read before `make` is called.

    Attributes:
        mode: A name in `MODES`. If None, a key implies the mode `client`, and a file with a
            customer key implies `sse-c`.
        key: The keys, as for `keyring_of`. For `sse-kms` and `dsse-kms`, exactly one KMS key.
        context: The encryption context.
        sse_c_key_file: The file with the customer key: 32 raw bytes, hex or base64.
        signed, frame_length, key_location, bind_name, bind_bucket: The arguments of `ClientSide`,
            with the same defaults.
        cache_data_keys: The number of seconds, as for `keyring_of`. It needs `bind_name=False`.
        spell: Returns an option in the form in which errors show it.

    Raises:
        ConfigError: The options contradict each other.
    """

    mode: str | None = None
    key: str | Sequence[str] | None = field(
        default=(),
        metadata=_option(
            "keys",
            _WITH_KEY,
            f"{FORMS}. Repeatable: the first key generates the data key, and any of the keys opens "
            "it.",
            ("write", "read", "describe", "seal", "open"),
            {"rotate-from": "A key that opens the present object."},
        ),
    )
    context: Mapping[str, str] | None = field(
        default=None,
        metadata=_option(
            "pairs",
            _WITH_KEY,
            "Encryption context.",
            ("write", "read", "describe", "seal", "open"),
            {"rotate-from": "A pair that the present object's encryption context must have."},
        ),
    )
    sse_c_key_file: str | Path | None = field(
        default=None,
        metadata=_option(
            "file",
            frozenset({"sse-c"}),
            "The customer key of SSE-C: 32 raw bytes, hex or base64.",
            ("write", "read", "describe"),
            {"rotate-from": "The customer key of the present object."},
        ),
    )
    signed: bool = field(
        default=False,
        metadata=_option(
            "flag",
            _CLIENT,
            "Also sign the message (ECDSA P-384).",
            ("write", "seal"),
            {
                "read": "Demand a signature.",
                "open": "Demand a signature.",
                "rotate-from": (
                    "Demand a signature of the present object; --signed demands it, too."
                ),
            },
        ),
    )
    frame_length: int | None = field(
        default=None,
        metadata=_option(
            "size",
            _CLIENT,
            "Plaintext per frame: 64KiB, 1MiB or bytes.  [default: 256KiB]",
            ("write", "seal"),
        ),
    )
    key_location: Literal["header", "metadata"] | None = field(
        default=None,
        metadata=_option(
            "choice",
            _CLIENT,
            "The place of the wrapped key: the message, or the object's metadata.",
            ("write",),
            choices=("header", "metadata"),
        ),
    )
    bind_name: bool = field(
        default=True,
        metadata=_option(
            "flag",
            _CLIENT,
            "Do not bind the object's name into the message.",
            ("write", "read", "describe"),
            # It cannot be set in the environment because, on reading, it accepts an object under
            # any name.
            in_environment=False,
        ),
    )
    bind_bucket: bool = field(
        default=False,
        metadata=_option(
            "flag",
            _CLIENT,
            "Also bind the bucket's name into the message; on reading, demand it.",
            ("write", "read"),
            {
                "rotate-from": (
                    "Demand that the present object is bound to its bucket; --written-in demands "
                    "it, too."
                )
            },
        ),
    )
    cache_data_keys: float | None = field(
        default=None,
        metadata=_option(
            "seconds",
            _CLIENT,
            "Use a data key for several objects of one context for this time; needs "
            "--no-bind-name.",
            ("write", "read"),
            # It cannot be set in the environment because it weakens the same check as
            # --no-bind-name.
            in_environment=False,
        ),
    )
    spell: Spell = field(default=as_keyword, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", as_tuple(self.key))
        for name, option in OPTIONS.items():
            _check_type(option, getattr(self, name), self.spell(name))
        asked = asked_of(self)
        object.__setattr__(self, "mode", self.mode or implied_mode(asked, spell=self.spell))
        _check_fit(self.mode, asked, self.spell)
        keys = as_tuple(self.key)
        if self.mode == "client":
            if not keys:
                raise ConfigError(
                    f"{self.spell('mode', self.mode)} needs {self.spell('key')}.",
                    hint="For example kms:alias/NAME.",
                )
            for key in keys:
                check_reference(key, self.spell)
            if self.cache_data_keys is not None:
                self._check_cacheable()
        elif self.mode == "sse-c" and self.sse_c_key_file is None:
            raise ConfigError(
                f"{self.spell('mode', self.mode)} needs {self.spell('sse_c_key_file')}."
            )
        elif self.mode in ("sse-kms", "dsse-kms"):
            _service_key(self.mode, keys, self.spell)

    def _check_cacheable(self) -> None:
        """Refuse a cache together with options for which each object has a different context."""
        cache = self.spell("cache_data_keys")
        if self.bind_name:
            raise ConfigError(
                f"{cache} needs {self.spell('bind_name', False)}, which is less safe: two objects "
                "of the bucket can be swapped undetected, and one data key opens several objects.",
                hint=f"If that is acceptable, give both. Otherwise omit {cache}.",
            )
        if self.signed:
            raise ConfigError(
                f"{cache} and {self.spell('signed')} exclude each other: each signed object needs "
                "its own data key."
            )

    def __str__(self) -> str:
        """Return the given options in the form of Python and of storage options."""
        given = {"mode": self.mode, **{name: getattr(self, name) for name in asked_of(self)}}
        return ", ".join(f"{name}={value!r}" for name, value in given.items())

    def anchored(self) -> Self:
        """Return the same choice with absolute paths.

        It is valid in other directories and processes.
        """
        return replace(self, **self.paths())

    def paths(self) -> dict[str, Any]:
        """Return the given options that name files, with absolute paths."""
        found: dict[str, Any] = {}
        for name in asked_of(self):
            value = getattr(self, name)
            if OPTIONS[name].kind == "keys":
                found[name] = tuple(anchored(key, self.spell) for key in value)
            elif OPTIONS[name].kind == "file":
                found[name] = anchored_file(value)
        return found

    def make(
        self, session: SessionSource = None, *, allow_plain_http: bool = False
    ) -> "Mode | None":
        """Return the mode. Return None if no option was given.

        `keyring_of` documents the arguments.

        Raises:
            ConfigError: The file of a key cannot be read.
        """
        if self.mode is None:
            return None
        from . import modes  # noqa: PLC0415 - it loads cryptography

        if self.mode == "sse-s3":
            return modes.SSES3()
        if self.mode == "sse-c":
            return modes.SSEC.from_file(key_file(self.sse_c_key_file))
        keys = as_tuple(self.key)
        of_keyring = ("key", "cache_data_keys")
        more = {name: getattr(self, name) for name in asked_of(self) if name not in of_keyring}
        if self.mode == "client":
            keyring = keyring_of(
                keys,
                session=session,
                spell=self.spell,
                allow_plain_http=allow_plain_http,
                cache_data_keys=self.cache_data_keys,
            )
            return modes.ClientSide(keyring, **more)
        kind = modes.SSEKMS if self.mode == "sse-kms" else modes.DSSEKMS
        return kind(_service_key(self.mode, keys, self.spell), **more)


# All options by name, in the order in which help texts and errors show them.
OPTIONS: Mapping[str, Option] = MappingProxyType(
    {each.name: each.metadata["option"] for each in fields(ModeChoice) if each.metadata}
)
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {each.name: each.default for each in fields(ModeChoice)}
)
# The names of the options that each mode has.
MODES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        mode: frozenset(name for name, option in OPTIONS.items() if mode in option.modes)
        for mode in ("sse-s3", "sse-kms", "dsse-kms", "sse-c", "client")
    }
)


def asked_of(options: Any) -> list[str]:
    """Return the names of the options that are not at their default.

    The options are attributes of the argument.
    """
    return given_among({name: getattr(options, name) for name in OPTIONS})


def given_among(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the options that are not at their default.

    The options are items of the argument.
    """
    return [
        name
        for name, option in OPTIONS.items()
        if name in values and _asks(option, values[name], DEFAULTS[name])
    ]


def implied_mode(options: Collection[str], *, spell: Spell = as_keyword) -> str | None:
    """Return the mode that the given options imply. Return None if they imply no mode.

    Raises:
        ConfigError: The options imply two modes.
    """
    implied = {"key": "client", "sse_c_key_file": "sse-c"}
    found = [mode for name, mode in implied.items() if name in options]
    if len(found) > 1:
        raise ConfigError(
            f"Give {spell('key')} or {spell('sse_c_key_file')}, not both.",
            hint=f"If defaults set both, give {spell('mode')} to choose.",
        )
    return found[0] if found else None


def _asks(option: Option, value: object, default: object) -> bool:
    if option.kind in ("keys", "pairs", "flag"):
        return bool(value) != bool(default)
    return value is not None


def _check_type(option: Option, value: object, spelled: str) -> None:
    """Refuse a value with the wrong type.

    Values from settings and the environment often are text.
    """
    if option.kind == "flag":
        if not isinstance(value, bool):
            # The text "false", for example from a setting, would count as true.
            raise ConfigError(f"{spelled} must be True or False.")
    elif value is None:
        return
    elif option.kind == "pairs":
        if not isinstance(value, Mapping) or not all(
            isinstance(text, str) for pair in value.items() for text in pair
        ):
            raise ConfigError(f"{spelled} must be a mapping of text to text.")
    elif option.kind == "size":
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f"{spelled} must be a number of bytes.")
    elif option.kind == "seconds" and not _is_duration(value):
        raise ConfigError(f"{spelled} must be a number of seconds above 0.")
    elif option.kind == "choice" and value not in option.choices:
        raise ConfigError(f"{spelled} must be one of {', '.join(option.choices)}.")


def _is_duration(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 < value < math.inf


def _check_fit(mode: str | None, asked: Collection[str], spell: Spell) -> None:
    if mode is not None and (not isinstance(mode, str) or mode not in MODES):
        is_key = isinstance(mode, str) and (names_key(mode) or did_you_mean(mode))
        hint = f"A key is given as {spell('key')}." if is_key else f"One of {', '.join(MODES)}."
        raise ConfigError("The mode does not exist.", hint=hint)
    for name in asked:
        if mode is None:
            raise ConfigError(f"{spell(name)} needs {spell('mode')} or {spell('key')}.")
        if name not in MODES[mode]:
            takers = [taker for taker, takes in MODES.items() if name in takes]
            another = f"another {spell('mode')} than {mode}"
            needed = spell("mode", takers[0]) if len(takers) == 1 else another
            raise ConfigError(f"{spell(name)} needs {needed}.")


def _service_key(mode: str, keys: Sequence[str], spell: Spell) -> str:
    names = [kms_name(key) for key in keys]
    if len(names) != 1 or names[0] is None:
        raise ConfigError(
            f"{spell('mode', mode)} needs exactly one {spell('key')}, of KMS.",
            hint=(did_you_mean(keys[0]) if len(keys) == 1 else None)
            or "kms:alias/NAME, kms:ARN, or AWS's own key: kms:alias/aws/s3.",
        )
    return names[0]
