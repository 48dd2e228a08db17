# SPDX-License-Identifier: Apache-2.0
"""Local files: messages of them, and targets that appear complete or not at all."""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from .errors import S3CryptError, StorageError
from .message import (
    DEFAULT_FRAME_LENGTH,
    DecryptingReader,
    EncryptingReader,
    Keyring,
    Opener,
    Sealer,
)
from .message.geometry import Layout, Run
from .message.memory import reserve
from .sources import FileSource, is_regular, opening
from .workers import RUN_LENGTH, Buffers, each

# One reads and seals while the other writes; a file is written by one at a time anyway.
_WORKERS = 2
_SHORT = "The source became shorter while it was read; nothing was written."


def encrypt_file(  # noqa: PLR0913 - what a message may have, by name
    source: str | Path,
    target: str | Path,
    keyring: Keyring,
    *,
    context: Mapping[str, str] | None = None,
    signed: bool = False,
    frame_length: int = DEFAULT_FRAME_LENGTH,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write a file's AWS Encryption SDK message to another file; return its bytes.

    Args:
        source: A path, of a pipe too.
        target: A path; the file appears complete, or not at all.
        keyring: Wraps the message's data key.
        context: Pairs bound to the message and stored in it *in the clear*.
        signed: Add an ECDSA P-384 signature over the whole message.
        frame_length: Plaintext bytes of a frame, a multiple of 128.
        progress: Called with bytes written since the last call, from any thread.

    Raises:
        ConfigError: The frame length or the context is not possible.
        KeyUnavailableError: A wrapping key cannot be used.
        StorageError: The source cannot be read or changed meanwhile, or the target not written.
    """
    with opening(source) as file, replacing(target) as out:
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


def decrypt_file(  # noqa: PLR0913 - what may be demanded of a message, by name
    source: str | Path,
    target: str | Path,
    keyring: Keyring,
    *,
    context: Mapping[str, str] | None = None,
    signed: bool = False,
    allow_uncommitted: bool = False,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write a message's plaintext to a file, verified; return its bytes.

    Args:
        source: A path, of a pipe too.
        target: A path; the file appears complete and verified, or not at all.
        keyring: Unwraps the message's data key.
        context: Pairs that its encryption context must have.
        signed: Demand a signature, as `message.decrypt` says.
        allow_uncommitted: Read suites without key commitment too, as `message.decrypt` says.
        progress: Called with bytes written since the last call, from any thread.

    Raises:
        IntegrityError, FormatError, PolicyError, KeyUnavailableError: As `message.decrypt`.
        StorageError: The source cannot be read or changed meanwhile, or the target not written.
    """
    with opening(source) as file:
        sealed = FileSource.of(file, str(source))
        reader = DecryptingReader(
            file, keyring, context=context, signed=signed, allow_uncommitted=allow_uncommitted
        )
        with replacing(target) as out:
            if sealed is None or reader.header.is_in_order or not is_regular(out):
                return _stream(reader, out, progress)
            return _open_file(sealed, out, reader.opener, progress)


def _seal_file(
    source: FileSource, out: BinaryIO, sealer: Sealer, progress: Callable[[int], None] | None
) -> int:
    geometry, unit = sealer.geometry, sealer.geometry.frame_length
    size = source.size or 0
    layout = Layout(geometry.message_length(size), geometry)

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
    layout = Layout(source.size or 0, opener.header.geometry)

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


def write_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Write all of `view` at an offset of a file."""
    written = 0
    while written < len(view):
        written += os.pwrite(descriptor, view[written:], offset + written)


@contextmanager
def replacing(target: str | Path) -> Iterator[BinaryIO]:
    """Give a file that becomes `target` when the block ends well, and vanishes when it does not.

    It is written beside the target and renamed over it. Where the target is a device or a pipe
    there is nothing to rename: it is written directly.

    Raises:
        StorageError: The target is a directory or cannot be written.
    """
    with _reporting(target):
        if _is_written_directly(Path(target)):
            # Appended, so that what others have written to it stays.
            with Path(target).open("ab") as device:
                yield device
            return
        path = Path(os.path.realpath(target))
        if path.is_dir():
            raise StorageError(f"{target} is a directory.", hint="Name a file in it.")
        temporary = path.with_name(f".{_cut(path.name)}.{token_hex(6)}.s3crypt")
        try:
            # Named before it is made: an interrupt cannot fall between its making and its removal.
            with _create(temporary, path) as file:
                yield file
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def _is_written_directly(target: Path) -> bool:
    """Tell whether a target is a device, a pipe, or a descriptor by its name in /dev or /proc."""
    if not target.exists() or target.is_dir():
        return False
    of_the_system = target.parts[:2] in (("/", "dev"), ("/", "proc"))
    return not target.is_file() or (of_the_system and target.parts[:3] != ("/", "dev", "shm"))


def _cut(name: str) -> str:
    # File systems limit a name's bytes, mostly to 255; not its characters.
    return os.fsencode(name)[:80].decode(errors="ignore")


def _create(temporary: Path, target: Path) -> BinaryIO:
    # A new file gets what the umask allows; one that replaces another is never more open.
    mode = target.stat().st_mode & 0o777 if target.exists() else None
    descriptor = os.open(
        temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600
    )
    if mode is not None:
        os.fchmod(descriptor, mode)
    return os.fdopen(descriptor, "w+b")


@contextmanager
def _reporting(target: str | Path) -> Iterator[None]:
    try:
        yield
    except S3CryptError:
        raise
    except OSError as error:
        raise StorageError(
            f"Cannot write {target}: {error.strerror or error}.",
            hint="Check the folder, its permissions and the space left.",
        ) from error
