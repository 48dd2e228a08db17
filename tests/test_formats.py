# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102 - the protocols of formats.seam document each method
"""The seam of formats: the whole engine works with a toy format that only this file knows."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest
from samples import aes, connect, payload

from s3crypt import SSES3, ClientSide, PolicyError, formats
from s3crypt.formats import Facts, Rewrapping, Sealing
from s3crypt.framing import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FRAME, MARK, ENTRY = 2**16, b"XOR!", "s3crypt-toy-key"
_FLIP = bytes(range(255, -1, -1))


class Xor:
    """A toy format that flips every byte after a header of 16 bytes.

    The class is format, sealer, envelope and opener in one. It encrypts nothing. Its "wrapped key"
    is the name of its keyring's key, in the metadata.
    """

    frame_length = stride = FRAME
    is_sequential = is_signed = False

    def __init__(self, entry: str = "", stored: Any = None) -> None:
        self.header = MARK + os.urandom(12)
        self.keys, self.context, self._stored = (entry,), {"toy": "yes"}, stored

    def claims(self, metadata: Mapping[str, str]) -> bool:
        return ENTRY in metadata

    def classify(self, metadata: Mapping[str, str], stored: Any) -> Xor | None:
        if stored and stored.read(16)[:4] != MARK:
            return None
        return Xor(metadata[ENTRY], stored) if ENTRY in metadata else None

    def measure(self, metadata: Mapping[str, str], stored_size: int) -> Facts | None:
        return self._facts(stored_size - 16) if ENTRY in metadata else None

    def facts(self, stored: Any) -> Facts:
        return self._facts(stored.size - 16)

    def _facts(self, size: int) -> Facts:
        return Facts(size=size, suite="XOR", keys=self.keys, context=self.context)

    def seal(self, *given: Any, **run: Any) -> Any:
        if run:  # a call of the sealer for a run of frames
            return self.open(given[0], given[1])
        name = given[0].keyring.name
        return Sealing(Xor(name), {ENTRY: name}, Xor(name)._facts)

    def open(self, run: Any, out: Any, *_: Any, **given: Any) -> Any:
        if "signed" in given:  # a call for an envelope
            return self
        out[: len(run)] = bytes(run).translate(_FLIP)
        return len(run)

    def sealed_length(self, size: int) -> int:
        return 16 + size

    def footer(self) -> bytes:
        return b""

    @property
    def opener(self) -> Xor:
        return self

    @property
    def reader(self) -> Any:
        return io.BytesIO(bytes(self._stored.read()).translate(_FLIP))

    def seekable(self, *, allow_unverified_signature: bool) -> tuple[Xor, int]:
        del allow_unverified_signature
        return self, 0

    def layout(self, size: int) -> Layout:
        return Layout(size, 16, FRAME, FRAME, max(1, -(-(size - 16) // FRAME)), size - 16)

    def difference(self, mode: Any, context: Mapping[str, str]) -> formats.Difference:
        del context
        return "nothing" if (mode.keyring.name,) == self.keys else "wrapping"

    def rewrapped(self, source: Any, target: Any, fetch: Any) -> Rewrapping:
        del source
        with fetch() as stored:
            assert stored.read(4) == MARK
        entry = {ENTRY: target.keyring.name}
        return Rewrapping(entry, entry, {}, {})


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the toy format the written format; messages can still be read."""
    monkeypatch.setattr(formats, "FORMATS", (Xor(), *formats.FORMATS))


@pytest.mark.usefixtures("_toy")
@pytest.mark.parametrize("size", [0, 1, FRAME, FRAME + 1, 20_000_003])
def test_a_new_format_needs_no_edit_elsewhere(
    size: int, bucket: str, tmp_path: Path, s3: Any
) -> None:
    """Every verb works with the new format, including rewrap and re-encryption."""
    mode, uri = ClientSide(aes("one"), bind_name=False), f"s3://{bucket}/x"
    store, data = connect(mode), payload(size)
    put = store.put(data, uri)
    assert (put.size, put.stored_size, put.suite, put.keys) == (size, size + 16, "XOR", ("one",))
    stored = s3.get_object(Bucket=bucket, Key="x")["Body"].read()
    assert stored[:4] == MARK
    assert stored[16:] == data.translate(_FLIP)
    assert store.read(uri) == data
    store.get(uri, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == data
    with store.open(uri) as file:
        file.seek(-1, io.SEEK_END) if size else None
        assert file.read() == data[-1:]
        assert file.read_ranges([(5, 9), (-3, None)]) == [data[5:9], data[-3:]]
    assert [listed.stored_size for listed in store.list(f"s3://{bucket}/")] == [size + 16]
    assert store.head(uri).size == store.inspect(uri).size == size
    assert connect().inspect(uri).context == {"toy": "yes"}
    with pytest.raises(PolicyError, match="client-side"):
        connect(SSES3()).read(uri)
    new = ClientSide(aes("two"), bind_name=False)
    assert [done.action for done in store.rotate(uri, to=mode)] == ["unchanged"]
    assert [done.action for done in store.rotate(uri, to=new)] == ["rewrapped"]
    assert connect(new).inspect(uri).keys == ("two",)
    assert connect(new).read(uri) == data
    assert [done.action for done in connect(new).rotate(uri, to=SSES3())] == ["re-encrypted"]
    assert connect(SSES3()).read(uri) == data


@pytest.mark.usefixtures("_toy")
def test_formats_are_read_beside_each_other(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each object is read by its own format; rotation converts a message to the written format."""
    mode, uri = ClientSide(aes(), bind_name=False), f"s3://{bucket}/x"
    toy, messages = formats.FORMATS
    monkeypatch.setattr(formats, "FORMATS", (messages, toy))
    store = connect(mode)
    store.put(b"a message", uri)
    monkeypatch.setattr(formats, "FORMATS", (toy, messages))
    store.put(b"a toy", f"{uri}2")
    assert (store.read(uri), store.read(f"{uri}2")) == (b"a message", b"a toy")
