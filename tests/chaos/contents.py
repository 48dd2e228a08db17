# SPDX-License-Identifier: Apache-2.0
"""Contents that say who wrote them, so that a reader can name the write that it has read.

A content begins and ends with its identity; between them are bytes that no two contents have at
the same place. Knows nothing of S3.
"""

from __future__ import annotations

import random
import re
from functools import cache

SHORTEST = 120
LONGEST = 12 * 2**20
_EDGE = 48
_IDENTITY = re.compile(rb"<([a-z0-9-]+):([0-9]+)>\.*")
_STEP = 61


@cache
def _base() -> bytes:
    return random.Random("contents").randbytes(LONGEST + _STEP * 2**16)


def make(identity: str, size: int) -> bytes:
    """Return the content of this identity (`w0-17`: writer, counter) and size."""
    edge = f"<{identity}:{size}>".encode().ljust(_EDGE, b".")
    if not SHORTEST <= size <= LONGEST or len(edge) != _EDGE:
        raise ValueError(f"no content has identity {identity!r} and size {size}")
    # The offset differs from write to write; contents of 65,536 writes overlap nowhere.
    start = _STEP * (_number(identity) % 2**16)
    return edge + _base()[start : start + size - 2 * _EDGE] + edge


def _number(identity: str) -> int:
    writer, _, counter = identity.rpartition("-")
    return int(counter) * 64 + int(re.sub("[^0-9]", "", writer) or "0")


def identify(edge: bytes) -> tuple[str, int] | None:
    """Return the identity and size that a content's first or last bytes name, or None."""
    found = _IDENTITY.fullmatch(edge[:_EDGE])
    return (found[1].decode(), int(found[2])) if found else None


def fault(data: bytes) -> str | None:
    """Return what is wrong with a whole content, or None where it is exactly what was written."""
    named = identify(data[:_EDGE])
    if named is None:
        return f"{len(data)} bytes that begin with no content's identity: {data[:_EDGE]!r}"
    expected = make(*named)
    if data == expected:
        return None
    if len(data) != len(expected):
        return f"{len(data)} bytes of content {named[0]}, which has {len(expected)}"
    first = next(at for at in range(len(data)) if data[at] != expected[at])
    return f"content {named[0]} differs from what was written from byte {first} on"


def edge_of(data: bytes) -> bytes:
    """Return as much of a content's beginning as names it."""
    return data[:_EDGE]


EDGE_LENGTH = _EDGE
