# SPDX-License-Identifier: Apache-2.0
"""Plans the changes of roles, groups and policies in IAM, each with a command that undoes it.

This module makes no request. `manager` reads the state of IAM and makes the changes.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from s3crypt.command_lines import aws
from s3crypt.errors import ConfigError
from s3crypt.operations import IAMOperation
from s3crypt.policy import Document, Kind, Role, Scope, check_size, iam_policy, trust_policy

PATH = "/s3crypt/"
"""The path of the group that s3crypt makes. It marks the group, because groups have no tags."""

TAG = "s3crypt"
"""The name of the tag that marks a role of s3crypt. Its value is the duty, such as `writer`."""

GROUP = "Auditors"
"""The name of the group whose users have the policy of the role `auditor`."""

# The policy's name does not contain a bucket: an auditor's policy is about all buckets, so the
# group needs only one policy. A role that several buckets share has a policy for each bucket.
_GROUP_POLICY = "s3crypt-auditor"

_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class WantedRole:
    """The wanted state of a role in IAM.

    Attributes:
        role: The duty that s3crypt assigns to the role.
        path: The role's path in IAM, which begins and ends with a slash.
        name: The role's name in IAM.
        policy_name: The name of the inline policy.
        trust: The trust policy.
        policy: The inline policy.
        tags: The tags, including the tag that marks the role as s3crypt's.
    """

    role: Role
    path: str
    name: str
    policy_name: str
    trust: Document
    policy: Document
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WantedGroup:
    """The wanted state of a group in IAM: below `PATH`, with one inline policy of s3crypt.

    Attributes:
        name: The name of the group.
        policy_name: The name of the inline policy.
        policy: The inline policy.
    """

    name: str
    policy_name: str
    policy: Document


@dataclass(frozen=True, slots=True)
class Team:
    """The wanted roles and group of the people who share a bucket.

    Attributes:
        roles: The roles.
        group: The group of the auditors, or None if no role needs it.
    """

    roles: tuple[WantedRole, ...]
    group: WantedGroup | None


@dataclass(frozen=True, slots=True)
class FoundRole:
    """The present state of a role in IAM.

    Attributes:
        trust: The trust policy.
        policy: The inline policy with the wanted name, or None.
        tags: All tags of the role.
        path: The path of the role in IAM.
        others: The names of the other inline policies, and the ARNs of the attached policies.
    """

    trust: Document
    policy: Document | None
    tags: Mapping[str, str]
    path: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundGroup:
    """The present state of a group in IAM. The attributes mean the same as in `FoundRole`."""

    path: str
    policy: Document | None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One request that changes IAM.

    Attributes:
        subject: The changed role or group, such as `role acme-writer`.
        action: The kind of change, such as `create`, `put the policy` or `replace the policy`.
        before: The policy document that is replaced, or None.
        after: The policy document that is written, or None.
        operation: The request's operation.
        arguments: The request's arguments.
        undo: The line of the AWS command line interface that undoes the change. To undo several
            changes, the lines must be run in the reverse order of the changes.
    """

    subject: str
    action: str
    operation: IAMOperation
    arguments: Mapping[str, Any]
    undo: str
    before: Document | None = None
    after: Document | None = None

    @property
    def replaces(self) -> bool:
        """Whether the change overwrites an existing policy."""
        return self.before is not None


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that bring IAM to the wanted state, in the order in which they are made.

    Attributes:
        team: The wanted roles and group.
        changes: The changes; empty if IAM already is in the wanted state.
        remarks: Sentences about policies that are not s3crypt's and stay unchanged.
    """

    team: Team
    changes: tuple[Change, ...]
    remarks: tuple[str, ...] = field(default=())


def team_of(scope: Scope, roles: Iterable[Role]) -> Team:
    """Return the roles of a bucket, and the group `Auditors` if `auditor` is among the roles.

    Args:
        scope: The bucket, the keys, the conditions of the policies, and the ARNs of the roles.
        roles: The wanted duties; duplicates are ignored.

    Raises:
        ConfigError: IAM does not accept a name or the length of a document, a role belongs to
            another account, or the scope lacks a value that a policy needs.
    """
    policy_name = f"s3crypt-{scope.bucket}"
    chosen = tuple(dict.fromkeys(roles))
    wanted = tuple(_wanted(role, scope, policy_name) for role in chosen)
    if Role.AUDITOR not in chosen:
        return Team(wanted, None)
    policy = iam_policy(Role.AUDITOR, scope)
    check_size(policy, Kind.GROUP)
    return Team(wanted, WantedGroup(GROUP, _GROUP_POLICY, policy))


def plan_of(team: Team, roles: Mapping[str, FoundRole | None], group: FoundGroup | None) -> Plan:
    """Return the changes that bring the roles and the group in IAM to the wanted state.

    Args:
        team: The wanted roles and group.
        roles: The present roles by the names of the wanted roles; None for a missing role.
        group: The present group, or None.

    Raises:
        ConfigError: A role or group that s3crypt has not made has one of the names, or a role has
            another path than the wanted path.
    """
    pairs = [(wanted, roles[wanted.name]) for wanted in team.roles]
    # All names are checked before the first change is planned: a refusal thus leaves no partial
    # plan.
    for wanted, found in pairs:
        if found is not None:
            _check_is_ours(wanted, found)
    if team.group is not None and group is not None:
        _check_group_is_ours(team.group, group)
    changes = [change for wanted, found in pairs for change in _of_role(wanted, found)]
    remarks = [line for wanted, found in pairs for line in _others(f"role {wanted.name}", found)]
    if team.group is not None:
        changes += _of_group(team.group, group)
        remarks += _others(f"group {team.group.name}", group)
    return Plan(team, tuple(changes), tuple(remarks))


def _wanted(role: Role, scope: Scope, policy_name: str) -> WantedRole:
    path, name = _path_and_name(role, scope)
    trust, policy = trust_policy(role, scope), iam_policy(role, scope)
    check_size(trust, Kind.TRUST)
    check_size(policy, Kind.ROLE)
    tags = {TAG: role.value, **({"env": scope.env} if scope.env else {})}
    return WantedRole(role, path, name, policy_name, trust, policy, tags)


def _path_and_name(role: Role, scope: Scope) -> tuple[str, str]:
    """Return the path and the name of the scope's only role for a duty.

    Raises:
        ConfigError: The scope has several roles for the duty, or the role belongs to another
            account, or its name is not valid.
    """
    arn, *others = scope.arns_of(role)
    _, _, _, _, account, resource = arn.split(":", 5)
    path, _, name = resource.removeprefix("role").rpartition("/")
    if others or account != scope.account:
        raise ConfigError(
            f"The {role.value} is {', '.join((arn, *others))}. Only one role per duty is made in "
            f"the account {scope.account}.",
            hint="Name one role of that account, or omit this role.",
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name of a role: IAM takes up to 64 letters, digits and _+=,.@-.",
            hint="Name the ARN of a role with a shorter name.",
        )
    return f"{path}/", name


def _check_is_ours(wanted: WantedRole, found: FoundRole) -> None:
    mark = found.tags.get(TAG)
    if mark == wanted.role.value:
        _check_path(wanted, found)
        return
    what = f"s3crypt's role {mark}" if mark else "a role that s3crypt did not make"
    raise ConfigError(
        f"The role {wanted.name} exists and is {what}: it has no tag {TAG}={wanted.role.value}. "
        "Nothing was changed.",
        hint=(
            "Name the ARN of another role. Or, if s3crypt may manage this role, tag it: "
            f"{_tagging(wanted.name, {TAG: wanted.role.value})}"
        ),
    )


def _check_path(wanted: WantedRole, found: FoundRole) -> None:
    """Refuse a role with another path, and thus another ARN, than in bucket and key policies."""
    if found.path != wanted.path:
        raise ConfigError(
            f"The role {wanted.name} exists, and its path is {found.path}, not {wanted.path}. "
            "Nothing was changed.",
            hint=(
                "If this role is meant, give its ARN, which all policies then name: it ends in "
                f":role{found.path}{wanted.name}."
            ),
        )


def _check_group_is_ours(wanted: WantedGroup, found: FoundGroup) -> None:
    if found.path != PATH:
        raise ConfigError(
            f"The group {wanted.name} exists and is not s3crypt's: its path is {found.path}, not "
            f"{PATH}. Nothing was changed.",
            hint="If s3crypt may manage this group, move it: "
            + aws("iam", "update_group", None, GroupName=wanted.name, NewPath=PATH),
        )


def _of_role(wanted: WantedRole, found: FoundRole | None) -> Iterator[Change]:
    """Yield the changes of one role: the role itself, its tags, its trust, its policy."""
    subject = f"role {wanted.name}"
    if found is None:
        yield Change(
            subject,
            "create",
            "create_role",
            {
                "RoleName": wanted.name,
                "Path": wanted.path,
                "Description": f"s3crypt: {wanted.role.value}",
                "AssumeRolePolicyDocument": wanted.trust.render(indent=None),
                "Tags": _tag_list(wanted.tags),
            },
            aws("iam", "delete_role", None, RoleName=wanted.name),
            after=wanted.trust,
        )
    else:
        yield from _of_tags(wanted, found)
        if found.trust.meaning != wanted.trust.meaning:
            yield Change(
                subject,
                "replace the trust policy",
                "update_assume_role_policy",
                {"RoleName": wanted.name, "PolicyDocument": wanted.trust.render(indent=None)},
                _trusting(wanted.name, found.trust),
                found.trust,
                wanted.trust,
            )
    yield from _of_policy(subject, "role", wanted, found.policy if found else None)


def _of_tags(wanted: WantedRole, found: FoundRole) -> Iterator[Change]:
    differing = {
        name: value for name, value in wanted.tags.items() if found.tags.get(name) != value
    }
    if differing:
        told = ", ".join(f"{name}={value}" for name, value in differing.items())
        before = {name: found.tags[name] for name in differing if name in found.tags}
        added = [name for name in differing if name not in found.tags]
        lines = [_tagging(wanted.name, before)] if before else []
        if added:
            keys = " ".join(added)
            role = shlex.quote(wanted.name)
            lines.append(f"aws iam untag-role --role-name {role} --tag-keys {keys}")
        arguments = {"RoleName": wanted.name, "Tags": _tag_list(differing)}
        undo = " && ".join(lines)
        yield Change(f"role {wanted.name}", f"tag {told}", "tag_role", arguments, undo)


def _of_group(wanted: WantedGroup, found: FoundGroup | None) -> Iterator[Change]:
    subject = f"group {wanted.name}"
    if found is None:
        undo = aws("iam", "delete_group", None, GroupName=wanted.name)
        arguments = {"GroupName": wanted.name, "Path": PATH}
        yield Change(subject, "create", "create_group", arguments, undo)
    yield from _of_policy(subject, "group", wanted, found.policy if found else None)


def _of_policy(
    subject: str, kind: str, wanted: WantedRole | WantedGroup, before: Document | None
) -> Iterator[Change]:
    """Yield the change of an inline policy. Roles and groups differ only in the operation names."""
    if before is not None and before.meaning == wanted.policy.meaning:
        return
    named = {f"{kind.capitalize()}Name": wanted.name, "PolicyName": wanted.policy_name}
    if before is None:
        action, undo = "put the policy", aws("iam", f"delete_{kind}_policy", None, **named)
    else:
        action = "replace the policy"
        text = before.render(indent=None)
        undo = aws("iam", f"put_{kind}_policy", None, **named, PolicyDocument=text)
    operation: IAMOperation = "put_role_policy" if kind == "role" else "put_group_policy"
    arguments = {
        **named,
        "PolicyDocument": wanted.policy.render(indent=None),
    }
    yield Change(subject, action, operation, arguments, undo, before, wanted.policy)


def _others(subject: str, found: FoundRole | FoundGroup | None) -> list[str]:
    if found is None or not found.others:
        return []
    return [f"The {subject} has other policies, which are kept: {', '.join(found.others)}."]


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]


def _tagging(role: str, tags: Mapping[str, str]) -> str:
    return aws("iam", "tag_role", None, RoleName=role, Tags=_tag_list(tags))


def _trusting(role: str, trust: Document) -> str:
    text = trust.render(indent=None)
    return aws("iam", "update_assume_role_policy", None, RoleName=role, PolicyDocument=text)
