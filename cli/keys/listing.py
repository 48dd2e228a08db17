# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys list` and `rotations`."""

import dataclasses
from typing import TYPE_CHECKING

import click

from ..help import DocumentedCommand
from ..options import Settings, common_options, option, parse_pairs
from ..output import counted, print_json, print_table
from .common import key_argument, manager_of, moment_words, named, rotation_words, tell

if TYPE_CHECKING:
    from s3crypt.kms import KeySummary

_ON_DEMAND = "ON_DEMAND"
_STATE_HELP = "Only keys in this KMS state, such as PendingDeletion; repeatable."
_NONE = "No keys. To create one: s3crypt keys create --alias NAME"


@click.command("list", cls=DocumentedCommand)
@option(
    "--shared",
    environment=False,
    is_flag=True,
    help="The keys that other accounts share with you through AWS RAM.",
)
@option("--state", environment=False, multiple=True, metavar="STATE", help=_STATE_HELP)
@option(
    "--tag",
    environment=False,
    multiple=True,
    metavar="NAME=VALUE",
    help="Only keys with this tag; repeatable. One more request per key.",
)
@common_options(service="kms")
def list_keys(
    settings: Settings, *, shared: bool, state: tuple[str, ...], tag: tuple[str, ...]
) -> None:
    """List your own keys, without the keys that AWS manages.

    A key whose state or tags you may not read is listed, too: it may match.

    \b
    s3crypt keys list
    s3crypt keys list --state Disabled --tag team=finance
    """
    tags = parse_pairs(tag, "--tag")
    found = manager_of(settings).list(shared=shared, states=state, tags=tags)
    if settings.json:
        for summary in found:
            print_json(dataclasses.asdict(summary))
        return
    keys = sorted(found, key=lambda key: (not key.aliases, key.aliases, key.arn))
    if not keys:
        tell(settings, _NONE if not (shared or state or tags) else "No such keys.")
        return
    names = ("key",) if shared else ("alias", "key id")
    rows = [_cells(key, shared=shared) for key in keys]
    print_table((*names, "state", "rotation", "description"), rows, folded=True)
    unseen = sum(key.tags is None for key in keys) if tags else 0
    if unseen:
        tell(settings, f"Tags not permitted for {counted(unseen, 'key')}: kms:ListResourceTags")


@click.command(cls=DocumentedCommand)
@key_argument
@common_options(service="kms")
def rotations(settings: Settings, *, key: str) -> None:
    """List the completed rotations of a key, oldest first.

    \b
    s3crypt keys rotations alias/reports
    """
    done = manager_of(settings).rotations(named(key))
    if settings.json:
        for rotation in done:
            print_json(dataclasses.asdict(rotation))
        return
    if not done:
        tell(settings, "Never rotated.")
        return
    rows = [(moment_words(each.date), _cause(each.type), each.material_id or "-") for each in done]
    print_table(("date", "rotation", "key material"), rows, folded=True)


def _cells(key: "KeySummary", *, shared: bool) -> tuple[str, ...]:
    names = (key.arn,) if shared else (", ".join(key.aliases) or "-", key.key_id)
    state = key.state or "not permitted"
    return (*names, state, rotation_words(key), key.description or "-")


def _cause(rotation_type: str) -> str:
    return "on demand" if rotation_type == _ON_DEMAND else rotation_type.lower()


COMMANDS = (list_keys, rotations)
