# SPDX-License-Identifier: Apache-2.0
"""A file that appears whole or not at all, wherever its name leads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from samples import files

from s3crypt import StorageError
from s3crypt.errors import LocalFileNotFoundError
from s3crypt.files import atomic_write


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
    """Where it is new, and where it replaces one; no other name is left."""
    (folder / "d").mkdir()
    if is_there:
        (folder / "out").write_bytes(b"old, and longer")
    _write(spelling.format(folder))
    assert (folder / "out").read_bytes() == b"new"
    assert files(folder) == ["d", "out"]
    assert files(folder / "d") == []


@pytest.mark.parametrize("target", ["", ".", "..", "/", "d", "d/", "d/.", "d/e/..", "to-d"])
def test_a_directory_is_no_target(target: str, folder: Path) -> None:
    """By whatever name; nothing is made in it."""
    (folder / "d" / "e").mkdir(parents=True)
    (folder / "to-d").symlink_to("d")
    with pytest.raises(StorageError, match="is a directory"):
        _write(target)
    assert (files(folder), files(folder / "d")) == (["d", "to-d"], ["e"])


def test_links_lead_to_the_file_that_is_replaced(folder: Path) -> None:
    """By several links, into another folder, where the file is made; the links stay."""
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
    """And a link into a folder that is not there makes none."""
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
    """There is no file at its end; the links stay as they are."""
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    with pytest.raises(StorageError, match="Cannot write a"):
        _write("a")
    assert files(folder) == ["a", "b"]
    assert (folder / "a").readlink() == Path("b")


def test_a_file_in_the_way_of_a_folder_is_an_error(folder: Path) -> None:
    """A file has nothing below it."""
    (folder / "file").write_bytes(b"old")
    with pytest.raises(StorageError, match="Cannot write file/out"):
        _write("file/out")
    assert (folder / "file").read_bytes() == b"old"


def test_the_mode_is_the_umasks_or_the_replaced_files(folder: Path) -> None:
    """A new file is as open as any other; one that replaces another is as open as that."""
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
    """A relative name is of the directory that was the working one."""
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
    """By an interrupt too."""
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
    """The temporary name is no longer than a file system allows; a longer one is an error."""
    _write(name)
    assert files(folder) == [name]
    with pytest.raises(StorageError, match="Cannot write"):
        _write(f"{name}{name}")
    assert files(folder) == [name]


def test_a_device_is_written_and_stays(folder: Path) -> None:
    """By its name, and by a link to it."""
    (folder / "null").symlink_to("/dev/null")
    for target in ("/dev/null", "null"):
        _write(target)
    assert not Path("/dev/null").is_file()
    assert (folder / "null").is_symlink()
    assert files(folder) == ["null"]
