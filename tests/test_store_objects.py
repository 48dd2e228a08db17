# SPDX-License-Identifier: Apache-2.0
"""Objects' metadata and tags, conditions, versions, progress, inspection and listing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from samples import (
    LARGE,
    MODES,
    PART,
    aes,
    connect,
    kms_keyring,
    make_mode,
    names,
    payload,
    uploads,
)

from s3crypt import (
    SSEKMS,
    SSES3,
    AESKeyring,
    ClientSide,
    ConfigError,
    ConflictError,
    MultiKeyring,
    ObjectNotFoundError,
    S3Crypt,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("size", [10, PART + 1])
@pytest.mark.parametrize("name", MODES)
def test_the_description_is_kept(name: str, size: int, bucket: str, kms_key: str, s3: Any) -> None:
    """A put stores metadata, tags, content type and storage class, also by parts."""
    store = connect(make_mode(name, kms_key))
    uri = f"s3://{bucket}/x"
    put = store.put(
        payload(size),
        uri,
        metadata={"colour": "blue"},
        tags={"team": "a b", "cost": "1+1=2"},
        content_type="text/x-test",
        storage_class="STANDARD_IA",
    )
    for info in (put, store.inspect(uri), store.get(uri, _Nowhere())):  # type: ignore[arg-type]
        described = (info.metadata, info.content_type, info.storage_class)
        assert described == ({"colour": "blue"}, "text/x-test", "STANDARD_IA")
    tags = s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "a b", "cost": "1+1=2"}


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


@pytest.mark.parametrize("size", [10, PART + 1])
@pytest.mark.parametrize("name", ["sse-kms", "client-header"])
def test_if_absent_keeps_the_object_that_is_there(
    name: str, size: int, bucket: str, kms_key: str, s3: Any
) -> None:
    """A put with if_absent over an object is a conflict; the object stays."""
    store = connect(make_mode(name, kms_key))
    uri = f"s3://{bucket}/x"
    store.put(payload(size), uri, if_absent=True)
    with pytest.raises(ConflictError):
        store.put(payload(size + 1), uri, if_absent=True)
    assert store.read(uri) == payload(size)
    assert uploads(s3, bucket) == []


@pytest.mark.parametrize("name", MODES)
def test_versions_are_told_apart(name: str, versioned_bucket: str, kms_key: str) -> None:
    """Each put returns its version id, by which the version is read, inspected and deleted."""
    store = connect(make_mode(name, kms_key))
    uri = f"s3://{versioned_bucket}/x"
    first, second = store.put(b"first", uri), store.put(payload(PART + 1), uri)
    assert first.version_id != second.version_id
    assert store.read(uri, version_id=first.version_id) == b"first"
    assert store.read(uri, version_id=second.version_id) == payload(PART + 1)
    assert store.inspect(uri, version_id=first.version_id).version_id == first.version_id
    store.delete(uri, version_id=second.version_id)
    assert store.read(uri) == b"first"
    store.delete(uri)
    with pytest.raises(ObjectNotFoundError):
        store.read(uri)
    assert store.read(uri, version_id=first.version_id) == b"first"


@pytest.mark.parametrize("size", [0, 1, PART, LARGE])
@pytest.mark.parametrize("name", ["sse-s3", "client-metadata"])
def test_progress_sums_to_the_size(
    name: str, size: int, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """In every put and get, the progress reports sum to the size of the plaintext."""
    store = connect(make_mode(name, kms_key))
    uri = f"s3://{bucket}/x"
    transfers: tuple[Callable[[Any], Any], ...] = (
        lambda progress: store.put(payload(size), uri, progress=progress),
        lambda progress: store.get(uri, tmp_path / "out", progress=progress),
        lambda progress: store.get(uri, _Nowhere(), progress=progress),  # type: ignore[arg-type]
    )
    for transfer in transfers:
        done: list[int] = []
        transfer(done.append)
        assert sum(done) == size


def test_inspect_says_all_of_a_client_side_object(bucket: str, kms_key: str) -> None:
    """`inspect` shows the suite, frames, context and key names of an object, and needs no key."""
    mode = ClientSide(
        MultiKeyring(kms_keyring(kms_key), aes()),
        context={"team": "häme"},
        frame_length=4096,
        key_location="metadata",
    )
    put = connect(mode).put(payload(10_000), f"s3://{bucket}/x", metadata={"a": "b"})
    seen = connect().inspect(f"s3://{bucket}/x")
    assert seen.mode == "client"
    assert (seen.size, seen.frames, seen.frame_length) == (10_000, 3, 4096)
    assert (seen.signed, seen.key_location, seen.metadata) == (False, "metadata", {"a": "b"})
    assert seen.keys == (f"kms:{kms_key}", "aes:tests/one")
    assert seen.context == {"team": "häme", "s3crypt:key": "x"}
    assert seen.suite == put.suite
    assert "0478" in str(seen.suite)
    for name in ("keys", "context", "frames", "stored_size", "key_location", "etag"):
        assert getattr(put, name) == getattr(seen, name)


def test_inspect_says_who_holds_the_key_of_a_server_side_object(bucket: str, kms_key: str) -> None:
    """`inspect` shows mode, KMS key and bucket key of a server-side object as S3 reports them."""
    connect(SSEKMS(kms_key)).put(b"x", f"s3://{bucket}/x")
    seen = connect().inspect(f"s3://{bucket}/x")
    assert (seen.mode, seen.kms_key, seen.bucket_key) == ("sse-kms", kms_key, True)
    connect(SSEKMS(kms_key, bucket_key=False)).put(b"x", f"s3://{bucket}/x")
    assert not connect().inspect(f"s3://{bucket}/x").bucket_key


def test_inspect_calls_no_key(bucket: str, kms_key: str, requests_log: Any) -> None:
    """`inspect` of a client-side object makes no request to KMS."""
    connect(make_mode("client-metadata", kms_key)).put(b"x", f"s3://{bucket}/x")
    requests_log.clear()
    connect().inspect(f"s3://{bucket}/x")
    assert all("x-amz-target" not in entry["headers"] for entry in requests_log.list())


@pytest.mark.parametrize("name", ["ü/ä ö", "a+b%20c", "a?b#c", "a//b", " lead and trail ", "100%"])
def test_names_are_taken_as_they_are(name: str, bucket: str, s3: Any) -> None:
    """An object is stored and listed under exactly the given name, whatever its characters."""
    store = connect(ClientSide(aes()))
    store.put(b"x", f"s3://{bucket}/{name}")
    assert names(s3, bucket) == [name]
    assert [listed.uri for listed in store.list(f"s3://{bucket}/")] == [f"s3://{bucket}/{name}"]
    assert store.read(f"s3://{bucket}/{name}") == b"x"


def test_list_gives_what_begins_with_the_prefix(bucket: str) -> None:
    """`list` returns the objects with the prefix, with their stored sizes."""
    store = connect(SSES3())
    for name in ("a/1", "a/2", "b"):
        store.put(b"xyz", f"s3://{bucket}/{name}")
    listed = list(store.list(f"s3://{bucket}/a/"))
    assert [(item.uri, item.stored_size) for item in listed] == [
        (f"s3://{bucket}/a/1", 3),
        (f"s3://{bucket}/a/2", 3),
    ]
    assert len(list(store.list(f"s3://{bucket}"))) == 3
    assert list(store.list(f"s3://{bucket}/none")) == []


def test_list_goes_over_pages(bucket: str, session: Any) -> None:
    """`list` follows all pages; here a page has two objects."""
    client = session.client("s3")
    client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": 2}
    )
    store = connect(SSES3())
    for number in range(5):
        store.put(b"", f"s3://{bucket}/{number}")
    listed = list(S3Crypt(client=client).list(f"s3://{bucket}"))
    assert [item.uri for item in listed] == [f"s3://{bucket}/{number}" for number in range(5)]


def test_delete_is_idempotent(bucket: str, s3: Any) -> None:
    """Deleting an object that does not exist is no error, as in S3."""
    store = connect(SSES3())
    store.put(b"x", f"s3://{bucket}/x")
    store.delete(f"s3://{bucket}/x")
    store.delete(f"s3://{bucket}/x")
    assert names(s3, bucket) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.put(b"x", "s3://nowhere-at-all/x"),
        lambda store: store.put(payload(PART + 1), "s3://nowhere-at-all/x"),
        lambda store: store.read("s3://nowhere-at-all/x"),
        lambda store: store.inspect("s3://nowhere-at-all/x"),
        lambda store: store.delete("s3://nowhere-at-all/x"),
        lambda store: list(store.list("s3://nowhere-at-all/x")),
        lambda store: store.rotate("s3://nowhere-at-all/", to=SSES3()),
    ],
)
def test_a_missing_bucket_is_a_storage_error(call: Callable[[S3Crypt], Any]) -> None:
    """If the bucket does not exist, every method raises StorageError with its name."""
    with pytest.raises(StorageError, match="nowhere-at-all"):
        call(connect(SSES3()))


def test_a_missing_object_is_a_file_not_found(bucket: str, tmp_path: Path) -> None:
    """If the object does not exist, methods raise an error that is also a FileNotFoundError."""
    store = connect(SSES3())
    for call in (
        lambda: store.get(f"s3://{bucket}/none", tmp_path / "out"),
        lambda: store.inspect(f"s3://{bucket}/none"),
        lambda: store.rotate(f"s3://{bucket}/none", to=SSES3()),
        lambda: store.needs_rotation(f"s3://{bucket}/none", to=SSES3()),
    ):
        with pytest.raises(ObjectNotFoundError) as caught:
            call()
        assert isinstance(caught.value, FileNotFoundError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: connect().put(b"x", "s3://bucket/x"),
        lambda: connect(SSES3()).put(b"x", "s3://bucket"),
        lambda: connect(SSES3()).put(b"x", "s3://bucket/folder/"),
        lambda: connect(SSES3()).put(b"x", "bucket/x"),
        lambda: connect(SSES3()).put(b"x", "https://bucket/x"),
        lambda: connect(SSES3()).put(b"x", "s3:///x"),
        lambda: connect(SSES3()).read("s3://bucket"),
        lambda: connect(SSES3()).put(b"x", "s3://bucket/x", metadata={"S3crypt-EDKs": "[]"}),
        lambda: connect(SSES3()).put(b"x", "s3://bucket/x", metadata={"a": "b" * 2048}),
        lambda: connect(SSES3()).put(b"x", "s3://bucket/x", metadata={"a": "ü"}),
        lambda: S3Crypt(workers=0),
        lambda: S3Crypt(session=object(), client=object()),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_call_is_refused_before_any_request(
    call: Callable[[], Any], requests_log: Any
) -> None:
    """A wrong argument raises ConfigError, which is also a ValueError, before any request."""
    with pytest.raises(ConfigError) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert requests_log.list() == []


def test_too_many_keys_for_the_metadata_are_refused(bucket: str, s3: Any) -> None:
    """If wrapped keys and metadata together exceed 2 KB, the put fails before any request."""
    keyring = MultiKeyring(
        *(AESKeyring("n" * 200, f"k{i}" + "x" * 200, bytes(32)) for i in range(4))
    )
    store = connect(ClientSide(keyring, key_location="metadata"))
    with pytest.raises(ConfigError, match="2048") as caught:
        store.put(b"x", f"s3://{bucket}/x")
    assert "header" in str(caught.value.hint)
    assert names(s3, bucket) == []


def test_progress_may_come_from_any_thread(bucket: str) -> None:
    """Workers call the progress callback from their own threads, and no report is lost."""
    threads: set[str] = set()
    lock = threading.Lock()
    total = [0]

    def progress(count: int) -> None:
        with lock:
            total[0] += count
            threads.add(threading.current_thread().name)

    connect(SSES3(), workers=3).put(payload(LARGE), f"s3://{bucket}/x", progress=progress)
    assert total == [LARGE]
    assert threading.main_thread().name not in threads


def test_a_file_that_is_also_written_is_put_as_it_reads(bucket: str, tmp_path: Path) -> None:
    """A put of an open file includes the bytes that are still in the file's write buffer."""
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    with path.open("r+b") as file:
        file.read(2)
        file.write(b"AB")
        file.seek(0)
        connect(ClientSide(aes())).put(file, f"s3://{bucket}/x")
    assert connect(ClientSide(aes())).read(f"s3://{bucket}/x") == b"01AB456789"


def test_files_open_as_text_are_refused(bucket: str, tmp_path: Path) -> None:
    """A put of a file that is open as text is refused."""
    path = tmp_path / "x"
    path.write_text("text")
    with path.open() as file, pytest.raises(ConfigError, match="text"):
        connect(SSES3()).put(file, f"s3://{bucket}/x")  # type: ignore[arg-type]  # on purpose


def test_metadata_that_is_not_ascii_is_refused(bucket: str, requests_log: Any) -> None:
    """Metadata beyond ASCII is refused before any request: S3 would not return it unchanged."""
    requests_log.clear()
    with pytest.raises(ConfigError, match="ASCII"):
        connect(SSES3()).put(b"", f"s3://{bucket}/x", metadata={"a": "\u00fc"})
    assert requests_log.list() == []
