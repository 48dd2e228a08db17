# SPDX-License-Identifier: Apache-2.0
"""Keyrings with the session of the store that uses them. This module makes no client itself."""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from s3crypt.message.keys import Keyring

from .capabilities import is_composite, takes_session

if TYPE_CHECKING:
    import boto3


class SessionKeyrings:
    """Copies of keyrings without a session of their own, which ask KMS with one session.

    There is one copy per keyring, kept as long as the keyring is in use: a CachingKeyring's copy
    keeps its cache, and each copy keeps its clients. The keyrings themselves are not changed.
    """

    def __init__(self, session: "boto3.Session") -> None:
        self._session = session
        # Keyrings are compared by identity, not by value, since their sessions may differ.
        self._copies: WeakKeyDictionary[Keyring, Keyring] = WeakKeyDictionary()

    def of(self, keyring: Keyring) -> Keyring:
        """Return the copy of a keyring, or the keyring itself if it lacks no session."""
        if not takes_session(keyring) and not is_composite(keyring):
            return keyring
        made = self._copies.get(keyring)
        if made is None:
            made = self._made(keyring)
            if made is keyring:
                # As the value of its own weak key, the keyring would keep itself alive.
                return keyring
            made = self._copies.setdefault(keyring, made)
        return made

    def _made(self, keyring: Keyring) -> Keyring:
        if takes_session(keyring):
            return keyring.with_session(self._session)
        return keyring.with_inner(self.of) if is_composite(keyring) else keyring
