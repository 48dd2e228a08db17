# SPDX-License-Identifier: Apache-2.0
"""What is out of line in buckets, keys and objects, and the command that sets it right.

    from s3crypt.audit import Auditor

    for finding in Auditor().configuration(["acme"], account=False):
        print(finding.control.id, finding.verdict, finding.seen)

Only actions that read are used, and no key is ever unwrapped.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Unpack

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
    """Judge the configuration of an account, its buckets and keys, and the objects of buckets.

    Args:
        session: boto3 session to make clients from; the default one if left out.
        allow_plain_http: Let requests go to other machines over plain HTTP.
        observe: Called with each client that is made, before its first request.

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
        """Who makes the requests."""
        return self._services.identity

    def configuration(
        self, buckets: Sequence[str], *, account: bool, journal: "Journal | None" = None
    ) -> Iterator[Finding]:
        """Yield the findings about buckets and the keys of their default encryption.

        What may not be seen is unknown, never a pass.

        Args:
            buckets: Their names.
            account: Look at the whole account too: its block of public access, all of its buckets,
                the keys of the session's Region and of those of the buckets, its trails and its
                IAM policies.
            journal: Keeps the findings of each bucket and key that was judged whole. A resumed
                audit yields them again without a request.

        Raises:
            ObjectNotFoundError: There is no bucket of a name that was given.
            S3CryptError: An error would meet every request, or the journal cannot be written.
        """
        audit = Configurations(self._services, buckets, whole=account, journal=journal)
        return audit.findings()

    def objects(
        self, uri: str, demands: Demands, **options: Unpack[ObjectOptions]
    ) -> Iterator[Finding]:
        """Yield what the objects below a prefix are found to be, once all were looked at.

        Equal verdicts about many objects are one finding. No object is opened.

        Args:
            uri: A bucket, or a prefix that ends with a slash.
            demands: What is demanded of the objects.
            options: How they are looked at: see `ObjectOptions`.

        Raises:
            ConfigError: The arguments contradict each other.
            ObjectNotFoundError: There is no such bucket or inventory.
            StorageError: The journal cannot be written.
        """
        return audit_objects(self._services.reach(), uri, demands, **options)
