# SPDX-License-Identifier: Apache-2.0
"""fsspec's own conformance suite, on objects that are encrypted client-side."""

from __future__ import annotations

from typing import Any

import pytest
from fsspec.tests.abstract import (
    AbstractCopyTests,
    AbstractFixtures,
    AbstractGetTests,
    AbstractOpenTests,
    AbstractPipeTests,
    AbstractPutTests,
)
from samples import aes

from s3crypt import ClientSide
from s3crypt.filesystem import S3CryptFileSystem

_MODE = ClientSide(aes())


class _Fixtures(AbstractFixtures):  # type: ignore[misc]  # fsspec has no types
    @pytest.fixture
    def fs(self) -> S3CryptFileSystem:
        """Return the file system under test."""
        return S3CryptFileSystem(_MODE)

    @pytest.fixture
    def fs_path(self, bucket: str) -> str:
        """Return a path below which the tests may write."""
        return f"{bucket}/tests"

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        """Return False: a directory exists only while objects have its prefix, as in S3."""
        return False


class TestCopy(AbstractCopyTests, _Fixtures):  # type: ignore[misc]
    """Tests of copies inside the file system."""


class TestGet(AbstractGetTests, _Fixtures):  # type: ignore[misc]
    """Tests of copies to local files."""


class TestPut(AbstractPutTests, _Fixtures):  # type: ignore[misc]
    """Tests of copies of local files."""


class TestOpen(AbstractOpenTests, _Fixtures):  # type: ignore[misc]
    """Tests of open files."""


class TestPipe(AbstractPipeTests, _Fixtures):  # type: ignore[misc]
    """Tests of reads and writes in one call."""


def test_the_suite_is_whole() -> None:
    """Every abstract test class of fsspec is run here."""
    import fsspec.tests.abstract as suite  # noqa: PLC0415

    wanted: set[Any] = {
        value
        for name, value in vars(suite).items()
        if name.startswith("Abstract") and name.endswith("Tests")
    }
    run = {
        base for test in (TestCopy, TestGet, TestPut, TestOpen, TestPipe) for base in test.__mro__
    }
    assert wanted <= run
