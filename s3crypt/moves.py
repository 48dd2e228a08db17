# SPDX-License-Identifier: Apache-2.0
"""Move one object or file: the source is deleted after its target was stored and confirmed.

A source is deleted only if it is still the object or file that was read. A move inside S3 is a copy
followed by a deletion, which `rotation` performs.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError
from .local.files import flush_to_disk, moved_away
from .location import Location
from .modes import Mode
from .objects.access import Objects
from .objects.checks import demanded
from .objects.deleting import delete_source
from .objects.describing import describe_new
from .objects.info import Description, ObjectInfo, copied
from .objects.instruction_files import refuse_separation
from .objects.opened import ReadOptions
from .transfer import Progress
from .transfer.conditions import IF_ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The arguments of `S3Crypt.move`, without the source and the target."""

    to: Mode | None
    if_absent: bool
    written_as: str | None
    written_in: str | None
    allow_unsigned: bool
    allow_unencrypted: bool
    drop_annotations: bool


def move(
    objects: Objects, mode: Mode | None, source: str | Path, target: str | Path, how: Move
) -> ObjectInfo:
    """Move one object or file.

    `mode` is the mode in which an object is read. `S3Crypt.move` documents the other arguments.
    """
    if is_uri(source) and is_uri(target):
        return _move_inside_s3(objects, mode, str(source), str(target), how)
    if is_uri(source):
        read_options = ReadOptions(
            mode,
            written_as=how.written_as,
            written_in=how.written_in,
            allow_unsigned=how.allow_unsigned,
        )
        location = Location.parse_object(str(source))
        return move_out_of_s3(objects, location, read_options, target, if_absent=how.if_absent)
    if not is_uri(target):
        raise ConfigError(
            "Neither the source nor the target of the move is in S3.", hint="s3://bucket/name"
        )
    location = Location.parse_object(str(target))
    described = describe_new(location, {}, source)
    conditions = IF_ABSENT if how.if_absent else {}
    to = demanded(how.to)
    return move_into_s3(objects, source, location, to, described, conditions=conditions)


def is_uri(place: str | Path) -> bool:
    """Return whether a source or a target is a URI of S3."""
    return isinstance(place, str) and place.startswith("s3://")


def _move_inside_s3(
    objects: Objects, mode: Mode | None, source: str, target: str, how: Move
) -> ObjectInfo:
    from . import rotation  # noqa: PLC0415 - puts and gets do not need these eight modules

    origin = rotation.Origin(
        how.allow_unsigned, how.allow_unencrypted, how.written_in, how.written_as
    )
    copy = rotation.copier(
        objects, mode, demanded(how.to), origin, drop_annotations=how.drop_annotations
    )
    places = Location.parse_object(source), Location.parse_object(target)
    return copied(copy(*places, if_absent=how.if_absent, move=True))


def move_into_s3(  # noqa: PLR0913 - the arguments of `Objects.write`
    objects: Objects,
    path: str | Path,
    location: Location,
    mode: Mode,
    described: Description,
    *,
    conditions: Mapping[str, str],
    progress: Progress | None = None,
) -> ObjectInfo:
    """Store a file as an object. Then remove the file if its inode, size and time are unchanged."""
    with moved_away(path, location) as source:
        return objects.write(
            source, location, mode, described, conditions=conditions, progress=progress
        )


def move_out_of_s3(  # noqa: PLR0913 - the arguments of `Objects.fetch`
    objects: Objects,
    location: Location,
    read_options: ReadOptions,
    path: str | Path,
    *,
    if_absent: bool = False,
    keeps_time: bool = False,
    progress: Progress | None = None,
) -> ObjectInfo:
    """Write an object to a file and flush it to the disk.

    Then delete the object if it is unchanged.
    """
    _check_plain(path)
    mode, neighbour = read_options.mode, read_options.neighbour
    is_there = None if neighbour is None else neighbour.is_there
    refuse_separation(objects.client, location, mode, is_there=is_there)
    info = objects.fetch(
        location, read_options, path, if_absent=if_absent, keeps_time=keeps_time, progress=progress
    )
    flush_to_disk(path)
    if neighbour is not None and neighbour.etag != info.etag:
        # The listing does not describe this object, which was written later.
        refuse_separation(objects.client, location, mode)
    arguments = mode.read_arguments() if mode else {}
    delete_source(objects.client, location, path, info.etag, arguments)
    return info


def _check_plain(path: str | Path) -> None:
    """Refuse a device or a pipe, because it would not keep the written bytes."""
    try:
        state = os.stat(path)  # noqa: PTH116 - text or a path
    except OSError:
        return
    if not stat.S_ISREG(state.st_mode) and not stat.S_ISDIR(state.st_mode):
        raise ConfigError(
            f"{path} is not a regular file, and cannot be the target of a move.", hint="Copy it."
        )
