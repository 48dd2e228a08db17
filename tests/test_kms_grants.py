# SPDX-License-Identifier: Apache-2.0
"""Grants of keys.

A repeated request makes no second grant. Grants are checked, revoked and retired.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from lost_replies import count, losing
from relay import Answer, Asked, relaying

from s3crypt.aws import Clients
from s3crypt.errors import ConfigError, KeyUnavailableError
from s3crypt.kms import GrantRequest, KeyManager

if TYPE_CHECKING:
    from collections.abc import Callable

    import boto3

    from s3crypt.sandbox import Running

READER = "arn:aws:iam::123456789012:role/reader"
ADMIN = "arn:aws:iam::123456789012:role/admin"
# The ARN of the caller in the sandbox.
CALLER = "arn:aws:iam::123456789012:user/sandbox"
SERVICE = "logs.us-east-1.amazonaws.com"
SOURCE = "arn:aws:logs:us-east-1:123456789012:log-group:app"
LIMITED = {"EncryptionContextSubset": {"team": "sales"}}


@pytest.fixture
def manager(session: boto3.Session) -> KeyManager:
    """Return a key manager of the sandbox."""
    return KeyManager(session=session)


@pytest.fixture
def key(manager: KeyManager) -> str:
    """Make a key."""
    return manager.create(rotation_period_days=None).arn


def test_a_repeated_grant_is_found(manager: KeyManager, key: str) -> None:
    """A repeated request finds the grant by its name.

    The name is computed from the rights, in any order.
    """
    first = manager.create_grant(key, READER, ["Encrypt", "Decrypt"], constraints=LIMITED)
    again = manager.create_grant(key, READER, ["Decrypt", "Encrypt"], constraints=LIMITED)
    assert (first.existed, again.existed) == (False, True)
    assert [each.id for each in manager.grants(key)] == [first.grant.id] == [again.grant.id]
    assert first.grant.name.startswith("s3crypt-")


def test_other_rights_are_another_grant(manager: KeyManager, key: str) -> None:
    """Grants without a given name get different names if their rights differ."""
    manager.create_grant(key, READER, ["Decrypt"])
    manager.create_grant(key, READER, ["Decrypt"], constraints=LIMITED)
    assert len(manager.grants(key)) == 2


def test_a_name_with_other_rights_is_refused(manager: KeyManager, key: str) -> None:
    """A grant under a name in use with other rights is refused; the error lists both rights.

    KMS itself would make a second grant with the same name.
    """
    made = manager.create_grant(key, READER, ["Decrypt"], name="reports")
    with pytest.raises(KeyUnavailableError, match=r"Decrypt for .*; wanted: Encrypt for") as caught:
        manager.create_grant(key, READER, ["Encrypt"], name="reports")
    assert made.grant.id in str(caught.value)
    assert "revoke-grant" in str(caught.value.hint)
    assert len(manager.grants(key)) == 1


def test_a_lost_reply_makes_no_second_grant(key: str, sandbox: Running) -> None:
    """If the reply to a grant is lost, the retry sends the same name: no second grant is made."""
    with losing(sandbox, "CreateGrant") as (manager, relay):
        manager.create_grant(key, READER, ["Decrypt"])
        assert count(relay, "CreateGrant") == 2
        assert len(manager.grants(key)) == 1


def test_a_lost_reply_to_a_revocation(key: str, manager: KeyManager, sandbox: Running) -> None:
    """If the reply to a revocation is lost and the grant is gone, the revocation succeeded."""
    made = manager.create_grant(key, READER, ["Decrypt"])
    with losing(sandbox, "RevokeGrant") as (unlucky, _):
        unlucky.revoke_grant(key, made.grant.id)
    assert manager.grants(key) == ()


def test_a_lost_reply_to_a_revocation_among_many_grants(
    key: str, manager: KeyManager, kms: Any, sandbox: Running
) -> None:
    """After a lost reply all pages of grants are searched: KMS lists 50 grants per page."""
    for number in range(60):
        kms.create_grant(
            KeyId=key,
            GranteePrincipal=f"{READER}{number}",
            Operations=["Decrypt"],
            Name=f"n{number}",
        )
    last = manager.grants(key)[-1]
    with losing(sandbox, "RevokeGrant") as (unlucky, _):
        unlucky.revoke_grant(key, last.id)
    assert len(manager.grants(key)) == 59


def test_a_lost_reply_without_a_look_is_said(
    key: str, manager: KeyManager, sandbox: Running
) -> None:
    """If ListGrants is refused after a lost reply, the error says that the outcome is unknown."""
    made = manager.create_grant(key, READER, ["Decrypt"], retiring=CALLER)
    lost: list[str] = []

    def spoil(request: Asked, forward: Callable[[], Answer]) -> Answer:
        name = request.headers.get("x-amz-target", "").partition(".")[2]
        if name == "ListGrants":
            body = b'{"__type": "AccessDeniedException", "message": "not authorized"}'
            return Answer(400, {"content-type": "application/x-amz-json-1.1"}, body)
        answer = forward()
        if name == "RetireGrant" and not lost:
            lost.append(name)
            raise ConnectionError
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        clients: Clients[Any] = Clients("kms", endpoint_url=relay.url)
        unlucky = KeyManager(client=clients.get())
        with pytest.raises(KeyUnavailableError, match="It is not known whether it was done"):
            unlucky.retire_grant(key, made.grant.id)


def test_a_service_gets_a_grant(manager: KeyManager, key: str) -> None:
    """A grant to an AWS service has a retiring principal, and the resource for which it acts."""
    source = {"SourceArn": SOURCE}
    manager.create_grant(key, SERVICE, ["Decrypt"], constraints=source, retiring=ADMIN)
    (found,) = manager.grants(key)
    assert (found.grantee, found.is_service, found.retiring) == (SERVICE, True, ADMIN)
    assert dict(found.constraints) == source
    assert not found.serves_any_source


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"grantee": "reader"}, "neither the ARN"),
        ({"grantee": "123456789012"}, "neither the ARN"),
        ({"grantee": "arn:aws:s3:::acme"}, "neither the ARN"),
        ({"grantee": SERVICE}, "needs a SourceArn"),
        ({"grantee": SERVICE, "constraints": {"SourceArn": SOURCE}}, "needs a retiring principal"),
        ({"retiring": "somebody"}, "neither the ARN"),
        ({"name": "two words"}, "cannot be the name"),
        ({"name": "x" * 257}, "cannot be the name"),
        ({"name": ""}, "cannot be the name"),
        ({"constraints": {"Subset": {}}}, "no grant constraint Subset"),
        ({"constraints": {"EncryptionContextSubset": {"a": 1}}}, "must be text"),
        (
            {"constraints": {"EncryptionContextEquals": {str(n): "" for n in range(9)}}},
            "at most 8 pairs",
        ),
        ({"constraints": {"SourceArn": "arn:aws:s3:::acme"}}, "ARN of a resource with an account"),
    ],
)
def test_what_cannot_be_a_grant_is_refused_before_a_request(
    wanted: dict[str, Any], message: str
) -> None:
    """Invalid arguments of a grant raise an error before any request."""
    with pytest.raises(ConfigError, match=message):
        GrantRequest(**{"grantee": READER, "operations": ("Decrypt",), **wanted})


@pytest.mark.parametrize(
    ("operations", "hint"),
    [(["decrypt"], "Write Decrypt."), (["PutKeyPolicy"], "GenerateDataKey, "), ([], "Decrypt")],
)
def test_operations_are_those_of_the_model(
    manager: KeyManager, key: str, operations: list[str], hint: str
) -> None:
    """The hint for a misspelt operation of a grant contains the correct name."""
    with pytest.raises(ConfigError) as caught:
        manager.create_grant(key, READER, operations)
    assert hint in str(caught.value.hint)
    assert manager.grants(key) == ()


@pytest.mark.parametrize(
    ("constraints", "operations", "opens"),
    [
        ({}, ["Decrypt"], True),
        ({"EncryptionContextEquals": {}}, ["ReEncryptFrom"], True),
        (LIMITED, ["Decrypt"], False),
        ({}, ["Encrypt"], False),
    ],
)
def test_a_grant_without_a_constraint_is_known(
    manager: KeyManager, key: str, constraints: Any, operations: list[str], *, opens: bool
) -> None:
    """`opens_everything` is True if a grant decrypts all data, because it has no constraint.

    The command then warns about the finding S3CRYPT.12.
    """
    made = manager.create_grant(key, READER, operations, constraints=constraints)
    assert made.grant.opens_everything is opens


def test_a_grant_is_found_by_id_and_by_name(manager: KeyManager, key: str) -> None:
    """A grant is found by its id, and by its name if no other grant has this name.

    Other tools can make several grants of the same name.
    """
    made = manager.create_grant(key, READER, ["Decrypt"], name="one").grant
    assert manager.find_grant(key, made.id).id == made.id == manager.find_grant(key, "one").id
    with pytest.raises(KeyUnavailableError, match="has no grant two"):
        manager.find_grant(key, "two")


def test_a_shared_name_is_no_reference(manager: KeyManager, key: str, kms: Any) -> None:
    """If several grants have the given name, the error lists their ids."""
    for operation in ("Decrypt", "Encrypt"):
        kms.create_grant(KeyId=key, GranteePrincipal=READER, Operations=[operation], Name="twice")
    with pytest.raises(ConfigError, match="2 grants named twice"):
        manager.find_grant(key, "twice")


def test_a_grant_is_retired(manager: KeyManager, key: str) -> None:
    """A grant is retired by its key and id, or by its token."""
    by_id = manager.create_grant(key, READER, ["Decrypt"], retiring=CALLER)
    by_token = manager.create_grant(key, READER, ["Encrypt"], retiring=CALLER)
    manager.retire_grant(key, by_id.grant.id)
    manager.retire_grant_of(by_token.token)
    assert manager.grants(key) == ()


def test_who_may_not_retire_a_grant_is_told_who_may(manager: KeyManager, key: str) -> None:
    """If the caller has no permission to retire a grant, the hint has the command to revoke it.

    Here only the retiring principal has permission to retire the grant.
    """
    made = manager.create_grant(key, READER, ["Decrypt"], retiring=ADMIN)
    with pytest.raises(KeyUnavailableError, match="kms:RetireGrant is refused") as caught:
        manager.retire_grant(key, made.grant.id)
    assert "revoke-grant" in str(caught.value.hint)
    assert len(manager.grants(key)) == 1


@pytest.mark.parametrize("name", ["alias/reports", "8a1f0c7e-5f6d-4c0b-9f4e-1f2e3d4c5b6a"])
def test_a_grant_is_retired_by_the_arn_of_its_key(manager: KeyManager, name: str) -> None:
    """`retire_grant` accepts only a key's ARN, because the caller may have no kms:DescribeKey."""
    with pytest.raises(ConfigError, match="not the ARN of a key"):
        manager.retire_grant(name, "0" * 64)


@pytest.mark.parametrize("verb", ["revoke_grant", "retire_grant"])
def test_a_missing_grant_is_no_missing_key(manager: KeyManager, key: str, verb: str) -> None:
    """A missing grant and a missing key are different errors, although KMS has one error code."""
    with pytest.raises(KeyUnavailableError, match="does not have this grant"):
        getattr(manager, verb)(key, "0" * 64)


def test_an_unlistable_key_takes_unnamed_grants_only(
    manager: KeyManager, key: str, kms: Any
) -> None:
    """Without kms:ListGrants, a grant with a given name is refused. A grant without a name is made.

    Without this permission, an existing grant of the same name cannot be found.
    """
    policy = manager.policy(key).to_json()
    deny = {"Effect": "Deny", "Principal": "*", "Action": "kms:ListGrants", "Resource": "*"}
    policy["Statement"].append(deny)
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    assert manager.create_grant(key, READER, ["Decrypt"]).existed is None
    with pytest.raises(KeyUnavailableError, match="cannot be listed") as caught:
        manager.create_grant(key, READER, ["Decrypt"], name="mine")
    assert "kms:ListGrants" in str(caught.value.hint)


def test_a_grant_token_is_in_no_repr_and_log(
    manager: KeyManager, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A grant token is not secret, but neither a repr nor the log contains it."""
    with caplog.at_level(logging.DEBUG):
        made = manager.create_grant(key, READER, ["Decrypt"])
    assert made.token not in repr(made)
    assert made.token not in caplog.text
