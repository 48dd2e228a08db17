# SPDX-License-Identifier: Apache-2.0
"""The one face of the package: every verb on a KMS key.

A method documents what it guarantees; the modules of the package do it.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from s3crypt.aws import Clients
from s3crypt.errors import KeyUnavailableError

from .clearance import Clearance
from .creation import KeyCreator, creation
from .description import Key, KeyReader, Rotation, replica_of
from .listing import KeyLister, KeySummary
from .naming import AliasChange, KeyNaming
from .rotating import KeyRotator
from .service import KMS, SETTLING_SECONDS, patiently
from .states import KeyStates

if TYPE_CHECKING:
    import boto3
    from types_boto3_kms.client import KMSClient


class KeyManager:
    """Create, inspect, name, rotate, disable and delete KMS keys.

    A key is named by its id, its ARN, `alias/NAME` or an alias's ARN; a request about an ARN is
    sent to the ARN's Region. A method that changes a key returns the key as it is afterwards.

    Args:
        session: The boto3 session that makes the KMS clients; by default the default session.
        client: A KMS client to use instead of making one.
        allow_plain_http: Let requests go to other machines over plain HTTP.

    Raises from every method:
        ConfigError: An argument is wrong; nothing was changed.
        KeyUnavailableError: The key does not exist, or KMS refused.
        StorageError: KMS could not be reached.
    """

    def __init__(
        self,
        *,
        session: "boto3.Session | None" = None,
        client: "KMSClient | None" = None,
        allow_plain_http: bool = False,
    ) -> None:
        clients = Clients("kms", session=session, client=client, allow_plain_http=allow_plain_http)
        self._kms = KMS(clients)
        self._reader = KeyReader(self._kms)
        self._lister = KeyLister(self._kms)
        self._creator = KeyCreator(self._kms)
        self._naming = KeyNaming(self._kms)
        self._states = KeyStates(self._kms)
        self._rotator = KeyRotator(self._kms)

    def create(
        self,
        *,
        alias: str | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        policy: str | Mapping[str, Any] | None = None,
        multi_region: bool = False,
        rotation_period_days: int | None = 365,
    ) -> Key:
        """Create a symmetric key that rotates itself every `rotation_period_days` (None: never).

        An alias in use is detected before the key is created. If a later step fails, the key
        exists; the error names it, and its hint says how to finish.
        """
        request = creation(description, tags, policy, multi_region=multi_region)
        return self._creator.create(request, alias=alias, rotation_period_days=rotation_period_days)

    def list(
        self,
        *,
        shared: bool = False,
        states: Collection[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[KeySummary]:
        """Yield the account's own keys in the session's Region, without keys that AWS manages.

        Two requests per key, eight in parallel; keys that the caller may list but not describe have
        no state.

        Args:
            shared: Yield the keys that other accounts share through AWS RAM instead. KMS describes
                such a key, and may refuse everything else about it.
            states: Only keys in one of these states, by KMS's names.
            tags: Only keys with all of these tags, which takes one more request per key.

        A key whose state or tags KMS refuses to show is yielded too, with None for them: it may be
        one of the wanted keys.
        """
        return self._lister.list(shared=shared, states=states, tags=tags)

    def unnamed(self, description: str) -> Iterator[Key]:
        """Yield the enabled keys with this description and without an alias.

        `create` makes the alias last, so an interrupted `create` leaves such a key.
        """
        return self._lister.unnamed(description)

    def show(self, key: str) -> Key:
        """Return a key in full; actions that KMS refuses are in `not_permitted`."""
        return self._reader.show(key)

    # --- names

    def describe_as(self, key: str, text: str) -> Key:
        """Replace the description of `key`; an empty text removes it."""
        return self._naming.describe_as(key, text)

    def tag(self, key: str, tags: Mapping[str, str]) -> Key:
        """Add tags to `key`, or replace their values; its other tags stay."""
        return self._naming.tag(key, tags)

    def untag(self, key: str, names: Collection[str]) -> Key:
        """Remove the tags with these names from `key`; a missing tag is no error."""
        return self._naming.untag(key, names)

    def add_alias(self, key: str, alias: str) -> Key:
        """Give `key` another alias, which no other key has, and return the key."""
        return self.show(self._naming.add_alias(key, alias))

    def move_alias(self, alias: str, to: str, *, dry_run: bool = False) -> AliasChange:
        """Let `alias` name the key `to`, and return the keys that it named and names.

        S3 objects name the ARN of their key and stay readable. A keyring or mode that names its key
        by the alias uses only the alias's present key, and then refuses what was written under the
        key before. KMS takes up to some minutes until every request finds the new key.

        Args:
            alias: An existing alias, or its ARN.
            to: A key of the same account, Region, type and usage.
            dry_run: Check everything, and change nothing.
        """
        change = self._naming.planned_move(alias, to)
        if not dry_run:
            self._naming.make(change)
        return change

    def delete_alias(self, alias: str, *, dry_run: bool = False) -> AliasChange:
        """Delete `alias`, and return the key that it named; the key itself stays as it is.

        Args:
            alias: An existing alias, or its ARN.
            dry_run: Check everything, and change nothing.
        """
        change = self._naming.planned_deletion(alias)
        if not dry_run:
            self._naming.make(change)
        return change

    # --- state

    def enable(self, key: str) -> Key:
        """Let a disabled `key` be used again; an enabled key stays as it is."""
        return self._states.enable(key)

    def disable(self, key: str) -> Key:
        """Let no request use `key` until it is enabled; a disabled key stays as it is.

        Until then, no object whose data key only `key` unwraps can be read or written.
        """
        return self._states.disable(key)

    def schedule_deletion(
        self,
        key: str,
        *,
        days: int = 30,
        clearance: Clearance | None = None,
        confirmed_name: str | None = None,
    ) -> Key:
        """Schedule the deletion of `key`, which no request can use from now on.

        After the deletion, nothing under the key can be read again. A primary key with replicas
        waits for the deletion of its last replica (`PendingReplicaDeletion`), and has no date until
        then. A deletion that is scheduled already stays as it is, with its own date.

        Args:
            key: The key.
            days: The waiting period, 7 to 30 days, in which the deletion can be cancelled.
            clearance: The evidence that nothing depends on the key, from `s3crypt.impact`.
            confirmed_name: One of the names in `Key.names`, which takes the place of evidence.
        """
        return self._states.schedule_deletion(
            key, days=days, clearance=clearance, confirmed_name=confirmed_name
        )

    def cancel_deletion(self, key: str) -> Key:
        """Cancel the scheduled deletion of `key`, which is `Disabled` afterwards: `enable` it.

        A key whose deletion is not scheduled stays as it is.
        """
        return self._states.cancel_deletion(key)

    # --- rotation

    def rotate(self, key: str, *, wait: bool = False) -> Key:
        """Give `key` new key material now; KMS finishes in the background (`rotating_since`).

        A key can be rotated on demand 25 times in its life. The schedule of automatic rotation is
        unchanged. Objects already in S3 keep their data keys, and stay readable.

        Args:
            key: The key.
            wait: Return once KMS has finished, within ten minutes.
        """
        return self._rotator.rotate(key, wait=wait)

    def enable_rotation(self, key: str, *, period_days: int = 365) -> Key:
        """Rotate `key` every `period_days` days (90 to 2560) from now on."""
        return self._rotator.enable_schedule(key, period_days=period_days)

    def disable_rotation(self, key: str) -> Key:
        """Stop the automatic rotation of `key`; `rotate` still works."""
        return self._rotator.disable_schedule(key)

    def rotations(self, key: str) -> tuple[Rotation, ...]:
        """Return the completed rotations of `key`, oldest first."""
        return self._reader.rotations(key)

    # --- grants, policies, material, Regions

    def replicate(self, key: str, region: str) -> Key:
        """Make a replica of a multi-Region key in another Region, and return it once it is usable.

        An existing replica is returned unchanged.
        """
        metadata = self._reader.metadata(key)
        arn = metadata["Arn"]
        if not metadata.get("MultiRegion"):
            raise KeyUnavailableError(
                f"{arn}: it is not a multi-Region key, and no key becomes one.",
                hint="Create a multi-Region key.",
            )
        primary = replica_of(metadata) or arn
        wanted = _in_region(primary, region)
        try:
            self._kms.ask("replicate_key", primary, KeyId=primary, ReplicaRegion=region)
        except KeyUnavailableError as error:
            if error.code != "AlreadyExistsException":
                raise
        return self._usable(wanted)

    def _usable(self, arn: str) -> Key:
        """Return a key once KMS has made it: a replica takes some seconds.

        Raises:
            KeyUnavailableError: KMS has not finished after a minute.
        """
        for seconds in (*SETTLING_SECONDS, *(6.4,) * 8, None):
            shown = patiently(lambda: self.show(arn))
            if shown.state != "Creating":
                return shown
            if seconds is not None:
                time.sleep(seconds)
        raise KeyUnavailableError(
            f"{arn}: KMS has not finished the replica yet.", hint="Run it again in a minute."
        )


def _in_region(arn: str, region: str) -> str:
    parts = arn.split(":")
    return ":".join((*parts[:3], region, *parts[4:]))
