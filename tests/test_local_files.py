# SPDX-License-Identifier: Apache-2.0
"""A target file appears complete or not at all, whatever its path is."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from samples import files

from s3crypt import ConfigError, StorageError
from s3crypt.errors import LocalFileNotFoundError
from s3crypt.files import atomic_write, leftovers, remove_leftover

# A script that writes to the path in its argument until it is killed.
_WRITER = """if True:
    import sys, time
    from s3crypt.files import atomic_write
    with atomic_write(sys.argv[1]) as file:
        file.write(b"plaintext")
        file.flush()
        print("writing", flush=True)
        time.sleep(60)
"""


def _write(target: str | Path, content: bytes = b"new") -> None:
    with atomic_write(target) as file:
        file.write(content)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, which is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "spelling", ["{}/out", "out", "./out", "out/", "out/.", "{}//out", "d/../out", "d//../out/."]
)
@pytest.mark.parametrize("is_there", [False, True])
def test_every_spelling_is_the_same_file(spelling: str, folder: Path, *, is_there: bool) -> None:
    """Every spelling of a path means the same file; it is complete, and no other file is left."""
    (folder / "d").mkdir()
    if is_there:
        (folder / "out").write_bytes(b"old, and longer")
    _write(spelling.format(folder))
    assert (folder / "out").read_bytes() == b"new"
    assert files(folder) == ["d", "out"]
    assert files(folder / "d") == []


@pytest.mark.parametrize("target", ["", ".", "..", "/", "d", "d/", "d/.", "d/e/..", "to-d"])
def test_a_directory_is_no_target(target: str, folder: Path) -> None:
    """A directory is refused under any spelling, and nothing is created in it."""
    (folder / "d" / "e").mkdir(parents=True)
    (folder / "to-d").symlink_to("d")
    with pytest.raises(StorageError, match="is a directory"):
        _write(target)
    assert (files(folder), files(folder / "d")) == (["d", "to-d"], ["e"])


def test_links_lead_to_the_file_that_is_replaced(folder: Path) -> None:
    """A chain of links into another folder is followed; the links stay."""
    (folder / "d").mkdir()
    (folder / "d" / "real").write_bytes(b"old")
    (folder / "d" / "link").symlink_to("real")
    (folder / "link").symlink_to("d/link")
    with atomic_write("link") as file:
        file.write(b"new")
        assert files(folder) == ["d", "link"]
        assert (folder / "d" / "real").read_bytes() == b"old"
    assert (folder / "d" / "real").read_bytes() == b"new"
    assert (folder / "link").is_symlink()
    assert (folder / "d" / "link").is_symlink()
    assert files(folder / "d") == ["link", "real"]


def test_a_link_to_nothing_makes_the_file_it_names(folder: Path) -> None:
    """A write through a dangling link creates the link's target, but no missing folder."""
    (folder / "d").mkdir()
    (folder / "link").symlink_to("d/real")
    (folder / "lost").symlink_to("none/real")
    _write("link")
    assert (folder / "d" / "real").read_bytes() == b"new"
    assert (folder / "link").is_symlink()
    with pytest.raises(LocalFileNotFoundError, match="Cannot write lost"):
        _write("lost")
    assert files(folder) == ["d", "link", "lost"]


def test_a_loop_of_links_is_an_error(folder: Path) -> None:
    """A write to a loop of links is an error, and the links are not changed."""
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    with pytest.raises(StorageError, match="Cannot write a"):
        _write("a")
    assert files(folder) == ["a", "b"]
    assert (folder / "a").readlink() == Path("b")


def test_a_file_in_the_way_of_a_folder_is_an_error(folder: Path) -> None:
    """If a regular file stands where a folder of the target must be, the write is an error."""
    (folder / "file").write_bytes(b"old")
    with pytest.raises(StorageError, match="Cannot write file/out"):
        _write("file/out")
    assert (folder / "file").read_bytes() == b"old"


def test_the_mode_is_the_umasks_or_the_replaced_files(folder: Path) -> None:
    """A new file's mode follows the umask; a replaced file's mode is kept."""
    before = os.umask(0o027)
    try:
        _write("new")
        for mode in (0o600, 0o666, 0o444, 0o755):
            (folder / "old").write_bytes(b"old")
            (folder / "old").chmod(mode)
            with atomic_write("old") as file:
                assert os.fstat(file.fileno()).st_mode & 0o777 == mode
            assert (folder / "old").stat().st_mode & 0o777 == mode
            (folder / "old").unlink()
    finally:
        os.umask(before)
    assert (folder / "new").stat().st_mode & 0o777 == 0o640


def test_the_working_directory_may_change_meanwhile(folder: Path) -> None:
    """If the working directory changes meanwhile, a relative path still means the old directory."""
    (folder / "d").mkdir()
    with atomic_write("out") as file:
        file.write(b"new")
        os.chdir("d")
    assert (folder / "out").read_bytes() == b"new"
    assert files(folder) == ["d", "out"]


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
def test_a_block_that_fails_leaves_all_as_it_was(
    error: type[BaseException], folder: Path, *, is_there: bool
) -> None:
    """An error or an interrupt in the block leaves all files unchanged."""
    if is_there:
        (folder / "out").write_bytes(b"old")

    def fail() -> None:
        with atomic_write("out") as file:
            file.write(b"half")
            raise error

    with pytest.raises(StorageError if error is OSError else error):
        fail()
    assert files(folder) == ["out"] * is_there
    if is_there:
        assert (folder / "out").read_bytes() == b"old"


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "𝄞" * 63])
def test_names_as_long_as_they_may_be(name: str, folder: Path) -> None:
    """Names as long as the file system allows can be written; a longer name is an error.

    The name of the temporary file stays within the limit.
    """
    _write(name)
    assert files(folder) == [name]
    with pytest.raises(StorageError, match="Cannot write"):
        _write(f"{name}{name}")
    assert files(folder) == [name]


def test_a_device_is_written_and_stays(folder: Path) -> None:
    """A device, given by its name or by a link, is written in place and not replaced."""
    (folder / "null").symlink_to("/dev/null")
    for target in ("/dev/null", "null"):
        _write(target)
    assert not Path("/dev/null").is_file()
    assert (folder / "null").is_symlink()
    assert files(folder) == ["null"]


def surprised(error: StorageError) -> None:
    """Fail the test, because every folder is readable here."""
    pytest.fail(str(error))


def _start_writer(target: str) -> tuple[subprocess.Popen[str], str]:
    """Start a process that writes to `target`; return it and the name of its temporary file."""
    before = files(Path.cwd())
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, target], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    writer.stdout.close()
    (temporary,) = set(files(Path.cwd())) - set(before)
    return writer, temporary


def _kill(writer: subprocess.Popen[str]) -> None:
    writer.kill()
    assert writer.wait(30) == -signal.SIGKILL


def test_the_next_write_removes_what_a_killed_one_left(folder: Path) -> None:
    """The next write to a target removes the temporary file of a killed writer.

    The temporary file of a running writer stays.
    """
    alive, of_alive = _start_writer("out")
    killed, of_killed = _start_writer("out")
    _kill(killed)
    assert files(folder) == sorted((of_alive, of_killed))
    assert {path.name for path in leftovers(folder, report=surprised)} == {of_alive, of_killed}
    _write("another")
    assert files(folder) == sorted((of_alive, of_killed, "another"))
    _write("out")
    assert files(folder) == sorted((of_alive, "another", "out"))
    _kill(alive)
    _write("out", b"newer")
    assert files(folder) == ["another", "out"]
    assert (folder / "out").read_bytes() == b"newer"


@pytest.mark.parametrize("writers", [2, 6])
def test_several_writers_of_one_target(writers: int, folder: Path) -> None:
    """Several writers of a target each write their own file; the last one's content stays."""
    opened = [atomic_write("out") for _ in range(writers)]
    written = [each.__enter__() for each in opened]
    assert len(files(folder)) == writers
    for number, (writer, file) in enumerate(zip(opened, written, strict=True)):
        file.write(b"%d" % number)
        writer.__exit__(None, None, None)
        assert (folder / "out").read_bytes() == b"%d" % number
    assert files(folder) == ["out"]


def _leftover(folder: Path, target: str = "out") -> Path:
    """Create the temporary file that a killed writer of a target leaves behind."""
    before = set(files(folder))
    with atomic_write(folder / target):
        (name,) = set(files(folder)) - before
    (folder / target).unlink()
    (folder / name).write_bytes(b"plaintext")
    return folder / name


def test_a_leftover_is_removed_only_where_it_must_be_one(folder: Path) -> None:
    """A leftover stays if a process uses it, another user owns it, or it is no regular file.

    `remove_leftover` returns the reason.
    """
    path = _leftover(folder)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        _check_stays(path, "its writer is at work")
    path.unlink()
    (folder / "precious").write_bytes(b"precious")
    path.symlink_to("precious")
    _check_stays(path, "it is not a regular file")
    path.unlink()
    os.mkfifo(path)
    _check_stays(path, "it is not a regular file")
    path.unlink()
    path.mkdir()
    assert remove_leftover(path) == os.strerror(errno.EISDIR)
    path.rmdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        _check_stays(path, "it is not a regular file")
    path.unlink()
    assert remove_leftover(path) == os.strerror(errno.ENOENT)
    assert (folder / "precious").read_bytes() == b"precious"


def _check_stays(path: Path, why: str) -> None:
    assert remove_leftover(path) == why
    _write("out")
    assert os.path.lexists(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_file_is_no_leftover(folder: Path) -> None:
    """A leftover of another user is kept, and the target is written."""
    path = _leftover(folder)
    os.chown(path, 65534, 65534)
    _check_stays(path, "it is another user's")


def test_leftovers_are_found_below_a_folder(folder: Path) -> None:
    """`leftovers` finds temporary files below a folder by their names.

    It does not follow links to folders.
    """
    (folder / "d" / "e").mkdir(parents=True)
    found = {_leftover(folder), _leftover(folder / "d" / "e", "\N{SNOWMAN}" * 80)}
    for name in (
        "out.0123456789ab.s3crypt",
        ".s3crypt",
        ".out.0123456789AB.s3crypt",
        ".out.s3crypt",
    ):
        (folder / "d" / name).write_bytes(b"")
    (folder / "d" / "round").symlink_to("..")
    assert set(leftovers(folder, report=surprised)) == found
    assert [remove_leftover(path, dry_run=True) for path in found] == [None, None]
    assert all(path.exists() for path in found)
    assert [remove_leftover(path) for path in found] == [None, None]
    assert not list(leftovers(folder, report=surprised))
    with pytest.raises(ConfigError, match="is not a folder"):
        list(leftovers(folder / "d" / ".s3crypt", report=surprised))
    with pytest.raises(LocalFileNotFoundError, match="no such folder"):
        list(leftovers(folder / "none", report=surprised))


def test_a_temporary_file_that_was_replaced_is_not_published(folder: Path) -> None:
    """If the temporary file was replaced by another one, it does not become the target.

    Two machines that share files but not locks can do this.
    """
    writing = atomic_write("out")
    writing.__enter__()
    (name,) = files(folder)
    (folder / name).unlink()
    (folder / name).write_bytes(b"of another writer, half")
    with pytest.raises(StorageError, match="replaced the temporary file"):
        writing.__exit__(None, None, None)
    assert files(folder) == [name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_mode_is_not_kept(folder: Path) -> None:
    """The mode of another user's file is not kept when the file is replaced.

    The new file is not more accessible than the old file, nor than a file at a new path.
    """
    before = os.umask(0o022)
    try:
        for mode, wanted in ((0o666, 0o644), (0o777, 0o644), (0o640, 0o640), (0o004, 0o604)):
            (folder / "old").write_bytes(b"old")
            (folder / "old").chmod(mode)
            os.chown(folder / "old", 65534, 65534)
            with atomic_write("old") as file:
                assert os.fstat(file.fileno()).st_mode & 0o777 == wanted
            found = (folder / "old").stat()
            assert (found.st_mode & 0o777, found.st_uid) == (wanted, os.geteuid())
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("target", "cause", "hint"),
    [
        ("x" * 300, "File name too long", "shorter name"),
        ("/proc/self/fdinfo/x/y", "No such file", "Check the folder"),
        ("file/x", "Not a directory", "Move the file that"),
    ],
)
def test_a_hint_fits_its_cause(target: str, cause: str, hint: str, folder: Path) -> None:
    """The hint of each error fits its cause."""
    (folder / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=cause) as caught:
        _write(target)
    assert hint in str(caught.value.hint)
