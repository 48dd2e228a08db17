# SPDX-License-Identifier: Apache-2.0
"""Commands that copy and move: cp and mv, between files and S3, and inside S3."""

from typing import Any

import click

from s3crypt.errors import ConfigError

from .completion import complete_path
from .descriptions import describing_new_options, refuse_description
from .jobs import jobs_option, journal_option
from .options import (
    UNENCRYPTED,
    Command,
    ModeOptions,
    Settings,
    common_options,
    origin_options,
    with_options,
    writing_options,
)
from .own_keys import check_not_moved
from .places import (
    allow_uncommitted_option,
    allow_unsigned_option,
    allow_unverified_signature_option,
    check_exit_code,
    drop_annotations_option,
    dry_run_option,
    exit_code_option,
    if_absent_option,
    make_store,
    no_overwrite_option,
    origin_mode,
    preserve_option,
    recursive_option,
    version_id_option,
    written_as_option,
    written_in_option,
)
from .selection import FilteringCommand, filter_options, sources_argument
from .single import Transfer
from .transfers import inside_s3, into_s3, out_of_s3

_CP_HELP = """Copy files into S3, objects to files, or objects inside S3.

--mode, --key and their companions describe the copy in S3, --from-... the source, if it differs. To
copy an object to a file, give either.

A file goes into S3 as with put, and an object to a file as with get. Inside S3, S3 itself copies
SSE objects, and client-side objects if the copy keeps their keys and bindings. All other objects
are streamed through this process and re-encrypted.

\b
s3crypt cp q3.csv s3://acme/2026/ --key kms:alias/reports
s3crypt cp 's3://acme/2026/*.csv' reports/ --key kms:alias/reports
s3crypt cp -r s3://acme/2026/ s3://archive/2026/ --mode sse-s3 \\
  --from-key kms:alias/reports
"""
_MV_HELP = """Move files into S3, objects to files, or objects inside S3.

mv works like cp, and then deletes each source whose target is stored. It keeps a source that
changed meanwhile: an object by its ETag, a file by its inode, size and time. A versioned bucket
keeps the versions.

\b
s3crypt mv q3.csv s3://acme/2026/ --key kms:alias/reports
s3crypt mv -r s3://acme/2026/ s3://acme/old/ --key kms:alias/reports
"""
# Options for reading an object -> whether they apply to copies inside S3.
_READING = {
    "version_id": True,
    "written_as": True,
    "allow_unsigned": True,
    "drop_annotations": True,
    "allow_uncommitted": False,
    "allow_unverified_signature": False,
}


def _writing_many(command: Command) -> Command:
    """Give a command the options for writing objects and files, and for jobs on many of them."""
    options = (
        describing_new_options,
        if_absent_option,
        no_overwrite_option,
        preserve_option,
        recursive_option,
        filter_options,
        jobs_option,
        journal_option,
        dry_run_option,
        exit_code_option,
    )
    return with_options(command, options)


@click.command(cls=FilteringCommand, help=_CP_HELP)
@sources_argument
@click.argument("target", metavar="TARGET", shell_complete=complete_path)
@common_options
@writing_options
@origin_options
@version_id_option
@written_as_option
@written_in_option
@allow_unsigned_option
@allow_uncommitted_option
@allow_unverified_signature_option
@drop_annotations_option
@_writing_many
def cp(settings: Settings, **given: Any) -> None:
    """Copy files into S3, objects to files, or objects inside S3."""
    _transfer("cp", settings, **given)


@click.command(cls=FilteringCommand, help=_MV_HELP)
@sources_argument
@click.argument("target", metavar="TARGET", shell_complete=complete_path)
@common_options
@writing_options
@origin_options
@written_as_option
@written_in_option
@allow_unsigned_option
@drop_annotations_option
@_writing_many
def mv(settings: Settings, **given: Any) -> None:
    """Move files into S3, objects to files, or objects inside S3."""
    _transfer("mv", settings, **given)


def _transfer(
    verb: str,
    settings: Settings,
    *,
    options: ModeOptions,
    origin: ModeOptions,
    said: dict[str, Any],
    sources: tuple[str, ...],
    target: str,
    written_in: str | None,
    if_absent: bool,
    preserve: bool,
    **given: Any,
) -> None:
    check_exit_code(exit_code=given["exit_code"], dry_run=given["dry_run"])
    reading = {name: given.pop(name) for name in _READING if name in given}
    reading = {name: value for name, value in reading.items() if value}
    are_uris = [each.startswith("s3://") for each in sources]
    how = {**reading, **({"if_absent": True} if if_absent else {})}
    how |= _preserving(preserve=preserve, is_inside=all((*are_uris, target.startswith("s3://"))))
    if written_in is not None:
        how["written_in"] = written_in
    identity = {"modes": [options.told(), origin.told()], "how": {**how, **said}}
    keys = (*options.key_files, *origin.key_files)
    transfer = Transfer(settings, verb, sources, target, identity=identity, key_files=keys, **given)
    if any(are_uris) and not all(are_uris):
        raise ConfigError(
            "Some sources are files, and some are objects.",
            hint="Run one command for the files and one for the objects.",
        )
    if not any(are_uris) and not target.startswith("s3://"):
        raise ConfigError(
            f"Neither a source nor {target} is in S3.", hint=f"Use the system's {verb} for that."
        )
    if not target.startswith("s3://"):
        refuse_description(said, f"{target} is a file")
        if "drop_annotations" in how:
            raise ConfigError("--drop-annotations is for copies inside S3; a file has none.")
        source = origin if origin.mode or origin.values else options
        out_of_s3(transfer, make_store(source.mode_for(settings), settings), how)
        return
    to = options.required_mode_for(settings)
    if not any(are_uris):
        _refuse_reading(origin, reading)
        if transfer.is_move:
            check_not_moved(sources, keys)
        store = make_store(to, settings, written_in)
        into_s3(transfer, store, to, {**said, **how})
        return
    for name in [name for name in reading if not _READING[name]]:
        raise ConfigError(f"--{name.replace('_', '-')} is for copies to files.")
    now = origin_mode(origin, options, settings, written_in)
    if now is None and origin.mode != UNENCRYPTED:
        now = to
    how |= {**said, "allow_unencrypted": origin.mode == UNENCRYPTED}
    inside_s3(transfer, make_store(now, settings), to, how)


def _preserving(*, preserve: bool, is_inside: bool) -> dict[str, Any]:
    if preserve and is_inside:
        raise ConfigError("--preserve is for files; copies inside S3 keep all metadata.")
    return {"preserve": True} if preserve else {}


def _refuse_reading(origin: ModeOptions, reading: dict[str, Any]) -> None:
    """Refuse options for reading objects if the sources are files."""
    origin.check_none("a file as source")
    if origin.mode:
        raise ConfigError("--from-mode does not apply to a file as source.")
    for name in reading:
        raise ConfigError(f"--{name.replace('_', '-')} is for an object that is read.")
