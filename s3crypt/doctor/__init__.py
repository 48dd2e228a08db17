# SPDX-License-Identifier: Apache-2.0
"""Finds out why a put, get or rotate fails. The checks go from this machine to the service.

A diagnosis changes nothing and never unwraps a key. Permissions on KMS keys are tested by DryRun.
From an object, only the headers and the first bytes, which name its keys, are fetched.
`s3crypt.audit` judges whether a set-up is secure; this package reports why a set-up does not work.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3

from s3crypt.location import Location
from s3crypt.modes import Mode

from .identity import check_credentials, check_identity
from .keys import check_keys
from .known import Known, Services
from .machine import check_machine
from .network import check_clock, check_endpoint, check_tls
from .policies import check_bucket_policy
from .reading import check_reading, look
from .server import Kept, Verdict, try_server
from .storage import ask_for_head, check_bucket, check_encryption, check_object
from .values import Area, Case, Diagnosis, Outcome, Purpose, cause_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Area", "Diagnosis", "Doctor", "Kept", "Outcome", "Purpose", "Verdict", "cause_of"]


class Doctor:
    """Finds out why operations on objects fail.

    Args:
        session: The boto3 session from which clients are created; by default boto3's default
            session.
        allow_plain_http: Allow requests to other machines over plain HTTP.
        expected_bucket_owner: The account that is expected to own the bucket.
    """

    def __init__(
        self,
        *,
        session: boto3.Session | None = None,
        allow_plain_http: bool = False,
        expected_bucket_owner: str | None = None,
    ) -> None:
        self._session = session or boto3.Session()
        self._services = Services(
            self._session,
            allow_plain_http=allow_plain_http,
            expected_bucket_owner=expected_bucket_owner,
        )

    def diagnose(
        self,
        uri: str | None = None,
        *,
        purpose: Purpose = "get",
        mode: Mode | None = None,
        keys: "Sequence[str]" = (),
    ) -> Iterator[Diagnosis]:
        """Yield the diagnoses of all checks, in order.

        If a check finds a fault, the next checks still run.

        Args:
            uri: The object or the bucket. If None, only this machine, the credentials and the
                network are checked.
            purpose: The operation that fails.
            mode: The mode that was given to the operation, or None.
            keys: The key references that were given to the operation, as on the command line.

        Raises:
            ConfigError: The URI is invalid, or the AWS settings cannot be read.
        """
        location = None if uri is None else Location.parse(uri)
        case = Case(purpose=purpose, location=location, mode=mode, keys=tuple(keys))
        known = Known()
        yield from check_credentials(self._session, known)
        yield from check_endpoint(case, self._services, known)
        yield from check_tls(case, self._services, known)
        yield from check_identity(self._session, self._services, known)
        yield from check_bucket(case, self._services, known)
        yield from check_clock(case, self._services, known)
        yield from check_encryption(case, self._services, known)
        ask_for_head(case, self._services, known)
        yield from check_bucket_policy(case, self._services, known)
        yield from check_object(case, known)
        look(case, self._services, known)
        yield from check_keys(case, self._services, known)
        yield from check_reading(known)
        yield from check_machine(case, self._services, known)

    def try_server(self, uri: str) -> Iterator[Kept]:
        """Test how the service behaves, with scratch objects below a bucket or prefix.

        Yield the results. The trials write scratch objects. All scratch objects are removed at the
        end, also if the iterator is closed early or interrupted.

        Raises:
            ConfigError: The URI is invalid, or the bucket has Object Lock.
            StorageError: The bucket cannot be inspected, or scratch objects were left behind.
        """
        yield from try_server(self._services, Location.parse(uri))
