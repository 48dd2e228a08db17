# SPDX-License-Identifier: Apache-2.0
"""Audits buckets, KMS keys and objects: finds misconfigurations, and commands that fix them.

    from s3crypt.audit import Auditor

    for finding in Auditor().configuration(["acme"], account=False):
        print(finding.control.id, finding.verdict, finding.seen)

The audit uses read-only API actions. It never asks KMS to unwrap a data key.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Unpack

from s3crypt.jobs.window import MOST

from .configurations import Configurations
from .objects import ObjectOptions, audit_objects
from .services import Services
from .values import Demands, Finding

if TYPE_CHECKING:
    import boto3

    from s3crypt.aws import Observer
    from s3crypt.caller import Identity
    from s3crypt.jobs import Journal

__all__ = ["Auditor"]


class Auditor:
    """Audits the configuration of an account, its buckets and keys, and the objects of buckets.

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
        *,
        session: "boto3.Session | None" = None,
        allow_plain_http: bool = False,
        observe: "Observer | None" = None,
    ) -> None:
        self._services = Services(session, allow_plain_http=allow_plain_http, observe=observe)

    @property
    def identity(self) -> "Identity":
        """The identity whose credentials sign the requests."""
        return self._services.identity

    def configuration(
        self, buckets: Sequence[str], *, account: bool, journal: "Journal | None" = None
    ) -> Iterator[Finding]:
        """Yield the findings about buckets and the keys of their default encryption.

        A setting that the caller has no permission to read gives an unknown finding, never a pass.

        Args:
            buckets: The names of the buckets.
            account: Whether to audit also the whole account: its block of public access, all
                buckets, trails and IAM policies, and all KMS keys in the session's Region and in
                the Regions of the buckets.
            journal: Stores the findings of each bucket and key without an unknown finding. A
                resumed audit yields stored findings again without a request. None for an audit that
                cannot be resumed.

        Raises:
            ObjectNotFoundError: One of the named buckets does not exist.
            S3CryptError: An error occurred that would also make every other request fail, or the
                journal cannot be written.
        """
        audit = Configurations(self._services, buckets, whole=account, journal=journal)
        return audit.findings()

    def objects(
        self, uri: str, demands: Demands, **options: Unpack[ObjectOptions]
    ) -> Iterator[Finding]:
        """Yield the findings about the objects below a prefix, after all objects were examined.

        Args:
            uri: A bucket, or a prefix that ends with a slash.
            demands: The requirements for the objects.
            options: See `ObjectOptions`.

        Raises:
            ConfigError: The arguments contradict each other, or there are no credentials.
            ObjectNotFoundError: The bucket or the inventory does not exist.
            StorageError: The journal cannot be written.
        """
        reach = self._services.reach(options.get("jobs") or MOST)
        return audit_objects(reach, uri, demands, **options)
