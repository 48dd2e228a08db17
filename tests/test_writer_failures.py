# SPDX-License-Identifier: Apache-2.0
"""Files opened for writing that fail, in the block or at a service, store nothing."""

from __future__ import annotations

import io
from typing import Any

import pytest
from samples import CLIENT_SIDE, MODES, aes, connect_shared, make_mode, names, payload, uploads
from writer_samples import LENGTHS, LONG, OLD, is_empty, write_in_pieces

from s3crypt import (
    SSEC,
    SSEKMS,
    ClientSide,
    KeyUnavailableError,
    S3Crypt,
    S3CryptError,
    StorageError,
)


@pytest.fixture
def store() -> S3Crypt:
    """Return a client-side store that needs no KMS."""
    return connect_shared(ClientSide(aes()))


@pytest.fixture
def uri(bucket: str) -> str:
    """Return the URI of an object that does not exist yet."""
    return f"s3://{bucket}/x"


class _OwnError(Exception):
    """An error of the caller's own code."""


def _fail(file: Any, data: bytes, error: type[BaseException] = _OwnError) -> None:
    """Write the data, and then raise the error within the file's block."""
    with file:
        write_in_pieces(file, data)
        raise error


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", LENGTHS)
def test_an_exception_stores_nothing(
    name: str, size: int, uri: str, bucket: str, key: str, s3: Any
) -> None:
    """An exception in the block is raised unchanged, and leaves no object and no upload."""
    file = connect_shared(make_mode(name, key)).open(uri, "wb")
    with pytest.raises(_OwnError) as caught:
        _fail(file, payload(size))
    assert caught.value.__context__ is None
    assert file.closed
    assert is_empty(s3, bucket)


@pytest.mark.parametrize("size", LENGTHS)
def test_an_exception_keeps_what_was_there(
    store: S3Crypt, size: int, uri: str, bucket: str, s3: Any
) -> None:
    """After an exception or an interrupt in the block, the old object stays."""
    store.put(OLD, uri)
    for error in (_OwnError, KeyboardInterrupt, SystemExit, GeneratorExit):
        with pytest.raises(error):
            _fail(store.open(uri, "wb"), payload(size), error)
    assert store.read(uri) == OLD
    assert uploads(s3, bucket) == []


@pytest.mark.parametrize("size", LENGTHS)
def test_abort_stores_nothing(store: S3Crypt, size: int, uri: str, bucket: str, s3: Any) -> None:
    """`abort` in the block stores nothing, and the block ends without an error."""
    with store.open(uri, "wb") as file:
        write_in_pieces(file, payload(size))
        file.abort()
    assert file.closed
    assert is_empty(s3, bucket)
    with pytest.raises((ValueError, StorageError)):
        file.info  # noqa: B018 - reading it raises


def _fail_in_text(file: Any, size: int) -> None:
    with io.TextIOWrapper(file, encoding="ascii", write_through=True) as text:
        text.write("x" * size)
        raise _OwnError


def _fail_in_both(file: Any, size: int) -> None:
    with file, io.TextIOWrapper(file, encoding="ascii") as text:
        text.write("x" * size)
        raise _OwnError


@pytest.mark.parametrize("size", LENGTHS)
@pytest.mark.parametrize("how", [_fail_in_text, _fail_in_both])
def test_an_exception_through_a_wrapper_stores_nothing(
    how: Any, store: S3Crypt, size: int, uri: str, bucket: str, s3: Any
) -> None:
    """An exception through a wrapper stores nothing, although the wrapper closes the file."""
    file = store.open(uri, "wb")
    with pytest.raises(_OwnError):
        how(file, size)
    assert file.closed
    assert is_empty(s3, bucket)


def test_a_file_written_while_an_error_is_handled(store: S3Crypt, uri: str) -> None:
    """A file whose block ends while an earlier error is handled is stored."""
    try:
        int("no number")
    except ValueError:
        with store.open(uri, "wb") as file:
            file.write(b"report")
        assert store.read(uri) == b"report"
    assert store.read(uri) == b"report"


def test_a_file_closed_while_an_error_is_handled(
    store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """A `close` without a block, while an error is handled, stores nothing and fails.

    `close` cannot know whether the error will be raised further.
    """
    try:
        int("no number")
    except ValueError:
        file = store.open(uri, "wb")
        file.write(b"closed")
        with pytest.raises(StorageError, match=uri) as caught:
            file.close()
        assert caught.value.hint
        wrapped = io.TextIOWrapper(store.open(uri, "wb"))
        wrapped.write("wrapped")
        with pytest.raises(StorageError, match=uri):
            wrapped.close()
    assert is_empty(s3, bucket)


def test_an_error_handled_within_the_block_is_no_failure(store: S3Crypt, uri: str) -> None:
    """An error that the caller handles within the block does not prevent the storing."""
    with store.open(uri, "wb") as file:
        for number in range(3):
            try:
                int("no number")
            except ValueError:
                file.write(b"%d" % number)
    assert store.read(uri) == b"012"


@pytest.mark.parametrize("size", LENGTHS)
def test_a_missing_bucket_is_told(store: S3Crypt, size: int, bucket: str) -> None:
    """If the bucket does not exist, `write` or `close` raises StorageError."""
    uri = f"s3://{bucket}-not/x"
    with pytest.raises(StorageError) as caught, store.open(uri, "wb") as file:
        write_in_pieces(file, payload(size))
    assert caught.value.code == "NoSuchBucket"
    assert file.closed


@pytest.mark.parametrize("name", ["sse-kms", "dsse-kms", *CLIENT_SIDE])
def test_a_disabled_key_is_told(
    name: str, uri: str, bucket: str, kms_key: str, kms: Any, s3: Any
) -> None:
    """If the KMS key is disabled, `open`, `write` or `close` fails and nothing is stored."""
    kms.disable_key(KeyId=kms_key)
    store = connect_shared(make_mode(name, kms_key))
    for size in LENGTHS:
        with pytest.raises(KeyUnavailableError, match="disabled"), store.open(uri, "wb") as file:
            write_in_pieces(file, payload(size))
    assert is_empty(s3, bucket)


def test_a_key_disabled_midway_is_told(
    uri: str, bucket: str, kms_key: str, kms: Any, s3: Any
) -> None:
    """If the key is disabled during the writing, the file fails and its parts are removed."""
    with connect_shared(SSEKMS(kms_key)).open(uri, "wb") as file:
        write_in_pieces(file, payload(LONG))
        kms.disable_key(KeyId=kms_key)
        with pytest.raises(KeyUnavailableError, match="disabled"):
            file.writelines([payload(LONG)] * 5)
        with pytest.raises(KeyUnavailableError, match="disabled"):
            file.close()
    assert is_empty(s3, bucket)


def test_a_bucket_that_blocks_sse_c_is_told(blocked_bucket: str, s3: Any) -> None:
    """If the bucket blocks SSE-C, the hint names the setting, as for a put."""
    uri = f"s3://{blocked_bucket}/x"
    with (
        pytest.raises(StorageError) as caught,
        connect_shared(SSEC(bytes(range(32)))).open(uri, "wb") as file,
    ):
        file.write(b"x")
    assert "BlockedEncryptionTypes" in str(caught.value.hint)
    assert is_empty(s3, blocked_bucket)


@pytest.mark.parametrize("size", [10, LONG])
def test_a_failed_file_stays_failed(
    size: int, uri: str, bucket: str, kms_key: str, kms: Any, s3: Any
) -> None:
    """After a failure, every later call of the file fails, and nothing more is stored."""
    kms.disable_key(KeyId=kms_key)
    file = connect_shared(SSEKMS(kms_key)).open(uri, "wb")
    failures = 0
    for _ in range(3):
        try:
            file.write(payload(size))
        except S3CryptError:
            failures += 1
    kms.enable_key(KeyId=kms_key)
    if failures:
        with pytest.raises(KeyUnavailableError):
            file.write(b"x")
        with pytest.raises(KeyUnavailableError):
            file.close()
        assert is_empty(s3, bucket)
    else:
        file.close()  # nothing had been sent yet, and now the key can be used
        assert names(s3, bucket) == ["x"]
    assert file.closed
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"x")
