# SPDX-License-Identifier: Apache-2.0
"""Check the arguments of `S3Crypt`. The hint of an error says how to write the argument.

An error contains the type of the refused value, but never the value itself, which may be a key.
"""

import os
from collections.abc import Mapping
from typing import get_args

from .errors import ConfigError
from .key_references import FORMS, did_you_mean, names_key
from .local.sources import check_file, path_text
from .message.keys import is_keyring, type_name
from .modes import SSES3, Mode
from .objects.describing import DESCRIBED
from .objects.reader import DEFAULT_CACHE_LENGTH
from .options import MODES, ModeChoice

# The Python expression that makes each mode.
_WRITTEN = {
    "sse-s3": "SSES3()",
    "sse-kms": 'SSEKMS("kms:alias/NAME")',
    "dsse-kms": 'DSSEKMS("kms:alias/NAME")',
    "sse-c": 'SSEC.from_file("FILE")',
    "client": 'ClientSide("kms:alias/NAME")',
}
# The arguments of `S3Crypt.open` that only a reader accepts, and those that only a writer accepts.
_OF_READERS = (
    "version_id",
    "written_as",
    "written_in",
    "allow_uncommitted",
    "allow_unsigned",
    "allow_unverified_length",
    "allow_unverified_signature",
    "cache_length",
)
_OF_WRITERS = DESCRIBED
_FILE_MODES = frozenset("rwaxbt+")


def given_mode(mode: Mode | str | None) -> Mode | None:
    """Return the mode that a caller gave as a mode object or as a text.

    The text is `sse-s3`, which needs no key, or a key, which means the mode `client`.

    Raises:
        ConfigError: The value is neither a mode nor such a text.
    """
    if mode is None or isinstance(mode, Mode):
        return mode
    if not isinstance(mode, str):
        raise _no_mode(mode)
    if mode == SSES3.name:
        return SSES3()
    if names_key(mode):
        return ModeChoice(key=mode).make()
    if mode in MODES:
        raise ConfigError(f"Mode {mode} needs a key.", hint=f"Write {_WRITTEN[mode]}.")
    raise ConfigError(
        "This text is no mode.",
        hint=did_you_mean(mode) or f'Write "sse-s3", or a key for client-side: {FORMS}.',
    )


def required_mode(mode: Mode | str) -> Mode:
    """Return the mode that a caller gave, like `given_mode`, but refuse None."""
    found = given_mode(mode)
    if found is None:
        raise _no_mode(mode)
    return found


def check_open(arguments: Mapping[str, object]) -> None:
    """Refuse arguments of `S3Crypt.open` that contradict each other. `arguments` has them by name.

    Raises:
        ConfigError: `how` is not supported, or `mode` contains a value for `how`.
        TypeError: A reader was given an argument for writers, or the reverse.
    """
    how, mode = arguments["how"], arguments["mode"]
    if isinstance(mode, str) and mode and _FILE_MODES.issuperset(mode):
        raise ConfigError(
            "mode is how the object is encrypted.",
            hint=f'How it is opened is the second argument: open(uri, "{_binary(mode)}").',
        )
    if how not in ("rb", "wb", "xb"):
        raise _cannot_open(how)
    for name in _OF_WRITERS if how == "rb" else _OF_READERS:
        usual = DEFAULT_CACHE_LENGTH if name == "cache_length" else False
        if arguments[name] is not None and arguments[name] != usual:
            raise TypeError(f"open(uri, {how!r}) takes no argument {name!r}.")


def check_target(target: object) -> None:
    """Refuse a target to which plaintext cannot be written.

    Raises:
        ConfigError: The target is neither a path nor a binary file open for writing.
    """
    if isinstance(target, str | os.PathLike):
        path_text(target)
        return
    if isinstance(target, type) or not callable(getattr(target, "write", None)):
        raise ConfigError(
            f"A target is a path, or a binary file to write to; not {type_name(target)}.",
            hint="os.fsdecode makes a path of bytes." if isinstance(target, bytes) else None,
        )
    check_file(target, "target")


def check_resources(workers: int, max_memory: int | None) -> None:
    """Refuse numbers of workers or of buffer bytes that are less than one.

    Raises:
        ConfigError: A value is not a number, or is too small.
    """
    for name, number in (("workers", workers), ("max_memory", max_memory)):
        if isinstance(number, bool) or not isinstance(number, int | None):
            raise ConfigError(f"{name} is a number, not {type_name(number)}.")
    if workers < 1:
        raise ConfigError(f"A store needs at least one worker, not {workers}.")
    if max_memory is not None and max_memory < 1:
        raise ConfigError(f"The buffers of a store take at least one byte, not {max_memory}.")


def _cannot_open(how: object) -> ConfigError:
    if not isinstance(how, str) or not _FILE_MODES.issuperset(how):
        return ConfigError(
            "The second argument of open is 'rb', 'wb' or 'xb'.",
            hint="How the object is encrypted is given by name: open(uri, mode=...).",
        )
    hint = f'Write open(uri, "{_binary(how)}").'
    if "a" in how or "+" in how:
        hint = (
            "Nothing is appended or changed in place, objects are written whole: "
            'open(uri, "rb") to read, open(uri, "wb") to write it anew.'
        )
    elif "b" not in how:
        hint += ' For text, put io.TextIOWrapper(file, encoding="utf-8") around it.'
    return ConfigError(f"Objects are opened as 'rb', 'wb' or 'xb', not {how!r}.", hint=hint)


def _binary(how: str) -> str:
    """Return the supported value of `how` that is closest to a file mode."""
    return next((f"{letter}b" for letter in "xrw" if letter in how), "wb")


def _no_mode(given: object) -> ConfigError:
    classes = {kind: _WRITTEN[kind.name] for kind in get_args(Mode)}
    if isinstance(given, type) and given in classes:
        hint = f"Make one of it: {classes[given]}."
    elif isinstance(given, bytes | bytearray | memoryview):
        hint = 'A key has its mode: SSEC(key), or ClientSide(AESKeyring("NAMESPACE", "NAME", key)).'
    elif is_keyring(given):
        hint = "A keyring has its mode: ClientSide(keyring)."
    elif type(given).__module__.startswith(("boto3", "botocore")):
        hint = "Sessions and clients are given by name: session=..., client=..."
    else:
        hint = f"Write one of {', '.join(_WRITTEN.values())}."
    return ConfigError(f"A mode is needed here, not {type_name(given)}.", hint=hint)
