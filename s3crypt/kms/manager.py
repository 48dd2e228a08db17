# SPDX-License-Identifier: Apache-2.0
"""The public class of the package: one method per operation on KMS keys.

The methods document their guarantees. The other modules of the package implement them.
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

    A key is named by its id, its ARN, `alias/NAME` or an alias's ARN. For an ARN, the request is
    sent to the Region in the ARN, otherwise to the session's Region. A method that changes a key
    returns the key as it is after the change.

    Args:
        session: The boto3 session that creates the KMS clients. None for boto3's default session.
        client: A KMS client to use instead of creating one.
        allow_plain_http: Allow requests to other machines over plain HTTP.

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

    def create(  # noqa: PLR0913 - keyword arguments
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
        """Create a symmetric key. KMS rotates it every `rotation_period_days` (None for never).

        If the alias is in use, no key is created. If a later step fails, the key exists. The error
        then contains its ARN, and the hint says how to complete it.

        Args:
            alias: The alias of the key, with or without `alias/`. None for a key without an alias.
            description: The description of the key.
            tags: The tags of the key.
            policy: The key policy as JSON text or as a mapping. KMS's default policy lets IAM
                policies of the account decide.
            multi_region: Whether to create a primary key that `replicate` can copy to other
                Regions.
            rotation_period_days: The period of the automatic rotation, 90 to 2560 days, or None.
            imported_material: Whether to create a key without material. It has the state
                `PendingImport` until `import_material` is called. KMS never rotates it
                automatically.
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

        The method makes two requests per key, eight of them in parallel. A key that the caller may
        list but not describe has the state None.

        Args:
            shared: Yield the keys that other accounts share through AWS RAM instead. KMS describes
                these keys, and may refuse all other requests about them.
            states: Yield only keys in one of these states, by KMS's names. Empty for all states.
            tags: Yield only keys with all of these tags. This takes one more request per key.

        If KMS refuses to show the state or the tags of a key, the key is yielded with None for
        them, because it may be one of the wanted keys.
        """
        return self._lister.list(shared=shared, states=states, tags=tags)

    def unnamed(self, description: str) -> Iterator[Key]:
        """Yield the enabled keys with this description and without an alias.

        `create` makes the alias last, so an interrupted `create` leaves a key without an alias.
        """
        return self._lister.unnamed(description)

    def show(self, key: str) -> Key:
        """Return a key with all attributes. IAM actions that KMS refused are in `not_permitted`.

        The other methods return a key without its policy, grants and last use.
        """
        return self._examiner.show(key)

    # --- names

    def describe_as(self, key: str, text: str) -> Key:
        """Replace the description of `key`. An empty text removes the description."""
        return self._naming.describe_as(key, text)

    def tag(self, key: str, tags: Mapping[str, str]) -> Key:
        """Add tags to `key`, or replace their values. Other tags of the key do not change."""
        return self._naming.tag(key, tags)

    def untag(self, key: str, names: Collection[str]) -> Key:
        """Remove the tags with these names from `key`.

        A tag that the key does not have is ignored.
        """
        return self._naming.untag(key, names)

    def add_alias(self, key: str, alias: str) -> Key:
        """Give `key` another alias, and return the key. No other key may have the alias."""
        return self._reader.show(self._naming.add_alias(key, alias))

    def move_alias(
        self, alias: str, to: str, *, was: str | None = None, dry_run: bool = False
    ) -> AliasChange:
        """Move `alias` to the key `to`.

        Return the ARN of the key that the alias named before, and of the new key.

        Objects in S3 name the ARN of their key, so they stay readable. A keyring or mode that names
        its key by the alias uses only the new key from now on, and refuses objects that were
        written under the old key. It may take some minutes until every request finds the new key.

        Args:
            alias: An existing alias, or its ARN.
            to: A key of the same account, Region, type and usage.
            was: The ARN of the key that the caller expects the alias to name now. If the alias
                names another key, a ConflictError is raised. None for no check.
            dry_run: Make all checks, and change nothing.
        """
        change = self._naming.planned_move(alias, to)
        check_unmoved(change, was)
        if not dry_run:
            self._naming.make(change)
        return change

    def delete_alias(
        self, alias: str, *, was: str | None = None, dry_run: bool = False
    ) -> AliasChange:
        """Delete `alias`, and return the ARN of the key that it named.

        The key itself does not change.

        Args:
            alias: An existing alias, or its ARN.
            was: The ARN of the key that the caller expects the alias to name now. If the alias
                names another key, a ConflictError is raised. None for no check.
            dry_run: Make all checks, and change nothing.
        """
        change = self._naming.planned_deletion(alias)
        check_unmoved(change, was)
        if not dry_run:
            self._naming.make(change)
        return change

    # --- state

    def enable(self, key: str) -> Key:
        """Enable `key`, so requests can use it again. An enabled key does not change."""
        return self._lifecycle.enable(key)

    def disable(self, key: str) -> Key:
        """Disable `key`: no request can use it until it is enabled. A disabled key does not change.

        While the key is disabled, an object whose data key can be unwrapped only with `key` cannot
        be read, and no new object can be encrypted under `key`.
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
        """Schedule the deletion of `key`. No request can use the key from now on.

        After the deletion, data that is encrypted under the key cannot be read again. A primary key
        with replicas has the state `PendingReplicaDeletion` and no deletion date until its last
        replica is deleted. If a deletion is already scheduled, nothing changes, and the earlier
        date remains.

        Args:
            key: The key.
            days: The waiting period, 7 to 30 days, in which the deletion can be cancelled.
            clearance: The evidence that nothing depends on the key, from `s3crypt.impact`.
            confirmed_name: One of the names in `Key.names`. It replaces the evidence.
        """
        return self._lifecycle.schedule_deletion(
            key, days=days, clearance=clearance, confirmed_name=confirmed_name
        )

    def cancel_deletion(self, key: str) -> Key:
        """Cancel the scheduled deletion of `key`. The key is `Disabled` afterwards: use `enable`.

        If no deletion is scheduled, nothing changes.
        """
        return self._lifecycle.cancel_deletion(key)

    # --- rotation

    def rotate(self, key: str, *, wait: bool = False) -> Key:
        """Give `key` new key material now.

        KMS finishes in the background; until then `rotating_since` is set.

        A key can be rotated on demand 25 times in its life. The schedule of automatic rotation is
        unchanged. Objects already in S3 keep their data keys, and stay readable.

        Args:
            key: The key.
            wait: Return only after KMS has finished. KeyUnavailableError after ten minutes.
        """
        return self._rotator.rotate(key, wait=wait)

    def enable_rotation(self, key: str, *, period_days: int = 365) -> Key:
        """Rotate `key` every `period_days` days (90 to 2560) from now on."""
        return self._rotator.enable_schedule(key, period_days=period_days)

    def disable_rotation(self, key: str) -> Key:
        """Stop the automatic rotation of `key`. `rotate` can still be called."""
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
        """Permit a principal or a service to use `key`.

        Return the new grant, or the existing grant with the same name and rights.

        Args:
            key: The key.
            grantee: The ARN of a role, user or account, or a service such as `logs.amazonaws.com`.
            operations: The operations by KMS's names, such as `Decrypt`.
            constraints: `EncryptionContextEquals` or `EncryptionContextSubset` (a mapping), and
                `SourceArn`, which a grant to a service needs.
            retiring: The ARN or service that may retire the grant. A grant to a service needs this.
            name: The grant's name. If a grant of that name has other rights, KeyUnavailableError is
                raised. By default the name is computed from the rights, so a repeated call makes no
                second grant.
        """
        wanted = GrantRequest(grantee, tuple(operations), dict(constraints or {}), retiring, name)
        return self._grants.create(self._reader.metadata(key)["Arn"], wanted)

    def grants(self, key: str) -> tuple[Grant, ...]:
        """Return the grants of `key`."""
        return self._grants.list(self._reader.metadata(key)["Arn"])

    def find_grant(self, key: str, reference: str) -> Grant:
        """Return the grant of `key` with this id, or the only grant with this name."""
        return self._grants.find(self._reader.metadata(key)["Arn"], reference)

    def revoke_grant(self, key: str, grant_id: str) -> None:
        """Revoke a grant of `key`. The caller administers the key.

        KMS may accept the grant for some more minutes.
        """
        self._grants.revoke(self._reader.metadata(key)["Arn"], grant_id)

    def retire_grant(self, key_arn: str, grant_id: str) -> None:
        """Retire a grant. The caller is its retiring principal, its grantee, or the account.

        The key is named by its ARN, because such a caller may lack the permission to describe the
        key.
        """
        self._grants.retire(key_arn, grant_id)

    def retire_grant_of(self, token: str) -> None:
        """Retire the grant that has this grant token, in the session's Region."""
        self._grants.retire_by_token(token)

    def policy(self, key: str) -> Document:
        """Return the policy of `key`. `s3crypt.policy_changes.PolicyWriter` replaces it."""
        return self._policies.read(self._policies.resolve(key))

    def check_policy(self, key: str) -> KeyPolicyCheck:
        """Return the rights that the policy of `key` gives, and the flaws of the policy."""
        arn = self._policies.resolve(key)
        return check_key_policy(self._policies.read(arn), arn)

    def materials(self, key: str) -> tuple[Material, ...]:
        """Return the key materials of `key`, newest first.

        The result is empty if the key cannot rotate.
        """
        return self._materials.list(key)

    def import_parameters(self, key: str) -> ImportParameters:
        """Return a public key and a token for wrapping material elsewhere.

        KMS accepts both for 24 hours.
        """
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
        """Import the 32 bytes in a file as the material of `key`.

        The material is wrapped on this machine.

        Args:
            key: A key of the origin EXTERNAL: `create(imported_material=True)`.
            file: The file, which should be readable by its owner alone.
            expires: The time at which KMS deletes the material. None for never.
            is_new: Whether this is new material for a key that already has material. `rotate` makes
                it the current material.
            description: A description of the material. If None, the earlier description is kept.
        """
        how = Importing(expires=expires, is_new=is_new, description=description)
        return self._materials.import_file(key, file, how)

    def import_wrapped_material(
        self, key: str, wrapped: bytes, token: bytes, how: Importing | None = None
    ) -> Imported:
        """Import material that was wrapped elsewhere. `token` comes from `import_parameters`."""
        return self._materials.import_wrapped(key, wrapped, token, how or Importing())

    def delete_material(
        self, key: str, material_id: str | None = None, *, dry_run: bool = False
    ) -> str:
        """Delete imported material of `key` at once, and return the ARN of the key.

        Data that needs the material cannot be decrypted until the same bytes are imported again.

        Args:
            key: A key with imported material.
            material_id: The id of the material to delete. None for the current material.
            dry_run: Check that the key has such material, and change nothing.
        """
        if dry_run:
            return self._materials.check_deletable(key, material_id)
        return self._materials.delete(key, material_id)

    def replicas(self, key: str) -> tuple[RegionalKey, ...]:
        """Return all keys of the set of a multi-Region key, the primary key first."""
        return self._regions.list(key)

    def replicate(self, key: str, region: str) -> Key:
        """Make a replica of a multi-Region key in another Region. Return it when it can be used.

        If the replica exists, it is returned unchanged. A new replica has the default key policy
        and no aliases, grants or tags, because KMS does not copy these.
        """
        return self._reader.show(self._regions.replicate(key, region))

    def set_primary(self, key: str, region: str, *, wait: bool = False) -> Key:
        """Make the replica in a Region the primary key of its set, and return this key.

        KMS finishes the change in some seconds. Until then both keys have the state `Updating`, and
        can be used.
        """
        return self._reader.show(self._regions.set_primary(key, region, wait=wait))
