# SPDX-License-Identifier: Apache-2.0
"""Compare the decisions of a server that enforces policies with those of `s3crypt.policy`.

    python tests/servers/policies.py ENDPOINT_URL

The policies of a bucket, of its key and of each role are put on the server, and each role then
makes requests there, over HTTP or HTTPS as the URL says. boto3 finds the credentials, which must be
those of an administrator. README.md in this folder says how to start the server. The buckets, keys
and roles are left there.

A difference is explained if `s3crypt.policy` decides like the server when it gets the request as
the server sees it (`SIGHTS`). The exit code is 1 if a difference is not explained.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from s3crypt.policy import (
    Caller,
    Policies,
    Request,
    Role,
    Scope,
    Verdict,
    bucket_policy,
    decide,
    iam_policy,
    key_policy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from s3crypt.policy import Document

REGION = "us-east-1"
NAME = "2026/q3.csv"
MODE, KEY = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
CUSTOMER = "s3:x-amz-server-side-encryption-customer-algorithm"
CUSTOMER_KEY = bytes(range(32))
# The modes whose policies are compared, each with whether puts must name the encryption.
SCOPES = (
    ("sse-kms", False),
    ("sse-kms", True),
    ("dsse-kms", False),
    ("sse-s3", False),
    ("client", False),
)
TRUST = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
QUICK = Config(retries={"total_max_attempts": 1})


def _without(request: Request, *prefixes: str) -> Request:
    context = {
        name: value for name, value in request.context.items() if not name.startswith(prefixes)
    }
    return replace(request, context=context)


def _as_session(request: Request) -> Request:
    name = request.caller.name
    arn = f"arn:aws:sts::{request.owner}:assumed-role/{name}/tries"
    return replace(request, caller=replace(request.caller, arn=arn))


# A difference in words -> the function that makes, from a request as AWS sees it, the request as
# the server sees it.
SIGHTS: Mapping[str, Callable[[Request], Request]] = {
    "The server has no condition key of KMS.": lambda request: _without(request, "kms:"),
    "Of a put's encryption the server has the mode alone.": lambda request: _without(
        request, KEY, CUSTOMER
    ),
    "The server's aws:PrincipalArn is the ARN of the session, not of the role.": _as_session,
}


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket and two keys on the server, and the policies for the roles of the bucket."""

    endpoint_url: str
    scope: Scope
    other_key: str
    blob: bytes

    def client(self, service: str, credentials: Mapping[str, str] | None = None) -> Any:
        """Return a client with these credentials. By default they are the administrator's."""
        return client(self.endpoint_url, service, credentials)


def client(endpoint_url: str, service: str, credentials: Mapping[str, str] | None = None) -> Any:
    """Return a client of a service on the server."""
    make: Any = boto3.client
    return make(service, REGION, endpoint_url=endpoint_url, config=QUICK, **(credentials or {}))


@dataclass(frozen=True, slots=True)
class Try:
    """A request: its form for policies, and the call that sends it with clients of S3 and KMS."""

    words: str
    action: str
    resource: str
    send: Callable[[Any, Any], Any]
    context: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)


def tries(place: Place) -> Iterator[Try]:
    """Yield the requests that are made as every role."""
    yield from _puts(place)
    yield from _of_objects(place)
    yield from _of_bucket(place)
    yield from _of_key(place)
    yield from _uses_of_key(place)


def _puts(place: Place) -> Iterator[Try]:
    scope = place.scope
    at = {"Bucket": scope.bucket, "Key": NAME}
    other = place.other_key
    key = scope.all_keys[0] if scope.all_keys else other
    customer = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": CUSTOMER_KEY}
    for words, headers, context in (
        ("put without a header", {}, {}),
        ("put, AES256", {"ServerSideEncryption": "AES256"}, {MODE: "AES256"}),
        ("put, aws:kms and a key", _kms("aws:kms", key), {MODE: "aws:kms", KEY: key}),
        ("put, dsse and a key", _kms("aws:kms:dsse", key), {MODE: "aws:kms:dsse", KEY: key}),
        ("put, aws:kms and another key", _kms("aws:kms", other), {MODE: "aws:kms", KEY: other}),
        ("put, aws:kms without a key", {"ServerSideEncryption": "aws:kms"}, {MODE: "aws:kms"}),
        ("put, customer key", customer, {CUSTOMER: "AES256"}),
    ):  # fmt: skip
        yield Try(
            words,
            "s3:PutObject",
            f"{scope.bucket_arn}/{NAME}",
            _of_s3("put_object", **at, Body=b"eu,90", **headers),
            context,
        )


def _kms(mode: str, key: str) -> dict[str, str]:
    return {"ServerSideEncryption": mode, "SSEKMSKeyId": key}


def _of_objects(place: Place) -> Iterator[Try]:
    at = {"Bucket": place.scope.bucket, "Key": "there"}
    resource = f"{place.scope.bucket_arn}/there"
    for words, action, method in (
        ("get", "s3:GetObject", "get_object"),
        ("head", "s3:GetObject", "head_object"),
        ("get tags", "s3:GetObjectTagging", "get_object_tagging"),
        ("delete", "s3:DeleteObject", "delete_object"),
    ):
        # A deletion is for an absent object, so the other object still exists for the next role.
        where = {**at, "Key": "absent"} if method == "delete_object" else at
        at_arn = resource.replace("there", "absent") if method == "delete_object" else resource
        yield Try(
            words,
            action,
            at_arn,
            _of_s3(method, **where),
        )


def _of_bucket(place: Place) -> Iterator[Try]:
    scope = place.scope
    policy = bucket_policy(scope).render(indent=None)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    sse_s3 = {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}
    versions = {"VersioningConfiguration": {"Status": "Enabled"}}
    for words, action, method, more in (
        ("list", "s3:ListBucket", "list_objects_v2", {}),
        ("get policy", "s3:GetBucketPolicy", "get_bucket_policy", {}),
        ("set policy", "s3:PutBucketPolicy", "put_bucket_policy", {"Policy": policy}),
        ("get encryption", "s3:GetEncryptionConfiguration", "get_bucket_encryption", {}),
        ("set encryption", "s3:PutEncryptionConfiguration", "put_bucket_encryption", sse_s3),
        ("get versioning", "s3:GetBucketVersioning", "get_bucket_versioning", {}),
        ("set versioning", "s3:PutBucketVersioning", "put_bucket_versioning", versions),
        ("get location", "s3:GetBucketLocation", "get_bucket_location", {}),
        ("get logging", "s3:GetBucketLogging", "get_bucket_logging", {}),
        ("get lifecycle", "s3:GetLifecycleConfiguration", "get_bucket_lifecycle_configuration", {}),
        ("delete policy", "s3:DeleteBucketPolicy", "delete_bucket_policy", {}),
    ):  # fmt: skip
        yield Try(
            words,
            action,
            scope.bucket_arn,
            _of_s3(method, Bucket=scope.bucket, **more),
        )


def _of_key(place: Place) -> Iterator[Try]:
    rotation, window = "kms:RotationPeriodInDays", "kms:ScheduleKeyDeletionPendingWindowInDays"
    yearly, rarely, soon = (
        {"RotationPeriodInDays": 365},
        {"RotationPeriodInDays": 400},
        {"PendingWindowInDays": 7},
    )
    for key in place.scope.all_keys:
        for words, method, more, context in (
            ("describe key", "describe_key", {}, {}),
            ("get key policy", "get_key_policy", {"PolicyName": "default"}, {}),
            ("get rotation", "get_key_rotation_status", {}, {}),
            ("describe it anew", "update_key_description", {"Description": "x"}, {}),
            ("rotate yearly", "enable_key_rotation", yearly, {rotation: "365"}),
            ("rotate rarely", "enable_key_rotation", rarely, {rotation: "400"}),
            ("delete it soon", "schedule_key_deletion", soon, {window: "7"}),
        ):  # fmt: skip
            yield Try(words, _action(method), key, _of_kms(method, KeyId=key, **more), context)
        context = {"kms:BypassPolicyLockoutSafetyCheck": "true"}
        policy = {"Policy": key_policy(place.scope, key).render(indent=None)}
        bypass = _of_kms("put_key_policy", KeyId=key, BypassPolicyLockoutSafetyCheck=True, **policy)
        yield Try("set key policy, bypass", "kms:PutKeyPolicy", key, bypass, context)
    for words, method in (("list keys", "list_keys"), ("list aliases", "list_aliases")):
        yield Try(words, _action(method), "*", _of_kms(method))


def _uses_of_key(place: Place) -> Iterator[Try]:
    pairs = (
        {"aws:s3:arn": place.scope.bucket_arn},
        {"s3crypt:key": NAME},
        {"s3crypt:key": NAME, "s3crypt:bucket": "other"},
    )
    for key in place.scope.all_keys:
        for pair in pairs:
            context: dict[str, str | tuple[str, ...]] = {
                f"kms:EncryptionContext:{name}": value for name, value in pair.items()
            }
            context["kms:EncryptionContextKeys"] = tuple(pair)
            told = ", ".join(pair)
            for method, more in (
                ("generate_data_key", {"KeySpec": "AES_256"}),
                ("encrypt", {"Plaintext": b"key"}),
            ):
                sending = _of_kms(method, KeyId=key, EncryptionContext=pair, **more)
                yield Try(f"{method} for {told}", _action(method), key, sending, context)
        blob = _of_kms(
            "decrypt", KeyId=key, CiphertextBlob=place.blob, EncryptionContext={"s3crypt:key": NAME}
        )
        opened: dict[str, str | tuple[str, ...]] = {
            "kms:EncryptionContext:s3crypt:key": NAME,
            "kms:EncryptionContextKeys": ("s3crypt:key",),
        }
        yield Try("decrypt for s3crypt:key", "kms:Decrypt", key, blob, opened)


def _of_s3(method: str, **arguments: Any) -> Callable[[Any, Any], Any]:
    return lambda s3, _: getattr(s3, method)(**arguments)


def _of_kms(method: str, **arguments: Any) -> Callable[[Any, Any], Any]:
    return lambda _, kms: getattr(kms, method)(**arguments)


def _action(method: str) -> str:
    return "kms:" + "".join(part.capitalize() for part in method.split("_"))


# --- The server -------------------------------------------------------------------------------


def prepared(endpoint_url: str, mode: Any, *, strict: bool) -> Place:
    """Make a bucket with an object and two keys on the server, and put their policies there."""
    s3, kms, sts = (client(endpoint_url, name) for name in ("s3", "kms", "sts"))
    key, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    scope = Scope(
        account=sts.get_caller_identity()["Account"],
        region=REGION,
        bucket=f"acme-{uuid.uuid4().hex[:12]}",
        key_arns=() if mode == "sse-s3" else (key,),
        mode=mode,
        strict=strict,
    )
    s3.create_bucket(Bucket=scope.bucket)
    s3.put_object(Bucket=scope.bucket, Key="there", Body=b"eu,90")
    pair = {"s3crypt:key": NAME}
    blob = kms.encrypt(KeyId=key, Plaintext=b"key", EncryptionContext=pair)["CiphertextBlob"]
    s3.put_bucket_policy(Bucket=scope.bucket, Policy=bucket_policy(scope).render(indent=None))
    for arn in scope.all_keys:
        text = key_policy(scope, arn).render(indent=None)
        kms.put_key_policy(KeyId=arn, PolicyName="default", Policy=text)
    return Place(endpoint_url, scope, other, blob)


def session_of(place: Place, role: Role, policy: Document) -> dict[str, str]:
    """Make a role with a policy on the server. Return the credentials of a session of the role."""
    iam, sts = place.client("iam"), place.client("sts")
    (arn,) = place.scope.arns_of(role)
    path, _, name = arn.partition(":role")[2].rpartition("/")
    trust = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
    iam.create_role(RoleName=name, Path=f"{path}/", AssumeRolePolicyDocument=trust)
    iam.put_role_policy(
        RoleName=name, PolicyName="s3crypt", PolicyDocument=policy.render(indent=None)
    )
    given = sts.assume_role(RoleArn=arn, RoleSessionName="tries")["Credentials"]
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


def answer(each: Try, s3: Any, kms: Any) -> Verdict:
    """Return the server's decision. Every error except a missing permission counts as allowed."""
    try:
        each.send(s3, kms)
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        if code in ("AccessDenied", "AccessDeniedException", "403"):
            return Verdict.DENIED
    return Verdict.ALLOWED


def seen(each: Try, role: Role, place: Place) -> Request:
    """Return the request in the form in which AWS would see it."""
    scope = place.scope
    transport = {"aws:SecureTransport": "false"}
    if place.endpoint_url.startswith("https:"):
        transport = {"aws:SecureTransport": "true"}
        if each.action.startswith("s3:"):
            transport["s3:TlsVersion"] = "1.3"
    caller = Caller("role", scope.arns_of(role)[0], scope.account)
    context = {**transport, **each.context}
    return Request(caller, each.action, each.resource, scope.account, context)


@dataclass(slots=True)
class Report:
    """Counts the compared requests and the differences, by their reasons."""

    count: int = 0
    denied: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: int = 0

    def add(self, where: str, request: Request, policies: Policies, server: Verdict) -> None:
        """Count a comparison; print a difference without a reason."""
        decided = decide(request, policies).verdict
        self.count += 1
        self.denied += decided is Verdict.DENIED
        if server is decided:
            return
        for reason, sight in SIGHTS.items():
            if decide(sight(request), policies).verdict is server:
                self.explained[reason] += 1
                return
        self.unexplained += 1
        sys.stdout.write(f"{where}: {decided} here, {server} there\n")

    def told(self) -> str:
        """Return the summary."""
        reasons = [f"{count:>5}  {reason}\n" for reason, count in self.explained.items()]
        return "".join(reasons) + (
            f"{self.count} requests, {self.denied} denied by s3crypt.policy; "
            f"{self.explained.total()} differences explained, {self.unexplained} not\n"
        )


def compare(place: Place, role: Role, report: Report) -> None:
    """Make every request as one role, and compare the server's decisions with s3crypt's."""
    scope = place.scope
    policy = iam_policy(role, scope)
    credentials = session_of(place, role, policy)
    s3, kms = place.client("s3", credentials), place.client("kms", credentials)
    for each in tries(place):
        key = key_policy(scope, each.resource) if each.resource in scope.all_keys else None
        policies = Policies((policy,), bucket_policy(scope), key)
        where = f"{scope.mode}{' strict' * scope.strict} {role}, {each.words}"
        report.add(where, seen(each, role, place), policies, answer(each, s3, kms))


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Compare a server's decisions with ours.")
    parser.add_argument("endpoint_url")
    endpoint_url = parser.parse_args().endpoint_url
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    report = Report()
    for mode, strict in SCOPES:
        place = prepared(endpoint_url, mode, strict=strict)
        # The object-auditor differs from a reader only in its prefixes, which are not tested here.
        for role in (each for each in Role if each is not Role.OBJECT_AUDITOR):
            compare(place, role, report)
    sys.stdout.write(report.told())
    return 1 if report.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
