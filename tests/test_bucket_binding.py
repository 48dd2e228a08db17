# SPDX-License-Identifier: Apache-2.0
"""Objects that are bound to their bucket, and replicas and access points of that bucket."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from samples import aes, connect, kms_keyring, stored

from s3crypt import SSES3, CachingKeyring, ClientSide, ConfigError, IntegrityError
from s3crypt.filesystem import S3CryptFileSystem
from s3crypt.modes import is_access_point

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequestsLog

ALIAS = "reports-metadata-s3alias"
ACCESS_POINTS = (
    "arn:aws:s3:eu-west-1:111122223333:accesspoint:reports",
    ALIAS,
    "reports-abcdef--ol-s3",
    "reports-abcdef--op-s3",
    "reports--usw2-az1--xa-s3",
    "mfzwi23gnjvgw.mrap",
)


def bound(**options: Any) -> ClientSide:
    """Return a mode that binds objects to their bucket."""
    return ClientSide(options.pop("keyring", aes()), bind_bucket=True, **options)


def replicate(s3: Any, source: str, target: str, name: str = "x") -> None:
    """Copy an object to another bucket as replication does: bytes and metadata are unchanged."""
    s3.copy_object(Bucket=target, Key=name, CopySource={"Bucket": source, "Key": name})


@pytest.fixture
def replica(s3: Any) -> str:
    """Make another bucket."""
    name = f"replica-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def alias(s3: Any) -> str:
    """Make a bucket with the name of an access point's alias; a server treats both alike."""
    name = f"{uuid.uuid4().hex[:20]}-s3alias"
    s3.create_bucket(Bucket=name)
    return name


@pytest.mark.parametrize("key_location", ["header", "metadata"])
def test_objects_of_one_name_cannot_be_swapped_between_buckets(
    key_location: Any, bucket: str, replica: str, s3: Any, tmp_path: Path
) -> None:
    """Every reader refuses an object from another bucket, unless `written_in` names that bucket."""
    mode = bound(key_location=key_location)
    store, uri = connect(mode), f"s3://{replica}/x"
    store.put(b"plain", f"s3://{bucket}/x")
    assert store.read(f"s3://{bucket}/x") == b"plain"
    assert store.inspect(f"s3://{bucket}/x").context["s3crypt:bucket"] == bucket
    replicate(s3, bucket, replica)
    readers: Any = (
        lambda **options: store.read(uri, **options),
        lambda **options: store.get(uri, tmp_path / "out", **options),
        lambda **options: store.read(uri, byte_range="0-1", **options),
        lambda **options: store.open(uri, **options).close(),
    )
    for read in readers:
        with pytest.raises(IntegrityError):
            read()
        with pytest.raises(IntegrityError):
            read(written_in="another")
        read(written_in=bucket)
    assert connect(mode, written_in=bucket).read(uri) == b"plain"
    # A mode without bind_bucket does not compare the bucket.
    assert connect(ClientSide(aes())).read(uri) == b"plain"


def test_an_object_without_its_bucket_is_refused(bucket: str) -> None:
    """An object that was written without bind_bucket is refused."""
    uri = f"s3://{bucket}/x"
    connect(ClientSide(aes())).put(b"plain", uri)
    with pytest.raises(IntegrityError, match="not bound to its bucket"):
        connect(bound()).read(uri)


def test_a_store_of_a_replica_reads_what_it_writes(bucket: str, replica: str, s3: Any) -> None:
    """A store of a replica binds objects to the original bucket, so they can be copied back."""
    here, there = connect(bound()), connect(bound(), written_in=bucket)
    there.put(b"failed over", f"s3://{replica}/x")
    with there.open(f"s3://{replica}/y", "wb") as file:
        file.write(b"written")
    assert there.read(f"s3://{replica}/x") == b"failed over"
    assert there.read(f"s3://{replica}/y") == b"written"
    replicate(s3, replica, bucket)
    assert here.read(f"s3://{bucket}/x") == b"failed over"


@pytest.mark.parametrize("name", ACCESS_POINTS)
def test_an_access_point_is_no_bucket(name: str, requests_log: RequestsLog) -> None:
    """An access point is refused before any request: it may stand for any bucket."""
    assert is_access_point(name)
    store, uri = connect(bound()), f"s3://{name}/x"
    calls: Any = (
        lambda: store.read(uri),
        lambda: store.open(uri),
        lambda: store.put(b"plain", uri),
        lambda: store.read("s3://acme/x", written_in=name),
        lambda: connect(bound(), written_in=name).put(b"plain", "s3://acme/x"),
    )
    for call in calls:
        requests_log.clear()
        with pytest.raises(ConfigError, match="access point") as caught:
            call()
        assert "written_in" in str(caught.value.hint)
        assert requests_log.list() == []


@pytest.mark.parametrize("name", ["acme", "reports--usw2-az1--x-s3", "s3alias", "mrap"])
def test_other_names_are_buckets(name: str) -> None:
    """Names of general-purpose and directory buckets are not taken for access points."""
    assert not is_access_point(name)
    assert bound().object_context("x", name)["s3crypt:bucket"] == name


def test_an_access_point_whose_bucket_is_said(bucket: str, alias: str, s3: Any) -> None:
    """Objects written through an access point are bound to the bucket in `written_in`."""
    store = connect(bound(), written_in=bucket)
    store.put(b"plain", f"s3://{alias}/x")
    assert connect(bound()).read(f"s3://{alias}/x", written_in=bucket) == b"plain"
    replicate(s3, alias, bucket)
    assert connect(bound()).read(f"s3://{bucket}/x") == b"plain"


def test_a_bucket_that_nobody_would_compare_is_refused(bucket: str) -> None:
    """`written_in` without bind_bucket is refused, because it would check nothing."""
    uri = f"s3://{bucket}/x"
    calls: Any = (
        lambda: connect(ClientSide(aes()), written_in=bucket),
        lambda: connect(SSES3(), written_in=bucket),
        lambda: connect(ClientSide(aes())).read(uri, written_in=bucket),
        lambda: connect().open(uri, written_in=bucket),
        lambda: connect(ClientSide(aes())).rotate(uri, to=SSES3(), written_in=bucket),
        lambda: S3CryptFileSystem(ClientSide(aes()), written_in=bucket),
        lambda: S3CryptFileSystem(bound(), written_in=7),
    )
    for call in calls:
        with pytest.raises(ConfigError):
            call()


def test_the_context_cannot_say_another_bucket() -> None:
    """The context must not contain the bucket's pair: only bind_bucket sets it."""
    with pytest.raises(ConfigError, match="bind_bucket"):
        ClientSide(aes(), context={"s3crypt:bucket": "acme"})


def test_cached_data_keys_serve_the_objects_of_a_bucket(
    bucket: str, replica: str, kms_key: str
) -> None:
    """All objects of a bucket share one context, so cached data keys serve them all."""
    keyring = CachingKeyring(kms_keyring(kms_key), max_age=60)
    store = connect(bound(keyring=keyring, bind_name=False))
    for at in (bucket, replica):
        for name in "ab":
            store.put(b"plain", f"s3://{at}/{name}")
    edks = [store.inspect(f"s3://{at}/{name}").context for at in (bucket, replica) for name in "ab"]
    assert edks == [{"s3crypt:bucket": at} for at in (bucket, bucket, replica, replica)]
    assert (keyring.statistics.generate_calls, keyring.statistics.generate_hits) == (2, 2)


# --- Rotation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "action"),
    [
        (ClientSide(aes()), bound(), "re-encrypted"),
        (bound(), ClientSide(aes()), "unchanged"),
        (bound(), bound(), "unchanged"),
        (bound(), bound(keyring=aes("two")), "re-encrypted"),
        (
            bound(key_location="metadata"),
            bound(key_location="metadata", keyring=aes("two")),
            "rewrapped",
        ),
        (
            ClientSide(aes(), key_location="metadata"),
            bound(key_location="metadata", keyring=aes("two")),
            "re-encrypted",
        ),
    ],
)
def test_a_rotation_compares_buckets(
    before: ClientSide, after: ClientSide, action: str, bucket: str
) -> None:
    """Rotation binds an unbound object by re-encrypting it; a rewrap keeps the binding."""
    uri, store = f"s3://{bucket}/x", connect(before)
    store.put(b"plain", uri)
    assert store.rotate(uri, to=after, dry_run=True)[0].action == action
    assert store.rotate(uri, to=after)[0].action == action
    assert connect(after).read(uri) == b"plain"


@pytest.mark.parametrize("key_location", ["header", "metadata"])
def test_what_another_bucket_had_is_not_rotated(
    key_location: Any, bucket: str, replica: str, s3: Any
) -> None:
    """Rotation refuses an object of another bucket; with `written_in` it binds it to this one."""
    uri = f"s3://{replica}/x"
    old, new = (bound(keyring=aes(name), key_location=key_location) for name in ("old", "new"))
    connect(old).put(b"plain", f"s3://{bucket}/x")
    replicate(s3, bucket, replica)
    before = stored(s3, replica, "x")
    with pytest.raises(IntegrityError):
        connect(old).rotate(uri, to=new)
    assert stored(s3, replica, "x") == before
    assert connect(old).needs_rotation(uri, to=old, written_in=bucket)
    (outcome,) = connect(old).rotate(uri, to=new, written_in=bucket)
    assert outcome.action == "re-encrypted"
    assert connect(new).read(uri) == b"plain"


def test_a_store_of_a_replica_keeps_its_bucket(bucket: str, replica: str, s3: Any) -> None:
    """Rotation in a replica keeps the binding to the bucket that the store names."""
    old, new = (bound(keyring=aes(name), key_location="metadata") for name in ("old", "new"))
    connect(old).put(b"plain", f"s3://{bucket}/x")
    replicate(s3, bucket, replica)
    (outcome,) = connect(old, written_in=bucket).rotate(f"s3://{replica}/x", to=new)
    assert outcome.action == "rewrapped"
    assert connect(new, written_in=bucket).read(f"s3://{replica}/x") == b"plain"


def test_a_rotation_through_an_access_point(bucket: str, alias: str) -> None:
    """Rotation through an access point keeps the binding to the bucket in `written_in`."""
    uri = f"s3://{alias}/x"
    connect(bound(), written_in=bucket).put(b"plain", uri)
    new = bound(keyring=aes("two"))
    assert connect(bound()).rotate(uri, to=new, written_in=bucket)[0].action == "re-encrypted"
    assert connect(new).read(uri, written_in=bucket) == b"plain"


# --- File systems ----------------------------------------------------------------------------


def test_storage_options(bucket: str, replica: str, s3: Any, tmp_path: Path) -> None:
    """`written_in` is a storage option or an argument; a copy is bound to its new bucket."""
    key_file = tmp_path / "wrapping.key"
    key_file.write_bytes(bytes(range(32)))
    options = {"key": f"aes:tests/one={key_file}", "bind_bucket": True}
    here = S3CryptFileSystem(**options)
    here.pipe_file(f"{bucket}/x", b"plain")
    replicate(s3, bucket, replica)
    with pytest.raises(IntegrityError):
        here.cat_file(f"{replica}/x")
    assert here.cat_file(f"{replica}/x", written_in=bucket) == b"plain"
    there = S3CryptFileSystem(**options, written_in=bucket)
    assert there.cat_file(f"{replica}/x") == b"plain"
    with there.open(f"{replica}/x") as file:
        assert file.read() == b"plain"
    here.cp_file(f"{bucket}/x", f"{replica}/copy")
    assert here.cat_file(f"{replica}/copy") == b"plain"
