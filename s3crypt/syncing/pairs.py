# SPDX-License-Identifier: Apache-2.0
"""Pairs of a source and a target with the same relative name. Both sides are walked in order.

The memory does not grow with the number of names, because both walks are sorted like S3's listings
and are merged.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Self, TypeAlias, TypeVar

from s3crypt.errors import StorageError
from s3crypt.jobs import FoundFile, Unusable
from s3crypt.objects.access import ListedObject
from s3crypt.objects.opened import Neighbour

Listed: TypeAlias = tuple[ListedObject, Neighbour | None]
Item: TypeAlias = FoundFile | Listed
_Found = TypeVar("_Found", bound=Item | Unusable)

# Targets without a source are kept in memory up to this many bytes. After that, they are kept in a
# temporary file.
_IN_MEMORY = 2**20


@dataclass(frozen=True, slots=True)
class Pair:
    """A source, and its target if the target exists.

    Attributes:
        name: The relative name of source and target. For an unusable source, its path.
        source: The source.
        target: The target. None if it does not exist.
    """

    name: str
    source: Item | Unusable
    target: Item | None = None


def merged(
    sources: Iterable[tuple[str, Item | Unusable]],
    targets: Iterable[tuple[str, Item]],
    extras: "Extras | None",
) -> Iterator[Pair]:
    """Yield a pair for each source. Add each target that has no source to `extras`.

    Raises:
        StorageError: A walk is not in the order of S3's listings.
    """
    left = _in_order(targets)
    target = next(left, None)
    for name, source in _in_order(sources):
        if isinstance(source, Unusable):
            yield Pair(name, source)
            continue
        while target is not None and target[0] < name:
            _keep(extras, target)
            target = next(left, None)
        is_there = target is not None and target[0] == name
        yield Pair(name, source, target[1] if is_there and target else None)
        if is_there:
            target = next(left, None)
    while target is not None:
        _keep(extras, target)
        target = next(left, None)


def _keep(extras: "Extras | None", target: tuple[str, Item]) -> None:
    if extras is not None:
        extras.add(*target)


def _in_order(found: Iterable[tuple[str, _Found]]) -> Iterator[tuple[str, _Found]]:
    """Yield the items. Raise an error if a name is not greater than the name before it.

    If the walks were not sorted, targets with a source would be taken for targets without a source,
    and would be deleted.
    """
    before: str | None = None
    for name, item in found:
        if not isinstance(item, Unusable):
            # Texts are compared by their code points. This gives the same order as their UTF-8
            # bytes.
            if before is not None and name <= before:
                raise StorageError(
                    f"{name!r} was listed after {before!r}: the listing is not sorted by name.",
                    hint="sync needs a sorted listing. Use cp instead.",
                )
            before = name
        yield name, item


class Extras:
    """The targets without a source, in the order in which they were found.

    They are kept here until the whole source is known. If there are many, they are in a temporary
    file, which is removed at the end of the `with` block.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(  # noqa: SIM115 - closed by `__exit__`
            _IN_MEMORY, mode="w+", encoding="utf-8", newline="\n"
        )
        self.count = 0

    def add(self, name: str, item: Item) -> None:
        """Add a target."""
        if isinstance(item, FoundFile):
            fields = [name, str(item.path), item.size, item.mtime_ns]
        else:
            listed = item[0]
            when = listed.last_modified.isoformat()
            fields = [name, listed.uri, listed.stored_size, listed.etag, when]
        self._file.write(f"{json.dumps(fields)}\n")
        self.count += 1

    def all(self) -> Iterator[tuple[str, FoundFile | ListedObject]]:
        """Yield each target with its relative name."""
        self._file.seek(0)
        for line in self._file:
            name, place, size, *rest = json.loads(line)
            if len(rest) == 1:
                yield name, FoundFile(Path(place), name, size, rest[0])
            else:
                etag, when = rest
                yield name, ListedObject(place, size, etag, datetime.fromisoformat(when))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
