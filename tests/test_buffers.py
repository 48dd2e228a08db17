# SPDX-License-Identifier: Apache-2.0
"""Parts in reused memory: at every boundary of sizes, and while a client still holds a part."""

from __future__ import annotations

import io
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from samples import PART, aes, connect, payload, stored

from s3crypt import SSES3, ClientSide, S3Crypt, message
from s3crypt.local.buffers import Buffers

if TYPE_CHECKING:
    from pathlib import Path

    from s3crypt import Mode

KIB, MIB = 2**10, 2**20
# Sizes around a part, and around the runs in which a part is read and sealed.
SIZES = [0, 1, MIB, MIB + 1, 3 * MIB, PART - 1, PART, PART + 1, 9 * MIB]


class ShortReads:
    """A source that returns fewer bytes than requested, as pipes and sockets do."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        """Read at most 700 KiB."""
        return self._data.read(min(size, 700 * KIB))


class Holding:
    """An S3 client that keeps every uploaded body, as a slow client might."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.held: list[tuple[int, bytes, bytes]] = []

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of the real client."""
        return getattr(self._client, name)

    def upload_part(self, **arguments: Any) -> Any:
        """Keep the body with its present hash, and upload it."""
        body = arguments["Body"]
        self.held.append((arguments["PartNumber"], body, sha256(body).digest()))
        return self._client.upload_part(**arguments)


def _mode(frame: int, *, signed: bool) -> Mode:
    return ClientSide(aes(), frame_length=frame, signed=signed)


MODES: dict[str, Mode] = {
    f"{frame // KIB} KiB{', signed' if signed else ''}": _mode(frame, signed=signed)
    for frame in (4 * KIB, MIB, 3 * MIB, 16 * MIB)
    for signed in (False, True)
}


@pytest.mark.parametrize(
    ("kind", "size"),
    [*(("stream", size) for size in SIZES), *(("file", size) for size in (0, MIB, PART + 1))],
)
@pytest.mark.parametrize("mode", MODES)
def test_what_is_put_is_what_is_got(
    mode: str, kind: str, size: int, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """The stored bytes are one message of the plaintext, and `get` returns the plaintext."""
    uri = f"s3://{bucket}/x"
    store = connect(MODES[mode])
    source: Any = ShortReads(payload(size))
    if kind == "file":
        source = tmp_path / "in"
        source.write_bytes(payload(size))
    info = store.put(source, uri)
    body = stored(s3, bucket, "x")
    assert (info.size, info.stored_size) == (size, len(body))
    assert message.decrypt(body, aes()) == payload(size)
    store.get(uri, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == payload(size)


@pytest.mark.parametrize("kind", ["stream", "file", "bytes"])
@pytest.mark.parametrize("mode", [SSES3(), MODES["1024 KiB"], MODES["1024 KiB, signed"]])
def test_a_part_that_is_still_held_stays_as_it_is(
    kind: str, mode: Mode, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """A body that the client still holds keeps its bytes while the worker makes other parts."""
    data = payload(2 * PART + 5)
    (tmp_path / "in").write_bytes(data)
    sources: dict[str, Any] = {
        "stream": ShortReads(data),
        "file": tmp_path / "in",
        "bytes": data,
    }
    client: Any = Holding(s3)
    store = S3Crypt(mode, client=client, workers=1)
    store.put(sources[kind], f"s3://{bucket}/x")
    assert len(client.held) == 3
    for _, body, digest in client.held:
        assert type(body) is bytes
        assert sha256(body).digest() == digest
    in_order = sorted(client.held)
    assert b"".join(body for _, body, _ in in_order) == stored(s3, bucket, "x")


def test_a_part_that_was_sent_is_let_go(bucket: str, s3: Any) -> None:
    """A sent part is released: otherwise its memory could not be reused without a copy."""
    holders: list[list[int]] = []

    class Counting(Holding):
        def upload_part(self, **arguments: Any) -> Any:
            holders.append([sys.getrefcount(body) for _, body, _ in self.held])
            return super().upload_part(**arguments)

    client: Any = Counting(s3)
    S3Crypt(SSES3(), client=client, workers=1).put(payload(3 * PART), f"s3://{bucket}/x")
    # At the third part, only this test holds the first two parts.
    first, second = holders[2]
    assert first == second


@pytest.mark.parametrize("lengths", [(9, 5, 7, 9, 0, 1, 9), (0, 9), (1, 1), (PART, 1, PART)])
def test_a_buffer_grows_and_shrinks(lengths: tuple[int, ...]) -> None:
    """A buffer has the requested length; values that were taken before are unchanged."""
    buffers = Buffers()
    taken: list[tuple[bytes, bytes]] = []
    for number, length in enumerate(lengths, 1):
        buffers.resize(length)
        with buffers.part.getbuffer() as view:
            assert len(view) == length
            view[:] = bytes([number]) * length
        taken.append((buffers.part.getvalue(), bytes([number]) * length))
    assert all(was == expected for was, expected in taken)


def test_a_buffer_that_nobody_holds_is_used_again() -> None:
    """If no reference to a buffer is left, the next part reuses its memory without a copy."""
    buffers = Buffers()
    buffers.resize(PART)
    before = id(buffers.part.getvalue())
    with buffers.part.getbuffer() as view:
        view[:] = payload(PART)
    assert id(buffers.part.getvalue()) == before


def test_memory_for_runs_is_made_once() -> None:
    """A shorter run uses a part of the memory that a longer run needed."""
    buffers = Buffers()
    for run_of in (buffers.plain_of, buffers.sealed_of):
        first = run_of(100)
        first[:3] = b"abc"
        assert bytes(run_of(3)) == b"abc"
        assert len(run_of(200)) == 200


@pytest.mark.parametrize("size", [PART, PART + 1])
def test_a_stream_in_memory_is_read_where_it_stands(size: int, bucket: str, s3: Any) -> None:
    """A stream in memory is stored from its present position on."""
    source = io.BytesIO(b"before" + payload(size))
    source.seek(6)
    connect(SSES3()).put(source, f"s3://{bucket}/x")
    assert stored(s3, bucket, "x") == payload(size)
