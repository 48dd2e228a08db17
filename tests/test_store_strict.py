# SPDX-License-Identifier: Apache-2.0
"""Strict reading: a store reads only objects that meet the demands of its mode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from relay import relaying
from samples import (
    CLIENT_SIDE,
    CUSTOMER_KEY,
    PART,
    SERVER_SIDE,
    aes,
    connect,
    files,
    make_mode,
    payload,
    stored,
    uncommitted,
)

from s3crypt import (
    DSSEKMS,
    SSEC,
    SSEKMS,
    SSES3,
    AESKeyring,
    ClientSide,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    PolicyError,
    S3CryptError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay import Answer, Asked

    from s3crypt import Mode, S3Crypt
    from s3crypt.sandbox import Running

OLD = b"what was there before"


def refused(
    store: S3Crypt, uri: str, folder: Path, kind: type[S3CryptError], **options: Any
) -> S3CryptError:
    """Check that get and read refuse, and that the old file stays. Return their error."""
    target = folder / "out"
    target.write_bytes(OLD)
    with pytest.raises(kind) as caught:
        store.get(uri, target, **options)
    assert target.read_bytes() == OLD
    assert files(folder) == ["out"]
    target.unlink()
    with pytest.raises(kind):
        store.get(uri, target, **options)
    assert files(folder) == []
    with pytest.raises(kind):
        store.read(uri, **options)
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 1000, PART + 1])
def test_a_client_side_store_refuses_a_plain_object(
    size: int, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """A client-side store refuses a plain object: any writer to the bucket could have put it."""
    s3.put_object(Bucket=bucket, Key="x", Body=payload(size))
    error = refused(connect(ClientSide(aes())), f"s3://{bucket}/x", tmp_path, FormatError)
    assert f"s3://{bucket}/x" in str(error)


def test_an_uncommitted_message_is_read_only_where_named(
    bucket: str, s3: Any, tmp_path: Path
) -> None:
    """A message without key commitment is read only with `allow_uncommitted`."""
    s3.put_object(Bucket=bucket, Key="x", Body=uncommitted(b"plain", "x"))
    store, uri = connect(ClientSide(aes())), f"s3://{bucket}/x"
    error = refused(store, uri, tmp_path, PolicyError)
    assert "allow_uncommitted" in str(error.hint)
    assert store.read(uri, allow_uncommitted=True) == b"plain"
    store.get(uri, tmp_path / "out", allow_uncommitted=True)
    assert (tmp_path / "out").read_bytes() == b"plain"
    seen = store.inspect(uri)
    assert (seen.size, seen.frames, seen.suite) == (5, None, "0x0078")


@pytest.mark.parametrize(
    ("written", "demanded", "kind"),
    [
        ({"team": "a"}, {"team": "b"}, IntegrityError),
        ({"team": "a"}, {"team": "a", "more": "x"}, IntegrityError),
        ({}, {"team": "a"}, IntegrityError),
        ({"team": "a"}, {"team": "a"}, None),
        ({"team": "a"}, {}, None),
    ],
)
@pytest.mark.parametrize("key_location", ["header", "metadata"])
def test_a_demanded_context_must_be_there(
    key_location: Any,
    written: dict[str, str],
    demanded: dict[str, str],
    kind: type[S3CryptError] | None,
    bucket: str,
    tmp_path: Path,
) -> None:
    """An object is read only if its context contains all pairs of the reader's context."""
    uri = f"s3://{bucket}/x"
    connect(ClientSide(aes(), context=written, key_location=key_location)).put(b"plain", uri)
    store = connect(ClientSide(aes(), context=demanded))
    if kind:
        refused(store, uri, tmp_path, kind)
    else:
        assert store.read(uri) == b"plain"


@pytest.mark.parametrize("name", CLIENT_SIDE)
def test_a_moved_object_is_read_by_its_old_name(
    name: str, bucket: str, kms_key: str, s3: Any, tmp_path: Path
) -> None:
    """An object that was copied to a new name is read with `written_as`, or by an unbound mode."""
    mode = make_mode(name, kms_key)
    store = connect(mode)
    store.put(b"plain", f"s3://{bucket}/old name")
    s3.copy_object(Bucket=bucket, Key="new", CopySource={"Bucket": bucket, "Key": "old name"})
    moved = f"s3://{bucket}/new"
    refused(store, moved, tmp_path, IntegrityError)
    refused(store, moved, tmp_path, IntegrityError, written_as="another")
    assert store.read(moved, written_as="old name") == b"plain"
    assert isinstance(mode, ClientSide)
    assert connect(ClientSide(mode.keyring, bind_name=False)).read(moved) == b"plain"


@pytest.mark.parametrize("name", CLIENT_SIDE)
def test_swapped_objects_are_noticed(
    name: str, bucket: str, kms_key: str, s3: Any, tmp_path: Path
) -> None:
    """If two objects were swapped, with their metadata, both are refused."""
    store = connect(make_mode(name, kms_key))
    found = {}
    for at in ("a", "b"):
        store.put(at.encode(), f"s3://{bucket}/{at}")
        metadata = s3.head_object(Bucket=bucket, Key=at)["Metadata"]
        found[at] = {"Body": stored(s3, bucket, at), "Metadata": metadata}
    s3.put_object(Bucket=bucket, Key="a", **found["b"])
    s3.put_object(Bucket=bucket, Key="b", **found["a"])
    for at in ("a", "b"):
        refused(store, f"s3://{bucket}/{at}", tmp_path, IntegrityError)


def test_an_unbound_object_is_read_only_by_an_unbound_mode(bucket: str, tmp_path: Path) -> None:
    """A mode that binds names refuses an object without a bound name."""
    uri = f"s3://{bucket}/x"
    unbound = connect(ClientSide(aes(), bind_name=False))
    unbound.put(b"plain", uri)
    refused(connect(ClientSide(aes())), uri, tmp_path, IntegrityError)
    assert unbound.read(uri) == b"plain"


@pytest.mark.parametrize("key_location", ["header", "metadata"])
def test_another_key_opens_nothing(key_location: Any, bucket: str, tmp_path: Path) -> None:
    """With another key, an object is refused; the hint names the object's keys.

    If the key has the same name but other bytes, the error is IntegrityError.
    """
    uri = f"s3://{bucket}/x"
    connect(ClientSide(aes("one"), key_location=key_location)).put(b"plain", uri)
    error = refused(connect(ClientSide(aes("two"))), uri, tmp_path, KeyUnavailableError)
    assert error.hint == "The unverified header names aes:tests/one."
    wrong = AESKeyring("tests", "one", bytes(32))
    error = refused(connect(ClientSide(wrong)), uri, tmp_path, IntegrityError)
    assert "aes:tests/one" in str(error.hint)


def _other(mode: str, kms_key: str, other_key: str) -> list[Mode]:
    """Return all modes that must not read an object that was put in this mode."""
    others: list[Mode] = [
        make_mode(name, kms_key) for name in (*SERVER_SIDE, "client-header") if name != mode
    ]
    by_key: dict[str, list[Mode]] = {
        "sse-kms": [SSEKMS(other_key)],
        "dsse-kms": [DSSEKMS(other_key)],
        "sse-c": [SSEC(bytes(32))],
    }
    return others + by_key.get(mode, [])


@pytest.mark.parametrize("name", SERVER_SIDE)
def test_an_sse_store_refuses_another_mode_or_key(
    name: str, bucket: str, kms_key: str, kms: Any, tmp_path: Path
) -> None:
    """A store in an SSE mode refuses objects that S3 reports in another mode or key."""
    other_key = kms.create_key()["KeyMetadata"]["Arn"]
    uri = f"s3://{bucket}/x"
    connect(make_mode(name, kms_key)).put(b"plain", uri)
    for mode in _other(name, kms_key, other_key):
        kinds: Any = (PolicyError, StorageError, FormatError)
        error = refused(connect(mode), uri, tmp_path, kinds)
        assert isinstance(error, FormatError) == (mode.name == "client" and name != "sse-c")


@pytest.mark.parametrize("name", ["sse-kms", "dsse-kms"])
def test_a_kms_key_may_be_named_by_arn_id_or_alias(
    name: str, bucket: str, kms_key: str, kms: Any
) -> None:
    """A store accepts an object's KMS key by its ARN, id or alias, but not another key's alias."""
    alias, other = f"alias/{bucket}", f"alias/other-{bucket}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    kms.create_alias(AliasName=other, TargetKeyId=kms.create_key()["KeyMetadata"]["Arn"])
    uri = f"s3://{bucket}/x"
    connect(make_mode(name, alias)).put(b"plain", uri)
    for key in (kms_key, kms_key.rpartition("/")[2], alias):
        assert connect(make_mode(name, key)).read(uri) == b"plain"
    with pytest.raises(PolicyError, match=kms_key):
        connect(make_mode(name, other)).read(uri)


KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"


@contextmanager
def reporting(sandbox: Running, arn: str) -> Iterator[str]:
    """Run a relay that reports this KMS key for every object. Yield its URL."""

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if KEY_HEADER in answer.headers:
            answer.headers[KEY_HEADER] = arn
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        yield relay.url


@pytest.mark.parametrize("name", ["sse-kms", "dsse-kms"])
def test_an_equal_id_in_another_account_is_another_key(
    name: str, bucket: str, kms_key: str, sandbox: Running
) -> None:
    """A key id means the key of the caller's account: another account's ARN is refused."""
    mode = make_mode(name, kms_key.rpartition("/")[2])
    connect(mode).put(b"plain", f"s3://{bucket}/x")
    foreign = kms_key.replace(kms_key.split(":")[4], "999999999999")
    with reporting(sandbox, foreign) as url:
        store = connect(mode, endpoint_url=url)
        with pytest.raises(PolicyError, match="999999999999"):
            store.read(f"s3://{bucket}/x")
        with pytest.raises(PolicyError, match="999999999999"):
            store.put(b"plain", f"s3://{bucket}/y")
        anyones = connect(endpoint_url=url)
        assert anyones.needs_rotation(f"s3://{bucket}/x", to=mode)


@pytest.mark.parametrize("by", ["id", "alias"])
def test_a_write_under_another_key_is_refused(
    by: str, bucket: str, kms_key: str, new_key: str, kms: Any, sandbox: Running
) -> None:
    """If a put's reply reports another key than the requested one, the put is refused."""
    alias = f"alias/{bucket}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    mode = SSEKMS(alias if by == "alias" else kms_key.rpartition("/")[2])
    connect(mode).put(b"plain", f"s3://{bucket}/x")
    with reporting(sandbox, new_key) as url:
        store = connect(mode, endpoint_url=url)
        with pytest.raises(PolicyError):
            store.read(f"s3://{bucket}/x")
        with pytest.raises(PolicyError):
            store.put(b"plain", f"s3://{bucket}/y")


@pytest.mark.parametrize("region", ["us-nowhere-9", "cn-north-9", "evil.example/x"])
def test_a_reply_does_not_choose_the_host_of_kms(
    region: str, bucket: str, kms_key: str, sandbox: Running
) -> None:
    """No request to KMS goes to a Region that only a reply named."""
    mode = SSEKMS(kms_key.rpartition("/")[2])
    connect(mode).put(b"plain", f"s3://{bucket}/x")
    with reporting(sandbox, kms_key.replace("us-east-1", region)) as url:
        store = connect(mode, endpoint_url=url)
        with pytest.raises(PolicyError):
            store.read(f"s3://{bucket}/x")
        assert {asked for _, asked in store._objects.keys._kms._clients} == {None}


@pytest.mark.parametrize("name", ["sse-s3", "sse-kms", "dsse-kms"])
@pytest.mark.parametrize("size", [0, 10, PART + 1])
def test_a_store_without_a_mode_reads_what_s3_opens(
    name: str, size: int, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """A store without a mode reads objects in any server-side mode, and reports the mode."""
    uri = f"s3://{bucket}/x"
    connect(make_mode(name, kms_key)).put(payload(size), uri)
    info = connect().get(uri, tmp_path / "out")
    assert (info.mode, info.size) == (name, size)
    assert (tmp_path / "out").read_bytes() == payload(size)
    assert connect().read(uri) == payload(size)


def test_a_store_without_a_mode_says_that_a_customer_key_is_needed(
    bucket: str, tmp_path: Path
) -> None:
    """If a store without a mode reads an SSE-C object, the hint names the mode."""
    uri = f"s3://{bucket}/x"
    connect(SSEC(CUSTOMER_KEY)).put(b"plain", uri)
    assert "sse-c" in str(refused(connect(), uri, tmp_path, StorageError).hint)
    with pytest.raises(StorageError) as caught:
        connect().inspect(uri)
    assert "sse-c" in str(caught.value.hint)
    assert connect().inspect(uri, mode=SSEC(CUSTOMER_KEY)).mode == "sse-c"


@pytest.mark.parametrize("name", CLIENT_SIDE)
def test_a_store_without_a_mode_names_the_keys_of_a_client_side_object(
    name: str, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """A store without a mode refuses a client-side object; the hint names the object's keys."""
    uri = f"s3://{bucket}/x"
    connect(make_mode(name, kms_key)).put(b"plain", uri)
    error = refused(connect(), uri, tmp_path, PolicyError)
    assert f"kms:{kms_key}" in str(error.hint)


@pytest.mark.parametrize("name", CLIENT_SIDE)
@pytest.mark.parametrize("size", [0, PART + 1])
def test_a_store_of_server_side_objects_hands_out_no_ciphertext(
    name: str, size: int, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """A store in mode SSE-S3 refuses a client-side object, although S3 reports SSE-S3 for it."""
    uri = f"s3://{bucket}/x"
    connect(make_mode(name, kms_key)).put(payload(size), uri)
    error = refused(connect(SSES3()), uri, tmp_path, PolicyError)
    assert f"kms:{kms_key}" in str(error.hint)


def test_a_mode_given_to_the_call_overrides_the_store(bucket: str) -> None:
    """A mode that is given to a call is used instead of the store's mode."""
    store, uri = connect(SSES3()), f"s3://{bucket}/x"
    store.put(b"plain", uri, mode=SSEC(CUSTOMER_KEY))
    assert store.read(uri, mode=SSEC(CUSTOMER_KEY)) == b"plain"
    with pytest.raises(StorageError):
        store.read(uri)


@pytest.mark.parametrize("name", ["sse-kms", "client-header", "client-metadata"])
def test_a_disabled_key_opens_nothing(
    name: str, bucket: str, kms_key: str, kms: Any, tmp_path: Path
) -> None:
    """Reading under a disabled key raises KeyUnavailableError, not IntegrityError."""
    uri = f"s3://{bucket}/x"
    store = connect(make_mode(name, kms_key))
    store.put(b"plain", uri)
    kms.disable_key(KeyId=kms_key)
    error = refused(store, uri, tmp_path, KeyUnavailableError)
    assert "disabled" in str(error)
    kms.enable_key(KeyId=kms_key)
    assert store.read(uri) == b"plain"


def test_a_wrong_customer_key_is_explained(bucket: str) -> None:
    """The error for a wrong customer key has a hint; S3's own reply is a bare 403."""
    connect(SSEC(CUSTOMER_KEY)).put(b"plain", f"s3://{bucket}/x")
    with pytest.raises(StorageError) as caught:
        connect(SSEC(bytes(32))).read(f"s3://{bucket}/x")
    assert "customer key is wrong" in str(caught.value.hint)


@pytest.mark.parametrize("size", [1, PART + 1])
def test_a_bucket_that_blocks_sse_c_is_explained(size: int, blocked_bucket: str) -> None:
    """If the bucket blocks SSE-C, the hint of a put names the setting that blocks it."""
    with pytest.raises(StorageError, match="denied") as caught:
        connect(SSEC(CUSTOMER_KEY)).put(payload(size), f"s3://{blocked_bucket}/x")
    assert "BlockedEncryptionTypes" in str(caught.value.hint)
