# SPDX-License-Identifier: Apache-2.0
"""Replacing a whole key policy: the difference that is shown, and the policies that are refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from s3crypt.errors import ConfigError, PolicyError
from s3crypt.kms import KeyManager
from s3crypt.policy import Document, check_key_policy
from s3crypt.policy_changes import PolicyWriter

if TYPE_CHECKING:
    from pathlib import Path

    import boto3

ACCOUNT = "123456789012"
ROOT = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
CALLER = {"AWS": f"arn:aws:iam::{ACCOUNT}:user/sandbox"}
# A role of another account: KMS refuses principals of the key's account that do not exist.
READER = {"AWS": "arn:aws:iam::111122223333:role/reader"}


def allow(sid: str | None, principal: Any, action: Any = "kms:*", **more: Any) -> dict[str, Any]:
    """Return a statement that allows actions on the key."""
    named = {} if sid is None else {"Sid": sid}
    what = {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"}
    return {**named, **what, **more}


def document(*statements: dict[str, Any]) -> Document:
    """Return a policy with these statements."""
    return Document.parse({"Version": "2012-10-17", "Statement": list(statements)})


ADMIN, READ = allow("Admin", ROOT), allow("Read", READER, "kms:Decrypt")


@pytest.fixture
def manager(session: boto3.Session) -> KeyManager:
    """Return a key manager of the sandbox."""
    return KeyManager(session=session)


@pytest.fixture
def writer(session: boto3.Session) -> PolicyWriter:
    """Return a policy writer of the sandbox."""
    return PolicyWriter(session=session)


@pytest.fixture
def key(manager: KeyManager) -> str:
    """Make a key with two statements in its policy."""
    return manager.create(policy=document(ADMIN, READ).to_json()).arn


def test_a_whole_policy_takes_the_place_of_the_current_one(
    writer: PolicyWriter, manager: KeyManager, key: str, tmp_path: Path
) -> None:
    """A new policy removes the statements that it lacks; the saved copy restores them."""
    wanted = document(allow(None, ROOT, "kms:Describe*"), ADMIN)
    plan = writer.plan_whole(wanted, key)
    changes = sorted((each.sid, each.change.value) for each in plan.differences)
    assert changes == [("Read", "removed"), ("a statement without a Sid", "added")]
    applied = writer.apply(plan, folder=tmp_path)
    assert manager.policy(key).meaning == wanted.meaning
    assert applied.saved is not None
    assert applied.undo == f"s3crypt keys policy set {key} {applied.saved}"
    saved = Document.parse(json.loads(applied.saved.read_text()))
    writer.apply(writer.plan_whole(saved, key), folder=tmp_path)
    assert manager.policy(key).meaning == document(ADMIN, READ).meaning


def test_a_changed_statement_is_one_difference(writer: PolicyWriter, key: str) -> None:
    """A changed statement is shown as changed, by its Sid; the other statements are kept."""
    plan = writer.plan_whole(document(ADMIN, allow("Read", READER, "kms:Encrypt")), key)
    (change,) = plan.differences
    assert (change.sid, change.change.value) == ("Read", "changed")
    assert [each.sid for each in plan.merged.kept] == ["Admin"]


def test_the_same_policy_is_no_change(writer: PolicyWriter, key: str, tmp_path: Path) -> None:
    """If only the order of the statements differs, nothing is written or saved."""
    plan = writer.plan_whole(document(READ, ADMIN), key)
    assert not plan.changes
    assert writer.apply(plan, folder=tmp_path).saved is None


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ([], r"user/sandbox could no longer call kms:PutKeyPolicy"),
        ([READ], r"user/sandbox could no longer call kms:PutKeyPolicy"),
        ([allow("Admin", ROOT, "kms:Get*")], r"could no longer call kms:PutKeyPolicy \("),
        (
            [
                ADMIN,
                {
                    **allow("Deny", CALLER, "kms:PutKeyPolicy"),
                    "Effect": "Deny",
                },
            ],
            r"user/sandbox could no longer call kms:PutKeyPolicy .*Deny",
        ),
        # The caller keeps control of the key, but the account loses it.
        ([allow("Admin", CALLER)], r":root could no longer call kms:PutKeyPolicy"),
        # A later request of the caller may lack the tag, so the caller may be locked out.
        (
            [
                allow(
                    "Admin", ROOT, Condition={"StringEquals": {"aws:PrincipalTag/team": "security"}}
                )
            ],
            r"not certain",
        ),
    ],
)
def test_a_policy_that_locks_out_is_refused(
    writer: PolicyWriter,
    manager: KeyManager,
    key: str,
    statements: list[dict[str, Any]],
    reason: str,
) -> None:
    """A policy is not written unless the caller and the key's account keep control of the key."""
    plan = writer.plan_whole(document(*statements) if statements else Document(()), key)
    with pytest.raises(PolicyError, match=reason):
        plan.check()
    with pytest.raises(PolicyError, match="nothing was written"):
        writer.apply(plan)
    assert manager.policy(key).meaning == document(ADMIN, READ).meaning


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (allow("Admin", ROOT, "s3:*"), "not the policy of a key: see its statement Admin"),
        (
            {"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
            "not the policy of a key: see its statement statement 1",
        ),
        (allow("Ünfit→", ROOT), "a text has a character"),
        (allow("Long", {"AWS": [f"{ACCOUNT}{n:020}" for n in range(1100)]}), "AWS allows 32,768"),
    ],
)
def test_what_is_no_key_policy_is_refused(
    writer: PolicyWriter, key: str, statement: dict[str, Any], message: str
) -> None:
    """Every statement of the policy file is checked, not only statements that s3crypt made."""
    with pytest.raises(ConfigError, match=message):
        writer.plan_whole(document(statement), key)


def test_the_check_bypass_is_never_sent(
    writer: PolicyWriter, key: str, tmp_path: Path, requests_log: Any
) -> None:
    """No request bypasses KMS's own lockout check."""
    requests_log.clear()
    writer.apply(writer.plan_whole(document(ADMIN), key), folder=tmp_path)
    assert not [each for each in requests_log.list() if "Bypass" in json.dumps(each)]


def test_a_check_says_what_is_wrong(key: str) -> None:
    """The check reports a key that everyone can use and that its account does not control."""
    policy = document(allow("All", "*", "kms:Decrypt"), allow("Admin", CALLER))
    public, control = check_key_policy(policy, key).failures
    assert public.startswith("KMS.5 (All)")
    assert f"The account {ACCOUNT} cannot replace the policy" in control


def test_a_sound_policy_passes_its_check(manager: KeyManager, key: str) -> None:
    """The default policy of KMS and the policies of s3crypt pass the check."""
    assert manager.check_policy(key).failures == ()
