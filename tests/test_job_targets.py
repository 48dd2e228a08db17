# SPDX-License-Identifier: Apache-2.0
"""The paths to which a job writes objects: below the target folder, and one path per object."""

from __future__ import annotations

import io
import os
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from s3crypt.errors import PolicyError, StorageError
from s3crypt.jobs.targets import TargetFolder

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "s3://bucket/t/"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a path for the target folder, which does not exist yet."""
    return tmp_path / "target"


def get(folder: TargetFolder, name: str) -> Path:
    """Write an object's name as content to the object's path, as a get writes the content."""
    with folder.claimed(PREFIX + name) as path:
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text(name, encoding="utf-8")
        temporary.replace(path)
    return path


@pytest.mark.parametrize(
    "name",
    ["a", "b/c/d", "a b", "...", ".a", "\N{SNOWMAN}/%2e%2e", "a\\..\\b", f"{511 * 'a/'}bc"],
)
def test_an_object_has_the_path_of_its_name(name: str, root: Path) -> None:
    """An object has the path of its name. Folders are made only when the path is claimed."""
    folder = TargetFolder(root, PREFIX)
    assert folder.path_below(PREFIX + name) == root / name
    assert not root.exists()
    assert get(folder, name).read_text(encoding="utf-8") == name


@pytest.mark.parametrize(
    "name", ["", "/", "a/", "a//", ".", "a/.", "..", "a/..", "../a", "a/../../b", "/..", "a\0b"]
)
def test_a_name_that_is_no_path_below_is_refused(name: str, root: Path) -> None:
    """A name that is no path of a file below the folder is refused."""
    folder = TargetFolder(root, PREFIX)
    for use in (folder.path_below, lambda uri: get(folder, uri.removeprefix(PREFIX))):
        with pytest.raises(PolicyError, match=f"name is not a path below {root}; it was not"):
            use(PREFIX + name)
    assert not root.exists()


@pytest.mark.parametrize(
    ("name", "path"),
    [("/a", "a"), ("a//b", "a/b"), ("a/./b", "a/b"), ("./a", "a"), ("//etc/passwd", "etc/passwd")],
)
def test_slashes_that_change_nothing_are_left_out(name: str, path: str, root: Path) -> None:
    """Redundant slashes and dots are left out of the path and of its printed form."""
    folder = TargetFolder(root, PREFIX)
    assert folder.path_below(PREFIX + name) == folder.told_path(PREFIX + name) == root / path
    assert get(folder, name) == root / path
    assert get(TargetFolder(root, PREFIX), name).read_text(encoding="utf-8") == name


@pytest.mark.parametrize("names", [("a/b", "a//b"), ("a//b", "a/b"), ("a/./b", "./a/b", "a//b")])
def test_of_names_that_meet_one_is_written(names: tuple[str, ...], root: Path) -> None:
    """If several names lead to the same path, only the object with the plain name is written.

    The errors for the other objects name the written object.
    """
    there = {PREFIX + name for name in names}
    written = "a/b" if "a/b" in names else names[0]
    for _ in range(2):
        folder = TargetFolder(root, PREFIX, there.__contains__)
        for name in names:
            if name == written:
                get(folder, name)
                continue
            told = f"^{PREFIX}{name}: {PREFIX}{written} is an object, too"
            with pytest.raises(StorageError, match=told):
                folder.path_below(PREFIX + name)
            with pytest.raises(StorageError, match=told):
                get(folder, name)
        assert (root / "a" / "b").read_text(encoding="utf-8") == written


def test_another_prefix_is_refused(root: Path) -> None:
    """An object outside the job's prefix is refused."""
    with pytest.raises(PolicyError, match="not a path below"):
        TargetFolder(root, PREFIX).path_below("s3://other/t/a")


@pytest.mark.parametrize("leads_to", ["../outside", "../outside/missing", "/"])
@pytest.mark.parametrize("name", ["link/in", "link/in/deeper", "link"])
def test_a_link_that_leads_out_is_refused(name: str, leads_to: str, root: Path) -> None:
    """If a link leads out of the folder, an object that would be written through it is refused."""
    root.mkdir()
    (root.parent / "outside").mkdir()
    (root / "link").symlink_to(leads_to)
    folder = TargetFolder(root, PREFIX)
    for _ in range(2):
        with pytest.raises(PolicyError, match=f"its path leads through a link out of {root}"):
            get(folder, name)
    assert get(folder, "other").exists()
    assert not list((root.parent / "outside").iterdir())


def test_a_link_that_stays_inside_may_be_a_folder(root: Path) -> None:
    """A link inside the target folder is allowed if it leads to a folder.

    A link to a file is refused, because two names would then lead to the same file.
    """
    (root.parent / "real" / "there").mkdir(parents=True)
    root.symlink_to("real")
    (root / "here").symlink_to("there")
    (root / "alias").symlink_to("there/a")
    folder = TargetFolder(root, PREFIX)
    get(folder, "here/a")
    assert (root.parent / "real" / "there" / "a").read_text(encoding="utf-8") == "here/a"
    with pytest.raises(StorageError, match="alias is no regular file, but must be a file"):
        get(folder, "alias")


@pytest.mark.parametrize("again", [False, True])
def test_a_file_and_a_folder_of_one_name(root: Path, *, again: bool) -> None:
    """If a name is both a file and a folder, the second object is refused, also in later runs."""
    for first, second, what in (
        ("a", "a/b", "a is not a folder"),
        ("a", "a/b/c", "a is not a folder"),
        ("d/e", "d", "d is a folder"),
    ):
        folder = TargetFolder(root, PREFIX)
        get(folder, first)
        if again:
            folder = TargetFolder(root, PREFIX)
            get(folder, first)
        with pytest.raises(StorageError, match=f"{PREFIX}{second}: {root}/{what}") as caught:
            get(folder, second)
        assert "to another path" in str(caught.value.hint)
        assert (root / first).read_text(encoding="utf-8") == first


def test_a_file_that_is_there_is_replaced(root: Path) -> None:
    """An existing file is replaced; names that differ in case or spelling are separate files."""
    for _ in range(2):
        folder = TargetFolder(root, PREFIX)
        for name in ("Read/Me", "read/me", "READ/ME", "n\u0303", "\u00f1"):
            get(folder, name)
    assert sorted(path.name for path in root.iterdir()) == [
        "READ",
        "Read",
        "n\u0303",
        "read",
        "\u00f1",
    ]


def test_an_error_of_the_folder_names_the_object(root: Path) -> None:
    """An error of the file system, here for a long name, names the object."""
    folder = TargetFolder(root, PREFIX)
    for name in (300 * "x", f"{300 * 'x'}/a"):
        with pytest.raises(StorageError, match=f"{PREFIX}x+.*: File name too long") as caught:
            get(folder, name)
        assert caught.value.hint


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file system find a name in any case and any Unicode form, as some file systems do."""
    listdir = os.listdir

    def there(argument: Any) -> Any:
        if not isinstance(argument, str | Path):
            return argument
        path = Path("/")
        for part in Path(argument).absolute().parts[1:]:
            with suppress(OSError):
                names = [name for name in listdir(path) if _fold(name) == _fold(part)]
                part = part if part in names else (names or [part])[0]  # noqa: PLW2901
            path /= part
        return str(path)

    def finding(real: Callable[..., Any], paths: int = 1) -> Callable[..., Any]:
        return lambda *given, **options: real(*map(there, given[:paths]), *given[paths:], **options)

    for name in ("lstat", "stat", "scandir", "mkdir"):
        monkeypatch.setattr(os, name, finding(getattr(os, name)))
    monkeypatch.setattr(os, "replace", finding(os.replace, 2))
    monkeypatch.setattr(io, "open", finding(io.open))


@pytest.mark.usefixtures("folding")
@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ("A", "a", "another file's name for {root}/a"),
        ("x/Read me", "x/read Me", "another file's name for {root}/x/read Me"),
        ("\u00f1", "n\u0303", "another file's name for {root}/n\u0303"),
        ("D/x", "d/x", "another folder's name for {root}/d"),
        ("D/x", "d/y", "another folder's name for {root}/d"),
        ("e/D/x", "e/d/f/x", "another folder's name for {root}/e/d/f"),
    ],
)
def test_names_that_are_one_here_are_told_apart(
    first: str, second: str, what: str, root: Path
) -> None:
    """If two names are one file on this file system, the second object is refused."""
    for _ in range(2):
        folder = TargetFolder(root, PREFIX)
        for _ in range(2):
            get(folder, first)
            with pytest.raises(StorageError, match=what.format(root=root)) as caught:
                get(folder, second)
            assert "to another path" in str(caught.value.hint)
            get(folder, f"beside{first}")
        assert (root / first).read_text(encoding="utf-8") == first


@pytest.mark.parametrize("is_folding", [False, True])
def test_names_that_may_be_one_are_written_in_turn(
    root: Path, request: pytest.FixtureRequest, *, is_folding: bool
) -> None:
    """Objects whose names may be the same file are written one after the other.

    So the second object cannot replace the first.
    """
    if is_folding:
        request.getfixturevalue("folding")
    folder = TargetFolder(root, PREFIX)
    with ThreadPoolExecutor() as threads:
        with folder.claimed(f"{PREFIX}A") as path:
            second = threads.submit(get, folder, "a")
            get(folder, "b")
            assert wait([second], timeout=0.2).not_done
            path.write_text("A", encoding="utf-8")
        if is_folding:
            with pytest.raises(StorageError, match="another file's name"):
                second.result()
        else:
            second.result()
    assert (root / "A").read_text(encoding="utf-8") == "A"


def test_a_failed_object_lets_the_next_one_in(root: Path) -> None:
    """The claim on a path ends with its `with` block, even after an error."""
    folder = TargetFolder(root, PREFIX)
    for _ in range(2):
        with pytest.raises(StorageError, match="lost"), folder.claimed(f"{PREFIX}a"):
            raise StorageError("lost")
    assert get(folder, "a").exists()


def test_many_objects_cost_few_calls_of_the_system(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder is checked once. After that, each object costs one check of its path."""
    folder = TargetFolder(root, PREFIX)
    get(folder, "a/b/c/d/0")
    calls: Counter[str] = Counter()

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def count(*given: Any, **options: Any) -> Any:
            calls[name] += 1
            return real(*given, **options)

        return count

    for name in ("lstat", "stat", "scandir", "mkdir"):
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    for number in range(1, 101):
        with folder.claimed(f"{PREFIX}a/b/c/d/{number}"):
            pass
    monkeypatch.undo()
    assert calls.total() <= 200
