# SPDX-License-Identifier: Apache-2.0
"""Copies, moves and removals of s3crypt:// paths through fsspec, by name and by pattern."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filesystem_samples import MODE, make_tree
from pyarrow.fs import FSSpecHandler, PyFileSystem
from relay import aliasing
from samples import LARGE, aes, names, payload, stored

from s3crypt import SSES3, ConflictError, FormatError, message
from s3crypt.filesystem import S3CryptFileSystem

if TYPE_CHECKING:
    from s3crypt import Mode
    from s3crypt.sandbox import Running

# The official SDK's helpers are beside the tests of messages.
sys.path.append(str(Path(__file__).parent / "message"))


@pytest.fixture
def fs() -> S3CryptFileSystem:
    """Return a file system that encrypts client-side."""
    return S3CryptFileSystem(MODE)


@pytest.fixture
def tree(fs: S3CryptFileSystem, bucket: str) -> str:
    """Make a small data set; return its directory."""
    return make_tree(fs, bucket)


# --- Copies and moves --------------------------------------------------------------------------


def test_copy_keeps_what_the_user_said(fs: S3CryptFileSystem, s3: Any, bucket: str) -> None:
    """A copy keeps content type and metadata, and has its own bound name and data key."""
    fs.pipe_file(f"{bucket}/x", payload(50_000), content_type="text/csv", metadata={"team": "ops"})
    fs.copy(f"{bucket}/x", f"{bucket}/y")
    info = fs.info(f"{bucket}/y")
    assert (info["ContentType"], info["metadata"]) == ("text/csv", {"team": "ops"})
    assert fs.cat_file(f"{bucket}/y") == payload(50_000)
    assert stored(s3, bucket, "x") != stored(s3, bucket, "y")


def test_move(fs: S3CryptFileSystem, tree: str) -> None:
    """An object and a whole directory can be moved."""
    fs.mv(f"{tree}/a", f"s3crypt://{tree}/a")
    fs.mv(f"{tree}/a", f"{tree}/z")
    assert fs.cat_file(f"{tree}/z") == payload(100)
    assert not fs.exists(f"{tree}/a")
    with pytest.raises(IsADirectoryError):
        fs.mv(f"{tree}/b", f"{tree}/e")
    fs.mv(f"{tree}/b", f"{tree}/e", recursive=True)
    assert fs.find(f"{tree}/e") == [f"{tree}/e/{name}" for name in ("deep/three", "one", "two")]
    assert fs.find(f"{tree}/b") == []


@pytest.mark.parametrize("mode", [MODE, SSES3()])
def test_move_to_itself_by_an_access_point(
    mode: Mode, bucket: str, s3: Any, sandbox: Running
) -> None:
    """A move to the same object through an access point keeps the object.

    S3 does not say which bucket an alias stands for.
    """
    alias = "reports-metadata-s3alias"
    with aliasing(sandbox.endpoint_url, alias, bucket) as relay:
        fs = S3CryptFileSystem(mode, endpoint_url=relay.url, skip_instance_cache=True)
        fs.pipe_file(f"{bucket}/x", b"1")
        with pytest.raises(ConflictError):
            fs.mv(f"{bucket}/x", f"{alias}/x")
    assert names(s3, bucket) == ["x"]


@pytest.mark.parametrize("source", ["x", "x.instruction", "."])
def test_move_keeps_an_instruction_file_beside_its_object(
    source: str, bucket: str, s3: Any
) -> None:
    """A move of one object of a pair, or of their directory, is refused, and copies nothing."""
    entry = json.dumps({"x-amz-key-v2": "k", "x-amz-iv": "i"})
    stored = {"a": "1", "a.instruction": "how to do a", "x": "ciphertext", "x.instruction": entry}
    for name, body in stored.items():
        s3.put_object(Bucket=bucket, Key=f"t/{name}", Body=body)
    fs = S3CryptFileSystem(SSES3(), skip_instance_cache=True)
    with pytest.raises(FormatError, match="instruction file"):
        fs.mv(f"{bucket}/t/{source}".removesuffix("/."), f"{bucket}/v", recursive=source == ".")
    assert names(s3, bucket) == [f"t/{name}" for name in stored]
    fs.mv(f"{bucket}/t/a.instruction", f"{bucket}/v.instruction")
    assert names(s3, bucket)[-1] == "v.instruction"


@pytest.mark.parametrize("target", ["{}/", "s3crypt://{}", "{}"])
def test_move_onto_itself(fs: S3CryptFileSystem, tree: str, target: str) -> None:
    """A move onto itself loses nothing, in every spelling of the target."""
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
    """Colliding targets are refused before any copy, so that no object is overwritten."""

    def inside(names: Any) -> Any:
        if isinstance(names, str):
            return f"{bucket}/{names}"
        return [f"{bucket}/{name}" for name in names]

    before = {f"{bucket}/{name}": name.encode() for name in ("a", "b", "x/f", "y/f")}
    fs.pipe(before)
    with pytest.raises(ValueError, match=r"become|also a source|equally many"):
        getattr(fs, how)(inside(sources), inside(targets))
    assert fs.cat(bucket, recursive=True) == before


def test_move_keeps_what_others_write_meanwhile(
    fs: S3CryptFileSystem, versioned_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an object is replaced after its copy, `mv` does not delete it."""
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
    """A move keeps the storage class and the object's other properties."""
    fs.pipe_file(f"{bucket}/x", b"1", storage_class="STANDARD_IA", content_type="text/csv")
    fs.mv(f"{bucket}/x", f"{bucket}/y")
    head = s3.head_object(Bucket=bucket, Key="y")
    assert (head["StorageClass"], head["ContentType"]) == ("STANDARD_IA", "text/csv")


@pytest.mark.parametrize("how", ["cp", "mv"])
@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_copy_keeps_all_that_s3_tells(
    s3: Any, fs: S3CryptFileSystem, bucket: str, how: str, size: int
) -> None:
    """A copy of another writer's object keeps tags, and headers without a storage option."""
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
    """Arguments of a copy replace the source's properties."""
    fs.pipe_file(f"{bucket}/x", b"1", tags={"a": "1"}, metadata={"b": "2"}, content_type="text/csv")
    fs.cp_file(f"{bucket}/x", f"{bucket}/y", tags={}, metadata={"c": "3"}, content_type="a/b")
    info = fs.info(f"{bucket}/y")
    assert (info["metadata"], info["ContentType"]) == ({"c": "3"}, "a/b")
    assert s3.get_object_tagging(Bucket=bucket, Key="y")["TagSet"] == []


@pytest.mark.parametrize("how", ["cp", "mv"])
def test_copy_into_a_missing_bucket(fs: S3CryptFileSystem, tree: str, how: str) -> None:
    """A missing target bucket is an error, and no source is removed."""
    before = fs.find(tree)
    with pytest.raises(FileNotFoundError):
        getattr(fs, how)(tree, "no-such-bucket/x", recursive=True)
    assert fs.find(tree) == before


def test_whole_bucket(fs: S3CryptFileSystem, tree: str, tmp_path: Path) -> None:
    """A whole bucket can be copied, fetched and stored like a directory."""
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


# --- Removals ----------------------------------------------------------------------------------


def test_remove(fs: S3CryptFileSystem, tree: str) -> None:
    """`rm` removes objects by name, list and pattern; directories need recursive=True."""
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


def test_remove_keeps_the_bucket(s3: Any, fs: S3CryptFileSystem, tree: str) -> None:
    """`rm` of a bucket keeps the bucket and its settings; `rm` of all buckets is refused."""
    bucket = tree.split("/", maxsplit=1)[0]
    fs.rm(bucket, recursive=True)
    assert (names(s3, bucket), fs.exists(bucket)) == ([], True)
    with pytest.raises(ValueError, match="Name the path"):
        fs.rm("", recursive=True)


# --- Names that look like patterns -------------------------------------------------------------


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
    """An object with exactly this name is used, and the name is not taken for a pattern."""
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
    """A directory with exactly this name is used, not the directories that the pattern matches."""
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
    """An object whose name looks like a pattern is fetched to the named file or directory."""
    fs.pipe({f"{bucket}/a[1]": b"literal", f"{bucket}/a1": b"other"})
    fs.get(f"{bucket}/a[1]", str(tmp_path / "one"))
    fs.get(f"{bucket}/a[1]", f"{tmp_path}/two/")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two/a[1]").read_bytes() == b"literal"


@pytest.mark.parametrize("pattern", ["*", "s3crypt://*", "{}*/x", "*/*"])
@pytest.mark.parametrize("how", ["rm", "cat", "expand_path"])
def test_patterns_name_the_bucket(
    fs: S3CryptFileSystem, bucket: str, pattern: str, how: str
) -> None:
    """A pattern in the bucket's name is refused, except in a listing."""
    fs.pipe_file(f"{bucket}/x", b"kept")
    with pytest.raises(ValueError, match="name the bucket"):
        getattr(fs, how)(pattern.format(bucket[:-1]), recursive=True)
    assert fs.cat(f"{bucket}/x") == b"kept"
