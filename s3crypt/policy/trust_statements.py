# SPDX-License-Identifier: Apache-2.0
"""The trust policy of a role: the principals that may assume the role."""

from .documents import Condition, Document, Kind, Principal, Statement, check_size
from .scope import Role, Scope, provider_host
from .statements import allow, when

_SIGN_IN = "https://signin.aws.amazon.com/saml"


def trust_policy(role: Role, scope: Scope) -> Document:
    """Return the trust policy of a role.

    Without an identity provider, a principal of the account may assume the role if its own policies
    allow it; for the role of the security engineer, it must also have signed in with MFA. With an
    identity provider, people assume roles only through the provider. The rotator's role is for a
    machine, so a principal of the account assumes it in both cases.

    Raises:
        ConfigError: The policy is longer than AWS accepts.
    """
    if scope.identity_provider and role is not Role.ROTATOR:
        statement = _federated(scope, scope.identity_provider)
    else:
        statement = _account(role, scope)
    document = Document((statement,))
    check_size(document, Kind.TRUST)
    return document


def _account(role: Role, scope: Scope) -> Statement:
    conditions: list[Condition] = []
    if role is Role.SECURITY_ENGINEER:
        conditions.append(when("Bool", "aws:MultiFactorAuthPresent", "true"))
    if scope.env:
        conditions.append(when("StringEquals", "aws:PrincipalTag/env", scope.env))
    account = (Principal("AWS", scope.root),)
    return allow("AssumeRole", ("sts:AssumeRole",), (), *conditions, principals=account)


def _federated(scope: Scope, provider: str) -> Statement:
    host = provider_host(provider)
    if host is None:
        action = "sts:AssumeRoleWithSAML"
        conditions = [when("StringEquals", "SAML:aud", _SIGN_IN)]
    else:
        action = "sts:AssumeRoleWithWebIdentity"
        conditions = [when("StringEquals", f"{host}:aud", scope.audience or "")]
        if scope.subject:
            conditions.append(when("StringLike", f"{host}:sub", scope.subject))
    federated = (Principal("Federated", provider),)
    return allow("AssumeRole", (action,), (), *conditions, principals=federated)
