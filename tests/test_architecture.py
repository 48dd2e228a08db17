# SPDX-License-Identifier: Apache-2.0
"""The architecture page agrees with the sources."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

import s3crypt
from s3crypt.options import MODES

_NO_CODE = (
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
)
PACKAGE = Path(s3crypt.__file__).resolve().parent
PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")


def _section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_tree_names_every_module() -> None:
    """The page names each module and package of the library exactly once."""
    rows = re.findall(r"^\| (`.*?) \|", _section("The tree"), re.MULTILINE)
    named = [name.rstrip("/") for row in rows for name in re.findall(r"`([a-z0-9_/]+)`", row)]
    there = {path.stem for path in PACKAGE.glob("*.py") if path.stem[0] != "_"}
    there |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert sorted(named) == sorted(there)


@pytest.mark.parametrize("mode", MODES)
def test_the_table_of_options_is_that_of_the_library(mode: str) -> None:
    """The page places each option in the same mode and class as the library does."""
    rows = [
        line.split("|")[1:-1] for line in _section("Modes and options").splitlines() if "|" in line
    ]
    column = [cell.strip(" `") for cell in rows[0]].index(mode)
    taken = {
        name
        for row in rows[2:]
        if row[column].strip()
        for name in re.findall(r"`([a-z_]+)`", row[0])
    }
    assert taken == MODES[mode]


def test_no_module_is_too_long() -> None:
    """A module has at most 500 lines of code: a longer module does more than one thing.

    Docstrings and comments are not counted, so a module is never shortened by leaving them out.
    """
    lengths = {
        str(path.relative_to(PACKAGE)): _lines_of_code(path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > 500} == {}


def _lines_of_code(source: str) -> int:
    """Return the number of lines that have code other than docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_the_public_face_is_small() -> None:
    """The package exports at most 44 names, and a store has only public verbs."""
    assert len(s3crypt.__all__) <= 44
    shown = {name for name in vars(s3crypt.S3Crypt) if not name.startswith("_")}
    assert shown == {
        "buckets", "client", "copy", "delete", "exists", "get", "head", "inspect", "list",
        "list_level", "list_versions", "list_versions_level", "list_with_neighbours",
        "make_bucket", "many", "move", "needs_rotation", "open", "presign", "put", "read",
        "remove_bucket", "rotate", "sync", "written_in",
    }  # fmt: skip
