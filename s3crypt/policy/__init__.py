# SPDX-License-Identifier: Apache-2.0
"""Access policies as values: documents, the decision about a request, and the policies of roles.

Nothing here makes a request. `s3crypt.buckets` writes the policies of buckets, `s3crypt.kms` those
of keys and `s3crypt.iam` those of roles.
"""

from .documents import Condition, Document, Effect, Kind, Principal, Statement, check_size

__all__ = ["Condition", "Document", "Effect", "Kind", "Principal", "Statement", "check_size"]
