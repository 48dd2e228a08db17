# SPDX-License-Identifier: Apache-2.0
"""Access policies as values: documents, the decision about a request, and the policies of roles.

This package makes no request. `s3crypt.buckets` writes the policies of buckets, `s3crypt.kms` the
policies of keys, and `s3crypt.iam` the policies of roles.
"""

from .callers import Caller
from .controls import Finding, Status, findings
from .documents import (
    Condition,
    Document,
    Effect,
    Kind,
    Principal,
    Statement,
    check_size,
    check_writable,
)
from .evaluation import Decision, Policies, Request, Verdict, decide, not_understood
from .key_rights import Holder, KeyPolicyCheck, KeyRights, check_key_policy, key_rights
from .recognition import Facts, facts_of, kind_of
from .roles import (
    OTHERS,
    Documents,
    Expectation,
    Role,
    Scope,
    Who,
    bucket_policy,
    expectations,
    iam_policy,
    judged,
    key_policy,
    open_key_policy,
    trust_policy,
)

__all__ = [
    "OTHERS",
    "Caller",
    "Condition",
    "Decision",
    "Document",
    "Documents",
    "Effect",
    "Expectation",
    "Facts",
    "Finding",
    "Holder",
    "KeyPolicyCheck",
    "KeyRights",
    "Kind",
    "Policies",
    "Principal",
    "Request",
    "Role",
    "Scope",
    "Statement",
    "Status",
    "Verdict",
    "Who",
    "bucket_policy",
    "check_key_policy",
    "check_size",
    "check_writable",
    "decide",
    "expectations",
    "facts_of",
    "findings",
    "iam_policy",
    "judged",
    "key_policy",
    "key_rights",
    "kind_of",
    "not_understood",
    "open_key_policy",
    "trust_policy",
]
