# SPDX-License-Identifier: Apache-2.0
"""Commands on local files, without S3: encrypt, decrypt and clean.

The files of `encrypt` and `decrypt` are AWS Encryption SDK messages.
"""

import os
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import click

import s3crypt
from s3crypt.errors import ConfigError, S3CryptError, StorageError

from .base64s import Decoder, Encoder
from .help import MANY, DocumentedCommand
from .jobs import Job
from .options import (
    Command,
    ModeOptions,
    Settings,
    common_options,
    logging_options,
    message_reading_options,
    message_writing_options,
    option,
    with_options,
)
from .output import Output, print_json, print_line, progress, report, say, size_text
from .own_keys import check_not_overwritten
from .pipes import standard_input
from .places import common_code, dry_run_option, no_overwrite_option
from .remedies import reword
from .selection import FilteringCommand, Rules, filter_options, local_filter, sparing

if TYPE_CHECKING:
    from s3crypt.message import Keyring

_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class _Conversion:
    """One run of encrypt or decrypt: its source, its target and its options."""

    verb: Literal["encrypt", "decrypt"]
    settings: Settings
    source: str
    target: str
    recursive: bool
    rules: Rules
    no_overwrite: bool
    encode: bool
    decode: bool
    key_files: tuple[str, ...] = ()

    @property
    def is_in_place(self) -> bool:
        """Return whether source and target are plain files, which two threads can process."""
        return "-" not in (self.source, self.target) and not self.encode and not self.decode


def _conversion_options(command: Command) -> Command:
    """Give a command the options of `_Conversion`."""
    added = (
        option(
            "-r",
            "--recursive",
            is_flag=True,
            environment=False,
            group=MANY,
            help="All files of a folder.",
        ),
        filter_options,
        no_overwrite_option,
        option("--encode", is_flag=True, environment=False, help="Write base64."),
        option("--decode", is_flag=True, environment=False, help="Read base64."),
    )
    return with_options(command, added)


@click.command(cls=FilteringCommand)
@click.argument("source", metavar="IN", type=click.Path(allow_dash=True))
@click.argument("target", metavar="OUT", type=click.Path(allow_dash=True))
@common_options(service="kms")
@message_writing_options
@_conversion_options
def encrypt(settings: Settings, *, options: ModeOptions, **given: Any) -> None:
    """Encrypt a file, a pipe or a folder, without S3.

    IN becomes one AWS Encryption SDK message; "-" is a pipe. With -r, each file below the folder IN
    becomes a message with the same path below the folder OUT.

    OUT appears complete or not at all. Any AWS Encryption SDK reads it with the same key.

    \b
    s3crypt encrypt q3.csv q3.csv.enc --key aes:acme/2026=reports.key
    s3crypt encrypt -r 2026 sealed --key aes:acme/2026=reports.key
    """
    from s3crypt import message  # noqa: PLC0415 - it loads cryptography

    keyring = options.keyring_for(settings)
    chosen = options.arguments()
    conversion = _Conversion("encrypt", settings, key_files=options.key_files, **given)
    if _converted(conversion, keyring, chosen):
        return
    with (
        _opened(conversion) as (file, length),
        _output(conversion, ciphertext=not conversion.encode) as output,
    ):
        reader = message.EncryptingReader(file, keyring, length=length, **chosen)
        written = _pump(reader, output, length, conversion)
    _tell(conversion, written)


@click.command(cls=FilteringCommand)
@click.argument("source", metavar="IN", type=click.Path(allow_dash=True))
@click.argument("target", metavar="OUT", type=click.Path(allow_dash=True))
@common_options(service="kms")
@message_reading_options
@_conversion_options
@option(
    "--allow-uncommitted",
    is_flag=True,
    environment=False,
    help="Also read messages without key commitment, from writers you trust.",
)
@option(
    "--allow-unsigned",
    is_flag=True,
    environment=False,
    help="Also read unsigned messages, if --signed demands a signature.",
)
def decrypt(
    settings: Settings,
    *,
    options: ModeOptions,
    allow_uncommitted: bool,
    allow_unsigned: bool,
    **given: Any,
) -> None:
    """Decrypt and verify a file, a pipe or a folder, without S3.

    IN is one AWS Encryption SDK message; "-" is a pipe. With -r, IN is a folder of messages, and
    OUT a folder of files.

    OUT appears complete and verified, or not at all. To a pipe, verified frames are streamed; if a
    later frame is wrong, the exit code is 3 and you must discard the output.

    \b
    s3crypt decrypt q3.csv.enc back.csv --key aes:acme/2026=reports.key
    s3crypt decrypt q3.csv.enc - --key aes:acme/2026=reports.key | wc -l
    """
    from s3crypt import message  # noqa: PLC0415 - it loads cryptography

    keyring = options.keyring_for(settings)
    chosen = {**options.arguments(), "allow_uncommitted": allow_uncommitted}
    if allow_unsigned:
        chosen["signed"] = False
    conversion = _Conversion("decrypt", settings, key_files=options.key_files, **given)
    if _converted(conversion, keyring, chosen):
        return
    from s3crypt.files import named_in_errors  # noqa: PLC0415 - it loads cryptography

    named = nullcontext() if conversion.source == "-" else named_in_errors(conversion.source)
    with named, _opened(conversion) as (file, length):
        reader = message.DecryptingReader(file, keyring, **chosen)
        with _output(conversion, ciphertext=False) as output:
            written = _pump(reader, output, length, conversion)
    _tell(conversion, written)


@click.command(cls=DocumentedCommand)
@click.argument("folder", type=click.Path())
@logging_options
@dry_run_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line, for programs."
)
@click.option("--quiet", "-q", is_flag=True, help="Print only errors: no remarks.")
def clean(folder: str, *, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Remove temporary files that killed commands left.

    If a get or decrypt is killed (kill -9, a power cut), its temporary file stays beside the
    target: .NAME.HEX.s3crypt. The file contains plaintext. The next get to the same target removes
    it.

    This command removes all such files below FOLDER, except files in use and files of other users.

    \b
    s3crypt clean 2026
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
        elif reason is None and (dry_run or not quiet):
            print_line(f"{action} {path}")
        elif reason is not None and not quiet:
            say(f"s3crypt: {path}: kept, {reason}")
    if codes:
        raise click.exceptions.Exit(common_code(codes))


def _converted(conversion: _Conversion, keyring: "Keyring", chosen: Mapping[str, Any]) -> bool:
    """Convert a folder or a file with two threads; return False for a pipe and for base64."""
    settings, source, target = conversion.settings, conversion.source, conversion.target
    if conversion.recursive:
        _convert_folder(conversion, keyring, chosen)
        return True
    if conversion.rules:
        raise ConfigError("--include and --exclude need -r.", hint="Give -r, or omit them.")
    _check(source, target)
    if conversion.no_overwrite and target != "-" and os.path.lexists(target):
        if settings.json:
            print_json({"action": "skipped", "source": source, "target": target})
        elif not settings.quiet:
            say(f"skipped  {target}: the file exists")
        return True
    if target != "-":
        check_not_overwritten([target], conversion.key_files)
    if not conversion.is_in_place:
        return False
    # The system reports 0 as the size of a pipe. None means that the size is unknown.
    size = Path(source).stat().st_size or None
    convert = getattr(s3crypt, f"{conversion.verb}_file")
    with progress(source, size, quiet=settings.silent) as advance:
        written = convert(
            source,
            target,
            keyring,
            if_absent=conversion.no_overwrite,
            progress=advance,
            **chosen,
        )
    _tell(conversion, written)
    return True


def _convert_folder(conversion: _Conversion, keyring: "Keyring", chosen: Mapping[str, Any]) -> None:
    from s3crypt import folders  # noqa: PLC0415 - SQLite takes 10 ms

    source, target = conversion.source, conversion.target
    if conversion.encode or conversion.decode or "-" in (source, target):
        raise ConfigError(
            "-r needs two folders, and excludes base64.", hint="Convert each file separately."
        )
    if not Path(source).is_dir():
        raise ConfigError(f"{source} is not a folder.", hint="Leave -r out.")

    left_out = conversion.settings.left_out
    convert = getattr(folders, f"{conversion.verb}_folder")
    with Job(conversion.verb, conversion.settings) as job:
        outcomes = convert(
            source,
            target,
            keyring,
            names=sparing(local_filter(conversion.rules), target, conversion.key_files, left_out),
            left_out=left_out,
            found=job.found,
            progress=job.moved,
            if_absent=conversion.no_overwrite,
            **chosen,
        )
        for outcome in job.closing(outcomes):
            path = Path(target, outcome.item.relative_to(source))
            pair = {"source": str(outcome.item), "target": str(path)}
            if conversion.no_overwrite and getattr(outcome.error, "code", None) == "FileExists":
                job.skipped(outcome.error, pair)
                continue
            told = f"{outcome.item} -> {path}"
            job.ended(f"{conversion.verb}ed", outcome.error, pair, told)
    job.finish(unit="files")


def _tell(conversion: _Conversion, written: int) -> None:
    settings, source, target = conversion.settings, conversion.source, conversion.target
    if target == "-":
        return
    if settings.json:
        print_json({"source": source, "target": target, "bytes": written})
    elif not settings.quiet:
        say(f"{source} -> {target} ({size_text(written)})")


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
            warning = f"Discard the {output.written} bytes of output: they are incomplete."
            error.hint = f"{warning} {error.hint}" if error.hint else warning
        raise
    finally:
        output.flush()


def _pump(
    reader: RawIOBase,
    output: "BinaryIO | Output",
    total: int | None,
    conversion: _Conversion,
) -> int:
    """Write all bytes of the reader to the output. Return their number."""
    written = 0
    buffer = memoryview(bytearray(_CHUNK))
    quiet = conversion.settings.silent
    with progress(conversion.source, total, quiet=quiet) as advance:
        encoder = Encoder(output.write) if conversion.encode else None
        write = encoder.write if encoder else output.write
        while count := reader.readinto(buffer):
            write(buffer[:count])
            written += count
            if advance is not None:
                advance(count)
        if encoder:
            encoder.finish()
    return written


@contextmanager
def _opened(conversion: _Conversion) -> Iterator[tuple[BinaryIO, int | None]]:
    """Open the input. Yield it with its length in bytes, or with None if that is unknown."""
    source = conversion.source
    with standard_input() if source == "-" else Path(source).open("rb") as opened:
        if conversion.decode:
            name = "standard input" if source == "-" else source
            yield cast("BinaryIO", Decoder(opened, name)), None
        else:
            yield opened, _length(opened)


@contextmanager
def _output(conversion: _Conversion, *, ciphertext: bool) -> "Iterator[BinaryIO | Output]":
    if conversion.target == "-":
        output = Output(ciphertext=ciphertext)
        with discarding(output):
            yield output
        return
    from s3crypt.files import atomic_write  # noqa: PLC0415 - it loads cryptography

    with atomic_write(conversion.target, if_absent=conversion.no_overwrite) as file:
        yield file


def _check(source: str, target: str) -> None:
    """Before any input is read, refuse a source or target with which the command would fail."""
    check_folder(target)
    if source != "-" and Path(source).is_dir():
        raise ConfigError(
            f"{source} is a directory.",
            hint="Give -r for all files below it. To store them in S3: `s3crypt put -r`.",
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
        raise ConfigError(
            "IN and OUT are the same file.", hint="Write to another file, then rename it."
        )


def _length(file: BinaryIO) -> int | None:
    """Return the number of bytes after a file's position, or None if the size is unknown."""
    try:
        status = os.fstat(file.fileno())
        # Files in /proc report a size of 0, and files in /sys a larger size than their content.
        # So the size counts only if the file's last byte is where the size says.
        ends_there = status.st_size and len(os.pread(file.fileno(), 2, status.st_size - 1)) == 1
        return status.st_size - file.tell() if ends_there and stat.S_ISREG(status.st_mode) else None
    except (OSError, ValueError):
        return None
