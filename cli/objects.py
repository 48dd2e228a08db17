# SPDX-License-Identifier: Apache-2.0
"""Commands on objects: put, get, cat, ls, rm and inspect."""

import dataclasses
import errno
import os
import sys
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import click

from s3crypt.errors import (
    ConfigError,
    ObjectNotFoundError,
    StorageError,
)

from .files import check_folder, discarding
from .jobs import jobs_option, journal_option, opened_journal, refuse_job_options
from .options import (
    ModeOptions,
    Settings,
    common_options,
    describing_options,
    option,
    parse_pairs,
    parse_size,
    reading_options,
    writing_options,
)
from .output import (
    Output,
    print_json,
    print_line,
    progress,
    say,
    size_text,
)
from .pipes import TakingCommand, opened_pipe
from .places import (
    allow_unsigned_option,
    dry_run_option,
    make_store,
    name_of,
    prefix_of,
    recursive_option,
    suggesting_recursion,
    version_id_option,
    written_as_option,
    written_in_option,
)
from .recursive import delete_below, get_folder, inspect_below, put_folder

if TYPE_CHECKING:
    from s3crypt import ListedObject, Mode, ObjectInfo, S3Crypt

T = TypeVar("T")

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
@click.argument("source", type=click.Path(allow_dash=True))
@click.argument("uri", metavar="S3_URI")
@common_options
@writing_options
@option("--metadata", multiple=True, metavar="NAME=VALUE", help="Kept with the object, in clear.")
@option("--tag", multiple=True, metavar="NAME=VALUE", help="Object tag.")
@option("--content-type", metavar="TYPE", help="For example text/csv.")
@option("--storage-class", metavar="CLASS", help="For example STANDARD_IA.")
@option("--if-absent", is_flag=True, help="Fail if the object exists; never overwrite.")
@option(
    "--size",
    callback=lambda _context, _parameter, value: parse_size(value),
    environment=False,
    metavar="SIZE",
    help="Of a pipe: store nothing unless it has just as many bytes.",
)
@written_in_option
@option("-r", "--recursive", is_flag=True, environment=False, help="A directory, as a tree.")
@jobs_option
@journal_option
@dry_run_option
def put(
    settings: Settings,
    *,
    options: ModeOptions,
    source: str,
    uri: str,
    metadata: tuple[str, ...],
    tag: tuple[str, ...],
    size: int | None,
    written_in: str | None,
    recursive: bool,
    jobs: int | None,
    journal: str | None,
    dry_run: bool,
    command: tuple[str, ...] | None,
    **how: Any,
) -> None:
    """Encrypt a file, pipe or directory into S3.

    SOURCE is a file, - for a pipe, or with -r a directory. Or it is the output of a command:
    s3crypt put S3_URI [OPTIONS] -- COMMAND... stores it only if the command exits with 0.

    S3_URI is s3://BUCKET/NAME; a bucket, or one that ends in /, gets the file's name appended.
    """
    if command is not None and not command:
        raise ConfigError("No command comes after the --.", hint="s3crypt put S3_URI -- COMMAND")
    if size is not None and source != "-":
        raise ConfigError("--size is for a pipe.", hint="Give - as SOURCE, or leave --size out.")
    mode = options.required_mode_for(settings)
    how["metadata"] = parse_pairs(metadata, "--metadata") or None
    how["tags"] = parse_pairs(tag, "--tag") or None
    store = make_store(mode, settings, written_in)
    if Path(source).is_dir() and source != "-":
        if not recursive:
            raise ConfigError(f"{source} is a directory.", hint="Give -r to put all below it.")
        put_folder(
            store,
            settings,
            mode=mode,
            source=source,
            uri=uri,
            dry_run=dry_run,
            jobs=jobs,
            journal=opened_journal(
                journal,
                settings,
                store,
                dry_run=dry_run,
                verb="put",
                source=os.path.realpath(source),
                target=uri,
                written_in=written_in,
                modes=[options.told()],
                how=how,
            ),
            fields_of=info_fields,
            how=how,
        )
        return
    refuse_job_options(jobs=jobs, journal=journal)
    destination = _destination(source, uri, recursive=recursive)
    name = command[0] if command else source
    if dry_run:
        _check_readable(source)
        _would(settings, "put", name, destination, mode)
        return
    total = _file_size(source) if size is None else size
    opened = opened_pipe(command, size) if source == "-" else nullcontext(Path(source))
    with progress(name, total, quiet=settings.silent) as advance, opened as given:
        info = store.put(given, destination, progress=advance, **how)
    _tell(settings, "put", name, destination, info)


@click.command()
@click.argument("uri", metavar="S3_URI")
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
@_allow_uncommitted
@allow_unsigned_option
@_allow_unverified_signature
@recursive_option
@jobs_option
@journal_option
@dry_run_option
def get(
    settings: Settings,
    *,
    options: ModeOptions,
    uri: str,
    target: str,
    recursive: bool,
    jobs: int | None,
    journal: str | None,
    dry_run: bool,
    **how: Any,
) -> None:
    """Decrypt and verify objects into files or a pipe.

    One object, or with -r all below a prefix. TARGET - is a pipe; it may be a directory.

    A file appears complete and verified, or not at all. With --range only the frames that have
    those bytes are read and verified, and the final one, so that nothing was cut off.
    """
    if recursive and (how["version_id"] or how["written_as"] or how["byte_range"] is not None):
        raise ConfigError("--version-id, --written-as and --range name one object; not with -r.")
    store = make_store(options.mode_for(settings), settings)
    if target == "-" and recursive:
        raise ConfigError("-r needs a directory as TARGET, not a pipe.")
    if not recursive and name_of(uri) == "":
        raise ConfigError(f"{uri} is a prefix.", hint="Give -r to get all below it.")
    if recursive:
        for name in ("version_id", "written_as", "byte_range"):
            how.pop(name)
        get_folder(
            store,
            settings,
            uri=uri,
            target=target,
            dry_run=dry_run,
            jobs=jobs,
            journal=opened_journal(
                journal,
                settings,
                store,
                dry_run=dry_run,
                verb="get",
                source=uri,
                target=os.path.realpath(target),
                modes=[options.told()],
                how=how,
            ),
            fields_of=info_fields,
            how=how,
        )
        return
    refuse_job_options(jobs=jobs, journal=journal)
    with suggesting_recursion(uri):
        if target == "-" and not dry_run:
            _stream(store, uri, how)
            return
        path = Path("-") if target == "-" else _target_file(uri, target)
        if dry_run:
            store.inspect(uri, version_id=how["version_id"])
            _would(settings, "get", uri, str(path), None)
            return
        with _download_bar(store, uri, how, settings) as advance:
            info = store.get(uri, path, progress=advance, **how)
    _tell(settings, "get", uri, str(path), info, byte_range=how["byte_range"])


@click.command()
@click.argument("uris", metavar="S3_URI...", nargs=-1, required=True)
@common_options
@reading_options
@version_id_option
@written_as_option
@written_in_option
@_allow_uncommitted
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
@_allow_unverified_signature
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
            _stream(store, uri, how)
        except StorageError as error:
            # S3 refuses any range of an empty object; --head and --tail then print no bytes.
            if not (head or tail) or error.code != "InvalidRange":
                raise


@click.command()
@click.argument("uri", metavar="S3_URI")
@common_options
@recursive_option
def ls(settings: Settings, *, uri: str, recursive: bool) -> None:
    """List objects below a prefix.

    A line has when it was stored, the bytes stored, and the name.

    Without -r one level only, with what is deeper as prefixes.
    """
    seen: set[str] = set()
    base = uri if name_of(uri) or uri.endswith("/") else uri + "/"
    for item in make_store(None, settings).list(base):
        rest = item.uri[len(base) :]
        deeper, slash, _ = rest.partition("/")
        if recursive or not slash:
            _list_object(settings, item)
        elif deeper not in seen:
            seen.add(deeper)
            _list_prefix(settings, base + deeper + "/")


@click.command()
@click.argument("uri", metavar="S3_URI")
@common_options
@version_id_option
@recursive_option
@jobs_option
@dry_run_option
def rm(
    settings: Settings,
    *,
    uri: str,
    version_id: str | None,
    recursive: bool,
    jobs: int | None,
    dry_run: bool,
) -> None:
    """Delete an object, or all below a prefix (-r).

    In a bucket with versioning older versions stay.
    """
    store = make_store(None, settings)
    if recursive and version_id:
        raise ConfigError("--version-id names one object; not with -r.")
    if not recursive and name_of(uri) == "":
        raise ConfigError(f"{uri} is a prefix.", hint="Give -r to delete all below it.")

    if recursive:
        delete_below(store, settings, uri=uri, dry_run=dry_run, jobs=jobs)
        return
    refuse_job_options(jobs=jobs)
    if not version_id:
        with suggesting_recursion(uri):
            _check_exists(store, uri)
    if not dry_run:
        store.delete(uri, version_id=version_id)
    action = "would delete" if dry_run else "deleted"
    if settings.json:
        print_json({"action": action, "uri": uri})
    elif not settings.quiet:
        say(f"{action} {uri}")


@click.command()
@click.argument("uri", metavar="S3_URI")
@common_options
@describing_options
@version_id_option
@recursive_option
@jobs_option
def inspect(
    settings: Settings,
    *,
    options: ModeOptions,
    uri: str,
    version_id: str | None,
    recursive: bool,
    jobs: int | None,
) -> None:
    """Say how an object is encrypted.

    And under which key; nothing is decrypted.

    Only an SSE-C object needs its key, --sse-c-key-file, because S3 asks for it.
    """
    store = make_store(options.mode_for(settings), settings)

    def show(info: "ObjectInfo") -> None:
        if settings.json:
            print_json(info_fields(info))
            return
        for field, value in info_fields(info).items():
            if value not in (None, {}, []):
                print_line(f"{field.replace('_', ' '):<14} {_plain(value)}")
        if recursive:
            print_line("")

    if recursive:
        if version_id:
            raise ConfigError("--version-id names one object; not with -r.")
        inspect_below(store, settings, uri=uri, jobs=jobs, show=show)
        return
    refuse_job_options(jobs=jobs)
    with suggesting_recursion(uri):
        show(store.inspect(uri, version_id=version_id))


def info_fields(info: "ObjectInfo") -> dict[str, Any]:
    """Return an object's properties under the names that --json prints."""
    fields = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
    return {name: _value(value) for name, value in fields.items()}


def _value(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return list(value)
    return dict(value) if hasattr(value, "items") else value


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


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


def _target_file(uri: str, target: str) -> Path:
    path = Path(target)
    name = PurePosixPath(name_of(uri)).name
    if path.is_dir() or target.endswith("/"):
        if not name or name == "..":
            raise ConfigError(
                f"{uri} has no file name; name the file.", hint=f"For example {path / 'NAME'}"
            )
        path = path / name
    if path.is_dir():
        raise ConfigError(
            f"{path} is a directory.", hint="Name the file as TARGET, or another directory."
        )
    check_folder(path)
    return path


def _stream(store: "S3Crypt", uri: str, how: dict[str, Any]) -> None:
    output = Output()
    with discarding(output):
        store.get(uri, cast("BinaryIO", output), **how)


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


def _list_object(settings: Settings, item: "ListedObject") -> None:
    if settings.json:
        print_json(dataclasses.asdict(item))
        return
    print_line(f"{item.last_modified:%Y-%m-%d %H:%M:%S}  {item.stored_size:>14}  {item.uri}")


def _list_prefix(settings: Settings, uri: str) -> None:
    if settings.json:
        print_json({"prefix": uri})
    else:
        print_line(f"{'':19}  {'-':>14}  {uri}")
