# SPDX-License-Identifier: Apache-2.0
"""Reads the public access block of an account, which applies to all buckets of the account."""

from typing import TYPE_CHECKING

from s3crypt.errors import StorageError
from s3crypt.requests import call

from .settings import PublicAccessBlock

if TYPE_CHECKING:
    from types_boto3_s3control.client import S3ControlClient

ACTION = "s3:GetAccountPublicAccessBlock"
"""The IAM action that allows reading the public access block of an account."""


def read_public_access_block(client: "S3ControlClient", account: str) -> PublicAccessBlock:
    """Return the public access block of an account. If there is none, all four settings are off.

    Raises:
        StorageError: S3 refused.
    """
    subject = f"account {account} (public access block)"
    try:
        reply = call(client, "get_public_access_block", {"AccountId": account}, subject)
    except StorageError as error:
        if error.code in PublicAccessBlock.ABSENT:
            return PublicAccessBlock()
        raise
    return PublicAccessBlock.of(reply)
