# SPDX-License-Identifier: Apache-2.0
"""The pytest fixture for other projects, which pytest finds by an entry point of the package."""

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
_BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLE, TRAIL, CLOCK, UNDER_MOTO = _BLOCKS

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
# A test for the rows of the documentation's table about moto.
_ROWS = """
import secrets
import pytest
from s3crypt import DSSEKMS, SSEC, SSEKMS, SSES3, ClientSide, KMSKeyring, PolicyError, StorageError

@mock_aws
def test_the_rows_on_moto(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "0")
    boto3.client("s3").create_bucket(Bucket="books")
    one, two = KeyManager().create(), KeyManager().create()
    for mode in (SSES3(), SSEKMS(one.arn)):
        s3 = S3Crypt(mode)
        s3.put(b"data", "s3://books/k")
        assert s3.read("s3://books/k") == b"data"
        assert [each.uri for each in s3.list("s3://books/")] == ["s3://books/k"]
    assert s3.rotate("s3://books/k", to=SSEKMS(two.arn))[0].action == "copied"
    s3.delete("s3://books/k")
    for mode in (SSEC(secrets.token_bytes(32)), DSSEKMS(one.arn)):
        with pytest.raises(PolicyError, match="did not confirm"):
            S3Crypt(mode).put(b"data", "s3://books/k")
    old, new = (ClientSide(KMSKeyring(key.arn), key_location="metadata") for key in (one, two))
    s3 = S3Crypt(old)
    s3.put(b"data", "s3://books/k")
    boto3.client("kms").disable_key(KeyId=one.key_id)
    assert s3.read("s3://books/k") == b"data"
    assert s3.rotate("s3://books/k", to=new)[0].action == "rewrapped"
    with pytest.raises(StorageError, match="annotations"):
        S3Crypt(new).rotate("s3://books/k", to=ClientSide(KMSKeyring(two.arn)))
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
    """Make a project, and an installed package that has the entry points of s3crypt."""
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


def _passed(project: Path, tests: str, *options: str) -> int:
    (project / "test_theirs.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        [*command, *options], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) passed", done.stdout)
    assert found
    return int(found[1])


def test_the_example_and_each_test_begin_anew(project: Path) -> None:
    """The documentation's examples pass, and each test starts with a new sandbox's content."""
    assert _passed(project, f"{EXAMPLE}\n{TRAIL}\n{CLOCK}\n{_TESTS}") == 6


def test_nothing_heavy_is_loaded_for_tests_that_do_not_ask(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin imports no large package: pytest loads it for tests that do not use it."""
    # Plugins of other packages are not loaded, because they may import large packages.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    assert _passed(project, _LIGHT, "-p", "s3crypt.sandbox.fixture") == 1


def test_what_moto_does_is_as_the_page_says(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documentation's example under mock_aws passes, and its table fits the moto installed."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    assert _passed(project, f"{UNDER_MOTO}\n{_ROWS}") == 2
