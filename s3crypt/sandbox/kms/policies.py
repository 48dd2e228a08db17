# SPDX-License-Identifier: Apache-2.0
"""The key policies that KMS refuses to store.

This module must not decide which actions a policy allows on a key.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from s3crypt.sandbox.policies import form_fault, statements_of, unknown_principal
from s3crypt.sandbox.wire import Refusal

from .keys import refusal_of_policy

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

    from .calls import Call

_POLICY_BYTES = 32_768


def check(moto: Moto, call: Call) -> None:
    """Refuse a key policy that is malformed, or that the caller could not replace later."""
    text = call.body.get("Policy")
    if text is None:
        return
    statements = statements_of(text)
    _check_policy_form(text)
    if unknown_principal(moto, statements) is not None:
        raise _malformed_policy("Policy contains a statement with one or more invalid principals.")
    refused = refusal_of_policy(statements, "kms:PutKeyPolicy", call.caller)
    if refused is not None and not call.body.get("BypassPolicyLockoutSafetyCheck"):
        raise _malformed_policy(
            "The new key policy will not allow you to update the key policy in the future."
        )


def _check_policy_form(text: str) -> None:
    """Refuse a text that is too long or not a valid key policy."""
    if len(text.encode("utf-8")) > _POLICY_BYTES:
        raise Refusal(
            400, "LimitExceededException", f"A key policy has {_POLICY_BYTES} bytes at most."
        )
    try:
        fault = form_fault(json.loads(text), resources=True, principals=True)
    except ValueError:
        fault = "Policy is not valid JSON."
    if fault is not None:
        raise _malformed_policy(fault)


def _malformed_policy(message: str) -> Refusal:
    return Refusal(400, "MalformedPolicyDocumentException", message)
