# SPDX-License-Identifier: Apache-2.0
"""Encrypt or decrypt all files below a folder, without S3.

Each file or message is converted by a job.

A file keeps its path relative to the folder. The module `files` converts single files.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .files import decrypt_file, encrypt_file
from .jobs import (
    EVERY_NAME,
    FoundFile,
    NameFilter,
    Outcome,
    TargetFolder,
    Unusable,
    files_below,
    run,
    selected,
    telling,
)
from .key_references import given_keyring
from .message import Keyring

# A file uses two threads. If more files were in progress, they would only compete for the same
# cores.
_AT_ONCE = 2


def encrypt_folder(
    source: str | Path, target: str | Path, keyring: Keyring | str, **options: Any
) -> Iterator[Outcome[Path, int]]:
    """Encrypt the files below a folder into another folder; see `encrypt_file`.

    Args:
        source, target: The two folders. Neither may be inside the other. `target` is made if it
            does not exist.
        keyring: As for `encrypt_file`.
        options: The options of `encrypt_file`, and three more. `names` is a `NameFilter` for
            relative paths. `left_out` is called with each path that is skipped, and the reason.
            `found` is called with the size of each file, and with None when all files are found.

    Raises:
        ConfigError: One folder is inside the other.
        ObjectNotFoundError: `names` selects no file.
    """
    return _converted(encrypt_file, source, target, keyring, **options)


def decrypt_folder(
    source: str | Path, target: str | Path, keyring: Keyring | str, **options: Any
) -> Iterator[Outcome[Path, int]]:
    """Decrypt the messages below a folder into another folder; see `decrypt_file`.

    The arguments and errors are those of `encrypt_folder`.
    """
    return _converted(decrypt_file, source, target, keyring, **options)


def _converted(  # noqa: PLR0913 - keyword arguments
    convert: Callable[..., int],
    source: str | Path,
    target: str | Path,
    keyring: Keyring | str,
    *,
    names: NameFilter = EVERY_NAME,
    left_out: Callable[[Path, str], None] = lambda _path, _why: None,
    found: Callable[[int | None], None] | None = None,
    **options: Any,
) -> Iterator[Outcome[Path, int]]:
    keyring = given_keyring(keyring)
    _check_apart(source, target)
    targets = TargetFolder(target, "")

    def work(item: FoundFile | Unusable) -> int:
        if isinstance(item, Unusable):
            raise item.error
        with targets.claimed(item.name) as path:
            return convert(item.path, path, keyring, **options)

    def name_of(item: FoundFile | Unusable) -> str | None:
        return item.name if isinstance(item, FoundFile) else None

    files = selected(files_below(source, report=left_out), names, name_of, str(source))
    told = telling(files, lambda item: getattr(item, "size", 0), found)
    for outcome in run(told, work, most=_AT_ONCE):
        yield Outcome(outcome.item.path, outcome.result, outcome.error, outcome.seconds)


def _check_apart(source: str | Path, target: str | Path) -> None:
    """Refuse two folders of which one is inside the other.

    Otherwise the files in the target would be found as sources.
    """
    one, other = (Path(os.path.realpath(each)) for each in (source, target))
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise ConfigError(
            f"{target} is the source, {source}, or one of them is in the other.",
            hint="Name a folder beside it.",
        )
