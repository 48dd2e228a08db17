# SPDX-License-Identifier: Apache-2.0
"""A keyring that the caller wrote needs only four methods; further capabilities are optional."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from os import urandom
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from samples import aes, connect, kms_calls, kms_keyring, payload

from s3crypt import (
    CachingKeyring,
    ClientSide,
    IntegrityError,
    KeyUnavailableError,
    MultiKeyring,
    RSAKeyring,
)
from s3crypt.message import DataKey, EncryptedDataKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conftest import RequestsLog

    from s3crypt import Keyring, KMSKeyring
    from s3crypt.keyrings import capabilities as can

    def proofs(kms: KMSKeyring, rsa: RSAKeyring, cached: CachingKeyring) -> None:
        """Let mypy check which capability protocols this library's keyrings implement.

        This function is never called.
        """
        local: list[can.LocalKeyring] = [aes(), rsa]
        recognising: list[can.RecognisingKeyring] = [aes(), rsa, kms]
        unproven: list[can.UnprovenKeyring] = [rsa, MultiKeyring(rsa), cached]
        composite: list[can.CompositeKeyring] = [MultiKeyring(rsa), cached]
        aliases: can.AliasKeyring = kms
        sessions: can.SessionKeyring = kms
        caching: can.CachingDataKeys = cached
        rewrapping: can.RewrappingKeyring = kms
        del local, recognising, unproven, composite, aliases, sessions, caching, rewrapping


LOCATIONS = pytest.mark.parametrize("key_location", ["header", "metadata"])


@dataclass(slots=True)
class Vault:
    """A minimal keyring. It is not hashable and does not support weak references."""

    name: str
    asked: list[str] = field(default_factory=list)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new data key."""
        self.asked.append("generate")
        data_key = urandom(length)
        return DataKey(data_key, self._sealed(data_key, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key, wrapped by this vault."""
        self.asked.append("wrap")
        return self._sealed(data_key, context)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK that this vault wrapped."""
        self.asked.append("unwrap")
        for edk in edks:
            if (edk.provider, edk.info) == ("vault", self.name.encode()):
                return self._opened(edk, context)
        raise KeyUnavailableError(f"The vault {self.name} has no key of the message.")

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether this vault wrapped the only EDK."""
        return [(edk.provider, edk.info) for edk in edks] == [("vault", self.name.encode())]

    def _sealed(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        iv = urandom(12)
        sealed = iv + self._cipher().encrypt(iv, data_key, _bytes(context))
        return (EncryptedDataKey("vault", self.name.encode(), sealed),)

    def _opened(self, edk: EncryptedDataKey, context: Mapping[str, str]) -> bytes:
        iv, sealed = edk.ciphertext[:12], edk.ciphertext[12:]
        try:
            return self._cipher().decrypt(iv, sealed, _bytes(context))
        except InvalidTag:
            raise IntegrityError("The vault does not open this.") from None

    def _cipher(self) -> AESGCM:
        return AESGCM(sha256(self.name.encode()).digest())


def _bytes(context: Mapping[str, str]) -> bytes:
    return json.dumps(sorted(context.items())).encode()


class RewrappingVault(Vault):
    """A vault that rewraps data keys of another vault inside its own service."""

    def rewrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], *, source: Keyring
    ) -> tuple[EncryptedDataKey, ...] | None:
        """Return the data key wrapped by this vault, or None if the source is not a vault."""
        self.asked.append("rewrap")
        if not isinstance(source, Vault):
            return None
        return self._sealed(source._opened(edks[0], context), context)


class Audited:
    """A wrapper around a keyring. It counts unwraps, and forwards all other methods."""

    def __init__(self, keyring: Any) -> None:
        self.keyring = keyring
        self.unwrapped = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.keyring, name)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Count the call, and unwrap with the wrapped keyring."""
        self.unwrapped += 1
        unwrapped: bytes = self.keyring.unwrap(edks, context, length)
        return unwrapped


@LOCATIONS
def test_objects_are_put_and_read(key_location: Any, bucket: str) -> None:
    """Objects are written and read with the caller's keyring; another vault cannot open them."""
    vault, uri = Vault("one"), f"s3://{bucket}/x"
    store = connect(ClientSide(vault, key_location=key_location))
    store.put(payload(300_000), uri)
    assert store.read(uri) == payload(300_000)
    assert vault.asked == ["generate", "unwrap"]
    with pytest.raises(KeyUnavailableError, match="two"):
        connect(ClientSide(Vault("two"), key_location=key_location)).read(uri)


@pytest.mark.parametrize(("before", "after"), [("one", "two"), ("one", "kms"), ("kms", "one")])
@LOCATIONS
def test_objects_are_rotated(
    key_location: Any, before: str, after: str, bucket: str, kms_key: str
) -> None:
    """Objects are rotated between vaults, and between a vault and a KMS key."""
    old, new = (
        ClientSide(
            kms_keyring(kms_key) if name == "kms" else Vault(name), key_location=key_location
        )
        for name in (before, after)
    )
    uri = f"s3://{bucket}/x"
    connect(old).put(b"plain", uri)
    assert connect(old).needs_rotation(uri, to=new)
    (outcome,) = connect(old).rotate(uri, to=new)
    assert outcome.action == ("rewrapped" if key_location == "metadata" else "re-encrypted")
    assert connect(new).read(uri) == b"plain"
    assert not connect(new).needs_rotation(uri, to=new)


@LOCATIONS
def test_data_keys_are_cached(key_location: Any, bucket: str) -> None:
    """With a CachingKeyring, five objects share one data key, generated once and unwrapped once."""
    vault = Vault("one")
    mode = ClientSide(CachingKeyring(vault, max_age=60), key_location=key_location, bind_name=False)
    store = connect(mode)
    for number in range(5):
        store.put(b"plain", f"s3://{bucket}/{number}")
    assert [store.read(f"s3://{bucket}/{number}") for number in range(5)] == [b"plain"] * 5
    assert vault.asked == ["generate", "unwrap"]


@LOCATIONS
def test_it_is_one_keyring_of_several(key_location: Any, bucket: str, kms_key: str) -> None:
    """Each keyring of a MultiKeyring opens the object alone, also the caller's own keyring."""
    keyrings: list[Keyring] = [kms_keyring(kms_key), Vault("one"), aes()]
    uri = f"s3://{bucket}/x"
    several = ClientSide(MultiKeyring(*keyrings), key_location=key_location)
    connect(several).put(b"plain", uri)
    for keyring in (MultiKeyring(*keyrings), *keyrings):
        assert connect(ClientSide(keyring, key_location=key_location)).read(uri) == b"plain"
    assert not connect(several).needs_rotation(uri, to=several)


def test_a_service_of_its_own_rewraps(bucket: str) -> None:
    """With `rewrap`, a rotation from another vault unwraps no data key in this process."""
    uri, old = f"s3://{bucket}/x", Vault("old")
    modes: Any = {"key_location": "metadata", "bind_name": False}
    connect(ClientSide(old, **modes)).put(b"plain", uri)
    new = RewrappingVault("new")
    to = ClientSide(CachingKeyring(new, max_age=60), **modes)
    (outcome,) = connect(ClientSide(CachingKeyring(old, max_age=60), **modes)).rotate(uri, to=to)
    assert (outcome.action, old.asked, new.asked) == ("rewrapped", ["generate"], ["rewrap"])
    assert connect(to).read(uri) == b"plain"
    last = RewrappingVault("last")
    connect(ClientSide(aes(), **modes)).put(b"plain", uri)
    connect(ClientSide(aes(), **modes)).rotate(uri, to=ClientSide(last, **modes))
    assert last.asked == ["rewrap", "wrap"]


def test_a_wrapper_lends_no_capability(
    bucket: str, kms_key: str, new_key: str, requests_log: RequestsLog
) -> None:
    """Rotation from a wrapped keyring goes through the wrapper.

    A ReEncrypt by KMS would bypass the wrapper.
    """
    audited: Any = Audited(kms_keyring(kms_key))
    uri, to = f"s3://{bucket}/x", ClientSide(kms_keyring(new_key), key_location="metadata")
    store = connect(ClientSide(audited, key_location="metadata"))
    store.put(b"plain", uri)
    requests_log.clear()
    (outcome,) = store.rotate(uri, to=to)
    assert (outcome.action, audited.unwrapped) == ("rewrapped", 1)
    assert kms_calls(requests_log) == ["Decrypt", "Encrypt"]
    assert connect(to).read(uri) == b"plain"
