# SPDX-License-Identifier: Apache-2.0
"""Access policies as values: documents, the decision about a request, and the policies of roles.

Nothing here makes a request. `s3crypt.buckets` writes the policies of buckets, `s3crypt.kms` those
of keys and `s3crypt.iam` those of roles.
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

__all__ = [
    "Caller",
    "Condition",
    "Decision",
    "Document",
    "Effect",
    "Finding",
    "Kind",
    "Policies",
    "Principal",
    "Request",
    "Statement",
    "Status",
    "Verdict",
    "check_size",
    "check_writable",
    "decide",
    "findings",
    "not_understood",
]
