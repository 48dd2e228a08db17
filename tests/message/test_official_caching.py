# SPDX-License-Identifier: Apache-2.0
"""CachingKeyring asks its keyring as often as the official SDK's caching materials manager."""

import io
from collections import Counter
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import official
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3crypt import message
from s3crypt.keyrings import AESKeyring, CachingKeyring

OURS = AESKeyring(official.NAMESPACE, official.NAME, official.WRAPPING_KEY)
# An event: seconds to wait before it, `write` or `read`, the tenant, and the number of bytes.
Event = tuple[float, str, str, int | None]


class Theirs:
    """The SDK's caching manager around a native key provider, whose calls are counted."""

    def __init__(self, max_age: float, max_messages: int, max_bytes: int) -> None:
        from aws_encryption_sdk import (  # noqa: PLC0415
            CachingCryptoMaterialsManager,
            CommitmentPolicy,
            LocalCryptoMaterialsCache,
        )

        self.asked: Counter[str] = Counter()
        self._policy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        self._written: dict[str, Any] = {}
        self.manager = CachingCryptoMaterialsManager(
            master_key_provider=self._counting(official.native_aes()["key_provider"]),
            cache=LocalCryptoMaterialsCache(capacity=1000),
            max_age=max_age,
            max_messages_encrypted=max_messages,
            max_bytes_encrypted=max_bytes,
        )

    def _counting(self, provider: Any) -> Any:
        generate = provider.master_keys_for_encryption
        unwrap = provider.decrypt_data_key_from_list

        def counted_generate(*arguments: Any, **options: Any) -> Any:
            self.asked["generate"] += 1
            return generate(*arguments, **options)

        def counted_unwrap(*arguments: Any, **options: Any) -> Any:
            self.asked["unwrap"] += 1
            return unwrap(*arguments, **options)

        provider.master_keys_for_encryption = counted_generate
        provider.decrypt_data_key_from_list = counted_unwrap
        return provider

    def write(self, tenant: str, length: int | None) -> None:
        """Request a data key for writing."""
        from aws_encryption_sdk.materials_managers import (  # noqa: PLC0415
            EncryptionMaterialsRequest,
        )

        request = EncryptionMaterialsRequest(
            encryption_context={"tenant": tenant},
            frame_length=4096,
            algorithm=official.algorithm(0x0478),
            plaintext_length=length,
            commitment_policy=self._policy,
        )
        self._written[tenant] = self.manager.get_encryption_materials(request)

    def read(self, tenant: str) -> None:
        """Request the data key of the last write."""
        from aws_encryption_sdk.materials_managers import (  # noqa: PLC0415
            DecryptionMaterialsRequest,
        )

        if tenant in self._written:
            request = DecryptionMaterialsRequest(
                algorithm=official.algorithm(0x0478),
                encrypted_data_keys=self._written[tenant].encrypted_data_keys,
                encryption_context={"tenant": tenant},
                commitment_policy=self._policy,
            )
            self.manager.decrypt_materials(request)


class Ours:
    """A CachingKeyring around an AES keyring; it counts the calls to the keyring."""

    def __init__(self, max_age: float, max_messages: int, max_bytes: int) -> None:
        self.keyring = CachingKeyring(
            OURS, max_age=max_age, max_messages=max_messages, max_bytes=max_bytes
        )
        self._written: dict[str, Any] = {}

    @property
    def asked(self) -> Counter[str]:
        """Return the number of calls to the keyring so far."""
        statistics = self.keyring.statistics
        return Counter(generate=statistics.generate_calls, unwrap=statistics.unwrap_calls)

    def write(self, tenant: str, length: int | None) -> None:
        """Request a data key for writing."""
        made = self.keyring.generate(32, {"tenant": tenant}, plaintext_length=length)
        self._written[tenant] = made.edks

    def read(self, tenant: str) -> None:
        """Request the data key of the last write."""
        if tenant in self._written:
            self.keyring.unwrap(self._written[tenant], {"tenant": tenant}, 32)


def compare(limits: tuple[float, int, int], events: list[Event]) -> None:
    """Run the same events on both caches, and compare their numbers of calls after every event."""
    now = [1_000_000.0]
    clock = SimpleNamespace(time=lambda: now[0])
    with (
        patch("aws_encryption_sdk.caches.time", clock),
        patch("s3crypt.keyrings.cache.monotonic", lambda: now[0]),
    ):
        both = (Theirs(*limits), Ours(*limits))
        for seconds, verb, tenant, length in events:
            now[0] += seconds
            for one in both:
                if verb == "write":
                    one.write(tenant, length)
                else:
                    one.read(tenant)
            assert both[0].asked == both[1].asked, (seconds, verb, tenant, length)


def writes(*lengths: int | None) -> list[Event]:
    """Return events that write messages of these lengths, one after another."""
    return [(0.0, "write", "a", length) for length in lengths]


def waits(*seconds: float, verb: str = "write") -> list[Event]:
    """Return events that write empty messages, or read a message, after these waits in seconds."""
    return [(0.0, "write", "a", 0), *((each, verb, "a", 0) for each in seconds)]


@pytest.mark.parametrize(
    ("limits", "events"),
    [
        ((60.0, 1, 100), writes(0, 0, 0)),
        ((60.0, 2, 100), writes(0, 0, 0, 0, 0)),
        ((60.0, 3, 100), writes(0, None, 0, None, 0, 0)),
        ((60.0, 9, 100), writes(50, 50, 0, 1)),
        ((60.0, 9, 100), writes(99, 1, 0, 1)),
        ((60.0, 9, 100), writes(100, 0, 100)),
        ((60.0, 9, 100), writes(101, 0, 101, 0)),
        ((60.0, 9, 100), writes(10, 100, 10, 90, 91)),
        ((60.0, 9, 0), writes(0, 0)),
        ((60.0, 9, 1), writes(0, 0, 1, 0, 1, 1)),
        ((60.0, 9, 100), waits(60.0, 0.0, 0.5, 60.0, 60.5)),
        ((60.0, 9, 100), waits(60.0, 0.0, 0.5, 60.0, 60.5, verb="read")),
        ((60.0, 1, 0), waits(0.0, 0.0, 60.0, verb="read")),
    ],
)
def test_as_the_sdk_does(limits: tuple[float, int, int], events: list[Event]) -> None:
    """CachingKeyring and the SDK's cache make the same calls at each limit, below and above it."""
    compare(limits, events)


@given(
    st.tuples(st.sampled_from([1.0, 2.5, 60.0]), st.integers(1, 4), st.integers(0, 20)),
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.5]),
            st.sampled_from(["write", "write", "read"]),
            st.sampled_from("ab"),
            st.none() | st.integers(0, 12),
        ),
        max_size=25,
    ),
)
def test_as_the_sdk_does_in_any_sequence(
    limits: tuple[float, int, int], events: list[Event]
) -> None:
    """For any sequence and timing of writes and reads, both caches make equally many calls."""
    compare(limits, events)


def test_the_sdk_caches_what_has_no_key_derivation() -> None:
    """A content key of a suite without key derivation is cached for reads by both caches."""
    theirs = official.encrypt(b"plain", official.native_aes(), suite_id=0x0078)
    manager = Theirs(60.0, 1, 0)
    sdk = official.client(committing=False)
    keyring = CachingKeyring(OURS, max_age=60)
    for _ in range(3):
        assert sdk.decrypt(source=theirs, materials_manager=manager.manager)[0] == b"plain"
        assert message.decrypt(theirs, keyring, allow_uncommitted=True) == b"plain"
    assert manager.asked["unwrap"] == keyring.statistics.unwrap_calls == 1


@pytest.mark.parametrize("keys", [official.native_aes, official.mpl_aes], ids=["native", "mpl"])
def test_the_sdk_opens_what_a_cached_data_key_wrote(keys: Any) -> None:
    """The SDK decrypts each of several messages that share one wrapped data key."""
    keyring = CachingKeyring(OURS, max_age=60)
    written = [message.encrypt(b"%d" % number, keyring) for number in range(5)]
    assert len({message.read_header(io.BytesIO(one)).edks for one in written}) == 1
    assert [official.decrypt(one, keys())[0] for one in written] == [
        b"%d" % number for number in range(5)
    ]


def test_we_open_what_a_cached_data_key_of_the_sdk_wrote() -> None:
    """We open the SDK's messages under a cached data key, and unwrap this data key once."""
    theirs = Theirs(60.0, 9, 100)
    written = [
        official.encrypt(b"%d" % number, {"materials_manager": theirs.manager})
        for number in range(5)
    ]
    keyring = CachingKeyring(OURS, max_age=60)
    assert [message.decrypt(one, keyring) for one in written] == [
        b"%d" % number for number in range(5)
    ]
    assert theirs.asked["generate"] == keyring.statistics.unwrap_calls == 1
