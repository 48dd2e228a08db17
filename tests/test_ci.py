# SPDX-License-Identifier: Apache-2.0
""".ci/common finds a Python for each version that the package claims, or names the missing one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


def common(command: str, tmp_path: Path, *folders: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell command after .ci/common, with no Python except those in `folders`."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "ls", "sed", "sort"):
        (tools / name).symlink_to(shutil.which(name) or name)
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail; . .ci/common; {command}"],
        cwd=ROOT,
        env={
            "PATH": ":".join(map(str, (*folders, tools))),
            "PYENV_ROOT": str(tmp_path / "pyenv"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_oldest_python_claimed_is_the_oldest_that_installs(tmp_path: Path) -> None:
    """The claimed versions are read from pyproject.toml in order; the oldest is the minimum."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    claimed = [name.rpartition(" ")[2] for name in project["classifiers"] if " :: 3." in name]
    assert project["requires-python"] == f">={claimed[0]}"
    assert OWN in claimed
    assert common("claimed_pythons", tmp_path).stdout.split() == claimed


@pytest.mark.parametrize("place", ["PATH", "pyenv"])
def test_a_python_is_found_where_it_is(place: str, tmp_path: Path) -> None:
    """A working Python is found on PATH, or pyenv's newest Python of that version is used."""
    wrong = tmp_path / "wrong" / f"python{OWN}"
    folder = tmp_path / ("right" if place == "PATH" else f"pyenv/versions/{OWN}.10/bin")
    older = tmp_path / f"pyenv/versions/{OWN}.9/bin/python"
    right = folder / (f"python{OWN}" if place == "PATH" else "python")
    for path, line in (
        (wrong, "exit 1"),
        (older, "exit 1"),
        (right, f'exec {sys.executable} "$@"'),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        path.chmod(0o755)
    found = common(f"find_python {OWN}", tmp_path, wrong.parent, right.parent)
    assert (found.returncode, found.stdout.strip()) == (0, sys.executable)


def test_a_python_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """A Python of another version under the wanted name is not accepted."""
    other = tmp_path / "python3.99"
    other.symlink_to(sys.executable)
    found = common("find_python 3.99", tmp_path, tmp_path)
    assert (found.returncode, found.stdout) == (1, "")


def test_the_processes_of_a_test_keep_byte_code(tmp_path: Path) -> None:
    """The scripts and the tests unset the variable that makes each process compile its modules."""
    line = "export PYTHONDONTWRITEBYTECODE=1; . .ci/common; echo ${PYTHONDONTWRITEBYTECODE-unset}"
    assert common(line, tmp_path).stdout == "unset\n"
    code = "import sys; print(sys.dont_write_bytecode)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(("given", "printed"), [("SOURCE_DATE_EPOCH=5", "5"), ("", "1767225600")])
def test_a_build_has_a_date_without_git(given: str, printed: str, tmp_path: Path) -> None:
    """Without Git, the date of a build is SOURCE_DATE_EPOCH, or else a fixed date."""
    found = common(f"{given} source_date", tmp_path)
    assert (found.returncode, found.stdout.strip()) == (0, printed), found.stderr


@pytest.mark.parametrize("script", ["run", "all-pythons", "package", "sbom", "site"])
def test_a_script_can_be_parsed(script: str) -> None:
    """Each script is executable, stops at the first error, and shares the functions."""
    path = ROOT / ".ci" / script
    assert path.stat().st_mode & 0o100
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
    text = path.read_text(encoding="utf-8")
    assert "\nset -euo pipefail\n" in text
    assert "\n. .ci/common\n" in text


def test_every_change_is_packaged() -> None:
    """CI builds and tries the package that users install, not only the checkout."""
    assert "\n.ci/package " in (ROOT / ".ci/run").read_text(encoding="utf-8")
