# SPDX-License-Identifier: Apache-2.0
"""Rotation of many objects and of versions, and rotation while other writers are active."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying
from samples import (
    CUSTOMER_KEY,
    PART,
    aes,
    connect,
    make_mode,
    payload,
    rewrite,
    stored,
    uploads,
)

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    ConflictError,
    IntegrityError,
    KeyUnavailableError,
    ObjectNotFoundError,
    PolicyError,
    RotationError,
    RotationOutcome,
    S3Crypt,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import boto3

    from s3crypt import Mode
    from s3crypt.sandbox import Running


# For each case: the modes before and after, the operation before which another writer replaces the
# object, and the size.
RACES = [
    ("sse-s3", "sse-kms", "CopyObject", 10),
    ("sse-c", "sse-kms", "CopyObject", 10),
    ("client-metadata", "client-metadata", "CopyObject", 10),
    ("client-header", "client-header", "PutObject", 10),
    ("client-header", "client-header", "CompleteMultipartUpload", PART + 1),
    ("sse-s3", "client-header", "HeadObject", 10),
    ("sse-s3", "client-header", "PutObject", 10),
    # The object is written by a multipart upload instead of a PUT: the server must confirm that it
    # encrypts before the only copy is overwritten.
    ("client-metadata", "sse-s3", "CompleteMultipartUpload", 10),
    ("client-header", "client-metadata", "UploadPart", PART + 1),
]


@pytest.mark.parametrize(("before", "after", "operation", "size"), RACES)
def test_another_writer_wins(  # noqa: PLR0917 - five are fixtures
    before: str,
    after: str,
    operation: str,
    size: int,
    bucket: str,
    kms_key: str,
    new_key: str,
    session: boto3.Session,
    s3: Any,
) -> None:
    """If another writer replaces the object during the rotation, the new content is kept."""
    uri, old = f"s3://{bucket}/x", make_mode(before, kms_key)
    connect(old).put(payload(size), uri)
    client = session.client("s3")
    written: list[str] = []

    def replace(**_: Any) -> None:
        if not written:
            written.append(connect(old).put(b"theirs", uri).etag)

    client.meta.events.register(f"before-call.s3.{operation}", replace)
    with pytest.raises(ConflictError):
        S3Crypt(old, client=client).rotate(uri, to=make_mode(after, new_key))
    assert written
    assert connect(old).read(uri) == b"theirs"
    assert uploads(s3, bucket) == []


@pytest.mark.parametrize(
    ("before", "after", "size", "get"),
    [
        ("client-header", SSES3(), PART + 1, 2),
        ("client-metadata", SSES3(), PART + 1, 2),
        # The first request about this object is a HEAD, so its first GET already is a later
        # request.
        ("client-metadata", ClientSide(aes(), signed=True, key_location="metadata"), 10, 1),
    ],
)
def test_another_writers_plain_object_is_a_conflict(  # noqa: PLR0917 - four are fixtures
    before: str,
    after: Mode,
    size: int,
    get: int,
    bucket: str,
    kms_key: str,
    session: boto3.Session,
    s3: Any,
) -> None:
    """If another writer puts a plain object before a later GET, the error is a conflict."""
    uri, old = f"s3://{bucket}/x", make_mode(before, kms_key)
    connect(old).put(payload(size), uri)
    client = session.client("s3")
    gets: list[int] = []

    def replace(**_: Any) -> None:
        gets.append(len(gets) + 1)
        if gets[-1] == get:
            s3.put_object(Bucket=bucket, Key="x", Body=b"theirs")

    client.meta.events.register("before-call.s3.GetObject", replace)
    with pytest.raises(ConflictError):
        S3Crypt(old, client=client).rotate(uri, to=after)
    assert get in gets
    assert stored(s3, bucket, "x") == b"theirs"


def test_an_unreadable_object_that_nobody_replaced_is_no_conflict(bucket: str) -> None:
    """If nothing was replaced, the reader's own error is raised, not a conflict."""
    uri = f"s3://{bucket}/x"
    connect(ClientSide(aes())).put(b"ours", uri)
    with pytest.raises(IntegrityError):
        connect(ClientSide(aes(), context={"tenant": "b"})).rotate(uri, to=SSES3())


def test_an_object_deleted_meanwhile_stays_deleted(
    bucket: str, session: boto3.Session, s3: Any
) -> None:
    """An object deleted during the rotation is not written again."""
    uri = f"s3://{bucket}/x"
    connect(ClientSide(aes())).put(b"plain", uri)
    client = session.client("s3")

    def delete(**_: Any) -> None:
        s3.delete_object(Bucket=bucket, Key="x")

    client.meta.events.register("before-call.s3.PutObject", delete)
    with pytest.raises((ConflictError, ObjectNotFoundError)):
        S3Crypt(ClientSide(aes()), client=client).rotate(uri, to=ClientSide(aes("two")))
    assert list(connect().list(f"s3://{bucket}")) == []


@pytest.mark.parametrize("size", [10, PART + 10])
def test_a_changed_object_is_not_rotated(size: int, bucket: str, s3: Any) -> None:
    """If the source's end was changed, the rotation fails and no new object appears."""
    uri, old = f"s3://{bucket}/x", ClientSide(aes())
    connect(old).put(payload(size), uri)
    body = stored(s3, bucket, "x")
    for changed in (body[:-1] + bytes([body[-1] ^ 1]), body + b"\0", body[:-1]):
        rewrite(s3, bucket, "x", changed)
        with pytest.raises(IntegrityError):
            connect(old).rotate(uri, to=SSES3())
        assert stored(s3, bucket, "x") == changed
        assert uploads(s3, bucket) == []


def test_a_service_without_copies_gets_the_bytes_again(
    sandbox: Running, session: boto3.Session, bucket: str, kms_key: str
) -> None:
    """If a service has no CopyObject, the object is read and written again."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if "x-amz-copy-source" in asked.headers or "tagging" in asked.query:
            return Answer(501, {}, b"<Error><Code>NotImplemented</Code></Error>")
        return forward()

    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(1000), uri)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        (outcome,) = S3Crypt(SSES3(), client=client).rotate(uri, to=SSEKMS(kms_key))
    assert (outcome.action, outcome.bytes_moved) == ("re-encrypted", 1000)
    assert connect(SSEKMS(kms_key)).read(uri) == payload(1000)


def test_tags_that_may_not_be_read_are_not_lost(
    sandbox: Running, session: boto3.Session, bucket: str
) -> None:
    """If the caller cannot read the tags, the rotation fails and the object stays as it is."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if "tagging" in asked.query:
            return Answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
        return forward()

    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(b"plain", uri, tags={"a": "b"})
    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        with pytest.raises(StorageError, match="tags"):
            S3Crypt(SSES3(), client=client).rotate(uri, to=ClientSide(aes()))
    assert connect(SSES3()).read(uri) == b"plain"


# --- Many ------------------------------------------------------------------------------------


def test_a_prefix_is_rotated_and_each_object_reported(bucket: str, kms_key: str) -> None:
    """A rotation of a prefix reports each object below it; a rerun changes no object."""
    store, new = connect(SSES3()), SSEKMS(kms_key)
    for name in ("a/1", "a/2", "a/b/3", "a/", "ab"):
        connect(SSES3()).client.put_object(Bucket=bucket, Key=name, Body=name.encode())
    seen: list[RotationOutcome] = []
    outcomes = store.rotate(f"s3://{bucket}/a/", to=new, on_outcome=seen.append)
    assert [outcome.uri for outcome in outcomes] == [
        f"s3://{bucket}/{name}" for name in ("a/", "a/1", "a/2", "a/b/3")
    ]
    assert {outcome.action for outcome in outcomes} == {"copied"}
    # Objects are rotated in parallel and reported when done, so the reports have no fixed order.
    assert tuple(sorted(seen, key=lambda outcome: outcome.uri)) == outcomes
    assert connect().inspect(f"s3://{bucket}/ab").mode == "sse-s3"
    again = store.rotate(f"s3://{bucket}/a/", to=new)
    assert {outcome.action for outcome in again} == {"unchanged"}
    everything = store.rotate(f"s3://{bucket}", to=new)
    assert [outcome.action for outcome in everything].count("copied") == 1


def test_an_empty_prefix_is_nothing_to_do(bucket: str) -> None:
    """A prefix without objects gives no outcome and no error."""
    assert connect(SSES3()).rotate(f"s3://{bucket}/none/", to=SSES3()) == ()


def test_failures_below_a_prefix_are_all_reported(
    bucket: str, kms_key: str, new_key: str, s3: Any, kms: Any
) -> None:
    """If some objects of a prefix fail, the rest is rotated, and the error has every outcome.

    A later run rotates the failed objects.
    """
    old, new = make_mode("client-header", kms_key), make_mode("client-header", new_key)
    store = connect(old)
    for name in ("1", "2", "3"):
        store.put(name.encode(), f"s3://{bucket}/{name}")
    s3.put_object(Bucket=bucket, Key="2", Body=b"planted")
    connect(SSEC(CUSTOMER_KEY)).put(b"x", f"s3://{bucket}/4")
    with pytest.raises(RotationError, match="2 of 4") as caught:
        store.rotate(f"s3://{bucket}/", to=new)
    outcomes: Any = caught.value.outcomes
    assert [outcome.action for outcome in outcomes] == [
        "re-encrypted",
        "failed",
        "re-encrypted",
        "failed",
    ]
    assert [outcome.error is None for outcome in outcomes] == [True, False, True, False]
    assert connect(new).read(f"s3://{bucket}/3") == b"3"
    for name in ("2", "4"):
        store.delete(f"s3://{bucket}/{name}")
    assert {o.action for o in store.rotate(f"s3://{bucket}/", to=new)} == {"unchanged"}
    kms.disable_key(KeyId=new_key)
    with pytest.raises(RotationError) as caught:
        connect(new).rotate(f"s3://{bucket}/", to=old)
    failed: Any = caught.value.outcomes
    assert all(isinstance(outcome.error, KeyUnavailableError) for outcome in failed)


def test_a_dry_run_changes_nothing(bucket: str, kms_key: str, requests_log: Any) -> None:
    """A dry run reports the actions and sends only GET and HEAD."""
    store = connect(SSES3())
    for name in ("1", "2"):
        store.put(b"plain", f"s3://{bucket}/{name}")
    requests_log.clear()
    outcomes = store.rotate(f"s3://{bucket}/", to=ClientSide(aes()), dry_run=True)
    assert [outcome.action for outcome in outcomes] == ["re-encrypted"] * 2
    outcomes = store.rotate(f"s3://{bucket}/", to=SSEKMS(kms_key), dry_run=True)
    assert [outcome.action for outcome in outcomes] == ["copied"] * 2
    assert {entry["method"] for entry in requests_log.list()} <= {"GET", "HEAD"}


def test_a_dry_run_says_what_would_fail(bucket: str) -> None:
    """A dry run fails for an object that the rotation would refuse because of its mode."""
    connect(ClientSide(aes())).put(b"plain", f"s3://{bucket}/1")
    with pytest.raises(RotationError) as caught:
        connect(SSES3()).rotate(f"s3://{bucket}/", to=SSES3(), dry_run=True)
    (outcome,) = caught.value.outcomes
    assert isinstance(outcome, RotationOutcome)
    assert isinstance(outcome.error, PolicyError)


# --- Versions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sse-s3", "sse-kms"),
        ("sse-c", "client-header"),
        ("client-header", "client-header"),
        ("client-metadata", "client-metadata"),
    ],
)
def test_rotation_makes_a_new_version(
    before: str, after: str, versioned_bucket: str, kms_key: str, new_key: str
) -> None:
    """In a versioned bucket, rotation makes a new version.

    The old key still reads the old version.
    """
    uri = f"s3://{versioned_bucket}/x"
    old, new = make_mode(before, kms_key), make_mode(after, new_key)
    put = connect(old).put(b"plain", uri, tags={"a": "b"})
    (outcome,) = connect(old).rotate(uri, to=new)
    assert outcome.version_id not in (None, put.version_id)
    assert connect(new).inspect(uri, version_id=outcome.version_id).mode == new.name
    assert connect(new).read(uri) == b"plain"
    assert connect(old).read(uri, version_id=put.version_id) == b"plain"
    assert connect(new).rotate(uri, to=new)[0].version_id is None
