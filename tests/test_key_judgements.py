# SPDX-License-Identifier: Apache-2.0
"""The controls of keys, without a server: how unusual keys are judged and reported."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from s3crypt.audit.controls import Judged
from s3crypt.audit.key_controls import SeenKey, judge_key
from s3crypt.audit.values import Finding, Resource, Verdict
from s3crypt.kms.examination import Examined
from s3crypt.kms.grants import Grant

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ACCOUNT, OTHER = "111122223333", "444455556666"
ARN = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/mrk-8a1f0c7e5f6d4c0b9f4e1f2e3d4c5b6a"
POLICY = (
    '{"Version": "2012-10-17", "Statement": [{"Sid": "Own", "Effect": "Allow", "Action": "kms:*",'
    f' "Resource": "*", "Principal": {{"AWS": "arn:aws:iam::{ACCOUNT}:root"}}}}]}}'
)
GOOD = Examined(
    arn=ARN, manager="CUSTOMER", state="Enabled", spec="SYMMETRIC_DEFAULT", origin="AWS_KMS",
    created=NOW, deletion=None, expiry=None, rotates=True, policy=POLICY, grants=(), last_use=None,
)  # fmt: skip
GRANT = Grant("g1", "arn:aws:iam::111122223333:role/reader", False, ("Decrypt",))


def judged(account: str = ACCOUNT, **changed: Any) -> dict[str, Finding]:
    """Return the finding of each control about a key, for an audit by `account`."""
    key = replace(GOOD, **changed)
    resource = Judged(Resource("key", key.arn, key.account, key.region))
    return {each.control.id: each for each in judge_key(SeenKey(resource, key, account, NOW))}


def test_a_good_key_passes() -> None:
    """The unchanged key passes, so each other test fails only because of its own change."""
    assert {each.verdict for each in judged().values()} == {Verdict.PASS}


@pytest.mark.parametrize("control", ["KMS.3", "S3CRYPT.7", "S3CRYPT.8"])
def test_a_key_without_a_state_is_unknown(control: str) -> None:
    """If a reply lacks the key's state, the controls that depend on the state are unknown."""
    assert judged(state="")[control].verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("control", "changed"),
    [
        ("KMS.3", {"state": "PendingDeletion"}),
        ("S3CRYPT.7", {"state": "Disabled"}),
        ("KMS.4", {"rotates": False}),
        ("KMS.5", {"policy": POLICY.replace(f"arn:aws:iam::{ACCOUNT}:root", "*")}),
    ],
)
def test_a_key_of_another_account_has_no_line(control: str, changed: dict[str, Any]) -> None:
    """A failed control of a key of another account has no fix: KMS would refuse the command."""
    theirs, own = judged(OTHER, **changed)[control], judged(**changed)[control]
    assert (theirs.verdict, own.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert theirs.fix is None
    assert own.fix is not None


def test_a_replica_is_rotated_by_its_primary() -> None:
    """The fix for a replica rotates its primary key, because KMS cannot do this at the replica."""
    primary = ARN.replace("eu-west-1", "us-east-1")
    fix = judged(rotates=False, primary=primary)["KMS.4"].fix
    assert fix is not None
    assert fix.text == f"s3crypt keys enable-rotation {primary}"


@pytest.mark.parametrize(
    ("constraints", "verdict"),
    [
        ({}, Verdict.FAIL),
        ({"EncryptionContextSubset": {}}, Verdict.FAIL),
        ({"EncryptionContextSubset": {"a": "b"}}, Verdict.PASS),
    ],
)
def test_an_empty_constraint_constrains_nothing(
    constraints: dict[str, Any], verdict: Verdict
) -> None:
    """A grant whose only constraint is empty fails: every encryption context contains it."""
    found = judged(grants=(replace(GRANT, constraints=constraints),))["S3CRYPT.12"]
    assert found.verdict is verdict
