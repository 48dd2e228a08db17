# SPDX-License-Identifier: Apache-2.0
"""Commands on objects: put, get, cat, rm and inspect."""

import errno
import os
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import click

from s3crypt.errors import ConfigError, ObjectNotFoundError, StorageError

from .completion import complete_path, complete_uri
from .descriptions import describing_new_options
from .facts import info_fields, print_fields, value_fields
from .help import MANY, DocumentedCommand
from .jobs import jobs_option, journal_option, refuse_job_options
from .options import (
    ModeOptions,
    Settings,
    common_options,
    describing_options,
    option,
    parse_size,
    reading_options,
    writing_options,
)
from .output import print_json, print_line, say
from .pipes import TakingCommand
from .places import (
    allow_uncommitted_option,
    allow_unsigned_option,
    allow_unverified_signature_option,
    check_exit_code,
    dry_run_option,
    end_dry_run,
    exit_code_option,
    if_absent_option,
    info_fields,
    make_store,
    name_of,
    no_overwrite_option,
    preserve_option,
    recursive_option,
    suggesting_recursion,
    version_id_option,
    written_as_option,
    written_in_option,
)
from .recursive import delete_all, inspect_all, inspect_versions
from .selection import FilteringCommand, Rules, filter_options, sources_of
from .single import Transfer, stream
from .transfers import into_s3, out_of_s3

if TYPE_CHECKING:
    from s3crypt import Mode, ObjectInfo, S3Crypt

T = TypeVar("T")
_AN_OBJECT = "An object is s3://BUCKET/NAME."

_allow_uncommitted = option(
    "--allow-uncommitted",
    is_flag=True,
    environment=False,
    help="Read messages without key commitment too, from writers you trust.",
)
_allow_unverified_signature = option(
    "--allow-unverified-signature",
    is_flag=True,
    environment=False,
    help="Read parts of signed objects too: a signature covers the whole, and is not checked.",
)


@click.command(cls=TakingCommand)
@click.argument(
    "sources", metavar="SOURCE...", nargs=-1, required=True, shell_complete=complete_path
)
@click.argument("uri", metavar="S3_URI", shell_complete=complete_uri)
@common_options
@writing_options
@describing_new_options
@if_absent_option
@no_overwrite_option
@preserve_option
@option(
    "--size",
    callback=lambda _context, _parameter, value: parse_size(value),
    environment=False,
    metavar="SIZE",
    help="Of a pipe: store nothing unless it has just as many bytes.",
)
@written_in_option
@option(
    "-r", "--recursive", is_flag=True, environment=False, group=MANY, help="A directory, as a tree."
)
@filter_options
@jobs_option
@journal_option
@dry_run_option
@exit_code_option
def put(
    settings: Settings,
    *,
    options: ModeOptions,
    said: dict[str, Any],
    sources: tuple[str, ...],
    uri: str,
    if_absent: bool,
    no_overwrite: bool,
    preserve: bool,
    size: int | None,
    written_in: str | None,
    command: tuple[str, ...] | None,
    **given: Any,
) -> None:
    """Encrypt files, a pipe or directories into S3.

    SOURCE is a file, - for a pipe, or with -r a directory. Or it is the output of a command:
    s3crypt put S3_URI [OPTIONS] -- COMMAND... stores it only if the command exits with 0.

    S3_URI is s3://BUCKET/NAME; a bucket, or one that ends in /, gets the file's name appended. Of
    several sources each keeps its name; of one directory the files below it do.

    \b
    s3crypt put q3.csv s3://acme/2026/ --key kms:alias/reports
    s3crypt put -r 2026 s3://acme/2026/ --exclude '*.tmp' --mode sse-s3
    s3crypt put s3://acme/db.sql --key kms:alias/reports -- cat q3.csv
    """
    if command is not None and not command:
        raise ConfigError("No command comes after the --.", hint="s3crypt put S3_URI -- COMMAND")
    if size is not None and sources != ("-",):
        raise ConfigError("--size is for a pipe.", hint="Give - as SOURCE, or leave --size out.")
    check_exit_code(exit_code=given["exit_code"], dry_run=given["dry_run"])
    mode = options.required_mode_for(settings)
    how = {**said, **({"if_absent": True} if if_absent else {})}
    if preserve:
        how["preserve"] = True
    identity = {"written_in": written_in, "modes": [options.told()], "how": how}
    transfer = Transfer(
        settings, "put", sources, uri, no_overwrite=no_overwrite, identity=identity, **given
    )
    store = make_store(mode, settings, written_in)
    into_s3(transfer, store, mode, how, command=command, size=size)


@click.command(cls=FilteringCommand)
@click.argument("uris", metavar="S3_URI...", nargs=-1, required=True, shell_complete=complete_path)
@click.argument("target", type=click.Path(allow_dash=True))
@common_options
@reading_options
@version_id_option
@written_as_option
@written_in_option
@option(
    "--range",
    "byte_range",
    environment=False,
    metavar="RANGE",
    help="Only these bytes: 0-99, 100- or, of the end, -100.",
)
@allow_uncommitted_option
@allow_unsigned_option
@allow_unverified_signature_option
@option("--if-absent", is_flag=True, help="Fail if the file exists; never overwrite.")
@no_overwrite_option
@preserve_option
@recursive_option
@filter_options
@jobs_option
@journal_option
@dry_run_option
@exit_code_option
def get(
    settings: Settings,
    *,
    options: ModeOptions,
    uris: tuple[str, ...],
    target: str,
    recursive: bool,
    rules: Rules,
    no_overwrite: bool,
    jobs: int | None,
    journal: str | None,
    dry_run: bool,
    exit_code: bool,
    **how: Any,
) -> None:
    """Decrypt and verify objects into files or a pipe.

    One object, several, those that a pattern fits ('s3://acme/2026/*.csv'), or with -r all below a
    prefix. TARGET - is a pipe; it may be a directory.

    A file appears complete and verified, or not at all. With --range only the frames that have
    those bytes are read and verified, and the final one, so that nothing was cut off.

    \b
    s3crypt get s3://acme/2026/q3.csv . --key kms:alias/reports
    s3crypt get 's3://acme/2026/*.csv' reports/ --key kms:alias/reports
    s3crypt get -r s3://acme/2026/ reports/ --key kms:alias/reports --no-overwrite
    s3crypt get s3://acme/2026/q3.csv footer --range -100 --key kms:alias/reports
    """
    check_exit_code(exit_code=exit_code, dry_run=dry_run)
    how = {name: value for name, value in how.items() if value}
    if recursive and ("version_id" in how or "written_as" in how or "byte_range" in how):
        raise ConfigError("--version-id, --written-as and --range name one object; not with -r.")
    transfer = Transfer(
        settings,
        "get",
        uris,
        target,
        rules=rules,
        recursive=recursive,
        jobs=jobs,
        journal=journal,
        dry_run=dry_run,
        exit_code=exit_code,
        no_overwrite=no_overwrite,
        identity={"modes": [options.told()], "how": how},
    )
    out_of_s3(transfer, make_store(options.mode_for(settings), settings), how)


@click.command(cls=DocumentedCommand)
@click.argument("uris", metavar="S3_URI...", nargs=-1, required=True, shell_complete=complete_uri)
@common_options
@reading_options
@version_id_option
@written_as_option
@written_in_option
@allow_uncommitted_option
@allow_unsigned_option
@option(
    "--head",
    callback=lambda _context, _parameter, value: _count(value, "--head"),
    environment=False,
    metavar="SIZE",
    help="Only the first bytes of each: 64KiB, 1MiB or bytes.",
)
@option(
    "--tail",
    callback=lambda _context, _parameter, value: _count(value, "--tail"),
    environment=False,
    metavar="SIZE",
    help="Only the last bytes of each.",
)
@allow_unverified_signature_option
def cat(
    settings: Settings,
    *,
    options: ModeOptions,
    uris: tuple[str, ...],
    head: int | None,
    tail: int | None,
    **how: Any,
) -> None:
    """Write objects to stdout, each byte verified.

    Should a later part of an object be wrong, the exit code is 3 and what came out must be
    discarded.

    \b
    s3crypt cat s3://acme/2026/q3.csv --key kms:alias/reports | wc -l
    s3crypt cat s3://acme/2026/q3.csv --head 64KiB --key kms:alias/reports
    """
    if head and tail:
        raise ConfigError("--head and --tail exclude each other.", hint="Give one of them.")
    if len(uris) > 1 and (how["version_id"] or how["written_as"]):
        raise ConfigError("--version-id and --written-as name one object; not with several.")
    if head or tail:
        how["byte_range"] = f"0-{head - 1}" if head else f"-{tail}"
    store = make_store(options.mode_for(settings), settings)
    for uri in uris:
        try:
            stream(store, uri, how)
        except StorageError as error:
            # S3 refuses any range of an empty object; --head and --tail then print no bytes.
            if not (head or tail) or error.code != "InvalidRange":
                raise


@click.command(cls=FilteringCommand)
@click.argument("uris", metavar="S3_URI...", nargs=-1, required=True, shell_complete=complete_uri)
@common_options
@version_id_option
@recursive_option
@filter_options
@jobs_option
@dry_run_option
@exit_code_option
def rm(
    settings: Settings,
    *,
    uris: tuple[str, ...],
    version_id: str | None,
    recursive: bool,
    rules: Rules,
    jobs: int | None,
    dry_run: bool,
    exit_code: bool,
) -> None:
    """Delete objects, those that a pattern fits, or all below a prefix (-r).

    In a bucket with versioning older versions stay.

    \b
    s3crypt rm s3://acme/2026/q3.csv
    s3crypt rm -r s3://acme/tmp/ --dry-run
    s3crypt rm 's3://acme/tmp/*.csv'
    """
    check_exit_code(exit_code=exit_code, dry_run=dry_run)
    store = make_store(None, settings)
    if recursive and version_id:
        raise ConfigError("--version-id names one object; not with -r.")
    sources = sources_of(store, uris, rules, recursive=recursive, verb="delete")
    if version_id and sources.single is None:
        raise ConfigError("--version-id names one object; not with several.")
    for uri in sources.objects if not version_id else ():
        with suggesting_recursion(uri):
            _check_exists(store, uri)
    if sources.single is None:
        flags = {"dry_run": dry_run, "exit_code": exit_code}
        delete_all(store, settings, sources, jobs=jobs, **flags)
        return
    uri = sources.single
    refuse_job_options(jobs=jobs)
    if not dry_run:
        store.delete(uri, version_id=version_id)
    action = "would delete" if dry_run else "deleted"
    if settings.json:
        print_json({"action": action, "uri": uri})
    elif dry_run:
        print_line(f"{action} {uri}")
    elif not settings.quiet:
        say(f"{action} {uri}")
    end_dry_run(exit_code=exit_code, would_change=dry_run)


@click.command(cls=FilteringCommand)
@click.argument(
    "uris", metavar="S3_URI|FILE...", nargs=-1, required=True, shell_complete=complete_path
)
@common_options
@describing_options
@version_id_option
@option("--versions", is_flag=True, environment=False, help="Each version, the newest first.")
@recursive_option
@filter_options
@jobs_option
def inspect(
    settings: Settings,
    *,
    options: ModeOptions,
    uris: tuple[str, ...],
    version_id: str | None,
    versions: bool,
    recursive: bool,
    rules: Rules,
    jobs: int | None,
) -> None:
    """Say how an object, or a message in a local file, is encrypted.

    And under which key; nothing is decrypted.

    Only an SSE-C object needs its key, --sse-c-key-file, because S3 asks for it.

    \b
    s3crypt inspect s3://acme/2026/q3.csv
    s3crypt inspect -r s3://acme/2026/ --json
    s3crypt inspect q3.csv.enc
    """
    one = [
        name for name, given in (("--version-id", version_id), ("--versions", versions)) if given
    ]
    many = [name for name, given in (("-r", recursive), ("--jobs", jobs)) if given]
    if "://" not in uri:
        _inspect_file(settings, uri, refused=[*one, *many])
        return
    if len(one) > 1:
        raise ConfigError("--versions and --version-id exclude each other.")
    store = make_store(options.mode_for(settings), settings)
    if recursive and version_id:
        raise ConfigError("--version-id names one object; not with -r.")
    sources = sources_of(store, uris, rules, recursive=recursive, verb="inspect")
    if version_id and sources.single is None:
        raise ConfigError("--version-id names one object; not with several.")

    is_single = not recursive and not versions
    show = partial(_show_fields, settings, is_single=is_single)
    if versions:
        inspect_versions(store, settings, uri=uri, recursive=recursive, jobs=jobs, show=show)
        return
    if recursive:
        if version_id:
            raise ConfigError("--version-id names one object; not with -r.")
        inspect_below(store, settings, uri=uri, jobs=jobs, show=show)
        return
    refuse_job_options(jobs=jobs)
    with suggesting_recursion(uri):
        show(store.inspect(uri, version_id=version_id))


def _show_fields(settings: Settings, info: "ObjectInfo", *, is_single: bool = True) -> None:
    print_fields(settings, info_fields(info))
    if not is_single and not settings.json:
        print_line("")


def _inspect_file(settings: Settings, path: str, *, refused: list[str]) -> None:
    """Show what a message in a local file says of itself; `refused` are options of objects."""
    from s3crypt.files import inspect_file  # noqa: PLC0415 - it loads cryptography

    if refused:
        raise ConfigError(f"{path} is a local file, which takes no {refused[0]}.", hint=_AN_OBJECT)
    facts = inspect_file(path)
    fields = {"file": path, "stored_size": Path(path).stat().st_size, **value_fields(facts)}
    print_fields(settings, fields)


def _destination(source: str, uri: str, *, recursive: bool) -> str:
    """Return the URI of the object for a file or a pipe."""
    is_prefix = name_of(uri) == "" or uri.endswith("/")
    if source == "-":
        if recursive or is_prefix:
            raise ConfigError("A pipe has no name.", hint="Name the object: s3://BUCKET/NAME.")
        return uri
    name = Path(source).name
    if not is_prefix:
        return uri
    return f"{prefix_of(uri)}{name}"


def _check_readable(file: str) -> None:
    """Fail as opening the file would; a pipe is not opened, since that would block."""
    if file == "-":
        return
    try:
        if not os.access(file, os.R_OK):
            Path(file).stat()
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise StorageError(
            f"Cannot read {file}: {error.strerror}.", hint="Check the path and its permissions."
        ) from error


def _check_exists(store: "S3Crypt", uri: str) -> None:
    # S3 reports success for deleting an object that does not exist; a mistyped name must be an
    # error. The check lists, because a HEAD would need the customer key of an SSE-C object.
    try:
        found = next(iter(store.list(uri)), None)
    except StorageError as error:
        if error.code != "AccessDenied":
            raise
        return
    if found is None or found.uri != uri:
        raise ObjectNotFoundError(f"{uri}: no such object")


def _count(text: str | None, name: str) -> int | None:
    size = parse_size(text)
    if size == 0:
        raise ConfigError(f"{name} takes a size of 1 byte or more.")
    return size


def _download_bar(store: "S3Crypt", uri: str, how: dict[str, Any], settings: Settings) -> Any:
    total = None
    if sys.stderr.isatty() and not settings.silent and how["byte_range"] is None:
        total = store.inspect(uri, version_id=how["version_id"]).size
    return progress(uri, total, quiet=settings.silent)


def _file_size(file: str) -> int | None:
    try:
        return None if file == "-" else Path(file).stat().st_size
    except OSError:
        return None


def _tell(
    settings: Settings,
    verb: str,
    source: str,
    target: str,
    info: "ObjectInfo",
    *,
    byte_range: str | None = None,
) -> None:
    if settings.json:
        part = {} if byte_range is None else {"range": byte_range}
        told = {"action": verb, "source": source, "target": target}
        print_json(told | part | info_fields(info))
    elif not settings.quiet:
        what = "" if info.size is None else f", {size_text(info.size)}"
        if byte_range is not None:
            what = f", bytes {byte_range}"
        say(f"{source} -> {target} ({_mode_name(info.mode)}{what})")


def _mode_name(mode: Any) -> str:
    return str(getattr(mode, "name", mode))


def _would(settings: Settings, verb: str, source: str, target: str, mode: "Mode | None") -> None:
    if settings.json:
        print_json({"action": f"would {verb}", "source": source, "target": target})
    else:
        say(f"would {verb} {source} -> {target}{f' ({mode.name})' if mode else ''}")
