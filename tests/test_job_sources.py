# SPDX-License-Identifier: Apache-2.0
"""The walk of the files below a folder: all files in order, and an error per unusable entry."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import s3crypt
from s3crypt.errors import ConfigError, LocalFileNotFoundError, StorageError
from s3crypt.jobs import sources
from s3crypt.jobs.sources import FoundFile, Unusable, files_below

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(s3crypt.__file__).resolve().parent.parent


def walked(root: Path) -> tuple[list[str], dict[str, Unusable], dict[str, str]]:
    """Return the names, the unusable entries and the left-out entries, by paths below the root."""
    left_out: dict[str, str] = {}

    def report(path: Path, reason: str) -> None:
        left_out[str(path.relative_to(root))] = reason

    found = list(files_below(root, report=report))
    names = [item.name for item in found if isinstance(item, FoundFile)]
    unusable = {
        str(item.path.relative_to(root)): item for item in found if isinstance(item, Unusable)
    }
    return names, unusable, left_out


def surprised(path: Path, reason: str) -> None:
    """Fail the test, because the walk should leave out no entry."""
    pytest.fail(f"{path}: {reason}")


def make(root: Path, *names: str) -> None:
    """Make files with their names as content."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def test_files_have_their_names_sizes_and_times(tmp_path: Path) -> None:
    """The walk yields each file with its name below the folder, its path, size and time."""
    make(tmp_path, "a", "b/c d/\N{SNOWMAN}")
    os.utime(tmp_path / "a", ns=(1, 1_700_000_000_123_456_789))
    found = list(files_below(tmp_path, report=surprised))
    assert all(isinstance(item, FoundFile) for item in found)
    first, second = found
    assert first == FoundFile(tmp_path / "a", "a", 1, 1_700_000_000_123_456_789)
    assert second.path.read_text(encoding="utf-8") == "b/c d/\N{SNOWMAN}"


def test_a_file_that_was_written_to_has_another_version(tmp_path: Path) -> None:
    """A file has another version if its size or time changes."""

    def version() -> str:
        (found,) = files_below(tmp_path, report=surprised)
        assert isinstance(found, FoundFile)
        return found.version

    make(tmp_path, "a")
    versions = [version(), version()]
    os.utime(tmp_path / "a", ns=(1, 1))
    versions.append(version())
    (tmp_path / "a").write_bytes(b"longer")
    os.utime(tmp_path / "a", ns=(1, 1))
    versions.append(version())
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3


_NAMES = st.text(st.sampled_from("aA!./0\N{SNOWMAN}\U0001f40d\uffee "), min_size=1, max_size=4)


@settings(max_examples=50)
@given(st.sets(_NAMES, max_size=12), st.integers(1, 4))
def test_files_come_in_the_order_of_a_listing(names: set[str], lot: int) -> None:
    """Files are sorted by the bytes of their whole names, for any size of a lot."""
    expected: list[str] = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as changed:
        changed.setattr(sources, "_LOT", lot)
        for name in sorted(names):
            path = Path(folder, name)
            parts = name.split("/")
            is_file = all(part not in ("", ".", "..") for part in parts)
            if is_file and not path.exists() and not any(up.is_file() for up in path.parents):
                make(Path(folder), name)
                expected.append(name)
        found, unusable, left_out = walked(Path(folder))
    assert found == sorted(expected, key=str.encode)
    assert not unusable
    assert not left_out


def test_a_walk_is_lazy(tmp_path: Path) -> None:
    """The first file is yielded before a later directory is read."""
    make(tmp_path, "a", "b/c")
    found: Iterator[FoundFile | Unusable] = files_below(tmp_path, report=surprised)
    assert isinstance(next(found), FoundFile)
    make(tmp_path, "b/d")
    assert [item.path.name for item in found] == ["c", "d"]


def test_a_long_directory_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk holds only a few lots of names in memory."""
    monkeypatch.setattr(sources, "_LOT", 50)
    for number in range(2000):
        (tmp_path / f"{number:0100d}").touch()
    tracemalloc.start()
    try:
        count = sum(1 for _ in files_below(tmp_path, report=surprised))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 2000
    assert peak < 80_000  # all names take 300,000 bytes


def test_a_deep_folder_is_walked_to_its_end() -> None:
    """A folder that is deeper than Python's recursion limit is walked completely."""
    name = f"{'d/' * 1200}file"
    # Not in tmp_path, because pytest's removal is recursive in Python.
    folder = Path(tempfile.mkdtemp())
    try:
        for depth in range(100, 1201, 100):
            (folder / name[: 2 * depth]).mkdir(parents=True)
        make(folder, name)
        names, unusable, _ = walked(folder)
    finally:
        subprocess.run(["rm", "-r", folder], check=True)
    assert names == [name]
    assert not unusable


def test_what_is_too_deep_is_an_error_of_its_own(tmp_path: Path) -> None:
    """If a path is too long for the system, this is one error, and the walk continues."""
    make(tmp_path, "z")
    here = os.open(tmp_path, os.O_RDONLY)
    names = []
    for _ in range(20):
        name = 250 * "d"
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        names.append(name)
    os.close(here)
    found, unusable, _ = walked(tmp_path)
    assert found == ["z"]
    (item,) = unusable.values()
    assert isinstance(item.error, StorageError)
    assert "File name too long" in str(item.error)


def test_links_to_files_are_followed_and_to_directories_not(tmp_path: Path) -> None:
    """Links to files are followed; links to directories are reported and left out."""
    make(tmp_path / "tree", "a", "b/c")
    make(tmp_path / "outside", "x")
    (tmp_path / "tree" / "alias").symlink_to("../outside/x")
    (tmp_path / "tree" / "out").symlink_to("../outside")
    (tmp_path / "tree" / "b" / "round").symlink_to("..")
    names, unusable, left_out = walked(tmp_path / "tree")
    assert names == ["a", "alias", "b/c"]
    assert not unusable
    assert left_out == {"out": "a link to a directory", "b/round": "a link to a directory"}


def test_the_folder_may_be_a_link(tmp_path: Path) -> None:
    """The folder itself may be a link, and names are relative to it."""
    make(tmp_path / "tree", "a")
    (tmp_path / "link").symlink_to("tree")
    assert walked(tmp_path / "link")[0] == ["a"]


def test_special_files_are_left_out_and_told(tmp_path: Path) -> None:
    """Pipes and sockets are reported and left out, because opening a pipe would hang."""
    make(tmp_path, "a")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        names, unusable, left_out = walked(tmp_path)
    assert names == ["a"]
    assert not unusable
    assert left_out == {"pipe": "not a regular file", "socket": "not a regular file"}


def test_a_link_that_leads_to_no_file_is_an_error(tmp_path: Path) -> None:
    """A dangling or circular link is an error, and the other files are found."""
    make(tmp_path, "a", "z")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "ring1").symlink_to("ring2")
    (tmp_path / "ring2").symlink_to("ring1")
    names, unusable, _ = walked(tmp_path)
    assert names == ["a", "z"]
    assert sorted(unusable) == ["dangling", "loop", "ring1", "ring2"]
    assert isinstance(unusable["dangling"].error, LocalFileNotFoundError)
    assert "is a link to a file that does not exist" in str(unusable["dangling"].error)
    assert "Too many levels of symbolic links" in str(unusable["loop"].error)
    assert all(item.error.hint for item in unusable.values())


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    """A name that is not UTF-8 is an error; a directory with such a name is one error."""
    make(tmp_path, "a", "\udcff", "d\udcff/x", "d\udcff/y", "z")
    names, unusable, _ = walked(tmp_path)
    assert names == ["a", "z"]
    assert sorted(unusable) == ["d\udcff", "\udcff"]
    for item in unusable.values():
        assert isinstance(item.error, ConfigError)
        assert item.error.hint == "Rename it."
    assert "Nothing below it" in str(unusable["d\udcff"].error)
    assert "Nothing below it" not in str(unusable["\udcff"].error)


def test_what_vanishes_during_the_walk_is_an_error(tmp_path: Path) -> None:
    """Files and directories that vanish during the walk are errors; other files are found."""
    make(tmp_path, "a", "b", "c/x", "d")
    found = files_below(tmp_path, report=surprised)
    items = [next(found)]
    (tmp_path / "b").unlink()
    (tmp_path / "c" / "x").unlink()
    (tmp_path / "c").rmdir()
    items += found
    assert [isinstance(item, FoundFile) for item in items] == [True, False, False, True]
    for item in items[1:3]:
        assert isinstance(item, Unusable)
        assert isinstance(item.error, LocalFileNotFoundError)
        assert f"{item.path} vanished" in str(item.error)


def test_a_directory_that_becomes_a_file_is_one(tmp_path: Path) -> None:
    """If a directory is replaced by a file during the walk, it is yielded as a file.

    The kind of an entry is checked when the walk visits it.
    """
    make(tmp_path, "a", "b/x", "c")
    found = files_below(tmp_path, report=surprised)
    next(found)
    (tmp_path / "b" / "x").unlink()
    (tmp_path / "b").rmdir()
    (tmp_path / "c").unlink()
    make(tmp_path, "b", "c/y")
    assert [item.name for item in found if isinstance(item, FoundFile)] == ["b", "c/y"]


_UNPRIVILEGED = """
import os, sys
from s3crypt.jobs.sources import FoundFile, files_below
if os.geteuid() == 0:
    os.setuid(65534)
for item in files_below(sys.argv[1], report=print):
    print(item.name if isinstance(item, FoundFile) else item.error)
"""


def test_a_directory_that_cannot_be_read_is_an_error() -> None:
    """A directory that cannot be read or entered is one error, and the walk continues."""
    # Not in tmp_path, because pytest hides it from other users, and root may read everything.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        make(folder, "a", "closed/x", "listed/y", "z")
        (folder / "closed").chmod(0o300)
        (folder / "listed").chmod(0o444)
        done = subprocess.run(
            [sys.executable, "-c", _UNPRIVILEGED, name],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        for path in folder.iterdir():
            path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "a",
        f"Cannot read {folder}/closed: Permission denied.",
        f"Cannot read {folder}/listed/y: Permission denied.",
        "z",
    ]


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    """A missing root folder ends the whole walk with an error."""
    with pytest.raises(LocalFileNotFoundError, match=r"Cannot read .*missing: No such file"):
        list(files_below(tmp_path / "missing", report=surprised))
    make(tmp_path, "a")
    with pytest.raises(StorageError, match=r"Cannot read .*a: Not a directory"):
        list(files_below(tmp_path / "a", report=surprised))
