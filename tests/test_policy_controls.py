# SPDX-License-Identifier: Apache-2.0
"""The controls KMS.1, KMS.2 and KMS.5, judged as Security Hub defines them."""

from __future__ import annotations

from typing import Any

import pytest
from policy_samples import HOME, KEY, doc

from s3crypt.policy import Finding, Kind, Status, findings

PASSED, FAILED, UNCLEAR = Status.PASSED, Status.FAILED, Status.NOT_UNDERSTOOD
INLINE = (Kind.ROLE, Kind.USER, Kind.GROUP)
UNSAID = "It allows kms:Decrypt, but names no Resource."
ALL_KEYS = f"arn:aws:kms:us-east-1:{HOME}:key/*"


def status(kind: Kind, **elements: Any) -> Status:
    """Return the status of the only finding about a policy with one statement.

    The finding's control, statement and reason are checked too.
    """
    (found,) = findings(doc({"Sid": "Mine", **elements}), kind)
    expected = {Kind.MANAGED: "KMS.1", Kind.KEY: "KMS.5"}.get(kind, "KMS.2")
    assert found.control == expected
    assert found.statement == (None if found.status is PASSED else "Mine")
    assert found.reason.endswith(".")
    return found.status


@pytest.mark.parametrize("kind", [Kind.MANAGED, *INLINE])
@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"Action": "kms:Decrypt"}, FAILED),
        ({"Action": "kms:ReEncryptFrom"}, FAILED),
        ({"Action": ["s3:*", "KMS:decrypt"]}, FAILED),
        ({"Action": "kms:*"}, FAILED),
        ({"Action": "kms:ReEncrypt*"}, FAILED),
        ({"Action": "*"}, FAILED),
        ({"NotAction": "iam:*"}, FAILED),
        ({"Action": "kms:Decrypt", "Resource": "arn:aws:kms:eu-west-1:*"}, FAILED),
        ({"Action": "kms:Decrypt", "Resource": f"arn:aws:kms:us-east-1:{HOME}:k*"}, FAILED),
        ({"Action": "kms:Decrypt", "Resource": f"arn:aws:kms:us-east-1:{HOME}:?ey/a*"}, UNCLEAR),
        ({"Action": "kms:Decrypt", "Resource": "arn:aws:s3*"}, PASSED),
        ({"Action": "kms:Decrypt", "Resource": f"arn:aws:kms:us-east-1:{HOME}:alias/*"}, PASSED),
        ({"NotAction": ["kms:Decrypt", "kms:ReEncrypt*"]}, PASSED),
        ({"Action": ["kms:Encrypt", "kms:ReEncryptTo", "kms:GenerateDataKey*"]}, PASSED),
        ({"Action": "kms:Decrypt", "Effect": "Deny"}, PASSED),
        ({"Action": "kms:Decrypt", "Condition": {"Bool": {"aws:ViaAWSService": "true"}}}, FAILED),
        ({"Action": "kms:Decrypt", "Resource": KEY}, PASSED),
        ({"Action": "kms:Decrypt", "Resource": [KEY, ALL_KEYS]}, FAILED),
        ({"Action": "kms:Decrypt", "Resource": "arn:aws:kms:*:*:key/*"}, FAILED),
        ({"Action": "kms:Decrypt", "Resource": "arn:aws:kms:*:*:*"}, FAILED),
        ({"Action": "kms:Decrypt", "Resource": "arn:*:key/**"}, FAILED),
        ({"Action": "kms:Decrypt", "Resource": "arn:aws:k?s:us-east-1:1:key/*"}, FAILED),
        ({"Action": "*", "Resource": "arn:aws:s3:::*"}, PASSED),
        ({"Action": "kms:Decrypt", "Resource": "arn:aws:kms:us-east-1:1:alias/*"}, PASSED),
        ({"Action": "kms:Decrypt", "Resource": "arn:aws:kms:us-east-1:1:key/mrk-*"}, UNCLEAR),
        ({"Action": "kms:Decrypt", "Resource": f"{KEY[:-1]}?"}, UNCLEAR),
        ({"Action": "kms:Decrypt", "Resource": "arn:aws:kms:*:1:key/${aws:userid}"}, UNCLEAR),
        ({"Action": "kms:Decrypt", "NotResource": KEY}, UNCLEAR),
        ({"Action": "kms:Decrypt", "Comment": "by hand"}, UNCLEAR),
        ({"Action": "s3:*", "Comment": "by hand"}, PASSED),
    ],
)  # fmt: skip
def test_decryption_under_all_keys(kind: Kind, elements: dict[str, Any], expected: Status) -> None:
    """KMS.1 and KMS.2 judge only Action and Resource of a statement; conditions do not count."""
    assert status(kind, **elements) is expected


EVERYONE = {"Principal": "*"}
FIXED = {"StringEquals": {"kms:CallerAccount": HOME}}
VIA_S3 = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
ROLE = "arn:aws:iam::111122223333:role/a"


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        (EVERYONE, FAILED),
        ({"Principal": {"AWS": "*"}}, FAILED),
        ({"Principal": {"AWS": [HOME, "*"]}}, FAILED),
        ({"Principal": {"AWS": HOME}}, PASSED),
        ({"Principal": {"Service": "s3.amazonaws.com"}}, PASSED),
        ({**EVERYONE, "Effect": "Deny"}, PASSED),
        ({"NotPrincipal": {"AWS": HOME}}, UNCLEAR),
        ({"NotPrincipal": {"AWS": HOME}, "Effect": "Deny"}, PASSED),
        ({**EVERYONE, "Comment": "by hand"}, UNCLEAR),
    ],
)
def test_public_access(elements: dict[str, Any], expected: Status) -> None:
    """KMS.5 fails if the key policy allows every principal to use the key."""
    assert status(Kind.KEY, **elements) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (FIXED, PASSED),
        ({"StringEquals": {"KMS:calleraccount": [HOME]}}, PASSED),
        ({"StringLike": {"kms:CallerAccount": "1111*"}}, FAILED),
        ({"StringEquals": {"kms:CallerAccount": [HOME, "*"]}}, FAILED),
        ({"StringLike": {"aws:PrincipalArn": "${aws:userid}"}}, FAILED),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/a"}}, FAILED),
        ({"ArnEquals": {"aws:PrincipalArn": ROLE}}, PASSED),
        ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, PASSED),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, FAILED),
        ({"StringEqualsIfExists": {"kms:CallerAccount": HOME}}, UNCLEAR),
        ({"StringNotEquals": {"kms:CallerAccount": HOME}}, FAILED),
        ({"Bool": {"aws:SecureTransport": "true"}}, FAILED),
        ({"Null": {"kms:CallerAccount": "false"}}, FAILED),
        (VIA_S3, UNCLEAR),
        ({"StringLike": {"kms:ViaService": "s3.*"}}, FAILED),
        ({**FIXED, "StringLike": {"kms:ViaService": "s3.*"}}, PASSED),
    ],
)
def test_conditions_on_public_access(condition: dict[str, Any], expected: Status) -> None:
    """KMS.5 passes only if a condition limits the callers to fixed values."""
    assert status(Kind.KEY, **EVERYONE, Condition=condition) is expected


def test_every_statement_that_fails_is_found() -> None:
    """Each failing statement has its own finding, with the statement's Sid or number, in order."""
    document = doc(
        {"Sid": "One"}, {"Action": "s3:*"}, {"Action": "kms:Decrypt", "NotResource": KEY}
    )
    assert findings(document, Kind.ROLE) == (
        Finding("KMS.2", FAILED, "One", "It allows kms:Decrypt and kms:ReEncryptFrom on all keys."),
        Finding("KMS.2", UNCLEAR, "statement 3", UNSAID),
    )


@pytest.mark.parametrize("kind", [Kind.BUCKET, Kind.TRUST])
def test_other_documents_have_no_such_control(kind: Kind) -> None:
    """Bucket policies and other kinds of documents get no finding of these three controls."""
    assert findings(doc(EVERYONE), kind) == ()
