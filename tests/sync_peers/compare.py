# SPDX-License-Identifier: Apache-2.0
"""Compare s3crypt's sync with `aws s3 sync` and `rclone sync` on generated trees.

    python tests/sync_peers/compare.py [TREES]

runs each tool on its own copy of the same trees, in a separate sandbox, and prints the kinds of
names on which aws-cli and rclone disagree, with the action of each tool. It fails if aws-cli and
rclone agree and s3crypt does something else, or if s3crypt does not follow its own rule.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

if __package__ is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from s3crypt import sandbox as sandboxes
from sync_peers import tools
from sync_peers.trees import NEW, OLD, Direction, Entry, Side, tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sync_peers.tools import Made, Variant

DIRECTIONS: tuple[Direction, ...] = ("up", "down", "across")
_TYPES = {"up": (False, True), "down": (True, False), "across": (True, True)}


@dataclass
class Compared:
    """The results of a comparison.

    Attributes:
        trees, names: The numbers of compared trees and names.
        agreed: The number of names for which aws-cli and rclone did the same.
        against: The names for which both did the same, and s3crypt did something else.
        off_rule: The names for which s3crypt did not follow its rule.
        table: For each kind of name on which aws-cli and rclone disagree, the number of names.
    """

    trees: int = 0
    names: int = 0
    agreed: int = 0
    against: list[str] = field(default_factory=list)
    off_rule: list[str] = field(default_factory=list)
    table: Counter[tuple[str, ...]] = field(default_factory=Counter)


def compare(
    client: Any,
    bucket: str,
    folder: Path,
    *,
    count: int,
    variants: Sequence[Variant],
    chosen: Sequence[str] = tuple(tools.TOOLS),
) -> Compared:
    """Generate this many trees, synchronise them with the given tools, and compare the results."""
    found = Compared()
    runs = [(direction, variant) for variant in variants for direction in DIRECTIONS]
    batches = []
    for number, (direction, variant) in enumerate(runs):
        numbers = range(number, count, len(runs))
        entries = [entry for each in numbers for entry in tree(each, direction)]
        found.trees += len(numbers)
        if entries:
            batches.append((f"{number:02}", direction, variant, entries))
    _store(client, bucket, folder, batches, chosen)
    for name, direction, variant, entries in batches:
        made = {
            tool: run(*_places(bucket, folder, f"{name}-{tool}", direction), variant)
            for tool, run in tools.TOOLS.items()
            if tool in chosen
        }
        for entry in entries:
            _judge(found, entry, made, direction, variant)
    return found


def _places(bucket: str, folder: Path, name: str, direction: Direction) -> tuple[str, str]:
    in_s3 = _TYPES[direction]
    source, target = (
        f"s3://{bucket}/{name}/{side}/" if is_object else f"{folder}/{name}/{side}"
        for side, is_object in zip(("source", "target"), in_s3, strict=True)
    )
    return source, target


def _store(
    client: Any, bucket: str, folder: Path, batches: Iterable[Any], chosen: Sequence[str]
) -> None:
    """Store the trees of all batches once per tool.

    Files come first, then the objects, in two rounds.
    """
    sides = [
        each
        for name, direction, _, entries in batches
        for tool in chosen
        for each in _sides(f"{name}-{tool}", direction, entries)
    ]
    for place in {place.partition("/")[0] for place, _, _ in sides}:
        for which in ("source", "target"):
            (folder / place / which).mkdir(parents=True)
    now = int(time.time())
    for place, is_object, side in sides:
        if not is_object:
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(side.content)
            os.utime(path, (now + side.age, now + side.age))

    def put(item: tuple[str, bool, Side]) -> None:
        place, _, side = item
        entry = {} if side.entry is None else {"mtime": str(now + side.entry)}
        client.put_object(Bucket=bucket, Key=place, Body=side.content, Metadata=entry)

    with ThreadPoolExecutor(8) as pool:
        for age in (OLD, NEW):
            list(pool.map(put, [each for each in sides if each[1] and each[2].age == age]))
            # S3 lists times in whole seconds, so the rounds must be at least two seconds apart.
            time.sleep(2.1)


def _sides(
    name: str, direction: Direction, entries: Iterable[Entry]
) -> Iterator[tuple[str, bool, Side]]:
    """Yield the location of each file and object, its side, and whether it is an object."""
    for which, is_object in zip(("source", "target"), _TYPES[direction], strict=True):
        for entry in entries:
            side = getattr(entry, which)
            if side is not None:
                yield f"{name}/{which}/{entry.name}", is_object, side


def _judge(
    found: Compared, entry: Entry, made: dict[str, Made], direction: Direction, variant: Variant
) -> None:
    done = {tool: _action(entry.name, each) for tool, each in made.items()}
    found.names += 1
    if done["ours"] != _by_rule(entry, direction, variant):
        found.off_rule.append(f"{direction} {variant.name} {entry.name}: {done} {_kind(entry)}")
    if len(done) == 1:
        return
    if done["aws"] == done["rclone"]:
        found.agreed += 1
        if done["ours"] != done["aws"]:
            found.against.append(f"{direction} {variant.name} {entry.name}: {done} {_kind(entry)}")
        return
    size_only = ["--size-only"] if "size_only" in variant.ours else []
    found.table[(direction, *size_only, *_kind(entry), *done.values())] += 1


def _action(name: str, made: Made) -> str:
    if name in made.sent and name in made.deleted:
        return "sent and deleted"
    return "sent" if name in made.sent else "deleted" if name in made.deleted else "kept"


def _by_rule(entry: Entry, direction: Direction, variant: Variant) -> str:
    """Return the action that the rule in docs/sync.md prescribes."""
    names = variant.ours.get("names")
    if names is not None and not names.selects(entry.name):
        return "kept"
    source, target = entry.source, entry.target
    if source is None:
        return "deleted" if variant.ours.get("delete") else "kept"
    if target is None or len(source.content) != len(target.content):
        return "sent"
    is_equal = _time(source, direction != "up") == _time(target, direction != "down")
    if variant.ours.get("size_only") or is_equal:
        return "kept"
    return "kept" if _is_current(source, target, direction) else "sent"


def _is_current(source: Side, target: Side, direction: Direction) -> bool:
    if direction == "across":
        return source.age <= target.age
    # The objects were stored at a time between OLD and NEW.
    return (source if direction == "up" else target).age == OLD


def _time(side: Side, is_object: bool) -> object:
    """Return a modification time that can be compared.

    If there is none, return an object that is equal to no other.
    """
    if not is_object:
        return side.age
    return object() if side.entry is None else side.entry


def _kind(entry: Entry) -> tuple[str, ...]:
    source, target = entry.source, entry.target
    if source is None or target is None:
        return ("only the source" if target is None else "only the target",)
    size = "same" if len(source.content) == len(target.content) else "other"
    return (
        f"{size} size",
        "same content" if source.content == target.content else "other content",
        f"source {_told(source)}",
        f"target {_told(target)}",
    )


def _told(side: Side) -> str:
    age = "old" if side.age == OLD else "new"
    return age if side.entry is None else f"{age}, mtime {side.entry}"


def main() -> int:
    """Run the comparison and print its results."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    if missing := [name for name in ("aws", "rclone") if tools.path_of(name) is None]:
        print(f"missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    with sandboxes.running() as running, tempfile.TemporaryDirectory() as folder:
        os.environ.update(sandboxes.environment(running))
        client = boto3.client("s3")
        client.create_bucket(Bucket="trees")
        began = time.monotonic()
        found = compare(client, "trees", Path(folder), count=count, variants=tools.VARIANTS)
        seconds = time.monotonic() - began
    for key, times in sorted(found.table.items()):
        print(f"{times:5}  {'; '.join(key)}")
    for line in (*found.against, *found.off_rule):
        print(line)
    print(
        f"{found.trees} trees, {found.names} names: aws-cli and rclone did the same on "
        f"{found.agreed}, s3crypt something else on {len(found.against)} of these; "
        f"{len(found.off_rule)} not by the rule; {seconds:.0f} s"
    )
    return 1 if found.against or found.off_rule else 0


if __name__ == "__main__":
    sys.exit(main())
