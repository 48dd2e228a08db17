# SPDX-License-Identifier: Apache-2.0
"""The sandbox's KMS: its refusals, directly and through S3, and the rotation of keys."""

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


_ALLOW = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}


# --- Unusable keys -----------------------------------------------------------------------------


def _disable(kms: Any, key: str) -> None:
    kms.disable_key(KeyId=key)


def _doom(kms: Any, key: str) -> None:
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)


def _deny(kms: Any, key: str) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    kms.put_key_policy(
        KeyId=key, PolicyName="default", Policy=policy, BypassPolicyLockoutSafetyCheck=True
    )


def _empty(kms: Any, key: str) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "kms:Get*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    kms.put_key_policy(
        KeyId=key, PolicyName="default", Policy=policy, BypassPolicyLockoutSafetyCheck=True
    )


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_disable, (400, "KMS.DisabledException")),
        (_doom, (400, "KMS.KMSInvalidStateException")),
        (_deny, (403, "AccessDenied")),
        (_empty, (403, "AccessDenied")),
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
    """If KMS refuses the key, S3 refuses writes, reads and copies; HEAD still works."""
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
    """A put under a key that does not exist, or of another Region, is refused."""
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
        (_empty, "AccessDeniedException"),
    ],
)
def test_unusable_keys_do_nothing(
    kms: Any, kms_key: str, spoil: Callable[[Any, str], None], code: str
) -> None:
    """KMS refuses every operation with a key that is disabled, being deleted or denied."""
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    spoil(kms, kms_key)
    for call in _crypto_calls(kms, kms_key, other, blob):
        assert refusal(call) == (400, code)


def test_keys_recover(kms: Any, kms_key: str) -> None:
    """After a cancelled deletion the key is disabled; after it is enabled, it decrypts again."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    _doom(kms, kms_key)
    assert refusal(kms.enable_key, KeyId=kms_key) == (400, "KMSInvalidStateException")
    kms.cancel_key_deletion(KeyId=kms_key)
    assert refusal(kms.decrypt, CiphertextBlob=blob) == (400, "DisabledException")
    kms.enable_key(KeyId=kms_key)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_deny_can_be_for_one_action(kms: Any, kms_key: str) -> None:
    """If the policy denies only kms:Decrypt, the key still generates data keys."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    deny = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["kms:Decrypt"]}
    policy = json.dumps({"Statement": [_ALLOW, deny | {"Resource": "*"}]})
    kms.put_key_policy(KeyId=kms_key, PolicyName="default", Policy=policy)
    assert refusal(kms.decrypt, CiphertextBlob=blob) == (400, "AccessDeniedException")
    assert kms.generate_data_key(KeyId=kms_key, KeySpec="AES_256")["KeyId"] == kms_key


@pytest.mark.parametrize(
    "statements",
    [
        None,
        [],
        [{"Effect": "Deny", "Principal": "*", "Action": "kms:PutKeyPolicy", "Resource": "*"}],
        [{**_ALLOW, "Action": "kms:Decrypt"}],
        [{"Effect": "Allow", "Principal": "*", "NotAction": "kms:Put*", "Resource": "*"}],
        [_ALLOW, {"Effect": "Deny", "Principal": "*", "Action": "KMS:PUT*", "Resource": "*"}],
    ],
)
def test_an_empty_policy_is_refused(
    kms: Any, kms_key: str, statements: list[dict[str, Any]] | None
) -> None:
    """A key policy is refused if its author could not change it, unless the check is bypassed."""
    policy = json.dumps({} if statements is None else {"Statement": statements})
    malformed = (400, "MalformedPolicyDocumentException")
    before = kms.get_key_policy(KeyId=kms_key, PolicyName="default")["Policy"]
    put = {"KeyId": kms_key, "PolicyName": "default", "Policy": policy}
    assert refusal(kms.create_key, Policy=policy) == malformed
    assert refusal(kms.put_key_policy, **put) == malformed
    assert kms.get_key_policy(KeyId=kms_key, PolicyName="default")["Policy"] == before
    if statements:
        kms.put_key_policy(**put, BypassPolicyLockoutSafetyCheck=True)
        assert refusal(kms.put_key_policy, **put) == (400, "AccessDeniedException")


def test_a_grant_allows_what_the_policy_does_not(kms: Any, kms_key: str) -> None:
    """A grant allows its operations even if the key policy allows nothing."""
    grant = {"KeyId": kms_key, "GranteePrincipal": "arn:aws:iam::123456789012:user/sandbox"}
    kms.create_grant(**grant, Operations=["Encrypt"])
    _empty(kms, kms_key)
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    assert refusal(kms.decrypt, CiphertextBlob=blob) == (400, "AccessDeniedException")


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        ("RSA_2048", "ENCRYPT_DECRYPT"),
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("HMAC_256", "GENERATE_VERIFY_MAC"),
    ],
)
def test_a_key_serves_its_own_use(kms: Any, s3: Any, bucket: str, spec: str, usage: str) -> None:
    """A key for signatures, MACs or asymmetric encryption does only what it was made for."""
    key = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
    wrong = (400, "InvalidKeyUsageException")
    assert refusal(kms.generate_data_key, KeyId=key, KeySpec="AES_256") == wrong
    assert refusal(kms.generate_data_key_without_plaintext, KeyId=key, KeySpec="AES_256") == wrong
    assert refusal(kms.encrypt, KeyId=key, Plaintext=b"x") == wrong
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=other, Plaintext=b"x")["CiphertextBlob"]
    assert refusal(kms.re_encrypt, CiphertextBlob=blob, DestinationKeyId=key) == wrong
    mac = {"KeyId": key, "Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}
    sign = {"KeyId": key, "Message": b"x", "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256"}
    if usage != "GENERATE_VERIFY_MAC":
        assert refusal(kms.generate_mac, **mac) == wrong
        assert refusal(kms.verify_mac, **mac, Mac=b"x") == wrong
        assert kms.get_public_key(KeyId=key)["PublicKey"]
    else:
        assert kms.generate_mac(**mac)["Mac"]
        assert refusal(kms.get_public_key, KeyId=key) == (400, "UnsupportedOperationException")
    if usage != "SIGN_VERIFY":
        assert refusal(kms.sign, **sign) == wrong
        assert refusal(kms.verify, **sign, Signature=b"x") == wrong
    refused = refusal(
        s3.put_object, Bucket=bucket, Key="k", ServerSideEncryption="aws:kms", SSEKMSKeyId=key
    )
    assert refused == (400, "KMS.UnsupportedOperationException")


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        ("HMAC_256", "ENCRYPT_DECRYPT"),
        ("ECC_NIST_P256", "ENCRYPT_DECRYPT"),
        ("SYMMETRIC_DEFAULT", "SIGN_VERIFY"),
        ("RSA_2048", "GENERATE_VERIFY_MAC"),
    ],
)
def test_a_key_is_made_for_a_use_of_its_kind(kms: Any, spec: str, usage: str) -> None:
    """CreateKey is refused if the key spec does not support the usage."""
    refused = refusal(kms.create_key, KeySpec=spec, KeyUsage=usage)
    assert refused == (400, "ValidationException")


def test_a_symmetric_key_does_nothing_else(kms: Any, kms_key: str) -> None:
    """A symmetric key makes no MAC and no signature, and has no public key."""
    wrong = (400, "InvalidKeyUsageException")
    mac = {"KeyId": kms_key, "Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}
    assert refusal(kms.generate_mac, **mac) == wrong
    sign = {"KeyId": kms_key, "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
    assert refusal(kms.sign, **sign) == wrong
    assert refusal(kms.get_public_key, KeyId=kms_key) == (400, "UnsupportedOperationException")
    rsa = {"KeyId": kms_key, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    assert refusal(kms.encrypt, **rsa, Plaintext=b"x") == wrong


def test_awss_own_key_is_s3s_alone(kms: Any, s3: Any, bucket: str) -> None:
    """Only S3 can use the key alias/aws/s3; it can be described, but not changed."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", ServerSideEncryption="aws:kms")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
    key = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]
    assert kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    denied = (400, "AccessDeniedException")
    own = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=own, Plaintext=b"x")["CiphertextBlob"]
    for name in ("alias/aws/s3", key):
        assert refusal(kms.generate_data_key, KeyId=name, KeySpec="AES_256") == denied
        assert refusal(kms.encrypt, KeyId=name, Plaintext=b"x") == denied
        assert refusal(kms.re_encrypt, CiphertextBlob=blob, DestinationKeyId=name) == denied
    assert refusal(kms.disable_key, KeyId=key) == denied
    assert refusal(kms.schedule_key_deletion, KeyId=key) == denied
    assert refusal(kms.rotate_key_on_demand, KeyId=key) == denied
    assert refusal(kms.create_alias, AliasName="alias/mine", TargetKeyId=key) == denied
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


# --- Other behaviour ---------------------------------------------------------------------------


def test_the_named_key_must_be_the_ciphertexts(kms: Any, kms_key: str) -> None:
    """Decrypt and ReEncrypt refuse a ciphertext that is not of the named key."""
    other = kms.create_key()["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    wrong = (400, "IncorrectKeyException")
    assert refusal(kms.decrypt, CiphertextBlob=blob, KeyId=other) == wrong
    move = {"CiphertextBlob": blob, "DestinationKeyId": other}
    assert refusal(kms.re_encrypt, **move, SourceKeyId=other) == wrong
    moved = kms.re_encrypt(**move, SourceKeyId=kms_key)
    assert (moved["SourceKeyId"], moved["KeyId"]) == (kms_key, other)


def test_changed_ciphertexts_are_refused(kms: Any, kms_key: str) -> None:
    """A changed or invented ciphertext is refused as InvalidCiphertextException."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    for bad in (blob[:-1] + bytes([blob[-1] ^ 1]), b"\0" * 100, b"short", b"z" + blob[1:]):
        refused = refusal(kms.decrypt, CiphertextBlob=bad)
        assert refused == (400, "InvalidCiphertextException")


def test_aliases_stand_for_keys(kms: Any, kms_key: str) -> None:
    """A key can be named by its alias or the alias's ARN."""
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
    """EnableKeyRotation sets the period, 365 days by default, and the date of the next rotation."""
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
    """A rotation period below 90 or above 2,560 days is refused."""
    unchecked = boto3.client("kms", config=Config(parameter_validation=False))
    refused = refusal(unchecked.enable_key_rotation, KeyId=kms_key, RotationPeriodInDays=days)
    assert refused == (400, "ValidationException")


def test_on_demand_rotation_ends_at_25(kms: Any, kms_key: str) -> None:
    """The 26th rotation on demand is refused; old ciphertexts can still be decrypted."""
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x")["CiphertextBlob"]
    for _ in range(25):
        kms.rotate_key_on_demand(KeyId=kms_key)
    assert refusal(kms.rotate_key_on_demand, KeyId=kms_key) == (400, "LimitExceededException")
    assert len(kms.list_key_rotations(KeyId=kms_key)["Rotations"]) == 25
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_what_cannot_rotate_says_so(kms: Any, kms_key: str) -> None:
    """Rotation is refused for an asymmetric key, an alias and a disabled key."""
    rsa = kms.create_key(KeyUsage="ENCRYPT_DECRYPT", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    unsupported = (400, "UnsupportedOperationException")
    assert refusal(kms.rotate_key_on_demand, KeyId=rsa) == unsupported
    assert refusal(kms.enable_key_rotation, KeyId=rsa) == unsupported
    assert refusal(kms.rotate_key_on_demand, KeyId="alias/x") == (400, "NotFoundException")
    _disable(kms, kms_key)
    assert refusal(kms.rotate_key_on_demand, KeyId=kms_key) == (400, "DisabledException")


@pytest.mark.parametrize("days", [6, 31])
def test_deletion_windows_have_bounds(kms: Any, kms_key: str, days: int) -> None:
    """A waiting period for deletion below 7 or above 30 days is refused."""
    refused = refusal(kms.schedule_key_deletion, KeyId=kms_key, PendingWindowInDays=days)
    assert refused == (400, "ValidationException")


def test_dry_runs_do_nothing(kms: Any, kms_key: str) -> None:
    """A dry run makes all checks; its success is the error DryRunOperationException."""
    dry = {"KeyId": kms_key, "KeySpec": "AES_256", "DryRun": True}
    assert refusal(kms.generate_data_key, **dry) == (412, "DryRunOperationException")
    _disable(kms, kms_key)
    assert refusal(kms.generate_data_key, **dry) == (400, "DisabledException")


def test_replicas_open_their_siblings_ciphertexts(kms: Any) -> None:
    """A replica decrypts ciphertexts of its primary key, under the replica's own ARN."""
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
    """Decrypt is refused unless the encryption context has the same pairs, in any order."""
    context = {"a": "bc", "ä": "€"}
    blob = kms.encrypt(KeyId=kms_key, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
    for other in ({}, {"a": "bc"}, {"ab": "c", "ä": "€"}):
        refused = refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext=other)
        assert refused == (400, "InvalidCiphertextException")
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=dict(reversed(context.items())))
    assert opened["Plaintext"] == b"x"


def test_unsigned_kms_requests_are_refused(sandbox: sandboxes.Running) -> None:
    """A KMS request without credentials is refused."""
    headers = {"X-Amz-Target": "TrentService.ListKeys", "Authorization": ""}
    status, body, _ = raw(sandbox, "POST", "/", headers, b"{}")
    assert (status, json.loads(body)["__type"]) == (400, "MissingAuthenticationTokenException")
