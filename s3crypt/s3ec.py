# SPDX-License-Identifier: Apache-2.0
"""The marks by which objects of the Amazon S3 Encryption Client are recognised.

This version cannot read their format.

The envelope (wrapped key, IV, algorithms) is in the object's metadata or in a second object, the
*instruction file*: `NAME.instruction`, a JSON object with texts. This module makes no requests.
Source: the S3 Encryption Client specification, `content-metadata.md` and `metadata-strategy.md`.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

SUFFIX = ".instruction"
# An instruction file may have this metadata entry, with any value. The clients in Java, C++ and
# .NET write it.
INSTRUCTION_MARK = "x-amz-crypto-instr-file"
# The maximum length of an instruction file. It is enough for the wrapped key and the description of
# any key.
MAX_INSTRUCTION_LENGTH = 64 * 2**10
# The ciphertext of an empty plaintext has a GCM tag or a block of CBC padding.
MIN_CIPHERTEXT_LENGTH = 16
MAX_NAME_LENGTH = 1024  # S3's limit, in bytes of UTF-8

_KEYS = ("x-amz-key", "x-amz-key-v2", "x-amz-3")
# Ruby's client adds x-amz-unencrypted-content-length to the object even if there is an instruction
# file.
ENTRIES = frozenset(
    {
        *_KEYS,
        "x-amz-iv",
        "x-amz-matdesc",
        "x-amz-wrap-alg",
        "x-amz-cek-alg",
        "x-amz-tag-len",
        "x-amz-unencrypted-content-length",
        "x-amz-c",
        "x-amz-w",
        "x-amz-d",
        "x-amz-i",
        "x-amz-m",
        "x-amz-t",
        INSTRUCTION_MARK,
    }
)
# The minimum entries of an instruction file: of V1, of V2, of V3, and of old .NET clients.
_ENVELOPES = (
    {"x-amz-key", "x-amz-iv"},
    {"x-amz-key-v2", "x-amz-iv"},
    {"x-amz-3", "x-amz-w"},
    {"EncryptedEnvelopeKey", "IV"},
)


def marks(metadata: Mapping[str, str]) -> list[str]:
    """Return the sorted names of an object's metadata entries that belong to this client.

    The Go client writes some entries without a value. Such entries are ignored.
    """
    return sorted(
        name
        for name, value in metadata.items()
        if name in ENTRIES and (value or name == INSTRUCTION_MARK)
    )


def has_key(metadata: Mapping[str, str]) -> bool:
    """Return whether the wrapped key is in the object's metadata."""
    return any(metadata.get(name) for name in _KEYS)


def may_begin_instruction_file(start: bytes) -> bool:
    """Return whether a file may be an instruction file, by its first 4 KiB (or all its bytes)."""
    return start.lstrip()[:1] == b"{" and any(
        f'"{name}"'.encode() in start for envelope in _ENVELOPES for name in envelope
    )


def is_instruction_file(body: bytes) -> bool:
    """Return whether a complete body is an instruction file."""
    try:
        entries = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(entries, dict) and any(
        all(isinstance(entries.get(name), str) for name in envelope) for envelope in _ENVELOPES
    )


def beside(name: str) -> str | None:
    """Return the name of an object's instruction file. Return None if it is too long for S3."""
    instruction = name + SUFFIX
    return instruction if len(instruction.encode()) <= MAX_NAME_LENGTH else None


def with_neighbours(
    items: Iterable[T], name_of: Callable[[T], str]
) -> Iterator[tuple[T, bool | None]]:
    """Yield each item of a listing, and whether the listing contains its instruction file, too.

    The second value is None (unknown) if the listing is not in S3's order. Otherwise an item is
    held back until the listing has passed the position of its instruction file, so only the items
    between the two are in memory.
    """
    waiting: deque[tuple[T, str]] = deque()
    found: set[str] = set()
    is_sorted, last = True, b""
    for item in items:
        name = name_of(item)
        place = _place(name)
        is_sorted, last = is_sorted and last <= place, place
        waiting.append((item, name))
        if name.endswith(SUFFIX):
            found.add(name)
        while waiting and not (is_sorted and place < _place(waiting[0][1] + SUFFIX)):
            first, name = waiting.popleft()
            yield first, (name + SUFFIX in found if is_sorted else None)
    for first, name in waiting:
        yield first, name + SUFFIX in found


def _place(name: str) -> bytes:
    """Return the bytes by which S3 sorts the names in a listing."""
    return name.encode("utf-8", "surrogateescape")
