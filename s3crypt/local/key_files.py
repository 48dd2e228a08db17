# SPDX-License-Identifier: Apache-2.0
"""Files with secret keys: check their permissions, and refuse a key in place of a file's name.

This module does not read key files, and does not know for what their keys are used.
"""

import os
import re
import shlex
import stat
import warnings
from pathlib import Path
from typing import Any, BinaryIO

from s3crypt.errors import ConfigError, KeyFileNotFoundError, KeyFileWarning

_STRICT = "S3CRYPT_STRICT_KEY_FILES"
_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
# Keys in hex, in base64, in PEM or as raw bytes. The pattern also finds a key inside a longer text,
# so an extra quote or letter does not hide the key.
_KEY_INSIDE = re.compile(
    r"[0-9A-Fa-f]{31}|[A-Za-z0-9+/_-]{20}={1,2}.{0,2}\Z|-----BEGIN |\0", re.DOTALL
)
# 32 bytes in URL-safe base64 without padding. One character may be missing or too many.
_KEY_UNPADDED = re.compile(r"[A-Za-z0-9_-]{42,44}")
_NO_PART_OF_KEYS = re.compile(r"[^A-Za-z0-9+/_=-]")


def key_file(file: Any) -> Path:
    """Return the path of a key file.

    If the argument is a key instead of a file's name, refuse it without repeating it in the error.

    `~` is replaced by the home directory here, because a shell does this only at the beginning of a
    word.
    """
    is_name = isinstance(file, str | os.PathLike)
    path = os.path.expanduser(file) if is_name else ("")  # noqa: PTH111 - Path's raises without a home
    # `Path.exists` is not used: it raises an error if the name is too long, and the error contains
    # the name, which may be a key.
    if not is_name or (looks_like_a_key(str(file)) and not os.path.exists(path)):  # noqa: PTH110
        raise ConfigError(
            "A key must be given by the name of its file, and no file has this name.",
            hint="If that was a real key, replace it: command lines and settings are recorded.",
        )
    return Path(path)


def check_is_private(path: Path, file: BinaryIO) -> None:
    """Refuse a key file that other users can write to. Warn if other users can read it.

    With S3CRYPT_STRICT_KEY_FILES=1, a file that other users can read is refused, too. Pipes and
    devices are not checked.

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
            hint=f"Check that the key is yours, then run: {command}",
        )
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return
    message = f"Other users can read the key file {path}."
    if _is_strict():
        raise ConfigError(message, hint=command)
    warnings.warn(f"{message} To fix this: {command}", KeyFileWarning, stacklevel=2)


def _is_strict() -> bool:
    text = os.environ.get(_STRICT, "").lower()
    if text not in (*_YES, *_NO):
        raise ConfigError(f"{_STRICT} is 1 or 0, not {text!r}.")
    return text in _YES


def unreadable(path: str | Path, error: OSError, hint: str) -> ConfigError:
    """Return the error for a key file that cannot be read.

    A missing file has its own error type.
    """
    is_missing = isinstance(error, FileNotFoundError)
    kind = KeyFileNotFoundError if is_missing else ConfigError
    return kind(f"Cannot read the key file {path}: {error.strerror}.", hint=hint)


def looks_like_a_key(text: str) -> bool:
    """Return whether a text is, or contains, a key in hex, base64, PEM or raw bytes."""
    squeezed = _NO_PART_OF_KEYS.sub("", text)
    return bool(
        _KEY_INSIDE.search(text)
        or _KEY_INSIDE.search(squeezed)
        or _KEY_UNPADDED.fullmatch(squeezed.rpartition("/")[2])
    )
