# SPDX-License-Identifier: Apache-2.0
"""The life of the sandbox's KMS keys: states, deletion, Regions, rotations and key material.

Every reply is compared with botocore's model.
"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from sandbox_samples import checked, refusal

from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY = 86_400
WEST = "eu-west-1"
WRONG_STATE = (400, "KMSInvalidStateException")
DISABLED = (400, "DisabledException")
ABSENT = (400, "NotFoundException")
UNSUPPORTED = (400, "UnsupportedOperationException")
INVALID = (400, "ValidationException")
NEW = {"ImportType": "NEW_KEY_MATERIAL"}
STAYS = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}


@pytest.fixture(scope="module")
def own() -> Iterator[sandboxes.Running]:
    """Run a sandbox for this module only, because its tests move the sandbox's clock."""
    with sandboxes.running() as running:
        yield running


@pytest.fixture(scope="module")
def clients(own: sandboxes.Running) -> Callable[[str], Any]:
    """Return a function that returns the KMS client of a Region."""
    made = {
        region: checked(boto3.client("kms", region, endpoint_url=own.endpoint_url))
        for region in (sandboxes.REGION, WEST)
    }
    return made.__getitem__


@pytest.fixture
def kms(clients: Callable[[str], Any], own: sandboxes.Running) -> Any:
    """Return a KMS client of a sandbox in which changes of keys finish at once."""
    sandboxes.delay_changes(own, 0)
    return clients(sandboxes.REGION)


@pytest.fixture
def west(clients: Callable[[str], Any]) -> Any:
    """Return a KMS client of the other Region."""
    return clients(WEST)


@pytest.fixture
def slow(own: sandboxes.Running, kms: Any) -> Iterator[Callable[[], None]]:
    """Let changes of keys take a minute. Return a function that moves the clock past this time."""
    assert kms
    sandboxes.delay_changes(own, 60)
    yield partial(sandboxes.advance_clock, own, 61)
    sandboxes.advance_clock(own, 61)
    sandboxes.delay_changes(own, 0)


@pytest.fixture
def primary(kms: Any) -> str:
    """Make a multi-Region primary key. Return its ARN."""
    return str(kms.create_key(MultiRegion=True)["KeyMetadata"]["Arn"])


def described(kms: Any, key: str) -> dict[str, Any]:
    """Return the metadata of a key."""
    found: dict[str, Any] = kms.describe_key(KeyId=key)["KeyMetadata"]
    return found


def state(kms: Any, key: str) -> str:
    """Return the state of a key."""
    return str(described(kms, key)["KeyState"])


def in_west(arn: str) -> str:
    """Return the ARN of the key's replica in the other Region."""
    return arn.replace(sandboxes.REGION, WEST)


# --- Deletion ----------------------------------------------------------------------------------


def test_a_cancelled_deletion_leaves_the_key_disabled(kms: Any, kms_key: str) -> None:
    """A scheduled deletion makes the key unusable; cancelling it leaves the key disabled."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    said = kms.schedule_key_deletion(KeyId=kms_key, PendingWindowInDays=7)
    assert (said["KeyId"], said["KeyState"], said["PendingWindowInDays"]) == (
        kms_key,
        "PendingDeletion",
        7,
    )
    assert described(kms, kms_key)["DeletionDate"] == said["DeletionDate"]
    assert refusal(kms.decrypt, CiphertextBlob=blob) == WRONG_STATE
    assert kms.cancel_key_deletion(KeyId=kms_key)["KeyId"] == kms_key
    assert (state(kms, kms_key), "DeletionDate" in described(kms, kms_key)) == ("Disabled", False)
    assert refusal(kms.cancel_key_deletion, KeyId=kms_key) == WRONG_STATE
    kms.enable_key(KeyId=kms_key)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


@pytest.fixture
def kms_key(kms: Any) -> str:
    """Make a symmetric key. Return its ARN."""
    return str(kms.create_key()["KeyMetadata"]["Arn"])


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        ("enable_key", {}),
        ("disable_key", {}),
        ("enable_key_rotation", {}),
        ("rotate_key_on_demand", {}),
        ("schedule_key_deletion", {}),
        ("tag_resource", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        ("update_key_description", {"Description": "x"}),
        ("create_grant", {"GranteePrincipal": "123456789012", "Operations": ["Decrypt"]}),
    ],
)
def test_a_dying_key_is_not_changed(
    kms: Any, kms_key: str, operation: str, more: dict[str, Any]
) -> None:
    """A key that waits for its deletion can be read but not changed."""
    kms.schedule_key_deletion(KeyId=kms_key)
    assert refusal(getattr(kms, operation), KeyId=kms_key, **more) == WRONG_STATE
    assert kms.get_key_policy(KeyId=kms_key)["Policy"]
    assert kms.list_grants(KeyId=kms_key)["Grants"] == []


def test_a_dying_key_takes_no_alias(kms: Any, kms_key: str) -> None:
    """A key that waits for its deletion gets no alias."""
    alias, other = f"alias/{uuid.uuid4()}", kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName=alias, TargetKeyId=other)
    kms.schedule_key_deletion(KeyId=kms_key)
    named = {"TargetKeyId": kms_key}
    assert refusal(kms.create_alias, AliasName=f"{alias}-2", **named) == WRONG_STATE
    assert refusal(kms.update_alias, AliasName=alias, **named) == WRONG_STATE


def test_a_deleted_key_is_not_found(kms: Any, own: sandboxes.Running, kms_key: str) -> None:
    """On its deletion date, a key and its aliases are gone, and S3 cannot use the key."""
    s3: Any = boto3.client("s3", endpoint_url=own.endpoint_url)
    alias, bucket = f"alias/{uuid.uuid4()}", f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=bucket)
    mode = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **mode)
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    kms.schedule_key_deletion(KeyId=kms_key, PendingWindowInDays=7)
    sandboxes.advance_clock(own, 7 * DAY - 60)
    assert state(kms, kms_key) == "PendingDeletion"
    sandboxes.advance_clock(own, 61)
    for name in (kms_key, alias):
        assert refusal(kms.describe_key, KeyId=name) == ABSENT
    assert refusal(kms.cancel_key_deletion, KeyId=kms_key) == ABSENT
    assert refusal(kms.decrypt, CiphertextBlob=blob, KeyId=kms_key) == ABSENT
    unnamed = refusal(kms.decrypt, CiphertextBlob=blob)
    assert unnamed == (400, "AccessDeniedException")
    pages = kms.get_paginator("list_keys").paginate()
    assert kms_key not in {key["KeyArn"] for page in pages for key in page["Keys"]}
    assert refusal(s3.get_object, Bucket=bucket, Key="k") == (400, "KMS.NotFoundException")


def test_a_primary_key_waits_for_its_replicas(
    kms: Any, west: Any, own: sandboxes.Running, primary: str
) -> None:
    """The waiting period of a primary key begins when its last replica is deleted."""
    kms.replicate_key(KeyId=primary, ReplicaRegion=WEST)
    said = kms.schedule_key_deletion(KeyId=primary, PendingWindowInDays=8)
    assert (said["KeyState"], "DeletionDate" in said) == ("PendingReplicaDeletion", False)
    assert described(kms, primary)["PendingDeletionWindowInDays"] == 8
    assert refusal(kms.encrypt, KeyId=primary, Plaintext=b"x") == WRONG_STATE
    west.schedule_key_deletion(KeyId=in_west(primary), PendingWindowInDays=7)
    sandboxes.advance_clock(own, 7 * DAY + 1)
    assert refusal(west.describe_key, KeyId=in_west(primary)) == ABSENT
    assert state(kms, primary) == "PendingDeletion"
    assert described(kms, primary)["MultiRegionConfiguration"]["ReplicaKeys"] == []
    sandboxes.advance_clock(own, 8 * DAY + 1)
    assert refusal(kms.describe_key, KeyId=primary) == ABSENT


# --- Regions -----------------------------------------------------------------------------------


def test_a_replica_is_created_in_the_background(
    kms: Any, west: Any, primary: str, slow: Callable[[], None]
) -> None:
    """A new replica is in state Creating and cannot be used until its creation ends."""
    kms.encrypt(KeyId=primary, Plaintext=b"x")
    made = kms.replicate_key(KeyId=primary, ReplicaRegion=WEST, Description="replica")
    said, replica = made["ReplicaKeyMetadata"], in_west(primary)
    assert (said["Arn"], said["KeyState"], said["Description"]) == (replica, "Creating", "replica")
    assert refusal(west.encrypt, KeyId=replica, Plaintext=b"x") == WRONG_STATE
    slow()
    assert west.encrypt(KeyId=replica, Plaintext=b"x")["KeyId"] == replica
    other = west.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
    west.replicate_key(KeyId=other, ReplicaRegion=sandboxes.REGION)
    slow()
    sibling = other.replace(WEST, sandboxes.REGION)
    assert kms.get_key_last_usage(KeyId=sibling)["KeyLastUsage"] == {}


def test_the_primary_key_changes(
    kms: Any, west: Any, primary: str, slow: Callable[[], None]
) -> None:
    """UpdatePrimaryRegion swaps the primary key and a replica.

    During the swap, both keys encrypt and decrypt, but cannot be changed.
    """
    kms.replicate_key(KeyId=primary, ReplicaRegion=WEST)
    slow()
    replica = in_west(primary)
    kms.update_primary_region(KeyId=primary, PrimaryRegion=WEST)
    blob = kms.encrypt(KeyId=primary, Plaintext=b"x")["CiphertextBlob"]
    assert west.decrypt(CiphertextBlob=blob, KeyId=replica)["Plaintext"] == b"x"
    assert (state(kms, primary), state(west, replica)) == ("Updating", "Updating")
    assert refusal(west.disable_key, KeyId=replica) == WRONG_STATE
    again = {"KeyId": replica, "PrimaryRegion": sandboxes.REGION}
    assert refusal(west.update_primary_region, **again) == WRONG_STATE
    slow()
    expected = {
        "PrimaryKey": {"Arn": replica, "Region": WEST},
        "ReplicaKeys": [{"Arn": primary, "Region": sandboxes.REGION}],
    }
    for client, arn, kind in ((kms, primary, "REPLICA"), (west, replica, "PRIMARY")):
        found = described(client, arn)
        assert found["KeyState"] == "Enabled"
        assert found["MultiRegionConfiguration"] == {"MultiRegionKeyType": kind, **expected}
    assert refusal(kms.update_primary_region, KeyId=primary, PrimaryRegion=WEST) == UNSUPPORTED


def test_changes_of_the_primary_key_that_are_refused(kms: Any, kms_key: str, primary: str) -> None:
    """UpdatePrimaryRegion is refused for a single-Region or disabled key, or a wrong Region."""
    change = kms.update_primary_region
    assert refusal(change, KeyId=kms_key, PrimaryRegion=WEST) == UNSUPPORTED
    assert refusal(change, KeyId=primary, PrimaryRegion=WEST) == ABSENT
    assert refusal(change, KeyId=primary, PrimaryRegion=sandboxes.REGION) == UNSUPPORTED
    kms.disable_key(KeyId=primary)
    assert refusal(change, KeyId=primary, PrimaryRegion=WEST) == DISABLED


# --- Rotations ---------------------------------------------------------------------------------


def test_a_rotation_ends_in_the_background(
    kms: Any, kms_key: str, slow: Callable[[], None]
) -> None:
    """Until a rotation on demand ends, the old material is current and no other can start."""
    before = described(kms, kms_key)["CurrentKeyMaterialId"]
    kms.rotate_key_on_demand(KeyId=kms_key)
    assert "OnDemandRotationStartDate" in kms.get_key_rotation_status(KeyId=kms_key)
    assert described(kms, kms_key)["CurrentKeyMaterialId"] == before
    assert refusal(kms.rotate_key_on_demand, KeyId=kms_key) == (400, "ConflictException")
    slow()
    assert "OnDemandRotationStartDate" not in kms.get_key_rotation_status(KeyId=kms_key)
    (rotation,) = kms.list_key_rotations(KeyId=kms_key)["Rotations"]
    assert rotation["RotationType"] == "ON_DEMAND"
    assert described(kms, kms_key)["CurrentKeyMaterialId"] == rotation["KeyMaterialId"] != before


def test_a_key_rotates_on_its_date(kms: Any, own: sandboxes.Running, kms_key: str) -> None:
    """A key rotates on its date; a disabled key rotates when it is enabled again."""
    kms.enable_key_rotation(KeyId=kms_key, RotationPeriodInDays=90)
    rotated = partial(kms.list_key_rotations, KeyId=kms_key)
    sandboxes.advance_clock(own, 90 * DAY + 1)
    assert [each["RotationType"] for each in rotated()["Rotations"]] == ["AUTOMATIC"]
    kms.disable_key(KeyId=kms_key)
    sandboxes.advance_clock(own, 90 * DAY + 1)
    assert len(rotated()["Rotations"]) == 1
    kms.enable_key(KeyId=kms_key)
    assert len(rotated()["Rotations"]) == 2
    kms.disable_key_rotation(KeyId=kms_key)
    sandboxes.advance_clock(own, 90 * DAY + 1)
    assert len(rotated()["Rotations"]) == 2


def test_replicas_follow_the_primary_keys_rotation(kms: Any, west: Any, primary: str) -> None:
    """Rotating the primary key rotates its replicas too; a replica cannot be rotated itself."""
    kms.replicate_key(KeyId=primary, ReplicaRegion=WEST)
    replica = in_west(primary)
    kms.rotate_key_on_demand(KeyId=primary)
    kms.enable_key_rotation(KeyId=primary)
    assert refusal(west.rotate_key_on_demand, KeyId=replica) == UNSUPPORTED
    assert refusal(west.enable_key_rotation, KeyId=replica) == UNSUPPORTED
    blob = kms.encrypt(KeyId=primary, Plaintext=b"x")["CiphertextBlob"]
    current = described(kms, primary)["CurrentKeyMaterialId"]
    assert west.decrypt(CiphertextBlob=blob)["KeyMaterialId"] == current
    assert west.get_key_rotation_status(KeyId=replica)["KeyRotationEnabled"]


# --- Imported material -------------------------------------------------------------------------


def imported(kms: Any, key: str, material: bytes, **more: Any) -> str:
    """Import key material, without an expiration time by default. Return the material's id."""
    asked = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    given = kms.get_parameters_for_import(KeyId=key, **asked)
    public = load_der_public_key(given["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    reply = kms.import_key_material(
        KeyId=key,
        ImportToken=given["ImportToken"],
        EncryptedKeyMaterial=public.encrypt(material, scheme),
        **(more if "ValidTo" in more else STAYS | more),
    )
    return str(reply["KeyMaterialId"])


def materials(kms: Any, key: str) -> list[tuple[str, str, str]]:
    """Return the id, state and import state of each of a key's materials."""
    found = kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    return [
        (each["KeyMaterialId"], each["KeyMaterialState"], each["ImportState"])
        for each in found["Rotations"]
    ]


@pytest.fixture
def external(kms: Any) -> str:
    """Make a key for imported material, without importing material. Return the key's ARN."""
    return str(kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["Arn"])


def test_imported_material_is_rotated_in(kms: Any, external: str) -> None:
    """New imported material becomes current by a rotation; the old material still decrypts."""
    old = imported(kms, external, b"a" * 32, KeyMaterialDescription="of 2025")
    assert refusal(kms.rotate_key_on_demand, KeyId=external) == WRONG_STATE
    blob = kms.encrypt(KeyId=external, Plaintext=b"x")["CiphertextBlob"]
    new = imported(kms, external, b"b" * 32, **NEW)
    assert materials(kms, external) == [
        (old, "CURRENT", "IMPORTED"),
        (new, "PENDING_ROTATION", "IMPORTED"),
    ]
    assert described(kms, external)["CurrentKeyMaterialId"] == old
    assert kms.list_key_rotations(KeyId=external)["Rotations"] == []
    kms.rotate_key_on_demand(KeyId=external)
    assert materials(kms, external) == [
        (old, "NON_CURRENT", "IMPORTED"),
        (new, "CURRENT", "IMPORTED"),
    ]
    opened = kms.decrypt(CiphertextBlob=blob)
    assert (opened["Plaintext"], opened["KeyMaterialId"]) == (b"x", old)
    (rotation,) = kms.list_key_rotations(KeyId=external)["Rotations"]
    assert (rotation["KeyMaterialId"], rotation["RotationType"]) == (new, "ON_DEMAND")
    first = kms.list_key_rotations(KeyId=external, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    assert first["Rotations"][0]["KeyMaterialDescription"] == "of 2025"


def test_a_key_needs_all_its_materials(kms: Any, external: str) -> None:
    """A key is unusable if a material is missing, except a material that waits for rotation."""
    old = imported(kms, external, b"a" * 32)
    new = imported(kms, external, b"b" * 32, **NEW)
    kms.rotate_key_on_demand(KeyId=external)
    gone = kms.delete_imported_key_material(KeyId=external, KeyMaterialId=old)
    assert (gone["KeyMaterialId"], state(kms, external)) == (old, "PendingImport")
    assert materials(kms, external)[0] == (old, "NON_CURRENT", "PENDING_IMPORT")
    assert kms.delete_imported_key_material(KeyId=external)["KeyMaterialId"] == new
    imported(kms, external, b"b" * 32)
    assert state(kms, external) == "PendingImport"
    imported(kms, external, b"a" * 32, KeyMaterialId=old)
    assert state(kms, external) == "Enabled"
    pending = imported(kms, external, b"c" * 32, **NEW)
    kms.delete_imported_key_material(KeyId=external, KeyMaterialId=pending)
    assert (state(kms, external), len(materials(kms, external))) == ("Enabled", 2)


@pytest.mark.parametrize(
    ("material", "more", "code"),
    [
        (b"b", {}, "IncorrectKeyMaterialException"),
        (b"a", NEW, "IncorrectKeyMaterialException"),
        (b"a", {"KeyMaterialId": "f" * 64}, "IncorrectKeyMaterialException"),
        (b"b", {**NEW, "KeyMaterialId": "f" * 64}, "ValidationException"),
        (b"a", {"ValidTo": datetime(2020, 1, 1, tzinfo=UTC)}, "ValidationException"),
        (b"a", {"ValidTo": datetime(2099, 1, 1, tzinfo=UTC)}, "ValidationException"),
    ],
)
def test_imports_that_are_refused(
    kms: Any, external: str, material: bytes, more: dict[str, Any], code: str
) -> None:
    """ImportKeyMaterial is refused for other material than expected, a wrong id or a bad date."""
    imported(kms, external, b"a" * 32)
    with pytest.raises(ClientError, match=code):
        imported(kms, external, material * 32, **more)
    assert state(kms, external) == "Enabled"


def test_one_material_waits_at_a_time(kms: Any, external: str) -> None:
    """A key has at most one material that waits for rotation; a disabled key imports nothing."""
    imported(kms, external, b"a" * 32)
    imported(kms, external, b"b" * 32, **NEW)
    with pytest.raises(ClientError, match="KMSInvalidStateException"):
        imported(kms, external, b"c" * 32, **NEW)
    kms.disable_key(KeyId=external)
    with pytest.raises(ClientError, match="KMSInvalidStateException"):
        imported(kms, external, b"a" * 32)


def test_each_material_expires_on_its_date(kms: Any, own: sandboxes.Running, external: str) -> None:
    """DescribeKey returns the earliest expiration date; a new import replaces a material's date."""
    now = described(kms, kms.create_key()["KeyMetadata"]["Arn"])["CreationDate"]
    first, second = ((now + timedelta(days=days)).replace(microsecond=0) for days in (10, 20))
    imported(kms, external, b"a" * 32, ValidTo=second)
    imported(kms, external, b"b" * 32, ValidTo=first, **NEW)
    assert described(kms, external)["ValidTo"] == second
    kms.rotate_key_on_demand(KeyId=external)
    found = described(kms, external)
    assert (found["ValidTo"], found["ExpirationModel"]) == (first, "KEY_MATERIAL_EXPIRES")
    imported(kms, external, b"b" * 32)
    sandboxes.advance_clock(own, 11 * DAY)
    assert state(kms, external) == "Enabled"
    sandboxes.advance_clock(own, 10 * DAY)
    assert [each[2] for each in materials(kms, external)] == ["PENDING_IMPORT", "IMPORTED"]
    assert state(kms, external) == "PendingImport"
    kms.schedule_key_deletion(KeyId=external)
    kms.cancel_key_deletion(KeyId=external)
    assert state(kms, external) == "PendingImport"


def test_import_tokens_expire(kms: Any, own: sandboxes.Running, external: str) -> None:
    """An import token expires after 24 hours, and belongs to one key."""
    asked = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    given = kms.get_parameters_for_import(KeyId=external, **asked)
    request = {
        "KeyId": external,
        "ImportToken": given["ImportToken"],
        "EncryptedKeyMaterial": b"x" * 256,
        **STAYS,
    }
    assert refusal(kms.import_key_material, **request) == (400, "InvalidCiphertextException")
    other = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["Arn"]
    theirs = {**request, "KeyId": other}
    assert refusal(kms.import_key_material, **theirs) == (400, "InvalidImportTokenException")
    with pytest.raises(ClientError, match="IncorrectKeyMaterialException"):
        imported(kms, external, os.urandom(31))
    given = kms.get_parameters_for_import(KeyId=external, **asked)
    sandboxes.advance_clock(own, DAY + 1)
    late = {**request, "ImportToken": given["ImportToken"]}
    assert refusal(kms.import_key_material, **late) == (400, "ExpiredImportTokenException")


def test_material_is_imported_into_each_region(kms: Any, west: Any) -> None:
    """New material must be imported in every Region, in the primary's first, before a rotation."""
    made = kms.create_key(Origin="EXTERNAL", MultiRegion=True)
    primary = made["KeyMetadata"]["Arn"]
    replica = in_west(primary)
    imported(kms, primary, b"a" * 32)
    kms.replicate_key(KeyId=primary, ReplicaRegion=WEST)
    assert state(west, replica) == "PendingImport"
    imported(west, replica, b"a" * 32)
    blob = kms.encrypt(KeyId=primary, Plaintext=b"x")["CiphertextBlob"]
    assert west.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    with pytest.raises(ClientError, match="UnsupportedOperationException"):
        imported(west, replica, b"b" * 32, **NEW)
    new = imported(kms, primary, b"b" * 32, **NEW)
    waiting = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
    assert materials(kms, primary)[1] == (new, waiting, "IMPORTED")
    assert materials(west, replica)[1] == (new, waiting, "PENDING_IMPORT")
    assert refusal(kms.rotate_key_on_demand, KeyId=primary) == WRONG_STATE
    assert imported(west, replica, b"b" * 32, ImportType="EXISTING_KEY_MATERIAL") == new
    assert materials(kms, primary)[1][1] == "PENDING_ROTATION"
    kms.rotate_key_on_demand(KeyId=primary)
    for client, arn in ((kms, primary), (west, replica)):
        assert described(client, arn)["CurrentKeyMaterialId"] == new
