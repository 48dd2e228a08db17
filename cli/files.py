# SPDX-License-Identifier: Apache-2.0
"""Commands on local files, without S3: encrypt, decrypt and clean.

The files of `encrypt` and `decrypt` are AWS Encryption SDK messages.
"""

import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

import s3crypt
from s3crypt.errors import ConfigError, S3CryptError, StorageError

from .options import (
    ModeOptions,
    Settings,
    common_options,
    logging_options,
    message_reading_options,
    message_writing_options,
    option,
)
from .output import Output, print_json, print_line, progress, report, say
from .pipes import standard_input
from .places import common_code, dry_run_option
from .remedies import reword

if TYPE_CHECKING:
    from s3crypt.message import Keyring

_CHUNK = 2**20


@click.command()
@click.argument("source", metavar="IN", type=click.Path(allow_dash=True))
@click.argument("target", metavar="OUT", type=click.Path(allow_dash=True))
@common_options(service="kms")
@message_writing_options
def encrypt(settings: Settings, *, options: ModeOptions, source: str, target: str) -> None:
    """Encrypt a file or pipe, without S3.

    IN becomes one AWS Encryption SDK message; "-" is a pipe.

    OUT appears complete or not at all. Any AWS Encryption SDK reads it with the same key.
    """
    from s3crypt import message  # noqa: PLC0415 - it loads cryptography

    keyring = options.keyring_for(settings)
    chosen = options.arguments()
    _check(source, target)
    if "-" not in (source, target):
        _convert(s3crypt.encrypt_file, settings, source, target, keyring, chosen)
        return
    with _opened(source) as file, _output(target, ciphertext=True) as output:
        length = _length(file)
        reader = message.EncryptingReader(file, keyring, length=length, **chosen)
        _pump(reader, output, length, settings, source, target)


@click.command()
@click.argument("source", metavar="IN", type=click.Path(allow_dash=True))
@click.argument("target", metavar="OUT", type=click.Path(allow_dash=True))
@common_options(service="kms")
@message_reading_options
@option(
    "--allow-uncommitted",
    is_flag=True,
    environment=False,
    help="Read messages without key commitment too, from writers you trust.",
)
@option(
    "--allow-unsigned",
    is_flag=True,
    environment=False,
    help="Read unsigned messages too, where --signed demands a signature.",
)
def decrypt(
    settings: Settings,
    *,
    options: ModeOptions,
    source: str,
    target: str,
    allow_uncommitted: bool,
    allow_unsigned: bool,
) -> None:
    """Decrypt and verify a file or pipe, without S3.

    IN is one AWS Encryption SDK message; "-" is a pipe.

    OUT appears complete and verified, or not at all. To a pipe, verified frames are streamed;
    should a later one be wrong, the exit code is 3 and what came out must be discarded.
    """
    from s3crypt import message  # noqa: PLC0415 - it loads cryptography

    keyring = options.keyring_for(settings)
    chosen = {**options.arguments(), "allow_uncommitted": allow_uncommitted}
    if allow_unsigned:
        chosen["signed"] = False
    _check(source, target)
    if "-" not in (source, target):
        _convert(s3crypt.decrypt_file, settings, source, target, keyring, chosen)
        return
    with _opened(source) as file:
        reader = message.DecryptingReader(file, keyring, **chosen)
        with _output(target, ciphertext=False) as output:
            _pump(reader, output, _length(file), settings, source, target)


@click.command()
@click.argument("folder", type=click.Path())
@logging_options
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def clean(folder: str, *, dry_run: bool, as_json: bool) -> None:
    """Remove temporary files that killed commands left.

    A get or decrypt that is killed (kill -9, a power cut) leaves its temporary file beside the
    target: .NAME.HEX.s3crypt. It has plaintext in it. The next get to the same target removes it.

    All such files below FOLDER are removed, but those that are in use or of another user.
    """
    from s3crypt.files import leftovers, remove_leftover  # noqa: PLC0415 - it loads cryptography

    codes: list[int] = []

    def failed(error: StorageError) -> None:
        codes.append(report(error))

    action = "would remove" if dry_run else "removed"
    for path in leftovers(folder, report=failed):
        reason = remove_leftover(path, dry_run=dry_run)
        if as_json:
            kept = {} if reason is None else {"reason": reason}
            print_json({"action": "kept" if kept else action, "path": str(path), **kept})
        elif reason is not None:
            say(f"s3crypt: {path}: kept, {reason}")
        else:
            print_line(f"{action} {path}")
    if codes:
        raise click.exceptions.Exit(common_code(codes))


def _convert(
    convert: Callable[..., int],
    settings: Settings,
    source: str,
    target: str,
    keyring: "Keyring",
    chosen: Mapping[str, Any],
) -> None:
    # A pipe's size is reported as 0, which means unknown here.
    size = Path(source).stat().st_size or None
    with progress(source, size, quiet=settings.silent) as advance:
        written = convert(source, target, keyring, progress=advance, **chosen)
    if settings.json:
        print_json({"source": source, "target": target, "bytes": written})


def check_folder(target: str | Path) -> None:
    """Refuse a target whose directory does not exist, before any input is read."""
    folder = Path(target).parent
    if not os.path.lexists(folder):
        raise StorageError(
            f"Cannot write {target}: No such file or directory.",
            hint=f"Make its directory first: mkdir -p {shlex.quote(str(folder))}",
        )


@contextmanager
def discarding(output: Output) -> Iterator[None]:
    """Add a note to any error in the block: the output on stdout is incomplete."""
    try:
        yield
    except S3CryptError as error:
        if output.written:
            reword(error)
            warning = f"Discard the {output.written} bytes that came out: they are incomplete."
            error.hint = f"{warning} {error.hint}" if error.hint else warning
        raise
    finally:
        output.flush()


def _pump(
    reader: RawIOBase,
    output: "BinaryIO | Output",
    total: int | None,
    settings: Settings,
    source: str,
    target: str,
) -> None:
    written = 0
    buffer = memoryview(bytearray(_CHUNK))
    with progress(source, total, quiet=settings.silent) as advance:
        while count := reader.readinto(buffer):
            output.write(buffer[:count])
            written += count
            if advance is not None:
                advance(count)
    if settings.json and target != "-":
        print_json({"source": source, "target": target, "bytes": written})


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    if source == "-":
        with standard_input() as pipe:
            yield pipe
        return
    with Path(source).open("rb") as file:
        yield file


@contextmanager
def _output(target: str, *, ciphertext: bool) -> "Iterator[BinaryIO | Output]":
    if target == "-":
        output = Output(ciphertext=ciphertext)
        with discarding(output):
            yield output
        return
    from s3crypt.files import atomic_write  # noqa: PLC0415 - it loads cryptography

    with atomic_write(target) as file:
        yield file


def _check(source: str, target: str) -> None:
    """Refuse a source and a target that cannot work, before any input is read."""
    check_folder(target)
    if source != "-" and Path(source).is_dir():
        raise ConfigError(
            f"{source} is a directory.",
            hint="Name a file. A directory goes into S3 with `s3crypt put -r`.",
        )
    path = Path(target)
    if target != "-" and path.is_dir():
        raise ConfigError(f"{target} is a directory.", hint=f"Name a file in it: {path / 'NAME'}")
    try:
        read = os.fstat(sys.stdin.fileno()) if source == "-" else os.stat(source)  # noqa: PTH116
        out = os.fstat(sys.stdout.fileno()) if target == "-" else path.stat()
    except (OSError, ValueError):
        return
    if os.path.samestat(read, out) and stat.S_ISREG(out.st_mode):
        raise ConfigError("IN and OUT are the same file.", hint="Write to another, then rename it.")


def _length(file: BinaryIO) -> int | None:
    """Return the number of bytes after a file's position, or None if the size is unknown."""
    try:
        status = os.fstat(file.fileno())
        # Files in /proc report a size of 0, and files in /sys a larger size than their content.
        ends_there = status.st_size and len(os.pread(file.fileno(), 2, status.st_size - 1)) == 1
        return status.st_size - file.tell() if ends_there and stat.S_ISREG(status.st_mode) else None
    except (OSError, ValueError):
        return None
