# SPDX-License-Identifier: Apache-2.0
"""Which objects `open` accepts, and reads of an object that is replaced or deleted meanwhile."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest
from reader_samples import DEFAULT_FRAME, FRAME, SIZE, put_short_frames, short_frames
from relay import Answer, Asked, relaying
from samples import CUSTOMER_KEY, MODES, aes, connect_shared, make_mode, payload

from s3crypt import (
    SSEC,
    SSES3,
    ClientSide,
    ConflictError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    ObjectNotFoundError,
    PolicyError,
    S3Crypt,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3crypt.sandbox import Running


@pytest.fixture
def store() -> S3Crypt:
    """Return a store that writes short frames."""
    return short_frames()


@pytest.fixture
def uri(store: S3Crypt, bucket: str) -> str:
    """Put an object of many short frames. Return its URI."""
    return put_short_frames(store, bucket)


# --- Opening -----------------------------------------------------------------------------------


def test_a_signed_object_is_opened_where_its_signature_may_be_left_out(bucket: str) -> None:
    """A signed object opens only with `allow_unverified_signature`.

    A range verifies only its frames, and not the signature.
    """
    store, uri = (
        connect_shared(ClientSide(aes(), signed=True, frame_length=FRAME)),
        f"s3://{bucket}/x",
    )
    store.put(payload(SIZE), uri)
    with pytest.raises(PolicyError, match=uri) as caught:
        store.open(uri)
    assert "allow_unverified_signature" in str(caught.value.hint)
    with store.open(uri, allow_unverified_signature=True) as file:
        file.seek(-5, os.SEEK_END)
        assert file.read() == payload(SIZE)[-5:]
        assert file.size == SIZE


@pytest.mark.parametrize(
    ("put", "read", "error"),
    [
        ("client-header", None, PolicyError),
        ("client-header", "sse-s3", PolicyError),
        ("client-header", "sse-kms", PolicyError),
        ("client-metadata", None, PolicyError),
        ("sse-s3", "client-header", FormatError),
        ("sse-s3", "sse-kms", PolicyError),
        ("sse-kms", "sse-s3", PolicyError),
        ("sse-c", "sse-s3", StorageError),
        ("sse-c", None, StorageError),
        ("sse-s3", "sse-c", StorageError),
    ],
)
def test_another_mode_than_demanded_is_refused(
    put: str, read: str | None, error: Any, bucket: str, key: str
) -> None:
    """`open` and `get` refuse an object that is not in the store's mode."""
    uri = f"s3://{bucket}/x"
    connect_shared(make_mode(put, key)).put(payload(SIZE), uri)
    store = connect_shared(make_mode(read, key) if read else None)
    with pytest.raises(error, match=uri):
        store.open(uri)
    with pytest.raises(error, match=uri):
        store.get(uri, io.BytesIO())


@pytest.mark.parametrize("name", ["sse-s3", "sse-kms", "dsse-kms"])
def test_what_s3_decrypts_is_opened_without_a_mode(name: str, bucket: str, key: str) -> None:
    """A store without a mode opens any object that S3 itself decrypts."""
    uri = f"s3://{bucket}/x"
    connect_shared(make_mode(name, key)).put(payload(SIZE), uri)
    with connect_shared().open(uri) as file:
        assert file.read() == payload(SIZE)
        assert file.info.mode == name


def test_a_mode_may_be_given_to_open(uri: str) -> None:
    """A mode that is given to `open` is used instead of the store's mode."""
    with connect_shared(SSES3()).open(uri, mode=ClientSide(aes())) as file:
        assert file.read() == payload(SIZE)


def test_another_key_opens_nothing(uri: str) -> None:
    """`open` with a wrong key fails, for client-side keys and for SSE-C."""
    with pytest.raises((IntegrityError, KeyUnavailableError, PolicyError), match=uri):
        connect_shared(ClientSide(aes("two"))).open(uri)
    store = connect_shared(SSEC(CUSTOMER_KEY))
    store.put(payload(SIZE), f"{uri}-c")
    with pytest.raises(StorageError, match=uri) as caught:
        store.open(f"{uri}-c", mode=SSEC(bytes(32)))
    assert "customer key" in str(caught.value.hint)


def test_an_object_moved_is_opened_by_the_name_it_had(
    store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """An object that S3 copied to a new name opens only with its old name as `written_as`."""
    assert uri == f"s3://{bucket}/x"
    s3.copy_object(Bucket=bucket, Key="moved", CopySource={"Bucket": bucket, "Key": "x"})
    moved = f"s3://{bucket}/moved"
    with pytest.raises(IntegrityError, match=moved):
        store.open(moved)
    with store.open(moved, written_as="x") as file:
        assert file.read() == payload(SIZE)


def test_a_context_is_held_to(bucket: str) -> None:
    """`open` fails if the encryption context is not the one of the put."""
    uri = f"s3://{bucket}/x"
    connect_shared(ClientSide(aes(), context={"a": "b"})).put(payload(SIZE), uri)
    with pytest.raises(IntegrityError, match=uri):
        connect_shared(ClientSide(aes(), context={"a": "c"})).open(uri)
    with connect_shared(ClientSide(aes(), context={"a": "b"})).open(uri) as file:
        assert file.size == SIZE


@pytest.mark.parametrize("missing", ["name", "bucket", "version"])
def test_what_is_not_there_is_not_opened(
    missing: str, store: S3Crypt, uri: str, bucket: str
) -> None:
    """`open` of a missing object or version raises FileNotFoundError.

    For a missing bucket, it raises another StorageError.
    """
    where = f"s3://{bucket}-not/x" if missing == "bucket" else f"{uri}-not"
    version = "0" * 32 if missing == "version" else None
    with pytest.raises(StorageError) as caught:
        store.open(uri if version else where, version_id=version)
    assert isinstance(caught.value, FileNotFoundError) == (missing != "bucket")


@pytest.mark.parametrize("name", ["sse-kms", "client-header", "client-metadata"])
def test_a_disabled_key_is_told_at_open(name: str, bucket: str, kms_key: str, kms: Any) -> None:
    """If the KMS key is disabled, `open` itself fails, before any read."""
    store, uri = connect_shared(make_mode(name, kms_key)), f"s3://{bucket}/x"
    store.put(payload(SIZE), uri)
    kms.disable_key(KeyId=kms_key)
    with pytest.raises(KeyUnavailableError, match="disabled"):
        store.open(uri)


# --- Replaced or deleted while open ------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
def test_an_object_replaced_while_open_is_a_conflict(name: str, bucket: str, key: str) -> None:
    """If the object is replaced while it is open, reading bytes not yet fetched is a conflict."""
    size = 40 * DEFAULT_FRAME
    store, uri = connect_shared(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri, cache_length=0) as file:
        assert file.read(9) == payload(size)[:9]
        store.put(payload(size)[::-1], uri)
        for _ in range(2):
            file.seek(size // 2)
            with pytest.raises(ConflictError, match=f"{uri}.*replaced"):
                file.read(9)
            with pytest.raises(ConflictError, match="replaced"):
                file.read_ranges([(size // 4, size // 4 + 9), (size // 2, size // 2 + 9)])
    with store.open(uri) as file:
        assert file.read(9) == payload(size)[::-1][:9]


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("then", ["replaced", "deleted"])
def test_a_version_is_read_on(name: str, then: str, versioned_bucket: str, key: str) -> None:
    """In a versioned bucket, an open object is read to its end even if replaced or deleted."""
    size = 10 * DEFAULT_FRAME
    store, uri = connect_shared(make_mode(name, key)), f"s3://{versioned_bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri, cache_length=0) as file:
        first = file.read(9)
        if then == "replaced":
            store.put(payload(size)[::-1], uri)
        else:
            store.delete(uri)
        assert first + file.read() == payload(size)
        assert file.read_ranges([(5 * DEFAULT_FRAME, 5 * DEFAULT_FRAME + 9)]) == [
            payload(size)[5 * DEFAULT_FRAME :][:9]
        ]


@pytest.mark.parametrize("name", ["sse-s3", "sse-c", "client-header"])
def test_an_object_deleted_while_open(name: str, bucket: str, key: str) -> None:
    """If the object is deleted while it is open, the next read fails with the object's name."""
    size = 10 * DEFAULT_FRAME
    store, uri = connect_shared(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    with store.open(uri, cache_length=0) as file:
        file.read(9)
        store.delete(uri)
        file.seek(size // 2)
        with pytest.raises(StorageError, match=uri) as caught:
            file.read(9)
        assert isinstance(caught.value, ObjectNotFoundError | ConflictError)


def test_an_old_version_is_opened_by_its_id(versioned_bucket: str) -> None:
    """An old version is opened only by its version id."""
    store, uri = connect_shared(ClientSide(aes())), f"s3://{versioned_bucket}/x"
    old = store.put(b"old", uri)
    store.put(b"new", uri)
    with store.open(uri, version_id=old.version_id) as file:
        assert file.read() == b"old"
        assert file.info.version_id == old.version_id
    with store.open(uri) as file:
        assert file.read() == b"new"


@pytest.mark.parametrize("late", [2, 3])
def test_an_object_replaced_between_two_requests(
    late: int, uri: str, sandbox: Running, session: Any
) -> None:
    """A replacement between two requests of `open` and the first read is a conflict."""
    mode, asked = ClientSide(aes(), frame_length=FRAME), []

    def replace(request: Asked, forward: Callable[[], Answer]) -> Answer:
        asked.append(request)
        if len(asked) == late:
            connect_shared(mode).put(payload(SIZE)[::-1], uri)
        return forward()

    def read(store: S3Crypt) -> None:
        with store.open(uri) as file:
            # This place is not among the bytes that the first request or the request for the end
            # fetched.
            file.seek(SIZE - 25 * FRAME)
            file.read(9)

    with relaying(sandbox.endpoint_url, replace) as relay:
        store = S3Crypt(mode, client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(ConflictError, match=f"{uri}.*replaced"):
            read(store)
    assert len(asked) == late


def test_a_connection_that_breaks_is_taken_up_again(
    uri: str, sandbox: Running, session: Any
) -> None:
    """If each reply breaks off once, all bytes are read correctly by further requests."""
    whole: set[str] = set()

    def cut(request: Asked, forward: Callable[[], Answer]) -> Answer:
        answer, wanted = forward(), request.headers["range"]
        if wanted not in whole and len(answer.body) > 9:
            whole.add(wanted)
            answer.cut = len(answer.body) // 2
        return answer

    with relaying(sandbox.endpoint_url, cut) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        with S3Crypt(ClientSide(aes()), client=client).open(uri) as file:
            assert file.read() == payload(SIZE)
            assert file.read_ranges([(SIZE // 2, SIZE // 2 + 9)]) == [
                payload(SIZE)[SIZE // 2 :][:9]
            ]
    assert len(whole) > 2
