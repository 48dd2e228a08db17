# SPDX-License-Identifier: Apache-2.0
"""Keyrings: how they wrap and name keys, which EDKs they open, and their requests to KMS."""

import copy
import json
import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.config import Config
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from relay import relaying

from s3crypt import CachingKeyring, message
from s3crypt.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    S3CryptError,
)
from s3crypt.keyrings import AESKeyring, MultiKeyring, RSAKeyring, key_names
from s3crypt.keyrings.kms import KMSKeyring
from s3crypt.message.keys import EncryptedDataKey
from s3crypt.sandbox import Running

KEY_BYTES = bytes(range(32))
DATA_KEY = bytes(range(100, 132))
AES = AESKeyring("tests", "aes-1", KEY_BYTES)
CONTEXT = {"tenant": "a", "größe": "日本"}
ACCOUNT, ARN = "123456789012", "arn:aws:kms:us-east-1:123456789012:key/1234abcd"
RESERVED = ("aws-kms", "aws-kms-rsa", "aws-kms-ecdh", "aws-kms-hierarchy", "raw-ecdh")
PADDINGS = ("OAEP-SHA256", "OAEP-SHA384", "OAEP-SHA512", "OAEP-SHA1", "PKCS1")


@pytest.fixture(scope="session")
def rsa_pem() -> tuple[bytes, bytes]:
    """Return the public and the private PEM of a new RSA key."""
    return pem_pair(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def pem_pair(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    """Return the public and the private PEM of a key."""
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return public, private


@contextmanager
def asked(client: Any) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Collect the operations that a client calls, with their parameters."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def collect(params: dict[str, Any], model: Any, **_: Any) -> None:
        calls.append((model.name, dict(params)))

    client.meta.events.register("provide-client-params.kms", collect)
    try:
        yield calls
    finally:
        client.meta.events.unregister("provide-client-params.kms", collect)


def kms_client(region: str) -> Any:
    """Return a KMS client of another Region of the sandbox."""
    return boto3.client("kms", region_name=region, config=Config(retries={"total_max_attempts": 1}))


# AES


def test_aes_wire_form() -> None:
    """The provider info of an AES EDK is name, tag length in bits, IV length and IV.

    The wrapped key is the ciphertext and the tag.
    """
    (edk,) = AES.wrap(DATA_KEY, CONTEXT)
    assert edk.provider == "tests"
    assert edk.info[:-12] == b"aes-1" + bytes.fromhex("00000080 0000000c")
    assert len(edk.info) == 5 + 8 + 12
    assert len(edk.ciphertext) == 32 + 16
    assert AES.unwrap([edk], CONTEXT, 32) == DATA_KEY


@pytest.mark.parametrize("length", [0, 1, 15, 17, 31, 33, 64])
def test_aes_key_sizes(length: int) -> None:
    """A key of an invalid AES length is refused, and the error does not contain the key."""
    with pytest.raises(ConfigError, match=f"16, 24 or 32 bytes, not {length}"):
        AESKeyring("tests", "aes", bytes(length))


@pytest.mark.parametrize(
    ("namespace", "name"),
    [("", "n"), ("n", ""), *((namespace, "n") for namespace in RESERVED)],
)
def test_reserved_and_empty_names(namespace: str, name: str) -> None:
    """A namespace equal to a provider id of AWS is refused, and so is an empty key name."""
    with pytest.raises(ConfigError):
        AESKeyring(namespace, name, KEY_BYTES)
    with pytest.raises(ConfigError):
        RSAKeyring(namespace, name, public=b"")


def test_aes_binds_the_context() -> None:
    """An AES keyring opens a data key only with the context with which it was wrapped.

    The order of the pairs does not matter.
    """
    edks = AES.wrap(DATA_KEY, CONTEXT)
    assert AES.unwrap(edks, dict(reversed(CONTEXT.items())), 32) == DATA_KEY
    for wrong in ({}, {"tenant": "a"}, {**CONTEXT, "tenant": "b"}, {**CONTEXT, "x": ""}):
        with pytest.raises(IntegrityError):
            AES.unwrap(edks, wrong, 32)


@pytest.mark.parametrize(
    "edk",
    [
        EncryptedDataKey("tests", b"", b""),
        EncryptedDataKey("tests", b"aes-1", bytes(48)),
        EncryptedDataKey("tests", b"aes-1" + bytes.fromhex("00000080 0000000c"), bytes(48)),
        EncryptedDataKey("tests", b"aes-1" + bytes.fromhex("00000080 0000000c") + bytes(12), b""),
        EncryptedDataKey("tests", b"aes-1" + bytes.fromhex("00000060 0000000c") + bytes(12), b""),
        EncryptedDataKey("other", b"aes-1" + bytes.fromhex("00000080 0000000c") + bytes(12), b""),
    ],
    ids=str,
)
def test_aes_refuses_malformed_edks(edk: EncryptedDataKey) -> None:
    """A malformed EDK is skipped, and the keyring tries the next EDK."""
    with pytest.raises(IntegrityError if AES.opens(edk) else KeyUnavailableError):
        AES.unwrap([edk], CONTEXT, 32)
    assert AES.unwrap([edk, *AES.wrap(DATA_KEY, CONTEXT)], CONTEXT, 32) == DATA_KEY


def test_a_data_key_of_another_length_does_not_count() -> None:
    """A data key that opens but has the wrong length is skipped."""
    edks = [*AES.wrap(DATA_KEY[:16], CONTEXT), *AES.wrap(DATA_KEY, CONTEXT)]
    assert AES.unwrap(edks, CONTEXT, 32) == DATA_KEY
    with pytest.raises(IntegrityError):
        AES.unwrap(edks[:1], CONTEXT, 32)


def test_keys_whose_names_begin_alike() -> None:
    """Key names are compared as a whole; a name that only begins like another is another key."""
    shorter = AESKeyring("tests", "aes", KEY_BYTES)
    assert not shorter.wrote(AES.wrap(DATA_KEY, {}))
    with pytest.raises(KeyUnavailableError):
        shorter.unwrap(AES.wrap(DATA_KEY, {}), {}, 32)


def counted_to(keyring: AESKeyring, wraps: int) -> AESKeyring:
    """Return the keyring, with its counter set as if it had wrapped this many data keys."""
    keyring._key._wraps = count(wraps + 1)
    return keyring


def test_an_aes_key_wraps_only_so_often() -> None:
    """An AES key wraps at most 2**32 data keys, because its IVs are random.

    After that it only unwraps.
    """
    keyring = counted_to(AESKeyring("tests", "aes-1", KEY_BYTES), 2**32 - 2)
    last = keyring.wrap(DATA_KEY, CONTEXT)
    assert len(keyring.generate(32, CONTEXT).plaintext) == 32
    for refused in (lambda: keyring.wrap(DATA_KEY, CONTEXT), lambda: keyring.generate(32, CONTEXT)):
        with pytest.raises(ConfigError, match="aes:tests/aes-1 has wrapped 4294967296") as raised:
            refused()
        assert "new name" in str(raised.value.hint)
    assert keyring.unwrap(last, CONTEXT, 32) == DATA_KEY


def test_threads_do_not_exceed_an_aes_keys_limit() -> None:
    """Of 400 wrap calls in 8 threads, exactly the remaining number succeeds."""
    keyring = counted_to(AESKeyring("tests", "aes-1", KEY_BYTES), 2**32 - 100)

    def wrap(_: int) -> int:
        try:
            return len(keyring.wrap(DATA_KEY, {}))
        except ConfigError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(wrap, range(400))) == 100


def test_the_count_is_no_part_of_an_aes_key() -> None:
    """Keyrings of the same key are equal, hash alike, and can be pickled and copied.

    The count of wrapped data keys does not matter.
    """
    used, new = (AESKeyring("tests", "aes-1", KEY_BYTES) for _ in range(2))
    used.wrap(DATA_KEY, {})
    assert (used, hash(used), repr(used)) == (new, hash(new), repr(new))
    for copied in (pickle.loads(pickle.dumps(used)), copy.copy(used), copy.deepcopy(used)):
        assert copied == used
        assert copied.unwrap(copied.wrap(DATA_KEY, {}), {}, 32) == DATA_KEY


# RSA


@pytest.mark.parametrize("padding", PADDINGS)
def test_rsa_paddings(padding: str, rsa_pem: tuple[bytes, bytes]) -> None:
    """The public key wraps and the private key unwraps, in every padding."""
    public, private = rsa_pem
    writer = RSAKeyring("tests", "rsa-1", public=public, padding=padding)
    reader = RSAKeyring("tests", "rsa-1", private=private, padding=padding)
    written = message.encrypt(b"for your eyes", writer, context=CONTEXT)
    assert message.decrypt(written, reader, context=CONTEXT) == b"for your eyes"
    (edk,) = writer.wrap(DATA_KEY, CONTEXT)
    assert (edk.provider, edk.info, len(edk.ciphertext)) == ("tests", b"rsa-1", 256)


def test_rsa_can_be_pickled(rsa_pem: tuple[bytes, bytes]) -> None:
    """An RSA keyring is pickled as PEM, because loaded key objects cannot be pickled."""
    keyring = RSAKeyring("tests", "rsa-1", private=rsa_pem[1], padding="OAEP-SHA512")
    pickled = pickle.loads(pickle.dumps(keyring))
    assert pickled == keyring
    assert pickled.unwrap(keyring.wrap(bytes(32), {}), {}, 32) == bytes(32)


@pytest.mark.parametrize("padding", PADDINGS)
def test_rsa_with_another_padding_or_key(padding: str, rsa_pem: tuple[bytes, bytes]) -> None:
    """A wrong padding, a wrong key and a changed EDK give the same error, and open nothing."""
    writer = RSAKeyring("tests", "rsa-1", private=rsa_pem[1], padding=padding)
    written = message.encrypt(b"for your eyes", writer)
    _, stranger = pem_pair(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    readers = [
        RSAKeyring("tests", "rsa-1", private=rsa_pem[1], padding=other)
        for other in PADDINGS
        if other != padding
    ]
    for reader in [*readers, RSAKeyring("tests", "rsa-1", private=stranger, padding=padding)]:
        with pytest.raises(IntegrityError):
            message.decrypt(written, reader)


def test_rsa_without_the_private_key(rsa_pem: tuple[bytes, bytes]) -> None:
    """Without the private key an RSA keyring opens nothing, and the error says so.

    The error is different if the message is for another key.
    """
    writer = RSAKeyring("tests", "rsa-1", public=rsa_pem[0])
    with pytest.raises(KeyUnavailableError, match="private key of rsa:tests/rsa-1"):
        writer.unwrap(writer.wrap(DATA_KEY, {}), {}, 32)
    with pytest.raises(KeyUnavailableError, match="given keys is a key"):
        writer.unwrap(AES.wrap(DATA_KEY, {}), {}, 32)


def test_rsa_keys_that_are_refused(rsa_pem: tuple[bytes, bytes]) -> None:
    """A key that is not RSA, a mismatched pair and an unknown padding are refused at once."""
    public, private = rsa_pem
    curve_public, curve_private = pem_pair(ec.generate_private_key(ec.SECP256R1()))
    other_public, _ = pem_pair(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    encrypted = serialization.load_pem_private_key(private, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    refused: dict[str, dict[str, Any]] = {
        "needs a public or a private": {},
        "this is not a PEM file": {"private": b"no PEM"},
        "the bytes of a PEM file": {"private": private.decode()},
        "PEM file of an unencrypted": {"private": encrypted},
        "PEM file of an RSA public": {"public": private},
        "PEM file of an unencrypted RSA private": {"private": public},
        "private key is not an RSA": {"private": curve_private},
        "public key is not an RSA": {"public": curve_public},
        "do not belong together": {"public": other_public, "private": private},
        "Unknown RSA padding": {"public": public, "padding": "OAEP"},
    }
    for words, arguments in refused.items():
        with pytest.raises(ConfigError, match=words):
            RSAKeyring("tests", "rsa", **arguments)


def test_a_short_rsa_key_reads_and_does_not_write() -> None:
    """A 1024-bit RSA key still unwraps old data keys, but does not wrap new ones."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    public, private = pem_pair(key)
    halves: list[dict[str, Any]] = [{"public": public}, {"private": private}]
    for half in halves:
        with pytest.raises(ConfigError, match="rsa:tests/rsa has 1024 bits") as caught:
            message.encrypt(b"", RSAKeyring("tests", "rsa", **half))
        assert "openssl genrsa" in str(caught.value.hint)
    oaep = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    edk = EncryptedDataKey("tests", b"rsa", key.public_key().encrypt(DATA_KEY, oaep))
    assert RSAKeyring("tests", "rsa", private=private).unwrap([edk], {}, 32) == DATA_KEY


# KMS, one key


def test_kms_asks_once_a_message(kms: Any, kms_key: str) -> None:
    """Writing a message costs one GenerateDataKey.

    Reading it costs one Decrypt that names the key.
    """
    keyring = KMSKeyring(kms_key, client=kms)
    with asked(kms) as calls:
        written = message.encrypt(b"data", keyring, context=CONTEXT)
    assert calls == [
        (
            "GenerateDataKey",
            {"KeyId": kms_key, "NumberOfBytes": 32, "EncryptionContext": CONTEXT},
        )
    ]
    with asked(kms) as calls:
        assert message.decrypt(written, keyring, context=CONTEXT) == b"data"
    ((operation, parameters),) = calls
    assert operation == "Decrypt"
    assert parameters["KeyId"] == kms_key
    assert parameters["EncryptionContext"] == CONTEXT


def test_kms_wire_form(kms: Any, kms_key: str) -> None:
    """A KMS EDK has the provider id of KMS, the key's ARN, and the blob for kms:Decrypt."""
    keyring = KMSKeyring(kms_key, client=kms)
    generated = keyring.generate(32, CONTEXT)
    wrapped = keyring.wrap(generated.plaintext, CONTEXT)
    for edk in (*generated.edks, *wrapped):
        assert (edk.provider, edk.info.decode()) == ("aws-kms", kms_key)
        reply = kms.decrypt(CiphertextBlob=edk.ciphertext, EncryptionContext=CONTEXT)
        assert reply["Plaintext"] == generated.plaintext


def test_every_name_of_a_kms_key(kms: Any, kms_key: str) -> None:
    """A key's id, ARN, alias and alias ARN are equivalent for keyrings.

    Messages have the same ARN, and a keyring with one of these names opens the messages of a
    keyring with another name.
    """
    key_id = kms_key.rpartition("/")[2]
    alias = f"alias/keyrings-{key_id}"
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    names = (key_id, kms_key, alias, kms_key.replace(f"key/{key_id}", alias))
    keyrings = [KMSKeyring(name, client=kms) for name in names]
    for writer in keyrings:
        assert writer.arn == kms_key
        data_key = writer.generate(32, {})
        assert data_key.edks[0].info.decode() == kms_key
        for reader in keyrings:
            assert reader.unwrap(data_key.edks, {}, 32) == data_key.plaintext
            assert reader.wrote(data_key.edks)


def test_a_kms_arn_is_not_looked_up(kms: Any, kms_key: str) -> None:
    """A key ARN needs no kms:DescribeKey.

    Resolving an alias costs one DescribeKey. The resolved keyring needs no further request.
    """
    alias = f"alias/lookup-{kms_key[-12:]}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    with asked(kms) as calls:
        assert KMSKeyring(kms_key, client=kms).arn == kms_key
    assert calls == []
    keyring = KMSKeyring(alias, client=kms)
    with asked(kms) as calls:
        resolved = keyring.with_resolved_aliases()
        assert (resolved.arn, resolved.arn, resolved.key) == (kms_key, kms_key, kms_key)
    assert [name for name, _ in calls] == ["DescribeKey"]


def test_kms_binds_the_context(kms: Any, kms_key: str) -> None:
    """A data key opens only with the context with which it was wrapped. KMS itself checks this."""
    keyring = KMSKeyring(kms_key, client=kms)
    edks = keyring.generate(32, CONTEXT).edks
    with pytest.raises(IntegrityError) as raised:
        keyring.unwrap(edks, {"tenant": "b"}, 32)
    assert raised.value.code == "InvalidCiphertextException"


def test_a_message_does_not_choose_the_key(kms: Any, kms_key: str) -> None:
    """A message under another key of the same account is refused without a request to KMS."""
    other = str(kms.create_key()["KeyMetadata"]["Arn"])
    written = message.encrypt(b"data", KMSKeyring(other, client=kms))
    with asked(kms) as calls, pytest.raises(KeyUnavailableError) as raised:
        message.decrypt(written, KMSKeyring(kms_key, client=kms))
    assert calls == []
    assert raised.value.hint == f"The unverified header names kms:{other}."


def test_an_alias_does_not_open_another_keys_message(kms: Any, kms_key: str) -> None:
    """A keyring with an alias asks KMS to decrypt under this alias.

    KMS refuses a message that is under another key.
    """
    other = str(kms.create_key()["KeyMetadata"]["Arn"])
    alias = f"alias/strict-{kms_key[-12:]}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    written = message.encrypt(b"data", KMSKeyring(other, client=kms))
    with asked(kms) as calls, pytest.raises(KeyUnavailableError) as raised:
        message.decrypt(written, KMSKeyring(alias, client=kms))
    assert [parameters["KeyId"] for _, parameters in calls] == [alias]
    assert raised.value.hint == f"The unverified header names kms:{other}."
    assert raised.value.code == "IncorrectKeyException"


def test_an_edk_cannot_claim_another_keys_name(kms: Any, kms_key: str) -> None:
    """An EDK that falsely names our key's ARN is refused: its blob belongs to another key."""
    other = KMSKeyring(str(kms.create_key()["KeyMetadata"]["Arn"]), client=kms)
    (edk,) = other.generate(32, {}).edks
    relabelled = EncryptedDataKey("aws-kms", kms_key.encode(), edk.ciphertext)
    with pytest.raises(IntegrityError):
        KMSKeyring(kms_key, client=kms).unwrap([relabelled], {}, 32)


def test_a_disabled_key_is_named(kms: Any, kms_key: str) -> None:
    """The error for a disabled key says that its owner must enable it, for writes and reads."""
    keyring = KMSKeyring(kms_key, client=kms)
    written = message.encrypt(b"data", keyring)
    kms.disable_key(KeyId=kms_key)
    attempts: tuple[Callable[[], bytes], ...] = (
        lambda: message.decrypt(written, keyring),
        lambda: message.encrypt(b"", keyring),
    )
    for attempt in attempts:
        with pytest.raises(KeyUnavailableError, match="disabled") as raised:
            attempt()
        assert raised.value.code == "DisabledException"
        assert raised.value.hint == f"Enable it: `s3crypt keys enable {kms_key}`."
        assert kms_key in str(raised.value)
        assert raised.value.__cause__ is not None


def test_a_missing_key_is_named(kms: Any) -> None:
    """The error for a key that does not exist names the key."""
    keyring = KMSKeyring("alias/there-is-none", client=kms)
    with pytest.raises(KeyUnavailableError, match="alias/there-is-none: no such key"):
        message.encrypt(b"", keyring)


def test_a_disabled_key_outweighs_a_mismatch(kms: Any, kms_key: str) -> None:
    """If several EDKs fail, the error is about the disabled key, which can be enabled again."""
    keyring = KMSKeyring(kms_key, client=kms)
    (edk,) = keyring.generate(32, {}).edks
    broken = EncryptedDataKey("aws-kms", kms_key.encode(), b"broken")
    assert keyring.unwrap([broken, edk], {}, 32)
    kms.disable_key(KeyId=kms_key)
    for edks in ([broken, edk], [edk, broken]):
        with pytest.raises(KeyUnavailableError):
            keyring.unwrap(edks, {}, 32)


@pytest.mark.parametrize("blob", [b"", bytes(6145)], ids=len)
def test_blobs_that_kms_does_not_take_are_not_sent(kms: Any, kms_key: str, blob: bytes) -> None:
    """A forged EDK of an impossible length is skipped without a request to KMS."""
    with asked(kms) as calls, pytest.raises(KeyUnavailableError, match="given keys is a key"):
        KMSKeyring(kms_key, client=kms).unwrap(
            [EncryptedDataKey("aws-kms", kms_key.encode(), blob)], {}, 32
        )
    assert calls == []


@pytest.mark.parametrize("key", ["", "arn:aws:s3:::bucket", "arn:aws:kms:us-east-1:1:key/x"])
def test_names_that_are_no_kms_key(key: str) -> None:
    """A name that cannot be a KMS key is refused before any request."""
    with pytest.raises(ConfigError):
        KMSKeyring(key)


def test_kms_clients_are_of_the_keys_region(session: boto3.Session) -> None:
    """A key ARN decides the Region of the requests; other names use the session's Region."""
    arn = ARN.replace("us-east-1", "eu-west-1")
    assert KMSKeyring(arn, session=session).client.meta.region_name == "eu-west-1"
    assert KMSKeyring("alias/x", session=session).client.meta.region_name == "us-east-1"


def test_rewrap_moves_a_data_key_within_kms(kms: Any, kms_key: str) -> None:
    """Rewrapping is one kms:ReEncrypt; afterwards only the new key opens the data key."""
    old = KMSKeyring(kms_key, client=kms)
    new = KMSKeyring(str(kms.create_key()["KeyMetadata"]["Arn"]), client=kms)
    data_key = old.generate(32, CONTEXT)
    with asked(kms) as calls:
        (edk,) = new.rewrap(data_key.edks, CONTEXT, source=old) or ()
    ((operation, parameters),) = calls
    assert (operation, parameters["SourceKeyId"]) == ("ReEncrypt", kms_key)
    assert new.unwrap([edk], CONTEXT, 32) == data_key.plaintext
    assert (new.wrote([edk]), old.wrote([edk])) == (True, False)
    with pytest.raises(KeyUnavailableError):
        old.unwrap([edk], CONTEXT, 32)
    with pytest.raises(IntegrityError):
        new.rewrap(data_key.edks, {"tenant": "b"}, source=old)


# KMS, multi-Region keys


@pytest.fixture
def siblings(kms: Any) -> tuple[str, str]:
    """Make a multi-Region key with a replica and return both ARNs."""
    arn = str(kms.create_key(MultiRegion=True)["KeyMetadata"]["Arn"])
    reply = kms.replicate_key(KeyId=arn, ReplicaRegion="eu-west-1")
    return arn, str(reply["ReplicaKeyMetadata"]["Arn"])


def test_a_replica_opens_its_siblings_messages(kms: Any, siblings: tuple[str, str]) -> None:
    """A data key wrapped in one Region can be opened by a replica in another Region."""
    primary, replica = siblings
    assert "/mrk-" in primary
    clients = {primary: kms, replica: kms_client("eu-west-1")}
    for writer, reader in ((primary, replica), (replica, primary)):
        written = message.encrypt(b"data", KMSKeyring(writer, client=clients[writer]))
        with asked(clients[reader]) as calls:
            keyring = KMSKeyring(reader, client=clients[reader])
            assert message.decrypt(written, keyring) == b"data"
        assert [parameters["KeyId"] for _, parameters in calls] == [reader]


def test_ids_alike_are_no_siblings_unless_multi_region(kms: Any) -> None:
    """Equal key ids in two Regions or accounts are the same key only for multi-Region keys."""
    mrk = ARN.replace("1234abcd", "mrk-1234abcd")
    relatives = {
        (ARN, ARN.replace("us-east-1", "eu-west-1")): False,
        (mrk, mrk.replace(ACCOUNT, "999999999999")): False,
        (mrk, mrk.replace("arn:aws:", "arn:aws-cn:")): False,
        (mrk, mrk.replace("mrk-1234abcd", "mrk-1234abce")): False,
        (mrk, mrk.replace("us-east-1", "eu-west-1")): True,
    }
    for (ours, theirs), related in relatives.items():
        edk = EncryptedDataKey("aws-kms", theirs.encode(), b"blob")
        with asked(kms) as calls, pytest.raises(S3CryptError):
            KMSKeyring(ours, client=kms).unwrap([edk], {}, 32)
        assert bool(calls) == related


# KMS, discovery


@pytest.fixture
def account(kms_key: str) -> str:
    """Return the sandbox's account."""
    return kms_key.split(":")[4]


def test_discovery_opens_any_key_of_an_account(
    session: boto3.Session, kms: Any, kms_key: str, account: str
) -> None:
    """A discovery keyring asks KMS for the key that the message names."""
    written = message.encrypt(b"data", KMSKeyring(kms_key, client=kms), context=CONTEXT)
    keyring = KMSKeyring.discovery(accounts=[account], session=session)
    assert message.decrypt(written, keyring, context=CONTEXT) == b"data"


@pytest.mark.parametrize(
    "trusted",
    [
        {"accounts": ["999999999999"]},
        {"accounts": ["{account}"], "partition": "aws-cn"},
        {"accounts": ["{account}"], "regions": ["eu-west-1"]},
    ],
    ids=str,
)
def test_discovery_trusts_no_other(
    session: boto3.Session, kms: Any, kms_key: str, account: str, trusted: dict[str, Any]
) -> None:
    """Discovery sends no request for a key in an account, partition or Region not allowed."""
    arguments = json.loads(json.dumps(trusted).replace("{account}", account))
    written = message.encrypt(b"data", KMSKeyring(kms_key, client=kms))
    keyring = KMSKeyring.discovery(session=session, **arguments)
    with pytest.raises(KeyUnavailableError) as raised:
        message.decrypt(written, keyring)
    assert raised.value.code is None
    assert raised.value.hint == f"The unverified header names kms:{kms_key}."


def test_discovery_finds_a_replica(session: boto3.Session, siblings: tuple[str, str]) -> None:
    """If a multi-Region key's Region is not allowed, discovery asks the first allowed Region."""
    primary, _ = siblings
    written = message.encrypt(b"data", KMSKeyring(primary, session=session))
    keyring = KMSKeyring.discovery(
        accounts=[primary.split(":")[4]], regions=["eu-west-1"], session=session
    )
    with asked(keyring._clients.get("eu-west-1")) as calls:
        assert message.decrypt(written, keyring) == b"data"
    assert [parameters["KeyId"] for _, parameters in calls] == [siblings[1]]


@pytest.mark.parametrize(
    "info",
    [
        b"",
        b"\xff\xfe",
        b"alias/x",
        ARN.replace("key/", "alias/").encode(),
        ARN.replace(ACCOUNT, "000000000000\n").encode(),
        ARN.encode() + b"\n",
        ARN.replace("us-east-1", "-").encode(),
        ARN.replace("us-east-1", "us-east-1.evil.example").encode(),
        ARN.replace("us-east-1", "x-" * 40 + "x").encode(),
        ARN.replace(":kms:", ":s3:").encode(),
        ARN.replace("us-east-1", "us-east-9").encode(),
        ARN.replace("us-east-1", "cn-north-1").encode(),
        ARN.replace("us-east-1", "us-iso-east-1").encode(),
        ARN.replace("us-east-1", "aws-global").encode(),
        ARN.replace("us-east-1", "eu-isoe-west-1").replace("key/", "key/mrk-").encode(),
    ],
    ids=repr,
)
def test_discovery_asks_for_nothing_malformed(session: boto3.Session, info: bytes) -> None:
    """For malformed key ARNs, and ARNs with impossible Regions, discovery sends no request."""
    keyring = KMSKeyring.discovery(accounts=[ACCOUNT, "000000000000"], session=session)
    with pytest.raises(KeyUnavailableError) as raised:
        keyring.unwrap([EncryptedDataKey("aws-kms", info, b"blob")], {}, 32)
    assert raised.value.code is None
    assert keyring._clients._clients == {}


def test_discovery_asks_a_region_newer_than_botocore_where_it_is_named(
    session: boto3.Session,
) -> None:
    """Discovery asks a Region that botocore does not know yet, if the caller allows it by name."""
    keyring = KMSKeyring.discovery(accounts=[ACCOUNT], regions=["us-new-9"], session=session)
    info = ARN.replace("us-east-1", "us-new-9").encode()
    with asked(keyring._clients.get("us-new-9")) as calls, pytest.raises(S3CryptError):
        keyring.unwrap([EncryptedDataKey("aws-kms", info, b"blob")], {}, 32)
    # The request is retried, because the sandbox refuses it without an error code.
    assert {parameters["KeyId"] for _, parameters in calls} == {info.decode()}


@pytest.mark.parametrize(
    ("partition", "region"),
    [("aws", "cn-north-1"), ("aws-cn", "eu-west-1"), ("aws", "us-gov-new-9"), ("aws-cn", "x-y-1")],
)
def test_discovery_refuses_regions_of_another_partition(partition: str, region: str) -> None:
    """Discovery refuses Regions of another partition: their hosts belong to another operator."""
    with pytest.raises(ConfigError, match=f"not of {partition}"):
        KMSKeyring.discovery(accounts=[ACCOUNT], partition=partition, regions=[region])


def test_a_bare_id_asks_for_no_other_id(kms: Any, kms_key: str) -> None:
    """A keyring that names a key by its id sends no request for EDKs with another id.

    For an EDK with the same id in another account, it asks KMS, which refuses the request.
    """
    name = kms_key.rpartition("/")[2]
    other_account = f"arn:aws:kms:us-east-1:999999999999:key/{name}"
    for theirs, is_asked in ((f"{kms_key[:-1]}x", False), (other_account, True)):
        edk = EncryptedDataKey("aws-kms", theirs.encode(), b"blob")
        with asked(kms) as calls, pytest.raises(S3CryptError):
            KMSKeyring(name, client=kms).unwrap([edk], {}, 32)
        assert bool(calls) == is_asked


@pytest.mark.parametrize("accounts", [[], ["123"], "123456789012", ["12345678901٢"]], ids=ascii)
def test_discovery_needs_accounts(accounts: Any) -> None:
    """Discovery without accounts is refused, and so are invalid account ids."""
    with pytest.raises(ConfigError, match="twelve-digit"):
        KMSKeyring.discovery(accounts=accounts)


def test_discovery_only_reads(session: boto3.Session) -> None:
    """A discovery keyring cannot wrap; the error names the keyring that can wrap."""
    keyring = KMSKeyring.discovery(accounts=[ACCOUNT], session=session)
    with pytest.raises(ConfigError, match="cannot write") as raised:
        message.encrypt(b"", keyring)
    assert "KMSKeyring(key)" in str(raised.value.hint)
    with pytest.raises(ConfigError):
        keyring.wrap(DATA_KEY, {})
    with pytest.raises(ConfigError):
        keyring.wrote([])


# Several keys


def test_any_key_of_several_opens(kms: Any, kms_key: str, rsa_pem: tuple[bytes, bytes]) -> None:
    """A message under several keys opens with each key alone and with all keys together."""
    parts = (
        KMSKeyring(kms_key, client=kms),
        AES,
        RSAKeyring("tests", "rsa-1", private=rsa_pem[1]),
    )
    together = MultiKeyring(*parts)
    with asked(kms) as calls:
        written = message.encrypt(b"data", together, context=CONTEXT)
    assert [name for name, _ in calls] == ["GenerateDataKey"]
    for keyring in (*parts, together, MultiKeyring(*reversed(parts))):
        assert message.decrypt(written, keyring, context=CONTEXT) == b"data"


def test_several_kms_keys_cost_one_encrypt_each(kms: Any, kms_key: str) -> None:
    """With several KMS keys, the first generates the data key and each other key wraps it."""
    other = str(kms.create_key()["KeyMetadata"]["Arn"])
    keyring = MultiKeyring(*(KMSKeyring(key, client=kms) for key in (kms_key, other)))
    with asked(kms) as calls:
        data_key = keyring.generate(32, CONTEXT)
    assert [(name, parameters["KeyId"]) for name, parameters in calls] == [
        ("GenerateDataKey", kms_key),
        ("Encrypt", other),
    ]
    for key in (kms_key, other):
        opened = KMSKeyring(key, client=kms).unwrap(data_key.edks, CONTEXT, 32)
        assert opened == data_key.plaintext


def test_a_disabled_key_keeps_no_other_from_opening(kms: Any, kms_key: str) -> None:
    """If one of several keys is disabled, another key opens the message.

    If there is no other key, the error says that the key is disabled.
    """
    first = KMSKeyring(kms_key, client=kms)
    written = message.encrypt(b"data", MultiKeyring(first, AES))
    kms.disable_key(KeyId=kms_key)
    assert message.decrypt(written, MultiKeyring(first, AES)) == b"data"
    stranger = AESKeyring("tests", "aes-1", bytes(32))
    for keyrings in ((first, stranger), (stranger, first)):
        with pytest.raises(KeyUnavailableError, match="disabled"):
            message.decrypt(written, MultiKeyring(*keyrings))


def test_an_unreachable_kms_keeps_no_other_from_opening() -> None:
    """If KMS cannot be reached, a local key still opens the message, so it works as a backup."""
    nobody = boto3.client(
        "kms",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9",
        config=Config(retries={"total_max_attempts": 1}),
    )
    edks = [EncryptedDataKey("aws-kms", ARN.encode(), b"blob"), *AES.wrap(DATA_KEY, {})]
    unreachable = KMSKeyring(ARN, client=nobody)
    assert MultiKeyring(unreachable, AES).unwrap(edks, {}, 32) == DATA_KEY
    with pytest.raises(S3CryptError, match="Could not reach"):
        MultiKeyring(unreachable, AES).unwrap(edks[:1], {}, 32)


def test_missing_credentials_keep_no_other_from_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local key also opens the message if there are no AWS credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    keyring = KMSKeyring(ARN, session=boto3.Session())
    edks = [EncryptedDataKey("aws-kms", ARN.encode(), b"blob"), *AES.wrap(DATA_KEY, {})]
    assert MultiKeyring(keyring, AES).unwrap(edks, {}, 32) == DATA_KEY
    with pytest.raises(ConfigError, match="credentials"):
        keyring.unwrap(edks, {}, 32)


def test_wrote_compares_every_key_in_order() -> None:
    """`wrote` is true only if every key has wrapped the data key, in the keyring's order."""
    other = AESKeyring("tests", "aes-2", bytes(32))
    both = MultiKeyring(AES, other)
    edks = both.wrap(DATA_KEY, {})
    assert both.wrote(edks)
    assert not MultiKeyring(other, AES).wrote(edks)
    assert not MultiKeyring(AES).wrote(edks)
    assert not AES.wrote(edks)
    assert not both.wrote(edks[:1])
    assert not AES.wrote([])


def test_nested_keyrings_are_one_list() -> None:
    """Nested multi-keyrings are equivalent to one flat list."""
    other, third = (AESKeyring("tests", f"aes-{n}", bytes(32)) for n in (2, 3))
    nested = MultiKeyring(MultiKeyring(AES, other), third)
    assert nested.wrote(MultiKeyring(AES, other, third).wrap(DATA_KEY, {}))
    assert repr(nested) == repr(MultiKeyring(AES, other, third))


# Names and secrets


def test_key_names_are_those_of_the_command_line(rsa_pem: tuple[bytes, bytes]) -> None:
    """`key_names` names the keys of EDKs as the command line does."""
    edks = [
        EncryptedDataKey("aws-kms", ARN.encode(), b"blob"),
        *AES.wrap(DATA_KEY, {}),
        *RSAKeyring("tests", "rsa-1", public=rsa_pem[0]).wrap(DATA_KEY, {}),
    ]
    assert key_names(edks) == (f"kms:{ARN}", "aes:tests/aes-1", "rsa:tests/rsa-1")


ECDH_INFO = b"\x01" + b"\x00\x00\x00\x21" + b"\x02" * 33 + b"\x00\x00\x00\x21" + b"\x03" * 33


@pytest.mark.parametrize(
    ("provider", "info", "length", "name"),
    [
        ("aws-kms-hierarchy", b"branch-1", 92, "aws-kms-hierarchy:branch-1"),
        ("aws-kms-hierarchy", b"branch-1", 256, "aws-kms-hierarchy:branch-1"),
        ("aws-kms-rsa", ARN.encode(), 256, f"aws-kms-rsa:{ARN}"),
        ("aws-kms-ecdh", ECDH_INFO, 60, f"aws-kms-ecdh:{'02' * 33}"),
        ("raw-ecdh", ECDH_INFO, 60, f"raw-ecdh:{'02' * 33}"),
        ("raw-ecdh", ECDH_INFO[:20], 60, f"raw-ecdh:{ECDH_INFO[:20].hex()}"),
        ("raw-ecdh", b"", 60, "raw-ecdh:"),
        ("acme", b"vault", 60, "unknown:acme/vault"),
        ("acme", b"vault", 375, "rsa:acme/vault"),
        ("acme", b"vault", 100, "unknown:acme/vault"),
        ("acme", b"va\x00lt", 256, "unknown:acme/7661006c74"),
        ("acme", b"\xff", 256, "unknown:acme/ff"),
        ("acme", b"", 256, "unknown:acme/"),
        ("rsa:acme", b"vault", 60, "unknown:rsa:acme/vault"),
        ("aws-kms-prod", b"vault", 384, "rsa:aws-kms-prod/vault"),
    ],
)
def test_names_of_keys_of_other_kinds(provider: str, info: bytes, length: int, name: str) -> None:
    """A key of an unsupported provider is named by its provider, and never as an RSA key."""
    edk = EncryptedDataKey(provider, info, bytes(length))
    assert key_names([edk]) == (name,)


@pytest.mark.parametrize("bits", [1024, 2048, 3072, 4096])
def test_rsa_keys_of_every_size_are_named(bits: int) -> None:
    """An RSA EDK is recognised by its length, which is the length of the key's modulus."""
    edk = EncryptedDataKey("tests", "schlüssel".encode(), bytes(bits // 8))
    assert key_names([edk]) == ("rsa:tests/schlüssel",)


def test_namespaces_that_only_look_like_awss(rsa_pem: tuple[bytes, bytes]) -> None:
    """The namespace of a raw key may begin like AWS's provider ids.

    Such a key can write and read.
    """
    keyrings = (
        AESKeyring("aws-kms-prod", "key", KEY_BYTES),
        RSAKeyring("aws-kms-prod", "key", private=rsa_pem[1]),
    )
    for keyring in keyrings:
        assert message.decrypt(message.encrypt(b"data", keyring), keyring) == b"data"
    names = key_names([edk for keyring in keyrings for edk in keyring.wrap(DATA_KEY, {})])
    assert names == ("aes:aws-kms-prod/key", "rsa:aws-kms-prod/key")


def test_a_message_without_a_key_of_ours_names_its_keys(kms: Any, kms_key: str) -> None:
    """If no key opens a message, the error names the message's keys.

    It does not mention tampering.
    """
    written = message.encrypt(b"data", AESKeyring("acme", "2026", KEY_BYTES))
    strangers = (
        AES,
        KMSKeyring(kms_key, client=kms),
        KMSKeyring("alias/not-asked", client=kms),
        KMSKeyring.discovery(accounts=[ACCOUNT]),
        MultiKeyring(AES, KMSKeyring(kms_key, client=kms)),
        CachingKeyring(AES, max_age=60),
    )
    for stranger in strangers:
        with asked(kms) as calls, pytest.raises(KeyUnavailableError) as raised:
            message.decrypt(written, stranger)
        assert calls == []
        assert str(raised.value) == "None of the given keys is a key of the message."
        assert raised.value.hint == "The unverified header names aes:acme/2026."


def test_names_from_headers_cannot_drive_a_terminal() -> None:
    """A forged key name is shown shortened, and without control characters."""
    forged = EncryptedDataKey("evil\x1b[2J\r", "\x1b]0;x\x07\u202e".encode() * 9999, b"")
    assert key_names([forged])[0].isprintable()
    with pytest.raises(KeyUnavailableError) as raised:
        AES.unwrap([forged] * 10, {}, 32)
    assert raised.value.hint is not None
    assert raised.value.hint.isprintable()
    assert len(raised.value.hint) < 1000


def test_no_keyring_shows_its_key(kms: Any, kms_key: str, rsa_pem: tuple[bytes, bytes]) -> None:
    """A keyring's repr names the key and does not contain it."""
    keyrings = (
        AESKeyring("tests", "aes-1", b"\x00SECRETSECRETSE\xff"),
        RSAKeyring("tests", "rsa-1", private=rsa_pem[1]),
        KMSKeyring(kms_key, client=kms),
        KMSKeyring.discovery(accounts=[ACCOUNT]),
    )
    for keyring in (*keyrings, MultiKeyring(*keyrings)):
        assert "SECRET" not in repr(keyring)
        assert "PRIVATE" not in repr(keyring)
    assert repr(keyrings[2]) == f"KMSKeyring({kms_key!r})"


def test_a_forged_message_costs_few_calls(kms: Any, kms_key: str) -> None:
    """A message with more EDKs than the limit causes no request.

    As many EDKs as the limit cause one request each.
    """
    keyring = KMSKeyring(kms_key, client=kms)
    (edk,) = keyring.generate(32, {}).edks
    forged = EncryptedDataKey("aws-kms", kms_key.encode(), edk.ciphertext[:-1])
    with asked(kms) as calls, pytest.raises(IntegrityError):
        keyring.unwrap([forged] * 10, {}, 32)
    assert len(calls) == 10
    with asked(kms) as calls, pytest.raises(FormatError):
        message.decrypt(b"\x02\x04\x78" + bytes(32) + b"\x00\x00" + b"\x00\x0b", keyring)
    assert calls == []


def test_discovery_with_broken_settings_keeps_no_other_from_being_asked(
    kms_key: str, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing AWS profile is an error only if no other keyring opens the message."""
    other = AESKeyring("tests", "one", bytes(32))
    written = message.encrypt(b"data", MultiKeyring(other, KMSKeyring(kms_key)))
    monkeypatch.setenv("AWS_PROFILE", "not-there")
    keyring = MultiKeyring(KMSKeyring.discovery(accounts=[account]), _Renamed(other))
    assert message.decrypt(written, keyring) == b"data"


class _Renamed:
    """A keyring class of the caller, which is tried after the keyrings of this library."""

    def __init__(self, keyring: AESKeyring) -> None:
        self.unwrap, self.generate = keyring.unwrap, keyring.generate
        self.wrap, self.wrote = keyring.wrap, keyring.wrote


def test_grant_tokens_go_along_with_every_request_about_the_key(
    sandbox: Running, kms_key: str, new_key: str, session: Any
) -> None:
    """Every request about a key has the grant tokens of its keyring.

    A ReEncrypt has the tokens of both keyrings.
    """
    with relaying(sandbox.endpoint_url) as relay:
        client = session.client("kms", endpoint_url=relay.url)
        alias = f"alias/{uuid.uuid4()}"
        client.create_alias(AliasName=alias, TargetKeyId=kms_key)
        old = KMSKeyring(alias, client=client, grant_tokens=["one", "two", "one"])
        old = old.with_resolved_aliases()
        new = KMSKeyring(new_key, client=client, grant_tokens=("three",))
        made = old.generate(32, CONTEXT)
        assert old.unwrap(made.edks, CONTEXT, 32) == made.plaintext
        old.wrap(made.plaintext, CONTEXT)
        moved = new.rewrap(made.edks, CONTEXT, source=old)
        assert moved is not None
        assert new.unwrap(moved, CONTEXT, 32) == made.plaintext
        KMSKeyring(kms_key, client=client).unwrap(made.edks, CONTEXT, 32)
    asked = [
        (one.headers["x-amz-target"].partition(".")[2], json.loads(one.body).get("GrantTokens"))
        for one in relay.asked
    ]
    assert asked == [
        ("CreateAlias", None),
        ("DescribeKey", ["one", "two"]),
        ("GenerateDataKey", ["one", "two"]),
        ("Decrypt", ["one", "two"]),
        ("Encrypt", ["one", "two"]),
        ("ReEncrypt", ["one", "two", "three"]),
        ("Decrypt", ["three"]),
        ("Decrypt", None),
    ]


def test_more_tokens_than_kms_takes_are_no_one_request(kms: Any, kms_key: str) -> None:
    """If two keyrings together have more grant tokens than KMS accepts, no ReEncrypt is sent.

    The caller then unwraps and wraps the data key.
    """
    first = KMSKeyring(kms_key, client=kms, grant_tokens=list("abcdef"))
    other = KMSKeyring(kms_key, client=kms, grant_tokens=list("ghijkl"))
    edks = first.generate(32, CONTEXT).edks
    with asked(kms) as calls:
        assert first.rewrap(edks, CONTEXT, source=first) is not None
        assert first.rewrap(edks, CONTEXT, source=other) is None
    assert [name for name, _ in calls] == ["ReEncrypt"]


def test_kms_rewraps_what_a_kms_key_of_its_region_wrapped(kms: Any, kms_key: str) -> None:
    """A data key is rewrapped by KMS only if a KMS key of the same Region wrapped it.

    Otherwise no request is sent, and the caller unwraps and wraps the data key.
    """
    keyring = KMSKeyring(kms_key, client=kms)
    edks = keyring.generate(32, {}).edks
    stranger = KMSKeyring(str(kms.create_key()["KeyMetadata"]["Arn"]), client=kms)
    far = KMSKeyring(ARN.replace("us-east-1", "eu-west-1"), client=kms_client("eu-west-1"))
    with asked(kms) as calls:
        assert far.rewrap(edks, {}, source=keyring) is None
        assert keyring.rewrap(edks, {}, source=stranger) is None
        assert keyring.rewrap(edks, {}, source=AES) is None
        assert keyring.rewrap(AES.wrap(DATA_KEY, {}), {}, source=keyring) is None
    assert calls == []


@pytest.mark.parametrize("tokens", ["one", [""], [1], None, list("abcdefghijk")])
def test_grant_tokens_that_kms_would_refuse_are_refused_at_once(tokens: Any) -> None:
    """Grant tokens must be a list of one to ten texts.

    A single text is refused, because each of its letters would be a token.
    """
    with pytest.raises(ConfigError, match="grant_tokens"):
        KMSKeyring("alias/reports", grant_tokens=tokens)
