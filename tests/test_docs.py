# SPDX-License-Identifier: Apache-2.0
"""The documentation is correct: its examples are executed, and its links lead to files.

The pages run one after the other, as a newcomer would read them, in one folder and with one
sandbox that README's command started. Nothing else is prepared.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playing import POINTER, play_line, shell

import s3crypt
from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
# These commands take a minute or more; other tests run them.
_LONG = (["s3crypt", "bench"], ["s3crypt", "demo"])
# Pages with examples that do not start README's sandbox. The examples of docs/testing.md are tests
# with their own sandbox; test_sandbox_fixture.py runs them.
_WITHOUT_POINTER = frozenset({"docs/testing.md"})
# Pages whose blocks are not run. The commands of docs/benchmarks.md make the repository's figures;
# they need hours and system packages.
_NOT_EXAMPLES = frozenset({"docs/benchmarks.md"})


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _pages() -> list[Path]:
    """Return README and the pages in the order in which README names them."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    docs = sorted((ROOT / "docs").rglob("*.md"))
    return [readme, *sorted(docs, key=lambda page: text.find(_name(page)) % len(text))]


PAGES = _pages()
EXAMPLES = [
    page for page in PAGES if _BLOCK.search(page.read_text()) and _name(page) not in _NOT_EXAMPLES
]


@pytest.fixture(scope="module", name="shell")
def _shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point this process at a sandbox with README's command, in an empty folder."""
    with shell(tmp_path_factory.mktemp("home")) as work:
        yield work


def _play(page: Path) -> None:
    """Run the blocks of a page in order, with its Python blocks as one program."""
    namespace: dict[str, object] = {"__name__": "page"}
    for language, block in _BLOCK.findall(page.read_text()):
        if language == "python":
            exec(compile(block, _name(page), "exec"), namespace)
        else:
            for line in block.replace("\\\n", " ").splitlines():
                _run_line(line)


def _run_line(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[:2] not in _LONG:
        assert play_line(line) == 0, line


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", EXAMPLES, ids=_name)
@pytest.mark.usefixtures("shell")
def test_the_examples_of_a_page_run(page: Path) -> None:
    """The examples of all pages run verbatim, one page after the other."""
    _play(page)


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", EXAMPLES, ids=_name)
def test_a_page_needs_no_other(
    page: Path, shell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page makes all keys, objects and files that its examples use."""
    assert shell.exists()
    monkeypatch.chdir(tmp_path)
    running = sandboxes.status()
    assert running is not None
    sandboxes.reset(running)
    _play(page)


@pytest.mark.parametrize("page", EXAMPLES, ids=_name)
def test_a_page_with_examples_says_where_they_run(page: Path) -> None:
    """Each page with examples contains the line that starts a sandbox."""
    assert POINTER in page.read_text() or _name(page) in _WITHOUT_POINTER


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_to_files(page: Path) -> None:
    """Every relative link of a page leads to an existing file."""
    missing = [
        target for target in _LINK.findall(page.read_text()) if not (page.parent / target).exists()
    ]
    assert not missing


def test_package_docstring_is_the_readmes_example() -> None:
    """`help(s3crypt)` begins with README's first example."""
    lines = (s3crypt.__doc__ or "").splitlines()
    shown = [line.strip() for line in lines if line.startswith("    ")]
    readme = (ROOT / "README.md").read_text()
    assert shown
    assert all(line in readme for line in shown if line)
