# SPDX-License-Identifier: Apache-2.0
"""put, get, cp and mv: one source or many, into S3, out of it, or inside it.

`cp` of a file into S3 is `put`, and `cp` of an object to a file is `get`: they share this code.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3crypt.errors import ConfigError

from .facts import info_fields
from .jobs import Job, opened_journal
from .output import print_line, say
from .places import end_dry_run, prefix_of
from .selection import (
    Sources,
    check_distinct,
    last_part,
    listed,
    local_filter,
    sources_of,
)
from .single import Transfer, copy_one, for_many, get_one, is_prefix, is_there, put_one

if TYPE_CHECKING:
    from s3crypt import Mode, S3Crypt

_Jobs = Iterable[tuple[Iterator[Any], Callable[[Any], tuple[str, str]]]]


def into_s3(
    transfer: Transfer,
    store: "S3Crypt",
    mode: "Mode",
    how: Mapping[str, Any],
    *,
    command: tuple[str, ...] | None = None,
    size: int | None = None,
) -> None:
    """Store files, folders or a pipe."""
    folders = [each for each in transfer.sources if each != "-" and Path(each).is_dir()]
    for folder in folders if not transfer.recursive else ():
        raise ConfigError(
            f"{folder} is a directory.", hint=f"Give -r to {transfer.verb} all below it."
        )
    if not folders and transfer.rules:
        raise ConfigError("--include and --exclude choose among many.", hint="They go with -r.")
    if len(transfer.sources) == 1 and not folders:
        put_one(transfer, store, mode, how, command, size)
        return
    if "-" in transfer.sources:
        raise ConfigError("A pipe is the only source.", hint="Put it by a command of its own.")
    files = [each for each in transfer.sources if each not in folders]
    prefix = prefix_of(transfer.target) if not files and len(folders) == 1 else _prefix(transfer)
    is_one = len(transfer.sources) == 1
    own = {each: "" if is_one else f"{_own_name(each)}/" for each in folders}
    targets = [Path(each).name for each in files] + [own[each] for each in folders]
    check_distinct(targets, files + folders)

    def left_out(path: Path, why: str) -> None:
        say(f"s3crypt: {path}: skipped, {why}")

    def jobs(**more: Any) -> _Jobs:
        options = transfer.allowed(how, **more)
        pairs = [(Path(each), f"{prefix}{Path(each).name}") for each in files]
        runs = [store.many.put(pairs, **options)] if pairs else []
        names = local_filter(transfer.rules)
        runs += [
            store.many.put_folder(
                each, f"{prefix}{own[each]}", names=names, left_out=left_out, **options
            )
            for each in folders
        ]
        return [(run, lambda outcome: (str(outcome.item[0]), outcome.item[1])) for run in runs]

    count = _run(transfer, store, jobs, mode=mode, unit="files", is_local=True)
    if not count and not transfer.settings.quiet and transfer.journal is None:
        say(f"{' '.join(transfer.sources)} holds no file.")


def out_of_s3(transfer: Transfer, store: "S3Crypt", how: Mapping[str, Any]) -> None:
    """Write objects to files, folders or a pipe."""
    if transfer.target == "-" and (transfer.recursive or len(transfer.sources) > 1):
        raise ConfigError("-r needs a directory as TARGET, not a pipe.")
    sources = _sources(transfer, store)
    if sources.single is not None and len(transfer.sources) == 1:
        get_one(transfer, store, sources.single, how)
        return
    how = for_many(how)
    root = _folder(transfer)
    parts = [last_part(uri) for uri in sources.objects]
    _check_targets(store, transfer, sources, parts)
    for part in parts:
        if (root / part).is_dir():
            raise ConfigError(f"{root / part} is a directory.", hint="Name another directory.")

    def jobs(**more: Any) -> _Jobs:
        options = transfer.allowed(how, **more)
        pairs = [(uri, root / part) for uri, part in zip(sources.objects, parts, strict=True)]
        runs: list[Iterator[Any]] = [store.many.get(pairs, **options)] if pairs else []
        runs += [
            store.many.get_folder(
                tree.prefix, root / _own(transfer, tree.own_name), names=tree.names, **options
            )
            for tree in sources.trees
        ]
        return [
            (run, lambda outcome: (_uri(outcome.item[0]), str(outcome.item[1]))) for run in runs
        ]

    _run(transfer, store, jobs)


def inside_s3(transfer: Transfer, store: "S3Crypt", to: "Mode", how: Mapping[str, Any]) -> None:
    """Copy or move objects inside S3."""
    sources = _sources(transfer, store)
    single = sources.single if len(transfer.sources) == 1 else None
    how = {**how, "to": to}
    if single is None:
        how = for_many(how)
    parts = [last_part(uri) for uri in sources.objects] if is_prefix(transfer.target) else []
    if single is not None and not parts:
        targets = [transfer.target]
    else:
        prefix = (
            prefix_of(transfer.target)
            if sources.trees and single is None and len(transfer.sources) == 1
            else _prefix(transfer)
        )
        targets = [f"{prefix}{part}" for part in parts]
    for uri, target in zip(sources.objects, targets, strict=True):
        if uri == target and not how.get("version_id"):
            raise ConfigError(
                f"{uri} is both the source and the target of the {_NOUNS[transfer.verb]}.",
                hint="To bring an object to another mode or key, rotate it.",
            )
    if single is not None:
        copy_one(transfer, store, single, targets[0], how)
        return
    _check_targets(store, transfer, sources, parts)

    def jobs(**more: Any) -> _Jobs:
        options = transfer.allowed(how, **more)
        pairs = list(zip(sources.objects, targets, strict=True))
        runs: list[Iterator[Any]] = [store.many.copy(pairs, **options)] if pairs else []
        runs += [
            store.many.copy_folder(
                tree.prefix,
                prefix + _own(transfer, tree.own_name, "/"),
                names=tree.names,
                **options,
            )
            for tree in sources.trees
        ]
        return [(run, lambda outcome: (_uri(outcome.item[0]), outcome.item[1])) for run in runs]

    _run(transfer, store, jobs, mode=to)


_NOUNS = {"cp": "copy", "mv": "move"}


def _run(
    transfer: Transfer,
    store: "S3Crypt",
    jobs: Callable[..., _Jobs],
    *,
    mode: "Mode | None" = None,
    unit: str = "objects",
    is_local: bool = False,
) -> int:
    """Run jobs one after the other, with one journal and one count; return the count."""
    settings, dry_run = transfer.settings, transfer.dry_run
    where = os.path.realpath if is_local else str
    source = [where(each) for each in transfer.sources]
    journal = opened_journal(
        transfer.journal,
        settings,
        store,
        dry_run=dry_run,
        verb=transfer.verb,
        source=source[0] if len(source) == 1 else source,
        target=transfer.target
        if transfer.target.startswith("s3://")
        else os.path.realpath(transfer.target),
        rules=[list(rule) for rule in transfer.rules],
        no_overwrite=transfer.no_overwrite,
        **transfer.identity,
    )
    tell = print_line if dry_run else say
    with journal as notes, Job(transfer.verb, settings, names_all=dry_run, tell=tell) as job:
        moved = {"progress": job.moved} if unit == "files" or mode is None else {}
        for outcomes, pair_of in jobs(journal=notes, found=job.found, **moved):
            for outcome in job.closing(outcomes):
                source_told, target_told = pair_of(outcome)
                pair = {"source": source_told, "target": target_told}
                if transfer.no_overwrite and is_there(store, outcome.error, target_told):
                    job.skipped(outcome.error, pair)
                    continue
                info = outcome.result
                fields = info_fields(info) if info and not dry_run else {}
                named = getattr(info, "mode", None) or (mode and mode.name)
                told = f"{source_told} -> {target_told} ({named})"
                told = f"{transfer.action} {told}" if dry_run else told
                job.ended(transfer.action, outcome.error, {**pair, **fields}, told)
    count = job.count
    job.finish(unit=unit)
    end_dry_run(exit_code=transfer.exit_code, would_change=job.would_change)
    return count


def _put_one(
    transfer: Transfer,
    store: "S3Crypt",
    mode: "Mode",
    how: Mapping[str, Any],
    command: tuple[str, ...] | None,
    size: int | None,
) -> None:
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
            _already(transfer, name, destination, f"{destination}: it exists")
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


def _get_one(transfer: Transfer, store: "S3Crypt", uri: str, how: Mapping[str, Any]) -> None:
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
                raise ConflictError(f"{path}: it exists", hint="It is kept.")
            _already(transfer, uri, str(path), f"{path}: it exists")
            return
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
                whole = _for_many(how) if transfer.is_move else how
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


def _copy_one(
    transfer: Transfer, store: "S3Crypt", uri: str, target: str, how: Mapping[str, Any]
) -> None:
    refuse_job_options(jobs=transfer.jobs, journal=transfer.journal)
    how = {**how, **({"if_absent": True} if transfer.no_overwrite else {})}
    with suggesting_recursion(uri), _skipping(transfer, store, uri, target):
        if transfer.is_move or transfer.dry_run:
            flags = {"move": transfer.is_move, "dry_run": transfer.dry_run}
            info = _only(store.many.copy([(uri, target)], **{**_for_many(how), **flags}))
        else:
            info = store.copy(uri, target, **how)
        if transfer.dry_run:
            _would(transfer, uri, target, how["to"])
            return
        _tell(transfer, uri, target, info)


@contextmanager
def _skipping(transfer: Transfer, store: "S3Crypt", source: str, target: str) -> Iterator[None]:
    """Report a target that exists and is left alone, instead of failing."""
    try:
        yield
    except ConflictError as error:
        if not transfer.no_overwrite or not _is_there(store, error, target):
            raise
        _already(transfer, source, target, str(error))


def _is_there(store: "S3Crypt", error: BaseException | None, target: str) -> bool:
    """Return whether a target that exists is the cause of an error."""
    code = error.code if isinstance(error, ConflictError) else None
    # A source that was replaced while it was read fails a condition, too.
    return code == "FileExists" or (code == "PreconditionFailed" and store.exists(target))


def _already(transfer: Transfer, source: str, target: str, told: str) -> None:
    if transfer.settings.json:
        print_json({"action": "skipped", "source": source, "target": target})
    elif not transfer.settings.quiet:
        say(f"skipped  {told}")


def _only(outcomes: Iterator[Any]) -> Any:
    """Return the result of a job of one object; raise its error."""
    (outcome,) = outcomes
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def _sources(transfer: Transfer, store: "S3Crypt") -> Sources:
    return sources_of(
        store, transfer.sources, transfer.rules, recursive=transfer.recursive, verb=transfer.verb
    )


def _check_targets(
    store: "S3Crypt", transfer: Transfer, sources: Sources, parts: list[str]
) -> None:
    """Refuse several sources of which two would have the same target."""
    if len(transfer.sources) == 1:
        return
    names, told = list(parts), list(sources.objects)
    for tree in sources.trees:
        if tree.own_name:
            names.append(f"{tree.own_name}/")
            told.append(tree.prefix)
            continue
        found = [item.uri for item, _ in listed(store, Sources((), (tree,)))]
        names += [uri[len(tree.prefix) :] for uri in found]
        told += found
    check_distinct(names, told)


def _own(transfer: Transfer, name: str, end: str = "") -> str:
    """Return the name below which a tree goes: none if the tree is the only source."""
    return f"{name}{end}" if name and len(transfer.sources) > 1 else ""


def _own_name(folder: str) -> str:
    name = Path(os.path.abspath(folder)).name  # noqa: PTH100 - links are kept
    if not name:
        raise ConfigError(f"{folder} has no name.", hint="Give it alone.")
    return name


def _prefix(transfer: Transfer) -> str:
    if not is_prefix(transfer.target):
        raise ConfigError(
            f"Several sources need a prefix as target, and {transfer.target} names an object.",
            hint=f"A prefix ends with a slash: {transfer.target}/",
        )
    return prefix_of(transfer.target)


def _folder(transfer: Transfer) -> Path:
    path = Path(transfer.target)
    if path.exists() and not path.is_dir():
        raise ConfigError(
            f"{transfer.target} is a file; -r needs a directory.",
            hint="Name another; it is made if need be.",
        )
    is_folder = path.is_dir() or transfer.target.endswith("/")
    if len(transfer.sources) > 1 and not is_folder:
        raise ConfigError(
            f"Several sources need a directory as target, and {transfer.target} is not there.",
            hint=f"To have it made, end it with a slash: {transfer.target}/",
        )
    return path


def _uri(item: Any) -> str:
    return item if isinstance(item, str) else str(getattr(item, "uri", None) or item[0].uri)


def _destination(source: str, uri: str, *, recursive: bool) -> str:
    """Return the URI of the object for a file or a pipe."""
    if source == "-":
        if recursive or _is_prefix(uri):
            raise ConfigError("A pipe has no name.", hint="Name the object: s3://BUCKET/NAME.")
        return uri
    return f"{prefix_of(uri)}{Path(source).name}" if _is_prefix(uri) else uri


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
