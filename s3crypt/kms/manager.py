# SPDX-License-Identifier: Apache-2.0
"""The one face of the package: every verb on a KMS key.

A method documents what it guarantees; the modules of the package do it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3crypt.aws import Clients
from s3crypt.policy import Document, KeyPolicyCheck, check_key_policy

from .clearance import Clearance
from .creation import KeyCreator, creation
from .description import Key, KeyReader, Material, Rotation
from .examination import KeyExaminer
from .grants import CreatedGrant, Grant, GrantRequest, KeyGrants
from .lifecycle import KeyLifecycle
from .listing import KeyLister, KeySummary
from .material import Imported, Importing, ImportParameters, KeyMaterials
from .naming import AliasChange, KeyNaming, check_unmoved
from .policies import KeyPolicies
from .regions import KeyRegions, RegionalKey
from .rotating import KeyRotator
from .service import KMS

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
        self._examiner = KeyExaminer(self._kms)
        self._lister = KeyLister(self._kms)
        self._creator = KeyCreator(self._kms)
        self._naming = KeyNaming(self._kms)
        self._lifecycle = KeyLifecycle(self._kms)
        self._rotator = KeyRotator(self._kms)
        self._grants = KeyGrants(self._kms)
        self._policies = KeyPolicies(self._kms)
        self._materials = KeyMaterials(self._kms)
        self._regions = KeyRegions(self._kms)

    def create(  # noqa: PLR0913 - by name
        self,
        *,
        alias: str | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        policy: str | Mapping[str, Any] | None = None,
        multi_region: bool = False,
        rotation_period_days: int | None = 365,
        imported_material: bool = False,
    ) -> Key:
        """Create a symmetric key that rotates itself every `rotation_period_days` (None: never).

        An alias in use is detected before the key is created. If a later step fails, the key
        exists; the error names it, and its hint says how to finish.

        A key with `imported_material` is `PendingImport` until `import_material`, and never rotates
        itself.
        """
        request = creation(description, tags, policy, multi_region=multi_region)
        if imported_material:
            request["Origin"], rotation_period_days = "EXTERNAL", None
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
        """Return a key in full; actions that KMS refuses are in `not_permitted`.

        The other methods return a key without its policy, grants and last use.
        """
        return self._examiner.show(key)

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
        return self._reader.show(self._naming.add_alias(key, alias))

    def move_alias(
        self, alias: str, to: str, *, was: str | None = None, dry_run: bool = False
    ) -> AliasChange:
        """Let `alias` name the key `to`, and return the keys that it named and names.

        S3 objects name the ARN of their key and stay readable. A keyring or mode that names its key
        by the alias uses only the alias's present key, and then refuses what was written under the
        key before. KMS takes up to some minutes until every request finds the new key.

        Args:
            alias: An existing alias, or its ARN.
            to: A key of the same account, Region, type and usage.
            was: The ARN of the key that the alias must still name: a ConflictError otherwise.
            dry_run: Check everything, and change nothing.
        """
        change = self._naming.planned_move(alias, to)
        check_unmoved(change, was)
        if not dry_run:
            self._naming.make(change)
        return change

    def delete_alias(
        self, alias: str, *, was: str | None = None, dry_run: bool = False
    ) -> AliasChange:
        """Delete `alias`, and return the key that it named; the key itself stays as it is.

        Args:
            alias: An existing alias, or its ARN.
            was: The ARN of the key that the alias must still name: a ConflictError otherwise.
            dry_run: Check everything, and change nothing.
        """
        change = self._naming.planned_deletion(alias)
        check_unmoved(change, was)
        if not dry_run:
            self._naming.make(change)
        return change

    # --- state

    def enable(self, key: str) -> Key:
        """Let a disabled `key` be used again; an enabled key stays as it is."""
        return self._lifecycle.enable(key)

    def disable(self, key: str) -> Key:
        """Let no request use `key` until it is enabled; a disabled key stays as it is.

        Until then, no object whose data key only `key` unwraps can be read or written.
        """
        return self._lifecycle.disable(key)

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
        return self._lifecycle.schedule_deletion(
            key, days=days, clearance=clearance, confirmed_name=confirmed_name
        )

    def cancel_deletion(self, key: str) -> Key:
        """Cancel the scheduled deletion of `key`, which is `Disabled` afterwards: `enable` it.

        A key whose deletion is not scheduled stays as it is.
        """
        return self._lifecycle.cancel_deletion(key)

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

    def create_grant(
        self,
        key: str,
        grantee: str,
        operations: Sequence[str],
        *,
        constraints: Mapping[str, Any] | None = None,
        retiring: str | None = None,
        name: str | None = None,
    ) -> CreatedGrant:
        """Let a principal or a service use `key`; return the new grant, or the same existing one.

        Args:
            key: The key.
            grantee: The ARN of a role, user or account, or a service such as `logs.amazonaws.com`.
            operations: The operations by KMS's names, such as `Decrypt`.
            constraints: `EncryptionContextEquals` or `EncryptionContextSubset` (a mapping), and
                `SourceArn`, which a grant to a service needs.
            retiring: The ARN or service that may retire the grant; a grant to a service needs one.
            name: The grant's name. A grant of that name with other rights is an error. By default
                the name follows from the rights, so a repetition makes no second grant.
        """
        wanted = GrantRequest(grantee, tuple(operations), dict(constraints or {}), retiring, name)
        return self._grants.create(self._reader.metadata(key)["Arn"], wanted)

    def grants(self, key: str) -> tuple[Grant, ...]:
        """Return the grants of `key`."""
        return self._grants.list(self._reader.metadata(key)["Arn"])

    def find_grant(self, key: str, reference: str) -> Grant:
        """Return the grant of `key` with an id, or the only one with a name."""
        return self._grants.find(self._reader.metadata(key)["Arn"], reference)

    def revoke_grant(self, key: str, grant_id: str) -> None:
        """End a grant of `key`, as its administrator; KMS may honour it for some minutes."""
        self._grants.revoke(self._reader.metadata(key)["Arn"], grant_id)

    def retire_grant(self, key_arn: str, grant_id: str) -> None:
        """End a grant by its own right: as its retiring principal, grantee or account.

        The key is named by its ARN, since such a caller may not be allowed to describe it.
        """
        self._grants.retire(key_arn, grant_id)

    def retire_grant_of(self, token: str) -> None:
        """End the grant that has a grant token, in the session's Region."""
        self._grants.retire_by_token(token)

    def policy(self, key: str) -> Document:
        """Return the policy of `key`. `s3crypt.policy_changes.PolicyWriter` replaces it."""
        return self._policies.read(self._policies.resolve(key))

    def check_policy(self, key: str) -> KeyPolicyCheck:
        """Return who may administer, use and grant `key` by its policy, and what is wrong there."""
        arn = self._policies.resolve(key)
        return check_key_policy(self._policies.read(arn), arn)

    def materials(self, key: str) -> tuple[Material, ...]:
        """Return the key materials of `key`, newest first; empty for a key that cannot rotate."""
        return self._materials.list(key)

    def import_parameters(self, key: str) -> ImportParameters:
        """Return a public key and a token to wrap material elsewhere, valid for 24 hours."""
        return self._materials.parameters(key)

    def import_material(
        self,
        key: str,
        file: str | Path,
        *,
        expires: datetime | None = None,
        is_new: bool = False,
        description: str | None = None,
    ) -> Imported:
        """Import the 32 bytes in a file as the material of `key`, wrapped on this machine.

        Args:
            key: A key of the origin EXTERNAL: `create(imported_material=True)`.
            file: The file, which should be readable by its owner alone.
            expires: The time at which KMS deletes the material; None for never.
            is_new: Whether the material is new to a key that has some. `rotate` makes it current.
            description: A description of the material.
        """
        how = Importing(expires=expires, is_new=is_new, description=description)
        return self._materials.import_file(key, file, how)

    def import_wrapped_material(
        self, key: str, wrapped: bytes, token: bytes, how: Importing | None = None
    ) -> Imported:
        """Import material that was wrapped elsewhere, with the token of `import_parameters`."""
        return self._materials.import_wrapped(key, wrapped, token, how or Importing())

    def delete_material(
        self, key: str, material_id: str | None = None, *, dry_run: bool = False
    ) -> str:
        """Delete imported material of `key` at once, by default the current; return the ARN.

        Nothing that needs the material can be opened until the same bytes are imported again.

        Args:
            key: A key with imported material.
            material_id: The id of another material than the current one.
            dry_run: Check that the key has such material, and change nothing.
        """
        if dry_run:
            return self._materials.check_deletable(key, material_id)
        return self._materials.delete(key, material_id)

    def replicas(self, key: str) -> tuple[RegionalKey, ...]:
        """Return the keys of a multi-Region key's set, the primary key first."""
        return self._regions.list(key)

    def replicate(self, key: str, region: str) -> Key:
        """Make a replica of a multi-Region key in another Region, and return it once it is usable.

        An existing replica is returned unchanged. A new one has the default key policy, and neither
        aliases, grants nor tags: KMS synchronises none of these.
        """
        return self._reader.show(self._regions.replicate(key, region))

    def set_primary(self, key: str, region: str, *, wait: bool = False) -> Key:
        """Make the replica in a Region the primary key of its set, and return it.

        KMS finishes in some seconds. Until then, both keys are `Updating`, and can be used.
        """
        return self._reader.show(self._regions.set_primary(key, region, wait=wait))
