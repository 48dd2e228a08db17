# SPDX-License-Identifier: Apache-2.0
"""Whether a KMS key may be used: its state, its policy and its grants.

The S3 rules also call this module, on behalf of a caller. This module must not know requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from s3crypt.sandbox.policies import is_about, is_for, statements_of
from s3crypt.sandbox.wire import Refusal

from .materials import is_complete

if TYPE_CHECKING:
    from collections.abc import Mapping

# The states of a key that is scheduled for deletion.
DYING = frozenset({"PendingDeletion", "PendingReplicaDeletion"})
# The prefixes of the actions that the policy of an AWS managed key allows to other callers than the
# AWS service that owns the key.
_READING = ("kms:Describe", "kms:Get", "kms:List")
_WORDS = {
    "Creating": "creating",
    "PendingDeletion": "pending deletion",
    "PendingImport": "pending import",
    "PendingReplicaDeletion": "pending replica deletion",
    "Updating": "updating",
}


def refusal_of_policy(
    statements: list[dict[str, Any]], action: str, caller: frozenset[str]
) -> tuple[bool, str] | None:
    """Return None if a key policy allows a caller an action, otherwise the kind of refusal.

    The refusal is a pair: whether a Deny statement denies the action, and the reason. The check is
    approximate: a Deny with a condition is ignored, and the conditions of an Allow are ignored. An
    Allow for the account counts for all users and roles of the account, as if their IAM policies
    allowed every action.
    """
    about = [one for one in statements if is_about(one, action) and is_for(one, caller)]
    if any(one.get("Effect") == "Deny" and "Condition" not in one for one in about):
        return True, "with an explicit deny in a resource-based policy"
    if not any(one.get("Effect") == "Allow" for one in about):
        return False, f"because no resource-based policy allows the {action} action"
    return None


def check_key(
    key: Any, action: str, caller: frozenset[str], context: Mapping[str, str] | None = None
) -> None:
    """Refuse a caller that cannot use the key for `action` now. The errors have KMS's codes."""
    _check_permitted(key, action, caller, context)
    check_state(key)


def check_caller(
    key: Any, action: str, caller: frozenset[str], context: Mapping[str, str] | None = None
) -> None:
    """Refuse an action on a key for which a caller (not an AWS service) has no permission."""
    if key.key_manager == "AWS" and not action.startswith(_READING):
        reason = f"because no resource-based policy allows the {action} action"
        raise _not_authorized(key, action, caller, reason)
    _check_permitted(key, action, caller, context)


def refresh(key: Any) -> None:
    """Set a key's state to the state that follows from its imported materials.

    A key that is scheduled for deletion or that KMS is changing keeps its state.
    """
    if key.origin != "EXTERNAL" or key.key_state in {*DYING, "Creating", "Updating"}:
        return
    if not is_complete(key):
        key.key_state = "PendingImport"
    elif key.key_state == "PendingImport":
        key.key_state = "Enabled"


def check_state(key: Any) -> None:
    """Refuse a key that is not enabled."""
    # A key in the state Updating is usable if it was usable before. Its earlier state is kept
    # beside it.
    state = key.s3crypt_state if key.key_state == "Updating" else key.key_state
    if state != "Enabled":
        refuse_state(key)


def check_idle(key: Any) -> None:
    """Refuse a key that KMS is changing in the background."""
    if key.key_state in {"Creating", "Updating"}:
        refuse_state(key)


def refuse_state(key: Any) -> NoReturn:
    """Refuse a key because of its state."""
    if key.key_state == "Disabled":
        raise Refusal(400, "DisabledException", f"{key.arn} is disabled.")
    words = _WORDS.get(key.key_state, key.key_state.lower())
    raise Refusal(400, "KMSInvalidStateException", f"{key.arn} is {words}.")


def _check_permitted(
    key: Any, action: str, caller: frozenset[str], context: Mapping[str, str] | None
) -> None:
    refused = refusal_of_policy(statements_of(key.policy), action, caller)
    if refused is None:
        return
    is_denied, reason = refused
    operation = action.removeprefix("kms:")
    if is_denied or not any(
        grant.permits(operation, caller, context) for grant in key.grants.values()
    ):
        raise _not_authorized(key, action, caller, reason)


def _not_authorized(key: Any, action: str, caller: frozenset[str], reason: str) -> Refusal:
    # `max` selects the session's ARN: its "sts" is sorted after the "iam" of the role's ARN.
    who = max(caller, default="anonymous")
    return Refusal(
        400,
        "AccessDeniedException",
        f"User: {who} is not authorized to perform: {action} on resource: {key.arn} {reason}",
    )
