# SPDX-License-Identifier: Apache-2.0
"""Transfer the source of a pair to its target, as `put`, `get` and `copy` do, with its time."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from s3crypt import metadata as entries
from s3crypt.errors import StorageError
from s3crypt.jobs import FoundFile, TargetFolder
from s3crypt.local.sources import FileSource, Source, StreamSource, opening
from s3crypt.location import Location
from s3crypt.objects.describing import Described, changes_to, describe_new
from s3crypt.objects.info import ObjectInfo, copied
from s3crypt.transfer import Progress
from s3crypt.transfer.conditions import IF_ABSENT

from .contents import changed, hmac_of
from .pairs import Pair
from .places import Folder, Prefix


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of a transfer.

    Attributes:
        info: The facts about the object.
        version: The text for the journal that identifies the source that was read and the new
            target.
    """

    info: ObjectInfo
    version: str


def uploads(
    source: Folder,
    target: Prefix,
    said: Described,
    *,
    if_absent: bool,
    digests: bool,
    progress: Progress | None,
) -> Callable[[Pair], Sent]:
    """Return a function that stores the file of a pair. The object gets its modification time.

    If `digests`, each client-side object gets a digest of its content. The file is then read twice.
    """

    def send(pair: Pair) -> Sent:
        found = pair.source
        if not isinstance(found, FoundFile):
            raise AssertionError("unreachable: a folder has files")  # noqa: TRY004
        location = Location.parse_object(target.at(pair.name))
        # The time from the walk is stored. If the file was written to since then, the next run
        # sends it again.
        metadata = {**(said.get("metadata") or {}), **entries.of_time(found.mtime_ns)}
        described = describe_new(location, {**said, "metadata": metadata}, found.path)
        conditions = IF_ABSENT if if_absent else {}
        with _opened(found.path) as (file, opened):
            info = target.objects.write(
                opened,
                location,
                target.written_mode,
                described,
                conditions=conditions,
                progress=progress,
                digest=hmac_of(file, found.path) if digests and target.is_sealed else None,
            )
        return Sent(info, f"{source.version(found)} {info.etag}")

    return send


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Source]]:
    """Yield an open file and its source.

    The source raises an error if the file changes meanwhile.
    """
    with opening(path) as file:
        before = os.fstat(file.fileno())

        def check() -> None:
            now = os.fstat(file.fileno())
            if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise changed(path)

        # A file without a size is read as a stream. This includes empty files.
        yield file, FileSource.of(file, str(path)) or StreamSource(file, None, check)


def downloads(
    source: Prefix, target: Folder, *, if_absent: bool, progress: Progress | None
) -> Callable[[Pair], Sent]:
    """Return a function that writes the object of a pair to its file. The file gets its time."""
    targets = TargetFolder(target.root, source.uri)

    def send(pair: Pair) -> Sent:
        if not isinstance(pair.source, tuple):
            raise AssertionError("unreachable: a prefix has objects")  # noqa: TRY004
        location, read_options = source.to_read(pair.source)
        with targets.claimed(str(location)) as path:
            if target.journal is not None and target.journal.owns(path):
                raise StorageError(
                    f"{location}: {path} is this job's journal; not written.",
                    hint="Keep the journal in another folder.",
                )
            info = source.objects.fetch(
                location,
                read_options,
                path,
                if_absent=if_absent,
                keeps_time=True,
                progress=progress,
            )
        return Sent(info, f"{info.etag} {_version(path)}")

    return send


def copies(
    target: Prefix,
    copy_one: Callable[..., ObjectInfo | None],
    said: Described,
    *,
    if_absent: bool,
) -> Callable[[Pair], Sent]:
    """Return a function that copies the object of a pair. The copy keeps metadata and time."""

    def send(pair: Pair) -> Sent:
        if not isinstance(pair.source, tuple):
            raise AssertionError("unreachable: a prefix has objects")  # noqa: TRY004
        listed, neighbour = pair.source
        to = Location.parse_object(target.at(pair.name))
        how: Mapping[str, Any] = {"changes": changes_to(to, said), "neighbour": neighbour}
        info = copied(copy_one(Location.parse(listed.uri), to, if_absent=if_absent, **how))
        return Sent(info, f"{listed.etag} {info.etag}")

    return send


def _version(path: Path) -> str:
    state = path.stat()
    return FoundFile(path, "", state.st_size, state.st_mtime_ns).version
