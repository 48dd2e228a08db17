# SPDX-License-Identifier: Apache-2.0
"""`s3crypt iam`: the roles by which people share a bucket, and the group `Auditors`."""

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from s3crypt.policy import Role

from .asking import is_agreed
from .help import DocumentedGroup
from .options import Settings, common_options, option
from .output import print_json, print_line, print_wrapped, say
from .places import dry_run_option
from .scopes import scope_options

if TYPE_CHECKING:
    from s3crypt.iam import Change, Plan
    from s3crypt.policy import Document, Scope

_HELP = """Make the roles of a bucket, and the group Auditors.

The command first reads IAM and shows the changes. It makes them after a question on a terminal, or
with --yes. With --dry-run it prints the policies and changes nothing.

A role that exists is changed only if it has the tag s3crypt, and the group only if its path is
/s3crypt/. Each change is printed with the command that undoes it.

\b
s3crypt iam init acme --dry-run
s3crypt iam init acme --role writer --role reader --yes
"""

# The object-auditor may read objects below named prefixes, so it is made only on request.
_USUAL = tuple(role for role in Role if role is not Role.OBJECT_AUDITOR)


@click.group(cls=DocumentedGroup)
def iam() -> None:
    """Make the roles of the people who share a bucket.

    \b
    s3crypt iam init acme --dry-run
    """


@iam.command(help=_HELP)
@common_options(service="aws")
@scope_options
@option(
    "--role",
    "roles",
    multiple=True,
    environment=False,
    type=click.Choice([role.value for role in Role]),
    help="Make this role. Repeatable.  [default: all but object-auditor]",
)
@dry_run_option
@option("--yes", "-y", is_flag=True, environment=False, help="Make the changes without asking.")
def init(
    settings: Settings,
    *,
    scope: "Scope",
    roles: tuple[str, ...],
    dry_run: bool,
    yes: bool,
) -> None:
    """Make the roles of a bucket, and the group Auditors."""
    from s3crypt.iam import RoleManager, team_of  # noqa: PLC0415 - boto3

    chosen = [Role(role) for role in roles] or _USUAL
    manager = RoleManager(session=settings.session, allow_plain_http=settings.allow_plain_http)
    plan = manager.plan(team_of(scope, chosen))
    for remark in plan.remarks:
        _tell(settings, remark)
    if not plan.changes:
        _tell(settings, "The roles and the group need no change.")
        return
    if dry_run or not (settings.json and yes):
        _show(settings, plan, whole=dry_run)
    if not dry_run and is_agreed(f"Make these {len(plan.changes)} changes?", yes=yes):
        for change in manager.make(plan):
            _show_made(settings, change)


def _show(settings: Settings, plan: "Plan", *, whole: bool) -> None:
    """Show the planned changes. With `whole`, show new documents line by line, too."""
    for change in plan.changes:
        if settings.json:
            print_json({**_fields(change), "made": False})
            continue
        print_line(f"{change.subject}: {change.action}")
        if not whole:
            print_wrapped(_sids(change))
        if change.after is not None and (whole or change.replaces):
            for line in _difference(change.before, change.after):
                print_line(f"  {line}")


def _show_made(settings: Settings, change: "Change") -> None:
    if settings.json:
        print_json({**_fields(change), "made": True})
    elif not settings.quiet:
        print_line(f"{change.subject}: {change.action}: done")
        print_line(f"  undo: {change.undo}")


def _fields(change: "Change") -> dict[str, Any]:
    return {
        "subject": change.subject,
        "action": change.action,
        "before": change.before and change.before.to_json(),
        "after": change.after and change.after.to_json(),
        "undo": change.undo,
    }


def _sids(change: "Change") -> str:
    """Return the Sids of a new document's statements."""
    if change.after is None or change.replaces:
        return ""
    return ", ".join(statement.sid or "?" for statement in change.after.statements)


def _difference(before: "Document | None", after: "Document") -> Iterator[str]:
    """Yield the lines of both documents as a diff: `-` before removed lines, `+` before added."""
    if before is None:
        yield from after.render().splitlines()
        return
    lines: Iterable[str] = difflib.ndiff(before.render().splitlines(), after.render().splitlines())
    yield from (line for line in lines if not line.startswith("?"))


def _tell(settings: Settings, text: str) -> None:
    if not settings.silent:
        say(text)
