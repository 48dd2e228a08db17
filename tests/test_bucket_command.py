# SPDX-License-Identifier: Apache-2.0
"""`s3crypt bucket init` and `harden` over HTTP: changes, obstacles, undo commands and resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from hardening_samples import (
    DENIED,
    OTHER,
    command,
    is_write,
    new_name,
    plain,
    snapshot,
    undo,
    watched,
    with_customer_keys,
    with_expiry,
    with_grants,
    with_policy,
    with_replication,
)
from s3crypt_cli.main import run

from s3crypt import AESKeyring, ClientSide, KMSKeyring, S3Crypt, S3CryptError
from s3crypt.hardening import BucketManager, Wanted
from s3crypt.hardening.looking import description_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay import Answer, Asked


@pytest.fixture(autouse=True)
def no_trails() -> Iterator[None]:
    """Delete every trail afterwards: a trail of all buckets would satisfy the next test."""
    yield
    trails = boto3.client("cloudtrail")
    for trail in trails.describe_trails()["trailList"]:
        trails.delete_trail(Name=trail["Name"])


KEYRING = AESKeyring("acme", "dr", bytes(range(32)))


def lines(captured: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the JSON lines that a command with --json printed."""
    return [json.loads(line) for line in captured.readouterr().out.splitlines()]


def keys_of(kms: Any, bucket: str) -> list[str]:
    """Return the ARNs of all keys that were made for a bucket, with or without an alias."""
    found = [
        kms.describe_key(KeyId=entry["KeyId"])["KeyMetadata"]
        for page in kms.get_paginator("list_keys").paginate()
        for entry in page["Keys"]
    ]
    return [key["Arn"] for key in found if key["Description"] == description_of(bucket)]


# --- init --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> str:
    """Return the name of a bucket that `init` made, with a replica in eu-west-1."""
    name = new_name()
    assert run(["bucket", "init", name, "--replica", "eu-west-1", "--yes", "--quiet"]) == 0
    return name


def test_a_new_bucket_holds(s3: Any, kms: Any, made: str) -> None:
    """`init` makes every setting and a new KMS key; the bucket for logs is under SSE-S3."""
    found = snapshot(s3, made)
    (arn,) = keys_of(kms, made)
    assert found["Encryption"].key == arn
    assert (found["Encryption"].bucket_key, found["Encryption"].blocks_sse_c) == (True, True)
    assert found["PublicAccessBlock"].is_whole
    assert found["Versioning"].is_enabled
    assert found["Ownership"].is_enforced
    assert found["Lifecycle"].aborts_uploads
    assert (found["Logging"].target, found["Logging"].prefix) == (f"{made}-logs", f"{made}/")
    logs = snapshot(s3, f"{made}-logs")
    assert logs["Encryption"].algorithm == "AES256"
    assert logs["Encryption"].blocks_sse_c
    assert kms.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]


def test_what_is_stored_there_is_under_its_key(s3: Any, kms: Any, made: str) -> None:
    """An object without encryption headers is under the bucket's key.

    Its copy in the replica bucket is under the replica of that key.
    """
    s3.put_object(Bucket=made, Key="a", Body=b"x")
    head = s3.head_object(Bucket=made, Key="a")
    assert head["SSEKMSKeyId"] in keys_of(kms, made)
    assert head["BucketKeyEnabled"]
    there = boto3.client("s3", region_name="eu-west-1")
    replica = there.head_object(Bucket=f"{made}-eu-west-1", Key="a")
    assert replica["SSEKMSKeyId"] == head["SSEKMSKeyId"].replace("us-east-1", "eu-west-1")


@pytest.mark.parametrize("location", ["header", "metadata"])
def test_an_object_is_read_back_from_the_replica(made: str, location: Any) -> None:
    """A client-side object is bound to its name only, so it opens in the replica."""
    mode = ClientSide(KEYRING, key_location=location)
    S3Crypt(mode).put(b"kept", f"s3://{made}/{location}")
    there = S3Crypt(mode, session=boto3.Session(region_name="eu-west-1"))
    assert there.read(f"s3://{made}-eu-west-1/{location}") == b"kept"


def test_an_object_that_knows_its_bucket_names_it_on_the_replica(made: str) -> None:
    """With bind_bucket an object in the replica is refused unless `written_in` is given."""
    mode = ClientSide(KEYRING, bind_bucket=True)
    S3Crypt(mode).put(b"kept", f"s3://{made}/bound")
    there = S3Crypt(mode, session=boto3.Session(region_name="eu-west-1"))
    with pytest.raises(S3CryptError):
        there.read(f"s3://{made}-eu-west-1/bound")
    assert there.read(f"s3://{made}-eu-west-1/bound", written_in=made) == b"kept"


def test_a_replica_opens_with_the_multi_region_key_of_its_region(made: str) -> None:
    """The replica of the bucket's key has the same alias in the other Region."""
    alias = f"alias/s3crypt/{made}"
    S3Crypt(ClientSide(KMSKeyring(alias))).put(b"kept", f"s3://{made}/kms")
    session = boto3.Session(region_name="eu-west-1")
    keyring = KMSKeyring(alias, session=session)
    there = S3Crypt(ClientSide(keyring), session=session)
    assert there.read(f"s3://{made}-eu-west-1/kms") == b"kept"


def test_a_second_run_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A second run writes nothing and says so, also with a trail and a replica."""
    words = ("bucket", "init", new_name(), "--trail", "--replica", "eu-west-1", "--yes")
    code, changed = command(*words)
    assert (code, len(changed) > 20) == (0, True)
    capsys.readouterr()
    assert command(*words) == (0, [])
    assert "there is nothing to change" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run writes nothing; it shows the changes and the controls that stay unmet."""
    name = new_name()
    assert command("bucket", "init", name, "--dry-run", "--json") == (0, [])
    told = lines(capsys)
    assert {each["change"] for each in told if "change" in each} >= {"bucket", "key", "encryption"}
    unmet = [each["not_passed"] for each in told if "not_passed" in each]
    assert unmet == ["S3.1", "S3.15", "S3.20", "S3.22", "S3.23"]
    assert name not in [each["Name"] for each in s3.list_buckets()["Buckets"]]


def test_no_line_is_wider_than_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Output fits into 80 columns, but commands to copy are not broken."""
    assert run(["bucket", "init", "acme-wide", "--replica", "eu-west-1", "--dry-run"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_trail_records_all_objects() -> None:
    """The trail records reads and writes in every Region, into the bucket for logs."""
    name = new_name()
    assert run(["bucket", "init", name, "--trail", "--yes", "--quiet"]) == 0
    trails = boto3.client("cloudtrail")
    (trail,) = [
        each
        for each in trails.describe_trails()["trailList"]
        if each["S3BucketName"] == f"{name}-logs"
    ]
    assert trail["IsMultiRegionTrail"]
    (selector,) = trails.get_event_selectors(TrailName=trail["TrailARN"])["EventSelectors"]
    assert selector["ReadWriteType"] == "All"
    assert selector["DataResources"] == [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3"]}]
    assert trails.get_trail_status(Name=trail["TrailARN"])["IsLogging"]


def test_object_lock_is_asked_for_twice(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """For Object Lock, one --yes answers only the first of two questions, so nothing is changed."""
    name = new_name()
    code, changed = command("bucket", "init", name, "--lock", "--yes")
    assert (code, changed) == (2, [])
    assert "--yes" in capsys.readouterr().err
    assert run(["bucket", "init", name, "--lock", "-yy", "--quiet"]) == 0
    assert snapshot(s3, name)["ObjectLock"].is_enabled


def test_without_a_terminal_nothing_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal the exit code is 2, nothing is changed and the hint names --yes."""
    assert command("bucket", "init", new_name()) == (2, [])
    assert "--yes" in capsys.readouterr().err


# --- harden ------------------------------------------------------------------------------------

THINGS: list[tuple[str, Callable[[Any, str], None], tuple[str, ...]]] = [
    ("acl-grants", with_grants, ("Ownership", "AccessControlList", "PublicAccessBlock")),
    ("public-policy", lambda s3, name: with_policy(s3, name, "*"), ("PublicAccessBlock",)),
    (
        "foreign-readers",
        lambda s3, name: with_policy(s3, name, {"AWS": f"arn:aws:iam::{OTHER}:root"}),
        ("Encryption.algorithm",),
    ),
    (
        "service-writers",
        lambda s3, name: with_policy(s3, name, {"Service": "s3.amazonaws.com"}, "s3:PutObject"),
        ("Encryption.algorithm",),
    ),
    ("sse-c-objects", with_customer_keys, ("Encryption.blocked",)),
    ("expiring-objects", with_expiry, ("Versioning",)),
    ("replication-rules", with_replication, ("Encryption.algorithm",)),
]


def held(found: dict[str, Any], part: str) -> Any:
    """Return a setting of a snapshot, or one field of that setting."""
    kind, _, field = part.partition(".")
    return getattr(found[kind], field) if field else found[kind]


@pytest.mark.parametrize(("name", "make", "parts"), THINGS, ids=[each[0] for each in THINGS])
def test_what_works_goes_on_working(
    s3: Any, name: str, make: Any, parts: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """`harden` keeps settings that present users need, unless --despite names the obstacle."""
    bucket = plain(s3)
    make(s3, bucket)
    before = snapshot(s3, bucket)
    assert run(["bucket", "harden", bucket, "--yes", "--json"]) == 0
    told = lines(capsys)
    assert name in [each.get("obstacle") for each in told]
    after = snapshot(s3, bucket)
    assert [held(after, part) for part in parts] == [held(before, part) for part in parts]
    assert after["Lifecycle"].aborts_uploads
    assert after["Logging"].target
    code, changed = command("bucket", "harden", bucket, "--yes", "--quiet")
    assert (code, changed) == (0, [])
    despite = [
        word for each in told if "obstacle" in each for word in ("--despite", each["obstacle"])
    ]
    assert run(["bucket", "harden", bucket, "--yes", "--quiet", *despite]) == 0
    forced = snapshot(s3, bucket)
    assert all(held(forced, part) != held(before, part) for part in parts)


def test_another_replication_goes_on(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing replication rule stays unless --despite is given: all rules share one role."""
    bucket = plain(s3)
    with_replication(s3, bucket)
    harden = ("bucket", "harden", bucket, "--replica", "eu-west-1", "--yes")
    assert run([*harden, "--json", "--despite", "replication-rules"]) == 0
    assert "other-replication" in [each.get("obstacle") for each in lines(capsys)]
    (theirs,) = snapshot(s3, bucket)["Replication"].rules
    more = ("--despite", "replication-rules", "--despite", "other-replication")
    assert run([*harden, "--json", *more]) == 0
    whats = [each.get("what", "") for each in lines(capsys)]
    assert any(f"and end the replication by {theirs['ID']}" in what for what in whats)
    (ours,) = snapshot(s3, bucket)["Replication"].rules
    assert ours["Destination"]["Bucket"] == f"arn:aws:s3:::{bucket}-eu-west-1"


def test_each_change_is_undone_by_its_line(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The undo commands, run in reverse order, restore the bucket.

    Versioning can only be suspended.
    """
    bucket = plain(s3)
    with_grants(s3, bucket)
    with_policy(s3, bucket, "*")
    with_expiry(s3, bucket)
    before = snapshot(s3, bucket)
    names = ("acl-grants", "public-policy", "expiring-objects", "foreign-readers")
    despite = [word for name in names for word in ("--despite", name)]
    assert run(["bucket", "harden", bucket, "--yes", "--json", *despite]) == 0
    made = [each for each in lines(capsys) if each.get("made")]
    assert len(made) > 8
    for each in reversed([each for each in made if each["subject"] == f"s3://{bucket}"]):
        undo(each["undo"])
    after = snapshot(s3, bucket)
    assert after.pop("Versioning").status == "Suspended"
    assert before.pop("Versioning").status is None
    assert after == before


def test_nothing_that_init_creates_is_left_after_its_undo_lines(
    s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The undo commands remove all that `init` made; its KMS keys are scheduled for deletion."""
    name = new_name()
    words = ["bucket", "init", name, "--replica", "eu-west-1", "--yes", "--json"]
    assert run(words) == 0
    for each in reversed(lines(capsys)):
        if each.get("made"):
            undo(each["undo"])
    left = [each["Name"] for each in s3.list_buckets()["Buckets"]]
    assert not [each for each in left if each.startswith(name)]


# --- Bad input ---------------------------------------------------------------------------------


def refusing(when: Callable[[Asked], bool]) -> Any:
    """Return a function that makes a relay refuse the requests that meet a condition."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return DENIED if when(asked) else forward()

    return spoil


def test_a_bucket_of_another_account_is_refused(
    s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """After S3 answers 403 to the first request, no other request is made."""
    name = plain(s3)
    with watched(refusing(lambda asked: asked.method == "HEAD")) as relay:
        assert run(["bucket", "init", name, "--yes"]) == 5
    assert not [asked for asked in relay.asked if is_write(asked)]
    assert "does not belong to account" in capsys.readouterr().err


def test_a_bucket_of_another_region_is_refused(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A bucket of another Region is refused, and the hint names the setting to change."""
    name = plain(s3)
    code, changed = command("bucket", "harden", name, "--yes", "--region", "eu-west-1")
    assert (code, changed) == (5, [])
    assert "Name the bucket's Region: us-east-1." in capsys.readouterr().err


def test_a_bucket_that_is_not_there_is_not_hardened(capsys: pytest.CaptureFixture[str]) -> None:
    """A bucket that does not exist is not hardened, and the hint names `init`."""
    assert command("bucket", "harden", "acme-absent", "--yes") == (5, [])
    assert "s3crypt bucket init acme-absent" in capsys.readouterr().err


def test_a_key_of_somebody_else_behind_the_alias_is_refused(
    kms: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key without the bucket's tag behind the alias is refused, and the error names the key."""
    name, key = new_name(), kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName=f"alias/s3crypt/{name}", TargetKeyId=key)
    assert command("bucket", "init", name, "--yes") == (2, [])
    assert f"alias/s3crypt/{name} names the key {key}" in capsys.readouterr().err


def test_a_name_that_is_taken_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """If another account takes the bucket's name before the creation, the error says so."""
    taken = b"<Error><Code>BucketAlreadyExists</Code><Message>Taken</Message></Error>"
    name = new_name()

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        from relay import Answer  # noqa: PLC0415 - otherwise imported as a type only

        is_creation = asked.method == "PUT" and asked.path.strip("/") == name and not asked.query
        return Answer(409, {}, taken) if is_creation else forward()

    with watched(spoil):
        assert run(["bucket", "init", name, "--yes"]) == 5
    told = capsys.readouterr().err
    assert "is already taken" in told
    assert "0 of" in told


def test_without_rights_to_look_nothing_is_changed(
    s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a setting cannot be read, nothing is changed and the missing permission is named."""
    name = plain(s3)
    denied = refusing(lambda asked: asked.method == "GET" and "lifecycle" in asked.query)
    with watched(denied) as relay:
        assert run(["bucket", "harden", name, "--yes"]) == 5
    assert not [asked for asked in relay.asked if is_write(asked)]
    assert "s3:GetLifecycleConfiguration" in capsys.readouterr().err


def test_with_half_the_rights_it_says_what_is_done(
    s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a refused write the error lists the changes that were made and that were not made."""
    name = plain(s3)
    denied = refusing(lambda asked: asked.method == "PUT" and "versioning" in asked.query)
    with watched(denied):
        assert run(["bucket", "harden", name, "--logs", plain(s3), "--yes", "--quiet"]) == 5
    told = capsys.readouterr().err
    assert "Not made: versioning of" in told.replace("\n", " ")
    assert "Run the command again to make the rest." in told


def test_somebody_else_changes_the_bucket_meanwhile(s3: Any) -> None:
    """A plan is refused if another caller has changed the bucket since the plan was made."""
    name = plain(s3)
    manager, wanted = BucketManager(), Wanted(name)
    for _ in manager.make(wanted, manager.plan(wanted)):
        pass
    plan = manager.plan(wanted)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    with pytest.raises(Exception, match="needs more changes"):
        list(manager.make(wanted, plan))
    assert not snapshot(s3, name)["Versioning"].is_enabled


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["init", "Acme"], "cannot be the name of a bucket"),
        (["init", "acme", "--logs", "acme"], "cannot receive its own access log"),
        (["harden", "acme", "--despite", "everything"], "is not an obstacle"),
    ],
)
def test_wrong_usage_makes_no_request(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage makes no request, and its error is one line with exit code 2."""
    with watched() as relay:
        assert run(["bucket", *words, "--yes"]) == 2
    assert not relay.asked
    assert message in capsys.readouterr().err


# --- Interrupted -------------------------------------------------------------------------------


def killed_at(words: list[str], number: int, *, after: bool) -> bool:
    """Kill a command at its write with this number; return whether it reached that write."""
    running: list[subprocess.Popen[bytes]] = []
    writes = 0

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        nonlocal writes
        if not is_write(asked):
            return forward()
        writes += 1
        if writes != number:
            return forward()
        answer = forward() if after else DENIED
        os.kill(running[0].pid, signal.SIGKILL)
        running[0].wait()
        return answer

    with watched(spoil):
        process = subprocess.Popen(
            [sys.executable, "-m", "s3crypt_cli", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        running.append(process)
        return process.wait() == -signal.SIGKILL


def check_finished(s3: Any, kms: Any, words: list[str]) -> None:
    """Run a command again: it must complete the work, and a third run must change nothing."""
    name = words[2]
    assert command(*words)[0] == 0
    assert command(*words) == (0, [])
    assert len(keys_of(kms, name)) == 1
    assert snapshot(s3, name)["Logging"].target == f"{name}-logs"


@pytest.mark.parametrize("number", [3, 9])
def test_a_killed_run_is_finished_by_another(s3: Any, kms: Any, number: int) -> None:
    """A run that was killed after a key was made, or between settings, can be completed."""
    words = ["bucket", "init", new_name(), "--yes", "--quiet"]
    assert killed_at(words, number, after=True)
    check_finished(s3, kms, words)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_killed_at_every_write_is_finished(s3: Any, kms: Any, after: bool) -> None:
    """A run can be completed after a kill at any write, before or after the write's effect."""
    number = 1
    while True:
        words = ["bucket", "init", new_name(), "--replica", "eu-west-1", "--yes", "--quiet"]
        if not killed_at(words, number, after=after):
            break
        check_finished(s3, kms, words)
        number += 1
    assert number > 20
