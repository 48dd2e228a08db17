# SPDX-License-Identifier: Apache-2.0
"""Plaintexts, modes, keyrings, and requests to S3 that several test files share."""

from __future__ import annotations

import random
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from s3crypt import DSSEKMS, SSEC, SSEKMS, SSES3, AESKeyring, ClientSide, KMSKeyring, S3Crypt
from s3crypt.message.header import serialize_context
from s3crypt.transfer import PART_LENGTH

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequestsLog

    from s3crypt import Mode

FRAME = 256 * 2**10
PART = PART_LENGTH
LARGE = 20_000_003
CUSTOMER_KEY = bytes(range(32))
SERVER_SIDE = ("sse-s3", "sse-kms", "dsse-kms", "sse-c")
CLIENT_SIDE = ("client-header", "client-metadata")
MODES = SERVER_SIDE + CLIENT_SIDE


@cache
def payload(size: int) -> bytes:
    """Return `size` pseudorandom bytes, which are always the same for a size."""
    return random.Random(size).randbytes(size)


@cache
def _session() -> boto3.Session:
    # All tests of a process share the session: each session loads JSON models, which takes 100 ms.
    return boto3.Session()


def connect(mode: Mode | None = None, **options: Any) -> S3Crypt:
    """Return a store. The tests use this instead of `S3Crypt(mode)`, because it is faster."""
    return S3Crypt(mode, session=_session(), **options)


@cache
def _client() -> Any:
    return connect().client


def connect_shared(mode: Mode | None = None) -> S3Crypt:
    """Return a store with the client that all tests of a process share; faster than `connect`."""
    return S3Crypt(mode, client=_client())


def kms_keyring(key: str) -> KMSKeyring:
    """Return a keyring of a KMS key. The tests use this because `KMSKeyring(key)` is slower."""
    return KMSKeyring(key, session=_session())


def make_mode(name: str, key: str) -> Mode:
    """Return the mode with this name, with the KMS key if the mode needs one."""
    match name:
        case "sse-s3":
            return SSES3()
        case "sse-kms":
            return SSEKMS(key)
        case "dsse-kms":
            return DSSEKMS(key)
        case "sse-c":
            return SSEC(CUSTOMER_KEY)
        case "client-header":
            return ClientSide(kms_keyring(key))
        case "client-metadata":
            return ClientSide(kms_keyring(key), key_location="metadata")
    raise AssertionError(name)


def aes(name: str = "one") -> AESKeyring:
    """Return an AES keyring, which needs no service. Another name gives another key."""
    return AESKeyring("tests", name, random.Random(name).randbytes(32))


def uploads(s3: Any, bucket: str) -> list[str]:
    """Return the names of unfinished multipart uploads."""
    return [upload["Key"] for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]


def kms_calls(log: RequestsLog) -> list[str]:
    """Return the KMS operations that were requested of the sandbox."""
    targets = [entry["headers"].get("x-amz-target", "") for entry in log.list()]
    return [target.partition(".")[2] for target in targets if target.startswith("TrentService.")]


def names(s3: Any, bucket: str) -> list[str]:
    """Return the names of the objects in a bucket."""
    return [listed["Key"] for listed in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


def stored(s3: Any, bucket: str, name: str) -> bytes:
    """Return an object's bytes as stored in S3."""
    body: bytes = s3.get_object(Bucket=bucket, Key=name)["Body"].read()
    return body


def rewrite(s3: Any, bucket: str, name: str, body: bytes) -> None:
    """Replace the bytes of an object and keep its metadata, as an attacker could."""
    metadata = s3.head_object(Bucket=bucket, Key=name)["Metadata"]
    s3.put_object(Bucket=bucket, Key=name, Body=body, Metadata=metadata)


def files(folder: Path) -> list[str]:
    """Return the names of all files in a folder, including hidden files."""
    return sorted(path.name for path in folder.iterdir())


def uncommitted(plaintext: bytes, name: str) -> bytes:
    """Return a version 1 message without key commitment (suite 0x0078), in one block."""
    context = {"s3crypt:key": name}
    data_key, message_id, iv = bytes(range(32)), bytes(range(16)), bytes(12)
    (edk,) = aes().wrap(data_key, context)
    fields = [edk.provider.encode(), edk.info, edk.ciphertext]
    serialized = serialize_context(context)
    header = b"\x01\x80\x00\x78" + message_id + struct.pack(">H", len(serialized)) + serialized
    header += struct.pack(">H", 1) + b"".join(struct.pack(">H", len(f)) + f for f in fields)
    header += b"\x01" + bytes(4) + b"\x0c" + bytes(4)
    cipher = AESGCM(data_key)
    aad = (
        message_id + b"AWSKMSEncryptionClient Single Block" + struct.pack(">IQ", 1, len(plaintext))
    )
    block_iv = bytes(11) + b"\x01"
    sealed = cipher.encrypt(block_iv, plaintext, aad)
    block = block_iv + struct.pack(">Q", len(plaintext)) + sealed
    return header + iv + cipher.encrypt(iv, b"", header) + block
