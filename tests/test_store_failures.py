# SPDX-License-Identifier: Apache-2.0
"""A put or get that fails leaves no file, no upload and no unencrypted object."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying
from samples import (
    LARGE,
    PART,
    aes,
    connect,
    files,
    make_mode,
    names,
    payload,
    rewrite,
    stored,
    uploads,
)

from s3crypt import (
    SSEKMS,
    SSES3,
    ClientSide,
    ConflictError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    S3Crypt,
    StorageError,
)
from s3crypt.message import read_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from s3crypt.sandbox import Running

FRAME = 4096
STRIDE = FRAME + 32
OLD = b"what was there before"


# --- Bodies that were changed in S3 ------------------------------------------------------------


def _flip(position: int) -> Callable[[bytes], bytes]:
    def flipped(body: bytes) -> bytes:
        changed = bytearray(body)
        changed[position] ^= 1
        return bytes(changed)

    return flipped


def _swap(body: bytes) -> bytes:
    """Return the body with its last two whole frames swapped."""
    end = len(body) - (len(body) - 3 * STRIDE) % STRIDE
    one, two = body[end - 2 * STRIDE : end - STRIDE], body[end - STRIDE : end]
    return body[: end - 2 * STRIDE] + two + one + body[end:]


TAMPERS: dict[str, Callable[[bytes], bytes]] = {
    "a bit of the suite": _flip(2),
    "a bit of the message id": _flip(10),
    "a bit of the header's tag": lambda body: _flip(_header_length(body) - 1)(body),
    "a bit of the first frame": lambda body: _flip(_header_length(body) + 20)(body),
    "a bit in the middle": lambda body: _flip(len(body) // 2)(body),
    "a bit of the last tag": _flip(-1),
    "a bit of the final frame's length": lambda body: _flip(_final(body) + 23)(body),
    "one byte less": lambda body: body[:-1],
    "a frame less in the middle": lambda body: (
        body[: _header_length(body) + STRIDE] + body[_header_length(body) + 2 * STRIDE :]
    ),
    "a frame twice": lambda body: (
        body[: _header_length(body) + STRIDE] + body[_header_length(body) :]
    ),
    "without the final frame": lambda body: body[: _final(body)],
    "ends like a final frame, on the grid": lambda body: body[: _final(body) - STRIDE + 40],
    "header only": lambda body: body[: _header_length(body)],
    "half a header": lambda body: body[: _header_length(body) // 2],
    "nothing": lambda _: b"",
    "a byte more": lambda body: body + b"\0",
    "a frame more": lambda body: body + body[-STRIDE:],
    "itself twice": lambda body: body + body,
    "two frames swapped": _swap,
}


def _header_length(body: bytes) -> int:
    return len(read_header(io.BytesIO(body)))


def _final(body: bytes) -> int:
    """Return the offset of the final frame in a body."""
    header = _header_length(body)
    return header + (len(body) - header - 40) // STRIDE * STRIDE


@pytest.mark.parametrize("size", [10 * FRAME + 17, PART + 3 * FRAME])
@pytest.mark.parametrize("how", TAMPERS)
def test_a_changed_body_leaves_nothing(
    how: str, size: int, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """`get` of a changed body fails, keeps the old file and leaves no other file."""
    store, uri = connect(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    body = stored(s3, bucket, "x")
    changed = TAMPERS[how](body)
    assert changed != body
    rewrite(s3, bucket, "x", changed)
    target = tmp_path / "out"
    target.write_bytes(OLD)
    expected: Any = FormatError if how in ("nothing", "a bit of the suite") else IntegrityError
    with pytest.raises(expected, match=f"s3://{bucket}/x"):
        store.get(uri, target)
    assert target.read_bytes() == OLD
    assert files(tmp_path) == ["out"]
    with pytest.raises(expected):
        store.read(uri)


def test_a_stream_gets_no_unverified_byte(bucket: str, s3: Any) -> None:
    """If a frame was changed, `get` writes to a stream only bytes before this frame."""
    store, uri = connect(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    size = 4 * 2**20
    store.put(payload(size), uri)
    rewrite(s3, bucket, "x", _flip(3 * 2**20)(stored(s3, bucket, "x")))
    target = io.BytesIO()
    with pytest.raises(IntegrityError):
        store.get(uri, target)
    assert payload(size).startswith(target.getvalue())
    assert len(target.getvalue()) <= 3 * 2**20


@pytest.mark.parametrize("changed", [-1, 150])
def test_a_signed_object_releases_no_file_before_its_signature(
    changed: int, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """If the signature was changed or is followed by a byte, `get` fails and leaves no file."""
    store, uri = connect(ClientSide(aes(), signed=True)), f"s3://{bucket}/x"
    store.put(payload(100_000), uri)
    body = stored(s3, bucket, "x")
    rewrite(s3, bucket, "x", _flip(-1)(body) if changed < 0 else body + b"\0")
    with pytest.raises(IntegrityError):
        store.get(uri, tmp_path / "out")
    assert files(tmp_path) == []


# --- Objects replaced while they are read --------------------------------------------------------


@pytest.mark.parametrize("name", ["sse-s3", "client-header", "client-metadata"])
def test_an_object_replaced_meanwhile_is_a_conflict(
    name: str, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """If the object is replaced during a `get`, the `get` fails with ConflictError."""
    store, uri = connect(make_mode(name, kms_key), workers=1), f"s3://{bucket}/x"
    store.put(payload(LARGE), uri)
    replaced: list[int] = []

    def replace(count: int) -> None:
        if not replaced:
            replaced.append(count)
            store.put(payload(LARGE + 1), uri)

    with pytest.raises(ConflictError, match="replaced"):
        store.get(uri, tmp_path / "out", progress=replace)
    assert files(tmp_path) == []
    assert store.read(uri) == payload(LARGE + 1)


def test_a_version_is_read_on_when_another_is_put(versioned_bucket: str, tmp_path: Path) -> None:
    """In a versioned bucket, a `get` reads its version to the end if a new version is put."""
    store, uri = connect(ClientSide(aes())), f"s3://{versioned_bucket}/x"
    store.put(payload(LARGE), uri)
    replaced: list[int] = []

    def replace(count: int) -> None:
        if not replaced:
            replaced.append(count)
            store.put(b"new", uri)

    store.get(uri, tmp_path / "out", progress=replace)
    assert (tmp_path / "out").read_bytes() == payload(LARGE)
    assert store.read(uri) == b"new"


# --- Uploads that fail midway ------------------------------------------------------------------


class _Failing(io.RawIOBase):
    """A stream that raises an error after it has returned some bytes."""

    def __init__(self, size: int, error: BaseException) -> None:
        self._left = size
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            raise self._error
        count = min(len(buffer), self._left)
        self._left -= count
        return count


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", [10, PART + 1, 3 * PART])
def test_a_source_that_fails_stores_nothing(
    size: int, bucket: str, s3: Any, *, signed: bool
) -> None:
    """If the source fails, the put raises the source's error, and the old object stays.

    An OSError is raised as StorageError.
    """
    store, uri = connect(ClientSide(aes(), signed=signed)), f"s3://{bucket}/x"
    store.put(OLD, uri)
    with pytest.raises(StorageError, match="went away") as caught:
        store.put(_Failing(size, OSError(5, "went away")), uri)  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(ZeroDivisionError):
        store.put(_Failing(size, ZeroDivisionError()), uri)  # type: ignore[arg-type]
    assert uploads(s3, bucket) == []
    assert store.read(uri) == OLD


@pytest.mark.parametrize("name", ["sse-s3", "client-header"])
@pytest.mark.parametrize("how", ["truncated", "grown", "rewritten"])
def test_a_file_that_changes_while_it_is_put_stores_nothing(
    how: str, name: str, bucket: str, kms_key: str, s3: Any, tmp_path: Path
) -> None:
    """If the source file changes during a put, the put fails and stores nothing."""
    source = tmp_path / "source"
    source.write_bytes(payload(LARGE))
    os.utime(source, (0, 0))

    def change(_: int) -> None:
        if how == "truncated":
            os.truncate(source, PART + 5)
        elif how == "grown":
            os.truncate(source, LARGE + 1)
        else:
            with source.open("r+b") as file:
                file.write(b"changed")

    store = connect(make_mode(name, kms_key), workers=1)
    with pytest.raises(StorageError, match="nothing was stored"):
        store.put(source, f"s3://{bucket}/x", progress=change)
    assert uploads(s3, bucket) == []
    assert names(s3, bucket) == []


def test_a_key_disabled_midway_stores_nothing(bucket: str, kms_key: str, kms: Any, s3: Any) -> None:
    """If the KMS key is disabled during a put, the put fails and leaves no upload."""
    store = connect(SSEKMS(kms_key), workers=1)
    with pytest.raises(KeyUnavailableError, match="disabled"):
        store.put(
            payload(LARGE),
            f"s3://{bucket}/x",
            progress=lambda _: kms.disable_key(KeyId=kms_key),
        )
    assert uploads(s3, bucket) == []
    assert names(s3, bucket) == []


@pytest.mark.parametrize("name", ["sse-kms", "dsse-kms", "client-header", "client-metadata"])
@pytest.mark.parametrize("size", [1, PART + 1])
def test_a_disabled_key_stores_nothing(
    name: str, size: int, bucket: str, kms_key: str, kms: Any, s3: Any
) -> None:
    """A put under a disabled KMS key fails and leaves no upload."""
    kms.disable_key(KeyId=kms_key)
    with pytest.raises(KeyUnavailableError, match="disabled"):
        connect(make_mode(name, kms_key)).put(payload(size), f"s3://{bucket}/x")
    assert uploads(s3, bucket) == []
    assert names(s3, bucket) == []


def test_a_progress_that_fails_stores_nothing(bucket: str, s3: Any, tmp_path: Path) -> None:
    """An error of the progress callback ends the put or get, which leaves no upload and no file."""
    store, uri = connect(ClientSide(aes())), f"s3://{bucket}/x"

    def fail(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put(payload(LARGE), uri, progress=fail)
    assert uploads(s3, bucket) == []
    store.put(payload(LARGE), uri)
    with pytest.raises(ZeroDivisionError):
        store.get(uri, tmp_path / "out", progress=fail)
    assert files(tmp_path) == []


def test_an_upload_that_cannot_be_aborted_is_named(
    sandbox: Running, session: Any, bucket: str
) -> None:
    """If a failed put cannot abort its upload, a note at its error names the upload."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "DELETE" or asked.is_part:
            return Answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(StorageError, match="part") as caught:
            store.put(payload(PART + 1), f"s3://{bucket}/x")
    assert "could not be aborted" in caught.value.__notes__[0]


# The places within the headers at which a reply breaks off: the last header that arrives, and how
# much of its value. Python takes the headers that arrived as complete.
HEAD_CUTS = (
    ("content-range", 0),
    ("content-range", len("bytes 0-8388607/2")),
    ("content-length", 0),
    ("content-length", 1),
    ("etag", 5),
    ("last-modified", 9),
    ("x-amz-server-side-encryption", 3),
    ("x-amz-meta-s3crypt-edks", 40),
    ("x-amz-meta-s3crypt-frame-length", 2),
)


def _read_by_open(store: S3Crypt, uri: str, folder: Path) -> bytes:
    del folder
    with store.open(uri) as file:
        return file.read()


def _read_by_get(store: S3Crypt, uri: str, folder: Path) -> bytes:
    store.get(uri, folder / "got")
    return (folder / "got").read_bytes()


def _read_by_read(store: S3Crypt, uri: str, folder: Path) -> bytes:
    del folder
    return store.read(uri)


@pytest.mark.parametrize("place", HEAD_CUTS, ids="{0[0]}-{0[1]}".format)
def test_a_reply_that_breaks_within_its_headers_is_asked_for_again(
    place: tuple[str, int],
    sandbox: Running,
    session: Any,
    bucket: str,
    kms_key: str,
    tmp_path: Path,
) -> None:
    """A reply that breaks off within its headers is requested again.

    Its Content-Length may have lost digits.
    """
    uri, size, was_cut = f"s3://{bucket}/x", PART + 70_000, set()

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer, wanted = forward(), asked.headers.get("range")
        if place[0] in answer.headers and wanted and wanted not in was_cut:
            was_cut.add(wanted)
            answer.cut_in = place
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        for mode in (SSES3(), make_mode("client-metadata", kms_key)):
            connect(mode).put(payload(size), uri)
            for read in (_read_by_open, _read_by_get, _read_by_read):
                was_cut.clear()
                assert read(S3Crypt(mode, client=client), uri, tmp_path) == payload(size)
    assert was_cut


@pytest.mark.parametrize("place", [("content-range", 0), ("content-length", 1)])
def test_replies_that_always_break_within_their_headers(
    place: tuple[str, int], sandbox: Running, session: Any, bucket: str, tmp_path: Path
) -> None:
    """If every reply breaks off within its headers, `get` fails and leaves no file."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(LARGE), uri)

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        answer.cut_in = place if place[0] in answer.headers else None
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(StorageError, match=f"{uri}.* broke"):
            store.get(uri, tmp_path / "out")
    assert files(tmp_path) == []
