# SPDX-License-Identifier: Apache-2.0
"""Optional capabilities of keyrings beyond `Keyring`, each a protocol.

A caller's keyring may lack all of them; the functions here return the default then. A capability
counts only if the keyring's class has it. Otherwise, a wrapper that passes unknown attributes on
to its inner keyring would seem to have the inner keyring's capability, and would be bypassed.
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
    """A keyring that recognises by an EDK's names whether the EDK is for this keyring."""

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether a key of this keyring wrapped the EDK, or may have."""
        ...


class UnprovenKeyring(Keyring, Protocol):
    """A keyring whose `unwrap` may return a wrong data key without an error."""

    @property
    def needs_proof(self) -> bool:
        """Whether a data key must be proved by its message."""
        ...


class AliasKeyring(Keyring, Protocol):
    """A keyring whose key may be named by an alias, which may later refer to another key."""

    def with_resolved_aliases(self) -> Keyring:
        """Return a keyring of the alias's present key; it ignores later changes of the alias."""
        ...


class SessionKeyring(Keyring, Protocol):
    """A keyring that asks AWS. It is hashable by identity and takes weak references."""

    def with_session(self, session: "boto3.Session") -> Keyring:
        """Return a copy that uses the session, or this keyring if it already has a session."""
        ...


class CompositeKeyring(Keyring, Protocol):
    """A keyring of other keyrings. It is hashable by identity and takes weak references."""

    def with_inner(self, change: Callable[[Keyring], Keyring]) -> Keyring:
        """Return a copy with the changed inner keyrings, or this keyring if all are unchanged."""
        ...


class CachingDataKeys(Keyring, Protocol):
    """A keyring that lets one data key serve several messages of one encryption context.

    Messages never share a data key if their contexts differ, for example by an object's name or a
    public key.
    """

    @property
    def uncached(self) -> Keyring:
        """The keyring that makes, wraps and unwraps the data keys."""
        ...


class RewrappingKeyring(Keyring, Protocol):
    """A keyring whose key service moves a data key to another key by itself.

    The service binds the encryption context: it unwraps a data key only under the context with
    which the data key was wrapped.
    """

    def rewrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], *, source: Keyring
    ) -> tuple[EncryptedDataKey, ...] | None:
        """Return the data key of these EDKs, which `source` opens, wrapped under this key.

        This process does not see the data key. The result is None if the key service cannot
        rewrap.
        """
        ...


def is_local(keyring: Keyring) -> bool:
    """Return whether the keyring unwraps without a request; False if it lacks `is_local`."""
    return _may_be_local(keyring) and keyring.is_local


def may_open(keyring: Keyring, edks: Sequence[EncryptedDataKey]) -> bool:
    """Return whether an EDK is for the keyring; True if the keyring lacks `opens`.

    A wrapper may pass `opens` on to its inner keyring: the call bypasses no wrapper.
    """
    opens: Callable[[EncryptedDataKey], bool] | None = getattr(keyring, "opens", None)
    return opens is None or any(map(opens, edks))


def needs_proof(keyring: Keyring) -> bool:
    """Return whether a keyring, or its inner keyring, may return a wrong data key without an error.

    A caller that cannot prove a data key must not use such a keyring.
    """
    return _may_need_proof(keyring) and keyring.needs_proof


def with_resolved_aliases(keyring: Keyring) -> Keyring:
    """Return the keyring with its aliases resolved, so that a job uses the same keys throughout."""
    if _names_aliases(keyring):
        return keyring.with_resolved_aliases()
    if is_composite(keyring):
        return keyring.with_inner(with_resolved_aliases)
    return keyring


def uncached(keyring: Keyring) -> Keyring:
    """Return the inner keyring of a caching keyring, or the keyring itself."""
    return keyring.uncached if caches_data_keys(keyring) else keyring


def rewrap(
    edks: Sequence[EncryptedDataKey],
    context: Mapping[str, str],
    *,
    source: Keyring,
    target: Keyring,
) -> tuple[EncryptedDataKey, ...] | None:
    """Return the data key of these EDKs, which `source` opens, wrapped under `target`'s key.

    The key service rewraps, and this process does not see the data key. The result is None if
    the service cannot rewrap: the caller then unwraps the data key and wraps it.
    """
    # Caches on either side are skipped: this process needs no data key.
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
