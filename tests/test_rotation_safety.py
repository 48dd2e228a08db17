# SPDX-License-Identifier: Apache-2.0
"""Rotation under faults and attacks: no object is lost, laundered or made unreadable."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from relay import Answer, Asked, relaying
from samples import CUSTOMER_KEY, PART, aes, connect, kms_keyring, make_mode, payload, stored

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    ConflictError,
    FormatError,
    IntegrityError,
    PolicyError,
    RSAKeyring,
    S3Crypt,
    message,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3crypt.sandbox import Running


def _deaf(_: Asked, forward: Callable[[], Answer]) -> Answer:
    """Reply like a server that accepts encryption headers but does not encrypt."""
    answer = forward()
    for name in [name for name in answer.headers if name.startswith("x-amz-server-side-enc")]:
        del answer.headers[name]
    return answer


def test_the_only_copy_outlives_a_server_that_does_not_encrypt(
    sandbox: Running, session: Any, bucket: str
) -> None:
    """If the server does not encrypt, the rotation fails before it overwrites the only copy."""
    uri, mode = f"s3://{bucket}/x", ClientSide(aes())
    connect(mode).put(b"only copy", uri)
    with relaying(sandbox.endpoint_url, _deaf) as relay:
        store = S3Crypt(mode, client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(PolicyError, match="did not confirm"):
            store.rotate(uri, to=SSES3())
    assert connect(mode).read(uri) == b"only copy"


def test_a_store_does_not_rotate_what_its_customer_key_did_not_encrypt(
    bucket: str, s3: Any
) -> None:
    """A store in mode sse-c does not encrypt an object that was written without the store's key."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"planted")
    for after in (ClientSide(aes()), SSES3()):
        store = connect(SSEC(CUSTOMER_KEY))
        if isinstance(after, SSES3):
            # The object already is in this mode, so the rotation leaves it unchanged.
            assert store.rotate(f"s3://{bucket}/x", to=after)[0].action == "unchanged"
            continue
        with pytest.raises(PolicyError, match="not as sse-c"):
            store.rotate(f"s3://{bucket}/x", to=after)
    assert stored(s3, bucket, "x") == b"planted"


def test_an_alias_that_moved_is_seen(bucket: str, kms: Any) -> None:
    """If an alias names another key now, objects under its former key need rotation."""
    first, second = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    alias, uri = f"alias/{uuid.uuid4()}", f"s3://{bucket}/x"
    kms.create_alias(AliasName=alias, TargetKeyId=first)
    modes = (ClientSide(kms_keyring(alias)), SSEKMS(alias))
    for mode in modes:
        store = connect(mode)
        store.put(b"plain", uri)
        assert not store.needs_rotation(uri, to=mode)
        kms.update_alias(AliasName=alias, TargetKeyId=second)
        assert S3Crypt(ClientSide(kms_keyring(first)) if mode is modes[0] else None).needs_rotation(
            uri, to=mode
        )
        kms.update_alias(AliasName=alias, TargetKeyId=first)


def test_an_alias_that_moves_leaves_no_object_half_way(bucket: str, kms: Any) -> None:
    """If an alias moves during a rotation, all objects get the key that it named at the start."""
    first, second = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    alias = f"alias/{uuid.uuid4()}"
    kms.create_alias(AliasName=alias, TargetKeyId=first)
    store = connect(SSES3())
    for name in "ab":
        store.put(b"plain", f"s3://{bucket}/p/{name}")
    store.rotate(
        f"s3://{bucket}/p/",
        to=SSEKMS(alias),
        on_outcome=lambda _: kms.update_alias(AliasName=alias, TargetKeyId=second),
    )
    keys = {connect().inspect(f"s3://{bucket}/p/{name}").kms_key for name in "ab"}
    assert keys == {first}


def test_a_forged_context_does_not_make_an_object_unreadable(bucket: str, s3: Any) -> None:
    """Forged context in the metadata is detected before a rewrap makes the object unreadable.

    An RSA key does not bind the context, so the header is checked.
    """
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    uri = f"s3://{bucket}/x"
    mode = ClientSide(RSAKeyring("tests", "rsa", private=pem), key_location="metadata")
    connect(mode).put(b"secret", uri)
    head = s3.head_object(Bucket=bucket, Key="x")
    context = json.loads(head["Metadata"]["s3crypt-context"]) | {"more": "of it"}
    s3.put_object(
        Bucket=bucket,
        Key="x",
        Body=stored(s3, bucket, "x"),
        Metadata=head["Metadata"] | {"s3crypt-context": json.dumps(context)},
    )
    with pytest.raises(IntegrityError, match="contradict"):
        connect(mode).rotate(uri, to=ClientSide(aes(), key_location="metadata"))
    assert connect(mode).read(uri) == b"secret"


@pytest.mark.parametrize("after", ["header", "metadata"])
def test_what_s3_encrypts_a_sealed_object_with_stays(
    after: Any, bucket: str, kms_key: str, s3: Any
) -> None:
    """Re-encrypting a client-side object keeps S3's own encryption of it with a KMS key."""
    uri, mode = f"s3://{bucket}/x", ClientSide(aes())
    connect(mode).put(b"plain", uri)
    s3.copy_object(
        Bucket=bucket,
        Key="x",
        CopySource={"Bucket": bucket, "Key": "x"},
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId=kms_key,
    )
    to = ClientSide(aes("two"), key_location=after)
    assert connect(mode).rotate(uri, to=to)[0].action == "re-encrypted"
    assert connect(to).inspect(uri).kms_key == kms_key


def test_a_message_without_commitment_is_re_encrypted(bucket: str, s3: Any) -> None:
    """A rotation refuses a message without commitment, even if it is under the wanted key."""
    uri, keyring = f"s3://{bucket}/x", aes()
    mode = ClientSide(keyring, bind_name=False)
    sealed = message.encrypt(b"plain", keyring)
    s3.put_object(Bucket=bucket, Key="x", Body=b"\x01\x80\x01\x78" + sealed[4:])
    with pytest.raises((FormatError, IntegrityError, PolicyError)):
        connect(mode).rotate(uri, to=replace(mode, frame_length=8192))


@pytest.mark.parametrize(
    ("metadata", "body"),
    [
        ({"x-amz-key-v2": "AAAA", "x-amz-iv": "AAAA"}, b"ciphertext of another client"),
        ({"s3crypt-frame-length": "4096"}, b"ciphertext of a newer version"),
        ({}, b"\x02\x04\x78 and no more"),
    ],
)
@pytest.mark.parametrize("reader", [None, SSES3()])
def test_ciphertext_that_cannot_be_read_is_not_plaintext(
    metadata: dict[str, str], body: bytes, reader: Any, bucket: str, s3: Any
) -> None:
    """An object that is client-side encrypted but unreadable is neither read nor rotated."""
    s3.put_object(Bucket=bucket, Key="x", Body=body, Metadata=metadata)
    uri = f"s3://{bucket}/x"
    if reader is None or metadata:
        with pytest.raises((FormatError, IntegrityError)):
            connect(reader).read(uri)
    with pytest.raises((FormatError, IntegrityError)):
        connect(reader).rotate(uri, to=ClientSide(aes()))
    assert stored(s3, bucket, "x") == body


@pytest.mark.parametrize("before", ["client-metadata", "client-header", "sse-s3"])
def test_a_writer_of_metadata_alone_wins(
    before: str, bucket: str, kms_key: str, new_key: str, session: Any, s3: Any
) -> None:
    """If another writer changes only the metadata during the rotation, the change is kept."""
    uri, old = f"s3://{bucket}/x", make_mode(before, kms_key)
    connect(old).put(b"plain", uri, metadata={"a": "1"})
    client = session.client("s3")
    heads = []
    # With the key in the header, the first request about the object is a GET, so the last check is
    # the first HEAD. Otherwise the last check is the second HEAD.
    last = 1 if before == "client-header" else 2

    def rewrite(**_: Any) -> None:
        heads.append(1)
        if len(heads) == last:
            metadata = s3.head_object(Bucket=bucket, Key="x")["Metadata"] | {"a": "2"}
            s3.copy_object(
                Bucket=bucket,
                Key="x",
                CopySource={"Bucket": bucket, "Key": "x"},
                Metadata=metadata,
                MetadataDirective="REPLACE",
            )

    client.meta.events.register("before-call.s3.HeadObject", rewrite)
    to = SSEKMS(new_key) if before == "sse-s3" else make_mode(before, new_key)
    with pytest.raises(ConflictError, match="another writer"):
        S3Crypt(old, client=client).rotate(uri, to=to)
    assert connect(old).inspect(uri).metadata == {"a": "2"}


@pytest.mark.parametrize(
    ("after", "broken"),
    [
        *(("sse-kms", broken) for broken in ((1,), (2, 3), (1, 4))),
        # Two other HEADs come before the last check: for the instruction file and for the checksum.
        *(("client-header", broken) for broken in ((1,), (2, 3), (3, 4), (1, 3))),
    ],
)
@pytest.mark.parametrize("name", ["x-amz-version-id", "x-amz-meta-owner", "content-length"])
def test_looks_that_break_within_their_headers_are_no_other_writer(
    after: str,
    name: str,
    broken: tuple[int, ...],
    sandbox: Running,
    versioned_bucket: str,
    kms_key: str,
) -> None:
    """If a HEAD reply lost headers, the rotation does not report another writer."""
    uri = f"s3://{versioned_bucket}/x"
    connect(SSES3()).put(b"the only copy", uri, metadata={"owner": "finance"})
    heads: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "HEAD":
            heads.append(asked)
            if len(heads) in broken and name == "content-length":
                answer.headers[name] = answer.headers[name][:-1]
            elif len(heads) in broken:
                answer.headers.pop(name, None)
        return answer

    mode = make_mode(after, kms_key)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        connect(SSES3(), endpoint_url=relay.url).rotate(uri, to=mode)
    assert len(heads) >= max(broken)
    assert connect(mode).read(uri) == b"the only copy"
    assert connect(mode).inspect(uri).metadata == {"owner": "finance"}


@pytest.mark.parametrize(
    ("method", "name", "left"),
    [
        ("HEAD", "content-length", 1),
        ("HEAD", "x-amz-meta-owner", 1),
        ("GET", "content-length", 1),
        ("GET", "content-range", 0),
        ("GET", "x-amz-meta-owner", 1),
    ],
)
@pytest.mark.parametrize("after", ["sse-kms", "client-header"])
def test_a_reply_that_breaks_within_its_headers_loses_nothing(  # noqa: PLR0917 - four are fixtures
    after: str,
    method: str,
    name: str,
    left: int,
    sandbox: Running,
    session: Any,
    bucket: str,
    kms_key: str,
) -> None:
    """If the headers of a reply are cut, a rotation loses neither bytes nor metadata."""
    uri = f"s3://{bucket}/x"
    cut: list[str] = []
    connect(SSES3()).put(payload(PART + 9), uri, metadata={"owner": "finance"})

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == method and name in answer.headers and not cut:
            cut.append(asked.target)
            answer.cut_in = (name, left)
        return answer

    mode = make_mode(after, kms_key)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        try:
            store.rotate(uri, to=mode)
        except (ConflictError, PolicyError):
            # The rotation failed: a later check noticed the cut, or the mode was missing. The
            # object is unchanged.
            mode = SSES3()
    store = connect(mode)
    assert store.read(uri) == payload(PART + 9)
    assert store.inspect(uri).metadata == {"owner": "finance"}
