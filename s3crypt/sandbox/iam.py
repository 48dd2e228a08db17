# SPDX-License-Identifier: Apache-2.0
"""IAM's rules: the limits on names, sizes and counts that moto lacks, and complete listings.

moto stores roles, groups, users and policies, and checks the grammar of documents. This module
must not decide which actions a policy allows.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from .policies import form_fault, statements_of, unknown_principal
from .query import error_reply, invalid
from .wire import Refusal, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .backend import Moto

# IAM's limits: the sizes of policies in characters without white space, the numbers of attached
# policies and of a user's groups, and the duration of sessions.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
_INLINE_SIZE = {"Role": 10_240, "Group": 5_120, "User": 2_048}
_MANAGED_SIZE = 6_144
_TRUST_SIZE = 2_048
_ATTACHED = 10
_GROUPS_OF_A_USER = 10
_SESSION_SECONDS = range(3_600, 43_201)
_LONGEST = {"RoleName": 64, "UserName": 64, "GroupName": 128, "PolicyName": 128}
_NAME = r"[\w+=,.@-]+"
_PATH = r"/|/[!-~]+/"
_DOCUMENTS = ("PolicyDocument", "AssumeRolePolicyDocument")


class IAM:
    """The IAM rules, applied one request at a time."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        """Return the reply of a rule or of moto. Raise `Refusal` if IAM refuses such a request."""
        operation, asked = request.operation, request.form
        with self._lock:
            _check_names(asked)
            _check_documents(self._moto, operation, asked)
            check = _CHECKS.get(operation)
            if check is not None:
                check(self._moto, asked)
            if operation == "ListGroups":
                return self._groups(request)
            reply = _marked_whole(operation, self._moto(request))
            if operation == "GetUser" and "UserName" not in asked:
                return _renamed(reply)
            return reply

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Return IAM's reply to a request that it refuses."""
        return error_reply(request, refusal)

    def _groups(self, request: Request) -> Reply:
        """Return the reply to ListGroups with only the groups below the requested path."""
        prefix = request.form.get("PathPrefix", "/")
        reply = _marked_whole(request.operation, self._moto(request))
        text = reply.body.decode("utf-8")
        for group in self._moto.groups():
            if not group.path.startswith(prefix):
                arn = re.escape(f"<Arn>{escape(group.arn)}</Arn>")
                member = rf"<member>(?:(?!</?member>).)*{arn}(?:(?!</?member>).)*</member>"
                text = re.sub(member, "", text, flags=re.DOTALL)
        return replace(_without_length(reply), body=text.encode("utf-8"))


def _marked_whole(operation: str, reply: Reply) -> Reply:
    """Return a listing with IsTruncated. IAM always includes it, but moto sometimes omits it."""
    is_listing = operation.startswith("List") or operation == "GetGroup"
    if not is_listing or reply.status != 200 or b"<IsTruncated>" in reply.body:
        return reply
    end = f"</{operation}Result>".encode()
    body = reply.body.replace(end, b"<IsTruncated>false</IsTruncated>" + end)
    return replace(_without_length(reply), body=body)


def _renamed(reply: Reply) -> Reply:
    """Return the reply with the user name `sandbox` (as in GetCallerIdentity) for moto's name."""
    body = reply.body.replace(b"default_user", b"sandbox")
    return replace(_without_length(reply), body=body)


def _without_length(reply: Reply) -> Reply:
    kept = [pair for pair in reply.headers if pair[0].lower() != "content-length"]
    return replace(reply, headers=tuple(kept))


# --- Names and documents -----------------------------------------------------------------------


def _check_names(asked: Mapping[str, str]) -> None:
    for parameter, longest in _LONGEST.items():
        name = asked.get(parameter)
        if name is None:
            continue
        shown = parameter[0].lower() + parameter[1:]
        if re.fullmatch(_NAME, name, re.ASCII) is None:
            raise invalid(
                f"Value '{name}' at '{shown}' failed to satisfy constraint: Member must satisfy "
                f"regular expression pattern: {_NAME}"
            )
        if len(name) > longest:
            raise invalid(
                f"Value '{name}' at '{shown}' failed to satisfy constraint: Member must have "
                f"length less than or equal to {longest}"
            )
    path = asked.get("Path", "/")
    if re.fullmatch(_PATH, path) is None or len(path) > 512:
        raise invalid(
            "The specified value for path is invalid. It must begin and end with / and contain "
            "only alphanumeric characters and/or / characters."
        )


def _check_documents(moto: Moto, operation: str, asked: Mapping[str, str]) -> None:
    """Refuse invalid documents that moto's own grammar check accepts."""
    texts = [asked[name] for name in _DOCUMENTS if name in asked]
    is_trust = operation in {"CreateRole", "UpdateAssumeRolePolicy"}
    for text in texts:
        for statement in statements_of(text):
            if re.fullmatch("[0-9A-Za-z]*", str(statement.get("Sid", ""))) is None:
                raise _malformed(
                    "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies "
                    "the regular expression [0-9A-Za-z]*"
                )
            if not is_trust and {"Principal", "NotPrincipal"} & statement.keys():
                raise _malformed("Policy document should not specify a principal.")
        if is_trust:
            _check_trust(moto, text)


def _check_trust(moto: Moto, text: str) -> None:
    """Refuse a trust policy that is too long, malformed, or names an unknown principal."""
    try:
        fault = form_fault(json.loads(text), resources=False, principals=True)
    except ValueError:
        fault = "This policy contains invalid Json"
    if fault is not None:
        raise _malformed(fault)
    statements = statements_of(text)
    for statement in statements:
        if {"Resource", "NotResource"} & statement.keys():
            raise _malformed("Has prohibited field Resource")
        if "sts:" not in json.dumps(statement.get("Action", "")).lower():
            raise _malformed("AssumeRole policy may only specify STS AssumeRole actions.")
    unknown = unknown_principal(moto, statements)
    if unknown is not None:
        raise _malformed(f'Invalid principal in policy: "AWS":"{unknown}"')
    if _size(text) > _TRUST_SIZE:
        raise _limit(f"Cannot exceed quota for ACLSizePerRole: {_TRUST_SIZE}")


def _size(text: str) -> int:
    return len(re.sub(r"\s", "", text))


# --- Rules of single operations ----------------------------------------------------------------


def _check_role(moto: Moto, asked: Mapping[str, str]) -> None:
    name = asked.get("RoleName", "")
    if moto.role(name) is not None:
        raise _exists(f"Role with name {name} already exists.")
    seconds = asked.get("MaxSessionDuration", "3600")
    if not seconds.isdigit() or int(seconds) not in _SESSION_SECONDS:
        raise invalid(
            f"Value '{seconds}' at 'maxSessionDuration' failed to satisfy constraint: Member must "
            f"have value between {_SESSION_SECONDS.start} and {_SESSION_SECONDS.stop - 1}"
        )


def _check_group(moto: Moto, asked: Mapping[str, str]) -> None:
    name = asked.get("GroupName", "")
    if moto.group(name) is not None:
        raise _exists(f"Group with name {name} already exists.")


def _check_user(moto: Moto, asked: Mapping[str, str]) -> None:
    name = asked.get("UserName", "")
    if moto.user(name) is not None:
        raise _exists(f"User with name {name} already exists.")


def _check_managed(_: Moto, asked: Mapping[str, str]) -> None:
    if _size(asked.get("PolicyDocument", "")) > _MANAGED_SIZE:
        raise _limit(f"Cannot exceed quota for PolicySize: {_MANAGED_SIZE}")


def _check_inline(kind: str) -> Callable[[Moto, Mapping[str, str]], None]:
    """Return a function that refuses a request if an entity's inline policies become too long."""

    def check(moto: Moto, asked: Mapping[str, str]) -> None:
        entity = _entity(moto, kind, asked)
        held = dict(entity.policies) if entity is not None else {}
        held[asked.get("PolicyName", "")] = asked.get("PolicyDocument", "")
        limit = _INLINE_SIZE[kind]
        if sum(map(_size, held.values())) > limit:
            raise _limit(
                f"Maximum policy size of {limit} bytes exceeded for {kind.lower()} "
                f"{asked.get(f'{kind}Name')}"
            )

    return check


def _check_attaching(kind: str) -> Callable[[Moto, Mapping[str, str]], None]:
    """Return a function that refuses to attach a missing policy or too many policies."""

    def check(moto: Moto, asked: Mapping[str, str]) -> None:
        entity, arn = _entity(moto, kind, asked), asked.get("PolicyArn", "")
        if moto.managed_policy(arn) is None:
            raise _absent(f"Policy {arn} does not exist or is not attachable.")
        attached = {} if entity is None else entity.managed_policies
        if arn not in attached and len(attached) >= _ATTACHED:
            raise _limit(f"Cannot exceed quota for PoliciesPer{kind}: {_ATTACHED}")

    return check


def _entity(moto: Moto, kind: str, asked: Mapping[str, str]) -> Any | None:
    finders = {"Role": moto.role, "Group": moto.group, "User": moto.user}
    return finders[kind](asked.get(f"{kind}Name", ""))


def _check_joining(moto: Moto, asked: Mapping[str, str]) -> None:
    user = moto.user(asked.get("UserName", ""))
    joined = [group for group in moto.groups() if user in group.users]
    names = {group.name for group in joined}
    if asked.get("GroupName") not in names and len(joined) >= _GROUPS_OF_A_USER:
        raise _limit(f"Cannot exceed quota for GroupsPerUser: {_GROUPS_OF_A_USER}")


def _check_group_deletable(moto: Moto, asked: Mapping[str, str]) -> None:
    group = moto.group(asked.get("GroupName", ""))
    if group is None:
        return
    if group.users:
        raise _conflict("Cannot delete entity, must remove users from group first.")
    if group.managed_policies:
        raise _conflict("Cannot delete entity, must detach all policies first.")
    if group.policies:
        raise _conflict("Cannot delete entity, must delete policies first.")


def _check_user_deletable(moto: Moto, asked: Mapping[str, str]) -> None:
    user = moto.user(asked.get("UserName", ""))
    if user is not None and any(user in group.users for group in moto.groups()):
        raise _conflict("Cannot delete entity, must remove user from group first.")
    if user is not None and user.access_keys:
        raise _conflict("Cannot delete entity, must delete access keys first.")


def _check_policy_deletable(moto: Moto, asked: Mapping[str, str]) -> None:
    policy = moto.managed_policy(asked.get("PolicyArn", ""))
    if policy is not None and policy.attachment_count:
        raise _conflict("Cannot delete a policy attached to entities.")
    if policy is not None and len(policy.versions) > 1:
        raise _conflict(
            "This policy has more than one version. Before you delete a policy, you must delete "
            "the policy's versions. The default version is deleted with the policy."
        )


# --- Refusals ----------------------------------------------------------------------------------


def _malformed(message: str) -> Refusal:
    return Refusal(400, "MalformedPolicyDocument", message)


def _exists(message: str) -> Refusal:
    return Refusal(409, "EntityAlreadyExists", message)


def _absent(message: str) -> Refusal:
    return Refusal(404, "NoSuchEntity", message)


def _limit(message: str) -> Refusal:
    return Refusal(409, "LimitExceeded", message)


def _conflict(message: str) -> Refusal:
    return Refusal(409, "DeleteConflict", message)


# Operation -> a check before moto gets the request. All operations also have the common checks.
_CHECKS: Mapping[str, Callable[[Moto, Mapping[str, str]], None]] = {
    "AddUserToGroup": _check_joining,
    "AttachGroupPolicy": _check_attaching("Group"),
    "AttachRolePolicy": _check_attaching("Role"),
    "AttachUserPolicy": _check_attaching("User"),
    "CreateGroup": _check_group,
    "CreatePolicy": _check_managed,
    "CreatePolicyVersion": _check_managed,
    "CreateRole": _check_role,
    "CreateUser": _check_user,
    "DeleteGroup": _check_group_deletable,
    "DeletePolicy": _check_policy_deletable,
    "DeleteUser": _check_user_deletable,
    "PutGroupPolicy": _check_inline("Group"),
    "PutRolePolicy": _check_inline("Role"),
    "PutUserPolicy": _check_inline("User"),
}
