# SPDX-License-Identifier: Apache-2.0
"""The table of other tools' commands: the s3crypt command in each row works."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from playing import play_line, prepare, shell
from s3crypt_cli.main import _COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent.parent / "docs" / "habits.md"
_ROW = re.compile(r"^\| `(.+?)` \| ([a-z0-9-]+) \| `(.+?)` \|$", re.MULTILINE)
ROWS = [
    tuple(cell.replace(r"\|", "|") for cell in found) for found in _ROW.findall(PAGE.read_text())
]
TOOLS = {"aws-cli", "s5cmd", "rclone", "gsutil", "mc", "age"}
# After a command with one of these words the objects and buckets are made again.
_CHANGING = {"mb", "mv", "rb", "rm", "rotate"}


class World:
    """The files and objects that commands name, made again after each command that changes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_fresh = False

    def enter(self, line: str) -> Path:
        """Return the folder with `files` for the next command, which is `line`."""
        if not self._is_fresh:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir()
            prepare(self._folder)
            boto3.client("s3").create_bucket(Bucket="empty")
        self._is_fresh = not _CHANGING & set(line.split())
        return self._folder.parent


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Point this process at a sandbox of its own."""
    with shell(tmp_path_factory.mktemp("home")) as work:
        yield World(work / "files")


@pytest.mark.xdist_group("habits")
@pytest.mark.parametrize(("habit", "tool", "ours"), ROWS, ids=[row[2] for row in ROWS])
def test_our_line_works(
    habit: str, tool: str, ours: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The s3crypt command of a row works verbatim, in a folder with its files."""
    assert tool in TOOLS
    assert habit.partition(" ")[0] in (tool.removesuffix("-cli"), "age-keygen", "age-inspect") or (
        "|" in habit
    )
    monkeypatch.chdir(world.enter(ours))
    shutil.copytree("files", tmp_path / "files")
    monkeypatch.chdir(tmp_path / "files")
    assert play_line(ours) == 0


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_every_tool_has_rows(tool: str) -> None:
    """Every row of the table is found: a row that is not parsed would never be run."""
    assert tool in {row[1] for row in ROWS}
    tables = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(tables) == len(ROWS)


def test_the_lines_are_of_commands() -> None:
    """Each row has an s3crypt command, and each command on objects is in a row."""
    used = {word for row in ROWS for word in re.findall(r"s3crypt ([a-z]+)", row[2])}
    assert used - {"sync"} <= set(_COMMANDS)
    assert used >= {"ls", "du", "stat", "cp", "mv", "rm", "mb", "rb", "presign", "cat", "get"}
