# SPDX-License-Identifier: Apache-2.0
"""The roles by which people share a bucket, and the group `Auditors`, made in IAM.

`team_of` says what is wanted, `RoleManager.plan` what IAM lacks of it, and `RoleManager.make` makes
that. What each role may do is decided in `s3crypt.policy`.

This package changes nothing that s3crypt has not made: a role must have the tag `s3crypt`, and the
group must be below the path `/s3crypt/`, because groups have no tags.
"""

from .manager import RoleManager
from .plan import GROUP, PATH, TAG, Change, Plan, Team, WantedGroup, WantedRole, team_of

__all__ = [
    "GROUP",
    "PATH",
    "TAG",
    "Change",
    "Plan",
    "RoleManager",
    "Team",
    "WantedGroup",
    "WantedRole",
    "team_of",
]
