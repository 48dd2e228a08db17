# SPDX-License-Identifier: Apache-2.0
"""The lifecycle of KMS keys, tested against the sandbox."""

import io
import json
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from kms_samples import command, unreachable

from s3crypt.errors import ConfigError, KeyUnavailableError, StorageError
from s3crypt.kms import KeyManager


@pytest.fixture
def manager(session: boto3.Session) -> KeyManager:
    """Return a key manager of the sandbox."""
    return KeyManager(session=session)


@pytest.fixture
def name() -> str:
    """Return an alias that is not in use."""
    return f"test-{uuid.uuid4()}"


def failing(client: Any, operation: str, code: str, times: int = 1000) -> Any:
    """Make the client fail `operation` with `code` this many times; the sandbox cannot do that."""
    left = [times]

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        if not left[0]:
            return None
        left[0] -= 1
        body = json.dumps({"__type": code, "message": "staged"}).encode()
        raw = urllib3.HTTPResponse(io.BytesIO(body), preload_content=False)
        headers = HTTPHeaders.from_dict({"x-amzn-RequestId": "staged"})
        return AWSResponse(request.url, 400, headers, raw)

    client.meta.events.register(f"before-send.kms.{operation}", answer)
    return client


def test_a_created_key_is_complete(manager: KeyManager, name: str) -> None:
    """The created key is symmetric and has the requested alias, tags and rotation."""
    key = manager.create(alias=name, description="reports", tags={"team": "finance"})
    assert key.arn.endswith(f":key/{key.key_id}")
    assert key.aliases == (f"alias/{name}",)
    assert (key.description, key.tags) == ("reports", {"team": "finance"})
    assert (key.spec, key.usage, key.origin) == ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS")
    assert (key.state, key.manager, key.multi_region) == ("Enabled", "CUSTOMER", False)
    assert (key.rotation_enabled, key.rotation_period_days) == (True, 365)
    assert (key.on_demand_rotations, key.not_permitted) == (0, ())
    assert key.created.tzinfo is UTC


def test_show_finds_a_key_by_every_name(manager: KeyManager, name: str) -> None:
    """An id, a key ARN, an alias and an alias ARN all find the same key."""
    key = manager.create(alias=name, description="reports", tags={"team": "finance"})
    alias_arn = key.arn.replace(f"key/{key.key_id}", f"alias/{name}")
    shown = [manager.show(each) for each in (key.key_id, key.arn, f"alias/{name}", alias_arn)]
    assert all(each == shown[0] for each in shown)
    assert (shown[0].arn, shown[0].aliases, shown[0].tags) == (key.arn, key.aliases, key.tags)
    assert shown[0].rotation_enabled is True


@pytest.mark.parametrize("as_text", [False, True])
def test_create_sends_the_policy(manager: KeyManager, kms: Any, *, as_text: bool) -> None:
    """`create` accepts a policy as JSON text or as a mapping, and sends it."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    key = manager.create(policy=json.dumps(policy) if as_text else policy)
    stored = kms.get_key_policy(KeyId=key.key_id, PolicyName="default")["Policy"]
    assert json.loads(stored) == policy


def test_create_without_rotation(manager: KeyManager) -> None:
    """`create` with a rotation period of None leaves automatic rotation off."""
    key = manager.create(rotation_period_days=None)
    assert key.rotation_enabled is False
    assert manager.show(key.arn).rotation_enabled is False


def test_create_multi_region(manager: KeyManager) -> None:
    """A new multi-Region key has the id of such a key, and is its own primary key."""
    key = manager.create(multi_region=True)
    assert key.multi_region
    assert key.key_id.startswith("mrk-")
    assert key.replica_of is None


@pytest.mark.parametrize("prefix", ["", "alias/"])
def test_a_taken_alias_leaves_nothing_behind(manager: KeyManager, name: str, prefix: str) -> None:
    """If the alias is in use, `create` raises an error before it creates a key."""
    owner = manager.create(alias=prefix + name)
    with pytest.raises(ConfigError, match=owner.key_id):
        manager.create(alias=prefix + name, description=name)
    assert not [key for key in manager.list() if key.description == name]


def test_an_unfinished_key_is_named(session: boto3.Session, kms: Any, name: str) -> None:
    """If another caller takes the alias meanwhile, the error names the key that was created."""
    client = session.client("kms")
    other = kms.create_key()["KeyMetadata"]["KeyId"]

    def overtake(**_: Any) -> None:
        kms.create_alias(AliasName=f"alias/{name}", TargetKeyId=other)

    client.meta.events.register("before-call.kms.CreateAlias", overtake)
    with pytest.raises(KeyUnavailableError, match="its settings are incomplete") as caught:
        KeyManager(client=client).create(alias=name, description=name)
    (left,) = [key for key in KeyManager(client=kms).list() if key.description == name]
    assert left.arn in str(caught.value)
    assert f"`s3crypt keys add-alias {left.arn} alias/{name}`" in str(caught.value.hint)
    assert f"schedule-deletion {left.arn} --without-impact" in str(caught.value.hint)
    assert "enable-rotation" not in str(caught.value.hint)
    assert caught.value.code == "AlreadyExistsException"
    assert left.rotation_enabled is True


def test_a_new_key_may_be_unknown_for_a_moment(session: boto3.Session, name: str) -> None:
    """After CreateKey, requests that do not find the key yet are retried.

    KMS is eventually consistent.
    """
    client = failing(session.client("kms"), "EnableKeyRotation", "NotFoundException", times=2)
    failing(client, "CreateAlias", "NotFoundException", times=1)
    key = KeyManager(client=client).create(alias=name)
    shown = KeyManager(session=session).show(f"alias/{name}")
    assert (shown.arn, shown.rotation_enabled) == (key.arn, True)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.create(alias=""),
        lambda m: m.create(alias="alias/"),
        lambda m: m.create(alias="two words"),
        lambda m: m.create(alias="alias/aws/mine"),
        lambda m: m.create(alias="aws/mine"),
        lambda m: m.create(alias="x" * 251),
        lambda m: m.create(rotation_period_days=89),
        lambda m: m.create(rotation_period_days=2561),
        lambda m: m.create(rotation_period_days=True),
        lambda m: m.create(policy="{not json"),
        lambda m: m.create(policy="[]"),
        lambda m: m.create(policy={"Statement": object()}),
        lambda m: m.create(tags={"": "x"}),
        lambda m: m.create(tags={"aws:team": "x"}),
        lambda m: m.create(tags={"team": 1}),
        lambda m: m.create(tags={str(i): "" for i in range(51)}),
        lambda m: m.create(description="x" * 8193),
        lambda m: m.enable_rotation("alias/x", period_days=0),
        lambda m: m.show(""),
        lambda m: m.rotate("alias/two words"),
        lambda m: m.rotations("x" * 2049),
    ],
)
def test_wrong_arguments_send_nothing(call: Callable[[KeyManager], object]) -> None:
    """Invalid arguments raise ConfigError without a request."""
    with pytest.raises(ConfigError):
        call(unreachable())


@pytest.mark.parametrize("days", [90, 2560])
def test_the_shortest_and_longest_period(manager: KeyManager, days: int) -> None:
    """The shortest and the longest rotation period that KMS allows are accepted."""
    assert manager.create(rotation_period_days=days).rotation_period_days == days


def test_rotating_keeps_the_id_and_what_was_wrapped(
    manager: KeyManager, kms: Any, name: str
) -> None:
    """Rotation keeps the key id and adds key material; existing data keys still open."""
    before = manager.create(alias=name)
    data_key = kms.generate_data_key(KeyId=before.arn, KeySpec="AES_256")
    after = manager.rotate(f"alias/{name}")
    assert (after.arn, after.aliases) == (before.arn, before.aliases)
    assert after.on_demand_rotations == 1
    opened = kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"], KeyId=before.arn)
    assert opened["Plaintext"] == data_key["Plaintext"]


def test_what_was_done_is_not_reported_as_failed(
    session: boto3.Session, manager: KeyManager, name: str
) -> None:
    """If only the read after the change fails, create succeeds and rotate reports the rotation."""
    client = failing(session.client("kms"), "GetKeyRotationStatus", "KMSInternalException")
    key = KeyManager(client=client).create(alias=name)
    assert key.rotation_enabled is True
    with pytest.raises(KeyUnavailableError, match="was rotated, but could not be shown"):
        KeyManager(client=client).rotate(key.arn)
    assert len(manager.rotations(key.arn)) == 1


def test_rotations_are_listed_oldest_first(manager: KeyManager, name: str) -> None:
    """Each completed rotation is listed with its date and its cause."""
    manager.create(alias=name)
    assert manager.rotations(f"alias/{name}") == ()
    for _ in range(3):
        manager.rotate(f"alias/{name}")
    done = manager.rotations(f"alias/{name}")
    assert [rotation.type for rotation in done] == ["ON_DEMAND"] * 3
    assert [rotation.date for rotation in done] == sorted(rotation.date for rotation in done)


def test_the_26th_rotation_is_refused_and_explained(manager: KeyManager) -> None:
    """KMS allows 25 rotations on demand per key.

    The error for the 26th rotation names alternatives.
    """
    key = manager.create()
    for _ in range(25):
        manager.rotate(key.arn)
    with pytest.raises(KeyUnavailableError, match="25 times") as caught:
        manager.rotate(key.arn)
    assert caught.value.code == "LimitExceededException"
    assert "automatic rotation" in str(caught.value.hint)


def test_automatic_rotation_is_switched(manager: KeyManager, name: str) -> None:
    """Automatic rotation is switched off, and on again with another period, by alias."""
    manager.create(alias=name)
    off = manager.disable_rotation(f"alias/{name}")
    assert (off.rotation_enabled, off.rotation_period_days) == (False, None)
    assert manager.show(off.arn).rotation_enabled is False
    on = manager.enable_rotation(f"alias/{name}", period_days=180)
    assert (on.rotation_enabled, on.rotation_period_days) == (True, 180)
    assert manager.show(on.arn).rotation_enabled is True


def test_list_has_own_keys_only(manager: KeyManager, kms: Any, name: str) -> None:
    """AWS managed keys are left out; disabled keys and keys without an alias are listed."""
    named, bare = manager.create(alias=name), manager.create(rotation_period_days=None)
    kms.disable_key(KeyId=bare.key_id)
    managed = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["KeyId"]
    found = {key.key_id: key for key in manager.list()}
    assert managed not in found
    assert found[named.key_id].aliases == (f"alias/{name}",)
    assert (found[named.key_id].state, found[bare.key_id].state) == ("Enabled", "Disabled")
    assert (found[named.key_id].rotation_enabled, found[bare.key_id].aliases) == (True, ())


def test_list_asks_no_more_than_it_must(manager: KeyManager, requests_log: Any) -> None:
    """A listing requests the keys once and the aliases once, and per key its state and rotation."""
    manager.create()
    requests_log.clear()
    count = len(tuple(manager.list()))
    headers = [{k.lower(): v for k, v in each["headers"].items()} for each in requests_log.list()]
    asked = Counter(each["x-amz-target"].removeprefix("TrentService.") for each in headers)
    assert (asked["ListKeys"], asked["ListAliases"]) == (1, 1)
    assert asked["DescribeKey"] == count
    assert asked["GetKeyRotationStatus"] <= count
    assert asked.total() <= 2 + 2 * count


def test_list_shows_keys_it_may_not_describe(session: boto3.Session, manager: KeyManager) -> None:
    """A key that KMS refuses to describe is listed with state None beside the other keys."""
    key = manager.create()
    client = failing(session.client("kms"), "DescribeKey", "AccessDeniedException")
    (found,) = [each for each in KeyManager(client=client).list() if each.arn == key.arn]
    assert (found.state, found.rotation_enabled, found.multi_region) == (None, None, None)


def test_show_says_what_it_may_not_see(session: boto3.Session, manager: KeyManager) -> None:
    """If KMS refuses a detail, `show` names the missing IAM action and shows the other details."""
    key = manager.create(tags={"team": "finance"})
    client = failing(session.client("kms"), "ListResourceTags", "AccessDeniedException")
    shown = KeyManager(client=client).show(key.arn)
    assert (shown.tags, shown.not_permitted) == ({}, ("kms:ListResourceTags",))
    assert shown.rotation_enabled is True


@pytest.mark.parametrize("key", ["alias/nobody", "nobody", str(uuid.UUID(int=0))])
def test_an_unknown_key_is_explained(manager: KeyManager, key: str) -> None:
    """The hint for a key that does not exist explains how keys are named."""
    with pytest.raises(KeyUnavailableError, match=key) as caught:
        manager.show(key)
    assert "alias/NAME" in str(caught.value.hint)
    assert caught.value.code == "NotFoundException"
    assert caught.value.request_id


@pytest.mark.parametrize("verb", ["rotate", "enable_rotation", "disable_rotation"])
def test_asymmetric_keys_do_not_rotate(manager: KeyManager, kms: Any, verb: str) -> None:
    """The error for rotating an asymmetric key names its kind. KMS never rotates this kind."""
    made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    with pytest.raises(KeyUnavailableError, match="ECC_NIST_P256"):
        getattr(manager, verb)(made["Arn"])
    assert manager.show(made["Arn"]).rotation_enabled is None
    assert manager.rotations(made["Arn"]) == ()


def test_a_replica_is_asked_in_its_own_region(manager: KeyManager, kms: Any) -> None:
    """A request about a key ARN goes to the Region in the ARN.

    The error for rotating a replica names its primary key.
    """
    primary = manager.create(multi_region=True)
    made = kms.replicate_key(KeyId=primary.key_id, ReplicaRegion="eu-west-1")
    arn = made["ReplicaKeyMetadata"]["Arn"]
    assert manager.show(arn).replica_of == primary.arn
    with pytest.raises(KeyUnavailableError, match="replica") as caught:
        manager.rotate(arn)
    assert primary.arn in str(caught.value.hint)


def test_a_disabled_key_is_shown_but_not_rotated(manager: KeyManager, kms: Any) -> None:
    """A disabled key can be shown. Rotating it raises an error with KMS's reason."""
    key = manager.create()
    kms.disable_key(KeyId=key.key_id)
    with pytest.raises(KeyUnavailableError, match="disabled"):
        manager.rotate(key.arn)
    assert manager.show(key.arn).state == "Disabled"


def test_a_dying_key_has_its_date(manager: KeyManager, kms: Any) -> None:
    """A key whose deletion is scheduled shows the date."""
    key = manager.create()
    kms.schedule_key_deletion(KeyId=key.key_id, PendingWindowInDays=7)
    shown = manager.show(key.arn)
    assert shown.state == "PendingDeletion"
    assert shown.deletion_date is not None
    assert shown.deletion_date > shown.created


def test_command_create_prints_the_arn_alone(manager: KeyManager, name: str) -> None:
    """`keys create` prints only the ARN on stdout; messages go to stderr."""
    done = command("create", "--alias", name, "--tag", "team=finance", "--period-days", "90")
    key = manager.show(f"alias/{name}")
    assert (done.exit_code, done.stdout) == (0, f"{key.arn}\n")
    assert "every 90 days" in done.stderr
    assert key.tags == {"team": "finance"}


def test_command_create_reads_the_policy_from_a_file(
    tmp_path: Path, manager: KeyManager, name: str
) -> None:
    """The policy file of `keys create` must contain JSON; otherwise no key is created."""
    policy = tmp_path / "policy.json"
    for content in (None, b"{", b"\xff"):
        if content is not None:
            policy.write_bytes(content)
        done = command("create", "--description", name, "--policy", str(policy))
        assert isinstance(done.exception, StorageError if content is None else ConfigError)
    assert name not in {key.description for key in manager.list()}


def test_command_create_without_rotation_takes_no_period(name: str) -> None:
    """`keys create` refuses a rotation period together with --no-rotation."""
    done = command("create", "--alias", name, "--no-rotation", "--period-days", "90")
    assert isinstance(done.exception, ConfigError)
    assert command("create", "--alias", name, "--no-rotation").exit_code == 0


def test_command_rotate_and_rotations(manager: KeyManager, name: str) -> None:
    """`keys rotate` rotates a key, and `keys rotations` prints only the history on stdout."""
    key = manager.create(alias=name)
    assert command("rotations", f"alias/{name}").stdout == ""
    done = command("rotate", f"kms:alias/{name}", "--yes")
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"New key material for {key.arn}. Nothing in S3 changes." in done.stderr
    heading, row = command("rotations", f"alias/{name}").stdout.splitlines()
    assert heading.split() == ["date", "rotation", "key", "material"]
    assert "on demand" in row


def test_command_switches_rotation(manager: KeyManager, name: str) -> None:
    """The command switches rotation off and on again; with --quiet it prints nothing."""
    key = manager.create(alias=name)
    assert "off" in command("disable-rotation", key.arn).stderr
    assert manager.show(key.arn).rotation_enabled is False
    done = command("enable-rotation", key.arn, "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert manager.show(key.arn).rotation_enabled is True


def test_command_list_and_show_for_people(manager: KeyManager, name: str) -> None:
    """`keys list` prints a table, and `keys show` aligned lines."""
    key = manager.create(alias=name, tags={"team": "finance"})
    listed = [line.split() for line in command("list").stdout.splitlines()]
    assert [f"alias/{name}", key.key_id, "Enabled"] in [row[:3] for row in listed]
    shown = command("show", f"alias/{name}").stdout
    assert key.arn in shown
    assert "team=finance" in shown
    assert "25 of 25 rotations left" in shown


@pytest.mark.parametrize("verb", ["show", "list", "rotate", "rotations", "create"])
def test_commands_print_one_json_object_a_line(manager: KeyManager, name: str, verb: str) -> None:
    """With --json, stdout has one JSON object per line, and stderr is empty."""
    key = manager.create()
    manager.rotate(key.arn)
    arguments = {"list": (), "create": ("--alias", name), "rotate": (key.arn, "--yes")}.get(
        verb, (key.arn,)
    )
    done = command(verb, "--json", *arguments)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.stderr == ""
    assert records
    assert all(isinstance(record, dict) for record in records)
