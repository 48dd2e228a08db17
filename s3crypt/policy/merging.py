# SPDX-License-Identifier: Apache-2.0
"""Merges a wanted policy into the current policy, or replaces it, and shows the differences.

A merge adds, replaces and removes statements whose Sid begins with `S3crypt`. All other statements
stay as they are. Whether the result may be written is judged in `lockout`.
"""

import difflib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from s3crypt.errors import ConfigError, PolicyError

from .documents import OWN_SID, VERSION, Document, Statement


class Change(StrEnum):
    """The kind of change to a statement."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Difference:
    """A statement that is added, changed or removed.

    Attributes:
        was: The statement in the current policy, or None.
        becomes: The statement in the merged policy, or None.
    """

    was: Statement | None
    becomes: Statement | None

    @property
    def change(self) -> Change:
        """The kind of change to the statement."""
        if self.was is None:
            return Change.ADDED
        return Change.REMOVED if self.becomes is None else Change.CHANGED

    @property
    def sid(self) -> str:
        """The statement's Sid, or the text `a statement without a Sid`."""
        found = self.becomes or self.was
        return (found and found.sid) or "a statement without a Sid"

    def lines(self) -> Iterator[str]:
        """Yield the statement as lines of JSON.

        A removed line begins with `-`, an added line with `+`, an unchanged line with a space.
        Lists are sorted, because a service may return a list in another order, which is no
        difference.
        """
        for line in difflib.ndiff(_json_lines(self.was), _json_lines(self.becomes)):
            if not line.startswith("?"):
                yield line


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of a merge.

    Attributes:
        current: The policy before the merge, or None if the resource has no policy.
        document: The policy after the merge. A document without statements means no policy.
        differences: The statements that change, in the order of the document.
        kept: The unchanged statements, including s3crypt's own.
    """

    current: Document | None
    document: Document
    differences: tuple[Difference, ...]
    kept: tuple[Statement, ...]

    @property
    def changes(self) -> bool:
        """Whether the merged policy differs from the current policy."""
        return bool(self.differences) or self.changes_version

    @property
    def changes_version(self) -> bool:
        """Whether the merged policy has another version of the policy language."""
        return self.current is not None and self.current.version != self.document.version

    @property
    def perhaps_edited(self) -> tuple[str, ...]:
        """The Sids of s3crypt's statements that the merge changes or removes.

        A policy does not record the author of a statement. Such a statement was generated with
        other options or by another version of s3crypt, or was edited by hand.
        """
        return tuple(each.sid for each in self.differences if each.was is not None)


NO_POLICY = Document(())
"""Stands for "no policy". Its text is saved as the copy of a policy if there was no policy."""


def parse_wanted(text: str) -> Document:
    """Return the policy in a file's text.

    Return `NO_POLICY` if the text is the copy that was saved when there was no policy.

    Raises:
        ConfigError: The text is not a policy.
    """
    with suppress(ValueError):
        if json.loads(text) == NO_POLICY.to_json():
            return NO_POLICY
    return Document.parse(text)


def merge(current: Document | None, wanted: Document) -> Merged:
    """Return a wanted policy merged into the current policy.

    `wanted` may contain statements that are not s3crypt's, if the current policy has statements
    with the same meaning. So the saved copy of a whole policy can be merged to restore s3crypt's
    statements.

    Raises:
        ConfigError: Two of s3crypt's statements in `wanted` have the same Sid.
        PolicyError: A statement of `wanted` is neither s3crypt's nor in the current policy, or the
            version of the policy language cannot change because an unchanged statement contains a
            policy variable.
    """
    old = current.statements if current else ()
    _check_others(old, wanted)
    rest = _own_by_sid(wanted)
    statements: list[Statement] = []
    kept: list[Statement] = []
    differences: list[Difference] = []
    for each in old:
        becomes = rest.pop(str(each.sid), None) if each.is_ours else each
        if becomes is not None and becomes.meaning == each.meaning:
            statements.append(each)
            kept.append(each)
            continue
        differences.append(Difference(each, becomes))
        statements += [becomes] if becomes else []
    differences += [Difference(None, each) for each in rest.values()]
    document = Document(
        (*statements, *rest.values()),
        _version(current, wanted, kept),
        current.id if current else wanted.id,
    )
    return Merged(current, document, tuple(differences), tuple(kept))


def replacement(current: Document | None, wanted: Document) -> Merged:
    """Return the result of replacing the whole current policy by a wanted policy."""
    old = list(current.statements) if current else []
    meanings = [each.meaning for each in old]
    kept = [each for each in wanted.statements if each.meaning in meanings]
    left = [each for each in old if each.meaning not in {one.meaning for one in kept}]
    differences = []
    for each in wanted.statements:
        if each in kept:
            continue
        was = next((one for one in left if one.sid and one.sid == each.sid), None)
        left = [one for one in left if one is not was]
        differences.append(Difference(was, each))
    differences += [Difference(each, None) for each in left]
    return Merged(current, wanted, tuple(differences), tuple(kept))


def name_of(statement: Statement, document: Document) -> str:
    """Return a statement's Sid, or its number in the document if it has no Sid."""
    return statement.sid or f"statement {document.statements.index(statement) + 1}"


def _own_by_sid(wanted: Document) -> dict[str, Statement]:
    own: dict[str, Statement] = {}
    for each in wanted.statements:
        if each.is_ours and own.setdefault(str(each.sid), each) is not each:
            raise ConfigError(
                f"Two statements have the Sid {each.sid}.",
                hint="Give each statement a Sid of its own.",
            )
    return own


def _check_others(old: tuple[Statement, ...], wanted: Document) -> None:
    theirs = {each.meaning for each in old if not each.is_ours}
    for each in wanted.statements:
        if each.is_ours or each.meaning in theirs:
            continue
        raise PolicyError(
            f"{_described(each, wanted)} is not in the current policy, and not a statement of "
            f"s3crypt: only Sids that begin with {OWN_SID} are written.",
            hint=(
                f"Begin its Sid with {OWN_SID}, or remove it from the file and add it with another "
                "tool."
            ),
        )


def _described(statement: Statement, document: Document) -> str:
    name = name_of(statement, document)
    return f"The statement {name}" if statement.sid else f"{name.capitalize()}, without a Sid,"


def _version(current: Document | None, wanted: Document, kept: list[Statement]) -> str | None:
    if current is None or current.version == wanted.version:
        return wanted.version
    for each in kept:
        if "${" in json.dumps(each.to_json()):
            raise PolicyError(
                f"The policy's Version is {current.version or 'absent'} and would become"
                f" {wanted.version or 'absent'}, which changes the meaning of"
                f" {name_of(each, current)}: it contains ${{.",
                hint=(
                    f"Check that statement, then set the policy's Version to {VERSION} with "
                    "another tool."
                ),
            )
    return wanted.version


def _json_lines(statement: Statement | None) -> list[str]:
    if statement is None:
        return []
    return json.dumps(_sorted(statement.to_json()), indent=2).splitlines()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(each) for name, each in value.items()}
    return sorted(value, key=json.dumps) if isinstance(value, list) else value
