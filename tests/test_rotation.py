# SPDX-License-Identifier: Apache-2.0
"""Rotation from every mode to every mode: the action, the result, and the bytes it moves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from samples import (
    CUSTOMER_KEY,
    PART,
    SERVER_SIDE,
    aes,
    connect,
    kms_keyring,
    make_mode,
    payload,
    uploads,
)

from s3crypt import (
    DSSEKMS,
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    KMSKeyring,
    MultiKeyring,
    PolicyError,
    S3CryptError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RequestsLog

    from s3crypt import Mode

OLD_SSEC, NEW_SSEC = CUSTOMER_KEY, bytes(32)
FROM = (*SERVER_SIDE, "client-header", "client-metadata")
TO = (*FROM, "sse-kms without bucket key")


def old_mode(name: str, key: str) -> Mode:
    """Return the mode of the object before the rotation."""
    return make_mode(name, key)


def new_mode(name: str, key: str) -> Mode:
    """Return the mode of the object after the rotation, with another key if it has a key."""
    if name == "sse-c":
        return SSEC(NEW_SSEC)
    if name == "sse-kms without bucket key":
        return SSEKMS(key, bucket_key=False)
    return make_mode(name, key)


def expected_action(before: str, after: str) -> str:
    """Return the action that moves the fewest bytes for this rotation."""
    if before == after == "sse-s3":
        return "unchanged"
    if before == after == "client-metadata":
        return "rewrapped"
    if before.startswith("client") or after.startswith("client"):
        return "re-encrypted"
    return "copied"


@pytest.mark.parametrize("after", TO)
@pytest.mark.parametrize("before", FROM)
def test_every_mode_to_every_mode(
    before: str, after: str, bucket: str, kms_key: str, new_key: str, requests_log: RequestsLog
) -> None:
    """`needs_rotation` and a dry run predict the action of the rotation.

    The rotation does this action, and a second rotation changes nothing.
    """
    uri, old, new = f"s3://{bucket}/x", old_mode(before, kms_key), new_mode(after, new_key)
    store, action, data = connect(old), expected_action(before, after), payload(100_000)
    store.put(data, uri)
    assert store.needs_rotation(uri, to=new) == (action != "unchanged")
    (planned,) = store.rotate(uri, to=new, dry_run=True)
    assert (planned.action, planned.bytes_moved) == (action, 0)
    assert store.read(uri) == data
    requests_log.clear()
    (done,) = store.rotate(uri, to=new)
    moved = sum(
        entry["response_bytes"]
        for entry in requests_log.list()
        if entry["method"] == "GET" and not entry["query"]
    )
    assert (done.uri, done.action, done.error) == (uri, action, None)
    assert done.bytes_moved == (len(data) if action == "re-encrypted" else 0)
    assert action == "re-encrypted" or moved == 0 or before == "client-header"
    assert connect(new).read(uri) == data
    assert connect().inspect(uri, mode=new if new.name == "sse-c" else None).mode == new.name
    assert store.rotate(uri, to=new)[0].action == "unchanged"
    assert connect(new).rotate(uri, to=new)[0].action == "unchanged"
    assert not store.needs_rotation(uri, to=new)


@pytest.mark.parametrize("after", ["sse-kms", "sse-c", "client-header", "client-metadata"])
@pytest.mark.parametrize("before", ["sse-s3", "sse-c", "client-header", "client-metadata"])
def test_all_that_s3_keeps_beside_the_bytes_is_kept(
    before: str, after: str, bucket: str, kms_key: str, new_key: str, s3: Any
) -> None:
    """Every mechanism keeps the metadata, tags, content headers and storage class."""
    uri, old, new = f"s3://{bucket}/x", old_mode(before, kms_key), new_mode(after, new_key)
    store = connect(old)
    store.put(b"plain", uri, metadata={"colour": "blue"}, tags={"team": "a+b=c d@e"})
    described = {
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="a.txt"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "fi",
        "ContentType": "text/x-test",
        "Expires": datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC),
        "StorageClass": "STANDARD_IA",
        "WebsiteRedirectLocation": "/elsewhere",
    }
    key: Any = old.read_arguments()
    head = s3.head_object(Bucket=bucket, Key="x", **key)
    body = s3.get_object(Bucket=bucket, Key="x", **key)["Body"].read()
    s3.put_object(
        Bucket=bucket,
        Key="x",
        Body=body,
        Metadata=head["Metadata"],
        Tagging="team=a%2Bb%3Dc%20d%40e",
        **described,
        **key,
    )
    store.rotate(uri, to=new)
    arguments: Any = new.read_arguments()
    head = s3.head_object(Bucket=bucket, Key="x", **arguments)
    assert {name: head.get(name) for name in described} == described
    user = {k: v for k, v in head["Metadata"].items() if not k.startswith("s3crypt-")}
    assert user == {"colour": "blue"}
    tags = s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"]
    assert tags == [{"Key": "team", "Value": "a+b=c d@e"}]
    assert connect(new).read(uri) == b"plain"


@pytest.mark.parametrize("before", ["client-header", "client-metadata"])
def test_what_is_ours_in_the_metadata_goes_with_the_message(
    before: str, bucket: str, kms_key: str, s3: Any
) -> None:
    """A rotation to SSE-S3 removes s3crypt's own metadata, except a new write token."""
    uri = f"s3://{bucket}/x"
    store = connect(make_mode(before, kms_key))
    store.put(b"plain", uri, metadata={"colour": "blue"})
    store.rotate(uri, to=SSES3())
    metadata = s3.head_object(Bucket=bucket, Key="x")["Metadata"]
    assert metadata.keys() == {"colour", "s3crypt-write"}
    assert metadata["colour"] == "blue"


@pytest.mark.parametrize("before", ["sse-c", "client-header", "client-metadata"])
@pytest.mark.parametrize("after", ["sse-kms", "client-header"])
def test_a_large_object_is_rotated_by_parts(
    before: str, after: str, bucket: str, kms_key: str, new_key: str, s3: Any
) -> None:
    """A large object is re-encrypted part by part into an upload."""
    uri, new = f"s3://{bucket}/x", new_mode(after, new_key)
    store, size = connect(old_mode(before, kms_key)), 2 * PART + 12_345
    store.put(payload(size), uri)
    (done,) = store.rotate(uri, to=new)
    assert done.bytes_moved == (0 if done.action == "copied" else size)
    assert connect(new).read(uri) == payload(size)
    assert uploads(s3, bucket) == []


@pytest.mark.parametrize("size", [0, 1, 262_144])
def test_empty_and_single_frame_objects_are_rotated(
    size: int, bucket: str, kms_key: str, new_key: str
) -> None:
    """Objects of no byte, one byte and one full frame are rotated through every mode."""
    uri = f"s3://{bucket}/x"
    modes = [make_mode(name, kms_key) for name in FROM]
    connect(SSES3()).put(payload(size), uri)
    for before, after in zip([SSES3(), *modes], [*modes, SSEKMS(new_key)], strict=True):
        connect(before).rotate(uri, to=after)
        assert connect(after).read(uri) == payload(size)


# --- When an object needs no rotation --------------------------------------------------------


def _client(**options: Any) -> ClientSide:
    return ClientSide(options.pop("keyring", aes()), **options)


@pytest.mark.parametrize(
    ("before", "after", "action"),
    [
        (_client(), _client(), "unchanged"),
        (_client(), _client(frame_length=4096), "unchanged"),
        (_client(), _client(keyring=aes("two")), "re-encrypted"),
        (_client(), _client(key_location="metadata"), "re-encrypted"),
        (_client(key_location="metadata"), _client(), "re-encrypted"),
        (_client(key_location="metadata"), _client(key_location="metadata"), "unchanged"),
        (
            _client(key_location="metadata"),
            _client(key_location="metadata", keyring=aes("two")),
            "rewrapped",
        ),
        (
            _client(key_location="metadata"),
            _client(key_location="metadata", keyring=aes("two"), context={"a": "b"}),
            "re-encrypted",
        ),
        (
            _client(key_location="metadata"),
            _client(key_location="metadata", keyring=aes("two"), signed=True),
            "re-encrypted",
        ),
        (_client(), _client(signed=True), "re-encrypted"),
        (_client(signed=True), _client(), "re-encrypted"),
        (_client(), _client(context={"a": "b"}), "re-encrypted"),
        (_client(context={"a": "b"}), _client(), "unchanged"),
        (_client(bind_name=False), _client(), "re-encrypted"),
        (_client(), _client(bind_name=False), "unchanged"),
        (_client(), _client(keyring=MultiKeyring(aes(), aes("two"))), "re-encrypted"),
        (_client(keyring=MultiKeyring(aes(), aes("two"))), _client(), "re-encrypted"),
    ],
)
def test_a_client_side_object_is_compared_with_what_is_asked(
    before: ClientSide, after: ClientSide, action: str, bucket: str
) -> None:
    """A client-side object is rotated if its keys, key location, signature or context differ.

    A different frame length alone is no reason.
    """
    uri, store = f"s3://{bucket}/x", connect(before)
    store.put(b"plain", uri)
    assert store.rotate(uri, to=after, dry_run=True)[0].action == action
    assert store.rotate(uri, to=after)[0].action == action
    assert connect(after).read(uri) == b"plain"
    assert connect(after).rotate(uri, to=after)[0].action == "unchanged"


@pytest.mark.parametrize("mode", [SSEKMS, DSSEKMS, lambda key: ClientSide(kms_keyring(key))])
def test_a_key_is_the_same_by_any_name(
    mode: Callable[[str], Mode], bucket: str, kms_key: str, kms: Any
) -> None:
    """If the target names the object's key by alias or id, the object needs no rotation."""
    alias, uri = f"alias/{bucket}", f"s3://{bucket}/x"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    connect(mode(kms_key)).put(b"plain", uri)
    for key in (alias, kms_key.rpartition("/")[2], kms_key):
        assert not connect(mode(kms_key)).needs_rotation(uri, to=mode(key))
    kms.update_alias(AliasName=alias, TargetKeyId=kms.create_key()["KeyMetadata"]["Arn"])
    assert connect(mode(kms_key)).needs_rotation(uri, to=mode(alias))


def test_a_store_without_a_mode_rotates_what_s3_opens(bucket: str, kms_key: str) -> None:
    """A store without a mode can rotate any object that S3 decrypts.

    The target is another server-side mode.
    """
    uri = f"s3://{bucket}/x"
    for name in ("sse-s3", "sse-kms", "dsse-kms"):
        connect(make_mode(name, kms_key)).put(b"plain", uri)
        assert connect().rotate(uri, to=SSEC(CUSTOMER_KEY))[0].action == "copied"
        assert connect(SSEC(CUSTOMER_KEY)).read(uri) == b"plain"


# --- Strictness ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store_mode", "after", "kind"),
    [
        (None, SSES3(), PolicyError),
        (None, ClientSide(aes("two")), PolicyError),
        (SSES3(), SSES3(), PolicyError),
        (ClientSide(aes("three")), ClientSide(aes("two")), KeyUnavailableError),
        (ClientSide(aes("three")), SSES3(), KeyUnavailableError),
        (
            ClientSide(aes("three"), key_location="metadata"),
            ClientSide(aes("two"), key_location="metadata"),
            KeyUnavailableError,
        ),
        (ClientSide(aes(), context={"a": "b"}), SSES3(), IntegrityError),
    ],
)
@pytest.mark.parametrize("key_location", ["header", "metadata"])
def test_what_the_store_cannot_read_it_does_not_rotate(
    store_mode: Mode | None,
    after: Mode,
    kind: type[S3CryptError],
    key_location: Any,
    bucket: str,
) -> None:
    """A store that cannot open a client-side object does not rotate it, and leaves it as it is."""
    uri, owner = f"s3://{bucket}/x", ClientSide(aes(), key_location=key_location)
    etag = connect(owner).put(b"plain", uri).etag
    with pytest.raises(kind):
        connect(store_mode).rotate(uri, to=after)
    assert connect().inspect(uri).etag == etag
    assert connect(owner).read(uri) == b"plain"


SOME_KEY = "arn:aws:kms:us-east-1:123456789012:key/0c0de000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("after", [ClientSide(aes("two")), ClientSide(aes()), SSEKMS(SOME_KEY)])
def test_a_plain_object_is_not_laundered(after: Mode, bucket: str, s3: Any) -> None:
    """A client-side store does not encrypt a plain object: another writer may have planted it."""
    uri = f"s3://{bucket}/x"
    s3.put_object(Bucket=bucket, Key="x", Body=b"planted")
    with pytest.raises((FormatError, PolicyError)):
        connect(ClientSide(aes())).rotate(uri, to=after)
    assert connect().read(uri) == b"planted"


@pytest.mark.parametrize("key_location", ["header", "metadata"])
@pytest.mark.parametrize("bind_name", [True, False])
def test_a_swapped_object_is_not_rotated(
    key_location: Any, bucket: str, s3: Any, *, bind_name: bool
) -> None:
    """A client-side object that was copied to another name is not rotated by any mechanism."""
    source = ClientSide(aes(), key_location=key_location)
    connect(source).put(b"plain", f"s3://{bucket}/x")
    s3.copy_object(Bucket=bucket, Key="y", CopySource={"Bucket": bucket, "Key": "x"})
    after = ClientSide(aes("two"), key_location=key_location, bind_name=bind_name)
    with pytest.raises(IntegrityError):
        connect(source).rotate(f"s3://{bucket}/y", to=after)
    copied = connect().inspect(f"s3://{bucket}/y")
    assert copied.keys == ("aes:tests/one",)


def test_a_discovery_keyring_only_reads(bucket: str, kms_key: str, new_key: str) -> None:
    """A discovery keyring can read the source of a rotation, but it is refused as the target."""
    reading = ClientSide(KMSKeyring.discovery(accounts=["123456789012"]))
    for key_location in ("header", "metadata"):
        uri = f"s3://{bucket}/{key_location}"
        old = ClientSide(kms_keyring(kms_key), key_location=key_location)
        new = ClientSide(kms_keyring(new_key), key_location=key_location)
        connect(old).put(b"plain", uri)
        connect(reading).rotate(uri, to=new)
        assert connect(new).read(uri) == b"plain"
        with pytest.raises(ValueError, match="discovery"):
            connect(new).rotate(uri, to=reading)
