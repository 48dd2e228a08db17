# SPDX-License-Identifier: Apache-2.0
"""The sandbox's KMS: its refusals, also by way of S3, and rotation."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from sandbox_samples import raw, refusal

from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable


# --- Keys that may not be used -----------------------------------------------------------------


def _disable(kms: Any, key: str) -> None:
    kms.disable_key(KeyId=key)


def _doom(kms: Any, key: str) -> None:
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)


def _deny(kms: Any, key: str) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_disable, (400, "KMS.DisabledException")),
        (_doom, (400, "KMS.KMSInvalidStateException")),
        (_deny, (403, "AccessDenied")),
    ],
)
def test_unusable_keys_stop_s3(
    s3: Any,
    kms: Any,
    bucket: str,
    kms_key: str,
    spoil: Callable[[Any, str], None],
    expected: tuple[int, str],
) -> None:
    """Nothing is written, read or copied under a key KMS refuses; HEAD needs no key."""
    where = {"Bucket": bucket, "Key": "k"}
    mode = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
    s3.put_object(**where, Body=b"data", **mode)
    spoil(kms, kms_key)
    assert refusal(s3.put_object, **where, Body=b"x", **mode) == expected
    assert refusal(s3.create_multipart_upload, **where, **mode) == expected
    assert refusal(s3.get_object, **where) == expected
    assert refusal(s3.copy_object, Bucket=bucket, Key="l", CopySource=f"{bucket}/k") == expected
    assert s3.head_object(**where)["ContentLength"] == 4


def test_missing_keys_stop_s3(s3: Any, bucket: str) -> None:
    """A key that does not exist, or is elsewhere, is not found."""
    for name in ("alias/none", str(uuid.uuid4()), f"arn:aws:kms:eu-west-1:1:key/{uuid.uuid4()}"):
        refused = refusal(
            s3.put_object, Bucket=bucket, Key="k", ServerSideEncryption="aws:kms", SSEKMSKeyId=name
        )
        assert refused == (400, "KMS.NotFoundException")


def _crypto_calls(kms: Any, key: str, other: str, blob: bytes) -> list[Callable[[], Any]]:
    return [
        lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
        lambda: kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256"),
        lambda: kms.encrypt(KeyId=key, Plaintext=b"x"),
        lambda: kms.decrypt(CiphertextBlob=blob),
        lambda: kms.decrypt(CiphertextBlob=blob, KeyId=key),
        lambda: kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=other),
        lambda: kms.re_encrypt(
            CiphertextBlob=kms.encrypt(KeyId=other, Plaintext=b"x")["CiphertextBlob"],
            DestinationKeyId=key,
        ),
    ]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_disable, "DisabledException"),
        (_doom, "KMSInvalidStateException"),
        (_deny, "AccessDeniedException"),
    ],
)
def test_unusable_keys_do_nothing(
    kms: Any, kms_key: str, spoil: Callable[[Any, str], None], code: str
) -> None:
    """Disabled, dying and denied keys refuse every cryptographic operation, at both ends."""
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    spoil(kms, kms_key)
    for call in _crypto_calls(kms, kms_key, other, blob):
        assert refusal(call) == (400, code)


def test_keys_recover(kms: Any, kms_key: str) -> None:
    """Cancelling a deletion leaves the key disabled; enabling it brings everything back."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    _doom(kms, kms_key)
    assert refusal(kms.enable_key, KeyId=kms_key) == (400, "KMSInvalidStateException")
    kms.cancel_key_deletion(KeyId=kms_key)
    assert refusal(kms.decrypt, CiphertextBlob=blob) == (400, "DisabledException")
    kms.enable_key(KeyId=kms_key)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_deny_can_be_for_one_action(kms: Any, kms_key: str) -> None:
    """A key may wrap and not unwrap."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    statement = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["kms:Decrypt"]}
    policy = json.dumps({"Statement": [statement | {"Resource": "*"}]})
    kms.put_key_policy(KeyId=kms_key, PolicyName="default", Policy=policy)
    assert refusal(kms.decrypt, CiphertextBlob=blob) == (400, "AccessDeniedException")
    assert kms.generate_data_key(KeyId=kms_key, KeySpec="AES_256")["KeyId"] == kms_key


# --- Everything else ---------------------------------------------------------------------------


def test_the_named_key_must_be_the_ciphertexts(kms: Any, kms_key: str) -> None:
    """Decrypt's KeyId and ReEncrypt's SourceKeyId are checked."""
    other = kms.create_key()["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    wrong = (400, "IncorrectKeyException")
    assert refusal(kms.decrypt, CiphertextBlob=blob, KeyId=other) == wrong
    move = {"CiphertextBlob": blob, "DestinationKeyId": other}
    assert refusal(kms.re_encrypt, **move, SourceKeyId=other) == wrong
    moved = kms.re_encrypt(**move, SourceKeyId=kms_key)
    assert (moved["SourceKeyId"], moved["KeyId"]) == (kms_key, other)


def test_changed_ciphertexts_are_refused(kms: Any, kms_key: str) -> None:
    """A changed blob, and one that never was, are InvalidCiphertextException."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    for bad in (blob[:-1] + bytes([blob[-1] ^ 1]), b"\0" * 100, b"short", b"z" + blob[1:]):
        refused = refusal(kms.decrypt, CiphertextBlob=bad)
        assert refused == (400, "InvalidCiphertextException")


def test_aliases_stand_for_keys(kms: Any, kms_key: str) -> None:
    """Aliases and their ARNs work wherever a key is used."""
    alias = f"alias/{uuid.uuid4()}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    arn = kms_key.rpartition(":")[0] + f":{alias}"
    for name in (alias, arn):
        made = kms.generate_data_key(KeyId=name, KeySpec="AES_256")
        blob = made["CiphertextBlob"]
        assert made["KeyId"] == kms_key
        assert kms.decrypt(CiphertextBlob=blob, KeyId=name)["Plaintext"] == made["Plaintext"]
        moved = kms.re_encrypt(CiphertextBlob=blob, SourceKeyId=name, DestinationKeyId=name)
        assert moved["KeyId"] == kms_key


def test_rotation_periods_are_kept(kms: Any, kms_key: str) -> None:
    """The period is what was asked for, a year if nothing was, and the next date follows."""
    assert kms.get_key_rotation_status(KeyId=kms_key)["KeyRotationEnabled"] is False
    for asked, days in (({"RotationPeriodInDays": 90}, 90), ({}, 365)):
        kms.enable_key_rotation(KeyId=kms_key, **asked)
        status = kms.get_key_rotation_status(KeyId=kms_key)
        assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, days)
        ahead = status["NextRotationDate"].timestamp() - time.time()
        assert ahead == pytest.approx(days * 86_400, abs=600)
    kms.disable_key_rotation(KeyId=kms_key)
    assert "NextRotationDate" not in kms.get_key_rotation_status(KeyId=kms_key)


@pytest.mark.parametrize("days", [89, 2561])
def test_rotation_periods_have_bounds(kms_key: str, days: int) -> None:
    """90 to 2560 days."""
    unchecked = boto3.client("kms", config=Config(parameter_validation=False))
    refused = refusal(unchecked.enable_key_rotation, KeyId=kms_key, RotationPeriodInDays=days)
    assert refused == (400, "ValidationException")


def test_on_demand_rotation_ends_at_25(kms: Any, kms_key: str) -> None:
    """The 26th is refused, and old ciphertexts stay readable."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    for _ in range(25):
        kms.rotate_key_on_demand(KeyId=kms_key)
    assert refusal(kms.rotate_key_on_demand, KeyId=kms_key) == (400, "LimitExceededException")
    assert len(kms.list_key_rotations(KeyId=kms_key)["Rotations"]) == 25
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_what_cannot_rotate_says_so(kms: Any, kms_key: str) -> None:
    """Disabled keys, asymmetric keys and aliases are refused."""
    rsa = kms.create_key(KeyUsage="ENCRYPT_DECRYPT", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    unsupported = (400, "UnsupportedOperationException")
    assert refusal(kms.rotate_key_on_demand, KeyId=rsa) == unsupported
    assert refusal(kms.enable_key_rotation, KeyId=rsa) == unsupported
    assert refusal(kms.rotate_key_on_demand, KeyId="alias/x") == (400, "NotFoundException")
    _disable(kms, kms_key)
    assert refusal(kms.rotate_key_on_demand, KeyId=kms_key) == (400, "DisabledException")


@pytest.mark.parametrize("days", [6, 31])
def test_deletion_windows_have_bounds(kms: Any, kms_key: str, days: int) -> None:
    """7 to 30 days."""
    refused = refusal(kms.schedule_key_deletion, KeyId=kms_key, PendingWindowInDays=days)
    assert refused == (400, "ValidationException")


def test_dry_runs_do_nothing(kms: Any, kms_key: str) -> None:
    """A dry run is checked, and answered with an error that means yes."""
    dry = {"KeyId": kms_key, "KeySpec": "AES_256", "DryRun": True}
    assert refusal(kms.generate_data_key, **dry) == (412, "DryRunOperationException")
    _disable(kms, kms_key)
    assert refusal(kms.generate_data_key, **dry) == (400, "DisabledException")


def test_replicas_open_their_siblings_ciphertexts(kms: Any) -> None:
    """A multi-Region key works in another region under that region's ARN."""
    primary = kms.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
    kms.replicate_key(KeyId=primary, ReplicaRegion="eu-west-1")
    blob = kms.encrypt(KeyId=primary, Plaintext=b"x")["CiphertextBlob"]
    west = boto3.client("kms", region_name="eu-west-1")
    sibling = primary.replace(sandboxes.REGION, "eu-west-1")
    opened = west.decrypt(CiphertextBlob=blob, KeyId=sibling)
    assert (opened["KeyId"], opened["Plaintext"]) == (sibling, b"x")
    assert refusal(west.decrypt, CiphertextBlob=blob, KeyId=primary) == (400, "NotFoundException")
    for client, arn, kind in ((west, sibling, "REPLICA"), (kms, primary, "PRIMARY")):
        described = client.describe_key(KeyId=arn)["KeyMetadata"]
        assert described["MultiRegionConfiguration"]["MultiRegionKeyType"] == kind


def test_contexts_must_be_the_same(kms: Any, kms_key: str) -> None:
    """Neither a missing pair nor one cut elsewhere opens a ciphertext."""
    context = {"a": "bc", "ä": "€"}
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
    for other in ({}, {"a": "bc"}, {"ab": "c", "ä": "€"}):
        refused = refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext=other)
        assert refused == (400, "InvalidCiphertextException")
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=dict(reversed(context.items())))
    assert opened["Plaintext"] == b"x"


def test_unsigned_kms_requests_are_refused(sandbox: sandboxes.Running) -> None:
    """KMS wants credentials, too."""
    headers = {"X-Amz-Target": "TrentService.ListKeys", "Authorization": ""}
    status, body, _ = raw(sandbox, "POST", "/", headers, b"{}")
    assert (status, json.loads(body)["__type"]) == (400, "MissingAuthenticationTokenException")
