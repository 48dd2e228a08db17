# SPDX-License-Identifier: Apache-2.0
"""The facts about one request from which the recorder makes a record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from s3crypt.sandbox import REGION

KMS_KEY, S3_BUCKET, S3_OBJECT = "AWS::KMS::Key", "AWS::S3::Bucket", "AWS::S3::Object"


@dataclass(frozen=True, slots=True)
class Facts:
    """The part of a record that depends on the service and its operation.

    `resources` is the record's list of resources. `named` has the types and names of the resources
    by which LookupEvents finds the event.
    """

    source: str
    name: str
    is_read_only: bool
    is_management: bool = True
    region: str = REGION
    parameters: dict[str, Any] | None = None
    elements: dict[str, Any] | None = None
    additional: dict[str, Any] | None = None
    resources: list[dict[str, Any]] = field(default_factory=list)
    named: tuple[tuple[str, str], ...] = ()
    api_version: str | None = None
    keys: tuple[Any, ...] = ()  # The moto keys of a request to KMS.


def key_resource(key: Any) -> dict[str, Any]:
    """Return the entry of a KMS key in a record's resources."""
    return {"accountId": key.account_id, "type": KMS_KEY, "ARN": key.arn}


def lower_first(name: str) -> str:
    """Return a parameter's name as records spell it, with a lower-case first letter."""
    return name[:1].lower() + name[1:]


def is_reading(operation: str) -> bool:
    """Return whether an operation only reads. This is decided by the operation's name."""
    return operation.startswith(("Describe", "Get", "Head", "List", "Lookup", "Validate"))
