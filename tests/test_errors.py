# SPDX-License-Identifier: Apache-2.0
"""Errors and results keep their content in other processes."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import pickle
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from samples import aes, connect

import s3crypt
from s3crypt import (
    SSEC,
    SSES3,
    CacheStatistics,
    ClientSide,
    KeyManager,
    ListedBucket,
    ListedObject,
    ListedPrefix,
    ListedVersion,
    ObjectInfo,
    Outcome,
    Presigned,
    RotationError,
    RotationOutcome,
    StorageError,
    SyncOutcome,
    Usage,
    errors,
    kms,
)
from s3crypt.errors import Remedy, S3CryptError
from s3crypt.kms import (
    AliasChange,
    Clearance,
    CreatedGrant,
    Grant,
    Imported,
    ImportParameters,
    Key,
    KeySummary,
    LastUse,
    Material,
    RegionalKey,
    Rotation,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.pool import Pool

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
REMEDY = Remedy("read_with_key", key=("aes:acme/2026", "kms:alias/reports"))
FAILED = RotationOutcome(
    "s3://acme/x", "failed", 0.1, 0, None, StorageError("s3://acme/x: lost", remedy=REMEDY)
)
NOW = datetime(2026, 11, 28, 4, 30, tzinfo=UTC)
ARN = "arn:aws:kms:us-east-1:123456789012:key/8a1f"
ALIAS_ARN = "arn:aws:kms:us-east-1:123456789012:alias/x"
GRANT = Grant("1b02", ARN, is_service=False, operations=("Decrypt",))
MATERIAL = Material("ab12", "CURRENT", NOW, "ON_DEMAND")
RESULTS = [
    ObjectInfo("s3://acme/x", "client", 4, 400, '"e"', "v", NOW, context={"tenant": "1"}),
    ListedObject("s3://acme/x", 400, '"e"', NOW),
    RotationOutcome("s3://acme/x", "copied", 0.1, 0, "v"),
    Outcome("s3://acme/x", None, None, 0.1),
    CacheStatistics(1, 2, 3, 4, 5),
    ListedBucket("acme", NOW),
    ListedPrefix("s3://acme/2026/"),
    ListedVersion("s3://acme/x", None, is_latest=True, last_modified=NOW, etag="ab"),
    SyncOutcome("tree/x", "s3://acme/x", "copied", seconds=0.1),
    Usage("s3://acme/", 3, 300, 200, 1, 0),
    Presigned("GET", "https://acme/x", {"x-amz-a": "b"}, {"x-amz-k": "c"}, NOW, is_temporary=False),
    KeySummary(ARN, "8a1f", ("alias/x",), "", "Enabled", False, True, 365),
    Key(
        arn=ARN,
        key_id="8a1f",
        aliases=("alias/x",),
        description="",
        state="Enabled",
        spec="SYMMETRIC_DEFAULT",
        usage="ENCRYPT_DECRYPT",
        origin="AWS_KMS",
        manager="CUSTOMER",
        multi_region=False,
        replica_of=None,
        created=NOW,
        deletion_date=None,
        material_id=None,
        rotation_enabled=True,
        rotation_period_days=365,
        next_rotation=NOW,
        rotating_since=None,
        on_demand_rotations=1,
        tags={"owner": "finance"},
        not_permitted=("kms:GetKeyPolicy",),
    ),
    Rotation(NOW, "ON_DEMAND", None),
    AliasChange("alias/x", ALIAS_ARN, ARN, None),
    Clearance(ARN, "123456789012", NOW, True, False, 0, 0),
    CreatedGrant(ARN, GRANT, "token", existed=False),
    GRANT,
    Imported(ARN, ARN, MATERIAL, ()),
    ImportParameters(ARN, b"public", b"token", NOW),
    LastUse(NOW, "Decrypt", NOW),
    MATERIAL,
    RegionalKey(ARN, is_primary=True, state="Enabled"),
]
# Values that are arguments, not results.
ARGUMENTS = {"NameFilter", "SSES3", "SSEKMS", "DSSEKMS", "SSEC", "ClientSide"}
# These are not results either: a journal belongs to the process that opened it, `Many` belongs to
# its store, and `GrantRequest` and `Importing` are arguments.
ARGUMENTS |= {"Journal", "Many", "GrantRequest", "Importing"}
ARGUMENTS |= {"AESKeyring", "RSAKeyring", "KMSKeyring", "MultiKeyring", "CachingKeyring"}


def make(kind: type[S3CryptError]) -> S3CryptError:
    """Return an error with every attribute that an error can have."""
    error = kind("s3://acme/x: denied", hint="It is client-side.")
    error.remedy = REMEDY
    error.code, error.request_id = "AccessDenied", "4442587FB7D0A2F9"
    error.add_note("in the second part")
    if isinstance(error, RotationError):
        error.outcomes = (FAILED,)
    return error


def check_alike(found: Any, error: S3CryptError) -> None:
    """Compare every attribute, because an error is equal only to itself."""
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert found.hint == error.hint
    one, other = dict(vars(found)), dict(vars(error))
    inside = [each.pop("outcomes", ()) for each in (one, other)]
    assert one == other
    assert len(inside[0]) == len(inside[1])
    for outcome, before in zip(*inside, strict=True):
        assert dataclasses.replace(outcome, error=None) == dataclasses.replace(before, error=None)
        check_alike(outcome.error, before.error)


def is_of(kind: object, package: str) -> bool:
    """Return whether `kind` is a data class that a package defines."""
    is_value = isinstance(kind, type) and dataclasses.is_dataclass(kind)
    return is_value and str(kind.__module__).startswith(package)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_keeps_its_attributes(kind: type[S3CryptError], way: str) -> None:
    """A copied error keeps text, hint, remedy, code and notes, but not its cause."""
    error = make(kind)
    found = COPIES[way](error)
    check_alike(found, error)
    assert found.remedy == REMEDY
    assert found.hint.endswith("header names: aes:acme/2026, kms:alias/reports")
    assert found.__notes__ == ["in the second part"]
    found.reword(lambda remedy: f"Say {remedy.action}.")
    assert COPIES[way](found).hint == "It is client-side. Say read_with_key."


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Start another process by `spawn`: everything that it receives is pickled."""
    with multiprocessing.get_context("spawn").Pool(1) as started:
        yield started


def _raise(error: S3CryptError) -> None:
    raise error


def _return(value: object) -> object:
    return value


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_ends_a_task_of_a_pool(kind: type[S3CryptError], pool: Pool) -> None:
    """Every error returns from a process pool: otherwise the pool would wait for it forever."""
    error = make(kind)
    with pytest.raises(kind) as caught:
        pool.map_async(_raise, [error]).get(60)
    check_alike(caught.value, error)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_a_result_comes_from_a_pool(result: object, pool: Pool) -> None:
    """A result that returns from another process is equal to the original."""
    assert pool.map_async(_return, [result]).get(60) == [result]
    for duplicate in COPIES.values():
        assert duplicate(result) == result


def test_every_kind_of_result_is_here() -> None:
    """The list of results has every public value class that is no argument."""
    public = [getattr(s3crypt, name) for name in s3crypt.__all__]
    public += [kind for kind in vars(kms).values() if is_of(kind, "s3crypt.kms")]
    values = {kind.__name__ for kind in public if is_of(kind, "s3crypt")}
    assert {type(result).__name__ for result in RESULTS} == values - ARGUMENTS


@pytest.mark.parametrize("way", COPIES)
def test_a_result_keeps_its_values(way: str, bucket: str, kms_key: str) -> None:
    """Each result of a method can be copied to another process."""
    uri, store, keys = f"s3://{bucket}/x", connect(ClientSide(aes())), KeyManager()
    results: list[object] = [store.put(b"data", uri, metadata={"owner": "finance"})]
    results += [store.inspect(uri), store.head(uri), *store.list(f"s3://{bucket}/")]
    results += [*store.rotate(uri, to=ClientSide(aes("two"))), *keys.list(), keys.show(kms_key)]
    results += [SSES3(), SSEC(bytes(32))]
    assert [COPIES[way](result) for result in results] == results
