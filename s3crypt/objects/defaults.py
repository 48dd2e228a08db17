# SPDX-License-Identifier: Apache-2.0
"""The default encryption of a bucket: S3 uses it for a new object if the request names no mode."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from s3crypt.buckets.configuration import read
from s3crypt.buckets.settings import Encryption
from s3crypt.modes import reported_mode

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


@dataclass(frozen=True, slots=True)
class DefaultEncryption:
    """A bucket's default encryption of new objects.

    Attributes:
        mode: `sse-s3`, `sse-kms` or `dsse-kms`. None if the service reports another mode.
        kms_key: The key as it was given to S3. In the KMS modes, None stands for the key `aws/s3`.
        blocks_sse_c: Whether the bucket refuses to store SSE-C objects.
    """

    mode: str | None
    kms_key: str | None
    blocks_sse_c: bool


def default_encryption(client: "S3Client", bucket: str) -> DefaultEncryption:
    """Return a bucket's default encryption."""
    setting = read(client, bucket, Encryption)
    mode = reported_mode({"ServerSideEncryption": setting.algorithm})
    return DefaultEncryption(mode, setting.key, blocks_sse_c=setting.blocks_sse_c)
