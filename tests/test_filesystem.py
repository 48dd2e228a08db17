# SPDX-License-Identifier: Apache-2.0
"""Listings of s3crypt:// through fsspec: sizes, number of requests, names and directories."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from filesystem_samples import FRAME, MODE, asked, make_tree
from samples import CUSTOMER_KEY, aes, connect, names, payload, rewrite, stored

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    AESKeyring,
    ClientSide,
    FormatError,
    PolicyError,
    StorageError,
)
from s3crypt.filesystem import S3CryptFileSystem

# The official SDK's helpers are beside the tests of messages.
sys.path.append(str(Path(__file__).parent / "message"))

import official

if TYPE_CHECKING:
    from conftest import RequestsLog

    from s3crypt import Mode

SIZES = (0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 5 * FRAME)


@pytest.fixture
def fs() -> S3CryptFileSystem:
    """Return a file system that encrypts client-side."""
    return S3CryptFileSystem(MODE)


@pytest.fixture
def tree(fs: S3CryptFileSystem, bucket: str) -> str:
    """Make a small data set; return its directory."""
    return make_tree(fs, bucket)


# --- Sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "mode",
    [
        MODE,
        ClientSide(aes(), frame_length=FRAME, key_location="metadata"),
        ClientSide(aes(), frame_length=FRAME, signed=True),
    ],
    ids=["header", "metadata", "signed"],
)
def test_size_is_the_plaintexts(
    bucket: str, mode: Mode, size: int, requests_log: RequestsLog
) -> None:
    """The plaintext's exact size is computed from one HEAD."""
    fs = S3CryptFileSystem(mode)
    fs.pipe_file(f"{bucket}/x", payload(size))
    requests_log.clear()
    assert fs.info(f"{bucket}/x")["size"] == size
    assert asked(requests_log) == ["HEAD"]
    assert fs.ls(bucket)[0]["size"] == size
    assert fs.size(f"s3crypt://{bucket}/x") == size


@pytest.mark.parametrize("size", SIZES)
def test_size_of_the_official_sdks_objects(
    s3: Any, bucket: str, size: int, requests_log: RequestsLog
) -> None:
    """The official SDK's objects have no metadata, so their size also needs a ranged GET."""
    body = official.encrypt(payload(size), official.native_aes(), frame_length=FRAME)
    s3.put_object(Bucket=bucket, Key="x", Body=body)
    keyring = AESKeyring(official.NAMESPACE, official.NAME, official.WRAPPING_KEY)
    fs = S3CryptFileSystem(ClientSide(keyring, bind_name=False))
    requests_log.clear()
    assert fs.size(f"{bucket}/x") == size
    assert [entry["method"] for entry in requests_log.list()].count("GET") == 1
    assert requests_log.list()[-1]["headers"]["range"].startswith("bytes=0-")
    assert fs.cat_file(f"{bucket}/x") == payload(size)


def test_size_of_a_stream_is_known_too(fs: S3CryptFileSystem, bucket: str) -> None:
    """The size of a stream is known, because it is computed from stored lengths."""
    with fs.open(f"{bucket}/x", "wb") as file:
        for _ in range(3):
            file.write(payload(FRAME))
    assert fs.size(f"{bucket}/x") == 3 * FRAME


def test_size_that_cannot_be_told_is_none(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """If no plaintext has the stored length, the size is None and `du` fails."""
    fs.pipe_file(f"{bucket}/x", payload(FRAME + 1))
    body = stored(s3, bucket, "x")
    rewrite(s3, bucket, "x", body[:-20])
    assert fs.info(f"{bucket}/x")["size"] is None
    with pytest.raises(StorageError, match="size of its plaintext is not known"):
        fs.du(bucket)


def test_info_says_what_one_request_tells(fs: S3CryptFileSystem, bucket: str) -> None:
    """`info` also returns type, ETag, time, content type, mode and the user's metadata."""
    before = datetime.now(UTC) - timedelta(seconds=2)
    fs.pipe_file(f"{bucket}/x", b"1,2", content_type="text/csv", metadata={"team": "ops"})
    info = fs.info(f"{bucket}/x")
    assert (info["name"], info["type"], info["mode"]) == (f"{bucket}/x", "file", "client")
    assert (info["ContentType"], info["metadata"]) == ("text/csv", {"team": "ops"})
    assert info["ETag"]
    assert info["stored_size"] > info["size"]
    assert fs.modified(f"{bucket}/x") == fs.created(f"{bucket}/x") == info["LastModified"] >= before


def test_info_of_an_old_version(fs: S3CryptFileSystem, versioned_bucket: str) -> None:
    """An old version is found and read by its id."""
    fs.pipe_file(f"{versioned_bucket}/x", b"old")
    old = fs.info(f"{versioned_bucket}/x")["VersionId"]
    fs.pipe_file(f"{versioned_bucket}/x", b"newer")
    assert fs.info(f"{versioned_bucket}/x")["size"] == 5
    assert fs.info(f"{versioned_bucket}/x", version_id=old)["size"] == 3
    assert fs.cat_file(f"{versioned_bucket}/x", version_id=old) == b"old"
    fs.rm(f"{versioned_bucket}/x")
    assert fs.exists(f"{versioned_bucket}/x", version_id=old)
    assert not fs.exists(f"{versioned_bucket}/x")


def test_plain_object_among_encrypted_ones(s3: Any, fs: S3CryptFileSystem, tree: str) -> None:
    """A plain object is listed with its size and mode, but reading it is refused."""
    bucket = tree.split("/", maxsplit=1)[0]
    s3.put_object(Bucket=bucket, Key="data/plain", Body=b"12345", ServerSideEncryption="AES256")
    entries = {entry["name"]: entry for entry in fs.ls(tree)}
    assert (entries[f"{tree}/plain"]["size"], entries[f"{tree}/plain"]["mode"]) == (5, "sse-s3")
    assert entries[f"{tree}/a"]["size"] == 100
    with pytest.raises((PolicyError, FormatError)):
        fs.cat_file(f"{tree}/plain")


def test_listing_raises_the_error_of_an_object(s3: Any, fs: S3CryptFileSystem, tree: str) -> None:
    """A listing with sizes fails if one object's size is unknown; the object is not left out."""
    bucket = tree.split("/", maxsplit=1)[0]
    s3.put_object(
        Bucket=bucket,
        Key="data/theirs",
        Body=b"x" * 100,
        SSECustomerAlgorithm="AES256",
        SSECustomerKey=CUSTOMER_KEY,
    )
    with pytest.raises(StorageError, match="data/theirs"):
        fs.ls(tree)
    with pytest.raises(StorageError, match="data/theirs"):
        fs.find(tree, detail=True)
    assert f"{tree}/theirs" in fs.ls(tree, detail=False)


def test_object_that_is_gone_by_now_is_not_listed(fs: S3CryptFileSystem, tree: str) -> None:
    """An object that is deleted between the listing and its HEAD is left out."""
    bucket, name = tree.split("/", 1)
    listed = fs.ls(tree, measured=False)
    fs.rm_file(f"{bucket}/{name}/a")
    assert f"{tree}/a" not in [entry["name"] for entry in fs._listing.measured(listed)]


# --- The cost of calls -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        "fs.find(tree)",
        "fs.find(tree, withdirs=True)",
        "fs.find(tree, maxdepth=1)",
        "fs.ls(tree, detail=False)",
        "fs.ls(tree + '/a', detail=False)",
        "fs.glob(tree + '/**')",
        "fs.glob(tree + '/b/t*')",
        "fs.glob(tree + '/a')",
        "list(fs.walk(tree))",
        "fs.exists(tree + '/a')",
        "fs.exists(tree + '/none')",
        "fs.isdir(tree)",
        "fs.isfile(tree + '/c')",
        "fs.isdir(tree + '/c')",
        "fs.expand_path(tree, recursive=True)",
        "fs.rm(tree, recursive=True)",
        "fs.rm(tree + '/c*')",
        "fs.du(tree + '/none')",
    ],
)
def test_no_object_is_asked_for_without_need(
    fs: S3CryptFileSystem, tree: str, call: str, requests_log: RequestsLog
) -> None:
    """Names come from listings; only sizes need one request per object."""
    requests_log.clear()
    assert eval(call, {"fs": fs, "tree": tree}) is not NotImplemented
    assert set(asked(requests_log)) <= {"LIST", "POST"}


@pytest.mark.parametrize(
    ("call", "heads"),
    [
        ("fs.ls(tree)", 3),
        ("fs.find(tree, detail=True)", 6),
        ("fs.glob(tree + '/b/t*', detail=True)", 1),
        ("fs.glob(tree + '/a', detail=True)", 1),
        ("list(fs.walk(tree, detail=True))", 6),
        ("fs.du(tree)", 6),
        ("fs.info(tree + '/a')", 1),
    ],
)
def test_sizes_cost_a_request_an_object(
    fs: S3CryptFileSystem, tree: str, call: str, heads: int, requests_log: RequestsLog
) -> None:
    """Sizes cost one HEAD for each listed object, and no other requests."""
    fs.invalidate_cache()
    requests_log.clear()
    eval(call, {"fs": fs, "tree": tree})
    kinds = asked(requests_log)
    assert kinds.count("HEAD") == heads
    assert set(kinds) <= {"HEAD", "LIST"}


def test_flat_listing_is_two_requests(
    fs: S3CryptFileSystem, tree: str, requests_log: RequestsLog
) -> None:
    """A flat listing of any depth costs two requests: the listing and a check of the name."""
    requests_log.clear()
    found = fs.find(tree, withdirs=True)
    assert asked(requests_log) == ["LIST", "LIST"]
    assert found == [tree, *(f"{tree}/{name}" for name in sorted(
        ("a", "b", "b/deep", "b/deep/three", "b/one", "b/two", "c", "c-1")
    ))]  # fmt: skip


def test_sizes_are_kept_by_tag(fs: S3CryptFileSystem, tree: str, requests_log: RequestsLog) -> None:
    """A second listing requests only the sizes of changed objects."""
    fs.invalidate_cache()
    fs.find(tree, detail=True)
    fs.pipe_file(f"{tree}/a", payload(77))
    requests_log.clear()
    again = fs.find(tree, detail=True)
    assert asked(requests_log).count("HEAD") == 1
    assert again[f"{tree}/a"]["size"] == 77
    fs.invalidate_cache()
    fs.find(tree, detail=True)
    assert asked(requests_log).count("HEAD") == 6


@pytest.mark.parametrize("name", ["sse-s3", "sse-kms", "sse-c"])
def test_server_side_sizes_are_listed(
    bucket: str, kms_key: str, name: str, requests_log: RequestsLog
) -> None:
    """Sizes of server-side objects come from the listing, without further requests."""
    modes: dict[str, Mode] = {
        "sse-s3": SSES3(), "sse-kms": SSEKMS(kms_key), "sse-c": SSEC(CUSTOMER_KEY)
    }  # fmt: skip
    fs = S3CryptFileSystem(modes[name])
    fs.pipe_file(f"{bucket}/d/x", payload(1000))
    requests_log.clear()
    assert [entry["size"] for entry in fs.ls(f"{bucket}/d")] == [1000]
    assert fs.du(bucket) == 1000
    assert set(asked(requests_log)) == {"LIST"}
    assert fs.cat_file(f"{bucket}/d/x", 10, -10) == payload(1000)[10:-10]


def test_listings_are_not_kept(fs: S3CryptFileSystem, tree: str) -> None:
    """By default objects that other writers store are listed at once."""
    fs.ls(tree)
    connect(MODE).put(b"new", f"s3://{tree}/z")
    assert f"{tree}/z" in fs.ls(tree, detail=False)


@pytest.mark.parametrize("wish", [{"use_listings_cache": True}, {"listings_expiry_time": 600}])
def test_listings_are_kept_on_demand(
    tree: str, wish: dict[str, Any], requests_log: RequestsLog
) -> None:
    """With the option listings are kept until a write, `refresh` or `invalidate_cache`."""
    fs = S3CryptFileSystem(MODE, **wish)
    fs.ls(tree, detail=False)
    requests_log.clear()
    fs.ls(tree)
    assert "LIST" not in asked(requests_log)
    fs.ls(tree, refresh=True)
    fs.pipe_file(f"{tree}/y", b"")
    assert f"{tree}/y" in fs.ls(tree, detail=False)
    connect(MODE).put(b"new", f"s3://{tree}/z")
    assert f"{tree}/z" not in fs.ls(tree, detail=False)
    fs.invalidate_cache(tree)
    assert f"{tree}/z" in fs.ls(tree, detail=False)


def test_kept_listings_are_the_file_systems_own(tree: str) -> None:
    """A caller's change of an entry does not change a kept listing; `mkdir` updates the buckets."""
    keeping = S3CryptFileSystem(MODE, use_listings_cache=True)
    bucket = tree.split("/", maxsplit=1)[0]
    for path, measured in ((tree, True), (tree, False), (bucket, False), ("", False)):
        names = keeping.ls(path, detail=False)
        for entry in keeping.ls(path, measured=measured):
            entry["name"] = "changed"
        assert keeping.ls(path, detail=False) == names
    keeping.mkdir(f"{bucket}-2")
    assert f"{bucket}-2" in keeping.ls("", detail=False)
    keeping.rmdir(f"{bucket}-2")
    assert f"{bucket}-2" not in keeping.ls("", detail=False)


def test_reader_who_may_not_list(
    fs: S3CryptFileSystem, tree: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without permission to list, an object is found by its own HEAD."""

    def denied(*_: object) -> None:
        raise StorageError("denied", code="AccessDenied")

    monkeypatch.setattr(fs._listing, "_first", denied)
    assert fs.isfile(f"{tree}/a")
    assert not fs.exists(f"{tree}/none")
    with pytest.raises(StorageError, match="denied"):
        fs.exists(tree.split("/", maxsplit=1)[0])


# --- Names and directories ---------------------------------------------------------------------


def test_levels(fs: S3CryptFileSystem, tree: str) -> None:
    """Each directory lists its entries with their types, sorted by name."""
    assert [(entry["name"][len(tree) + 1 :], entry["type"]) for entry in fs.ls(tree)] == [
        ("a", "file"), ("b", "directory"), ("c", "file"), ("c-1", "file")
    ]  # fmt: skip
    assert fs.find(tree, maxdepth=2, withdirs=True) == [
        tree, *(f"{tree}/{name}" for name in ("a", "b", "b/deep", "b/one", "b/two", "c", "c-1"))
    ]  # fmt: skip
    assert fs.find(tree, prefix="c") == [f"{tree}/c", f"{tree}/c-1"]
    assert fs.find(f"{tree}/a") == [f"{tree}/a"]
    assert fs.find(f"{tree}/none") == []


def test_what_is_there(fs: S3CryptFileSystem, tree: str) -> None:
    """A name that is only the beginning of another name does not exist."""
    assert fs.isdir(f"{tree}/b")
    assert fs.isdir(tree.split("/", maxsplit=1)[0])
    assert fs.isdir("")
    assert not fs.exists(f"{tree}/b/on")
    assert not fs.exists(f"{tree}-no-such-bucket/x")
    assert not fs.isdir("no-such-bucket-of-anyone")
    assert fs.info(f"s3crypt://{tree}/b/")["type"] == "directory"


@pytest.mark.parametrize("path", ["{}/none", "{}/none/", "no-such-bucket-of-anyone/x"])
@pytest.mark.parametrize("call", ["info", "ls", "cat_file", "open", "rm", "size", "modified"])
def test_what_is_missing_is_not_found(
    fs: S3CryptFileSystem, bucket: str, call: str, path: str
) -> None:
    """Every call raises FileNotFoundError for a missing path."""
    with pytest.raises(FileNotFoundError):
        getattr(fs, call)(path.format(bucket))


def test_glob_sees_the_pattern_below_buckets(fs: S3CryptFileSystem, tree: str) -> None:
    """Patterns may be in any part of a path, including the bucket's name."""
    bucket = tree.split("/", maxsplit=1)[0]
    assert fs.glob(f"{bucket[:-1]}?/data/b/*") == [
        f"{tree}/b/deep", f"{tree}/b/one", f"{tree}/b/two"
    ]  # fmt: skip
    assert fs.glob(f"{tree}/**/t*") == [f"{tree}/b/deep/three", f"{tree}/b/two"]
    assert fs.glob(f"{tree}/[ac]") == [f"{tree}/a", f"{tree}/c"]
    assert fs.glob(f"{tree}/*/") == [f"{tree}/b"]


def test_two_stars_at_the_end_find_files(fs: S3CryptFileSystem, tree: str) -> None:
    """`**` finds only files, because tools open every result; a final slash finds directories."""
    directories = [f"{tree}/b", f"{tree}/b/deep"]
    assert fs.glob(f"{tree}/**") == fs.glob(f"s3crypt://{tree}/**") == fs.find(tree)
    assert list(fs.glob(f"{tree}/**", detail=True)) == fs.find(tree)
    assert fs.glob(f"{tree}/**/") == [tree, *directories]
    assert set(fs.glob(f"{tree}/**", withdirs=True)) >= {*fs.find(tree), *directories}
    assert f"{tree}/b" in fs.glob(f"{tree}/*")


def test_glob_asks_for_what_the_pattern_begins_with(
    fs: S3CryptFileSystem, tree: str, requests_log: RequestsLog
) -> None:
    """A glob lists only the prefix before the first wildcard."""
    requests_log.clear()
    assert fs.glob(f"{tree}/c-*") == [f"{tree}/c-1"]
    assert [parse_qs(entry["query"])["prefix"] for entry in requests_log.list()] == [["data/c-"]]


def test_directory_markers(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """Empty objects that tools make for directories are shown as directories and removed."""
    s3.put_object(Bucket=bucket, Key="d/", Body=b"")
    s3.put_object(Bucket=bucket, Key="d/e/", Body=b"")
    assert fs.ls(f"{bucket}/d") == [fs.info(f"{bucket}/d/e")]
    assert fs.find(bucket) == []
    assert fs.find(bucket, withdirs=True) == [bucket, f"{bucket}/d", f"{bucket}/d/e"]
    fs.rm(f"{bucket}/d", recursive=True)
    assert names(s3, bucket) == []


@pytest.mark.parametrize("name", ["a b", "ä/ö", "a+b%20c", "q?x=1&y", "#", "a:b", "tab\there"])
def test_names_of_any_kind(fs: S3CryptFileSystem, bucket: str, name: str) -> None:
    """Unusual names are written, listed, measured and read like other names."""
    path = f"{bucket}/odd/{name}"
    fs.pipe_file(path, b"abc")
    assert {found: entry["size"] for found, entry in fs.find(bucket, detail=True).items()} == {
        path: 3
    }
    assert fs.cat_file(path) == b"abc"


def test_more_than_a_page(fs: S3CryptFileSystem, tree: str, requests_log: RequestsLog) -> None:
    """Listings of several pages are complete. A page has 2 names here instead of 1,000."""

    def shorten(params: dict[str, Any], **_: object) -> None:
        params.setdefault("MaxKeys", 2)

    narrow = S3CryptFileSystem(MODE, skip_instance_cache=True)
    narrow._connection.client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", shorten
    )
    requests_log.clear()
    assert narrow.find(tree) == fs.find(tree)
    # One `find` reads three pages, the other one page. Each also checks whether an object has the
    # directory's name.
    assert asked(requests_log) == ["LIST"] * 6
    assert narrow.ls(tree) == fs.ls(tree)
    narrow.rm(tree, recursive=True)
    assert not fs.exists(tree)


def test_bucket_is_made_by_its_name_only(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """A bucket is made only by its own name, never by a write or by a directory's name."""
    new = f"{bucket}-2"
    fs.mkdir(f"{new}/directory", create_parents=True)
    fs.makedirs(new, exist_ok=True)
    assert not fs.exists(new)
    fs.mkdir(new)
    assert fs.ls(new) == []
    with pytest.raises(FileExistsError):
        fs.mkdir(new)
    with pytest.raises(FileExistsError):
        fs.makedirs(new)
    fs.rmdir(new)
    assert new not in [listed["Name"] for listed in s3.list_buckets()["Buckets"]]
    assert bucket in fs.ls("", detail=False)
