# SPDX-License-Identifier: Apache-2.0
"""The published package: its source distribution is complete, and its metadata names platforms."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_BUILD = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Return the paths of all files that Git tracks. Skip the test if this is no checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [path for path in done.stdout.split("\0") if path and (ROOT / path).exists()]


@pytest.fixture(scope="module")
def sdist(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Build the source distribution of the tracked files.

    Return the content of its files by path.
    """
    pytest.importorskip("setuptools", minversion="77")
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for path in tracked:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, source / path)
    command = [sys.executable, "-c", _BUILD, str(built)]
    subprocess.run(command, cwd=source, capture_output=True, check=True)
    (archive,) = built.iterdir()
    with tarfile.open(archive) as tar:
        files = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar}
        return {path: file.read() for path, file in files.items() if file}


def test_the_source_distribution_has_the_whole_checkout(
    sdist: dict[str, bytes], tracked: list[str]
) -> None:
    """The source distribution has every tracked file except .gitignore, byte for byte."""
    missing = [path for path in tracked if path not in sdist and path != ".gitignore"]
    assert missing == []
    assert all(sdist[path] == (ROOT / path).read_bytes() for path in sdist.keys() & {*tracked})


def test_the_metadata_says_where_it_runs(sdist: dict[str, bytes]) -> None:
    """The metadata names POSIX only.

    Windows lacks the positioned writes, file modes and signals that s3crypt uses.
    """
    metadata = Parser().parsestr(sdist["PKG-INFO"].decode())
    assert "Operating System :: POSIX" in metadata.get_all("Classifier", [])
