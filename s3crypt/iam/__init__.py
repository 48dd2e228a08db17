# SPDX-License-Identifier: Apache-2.0
"""Creates and updates in IAM the roles of a bucket's users, and the group `Auditors`.

`team_of` returns the wanted roles and group. `RoleManager.plan` returns the changes that are needed
in IAM, and `RoleManager.make` makes these changes. The policies of the roles are in
`s3crypt.policy`.

This package changes only roles and groups that s3crypt has made: a role must have the tag
`s3crypt`, and the group must be below the path `/s3crypt/`, because groups have no tags.
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
