# SPDX-License-Identifier: Apache-2.0
"""The services that a diagnosis calls, and the facts that were found so far.

All requests are read-only. A request is retried only for a few seconds: a diagnosis reports a fault
and does not wait until it has passed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from s3crypt.aws import Clients, is_aws, policy_of
from s3crypt.errors import S3CryptError
from s3crypt.kms.description import KeyReader
from s3crypt.kms.policies import KeyPolicies
from s3crypt.kms.service import KMS
from s3crypt.objects.access import Objects

if TYPE_CHECKING:
    import boto3
    from botocore.client import BaseClient
    from types_boto3_iam.client import IAMClient
    from types_boto3_kms.client import KMSClient
    from types_boto3_s3.client import S3Client
    from types_boto3_sts.client import STSClient

    from s3crypt.caller import Identity
    from s3crypt.objects.info import ObjectInfo
    from s3crypt.policy import Document

C = TypeVar("C", bound="BaseClient")

# No retry of a request starts later than this many seconds after the first attempt failed.
_PATIENCE_SECONDS = 3.0


class _Impatient(Clients[C]):
    """Clients that retry a request only for `_PATIENCE_SECONDS`."""

    def get(self, region: str | None = None) -> C:
        """Return the client of a Region, or of the session's Region if `region` is None."""
        client = super().get(region)
        policy = policy_of(client)
        policy.deadline = min(policy.deadline, _PATIENCE_SECONDS)
        return client


class Services:
    """The services of one session.

    Attributes:
        s3, sts, kms, iam: Create the clients of the session.
        keys: Describes KMS keys.
        key_policies: Reads the policies of KMS keys.
        ask_kms: Makes other requests about KMS keys.
        expected_bucket_owner: The account that is expected to own the bucket, or None.
    """

    def __init__(
        self,
        session: "boto3.Session | None",
        *,
        allow_plain_http: bool,
        expected_bucket_owner: str | None,
    ) -> None:
        how: dict[str, Any] = {"session": session, "allow_plain_http": allow_plain_http}
        self._how = how
        self.expected_bucket_owner = expected_bucket_owner
        self.s3: Clients[S3Client] = _Impatient("s3", **how)
        self.sts: Clients[STSClient] = _Impatient("sts", **how)
        self.iam: Clients[IAMClient] = _Impatient("iam", **how)
        self.kms: Clients[KMSClient] = _Impatient("kms", **how)
        self.ask_kms = KMS(self.kms)
        self.keys = KeyReader(self.ask_kms)
        self.key_policies = KeyPolicies(self.ask_kms)

    def s3_of_owner(self, account: str) -> "S3Client":
        """Return an S3 client whose requests S3 refuses if another account owns the bucket."""
        clients: Clients[S3Client] = _Impatient("s3", expected_bucket_owner=account, **self._how)
        return clients.get()

    def objects(self) -> Objects:
        """Return an object engine, which reads an object's headers and recognises its format."""
        made = Objects(
            client=None,
            endpoint_url=None,
            workers=1,
            written_in=None,
            expected_bucket_owner=self.expected_bucket_owner,
            request_payer=None,
            **self._how,
        )
        policy_of(made.client).deadline = _PATIENCE_SECONDS
        return made

    @property
    def are_of_one_provider(self) -> bool:
        """Whether S3, STS and KMS all are at AWS, or all are at other endpoints.

        If not, a diagnosis sends no request to STS and KMS, because credentials of another provider
        must not be sent to AWS.
        """
        kinds = {is_aws(self.s3.get()), is_aws(self.sts.get()), is_aws(self.kms.get())}
        return len(kinds) == 1


@dataclass(slots=True)
class Known:
    """The facts that the checks have found so far. No two checks write the same attribute.

    Attributes:
        has_credentials: Whether there are credentials at all.
        is_reachable: False if no connection to S3 could be made.
        identity: The identity of the caller, or None if it is unknown.
        dates: The Date headers of replies.
        tls_version: The version of TLS, such as `1.3`; None over plain HTTP, or if it is unknown.
        bucket_region: The Region of the bucket, or None if it is unknown.
        is_own_bucket: Whether the caller's account owns the bucket; None if that is unknown.
        bucket_policy: The policy of the bucket; None if there is no policy or it was not read.
        default_key: The KMS key of the bucket's default encryption, or None.
        head: S3's reply to a HEAD of the object, or None.
        head_error: The error of that HEAD, or None.
        info: The facts in the object's first bytes, which include its keys, or None.
        read_error: The error of the read of the first bytes, or None.
        key_metadata: Key as the case names it -> KMS's description of the key.
        key_policies: The key policies that were read, by ARN of the key.
        denied: The KMS actions that KMS denied in a DryRun, by ARN of the key.
    """

    has_credentials: bool = False
    is_reachable: bool = True
    identity: "Identity | None" = None
    dates: list[str] = field(default_factory=list)
    tls_version: str | None = None
    bucket_region: str | None = None
    is_own_bucket: bool | None = None
    bucket_policy: "Document | None" = None
    default_key: str | None = None
    head: Mapping[str, Any] | None = None
    head_error: S3CryptError | None = None
    info: "ObjectInfo | None" = None
    read_error: S3CryptError | None = None
    key_metadata: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    key_policies: dict[str, "Document"] = field(default_factory=dict)
    denied: dict[str, set[str]] = field(default_factory=dict)
