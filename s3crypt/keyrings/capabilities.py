# SPDX-License-Identifier: Apache-2.0
"""Optional capabilities of keyrings: what a keyring may do beyond `Keyring`, each a protocol.

A keyring of the caller's own needs none of them; the functions here say what holds without them.
A capability counts only where the keyring's class has it. A wrapper that passes unknown attributes
on to a keyring inside it would otherwise lend that keyring's capability, and be led around.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeGuard

from s3crypt.message.keys import EncryptedDataKey, Keyring

if TYPE_CHECKING:
    import boto3


class LocalKeyring(Keyring, Protocol):
    """A keyring that may unwrap without a request."""

    @property
    def is_local(self) -> bool:
        """Whether `unwrap` makes no request."""
        ...


class RecognisingKeyring(Keyring, Protocol):
    """A keyring that knows by an EDK's names whether the EDK is for it."""

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether a key of this keyring wrapped the EDK, or may have."""
        ...


class UnprovenKeyring(Keyring, Protocol):
    """A keyring whose `unwrap` may return a wrong data key without an error."""

    @property
    def needs_proof(self) -> bool:
        """Whether a data key must be proved, by the message that it is for."""
        ...


class AliasKeyring(Keyring, Protocol):
    """A keyring whose key may be named by an alias, which can come to name another key."""

    def with_resolved_aliases(self) -> Keyring:
        """Return a keyring of the key that the alias names now, whatever it names later."""
        ...


class SessionKeyring(Keyring, Protocol):
    """A keyring that asks AWS. It is hashable by identity and takes weak references."""

    def with_session(self, session: "boto3.Session") -> Keyring:
        """Return a copy that uses the session, or this keyring if it was given one before."""
        ...


class CompositeKeyring(Keyring, Protocol):
    """A keyring of other keyrings. It is hashable by identity and takes weak references."""

    def with_inner(self, change: Callable[[Keyring], Keyring]) -> Keyring:
        """Return a copy of the changed inner keyrings, or this keyring if none of them changes."""
        ...


class CachingDataKeys(Keyring, Protocol):
    """A keyring that lets one data key serve several messages of one encryption context.

    Messages whose contexts vary, by a name or a public key of their own, would never share one.
    """

    @property
    def uncached(self) -> Keyring:
        """The keyring that makes, wraps and unwraps the data keys."""
        ...


class RewrappingKeyring(Keyring, Protocol):
    """A keyring whose key service moves a data key to another key by itself.

    The service binds the encryption context: it opens a data key under the context that the key
    was wrapped with, and under no other one.
    """

    def rewrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], *, source: Keyring
    ) -> tuple[EncryptedDataKey, ...] | None:
        """Return the data key of these EDKs, which `source` opens, wrapped under this key.

        This process does not see the data key. None where the key service cannot do that.
        """
        ...


def is_local(keyring: Keyring) -> bool:
    """Return whether the keyring unwraps without a request; it may make one if it does not say."""
    return _may_be_local(keyring) and keyring.is_local


def may_open(keyring: Keyring, edks: Sequence[EncryptedDataKey]) -> bool:
    """Return whether one of the EDKs is for the keyring; it may be if the keyring does not say.

    A keyring that passes the question on to another one answers too: nothing is led around.
    """
    opens: Callable[[EncryptedDataKey], bool] | None = getattr(keyring, "opens", None)
    return opens is None or any(map(opens, edks))


def needs_proof(keyring: Keyring) -> bool:
    """Return whether a keyring, or one inside it, may unwrap a wrong data key without an error.

    A caller who cannot prove a data key must not ask such a keyring.
    """
    return _may_need_proof(keyring) and keyring.needs_proof


def with_resolved_aliases(keyring: Keyring) -> Keyring:
    """Return the keyring with its aliases resolved, for a job that must not see them move."""
    if _names_aliases(keyring):
        return keyring.with_resolved_aliases()
    if is_composite(keyring):
        return keyring.with_inner(with_resolved_aliases)
    return keyring


def uncached(keyring: Keyring) -> Keyring:
    """Return the keyring that wraps, without the cache that may stand before it."""
    return keyring.uncached if caches_data_keys(keyring) else keyring


def rewrap(
    edks: Sequence[EncryptedDataKey],
    context: Mapping[str, str],
    *,
    source: Keyring,
    target: Keyring,
) -> tuple[EncryptedDataKey, ...] | None:
    """Return the data key of these EDKs, which `source` opens, wrapped under `target`'s key.

    The key service does it, and this process does not see the data key. None where that cannot
    be done: the caller then unwraps the data key and wraps it.
    """
    # A cache on either side has no part in it: no data key is needed here.
    wrapping = uncached(target)
    if not _rewraps(wrapping):
        return None
    return wrapping.rewrap(edks, context, source=uncached(source))


def caches_data_keys(keyring: Keyring) -> TypeGuard[CachingDataKeys]:
    """Return whether the keyring lets one data key serve several messages."""
    return _has(keyring, "uncached")


def takes_session(keyring: Keyring) -> TypeGuard[SessionKeyring]:
    """Return whether the keyring asks AWS with a session."""
    return _has(keyring, "with_session")


def is_composite(keyring: Keyring) -> TypeGuard[CompositeKeyring]:
    """Return whether the keyring is made of other keyrings."""
    return _has(keyring, "with_inner")


def _may_be_local(keyring: Keyring) -> TypeGuard[LocalKeyring]:
    return _has(keyring, "is_local")


def _may_need_proof(keyring: Keyring) -> TypeGuard[UnprovenKeyring]:
    return _has(keyring, "needs_proof")


def _names_aliases(keyring: Keyring) -> TypeGuard[AliasKeyring]:
    return _has(keyring, "with_resolved_aliases")


def _rewraps(keyring: Keyring) -> TypeGuard[RewrappingKeyring]:
    return _has(keyring, "rewrap")


def _has(keyring: Keyring, capability: str) -> bool:
    return hasattr(type(keyring), capability)
