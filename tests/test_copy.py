# SPDX-License-Identifier: Apache-2.0
"""`S3Crypt.copy`: from every mode to every mode, inside S3 where nothing has to change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from samples import CUSTOMER_KEY, aes, connect, kms_keyring, make_mode, names, payload

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    ConfigError,
    ConflictError,
    IntegrityError,
    ObjectNotFoundError,
    PolicyError,
)
from s3crypt.rotation import mechanisms, steps

if TYPE_CHECKING:
    from conftest import RequestsLog

    from s3crypt import Mode

MODES = ("sse-s3", "sse-kms", "dsse-kms", "sse-c", "client-header", "client-metadata")


def bytes_read(log: RequestsLog) -> int:
    """Return the bytes that S3 sent of objects."""
    return sum(
        entry["response_bytes"]
        for entry in log.list()
        if entry["method"] == "GET" and not entry["query"]
    )


def _target(name: str, key: str) -> Mode:
    return SSEC(CUSTOMER_KEY[::-1]) if name == "sse-c" else make_mode(name, key)


@pytest.mark.parametrize("after", MODES)
@pytest.mark.parametrize("before", MODES)
def test_from_every_mode_to_every_mode(
    before: str, after: str, bucket: str, kms_key: str, new_key: str, requests_log: RequestsLog
) -> None:
    """The copy reads in its own mode; the source stays; server-side objects never come here."""
    source, copy = f"s3://{bucket}/a", f"s3://{bucket}/b"
    old, new = make_mode(before, kms_key), _target(after, new_key)
    store, data = connect(old), payload(100_000)
    put = store.put(data, source, metadata={"kind": "x"}, tags={"t": "1"}, content_type="a/b")
    requests_log.clear()
    info = store.copy(source, copy, to=new)
    moved = bytes_read(requests_log)
    assert (info.uri, info.mode, info.size) == (copy, new.name, len(data))
    assert (info.metadata, info.content_type) == ({"kind": "x"}, "a/b")
    is_inside = not before.startswith("client") and not after.startswith("client")
    assert (moved == 0) == is_inside
    assert connect(new).read(copy) == data
    assert connect(new).inspect(copy, mode=new).keys == info.keys or not info.keys
    assert store.head(source).etag == put.etag
    assert connect()._objects.tags(_location(copy), None) == {"t": "1"}


def _location(uri: str) -> Any:
    from s3crypt.location import Location  # noqa: PLC0415

    return Location.parse(uri)


@pytest.mark.parametrize("key_location", ["header", "metadata"])
def test_a_client_side_object_without_bindings_is_copied_inside_s3(
    key_location: Any, bucket: str, kms_key: str, requests_log: RequestsLog
) -> None:
    """Its keys and context stay, so not a byte comes here and KMS is not asked for a data key."""
    mode = ClientSide(kms_keyring(kms_key), bind_name=False, key_location=key_location)
    store, data = connect(mode), payload(500_000)
    store.put(data, f"s3://{bucket}/a", metadata={"k": "v"})
    requests_log.clear()
    info = store.copy(f"s3://{bucket}/a", f"s3://{bucket}/b")
    assert bytes_read(requests_log) < 200_000  # the header at most
    operations = [entry["headers"].get("x-amz-target", "") for entry in requests_log.list()]
    assert not [name for name in operations if name.endswith(("Decrypt", "GenerateDataKey"))]
    assert info.metadata == {"k": "v"}
    assert store.read(f"s3://{bucket}/b") == data


def test_a_bound_object_keeps_its_name_in_another_bucket(
    bucket: str, s3: Any, requests_log: RequestsLog
) -> None:
    """The bound name stays the same, so S3 copies it; a bound bucket does not."""
    data, other = payload(500_000), f"other-{bucket}"[:63]
    s3.create_bucket(Bucket=other)
    for mode, is_inside in (
        (ClientSide(aes(), key_location="metadata"), True),
        (ClientSide(aes(), key_location="metadata", bind_bucket=True), False),
    ):
        store = connect(mode)
        store.put(data, f"s3://{bucket}/same")
        requests_log.clear()
        store.copy(f"s3://{bucket}/same", f"s3://{other}/same")
        assert (bytes_read(requests_log) < 100_000) == is_inside  # the copy's header
        assert store.read(f"s3://{other}/same") == data


def test_if_absent(bucket: str) -> None:
    """Nothing is overwritten by either way of copying, and nothing is left behind."""
    for store in (connect(SSES3()), connect(ClientSide(aes()))):
        source, copy = f"s3://{bucket}/a", f"s3://{bucket}/b-{store.mode.name}"  # type: ignore[union-attr]
        store.put(b"new", source)
        store.copy(source, copy, if_absent=True)
        store.put(b"newer", source)
        with pytest.raises(ConflictError):
            store.copy(source, copy, if_absent=True)
        assert store.read(copy) == b"new"
        store.copy(source, copy)
        assert store.read(copy) == b"newer"


def test_an_older_version(versioned_bucket: str) -> None:
    """By version_id, in both ways of copying."""
    for number, store in enumerate((connect(SSES3()), connect(ClientSide(aes())))):
        source, copy = f"s3://{versioned_bucket}/a{number}", f"s3://{versioned_bucket}/b{number}"
        old = store.put(b"old", source)
        store.put(b"new", source)
        store.copy(source, copy, version_id=old.version_id)
        assert store.read(copy) == b"old"
        with pytest.raises(ObjectNotFoundError):
            store.copy(f"{source}?", copy)


def test_locks_and_annotations_are_kept(s3: Any, versioned_bucket: str) -> None:
    """As a rotation keeps them, whichever way the copy goes."""
    for to in (SSES3(), ClientSide(aes())):
        store = connect(SSES3())
        store.put(b"data", f"s3://{versioned_bucket}/a")
        where = {"Bucket": versioned_bucket, "Key": "a"}
        s3.put_object_annotation(**where, AnnotationName="note", AnnotationPayload=b"hello")
        info = store.copy(f"s3://{versioned_bucket}/a", f"s3://{versioned_bucket}/b", to=to)
        there = {"Bucket": versioned_bucket, "Key": "b", "VersionId": info.version_id}
        found = s3.get_object_annotation(**there, AnnotationName="note")
        assert found["AnnotationPayload"].read() == b"hello"


def test_retention_is_kept(s3: Any) -> None:
    """In a bucket with Object Lock."""
    bucket = "copy-locks"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    s3.put_object(
        Bucket=bucket, Key="a", Body=b"x", ObjectLockMode="GOVERNANCE",
        ObjectLockRetainUntilDate=until, ServerSideEncryption="AES256",
    )  # fmt: skip
    for name, to in (("b", SSES3()), ("c", ClientSide(aes()))):
        connect(SSES3()).copy(f"s3://{bucket}/a", f"s3://{bucket}/{name}", to=to)
        head = s3.head_object(Bucket=bucket, Key=name)
        assert head["ObjectLockRetainUntilDate"] == until


def test_what_the_source_is_not_is_refused(bucket: str, kms_key: str, s3: Any) -> None:
    """The store's mode is demanded of the source, and its names of what S3 would copy unseen."""
    store, uri = connect(ClientSide(aes())), f"s3://{bucket}/a"
    connect(SSES3()).put(b"plain", uri)
    with pytest.raises(PolicyError):
        store.copy(uri, f"{uri}2")
    with pytest.raises(PolicyError):
        connect(SSEKMS(kms_key)).copy(uri, f"{uri}2")
    with pytest.raises(PolicyError, match="no mode was named"):
        connect().copy(uri, f"{uri}2", to=ClientSide(aes()))
    store.put(b"sealed", uri)
    with pytest.raises(PolicyError, match="client-side"):
        connect(SSES3()).copy(uri, f"{uri}2")
    # Put under another name, S3 would copy it; its reader would refuse it.
    kept = ClientSide(aes(), key_location="metadata")
    connect(kept).put(b"sealed", f"s3://{bucket}/other")
    s3.copy_object(Bucket=bucket, Key="moved", CopySource=f"{bucket}/other")
    with pytest.raises(IntegrityError):
        connect(kept).copy(f"s3://{bucket}/moved", f"s3://{bucket}/other2")
    assert "a2" not in names(s3, bucket)
    copied = connect(kept).copy(f"s3://{bucket}/moved", f"s3://{bucket}/other2", written_as="other")
    assert connect(kept).read(copied.uri) == b"sealed"


def test_the_mode_and_the_places_are_checked(bucket: str) -> None:
    """Before a request."""
    store, uri = connect(ClientSide(aes())), f"s3://{bucket}/a"
    with pytest.raises(ConfigError, match="both the source and the target"):
        store.copy(uri, uri)
    with pytest.raises(ConfigError, match="needs a mode"):
        connect().copy(uri, f"{uri}2")
    with pytest.raises(ConfigError, match="bucket, not an object"):
        store.copy(uri, f"s3://{bucket}/")


def test_a_large_object_is_copied_by_parts(
    bucket: str, kms_key: str, monkeypatch: pytest.MonkeyPatch, requests_log: RequestsLog
) -> None:
    """Inside S3, tags and metadata too, and only where there is none if that was asked for."""
    for module in (mechanisms, steps):
        monkeypatch.setattr(module, "MAX_COPY_LENGTH", 6 * 2**20)
    store, data = connect(SSES3()), payload(13_000_001)
    store.put(data, f"s3://{bucket}/a", metadata={"k": "v"}, tags={"t": "1"})
    requests_log.clear()
    copy = store.copy(f"s3://{bucket}/a", f"s3://{bucket}/b", to=SSEKMS(kms_key), if_absent=True)
    assert bytes_read(requests_log) == 0
    assert copy.metadata == {"k": "v"}
    assert store._objects.tags(_location(copy.uri), None) == {"t": "1"}
    assert connect(SSEKMS(kms_key)).read(copy.uri) == data
    with pytest.raises(ConflictError):
        store.copy(f"s3://{bucket}/a", f"s3://{bucket}/b", if_absent=True)
