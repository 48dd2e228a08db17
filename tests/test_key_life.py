# SPDX-License-Identifier: Apache-2.0
"""A KMS key from its creation to its deletion, and which objects can be read at each step.

The objects use the key in the five ways in which an object can depend on a KMS key.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import boto3
import pytest
from sandbox_samples import own_sandbox

from s3crypt import (
    DSSEKMS,
    SSEKMS,
    ClientSide,
    KeyManager,
    KeyUnavailableError,
    KMSKeyring,
    S3Crypt,
    S3CryptError,
)
from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from s3crypt.kms import Key
    from s3crypt.modes import Mode

DAY = 86_400
MODES: dict[str, Callable[[str], Mode]] = {
    "sse-kms": SSEKMS,
    "dsse-kms": DSSEKMS,
    "header": lambda key: ClientSide(KMSKeyring(key)),
    "metadata": lambda key: ClientSide(KMSKeyring(key), key_location="metadata"),
}
ALL = frozenset(MODES)
NONE: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def sandbox_of_keys() -> Iterator[sandboxes.Running]:
    """Run a sandbox for this module only, because its tests change the clock of KMS."""
    with own_sandbox() as running:
        yield running


@pytest.fixture(autouse=True)
def alone(sandbox_of_keys: sandboxes.Running) -> sandboxes.Running:
    """Empty the module's sandbox and reset its clock."""
    sandboxes.reset(sandbox_of_keys)
    return sandbox_of_keys


@dataclass(frozen=True)
class Objects:
    """One object per way in which an object can depend on a key, all under the same key."""

    bucket: str

    def write(self, name: str, key: str) -> None:
        """Write an object in each mode under a key."""
        for mode, make in MODES.items():
            S3Crypt(make(key)).put(name.encode(), self._uri(name, mode))

    def opened(self, name: str, key: str) -> frozenset[str]:
        """Return the modes whose object can be read by a reader that names the key."""
        return frozenset(mode for mode in MODES if self._opens(name, mode, key))

    def _opens(self, name: str, mode: str, key: str) -> bool:
        try:
            return S3Crypt(MODES[mode](key)).read(self._uri(name, mode)) == name.encode()
        except S3CryptError:
            return False

    def _uri(self, name: str, mode: str) -> str:
        return f"s3://{self.bucket}/{name}/{mode}"


@pytest.fixture
def objects(alone: sandboxes.Running) -> Objects:
    """Make a bucket, and return its objects in every mode."""
    assert alone
    name = f"life-{uuid.uuid4()}"
    boto3.client("s3").create_bucket(Bucket=name)
    return Objects(name)


@pytest.fixture
def keys() -> KeyManager:
    """Return a key manager of the sandbox."""
    return KeyManager()


@pytest.fixture
def key(keys: KeyManager, objects: Objects) -> Key:
    """Make a key, and write objects named `first` under it."""
    made = keys.create(alias="life")
    objects.write("first", made.arn)
    return made


def _refusal(objects: Objects, key: str, mode: str = "header") -> KeyUnavailableError:
    with pytest.raises(KeyUnavailableError) as refused:
        S3Crypt(MODES[mode](key)).read(f"s3://{objects.bucket}/first/{mode}")
    return refused.value


def test_a_rotated_key_opens_what_is_older_and_newer(
    keys: KeyManager, key: Key, objects: Objects
) -> None:
    """After a rotation the key opens older and newer objects: KMS keeps the old material."""
    rotated = keys.rotate(key.arn, wait=True)
    objects.write("second", key.arn)
    assert rotated.material_id != key.material_id
    assert rotated.on_demand_rotations == 1
    assert objects.opened("first", key.arn) == objects.opened("second", key.arn) == ALL


def test_the_schedule_rotates_a_key(
    keys: KeyManager, key: Key, objects: Objects, alone: sandboxes.Running
) -> None:
    """After a year KMS rotates the key, without using one of the 25 rotations on demand."""
    sandboxes.advance_clock(alone, 366 * DAY)
    shown = keys.show(key.arn)
    assert shown.material_id != key.material_id
    assert shown.on_demand_rotations == 0
    assert objects.opened("first", key.arn) == ALL


def test_a_moved_alias_reads_only_what_is_under_its_key(
    keys: KeyManager, key: Key, objects: Objects
) -> None:
    """After an alias has moved to another key, readers that name the old key's ARN still work.

    Readers that name the alias are refused.
    """
    assert objects.opened("first", "alias/life") == ALL
    successor = keys.create(alias="life-2027")
    change = keys.move_alias("alias/life", successor.arn)
    assert (change.was, change.becomes) == (key.arn, successor.arn)
    assert objects.opened("first", "alias/life") == NONE
    assert objects.opened("first", key.arn) == ALL
    objects.write("second", "alias/life")
    assert objects.opened("second", successor.arn) == ALL


def test_a_disabled_key_opens_nothing_until_it_is_enabled(
    keys: KeyManager, key: Key, objects: Objects
) -> None:
    """A disabled key reads no object, and the error names the command that enables the key."""
    assert keys.disable(key.arn).state == "Disabled"
    assert objects.opened("first", key.arn) == NONE
    assert f"s3crypt keys enable {key.arn}" in (_refusal(objects, key.arn).hint or "")
    assert keys.enable(key.arn).state == "Enabled"
    assert objects.opened("first", key.arn) == ALL


def test_a_deletion_can_be_cancelled(keys: KeyManager, key: Key, objects: Objects) -> None:
    """During the waiting period reads fail. After a cancellation the key must still be enabled."""
    waiting = keys.schedule_deletion(key.arn, days=7, confirmed_name="life")
    assert waiting.state == "PendingDeletion"
    assert objects.opened("first", key.arn) == NONE
    assert f"s3crypt keys cancel-deletion {key.arn}" in (_refusal(objects, key.arn).hint or "")
    assert keys.cancel_deletion(key.arn).state == "Disabled"
    assert objects.opened("first", key.arn) == NONE
    keys.enable(key.arn)
    assert objects.opened("first", key.arn) == ALL


def test_a_deleted_key_opens_nothing_ever_again(
    keys: KeyManager, key: Key, objects: Objects, alone: sandboxes.Running
) -> None:
    """On its date the key is deleted and opens nothing; deleting it again is an error."""
    keys.schedule_deletion(key.arn, days=7, confirmed_name="life")
    sandboxes.advance_clock(alone, 6 * DAY)
    assert keys.show(key.arn).state == "PendingDeletion"
    sandboxes.advance_clock(alone, 2 * DAY)
    assert objects.opened("first", key.arn) == NONE
    assert _refusal(objects, key.arn).code == "NotFoundException"
    with pytest.raises(KeyUnavailableError, match="no such key"):
        keys.cancel_deletion(key.arn)


def test_imported_material_opens_objects_while_it_is_there(
    keys: KeyManager, objects: Objects, tmp_path: Path
) -> None:
    """A key with old and new imported material opens objects only while it has both."""
    old, new = tmp_path / "old", tmp_path / "new"
    for file in (old, new):
        file.write_bytes(os.urandom(32))
    arn = keys.create(alias="imported", imported_material=True).arn
    assert objects.opened("first", arn) == NONE
    first = keys.import_material(arn, old).material
    assert first is not None
    objects.write("first", arn)
    keys.import_material(arn, new, is_new=True)
    assert keys.rotate(arn, wait=True).material_id != first.id
    objects.write("second", arn)
    assert objects.opened("first", arn) == objects.opened("second", arn) == ALL
    keys.delete_material(arn, first.id)
    assert keys.show(arn).state == "PendingImport"
    assert objects.opened("first", arn) == objects.opened("second", arn) == NONE
    assert "s3crypt keys import-material" in (_refusal(objects, arn).hint or "")
    keys.import_material(arn, old)
    assert objects.opened("first", arn) == objects.opened("second", arn) == ALL


def test_imported_material_expires(
    keys: KeyManager, objects: Objects, tmp_path: Path, alone: sandboxes.Running
) -> None:
    """KMS deletes expired material. After an import of the same bytes the objects open again."""
    material = tmp_path / "material"
    material.write_bytes(os.urandom(32))
    arn = keys.create(alias="expiring", imported_material=True).arn
    keys.import_material(arn, material, expires=datetime.now(UTC) + timedelta(days=2))
    objects.write("first", arn)
    sandboxes.advance_clock(alone, 3 * DAY)
    assert objects.opened("first", arn) == NONE
    keys.import_material(arn, material)
    assert objects.opened("first", arn) == ALL


def test_a_replica_opens_client_side_objects(keys: KeyManager, objects: Objects) -> None:
    """A replica reads the objects in another Region, also after it became the primary key."""
    primary = keys.create(alias="global", multi_region=True).arn
    objects.write("first", primary)
    replica = keys.replicate(primary, "eu-west-1").arn
    client_side = frozenset({"header", "metadata"})
    assert objects.opened("first", replica) & client_side == client_side
    assert keys.set_primary(primary, "eu-west-1", wait=True).arn == replica
    assert [each.is_primary for each in keys.replicas(primary)] == [True, False]
    assert objects.opened("first", primary) == ALL
    assert objects.opened("first", replica) & client_side == client_side


def test_a_primary_key_outlives_its_replicas(
    keys: KeyManager, objects: Objects, alone: sandboxes.Running
) -> None:
    """The waiting period of a primary key begins when its last replica is deleted."""
    primary = keys.create(alias="global", multi_region=True).arn
    replica = keys.replicate(primary, "eu-west-1").arn
    objects.write("first", primary)
    waiting = keys.schedule_deletion(primary, days=7, confirmed_name="global")
    assert waiting.state == "PendingReplicaDeletion"
    assert objects.opened("first", replica) >= {"header", "metadata"}
    keys.schedule_deletion(replica, days=7, confirmed_name=replica.rpartition("/")[2])
    sandboxes.advance_clock(alone, 8 * DAY)
    assert keys.show(primary).state == "PendingDeletion"
    sandboxes.advance_clock(alone, 8 * DAY)
    with pytest.raises(KeyUnavailableError, match="no such key"):
        keys.show(primary)


def test_a_grant_opens_objects_to_a_role_until_it_is_revoked(key: Key, objects: Objects) -> None:
    """A role that the key policy does not name can read by a grant, if its constraint is met."""
    objects.write("second", key.arn)
    owner, reader = _role("owner"), _role("reader")
    _leave_to(key.arn, owner, "owner")
    keys, store = (
        KeyManager(session=owner),
        S3Crypt(ClientSide(KMSKeyring(key.arn, session=reader))),
    )
    first, second = (f"s3://{objects.bucket}/{name}/header" for name in ("first", "second"))
    with pytest.raises(KeyUnavailableError):
        store.read(first)
    bound = {"EncryptionContextSubset": {"s3crypt:key": "first/header"}}
    grant = keys.create_grant(key.arn, _arn("reader"), ["Decrypt"], constraints=bound).grant
    assert store.read(first) == b"first"
    with pytest.raises(KeyUnavailableError):
        store.read(second)
    keys.revoke_grant(key.arn, grant.id)
    with pytest.raises(KeyUnavailableError):
        store.read(first)


def _arn(role: str) -> str:
    return f"arn:aws:iam::123456789012:role/{role}"


def _role(name: str) -> boto3.Session:
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    boto3.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=policy)
    assumed = boto3.client("sts").assume_role(RoleArn=_arn(name), RoleSessionName="life")
    given = assumed["Credentials"]
    return boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], "us-east-1"
    )


def _leave_to(key: str, session: boto3.Session, role: str) -> None:
    """Set a key policy by which only one role may use and administer the key."""
    statement = {"Effect": "Allow", "Principal": {"AWS": _arn(role)}, "Action": "kms:*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Resource": "*"}]})
    session.client("kms").put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
