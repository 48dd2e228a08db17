# SPDX-License-Identifier: Apache-2.0
"""KMS keys by their ARNs: resolves the id or alias in a mode and compares it with S3's report."""

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


# A key id of AWS KMS, as opposed to an ARN or an alias.
_KEY_ID = re.compile(r"mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class KeyARNs:
    """Compares the modes and keys that S3 reports with the demanded ones, with KMS if necessary.

    Services such as Ceph and MinIO have a KMS of their own, whose keys no other KMS knows. The
    names of such keys are compared as text.

    Args:
        s3: The S3 clients; their own Region is the default for KMS requests.
        kms: The clients that resolve ids and aliases.
    """

    def __init__(self, s3: "Clients[S3Client]", kms: "Clients[KMSClient]") -> None:
        self._s3 = s3
        self._kms = kms
        self._known: dict[tuple[str, str | None], str] = {}

    def check_mode(self, mode: Mode | None, reply: Mapping[str, Any], location: Location) -> None:
        """Refuse an object unless S3 reports this server-side mode and key."""
        if mode is None or isinstance(mode, ClientSide):
            return
        arn = None
        if isinstance(mode, SSEKMS | DSSEKMS) and reported_mode(reply) == mode.name:
            arn = self.of(mode.key, str(reply.get("SSEKMSKeyId")))
        check_read(mode, reply, location, arn=arn)

    def of(self, key: str, like: str) -> str:
        """Return the ARN of a key named by id, alias or ARN, in the Region of the ARN `like`.

        An id is resolved like an alias, because another account's key may have the same id.
        """
        if key == like:
            return like
        if self._is_of_service(key, reported=like):
            return key
        region = self._region(like)
        if self._known.get((key, region)) != like:
            # A match is cached. After a mismatch, KMS is asked again, as the alias may have moved.
            arn = resolve_key_arn(self._kms.get(region), key)
            self._known[key, region] = arn
        return self._known[key, region]

    def _region(self, arn: str) -> str | None:
        """Return the Region of a key's ARN in a reply, or None for the session's own Region."""
        if not _is_arn(arn):
            return None
        _, partition, _, region, *_ = arn.split(":")
        # A malicious server must not choose the host that KMS requests are sent to.
        own = self._s3.get().meta.region_name
        if region == own:
            return region
        is_near = partition == self._kms.partition(own)
        return region if is_near and region in self._kms.regions(partition) else None

    def _is_of_service(self, key: str, *, reported: str | None = None) -> bool:
        """Return whether a key is in the service's own KMS, by the reported key or by its name."""
        s3 = self._s3.get()
        if is_aws(s3):
            return False
        if reported is not None:
            return not _is_arn(reported)
        if "alias/" in key or KeyARN.parse(key):
            return False
        # An id may belong to either KMS. AWS KMS knows no key of another service.
        return not _KEY_ID.fullmatch(key) or is_aws(self._kms.get(s3.meta.region_name))

    def check_written(self, mode: Mode, reply: Mapping[str, Any], location: Location) -> None:
        """Refuse a reply that does not confirm the encryption, or names a key known to differ.

        An alias or id is compared only if it was resolved before, so writers do not need the
        permission kms:DescribeKey.
        """
        check_written(mode, reply, location)
        if not isinstance(mode, SSEKMS | DSSEKMS):
            return
        key = str(reply.get("SSEKMSKeyId"))
        if (mode.key, self._region(key)) in self._known:
            # If KMS does not answer now, the object is kept: no reply shows that its key is wrong.
            with suppress(KeyUnavailableError):
                self.check_mode(mode, reply, location)

    def pinned(self, mode: SSEKMS | DSSEKMS) -> SSEKMS | DSSEKMS:
        """Return the mode with its key's ARN in place of an id or alias."""
        if ":key/" in mode.key or self._is_of_service(mode.key):
            return mode
        kms = self._kms.get(self._s3.get().meta.region_name)
        return replace(mode, key=resolve_key_arn(kms, mode.key))


def _is_arn(text: str) -> bool:
    """Return whether a key's name in a reply has the parts of an ARN; MinIO's names have three."""
    return text.startswith("arn:") and text.count(":") >= 5
