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
    """Make the test use a sandbox that has only the bucket acme and the KMS key alias/reports.

    During the test, environment variables make boto3, and every library that uses boto3, send their
    requests to the sandbox. The sandbox is one process for the session: the first test that
    requests the fixture starts it, and each test begins with its initial state.
    """
    import boto3  # noqa: PLC0415 - other tests must not wait for this import

    reset(_s3crypt_sandbox_process)
    for name, value in environment(_s3crypt_sandbox_process).items():
        monkeypatch.setenv(name, value)
    # boto3's default session may have other credentials. A new default session would outlive the
    # test, so the old value is restored after it.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return _s3crypt_sandbox_process
