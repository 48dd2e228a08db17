# SPDX-License-Identifier: Apache-2.0
"""`s3crypt who`: shows the accesses to an object, with a key or by a principal, from CloudTrail."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ConfigError
from s3crypt.location import Location

from .completion import complete_uri
from .help import DocumentedCommand
from .options import Settings, common_options, option
from .output import EXIT_OTHER, counted, print_csv, print_json, print_line, print_table, say
from .remedies import words_for

if TYPE_CHECKING:
    from s3crypt.trails import Access, Gap, Question, Search

_HELP = """Show who opened an object, used a key, or what a principal did, and when.

CloudTrail's records of KMS and of S3 are joined. The records come from LookupEvents, or with
--trail from the files of a trail. LookupEvents has the last 90 days of one Region, without S3's
requests for objects. No key is unwrapped and nothing is changed.

Notes below the answer name gaps of the records. Exit code 1: some records could not be read.

\b
s3crypt who s3://acme-hr/2026/q3.csv --trail s3://acme-hr-logs
s3crypt who --key alias/reports
s3crypt who --principal arn:aws:iam::123456789012:role/reader --format csv
"""
_HEADERS = ("time", "principal", "address", "action", "object", "key", "outcome", "level", "joined")
_COLUMNS = (
    "time", "principal", "issuer", "address", "actions", "bucket", "object", "keys", "outcome",
    "error", "level", "joined", "event_ids",
)  # fmt: skip
# The number of rows per table. Columns are aligned within a table; further rows start a new table.
_ROWS = 1000
# A spreadsheet runs a cell that begins with one of these characters as a formula:
# https://owasp.org/www-community/attacks/CSV_Injection
_OF_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_ARN = re.compile(r"arn:[a-z-]+:(?:sts|iam)::([0-9]{12}):(?:assumed-role/)?(.+)")


@click.command(
    cls=DocumentedCommand, help=_HELP, short_help="Show who opened an object or used a key."
)
@click.argument("uri", metavar="[s3://BUCKET/NAME]", required=False, shell_complete=complete_uri)
@option("--key", environment=False, metavar="KEY", help="Who used a KMS key: its ARN, id or alias.")
@option(
    "--principal",
    environment=False,
    metavar="ARN",
    help="The actions of a user, a role or a role's session.",
)
@option(
    "--bucket",
    environment=False,
    metavar="NAME",
    help="With --key or --principal: only accesses to this bucket.",
)
@option(
    "--from", "since", environment=False, metavar="TIME", help="2026-11-01 or 2026-11-01T08:30."
)
@option(
    "--to",
    "until",
    environment=False,
    metavar="TIME",
    help="The end, in the form of --from. A day includes all its hours.",
)
@option(
    "--trail",
    "trails",
    environment=False,
    multiple=True,
    metavar="s3://BUCKET/PREFIX|PATH",
    help="The bucket of a trail, or its files in a folder; repeatable.  [default: LookupEvents]",
)
@option(
    "--format",
    "form",
    environment=False,
    type=click.Choice(("table", "csv", "jsonl")),
    help="[default: table, or jsonl with --json]",
)
@common_options(service="aws")
def who(
    settings: Settings,
    *,
    uri: str | None,
    trails: tuple[str, ...],
    form: str | None,
    **given: Any,
) -> int:
    """Show who opened an object, used a key, or what a principal did."""
    from s3crypt.trails import Trails  # noqa: PLC0415 - boto3

    if settings.json and form not in (None, "jsonl"):
        raise ConfigError(f"--json prints no {form}.", hint="Give one of --json and --format.")
    question = _question(uri, given)
    reader = Trails(session=settings.session, allow_plain_http=settings.allow_plain_http)
    search = reader.search(question, trails)
    printing = _PRINTERS["jsonl" if settings.json else form or "table"]
    printing(search, settings)
    return EXIT_OTHER if search.tally.gaps else 0


def _question(uri: str | None, given: Mapping[str, Any]) -> "Question":
    from s3crypt.trails import Question  # noqa: PLC0415 - boto3

    return Question(
        location=Location.parse_object(uri) if uri else None,
        key=given["key"].removeprefix("kms:") if given["key"] else None,
        principal=given["principal"],
        bucket=given["bucket"].removeprefix("s3://").rstrip("/") if given["bucket"] else None,
        since=_moment(given["since"], "--from", time.min),
        until=_moment(given["until"], "--to", time.max),
    )


def _moment(text: str | None, name: str, of_day: time) -> datetime | None:
    """Return the time in an option, by default in UTC. A date alone gets the time `of_day`."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{name} takes a time, not {text!r}.", hint="Write 2026-11-01 or 2026-11-01T08:30."
        ) from None
    if len(text) <= len("2026-11-01"):
        moment = datetime.combine(moment.date(), of_day)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _print_table(search: "Search", settings: Settings) -> None:
    """Print the accesses as tables of 1,000 rows. Each table is sorted by time.

    A later table can contain earlier times.
    """
    rows = iter(search)
    while some := sorted(islice(rows, _ROWS), key=lambda access: access.time):
        print_table(_HEADERS, [_cells(access) for access in some], folded=True)
    tally = search.tally
    read = counted(tally.records, "record")
    if tally.files:
        read += f" of {counted(tally.files, 'file')}"
    span = f", of S3 and KMS from {tally.first} to {tally.last}" if tally.first else ""
    if not settings.quiet:
        say(f"{counted(tally.accesses, 'access', 'accesses')} found in {read}{span}.")
        for remark in _remarks(search):
            say(remark)
    for line in search.limits:
        print_line(f"not known: {line}")
    _print_gaps(search, print_line)


def _cells(access: "Access") -> tuple[str, ...]:
    return (
        f"{access.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        _who(access),
        access.address or "-",
        " + ".join(access.actions),
        _where(access),
        _keys(access),
        f"{access.outcome} ({access.error})" if access.error else access.outcome,
        access.level,
        "yes" if access.is_joined else "no",
    )


def _who(access: "Access") -> str:
    """Return the account and the rest of an ARN, such as `123456789012 reader/alice`."""
    match = _ARN.fullmatch(access.principal.name)
    return f"{match[1]} {match[2]}" if match else access.principal.name


def _keys(access: "Access") -> str:
    """Return the ids of the keys; an arrow stands for a re-encryption."""
    sign = " -> " if "kms:ReEncrypt" in access.actions else " + "
    return sign.join(key.rpartition("/")[2] for key in access.keys) or "-"


def _where(access: "Access") -> str:
    if access.name is None:
        return f"s3://{access.bucket}/ (some object)" if access.bucket else "-"
    return (
        f"s3://{access.bucket}/{access.name}"
        if access.bucket
        else f"{access.name} (bucket not known)"
    )


def _print_csv(search: "Search", settings: Settings) -> None:
    """Print the accesses as CSV rows as they are found; remarks, limits and gaps go to stderr."""
    print_csv(_COLUMNS)
    for access in search:
        fields = _fields(access)
        print_csv([_csv_cell(fields[name]) for name in _COLUMNS])
    if not settings.quiet:
        for line in (*_remarks(search), *(f"not known: {each}" for each in search.limits)):
            say(line)
    _print_gaps(search, say)


def _csv_cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = " ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    # The text comes from other people. Escape lone surrogates, which stdout cannot encode. Put an
    # apostrophe before text that a spreadsheet would run as a formula.
    text = text.encode(errors="backslashreplace").decode()
    return f"'{text}" if text.startswith(_OF_FORMULAS) else text


def _print_jsonl(search: "Search", _settings: Settings) -> None:
    """Print one JSON object per line: accesses as they are found, then limits, gaps and counts."""
    for access in search:
        print_json(_fields(access))
    for line in search.limits:
        print_json({"not_known": line})
    for gap in search.tally.gaps.values():
        print_json(
            {"not_read": gap.cause, "count": gap.count, "such_as": gap.examples, "hint": _hint(gap)}
        )
    tally = search.tally
    print_json(
        {
            "accesses": tally.accesses,
            "records": tally.records,
            "files": tally.files,
            "duplicates": tally.duplicates,
            "summaries_skipped": tally.summaries,
            "joined": tally.joined.joined,
            "without_bucket": tally.joined.without_bucket,
            "first": tally.first or None,
            "last": tally.last or None,
        }
    )


def _fields(access: "Access") -> dict[str, Any]:
    return {
        "time": f"{access.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "principal": access.principal.name,
        "issuer": access.principal.issuer,
        "address": access.address,
        "actions": list(access.actions),
        "bucket": access.bucket,
        "object": access.name,
        "keys": list(access.keys),
        "outcome": access.outcome,
        "error": access.error,
        "level": access.level,
        "joined": access.is_joined,
        "event_ids": list(access.event_ids),
    }


def _remarks(search: "Search") -> Iterator[str]:
    tally = search.tally
    if tally.duplicates:
        yield f"{tally.duplicates} duplicate records are shown once."
    if tally.summaries:
        yield (
            f"{tally.summaries} aggregated or insight events were skipped: they describe no single "
            "request."
        )


def _print_gaps(search: "Search", show: Callable[[str], None]) -> None:
    gaps: Iterable[Gap] = search.tally.gaps.values()
    for gap in gaps:
        show(f"not read: {gap}")
    for hint in dict.fromkeys(filter(None, map(_hint, gaps))):
        say(f"hint: {hint}")


def _hint(gap: "Gap") -> str | None:
    """Return a gap's hint, worded with the options of this command."""
    return gap.worded(partial(words_for, command=who))


_PRINTERS: Mapping[str, Callable[["Search", Settings], None]] = {
    "table": _print_table,
    "csv": _print_csv,
    "jsonl": _print_jsonl,
}
