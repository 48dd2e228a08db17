# SPDX-License-Identifier: Apache-2.0
"""The API clients of an audit, created from one session. The audit's requests are read-only."""

from typing import TYPE_CHECKING, Any

from s3crypt.aws import Clients, Observer
from s3crypt.caller import Identity, identify
from s3crypt.kms.description import KeyReader
from s3crypt.kms.examination import KeyExaminer
from s3crypt.kms.service import KMS
from s3crypt.objects.access import Objects

from .objects import Reach

if TYPE_CHECKING:
    import boto3
    from types_boto3_cloudtrail.client import CloudTrailClient
    from types_boto3_iam.client import IAMClient
    from types_boto3_kms.client import KMSClient
    from types_boto3_s3.client import S3Client
    from types_boto3_s3control.client import S3ControlClient
    from types_boto3_sts.client import STSClient


class Services:
    """The services of one session.

    Attributes:
        identity: The identity whose credentials sign the requests.
        keys: The reader of KMS keys.

    Args:
        session: boto3 session that creates the clients; by default boto3's default session.
        allow_plain_http: Allow requests to other machines over plain HTTP.
        observe: Called with each new client, before its first request.

    Raises:
        ConfigError: There are no credentials, or the session cannot be used.
        StorageError: STS could not be reached.
    """

    def __init__(
        self,
        session: "boto3.Session | None",
        *,
        allow_plain_http: bool,
        observe: Observer | None,
    ) -> None:
        how: dict[str, Any] = {
            "session": session,
            "allow_plain_http": allow_plain_http,
            "observe": observe,
        }
        sts: Clients[STSClient] = Clients("sts", **how)
        self._iam: Clients[IAMClient] = Clients("iam", **how)
        self.identity: Identity = identify(sts, self._iam)
        kms: Clients[KMSClient] = Clients("kms", **how)
        self.keys = KeyExaminer(KMS(kms))
        self._kms = kms
        self._how = how
        # With the expected owner, S3 refuses every request to a bucket of another account.
        self._s3: Clients[S3Client] = Clients("s3", expected_bucket_owner=self.account, **how)
        self._s3control: Clients[S3ControlClient] = Clients("s3control", **how)
        self._cloudtrail: Clients[CloudTrailClient] = Clients("cloudtrail", **how)

    @property
    def account(self) -> str:
        """The audited account, which is the caller's."""
        return str(self.identity.caller.account)

    @property
    def partition(self) -> str:
        """The caller's partition, such as `aws`."""
        return self.identity.arn.split(":")[1]

    @property
    def region(self) -> str:
        """The session's Region."""
        return self._s3.get().meta.region_name

    def reach(self, workers: int) -> Reach:
        """Return the services for an audit of objects.

        It examines up to `workers` objects at once.
        """
        keys = KeyReader(KMS(self._kms))
        return Reach(
            self._objects(workers, self.account),
            keys,
            self.account,
            self.partition,
            # Inventories may be delivered to a bucket of another account.
            anyones=self._objects(workers, None),
        )

    def _objects(self, workers: int, owner: str | None) -> Objects:
        return Objects(
            **self._how,
            client=None,
            endpoint_url=None,
            workers=workers,
            written_in=None,
            expected_bucket_owner=owner,
            request_payer=None,
        )

    @property
    def iam(self) -> "IAMClient":
        """The IAM client."""
        return self._iam.get()

    @property
    def s3control(self) -> "S3ControlClient":
        """The S3 Control client, which reads an account's S3 settings."""
        return self._s3control.get()

    def s3(self, region: str | None = None) -> "S3Client":
        """Return the S3 client of a Region; by default of the session's Region."""
        return self._s3.get(region)

    def cloudtrail(self, region: str) -> "CloudTrailClient":
        """Return the CloudTrail client of a Region."""
        return self._cloudtrail.get(region)
