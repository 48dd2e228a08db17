# SPDX-License-Identifier: Apache-2.0
"""Commands on objects: put, get, cat, rm and inspect."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    make_store,
    no_overwrite_option,
    preserve_option,
    recursive_option,
    suggesting_recursion,
    version_id_option,
    written_as_option,
    written_in_option,
)
from .recursive import delete_all, inspect_all, inspect_versions
from .selection import FilteringCommand, Rules, filter_options, sources_argument, sources_of
from .single import Transfer, stream
from .transfers import into_s3, out_of_s3

if TYPE_CHECKING:
    from s3crypt import ObjectInfo, S3Crypt

_AN_OBJECT = "An object is s3://BUCKET/NAME."


@click.command(cls=TakingCommand)
@sources_argument
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
    help="Store a pipe only if it has exactly this number of bytes.",
)
@written_in_option
@option(
    "-r",
    "--recursive",
    is_flag=True,
    environment=False,
    group=MANY,
    help="Put all files below a directory.",
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

    S3_URI is s3://BUCKET/NAME; if it is a bucket or ends in /, the file's name is appended. Several
    sources keep their names, and files of a directory keep their paths below it.

    \b
    s3crypt put q3.csv s3://acme/2026/ --key kms:alias/reports
    s3crypt put -r 2026 s3://acme/2026/ --exclude '*.tmp' --mode sse-s3
    s3crypt put s3://acme/db.sql --key kms:alias/reports -- cat q3.csv
    """
    if command is not None and not command:
        raise ConfigError("There is no command after the --.", hint="s3crypt put S3_URI -- COMMAND")
    if size is not None and sources != ("-",):
        raise ConfigError("--size is for a pipe.", hint="Give - as SOURCE, or omit --size.")
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
    help="Only these bytes: 0-99, 100-, or -100 for the last 100 bytes.",
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

    Give one object, several objects, a pattern ('s3://acme/2026/*.csv'), or with -r a prefix.
    TARGET is a file or a directory; - is stdout.

    A file appears complete and verified, or not at all. With --range, only the frames with those
    bytes are read and verified, and the final frame, which detects truncation.

    \b
    s3crypt get s3://acme/2026/q3.csv . --key kms:alias/reports
    s3crypt get 's3://acme/2026/*.csv' reports/ --key kms:alias/reports
    s3crypt get -r s3://acme/2026/ reports/ --key kms:alias/reports --no-overwrite
    s3crypt get s3://acme/2026/q3.csv footer --range -100 --key kms:alias/reports
    """
    check_exit_code(exit_code=exit_code, dry_run=dry_run)
    how = {name: value for name, value in how.items() if value}
    if recursive and ("version_id" in how or "written_as" in how or "byte_range" in how):
        raise ConfigError(
            "--version-id, --written-as and --range apply to one object; not with -r."
        )
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
        key_files=options.key_files,
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
    """Write objects to stdout, and verify each byte before.

    If a later part of an object is wrong, the exit code is 3 and you must discard the output.

    \b
    s3crypt cat s3://acme/2026/q3.csv --key kms:alias/reports | wc -l
    s3crypt cat s3://acme/2026/q3.csv --head 64KiB --key kms:alias/reports
    """
    if head and tail:
        raise ConfigError("--head and --tail exclude each other.", hint="Give one of them.")
    if len(uris) > 1 and (how["version_id"] or how["written_as"]):
        raise ConfigError("--version-id and --written-as apply to one object; not with several.")
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
    """Delete objects, all objects that fit a pattern, or all below a prefix (-r).

    A bucket with versioning keeps the versions.

    \b
    s3crypt rm s3://acme/2026/q3.csv
    s3crypt rm -r s3://acme/tmp/ --dry-run
    s3crypt rm 's3://acme/tmp/*.csv'
    """
    check_exit_code(exit_code=exit_code, dry_run=dry_run)
    store = make_store(None, settings)
    if recursive and version_id:
        raise ConfigError("--version-id applies to one object; not with -r.")
    sources = sources_of(store, uris, rules, recursive=recursive, verb="delete")
    if version_id and sources.single is None:
        raise ConfigError("--version-id applies to one object; not with several.")
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
    """Show the mode and keys of objects, or of messages in local files.

    Nothing is decrypted.

    Only an SSE-C object needs its key, --sse-c-key-file, because S3 asks for it.

    \b
    s3crypt inspect s3://acme/2026/q3.csv
    s3crypt inspect -r s3://acme/2026/ --json
    s3crypt inspect q3.csv.enc
    """
    one = [
        name for name, given in (("--version-id", version_id), ("--versions", versions)) if given
    ]
    if any("://" not in uri for uri in uris):
        many = (("-r", recursive), ("--jobs", jobs), ("--include and --exclude", rules))
        refused = [*one, *(name for name, given in many if given)]
        _inspect_files(settings, uris, refused=refused)
        return
    if len(one) > 1:
        raise ConfigError("--versions and --version-id exclude each other.")
    if recursive and version_id:
        raise ConfigError("--version-id applies to one object; not with -r.")
    store = make_store(options.mode_for(settings), settings)
    if versions:
        _inspect_versions(store, settings, uris, rules, recursive=recursive, jobs=jobs)
        return
    sources = sources_of(store, uris, rules, recursive=recursive, verb="inspect")
    if version_id and sources.single is None:
        raise ConfigError("--version-id applies to one object; not with several.")
    if sources.single is None:
        show = partial(_show_fields, settings, is_single=False)
        inspect_all(store, settings, sources, jobs=jobs, show=show)
        return
    refuse_job_options(jobs=jobs)
    with suggesting_recursion(sources.single):
        _show_fields(settings, store.inspect(sources.single, version_id=version_id))


def _inspect_versions(
    store: "S3Crypt",
    settings: Settings,
    uris: tuple[str, ...],
    rules: Rules,
    *,
    recursive: bool,
    jobs: int | None,
) -> None:
    if len(uris) > 1 or rules:
        raise ConfigError("--versions takes one object or prefix, and no filter.")
    show = partial(_show_fields, settings, is_single=False)
    inspect_versions(store, settings, uri=uris[0], recursive=recursive, jobs=jobs, show=show)


def _show_fields(settings: Settings, info: "ObjectInfo", *, is_single: bool = True) -> None:
    print_fields(settings, info_fields(info))
    if not is_single and not settings.json:
        print_line("")


def _inspect_files(settings: Settings, paths: tuple[str, ...], *, refused: list[str]) -> None:
    """Show the properties of messages in local files; fail if `refused` names any option."""
    from s3crypt.files import inspect_file  # noqa: PLC0415 - it loads cryptography

    for path in paths:
        if "://" in path:
            raise ConfigError(
                f"{path} is not a local file, but another source is.", hint=_AN_OBJECT
            )
        if refused:
            told = f"{path} is a local file: {refused[0]} does not apply."
            raise ConfigError(told, hint=_AN_OBJECT)
    for path in paths:
        facts = inspect_file(path)
        fields = {"file": path, "stored_size": Path(path).stat().st_size, **value_fields(facts)}
        print_fields(settings, fields)
        if len(paths) > 1 and not settings.json:
            print_line("")


def _check_exists(store: "S3Crypt", uri: str) -> None:
    # S3 reports success if the object to delete does not exist, but a mistyped name must be an
    # error. A listing finds the object without the customer key that HEAD needs for SSE-C.
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
        raise ConfigError(f"{name} must be a size of 1 byte or more.")
    return size
