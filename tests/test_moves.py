# SPDX-License-Identifier: Apache-2.0
"""Copies and moves between files and S3: a source is deleted only after its target exists."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from conftest import unblock_ssec
from relay import aliasing
from samples import CUSTOMER_KEY, MODES, aes, connect, make_mode, names, payload

from s3crypt import (
    SSEC,
    SSES3,
    ClientSide,
    ConfigError,
    ConflictError,
    FormatError,
    NameFilter,
    ObjectNotFoundError,
    StorageError,
)
from s3crypt.local import files as local_files

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequestsLog

    from s3crypt.sandbox import Running


@pytest.mark.parametrize("name", MODES)
def test_a_move_into_s3_within_it_and_out(
    name: str, bucket: str, key: str, s3: Any, tmp_path: Path
) -> None:
    """In every mode, a move into S3, inside S3 and back to a file leaves only its target."""
    store = connect(make_mode(name, key))
    source, back = tmp_path / "q3.csv", tmp_path / "back.csv"
    source.write_bytes(payload(1000))
    store.move(source, f"s3://{bucket}/a.csv")
    assert not source.exists()
    assert names(s3, bucket) == ["a.csv"]
    store.move(f"s3://{bucket}/a.csv", f"s3://{bucket}/b.csv")
    assert names(s3, bucket) == ["b.csv"]
    store.move(f"s3://{bucket}/b.csv", back)
    assert names(s3, bucket) == []
    assert back.read_bytes() == payload(1000)


def test_a_move_in_a_versioned_bucket_leaves_a_marker(versioned_bucket: str, s3: Any) -> None:
    """In a versioned bucket, a move puts a delete marker over the source and keeps its version."""
    store = connect(SSES3())
    put = store.put(b"1", f"s3://{versioned_bucket}/a")
    store.move(f"s3://{versioned_bucket}/a", f"s3://{versioned_bucket}/b")
    found = s3.list_object_versions(Bucket=versioned_bucket, Prefix="a")
    assert [version["VersionId"] for version in found["Versions"]] == [put.version_id]
    assert [marker["Key"] for marker in found["DeleteMarkers"]] == ["a"]


def test_a_move_between_modes(bucket: str, s3: Any) -> None:
    """A move reads the source with the store's customer key and writes the target in mode `to`."""
    connect(SSEC(CUSTOMER_KEY)).put(b"1", f"s3://{bucket}/a")
    to = ClientSide(aes())
    connect(SSEC(CUSTOMER_KEY)).move(f"s3://{bucket}/a", f"s3://{bucket}/b", to=to)
    assert names(s3, bucket) == ["b"]
    assert connect(to).read(f"s3://{bucket}/b") == b"1"


class Replacing:
    """A progress callback that replaces the source once its bytes were transferred."""

    def __init__(self, replace: Any) -> None:
        self._replace: Any = replace

    def __call__(self, _: int) -> None:
        """Replace the source once."""
        replace, self._replace = self._replace, lambda: None
        replace()


def test_an_object_that_changes_is_not_deleted(bucket: str, s3: Any, tmp_path: Path) -> None:
    """An object that another writer replaced during the move is kept.

    The error says where the old data is, and that the source was not deleted.
    """
    store = connect(SSES3())
    store.put(b"old", f"s3://{bucket}/a")
    changing = Replacing(lambda: s3.put_object(Bucket=bucket, Key="a", Body=b"new"))
    (outcome,) = store.many.get(
        [(f"s3://{bucket}/a", tmp_path / "a")], move=True, progress=changing
    )
    assert isinstance(outcome.error, ConflictError)
    assert f"stored as {tmp_path / 'a'}, but the source was not deleted" in str(outcome.error)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"new"


@pytest.mark.parametrize("change", ["write", "replace"])
def test_a_file_that_changes_is_not_removed(
    change: str, bucket: str, tmp_path: Path, s3: Any
) -> None:
    """A changed source file is not removed, nor is another file of the same size and time."""
    source, other = tmp_path / "a", tmp_path / "other"
    source.write_bytes(b"old")
    state = source.stat()
    if change == "write":
        source.write_bytes(b"new!")
    else:
        other.write_bytes(b"new")
        os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
        other.replace(source)
    with pytest.raises(
        ConflictError, match="the file was stored as s3://x/a, but the source was not removed"
    ):
        local_files.remove_source(source, state, "s3://x/a")
    assert source.exists()
    connect(SSES3()).move(source, f"s3://{bucket}/a")
    assert names(s3, bucket) == ["a"]
    assert not source.exists()


@pytest.mark.parametrize("name", MODES)
def test_an_object_is_not_moved_to_itself_by_an_access_point(
    name: str, bucket: str, key: str, s3: Any, sandbox: Running
) -> None:
    """A move to the same object through an access point alias is refused.

    S3 does not say to which bucket an alias belongs. A move to another bucket's alias works.
    """
    mode, alias, other = make_mode(name, key), "reports-metadata-s3alias", f"{bucket}-other"
    connect(mode).put(b"1", f"s3://{bucket}/a")
    with aliasing(sandbox.endpoint_url, alias, bucket) as relay:
        store = connect(mode, endpoint_url=relay.url)
        for source, target in ((bucket, alias), (alias, bucket)):
            with pytest.raises(ConflictError, match="is the same object"):
                store.move(f"s3://{source}/a", f"s3://{target}/a")
            assert names(s3, bucket) == ["a"]
    s3.create_bucket(Bucket=other)
    unblock_ssec(s3, other)
    with aliasing(sandbox.endpoint_url, alias, other) as relay:
        connect(mode, endpoint_url=relay.url).move(f"s3://{bucket}/a", f"s3://{alias}/a")
    assert names(s3, bucket) == []
    assert connect(mode).read(f"s3://{other}/a") == b"1"


_PAIR = ["t/x", "t/x.instruction", "t/y", "t/y.instruction"]


def _put_pairs(s3: Any, bucket: str) -> None:
    """Put an object with an instruction file, and an object with a file of only such a name."""
    entry = json.dumps({"x-amz-key-v2": "k", "x-amz-iv": "i"})
    for name, body in zip(_PAIR, ("ciphertext " * 2, entry, "y", "how to do y"), strict=True):
        s3.put_object(Bucket=bucket, Key=name, Body=body)


@pytest.mark.parametrize("mode", [None, SSES3()])
@pytest.mark.parametrize("to_files", [False, True])
def test_an_instruction_file_is_not_moved(
    *, mode: SSES3 | None, to_files: bool, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """A move refuses an instruction file and the object whose data key is in it, so both stay."""
    _put_pairs(s3, bucket)
    many, source = connect(mode).many, f"s3://{bucket}/t/"
    job: Any = (
        many.get_folder(source, tmp_path / "out", move=True)
        if to_files
        else many.copy_folder(source, f"s3://{bucket}/u/", to="sse-s3", move=True)
    )
    failed = [str(each.error) for each in job if each.error]
    assert len(failed) == 2
    assert any("x.instruction is an instruction file" in error for error in failed)
    assert names(s3, bucket) == [*_PAIR[:2], *([] if to_files else ["u/y", "u/y.instruction"])]


@pytest.mark.parametrize("mode", [None, SSES3()])
@pytest.mark.parametrize("name", ["t/x", "t/x.instruction"])
def test_one_object_is_not_moved_from_its_instruction_file(
    name: str, mode: SSES3 | None, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """`move` refuses either object of a pair, and writes no target."""
    _put_pairs(s3, bucket)
    for target in (f"s3://{bucket}/u", tmp_path / "u"):
        with pytest.raises(FormatError, match="instruction file"):
            connect(mode).move(f"s3://{bucket}/{name}", target, to=SSES3())
    assert names(s3, bucket) == _PAIR
    assert not (tmp_path / "u").exists()


def test_a_move_of_a_folder_needs_no_request_for_instruction_files(
    bucket: str, s3: Any, tmp_path: Path, requests_log: RequestsLog
) -> None:
    """A move of a folder finds instruction files in the listing."""
    s3.put_object(Bucket=bucket, Key="t/a", Body=b"1")
    many = connect(SSES3()).many
    requests_log.clear()
    assert [
        each.error for each in many.copy_folder(f"s3://{bucket}/t/", f"s3://{bucket}/u/", move=True)
    ] == [None]
    assert [each.error for each in many.get_folder(f"s3://{bucket}/u/", tmp_path, move=True)] == [
        None
    ]
    assert not any(str(each["path"]).endswith(".instruction") for each in requests_log.list())


def test_an_object_that_replaces_a_listed_one_is_not_moved_from_its_instruction_file(
    bucket: str, s3: Any, tmp_path: Path
) -> None:
    """If an object was replaced after the listing, its instruction file is looked for again."""
    s3.put_object(Bucket=bucket, Key="t/x", Body=b"plain")
    many = connect(SSES3()).many
    (listed,) = many.list(f"s3://{bucket}/t/")
    _put_pairs(s3, bucket)
    (got,) = many.get([(listed, tmp_path / "x")], move=True)
    (copied,) = many.copy([(listed, f"s3://{bucket}/u")], move=True)
    assert isinstance(got.error, FormatError)
    assert isinstance(copied.error, FormatError)
    assert names(s3, bucket) == _PAIR


def test_the_name_of_an_instruction_file_is_moved_with_a_customer_key(
    bucket: str, s3: Any, tmp_path: Path
) -> None:
    """An SSE-C object is moved if only its name is that of an instruction file.

    Without its key, the error says that it could not be read. Real instruction files with the key
    stay, and so do instruction files without a customer key.
    """
    store, uri = connect(SSEC(CUSTOMER_KEY)), f"s3://{bucket}/how"
    store.put(b"how to do y", f"{uri}.instruction")
    store.put(b"y", uri)
    with pytest.raises(FormatError, match="cannot be read to check this"):
        connect(SSES3()).move(f"{uri}.instruction", f"{uri}2.instruction")
    store.move(f"{uri}.instruction", f"{uri}2.instruction")
    store.move(f"{uri}2.instruction", tmp_path / "how")
    store.move(uri, f"{uri}3")
    assert names(s3, bucket) == ["how3"]
    entry = json.dumps({"x-amz-key-v2": "k", "x-amz-iv": "i"}).encode()
    for mode in (SSEC(CUSTOMER_KEY), SSES3()):
        connect(mode).put(entry, f"{uri}3.instruction")
        with pytest.raises(FormatError, match=r"how3\.instruction holds its key"):
            store.move(f"{uri}3", tmp_path / "how3")
        with pytest.raises(FormatError, match=r"how3\.instruction is an instruction file"):
            store.move(f"{uri}3.instruction", tmp_path / "how3")
    assert names(s3, bucket) == ["how3", "how3.instruction"]


def test_a_move_that_fails_leaves_its_source(bucket: str, tmp_path: Path, s3: Any) -> None:
    """The source of a failed move stays.

    The move fails if if_absent is given and the target exists, or if the target is the source.
    """
    store, source = connect(SSES3()), tmp_path / "a"
    source.write_bytes(b"1")
    store.put(b"there", f"s3://{bucket}/a")
    store.put(b"b", f"s3://{bucket}/b")
    with pytest.raises(ConflictError):
        store.move(source, f"s3://{bucket}/a", if_absent=True)
    with pytest.raises(ConflictError):
        store.move(f"s3://{bucket}/a", source, if_absent=True)
    with pytest.raises(ConflictError):
        store.move(f"s3://{bucket}/b", f"s3://{bucket}/a", if_absent=True)
    with pytest.raises(ConfigError, match="both the source and the target of the move"):
        store.move(f"s3://{bucket}/a", f"s3://{bucket}/a")
    assert source.read_bytes() == b"1"
    assert names(s3, bucket) == ["a", "b"]


def test_a_move_to_a_device_or_from_a_pipe_is_refused(bucket: str, tmp_path: Path, s3: Any) -> None:
    """A move to or from a device, here /dev/null, is refused.

    A target that is a device would lose the data. A source that is a device cannot be removed.
    """
    store = connect(SSES3())
    store.put(b"1", f"s3://{bucket}/a")
    with pytest.raises(ConfigError, match="not a regular file"):
        store.move(f"s3://{bucket}/a", "/dev/null")
    with pytest.raises(ConfigError, match="not a regular file"):
        store.move("/dev/null", f"s3://{bucket}/b")
    with pytest.raises(ConfigError, match="Neither"):
        store.move(tmp_path / "a", tmp_path / "b")
    assert names(s3, bucket) == ["a"]


def test_a_tree_is_copied_and_moved_inside_s3(bucket: str, s3: Any) -> None:
    """A folder is copied into another mode with a filter, and moved; each object has an outcome."""
    store = connect(ClientSide(aes()))
    for name in ("t/a.csv", "t/b.txt", "t/sub/c.csv"):
        store.put(name.encode(), f"s3://{bucket}/{name}")
    csv = NameFilter((("exclude", "*"), ("include", "*.csv")))
    outcomes = list(
        store.many.copy_folder(f"s3://{bucket}/t/", f"s3://{bucket}/u/", names=csv, to=SSES3())
    )
    assert sorted(outcome.item[1] for outcome in outcomes) == [
        f"s3://{bucket}/u/a.csv",
        f"s3://{bucket}/u/sub/c.csv",
    ]
    assert connect(SSES3()).read(f"s3://{bucket}/u/sub/c.csv") == b"t/sub/c.csv"
    moved = store.many.copy_folder(f"s3://{bucket}/t/", f"s3://{bucket}/v/", move=True)
    assert [outcome.error for outcome in moved] == [None] * 3
    assert names(s3, bucket) == ["u/a.csv", "u/sub/c.csv", "v/a.csv", "v/b.txt", "v/sub/c.csv"]
    assert store.read(f"s3://{bucket}/v/a.csv") == b"t/a.csv"


@pytest.mark.parametrize("target", ["t/", "t/in/", ""])
def test_a_tree_is_not_copied_into_itself(
    target: str, bucket: str, requests_log: RequestsLog
) -> None:
    """A copy of a folder into itself is refused before any request.

    Otherwise the copies would be listed as further sources.
    """
    requests_log.clear()
    with pytest.raises(ConfigError, match="the source"):
        connect(SSES3()).many.copy_folder(f"s3://{bucket}/t/", f"s3://{bucket}/{target}")
    assert requests_log.list() == []


def test_a_filter_that_selects_nothing_fails(bucket: str, tmp_path: Path) -> None:
    """A get, copy or put whose filter matches no object fails, and stores nothing."""
    store, nothing = connect(SSES3()), NameFilter(pattern="x*")
    store.put(b"1", f"s3://{bucket}/t/a")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"1")
    for job in (
        store.many.get_folder(f"s3://{bucket}/t/", tmp_path / "out", names=nothing),
        store.many.copy_folder(f"s3://{bucket}/t/", f"s3://{bucket}/u/", names=nothing),
        store.many.put_folder(tmp_path / "in", f"s3://{bucket}/u/", names=nothing),
    ):
        with pytest.raises(ObjectNotFoundError, match="fits x"):
            list(job)
    assert not (tmp_path / "out").exists()


def test_a_file_that_exists_is_not_replaced(bucket: str, tmp_path: Path) -> None:
    """With if_absent, a get replaces no file, not even a file that appears during the get."""
    store = connect(SSES3())
    store.put(b"1", f"s3://{bucket}/a")
    (tmp_path / "there").write_bytes(b"kept")
    with pytest.raises(ConflictError, match="the file exists"):
        store.get(f"s3://{bucket}/a", tmp_path / "there", if_absent=True)
    appears = Replacing(lambda: (tmp_path / "new").write_bytes(b"kept"))
    with pytest.raises(ConflictError, match="the file exists"):
        store.get(f"s3://{bucket}/a", tmp_path / "new", if_absent=True, progress=appears)
    assert (tmp_path / "there").read_bytes() == (tmp_path / "new").read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "there"]
    store.get(f"s3://{bucket}/a", tmp_path / "other", if_absent=True)
    assert (tmp_path / "other").read_bytes() == b"1"


NAIVE = datetime.now(UTC).replace(tzinfo=None)
_SAID: dict[str, Any] = {
    "content_encoding": "gzip",
    "cache_control": "max-age=60",
    "content_disposition": 'attachment; filename="x"',
    "content_language": "de, en",
}


@pytest.mark.parametrize("name", MODES)
def test_headers_are_stored_and_kept(name: str, bucket: str, key: str, s3: Any) -> None:
    """A copy and a rotation keep the object's headers, except those that the copy was given."""
    store, uri = connect(make_mode(name, key)), f"s3://{bucket}/a.csv"
    store.put(b"1", uri, metadata={"a": "1"}, tags={"t": "1"}, **_SAID)
    store.copy(uri, f"s3://{bucket}/b")
    store.rotate(f"s3://{bucket}/b", to=ClientSide(aes()) if name != "sse-c" else SSEC(bytes(32)))
    store.copy(uri, f"s3://{bucket}/c", cache_control="no-cache", metadata={"b": "2"}, tags={})
    asked = make_mode(name, key).read_arguments()
    other = SSEC(bytes(32)).read_arguments() if name == "sse-c" else {}
    kept = s3.head_object(Bucket=bucket, Key="b", **other)
    changed = s3.head_object(Bucket=bucket, Key="c", **asked)
    for reply, cache in ((kept, "max-age=60"), (changed, "no-cache")):
        shown = [reply[each] for each in ("CacheControl", "ContentEncoding", "ContentType")]
        assert shown == [cache, "gzip", "text/csv"]
        assert reply["ContentDisposition"] == _SAID["content_disposition"]
        assert reply["ContentLanguage"] == _SAID["content_language"]
    user = {name: value for name, value in kept["Metadata"].items() if "s3crypt" not in name}
    assert (user, kept["TagCount"]) == ({"a": "1"}, 1)
    user = {name: value for name, value in changed["Metadata"].items() if "s3crypt" not in name}
    assert (user, changed.get("TagCount", 0)) == ({"b": "2"}, 0)


def test_a_given_content_type_wins(bucket: str) -> None:
    """A given content type is stored.

    Without a given type, it follows from the object's name, or else from the file's name.
    """
    store = connect(SSES3())
    for uri, said, wanted in (
        (f"s3://{bucket}/a.csv", {"content_type": "a/b"}, "a/b"),
        (f"s3://{bucket}/a.json", {}, "application/json"),
        (f"s3://{bucket}/a", {}, "text/x-python"),
    ):
        store.put(__file__, uri, **said)  # type: ignore[arg-type]  # the description alone
        assert store.inspect(uri).content_type == wanted


def test_a_lock_is_set_and_kept(s3: Any) -> None:
    """A put, a writer and a copy set the given Object Lock values; without them no lock is set."""
    bucket = f"locked-{os.urandom(8).hex()}"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    store, until = connect(SSES3()), datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    lock: dict[str, Any] = {
        "object_lock_mode": "GOVERNANCE",
        "object_lock_retain_until": until,
        "object_lock_legal_hold": True,
    }
    store.put(b"1", f"s3://{bucket}/put", **lock)
    with store.open(f"s3://{bucket}/open", "wb", **lock) as file:
        file.write(b"1")
    store.copy(f"s3://{bucket}/put", f"s3://{bucket}/kept")
    store.put(b"1", f"s3://{bucket}/free")
    store.copy(f"s3://{bucket}/free", f"s3://{bucket}/copied", **lock)
    for name in ("put", "open", "kept", "copied"):
        found = s3.head_object(Bucket=bucket, Key=name)
        assert (found["ObjectLockMode"], found["ObjectLockLegalHoldStatus"]) == ("GOVERNANCE", "ON")
        assert found["ObjectLockRetainUntilDate"] == until
    assert "ObjectLockMode" not in s3.head_object(Bucket=bucket, Key="free")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"object_lock_mode": "GOVERNANCE"}, "must be given together"),
        ({"object_lock_mode": "SOFT", "object_lock_retain_until": datetime.now(UTC)}, "GOVERNANCE"),
        (
            {"object_lock_mode": "COMPLIANCE", "object_lock_retain_until": NAIVE},
            "time zone",
        ),
        ({"object_lock_legal_hold": "ON"}, "True or False"),
        ({"cache_control": "a\nb"}, "cache_control is a line"),
    ],
)
def test_descriptions_that_s3_would_refuse(
    said: dict[str, Any], words: str, requests_log: RequestsLog
) -> None:
    """Metadata, tags and headers that S3 would refuse are refused before any request."""
    store = connect(SSES3())
    with pytest.raises(ConfigError, match=words):
        store.put(b"", "s3://bucket/x", **said)
    with pytest.raises(ConfigError, match=words):
        store.copy("s3://bucket/x", "s3://bucket/y", **said)
    assert requests_log.list() == []


def test_unsigned_requests_have_no_signature(bucket: str, requests_log: RequestsLog) -> None:
    """With no_sign_request, requests have no signature.

    S3 refuses them, as the bucket is not public.
    """
    store = connect(SSES3(), no_sign_request=True)
    with pytest.raises(StorageError, match="access denied"):
        store.put(b"1", f"s3://{bucket}/a")
    with pytest.raises(StorageError, match="access denied"):
        list(store.list(f"s3://{bucket}/"))
    headers = [entry["headers"] for entry in requests_log.list()]
    assert headers
    assert not any("authorization" in {name.lower() for name in each} for each in headers)
