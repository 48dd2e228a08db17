# SPDX-License-Identifier: Apache-2.0
"""The caller of a session's requests: a role, a user or the root user of an account.

For an assumed role, STS returns the ARN of the session, which has the role's name but not its path.
Policies name the role itself, with its path. The path is therefore requested from IAM. If IAM
refuses, the path stays unknown, and `Identity.has_known_path` is False.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .errors import StorageError
from .policy import Caller
from .requests import call

if TYPE_CHECKING:
    from types_boto3_iam.client import IAMClient
    from types_boto3_sts.client import STSClient

    from .aws import Clients

_SUBJECT = "the identity of the caller"
_SESSION = re.compile(r"arn:([a-z-]+):sts::([0-9]{12}):assumed-role/([^/]+)/.+")
_USER = re.compile(r"arn:[a-z-]+:(iam::[0-9]{12}:user|sts::[0-9]{12}:federated-user)/.+")
_ROOT = re.compile(r"arn:[a-z-]+:iam::[0-9]{12}:root")


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of a session's requests.

    Attributes:
        caller: The caller as policies name it: for a role, the role's ARN, not the session's.
        arn: The ARN that STS reports: for an assumed role, the session's ARN.
        has_known_path: False for a role whose path could not be read. The ARN in `caller` then has
            no path, which is right unless the role was made with a path.
    """

    caller: Caller
    arn: str
    has_known_path: bool = True


def identify(sts: "Clients[STSClient]", iam: "Clients[IAMClient]") -> Identity:
    """Return the caller of the requests of these clients' session.

    `sts:GetCallerIdentity` needs no permission. `iam:GetRole` is requested only for an assumed
    role.

    Raises:
        ConfigError: There are no credentials.
        StorageError: STS refused, could not be reached, or named an identity of an unknown form.
    """
    reply = call(sts.get(), "get_caller_identity", {}, _SUBJECT)
    arn, account = str(reply["Arn"]), str(reply["Account"])
    if session := _SESSION.fullmatch(arn):
        partition, _, name = session.groups()
        path_less = f"arn:{partition}:iam::{account}:role/{name}"
        known = _role_arn(iam, name)
        return Identity(Caller("role", known or path_less, account), arn, known is not None)
    return Identity(Caller(_kind(arn), arn, account), arn)


def _kind(arn: str) -> Literal["user", "root"]:
    if _ROOT.fullmatch(arn):
        return "root"
    if _USER.fullmatch(arn):
        return "user"
    raise StorageError(f"STS names the caller in an unknown form: {arn}.")


def _role_arn(iam: "Clients[IAMClient]", name: str) -> str | None:
    """Return the ARN of a role with its path, or None if IAM refuses or cannot be reached."""
    try:
        # No retries: a private network may have no route to IAM, which has no Regional endpoints.
        reply = call(iam.get(), "get_role", {"RoleName": name}, f"role {name}", is_look=True)
    except StorageError:
        return None
    return str(reply["Role"]["Arn"])
