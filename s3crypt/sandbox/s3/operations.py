# SPDX-License-Identifier: Apache-2.0
"""The key by which S3's operations are distinguished, and the type of a rule for an operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from s3crypt.sandbox.backend import Moto
from s3crypt.sandbox.wire import Reply, Request

ACCOUNT, BUCKET, OBJECT = "account", "bucket", "object"
ANY = "*"


class Operation(NamedTuple):
    """One or more operations of S3. `level` is ACCOUNT, BUCKET or OBJECT; `method` may be ANY.

    `parameter` is the query parameter that selects a part of the bucket or object, such as `acl`.
    It is empty for operations on the bucket or object itself.
    """

    method: str
    level: str
    parameter: str = ""


# A rule returns its own reply or moto's reply. It raises `Refusal` if S3 would refuse the request.
Rule: TypeAlias = Callable[[Moto, Request], Reply]
Rules: TypeAlias = Mapping[Operation, Rule]
