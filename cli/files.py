# SPDX-License-Identifier: Apache-2.0
"""`encrypt` and `decrypt`: AWS Encryption SDK messages of local files and pipes, without S3."""

import os
import select
import shlex
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

import s3crypt
from s3crypt.errors import ConfigError, S3CryptError, StorageError

from .options import (
    ModeOptions,
    Settings,
    common_options,
    message_reading_options,
    message_writing_options,
    option,
)
from .output import Output, print_json, progress
from .remedies import reword

if TYPE_CHECKING:
    from s3crypt.message import Keyring

_CHUNK = 2**20
_PIPE_CAPACITY = 2**18


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


def _convert(
    convert: Callable[..., int],
    settings: Settings,
    source: str,
    target: str,
    keyring: "Keyring",
    chosen: Mapping[str, Any],
) -> None:
    # A pipe says that it has none.
    size = Path(source).stat().st_size or None
    with progress(source, size, quiet=settings.silent) as advance:
        written = convert(source, target, keyring, progress=advance, **chosen)
    if settings.json:
        print_json({"source": source, "target": target, "bytes": written})


def check_folder(target: str | Path) -> None:
    """Refuse a target whose directory is not there, before anything is read."""
    folder = Path(target).parent
    if not os.path.lexists(folder):
        raise StorageError(
            f"Cannot write {target}: No such file or directory.",
            hint=f"Make its directory first: mkdir -p {shlex.quote(str(folder))}",
        )


@contextmanager
def discarding(output: Output) -> Iterator[None]:
    """Add to any error that what already went to stdout is incomplete."""
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
def standard_input() -> Iterator[BinaryIO]:
    """Yield stdin's bytes; a read of a silent pipe ends when a signal arrives, in any thread."""
    raw = getattr(sys.stdin.buffer, "raw", None)
    if raw is None or os.name != "posix" or stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        yield sys.stdin.buffer
        return
    # Only the main thread gets KeyboardInterrupt, and before it can act on it, it waits for its
    # workers, of which one may wait for this pipe. So signals wake the reader too.
    signalled, signal_end = os.pipe()
    os.set_blocking(signal_end, False)
    before = signal.set_wakeup_fd(signal_end, warn_on_full_buffer=False)
    try:
        yield cast("BinaryIO", _Pipe(raw, signalled))
    finally:
        signal.set_wakeup_fd(before)
        os.close(signalled)
        os.close(signal_end)


class _Pipe:
    """A pipe read in pieces of what it can hold, until `signalled` can be read too."""

    def __init__(self, raw: FileIO, signalled: int) -> None:
        self._raw = raw
        self._signalled = signalled
        self.name = "standard input"
        self.fileno = raw.fileno

    def read(self, length: int) -> bytes | None:
        readable, _, _ = select.select([self.fileno(), self._signalled], [], [])
        if self._signalled in readable:
            raise KeyboardInterrupt
        return self._raw.read(min(length, _PIPE_CAPACITY))


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
    """Refuse what cannot work, before anything is read."""
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
    try:
        status = os.fstat(file.fileno())
        return status.st_size - file.tell() if stat.S_ISREG(status.st_mode) else None
    except (OSError, ValueError):
        return None
