# SPDX-License-Identifier: Apache-2.0
"""Read policies of buckets and keys, values for new policies, and Access Analyzer's findings.

    from s3crypt.policy import bucket_policy
    from s3crypt.policy_reading import PolicyReader

    scope = PolicyReader().scope("acme")
    print(bucket_policy(scope).render())

This module changes nothing. `s3crypt.policy` makes and evaluates policies without a request, and
`s3crypt.policy_changes` writes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .aws import Clients
from .buckets import policies as bucket_policies
from .buckets.configuration import NOT_SEEN, read, region_of
from .buckets.settings import AES256, Encryption, Replication
from .errors import ConfigError, StorageError
from .kms.policies import KeyPolicies
from .kms.service import KMS
from .policy import Document, Kind, Scope
from .requests import call

if TYPE_CHECKING:
    import boto3
    from types_boto3_accessanalyzer.client import AccessAnalyzerClient
    from types_boto3_kms.client import KMSClient
    from types_boto3_s3.client import S3Client
    from types_boto3_sts.client import STSClient

_MODES: Mapping[str, str] = {
    "AES256": "sse-s3",
    "aws:kms": "sse-kms",
    "aws:kms:dsse": "dsse-kms",
}
# For each kind of document, the arguments of ValidatePolicy.
# https://docs.aws.amazon.com/access-analyzer/latest/APIReference/API_ValidatePolicy.html
_TYPES: Mapping[Kind, Mapping[str, str]] = {
    Kind.BUCKET: {
        "policyType": "RESOURCE_POLICY",
        "validatePolicyResourceType": "AWS::S3::Bucket",
    },
    Kind.KEY: {"policyType": "RESOURCE_POLICY"},
    Kind.TRUST: {
        "policyType": "RESOURCE_POLICY",
        "validatePolicyResourceType": "AWS::IAM::AssumeRolePolicyDocument",
    },
}
_OF_IDENTITIES = {"policyType": "IDENTITY_POLICY"}


@dataclass(frozen=True, slots=True)
class AnalyzerFinding:
    """A finding of IAM Access Analyzer about a document.

    Attributes:
        type: `ERROR`, `SECURITY_WARNING`, `WARNING` or `SUGGESTION`.
        code: AWS's name for the issue.
        details: The explanation, as a sentence.
    """

    type: str
    code: str
    details: str


class PolicyReader:
    """Reads policies, and the names and ARNs that are needed for new policies.

    Args:
        session: The boto3 session that creates the clients. None for boto3's default session.
        expected_bucket_owner: The id of the account to which buckets must belong. None for any
            account.
        allow_plain_http: Allow requests to other machines over plain HTTP.

    Raises from every method:
        ConfigError: An argument is wrong.
        StorageError: A service refused, or could not be reached.
        KeyUnavailableError: KMS refused.
    """

    def __init__(
        self,
        *,
        session: "boto3.Session | None" = None,
        expected_bucket_owner: str | None = None,
        allow_plain_http: bool = False,
    ) -> None:
        how: dict[str, Any] = {"session": session, "allow_plain_http": allow_plain_http}
        self._owner = expected_bucket_owner
        self._s3: Clients[S3Client] = Clients(
            "s3", expected_bucket_owner=expected_bucket_owner, **how
        )
        self._sts: Clients[STSClient] = Clients("sts", **how)
        self._analyzer: Clients[AccessAnalyzerClient] = Clients("accessanalyzer", **how)
        kms: Clients[KMSClient] = Clients("kms", **how)
        self._keys = KeyPolicies(KMS(kms))

    def scope(self, bucket: str, **given: Any) -> Scope:
        """Return the scope of a bucket's policies. Only missing values are requested from AWS.

        If no keys are given, the keys and the mode are those of the bucket's default encryption,
        and the role of replication is the role in the bucket's replication, if the caller has
        permission to read it. The mode `sse-s3` needs no keys. The account and the Region are those
        of the first key. Without keys, they are the caller's account and the bucket's Region.

        Args:
            bucket: The bucket's name.
            given: Attributes of the scope. A key may be given by an alias. None means that the
                value is not given.

        Raises:
            ConfigError: The bucket's default encryption uses the key that AWS manages.
        """
        known = {name: value for name, value in given.items() if value not in (None, ())}
        if "key_arns" not in known and known.get("mode") != "sse-s3":
            self._add_default(bucket, known)
            known.setdefault("replication_roles", self._replication_roles(bucket))
        for name in ("key_arns", "client_key_arns"):
            if name in known:
                known[name] = tuple(self._keys.resolve(key) for key in known[name])
        known.setdefault("mode", "sse-kms")
        if not known.get("key_arns") and not known.get("client_key_arns"):
            if "account" not in known:
                known["account"] = self._owner or self._account()
            if "region" not in known:
                known["region"] = region_of(self._s3.get(), bucket)
        return Scope.of(bucket, **known)

    def key_arn(self, key: str) -> str:
        """Return the ARN of a key by its id, its ARN or an alias."""
        return self._keys.resolve(key)

    def of_bucket(self, bucket: str) -> Document | None:
        """Return the policy of a bucket. Return None if it has none."""
        return bucket_policies.read(self._s3.get(), bucket)

    def of_key(self, key_arn: str) -> Document:
        """Return the policy of a key."""
        return self._keys.read(key_arn)

    def findings(self, document: Document, kind: Kind) -> tuple[AnalyzerFinding, ...]:
        """Return the findings of IAM Access Analyzer's ValidatePolicy about a document.

        The caller needs the permission access-analyzer:ValidatePolicy.
        """
        request = {
            "policyDocument": document.render(indent=None),
            **_TYPES.get(kind, _OF_IDENTITIES),
        }
        found: list[AnalyzerFinding] = []
        while True:
            # The request is not retried, because the other results must not wait for an unreachable
            # service.
            reply = call(
                self._analyzer.get(), "validate_policy", request, f"the {kind}", is_look=True
            )
            found += [
                AnalyzerFinding(each["findingType"], each["issueCode"], each["findingDetails"])
                for each in reply["findings"]
            ]
            if not reply.get("nextToken"):
                return tuple(found)
            request = {**request, "nextToken": reply["nextToken"]}

    def _account(self) -> str:
        reply = call(self._sts.get(), "get_caller_identity", {}, "the identity of the caller")
        return str(reply["Account"])

    def _replication_roles(self, bucket: str) -> tuple[str, ...]:
        """Return the role of a bucket's replication. Return () if S3 refuses to show it."""
        try:
            role = read(self._s3.get(), bucket, Replication).role
        except StorageError as error:
            if error.code not in NOT_SEEN:
                raise
            return ()
        # A server other than AWS may return a value that is not the ARN of a role.
        return (role,) if role and ":role/" in role else ()

    def _add_default(self, bucket: str, known: dict[str, Any]) -> None:
        """Add the mode and the key of a bucket's default encryption to `known`."""
        default = read(self._s3.get(), bucket, Encryption)
        if default.key is not None:
            known["key_arns"] = (default.key,)
        elif default.algorithm != AES256:
            raise ConfigError(
                f"s3://{bucket}: new objects are encrypted under the key that AWS manages, whose "
                "policy cannot be changed.",
                hint="Give a key of your own.",
            )
        known.setdefault("mode", _MODES[default.algorithm])
