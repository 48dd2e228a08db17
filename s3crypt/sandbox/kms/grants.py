# SPDX-License-Identifier: Apache-2.0
"""Grants: created, listed, retired and revoked, including grants for service principals.

A grant is stored on moto's key. `keys` calls `Grant.permits` to decide about a request.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.policies import is_for, statements_of
from s3crypt.sandbox.wire import Refusal

from .calls import invalid, key_of, page
from .keys import check_state, refusal_of_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3crypt.sandbox.backend import Moto

    from .calls import Call

_OPERATIONS = frozenset(
    {"CreateGrant", "Decapsulate", "Decrypt", "DeriveSharedSecret", "DescribeKey", "Encapsulate"}
    | {"Encrypt", "GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"}
    | {"GenerateDataKeyWithoutPlaintext", "GenerateMac", "GetPublicKey", "ReEncryptFrom"}
    | {"ReEncryptTo", "RetireGrant", "Sign", "Verify", "VerifyMac"}
)
_OF_SYMMETRIC_KEYS = frozenset(
    {"CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyPair"}
    | {"GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom"}
    | {"ReEncryptTo", "RetireGrant"}
)
_CONSTRAINTS = frozenset({"EncryptionContextEquals", "EncryptionContextSubset", "SourceArn"})
_SERVICE = re.compile(r"[a-z0-9.-]+\.amazonaws\.com(\.cn)?")


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant. `said` has those parameters of the CreateGrant request that ListGrants returns."""

    key_arn: str
    account: str
    said: dict[str, Any]
    created: float
    id: str = field(default_factory=lambda: secrets.token_hex(32))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)

    @property
    def operations(self) -> list[str]:
        """The operations that the grant allows."""
        return list(self.said["Operations"])

    @property
    def grantee(self) -> str | None:
        """The ARN of the role, user or account that has the grant; None if a service has it."""
        return self.said.get("GranteePrincipal")

    @property
    def constraints(self) -> dict[str, Any]:
        """The constraints that a request must satisfy."""
        return dict(self.said.get("Constraints") or {})

    def permits(
        self, operation: str, caller: frozenset[str], context: Mapping[str, str] | None
    ) -> bool:
        """Return whether the grant allows a caller an operation with an encryption context.

        `context` is None for an operation without a context; constraints on the context do not
        apply to such an operation. A caller never satisfies a SourceArn constraint, because it does
        not act on behalf of another resource.
        """
        grantee = self.grantee
        return (
            grantee is not None
            and operation in self.operations
            and is_for({"Principal": {"AWS": grantee}}, caller)
            and "SourceArn" not in self.constraints
            and (context is None or self._fits(context))
        )

    def _fits(self, context: Mapping[str, str]) -> bool:
        equal = self.constraints.get("EncryptionContextEquals")
        subset = self.constraints.get("EncryptionContextSubset") or {}
        return (equal is None or equal == dict(context)) and subset.items() <= context.items()

    def entry(self) -> dict[str, Any]:
        """Return the grant as an entry of ListGrants."""
        return {
            **self.said,
            "KeyId": self.key_arn,
            "GrantId": self.id,
            "CreationDate": self.created,
            "IssuingAccount": f"arn:aws:iam::{self.account}:root",
        }


_KEPT = (
    "Name",
    "GranteePrincipal",
    "GranteeServicePrincipal",
    "RetiringPrincipal",
    "RetiringServicePrincipal",
    "Operations",
    "Constraints",
)


def create(moto: Moto, call: Call) -> dict[str, Any]:
    """Create a grant, or return the existing grant with the same name and parameters."""
    key = key_of(moto, call)
    check_state(key)
    _check_principals(call.body)
    _check_operations(key, call.body)
    _check_delegated(key, call)
    said = {name: call.body[name] for name in _KEPT if call.body.get(name)}
    grant = next(
        (each for each in key.grants.values() if "Name" in said and each.said == said), None
    )
    grant = grant or Grant(key.arn, key.account_id, said, moto.clock.now())
    if not call.body.get("DryRun"):
        key.grants[grant.id] = grant
    return {"GrantId": grant.id, "GrantToken": grant.token}


def listed(moto: Moto, call: Call) -> dict[str, Any]:
    """Return a page of a key's grants, filtered by grantee or grant id if the request names one."""
    wanted = {
        name: call.body[name]
        for name in ("GrantId", "GranteePrincipal", "GranteeServicePrincipal")
        if call.body.get(name)
    }
    key = key_of(moto, call)
    if wanted.get("GrantId", next(iter(key.grants), None)) not in {None, *key.grants}:
        raise Refusal(400, "InvalidGrantIdException", f"Invalid grant id: {wanted['GrantId']}")
    entries = [
        entry
        for entry in (grant.entry() for grant in key.grants.values())
        if wanted.items() <= {name: entry.get(name) for name in wanted}.items()
    ]
    return page(call, entries, "Grants", size=50)


def retirable(moto: Moto, call: Call) -> dict[str, Any]:
    """Return a page of the grants in a Region that a principal may retire."""
    names = ("RetiringPrincipal", "RetiringServicePrincipal")
    wanted = {name: call.body[name] for name in names if call.body.get(name)}
    if not wanted:
        raise invalid("A retiring principal must be specified.")
    entries = [
        grant.entry()
        for key in moto.keys(call.region)
        for grant in key.grants.values()
        if wanted.items() <= grant.said.items()
    ]
    return page(call, entries, "Grants", size=50)


def revoke(moto: Moto, call: Call) -> dict[str, Any]:
    """Delete a grant of a key."""
    key, grant = _named(moto, call)
    if not call.body.get("DryRun"):
        del key.grants[grant.id]
    return {}


def retire(moto: Moto, call: Call) -> dict[str, Any]:
    """Delete a grant. The request names it by its token, or by its key and id.

    Only the account's root user, the grant's retiring principal, and the grantee (if the grant
    allows RetireGrant) may retire it.
    """
    key, grant = _retired(moto, call)
    if not _may_retire(grant, call.caller):
        raise Refusal(
            400,
            "AccessDeniedException",
            f"User: {max(call.caller)} is not authorized to perform: kms:RetireGrant on resource: "
            f"{key.arn}",
        )
    if not call.body.get("DryRun"):
        del key.grants[grant.id]
    return {}


def _retired(moto: Moto, call: Call) -> tuple[Any, Grant]:
    """Return the key and the grant that a RetireGrant request names."""
    token = call.body.get("GrantToken")
    if not token:
        return _named(moto, call)
    for key in moto.keys(call.region):
        for grant in key.grants.values():
            if grant.token == token:
                return key, grant
    raise Refusal(400, "InvalidGrantTokenException", "The grant token is not valid.")


def _named(moto: Moto, call: Call) -> tuple[Any, Grant]:
    """Return the key and the grant that a request names by their ids."""
    key, identity = key_of(moto, call), str(call.body.get("GrantId", ""))
    if identity not in key.grants:
        raise Refusal(400, "NotFoundException", f"Grant ID {identity} not found")
    return key, key.grants[identity]


def _may_retire(grant: Grant, caller: frozenset[str]) -> bool:
    retiring = grant.said.get("RetiringPrincipal")
    return (
        f"arn:aws:iam::{grant.account}:root" in caller
        or (retiring is not None and is_for({"Principal": {"AWS": retiring}}, caller))
        or grant.permits("RetireGrant", caller, None)
    )


def _check_principals(body: dict[str, Any]) -> None:
    service = body.get("GranteeServicePrincipal")
    if bool(service) == bool(body.get("GranteePrincipal")):
        raise invalid("Specify either GranteePrincipal or GranteeServicePrincipal.")
    if body.get("RetiringPrincipal") and body.get("RetiringServicePrincipal"):
        raise invalid("Specify either RetiringPrincipal or RetiringServicePrincipal.")
    for name in ("GranteeServicePrincipal", "RetiringServicePrincipal"):
        if body.get(name) and _SERVICE.fullmatch(str(body[name])) is None:
            raise invalid(f"Value '{body[name]}' at '{name}' is no service principal.")
    if service is None:
        return
    if not (body.get("Constraints") or {}).get("SourceArn"):
        raise invalid("A grant for a service principal needs a SourceArn constraint.")
    if not (body.get("RetiringPrincipal") or body.get("RetiringServicePrincipal")):
        raise invalid("A grant for a service principal needs a retiring principal.")


def _check_delegated(key: Any, call: Call) -> None:
    """Refuse to create a grant with more rights than the grant that allows its creation."""
    policy = statements_of(key.policy)
    if refusal_of_policy(policy, "kms:CreateGrant", call.caller) is None:
        return
    parents = [one for one in key.grants.values() if one.permits("CreateGrant", call.caller, None)]
    wanted = set(call.body.get("Operations") or ())
    constraints = call.body.get("Constraints") or {}
    if not any(
        wanted <= set(one.operations) and one.constraints.items() <= constraints.items()
        for one in parents
    ):
        raise Refusal(
            400, "AccessDeniedException", "The grant allows more than the grant of its creator."
        )


def _check_operations(key: Any, body: dict[str, Any]) -> None:
    operations = body.get("Operations") or []
    if not operations or set(operations) - _OPERATIONS:
        raise invalid(f"Value '{operations}' at 'operations' failed to satisfy constraint.")
    if key.key_spec == "SYMMETRIC_DEFAULT" and set(operations) - _OF_SYMMETRIC_KEYS:
        raise invalid(f"Value '{operations}' at 'operations' is not supported by {key.arn}.")
    if set(body.get("Constraints") or {}) - _CONSTRAINTS:
        raise invalid("Value at 'constraints' failed to satisfy constraint.")
