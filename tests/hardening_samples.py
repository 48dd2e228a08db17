# SPDX-License-Identifier: Apache-2.0
"""Buckets to harden, the requests that harden them, and execution of undo commands."""

from __future__ import annotations

import json
import os
import shlex
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import boto3
from botocore import xform_name
from relay import Answer, Asked, relaying
from s3crypt_cli.main import run
from sandbox_samples import ssec

from s3crypt.aws import Clients
from s3crypt.buckets import configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay import Relay

ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_KMS")
OTHER = "123456789999"
EVERYONE = "http://acs.amazonaws.com/groups/global/AllUsers"
_READING = ("Describe", "Get", "Head", "List")
DENIED = Answer(
    403,
    {"content-type": "application/xml"},
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
)


def new_name() -> str:
    """Return a bucket name that is not in use."""
    return f"acme-{uuid.uuid4().hex[:12]}"


def is_write(asked: Asked) -> bool:
    """Return whether a request changes something."""
    target = asked.headers.get("x-amz-target", "").rpartition(".")[2]
    form = parse_qs(asked.body.decode("latin-1")) if asked.method == "POST" else {}
    operation = target or form.get("Action", [""])[0]
    if operation:
        return not operation.startswith(_READING)
    return asked.method in ("PUT", "POST", "DELETE")


@contextmanager
def watched(spoil: Any = None) -> Iterator[Relay]:
    """Direct this process to the sandbox through a relay that records each request."""
    before = {name: os.environ[name] for name in os.environ if name.startswith("AWS_ENDPOINT_URL")}
    with relaying(before["AWS_ENDPOINT_URL"], spoil) as relay:
        os.environ.update(dict.fromkeys(before, relay.url))
        try:
            yield relay
        finally:
            os.environ.update(before)


def command(*words: str) -> tuple[int, list[str]]:
    """Run a command through a relay.

    Return its exit code, and the requests that changed something.
    """
    with watched() as relay:
        code = run(words)
    return code, [f"{asked.method} {asked.target}" for asked in relay.asked if is_write(asked)]


def snapshot(s3: Any, bucket: str) -> dict[str, Any]:
    """Return all settings of a bucket, in a form that is equal if their meaning is equal."""
    found = configuration.read_all(s3, bucket)
    assert not found.unseen
    settings: dict[str, Any] = {kind.__name__: value for kind, value in found.settings.items()}
    policy = settings["BucketPolicy"].document
    return {**settings, "BucketPolicy": policy and policy.meaning}


def undo(line: str) -> None:
    """Execute a command of the AWS command line interface, with boto3.

    The names of the command's options are in botocore's models.
    """
    for part in line.split(" && "):
        words = shlex.split(part)
        assert words[0] == "aws", part
        service = words[1].replace("s3api", "s3")
        options = dict(zip(words[3::2], words[4::2], strict=True))
        client: Any = _client(service, options.pop("--region"))
        method = words[2].replace("-", "_")
        operation = client.meta.method_to_api_mapping[method]
        members = client.meta.service_model.operation_model(operation).input_shape.members
        named = {f"--{xform_name(name, '-')}": name for name in members}
        arguments = {}
        for option, text in options.items():
            name = named[option]
            is_text = members[name].type_name == "string"
            arguments[name] = text if is_text else json.loads(text)
        getattr(client, method)(**arguments)


def _client(service: str, region: str) -> Any:
    if service == "s3control":
        # For S3 Control, botocore puts the account before the host name. This is impossible for the
        # sandbox's IP address, so the library's own client is used.
        return Clients[Any]("s3control").get(region)
    return boto3.client(service, region_name=region)  # type: ignore[call-overload]


def plain(s3: Any) -> str:
    """Make a bucket like a new bucket of 2022, without any settings."""
    name = new_name()
    s3.create_bucket(Bucket=name)
    s3.delete_public_access_block(Bucket=name)
    s3.delete_bucket_ownership_controls(Bucket=name)
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
    }
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    return name


def with_grants(s3: Any, bucket: str) -> None:
    """Allow everyone to list a bucket, by an access control list."""
    ownership = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=ownership)
    owner = s3.get_bucket_acl(Bucket=bucket)["Owner"]["ID"]
    s3.put_bucket_acl(Bucket=bucket, GrantFullControl=f"id={owner}", GrantRead=f"uri={EVERYONE}")


def with_policy(s3: Any, bucket: str, principal: Any, action: str = "s3:GetObject") -> None:
    """Set a bucket policy that allows `action` to `principal`."""
    statement = {
        "Sid": "Given",
        "Effect": "Allow",
        "Principal": principal,
        "Action": action,
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    document = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))


def with_customer_keys(s3: Any, bucket: str) -> None:
    """Store an object under a customer key, and an object without one."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", **ssec())
    s3.put_object(Bucket=bucket, Key="b", Body=b"x")


def with_expiry(s3: Any, bucket: str) -> None:
    """Make a rule that expires a bucket's objects; the bucket keeps no versions."""
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 9}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})


def with_replication(s3: Any, bucket: str) -> None:
    """Make a rule that replicates a bucket's objects, except objects under SSE-KMS."""
    target = new_name()
    s3.create_bucket(Bucket=target)
    for each in (bucket, target):
        s3.put_bucket_versioning(Bucket=each, VersioningConfiguration={"Status": "Enabled"})
    rule = {
        "ID": "dr",
        "Status": "Enabled",
        "Priority": 1,
        "Filter": {"Prefix": ""},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "Destination": {"Bucket": f"arn:aws:s3:::{target}"},
    }
    configured = {"Role": "arn:aws:iam::123456789012:role/theirs", "Rules": [rule]}
    s3.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=configured)
