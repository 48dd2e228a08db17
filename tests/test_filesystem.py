# SPDX-License-Identifier: Apache-2.0
"""s3crypt:// as fsspec's users see it: paths, sizes, what each call costs, and what is refused."""

from __future__ import annotations

import gc
import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from fsspec.callbacks import Callback
from pyarrow.fs import FSSpecHandler, PyFileSystem
from samples import CUSTOMER_KEY, LARGE, aes, connect, names, payload, rewrite, stored, uploads

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    AESKeyring,
    ClientSide,
    ConfigError,
    ConflictError,
    FormatError,
    IntegrityError,
    PolicyError,
    StorageError,
    message,
)
from s3crypt.filesystem import S3CryptFileSystem
from s3crypt.objects.reader import ObjectReader

# The official SDK is with the tests of messages.
sys.path.append(str(Path(__file__).parent / "message"))

import official

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import RequestsLog

    from s3crypt import Mode

FRAME = 4096
SIZES = (0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 5 * FRAME)
MODE = ClientSide(aes(), frame_length=FRAME)
# While there is one, all that are made of the mode share its client.
_KEPT = S3CryptFileSystem(MODE)


@pytest.fixture
def fs() -> S3CryptFileSystem:
    """Return a file system that encrypts client-side."""
    return S3CryptFileSystem(MODE)


@pytest.fixture
def tree(fs: S3CryptFileSystem, bucket: str) -> str:
    """Make a small data set; return its directory."""
    for number, name in enumerate(("a", "b/one", "b/two", "b/deep/three", "c-1", "c")):
        fs.pipe_file(f"{bucket}/data/{name}", payload(100 + number))
    return f"{bucket}/data"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Write a wrapping key to a file."""
    path = tmp_path / "wrapping.key"
    path.write_bytes(bytes(range(32)))
    return path


def options(key_file: Path, **more: Any) -> dict[str, Any]:
    """Return storage options that name a key's file."""
    return {"key": f"aes:tests/one={key_file}", **more}


def asked(log: RequestsLog) -> list[str]:
    """Return what was asked of S3: HEAD, LIST, GET and so on; clear the log."""
    kinds = ["LIST" if "list-type" in entry["query"] else entry["method"] for entry in log.list()]
    log.clear()
    return kinds


# --- Sizes ---------------------------------------------------------------------------------------


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
    """To the byte, from one HEAD."""
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
    """Their metadata says nothing, so that a ranged GET is needed as well."""
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
    """The arithmetic needs nothing that is only known at a stream's end."""
    with fs.open(f"{bucket}/x", "wb") as file:
        for _ in range(3):
            file.write(payload(FRAME))
    assert fs.size(f"{bucket}/x") == 3 * FRAME


def test_size_that_cannot_be_told_is_none(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """A length that no plaintext has is not rounded to one, nor summed up."""
    fs.pipe_file(f"{bucket}/x", payload(FRAME + 1))
    body = stored(s3, bucket, "x")
    rewrite(s3, bucket, "x", body[:-20])
    assert fs.info(f"{bucket}/x")["size"] is None
    with pytest.raises(StorageError, match="size cannot be told"):
        fs.du(bucket)


def test_info_says_what_one_request_tells(fs: S3CryptFileSystem, bucket: str) -> None:
    """Besides the size: type, tag, time, content type, mode and the user's metadata."""
    before = datetime.now(UTC) - timedelta(seconds=2)
    fs.pipe_file(f"{bucket}/x", b"1,2", content_type="text/csv", metadata={"team": "ops"})
    info = fs.info(f"{bucket}/x")
    assert (info["name"], info["type"], info["mode"]) == (f"{bucket}/x", "file", "client")
    assert (info["ContentType"], info["metadata"]) == ("text/csv", {"team": "ops"})
    assert info["ETag"]
    assert info["stored_size"] > info["size"]
    assert fs.modified(f"{bucket}/x") == fs.created(f"{bucket}/x") == info["LastModified"] >= before


def test_info_of_an_old_version(fs: S3CryptFileSystem, versioned_bucket: str) -> None:
    """Is had by its id, and so is its plaintext."""
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
    """It is listed with its size and mode; reading it is refused."""
    bucket = tree.split("/", maxsplit=1)[0]
    s3.put_object(Bucket=bucket, Key="data/plain", Body=b"12345", ServerSideEncryption="AES256")
    entries = {entry["name"]: entry for entry in fs.ls(tree)}
    assert (entries[f"{tree}/plain"]["size"], entries[f"{tree}/plain"]["mode"]) == (5, "sse-s3")
    assert entries[f"{tree}/a"]["size"] == 100
    with pytest.raises((PolicyError, FormatError)):
        fs.cat_file(f"{tree}/plain")


def test_listing_raises_the_error_of_an_object(s3: Any, fs: S3CryptFileSystem, tree: str) -> None:
    """What cannot be told of one object neither vanishes from a listing nor is guessed."""
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
    """Between a listing and the question for its size an object may be deleted."""
    bucket, name = tree.split("/", 1)
    listed = fs.ls(tree, measured=False)
    fs.rm_file(f"{bucket}/{name}/a")
    assert f"{tree}/a" not in [entry["name"] for entry in fs._listing.measured(listed)]


# --- What calls cost -----------------------------------------------------------------------------


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
    """Names come from listings; a request an object is made for sizes only."""
    requests_log.clear()
    assert eval(call, {"fs": fs, "tree": tree}) is not NotImplemented
    assert set(asked(requests_log)) <= {"LIST", "DELETE"}


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
    """Of the objects asked about, and of no others."""
    fs.invalidate_cache()
    requests_log.clear()
    eval(call, {"fs": fs, "tree": tree})
    kinds = asked(requests_log)
    assert kinds.count("HEAD") == heads
    assert set(kinds) <= {"HEAD", "LIST"}


def test_flat_listing_is_two_requests(
    fs: S3CryptFileSystem, tree: str, requests_log: RequestsLog
) -> None:
    """However deep the directories are: one for them, one for an object of the same name."""
    requests_log.clear()
    found = fs.find(tree, withdirs=True)
    assert asked(requests_log) == ["LIST", "LIST"]
    assert found == [tree, *(f"{tree}/{name}" for name in sorted(
        ("a", "b", "b/deep", "b/deep/three", "b/one", "b/two", "c", "c-1")
    ))]  # fmt: skip


def test_sizes_are_kept_by_tag(fs: S3CryptFileSystem, tree: str, requests_log: RequestsLog) -> None:
    """Listing again asks about what has changed only."""
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
    """What S3 encrypts is as long as it says: no request an object."""
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
    """What others write is seen at once."""
    fs.ls(tree)
    connect(MODE).put(b"new", f"s3://{tree}/z")
    assert f"{tree}/z" in fs.ls(tree, detail=False)


@pytest.mark.parametrize("wish", [{"use_listings_cache": True}, {"listings_expiry_time": 600}])
def test_listings_are_kept_on_demand(
    tree: str, wish: dict[str, Any], requests_log: RequestsLog
) -> None:
    """Until one's own writing, `refresh` or `invalidate_cache`."""
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
    """What callers do to entries does not change what is listed; nor are buckets forgotten."""
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
    """Whether an object is there, its own request tells."""

    def denied(*_: object) -> None:
        raise StorageError("denied", code="AccessDenied")

    monkeypatch.setattr(fs._listing, "_first", denied)
    assert fs.isfile(f"{tree}/a")
    assert not fs.exists(f"{tree}/none")
    with pytest.raises(StorageError, match="denied"):
        fs.exists(tree.split("/", maxsplit=1)[0])


# --- Names and directories -----------------------------------------------------------------------


def test_levels(fs: S3CryptFileSystem, tree: str) -> None:
    """Each directory lists what is in it, directories marked; names sort as text."""
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
    """A name that only begins another is neither an object nor a directory."""
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
    """As Python names it, in every call."""
    with pytest.raises(FileNotFoundError):
        getattr(fs, call)(path.format(bucket))


def test_glob_sees_the_pattern_below_buckets(fs: S3CryptFileSystem, tree: str) -> None:
    """Patterns may be in any part of a path, the bucket's name too."""
    bucket = tree.split("/", maxsplit=1)[0]
    assert fs.glob(f"{bucket[:-1]}?/data/b/*") == [
        f"{tree}/b/deep", f"{tree}/b/one", f"{tree}/b/two"
    ]  # fmt: skip
    assert fs.glob(f"{tree}/**/t*") == [f"{tree}/b/deep/three", f"{tree}/b/two"]
    assert fs.glob(f"{tree}/[ac]") == [f"{tree}/a", f"{tree}/c"]
    assert fs.glob(f"{tree}/*/") == [f"{tree}/b"]


def test_glob_asks_for_what_the_pattern_begins_with(
    fs: S3CryptFileSystem, tree: str, requests_log: RequestsLog
) -> None:
    """S3 lists what can match only."""
    requests_log.clear()
    assert fs.glob(f"{tree}/c-*") == [f"{tree}/c-1"]
    assert [parse_qs(entry["query"])["prefix"] for entry in requests_log.list()] == [["data/c-"]]


def test_directory_markers(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """The empty objects that some tools make for directories are directories, and removed."""
    s3.put_object(Bucket=bucket, Key="d/", Body=b"")
    s3.put_object(Bucket=bucket, Key="d/e/", Body=b"")
    assert fs.ls(f"{bucket}/d") == [fs.info(f"{bucket}/d/e")]
    assert fs.find(bucket) == []
    assert fs.find(bucket, withdirs=True) == [bucket, f"{bucket}/d", f"{bucket}/d/e"]
    fs.rm(f"{bucket}/d", recursive=True)
    assert names(s3, bucket) == []


@pytest.mark.parametrize("name", ["a b", "ä/ö", "a+b%20c", "q?x=1&y", "#", "a:b", "tab\there"])
def test_names_of_any_kind(fs: S3CryptFileSystem, bucket: str, name: str) -> None:
    """Are written, listed, measured and read alike."""
    path = f"{bucket}/odd/{name}"
    fs.pipe_file(path, b"abc")
    assert {found: entry["size"] for found, entry in fs.find(bucket, detail=True).items()} == {
        path: 3
    }
    assert fs.cat_file(path) == b"abc"


def test_more_than_a_page(fs: S3CryptFileSystem, tree: str, requests_log: RequestsLog) -> None:
    """S3 lists a thousand names a request; here two, to be quick."""

    def shorten(params: dict[str, Any], **_: object) -> None:
        params.setdefault("MaxKeys", 2)

    narrow = S3CryptFileSystem(MODE, skip_instance_cache=True)
    narrow._connection.client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", shorten
    )
    requests_log.clear()
    assert narrow.find(tree) == fs.find(tree)
    # Three pages and one, and twice whether an object has the directory's name.
    assert asked(requests_log) == ["LIST"] * 6
    assert narrow.ls(tree) == fs.ls(tree)
    narrow.rm(tree, recursive=True)
    assert not fs.exists(tree)


def test_bucket_is_made_by_its_name_only(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """A misspelt one does not come into being by writing or by a directory's name."""
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


# --- Reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [None, 0, 1, FRAME, 9000, 10_000, 10_001, -1, -FRAME, -20_000])
@pytest.mark.parametrize("end", [None, 0, 1, FRAME, 9000, 20_000, -1, -FRAME, -20_000])
def test_slices(start: int | None, end: int | None, sliced: tuple[Any, str]) -> None:
    """Any start and end mean what they do in Python."""
    fs, path = sliced
    assert fs.cat_file(path, start, end) == payload(10_000)[start:end]


@pytest.fixture(scope="module")
def sliced(session: Any) -> Iterator[tuple[S3CryptFileSystem, str]]:
    """Store one object for all slices."""
    fs = S3CryptFileSystem(MODE)
    session.client("s3").create_bucket(Bucket="slices-of-an-object")
    fs.pipe_file("slices-of-an-object/x", payload(10_000))
    yield fs, "slices-of-an-object/x"
    fs.rm("slices-of-an-object", recursive=True)
    fs.rmdir("slices-of-an-object")


def test_file_is_read_as_any_other(fs: S3CryptFileSystem, bucket: str) -> None:
    """Seekable, sized, by lines, as text, and by whatever hint of caching a caller gives."""
    text = "\n".join(f"line {number}" for number in range(2000))
    fs.write_text(f"{bucket}/x", text)
    with fs.open(f"{bucket}/x", cache_type="readahead", block_size=2**20) as file:
        assert isinstance(file, ObjectReader)
        assert (file.size, file.mode) == (len(text), "rb")
        assert file.readline() == b"line 0\n"
        file.seek(-9, io.SEEK_END)
        assert file.read() == b"line 1999"
    for hint in ({"default_cache": "none"}, {"cache_type": "all", "fill_cache": False}):
        with fs.open(f"{bucket}/x", **hint) as file:
            assert file.read(4) == b"line"
        assert fs.cat_file(f"{bucket}/x", **hint)[:4] == b"line"
        assert fs.cat_file(f"{bucket}/x", 0, 4, **hint) == b"line"
    with fs.open(f"{bucket}/x", "r", encoding="ascii") as lines:
        assert [line.strip() for line in lines] == text.split("\n")
    assert fs.read_text(f"{bucket}/x") == text
    assert fs.head(f"{bucket}/x", 4) == b"line"
    assert fs.tail(f"{bucket}/x", 4) == b"1999"
    assert fs.read_block(f"{bucket}/x", 3, 10, b"\n") == b"line 1\nline 2\n"[:7]


def test_ranges_of_several_objects(
    fs: S3CryptFileSystem, bucket: str, requests_log: RequestsLog
) -> None:
    """Come in the order asked for, from files that are opened once each."""
    fs.pipe({f"{bucket}/{name}": payload(size) for name, size in (("x", 90_000), ("y", 500))})
    paths = [f"{bucket}/x", f"{bucket}/y", f"{bucket}/x", f"s3crypt://{bucket}/x"]
    requests_log.clear()
    found = fs.cat_ranges(paths, [0, 10, 70_000, -5], [10, -10, 80_000, None])
    assert found == [
        payload(90_000)[:10], payload(500)[10:-10], payload(90_000)[70_000:80_000],
        payload(90_000)[-5:],
    ]  # fmt: skip
    firsts = [
        e for e in requests_log.list() if e["headers"].get("range", "").startswith("bytes=0-")
    ]
    assert len(firsts) == 2
    assert fs.cat_ranges([f"{bucket}/y"] * 2, 0, 3) == [payload(500)[:3]] * 2


def test_ranges_that_fail_leave_the_others(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """A changed frame fails what touches it; what is missing fails alone; or all is raised."""
    fs.pipe_file(f"{bucket}/x", payload(40 * FRAME))
    body = bytearray(stored(s3, bucket, "x"))
    body[len(body) // 2] ^= 1
    rewrite(s3, bucket, "x", bytes(body))
    paths = [f"{bucket}/x", f"{bucket}/x", f"{bucket}/none"]
    first, broken, missing = fs.cat_ranges(paths, [0, 0, 0], [10, None, 10])
    assert first == payload(40 * FRAME)[:10]
    assert isinstance(broken, IntegrityError)
    assert isinstance(missing, FileNotFoundError)
    with pytest.raises((IntegrityError, FileNotFoundError)):
        fs.cat_ranges(paths, 0, None, on_error="raise")
    with pytest.raises(ValueError, match="equally many"):
        fs.cat_ranges(paths, [0], [1])


def test_cat_of_several(fs: S3CryptFileSystem, tree: str) -> None:
    """By list, by pattern, by directory; what fails is raised, returned or left out."""
    assert fs.cat(f"{tree}/a") == fs.cat(PurePosixPath(f"{tree}/a")) == payload(100)
    assert fs.cat(f"{tree}/b/t*") == {f"{tree}/b/two": payload(102)}
    assert len(fs.cat(tree, recursive=True)) == 6
    both = [f"{tree}/a", f"{tree}/none"]
    with pytest.raises(FileNotFoundError):
        fs.cat(both)
    assert list(fs.cat(both, on_error="omit")) == [f"{tree}/a"]
    assert isinstance(fs.cat(both, on_error="return")[f"{tree}/none"], FileNotFoundError)


def test_signed_objects(bucket: str) -> None:
    """Are read whole with their signature checked; parts only where that is given up by name."""
    fs = S3CryptFileSystem(ClientSide(aes(), signed=True))
    fs.pipe_file(f"{bucket}/x", payload(1000))
    assert fs.cat_file(f"{bucket}/x") == payload(1000)
    with pytest.raises(PolicyError):
        fs.cat_file(f"{bucket}/x", 0, 10)
    with pytest.raises(PolicyError):
        fs.open(f"{bucket}/x")
    lenient = S3CryptFileSystem(MODE, allow_unverified_signature=True)
    assert lenient.cat_file(f"{bucket}/x", 5, 10) == payload(1000)[5:10]
    fs.cp_file(f"{bucket}/x", f"{bucket}/y")
    assert fs.cat_file(f"{bucket}/y") == payload(1000)


def test_wrong_mode_is_refused(bucket: str, kms_key: str) -> None:
    """What is read is what was demanded, not whatever is there."""
    S3CryptFileSystem(MODE).pipe_file(f"{bucket}/x", b"secret")
    with pytest.raises(PolicyError):
        S3CryptFileSystem(encryption="any").cat_file(f"{bucket}/x")
    with pytest.raises(PolicyError):
        S3CryptFileSystem(SSEKMS(kms_key)).open(f"{bucket}/x")
    S3CryptFileSystem(SSES3()).pipe_file(f"{bucket}/y", b"plain")
    with pytest.raises(PolicyError):
        S3CryptFileSystem(SSEKMS(kms_key)).cat_file(f"{bucket}/y")


def test_object_replaced_while_open(fs: S3CryptFileSystem, bucket: str) -> None:
    """Is a clear error, never a mix of two versions."""
    fs.pipe_file(f"{bucket}/x", payload(200_000))
    with fs.open(f"{bucket}/x", cache_length=0) as file:
        file.read(10)
        fs.pipe_file(f"{bucket}/x", payload(200_001))
        with pytest.raises(ConflictError):
            file.read()


# --- Writing -------------------------------------------------------------------------------------


def test_what_is_stored_is_encrypted(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """By every way of writing."""
    with fs.open(f"{bucket}/open", "wb") as file:
        file.write(b"plaintext" * 100)
    fs.pipe_file(f"{bucket}/pipe", b"plaintext" * 100)
    fs.cp_file(f"{bucket}/pipe", f"{bucket}/copy")
    with fs.transaction:
        fs.pipe_file(f"{bucket}/transaction", b"plaintext" * 100)
    for name in ("open", "pipe", "copy", "transaction"):
        assert b"plaintext" not in stored(s3, bucket, name)
        assert fs.cat_file(f"{bucket}/{name}") == b"plaintext" * 100


def test_nothing_is_visible_before_close(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """And what an exception cuts short never is, as bytes, as text or compressed."""
    with fs.open(f"{bucket}/x", "wb") as file:
        file.write(b"abc")
        assert not fs.exists(f"{bucket}/x")
    assert fs.exists(f"{bucket}/x")

    def cut_short(mode: str, compression: str | None) -> None:
        with fs.open(f"{bucket}/y", mode, compression=compression) as file:
            file.write(b"half" if "b" in mode else "half")
            raise KeyError("mine")

    for mode, compression in (("wb", None), ("w", None), ("wb", "gzip"), ("w", "gzip")):
        with pytest.raises(KeyError, match="mine"):
            cut_short(mode, compression)
    assert names(s3, bucket) == ["x"]
    assert uploads(s3, bucket) == []


def test_exception_in_fsspecs_own_block(s3: Any, bucket: str, key_file: Path) -> None:
    """fsspec.open closes what it opened, whatever happened; half a file is not stored."""

    def cut_short() -> None:
        with fsspec.open(f"s3crypt://{bucket}/y.gz", "wt", compression="gzip", **given) as file:
            file.write("half")
            raise KeyError("mine")

    given = options(key_file)
    with pytest.raises(KeyError, match="mine"):
        cut_short()
    assert names(s3, bucket) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("mode", ["wb", "w"])
@pytest.mark.parametrize("by", ["open", "fsspec.open", "OpenFile", "TextIOWrapper"])
def test_file_that_is_never_closed(
    s3: Any, fs: S3CryptFileSystem, bucket: str, mode: str, compression: str | None, by: str
) -> None:
    """Is not stored: nobody has said that it is whole. Wrappers of others' included."""
    path = f"{bucket}/x"
    file: Any
    if by == "open":
        file = fs.open(path, mode, compression=compression)
    elif by == "fsspec.open":
        given = {"compression": compression, "encryption": MODE}
        file = fsspec.open(f"s3crypt://{path}", mode, **given).open()
    elif by == "OpenFile":
        file = fsspec.core.OpenFile(fs, path, mode, compression=compression).open()
    else:
        file = io.TextIOWrapper(fs.open(path, "wb", compression=compression))
        mode = "w"
    file.write(b"half" if "b" in mode else "half")
    del file
    gc.collect()
    assert (names(s3, bucket), uploads(s3, bucket)) == ([], [])


def test_compressed_file_is_stored_when_closed(fs: S3CryptFileSystem, bucket: str) -> None:
    """Closing the compressor closes the object, which fsspec leaves to the caller."""
    with fs.open(f"{bucket}/x.gz", "wt", compression="infer") as file:
        file.write("text")
    assert fs.cat_file(f"{bucket}/x.gz")[:2] == b"\x1f\x8b"
    with fs.open(f"{bucket}/x.gz", "rt", compression="infer") as file:
        assert file.read() == "text"


@pytest.mark.parametrize("mode", ["ab", "a", "r+b", "w+b"])
def test_objects_cannot_be_appended_to(fs: S3CryptFileSystem, bucket: str, mode: str) -> None:
    """The error says so."""
    with pytest.raises(NotImplementedError, match="cannot be appended to"):
        fs.open(f"{bucket}/x", mode)


def test_exclusive_creation(fs: S3CryptFileSystem, bucket: str) -> None:
    """What exists is kept: if it does when the file is opened, and if it does by its end."""
    late = fs.open(f"{bucket}/x", "xb")
    late.write(b"mine")
    fs.pipe_file(f"{bucket}/x", b"theirs")
    with pytest.raises(FileExistsError):
        late.close()
    with pytest.raises(FileExistsError):
        fs.open(f"{bucket}/x", "xb")
    with pytest.raises(FileExistsError):
        fs.pipe_file(f"{bucket}/x", b"mine", mode="create")
    with pytest.raises(NotImplementedError):
        fs.touch(f"{bucket}/x", truncate=False)
    assert fs.cat_file(f"{bucket}/x") == b"theirs"
    with fs.open(f"{bucket}/y", "xb") as file:
        file.write(b"mine")
    fs.touch(f"{bucket}/z", truncate=False)
    assert (fs.cat_file(f"{bucket}/y"), fs.size(f"{bucket}/z")) == (b"mine", 0)


def test_object_with_the_name_of_a_directory(fs: S3CryptFileSystem, tree: str) -> None:
    """Is found, read, moved and removed, and so is what is in the directory."""
    fs.pipe_file(f"{tree}/b", b"file")
    for maxdepth in (None, 2):
        assert {f"{tree}/b", f"{tree}/b/one"} <= set(fs.find(tree, maxdepth=maxdepth))
        assert {f"{tree}/b", f"{tree}/b/one"} <= set(fs.find(f"{tree}/b", maxdepth=maxdepth))
    assert (fs.isfile(f"{tree}/b"), fs.size(f"{tree}/b")) == (True, 4)
    assert fs.cat(f"{tree}/b", recursive=True)[f"{tree}/b"] == b"file"
    assert fs.du(f"{tree}/b") == 4 + 101 + 102 + 103
    fs.mv(f"{tree}/b", f"{tree}/e", recursive=True)
    assert fs.find(f"{tree}/b") == []
    assert len(fs.find(f"{tree}/e")) == 4
    fs.rm(f"{tree}/e")
    assert f"{tree}/e/one" in fs.find(tree)
    fs.pipe_file(f"{tree}/e", b"file")
    fs.rm(f"{tree}/e", recursive=True)
    assert not fs.exists(f"{tree}/e")


def test_transaction_is_stored_at_its_end(
    s3: Any, fs: S3CryptFileSystem, bucket: str, tmp_path: Path
) -> None:
    """All that was written in it, by every way of writing."""
    (tmp_path / "local").write_bytes(b"three")
    with fs.transaction:
        with fs.open(f"{bucket}/one", "wb") as file:
            file.write(b"one")
        fs.pipe_file(f"{bucket}/two", b"two")
        fs.put_file(tmp_path / "local", f"{bucket}/three")
        assert names(s3, bucket) == []
    assert fs.cat(f"{bucket}/*") == {f"{bucket}/{name}": name.encode() for name in
                                     ("one", "three", "two")}  # fmt: skip


def test_transaction_that_fails_stores_nothing(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """What was written before the failure included; the next one is not affected."""

    def fail() -> None:
        with fs.transaction:
            fs.pipe_file(f"{bucket}/one", b"one")
            raise KeyError("mine")

    with pytest.raises(KeyError):
        fail()
    assert (names(s3, bucket), uploads(s3, bucket)) == ([], [])
    fs.pipe_file(f"{bucket}/two", b"two")
    assert names(s3, bucket) == ["two"]


def test_transaction_does_not_store_half_a_file(
    s3: Any, fs: S3CryptFileSystem, bucket: str
) -> None:
    """Not even where the exception that cut it short was caught."""

    def cut_short() -> None:
        with fs.open(f"{bucket}/half", "wb") as file:
            file.write(b"ha")
            raise KeyError

    with fs.transaction:
        fs.pipe_file(f"{bucket}/whole", b"whole")
        with pytest.raises(KeyError):
            cut_short()
    assert names(s3, bucket) == ["whole"]


def left_open(fs: S3CryptFileSystem, path: str, how: str, **options: Any) -> Any:
    """Open a file, write half of it, and return it."""
    file = fs.open(path, how, **options)
    file.write(b"half" if "b" in how else "half")
    return file


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("mode", "compression"), [("wb", None), ("w", None), ("wb", "gzip")])
@pytest.mark.parametrize("keep", [True, False])
def test_transaction_refuses_files_that_are_open(
    s3: Any, fs: S3CryptFileSystem, bucket: str, mode: str, compression: str | None, *, keep: bool
) -> None:
    """Nobody has said that they are whole; then none of it is stored."""

    def forget_one() -> None:
        with fs.transaction:
            fs.pipe_file(f"{bucket}/whole", b"whole")
            file = left_open(fs, f"{bucket}/half", mode, compression=compression)
            if not keep:
                del file

    with pytest.raises(ConfigError, match=f"{bucket}/half was not closed"):
        forget_one()
    assert (names(s3, bucket), uploads(s3, bucket)) == ([], [])
    fs.pipe_file(f"{bucket}/after", b"")
    assert names(s3, bucket) == ["after"]


def test_transactions_are_not_nested(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """The inner one would store the outer one's files, or lose them."""

    def nest() -> None:
        with fs.transaction:
            fs.pipe_file(f"{bucket}/outer", b"1")
            with fs.transaction:
                fs.pipe_file(f"{bucket}/inner", b"2")

    with pytest.raises(ConfigError, match="not nested"):
        nest()
    assert names(s3, bucket) == []
    fs.start_transaction()
    with pytest.raises(ConfigError, match="not nested"):
        fs.start_transaction()
    fs.pipe_file(f"{bucket}/x", b"")
    assert names(s3, bucket) == []
    fs.end_transaction()
    assert names(s3, bucket) == ["x"]


def test_closing_stores_nothing_in_a_transaction(
    s3: Any, fs: S3CryptFileSystem, bucket: str
) -> None:
    """Not even a file that was opened while an error was handled, or is stored during one."""

    def roll_back() -> None:
        with fs.transaction:
            try:
                int("x")
            except ValueError:
                file = fs.open(f"{bucket}/x", "wb")
            file.write(b"1")
            file.close()
            assert names(s3, bucket) == []
            raise KeyError

    with pytest.raises(KeyError):
        roll_back()
    assert names(s3, bucket) == []
    fs.start_transaction()
    fs.pipe_file(f"{bucket}/y", b"1")
    try:
        int("x")
    except ValueError:
        fs.end_transaction()
    assert names(s3, bucket) == ["y"]


@pytest.mark.parametrize("is_held", [True, False])
def test_bytes_only_are_stored(
    s3: Any, fs: S3CryptFileSystem, bucket: str, tmp_path: Path, *, is_held: bool
) -> None:
    """A text or a path is an error: never the content of a local file of that name."""
    (tmp_path / "secret").write_bytes(b"local")
    local = tmp_path / "secret"
    objects = np.array([object()])
    wrong: Any
    for wrong in (str(local), local, None, 7, io.BytesIO(b"x"), local.open("rb"), objects):
        if is_held:
            fs.start_transaction()
        with pytest.raises(TypeError):
            fs.pipe(f"{bucket}/x", wrong)
        if wrong is not objects:
            # Of an array fsspec's mapper makes bytes itself.
            with pytest.raises(TypeError):
                fs.get_mapper(bucket)["x"] = wrong
        if is_held:
            fs.end_transaction()
        if isinstance(wrong, io.BufferedReader):
            wrong.close()
    assert names(s3, bucket) == []


def test_buffers_are_stored_as_their_bytes(fs: S3CryptFileSystem, bucket: str) -> None:
    """Arrays too, in the order of their elements."""
    array = np.arange(6, dtype="<i4").reshape(2, 3)
    for value, expected in (
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (array, array.tobytes()),
        (array.T, array.T.tobytes()),
        (np.empty((0, 3)), b""),
        (pa.py_buffer(b"arrow"), b"arrow"),
    ):
        fs.pipe_file(f"{bucket}/x", value)
        assert fs.cat_file(f"{bucket}/x") == expected


def test_copy_keeps_what_the_user_said(fs: S3CryptFileSystem, s3: Any, bucket: str) -> None:
    """Content type and metadata; the copy is bound to its own name and has its own data key."""
    fs.pipe_file(f"{bucket}/x", payload(50_000), content_type="text/csv", metadata={"team": "ops"})
    fs.copy(f"{bucket}/x", f"{bucket}/y")
    info = fs.info(f"{bucket}/y")
    assert (info["ContentType"], info["metadata"]) == ("text/csv", {"team": "ops"})
    assert fs.cat_file(f"{bucket}/y") == payload(50_000)
    assert stored(s3, bucket, "x") != stored(s3, bucket, "y")


def test_move(fs: S3CryptFileSystem, tree: str) -> None:
    """An object, and a directory with all below; onto itself nothing is lost."""
    fs.mv(f"{tree}/a", f"s3crypt://{tree}/a")
    fs.mv(f"{tree}/a", f"{tree}/z")
    assert fs.cat_file(f"{tree}/z") == payload(100)
    assert not fs.exists(f"{tree}/a")
    with pytest.raises(IsADirectoryError):
        fs.mv(f"{tree}/b", f"{tree}/e")
    fs.mv(f"{tree}/b", f"{tree}/e", recursive=True)
    assert fs.find(f"{tree}/e") == [f"{tree}/e/{name}" for name in ("deep/three", "one", "two")]
    assert fs.find(f"{tree}/b") == []


@pytest.mark.parametrize("target", ["{}/", "s3crypt://{}", "{}"])
def test_move_onto_itself(fs: S3CryptFileSystem, tree: str, target: str) -> None:
    """Loses nothing, however it is written."""
    before = fs.find(tree)
    fs.mv(f"{tree}/*", target.format(tree))
    fs.mv([f"{tree}/a", f"{tree}/c"], [f"{tree}/a", f"{tree}/z"])
    assert fs.find(tree) == sorted({*before, f"{tree}/z"} - {f"{tree}/c"})


@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        (["a", "b"], ["b", "a"]),
        (["x/f", "y/f"], "dest/"),
        (["a", "b"], ["c", "c"]),
        (["a", "b"], ["b", "c"]),
        (["a", "b"], ["c"]),
        ("x/*", ["c", "d"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["mv", "copy"])
def test_targets_that_collide_are_refused(
    fs: S3CryptFileSystem, bucket: str, how: str, sources: Any, targets: Any
) -> None:
    """Before anything is copied: no object becomes another's victim."""

    def inside(names: Any) -> Any:
        if isinstance(names, str):
            return f"{bucket}/{names}"
        return [f"{bucket}/{name}" for name in names]

    before = {f"{bucket}/{name}": name.encode() for name in ("a", "b", "x/f", "y/f")}
    fs.pipe(before)
    with pytest.raises(ValueError, match=r"become|itself|equally many"):
        getattr(fs, how)(inside(sources), inside(targets))
    assert fs.cat(bucket, recursive=True) == before


def test_move_keeps_what_others_write_meanwhile(
    fs: S3CryptFileSystem, versioned_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What replaced an object after it was copied is not what was moved."""
    path, copy_one = f"{versioned_bucket}/x", fs._copy_one

    def replace_then(*arguments: Any) -> Any:
        tag = copy_one(*arguments)
        fs.pipe_file(path, b"new")
        return tag

    fs.pipe_file(path, b"old")
    with monkeypatch.context() as patched:
        patched.setattr(fs, "_copy_one", replace_then)
        with pytest.raises(ConflictError):
            fs.mv(path, f"{path}2")
    assert (fs.cat_file(path), fs.cat_file(f"{path}2")) == (b"new", b"old")
    fs.mv(path, f"{path}3")
    assert fs.find(versioned_bucket) == [f"{path}2", f"{path}3"]


def test_move_keeps_the_storage_class(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """And what else was said of the object."""
    fs.pipe_file(f"{bucket}/x", b"1", storage_class="STANDARD_IA", content_type="text/csv")
    fs.mv(f"{bucket}/x", f"{bucket}/y")
    head = s3.head_object(Bucket=bucket, Key="y")
    assert (head["StorageClass"], head["ContentType"]) == ("STANDARD_IA", "text/csv")


@pytest.mark.parametrize("how", ["cp", "mv"])
@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_copy_keeps_all_that_s3_tells(
    s3: Any, fs: S3CryptFileSystem, bucket: str, how: str, size: int
) -> None:
    """Of an object that another wrote, too: its tags, and headers that have no option here."""
    said = {
        "CacheControl": "max-age=60",
        "ContentDisposition": "attachment",
        "ContentLanguage": "gsw",
        "ContentType": "text/csv",
        "Metadata": {"team": "ops"},
    }
    foreign = message.encrypt(payload(size), aes(), context={"s3crypt:key": "x"})
    s3.put_object(Bucket=bucket, Key="x", Body=foreign, Tagging="a=1&b=%C3%A4", **said)
    getattr(fs, how)(f"{bucket}/x", f"{bucket}/y")
    head = s3.head_object(Bucket=bucket, Key="y")
    head["Metadata"] = {"team": head["Metadata"]["team"]}
    assert {name: head[name] for name in said} == said
    tags = s3.get_object_tagging(Bucket=bucket, Key="y")["TagSet"]
    assert sorted((tag["Key"], tag["Value"]) for tag in tags) == [("a", "1"), ("b", "ä")]
    assert fs.cat_file(f"{bucket}/y") == payload(size)


def test_copy_says_what_it_is_told(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """Instead of what the object has."""
    fs.pipe_file(f"{bucket}/x", b"1", tags={"a": "1"}, metadata={"b": "2"}, content_type="text/csv")
    fs.cp_file(f"{bucket}/x", f"{bucket}/y", tags={}, metadata={"c": "3"}, content_type="a/b")
    info = fs.info(f"{bucket}/y")
    assert (info["metadata"], info["ContentType"]) == ({"c": "3"}, "a/b")
    assert s3.get_object_tagging(Bucket=bucket, Key="y")["TagSet"] == []


@pytest.mark.parametrize("how", ["cp", "mv"])
def test_copy_into_a_missing_bucket(fs: S3CryptFileSystem, tree: str, how: str) -> None:
    """Is not taken for an object that has just gone, and nothing is removed."""
    before = fs.find(tree)
    with pytest.raises(FileNotFoundError):
        getattr(fs, how)(tree, "no-such-bucket/x", recursive=True)
    assert fs.find(tree) == before


def test_whole_bucket(fs: S3CryptFileSystem, tree: str, tmp_path: Path) -> None:
    """Is copied, fetched and stored as any directory."""
    bucket = tree.split("/", maxsplit=1)[0]
    other = f"{bucket}-2"
    fs.mkdir(other)
    fs.get(bucket, str(tmp_path / "local"), recursive=True)
    assert (tmp_path / "local/data/b/deep/three").read_bytes() == payload(103)
    fs.cp(bucket, f"{other}/copy", recursive=True)
    fs.put(f"{tmp_path}/local/", f"{other}/put", recursive=True)
    for directory in ("copy/data", "put/data"):
        assert len(fs.find(f"{other}/{directory}")) == 6
        assert fs.cat_file(f"{other}/{directory}/c") == payload(105)


def test_remove(fs: S3CryptFileSystem, tree: str) -> None:
    """Objects by name, list and pattern; directories only where that is said."""
    with pytest.raises(IsADirectoryError):
        fs.rm(f"{tree}/b")
    with pytest.raises(FileNotFoundError):
        fs.rm([f"{tree}/a", f"{tree}/none"])
    assert fs.exists(f"{tree}/a")
    fs.rm(f"{tree}/c*")
    assert fs.find(tree) == [f"{tree}/{name}" for name in ("a", "b/deep/three", "b/one", "b/two")]
    fs.rm(f"{tree}/b", recursive=True, maxdepth=1)
    assert fs.find(tree) == [f"{tree}/a", f"{tree}/b/deep/three"]
    fs.rm(f"{tree}/*", recursive=True)
    assert not fs.exists(tree)


@pytest.mark.parametrize(("name", "other"), [("a[1]", "a1"), ("a?", "ab"), ("k=*", "k=eu")])
@pytest.mark.parametrize(
    ("call", "left"),
    [
        ("fs.rm(path)", ["other"]),
        ("fs.rm([path])", ["other"]),
        ("fs.mv(path, root + '/moved')", ["moved", "other"]),
        ("fs.mv([path], [root + '/moved'])", ["moved", "other"]),
        ("fs.cp(path, root + '/moved')", ["itself", "moved", "other"]),
        ("fs.get_mapper(root).pop(name)", ["other"]),
        ("arrow.delete_file(path)", ["other"]),
        ("arrow.move(path, root + '/moved')", ["moved", "other"]),
    ],
)
def test_name_that_looks_like_a_pattern(
    fs: S3CryptFileSystem, bucket: str, name: str, other: str, call: str, left: list[str]
) -> None:
    """Where an object has that very name it is meant, not what the pattern matches."""
    root = f"{bucket}/d"
    fs.pipe({f"{root}/{name}": b"itself", f"{root}/{other}": b"other"})
    assert fs.cat(f"{root}/{name}") == b"itself"
    assert fs.cat([f"{root}/{name}"]) == {f"{root}/{name}": b"itself"}
    arrow = PyFileSystem(FSSpecHandler(fs))
    given = {"fs": fs, "arrow": arrow, "path": f"{root}/{name}", "root": root, "name": name}
    eval(call, given)
    names = {"itself": name, "other": other, "moved": "moved"}
    content = {"moved": b"itself", "itself": b"itself", "other": b"other"}
    assert fs.cat(root, recursive=True) == {f"{root}/{names[kind]}": content[kind] for kind in left}


@pytest.mark.parametrize("name", ["[a]", "a?", "k=*"])
def test_directory_whose_name_looks_like_a_pattern(
    fs: S3CryptFileSystem, bucket: str, tmp_path: Path, name: str
) -> None:
    """It is fetched, moved and removed, and those that the pattern matches are not."""
    root = f"{bucket}/d"
    kept = {f"{root}/{other}/x": b"kept" for other in ("a", "ab", "k=1")}
    fs.pipe({f"{root}/{name}/x": b"literal", f"{root}/{name}/deep/[y]": b"too", **kept})
    fs.get(f"{root}/{name}", str(tmp_path / "local"), recursive=True)
    assert (tmp_path / "local/x").read_bytes() == b"literal"
    assert (tmp_path / "local/deep/[y]").read_bytes() == b"too"
    fs.mv(f"{root}/{name}", f"{root}/moved", recursive=True)
    assert fs.cat(f"{root}/moved", recursive=True) == {
        f"{root}/moved/x": b"literal", f"{root}/moved/deep/[y]": b"too"
    }  # fmt: skip
    fs.mv(f"{root}/moved", f"{root}/{name}", recursive=True)
    PyFileSystem(FSSpecHandler(fs)).delete_dir(f"{root}/{name}")
    assert fs.cat(root, recursive=True) == kept


def test_file_of_a_name_that_looks_like_a_pattern_is_fetched(
    fs: S3CryptFileSystem, bucket: str, tmp_path: Path
) -> None:
    """To the file that is named, or into the directory."""
    fs.pipe({f"{bucket}/a[1]": b"literal", f"{bucket}/a1": b"other"})
    fs.get(f"{bucket}/a[1]", str(tmp_path / "one"))
    fs.get(f"{bucket}/a[1]", f"{tmp_path}/two/")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two/a[1]").read_bytes() == b"literal"


@pytest.mark.parametrize("pattern", ["*", "s3crypt://*", "{}*/x", "*/*"])
@pytest.mark.parametrize("how", ["rm", "cat", "expand_path"])
def test_patterns_name_the_bucket(
    fs: S3CryptFileSystem, bucket: str, pattern: str, how: str
) -> None:
    """What is done to objects is done in one bucket; listing may look at all of them."""
    fs.pipe_file(f"{bucket}/x", b"kept")
    with pytest.raises(ValueError, match="name the bucket"):
        getattr(fs, how)(pattern.format(bucket[:-1]), recursive=True)
    assert fs.cat(f"{bucket}/x") == b"kept"


def test_remove_keeps_the_bucket(s3: Any, fs: S3CryptFileSystem, tree: str) -> None:
    """Its settings are nobody's files; everything at once is refused."""
    bucket = tree.split("/", maxsplit=1)[0]
    fs.rm(bucket, recursive=True)
    assert (names(s3, bucket), fs.exists(bucket)) == ([], True)
    with pytest.raises(ValueError, match="Name what"):
        fs.rm("", recursive=True)


def test_put_and_get_report_progress(fs: S3CryptFileSystem, bucket: str, tmp_path: Path) -> None:
    """In plaintext bytes, of as many as were announced."""
    (tmp_path / "x").write_bytes(payload(300_000))
    put, got = Callback(), Callback()
    fs.put_file(tmp_path / "x", f"{bucket}/x", callback=put)
    fs.get_file(f"{bucket}/x", tmp_path / "y", callback=got)
    assert (put.size, put.value) == (got.size, got.value) == (300_000, 300_000)
    assert (tmp_path / "y").read_bytes() == payload(300_000)


def test_get_of_a_changed_object_leaves_no_file(
    s3: Any, fs: S3CryptFileSystem, bucket: str, tmp_path: Path
) -> None:
    """A file appears verified or not at all."""
    fs.pipe_file(f"{bucket}/x", payload(50_000))
    body = bytearray(stored(s3, bucket, "x"))
    body[-40] ^= 1
    rewrite(s3, bucket, "x", bytes(body))
    with pytest.raises(IntegrityError):
        fs.get(f"{bucket}/x", str(tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


def test_names_do_not_lead_out_of_the_target(
    fs: S3CryptFileSystem, bucket: str, tmp_path: Path
) -> None:
    """Whoever may write objects may not thereby write anywhere on a reader's machine."""
    fs.pipe({f"{bucket}/d/x": b"", f"{bucket}/d/../../../evil": b""})
    with pytest.raises(ValueError, match="outside"):
        fs.get(f"{bucket}/d", f"{tmp_path}/a/b", recursive=True)
    assert not list(tmp_path.rglob("evil"))


def test_content_has_a_fingerprint(fs: S3CryptFileSystem, bucket: str) -> None:
    """Another once the object is written again, though its plaintext be the same."""
    fs.pipe_file(f"{bucket}/x", b"abc")
    before = fs.ukey(f"{bucket}/x"), fs.checksum(f"{bucket}/x")
    assert before == (fs.ukey(f"{bucket}/x"), fs.checksum(f"{bucket}/x"))
    fs.pipe_file(f"{bucket}/x", b"abc")
    assert fs.ukey(f"{bucket}/x") != before[0]
    assert fs.checksum(f"{bucket}/x") != before[1]
