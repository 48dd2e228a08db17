# SPDX-License-Identifier: Apache-2.0
"""Plans and undo commands for roles and the group `Auditors`, also run in the sandbox's IAM."""

from __future__ import annotations

import json
import shlex
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from botocore import xform_name
from relay import Answer, Asked, relaying

from s3crypt import ConfigError, ConflictError, StorageError
from s3crypt.iam import PATH, TAG, Change, Plan, RoleManager, Team, WantedGroup, WantedRole
from s3crypt.iam.plan import FoundGroup, FoundRole, plan_of, team_of
from s3crypt.policy import Document, Role, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import boto3

POLICY_NAME = "s3crypt-acme"
KEY = "arn:aws:kms:us-east-1:111122223333:key/12345678-1234-1234-1234-123456789012"


def _policy(action: str, sid: str = "S3cryptRead") -> Document:
    statement = {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": "arn:aws:s3:::acme/*"}
    return Document.parse({"Version": "2012-10-17", "Statement": [statement]})


def _trust(account: str = "123456789012") -> Document:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "sts:AssumeRole",
    }
    return Document.parse({"Version": "2012-10-17", "Statement": [statement]})


def _role(role: Role = Role.READER, *, beginning: str = "acme", **other: Any) -> WantedRole:
    wanted = {
        "path": PATH,
        "name": f"{beginning}-{role.value}",
        "policy_name": POLICY_NAME,
        "trust": _trust(),
        "policy": _policy("s3:GetObject"),
        "tags": {TAG: role.value},
    }
    return WantedRole(role, **{**wanted, **other})


def _group(name: str = "Auditors") -> WantedGroup:
    return WantedGroup(name, POLICY_NAME, _policy("s3:GetBucketPolicy"))


def _found(wanted: WantedRole, **other: Any) -> FoundRole:
    values = {"trust": wanted.trust, "policy": wanted.policy, "tags": wanted.tags}
    values["path"] = wanted.path
    return FoundRole(**{**values, **other})


def _told(plan: Plan) -> list[str]:
    return [f"{change.subject}: {change.action}" for change in plan.changes]


def _of(wanted: WantedRole, found: FoundRole | None) -> Plan:
    return plan_of(Team((wanted,), None), {wanted.name: found}, None)


def test_a_role_that_is_absent_is_created_before_its_policy() -> None:
    """A role is created before its policy, because IAM needs an existing role."""
    plan = _of(_role(), None)
    assert _told(plan) == ["role acme-reader: create", "role acme-reader: put the policy"]
    assert not any(change.replaces for change in plan.changes)


def test_a_role_that_is_as_wanted_needs_no_change() -> None:
    """A role that equals the wanted role needs no change, even if IAM formats it differently."""
    wanted = _role()
    spelt = json.loads(wanted.trust.render())
    spelt["Statement"][0]["Principal"] = {"AWS": ["123456789012"]}
    found = _found(wanted, trust=Document.parse(spelt))
    assert _of(wanted, found) == Plan(Team((wanted,), None), ())


@pytest.mark.parametrize(
    ("found", "action"),
    [
        ({"policy": None}, "put the policy"),
        ({"policy": _policy("s3:*")}, "replace the policy"),
        ({"trust": _trust("111122223333")}, "replace the trust policy"),
    ],
)
def test_what_differs_is_changed(found: dict[str, Any], action: str) -> None:
    """Each difference is one change, and the rest of the role stays as it is."""
    (change,) = _of(_role(), _found(_role(), **found)).changes
    assert change.action == action
    assert change.replaces is (change.before is not None) is ("replace" in action)


def test_a_tag_that_differs_is_written_and_restored() -> None:
    """The undo command restores the tag's old value and removes the new tag."""
    wanted = _role(tags={TAG: "reader", "env": "test", "team": "a"})
    found = _found(wanted, tags={TAG: "reader", "env": "dev", "cost": "7"})
    (change,) = _of(wanted, found).changes
    assert change.action == "tag env=test, team=a"
    assert '"Value": "dev"' in change.undo
    assert change.undo.endswith("aws iam untag-role --role-name acme-reader --tag-keys team")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({}, "a role that s3crypt did not make"),
        ({"Name": "reader"}, "a role that s3crypt did not make"),
        ({TAG: "writer"}, "s3crypt's role writer"),
    ],
)
def test_a_role_without_our_tag_is_refused(tags: dict[str, str], reason: str) -> None:
    """A role without s3crypt's tag is refused, even if it has the wanted name."""
    with pytest.raises(ConfigError, match=reason) as refused:
        _of(_role(), _found(_role(), tags=tags))
    assert "Nothing was changed" in str(refused.value)
    assert "tag-role" in str(refused.value.hint)


def test_a_role_of_another_path_is_refused_unless_it_is_the_wanted_one() -> None:
    """A role with another path is refused: policies of buckets and keys name it with its path."""
    wanted = _role()
    with pytest.raises(ConfigError, match=r"its path is /, not /s3crypt/\. Nothing was") as refused:
        _of(wanted, _found(wanted, path="/"))
    assert ":role/acme-reader" in str(refused.value.hint)
    assert _of(_role(path="/"), _found(wanted, path="/")).changes == ()


def test_a_group_of_another_path_is_refused() -> None:
    """A group with another path is refused: groups have no tags, so the path marks our groups."""
    wanted = _group()
    team = Team((), wanted)
    with pytest.raises(ConfigError, match="its path is /"):
        plan_of(team, {}, FoundGroup("/", wanted.policy))
    assert plan_of(team, {}, FoundGroup(PATH, wanted.policy)).changes == ()


def test_policies_of_others_stay_and_are_named() -> None:
    """Policies that other tools attached to our role stay, and a remark names them."""
    admin = "arn:aws:iam::aws:policy/AdministratorAccess"
    plan = _of(_role(), _found(_role(), others=("extra", admin)))
    assert plan.changes == ()
    assert plan.remarks == (
        f"The role acme-reader has other policies, which are kept: extra, {admin}.",
    )


def _scope(**other: Any) -> Scope:
    values: dict[str, Any] = {
        "account": "111122223333",
        "region": "us-east-1",
        "bucket": "acme",
        "key_arns": (KEY,),
    }
    return Scope(**{**values, **other})


def test_a_team_has_the_roles_asked_for() -> None:
    """A role that is requested twice is made once. Without the auditor role no group is made."""
    team = team_of(_scope(), [Role.WRITER, Role.READER, Role.WRITER])
    assert [role.name for role in team.roles] == ["acme-writer", "acme-reader"]
    assert team.group is None


def test_auditors_and_the_role_auditor_may_do_the_same() -> None:
    """The group `Auditors` has the same policy as the role auditor."""
    team = team_of(_scope(), [Role.AUDITOR])
    assert team.group is not None
    assert team.group.policy == team.roles[0].policy


def test_a_role_is_made_where_policies_name_it() -> None:
    """A role has the path and name of the ARN in the policies of bucket and key."""
    arn = "arn:aws:iam::111122223333:role/data/teams/loader"
    (role,) = team_of(_scope(role_arns={Role.WRITER: (arn,)}), [Role.WRITER]).roles
    assert (role.path, role.name) == ("/data/teams/", "loader")
    (role,) = team_of(_scope(role_arns={Role.WRITER: (arn,)}), [Role.READER]).roles
    assert (role.path, role.name) == (PATH, "acme-reader")


@pytest.mark.parametrize(
    ("arns", "reason"),
    [
        (
            ["arn:aws:iam::123456789012:role/writer"],
            "Only one role per duty is made in the account 111122223333",
        ),
        (["arn:aws:iam::111122223333:role/a", "arn:aws:iam::111122223333:role/b"], "Only one role"),
        ([f"arn:aws:iam::111122223333:role/{'a' * 65}"], "is no name of a role"),
    ],
)
def test_a_role_that_cannot_be_made_is_refused(arns: list[str], reason: str) -> None:
    """A role that cannot be made is refused before any request."""
    with pytest.raises(ConfigError, match=reason):
        team_of(_scope(role_arns={Role.WRITER: tuple(arns)}), [Role.WRITER])


# --- Over HTTP --------------------------------------------------------------------------------


@pytest.fixture
def iam(session: boto3.Session) -> Any:
    """Return a raw IAM client."""
    return session.client("iam")


@pytest.fixture
def team() -> Team:
    """Return two roles and a group with unique names."""
    mark = f"t{uuid.uuid4().hex[:12]}"
    roles = (_role(beginning=mark), _role(Role.WRITER, beginning=mark))
    return Team(roles, _group(f"Auditors-{mark}"))


def _made(manager: RoleManager, team: Team) -> list[Change]:
    return list(manager.make(manager.plan(team)))


def test_a_team_is_made_and_a_second_run_changes_nothing(iam: Any, team: Team) -> None:
    """Roles are made with path and tags, the group with its path; a second run changes nothing."""
    manager = RoleManager()
    assert len(_made(manager, team)) == 6
    assert manager.plan(team).changes == ()
    role = iam.get_role(RoleName=team.roles[0].name)["Role"]
    assert role["Path"] == PATH
    assert role["Tags"] == [{"Key": TAG, "Value": "reader"}]
    assert team.group is not None
    assert iam.get_group(GroupName=team.group.name)["Group"]["Path"] == PATH


def test_a_team_that_was_left_half_made_is_finished(team: Team) -> None:
    """If a run stopped between a role and its policy, the next run makes the rest."""
    manager = RoleManager()
    making = manager.make(manager.plan(team))
    next(making)
    making.close()
    rest = _told(manager.plan(team))
    assert rest[0] == f"role {team.roles[0].name}: put the policy"
    assert len(rest) == 5
    assert len(_made(manager, team)) == 5


def test_a_name_that_is_taken_is_refused_before_anything_is_made(iam: Any, team: Team) -> None:
    """If the second role's name is taken, the first role is not made either."""
    taken = team.roles[1].name
    iam.create_role(RoleName=taken, AssumeRolePolicyDocument=_trust().render())
    with pytest.raises(ConfigError, match=taken):
        RoleManager().plan(team)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role(RoleName=team.roles[0].name)


def test_a_failure_in_the_middle_says_what_exists(team: Team) -> None:
    """If a change fails, the note of the error names the changes that were already made."""
    broken = _policy("s3:GetObject", sid="not alphanumeric!")
    other = _role(Role.WRITER, beginning=team.roles[0].name, policy=broken)
    wanted = Team((team.roles[0], other), None)
    manager = RoleManager()
    with pytest.raises(StorageError) as failed:
        _made(manager, wanted)
    (note,) = failed.value.__notes__
    assert note.startswith("Of 4 changes 3 were made: ")
    assert f"role {team.roles[0].name} (put the policy)" in note


def test_a_change_by_somebody_else_meanwhile_refuses_all(iam: Any, team: Team) -> None:
    """If a role was created after the plan was made, nothing is changed."""
    manager = RoleManager()
    plan = manager.plan(team)
    name = team.roles[0].name
    trust = _trust().render()
    iam.create_role(RoleName=name, Path=PATH, AssumeRolePolicyDocument=trust, Tags=[_tag()])
    with pytest.raises(ConflictError, match="this command changed nothing"):
        list(manager.make(plan))
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == []


def _tag() -> dict[str, str]:
    return {"Key": TAG, "Value": "reader"}


def test_the_lines_take_every_change_back(iam: Any, team: Team) -> None:
    """The undo commands in reverse order restore the previous roles, group and policies."""
    manager = RoleManager()
    changes = _made(manager, team)
    before = manager.plan(team)
    other = _role(
        beginning=team.roles[0].name.rpartition("-")[0],
        policy=_policy("s3:ListBucket"),
        trust=_trust("111122223333"),
        tags={TAG: "reader", "env": "test"},
    )
    replaced = _made(manager, Team((other,), None))
    assert len(replaced) == 3
    for change in reversed(replaced):
        _run(iam, change.undo)
    assert manager.plan(team) == before
    for change in reversed(changes):
        _run(iam, change.undo)
    assert len(manager.plan(team).changes) == 6


def _run(iam: Any, line: str) -> None:
    """Execute a command of the AWS command line interface, by calling boto3."""
    for command in line.split(" && "):
        program, service, name, *words = shlex.split(command)
        assert (program, service) == ("aws", "iam")
        method = xform_name("".join(part.capitalize() for part in name.split("-")))
        values = dict(zip(words[::2], words[1::2], strict=True))
        getattr(iam, method)(**{_parameter(key): _value(key, v) for key, v in values.items()})


def _parameter(option: str) -> str:
    return "".join(part.capitalize() for part in option.removeprefix("--").split("-"))


def _value(option: str, text: str) -> Any:
    if option == "--tags":
        return json.loads(text)
    return [text] if option == "--tag-keys" else text


def test_a_role_whose_reply_was_lost_is_found(
    sandbox: Any, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the reply to a creation is lost, the second attempt finds the role by its tag."""
    lost: list[Mapping[str, str]] = []

    def lose(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if b"Action=CreateRole" in asked.body and not lost:
            lost.append(asked.headers)
            return Answer(500)
        return answer

    with relaying(sandbox.endpoint_url, lose) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_IAM", relay.url)
        assert len(_made(RoleManager(), team)) == 6
    assert lost
