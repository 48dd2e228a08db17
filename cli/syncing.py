# SPDX-License-Identifier: Apache-2.0
"""The command sync: makes a folder or prefix like another folder or prefix."""

import os
from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ConfigError

from .descriptions import describing_new_options, refuse_description
from .facts import info_fields
from .jobs import Job, jobs_option, journal_option, opened_journal
from .options import (
    UNENCRYPTED,
    ModeOptions,
    Settings,
    common_options,
    option,
    origin_options,
    writing_options,
)
from .output import print_line, say
from .places import (
    allow_uncommitted_option,
    allow_unsigned_option,
    check_exit_code,
    drop_annotations_option,
    dry_run_option,
    end_dry_run,
    exit_code_option,
    make_store,
    no_overwrite_option,
    origin_mode,
    prefix_of,
    written_in_option,
)
from .selection import FilteringCommand, Rules, filter_options, local_filter, sparing

if TYPE_CHECKING:
    from s3crypt import S3Crypt, SyncOutcome

# Options for reading an object -> whether they apply to S3 -> folder, and to S3 -> S3.
_READING = {
    "allow_unsigned": (True, True),
    "allow_uncommitted": (True, False),
    "drop_annotations": (False, True),
}
_SAID = {"copied": "copy", "deleted": "delete"}

delete_option = option(
    "--delete",
    is_flag=True,
    environment=False,
    help=(
        "Delete files or objects of TARGET that SOURCE does not have, after all of SOURCE was "
        "listed."
    ),
)
checksum_option = option(
    "--checksum",
    is_flag=True,
    help="Compare contents instead of times: files with the digests or checksums of objects.",
)
size_only_option = option("--size-only", is_flag=True, help="Compare only sizes.")


@click.command(cls=FilteringCommand)
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@common_options
@writing_options
@origin_options
@written_in_option
@allow_unsigned_option
@allow_uncommitted_option
@drop_annotations_option
@describing_new_options
@delete_option
@size_only_option
@checksum_option
@no_overwrite_option
@filter_options
@jobs_option
@journal_option
@dry_run_option
@exit_code_option
def sync(
    settings: Settings,
    options: ModeOptions,
    origin: ModeOptions,
    said: dict[str, Any],
    source: str,
    target: str,
    rules: Rules,
    journal: str | None,
    exit_code: bool,
    **given: Any,
) -> None:
    """Make a target equal to its source, between a folder and a prefix or two prefixes.

    Files and objects that differ in size or time are copied. --delete deletes targets that have no
    source, but never if SOURCE is missing, empty or partly unreadable. Names that --exclude skips
    are not changed on either side.

    --mode, --key and their companions describe objects in TARGET, --from-... objects in SOURCE, if
    they differ.

    \b
    s3crypt sync reports s3://acme/reports/ --key kms:alias/reports --delete
    s3crypt sync s3://acme/reports/ copy --key kms:alias/reports
    s3crypt sync s3://acme/reports/ s3://archive/reports/ --mode sse-s3 \\
      --from-key kms:alias/reports
    """
    dry_run = given["dry_run"]
    check_exit_code(exit_code=exit_code, dry_run=dry_run)
    source, target = _as_prefix(source), _as_prefix(target)
    how = {name: value for name, value in given.items() if value and name != "jobs"}
    store, modes = _store(settings, options, origin, (source, target), how, said)
    job_identity: dict[str, Any] = {
        "verb": "sync",
        "source": _identity(source),
        "target": _identity(target),
        "rules": [list(rule) for rule in rules],
        "modes": [options.told(), origin.told()],
        "how": {**how, **said},
    }
    opened = opened_journal(journal, settings, store, dry_run=dry_run, **job_identity)
    tell = print_line if dry_run else say

    names = local_filter(rules)
    for place in (source, target):
        if not place.startswith("s3://"):
            keys = (*options.key_files, *origin.key_files)
            names = sparing(names, place, keys, settings.left_out)

    with opened as notes, Job("sync", settings, names_all=dry_run, tell=tell) as job:
        outcomes = store.many.sync(
            source,
            target,
            names=names,
            jobs=given["jobs"],
            journal=notes,
            found=job.found,
            progress=job.moved,
            left_out=settings.left_out,
            **how,
            **modes,
            **said,
        )
        for outcome in job.closing(outcomes):
            _tell(job, outcome, dry_run=dry_run)
    job.finish(unit="names")
    end_dry_run(exit_code=exit_code, would_change=job.would_change)


def _store(
    settings: Settings,
    options: ModeOptions,
    origin: ModeOptions,
    places: tuple[str, str],
    how: dict[str, Any],
    said: dict[str, Any],
) -> "tuple[S3Crypt, dict[str, Any]]":
    """Return the store for the job, and further arguments of `Many.sync`, such as `to`."""
    are_uris = [place.startswith("s3://") for place in places]
    if not any(are_uris):
        raise ConfigError(
            f"Neither {places[0]} nor {places[1]} is in S3.", hint="Use rsync for that."
        )
    written_in = how.pop("written_in", None)
    if not are_uris[0]:
        origin.check_none("a folder as source")
        if origin.mode or any(name in how for name in _READING):
            raise ConfigError("Options on how objects are read are for a source in S3.")
        to = options.required_mode_for(settings)
        return make_store(to, settings, written_in), {}
    for name in [name for name in how if name in _READING]:
        if not _READING[name][are_uris[1]]:
            kind = "to objects" if are_uris[1] else "to files"
            raise ConfigError(f"--{name.replace('_', '-')} does not apply {kind}.")
    more = {} if written_in is None else {"written_in": written_in}
    if not are_uris[1]:
        refuse_description(said, f"{places[1]} is a folder")
        source = origin if origin.mode or origin.values else options
        return make_store(source.mode_for(settings), settings), more
    to = options.required_mode_for(settings)
    now = origin_mode(origin, options, settings, written_in)
    is_plain = origin.mode == UNENCRYPTED
    if now is None and not is_plain:
        now = to
    return make_store(now, settings), {**more, "to": to, "allow_unencrypted": is_plain}


def _as_prefix(place: str) -> str:
    return prefix_of(place) if place.startswith("s3://") else place


def _identity(place: str) -> str:
    return place if place.startswith("s3://") else os.path.realpath(place)


def _tell(job: Job, outcome: "SyncOutcome", *, dry_run: bool) -> None:
    action: str = outcome.action
    if dry_run and action in _SAID:
        action = f"would {_SAID[action]}"
    fields = {"source": outcome.source, "target": outcome.target}
    told = outcome.target if outcome.source is None else f"{outcome.source} -> {outcome.target}"
    if outcome.action in ("unchanged", "skipped"):
        job.kept(action, fields, told)
        return
    info = info_fields(outcome.info) if outcome.info else {}
    job.ended(action, outcome.error, {**fields, **info}, f"{action} {told}")
