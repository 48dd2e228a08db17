# SPDX-License-Identifier: Apache-2.0
"""Merging a wanted policy into the current policy: which statements change and which stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from written_policies import document, statement

from s3crypt import ConfigError, PolicyError
from s3crypt.policy.merging import Change, merge

if TYPE_CHECKING:
    from s3crypt.policy import Document

TLS, KEYS = statement("S3cryptTLS"), statement("S3cryptKeys", Action="s3:PutObject")
THEIRS = statement("Backup", Effect="Allow", Principal={"AWS": "111122223333"}, Condition=None)
NAMELESS = statement(None, Action="s3:DeleteObject")


def sids(found: Document) -> list[str | None]:
    """Return the Sids of a document in their order."""
    return [each.sid for each in found.statements]


def changes(current: Document | None, wanted: Document) -> list[tuple[str, Change]]:
    """Return the Sid and the change of each statement that the merge affects."""
    return [(each.sid, each.change) for each in merge(current, wanted).differences]


def test_a_target_without_a_policy_gets_the_wanted_one() -> None:
    """Without a current policy, the merge adds every wanted statement."""
    merged = merge(None, document(TLS, KEYS))
    assert merged.document == document(TLS, KEYS)
    assert [each.change for each in merged.differences] == [Change.ADDED, Change.ADDED]
    assert not merged.kept


def test_our_statements_are_added_changed_and_removed() -> None:
    """A changed statement keeps its position, and an added statement comes last."""
    old = statement("S3cryptOld", Action="s3:GetObject")
    current = document(old, statement("S3cryptTLS", Action="s3:PutObject"), THEIRS)
    assert changes(current, document(KEYS, TLS)) == [
        ("S3cryptOld", Change.REMOVED),
        ("S3cryptTLS", Change.CHANGED),
        ("S3cryptKeys", Change.ADDED),
    ]
    assert sids(merge(current, document(KEYS, TLS)).document) == [
        "S3cryptTLS",
        "Backup",
        "S3cryptKeys",
    ]


def test_other_statements_are_kept_as_they_are() -> None:
    """Foreign statements stay as they are, even with unknown elements, operators or principals."""
    strange = {
        **THEIRS,
        "Sid": "Strange",
        "Surprise": {"a": [1]},
        "Condition": {"Odd": {"k": True}},
    }
    current = document(NAMELESS, strange, THEIRS)
    merged = merge(current, document(TLS))
    assert merged.document.statements[:3] == current.statements
    assert merged.kept == current.statements


@pytest.mark.parametrize(
    "written_so",
    [
        {"Resource": ["arn:aws:s3:::acme/*", "arn:aws:s3:::acme"]},
        {"Action": ["S3:*"]},
        {"Principal": {"AWS": "*"}},
        {"Condition": {"Bool": {"AWS:SecureTransport": [False]}}},
    ],
)
def test_another_spelling_is_no_difference(written_so: dict[str, Any]) -> None:
    """A wanted statement that differs from the current one only in spelling changes nothing."""
    merged = merge(document(statement("S3cryptTLS", **written_so)), document(TLS))
    assert not merged.changes


def test_a_second_merge_changes_nothing() -> None:
    """Merging the same wanted policy a second time changes nothing."""
    first = merge(document(THEIRS, statement("S3cryptOld")), document(TLS, KEYS))
    second = merge(first.document, document(TLS, KEYS))
    assert not second.changes
    assert second.document == first.document


def test_the_policy_before_restores_our_statements() -> None:
    """Merging the old policy restores our statements.

    Foreign statements of the old policy are accepted only if they are still in the current policy.
    """
    current = document(THEIRS, NAMELESS, statement("S3cryptTLS", Action="s3:GetObject"))
    changed = merge(current, document(TLS, KEYS)).document
    assert merge(changed, current).document == current
    with pytest.raises(PolicyError, match="statement Backup is not in the current policy"):
        merge(document(TLS), current)


@pytest.mark.parametrize(
    ("foreign", "named"),
    [(THEIRS, "The statement Backup"), (NAMELESS, "Statement 2, without a Sid,")],
)
def test_statements_that_are_not_ours_are_not_written(foreign: dict[str, Any], named: str) -> None:
    """A wanted statement that is neither ours nor in the current policy is refused."""
    with pytest.raises(PolicyError, match=named):
        merge(document(KEYS), document(TLS, foreign))


def test_two_wanted_statements_of_one_sid_are_refused() -> None:
    """Two wanted statements with one Sid are refused: one of them would be lost."""
    with pytest.raises(ConfigError, match="Two statements have the Sid S3cryptTLS"):
        merge(None, document(TLS, {**KEYS, "Sid": "S3cryptTLS"}))


def test_of_two_current_statements_of_one_sid_one_is_removed() -> None:
    """If two current statements have a Sid of ours, only the wanted one stays."""
    copied = document(TLS, {**KEYS, "Sid": "S3cryptTLS"})
    assert merge(copied, document(TLS)).document == document(TLS)


def test_a_statement_in_another_form_may_have_been_edited() -> None:
    """A changed or removed statement of ours is reported: another person may have edited it.

    A statement does not show its author.
    """
    current = document(statement("S3cryptTLS", Action="s3:PutObject"), statement("S3cryptOld"))
    assert merge(current, document(TLS, KEYS)).perhaps_edited == ("S3cryptTLS", "S3cryptOld")


def test_the_language_moves_to_the_wanted_version() -> None:
    """The merge sets the wanted version of the policy language, and keeps the policy's Id."""
    current = document(THEIRS, Version="2008-10-17", Id="theirs")
    merged = merge(current, document(TLS))
    assert (merged.document.version, merged.document.id) == ("2012-10-17", "theirs")
    assert merged.changes_version


def test_the_language_stays_where_that_changes_a_statement_of_others() -> None:
    """A new version of the language is refused if it changes the meaning of a foreign statement."""
    home = statement("Home", Resource="arn:aws:s3:::acme/${aws:username}/*")
    with pytest.raises(PolicyError, match=r"2008-10-17.*changes the meaning of Home"):
        merge(document(home, Version="2008-10-17"), document(TLS))


def test_a_difference_shows_the_lines_that_go_and_come() -> None:
    """The lines of a difference show removed, added and unchanged lines."""
    current = document(statement("S3cryptTLS", Action=["s3:PutObject", "s3:GetObject"]))
    (difference,) = merge(current, document(TLS)).differences
    lines = list(difference.lines())
    assert '    "s3:GetObject",'.replace("    ", "-     ", 1) in lines
    assert '+   "Action": "s3:*",' in lines
    assert '    "Sid": "S3cryptTLS",' in lines
    assert not [line for line in lines if line.startswith("?")]
