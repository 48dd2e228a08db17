# SPDX-License-Identifier: Apache-2.0
"""Resolve the key id or alias in a mode to an ARN, and compare it with the key that S3 reports."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from s3crypt.aws import is_aws
from s3crypt.errors import KeyUnavailableError
from s3crypt.keyrings.kms_key import KeyARN, resolve_key_arn
from s3crypt.location import Location
from s3crypt.modes import DSSEKMS, SSEKMS, ClientSide, Mode, reported_mode

from .checks import check_read, check_written

if TYPE_CHECKING:
    from types_boto3_kms.client import KMSClient
    from types_boto3_s3.client import S3Client

    from s3crypt.aws import Clients


# A key id of AWS KMS. It is neither an ARN nor an alias.
_KEY_ID = re.compile(r"mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class KeyARNs:
    """Compares the modes and keys that S3 reports with the demanded modes and keys.

    If a demanded key is given by an id or an alias, a request to KMS resolves it to an ARN.

    Services such as Ceph and MinIO have their own KMS, whose keys AWS KMS does not know. The names
    of such keys are compared as text.

    Args:
        s3: The S3 clients. Their Region is the default for KMS requests.
        kms: The clients that resolve ids and aliases.
    """

    def __init__(self, s3: "Clients[S3Client]", kms: "Clients[KMSClient]") -> None:
        self._s3 = s3
        self._kms = kms
        self._known: dict[tuple[str, str | None], str] = {}

    def check_mode(self, mode: Mode | None, reply: Mapping[str, Any], location: Location) -> None:
        """Refuse an object if S3 does not report this server-side mode and key."""
        if mode is None or isinstance(mode, ClientSide):
            return
        arn = None
        if isinstance(mode, SSEKMS | DSSEKMS) and reported_mode(reply) == mode.name:
            arn = self.of(mode.key, str(reply.get("SSEKMSKeyId")))
        check_read(mode, reply, location, arn=arn)

    def of(self, key: str, like: str) -> str:
        """Return the ARN of a key, given by id, alias or ARN, in the Region of the ARN `like`.

        A key id is resolved too, because a key of another account may have the same id.
        """
        if key == like:
            return like
        if self._is_of_service(key, reported=like):
            return key
        region = self._region(like)
        if self._known.get((key, region)) != like:
            # A match is cached. After a mismatch, KMS is asked again, because the alias may have
            # moved.
            arn = resolve_key_arn(self._kms.get(region), key)
            self._known[key, region] = arn
        return self._known[key, region]

    def _region(self, arn: str) -> str | None:
        """Return the Region in a key's ARN from a reply.

        Return None for the session's own Region.
        """
        if not _is_arn(arn):
            return None
        _, partition, _, region, *_ = arn.split(":")
        # The Region decides the host of KMS requests, and a malicious server must not choose the
        # host. Only known Regions of the session's partition are accepted.
        own = self._s3.get().meta.region_name
        if region == own:
            return region
        is_near = partition == self._kms.partition(own)
        return region if is_near and region in self._kms.regions(partition) else None

    def _is_of_service(self, key: str, *, reported: str | None = None) -> bool:
        """Return whether a key belongs to the KMS of the S3 service itself and not to AWS KMS.

        This is decided by the key that S3 reports, or by the key's name.
        """
        s3 = self._s3.get()
        if is_aws(s3):
            return False
        if reported is not None:
            return not _is_arn(reported)
        if "alias/" in key or KeyARN.parse(key):
            return False
        # A key id may belong to either KMS. AWS KMS does not know the keys of another service.
        return not _KEY_ID.fullmatch(key) or is_aws(self._kms.get(s3.meta.region_name))

    def check_written(self, mode: Mode, reply: Mapping[str, Any], location: Location) -> None:
        """Refuse a reply that does not confirm the encryption, or reports a different key.

        An alias or a key id is compared only if it was resolved before. Writers therefore do not
        need the permission kms:DescribeKey.
        """
        check_written(mode, reply, location)
        if not isinstance(mode, SSEKMS | DSSEKMS):
            return
        key = str(reply.get("SSEKMSKeyId"))
        if (mode.key, self._region(key)) in self._known:
            # If KMS fails now, the object is accepted, because nothing shows that its key is wrong.
            with suppress(KeyUnavailableError):
                self.check_mode(mode, reply, location)

    def with_resolved_aliases(self, mode: SSEKMS | DSSEKMS) -> SSEKMS | DSSEKMS:
        """Return the mode with an ARN in place of a key id or an alias."""
        if ":key/" in mode.key or self._is_of_service(mode.key):
            return mode
        kms = self._kms.get(self._s3.get().meta.region_name)
        return replace(mode, key=resolve_key_arn(kms, mode.key))


def _is_arn(text: str) -> bool:
    """Return whether a key's name in a reply is an ARN. MinIO's names have only three parts."""
    return text.startswith("arn:") and text.count(":") >= 5
