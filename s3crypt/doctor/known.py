# SPDX-License-Identifier: Apache-2.0
"""The services that a diagnosis asks, and what their replies showed so far. Only reads.

Every request is repeated for a few seconds at most: a diagnosis reports a fault, it does not wait
for the fault to pass.
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

# No attempt of a request begins later than so many seconds after the first one failed.
_PATIENCE_SECONDS = 3.0


class _Impatient(Clients[C]):
    """Clients whose requests are given up soon."""

    def get(self, region: str | None = None) -> C:
        """Return the client of a Region (None: the session's own)."""
        client = super().get(region)
        policy = policy_of(client)
        policy.deadline = min(policy.deadline, _PATIENCE_SECONDS)
        return client


class Services:
    """The services of one session.

    Attributes:
        s3, sts, kms, iam: Make the clients of the session.
        keys: Describes KMS keys.
        key_policies: Reads their policies.
        ask_kms: Makes other requests about KMS keys.
        expected_bucket_owner: The account that the bucket is to be of, or None.
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
        """Return an S3 client whose requests S3 refuses for buckets of another account."""
        clients: Clients[S3Client] = _Impatient("s3", expected_bucket_owner=account, **self._how)
        return clients.get()

    def objects(self) -> Objects:
        """Return the engine of objects, which recognises what is in them."""
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
        """Return whether S3, STS and KMS are of AWS together, or none of them is.

        Credentials of another provider are not sent to AWS.
        """
        kinds = {is_aws(self.s3.get()), is_aws(self.sts.get()), is_aws(self.kms.get())}
        return len(kinds) == 1


@dataclass(slots=True)
class Known:
    """What the checks so far have learnt. A check writes only what is its own.

    Attributes:
        has_credentials: Whether there are credentials at all.
        is_reachable: False where no connection to S3 could be made.
        identity: Who makes the requests.
        dates: The Date headers of replies.
        tls_version: Such as `1.3`; None over plain HTTP, and where it was not seen.
        bucket_region: The Region of the bucket.
        is_own_bucket: Whether the bucket is of the caller's account.
        bucket_policy: The policy of the bucket; None if it has none or it was not read.
        default_key: The KMS key of the bucket's default encryption, or None.
        head: S3's reply to a HEAD of the object.
        head_error: Why that HEAD failed, or None.
        info: What the object's first bytes show, which names its keys.
        read_error: Why the first bytes could not be read.
        key_metadata: KMS's description of each key, by the name that the case has for it.
        key_policies: The policies of keys that were read, by ARN.
        denied: The KMS actions that a DryRun was refused, by ARN of the key.
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
