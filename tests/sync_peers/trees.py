# SPDX-License-Identifier: Apache-2.0
"""Generated trees: each is a source and a target with all differences that a tool may compare.

Each tree is a separate folder, so one run of a tool synchronises many trees.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down", "across"]
# The ages of files, in seconds from the time at which the objects are stored. Objects of the same
# name are stored at least two seconds apart, because S3 lists whole seconds.
OLD, NEW = -86_400, 86_400
# Folders whose names sort differently by bytes, by parts and by characters, and names that a URI
# must quote.
_FOLDERS = ("", "a/", "a-b/", "a.b/", "a0/", "deep/er/", "ä/", "with blank/")
_NAMES = (
    "a!",
    "a.csv",
    "b.tmp",
    "b-1",
    "b.1",
    "z+1%25.csv",
    "ü.tmp",
    "&=?#.csv",
    "~",
    "B",
    "empty",
)


@dataclass(frozen=True, slots=True)
class Side:
    """A file or an object.

    Attributes:
        content: The bytes.
        age: For a file: its modification time in seconds after the time of storing. For an object:
            OLD if it is stored in the first round, NEW if in the second round.
        entry: The seconds in an object's `mtime` entry; None if it has no entry.
    """

    content: bytes
    age: int
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A name, with its source and its target. At least one of the two exists."""

    name: str
    source: Side | None
    target: Side | None


def tree(number: int, direction: Direction) -> list[Entry]:
    """Return the entries of a tree; the same number gives the same entries."""
    chance = random.Random(f"{direction} {number}")
    folders = chance.sample(_FOLDERS, 3)
    names = {chance.choice(folders) + chance.choice(_NAMES) for _ in range(chance.randint(4, 12))}
    # Every tree needs a source that is not empty, and at least one action.
    made = [_entry(chance, f"{number:03}/{name}", direction) for name in sorted(names)]
    return [*made, Entry(f"{number:03}/new", Side(b"new", OLD), None)]


def _entry(chance: random.Random, name: str, direction: Direction) -> Entry:
    size = 0 if name.endswith("empty") else chance.choice((1, 20, 3000))
    content = chance.randbytes(size)
    source = Side(content, chance.choice((OLD, NEW)))
    other = chance.choice((content, chance.randbytes(size), chance.randbytes(size + 1)))
    target = Side(other, chance.choice((OLD, NEW)))
    kind = chance.choice(("both", "both", "both", "source", "target"))
    if direction != "up":
        source = _as_object(chance, source, target)
    if direction != "down":
        target = _as_object(chance, target, source)
    return Entry(name, source if kind != "target" else None, target if kind != "source" else None)


def _as_object(chance: random.Random, side: Side, other: Side) -> Side:
    same = other.entry if other.entry is not None else other.age
    return Side(side.content, side.age, chance.choice((None, None, same, OLD - 60)))
