# SPDX-License-Identifier: Apache-2.0
"""The Python reference and the site's navigation are complete."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from s3crypt_cli.output import exit_code

import s3crypt
from s3crypt import errors

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
_ROWS = re.compile(r"^\| \[`(?:errors\.)?(\w+)`\]\(#\w+\) \| (\d+) \|$", re.MULTILINE)


@pytest.fixture(scope="module", name="reference")
def _reference() -> Any:
    """Return the script that writes the reference pages, as a module."""
    sys.path.insert(0, str(DOCS))
    try:
        return import_module("api_reference")
    finally:
        sys.path.remove(str(DOCS))


def test_the_pages_are_what_the_docstrings_say(reference: Any) -> None:
    """The files in docs/reference/ are equal to the output of docs/api_reference.py."""
    files = {path.name: path.read_text() for path in (DOCS / "reference").iterdir()}
    assert files.keys() == reference.pages().keys()
    old = [name for name, text in reference.pages().items() if files[name] != text]
    assert not old, "run: python docs/api_reference.py"


def test_every_public_name_has_an_entry(reference: Any) -> None:
    """Each name in the `__all__` of s3crypt, and of its public packages, is on a page."""
    described = {id(reference.name_of(path).value) for path in reference.names()}
    packages = {
        path.removesuffix(".*") for page in reference.PAGES for path in page.names if "*" in path
    }
    for module in ["s3crypt", "s3crypt.audit", *sorted(packages)]:
        for name in import_module(module).__all__:
            value = getattr(import_module(module), name)
            assert f"{module}.{name}" in reference.names() or id(value) in described, name
    assert {f"s3crypt.{name}" for name in s3crypt.__all__} <= reference.names().keys()


def test_every_error_has_an_entry(reference: Any) -> None:
    """Each error and warning of s3crypt.errors has an entry in the reference."""
    every = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    described = {reference.name_of(path).value for path in reference.names() if "Error" in path}
    assert every <= described | {errors.KeyFileWarning}
    assert "s3crypt.errors.KeyFileWarning" in reference.names()


def test_every_name_is_described(reference: Any) -> None:
    """Each public name, method and property has a docstring.

    Methods that override Python's own methods need no docstring.
    """
    for path in reference.names():
        name = reference.name_of(path)
        assert name.doc, path
        for member in name.members:
            assert member.doc or member.is_override, f"{path}.{member.name}"


def test_every_field_is_described(reference: Any) -> None:
    """Each field of a public value is in the section Attributes of its class."""
    for path in reference.names():
        name = reference.name_of(path)
        described = reference.attributes_of(name.doc)
        assert set(name.fields) <= described, path


def test_the_exit_codes_are_the_commands() -> None:
    """The page of errors has the command's exit code for each error except the base class."""
    every = _below(errors.S3CryptError)
    codes = {kind.__name__: exit_code(kind("message")) for kind in every}
    rows = _ROWS.findall((DOCS / "reference" / "errors.md").read_text())
    assert {name: int(code) for name, code in rows} == codes
    assert len(set(codes.values())) > 4


def _below(kind: type[errors.S3CryptError]) -> set[type[errors.S3CryptError]]:
    """Return all subclasses of an error that are defined in s3crypt.errors."""
    found = {each for each in kind.__subclasses__() if each.__module__ == errors.__name__}
    return found.union(*map(_below, found))


def test_the_navigation_has_every_page() -> None:
    """The navigation of the site has each page once, and no other page."""
    configuration = (ROOT / "mkdocs.yml").read_text()
    hook = (DOCS / "site_pages.py").read_text()
    named = re.findall(r"^ +- (?:[^:\n]+: )?([\w/-]+\.md)$", configuration, re.MULTILINE)
    outside = dict(re.findall(r'^    "([\w/]+\.md)": "([\w-]+\.md)",$', hook, re.MULTILINE))
    assert all((ROOT / path).exists() for path in outside)
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    assert sorted(named) == sorted([*pages, *outside.values()])


def test_the_index_has_every_decision() -> None:
    """docs/decisions/README.md lists each decision record, with its heading, in order."""
    index = (DOCS / "decisions" / "README.md").read_text()
    records = sorted((DOCS / "decisions").glob("0*.md"))
    headings = [path.read_text().partition("\n")[0].removeprefix("# ") for path in records]
    listed = re.findall(r"^\| \[(.*?)\]\((.*?)\) \| \S.*\. \|$", index, re.MULTILINE)
    assert listed == [(head, path.name) for head, path in zip(headings, records, strict=True)]
