# SPDX-License-Identifier: Apache-2.0
"""Rewrapping: if the wrapped key is in the metadata, rotation moves no byte of the object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from samples import LARGE, aes, connect, kms_keyring, payload, stored

from s3crypt import (
    SSEC,
    SSEKMS,
    AESKeyring,
    ClientSide,
    ConfigError,
    FormatError,
    KeyUnavailableError,
    MultiKeyring,
    S3CryptError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RequestsLog


def mode(*keys: str, **options: Any) -> ClientSide:
    """Return the mode with the wrapped key in the metadata, under one KMS key or several."""
    keyrings = [kms_keyring(key) for key in keys]
    keyring = keyrings[0] if len(keyrings) == 1 else MultiKeyring(*keyrings)
    return ClientSide(keyring, key_location="metadata", **options)


def test_no_body_byte_moves(
    bucket: str, kms_key: str, new_key: str, requests_log: RequestsLog, s3: Any
) -> None:
    """20 MB are rewrapped by two HEADs, a ReEncrypt and a CopyObject, with a few KB of traffic."""
    uri, old = f"s3://{bucket}/x", connect(mode(kms_key))
    old.put(payload(LARGE), uri)
    body = stored(s3, bucket, "x")
    requests_log.clear()
    (outcome,) = old.rotate(uri, to=mode(new_key))
    entries = requests_log.list()
    assert (outcome.action, outcome.bytes_moved) == ("rewrapped", 0)
    asked = [
        entry["headers"].get("x-amz-target", entry["method"] + entry["query"]) for entry in entries
    ]
    assert sorted(asked) == ["HEAD", "HEAD", "PUT", "TrentService.ReEncrypt"]
    (copy,) = [entry for entry in entries if entry["method"] == "PUT"]
    assert copy["headers"]["x-amz-copy-source"] == f"{bucket}/x"
    assert sum(entry["request_bytes"] + entry["response_bytes"] for entry in entries) < 5_000
    assert stored(s3, bucket, "x") == body
    assert connect(mode(new_key)).read(uri) == payload(LARGE)


def test_the_old_key_can_no_longer_open_it(
    bucket: str, kms_key: str, new_key: str, kms: Any
) -> None:
    """After a rewrap, only the new key opens the object."""
    uri = f"s3://{bucket}/x"
    connect(mode(kms_key)).put(b"plain", uri)
    connect(mode(kms_key)).rotate(uri, to=mode(new_key))
    with pytest.raises(KeyUnavailableError) as caught:
        connect(mode(kms_key)).read(uri)
    assert new_key in str(caught.value.hint)
    kms.disable_key(KeyId=kms_key)
    assert connect(mode(new_key)).read(uri) == b"plain"
    kms.enable_key(KeyId=kms_key)
    kms.disable_key(KeyId=new_key)
    with pytest.raises(KeyUnavailableError):
        connect(mode(new_key)).read(uri)
    with pytest.raises(S3CryptError):
        connect(mode(kms_key)).read(uri)


def test_kms_sees_the_key_and_this_process_does_not(
    bucket: str, kms_key: str, new_key: str, kms: Any
) -> None:
    """Rewrapping needs only kms:ReEncrypt: it works if kms:Decrypt and kms:Encrypt are denied."""
    uri = f"s3://{bucket}/x"
    connect(mode(kms_key)).put(b"plain", uri)
    allow = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}
    deny = {**allow, "Effect": "Deny", "Principal": "*", "Action": ["kms:Decrypt", "kms:Encrypt"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow, deny]})
    for key in (kms_key, new_key):
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
    assert connect(mode(kms_key)).rotate(uri, to=mode(new_key))[0].action == "rewrapped"
    assert connect().inspect(uri).keys == (f"kms:{new_key}",)


def test_the_header_is_never_written_twice(
    bucket: str, kms_key: str, new_key: str, s3: Any
) -> None:
    """A rewrap changes only two metadata entries; message, context and user metadata stay."""
    uri = f"s3://{bucket}/x"
    connect(mode(kms_key, context={"team": "ä"})).put(b"plain", uri, metadata={"a": "b"})
    before, body = s3.head_object(Bucket=bucket, Key="x"), stored(s3, bucket, "x")
    connect(mode(kms_key)).rotate(uri, to=mode(new_key))
    after = s3.head_object(Bucket=bucket, Key="x")
    assert stored(s3, bucket, "x") == body
    changed = {
        name
        for name in before["Metadata"] | after["Metadata"]
        if before["Metadata"].get(name) != after["Metadata"].get(name)
    }
    assert changed == {"s3crypt-edks", "s3crypt-material"}


@pytest.mark.parametrize("size", [10, LARGE])
def test_s3s_own_encryption_stays_as_it_is(
    size: int, bucket: str, kms_key: str, new_key: str, s3: Any, kms: Any
) -> None:
    """A rewrap keeps S3's own encryption of the object, even if the bucket's default changed."""
    at_rest = kms.create_key()["KeyMetadata"]["Arn"]
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": at_rest}
    rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    uri = f"s3://{bucket}/x"
    connect(mode(kms_key)).put(payload(size), uri)
    plain = {"SSEAlgorithm": "AES256"}
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": plain}]
        },
    )
    connect(mode(kms_key)).rotate(uri, to=mode(new_key))
    seen = connect().inspect(uri)
    assert (seen.kms_key, seen.bucket_key, seen.keys) == (at_rest, True, (f"kms:{new_key}",))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("kms", "kms2"),
        ("kms", "kms+kms2"),
        ("kms+kms2", "kms2"),
        ("kms", "aes"),
        ("aes", "kms"),
        ("aes", "kms+aes2"),
        ("kms+aes", "aes2"),
        ("aes", "aes2"),
    ],
)
def test_any_keyring_to_any_keyring(
    before: str, after: str, bucket: str, kms_key: str, new_key: str
) -> None:
    """An object is rewrapped between any keyrings without reading its body.

    If KMS cannot re-encrypt the object key, it is unwrapped in this process.
    """

    def keyring(spec: str) -> Any:
        made: dict[str, Callable[[], Any]] = {
            "kms": lambda: kms_keyring(kms_key),
            "kms2": lambda: kms_keyring(new_key),
            "aes": aes,
            "aes2": lambda: aes("two"),
        }
        return MultiKeyring(*(made[name]() for name in spec.split("+")))

    old, new = (ClientSide(keyring(spec), key_location="metadata") for spec in (before, after))
    uri = f"s3://{bucket}/x"
    connect(old).put(payload(300_000), uri)
    (outcome,) = connect(old).rotate(uri, to=new)
    assert (outcome.action, outcome.bytes_moved) == ("rewrapped", 0)
    assert connect(new).read(uri) == payload(300_000)
    assert len(connect().inspect(uri).keys) == len(after.split("+"))
    assert not connect(new).needs_rotation(uri, to=new)


def test_one_of_several_keys_can_rewrap(bucket: str, kms_key: str, new_key: str, kms: Any) -> None:
    """An object under two keys is rewrapped with one key, even if the other key is disabled."""
    uri = f"s3://{bucket}/x"
    connect(mode(kms_key, new_key)).put(b"plain", uri)
    kms.disable_key(KeyId=new_key)
    third = str(kms.create_key()["KeyMetadata"]["Arn"])
    connect(mode(kms_key)).rotate(uri, to=mode(third))
    assert connect(mode(third)).read(uri) == b"plain"


@pytest.mark.parametrize("which", ["old", "new"])
def test_a_disabled_key_leaves_the_object(
    which: str, bucket: str, kms_key: str, new_key: str, kms: Any
) -> None:
    """If the old or the new key is disabled, the rotation fails and writes nothing."""
    uri = f"s3://{bucket}/x"
    etag = connect(mode(kms_key)).put(b"plain", uri).etag
    kms.disable_key(KeyId=kms_key if which == "old" else new_key)
    with pytest.raises(KeyUnavailableError, match="disabled"):
        connect(mode(kms_key)).rotate(uri, to=mode(new_key))
    assert connect().inspect(uri).etag == etag
    assert connect().inspect(uri).keys == (f"kms:{kms_key}",)


@pytest.mark.parametrize(
    "entries",
    [
        {"s3crypt-edks": "{"},
        {"s3crypt-edks": "[]"},
        {"s3crypt-edks": "[1]"},
        {"s3crypt-edks": '"text"'},
        {"s3crypt-edks": "null"},
        {"s3crypt-edks": '{"provider": "x"}'},
        {"s3crypt-edks": '[{"provider":"x","info":"!","ciphertext":""}]'},
        {"s3crypt-edks": '[{"provider":"x","info":1,"ciphertext":""}]'},
        {"s3crypt-edks": json.dumps([{"provider": "x", "info": "", "ciphertext": ""}] * 11)},
        {"s3crypt-edks": "[" * 1800},
        {"s3crypt-context": "{"},
        {"s3crypt-context": "[]"},
        {"s3crypt-context": '{"a":1}'},
        {"s3crypt-context": "null"},
        {"s3crypt-context": None},
    ],
)
def test_malformed_entries_are_a_format_error(
    entries: dict[str, str | None], bucket: str, s3: Any
) -> None:
    """Any malformed metadata entry raises a FormatError."""
    uri, store = f"s3://{bucket}/x", connect(ClientSide(aes(), key_location="metadata"))
    store.put(b"plain", uri)
    metadata = {**s3.head_object(Bucket=bucket, Key="x")["Metadata"], **entries}
    s3.copy_object(
        Bucket=bucket,
        Key="x",
        CopySource={"Bucket": bucket, "Key": "x"},
        Metadata={name: value for name, value in metadata.items() if value is not None},
        MetadataDirective="REPLACE",
    )
    with pytest.raises(FormatError):
        store.rotate(uri, to=ClientSide(aes("two"), key_location="metadata"))
    if "s3crypt-edks" in entries:
        for call in (store.read, store.inspect, connect().read, connect().inspect):
            with pytest.raises(FormatError):
                call(uri)


def test_a_dropped_entry_makes_the_object_unreadable_not_wrong(bucket: str, s3: Any) -> None:
    """If a tool has dropped the metadata, reading fails with a hint about the lost key."""
    uri, store = f"s3://{bucket}/x", connect(ClientSide(aes(), key_location="metadata"))
    store.put(b"plain", uri)
    s3.copy_object(
        Bucket=bucket,
        Key="x",
        CopySource={"Bucket": bucket, "Key": "x"},
        Metadata={},
        MetadataDirective="REPLACE",
    )
    with pytest.raises(KeyUnavailableError) as caught:
        store.read(uri)
    assert "s3crypt/object-key" in str(caught.value.hint)


def test_too_many_keys_for_the_metadata_leave_the_object(bucket: str) -> None:
    """Keys that do not fit into the metadata are refused before anything is written."""
    uri, old = f"s3://{bucket}/x", ClientSide(aes(), key_location="metadata")
    connect(old).put(b"plain", uri)
    many = MultiKeyring(*(AESKeyring("n" * 200, "k" * 200, bytes([i]) * 32) for i in range(4)))
    with pytest.raises(ConfigError, match="2048"):
        connect(old).rotate(uri, to=ClientSide(many, key_location="metadata"))
    assert connect(old).read(uri) == b"plain"


@pytest.mark.parametrize("after", [SSEC(bytes(32)), SSEKMS("KEY")])
def test_leaving_the_mode_reads_the_object(after: Any, bucket: str, kms_key: str) -> None:
    """A rotation to another mode re-encrypts an object whose key is in its metadata.

    The outcome has the number of bytes that were moved.
    """
    uri, old = f"s3://{bucket}/x", mode(kms_key)
    after = SSEKMS(kms_key) if after.name == "sse-kms" else after
    connect(old).put(payload(1000), uri)
    (outcome,) = connect(old).rotate(uri, to=after)
    assert (outcome.action, outcome.bytes_moved) == ("re-encrypted", 1000)
