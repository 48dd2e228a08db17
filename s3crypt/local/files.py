# SPDX-License-Identifier: Apache-2.0
"""Files to be written: at offsets, and targets that appear complete or not at all.

A target is written to a temporary file beside it, which its writer keeps locked. A temporary file
that is not locked is a leftover: its writer was killed.
"""

import errno
import fcntl
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import BinaryIO
from zlib import crc32

from s3crypt.errors import (
    ConfigError,
    ConflictError,
    LocalFileNotFoundError,
    S3CryptError,
    StorageError,
)

from .sources import FileSource, Source, StreamSource, is_regular, opening, path_text

# Number of fixed names for a target's temporary files. Fixed names make leftovers found without a
# scan of the folder, which may have a million files. Further parallel writers use random names.
_NAMES = 2
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{12}\.s3crypt", re.DOTALL)
# The code of the error for a file that must not be replaced.
EXISTS = "FileExists"
_NOT_PLAIN = "it is no plain file"
_FULL = "Make room, or write elsewhere."
_DENIED = "Check the permissions of the folder and of the file."
_HINTS = {
    errno.ENAMETOOLONG: "Write to a shorter name: the file system takes none as long as this.",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "Write elsewhere: this file system can only be read.",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOTDIR: "Move the file away that is where a folder would have to be.",
}


def hint_for(error: OSError) -> str:
    """Return the hint for an error of making or writing a file."""
    return _HINTS.get(error.errno or 0, "Check the folder, its permissions and the space left.")


def write_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Write all of `view` at an offset of a file."""
    written = 0
    while written < len(view):
        written += os.pwrite(descriptor, view[written:], offset + written)


@contextmanager
def atomic_write(target: str | Path, *, if_absent: bool = False) -> Iterator[BinaryIO]:
    """Yield a file that becomes `target` if the block succeeds, and is removed if it fails.

    With `if_absent`, a file that exists, or appears meanwhile, is never replaced.

    The file is written beside the target and renamed over it; leftovers of the same target are
    removed. A device or a pipe cannot be replaced by a rename, so it is written directly.

    Raises:
        ConflictError: The target exists, and `if_absent` was given.
        LocalFileNotFoundError: The target's folder does not exist.
        StorageError: The target is a directory or cannot be written.
    """
    with _reporting(target):
        path = _absolute(target)
        there = _stat(path, follow_symlinks=False)
        is_link = there is not None and S_ISLNK(there.st_mode)
        if is_link:
            there = _stat(path)
        if there is not None and S_ISDIR(there.st_mode):
            raise StorageError(f"{target} is a directory.", hint="Name a file in it.")
        if there is not None and if_absent:
            raise file_exists(target)
        if there is not None and _is_written_directly(path, there):
            # Append mode, so that earlier output of other processes stays.
            with open(path, "ab") as device:
                yield device
            return
        if is_link:
            # The file itself is replaced, and the link stays.
            path = os.path.realpath(path)
        with _temporary_beside(path, there) as temporary:
            with temporary.file as file:
                yield file
            if if_absent:
                temporary.link(path, target)
            else:
                temporary.rename(path)


def keep_time(file: BinaryIO, time_ns: int | None) -> None:
    """Set the modification time of a file that is being written, if the time is known."""
    if time_ns is not None and is_regular(file):
        # A later write of the buffer would change the time again.
        file.flush()
        os.utime(file.fileno(), ns=(time_ns, time_ns))


def file_exists(target: str | Path) -> ConflictError:
    """Return the error for a file that must not be replaced."""
    return ConflictError(f"{target}: it exists", hint="It is kept.", code=EXISTS)


@contextmanager
def moved_away(path: str | Path, target: object) -> Iterator[Source]:
    """Yield a file's source; remove the file if the block succeeds. See `remove_source`.

    Raises:
        ConfigError: The path is that of a pipe or a device.
    """
    with opening(path) as file:
        state = os.fstat(file.fileno())
        if not S_ISREG(state.st_mode):
            raise ConfigError(f"{path} is no plain file, and cannot be moved.", hint="Copy it.")
        yield FileSource.of(file, str(path)) or StreamSource(file)
    remove_source(path, state, target)


def remove_source(path: str | Path, state: os.stat_result, target: object) -> None:
    """Remove the source of a move whose target is stored, if it is still the file that was read.

    Args:
        path: The source. The link is removed if it is a link.
        state: The state of the file when it was opened: device, inode, size and time are compared.
        target: The new object, for errors.

    Raises:
        ConflictError: The file was replaced or written to meanwhile.
        StorageError: The file cannot be removed. In both cases source and target exist.
    """
    told = f"{path}: it is stored as {target}, but was not removed:"
    try:
        now = os.stat(path)
        names = ("st_dev", "st_ino", "st_size", "st_mtime_ns")
        if any(getattr(now, name) != getattr(state, name) for name in names):
            raise ConflictError(
                f"{told} it changed meanwhile.", hint="Source and target are both there."
            )
        os.unlink(path)
    except FileNotFoundError:
        # Another process has removed it.
        return
    except OSError as error:
        raise StorageError(
            f"{told} {error.strerror}.", hint="Source and target are both there."
        ) from error


def flush_to_disk(path: str | Path) -> None:
    """Flush a file that was written, and its name in its folder, to the disk.

    Raises:
        StorageError: The disk failed.
    """
    try:
        for each in (path, Path(path).parent):
            descriptor = os.open(each, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EROFS):
            # A device or a pipe has no disk to flush to.
            return
        raise StorageError(f"Cannot flush {path} to the disk: {error.strerror}.") from error


def leftovers(folder: str | Path, *, report: Callable[[StorageError], None]) -> Iterator[Path]:
    """Yield the paths below a folder that have the name of a temporary file of `atomic_write`.

    Links to folders are not followed.

    Args:
        folder: The folder.
        report: Is called with the error of each unreadable folder; the walk continues.

    Raises:
        ConfigError: The path is a file.
        LocalFileNotFoundError: The folder does not exist.
    """
    if not os.path.lexists(folder):
        raise LocalFileNotFoundError(f"{folder}: no such folder.", hint="Check the path.")
    if not Path(folder).is_dir():
        raise ConfigError(f"{folder} is not a folder.", hint="Name the folder that it is in.")

    def failed(error: OSError) -> None:
        message = f"Cannot read {error.filename}: {error.strerror}."
        report(StorageError(message, hint="Check its permissions."))

    for above, _, names in os.walk(folder, onerror=failed):
        yield from (Path(above, name) for name in sorted(names) if _TEMPORARY.fullmatch(name))


def is_temporary(path: Path) -> bool:
    """Return whether a path has the name of a temporary file of `atomic_write`."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_leftover(path: str | Path, *, dry_run: bool = False) -> str | None:
    """Remove a temporary file of a killed writer; return the reason to keep it, or None.

    The file is kept while its writer lives, and if it is no plain file or belongs to another user.
    With `dry_run` it is always kept, and None means that it would be removed.
    """
    try:
        with _opened_to_lock(path) as descriptor:
            reason = _reason_to_keep(path, descriptor)
            if reason is None and not dry_run:
                os.unlink(path)
            return reason
    except BlockingIOError:
        return "its writer is at work"
    except OSError as error:
        # The open fails for links and sockets.
        is_special = error.errno in (errno.ELOOP, errno.ENXIO)
        return _NOT_PLAIN if is_special else error.strerror


@contextmanager
def _opened_to_lock(path: str | Path) -> Iterator[int]:
    # Without O_NONBLOCK, opening a pipe would wait for its other end.
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        # Network file systems only lock files that are open for writing.
        descriptor = os.open(path, os.O_RDWR | flags)
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _reason_to_keep(path: str | Path, descriptor: int) -> str | None:
    """Lock a file; return the reason to keep it, or None. BlockingIOError: its writer lives."""
    found = os.fstat(descriptor)
    if not S_ISREG(found.st_mode):
        return _NOT_PLAIN
    if found.st_uid != os.geteuid():
        return "it is another user's"
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # The writer may have renamed the file before the lock was taken.
    is_same = os.path.samestat(os.lstat(path), found)
    return None if is_same else "it was replaced meanwhile"


@dataclass(slots=True)
class _Temporary:
    """A temporary file, which is locked until it is renamed or removed.

    Attributes:
        path: The file's path.
        file: The file, open for reading and writing.
        lock: Another descriptor of the file, since the lock must outlive `file`: the rename follows
            the close of `file`, which writes its buffer.
        state: The file's state, which identifies it if another file takes its name.
        is_renamed: Whether the file was renamed to its target.
    """

    path: str
    file: BinaryIO
    lock: int
    state: os.stat_result
    is_renamed: bool = False

    def rename(self, path: str) -> None:
        """Rename the file to `path`, and replace the file there."""
        if not os.path.samestat(os.lstat(self.path), self.state):
            # The file system is shared with other machines, but its locks are not.
            raise StorageError(
                f"Cannot write {path}: another process replaced the temporary file {self.path}.",
                hint="Write to it from one machine at a time.",
            )
        os.replace(self.path, path)
        self.is_renamed = True

    def link(self, path: str, target: str | Path) -> None:
        """Give the file the name `path`, unless a file has that name."""
        try:
            os.link(self.path, path, follow_symlinks=False)
        except FileExistsError as error:
            raise file_exists(target) from error
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # The file system has no links. Another writer is then noticed only if it came before.
            if os.path.lexists(path):
                raise file_exists(target) from error
            self.rename(path)

    def discard(self) -> None:
        """Remove the file, unless it was renamed, and unlock it."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            if not self.is_renamed and os.path.samestat(os.lstat(self.path), self.state):
                os.unlink(self.path)
        os.close(self.lock)


@contextmanager
def _temporary_beside(path: str, replaced: os.stat_result | None) -> Iterator[_Temporary]:
    """Yield a temporary file in the folder of `path`, and remove it unless it was renamed."""
    names = _names_beside(path)
    for name in names[:_NAMES]:
        # A leftover is rare, and `access` takes a tenth of the time of a failing open.
        if os.access(name, os.F_OK):
            remove_leftover(name)
    made, name = None, ""
    try:
        for name in names:
            made = _make(name, replaced)
            if made is not None:
                yield made
                return
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    finally:
        if made is not None:
            made.discard()
        else:
            # An interrupt came while the file was made. Another writer's file is locked and stays.
            remove_leftover(name)


def _names_beside(path: str) -> list[str]:
    """Return the names for the temporary file of a path, in the order in which they are tried."""
    folder, _, name = path.rpartition("/")
    encoded = os.fsencode(name)
    # File systems limit a name's bytes, mostly to 255, not its characters.
    stem = f"{folder}/.{encoded[:80].decode(errors='ignore')}."
    checksum = crc32(encoded)
    known = [f"{stem}{checksum:08x}{number:04x}.s3crypt" for number in range(_NAMES)]
    return [*known, f"{stem}{token_hex(6)}.s3crypt"]


def _make(path: str, replaced: os.stat_result | None) -> _Temporary | None:
    """Make and lock a temporary file; return None if another process uses the name."""
    try:
        # With a buffer length given, Python does not check whether the file is a terminal.
        file = open(  # noqa: SIM115 - the caller closes it
            path, "x+b", io.DEFAULT_BUFFER_SIZE, opener=partial(_open_new, replaced=replaced)
        )
    except FileExistsError:
        return None
    lock = None
    try:
        lock = os.dup(file.fileno())
        state = _lock_new(lock)
        # Some file systems do not count links, so the name is checked too.
        if state.st_nlink or os.path.samestat(os.lstat(path), state):
            return _Temporary(path, file, lock, state)
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        _close(file, lock)
        raise
    # Another process's `remove_leftover` locked or removed the file first.
    _close(file, lock)
    return None


def _open_new(path: str, flags: int, *, replaced: os.stat_result | None) -> int:
    if replaced is None:
        return os.open(path, flags, 0o666)
    if replaced.st_uid != os.geteuid():
        # The permissions are at most those of the other user's file and those of a new file:
        # another user must not decide who may read this file.
        return os.open(path, flags, 0o600 | replaced.st_mode & 0o666)
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, replaced.st_mode & 0o777)
    return descriptor


def _lock_new(descriptor: int) -> os.stat_result:
    """Lock a new file and return its state. BlockingIOError: another process is removing it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        # The file system has no locks; no leftover is removed there.
        pass
    return os.fstat(descriptor)


def _close(file: BinaryIO, lock: int | None) -> None:
    file.close()
    if lock is not None:
        os.close(lock)


def _absolute(target: str | Path) -> str:
    """Return an absolute path, which stays valid if the working directory changes."""
    path = path_text(target)
    if not path or path.endswith("/") or "//" in path or "/." in path:
        # pathlib normalizes these paths; it takes as long as a system call, so only for these.
        path = str(Path(path))
    return path if path.startswith("/") else os.path.join(os.getcwd(), path)


def _stat(path: str, *, follow_symlinks: bool = True) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow_symlinks)
    except FileNotFoundError:
        return None


def _is_written_directly(path: str, there: os.stat_result) -> bool:
    """Return whether a target is a device, a pipe, or a descriptor's name in /dev or /proc."""
    _, top, *below = path.split("/", 3)
    of_the_system = top == "proc" or (top == "dev" and below[:1] != ["shm"])
    return of_the_system or not S_ISREG(there.st_mode)


@contextmanager
def _reporting(target: str | Path) -> Iterator[None]:
    try:
        yield
    except S3CryptError:
        raise
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        kind = LocalFileNotFoundError if is_missing else StorageError
        raise kind(
            f"Cannot write {target}: {error.strerror or error}.",
            hint=hint_for(error),
        ) from error
