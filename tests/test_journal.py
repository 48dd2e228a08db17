# SPDX-License-Identifier: Apache-2.0
"""The journal of a job: what it notes, what it refuses, and what is left after SIGKILL."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

import s3crypt
from s3crypt.errors import ConfigError, LocalFileNotFoundError, S3CryptError, StorageError
from s3crypt.jobs.journal import FAILED, Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(s3crypt.__file__).resolve().parent.parent
JOB = {"verb": "put", "source": "tree", "target": "s3://bucket/t/", "mode": "sse-s3"}
_LONG = 2000
NAMES = ["s3://b/x", "", "x\0y", "x\0", "\N{SNOWMAN}", "\udcff", "\ud800", "\udfff\ud800", "%41"]

# Writes notes 0, 1, ... from two threads, and prints a line for each finished note.
_NOTING = f"""
import os, sys, threading
from s3crypt.jobs.journal import Journal
os.write(1, b"ready\\n")
with Journal.open(sys.argv[1], {JOB!r}) as journal:
    os.write(1, b"open\\n")
    def note_all(first):
        for number in range(first, 10**9, 2):
            journal.note(f"s3://bucket/t/{{number:08d}}", "put", version=str(number))
            os.write(1, b"%d\\n" % number)
    start = int(sys.argv[2])
    threads = [threading.Thread(target=note_all, args=(start + n,)) for n in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def run(code: str, *arguments: str) -> str:
    """Run Python code in another process and return its output."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def killed(code: str, *arguments: str) -> Iterator[tuple[IO[bytes], list[bytes]]]:
    """Run Python code in another process, and kill the process with SIGKILL after the block.

    Yield the output of the process, and an empty list. After the block the list has the lines of
    the output that the block did not read.
    """
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    rest: list[bytes] = []
    with process:
        try:
            yield process.stdout, rest
        finally:
            process.kill()
            rest += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL


def noted(path: Path, job: Mapping[str, object] = JOB, **outcomes: str) -> None:
    """Make a journal with these outcomes, by item."""
    with Journal.open(path, job) as journal:
        for key, action in outcomes.items():
            journal.note(key, action)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a path for a journal."""
    return tmp_path / "job.journal"


def test_what_is_noted_is_there_in_the_next_run(path: Path) -> None:
    """An item that succeeded counts as done in the next run, if its version is the same."""
    with Journal.open(path, JOB) as journal:
        journal.note("a", "put", version="1")
        journal.note("b", FAILED, "it vanished")
        journal.note("c", "put")
    for _ in range(2):
        with Journal.open(path, dict(reversed(JOB.items()))) as journal:
            assert journal.outcome_of("a", "1") == "put"
            assert journal.outcome_of("a", "2") is None
            assert journal.outcome_of("a") is None
            assert journal.outcome_of("b") is None
            assert journal.outcome_of("c") == "put"
            assert journal.outcome_of("d") is None
            assert journal.counts == {FAILED: 1, "put": 2}


def test_the_last_note_of_an_item_counts(path: Path) -> None:
    """The last note of an item counts: a success after a failure, or the reverse."""
    with Journal.open(path, JOB) as journal:
        journal.note("a", FAILED, "denied")
        journal.note("a", "re-encrypted", version="1")
        assert journal.outcome_of("a", "1") == "re-encrypted"
        assert journal.counts == {"re-encrypted": 1}
        journal.note("a", FAILED, "denied", version="2")
        assert journal.outcome_of("a", "1") is None
        assert journal.counts == {FAILED: 1}


def test_any_text_is_a_key_of_its_own(path: Path) -> None:
    """Any text can be a key, version or detail, also if it is not UTF-8."""
    with Journal.open(path, JOB) as journal:
        for number, name in enumerate(NAMES):
            journal.note(name, str(number), name, version=name)
    with Journal.open(path, JOB) as journal:
        found = [journal.outcome_of(name, name) for name in NAMES]
    assert found == [str(number) for number in range(len(NAMES))]


def test_a_job_may_be_named_by_any_text(path: Path) -> None:
    """Jobs whose names differ are different jobs, also if the names are not UTF-8."""
    noted(path, {"source": "\udcff"}, a="put")
    noted(path, {"source": "\udcff"})
    with pytest.raises(ConfigError, match=r"source '\\udcff' instead of '\\udcfe'"):
        Journal.open(path, {"source": "\udcfe"})


def test_only_its_owner_reads_a_journal(path: Path, tmp_path: Path) -> None:
    """Only the owner can read a journal and SQLite's second file, because they contain names."""
    (tmp_path / "empty").touch(0o644)
    before = os.umask(0)
    try:
        for file in (path, tmp_path / "empty"):
            with Journal.open(file, JOB) as journal:
                journal.note("a", "put")
                beside = Path(f"{file}-journal")
                for one in (file, beside):
                    assert stat.S_IMODE(one.stat().st_mode) == 0o600
            assert not beside.exists()
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", [":memory:", "file:x?mode=memory", "a?b#c%41", "\udcff"])
def test_a_path_is_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a journal is a file name, even if SQLite would read it as a URI or `:memory:`."""
    monkeypatch.chdir(tmp_path)
    noted(Path(name), a="put")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def _make_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def _make_newer(path: Path) -> None:
    noted(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


def _make_jobless(path: Path) -> None:
    noted(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE job SET identity = 'put'")


def _make_without_items(path: Path) -> None:
    noted(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE items")


def _note_all(journal: Journal) -> None:
    for number in range(_LONG):
        journal.note(f"s3://bucket/{number}", "put")


def _make_long(path: Path) -> bytearray:
    with Journal.open(path, JOB) as journal:
        _note_all(journal)
    return bytearray(path.read_bytes())


def _make_garbled(path: Path) -> None:
    data = _make_long(path)
    data[8 * 4096 : 9 * 4096] = b"\xa5" * 4096
    path.write_bytes(data)


def _make_truncated(path: Path) -> None:
    data = _make_long(path)
    path.write_bytes(data[: len(data) // 2])


REFUSED: dict[str, tuple[Callable[[Path], object], type[S3CryptError], str, str]] = {
    "a directory": (Path.mkdir, ConfigError, "is a directory", "Name a file"),
    "a pipe": (os.mkfifo, ConfigError, "not a regular file", "Name a file"),
    "a dangling link": (
        lambda path: path.symlink_to("nowhere"),
        ConfigError,
        "not a regular file",
        "Name a file",
    ),
    "a text": (
        lambda path: path.write_text("these are my notes\n" * 100),
        ConfigError,
        "not a journal: it is not a SQLite database",
        "Name another file",
    ),
    "a database": (_make_database, ConfigError, "not a journal of s3crypt", "Name another file"),
    "newer": (_make_newer, ConfigError, "has schema version 2; .* reads 1", "with the version"),
    "another job's": (
        lambda path: noted(path, JOB | {"verb": "get", "signed": "yes"}),
        ConfigError,
        "another job: signed 'yes' instead of nothing, verb 'get' instead of 'put'",
        "with the command that began it",
    ),
    "no job's": (_make_jobless, StorageError, "is damaged: it does not name", "Delete it"),
    "without items": (_make_without_items, StorageError, "is damaged: .*items", "Delete it"),
    "garbled": (_make_garbled, StorageError, "is damaged: ", "Delete it"),
    "truncated": (_make_truncated, StorageError, "is damaged: ", "Delete it"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_this_jobs_journal_is_refused(kind: str, path: Path) -> None:
    """A file that is not this job's journal is refused and stays unchanged.

    The error names the file, the fault and the remedy.
    """
    make, error, what, hint = REFUSED[kind]
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error, match=what) as caught:
        Journal.open(path, JOB)
    assert str(path) in str(caught.value)
    assert hint in str(caught.value.hint)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_journal_without_its_folder_is_refused(tmp_path: Path) -> None:
    """If the journal's folder is missing, it is an error.

    The folder is not made, because its path may be mistyped.
    """
    with pytest.raises(LocalFileNotFoundError, match=r"Cannot create .*missing/x: No such file"):
        Journal.open(tmp_path / "missing" / "x", JOB)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"Cannot create .*file/x: Not a directory"):
        Journal.open(tmp_path / "file" / "x", JOB)


_UNPRIVILEGED = f"""
import os, sys
import urllib.parse  # pathlib imports it when it is used, and another user may not read it
from s3crypt.errors import StorageError
from s3crypt.jobs.journal import Journal
if os.geteuid() == 0:
    os.setuid(65534)
try:
    with Journal.open(sys.argv[1], {JOB!r}) as journal:
        journal.note("a", "put")
except StorageError as error:
    print(error, error.hint)
"""


@pytest.mark.parametrize("has_journal", [False, True])
def test_a_folder_that_cannot_be_written_is_an_error(*, has_journal: bool) -> None:
    """A folder without write permission is an error, with or without a journal in it."""
    # Not in tmp_path, because pytest hides it from other users, and root may write anywhere.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if has_journal:
            noted(folder / "x")
            (folder / "x").chmod(0o444)
        folder.chmod(0o555)
        said = run(_UNPRIVILEGED, str(folder / "x"))
        folder.chmod(0o755)
    what = "The journal {} cannot be read or written" if has_journal else "create the journal {}"
    assert what.format(folder / "x") in said
    assert "permissions" in said


def test_a_full_disk_is_an_error_that_loses_no_note(path: Path) -> None:
    """On a full disk earlier notes are kept; with room the journal can be used again."""
    with Journal.open(path, JOB) as journal:
        journal._connection.execute("PRAGMA max_page_count = 10")
        with pytest.raises(StorageError, match="the disk is full") as caught:
            _note_all(journal)
        count = journal.counts["put"]
        assert 100 < count < _LONG
        assert "Free space" in str(caught.value.hint)
        assert journal.outcome_of(f"s3://bucket/{count - 1}") == "put"
        assert journal.outcome_of(f"s3://bucket/{count}") is None
        journal._connection.execute("PRAGMA max_page_count = 100000")
        journal.note(f"s3://bucket/{count}", "put")
    with Journal.open(path, JOB) as journal:
        assert journal.counts == {"put": count + 1}


def test_a_journal_knows_its_files(path: Path, tmp_path: Path) -> None:
    """`owns` recognises the files of the journal by any path, before and after the first note."""
    (tmp_path / "other").touch()
    (tmp_path / "link").symlink_to(path)
    with Journal.open(path, JOB) as journal:
        for _ in range(2):
            owned = [file.name for file in tmp_path.iterdir() if journal.owns(file)]
            assert {path.name, "link"} <= set(owned) <= {path.name, "link", f"{path.name}-journal"}
            assert not journal.owns(tmp_path / "missing")
            journal.note("a", "put")
        assert f"{path.name}-journal" in owned


def test_a_closed_journal_says_so(path: Path) -> None:
    """A note in a closed journal is an error; a journal may be closed twice."""
    journal = Journal.open(path, JOB)
    journal.close()
    journal.close()
    with pytest.raises(ConfigError, match=f"journal {path} is closed"):
        journal.note("a", "put")


_LIMITED = f"""
import resource, sys
from s3crypt.errors import StorageError
from s3crypt.jobs.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
journal = Journal.open(sys.argv[1], {JOB!r})
for number in range(10**6):
    try:
        journal.note(f"s3://bucket/{{number}}", "put")
    except StorageError as error:
        print(number, error, sep=chr(10))
        break
"""


def test_a_write_that_fails_is_an_error_that_loses_no_note(path: Path) -> None:
    """If a write fails, here by a limit on file sizes, it is an error that loses no note."""
    count, said = run(_LIMITED, str(path)).splitlines()
    assert f"The journal {path} cannot be read or written" in said
    with Journal.open(path, JOB) as journal:
        assert journal.counts == {"put": int(count)}


def test_damage_that_comes_later_is_the_same_error(path: Path) -> None:
    """A damaged page of an open journal raises the same error as a damaged journal at opening."""
    data = _make_long(path)
    with Journal.open(path, JOB) as journal:
        journal._connection.execute("PRAGMA cache_size = 1")
        data[2 * 4096 :] = b"\xa5" * (len(data) - 2 * 4096)
        path.write_bytes(data)
        for act in (
            lambda: [journal.outcome_of(f"s3://bucket/{number}") for number in range(_LONG)],
            lambda: _note_all(journal),
            lambda: journal.counts,
        ):
            with pytest.raises(StorageError, match="is damaged") as caught:
                act()
            assert "Delete it" in str(caught.value.hint)


def test_a_journal_is_one_processes(path: Path) -> None:
    """A second process cannot open a journal in use; the lock ends with the first process."""
    with killed(_NOTING, str(path), "0") as (output, _):
        assert (output.readline(), output.readline()) == (b"ready\n", b"open\n")
        with pytest.raises(ConfigError, match=f"journal {path} is in use") as caught:
            Journal.open(path, JOB)
        assert "Wait" in str(caught.value.hint)
    Journal.open(path, JOB).close()


_TRYING = f"""
import sys
from s3crypt.errors import ConfigError
from s3crypt.jobs.journal import Journal
try:
    Journal.open(sys.argv[1], {JOB!r}).close()
except ConfigError as error:
    print(error)
"""


def test_a_refused_attempt_does_not_end_the_lock(path: Path) -> None:
    """If a process is refused the journal that it has open, its lock on the journal stays.

    The system drops all locks of a process on a file when the process closes any descriptor of this
    file.
    """
    with Journal.open(path, JOB) as journal:
        for _ in range(2):
            with pytest.raises(ConfigError, match="is in use"):
                Journal.open(path, JOB)
            assert "is in use" in run(_TRYING, str(path))
        journal.note("a", "put")
    assert run(_TRYING, str(path)) == ""


def test_threads_share_a_journal(path: Path) -> None:
    """Several threads can use one journal: no note is lost, and each thread sees all notes."""
    wrong: list[object] = []

    def note_all(journal: Journal, thread: int) -> None:
        for number in range(300):
            journal.note(f"{thread}/{number}", "put")
            if journal.outcome_of(f"{thread}/{number}") != "put":
                wrong.append((thread, number))

    with Journal.open(path, JOB) as journal:
        threads = [threading.Thread(target=note_all, args=(journal, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Journal.open(path, JOB) as journal:
        assert journal.counts == {"put": 8 * 300}
    assert not wrong


_FORKING = f"""
import os, sys
from s3crypt.errors import ConfigError
from s3crypt.jobs.journal import Journal
with Journal.open(sys.argv[1], {JOB!r}) as journal:
    for number in range(100):
        journal.note(str(number), "put")
    if not os.fork():
        for use in (lambda: journal.note("child", "put"), lambda: journal.outcome_of("1")):
            try:
                use()
            except ConfigError as error:
                print(error)
        sys.exit()
    os.wait()
    for number in range(100, 200):
        journal.note(str(number), "put")
    print(journal.counts, flush=True)
    os._exit(0)  # as by SIGKILL, the journal is not closed
"""


def test_a_fork_leaves_the_journal_to_the_parent(path: Path) -> None:
    """In a child process the journal raises an error, and closing it there does no harm."""
    first, second, counts = run(_FORKING, str(path)).splitlines()
    assert first == second == f"The journal {path} belongs to the process that opened it."
    assert counts == "{'put': 200}"
    with Journal.open(path, JOB) as journal:
        assert journal.counts == {"put": 200}


def test_sigkill_undoes_no_note(path: Path) -> None:
    """After SIGKILL at each of twenty moments, the journal has every acknowledged note."""
    moments = random.Random(15)
    acknowledged: set[int] = set()
    for start in range(0, 20_000_000, 1_000_000):
        with killed(_NOTING, str(path), str(start)) as (output, rest):
            assert (output.readline(), output.readline()) == (b"ready\n", b"open\n")
            for _ in range(moments.randrange(1, 400)):
                acknowledged.add(int(output.readline()))
            time.sleep(moments.random() / 1000)
        acknowledged.update(map(int, rest))
        with Journal.open(path, JOB) as journal:
            missing = [
                number
                for number in acknowledged
                if journal.outcome_of(f"s3://bucket/t/{number:08d}", str(number)) != "put"
            ]
            assert not missing
            # Each run of the two threads can have two notes that were written but not acknowledged.
            in_flight = journal.counts["put"] - len(acknowledged)
            assert 0 <= in_flight <= 2 * (start // 1_000_000 + 1)
    assert len(acknowledged) > 2000


def test_sigkill_while_a_journal_is_made(tmp_path: Path) -> None:
    """After SIGKILL while a journal is made, the journal can be opened."""
    moments = random.Random(16)
    made = 0
    for number in range(10):
        path = tmp_path / str(number)
        with killed(_NOTING, str(path), "0") as (output, _):
            assert output.readline() == b"ready\n"
            time.sleep(moments.random() / 300)
        made += path.exists()
        noted(path, a="put")
    assert made


_GROWING = f"""
import resource, sys
from s3crypt.jobs.journal import Journal
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with Journal.open(sys.argv[1], {JOB!r}) as journal:
    for number in range(30_000):
        journal.note(f"s3://bucket/{{number * 7919 % 30_000}}" + 300 * "x", "put")
        if number == 10_000:
            before = peak()
    journal.counts
    print(peak() - before)
"""


def test_memory_does_not_grow_with_the_items(path: Path) -> None:
    """A journal of 8 MB takes little memory, because SQLite keeps at most 2 MB of its pages."""
    kib = int(run(_GROWING, str(path)))
    assert path.stat().st_size > 8_000_000
    assert kib < 1500
