# SPDX-License-Identifier: Apache-2.0
"""The clients of the AWS services for hardening a bucket, all for the caller's own account."""

from typing import TYPE_CHECKING

from s3crypt.aws import Clients
from s3crypt.kms import KeyManager
from s3crypt.requests import call

if TYPE_CHECKING:
    import boto3
    from types_boto3_cloudtrail.client import CloudTrailClient
    from types_boto3_iam.client import IAMClient
    from types_boto3_s3.client import S3Client
    from types_boto3_sts.client import STSClient


class Services:
    """The services of one session.

    Attributes:
        account: The caller's account. Requests about a bucket of another account are refused by S3.
        partition: The caller's partition, such as `aws`.
        keys: The administration of KMS keys.

    Args:
        session: boto3 session from which clients are created; by default boto3's default session.
        allow_plain_http: Allow requests over plain HTTP to other machines.

    Raises:
        ConfigError: There are no credentials, or the session cannot be used.
        StorageError: STS could not be reached.
    """

    def __init__(self, session: "boto3.Session | None", *, allow_plain_http: bool) -> None:
        sts: Clients[STSClient] = Clients("sts", session=session, allow_plain_http=allow_plain_http)
        who = call(sts.get(), "get_caller_identity", {}, "the identity of the caller")
        self.account = str(who["Account"])
        self.partition = str(who["Arn"]).split(":")[1]
        self.keys = KeyManager(session=session, allow_plain_http=allow_plain_http)
        self._s3: Clients[S3Client] = Clients(
            "s3",
            session=session,
            allow_plain_http=allow_plain_http,
            expected_bucket_owner=self.account,
        )
        self._iam: Clients[IAMClient] = Clients(
            "iam", session=session, allow_plain_http=allow_plain_http
        )
        self._cloudtrail: Clients[CloudTrailClient] = Clients(
            "cloudtrail", session=session, allow_plain_http=allow_plain_http
        )

    @property
    def region(self) -> str:
        """The session's Region."""
        return self._s3.get().meta.region_name

    def s3(self, region: str) -> "S3Client":
        """Return the S3 client of a Region."""
        return self._s3.get(region)

    @property
    def iam(self) -> "IAMClient":
        """The IAM client."""
        return self._iam.get()

    def cloudtrail(self, region: str) -> "CloudTrailClient":
        """Return the CloudTrail client of a Region."""
        return self._cloudtrail.get(region)

    def alias_arn(self, region: str, alias: str) -> str:
        """Return the ARN of an alias. Requests with this ARN go to KMS in the alias's Region."""
        return f"arn:{self.partition}:kms:{region}:{self.account}:{alias}"
