# SPDX-License-Identifier: Apache-2.0
"""The values of a transfer by put, get, cp or mv, and the transfer of one file, pipe or object."""

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3crypt.errors import ConfigError, ConflictError, StorageError

from .facts import info_fields
from .files import check_folder, discarding
from .jobs import refuse_job_options
from .options import Settings
from .output import Output, print_json, print_line, progress, say, size_text
from .own_keys import check_not_overwritten
from .pipes import opened_pipe
from .places import end_dry_run, name_of, prefix_of, suggesting_recursion
from .selection import (
    Rules,
    last_part,
)

if TYPE_CHECKING:
    from s3crypt import Mode, ObjectInfo, S3Crypt


@dataclass(frozen=True, slots=True)
class Transfer:
    """The arguments of a put, get, cp or mv.

    Attributes:
        verb: `put`, `get`, `cp` or `mv`.
        sources, target: Paths and URIs, or - for a pipe.
        rules: --include and --exclude, in their order.
        no_overwrite: Whether an existing target is kept, and counted as skipped.
        exit_code: Whether the exit code of a dry run shows if anything would be changed.
        identity: Further values that identify the job in its journal.
        key_files: The files of the command's keys, which are never moved or overwritten.
    """

    settings: Settings
    verb: str
    sources: tuple[str, ...]
    target: str
    rules: Rules = ()
    recursive: bool = False
    jobs: int | None = None
    journal: str | None = None
    dry_run: bool = False
    exit_code: bool = False
    no_overwrite: bool = False
    identity: Mapping[str, Any] = field(default_factory=dict)
    key_files: tuple[str, ...] = ()

    @property
    def action(self) -> str:
        """Return the name of the action in outcomes."""
        return f"would {self.verb}" if self.dry_run else self.verb

    @property
    def is_move(self) -> bool:
        """Return whether sources are deleted afterwards."""
        return self.verb == "mv"

    def allowed(self, how: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Return the options for `Many`'s methods: `how`, this transfer's flags, and `more`."""
        flags = {"dry_run": self.dry_run, "move": self.is_move, "jobs": self.jobs}
        return {**how, **flags, **({"if_absent": True} if self.no_overwrite else {}), **more}


def put_one(
    transfer: Transfer,
    store: "S3Crypt",
    mode: "Mode",
    how: Mapping[str, Any],
    command: tuple[str, ...] | None,
    size: int | None,
) -> None:
    """Store one file or pipe."""
    refuse_job_options(jobs=transfer.jobs, journal=transfer.journal)
    (source,), settings = transfer.sources, transfer.settings
    if source == "-" and transfer.is_move:
        raise ConfigError("A pipe cannot be moved.", hint="Copy it: s3crypt cp - S3_URI")
    if source == "-" and how.get("preserve"):
        raise ConfigError("A pipe has no modification time for --preserve.")
    destination = _destination(source, transfer.target, recursive=transfer.recursive)
    name = command[0] if command else source
    how = {**how, **({"if_absent": True} if transfer.no_overwrite else {})}
    if transfer.dry_run:
        _check_readable(source)
        if how.get("if_absent") and store.exists(destination):
            _already(transfer, name, destination, f"{destination}: the object exists")
            return
        _would(transfer, name, destination, mode)
        return
    total = _file_size(source) if size is None else size
    opened = opened_pipe(command, size) if source == "-" else nullcontext(Path(source))
    with (
        _skipping(transfer, store, name, destination),
        progress(name, total, quiet=settings.silent) as advance,
        opened as given,
    ):
        if transfer.is_move or how.get("preserve"):
            pairs = [(Path(source), destination)]
            outcomes = store.many.put(pairs, move=transfer.is_move, progress=advance, **how)
            info = _only(outcomes)
        else:
            info = store.put(given, destination, progress=advance, **how)
        _tell(transfer, name, destination, info)


def get_one(transfer: Transfer, store: "S3Crypt", uri: str, how: Mapping[str, Any]) -> None:
    """Write one object to a file or a pipe."""
    refuse_job_options(jobs=transfer.jobs, journal=transfer.journal)
    settings, target = transfer.settings, transfer.target
    how = {**how, **({"if_absent": True} if transfer.no_overwrite else {})}
    with suggesting_recursion(uri):
        if target == "-" and not transfer.dry_run:
            if transfer.is_move:
                raise ConfigError("An object is not moved to a pipe.", hint="Copy it, then rm it.")
            how.pop("if_absent", None)
            _refuse_preserve(how, "a pipe has no modification time")
            stream(store, uri, how)
            return
        if how.get("byte_range") is not None:
            _refuse_preserve(how, "a part is not the file")
        path = Path("-") if target == "-" else _target_file(uri, target)
        if how.get("if_absent") and os.path.lexists(path) and target != "-":
            if not transfer.no_overwrite:
                raise ConflictError(
                    f"{path}: the file exists", hint="The file was kept. Choose another target."
                )
            _already(transfer, uri, str(path), f"{path}: the file exists")
            return
        if target != "-":
            check_not_overwritten([path], transfer.key_files)
        if transfer.dry_run:
            asked = {name: value for name, value in how.items() if name != "byte_range"}
            _only(store.many.get([(uri, path)], dry_run=True, **asked))
            _would(transfer, uri, str(path), None)
            return
        with (
            _skipping(transfer, store, uri, str(path)),
            _download_bar(store, uri, how, settings) as bar,
        ):
            if transfer.is_move or how.get("preserve"):
                whole = for_many(how) if transfer.is_move else how
                outcomes = store.many.get(
                    [(uri, path)], move=transfer.is_move, progress=bar, **whole
                )
                info = _only(outcomes)
            else:
                info = store.get(uri, path, progress=bar, **how)
            _tell(transfer, uri, str(path), info, byte_range=how.get("byte_range"))


def _refuse_preserve(how: Mapping[str, Any], why: str) -> None:
    if how.get("preserve"):
        raise ConfigError(f"--preserve keeps a file's modification time; {why}.")


def copy_one(
    transfer: Transfer, store: "S3Crypt", uri: str, target: str, how: Mapping[str, Any]
) -> None:
    """Copy or move one object inside S3."""
    refuse_job_options(jobs=transfer.jobs, journal=transfer.journal)
    how = {**how, **({"if_absent": True} if transfer.no_overwrite else {})}
    with suggesting_recursion(uri), _skipping(transfer, store, uri, target):
        if transfer.is_move or transfer.dry_run:
            flags = {"move": transfer.is_move, "dry_run": transfer.dry_run}
            info = _only(store.many.copy([(uri, target)], **{**for_many(how), **flags}))
        else:
            info = store.copy(uri, target, **how)
        if transfer.dry_run:
            _would(transfer, uri, target, how["to"])
            return
        _tell(transfer, uri, target, info)


@contextmanager
def _skipping(transfer: Transfer, store: "S3Crypt", source: str, target: str) -> Iterator[None]:
    """Report an existing target as skipped, instead of failing."""
    try:
        yield
    except ConflictError as error:
        if not transfer.no_overwrite or not is_there(store, error, target):
            raise
        _already(transfer, source, target, str(error))


def is_there(store: "S3Crypt", error: BaseException | None, target: str) -> bool:
    """Return whether an existing target is the cause of an error."""
    code = error.code if isinstance(error, ConflictError) else None
    # PreconditionFailed may also mean that the source was replaced during the read.
    return code == "FileExists" or (code == "PreconditionFailed" and store.exists(target))


def _already(transfer: Transfer, source: str, target: str, told: str) -> None:
    if transfer.settings.json:
        print_json({"action": "skipped", "source": source, "target": target})
    elif not transfer.settings.quiet:
        say(f"skipped  {told}")


def _only(outcomes: Iterator[Any]) -> Any:
    """Return the result of a job on one object, or raise its error."""
    (outcome,) = outcomes
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def for_many(how: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for many objects; refuse options that apply to one object."""
    of_one = ("version_id", "byte_range")
    if any(how.get(name) is not None for name in (*of_one, "written_as")):
        raise ConfigError(
            "--version-id, --written-as and --range apply to one object; not with -r."
        )
    return {name: value for name, value in how.items() if name not in of_one}


def is_prefix(uri: str) -> bool:
    """Return whether a URI is a bucket or ends with a slash."""
    return uri.endswith("/") or name_of(uri) == ""


def _destination(source: str, uri: str, *, recursive: bool) -> str:
    """Return the URI of the object for a file or a pipe."""
    if source == "-":
        if recursive or is_prefix(uri):
            raise ConfigError("A pipe has no name.", hint="Name the object: s3://BUCKET/NAME.")
        return uri
    return f"{prefix_of(uri)}{Path(source).name}" if is_prefix(uri) else uri


def _check_readable(file: str) -> None:
    """Raise the error that opening the file would raise; do not open a pipe, which could block."""
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


def _target_file(uri: str, target: str) -> Path:
    path = Path(target)
    if path.is_dir() or target.endswith("/"):
        try:
            path = path / last_part(uri)
        except ConfigError as error:
            raise ConfigError(
                f"{uri} has no file name; name the file.", hint=f"For example {path / 'NAME'}"
            ) from error
    if path.is_dir():
        raise ConfigError(
            f"{path} is a directory.", hint="Name the file as TARGET, or another directory."
        )
    check_folder(path)
    return path


def stream(store: "S3Crypt", uri: str, how: Mapping[str, Any]) -> None:
    """Write an object to stdout."""
    output = Output()
    with discarding(output):
        store.get(uri, output, **how)  # type: ignore[arg-type]  # it is written to, and no more


def _download_bar(store: "S3Crypt", uri: str, how: Mapping[str, Any], settings: Settings) -> Any:
    total = None
    if sys.stderr.isatty() and not settings.silent and how.get("byte_range") is None:
        total = store.inspect(uri, version_id=how.get("version_id")).size
    return progress(uri, total, quiet=settings.silent)


def _file_size(file: str) -> int | None:
    try:
        return None if file == "-" else Path(file).stat().st_size
    except OSError:
        return None


def _tell(
    transfer: Transfer,
    source: str,
    target: str,
    info: "ObjectInfo",
    *,
    byte_range: str | None = None,
) -> None:
    if transfer.settings.json:
        part = {} if byte_range is None else {"range": byte_range}
        told = {"action": transfer.verb, "source": source, "target": target}
        print_json(told | part | info_fields(info))
    elif not transfer.settings.quiet:
        what = "" if info.size is None else f", {size_text(info.size)}"
        if byte_range is not None:
            what = f", bytes {byte_range}"
        say(f"{source} -> {target} ({info.mode}{what})")


def _would(transfer: Transfer, source: str, target: str, mode: "Mode | None") -> None:
    if transfer.settings.json:
        print_json({"action": transfer.action, "source": source, "target": target})
    else:
        print_line(f"{transfer.action} {source} -> {target}{f' ({mode.name})' if mode else ''}")
    end_dry_run(exit_code=transfer.exit_code, would_change=True)
