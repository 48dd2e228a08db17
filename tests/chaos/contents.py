# SPDX-License-Identifier: Apache-2.0
"""Contents of objects. Each content names the write that made it, so a reader can identify it.

A content begins and ends with its identity. The bytes between them differ from the bytes of all
other contents at the same position. The module does not depend on S3.
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
    """Return the content of this size for a write.

    `identity` is the writer and the writer's counter, such as `w0-17`.
    """
    edge = f"<{identity}:{size}>".encode().ljust(_EDGE, b".")
    if not SHORTEST <= size <= LONGEST or len(edge) != _EDGE:
        raise ValueError(f"no content has identity {identity!r} and size {size}")
    # Each write has its own offset, so the contents of 65,536 writes never overlap.
    start = _STEP * (_number(identity) % 2**16)
    return edge + _base()[start : start + size - 2 * _EDGE] + edge


def _number(identity: str) -> int:
    writer, _, counter = identity.rpartition("-")
    return int(counter) * 64 + int(re.sub("[^0-9]", "", writer) or "0")


def identify(edge: bytes) -> tuple[str, int] | None:
    """Return the identity and the size that the first or last bytes of a content name.

    Return None if the bytes name no identity.
    """
    found = _IDENTITY.fullmatch(edge[:_EDGE])
    return (found[1].decode(), int(found[2])) if found else None


def fault(data: bytes) -> str | None:
    """Return the fault of a complete content. Return None if it is exactly as it was written."""
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
    """Return the first bytes of a content, which contain its identity."""
    return data[:_EDGE]


EDGE_LENGTH = _EDGE
