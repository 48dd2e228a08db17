# SPDX-License-Identifier: Apache-2.0
"""Moving and deleting aliases, changing descriptions and tags, and reporting affected buckets."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from kms_samples import command, key_of_kind, losing, new_alias, refusing, unreachable
from relay import Answer, Asked, relaying

from s3crypt import SSEKMS, ClientSide, KMSKeyring, S3Crypt
from s3crypt.alias_users import find_alias_users
from s3crypt.errors import ConfigError, ConflictError, KeyUnavailableError, S3CryptError
from s3crypt.kms import KeyManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3crypt.sandbox import Running


@pytest.fixture
def manager(session: boto3.Session) -> KeyManager:
    """Return a key manager of the sandbox."""
    return KeyManager(session=session)


@pytest.fixture
def key(kms: Any) -> str:
    """Return a key that no other test uses."""
    return key_of_kind(kms, "enabled")


@pytest.fixture
def new_key(kms: Any) -> str:
    """Return a second key that no other test uses."""
    return key_of_kind(kms, "enabled")


@pytest.fixture
def alias(kms: Any, key: str) -> str:
    """Return an alias of `key`."""
    name = new_alias()
    kms.create_alias(AliasName=name, TargetKeyId=key)
    return name


def _named_by(kms: Any, alias: str) -> str:
    return str(kms.describe_key(KeyId=alias)["KeyMetadata"]["Arn"])


@pytest.fixture
def default_by_alias(s3: Any, bucket: str, alias: str) -> str:
    """Return a bucket whose default encryption names the alias."""
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": alias}
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rules)
    return bucket


@pytest.mark.parametrize("form", ["alias/NAME", "NAME", "ARN"])
def test_an_alias_moves(
    form: str, manager: KeyManager, kms: Any, alias: str, key: str, new_key: str
) -> None:
    """`move_alias` accepts a name with or without alias/, or an ARN, and returns both keys."""
    arn = f"{key.rpartition(':')[0]}:{alias}"
    given = {"alias/NAME": alias, "NAME": alias.removeprefix("alias/"), "ARN": arn}[form]
    change = manager.move_alias(given, new_key)
    assert (change.alias, change.alias_arn) == (alias, arn)
    assert (change.was, change.becomes, change.is_change) == (key, new_key, True)
    assert _named_by(kms, alias) == new_key


def test_a_moved_alias_stays_where_it_is(
    manager: KeyManager, alias: str, key: str, requests_log: Any
) -> None:
    """If an alias already leads to the key, no UpdateAlias is sent."""
    requests_log.clear()
    assert not manager.move_alias(alias, key).is_change
    assert "UpdateAlias" not in str(requests_log.list())


@pytest.mark.parametrize("verb", ["move", "delete"])
def test_an_alias_that_moved_meanwhile_is_left_alone(
    verb: str, manager: KeyManager, kms: Any, alias: str, key: str, new_key: str
) -> None:
    """If an alias has moved since the caller looked at it, it is neither moved nor deleted."""
    manager.move_alias(alias, new_key)
    third = key_of_kind(kms, "enabled")
    changes: dict[str, Callable[[], object]] = {
        "move": lambda: manager.move_alias(alias, third, was=key),
        "delete": lambda: manager.delete_alias(alias, was=key),
    }
    with pytest.raises(ConflictError, match="meanwhile; nothing was changed"):
        changes[verb]()
    assert _named_by(kms, alias) == new_key


def test_readers_that_name_the_alias_refuse_what_was_written_before(
    manager: KeyManager, bucket: str, alias: str, key: str, new_key: str
) -> None:
    """After an alias has moved to another key, readers that name the alias refuse older objects.

    A reader that names the old key's ARN still reads them.
    """
    store = S3Crypt(ClientSide(KMSKeyring(alias)))
    store.put(b"before", f"s3://{bucket}/client")
    by_alias = S3Crypt(SSEKMS(alias))
    by_alias.put(b"before", f"s3://{bucket}/server")
    manager.move_alias(alias, new_key)
    with pytest.raises(S3CryptError):
        S3Crypt(ClientSide(KMSKeyring(alias))).read(f"s3://{bucket}/client")
    assert S3Crypt(ClientSide(KMSKeyring(key))).read(f"s3://{bucket}/client") == b"before"
    with pytest.raises(S3CryptError):
        S3Crypt(SSEKMS(alias)).read(f"s3://{bucket}/server")
    assert S3Crypt(SSEKMS(key)).read(f"s3://{bucket}/server") == b"before"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("asymmetric", "symmetric ENCRYPT_DECRYPT and asymmetric SIGN_VERIFY"),
        ("HMAC", "symmetric ENCRYPT_DECRYPT and HMAC GENERATE_VERIFY_MAC"),
        ("managed by AWS", "kms:UpdateAlias is refused: AWS manages the key"),
        ("pending deletion", "PendingDeletion"),
        ("unknown", "no such key"),
        ("of another account", "no such key"),
        ("of another Region", "no such key"),
    ],
)
def test_an_alias_moves_to_a_key_of_its_kind_only(
    kind: str, words: str, manager: KeyManager, kms: Any, alias: str, key: str
) -> None:
    """An alias cannot move to a key of another account, Region, type or usage.

    The error states this rule.
    """
    with pytest.raises(KeyUnavailableError, match=words):
        manager.move_alias(alias, key_of_kind(kms, kind))
    assert _named_by(kms, alias) == key


def test_an_alias_stays_in_its_region(manager: KeyManager, kms: Any, alias: str, key: str) -> None:
    """A key of another Region is refused before a request.

    An alias there would be a second alias.
    """
    other = boto3.client("kms", region_name="eu-west-1").create_key()["KeyMetadata"]["Arn"]
    with pytest.raises(KeyUnavailableError, match="the same Region, us-east-1"):
        manager.move_alias(alias, other)
    assert _named_by(kms, alias) == key


@pytest.mark.parametrize("verb", ["move_alias", "delete_alias"])
def test_an_alias_that_does_not_exist_is_not_moved(
    verb: str, manager: KeyManager, key: str
) -> None:
    """If the alias does not exist, the hint names the verb that creates it."""
    name = new_alias()
    more = (key,) if verb == "move_alias" else ()
    with pytest.raises(KeyUnavailableError, match="alias does not exist; nothing was") as caught:
        getattr(manager, verb)(name, *more)
    assert f"s3crypt keys add-alias KEY {name}" in str(caught.value.hint)


@pytest.mark.parametrize("alias", ["alias/aws/s3", "aws/s3", "", "two words", "alias/" + "x" * 251])
@pytest.mark.parametrize("verb", ["move_alias", "delete_alias", "add_alias"])
def test_an_alias_that_cannot_be_sends_nothing(alias: str, verb: str) -> None:
    """Invalid alias names raise ConfigError without a request."""
    arguments = {"move_alias": (alias, "k"), "delete_alias": (alias,), "add_alias": ("k", alias)}
    with pytest.raises(ConfigError):
        getattr(unreachable(), verb)(*arguments[verb])


def test_an_alias_is_deleted_and_the_key_stays(
    manager: KeyManager, kms: Any, alias: str, key: str
) -> None:
    """Deleting an alias returns its key, which stays. A dry run changes nothing."""
    assert manager.delete_alias(alias, dry_run=True).was == key
    assert _named_by(kms, alias) == key
    change = manager.delete_alias(alias)
    assert (change.was, change.becomes) == (key, None)
    assert manager.show(key).aliases == ()


def test_an_alias_that_is_there_already_is_no_error(
    manager: KeyManager, alias: str, key: str, new_key: str
) -> None:
    """Adding an alias that the key already has succeeds. If another key has it, this is an error.

    The hint contains the command that moves the alias.
    """
    assert manager.add_alias(key, alias).aliases == (alias,)
    with pytest.raises(KeyUnavailableError, match=f"already the alias of {key}") as caught:
        manager.add_alias(new_key, alias)
    assert f"s3crypt keys move-alias {alias} {new_key}" in str(caught.value.hint)


def test_a_lost_reply_to_a_deletion_is_looked_after(
    sandbox: Running, alias: str, key: str, manager: KeyManager
) -> None:
    """If the reply to an alias's deletion is lost, a read confirms the deletion.

    No retry is sent.
    """
    with losing(sandbox, "DeleteAlias") as (ours, asked):
        assert ours.delete_alias(alias).was == key
    assert asked.count("DeleteAlias") == 1
    assert manager.show(key).aliases == ()


def test_descriptions_and_tags(manager: KeyManager, key: str) -> None:
    """Each change of a description or tag returns the key in its new state, as `show` does."""
    assert manager.describe_as(key, "Pay slips").description == "Pay slips"
    assert manager.tag(key, {"team": "finance", "env": "test"}).tags["team"] == "finance"
    assert manager.tag(key, {"env": "prod"}).tags == {"team": "finance", "env": "prod"}
    assert manager.untag(key, ["team", "never"]).tags == {"env": "prod"}
    shown = manager.show(key)
    assert (shown.description, shown.tags) == ("Pay slips", {"env": "prod"})
    assert manager.describe_as(key, "").description == ""


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.describe_as("k", "x" * 8193),
        lambda m: m.tag("k", {}),
        lambda m: m.tag("k", {"": "x"}),
        lambda m: m.tag("k", {"aws:x": "x"}),
        lambda m: m.tag("k", {"x": "x" * 257}),
        lambda m: m.untag("k", []),
        lambda m: m.untag("k", "name"),
        lambda m: m.untag("k", ["x" * 129]),
    ],
)
def test_wrong_arguments_send_nothing(call: Callable[[KeyManager], object]) -> None:
    """Invalid arguments raise ConfigError without a request."""
    with pytest.raises(ConfigError):
        call(unreachable())


_VERBS: dict[str, Callable[[KeyManager, str], object]] = {
    "kms:CreateAlias": lambda m, key: m.add_alias(key, new_alias()),
    "kms:UpdateKeyDescription": lambda m, key: m.describe_as(key, "x"),
    "kms:TagResource": lambda m, key: m.tag(key, {"a": "b"}),
    "kms:UntagResource": lambda m, key: m.untag(key, ["a"]),
}


@pytest.mark.parametrize("action", _VERBS)
def test_keys_of_aws_keep_their_names(manager: KeyManager, kms: Any, action: str) -> None:
    """For a key that AWS manages, the error has the action and the rule; no change is requested."""
    with pytest.raises(KeyUnavailableError, match=f"{action} is refused: AWS manages the key"):
        _VERBS[action](manager, key_of_kind(kms, "managed by AWS"))


@pytest.mark.parametrize("action", _VERBS)
def test_a_refusal_names_the_action_and_the_account(
    sandbox: Running, key: str, action: str
) -> None:
    """If KMS refuses an action, the error names action and account, even if KMS does not."""
    with (
        refusing(sandbox, action.removeprefix("kms:")) as manager,
        pytest.raises(KeyUnavailableError, match=f"{action} is refused: access denied") as caught,
    ):
        _VERBS[action](manager, key)
    assert action in str(caught.value.hint)
    assert "callers of the key's account, 123456789012." in str(caught.value.hint)


def test_buckets_that_name_the_alias_are_found(
    session: boto3.Session, s3: Any, default_by_alias: str, alias: str, key: str
) -> None:
    """A bucket is found if its default names the alias, by name or ARN.

    A bucket whose default names the alias's key is not found.
    """
    others = {f"test-{uuid.uuid4()}": value for value in (f"{key.rpartition(':')[0]}:{alias}", key)}
    for bucket, value in others.items():
        s3.create_bucket(Bucket=bucket)
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": value}
        rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rules)
    by_arn, _ = others
    users = find_alias_users(f"{key.rpartition(':')[0]}:{alias}", session=session)
    assert set(users.buckets) == {default_by_alias, by_arn}
    assert users.looked_at >= 3
    assert (users.not_read, users.not_listed) == ({}, "")


def test_an_alias_of_another_region_is_another_alias(
    session: boto3.Session, default_by_alias: str, alias: str
) -> None:
    """An alias of the same name in another Region is not found: S3 uses the bucket's own Region."""
    arn = f"arn:aws:kms:eu-west-1:123456789012:{alias}"
    assert default_by_alias not in find_alias_users(arn, session=session).buckets


@pytest.mark.parametrize("refused", ["bucket", "list"])
def test_what_may_not_be_seen_of_the_buckets_is_said(
    refused: str, sandbox: Running, default_by_alias: str, alias: str, key: str
) -> None:
    """A bucket that cannot be read is reported, because it might use the alias.

    If buckets cannot be listed, this is reported too.
    """
    target = "/?" if refused == "list" else f"/{default_by_alias}?encryption"
    denied = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_list = refused == "list" and asked.path == "/" and asked.method == "GET"
        is_bucket = refused == "bucket" and asked.target == target
        return Answer(403, {}, denied) if is_list or is_bucket else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
        users = find_alias_users(f"{key.rpartition(':')[0]}:{alias}", session=boto3.Session())
    if refused == "list":
        assert "access denied" in users.not_listed
    else:
        assert list(users.not_read) == [default_by_alias]
    assert default_by_alias not in users.buckets


@pytest.mark.parametrize("verb", ["move-alias", "delete-alias"])
def test_command_shows_who_is_concerned_before_it_asks(
    verb: str, kms: Any, default_by_alias: str, alias: str, key: str, new_key: str
) -> None:
    """The command names the affected buckets before it asks.

    Without a terminal it changes nothing, and names --yes and --dry-run.
    """
    arguments = (alias, new_key) if verb == "move-alias" else (alias,)
    done = command(verb, *arguments)
    assert isinstance(done.exception, ConfigError)
    assert "Give --yes" in str(done.exception.hint)
    assert "--dry-run" in str(done.exception.hint)
    assert default_by_alias in done.stderr
    assert "Keyrings and modes that name the alias" in done.stderr
    assert key in done.stdout
    assert _named_by(kms, alias) == key
    assert command(verb, *arguments, "--dry-run").exit_code == 0
    assert _named_by(kms, alias) == key


def test_command_moves_and_deletes_an_alias(
    manager: KeyManager, kms: Any, alias: str, new_key: str, key: str
) -> None:
    """With --yes the command's JSON has the change and the buckets.

    A second move changes nothing.
    """
    done = command("move-alias", alias, new_key, "--yes", "--json")
    told = json.loads(done.stdout)
    assert (told["was"], told["becomes"], told["changed"]) == (key, new_key, True)
    assert told["bucket_defaults"]["looked_at"] > 0
    assert _named_by(kms, alias) == new_key
    again = command("move-alias", alias, new_key)
    assert (again.exit_code, again.stdout) == (0, "")
    assert "already" in again.stderr
    assert command("delete-alias", alias, "--yes").exit_code == 0
    assert manager.show(new_key).aliases == ()


def test_commands_for_descriptions_and_tags(manager: KeyManager, key: str) -> None:
    """The command sets several tags at once.

    An argument that is not NAME=VALUE exits with code 2.
    """
    assert command("add-alias", key, new_alias()).exit_code == 0
    assert command("set-description", key, "Pay slips").exit_code == 0
    assert command("tag", key, "a=1", "b=2", "c=3").exit_code == 0
    assert command("untag", key, "a", "b").exit_code == 0
    shown = manager.show(key)
    assert (shown.description, shown.tags) == ("Pay slips", {"c": "3"})
    assert isinstance(command("tag", key, "a").exception, ConfigError)


def test_a_tag_without_a_value_is_named() -> None:
    """The error for a tag without a value says that the value is missing."""
    assert str(command("tag", "alias/any", "env").exception).startswith("A tag takes NAME=VALUE")
