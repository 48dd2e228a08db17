# SPDX-License-Identifier: Apache-2.0
"""The pytest fixture `s3crypt_sandbox`, for the tests of projects that use s3crypt.

pytest loads this module wherever s3crypt is installed, by the entry point `pytest11`. So it must
import only pytest and the standard library until a test requests the fixture, and must not import
the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import Running, environment, reset, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _s3crypt_sandbox_process() -> Iterator[Running]:
    with running() as started:
        yield started


@pytest.fixture
def s3crypt_sandbox(_s3crypt_sandbox_process: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Point the test at an S3 and a KMS with a bucket, acme, and a key, alias/reports, only.

    The variables that lead boto3, and all that is built on it, there hold as long as the test. The
    process that answers is started by the first test that asks, and ends with the session.
    """
    import boto3  # noqa: PLC0415 - tests that do not ask must not wait for it

    reset(_s3crypt_sandbox_process)
    for name, value in environment(_s3crypt_sandbox_process).items():
        monkeypatch.setenv(name, value)
    # An earlier default session has the old credentials; one created now would outlive the test.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return _s3crypt_sandbox_process
