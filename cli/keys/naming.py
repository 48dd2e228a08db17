# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys add-alias`, `move-alias`, `delete-alias`, `set-description`, `tag` and `untag`."""

import dataclasses
from typing import TYPE_CHECKING

import click

from ..asking import is_agreed
from ..help import DocumentedCommand
from ..options import Settings, common_options, parse_pairs
from ..output import counted, print_json, print_line
from ..places import dry_run_option
from .common import key_argument, manager_of, named, report, tell, yes_option

if TYPE_CHECKING:
    from s3crypt.alias_users import AliasUsers
    from s3crypt.kms import AliasChange

_SHOWN = 20
_alias_argument = click.argument("alias", metavar="ALIAS")


@click.command("add-alias", cls=DocumentedCommand)
@key_argument
@_alias_argument
@common_options(service="kms")
def add_alias(settings: Settings, *, key: str, alias: str) -> None:
    """Give a key another alias.

    \b
    s3crypt keys add-alias alias/reports finance
    """
    shown = manager_of(settings).add_alias(named(key), alias)
    report(settings, shown, f"{shown.arn} has the aliases {', '.join(shown.aliases)}.")


@click.command("move-alias", cls=DocumentedCommand)
@_alias_argument
@click.argument("to", metavar="KEY")
@dry_run_option
@yes_option
@common_options(service="aws")
def move_alias(settings: Settings, *, alias: str, to: str, dry_run: bool, yes: bool) -> None:
    """Move an alias to another key.

    Objects name the ARN of their key and stay readable. Readers that name their key by the alias
    then refuse objects under the earlier key. Before the question, the command shows these readers,
    and the buckets whose default encryption names the alias.

    \b
    s3crypt keys move-alias alias/old alias/new --dry-run
    s3crypt keys move-alias alias/old alias/new --yes
    """
    manager = manager_of(settings)
    change = manager.move_alias(alias, named(to), dry_run=True)
    if not change.is_change:
        _report(settings, change, None, is_changed=False)
        tell(settings, f"{change.alias} already names {change.was}.")
        return
    users = _shown(settings, change)
    if not dry_run and is_agreed(f"Move {change.alias}?", yes=yes):
        manager.move_alias(change.alias_arn, str(change.becomes), was=change.was)
        _report(settings, change, users, is_changed=True)
        tell(settings, f"{change.alias} now names {change.becomes}.")
        tell(settings, "It may take some minutes until every request uses the new key.")
    else:
        _report(settings, change, users, is_changed=False)
        tell(settings, f"{change.alias} was not changed.")


@click.command("delete-alias", cls=DocumentedCommand)
@_alias_argument
@dry_run_option
@yes_option
@common_options(service="aws")
def delete_alias(settings: Settings, *, alias: str, dry_run: bool, yes: bool) -> None:
    """Delete an alias; the key does not change.

    Readers and writers that name their key by the alias then fail. Before the question, the command
    shows them, and the buckets whose default encryption names the alias.

    \b
    s3crypt keys delete-alias alias/old --dry-run
    s3crypt keys delete-alias alias/old --yes
    """
    manager = manager_of(settings)
    change = manager.delete_alias(alias, dry_run=True)
    users = _shown(settings, change)
    if not dry_run and is_agreed(f"Delete {change.alias}?", yes=yes):
        manager.delete_alias(change.alias_arn, was=change.was)
        _report(settings, change, users, is_changed=True)
        tell(settings, f"{change.alias} is deleted. The key still exists: {change.was}")
    else:
        _report(settings, change, users, is_changed=False)
        tell(settings, f"{change.alias} was not changed.")


@click.command("set-description", cls=DocumentedCommand)
@key_argument
@click.argument("text", metavar="TEXT")
@common_options(service="kms")
def set_description(settings: Settings, *, key: str, text: str) -> None:
    """Replace the description of a key; an empty TEXT removes it.

    \b
    s3crypt keys set-description alias/reports "Reports of 2027"
    """
    shown = manager_of(settings).describe_as(named(key), text)
    report(settings, shown, f"{shown.arn}: {shown.description or 'no description'}")


@click.command(cls=DocumentedCommand)
@key_argument
@click.argument("tags", metavar="NAME=VALUE...", nargs=-1, required=True)
@common_options(service="kms")
def tag(settings: Settings, *, key: str, tags: tuple[str, ...]) -> None:
    """Add tags to a key, or replace their values.

    \b
    s3crypt keys tag alias/reports team=finance env=production
    """
    shown = manager_of(settings).tag(named(key), parse_pairs(tags, "A tag"))
    report(settings, shown, f"{shown.arn} is tagged.")


@click.command(cls=DocumentedCommand)
@key_argument
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options(service="kms")
def untag(settings: Settings, *, key: str, names: tuple[str, ...]) -> None:
    """Remove tags from a key.

    \b
    s3crypt keys untag alias/reports env
    """
    shown = manager_of(settings).untag(named(key), names)
    report(settings, shown, f"{shown.arn} has none of the tags {', '.join(names)}.")


def _shown(settings: Settings, change: "AliasChange") -> "AliasUsers":
    """Show a change and its consequences; return the buckets that name the alias."""
    from s3crypt.alias_users import find_alias_users  # noqa: PLC0415 - boto3

    users = find_alias_users(
        change.alias_arn, session=settings.session, allow_plain_http=settings.allow_plain_http
    )
    if not settings.json:
        print_line(f"{change.alias} names  {change.was}")
        if change.becomes is not None:
            print_line(f"{'and then':<{len(change.alias) + 6}}  {change.becomes}")
    for line in (*_WARNINGS[change.becomes is None], *_lines(users)):
        tell(settings, line)
    return users


# Whether the alias is deleted -> the consequences for callers that name the key by the alias.
_WARNINGS = {
    False: (
        "Objects name the ARN of their key and stay readable to all who name that ARN.",
        "Keyrings and modes that name the alias use only the key that it names: they will write",
        "under the new key, and refuse objects under the earlier key until they name it, too.",
    ),
    True: (
        "Objects name the ARN of their key and stay readable to all who name that ARN.",
        "Keyrings and modes that name the alias can no longer read or write.",
    ),
}


def _lines(users: "AliasUsers") -> list[str]:
    if users.not_listed:
        return [f"Buckets that name the alias are unknown: {users.not_listed}"]
    looked = counted(users.looked_at, "bucket")
    lines = [f"Of {looked}, none names the alias in its default encryption."]
    if users.buckets:
        number = len(users.buckets)
        lines = [f"Of {looked}, {number} name the alias for new objects: {_some(users.buckets)}"]
    if users.not_read:
        number = len(users.not_read)
        lines.append(f"Not known for {counted(number, 'bucket')}: {_some((*users.not_read,))}")
        lines.append(f"The first reason: {next(iter(users.not_read.values()))}")
    return lines


def _some(buckets: tuple[str, ...]) -> str:
    more = len(buckets) - _SHOWN
    return ", ".join(buckets[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _report(
    settings: Settings, change: "AliasChange", users: "AliasUsers | None", *, is_changed: bool
) -> None:
    if settings.json:
        defaults = None if users is None else dataclasses.asdict(users)
        fields = {**dataclasses.asdict(change), "bucket_defaults": defaults}
        print_json({**fields, "changed": is_changed})


COMMANDS = (add_alias, move_alias, delete_alias, set_description, tag, untag)
