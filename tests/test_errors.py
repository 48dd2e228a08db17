# SPDX-License-Identifier: Apache-2.0
"""Errors and results in other processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from samples import aes, connect

from s3crypt import (
    SSEC,
    SSES3,
    ClientSide,
    KeyManager,
    RotationError,
    RotationOutcome,
    StorageError,
    errors,
)
from s3crypt.errors import S3CryptError

if TYPE_CHECKING:
    from collections.abc import Callable

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}
FAMILY = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, S3CryptError)
]
FAILED = RotationOutcome("s3://acme/x", "failed", 0.1, 0, None, StorageError("s3://acme/x: lost"))


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_keeps_its_attributes(kind: type[S3CryptError], way: str) -> None:
    """The text, the hint, the service's code and the notes; the cause stays behind."""
    error = kind("s3://acme/x: denied", hint="Ask for the right.")
    error.code, error.request_id = "AccessDenied", "4442587FB7D0A2F9"
    error.add_note("in the second part")
    if isinstance(error, RotationError):
        error.outcomes = (FAILED,)
    found = COPIES[way](error)
    assert type(found) is kind
    assert str(found) == "s3://acme/x: denied"
    assert vars(found).keys() == vars(error).keys()
    assert (found.hint, found.code, found.request_id) == (error.hint, error.code, error.request_id)
    assert found.__notes__ == ["in the second part"]
    if isinstance(found, RotationError):
        assert [(each.uri, str(each.error)) for each in found.outcomes] == [  # type: ignore[attr-defined]  # errors.py knows no outcomes
            (FAILED.uri, str(FAILED.error))
        ]


def _fail(_: int) -> None:
    raise RotationError("1 of 2 objects was not rotated", outcomes=(FAILED,), hint="Run it again.")


def test_a_rotation_fails_in_a_pool_of_processes() -> None:
    """An error that could not be unpickled would leave the pool waiting for ever."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with pytest.raises(RotationError, match="was not rotated") as caught:
            pool.map_async(_fail, [1]).get(60)
        assert caught.value.hint == "Run it again."
        assert len(caught.value.outcomes) == 1


@pytest.mark.parametrize("way", COPIES)
def test_a_result_keeps_its_values(way: str, bucket: str, kms_key: str) -> None:
    """Each result of a method can be handed to another process."""
    uri, store, keys = f"s3://{bucket}/x", connect(ClientSide(aes())), KeyManager()
    results: list[object] = [store.put(b"data", uri, metadata={"owner": "finance"})]
    results += [store.inspect(uri), store.head(uri), *store.list(f"s3://{bucket}/")]
    results += [*store.rotate(uri, to=ClientSide(aes("two"))), *keys.list(), keys.show(kms_key)]
    results += [SSES3(), SSEC(bytes(32))]
    assert [COPIES[way](result) for result in results] == results
