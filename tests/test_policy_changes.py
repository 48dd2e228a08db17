# SPDX-License-Identifier: Apache-2.0
"""Changes of bucket and key policies over HTTP: saving, writing, reading back and refusals."""

from __future__ import annotations

import ast
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from relay import Answer, Asked, relaying
from written_policies import ACCOUNT, document, of_key, policy, statement

import s3crypt
from s3crypt import (
    ConfigError,
    ConflictError,
    FormatError,
    KeyUnavailableError,
    PolicyError,
    S3CryptError,
    StorageError,
    policy_changes,
)
from s3crypt.policy import Document, Scope, bucket_policy, key_policy
from s3crypt.policy.lockout import Judgement
from s3crypt.policy.merging import parse_wanted
from s3crypt.policy_changes import Applied, PolicyWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import RequestsLog
    from relay import Relay

    from s3crypt.sandbox import Running


@pytest.fixture(scope="module")
def writer() -> PolicyWriter:
    """Return a policy writer that uses the sandbox."""
    return PolicyWriter(session=boto3.Session())


def read(s3: Any, bucket: str) -> dict[str, Any] | None:
    """Return the policy of a bucket, or None if the bucket has no policy."""
    try:
        found: dict[str, Any] = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    except s3.exceptions.from_code("NoSuchBucketPolicy"):
        return None
    return found


def change(writer: PolicyWriter, wanted: Document, target: str, folder: Path) -> Applied:
    """Plan a change and apply it."""
    return writer.apply(writer.plan(wanted, target), folder=folder)


def set_policy(s3: Any, bucket: str, *statements: dict[str, Any]) -> None:
    """Replace the policy of a bucket, as another tool would."""
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy(*statements)))


def theirs(bucket: str, **elements: Any) -> dict[str, Any]:
    """Return a statement that s3crypt did not make."""
    return statement("Backup", bucket, Action="s3:DeleteObject", Condition=None, **elements)


def is_policy(asked: Asked, method: str) -> bool:
    """Return whether a request reads (GET) or writes (PUT) the policy of a bucket."""
    return asked.method == method and "policy" in asked.query


@contextmanager
def relayed(
    sandbox: Running,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Asked, Callable[[], Answer]], Answer],
    service: str = "S3",
) -> Iterator[tuple[PolicyWriter, Relay]]:
    """Yield a writer whose requests to a service go through a relay."""
    with relaying(sandbox.endpoint_url, spoil) as relay:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", relay.url)
        yield PolicyWriter(session=boto3.Session()), relay


def refusal(status: int, code: str) -> Answer:
    """Return an S3 error reply."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    return Answer(status, {"content-type": "application/xml"}, body.encode())


def test_a_policy_is_written_beside_that_of_others(
    writer: PolicyWriter, s3: Any, bucket: str, tmp_path: Path
) -> None:
    """A written policy keeps foreign statements; the old policy is saved to a file of mode 0600."""
    set_policy(s3, bucket, theirs(bucket))
    wanted = document(statement("S3cryptTLS", bucket))
    applied = change(writer, wanted, f"s3://{bucket}", tmp_path)
    assert read(s3, bucket) == policy(theirs(bucket), statement("S3cryptTLS", bucket))
    assert applied.saved is not None
    assert json.loads(applied.saved.read_text()) == policy(theirs(bucket))
    assert applied.saved.stat().st_mode & 0o777 == 0o600
    assert applied.saved.parent == tmp_path
    assert applied.saved.name.startswith(f"{bucket}-policy-")


def test_a_saved_policy_takes_the_change_back(
    writer: PolicyWriter, s3: Any, bucket: str, tmp_path: Path
) -> None:
    """Applying the saved policy restores the old content of a statement that s3crypt made."""
    before = (theirs(bucket), statement("S3cryptTLS", bucket, Action="s3:PutObject"))
    set_policy(s3, bucket, *before)
    wanted = document(statement("S3cryptTLS", bucket), statement("S3cryptNew", bucket))
    target = f"s3://{bucket}"
    saved = change(writer, wanted, target, tmp_path).saved
    assert saved is not None
    change(writer, Document.parse(saved.read_text()), target, tmp_path)
    assert read(s3, bucket) == policy(*before)


def test_a_bucket_without_a_policy_has_none_again(
    writer: PolicyWriter, s3: Any, bucket: str, tmp_path: Path
) -> None:
    """If a bucket had no policy, applying the saved file removes the policy again."""
    target = f"s3://{bucket}"
    plan = writer.plan(document(statement("S3cryptTLS", bucket)), target)
    assert plan.before is None
    applied = writer.apply(plan, folder=tmp_path)
    assert read(s3, bucket) is not None
    assert applied.saved is not None
    assert parse_wanted(applied.saved.read_text()) == applied.before
    change(writer, applied.before, target, tmp_path)
    assert read(s3, bucket) is None


def test_a_second_run_writes_nothing(
    writer: PolicyWriter, bucket: str, tmp_path: Path, requests_log: RequestsLog
) -> None:
    """A second run with the same policy makes no PUT and saves no file."""
    wanted = document(statement("S3cryptTLS", bucket))
    change(writer, wanted, f"s3://{bucket}", tmp_path)
    requests_log.clear()
    applied = change(writer, wanted, f"s3://{bucket}", tmp_path)
    assert (applied.saved, applied.undo) == (None, None)
    assert len(list(tmp_path.iterdir())) == 1
    assert not [one for one in requests_log.list() if one["method"] == "PUT"]


@pytest.mark.parametrize("name", ["id", "arn", "alias", "alias-arn"])
def test_a_key_may_be_named_by_its_alias(
    name: str, writer: PolicyWriter, kms: Any, kms_key: str, tmp_path: Path
) -> None:
    """A key may be given by id, ARN or alias; the policy is written to the key's ARN."""
    alias = f"alias/{kms_key[-12:]}-{name}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    names = {
        "id": kms_key.rpartition("/")[2],
        "arn": kms_key,
        "alias": alias,
        "alias-arn": kms_key.rpartition(":")[0] + f":{alias}",
    }
    denying = statement("S3cryptVia", Action="kms:Decrypt", Resource="*")
    plan = writer.plan(document(denying), names[name])
    assert str(plan.target) == kms_key
    saved = writer.apply(plan, folder=tmp_path).saved
    found = json.loads(kms.get_key_policy(KeyId=kms_key, PolicyName="default")["Policy"])
    assert found["Statement"][-1] == denying
    assert saved is not None
    assert json.loads(saved.read_text())["Statement"] == found["Statement"][:-1]


def test_a_saved_file_is_never_overwritten(
    writer: PolicyWriter, bucket: str, tmp_path: Path, s3: Any
) -> None:
    """If the old policy cannot be saved to a file, the new policy is not written."""
    plan = writer.plan(document(statement("S3cryptTLS", bucket)), f"s3://{bucket}")
    with pytest.raises(StorageError, match="nothing was written to s3://"):
        writer.apply(plan, folder=tmp_path / "absent")
    assert read(s3, bucket) is None


def test_another_writer_before_the_write_is_noticed(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, s3: Any, bucket: str, tmp_path: Path
) -> None:
    """If another writer changes the policy after the plan, nothing is written."""
    reads = 0

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        nonlocal reads
        if is_policy(asked, "GET"):
            reads += 1
            if reads == 2:
                set_policy(s3, bucket, theirs(bucket))
        return forward()

    with relayed(sandbox, monkeypatch, spoil) as (writer, relay):
        plan = writer.plan(document(statement("S3cryptTLS", bucket)), f"s3://{bucket}")
        with pytest.raises(ConflictError, match="nothing was written") as raised:
            writer.apply(plan, folder=tmp_path)
        assert not [one for one in relay.asked if is_policy(one, "PUT")]
    assert read(s3, bucket) == policy(theirs(bucket))
    assert "was not changed" in raised.value.__notes__[0]


def test_another_writer_after_the_write_is_noticed(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, s3: Any, bucket: str, tmp_path: Path
) -> None:
    """If another writer changes the policy after the write, the error says how to restore it."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if is_policy(asked, "PUT"):
            set_policy(s3, bucket, theirs(bucket))
        return answer

    with relayed(sandbox, monkeypatch, spoil) as (writer, _):
        plan = writer.plan(document(statement("S3cryptTLS", bucket)), f"s3://{bucket}")
        with pytest.raises(ConflictError, match="differs from the written one") as raised:
            writer.apply(plan, folder=tmp_path)
    (saved,) = tmp_path.iterdir()
    assert f"`s3crypt policy apply {saved} s3://{bucket}`" in raised.value.__notes__[0]


def test_a_write_that_settles_late_is_waited_for(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, bucket: str, tmp_path: Path
) -> None:
    """If the service still returns the old policy after the write, the policy is read again."""
    reads = 0

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        nonlocal reads
        reads += is_policy(asked, "GET")
        if is_policy(asked, "GET") and reads == 3:
            return refusal(404, "NoSuchBucketPolicy")
        return forward()

    with relayed(sandbox, monkeypatch, spoil) as (writer, _):
        plan = writer.plan(document(statement("S3cryptTLS", bucket)), f"s3://{bucket}")
        writer.apply(plan, folder=tmp_path)
    assert reads == 4


def test_a_write_without_effect_is_noticed(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, s3: Any, bucket: str, tmp_path: Path
) -> None:
    """If the service replies with success but keeps the old policy, the write is an error."""
    monkeypatch.setattr(policy_changes, "_SETTLING_SECONDS", (0.01, 0.01))

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return Answer(204) if is_policy(asked, "PUT") else forward()

    with relayed(sandbox, monkeypatch, spoil) as (writer, _):
        plan = writer.plan(document(statement("S3cryptTLS", bucket)), f"s3://{bucket}")
        with pytest.raises(StorageError, match="still the earlier one"):
            writer.apply(plan, folder=tmp_path)
    assert read(s3, bucket) is None


def test_a_reply_that_is_lost_is_no_failure(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, s3: Any, bucket: str, tmp_path: Path
) -> None:
    """If the reply to the write is lost, the write is retried and succeeds."""
    broken = 0

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        nonlocal broken
        answer = forward()
        if is_policy(asked, "PUT") and not broken:
            broken += 1
            raise ConnectionError
        return answer

    with relayed(sandbox, monkeypatch, spoil) as (writer, _):
        wanted = document(statement("S3cryptTLS", bucket))
        change(writer, wanted, f"s3://{bucket}", tmp_path)
    assert read(s3, bucket) == wanted.to_json()


def test_half_a_policy_is_not_believed(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, s3: Any, bucket: str
) -> None:
    """A truncated reply with a policy is an error; botocore would return half of the policy."""
    set_policy(s3, bucket, theirs(bucket))

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        answer.cut = len(answer.body) // 2 if is_policy(asked, "GET") else None
        return answer

    with relayed(sandbox, monkeypatch, spoil) as (writer, _), pytest.raises(StorageError):
        writer.plan(document(statement("S3cryptTLS", bucket)), f"s3://{bucket}")


def test_no_check_of_the_services_is_bypassed(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """No write uses the parameters that turn off the lockout checks of S3 and KMS."""
    with relayed(sandbox, monkeypatch, lambda _, forward: forward()) as (_, relay):
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", relay.url)
        writer = PolicyWriter(session=boto3.Session())
        for target, wanted in (
            (f"s3://{bucket}", statement("S3cryptTLS", bucket)),
            (kms_key, statement("S3cryptTLS", Action="kms:Decrypt", Resource="*")),
        ):
            change(writer, document(wanted), target, tmp_path)
    (of_bucket,) = [one for one in relay.asked if is_policy(one, "PUT")]
    assert "x-amz-confirm-remove-self-bucket-access" not in of_bucket.headers
    (of_a_key,) = [
        one for one in relay.asked if one.headers.get("x-amz-target", "").endswith("PutKeyPolicy")
    ]
    assert set(json.loads(of_a_key.body)) == {"KeyId", "Policy", "PolicyName"}
    assert not _named({"BypassPolicyLockoutSafetyCheck", "ConfirmRemoveSelfBucketAccess"})


def _named(names: set[str]) -> set[str]:
    """Return those of these names that occur in the library or the command, without the sandbox."""
    root = Path(s3crypt.__file__).parent
    found: set[str] = set()
    for path in (*root.rglob("*.py"), *(root.parent / "cli").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.is_relative_to(root / "sandbox") or not any(name in text for name in names):
            continue
        for node in ast.walk(ast.parse(text)):
            name = getattr(node, "arg", None) or getattr(node, "value", None)
            found |= {name} & names if isinstance(name, str) else set()
    return found


@pytest.mark.parametrize("mode", ["sse-kms", "dsse-kms"])
def test_the_policies_of_roles_lock_nobody_out(
    mode: Any, writer: PolicyWriter, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """Generated bucket and key policies with every condition do not lock out their writer."""
    scope = Scope.of(
        bucket,
        mode=mode,
        key_arns=(kms_key,),
        client_key_arns=(kms_key,),
        env="production",
        vpc_endpoints=("vpce-0a1b2c3d",),
        prefixes=("2026/",),
    )
    for target, wanted in (
        (f"s3://{bucket}", bucket_policy(scope)),
        (kms_key, key_policy(scope)),
    ):
        plan = writer.plan(wanted, target)
        assert plan.judgement == Judgement(())
        writer.apply(plan, folder=tmp_path)
        assert not writer.plan(wanted, target).changes


BAD = {
    "an object": ("s3://{bucket}/x", ConfigError, "names an object"),
    "an access point": (
        "s3://arn:aws:s3:us-east-1:111122223333:accesspoint/a",
        ConfigError,
        "names an access point",
    ),
    "no name of a key": ("alias/$x", ConfigError, "cannot name a KMS key"),
    "no such bucket": ("s3://absent-{bucket}", StorageError, "no such bucket"),
    "no such key": ("alias/absent", KeyUnavailableError, "no such key"),
    "another account's key": (
        "arn:aws:kms:us-east-1:111122223333:key/1",
        KeyUnavailableError,
        "belongs to account 111122223333",
    ),
    "another Region's key": (
        f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555",
        KeyUnavailableError,
        "no such key",
    ),
}


@pytest.mark.parametrize(("target", "error", "told"), BAD.values(), ids=BAD.keys())
def test_a_target_that_is_none_is_refused(
    target: str, error: type[S3CryptError], told: str, writer: PolicyWriter, bucket: str
) -> None:
    """A target that is no bucket or key of this account is refused."""
    with pytest.raises(error, match=told):
        writer.plan(document(statement("S3cryptTLS", bucket)), target.format(bucket=bucket))


REFUSED = {
    "no rights": ("GET", 403, "AccessDenied", "access denied"),
    "half the rights": ("PUT", 403, "AccessDenied", "access denied"),
    "another account": ("GET", 405, "MethodNotAllowed", "belongs to another account"),
    "another Region": ("GET", 400, "IllegalLocationConstraintException", "wrong region"),
    "malformed": ("PUT", 400, "MalformedPolicy", "S3 refused the policy"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_s3_refuses_changes_nothing(
    case: tuple[str, int, str, str],
    sandbox: Running,
    monkeypatch: pytest.MonkeyPatch,
    s3: Any,
    bucket: str,
    tmp_path: Path,
) -> None:
    """A refused read or write changes nothing; after a refused write the error says so."""
    method, status, code, told = case

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return refusal(status, code) if is_policy(asked, method) else forward()

    with relayed(sandbox, monkeypatch, spoil) as (writer, _):
        wanted = document(statement("S3cryptTLS", bucket))
        with pytest.raises(StorageError, match=told) as raised:
            change(writer, wanted, f"s3://{bucket}", tmp_path)
        notes = getattr(raised.value, "__notes__", [])
    assert read(s3, bucket) is None
    assert [("was not changed" in note) for note in notes] == [True] * (method == "PUT")
    assert raised.value.code == code


@pytest.mark.parametrize("code", ["AccessDenied", "MalformedPolicy"])
def test_a_refusal_after_a_lost_reply_may_have_changed_something(
    code: str,
    sandbox: Running,
    monkeypatch: pytest.MonkeyPatch,
    s3: Any,
    bucket: str,
    tmp_path: Path,
) -> None:
    """If a write's reply is lost and its retry is refused, the error says "may be changed".

    In this test the first attempt did write the policy.
    """
    written = 0

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        nonlocal written
        if not is_policy(asked, "PUT"):
            return forward()
        written += 1
        if written > 1:
            return refusal(403, code)
        forward()
        raise ConnectionError

    wanted = document(statement("S3cryptTLS", bucket))
    with relayed(sandbox, monkeypatch, spoil) as (writer, _), pytest.raises(StorageError) as raised:
        change(writer, wanted, f"s3://{bucket}", tmp_path)
    (note,) = raised.value.__notes__
    assert read(s3, bucket) == wanted.to_json()
    assert "may be changed" in note
    assert "It is not known whether it was done." in str(raised.value)


def test_a_key_that_may_be_read_only_stays_as_it_is(
    writer: PolicyWriter, kms: Any, tmp_path: Path
) -> None:
    """If the caller can read but not write the policy of a key, the key keeps its policy."""
    denying = statement("Theirs", Action="kms:PutKeyPolicy", Resource="*", Condition=None)
    key = kms.create_key(Policy=json.dumps(of_key(denying)), BypassPolicyLockoutSafetyCheck=True)[
        "KeyMetadata"
    ]["Arn"]
    added = statement("S3cryptVia", Action="kms:Decrypt", Resource="*")
    with pytest.raises(KeyUnavailableError, match="access denied") as raised:
        change(writer, document(added), key, tmp_path)
    assert "was not changed" in raised.value.__notes__[0]


@pytest.mark.parametrize("kind", ["bucket", "key"])
def test_a_lock_out_is_refused_before_anything_is_saved(
    kind: str, writer: PolicyWriter, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """A policy that locks out the caller is refused before a file is saved.

    The error names the caller, the action and the statement.
    """
    locking = statement("S3cryptAll", bucket, Condition=None)
    if kind == "key":
        locking |= {"Action": "kms:*", "Resource": "*"}
    plan = writer.plan(document(locking), f"s3://{bucket}" if kind == "bucket" else kms_key)
    with pytest.raises(PolicyError, match=r"user/sandbox could no longer call .*S3cryptAll"):
        writer.apply(plan, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_policy_that_is_too_long_is_never_sent(
    writer: PolicyWriter, bucket: str, requests_log: RequestsLog
) -> None:
    """A bucket policy that is longer than 20 KB, the limit of S3, is refused before any request."""
    long = statement("S3cryptTLS", bucket, Resource=[f"arn:aws:s3:::{bucket}/{'x' * 20_480}"])
    with pytest.raises(ConfigError, match="AWS allows 20,480"):
        writer.plan(document(long), f"s3://{bucket}")
    assert not requests_log.list()


def test_a_policy_that_would_become_too_long_is_not_written(
    writer: PolicyWriter, s3: Any, bucket: str
) -> None:
    """If the merged policy is longer than the limit of S3, it is not written."""
    resources = [f"arn:aws:s3:::{bucket}/{'x' * 15_000}"]
    set_policy(s3, bucket, theirs(bucket, Resource=resources))
    long = statement("S3cryptTLS", bucket, Resource=[f"arn:aws:s3:::{bucket}/{'y' * 6_000}"])
    with pytest.raises(ConfigError, match="AWS allows 20,480"):
        writer.plan(document(long), f"s3://{bucket}")


def test_a_current_policy_that_is_not_understood_is_not_replaced(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    """A current policy with an unknown element is not replaced: the element would be lost."""
    newer = json.dumps(policy(theirs(bucket), Language="newer")).encode()

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return Answer(200, {}, newer) if is_policy(asked, "GET") else forward()

    told = pytest.raises(FormatError, match="it has the element Language")
    with relayed(sandbox, monkeypatch, spoil) as (writer, _), told:
        writer.plan(document(statement("S3cryptTLS", bucket)), f"s3://{bucket}")
