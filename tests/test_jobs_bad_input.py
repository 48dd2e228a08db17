# SPDX-License-Identifier: Apache-2.0
"""Jobs with bad files, names, journals, disks and services. The unaffected items are still done."""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying
from s3crypt_cli.main import run

from s3crypt import SSES3, AESKeyring, ClientSide, S3Crypt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import RequestsLog

    from s3crypt.sandbox import Running

_MODE = ("--mode", "sse-s3")
_MIB = 2**20


@dataclass
class Ended:
    """The exit code and output of a command."""

    code: int
    said: str
    outcomes: list[dict[str, Any]]

    @property
    def actions(self) -> dict[str, int]:
        """Return the number of outcomes per action, from the last line of the output."""
        return dict(self.outcomes[-1]["counts"])


# Functions that change replies. One relay serves a whole test and calls them, because a journal
# belongs to one endpoint.
_SPOILS: list[Callable[[Asked, Callable[[], Answer]], Answer]] = []


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sandbox: Running,
) -> Iterator[Callable[..., Ended]]:
    """Return a function that runs the command with --json, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object, is_json: bool = True) -> Ended:
        capfd.readouterr()
        code = run([*map(str, arguments), *["--json"] * is_json])
        out, said = capfd.readouterr()
        return Ended(code, said, [json.loads(line) for line in out.splitlines()])

    def answer(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return _SPOILS[-1](asked, forward) if _SPOILS else forward()

    with relaying(sandbox.endpoint_url, answer) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
        yield command


@contextmanager
def spoiled(_: Running, spoil: Any) -> Iterator[str]:
    """Let the command's relay change replies by `spoil` within the block."""
    _SPOILS.append(spoil)
    try:
        yield os.environ["AWS_ENDPOINT_URL_S3"]
    finally:
        _SPOILS.pop()


def refusal(status: int, code: str) -> Answer:
    """Return an error reply of S3."""
    body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
    return Answer(status, {"content-type": "application/xml"}, body)


def fill(folder: Path, count: int, size: int = 100) -> dict[str, bytes]:
    """Make files, and return their contents by name."""
    contents = {f"{number:03}": os.urandom(size) for number in range(count)}
    folder.mkdir(exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return contents


def stored(s3: Any, bucket: str, prefix: str = "t/") -> dict[str, bytes]:
    """Return the contents below a prefix, by their names after it."""
    names = [
        item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())
    ]
    return {
        name.removeprefix(prefix): s3.get_object(Bucket=bucket, Key=name)["Body"].read()
        for name in names
    }


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents below a folder, by their paths below it."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def puts(requests_log: RequestsLog) -> list[str]:
    """Return the names of the objects that were put, and clear the log."""
    names = [
        entry["path"].rpartition("/")[2]
        for entry in requests_log.list()
        if entry["method"] == "PUT"
    ]
    requests_log.clear()
    return sorted(names)


# Folders.


def test_bad_files_stop_no_other(
    command: Callable[..., Ended], s3: Any, bucket: str, requests_log: RequestsLog
) -> None:
    """Unusable links, sockets, pipes and names are reported, and the other files are put once."""
    contents = fill(Path("tree"), 3)
    Path("tree/dangling").symlink_to("nowhere")
    Path("tree/itself").symlink_to("itself")
    Path("tree/around").symlink_to("..")
    Path("tree/link").symlink_to("000")
    os.mkfifo("tree/pipe")
    Path("tree", os.fsdecode(b"caf\xe9")).write_bytes(b"")
    with Path("tree/sparse").open("wb") as file:
        file.truncate(9 * _MIB)
    asked = ("put", "-r", "tree", f"s3://{bucket}/t", *_MODE, "--journal", "journal")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("tree/socket")
        ended = command(*asked)
    assert ended.code == 1
    assert ended.actions == {"put": 5, "failed": 3}
    assert ended.outcomes[-1]["causes"] == {"LocalFileNotFoundError": 1, "StorageError": 1} | {
        "ConfigError": 1
    }
    for word in ("dangling", "Too many levels", "not UTF-8", "around: skipped", "pipe: skipped"):
        assert word in ended.said
    expected = contents | {"link": contents["000"], "sparse": bytes(9 * _MIB)}
    assert stored(s3, bucket) == expected
    puts(requests_log)
    for name in ("dangling", "itself", os.fsdecode(b"caf\xe9")):
        Path("tree", name).unlink()
    Path("tree/dangling").write_bytes(b"now")
    ended = command(*asked)
    assert (ended.code, ended.actions) == (0, {"put": 1})
    assert puts(requests_log) == ["dangling"]


def test_files_that_change_during_the_job(
    command: Callable[..., Ended], sandbox: Running, s3: Any, bucket: str, requests_log: RequestsLog
) -> None:
    """A file that changes during the job fails or is put completely."""
    contents = fill(Path("tree"), 2)
    for name in ("004-grows", "005-shrinks", "006-shrunk"):
        Path("tree", name).write_bytes(bytes(9 * _MIB))
    all_found = threading.Event()

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        assert all_found.wait(20)
        if asked.path.endswith("/000"):
            Path("tree/001").unlink()
            os.truncate("tree/006-shrunk", 10)
        elif asked.is_part and "grows" in asked.path:
            os.truncate("tree/004-grows", 10 * _MIB)
        elif asked.is_part and "shrinks" in asked.path:
            os.truncate("tree/005-shrinks", 8 * _MIB)
        return forward()

    with spoiled(sandbox, spoil):
        outcomes = list(
            S3Crypt(SSES3()).many.put_folder(
                "tree",
                f"s3://{bucket}/t/",
                jobs=1,
                found=lambda size: all_found.set() if size is None else None,
            )
        )
    failed = {Path(str(outcome.item[0])).name for outcome in outcomes if outcome.error}
    assert failed == {"001", "004-grows", "005-shrinks"}
    assert stored(s3, bucket) == {"000": contents["000"], "006-shrunk": bytes(10)}
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    requests_log.clear()
    assert command("put", "-r", "tree", f"s3://{bucket}/t", *_MODE).code == 0
    assert stored(s3, bucket) == files(Path("tree"))


def test_a_file_that_was_written_to_since_is_done_again(
    command: Callable[..., Ended], bucket: str, requests_log: RequestsLog
) -> None:
    """A file that changed after a job is put again: a journal identifies files by size and time."""
    fill(Path("tree"), 3)
    asked = ("put", "-r", "tree", f"s3://{bucket}/t", *_MODE, "--journal", "journal")
    assert command(*asked).code == 0
    Path("tree/001").write_bytes(b"other")
    puts(requests_log)
    assert command(*asked).actions == {"put": 1}
    assert puts(requests_log) == ["001"]


def test_a_journal_in_its_own_folder(command: Callable[..., Ended], s3: Any, bucket: str) -> None:
    """A journal in the folder that is put does not become an object, and keeps its lock."""
    contents = fill(Path("tree"), 3)
    asked = ("put", "-r", "tree", f"s3://{bucket}/t", *_MODE, "--journal", "tree/journal")
    for _ in range(2):
        ended = command(*asked)
        assert ended.code == 0
        assert stored(s3, bucket) == contents


def test_an_object_of_a_journals_name(command: Callable[..., Ended], s3: Any, bucket: str) -> None:
    """An object that would overwrite the journal fails; the other objects are fetched."""
    for name in ("a", "journal", "z"):
        s3.put_object(Bucket=bucket, Key=f"t/{name}", Body=name.encode())
    Path("back").mkdir()
    asked = ("get", "-r", f"s3://{bucket}/t", "back", *_MODE, "--journal", "back/journal")
    for actions in ({"get": 2, "failed": 1}, {"failed": 1}):
        ended = command(*asked)
        assert (ended.code, ended.actions) == (5, actions)
        assert Path("back/journal").read_bytes()[:6] == b"SQLite"


# Listings.

# The sandbox accepts no name with a newline.
_WRITTEN = (
    "return\r",
    "quotes\"'`",
    "100%25 +&<>",
    "controls\t\x01\x1b[31m\x7f",
    " spaces ",
    "grüße/\u202e\N{OWL}",
    "-r",
    "/".join(["long"] * 190),
)
# These names lead to simpler paths: redundant slashes and dots are left out.
_SQUEEZED = {"a//b": "a/b", "./here": "here", "/top": "top"}
_REFUSED = ("../up", "x" * 300, "folder/")


def test_odd_names(command: Callable[..., Ended], s3: Any, bucket: str) -> None:
    """Objects with unusual names are rotated, inspected, fetched and deleted."""
    every_name = (*_WRITTEN, *_SQUEEZED, *_REFUSED)
    for name in every_name:
        s3.put_object(Bucket=bucket, Key=f"t/{name}", Body=name.encode())
    every = f"s3://{bucket}/t"
    ended = command("inspect", "-r", every)
    assert ended.code == 0, ended.said
    assert {each["uri"] for each in ended.outcomes[:-1]} == {
        f"{every}/{name}" for name in every_name
    }
    ended = command("get", "-r", every, "back", *_MODE, "--journal", "journal")
    count = len(_WRITTEN) + len(_SQUEEZED)
    assert (ended.code, ended.actions["get"]) == (1, count), ended.said
    assert "\x1b" not in ended.said
    paths = {name: name for name in _WRITTEN} | _SQUEEZED
    assert files(Path("back")) == {path: name.encode() for name, path in paths.items()}
    told = {each["source"]: each["target"] for each in ended.outcomes if each["action"] == "get"}
    assert told == {f"{every}/{name}": f"back/{path}" for name, path in paths.items()}
    assert not Path("up").exists()
    ended = command("get", "-r", every, "back", *_MODE, "--journal", "journal")
    assert (ended.code, ended.actions) == (1, {"failed": len(_REFUSED)})
    Path("key").write_bytes(bytes(32))
    ended = command("rotate", "-r", every, "--from-mode", "sse-s3", "--key", "aes:a/b=key")
    assert (ended.code, ended.actions) == (0, {"re-encrypted": len(every_name)})
    ended = command("rm", "-r", every)
    assert (ended.code, ended.actions) == (0, {"deleted": len(every_name)})
    assert stored(s3, bucket) == {}


def test_names_that_collide(command: Callable[..., Ended], s3: Any, bucket: str) -> None:
    """If an object's name is a folder in another object's name, only the first object is fetched.

    The other object is reported as failed.
    """
    for name in ("a", "a/b", "c", "d/e", "d/e/f"):
        s3.put_object(Bucket=bucket, Key=f"t/{name}", Body=name.encode())
    ended = command("get", "-r", f"s3://{bucket}/t", "back", *_MODE)
    assert (ended.code, ended.actions) == (5, {"get": 3, "failed": 2})
    got = files(Path("back"))
    assert got == {name: name.encode() for name in got}
    assert (len(got), got["c"]) == (3, b"c")


def test_names_that_meet_in_one_path(command: Callable[..., Ended], s3: Any, bucket: str) -> None:
    """If several names lead to one path, only the object with the plain name is fetched.

    The other objects fail, also in a dry run.
    """
    meeting = ("a/.x", "a/./.x", "a//.x", "a/b", "a//b", "c//d")
    for name in meeting:
        s3.put_object(Bucket=bucket, Key=f"t/{name}", Body=name.encode())
    asked = ("get", "-r", f"s3://{bucket}/t", "back", *_MODE)
    assert command(*asked, "--dry-run").actions == {"would get": 3, "failed": 3}
    for _ in range(2):
        ended = command(*asked)
        assert (ended.code, ended.actions) == (5, {"get": 3, "failed": 3})
        assert files(Path("back")) == {"a/.x": b"a/.x", "a/b": b"a/b", "c/d": b"c//d"}
        for name, other in (("a/./.x", "a/.x"), ("a//.x", "a/.x"), ("a//b", "a/b")):
            text = f"s3://{bucket}/t/{name}: s3://{bucket}/t/{other} is an object, too"
            assert text in ended.said


def test_errors_of_a_file_name_its_object(
    command: Callable[..., Ended], s3: Any, bucket: str
) -> None:
    """If the file system refuses a file, the error names its object."""
    for name in ("a", "b/c", "d", f"{'e' * 300}"):
        s3.put_object(Bucket=bucket, Key=f"t/{name}", Body=name.encode())
    Path("back/a").mkdir(parents=True)
    Path("back/b").write_bytes(b"")
    Path("back/d").symlink_to("loop")
    Path("back/loop").symlink_to("d")
    ended = command("get", "-r", f"s3://{bucket}/t", "back", *_MODE)
    assert ended.actions == {"failed": 4}
    for name in ("a", "b/c", "d", "e" * 300):
        assert re.search(f"^s3crypt: s3://{bucket}/t/{name}: ", ended.said, re.MULTILINE), name


def test_delete_markers(command: Callable[..., Ended], s3: Any, versioned_bucket: str) -> None:
    """Objects hidden by delete markers are not found; `rm` deletes no version."""
    every = f"s3://{versioned_bucket}/t"
    for name in ("a", "b", "c"):
        s3.put_object(Bucket=versioned_bucket, Key=f"t/{name}", Body=name.encode())
    s3.delete_object(Bucket=versioned_bucket, Key="t/b")
    assert command("get", "-r", every, "back", *_MODE).actions == {"get": 2}
    assert command("rm", "-r", every).actions == {"deleted": 2}
    ended = command("rm", "-r", every)
    assert (ended.code, "no objects below" in ended.said) == (5, True)
    listed = s3.list_object_versions(Bucket=versioned_bucket)
    assert (len(listed["Versions"]), len(listed["DeleteMarkers"])) == (3, 3)


def test_archived_objects(
    command: Callable[..., Ended], sandbox: Running, s3: Any, bucket: str, requests_log: RequestsLog
) -> None:
    """Of several objects only the archived object fails. After its restore it is fetched."""
    for name in ("a", "b", "c"):
        s3.put_object(Bucket=bucket, Key=f"t/{name}", Body=name.encode())

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "GET" and asked.path.endswith("/b"):
            return refusal(403, "InvalidObjectState")
        return forward()

    asked = ("get", "-r", f"s3://{bucket}/t", "back", *_MODE, "--journal", "journal")
    with spoiled(sandbox, spoil):
        ended = command(*asked)
    assert (ended.code, ended.actions) == (5, {"get": 2, "failed": 1})
    assert ended.outcomes[-1]["causes"] == {"InvalidObjectState": 1}
    assert "/b: the object is archived" in ended.said
    requests_log.clear()
    assert command(*asked).actions == {"get": 1}
    asked_for = {entry["path"] for entry in requests_log.list()}
    assert asked_for == {f"/{bucket}", f"/{bucket}/t/b"}


def test_a_folder_in_the_way_is_one_objects_failure(s3: Any, bucket: str, tmp_path: Path) -> None:
    """`many.get` continues if the folder for one path cannot be made."""
    for name in ("a", "b"):
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    (tmp_path / "file").write_bytes(b"")
    pairs = [
        (f"s3://{bucket}/a", tmp_path / "file" / "a"),
        (f"s3://{bucket}/b", tmp_path / "b"),
    ]
    outcomes = {outcome.item[0]: outcome.error for outcome in S3Crypt(SSES3()).many.get(pairs)}
    assert outcomes[f"s3://{bucket}/a"] is not None
    assert outcomes[f"s3://{bucket}/b"] is None


# Two jobs, journals and disks.


def test_two_jobs_on_one_target(bucket: str, tmp_path: Path) -> None:
    """Two puts to one prefix, then two gets into one folder, leave each object complete."""
    contents = fill(tmp_path / "tree", 30, size=5000)
    many = [S3Crypt(ClientSide(AESKeyring("a", "b", bytes(32)))).many for _ in range(2)]

    def twice(job: Callable[[int], Any]) -> None:
        errors: list[Any] = []

        def run_job(number: int) -> None:
            errors.extend(outcome.error for outcome in job(number))

        threads = [threading.Thread(target=run_job, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == [None] * 60

    prefix = f"s3://{bucket}/t/"
    twice(lambda number: many[number].put_folder(tmp_path / "tree", prefix))
    twice(lambda number: many[number].get_folder(prefix, tmp_path / "back"))
    assert files(tmp_path / "back") == contents


@pytest.mark.parametrize("kind", ["in use", "of another job", "damaged", "no journal"])
def test_a_journal_that_cannot_be_used(
    command: Callable[..., Ended], bucket: str, requests_log: RequestsLog, kind: str
) -> None:
    """A journal that cannot be used is an error; the job does nothing and keeps the file."""
    fill(Path("tree"), 3)
    journal = Path("journal")
    asked = ("put", "-r", "tree", f"s3://{bucket}/t", *_MODE, "--journal", journal)
    assert command(*asked).code == 0
    before = journal.read_bytes()
    if kind == "of another job":
        asked = ("put", "-r", "tree", f"s3://{bucket}/other", *_MODE, "--journal", journal)
    elif kind == "damaged":
        before = before[:4096] + bytes(range(256)) * (len(before[4096:]) // 256)
    elif kind == "no journal":
        before = b"important notes"
    journal.write_bytes(before)
    requests_log.clear()
    if kind == "in use":
        script = "import sqlite3, sys; c = sqlite3.connect('journal', isolation_level=None)\n"
        script += "c.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            assert other.stdin is not None
            other.stdout.readline()
            ended = command(*asked)
            other.stdin.close()
    else:
        ended = command(*asked)
    assert ended.code == (5 if kind == "damaged" else 2)
    assert "journal" in ended.said
    assert requests_log.list() == []
    assert journal.read_bytes() == before


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Limit the size of files that this process writes, to act like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(command: Callable[..., Ended], s3: Any, bucket: str) -> None:
    """An object that does not fit on the disk fails and leaves no file.

    With room on the disk, the next run fetches only this object.
    """
    contents = {"a": b"a", "b": os.urandom(_MIB), "c": b"c"}
    for name, data in contents.items():
        s3.put_object(Bucket=bucket, Key=f"t/{name}", Body=data)
    asked = ("get", "-r", f"s3://{bucket}/t", "back", *_MODE, "--journal", "journal")
    with files_of_at_most(_MIB // 2):
        ended = command(*asked)
    assert (ended.code, ended.actions) == (5, {"get": 2, "failed": 1})
    assert sorted(files(Path("back"))) == ["a", "c"]
    assert command(*asked).actions == {"get": 1}
    assert files(Path("back")) == contents


def test_a_journal_on_a_full_disk(
    command: Callable[..., Ended], bucket: str, requests_log: RequestsLog
) -> None:
    """If the journal cannot be written, the job stops; with room on the disk it continues."""
    fill(Path("tree"), 300)
    asked = ("put", "-r", "tree", f"s3://{bucket}/t", *_MODE, "--journal", "journal")
    with files_of_at_most(20_000):
        # pytest captures the output in a file, which has the same limit, so the output must be
        # short.
        ended = command(*asked, "--jobs", 4, is_json=False)
    assert ended.code == 5
    assert "The journal journal cannot be" in ended.said
    assert len(ended.said.splitlines()) < 10
    done = len(puts(requests_log))
    assert 0 < done < 300
    assert command(*asked).code == 0
    # At most 4 objects are put twice: those in progress when the disk became full.
    assert len(puts(requests_log)) <= 300 - done + 4


# Services.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt(
    command: Callable[..., Ended],
    sandbox: Running,
    s3: Any,
    bucket: str,
    requests_log: RequestsLog,
    number: signal.Signals,
) -> None:
    """An interrupted job reports the finished items, and the next run does the rest."""
    contents = fill(Path("tree"), 40)
    count, is_reached, interrupted = itertools.count(), threading.Event(), threading.Event()

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        if next(count) >= 20:
            is_reached.set()
            assert interrupted.wait(30)
        return forward()

    asked = ("put", "-r", "tree", f"s3://{bucket}/t", *_MODE, "--journal", "journal")
    # A background process can inherit that ctrl-C is ignored. The command must react to ctrl-C
    # here.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "from s3crypt_cli.main import main; main()"
    with (
        spoiled(sandbox, spoil),
        subprocess.Popen(
            [sys.executable, "-c", script, *asked, "--jobs", "4"],
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert is_reached.wait(30)
        process.send_signal(number)
        interrupted.set()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "s3crypt: interrupted" in said
    assert "put: " in said
    done = set(stored(s3, bucket))
    assert 20 <= len(done) <= 24
    puts(requests_log)
    ended = command(*asked)
    assert ended.code == 0
    again = set(puts(requests_log)) & done
    assert len(again) <= 4
    assert stored(s3, bucket) == contents


@pytest.mark.parametrize("verb", ["put", "get", "rotate", "rm"])
def test_some_requests_fail(
    command: Callable[..., Ended],
    sandbox: Running,
    s3: Any,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    """A job succeeds although one request in eight gets 500, 503 or no reply."""
    # On a busy machine five attempts take longer than the other tests' deadline.
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "60")
    contents = fill(Path("tree"), 40)
    every = f"s3://{bucket}/t"
    if verb != "put":
        for name, data in contents.items():
            s3.put_object(Bucket=bucket, Key=f"t/{name}", Body=data)
    count, ways = itertools.count(1), itertools.count()

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        if next(count) % 8:
            return forward()
        way = next(ways) % 3
        if way == 2:
            raise ConnectionResetError
        return refusal(503, "SlowDown") if way else refusal(500, "InternalError")

    Path("key").write_bytes(bytes(32))
    asked: dict[str, tuple[str, ...]] = {
        "put": ("put", "-r", "tree", every, *_MODE),
        "get": ("get", "-r", every, "back", *_MODE),
        "rotate": ("rotate", "-r", every, "--from-mode", "sse-s3", "--key", "aes:a/b=key"),
        "rm": ("rm", "-r", every),
    }
    with spoiled(sandbox, spoil):
        ended = command(*asked[verb])
    assert ended.code == 0, ended.said
    assert sum(ended.actions.values()) == 40
    if verb == "put":
        assert stored(s3, bucket) == contents
    elif verb == "get":
        assert files(Path("back")) == contents
    elif verb == "rotate":
        store = S3Crypt(ClientSide(AESKeyring("a", "b", bytes(32))))
        assert {name: store.read(f"{every}/{name}") for name in contents} == contents
    else:
        assert stored(s3, bucket) == {}


def test_one_object_whose_requests_always_fail(
    command: Callable[..., Ended],
    sandbox: Running,
    bucket: str,
    requests_log: RequestsLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If all requests about one object fail, its error has the service's code.

    The next run repeats only this object.
    """
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "0.3")
    fill(Path("tree"), 20)

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return refusal(503, "SlowDown") if asked.path.endswith("/007") else forward()

    asked = ("put", "-r", "tree", f"s3://{bucket}/t", *_MODE, "--journal", "journal")
    with spoiled(sandbox, spoil):
        ended = command(*asked)
    assert (ended.code, ended.actions) == (5, {"put": 19, "failed": 1})
    assert ended.outcomes[-1]["causes"] == {"SlowDown": 1}
    puts(requests_log)
    assert command(*asked).actions == {"put": 1}
    assert puts(requests_log) == ["007"]


@pytest.mark.parametrize(
    "verb",
    ["put", "get", "rotate"],
)
def test_credentials_that_expire(
    command: Callable[..., Ended],
    sandbox: Running,
    s3: Any,
    bucket: str,
    verb: str,
) -> None:
    """If credentials expire, the job stops at once; with new credentials it does the rest."""
    contents = fill(Path("tree"), 40)
    every = f"s3://{bucket}/t"
    if verb != "put":
        for name, data in contents.items():
            s3.put_object(Bucket=bucket, Key=f"t/{name}", Body=data)
    count = itertools.count()
    refused: list[str] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if next(count) < 20:
            return forward()
        refused.append(asked.path)
        return refusal(400, "ExpiredToken")

    Path("key").write_bytes(bytes(32))
    options: dict[str, tuple[str, ...]] = {
        "put": ("put", "-r", "tree", every, *_MODE),
        "get": ("get", "-r", every, "back", *_MODE),
        "rotate": ("rotate", "-r", every, "--from-mode", "sse-s3", "--key", "aes:a/b=key"),
    }
    asked = (*options[verb], "--journal", "journal", "--jobs", "4")
    with spoiled(sandbox, spoil):
        ended = command(*asked)
    assert ended.code == 5
    assert ended.said.count("the credentials have expired") == 1
    # Four objects are in progress, and a rotation also requests the tags of an object.
    assert len(refused) <= 8
    done = sum(ended.actions.values()) - ended.actions.get("failed", 0)
    assert 0 < done < 40
    again = command(*asked)
    assert again.code == 0
    assert 40 - done - 4 <= sum(again.actions.values()) <= 40 - done
