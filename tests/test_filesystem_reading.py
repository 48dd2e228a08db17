# SPDX-License-Identifier: Apache-2.0
"""Reads of s3crypt:// objects through fsspec: slices, files, ranges, and downloads."""

from __future__ import annotations

import io
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from filesystem_samples import FRAME, MODE, make_tree
from fsspec.callbacks import Callback
from samples import aes, payload, rewrite, stored

from s3crypt import SSEKMS, SSES3, ClientSide, ConflictError, IntegrityError, PolicyError
from s3crypt.filesystem import S3CryptFileSystem
from s3crypt.objects.reader import ObjectReader

# The official SDK's helpers are beside the tests of messages.
sys.path.append(str(Path(__file__).parent / "message"))


if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import RequestsLog


@pytest.fixture
def fs() -> S3CryptFileSystem:
    """Return a file system that encrypts client-side."""
    return S3CryptFileSystem(MODE)


@pytest.fixture
def tree(fs: S3CryptFileSystem, bucket: str) -> str:
    """Make a small data set; return its directory."""
    return make_tree(fs, bucket)


@pytest.mark.parametrize("start", [None, 0, 1, FRAME, 9000, 10_000, 10_001, -1, -FRAME, -20_000])
@pytest.mark.parametrize("end", [None, 0, 1, FRAME, 9000, 20_000, -1, -FRAME, -20_000])
def test_slices(start: int | None, end: int | None, sliced: tuple[Any, str]) -> None:
    """Start and end of a read mean the same as in Python's slices."""
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
    """A file can seek and read lines and text, and ignores hints on caching."""
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
    """Ranges are returned in the requested order, and each file is opened once."""
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
    """The error of one range is returned in its place; with on_error="raise" it is raised."""
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
    """`cat` takes a list, a pattern or a directory; errors are raised, returned or omitted."""
    assert fs.cat(f"{tree}/a") == fs.cat(PurePosixPath(f"{tree}/a")) == payload(100)
    assert fs.cat(f"{tree}/b/t*") == {f"{tree}/b/two": payload(102)}
    assert len(fs.cat(tree, recursive=True)) == 6
    both = [f"{tree}/a", f"{tree}/none"]
    with pytest.raises(FileNotFoundError):
        fs.cat(both)
    assert list(fs.cat(both, on_error="omit")) == [f"{tree}/a"]
    assert isinstance(fs.cat(both, on_error="return")[f"{tree}/none"], FileNotFoundError)


def test_signed_objects(bucket: str) -> None:
    """A signed object is read whole and verified; ranges need allow_unverified_signature."""
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
    """An object in another mode than the demanded mode is not read."""
    S3CryptFileSystem(MODE).pipe_file(f"{bucket}/x", b"secret")
    with pytest.raises(PolicyError):
        S3CryptFileSystem(encryption="any").cat_file(f"{bucket}/x")
    with pytest.raises(PolicyError):
        S3CryptFileSystem(SSEKMS(kms_key)).open(f"{bucket}/x")
    S3CryptFileSystem(SSES3()).pipe_file(f"{bucket}/y", b"plain")
    with pytest.raises(PolicyError):
        S3CryptFileSystem(SSEKMS(kms_key)).cat_file(f"{bucket}/y")


def test_object_replaced_while_open(fs: S3CryptFileSystem, bucket: str) -> None:
    """If an object is replaced while it is open, reads raise ConflictError: versions never mix."""
    fs.pipe_file(f"{bucket}/x", payload(700_000))
    with fs.open(f"{bucket}/x", cache_length=0) as file:
        file.read(10)
        fs.pipe_file(f"{bucket}/x", payload(700_001))
        with pytest.raises(ConflictError):
            file.read()


# --- Downloads ---------------------------------------------------------------------------------


def test_put_and_get_report_progress(fs: S3CryptFileSystem, bucket: str, tmp_path: Path) -> None:
    """Progress counts plaintext bytes up to the announced total."""
    (tmp_path / "x").write_bytes(payload(300_000))
    put, got = Callback(), Callback()
    fs.put_file(tmp_path / "x", f"{bucket}/x", callback=put)
    fs.get_file(f"{bucket}/x", tmp_path / "y", callback=got)
    assert (put.size, put.value) == (got.size, got.value) == (300_000, 300_000)
    assert (tmp_path / "y").read_bytes() == payload(300_000)


def test_get_of_a_changed_object_leaves_no_file(
    s3: Any, fs: S3CryptFileSystem, bucket: str, tmp_path: Path
) -> None:
    """After a failed verification `get` leaves no file."""
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
    """A downloaded object's name cannot lead out of the target folder."""
    fs.pipe({f"{bucket}/d/x": b"", f"{bucket}/d/../../../evil": b""})
    with pytest.raises(ValueError, match="outside"):
        fs.get(f"{bucket}/d", f"{tmp_path}/a/b", recursive=True)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("linked", ["folder", "file"])
def test_links_do_not_lead_out_of_the_target(
    fs: S3CryptFileSystem, bucket: str, tmp_path: Path, linked: str
) -> None:
    """A link that leads out of the target folder is refused, as the command refuses it."""
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "target"
    elsewhere.mkdir()
    (elsewhere / "x").write_bytes(b"kept")
    (target / "d").mkdir(parents=True)
    if linked == "folder":
        (target / "d" / "link").symlink_to(elsewhere, target_is_directory=True)
    else:
        (target / "d" / "link").mkdir()
        (target / "d" / "link" / "x").symlink_to(elsewhere / "x")
    fs.pipe({f"{bucket}/d/a": b"a", f"{bucket}/d/link/x": b"new", f"{bucket}/d/link/n/y": b"y"})
    for source, root in ((f"{bucket}/d", target), (f"{bucket}/d/", target / "d")):
        with pytest.raises(PolicyError, match="its path leads through a link out"):
            fs.get(source, str(root), recursive=True)
    assert [path.name for path in elsewhere.iterdir()] == ["x"]
    assert (elsewhere / "x").read_bytes() == b"kept"
    assert not (target / "d" / "a").exists()


def test_links_that_stay_in_the_target_are_followed(
    fs: S3CryptFileSystem, bucket: str, tmp_path: Path
) -> None:
    """Links are followed if they stay in the target; the target or a named file may be a link."""
    real = tmp_path / "real"
    (real / "d" / "other").mkdir(parents=True)
    (real / "d" / "link").symlink_to("other", target_is_directory=True)
    (tmp_path / "target").symlink_to(real, target_is_directory=True)
    fs.pipe({f"{bucket}/d/link/x": b"new"})
    fs.get(f"{bucket}/d", str(tmp_path / "target"), recursive=True)
    assert (real / "d" / "other" / "x").read_bytes() == b"new"
    (tmp_path / "named").symlink_to(real / "d" / "other" / "x")
    fs.pipe({f"{bucket}/d/link/x": b"newer"})
    fs.get(f"{bucket}/d/link/x", str(tmp_path / "named"))
    assert (real / "d" / "other" / "x").read_bytes() == b"newer"


def test_content_has_a_fingerprint(fs: S3CryptFileSystem, bucket: str) -> None:
    """A fingerprint changes when the object is written again, even with the same plaintext."""
    fs.pipe_file(f"{bucket}/x", b"abc")
    before = fs.ukey(f"{bucket}/x"), fs.checksum(f"{bucket}/x")
    assert before == (fs.ukey(f"{bucket}/x"), fs.checksum(f"{bucket}/x"))
    fs.pipe_file(f"{bucket}/x", b"abc")
    assert fs.ukey(f"{bucket}/x") != before[0]
    assert fs.checksum(f"{bucket}/x") != before[1]
