# SPDX-License-Identifier: Apache-2.0
"""`memory.build`: the bytes of a result are correct, private to the result, and immutable."""

from __future__ import annotations

import ctypes
import mmap
import random

import pytest

from s3crypt import message
from s3crypt.keyrings import AESKeyring
from s3crypt.local import buffers as memory
from s3crypt.local.buffers import build

MIB = 2**20
# Lengths around one page, and around the size from which the code requests large pages.
LENGTHS = [0, 1, 4095, 4096, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 5]
KEYRING = AESKeyring("memory", "key", bytes(range(32)))


class BrokenError(Exception):
    """The exception that the callback `fill` raises."""


def _bytes(length: int) -> bytes:
    return random.Random(length).randbytes(length)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_result_is_what_was_written(length: int) -> None:
    """The result is immutable `bytes` with every byte that `fill` wrote."""

    def fill(view: memoryview) -> None:
        assert (len(view), view.readonly, view.format) == (length, False, "B")
        view[:] = _bytes(length)

    result = build(length, fill)
    assert type(result) is bytes
    assert result == _bytes(length)
    with pytest.raises(TypeError):
        memoryview(result)[:] = _bytes(length)


@pytest.mark.parametrize("length", LENGTHS)
def test_what_is_not_written_is_zero(length: int) -> None:
    """Bytes that `fill` does not write are zero, whatever the memory contained before."""
    junk = bytearray(b"\xff" * length)
    del junk
    assert build(length, lambda _: None) == bytes(length)


@pytest.mark.parametrize("length", LENGTHS)
def test_nothing_else_is_changed(length: int) -> None:
    """Building a result changes no other result and none of Python's shared bytes objects."""
    shared = bytes(length)
    before = [build(length, lambda view: _set(view, b"\x11")) for _ in range(2)]
    result = build(length, lambda view: _set(view, b"\x22"))
    after = build(length, lambda view: _set(view, b"\x33"))
    assert before == [b"\x11" * length] * 2
    assert result == b"\x22" * length
    assert after == b"\x33" * length
    assert shared == bytes(length)
    # Python has only one object for `b""` and one for each single byte; both must be unchanged.
    assert (b"", bytes([0])) == (bytes(0), b"\0")
    assert not any(bytes([0]))


def _set(view: memoryview, byte: bytes) -> None:
    view[:] = byte * len(view)


@pytest.mark.parametrize("length", LENGTHS)
def test_what_filling_raises_is_raised(length: int) -> None:
    """An exception from `fill` is raised unchanged, even if `fill` kept a part of the view."""
    kept: list[memoryview] = []

    def fill(view: memoryview) -> None:
        kept.append(view[: length // 2])
        view[: length // 2] = bytes(length // 2)
        raise BrokenError

    with pytest.raises(BrokenError):
        build(length, fill)


def test_the_view_is_closed_afterwards() -> None:
    """The view is released after `fill`, so a kept reference cannot change the result."""
    kept: list[memoryview] = []
    result = build(4096, kept.append)
    with pytest.raises(ValueError, match="released"):
        kept[0][0] = 1
    assert result == bytes(4096)


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_who_keeps_a_piece_of_the_view_has_a_copy(length: int) -> None:
    """If `fill` keeps a slice of the view, the result is a copy that the slice cannot change."""
    kept: list[memoryview] = []
    result = build(length, lambda view: kept.append(view[:]))
    kept[0][:] = b"\xff" * length
    assert result == bytes(length)


@pytest.mark.parametrize("length", LENGTHS)
def test_large_pages_are_a_hint(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system offers no large pages, the result is the same."""
    monkeypatch.setattr(memory, "_madvise", lambda: None)
    assert build(length, lambda view: _set(view, b"\x11")) == b"\x11" * length


@pytest.mark.parametrize("length", [4 * MIB, 4 * MIB + 1, 9 * MIB + 5])
def test_only_the_results_own_pages_are_advised(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice to the kernel covers only whole pages that lie inside the result."""
    advised: list[tuple[int, int]] = []
    monkeypatch.setattr(
        memory,
        "_madvise",
        lambda: lambda start, count, _: advised.append((start, count)),
    )
    addresses: list[int] = []

    def fill(view: memoryview) -> None:
        addresses.append(ctypes.addressof(ctypes.c_char.from_buffer(view)))

    build(length, fill)
    ((start, count),) = advised
    page = mmap.PAGESIZE
    assert start % page == count % page == 0
    assert addresses[0] <= start
    assert start + count <= addresses[0] + length
    assert count > length - 2 * page


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_messages_are_built_so(length: int, signed: bool) -> None:
    """Encrypting and decrypting at each of these lengths returns the same plaintext."""
    sealed = message.encrypt(_bytes(length), KEYRING, signed=signed)
    opened = message.decrypt(sealed, KEYRING)
    assert type(sealed) is type(opened) is bytes
    assert opened == _bytes(length)
