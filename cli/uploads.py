# SPDX-License-Identifier: Apache-2.0
"""`uploads`: lists and aborts unfinished uploads by parts."""

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ObjectNotFoundError, StorageError

from .completion import complete_uri
from .help import DocumentedCommand
from .options import Settings, common_options, option, parse_age
from .output import print_json, print_line, report, say
from .places import common_code, dry_run_option, make_store

if TYPE_CHECKING:
    from s3crypt import S3Crypt


@click.command(cls=DocumentedCommand)
@click.argument("uri", metavar="[S3_URI]", required=False, shell_complete=complete_uri)
@common_options
@option(
    "--abort",
    "ids",
    multiple=True,
    environment=False,
    metavar="ID",
    help="Abort this upload. Repeatable.",
)
@option(
    "--older-than",
    environment=False,
    metavar="AGE",
    callback=lambda _context, _parameter, value: parse_age(value),
    help="Abort uploads that are older: 7d, 12h or 30m.",
)
@dry_run_option
def uploads(
    settings: Settings,
    *,
    uri: str | None,
    ids: tuple[str, ...],
    older_than: timedelta | None,
    dry_run: bool,
) -> None:
    """List unfinished uploads, and abort them.

    A multipart upload that was killed, or could not be aborted, stays unfinished: S3 keeps its
    parts, and charges for them. A line has the start time, the upload's id, and the name of the
    object.

    S3_URI is a bucket or a prefix. Without it, all buckets of the account are listed.

    --abort and --older-than abort uploads, even if another program is still working on them.

    \b
    s3crypt uploads
    s3crypt uploads s3://acme --older-than 7d --dry-run
    """
    store = make_store(None, settings)
    codes: list[int] = []

    def failed(_bucket: str, error: StorageError) -> None:
        codes.append(report(error))

    # With a URI, an error ends the command. Without it, each failed bucket is reported, and the
    # other buckets are still listed.
    found = store.many.uploads(uri, failed=None if uri else failed)
    if ids or older_than is not None:
        missing = set(ids)
        chosen = _chosen(found, missing, older_than)
        for upload, error in _aborted(store, chosen, dry_run=dry_run):
            if error is not None:
                codes.append(report(error))
            elif dry_run or settings.json or not settings.quiet:
                _show(settings, upload, "would abort" if dry_run else "aborted")
        for upload_id in sorted(missing):
            unknown = ObjectNotFoundError(
                f"{upload_id}: no unfinished upload has this id.",
                hint="List the unfinished uploads: s3crypt uploads.",
            )
            codes.append(report(unknown))
    else:
        _list(settings, found)
    if codes:
        raise click.exceptions.Exit(common_code(codes))


def _chosen(found: Iterator[Any], missing: set[str], age: timedelta | None) -> Iterator[Any]:
    """Yield uploads that are named or older than `age`; remove the found names from `missing`."""
    latest = None if age is None else datetime.now(UTC) - age
    for upload in found:
        if upload.upload_id in missing or (latest is not None and upload.initiated < latest):
            missing.discard(upload.upload_id)
            yield upload


def _aborted(
    store: "S3Crypt", chosen: Iterator[Any], *, dry_run: bool
) -> Iterator[tuple[Any, Exception | None]]:
    """Abort uploads; yield each with the error, if there was one."""
    if dry_run:
        yield from ((upload, None) for upload in chosen)
        return
    outcomes: Any = store.many.abort(chosen)
    # Closing ensures that no abort is still running, even after an error.
    with closing(outcomes):
        for outcome in outcomes:
            yield outcome.item, outcome.error


def _list(settings: Settings, found: Iterator[Any]) -> None:
    count = 0
    for count, upload in enumerate(found, 1):  # noqa: B007 - counted
        _show(settings, upload)
    if settings.silent:
        return
    if count:
        say("To abort one: s3crypt uploads S3_URI --abort ID. All older ones: --older-than 7d")
    else:
        say("No upload is unfinished.")


def _show(settings: Settings, upload: Any, action: str | None = None) -> None:
    if settings.json:
        done = {"action": action} if action else {}
        print_json(done | dataclasses.asdict(upload))
        return
    done_text = f"{action}  " if action else ""
    began = f"{upload.initiated:%Y-%m-%d %H:%M:%S}"
    print_line(f"{done_text}{began}  {upload.upload_id}  {upload.uri}")
