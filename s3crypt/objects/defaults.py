# SPDX-License-Identifier: Apache-2.0
"""The encryption that a bucket gives to new objects that ask for none."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from s3crypt.buckets.configuration import read
from s3crypt.buckets.settings import Encryption
from s3crypt.modes import reported_mode

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


@dataclass(frozen=True, slots=True)
class DefaultEncryption:
    """A bucket's encryption of new objects that ask for none.

    Attributes:
        mode: `sse-s3`, `sse-kms` or `dsse-kms`; None if the service reports another one.
        kms_key: The key as it was given to S3; None stands for `aws/s3` in the two KMS modes.
        blocks_sse_c: Whether the bucket refuses objects under customer keys.
    """

    mode: str | None
    kms_key: str | None
    blocks_sse_c: bool


def default_encryption(client: "S3Client", bucket: str) -> DefaultEncryption:
    """Return a bucket's default encryption."""
    setting = read(client, bucket, Encryption)
    mode = reported_mode({"ServerSideEncryption": setting.algorithm})
    return DefaultEncryption(mode, setting.key, blocks_sse_c=setting.blocks_sse_c)
