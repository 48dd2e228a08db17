# SPDX-License-Identifier: Apache-2.0
"""Whether a KMS key may be used: its state, its policy and its grants.

The S3 rules call this module too, on behalf of a caller. It must not know requests.
"""

from __future__ import annotations

import time
from typing import Any

from s3crypt.sandbox.policies import denies_everybody, is_about, statements_of
from s3crypt.sandbox.wire import Refusal

# The actions that the policy of an AWS managed key allows to callers other than its service.
_READING = ("kms:Describe", "kms:Get", "kms:List")
_WORDS = {
    "PendingDeletion": "pending deletion",
    "PendingImport": "pending import",
}


def permission(statements: list[dict[str, Any]], action: str) -> str | None:
    """Return why a policy does not permit an action, or None if it does.

    The check is approximate. A Deny counts only if it applies to every principal without a
    condition. An Allow counts for every principal.
    """
    about = [statement for statement in statements if is_about(statement, action)]
    if any(denies_everybody(statement, action) for statement in about):
        return "with an explicit deny in a resource-based policy"
    if not any(statement.get("Effect") == "Allow" for statement in about):
        return f"because no resource-based policy allows the {action} action"
    return None


def check_key(key: Any, action: str) -> None:
    """Refuse, with KMS's error codes, unless the key may be used for `action` now."""
    _check_permitted(key, action)
    check_state(key)


def check_caller(key: Any, action: str) -> None:
    """Refuse an action that KMS would refuse to a caller other than an AWS service."""
    if key.key_manager == "AWS" and not action.startswith(_READING):
        reason = f"because no resource-based policy allows the {action} action"
        raise _not_authorized(key, action, reason)
    _check_permitted(key, action)


def state_of(key: Any) -> str:
    """Return a key's current state, after deleting imported material that has expired."""
    until = getattr(key, "s3crypt_valid_to", None)
    if until is not None and until <= time.time():
        empty(key)
    return str(key.key_state)


def empty(key: Any) -> None:
    """Delete a key's imported material; the key becomes PendingImport."""
    key.s3crypt_valid_to = None
    if key.key_state != "PendingDeletion":
        key.key_state, key.enabled = "PendingImport", False


def check_state(key: Any) -> None:
    """Refuse a key that is not enabled."""
    state = state_of(key)
    if state == "Disabled":
        raise Refusal(400, "DisabledException", f"{key.arn} is disabled.")
    if state != "Enabled":
        words = _WORDS.get(state, state)
        raise Refusal(400, "KMSInvalidStateException", f"{key.arn} is {words}.")


def _check_permitted(key: Any, action: str) -> None:
    granted = {
        operation
        for grant in key.grants.values()
        if grant.grantee is not None
        for operation in grant.operations
    }
    grants = [{"Effect": "Allow", "Action": [f"kms:{operation}" for operation in granted]}]
    reason = permission(statements_of(key.policy) + grants, action)
    if reason is not None:
        raise _not_authorized(key, action, reason)


def _not_authorized(key: Any, action: str, reason: str) -> Refusal:
    return Refusal(
        400,
        "AccessDeniedException",
        f"User: arn:aws:iam::{key.account_id}:user/sandbox is not authorized to perform: "
        f"{action} on resource: {key.arn} {reason}",
    )
