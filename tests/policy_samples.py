# SPDX-License-Identifier: Apache-2.0
"""Short notations for policies, callers and requests, for tests of decisions about requests."""

from __future__ import annotations

from typing import Any

from s3crypt.policy import Caller, Decision, Document, Policies, Request, decide

HOME, AWAY = "111122223333", "123456789012"
BUCKET = "arn:aws:s3:::acme"
OBJECT = f"{BUCKET}/2026/q3.csv"
KEY = f"arn:aws:kms:us-east-1:{HOME}:key/8a1f0c7e-5f6d-4c0b-9f4e-1f2e3d4c5b6a"

WRITER = Caller("role", f"arn:aws:iam::{HOME}:role/s3crypt/writer", HOME)
USER = Caller("user", f"arn:aws:iam::{HOME}:user/team/ada", HOME)
ROOT = Caller("root", f"arn:aws:iam::{HOME}:root", HOME)
GUEST = Caller("role", f"arn:aws:iam::{AWAY}:role/guest", AWAY)
FOREIGN_ROOT = Caller("root", f"arn:aws:iam::{AWAY}:root", AWAY)
LOGS = Caller("service", "logging.s3.amazonaws.com")
ANYBODY = Caller("anonymous")
CALLERS = (WRITER, USER, ROOT, GUEST, FOREIGN_ROOT, LOGS, ANYBODY)


def doc(*statements: dict[str, Any], version: str | None = "2012-10-17") -> Document:
    """Return a document of statements; by default each statement is an Allow on everything."""
    found = [_complete(each) for each in statements]
    return Document.parse(
        {"Statement": found} if version is None else {"Version": version, "Statement": found}
    )


def _complete(statement: dict[str, Any]) -> dict[str, Any]:
    defaults = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    missing = {
        name: value
        for name, value in defaults.items()
        if {name, f"Not{name}"}.isdisjoint(statement)
    }
    return {**missing, **statement}


def ask(
    policies: Policies,
    caller: Caller = WRITER,
    action: str = "s3:GetObject",
    resource: str = OBJECT,
    **context: str | tuple[str, ...],
) -> Decision:
    """Return the decision about a request to this account.

    In a condition key's name, `__` is a colon.
    """
    keys = {name.replace("__", ":"): value for name, value in context.items()}
    return decide(Request(caller, action, resource, HOME, keys), policies)
