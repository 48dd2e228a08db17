# SPDX-License-Identifier: Apache-2.0
"""The pytest fixture `s3crypt_sandbox`, for the tests of projects that use s3crypt.

pytest loads this module wherever s3crypt is installed, by the entry point `pytest11`. So it imports
nothing but pytest and the standard library until a test asks for the fixture, and it must not know
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
    # A session that was made before has its credentials, and one that is made now would stay.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return _s3crypt_sandbox_process
