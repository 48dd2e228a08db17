# SPDX-License-Identifier: Apache-2.0
"""The sandbox's IAM and STS keep the created entities, and refuse the same requests as AWS."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from sandbox_samples import refusal

if TYPE_CHECKING:
    from conftest import RequestsLog

ACCOUNT = "123456789012"
PATH = "/s3crypt/"
READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::acme/*"}


@pytest.fixture(scope="module")
def iam(session: boto3.Session) -> Any:
    """Return a boto3 client of IAM that does not retry."""
    return session.client("iam", config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture(scope="module")
def sts(session: boto3.Session) -> Any:
    """Return a boto3 client of STS that does not retry."""
    return session.client("sts", config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def name() -> str:
    """Return a unique name."""
    return f"n-{uuid.uuid4()}"


def document(*statements: dict[str, Any]) -> str:
    """Return a policy with these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": [*statements]})


def trust(principal: Any = None, **changed: Any) -> str:
    """Return a trust policy for this principal, or for the account if it is None."""
    principal = principal or {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return document({**statement, **changed})


def role(iam: Any, name: str, **more: Any) -> str:
    """Make a role below PATH. Return its ARN."""
    made = iam.create_role(RoleName=name, Path=PATH, AssumeRolePolicyDocument=trust(), **more)
    return str(made["Role"]["Arn"])


def long_policy(size: int) -> str:
    """Return a policy of `size` characters without white space, which IAM does not count."""
    bare = json.loads(document({**READ, "Sid": ""}))
    bare["Statement"][0]["Sid"] = "x" * (size - len(json.dumps(bare, separators=(",", ":"))))
    return json.dumps(bare, indent=4)


# --- The caller --------------------------------------------------------------------------------


def test_the_caller_is_a_user_of_the_account(iam: Any, sts: Any) -> None:
    """Credentials that the sandbox did not issue belong to the user "sandbox"."""
    said = sts.get_caller_identity()
    assert (said["Account"], said["Arn"]) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/sandbox")
    assert said["UserId"].startswith("AIDA")
    assert iam.get_user()["User"]["Arn"] == said["Arn"]


def test_an_assumed_role_is_the_caller(iam: Any, sts: Any, name: str) -> None:
    """GetCallerIdentity of a session has the role's name without its path, and the role's id."""
    arn = role(iam, name)
    given = sts.assume_role(RoleArn=arn, RoleSessionName="anna")["Credentials"]
    assumed = boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], "us-east-1"
    )
    said = assumed.client("sts").get_caller_identity()
    assert said["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/anna"
    role_id = iam.get_role(RoleName=name)["Role"]["RoleId"]
    assert said["UserId"] == f"{role_id}:anna"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/absent"}, (403, "AccessDenied")),
        ({"RoleSessionName": "a b"}, (400, "ValidationError")),
        ({"DurationSeconds": 7200}, (400, "ValidationError")),
    ],
)
def test_what_sts_refuses(
    iam: Any, sts: Any, name: str, changed: dict[str, Any], expected: tuple[int, str]
) -> None:
    """AssumeRole with an unknown role, a bad session name or a long duration is refused."""
    asked = {"RoleArn": role(iam, name), "RoleSessionName": "anna", **changed}
    assert refusal(sts.assume_role, **asked) == expected


def test_the_log_names_the_operation(iam: Any, requests_log: RequestsLog) -> None:
    """The request log has the operation of an IAM request, which is only in its body."""
    iam.list_roles()
    assert requests_log.list()[-1]["operation"] == "ListRoles"


# --- Roles -------------------------------------------------------------------------------------


def test_a_role_keeps_its_path_tags_and_trust(iam: Any, name: str) -> None:
    """A role's path, tags and trust policy are kept; ListRoles finds it only below its path."""
    tag = {"Key": "s3crypt", "Value": "iam"}
    role(iam, name, Tags=[tag], Description="Reads")
    found = iam.get_role(RoleName=name)["Role"]
    assert found["Arn"] == f"arn:aws:iam::{ACCOUNT}:role{PATH}{name}"
    assert found["AssumeRolePolicyDocument"] == json.loads(trust())
    assert (found["Tags"], found["Description"]) == ([tag], "Reads")
    iam.tag_role(RoleName=name, Tags=[{"Key": "env", "Value": "test"}])
    assert len(iam.list_role_tags(RoleName=name)["Tags"]) == 2
    for prefix, expected in ((PATH, True), ("/other/", False)):
        pages = iam.get_paginator("list_roles").paginate(PathPrefix=prefix)
        names = {each["RoleName"] for page in pages for each in page["Roles"]}
        assert (name in names) is expected


def test_a_roles_trust_is_replaced(iam: Any, name: str) -> None:
    """UpdateAssumeRolePolicy replaces the trust policy, and refuses an invalid one."""
    role(iam, name)
    new = trust({"Service": "s3.amazonaws.com"})
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=new)
    assert iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"] == json.loads(new)
    refused = refusal(iam.update_assume_role_policy, RoleName=name, PolicyDocument="{}")
    assert refused == (400, "MalformedPolicyDocument")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"RoleName": "a b"}, (400, "ValidationError")),
        ({"RoleName": "x" * 65}, (400, "ValidationError")),
        ({"Path": "s3crypt"}, (400, "ValidationError")),
        ({"MaxSessionDuration": 43_201}, (400, "ValidationError")),
        ({"AssumeRolePolicyDocument": "{"}, (400, "MalformedPolicyDocument")),
        ({"AssumeRolePolicyDocument": trust(Resource="*")}, (400, "MalformedPolicyDocument")),
        ({"AssumeRolePolicyDocument": trust(Action="s3:Get*")}, (400, "MalformedPolicyDocument")),
        ({"AssumeRolePolicyDocument": document(READ)}, (400, "MalformedPolicyDocument")),
        (
            {"AssumeRolePolicyDocument": trust({"AWS": f"arn:aws:iam::{ACCOUNT}:role/absent"})},
            (400, "MalformedPolicyDocument"),
        ),
        ({"AssumeRolePolicyDocument": trust(Sid="x" * 2048)}, (409, "LimitExceeded")),
    ],
)
def test_roles_that_are_refused(
    iam: Any, name: str, changed: dict[str, Any], expected: tuple[int, str]
) -> None:
    """CreateRole with an invalid name, path, duration or trust policy is refused."""
    asked = {"RoleName": name, "AssumeRolePolicyDocument": trust(), **changed}
    assert refusal(iam.create_role, **asked) == expected


def test_taken_names_are_refused(iam: Any, name: str) -> None:
    """A name that differs from a taken name only in case is refused."""
    taken = (409, "EntityAlreadyExists")
    role(iam, name)
    iam.create_group(GroupName=name)
    iam.create_user(UserName=name)
    policy = {"PolicyName": name, "PolicyDocument": document(READ)}
    iam.create_policy(**policy)
    asked = {"RoleName": name.upper(), "AssumeRolePolicyDocument": trust()}
    assert refusal(iam.create_role, **asked) == taken
    assert refusal(iam.create_group, GroupName=name.upper()) == taken
    assert refusal(iam.create_user, UserName=name.upper()) == taken
    assert refusal(iam.create_policy, **policy) == taken


def test_absent_entities_are_refused(iam: Any, name: str) -> None:
    """A request for a missing entity gets NoSuchEntity."""
    absent = (404, "NoSuchEntity")
    arn = f"arn:aws:iam::{ACCOUNT}:policy/{name}"
    assert refusal(iam.get_role, RoleName=name) == absent
    assert refusal(iam.get_group, GroupName=name) == absent
    assert refusal(iam.get_user, UserName=name) == absent
    assert refusal(iam.get_policy, PolicyArn=arn) == absent
    role(iam, name)
    assert refusal(iam.get_role_policy, RoleName=name, PolicyName="p") == absent
    assert refusal(iam.attach_role_policy, RoleName=name, PolicyArn=arn) == absent
    assert refusal(iam.detach_role_policy, RoleName=name, PolicyArn=arn) == absent


# --- Policies ----------------------------------------------------------------------------------


def test_an_inline_policy_is_kept(iam: Any, name: str) -> None:
    """A role's inline policy is listed and read back, and prevents the role's deletion."""
    role(iam, name)
    asked = {"RoleName": name, "PolicyName": "p"}
    iam.put_role_policy(**asked, PolicyDocument=document(READ))
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["p"]
    assert iam.get_role_policy(**asked)["PolicyDocument"]["Statement"] == [READ]
    assert refusal(iam.delete_role, RoleName=name) == (409, "DeleteConflict")
    iam.delete_role_policy(**asked)
    iam.delete_role(RoleName=name)


@pytest.mark.parametrize(("kind", "limit"), [("role", 10_240), ("group", 5_120), ("user", 2_048)])
def test_inline_policies_have_a_limit_together(iam: Any, name: str, kind: str, limit: int) -> None:
    """The inline policies of a role, user or group together have a limit, without white space."""
    who = {f"{kind.title()}Name": name}
    more = {"AssumeRolePolicyDocument": trust()} if kind == "role" else {}
    getattr(iam, f"create_{kind}")(**who, **more)
    put = getattr(iam, f"put_{kind}_policy")
    put(**who, PolicyName="a", PolicyDocument=long_policy(limit // 2))
    put(**who, PolicyName="b", PolicyDocument=long_policy(limit // 2))
    asked = {**who, "PolicyName": "b", "PolicyDocument": long_policy(limit // 2 + 1)}
    assert refusal(put, **asked) == (409, "LimitExceeded")


def test_a_managed_policy_has_a_limit(iam: Any, name: str) -> None:
    """A managed policy of 6,144 characters is accepted; one character more is refused."""
    asked = {"PolicyName": name, "PolicyDocument": long_policy(6145)}
    assert refusal(iam.create_policy, **asked) == (409, "LimitExceeded")
    asked["PolicyDocument"] = long_policy(6144)
    iam.create_policy(**asked)


@pytest.mark.parametrize(
    "policy",
    [
        "{",
        "[]",
        document({**READ, "Principal": "*"}),
        document({**READ, "Sid": "not alphanumeric"}),
        document({**READ, "Effect": "Maybe"}),
        document({**READ, "Action": "GetObject"}),
        document({**READ, "Condition": {"StringIs": {"aws:username": "anna"}}}),
        document({"Effect": "Allow", "Action": "s3:GetObject"}),
        document({**READ, "Sid": "Twice"}, {**READ, "Sid": "Twice"}),
        json.dumps({"Statement": [READ]}),
    ],
)
def test_documents_that_are_no_policy(iam: Any, name: str, policy: str) -> None:
    """An invalid document is refused as a managed policy and as an inline policy."""
    malformed = (400, "MalformedPolicyDocument")
    assert refusal(iam.create_policy, PolicyName=name, PolicyDocument=policy) == malformed
    role(iam, name)
    asked = {"RoleName": name, "PolicyName": "p", "PolicyDocument": policy}
    assert refusal(iam.put_role_policy, **asked) == malformed


def test_a_managed_policy_has_versions(iam: Any, name: str) -> None:
    """A managed policy has at most five versions; its default version cannot be deleted alone."""
    made = iam.create_policy(PolicyName=name, Path=PATH, PolicyDocument=document(READ))
    arn = made["Policy"]["Arn"]
    new = document({**READ, "Resource": "arn:aws:s3:::acme/a%2Fb+c&<d>/*"})
    for number in range(2, 6):
        made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=new, SetAsDefault=True)
        assert made["PolicyVersion"]["VersionId"] == f"v{number}"
    refused = refusal(iam.create_policy_version, PolicyArn=arn, PolicyDocument=new)
    assert refused == (409, "LimitExceeded")
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v5"
    listed = iam.list_policy_versions(PolicyArn=arn)
    assert listed["IsTruncated"] is False
    defaults = [each["VersionId"] for each in listed["Versions"] if each["IsDefaultVersion"]]
    assert defaults == ["v5"]
    found = iam.get_policy_version(PolicyArn=arn, VersionId="v5")["PolicyVersion"]
    assert found["Document"] == json.loads(new)
    conflict = (409, "DeleteConflict")
    assert refusal(iam.delete_policy_version, PolicyArn=arn, VersionId="v5") == conflict
    assert refusal(iam.delete_policy, PolicyArn=arn) == conflict


def test_a_policy_is_attached_once(iam: Any, name: str) -> None:
    """Attaching a policy twice changes nothing; an attached policy cannot be deleted."""
    arn = iam.create_policy(PolicyName=name, PolicyDocument=document(READ))["Policy"]["Arn"]
    role(iam, name)
    for _ in range(2):
        iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert attached == [{"PolicyName": name, "PolicyArn": arn}]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert refusal(iam.delete_policy, PolicyArn=arn) == (409, "DeleteConflict")
    iam.detach_role_policy(RoleName=name, PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)


# --- Groups ------------------------------------------------------------------------------------


def test_a_group_is_found_below_its_path(iam: Any, name: str) -> None:
    """Groups are listed below their path. They have no tags, so only the path shows the owner."""
    arn = iam.create_group(GroupName=name, Path=PATH)["Group"]["Arn"]
    iam.create_group(GroupName=f"{name}-other")
    assert arn == f"arn:aws:iam::{ACCOUNT}:group{PATH}{name}"
    below = iam.list_groups(PathPrefix=PATH)
    names = {group["GroupName"] for group in below["Groups"]}
    assert name in names
    assert f"{name}-other" not in names
    assert below["IsTruncated"] is False
    everything = {group["GroupName"] for group in iam.list_groups()["Groups"]}
    assert {name, f"{name}-other"} <= everything


def test_a_group_has_users_and_policies(iam: Any, name: str) -> None:
    """A group cannot be deleted while it has users or policies."""
    conflict, group = (409, "DeleteConflict"), {"GroupName": name}
    iam.create_group(**group)
    iam.create_user(UserName=name)
    iam.add_user_to_group(**group, UserName=name)
    found = iam.get_group(**group)
    assert [user["UserName"] for user in found["Users"]] == [name]
    assert found["IsTruncated"] is False
    assert [each["GroupName"] for each in iam.list_groups_for_user(UserName=name)["Groups"]] == [
        name
    ]
    assert refusal(iam.delete_user, UserName=name) == conflict
    assert refusal(iam.delete_group, **group) == conflict
    iam.remove_user_from_group(**group, UserName=name)
    iam.put_group_policy(**group, PolicyName="p", PolicyDocument=document(READ))
    assert iam.list_group_policies(**group)["PolicyNames"] == ["p"]
    assert iam.get_group_policy(**group, PolicyName="p")["PolicyDocument"]["Statement"] == [READ]
    assert refusal(iam.delete_group, **group) == conflict
    iam.delete_group_policy(**group, PolicyName="p")
    iam.delete_group(**group)


def test_a_group_has_ten_attached_policies_at_most(iam: Any, name: str) -> None:
    """The eleventh policy that is attached to a group is refused."""
    iam.create_group(GroupName=name)
    for number in range(11):
        made = iam.create_policy(PolicyName=f"{name}-{number}", PolicyDocument=document(READ))
        asked = {"GroupName": name, "PolicyArn": made["Policy"]["Arn"]}
        if number < 10:
            iam.attach_group_policy(**asked)
    assert refusal(iam.attach_group_policy, **asked) == (409, "LimitExceeded")
    assert len(iam.list_attached_group_policies(GroupName=name)["AttachedPolicies"]) == 10
