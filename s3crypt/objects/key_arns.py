# SPDX-License-Identifier: Apache-2.0
"""KMS keys by their ARNs: what the id or alias in a mode names now, and what S3 reports."""

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


# What AWS KMS calls a key beside its ARNs and aliases.
_KEY_ID = re.compile(r"mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class KeyARNs:
    """Compares the modes and keys that S3 reports with those demanded, asking KMS where it must.

    Ceph, MinIO and others have a KMS of their own, whose keys no other KMS knows. Their names are
    compared as they are.

    Args:
        s3: The clients whose own Region counts.
        kms: The clients that resolve ids and aliases.
    """

    def __init__(self, s3: "Clients[S3Client]", kms: "Clients[KMSClient]") -> None:
        self._s3 = s3
        self._kms = kms
        self._known: dict[tuple[str, str | None], str] = {}

    def check_mode(self, mode: Mode | None, reply: Mapping[str, Any], location: Location) -> None:
        """Refuse an object that S3 does not report to be in this server-side mode and key."""
        if mode is None or isinstance(mode, ClientSide):
            return
        arn = None
        if isinstance(mode, SSEKMS | DSSEKMS) and reported_mode(reply) == mode.name:
            arn = self.of(mode.key, str(reply.get("SSEKMSKeyId")))
        check_read(mode, reply, location, arn=arn)

    def of(self, key: str, like: str) -> str:
        """Return the ARN of a key named by id, alias or ARN, in the Region of the ARN `like`.

        An id is resolved like an alias: another account's key may have an equal one.
        """
        if key == like:
            return like
        if self._is_of_service(key, reported=like):
            return key
        region = self._region(like)
        if self._known.get((key, region)) != like:
            # Asked once where it holds, and again where it does not: the alias may have moved.
            arn = resolve_key_arn(self._kms.get(region), key)
            self._known[key, region] = arn
        return self._known[key, region]

    def _region(self, arn: str) -> str | None:
        """Return the Region of a key's ARN in a reply, or None to ask in the session's own."""
        if not _is_arn(arn):
            return None
        _, partition, _, region, *_ = arn.split(":")
        # A server that lies must not choose the host that is asked.
        own = self._s3.get().meta.region_name
        if region == own:
            return region
        is_near = partition == self._kms.partition(own)
        return region if is_near and region in self._kms.regions(partition) else None

    def _is_of_service(self, key: str, *, reported: str | None = None) -> bool:
        """Return whether a key is of the service's own KMS, by the key reported or by its name."""
        s3 = self._s3.get()
        if is_aws(s3):
            return False
        if reported is not None:
            return not _is_arn(reported)
        if "alias/" in key or KeyARN.parse(key):
            return False
        # An id may be of either KMS. AWS's knows no key of another service.
        return not _KEY_ID.fullmatch(key) or is_aws(self._kms.get(s3.meta.region_name))

    def check_written(self, mode: Mode, reply: Mapping[str, Any], location: Location) -> None:
        """Refuse a reply that does not confirm the encryption, nor the key that is known of it.

        What an alias or an id names is compared where it was resolved before: writers need no
        kms:DescribeKey.
        """
        check_written(mode, reply, location)
        if not isinstance(mode, SSEKMS | DSSEKMS):
            return
        key = str(reply.get("SSEKMSKeyId"))
        if (mode.key, self._region(key)) in self._known:
            # Where KMS does not answer now, the object stays: no reply says that it is wrong.
            with suppress(KeyUnavailableError):
                self.check_mode(mode, reply, location)

    def pinned(self, mode: SSEKMS | DSSEKMS) -> SSEKMS | DSSEKMS:
        """Return the mode with its key's ARN in place of an id or alias."""
        if ":key/" in mode.key or self._is_of_service(mode.key):
            return mode
        kms = self._kms.get(self._s3.get().meta.region_name)
        return replace(mode, key=resolve_key_arn(kms, mode.key))


def _is_arn(text: str) -> bool:
    """Return whether a key's name in a reply has the parts of an ARN; MinIO's have three."""
    return text.startswith("arn:") and text.count(":") >= 5
