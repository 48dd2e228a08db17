# SPDX-License-Identifier: Apache-2.0
"""Synchronisation: make a target equal to its source, with as few transfers as possible.

`rules` decides whether the two sides differ, `places` walks a folder or a prefix, `pairs` merges
two walks, `transfers` transfers the bytes as `put`, `get` and `copy` do, and `job` combines them.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Literal

from s3crypt.errors import ConfigError, SyncError
from s3crypt.job_items import SyncOptions, check_apart, prefix_of
from s3crypt.jobs import EVERY_NAME
from s3crypt.modes import Mode
from s3crypt.moves import is_uri
from s3crypt.objects.access import Objects
from s3crypt.objects.checks import demanded
from s3crypt.objects.describing import Described, described_among
from s3crypt.objects.opened import ReadOptions

from .job import Sending, Sync, SyncOutcome
from .places import Folder, Prefix
from .transfers import copies, downloads, uploads

__all__ = ["Sync", "SyncOutcome", "begin", "completed"]


def begin(
    objects: Objects,
    modes: tuple[Mode | None, Mode | None],
    places: tuple[str | Path, str | Path],
    options: SyncOptions,
) -> Sync:
    """Return the synchronisation of a target with a source; see `Many.sync`.

    Args:
        objects: The engine.
        modes: The mode in which objects are read, and the mode of new objects.
        places: The source and the target.
        options: The options of `Many.sync`.

    Raises:
        ConfigError: Neither place is in S3, one place is inside the other, or an option does not
            apply.
    """
    said, (mode, to) = described_among(options), modes
    if is_uri(places[1]):
        target = Prefix(objects, prefix_of(str(places[1])), demanded(to))
        if is_uri(places[0]):
            sending = _across(_source(objects, mode, places[0], options), target, said, options)
        else:
            sending = _up(_folder(places[0], options), target, said, options)
    elif is_uri(places[0]):
        _refuse_description(said)
        source = _source(objects, mode, places[0], options)
        sending = _down(source, _folder(places[1], options), options)
    else:
        raise ConfigError(
            "Neither the source nor the target of the synchronisation is in S3.",
            hint="s3://bucket/prefix/",
        )
    return Sync(
        sending,
        names=EVERY_NAME if (names := options.get("names")) is None else names,
        deletes=options.get("delete", False),
        by=_compared_by(options),
        overwrites=not options.get("no_overwrite", False),
        dry_run=options.get("dry_run", False),
    )


def completed(
    outcomes: Generator[SyncOutcome, None, None],
    target: str | Path,
    on_outcome: Callable[[SyncOutcome], None] | None,
) -> tuple[SyncOutcome, ...]:
    """Run a synchronisation to its end. Return the outcomes of all names except unchanged names.

    Raises:
        SyncError: Some names failed, or no target was deleted because the source was not read,
            compared and copied completely.
    """
    told: list[SyncOutcome] = []
    try:
        with closing(outcomes):
            for outcome in outcomes:
                if on_outcome:
                    on_outcome(outcome)
                if outcome.action != "unchanged":
                    told.append(outcome)
    except SyncError as error:
        error.outcomes = tuple(told)
        raise
    told.sort(key=lambda outcome: outcome.target.encode("utf-8", "surrogateescape"))
    failed = [outcome for outcome in told if outcome.error is not None]
    if failed:
        names = "name was" if len(failed) == 1 else "names were"
        raise SyncError(
            f"{len(failed)} {names} not synchronised with {target}: {failed[0].error}",
            outcomes=tuple(told),
            hint="Fix the causes, and run the command again.",
        )
    return tuple(told)


def _compared_by(options: SyncOptions) -> Literal["time", "size", "content"]:
    if options.get("checksum") and options.get("size_only"):
        raise ConfigError("checksum and size_only exclude each other.")
    return "content" if options.get("checksum") else "size" if options.get("size_only") else "time"


def _up(source: Folder, target: Prefix, said: Described, options: SyncOptions) -> Sending:
    send = uploads(
        source,
        target,
        said,
        if_absent=options.get("no_overwrite", False),
        digests=options.get("checksum", False),
        progress=options.get("progress"),
    )
    return Sending(source, target, send)


def _down(source: Prefix, target: Folder, options: SyncOptions) -> Sending:
    send = downloads(
        source,
        target,
        if_absent=options.get("no_overwrite", False),
        progress=options.get("progress"),
    )
    return Sending(source, target, send)


def _across(source: Prefix, target: Prefix, said: Described, options: SyncOptions) -> Sending:
    from s3crypt import rotation  # noqa: PLC0415 - files do not need these eight modules

    if "metadata" in said:
        raise ConfigError(
            "metadata is for files that are stored; copies keep theirs, and their times.",
            hint="Copy objects with other metadata by S3Crypt.copy.",
        )
    if options.get("checksum"):
        raise ConfigError(
            "checksum compares files with objects; digests of two objects have different keys.",
            hint="Between prefixes, size and time decide.",
        )
    check_apart(source.uri, target.uri)
    origin = rotation.Origin(
        options.get("allow_unsigned", False),
        options.get("allow_unencrypted", False),
        options.get("written_in"),
    )
    copy_one = rotation.copier(
        source.objects,
        source.mode,
        target.written_mode,
        origin,
        drop_annotations=options.get("drop_annotations", False),
    )
    send = copies(target, copy_one, said, if_absent=options.get("no_overwrite", False))
    return Sending(source, target, send)


def _source(objects: Objects, mode: Mode | None, place: str | Path, options: SyncOptions) -> Prefix:
    read_options = ReadOptions(
        mode,
        allow_uncommitted=options.get("allow_uncommitted", False),
        allow_unsigned=options.get("allow_unsigned", False),
        written_in=options.get("written_in"),
    )
    return Prefix(objects, prefix_of(str(place)), mode, read_options)


def _folder(place: str | Path, options: SyncOptions) -> Folder:
    left_out = options.get("left_out") or (lambda _path, _why: None)
    return Folder(Path(place), left_out, options.get("journal"))


def _refuse_description(said: Described) -> None:
    for name in said:
        raise ConfigError(f"{name} is for objects that are written, and the target is a folder.")
