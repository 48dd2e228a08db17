# SPDX-License-Identifier: Apache-2.0
"""Multi-Region keys: replicas are created and listed, and the primary key is changed."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from lost_replies import count, losing

from s3crypt import sandbox as sandboxes
from s3crypt.errors import ConfigError, KeyUnavailableError
from s3crypt.kms import KeyManager

if TYPE_CHECKING:
    from pathlib import Path

    from s3crypt.sandbox import Running

ELSEWHERE = "eu-west-1"


@pytest.fixture
def manager(session: boto3.Session) -> KeyManager:
    """Return a key manager of the sandbox."""
    return KeyManager(session=session)


@pytest.fixture
def key(manager: KeyManager) -> str:
    """Create a multi-Region key."""
    return manager.create(multi_region=True).arn


def test_both_keys_open_what_either_encrypted(
    manager: KeyManager, key: str, kms: Any, session: boto3.Session
) -> None:
    """Primary key and replica open each other's data keys, because they have the same material."""
    replica = manager.replicate(key, ELSEWHERE)
    there = session.client("kms", region_name=ELSEWHERE)
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert there.decrypt(KeyId=replica.arn, CiphertextBlob=blob)["Plaintext"] == b"x"


def test_the_keys_of_a_set_are_listed(manager: KeyManager, key: str) -> None:
    """Any key of a set lists all keys of the set, with the primary key first."""
    replica = manager.replicate(key, ELSEWHERE)
    for named in (key, replica.arn):
        found = manager.replicas(named)
        assert [(each.arn, each.is_primary, each.state) for each in found] == [
            (key, True, "Enabled"),
            (replica.arn, False, "Enabled"),
        ]


def test_a_policy_is_not_replicated(manager: KeyManager, key: str, kms: Any) -> None:
    """A new replica gets KMS's default policy, not the policy of the primary key."""
    policy = manager.policy(key).to_json()
    policy["Statement"][0]["Sid"] = "Mine"
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    replica = manager.replicate(key, ELSEWHERE)
    assert manager.policy(replica.arn).statements[0].sid != "Mine"


def test_the_primary_key_is_changed(manager: KeyManager, key: str) -> None:
    """A replica becomes the primary key.

    A second change makes the former primary key primary again.
    """
    replica = manager.replicate(key, ELSEWHERE)
    assert manager.set_primary(key, ELSEWHERE, wait=True).arn == replica.arn
    assert [each.arn for each in manager.replicas(key)] == [replica.arn, key]
    manager.set_primary(key, "us-east-1", wait=True)
    assert [each.arn for each in manager.replicas(key)] == [key, replica.arn]


def test_the_primary_key_of_that_region_stays(
    manager: KeyManager, key: str, requests_log: Any
) -> None:
    """If the primary key is already in the given Region, no request that changes a key is sent."""
    requests_log.clear()
    assert manager.set_primary(key, "us-east-1").arn == key
    targets = [each["headers"].get("x-amz-target", "") for each in requests_log.list()]
    assert not [each for each in targets if each.endswith("UpdatePrimaryRegion")]


def test_a_lost_reply_to_a_change_of_the_primary_key(
    key: str, manager: KeyManager, sandbox: Running
) -> None:
    """If the reply to a change of the primary key is lost, a read confirms the change.

    The request is sent only once, because KMS would refuse a retry.
    """
    manager.replicate(key, ELSEWHERE)
    with losing(sandbox, "UpdatePrimaryRegion") as (unlucky, relay):
        unlucky.set_primary(key, ELSEWHERE, wait=True)
        assert count(relay, "UpdatePrimaryRegion") == 1
    assert manager.replicas(key)[0].region == ELSEWHERE


def test_kms_finishes_a_change_in_the_background() -> None:
    """While KMS changes the primary key, its state is Updating. `wait` returns after the change."""
    with sandboxes.running() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in sandboxes.environment(running).items():
            patch.setenv(name, value)
        manager = KeyManager(session=boto3.Session())
        key = manager.create(multi_region=True).arn
        manager.replicate(key, ELSEWHERE)
        sandboxes.delay_changes(running, 1.5)
        assert manager.set_primary(key, ELSEWHERE).state == "Updating"
        # KMS refuses a second change while one is in progress, so wait for the earlier change.
        settled = manager.set_primary(key, "us-east-1", wait=True)
        assert (settled.arn, settled.state, settled.replica_of) == (key, "Enabled", None)


@pytest.mark.parametrize("verb", ["replicate", "set_primary"])
@pytest.mark.parametrize("region", ["", "eu", "eu_west_1", "eu-west-1 "])
def test_what_is_no_region(manager: KeyManager, key: str, verb: str, region: str) -> None:
    """An invalid Region raises a ConfigError, and no request is sent."""
    with pytest.raises(ConfigError, match="not the name of a Region"):
        getattr(manager, verb)(key, region)


def test_a_key_is_not_replicated_into_its_own_region(manager: KeyManager, key: str) -> None:
    """A key cannot be replicated into the Region of its primary key."""
    with pytest.raises(ConfigError, match="is the primary key, in us-east-1"):
        manager.replicate(key, "us-east-1")


def test_a_region_without_a_replica_gets_no_primary_key(manager: KeyManager, key: str) -> None:
    """If the Region has no replica, the hint contains the command that creates it."""
    with pytest.raises(KeyUnavailableError, match="no replica in eu-north-1") as caught:
        manager.set_primary(key, "eu-north-1")
    assert f"s3crypt keys replicate {key} eu-north-1" in str(caught.value.hint)


@pytest.mark.parametrize("verb", ["replicas", "replicate", "set_primary"])
def test_another_key_never_becomes_a_multi_region_key(manager: KeyManager, verb: str) -> None:
    """For a single-Region key, the hint contains the command that creates a multi-Region key."""
    single = manager.create().arn
    regions = () if verb == "replicas" else (ELSEWHERE,)
    with pytest.raises(KeyUnavailableError, match="not a multi-Region key") as caught:
        getattr(manager, verb)(single, *regions)
    assert "--multi-region" in str(caught.value.hint)


def test_new_material_goes_through_the_primary_key(manager: KeyManager, tmp_path: Path) -> None:
    """New material is imported into the primary key first, then into every replica.

    Until every replica has the new material, the key cannot be rotated.
    """
    first, second = tmp_path / "first", tmp_path / "second"
    for file in (first, second):
        file.write_bytes(secrets.token_bytes(32))
    key = manager.create(multi_region=True, imported_material=True).arn
    manager.import_material(key, first)
    replica = manager.replicate(key, ELSEWHERE)
    assert replica.state == "PendingImport"
    manager.import_material(replica.arn, first)
    with pytest.raises(KeyUnavailableError, match="is a replica") as caught:
        manager.import_material(replica.arn, second, is_new=True)
    assert key in str(caught.value.hint)
    done = manager.import_material(key, second, is_new=True)
    assert done.missing_in == (replica.arn,)
    with pytest.raises(KeyUnavailableError) as refused:
        manager.rotate(key)
    assert "keys materials" in str(refused.value.hint)
    done = manager.import_material(replica.arn, second)
    assert (done.primary_arn, done.missing_in) == (key, ())
    manager.rotate(key)
    current = {manager.materials(arn)[0].id for arn in (key, replica.arn)}
    assert len(current) == 1
