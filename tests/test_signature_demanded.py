# SPDX-License-Identifier: Apache-2.0
"""A store whose mode signs accepts only signed objects in reads and rotations."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from samples import aes, connect, files, kms_keyring, payload, stored

from s3crypt import ClientSide, ConfigError, PolicyError, decrypt_file, encrypt_file, message
from s3crypt.filesystem import S3CryptFileSystem
from s3crypt.message import DataKey, Sealer, read_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from conftest import RequestsLog

    from s3crypt.message import EncryptedDataKey

FRAME = 4096


class Thief:
    """The keyring of an attacker who may only decrypt. It reuses an old data key to write."""

    def __init__(self, data_key: DataKey) -> None:
        self._data_key = data_key

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return the opened data key."""
        del length, context, plaintext_length
        return self._data_key

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Fail: the attacker cannot wrap a key."""
        raise NotImplementedError

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Fail: the attacker opens no key here."""
        raise NotImplementedError

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return False: no message counts as its own."""
        del edks
        return False


def forged(old: bytes, key: str, plaintext: bytes) -> bytes:
    """Return a message with this plaintext under the data key of an old message.

    Any reader of the old message can make this forgery. KMS decrypts its data key for all readers.
    """
    header = read_header(io.BytesIO(old))
    data_key = kms_keyring(key).unwrap(header.edks, header.context, 32)
    keyring = Thief(DataKey(data_key, header.edks))
    return message.encrypt(plaintext, keyring, context=header.context, frame_length=FRAME)


@pytest.fixture
def forgery(bucket: str, kms_key: str, s3: Any) -> str:
    """Replace a signed object by a forgery, made from an old unsigned object. Return its URI."""
    uri = f"s3://{bucket}/x"
    connect(ClientSide(kms_keyring(kms_key))).put(b"from before signatures", uri)
    old = stored(s3, bucket, "x")
    signing(kms_key).put(b"genuine", uri)
    s3.put_object(Bucket=bucket, Key="x", Body=forged(old, kms_key, b"forged" * FRAME))
    return uri


def signing(key: str, **options: Any) -> Any:
    """Return a store whose mode signs."""
    return connect(ClientSide(kms_keyring(key), signed=True, **options))


@pytest.mark.parametrize(
    "read",
    [
        "store.read(uri)",
        "store.get(uri, out)",
        "store.read(uri, byte_range='0-9')",
        "store.open(uri, allow_unverified_signature=True)",
        "store.read(uri, byte_range='0-9', allow_unverified_signature=True)",
        "store.rotate(uri, to=store.mode)",
        "store.rotate(uri, to=store.mode, dry_run=True)",
        "store.needs_rotation(uri, to=store.mode)",
        "store.rotate(uri, to=unsigned)",
    ],
)
def test_a_forgery_of_a_reader_is_refused_before_kms_is_asked(
    read: str, forgery: str, kms_key: str, requests_log: RequestsLog, s3: Any, tmp_path: Path
) -> None:
    """A store that signs refuses the forgery of a reader, before any request to KMS."""
    store, name = signing(kms_key), forgery.removeprefix("s3://").split("/")
    before = stored(s3, *name)
    assert connect(ClientSide(kms_keyring(kms_key))).read(forgery).startswith(b"forged")
    names = {"store": store, "uri": forgery, "out": tmp_path / "out"}
    names["unsigned"] = ClientSide(aes())
    requests_log.clear()
    with pytest.raises(PolicyError, match="not signed") as caught:
        eval(read, names)
    assert forgery in str(caught.value)
    assert "allow_unsigned" in str(caught.value.hint)
    asked = [entry["headers"].get("x-amz-target", "") for entry in requests_log.list()]
    assert not [target for target in asked if target.endswith(("Decrypt", "GenerateDataKey"))]
    assert stored(s3, *name) == before
    assert files(tmp_path) == []


@pytest.mark.parametrize("key_location", ["header", "metadata"])
def test_unsigned_objects_are_read_where_named(
    key_location: Any, bucket: str, kms_key: str, tmp_path: Path
) -> None:
    """With `allow_unsigned`, a store that signs reads and rotates unsigned objects."""
    uri, plain = f"s3://{bucket}/x", payload(3 * FRAME)
    unsigned = ClientSide(kms_keyring(kms_key), key_location=key_location, frame_length=FRAME)
    connect(unsigned).put(plain, uri)
    store = signing(kms_key, key_location=key_location)
    with pytest.raises(PolicyError, match="not signed"):
        store.read(uri)
    assert store.read(uri, allow_unsigned=True) == plain
    assert store.read(uri, byte_range="0-9", allow_unsigned=True) == plain[:10]
    store.get(uri, tmp_path / "out", allow_unsigned=True)
    assert (tmp_path / "out").read_bytes() == plain
    with store.open(uri, allow_unsigned=True) as file:
        assert file.read() == plain
    assert store.needs_rotation(uri, to=store.mode, allow_unsigned=True)
    assert store.rotate(uri, to=store.mode, allow_unsigned=True)[0].action == "re-encrypted"
    assert store.read(uri) == plain
    assert store.inspect(uri).signed


def test_an_unsigned_object_is_not_rewrapped(
    bucket: str, kms_key: str, new_key: str, s3: Any
) -> None:
    """A store that signs does not rewrap an unsigned object without `allow_unsigned`."""
    uri = f"s3://{bucket}/x"
    old, new = (ClientSide(kms_keyring(key), key_location="metadata") for key in (kms_key, new_key))
    connect(old).put(b"plain", uri)
    metadata = s3.head_object(Bucket=bucket, Key="x")["Metadata"]
    store = signing(kms_key, key_location="metadata")
    with pytest.raises(PolicyError, match="not signed"):
        store.rotate(uri, to=new)
    assert s3.head_object(Bucket=bucket, Key="x")["Metadata"] == metadata
    assert store.rotate(uri, to=new, allow_unsigned=True)[0].action == "rewrapped"


def test_a_signed_object_passes(bucket: str, kms_key: str, new_key: str) -> None:
    """A store that signs reads and rotates a signed object, which stays signed."""
    uri, store = f"s3://{bucket}/x", signing(kms_key)
    store.put(b"genuine", uri)
    assert store.read(uri) == b"genuine"
    after = signing(new_key)
    assert store.rotate(uri, to=after.mode)[0].action == "re-encrypted"
    assert after.read(uri) == b"genuine"


def test_a_file_system_demands_it_too(bucket: str, tmp_path: Path) -> None:
    """A file system with `signed` refuses to read or copy unsigned objects."""
    key_file = tmp_path / "wrapping.key"
    key_file.write_bytes(bytes(range(32)))
    key = f"aes:tests/one={key_file}"
    S3CryptFileSystem(key=key).pipe_file(f"{bucket}/x", b"unsigned")
    strict = S3CryptFileSystem(key=key, signed=True, allow_unverified_signature=True)
    for read in (
        lambda: strict.cat_file(f"{bucket}/x"),
        lambda: strict.cat_file(f"{bucket}/x", 0, 2),
        lambda: strict.open(f"{bucket}/x"),
        lambda: strict.get_file(f"{bucket}/x", str(tmp_path / "out")),
        lambda: strict.cp_file(f"{bucket}/x", f"{bucket}/y"),
    ):
        with pytest.raises(PolicyError, match="not signed"):
            read()
    assert not strict.exists(f"{bucket}/y")
    lenient = S3CryptFileSystem(key=key, signed=True, allow_unsigned=True)
    assert lenient.cat_file(f"{bucket}/x", 0, 2) == b"un"
    lenient.cp_file(f"{bucket}/x", f"{bucket}/y")
    assert strict.cat_file(f"{bucket}/y") == b"unsigned"
    with pytest.raises(ConfigError, match="allow_unsigned"):
        S3CryptFileSystem(key=key, allow_unsigned="no")


@pytest.mark.parametrize("is_signed", [False, True])
def test_bare_messages(tmp_path: Path, *, is_signed: bool) -> None:
    """Functions for messages and files refuse an unsigned message if `signed` is true."""
    plain, sealed = tmp_path / "plain", tmp_path / "sealed"
    plain.write_bytes(b"plain")
    encrypt_file(plain, sealed, aes(), signed=is_signed)
    data = sealed.read_bytes()
    readers: Any = (
        lambda: message.decrypt(data, aes(), signed=True),
        lambda: message.DecryptingReader(io.BytesIO(data), aes(), signed=True).readall(),
        lambda: message.Opener(read_header(io.BytesIO(data)), aes(), signed=True),
        lambda: decrypt_file(sealed, tmp_path / "out", aes(), signed=True),
    )
    for read in readers:
        if is_signed:
            read()
            continue
        with pytest.raises(PolicyError, match="not signed"):
            read()
    assert ("out" in files(tmp_path)) == is_signed


def test_a_sealer_of_the_test_forges() -> None:
    """Control test: the forgery opens if no signature is demanded."""
    thief = Thief(aes().generate(32, {}))
    sealer = Sealer(thief, context={}, frame_length=FRAME, plaintext_length=0)
    assert not sealer.is_sequential
    assert message.decrypt(message.encrypt(b"forged", thief), aes()) == b"forged"
