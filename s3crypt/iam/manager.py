# SPDX-License-Identifier: Apache-2.0
"""Reads and changes IAM: roles, their policies, and the group `Auditors`.

The module `plan` decides on the changes.
"""

import time
from collections.abc import Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from s3crypt.aws import Clients
from s3crypt.errors import ConflictError, StorageError
from s3crypt.operations import IAMOperation
from s3crypt.policy import Document
from s3crypt.requests import Attempts, Look, Reply, call, pages

from .plan import TAG, Change, FoundGroup, FoundRole, Plan, Team, WantedGroup, WantedRole, plan_of

if TYPE_CHECKING:
    import boto3
    from types_boto3_iam.client import IAMClient

_ABSENT = "NoSuchEntity"
# The pauses before retries. IAM is eventually consistent: for some seconds after a role was
# created, a request may not find it.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
_SETTLING_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)

# IAM's error code -> the explanation and the hint.
_EXPLANATIONS: Mapping[str, tuple[str, str]] = {
    "EntityAlreadyExists": (
        "another caller took the name meanwhile",
        "Run the command again to see the role or group.",
    ),
    "LimitExceeded": (
        "an IAM quota of the account, or of the role's or group's policies, is used up",
        "Delete unneeded roles or policies, or ask AWS for a higher quota.",
    ),
    "MalformedPolicyDocument": (
        "IAM refused the policy document",
        "Check that every principal that it names exists.",
    ),
}


class RoleManager:
    """Compare the roles in IAM with a wanted team, and create or update the roles.

    Args:
        session: boto3 session from which the IAM client is created; by default boto3's default
            session.
        client: An IAM client to use. If it is given, no client is created.
        allow_plain_http: Allow requests over plain HTTP to other machines.

    Raises from every method:
        ConfigError: A role or group that s3crypt did not make has one of the names. Nothing was
            changed.
        StorageError: IAM refused, or could not be reached.
    """

    def __init__(
        self,
        *,
        session: "boto3.Session | None" = None,
        client: "IAMClient | None" = None,
        allow_plain_http: bool = False,
    ) -> None:
        self._clients: Clients[IAMClient] = Clients(
            "iam", session=session, client=client, allow_plain_http=allow_plain_http
        )

    def plan(self, team: Team) -> Plan:
        """Return the changes that create or update a team in IAM. This method changes nothing.

        An existing role is used if it has the wanted path and the tag `s3crypt` with the name of
        its duty, such as `writer`. An existing group is used if its path is `/s3crypt/`.
        """
        roles = {wanted.name: self._role(wanted) for wanted in team.roles}
        return plan_of(team, roles, self._group(team.group) if team.group else None)

    def make(self, plan: Plan) -> Generator[Change, None, None]:
        """Make the changes of a plan in their order. Yield each change after it was made.

        First, the state of IAM is read again. An error in the middle has a note that names the
        changes that were made. To continue, call `plan` again, which returns the remaining changes.

        Raises:
            ConflictError: The state of IAM has changed since the plan was made. Nothing was
                changed.
        """
        if self.plan(plan.team) != plan:
            raise ConflictError(
                "Another caller changed IAM meanwhile; this command changed nothing.",
                hint="Run the command again, and check the differences.",
            )
        made: list[Change] = []
        for change in plan.changes:
            try:
                self._make(change)
            except BaseException as error:
                error.add_note(_told(made, plan.changes))
                raise
            made.append(change)
            yield change

    def _make(self, change: Change) -> None:
        look: Look | None = None
        if change.operation == "create_role":
            look = partial(self._created, change)
        for seconds in (*_SETTLING_SECONDS, None):
            try:
                self._ask(change.operation, change.subject, change.arguments, look)
            except StorageError as error:
                if error.code != _ABSENT or seconds is None:
                    raise
                time.sleep(seconds)
            else:
                return

    def _created(self, change: Change, attempts: Attempts) -> Reply | None:
        """Return IAM's description of the role if an attempt whose reply was lost created it."""
        request = {"RoleName": change.arguments["RoleName"]}
        reply = call(
            self._clients.get(), "get_role", request, change.subject, within=attempts, is_look=True
        )
        is_ours = _tags(reply["Role"]).get(TAG) == _tags(change.arguments)[TAG]
        return reply if is_ours else None

    def _role(self, wanted: WantedRole) -> FoundRole | None:
        subject = f"role {wanted.name}"
        request = {"RoleName": wanted.name}
        reply = self._found("get_role", subject, request)
        if reply is None:
            return None
        trust = Document.parse(reply["Role"]["AssumeRolePolicyDocument"])
        policy = self._found(
            "get_role_policy", subject, {**request, "PolicyName": wanted.policy_name}
        )
        others = self._others("role", subject, request, wanted.policy_name)
        role = reply["Role"]
        path = str(role["Arn"]).partition(":role")[2].rpartition("/")[0] + "/"
        return FoundRole(trust, _document(policy), _tags(role), path, others)

    def _group(self, wanted: WantedGroup) -> FoundGroup | None:
        subject = f"group {wanted.name}"
        request = {"GroupName": wanted.name}
        reply = self._found("get_group", subject, request)
        if reply is None:
            return None
        policy = self._found(
            "get_group_policy", subject, {**request, "PolicyName": wanted.policy_name}
        )
        others = self._others("group", subject, request, wanted.policy_name)
        return FoundGroup(str(reply["Group"]["Path"]), _document(policy), others)

    def _others(
        self, kind: str, subject: str, request: Mapping[str, str], ours: str
    ) -> tuple[str, ...]:
        """Return the other policies of a role or group, without the inline policy `ours`.

        Inline policies are given by name, attached policies by ARN.
        """
        inline: IAMOperation = "list_role_policies"
        attached: IAMOperation = "list_attached_role_policies"
        if kind == "group":
            inline, attached = "list_group_policies", "list_attached_group_policies"
        client = self._clients.get()
        names = [
            str(name)
            for page in pages(client, inline, request, subject)
            for name in page["PolicyNames"]
            if name != ours
        ]
        arns = [
            str(policy["PolicyArn"])
            for page in pages(client, attached, request, subject)
            for policy in page["AttachedPolicies"]
        ]
        return (*sorted(names), *sorted(arns))

    def _found(
        self, operation: IAMOperation, subject: str, request: Mapping[str, str]
    ) -> Reply | None:
        """Return IAM's reply, or None if IAM has no such role, group or policy."""
        try:
            return self._ask(operation, subject, request)
        except StorageError as error:
            if error.code == _ABSENT:
                return None
            raise

    def _ask(
        self,
        operation: IAMOperation,
        subject: str,
        request: Mapping[str, Any],
        look: Look | None = None,
    ) -> Reply:
        try:
            return call(self._clients.get(), operation, request, subject, look=look)
        except StorageError as error:
            if (error.code or "") not in _EXPLANATIONS:
                raise
            what, hint = _EXPLANATIONS[error.code or ""]
            said = f"{subject}: {what}"
            raise type(error)(
                said, hint=hint, code=error.code, request_id=error.request_id
            ) from error.__cause__


def _document(reply: Reply | None) -> Document | None:
    return None if reply is None else Document.parse(reply["PolicyDocument"])


def _tags(holder: Mapping[str, Any]) -> dict[str, str]:
    return {str(tag["Key"]): str(tag["Value"]) for tag in holder.get("Tags", ())}


def _told(made: list[Change], changes: tuple[Change, ...]) -> str:
    """Return the note for an error: the changes that were made before it."""
    done = ", ".join(f"{change.subject} ({change.action})" for change in made) or "nothing"
    return (
        f"Of {len(changes)} changes {len(made)} were made: {done}. Run the command again to make "
        "the rest."
    )
