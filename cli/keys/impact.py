# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys impact`: the objects and settings that depend on a key."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from s3crypt.errors import ConfigError

from ..audit_options import target_uri
from ..help import DocumentedCommand
from ..jobs import drawn, jobs_option, journal_option
from ..options import Settings, common_options, option
from ..output import EXIT_INTEGRITY, EXIT_STORAGE, print_error, print_json, print_line, say
from ..own_keys import check_not_overwritten
from .common import key_argument, named
from .impact_text import text

if TYPE_CHECKING:
    from s3crypt import Journal
    from s3crypt.impact import Dependent, Report

_HELP = """Count the objects that only this key opens, and the settings that name it.

The command checks every version of every object in the named buckets and prefixes, in all modes, by
S3's reply and by the header of a client-side object. --account checks every bucket, table bucket
and vector bucket of the account. It changes nothing, and unwraps no data key. An item that it may
not read is counted as undecided.

Exit code 0: the report was made, whatever its numbers. 3: an inventory is damaged. 5: a bucket
vanished meanwhile, or an inventory lacks parts. In both cases the report is made and names the
failure.

\b
s3crypt keys impact alias/reports s3://acme/2026/
s3crypt keys impact alias/reports --account --report impact.json \\
  --journal impact.journal
"""
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=DocumentedCommand,
    help=_HELP,
    short_help="Count the objects that need a key.",
)
@key_argument
@click.argument("targets", metavar="[BUCKET|s3://BUCKET/PREFIX]...", nargs=-1)
@option(
    "--account",
    is_flag=True,
    environment=False,
    help="Every bucket, table bucket and vector bucket of the account.",
)
@option(
    "--inventory",
    "inventories",
    multiple=True,
    environment=False,
    metavar="S3_URI",
    help="Read a bucket's objects from the manifest.json of its S3 Inventory; repeatable.",
)
@option(
    "--metadata-table",
    "metadata_tables",
    multiple=True,
    environment=False,
    metavar="FILE",
    help=(
        "Read objects and their KMS keys from an export of S3 Metadata's inventory table: a file, "
        "a folder or an S3_URI; repeatable."
    ),
)
@option(
    "--sample",
    type=click.IntRange(min=1),
    environment=False,
    metavar="N",
    help="Check N random versions, and report bounds.",
)
@option(
    "--seed",
    type=click.IntRange(min=0),
    environment=False,
    metavar="S",
    help="Draw the same sample as an earlier run with this seed.",
)
@option(
    "--sse-c-key-file",
    "key_files",
    type=click.Path(path_type=Path),
    multiple=True,
    environment=False,
    metavar="FILE",
    help="A customer key to try on SSE-C objects; repeatable.",
)
@option(
    "--list",
    "list_file",
    type=_FILE,
    environment=False,
    metavar="FILE",
    help="Write every version that the key opens to FILE, as JSON Lines.",
)
@option(
    "--report",
    "report_file",
    type=_FILE,
    environment=False,
    metavar="FILE",
    help="Write the report to FILE, as JSON; `keys schedule-deletion` reads it.",
)
@jobs_option
@journal_option
@common_options(service="aws")
def impact(
    settings: Settings,
    *,
    key: str,
    targets: tuple[str, ...],
    account: bool,
    inventories: tuple[str, ...],
    metadata_tables: tuple[str, ...],
    sample: int | None,
    seed: int | None,
    key_files: tuple[Path, ...],
    list_file: Path | None,
    report_file: Path | None,
    jobs: int | None,
    journal: str | None,
) -> None:
    """Count the objects that only this key opens, and the settings that name it."""
    from s3crypt import SSEC  # noqa: PLC0415 - boto3, here and below
    from s3crypt.impact import document_of, find_dependents  # noqa: PLC0415

    if seed is not None and sample is None:
        raise ConfigError("--seed needs --sample.", hint="Give --sample N, too.")
    check_not_overwritten(filter(None, (list_file, report_file)), map(str, key_files))
    uris = tuple(dict.fromkeys(map(target_uri, targets)))
    scope = {"key": key, "uris": uris, "account": account}
    tables = {"inventories": inventories, "metadata_tables": metadata_tables}
    drawn_from = {"sample": sample, "seed": seed, "customer_keys": len(key_files)}
    with ExitStack() as stack:
        noted = stack.enter_context(_journal(journal, settings, {**scope, **tables, **drawn_from}))
        written = stack.enter_context(_written(report_file))
        each = stack.enter_context(_listing(list_file))
        report = find_dependents(
            named(key),
            uris,
            account=account,
            session=settings.session,
            inventories=inventories,
            metadata_tables=metadata_tables,
            sample=sample,
            seed=seed,
            customer_keys=[SSEC.from_file(file) for file in key_files],
            journal=noted,
            jobs=jobs,
            each=each,
            progress=stack.enter_context(_progress(settings)),
            allow_plain_http=settings.allow_plain_http,
        )
        if written:
            written.write(json.dumps(document_of(report), indent=1).encode() + b"\n")
    _show(settings, report, report_file)


def _show(settings: Settings, report: "Report", report_file: Path | None) -> None:
    """Print the report; exit with the code of its failures, if there are any."""
    from s3crypt.impact import document_of  # noqa: PLC0415

    if settings.json:
        print_json(document_of(report))
    else:
        for line in text(report, report_file):
            print_line(line)
    for failure in report.failures:
        print_error(f"{failure.subject}: {failure.reason}.")
    if report.failures:
        say("hint: The report is incomplete. Fix this, and run the command again.")
        is_damaged = any(failure.kind == "integrity" for failure in report.failures)
        raise click.exceptions.Exit(EXIT_INTEGRITY if is_damaged else EXIT_STORAGE)


@contextmanager
def _journal(
    path: str | None, settings: Settings, job: dict[str, object]
) -> "Iterator[Journal | None]":
    if path is None:
        yield None
        return
    from s3crypt import Journal  # noqa: PLC0415 - SQLite takes 10 ms

    where = {name: str(getattr(settings, name)) for name in ("profile", "region", "endpoint_url")}
    told = {name: str(value) for name, value in job.items()}
    with Journal.open(path, {"verb": "keys impact", **told, **where}) as journal:
        yield journal


@contextmanager
def _written(path: Path | None) -> Iterator[BinaryIO | None]:
    """Yield the report's file, which appears complete or not at all, or None without a path."""
    if path is None:
        yield None
        return
    from s3crypt.files import atomic_write  # noqa: PLC0415 - it loads cryptography

    with atomic_write(path) as file:
        yield file


@contextmanager
def _listing(path: Path | None) -> "Iterator[Callable[[Dependent], None] | None]":
    """Yield a function that writes a dependent to the --list file, or None without it."""
    with _written(path) as file:
        yield None if file is None else lambda found: _write_line(file, found)


def _write_line(file: BinaryIO, found: "Dependent") -> None:
    file.write(json.dumps(asdict(found)).encode() + b"\n")


@contextmanager
def _progress(settings: Settings) -> Iterator[Callable[[int], None] | None]:
    """Yield a function that draws the number of examined versions, or None without a terminal."""
    if settings.silent or not sys.stderr.isatty():
        yield None
        return
    count = 0

    def progress(versions: int) -> None:
        nonlocal count
        count = versions

    with drawn(lambda columns: f"impact: {count:,} versions looked at"[:columns]):
        yield progress


COMMANDS = (impact,)
