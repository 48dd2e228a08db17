# SPDX-License-Identifier: Apache-2.0
"""Keys are listed by state, tag and sharing, shown on one screen, and rotated with a wait."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from kms_samples import command, key_of_kind, losing, new_alias, refusing

from s3crypt import sandbox as sandboxes
from s3crypt.errors import ConfigError, KeyUnavailableError
from s3crypt.kms import KeyManager, rotating

if TYPE_CHECKING:
    from collections.abc import Iterator

    import boto3

    from s3crypt.sandbox import Running

_READS = (
    "GetKeyLastUsage",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "ListAliases",
    "ListGrants",
    "ListKeyRotations",
    "ListResourceTags",
)


@pytest.fixture
def manager(session: boto3.Session) -> KeyManager:
    """Return a key manager of the sandbox."""
    return KeyManager(session=session)


@pytest.fixture
def key(kms: Any) -> str:
    """Return a key that no other test uses."""
    return key_of_kind(kms, "enabled")


@pytest.fixture
def slow_rotations(sandbox: Running) -> Iterator[None]:
    """Let a rotation in KMS take a second."""
    sandboxes.delay_changes(sandbox, 1.0)
    yield
    sandboxes.delay_changes(sandbox, 0)


def test_keys_are_listed_by_state(manager: KeyManager, kms: Any, key: str) -> None:
    """A listing by several states has the keys that are in one of them."""
    disabled, dying = (key_of_kind(kms, kind) for kind in ("disabled", "pending deletion"))
    found = {each.arn: each.state for each in manager.list(states=["Disabled", "PendingDeletion"])}
    assert (found[disabled], found[dying]) == ("Disabled", "PendingDeletion")
    assert key not in found
    assert set(found.values()) == {"Disabled", "PendingDeletion"}


def test_keys_are_listed_by_tags(manager: KeyManager, key: str) -> None:
    """A listing by tags has the keys with all these tags and values.

    Tags are read only for such a listing.
    """
    mark = str(uuid.uuid4())
    manager.tag(key, {"mark": mark, "env": "test"})
    (found,) = manager.list(tags={"mark": mark, "env": "test"})
    assert (found.arn, found.tags) == (key, {"mark": mark, "env": "test"})
    assert not list(manager.list(tags={"mark": mark, "env": "prod"}))
    assert next(iter(manager.list())).tags is None


def test_a_listing_asks_no_more_than_it_must(
    manager: KeyManager, key: str, requests_log: Any
) -> None:
    """A filtered listing sends one request for a key of another state.

    It sends two for a key that lacks the tags.
    """
    requests_log.clear()
    assert key not in {each.arn for each in manager.list(states=["Unavailable"])}
    told = str(requests_log.list())
    assert "GetKeyRotationStatus" not in told
    assert "ListResourceTags" not in told


@pytest.mark.parametrize("states", [["enabled"], ["Enabled", "Gone"]])
def test_an_unknown_state_is_refused(states: list[str], manager: KeyManager) -> None:
    """The hint for an unknown state lists all states."""
    with pytest.raises(ConfigError, match="not a state") as caught:
        manager.list(states=states)
    assert "PendingReplicaDeletion" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("operation", "wanted", "field"),
    [
        ("DescribeKey", {"states": ["Unavailable"]}, "state"),
        ("ListResourceTags", {"tags": {"none": "has this"}}, "tags"),
    ],
)
def test_a_key_that_may_not_be_seen_may_be_a_wanted_one(
    operation: str, wanted: dict[str, Any], field: str, sandbox: Running, key: str
) -> None:
    """A key whose state or tags cannot be read is listed with None, because it might match."""
    with refusing(sandbox, operation) as manager:
        found = {each.arn: each for each in manager.list(**wanted)}
    assert getattr(found[key], field) is None


def test_shared_keys_are_listed_apart(sandbox: Running, manager: KeyManager, key: str) -> None:
    """A listing of shared keys has only keys of other accounts; other listings have only own keys.

    KMS describes a shared key, but refuses its details.
    """
    arn = sandboxes.share_key(sandbox)
    (found,) = [each for each in manager.list(shared=True) if each.arn == arn]
    assert (found.state, found.rotation_enabled, found.aliases) == ("Enabled", None, ())
    assert key not in {each.arn for each in manager.list(shared=True)}
    assert arn not in {each.arn for each in manager.list()}
    assert arn in command("list", "--shared").stdout
    shown = manager.show(arn)
    assert "kms:GetKeyPolicy" in shown.not_permitted
    with pytest.raises(KeyUnavailableError, match="kms:DisableKey is refused") as caught:
        manager.disable(arn)
    assert f"account, {arn.split(':')[4]}" in str(caught.value.hint)


def test_command_list_filters_and_has_descriptions(manager: KeyManager, kms: Any) -> None:
    """The filters of `keys list` can be combined; an empty result prints a message."""
    mark, alias = str(uuid.uuid4()), new_alias()
    made = manager.create(alias=alias, description="Pay slips", tags={"mark": mark})
    done = command("list", "--tag", f"mark={mark}", "--state", "Enabled")
    heading, row = done.stdout.splitlines()
    assert heading.split()[-1] == "description"
    assert row.startswith(alias)
    assert row.endswith("Pay slips")
    kms.disable_key(KeyId=made.arn)
    nothing = command("list", "--tag", f"mark={mark}", "--state", "Enabled")
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "No such keys.\n")
    told = json.loads(command("list", "--tag", f"mark={mark}", "--json").stdout)
    assert (told["state"], told["tags"]) == ("Disabled", {"mark": mark})


def test_show_has_everything(manager: KeyManager, kms: Any) -> None:
    """`show` returns the policy, grants, materials with their dates, and the last recorded use."""
    key = manager.create(alias=new_alias()).arn
    manager.rotate(key)
    user = "arn:aws:iam::123456789012:user/alice"
    kms.create_grant(KeyId=key, GranteePrincipal=user, Operations=["Decrypt"])
    kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    shown = manager.show(key)
    assert shown.policy is not None
    assert json.loads(shown.policy)["Statement"]
    assert [(each.grantee, each.operations) for each in shown.grants or ()] == [
        (user, ("Decrypt",))
    ]
    assert shown.last_use is not None
    assert (shown.last_use.operation, shown.last_use.moment is None) == ("GenerateDataKey", False)
    assert [each.state for each in shown.materials or ()] == ["CURRENT", "NON_CURRENT"]
    newest, first = shown.materials or ()
    assert (newest.id, first.since) == (shown.material_id, None)
    assert newest.since is not None
    assert shown.on_demand_rotations_left == 24


def test_command_show_fits_one_screen(manager: KeyManager, kms: Any) -> None:
    """`keys show` of a plain key fits into 80 columns and 24 lines, with one fact per line."""
    alias = new_alias()
    key = manager.create(alias=alias, description="Pay slips", tags={"team": "finance"})
    manager.rotate(key.arn)
    user = "arn:aws:iam::123456789012:user/alice"
    kms.create_grant(KeyId=key.arn, GranteePrincipal=user, Operations=["Decrypt"])
    shown = command("show", alias).stdout
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    for words in (
        r"state +Enabled",
        r"rotation +every 365 days, next on \d{4}-\d\d-\d\d",
        r"on demand +24 of 25 rotations left",
        r"last use +none since \d{4}",
        r"may use +account 123456789012 by its IAM policies",
        rf"grants +Decrypt for {user}",
        r"tags +team=finance",
        r"\* \d{4}-\d\d-\d\d  [0-9a-f]{64}",
        r"  first       [0-9a-f]{64}",
    ):
        assert re.search(f"^{words}", shown, re.MULTILINE), words
    told = json.loads(command("show", alias, "--json").stdout)
    assert told["rights"]["use"][0]["who"] == "account 123456789012"
    assert told["on_demand_rotations_left"] == 24
    assert len(told["materials"]) == 2


@pytest.mark.parametrize("operation", _READS)
def test_command_show_names_what_it_may_not_see(
    operation: str, sandbox: Running, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a fact cannot be read, its line in `keys show` names the missing permission."""
    with refusing(sandbox, operation) as manager:
        assert f"kms:{operation}" in manager.show(key).not_permitted
        monkeypatch.setattr("s3crypt_cli.keys.showing.manager_of", lambda _: manager)
        done = command("show", key)
    assert f"not permitted: kms:{operation}\n" in done.stdout
    assert done.exit_code == 0


def test_command_show_of_many_grants_and_materials_counts(
    manager: KeyManager, kms: Any, key: str
) -> None:
    """`keys show` prints only some grants and materials.

    It counts the others, and names the command that lists them.
    """
    for number in range(8):
        user = f"arn:aws:iam::123456789012:user/user{number}"
        kms.create_grant(KeyId=key, GranteePrincipal=user, Operations=["Decrypt"])
        manager.rotate(key)
    shown = command("show", key).stdout
    assert f"and 2 more: s3crypt keys grants {key}" in " ".join(shown.split())
    assert f"and 3 more: s3crypt keys rotations {key}" in shown


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("asymmetric", "rotation +never"),
        ("HMAC", "rotation +never"),
        ("pending import", "state +PendingImport"),
        ("pending deletion", "scheduled +deletion after \\d{4}"),
        ("managed by AWS", "kind +.*managed by AWS"),
    ],
)
def test_command_show_of_keys_of_every_kind(kms: Any, kind: str, words: str) -> None:
    """`keys show` does not report a fact as missing if it does not apply to this kind of key."""
    done = command("show", key_of_kind(kms, kind))
    assert re.search(f"^{words}", done.stdout, re.MULTILINE), done.stdout
    assert done.exit_code == 0


def test_command_show_of_a_multi_region_key(manager: KeyManager, kms: Any) -> None:
    """A primary key shows its replicas by Region. A replica shows the Region of its primary key."""
    primary = manager.create(multi_region=True).arn
    made = kms.replicate_key(KeyId=primary, ReplicaRegion="eu-west-1")
    assert "primary key; replicas: eu-west-1" in command("show", primary).stdout
    replica = made["ReplicaKeyMetadata"]["Arn"]
    assert "replica; the primary key is in us-east-1" in command("show", replica).stdout


@pytest.mark.usefixtures("slow_rotations")
def test_a_rotation_is_waited_for(manager: KeyManager, key: str) -> None:
    """Without `wait` a rotation is in progress. With `wait` the new material is already current."""
    begun = manager.rotate(key)
    assert begun.rotating_since is not None
    with pytest.raises(KeyUnavailableError, match="in progress"):
        manager.rotate(key)
    other = manager.create().arn
    before = manager.show(other).material_id
    done = manager.rotate(other, wait=True)
    assert done.rotating_since is None
    assert done.material_id not in {before, None}
    assert done.on_demand_rotations == 1


@pytest.mark.usefixtures("slow_rotations")
def test_a_rotation_that_does_not_finish_says_what_to_do(
    manager: KeyManager, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a rotation does not finish in time, the error says not to repeat it.

    The hint names the command that shows the key.
    """
    monkeypatch.setattr(rotating, "_POLLING_SECONDS", (0.05, 0.05))
    with pytest.raises(KeyUnavailableError, match="was started") as caught:
        manager.rotate(key, wait=True)
    assert "Do not start it again" in str(caught.value.hint)
    assert f"s3crypt keys show {key}" in str(caught.value.hint)


@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_a_rotation_whose_reply_was_lost_is_found(
    delay: float, sandbox: Running, manager: KeyManager, key: str
) -> None:
    """If the reply to a rotation is lost, it is found in progress or finished, and not repeated.

    KMS allows only 25 rotations on demand.
    """
    sandboxes.delay_changes(sandbox, delay)
    try:
        with losing(sandbox, "RotateKeyOnDemand") as (ours, asked):
            ours.rotate(key, wait=True)
    finally:
        sandboxes.delay_changes(sandbox, 0)
    assert asked.count("RotateKeyOnDemand") == 1
    assert manager.show(key).on_demand_rotations == 1


def test_command_rotate_asks(manager: KeyManager, key: str) -> None:
    """`keys rotate` asks with the number of rotations left.

    Without a terminal nothing is rotated.
    """
    done = command("rotate", key)
    assert isinstance(done.exception, ConfigError)
    assert f"25 of 25 on-demand rotations are left to {key}" in done.stderr
    assert manager.rotations(key) == ()
    assert command("rotate", key, "--yes", "--wait").exit_code == 0
    assert len(manager.rotations(key)) == 1


@pytest.mark.parametrize("kind", ["asymmetric", "HMAC", "managed by AWS"])
def test_keys_that_never_rotate_use_up_nothing(kind: str, manager: KeyManager, kms: Any) -> None:
    """For a key that KMS never rotates, the error names the action, and no rotation is used up."""
    with pytest.raises(KeyUnavailableError, match="kms:RotateKeyOnDemand is refused"):
        manager.rotate(key_of_kind(kms, kind))
