# SPDX-License-Identifier: Apache-2.0
"""The API clients of a walk, created from one session. All requests of the walk only read."""

from typing import TYPE_CHECKING, Any

from botocore.client import BaseClient

from s3crypt.aws import Clients
from s3crypt.caller import Identity, identify
from s3crypt.kms.description import KeyReader
from s3crypt.kms.examination import KeyExaminer
from s3crypt.kms.service import KMS
from s3crypt.objects.access import Objects

if TYPE_CHECKING:
    import boto3
    from types_boto3_iam.client import IAMClient
    from types_boto3_kms.client import KMSClient
    from types_boto3_s3.client import S3Client
    from types_boto3_sts.client import STSClient


class Services:
    """The services of one session.

    Attributes:
        identity: The identity whose credentials sign the requests.
        reader: Reads the descriptions of KMS keys.
        examiner: Reads the grants and the last use of a key.

    Args:
        session: The boto3 session that creates the clients. None for boto3's default session.
        allow_plain_http: Allow requests to other machines over plain HTTP.
        workers: The maximum number of objects that are examined at the same time.

    Raises:
        ConfigError: There are no credentials, or the session cannot be used.
        StorageError: STS could not be reached.
    """

    def __init__(
        self, session: "boto3.Session | None", *, allow_plain_http: bool, workers: int
    ) -> None:
        self._how: dict[str, Any] = {"session": session, "allow_plain_http": allow_plain_http}
        sts: Clients[STSClient] = Clients("sts", **self._how)
        iam: Clients[IAMClient] = Clients("iam", **self._how)
        self.identity: Identity = identify(sts, iam)
        kms: Clients[KMSClient] = Clients("kms", **self._how)
        self.reader = KeyReader(KMS(kms))
        self.examiner = KeyExaminer(KMS(kms))
        self._s3: Clients[S3Client] = Clients("s3", connections=workers, **self._how)
        self._tables: Clients[BaseClient] = Clients("s3tables", **self._how)
        self._vectors: Clients[BaseClient] = Clients("s3vectors", **self._how)
        self._workers = workers
        self._engines: dict[str, Objects] = {}

    @property
    def account(self) -> str:
        """The caller's account."""
        return str(self.identity.caller.account)

    def s3(self, region: str | None = None) -> "S3Client":
        """Return the S3 client of a Region. None stands for the session's Region."""
        return self._s3.get(region)

    def tables(self, region: str) -> BaseClient:
        """Return the client of S3 Tables in a Region."""
        return self._tables.get(region)

    def vectors(self, region: str) -> BaseClient:
        """Return the client of S3 Vectors in a Region."""
        return self._vectors.get(region)

    def objects(self, region: str) -> Objects:
        """Return the engine for objects in the buckets of a Region."""
        if region not in self._engines:
            self._engines[region] = Objects(
                session=None,
                client=self.s3(region),
                endpoint_url=None,
                workers=self._workers,
                allow_plain_http=bool(self._how["allow_plain_http"]),
                written_in=None,
                expected_bucket_owner=None,
                request_payer=None,
            )
        return self._engines[region]
