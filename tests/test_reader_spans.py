# SPDX-License-Identifier: Apache-2.0
"""The cache of an open object, when very many ranges are requested."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from s3crypt.objects import spans


class _Counted:
    """A plaintext of zeros that counts the requests for it."""

    is_far = False

    def __init__(self, size: int, block: int) -> None:
        self.size = size
        self.block = block
        self.fetched = 0
        self.length = 0

    def fetch(self, start: int, end: int, sink: Any, buffers: Any) -> None:
        """Yield zeros in pieces of the length that real pieces have."""
        self.fetched += 1
        self.length += end - start
        for place in range(start, end, 2**19):
            length = min(2**19, end - place)
            if sink.room(place, length) is None:
                sink.take(place, memoryview(bytes(length)))

    def fetch_tail(self, length: int, sink: Any, buffers: Any) -> None:
        """Fetch no bytes: these tests do not read the object's end."""


def _work(count: int, block: int, apart: int, *, far: bool) -> tuple[int, int]:
    """Read `count` ranges. Return the numbers of requests and of Python function calls."""
    plaintext = _Counted(count * apart, block)
    plaintext.is_far = far
    cache = spans.PlaintextCache(plaintext, name="x", limit=2**20, workers=1)
    wanted = [(n * apart, n * apart + 10) for n in range(count)]
    calls = 0

    def tick(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    threading.setprofile(tick)
    sys.setprofile(tick)
    try:
        found = cache.read_ranges(wanted)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    cache.close()
    assert found == [bytes(10)] * count
    assert plaintext.length <= plaintext.size
    return plaintext.fetched, calls


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize(
    ("block", "apart"), [(128, 1024), (4096, 256), (4096, 1024)], ids=["far", "near", "same"]
)
def test_very_many_ranges_are_little_work_each(block: int, apart: int, *, far: bool) -> None:
    """The work for one range does not grow with the number of ranges.

    Quadratic work would take minutes.
    """
    count = 16_000
    requests, calls = _work(count, block, apart, far=far)
    assert requests <= (count if apart > block else 20)
    # 250 calls per range are enough, even if the code checks 32 runs of the section for each range.
    assert calls < count * 250


def test_the_sections_of_very_many_ranges_have_few_members() -> None:
    """Each range belongs only to the sections that contain bytes of it."""
    cache = spans.PlaintextCache(_Counted(2**36, 4096), name="x", limit=0, workers=4)
    one = [spans._Wanted(n * 2**20, n * 2**20 + 10, memoryview(b"")) for n in range(16_000)]
    assert sum(len(section.members) for section in cache._sections(one)) == 16_000
    side = [spans._Wanted(n * 5000, n * 5000 + 10, memoryview(b"")) for n in range(16_000)]
    sections = cache._sections(side)
    assert sum(len(section.members) for section in sections) <= 16_000 + len(sections)
    cache.close()
