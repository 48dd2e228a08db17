# SPDX-License-Identifier: Apache-2.0
"""A report of `s3crypt keys impact` as text: one screen of 80 columns, and the next command."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..output import counted, size_text, wrapped
from .common import moment_words

if TYPE_CHECKING:
    from s3crypt.impact import Counts, Report

# More items than this would hide the rest of the report.
_MOST_NAMED = 3
_MOST_REASONS = 5


def text(report: "Report", report_file: Path | None) -> Iterator[str]:
    """Yield the lines of a report.

    Args:
        report: The report.
        report_file: The file to which the report was written, for the next command.
    """
    yield from _head(report)
    yield ""
    yield from _table(report)
    yield from _sample(report)
    yield from _settings(report)
    yield from _undecided(report)
    yield ""
    yield "Not checked:"
    for place in report.not_looked_at:
        named = f": {_named(place.items)}" if place.items else ""
        yield from wrapped(f"{place.what}: {place.detail}{named}")
    yield ""
    yield f"next: {next_command(report, report_file)}"


def next_command(report: "Report", report_file: Path | None) -> str:
    """Return the next step in one line, as a command if there is a command for it."""
    again = f"s3crypt keys impact {report.key.arn} --account --report impact.json"
    if report.only.versions:
        return _rotation(report)
    if report.sample is not None or not report.covers_account:
        return again
    if any(each.what == "upload" for each in report.unknown):
        return "s3crypt uploads, which lists unfinished uploads, and --abort ends them"
    if report.dependents or report.undecided:
        return f"fix the above, then {again}"
    file = report_file or "impact.json"
    return f"s3crypt keys schedule-deletion {report.key.arn} --impact-report {file}"


def _rotation(report: "Report") -> str:
    """Return the command that moves the objects of the mode with the most dependents."""
    place = report.scope.uris[0] if report.scope.uris else "s3://BUCKET/"
    most = max(report.groups, key=lambda group: group.only.versions)
    if most.mode.endswith("-kms"):
        return f"s3crypt rotate {place} --mode {most.mode} --key kms:alias/NEW --dry-run"
    return f"s3crypt rotate {place} --key kms:alias/NEW --from-key kms:KEY --dry-run"


def _head(report: "Report") -> Iterator[str]:
    key, looked = report.key, report.looked_at
    dying = f", to be deleted {moment_words(key.deletion)}" if key.deletion else ""
    yield f"{key.arn}  {key.state}{dying}"
    versions = counted(looked.versions, "version")
    yield (
        f"{versions} ({size_text(looked.stored_bytes)}) in {counted(report.buckets, 'bucket')} "
        f"checked, as of {moment_words(report.as_of)}"
    )
    only, undecided = report.only, report.undecided
    settings = counted(len(report.settings), "setting")
    sampled = " of the sample" if report.sample else ""
    yield (
        f"Without this key: {counted(only.versions, 'version')}{sampled} unreadable, "
        f"{settings} broken, {counted(undecided, 'item')} undecided."
    )


def _table(report: "Report") -> Iterator[str]:
    """Yield a line per mode: objects that only this key opens, and objects with further keys."""
    if not report.groups:
        yield "No checked object needs this key."
        return
    line = "{:<17}  {:>9}  {:>9}  {:>10}   {:>9}  {:>10}"
    yield line.format("", "only this", "key opens", "", "another", "too").rstrip()
    yield line.format("mode", "objects", "versions", "bytes", "versions", "bytes")
    # A table of S3 Metadata does not show which version is current.
    has_objects = not report.scope.metadata_tables
    rows = [(group.mode, group.only, group.shared + group.replica) for group in report.groups]
    if len(rows) > 1:
        rows.append(("all", report.only, report.shared + report.replica))
    for mode, only, others in rows:
        objects, *cells = _cells(only)
        yield line.format(mode, objects if has_objects else "-", *cells, *_cells(others)[1:])
    if report.other_providers:
        by = ", ".join(f"{name} {count:,}" for name, count in report.other_providers.items())
        yield from wrapped(f"another key opens: {by}", indent="")
    if report.replica.versions:
        regions = ", ".join(arn.split(":")[3] for arn in report.key.siblings)
        yield from wrapped(
            f"another Region's replica opens: {report.replica.versions:,} ({regions})", indent=""
        )


def _cells(counts: "Counts") -> tuple[str, str, str]:
    return f"{counts.objects:,}", f"{counts.versions:,}", size_text(counts.stored_bytes)


def _sample(report: "Report") -> Iterator[str]:
    found = report.sample
    if found is None:
        return
    at = found.versions
    yield f"A sample of {found.size:,} of {found.population:,} versions, seed {found.seed}:"
    yield f"  versions that only this key opens: {at.low:,} to {at.high:,}, about {at.estimate:,}"
    if size := found.stored_bytes:
        low, high, estimate = map(size_text, (size.low, size.high, size.estimate))
        yield f"  bytes: {low} to {high}, about {estimate}"
    yield from wrapped(f"bounds: {found.method}")


def _settings(report: "Report") -> Iterator[str]:
    kinds: dict[str, list[str]] = {}
    for setting in report.settings:
        kinds.setdefault(setting.kind, []).append(setting.resource)
    if kinds:
        yield ""
        yield "Settings that name the key:"
    for kind, resources in kinds.items():
        yield from wrapped(f"{kind}: {_named(resources)}")


def _undecided(report: "Report") -> Iterator[str]:
    if not report.unknown:
        return
    yield ""
    yield "Undecided:"
    for each in report.unknown[:_MOST_REASONS]:
        needs = f"; needs {', '.join(each.denied)}" if each.denied else ""
        such = f", such as {each.examples[0]}" if each.examples else ""
        yield from wrapped(f"{counted(each.count, each.what)}: {each.hidden}{needs}{such}")
    if rest := report.unknown[_MOST_REASONS:]:
        count = sum(each.count for each in rest)
        yield f"  {counted(count, 'item')} for {counted(len(rest), 'other reason')}: see --json"


def _named(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_MOST_NAMED])
    rest = len(items) - _MOST_NAMED
    return f"{shown} and {rest:,} more" if rest > 0 else shown
