# SPDX-License-Identifier: Apache-2.0
"""The tools for a change: the Makefile, pinned packages, hooks, templates and the changelog."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CALLS = {
    "bench-smoke": "$(BIN)/s3crypt bench",
    "check": ".ci/run",
    "check-fast": "$(BIN)/ruff format --check -q .\n$(BIN)/ruff check -q .\n"
    "$(MAKE) --no-print-directory -j2 --output-sync=target types-fast test-fast",
    "coverage": "$(BIN)/pip install -q 'coverage>=7.10'\n$(BIN)/coverage erase\n"
    "-$(BIN)/coverage run -m pytest\n$(BIN)/coverage combine -q\n"
    "$(BIN)/coverage report --skip-covered --sort=cover",
    "docs": ".ci/site",
    "format": "$(BIN)/ruff format .\n$(BIN)/ruff check --fix .",
    "lint": "$(BIN)/ruff format --check .\n$(BIN)/ruff check .",
    "test": "$(BIN)/pytest",
    "test-fast": "$(BIN)/pytest -q -n0 -m fast",
    "test-slow": "$(BIN)/pytest -m slow",
    "types": "$(BIN)/mypy",
    "types-fast": "$(BIN)/mypy s3crypt cli examples",
}
# These targets make files. Their lines have no fixed text to compare.
OTHERS = {"install", "requirements"}


def targets() -> dict[str, str]:
    """Return the lines of each target."""
    found = re.findall(r"^([a-z-]+):[^\n=]*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return {name: lines.replace("\t", "").strip() for name, lines in found}


def test_the_targets_call_what_they_say() -> None:
    """`make check` is what CI runs, and each other target is the tool that its name says."""
    called = targets()
    assert {name: lines for name, lines in called.items() if name not in OTHERS} == CALLS
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == called.keys()


@pytest.mark.parametrize("target", sorted({*CALLS, *OTHERS} - {"types-fast", "test-fast"}))
def test_the_newcomers_page_names_each_target(target: str) -> None:
    """CONTRIBUTING.md says what each target is for."""
    assert re.search(rf"\bmake {target}`", CONTRIBUTING)


def pinned() -> list[tuple[Requirement, int]]:
    """Return each requirement of requirements-dev.txt with the number of its hashes."""
    text = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    parts = [line.partition(" --hash=") for line in text.splitlines()]
    return [
        (Requirement(first), (mark + rest).count("--hash=sha256:")) for first, mark, rest in parts
    ]


def test_every_package_is_pinned_and_hashed() -> None:
    """No line names a host or an option; each line has one version and at least one hash."""
    text = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    assert not re.search(r"https?:|://| @ ", text)
    assert not re.search(r"^\s*-(?!-hash=sha256:[0-9a-f]{64}( \\)?$)", text, re.MULTILINE)
    for requirement, hashes in pinned():
        (specifier,) = requirement.specifier
        assert (specifier.operator, requirement.url) == ("==", None)
        assert hashes


def test_the_pins_cover_what_the_project_demands() -> None:
    """Each dependency, also of the extra dev, has a pin that pyproject.toml accepts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras, demanded, left = project["optional-dependencies"], [], [*project["dependencies"]]
    left += extras["dev"]
    while left:
        requirement = Requirement(left.pop())
        if requirement.name == "s3crypt":
            left += [each for extra in requirement.extras for each in extras[extra]]
        else:
            demanded.append(requirement)
    versions: dict[str, list[Version]] = {}
    for requirement, _ in pinned():
        (specifier,) = requirement.specifier
        versions.setdefault(canonicalize_name(requirement.name), []).append(
            Version(specifier.version)
        )
    assert len(demanded) > 15
    for requirement in demanded:
        pins = versions[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(pin) for pin in pins), requirement


def test_the_hooks_are_local() -> None:
    """pre-commit fetches nothing, and each hook runs a tool of the environment."""
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    values = {
        name: re.findall(rf"^[ -]*{name}: (.*)$", text, re.MULTILINE)
        for name in ("repo", "id", "language", "entry")
    }
    assert set(values["repo"]) == {"local"}
    assert values["id"] == ["ruff-format", "ruff-check", "mypy"]
    assert values["language"] == ["system"] * 3
    assert all(entry.startswith(".venv/bin/") for entry in values["entry"])


@pytest.mark.parametrize("name", ["ISSUE_TEMPLATE/fault.md", "pull_request_template.md"])
def test_the_templates_send_security_faults_elsewhere(name: str) -> None:
    """A template names SECURITY.md, and asks not to show keys and names of buckets."""
    text = (ROOT / ".github" / name).read_text(encoding="utf-8")
    assert "SECURITY.md" in text
    assert "key" in text
    assert "bucket" in text


def test_the_changelog_has_the_usual_sections() -> None:
    """Each release has sections of Keep a Changelog, each once and in this order."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    order = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for release in text.split("\n## ")[1:]:
        sections = re.findall(r"^### (.*)$", release, re.MULTILINE)
        assert sections
        assert sections == [name for name in order if name in sections]
