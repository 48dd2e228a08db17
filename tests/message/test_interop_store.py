# SPDX-License-Identifier: Apache-2.0
"""The official SDK decrypts the store's objects, and the store reads the SDK's messages.

docs/interop.md has the recipes, which run as a test of the documentation.
"""

import json
from base64 import b64decode
from typing import Any

import boto3
import official
import pytest
from writers import ForeignWriter

from s3crypt import ClientSide, KMSKeyring, S3Crypt, message
from s3crypt.errors import IntegrityError, KeyUnavailableError, PolicyError
from s3crypt.keyrings import AESKeyring, MultiKeyring
from s3crypt.message.keys import EncryptedDataKey

FRAME = message.DEFAULT_FRAME_LENGTH
# Lengths around the frame length, then one full part, two parts, and two parts whose last frame is
# short.
SIZES = (0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 2**23, 2**24, 9_000_001)
LOCATIONS = pytest.mark.parametrize("key_location", ["header", "metadata"])
AES = AESKeyring(official.NAMESPACE, official.NAME, official.WRAPPING_KEY)


def plaintext_of(length: int) -> bytes:
    """Return bytes in which no two frames are equal."""
    return b"".join(index.to_bytes(4) for index in range(length // 4 + 1))[:length]


def keys_of(stored: dict[str, Any], kms: Any, arn: str) -> dict[str, Any]:
    """Return the SDK's keys for the message of a stored object.

    If the wrapped key is in the metadata, this makes one kms:Decrypt request.
    """
    metadata = stored["Metadata"]
    if "s3crypt-edks" not in metadata:
        return official.mpl_kms(arn, kms)
    (wrapped,) = json.loads(metadata["s3crypt-edks"])
    assert (wrapped["provider"], b64decode(wrapped["info"]).decode()) == ("aws-kms", arn)
    reply = kms.decrypt(
        KeyId=arn,
        CiphertextBlob=b64decode(wrapped["ciphertext"]),
        EncryptionContext=json.loads(metadata["s3crypt-context"]),
    )
    return official.mpl_aes("s3crypt", "object-key", reply["Plaintext"])


@LOCATIONS
@pytest.mark.parametrize("signed", [False, True], ids=["0478", "0578"])
@pytest.mark.parametrize("size", SIZES)
def test_the_official_sdk_opens_our_objects(
    session: boto3.Session,
    s3: Any,
    kms: Any,
    bucket: str,
    kms_key: str,
    *,
    size: int,
    key_location: Any,
    signed: bool,
) -> None:
    """The official SDK decrypts the stored bytes of an object with the KMS key."""
    mode = ClientSide(
        KMSKeyring(kms_key, session=session),
        context={"größe": "日本"},
        signed=signed,
        key_location=key_location,
    )
    name = "reports/größe 1.csv"
    S3Crypt(mode, session=session).put(plaintext_of(size), f"s3://{bucket}/{name}")
    stored = s3.get_object(Bucket=bucket, Key=name)
    plaintext, context = official.decrypt(stored["Body"].read(), keys_of(stored, kms, kms_key))
    assert plaintext == plaintext_of(size)
    assert {"s3crypt:key": name, "größe": "日本"}.items() <= context.items()


def test_the_official_sdk_opens_a_rewrapped_object(
    session: boto3.Session, s3: Any, kms: Any, bucket: str, kms_key: str
) -> None:
    """After a rewrap only the new key decrypts the object with the official SDK.

    The body is unchanged.
    """
    new_key = str(kms.create_key()["KeyMetadata"]["Arn"])
    old, new = (
        ClientSide(KMSKeyring(key, session=session), key_location="metadata")
        for key in (kms_key, new_key)
    )
    uri = f"s3://{bucket}/object"
    S3Crypt(old, session=session).put(b"moved", uri)
    before = s3.get_object(Bucket=bucket, Key="object")["Body"].read()
    (outcome,) = S3Crypt(old, session=session).rotate(uri, to=new)
    assert outcome.action == "rewrapped"
    kms.disable_key(KeyId=kms_key)
    stored = s3.get_object(Bucket=bucket, Key="object")
    body = stored["Body"].read()
    assert body == before
    assert official.decrypt(body, keys_of(stored, kms, new_key))[0] == b"moved"
    with pytest.raises(KeyUnavailableError):
        S3Crypt(old, session=session).read(uri)


@LOCATIONS
def test_one_of_several_keys_is_enough(
    session: boto3.Session, s3: Any, bucket: str, kms_key: str, key_location: Any
) -> None:
    """The official SDK reads an object under a KMS key and a local key with only the local key.

    KMS gets no request.
    """
    keyring = MultiKeyring(KMSKeyring(kms_key, session=session), AES)
    mode = ClientSide(keyring, key_location=key_location)
    S3Crypt(mode, session=session).put(b"either", f"s3://{bucket}/object")
    stored = s3.get_object(Bucket=bucket, Key="object")
    keys = official.mpl_aes()
    if key_location == "metadata":
        # An object key is wrapped like a data key, so it is unwrapped here without a message's
        # header.
        _, wrapped = json.loads(stored["Metadata"]["s3crypt-edks"])
        edk = _edk(wrapped)
        context = json.loads(stored["Metadata"]["s3crypt-context"])
        keys = official.mpl_aes("s3crypt", "object-key", AES.unwrap([edk], context, 32))
    assert official.decrypt(stored["Body"].read(), keys)[0] == b"either"


def _edk(entry: dict[str, str]) -> Any:
    from s3crypt.message import EncryptedDataKey  # noqa: PLC0415

    return EncryptedDataKey(
        entry["provider"], b64decode(entry["info"]), b64decode(entry["ciphertext"])
    )


@pytest.mark.parametrize("suite_id", [0x0478, 0x0578, 0x0378], ids=hex)
@pytest.mark.parametrize("size", [*SIZES[:6], 100_000])
def test_the_store_opens_their_objects(
    session: boto3.Session,
    s3: Any,
    kms: Any,
    bucket: str,
    kms_key: str,
    *,
    suite_id: int,
    size: int,
) -> None:
    """The store reads a message of the official SDK that was put as an object.

    It checks the encryption context.
    """
    body = official.encrypt(
        plaintext_of(size),
        official.mpl_kms(kms_key, kms),
        suite_id=suite_id,
        encryption_context={"team": "finance"},
        frame_length=FRAME,
    )
    s3.put_object(Bucket=bucket, Key="theirs", Body=body)
    uri, keyring = f"s3://{bucket}/theirs", KMSKeyring(kms_key, session=session)
    store = S3Crypt(
        ClientSide(keyring, context={"team": "finance"}, bind_name=False), session=session
    )
    if suite_id == 0x0378:
        with pytest.raises(PolicyError):
            store.read(uri)
    assert store.read(uri, allow_uncommitted=True) == plaintext_of(size)
    strict = S3Crypt(ClientSide(keyring), session=session)
    with pytest.raises(IntegrityError):
        strict.read(uri, allow_uncommitted=True)


def foreign(*edks: EncryptedDataKey) -> bytes:
    """Return a message of a foreign writer with these wrapped keys."""
    return ForeignWriter(edks=edks).write([b"plain"])


BRANCH = EncryptedDataKey("aws-kms-hierarchy", b"tenant-1", bytes(92))


def test_keys_of_other_kinds_are_shown_as_what_they_are(
    session: boto3.Session, s3: Any, bucket: str
) -> None:
    """Inspecting or reading an object under other kinds of keys names the keys.

    The error suggests no unrelated keyring.
    """
    uri, store = f"s3://{bucket}/object", S3Crypt(session=session)
    s3.put_object(Bucket=bucket, Key="object", Body=foreign(BRANCH))
    assert store.inspect(uri).keys == ("aws-kms-hierarchy:tenant-1",)
    with pytest.raises(PolicyError) as refused:
        store.read(uri)
    assert str(refused.value.hint) == (
        "s3crypt has no keyring for the key that its unverified header names, "
        "aws-kms-hierarchy:tenant-1: read it with the tool that wrote it."
    )
    with pytest.raises(KeyUnavailableError, match=uri) as raised:
        store.read(uri, mode=ClientSide(AES, bind_name=False))
    assert raised.value.hint == "The unverified header names aws-kms-hierarchy:tenant-1."
    s3.put_object(Bucket=bucket, Key="object", Body=foreign(BRANCH, *AES.wrap(bytes(32), {})))
    with pytest.raises(PolicyError) as refused:
        store.read(uri)
    name = f"aes:{official.NAMESPACE}/{official.NAME}"
    assert str(refused.value.hint).startswith("If you know its key, read it with ClientSide. ")
    assert str(refused.value.hint).endswith(f"Its unverified header names: {name}")
