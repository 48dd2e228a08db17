# SPDX-License-Identifier: Apache-2.0
"""Keyrings with the session of the store that uses them. This module makes no client itself."""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from s3crypt.message.keys import Keyring

from .capabilities import is_composite, takes_session

if TYPE_CHECKING:
    import boto3


class SessionKeyrings:
    """Copies of keyrings that ask KMS with one session, where the keyrings were given none.

    There is one copy per keyring, kept for as long as the keyring is in use: a CachingKeyring's
    copy keeps its cache, and each copy its clients. The keyrings themselves are not changed.
    """

    def __init__(self, session: "boto3.Session") -> None:
        self._session = session
        # By identity: none of these types compares by value, since sessions and rights differ.
        self._copies: WeakKeyDictionary[Keyring, Keyring] = WeakKeyDictionary()

    def of(self, keyring: Keyring) -> Keyring:
        """Return the copy of a keyring, or the keyring itself where no session is missing."""
        if not takes_session(keyring) and not is_composite(keyring):
            return keyring
        made = self._copies.get(keyring)
        if made is None:
            made = self._made(keyring)
            if made is keyring:
                # It would keep itself alive.
                return keyring
            made = self._copies.setdefault(keyring, made)
        return made

    def _made(self, keyring: Keyring) -> Keyring:
        if takes_session(keyring):
            return keyring.with_session(self._session)
        return keyring.with_inner(self.of) if is_composite(keyring) else keyring
