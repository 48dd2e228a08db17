# SPDX-License-Identifier: Apache-2.0
"""The journal of a job: a SQLite file with the items and their outcomes. The job can be resumed.

The journal does not know S3 or files: it stores texts. Each item has a key, and a version that
identifies its state.

When `note` returns, the outcome is in the file, and SIGKILL cannot remove it. A resumed job repeats
only the items that failed or were in progress.

A loss of power is not covered: neither the journal nor the files that a job writes are flushed to
the disk. After a loss of power, the journal may be damaged, or may contain files that are
incomplete. In this case, delete the journal and run the job again.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from s3crypt.errors import ConfigError, LocalFileNotFoundError, S3CryptError, StorageError

FAILED = "failed"

# The application id "s3cj". The command `file` and SQLite's own tools recognise a journal by it.
_APPLICATION_ID = 0x7333636A
_SCHEMA = 1
_JOB_TABLE = "CREATE TABLE job (identity TEXT NOT NULL)"
# Texts are stored as bytes, because TEXT cannot store the lone surrogates in names that are not
# UTF-8. With WITHOUT ROWID, an item is in one B-tree instead of two, so recording an outcome writes
# one page.
_ITEMS_TABLE = """
CREATE TABLE items (
    key BLOB PRIMARY KEY, version BLOB NOT NULL, action TEXT NOT NULL, detail BLOB
) WITHOUT ROWID
"""
_ANEW = "Delete it and run the job again: all items are then done again, which is safe."


class Journal:
    """The recorded outcomes of one job. One process uses it, with any of its threads.

    A job that gets an open journal as `journal` skips the items that an earlier run has completed.
    Memory does not grow with the number of items. After a fork, the parent keeps its journal. The
    child can only close it.
    """

    @classmethod
    def open(cls, path: str | os.PathLike[str], job: Mapping[str, object]) -> Self:
        """Open the journal of a job, or create a new journal that only its owner can read.

        The file is locked until the journal is closed or the process ends, even if SIGKILL ends it.

        Args:
            path: The path of the file. While the journal is open, SQLite keeps a second file,
                `path-journal`. After SIGKILL, do not separate the two files.
            job: Values of JSON that identify the job: operation, source, target, modes. They are
                stored unencrypted and must not contain a secret.

        Raises:
            ConfigError: The file is not a journal, is in use, or is the journal of another job or
                of a newer version of s3crypt.
            StorageError: The file is damaged, or cannot be read or written.
        """
        file = Path(path)
        _create_private(file)
        try:
            return cls(file, _connect(file, json.dumps(job, sort_keys=True)))
        except sqlite3.DatabaseError as error:
            raise _translated(file, error) from error

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self._file = file
        self._connection = connection
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release the lock.

        In the child of a fork, close only the child's descriptor.
        """
        if os.getpid() != self._process:
            self._connection.close()
            return
        # A thread of the job may be recording an outcome now, so wait for the lock.
        with self._lock:
            # This removes SQLite's second file. An error is ignored, because the file does no harm.
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA locking_mode = NORMAL")
                self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.close()

    def outcome_of(self, key: str, version: str = "") -> str | None:
        """Return the action that was recorded for an item. Return None if the item must be done.

        An item must be done again if it failed, or if its recorded version is different.

        Raises:
            StorageError: The file is damaged or cannot be read.
        """
        rows = self._rows("SELECT version, action FROM items WHERE key = ?", (_encode(key),))
        if not rows or rows[0][0] != _encode(version) or rows[0][1] == FAILED:
            return None
        return str(rows[0][1])

    def detail_of(self, key: str, version: str = "") -> str | None:
        """Return the detail that was recorded for an item.

        Return None if there is no detail, or if the item must still be done.

        Raises:
            StorageError: The file is damaged or cannot be read.
        """
        statement = "SELECT version, action, detail FROM items WHERE key = ?"
        rows = self._rows(statement, (_encode(key),))
        if not rows or rows[0][0] != _encode(version) or rows[0][1] == FAILED:
            return None
        detail = rows[0][2]
        return None if detail is None else detail.decode("utf-8", "surrogatepass")

    def note(self, key: str, action: str, detail: str | None = None, *, version: str = "") -> None:
        """Record the outcome of an item. An earlier outcome of the item is replaced.

        Args:
            key: The key of the item.
            action: The action that was done, or `FAILED` for an error.
            detail: A text for people. After an error, it is the error's message.
            version: A text that identifies the state of the item, such as an ETag.

        Raises:
            StorageError: The disk is full, or the file is damaged or cannot be written. Earlier
                outcomes remain.
        """
        row = (_encode(key), _encode(version), action, None if detail is None else _encode(detail))
        self._rows("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)", row)

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the number of items for each action. A million items take 0.5 s."""
        return dict(self._rows("SELECT action, count(*) FROM items GROUP BY action ORDER BY 1"))

    def owns(self, path: str | os.PathLike[str]) -> bool:
        """Return whether a path names one of the journal's two files.

        A job must not open these files: closing a descriptor of the first file would release its
        lock.
        """
        own = (self._file, Path(f"{self._file}-journal"))
        with suppress(OSError):
            state = Path(path).stat()
            return any(os.path.samestat(state, file.stat()) for file in own)
        return False

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        # The child of a fork does not have the lock, because a file lock belongs to one process.
        if os.getpid() != self._process:
            raise ConfigError(
                f"The journal {self._file} belongs to the process that opened it.",
                hint="Note the outcomes in that process.",
            )
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise _translated(self._file, error) from error


def _encode(text: str) -> bytes:
    # Unlike os.fsencode, this accepts every str, and different texts become different bytes.
    return text.encode("utf-8", "surrogatepass")


def _create_private(file: Path) -> None:
    """Create the file if it does not exist.

    Only the owner can read it, because it will contain the names of objects.
    """
    try:
        # An existing file must not be opened here. Closing any descriptor of a file releases all
        # locks of this process on the file, including the locks of SQLite.
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if not file.is_file():
            what = "a directory" if file.is_dir() else "not a regular file"
            raise ConfigError(f"The journal {file} is {what}.", hint="Name a file.") from None
        # SQLite creates its second file with the permissions of the first file.
        with suppress(OSError):
            if not file.stat().st_size:
                file.chmod(0o600)
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        raise (LocalFileNotFoundError if is_missing else StorageError)(
            f"Cannot create the journal {file}: {error.strerror}.",
            hint="Check the folder and its permissions.",
        ) from error


def _connect(file: Path, identity: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=0,
        isolation_level=None,  # each statement is a transaction of its own
        check_same_thread=False,
    )
    try:
        _begin(connection, file, identity)
    except BaseException:
        connection.close()
        raise
    return connection


def _begin(connection: sqlite3.Connection, file: Path, identity: str) -> None:
    """Lock the file. If it is empty, make it the job's journal; otherwise check it."""
    # With this setting, SQLite keeps the lock of the first transaction until the connection is
    # closed.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    # Nothing is flushed to the disk; the module's docstring explains this. The order of the writes
    # is enough to survive SIGKILL.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN EXCLUSIVE")
    if _is_empty(connection):
        _create_tables(connection, identity)
    else:
        _check_form(connection, file)
        _check_job(connection, file, identity)
    connection.execute("COMMIT")
    # WAL would save a quarter of the 25 us per outcome. But if the child of a fork closes the file,
    # the log to which the parent still writes would be deleted. And a copy of the file alone would
    # lack outcomes.
    connection.execute("PRAGMA journal_mode = PERSIST")


def _is_empty(connection: sqlite3.Connection) -> bool:
    is_unmarked = not _number(connection, "PRAGMA application_id")
    return is_unmarked and not _number(connection, "SELECT count(*) FROM sqlite_master")


def _create_tables(connection: sqlite3.Connection, identity: str) -> None:
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_SCHEMA}")
    connection.execute(_JOB_TABLE)
    connection.execute(_ITEMS_TABLE)
    connection.execute("INSERT INTO job VALUES (?)", (identity,))


def _check_form(connection: sqlite3.Connection, file: Path) -> None:
    if _number(connection, "PRAGMA application_id") != _APPLICATION_ID:
        raise ConfigError(
            f"{file} is a SQLite database, but not a journal of s3crypt. It was not changed.",
            hint="Name another file.",
        )
    schema = _number(connection, "PRAGMA user_version")
    if schema != _SCHEMA:
        raise ConfigError(
            f"The journal {file} has schema version {schema}; this s3crypt reads {_SCHEMA}.",
            hint="Resume the job with the version that began it, or name another file.",
        )
    connection.execute("SELECT key, version, action, detail FROM items LIMIT 0")
    # The file is read once, to find damage before the job begins. A million items take 0.25 s.
    ((verdict,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise _damaged(file, verdict)


def _check_job(connection: sqlite3.Connection, file: Path, identity: str) -> None:
    rows = connection.execute("SELECT identity FROM job").fetchall()
    try:
        ((noted,),) = rows
        before, now = dict(json.loads(noted)), json.loads(identity)
    except (TypeError, ValueError) as error:
        raise _damaged(file, "it does not name its job") from error
    if before == now:
        return
    names = [name for name in sorted({*before, *now}) if _shown(before, name) != _shown(now, name)]
    differences = ", ".join(
        f"{name} {_shown(before, name)} instead of {_shown(now, name)}" for name in names
    )
    raise ConfigError(
        f"{file} is the journal of another job: {differences}.",
        hint="Resume that job with the command that began it, or name another file for this one.",
    )


def _shown(job: dict[str, object], name: str) -> str:
    return repr(job[name]) if name in job else "nothing"


def _number(connection: sqlite3.Connection, statement: str) -> int:
    ((value,),) = connection.execute(statement).fetchall()
    return int(value)


def _translated(file: Path, error: sqlite3.DatabaseError) -> S3CryptError:
    if isinstance(error, sqlite3.ProgrammingError):
        return ConfigError(f"The journal {file} is closed.", hint="Open it again.")
    # The low byte is the primary error code: https://sqlite.org/rescode.html
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ConfigError(
            f"The journal {file} is in use by another job.",
            hint="Wait until that job has ended, or name another file.",
        )
    if code == sqlite3.SQLITE_NOTADB:
        return ConfigError(
            f"{file} is not a journal: it is not a SQLite database.",
            hint="Name another file. If it was a journal, it is damaged: delete it and run the "
            "job again.",
        )
    if code == sqlite3.SQLITE_FULL:
        return StorageError(
            f"The journal {file} cannot be written: the disk is full.",
            hint="Free space, and run the job again: it resumes at the last note.",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return _damaged(file, str(error))
    return StorageError(
        f"The journal {file} cannot be read or written: {error}.",
        hint="Check the file's folder, its permissions and the space left, or name a file on a "
        "local disk.",
    )


def _damaged(file: Path, reason: str) -> StorageError:
    return StorageError(f"The journal {file} is damaged: {reason}.", hint=_ANEW)
