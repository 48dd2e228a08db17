# SPDX-License-Identifier: Apache-2.0
"""The table of docs/data-sets.md, and a bucket in which its lines can be run."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
from samples import names, stored

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "data-sets.md"
# A text in the rows of each data set. No stored object may contain it in plaintext.
MARK = "customer-0001"


@dataclass(frozen=True)
class Row:
    """A row of the table: the version of each tool, the code that works, and what fails."""

    versions: dict[str, str]
    lines: list[str]
    fails: str
    is_run_by_ci: bool


def table() -> dict[str, Row]:
    """Return the table's rows, by their first tool."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    start = next(number for number, row in enumerate(rows) if row[0] == "tool")
    found = {}
    for tools, works, fails in rows[start + 2 :]:
        versions = dict(re.findall(r"(\w+) (\d[\w.]*)", tools))
        code = re.findall(r"`([^`]+)`", works)
        found[next(iter(versions))] = Row(versions, code, fails, "¹" not in tools)
        if "obstore" in versions:  # the last tool
            break
    return found


def pins() -> dict[str, str]:
    """Return the version of each package that interop/data-tools.txt pins."""
    text = (TESTS / "interop" / "data-tools.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w-]+)(?:\[\w+\])?==([\w.]+)", text, re.MULTILINE))


@dataclass(frozen=True)
class Place:
    """A bucket, a key and the names that the page's lines use."""

    s3: Any
    bucket: str
    key_file: Path

    @classmethod
    def make(cls, s3: Any, folder: Path) -> Place:
        """Make a bucket, and a key file in the folder."""
        made = cls(s3, f"bucket-{uuid.uuid4()}", folder / "lake.key")
        made.key_file.write_bytes(bytes(range(32)))
        s3.create_bucket(Bucket=made.bucket)
        return made

    @property
    def lake(self) -> dict[str, Any]:
        """Return the storage options."""
        return {"key": f"aes:tests/lake={self.key_file}"}

    @property
    def files(self) -> Any:
        """Return the file system."""
        return fsspec.filesystem("s3crypt", **self.lake)

    def new(self, name: str) -> str:
        """Return a path that no other test uses."""
        return f"{self.bucket}/{uuid.uuid4()}/{name}"

    def named(self, path: str, **more: Any) -> dict[str, Any]:
        """Return the names that a line of the table can use."""
        url = f"s3crypt://{path}"
        return {"url": url, "path": path, "lake": self.lake, "files": self.files, **more}

    def run(self, tool: str, **given: Any) -> Any:
        """Run the code of a tool's row, and return the value of its last line."""
        value = None
        for line in table()[tool].lines:
            if re.match(r"[\w.\[\]\"']+ = ", line):
                exec(line, given)
            else:
                value = eval(line, given)
        return value

    def check_sealed(self, path: str) -> None:
        """Check that objects are at the path or below it, and that no object contains `MARK`."""
        prefix = path.removeprefix(f"{self.bucket}/")
        found = [name for name in names(self.s3, self.bucket) if name.startswith(prefix)]
        assert found
        for name in found:
            body = stored(self.s3, self.bucket, name)
            assert MARK.encode() not in body
            assert b"PAR1" not in (body[:4], body[-4:])


def customers(rows: int = 30) -> pd.DataFrame:
    """Return a small data frame with two regions."""
    return pd.DataFrame(
        {
            "id": range(rows),
            "region": ["eu", "us"] * (rows // 2),
            "name": [f"customer-{row:04}" for row in range(rows)],
        }
    )
