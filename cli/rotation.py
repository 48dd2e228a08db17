# SPDX-License-Identifier: Apache-2.0
"""The command rotate: changes the mode or key of existing objects."""

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ConfigError

from .completion import complete_uri
from .help import MANY
from .jobs import Job, jobs_option, journal_option, opened_journal, refuse_job_options
from .options import (
    UNENCRYPTED,
    ModeOptions,
    Settings,
    common_options,
    option,
    origin_options,
    writing_options,
)
from .output import print_json, print_line, say, size_text
from .places import (
    allow_unsigned_option,
    check_exit_code,
    drop_annotations_option,
    dry_run_option,
    end_dry_run,
    exit_code_option,
    make_store,
    name_of,
    origin_mode,
    prefix_of,
    recursive_option,
    written_in_option,
)
from .selection import FilteringCommand, Rules, filter_options, local_filter

if TYPE_CHECKING:
    from s3crypt import RotationOutcome


@click.command(cls=FilteringCommand)
@click.argument("uri", metavar="S3_URI", shell_complete=complete_uri)
@common_options
@writing_options
@origin_options
@written_in_option
@allow_unsigned_option
@drop_annotations_option
@recursive_option
@filter_options
@jobs_option
@journal_option
@option(
    "--skip-others",
    group=MANY,
    is_flag=True,
    environment=False,
    help="Skip objects that do not match --from-..., and count them.",
)
@dry_run_option
@exit_code_option
def rotate(
    settings: Settings,
    *,
    options: ModeOptions,
    origin: ModeOptions,
    uri: str,
    recursive: bool,
    rules: Rules,
    jobs: int | None,
    journal: str | None,
    dry_run: bool,
    allow_unsigned: bool,
    written_in: str | None,
    drop_annotations: bool,
    skip_others: bool,
    exit_code: bool,
) -> None:
    """Change the key or mode of objects.

    Each object is changed by the cheapest safe method.

    --mode, --key and their companions describe the new encryption, --from-... the present one. To
    change S3's encryption to client-side, give --from-mode. An object that another writer changes
    meanwhile is not overwritten.

    SSE objects are copied inside S3; client-side objects with --key-location metadata are rewrapped
    by KMS and copied inside S3; all other objects are streamed through this process and
    re-encrypted.

    \b
    s3crypt rotate s3://acme/q3.csv --key kms:alias/new \\
      --from-key kms:alias/reports
    s3crypt rotate -r s3://acme/2026/ --dry-run --key kms:alias/new \\
      --from-key kms:alias/reports
    s3crypt rotate -r s3://acme/shared/ --skip-others --mode sse-kms \\
      --key kms:alias/new --from-mode sse-s3
    """
    check_exit_code(exit_code=exit_code, dry_run=dry_run)
    to = options.required_mode_for(settings)
    now = origin_mode(origin, options, settings, written_in)
    store = make_store(now, settings)
    if recursive:
        uri = prefix_of(uri)
    elif name_of(uri) == "":
        raise ConfigError(f"{uri} is a prefix.", hint="Give -r to rotate all below it.")
    how: dict[str, Any] = {
        "to": to,
        "dry_run": dry_run,
        "allow_unsigned": allow_unsigned,
        "allow_unencrypted": origin.mode == UNENCRYPTED,
        "written_in": written_in,
        "drop_annotations": drop_annotations,
        "skip_others": skip_others,
    }
    if not recursive:
        if rules:
            raise ConfigError("--include and --exclude need -r.", hint="Give -r, or omit them.")
        refuse_job_options(jobs=jobs, journal=journal)
        (outcome,) = store.rotate(uri, **how)
        _show_outcome(settings, outcome, dry_run)
        if not settings.silent and not dry_run:
            moved = size_text(outcome.bytes_moved)
            say(f"{moved} moved through here in {outcome.seconds:.1f} s")
        would_change = outcome.action not in ("unchanged", "skipped")
        end_dry_run(exit_code=exit_code, would_change=would_change)
        return
    # A job without rules has no `rules` in its identity, so it can also resume a journal from a
    # version that had no filters.
    filtered: dict[str, Any] = {"rules": [list(rule) for rule in rules]} if rules else {}
    notes = opened_journal(
        journal,
        settings,
        store,
        dry_run=dry_run,
        verb="rotate",
        source=uri,
        written_in=written_in,
        modes=[options.told(), origin.told()],
        **filtered,
    )
    with notes as noted, Job("rotate", settings, names_all=dry_run, tell=print_line) as job:
        outcomes = store.many.rotate(
            uri, names=local_filter(rules), jobs=jobs, journal=noted, found=job.found, **how
        )
        for outcome in job.closing(outcomes):
            job.moved(outcome.bytes_moved)
            told = _told(outcome, dry_run)
            action = told.partition("  ")[0]
            job.ended(action, outcome.error, _fields(outcome, dry_run), told)
    job.finish()
    end_dry_run(exit_code=exit_code, would_change=job.would_change)


def _show_outcome(settings: Settings, outcome: "RotationOutcome", dry_run: bool) -> None:
    if settings.json:
        print_json(_fields(outcome, dry_run))
    elif dry_run or not settings.quiet:
        print_line(_told(outcome, dry_run))


def _fields(outcome: "RotationOutcome", dry_run: bool) -> dict[str, Any]:
    fields = {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}
    return {**fields, "dry_run": dry_run}


def _told(outcome: "RotationOutcome", dry_run: bool) -> str:
    is_left = outcome.action in ("unchanged", "skipped")
    would = "would be " if dry_run and not is_left else ""
    return f"{would}{outcome.action}  {outcome.uri}"
