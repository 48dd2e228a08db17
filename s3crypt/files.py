# SPDX-License-Identifier: Apache-2.0
"""Encrypt and decrypt local files: `encrypt_file` and `decrypt_file`. They use `atomic_write`.

`leftovers` finds temporary files of writers that were killed, and `remove_leftover` removes one of
them.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .errors import FormatError, IntegrityError, KeyUnavailableError, PolicyError, StorageError
from .framing import Run
from .key_references import given_keyring
from .local.buffers import RUN_LENGTH, Buffers, reserve
from .local.files import atomic_write, leftovers, remove_leftover, write_at
from .local.sources import FileSource, is_regular, opening
from .local.workers import each
from .message import (
    DEFAULT_FRAME_LENGTH,
    DecryptingReader,
    EncryptingReader,
    Keyring,
    Opener,
    Sealer,
)

__all__ = [
    "atomic_write",
    "decrypt_file",
    "encrypt_file",
    "inspect_file",
    "leftovers",
    "named_in_errors",
    "remove_leftover",
]

if TYPE_CHECKING:
    from .formats import Facts

# One thread reads and seals while the other thread writes. More threads would not help, because
# only one thread at a time can write to a file.
_WORKERS = 2
_SHORT = "The source became shorter while it was read; nothing was written."


def encrypt_file(  # noqa: PLR0913 - keyword arguments for a message's properties
    source: str | Path,
    target: str | Path,
    keyring: Keyring | str,
    *,
    context: Mapping[str, str] | None = None,
    signed: bool = False,
    frame_length: int = DEFAULT_FRAME_LENGTH,
    if_absent: bool = False,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Encrypt a file to an AWS Encryption SDK message in another file.

    Return the length of the message in bytes.

    Args:
        source: The path of the file. It may be a pipe.
        target: The path of the new file. It appears completely or not at all.
        keyring: The keyring that wraps the message's data key, or the text of a key:
            `kms:alias/NAME`, `aes:NAMESPACE/NAME=FILE`.
        context: Pairs that are bound to the message. The message contains them *unencrypted*.
        signed: Add an ECDSA P-384 signature over the whole message.
        frame_length: The number of plaintext bytes of a frame. A multiple of 128.
        if_absent: Whether to raise an error if the target exists, instead of replacing it.
        progress: Is called with the number of bytes written since the last call. Any thread may
            call it.

    Raises:
        ConflictError: The target exists, and `if_absent` is True.
        ConfigError: The keyring, the frame length or the context is invalid.
        KeyUnavailableError: A wrapping key cannot be used.
        LocalFileNotFoundError: The source does not exist.
        StorageError: The source cannot be read or was changed during the read, or the target cannot
            be written.
    """
    keyring = given_keyring(keyring)
    with opening(source) as file, atomic_write(target, if_absent=if_absent) as out:
        plain = FileSource.of(file, str(source))
        if plain is None or signed or not is_regular(out):
            reader = EncryptingReader(
                file,
                keyring,
                length=plain.size if plain else None,
                context=context,
                signed=signed,
                frame_length=frame_length,
            )
            return _stream(reader, out, progress)
        sealer = Sealer(
            keyring, context=context, frame_length=frame_length, plaintext_length=plain.size
        )
        return _seal_file(plain, out, sealer, progress)


def decrypt_file(  # noqa: PLR0913 - keyword arguments for demands on a message
    source: str | Path,
    target: str | Path,
    keyring: Keyring | str,
    *,
    context: Mapping[str, str] | None = None,
    signed: bool = False,
    allow_uncommitted: bool = False,
    if_absent: bool = False,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Decrypt and verify a message in a file to another file.

    Return the length of the plaintext in bytes.

    Args:
        source: The path of the file. It may be a pipe.
        target: The path of the new file. It appears completely and verified, or not at all.
        keyring: The keyring that unwraps the message's data key, or the text of a key.
        context: Pairs that the message's encryption context must contain.
        signed: Whether the message must be signed, as for `message.decrypt`.
        allow_uncommitted: Whether to read messages without key commitment, as for
            `message.decrypt`.
        if_absent: Whether to raise an error if the target exists, instead of replacing it.
        progress: Is called with the number of bytes written since the last call. Any thread may
            call it.

    Raises:
        ConflictError: The target exists, and `if_absent` is True.
        IntegrityError, FormatError, PolicyError, KeyUnavailableError: For the reasons that
            `message.decrypt` documents.
        LocalFileNotFoundError: The source does not exist.
        StorageError: The source cannot be read or was changed during the read, or the target cannot
            be written.
    """
    keyring = given_keyring(keyring)
    with named_in_errors(source), opening(source) as file:
        sealed = FileSource.of(file, str(source))
        reader = DecryptingReader(
            file, keyring, context=context, signed=signed, allow_uncommitted=allow_uncommitted
        )
        with atomic_write(target, if_absent=if_absent) as out:
            if sealed is None or reader.header.is_in_order or not is_regular(out):
                return _stream(reader, out, progress)
            return _open_file(sealed, out, reader.opener, progress)


@contextmanager
def named_in_errors(path: str | Path) -> Iterator[None]:
    """Add the message's file to errors that do not contain its name."""
    try:
        yield
    except (IntegrityError, FormatError, PolicyError, KeyUnavailableError) as error:
        if str(path) not in str(error):
            error.args = (f"{path}: {error}",)
        raise


def inspect_file(path: str | Path) -> "Facts":
    """Return the facts that a message in a file shows without keys, such as its size and context.

    `keys` has the names of the keys that wrap the data key, as on the command line. Nothing is
    verified.

    Raises:
        FormatError: The file is not a message.
        IntegrityError: The file ends within its header.
        LocalFileNotFoundError: The file does not exist.
        StorageError: The file cannot be read.
    """
    from .formats.files import inspect_file as inspect  # noqa: PLC0415 - S3's formats too

    return inspect(path)


def _seal_file(
    source: FileSource, out: BinaryIO, sealer: Sealer, progress: Callable[[int], None] | None
) -> int:
    geometry, unit = sealer.geometry, sealer.geometry.frame_length
    size = source.size or 0
    layout = geometry.layout(geometry.message_length(size))

    def seal(run: Run, buffers: Buffers) -> None:
        wanted = min((run.last - run.first + 1) * unit, size - run.plaintext_offset)
        plain = buffers.plain_of(wanted)
        if source.read_into(plain, run.plaintext_offset) < wanted:
            raise StorageError(_SHORT, hint="Try again.")
        sealed = buffers.sealed_of(run.end - run.start)
        sealer.seal(plain, sealed, first=run.first, is_final=run.is_final)
        _write(out, sealed, run.start, progress)

    _write(out, memoryview(sealer.header), 0, progress)
    each(layout.runs(RUN_LENGTH), seal, _WORKERS)
    source.verify()
    return geometry.message_length(size)


def _open_file(
    source: FileSource, out: BinaryIO, opener: Opener, progress: Callable[[int], None] | None
) -> int:
    layout = opener.layout(source.size or 0)

    def open_run(run: Run, buffers: Buffers) -> None:
        sealed = buffers.sealed_of(run.end - run.start)
        if source.read_into(sealed, run.start) < len(sealed):
            raise StorageError(_SHORT, hint="Try again.")
        plain = buffers.plain_of(len(sealed))
        written = opener.open(sealed, plain, first=run.first, is_final=run.is_final)
        _write(out, plain[:written], run.plaintext_offset, progress)

    each(layout.runs(RUN_LENGTH), open_run, _WORKERS)
    source.verify()
    return layout.plaintext_length


def _write(
    out: BinaryIO, view: memoryview, offset: int, progress: Callable[[int], None] | None
) -> None:
    write_at(out.fileno(), view, offset)
    if progress:
        progress(len(view))


def _stream(reader: io.RawIOBase, out: BinaryIO, progress: Callable[[int], None] | None) -> int:
    buffer, total = reserve(RUN_LENGTH), 0
    while count := reader.readinto(buffer):
        out.write(buffer[:count])
        total += count
        if progress:
            progress(count)
    return total
