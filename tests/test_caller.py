# SPDX-License-Identifier: Apache-2.0
"""The caller's identity, from STS and IAM."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from relay import Answer, Asked, relaying
from written_policies import ACCOUNT, policy

from s3crypt import ConfigError, StorageError
from s3crypt.aws import Clients
from s3crypt.caller import Identity, identify
from s3crypt.policy import Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_iam.client import IAMClient
    from types_boto3_sts.client import STSClient

    from s3crypt.sandbox import Running

_SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/Engineer/ada"
_ROLE = f"arn:aws:iam::{ACCOUNT}:role/"
_SAID = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>{arn}</Arn><UserId>AROAEXAMPLE:ada</UserId>
<Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"""
_OF_ROLE = """<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role>
<Arn>{arn}</Arn><RoleName>Engineer</RoleName><Path>/</Path><RoleId>AROAEXAMPLE</RoleId>
<AssumeRolePolicyDocument>%7B%7D</AssumeRolePolicyDocument>
<CreateDate>2026-01-01T00:00:00Z</CreateDate></Role></GetRoleResult></GetRoleResponse>"""
_DENIED = (
    "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
)


def identified(sandbox: Running, arn: str, role: str | None = None) -> Identity:
    """Return the identity that STS reports; IAM refuses GetRole unless `role` is given."""

    def answer(asked: Asked, _forward: Callable[[], Answer]) -> Answer:
        if b"GetCallerIdentity" in asked.body:
            body = _SAID.format(arn=arn, account=arn.split(":")[4])
            return Answer(200, {"content-type": "text/xml"}, body.encode())
        if role is None:
            return Answer(403, {"content-type": "text/xml"}, _DENIED.encode())
        return Answer(200, {"content-type": "text/xml"}, _OF_ROLE.format(arn=role).encode())

    with relaying(sandbox.endpoint_url, answer) as relay:
        session = boto3.Session()
        sts: Clients[STSClient] = Clients("sts", session=session, endpoint_url=relay.url)
        iam: Clients[IAMClient] = Clients("iam", session=session, endpoint_url=relay.url)
        return identify(sts, iam)


def test_a_role_is_named_with_its_path(sandbox: Running) -> None:
    """An assumed role is named with its path, which IAM reports.

    The ARN of the session does not contain the path.
    """
    arn = f"{_ROLE}aws-reserved/sso.amazonaws.com/Engineer"
    found = identified(sandbox, _SESSION, arn)
    assert found == Identity(Caller("role", arn, ACCOUNT), _SESSION, has_known_path=True)


def test_a_path_that_iam_does_not_tell_is_not_known(sandbox: Running) -> None:
    """If IAM refuses GetRole, the role's ARN has no path, and the path counts as unknown."""
    found = identified(sandbox, _SESSION)
    caller = Caller("role", f"{_ROLE}Engineer", ACCOUNT)
    assert found == Identity(caller, _SESSION, has_known_path=False)


@pytest.mark.parametrize(
    ("arn", "kind"),
    [
        (f"arn:aws:iam::{ACCOUNT}:root", "root"),
        (f"arn:aws:iam::{ACCOUNT}:user/team/ada", "user"),
        (f"arn:aws-us-gov:iam::{ACCOUNT}:user/ada", "user"),
        (f"arn:aws:sts::{ACCOUNT}:federated-user/ada", "user"),
    ],
)
def test_users_and_the_root_user_are_named_as_sts_does(
    arn: str, kind: Any, sandbox: Running
) -> None:
    """The ARNs of users and of the root user are the ARNs that policies name."""
    assert identified(sandbox, arn) == Identity(Caller(kind, arn, ACCOUNT), arn)


def test_an_identity_of_an_unknown_form_is_an_error(sandbox: Running) -> None:
    """An ARN of an unknown form is an error."""
    with pytest.raises(StorageError, match="unknown form"):
        identified(sandbox, f"arn:aws:sts::{ACCOUNT}:self/1")


def test_identities_are_not_asked_for_over_plain_http() -> None:
    """No identity is requested over plain HTTP: anyone on the network could forge the reply."""
    sts: Clients[STSClient] = Clients("sts", endpoint_url="http://192.0.2.1")
    with pytest.raises(
        ConfigError, match=r"identities would be sent to 192\.0\.2\.1 over plain HTTP"
    ):
        identify(sts, Clients("iam"))


def test_the_sandbox_has_a_caller() -> None:
    """The sandbox serves the caller's identity over HTTP."""
    session = boto3.Session()
    sts: Clients[STSClient] = Clients("sts", session=session)
    iam: Clients[IAMClient] = Clients("iam", session=session)
    found = identify(sts, iam)
    assert (found.caller.kind, found.caller.account) == ("user", ACCOUNT)


def test_an_assumed_role_of_the_sandbox_is_named_with_its_path(session: boto3.Session) -> None:
    """The ARN of an assumed role contains the role's path, over HTTP in the sandbox."""
    trust = policy({"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"})
    name = f"engineer-{uuid.uuid4()}"
    role = session.client("iam").create_role(
        RoleName=name, Path="/team/", AssumeRolePolicyDocument=json.dumps(trust)
    )["Role"]["Arn"]
    assumed = session.client("sts").assume_role(RoleArn=role, RoleSessionName="ada")["Credentials"]
    as_role = boto3.Session(
        assumed["AccessKeyId"], assumed["SecretAccessKey"], assumed["SessionToken"]
    )
    sts: Clients[STSClient] = Clients("sts", session=as_role)
    iam: Clients[IAMClient] = Clients("iam", session=as_role)
    found = identify(sts, iam)
    assert found.caller == Caller("role", role, ACCOUNT)
    assert found.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/ada"
