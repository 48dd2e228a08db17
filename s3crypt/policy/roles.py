# SPDX-License-Identifier: Apache-2.0
"""The policies of a team, made from one `Scope`, and their expected decisions.

Each kind of policy has its own module; this module re-exports their functions.
"""

from typing import Final, Literal, TypeAlias

from .bucket_statements import bucket_policy
from .expectations import Documents, Expectation, Part, judged
from .expected_others import of_others
from .expected_roles import of_role
from .identity_statements import check_prefixes, iam_policy
from .key_statements import key_policy, open_key_policy
from .scope import Environment, KeyARN, Mode, Role, Scope
from .trust_statements import trust_policy

__all__ = [
    "OTHERS",
    "Documents",
    "Environment",
    "Expectation",
    "KeyARN",
    "Mode",
    "Part",
    "Role",
    "Scope",
    "Who",
    "bucket_policy",
    "expectations",
    "iam_policy",
    "judged",
    "key_policy",
    "open_key_policy",
    "trust_policy",
]

OTHERS: Final = "others"
"""All callers without a role: administrators, services, replication, anonymous callers."""

Who: TypeAlias = Role | Literal["others"]
"""A role, or `others` for all callers without a role."""


def expectations(who: Who, scope: Scope) -> tuple[Expectation, ...]:
    """Return the requests of a role, or of callers without a role, with the expected decisions.

    Raises:
        ConfigError: An object-auditor has no prefixes.
    """
    if isinstance(who, Role):
        check_prefixes(who, scope)
        return tuple(of_role(who, scope))
    return tuple(of_others(scope))
