# SPDX-License-Identifier: Apache-2.0
"""Optional methods of keyrings in addition to `Keyring`. Each capability is a protocol.

A keyring of the caller may have none of these methods; the functions here then return a default. A
capability counts only if the keyring's class has the method. A wrapper that passes unknown
attributes on to its inner keyring would otherwise seem to have the capability of the inner keyring,
and the wrapper would be bypassed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeGuard

from s3crypt.message.keys import EncryptedDataKey, Keyring

if TYPE_CHECKING:
    import boto3


class LocalKeyring(Keyring, Protocol):
    """A keyring that may be able to unwrap without a request."""

    @property
    def is_local(self) -> bool:
        """Whether `unwrap` makes no request."""
        ...


class RecognisingKeyring(Keyring, Protocol):
    """A keyring that can decide by the names in an EDK whether it can unwrap the EDK."""

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether the EDK's names permit that a key of this keyring wrapped it."""
        ...


class UnprovenKeyring(Keyring, Protocol):
    """A keyring whose `unwrap` may return a wrong data key without an error."""

    @property
    def needs_proof(self) -> bool:
        """Whether a data key must be verified by opening its message."""
        ...


class AliasKeyring(Keyring, Protocol):
    """A keyring whose key may be named by an alias. The alias may be moved to another key later."""

    def with_resolved_aliases(self) -> Keyring:
        """Return a keyring for the key to which the alias points now.

        Later changes have no effect.
        """
        ...


class SessionKeyring(Keyring, Protocol):
    """A keyring that sends requests to AWS.

    It is hashable by identity and can be weakly referenced.
    """

    def with_session(self, session: "boto3.Session") -> Keyring:
        """Return a copy that uses the session, or this keyring if it already has a session."""
        ...


class CompositeKeyring(Keyring, Protocol):
    """A keyring made of other keyrings. It is hashable by identity and can be weakly referenced."""

    def with_inner(self, change: Callable[[Keyring], Keyring]) -> Keyring:
        """Return a copy with the changed inner keyrings.

        If all are unchanged, return this keyring.
        """
        ...


class CachingDataKeys(Keyring, Protocol):
    """A keyring that uses one data key for several messages of one encryption context.

    Messages with different contexts never share a data key. Contexts differ, for example, if they
    contain the object's name or a public key.
    """

    @property
    def uncached(self) -> Keyring:
        """The inner keyring. It generates, wraps and unwraps the data keys."""
        ...


class RewrappingKeyring(Keyring, Protocol):
    """A keyring whose key service can rewrap: it wraps a data key under another key by itself.

    The service binds the encryption context: it unwraps a data key only with the context with which
    the data key was wrapped.
    """

    def rewrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], *, source: Keyring
    ) -> tuple[EncryptedDataKey, ...] | None:
        """Return the data key of these EDKs wrapped under this keyring's key.

        `source` can unwrap them.

        The data key never reaches this process. The result is None if the key service cannot
        rewrap.
        """
        ...


def is_local(keyring: Keyring) -> bool:
    """Return whether the keyring unwraps without a request.

    Return False for a keyring without the attribute `is_local`.
    """
    return _may_be_local(keyring) and keyring.is_local


def may_open(keyring: Keyring, edks: Sequence[EncryptedDataKey]) -> bool:
    """Return whether the keyring may be able to unwrap one of the EDKs.

    Return True for a keyring without the method `opens`.

    The method is looked up on the instance, not on its class: a wrapper may pass `opens` on to its
    inner keyring, because `opens` does no work that the wrapper could add to.
    """
    opens: Callable[[EncryptedDataKey], bool] | None = getattr(keyring, "opens", None)
    return opens is None or any(map(opens, edks))


def needs_proof(keyring: Keyring) -> bool:
    """Return whether `unwrap` of a keyring may return a wrong data key without an error.

    A caller that cannot verify a data key must not use such a keyring.
    """
    return _may_need_proof(keyring) and keyring.needs_proof


def with_resolved_aliases(keyring: Keyring) -> Keyring:
    """Return the keyring with its aliases resolved, so a job uses the same keys throughout."""
    if _names_aliases(keyring):
        return keyring.with_resolved_aliases()
    if is_composite(keyring):
        return keyring.with_inner(with_resolved_aliases)
    return keyring


def uncached(keyring: Keyring) -> Keyring:
    """Return the inner keyring of a caching keyring. Return any other keyring unchanged."""
    return keyring.uncached if caches_data_keys(keyring) else keyring


def rewrap(
    edks: Sequence[EncryptedDataKey],
    context: Mapping[str, str],
    *,
    source: Keyring,
    target: Keyring,
) -> tuple[EncryptedDataKey, ...] | None:
    """Return the data key of these EDKs wrapped by `target`. `source` can unwrap the EDKs.

    The key service rewraps, so the data key never reaches this process. The result is None if the
    service cannot rewrap: the caller must then unwrap the data key and wrap it again.
    """
    # Caching keyrings are replaced by their inner keyrings, because no data key is needed here.
    wrapping = uncached(target)
    if not _rewraps(wrapping):
        return None
    return wrapping.rewrap(edks, context, source=uncached(source))


def caches_data_keys(keyring: Keyring) -> TypeGuard[CachingDataKeys]:
    """Return whether the keyring uses one data key for several messages."""
    return _has(keyring, "uncached")


def takes_session(keyring: Keyring) -> TypeGuard[SessionKeyring]:
    """Return whether the keyring sends requests to AWS with a session."""
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
