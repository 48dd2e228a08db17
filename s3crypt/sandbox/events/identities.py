# SPDX-License-Identifier: Apache-2.0
"""The sender of a request, in the form of a record's `userIdentity`.

This module must not depend on requests: the access key alone identifies the sender.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox import ROOT_ACCESS_KEY

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

_KEPT = 1000
_SANDBOX = "AIDASANDBOXEXAMPLE00"


@dataclass(frozen=True, slots=True)
class Identity:
    """A sender. `said` is the `userIdentity`; LookupEvents finds the sender by `username`."""

    said: dict[str, Any]
    username: str = ""
    access_key: str = ""


class Identities:
    """The identities of access keys. Identities that were looked up are kept."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        self._known: dict[str, Identity] = {}

    def clear(self) -> None:
        """Forget all identities."""
        self._known.clear()

    def of(self, access_key: str) -> Identity:
        """Return the identity of an access key; an empty key means an anonymous sender."""
        found = self._known.get(access_key)
        if found is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            found = self._known[access_key] = self._found(access_key)
        return found

    def _found(self, access_key: str) -> Identity:
        account = self._moto.account
        if not access_key:
            said = {"type": "AWSAccount", "principalId": "", "accountId": "ANONYMOUS_PRINCIPAL"}
            return Identity(said)
        session = self._moto.session(access_key)
        if session is not None:
            return _of_session(self._moto, session, access_key)
        common = {"accountId": account, "accessKeyId": access_key}
        if access_key == ROOT_ACCESS_KEY:
            arn = f"arn:aws:iam::{account}:root"
            said = {"type": "Root", "principalId": account, "arn": arn, **common}
            return Identity(said, "root", access_key)
        user = self._moto.user_of(access_key)
        name, identity, arn = (
            ("sandbox", _SANDBOX, f"arn:aws:iam::{account}:user/sandbox")
            if user is None
            else (user.name, user.id, user.arn)
        )
        said = {"type": "IAMUser", "principalId": identity, "arn": arn, **common, "userName": name}
        return Identity(said, name, access_key)


def of_service(name: str) -> Identity:
    """Return the identity of a service that acts on its own behalf."""
    return Identity({"type": "AWSService", "invokedBy": name})


def _of_session(moto: Moto, session: Any, access_key: str) -> Identity:
    role = moto.role(session.role_arn.rpartition("/")[2])
    issuer = {
        "type": "Role",
        "principalId": session.user_id.partition(":")[0],
        "arn": session.role_arn,
        "accountId": session.account_id,
        "userName": session.role_arn.rpartition("/")[2] if role is None else role.name,
    }
    begun = session.access_key.create_date
    said = {
        "type": "AssumedRole",
        "principalId": session.user_id,
        "arn": session.arn,
        "accountId": session.account_id,
        "accessKeyId": access_key,
        "sessionContext": {
            "sessionIssuer": issuer,
            "attributes": {
                "creationDate": f"{begun:%Y-%m-%dT%H:%M:%SZ}",
                "mfaAuthenticated": "false",
            },
        },
    }
    return Identity(said, session.session_name, access_key)
