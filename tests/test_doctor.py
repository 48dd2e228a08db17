# SPDX-License-Identifier: Apache-2.0
"""Set-ups with one fault each: the doctor names the cause and the command that corrects it."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from doctor_samples import (
    an_hour_late,
    areas,
    as_aws_over_http,
    cause,
    closed_port,
    diagnose,
    follow,
    refusing,
    through,
    told,
)
from hardening_samples import with_policy
from tls import make_certificate, tls_relaying

from s3crypt import SSEC, SSEKMS, SSES3, AESKeyring, ClientSide, S3Crypt
from s3crypt.doctor import Area, Outcome, cause_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relay import Answer, Asked

    from s3crypt.sandbox import Running

KEY = bytes(range(32))
WITHOUT_TLS = {"Bool": {"aws:SecureTransport": "false"}}


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def _denying(bucket: str, sid: str = "Stop", **more: Any) -> str:
    statement = {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*Object",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        **more,
    }
    return _policy(statement)


def _key_policy(*statements: dict[str, Any]) -> str:
    everything = {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return _policy(everything, *statements)


# --- This machine and the way to S3 -----------------------------------------------------------


def test_nothing_is_wrong_in_the_sandbox(bucket: str, key: str) -> None:
    """Without a fault no check reports a cause, for put, get and rotate."""
    mode = SSEKMS(key)
    uri = f"s3://{bucket}/a"
    S3Crypt(mode).put(b"x", uri)
    for purpose in ("put", "get", "rotate"):
        found = diagnose(uri, purpose, mode, (key,))
        assert cause_of(found) is None, found
        assert told(found, "bucket policy" if purpose == "get" else "object").outcome == "ok"


def test_there_are_no_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials no request is made to AWS, but the local checks run."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    found = diagnose(f"s3://{bucket}/a")
    first = cause_of(found)
    assert first is not None
    assert (first.area, first.next.split()[:2]) == (Area.CREDENTIALS, ["aws", "configure"])
    assert told(found, "bucket").outcome is Outcome.SKIPPED
    assert told(found, "encryption").outcome is Outcome.OK


def test_the_token_has_expired(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the token has expired, the next step is to export new credentials."""
    with through(refusing("sts", 403, "ExpiredToken"), monkeypatch):
        found = cause(f"s3://{bucket}/a")
    assert found.area is Area.CREDENTIALS
    assert "expired" in found.seen
    assert found.next.startswith("unset AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "SignatureDoesNotMatch"])
def test_the_credentials_are_wrong(code: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown access key and a wrong secret key are faults of the credentials."""
    with through(refusing("sts", 403, code), monkeypatch):
        found = cause(f"s3://{bucket}/a")
    assert (found.area, found.next) == (Area.CREDENTIALS, "aws configure")


def test_the_endpoint_is_unreachable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port is a network fault, and the next step unsets the variable that names it."""
    url = f"http://127.0.0.1:{closed_port()}"
    with monkeypatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL_S3", url)
        found = cause(f"s3://{bucket}/a")
        assert (found.area, found.name) == (Area.NETWORK, "endpoint")
        assert "refuses connections" in found.seen
        follow(found.next, patched)
        assert cause_of(diagnose(f"s3://{bucket}")) is None


def test_the_name_of_the_endpoint_does_not_resolve(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the name of the endpoint does not resolve, the cause says so."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3.invalid")
    assert "cannot be resolved" in cause(f"s3://{bucket}/a", allow_plain_http=True).seen


def test_tls_is_spoken_to_a_plain_port(
    sandbox: Running, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If TLS meets a plain HTTP port, the next step sets the endpoint with http://."""
    url = sandbox.endpoint_url.replace("http:", "https:")
    with monkeypatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL_S3", url)
        found = cause(f"s3://{bucket}/a")
        assert (found.area, found.name) == (Area.NETWORK, "TLS")
        follow(found.next, patched)
        assert cause_of(diagnose(f"s3://{bucket}")) is None


def test_the_certificate_is_not_trusted(
    sandbox: Running, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the certificate is not trusted, the next step sets AWS_CA_BUNDLE to its authority."""
    certificate = make_certificate(tmp_path / "both.pem")
    with tls_relaying(sandbox.endpoint_url, certificate) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
        found = cause(f"s3://{bucket}/a")
        assert (found.area, found.name) == (Area.NETWORK, "TLS")
        mended = found.next.replace("FILE_OF_ITS_AUTHORITY.pem", str(tmp_path / "certificate.pem"))
        follow(mended, monkeypatch)
        after = diagnose(f"s3://{bucket}")
    assert cause_of(after) is None
    assert told(after, "TLS").seen.startswith("TLSv1.3, its certificate is valid until")
    assert "X25519MLKEM768" in told(after, "post-quantum TLS").seen


def test_the_clock_is_wrong(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong clock is recognised by the Date headers of replies."""
    with an_hour_late(monkeypatch):
        found = cause(f"s3://{bucket}/a")
    assert (found.area, found.next) == (Area.CLOCK, "sudo timedatectl set-ntp true")
    assert "60 minutes ahead" in found.seen


def test_the_clock_is_refused(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a service refuses a signature because of its time, the clock is the cause."""
    with through(refusing("sts", 403, "RequestExpired"), monkeypatch):
        assert cause(f"s3://{bucket}/a").area is Area.CLOCK


def test_the_proxy_is_wrong(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that does not answer is named with its variable; without it S3 is reached."""
    with monkeypatch.context() as patched:
        for name in ("NO_PROXY", "no_proxy"):
            patched.delenv(name, raising=False)
        patched.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
        found = cause(f"s3://{bucket}/a")
        assert (found.area, found.name) == (Area.NETWORK, "proxy")
        assert "HTTP_PROXY" in found.next
        follow(found.next, patched)
        assert cause_of(diagnose(f"s3://{bucket}")) is None


# --- The bucket -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "following"),
    [
        ("put", "s3crypt bucket init there-is-no-such-bucket"),
        ("get", "aws s3api list-buckets"),
        ("rotate", "aws s3api list-buckets"),
    ],
)
def test_the_bucket_is_missing(purpose: Any, following: str) -> None:
    """For a put the next command makes the bucket; for a read it lists the buckets."""
    found = cause("s3://there-is-no-such-bucket/a", purpose)
    assert (found.area, found.next) == (Area.S3, following)


def test_the_bucket_is_of_another_account(bucket: str) -> None:
    """If the bucket's owner is not the expected owner, this is the cause."""
    found = cause(f"s3://{bucket}/a", expected_bucket_owner="999999999999")
    assert (found.area, found.name) == (Area.S3, "bucket")
    assert "does not belong to the expected account 999999999999" in found.seen


def test_a_bucket_that_is_not_shown_is_unknown(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If S3 does not show the bucket, no check of its policy is "ok"."""
    S3Crypt(SSES3()).put(b"x", f"s3://{bucket}/a")
    with through(refusing("s3", 403, "AccessDenied"), monkeypatch):
        found = diagnose(f"s3://{bucket}/a")
    assert told(found, "bucket").outcome is Outcome.UNKNOWN
    assert not [each for each in found if each.outcome == "ok" and each.name == "bucket policy"]


def test_the_region_is_wrong_for_the_key(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an alias is not found, the cause is the Region: KMS looks only in the client's Region."""
    name = "acme-in-ireland-of-doctor"
    there = session.client("s3", region_name="eu-west-1")
    there.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    kms = session.client("kms", region_name="eu-west-1")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/irish", TargetKeyId=key)
    mode = SSEKMS("alias/irish")
    found = cause(f"s3://{name}/a", "put", mode, ("kms:alias/irish",))
    assert (found.area, found.name) == (Area.REGION, "Region")
    follow(found.next, monkeypatch)
    assert cause_of(diagnose(f"s3://{name}/a", "put", mode, ("kms:alias/irish",))) is None


def test_the_key_is_of_another_region(session: Any, bucket: str) -> None:
    """A key of another Region than the bucket's is the cause, because S3 does not accept it."""
    key = session.client("kms", region_name="eu-west-1").create_key()["KeyMetadata"]["Arn"]
    found = cause(f"s3://{bucket}/a", "put", SSEKMS(key), (key,))
    assert (found.area, found.name) == (Area.REGION, "Region of key")
    assert found.next == "s3crypt keys create --alias NAME --region us-east-1"


# --- Policies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["put", "get", "rotate"])
def test_the_bucket_policy_denies(
    purpose: Any, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cause names the denying statement.

    A policy with an exception for the caller allows the operation.
    """
    S3Crypt(SSES3()).put(b"x", f"s3://{bucket}/a")
    s3.put_bucket_policy(Bucket=bucket, Policy=_denying(bucket))
    found = cause(f"s3://{bucket}/a", purpose, SSES3())
    assert (found.area, found.name) == (Area.POLICY, "bucket policy")
    assert "Stop" in found.seen
    follow(found.next, monkeypatch)
    assert cause_of(diagnose(f"s3://{bucket}/a", purpose, SSES3())) is None


def test_no_statement_is_taken_away(s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the denying statement gets the exception; the other statements stay unchanged."""
    both = json.loads(_denying(bucket, "Gets", Action="s3:GetObject"))
    both["Statement"] += json.loads(_denying(bucket, "Tags", Action="s3:PutObjectTagging"))[
        "Statement"
    ]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(both))
    follow(cause(f"s3://{bucket}/a").next, monkeypatch)
    kept = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    condition = kept[0].pop("Condition")
    assert kept == both["Statement"]
    (caller,) = condition["ArnNotEquals"].values()
    assert caller.startswith("arn:aws:iam::123456789012:")


def test_a_further_exception_is_added(
    s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception is added to existing exceptions and conditions."""
    other = "arn:aws:iam::123456789012:role/other"
    condition = {
        "ArnNotEquals": {"aws:PrincipalArn": other},
        "StringNotEquals": {"aws:PrincipalTag/team": "ledger"},
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=_denying(bucket, Condition=condition))
    S3Crypt(SSES3()).put(b"x", f"s3://{bucket}/b")
    found = diagnose(f"s3://{bucket}/a", "put", SSES3())
    first = cause_of(found)
    assert first is not None, found
    follow(first.next, monkeypatch)
    (kept,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert other in kept["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]
    assert len(kept["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]) == 2
    assert kept["Condition"]["StringNotEquals"] == condition["StringNotEquals"]


def test_a_protection_of_ours_is_never_changed(s3: Any, bucket: str) -> None:
    """For a statement that s3crypt made, the next step is to satisfy it, not to change it."""
    s3.put_bucket_policy(Bucket=bucket, Policy=_denying(bucket, "S3cryptDenyAll"))
    found = cause(f"s3://{bucket}/a", "put", SSES3())
    assert found.next.startswith("S3cryptDenyAll protects the bucket: ")


def test_the_bucket_policy_demands_a_mode(s3: Any, bucket: str, key: str) -> None:
    """If the bucket policy demands a mode, the next step names a mode that it allows."""
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    condition = {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}
    s3.put_bucket_policy(
        Bucket=bucket, Policy=_denying(bucket, "Kms", Action="s3:PutObject", Condition=condition)
    )
    found = cause(f"s3://{bucket}/a", "put", SSES3())
    assert found.next == f"s3crypt put FILE s3://{bucket}/a --mode sse-kms --key kms:{key}"


def test_a_read_that_was_served_is_not_denied(s3: Any, bucket: str) -> None:
    """A read that S3 served counts as allowed, even if the policy seems to deny it.

    The sandbox ignores the policy's TLS condition, so it serves the read.
    """
    S3Crypt(SSES3()).put(b"x", f"s3://{bucket}/a")
    s3.put_bucket_policy(Bucket=bucket, Policy=_denying(bucket, "Tls", Condition=WITHOUT_TLS))
    found = diagnose(f"s3://{bucket}/a")
    assert told(found, "bucket policy").outcome is Outcome.OK
    assert "has just served s3:GetObject" in told(found, "bucket policy").seen
    assert cause_of(found) is None


@pytest.mark.parametrize("purpose", ["put", "get"])
def test_the_bucket_policy_demands_tls(
    purpose: Any, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over plain HTTP to AWS the next step is the endpoint with https://."""
    s3.put_bucket_policy(Bucket=bucket, Policy=_denying(bucket, "Tls", Condition=WITHOUT_TLS))
    with as_aws_over_http(monkeypatch):
        found = cause(f"s3://{bucket}/a", purpose, allow_plain_http=True)
    assert (found.area, found.name) == (Area.POLICY, "bucket policy")
    assert found.next == "export AWS_ENDPOINT_URL_S3=https://s3.us-east-1.amazonaws.com"


@pytest.mark.parametrize("purpose", ["put", "get"])
def test_whether_another_service_demands_tls_is_unknown(purpose: Any, s3: Any, bucket: str) -> None:
    """A service other than AWS may ignore a TLS condition, so the check is unknown."""
    s3.put_bucket_policy(Bucket=bucket, Policy=_denying(bucket, "Tls", Condition=WITHOUT_TLS))
    found = diagnose(f"s3://{bucket}/a", purpose)
    of_policy = told(found, "bucket policy")
    assert of_policy.outcome is Outcome.UNKNOWN
    assert "Tls denies" in of_policy.seen
    assert "not known" in of_policy.seen


def test_a_service_that_serves_the_policy_over_plain_http_ignores_it(s3: Any, bucket: str) -> None:
    """If a service returns the policy over plain HTTP, it ignores the policy's TLS condition."""
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    s3.put_bucket_policy(
        Bucket=bucket,
        Policy=_denying(bucket, "Tls", Action="s3:*", Resource=resources, Condition=WITHOUT_TLS),
    )
    found = diagnose(f"s3://{bucket}/a", "put", SSES3())
    assert told(found, "bucket policy").outcome is Outcome.OK
    assert cause_of(found) is None


def test_a_denial_for_another_reason_is_the_cause_over_plain_http_too(s3: Any, bucket: str) -> None:
    """If a second statement denies the request for another reason, it is the cause, and not TLS."""
    tls = json.loads(_denying(bucket, "Tls", Condition=WITHOUT_TLS))["Statement"]
    writes = json.loads(_denying(bucket, "Writes", Action="s3:PutObject"))["Statement"]
    s3.put_bucket_policy(Bucket=bucket, Policy=_policy(*tls, *writes))
    found = cause(f"s3://{bucket}/a", "put", SSES3())
    assert "Writes" in found.seen


def test_a_condition_on_the_network_is_unknown(s3: Any, bucket: str) -> None:
    """A condition on the network is unknown: this machine does not know its VPC endpoint."""
    condition = {"StringNotEquals": {"aws:SourceVpce": "vpce-1a2b3c"}}
    s3.put_bucket_policy(Bucket=bucket, Policy=_denying(bucket, "Net", Condition=condition))
    found = diagnose(f"s3://{bucket}/a")
    assert told(found, "bucket policy").outcome is Outcome.UNKNOWN
    assert "vpce-1a2b3c" in told(found, "network conditions").seen


def test_an_allow_denies_nothing(s3: Any, bucket: str) -> None:
    """A policy that only allows other accounts denies nothing."""
    with_policy(s3, bucket, {"AWS": "arn:aws:iam::123456789012:root"})
    assert told(diagnose(f"s3://{bucket}"), "bucket policy").outcome is Outcome.OK


def test_the_bucket_blocks_customer_keys(
    blocked_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the bucket blocks SSE-C, the next command allows it and keeps the default encryption."""
    uri = f"s3://{blocked_bucket}/a"
    found = cause(uri, "put", SSEC(KEY))
    assert (found.area, found.seen) == (Area.S3, "the bucket blocks SSE-C")
    follow(found.next, monkeypatch)
    assert cause_of(diagnose(uri, "put", SSEC(KEY))) is None
    S3Crypt(SSEC(KEY)).put(b"x", uri)


# --- The object -------------------------------------------------------------------------------


def test_the_object_is_absent(bucket: str) -> None:
    """If the object is missing, the next command lists the objects beside it.

    For a put, the diagnosis finds no fault, because the object need not exist.
    """
    found = cause(f"s3://{bucket}/2026/q3.csv")
    assert (found.area, found.next) == (Area.OBJECT, f"s3crypt ls s3://{bucket}/2026/")
    assert cause_of(diagnose(f"s3://{bucket}/2026/q3.csv", "put", SSES3())) is None


def test_the_object_needs_a_customer_key(bucket: str) -> None:
    """If the HEAD without a customer key is refused, the next step names the option for it."""
    uri = f"s3://{bucket}/a"
    S3Crypt(SSEC(KEY)).put(b"x", uri)
    found = cause(uri)
    assert found.area is Area.OBJECT
    assert found.next == f"s3crypt get {uri} . --sse-c-key-file ITS_KEY_FILE"
    assert cause_of(diagnose(uri, "get", SSEC(KEY))) is None


def test_the_customer_key_is_another_one(bucket: str) -> None:
    """If the customer key is wrong, the cause is the key and not a permission."""
    uri = f"s3://{bucket}/a"
    S3Crypt(SSEC(KEY)).put(b"x", uri)
    found = cause(uri, "get", SSEC(KEY[::-1]))
    assert found.area is Area.OBJECT
    assert "customer key" in found.seen


def test_the_object_is_in_another_mode(bucket: str) -> None:
    """If the object is in another mode, the next command names the object's actual mode."""
    uri = f"s3://{bucket}/a"
    S3Crypt(SSES3()).put(b"x", uri)
    assert cause(uri, "get", SSEKMS("alias/reports")).next == f"s3crypt get {uri} . --mode sse-s3"


def test_the_object_is_archived(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the object is archived, the next command restores it."""
    S3Crypt(SSES3()).put(b"x", f"s3://{bucket}/a", storage_class="GLACIER")
    found = cause(f"s3://{bucket}/a")
    assert (found.area, found.name) == (Area.OBJECT, "archive")
    follow(found.next, monkeypatch)
    assert cause_of(diagnose(f"s3://{bucket}/a")) is None


def test_a_legal_hold_keeps_the_old_version(s3: Any, bucket: str) -> None:
    """A legal hold keeps the version with its old key; no command to lift the hold is suggested."""
    _lock(s3, bucket)
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", ObjectLockLegalHoldStatus="ON")
    uri = f"s3://{bucket}/a"
    found = cause(uri, "rotate", SSES3())
    assert (found.area, found.name) == (Area.OBJECT, "lock")
    assert found.next == "Keep the old key until the legal hold has ended."


def test_retention_keeps_the_old_version(s3: Any, bucket: str) -> None:
    """Retention keeps the old key necessary until a date; a get has no fault."""
    _lock(s3, bucket)
    until = datetime.now(UTC) + timedelta(days=3)
    s3.put_object(
        Bucket=bucket, Key="a", Body=b"x", ObjectLockMode="GOVERNANCE",
        ObjectLockRetainUntilDate=until,
    )  # fmt: skip
    uri = f"s3://{bucket}/a"
    assert cause(uri, "rotate", SSES3()).next == f"Keep the old key until {until:%Y-%m-%d}."
    assert told(diagnose(uri), "lock").outcome is Outcome.OK


def _lock(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )


# --- Keys -------------------------------------------------------------------------------------


@pytest.fixture(params=["sse-kms", "client"])
def use(request: pytest.FixtureRequest, bucket: str, kms_key: str) -> tuple[str, Any, str]:
    """Return an object under a key, its mode and the key's ARN."""
    made: Callable[[str], Any] = SSEKMS if request.param == "sse-kms" else ClientSide
    mode = made(f"kms:{kms_key}")
    uri = f"s3://{bucket}/a"
    S3Crypt(mode).put(b"x", uri)
    return uri, mode, kms_key


def test_the_key_is_disabled(
    use: tuple[str, Any, str], kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a key is disabled, the next command enables the key that the object names."""
    uri, mode, key = use
    kms.disable_key(KeyId=key)
    found = cause(uri)
    assert (found.area, found.name) == (Area.KEY, "KMS key")
    assert found.seen == f"{key} is disabled"
    follow(found.next, monkeypatch)
    assert cause_of(diagnose(uri, "get", mode, (f"kms:{key}",))) is None


def test_the_key_is_pending_deletion(
    use: tuple[str, Any, str], kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a key is pending deletion, the next command cancels the deletion and enables the key."""
    uri, mode, key = use
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    found = cause(uri, "rotate", mode, (key,))
    assert found.area is Area.KEY
    assert "pending deletion" in found.seen
    follow(found.next, monkeypatch)
    assert cause_of(diagnose(uri, "rotate", mode, (key,))) is None


def test_the_alias_leads_nowhere(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an alias does not exist, the next command makes a key with this alias."""
    mode, keys = SSEKMS("alias/absent-of-doctor"), ("kms:alias/absent-of-doctor",)
    found = cause(f"s3://{bucket}/a", "put", mode, keys)
    assert found.area is Area.KMS
    assert found.next == "s3crypt keys create --alias absent-of-doctor"
    follow(found.next, monkeypatch)
    assert cause_of(diagnose(f"s3://{bucket}/a", "put", mode, keys)) is None


def test_the_key_policy_denies_decrypt_alone(
    use: tuple[str, Any, str], kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the key policy denies only Decrypt, the doctor finds this by DryRun.

    The policy of the next step allows Decrypt and GenerateDataKey.
    """
    uri, mode, key = use
    deny = {"Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=_key_policy(deny))
    found = diagnose(uri, "rotate", mode, (key,))
    first = cause_of(found)
    assert first is not None
    assert (first.area, first.name) == (Area.POLICY, "Decrypt")
    assert {each.outcome for each in found if each.name == "GenerateDataKey"} == {Outcome.OK}
    follow(first.next, monkeypatch)
    assert cause_of(diagnose(uri, "rotate", mode, (key,))) is None


def test_the_key_policy_does_not_allow(
    session: Any, bucket: str, kms: Any, kms_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the key policy denies the use, the next command adds a statement for the caller."""
    administration = {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:Put*"],
        "Resource": "*",
    }
    kms.put_key_policy(KeyId=kms_key, PolicyName="default", Policy=_policy(administration))
    mode = ClientSide(f"kms:{kms_key}")
    found = cause(f"s3://{bucket}/a", "put", mode, (kms_key,))
    assert (found.area, found.name) == (Area.POLICY, "GenerateDataKey")
    # KMS accepts a policy only if the user that it names exists.
    with contextlib.suppress(session.client("iam").exceptions.EntityAlreadyExistsException):
        session.client("iam").create_user(UserName="sandbox")
    follow(found.next, monkeypatch)
    assert cause_of(diagnose(f"s3://{bucket}/a", "put", mode, (kms_key,))) is None


def test_a_rewrap_is_tried_from_the_old_key_to_the_new_one(
    bucket: str, kms: Any, kms_key: str, new_key: str
) -> None:
    """A rewrap needs only kms:ReEncryptFrom on the old key and kms:ReEncryptTo on the new key."""
    uri = f"s3://{bucket}/a"
    S3Crypt(ClientSide(f"kms:{kms_key}", key_location="metadata")).put(b"x", uri)
    for key, denied in ((kms_key, "kms:ReEncryptTo"), (new_key, "kms:ReEncryptFrom")):
        deny = {"Effect": "Deny", "Principal": "*", "Action": denied, "Resource": "*"}
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=_key_policy(deny))
    found = diagnose(uri, "rotate", ClientSide(f"kms:{new_key}"), (f"kms:{new_key}",))
    assert told(found, "ReEncryptFrom").outcome is Outcome.OK
    assert cause_of(found) is None


def test_the_key_is_none_of_the_objects(bucket: str, key: str, new_key: str) -> None:
    """If the given key does not match, the next step names the key in the unverified header."""
    uri = f"s3://{bucket}/a"
    S3Crypt(ClientSide(f"kms:{key}")).put(b"x", uri)
    found = cause(uri, "get", ClientSide(f"kms:{new_key}"), (f"kms:{new_key}",))
    assert (found.area, found.next) == (Area.KMS, f"s3crypt get {uri} . --key kms:{key}")
    assert cause_of(diagnose(uri, "get", ClientSide(f"kms:{key}"), (f"kms:{key}",))) is None


def test_a_client_side_object_needs_a_key(bucket: str, key: str) -> None:
    """If a get of a client-side object names no key, the missing key is the cause."""
    uri = f"s3://{bucket}/a"
    S3Crypt(ClientSide(f"kms:{key}")).put(b"x", uri)
    found = cause(uri)
    assert (found.name, found.next) == ("keys of object", f"s3crypt get {uri} . --key kms:{key}")
    S3Crypt(ClientSide(AESKeyring("n", "k", KEY))).put(b"x", uri)
    assert cause(uri).next == f"s3crypt get {uri} . --key aes:n/k=FILE"


@pytest.mark.parametrize(
    ("written", "read", "seen"),
    [
        ({}, {}, "the object was written as 'a'"),
        ({"bind_name": False}, {}, "the object is not bound to its name"),
        ({"context": {"team": "x"}}, {"context": {"team": "y"}}, "context has team='x', not 'y'"),
    ],
)
def test_an_object_has_another_context_than_a_get_demands(
    written: dict[str, Any], read: dict[str, Any], seen: str, s3: Any, bucket: str, key: str
) -> None:
    """A context that a get would refuse is found in the object's unverified first bytes."""
    mode = ClientSide(f"kms:{key}", **written)
    S3Crypt(mode).put(b"x", f"s3://{bucket}/a")
    s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")
    assert cause_of(diagnose(f"s3://{bucket}/a", "get", mode, (f"kms:{key}",))) is None
    name = "a" if read else "b"
    mode = ClientSide(f"kms:{key}", **read)
    found = cause(f"s3://{bucket}/{name}", "get", mode, (f"kms:{key}",))
    assert (found.name, found.area) == ("context of object", Area.OBJECT)
    assert seen in found.seen


def test_the_key_waits_for_its_material(bucket: str, kms: Any) -> None:
    """A key of imported material is pending import until its material is imported."""
    key = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["Arn"]
    found = cause(f"s3://{bucket}/a", "put", SSEKMS(key), (key,))
    assert (found.area, found.seen) == (Area.KEY, f"{key} is pending import")
    assert found.next == f"s3crypt keys import-material {key} FILE"


def test_kms_throttles(bucket: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If KMS throttles, the next step is to make fewer requests."""
    with through(refusing("kms", 400, "ThrottlingException"), monkeypatch):
        found = cause(f"s3://{bucket}/a", "put", SSEKMS(key), (key,))
    assert found.area is Area.KMS
    assert "throttled" in found.seen
    assert "fewer requests" in found.next


def test_s3_throttles(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Throttling is recognised by the status, because the reply to a HEAD has no code."""
    with through(refusing("s3", 503, "SlowDown"), monkeypatch):
        found = cause(f"s3://{bucket}/a")
    assert found.area is Area.S3
    assert "fewer requests" in found.next


def test_without_rights_nothing_is_ok(
    bucket: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If KMS does not show a key, no check of the key is "ok"."""
    with through(refusing("kms", 400, "AccessDeniedException"), monkeypatch):
        found = diagnose(f"s3://{bucket}/a", "put", SSEKMS(key), (key,))
    of_keys = [each for each in found if each.area in (Area.KMS, Area.KEY)]
    assert not [each for each in of_keys if each.outcome is Outcome.OK]
    assert told(found, "KMS key").outcome is Outcome.UNKNOWN
    assert areas(found) == {Area.POLICY}


def test_a_diagnosis_writes_nothing(bucket: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor sends only reading requests, and all uses of KMS keys are DryRun."""
    asked: list[Asked] = []

    def note(one: Asked, forward: Callable[[], Answer]) -> Answer:
        asked.append(one)
        return forward()

    S3Crypt(ClientSide(f"kms:{key}")).put(b"x", f"s3://{bucket}/a")
    with through(note, monkeypatch):
        for purpose in ("put", "get", "rotate"):
            diagnose(f"s3://{bucket}/a", purpose, ClientSide(f"kms:{key}"), (key,))
    targets = [each.headers.get("x-amz-target", "") for each in asked]
    used = [
        json.loads(each.body)
        for each, target in zip(asked, targets, strict=True)
        if target.endswith(("Decrypt", "GenerateDataKey", "ReEncrypt"))
    ]
    assert used
    assert all(each["DryRun"] for each in used)
    assert {each.method for each in asked if not each.headers.get("x-amz-target")} <= {
        "GET", "HEAD", "POST",
    }  # fmt: skip
    posts = [each.body for each in asked if each.method == "POST"]
    assert all(b"Action=Get" in body or body.startswith(b"{") for body in posts)


def test_credentials_of_other_servers_are_not_sent_to_aws(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If only S3's endpoint is another provider's, no request goes to STS and KMS."""
    S3Crypt(SSES3()).put(b"x", f"s3://{bucket}/a")
    for service in ("", "_STS", "_KMS", "_IAM"):
        monkeypatch.delenv(f"AWS_ENDPOINT_URL{service}", raising=False)
    assert "AWS_ENDPOINT_URL_S3" in os.environ
    found = diagnose(f"s3://{bucket}/a")
    assert told(found, "identity").outcome is Outcome.SKIPPED
    assert told(found, "KMS key").outcome is Outcome.SKIPPED
    assert told(found, "reading").outcome is Outcome.OK
