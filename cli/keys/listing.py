# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys list`, `show` and `rotations`."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..options import Settings, common_options
from ..output import print_json, print_table
from .common import key_argument, manager_of, moment_words, named, rotation_words, tell

if TYPE_CHECKING:
    from s3crypt.kms import Key, KeySummary

_ON_DEMAND = "ON_DEMAND"


@click.command("list")
@common_options(service="kms")
def list_keys(settings: Settings) -> None:
    """List your own keys, not those AWS manages."""
    found = manager_of(settings).list()
    if settings.json:
        for summary in found:
            print_json(dataclasses.asdict(summary))
        return
    rows = sorted(_rows(found), key=lambda row: (row[0] == "-", row))
    if rows:
        print_table(("alias", "key id", "state", "rotation"), rows)
    else:
        tell(settings, "No keys. To create one: s3crypt keys create --alias NAME")


@click.command()
@key_argument
@common_options(service="kms")
def show(settings: Settings, *, key: str) -> None:
    """Show all there is to know about a key."""
    found = manager_of(settings).show(named(key))
    if settings.json:
        print_json(dataclasses.asdict(found))
        return
    print_table(("key", found.arn), [line for line in _lines(found) if line[1]])
    if found.not_permitted:
        tell(settings, f"Not shown, for lack of permission: {', '.join(found.not_permitted)}")


@click.command()
@key_argument
@common_options(service="kms")
def rotations(settings: Settings, *, key: str) -> None:
    """List the completed rotations of a key, oldest first."""
    done = manager_of(settings).rotations(named(key))
    if settings.json:
        for rotation in done:
            print_json(dataclasses.asdict(rotation))
        return
    if not done:
        tell(settings, "Never rotated.")
        return
    rows = [(moment_words(each.date), _cause(each.type), each.material_id or "-") for each in done]
    print_table(("date", "rotation", "key material"), rows)


def _rows(found: "Iterator[KeySummary]") -> Iterator[tuple[str, str, str, str]]:
    for key in found:
        aliases = ", ".join(key.aliases) or "-"
        yield aliases, key.key_id, key.state or "not permitted", rotation_words(key)


def _lines(key: "Key") -> list[tuple[str, str]]:
    used = key.on_demand_rotations
    return [
        ("aliases", ", ".join(key.aliases)),
        ("description", key.description),
        ("state", key.state),
        ("to be deleted", moment_words(key.deletion_date)),
        ("created", moment_words(key.created)),
        ("kind", f"{key.spec}, {key.usage}, {key.origin}, {key.manager}"),
        ("multi-region", _regions(key)),
        ("automatic rotation", rotation_words(key)),
        ("next rotation", moment_words(key.next_rotation)),
        ("rotating since", moment_words(key.rotating_since)),
        ("rotated on demand", "" if used is None else f"{used} of at most 25 times"),
        ("key material", key.material_id or ""),
        ("tags", ", ".join(f"{name}={value}" for name, value in sorted(key.tags.items()))),
    ]


def _regions(key: "Key") -> str:
    if not key.multi_region:
        return "no"
    return f"replica of {key.replica_of}" if key.replica_of else "primary"


def _cause(rotation_type: str) -> str:
    return "on demand" if rotation_type == _ON_DEMAND else rotation_type.lower()


COMMANDS = (list_keys, show, rotations)
