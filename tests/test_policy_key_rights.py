# SPDX-License-Identifier: Apache-2.0
"""The text summary of a key policy: which callers may administer, use and grant the key."""

from __future__ import annotations

from typing import Any

import pytest
from policy_samples import AWAY, HOME, KEY, doc

from s3crypt.policy import check_key_policy, key_policy, key_rights, open_key_policy
from s3crypt.policy.scope import Scope

ROOT = {"AWS": f"arn:aws:iam::{HOME}:root"}
ROLE = f"arn:aws:iam::{HOME}:role/writer"
GUEST = f"arn:aws:iam::{AWAY}:role/guest"


def words(*statements: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of the summary of a policy with these statements."""
    return list(key_rights(doc(*statements), KEY).lines())


def test_the_default_policy_leaves_everything_to_iam() -> None:
    """The summary of a new key's policy says that the account's IAM policies decide everything."""
    rights = key_rights(open_key_policy("aws", HOME), KEY)
    by_iam = f"account {HOME} by its IAM policies"
    assert list(rights.lines()) == [
        ("may administer", by_iam),
        ("may use", by_iam),
        ("may grant", by_iam),
    ]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({"Principal": {"AWS": ROLE}, "Action": "kms:Decrypt"}, f"{ROLE}: Decrypt"),
        ({"Principal": {"AWS": HOME}, "Action": "kms:*"}, f"account {HOME} by its IAM policies"),
        ({"Principal": {"AWS": GUEST}, "Action": "kms:*"}, f"{GUEST} by its IAM policies"),
        ({"Principal": "*", "NotAction": "kms:Put*"}, "everyone"),
        (
            {"Principal": {"Service": "logs.amazonaws.com"}, "Action": "kms:Encrypt"},
            "logs.amazonaws.com: Encrypt",
        ),
        (
            {
                "Principal": ROOT,
                "Action": "kms:Decrypt",
                "Condition": {
                    "ArnLike": {"aws:PrincipalArn": ROLE},
                    "StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"},
                },
            },
            f"{ROLE} by its IAM policies: Decrypt, if kms:ViaService is s3.us-east-1.amazonaws.com",
        ),
        ({"Principal": ROOT, "Action": "kms:Decrypt", "Resource": f"{KEY}x"}, "no one"),
    ],
)
def test_users_of_a_key(statement: dict[str, Any], expected: str) -> None:
    """A line of the summary names the principal, its actions if limited, and the conditions."""
    assert ("may use", expected) in words(statement)


@pytest.mark.parametrize("denied", ["*", {"AWS": ROLE}, {"AWS": HOME}])
def test_an_unconditional_deny_takes_actions_away(denied: object) -> None:
    """Actions that a Deny takes from everyone, the principal or its account are not listed."""
    allow = {"Principal": {"AWS": ROLE}, "Action": "kms:*"}
    deny = {"Effect": "Deny", "Principal": denied, "Action": "kms:CreateGrant"}
    assert ("may grant", "no one") in words(allow, deny)
    assert ("may use", ROLE) in words(allow, deny)


def test_a_deny_of_one_role_of_the_account_is_repeated() -> None:
    """A Deny for one role has its own line: the line of the account cannot show the exception."""
    allow = {"Effect": "Allow", "Principal": ROOT, "Action": "kms:*"}
    deny = {"Effect": "Deny", "Principal": {"AWS": ROLE}, "Action": "kms:Decrypt"}
    assert ("denied", f"{ROLE}: kms:Decrypt") in words(allow, deny)


def test_a_pattern_of_callers_may_be_shorter_than_an_arn() -> None:
    """An Allow for every caller that matches arn:* is a line of its own."""
    by_arn = {"StringLike": {"aws:PrincipalArn": "arn:*"}}
    allow = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Condition": by_arn}
    assert ("may use", "arn:* by its IAM policies") in words(allow)


def test_an_uncertain_control_of_the_account_is_told() -> None:
    """If a condition may end the account's control of the key, the check says so."""
    member = {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}
    allow = {"Effect": "Allow", "Principal": ROOT, "Action": "kms:*", "Condition": member}
    assert "aws:principalorgid" in check_key_policy(doc(allow), KEY).uncertainty
    assert check_key_policy(open_key_policy("aws", HOME), KEY).uncertainty == ""


def test_a_deny_with_conditions_is_repeated() -> None:
    """A Deny with conditions has its own line, because its conditions may or may not hold."""
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "kms:Decrypt",
        "Condition": {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}},
    }
    found = words({"Principal": ROOT}, deny)
    assert ("denied", "everyone: kms:Decrypt, if aws:PrincipalOrgID is not o-1") in found


def test_a_statement_that_is_not_understood_is_named() -> None:
    """A statement that is not understood, such as one with NotPrincipal, has its own line."""
    found = words({"Sid": "Odd", "NotPrincipal": {"AWS": ROLE}})
    assert ("not understood", "Odd: NotPrincipal") in found


def test_our_own_policy_in_words() -> None:
    """The summary of a generated policy lists the roles that its conditions name."""
    scope = Scope.of("acme", key_arns=(KEY,), mode="sse-kms")
    found = list(key_rights(key_policy(scope), KEY).lines())
    readers = [text for kind, text in found if kind == "may use" and "role/s3crypt" in text]
    assert readers
    assert ("may administer", f"account {HOME} by its IAM policies") in found
    grants = f"account {HOME} by its IAM policies, if kms:GrantIsForAWSResource is true"
    assert ("may grant", grants) in found
