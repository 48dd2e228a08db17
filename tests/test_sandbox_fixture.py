# SPDX-License-Identifier: Apache-2.0
"""The pytest fixture for other projects' tests, found by its entry point in such a project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"^```python\n(.*?s3crypt_sandbox.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

_TESTS = """
import os, sys
import boto3
import pytest

@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_begins_anew(s3crypt_sandbox, turn):
    s3, kms = boto3.client("s3"), boto3.client("kms")
    assert s3.meta.endpoint_url == s3crypt_sandbox.endpoint_url
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["acme"]
    assert len(kms.list_keys()["Keys"]) == 1
    s3.create_bucket(Bucket="mine")
    s3.put_object(Bucket="acme", Key="k", Body=b"data")
    kms.create_key()

def test_without_it_nothing_is_changed():
    assert os.environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "theirs"
    assert boto3.DEFAULT_SESSION is None
"""
_LIGHT = """
import sys
LOADED = {name.partition(".")[0] for name in sys.modules}

def test_nothing_is_loaded():
    assert "s3crypt" in LOADED
    assert not LOADED & {"boto3", "botocore", "cryptography", "moto", "flask", "fsspec", "click"}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project beside an installed s3crypt whose metadata has the entry points of ours."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    installed = tmp_path / "installed"
    metadata = installed / "s3crypt_here-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: s3crypt-here\nVersion: 0\n")
    ((name, value),) = points["project"]["entry-points"]["pytest11"].items()
    (metadata / "entry_points.txt").write_text(f"[pytest11]\n{name} = {value}\n")
    paths = (str(installed), str(ROOT), os.environ.get("PYTHONPATH"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "theirs")
    project = tmp_path / "project"
    project.mkdir()
    return project


def _passed(project: Path, tests: str) -> int:
    (project / "test_theirs.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) passed", done.stdout)
    assert found
    return int(found[1])


def test_the_example_and_each_test_begin_anew(project: Path) -> None:
    """The page's example passes; a test finds what a new sandbox has, and leaves nothing."""
    assert EXAMPLE is not None
    assert _passed(project, f"{EXAMPLE[1]}\n{_TESTS}") == 4


def test_nothing_heavy_is_loaded_for_tests_that_do_not_ask(project: Path) -> None:
    """The plugin is loaded in every project, so it must cost nothing there."""
    assert _passed(project, _LIGHT) == 1
