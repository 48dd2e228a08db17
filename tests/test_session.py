# SPDX-License-Identifier: Apache-2.0
"""A KMS keyring without a session uses the credentials and Region of the store's session."""

from __future__ import annotations

import gc
import re
import weakref
from typing import TYPE_CHECKING, Any

import boto3
import fsspec
import pytest
from relay import relaying
from samples import aes, payload

from s3crypt import (
    CachingKeyring,
    ClientSide,
    ConfigError,
    KMSKeyring,
    MultiKeyring,
    S3Crypt,
)
from s3crypt.keyrings.sessions import SessionKeyrings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay import Relay

    from s3crypt.message import Keyring
    from s3crypt.sandbox import Running

STORES, OWN = "AKIASTORES", "AKIAOWN"
BODY = payload(1000)


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch, kms: Any, s3: Any) -> boto3.Session:
    """Return a session that has credentials. The environment has no credentials."""
    # The clients of other fixtures read the credentials at their first request. So they make
    # one here, before the credentials are removed from the environment.
    assert kms.list_keys(Limit=1), s3.list_buckets()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    return boto3.Session(STORES, "secret")


@pytest.fixture
def account(kms_key: str) -> str:
    """Return the account number of the sandbox's keys."""
    return kms_key.split(":")[4]


@pytest.fixture
def signed(
    sandbox: Running, stores: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Signed]:
    """Yield the requests that KMS receives during the test."""
    assert stores
    with relaying(sandbox.endpoint_url) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", relay.url)
        yield Signed(relay)


class Signed:
    """Requests to KMS, with the access key that signed each."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    @property
    def scopes(self) -> list[tuple[str, str]]:
        """Return the access key and the Region in each request's signature."""
        found = []
        for asked in self._relay.asked:
            match = re.search(r"Credential=(\w+)/\d+/([^/]+)/kms/", asked.headers["authorization"])
            assert match, asked
            found.append((match[1], match[2]))
        return found

    @property
    def by(self) -> set[str]:
        """Return the access keys that signed the requests."""
        return {access_key for access_key, _ in self.scopes}


KEYRINGS: dict[str, Callable[[str], Keyring]] = {
    "KMS": KMSKeyring,
    "several": lambda key: MultiKeyring(KMSKeyring(key), aes()),
    "one of several": lambda key: MultiKeyring(aes(), KMSKeyring(key)),
    "caching": lambda key: CachingKeyring(KMSKeyring(key), max_age=60),
    "caching several": lambda key: CachingKeyring(MultiKeyring(aes(), KMSKeyring(key)), max_age=60),
}


def mode_of(keyring: Keyring, **options: Any) -> ClientSide:
    """Return a client-side mode that accepts any keyring, also a caching one."""
    return ClientSide(keyring, bind_name=False, **options)


def through_the_mode(session: boto3.Session, mode: ClientSide, uri: str) -> None:
    """Write and read with a store that has the mode."""
    store = S3Crypt(mode, session=session)
    store.put(BODY, uri)
    assert store.read(uri) == BODY


def through_a_calls_mode(session: boto3.Session, mode: ClientSide, uri: str) -> None:
    """Write and read with a store without a mode, and pass the mode to each call."""
    store = S3Crypt(session=session)
    store.put(BODY, uri, mode=mode)
    assert store.read(uri, mode=mode) == BODY


def through_files(session: boto3.Session, mode: ClientSide, uri: str) -> None:
    """Write and read through `open`."""
    store = S3Crypt(mode, session=session)
    with store.open(uri, "wb") as file:
        file.write(BODY)
    with store.open(uri) as file:
        assert file.read() == BODY


def through_a_rotation(session: boto3.Session, mode: ClientSide, uri: str) -> None:
    """Rotate an object to the mode, and then from this mode to another mode."""
    local = ClientSide(aes("local"), bind_name=False)
    S3Crypt(local, session=session).put(BODY, uri)
    assert S3Crypt(local, session=session).rotate(uri, to=mode)[0].action == "re-encrypted"
    assert not S3Crypt(mode, session=session).needs_rotation(uri, to=mode)
    assert S3Crypt(mode, session=session).rotate(uri, to=local)[0].action == "re-encrypted"


WAYS = [through_a_calls_mode, through_files, through_a_rotation]
CASES = [(through_the_mode, name) for name in KEYRINGS]
CASES += [(way, name) for way in WAYS for name in ("KMS", "caching several")]


@pytest.mark.parametrize(
    ("way", "name"), CASES, ids=lambda value: str(getattr(value, "__name__", value))
)
def test_a_keyring_without_a_session_uses_the_stores(
    way: Callable[[boto3.Session, ClientSide, str], None],
    name: str,
    stores: boto3.Session,
    bucket: str,
    kms_key: str,
    signed: Signed,
) -> None:
    """KMS requests are signed with the store's session, however keyrings are nested."""
    way(stores, mode_of(KEYRINGS[name](kms_key)), f"s3://{bucket}/object")
    assert signed.by == {STORES}


def test_rewrapping_uses_the_stores_session(
    stores: boto3.Session, bucket: str, kms: Any, kms_key: str, signed: Signed
) -> None:
    """A rewrap and the lookup of an alias use the store's session for both keyrings."""
    kms.create_alias(AliasName=f"alias/{bucket}", TargetKeyId=kms_key)
    source = ClientSide(aes(), key_location="metadata")
    by_alias = ClientSide(KMSKeyring(f"alias/{bucket}"), key_location="metadata")
    S3Crypt(source, session=stores).put(BODY, f"s3://{bucket}/object")
    S3Crypt(source, session=stores).rotate(f"s3://{bucket}/object", to=by_alias)
    store = S3Crypt(by_alias, session=stores)
    assert not store.needs_rotation(f"s3://{bucket}/object", to=by_alias)
    assert signed.by == {STORES}


def test_discovery_uses_the_stores_session(
    stores: boto3.Session, bucket: str, kms_key: str, account: str, signed: Signed
) -> None:
    """A discovery keyring uses the store's session too."""
    S3Crypt(ClientSide(KMSKeyring(kms_key)), session=stores).put(BODY, f"s3://{bucket}/object")
    discovery = ClientSide(KMSKeyring.discovery(accounts=[account]))
    assert S3Crypt(discovery, session=stores).read(f"s3://{bucket}/object") == BODY
    assert signed.by == {STORES}


@pytest.mark.parametrize("kind", ["session", "client"])
def test_a_keyring_keeps_its_own(
    kind: str, stores: boto3.Session, bucket: str, kms_key: str, signed: Signed
) -> None:
    """A keyring with its own session or client uses that session or client."""
    own = boto3.Session(OWN, "secret")
    keyring = (
        KMSKeyring(kms_key, session=own)
        if kind == "session"
        else KMSKeyring(kms_key, client=own.client("kms"))
    )
    through_the_mode(stores, mode_of(keyring), f"s3://{bucket}/object")
    assert signed.by == {OWN}


def test_a_bare_client_reaches_no_keyring(
    stores: boto3.Session, bucket: str, kms_key: str, signed: Signed
) -> None:
    """If the store was given a client, keyrings use the default session.

    In this test the default session has no credentials.
    """
    store = S3Crypt(ClientSide(KMSKeyring(kms_key)), client=stores.client("s3"))
    with pytest.raises(ConfigError, match="No AWS credentials"):
        store.put(BODY, f"s3://{bucket}/object")
    assert signed.by == set()


def test_the_callers_keyring_is_not_changed(
    stores: boto3.Session, bucket: str, kms_key: str
) -> None:
    """The caller's keyring itself does not get the store's session."""
    keyring = KMSKeyring(kms_key)
    through_the_mode(stores, mode_of(keyring), f"s3://{bucket}/object")
    with pytest.raises(ConfigError, match="No AWS credentials"):
        keyring.generate(32, {})


def test_two_stores_use_one_keyring_with_their_own_sessions(
    stores: boto3.Session, bucket: str, kms_key: str, signed: Signed
) -> None:
    """If two stores share a keyring, each store's requests have its own credentials."""
    mode = mode_of(KMSKeyring(kms_key))
    other = boto3.Session(OWN, "secret")
    S3Crypt(mode, session=stores).put(BODY, f"s3://{bucket}/one")
    assert signed.by == {STORES}
    S3Crypt(mode, session=other).put(BODY, f"s3://{bucket}/two")
    assert [access_key for access_key, _ in signed.scopes] == [STORES, OWN]


def test_an_arns_region_is_asked_with_the_stores_session(
    stores: boto3.Session, bucket: str, signed: Signed, sandbox: Running
) -> None:
    """The Region comes from the key's ARN, and the credentials from the store's session."""
    abroad = stores.client("kms", "eu-west-1", endpoint_url=sandbox.endpoint_url)
    key = abroad.create_key()["KeyMetadata"]["Arn"]
    through_the_mode(stores, mode_of(KMSKeyring(key)), f"s3://{bucket}/object")
    assert signed.scopes == [(STORES, "eu-west-1")] * 2


def test_a_cache_is_not_shared_by_two_sessions(
    stores: boto3.Session, bucket: str, kms_key: str, signed: Signed
) -> None:
    """Stores with two sessions do not share data keys; the statistics count both stores."""
    keyring = CachingKeyring(KMSKeyring(kms_key), max_age=60)
    store = S3Crypt(mode_of(keyring), session=stores)
    for number in range(3):
        store.put(BODY, f"s3://{bucket}/{number}")
    assert (keyring.statistics.generate_calls, keyring.statistics.generate_hits) == (1, 2)
    other = S3Crypt(mode_of(keyring), session=boto3.Session(OWN, "secret"))
    other.put(BODY, f"s3://{bucket}/3")
    assert (keyring.statistics.generate_calls, keyring.statistics.generate_hits) == (2, 2)
    assert keyring.statistics.entries == 2
    assert signed.by == {STORES, OWN}


def test_clearing_the_callers_cache_clears_the_stores(
    stores: boto3.Session, bucket: str, kms_key: str
) -> None:
    """Clearing the caller's caching keyring also clears the copy that the store uses."""
    keyring = CachingKeyring(KMSKeyring(kms_key), max_age=60)
    store = S3Crypt(mode_of(keyring), session=stores)
    store.put(BODY, f"s3://{bucket}/object")
    assert keyring.statistics.entries == 1
    keyring.clear()
    assert keyring.statistics.entries == 0
    store.put(BODY, f"s3://{bucket}/object")
    assert keyring.statistics.generate_calls == 2


def test_counts_outlive_the_store(stores: boto3.Session, bucket: str, kms_key: str) -> None:
    """After the store is gone, the statistics stay, but its data keys are gone."""
    keyring = CachingKeyring(KMSKeyring(kms_key), max_age=60)
    S3Crypt(mode_of(keyring), session=stores).put(BODY, f"s3://{bucket}/object")
    gc.collect()
    assert keyring.statistics.generate_calls == 1
    assert keyring.statistics.entries == 0


def test_there_is_one_copy_per_keyring(stores: boto3.Session) -> None:
    """A session has one copy of each keyring, and so one cache and one set of connections."""
    keyrings = SessionKeyrings(stores)
    inner = KMSKeyring("alias/any")
    caching = CachingKeyring(inner, max_age=60)
    copy = keyrings.of(caching)
    assert copy is keyrings.of(caching)
    assert copy is not caching
    assert keyrings.of(copy) is copy
    assert isinstance(copy, CachingKeyring)
    assert copy.keyring is keyrings.of(inner)
    assert keyrings.of(KMSKeyring("alias/any")) is not copy.keyring


def test_a_store_keeps_no_keyring_alive(stores: boto3.Session) -> None:
    """The session's copy of a keyring is freed when the caller drops the keyring."""
    keyrings = SessionKeyrings(stores)
    made: list[Keyring] = [KMSKeyring("alias/any"), MultiKeyring(KMSKeyring("alias/any"), aes())]
    made.append(CachingKeyring(KMSKeyring("alias/any"), max_age=60))
    copies = [weakref.ref(keyrings.of(keyring)) for keyring in made]
    assert all(copy() for copy in copies)
    del made
    gc.collect()
    assert [copy() for copy in copies] == [None, None, None]


def test_keyrings_without_kms_are_used_as_they_are(stores: boto3.Session) -> None:
    """A keyring without KMS is used itself, also inside a cache or a MultiKeyring."""
    keyrings = SessionKeyrings(stores)
    caching, several = CachingKeyring(aes(), max_age=60), MultiKeyring(aes(), aes("two"))
    local: list[Keyring] = [aes(), caching, several]
    for keyring in local:
        assert keyrings.of(keyring) is keyring


def test_a_file_systems_profile_reaches_keyrings(
    stores: boto3.Session,
    bucket: str,
    kms_key: str,
    signed: Signed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A profile in the storage options is used by the KMS keyring of the mode."""
    assert stores
    config = tmp_path / "config"
    config.write_text(
        f"[profile lake]\naws_access_key_id = {OWN}\naws_secret_access_key = secret\n"
        "region = us-east-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    mode = ClientSide(KMSKeyring(kms_key))
    files = fsspec.filesystem("s3crypt", mode=mode, profile="lake")
    files.pipe_file(f"{bucket}/object", BODY)
    assert files.cat_file(f"{bucket}/object") == BODY
    assert signed.by == {OWN}


def test_equal_discovery_keyrings_do_not_stand_for_each_other(
    stores: boto3.Session, session: boto3.Session, account: str
) -> None:
    """Two discovery keyrings of the same accounts have separate copies.

    Their options may differ.
    """
    keyrings = SessionKeyrings(stores)
    lax = KMSKeyring.discovery(accounts=[account], allow_plain_http=True)
    own = KMSKeyring.discovery(accounts=[account], session=session)
    strict = KMSKeyring.discovery(accounts=[account])
    copies = [keyrings.of(keyring) for keyring in (lax, own, strict)]
    assert copies[1] is own
    assert copies[0] is not copies[2]
    assert lax != strict
