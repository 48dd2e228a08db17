# SPDX-License-Identifier: Apache-2.0
"""The lockout check: the writer of a policy must stay able to change it."""

from __future__ import annotations

from typing import Any

import pytest
from written_policies import ACCOUNT, document, of_key, policy, statement

from s3crypt.policy import Caller, Document, Kind
from s3crypt.policy.lockout import Judgement, Subject, judge
from s3crypt.policy.merging import merge

ENGINEER = f"arn:aws:iam::{ACCOUNT}:role/Engineer"
IN_A_PATH = f"arn:aws:iam::{ACCOUNT}:role/team/Engineer"
OTHER = f"arn:aws:iam::{ACCOUNT}:role/Other"
KEY_ARN = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
DENY_ALL = statement("S3cryptDenyAll", Condition=None)


def but(arn: str | list[str], **elements: Any) -> dict[str, Any]:
    """Return a statement that denies everything to everyone except the role `arn`."""
    condition = {"ArnNotLike": {"aws:PrincipalArn": arn}}
    return statement("S3cryptOnly", Condition=condition, **elements)


def judged(
    current: dict[str, Any] | None,
    wanted: dict[str, Any],
    caller: Caller | None = None,
    *,
    has_known_path: bool = True,
) -> Judgement:
    """Return the judgement on replacing a bucket's policy.

    `current` is None if the bucket has no policy. If `caller` is None, the caller is the engineer's
    role.
    """
    before = None if current is None else Document.parse(current)
    merged = merge(before, Document.parse(wanted))
    role = caller or Caller("role", ENGINEER, ACCOUNT)
    subject = Subject(Kind.BUCKET, "arn:aws:s3:::acme", ACCOUNT, role, has_known_path)
    return judge(merged, subject)


def judged_key(current: dict[str, Any], wanted: dict[str, Any]) -> Judgement:
    """Return the judgement on replacing a key's policy, written by the engineer's role."""
    merged = merge(Document.parse(current), Document.parse(wanted))
    role = Caller("role", ENGINEER, ACCOUNT)
    return judge(merged, Subject(Kind.KEY, KEY_ARN, ACCOUNT, role))


HARMLESS = {
    "TLS": statement("S3cryptTLS"),
    "old TLS": statement("S3cryptTLS", Condition={"NumericLessThan": {"s3:TlsVersion": "1.2"}}),
    "objects only": statement("S3cryptNoPut", Action="s3:PutObject", Condition=None),
    "all but the caller": but(ENGINEER),
    "another role": statement("S3cryptOther", Principal={"AWS": OTHER}, Condition=None),
    "not understood, of objects": statement(
        "S3cryptOdd", Action="s3:PutObject", Condition={"Odd": {"aws:SecureTransport": "x"}}
    ),
    "an endpoint, of objects": statement(
        "S3cryptEndpoint",
        Action="s3:GetObject",
        Condition={"StringNotEquals": {"aws:SourceVpce": "vpce-1"}},
    ),
}


@pytest.mark.parametrize("harmless", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_leaves_the_caller_the_policy_may_be_written(harmless: dict[str, Any]) -> None:
    """A Deny that does not apply to the caller, or denies other actions, is accepted."""
    assert judged(None, policy(harmless)) == Judgement(())


LOCKING = {
    "everyone": DENY_ALL,
    "all but another": but(OTHER),
    "PutBucketPolicy": statement("S3cryptX", Action="s3:PutBucketPolicy", Condition=None),
    "GetBucketPolicy": statement("S3cryptX", Action="s3:Get*", Condition=None),
    "DeleteBucketPolicy": statement("S3cryptX", NotAction="s3:PutBucketPolicy", Action=None)
    | {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
}


@pytest.mark.parametrize("locking", LOCKING.values(), ids=LOCKING.keys())
def test_what_locks_the_caller_out_is_refused(locking: dict[str, Any]) -> None:
    """A Deny of an action that the writer needs is refused.

    The error names action and statement.
    """
    (first, *_) = judged(None, policy(locking)).refusals
    assert f"{ENGINEER} could no longer call s3:" in first
    assert str(locking["Sid"]) in first


UNCERTAIN: dict[str, dict[str, Any]] = {
    "operator": {"Condition": {"StringResembles": {"aws:PrincipalArn": OTHER}}},
    "key": {"Condition": {"StringEquals": {"aws:Moon": "full"}}},
    "NotPrincipal": {"NotPrincipal": {"AWS": ENGINEER}, "Principal": None, "Condition": None},
    "endpoint": {"Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}},
    "network": {"Condition": {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}},
    "MFA": {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}},
    "tag": {"Condition": {"StringNotEquals": {"aws:PrincipalTag/env": "production"}}},
    "element": {"Surprise": "x", "Condition": None},
}


@pytest.mark.parametrize("uncertain", UNCERTAIN.values(), ids=UNCERTAIN.keys())
def test_what_may_lock_the_caller_out_is_refused(uncertain: dict[str, Any]) -> None:
    """A statement that may lock out the caller is refused: its effect depends on unknown values."""
    found = judged(None, policy(statement("S3cryptOdd", **uncertain)))
    assert found.refusals
    assert "it is not certain that" in found.refusals[0]


@pytest.mark.parametrize("uncertain", UNCERTAIN.values(), ids=UNCERTAIN.keys())
def test_what_stays_and_is_not_understood_is_shown(uncertain: dict[str, Any]) -> None:
    """An old statement that is not understood is shown, and does not prevent other changes."""
    odd = statement("Theirs", **uncertain)
    found = judged(policy(odd), policy(statement("S3cryptTLS")))
    assert found == Judgement((), ("Theirs",))


def test_a_lost_action_is_found_beside_what_is_not_understood() -> None:
    """A new Deny is refused even beside an old statement that is not understood."""
    odd = statement("Theirs", **UNCERTAIN["operator"])
    assert judged(policy(odd), policy(DENY_ALL)).refusals
    assert judged(policy(odd), policy(statement("S3cryptOdd", **UNCERTAIN["key"]))).refusals


def test_who_had_no_control_loses_none() -> None:
    """A caller that had no control of the policy before cannot lose it, so nothing is refused."""
    denied = statement("Theirs", Condition=None, Action="s3:DeleteBucketPolicy")
    assert judged(policy(denied), policy(statement("S3cryptTLS"))) == Judgement(())


def test_the_root_user_is_never_locked_out_of_a_bucket() -> None:
    """The root user is not locked out by a Deny: S3 lets it change the policy of its own bucket."""
    root = Caller("root", f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)
    assert judged(None, policy(DENY_ALL), root) == Judgement(())


def test_a_statement_that_allows_the_caller_must_stay() -> None:
    """Removing the statement that allows the caller is refused: no other policy may allow it."""
    allowing = statement(
        "S3cryptAdmin", Effect="Allow", Principal={"AWS": ENGINEER}, Condition=None
    )
    found = judged(policy(allowing), policy(statement("S3cryptTLS")))
    assert "may lose s3:PutBucketPolicy" in found.refusals[0]


def test_a_path_that_is_not_known_is_no_reason_where_none_is_named() -> None:
    """If the policy names no path, it does not matter that the role's path is unknown."""
    found = judged(None, policy(but(ENGINEER)), has_known_path=False)
    assert found == Judgement(())


@pytest.mark.parametrize(
    "named",
    [IN_A_PATH, IN_A_PATH.replace("team", "*"), IN_A_PATH.replace("team/Engineer", "team*")],
)
def test_a_path_that_is_not_known_and_decides_refuses(named: str) -> None:
    """If only the role's unknown path decides whether it is locked out, the change is refused."""
    found = judged(None, policy(but(named)), has_known_path=False)
    assert "unless its role has another path" in found.refusals[0]
    assert "iam:GetRole" in str(found.hint)
    assert judged(None, policy(but(named)), Caller("role", IN_A_PATH, ACCOUNT)) == Judgement(())


def test_a_key_that_stays_its_accounts_may_change() -> None:
    """A key policy that keeps the default statement is accepted: IAM policies then decide."""
    added = statement("S3cryptVia", Action="kms:Decrypt", Resource="*", Condition=None)
    assert judged_key(of_key(), of_key(added)) == Judgement(())


def test_a_key_that_nobody_could_change_is_refused() -> None:
    """Removing the only statement that allows kms:PutKeyPolicy is refused."""
    own = of_key()["Statement"][0] | {"Sid": "S3cryptAccount"}
    reader = own | {"Sid": "S3cryptReader", "Action": "kms:GetKeyPolicy"}
    found = judged_key(policy(own), policy(reader))
    assert found.refusals == (
        f"{ENGINEER} could no longer call kms:PutKeyPolicy (no statement allows it)",
    )


def test_a_denied_key_is_refused() -> None:
    """A key policy that denies kms:PutKeyPolicy is refused."""
    denying = statement("S3cryptDeny", Action="kms:PutKeyPolicy", Resource="*", Condition=None)
    found = judged_key(of_key(), policy(denying))
    assert "could no longer call kms:PutKeyPolicy" in found.refusals[0]


def test_what_only_the_key_itself_knows_may_lock_out() -> None:
    """A Deny with a condition on the key's usage is refused: the key's usage may match it."""
    wanted = of_key(
        statement(
            "S3cryptNoUse",
            Action="kms:*",
            Resource="*",
            Condition={"StringEquals": {"kms:KeyUsage": "ENCRYPT_DECRYPT"}},
        )
    )
    assert judged_key(of_key(), wanted).refusals


def test_the_caller_of_a_key_must_stay_named() -> None:
    """Removing the statement that names the caller is refused: IAM policies may not allow it."""
    naming = of_key()["Statement"][0] | {"Sid": "S3cryptAdmin", "Principal": {"AWS": ENGINEER}}
    found = judged_key(of_key(naming), of_key())
    assert "may lose kms:PutKeyPolicy" in found.refusals[0]


def test_documents_are_not_changed() -> None:
    """The check does not change the document that is written."""
    endpoint = statement("S3cryptE", **UNCERTAIN["endpoint"])
    merged = merge(None, document(endpoint))
    judge(
        merged, Subject(Kind.BUCKET, "arn:aws:s3:::acme", ACCOUNT, Caller("role", OTHER, ACCOUNT))
    )
    assert merged.document == document(endpoint)
