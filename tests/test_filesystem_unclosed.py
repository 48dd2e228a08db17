# SPDX-License-Identifier: Apache-2.0
"""Files of s3crypt:// that are dropped unclosed: discarded with a warning, or stored on request."""

from __future__ import annotations

import gc
import gzip
import io
import itertools
import json
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from filesystem_samples import MODE
from samples import names, uploads
from writer_samples import HANG, LONG, is_empty, run_script

from s3crypt import ConfigError
from s3crypt.filesystem import S3CryptFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def fs() -> S3CryptFileSystem:
    """Return a file system that stores dropped files."""
    return S3CryptFileSystem(MODE, unclosed="store")


def _settle() -> None:
    """Wait until the files that the garbage collector found are stored in the background."""
    for thread in threading.enumerate():
        if thread.name == "s3crypt-write":
            thread.join(HANG)
            assert not thread.is_alive()


def _opened(fs: S3CryptFileSystem, path: str, mode: str, compression: str | None, by: str) -> Any:
    if by == "open":
        return fs.open(path, mode, compression=compression)
    if by == "fsspec.open":
        given = {"compression": compression, "encryption": MODE, "unclosed": "store"}
        return fsspec.open(f"s3crypt://{path}", mode, **given).open()
    binary = fs.open(path, "wb", compression=compression)
    return binary if mode == "wb" else io.TextIOWrapper(io.BufferedWriter(binary))


# --- Stored ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "compression", "size"),
    [
        *itertools.product(["open", "fsspec.open", "wrappers"], [None, "gzip", "xz"], [20]),
        ("wrappers", None, LONG),
    ],
)
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_what_is_dropped_is_stored(  # noqa: PLR0917 - one axis each
    s3: Any,
    fs: S3CryptFileSystem,
    bucket: str,
    by: str,
    mode: str,
    compression: str | None,
    size: int,
) -> None:
    """A dropped file is stored with the buffered bytes of its wrappers and compressor."""
    content = b"0123456789" * (size // 10)
    file = _opened(fs, f"{bucket}/x", mode, compression, by)
    file.write(content if mode == "wb" else content.decode())
    del file
    if sys.version_info >= (3, 12) and (mode, by, compression) == ("wb", "fsspec.open", "gzip"):
        # From Python 3.12 on, a GzipFile is in a reference cycle, which only the collector frees.
        gc.collect()
        _settle()
    assert uploads(s3, bucket) == []
    with fs.open(f"{bucket}/x", compression=compression) as stored:
        assert stored.read() == content


def test_json_without_close(fs: S3CryptFileSystem, bucket: str) -> None:
    """`json.dump` into a file that is not closed is stored, and the old size is forgotten."""
    path = f"{bucket}/x.json"
    fs.pipe_file(path, b"{}")
    assert fs.size(path) == 2
    json.dump({"a": [1, 2]}, fs.open(path, "w"))
    assert (fs.size(path), json.loads(fs.cat_file(path))) == (13, {"a": [1, 2]})


def _in_nothing(file: Any) -> tuple[Any, Callable[[bytes], Any]]:
    return file, file.write


def _in_text(file: Any) -> tuple[Any, Callable[[bytes], Any]]:
    text = io.TextIOWrapper(file, encoding="ascii")
    return text, lambda data: text.write(data.decode())


def _in_gzip(file: Any) -> tuple[Any, Callable[[bytes], Any]]:
    packed = gzip.GzipFile(fileobj=file, mode="wb")
    return packed, packed.write


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("wrap", [_in_nothing, _in_text, _in_gzip])
def test_what_the_collector_finds_is_stored(
    s3: Any, fs: S3CryptFileSystem, bucket: str, wrap: Any
) -> None:
    """A file in a cycle is stored whole, even if the collector finalizes it before its wrapper.

    The wrapper still has bytes to write.
    """
    gc.collect()
    file = fs.open(f"{bucket}/x", "wb")
    wrapper, write = wrap(file)
    write(b"0123456789" * 3)
    cycle: list[Any] = [file, wrapper]
    cycle.append(cycle)
    del file, wrapper, write, cycle
    gc.collect()
    _settle()
    assert uploads(s3, bucket) == []
    content = fs.cat_file(f"{bucket}/x")
    assert (gzip.decompress(content) if wrap is _in_gzip else content) == b"0123456789" * 3


# --- Not stored --------------------------------------------------------------------------------


def _write_some(fs: S3CryptFileSystem, path: str, mode: str = "w") -> None:
    """Write four bytes without closing the file."""
    fs.open(path, mode).write("half" if "b" not in mode else b"half")


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("mode", ["wb", "w"])
@pytest.mark.parametrize("by", ["open", "wrappers"])
def test_by_default_it_is_discarded_aloud(
    s3: Any, bucket: str, by: str, mode: str, compression: str | None
) -> None:
    """By default a dropped file is discarded; a warning has its name, its size and the option."""
    fs = S3CryptFileSystem(MODE)
    file = _opened(fs, f"{bucket}/x", mode, compression, by)
    file.write(b"half" if mode == "wb" else "half")
    with pytest.warns(RuntimeWarning, match="unclosed='store'") as caught:
        del file
    (told,) = [str(each.message) for each in caught]
    count = re.search(rf"s3://{bucket}/x: nothing is stored of the (\d+) bytes", told)
    assert count
    assert int(count[1]) == 4 if compression is None else int(count[1]) > 20
    _settle()
    assert is_empty(s3, bucket)


def test_an_exclusive_file_is_never_stored_so(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """An exclusive file is not stored when dropped: it would prevent storing the complete file."""
    for mode in ("xb", "x"):
        with pytest.warns(RuntimeWarning, match="nothing is stored of the 4 bytes") as caught:
            _write_some(fs, f"{bucket}/x", mode)
        assert "unclosed" not in str(caught[0].message)
    _settle()
    assert is_empty(s3, bucket)


def test_what_an_error_cuts_short_is_not_stored(
    s3: Any, fs: S3CryptFileSystem, bucket: str
) -> None:
    """A file that is dropped while an error is handled is not stored."""
    held = [fs.open(f"{bucket}/x", "w")]
    held[0].write("half")
    try:
        int("x")
    except ValueError:
        with pytest.warns(RuntimeWarning, match="nothing is stored of the 4 bytes"):
            held.clear()
    _settle()
    assert is_empty(s3, bucket)
    try:
        int("x")
    except ValueError:
        _write_some(fs, f"{bucket}/x")
    assert fs.cat_file(f"{bucket}/x") == b"half"


def test_a_transaction_refuses_it_all_the_same(s3: Any, fs: S3CryptFileSystem, bucket: str) -> None:
    """A transaction refuses an unclosed file and stores nothing."""

    def forget_one() -> None:
        with fs.transaction:
            fs.pipe_file(f"{bucket}/whole", b"whole")
            with pytest.warns(RuntimeWarning, match="nothing is stored of the 4 bytes"):
                _write_some(fs, f"{bucket}/half")

    with pytest.raises(ConfigError, match=f"{bucket}/half was not closed"):
        forget_one()
    assert is_empty(s3, bucket)


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_what_cannot_be_stored_is_told(fs: S3CryptFileSystem, bucket: str, mode: str) -> None:
    """If a dropped file cannot be stored, a warning has the service's answer.

    A finalizer cannot raise an error.
    """
    with pytest.warns(RuntimeWarning, match=r"no-such-.*nothing is stored.*no such bucket"):
        _write_some(fs, f"no-such-{bucket}/x", mode)


_ENDS = """
import sys
import fsspec
bucket = sys.argv[1]
given = {"key": f"aes:tests/one={sys.argv[2]}", "unclosed": "store"}
fs = fsspec.filesystem("s3crypt", **given)
fs.open(f"{bucket}/dropped", "w").write("whole")
held = fs.open(f"{bucket}/held", "w")
held.write("x" * 20_000)
archive = fsspec.filesystem("zip", fo=f"s3crypt://{bucket}/zip", mode="w", target_options=given)
archive.pipe_file("one", b"1")
archive.close()
"""


def test_what_is_open_when_the_interpreter_ends_is_not_stored(
    s3: Any, bucket: str, tmp_path: Any
) -> None:
    """At the interpreter's end open files are not stored, and a warning names each of them."""
    (tmp_path / "key").write_bytes(bytes(32))
    done = run_script(_ENDS, bucket, str(tmp_path / "key"))
    told = done.stderr.decode()
    assert done.returncode == 0, told
    assert (names(s3, bucket), uploads(s3, bucket)) == (["dropped"], [])
    for name in ("held", "zip"):
        assert re.search(rf"Warning: s3://{bucket}/{name}: nothing is stored of the \d+ b", told)
    assert "dropped" not in told
