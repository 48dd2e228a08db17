# SPDX-License-Identifier: Apache-2.0
"""Objects of every size in every mode, from every kind of source to every kind of target."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from samples import (
    CLIENT_SIDE,
    FRAME,
    LARGE,
    MODES,
    PART,
    aes,
    connect,
    files,
    make_mode,
    names,
    payload,
    stored,
    uploads,
)

from s3crypt import (
    SSES3,
    ClientSide,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (0, 1, FRAME, FRAME + 1, PART - 1, PART, PART + 1, LARGE)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MODES)
def test_every_mode_gives_back_every_size(
    name: str, size: int, bucket: str, kms_key: str, s3: Any, tmp_path: Path
) -> None:
    """In every mode, `get` and `read` return the stored bytes, and each info has the right size."""
    store = connect(make_mode(name, kms_key))
    uri, target = f"s3://{bucket}/a name/x", tmp_path / "out"
    put = store.put(payload(size), uri)
    got = store.get(uri, target)
    assert target.read_bytes() == payload(size)
    assert files(tmp_path) == ["out"]
    assert put.size == got.size == store.inspect(uri).size == size
    assert put.stored_size == got.stored_size == store.inspect(uri).stored_size
    assert put.mode == got.mode == store.mode.name  # type: ignore[union-attr]  # it has a mode
    assert put.etag == got.etag
    assert store.read(uri) == payload(size)
    assert uploads(s3, bucket) == []


@pytest.mark.parametrize("name", CLIENT_SIDE)
@pytest.mark.parametrize("size", [100, PART + 100])
def test_s3_never_sees_plaintext(name: str, size: int, bucket: str, kms_key: str, s3: Any) -> None:
    """The stored body of a client-side object contains no 16 bytes of the plaintext."""
    secret = (b"-- a secret of 32 bytes, twice --" * (size // 32 + 1))[:size]
    connect(make_mode(name, kms_key)).put(secret, f"s3://{bucket}/x")
    body = stored(s3, bucket, "x")
    assert len(body) > size
    assert not any(secret[start : start + 16] in body for start in range(33))


# --- Sources ---------------------------------------------------------------------------------


def _as_path(data: bytes, folder: Path) -> Path:
    path = folder / "source"
    path.write_bytes(data)
    return path


def _as_text_path(data: bytes, folder: Path) -> str:
    return str(_as_path(data, folder))


def _as_bytesio(data: bytes, _: Path) -> BinaryIO:
    source = io.BytesIO(b"skipped" + data)
    source.seek(7)
    return source


def _as_open_file(data: bytes, folder: Path) -> BinaryIO:
    file = _as_path(b"skipped" + data, folder).open("rb")
    file.seek(7)
    return file


def _as_unbuffered_file(data: bytes, folder: Path) -> Any:
    file = _as_path(b"skipped" + data, folder).open("rb", buffering=0)
    file.seek(7)
    return file


def _as_temporary_file(data: bytes, folder: Path) -> Any:
    file = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115 - the test closes it
    file.write(b"skipped" + data)
    file.seek(7)
    return file


def _as_gzip_file(data: bytes, folder: Path) -> Any:
    path = folder / "source.gz"
    path.write_bytes(gzip.compress(data, 1))
    return gzip.open(path)


def _as_pipe(data: bytes, _: Path) -> BinaryIO:
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)

    threading.Thread(target=feed).start()
    return os.fdopen(reading, "rb")


def _as_fifo_path(data: bytes, folder: Path) -> Path:
    path = folder / "fifo"
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(data,)).start()
    return path


class _Dribble(io.RawIOBase):
    """A stream that returns pieces of odd lengths, as a socket does."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), 65_521, len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


SOURCES: dict[str, Callable[[bytes, Path], Any]] = {
    "path": _as_path,
    "str": _as_text_path,
    "bytes": lambda data, _: data,
    "bytearray": lambda data, _: bytearray(data),
    "memoryview": lambda data, _: memoryview(data),
    "BytesIO": _as_bytesio,
    "open file": _as_open_file,
    "unbuffered file": _as_unbuffered_file,
    "temporary file": _as_temporary_file,
    "GzipFile": _as_gzip_file,
    "pipe": _as_pipe,
    "path of a FIFO": _as_fifo_path,
    "short reads": lambda data, _: _Dribble(data),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("size", [0, 3 * FRAME, PART, PART + 12_345])
def test_every_source_is_read_from_its_position_to_its_end(
    kind: str, size: int, bucket: str, tmp_path: Path
) -> None:
    """`put` reads every kind of source from its position to its end."""
    store = connect(ClientSide(aes()))
    source = SOURCES[kind](payload(size), tmp_path)
    try:
        info = store.put(source, f"s3://{bucket}/x")
    finally:
        if hasattr(source, "close"):
            source.close()
    assert info.size == size
    assert store.read(f"s3://{bucket}/x") == payload(size)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("frame_length", [4096, 9 * 2**19, 9 * 2**20])
def test_a_long_pipe_in_any_frame_length(
    frame_length: int, bucket: str, tmp_path: Path, *, signed: bool
) -> None:
    """A pipe, whose length is unknown, is uploaded in parts, for any frame length.

    A single frame of 9 * 2**19 bytes is shorter than S3's smallest part.
    """
    store = connect(ClientSide(aes(), frame_length=frame_length, signed=signed))
    uri = f"s3://{bucket}/x"
    with _as_pipe(payload(LARGE), tmp_path) as pipe:
        assert store.put(pipe, uri).size == LARGE
    store.get(uri, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == payload(LARGE)
    seen = store.inspect(uri)
    assert (seen.size, seen.signed, seen.frame_length) == (LARGE, signed, frame_length)
    assert seen.frames == -(-LARGE // frame_length)


@pytest.mark.parametrize("source", ["/proc/version", "/sys/class/net/lo/mtu"])
@pytest.mark.parametrize("name", ["sse-s3", "client-header"])
def test_a_file_that_claims_a_wrong_size_is_read_to_its_end(
    source: str, name: str, bucket: str, key: str
) -> None:
    """Files of /proc and /sys are read to their end, although they report a wrong size."""
    assert Path(source).stat().st_size != len(Path(source).read_bytes())
    store = connect(make_mode(name, key))
    store.put(source, f"s3://{bucket}/x")
    assert store.read(f"s3://{bucket}/x") == Path(source).read_bytes()


@pytest.mark.parametrize(
    ("source", "said"),
    [("missing", "Cannot read"), (".", "directory"), ("/proc/self/mem", "Cannot read")],
)
def test_an_unreadable_source_is_one_error(
    source: str, said: str, bucket: str, tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that cannot be opened or read raises StorageError, and nothing is stored."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=said):
        connect(SSES3()).put(source, f"s3://{bucket}/x")
    assert names(s3, bucket) == []


# --- Targets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sse-s3", "client-header"])
def test_a_pipe_gets_every_byte_in_order(name: str, bucket: str, kms_key: str) -> None:
    """`get` writes every byte into a raw pipe, which may accept only a part of a write."""
    store = connect(make_mode(name, kms_key))
    store.put(payload(LARGE), f"s3://{bucket}/x")
    reading, writing = os.pipe()
    received: list[bytes] = []

    def drain() -> None:
        with os.fdopen(reading, "rb") as pipe:
            received.append(pipe.read())

    thread = threading.Thread(target=drain)
    thread.start()
    with os.fdopen(writing, "wb", buffering=0) as target:
        store.get(f"s3://{bucket}/x", target)
    thread.join()
    assert received == [payload(LARGE)]


class _Reluctant(io.RawIOBase):
    """An unbuffered file whose writes accept at most 1,000 bytes."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.taken += data[:1000]
        return min(1000, len(data))


def test_a_target_that_takes_little_gets_all(bucket: str) -> None:
    """After a write that was only partly accepted, `get` writes the rest."""
    store = connect(ClientSide(aes()))
    store.put(payload(FRAME + 1), f"s3://{bucket}/x")
    target = _Reluctant()
    store.get(f"s3://{bucket}/x", target)  # type: ignore[arg-type]  # a raw file writes too
    assert bytes(target.taken) == payload(FRAME + 1)


@pytest.mark.parametrize("name", ["sse-s3", "client-header"])
def test_a_fifo_is_written_in_place(name: str, bucket: str, kms_key: str, tmp_path: Path) -> None:
    """`get` writes into a named pipe, instead of replacing it by a file."""
    store = connect(make_mode(name, kms_key))
    store.put(payload(PART + 1), f"s3://{bucket}/x")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    received: list[bytes] = []
    thread = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    thread.start()
    store.get(f"s3://{bucket}/x", fifo)
    thread.join()
    assert received == [payload(PART + 1)]
    assert fifo.is_fifo()


def test_a_replaced_file_keeps_its_mode_and_its_link(bucket: str, tmp_path: Path) -> None:
    """If `get` replaces a file through a symbolic link, the link and the file's mode stay."""
    store = connect(SSES3())
    store.put(b"new", f"s3://{bucket}/x")
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "link").symlink_to("real")
    store.get(f"s3://{bucket}/x", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("target", ["folder", "missing/out"])
def test_an_impossible_target_is_one_error(target: str, bucket: str, tmp_path: Path) -> None:
    """`get` to a directory, or into a folder that does not exist, raises StorageError."""
    store = connect(SSES3())
    store.put(b"new", f"s3://{bucket}/x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=target):
        store.get(f"s3://{bucket}/x", tmp_path / target)
    assert files(tmp_path) == ["folder"]
