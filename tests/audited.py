# SPDX-License-Identifier: Apache-2.0
"""Makes resources that pass or fail each control of the configuration; executes fixes.

Most functions make one resource for a control, and return the scope of an audit.
"""

from __future__ import annotations

import io
import json
import os
import pty
import shlex
import sys
import time
import uuid
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qs

import boto3
from hardening_samples import DENIED, OTHER, new_name, plain, undo, with_replication
from relay import Answer, Asked
from s3crypt_cli.main import run

from s3crypt import sandbox as sandboxes
from s3crypt.audit import Auditor
from s3crypt.aws import Clients
from s3crypt.policy import Scope, bucket_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from s3crypt.audit.values import Finding

ACCOUNT = "123456789012"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


@dataclass(frozen=True, slots=True)
class Made:
    """The scope of an audit for one resource.

    Attributes:
        arn: The resource's ARN.
        bucket: The bucket to audit; None for an audit of the account.
        says: Rewrites replies, for resources that the sandbox cannot make.
    """

    arn: str
    bucket: str | None = None
    says: Callable[[Asked, Answer], Answer] | None = None


def audited(made: Made) -> dict[str, list[Finding]]:
    """Return the findings about a resource, by the id of their control."""
    names = () if made.bucket is None else (made.bucket,)
    found: dict[str, list[Finding]] = {}
    for each in Auditor().configuration(names, account=made.bucket is None):
        if each.resource.arn == made.arn:
            found.setdefault(each.control.id, []).append(each)
    return found


# --- Refusals ----------------------------------------------------------------------------------


def operation_of(asked: Asked) -> str:
    """Return the name of a request's operation.

    For S3, return the first name in the query, or else the method.
    """
    target = asked.headers.get("x-amz-target", "").rpartition(".")[2]
    form = parse_qs(asked.body.decode("latin-1")) if asked.method == "POST" else {}
    if target or form:
        return target or form["Action"][0]
    if "/v20180820/" in asked.target:
        return "s3control"
    return next(iter(asked.query), asked.method)


def refusal(asked: Asked, code: str = "AccessDenied", status: int = 403) -> Answer:
    """Return a refusal in the form of the requested service."""
    if "x-amz-target" in asked.headers:
        said = {"__type": f"{code}Exception", "message": "no"}
        body, kind = json.dumps(said).encode(), "application/x-amz-json-1.1"
        return Answer(400, {"content-type": kind}, body)
    if asked.method == "POST":
        inner = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
        text = f"<ErrorResponse>{inner}</ErrorResponse>"
        return Answer(status, {"content-type": "text/xml"}, text.encode())
    if code == "AccessDenied":
        return Answer(DENIED.status, dict(DENIED.headers), DENIED.body)
    text = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    return Answer(status, {"content-type": "application/xml"}, text.encode())


def hiding(*operations: str) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    """Return a `spoil` function that makes a relay refuse operations."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return refusal(asked) if operation_of(asked) in operations else forward()

    return spoil


def reply(answer: Answer, body: str) -> None:
    """Replace the body of an answer."""
    answer.headers.pop("content-length", None)
    answer.body = body.encode()


# --- Lines -------------------------------------------------------------------------------------


def carry_out(line: str) -> None:
    """Execute a printed command; s3crypt runs on a terminal, and each question is answered yes."""
    if not line.startswith("s3crypt "):
        undo(line)
        return
    first, also, rest = line.partition(" && ")
    if also:
        carry_out(first)
        carry_out(rest)
        return
    controller, terminal = pty.openpty()
    os.write(controller, b"y\ny\n")
    out, err, before = io.StringIO(), io.StringIO(), dict(os.environ)
    try:
        # In this process: another process would import everything anew for each of many fixes.
        with (
            os.fdopen(terminal, encoding="utf-8") as stdin,
            mock.patch.object(sys, "stdin", stdin),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = run(shlex.split(line)[1:])
    finally:
        os.close(controller)
        os.environ.clear()
        os.environ.update(before)
    assert code == 0, err.getvalue()


# --- Buckets -----------------------------------------------------------------------------------


def key(**more: Any) -> str:
    """Make a key that rotates automatically, and return its ARN."""
    kms = boto3.client("kms")
    metadata = kms.create_key(**more)["KeyMetadata"]
    if more.get("Origin") != "EXTERNAL":
        kms.enable_key_rotation(KeyId=metadata["KeyId"])
    return str(metadata["Arn"])


def encrypted(bucket: str, key_arn: str | None, **rule: Any) -> None:
    """Set a bucket's default encryption."""
    default = {"SSEAlgorithm": "aws:kms", **({"KMSMasterKeyID": key_arn} if key_arn else {})}
    blocked = {"EncryptionType": ["SSE-C"]}
    wanted: Any = {
        "ApplyServerSideEncryptionByDefault": default,
        "BucketKeyEnabled": True,
        "BlockedEncryptionTypes": blocked,
        **rule,
    }
    boto3.client("s3").put_bucket_encryption(
        Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [wanted]}
    )


def of_bucket(name: str) -> Made:
    """Return the scope of an audit of a bucket."""
    return Made(f"arn:aws:s3:::{name}", name)


def bare() -> Made:
    """Make a bucket without any settings."""
    return of_bucket(plain(boto3.client("s3")))


def administered() -> Made:
    """Make a bucket that another account may administer."""
    s3 = boto3.client("s3")
    name = plain(s3)
    statement = {
        "Sid": "Theirs",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"},
        "Action": ["s3:GetBucketPolicy", "s3:PutBucketPolicy"],
        "Resource": f"arn:aws:s3:::{name}",
    }
    document = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(document))
    return of_bucket(name)


def without_bucket_key() -> Made:
    """Make a bucket with SSE-KMS and without a Bucket Key."""
    made = bare()
    encrypted(str(made.bucket), key(), BucketKeyEnabled=False)
    return made


def under_aws_key() -> Made:
    """Make a bucket whose default key is aws/s3."""
    made = bare()
    encrypted(str(made.bucket), None)
    return made


def with_own_key() -> Made:
    """Make a bucket with its own default key and without a policy."""
    made = bare()
    encrypted(str(made.bucket), key())
    return made


def refusing_other_keys() -> Made:
    """Make a bucket with the policy that s3crypt makes for its key."""
    made, arn = bare(), key()
    encrypted(str(made.bucket), arn)
    document = bucket_policy(Scope.of(str(made.bucket), key_arns=(arn,)))
    boto3.client("s3").put_bucket_policy(Bucket=str(made.bucket), Policy=document.render())
    return made


def dropping() -> Made:
    """Make a bucket whose replication excludes SSE-KMS objects."""
    s3 = boto3.client("s3")
    name = plain(s3)
    with_replication(s3, name)
    return of_bucket(name)


@cache
def hardened(*options: str) -> Made:
    """Make a bucket by `bucket init`. Tests that do not change the bucket share one bucket."""
    name = new_name()
    assert run(["bucket", "init", name, "--yes", "--yes", "--quiet", *options]) == 0
    return of_bucket(name)


def with_mfa_delete() -> Made:
    """Make a bucket for which S3 reports MFA delete."""
    made = bare()

    def says(asked: Asked, answer: Answer) -> Answer:
        if operation_of(asked) == "versioning":
            text = "<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>"
            reply(answer, f"{text}</VersioningConfiguration>")
        return answer

    return Made(made.arn, made.bucket, says)


# --- Keys --------------------------------------------------------------------------------------


def of_key(arn: str, says: Callable[[Asked, Answer], Answer] | None = None) -> Made:
    """Return the scope of an audit of a key: a bucket with this default key."""
    made = bare()
    encrypted(str(made.bucket), arn)
    return Made(arn, made.bucket, says)


def good_key() -> Made:
    """Make and use a key without any finding."""
    arn = key()
    boto3.client("kms").generate_data_key(KeyId=arn, KeySpec="AES_256")
    return of_key(arn)


def dying() -> Made:
    """Make a key that is scheduled for deletion."""
    made = good_key()
    boto3.client("kms").schedule_key_deletion(KeyId=made.arn)
    return made


def unrotated() -> Made:
    """Make a key that is not rotated."""
    made = good_key()
    boto3.client("kms").disable_key_rotation(KeyId=made.arn)
    return made


def public() -> Made:
    """Make a key whose policy allows every principal."""
    made = good_key()
    own = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}
    everyone = {"Sid": "Open", "Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt"}
    document = {"Version": "2012-10-17", "Statement": [own, {**everyone, "Resource": "*"}]}
    policy = json.dumps(document)
    boto3.client("kms").put_key_policy(KeyId=made.arn, PolicyName="default", Policy=policy)
    return made


def disabled() -> Made:
    """Make a key that is disabled."""
    made = good_key()
    boto3.client("kms").disable_key(KeyId=made.arn)
    return made


def expiring(days: int) -> Made:
    """Make a key whose imported material, according to KMS, expires after this many days."""
    made = good_key()

    def says(asked: Asked, answer: Answer) -> Answer:
        if operation_of(asked) == "DescribeKey":
            said = json.loads(answer.body)
            moment = said["KeyMetadata"]["CreationDate"] + days * 86_400
            said["KeyMetadata"] |= {
                "Origin": "EXTERNAL",
                "ExpirationModel": "KEY_MATERIAL_EXPIRES",
                "ValidTo": moment,
            }
            reply(answer, json.dumps(said))
        return answer

    return Made(made.arn, made.bucket, says)


def unused() -> Made:
    """Make an unused key that, according to KMS, was created three years ago."""
    return used(created=3 * 365, tracked=3 * 365)


def used(*, created: int, used: int | None = None, tracked: int | None = None) -> Made:
    """Make a key. KMS reports its creation, last use and first tracking as so many days ago."""
    made = of_key(key())
    now = time.time()

    def says(asked: Asked, answer: Answer) -> Answer:
        said = json.loads(answer.body) if answer.body.startswith(b"{") else {}
        if operation_of(asked) == "DescribeKey":
            said["KeyMetadata"]["CreationDate"] = now - created * 86_400
            reply(answer, json.dumps(said))
        elif operation_of(asked) == "GetKeyLastUsage":
            said = {"KeyId": made.arn}
            if used is not None:
                said["KeyLastUsage"] = {"Operation": "Decrypt", "Timestamp": now - used * 86_400}
            if tracked is not None:
                said["TrackingStartDate"] = now - tracked * 86_400
            reply(answer, json.dumps(said))
        return answer

    return Made(made.arn, made.bucket, says)


def shared(running: sandboxes.Running) -> Made:
    """Make a key in another account, whose policy shares the key with this account."""
    return Made(sandboxes.share_key(running))


def granted(**more: Any) -> Made:
    """Make a key with a grant."""
    made = good_key()
    wanted = {"Operations": ["Decrypt"], **more}
    if "GranteeServicePrincipal" not in more:
        wanted["GranteePrincipal"] = ROOT
    boto3.client("kms").create_grant(KeyId=made.arn, **wanted)
    return made


def granted_to_service() -> Made:
    """Make a key with a grant to a service for one resource."""
    resource = {"SourceArn": "arn:aws:backup:us-east-1:123456789012:backup-vault:acme"}
    service = "backup.amazonaws.com"
    services = {"GranteeServicePrincipal": service, "RetiringServicePrincipal": service}
    return granted(**services, Constraints=resource)


def granted_to_any_source() -> Made:
    """Make a key with a grant to a service that, according to KMS, has no constraint."""
    made = granted_to_service()

    def says(asked: Asked, answer: Answer) -> Answer:
        if operation_of(asked) == "ListGrants":
            said = json.loads(answer.body)
            for each in said["Grants"]:
                each.pop("Constraints", None)
            reply(answer, json.dumps(said))
        return answer

    return Made(made.arn, made.bucket, says)


# --- The account -------------------------------------------------------------------------------


def account() -> Made:
    """Return the scope of an audit of the account."""
    return Made(ROOT)


def trail(*, recording: Sequence[str] = (), key_arn: str | None = None) -> str:
    """Make a trail that records the reads or writes of all objects, and return its ARN."""
    s3, cloudtrail = boto3.client("s3"), boto3.client("cloudtrail")
    logs, name = plain(s3), f"trail-{uuid.uuid4().hex[:8]}"
    with_trail_delivery(s3, logs)
    more: Any = {"KmsKeyId": key_arn} if key_arn else {}
    made = cloudtrail.create_trail(Name=name, S3BucketName=logs, IsMultiRegionTrail=True, **more)
    resource = {"Type": "AWS::S3::Object", "Values": ["arn:aws:s3"]}
    for kind in recording:
        selector: Any = {
            "ReadWriteType": kind,
            "IncludeManagementEvents": True,
            "DataResources": [resource],
        }
        cloudtrail.put_event_selectors(TrailName=name, EventSelectors=[selector])
    cloudtrail.start_logging(Name=name)
    return str(made["TrailARN"])


def with_trail_delivery(s3: Any, logs: str) -> None:
    """Allow CloudTrail to deliver to a bucket."""
    service = {"Service": "cloudtrail.amazonaws.com"}
    statements = [
        {
            "Effect": "Allow",
            "Principal": service,
            "Action": action,
            "Resource": f"arn:aws:s3:::{logs}{below}",
        }
        for action, below in (
            ("s3:GetBucketAcl", ""),
            ("s3:PutObject", f"/AWSLogs/{ACCOUNT}/*"),
        )
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    s3.put_bucket_policy(Bucket=logs, Policy=json.dumps(document))


def no_trails() -> None:
    """Delete every trail."""
    cloudtrail = boto3.client("cloudtrail")
    for each in cloudtrail.describe_trails()["trailList"]:
        cloudtrail.delete_trail(Name=each["Name"])


def recording(*kinds: str) -> Made:
    """Make a trail that records these kinds of events, and delete all other trails."""
    no_trails()
    trail(recording=kinds)
    return account()


def with_trail(*, is_encrypted: bool) -> Made:
    """Make a trail with or without encryption, and delete all other trails."""
    no_trails()
    return Made(trail(key_arn=key() if is_encrypted else None))


def without_trail() -> Made:
    """Delete every trail, and make a bucket for a new trail."""
    no_trails()
    bare()
    return account()


def open_to_public() -> Made:
    """Allow buckets of the account to become public."""
    _control().delete_public_access_block(AccountId=ACCOUNT)
    return account()


def closed_to_public() -> Made:
    """Prevent buckets of the account from becoming public."""
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    _control().put_public_access_block(
        AccountId=ACCOUNT, PublicAccessBlockConfiguration=dict.fromkeys(names, True)
    )
    return account()


def _control() -> Any:
    return Clients[Any]("s3control").get()


def _decrypting(resource: str) -> str:
    statement = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def managed_policy(resource: str) -> Made:
    """Make a customer managed policy that allows decryption."""
    name = f"p-{uuid.uuid4().hex}"
    made = boto3.client("iam").create_policy(PolicyName=name, PolicyDocument=_decrypting(resource))
    return Made(made["Policy"]["Arn"])


def inline_policy(kind: str, resource: str) -> Made:
    """Make a role, user or group with an inline policy that allows decryption."""
    iam: Any = boto3.client("iam")
    name = f"i-{uuid.uuid4().hex}"
    names = {f"{kind.title()}Name": name}
    trust = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    more = {"AssumeRolePolicyDocument": document} if kind == "role" else {}
    made = getattr(iam, f"create_{kind}")(**names, **more)
    put = partial(getattr(iam, f"put_{kind}_policy"), **names)
    put(PolicyName="own", PolicyDocument=_decrypting(resource))
    return Made(made[kind.title()]["Arn"])
