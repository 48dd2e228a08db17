# SPDX-License-Identifier: Apache-2.0
"""Commands that list and measure: ls, du and stat."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import click

import s3crypt
from s3crypt.errors import ConfigError, ObjectNotFoundError, S3CryptError, StorageError

from .completion import complete_uri
from .facts import info_fields, print_fields
from .help import DocumentedCommand
from .jobs import jobs_option, refuse_job_options
from .options import ModeOptions, Settings, common_options, describing_options, option
from .output import (
    EXIT_OTHER,
    counted,
    exit_code,
    print_error,
    print_heading,
    print_json,
    print_line,
    report,
    say,
    size_text,
)
from .places import common_code, make_store, name_of, prefix_of, recursive_option, version_id_option

if TYPE_CHECKING:
    from s3crypt import (
        ListedObject,
        ListedPrefix,
        ListedVersion,
        ObjectInfo,
        S3Crypt,
        Usage,
    )

    Entry: TypeAlias = ListedObject | ListedPrefix | ListedVersion

_human_option = option(
    "--human-readable", "-H", is_flag=True, help="Sizes as 1.5 MiB. (-h is --help.)"
)
_WITHOUT_TIME = " " * 19
_STAT_HELP = """Show one object's size, mode, keys and headers.

The exit code is 0 if the object exists and 1 if it does not. If that is not known, it is another
code, such as 5 if S3 refuses.

\b
s3crypt stat s3://acme/2026/q3.csv
s3crypt stat --quiet s3://acme/2026/q3.csv && echo "it exists"
"""
_DU_HELP = """Sum up the bytes below a prefix.

Each prefix has a line with its stored bytes, its plaintext bytes (with -p), the number of objects,
and the prefix; the last line is the total. The stored size of a client-side object is larger than
its plaintext.

\b
s3crypt du --human-readable s3://acme/
s3crypt du --depth 2 --versions s3://acme/2026/
"""
_LS_HELP = """List objects below a prefix, or the buckets.

A line has the time of storing, the stored bytes, and the name; a terminal shows a header. With -l a
line also has the plaintext bytes, which S3 does not list, the mode, and the key. A terminal
shortens a key's ARN to the beginning of its id.

Without -r only one level is listed, with deeper levels as prefixes. The exit code is 1 if no name
begins so, and 0 for an empty bucket.

\b
s3crypt ls
s3crypt ls -l --human-readable s3://acme/2026/
s3crypt ls --versions s3://acme/2026/q3.csv
"""


@click.command(cls=DocumentedCommand, help=_LS_HELP)
@click.argument("uri", metavar="[S3_URI]", required=False, shell_complete=complete_uri)
@common_options
@describing_options
@recursive_option
@option(
    "--long",
    "-l",
    is_flag=True,
    environment=False,
    help="Also plaintext bytes, mode and key, by a request per object. Of buckets: the default "
    "encryption.",
)
@_human_option
@option("--summarize", is_flag=True, help="End with the number of objects and their bytes.")
@option("--versions", is_flag=True, environment=False, help="All versions and delete markers.")
@jobs_option
def ls(
    settings: Settings,
    *,
    options: ModeOptions,
    uri: str | None,
    recursive: bool,
    long: bool,
    human_readable: bool,
    summarize: bool,
    versions: bool,
    jobs: int | None,
) -> None:
    """List objects below a prefix, or the buckets."""
    if not long:
        refuse_job_options(jobs=jobs, hint="Give -l, or omit it.")
    store = make_store(options.mode_for(settings), settings)
    printer = _Printer(settings, human_readable=human_readable, long=long, versions=versions)
    if uri is None:
        if recursive or versions:
            raise ConfigError("-r and --versions need a bucket.", hint="s3crypt ls s3://BUCKET")
        _list_buckets(store, printer, jobs, long=long)
    else:
        base = uri if name_of(uri) or uri.endswith("/") else uri + "/"
        found = _entries(store, base, recursive=recursive, versions=versions)
        if long:
            printer.show_described(store, found, jobs)
        else:
            for entry in found:
                printer.show(entry)
        if not printer.count and name_of(base):
            print_error(
                f"{uri}: no object or prefix has such a name",
                "List the prefix above it: s3crypt ls.",
            )
            raise click.exceptions.Exit(EXIT_OTHER)
    if summarize:
        printer.summarize("objects" if uri else "buckets")
    printer.finish()


def _entries(store: "S3Crypt", base: str, *, recursive: bool, versions: bool) -> "Iterator[Entry]":
    if versions:
        return store.list_versions(base) if recursive else store.list_versions_level(base)
    return store.list(base) if recursive else store.list_level(base)


class _Printer:
    """Prints entries of a listing, and counts them.

    Attributes:
        count: The number of printed entries.
    """

    def __init__(
        self, settings: Settings, *, human_readable: bool, long: bool, versions: bool
    ) -> None:
        self.count = 0
        self._settings = settings
        self._size = size_text if human_readable else str
        self._long = long
        self._versions = versions
        self._objects = self._stored = self._plain = self._unknown = 0
        self._codes: list[int] = []

    def show(
        self, entry: "Entry", info: "ObjectInfo | None" = None, error: S3CryptError | None = None
    ) -> None:
        """Print one entry, with the object's facts or with the error of reading them."""
        self.count += 1
        if isinstance(entry, s3crypt.ListedPrefix):
            self._line({"prefix": entry.uri}, _WITHOUT_TIME, "-", entry.uri, None)
            return
        is_marker = getattr(entry, "is_delete_marker", False)
        self._objects += not is_marker
        self._stored += entry.stored_size
        if self._long and not is_marker:
            self._plain += (info and info.size) or 0
            self._unknown += info is None or info.size is None
        fields = dataclasses.asdict(entry) | (info_fields(info) if info else {})
        if error is not None:
            self._codes.append(exit_code(error))
            fields |= {"error": str(error), "exit_code": exit_code(error)}
            report(error)
        stored = "-" if is_marker else self._size(entry.stored_size)
        when = f"{entry.last_modified:%Y-%m-%d %H:%M:%S}"
        version = _version_text(entry) if isinstance(entry, s3crypt.ListedVersion) else ""
        self._line(fields, when, stored, version + entry.uri, info, is_marker=is_marker)

    def show_described(self, store: "S3Crypt", found: "Iterable[Entry]", jobs: int | None) -> None:
        """Print entries with their facts, in the same order."""
        for outcome in store.many.describe(found, jobs=jobs):
            entry = outcome.item[0] if isinstance(outcome.item, tuple) else outcome.item
            self.show(entry, outcome.result, outcome.error)

    def show_bucket(self, name: str, created: Any, fields: dict[str, Any], text: str) -> None:
        """Print one bucket."""
        self.count += 1
        when = f"{created:%Y-%m-%d %H:%M:%S}" if created else _WITHOUT_TIME
        if self._settings.json:
            print_json({"bucket": name, "created": created, **fields})
        else:
            if self.count == 1:
                facts = f"{'mode':<8}  key  " if self._long else ""
                print_heading(f"{'made at':<19}  {facts}name")
            print_line(f"{when}  {text}s3://{name}")

    def failed(self, error: S3CryptError) -> None:
        """Report an error and remember its exit code."""
        report(error)
        self._codes.append(exit_code(error))

    def _line(
        self,
        fields: dict[str, Any],
        when: str,
        stored: str,
        name: str,
        info: "ObjectInfo | None",
        *,
        is_marker: bool = False,
    ) -> None:
        if self._settings.json:
            print_json(fields)
            return
        if self.count == 1:
            self._head()
        facts = ""
        if self._long:
            is_known = info is not None or is_marker or "prefix" in fields
            size = "-" if info is None else "?" if info.size is None else self._size(info.size)
            mode = (info.mode or "none") if info else "-" if is_known else "?"
            size = size if is_known else "?"
            facts = f"  {size:>12}  {mode:<8}  {_key_text(info) if info else '-':<15}"
        print_line(f"{when}  {stored:>{12 if self._long else 14}}{facts}  {name}")

    def _head(self) -> None:
        facts = f"  {'plaintext':>12}  {'mode':<8}  {'key':<15}" if self._long else ""
        version = f"{'version':<32}  {'state':<7}  " if self._versions else ""
        stored = f"{'bytes stored':>{12 if self._long else 14}}"
        print_heading(f"{'stored at':<19}  {stored}{facts}  {version}name")

    def summarize(self, unit: str) -> None:
        """Print the number of entries and their bytes."""
        if unit == "buckets":
            fields: dict[str, Any] = {"summary": "buckets", "buckets": self.count}
            text = counted(self.count, "bucket")
        else:
            fields = {"summary": "objects", "objects": self._objects, "stored_size": self._stored}
            text = f"{counted(self._objects, 'object')}, {self._size(self._stored)} bytes stored"
            if self._long:
                fields |= {"size": self._plain, "unknown": self._unknown}
                text += f", {self._size(self._plain)} bytes of plaintext"
                text += f" and {self._unknown:,} of unknown size" if self._unknown else ""
        if self._settings.json:
            print_json(fields)
        else:
            print_line(text.replace("B bytes", "B"))

    def finish(self) -> None:
        """Exit with the code of the errors, if there were any."""
        if self._codes:
            raise click.exceptions.Exit(common_code(self._codes))


def _version_text(entry: "ListedVersion") -> str:
    state = "marker" if entry.is_delete_marker else "current" if entry.is_latest else "old"
    return f"{entry.version_id or 'null':<32}  {state:<7}  "


def _key_text(info: "ObjectInfo") -> str:
    """Return the keys of an object; on a terminal, shorten each ARN to the start of the key id."""
    keys = info.keys or ((f"kms:{info.kms_key}",) if info.kms_key else ())
    return ",".join(map(_short_key, keys)) or "-"


def _short_key(key: str) -> str:
    if not sys.stdout.isatty() or ":key/" not in key:
        return key
    return f"kms:{key.rpartition(':key/')[2][:8]}..."


def _list_buckets(store: "S3Crypt", printer: _Printer, jobs: int | None, *, long: bool) -> None:
    if not long:
        for bucket in store.buckets():
            printer.show_bucket(bucket.name, bucket.created, {}, "")
        return
    for outcome in store.many.describe_buckets(jobs=jobs):
        found = outcome.result
        if found is None:
            fields: dict[str, Any] = {"error": str(outcome.error)}
            text = f"{'?':<8}  -  "
        else:
            fields = dataclasses.asdict(found)
            key = _short_key(f"kms:{found.kms_key}") if found.kms_key else "-"
            text = f"{found.mode or '?':<8}  {key}  "
        printer.show_bucket(outcome.item.name, outcome.item.created, fields, text)
        if isinstance(outcome.error, S3CryptError):
            printer.failed(outcome.error)


@click.command(cls=DocumentedCommand, help=_DU_HELP)
@click.argument("uri", metavar="S3_URI", shell_complete=complete_uri)
@common_options
@describing_options
@option(
    "--depth",
    "-d",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="The number of levels below S3_URI that have their own lines.",
)
@option(
    "--plaintext",
    "-p",
    is_flag=True,
    environment=False,
    help="Also plaintext bytes, by a request per object.",
)
@_human_option
@option("--versions", is_flag=True, environment=False, help="Count all versions.")
@jobs_option
def du(
    settings: Settings,
    *,
    options: ModeOptions,
    uri: str,
    depth: int,
    plaintext: bool,
    human_readable: bool,
    versions: bool,
    jobs: int | None,
) -> None:
    """Sum up the bytes below a prefix."""
    if not plaintext:
        refuse_job_options(jobs=jobs, hint="Give --plaintext, or omit it.")
    store = make_store(options.mode_for(settings), settings)
    codes: list[int] = []

    def failed(_uri: str, error: S3CryptError) -> None:
        report(error)
        codes.append(exit_code(error))

    show = _usage_printer(settings, size_text if human_readable else str)
    last = None
    try:
        for last in store.many.usage(
            prefix_of(uri),
            depth=depth,
            versions=versions,
            plaintext=plaintext,
            jobs=jobs,
            failed=failed,
        ):
            show(last)
    except ObjectNotFoundError as error:
        if error.code is not None:
            raise
        print_error(str(error), "List the prefix above it: s3crypt ls. One object: s3crypt stat.")
        raise click.exceptions.Exit(EXIT_OTHER) from None
    if last is not None and last.unknown and not settings.silent:
        say(f"{counted(last.unknown, 'object')} of unknown plaintext size not counted as plaintext")
    if codes:
        raise click.exceptions.Exit(common_code(codes))


def _head(store: "S3Crypt", uri: str, version_id: str | None) -> "ObjectInfo":
    """Return the facts about an object. For SSE-C without the key, use a listing's facts."""
    try:
        return store.head(uri, version_id=version_id)
    except ObjectNotFoundError:
        raise
    except StorageError as error:
        # Without a code, the service did not reply. A listing would wait just as long.
        if version_id is not None or error.code is None:
            raise
        # S3 demands the customer key of such an object. A listing needs no key.
        listed = next(iter(store.list(uri)), None)
        if listed is None or listed.uri != uri:
            raise
        outcome = next(iter(store.many.describe([listed])))
        if outcome.result is None:
            raise
        return outcome.result


def _usage_printer(settings: Settings, size: Callable[[int], str]) -> "Callable[[Usage], None]":
    is_first = True

    def show(usage: "Usage") -> None:
        nonlocal is_first
        if settings.json:
            print_json(dataclasses.asdict(usage))
            return
        if is_first:
            plain = "" if usage.size is None else f"  {'plaintext':>14}"
            print_heading(f"{'bytes stored':>14}{plain}  {'objects':>9}  prefix")
        is_first = False
        plain = "" if usage.size is None else f"  {size(usage.size):>14}"
        markers = f" + {counted(usage.delete_markers, 'marker')}" if usage.delete_markers else ""
        print_line(
            f"{size(usage.stored_size):>14}{plain}  {usage.objects:>9,}{markers}  {usage.uri}"
        )

    return show


@click.command(cls=DocumentedCommand, help=_STAT_HELP)
@click.argument("uri", metavar="S3_URI", shell_complete=complete_uri)
@common_options
@describing_options
@version_id_option
def stat(settings: Settings, *, options: ModeOptions, uri: str, version_id: str | None) -> None:
    """Show one object's size, mode, keys and headers."""
    store = make_store(options.mode_for(settings), settings)
    try:
        info = _head(store, uri, version_id)
    except ObjectNotFoundError as error:
        if error.code == "NoSuchBucket":
            raise
        if not settings.quiet:
            report(error)
        raise click.exceptions.Exit(EXIT_OTHER) from None
    if settings.json or not settings.quiet:
        print_fields(settings, info_fields(info))
