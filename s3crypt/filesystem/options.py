# SPDX-License-Identifier: Apache-2.0
"""Storage options: check their names and values, and find options that mean the same.

No key file is read here, because a process that only passes the file system to other processes may
not have the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal
from uuid import uuid4
from weakref import WeakValueDictionary

from fsspec.registry import known_implementations

from s3crypt.errors import ConfigError, Remedy
from s3crypt.key_references import as_keyword
from s3crypt.modes import Mode, binds_bucket
from s3crypt.objects.access import DEFAULT_WORKERS
from s3crypt.options import MODES, OPTIONS, ModeChoice, given_among

_PROTOCOL = "s3crypt"
# The value of `encryption` with which objects in every mode can be read.
ANY = "any"
# fsspec's own options. The last two have an effect only on asynchronous file systems.
LISTING_OPTIONS = ("use_listings_cache", "listings_expiry_time", "max_paths")
_FSSPECS = (*LISTING_OPTIONS, "skip_instance_cache", "asynchronous", "loop")
# fsspec's options for caches that this file system does not have. They are ignored.
_CACHE_HINTS = ("cache_type", "default_cache", "default_cache_type", "fill_cache", "size")

_FLAGS = (
    "allow_uncommitted",
    "allow_unsigned",
    "allow_unverified_signature",
    "allow_plain_http",
)

# The `Live` of each mode object in use, under the id of the object and under the name of the
# `Live`.
_LIVE: "WeakValueDictionary[int | str, Live]" = WeakValueDictionary()


class Live:
    """A mode object among the storage options. It has a unique name, which is never used again.

    fsspec compares options by their text. The text of a keyring does not contain its key, so
    different mode objects could have the same text.
    """

    def __init__(self, mode: Mode, name: str) -> None:
        self.mode = mode
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.mode.name} {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return named, (self.mode, self.name)


def named(mode: Mode, name: str | None = None) -> Live:
    """Return the `Live` of a mode object.

    `name` is given for a mode object from a pickle: it is the name that the `Live` had before.
    """
    live = _LIVE.get(id(mode) if name is None else name)
    if live is None:
        live = Live(mode, name or uuid4().hex)
        _LIVE[id(mode)] = _LIVE[live.name] = live
    return live


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of this file system, without fsspec's own options. See `S3CryptFileSystem`.

    Attributes:
        encryption: The value that was given: a text or a mode object.
        choice: The options of the mode that were given as text. Empty if a mode object was given.
    """

    encryption: str | Live | None = None
    choice: ModeChoice
    written_in: str | None = None
    allow_uncommitted: bool = False
    allow_unsigned: bool = False
    allow_unverified_signature: bool = False
    allow_plain_http: bool = False
    expected_bucket_owner: str | None = None
    request_payer: Literal["requester"] | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    workers: int = DEFAULT_WORKERS
    unclosed: Literal["discard", "store"] = "discard"

    def __post_init__(self) -> None:
        if self.unclosed not in ("discard", "store"):
            raise ConfigError("The storage option unclosed is 'discard' or 'store'.")
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise ConfigError("The storage option workers is a number, 1 at least.")
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                # Only bool is accepted, because the text "false", for example from an environment
                # variable, would count as true.
                raise ConfigError(f"The storage option {name} is True or False.")
        if self.written_in is not None:
            self._check_written_in()

    def _check_written_in(self) -> None:
        if not isinstance(self.written_in, str) or not self.written_in:
            raise ConfigError("The storage option written_in is the name of a bucket.")
        live = self.encryption
        if not (binds_bucket(live.mode) if isinstance(live, Live) else self.choice.bind_bucket):
            raise ConfigError(
                "written_in names the bucket that objects are bound to, and none is bound.",
                remedy=Remedy("demand_bound_bucket", bind_bucket=True),
            )

    @property
    def mode_name(self) -> str | None:
        """Return the name of the mode, or `any`.

        Return None if neither a mode nor a key was given.
        """
        if isinstance(self.encryption, Live):
            return self.encryption.mode.name
        return ANY if self.encryption == ANY else self.choice.mode

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Options":
        """Return the options of this file system, taken from all given options.

        Raises:
            ConfigError: An option is unknown. A misspelt option must not lead to unencrypted
                objects in S3.
        """
        own = {field.name for field in fields(cls)} - {"choice"}
        known = [*own, *OPTIONS, *_FSSPECS]
        for name in given:
            if name not in known:
                raise ConfigError(
                    f"There is no storage option {name!r}.", hint=_what_was_meant(name, known)
                )
        return cls(
            choice=_choice(given), **{name: value for name, value in given.items() if name in own}
        )


def _what_was_meant(name: str, known: list[str]) -> str | None:
    """Return a hint for an unknown option. It does not contain the value, which may be a token."""
    if name == _PROTOCOL:
        return f"Give what is in the entry {name!r} by itself, without {name!r} around it."
    if name in known_implementations:
        return (
            "It is the entry of another file system, which some tools add to the caller's "
            "dictionary (datasets adds 'hf'): pass each a copy, as storage_options=dict(options)."
        )
    close = get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else None


def _choice(given: Mapping[str, Any]) -> ModeChoice:
    """Return the options of the mode that were given as text.

    If a mode object or `any` was given, too, raise a ConfigError.
    """
    encryption = given.get("encryption")
    options = {name: value for name, value in given.items() if name in OPTIONS}
    if encryption == "":
        raise ConfigError("The encryption does not exist.", hint=f"One of {', '.join(MODES)}.")
    if isinstance(encryption, Live) or encryption == ANY:
        for name in given_among(options):
            if encryption == ANY:
                raise ConfigError(f"{_spell('encryption', ANY)} excludes {name}.")
            raise ConfigError(f"{name} is part of a mode object: set it there.")
        encryption = None
    return ModeChoice(mode=encryption, **options, spell=_spell)


def spelled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with `mode` renamed to `encryption`, and a mode object as its `Live`.

    Raises:
        ConfigError: `mode` and `encryption` are different, or the value is neither a text nor a
            mode.
    """
    options = dict(given)
    mode, encryption = (_as_option(options.pop(name, None)) for name in ("mode", "encryption"))
    if mode is not None and encryption not in (None, mode):
        raise ConfigError("encryption and mode are two names of one option, and differ.")
    if mode is not None or encryption is not None:
        options["encryption"] = mode if encryption is None else encryption
    return options


def anchored(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with absolute paths of key files. They are valid in any directory.

    Raises:
        ConfigError: The options contradict each other, or an option is unknown.
    """
    return {**options, **Options.of(options).choice.paths()}


def _as_option(encryption: Any) -> str | Live | None:
    if encryption is None or isinstance(encryption, str | Live):
        return encryption
    if not isinstance(encryption, Mode):
        # The error does not repeat the value, which may be a key.
        raise ConfigError(f"encryption is a mode object, or one of {', '.join(MODES)}, {ANY}.")
    return named(encryption)


def _spell(name: str, value: str | bool | None = None) -> str:
    return as_keyword("encryption" if name == "mode" else name, value)


def without_hints(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options without the hints for caches."""
    return {name: value for name, value in options.items() if name not in _CACHE_HINTS}
