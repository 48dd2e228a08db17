# SPDX-License-Identifier: Apache-2.0
"""Enabling and disabling keys, scheduling and cancelling their deletion: guards and errors."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from kms_samples import command, key_of_kind, losing, new_alias, refusing, unreachable

from s3crypt import SSEKMS, S3Crypt
from s3crypt.errors import ConfigError, KeyUnavailableError, S3CryptError, StorageError
from s3crypt.kms import Clearance, KeyManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import boto3

    from s3crypt.sandbox import Running

_CHANGES = ("EnableKey", "DisableKey", "ScheduleKeyDeletion", "CancelKeyDeletion")


@pytest.fixture
def manager(session: boto3.Session) -> KeyManager:
    """Return a key manager of the sandbox."""
    return KeyManager(session=session)


@pytest.fixture
def key(kms: Any) -> str:
    """Return a key that no other test uses."""
    return key_of_kind(kms, "enabled")


def clearance(key: str, **changes: Any) -> Clearance:
    """Return a clearance, the evidence that nothing depends on a key, with these changes."""
    clear = Clearance(key, key.split(":")[4], datetime.now(UTC), True, False, 0, 0)
    return replace(clear, **changes)


def test_a_disabled_key_opens_nothing_until_it_is_enabled(
    manager: KeyManager, bucket: str, key: str
) -> None:
    """A disabled key opens nothing. After it is enabled the object can be read again."""
    store = S3Crypt(SSEKMS(key))
    store.put(b"data", f"s3://{bucket}/x")
    assert manager.disable(key).state == "Disabled"
    with pytest.raises(S3CryptError):
        store.read(f"s3://{bucket}/x")
    assert manager.enable(key).state == "Enabled"
    assert store.read(f"s3://{bucket}/x") == b"data"


@pytest.mark.parametrize(
    ("verb", "state"), [("enable", "Enabled"), ("disable", "Disabled"), ("cancel_deletion", "")]
)
def test_what_is_so_already_is_not_done_again(
    verb: str, state: str, manager: KeyManager, key: str, requests_log: Any
) -> None:
    """If a key is already in the wanted state, it is returned without a request that changes it."""
    if verb == "disable":
        manager.disable(key)
    requests_log.clear()
    assert getattr(manager, verb)(key).state == (state or "Enabled")
    assert not [name for name in _CHANGES if f"TrentService.{name}" in str(requests_log.list())]


@pytest.mark.parametrize("days", [7, 30])
def test_a_deletion_is_scheduled_with_a_clearing_report(
    days: int, manager: KeyManager, key: str
) -> None:
    """With a clearing report the deletion is scheduled. Its date is now plus the waiting period."""
    scheduled = manager.schedule_deletion(key, days=days, clearance=clearance(key))
    assert scheduled.state == "PendingDeletion"
    assert scheduled.deletion_date is not None
    assert abs(scheduled.deletion_date - datetime.now(UTC) - timedelta(days=days)) < timedelta(
        minutes=5
    )
    assert manager.show(key).deletion_date == scheduled.deletion_date


@pytest.mark.parametrize(
    "evidence",
    [
        lambda _: None,
        lambda key: clearance(key, dependents=1),
        lambda key: clearance(key, unknown=1),
        lambda key: clearance(key, is_sampled=True),
        lambda key: clearance(key, covers_account=False),
        lambda key: clearance(key, made=datetime.now(UTC) - timedelta(hours=25)),
        lambda key: clearance(key.replace("a", "b")),
    ],
)
def test_without_a_clearing_report_the_name_is_demanded(
    evidence: Callable[[str], Clearance | None], manager: KeyManager, key: str
) -> None:
    """Without a clearing report a deletion needs the exact alias of the key.

    The error gives the reason and the way to proceed.
    """
    alias = manager.add_alias(key, new_alias()).aliases[0].removeprefix("alias/")
    for name in (None, "", alias[:-1], f"alias/{alias}"):
        with pytest.raises(ConfigError, match=r"[Nn]othing was changed") as caught:
            manager.schedule_deletion(key, clearance=evidence(key), confirmed_name=name)
        assert alias in str(caught.value.hint)
    assert manager.show(key).state == "Enabled"
    done = manager.schedule_deletion(key, clearance=evidence(key), confirmed_name=alias)
    assert done.state == "PendingDeletion"


@pytest.mark.parametrize("days", [6, 31, True, 7.5])
def test_a_waiting_period_out_of_bounds_sends_nothing(days: Any) -> None:
    """Invalid waiting periods raise ConfigError without a request."""
    with pytest.raises(ConfigError, match="waiting period of a key"):
        unreachable().schedule_deletion("k", days=days, confirmed_name="k")


def test_a_scheduled_deletion_keeps_its_date(manager: KeyManager, key: str) -> None:
    """A second request to delete a key, with other days, needs no evidence and changes nothing."""
    first = manager.schedule_deletion(key, days=7, clearance=clearance(key))
    again = manager.schedule_deletion(key, days=30)
    assert again.deletion_date == first.deletion_date


def test_a_cancelled_deletion_leaves_the_key_disabled(manager: KeyManager, key: str) -> None:
    """After a cancelled deletion the key is disabled, and must be enabled before it is used."""
    manager.schedule_deletion(key, clearance=clearance(key))
    kept = manager.cancel_deletion(key)
    assert (kept.state, kept.deletion_date) == ("Disabled", None)
    assert manager.enable(key).state == "Enabled"


def test_a_primary_key_waits_for_its_replicas(manager: KeyManager, kms: Any) -> None:
    """Until its last replica is deleted, a primary key has a waiting period but no date."""
    primary = manager.create(multi_region=True)
    kms.replicate_key(KeyId=primary.key_id, ReplicaRegion="eu-west-1")
    scheduled = manager.schedule_deletion(primary.arn, days=9, confirmed_name=primary.key_id)
    shown = manager.show(primary.arn)
    for key in (scheduled, shown):
        assert (key.state, key.deletion_date) == ("PendingReplicaDeletion", None)
        assert key.pending_window_days == 9
        assert [arn.split(":")[3] for arn in key.replicas] == ["eu-west-1"]
    done = command("schedule-deletion", primary.arn)
    assert "already scheduled" in done.stderr
    assert "9 days after its last replica is deleted (eu-west-1)" in done.stderr
    assert manager.cancel_deletion(primary.arn).state == "Disabled"


_VERBS: dict[str, Callable[[KeyManager, str], object]] = {
    "EnableKey": lambda m, key: m.enable(key),
    "DisableKey": lambda m, key: m.disable(key),
    "ScheduleKeyDeletion": lambda m, key: m.schedule_deletion(
        key, confirmed_name=key.rpartition("/")[2]
    ),
    "CancelKeyDeletion": lambda m, key: m.cancel_deletion(key),
}


@pytest.mark.parametrize("operation", _VERBS)
@pytest.mark.parametrize("kind", ["managed by AWS", "unknown", "of another account"])
def test_keys_that_are_not_ones_own_are_refused(
    operation: str, kind: str, manager: KeyManager, kms: Any, requests_log: Any
) -> None:
    """If AWS manages a key or it does not exist, the error says so, and no change is requested."""
    key = key_of_kind(kms, kind)
    requests_log.clear()
    words = f"kms:{operation} is refused: AWS manages" if "AWS" in kind else "no such key"
    with pytest.raises(KeyUnavailableError, match=words):
        _VERBS[operation](manager, key)
    assert f"TrentService.{operation}" not in str(requests_log.list())


@pytest.mark.parametrize(
    ("operation", "kind", "state", "hint"),
    [
        ("EnableKey", "pending deletion", "PendingDeletion", "cancel-deletion"),
        ("DisableKey", "pending deletion", "PendingDeletion", "cancel-deletion"),
        ("EnableKey", "pending import", "PendingImport", "import-material"),
        ("DisableKey", "pending import", "PendingImport", "import-material"),
    ],
)
def test_a_state_that_forbids_the_verb_is_named(
    operation: str, kind: str, state: str, hint: str, manager: KeyManager, kms: Any
) -> None:
    """If a key's state forbids an action, the error names the action, and the key is unchanged.

    The hint names the command that ends the state.
    """
    key = key_of_kind(kms, kind)
    words = f"kms:{operation} is refused, because the state of the key is {state}"
    with pytest.raises(KeyUnavailableError, match=words) as caught:
        _VERBS[operation](manager, key)
    assert f"s3crypt keys {hint} {key}" in str(caught.value.hint)
    assert manager.show(key).state == state


@pytest.mark.parametrize("kind", ["asymmetric", "HMAC", "pending import", "disabled"])
def test_keys_of_every_kind_can_be_deleted(kind: str, manager: KeyManager, kms: Any) -> None:
    """Every kind of key can be scheduled for deletion, and the deletion can be cancelled."""
    key = key_of_kind(kms, kind)
    assert _VERBS["ScheduleKeyDeletion"](manager, key)
    assert manager.show(key).state == "PendingDeletion"
    assert manager.cancel_deletion(key).state == "Disabled"


@pytest.mark.parametrize("operation", _VERBS)
def test_a_refusal_names_the_action(operation: str, sandbox: Running, kms: Any) -> None:
    """If KMS refuses an action, the error names the action, and the hint the key's account."""
    kinds = {"EnableKey": "disabled", "CancelKeyDeletion": "pending deletion"}
    key = key_of_kind(kms, kinds.get(operation, "enabled"))
    with (
        refusing(sandbox, operation) as manager,
        pytest.raises(KeyUnavailableError, match=f"kms:{operation} is refused") as caught,
    ):
        _VERBS[operation](manager, key)
    assert f"Ask for kms:{operation}" in str(caught.value.hint)
    assert "123456789012" in str(caught.value.hint)


@pytest.mark.parametrize("operation", _VERBS)
def test_a_lost_reply_is_looked_after(
    operation: str, sandbox: Running, kms: Any, manager: KeyManager
) -> None:
    """If the reply to an action is lost, a retry or a later read finds its effect."""
    kinds = {"EnableKey": "disabled", "CancelKeyDeletion": "pending deletion"}
    key = key_of_kind(kms, kinds.get(operation, "enabled"))
    states = {"EnableKey": "Enabled", "ScheduleKeyDeletion": "PendingDeletion"}
    with losing(sandbox, operation) as (ours, _):
        _VERBS[operation](ours, key)
    assert manager.show(key).state == states.get(operation, "Disabled")


def test_command_disable_says_what_becomes_unreadable(manager: KeyManager, key: str) -> None:
    """`keys disable` warns before its question. Without a terminal it changes nothing."""
    done = command("disable", key)
    assert isinstance(done.exception, ConfigError)
    assert "become unreadable" in done.stderr
    assert f"s3crypt keys impact {key}" in done.stderr
    assert "dry-run" not in str(done.exception.hint)
    assert manager.show(key).state == "Enabled"
    assert f"s3crypt keys enable {key}" in command("disable", key, "--yes").stderr
    assert "already" in command("disable", key).stderr
    assert json.loads(command("enable", key, "--json").stdout)["state"] == "Enabled"


def test_command_schedules_and_cancels_a_deletion(manager: KeyManager, key: str) -> None:
    """`schedule-deletion` without a report needs the typed name; --yes alone is not enough."""
    refused = command("schedule-deletion", key, "--yes")
    assert isinstance(refused.exception, ConfigError)
    assert manager.show(key).state == "Enabled"
    name = key.rpartition("/")[2]
    done = command("schedule-deletion", key, "--days", "7", "--without-impact-report", name)
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"s3crypt keys cancel-deletion {key}" in done.stderr
    assert f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}" in done.stderr
    cancelled = command("cancel-deletion", key)
    assert f"s3crypt keys enable {key}" in cancelled.stderr
    assert "no deletion is scheduled" in command("cancel-deletion", key).stderr


def test_command_reads_the_report(
    manager: KeyManager, bucket: str, key: str, tmp_path: Path
) -> None:
    """`schedule-deletion` refuses a report that does not cover the account, with the reason.

    It asks no question then.
    """
    path = tmp_path / "report.json"
    assert command("impact", key, f"s3://{bucket}/", "--report", str(path)).exit_code == 0
    for options in ((), ("--yes",)):
        done = command("schedule-deletion", key, "--impact-report", str(path), *options)
        assert isinstance(done.exception, ConfigError)
        assert "it does not cover every bucket of the account" in str(done.exception)
    missing = command("schedule-deletion", key, "--impact-report", str(tmp_path / "none"))
    assert isinstance(missing.exception, StorageError)
    assert manager.show(key).state == "Enabled"


@pytest.mark.parametrize("answer", ["the name", "another name", ""])
def test_the_name_is_typed_on_a_terminal(answer: str, manager: KeyManager, key: str) -> None:
    """If the typed name is wrong, nothing is changed, and the exit code is 2."""
    name = key.rpartition("/")[2]
    controller, terminal = pty.openpty()
    arguments = [sys.executable, "-m", "s3crypt_cli", "keys", "schedule-deletion", key]
    with subprocess.Popen(
        arguments, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.close(terminal)
        os.write(controller, (name if answer == "the name" else answer).encode() + b"\n")
        _, err = process.communicate(timeout=60)
    os.close(controller)
    assert b"No report shows that nothing depends on" in err
    assert f"Type the key's name, {name}".encode() in err
    assert process.returncode == (0 if answer == "the name" else 2), err
    state = "PendingDeletion" if answer == "the name" else "Enabled"
    assert manager.show(key).state == state
