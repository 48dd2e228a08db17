# SPDX-License-Identifier: Apache-2.0
"""The forms in which objects are stored, and families of objects that change between some forms.

All threads share the objects of a family. Each family has readers: modes with which a caller would
read its objects. Any object of the family is opened by one of its readers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from s3crypt import (
    DSSEKMS,
    SSEC,
    SSEKMS,
    SSES3,
    AESKeyring,
    ClientSide,
    KMSKeyring,
    MultiKeyring,
    S3Crypt,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import boto3

    from s3crypt import Keyring, Mode, ObjectInfo

ALIASES = ("alias/chaos-1", "alias/chaos-2")
_SERVER = ("sse-s3", "sse-kms:1", "sse-kms:2", "dsse-kms:1")
_CUSTOMER = ("sse-c:1", "sse-c:2")
_CLIENT = ("header:kms1", "header:both", "header:aes", "metadata:kms1", "metadata:aes")
_REWRAPPED = ("metadata:kms1", "metadata:kms2")

# Family -> the forms of its objects.
FAMILIES: dict[str, tuple[str, ...]] = {
    "server": _SERVER,
    "sse-c": _CUSTOMER,
    "client": _CLIENT,
    "kms": _REWRAPPED,
    "mixed": ("sse-s3", "sse-kms:1", "sse-c:1", "header:kms1", "metadata:kms1", "metadata:kms2"),
    "server-copies": _SERVER,
    "client-copies": _CLIENT,
}
# Family of copies -> the family of their sources.
COPIES = {"server-copies": "server", "client-copies": "client"}
OBJECTS = 4


@dataclass(slots=True)
class Forms:
    """The modes and stores of one process, made with one session."""

    session: boto3.Session
    keys: tuple[str, str]
    _modes: dict[str, Mode] = field(default_factory=dict)
    _stores: dict[str, S3Crypt] = field(default_factory=dict)

    def mode(self, form: str) -> Mode:
        """Return the mode that writes this form."""
        if form not in self._modes:
            self._modes[form] = self._make(form)
        return self._modes[form]

    def _make(self, form: str) -> Mode:
        kind, _, key = form.partition(":")
        makers: dict[str, Callable[[], Mode]] = {
            "sse-s3": SSES3,
            "sse-kms": lambda: SSEKMS(self.keys[int(key) - 1]),
            "dsse-kms": lambda: DSSEKMS(self.keys[int(key) - 1]),
            "sse-c": lambda: SSEC(random.Random(key).randbytes(32)),
            "header": lambda: ClientSide(self._keyring(key), frame_length=64 * 2**10),
            "metadata": lambda: ClientSide(self._keyring(key), key_location="metadata"),
            "any": lambda: ClientSide(self._keyring("any")),
        }
        return makers[kind]()

    def _keyring(self, name: str) -> Keyring:
        match name:
            case "kms1":
                return KMSKeyring(self.keys[0], session=self.session)
            case "kms2":
                # The alias names the key here, so KMS must resolve it to the key's ARN.
                return KMSKeyring(ALIASES[1], session=self.session)
            case "aes":
                return _aes()
            case "both":
                return MultiKeyring(self._keyring("kms1"), self._keyring("kms2"))
        every = (KMSKeyring(key, session=self.session) for key in self.keys)
        return MultiKeyring(_aes(), *every)

    def seen(self, info: ObjectInfo) -> str:
        """Return the form of an object by the reply of `inspect`.

        Return an empty text if the reply does not show the whole form.
        """
        if info.mode in ("sse-s3", "sse-c", None):
            return "" if info.mode == "sse-c" else f"{info.mode}"
        named = [n for n, key in enumerate(self.keys, 1) if key in f"{info.keys} {info.kms_key}"]
        if info.mode != "client":
            return f"{info.mode}:{named[0] if named else '?'}"
        wrapped = "both" if len(named) > 1 else f"kms{named[0]}" if named else "aes"
        return f"{info.key_location}:{wrapped}"

    def readers(self, family: str) -> list[Mode | None]:
        """Return the modes that can read an object of the family, in the order to try them."""
        if family in ("server", "server-copies"):
            return [None]
        if family == "sse-c":
            return [self.mode(form) for form in _CUSTOMER]
        if family == "mixed":
            return [self.mode("any"), None, self.mode("sse-c:1")]
        return [self.mode("any")]

    def sources(self, family: str, form: str) -> list[Mode | None]:
        """Return the modes that can read an object which is to be rotated to this form."""
        if family == "kms":
            # If the present and the new mode each have one KMS keyring, KMS itself rewraps the data
            # key.
            return [self.mode(other) for other in _REWRAPPED if other != form]
        if family == "mixed" and form.startswith(("header", "metadata")):
            # A rotation makes a plain object client-side only if its present mode is named.
            return [self.mode(each) for each in ("any", "sse-s3", "sse-kms:1", "sse-c:1")]
        return self.readers(family)

    def store(self, mode: Mode | None = None) -> S3Crypt:
        """Return the store that reads with this mode."""
        name = repr(mode) if mode is None or mode.name != "sse-c" else f"{mode!r} {id(mode)}"
        if name not in self._stores:
            self._stores[name] = S3Crypt(mode, session=self.session, workers=4)
        return self._stores[name]


@cache
def _aes() -> AESKeyring:
    return AESKeyring("chaos", "aes", random.Random("aes").randbytes(32))


def family_of(name: str) -> str:
    """Return the family of `bucket/family/number`."""
    return name.split("/")[1]
