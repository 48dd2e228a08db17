# SPDX-License-Identifier: Apache-2.0
"""Writes to s3crypt:// through fsspec: files, transactions, and only bytes as content."""

from __future__ import annotations

import gc
import io
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from filesystem_samples import MODE, make_tree, options
from samples import names, stored, uploads

from s3crypt import ConfigError
from s3crypt.filesystem import S3CryptFileSystem

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


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Write a wrapping key to a file."""
    path = tmp_path / "wrapping.key"
    path.write_bytes(bytes(range(32)))
    return path


# --- Files -------------------------------------------------------------------------------------


def test_what_is_stored_is_encrypted(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """Every way of writing stores encrypted objects."""
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
    """An object appears only when its file is closed, and not at all after an exception."""
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
    """After an exception inside `fsspec.open` the file is closed, but nothing is stored."""

    def cut_short() -> None:
        with fsspec.open(f"s3crypt://{bucket}/y.gz", "wt", compression="gzip", **given) as file:
            file.write("half")
            raise KeyError("mine")

    given = options(key_file)
    with pytest.raises(KeyError, match="mine"):
        cut_short()
    assert names(s3, bucket) == []


@pytest.mark.filterwarnings("ignore:.*nothing is stored:RuntimeWarning")
@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("mode", ["wb", "w"])
@pytest.mark.parametrize("by", ["open", "fsspec.open", "OpenFile", "TextIOWrapper"])
def test_file_that_is_never_closed(
    s3: Any, fs: S3CryptFileSystem, bucket: str, mode: str, compression: str | None, by: str
) -> None:
    """A file that is never closed is not stored, also inside other wrappers."""
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
    """Closing a compressed file also closes the file below it, which stores the object."""
    with fs.open(f"{bucket}/x.gz", "wt", compression="infer") as file:
        file.write("text")
    assert fs.cat_file(f"{bucket}/x.gz")[:2] == b"\x1f\x8b"
    with fs.open(f"{bucket}/x.gz", "rt", compression="infer") as file:
        assert file.read() == "text"


@pytest.mark.parametrize("compression", [None, "gzip", "bz2", "xz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_text_has_its_mark_once_and_its_position(
    fs: S3CryptFileSystem, bucket: str, encoding: str, compression: str | None
) -> None:
    """A text begins with one byte order mark, and `tell` counts bytes before compression."""
    path = f"{bucket}/x"
    with fs.open(path, "w", encoding=encoding, compression=compression) as text:
        text.write("one ä")
        assert text.tell() == len("one ä".encode(encoding))
        text.write("two")
        with pytest.raises(io.UnsupportedOperation):
            text.seek(0)
    with fs.open(path, compression=compression) as file:
        assert file.read() == "one ätwo".encode(encoding)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_text_that_cannot_be_opened_leaves_nothing_open(
    s3: Any, fs: S3CryptFileSystem, bucket: str, compression: str | None
) -> None:
    """If a text cannot be opened, neither an upload nor an unclosed file is left."""
    wrongs: list[dict[str, Any]] = [{"encoding": "utf-7000"}, {"newline": "?"}]
    for wrong in wrongs:
        with pytest.raises((LookupError, ValueError)):
            fs.open(f"{bucket}/x", "w", compression=compression, **wrong)
        gc.collect()
    assert (names(s3, bucket), uploads(s3, bucket)) == ([], [])


@pytest.mark.parametrize("mode", ["ab", "a", "r+b", "w+b"])
def test_objects_cannot_be_appended_to(fs: S3CryptFileSystem, bucket: str, mode: str) -> None:
    """Modes that append or change in place raise NotImplementedError."""
    with pytest.raises(NotImplementedError, match="cannot be appended to"):
        fs.open(f"{bucket}/x", mode)


def test_exclusive_creation(fs: S3CryptFileSystem, bucket: str) -> None:
    """Exclusive mode replaces no object, whether it exists at the opening or at the close."""
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
    """An object and a directory of the same name are both listed, read, moved and removed."""
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


# --- Transactions ------------------------------------------------------------------------------


def test_transaction_is_stored_at_its_end(
    s3: Any, fs: S3CryptFileSystem, bucket: str, tmp_path: Path
) -> None:
    """A transaction stores all its files at its end, by every way of writing."""
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
    """A failed transaction stores nothing, and the next write is not affected."""

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
    """A file that an exception cut short is not stored, even if the exception was caught."""

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


@pytest.mark.filterwarnings("ignore:.*nothing is stored:RuntimeWarning")
@pytest.mark.parametrize(("mode", "compression"), [("wb", None), ("w", None), ("wb", "gzip")])
@pytest.mark.parametrize("keep", [True, False])
def test_transaction_refuses_files_that_are_open(
    s3: Any, fs: S3CryptFileSystem, bucket: str, mode: str, compression: str | None, *, keep: bool
) -> None:
    """If a file is still open at the end of a transaction, the transaction stores nothing."""

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
    """A nested transaction is refused: it would store or lose the files of the outer one."""

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
    """Within a transaction closing a file stores nothing, even while an error is handled."""

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


# --- Bytes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_held", [True, False])
def test_bytes_only_are_stored(
    s3: Any, fs: S3CryptFileSystem, bucket: str, tmp_path: Path, *, is_held: bool
) -> None:
    """A text or a path as content is an error, and is never taken for a local file's name."""
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
            # fsspec's mapper converts an array to bytes itself.
            with pytest.raises(TypeError):
                fs.get_mapper(bucket)["x"] = wrong
        if is_held:
            fs.end_transaction()
        if isinstance(wrong, io.BufferedReader):
            wrong.close()
    assert names(s3, bucket) == []


def test_buffers_are_stored_as_their_bytes(fs: S3CryptFileSystem, bucket: str) -> None:
    """Arrays and other buffers are stored as the bytes of their elements, in order."""
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
