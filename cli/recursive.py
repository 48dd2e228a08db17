# SPDX-License-Identifier: Apache-2.0
"""rm and inspect of many objects: several, those that a pattern fits, or all below a prefix."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .jobs import Job
from .options import Settings
from .output import print_line, say
from .places import end_dry_run
from .selection import Sources, listed

if TYPE_CHECKING:
    from s3crypt import Journal, ListedObject, ListedVersion, Mode, ObjectInfo, S3Crypt

Show = Callable[["ObjectInfo"], None]


def delete_all(
    store: "S3Crypt",
    settings: Settings,
    sources: Sources,
    *,
    dry_run: bool,
    exit_code: bool,
    jobs: int | None,
) -> None:
    """Put all files below a folder."""
    prefix = prefix_of(uri)

    def left_out(path: Path, why: str) -> None:
        if not settings.quiet:
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
    with Job("rm", settings, names_all=dry_run, tell=print_line if dry_run else say) as job:
        if dry_run:
            for item in found:
                job.ended(action, None, {"uri": _uri(item)}, f"{action} {_uri(item)}")
        else:
            outcomes = store.many.delete(found, jobs=jobs, found=job.found)
            for outcome in job.closing(outcomes):
                name = _uri(outcome.item)
                job.ended(action, outcome.error, {"uri": name}, f"{action} {name}")
    job.finish()
    end_dry_run(exit_code=exit_code, would_change=job.would_change)


def inspect_all(
    store: "S3Crypt", settings: Settings, sources: Sources, *, jobs: int | None, show: Show
) -> None:
    """Show how each object that the sources name is encrypted."""
    # The S3 console creates empty objects named "folder/" to show a folder.
    found = (item for item in _all(store, sources) if not _is_mark(item))
    with Job("inspect", settings) as job:
        outcomes = store.many.inspect(found, jobs=jobs, found=job.found)
        for outcome in job.closing(outcomes):
            job.looked(outcome.error)
            if outcome.result is not None:
                show(outcome.result)
    job.finish()


def inspect_versions(
    store: "S3Crypt",
    settings: Settings,
    *,
    uri: str,
    recursive: bool,
    jobs: int | None,
    show: Show,
) -> None:
    """Show how each version of an object, or of all objects below a prefix, is encrypted.

    Delete markers are left out: they have no bytes.
    """
    base = prefix_of(uri) if recursive else uri
    found = (
        version
        for version in found_below(_versions(store, base, recursive=recursive), base)
        if not version.is_delete_marker
    )
    with Job("inspect", settings) as job:
        for outcome in job.closing(iter(store.many.describe(found, jobs=jobs, found=job.found))):
            job.looked(outcome.error)
            if outcome.result is not None:
                show(outcome.result)
    job.finish(unit="versions")


def _versions(store: "S3Crypt", base: str, *, recursive: bool) -> "Iterator[ListedVersion]":
    for version in store.list_versions(base):
        if not recursive and version.uri != base:
            return
        yield version


def _listed(item: Any) -> "ListedObject":
    return item[0] if isinstance(item, tuple) else item  # type: ignore[no-any-return]


def _is_mark(item: Any) -> bool:
    return not isinstance(item, str) and item[0].uri.endswith("/") and not item[0].stored_size


def _uri(item: Any) -> str:
    return item if isinstance(item, str) else str(getattr(item, "uri", None) or item[0].uri)
