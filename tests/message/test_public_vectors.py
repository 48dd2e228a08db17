# SPDX-License-Identifier: Apache-2.0
"""The public test vectors of the AWS Encryption SDKs, tested with every reader.

The vectors belong to other projects and are not in this repository. The tests read them from a
folder beside the repository, and are skipped if the folder does not exist.
"""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from readers import READ_SIZES, READERS, FixedKeyring, Reader, streamed

from s3crypt import message
from s3crypt.errors import IntegrityError, KeyUnavailableError, PolicyError
from s3crypt.keyrings import AESKeyring, MultiKeyring, RSAKeyring
from s3crypt.message.header import serialize_context
from s3crypt.message.keys import DataKey, EncryptedDataKey

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "encryption-sdk"
pytestmark = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the public vectors are not beside the repository"
)
STATIC = {
    "raw/aes": 33,
    "raw/rsa": 55,
    "multi-keyring": 44,
    "required-encryption-context-cmm": 55,
    "aws-kms-hierarchy": 11,
}


@dataclass(frozen=True)
class StaticHierarchyKeyring:
    """Unwraps data keys of the SDK's hierarchical keyring with a given branch key. For tests only.

    Source: aws-encryption-sdk-specification, framework/aws-kms/aws-kms-hierarchical-keyring.md.
    """

    branch_key_id: str
    version: bytes
    branch_key: bytes

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Refuse, because the tests only read."""
        raise NotImplementedError

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Refuse, because the tests only read."""
        raise NotImplementedError

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key.

        The blob is salt (16 bytes), IV (12), version (16), ciphertext, tag (16).
        """
        for edk in edks:
            salt, iv = edk.ciphertext[:16], edk.ciphertext[16:28]
            version, sealed = edk.ciphertext[28:44], edk.ciphertext[44:]
            if not self.wrote([edk]) or version != self.version:
                continue
            aad = b"aws-kms-hierarchy" + edk.info + version + serialize_context(context)
            try:
                data_key = AESGCM(self._derive(salt)).decrypt(iv, sealed, aad)
            except InvalidTag:
                continue
            if len(data_key) == length:
                return data_key
        if not any(self.wrote([edk]) for edk in edks):
            raise KeyUnavailableError("no data key is of this branch key")
        raise IntegrityError("no data key opens")

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether the only EDK names this branch key."""
        return [(edk.provider, edk.info.decode()) for edk in edks] == [
            ("aws-kms-hierarchy", self.branch_key_id)
        ]

    def _derive(self, salt: bytes) -> bytes:
        kdf = KBKDFHMAC(
            algorithm=hashes.SHA256(),
            mode=Mode.CounterMode,
            length=32,
            rlen=4,
            llen=4,
            location=CounterLocation.BeforeFixed,
            label=b"aws-kms-hierarchy",
            context=salt,
            fixed=None,
        )
        return kdf.derive(self.branch_key)


def known_answers() -> list[dict[str, Any]]:
    """Return the commitment vectors, or an empty list if they are not available."""
    path = VECTORS / "commitment-test-vectors.json"
    return list(json.loads(path.read_text())["tests"]) if path.is_file() else []


@cache
def _manifest(name: str) -> dict[str, Any]:
    return dict(json.loads((VECTORS / "decrypt-v5" / name).read_text()))


def scenarios() -> dict[str, dict[str, Any]]:
    """Return the scenarios with local keys, or an empty dictionary if they are not available."""
    if not (VECTORS / "decrypt-v5").is_dir():
        return {}
    tests = _manifest("decrypt-manifest.json")["tests"]
    every = {name: test["decryption-scenario"] for name, test in tests.items()}
    return {name: each for name, each in every.items() if kind_of(each) in STATIC}


def kind_of(scenario: dict[str, Any]) -> str:
    """Return the kind of key that a scenario needs."""
    key = scenario["decryptKeyDescription"]
    return f"raw/{key['encryption-algorithm']}" if key["type"] == "raw" else str(key["type"])


@cache
def _material(name: str) -> dict[str, Any]:
    return dict(_manifest("keys.json")["keys"][name])


def keyring_of(key: dict[str, Any]) -> message.Keyring:
    """Return the keyring for a key description."""
    if key["type"] == "multi-keyring":
        return MultiKeyring(*map(keyring_of, (key["generator"], *key["childKeyrings"])))
    if key["type"] == "required-encryption-context-cmm":
        return keyring_of(key["underlying"])
    material = _material(key["key"])
    if key["type"] == "aws-kms-hierarchy":
        version = UUID(material["branchKeyVersion"]).bytes
        branch_key = b64decode(material["branchKey"])
        return StaticHierarchyKeyring(material["key-id"], version, branch_key)
    if key["encryption-algorithm"] == "aes":
        wrapping_key = b64decode(material["material"])
        return AESKeyring(key["provider-id"], material["key-id"], wrapping_key)
    hash_name = key.get("padding-hash", "").upper()
    padding = "PKCS1" if key["padding-algorithm"] == "pkcs1" else f"OAEP-{hash_name}"
    return _rsa_keyring(key["provider-id"], material["key-id"], material["material"], padding)


@cache
def _rsa_keyring(namespace: str, name: str, pem: str, padding: str) -> RSAKeyring:
    # Loading a private key checks its primes, which takes longer than reading a hundred messages.
    return RSAKeyring(namespace, name, private=pem.encode(), padding=padding)


def test_no_vector_went_missing() -> None:
    """The folder has all 46 known answers, and the 198 messages of all kinds of keys."""
    assert len(known_answers()) == 46
    assert sum(answer["status"] for answer in known_answers()) == 41
    assert Counter(map(kind_of, scenarios().values())) == STATIC
    assert sum(STATIC.values()) == 198
    suites = Counter(scenario["algorithmSuiteId"] for scenario in scenarios().values())
    assert suites == dict.fromkeys((f"{suite:04X}" for suite in message.SUITES), 18)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("answer", known_answers(), ids=lambda each: each["comment"].split(".")[0])
def test_commitment_known_answers(answer: dict[str, Any], reader: Reader) -> None:
    """Derived keys and plaintexts equal the published values; a wrong commitment is refused."""
    written = b64decode(answer["ciphertext"])
    data_key = b64decode(answer["decrypted-dek"])
    if not answer["status"]:
        with pytest.raises(IntegrityError):
            reader(written, FixedKeyring(data_key))
        return
    message_id = b64decode(answer["message-id"])
    assert written[3:35] == message_id
    suite = message.SUITES[int.from_bytes(written[1:3])]
    content_key, commitment = suite.derive(data_key, message_id)
    assert commitment == b64decode(answer["commitment"])
    if "content-encryption-key" in answer:
        assert content_key == b64decode(answer["content-encryption-key"])
    plaintext = "".join(answer["plaintext-frames"]).encode()
    assert (
        reader(written, FixedKeyring(data_key), context=answer["encryption-context"]) == plaintext
    )


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("scenario", scenarios().values(), ids=scenarios())
def test_decrypt_v5(scenario: dict[str, Any], reader: Reader) -> None:
    """Each message decrypts with its key.

    A message without key commitment decrypts only if this is allowed.
    """
    folder = VECTORS / "decrypt-v5"
    written = (folder / scenario["ciphertext"].removeprefix("file://")).read_bytes()
    plaintext = (folder / scenario["result"].removeprefix("file://")).read_bytes()
    keyring = keyring_of(scenario["decryptKeyDescription"])
    context = scenario["reproduced-encryption-context"]
    assert reader(written, keyring, context=context, allow_uncommitted=True) == plaintext
    if scenario["algorithmSuiteId"] not in ("0478", "0578"):
        with pytest.raises(PolicyError):
            reader(written, keyring, context=context)


@pytest.mark.parametrize("read_size", READ_SIZES)
def test_odd_reads(read_size: int) -> None:
    """A message gives the same bytes with any read size."""
    chosen = [
        each
        for each in scenarios().values()
        if kind_of(each) == "raw/aes" and each["algorithmSuiteId"] in ("0478", "0578", "0214")
    ]
    assert len(chosen) == 9
    for scenario in chosen:
        folder = VECTORS / "decrypt-v5"
        written = (folder / scenario["ciphertext"].removeprefix("file://")).read_bytes()
        plaintext = (folder / scenario["result"].removeprefix("file://")).read_bytes()
        keyring = keyring_of(scenario["decryptKeyDescription"])
        opened = streamed(written, keyring, read_size=read_size, allow_uncommitted=True)
        assert opened == plaintext
