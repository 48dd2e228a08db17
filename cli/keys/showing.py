# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys show`: everything about a key on one screen of 80 columns."""

import dataclasses
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ConfigError

from ..help import DocumentedCommand
from ..options import Settings, common_options
from ..output import print_json, print_line
from .common import (
    called,
    day_words,
    key_argument,
    manager_of,
    moment_words,
    named,
    rotation_words,
)

if TYPE_CHECKING:
    from s3crypt.kms import Key, Material
    from s3crypt.policy import KeyRights

_COLUMNS, _LABEL = 80, 16
# A longer list is cut after this many entries, and the command that lists all of them is shown.
_LISTED = 6
_ON_DEMAND_ROTATIONS = 25


@click.command(cls=DocumentedCommand)
@key_argument
@common_options(service="kms")
def show(settings: Settings, *, key: str) -> None:
    """Show all facts about a key.

    \b
    s3crypt keys show alias/reports
    """
    found = manager_of(settings).show(named(key))
    if settings.json:
        print_json(_fields(found))
        return
    print_line(found.arn)
    for label, text in _lines(found):
        if text:
            _print_labelled(label, text)
    for line in _material_lines(found):
        print_line(line)


def _fields(key: "Key") -> dict[str, Any]:
    rights = _rights(key)
    told = None if rights is None or isinstance(rights, str) else dataclasses.asdict(rights)
    left = key.on_demand_rotations_left
    return {**dataclasses.asdict(key), "on_demand_rotations_left": left, "rights": told}


def _print_labelled(label: str, text: str) -> None:
    """Print a text beside its label, wrapped between words."""
    lines = textwrap.wrap(text, _COLUMNS - _LABEL, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        print_line(f"{label if number == 0 else '':<{_LABEL}}{line}")


def _lines(key: "Key") -> Iterator[tuple[str, str]]:
    yield "aliases", _seen(key, "kms:ListAliases", lambda: ", ".join(key.aliases) or "none")
    yield "description", key.description
    yield "state", key.state
    yield "scheduled", _scheduled(key)
    yield "created", day_words(key.created)
    yield "kind", f"{key.spec}, {key.usage}, {key.origin}, managed by {_manager(key)}"
    yield "multi-Region", _regions(key)
    yield "key store", key.custom_key_store or ""
    yield "expires", _expires(key)
    yield "rotation", _seen(key, "kms:GetKeyRotationStatus", lambda: _rotation(key))
    yield "on demand", _seen(key, "kms:ListKeyRotations", lambda: _on_demand(key))
    yield "last use", _seen(key, "kms:GetKeyLastUsage", lambda: _last_use(key))
    yield from _policy_lines(key)
    yield from _grant_lines(key)
    tags = ", ".join(f"{name}={value}" for name, value in sorted(key.tags.items()))
    yield "tags", _seen(key, "kms:ListResourceTags", lambda: tags or "none")


def _seen(key: "Key", action: str, words: Callable[[], str]) -> str:
    return f"not permitted: {action}" if action in key.not_permitted else words()


def _manager(key: "Key") -> str:
    return "AWS" if key.manager == "AWS" else "you"


def _scheduled(key: "Key") -> str:
    if key.deletion_date is not None:
        return f"deletion after {moment_words(key.deletion_date)}"
    if key.pending_window_days is not None:
        return f"deletion {key.pending_window_days} days after that of the last replica"
    return ""


def _regions(key: "Key") -> str:
    if not key.multi_region:
        return ""
    replicas = ", ".join(arn.split(":")[3] for arn in key.replicas) or "none"
    if key.replica_of:
        return f"replica; the primary key is in {key.replica_of.split(':')[3]}"
    return f"primary key; replicas: {replicas}"


def _expires(key: "Key") -> str:
    if key.material_expires is None:
        return ""
    return f"imported key material, the first on {moment_words(key.material_expires)}"


def _rotation(key: "Key") -> str:
    words = "never" if key.rotation_enabled is None else rotation_words(key)
    following = day_words(key.next_rotation)
    return f"{words}, next on {following}" if following else words


def _on_demand(key: "Key") -> str:
    left = key.on_demand_rotations_left
    if left is None:
        return ""
    words = f"{left} of {_ON_DEMAND_ROTATIONS} rotations left"
    since = moment_words(key.rotating_since)
    return f"{words}; one in progress since {since}" if since else words


def _last_use(key: "Key") -> str:
    use = key.last_use
    if use is None:
        return "unknown"
    since = day_words(use.tracked_since) or "an unknown date"
    if use.moment is None:
        return f"none since {since}, when the record of its uses begins"
    return f"{use.operation} on {moment_words(use.moment)}; recorded since {since}"


def _policy_lines(key: "Key") -> Iterator[tuple[str, str]]:
    rights = _rights(key)
    if rights is None:
        yield "policy", _seen(key, "kms:GetKeyPolicy", lambda: "unknown")
    elif isinstance(rights, str):
        yield "policy", f"not understood: {rights}"
    else:
        kinds: dict[str, list[str]] = {}
        for label, words in rights.lines():
            kinds.setdefault(label, []).append(words)
        for label, lines in kinds.items():
            yield from _some(label, lines, f"s3crypt keys policy show {called(key)}")


def _rights(key: "Key") -> "KeyRights | str | None":
    """Return the rights that the key policy gives to each principal.

    Return a text with the reason if the policy is invalid, and None if it could not be read.
    """
    from s3crypt.policy import Document, key_rights  # noqa: PLC0415 - 10 ms for --help

    if key.policy is None:
        return None
    try:
        return key_rights(Document.parse(key.policy), key.arn)
    except ConfigError as error:
        return str(error)


def _grant_lines(key: "Key") -> Iterator[tuple[str, str]]:
    if key.grants is None:
        yield "grants", _seen(key, "kms:ListGrants", lambda: "unknown")
    else:
        words = [grant.words for grant in key.grants] or ["none"]
        yield from _some("grants", words, f"s3crypt keys grants {called(key)}")


def _some(label: str, lines: Sequence[str], command: str) -> Iterator[tuple[str, str]]:
    """Yield lines under a label, and the command that lists the rest."""
    for number, line in enumerate(lines[:_LISTED]):
        yield label if number == 0 else " ", line
    if len(lines) > _LISTED:
        yield " ", f"and {len(lines) - _LISTED} more: {command}"


def _material_lines(key: "Key") -> Iterator[str]:
    if not key.materials:
        return
    yield "key material, newest first, with the date of the rotation to it; * is current"
    for material in key.materials[:_LISTED]:
        yield _material(material)
    if len(key.materials) > _LISTED:
        more = len(key.materials) - _LISTED
        yield f"  and {more} more: s3crypt keys rotations {called(key)}"


def _material(material: "Material") -> str:
    sign = "*" if material.state == "CURRENT" else " "
    waits = material.state.startswith("PENDING")
    date = day_words(material.since) or ("waits" if waits else "first")
    return f"{sign} {date:<10}  {material.id or 'no id'}"


COMMANDS = (show,)
