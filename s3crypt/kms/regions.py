# SPDX-License-Identifier: Apache-2.0
"""Multi-Region keys: make and list replicas, and change the primary key.

All keys of a set have the same id and key material. Their policies, grants, aliases, tags and
descriptions are separate, and KMS does not copy them. This module does not know objects or their
Regions.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from s3crypt.errors import ConfigError, KeyUnavailableError
from s3crypt.requests import Attempts, Reply, call

from .description import KeyReader, replica_of
from .service import KMS, SETTLING_SECONDS, patiently

_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")
# KMS needs some seconds to make a replica or to change the primary key. The code waits for up to a
# minute.
_ASYNCHRONOUS_SECONDS = (*SETTLING_SECONDS, *(6.4,) * 8)


@dataclass(frozen=True, slots=True)
class RegionalKey:
    """One key of a multi-Region set.

    Attributes:
        arn: The key's ARN.
        is_primary: Whether it is the primary key.
        state: The key state by KMS's name. None if it could not be read.
        reason: The reason why the state could not be read. Empty if it was read.
    """

    arn: str
    is_primary: bool
    state: str | None
    reason: str = ""

    @property
    def region(self) -> str:
        """The Region of the key."""
        return self.arn.split(":")[3]


class KeyRegions:
    """Makes and lists the replicas of multi-Region keys, and changes the primary key.

    Args:
        kms: Sends the requests.

    Raises from every method:
        KeyUnavailableError: The key does not exist, is no multi-Region key, or KMS refused.
        StorageError: KMS could not be reached.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms
        self._reader = KeyReader(kms)

    def list(self, key: str) -> tuple[RegionalKey, ...]:
        """Return all keys of the set to which a key belongs, the primary key first."""
        metadata = self._multi_region(key)
        regions = metadata["MultiRegionConfiguration"]
        primary = str(regions["PrimaryKey"]["Arn"])
        replicas = sorted(str(each["Arn"]) for each in regions.get("ReplicaKeys") or ())
        return tuple(self._regional(arn, primary, metadata) for arn in (primary, *replicas))

    def replicate(self, key: str, region: str) -> str:
        """Make a replica in another Region, and return its ARN when it can be used.

        If the replica exists, nothing changes. A new replica gets the default key policy.
        """
        metadata = self._multi_region(key)
        primary = replica_of(metadata) or str(metadata["Arn"])
        wanted = _replica_arn(primary, region)
        if wanted == primary:
            raise ConfigError(f"{primary} is the primary key, in {region}.")
        self._wait_for_update(metadata, primary)
        try:
            self._kms.ask("replicate_key", primary, KeyId=primary, ReplicaRegion=region)
        except KeyUnavailableError as error:
            if error.code != "AlreadyExistsException":
                raise
        self._wait(wanted, lambda found: found.get("KeyState") != "Creating", "the replica")
        return wanted

    def set_primary(self, key: str, region: str, *, wait: bool = False) -> str:
        """Make the replica in a Region the primary key, and return its ARN.

        KMS finishes the change in some seconds. Until then both keys have the state `Updating`, and
        can encrypt and decrypt. If the key in that Region is already the primary key, no request to
        change it is sent.

        Args:
            key: Any key of the set.
            region: The Region of the replica.
            wait: Return only after KMS has finished.
        """
        metadata = self._multi_region(key)
        primary = replica_of(metadata) or str(metadata["Arn"])
        wanted = _replica_arn(primary, region)
        if wanted != primary:
            self._check_has_replica(metadata, wanted)
            self._wait_for_update(metadata, primary)
            self._kms.ask(
                "update_primary_region",
                primary,
                look=self._look_for(wanted),
                KeyId=primary,
                PrimaryRegion=region,
            )
        if wait:
            self._wait(wanted, _is_settled_primary, "the change of the primary key")
        return wanted

    def _multi_region(self, key: str) -> Any:
        metadata = self._reader.metadata(key)
        if metadata.get("MultiRegion"):
            return metadata
        raise KeyUnavailableError(
            f"{metadata['Arn']} is not a multi-Region key, and cannot become one.",
            hint="Create a multi-Region key: s3crypt keys create --multi-region",
        )

    def _regional(self, arn: str, primary: str, known: Any) -> RegionalKey:
        if arn == known["Arn"]:
            return RegionalKey(arn, arn == primary, str(known.get("KeyState", "")))
        try:
            state = str(self._reader.metadata(arn).get("KeyState", ""))
        except KeyUnavailableError as error:
            return RegionalKey(arn, arn == primary, None, str(error))
        return RegionalKey(arn, arn == primary, state)

    def _check_has_replica(self, metadata: Any, wanted: str) -> None:
        replicas = metadata["MultiRegionConfiguration"].get("ReplicaKeys") or ()
        if wanted in {str(each["Arn"]) for each in replicas}:
            return
        region = wanted.split(":")[3]
        raise KeyUnavailableError(
            f"{metadata['Arn']} has no replica in {region}; nothing was changed.",
            hint=f"Make a replica first: s3crypt keys replicate {metadata['Arn']} {region}",
        )

    def _look_for(self, wanted: str) -> Callable[[Attempts], Reply | None]:
        def look(attempts: Attempts) -> Reply | None:
            # If the replica is the primary key now, an earlier attempt has changed it, although its
            # reply was lost.
            client, request = self._kms.client(wanted), {"KeyId": wanted}
            found = call(client, "describe_key", request, wanted, within=attempts, is_look=True)
            return found if replica_of(found["KeyMetadata"]) is None else None

        return look

    def _wait_for_update(self, metadata: Any, primary: str) -> None:
        """Wait until KMS has finished an earlier change of the primary key.

        During such a change, KMS refuses replication and another change.
        """
        if metadata.get("KeyState") == "Updating":
            self._wait(primary, _is_settled, "an earlier change of the primary key")

    def _wait(self, arn: str, is_done: Callable[[Any], bool], what: str) -> None:
        for seconds in (*_ASYNCHRONOUS_SECONDS, None):
            if is_done(patiently(lambda: self._reader.metadata(arn))):
                return
            if seconds is not None:
                time.sleep(seconds)
        raise KeyUnavailableError(
            f"{arn}: KMS has not yet finished {what}.",
            hint=f"Check the key in a minute: s3crypt keys show {arn}",
        )


def _replica_arn(arn: str, region: str) -> str:
    """Return the ARN of the key with the same id in another Region."""
    if not _REGION.fullmatch(region):
        raise ConfigError(
            f"{region!r} is not the name of a Region.", hint="Name a Region such as eu-west-1."
        )
    parts = arn.split(":")
    return ":".join((*parts[:3], region, *parts[4:]))


def _is_settled(metadata: Any) -> bool:
    return bool(metadata.get("KeyState") != "Updating")


def _is_settled_primary(metadata: Any) -> bool:
    return _is_settled(metadata) and replica_of(metadata) is None
