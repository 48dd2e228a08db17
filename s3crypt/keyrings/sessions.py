# SPDX-License-Identifier: Apache-2.0
"""Give keyrings the session of the store that uses them. This module makes no client itself."""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from s3crypt.message.keys import Keyring

from .capabilities import is_composite, takes_session

if TYPE_CHECKING:
    import boto3


class SessionKeyrings:
    """Copies of keyrings that have no session of their own. The copies use the store's session.

    There is one copy per keyring. It exists as long as the keyring is in use, so a copy of a
    CachingKeyring keeps its cache, and each copy keeps its clients. The keyrings themselves are not
    changed.
    """

    def __init__(self, session: "boto3.Session") -> None:
        self._session = session
        # Keyrings are compared by identity and not by value, because their sessions may differ.
        self._copies: WeakKeyDictionary[Keyring, Keyring] = WeakKeyDictionary()

    def of(self, keyring: Keyring) -> Keyring:
        """Return the copy of a keyring with the store's session.

        Return the keyring itself if it needs no session or has one.
        """
        if not takes_session(keyring) and not is_composite(keyring):
            return keyring
        made = self._copies.get(keyring)
        if made is None:
            made = self._made(keyring)
            if made is keyring:
                # A value that refers to its own weak key would keep the keyring alive forever, so
                # it is not stored.
                return keyring
            made = self._copies.setdefault(keyring, made)
        return made

    def _made(self, keyring: Keyring) -> Keyring:
        if takes_session(keyring):
            return keyring.with_session(self._session)
        return keyring.with_inner(self.of) if is_composite(keyring) else keyring
