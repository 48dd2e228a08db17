# SPDX-License-Identifier: Apache-2.0
"""How S3 distinguishes its operations, and the type of a rule that answers an operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from s3crypt.sandbox.backend import Moto
from s3crypt.sandbox.wire import Reply, Request

ACCOUNT, BUCKET, OBJECT = "account", "bucket", "object"
ANY = "*"


class Operation(NamedTuple):
    """Operations on the account, a bucket or an object by `method`, which may be ANY.

    `parameter` is the query parameter that names the part of the bucket or object; it is empty for
    operations on the bucket or object itself.
    """

    method: str
    level: str
    parameter: str = ""


# A rule answers a request, or lets moto answer; it raises Refusal if S3 would refuse the request.
Rule: TypeAlias = Callable[[Moto, Request], Reply]
Rules: TypeAlias = Mapping[Operation, Rule]
