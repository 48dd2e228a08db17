# SPDX-License-Identifier: Apache-2.0
"""A policy's writer must keep its control: the check runs before anything is written."""

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
    """Return a statement that denies everything to all callers except a role."""
    condition = {"ArnNotLike": {"aws:PrincipalArn": arn}}
    return statement("S3cryptOnly", Condition=condition, **elements)


def judged(
    current: dict[str, Any] | None,
    wanted: dict[str, Any],
    caller: Caller | None = None,
    *,
    has_known_path: bool = True,
) -> Judgement:
    """Return the judgement about a bucket's policy."""
    before = None if current is None else Document.parse(current)
    merged = merge(before, Document.parse(wanted))
    role = caller or Caller("role", ENGINEER, ACCOUNT)
    subject = Subject(Kind.BUCKET, "arn:aws:s3:::acme", ACCOUNT, role, has_known_path)
    return judge(merged, subject)


def judged_key(current: dict[str, Any], wanted: dict[str, Any]) -> Judgement:
    """Return the judgement about a key's policy."""
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
    """These statements do not apply to the caller, or they deny other actions."""
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
    """Each action that control of the policy needs is checked; the error names the statement."""
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
    """Unknown parts count, and so do conditions on the network or tags of later requests."""
    found = judged(None, policy(statement("S3cryptOdd", **uncertain)))
    assert found.refusals
    assert "it is not certain that" in found.refusals[0]


@pytest.mark.parametrize("uncertain", UNCERTAIN.values(), ids=UNCERTAIN.keys())
def test_what_stays_and_is_not_understood_is_shown(uncertain: dict[str, Any]) -> None:
    """An unchanged unknown statement does not prevent a change of another statement."""
    odd = statement("Theirs", **uncertain)
    found = judged(policy(odd), policy(statement("S3cryptTLS")))
    assert found == Judgement((), ("Theirs",))


def test_a_lost_action_is_found_beside_what_is_not_understood() -> None:
    """An unchanged unknown statement does not hide a new statement that denies an action."""
    odd = statement("Theirs", **UNCERTAIN["operator"])
    assert judged(policy(odd), policy(DENY_ALL)).refusals
    assert judged(policy(odd), policy(statement("S3cryptOdd", **UNCERTAIN["key"]))).refusals


def test_who_had_no_control_loses_none() -> None:
    """S3 will refuse the write itself, or another caller with control makes the change."""
    denied = statement("Theirs", Condition=None, Action="s3:DeleteBucketPolicy")
    assert judged(policy(denied), policy(statement("S3cryptTLS"))) == Judgement(())


def test_the_root_user_is_never_locked_out_of_a_bucket() -> None:
    """S3 lets the root user read, replace and delete policies of its own buckets."""
    root = Caller("root", f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)
    assert judged(None, policy(DENY_ALL), root) == Judgement(())


def test_a_statement_that_allows_the_caller_must_stay() -> None:
    """The caller's own policies may not allow the action."""
    allowing = statement(
        "S3cryptAdmin", Effect="Allow", Principal={"AWS": ENGINEER}, Condition=None
    )
    found = judged(policy(allowing), policy(statement("S3cryptTLS")))
    assert "may lose s3:PutBucketPolicy" in found.refusals[0]


def test_a_path_that_is_not_known_is_no_reason_where_none_is_named() -> None:
    """If the policy names no path, only the ARN without a path matters."""
    found = judged(None, policy(but(ENGINEER)), has_known_path=False)
    assert found == Judgement(())


@pytest.mark.parametrize(
    "named",
    [IN_A_PATH, IN_A_PATH.replace("team", "*"), IN_A_PATH.replace("team/Engineer", "team*")],
)
def test_a_path_that_is_not_known_and_decides_refuses(named: str) -> None:
    """The role may or may not be the exception in the statement."""
    found = judged(None, policy(but(named)), has_known_path=False)
    assert "unless its role has another path" in found.refusals[0]
    assert "iam:GetRole" in str(found.hint)
    assert judged(None, policy(but(named)), Caller("role", IN_A_PATH, ACCOUNT)) == Judgement(())


def test_a_key_that_stays_its_accounts_may_change() -> None:
    """The default statement lets IAM policies decide."""
    added = statement("S3cryptVia", Action="kms:Decrypt", Resource="*", Condition=None)
    assert judged_key(of_key(), of_key(added)) == Judgement(())


def test_a_key_that_nobody_could_change_is_refused() -> None:
    """Removing a statement can lock out like a Deny."""
    own = of_key()["Statement"][0] | {"Sid": "S3cryptAccount"}
    reader = own | {"Sid": "S3cryptReader", "Action": "kms:GetKeyPolicy"}
    found = judged_key(policy(own), policy(reader))
    assert found.refusals == (
        f"{ENGINEER} could no longer call kms:PutKeyPolicy (no statement allows it)",
    )


def test_a_denied_key_is_refused() -> None:
    """The check works as for a bucket."""
    denying = statement("S3cryptDeny", Action="kms:PutKeyPolicy", Resource="*", Condition=None)
    found = judged_key(of_key(), policy(denying))
    assert "could no longer call kms:PutKeyPolicy" in found.refusals[0]


def test_what_only_the_key_itself_knows_may_lock_out() -> None:
    """A key's usage is not in the request, so a Deny that depends on it may match every caller."""
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
    """IAM policies may not allow a caller that a statement of the key policy named."""
    naming = of_key()["Statement"][0] | {"Sid": "S3cryptAdmin", "Principal": {"AWS": ENGINEER}}
    found = judged_key(of_key(naming), of_key())
    assert "may lose kms:PutKeyPolicy" in found.refusals[0]


def test_documents_are_not_changed() -> None:
    """The written document keeps the condition keys whose values are unknown."""
    endpoint = statement("S3cryptE", **UNCERTAIN["endpoint"])
    merged = merge(None, document(endpoint))
    judge(
        merged, Subject(Kind.BUCKET, "arn:aws:s3:::acme", ACCOUNT, Caller("role", OTHER, ACCOUNT))
    )
    assert merged.document == document(endpoint)
