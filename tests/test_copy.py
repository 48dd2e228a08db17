# SPDX-License-Identifier: Apache-2.0
"""`S3Crypt.copy` between all modes; S3 copies the object if its bytes need not change."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying
from samples import CUSTOMER_KEY, aes, connect, kms_keyring, make_mode, names, payload

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    ConfigError,
    ConflictError,
    FormatError,
    IntegrityError,
    ObjectNotFoundError,
    PolicyError,
    S3Crypt,
    S3CryptError,
)
from s3crypt.rotation import mechanisms, steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RequestsLog

    from s3crypt import Mode
    from s3crypt.sandbox import Running

MODES = ("sse-s3", "sse-kms", "dsse-kms", "sse-c", "client-header", "client-metadata")


def bytes_read(log: RequestsLog) -> int:
    """Return the number of bytes that S3 sent for objects."""
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
    """The copy is readable in its mode, the source is unchanged; S3 copies server-side objects."""
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
    """A client-side object without bindings is copied inside S3, with its key and its context.

    No byte is transferred, and no data key is requested.
    """
    mode = ClientSide(kms_keyring(kms_key), bind_name=False, key_location=key_location)
    store, data = connect(mode), payload(500_000)
    store.put(data, f"s3://{bucket}/a", metadata={"k": "v"})
    requests_log.clear()
    info = store.copy(f"s3://{bucket}/a", f"s3://{bucket}/b")
    assert bytes_read(requests_log) < 200_000  # at most the header
    operations = [entry["headers"].get("x-amz-target", "") for entry in requests_log.list()]
    assert not [name for name in operations if name.endswith(("Decrypt", "GenerateDataKey"))]
    assert info.metadata == {"k": "v"}
    assert store.read(f"s3://{bucket}/b") == data


def test_a_bound_object_keeps_its_name_in_another_bucket(
    bucket: str, s3: Any, requests_log: RequestsLog
) -> None:
    """S3 itself copies an object to the same name in another bucket if only its name is bound.

    If its bucket is bound too, the object is encrypted anew.
    """
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
        assert (bytes_read(requests_log) < 100_000) == is_inside  # the header of the copy
        assert store.read(f"s3://{other}/same") == data


def test_if_absent(bucket: str) -> None:
    """With if_absent both ways of copying refuse an existing target; without it they replace it."""
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
    """An older version can be copied by version_id, in both ways of copying."""
    for number, store in enumerate((connect(SSES3()), connect(ClientSide(aes())))):
        source, copy = f"s3://{versioned_bucket}/a{number}", f"s3://{versioned_bucket}/b{number}"
        old = store.put(b"old", source)
        store.put(b"new", source)
        store.copy(source, copy, version_id=old.version_id)
        assert store.read(copy) == b"old"
        with pytest.raises(ObjectNotFoundError):
            store.copy(f"{source}?", copy)


def test_locks_and_annotations_are_kept(s3: Any, versioned_bucket: str) -> None:
    """Annotations are kept in both ways of copying."""
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
    """Retention is kept in a bucket with Object Lock."""
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
    """The source must be in the store's mode, with the bound name, even if S3 makes the copy."""
    store, uri = connect(ClientSide(aes())), f"s3://{bucket}/a"
    connect(SSES3()).put(b"plain", uri)
    with pytest.raises(PolicyError):
        store.copy(uri, f"{uri}2")
    with pytest.raises(PolicyError):
        connect(SSEKMS(kms_key)).copy(uri, f"{uri}2")
    with pytest.raises(PolicyError, match="no mode was given"):
        connect().copy(uri, f"{uri}2", to=ClientSide(aes()))
    store.put(b"sealed", uri)
    with pytest.raises(PolicyError, match="client-side"):
        connect(SSES3()).copy(uri, f"{uri}2")
    # S3 would copy an object under a wrong name, although no reader accepts it.
    kept = ClientSide(aes(), key_location="metadata")
    connect(kept).put(b"sealed", f"s3://{bucket}/other")
    s3.copy_object(Bucket=bucket, Key="moved", CopySource=f"{bucket}/other")
    with pytest.raises(IntegrityError):
        connect(kept).copy(f"s3://{bucket}/moved", f"s3://{bucket}/other2")
    assert "a2" not in names(s3, bucket)
    copied = connect(kept).copy(f"s3://{bucket}/moved", f"s3://{bucket}/other2", written_as="other")
    assert connect(kept).read(copied.uri) == b"sealed"


def test_the_mode_and_the_places_are_checked(bucket: str) -> None:
    """A wrong source, a wrong target and a missing mode are refused before any request."""
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
    """A large object is copied in parts inside S3, with tags, metadata and if_absent."""
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


# --- Copies that are refused or limited --------------------------------------------------------


@pytest.mark.parametrize("source", ["sse-s3", "sse-c", "client-header"])
def test_the_targets_customer_key_does_not_stand_in_for_the_stores_mode(
    source: str, bucket: str, kms_key: str, s3: Any
) -> None:
    """The SSE-C key for the target does not count as the source's mode.

    Otherwise a writer who knows that key could plant an object that is copied as verified.
    """
    planted = SSEC(CUSTOMER_KEY[::-1])
    connect(planted).put(b"evil", f"s3://{bucket}/a")
    with pytest.raises(S3CryptError):
        connect(make_mode(source, kms_key)).copy(f"s3://{bucket}/a", f"s3://{bucket}/b", to=planted)
    assert names(s3, bucket) == ["a"]


def test_the_version_from_before_a_bucket_had_versions(bucket: str, s3: Any) -> None:
    """Version "null" is copied with its own bytes, tags and annotations, in both ways."""
    modes: list[Mode] = [SSES3(), ClientSide(aes())]
    for number, to in enumerate(modes):
        source, copy = f"a{number}", f"s3://{bucket}/b{number}"
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
        where = {"Bucket": bucket, "Key": source}
        for text, status in ((b"old", "Enabled"), (b"new", "Enabled")):
            s3.put_object(
                **where, Body=text, Tagging=f"t={text.decode()}", ServerSideEncryption="AES256"
            )
            s3.put_object_annotation(**where, AnnotationName="note", AnnotationPayload=text)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
        info = connect(SSES3()).copy(f"s3://{bucket}/{source}", copy, to=to, version_id="null")
        assert connect(to).read(copy) == b"old"
        assert connect()._objects.tags(_location(copy), None) == {"t": "old"}
        there = {"Bucket": bucket, "Key": f"b{number}", "VersionId": info.version_id}
        found = s3.get_object_annotation(**there, AnnotationName="note")
        assert found["AnnotationPayload"].read() == b"old"


def test_annotations_that_a_rotation_left_behind_are_copied(versioned_bucket: str, s3: Any) -> None:
    """A copy has the annotations that a rotation left on an older version of the source."""
    where = {"Bucket": versioned_bucket, "Key": "a"}
    old = s3.put_object(**where, Body=b"x")["VersionId"]
    s3.put_object_annotation(**where, AnnotationName="note", AnnotationPayload=b"kept")
    s3.put_object(
        **where, Body=b"x", Metadata={"s3crypt-annotations-of": old}, ServerSideEncryption="AES256"
    )
    connect(SSES3()).copy(f"s3://{versioned_bucket}/a", f"s3://{versioned_bucket}/b")
    found = s3.get_object_annotation(Bucket=versioned_bucket, Key="b", AnnotationName="note")
    assert found["AnnotationPayload"].read() == b"kept"


@pytest.mark.parametrize("bind_name", [True, False])
def test_s3s_own_encryption_of_the_copy_is_the_target_buckets(
    bind_name: bool, bucket: str, kms_key: str, s3: Any
) -> None:
    """S3 encrypts the copy with the default key of the target bucket, not with the source's key."""
    other = f"other-{bucket}"[:63]
    s3.create_bucket(Bucket=other)
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": kms_key}
    }
    s3.put_bucket_encryption(Bucket=other, ServerSideEncryptionConfiguration={"Rules": [rule]})
    store = connect(ClientSide(aes(), bind_name=bind_name))
    store.put(b"data", f"s3://{bucket}/a")
    store.copy(f"s3://{bucket}/a", f"s3://{other}/b")
    assert s3.head_object(Bucket=other, Key="b")["ServerSideEncryption"] == "aws:kms"
    assert store.read(f"s3://{other}/b") == b"data"


def test_what_is_returned_is_about_the_copy(
    bucket: str, kms_key: str, requests_log: RequestsLog
) -> None:
    """The result of a copy describes the written object, and needs no further request."""
    modes: list[Mode] = [SSEKMS(kms_key), ClientSide(aes())]
    for to in modes:
        connect(SSES3()).put(b"data", f"s3://{bucket}/a", metadata={"k": "v"})
        requests_log.clear()
        info = connect(SSES3()).copy(f"s3://{bucket}/a", f"s3://{bucket}/b", to=to)
        asked = [e["method"] for e in requests_log.list() if str(e["path"]).endswith("/b")]
        assert asked == ["PUT"]
        found = connect(to).inspect(f"s3://{bucket}/b")
        assert (info.etag, info.mode, info.size, info.metadata, info.keys, info.context) == (
            found.etag, found.mode, found.size, found.metadata, found.keys, found.context,
        )  # fmt: skip
        assert info.kms_key == found.kms_key


def test_ciphertext_is_not_taken_from_its_instruction_file(bucket: str, s3: Any) -> None:
    """Without its instruction file a copy could not be decrypted, so it is refused."""
    entry = {"x-amz-key-v2": "AAAA", "x-amz-iv": "AAAA", "x-amz-matdesc": "{}"}
    s3.put_object(Bucket=bucket, Key="a", Body=bytes(range(128, 240)))
    s3.put_object(Bucket=bucket, Key="a.instruction", Body=json.dumps(entry))
    for to in (SSES3(), ClientSide(aes())):
        with pytest.raises((FormatError, PolicyError)):
            connect().copy(f"s3://{bucket}/a", f"s3://{bucket}/z", to=to)
    assert "z" not in names(s3, bucket)


def test_a_binding_that_is_left_out_is_left_out(bucket: str) -> None:
    """To leave out a binding, an object is encrypted anew: a copy by S3 would keep the binding."""
    store = connect(ClientSide(aes(), context={"team": "one"}))
    store.put(b"data", f"s3://{bucket}/a")
    info = store.copy(f"s3://{bucket}/a", f"s3://{bucket}/b", to=ClientSide(aes(), bind_name=False))
    assert info.context == {}
    assert connect(ClientSide(aes(), bind_name=False)).read(f"s3://{bucket}/b") == b"data"


def test_a_delete_marker_is_no_object(versioned_bucket: str, s3: Any) -> None:
    """A delete marker is a missing object, as for a read."""
    store, uri = connect(SSES3()), f"s3://{versioned_bucket}/a"
    store.put(b"data", uri)
    marker = s3.delete_object(Bucket=versioned_bucket, Key="a")["VersionId"]
    for version_id in (marker, None):
        with pytest.raises(ObjectNotFoundError):
            store.copy(uri, f"{uri}2", version_id=version_id)


def test_a_bucket_is_named_only_where_the_source_is_bound_to_one(bucket: str) -> None:
    """`written_in` is refused if the source is not bound to a bucket."""
    store = connect(ClientSide(aes()))
    to = ClientSide(aes(), bind_bucket=True)
    with pytest.raises(ConfigError, match="objects are not bound to a bucket"):
        store.copy(f"s3://{bucket}/a", f"s3://{bucket}/b", to=to, written_in="elsewhere")


def test_an_unconfirmed_copy_is_removed_again(
    sandbox: Running, session: Any, bucket: str, kms_key: str, s3: Any
) -> None:
    """A copy without confirmed encryption is removed, like a put."""
    connect(SSES3()).put(b"data", f"s3://{bucket}/a")

    def deaf(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "PUT":
            for name in [name for name in answer.headers if name.startswith("x-amz-server-side")]:
                del answer.headers[name]
        return answer

    with relaying(sandbox.endpoint_url, deaf) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(PolicyError, match="did not confirm"):
            store.copy(f"s3://{bucket}/a", f"s3://{bucket}/b", to=SSEKMS(kms_key))
    assert names(s3, bucket) == ["a"]


def test_a_file_that_is_closed_after_a_fork_says_so(bucket: str) -> None:
    """In a child process a file is closed without waiting for the parent's locks."""
    store = connect(SSES3())
    store.put(b"data", f"s3://{bucket}/a")
    file = store.open(f"s3://{bucket}/a")
    file._cache._pid = -1
    file.close()
    assert file.closed


def test_an_older_version_is_brought_back(versioned_bucket: str) -> None:
    """An older version can be copied onto its own name."""
    store, uri = connect(SSES3()), f"s3://{versioned_bucket}/a"
    old = store.put(b"old", uri, metadata={"k": "old"})
    store.put(b"new", uri)
    info = store.copy(uri, uri, version_id=old.version_id)
    assert (store.read(uri), info.metadata) == (b"old", {"k": "old"})
    assert store.read(uri, version_id=info.version_id) == b"old"
