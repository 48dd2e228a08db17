# SPDX-License-Identifier: Apache-2.0
"""put, get, cp and mv of one or many sources, into S3, out of S3 or inside S3.

`cp` of a file into S3 is `put`, and `cp` of an object to a file is `get`: they share this code.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3crypt.errors import ConfigError

from .facts import info_fields
from .jobs import Job, opened_journal
from .output import print_line, say
from .own_keys import check_not_overwritten
from .places import end_dry_run, prefix_of
from .selection import (
    Sources,
    check_distinct,
    last_part,
    listed,
    local_filter,
    sources_of,
    sparing,
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
        raise ConfigError("--include and --exclude need -r.", hint="Give -r, or omit them.")
    if len(transfer.sources) == 1 and not folders:
        put_one(transfer, store, mode, how, command, size)
        return
    if "-" in transfer.sources:
        raise ConfigError(
            "A pipe must be the only source.", hint="Put the pipe by a separate command."
        )
    files = [each for each in transfer.sources if each not in folders]
    prefix = prefix_of(transfer.target) if not files and len(folders) == 1 else _prefix(transfer)
    is_one = len(transfer.sources) == 1
    own = {each: "" if is_one else f"{_own_name(each)}/" for each in folders}
    targets = [Path(each).name for each in files] + [own[each] for each in folders]
    check_distinct(targets, files + folders)

    left_out = transfer.settings.left_out
    key_files = transfer.key_files if transfer.is_move else ()
    every = local_filter(transfer.rules)

    def jobs(**more: Any) -> _Jobs:
        options = transfer.allowed(how, **more)
        pairs = [(Path(each), f"{prefix}{Path(each).name}") for each in files]
        runs = [store.many.put(pairs, **options)] if pairs else []
        runs += [
            store.many.put_folder(
                each,
                f"{prefix}{own[each]}",
                names=sparing(every, each, key_files, left_out),
                left_out=left_out,
                **options,
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
    _check_targets(store, transfer, sources, parts, is_local=True)
    for part in parts:
        if (root / part).is_dir():
            raise ConfigError(f"{root / part} is a directory.", hint="Name another directory.")
    if not transfer.no_overwrite:
        check_not_overwritten([root / part for part in parts], transfer.key_files)

    def jobs(**more: Any) -> _Jobs:
        options = transfer.allowed(how, **more)
        pairs = [(uri, root / part) for uri, part in zip(sources.objects, parts, strict=True)]
        runs: list[Iterator[Any]] = [store.many.get(pairs, **options)] if pairs else []
        for tree in sources.trees:
            folder = root / _own(transfer, tree.own_name)
            names = sparing(tree.names, folder, transfer.key_files, transfer.settings.left_out)
            runs.append(store.many.get_folder(tree.prefix, folder, names=names, **options))
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
                hint="To change an object's mode or key, rotate it.",
            )
    if single is not None:
        copy_one(transfer, store, single, targets[0], how)
        return
    _check_targets(store, transfer, sources, parts)
    trees = [(tree, prefix + _own(transfer, tree.own_name, "/")) for tree in sources.trees]
    if len(trees) > 1:
        _check_apart([tree.prefix for tree, _ in trees], [target for _, target in trees])

    def jobs(**more: Any) -> _Jobs:
        options = transfer.allowed(how, **more)
        pairs = list(zip(sources.objects, targets, strict=True))
        runs: list[Iterator[Any]] = [store.many.copy(pairs, **options)] if pairs else []
        runs += [
            store.many.copy_folder(tree.prefix, target, names=tree.names, **options)
            for tree, target in trees
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


def _sources(transfer: Transfer, store: "S3Crypt") -> Sources:
    return sources_of(
        store, transfer.sources, transfer.rules, recursive=transfer.recursive, verb=transfer.verb
    )


def _check_targets(
    store: "S3Crypt",
    transfer: Transfer,
    sources: Sources,
    parts: list[str],
    *,
    is_local: bool = False,
) -> None:
    """Refuse sources if two of them would have the same target."""
    if len(transfer.sources) == 1:
        return
    names, told = list(parts), list(sources.objects)
    own = {f"{tree.own_name}/": tree.prefix for tree in sources.trees if tree.own_name}
    for tree in sources.trees:
        if tree.own_name:
            if is_local and tree.own_name in (".", ".."):
                raise ConfigError(
                    f"{tree.prefix} has no name for a folder.",
                    hint="Get this prefix by a separate command.",
                )
            names.append(f"{tree.own_name}/")
            told.append(tree.prefix)
            continue
        for item, _ in listed(store, Sources((), (tree,))):
            name = item.uri[len(tree.prefix) :]
            if item.uri.endswith("/") and not item.stored_size:
                # The S3 console makes an empty object "NAME/" for a folder. It is not copied.
                continue
            names.append(_path(name) if is_local else name)
            told.append(item.uri)
    check_distinct(names, told)
    for name, uri in zip(names, told, strict=True):
        above, slash, _ = name.partition("/")
        if (prefix := own.get(above + slash)) and prefix != uri:
            check_distinct([name, name], [prefix, uri])


def _check_apart(prefixes: Sequence[str], targets: Sequence[str]) -> None:
    """Refuse a target inside or around a source: a source could be overwritten before its copy."""
    for prefix in prefixes:
        for target in targets:
            if target.startswith(prefix) or prefix.startswith(target):
                raise ConfigError(
                    f"{target} is the same as the source, {prefix}, or one is inside the other.",
                    hint="Name a prefix beside it.",
                )


def _path(name: str) -> str:
    """Return the path of the file for an object's name: `a/b` for `a//b` and `a/./b`."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _own(transfer: Transfer, name: str, end: str = "") -> str:
    """Return the folder below the target for a tree's objects, or '' for the only source."""
    return f"{name}{end}" if name and len(transfer.sources) > 1 else ""


def _own_name(folder: str) -> str:
    name = Path(os.path.abspath(folder)).name  # noqa: PTH100 - links are kept
    if not name:
        raise ConfigError(f"{folder} has no name.", hint="Give this folder in a separate command.")
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
            hint="Name a directory; it is created if it does not exist.",
        )
    is_folder = path.is_dir() or transfer.target.endswith("/")
    if len(transfer.sources) > 1 and not is_folder:
        raise ConfigError(
            f"Several sources need a directory as target, and {transfer.target} does not exist.",
            hint=f"To create it, end the name with a slash: {transfer.target}/",
        )
    return path


def _uri(item: Any) -> str:
    return item if isinstance(item, str) else str(getattr(item, "uri", None) or item[0].uri)
