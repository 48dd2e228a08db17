# SPDX-License-Identifier: Apache-2.0
"""Statements and documents that the policy tests share."""

from __future__ import annotations

from typing import Any

from s3crypt.policy import Document

ACCOUNT = "123456789012"
TLS = {"Bool": {"aws:SecureTransport": "false"}}


def statement(sid: str | None, bucket: str = "acme", **elements: Any) -> dict[str, Any]:
    """Return a statement that denies requests without TLS, with these elements replaced."""
    arn = f"arn:aws:s3:::{bucket}"
    found = {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": TLS,
        **elements,
    }
    return {name: value for name, value in found.items() if value is not None}


def policy(*statements: dict[str, Any], **elements: Any) -> dict[str, Any]:
    """Return a policy as JSON values."""
    return {"Version": "2012-10-17", "Statement": list(statements), **elements}


def document(*statements: dict[str, Any], **elements: Any) -> Document:
    """Return a policy."""
    return Document.parse(policy(*statements, **elements))


def of_key(*statements: dict[str, Any], account: str = ACCOUNT) -> dict[str, Any]:
    """Return a key policy of these statements and a statement that gives control to the account."""
    return policy(
        {
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
            "Action": "kms:*",
            "Resource": "*",
        },
        *statements,
    )
