# SPDX-License-Identifier: Apache-2.0
"""put, get, rm and inspect with -r: jobs on all files below a folder or objects below a prefix."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3crypt.errors import ConfigError

from .jobs import Job
from .options import Settings
from .output import say
from .places import found_below, found_to_read, prefix_of

if TYPE_CHECKING:
    from s3crypt import Journal, ListedObject, Mode, ObjectInfo, S3Crypt

Fields = Callable[["ObjectInfo"], dict[str, Any]]
Show = Callable[["ObjectInfo"], None]
OpenedJournal = AbstractContextManager["Journal | None"]


def put_folder(
    store: "S3Crypt",
    settings: Settings,
    *,
    mode: "Mode",
    source: str,
    uri: str,
    dry_run: bool,
    jobs: int | None,
    journal: OpenedJournal,
    fields_of: Fields,
    how: Mapping[str, Any],
) -> None:
    """Put all files below a folder."""
    prefix = prefix_of(uri)

    def left_out(path: Path, why: str) -> None:
        say(f"s3crypt: {path}: skipped, {why}")

    with journal as notes, Job("put", settings, names_all=dry_run) as job:
        outcomes = store.many.put_folder(
            source,
            prefix,
            left_out=left_out,
            jobs=jobs,
            journal=notes,
            dry_run=dry_run,
            found=job.found,
            progress=job.moved,
            **how,
        )
        for outcome in job.closing(outcomes):
            path, name = str(outcome.item[0]), outcome.item[1]
            pair = {"source": path, "target": name}
            told = f"{'would put ' * dry_run}{path} -> {name} ({mode.name})"
            action = "would put" if dry_run else "put"
            fields = fields_of(outcome.result) if outcome.result else {}
            job.ended(action, outcome.error, {**pair, **fields}, told)
    if not job.count and not settings.quiet and notes is None:
        say(f"{source} holds no file.")
    job.finish(unit="files")


def get_folder(
    store: "S3Crypt",
    settings: Settings,
    *,
    uri: str,
    target: str,
    dry_run: bool,
    jobs: int | None,
    journal: OpenedJournal,
    fields_of: Fields,
    how: Mapping[str, Any],
) -> None:
    """Get all objects below a prefix into a folder."""
    root, prefix = _folder(target), prefix_of(uri)
    with journal as notes, Job("get", settings, names_all=dry_run) as job:
        outcomes = store.many.get_folder(
            prefix,
            root,
            jobs=jobs,
            journal=notes,
            dry_run=dry_run,
            found=job.found,
            progress=job.moved,
            **how,
        )
        for outcome in job.closing(outcomes):
            name, path = outcome.item
            fields = fields_of(outcome.result) if outcome.result and not dry_run else {}
            mode = getattr(outcome.result, "mode", None)
            told = f"{'would get ' * dry_run}{name} -> {path} ({getattr(mode, 'name', mode)})"
            action = "would get" if dry_run else "get"
            job.ended(action, outcome.error, {"source": name, "target": str(path), **fields}, told)
    job.finish()


def delete_below(
    store: "S3Crypt", settings: Settings, *, uri: str, dry_run: bool, jobs: int | None
) -> None:
    """Delete all objects below a prefix."""
    prefix = prefix_of(uri)
    found = found_below(store.list(prefix), prefix)
    action = "would delete" if dry_run else "deleted"
    with Job("rm", settings, names_all=dry_run) as job:
        if dry_run:
            for item in found:
                job.ended(action, None, {"uri": item.uri}, f"{action} {item.uri}")
        else:
            outcomes = store.many.delete(found, jobs=jobs, found=job.found)
            for outcome in job.closing(outcomes):
                name = _listed(outcome.item).uri
                job.ended(action, outcome.error, {"uri": name}, f"{action} {name}")
    job.finish()


def inspect_below(
    store: "S3Crypt", settings: Settings, *, uri: str, jobs: int | None, show: Show
) -> None:
    """Show how each object below a prefix is encrypted."""
    found: Iterator[Any] = found_to_read(store, prefix_of(uri))
    with Job("inspect", settings) as job:
        outcomes = store.many.inspect(found, jobs=jobs, found=job.found)
        for outcome in job.closing(outcomes):
            job.looked(outcome.error)
            if outcome.result is not None:
                show(outcome.result)
    job.finish()


def _listed(item: Any) -> "ListedObject":
    return item[0] if isinstance(item, tuple) else item  # type: ignore[no-any-return]


def _folder(target: str) -> Path:
    path = Path(target)
    if path.exists() and not path.is_dir():
        raise ConfigError(
            f"{target} is a file; -r needs a directory.",
            hint="Name another; it is made if need be.",
        )
    return path
