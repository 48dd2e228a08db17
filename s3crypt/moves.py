# SPDX-License-Identifier: Apache-2.0
"""Moves of one object or file: the source is deleted once its target is stored and confirmed.

A source is deleted only if it is still the one that was read. Moves inside S3 are in `rotation`,
because a move there is a copy with a deletion.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from .errors import ConfigError
from .local.files import flush_to_disk, moved_away
from .location import Location
from .modes import Mode
from .objects.access import Objects
from .objects.deleting import delete_source
from .objects.info import Description, ObjectInfo
from .objects.opened import Demand
from .transfer import Progress


def move_into_s3(  # noqa: PLR0913 - as `Objects.write` has them
    objects: Objects,
    path: str | Path,
    location: Location,
    mode: Mode,
    described: Description,
    *,
    conditions: Mapping[str, str],
    progress: Progress | None = None,
) -> ObjectInfo:
    """Store a file as an object, and remove the file if its inode, size and time are unchanged."""
    with moved_away(path, location) as source:
        return objects.write(
            source, location, mode, described, conditions=conditions, progress=progress
        )


def move_out_of_s3(
    objects: Objects,
    location: Location,
    demand: Demand,
    path: str | Path,
    *,
    if_absent: bool = False,
    progress: Progress | None = None,
) -> ObjectInfo:
    """Write an object to a file, flush that to the disk, and delete the object if unchanged."""
    _check_plain(path)
    info = objects.fetch(location, demand, path, if_absent=if_absent, progress=progress)
    flush_to_disk(path)
    arguments = demand.mode.read_arguments() if demand.mode else {}
    delete_source(objects.client, location, path, info.etag, arguments)
    return info


def _check_plain(path: str | Path) -> None:
    """Refuse a device or a pipe, which would not keep what is written to it."""
    try:
        state = os.stat(path)  # noqa: PTH116 - text or a path
    except OSError:
        return
    if not stat.S_ISREG(state.st_mode) and not stat.S_ISDIR(state.st_mode):
        raise ConfigError(f"{path} is no plain file, and cannot be moved to.", hint="Copy it.")
