# SPDX-License-Identifier: Apache-2.0
"""docs/keys-operations.md has every KMS operation, and the commands and tests it names exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import get_args

import botocore.session
import pytest
from botocore import xform_name
from s3crypt_cli.keys import keys as key_commands

from s3crypt.operations import KMSOperation

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "keys-operations.md").read_text("utf-8")
_CODE = re.compile(r"`([^`]+)`")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the rows of the table under a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


USED = {_CODE.findall(cells[0])[0]: cells for cells in rows("Used")}
LEFT_OUT = [name for cells in rows("Left out") for name in _CODE.findall(cells[0])]


@cache
def names_in(file: str) -> frozenset[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_operation_of_kms_has_one_row() -> None:
    """Each operation in botocore's model of KMS has one row, so a new operation fails this test."""
    model = botocore.session.get_session().get_service_model("kms")
    assert sorted([*USED, *LEFT_OUT]) == sorted(model.operation_names)
    assert all(len(cells) == 2 and cells[1] for cells in rows("Left out"))


def test_the_used_operations_are_those_that_are_requested() -> None:
    """The library's list of KMS operations equals the table of the used operations."""
    assert {xform_name(name) for name in USED} == set(get_args(KMSOperation))


@pytest.mark.parametrize("operation", USED)
def test_the_verbs_and_the_test_of_an_operation_exist(operation: str) -> None:
    """Each verb in a row is an existing command, and the row's test is in the file it names."""
    _, use, test = USED[operation]
    verbs = [verb for verb in _CODE.findall(use) if not verb.startswith("s3crypt ")]
    assert set(verbs) <= key_commands.commands.keys()
    file, _, name = _CODE.findall(test)[0].partition("::")
    assert name in names_in(file)
