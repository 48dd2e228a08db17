# SPDX-License-Identifier: Apache-2.0
"""Create, list, revoke and retire the grants of keys.

A grant permits a principal or a service to use the key, without a change of the key policy. If a
request without a name is repeated, KMS makes a second grant. Every request from here therefore has
a name: the caller's name, or a name that is computed from the grant's rights. This module does not
interpret policies.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from s3crypt.errors import ConfigError, KeyUnavailableError
from s3crypt.requests import Attempts, Reply, call

from .service import KMS, patiently, retold

OPENING = frozenset({"Decrypt", "ReEncryptFrom", "DeriveSharedSecret", "Decapsulate"})
"""The operations by which a grantee can read what the key protects."""

# The ARNs that KMS accepts as the principal of a grant: an account, a user, a role, a federated
# user or a session.
_PRINCIPAL = re.compile(
    r"arn:aws[a-z-]*:(iam::[0-9]{12}:(root|user/.+|role/.+)"
    r"|sts::[0-9]{12}:(assumed-role|federated-user)/.+)"
)
# These patterns are from botocore's model of the KMS API.
_SERVICE = re.compile(r"[A-Za-z0-9-]+\.[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_NAME = re.compile(r"[a-zA-Z0-9:/_-]{1,256}")
_SOURCE_ARN = re.compile(r"arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+")
_CONTEXTS = ("EncryptionContextEquals", "EncryptionContextSubset")
_MAX_PAIRS = 8
_GENERATED = "s3crypt-"


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant of a key.

    Attributes:
        id: The grant's id.
        grantee: The ARN or the service principal that the grant permits to use the key.
        is_service: Whether the grantee is a service principal.
        operations: The permitted operations by KMS's names, such as `Decrypt`.
        constraints: The grant's constraints in KMS's form. Empty if it has none.
        created: The time of creation. None if KMS does not report it.
        name: The grant's name. Empty if it has none.
        retiring: The ARN or the service principal that may retire the grant. None if there is none.
    """

    id: str
    grantee: str
    is_service: bool
    operations: tuple[str, ...]
    constraints: Mapping[str, Any] = field(default_factory=dict)
    created: datetime | None = None
    name: str = ""
    retiring: str | None = None

    @property
    def is_constrained(self) -> bool:
        """Whether a constraint restricts the grant.

        An empty encryption context does not restrict it.
        """
        return any(self.constraints.values())

    @property
    def opens_everything(self) -> bool:
        """Whether a principal may decrypt everything under the key.

        Control S3CRYPT.12 reports this.
        """
        opens = bool(OPENING & set(self.operations))
        return opens and not self.is_service and not self.is_constrained

    @property
    def serves_any_source(self) -> bool:
        """Whether a service may use the key for any resource. Control S3CRYPT.13 reports this."""
        return self.is_service and not self.constraints.get("SourceArn")

    @property
    def rights(self) -> tuple[object, ...]:
        """A value that is equal for grants with the same rights, regardless of id and name."""
        told = json.dumps(_given(self.constraints), sort_keys=True)
        return self.grantee, tuple(sorted(set(self.operations))), told, self.retiring

    @property
    def words(self) -> str:
        """The grant's rights as one line of text."""
        constraints = _given(self.constraints)
        limited = f" within {json.dumps(constraints, sort_keys=True)}" if constraints else ""
        retiring = f", retired by {self.retiring}" if self.retiring else ""
        return f"{', '.join(sorted(set(self.operations)))} for {self.grantee}{limited}{retiring}"


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """A grant to be created. Its values are checked before any request.

    Attributes:
        grantee: The ARN of a user, role or account, or a service's name.
        operations: The operations by KMS's names.
        constraints: The constraints in KMS's form: `EncryptionContextEquals`,
            `EncryptionContextSubset` (mappings) and `SourceArn`.
        retiring: The ARN or the service that may retire the grant. A grant to a service needs this.
        name: The name. None for a name that is computed from the rights.

    Raises:
        ConfigError: A value cannot be part of a grant.
    """

    grantee: str
    operations: tuple[str, ...]
    constraints: Mapping[str, Any] = field(default_factory=dict)
    retiring: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Check every value that does not depend on the key."""
        _check_principal(self.grantee)
        if self.retiring is not None:
            _check_principal(self.retiring)
        _check_constraints(self.constraints)
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name!r} cannot be the name of a grant.",
                hint="Use up to 256 letters, digits, colons, slashes, hyphens and underscores.",
            )
        if is_service(self.grantee):
            _check_service(self)

    @property
    def as_grant(self) -> Grant:
        """The grant with these values. Its id is empty."""
        unnamed = Grant(
            id="",
            grantee=self.grantee,
            is_service=is_service(self.grantee),
            operations=self.operations,
            constraints=_given(self.constraints),
            retiring=self.retiring,
        )
        digest = hashlib.sha256(json.dumps(unnamed.rights).encode()).hexdigest()
        return replace(unnamed, name=self.name or f"{_GENERATED}{digest[:32]}")

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of CreateGrant except the key."""
        kind = "GranteeServicePrincipal" if is_service(self.grantee) else "GranteePrincipal"
        found: dict[str, Any] = {
            kind: self.grantee,
            "Operations": list(self.operations),
            "Name": self.as_grant.name,
        }
        if constraints := _given(self.constraints):
            found["Constraints"] = constraints
        if self.retiring is not None:
            by_service = is_service(self.retiring)
            found["RetiringServicePrincipal" if by_service else "RetiringPrincipal"] = self.retiring
        return found


@dataclass(frozen=True, slots=True)
class CreatedGrant:
    """The result of creating a grant.

    Attributes:
        key_arn: The ARN of the key.
        grant: The grant.
        token: The grant token. With it, the grantee can use the grant before the grant has reached
            all of KMS. KMS documents that the token is not secret: only the grantee can use it.
        existed: Whether the grant existed before. None if the caller has no permission to list
            grants.
    """

    key_arn: str
    grant: Grant
    token: str = field(repr=False)
    existed: bool | None


class KeyGrants:
    """Creates, lists, revokes and retires the grants of keys. Keys are named by their ARNs.

    Args:
        kms: Sends the requests.

    Raises from every method:
        KeyUnavailableError: The key or the grant does not exist, or KMS refused.
        StorageError: KMS could not be reached.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms

    def list(self, arn: str) -> tuple[Grant, ...]:
        """Return the grants of a key."""
        return tuple(map(_grant, self._kms.pages("list_grants", arn, "Grants", KeyId=arn)))

    def create(self, arn: str, wanted: GrantRequest) -> CreatedGrant:
        """Create a grant.

        If a grant with the same name and the same rights exists, return this grant instead.

        Raises:
            ConfigError: KMS has no such operation.
            KeyUnavailableError: KMS refused, or a grant of that name has other rights. Nothing was
                changed.
        """
        self._check_operations(arn, wanted.operations)
        before = self._named(arn, wanted)
        # The name makes it safe to repeat the request after a lost reply: for a request with
        # identical parameters, KMS returns the first grant. The order of the operations counts too,
        # so the operations of an existing grant are sent in the order that it has.
        operations = before[0].operations if before else tuple(sorted(set(wanted.operations)))
        arguments = replace(wanted, operations=operations).arguments()
        reply = patiently(lambda: self._kms.ask("create_grant", arn, KeyId=arn, **arguments))
        made = replace(wanted.as_grant, id=str(reply["GrantId"]))
        earlier = None if before is None else {each.id: each for each in before}.get(made.id)
        existed = None if before is None else earlier is not None
        return CreatedGrant(arn, earlier or made, str(reply["GrantToken"]), existed)

    def find(self, arn: str, reference: str) -> Grant:
        """Return the grant with this id.

        If there is no such id, return the only grant with this name.

        Raises:
            KeyUnavailableError: There is no such grant.
            ConfigError: Several grants have the name.
        """
        grants = self.list(arn)
        found = [each for each in grants if each.id == reference]
        found = found or [each for each in grants if each.name == reference]
        if not found:
            raise KeyUnavailableError(
                f"{arn} has no grant {reference}.", hint=f"List them: s3crypt keys grants {arn}"
            )
        if len(found) > 1:
            ids = ", ".join(each.id for each in found)
            raise ConfigError(
                f"{arn} has {len(found)} grants named {reference}.", hint=f"Give an id: {ids}"
            )
        return found[0]

    def revoke(self, arn: str, grant_id: str) -> None:
        """Revoke a grant. The caller must administer the key (permission kms:RevokeGrant)."""
        look = self._look_for_end(arn, grant_id)
        self._kms.ask("revoke_grant", arn, look=look, KeyId=arn, GrantId=grant_id)

    def retire(self, arn: str, grant_id: str) -> None:
        """Retire a grant. The grant itself gives the caller this right.

        It gives the right to the retiring principal, to a grantee with the operation RetireGrant,
        and to the account in which the grant was made.

        Raises:
            ConfigError: The key is not named by its ARN. KMS requires the ARN here.
        """
        if not arn.startswith("arn:") or ":key/" not in arn:
            raise ConfigError(
                f"{arn} is not the ARN of a key. KMS needs the key's ARN to retire a grant.",
                hint=f"Show the ARN: s3crypt keys show {arn}",
            )
        look = self._look_for_end(arn, grant_id)
        self._kms.ask("retire_grant", arn, look=look, KeyId=arn, GrantId=grant_id)

    def retire_by_token(self, token: str) -> None:
        """Retire the grant with this token, in the session's Region."""
        self._kms.ask("retire_grant", "the grant of this token", GrantToken=token)

    def _named(self, arn: str, wanted: GrantRequest) -> tuple[Grant, ...] | None:
        """Return the existing grants with the wanted name.

        Return None if the caller has no permission to list grants and gave no name.

        A computed name can be used without the list, because a grant with other rights cannot have
        this name. A name that the caller gave may belong to another grant, so it needs the list.
        """
        try:
            grants = patiently(lambda: self.list(arn))
        except KeyUnavailableError as error:
            if error.code != "AccessDeniedException":
                raise
            if wanted.name is None:
                return None
            raise retold(
                error,
                f"{arn}: the key's grants cannot be listed, so a grant named {wanted.name} may "
                f"exist already: {error}",
                "Nothing was created. Ask for the permission kms:ListGrants, which a named grant "
                "needs.",
            ) from error.__cause__
        named = tuple(each for each in grants if each.name == wanted.as_grant.name)
        for each in named:
            _check_same(arn, each, wanted.as_grant)
        return named

    def _check_operations(self, arn: str, operations: Sequence[str]) -> None:
        known = (
            self._kms.client(arn).meta.service_model.shape_for("GrantOperation").metadata["enum"]
        )
        if not operations:
            raise ConfigError(
                "A grant needs at least one operation.", hint="Name one, such as Decrypt."
            )
        for each in operations:
            if each not in known:
                meant = [name for name in known if name.lower() == each.lower()]
                raise ConfigError(
                    f"KMS has no operation {each!r} for grants.",
                    hint=f"Write {meant[0] if meant else ', '.join(sorted(known))}.",
                )

    def _look_for_end(self, arn: str, grant_id: str) -> Any:
        def look(attempts: Attempts) -> Reply | None:
            # If the grant no longer exists at the second attempt, the first attempt has ended it,
            # although its reply was lost.
            client, request = self._kms.client(arn), {"KeyId": arn}
            found: Reply = {"Truncated": True}
            while found.get("Truncated"):
                found = call(client, "list_grants", request, arn, within=attempts, is_look=True)
                if grant_id in {each["GrantId"] for each in found["Grants"]}:
                    return None
                request = {"KeyId": arn, "Marker": found.get("NextMarker", "")}
            return {}

        return look


def is_service(principal: str) -> bool:
    """Return whether a principal is the name of a service, such as `logs.amazonaws.com`."""
    return _SERVICE.fullmatch(principal) is not None


def _check_same(arn: str, existing: Grant, wanted: Grant) -> None:
    if existing.rights == wanted.rights:
        return
    raise KeyUnavailableError(
        f"{arn}: the grant {existing.id} has the name {existing.name} already, with other rights: "
        f"{existing.words}; wanted: {wanted.words}. Nothing was created.",
        hint="Give the new grant another name, or revoke the old one first:"
        f" s3crypt keys revoke-grant {arn} {existing.id}",
    )


def _given(constraints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constraints that restrict a grant. KMS ignores empty constraints."""
    return {name: value for name, value in constraints.items() if value}


def _check_principal(principal: object) -> None:
    is_text = isinstance(principal, str)
    if is_text and (_PRINCIPAL.fullmatch(str(principal)) or is_service(str(principal))):
        return
    raise ConfigError(
        f"{principal!r} is neither the ARN of an IAM principal nor the name of a service.",
        hint="Give arn:aws:iam::ACCOUNT:role/NAME, arn:aws:iam::ACCOUNT:root or"
        " NAME.amazonaws.com.",
    )


def _check_service(wanted: GrantRequest) -> None:
    if not wanted.constraints.get("SourceArn"):
        raise ConfigError(
            f"A grant to the service {wanted.grantee} needs a SourceArn.",
            hint="Name the resource for which the service uses the key (control S3CRYPT.13).",
        )
    if wanted.retiring is None:
        raise ConfigError(
            f"A grant to the service {wanted.grantee} needs a retiring principal.",
            hint="Name the ARN or service that may retire the grant; KMS requires it.",
        )


def _check_constraints(constraints: Mapping[str, Any]) -> None:
    unknown = sorted(set(constraints) - {*_CONTEXTS, "SourceArn"})
    if unknown:
        raise ConfigError(f"KMS has no grant constraint {unknown[0]}.")
    for name in _CONTEXTS:
        pairs = constraints.get(name) or {}
        if not all(isinstance(text, str) for pair in pairs.items() for text in pair):
            raise ConfigError(f"{name}: names and values must be text.")
        if len(pairs) > _MAX_PAIRS:
            raise ConfigError(f"{name} has at most {_MAX_PAIRS} pairs, not {len(pairs)}.")
    source = constraints.get("SourceArn")
    if source and not _SOURCE_ARN.fullmatch(source):
        raise ConfigError(
            f"{source!r} is not the ARN of a resource with an account.",
            hint="KMS requires the account in the ARN: arn:aws:SERVICE:REGION:ACCOUNT:NAME.",
        )


def _grant(entry: Mapping[str, Any]) -> Grant:
    service = entry.get("GranteeServicePrincipal")
    grantee = str(service or entry.get("GranteePrincipal") or "")
    created = entry.get("CreationDate")
    return Grant(
        id=str(entry["GrantId"]),
        grantee=grantee,
        # For some older grants to services, KMS returns the service as a plain principal.
        is_service=bool(service) or grantee.endswith((".amazonaws.com", ".amazonaws.com.cn")),
        operations=tuple(entry.get("Operations") or ()),
        constraints=dict(entry.get("Constraints") or {}),
        created=None if created is None else created.astimezone(UTC),
        name=str(entry.get("Name") or ""),
        retiring=entry.get("RetiringServicePrincipal") or entry.get("RetiringPrincipal"),
    )
