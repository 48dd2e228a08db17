# SPDX-License-Identifier: Apache-2.0
"""What the documentation says works: its Python is executed, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import unblock_ssec

import s3crypt

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def acme(s3: Any, kms: Any) -> None:
    """Make the bucket and the keys that the examples use."""
    s3.create_bucket(Bucket="acme")
    unblock_ssec(s3, "acme")
    for alias in ("reports", "reports-2027"):
        arn = kms.create_key()["KeyMetadata"]["Arn"]
        kms.create_alias(AliasName=f"alias/{alias}", TargetKeyId=arn)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with the file that the examples put."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q3.parquet").write_bytes(b"PAR1" * 1000)
    return tmp_path


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", [p for p in PAGES if _BLOCK.search(p.read_text())], ids=_name)
@pytest.mark.usefixtures("acme", "folder")
def test_python_on_the_page_runs(page: Path) -> None:
    """The blocks of a page run in order, as one program."""
    namespace: dict[str, object] = {"__name__": "page"}
    for block in _BLOCK.findall(page.read_text()):
        exec(compile(block, _name(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_to_files(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    missing = [
        target for target in _LINK.findall(page.read_text()) if not (page.parent / target).exists()
    ]
    assert not missing


def test_package_docstring_is_the_readmes_example() -> None:
    """What `help(s3crypt)` shows first is what README shows first."""
    lines = (s3crypt.__doc__ or "").splitlines()
    shown = [line.strip() for line in lines if line.startswith("    ")]
    readme = (ROOT / "README.md").read_text()
    assert shown
    assert all(line in readme for line in shown if line)
