# SPDX-License-Identifier: Apache-2.0
"""rm and inspect of many objects: several names, matches of a pattern, or all below a prefix."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .jobs import Job
from .options import Settings
from .output import print_line, say
from .places import end_dry_run, found_below, prefix_of
from .selection import Sources, listed

if TYPE_CHECKING:
    from s3crypt import ListedVersion, ObjectInfo, S3Crypt

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
    """Delete all objects that the sources name."""
    found = _all(store, sources)
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


def _all(store: "S3Crypt", sources: Sources) -> Iterator[Any]:
    yield from sources.objects
    yield from listed(store, sources)


def _is_mark(item: Any) -> bool:
    return not isinstance(item, str) and item[0].uri.endswith("/") and not item[0].stored_size


def _uri(item: Any) -> str:
    return item if isinstance(item, str) else str(getattr(item, "uri", None) or item[0].uri)
