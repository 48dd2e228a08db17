# SPDX-License-Identifier: Apache-2.0
"""Write files: at offsets, or so that a file appears completely or not at all.

A new file is first written to a temporary file in the same folder. The writer keeps the temporary
file locked. A temporary file without a lock was left behind by a process that was killed.
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

# The number of fixed names for the temporary files of a target. With fixed names, files that were
# left behind are found without listing the folder, which may contain a million files. Further
# parallel writers use random names.
_NAMES = 2
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{12}\.s3crypt", re.DOTALL)
# The error code for a file that must not be replaced.
EXISTS = "FileExists"
_NOT_PLAIN = "it is not a regular file"
_FULL = "Free space, or write to another disk."
_DENIED = "Check the permissions of the folder and of the file."
_HINTS = {
    errno.ENAMETOOLONG: "Write to a shorter name: this name is too long for the file system.",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "Write to another place: this file system is read-only.",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOTDIR: "Move the file that has the name of the needed folder.",
}


def hint_for(error: OSError) -> str:
    """Return the hint for an error that occurred while a file was made or written."""
    return _HINTS.get(error.errno or 0, "Check the folder, its permissions and the free space.")


def write_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Write all of `view` at an offset of a file."""
    written = 0
    while written < len(view):
        written += os.pwrite(descriptor, view[written:], offset + written)


@contextmanager
def atomic_write(target: str | Path, *, if_absent: bool = False) -> Iterator[BinaryIO]:
    """Yield a file that becomes `target` if the block succeeds. If the block fails, it is removed.

    If `if_absent`, an existing file is never replaced, even if it appears while the block runs.

    The file is written in the target's folder and then renamed. Temporary files of the same target
    that were left behind are removed. A device or a pipe cannot be replaced by a rename, so it is
    written directly.

    Raises:
        ConflictError: The target exists, and `if_absent` is True.
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
            # In append mode, earlier output of other processes is kept.
            with open(path, "ab") as device:
                yield device
            return
        if is_link:
            # The file to which the link points is replaced. The link itself does not change.
            path = os.path.realpath(path)
        with _temporary_beside(path, there) as temporary:
            with temporary.file as file:
                yield file
            if if_absent:
                temporary.link(path, target)
            else:
                temporary.rename(path)


def keep_time(file: BinaryIO, time_ns: int | None) -> None:
    """Set the modification time of a file that is being written.

    Do nothing if `time_ns` is None.
    """
    if time_ns is not None and is_regular(file):
        # Without this, a later write of the buffer would change the modification time again.
        file.flush()
        os.utime(file.fileno(), ns=(time_ns, time_ns))


def file_exists(target: str | Path) -> ConflictError:
    """Return the error for a file that must not be replaced."""
    return ConflictError(
        f"{target}: the file exists", hint="The file was kept. Choose another target.", code=EXISTS
    )


@contextmanager
def moved_away(path: str | Path, target: object) -> Iterator[Source]:
    """Yield the source for a file. Remove the file if the block succeeds.

    `remove_source` documents when the file is kept.

    Raises:
        ConfigError: The path names a pipe or a device.
    """
    with opening(path) as file:
        state = os.fstat(file.fileno())
        if not S_ISREG(state.st_mode):
            raise ConfigError(
                f"{path} is not a regular file, and cannot be moved.", hint="Copy it."
            )
        yield FileSource.of(file, str(path)) or StreamSource(file)
    remove_source(path, state, target)


def remove_source(path: str | Path, state: os.stat_result, target: object) -> None:
    """Remove the source file of a move after its target was stored.

    The file is removed only if it is still the file that was read.

    Args:
        path: The path of the source. If it is a link, the link is removed.
        state: The state of the file when it was opened. Its device, inode, size and time are
            compared.
        target: The new object, for error messages.

    Raises:
        ConflictError: The file was replaced or changed after it was opened.
        StorageError: The file cannot be removed. After either error, both source and target exist.
    """
    told = f"{path}: the file was stored as {target}, but the source was not removed:"
    try:
        now = os.stat(path)
        names = ("st_dev", "st_ino", "st_size", "st_mtime_ns")
        if any(getattr(now, name) != getattr(state, name) for name in names):
            raise ConflictError(
                f"{told} the file changed meanwhile.", hint="Both source and target exist."
            )
        os.unlink(path)
    except FileNotFoundError:
        # Another process has already removed the file.
        return
    except OSError as error:
        raise StorageError(
            f"{told} {error.strerror}.", hint="Both source and target exist."
        ) from error


def flush_to_disk(path: str | Path) -> None:
    """Flush a file and its name in the folder to the disk.

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
            # A device or a pipe has no disk, and a read-only file system needs no flush.
            return
        raise StorageError(f"Cannot flush {path} to the disk: {error.strerror}.") from error


def leftovers(folder: str | Path, *, report: Callable[[StorageError], None]) -> Iterator[Path]:
    """Yield the files below a folder that are named like a temporary file of `atomic_write`.

    Links to folders are not followed.

    Args:
        folder: The folder.
        report: Is called with the error for each folder that cannot be read. The walk continues.

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
    """Return whether a path is named like a temporary file of `atomic_write`."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_leftover(path: str | Path, *, dry_run: bool = False) -> str | None:
    """Remove a temporary file whose writer was killed.

    Return None if it was removed, or the reason why it is kept.

    The file is kept if its writer is still running, if it is not a regular file, or if it belongs
    to another user. If `dry_run`, it is not removed, and None means that it would be removed.
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
        # Links and sockets cannot be opened like this.
        is_special = error.errno in (errno.ELOOP, errno.ENXIO)
        return _NOT_PLAIN if is_special else error.strerror


@contextmanager
def _opened_to_lock(path: str | Path) -> Iterator[int]:
    # Without O_NONBLOCK, opening a pipe would block until another process opens it for writing.
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        # Network file systems lock only files that are open for writing.
        descriptor = os.open(path, os.O_RDWR | flags)
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _reason_to_keep(path: str | Path, descriptor: int) -> str | None:
    """Lock a file. Return None, or the reason why the file must be kept.

    A BlockingIOError means that its writer is still running.
    """
    found = os.fstat(descriptor)
    if not S_ISREG(found.st_mode):
        return _NOT_PLAIN
    if found.st_uid != os.geteuid():
        return "it is another user's"
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # The writer may have renamed the file before the lock was acquired.
    is_same = os.path.samestat(os.lstat(path), found)
    return None if is_same else "it was replaced meanwhile"


@dataclass(slots=True)
class _Temporary:
    """A temporary file. It is locked until it is renamed or removed.

    Attributes:
        path: The file's path.
        file: The file, open for reading and writing.
        lock: A second descriptor of the file, with the lock. It must stay open longer than `file`,
            because `file` is closed (to write its buffer) before the file is renamed.
        state: The state of the file. It shows whether another file has taken the path.
        is_renamed: Whether the file was renamed to its target.
    """

    path: str
    file: BinaryIO
    lock: int
    state: os.stat_result
    is_renamed: bool = False

    def rename(self, path: str) -> None:
        """Rename the file to `path`. A file with that name is replaced."""
        if not os.path.samestat(os.lstat(self.path), self.state):
            # This can happen if the file system is shared with other machines, but its locks are
            # not.
            raise StorageError(
                f"Cannot write {path}: another process replaced the temporary file {self.path}.",
                hint="Write to it from one machine at a time.",
            )
        os.replace(self.path, path)
        self.is_renamed = True

    def link(self, path: str, target: str | Path) -> None:
        """Give the file the name `path`, or raise an error if a file has that name."""
        try:
            os.link(self.path, path, follow_symlinks=False)
        except FileExistsError as error:
            raise file_exists(target) from error
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # The file system does not support links. A file that another writer makes after this
            # check is replaced.
            if os.path.lexists(path):
                raise file_exists(target) from error
            self.rename(path)

    def discard(self) -> None:
        """Remove the file if it was not renamed, and unlock it."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            if not self.is_renamed and os.path.samestat(os.lstat(self.path), self.state):
                os.unlink(self.path)
        os.close(self.lock)


@contextmanager
def _temporary_beside(path: str, replaced: os.stat_result | None) -> Iterator[_Temporary]:
    """Yield a temporary file in the folder of `path`. Remove it if it was not renamed."""
    names = _names_beside(path)
    for name in names[:_NAMES]:
        # A file that was left behind is rare, and `access` takes a tenth of the time of a failing
        # open.
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
            # An interrupt arrived while the file was made. If the file belongs to another writer,
            # it is locked and is not removed.
            remove_leftover(name)


def _names_beside(path: str) -> list[str]:
    """Return the names for the temporary file of a path, in the order in which they are tried."""
    folder, _, name = path.rpartition("/")
    encoded = os.fsencode(name)
    # File systems limit the number of bytes in a name, usually to 255, and not the number of
    # characters.
    stem = f"{folder}/.{encoded[:80].decode(errors='ignore')}."
    checksum = crc32(encoded)
    known = [f"{stem}{checksum:08x}{number:04x}.s3crypt" for number in range(_NAMES)]
    return [*known, f"{stem}{token_hex(6)}.s3crypt"]


def _make(path: str, replaced: os.stat_result | None) -> _Temporary | None:
    """Make and lock a temporary file. Return None if another process uses the name."""
    try:
        # If the buffer length is given, Python does not check whether the file is a terminal.
        file = open(  # noqa: SIM115 - the caller closes it
            path, "x+b", io.DEFAULT_BUFFER_SIZE, opener=partial(_open_new, replaced=replaced)
        )
    except FileExistsError:
        return None
    lock = None
    try:
        lock = os.dup(file.fileno())
        state = _lock_new(lock)
        # Some file systems do not count links, so the file at the path is compared too.
        if state.st_nlink or os.path.samestat(os.lstat(path), state):
            return _Temporary(path, file, lock, state)
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        _close(file, lock)
        raise
    # `remove_leftover` in another process has locked or removed the file in the meantime.
    _close(file, lock)
    return None


def _open_new(path: str, flags: int, *, replaced: os.stat_result | None) -> int:
    if replaced is None:
        return os.open(path, flags, 0o666)
    if replaced.st_uid != os.geteuid():
        # Only the permissions that a new file may have are taken over, because another user must
        # not decide which users can read this file.
        return os.open(path, flags, 0o600 | replaced.st_mode & 0o666)
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, replaced.st_mode & 0o777)
    return descriptor


def _lock_new(descriptor: int) -> os.stat_result:
    """Lock a new file and return its state.

    A BlockingIOError means that another process is removing the file.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        # The file system does not support locks, so no file that was left behind is removed there.
        pass
    return os.fstat(descriptor)


def _close(file: BinaryIO, lock: int | None) -> None:
    file.close()
    if lock is not None:
        os.close(lock)


def _absolute(target: str | Path) -> str:
    """Return the absolute path. It stays valid if the working directory changes."""
    path = path_text(target)
    if not path or path.endswith("/") or "//" in path or "/." in path:
        # pathlib normalises these paths. It takes as long as a system call, so it is used only for
        # these.
        path = str(Path(path))
    return path if path.startswith("/") else os.path.join(os.getcwd(), path)


def _stat(path: str, *, follow_symlinks: bool = True) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow_symlinks)
    except FileNotFoundError:
        return None


def _is_written_directly(path: str, there: os.stat_result) -> bool:
    """Return whether a target is a device, a pipe, or a path in /dev or /proc."""
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
